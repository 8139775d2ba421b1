//! Jira Cloud as the ticket system. Facts about its API are from Atlassian's published description of the REST API v3 and
//! from developer.atlassian.com, the page in parentheses.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::sync::OnceCell;

use super::text::{self, CUT_LINE};
use super::{Commented, NewComment, NewTicket, OpenTickets, Opened, TicketError, collection_is_missing};
use crate::domain::digest::sha256_hex;
use crate::engine::{Deadline, Links};
use crate::field_map::{FieldMaps, Section};
use crate::fitting;
use crate::http::dialect::{number, retry_after};
use crate::http::{ApiClient, ApiRequest, Authorization, CallError, Dialect, Judgement, Reply};
use crate::set_up::{SetUp, SetUpItem, SetUpState};
use crate::written::Written;

/// The short name of the system.
pub const SYSTEM: &str = "jira";

/// The built-in field map.
pub const FIELDS: &str = include_str!("jira.toml");

/// The longest description or comment, in units of UTF-16 (JRACLOUD-78553: 32,767 characters, else
/// `CONTENT_LIMIT_EXCEEDED`).
pub const LONGEST_TEXT: usize = 32_767;

/// How much of a text is sent if the whole counts for too much all the same: what its marking up adds is not told.
const SHORT_TEXT: usize = 8_000;

/// The longest summary, in units of UTF-16.
const LONGEST_SUMMARY: usize = 255;

/// The longest label.
const LONGEST_LABEL: usize = 255;

/// The pause after a refusal for too many calls that names none.
const PAUSE: Duration = Duration::from_secs(10);

/// The property of an issue or a comment that names the mail it was made of.
const PROPERTY: &str = "nylas";

/// Fields without which an issue is worth more than no issue.
const DISPENSABLE: [&str; 3] = ["components", "labels", "priority"];

/// How many comments are looked at in one call.
const COMMENTS_IN_A_PAGE: usize = 100;

/// How a Jira site speaks: an API token is `{mail}:{token}`, anything without a colon an OAuth token.
#[must_use]
pub fn dialect() -> Dialect {
    Dialect { authorization: Authorization::BasicOrBearer, judge, allowance }
}

fn judge(reply: &Reply) -> Option<Judgement> {
    let headers = &reply.headers;
    match reply.status.as_u16() {
        429 => {
            let reason = headers.get("ratelimit-reason").and_then(|reason| reason.to_str().ok()).unwrap_or_default();
            let wait = retry_after(headers).or_else(|| until_reset(headers)).unwrap_or(PAUSE);
            // One issue was written to too often, which is no reason to leave the others alone ("Rate limiting").
            if reason.starts_with("jira-per-issue") {
                let problem = format!("it answered 429: too many changes of one issue ({reason})");
                return Some(Judgement::Unavailable { problem, wait: Some(wait) });
            }
            let allowance = if reason.is_empty() { "its rate limit" } else { reason }.to_owned();
            Some(Judgement::TooManyCalls { wait, allowance })
        }
        // After too many failed sign-ins Jira asks for a CAPTCHA, whatever the credential ("Basic auth for REST APIs").
        403 if headers.get("x-seraph-loginreason").is_some_and(|reason| reason.as_bytes().starts_with(b"AUTHENTI")) => {
            Some(Judgement::CredentialRefused)
        }
        403 => Some(Judgement::NotAllowed { words: words(&reply.body) }),
        400 | 413 | 415 | 422 => Some(Judgement::Refused { words: words(&reply.body) }),
        _ => None,
    }
}

/// What an error says: `{"errorMessages": […], "errors": {field: …}}`.
fn words(body: &[u8]) -> String {
    let Ok(error) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).trim().to_owned();
    };
    let messages = error["errorMessages"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let fields = error["errors"].as_object().into_iter().flatten();
    let fields = fields.filter_map(|(field, problem)| Some(format!("{field}: {}", problem.as_str()?)));
    let said: Vec<String> = messages.map(str::to_owned).chain(fields).collect();
    if said.is_empty() { error.to_string() } else { said.join("; ") }
}

/// Of the calls of this window none is left ("Rate limiting").
fn allowance(headers: &HeaderMap) -> Option<(Duration, &'static str)> {
    let left = number(headers, "x-ratelimit-remaining")?;
    (left < 1.0).then(|| (until_reset(headers).unwrap_or(PAUSE), "its rate limit"))
}

/// The time until `X-RateLimit-Reset`, a moment as ISO 8601 writes it.
fn until_reset(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("x-ratelimit-reset")?.to_str().ok()?.trim();
    let at: jiff::Timestamp = text.parse().or_else(|_| text.replace('Z', ":00Z").parse()).ok()?;
    Some(at.duration_since(jiff::Timestamp::now()).try_into().unwrap_or(Duration::ZERO))
}

/// The adapter.
pub struct JiraTickets<L> {
    client: ApiClient,
    written: Written<L>,
    fields: FieldMaps,
    project: String,
    ready: OnceCell<()>,
}

/// What an issue is tried to be opened with, after Jira has refused more.
struct Attempt {
    room: usize,
    without: Vec<&'static str>,
}

impl Attempt {
    fn first() -> Self {
        Self { room: LONGEST_TEXT, without: Vec::new() }
    }

    /// What to try after a refusal; none if nothing that may be left out is at fault, or not that alone.
    fn after(mut self, refusal: &str) -> Option<Self> {
        if is_too_long(refusal) {
            return (self.room > SHORT_TEXT).then_some(Self { room: SHORT_TEXT, ..self });
        }
        let at_fault = refusal.split("; ").map(|part| part.split(": ").next().unwrap_or_default());
        for field in at_fault {
            self.without.push(DISPENSABLE.into_iter().find(|name| *name == field && !self.without.contains(name))?);
        }
        Some(self)
    }
}

fn is_too_long(refusal: &str) -> bool {
    refusal.contains("CONTENT_LIMIT_EXCEEDED")
}

impl<L: Links> JiraTickets<L> {
    /// Speaks through the given client, which speaks the [`dialect`], and opens issues in the project with this key.
    #[must_use]
    pub fn new(client: ApiClient, written: Written<L>, fields: FieldMaps, project: String) -> Self {
        Self { client, written, fields, project, ready: OnceCell::new() }
    }

    fn request(&self, method: Method, segments: &[&str], what: &'static str) -> ApiRequest<'_> {
        let segments: Vec<&str> = ["rest", "api", "3"].iter().chain(segments).copied().collect();
        self.client.request(method, &segments, what).header("accept", "application/json")
    }

    /// Makes sure once that the project takes issues of the types that are used.
    async fn ready(&self, deadline: Deadline) -> Result<(), CallError> {
        let look = async {
            let map = self.fields.current().await?;
            let needed = json!({ "project": self.project, "types": types(map.section("ticket")) });
            if self.written.known("set-up").await? == Some(needed.clone()) {
                return Ok(());
            }
            for item in self.set_up(deadline).await? {
                if let SetUpState::Missing { remedy } = item.state {
                    let problem = format!("{} is missing: {remedy}", item.what);
                    return Err(CallError::NotSetUp { api: self.client.name(), problem });
                }
            }
            self.written.know("set-up", needed).await
        };
        self.ready.get_or_try_init(|| look).await.copied()
    }

    /// The issue with the label of a mail. The search may lag behind: the table is the first net, and it alone holds for the
    /// first seconds.
    async fn find_issue(&self, label: &str, deadline: Deadline) -> Result<Option<String>, CallError> {
        let jql = format!("project = {} AND labels = {}", quoted(&self.project), quoted(label));
        let found: Found = self
            .request(Method::POST, &["search", "jql"], "issues")
            .json(&json!({ "jql": jql, "fields": ["key"], "maxResults": 2 }))
            .read(deadline)
            .await?;
        Ok(found.issues.into_iter().next().map(|issue| issue.key))
    }

    async fn create_issue(&self, ticket: &NewTicket, deadline: Deadline) -> Result<String, CallError> {
        let map = self.fields.current().await?;
        let mut attempt = Attempt::first();
        loop {
            let body = self.issue(ticket, map.section("ticket"), &attempt);
            let created: Result<Issue, CallError> =
                self.request(Method::POST, &["issue"], "issue").json(&body).read(deadline).await;
            let error = match created {
                Ok(issue) => return Ok(issue.key),
                Err(error) => error,
            };
            let CallError::Rejected { status: 400, text, .. } = &error else { return Err(error) };
            let Some(next) = attempt.after(text) else { return Err(error) };
            tracing::warn!(
                fields = next.without.join(" "),
                characters = next.room,
                "Jira refuses the issue as it is: it is opened without these fields and with no longer a text"
            );
            attempt = next;
        }
    }

    fn issue(&self, ticket: &NewTicket, section: &Section, attempt: &Attempt) -> Value {
        let mut head = format!("From: {}\nReceived: {}", text::writer(&ticket.from), ticket.received_at);
        let summary = fitting::line(&text::subject(ticket), usize::MAX, char::len_utf16);
        let line = fitting::line(&summary, LONGEST_SUMMARY, char::len_utf16);
        if line != summary {
            head = format!("{head}\nSubject: {summary}");
        }
        if let Some(previous) = &ticket.previous_ticket_id {
            head = format!("{head}\nFollows: {}", text::readable(previous));
        }
        let said = format!("{head}\n\n{}", text::said(&ticket.body));

        let mut fields = Map::new();
        let mut labels = vec![label_of(&ticket.message_id)];
        let mut put = |ours: &str, value: &str| match section.theirs(ours) {
            None => {}
            Some("labels") => labels.push(label(section.value(ours, value))),
            Some(theirs @ ("priority" | "issuetype")) => {
                fields.insert(theirs.to_owned(), json!({ "name": section.value(ours, value) }));
            }
            Some("components") => {
                fields.insert("components".to_owned(), json!([{ "name": section.value(ours, value) }]));
            }
            Some("description") => {
                let text = fitting::fitting(value, attempt.room, char::len_utf16, CUT_LINE);
                fields.insert("description".to_owned(), document(&text));
            }
            Some(theirs) => {
                fields.insert(theirs.to_owned(), json!(section.value(ours, value)));
            }
        };
        put("subject", &line);
        put("text", &said);
        put("priority", &ticket.priority);
        put("category", &ticket.category);
        for flag in &ticket.flags {
            put("flags", flag);
        }
        put("from", ticket.from.email.as_str());
        put("message_id", &ticket.message_id);
        put("grant_id", &ticket.grant_id);
        put("received_at", &ticket.received_at.to_string());
        for (ours, value) in [("thread_id", &ticket.thread_id), ("previous_ticket_id", &ticket.previous_ticket_id)] {
            if let Some(value) = value {
                put(ours, value);
            }
        }
        let is_said = |ours: &str, value: &str| section.translations(ours).any(|(said, _)| said == value);
        let has_component = is_said("desk", &ticket.desk)
            && !(section.theirs("desk") == Some("components") && attempt.without.contains(&"components"));
        if has_component || !matches!(section.theirs("desk"), None | Some("components")) {
            put("desk", &ticket.desk);
        } else if section.theirs("desk").is_some() {
            labels.push(label(&format!("desk-{}", ticket.desk)));
        }
        let mut fixed = section.fixed().clone();
        if is_said("type", &ticket.category) && section.theirs("type").is_some() {
            fixed.remove("issuetype");
            fields.insert("issuetype".to_owned(), json!({ "name": section.value("type", &ticket.category) }));
        }
        if let Some(Value::Array(further)) = fixed.remove("labels") {
            labels.extend(further.iter().filter_map(Value::as_str).map(label));
        }
        fields.extend(fixed);
        labels.sort_unstable();
        labels.dedup();
        fields.insert("labels".to_owned(), json!(labels));
        fields.insert("project".to_owned(), json!({ "key": self.project }));
        for name in &attempt.without {
            fields.remove(*name);
        }
        let about = json!({ "message_id": ticket.message_id, "thread_id": ticket.thread_id });
        json!({ "fields": fields, "properties": [{ "key": PROPERTY, "value": about }] })
    }

    /// The comment that was made of a mail, by its property: the list of comments leaves properties out, so that they are
    /// asked for by the comments' ids.
    async fn find_comment(
        &self,
        issue: &str,
        message_id: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        let mut start_at = 0;
        loop {
            let page: CommentPage = self
                .request(Method::GET, &["issue", issue, "comment"], "issue")
                .query(&[
                    ("orderBy", "-created"),
                    ("startAt", &start_at.to_string()),
                    ("maxResults", &COMMENTS_IN_A_PAGE.to_string()),
                ])
                .read(deadline)
                .await?;
            let ids: Vec<u64> = page.comments.iter().filter_map(|comment| comment.id.parse().ok()).collect();
            if ids.is_empty() {
                return Ok(None);
            }
            start_at += page.comments.len();
            let with_properties: Result<CommentList, CallError> = self
                .request(Method::POST, &["comment", "list"], "comments")
                .query(&[("expand", "properties")])
                .json(&json!({ "ids": ids }))
                .read(deadline)
                .await;
            let found = with_properties.map_err(collection_is_missing)?.values.into_iter().find(|comment| {
                let mut ours = comment.properties.iter().filter(|property| property.key == PROPERTY);
                ours.any(|property| property.value["message_id"] == message_id)
            });
            if let Some(comment) = found {
                return Ok(Some(comment.id));
            }
            if page.total.is_none_or(|total| start_at >= total) {
                return Ok(None);
            }
        }
    }

    /// Written by the API token's user whoever wrote the mail, so the text says who did.
    async fn add_comment(&self, issue: &str, comment: &NewComment, deadline: Deadline) -> Result<String, CallError> {
        let map = self.fields.current().await?;
        let section = map.section("comment");
        let head = format!("{} wrote on {}:", text::writer(&comment.from), comment.received_at);
        let said = format!("{head}\n\n{}", text::said(&comment.body));
        let mut room = LONGEST_TEXT;
        loop {
            let text = fitting::fitting(&said, room, char::len_utf16, CUT_LINE);
            let mut body = section.body([("text", document(&text))]);
            let property = json!({ "key": PROPERTY, "value": { "message_id": comment.message_id } });
            body.insert("properties".to_owned(), json!([property]));
            let added: Result<Comment, CallError> =
                self.request(Method::POST, &["issue", issue, "comment"], "comment").json(&body).read(deadline).await;
            match added {
                Ok(comment) => return Ok(comment.id),
                Err(CallError::Rejected { status: 400, text, .. }) if is_too_long(&text) && room > SHORT_TEXT => {
                    room = SHORT_TEXT;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where people open an issue; not told by the addresses of Atlassian's gateway for OAuth.
    fn page(&self, key: &str) -> Option<String> {
        let base_url = self.client.base_url();
        if base_url.host_str() == Some("api.atlassian.com") {
            return None;
        }
        let mut page = base_url.clone();
        page.path_segments_mut().ok()?.pop_if_empty().extend(["browse", key]);
        Some(page.into())
    }

    /// The types of the project's issues, by name and by id; none if there is no such project.
    async fn types_there(&self, deadline: Deadline) -> Result<Option<Vec<IssueType>>, CallError> {
        let mut there = Vec::new();
        loop {
            let page: Result<TypePage, CallError> = self
                .request(Method::GET, &["issue", "createmeta", &self.project, "issuetypes"], "project")
                .query(&[("startAt", &there.len().to_string()), ("maxResults", "200")])
                .read(deadline)
                .await;
            let page = match page {
                Ok(page) => page,
                Err(CallError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let is_last = page.issue_types.is_empty();
            there.extend(page.issue_types);
            if is_last || page.total.is_none_or(|total| there.len() >= total) {
                return Ok(Some(there));
            }
        }
    }
}

impl<L: Links> OpenTickets for JiraTickets<L> {
    async fn open(&self, ticket: &NewTicket, deadline: Deadline) -> Result<Opened, TicketError> {
        self.ready(deadline).await?;
        let label = label_of(&ticket.message_id);
        let find = self.find_issue(&label, deadline);
        let opened = self.written.once("ticket", &ticket.message_id, find, self.create_issue(ticket, deadline)).await;
        let id = opened.map_err(collection_is_missing)?.id;
        Ok(Opened { url: self.page(&id), id })
    }

    async fn comment(
        &self,
        ticket_id: &str,
        comment: &NewComment,
        deadline: Deadline,
    ) -> Result<Commented, TicketError> {
        let find = self.find_comment(ticket_id, &comment.message_id, deadline);
        let add = self.add_comment(ticket_id, comment, deadline);
        match self.written.once("comment", &comment.message_id, find, add).await {
            Ok(stands) => Ok(Commented::Added(stands.id)),
            Err(CallError::NotFound { .. }) => Ok(Commented::TicketGone),
            Err(error) => Err(error.into()),
        }
    }
}

impl<L: Links> SetUp for JiraTickets<L> {
    /// Looks for the project, and for the types of issues that the field map names.
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        let map = self.fields.current().await?;
        let what = format!("the project {}", self.project);
        let Some(there) = self.types_there(deadline).await? else {
            let remedy = "name the key of a project that the API token's user can see in the parameter TicketProject, or \
                          make one";
            return Ok(vec![SetUpItem { what, state: SetUpState::Missing { remedy: remedy.to_owned() } }]);
        };
        let mut items = vec![SetUpItem { what, state: SetUpState::Present }];
        items.extend(types(map.section("ticket")).into_iter().map(|wanted| {
            let is_there = there.iter().any(|known| known.name == wanted || known.id == wanted);
            let names: Vec<&str> = there.iter().map(|known| known.name.as_str()).collect();
            let state = if is_there {
                SetUpState::Present
            } else if names.is_empty() {
                let remedy = "give the API token's user the permission Create issues in the project".to_owned();
                SetUpState::Missing { remedy }
            } else {
                let remedy = format!(
                    "name one of {} under [jira.ticket.fixed] or [jira.ticket.values.type] in settings/fields.toml, or \
                     add the type to the project",
                    names.join(", ")
                );
                SetUpState::Missing { remedy }
            };
            SetUpItem { what: format!("the type {wanted} of the project's issues"), state }
        }));
        Ok(items)
    }
}

/// The types of issues that a field map names: by name, or by id.
fn types(section: &Section) -> Vec<String> {
    let of_all = section.fixed().get("issuetype").unwrap_or(&Value::Null);
    let of_all = [&of_all["name"], &of_all["id"]].into_iter().find_map(Value::as_str);
    let of_some = section.translations("type").map(|(_, theirs)| theirs).filter(|_| section.theirs("type").is_some());
    let mut types: Vec<String> = of_all.into_iter().chain(of_some).map(str::to_owned).collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// The label that tells which mail an issue was made of.
fn label_of(message_id: &str) -> String {
    format!("nylas-{}", &sha256_hex(&[message_id.as_bytes()])[..32])
}

/// A word as a label, which takes no spaces.
fn label(word: &str) -> String {
    let word = text::readable(word).split_whitespace().collect::<Vec<_>>().join("-");
    fitting::line(&word, LONGEST_LABEL, char::len_utf16)
}

/// A value in a query ("JQL", Strings and quotes).
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Plain text as a document that shows the same lines and nothing else ("Atlassian Document Format"). An empty text node
/// is none.
fn document(text: &str) -> Value {
    let paragraph = |lines: &[&str]| {
        let mut content = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            if place > 0 {
                content.push(json!({ "type": "hardBreak" }));
            }
            if !line.is_empty() {
                content.push(json!({ "type": "text", "text": line }));
            }
        }
        json!({ "type": "paragraph", "content": content })
    };
    let lines: Vec<&str> = text.lines().collect();
    let paragraphs = lines.split(|line| line.trim().is_empty()).filter(|lines| !lines.is_empty());
    json!({ "type": "doc", "version": 1, "content": paragraphs.map(paragraph).collect::<Vec<_>>() })
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    issues: Vec<Issue>,
}

#[derive(Deserialize)]
struct Issue {
    key: String,
}

#[derive(Deserialize)]
struct CommentPage {
    comments: Vec<Comment>,
    total: Option<usize>,
}

#[derive(Deserialize)]
struct CommentList {
    values: Vec<Comment>,
}

#[derive(Deserialize)]
struct Comment {
    id: String,
    #[serde(default)]
    properties: Vec<Property>,
}

#[derive(Deserialize)]
struct Property {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
struct TypePage {
    #[serde(rename = "issueTypes", default)]
    issue_types: Vec<IssueType>,
    total: Option<usize>,
}

#[derive(Deserialize)]
struct IssueType {
    id: String,
    name: String,
}

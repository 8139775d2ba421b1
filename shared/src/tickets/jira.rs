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
        Box::pin(self.ready(deadline)).await?;
        let label = label_of(&ticket.message_id);
        let find = Box::pin(self.find_issue(&label, deadline));
        let create = Box::pin(self.create_issue(ticket, deadline));
        let opened = self.written.once("ticket", &ticket.message_id, find, create).await;
        let id = opened.map_err(collection_is_missing)?.id;
        Ok(Opened { url: self.page(&id), id })
    }

    async fn comment(
        &self,
        ticket_id: &str,
        comment: &NewComment,
        deadline: Deadline,
    ) -> Result<Commented, TicketError> {
        let find = Box::pin(self.find_comment(ticket_id, &comment.message_id, deadline));
        let add = Box::pin(self.add_comment(ticket_id, comment, deadline));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::EmailAddress;
    use crate::domain::failure::Failure;
    use crate::engine::Clock;
    use crate::engine::testing::MemoryLinks;
    use crate::http::{ApiSettings, Credential, http_client};
    use crate::tickets::Correspondent;
    use reqwest::StatusCode;
    use secrecy::SecretString;
    use wiremock::matchers::{body_json, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn tickets_at(base_url: &str, fields: &'static str) -> JiraTickets<MemoryLinks> {
        let settings = ApiSettings {
            name: "Jira",
            base_url: crate::configuration::parse_base_url(base_url).expect("a URL"),
            credential: Credential::Fixed(SecretString::from("mail@x.example:token")),
            credential_parameter: "TicketApiKey",
            calls_per_second: None,
        };
        let client = ApiClient::new(http_client().expect("a client"), settings).speaking(dialect());
        let written = Written::new(MemoryLinks::default(), Clock::system(), SYSTEM).settled_after(Duration::ZERO);
        JiraTickets::new(client, written, FieldMaps::built_in(SYSTEM, fields), "SUP".to_owned())
    }

    /// A site whose project takes tasks and bugs.
    async fn site() -> MockServer {
        let server = MockServer::start().await;
        let types = json!({ "issueTypes": [{ "id": "1", "name": "Task" }, { "id": "2", "name": "Bug" }], "total": 2 });
        answer(&server, "GET", "/rest/api/3/issue/createmeta/SUP/issuetypes", 200, types).await;
        server
    }

    async fn answer(server: &MockServer, wanted: &str, at: &str, status: u16, body: Value) {
        let response = ResponseTemplate::new(status).set_body_json(body);
        Mock::given(method(wanted)).and(path(at)).respond_with(response).mount(server).await;
    }

    async fn refuse_once(server: &MockServer, at: &str, body: Value) {
        let response = ResponseTemplate::new(400).set_body_json(body);
        Mock::given(method("POST")).and(path(at)).respond_with(response).up_to_n_times(1).mount(server).await;
    }

    async fn posted(server: &MockServer) -> Vec<Value> {
        let requests = server.received_requests().await.expect("recorded");
        let posts = requests.iter().filter(|request| request.method.as_str() == "POST");
        posts.map(|request| serde_json::from_slice(&request.body).expect("JSON")).collect()
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn dana() -> Correspondent {
        let email = EmailAddress::parse("dana@acme.example").expect("an address");
        Correspondent { email, name: Some("Dana Chen".to_owned()) }
    }

    fn ticket() -> NewTicket {
        NewTicket {
            message_id: "m1".to_owned(),
            grant_id: "g1".to_owned(),
            thread_id: Some("t1".to_owned()),
            subject: Some("Export\nfails".to_owned()),
            from: dana(),
            category: "bugs".to_owned(),
            priority: "medium".to_owned(),
            desk: "Level 2".to_owned(),
            flags: vec!["stranger_quotes_ticket".to_owned()],
            previous_ticket_id: Some("SUP-7".to_owned()),
            received_at: "2026-03-01T10:00:00Z".parse().expect("a time"),
            body: "It says\n500.\n\n\nDana".to_owned(),
        }
    }

    fn comment(body: &str) -> NewComment {
        NewComment {
            message_id: "m2".to_owned(),
            from: dana(),
            body: body.to_owned(),
            received_at: "2026-03-01T10:00:00Z".parse().expect("a time"),
        }
    }

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
        let mut reply = Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        };
        for (name, value) in headers {
            reply.headers.insert(*name, value.parse().expect("a value"));
        }
        reply
    }

    fn text(text: &str) -> Value {
        json!({ "type": "text", "text": text })
    }

    #[test]
    fn refusals_are_told_apart_and_told_in_jiras_words() {
        let invalid = r#"{"errorMessages":["Odd."],"errors":{"summary":"You must specify a summary."}}"#;
        let words = Judgement::Refused { words: "Odd.; summary: You must specify a summary.".to_owned() };
        assert_eq!(judge(&reply(400, &[], invalid)), Some(words));
        let forbidden = r#"{"errorMessages":["You may not."],"errors":{}}"#;
        assert_eq!(
            judge(&reply(403, &[], forbidden)),
            Some(Judgement::NotAllowed { words: "You may not.".to_owned() })
        );
        let captcha = [("x-seraph-loginreason", "AUTHENTICATION_DENIED")];
        assert_eq!(judge(&reply(403, &captcha, forbidden)), Some(Judgement::CredentialRefused));
        for status in [401, 404, 410, 500, 503] {
            assert_eq!(judge(&reply(status, &[], "{}")), None, "{status}");
        }
    }

    #[test]
    fn limit_of_the_site_pauses_all_and_that_of_one_issue_its_own_call() {
        let burst = judge(&reply(429, &[("retry-after", "7"), ("ratelimit-reason", "jira-burst-based")], ""));
        let expected =
            Judgement::TooManyCalls { wait: Duration::from_secs(7), allowance: "jira-burst-based".to_owned() };
        assert_eq!(burst, Some(expected));
        let issue = judge(&reply(429, &[("retry-after", "7"), ("ratelimit-reason", "jira-per-issue-on-write")], ""));
        assert!(
            matches!(issue, Some(Judgement::Unavailable { wait: Some(wait), .. }) if wait == Duration::from_secs(7))
        );
        let bare = judge(&reply(429, &[], ""));
        assert!(matches!(bare, Some(Judgement::TooManyCalls { wait, .. }) if wait == PAUSE));
    }

    #[test]
    fn allowance_that_is_used_up_pauses_until_its_reset() {
        let reset = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(90)).to_string();
        let of = |headers: &[(&'static str, &str)]| allowance(&reply(200, headers, "").headers).map(|(wait, _)| wait);
        let wait = of(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)]).expect("a pause");
        assert!(wait > Duration::from_secs(80) && wait <= Duration::from_secs(90), "{wait:?}");
        let minutes = of(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2100-01-01T10:30Z")]);
        assert!(minutes.is_some_and(|wait| wait > Duration::from_hours(24)), "{minutes:?}");
        assert_eq!(of(&[("x-ratelimit-remaining", "0")]), Some(PAUSE));
        assert_eq!((of(&[("x-ratelimit-remaining", "1")]), of(&[])), (None, None));
    }

    #[tokio::test]
    async fn issue_carries_what_the_map_says_and_names_its_mail() {
        let server = site().await;
        let document = json!({ "type": "doc", "version": 1, "content": [
            { "type": "paragraph", "content": [
                text("From: Dana Chen <dana@acme.example>"), { "type": "hardBreak" },
                text("Received: 2026-03-01T10:00:00Z"), { "type": "hardBreak" }, text("Follows: SUP-7"),
            ] },
            { "type": "paragraph", "content": [text("It says"), { "type": "hardBreak" }, text("500.")] },
            { "type": "paragraph", "content": [text("Dana")] },
        ] });
        let label = label_of("m1");
        let body = json!({
            "fields": {
                "project": { "key": "SUP" }, "issuetype": { "name": "Task" }, "summary": "Export fails",
                "description": document, "priority": { "name": "Medium" },
                "labels": ["bugs", "desk-Level-2", label, "stranger_quotes_ticket"],
            },
            "properties": [{ "key": "nylas", "value": { "message_id": "m1", "thread_id": "t1" } }],
        });
        Mock::given(method("POST"))
            .and(path("/rest/api/3/issue"))
            // mail@x.example:token
            .and(header("authorization", "Basic bWFpbEB4LmV4YW1wbGU6dG9rZW4="))
            .and(body_json(body))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "id": "1", "key": "SUP-8" })))
            .expect(1)
            .mount(&server)
            .await;
        let opened = tickets_at(&server.uri(), FIELDS).open(&ticket(), soon()).await.expect("opened");
        assert_eq!(opened, Opened { id: "SUP-8".to_owned(), url: Some(format!("{}/browse/SUP-8", server.uri())) });
        assert_eq!((label.len(), label.contains(' ')), (38, false));
    }

    #[tokio::test]
    async fn type_component_and_fields_of_ones_own_are_what_the_map_says() {
        let fields = r#"
            [jira.ticket.fields]
            subject = "summary"
            text = "description"
            type = "issuetype"
            desk = "components"
            from = "customfield_10050"
            message_id = ""
            [jira.ticket.values.type]
            bugs = "Bug"
            [jira.ticket.values.desk]
            "Level 2" = "Engineering"
            [jira.ticket.fixed]
            issuetype = { name = "Task" }
            labels = ["by mail"]
            customfield_10051 = { value = "x" }
        "#;
        let server = site().await;
        answer(&server, "POST", "/rest/api/3/issue", 201, json!({ "key": "SUP-8" })).await;
        tickets_at(&server.uri(), fields).open(&ticket(), soon()).await.expect("opened");
        let sent = &posted(&server).await[0]["fields"];
        assert_eq!(
            (&sent["issuetype"], &sent["components"]),
            (&json!({ "name": "Bug" }), &json!([{ "name": "Engineering" }]))
        );
        assert_eq!(
            (&sent["customfield_10050"], &sent["customfield_10051"]),
            (&json!("dana@acme.example"), &json!({ "value": "x" }))
        );
        assert_eq!(sent["labels"], json!(["by-mail", label_of("m1")]));
        assert_eq!(sent["priority"], Value::Null);
    }

    #[tokio::test]
    async fn field_that_the_project_does_not_take_is_left_out_and_any_other_refusal_is_final() {
        let server = site().await;
        let refusal = json!({ "errorMessages": [], "errors": {
            "components": "Component name 'Engineering' is not valid", "priority": "Field 'priority' cannot be set.",
        } });
        refuse_once(&server, "/rest/api/3/issue", refusal).await;
        answer(&server, "POST", "/rest/api/3/issue", 201, json!({ "key": "SUP-8" })).await;
        let fields = r#"
            [jira.ticket.fields]
            subject = "summary"
            priority = "priority"
            desk = "components"
            [jira.ticket.values.desk]
            "Level 2" = "Engineering"
            [jira.ticket.fixed]
            issuetype = { id = "1" }
        "#;
        tickets_at(&server.uri(), fields).open(&ticket(), soon()).await.expect("opened");
        let sent = posted(&server).await;
        let of = |attempt: usize| (&sent[attempt]["fields"]["components"], &sent[attempt]["fields"]["priority"]);
        assert_eq!(of(0), (&json!([{ "name": "Engineering" }]), &json!({ "name": "medium" })));
        assert_eq!(of(1), (&Value::Null, &Value::Null));
        assert!(sent[1]["fields"]["labels"].as_array().is_some_and(|labels| labels.contains(&json!("desk-Level-2"))));

        let server = site().await;
        let refusal =
            json!({ "errorMessages": [], "errors": { "priority": "No.", "customfield_1": "Severity is required." } });
        answer(&server, "POST", "/rest/api/3/issue", 400, refusal).await;
        let refused = tickets_at(&server.uri(), FIELDS).open(&ticket(), soon()).await.expect_err("refused");
        let failure = Failure::from(refused);
        assert!(
            matches!(&failure, Failure::Permanent { what, .. } if what.contains("customfield_1: Severity is required.")),
            "{failure:?}"
        );
        assert_eq!(posted(&server).await.len(), 1);
    }

    #[tokio::test]
    async fn field_that_stays_refused_is_left_out_once_and_then_given_up() {
        let server = site().await;
        let refusal = json!({ "errorMessages": [], "errors": { "labels": "Field 'labels' cannot be set." } });
        answer(&server, "POST", "/rest/api/3/issue", 400, refusal).await;
        let refused = tickets_at(&server.uri(), FIELDS).open(&ticket(), soon()).await.expect_err("refused");
        assert_eq!(Failure::from(refused).class(), "ticket.rejected");
        assert_eq!(posted(&server).await.len(), 2);
    }

    #[tokio::test]
    async fn text_that_counts_for_more_than_its_characters_is_cut_shorter() {
        let too_long = json!({ "errorMessages": ["CONTENT_LIMIT_EXCEEDED"], "errors": {} });
        let long = "🦀".repeat(40_000);
        let units = |document: &Value| document.to_string().encode_utf16().count();

        let server = site().await;
        refuse_once(&server, "/rest/api/3/issue", too_long.clone()).await;
        answer(&server, "POST", "/rest/api/3/issue", 201, json!({ "key": "SUP-8" })).await;
        let tickets = tickets_at(&server.uri(), FIELDS);
        tickets.open(&NewTicket { body: long.clone(), ..ticket() }, soon()).await.expect("opened");
        let sent = posted(&server).await;
        let first = units(&sent[0]["fields"]["description"]);
        assert!(first > 32_000 && first < LONGEST_TEXT + 1_000, "{first}");
        assert!(units(&sent[1]["fields"]["description"]) < 9_000);

        let at = "/rest/api/3/issue/SUP-8/comment";
        refuse_once(&server, at, too_long.clone()).await;
        refuse_once(&server, at, too_long).await;
        let refused = tickets.comment("SUP-8", &comment(&long), soon()).await.expect_err("still too long");
        assert_eq!(Failure::from(refused).class(), "ticket.rejected");
        assert_eq!(posted(&server).await.len(), 4);
    }

    #[tokio::test]
    async fn comment_after_a_lost_answer_is_found_by_its_property_on_any_page() {
        let server = site().await;
        let tickets = tickets_at(&server.uri(), FIELDS);
        let at = "/rest/api/3/issue/SUP-8/comment";
        let down = ResponseTemplate::new(500);
        Mock::given(method("POST")).and(path(at)).respond_with(down).up_to_n_times(1).mount(&server).await;
        tickets.comment("SUP-8", &comment("Still."), soon()).await.expect_err("no answer");

        let page = |ids: &[&str]| {
            let comments: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
            ResponseTemplate::new(200).set_body_json(json!({ "comments": comments, "total": 3 }))
        };
        let query = wiremock::matchers::query_param;
        Mock::given(method("GET"))
            .and(path(at))
            .and(query("startAt", "0"))
            .respond_with(page(&["30", "20"]))
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(method("GET"))
            .and(path(at))
            .and(query("startAt", "2"))
            .respond_with(page(&["10"]))
            .expect(1)
            .mount(&server)
            .await;
        let with = |id: &str, message: &str| json!({ "id": id, "properties": [{ "key": "nylas", "value": { "message_id": message } }] });
        for (ids, values) in
            [(json!([30, 20]), json!([with("30", "m9"), { "id": "20" }])), (json!([10]), json!([with("10", "m2")]))]
        {
            Mock::given(method("POST"))
                .and(path("/rest/api/3/comment/list"))
                .and(query("expand", "properties"))
                .and(body_json(json!({ "ids": ids })))
                .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "values": values })))
                .expect(1)
                .mount(&server)
                .await;
        }
        let added = tickets.comment("SUP-8", &comment("Still."), soon()).await;
        assert_eq!(added, Ok(Commented::Added("10".to_owned())));
    }

    #[tokio::test]
    async fn project_or_type_that_there_is_not_keeps_all_issues_waiting_and_is_told() {
        let nowhere = MockServer::start().await;
        let other = "[jira.ticket.fields]\nsubject = \"summary\"\n[jira.ticket.fixed]\nissuetype = { name = \"Epic\" }";
        let odd = site().await;
        for (server, fields, told) in [
            (&nowhere, FIELDS, "the project SUP is missing: name the key"),
            (&odd, other, "the type Epic of the project's issues is missing: name one of Task, Bug"),
        ] {
            let tickets = tickets_at(&server.uri(), fields);
            let failure = Failure::from(tickets.open(&ticket(), soon()).await.expect_err("not set up"));
            assert!(
                matches!(&failure, Failure::Transient { class: "ticket.not_set_up", what, .. } if what.contains(told)),
                "{failure:?}"
            );
        }
        assert_eq!(posted(&odd).await.len(), 0);
    }

    #[tokio::test]
    async fn set_up_is_looked_at_once_a_process_and_remembered_for_the_next() {
        let server = site().await;
        answer(&server, "POST", "/rest/api/3/issue", 201, json!({ "key": "SUP-8" })).await;
        let tickets = tickets_at(&server.uri(), FIELDS);
        for message in ["m1", "m2"] {
            tickets.open(&NewTicket { message_id: message.to_owned(), ..ticket() }, soon()).await.expect("opened");
        }
        let gets = |requests: Vec<wiremock::Request>| {
            requests.iter().filter(|request| request.method.as_str() == "GET").count()
        };
        assert_eq!(gets(server.received_requests().await.expect("recorded")), 1);
        let next = JiraTickets { ready: OnceCell::new(), ..tickets };
        next.open(&NewTicket { message_id: "m3".to_owned(), ..ticket() }, soon()).await.expect("opened");
        assert_eq!(gets(server.received_requests().await.expect("recorded")), 1);
    }

    #[test]
    fn page_of_an_issue_is_below_the_site_and_not_known_behind_the_gateway() {
        let page = |base_url| tickets_at(base_url, FIELDS).page("SUP-8");
        assert_eq!(page("https://x.atlassian.net"), Some("https://x.atlassian.net/browse/SUP-8".to_owned()));
        assert_eq!(page("https://api.atlassian.com/ex/jira/1f-2"), None);
    }

    #[test]
    fn query_quotes_what_could_end_it() {
        assert_eq!(quoted(r#"a" OR "b\"#), r#""a\" OR \"b\\""#);
    }

    #[test]
    fn document_shows_every_line_and_has_no_empty_text() {
        let content = |text: &str| document(text)["content"].clone();
        assert_eq!(content(""), json!([]));
        assert_eq!(
            content("a\n\n \n<b>&c"),
            json!([
                { "type": "paragraph", "content": [text("a")] }, { "type": "paragraph", "content": [text("<b>&c")] },
            ])
        );
    }

    #[test]
    fn summary_is_one_line_of_at_most_255_units_and_stands_whole_in_the_text() {
        let tickets = tickets_at("https://x.atlassian.net", FIELDS);
        let map = crate::field_map::FieldMap::parse(SYSTEM, FIELDS, None).expect("a map");
        let ticket = NewTicket { subject: Some("🦀".repeat(200)), ..ticket() };
        let issue = tickets.issue(&ticket, map.section("ticket"), &Attempt::first());
        let summary = issue["fields"]["summary"].as_str().expect("a summary");
        assert!(summary.encode_utf16().count() <= LONGEST_SUMMARY && summary.ends_with('…'), "{summary}");
        assert!(issue["fields"]["description"].to_string().contains(&"🦀".repeat(200)));
    }

    #[test]
    fn every_example_in_the_comments_of_the_field_map_can_be_used_as_it_stands() {
        let mut examples = Vec::new();
        let mut is_example = false;
        for line in FIELDS.lines() {
            let bare = line.strip_prefix("# ").unwrap_or_default();
            is_example = line.starts_with('#') && (bare.starts_with('[') || (is_example && bare.contains(" = ")));
            if is_example {
                examples.push(bare);
            }
        }
        assert!(examples.len() >= 4, "{examples:?}");
        crate::field_map::FieldMap::parse(SYSTEM, FIELDS, Some(&examples.join("\n"))).expect("a map");
    }
}

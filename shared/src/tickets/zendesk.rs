//! Zendesk Support as the ticket system. Facts about its API are from developer.zendesk.com, the page in parentheses.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::text::{self, CUT_LINE};
use super::{Commented, Correspondent, NewComment, NewTicket, OpenTickets, Opened, TicketError, collection_is_missing};
use crate::domain::digest::sha256_hex;
use crate::engine::{Deadline, Links};
use crate::field_map::{FieldMaps, Section};
use crate::fitting;
use crate::http::dialect::{number, retry_after};
use crate::http::{ApiClient, ApiRequest, Authorization, CallError, Dialect, Judgement, Reply};
use crate::set_up::{SetUp, SetUpItem, SetUpState};
use crate::written::Written;

/// The short name of the system.
pub const SYSTEM: &str = "zendesk";

/// The built-in field map.
pub const FIELDS: &str = include_str!("zendesk.toml");

/// The longest text of a comment, in bytes of UTF-8 (support.zendesk.com: roughly 65,000 characters by their encoding).
pub const LONGEST_TEXT: usize = 64 * 1024 - 1;

/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 150;

/// How long the names of groups are taken as known.
const GROUPS_KNOWN_FOR: Duration = Duration::from_hours(1);

/// How long a name that is not among them is taken as unknown.
const UNKNOWN_FOR: Duration = Duration::from_mins(1);

/// The pause after a refusal for too many calls that names none: limits are per minute ("Rate limits").
const PAUSE: Duration = Duration::from_secs(30);

/// The key under which an audit names the mail that its comment was made of.
const MESSAGE_ID: &str = "nylas_message_id";

/// How a Zendesk account speaks: an API key is `{mail}/token:{key}`, anything without a colon an OAuth token.
#[must_use]
pub fn dialect() -> Dialect {
    Dialect { authorization: Authorization::BasicOrBearer, judge, allowance }
}

/// Tickets without an answer in time are 409 while another update of the same ticket, or another request under the same
/// key, is under way; a 403 comes of the role of the API key's user.
fn judge(reply: &Reply) -> Option<Judgement> {
    let wait = retry_after(&reply.headers);
    match reply.status.as_u16() {
        429 => Some(Judgement::TooManyCalls {
            wait: wait.unwrap_or(PAUSE),
            allowance: "the calls of this minute".to_owned(),
        }),
        409 => Some(Judgement::Unavailable { problem: format!("it answered 409: {}", words(&reply.body)), wait }),
        403 => Some(Judgement::NotAllowed { words: words(&reply.body) }),
        400 | 413 | 415 | 422 => Some(Judgement::Refused { words: words(&reply.body) }),
        _ => None,
    }
}

/// What an error says: `{"error", "description", "details": {field: [{"description"}]}}`, where `error` may be an object
/// with a title and a message; some are plain text ("Requests").
fn words(body: &[u8]) -> String {
    let Ok(error) = serde_json::from_slice::<Value>(body) else {
        return String::from_utf8_lossy(body).trim().to_owned();
    };
    let heads = [&error["error"], &error["error"]["title"], &error["error"]["message"], &error["description"]];
    let details = error["details"].as_object().into_iter().flatten();
    let details = details.flat_map(|(_, problems)| problems.as_array().into_iter().flatten());
    let said: Vec<&str> = heads
        .into_iter()
        .filter_map(Value::as_str)
        .chain(details.filter_map(|problem| problem["description"].as_str()))
        .collect();
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}

/// Of the calls of this minute none is left ("Rate limits": two families of headers, either may be absent).
fn allowance(headers: &HeaderMap) -> Option<(Duration, &'static str)> {
    let left = ["ratelimit-remaining", "x-rate-limit-remaining"].iter().find_map(|name| number(headers, name))?;
    let reset = number(headers, "ratelimit-reset").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    (left < 1.0).then(|| (reset.unwrap_or(PAUSE), "the calls of this minute"))
}

/// The adapter.
pub struct ZendeskTickets<L> {
    client: ApiClient,
    written: Written<L>,
    fields: FieldMaps,
    groups: tokio::sync::Mutex<Option<Groups>>,
}

/// The groups of agents.
struct Groups {
    numbers: HashMap<String, u64>,
    read_at: Instant,
}

impl<L: Links> ZendeskTickets<L> {
    /// Speaks through the given client, which speaks the [`dialect`].
    #[must_use]
    pub fn new(client: ApiClient, written: Written<L>, fields: FieldMaps) -> Self {
        Self { client, written, fields, groups: tokio::sync::Mutex::default() }
    }

    /// Without the header some errors are HTML ("Requests").
    fn request(&self, method: Method, segments: &[&str], what: &'static str) -> ApiRequest<'_> {
        let segments: Vec<&str> = ["api", "v2"].iter().chain(segments).copied().collect();
        self.client.request(method, &segments, what).header("accept", "application/json")
    }

    async fn find_ticket(&self, external_id: &str, deadline: Deadline) -> Result<Option<String>, CallError> {
        let query = [("external_id", external_id)];
        let found: TicketList = self.request(Method::GET, &["tickets"], "tickets").query(&query).read(deadline).await?;
        // External ids are not unique: of several, the first is the one that was continued.
        Ok(found.tickets.iter().map(|ticket| ticket.id).min().map(|id| id.to_string()))
    }

    async fn create_ticket(&self, ticket: &NewTicket, deadline: Deadline) -> Result<String, CallError> {
        let external_id = external_id(&ticket.message_id);
        let body = json!({ "ticket": self.ticket_body(ticket, &external_id, deadline).await? });
        let created: Result<TicketAnswer, CallError> = self
            .request(Method::POST, &["tickets"], "ticket")
            // A digest, because a header takes neither every character of an id nor more than 255.
            .header("idempotency-key", &sha256_hex(&[external_id.as_bytes()]))
            .json(&body)
            .read(deadline)
            .await;
        match created {
            Ok(answer) => Ok(answer.ticket.id.to_string()),
            // Within two hours an earlier try made the ticket with another body, as under rules that were changed since.
            Err(CallError::Rejected { status: 400, text, api, what }) if text.contains("IdempotentRequestError") => {
                let found = self.find_ticket(&external_id, deadline).await?;
                found.ok_or(CallError::Rejected { status: 400, text, api, what })
            }
            Err(error) => Err(error),
        }
    }

    async fn ticket_body(
        &self,
        ticket: &NewTicket,
        external_id: &str,
        deadline: Deadline,
    ) -> Result<Map<String, Value>, CallError> {
        let map = self.fields.current().await?;
        let section = map.section("ticket");
        let mut tags = Vec::new();
        let mut values = vec![
            ("priority", json!(ticket.priority)),
            ("message_id", json!(ticket.message_id)),
            ("grant_id", json!(ticket.grant_id)),
            ("received_at", json!(ticket.received_at.to_string())),
        ];
        if let Some(thread_id) = &ticket.thread_id {
            values.push(("thread_id", json!(thread_id)));
        }
        if section.translations("type").any(|(category, _)| category == ticket.category) {
            values.push(("type", json!(ticket.category)));
        }
        for (ours, words) in [("category", std::slice::from_ref(&ticket.category)), ("flags", &ticket.flags)] {
            if section.theirs(ours) == Some("tags") {
                tags.extend(words.iter().map(|word| tag(section.value(ours, word))));
            } else if !words.is_empty() {
                let words: Vec<&str> = words.iter().map(|word| section.value(ours, word)).collect();
                values.push((ours, json!(words.join(" "))));
            }
        }
        match self.group_of(&ticket.desk, section, deadline).await? {
            Some(group) => values.push(("desk", json!(group))),
            None if section.theirs("desk").is_some() => tags.push(tag(&format!("desk_{}", ticket.desk))),
            None => {}
        }

        let subject = fitting::line(&text::subject(ticket), usize::MAX, |_| 1);
        let line = fitting::line(&subject, LONGEST_SUBJECT, |_| 1);
        let mut said = String::new();
        if line != subject {
            said = format!("{subject}\n\n");
        }
        values.push(("subject", json!(line)));
        let mut comment = Map::new();
        if let Some(previous) = &ticket.previous_ticket_id {
            said = format!("{said}(Follows ticket {}.)\n\n", text::readable(previous));
            if let Some(closed) = self.if_closed(previous, section, deadline).await? {
                values.push(("previous_ticket_id", json!(closed)));
                // The author of a follow-up's first comment is the API key's user unless it is told otherwise ("Creating a
                // follow-up ticket"); that of any other ticket is its requester ("Requesters and submitters").
                if let Some(author) = self.user(&ticket.from, deadline).await? {
                    comment.insert("author_id".to_owned(), json!(author));
                }
            }
        }
        said.push_str(&text::said(&ticket.body));
        let said = fitting::fitting(&said, LONGEST_TEXT, char::len_utf8, CUT_LINE);
        comment.insert("body".to_owned(), json!(said));

        let mut body = section.body(values);
        if let Some(Value::Array(fixed)) = body.remove("tags") {
            tags.extend(fixed.iter().filter_map(Value::as_str).map(tag));
        }
        tags.sort_unstable();
        tags.dedup();
        let own: Vec<String> = body.keys().filter(|name| name.parse::<u64>().is_ok()).cloned().collect();
        let own: Vec<Value> = own
            .iter()
            .filter_map(|name| Some(json!({ "id": name.parse::<u64>().ok()?, "value": body.remove(name)? })))
            .collect();
        if !own.is_empty() {
            let fixed = body.remove("custom_fields").and_then(|fixed| fixed.as_array().cloned());
            body.insert("custom_fields".to_owned(), fixed.into_iter().flatten().chain(own).collect());
        }
        body.insert("external_id".to_owned(), json!(external_id));
        let requester = json!({ "name": text::name(&ticket.from), "email": ticket.from.email.as_str() });
        body.insert("requester".to_owned(), requester);
        body.insert("comment".to_owned(), Value::Object(comment));
        body.insert("tags".to_owned(), json!(tags));
        Ok(body)
    }

    /// The number of a ticket that is closed for good, which alone can be followed up; another one would be refused, or
    /// come to nothing.
    async fn if_closed(&self, id: &str, section: &Section, deadline: Deadline) -> Result<Option<u64>, CallError> {
        let Some(number) = id.parse().ok().filter(|_| section.theirs("previous_ticket_id").is_some()) else {
            return Ok(None);
        };
        match self.status_of(number, deadline).await {
            Ok(status) => Ok((status == "closed").then_some(number)),
            Err(CallError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn status_of(&self, ticket: u64, deadline: Deadline) -> Result<String, CallError> {
        let answer: TicketAnswer =
            self.request(Method::GET, &["tickets", &ticket.to_string()], "ticket").read(deadline).await?;
        Ok(answer.ticket.status)
    }

    /// The group of a desk; none if it has none, or one that there is not: a ticket does not wait for a name to be mended.
    async fn group_of(&self, desk: &str, section: &Section, deadline: Deadline) -> Result<Option<u64>, CallError> {
        let Some((_, group)) = section.translations("desk").find(|(named, _)| *named == desk) else {
            return Ok(None);
        };
        if group.is_empty() || section.theirs("desk").is_none() {
            return Ok(None);
        }
        match self.group(group, deadline).await {
            Ok(Some(number)) => Ok(Some(number)),
            Ok(None) => {
                tracing::warn!(desk, group, "Zendesk has no such group: the ticket carries a tag of its desk instead");
                Ok(None)
            }
            Err(CallError::NotAllowed { .. }) => {
                tracing::warn!(
                    desk,
                    group,
                    "Zendesk shows this credential no groups: the ticket carries a tag instead"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A group by its number, or by its name.
    async fn group(&self, group: &str, deadline: Deadline) -> Result<Option<u64>, CallError> {
        if let Ok(number) = group.parse() {
            return Ok(Some(number));
        }
        let mut held = self.groups.lock().await;
        if let Some(groups) = &*held {
            let known = groups.numbers.get(group).copied();
            let age = groups.read_at.elapsed();
            if age < UNKNOWN_FOR || (known.is_some() && age < GROUPS_KNOWN_FOR) {
                return Ok(known);
            }
        }
        let numbers = self.read_groups(deadline).await?;
        let found = numbers.get(group).copied();
        *held = Some(Groups { numbers, read_at: Instant::now() });
        Ok(found)
    }

    async fn read_groups(&self, deadline: Deadline) -> Result<HashMap<String, u64>, CallError> {
        let mut numbers = HashMap::new();
        let mut after = None;
        loop {
            let page: GroupPage =
                page_of(self.request(Method::GET, &["groups"], "groups"), after.as_deref(), deadline).await?;
            numbers.extend(page.groups.into_iter().filter(|group| !group.deleted).map(|group| (group.name, group.id)));
            after = page.meta.next();
            if after.is_none() {
                return Ok(numbers);
            }
        }
    }

    /// The user with an address, made if there is none; none if the API key's user may not make any.
    async fn user(&self, from: &Correspondent, deadline: Deadline) -> Result<Option<u64>, CallError> {
        let email = from.email.as_str();
        let query = [("query", format!("email:{email}"))];
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let found: Result<UserList, CallError> =
            self.request(Method::GET, &["users", "search"], "users").query(&query).read(deadline).await;
        let found = found.map_err(collection_is_missing)?;
        let is_theirs = |user: &&User| user.email.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(email));
        if let Some(user) = found.users.iter().find(is_theirs) {
            return Ok(Some(user.id));
        }
        // Finds, too, who has the address beside another. Nobody who only wrote a mail is to verify an address.
        let user = json!({ "name": text::name(from), "email": email, "skip_verify_email": true });
        let made: Result<UserAnswer, CallError> = self
            .request(Method::POST, &["users", "create_or_update"], "user")
            .json(&json!({ "user": user }))
            .read(deadline)
            .await;
        match made.map_err(collection_is_missing) {
            Ok(answer) => Ok(Some(answer.user.id)),
            Err(CallError::NotAllowed { .. }) => {
                tracing::warn!(
                    "Zendesk lets this credential make no users: the comment is an internal note of its own"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The comment that was made of a mail, by what its audit says ("Ticket audits").
    async fn find_comment(
        &self,
        ticket: u64,
        message_id: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        let mut after = None;
        loop {
            let request = self.request(Method::GET, &["tickets", &ticket.to_string(), "audits"], "ticket");
            let page: AuditPage = page_of(request, after.as_deref(), deadline).await?;
            let found = page.audits.iter().find(|audit| audit.metadata["custom"][MESSAGE_ID] == message_id);
            if let Some(id) = found.and_then(Audit::comment_id) {
                return Ok(Some(id));
            }
            after = page.meta.next();
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    /// A comment with its author's id is shown as the author's, although the API key's user counts as the one who updates
    /// the ticket ("Ticket comments", Author id). So Zendesk does not see that the customer has written, and what it would
    /// do of itself is done here: the ticket is opened again. What it would do for an update by an agent can be kept from
    /// happening only there: see the field map.
    async fn add_comment(&self, ticket: u64, comment: &NewComment, deadline: Deadline) -> Result<String, CallError> {
        let map = self.fields.current().await?;
        let section = map.section("comment");
        let status = self.status_of(ticket, deadline).await?;
        if status == "closed" {
            return Err(self.gone());
        }
        let author = self.user(&comment.from, deadline).await?;
        let mut said = text::said(&comment.body);
        if author.is_none() {
            said = format!("{} wrote:\n\n{said}", text::writer(&comment.from));
        }
        let said = fitting::fitting(&said, LONGEST_TEXT, char::len_utf8, CUT_LINE);
        let mut body = section.body([("text", json!(said))]);
        match author {
            Some(author) => body.insert("author_id".to_owned(), json!(author)),
            None => body.insert("public".to_owned(), json!(false)),
        };
        let mut update = json!({ "comment": body, "metadata": { MESSAGE_ID: comment.message_id } });
        let becomes = section.value("status", &status);
        if let Some(theirs) = section.theirs("status").filter(|_| becomes != status) {
            update[theirs] = json!(becomes);
        }
        let updated: Result<UpdateAnswer, CallError> = self
            .request(Method::PUT, &["tickets", &ticket.to_string()], "comment")
            .json(&json!({ "ticket": update }))
            .read(deadline)
            .await;
        match updated {
            Ok(answer) => answer.audit.comment_id().ok_or_else(|| CallError::Unreadable {
                api: self.client.name(),
                what: "comment",
                problem: "its audit tells of no comment".to_owned(),
            }),
            // Closed in between. Asked for, because the words of a refusal are in the language of the API key's user.
            Err(error @ CallError::Rejected { status: 422, .. }) => match self.status_of(ticket, deadline).await? {
                status if status == "closed" => Err(self.gone()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn gone(&self) -> CallError {
        CallError::NotFound { api: self.client.name(), what: "ticket that takes comments", gone: true }
    }

    /// Where agents open a ticket.
    fn page(&self, id: &str) -> Option<String> {
        self.client.base_url().join(&format!("/agent/tickets/{id}")).ok().map(String::from)
    }
}

impl<L: Links> OpenTickets for ZendeskTickets<L> {
    async fn open(&self, ticket: &NewTicket, deadline: Deadline) -> Result<Opened, TicketError> {
        let external_id = external_id(&ticket.message_id);
        let find = self.find_ticket(&external_id, deadline);
        let opened = self.written.once("ticket", &ticket.message_id, find, self.create_ticket(ticket, deadline)).await;
        let id = opened.map_err(collection_is_missing)?.id;
        Ok(Opened { url: self.page(&id), id })
    }

    async fn comment(
        &self,
        ticket_id: &str,
        comment: &NewComment,
        deadline: Deadline,
    ) -> Result<Commented, TicketError> {
        // An id of another ticket system, used before this one.
        let Ok(ticket) = ticket_id.parse::<u64>() else { return Ok(Commented::TicketGone) };
        let find = self.find_comment(ticket, &comment.message_id, deadline);
        let added = self.add_comment(ticket, comment, deadline);
        match self.written.once("comment", &comment.message_id, find, added).await {
            Ok(stands) => Ok(Commented::Added(stands.id)),
            Err(CallError::NotFound { .. }) => Ok(Commented::TicketGone),
            Err(error) => Err(error.into()),
        }
    }
}

impl<L: Links> SetUp for ZendeskTickets<L> {
    /// Looks for the groups that the field map gives to desks. Nothing is made: people decide who their groups are.
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        let map = self.fields.current().await?;
        let section = map.section("ticket");
        let groups = match self.read_groups(deadline).await {
            Ok(groups) => groups,
            Err(error @ CallError::NotAllowed { .. }) => {
                return Ok(vec![done_without(
                    "the list of groups",
                    format!("{error}; until then desks are told by tags"),
                )]);
            }
            Err(error) => return Err(collection_is_missing(error)),
        };
        let desks: Vec<(&str, &str)> = section.translations("desk").filter(|(_, group)| !group.is_empty()).collect();
        if desks.is_empty() {
            let instead = "a ticket carries a tag such as desk_support; name the groups of your desks under \
                           [zendesk.ticket.values.desk] in settings/fields.toml to have them assigned";
            return Ok(vec![done_without("the groups of desks", instead.to_owned())]);
        }
        let item = |(desk, group): &(&str, &str)| {
            let what = format!("the group {group} of the desk {desk}");
            let is_there = groups.contains_key(*group)
                || group.parse().is_ok_and(|number: u64| groups.values().any(|known| *known == number));
            if is_there {
                return SetUpItem { what, state: SetUpState::Present };
            }
            let instead = format!(
                "the desk's tickets carry the tag {} and have no group; make the group in Zendesk, or name another under \
                 [zendesk.ticket.values.desk] in settings/fields.toml",
                tag(&format!("desk_{desk}"))
            );
            done_without(&what, instead)
        };
        Ok(desks.iter().map(item).collect())
    }
}

fn done_without(what: &str, instead: String) -> SetUpItem {
    SetUpItem { what: what.to_owned(), state: SetUpState::DoneWithout { instead } }
}

fn external_id(message_id: &str) -> String {
    format!("nylas:{message_id}")
}

/// A word as a tag: tags are divided by spaces and take few other characters.
fn tag(word: &str) -> String {
    let kept = |character: char| {
        if character.is_alphanumeric() || matches!(character, '_' | '-' | '/' | ':') { character } else { '_' }
    };
    word.to_lowercase().chars().map(kept).collect()
}

/// One page of a list that is divided by cursors ("Pagination").
async fn page_of<T: serde::de::DeserializeOwned>(
    request: ApiRequest<'_>,
    after: Option<&str>,
    deadline: Deadline,
) -> Result<T, CallError> {
    let request = request.query(&[("page[size]", "100")]);
    match after {
        Some(after) => request.query(&[("page[after]", after)]).read(deadline).await,
        None => request.read(deadline).await,
    }
}

#[derive(Deserialize)]
struct TicketAnswer {
    ticket: Ticket,
}

#[derive(Deserialize)]
struct TicketList {
    tickets: Vec<Ticket>,
}

#[derive(Deserialize)]
struct Ticket {
    id: u64,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct UserAnswer {
    user: User,
}

#[derive(Deserialize)]
struct UserList {
    users: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    email: Option<String>,
}

#[derive(Deserialize)]
struct GroupPage {
    groups: Vec<Group>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Deserialize)]
struct Group {
    id: u64,
    name: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Deserialize)]
struct AuditPage {
    audits: Vec<Audit>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Deserialize)]
struct UpdateAnswer {
    audit: Audit,
}

#[derive(Deserialize)]
struct Audit {
    #[serde(default)]
    metadata: Value,
    events: Vec<Event>,
}

impl Audit {
    fn comment_id(&self) -> Option<String> {
        self.events.iter().find(|event| event.kind == "Comment").map(|event| event.id.to_string())
    }
}

#[derive(Deserialize)]
struct Event {
    id: u64,
    #[serde(rename = "type")]
    kind: String,
}

/// Where the next page begins.
#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    has_more: bool,
    after_cursor: Option<String>,
}

impl Meta {
    fn next(self) -> Option<String> {
        self.after_cursor.filter(|_| self.has_more)
    }
}

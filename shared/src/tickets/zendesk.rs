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
        let mut own: Vec<String> = body.keys().filter(|name| name.parse::<u64>().is_ok()).cloned().collect();
        own.sort_unstable();
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
        let find = Box::pin(self.find_ticket(&external_id, deadline));
        let create = Box::pin(self.create_ticket(ticket, deadline));
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
        // An id of another ticket system, used before this one.
        let Ok(ticket) = ticket_id.parse::<u64>() else { return Ok(Commented::TicketGone) };
        let find = Box::pin(self.find_comment(ticket, &comment.message_id, deadline));
        let add = Box::pin(self.add_comment(ticket, comment, deadline));
        match self.written.once("comment", &comment.message_id, find, add).await {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::EmailAddress;
    use crate::domain::failure::Failure;
    use crate::engine::Clock;
    use crate::engine::testing::MemoryLinks;
    use crate::http::{ApiSettings, Credential, http_client};
    use reqwest::StatusCode;
    use secrecy::SecretString;
    use wiremock::matchers::{body_partial_json, header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn tickets_with(server: &MockServer, fields: &'static str) -> ZendeskTickets<MemoryLinks> {
        let settings = ApiSettings {
            name: "Zendesk",
            base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
            credential: Credential::Fixed(SecretString::from("agent@x.example/token:key")),
            credential_parameter: "TicketApiKey",
            calls_per_second: None,
        };
        let client = ApiClient::new(http_client().expect("a client"), settings).speaking(dialect());
        let written = Written::new(MemoryLinks::default(), Clock::system(), SYSTEM).settled_after(Duration::ZERO);
        ZendeskTickets::new(client, written, FieldMaps::built_in(SYSTEM, fields))
    }

    fn tickets(server: &MockServer) -> ZendeskTickets<MemoryLinks> {
        tickets_with(server, FIELDS)
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
            subject: Some("Export fails".to_owned()),
            from: dana(),
            category: "bugs".to_owned(),
            priority: "medium".to_owned(),
            desk: "Level 2".to_owned(),
            flags: vec!["stranger_quotes_ticket".to_owned()],
            previous_ticket_id: None,
            received_at: "2026-03-01T10:00:00Z".parse().expect("a time"),
            body: "It says 500.".to_owned(),
        }
    }

    fn comment() -> NewComment {
        NewComment {
            message_id: "m2".to_owned(),
            from: dana(),
            body: "Still.".to_owned(),
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

    async fn bodies(server: &MockServer, wanted: &str) -> Vec<Value> {
        let requests = server.received_requests().await.expect("recorded");
        let ours = requests.iter().filter(|request| request.method.as_str() == wanted);
        ours.map(|request| serde_json::from_slice(&request.body).expect("JSON")).collect()
    }

    async fn answer(server: &MockServer, wanted: &str, at: &str, status: u16, body: Value) {
        let response = ResponseTemplate::new(status).set_body_json(body);
        Mock::given(method(wanted)).and(path(at)).respond_with(response).mount(server).await;
    }

    #[test]
    fn refusals_are_told_apart_by_status_and_told_in_zendesks_words() {
        let invalid = r#"{"error":"RecordInvalid","description":"Record validation errors","details":{"base":[{"description":"Subject: is required","error":"BlankValue"}]}}"#;
        assert_eq!(
            judge(&reply(422, &[], invalid)),
            Some(Judgement::Refused {
                words: "RecordInvalid: Record validation errors: Subject: is required".to_owned()
            })
        );
        let forbidden = r#"{"error":{"title":"Forbidden","message":"You do not have access"}}"#;
        assert_eq!(
            judge(&reply(403, &[], forbidden)),
            Some(Judgement::NotAllowed { words: "Forbidden: You do not have access".to_owned() })
        );
        let odd = Some(Judgement::Refused { words: "no such field".to_owned() });
        assert_eq!(judge(&reply(400, &[], " no such field\n")), odd);
        let conflict = judge(&reply(409, &[("retry-after", "2")], "{}"));
        assert!(
            matches!(conflict, Some(Judgement::Unavailable { wait: Some(wait), .. }) if wait == Duration::from_secs(2))
        );
        for (headers, wait) in [(vec![("retry-after", "93")], 93), (vec![], 30)] {
            let judged = judge(&reply(429, &headers, ""));
            assert!(
                matches!(&judged, Some(Judgement::TooManyCalls { wait: told, .. }) if told.as_secs() == wait),
                "{judged:?}"
            );
        }
        for status in [401, 404, 500, 503] {
            assert_eq!(judge(&reply(status, &[], "{}")), None, "{status}");
        }
    }

    #[test]
    fn calls_that_are_used_up_are_seen_from_either_family_of_headers() {
        let of = |headers| allowance(&reply(200, headers, "").headers).map(|(wait, _)| wait.as_secs());
        assert_eq!(of(&[("ratelimit-remaining", "0"), ("ratelimit-reset", "41")]), Some(41));
        assert_eq!(of(&[("x-rate-limit-remaining", "0")]), Some(30));
        assert_eq!(of(&[("x-rate-limit-remaining", "1")]), None);
        assert_eq!(of(&[]), None);
    }

    #[tokio::test]
    async fn ticket_carries_what_the_map_says_under_a_key_of_its_mail() {
        let server = MockServer::start().await;
        let body = json!({ "ticket": {
            "subject": "Export fails", "comment": { "body": "It says 500." }, "priority": "normal",
            "external_id": "nylas:m1", "requester": { "name": "Dana Chen", "email": "dana@acme.example" },
            "tags": ["category_bugs", "desk_level_2", "stranger_quotes_ticket"],
        } });
        Mock::given(method("POST"))
            .and(path("/api/v2/tickets"))
            // agent@x.example/token:key
            .and(header("authorization", "Basic YWdlbnRAeC5leGFtcGxlL3Rva2VuOmtleQ=="))
            .and(header("accept", "application/json"))
            .and(header("idempotency-key", sha256_hex(&[b"nylas:m1"]).as_str()))
            .and(wiremock::matchers::body_json(body))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({ "ticket": { "id": 7, "status": "new" } })))
            .expect(1)
            .mount(&server)
            .await;
        let opened = tickets(&server).open(&ticket(), soon()).await.expect("opened");
        assert_eq!((opened.id.as_str(), opened.url), ("7", Some(format!("{}/agent/tickets/7", server.uri()))));
    }

    #[tokio::test]
    async fn field_of_ones_own_is_named_by_its_number_and_what_is_fixed_goes_beside_it() {
        let fields = r#"
            [zendesk.ticket.fields]
            subject = "subject"
            category = "360012345678"
            flags = "tags"
            thread_id = "360087654321"
            desk = ""
            [zendesk.ticket.fixed]
            ticket_form_id = 5
            tags = ["by_mail"]
            custom_fields = [{ id = 1, value = "x" }]
        "#;
        let server = MockServer::start().await;
        answer(&server, "POST", "/api/v2/tickets", 201, json!({ "ticket": { "id": 7 } })).await;
        tickets_with(&server, fields).open(&ticket(), soon()).await.expect("opened");
        let sent = &bodies(&server, "POST").await[0]["ticket"];
        assert_eq!(sent["tags"], json!(["by_mail", "stranger_quotes_ticket"]));
        assert_eq!((&sent["ticket_form_id"], &sent["priority"]), (&json!(5), &Value::Null));
        assert_eq!(
            sent["custom_fields"],
            json!([{ "id": 1, "value": "x" }, { "id": 360_012_345_678_u64, "value": "bugs" }, { "id": 360_087_654_321_u64, "value": "t1" }])
        );
    }

    #[tokio::test]
    async fn group_is_found_by_name_on_any_page_once_an_hour_and_else_the_desk_is_a_tag() {
        let fields = r#"
            [zendesk.ticket.fields]
            desk = "group_id"
            [zendesk.ticket.values.desk]
            "Level 2" = "Engineers"
            nobody = "None"
            number = "88"
        "#;
        let server = MockServer::start().await;
        answer(&server, "POST", "/api/v2/tickets", 201, json!({ "ticket": { "id": 7 } })).await;
        let second = json!({ "groups": [{ "id": 12, "name": "Engineers" }], "meta": { "has_more": false, "after_cursor": "z" } });
        Mock::given(method("GET"))
            .and(path("/api/v2/groups"))
            .and(query_param("page[after]", "x"))
            .respond_with(ResponseTemplate::new(200).set_body_json(second))
            .expect(1)
            .mount(&server)
            .await;
        let first =
            json!({ "groups": [{ "id": 11, "name": "Support" }], "meta": { "has_more": true, "after_cursor": "x" } });
        Mock::given(method("GET"))
            .and(path("/api/v2/groups"))
            .respond_with(ResponseTemplate::new(200).set_body_json(first))
            .expect(1)
            .mount(&server)
            .await;
        let tickets = tickets_with(&server, fields);
        for (number, desk) in ["Level 2", "Level 2", "nobody", "number", "unnamed"].iter().enumerate() {
            let ticket = NewTicket { message_id: format!("m{number}"), desk: (*desk).to_owned(), ..ticket() };
            tickets.open(&ticket, soon()).await.expect("opened");
        }
        let sent: Vec<Value> = bodies(&server, "POST").await;
        let groups: Vec<&Value> = sent.iter().map(|body| &body["ticket"]["group_id"]).collect();
        assert_eq!(groups, [&json!(12), &json!(12), &Value::Null, &json!(88), &Value::Null]);
        assert_eq!(
            (&sent[2]["ticket"]["tags"], &sent[4]["ticket"]["tags"]),
            (&json!(["desk_nobody"]), &json!(["desk_unnamed"]))
        );
    }

    #[tokio::test]
    async fn body_that_was_changed_under_the_same_key_finds_the_ticket_of_the_first() {
        let server = MockServer::start().await;
        let refusal = json!({ "error": "IdempotentRequestError", "description": "Request parameters do not match" });
        answer(&server, "POST", "/api/v2/tickets", 400, refusal).await;
        Mock::given(method("GET"))
            .and(path("/api/v2/tickets"))
            .and(query_param("external_id", "nylas:m1"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "tickets": [{ "id": 9 }, { "id": 8 }] })))
            .mount(&server)
            .await;
        assert_eq!(tickets(&server).open(&ticket(), soon()).await.map(|opened| opened.id), Ok("8".to_owned()));
    }

    #[tokio::test]
    async fn ticket_after_one_that_is_closed_follows_it_and_is_still_its_writers() {
        for (status, follows) in [
            (json!({ "ticket": { "id": 3, "status": "closed" } }), true),
            (json!({ "ticket": { "id": 3, "status": "solved" } }), false),
        ] {
            let server = MockServer::start().await;
            answer(&server, "POST", "/api/v2/tickets", 201, json!({ "ticket": { "id": 7 } })).await;
            answer(&server, "GET", "/api/v2/tickets/3", 200, status).await;
            let users = json!({ "users": [{ "id": 1, "email": "dana@acme.example.org" }, { "id": 5, "email": "Dana@acme.example" }] });
            answer(&server, "GET", "/api/v2/users/search", 200, users).await;
            let ticket = NewTicket { previous_ticket_id: Some("3".to_owned()), ..ticket() };
            tickets(&server).open(&ticket, soon()).await.expect("opened");
            let sent = &bodies(&server, "POST").await[0]["ticket"];
            let expected = if follows { (json!(3), json!(5)) } else { (Value::Null, Value::Null) };
            assert_eq!((sent["via_followup_source_id"].clone(), sent["comment"]["author_id"].clone()), expected);
            assert_eq!(sent["comment"]["body"], "(Follows ticket 3.)\n\nIt says 500.");
        }
    }

    #[tokio::test]
    async fn comment_is_its_writers_public_and_opens_the_ticket_again() {
        let server = MockServer::start().await;
        answer(&server, "GET", "/api/v2/tickets/7", 200, json!({ "ticket": { "id": 7, "status": "pending" } })).await;
        answer(&server, "GET", "/api/v2/users/search", 200, json!({ "users": [] })).await;
        let made = json!({ "user": { "name": "Dana Chen", "email": "dana@acme.example", "skip_verify_email": true } });
        Mock::given(method("POST"))
            .and(path("/api/v2/users/create_or_update"))
            .and(body_partial_json(made))
            .respond_with(
                ResponseTemplate::new(201).set_body_json(json!({ "user": { "id": 5, "email": "dana@acme.example" } })),
            )
            .expect(1)
            .mount(&server)
            .await;
        let audit = json!({ "events": [{ "id": 1, "type": "Change" }, { "id": 2, "type": "Comment" }] });
        answer(&server, "PUT", "/api/v2/tickets/7", 200, json!({ "audit": audit })).await;
        let added = tickets(&server).comment("7", &comment(), soon()).await;
        assert_eq!(added, Ok(Commented::Added("2".to_owned())));
        assert_eq!(
            bodies(&server, "PUT").await,
            [json!({ "ticket": {
                "comment": { "body": "Still.", "public": true, "author_id": 5 }, "status": "open",
                "metadata": { "nylas_message_id": "m2" },
            } })]
        );
    }

    #[tokio::test]
    async fn comment_of_a_credential_that_may_make_no_users_is_a_note_that_names_its_writer() {
        let server = MockServer::start().await;
        answer(&server, "GET", "/api/v2/tickets/7", 200, json!({ "ticket": { "id": 7, "status": "new" } })).await;
        answer(&server, "GET", "/api/v2/users/search", 200, json!({ "users": [] })).await;
        answer(&server, "POST", "/api/v2/users/create_or_update", 403, json!({ "error": "Forbidden" })).await;
        let audit = json!({ "events": [{ "id": 2, "type": "Comment" }] });
        answer(&server, "PUT", "/api/v2/tickets/7", 200, json!({ "audit": audit })).await;
        tickets(&server).comment("7", &comment(), soon()).await.expect("added");
        let sent = &bodies(&server, "PUT").await[0]["ticket"];
        let note = json!({ "body": "Dana Chen <dana@acme.example> wrote:\n\nStill.", "public": false });
        assert_eq!((&sent["comment"], &sent["status"]), (&note, &Value::Null));
    }

    #[tokio::test]
    async fn ticket_that_is_closed_while_it_is_commented_on_is_gone_and_another_refusal_is_told() {
        for (then, is_gone) in [("closed", true), ("open", false)] {
            let server = MockServer::start().await;
            let open = ResponseTemplate::new(200).set_body_json(json!({ "ticket": { "id": 7, "status": "open" } }));
            Mock::given(method("GET"))
                .and(path("/api/v2/tickets/7"))
                .respond_with(open)
                .up_to_n_times(1)
                .mount(&server)
                .await;
            answer(&server, "GET", "/api/v2/tickets/7", 200, json!({ "ticket": { "id": 7, "status": then } })).await;
            answer(
                &server,
                "GET",
                "/api/v2/users/search",
                200,
                json!({ "users": [{ "id": 5, "email": "dana@acme.example" }] }),
            )
            .await;
            let refusal =
                json!({ "error": "RecordInvalid", "details": { "status": [{ "description": "geschlossen" }] } });
            answer(&server, "PUT", "/api/v2/tickets/7", 422, refusal).await;
            let commented = tickets(&server).comment("7", &comment(), soon()).await;
            if is_gone {
                assert_eq!(commented, Ok(Commented::TicketGone));
                continue;
            }
            let failure = Failure::from(commented.expect_err("refused"));
            assert!(matches!(&failure, Failure::Permanent { what, .. } if what.contains("geschlossen")), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn id_that_is_no_number_is_of_another_system_and_asked_nobody() {
        let server = MockServer::start().await;
        assert_eq!(tickets(&server).comment("SUP-1", &comment(), soon()).await, Ok(Commented::TicketGone));
        assert!(server.received_requests().await.expect("recorded").is_empty());
    }

    #[tokio::test]
    async fn long_subject_is_cut_and_stands_whole_in_the_text() {
        let server = MockServer::start().await;
        answer(&server, "POST", "/api/v2/tickets", 201, json!({ "ticket": { "id": 7 } })).await;
        let subject = "ä".repeat(200);
        let ticket = NewTicket { subject: Some(subject.clone()), body: "é".repeat(LONGEST_TEXT), ..ticket() };
        tickets(&server).open(&ticket, soon()).await.expect("opened");
        let sent = &bodies(&server, "POST").await[0]["ticket"];
        assert_eq!(sent["subject"].as_str().map(|subject| subject.chars().count()), Some(150));
        let text = sent["comment"]["body"].as_str().expect("a text");
        assert!(text.starts_with(&format!("{subject}\n\né")) && text.ends_with(CUT_LINE) && text.len() <= LONGEST_TEXT);
    }

    #[tokio::test]
    async fn set_up_tells_of_each_desk_whether_its_group_is_there() {
        let fields = r#"
            [zendesk.ticket.fields]
            desk = "group_id"
            [zendesk.ticket.values.desk]
            billing = "11"
            on-call = "Nowhere"
        "#;
        let server = MockServer::start().await;
        answer(&server, "GET", "/api/v2/groups", 200, json!({ "groups": [{ "id": 11, "name": "Support" }] })).await;
        let items = tickets_with(&server, fields).set_up(soon()).await.expect("asked");
        assert_eq!(items[0].state, SetUpState::Present);
        assert!(
            matches!(&items[1].state, SetUpState::DoneWithout { instead } if instead.contains("desk_on-call")),
            "{items:?}"
        );
        let none = tickets(&server).set_up(soon()).await.expect("asked");
        assert!(matches!(none.as_slice(), [SetUpItem { state: SetUpState::DoneWithout { .. }, .. }]), "{none:?}");
    }

    #[tokio::test]
    async fn address_without_tickets_is_at_fault_and_no_message() {
        let server = MockServer::start().await;
        let failure = Failure::from(tickets(&server).open(&ticket(), soon()).await.expect_err("no collection"));
        assert!(
            matches!(&failure, Failure::Transient { class: "ticket.unavailable", what, .. } if what.contains("TicketBaseUrl")),
            "{failure:?}"
        );
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

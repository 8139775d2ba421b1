//! A stand-in for Zendesk Support: tickets, their comments and audits, users and groups. Holds every request against its
//! description, and refuses what Zendesk refuses with Zendesk's own errors.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use serde_json::{Value, json};

use super::{
    CallLog, Faults, Result,
    openapi::OpenApiDocument,
    server::{ErrorAnswer, Server},
    ticket_system::{SeenComment, SeenTicket, TicketStandIn},
};

/// The credential that is good: the agent's address, and an API key.
pub const CREDENTIAL: &str = "agent@northwind.example/token:sample-zendesk-key";

/// The agent whose API key it is.
const AGENT: u64 = 1;

/// The groups of agents, by name.
pub const GROUPS: [(&str, u64); 3] = [("Support", 101), ("First line", 102), ("Billing", 103)];

const DOCUMENT: &str = include_str!("zendesk.openapi.yaml");

const MOST_BYTES_IN_A_BODY: usize = 4 * 1024 * 1024;

/// The longest text of a comment, in bytes.
const LONGEST_TEXT: usize = 64 * 1024 - 1;

const CALLS_A_MINUTE: usize = 700;

#[derive(Debug, Clone)]
struct User {
    id: u64,
    name: String,
    email: String,
}

#[derive(Debug, Clone)]
struct Comment {
    id: u64,
    author: u64,
    text: String,
    is_public: bool,
}

#[derive(Debug, Clone)]
struct Ticket {
    id: u64,
    fields: BTreeMap<String, Value>,
    requester: u64,
    status: String,
    comments: Vec<Comment>,
    audits: Vec<Value>,
}

impl Ticket {
    fn shown(&self) -> Value {
        let mut shown: Value = self.fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        shown["id"] = json!(self.id);
        shown["status"] = json!(self.status);
        shown["requester_id"] = json!(self.requester);
        shown
    }
}

/// What a key was used for: the body and the answer.
#[derive(Debug)]
struct Kept {
    body: Value,
    answer: Value,
}

#[derive(Debug)]
struct Records {
    next_id: u64,
    users: Vec<User>,
    tickets: Vec<Ticket>,
    keys: HashMap<String, Kept>,
    required: Vec<String>,
    served: usize,
}

impl Records {
    fn new() -> Self {
        let agent = User { id: AGENT, name: "Agent".to_owned(), email: "agent@northwind.example".to_owned() };
        Self {
            next_id: 35_436,
            users: vec![agent],
            tickets: Vec::new(),
            keys: HashMap::new(),
            required: Vec::new(),
            served: 0,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The user with an address, made if there is none; and whether it was made.
    fn user(&mut self, email: &str, name: Option<&str>) -> std::result::Result<(u64, bool), Refusal> {
        if let Some(user) = self.users.iter().find(|user| user.email.eq_ignore_ascii_case(email)) {
            return Ok((user.id, false));
        }
        let name = name.ok_or_else(|| Refusal::invalid("name", "Name: is too short (minimum one character)"))?;
        let user = User { id: self.id(), name: name.to_owned(), email: email.to_owned() };
        self.users.push(user.clone());
        Ok((user.id, true))
    }

    fn known(&self, user: &Value) -> std::result::Result<u64, Refusal> {
        let known = self.users.iter().find(|known| json!(known.id) == *user);
        known.map(|user| user.id).ok_or_else(|| Refusal::invalid("author_id", "Author: is invalid"))
    }

    fn ticket(&mut self, id: &str) -> std::result::Result<&mut Ticket, Refusal> {
        self.tickets.iter_mut().find(|ticket| ticket.id.to_string() == id).ok_or_else(Refusal::not_found)
    }

    /// Refuses fields that are not as they must be, and answers the text of the comment.
    fn check(&self, ticket: &Value, is_new: bool) -> std::result::Result<Option<String>, Refusal> {
        if let Some(missing) = self.required.iter().find(|name| is_new && ticket[name.as_str()].is_null()) {
            return Err(Refusal::invalid("base", &format!("{missing}: is required")));
        }
        let group = &ticket["group_id"];
        if !group.is_null() && !GROUPS.iter().any(|(_, id)| json!(id) == *group) {
            return Err(Refusal::invalid("group", "Group: is invalid"));
        }
        let comment = &ticket["comment"];
        if comment.is_null() {
            return Ok(None);
        }
        let text = comment["body"].as_str().or(comment["html_body"].as_str()).unwrap_or_default();
        if text.trim().is_empty() {
            return Err(Refusal::invalid("base", "Description: cannot be blank"));
        }
        if text.len() > LONGEST_TEXT {
            return Err(Refusal::invalid("base", "Comment: is too long"));
        }
        Ok(Some(text.to_owned()))
    }
}

struct Site {
    document: OpenApiDocument,
    revoked: AtomicBool,
    may_make_users: AtomicBool,
    refusals: Mutex<Vec<String>>,
    records: Mutex<Records>,
}

impl Site {
    fn locked<T>(&self, use_records: impl FnOnce(&mut Records) -> T) -> T {
        use_records(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running stand-in. It stops when it is dropped.
pub struct Zendesk {
    server: Server,
    site: Arc<Site>,
}

impl Zendesk {
    /// Starts an account without tickets, on a free port.
    pub fn start() -> Result<Self> {
        let site = Arc::new(Site {
            document: OpenApiDocument::parse(DOCUMENT)?,
            revoked: AtomicBool::new(false),
            may_make_users: AtomicBool::new(true),
            refusals: Mutex::default(),
            records: Mutex::new(Records::new()),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&site));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, site })
    }

    /// Closes a ticket for good, as Zendesk does some days after it is solved.
    pub fn close(&self, id: &str) {
        self.set_status(id, "closed");
    }

    /// Sets a ticket's status, as an agent does.
    pub fn set_status(&self, id: &str, status: &str) {
        self.site.locked(|records| {
            for ticket in records.tickets.iter_mut().filter(|ticket| ticket.id.to_string() == id) {
                status.clone_into(&mut ticket.status);
            }
        });
    }

    /// The status of a ticket.
    #[must_use]
    pub fn status(&self, id: &str) -> Option<String> {
        self.site.locked(|records| records.ticket(id).ok().map(|ticket| ticket.status.clone()))
    }

    /// A field of a ticket, as it was sent.
    #[must_use]
    pub fn field(&self, id: &str, name: &str) -> Value {
        let field = |records: &mut Records| records.ticket(id).ok().and_then(|ticket| ticket.fields.get(name).cloned());
        self.site.locked(field).unwrap_or_default()
    }

    /// Whether each comment of a ticket is public, oldest first, the description included.
    #[must_use]
    pub fn publicity(&self, id: &str) -> Vec<bool> {
        let publicity = |ticket: &mut Ticket| ticket.comments.iter().map(|comment| comment.is_public).collect();
        self.site.locked(|records| records.ticket(id).map(publicity).unwrap_or_default())
    }

    /// How many users there are, the agent included.
    #[must_use]
    pub fn users(&self) -> usize {
        self.site.locked(|records| records.users.len())
    }

    /// From now on a new ticket must have this field, as a rule of an account may demand.
    pub fn require_field(&self, name: &str) {
        self.site.locked(|records| records.required.push(name.to_owned()));
    }

    /// From now on the agent may not make users.
    pub fn forbid_making_users(&self) {
        self.site.may_make_users.store(false, Ordering::SeqCst);
    }
}

impl TicketStandIn for Zendesk {
    fn provider(&self) -> &'static str {
        "zendesk"
    }

    fn base_url(&self) -> String {
        self.server.base_url()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("TicketApiKey", CREDENTIAL.to_owned())]
    }

    fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn calls(&self) -> &CallLog {
        self.server.log()
    }

    fn refusals(&self) -> Vec<String> {
        self.site.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn revoke_credential(&self) {
        self.site.revoked.store(true, Ordering::SeqCst);
    }

    fn tickets(&self) -> Vec<SeenTicket> {
        let base_url = self.base_url();
        self.site.locked(|records| {
            let address = |id: u64| records.users.iter().find(|user| user.id == id).map(|user| user.email.clone());
            let seen = |ticket: &Ticket| {
                let text_of = |name: &str| ticket.fields.get(name).and_then(Value::as_str).map(str::to_owned);
                let group = ticket.fields.get("group_id").and_then(Value::as_u64);
                let tags = ticket.fields.get("tags").and_then(Value::as_array).cloned().unwrap_or_default();
                SeenTicket {
                    id: ticket.id.to_string(),
                    url: Some(format!("{base_url}/agent/tickets/{}", ticket.id)),
                    subject: text_of("subject").unwrap_or_default(),
                    text: ticket.comments.first().map(|comment| comment.text.clone()).unwrap_or_default(),
                    priority: text_of("priority"),
                    desk: GROUPS.iter().find(|(_, id)| Some(*id) == group).map(|(name, _)| (*name).to_owned()),
                    requester: address(ticket.requester),
                    labels: tags.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                    comments: ticket
                        .comments
                        .iter()
                        .skip(1)
                        .map(|comment| SeenComment {
                            id: comment.id.to_string(),
                            author: address(comment.author),
                            text: comment.text.clone(),
                        })
                        .collect(),
                }
            };
            records.tickets.iter().map(seen).collect()
        })
    }

    fn remove_ticket(&self, id: &str) {
        self.site.locked(|records| records.tickets.retain(|ticket| ticket.id.to_string() != id));
    }
}

/// An answer that says no, as Zendesk says it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    fn new(status: StatusCode, error: &str, description: &str) -> Self {
        Self { status, body: json!({ "error": error, "description": description }) }
    }

    fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "RecordNotFound", "Not found")
    }

    fn invalid(field: &str, problem: &str) -> Self {
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "RecordInvalid", "Record validation errors");
        refusal.body["details"] = json!({ field: [{ "description": problem, "error": "InvalidValue" }] });
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

const PLANNED_ERROR: ErrorAnswer = |status| {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    Refusal::new(status, "PlannedFault", &format!("planned fault: {reason}")).into_response()
};

async fn serve(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if site.revoked.load(Ordering::SeqCst) || !is_good(&parts.headers) {
        let error = json!({ "error": "Couldn't authenticate you" });
        return (StatusCode::UNAUTHORIZED, Json(error)).into_response();
    }
    let Ok(body) = to_bytes(body, MOST_BYTES_IN_A_BODY).await else {
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", "Request body is too large")
            .into_response();
    };
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    if let Err(departure) = site.document.check_request(method, path, &query, &parts.headers, &body) {
        site.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(departure.clone());
        return Refusal::new(StatusCode::BAD_REQUEST, "InvalidRequest", &departure).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let asked = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let segments: Vec<&str> = path.trim_start_matches("/api/v2/").split('/').collect();
    let answer = match (method, segments.as_slice()) {
        ("GET", ["tickets"]) => Ok(tickets_with(&site, asked("external_id").unwrap_or_default())),
        ("POST", ["tickets"]) => open_ticket(&site, &parts.headers, &body),
        ("GET", ["tickets", id]) => site.locked(|records| {
            records.ticket(id).map(|ticket| Json(json!({ "ticket": ticket.shown() })).into_response())
        }),
        ("PUT", ["tickets", id]) => update_ticket(&site, id, &body["ticket"]),
        ("GET", ["tickets", id, "audits"]) => {
            let audits = site.locked(|records| records.ticket(id).map(|ticket| ticket.audits.clone()));
            audits.map(|audits| page("audits", &audits, asked("page[size]"), asked("page[after]")))
        }
        ("GET", ["users", "search"]) => Ok(users_by(&site, asked("query").unwrap_or_default())),
        ("POST", ["users", "create_or_update"]) => create_or_update_user(&site, &body["user"]),
        ("GET", ["groups"]) => {
            let shown = |(name, id): &(&str, u64)| json!({ "id": id, "name": name, "deleted": false });
            let groups: Vec<Value> = GROUPS.iter().map(shown).collect();
            Ok(page("groups", &groups, asked("page[size]"), asked("page[after]")))
        }
        _ => Err(Refusal::not_found()),
    };
    let mut answer = answer.unwrap_or_else(Refusal::into_response);
    let left = site.locked(|records| {
        records.served += 1;
        CALLS_A_MINUTE.saturating_sub(records.served)
    });
    for (name, value) in [("x-rate-limit", CALLS_A_MINUTE), ("x-rate-limit-remaining", left)] {
        answer.headers_mut().insert(name, HeaderValue::from(value));
    }
    answer
}

fn is_good(headers: &HeaderMap) -> bool {
    let good = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(CREDENTIAL));
    headers.get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == good.as_bytes())
}

/// A page of a list that is divided by cursors.
fn page(name: &str, all: &[Value], size: Option<&str>, after: Option<&str>) -> Response {
    let size = size.and_then(|size| size.parse().ok()).unwrap_or(100);
    let begin = after.and_then(|after| after.strip_prefix("after-")?.parse().ok()).unwrap_or(0).min(all.len());
    let end = (begin + size).min(all.len());
    let has_more = end < all.len();
    let cursor = has_more.then(|| format!("after-{end}"));
    Json(json!({ name: all[begin..end], "meta": { "has_more": has_more, "after_cursor": cursor } })).into_response()
}

fn tickets_with(site: &Site, external_id: &str) -> Response {
    let tickets: Vec<Value> = site.locked(|records| {
        let has_it = |ticket: &&Ticket| ticket.fields.get("external_id").is_some_and(|id| id == external_id);
        records.tickets.iter().filter(has_it).map(Ticket::shown).collect()
    });
    Json(json!({ "tickets": tickets, "count": tickets.len() })).into_response()
}

fn open_ticket(site: &Site, headers: &HeaderMap, body: &Value) -> std::result::Result<Response, Refusal> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
    let answer = |answer: &Value, lookup: &'static str| {
        let mut response = (StatusCode::CREATED, Json(answer.clone())).into_response();
        response.headers_mut().insert("x-idempotency-lookup", HeaderValue::from_static(lookup));
        response
    };
    site.locked(|records| {
        match key.as_ref().and_then(|key| records.keys.get(key)) {
            Some(kept) if kept.body == *body => return Ok(answer(&kept.answer, "hit")),
            Some(_) => {
                let words = "Request parameters do not match the ones of the first request with this key";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "IdempotentRequestError", words));
            }
            None => {}
        }
        let ticket = &body["ticket"];
        let text = records.check(ticket, true)?.unwrap_or_default();
        let followed = &ticket["via_followup_source_id"];
        let follows = match records.tickets.iter().find(|known| json!(known.id) == *followed) {
            _ if followed.is_null() => false,
            None => return Err(Refusal::invalid("via_followup_source_id", "Follow-up source: is invalid")),
            Some(known) => known.status == "closed",
        };
        let requester = match (&ticket["requester_id"], ticket["requester"]["email"].as_str()) {
            (Value::Null, Some(email)) => records.user(email, ticket["requester"]["name"].as_str())?.0,
            (Value::Null, None) => AGENT,
            (id, _) => records.known(id)?,
        };
        let author = match &ticket["comment"]["author_id"] {
            Value::Null if follows => AGENT,
            Value::Null => requester,
            id => records.known(id)?,
        };
        let (id, comment_id, audit_id) = (records.id(), records.id(), records.id());
        let mut fields: BTreeMap<String, Value> =
            ticket.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
        for gone in ["comment", "requester", "metadata", "status"] {
            fields.remove(gone);
        }
        if !follows {
            fields.remove("via_followup_source_id");
        }
        let is_public = ticket["comment"]["public"].as_bool().unwrap_or(true);
        let events = json!([{ "id": comment_id, "type": "Comment", "body": text, "author_id": author }]);
        let audit = json!({ "id": audit_id, "metadata": { "custom": ticket["metadata"] }, "events": events });
        records.tickets.push(Ticket {
            id,
            fields,
            requester,
            status: "new".to_owned(),
            comments: vec![Comment { id: comment_id, author, text, is_public }],
            audits: vec![audit.clone()],
        });
        let made = json!({ "ticket": records.ticket(&id.to_string())?.shown(), "audit": audit });
        if let Some(key) = key {
            records.keys.insert(key, Kept { body: body.clone(), answer: made.clone() });
        }
        Ok(answer(&made, "miss"))
    })
}

fn update_ticket(site: &Site, id: &str, update: &Value) -> std::result::Result<Response, Refusal> {
    site.locked(|records| {
        if records.ticket(id)?.status == "closed" {
            return Err(Refusal::invalid("status", "Status: closed prevents ticket update"));
        }
        let text = records.check(update, false)?;
        let author = match &update["comment"]["author_id"] {
            Value::Null => AGENT,
            id => records.known(id)?,
        };
        let (comment_id, audit_id) = (records.id(), records.id());
        let ticket = records.ticket(id)?;
        if let Some(status) = update["status"].as_str() {
            if status == "new" && ticket.status != "new" {
                return Err(Refusal::invalid("status", "Status: cannot be set to new"));
            }
            status.clone_into(&mut ticket.status);
        }
        let mut events = Vec::new();
        if let Some(text) = text {
            events.push(json!({ "id": comment_id, "type": "Comment", "body": text, "author_id": author }));
            let is_public = update["comment"]["public"].as_bool().unwrap_or(true);
            ticket.comments.push(Comment { id: comment_id, author, text, is_public });
        }
        // A change beside the comment is an event of its own, and may stand before it.
        events.insert(0, json!({ "id": audit_id + 900_000, "type": "Change", "field_name": "status" }));
        let audit = json!({ "id": audit_id, "metadata": { "custom": update["metadata"] }, "events": events });
        ticket.audits.push(audit.clone());
        Ok(Json(json!({ "ticket": ticket.shown(), "audit": audit })).into_response())
    })
}

/// Finds by any word of a user's properties, as the search of people does.
fn users_by(site: &Site, query: &str) -> Response {
    let wanted = query.strip_prefix("email:").unwrap_or(query).trim_matches('"').to_lowercase();
    let users: Vec<Value> = site.locked(|records| {
        let fits = |user: &&User| format!("{} {}", user.email, user.name).to_lowercase().contains(&wanted);
        records.users.iter().filter(fits).map(shown).collect()
    });
    Json(json!({ "users": users, "count": users.len() })).into_response()
}

fn shown(user: &User) -> Value {
    json!({ "id": user.id, "name": user.name, "email": user.email, "role": if user.id == AGENT { "agent" } else { "end-user" } })
}

fn create_or_update_user(site: &Site, user: &Value) -> std::result::Result<Response, Refusal> {
    if !site.may_make_users.load(Ordering::SeqCst) {
        let words = "You do not have access to this page. Please contact the account owner of this help desk.";
        let error = json!({ "error": { "title": "Forbidden", "message": words } });
        return Err(Refusal { status: StatusCode::FORBIDDEN, body: error });
    }
    let email = user["email"].as_str().ok_or_else(|| Refusal::invalid("email", "Email: cannot be blank"))?;
    site.locked(|records| {
        let (id, is_new) = records.user(email, user["name"].as_str())?;
        let known = records.users.iter_mut().find(|known| known.id == id).ok_or_else(Refusal::not_found)?;
        if let Some(name) = user["name"].as_str() {
            name.clone_into(&mut known.name);
        }
        let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((status, Json(json!({ "user": shown(known) }))).into_response())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(zendesk: &Zendesk, method: &str, path: &str, key: Option<&str>, body: Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = reqwest::Client::new()
            .request(method, format!("{}/api/v2/{path}", zendesk.base_url()))
            .basic_auth("agent@northwind.example/token", Some("sample-zendesk-key"));
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    fn ticket() -> Value {
        json!({ "ticket": {
            "subject": "Down", "comment": { "body": "All is down." }, "external_id": "nylas:m1",
            "requester": { "name": "Dana", "email": "dana@acme.example" },
        } })
    }

    #[tokio::test]
    async fn a_key_answers_the_same_body_once_more_and_refuses_another() {
        let zendesk = Zendesk::start().expect("a free port");
        let first = call(&zendesk, "POST", "tickets", Some("k1"), ticket()).await;
        assert_eq!(first.0, 201);
        assert_eq!(call(&zendesk, "POST", "tickets", Some("k1"), ticket()).await, first);
        let mut other = ticket();
        other["ticket"]["subject"] = json!("Up");
        let (status, refusal) = call(&zendesk, "POST", "tickets", Some("k1"), other).await;
        assert_eq!((status, refusal["error"].as_str()), (400, Some("IdempotentRequestError")));
        assert_eq!(zendesk.tickets().len(), 1);
        assert_eq!(zendesk.tickets()[0].requester.as_deref(), Some("dana@acme.example"));
    }

    #[tokio::test]
    async fn what_zendesk_refuses_is_refused_in_its_words() {
        let zendesk = Zendesk::start().expect("a free port");
        for (name, value, words) in [
            ("comment", json!({ "body": " " }), "Description: cannot be blank"),
            ("comment", json!({ "body": "a".repeat(65_536) }), "Comment: is too long"),
            ("comment", json!({ "body": "x", "author_id": 99 }), "Author: is invalid"),
            ("group_id", json!(7), "Group: is invalid"),
            ("via_followup_source_id", json!(7), "Follow-up source: is invalid"),
        ] {
            let mut body = ticket();
            body["ticket"][name] = value;
            let (status, refusal) = call(&zendesk, "POST", "tickets", None, body).await;
            assert_eq!(status, 422, "{words}");
            assert!(refusal["details"].to_string().contains(words), "{refusal}");
        }
        assert_eq!((zendesk.tickets(), zendesk.refusals()), (Vec::new(), Vec::new()));
    }

    #[tokio::test]
    async fn what_the_description_does_not_know_is_refused_and_told() {
        let zendesk = Zendesk::start().expect("a free port");
        for (name, value) in [("priority", json!("medium")), ("desk", json!("x")), ("tags", json!(["two words"]))] {
            let mut body = ticket();
            body["ticket"][name] = value;
            assert_eq!(call(&zendesk, "POST", "tickets", None, body).await.0, 400, "{name}");
        }
        assert_eq!(call(&zendesk, "GET", "tickets?id=1", None, Value::Null).await.0, 400);
        assert_eq!(zendesk.refusals().len(), 4);
    }

    #[tokio::test]
    async fn a_closed_ticket_takes_no_update_and_a_removed_one_is_not_found() {
        let zendesk = Zendesk::start().expect("a free port");
        let (_, made) = call(&zendesk, "POST", "tickets", None, ticket()).await;
        let id = made["ticket"]["id"].to_string();
        let path = format!("tickets/{id}");
        let update = json!({ "ticket": { "comment": { "body": "Still." } } });
        zendesk.close(&id);
        let (status, refusal) = call(&zendesk, "PUT", &path, None, update.clone()).await;
        assert_eq!(status, 422);
        assert!(refusal["details"]["status"][0]["description"].as_str().is_some_and(|words| words.contains("closed")));
        zendesk.remove_ticket(&id);
        assert_eq!(call(&zendesk, "PUT", &path, None, update).await.0, 404);
    }

    #[tokio::test]
    async fn audits_come_in_pages_with_what_was_set_beside_them() {
        let zendesk = Zendesk::start().expect("a free port");
        let (_, made) = call(&zendesk, "POST", "tickets", None, ticket()).await;
        let path = format!("tickets/{}", made["ticket"]["id"]);
        let update = json!({ "ticket": { "comment": { "body": "Still." }, "metadata": { "mail": "m2" } } });
        assert_eq!(call(&zendesk, "PUT", &path, None, update).await.0, 200);
        let first = call(&zendesk, "GET", &format!("{path}/audits?page%5Bsize%5D=1"), None, Value::Null).await.1;
        assert_eq!(first["meta"], json!({ "has_more": true, "after_cursor": "after-1" }));
        let next = format!("{path}/audits?page%5Bsize%5D=1&page%5Bafter%5D=after-1");
        let second = call(&zendesk, "GET", &next, None, Value::Null).await.1;
        assert_eq!(second["audits"][0]["metadata"]["custom"]["mail"], "m2");
    }

    #[tokio::test]
    async fn another_credential_is_a_stranger() {
        let zendesk = Zendesk::start().expect("a free port");
        let url = format!("{}/api/v2/groups", zendesk.base_url());
        let answer = reqwest::Client::new().get(&url).bearer_auth("x").send().await.expect("an answer");
        assert_eq!(answer.status(), 401);
        zendesk.revoke_credential();
        assert_eq!(call(&zendesk, "GET", "groups", None, Value::Null).await.0, 401);
    }
}

//! A stand-in for the generic ticket system. Holds every request against the shipped `OpenAPI` document, keeps the
//! promises that document asks for (same key, same answer), and remembers all it stored and every call it got.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as UrlPath, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    CallLog, Faults, Result,
    openapi::OpenApiDocument,
    server::{ErrorAnswer, Server},
    ticket_system::{SeenComment, SeenTicket, TicketStandIn},
};

/// The token that the stand-in takes unless told otherwise.
pub const DEFAULT_API_KEY: &str = "sample-ticket-api-key";

/// Room for a text of 64 KiB, of which JSON may make six times as much.
const MOST_BYTES_IN_A_BODY: usize = 1024 * 1024;

/// Somebody who wrote a mail.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Correspondent {
    /// The address.
    pub email: String,
    /// The display name.
    pub name: Option<String>,
}

/// A ticket as the system holds it now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ticket {
    /// The id that the system gave, such as `T-1001`.
    #[serde(skip)]
    pub id: String,
    /// Where people open it.
    #[serde(skip)]
    pub url: String,
    /// The mail it was made of, which is the key that the request carried.
    pub message_id: String,
    /// The mailbox that the mail came to.
    pub grant_id: String,
    /// The mail's thread.
    pub thread_id: Option<String>,
    /// The mail's subject.
    pub subject: Option<String>,
    /// Who wrote the mail.
    pub from: Correspondent,
    /// What it is about.
    pub category: String,
    /// How urgent it is.
    pub priority: String,
    /// Who is to deal with it.
    pub desk: String,
    /// What people should look at twice.
    pub flags: Vec<String>,
    /// The ticket that this one follows.
    pub previous_ticket_id: Option<String>,
    /// When the mail came.
    pub received_at: Timestamp,
    /// What the mail says.
    pub body: String,
    /// Whether people have closed it. The next comment opens it again.
    #[serde(skip)]
    pub closed: bool,
    /// Its comments, oldest first.
    #[serde(skip)]
    pub comments: Vec<Comment>,
}

/// A comment of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Comment {
    /// The id that the system gave, such as `C-5001`.
    #[serde(skip)]
    pub id: String,
    /// The mail it was made of, which is the key that the request carried.
    pub message_id: String,
    /// Who wrote the mail.
    pub from: Correspondent,
    /// What the mail says.
    pub body: String,
    /// When the mail came.
    pub received_at: Timestamp,
}

/// What a key was used for. It is kept also when the ticket is gone.
#[derive(Debug)]
struct Kept {
    ticket_id: String,
    body: Value,
    answer: Value,
}

#[derive(Debug, Default)]
struct Records {
    tickets: Vec<Ticket>,
    of_tickets: HashMap<String, Kept>,
    of_comments: HashMap<String, Kept>,
    served: VecDeque<Instant>,
}

impl Records {
    /// Whether one more call is within the limit, in any one second that ends now.
    fn may_serve(&mut self, calls_per_second: usize) -> bool {
        let now = Instant::now();
        self.served.retain(|served| now.duration_since(*served) < Duration::from_secs(1));
        let within = self.served.len() < calls_per_second;
        if within {
            self.served.push_back(now);
        }
        within
    }
}

struct Desk {
    api_key: String,
    calls_per_second: Option<usize>,
    revoked: AtomicBool,
    document: OpenApiDocument,
    base_url: OnceLock<String>,
    refusals: Mutex<Vec<String>>,
    records: Mutex<Records>,
}

impl Desk {
    fn locked<T>(&self, use_records: impl FnOnce(&mut Records) -> T) -> T {
        use_records(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What to start with; see [`RestTickets::builder`].
#[derive(Debug)]
pub struct RestTicketsBuilder {
    api_key: String,
    calls_per_second: Option<usize>,
    port: u16,
}

impl RestTicketsBuilder {
    /// The token that requests must bear instead of [`DEFAULT_API_KEY`].
    #[must_use]
    pub fn api_key(mut self, api_key: &str) -> Self {
        api_key.clone_into(&mut self.api_key);
        self
    }

    /// How many calls are served in any one second; those beyond are answered 429. Without it there is no limit.
    #[must_use]
    pub fn calls_per_second(mut self, calls: usize) -> Self {
        self.calls_per_second = Some(calls);
        self
    }

    /// A port of one's own choosing instead of any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the stand-in.
    pub fn start(self) -> Result<RestTickets> {
        let desk = Arc::new(Desk {
            api_key: self.api_key,
            calls_per_second: self.calls_per_second,
            document: OpenApiDocument::rest_tickets()?,
            revoked: AtomicBool::new(false),
            base_url: OnceLock::new(),
            refusals: Mutex::default(),
            records: Mutex::default(),
        });
        let router = Router::new()
            .route("/tickets", post(open_ticket))
            .route("/tickets/{id}/comments", post(add_comment))
            .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "no such path") })
            .method_not_allowed_fallback(|| async {
                Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not take this method")
            })
            .layer(DefaultBodyLimit::max(MOST_BYTES_IN_A_BODY))
            .layer(middleware::from_fn_with_state(Arc::clone(&desk), refuse_too_many))
            .layer(middleware::from_fn_with_state(Arc::clone(&desk), refuse_strangers))
            .with_state(Arc::clone(&desk));
        let server = Server::start(self.port, router, PLANNED_ERROR)?;
        desk.base_url.get_or_init(|| server.base_url());
        Ok(RestTickets { server, desk })
    }
}

/// The running stand-in. It stops when it is dropped.
pub struct RestTickets {
    server: Server,
    desk: Arc<Desk>,
}

impl RestTickets {
    /// Starts a ticket system without tickets, on a free port.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Lays out a ticket system with a token, a limit or a port of one's own.
    #[must_use]
    pub fn builder() -> RestTicketsBuilder {
        RestTicketsBuilder { api_key: DEFAULT_API_KEY.to_owned(), calls_per_second: None, port: 0 }
    }

    /// The address to give as `TicketBaseUrl`, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The token to give as `TicketApiKey`.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.desk.api_key
    }

    /// The fault plan, to be changed at any time.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }

    /// Every call so far, refused and failed ones too.
    #[must_use]
    pub fn calls(&self) -> &CallLog {
        self.server.log()
    }

    /// The tickets with their comments, oldest first.
    #[must_use]
    pub fn tickets(&self) -> Vec<Ticket> {
        self.desk.locked(|records| records.tickets.clone())
    }

    /// Closes a ticket, as people do who are done with it. It still takes comments.
    pub fn close(&self, id: &str) {
        self.desk.locked(|records| {
            for ticket in records.tickets.iter_mut().filter(|ticket| ticket.id == id) {
                ticket.closed = true;
            }
        });
    }

    /// Removes a ticket with its comments, as people do with spam. What keys were used for is still known.
    pub fn remove(&self, id: &str) {
        self.desk.locked(|records| records.tickets.retain(|ticket| ticket.id != id));
    }
}

impl TicketStandIn for RestTickets {
    fn provider(&self) -> &'static str {
        "rest"
    }

    fn base_url(&self) -> String {
        Self::base_url(self)
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("TicketApiKey", self.api_key().to_owned())]
    }

    fn faults(&self) -> &Faults {
        Self::faults(self)
    }

    fn calls(&self) -> &CallLog {
        Self::calls(self)
    }

    fn refusals(&self) -> Vec<String> {
        self.desk.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn revoke_credential(&self) {
        self.desk.revoked.store(true, Ordering::SeqCst);
    }

    fn tickets(&self) -> Vec<SeenTicket> {
        let seen = |ticket: Ticket| SeenTicket {
            id: ticket.id,
            url: Some(ticket.url),
            subject: ticket.subject.unwrap_or_default(),
            text: ticket.body,
            priority: Some(ticket.priority),
            desk: Some(ticket.desk),
            requester: Some(ticket.from.email),
            labels: std::iter::once(ticket.category).chain(ticket.flags).collect(),
            comments: ticket
                .comments
                .into_iter()
                .map(|comment| SeenComment { id: comment.id, author: Some(comment.from.email), text: comment.body })
                .collect(),
        };
        Self::tickets(self).into_iter().map(seen).collect()
    }

    fn remove_ticket(&self, id: &str) {
        self.remove(id);
    }
}

/// An answer that says no, in the document's error format.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": error.into() }) }
    }

    fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn unprocessable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    }

    /// Beside the error it names what the key belongs to.
    fn conflict(what: &str, answer: &Value) -> Self {
        let mut body = answer.clone();
        body["error"] = Value::from(format!("the idempotency key was used for another {what}"));
        Self { status: StatusCode::CONFLICT, body }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// The error answers of the fault plan.
const PLANNED_ERROR: ErrorAnswer = |status| {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    Refusal::new(status, format!("planned fault: {reason}")).into_response()
};

async fn refuse_strangers(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_good = bearer.and_then(|value| value.strip_prefix("Bearer ")) == Some(desk.api_key.as_str());
    if is_good && !desk.revoked.load(Ordering::SeqCst) {
        return next.run(request).await;
    }
    Refusal::new(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong").into_response()
}

async fn refuse_too_many(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    match desk.calls_per_second {
        Some(limit) if !desk.locked(|records| records.may_serve(limit)) => {
            let error = format!("more than {limit} requests in a second");
            let mut answer = Refusal::new(StatusCode::TOO_MANY_REQUESTS, error).into_response();
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            answer
        }
        _ => next.run(request).await,
    }
}

type Parameters = Query<Vec<(String, String)>>;
type Answer = std::result::Result<(StatusCode, Json<Value>), Refusal>;

/// A request that follows the document: its key and its body.
fn request_of(
    desk: &Desk,
    (path, schema): (&str, &str),
    query: &[(String, String)],
    headers: &HeaderMap,
    body: &[u8],
) -> std::result::Result<(String, Value), Refusal> {
    let departs = |departure: String| {
        let told = format!("POST {path}: {departure}");
        desk.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        departure
    };
    desk.document
        .check_parameters("POST", path, query, headers)
        .map_err(|departure| Refusal::bad_request(departs(departure)))?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::bad_request("the Content-Type is not application/json"));
    }
    let body: Value =
        serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))?;
    desk.document.check_body(schema, &body).map_err(|departure| Refusal::unprocessable(departs(departure)))?;
    let key = headers.get("Idempotency-Key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if body["message_id"] != key {
        return Err(Refusal::unprocessable("/message_id: is not the Idempotency-Key"));
    }
    Ok((key.to_owned(), body))
}

fn read<T: for<'de> Deserialize<'de>>(body: &Value) -> std::result::Result<T, Refusal> {
    T::deserialize(body).map_err(|error| Refusal::unprocessable(error.to_string()))
}

async fn open_ticket(
    State(desk): State<Arc<Desk>>,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, body) = request_of(&desk, ("/tickets", "Ticket"), &query, &headers, &body)?;
    let ticket: Ticket = read(&body)?;
    let base_url = desk.base_url.get().map(String::as_str).unwrap_or_default();
    let answer = desk.locked(|records| match records.of_tickets.get(&key) {
        Some(kept) if kept.body == body => Ok(kept.answer.clone()),
        Some(kept) => Err(Refusal::conflict("ticket", &kept.answer)),
        None => {
            let id = format!("T-{}", 1001 + records.of_tickets.len());
            let url = format!("{base_url}/view/{id}");
            let answer = json!({ "id": id, "url": url });
            let kept = Kept { ticket_id: id.clone(), body, answer: answer.clone() };
            records.of_tickets.insert(key, kept);
            records.tickets.push(Ticket { id, url, ..ticket });
            Ok(answer)
        }
    })?;
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn add_comment(
    State(desk): State<Arc<Desk>>,
    UrlPath(ticket_id): UrlPath<String>,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let (key, body) = request_of(&desk, ("/tickets/{id}/comments", "Comment"), &query, &headers, &body)?;
    let comment: Comment = read(&body)?;
    let answer = desk.locked(|records| match records.of_comments.get(&key) {
        Some(kept) if kept.ticket_id == ticket_id && kept.body == body => Ok(kept.answer.clone()),
        Some(kept) => Err(Refusal::conflict("comment", &kept.answer)),
        None => {
            let Some(ticket) = records.tickets.iter_mut().find(|ticket| ticket.id == ticket_id) else {
                return Err(Refusal::new(StatusCode::NOT_FOUND, format!("no ticket has the id {ticket_id}")));
            };
            let id = format!("C-{}", 5001 + records.of_comments.len());
            let answer = json!({ "id": id });
            ticket.closed = false;
            ticket.comments.push(Comment { id, ..comment });
            records.of_comments.insert(key, Kept { ticket_id, body, answer: answer.clone() });
            Ok(answer)
        }
    })?;
    Ok((StatusCode::CREATED, Json(answer)))
}

#[cfg(test)]
mod tests {
    use shared::{
        configuration::parse_base_url,
        domain::{address::EmailAddress, failure::Failure},
        engine::Deadline,
        http::{ApiClient, ApiSettings, Credential, http_client},
        tickets::{self, Commented, NewComment, NewTicket, OpenTickets as _, rest},
    };

    use super::*;
    use crate::stand_ins::{Fault, FaultRule};

    fn desk() -> RestTickets {
        RestTickets::start().expect("a free port exists")
    }

    fn ticket() -> Value {
        json!({
            "message_id": "19a3c04d7be1f205",
            "grant_id": "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10",
            "thread_id": "19a3bf881c20de47",
            "subject": "Nobody can sign in",
            "from": { "email": "marta.kowal@halden-robotics.example", "name": "Marta Kowal" },
            "category": "incidents",
            "priority": "high",
            "desk": "on-call",
            "flags": [],
            "previous_ticket_id": null,
            "received_at": "2026-11-16T09:12:44Z",
            "body": "Is something wrong?",
        })
    }

    fn comment() -> Value {
        json!({
            "message_id": "19a3c1907dd04a1b",
            "from": { "email": "jonas.brandt@halden-robotics.example", "name": null },
            "body": "It works again.",
            "received_at": "2026-11-16T09:31:02Z",
        })
    }

    fn with(mut body: Value, key: &str, value: Value) -> Value {
        body[key] = value;
        body
    }

    fn request(desk: &RestTickets, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().post(format!("{}{path}", desk.base_url())).bearer_auth(desk.api_key())
    }

    async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.expect("the stand-in answers");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a whole body")).unwrap_or_default())
    }

    /// Posts a body under its own message id.
    async fn send(desk: &RestTickets, path: &str, body: &Value) -> (u16, Value) {
        let key = body["message_id"].as_str().unwrap_or("none");
        answer(request(desk, path).header("Idempotency-Key", key).json(body)).await
    }

    #[tokio::test]
    async fn a_ticket_is_stored_with_all_its_fields_and_answered_with_id_and_address() {
        let desk = desk();
        let document = OpenApiDocument::rest_tickets().expect("the document parses");
        let (status, opened) = send(&desk, "/tickets", &ticket()).await;
        assert_eq!(
            (status, &opened),
            (201, &json!({ "id": "T-1001", "url": format!("{}/view/T-1001", desk.base_url()) }))
        );
        document.check_body("TicketReference", &opened).expect("the answer follows the document");
        let stored = Ticket {
            id: "T-1001".to_owned(),
            url: format!("{}/view/T-1001", desk.base_url()),
            message_id: "19a3c04d7be1f205".to_owned(),
            grant_id: "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10".to_owned(),
            thread_id: Some("19a3bf881c20de47".to_owned()),
            subject: Some("Nobody can sign in".to_owned()),
            from: Correspondent {
                email: "marta.kowal@halden-robotics.example".to_owned(),
                name: Some("Marta Kowal".to_owned()),
            },
            category: "incidents".to_owned(),
            priority: "high".to_owned(),
            desk: "on-call".to_owned(),
            flags: Vec::new(),
            previous_ticket_id: None,
            received_at: "2026-11-16T09:12:44Z".parse().expect("a time"),
            body: "Is something wrong?".to_owned(),
            closed: false,
            comments: Vec::new(),
        };
        assert_eq!(desk.tickets(), [stored]);
    }

    #[tokio::test]
    async fn a_missing_or_wrong_token_is_refused_before_anything_else() {
        let desk = desk();
        let url = format!("{}/tickets", desk.base_url());
        assert_eq!(answer(reqwest::Client::new().post(&url)).await.0, 401);
        let wrong = answer(reqwest::Client::new().post(&url).bearer_auth("another")).await;
        assert_eq!((wrong.0, wrong.1["error"].is_string()), (401, true));
    }

    #[tokio::test]
    async fn a_request_without_a_key_or_without_json_is_refused() {
        let desk = desk();
        send(&desk, "/tickets", &ticket()).await;
        for path in ["/tickets", "/tickets/T-1001/comments"] {
            assert_eq!(answer(request(&desk, path).json(&ticket())).await.0, 400, "{path}");
            assert_eq!(answer(request(&desk, path).header("Idempotency-Key", "").json(&ticket())).await.0, 400);
            let keyed = || request(&desk, path).header("Idempotency-Key", "19a3c04d7be1f205");
            assert_eq!(answer(keyed().header("Content-Type", "application/json").body("{")).await.0, 400, "{path}");
            assert_eq!(answer(keyed().body("{}")).await.0, 400, "{path}");
            let asked_for_more =
                request(&desk, &format!("{path}?notify=1")).header("Idempotency-Key", "19a3c04d7be1f205");
            assert_eq!(answer(asked_for_more.json(&ticket())).await.0, 400, "{path}");
        }
        assert_eq!(desk.tickets().len(), 1);
    }

    #[tokio::test]
    async fn what_the_document_refuses_of_a_ticket_the_stand_in_refuses() {
        let desk = desk();
        let mut without_flags = ticket();
        without_flags.as_object_mut().expect("an object").remove("flags");
        for (body, named) in [
            (without_flags, "flags"),
            (with(ticket(), "colour", json!("red")), "colour"),
            (with(ticket(), "category", json!("praise")), "/category"),
            (with(ticket(), "priority", json!("urgent")), "/priority"),
            (with(ticket(), "desk", json!("")), "/desk"),
            (with(ticket(), "desk", Value::Null), "/desk"),
            (with(ticket(), "flags", Value::Null), "/flags"),
            (with(ticket(), "flags", json!(["twice", "twice"])), "/flags"),
            (with(ticket(), "received_at", json!("2026-11-16T10:12:44+01:00")), "/received_at"),
            (with(ticket(), "received_at", Value::Null), "/received_at"),
            (with(ticket(), "from", json!({ "email": "a@b.example" })), "/from"),
            (with(ticket(), "from", json!({ "email": "A <a@b.example>", "name": null })), "/from/email"),
            (with(ticket(), "body", Value::Null), "/body"),
            (with(ticket(), "body", json!("a".repeat(65_537))), "/body"),
        ] {
            let (status, refusal) = send(&desk, "/tickets", &body).await;
            assert_eq!(status, 422, "{named}");
            assert!(refusal["error"].as_str().is_some_and(|error| error.contains(named)), "{named}: {refusal}");
        }
        let other_key = request(&desk, "/tickets").header("Idempotency-Key", "another").json(&ticket());
        assert_eq!(answer(other_key).await.0, 422);
        assert_eq!(desk.tickets(), []);
    }

    #[tokio::test]
    async fn what_the_document_refuses_of_a_comment_the_stand_in_refuses() {
        let desk = desk();
        send(&desk, "/tickets", &ticket()).await;
        let mut without_name = comment();
        without_name["from"].as_object_mut().expect("an object").remove("name");
        for body in [
            without_name,
            with(comment(), "subject", json!("Re: Nobody can sign in")),
            with(comment(), "body", Value::Null),
            with(comment(), "received_at", json!(1_794_820_364)),
        ] {
            assert_eq!(send(&desk, "/tickets/T-1001/comments", &body).await.0, 422, "{body}");
        }
        assert_eq!(desk.tickets()[0].comments, []);
    }

    #[tokio::test]
    async fn the_same_key_and_body_is_one_ticket_and_gets_the_first_answer() {
        let desk = desk();
        let first = send(&desk, "/tickets", &ticket()).await;
        assert_eq!(first.0, 201);
        assert_eq!(send(&desk, "/tickets", &ticket()).await, first);
        assert_eq!(desk.tickets().len(), 1);
        desk.remove("T-1001");
        assert_eq!(send(&desk, "/tickets", &ticket()).await, first);
        assert_eq!(desk.tickets(), []);
    }

    #[tokio::test]
    async fn the_same_key_with_another_body_is_a_conflict_that_names_the_ticket() {
        let desk = desk();
        let (_, first) = send(&desk, "/tickets", &ticket()).await;
        let (status, conflict) = send(&desk, "/tickets", &with(ticket(), "desk", json!("support"))).await;
        assert_eq!((status, &conflict["id"], &conflict["url"]), (409, &first["id"], &first["url"]));
        let document = OpenApiDocument::rest_tickets().expect("the document parses");
        document.check_body("TicketConflict", &conflict).expect("the answer follows the document");
        assert_eq!(desk.tickets()[0].desk, "on-call");
    }

    #[tokio::test]
    async fn a_refused_request_does_not_use_up_its_key() {
        let desk = desk();
        assert_eq!(send(&desk, "/tickets", &with(ticket(), "priority", json!("urgent"))).await.0, 422);
        assert_eq!(send(&desk, "/tickets", &ticket()).await.0, 201);
        assert_eq!(send(&desk, "/tickets/T-1002/comments", &comment()).await.0, 404);
        assert_eq!(send(&desk, "/tickets/T-1001/comments", &comment()).await.0, 201);
    }

    #[tokio::test]
    async fn a_comment_is_added_once_and_its_key_serves_no_other_ticket_or_body() {
        let desk = desk();
        send(&desk, "/tickets", &ticket()).await;
        send(&desk, "/tickets", &with(ticket(), "message_id", json!("19a3c04d7be1f206"))).await;
        let first = send(&desk, "/tickets/T-1001/comments", &comment()).await;
        assert_eq!(first, (201, json!({ "id": "C-5001" })));
        assert_eq!(send(&desk, "/tickets/T-1001/comments", &comment()).await, first);
        let other_body = with(comment(), "body", json!("It does not."));
        for (path, body) in [("/tickets/T-1001/comments", &other_body), ("/tickets/T-1002/comments", &comment())] {
            let (status, conflict) = send(&desk, path, body).await;
            assert_eq!((status, &conflict["id"]), (409, &json!("C-5001")), "{path}");
        }
        let tickets = desk.tickets();
        assert_eq!((tickets[0].comments.len(), tickets[1].comments.len()), (1, 0));
        assert_eq!(tickets[0].comments[0].body, "It works again.");
    }

    #[tokio::test]
    async fn a_ticket_that_was_never_there_or_was_removed_takes_no_comment() {
        let desk = desk();
        assert_eq!(send(&desk, "/tickets/T-1001/comments", &comment()).await.0, 404);
        send(&desk, "/tickets", &ticket()).await;
        desk.remove("T-1001");
        let (status, refusal) = send(&desk, "/tickets/T-1001/comments", &comment()).await;
        assert_eq!((status, refusal["error"].is_string()), (404, true));
    }

    #[tokio::test]
    async fn the_mail_of_a_comment_that_found_no_ticket_opens_one_under_the_same_key() {
        let desk = desk();
        assert_eq!(send(&desk, "/tickets/T-7/comments", &comment()).await.0, 404);
        let anew = with(ticket(), "message_id", comment()["message_id"].clone());
        assert_eq!(send(&desk, "/tickets", &anew).await.0, 201);
    }

    #[tokio::test]
    async fn a_closed_ticket_is_opened_again_by_a_comment() {
        let desk = desk();
        send(&desk, "/tickets", &ticket()).await;
        desk.close("T-1001");
        assert!(desk.tickets()[0].closed);
        assert_eq!(send(&desk, "/tickets/T-1001/comments", &comment()).await.0, 201);
        assert!(!desk.tickets()[0].closed);
    }

    #[tokio::test]
    async fn a_removed_tickets_id_is_not_given_again() {
        let desk = desk();
        send(&desk, "/tickets", &ticket()).await;
        desk.remove("T-1001");
        let other = with(ticket(), "message_id", json!("19a3c04d7be1f206"));
        assert_eq!(send(&desk, "/tickets", &other).await.1["id"], "T-1002");
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_are_refused_with_a_time_to_come_back() {
        let desk = RestTickets::builder().calls_per_second(1).start().expect("a free port exists");
        assert_eq!(send(&desk, "/tickets", &ticket()).await.0, 201);
        let beyond = request(&desk, "/tickets").header("Idempotency-Key", "19a3c04d7be1f205").json(&ticket());
        let answer = beyond.send().await.expect("the stand-in answers");
        assert_eq!((answer.status().as_u16(), answer.headers()["Retry-After"].to_str().ok()), (429, Some("1")));
        tokio::time::sleep(Duration::from_millis(1050)).await;
        assert_eq!(send(&desk, "/tickets", &ticket()).await.0, 201);
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_ticket_behind_and_the_retry_finds_it() {
        let desk = desk();
        desk.faults().add(FaultRule::next(1, Fault::LoseAnswer).on("POST", "/tickets"));
        let lost = request(&desk, "/tickets").header("Idempotency-Key", "19a3c04d7be1f205").json(&ticket());
        assert!(lost.send().await.is_err());
        assert_eq!(desk.tickets().len(), 1);
        let (status, opened) = send(&desk, "/tickets", &ticket()).await;
        assert_eq!((status, opened["id"].as_str()), (201, Some("T-1001")));
        assert_eq!(desk.tickets().len(), 1);
    }

    #[tokio::test]
    async fn a_planned_error_stores_nothing_and_follows_the_document() {
        let desk = desk();
        desk.faults().add(FaultRule::next(1, Fault::status(503)));
        let (status, body) = send(&desk, "/tickets", &ticket()).await;
        assert_eq!(status, 503);
        OpenApiDocument::rest_tickets()
            .expect("the document parses")
            .check_body("Error", &body)
            .expect("an error body");
        assert_eq!(desk.tickets(), []);
    }

    #[tokio::test]
    async fn the_log_tells_every_call_and_its_status() {
        let desk = desk();
        send(&desk, "/tickets", &ticket()).await;
        answer(request(&desk, "/comments")).await;
        let calls = desk.calls().all();
        let told: Vec<_> = calls.iter().map(|call| (call.path.as_str(), call.status)).collect();
        assert_eq!(told, [("/tickets", Some(201)), ("/comments", Some(404))]);
    }

    fn adapter(desk: &RestTickets) -> rest::RestTickets {
        rest::RestTickets::new(ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "the ticket system",
                base_url: parse_base_url(&desk.base_url()).expect("a URL"),
                credential: Credential::Fixed(desk.api_key().into()),
                credential_parameter: "TicketApiKey",
                calls_per_second: None,
            },
        ))
    }

    fn correspondent(name: Option<&str>) -> tickets::Correspondent {
        let email = EmailAddress::parse("marta.kowal@halden-robotics.example").expect("an address");
        tickets::Correspondent { email, name: name.map(str::to_owned) }
    }

    /// A ticket of which everything is known, and one of which as little is known as can be.
    fn fullest_and_barest() -> [NewTicket; 2] {
        let received_at = "2026-11-16T09:12:44.123456Z".parse().expect("a time");
        let fullest = NewTicket {
            message_id: "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0/Aw1+tVm8=".to_owned(),
            grant_id: "g1".to_owned(),
            thread_id: Some("t1".to_owned()),
            subject: Some("Nobody can sign in".to_owned()),
            from: correspondent(Some("Marta Kowal")),
            category: "incidents".to_owned(),
            priority: "high".to_owned(),
            desk: "on-call".to_owned(),
            flags: vec!["stranger_quotes_ticket".to_owned()],
            previous_ticket_id: Some("T-7".to_owned()),
            received_at,
            // As many characters as bytes, so that the document's limit in characters meets the adapter's in bytes.
            body: "a".repeat(rest::LONGEST_BODY + 1),
        };
        let barest = NewTicket {
            message_id: "m2".to_owned(),
            thread_id: None,
            subject: None,
            from: correspondent(None),
            category: "general".to_owned(),
            priority: "low".to_owned(),
            desk: "support".to_owned(),
            flags: Vec::new(),
            previous_ticket_id: None,
            body: String::new(),
            ..fullest.clone()
        };
        [fullest, barest]
    }

    #[tokio::test]
    async fn every_request_that_the_adapter_makes_follows_the_document() {
        let desk = desk();
        let adapter = adapter(&desk);
        let soon = || Deadline::after(Duration::from_secs(5));
        for ticket in fullest_and_barest() {
            let opened = adapter.open(&ticket, soon()).await.expect("the document takes the ticket");
            let told = desk.tickets().pop().expect("a ticket");
            assert_eq!((&opened.id, opened.url.as_ref()), (&told.id, Some(&told.url)));
            assert_eq!(adapter.open(&ticket, soon()).await, Ok(opened.clone()), "a retry");
            let comment = NewComment {
                message_id: format!("{}-answered", ticket.message_id),
                from: ticket.from,
                body: ticket.body,
                received_at: ticket.received_at,
            };
            let added = adapter.comment(&opened.id, &comment, soon()).await.expect("the document takes the comment");
            assert_eq!(adapter.comment(&opened.id, &comment, soon()).await, Ok(added), "a retry");
        }
        let comments: Vec<usize> = desk.tickets().iter().map(|ticket| ticket.comments.len()).collect();
        assert_eq!(comments, [1, 1]);
    }

    #[tokio::test]
    async fn every_category_and_priority_of_the_contract_is_taken() {
        let desk = desk();
        let mut body = ticket();
        let categories = ["incidents", "bugs", "billing", "feature_requests", "churn_risk", "general"];
        for (number, category) in categories.into_iter().enumerate() {
            body["message_id"] = json!(format!("m{number}"));
            body["category"] = json!(category);
            body["priority"] = json!(["high", "medium", "low"][number % 3]);
            assert_eq!(send(&desk, "/tickets", &body).await.0, 201, "{category}");
        }
    }

    #[tokio::test]
    async fn the_adapter_tells_a_ticket_that_is_gone_from_a_conflict_and_a_refusal() {
        let desk = desk();
        let adapter = adapter(&desk);
        let soon = || Deadline::after(Duration::from_secs(5));
        let [ticket, _] = fullest_and_barest();
        let opened = adapter.open(&ticket, soon()).await.expect("opened");
        let ruled_anew = NewTicket { desk: "support".to_owned(), ..ticket.clone() };
        assert_eq!(adapter.open(&ruled_anew, soon()).await, Ok(opened.clone()));
        let refused = NewTicket { message_id: "m3".to_owned(), category: "praise".to_owned(), ..ticket.clone() };
        let failure = Failure::from(adapter.open(&refused, soon()).await.expect_err("no such category"));
        assert_eq!(failure.class(), "ticket.rejected");
        desk.remove(&opened.id);
        let comment = NewComment {
            message_id: "m4".to_owned(),
            from: ticket.from,
            body: ticket.body,
            received_at: ticket.received_at,
        };
        assert_eq!(adapter.comment(&opened.id, &comment, soon()).await, Ok(Commented::TicketGone));
    }
}

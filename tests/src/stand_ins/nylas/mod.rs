//! A stand-in for the Nylas v3 API, as far as it is called: grants, folders, messages and sending them, calendars, events,
//! contacts, scheduling configurations, notetakers and webhooks, with paging, field selection, compressed answers, and the error bodies
//! of the original.

mod answers;
mod asked;
mod bookings;
mod calendars;
mod checks;
mod configuration;
mod contacts;
mod event_changes;
mod events;
mod generated_contacts;
mod grants;
mod idempotency;
mod links;
mod mail;
mod media;
mod messages;
mod notetakers;
mod notifications;
mod scheduling;
mod send;
mod tracking;
mod traffic;
mod webhooks;

use std::{
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::{
    answers::{Answered, ApiError, Checked, PLANNED_ERROR, Reply, page_body, request_id},
    asked::Asked,
    checks::{object_in, object_of, refuse_unknown_keys},
};
use super::{CallLog, Faults, Result, StandInError, read_seeds, server::Server};

pub use self::{
    contacts::GeneratedContacts,
    generated_contacts::{generated_contact, generated_crm_contact},
    grants::Grant,
    notifications::ControlError,
    send::SentMail,
    webhooks::RegisteredWebhook,
};

/// The API key that the stand-in takes unless told otherwise.
pub const DEFAULT_API_KEY: &str = "sample-nylas-api-key";

/// The file that seeds the stand-in: `{"grants": [...], "standalone_notetakers": [...]}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedFile {
    grants: Vec<Grant>,
    #[serde(default)]
    standalone_notetakers: Vec<Value>,
}

struct Api {
    bearer: String,
    grants: Mutex<Vec<Grant>>,
    /// The notetakers that no account has sent.
    standalone_notetakers: Mutex<Vec<Value>>,
    storage: media::Storage,
    sending: send::Sending,
    scheduling: scheduling::Scheduling,
    traffic: Arc<traffic::Traffic>,
    webhooks: webhooks::Webhooks,
    /// How many changes of events were mailed to their participants.
    mailed: AtomicUsize,
    largest_page: usize,
    requests: AtomicU64,
    /// What tells the ids of this stand-in from those of one that ran before it against the same stack.
    seed: String,
}

impl Api {
    fn locked<T>(&self, use_grants: impl FnOnce(&mut Vec<Grant>) -> T) -> T {
        use_grants(&mut self.grants.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn success(&self, body: Map<String, Value>) -> Response {
        self.answer(StatusCode::OK, body)
    }

    fn answer(&self, status: StatusCode, body: Map<String, Value>) -> Response {
        self.reply(status, body).into_response()
    }

    fn reply(&self, status: StatusCode, mut body: Map<String, Value>) -> Reply {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        body.insert("request_id".to_owned(), request_id(number).into());
        Reply { status, body: body.into() }
    }

    /// A digest that is given out once, for the id of a new object.
    fn fresh_digest(&self, kind: &str) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        hex::encode(Sha256::digest(format!("{}:{kind}:{number}", self.seed)))
    }

    /// The named grant, if it is there and its account can be reached.
    fn grant(&self, name: &str) -> std::result::Result<Grant, ApiError> {
        self.use_grant(name, |grant| grant.clone())
    }

    /// Does something with the named grant, if it is there and its account can be reached.
    fn use_grant<T>(&self, name: &str, use_it: impl FnOnce(&mut Grant) -> T) -> std::result::Result<T, ApiError> {
        self.locked(|grants| {
            let grant = grants
                .iter_mut()
                .find(|grant| grant.is_named(name))
                .ok_or_else(|| ApiError::new(404, "not_found_error", format!("no grant is known as {name}")))?;
            if grant.grant_status == "invalid" {
                let mut error = ApiError::new(401, "unauthorized", "Unauthorized");
                error.provider_error =
                    Some(json!({ "code": 401, "message": "The account's token is no longer accepted." }));
                return Err(error);
            }
            Ok(use_it(grant))
        })
    }
}

/// What to start with; see [`Nylas::builder`].
#[derive(Debug)]
pub struct NylasBuilder {
    api_key: String,
    grants: Vec<Grant>,
    standalone_notetakers: Vec<Value>,
    largest_page: usize,
    port: u16,
}

impl NylasBuilder {
    /// The API key that requests must bear instead of [`DEFAULT_API_KEY`].
    #[must_use]
    pub fn api_key(mut self, api_key: &str) -> Self {
        api_key.clone_into(&mut self.api_key);
        self
    }

    /// A grant that is connected from the start.
    #[must_use]
    pub fn grant(mut self, mut grant: Grant) -> Self {
        grant.settle();
        self.grants.push(grant);
        self
    }

    /// The grants of a file of the form `{"grants": [...], "standalone_notetakers": [...]}`, the second of which may be left
    /// out; a grant without folders gets its provider's usual ones.
    pub fn grants_file(self, path: &Path) -> Result<Self> {
        let seeds = read_seeds::<SeedFile>(path)?;
        let mut builder = seeds.grants.into_iter().fold(self, Self::grant);
        builder.standalone_notetakers.extend(seeds.standalone_notetakers);
        Ok(builder)
    }

    /// Pages hold at most this many objects, whatever the limit asked for: a short page is then not the last one.
    #[must_use]
    pub fn largest_page(mut self, objects: usize) -> Self {
        self.largest_page = objects.max(1);
        self
    }

    /// A port of one's own choosing instead of any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the stand-in.
    pub fn start(self) -> Result<Nylas> {
        let of_grants = self.grants.iter().flat_map(|grant| &grant.notetakers);
        of_grants.chain(&self.standalone_notetakers).try_for_each(notetakers::check_seed)?;
        let api = Arc::new(Api {
            storage: media::Storage::new(&self.api_key),
            bearer: self.api_key,
            grants: Mutex::new(self.grants),
            standalone_notetakers: Mutex::new(self.standalone_notetakers),
            sending: send::Sending::default(),
            scheduling: scheduling::Scheduling::default(),
            traffic: Arc::default(),
            webhooks: webhooks::Webhooks::default(),
            mailed: AtomicUsize::new(0),
            largest_page: self.largest_page,
            requests: AtomicU64::new(1),
            seed: format!("{}:{}", std::process::id(), jiff::Timestamp::now().as_nanosecond()),
        });
        let router = Router::new()
            .route("/v3/grants", get(grants::list))
            .route("/v3/grants/{grant}", get(grants::find))
            .route("/v3/grants/{grant}/folders", get(grants::list_folders))
            .route("/v3/grants/{grant}/messages", get(messages::list))
            .route("/v3/grants/{grant}/messages/send", post(send::send))
            .route("/v3/grants/{grant}/messages/{message}", get(messages::find))
            .route("/v3/grants/{grant}/calendars", get(calendars::list))
            .route("/v3/grants/{grant}/calendars/{calendar}", get(calendars::find).put(calendars::change))
            .route("/v3/grants/{grant}/events", get(events::list).post(event_changes::create))
            .route(
                "/v3/grants/{grant}/events/{event}",
                get(events::find).put(event_changes::change).delete(event_changes::remove),
            )
            .route("/v3/grants/{grant}/contacts", get(contacts::list))
            .route("/v3/grants/{grant}/contacts/{contact}", get(contacts::find))
            .nest("/v3/grants/{grant}/scheduling/configurations", scheduling::routes())
            .nest("/v3/grants/{grant}/notetakers", notetakers::routes())
            .nest("/v3/notetakers", notetakers::routes())
            .route("/v3/webhooks", get(webhooks::list).post(webhooks::create))
            .route("/v3/webhooks/{webhook}", get(webhooks::find).put(webhooks::change).delete(webhooks::remove))
            .route("/v3/webhooks/rotate-secret/{webhook}", post(webhooks::rotate))
            .route("/v3/webhooks/send-test-event", post(webhooks::send_test_event))
            .fallback(|| async { ApiError::not_found() })
            .method_not_allowed_fallback(|| async {
                ApiError::new(405, "invalid_request_error", "the path does not take this method")
            })
            .layer(middleware::from_fn_with_state(Arc::clone(&api), refuse_strangers))
            .layer(middleware::from_fn(compress_if_asked))
            // After the layers: storage asks for no key, and a recording is never held in memory to be compressed.
            .route(media::STORAGE_PATH, get(media::serve))
            .with_state(Arc::clone(&api));
        let gate = traffic::gate(Arc::clone(&api));
        let server = Server::start_gated(self.port, router, PLANNED_ERROR, gate)?;
        api.storage.is_at(server.base_url());
        Ok(Nylas { server, api })
    }
}

/// The running stand-in. It stops when it is dropped.
pub struct Nylas {
    server: Server,
    api: Arc<Api>,
}

impl Nylas {
    /// Starts an API without grants, on a free port.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Lays out an API with grants, a key or a port of one's own.
    #[must_use]
    pub fn builder() -> NylasBuilder {
        NylasBuilder {
            api_key: DEFAULT_API_KEY.to_owned(),
            grants: Vec::new(),
            standalone_notetakers: Vec::new(),
            largest_page: usize::MAX,
            port: 0,
        }
    }

    /// The address to give as `NylasApiUri`, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The key to give as `NylasApiKey`.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api.bearer
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

    /// Connects a grant.
    pub fn add_grant(&self, mut grant: Grant) {
        grant.settle();
        self.api.locked(|grants| grants.push(grant));
    }

    /// Puts a message into a grant's mailbox, in place of one with the same id.
    pub fn put_message(&self, grant_id: &str, message: Value) -> Result<()> {
        self.api.locked(|grants| {
            let grant = grants
                .iter_mut()
                .find(|grant| grant.id == grant_id)
                .ok_or_else(|| StandInError::UnknownGrant(grant_id.to_owned()))?;
            grant.messages.retain(|known| known["id"] != message["id"]);
            grant.messages.push(message);
            Ok(())
        })
    }

    /// Puts an event into a grant's calendars, in place of one with the same id.
    pub fn put_event(&self, grant_id: &str, event: Value) -> Result<()> {
        self.api.locked(|grants| {
            let grant = grants
                .iter_mut()
                .find(|grant| grant.id == grant_id)
                .ok_or_else(|| StandInError::UnknownGrant(grant_id.to_owned()))?;
            grant.events.retain(|known| known["id"] != event["id"]);
            grant.events.push(event);
            Ok(())
        })
    }

    /// Takes an event out of a grant's calendars.
    pub fn remove_event(&self, grant_id: &str, event_id: &str) {
        self.api.locked(|grants| {
            for grant in grants.iter_mut().filter(|grant| grant.id == grant_id) {
                grant.events.retain(|event| event["id"] != event_id);
            }
        });
    }

    /// Replaces a text in the headers of all messages and the metadata of all events.
    pub fn replace(&self, text: &str, by: &str) {
        self.api.locked(|grants| {
            for grant in grants {
                let headers =
                    grant.messages.iter_mut().filter_map(|message| message["headers"].as_array_mut()).flatten();
                let values = headers.map(|header| &mut header["value"]);
                let metadata = grant.events.iter_mut().filter_map(|event| event["metadata"].as_object_mut());
                for value in values.chain(metadata.flat_map(Map::values_mut)) {
                    if let Some(replaced) = value.as_str().map(|value| value.replace(text, by)) {
                        *value = Value::from(replaced);
                    }
                }
            }
        });
    }

    /// Takes a message out of a grant's mailbox.
    pub fn remove_message(&self, grant_id: &str, message_id: &str) {
        self.api.locked(|grants| {
            for grant in grants.iter_mut().filter(|grant| grant.id == grant_id) {
                grant.messages.retain(|message| message["id"] != message_id);
            }
        });
    }

    /// Sets whether a grant is `valid` or `invalid` (its account has to be connected anew).
    pub fn set_grant_status(&self, grant_id: &str, status: &str) {
        self.api.locked(|grants| {
            for grant in grants.iter_mut().filter(|grant| grant.id == grant_id) {
                status.clone_into(&mut grant.grant_status);
            }
        });
    }
}

async fn refuse_strangers(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if bearer.and_then(|value| value.strip_prefix("Bearer ")) == Some(api.bearer.as_str()) {
        return next.run(request).await;
    }
    ApiError::new(401, "unauthorized", "Unauthorized").into_response()
}

async fn compress_if_asked(request: Request, next: Next) -> Response {
    let asked = request.headers().get_all(header::ACCEPT_ENCODING).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|coding| coding.trim().starts_with("gzip")))
    });
    let response = next.run(request).await;
    if !asked {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let compressed = async {
        let body = axum::body::to_bytes(body, usize::MAX).await.ok()?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&body).ok()?;
        encoder.finish().ok()
    };
    match compressed.await {
        Some(body) => {
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::from_parts(head, Body::from(body))
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

type Parameters = Query<Vec<(String, String)>>;

#[cfg(test)]
mod tests;

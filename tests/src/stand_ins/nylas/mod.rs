//! A stand-in for the Nylas v3 API, as far as it is called: grants, folders, messages, calendars, events and notetakers, with
//! paging, field selection, compressed answers, and the error bodies of the original.

mod events;
mod media;
mod notetakers;

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path as UrlPath, Query, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use flate2::{Compression, write::GzEncoder};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    CallLog, Faults, Result, StandInError, read_seeds,
    server::{ErrorAnswer, Server},
};

/// The API key that the stand-in takes unless told otherwise.
pub const DEFAULT_API_KEY: &str = "sample-nylas-api-key";

const MESSAGES_LIMIT: (usize, usize) = (50, 200);
const FOLDERS_LIMIT: (usize, usize) = (50, 200);
const GRANTS_LIMIT: (usize, usize) = (10, 200);

/// Header names that `fields=include_basic_headers` leaves in.
const BASIC_HEADERS: [&str; 3] = ["message-id", "in-reply-to", "references"];

/// A connected account with its folders and messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The grant id.
    pub id: String,
    /// The account's address.
    pub email: String,
    /// `google`, `microsoft`, `imap` and so on.
    pub provider: String,
    /// `valid` or `invalid`; an invalid grant lists nothing and answers 401 to everything below it.
    #[serde(default = "valid")]
    pub grant_status: String,
    /// Folder objects; the provider's usual ones where none are given.
    #[serde(default)]
    pub folders: Vec<Value>,
    /// Message objects with all they have; `headers`, `tracking_options` and `raw_mime` are shown only on request.
    #[serde(default)]
    pub messages: Vec<Value>,
    /// Calendar objects; the main one and those that events name where none are given.
    #[serde(default)]
    pub calendars: Vec<Value>,
    /// What has been changed of the calendars since, by calendar id; given or not, they are shown with it.
    #[serde(default)]
    pub calendar_changes: BTreeMap<String, Map<String, Value>>,
    /// Event objects with all they have.
    #[serde(default)]
    pub events: Vec<Value>,
    /// Notetaker objects; `media` and `history`, which are not part of the object, say what their own paths answer.
    #[serde(default)]
    pub notetakers: Vec<Value>,
}

fn valid() -> String {
    "valid".to_owned()
}

impl Grant {
    /// A Gmail account: folder ids are names, and folders have no attributes.
    #[must_use]
    pub fn google(id: &str, email: &str) -> Self {
        Self::with_usual_folders("google", id, email)
    }

    /// An Exchange Online account: folder ids are opaque, names follow the user's language, attributes tell what a folder is for.
    #[must_use]
    pub fn microsoft(id: &str, email: &str) -> Self {
        Self::with_usual_folders("microsoft", id, email)
    }

    /// An IMAP account: folder names follow the server, attributes tell what a folder is for.
    #[must_use]
    pub fn imap(id: &str, email: &str) -> Self {
        Self::with_usual_folders("imap", id, email)
    }

    fn with_usual_folders(provider: &str, id: &str, email: &str) -> Self {
        let mut grant = Self {
            id: id.to_owned(),
            email: email.to_owned(),
            provider: provider.to_owned(),
            grant_status: valid(),
            folders: Vec::new(),
            messages: Vec::new(),
            calendars: Vec::new(),
            calendar_changes: BTreeMap::new(),
            events: Vec::new(),
            notetakers: Vec::new(),
        };
        grant.fill_folders();
        grant
    }

    /// An iCloud account: it has no primary calendar, and lists no more than six months at a time.
    #[must_use]
    pub fn icloud(id: &str, email: &str) -> Self {
        Self::with_usual_folders("icloud", id, email)
    }

    /// The same grant with a message.
    #[must_use]
    pub fn with_message(mut self, message: Value) -> Self {
        self.messages.push(message);
        self
    }

    /// The id of the folder with this attribute (`\Sent`), or on Google with this name (`SENT`).
    #[must_use]
    pub fn folder_id(&self, attribute_or_name: &str) -> Option<&str> {
        let is_it = |folder: &&Value| {
            let attributes = folder["attributes"].as_array().into_iter().flatten();
            folder["name"] == attribute_or_name
                || attributes.into_iter().any(|attribute| attribute == attribute_or_name)
        };
        self.folders.iter().find(is_it).and_then(|folder| folder["id"].as_str())
    }

    fn fill_folders(&mut self) {
        if !self.folders.is_empty() {
            return;
        }
        let grant_id = self.id.clone();
        let attributed = |id: String, name: &str, attributes: &[&str]| json!({ "id": id, "grant_id": grant_id, "object": "folder", "name": name, "attributes": attributes });
        self.folders = match self.provider.as_str() {
            "google" => [("SENT", true), ("INBOX", true), ("DRAFT", true), ("SPAM", true), ("Label_17", false)]
                .map(|(id, system)| {
                    let name = if system { id } else { "Prospects" };
                    json!({ "id": id, "grant_id": grant_id, "object": "folder", "name": name, "system_folder": system })
                })
                .to_vec(),
            "microsoft" | "ews" => {
                [("Inbox", "\\Inbox"), ("Sent Items", "\\Sent"), ("Drafts", "\\Drafts"), ("Junk Email", "\\Junk")]
                    .map(|(name, attribute)| attributed(opaque_id(&grant_id, name), name, &[attribute]))
                    .into_iter()
                    .chain([attributed(opaque_id(&grant_id, "Prospects"), "Prospects", &[])])
                    .collect()
            }
            _ => [("INBOX", "\\Inbox"), ("INBOX.Verstuurd", "\\Sent"), ("INBOX.Concepten", "\\Drafts")]
                .map(|(name, attribute)| attributed(opaque_id(&grant_id, name), name, &[attribute]))
                .to_vec(),
        };
    }

    fn is_named(&self, name: &str) -> bool {
        let bare = name.strip_prefix("grant:").or_else(|| name.strip_prefix("email:")).unwrap_or(name);
        self.id == bare || self.email.eq_ignore_ascii_case(bare)
    }

    fn describe(&self) -> Value {
        let scope = match self.provider.as_str() {
            "google" => json!(["https://www.googleapis.com/auth/gmail.readonly"]),
            "microsoft" => json!(["Mail.Read", "User.Read", "offline_access"]),
            _ => json!([]),
        };
        json!({
            "id": self.id,
            "provider": self.provider,
            "email": self.email,
            "grant_status": self.grant_status,
            "scope": scope,
            "created_at": 1_767_225_600,
            "updated_at": 1_767_225_600,
        })
    }
}

/// An id as Exchange makes them: long, and with characters that a path must encode.
fn opaque_id(grant_id: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{grant_id}:{name}"));
    format!("AAMkAD{}/+{}==", STANDARD.encode(digest).trim_end_matches('='), hex::encode(&digest[..8]))
}

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
    largest_page: usize,
    requests: AtomicU64,
}

impl Api {
    fn locked<T>(&self, use_grants: impl FnOnce(&mut Vec<Grant>) -> T) -> T {
        use_grants(&mut self.grants.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn success(&self, body: Map<String, Value>) -> Response {
        self.answer(StatusCode::OK, body)
    }

    fn answer(&self, status: StatusCode, mut body: Map<String, Value>) -> Response {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let request_id = request_id(number);
        body.insert("request_id".to_owned(), Value::from(request_id.as_str()));
        answer(status, &Value::Object(body), &request_id)
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

fn request_id(number: u64) -> String {
    let digest = hex::encode(Sha256::digest(number.to_be_bytes()));
    format!("{}-{}-4{}-a{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
}

fn answer(status: StatusCode, body: &Value, request_id: &str) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    for name in ["x-request-id", "x-fastly-id"] {
        if let Ok(value) = HeaderValue::from_str(request_id) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// An error in the API's format.
#[derive(Debug)]
struct ApiError {
    status: u16,
    kind: &'static str,
    message: String,
    provider_error: Option<Value>,
}

impl ApiError {
    fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), provider_error: None }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    fn not_found() -> Self {
        Self::new(404, "not_found_error", "there is no such object")
    }

    /// What the API says for a status that a test plans.
    fn planned(status: u16) -> Self {
        let (kind, message) = match status {
            400 => ("invalid_request_error", "the request could not be read"),
            401 => ("unauthorized", "Unauthorized"),
            403 => ("insufficient_scopes", "the grant lacks a scope that this call needs"),
            404 => return Self::not_found(),
            409 => ("conflict", "the object is not in a state that allows this"),
            429 => ("rate_limit_error", "Too many requests."),
            502..=504 => ("provider_error", "The provider did not answer in time."),
            _ => ("internal_error", "Internal error."),
        };
        Self::new(status, kind, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let request_id = request_id(u64::from(self.status) << 32);
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(provider_error) = self.provider_error {
            error["provider_error"] = provider_error;
        }
        answer(status, &json!({ "request_id": request_id, "error": error }), &request_id)
    }
}

const PLANNED_ERROR: ErrorAnswer = |status| ApiError::planned(status).into_response();

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
        grant.fill_folders();
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
            largest_page: self.largest_page,
            requests: AtomicU64::new(1),
        });
        let router = Router::new()
            .route("/v3/grants", get(list_grants))
            .route("/v3/grants/{grant}", get(find_grant))
            .route("/v3/grants/{grant}/folders", get(list_folders))
            .route("/v3/grants/{grant}/messages", get(list_messages))
            .route("/v3/grants/{grant}/messages/{message}", get(find_message))
            .route("/v3/grants/{grant}/calendars", get(events::calendars))
            .route("/v3/grants/{grant}/calendars/{calendar}", get(events::find_calendar).put(events::change_calendar))
            .route("/v3/grants/{grant}/events", get(events::list))
            .route("/v3/grants/{grant}/events/{event}", get(events::find))
            .nest("/v3/grants/{grant}/notetakers", notetakers::routes())
            .nest("/v3/notetakers", notetakers::routes())
            .fallback(|| async { ApiError::not_found() })
            .method_not_allowed_fallback(|| async {
                ApiError::new(405, "invalid_request_error", "the path does not take this method")
            })
            .layer(middleware::from_fn_with_state(Arc::clone(&api), refuse_strangers))
            .layer(middleware::from_fn(compress_if_asked))
            // After the layers: storage asks for no key, and a recording is never held in memory to be compressed.
            .route(media::STORAGE_PATH, get(media::serve))
            .with_state(Arc::clone(&api));
        let server = Server::start(self.port, router, PLANNED_ERROR)?;
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
        grant.fill_folders();
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

/// The query of a call, held against the names that the call takes.
struct Asked(Vec<(String, String)>);

impl Asked {
    fn check(query: Vec<(String, String)>, known: &[&str]) -> std::result::Result<Self, ApiError> {
        match query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(ApiError::invalid(format!("unknown query parameter {name}"))),
            None => Ok(Self(query)),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn number(&self, name: &str) -> std::result::Result<Option<i64>, ApiError> {
        let parse = |value: &str| value.parse().map_err(|_| ApiError::invalid(format!("{name} is not a number")));
        self.text(name).map(parse).transpose()
    }

    fn limit(&self, (default, most): (usize, usize)) -> std::result::Result<usize, ApiError> {
        match self.number("limit")? {
            None => Ok(default),
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=most).contains(limit))
                .ok_or_else(|| ApiError::invalid(format!("limit must be between 1 and {most}"))),
        }
    }

    /// One page of the objects, with the cursor of the next one if there is more.
    fn page(&self, objects: Vec<Value>, bounds: (usize, usize), largest_page: usize) -> PageResult {
        let limit = self.limit(bounds)?.min(largest_page);
        let start = match self.text("page_token") {
            None => 0,
            Some(token) => URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| text.strip_prefix("from:")?.parse::<usize>().ok())
                .ok_or_else(|| ApiError::invalid("page_token is not a cursor of this listing"))?,
        };
        let more = objects.len() > start.saturating_add(limit);
        let cursor = more.then(|| URL_SAFE_NO_PAD.encode(format!("from:{}", start + limit)));
        Ok((objects.into_iter().skip(start).take(limit).collect(), cursor))
    }

    /// The object as `fields` and `select` want it shown.
    fn show(&self, message: &Value) -> std::result::Result<Value, ApiError> {
        let mut shown = message.clone();
        let Some(object) = shown.as_object_mut() else {
            return Ok(shown);
        };
        let headers = object.remove("headers").unwrap_or_else(|| json!([]));
        let tracking = object.remove("tracking_options");
        let raw_mime = object.remove("raw_mime");
        match self.text("fields") {
            None | Some("standard") => {}
            Some("include_headers") => {
                object.insert("headers".to_owned(), headers);
            }
            Some("include_basic_headers") => {
                let is_basic = |header: &Value| {
                    header["name"].as_str().is_some_and(|name| BASIC_HEADERS.contains(&name.to_lowercase().as_str()))
                };
                let basic: Vec<Value> =
                    headers.as_array().into_iter().flatten().filter(|h| is_basic(h)).cloned().collect();
                object.insert("headers".to_owned(), Value::from(basic));
            }
            Some("include_tracking_options") => {
                object.extend(tracking.map(|value| ("tracking_options".to_owned(), value)));
            }
            Some("raw_mime") => {
                let raw_mime =
                    raw_mime.ok_or_else(|| ApiError::invalid("the source of this message is not available"))?;
                object.retain(|key, _| matches!(key.as_str(), "id" | "grant_id" | "object"));
                object.insert("raw_mime".to_owned(), raw_mime);
            }
            Some(other) => return Err(ApiError::invalid(format!("fields does not take {other}"))),
        }
        if let Some(select) = self.text("select") {
            let wanted: Vec<&str> = select.split(',').map(str::trim).collect();
            object.retain(|key, _| wanted.contains(&key.as_str()));
        }
        Ok(shown)
    }
}

/// The object that a request bears.
fn object_of(body: &Bytes) -> std::result::Result<Map<String, Value>, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::invalid("the body is not a JSON object"))
}

fn refuse_unknown_keys(object: &Map<String, Value>, known: &[&str], place: &str) -> std::result::Result<(), ApiError> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(ApiError::invalid(format!("{place} does not take {key}"))),
        None => Ok(()),
    }
}

type PageResult = std::result::Result<(Vec<Value>, Option<String>), ApiError>;

fn page_body(data: Vec<Value>, cursor: Option<String>) -> Map<String, Value> {
    let mut body = Map::from_iter([("data".to_owned(), Value::from(data))]);
    body.extend(cursor.map(|cursor| ("next_cursor".to_owned(), Value::from(cursor))));
    body
}

async fn list_grants(State(api): State<Arc<Api>>, Query(query): Parameters) -> std::result::Result<Response, ApiError> {
    let known = [
        "limit",
        "offset",
        "provider",
        "grant_status",
        "email",
        "since",
        "before",
        "sort_by",
        "order_by",
        "workspace_id",
    ];
    let asked = Asked::check(query, &known)?;
    let limit = asked.limit(GRANTS_LIMIT)?;
    let offset = usize::try_from(asked.number("offset")?.unwrap_or(0))
        .map_err(|_| ApiError::invalid("offset must not be negative"))?;
    let grants: Vec<Value> = api.locked(|grants| {
        let fits = |name: &str, value: &str| asked.text(name).is_none_or(|wanted| wanted.eq_ignore_ascii_case(value));
        grants
            .iter()
            .filter(|grant| {
                fits("provider", &grant.provider)
                    && fits("grant_status", &grant.grant_status)
                    && fits("email", &grant.email)
            })
            .skip(offset)
            .take(limit.min(api.largest_page))
            .map(Grant::describe)
            .collect()
    });
    let mut body = page_body(grants, None);
    body.insert("limit".to_owned(), Value::from(limit));
    body.insert("offset".to_owned(), Value::from(offset));
    Ok(api.success(body))
}

async fn find_grant(
    State(api): State<Arc<Api>>,
    UrlPath(name): UrlPath<String>,
) -> std::result::Result<Response, ApiError> {
    let described = api.locked(|grants| grants.iter().find(|grant| grant.is_named(&name)).map(Grant::describe));
    let grant = described.ok_or_else(ApiError::not_found)?;
    Ok(api.success(Map::from_iter([("data".to_owned(), grant)])))
}

async fn list_folders(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> std::result::Result<Response, ApiError> {
    let known = ["limit", "page_token", "parent_id", "include_hidden_folders", "single_level", "select"];
    let asked = Asked::check(query, &known)?;
    let grant = api.grant(&grant)?;
    let (page, cursor) = asked.page(grant.folders, FOLDERS_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|folder| asked.show(folder)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

async fn list_messages(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> std::result::Result<Response, ApiError> {
    let known = [
        "limit",
        "page_token",
        "thread_id",
        "subject",
        "any_email",
        "from",
        "to",
        "in",
        "unread",
        "starred",
        "received_after",
        "received_before",
        "fields",
        "select",
    ];
    let asked = Asked::check(query, &known)?;
    let grant = api.grant(&grant)?;
    if asked.text("in").is_some_and(|folder| folder.starts_with("in:")) {
        return Err(ApiError::invalid("in takes a folder id, not a search keyword"));
    }
    let (after, before) = (asked.number("received_after")?, asked.number("received_before")?);
    let mut found: Vec<Value> = grant
        .messages
        .into_iter()
        .filter(|message| {
            let date = message["date"].as_i64().unwrap_or_default();
            after.is_none_or(|after| date > after)
                && before.is_none_or(|before| date < before)
                && asked.text("thread_id").is_none_or(|thread| message["thread_id"] == thread)
                && asked.text("subject").is_none_or(|subject| message["subject"] == subject)
                && asked.text("unread").is_none_or(|unread| message["unread"].as_bool() == unread.parse().ok())
                && asked.text("starred").is_none_or(|starred| message["starred"].as_bool() == starred.parse().ok())
                && asked.text("in").is_none_or(|folder| has_element(&message["folders"], |id| id == folder))
                && asked.text("from").is_none_or(|address| has_address(message, &["from"], address))
                && asked.text("to").is_none_or(|address| has_address(message, &["to"], address))
                && asked
                    .text("any_email")
                    .is_none_or(|address| has_address(message, &["from", "to", "cc", "bcc"], address))
        })
        .collect();
    found.sort_by_key(|message| Reverse(message["date"].as_i64()));
    let (page, cursor) = asked.page(found, MESSAGES_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|message| asked.show(message)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

async fn find_message(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> std::result::Result<Response, ApiError> {
    let asked = Asked::check(query, &["fields", "select", "query_imap", "shared_from"])?;
    let grant = api.grant(&grant)?;
    let message = grant.messages.iter().find(|message| message["id"] == id.as_str()).ok_or_else(ApiError::not_found)?;
    let shown = asked.show(message)?;
    Ok(api.success(Map::from_iter([("data".to_owned(), shown)])))
}

fn has_element(list: &Value, is_it: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(is_it))
}

fn has_address(message: &Value, lists: &[&str], addresses: &str) -> bool {
    addresses.split(',').any(|address| {
        lists.iter().any(|list| {
            has_element(&message[*list], |person| {
                person["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(address.trim()))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::stand_ins::{Fault, FaultRule};

    const GRANT: &str = "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10";

    fn message(id: &str, date: i64) -> Value {
        json!({
            "id": id,
            "grant_id": GRANT,
            "object": "message",
            "thread_id": format!("thread-{}", date % 2),
            "subject": "Pilot",
            "from": [{ "email": "marta.kowal@halden-robotics.example", "name": "Marta Kowal" }],
            "to": [{ "email": "ines.duarte@northwind.example" }],
            "date": date,
            "folders": ["INBOX"],
            "unread": false,
            "headers": [
                { "name": "Message-ID", "value": "<p1@halden-robotics.example>" },
                { "name": "Auto-Submitted", "value": "no" },
            ],
        })
    }

    fn nylas(messages: usize) -> Nylas {
        let grant = (0..messages).fold(Grant::google(GRANT, "ines.duarte@northwind.example"), |grant, number| {
            let date = 1_794_000_000 + i64::try_from(number).expect("few messages");
            grant.with_message(message(&format!("m{number}"), date))
        });
        Nylas::builder().grant(grant).start().expect("a free port exists")
    }

    pub(super) async fn get_json(nylas: &Nylas, path: &str) -> (u16, Value) {
        send_json(nylas, reqwest::Method::GET, path, None).await
    }

    pub(super) async fn send_json(
        nylas: &Nylas,
        method: reqwest::Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let mut request =
            reqwest::Client::new().request(method, format!("{}{path}", nylas.base_url())).bearer_auth(nylas.api_key());
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the stand-in answers");
        (answer.status().as_u16(), answer.json().await.expect("a JSON body"))
    }

    fn messages_path(rest: &str) -> String {
        format!("/v3/grants/{GRANT}/messages{rest}")
    }

    #[tokio::test]
    async fn a_wrong_key_is_refused_with_the_error_body_of_the_original() {
        let nylas = nylas(1);
        let answer = reqwest::Client::new()
            .get(format!("{}/v3/grants", nylas.base_url()))
            .bearer_auth("wrong")
            .send()
            .await
            .expect("answered");
        assert_eq!(answer.status(), 401);
        let body: Value = answer.json().await.expect("JSON");
        assert_eq!(body["error"]["type"], "unauthorized");
        assert!(body["request_id"].is_string());
    }

    #[tokio::test]
    async fn headers_come_only_when_they_are_asked_for() {
        let nylas = nylas(1);
        let (_, standard) = get_json(&nylas, &messages_path("/m0")).await;
        assert_eq!(standard["data"].get("headers"), None);
        let (_, all) = get_json(&nylas, &messages_path("/m0?fields=include_headers")).await;
        assert_eq!(all["data"]["headers"].as_array().map(Vec::len), Some(2));
        let (_, basic) = get_json(&nylas, &messages_path("/m0?fields=include_basic_headers")).await;
        assert_eq!(
            basic["data"]["headers"],
            json!([{ "name": "Message-ID", "value": "<p1@halden-robotics.example>" }])
        );
        let (status, error) = get_json(&nylas, &messages_path("/m0?fields=headers")).await;
        assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
    }

    #[tokio::test]
    async fn tracking_options_and_the_source_come_only_when_they_are_asked_for() {
        let nylas = nylas(1);
        let mut tracked = message("m1", 1_794_000_100);
        tracked["tracking_options"] = json!({ "opens": true });
        tracked["raw_mime"] = json!("U3ViamVjdDogUGlsb3QNCg0K");
        nylas.put_message(GRANT, tracked).expect("the grant is connected");
        let (_, standard) = get_json(&nylas, &messages_path("/m1")).await;
        assert_eq!((standard["data"].get("tracking_options"), standard["data"].get("raw_mime")), (None, None));
        let (_, asked) = get_json(&nylas, &messages_path("/m1?fields=include_tracking_options")).await;
        assert_eq!(asked["data"]["tracking_options"], json!({ "opens": true }));
        let (_, source) = get_json(&nylas, &messages_path("/m1?fields=raw_mime")).await;
        let only =
            json!({ "id": "m1", "grant_id": GRANT, "object": "message", "raw_mime": "U3ViamVjdDogUGlsb3QNCg0K" });
        assert_eq!(source["data"], only);
    }

    #[tokio::test]
    async fn select_keeps_only_the_named_fields() {
        let (_, body) = get_json(&nylas(1), &messages_path("/m0?select=id,subject")).await;
        assert_eq!(body["data"], json!({ "id": "m0", "subject": "Pilot" }));
    }

    #[tokio::test]
    async fn ids_are_decoded_and_an_id_that_was_not_encoded_is_not_found() {
        let nylas = nylas(0);
        nylas.put_message(GRANT, message("AAMk/A+b==#1", 1_794_000_000)).expect("the grant is connected");
        let (status, body) = get_json(&nylas, &messages_path("/AAMk%2FA%2Bb%3D%3D%231")).await;
        assert_eq!((status, &body["data"]["id"]), (200, &json!("AAMk/A+b==#1")));
        assert_eq!(get_json(&nylas, &messages_path("/AAMk/A+b==#1")).await.0, 404);
    }

    #[tokio::test]
    async fn a_message_that_is_gone_and_a_grant_that_never_was_are_not_found() {
        let nylas = nylas(1);
        nylas.remove_message(GRANT, "m0");
        for path in [messages_path("/m0"), "/v3/grants/unknown/messages/m0".to_owned(), "/v3/grants/unknown".to_owned()]
        {
            let (status, body) = get_json(&nylas, &path).await;
            assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")), "{path}");
        }
    }

    #[tokio::test]
    async fn an_expired_grant_is_listed_as_invalid_and_serves_nothing() {
        let nylas = nylas(1);
        nylas.set_grant_status(GRANT, "invalid");
        let (status, body) = get_json(&nylas, &messages_path("")).await;
        assert_eq!((status, &body["error"]["provider_error"]["code"]), (401, &json!(401)));
        let (_, listed) = get_json(&nylas, "/v3/grants?grant_status=invalid").await;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn pages_follow_the_cursor_until_there_is_none_newest_first() {
        let nylas = nylas(120);
        let mut ids = Vec::new();
        let mut sizes = Vec::new();
        let mut rest = String::new();
        loop {
            let (_, page) = get_json(&nylas, &messages_path(&rest)).await;
            let data = page["data"].as_array().expect("a list").clone();
            sizes.push(data.len());
            ids.extend(data.iter().map(|message| message["id"].as_str().expect("an id").to_owned()));
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            rest = format!("?page_token={cursor}");
        }
        assert_eq!(sizes, [50, 50, 20]);
        assert_eq!((ids[0].as_str(), ids[119].as_str()), ("m119", "m0"));
    }

    #[tokio::test]
    async fn a_short_page_may_be_followed_by_another() {
        let grant = Grant::google(GRANT, "ines.duarte@northwind.example")
            .with_message(message("m0", 1))
            .with_message(message("m1", 2));
        let nylas = Nylas::builder().grant(grant).largest_page(1).start().expect("a free port exists");
        let (_, page) = get_json(&nylas, &messages_path("?limit=50")).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
        assert!(page["next_cursor"].is_string());
    }

    #[tokio::test]
    async fn limits_and_cursors_outside_their_bounds_are_refused() {
        let nylas = nylas(1);
        for rest in
            ["?limit=201", "?limit=0", "?limit=many", "?page_token=bm9uc2Vuc2U", "?in=in:inbox", "?recieved_after=1"]
        {
            let (status, body) = get_json(&nylas, &messages_path(rest)).await;
            assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{rest}");
        }
    }

    #[tokio::test]
    async fn messages_are_narrowed_by_time_thread_folder_and_address() {
        let nylas = nylas(4);
        for (rest, expected) in [
            ("?received_after=1794000001", 2),
            ("?received_before=1794000001", 1),
            ("?thread_id=thread-0", 2),
            ("?in=INBOX", 4),
            ("?in=SENT", 0),
            ("?any_email=Marta.Kowal@halden-robotics.example", 4),
            ("?from=ines.duarte@northwind.example", 0),
        ] {
            let (_, page) = get_json(&nylas, &messages_path(rest)).await;
            assert_eq!(page["data"].as_array().map(Vec::len), Some(expected), "{rest}");
        }
    }

    #[tokio::test]
    async fn google_folders_are_named_by_their_ids_and_others_are_opaque_with_attributes() {
        let microsoft = Grant::microsoft("ms", "tobias.lindqvist@northwind.example");
        let sent = microsoft.folder_id("\\Sent").expect("every account has one").to_owned();
        assert!(sent.contains('/') && sent != "SENT");
        let nylas = nylas(0);
        nylas.add_grant(microsoft);
        nylas.add_grant(Grant::imap("imap", "office@northwind.example"));
        let (_, google) = get_json(&nylas, &format!("/v3/grants/{GRANT}/folders")).await;
        assert!(has_element(&google["data"], |folder| folder["id"] == "SENT" && folder.get("attributes").is_none()));
        let (_, listed) = get_json(&nylas, "/v3/grants/ms/folders").await;
        assert!(has_element(&listed["data"], |folder| folder["id"] == sent.as_str()
            && folder["attributes"] == json!(["\\Sent"])));
        let (_, imap) = get_json(&nylas, "/v3/grants/imap/folders").await;
        assert!(has_element(&imap["data"], |folder| folder["name"] == "INBOX.Verstuurd"
            && folder["attributes"] == json!(["\\Sent"])));
    }

    #[tokio::test]
    async fn grants_are_paged_by_limit_and_offset_and_found_by_id_or_address() {
        let nylas = Nylas::start().expect("a free port exists");
        for number in 0..12 {
            nylas.add_grant(Grant::google(&format!("g{number}"), &format!("seller{number}@northwind.example")));
        }
        let (_, first) = get_json(&nylas, "/v3/grants").await;
        assert_eq!(
            (first["data"].as_array().map(Vec::len), &first["limit"], first.get("next_cursor")),
            (Some(10), &json!(10), None)
        );
        let (_, second) = get_json(&nylas, "/v3/grants?limit=10&offset=10").await;
        assert_eq!((second["data"].as_array().map(Vec::len), &second["offset"]), (Some(2), &json!(10)));
        for name in ["g3", "grant:g3", "seller3@northwind.example", "email:seller3@northwind.example"] {
            let (_, body) = get_json(&nylas, &format!("/v3/grants/{name}")).await;
            assert_eq!(body["data"]["id"], "g3", "{name}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_compressed_exactly_when_that_is_asked_for() {
        let nylas = nylas(1);
        let client = reqwest::Client::builder().no_gzip().build().expect("a client");
        let ask = |encoding: &'static str| {
            client
                .get(format!("{}{}", nylas.base_url(), messages_path("/m0")))
                .bearer_auth(nylas.api_key())
                .header("Accept-Encoding", encoding)
                .send()
        };
        let plain = ask("identity").await.expect("answered");
        assert_eq!(plain.headers().get("content-encoding"), None);
        let plain = plain.bytes().await.expect("a body");
        let packed = ask("br, gzip").await.expect("answered");
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        let packed = packed.bytes().await.expect("a body");
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(packed.as_ref()).read_to_end(&mut inflated).expect("gzip");
        let data = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON")["data"].clone();
        assert_eq!(data(&inflated), data(&plain));
    }

    #[tokio::test]
    async fn planned_errors_have_the_types_of_the_original() {
        let nylas = nylas(1);
        for (status, kind) in [
            (400, "invalid_request_error"),
            (401, "unauthorized"),
            (404, "not_found_error"),
            (429, "rate_limit_error"),
            (504, "provider_error"),
        ] {
            nylas.faults().add(FaultRule::next(1, Fault::status(status)));
            let (answered, body) = get_json(&nylas, &messages_path("/m0")).await;
            assert_eq!((answered, &body["error"]["type"]), (status, &json!(kind)));
            assert!(body["request_id"].is_string() && body["error"]["message"].is_string());
        }
    }
}

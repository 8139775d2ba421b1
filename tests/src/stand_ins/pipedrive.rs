//! A stand-in for Pipedrive: persons, deals, activities and custom fields through API v2, notes, users and activity types
//! through v1. Holds every request against a description of those calls, refuses what Pipedrive refuses, and lets a test
//! do what people do in Pipedrive.

mod allowance;
mod calls;
mod records;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use self::{allowance::Allowance, records::Records};
use super::{
    CallLog, CrmContact, Faults, Result,
    crm::{CrmStandIn, SeenMail, SeenMeeting, SeenNotes, SeenTask},
    openapi::OpenApiDocument,
    server::{ErrorAnswer, Server},
};

/// The description of the calls that the stand-in takes.
pub const PIPEDRIVE_DOCUMENT: &str = include_str!("pipedrive.openapi.yaml");

/// The API token that the stand-in takes.
pub const PIPEDRIVE_API_TOKEN: &str = "sample-pipedrive-api-token";

/// The name of the custom field of persons that holds job titles, as an administrator makes it.
pub const JOB_TITLE_FIELD: &str = "Job title (Nylas)";

/// The client of an app that uses OAuth.
const CLIENT_ID: &str = "sample-client-id";
const CLIENT_SECRET: &str = "sample-client-secret";
const REFRESH_TOKEN: &str = "4242:sample-refresh-token";

/// Room for a long note.
const MOST_BYTES_IN_A_BODY: usize = 4 * 1024 * 1024;

/// How a caller shows that it may call.
#[derive(Debug)]
enum Credentials {
    /// In the header `x-api-token`; none is good once it was revoked.
    ApiToken { good: bool },
    /// As a bearer token that was made for a refresh token.
    OAuth { refresh_token_is_good: bool, made: u32, good: Vec<String> },
}

/// What a test has told the account to do.
#[derive(Debug, Default)]
struct Whims {
    refuses_null: bool,
    hides_deleted: bool,
    blocks: bool,
    forbidden: Vec<(String, String)>,
}

struct Account {
    document: OpenApiDocument,
    credentials: Mutex<Credentials>,
    allowance: Mutex<Allowance>,
    records: Mutex<Records>,
    whims: Mutex<Whims>,
    refusals: Mutex<Vec<String>>,
}

fn locked<T, R>(mutex: &Mutex<T>, used: impl FnOnce(&mut T) -> R) -> R {
    used(&mut mutex.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The running stand-in. It stops when it is dropped.
pub struct Pipedrive {
    server: Server,
    account: Arc<Account>,
}

impl Pipedrive {
    /// Starts an account that knows nobody and takes [`PIPEDRIVE_API_TOKEN`], on a free port.
    pub fn start() -> Result<Self> {
        Self::start_with(Credentials::ApiToken { good: true })
    }

    /// Starts an account that takes access tokens, and makes them for [`refresh_token`](Self::refresh_token).
    pub fn start_with_oauth() -> Result<Self> {
        Self::start_with(Credentials::OAuth { refresh_token_is_good: true, made: 0, good: Vec::new() })
    }

    fn start_with(credentials: Credentials) -> Result<Self> {
        let account = Arc::new(Account {
            document: OpenApiDocument::parse(PIPEDRIVE_DOCUMENT)?,
            allowance: Mutex::new(Allowance::of_the_widest_plan(matches!(credentials, Credentials::OAuth { .. }))),
            credentials: Mutex::new(credentials),
            records: Mutex::new(Records::new()),
            whims: Mutex::default(),
            refusals: Mutex::default(),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&account));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, account })
    }

    /// The OAuth server, to be asked for tokens at `/oauth/token`.
    #[must_use]
    pub fn login_url(&self) -> String {
        self.server.base_url()
    }

    /// The name of the client that uses OAuth.
    #[must_use]
    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    /// Its secret.
    #[must_use]
    pub fn client_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    /// The refresh token that the account's administrator has granted.
    #[must_use]
    pub fn refresh_token(&self) -> &'static str {
        REFRESH_TOKEN
    }

    /// Ends all access tokens that were made so far; new ones are made.
    pub fn end_access_tokens(&self) {
        locked(&self.account.credentials, |credentials| {
            if let Credentials::OAuth { good, .. } = credentials {
                good.clear();
            }
        });
    }

    /// How many calls, and how many searches among them, the account takes in two seconds; at first those of the widest plan.
    pub fn set_burst(&self, calls: usize, searches: usize) {
        locked(&self.account.allowance, |allowance| allowance.set_burst(calls, searches));
    }

    /// What is left of the day's budget of tokens.
    pub fn set_tokens_left(&self, tokens: u64) {
        locked(&self.account.allowance, |allowance| allowance.tokens_left = tokens);
    }

    /// How many tokens the calls so far have cost.
    #[must_use]
    pub fn tokens_used(&self) -> u64 {
        locked(&self.account.allowance, |allowance| allowance.tokens_used)
    }

    /// Answers tell of no allowance from now on: Pipedrive promises none of those headers.
    pub fn send_no_rate_headers(&self) {
        locked(&self.account.allowance, |allowance| allowance.sends_headers = false);
    }

    /// Answers every call with the page that stands in front of Pipedrive when calls went on after a 429, or no longer.
    pub fn set_blocking(&self, blocks: bool) {
        locked(&self.account.whims, |whims| whims.blocks = blocks);
    }

    /// Refuses calls with this method whose path begins with `path_prefix`, as to a credential without the right to them.
    pub fn forbid(&self, method: &str, path_prefix: &str) {
        locked(&self.account.whims, |whims| whims.forbidden.push((method.to_owned(), path_prefix.to_owned())));
    }

    /// Refuses null as the value of an activity's field.
    pub fn refuse_null(&self) {
        locked(&self.account.whims, |whims| whims.refuses_null = true);
    }

    /// Answers 404 for an activity that was deleted, instead of showing it as deleted.
    pub fn hide_deleted(&self) {
        locked(&self.account.whims, |whims| whims.hides_deleted = true);
    }

    /// Takes an activity type out of the account, as an administrator does.
    pub fn remove_activity_type(&self, key: &str) {
        locked(&self.account.records, |records| records.types.retain(|kind| kind != key));
    }

    /// Deletes an activity, as a person does who works in Pipedrive.
    pub fn delete_activity(&self, id: &str) {
        locked(&self.account.records, |records| records.delete_activity(id));
    }

    /// Changes fields of an activity, as a person does who works in Pipedrive.
    pub fn edit_activity(&self, id: &str, fields: &Value) {
        locked(&self.account.records, |records| records.edit_activity(id, fields));
    }

    /// The fields of an activity as they are; null if there is none with this id.
    #[must_use]
    pub fn activity(&self, id: &str) -> Value {
        locked(&self.account.records, |records| records.activity(id))
    }

    /// Deletes a note, as a person does who works in Pipedrive.
    pub fn delete_note(&self, id: &str) {
        locked(&self.account.records, |records| records.delete_note(id));
    }

    /// Changes the content of a note, as a person does who works in Pipedrive.
    pub fn edit_note(&self, id: &str, content: &str) {
        locked(&self.account.records, |records| records.edit_note(id, content));
    }

    /// Gives a person further telephone numbers, as a person does who works in Pipedrive: a value and a label each.
    pub fn add_phones(&self, id: &str, phones: &[(&str, &str)]) {
        locked(&self.account.records, |records| records.add_phones(id, phones));
    }

    /// The telephone numbers of a person as they are, the entries whole.
    #[must_use]
    pub fn phones(&self, id: &str) -> Value {
        locked(&self.account.records, |records| records.phones(id))
    }

    /// The custom fields of persons, by name.
    #[must_use]
    pub fn person_fields(&self) -> Vec<String> {
        locked(&self.account.records, |records| records.fields.iter().map(|field| field.name.clone()).collect())
    }
}

impl CrmStandIn for Pipedrive {
    fn provider(&self) -> &'static str {
        "pipedrive"
    }

    fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// For an account that takes an API token; one that takes OAuth is not described by a key alone.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("CrmApiKey", PIPEDRIVE_API_TOKEN.to_owned())]
    }

    fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn calls(&self) -> &CallLog {
        self.server.log()
    }

    fn refusals(&self) -> Vec<String> {
        locked(&self.account.refusals, |refusals| refusals.clone())
    }

    fn revoke_credential(&self) {
        locked(&self.account.credentials, |credentials| match credentials {
            Credentials::ApiToken { good } => *good = false,
            Credentials::OAuth { refresh_token_is_good, good, .. } => {
                *refresh_token_is_good = false;
                good.clear();
            }
        });
    }

    fn add_contact(&self, contact: &CrmContact) -> String {
        locked(&self.account.records, |records| records.add_contact(contact))
    }

    fn contacts(&self) -> Vec<CrmContact> {
        locked(&self.account.records, |records| records.contacts())
    }

    fn mails(&self) -> Vec<SeenMail> {
        locked(&self.account.records, |records| records.mails())
    }

    fn meetings(&self) -> Vec<SeenMeeting> {
        locked(&self.account.records, |records| records.meetings())
    }

    fn notes(&self) -> Vec<SeenNotes> {
        locked(&self.account.records, |records| records.seen_notes())
    }

    fn tasks(&self) -> Vec<SeenTask> {
        locked(&self.account.records, |records| records.tasks())
    }
}

/// An answer that says no, in Pipedrive's own form.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} not found"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "success": false,
            "error": self.error,
            "errorCode": self.status.as_u16(),
            "error_info": "Please check developers.pipedrive.com",
            "data": null,
            "additional_data": null,
        });
        (self.status, Json(body)).into_response()
    }
}

/// The error answers of the fault plan.
const PLANNED_ERROR: ErrorAnswer = |status| {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let words = status.canonical_reason().unwrap_or("error").to_lowercase();
    Refusal::new(status, format!("planned fault: {words}")).into_response()
};

/// One call, taken apart.
struct Asked {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Asked {
    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn json(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

async fn serve(State(account): State<Arc<Account>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES_IN_A_BODY).await else {
        return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large").into_response();
    };
    let query = parts.uri.query().unwrap_or_default();
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers: parts.headers,
        body: body.to_vec(),
    };
    if locked(&account.whims, |whims| whims.blocks) {
        let page = "<!DOCTYPE html><html><title>Attention Required! | Cloudflare</title></html>";
        return (StatusCode::FORBIDDEN, Html(page)).into_response();
    }
    if asked.path == "/oauth/token" {
        return account.make_token(&asked);
    }
    let mut answer = match account.answer(&asked) {
        Ok(answer) => Json(answer).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    let headers = locked(&account.allowance, |allowance| allowance.headers());
    answer.headers_mut().extend(headers);
    answer
}

impl Account {
    fn answer(&self, asked: &Asked) -> std::result::Result<Value, Refusal> {
        if !self.knows(&asked.headers) {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized access"));
        }
        let template = self.document.template_of(&asked.method, &asked.path).map(str::to_owned);
        locked(&self.allowance, |allowance| allowance.take(&asked.method, template.as_deref().unwrap_or_default()))?;
        let is_forbidden =
            |(method, prefix): &(String, String)| *method == asked.method && asked.path.starts_with(prefix);
        if locked(&self.whims, |whims| whims.forbidden.iter().any(is_forbidden)) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Scope and URL mismatch"));
        }
        if let Err(departure) =
            self.document.check_request(&asked.method, &asked.path, &asked.query, &asked.headers, &asked.body)
        {
            locked(&self.refusals, |refusals| refusals.push(departure.clone()));
            return Err(match &template {
                None => Refusal::new(StatusCode::NOT_FOUND, "Unknown method ."),
                Some(_) => Refusal::bad_request(format!("Validation failed: {departure}")),
            });
        }
        let (refuses_null, hides_deleted) = locked(&self.whims, |whims| (whims.refuses_null, whims.hides_deleted));
        let in_a_patch = asked.method == "PATCH" && asked.path.starts_with("/api/v2/activities/");
        if refuses_null && in_a_patch && asked.json().values().any(Value::is_null) {
            return Err(Refusal::bad_request("Validation failed: null is not a valid value"));
        }
        locked(&self.records, |records| records.call(asked, template.as_deref().unwrap_or_default(), hides_deleted))
    }

    fn knows(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        locked(&self.credentials, |credentials| match credentials {
            Credentials::ApiToken { good } => *good && text("x-api-token") == Some(PIPEDRIVE_API_TOKEN),
            Credentials::OAuth { good, .. } => text(header::AUTHORIZATION.as_str())
                .and_then(|value| value.strip_prefix("Bearer "))
                .is_some_and(|token| good.iter().any(|known| known == token)),
        })
    }

    fn make_token(&self, asked: &Asked) -> Response {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let refused = |status: StatusCode, error: &str| {
            (status, Json(json!({ "success": false, "error": error, "message": error }))).into_response()
        };
        if let Err(departure) =
            self.document.check_request(&asked.method, &asked.path, &asked.query, &asked.headers, &asked.body)
        {
            locked(&self.refusals, |refusals| refusals.push(departure));
            return refused(StatusCode::BAD_REQUEST, "invalid_request");
        }
        let basic = format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{CLIENT_SECRET}")));
        if asked.headers.get(header::AUTHORIZATION).is_none_or(|given| given != basic.as_str()) {
            return refused(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&asked.body).into_owned().collect();
        let is_ours = form.iter().any(|(name, value)| name == "refresh_token" && value == REFRESH_TOKEN);
        locked(&self.credentials, |credentials| match credentials {
            Credentials::OAuth { refresh_token_is_good: true, made, good } if is_ours => {
                *made += 1;
                let token = format!("4242:sample-access-token-{made}");
                good.push(token.clone());
                Json(json!({
                    "access_token": token,
                    "token_type": "Bearer",
                    "refresh_token": REFRESH_TOKEN,
                    "scope": "base,deals:read,activities:full,contacts:full,contact-fields:full,users:read,search:read",
                    "expires_in": 3599,
                    "api_domain": "https://northwind.pipedrive.com",
                }))
                .into_response()
            }
            _ => refused(StatusCode::BAD_REQUEST, "invalid_grant"),
        })
    }
}

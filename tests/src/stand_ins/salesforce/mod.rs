//! A stand-in for Salesforce: an org with contacts, leads, opportunities and activities behind the calls of the REST API
//! that are described in `salesforce.openapi.yaml`. It reads SOQL strictly and keeps the rules that the original keeps.

mod objects;
mod org;
mod soql;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use self::org::{Org, Record, object_named};
use super::crm::{CRM_USER, CrmStandIn, SeenMail, SeenMeeting, SeenNotes, SeenStatus, SeenTask};
use super::{CallLog, CrmContact, Faults, Result, openapi::OpenApiDocument, server::ErrorAnswer, server::Server};

/// The description of the calls that are served.
pub const SALESFORCE_DOCUMENT: &str = include_str!("../salesforce.openapi.yaml");

/// The consumer key of the connected app.
pub const CLIENT_ID: &str = "3MVG9sampleConsumerKey";

/// Its secret, unless it is revoked.
pub const CLIENT_SECRET: &str = "5F3A19C0SAMPLESECRET";

/// Who may be signed in to by a private key.
pub const LOGIN: &str = "https://login.salesforce.com";

/// How long a URL may be.
const MOST_BYTES_IN_A_URL: usize = 16_384;

/// How many calls a composite call takes, and how many of them may be queries.
const MOST_PARTS: usize = 25;
const MOST_QUERIES: usize = 5;

const MOST_BYTES_IN_A_BODY: usize = 16 * 1024 * 1024;

/// What the custom field for our key is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyField {
    /// An external id.
    ExternalId,
    /// A text, no more.
    Text,
    /// There is none.
    Absent,
}

/// An answer that says no, as the original does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn not_there() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    fn body(&self) -> Value {
        json!([{"message": self.message, "errorCode": self.code, "fields": []}])
    }
}

/// What a call was answered.
struct Answer {
    status: u16,
    body: Value,
}

/// Who may sign in by a private key.
struct Signer {
    public_key: Vec<u8>,
    username: String,
}

struct Site {
    org: Org,
    document: Arc<OpenApiDocument>,
    secret: String,
    is_revoked: bool,
    signer: Option<Signer>,
    sessions: BTreeSet<String>,
    sessions_made: u64,
    used_calls: u64,
    most_calls: u64,
    most_records_in_an_answer: usize,
    refusals: Vec<String>,
}

/// The running stand-in. It stops when it is dropped.
pub struct Salesforce {
    server: Server,
    site: Arc<Mutex<Site>>,
}

impl Salesforce {
    /// Starts an org with one user who writes and with [`CRM_USER`], whose connected app signs in by its secret; the field
    /// for our key is an external id.
    pub fn start() -> Result<Self> {
        let mut org = Org::new();
        org.add_user(CRM_USER);
        let site = Arc::new(Mutex::new(Site {
            org,
            document: Arc::new(OpenApiDocument::parse(SALESFORCE_DOCUMENT)?),
            secret: CLIENT_SECRET.to_owned(),
            is_revoked: false,
            signer: None,
            sessions: BTreeSet::new(),
            sessions_made: 0,
            used_calls: 0,
            most_calls: 100_000,
            most_records_in_an_answer: 2_000,
            refusals: Vec::new(),
        }));
        let router = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::max(MOST_BYTES_IN_A_BODY))
            .with_state(Arc::clone(&site));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, site })
    }

    /// Lets the private key of this public one (DER, as in PKCS#1) sign in as a user, to [`LOGIN`].
    pub fn trust(&self, public_key: &[u8], username: &str) {
        let signer = Signer { public_key: public_key.to_vec(), username: username.to_owned() };
        self.locked(|site| site.signer = Some(signer));
    }

    /// Ends all sessions: their access tokens are no good any more.
    pub fn end_sessions(&self) {
        self.locked(|site| site.sessions.clear());
    }

    /// How many access tokens were given so far.
    #[must_use]
    pub fn sessions_made(&self) -> u64 {
        self.locked(|site| site.sessions_made)
    }

    /// Makes the field for our key what is given.
    pub fn set_key_field(&self, key_field: KeyField) {
        self.locked(|site| site.org.key_field = key_field);
    }

    /// Makes a custom text field of 255 characters.
    pub fn add_custom_field(&self, object: &str, name: &str) {
        self.locked(|site| {
            if let Some(object) = object_named(object) {
                site.org.add_custom_field(object, name);
            }
        });
    }

    /// Takes the right to see an object from the user who signs in.
    pub fn close_object(&self, object: &str) {
        self.locked(|site| {
            if let Some(object) = object_named(object) {
                site.org.close(object);
            }
        });
    }

    /// How many API requests of the last 24 hours are used, and how many there are.
    pub fn set_usage(&self, used: u64, most: u64) {
        self.locked(|site| (site.used_calls, site.most_calls) = (used, most));
    }

    /// How many records an answer to a query holds at most.
    pub fn set_most_records_in_an_answer(&self, most: usize) {
        self.locked(|site| site.most_records_in_an_answer = most);
    }

    /// Lets the next write of a record meet a lock.
    pub fn lock_once(&self, id: &str) {
        self.locked(|site| site.org.lock_once(id));
    }

    /// Deletes a record as a person does who works in the org: into the Recycle Bin.
    pub fn delete(&self, id: &str) {
        self.locked(|site| site.org.delete_as_a_person(id));
    }

    /// Removes a record for good, as when the Recycle Bin is emptied.
    pub fn purge(&self, id: &str) {
        self.locked(|site| site.org.purge(id));
    }

    /// Sets a field of a record as a person does.
    pub fn set_field(&self, id: &str, field: &str, value: Value) {
        self.locked(|site| site.org.set(id, field, value));
    }

    /// The fields of a record, deleted or not.
    #[must_use]
    pub fn fields(&self, id: &str) -> Option<Map<String, Value>> {
        self.locked(|site| site.org.any_record(id).map(|record| record.values.clone()))
    }

    /// Makes a lead known, and answers its id.
    #[must_use]
    pub fn add_lead(&self, email: &str, company: &str) -> String {
        let lead = json!({"LastName": "Lead", "Email": email, "Company": company, "IsConverted": false});
        self.locked(|site| site.org.put_in("Lead", lead))
    }

    /// Makes an opportunity of a contact's account known, in which the contact has no role, and answers its id.
    #[must_use]
    pub fn add_opportunity_of_account(&self, contact_id: &str, open: bool) -> String {
        self.locked(|site| {
            let account = site.org.any_record(contact_id).and_then(|contact| contact.text("AccountId"));
            let account = account.map(str::to_owned);
            let account = account.unwrap_or_else(|| {
                let account = site.org.put_in("Account", json!({"Name": "Acme"}));
                site.org.set(contact_id, "AccountId", account.clone().into());
                account
            });
            let opportunity = json!({"Name": "Of the account", "AccountId": account, "IsClosed": !open});
            site.org.put_in("Opportunity", opportunity)
        })
    }

    fn locked<T>(&self, use_site: impl FnOnce(&mut Site) -> T) -> T {
        use_site(&mut self.site.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn seen<T>(&self, object: &str, see: impl Fn(&Org, &Record) -> Option<T>) -> Vec<T> {
        self.locked(|site| site.org.all(object).filter_map(|record| see(&site.org, record)).collect())
    }
}

fn owned(record: &Record, field: &str) -> Option<String> {
    record.text(field).map(str::to_owned)
}

fn who(record: &Record) -> Vec<String> {
    owned(record, "WhoId").into_iter().collect()
}

fn owner(org: &Org, record: &Record) -> Option<String> {
    owned(org.any_record(record.text("OwnerId")?)?, "Email")
}

/// A task that is a mail, one that is a note, or one that is to be done.
fn sort_of(record: &Record) -> &'static str {
    match (record.text("TaskSubtype"), record.text("Status")) {
        (Some("Email"), _) => "mail",
        (_, Some("Completed")) => "notes",
        _ => "task",
    }
}

impl CrmStandIn for Salesforce {
    fn provider(&self) -> &'static str {
        "salesforce"
    }

    fn base_url(&self) -> String {
        self.server.base_url()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("CrmApiKey", CLIENT_SECRET.to_owned()), ("CrmClientId", CLIENT_ID.to_owned())]
    }

    fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn calls(&self) -> &CallLog {
        self.server.log()
    }

    fn refusals(&self) -> Vec<String> {
        self.locked(|site| site.refusals.clone())
    }

    fn revoke_credential(&self) {
        self.locked(|site| {
            site.is_revoked = true;
            site.sessions.clear();
        });
    }

    /// With a company, the contact belongs to an account of that name; deals are opportunities in which it has a role. The
    /// first further address goes into the custom field `Other_Email__c` of an org that has it: a contact has one address.
    fn add_contact(&self, contact: &CrmContact) -> String {
        let own = [
            ("LastName", Some(contact.name.clone().unwrap_or_else(|| "Unknown".to_owned()))),
            ("Email", Some(contact.email.clone())),
            ("Phone", contact.phone.clone()),
            ("Title", contact.job_title.clone()),
            ("Other_Email__c", contact.other_emails.first().cloned()),
        ];
        self.locked(|site| {
            let mut values: Map<String, Value> =
                own.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?.into()))).collect();
            if let Some(company) = &contact.company {
                let account = site.org.put_in("Account", json!({"Name": company}));
                values.insert("AccountId".to_owned(), account.into());
            }
            let id = site.org.put_in("Contact", values.into());
            let listed = contact.deals.iter().map(|deal| (deal["id"].as_str().unwrap_or_default(), deal));
            let main = contact.primary_deal_id.as_deref();
            let unlisted =
                main.filter(|main| listed.clone().all(|(deal, _)| deal != *main)).map(|main| (main, &Value::Null));
            for (name, deal) in listed.chain(unlisted) {
                let mut opportunity = json!({"Name": name, "IsClosed": deal["open"] == false});
                if let Some(day) = deal["last_activity_at"].as_str().and_then(|at| at.get(..10)) {
                    opportunity["LastActivityDate"] = day.into();
                }
                let opportunity = site.org.put_in("Opportunity", opportunity);
                let role = json!({"ContactId": id, "OpportunityId": opportunity, "IsPrimary": main == Some(name)});
                site.org.put_in("OpportunityContactRole", role);
            }
            id
        })
    }

    fn contacts(&self) -> Vec<CrmContact> {
        let contacts = self.seen("Contact", |org, record| {
            let mut contact = CrmContact::new(&record.id, record.text("Email")?);
            contact.name = owned(record, "LastName");
            contact.phone = owned(record, "Phone");
            contact.job_title = owned(record, "Title");
            contact.company = record.text("AccountId").and_then(|id| owned(org.any_record(id)?, "Name"));
            contact.other_emails = owned(record, "Other_Email__c").into_iter().collect();
            for role in org.all("OpportunityContactRole").filter(|role| role.text("ContactId") == Some(&record.id)) {
                let deal = role.text("OpportunityId").and_then(|id| org.any_record(id));
                let Some(deal) = deal else { continue };
                if role.flag("IsPrimary") {
                    contact.primary_deal_id = Some(deal.id.clone());
                }
                let (open, last) = (!deal.flag("IsClosed"), owned(deal, "LastActivityDate"));
                contact.deals.push(json!({"id": deal.id, "open": open, "last_activity_at": last}));
            }
            (!record.is_deleted).then_some(contact)
        });
        let leads = self.seen("Lead", |_, record| {
            let mut contact = CrmContact::new(&record.id, record.text("Email")?);
            contact.name = owned(record, "LastName");
            contact.phone = owned(record, "Phone");
            contact.job_title = owned(record, "Title");
            contact.company = owned(record, "Company");
            (!record.is_deleted).then_some(contact)
        });
        contacts.into_iter().chain(leads).collect()
    }

    fn mails(&self) -> Vec<SeenMail> {
        self.seen("Task", |_, record| {
            (!record.is_deleted && sort_of(record) == "mail").then(|| SeenMail {
                id: record.id.clone(),
                subject: owned(record, "Subject").unwrap_or_default(),
                text: owned(record, "Description").unwrap_or_default(),
                direction: None,
                at: owned(record, "ActivityDate").unwrap_or_default(),
                contact_ids: who(record),
                deal_id: owned(record, "WhatId"),
            })
        })
    }

    fn meetings(&self) -> Vec<SeenMeeting> {
        self.seen("Event", |org, record| {
            let subject = owned(record, "Subject").unwrap_or_default();
            let status = match record.is_deleted {
                true => SeenStatus::Deleted,
                false if subject.starts_with("Cancelled") => SeenStatus::Cancelled,
                false => SeenStatus::Planned,
            };
            let begins = if record.flag("IsAllDayEvent") { "ActivityDate" } else { "StartDateTime" };
            let text = [owned(record, "Location"), owned(record, "Description")].into_iter().flatten();
            Some(SeenMeeting {
                id: record.id.clone(),
                subject,
                text: text.collect::<Vec<_>>().join("\n"),
                start: owned(record, begins),
                status,
                contact_ids: who(record),
                deal_id: owned(record, "WhatId"),
                owner: owner(org, record),
                writes: record.writes,
            })
        })
    }

    fn notes(&self) -> Vec<SeenNotes> {
        self.seen("Task", |_, record| {
            (!record.is_deleted && sort_of(record) == "notes").then(|| SeenNotes {
                id: record.id.clone(),
                text: [owned(record, "Subject"), owned(record, "Description")]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
                    .join("\n"),
                contact_ids: who(record),
                deal_id: owned(record, "WhatId"),
            })
        })
    }

    fn tasks(&self) -> Vec<SeenTask> {
        self.seen("Task", |org, record| {
            (!record.is_deleted && sort_of(record) == "task").then(|| SeenTask {
                id: record.id.clone(),
                subject: owned(record, "Subject").unwrap_or_default(),
                due: owned(record, "ActivityDate"),
                owner: owner(org, record),
                contact_ids: who(record),
                deal_id: owned(record, "WhatId"),
            })
        })
    }
}

/// What a planned error is in the words of the original. It never answers 429: too many calls are a 403.
const PLANNED_ERROR: ErrorAnswer = |status| {
    let refusal = match status {
        401 => session_invalid(),
        403 => Refusal::new(403, "INSUFFICIENT_ACCESS", "insufficient access rights on object id"),
        404 => Refusal::not_there(),
        429 => too_many_calls(),
        500 => Refusal::new(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId"),
        503 => Refusal::new(503, "SERVER_UNAVAILABLE", "The HTTP server is temporarily unavailable"),
        // Proxies in front of it answer in pages of their own.
        other => {
            return (StatusCode::from_u16(other).unwrap_or(StatusCode::BAD_GATEWAY), "<html></html>").into_response();
        }
    };
    respond(refusal.status, Some(&refusal.body()))
};

fn session_invalid() -> Refusal {
    Refusal::new(401, "INVALID_SESSION_ID", "Session expired or invalid")
}

fn too_many_calls() -> Refusal {
    Refusal::new(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
}

fn respond(status: u16, body: Option<&Value>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match body {
        Some(body) => (status, Json(body)).into_response(),
        None => status.into_response(),
    }
}

async fn serve(State(site): State<Arc<Mutex<Site>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MOST_BYTES_IN_A_BODY).await.unwrap_or_default();
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
    let mut site = site.lock().unwrap_or_else(PoisonError::into_inner);
    let method = parts.method.as_str();
    if path == "/services/oauth2/token" {
        let refused = site.departs(method, &path, &query, &parts.headers, &body);
        let (status, answer) = match refused {
            Some(_) => token_refused("unsupported_grant_type", "grant type not supported"),
            None => site.token(&body, &parts.headers),
        };
        return respond(status, Some(&answer));
    }
    let mut response = site.serve_api(method, &path, &query, &parts.headers, &body);
    let usage = format!("api-usage={}/{}", site.used_calls, site.most_calls);
    if let Ok(usage) = HeaderValue::from_str(&usage) {
        response.headers_mut().insert("sforce-limit-info", usage);
    }
    response
}

fn token_refused(error: &str, description: &str) -> (u16, Value) {
    (400, json!({"error": error, "error_description": description}))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

impl Site {
    /// What the description has against a request. It is kept.
    fn departs(&mut self, method: &str, path: &str, query: &str, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        let problem = self.document.check_request(method, path, &pairs(query), headers, body).err()?;
        self.refusals.push(problem.clone());
        Some(problem)
    }

    fn token(&mut self, body: &[u8], headers: &HeaderMap) -> (u16, Value) {
        let form: std::collections::HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if of("grant_type") == "client_credentials" {
            if of("client_id") != CLIENT_ID {
                return token_refused("invalid_client_id", "client identifier invalid");
            }
            if self.is_revoked || of("client_secret") != self.secret {
                return token_refused("invalid_client", "invalid client credentials");
            }
        } else if let Err((error, description)) = self.check_assertion(of("assertion")) {
            return token_refused(error, description);
        }
        self.sessions_made += 1;
        let token = format!("00D000000000001!AQ{:010}", self.sessions_made);
        self.sessions.insert(token.clone());
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let answer = json!({
            "access_token": token, "instance_url": format!("http://{host}"), "token_type": "Bearer", "scope": "api",
            "id": format!("{LOGIN}/id/00D000000000001AAA/{}", self.org.me), "issued_at": "1767225600000",
        });
        (200, answer)
    }

    /// Holds a signed statement against the key that is trusted, and its claims against what they must be.
    fn check_assertion(&self, assertion: &str) -> std::result::Result<(), (&'static str, &'static str)> {
        const NOT_APPROVED: (&str, &str) = ("invalid_grant", "user hasn't approved this consumer");
        const INVALID: (&str, &str) = ("invalid_grant", "invalid assertion");
        let signer = self.signer.as_ref().filter(|_| !self.is_revoked).ok_or(NOT_APPROVED)?;
        let (statement, signature) = assertion.rsplit_once('.').ok_or(INVALID)?;
        let (kind, claims) = statement.split_once('.').ok_or(INVALID)?;
        let read = |text: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok() };
        let (kind, claims) = (read(kind).ok_or(INVALID)?, read(claims).ok_or(INVALID)?);
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| INVALID)?;
        if kind["alg"] != "RS256" {
            return Err(INVALID);
        }
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &signer.public_key)
            .verify(statement.as_bytes(), &signature)
            .map_err(|_| INVALID)?;
        if claims["iss"] != CLIENT_ID {
            return Err(("invalid_client_id", "client identifier invalid"));
        }
        if claims["aud"] != LOGIN {
            return Err(("invalid_grant", "audience is invalid"));
        }
        if claims["sub"] != signer.username.as_str() {
            return Err(NOT_APPROVED);
        }
        let left = claims["exp"].as_i64().unwrap_or_default() - jiff::Timestamp::now().as_second();
        if (1..=300).contains(&left) {
            Ok(())
        } else {
            Err(("invalid_grant", "assertion has expired or lasts too long"))
        }
    }

    fn serve_api(&mut self, method: &str, path: &str, query: &str, headers: &HeaderMap, body: &Bytes) -> Response {
        let refuse = |refusal: &Refusal| respond(refusal.status, Some(&refusal.body()));
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if !bearer.and_then(|value| value.strip_prefix("Bearer ")).is_some_and(|token| self.sessions.contains(token)) {
            return refuse(&session_invalid());
        }
        if self.used_calls >= self.most_calls {
            return refuse(&too_many_calls());
        }
        self.used_calls += 1;
        if path.len() + query.len() > MOST_BYTES_IN_A_URL {
            return respond(414, None);
        }
        if self.document.template_of(method, path).is_none() {
            self.refusals.push(format!("{method} {path}: the description has no such operation"));
            return refuse(&Refusal::not_there());
        }
        if let Some(problem) = self.departs(method, path, query, headers, body) {
            return refuse(&Refusal::new(400, "JSON_PARSER_ERROR", problem));
        }
        let body = serde_json::from_slice(body).unwrap_or_default();
        let served = if path.ends_with("/composite") {
            self.composite(&body)
        } else {
            self.serve_one(method, path, query, &body)
        };
        match served {
            Ok(answer) => respond(answer.status, Some(&answer.body).filter(|body| !body.is_null())),
            Err(refusal) => refuse(&refusal),
        }
    }

    fn composite(&mut self, body: &Value) -> std::result::Result<Answer, Refusal> {
        let parts = body["compositeRequest"].as_array().cloned().unwrap_or_default();
        let path_of = |part: &Value| part["url"].as_str().unwrap_or_default().to_owned();
        let queries = parts.iter().filter(|part| path_of(part).contains("/query")).count();
        if parts.len() > MOST_PARTS || queries > MOST_QUERIES {
            let message = format!("Limit exceeded: {} subrequests, {queries} of them queries", parts.len());
            self.refusals.push(message.clone());
            return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
        }
        let references: BTreeSet<&str> = parts.iter().filter_map(|part| part["referenceId"].as_str()).collect();
        if references.len() != parts.len() {
            let message = "Provided referenceIds are not unique".to_owned();
            self.refusals.push(message.clone());
            return Err(Refusal::new(400, "INVALID_INPUT", message));
        }
        let before = (body["allOrNone"] == true).then(|| self.org.clone());
        let answers: Vec<Value> = parts
            .iter()
            .map(|part| {
                let answer = self.serve_part(part);
                json!({
                    "body": answer.body, "httpHeaders": {}, "httpStatusCode": answer.status,
                    "referenceId": part["referenceId"],
                })
            })
            .collect();
        if let Some(before) = before
            && answers.iter().any(|answer| answer["httpStatusCode"].as_u64() >= Some(400))
        {
            self.org = before;
        }
        Ok(Answer { status: 200, body: json!({"compositeResponse": answers}) })
    }

    fn serve_part(&mut self, part: &Value) -> Answer {
        let refused = |refusal: &Refusal| Answer { status: refusal.status, body: refusal.body() };
        // Whatever looks like a reference to the answer of another part is taken for one.
        if part.to_string().contains("@{") {
            return refused(&Refusal::new(400, "PROCESSING_HALTED", "Invalid reference specified. No value found"));
        }
        let (method, url) = (part["method"].as_str().unwrap_or_default(), part["url"].as_str().unwrap_or_default());
        if url.len() > MOST_BYTES_IN_A_URL {
            return refused(&Refusal::new(414, "URI_TOO_LONG", "The URL is too long"));
        }
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = part.get("body").map(Value::to_string).unwrap_or_default();
        if let Some(problem) = self.departs(method, path, query, &headers, body.as_bytes()) {
            return refused(&Refusal::new(400, "JSON_PARSER_ERROR", problem));
        }
        match self.serve_one(method, path, query, &part["body"]) {
            Ok(answer) => answer,
            Err(refusal) => refused(&refusal),
        }
    }

    fn serve_one(
        &mut self,
        method: &str,
        path: &str,
        query: &str,
        body: &Value,
    ) -> std::result::Result<Answer, Refusal> {
        let decoded = |segment: &str| {
            let pair = format!("x={}", segment.replace('+', "%2B"));
            pairs(&pair).pop().map(|(_, value)| value).unwrap_or_default()
        };
        let segments: Vec<String> = path.trim_start_matches("/services/data/").split('/').map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let ok = |body: Value| Ok(Answer { status: 200, body });
        let done = || Ok(Answer { status: 204, body: Value::Null });
        let made = |id: &str, created: bool| Answer {
            status: if created { 201 } else { 200 },
            body: json!({"id": id, "success": true, "errors": [], "created": created}),
        };
        let empty = Map::new();
        let fields = body.as_object().unwrap_or(&empty);
        let [version, rest @ ..] = segments.as_slice() else { return Err(Refusal::not_there()) };
        match (method, rest) {
            ("GET", ["limits"]) => {
                let left = self.most_calls.saturating_sub(self.used_calls);
                ok(json!({"DailyApiRequests": {"Max": self.most_calls, "Remaining": left}}))
            }
            ("GET", ["query"]) => {
                let text =
                    pairs(query).into_iter().find(|(name, _)| name == "q").map(|(_, text)| text).unwrap_or_default();
                let mut found = self.org.answer(&soql::parse(&text)?, version)?.records;
                let total = found.len();
                found.truncate(self.most_records_in_an_answer);
                let mut answer = json!({"totalSize": total, "done": found.len() == total, "records": found});
                if answer["done"] == false {
                    let next =
                        format!("/services/data/{version}/query/01g000000000001AAA-{}", self.most_records_in_an_answer);
                    answer["nextRecordsUrl"] = next.into();
                }
                ok(answer)
            }
            ("POST", ["sobjects", object]) => {
                let object = object_named(object).ok_or_else(Refusal::not_there)?;
                let id = self.org.create(object, fields)?;
                Ok(Answer { status: 201, body: json!({"id": id, "success": true, "errors": []}) })
            }
            (method, ["sobjects", object, id]) => {
                let object = object_named(object).ok_or_else(Refusal::not_there)?;
                match method {
                    "GET" => ok(self.org.record(object, id)?.shown(version)),
                    "PATCH" => {
                        self.org.update(object, id, fields)?;
                        done()
                    }
                    _ => {
                        self.org.delete(object, id)?;
                        done()
                    }
                }
            }
            (method, ["sobjects", object, field, value]) => {
                let object = object_named(object).ok_or_else(Refusal::not_there)?;
                let bearing = self.org.bearing(object, field, value)?;
                if bearing.len() > 1 {
                    let urls = bearing.iter().map(|id| format!("/services/data/{version}/sobjects/{object}/{id}"));
                    return Ok(Answer { status: 300, body: urls.collect::<Vec<_>>().into() });
                }
                if method == "PATCH" && fields.contains_key(*field) {
                    let message = format!("The {field} field should not be specified in the sobject data.");
                    return Err(Refusal::new(400, "INVALID_FIELD", message));
                }
                match (method, bearing.first()) {
                    ("GET", Some(id)) => ok(self.org.record(object, id)?.shown(version)),
                    ("PATCH", Some(id)) => {
                        self.org.update(object, id, fields)?;
                        Ok(made(id, false))
                    }
                    ("PATCH", None) => {
                        let mut fields = fields.clone();
                        fields.insert((*field).to_owned(), (*value).into());
                        let id = self.org.create(object, &fields)?;
                        Ok(made(&id, true))
                    }
                    ("DELETE", Some(id)) => {
                        self.org.delete(object, id)?;
                        done()
                    }
                    _ => Err(Refusal::not_there()),
                }
            }
            _ => Err(Refusal::not_there()),
        }
    }
}

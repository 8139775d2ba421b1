//! A stand-in for the generic REST CRM. Holds every request against the shipped `OpenAPI` document,
//! keeps the promises that document asks for (idempotent activities, upserted meetings), and
//! remembers all it stored and every call it got.

mod directory;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path as UrlPath, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::directory::Directory;
use super::{
    CallLog, Faults, Result, StandInError,
    crm::{CrmStandIn, SeenMail, SeenMeeting, SeenNotes, SeenStatus, SeenTask},
    openapi::OpenApiDocument,
    read_seeds,
    server::{ErrorAnswer, Server},
};

/// The token that the stand-in takes unless told otherwise.
pub const DEFAULT_API_KEY: &str = "sample-crm-api-key";

/// Room for a long transcript.
const MOST_BYTES_IN_A_BODY: usize = 16 * 1024 * 1024;

/// A contact that the CRM knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrmContact {
    /// The id in the CRM.
    pub id: String,
    /// The main address.
    pub email: String,
    /// The display name.
    pub name: Option<String>,
    /// The deal that new activities belong to.
    pub primary_deal_id: Option<String>,
    /// All deals with what is known of them (`{"id", "open", "last_activity_at"}`); left out of answers when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deals: Vec<Value>,
    /// Null in answers when there is none; left out of them by a CRM [without such fields](RestCrmBuilder::without_contact_fields).
    #[serde(default)]
    pub phone: Option<String>,
    /// In answers as the telephone is.
    #[serde(default)]
    pub job_title: Option<String>,
    /// In answers as the telephone is.
    #[serde(default)]
    pub company: Option<String>,
    /// Further addresses under which the contact is found; never part of an answer.
    #[serde(default, skip_serializing)]
    pub other_emails: Vec<String>,
}

impl CrmContact {
    /// A contact with an address and nothing else.
    #[must_use]
    pub fn new(id: &str, email: &str) -> Self {
        Self {
            id: id.to_owned(),
            email: email.to_owned(),
            name: None,
            primary_deal_id: None,
            deals: Vec::new(),
            phone: None,
            job_title: None,
            company: None,
            other_emails: Vec::new(),
        }
    }

    /// The same contact with a deal.
    #[must_use]
    pub fn with_deal(mut self, deal_id: &str) -> Self {
        self.primary_deal_id = Some(deal_id.to_owned());
        self
    }

    /// The same contact with one more deal, of which the state and the last activity (RFC 3339) are known.
    #[must_use]
    pub fn with_known_deal(mut self, deal_id: &str, open: bool, last_activity_at: &str) -> Self {
        self.deals.push(json!({ "id": deal_id, "open": open, "last_activity_at": last_activity_at }));
        self
    }
}

/// A field of a contact that a person or a patch can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactField {
    /// `phone`.
    Phone,
    /// `job_title`.
    JobTitle,
    /// `company`.
    Company,
}

impl ContactField {
    const ALL: [Self; 3] = [Self::Phone, Self::JobTitle, Self::Company];

    /// The key in answers and patches.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::JobTitle => "job_title",
            Self::Company => "company",
        }
    }

    fn of(self, contact: &mut CrmContact) -> &mut Option<String> {
        match self {
            Self::Phone => &mut contact.phone,
            Self::JobTitle => &mut contact.job_title,
            Self::Company => &mut contact.company,
        }
    }
}

/// The file that seeds the stand-in: `{"contacts": [...]}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeedFile {
    contacts: Vec<CrmContact>,
}

/// An activity as the CRM stored it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredActivity {
    /// The id that the CRM gave.
    pub id: String,
    /// The key that the request carried.
    pub idempotency_key: String,
    /// The body as it was sent.
    pub body: Value,
}

/// A meeting, or what a notetaker recorded, as the CRM holds it now.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMeeting {
    /// The id that the CRM gave.
    pub id: String,
    /// The external event id, or the external notetaker id.
    pub external_id: String,
    /// How often the record was written.
    pub writes: u32,
    /// The body of the last write.
    pub body: Value,
}

#[derive(Debug, Default)]
struct Records {
    contacts: Directory,
    activities: Vec<StoredActivity>,
    meetings: Vec<StoredMeeting>,
    from_notetakers: Vec<StoredMeeting>,
    next_id: u32,
}

impl Records {
    fn new_id(&mut self, kind: &str) -> String {
        self.next_id += 1;
        format!("{kind}_{}", self.next_id)
    }

    fn refuse_unknown_contacts(&self, ids: &Value) -> std::result::Result<(), Refusal> {
        let ids = ids.as_array().into_iter().flatten().filter_map(Value::as_str);
        match ids.into_iter().find(|id| !self.contacts.has(id)) {
            Some(unknown) => Err(Refusal::unprocessable(format!("no contact has the id {unknown}"))),
            None => Ok(()),
        }
    }

    fn upsert(&mut self, kind: &str, external_id: &str, body: Value) -> (StatusCode, String) {
        let list = if kind == "meeting" { &mut self.meetings } else { &mut self.from_notetakers };
        if let Some(known) = list.iter_mut().find(|known| known.external_id == external_id) {
            known.writes += 1;
            known.body = body;
            return (StatusCode::OK, known.id.clone());
        }
        let id = self.new_id(kind);
        let stored = StoredMeeting { id: id.clone(), external_id: external_id.to_owned(), writes: 1, body };
        let list = if kind == "meeting" { &mut self.meetings } else { &mut self.from_notetakers };
        list.push(stored);
        (StatusCode::CREATED, id)
    }
}

struct Crm {
    api_key: String,
    revoked: AtomicBool,
    refusals: Mutex<Vec<String>>,
    document: OpenApiDocument,
    has_contact_fields: bool,
    records: Mutex<Records>,
}

impl Crm {
    fn locked<T>(&self, use_records: impl FnOnce(&mut Records) -> T) -> T {
        use_records(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers what the document refuses.
    fn departs(&self, departure: String) -> String {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(departure.clone());
        departure
    }

    fn check_parameters(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        headers: &HeaderMap,
    ) -> std::result::Result<(), Refusal> {
        let checked = self.document.check_parameters(method, path, query, headers);
        checked.map_err(|departure| Refusal::bad_request(self.departs(departure)))
    }

    fn check_body(&self, schema: &str, body: &Value) -> std::result::Result<(), Refusal> {
        let checked = self.document.check_body(schema, body);
        checked.map_err(|departure| Refusal::unprocessable(self.departs(departure)))
    }
}

/// What to start with; see [`RestCrm::builder`].
#[derive(Debug)]
pub struct RestCrmBuilder {
    api_key: String,
    contacts: Vec<CrmContact>,
    has_contact_fields: bool,
    port: u16,
}

impl RestCrmBuilder {
    /// The token that requests must bear instead of [`DEFAULT_API_KEY`].
    #[must_use]
    pub fn api_key(mut self, api_key: &str) -> Self {
        api_key.clone_into(&mut self.api_key);
        self
    }

    /// A contact that the CRM knows from the start.
    #[must_use]
    pub fn contact(mut self, contact: CrmContact) -> Self {
        self.contacts.push(contact);
        self
    }

    /// Many contacts that the CRM knows from the start.
    #[must_use]
    pub fn contacts(mut self, contacts: impl IntoIterator<Item = CrmContact>) -> Self {
        self.contacts.extend(contacts);
        self
    }

    /// The CRM has no fields for a telephone, a title and a company: answers leave them out, and a patch is refused.
    #[must_use]
    pub fn without_contact_fields(mut self) -> Self {
        self.has_contact_fields = false;
        self
    }

    /// The contacts of a file of the form `{"contacts": [...]}`.
    pub fn contacts_file(mut self, path: &Path) -> Result<Self> {
        self.contacts.extend(read_seeds::<SeedFile>(path)?.contacts);
        Ok(self)
    }

    /// A port of one's own choosing instead of any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the stand-in.
    pub fn start(self) -> Result<RestCrm> {
        let crm = Arc::new(Crm {
            api_key: self.api_key,
            revoked: AtomicBool::new(false),
            refusals: Mutex::default(),
            document: OpenApiDocument::rest_crm()?,
            has_contact_fields: self.has_contact_fields,
            records: Mutex::new(Records { contacts: self.contacts.into_iter().collect(), ..Records::default() }),
        });
        let router = Router::new()
            .route("/contacts", get(find_contacts))
            .route("/contacts/{id}", patch(patch_contact))
            .route("/activities", post(log_activity))
            .route("/meetings", put(upsert_meeting).delete(delete_meeting))
            .fallback(|| async {
                Refusal { status: StatusCode::NOT_FOUND, error: "no such path".to_owned(), id: None }
            })
            .method_not_allowed_fallback(|| async {
                let error = "the path does not take this method".to_owned();
                Refusal { status: StatusCode::METHOD_NOT_ALLOWED, error, id: None }
            })
            .layer(DefaultBodyLimit::max(MOST_BYTES_IN_A_BODY))
            .layer(middleware::from_fn_with_state(Arc::clone(&crm), refuse_strangers))
            .with_state(Arc::clone(&crm));
        let crm = RestCrm { server: Server::start(self.port, router, PLANNED_ERROR)?, crm };
        // Asked for once, they are counted along from the first call on, whatever the log forgets.
        let _ = (crm.lookups(), crm.patches());
        Ok(crm)
    }
}

/// The running stand-in. It stops when it is dropped.
pub struct RestCrm {
    server: Server,
    crm: Arc<Crm>,
}

impl RestCrm {
    /// Starts a CRM that knows nobody, on a free port.
    pub fn start() -> Result<Self> {
        Self::builder().start()
    }

    /// Lays out a CRM with contacts, a token or a port of one's own.
    #[must_use]
    pub fn builder() -> RestCrmBuilder {
        RestCrmBuilder { api_key: DEFAULT_API_KEY.to_owned(), contacts: Vec::new(), has_contact_fields: true, port: 0 }
    }

    /// The address to give as `CrmBaseUrl`, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.server.base_url()
    }

    /// The token to give as `CrmApiKey`.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.crm.api_key
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

    /// How many lookups of a contact there were, refused and failed ones too.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.calls().count("GET", "/contacts")
    }

    /// How many patches of a contact there were, refused and failed ones too.
    #[must_use]
    pub fn patches(&self) -> usize {
        self.calls().count("PATCH", "/contacts/")
    }

    /// Makes a contact known.
    pub fn add_contact(&self, contact: CrmContact) {
        self.crm.locked(|records| records.contacts.add(contact));
    }

    /// Sets a field of a contact, or clears it, as a person does who works in the CRM.
    pub fn set_contact_field(&self, id: &str, field: ContactField, value: Option<&str>) -> Result<()> {
        self.crm.locked(|records| {
            let contact = records.contacts.get_mut(id).ok_or_else(|| StandInError::UnknownContact(id.to_owned()))?;
            *field.of(contact) = value.map(str::to_owned);
            Ok(())
        })
    }

    /// Forgets a contact, as when a person deletes it in the CRM.
    pub fn remove_contact(&self, id: &str) -> Result<()> {
        let was_known = self.crm.locked(|records| records.contacts.remove(id));
        if was_known { Ok(()) } else { Err(StandInError::UnknownContact(id.to_owned())) }
    }

    /// The contacts as they are now, patches included.
    #[must_use]
    pub fn contacts(&self) -> Vec<CrmContact> {
        self.crm.locked(|records| records.contacts.all().cloned().collect())
    }

    /// The contacts that a lookup of this address finds, patches included.
    #[must_use]
    pub fn contacts_with(&self, address: &str) -> Vec<CrmContact> {
        self.crm.locked(|records| records.contacts.with_address(address).cloned().collect())
    }

    /// The activities, oldest first.
    #[must_use]
    pub fn activities(&self) -> Vec<StoredActivity> {
        self.crm.locked(|records| records.activities.clone())
    }

    /// The meetings, oldest first, each with its last content.
    #[must_use]
    pub fn meetings(&self) -> Vec<StoredMeeting> {
        self.crm.locked(|records| records.meetings.clone())
    }

    /// What notetakers recorded, oldest first, each with its last content.
    #[must_use]
    pub fn notetaker_records(&self) -> Vec<StoredMeeting> {
        self.crm.locked(|records| records.from_notetakers.clone())
    }
}

impl CrmStandIn for RestCrm {
    fn provider(&self) -> &'static str {
        "rest"
    }

    fn base_url(&self) -> String {
        self.base_url()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("CrmApiKey", self.crm.api_key.clone())]
    }

    fn faults(&self) -> &Faults {
        self.faults()
    }

    fn calls(&self) -> &CallLog {
        self.calls()
    }

    fn refusals(&self) -> Vec<String> {
        self.crm.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn revoke_credential(&self) {
        self.crm.revoked.store(true, Ordering::SeqCst);
    }

    fn add_contact(&self, contact: &CrmContact) -> String {
        self.add_contact(contact.clone());
        contact.id.clone()
    }

    fn contacts(&self) -> Vec<CrmContact> {
        self.contacts()
    }

    fn mails(&self) -> Vec<SeenMail> {
        let seen = |StoredActivity { id, body, .. }: StoredActivity| SeenMail {
            id,
            subject: text_of(&body["subject"]).unwrap_or_default(),
            text: lines_of(&body, &["from", "to", "cc", "snippet"]),
            direction: text_of(&body["direction"]),
            at: text_of(&body["timestamp"]).unwrap_or_default(),
            contact_ids: texts_of(&body["contact_ids"]),
            deal_id: text_of(&body["deal_id"]),
        };
        self.activities().into_iter().map(seen).collect()
    }

    fn meetings(&self) -> Vec<SeenMeeting> {
        let seen = |StoredMeeting { id, writes, body, .. }: StoredMeeting| SeenMeeting {
            id,
            subject: text_of(&body["meeting_subject"]).unwrap_or_default(),
            text: lines_of(&body, &["notes", "meeting_location", "meeting_link", "series_label", "attendees"]),
            start: text_of(&body["meeting_date"]),
            status: if body["meeting_status"] == "cancelled" { SeenStatus::Cancelled } else { SeenStatus::Planned },
            contact_ids: texts_of(&body["contact_ids"]),
            deal_id: text_of(&body["deal_id"]),
            owner: text_of(&body["organizer_email"]),
            writes,
        };
        self.meetings().into_iter().map(seen).collect()
    }

    fn notes(&self) -> Vec<SeenNotes> {
        let seen = |StoredMeeting { id, body, .. }: StoredMeeting| SeenNotes {
            id,
            text: lines_of(
                &body,
                &[
                    "subject",
                    "summary",
                    "action_items",
                    "recording_url",
                    "transcript_url",
                    "unmatched_emails",
                    "transcript",
                ],
            ),
            contact_ids: texts_of(&body["associated_contact_ids"]),
            deal_id: text_of(&body["associated_deal_id"]),
        };
        self.notetaker_records().into_iter().map(seen).collect()
    }

    /// Here the action items are part of the notes.
    fn tasks(&self) -> Vec<SeenTask> {
        let records = self.notetaker_records();
        let items = records.iter().flat_map(|record| {
            let items = record.body["action_items"].as_array().into_iter().flatten().enumerate();
            items.map(|(place, item)| SeenTask {
                id: format!("{}/{place}", record.id),
                subject: text_of(&item["text"]).unwrap_or_default(),
                due: text_of(&item["due_date"]),
                owner: text_of(&item["owner_email"]),
                contact_ids: texts_of(&record.body["associated_contact_ids"]),
                deal_id: text_of(&record.body["associated_deal_id"]),
            })
        });
        items.collect()
    }
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// What these keys of a record hold, a line each: what a person sees who looks at it.
fn lines_of(body: &Value, keys: &[&str]) -> String {
    let words = |value: &Value| match value {
        Value::Array(list) => {
            let entry = |entry: &Value| match entry {
                Value::Object(parts) => parts.values().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
                other => text_of(other).unwrap_or_default(),
            };
            list.iter().map(entry).collect::<Vec<_>>().join(", ")
        }
        other => text_of(other).unwrap_or_default(),
    };
    let lines = keys.iter().map(|key| words(&body[*key])).filter(|words| !words.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

fn texts_of(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(text_of).collect()
}

/// An answer that says no, in the document's error format.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    error: String,
    id: Option<String>,
}

impl Refusal {
    fn bad_request(error: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error: error.into(), id: None }
    }

    fn unprocessable(error: impl Into<String>) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, error: error.into(), id: None }
    }

    fn not_found(error: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, error: error.into(), id: None }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.error });
        if let Some(id) = self.id {
            body["id"] = Value::from(id);
        }
        (self.status, Json(body)).into_response()
    }
}

/// The error answers of the fault plan.
const PLANNED_ERROR: ErrorAnswer = |status| {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = format!("planned fault: {}", status.canonical_reason().unwrap_or("error").to_lowercase());
    Refusal { status, error, id: None }.into_response()
};

async fn refuse_strangers(State(crm): State<Arc<Crm>>, request: Request, next: Next) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let is_good = bearer.and_then(|value| value.strip_prefix("Bearer ")) == Some(crm.api_key.as_str());
    if is_good && !crm.revoked.load(Ordering::SeqCst) {
        return next.run(request).await;
    }
    let error = "the bearer token is missing or wrong".to_owned();
    Refusal { status: StatusCode::UNAUTHORIZED, error, id: None }.into_response()
}

type Parameters = Query<Vec<(String, String)>>;

fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn json_body(headers: &HeaderMap, body: &[u8]) -> std::result::Result<Value, Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::bad_request("the Content-Type is not application/json"));
    }
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("the body is not JSON: {error}")))
}

async fn find_contacts(
    State(crm): State<Arc<Crm>>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> std::result::Result<Json<Value>, Refusal> {
    crm.check_parameters("GET", "/contacts", &query, &headers)?;
    let address = parameter(&query, "email").unwrap_or_default();
    let mut answer =
        crm.locked(|records| json!({ "contacts": records.contacts.with_address(address).collect::<Vec<_>>() }));
    if !crm.has_contact_fields {
        let contacts = answer["contacts"].as_array_mut().into_iter().flatten();
        for contact in contacts.filter_map(Value::as_object_mut) {
            contact.retain(|key, _| !ContactField::ALL.iter().any(|field| field.key() == key));
        }
    }
    Ok(Json(answer))
}

async fn patch_contact(
    State(crm): State<Arc<Crm>>,
    UrlPath(id): UrlPath<String>,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> std::result::Result<StatusCode, Refusal> {
    crm.check_parameters("PATCH", "/contacts/{id}", &query, &headers)?;
    let body = json_body(&headers, &body)?;
    crm.check_body("ContactPatch", &body)?;
    if !crm.has_contact_fields {
        return Err(Refusal::unprocessable("contacts have no such fields"));
    }
    crm.locked(|records| {
        let Some(contact) = records.contacts.get_mut(&id) else {
            return Err(Refusal::not_found(format!("no contact has the id {id}")));
        };
        for field in ContactField::ALL {
            if let Some(value) = body[field.key()].as_str() {
                *field.of(contact) = Some(value.to_owned());
            }
        }
        Ok(StatusCode::OK)
    })
}

async fn log_activity(
    State(crm): State<Arc<Crm>>,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> std::result::Result<(StatusCode, Json<Value>), Refusal> {
    crm.check_parameters("POST", "/activities", &query, &headers)?;
    let body = json_body(&headers, &body)?;
    crm.check_body("Activity", &body)?;
    if body["prospect_id"] != body["contact_ids"][0] {
        return Err(Refusal::unprocessable("/prospect_id: is not the first of contact_ids"));
    }
    let key = headers.get("Idempotency-Key").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let id = crm.locked(|records| {
        records.refuse_unknown_contacts(&body["contact_ids"])?;
        if let Some(known) = records.activities.iter().find(|known| known.idempotency_key == key) {
            if known.body == body {
                return Ok(known.id.clone());
            }
            let error = "the idempotency key was used for another activity".to_owned();
            return Err(Refusal { status: StatusCode::CONFLICT, error, id: Some(known.id.clone()) });
        }
        let id = records.new_id("act");
        records.activities.push(StoredActivity { id: id.clone(), idempotency_key: key, body });
        Ok(id)
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))))
}

async fn upsert_meeting(
    State(crm): State<Arc<Crm>>,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> std::result::Result<(StatusCode, Json<Value>), Refusal> {
    crm.check_parameters("PUT", "/meetings", &query, &headers)?;
    let event = parameter(&query, "external_event_id");
    let notetaker = parameter(&query, "external_notetaker_id");
    let (kind, schema, name, external_id) = match (event, notetaker) {
        (Some(id), None) => ("meeting", "Meeting", "external_event_id", id),
        (None, Some(id)) => ("notetaker_record", "NotetakerRecord", "external_notetaker_id", id),
        _ => {
            let error = "give exactly one of external_event_id and external_notetaker_id";
            return Err(Refusal::bad_request(error));
        }
    };
    let body = json_body(&headers, &body)?;
    crm.check_body(schema, &body)?;
    if body[name] != external_id {
        return Err(Refusal::unprocessable(format!("/{name}: is not the one of the query")));
    }
    let (status, id) = crm.locked(|records| {
        records.refuse_unknown_contacts(&body["contact_ids"])?;
        records.refuse_unknown_contacts(&body["associated_contact_ids"])?;
        Ok(records.upsert(kind, external_id, body.clone()))
    })?;
    Ok((status, Json(json!({ "id": id }))))
}

async fn delete_meeting(
    State(crm): State<Arc<Crm>>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> std::result::Result<StatusCode, Refusal> {
    crm.check_parameters("DELETE", "/meetings", &query, &headers)?;
    let external_id = parameter(&query, "external_event_id").unwrap_or_default();
    crm.locked(|records| {
        let before = records.meetings.len();
        records.meetings.retain(|meeting| meeting.external_id != external_id);
        if records.meetings.len() == before {
            return Err(Refusal::not_found(format!("no meeting has the external_event_id {external_id}")));
        }
        Ok(StatusCode::NO_CONTENT)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::Method;

    use super::*;
    use crate::stand_ins::{Fault, FaultRule};

    const KEY: &str = "0f2d6c1e9a3b4875";

    fn crm() -> RestCrm {
        RestCrm::builder()
            .contact(CrmContact::new("con_1", "Marta.Kowal@halden-robotics.example").with_deal("deal_1"))
            .contact(CrmContact::new("con_2", "jonas.brandt@halden-robotics.example"))
            .start()
            .expect("a free port exists")
    }

    fn activity() -> Value {
        json!({
            "type": "email",
            "external_message_id": "19a3c04d7be1f205",
            "prospect_id": "con_1",
            "contact_ids": ["con_1", "con_2"],
            "deal_id": "deal_1",
            "subject": "Pilot",
            "snippet": null,
            "thread_id": "19a3bf881c20de47",
            "direction": "inbound",
            "timestamp": "2026-11-16T09:12:44Z",
            "from": "marta.kowal@halden-robotics.example",
            "to": ["ines.duarte@northwind.example"],
            "cc": [],
            "grant_id": "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10",
        })
    }

    fn meeting(id: &str) -> Value {
        json!({
            "external_event_id": id,
            "meeting_subject": "Untitled meeting",
            "meeting_date": "2026-11-24T14:00:00Z",
            "meeting_end_date": "2026-11-24T14:45:00Z",
            "duration_minutes": 45,
            "all_day": false,
            "meeting_location": null,
            "meeting_link": null,
            "notes": "",
            "organizer_email": null,
            "attendees": [],
            "meeting_status": "confirmed",
            "provider_calendar_id": null,
            "grant_id": "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10",
            "is_recurring": false,
            "master_event_id": null,
            "series_label": null,
            "contact_ids": ["con_1"],
            "deal_id": null,
        })
    }

    fn request(crm: &RestCrm, method: Method, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::new().request(method, format!("{}{path}", crm.base_url())).bearer_auth(crm.api_key())
    }

    async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request.send().await.expect("the stand-in answers");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a whole body")).unwrap_or_default())
    }

    async fn log(crm: &RestCrm, key: &str, body: &Value) -> (u16, Value) {
        answer(request(crm, Method::POST, "/activities").header("Idempotency-Key", key).json(body)).await
    }

    #[tokio::test]
    async fn contacts_are_found_by_any_letter_case_and_strangers_give_an_empty_list() {
        let crm = crm();
        let document = OpenApiDocument::rest_crm().expect("the document parses");
        let (status, found) =
            answer(request(&crm, Method::GET, "/contacts?email=marta.kowal%40halden-robotics.example")).await;
        assert_eq!((status, &found["contacts"][0]["id"]), (200, &json!("con_1")));
        document.check_body("ContactList", &found).expect("the answer follows the document");
        let (status, found) = answer(request(&crm, Method::GET, "/contacts?email=nobody@orchard.example")).await;
        assert_eq!((status, found), (200, json!({ "contacts": [] })));
    }

    #[tokio::test]
    async fn a_contact_is_found_under_its_other_addresses() {
        let crm = crm();
        let mut contact = CrmContact::new("con_3", "lea@halden-robotics.example");
        contact.other_emails.push("lea.private@mail.example".to_owned());
        crm.add_contact(contact);
        let (_, found) = answer(request(&crm, Method::GET, "/contacts?email=lea.private@mail.example")).await;
        assert_eq!(found["contacts"][0]["email"], "lea@halden-robotics.example");
        assert_eq!(found["contacts"][0].get("other_emails"), None);
    }

    #[tokio::test]
    async fn a_lookup_without_an_address_or_with_more_than_the_document_knows_is_refused() {
        let crm = crm();
        for path in [
            "/contacts",
            "/contacts?email=",
            "/contacts?email=a@b.example&limit=1",
            "/contacts?email=a@b.example&email=c@d.example",
        ] {
            let (status, body) = answer(request(&crm, Method::GET, path)).await;
            assert_eq!(status, 400, "{path}");
            assert!(body["error"].is_string(), "{path}: {body}");
        }
    }

    #[tokio::test]
    async fn a_missing_or_wrong_token_is_refused_before_anything_else() {
        let crm = crm();
        let url = format!("{}/contacts", crm.base_url());
        let without = answer(reqwest::Client::new().get(&url)).await;
        assert_eq!(without.0, 401);
        let wrong = answer(reqwest::Client::new().get(&url).bearer_auth("another")).await;
        assert_eq!((wrong.0, wrong.1["error"].is_string()), (401, true));
    }

    #[tokio::test]
    async fn the_same_key_and_body_is_one_activity_and_gets_the_first_answer() {
        let crm = crm();
        let first = log(&crm, KEY, &activity()).await;
        let second = log(&crm, KEY, &activity()).await;
        assert_eq!(first.0, 201);
        assert_eq!(first, second);
        assert_eq!(crm.activities().len(), 1);
    }

    #[tokio::test]
    async fn the_same_key_with_another_body_is_a_conflict_that_names_the_activity() {
        let crm = crm();
        let (_, first) = log(&crm, KEY, &activity()).await;
        let mut other = activity();
        other["grant_id"] = json!("another-grant");
        let (status, conflict) = log(&crm, KEY, &other).await;
        assert_eq!((status, &conflict["id"]), (409, &first["id"]));
        assert_eq!(crm.activities()[0].body, activity());
    }

    #[tokio::test]
    async fn a_refused_activity_does_not_use_up_its_key() {
        let crm = crm();
        let mut wrong = activity();
        wrong["direction"] = json!("sideways");
        assert_eq!(log(&crm, KEY, &wrong).await.0, 422);
        assert_eq!(log(&crm, KEY, &activity()).await.0, 201);
    }

    #[tokio::test]
    async fn what_the_document_refuses_the_stand_in_refuses() {
        let crm = crm();
        let changed = |key: &str, value: Value| {
            let mut body = activity();
            body[key] = value;
            body
        };
        let mut without_cc = activity();
        without_cc.as_object_mut().expect("an object").remove("cc");
        for (body, named) in [
            (without_cc, "cc"),
            (changed("colour", json!("red")), "colour"),
            (changed("type", json!("call")), "/type"),
            (changed("timestamp", json!("2026-11-16T10:12:44+01:00")), "/timestamp"),
            (changed("timestamp", json!(1_794_820_364)), "/timestamp"),
            (changed("from", json!("Marta <marta.kowal@halden-robotics.example>")), "/from"),
            (changed("to", Value::Null), "/to"),
            (changed("contact_ids", json!([])), "/contact_ids"),
            (changed("contact_ids", json!(["con_1", "con_1"])), "/contact_ids"),
            (changed("contact_ids", json!(["con_1", "con_404"])), "con_404"),
            (changed("prospect_id", json!("con_2")), "/prospect_id"),
        ] {
            let (status, refusal) = log(&crm, KEY, &body).await;
            assert_eq!(status, 422, "{body}");
            assert!(refusal["error"].as_str().is_some_and(|error| error.contains(named)), "{named}: {refusal}");
        }
        assert_eq!(crm.activities(), []);
    }

    #[tokio::test]
    async fn an_activity_without_a_key_or_without_json_is_refused() {
        let crm = crm();
        let without_key = answer(request(&crm, Method::POST, "/activities").json(&activity())).await;
        assert_eq!(without_key.0, 400);
        let no_json = request(&crm, Method::POST, "/activities")
            .header("Idempotency-Key", KEY)
            .header("Content-Type", "application/json")
            .body("{");
        assert_eq!(answer(no_json).await.0, 400);
        let no_type = request(&crm, Method::POST, "/activities").header("Idempotency-Key", KEY).body("{}");
        assert_eq!(answer(no_type).await.0, 400);
    }

    #[tokio::test]
    async fn a_lost_answer_leaves_the_activity_behind_and_the_retry_finds_it() {
        let crm = crm();
        crm.faults().add(FaultRule::next(1, Fault::LoseAnswer).on("POST", "/activities"));
        let lost =
            request(&crm, Method::POST, "/activities").header("Idempotency-Key", KEY).json(&activity()).send().await;
        assert!(lost.is_err());
        assert_eq!(crm.activities().len(), 1);
        let (status, body) = log(&crm, KEY, &activity()).await;
        assert_eq!((status, body["id"].as_str()), (201, Some(crm.activities()[0].id.as_str())));
        assert_eq!(crm.activities().len(), 1);
    }

    #[tokio::test]
    async fn a_planned_error_stores_nothing_and_follows_the_document() {
        let crm = crm();
        crm.faults().add(FaultRule::next(1, Fault::status(500)));
        let (status, body) = log(&crm, KEY, &activity()).await;
        assert_eq!(status, 500);
        OpenApiDocument::rest_crm().expect("the document parses").check_body("Error", &body).expect("an error body");
        assert_eq!(crm.activities(), []);
    }

    #[tokio::test]
    async fn a_meeting_is_created_then_replaced_then_deleted_once() {
        let crm = crm();
        let path = "/meetings?external_event_id=AAMk%2Fe%3D%3D%23";
        let id = "AAMk/e==#";
        let (status, created) = answer(request(&crm, Method::PUT, path).json(&meeting(id))).await;
        assert_eq!(status, 201);
        let mut moved = meeting(id);
        moved["meeting_status"] = json!("cancelled");
        let (status, replaced) = answer(request(&crm, Method::PUT, path).json(&moved)).await;
        assert_eq!((status, &replaced), (200, &created));
        assert_eq!((crm.meetings().len(), &crm.meetings()[0].body), (1, &moved));
        assert_eq!(answer(request(&crm, Method::DELETE, path)).await.0, 204);
        assert_eq!(answer(request(&crm, Method::DELETE, path)).await.0, 404);
    }

    #[tokio::test]
    async fn a_meeting_must_be_named_by_exactly_one_id_that_is_also_in_its_body() {
        let crm = crm();
        for (query, status) in [
            ("", 400),
            ("?external_event_id=e1&external_notetaker_id=n1", 400),
            ("?external_event_id=e2", 422),
            ("?external_notetaker_id=e1", 422),
        ] {
            let answered = answer(request(&crm, Method::PUT, &format!("/meetings{query}")).json(&meeting("e1"))).await;
            assert_eq!(answered.0, status, "{query}");
        }
        assert_eq!(crm.meetings(), []);
    }

    #[tokio::test]
    async fn a_notetakers_record_is_not_the_meeting() {
        let crm = crm();
        let record = json!({
            "external_notetaker_id": "n1",
            "external_event_id": "e1",
            "subject": null,
            "summary": null,
            "action_items": [{ "text": "Send the contract", "owner_email": null, "due_date": "2026-11-27" }],
            "transcript": null,
            "recording_url": null,
            "transcript_url": "s3://archive/media/g/n1/transcript.json",
            "associated_contact_ids": ["con_2"],
            "associated_deal_id": null,
            "unmatched_emails": [],
            "source": "nylas_notetaker",
        });
        answer(request(&crm, Method::PUT, "/meetings?external_event_id=e1").json(&meeting("e1"))).await;
        let stored = answer(request(&crm, Method::PUT, "/meetings?external_notetaker_id=n1").json(&record)).await;
        assert_eq!(stored.0, 201);
        assert_eq!((crm.meetings().len(), crm.notetaker_records()[0].body.clone()), (1, record));
    }

    #[tokio::test]
    async fn a_patch_changes_only_what_it_names() {
        let crm = crm();
        let patched = |path: &'static str, body: Value| answer(request(&crm, Method::PATCH, path).json(&body));
        assert_eq!(patched("/contacts/con_1", json!({ "phone": "+47 555 01 42" })).await.0, 200);
        assert_eq!(patched("/contacts/con_1", json!({ "job_title": "Head of Operations" })).await.0, 200);
        let contact = crm.contacts()[0].clone();
        assert_eq!(contact.phone.as_deref(), Some("+47 555 01 42"));
        assert_eq!(contact.job_title.as_deref(), Some("Head of Operations"));
        assert_eq!(patched("/contacts/con_1", json!({})).await.0, 422);
        assert_eq!(patched("/contacts/con_1", json!({ "phone": null })).await.0, 422);
        assert_eq!(patched("/contacts/con_1", json!({ "email": "x@y.example" })).await.0, 422);
        assert_eq!(patched("/contacts/con_404", json!({ "phone": "1" })).await.0, 404);
    }

    #[tokio::test]
    async fn a_contact_tells_each_field_that_the_crm_has_and_none_that_it_has_not() {
        let mut contact = CrmContact::new("con_1", "marta.kowal@halden-robotics.example");
        contact.company = Some("Halden Robotics".to_owned());
        let path = "/contacts?email=marta.kowal@halden-robotics.example";
        let with = RestCrm::builder().contact(contact.clone()).start().expect("a free port exists");
        let expected = json!({
            "id": "con_1",
            "email": "marta.kowal@halden-robotics.example",
            "name": null,
            "primary_deal_id": null,
            "phone": null,
            "job_title": null,
            "company": "Halden Robotics",
        });
        assert_eq!(answer(request(&with, Method::GET, path)).await.1, json!({ "contacts": [expected] }));
        let without =
            RestCrm::builder().contacts([contact]).without_contact_fields().start().expect("a free port exists");
        let (_, found) = answer(request(&without, Method::GET, path)).await;
        let mut keys: Vec<&String> = found["contacts"][0].as_object().expect("a contact").keys().collect();
        keys.sort();
        assert_eq!(keys, ["email", "id", "name", "primary_deal_id"]);
        let patched = request(&without, Method::PATCH, "/contacts/con_1").json(&json!({ "phone": "+47 555 01 42" }));
        assert_eq!(answer(patched).await.0, 422);
    }

    #[tokio::test]
    async fn what_a_person_edits_clears_or_deletes_is_what_a_lookup_tells() {
        let crm = crm();
        let path = "/contacts?email=marta.kowal@halden-robotics.example";
        crm.set_contact_field("con_1", ContactField::JobTitle, Some("Owner")).expect("a contact");
        assert_eq!(answer(request(&crm, Method::GET, path)).await.1["contacts"][0]["job_title"], "Owner");
        crm.set_contact_field("con_1", ContactField::JobTitle, None).expect("a contact");
        assert_eq!(answer(request(&crm, Method::GET, path)).await.1["contacts"][0]["job_title"], Value::Null);
        crm.remove_contact("con_1").expect("a contact");
        assert_eq!(answer(request(&crm, Method::GET, path)).await.1, json!({ "contacts": [] }));
        assert!(crm.remove_contact("con_1").is_err());
        assert!(crm.set_contact_field("con_1", ContactField::Phone, None).is_err());
        let patched = request(&crm, Method::PATCH, "/contacts/con_1").json(&json!({ "phone": "1" }));
        assert_eq!(answer(patched).await.0, 404);
    }

    #[tokio::test]
    async fn lookups_and_patches_are_counted_though_the_log_forgets_them() {
        let crm = crm();
        crm.calls().keep_newest(1);
        for _ in 0..3 {
            answer(request(&crm, Method::GET, "/contacts?email=nobody@orchard.example")).await;
        }
        answer(request(&crm, Method::PATCH, "/contacts/con_2").json(&json!({ "phone": "1" }))).await;
        assert_eq!((crm.lookups(), crm.patches(), crm.calls().all().len()), (3, 1, 1));
        assert_eq!(crm.contacts_with("Jonas.Brandt@halden-robotics.example")[0].phone.as_deref(), Some("1"));
    }

    #[tokio::test]
    async fn a_hundred_thousand_contacts_are_asked_for_as_quickly_as_a_few() {
        let contacts =
            (0..100_000).map(|number| CrmContact::new(&format!("con_{number}"), &format!("p{number}@many.example")));
        let crm = RestCrm::builder().contacts(contacts).start().expect("a free port exists");
        let client = reqwest::Client::new();
        let begun = std::time::Instant::now();
        for number in 0..500 {
            let url = format!("{}/contacts?email=P{}@many.example", crm.base_url(), 99_999 - number);
            let (status, found) = answer(client.get(url).bearer_auth(crm.api_key())).await;
            assert_eq!((status, &found["contacts"][0]["id"]), (200, &json!(format!("con_{}", 99_999 - number))));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_log_tells_every_call_and_its_status() {
        let crm = crm();
        crm.faults().set_latency(Duration::from_millis(1));
        log(&crm, KEY, &activity()).await;
        answer(request(&crm, Method::GET, "/deals?x=1")).await;
        let calls = crm.calls().all();
        let told: Vec<_> = calls
            .iter()
            .map(|call| (call.method.as_str(), call.path.as_str(), call.query.as_str(), call.status))
            .collect();
        assert_eq!(told, [("POST", "/activities", "", Some(201)), ("GET", "/deals", "x=1", Some(404))]);
    }
}

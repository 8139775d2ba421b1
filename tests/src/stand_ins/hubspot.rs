//! A stand-in for HubSpot: an account with contacts, deals, activities, properties and owners behind the calls of
//! `hubspot.openapi.yaml`. Holds every request against that description first, and refuses what HubSpot refuses:
//! properties that do not exist, values that are none, unique values twice, batches that are too long, too many calls.

mod portal;
mod properties;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use self::{
    portal::{OBJECTS, Portal, Record, Refusal},
    properties::time,
};
use super::{
    CallLog, CrmContact, Faults, Result,
    crm::{CRM_USER, CrmStandIn, SeenMail, SeenMeeting, SeenNotes, SeenStatus, SeenTask},
    openapi::OpenApiDocument,
    server::{ErrorAnswer, Server},
};

/// The description of the calls that are taken.
const DOCUMENT: &str = include_str!("hubspot.openapi.yaml");

/// The token that is good at first.
const API_KEY: &str = "pat-eu1-sample-hubspot-token";

/// Another user beside [`CRM_USER`].
const OTHER_USER: &str = "tomas.reyes@northwind.example";

/// How many calls may be made within ten seconds, as for the larger plans.
const CALLS_IN_TEN_SECONDS: usize = 190;

/// How many calls may be made in a day.
const CALLS_IN_A_DAY: usize = 650_000;

/// The longest body that is taken.
const MOST_BYTES_IN_A_BODY: usize = 3 * 1024 * 1024;

/// The longest body of a search, in characters.
const MOST_SEARCHED_CHARACTERS: usize = 3_000;

struct Site {
    document: OpenApiDocument,
    state: Mutex<Account>,
}

struct Account {
    portal: Portal,
    api_key: String,
    refusals: Vec<String>,
    /// When the calls of the last ten seconds were made.
    recent: VecDeque<Instant>,
    today: usize,
    calls_in_ten_seconds: usize,
    /// Deals by the name that a test gave them.
    deals: HashMap<String, String>,
}

impl Site {
    fn locked<T>(&self, use_account: impl FnOnce(&mut Account) -> T) -> T {
        use_account(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running stand-in. It stops when it is dropped.
pub struct HubSpot {
    server: Server,
    site: Arc<Site>,
}

impl HubSpot {
    /// Starts an account that knows nobody, on a free port.
    pub fn start() -> Result<Self> {
        let account = Account {
            portal: Portal::new(&[OTHER_USER, CRM_USER]),
            api_key: API_KEY.to_owned(),
            refusals: Vec::new(),
            recent: VecDeque::new(),
            today: 0,
            calls_in_ten_seconds: CALLS_IN_TEN_SECONDS,
            deals: HashMap::new(),
        };
        let site = Arc::new(Site { document: OpenApiDocument::parse(DOCUMENT)?, state: Mutex::new(account) });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&site));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, site })
    }

    /// From now on no property of an activity can be unique, as it may be in some accounts.
    pub fn refuse_unique_properties(&self) {
        self.site.locked(|account| account.portal.takes_unique_properties = false);
    }

    /// From now on a batch read by address finds contacts by their main address alone.
    pub fn read_main_addresses_only(&self) {
        self.site.locked(|account| account.portal.reads_other_addresses = false);
    }

    /// How long a record that was made through the API is not found by a search; two seconds at first.
    pub fn set_search_lag(&self, lag: Duration) {
        self.site.locked(|account| account.portal.search_lag = lag);
    }

    /// How many calls may be made within ten seconds.
    pub fn set_rate_limit(&self, calls_in_ten_seconds: usize) {
        self.site.locked(|account| account.calls_in_ten_seconds = calls_in_ten_seconds);
    }

    /// Takes a scope from the credential: `crm.objects.owners.read`, `crm.schemas.contacts.read` (properties),
    /// `crm.schemas.contacts.write` (making properties) or `crm.objects.deals.read`.
    pub fn take_scope(&self, scope: &str) {
        self.site.locked(|account| account.portal.missing_scopes.insert(scope.to_owned()));
    }

    /// Moves a record to the recycling bin, as a person does; false if there is none.
    #[must_use]
    pub fn remove(&self, object: &str, id: &str) -> bool {
        self.site.locked(|account| account.portal.archive(object, id).is_ok())
    }

    /// Sets a property of a record, as a person does; false if there is no such record.
    #[must_use]
    pub fn set_property(&self, object: &str, id: &str, name: &str, value: &str) -> bool {
        let body = json!({"properties": {name: value}});
        self.site.locked(|account| account.portal.change(object, id, None, &body).is_ok())
    }

    /// A property of a record; empty if it has no value.
    #[must_use]
    pub fn property(&self, object: &str, id: &str, name: &str) -> String {
        let records = self.records(object);
        records.iter().find(|record| record.id == id).map(|record| record.property(name).to_owned()).unwrap_or_default()
    }

    fn records(&self, object: &str) -> Vec<Record> {
        self.site.locked(|account| account.portal.shelf(object).map(|shelf| shelf.records.clone()).unwrap_or_default())
    }

    fn owner_of(&self, record: &Record) -> Option<String> {
        self.site.locked(|account| account.portal.owner(record.property("hubspot_owner_id")))
    }
}

impl CrmStandIn for HubSpot {
    fn provider(&self) -> &'static str {
        "hubspot"
    }

    fn base_url(&self) -> String {
        self.server.base_url()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("CrmApiKey", API_KEY.to_owned())]
    }

    fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn calls(&self) -> &CallLog {
        self.server.log()
    }

    fn refusals(&self) -> Vec<String> {
        self.site.locked(|account| account.refusals.clone())
    }

    fn revoke_credential(&self) {
        self.site.locked(|account| "another".clone_into(&mut account.api_key));
    }

    fn add_contact(&self, contact: &CrmContact) -> String {
        let mut properties = BTreeMap::from([("email".to_owned(), contact.email.to_lowercase())]);
        let (first, last) = contact.name.as_deref().map_or(("", ""), |name| name.split_once(' ').unwrap_or(("", name)));
        for (name, value) in [
            ("firstname", first),
            ("lastname", last),
            ("phone", contact.phone.as_deref().unwrap_or_default()),
            ("jobtitle", contact.job_title.as_deref().unwrap_or_default()),
            ("company", contact.company.as_deref().unwrap_or_default()),
            ("hs_additional_emails", &contact.other_emails.join(";").to_lowercase()),
        ] {
            if !value.is_empty() {
                properties.insert(name.to_owned(), value.to_owned());
            }
        }
        let main = contact.primary_deal_id.iter().map(|id| json!({"id": id, "open": true}));
        let listed = contact.deals.iter().cloned();
        self.site.locked(|account| {
            let id = account.portal.seed("contacts", properties);
            // What is known of the main deal may stand in the list.
            let mut deals: Vec<Value> = Vec::new();
            for deal in main.chain(listed) {
                match deals.iter_mut().find(|standing| standing["id"] == deal["id"]) {
                    Some(standing) => *standing = deal,
                    None => deals.push(deal),
                }
            }
            for deal in deals {
                let deal_id = deal_of(account, &deal);
                account.portal.link(("contacts", &id), ("deals", &deal_id));
            }
            id
        })
    }

    fn contacts(&self) -> Vec<CrmContact> {
        let deals = self.records("deals");
        let deals: HashMap<&str, &Record> = deals.iter().map(|deal| (deal.id.as_str(), deal)).collect();
        let contacts = self.records("contacts");
        let shown = contacts.iter().filter(|record| !record.is_archived).map(|record| {
            let told = |name: &str| Some(record.property(name).to_owned()).filter(|value| !value.is_empty());
            let ids = record.associated("deals");
            let name = format!("{} {}", record.property("firstname"), record.property("lastname"));
            let others = told("hs_additional_emails").unwrap_or_default();
            CrmContact {
                id: record.id.clone(),
                email: record.property("email").to_owned(),
                name: Some(name.trim().to_owned()).filter(|name| !name.is_empty()),
                primary_deal_id: ids.first().cloned(),
                deals: ids.iter().filter_map(|id| deals.get(id.as_str())).map(|deal| shown_deal(deal)).collect(),
                phone: told("phone"),
                job_title: told("jobtitle"),
                company: told("company"),
                other_emails: others.split(';').filter(|other| !other.is_empty()).map(str::to_owned).collect(),
            }
        });
        shown.collect()
    }

    fn mails(&self) -> Vec<SeenMail> {
        let mails = self.records("emails");
        let shown = mails.iter().filter(|record| !record.is_archived).map(|record| SeenMail {
            id: record.id.clone(),
            subject: record.property("hs_email_subject").to_owned(),
            text: together(record, &["hs_email_text", "hs_email_html", "hs_email_headers"]),
            direction: match record.property("hs_email_direction") {
                "INCOMING_EMAIL" => Some("inbound".to_owned()),
                "EMAIL" => Some("outbound".to_owned()),
                _ => None,
            },
            at: instant(record.property("hs_timestamp")).unwrap_or_default(),
            contact_ids: record.associated("contacts"),
            deal_id: record.associated("deals").into_iter().next(),
        });
        shown.collect()
    }

    fn meetings(&self) -> Vec<SeenMeeting> {
        let meetings = self.records("meetings");
        let shown = meetings.iter().map(|record| SeenMeeting {
            id: record.id.clone(),
            subject: record.property("hs_meeting_title").to_owned(),
            text: together(
                record,
                &["hs_meeting_body", "hs_internal_meeting_notes", "hs_meeting_location", "hs_meeting_external_url"],
            ),
            start: start_of(record),
            status: match record.property("hs_meeting_outcome") {
                _ if record.is_archived => SeenStatus::Deleted,
                "CANCELED" => SeenStatus::Cancelled,
                _ => SeenStatus::Planned,
            },
            contact_ids: record.associated("contacts"),
            deal_id: record.associated("deals").into_iter().next(),
            owner: self.owner_of(record),
            writes: record.writes,
        });
        shown.collect()
    }

    fn notes(&self) -> Vec<SeenNotes> {
        let notes = self.records("notes");
        let shown = notes.iter().filter(|record| !record.is_archived).map(|record| SeenNotes {
            id: record.id.clone(),
            text: together(record, &["hs_note_body"]),
            contact_ids: record.associated("contacts"),
            deal_id: record.associated("deals").into_iter().next(),
        });
        shown.collect()
    }

    fn tasks(&self) -> Vec<SeenTask> {
        let tasks = self.records("tasks");
        let shown = tasks.iter().filter(|record| !record.is_archived).map(|record| SeenTask {
            id: record.id.clone(),
            subject: record.property("hs_task_subject").to_owned(),
            due: instant(record.property("hs_timestamp")).and_then(|due| Some(due.get(..10)?.to_owned())),
            owner: self.owner_of(record),
            contact_ids: record.associated("contacts"),
            deal_id: record.associated("deals").into_iter().next(),
        });
        shown.collect()
    }
}

/// The deal that a test calls by a name: made when it is first spoken of.
fn deal_of(account: &mut Account, deal: &Value) -> String {
    let name = deal["id"].as_str().unwrap_or_default().to_owned();
    if let Some(id) = account.deals.get(&name) {
        return id.clone();
    }
    let mut properties = BTreeMap::from([("dealname".to_owned(), name.clone())]);
    let is_closed = deal["open"] == false;
    properties.insert("hs_is_closed".to_owned(), is_closed.to_string());
    properties.insert("dealstage".to_owned(), if is_closed { "closedlost" } else { "qualifiedtobuy" }.to_owned());
    if let Some(time) = deal["last_activity_at"].as_str() {
        properties.insert("notes_last_updated".to_owned(), time.to_owned());
    }
    let id = account.portal.seed("deals", properties);
    account.deals.insert(name, id.clone());
    id
}

fn shown_deal(deal: &Record) -> Value {
    let last = Some(deal.property("notes_last_updated")).filter(|time| !time.is_empty());
    json!({"id": deal.id, "open": deal.property("hs_is_closed") == "false", "last_activity_at": last})
}

/// Properties as a person reads them.
fn together(record: &Record, names: &[&str]) -> String {
    let texts: Vec<String> =
        names.iter().map(|name| record.property(name)).filter(|text| !text.is_empty()).map(readable).collect();
    texts.join("\n")
}

/// HTML without its marks.
fn readable(html: &str) -> String {
    let text = html.replace("<br>", "\n").replace("</p>", "\n").replace("<p>", "");
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn instant(value: &str) -> Option<String> {
    time(value).map(|time| time.to_string())
}

/// When a meeting begins: the day alone if it takes whole days, from midnight to midnight.
fn start_of(record: &Record) -> Option<String> {
    let [start, end] = ["hs_meeting_start_time", "hs_meeting_end_time"].map(|name| instant(record.property(name)));
    let is_midnight = |time: &Option<String>| time.as_ref().is_some_and(|time| time.ends_with("T00:00:00Z"));
    let takes_days = is_midnight(&start) && is_midnight(&end) && start != end;
    start.map(|start| if takes_days { start[..10].to_owned() } else { start })
}

fn error(status: u16, category: &str, message: &str) -> Response {
    let mut body = json!({
        "status": "error",
        "message": message,
        "correlationId": "2dea5219-07f2-40ce-82ec-9c2e302317a4",
        "category": category,
    });
    if status == 429 {
        body["errorType"] = json!("RATE_LIMIT");
        body["policyName"] = json!(category);
        body["category"] = json!("RATE_LIMITS");
    }
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), Json(body)).into_response()
}

/// The error answers of the fault plan.
const PLANNED_ERROR: ErrorAnswer = |status| {
    let category = match status {
        401 => "INVALID_AUTHENTICATION",
        403 => "MISSING_SCOPES",
        429 => "TEN_SECONDLY_ROLLING",
        500.. => "INTERNAL_ERROR",
        _ => "VALIDATION_ERROR",
    };
    error(status, category, "planned fault")
};

async fn serve(State(site): State<Arc<Site>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    if site.locked(|account| account.api_key != token) {
        return error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found or not valid.");
    }
    let is_search = parts.uri.path().ends_with("/search");
    let Some(left) = site.locked(|account| take_call(account, is_search)) else {
        return error(429, "TEN_SECONDLY_ROLLING", "You have reached your ten_secondly_rolling limit.");
    };
    let Ok(bytes) = to_bytes(body, MOST_BYTES_IN_A_BODY).await else {
        return error(413, "PAYLOAD_TOO_LARGE", "The body is too long.");
    };
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let Some(template) = site.document.template_of(method, path) else {
        let problem = format!("{method} {path}: the description has no such operation");
        site.locked(|account| account.refusals.push(problem));
        return error(404, "OBJECT_NOT_FOUND", "resource not found");
    };
    if let Err(problem) = site.document.check_request(method, path, &query, &parts.headers, &bytes) {
        site.locked(|account| account.refusals.push(problem.clone()));
        return error(400, "VALIDATION_ERROR", &format!("Invalid input: {problem}"));
    }
    if is_search && String::from_utf8_lossy(&bytes).chars().count() > MOST_SEARCHED_CHARACTERS {
        let message = "The search is longer than 3000 characters.";
        site.locked(|account| account.refusals.push(format!("{method} {path}: {message}")));
        return error(400, "VALIDATION_ERROR", message);
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let call = Called { method, template, path, query: &query, body: &body };
    let mut answer = match site.locked(|account| call.serve(&mut account.portal)) {
        Ok((204, _)) => StatusCode::NO_CONTENT.into_response(),
        Ok((status, body)) => (StatusCode::from_u16(status).unwrap_or_default(), Json(body)).into_response(),
        Err(refusal) => error(refusal.status, refusal.category, &refusal.message),
    };
    for (name, value) in left {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

/// What is left of the allowances after a call, as the headers tell it; searches tell nothing. None if nothing was left.
fn take_call(account: &mut Account, is_search: bool) -> Option<Vec<(&'static str, usize)>> {
    let now = Instant::now();
    account.recent.retain(|at| now.duration_since(*at) < Duration::from_secs(10));
    if account.recent.len() >= account.calls_in_ten_seconds {
        return None;
    }
    account.recent.push_back(now);
    account.today += 1;
    if is_search {
        return Some(Vec::new());
    }
    Some(vec![
        ("x-hubspot-ratelimit-max", account.calls_in_ten_seconds),
        ("x-hubspot-ratelimit-remaining", account.calls_in_ten_seconds - account.recent.len()),
        ("x-hubspot-ratelimit-interval-milliseconds", 10_000),
        ("x-hubspot-ratelimit-daily", CALLS_IN_A_DAY),
        ("x-hubspot-ratelimit-daily-remaining", CALLS_IN_A_DAY.saturating_sub(account.today)),
    ])
}

/// A call that the description allows.
struct Called<'a> {
    method: &'a str,
    template: &'a str,
    path: &'a str,
    query: &'a [(String, String)],
    body: &'a Value,
}

impl Called<'_> {
    fn serve(&self, portal: &mut Portal) -> std::result::Result<(u16, Value), Refusal> {
        let segments: Vec<String> = self.path.split('/').skip(1).map(decoded).collect();
        let segment = |place: usize| segments.get(place).map(String::as_str).unwrap_or_default();
        let needs = |portal: &Portal, scope: &str| {
            if !portal.missing_scopes.contains(scope) {
                return Ok(());
            }
            let message = format!("This app hasn't been granted all required scopes to make this call: {scope}.");
            Err(Refusal { status: 403, category: "MISSING_SCOPES", message })
        };
        let object = segment(3);
        if self.path.contains("/deals") {
            needs(portal, "crm.objects.deals.read")?;
        }
        match (self.method, self.template) {
            ("POST", "/crm/v3/objects/{objectType}") => portal.create(known(object)?, self.body),
            ("GET", "/crm/v3/objects/{objectType}/{objectId}") => portal.read(object, segment(4), self.query),
            ("PATCH", "/crm/v3/objects/{objectType}/{objectId}") => {
                portal.change(object, segment(4), self.parameter("idProperty"), self.body)
            }
            ("DELETE", "/crm/v3/objects/{objectType}/{objectId}") => portal.archive(object, segment(4)),
            ("POST", "/crm/v3/objects/{objectType}/search") => portal.search(object, self.body),
            ("POST", "/crm/v3/objects/{objectType}/batch/read") => portal.read_batch(object, self.body),
            ("POST", "/crm/v3/objects/{objectType}/batch/update") => portal.update_batch(object, self.body),
            ("POST", "/crm/v4/associations/{fromObjectType}/{toObjectType}/batch/read") => {
                portal.read_associations(object, segment(4), self.body)
            }
            ("POST", "/crm/v4/associations/{fromObjectType}/{toObjectType}/batch/associate/default") => {
                portal.associate(known(object)?, known(segment(4))?, self.body)
            }
            ("GET", "/crm/v3/properties/{objectType}") => {
                needs(portal, "crm.schemas.contacts.read")?;
                Ok((200, json!({"results": portal.shelf(object)?.properties.listed()})))
            }
            ("GET", "/crm/v3/properties/{objectType}/groups") => {
                needs(portal, "crm.schemas.contacts.read")?;
                Ok((200, json!({"results": portal.shelf(object)?.properties.groups()})))
            }
            ("GET", "/crm/v3/properties/{objectType}/{propertyName}") => {
                needs(portal, "crm.schemas.contacts.read")?;
                let shown = portal.shelf(object)?.properties.shown(segment(4));
                shown.map(|property| (200, property)).ok_or_else(Refusal::not_found)
            }
            ("POST", "/crm/v3/properties/{objectType}") => {
                needs(portal, "crm.schemas.contacts.write")?;
                let takes_unique = portal.takes_unique_properties;
                let made = portal.shelf_mut(object)?.properties.add(self.body, takes_unique);
                made.map(|property| (201, property)).map_err(|(status, message)| {
                    let category = if status == 409 { "OBJECT_ALREADY_EXISTS" } else { "VALIDATION_ERROR" };
                    Refusal { status, category, message }
                })
            }
            ("GET", "/crm/v3/owners") => {
                needs(portal, "crm.objects.owners.read")?;
                self.owners(portal)
            }
            _ => Err(Refusal::not_found()),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn owners(&self, portal: &Portal) -> std::result::Result<(u16, Value), Refusal> {
        let limit: usize = self.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
        if !(1..=500).contains(&limit) {
            return Err(Refusal::invalid("limit must be between 1 and 500"));
        }
        let wanted = self.parameter("email");
        let fitting = portal.owners.iter().filter(|(_, address)| wanted.is_none_or(|wanted| wanted == address));
        let after = self.parameter("after").unwrap_or_default();
        let mut rest = fitting.skip_while(|(id, _)| !after.is_empty() && id != after);
        let page: Vec<Value> = rest
            .by_ref()
            .take(limit)
            .map(|(id, address)| json!({"id": id, "email": address, "type": "PERSON", "archived": false}))
            .collect();
        let mut answer = json!({"results": page});
        if let Some((next, _)) = rest.next() {
            answer["paging"] = json!({"next": {"after": next}});
        }
        Ok((200, answer))
    }
}

/// A kind of record that there is.
fn known(object: &str) -> std::result::Result<&'static str, Refusal> {
    let known = OBJECTS.into_iter().find(|known| *known == object);
    known.ok_or_else(|| Refusal::invalid(format!("Unable to infer object type from: {object}")))
}

/// A segment of a path without its percent signs; a plus stands for itself.
fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, later @ ..] = rest {
        let digits = later.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let encoded = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(encoded.unwrap_or(*first));
        rest = if encoded.is_some() { &later[2..] } else { later };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::*;

    async fn call(hubspot: &HubSpot, method: Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", hubspot.base_url());
        let request = reqwest::Client::new().request(method, url).bearer_auth(API_KEY);
        let request = if body.is_null() { request } else { request.json(&body) };
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default())
    }

    fn account() -> (HubSpot, String) {
        let hubspot = HubSpot::start().expect("a free port exists");
        let mut contact = CrmContact::new("c", "Marta.Kowal@halden-robotics.example").with_deal("d");
        contact.other_emails = vec!["marta@old.example".to_owned()];
        let id = hubspot.add_contact(&contact);
        (hubspot, id)
    }

    fn meeting(key: &str, contact: &str) -> Value {
        json!({
            "properties": {"hs_timestamp": "2026-03-01T10:00:00Z", "hs_meeting_title": "Pilot", "nylas_event_id": key},
            "associations": [{
                "to": {"id": contact},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 200}],
            }],
        })
    }

    fn key_property(unique: bool) -> Value {
        json!({
            "groupName": "meeting", "name": "nylas_event_id", "label": "Nylas event id", "type": "string",
            "fieldType": "text", "hasUniqueValue": unique,
        })
    }

    const MEETINGS: &str = "/crm/v3/objects/meetings";

    #[tokio::test]
    async fn a_contact_is_read_by_either_address_once_and_an_unknown_address_makes_it_207() {
        let (hubspot, id) = account();
        let read = |addresses: &[&str]| {
            let inputs: Vec<Value> = addresses.iter().map(|address| json!({"id": address})).collect();
            let body = json!({"idProperty": "email", "inputs": inputs, "properties": ["email", "phone", "nonsense"], "propertiesWithHistory": []});
            call(&hubspot, Method::POST, "/crm/v3/objects/contacts/batch/read", body)
        };
        let (status, both) = read(&["marta@old.example", "marta.kowal@halden-robotics.example"]).await;
        assert_eq!((status, both["results"].as_array().map(Vec::len)), (200, Some(1)));
        assert_eq!((&both["results"][0]["id"], &both["results"][0]["properties"]["phone"]), (&json!(id), &Value::Null));
        assert!(both["results"][0]["properties"].get("nonsense").is_none());
        let (status, some) = read(&["nobody@old.example", "marta@old.example"]).await;
        assert_eq!((status, &some["errors"][0]["context"]["ids"][0]), (207, &json!("nobody@old.example")));
        let many: Vec<String> = (0..101).map(|number| format!("p{number}@b.example")).collect();
        assert_eq!(read(&many.iter().map(String::as_str).collect::<Vec<_>>()).await.0, 400);
        hubspot.read_main_addresses_only();
        assert_eq!(read(&["marta@old.example"]).await.1["results"], json!([]));
    }

    #[tokio::test]
    async fn a_unique_value_is_taken_once_and_stays_taken_in_the_recycling_bin() {
        let (hubspot, contact) = account();
        let (status, made) = call(&hubspot, Method::POST, "/crm/v3/properties/meetings", key_property(true)).await;
        assert_eq!((status, &made["hasUniqueValue"]), (201, &json!(true)));
        assert_eq!(call(&hubspot, Method::POST, "/crm/v3/properties/meetings", key_property(true)).await.0, 409);
        let (status, created) = call(&hubspot, Method::POST, MEETINGS, meeting("AA/b#=", &contact)).await;
        assert_eq!(status, 201);
        let (status, refused) = call(&hubspot, Method::POST, MEETINGS, meeting("AA/b#=", &contact)).await;
        assert!(
            status == 400 && refused["message"].as_str().is_some_and(|text| text.contains("already has that value"))
        );
        let by_key = format!("{MEETINGS}/AA%2Fb%23=?idProperty=nylas_event_id&associations=contacts");
        let (status, found) = call(&hubspot, Method::GET, &by_key, Value::Null).await;
        assert_eq!((status, &found["id"]), (200, &created["id"]));
        assert_eq!(found["associations"]["contacts"]["results"][0]["id"], json!(contact));
        assert!(hubspot.remove("meetings", created["id"].as_str().expect("an id")));
        assert_eq!(call(&hubspot, Method::GET, &by_key, Value::Null).await.0, 404);
        assert_eq!(call(&hubspot, Method::POST, MEETINGS, meeting("AA/b#=", &contact)).await.0, 400);
        assert_eq!(hubspot.meetings()[0].status, SeenStatus::Deleted);
    }

    #[tokio::test]
    async fn values_that_are_none_are_refused_with_hubspots_words() {
        let (hubspot, contact) = account();
        let with = |name: &str, value: Value| {
            let mut body = meeting("k", &contact);
            body["properties"].as_object_mut().expect("an object").remove("nylas_event_id");
            body["properties"][name] = value;
            call(&hubspot, Method::POST, MEETINGS, body)
        };
        for (name, value, words) in [
            ("nylas_event_id", json!("k"), "PROPERTY_DOESNT_EXIST"),
            ("hs_meeting_outcome", json!("CANCELLED"), "INVALID_OPTION"),
            ("hs_meeting_start_time", json!("tomorrow"), "INVALID_DATE"),
            ("hubspot_owner_id", json!("1"), "INVALID_OWNER_ID"),
            ("hs_object_id", json!("1"), "READ_ONLY_VALUE"),
            ("hs_meeting_body", json!("x".repeat(65_537)), "VALUE_TOO_LONG"),
            ("hs_meeting_title", json!(1), "Invalid input"),
        ] {
            let (status, refused) = with(name, value).await;
            assert!(status == 400 && refused["message"].as_str().is_some_and(|text| text.contains(words)), "{refused}");
        }
        assert_eq!(hubspot.refusals().len(), 1, "only the number departs from the description");
        let (status, _) = with("hs_timestamp", json!("")).await;
        assert_eq!((status, hubspot.meetings().len()), (400, 0));
    }

    #[tokio::test]
    async fn one_bad_input_spoils_a_batch_of_changes_and_an_unknown_one_only_itself() {
        let (hubspot, id) = account();
        let change = |inputs: Value| {
            call(&hubspot, Method::POST, "/crm/v3/objects/contacts/batch/update", json!({"inputs": inputs}))
        };
        let good = json!({"id": id, "properties": {"phone": "+47 555 01 42"}});
        let (status, _) = change(json!([good, {"id": id, "properties": {"jobtitle": "Buyer"}}])).await;
        assert_eq!(status, 400, "an id twice");
        let (status, _) = change(json!([good, {"id": "7", "properties": {"nonsense": "x"}}])).await;
        assert_eq!((status, hubspot.contacts()[0].phone.clone()), (400, None));
        let (status, answer) = change(json!([good, {"id": "7", "properties": {"phone": "1"}}])).await;
        assert_eq!((status, &answer["errors"][0]["context"]["ids"]), (207, &json!(["7"])));
        assert_eq!(hubspot.contacts()[0].phone.as_deref(), Some("+47 555 01 42"));
    }

    #[tokio::test]
    async fn a_search_lags_behind_and_takes_five_calls_a_second() {
        let (hubspot, contact) = account();
        call(&hubspot, Method::POST, "/crm/v3/properties/meetings", key_property(false)).await;
        call(&hubspot, Method::POST, MEETINGS, meeting("k", &contact)).await;
        let filter = json!({"propertyName": "nylas_event_id", "operator": "EQ", "value": "k"});
        let body =
            json!({"filterGroups": [{"filters": [filter]}], "properties": [], "sorts": [], "limit": 1, "after": "0"});
        let search = || call(&hubspot, Method::POST, "/crm/v3/objects/meetings/search", body.clone());
        assert_eq!(search().await.1["total"], 0);
        hubspot.set_search_lag(Duration::ZERO);
        assert_eq!(search().await.1["total"], 1);
        let mut statuses = Vec::new();
        for _ in 0..5 {
            statuses.push(search().await);
        }
        assert!(
            statuses.iter().any(|(status, body)| *status == 429 && body["policyName"] == "SECONDLY"),
            "{statuses:?}"
        );
        let by_key = format!("{MEETINGS}/k?idProperty=nylas_event_id");
        assert_eq!(call(&hubspot, Method::GET, &by_key, Value::Null).await.0, 400, "it is not unique");
    }

    #[tokio::test]
    async fn strangers_missing_scopes_and_too_many_calls_are_told_apart() {
        let (hubspot, _) = account();
        hubspot.take_scope("crm.objects.owners.read");
        let (status, body) = call(&hubspot, Method::GET, "/crm/v3/owners", Value::Null).await;
        assert_eq!((status, &body["category"]), (403, &json!("MISSING_SCOPES")));
        hubspot.set_rate_limit(2);
        assert_eq!(call(&hubspot, Method::GET, "/crm/v3/properties/notes", Value::Null).await.0, 200);
        let (status, body) = call(&hubspot, Method::GET, "/crm/v3/properties/notes", Value::Null).await;
        assert_eq!((status, &body["policyName"]), (429, &json!("TEN_SECONDLY_ROLLING")));
        hubspot.revoke_credential();
        assert_eq!(call(&hubspot, Method::GET, "/crm/v3/owners", Value::Null).await.0, 401);
    }

    #[tokio::test]
    async fn deals_of_contacts_are_told_as_numbers_and_contacts_without_any_as_errors() {
        let (hubspot, with) = account();
        let without = hubspot.add_contact(&CrmContact::new("c", "jonas@halden-robotics.example"));
        let body = json!({"inputs": [{"id": with}, {"id": without}]});
        let (status, answer) =
            call(&hubspot, Method::POST, "/crm/v4/associations/contacts/deals/batch/read", body).await;
        assert_eq!(status, 207);
        assert!(answer["results"][0]["to"][0]["toObjectId"].is_u64());
        assert_eq!(answer["errors"][0]["subCategory"], "crm.associations.NO_ASSOCIATIONS_FOUND");
        assert_eq!(
            hubspot.contacts()[0].primary_deal_id,
            Some(answer["results"][0]["to"][0]["toObjectId"].to_string())
        );
    }
}

//! What the contract of all CRMs does not show: batches that are served in part, accounts that differ, texts that are
//! too long, and what is not asked.

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;
use crate::crm::contact_fields::{ContactUpdate, Current, PerField, UpdateContacts};
use crate::crm::meeting::{Meeting, MeetingStatus, MeetingTime, WriteMeetings};
use crate::crm::notes::{ActionItem, MeetingNotes, WriteMeetingNotes};
use crate::crm::{CrmError, Direction, EmailActivity, FindContacts, IdempotencyKey, LogEmail};
use crate::domain::address::EmailAddress;
use crate::engine::Clock;
use crate::engine::testing::MemoryLinks;
use crate::field_map::FieldMap;
use crate::http::{ApiSettings, Credential, http_client};
use crate::set_up::{SetUp, SetUpState};
use crate::written::SETTLED_AFTER;

type Answer = (u16, Value);

/// A HubSpot that answers as it is told, and the adapter to it.
struct Stage {
    server: MockServer,
    crm: HubSpotCrm<MemoryLinks>,
    second: Arc<AtomicI64>,
}

/// What a request comes to: its method and path with its query, and its body.
fn told(request: &Request) -> (String, Value) {
    let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
    (format!("{} {}{query}", request.method, request.url.path()), request.body_json().unwrap_or_default())
}

impl Stage {
    async fn answering(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let server = MockServer::start().await;
        let respond = move |request: &Request| {
            let (call, body) = told(request);
            let (status, body) = answer(&call, &body);
            ResponseTemplate::new(status).set_body_json(body)
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        let second = Arc::new(AtomicI64::new(1_772_359_200));
        let now = Arc::clone(&second);
        let clock = Clock::told_by(move || Timestamp::from_second(now.load(Ordering::SeqCst)).expect("a time"));
        let client = ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "HubSpot",
                base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
                credential: Credential::Fixed(SecretString::from("token")),
                credential_parameter: "CrmApiKey",
                calls_per_second: None,
            },
        );
        let written = Written::new(MemoryLinks::default(), clock, SYSTEM);
        let crm = HubSpotCrm::new(client.speaking(dialect()), written, FieldMaps::built_in(SYSTEM, FIELDS));
        Self { server, crm, second }
    }

    fn later(&self, by: Duration) {
        self.second.fetch_add(i64::try_from(by.as_secs()).expect("small"), Ordering::SeqCst);
    }

    async fn calls(&self) -> Vec<(String, Value)> {
        self.server.received_requests().await.expect("recorded").iter().map(told).collect()
    }

    async fn calls_to(&self, call: &str) -> Vec<Value> {
        self.calls().await.into_iter().filter(|(made, _)| made.starts_with(call)).map(|(_, body)| body).collect()
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

fn addresses(number: usize) -> Vec<EmailAddress> {
    (0..number).map(|number| address(&format!("p{number}@acme.example"))).collect()
}

fn contact(id: &str, email: &str, others: &str) -> Value {
    json!({"id": id, "properties": {"email": email, "hs_additional_emails": others, "phone": "1", "jobtitle": null}})
}

fn not_found() -> Answer {
    (404, json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": "resource not found"}))
}

fn ids_of(body: &Value) -> Vec<&str> {
    body["inputs"].as_array().into_iter().flatten().filter_map(|input| input["id"].as_str()).collect()
}

/// An account in which every property that the built-in map names is there, the keys of activities unique or not.
fn properties(call: &str, keys_are_unique: bool) -> Option<Answer> {
    let object = call.strip_prefix("GET /crm/v3/properties/")?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.object() == object)?;
    let map = FieldMap::parse(SYSTEM, FIELDS, None).expect("a map");
    let section = map.section(kind.section());
    let named =
        kind.fields().iter().filter_map(|ours| section.theirs(ours)).chain(section.fixed().keys().map(String::as_str));
    let listed: Vec<Value> = named
        .map(|name| json!({"name": name, "groupName": "g", "hasUniqueValue": keys_are_unique && name.starts_with("nylas_")}))
        .collect();
    Some((200, json!({"results": listed})))
}

/// No owners, all properties, and for the rest what `answer` says.
fn account(call: &str) -> Option<Answer> {
    if call.starts_with("GET /crm/v3/owners") {
        return Some((200, json!({"results": [{"id": "8401", "email": "ines@northwind.example"}]})));
    }
    properties(call, true)
}

fn mail() -> EmailActivity {
    EmailActivity {
        external_message_id: "m1".to_owned(),
        contact_ids: vec!["101".to_owned(), "102".to_owned(), "101".to_owned()],
        deal_id: Some("301".to_owned()),
        subject: Some("Q3".to_owned()),
        snippet: Some("Thanks".to_owned()),
        thread_id: None,
        direction: Direction::Inbound,
        timestamp: "2026-03-01T10:00:00Z".parse().expect("a time"),
        from: Some(address("dana@acme.example")),
        to: vec![address("ines@northwind.example")],
        cc: Vec::new(),
        grant_id: None,
    }
}

fn meeting(status: MeetingStatus) -> Meeting {
    Meeting {
        external_event_id: "evt/1#".to_owned(),
        subject: "Pilot".to_owned(),
        time: MeetingTime::Span {
            start: "2026-03-02T10:00:00Z".parse().expect("a time"),
            end: "2026-03-02T10:45:00Z".parse().expect("a time"),
        },
        location: None,
        link: None,
        notes: "<Agenda>".to_owned(),
        organizer: Some(address("ines@northwind.example")),
        attendees: Vec::new(),
        status,
        calendar_id: None,
        grant_id: None,
        master_event_id: None,
        is_recurring: false,
        series_label: None,
        contact_ids: vec!["101".to_owned(), "102".to_owned()],
        deal_id: None,
    }
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("mail-1".to_owned())
}

#[test]
fn built_in_map_names_every_field_that_is_sent_and_no_other() {
    #[derive(serde::Deserialize)]
    struct Part {
        fields: std::collections::BTreeMap<String, String>,
    }
    let file: HashMap<String, HashMap<String, Part>> = toml::from_str(FIELDS).expect("a file");
    let parts = &file[SYSTEM];
    for kind in Kind::ALL {
        let mut named: Vec<&str> = parts[kind.section()].fields.keys().map(String::as_str).collect();
        let mut sent = kind.fields().to_vec();
        named.sort_unstable();
        sent.sort_unstable();
        assert_eq!(named, sent, "{kind:?}");
    }
    let contact: Vec<&str> = parts["contact"].fields.keys().map(String::as_str).collect();
    assert_eq!(contact, ["company", "job_title", "phone"]);
}

#[tokio::test]
async fn contacts_are_found_by_either_address_in_one_call_for_a_hundred() {
    let stage = Stage::answering(|call, body| match call {
        "POST /crm/v3/objects/contacts/batch/read" if ids_of(body).contains(&"p0@acme.example") => {
            let missing = json!({"category": "OBJECT_NOT_FOUND", "context": {"ids": ["p2@acme.example"]}});
            let found =
                [contact("1", "P0@Acme.example", ""), contact("2", "main@acme.example", "x@y.example;P1@acme.example")];
            (207, json!({"results": found, "errors": [missing], "numErrors": 1}))
        }
        "POST /crm/v3/objects/contacts/batch/read" => (200, json!({"results": []})),
        "POST /crm/v3/objects/contacts/search" => (200, json!({"total": 0, "results": []})),
        _ => not_found(),
    })
    .await;
    let asked = [addresses(150), addresses(3)].concat();
    let found = stage.crm.look_up(&asked, soon()).await;
    let ids: Vec<Vec<String>> = found
        .iter()
        .map(|found| found.as_ref().expect("found").iter().map(|contact| contact.id.clone()).collect())
        .collect();
    assert_eq!((&ids[..3], &ids[150..]), (&[vec!["1".to_owned()], vec!["2".to_owned()], vec![]][..], &ids[..3]));
    let current = &found[0].as_ref().expect("found")[0].current;
    let expected =
        PerField { phone: Current::Value("1".to_owned()), job_title: Current::Empty, company: Current::Empty };
    assert_eq!(*current, expected);
    let reads = stage.calls_to("POST /crm/v3/objects/contacts/batch/read").await;
    assert_eq!(reads.iter().map(|body| ids_of(body).len()).collect::<Vec<_>>(), [100, 50]);
    assert_eq!(
        stage.calls_to("POST /crm/v3/objects/contacts/search").await.len(),
        1,
        "tried once, nobody has another address"
    );
}

#[tokio::test]
async fn where_a_batch_read_does_not_find_other_addresses_they_are_searched_for() {
    let stage = Stage::answering(|call, body| match call {
        "POST /crm/v3/objects/contacts/batch/read" => (207, json!({"results": [], "errors": []})),
        "POST /crm/v3/objects/contacts/search" => {
            let filter = &body["filterGroups"][0]["filters"][0];
            let with = contact("2", "main@acme.example", "p7@acme.example");
            let is_wanted = filter["operator"] == "HAS_PROPERTY"
                || filter["values"].as_array().is_some_and(|values| values.contains(&json!("p7@acme.example")));
            (200, json!({"total": 1, "results": if is_wanted { vec![with] } else { vec![] }}))
        }
        _ => not_found(),
    })
    .await;
    for _ in 0..2 {
        let found = stage.crm.look_up(&addresses(200), soon()).await;
        assert_eq!(found[7].as_ref().map(|found| found[0].id.clone()), Ok("2".to_owned()));
        assert_eq!(found.iter().filter(|found| found.as_ref().is_ok_and(Vec::is_empty)).count(), 199);
    }
    let searches = stage.calls_to("POST /crm/v3/objects/contacts/search").await;
    assert_eq!(searches.len(), 1 + 2 * 2, "one to try, then one for each hundred");
    assert!(searches.iter().all(|body| body.to_string().len() <= 3000));
}

#[tokio::test]
async fn address_for_which_a_batch_is_refused_stands_alone_and_counts_as_one_that_nobody_has() {
    let stage = Stage::answering(|call, body| match call {
        "POST /crm/v3/objects/contacts/batch/read" if ids_of(body).contains(&"p5@acme.example") => {
            (400, json!({"category": "VALIDATION_ERROR", "message": "no address"}))
        }
        "POST /crm/v3/objects/contacts/batch/read" => {
            let found: Vec<Value> = ids_of(body).into_iter().map(|address| contact(address, address, "")).collect();
            (200, json!({"results": found}))
        }
        _ => (200, json!({"results": []})),
    })
    .await;
    let found = stage.crm.find_contacts(&addresses(20), soon()).await.expect("contacts");
    assert_eq!(found.len(), 20);
    assert_eq!(
        found
            .iter()
            .filter(|(_, contacts)| contacts.is_empty())
            .map(|(address, _)| address.as_str())
            .collect::<Vec<_>>(),
        ["p5@acme.example"]
    );
}

#[tokio::test]
async fn deals_are_read_page_by_page_with_their_state_and_deleted_ones_are_left_out() {
    let stage = Stage::answering(|call, body| match call {
        "POST /crm/v3/objects/contacts/batch/read" => (200, json!({"results": [contact("1", "p0@acme.example", "")]})),
        "POST /crm/v4/associations/contacts/deals/batch/read" if body["inputs"][0]["after"].is_null() => {
            let to = json!([{"toObjectId": 31, "associationTypes": []}, {"toObjectId": "32", "associationTypes": []}]);
            (200, json!({"results": [{"from": {"id": "1"}, "to": to, "paging": {"next": {"after": "2"}}}]}))
        }
        "POST /crm/v4/associations/contacts/deals/batch/read" => {
            (200, json!({"results": [{"from": {"id": "1"}, "to": [{"toObjectId": 33, "associationTypes": []}]}]}))
        }
        "POST /crm/v3/objects/deals/batch/read" => {
            let open = json!({"id": "31", "properties": {"hs_is_closed": "false", "notes_last_updated": "2026-03-01T10:00:00Z"}});
            let closed = json!({"id": "33", "properties": {"hs_is_closed": "true", "notes_last_updated": null}});
            (207, json!({"results": [closed, open], "errors": [{"category": "OBJECT_NOT_FOUND", "context": {"ids": ["32"]}}]}))
        }
        _ => not_found(),
    })
    .await;
    let found = stage.crm.find_contacts(&addresses(1), soon()).await.expect("contacts");
    let deals: Vec<(&str, Option<bool>, bool)> = found[&address("p0@acme.example")][0]
        .deals
        .iter()
        .map(|deal| (deal.id.as_str(), deal.open, deal.last_activity_at.is_some()))
        .collect();
    assert_eq!(deals, [("31", Some(true), true), ("33", Some(false), false)]);
}

fn update(id: &str, phone: &str) -> ContactUpdate {
    let values = PerField { phone: Some(phone.to_owned()), ..PerField::default() };
    ContactUpdate { contact_id: id.to_owned(), values }
}

#[tokio::test]
async fn change_that_is_refused_costs_no_other_and_is_told_in_hubspots_words() {
    let stage = Stage::answering(|_, body| {
        if body.to_string().contains("bad") {
            return (400, json!({"category": "VALIDATION_ERROR", "message": "bad is no phone"}));
        }
        let (gone, served): (Vec<&str>, Vec<&str>) = ids_of(body).into_iter().partition(|id| *id == "404");
        let results: Vec<Value> = served.into_iter().map(|id| json!({"id": id, "properties": {}})).collect();
        if gone.is_empty() {
            return (200, json!({"results": results}));
        }
        let error = json!({"category": "OBJECT_NOT_FOUND", "message": "gone", "context": {"ids": gone}});
        (207, json!({"results": results, "errors": [error], "numErrors": 1}))
    })
    .await;
    let mut updates: Vec<ContactUpdate> = (0..60).map(|id| update(&id.to_string(), "+47 1")).collect();
    updates[17] = update("17", "bad");
    updates[40] = update("404", "+47 1");
    let answers = stage.crm.update_contacts(&updates, soon()).await;
    for (place, answer) in answers.iter().enumerate() {
        match place {
            17 => assert!(
                matches!(answer, Err(CrmError(CallError::Rejected { text, .. })) if text.contains("bad is no phone")),
                "{answer:?}"
            ),
            40 => assert!(matches!(answer, Err(CrmError(CallError::NotFound { .. }))), "{answer:?}"),
            _ => assert_eq!(*answer, Ok(()), "{place}"),
        }
    }
    assert!(stage.crm.calls_made() <= 13, "{}", stage.crm.calls_made());
}

#[tokio::test]
async fn changes_of_one_contact_go_into_different_batches_in_their_order() {
    let stage = Stage::answering(|_, body| {
        let results: Vec<Value> = ids_of(body).into_iter().map(|id| json!({"id": id})).collect();
        (200, json!({"results": results}))
    })
    .await;
    let updates = [update("1", "first"), update("2", "x"), update("1", "second")];
    assert_eq!(stage.crm.update_contacts(&updates, soon()).await, [Ok(()), Ok(()), Ok(())]);
    let phones: Vec<Value> =
        stage.calls_to("POST").await.iter().map(|body| body["inputs"][0]["properties"]["phone"].clone()).collect();
    assert_eq!(phones, ["first", "second"]);
}

#[tokio::test]
async fn error_of_a_batch_that_names_no_input_is_told_of_none_that_was_served() {
    let stage = Stage::answering(|_, body| {
        let served: Vec<Value> = ids_of(body).into_iter().filter(|id| *id != "2").map(|id| json!({"id": id})).collect();
        let failed = ids_of(body).contains(&"2");
        let errors: Vec<Value> =
            failed.then(|| json!({"category": "VALIDATION_ERROR", "message": "no"})).into_iter().collect();
        (if failed { 207 } else { 200 }, json!({"results": served, "errors": errors}))
    })
    .await;
    let answers = stage.crm.update_contacts(&[update("1", "a"), update("2", "b"), update("3", "c")], soon()).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(
        matches!(&answers[1], Err(CrmError(CallError::Rejected { text, .. })) if text.contains("no")),
        "{answers:?}"
    );
}

#[tokio::test]
async fn mail_is_logged_with_all_that_it_belongs_to_and_every_value_as_text() {
    let stage = Stage::answering(|call, _| account(call).unwrap_or((201, json!({"id": "900"})))).await;
    assert_eq!(stage.crm.log_email(&mail(), &key(), soon()).await, Ok("900".to_owned()));
    assert_eq!(stage.crm.log_email(&mail(), &key(), soon()).await, Ok("900".to_owned()));
    let mut sent = stage.calls_to("POST /crm/v3/objects/emails").await;
    let told = sent[0]["properties"]["hs_email_headers"].take();
    let told: Value = serde_json::from_str(told.as_str().expect("a text")).expect("JSON");
    let to = |id: &str, kind: u32| json!({"to": {"id": id}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": kind}]});
    let participants = json!({
        "from": {"email": "dana@acme.example"}, "to": [{"email": "ines@northwind.example"}], "cc": [], "bcc": [],
    });
    let expected = json!({
        "properties": {
            "nylas_message_key": "mail-1",
            "hs_email_subject": "Q3",
            "hs_email_text": "From: dana@acme.example\nTo: ines@northwind.example\n\nThanks",
            "hs_email_direction": "INCOMING_EMAIL",
            "hs_timestamp": "2026-03-01T10:00:00Z",
            "hs_email_headers": null,
            "hubspot_owner_id": "8401",
            "hs_email_status": "SENT",
        },
        "associations": [to("101", 198), to("102", 198), to("301", 210)],
    });
    assert_eq!((sent, told), (vec![expected], participants));
}

#[tokio::test]
async fn key_that_is_taken_answers_the_record_that_has_it() {
    for (status, words) in [(409, "exists"), (400, "Cannot set it. 77 already has that value.")] {
        let stage = Stage::answering(move |call, _| match call {
            "POST /crm/v3/objects/emails" => (status, json!({"category": "VALIDATION_ERROR", "message": words})),
            "GET /crm/v3/objects/emails/mail-1?idProperty=nylas_message_key" => (200, json!({"id": "77"})),
            other => account(other).unwrap_or_else(not_found),
        })
        .await;
        assert_eq!(stage.crm.log_email(&mail(), &key(), soon()).await, Ok("77".to_owned()), "{status}");
    }
}

#[tokio::test]
async fn key_that_a_record_in_the_recycling_bin_has_is_left_out() {
    let stage = Stage::answering(|call, body| match call {
        "POST /crm/v3/objects/emails" if body["properties"]["nylas_message_key"].is_string() => {
            (400, json!({"category": "VALIDATION_ERROR", "message": "77 already has that value."}))
        }
        "POST /crm/v3/objects/emails" => (201, json!({"id": "78"})),
        other => account(other).unwrap_or_else(not_found),
    })
    .await;
    assert_eq!(stage.crm.log_email(&mail(), &key(), soon()).await, Ok("78".to_owned()));
}

#[tokio::test]
async fn account_without_unique_properties_is_searched_for_what_a_lost_answer_left() {
    let lost = Arc::new(Mutex::new(true));
    let stage = Stage::answering(move |call, body| match call {
        "POST /crm/v3/objects/emails" if std::mem::take(&mut *lost.lock().expect("not poisoned")) => (500, json!({})),
        "POST /crm/v3/objects/emails/search" => {
            let is_key = body["filterGroups"][0]["filters"][0]["value"] == "mail-1";
            (200, json!({"total": 1, "results": if is_key { vec![json!({"id": "79"})] } else { vec![] }}))
        }
        other => properties(other, false).or_else(|| account(other)).unwrap_or_else(not_found),
    })
    .await;
    stage.crm.log_email(&mail(), &key(), soon()).await.expect_err("lost");
    stage.later(SETTLED_AFTER);
    assert_eq!(stage.crm.log_email(&mail(), &key(), soon()).await, Ok("79".to_owned()));
}

/// A meeting that stands with an outcome and one contact.
async fn standing(outcome: &'static str) -> Stage {
    Stage::answering(move |call, _| match call {
        "POST /crm/v3/objects/meetings" => (201, json!({"id": "500"})),
        call if call.starts_with("GET /crm/v3/objects/meetings/500") => {
            let contacts = json!({"results": [{"id": "101", "type": "meeting_to_contact"}]});
            (200, json!({"id": "500", "properties": {"hs_meeting_outcome": outcome}, "associations": {"contacts": contacts}}))
        }
        "PATCH /crm/v3/objects/meetings/500" => (200, json!({"id": "500"})),
        "POST /crm/v4/associations/meetings/contacts/batch/associate/default" => (200, json!({"results": []})),
        other => account(other).unwrap_or_else(not_found),
    })
    .await
}

#[tokio::test]
async fn meeting_that_stands_is_changed_in_place_and_only_new_contacts_are_associated() {
    let stage = standing("COMPLETED").await;
    for _ in 0..2 {
        let id = stage.crm.upsert_meeting(&meeting(MeetingStatus::Confirmed), soon()).await;
        assert_eq!(id, Ok("500".to_owned()));
    }
    let created = &stage.calls_to("POST /crm/v3/objects/meetings").await[0]["properties"];
    assert_eq!((&created["hs_meeting_outcome"], &created["hubspot_owner_id"]), (&json!("SCHEDULED"), &json!("8401")));
    assert_eq!(created["hs_meeting_body"], "&lt;Agenda&gt;<br><br>Organizer: ines@northwind.example");
    assert!(created.get("hs_meeting_location").is_none(), "what is not known is not told");
    let changed = &stage.calls_to("PATCH").await[0]["properties"];
    for kept in ["hs_meeting_outcome", "hubspot_owner_id", "nylas_event_id"] {
        assert!(changed.get(kept).is_none(), "{kept} is a person's by now");
    }
    assert_eq!(changed["hs_meeting_location"], "", "what is not there any more is cleared");
    let associated = stage.calls_to("POST /crm/v4/associations").await;
    assert_eq!(associated, [json!({"inputs": [{"from": {"id": "500"}, "to": {"id": "102"}}]})]);
}

#[tokio::test]
async fn outcome_is_written_when_a_meeting_is_cancelled_and_when_it_takes_place_after_all() {
    for (stood, status, outcome) in [
        ("COMPLETED", MeetingStatus::Cancelled, Some("CANCELED")),
        ("CANCELED", MeetingStatus::Confirmed, Some("SCHEDULED")),
        ("NO_SHOW", MeetingStatus::Tentative, None),
    ] {
        let stage = standing(stood).await;
        for _ in 0..2 {
            stage.crm.upsert_meeting(&meeting(status), soon()).await.expect("written");
        }
        let changed = &stage.calls_to("PATCH").await[0]["properties"];
        assert_eq!(changed.get("hs_meeting_outcome").and_then(Value::as_str), outcome, "{stood}");
    }
}

#[tokio::test]
async fn meeting_that_a_person_has_deleted_is_created_anew() {
    let made = Arc::new(AtomicI64::new(500));
    let stage = Stage::answering(move |call, _| match call {
        "POST /crm/v3/objects/meetings" => (201, json!({"id": made.fetch_add(1, Ordering::SeqCst)})),
        other => account(other).unwrap_or_else(not_found),
    })
    .await;
    for id in ["500", "501"] {
        assert_eq!(stage.crm.upsert_meeting(&meeting(MeetingStatus::Confirmed), soon()).await, Ok(id.to_owned()));
    }
}

#[tokio::test]
async fn deletion_cancels_what_stands_also_if_only_hubspot_knows_it_and_leaves_alone_what_does_not() {
    let stage = Stage::answering(|call, _| match call {
        "GET /crm/v3/objects/meetings/evt%2F1%23?idProperty=nylas_event_id" | "PATCH /crm/v3/objects/meetings/500" => {
            (200, json!({"id": "500"}))
        }
        other => account(other).unwrap_or_else(not_found),
    })
    .await;
    assert_eq!(stage.crm.delete_meeting("evt/1#", soon()).await, Ok(()));
    assert_eq!(stage.crm.delete_meeting("unknown", soon()).await, Ok(()));
    assert_eq!(stage.calls_to("PATCH").await, [json!({"properties": {"hs_meeting_outcome": "CANCELED"}})]);
}

fn notes(transcript: String) -> MeetingNotes {
    let item = |text: &str, owner, due| ActionItem { text: text.to_owned(), owner, due };
    MeetingNotes {
        external_notetaker_id: "n1".to_owned(),
        external_event_id: None,
        subject: "Pilot".to_owned(),
        summary: None,
        action_items: vec![
            item("Send it", Some(address("ines@northwind.example")), "2026-03-06".parse().ok()),
            item("Call", Some(address("dana@acme.example")), None),
        ],
        transcript: Some(transcript),
        recording_url: None,
        transcript_url: None,
        contact_ids: vec!["101".to_owned()],
        deal_id: None,
        unmatched: Vec::new(),
    }
}

#[tokio::test]
async fn notes_are_cut_to_what_a_property_takes_and_each_action_item_is_one_task_for_good() {
    let stage = Stage::answering(|call, _| match call {
        call if call.starts_with("POST /crm/v3/objects/") => (201, json!({"id": "600"})),
        call if call.contains("/notes/600") => (200, json!({"id": "600"})),
        "POST /crm/v4/associations/notes/contacts/batch/associate/default" => (200, json!({"results": []})),
        other => account(other).unwrap_or_else(not_found),
    })
    .await;
    for _ in 0..2 {
        let written = stage.crm.upsert_meeting_notes(&notes("<&>".repeat(40_000)), soon()).await;
        assert_eq!(written, Ok("600".to_owned()));
    }
    let created = stage.calls_to("POST /crm/v3/objects/notes").await;
    let text = created[0]["properties"]["hs_note_body"].as_str().expect("a text");
    let length = text.chars().count();
    assert!(length <= 65_536 && length > 60_000 && text.contains("Cut here"), "{length}");
    let tasks = stage.calls_to("POST /crm/v3/objects/tasks").await;
    let told: Vec<[&Value; 3]> = tasks
        .iter()
        .map(|task| ["hs_task_subject", "hs_timestamp", "hubspot_owner_id"].map(|name| &task["properties"][name]))
        .collect();
    let today = json!("2026-03-01T10:00:00Z");
    assert_eq!(
        told,
        [[&json!("Send it"), &json!("2026-03-06T12:00:00Z"), &json!("8401")], [&json!("Call"), &today, &Value::Null]]
    );
}

#[tokio::test]
async fn owners_that_may_not_be_read_are_asked_for_once_and_are_no_failure() {
    let stage = Stage::answering(|call, _| match call {
        call if call.starts_with("GET /crm/v3/owners") => (403, json!({"category": "MISSING_SCOPES", "message": "no"})),
        other => properties(other, true).unwrap_or((201, json!({"id": "900"}))),
    })
    .await;
    for number in 0..2 {
        let key = IdempotencyKey::new(format!("mail-{number}"));
        assert_eq!(stage.crm.log_email(&mail(), &key, soon()).await, Ok("900".to_owned()));
    }
    assert_eq!(stage.calls_to("GET /crm/v3/owners").await.len(), 1);
}

#[tokio::test]
async fn set_up_makes_the_keys_in_the_objects_own_group_and_is_asked_for_once_a_day() {
    let stage = Stage::answering(|call, body| match call {
        "GET /crm/v3/properties/emails" => {
            let mut listed = properties(call, true).expect("an answer").1;
            listed["results"]
                .as_array_mut()
                .expect("a list")
                .retain(|property| property["name"] != "nylas_message_key");
            (200, listed)
        }
        "GET /crm/v3/properties/emails/groups" => {
            (200, json!({"results": [{"name": "engagement"}, {"name": "emailinformation"}, {"name": "email"}]}))
        }
        "POST /crm/v3/properties/emails" => (201, body.clone()),
        "POST /crm/v3/objects/emails" => (201, json!({"id": "900"})),
        other => account(other).unwrap_or_else(not_found),
    })
    .await;
    for number in 0..3 {
        let key = IdempotencyKey::new(format!("mail-{number}"));
        stage.crm.log_email(&mail(), &key, soon()).await.expect("logged");
    }
    let made = stage.calls_to("POST /crm/v3/properties").await;
    assert_eq!(made.len(), 1);
    assert_eq!(
        (&made[0]["groupName"], &made[0]["name"], &made[0]["hasUniqueValue"]),
        (&json!("emailinformation"), &json!("nylas_message_key"), &json!(true))
    );
}

/// An account in which the properties of meetings lack the key, and answers their making as told.
async fn set_up_of_meetings(answer: fn(&Value) -> Answer) -> (Stage, SetUpState) {
    let stage = Stage::answering(move |call, body| match call {
        "GET /crm/v3/properties/meetings" => {
            let mut listed = properties(call, true).expect("an answer").1;
            listed["results"].as_array_mut().expect("a list").retain(|property| property["name"] != "nylas_event_id");
            (200, listed)
        }
        "GET /crm/v3/properties/meetings/groups" => (200, json!({"results": [{"name": "meeting"}]})),
        "GET /crm/v3/properties/meetings/nylas_event_id" => {
            (200, json!({"name": "nylas_event_id", "hasUniqueValue": true}))
        }
        "GET /crm/v3/properties/contacts" => {
            (200, json!({"results": [{"name": "phone"}, {"name": "jobtitle"}, {"name": "company"}]}))
        }
        "POST /crm/v3/properties/meetings" => answer(body),
        other => account(other).unwrap_or_else(not_found),
    })
    .await;
    let items = stage.crm.set_up(soon()).await.expect("looked at");
    let [mails, meetings, others @ ..] = items.as_slice() else { panic!("{items:?}") };
    assert!(others.len() == 2 && others.iter().chain([mails]).all(|item| item.state == SetUpState::Present));
    assert_eq!(meetings.what, "the property nylas_event_id (single-line text, unique) of meetings");
    let found = meetings.state.clone();
    (stage, found)
}

#[tokio::test]
async fn set_up_goes_on_without_uniqueness_where_the_account_refuses_it() {
    let (_, found) = set_up_of_meetings(|body| match body["hasUniqueValue"].as_bool() {
        Some(true) => (400, json!({"category": "VALIDATION_ERROR", "message": "ten at most"})),
        _ => (201, json!({})),
    })
    .await;
    assert!(matches!(&found, SetUpState::DoneWithout { instead } if instead.contains("nylas_event_id of meetings")));
    let (_, found) = set_up_of_meetings(|_| (409, json!({"message": "exists"}))).await;
    assert_eq!(found, SetUpState::Present);
    let (_, found) = set_up_of_meetings(|_| (201, json!({}))).await;
    assert_eq!(found, SetUpState::Created);
}

#[tokio::test]
async fn what_may_not_be_made_keeps_meetings_waiting_with_a_sentence_and_without_asking_for_each() {
    let (stage, found) = set_up_of_meetings(|_| (403, json!({"category": "MISSING_SCOPES", "message": "no"}))).await;
    let SetUpState::Missing { remedy } = found else { panic!("{found:?}") };
    for word in ["nylas_event_id", "meetings", "single-line text", "unique"] {
        assert!(remedy.contains(word), "{remedy}");
    }
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors
            .push(stage.crm.upsert_meeting(&meeting(MeetingStatus::Confirmed), soon()).await.expect_err("not set up"));
    }
    assert!(errors.iter().all(|error| matches!(error, CrmError(CallError::NotSetUp { .. }))), "{errors:?}");
    assert_eq!(
        stage.calls_to("POST /crm/v3/properties/meetings").await.len(),
        2,
        "one of the set-up, one of the writes"
    );
    assert_eq!(stage.calls_to("POST /crm/v3/objects").await.len(), 0);
}

#[tokio::test]
async fn wrong_base_url_is_told_from_an_unknown_contact() {
    let stage = Stage::answering(|_, _| not_found()).await;
    let lookup = stage.crm.find_contacts(&addresses(1), soon()).await.map(|_| String::new());
    let write = stage.crm.log_email(&mail(), &key(), soon()).await;
    for result in [lookup, write] {
        let failure = crate::domain::failure::Failure::from(result.expect_err("no such API"));
        assert!(
            matches!(&failure, crate::domain::failure::Failure::Transient { class: "crm.unavailable", what, .. }
                if what.contains("CrmBaseUrl")),
            "{failure:?}"
        );
    }
}

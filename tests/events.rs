//! The sample files of `events/` against the formats they claim to be in: every file parses as what its
//! function is invoked with, every signature, group, deduplication id and checksum is recomputed, and the
//! samples agree with the contacts and mailboxes of the demo.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use lambda_http::RequestExt;
use md5::Md5;
use sandbox::stand_ins::{Grant, Nylas, RestCrm, nylas_webhook::signature};
use sandbox::world::{COMPANY_DOMAIN as COMPANY, SUPPORT_GRANT};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::contact_sync::{SYNC, SyncJob};
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::mail_class::MailClass;
use shared::domain::never_log::NeverLog;
use shared::domain::own_mail::LoopId;
use shared::mail::{Company, HeadersAtHand, People, class_of};
use shared::nylas::contact::Contact;
use shared::nylas::message::Message;
use shared::triage::Category;
use shared::triage::new_text::{LeftOut, bare_subject, new_text};
use shared::triage::rules::{Look, Rules};

const COMPANY_DOMAIN: &str = "@northwind.example";
const WEBHOOK_SECRET: &str = "sample-webhook-secret";
const CUSTOMER_EVENTS_SECRET: &str = "sample-customer-events-secret";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signed {
    /// By Nylas, rightly.
    Webhook,
    /// By the product, rightly.
    Customer,
    /// There is a signature, and it is wrong.
    Wrongly,
    /// There is none.
    Not,
}

/// Every ingress sample: method, path and who signed it.
const INGRESS: [(&str, &str, &str, Signed); 15] = [
    ("bad-signature", "POST", "/webhooks/nylas", Signed::Wrongly),
    ("base64-body", "POST", "/webhooks/nylas", Signed::Webhook),
    ("calendar-event", "POST", "/webhooks/nylas", Signed::Webhook),
    ("challenge", "GET", "/webhooks/nylas", Signed::Not),
    ("challenge-missing", "GET", "/webhooks/nylas", Signed::Not),
    ("customer-bad-body", "POST", "/customers/events", Signed::Customer),
    ("customer-bad-signature", "POST", "/customers/events", Signed::Wrongly),
    ("customer-signed-up", "POST", "/customers/events", Signed::Customer),
    ("gzip-notification", "POST", "/webhooks/nylas", Signed::Webhook),
    ("not-a-nylas-notification", "POST", "/webhooks/nylas", Signed::Webhook),
    ("signed-notification", "POST", "/webhooks/nylas", Signed::Webhook),
    ("unknown-type", "POST", "/webhooks/nylas", Signed::Webhook),
    ("upper-case-signature", "POST", "/webhooks/nylas", Signed::Webhook),
    ("wrong-method", "PUT", "/webhooks/nylas", Signed::Webhook),
    ("wrong-path", "POST", "/webhooks/nylas/v2", Signed::Webhook),
];

fn events(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events").join(below)
}

/// The text of every sample of a function, by the name of its file without the ending.
fn samples(function: &str) -> BTreeMap<String, String> {
    let files = fs::read_dir(events(function)).expect("the folder of the function's samples is there");
    files
        .map(|file| {
            let path = file.expect("the folder can be listed").path();
            assert_eq!(path.extension().and_then(|ending| ending.to_str()), Some("json"), "{}", path.display());
            let name = path.file_stem().and_then(|name| name.to_str()).expect("file names are plain").to_owned();
            (name, fs::read_to_string(&path).expect("the sample can be read"))
        })
        .collect()
}

fn ingress_sample(name: &str) -> lambda_http::Request {
    let text = &samples("webhook-ingress")[name];
    lambda_http::request::from_str(text).unwrap_or_else(|error| panic!("{name} is no Function URL event: {error}"))
}

fn email_records() -> BTreeMap<String, Vec<SqsMessage>> {
    records("email-activity")
}

fn calendar_records() -> BTreeMap<String, Vec<SqsMessage>> {
    records("calendar-sync")
}

fn notetaker_records() -> BTreeMap<String, Vec<SqsMessage>> {
    records("notetaker-media")
}

fn support_records() -> BTreeMap<String, Vec<SqsMessage>> {
    records("ticket-triage")
}

/// Those of contact-sync, but for the event that the schedule hands over without a queue.
fn contact_records() -> BTreeMap<String, Vec<SqsMessage>> {
    let mut samples = samples("contact-sync");
    assert!(samples.remove("nightly").is_some(), "no sample of the schedule");
    records_of(samples)
}

/// The records of every sample of a function that is woken by its queue.
fn records(function: &str) -> BTreeMap<String, Vec<SqsMessage>> {
    records_of(samples(function))
}

fn records_of(samples: BTreeMap<String, String>) -> BTreeMap<String, Vec<SqsMessage>> {
    samples
        .into_iter()
        .map(|(name, text)| {
            let event: SqsEvent =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name} is no SQS event: {error}"));
            (name, event.records)
        })
        .collect()
}

fn body(record: &SqsMessage) -> &str {
    record.body.as_deref().expect("every record has a body")
}

fn notification(record: &SqsMessage) -> Value {
    serde_json::from_str(body(record)).expect("the record's body is JSON")
}

/// Every `email` in the notification's object, as it is written there.
fn addresses(notification: &Value) -> Vec<String> {
    let object = &notification["data"]["object"];
    ["from", "to", "cc", "bcc", "participants", "emails"]
        .into_iter()
        .flat_map(|list| object[list].as_array().cloned().unwrap_or_default())
        .filter_map(|person| person["email"].as_str().map(str::to_owned))
        .collect()
}

fn demo_crm() -> RestCrm {
    RestCrm::builder()
        .contacts_file(&events("demo/contacts.json"))
        .expect("the demo's contacts can be read")
        .start()
        .expect("the stand-in starts")
}

fn known_addresses() -> BTreeSet<String> {
    demo_crm().contacts().into_iter().map(|contact| contact.email.to_lowercase()).collect()
}

fn demo_grants() -> Vec<Grant> {
    let text = fs::read_to_string(events("demo/mailboxes.json")).expect("the file can be read");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    serde_json::from_value(file["grants"].clone()).expect("grants")
}

fn never_logged() -> NeverLog {
    let text = fs::read_to_string(events("demo/never-log.txt")).expect("the list can be read");
    let (list, bad) = NeverLog::parse(&text);
    assert_eq!(bad, []);
    list
}

fn known_people(notification: &Value) -> usize {
    let known = known_addresses();
    addresses(notification).iter().filter(|address| known.contains(&address.to_lowercase())).count()
}

#[test]
fn every_ingress_sample_is_a_function_url_event_with_the_signature_it_claims() {
    let names: Vec<String> = samples("webhook-ingress").into_keys().collect();
    assert_eq!(names, INGRESS.map(|(name, ..)| name), "the table of this test and the folder differ");
    for (name, method, path, signed) in INGRESS {
        let request = ingress_sample(name);
        assert_eq!((request.method().as_str(), request.raw_http_path()), (method, path), "{name}");
        let header = |header: &str| request.headers().get(header).and_then(|value| value.to_str().ok());
        let given = header("x-nylas-signature").or_else(|| header("x-signature")).map(str::to_lowercase);
        let by_nylas = signature(WEBHOOK_SECRET, request.body());
        let by_product = signature(CUSTOMER_EVENTS_SECRET, request.body());
        match signed {
            Signed::Webhook => assert_eq!(given, Some(by_nylas), "{name}"),
            Signed::Customer => assert_eq!(given, Some(by_product), "{name}"),
            Signed::Wrongly => {
                let given = given.unwrap_or_else(|| panic!("{name} has no signature"));
                assert_eq!(given.len(), 64, "{name}");
                assert!(given != by_nylas && given != by_product, "{name}");
            }
            Signed::Not => assert_eq!(given, None, "{name}"),
        }
    }
}

#[test]
fn the_challenge_sample_has_a_challenge_and_the_other_has_none() {
    assert!(
        ingress_sample("challenge").query_string_parameters().first("challenge").is_some_and(|value| value.len() == 36)
    );
    assert_eq!(ingress_sample("challenge-missing").query_string_parameters().first("challenge"), None);
}

#[test]
fn the_compressed_sample_inflates_to_a_notification() {
    let request = ingress_sample("gzip-notification");
    assert_eq!(request.headers()["content-encoding"], "gzip");
    let inflated: Value =
        serde_json::from_reader(flate2::read::GzDecoder::new(request.body().as_ref())).expect("gzip around JSON");
    assert_eq!(inflated["type"], "message.created");
}

#[test]
fn the_base64_sample_is_flagged_and_decodes_to_a_plain_notification() {
    let raw: Value = serde_json::from_str(&samples("webhook-ingress")["base64-body"]).expect("JSON");
    assert_eq!(raw["isBase64Encoded"], true);
    let request = ingress_sample("base64-body");
    assert_eq!(request.headers().get("content-encoding"), None);
    let decoded: Value = serde_json::from_slice(request.body()).expect("JSON under the base64");
    assert_eq!(decoded["type"], "message.created");
}

#[test]
fn the_upper_case_sample_is_upper_case_in_header_and_digits() {
    let raw: Value = serde_json::from_str(&samples("webhook-ingress")["upper-case-signature"]).expect("JSON");
    let given = raw["headers"]["X-NYLAS-SIGNATURE"].as_str().expect("the header is written in capitals");
    assert_eq!(given, given.to_uppercase());
    assert_ne!(given, given.to_lowercase());
}

#[test]
fn the_odd_notifications_are_odd_in_the_way_their_names_say() {
    let read = |name: &str| serde_json::from_slice::<Value>(ingress_sample(name).body()).expect("JSON");
    assert_eq!(read("unknown-type")["type"], "folder.updated");
    assert_eq!(read("not-a-nylas-notification").get("type"), None);
    assert_eq!(read("calendar-event")["type"], "event.created");
    assert_eq!(read("customer-signed-up")["type"], "customer.signed_up");
    assert!(read("customer-signed-up")["email"].is_string());
    assert_eq!(read("customer-bad-body").get("email"), None);
}

#[test]
fn every_email_sample_has_the_ids_that_ingress_would_give_it() {
    for (name, records) in email_records() {
        assert!(!records.is_empty(), "{name}");
        for record in &records {
            check_the_record(&name, record, "email-activity.fifo");
            let Ok(notification) = serde_json::from_str::<Value>(body(record)) else {
                assert_eq!(name, "batch-with-a-record-that-is-not-json");
                continue;
            };
            if notification["type"] == "reconcile" {
                assert_eq!(record.attributes["MessageGroupId"], "reconcile", "{name}: as the schedule would set it");
                let by_content = hex::encode(Sha256::digest(body(record)));
                assert_eq!(record.attributes["MessageDeduplicationId"], by_content, "{name}");
                continue;
            }
            let thread = notification["data"]["object"]["thread_id"].as_str().expect("samples have a thread");
            let id = notification["id"].as_str().expect("samples have an id");
            let group = &hex::encode(Sha256::digest(format!("thread:{thread}")))[..32];
            let deduplication = hex::encode(Sha256::digest(format!("email-activity:{id}")));
            assert_eq!(record.attributes["MessageGroupId"], group, "{name}");
            assert_eq!(record.attributes["MessageDeduplicationId"], deduplication, "{name}");
        }
    }
}

/// What of a queue's record does not depend on what it carries.
fn check_the_record(name: &str, record: &SqsMessage, queue: &str) {
    assert_eq!(record.md5_of_body, Some(hex::encode(Md5::digest(body(record)))), "{name}: md5OfBody");
    assert!(record.event_source_arn.as_deref().is_some_and(|arn| arn.ends_with(queue)), "{name}");
    for present in ["SentTimestamp", "ApproximateReceiveCount", "SequenceNumber"] {
        let digits = record.attributes.get(present).map(String::as_str).unwrap_or_default();
        assert!(!digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()), "{name}: {present}");
    }
}

#[test]
fn every_calendar_sample_has_the_ids_that_ingress_would_give_it() {
    for (name, records) in calendar_records() {
        assert!(!records.is_empty(), "{name}");
        for record in &records {
            check_the_record(&name, record, "CalendarSync.fifo");
            let sample = notification(record);
            let kind = sample["type"].as_str().expect("a type");
            if sample.get("data").is_none() {
                assert!(["reconcile", "calendar.backfill"].contains(&kind), "{name}: {kind}");
                let by_content = hex::encode(Sha256::digest(body(record)));
                assert_eq!(record.attributes["MessageDeduplicationId"], by_content, "{name}");
                continue;
            }
            let object = &sample["data"]["object"];
            let (entity, key) = if kind.starts_with("grant.") {
                ("grant", &object["grant_id"])
            } else {
                (
                    "event",
                    if object["master_event_id"].is_string() { &object["master_event_id"] } else { &object["id"] },
                )
            };
            let key = key.as_str().expect("samples have their ids");
            let id = sample["id"].as_str().expect("samples have an id");
            let group = &hex::encode(Sha256::digest(format!("{entity}:{key}")))[..32];
            assert_eq!(record.attributes["MessageGroupId"], group, "{name}");
            let deduplication = hex::encode(Sha256::digest(format!("calendar-sync:{id}")));
            assert_eq!(record.attributes["MessageDeduplicationId"], deduplication, "{name}");
        }
    }
}

#[test]
fn every_notetaker_sample_has_the_ids_that_ingress_would_give_it_and_says_what_its_name_says() {
    let records = notetaker_records();
    let expected = [
        ("attending", "notetaker.meeting_state", "attending"),
        ("available-links-expired", "notetaker.media", "available"),
        ("complete", "notetaker.media", "media_available"),
        ("created", "notetaker.created", "scheduled"),
        ("failed-entry", "notetaker.meeting_state", "failed_entry"),
        ("internal-only", "notetaker.media", "available"),
        ("lobby-timer", "notetaker.timer", ""),
        ("media-deleted", "notetaker.media", "media_deleted"),
        ("media-error", "notetaker.media", "media_error"),
        ("partial-transcript-alone", "notetaker.media", "available"),
        ("processing", "notetaker.media", "processing"),
        ("reconcile-all-accounts", "reconcile", ""),
        ("reconcile-one-account", "reconcile", ""),
        ("sound-alone-in-milliseconds", "notetaker.media", "available"),
        ("standalone", "notetaker.media", "available"),
        ("standalone-nowhere", "notetaker.media", "available"),
        ("taken-back", "notetaker.deleted", ""),
        ("unknown-attendee", "notetaker.media", "available"),
        ("waiting-for-entry", "notetaker.meeting_state", "connecting"),
    ];
    let names: Vec<&str> = records.keys().map(String::as_str).collect();
    assert_eq!(names, expected.map(|(name, ..)| name));
    let held = held_notetakers();
    for (name, kind, state) in expected {
        let [record] = records[name].as_slice() else { panic!("{name} has one record") };
        check_the_record(name, record, "NotetakerMedia.fifo");
        let sample = notification(record);
        assert_eq!(sample["type"], kind, "{name}");
        let Some(object) = sample.get("data").map(|data| &data["object"]) else {
            let by_content = hex::encode(Sha256::digest(body(record)));
            assert_eq!(record.attributes["MessageDeduplicationId"], by_content, "{name}");
            continue;
        };
        assert_eq!(object["state"].as_str().unwrap_or_default(), state, "{name}");
        let id = object["id"].as_str().expect("samples have an id");
        let group = &hex::encode(Sha256::digest(format!("notetaker:{id}")))[..32];
        assert_eq!(record.attributes["MessageGroupId"], group, "{name}");
        let notification = sample["id"].as_str().expect("samples have an id");
        let deduplication = hex::encode(Sha256::digest(format!("notetaker-media:{notification}")));
        assert_eq!(record.attributes["MessageDeduplicationId"], deduplication, "{name}");
        for (file, link) in object["media"].as_object().into_iter().flatten() {
            let link = link.as_str().expect("media are texts");
            let Some(place) = link.strip_prefix("{{").and_then(|link| link.strip_suffix("}}")) else { continue };
            assert_eq!(place.starts_with("expired-"), name == "available-links-expired", "{name}");
            let (_, place) = place.split_once(':').expect("a place");
            assert!(held.contains(place), "{name}: the demo's Nylas holds no {file} of it");
        }
    }
}

#[test]
fn every_onboarding_sample_has_the_ids_that_ingress_would_give_it() {
    let all = records("onboarding-transitions");
    let expected = [
        ("booked-by-a-stranger", "booking.created"),
        ("booked-without-participants", "booking.created"),
        ("booking-pending", "booking.pending"),
        ("booking-reminder", "booking.reminder"),
        ("bounced", "message.bounce_detected"),
        ("clicked", "message.link_clicked"),
        ("clicked-in-the-shape-of-the-recipe", "message.link_clicked"),
        ("late-timer", "onboarding.timer"),
        ("onboarding-completed", "customer.onboarding_completed"),
        ("opened", "message.opened"),
        ("replied-by-ourselves", "thread.replied"),
        ("signed-up", "customer.signed_up"),
        ("signed-up-with-markup-in-the-name", "customer.signed_up"),
    ];
    assert_eq!(all.keys().map(String::as_str).collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for (name, kind) in expected {
        let [record] = all[name].as_slice() else { panic!("{name} has one record") };
        check_the_record(name, record, "Onboarding.fifo");
        let sample = notification(record);
        assert_eq!(sample["type"], kind, "{name}");
        let object = &sample["data"]["object"];
        let key_of = |email: &str| hex::encode(Sha256::digest(format!("customer:{email}")))[..32].to_owned();
        let group = if let Some(email) = sample["email"].as_str() {
            format!("customer:{}", key_of(email))
        } else if let Some(label) = object["label"].as_str() {
            format!("customer:{}", &label[..32])
        } else if let Some(configuration) = object["configuration_id"].as_str() {
            format!("configuration:{configuration}")
        } else {
            format!("message:{}", object["origin"]["id"].as_str().expect("an id"))
        };
        assert_eq!(record.attributes["MessageGroupId"], hex::encode(Sha256::digest(group))[..32], "{name}");
        let deduplication = match sample["id"].as_str() {
            Some(id) => hex::encode(Sha256::digest(format!("onboarding-transitions:{id}"))),
            // Set by a schedule, which knows no id.
            None => hex::encode(Sha256::digest(body(record))),
        };
        assert_eq!(record.attributes["MessageDeduplicationId"], deduplication, "{name}");
    }
}

/// The files of the notetakers that the demo's Nylas holds, as samples name them.
fn held_notetakers() -> BTreeSet<String> {
    let text = fs::read_to_string(events("demo/mailboxes.json")).expect("the file can be read");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    let of = |account: &str, notetakers: &Value| -> Vec<String> {
        let files = |notetaker: &Value| -> Vec<String> {
            let id = notetaker["id"].as_str().expect("an id");
            let media = notetaker["media"].as_object().into_iter().flatten();
            media.map(|(file, _)| format!("{account}/{id}/{file}")).collect()
        };
        notetakers.as_array().into_iter().flatten().flat_map(files).collect()
    };
    let grants = file["grants"].as_array().expect("grants").iter();
    let mut held: BTreeSet<String> =
        grants.flat_map(|grant| of(grant["id"].as_str().expect("an id"), &grant["notetakers"])).collect();
    held.extend(of("standalone", &file["standalone_notetakers"]));
    held
}

/// The events that the demo's calendars hold, by account and id.
fn held_events() -> BTreeMap<(String, String), Value> {
    let of = |grant: Grant| {
        let id = grant.id;
        grant
            .events
            .into_iter()
            .map(move |event| ((id.clone(), event["id"].as_str().expect("an id").to_owned()), event))
    };
    demo_grants().into_iter().flat_map(of).collect()
}

#[test]
fn the_calendar_samples_are_what_their_names_say_and_end_as_the_demos_calendars_have_it() {
    let records = calendar_records();
    let names: Vec<&str> = records.keys().map(String::as_str).collect();
    let expected = [
        "account-expired",
        "account-is-back",
        "all-day-three-days",
        "backfill-one-calendar",
        "booked-through-the-scheduler",
        "call-created",
        "call-deleted",
        "call-moved",
        "internal-only",
        "meeting-cancelled",
        "meeting-created",
        "meeting-moved",
        "one-meeting-in-two-calendars",
        "own-event",
        "personal-block",
        "private",
        "reconcile-one-account",
        "series-created",
        "series-one-occurrence-edited",
        "series-with-exceptions",
        "transformed-untitled",
        "unknown-attendee",
    ];
    assert_eq!(names, expected);
    let sample = |name: &str| notification(&records[name][0]);
    let object = |name: &str| sample(name)["data"]["object"].clone();
    let ids = |names: [&str; 3]| names.map(object).map(|object| object["id"].clone());
    for names in
        [["meeting-created", "meeting-moved", "meeting-cancelled"], ["call-created", "call-moved", "call-deleted"]]
    {
        let [first, second, third] = ids(names);
        assert!(first == second && second == third, "{names:?} are one event");
    }
    assert_eq!(object("meeting-cancelled")["status"], "cancelled");
    assert!(object("call-deleted").get("when").is_none(), "a deletion carries ids alone");
    assert_eq!(object("all-day-three-days")["when"]["object"], "datespan");
    let [one, other] = records["one-meeting-in-two-calendars"].as_slice() else { panic!("two copies") };
    let [one, other] = [one, other].map(|record| notification(record)["data"]["object"].clone());
    assert!(one["ical_uid"] == other["ical_uid"] && one["grant_id"] != other["grant_id"] && one["id"] != other["id"]);
    assert_eq!(object("series-one-occurrence-edited")["master_event_id"], object("series-created")["id"]);
    let known = known_addresses();
    let known_among = |name: &str| {
        let people = object(name)["participants"].as_array().cloned().unwrap_or_default();
        people.iter().filter(|person| person["email"].as_str().is_some_and(|email| known.contains(email))).count()
    };
    assert_eq!((known_among("meeting-moved"), known_among("private")), (2, 1));
    assert_eq!((known_among("internal-only"), known_among("unknown-attendee")), (0, 0));

    let held = held_events();
    let mut newest: BTreeMap<(String, String), (i64, Value)> = BTreeMap::new();
    for record in records.values().flatten() {
        let sample = notification(record);
        let object = &sample["data"]["object"];
        let (Some(id), Some(grant)) = (object["id"].as_str(), object["grant_id"].as_str()) else { continue };
        let at = object["updated_at"].as_i64().or(sample["time"].as_i64()).expect("a time");
        let key = (grant.to_owned(), id.to_owned());
        if newest.get(&key).is_none_or(|(standing, _)| *standing < at) {
            newest.insert(key, (at, sample.clone()));
        }
    }
    for (key, (_, sample)) in newest {
        match sample["type"].as_str() {
            Some("event.deleted") => assert!(!held.contains_key(&key), "{key:?}"),
            _ if sample["data"]["object"].get("when").is_none() => assert!(held.contains_key(&key), "{key:?}"),
            _ => assert_eq!(held.get(&key), Some(&sample["data"]["object"]), "{key:?}"),
        }
    }
}

/// The support mails of the samples: what wrote each, and what the rules that the functions are built with take that of
/// people to be about.
const SUPPORT_MAILS: [(&str, MailClass, Option<Category>); 13] = [
    ("bill", MailClass::Human, Some(Category::Billing)),
    ("bounce", MailClass::Bounce, None),
    ("bug", MailClass::Human, Some(Category::Bugs)),
    ("incident", MailClass::Human, Some(Category::Incidents)),
    ("leaving-customer", MailClass::Human, Some(Category::ChurnRisk)),
    ("monitoring-notification", MailClass::Notification, None),
    ("out-of-office", MailClass::OutOfOffice, None),
    ("reply-in-thread", MailClass::Human, Some(Category::Incidents)),
    ("same-mail-again", MailClass::Human, Some(Category::Bugs)),
    ("stranger-quotes-a-ticket", MailClass::Human, Some(Category::Billing)),
    ("thank-you", MailClass::Human, Some(Category::General)),
    ("truncated", MailClass::Human, Some(Category::Bugs)),
    ("wish", MailClass::Human, Some(Category::FeatureRequests)),
];

#[test]
fn every_support_sample_has_the_ids_that_ingress_would_give_it() {
    let all = support_records();
    let mails = SUPPORT_MAILS.map(|(name, ..)| name);
    let mut expected: BTreeSet<&str> = mails.into_iter().collect();
    expected.extend(["mail-not-delivered", "reconcile-one-mailbox", "sent-by-the-team", "storm-summary"]);
    assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    for (name, records) in &all {
        let [record] = records.as_slice() else { panic!("{name} has one record") };
        check_the_record(name, record, "TicketTriage.fifo");
        let sample = notification(record);
        let object = &sample["data"]["object"];
        let group_of = |text: String| hex::encode(Sha256::digest(text))[..32].to_owned();
        let text = |value: &Value| value.as_str().expect("samples have their ids").to_owned();
        let (kind, group) = match name.as_str() {
            "reconcile-one-mailbox" => ("reconcile", "reconcile".to_owned()),
            "storm-summary" => ("triage.storm", group_of(format!("triage.storm:{}", text(&sample["desk"])))),
            "mail-not-delivered" => {
                ("message.bounce_detected", group_of(format!("message:{}", text(&object["origin"]["id"]))))
            }
            "truncated" => ("message.created.truncated", group_of(format!("thread:{}", text(&object["thread_id"])))),
            _ => ("message.created", group_of(format!("thread:{}", text(&object["thread_id"])))),
        };
        assert_eq!((&sample["type"], &record.attributes["MessageGroupId"]), (&Value::from(kind), &group), "{name}");
        let grant = if sample.get("data").is_some() { &object["grant_id"] } else { &sample["only_grant_ids"] };
        assert!(grant == SUPPORT_GRANT || name == "storm-summary", "{name}: {grant}");
        let deduplication = match sample["id"].as_str() {
            Some(id) => hex::encode(Sha256::digest(format!("ticket-triage:{id}"))),
            None => hex::encode(Sha256::digest(body(record))),
        };
        assert_eq!(record.attributes["MessageDeduplicationId"], deduplication, "{name}");
    }
}

/// A mail of a sample, with what the demo's support mailbox holds of it beside.
fn support_mail(name: &str) -> Message {
    let object = notification(&support_records()[name][0])["data"]["object"].clone();
    let held = support_mailbox().messages.into_iter().find(|held| held["id"] == object["id"]);
    let held = held.unwrap_or_else(|| panic!("the demo's support mailbox holds {name}"));
    for (field, value) in object.as_object().expect("an object") {
        assert_eq!(held[field], *value, "{name}: {field}");
    }
    serde_json::from_value(held).expect("a mail")
}

fn support_mailbox() -> Grant {
    demo_grants().into_iter().find(|grant| grant.id == SUPPORT_GRANT).expect("the demo has the support mailbox")
}

#[test]
fn the_support_samples_are_what_their_names_say() {
    let rules = Rules::standard().expect("the rules");
    let domains = CompanyDomains::parse([COMPANY]).expect("a domain");
    let company = Company { domains: &domains, loop_id: &LoopId::of_stack("sample") };
    for (name, class, category) in SUPPORT_MAILS {
        let mail = support_mail(name);
        let people = People::on(&mail);
        let verdict = class_of(&mail, &people, HeadersAtHand::All, company);
        assert_eq!(verdict.class, class, "{name}: {}", verdict.evidence);
        let subject = bare_subject(mail.subject.as_deref().unwrap_or_default());
        let said = new_text(mail.body.as_deref().expect("a body"), subject.forwards);
        let judged = rules.judge(&Look { subject: subject.text, text: &said.text, ..Look::default() });
        assert!(category.is_none_or(|category| judged.category == category), "{name}: {judged:?}");
        let quotes = said.left_out.contains(&LeftOut::QuotedHistory);
        assert_eq!(quotes, ["bug", "reply-in-thread", "same-mail-again"].contains(&name), "{name}");
    }
    let body = |name: &str| support_mail(name).body.expect("a body");
    assert!(body("bug").contains("invoice") && body("bug").contains("<blockquote"));

    let header = |name: &str, header: &str| support_mail(name).header(header).map(str::to_owned);
    let thread = |name: &str| support_mail(name).thread_id;
    for (answer, answered) in [
        ("reply-in-thread", "incident"),
        ("stranger-quotes-a-ticket", "bill"),
        ("sent-by-the-team", "wish"),
        ("out-of-office", "leaving-customer"),
        ("bounce", "sent-by-the-team"),
    ] {
        assert_eq!(header(answer, "In-Reply-To"), header(answered, "Message-ID"), "{answer}");
        assert_eq!(thread(answer), thread(answered), "{answer}");
    }
    let sample = |name: &str| notification(&support_records()[name][0]);
    let object = |name: &str| sample(name)["data"]["object"].clone();
    let domain = |name: &str| {
        let from = object(name)["from"][0]["email"].clone();
        from.as_str().and_then(|address| address.rsplit('@').next()).expect("an address").to_owned()
    };
    assert_eq!(domain("reply-in-thread"), domain("incident"));
    assert_ne!(domain("stranger-quotes-a-ticket"), domain("bill"));
    assert_eq!(object("truncated").get("body"), None);
    assert_eq!(object("same-mail-again"), object("bug"));
    assert_ne!(sample("same-mail-again")["id"], sample("bug")["id"]);
    let of_the_team = support_mail("sent-by-the-team");
    assert_eq!(of_the_team.folders, Some(vec!["SENT".to_owned()]));
    let bounced = object("mail-not-delivered")["origin"]["mime_id"].as_str().map(|id| format!("<{id}>"));
    assert_eq!(bounced.as_deref(), of_the_team.header("Message-ID"));
    let names = SUPPORT_MAILS.map(|(name, ..)| name).into_iter().chain(["sent-by-the-team"]);
    let notified: Vec<Value> = names.map(|name| object(name)["id"].clone()).collect();
    let missed = support_mailbox().messages.into_iter().filter(|held| !notified.contains(&held["id"])).count();
    assert_eq!(missed, 1, "the mail that Nylas never notified of, for the job to find");
}

/// The changed contacts of the samples.
const CONTACTS: [&str; 12] = [
    "changed",
    "changed-in-nothing-that-is-kept",
    "colleague",
    "conflict",
    "gone-from-the-address-book",
    "inbox",
    "microsoft-without-types",
    "never-log",
    "null-and-empty-fields",
    "same-notification-again",
    "truncated",
    "unknown-to-the-crm",
];

/// The jobs of the samples, and which account each is for.
const CONTACT_JOBS: [(&str, &str); 2] = [
    ("dry-run-one-account", "tobias.lindqvist@northwind.example"),
    ("one-accounts-share", "ines.duarte@northwind.example"),
];

#[test]
fn every_contact_sample_has_the_ids_that_ingress_or_the_functions_would_give_it() {
    let all = contact_records();
    let expected: BTreeSet<&str> = CONTACTS.into_iter().chain(CONTACT_JOBS.map(|(name, _)| name)).collect();
    assert_eq!(all.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    let grants = demo_grants();
    let account = |id: &str| grants.iter().find(|grant| grant.id == id).map(|grant| grant.email.as_str());
    for (name, records) in &all {
        let [record] = records.as_slice() else { panic!("{name} has one record") };
        check_the_record(name, record, "ContactSync.fifo");
        let sample = notification(record);
        let ids = [&record.attributes["MessageGroupId"], &record.attributes["MessageDeduplicationId"]];
        let Some(object) = sample.get("data").map(|data| &data["object"]) else {
            let job: SyncJob = serde_json::from_value(sample).unwrap_or_else(|error| panic!("{name}: {error}"));
            let message = job.to_message("contact-sync").expect("a message");
            assert_eq!(body(record), message.body, "{name}");
            assert_eq!(ids, [message.group.as_str(), &message.deduplication_id], "{name}");
            let of = job.grant_id.as_deref().and_then(account);
            assert!(CONTACT_JOBS.contains(&(name, of.expect("an account"))), "{name}");
            assert_eq!((job.share, job.dry_run), (name == "one-accounts-share", name == "dry-run-one-account"));
            continue;
        };
        let kind = if name == "truncated" { "contact.updated.truncated" } else { "contact.updated" };
        assert_eq!(sample["type"], kind, "{name}");
        let grant = object["grant_id"].as_str().expect("samples have an account");
        assert!(account(grant).is_some(), "{name}");
        let group = &hex::encode(Sha256::digest(format!("grant:{grant}")))[..32];
        let id = sample["id"].as_str().expect("samples have an id");
        assert_eq!(ids, [group, &hex::encode(Sha256::digest(format!("contact-sync:{id}")))], "{name}");
    }
}

#[test]
fn the_nightly_sample_is_what_the_schedule_hands_over() {
    let sample: Value = serde_json::from_str(&samples("contact-sync")["nightly"]).expect("JSON");
    let template = fs::read_to_string(events("../template.yaml")).expect("it can be read");
    assert!(template.contains(&format!("Input: '{sample}'")), "{sample}");
    let job: SyncJob = serde_json::from_value(sample).expect("a job");
    assert_eq!((job.kind.as_str(), job.grant_id, job.dry_run), (SYNC, None, false));
}

/// The contacts that the demo's address books hold, by account and id.
fn held_contacts() -> BTreeMap<(String, String), Value> {
    let text = |value: &Value| value.as_str().expect("contacts have an id").to_owned();
    let contacts = demo_grants().into_iter().flat_map(|grant| grant.contacts);
    contacts.map(|contact| ((text(&contact["grant_id"]), text(&contact["id"])), contact)).collect()
}

#[test]
fn the_contact_samples_are_what_their_names_say_and_end_as_the_demos_address_books_have_it() {
    let records = contact_records();
    let sample = |name: &str| notification(&records[name][0]);
    let object = |name: &str| sample(name)["data"]["object"].clone();
    let contact = |name: &str| serde_json::from_value::<Contact>(object(name)).expect("a contact");
    let emails = |name: &str| addresses(&sample(name));

    let crm = demo_crm();
    let in_crm = |name: &str| {
        let known: Vec<_> = emails(name).iter().flat_map(|address| crm.contacts_with(address)).collect();
        known.into_iter().next()
    };
    let says = |name: &str| {
        let contact = contact(name);
        (contact.phone_numbers.first().map(|phone| phone.number.clone()), Some(contact.job_title))
    };
    let marta = in_crm("changed").expect("she is in the CRM");
    let stands = (marta.phone, marta.job_title);
    assert_eq!(says("microsoft-without-types"), stands, "the other address book says what the CRM says");
    assert!(says("changed").0 != stands.0 && says("changed").1 != stands.1);
    assert_eq!(in_crm("microsoft-without-types").map(|contact| contact.id), Some(marta.id));
    let microsoft = contact("microsoft-without-types");
    assert!(microsoft.emails.iter().all(|email| email.kind.is_empty()));
    assert!(microsoft.phone_numbers.iter().all(|phone| phone.kind.is_empty()));
    assert_eq!(sample("same-notification-again")["id"], sample("changed")["id"]);
    assert_ne!(sample("same-notification-again"), sample("changed"), "the attempt is another");
    assert_eq!(object("same-notification-again"), object("changed"));
    assert_eq!(contact("changed-in-nothing-that-is-kept"), contact("changed"));
    assert_ne!(object("changed-in-nothing-that-is-kept"), object("changed"));
    let priyas = in_crm("conflict").and_then(|contact| contact.phone);
    assert!(priyas.is_some() && priyas != says("conflict").0);
    let sparse = object("null-and-empty-fields");
    assert!(sparse["job_title"].is_null() && sparse["company_name"] == "" && sparse["notes"].is_null());
    let missing = in_crm("null-and-empty-fields").expect("found by another of her addresses");
    assert!(missing.phone.is_none() && !emails("null-and-empty-fields").contains(&missing.email));
    assert!(in_crm("truncated").is_some_and(|contact| contact.phone.is_none()));
    assert!(in_crm("unknown-to-the-crm").is_none());
    assert!(in_crm("inbox").is_some());
    let of_the_company = |address: &String| address.ends_with(COMPANY_DOMAIN);
    let list = never_logged();
    let forbidden = |address: &String| list.forbids(&EmailAddress::parse(address).expect("an address")).is_some();
    let held = held_contacts();
    let mut newest: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut names = CONTACTS;
    names.sort_by_key(|name| sample(name)["time"].as_i64());
    for name in names {
        assert_eq!(emails(name).iter().all(of_the_company), name == "colleague", "{name}");
        assert_eq!(emails(name).iter().any(forbidden), name == "never-log", "{name}");
        assert_eq!(object(name)["source"] == "inbox", name == "inbox", "{name}");
        let contact = object(name);
        let key = [&contact["grant_id"], &contact["id"]].map(|id| id.as_str().expect("ids").to_owned()).into();
        assert_eq!(held.contains_key(&key), name != "gone-from-the-address-book", "{name}");
        newest.insert(key, contact);
    }
    for (key, mut contact) in newest {
        let Some(held) = held.get(&key) else { continue };
        if contact["id"] == object("truncated")["id"] {
            assert!(contact.get("notes").is_none() && held["notes"].is_string());
            contact["notes"] = held["notes"].clone();
        }
        assert_eq!(*held, contact, "{key:?}");
    }
}

#[test]
fn the_demos_address_books_bring_what_the_demo_shows() {
    let crm = demo_crm();
    let mut copies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ((account, id), contact) in held_contacts() {
        let emails = addresses(&serde_json::json!({ "data": { "object": contact } }));
        assert!(emails.iter().all(|address| address.ends_with(".example")), "{id}");
        for known in emails.iter().flat_map(|address| crm.contacts_with(address)) {
            copies.entry(known.id).or_default().insert(account.clone());
        }
    }
    let in_both = copies.values().filter(|accounts| accounts.len() == 2).count();
    assert!(in_both >= 2, "a person in two address books: {copies:?}");
    let notified: Vec<Value> = contact_records()
        .values()
        .flatten()
        .map(|record| notification(record)["data"]["object"]["id"].clone())
        .collect();
    let for_the_night = held_contacts().into_values().filter(|contact| !notified.contains(&contact["id"])).count();
    assert!(for_the_night >= 5, "only {for_the_night} contacts are left for the night");
}

#[test]
fn the_rule_that_the_readme_shows_can_be_used_and_takes_the_monitors_sample() {
    let readme = fs::read_to_string(events("../README.md")).expect("it can be read");
    let shown = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a rule");
    let rules = Rules::read(shown).unwrap_or_else(|problems| panic!("{problems}"));
    let mail = support_mail("monitoring-notification");
    let from = People::on(&mail).from.expect("a sender").to_string();
    let subject = mail.subject.expect("a subject");
    let judged = rules.judge(&Look { subject: &subject, from: &from, ..Look::default() });
    assert_eq!((judged.category, judged.opens_for), (Category::Incidents, vec![MailClass::Notification]));
}

#[test]
fn every_sample_stands_in_the_tables_of_the_readme() {
    let readme = fs::read_to_string(events("README.md")).expect("it can be read");
    for entry in fs::read_dir(events("")).expect("the folder can be listed") {
        let path = entry.expect("an entry").path();
        let folder = path.file_name().and_then(|name| name.to_str()).expect("names are plain").to_owned();
        if !path.is_dir() || folder == "demo" {
            continue;
        }
        let section = readme.split(&format!("\n## `{folder}/`\n")).nth(1);
        let section = section.and_then(|rest| rest.split("\n## ").next());
        let section = section.unwrap_or_else(|| panic!("no section of {folder}"));
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let listed: BTreeSet<&str> = rows.flat_map(|names| names.trim_end_matches('`').split("`, `")).collect();
        let there = samples(&folder);
        assert_eq!(there.keys().map(String::as_str).collect::<BTreeSet<_>>(), listed, "{folder}");
    }
}

#[test]
fn every_person_of_the_samples_lives_in_an_example_domain() {
    let records = email_records();
    let mut seen = 0;
    let (calendars, support, contacts) = (calendar_records(), support_records(), contact_records());
    let all = records.iter().chain(&calendars).chain(&support).chain(&contacts);
    for (name, record) in all.flat_map(|(name, records)| records.iter().map(move |record| (name, record))) {
        let Ok(notification) = serde_json::from_str::<Value>(body(record)) else {
            continue;
        };
        for address in addresses(&notification) {
            assert!(address.to_lowercase().ends_with(".example"), "{name}: {address}");
            seen += 1;
        }
    }
    assert!(seen >= 20, "only {seen} addresses were seen");
}

#[test]
fn the_email_samples_are_what_their_names_say() {
    let records = email_records();
    let names: Vec<&str> = records.keys().map(String::as_str).collect();
    let expected = [
        "auto-reply",
        "batch-with-a-record-that-is-not-json",
        "bounce",
        "calendar-invitation",
        "cleaned",
        "draft",
        "draft-microsoft-folder",
        "duplicate-notification",
        "inbound-known-contact",
        "internal-only",
        "metadata",
        "never-log",
        "newsletter",
        "notification",
        "one-mail-in-two-mailboxes",
        "out-of-office",
        "outbound-microsoft-folder",
        "outbound-two-recipients-and-cc",
        "own-mail",
        "plus-alias",
        "reconcile-one-mailbox",
        "several-contacts",
        "spam-folder",
        "transformed",
        "truncated",
        "two-companies",
        "unknown-sender",
    ];
    assert_eq!(names, expected);
    let only = |name: &str| notification(&records[name][0]);
    let object = |name: &str| only(name)["data"]["object"].clone();
    let company = |address: &String| address.to_lowercase().ends_with(COMPANY_DOMAIN);

    assert_eq!(known_people(&only("inbound-known-contact")), 1);
    assert_eq!(object("inbound-known-contact")["folders"][0], "INBOX");

    let outbound = object("outbound-two-recipients-and-cc");
    assert_eq!(outbound["folders"][0], "SENT");
    assert_eq!((outbound["to"].as_array().map(Vec::len), outbound["cc"].as_array().map(Vec::len)), (Some(2), Some(1)));
    assert_eq!(known_people(&only("outbound-two-recipients-and-cc")), 3);

    assert!(addresses(&only("internal-only")).iter().all(company));
    assert_eq!(known_people(&only("unknown-sender")), 0);
    assert!(!addresses(&only("unknown-sender")).iter().all(company));
    assert_eq!(object("draft")["folders"][0], "DRAFT");
    assert_eq!(known_people(&only("several-contacts")), 3);
    assert!(addresses(&only("several-contacts")).iter().any(|address| *address != address.to_lowercase()));

    let [first, second] = records["duplicate-notification"].as_slice() else { panic!("a duplicate has two records") };
    assert_eq!(notification(first)["id"], notification(second)["id"]);
    assert_ne!(body(first), body(second), "the attempt changes the bytes");
    assert_ne!(first.message_id, second.message_id);

    let kind = |name: &str| only(name)["type"].as_str().expect("a type").to_owned();
    for (name, suffix) in
        [("truncated", "truncated"), ("transformed", "transformed"), ("cleaned", "cleaned"), ("metadata", "metadata")]
    {
        assert_eq!(kind(name), format!("message.created.{suffix}"));
    }
    assert_eq!(object("truncated").get("body"), None);
    assert_eq!(object("transformed").get("from"), None);
    assert!(object("metadata")["headers"].is_array() && object("metadata").get("snippet").is_none());
    assert_eq!(known_people(&only("two-companies")), 2);
    assert_eq!(known_people(&only("plus-alias")), 0, "nobody has the tagged address itself");
    let [one, other] = records["one-mail-in-two-mailboxes"].as_slice() else { panic!("two copies") };
    assert_ne!(notification(one)["data"]["object"]["grant_id"], notification(other)["data"]["object"]["grant_id"]);
    let list = never_logged();
    let forbidden =
        |address: &String| EmailAddress::parse(address).is_some_and(|address| list.forbids(&address).is_some());
    for name in names {
        let on_the_list = records[name]
            .iter()
            .filter_map(|record| serde_json::from_str(body(record)).ok())
            .any(|notification: Value| addresses(&notification).iter().any(forbidden));
        assert_eq!(on_the_list, name == "never-log", "{name}");
    }

    let batch = &records["batch-with-a-record-that-is-not-json"];
    let readable: Vec<bool> = batch.iter().map(|record| serde_json::from_str::<Value>(body(record)).is_ok()).collect();
    assert_eq!(readable, [true, false, true]);
    let groups: BTreeSet<&String> = batch.iter().map(|record| &record.attributes["MessageGroupId"]).collect();
    assert_eq!(groups.len(), 3);
}

#[test]
fn every_folder_of_the_samples_is_in_the_demos_mailboxes() {
    Nylas::builder().grants_file(&events("demo/mailboxes.json")).expect("the stand-in takes the demo's mailboxes");
    let grants = demo_grants();
    let records = email_records();
    for record in records.values().flatten() {
        let Ok(notification) = serde_json::from_str::<Value>(body(record)) else {
            continue;
        };
        let object = &notification["data"]["object"];
        if notification["type"] == "reconcile" {
            assert!(grants.iter().any(|grant| notification["grant_id"] == grant.id.as_str()));
            continue;
        }
        let grant =
            grants.iter().find(|grant| object["grant_id"] == grant.id.as_str()).expect("the demo has the grant");
        let held = grant.messages.iter().find(|message| message["id"] == object["id"]);
        let folders = object.get("folders").or(held.map(|message| &message["folders"]));
        for folder in folders.and_then(Value::as_array).expect("folders") {
            assert!(grant.folders.iter().any(|known| known["id"] == *folder), "{folder} of {}", grant.email);
        }
    }
    let sent = grants.iter().find_map(|grant| grant.folder_id("\\Sent")).expect("the Microsoft mailbox has one");
    assert_eq!(notification(&records["outbound-microsoft-folder"][0])["data"]["object"]["folders"][0], sent);
}

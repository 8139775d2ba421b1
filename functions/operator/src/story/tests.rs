//! The command `story`, in process: what is told of each kind of id, and what is not known.

use super::testing::MemoryRecords;
use super::*;
use crate::command::Request;
use crate::testing::{InMemory, invocation, operator};
use shared::domain::decision::Decision;
use shared::engine::testing::KeptLog;
use shared::meetings::copy_key;

/// Puts a decision record.
pub fn decided(records: &MemoryRecords, function: &str, notification: &str, object: &str, fields: Value) {
    let mut item = json!({
        "function": function, "notification_id": notification, "trigger": "message.created", "object_id": object,
        "grant_id": "g-1", "state": "done", "fence": 1, "content": "digest",
        "queued_at": "2026-03-01T09:58:00.000Z", "first_claimed_at": "2026-03-01T09:58:01.000Z",
        "updated_at": "2026-03-01T09:58:02.000Z",
    });
    let Value::Object(fields) = fields else { panic!("an object") };
    item.as_object_mut().expect("an object").extend(fields);
    records.put(Shelf::Decisions, &format!("{function}#{notification}"), item);
}

fn live(became: &str, facts: &Value) -> Value {
    json!({
        "state": "live", "became": became, "version": { "sequence": 0, "changed_at": 0 }, "facts": facts,
        "revision": 1, "updated_at": "2026-03-01T09:58:02.500Z",
    })
}

async fn story(operator: &Operator<InMemory>, event: Value) -> Told {
    match operator.answer(&event, &invocation()).await.expect("an answer") {
        Answer::Told(told) => told,
        other => panic!("{other:?}"),
    }
}

fn whats(told: &Told) -> Vec<String> {
    told.rows
        .iter()
        .map(|row| format!("{} {}", row["function"].as_str().expect("text"), row["what"].as_str().expect("text")))
        .collect()
}

fn link_within(grant: &str, id: &str, kind: &str) -> String {
    let keys = link::keys_within(grant, id);
    keys.into_iter().find(|key| key.starts_with(&format!("{kind}#"))).expect("a key")
}

#[tokio::test]
async fn logged_mail_is_told_by_its_message_and_by_its_notification_from_arrival_to_the_crm() {
    let operator = operator();
    let decision = Decision::logged("known contact", "act-1").with("contact_ids", vec!["c-1"]);
    decided(&operator.records, "email-activity", "n-1", "m-1", json!({ "outcome": "logged", "decision": decision }));
    operator.records.put(Shelf::Links, &link_within("g-1", "m-1", "mail-copy"), live("digest", &json!({})));
    let facts = json!({ "notification_id": "n-1", "message_id": "m-1", "grant_id": "g-1" });
    operator.records.put(Shelf::Links, "mail#digest", live("act-1", &facts));
    for id in ["m-1", "n-1", "email-activity#n-1"] {
        let told = story(&operator, json!({ "command": "story", "id": id })).await;
        let expected = ["arrived", "taken up", "decided", "written", "stands", "stands"];
        assert_eq!(whats(&told), expected.map(|what| format!("email-activity {what}")), "{id}");
        assert!(told.ready && told.table.contains("arrived"), "{told:?}");
        assert!(told.text.contains("logged: known contact; it is the CRM's activity act-1."), "{}", told.text);
    }
}

#[tokio::test]
async fn merged_copy_names_the_mail_that_was_logged_first() {
    let operator = operator();
    let decision = Decision::merged("another mailbox's copy", "act-1");
    decided(&operator.records, "email-activity", "n-2", "m-2", json!({ "outcome": "merged", "decision": decision }));
    operator.records.put(Shelf::Links, &link_within("g-1", "m-2", "mail-copy"), live("digest", &json!({})));
    let facts = json!({ "notification_id": "n-1", "message_id": "m-1", "grant_id": "g-0" });
    operator.records.put(Shelf::Links, "mail#digest", live("act-1", &facts));
    let told = story(&operator, json!({ "command": "story", "id": "m-2" })).await;
    let first = "The mail is the CRM's activity act-1, logged first from the message m-1 of the account g-0 (notification n-1).";
    assert!(told.text.contains(first), "{}", told.text);
    assert!(told.text.contains("merged: another mailbox's copy"), "{}", told.text);
}

#[tokio::test]
async fn one_id_that_is_many_things_is_told_as_all_of_them() {
    let operator = operator();
    let (records, id) = (&operator.records, "x-1");
    decided(records, "email-activity", "n-1", id, json!({ "decision": Decision::skipped("internal mail") }));
    decided(records, "ticket-triage", id, "m-9", json!({ "decision": Decision::logged("a new ticket", "T-1") }));
    decided(records, "ticket-triage", "n-8", "m-9", json!({ "decision": Decision::merged("notified again", "T-1") }));
    let ticket = json!({ "id": id, "participants": ["dana@acme.example"], "category": "bugs", "priority": "low" });
    records.put(Shelf::Links, "ticket#x-1", live(id, &ticket));
    records.put(Shelf::Links, "ticket#T-1", live("T-1", &json!({})));
    let told = story(&operator, json!({ "command": "story", "id": id })).await;
    let keys: std::collections::BTreeSet<&str> = told.rows.iter().filter_map(|row| row["key"].as_str()).collect();
    assert_eq!(
        keys.into_iter().collect::<Vec<_>>(),
        ["email-activity#n-1", "ticket#T-1", "ticket#x-1", "ticket-triage#x-1"]
    );
    assert!(told.text.contains("1 more record is about the same object: make story ID=m-9"), "{}", told.text);
}

#[tokio::test]
async fn id_that_came_with_other_content_is_told_with_all_its_contents() {
    let operator = operator();
    decided(&operator.records, "calendar-sync", "n-1", "e-1", json!({ "decision": Decision::done("known contact") }));
    decided(
        &operator.records,
        "calendar-sync",
        "n-1~0123456789abcdef",
        "e-1",
        json!({
            "notification_id": "n-1", "decision": Decision::skipped("older than what is known"),
        }),
    );
    let told = story(&operator, json!({ "command": "story", "id": "n-1" })).await;
    let decided = whats(&told).into_iter().filter(|what| what == "calendar-sync decided").count();
    assert_eq!(decided, 2, "{told:?}");
    assert!(told.rows.iter().any(|row| row["why"].as_str().is_some_and(|why| why.contains("other content before"))));
}

#[tokio::test]
async fn event_is_found_by_the_account_that_is_given_when_its_records_are_gone() {
    let operator = operator();
    // Ids of Exchange are long and hold anything.
    let id = format!("{}/+ ~#=", "AAMkAGI2TG93AAA=".repeat(9));
    operator.records.put(Shelf::Links, copy_key("g-1", &id).as_str(), live("meeting-digest", &json!({})));
    let facts = json!({ "became": "crm-5", "copies": { "external_id": id, "known": [{}] } });
    operator.records.put(Shelf::Links, "meeting#meeting-digest", live("crm-5", &facts));
    let told = story(&operator, json!({ "command": "story", "id": id, "grant_id": "g-1" })).await;
    assert!(told.ready && told.text.contains("is the CRM's meeting crm-5 under the key"), "{}", told.text);
    assert!(told.text.contains("records live 35 days"), "{}", told.text);
    let unknown = story(&operator, json!({ "command": "story", "id": id })).await;
    assert!(!unknown.ready && unknown.text.contains("GRANT=<its Nylas grant>"), "{}", unknown.text);
}

#[tokio::test]
async fn held_notes_wait_for_their_people_and_a_dead_letter_asks_for_a_person() {
    let operator = operator();
    let held = Decision::held("no known contact").waiting_for(vec!["dana@acme.example".to_owned()]);
    decided(&operator.records, "notetaker-media", "n-1", "nt-1", json!({ "decision": held, "waiting_grant": "g-1" }));
    let told = story(&operator, json!({ "command": "story", "id": "nt-1" })).await;
    assert!(told.ready, "it goes on by itself");
    assert_eq!(told.rows.last().map(|row| &row["what"]), Some(&json!("waits")));
    assert!(told.table.contains("dana@acme.example"), "{}", told.table);

    let dead = json!({
        "state": "failed", "outcome": "failed", "dead_lettered_by": "notetaker-media", "class": "nylas.grant_expired",
        "reason": "the grant has expired", "failures": 1, "last_failed_at": "2026-03-01T09:59:00.000Z",
    });
    decided(&operator.records, "notetaker-media", "n-2", "nt-1", dead);
    operator.records.put(Shelf::Links, "account#g-1", live("expired", &json!({})));
    let told = story(&operator, json!({ "command": "story", "id": "nt-1" })).await;
    assert!(!told.ready);
    let first = told.text.lines().next().unwrap_or_default();
    assert!(first.contains("dead-letter queue") && first.ends_with("make redrive ID=n-2"), "{}", told.text);
    assert!(told.text.contains("The account g-1 has expired"), "{}", told.text);
}

#[tokio::test]
async fn customer_is_told_by_the_address_by_the_event_of_the_product_and_by_the_booking_page() {
    let operator = operator();
    let records = &operator.records;
    let customer = json!({
        "email": "dana@acme.example", "state": "welcome_sent", "run": 1, "version": 2, "armed": { "follow_up": 2 },
        "due": { "follow_up": "2026-03-03T09:00:00Z" },
        "mails": { "welcome": { "progress": "sent", "sent_at": "2026-03-01T09:00:00Z", "message_id": "sent-1" } },
        "page": { "slug": "s", "configuration_id": "conf-1" },
    });
    records.put(Shelf::Customers, "dana@acme.example", customer);
    records.put(Shelf::Links, "customer#0123", live("dana@acme.example", &json!({})));
    records.put(Shelf::Links, "configuration#conf-1", live("dana@acme.example", &json!({})));
    let done = Decision::done("signed_up: – → new").with("customer", "0123");
    decided(
        records,
        "onboarding-transitions",
        "sign-up-7",
        "sign-up-7",
        json!({ "decision": done, "trigger": "customer.signed_up" }),
    );
    let opened = Decision::done("open: welcome_sent → engaged (soft)");
    decided(
        records,
        "onboarding-transitions",
        "n-open",
        "sent-1",
        json!({ "decision": opened, "trigger": "message.opened" }),
    );
    for id in ["Dana@Acme.example", "sign-up-7", "conf-1", "0123"] {
        let told = story(&operator, json!({ "command": "story", "id": id })).await;
        assert!(
            told.text.contains("stands at welcome_sent in run 1, version 2; armed: follow_up at 2026-03-03T09:00:00Z."),
            "{id}: {}",
            told.text
        );
        assert!(
            told.rows.iter().any(|row| row["key"] == "onboarding-transitions#n-open"),
            "{id}: what Nylas told of its mails"
        );
        assert!(whats(&told).contains(&"onboarding-transitions is due".to_owned()), "{id}");
    }
}

#[tokio::test]
async fn nothing_known_is_said_with_where_else_to_look_and_no_log_holds_an_id_that_is_an_address() {
    let operator = operator();
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let told = story(&operator, json!({ "command": "story", "id": "dana@acme.example" })).await;
    drop(guard);
    assert!(!told.ready && told.rows.is_empty() && told.table.is_empty());
    for words in ["make reconcile", "filter notification.id = \"dana@acme.example\"", "35 days"] {
        assert!(told.text.contains(words), "{words}: {}", told.text);
    }
    assert!(log.text().contains("decisions=0") && !log.text().contains("dana"), "{}", log.text());
}

#[tokio::test]
async fn grant_that_is_well_is_told_only_to_who_asks_for_it() {
    let operator = operator();
    decided(
        &operator.records,
        "email-activity",
        "n-1",
        "m-1",
        json!({ "decision": Decision::skipped("internal mail") }),
    );
    operator.records.put(Shelf::Links, "account#g-1", live("connected", &json!({})));
    let told = story(&operator, json!({ "command": "story", "id": "m-1" })).await;
    assert!(told.rows.iter().all(|row| row["key"] != "account#g-1"));
    let told = story(&operator, json!({ "command": "story", "id": "g-1" })).await;
    assert!(told.rows.iter().any(|row| row["key"] == "account#g-1"), "{told:?}");
}

#[tokio::test]
async fn table_that_is_down_is_an_error_that_says_what_to_do() {
    let mut down = operator();
    down.records.down = true;
    let event = json!({ "command": "story", "id": "n-1" });
    let error = down.answer(&event, &invocation()).await.expect_err("it is down").to_string();
    assert_eq!(error, "the story cannot be told: the table is down; nothing was changed, give the command again");
}

#[test]
fn story_is_of_one_id_within_reason() {
    let refused = |event: Value| Request::read(&event, invocation().now).expect_err("refused").to_string();
    assert!(refused(json!({ "command": "story" })).contains("`id` is missing"));
    assert!(refused(json!({ "command": "story", "id": " " })).contains("`id` is empty"));
    assert!(refused(json!({ "command": "story", "id": "x".repeat(1001) })).contains("1001 bytes long"));
    assert!(refused(json!({ "command": "story", "id": "m", "grant_id": "a@b.example" })).contains("Nylas grant id"));
    assert!(refused(json!({ "command": "story", "id": "m", "kind": "message" })).contains("unknown field `kind`"));
}

#[test]
fn id_is_quoted_where_a_shell_would_read_it() {
    assert_eq!(quoted("AAMk=/+_-.:1"), "AAMk=/+_-.:1");
    assert_eq!(quoted("a b'c$"), r"'a b'\''c$'");
}

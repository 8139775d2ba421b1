//! One contact that has changed.

use super::*;
use serde_json::to_value;

fn notification(id: &str, contact: &Value) -> String {
    json!({
        "specversion": "1.0", "type": "contact.updated", "id": id, "time": NOW,
        "data": { "application_id": "app", "object": contact },
    })
    .to_string()
}

fn told(id: &str, phone: &str) -> Value {
    json!({
        "id": id, "grant_id": "g", "object": "contact", "source": "address_book",
        "emails": [{ "email": "dana@acme.example" }], "phone_numbers": [{ "number": phone, "type": "work" }],
    })
}

fn night(phone: &str) -> Night {
    let night = Night::new();
    night.crm.holds("c1", &["dana@acme.example"], None);
    night.books.connects("g", "valid", vec![contact("1", "dana@acme.example", phone)]);
    night
}

#[tokio::test(start_paused = true)]
async fn changed_contact_is_written_at_once_and_once() {
    let night = night("+1 202 555 0100");
    let decision = night.process(&notification("n1", &told("1", "+1 202 555 0100"))).await.expect("a decision");
    assert_eq!((decision.outcome, decision.became.as_deref()), (Outcome::Logged, Some("c1")));
    assert_eq!(decision.facts["written"], json!(["phone"]));
    assert!(!to_value(&decision).expect("JSON").to_string().contains("5550100"), "no value stands in a decision");
    let again = night.process(&notification("n2", &told("1", "+1 202 555 0100"))).await.expect("a decision");
    assert_eq!(again.outcome, Outcome::Skipped);
    assert_eq!((night.crm.writes().len(), night.crm.lookups()), (1, 1));
    assert_eq!(night.books.made.load(Ordering::SeqCst), 1, "what is known already is not even fetched");
}

#[tokio::test(start_paused = true)]
async fn field_that_the_crm_does_not_have_is_a_reason_and_no_failure() {
    let night = night("+1 202 555 0100");
    *night.crm.lacks.lock().expect("not poisoned") = Some(ContactField::Phone);
    let decision = night.process(&notification("n1", &told("1", "+1 202 555 0100"))).await.expect("a decision");
    assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Skipped, "the CRM has no field for it"));
    assert_eq!(decision.facts["not_offered"], json!(["phone"]));
    assert!(night.crm.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn old_notification_writes_what_stands_now() {
    let night = night("+1 202 555 0199");
    night.process(&notification("n1", &told("1", "+1 202 555 0100"))).await.expect("a decision");
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550199"));
}

#[tokio::test(start_paused = true)]
async fn truncated_notification_is_fetched_and_one_of_a_contact_that_is_gone_is_skipped() {
    let night = night("+1 202 555 0100");
    let body = notification("n1", &json!({ "id": "1", "grant_id": "g" }))
        .replace("contact.updated", "contact.updated.truncated");
    assert_eq!(night.process(&body).await.expect("a decision").outcome, Outcome::Logged);
    let gone = night.process(&notification("n2", &told("404", "+1 202 555 0100"))).await.expect("a decision");
    assert_eq!(gone.reason, "gone from the address book");
}

#[tokio::test(start_paused = true)]
async fn contact_of_a_source_that_is_not_wanted_is_left_alone() {
    let night = night("+1 202 555 0100");
    let mut object = told("1", "+1 202 555 0100");
    object["source"] = json!("inbox");
    let decision = night.process(&notification("n1", &object)).await.expect("a decision");
    assert_eq!(decision.reason, "of a source that is not wanted");
    assert_eq!(night.books.made.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn edit_of_a_person_is_kept_here_too() {
    let mut night = night("+1 202 555 0100");
    night.sync(json!({ "type": "contacts.sync" })).await;
    night.crm.edit("c1", ContactField::Phone, Some("+1 202 555 0777"));
    night.books.puts("g", contact("1", "dana@acme.example", "+1 202 555 0199"));
    night.wait(DAY);
    let decision = night.process(&notification("n1", &told("1", "+1 202 555 0199"))).await.expect("a decision");
    assert_eq!((decision.outcome, decision.reason.as_str()), (Outcome::Skipped, "somebody's own values are kept"));
    assert_eq!(decision.facts["kept"], json!(["phone"]));
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+1 202 555 0777"));
}

#[tokio::test(start_paused = true)]
async fn copy_that_a_notification_told_of_counts_as_the_one_that_changed_last() {
    let mut night = night("+1 202 555 0100");
    night.books.connects("h", "valid", vec![titled("1", "dana@acme.example", "+1 202 555 0111", "Buyer")]);
    night.sync(json!({ "type": "contacts.sync" })).await;
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550111"), "it says more");
    night.books.puts("g", contact("1", "dana@acme.example", "+1 202 555 0199"));
    night.wait(60);
    night.process(&notification("n1", &told("1", "+1 202 555 0199"))).await.expect("a decision");
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550199"));
}

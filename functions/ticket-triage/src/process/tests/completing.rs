//! What a notification lacks is fetched before anything is decided.

use super::*;

/// A notification of this type with an object of its own.
fn notification(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "id": "n1", "source": "/google/emails/realtime", "data": {"object": object}})
}

/// An incident as Nylas holds it; the body alone tells that it is one.
fn held() -> Value {
    mail(json!({"body": "<p>Your API is down.</p>", "snippet": "Hello,"}))
}

async fn opened_by(kind: &str, object: &Value) -> (Desk, Decision) {
    let desk = Desk::that_acknowledges();
    desk.nylas.holds(&held());
    let decision = desk.process(&notification(kind, object)).await.expect("a decision");
    (desk, decision)
}

fn without(fields: &[&str]) -> Value {
    let mut object = held();
    for field in fields {
        object.as_object_mut().expect("an object").remove(*field);
    }
    object
}

#[tokio::test]
async fn body_and_headers_that_a_notification_lacks_are_fetched_before_anything_is_decided() {
    for (kind, object) in [
        ("message.created", without(&["headers"])),
        ("message.created.truncated", without(&["body", "headers"])),
        ("message.created.truncated", without(&["body"])),
        ("message.created.transformed", json!({"id": "m1", "grant_id": "g1"})),
        ("message.created.transformed", without(&["body", "headers", "subject", "to"])),
        ("message.created.transformed", without(&["body"])),
        ("message.created.metadata", without(&["body", "snippet", "attachments"])),
        ("message.created.cleaned.transformed.truncated", without(&["body", "headers"])),
        ("message.created", without(&["from", "headers"])),
        ("message.created", without(&["folders"])),
    ] {
        let (desk, decision) = opened_by(kind, &object).await;
        assert_eq!(decision.facts["category"], "incidents", "{kind} {object}");
        assert_eq!(desk.tickets.opened()[0].body, "Your API is down.", "{kind} {object}");
        assert_eq!(decision.facts["acknowledgement"], "sent", "all headers are known: {kind} {object}");
        assert_eq!(desk.tickets.opened()[0].subject.as_deref(), Some("A question"), "{kind} {object}");
    }
}

#[tokio::test]
async fn mark_of_a_machine_that_only_nylas_shows_decides_in_time() {
    let desk = Desk::that_acknowledges();
    let marked = headers("m1", &[("Auto-Submitted", "auto-replied")]);
    desk.nylas.holds(&mail(json!({"headers": marked})));
    for kind in ["message.created", "message.created.truncated", "message.created.transformed"] {
        let decision = desk.process(&notification(kind, &without(&["body", "headers"]))).await.expect("a decision");
        assert_eq!(decision.reason, "automatic mail: auto-reply", "{kind}");
    }
    assert!(desk.tickets.opened().is_empty() && desk.nylas.sent().is_empty());
}

#[tokio::test]
async fn notification_of_which_nothing_can_be_read_is_fetched_by_its_ids() {
    for odd in [
        json!({"id": "m1", "grant_id": "g1", "from": 5}),
        json!({"id": "m1", "grant_id": "g1", "from": "Dana", "to": {"email": "x"}, "headers": "none"}),
        json!({"id": "m1", "grant_id": "g1", "attachments": 1, "body": {"html": "x"}, "folders": null}),
    ] {
        let (desk, decision) = opened_by("message.created", &odd).await;
        assert_eq!(decision.to_string(), "logged: a new ticket", "{odd}");
        assert_eq!(desk.tickets.opened()[0].body, "Your API is down.", "{odd}");
    }
    let desk = Desk::new();
    for object in [json!({"from": 5}), json!({"id": "m1"}), json!({"id": "m1", "grant_id": " "})] {
        let failure = desk.process(&notification("message.created", &object)).await.expect_err("no ids");
        assert!(matches!(failure, Failure::Permanent { class: "body.incomplete", .. }), "{object}: {failure:?}");
    }
}

#[tokio::test]
async fn mail_that_is_gone_at_nylas_before_anything_is_known_of_it_is_skipped_for_now() {
    let desk = Desk::new();
    for (kind, object) in [
        ("message.created.transformed", json!({"id": "m1", "grant_id": "g1"})),
        ("message.created", json!({"id": "m1", "grant_id": "g1", "from": 5})),
        ("message.created", without(&["from", "body"])),
    ] {
        let decision = desk.process(&notification(kind, &object)).await.expect("a decision");
        assert_eq!(decision.to_string(), "skipped: no longer at Nylas", "{kind} {object}");
        assert!(decision.passing, "it may be moved, and come back under its id");
    }
    assert!(desk.tickets.opened().is_empty());
}

#[tokio::test]
async fn mail_that_is_gone_but_whose_sender_is_known_has_a_ticket_of_what_was_told_and_no_answer() {
    let desk = Desk::that_acknowledges();
    let object = mail(json!({"snippet": "Your API is down", "body": null, "headers": null}));
    let decision = desk.process(&notification("message.created.truncated", &object)).await.expect("a decision");
    assert_eq!(
        (decision.reason.as_str(), desk.tickets.opened()[0].body.as_str()),
        ("a new ticket", "Your API is down")
    );
    assert_eq!(decision.facts["headers"], "none: no longer at Nylas");
    assert_eq!(decision.facts["acknowledgement"], "withheld: the headers are not known");
}

#[tokio::test]
async fn nylas_that_is_down_is_tried_again() {
    let desk = Desk::new();
    desk.faults.take_down("nylas.message");
    let failure = desk.tries("n1", &held()).await.expect_err("down");
    assert!(matches!(failure, Failure::Transient { class: "nylas.unavailable", .. }), "{failure:?}");
    desk.faults.bring_back("nylas.message");
    assert_eq!(desk.receives("n1", &held()).await.to_string(), "logged: a new ticket");
}

#[tokio::test]
async fn mail_of_a_mailbox_without_the_senders_headers_has_its_ticket_and_no_answer() {
    let desk = Desk::that_acknowledges();
    desk.nylas.connects("imap", "imap", "support@northwind.example", "valid");
    let decision = desk.receives("n1", &mail(json!({"grant_id": "imap"}))).await;
    assert_eq!(decision.to_string(), "logged: a new ticket");
    assert_eq!(decision.facts["acknowledgement"], "withheld: the headers are not known");
}

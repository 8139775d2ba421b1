//! The command `replay`, in process: what goes where, what is a duplicate, and what stays in the unroutable queue.

use super::testing::Done;
use super::*;
use crate::story::tests::decided;
use crate::testing::{InMemory, MemoryMailboxes, nylas_is_slow};
use crate::testing::{invocation, operator};
use shared::domain::notification::content_digest;
use shared::domain::queue_message::GroupId;
use shared::engine::testing::KeptLog;
use std::sync::atomic::Ordering;

const RUN: &str = "8d5a3f1e-1c1b-4a55-9c7e-0f9a6b2d7c11";

fn body(id: &str, grant: &str) -> String {
    format!(
        r#"{{"specversion":"1.0", "id":"{id}","type":"message.created","data":{{"object":{{"id":"m-1","thread_id":"t-1","grant_id":"{grant}"}} }} }}"#
    )
}

async fn told(operator: &Operator<InMemory>, event: Value) -> Told {
    match operator.answer(&event, &invocation()).await.expect("an answer") {
        Answer::Told(told) => told,
        other => panic!("{other:?}"),
    }
}

fn becomes(told: &Told) -> Vec<&str> {
    told.rows.iter().filter_map(|row| row["becomes"].as_str()).collect()
}

fn parked(receipt: &str, body: &str) -> Parked {
    Parked {
        receipt: receipt.to_owned(),
        message_id: format!("sqs-{receipt}"),
        parked_at: Some(invocation().now),
        body: Ok(body.as_bytes().to_vec()),
    }
}

#[tokio::test]
async fn replay_is_shown_first_and_then_goes_the_ordinary_way_under_a_fresh_deduplication_id() {
    let operator = operator();
    let body = body("n-1", "rep");
    let shown = told(&operator, json!({ "command": "replay", "notification": body })).await;
    assert_eq!(becomes(&shown), ["would be replayed"]);
    let row = &shown.rows[0];
    assert_eq!((&row["queue"], &row["group_kind"]), (&json!("email-activity"), &json!("thread")));
    assert!(operator.replays.done().is_empty(), "nothing was done");
    let live = shown.again.expect("the event that does it");
    assert_eq!(live, json!({ "command": "replay", "notification": body, "dry_run": false }));

    let done = told(&operator, live).await;
    assert_eq!((becomes(&done), done.ready, done.again.clone()), (vec!["replayed"], true, None));
    let own = NotificationId::of_our_own("replay", &format!("n-1:{RUN}"));
    let place =
        FifoPlace { group: GroupId::of("thread", "t-1"), deduplication_id: deduplication_id("email-activity", &own) };
    assert_eq!(operator.replays.sent(), [(Destination::EmailActivity, body.clone(), place)]);
}

#[tokio::test]
async fn mail_of_a_support_mailbox_goes_to_ticket_triage_and_a_bounce_of_one_to_both() {
    let operator = operator();
    let bounce = json!({ "id": "n-2", "type": "message.bounce_detected", "data": { "grant_id": "support", "object": { "message_id": "m" } } });
    let event = json!({ "command": "replay", "dry_run": false, "notification": [body("n-1", "support"), bounce] });
    told(&operator, event).await;
    let queues: Vec<_> = operator.replays.sent().into_iter().map(|(to, ..)| to).collect();
    assert_eq!(queues, [Destination::TicketTriage, Destination::Onboarding, Destination::TicketTriage]);

    let down = Operator { support_mailboxes: MemoryMailboxes::down(), ..crate::testing::operator() };
    let event = json!({ "command": "replay", "dry_run": false, "notification": body("n-1", "support") });
    let error = down.answer(&event, &invocation()).await.expect_err("it is down").to_string();
    assert!(error.starts_with("nothing was started: "), "{error}");
    assert!(down.replays.done().is_empty());
}

#[tokio::test]
async fn what_was_decided_before_is_a_duplicate_unless_it_is_asked_for_again_under_an_id_of_its_own() {
    let operator = operator();
    let body = body("n-1", "rep");
    let content = content_digest(&body);
    let decision = Decision::logged("known contact", "act-1");
    decided(&operator.records, "email-activity", "n-1", "m-1", json!({ "content": content, "decision": decision }));
    let event = json!({ "command": "replay", "dry_run": false, "notification": body });
    let before = told(&operator, event).await;
    assert_eq!(becomes(&before), ["decided before"]);
    assert_eq!(before.rows[0]["decided_before"], "logged: known contact");
    assert!(before.text.contains("AGAIN=1") && operator.replays.done().is_empty(), "{}", before.text);

    let event = json!({ "command": "replay", "dry_run": false, "again": true, "notification": body });
    assert_eq!(becomes(&told(&operator, event).await), ["replayed"]);
    let [(_, sent, _)] = operator.replays.sent().try_into().expect("one message");
    let sent_id = shared::domain::notification::Envelope::parse(&sent).map(|envelope| envelope.id.to_string());
    assert_eq!(sent_id, Ok(format!("replay:n-1:{RUN}")));
    assert_eq!(content_digest(&sent), content, "it says the same");
}

#[tokio::test]
async fn what_is_not_decided_yet_is_replayed_with_a_word_on_how_it_stands() {
    for (fields, words) in [
        (json!({ "state": "failed", "outcome": "failed", "dead_lettered_by": "email-activity" }), "make redrive"),
        (json!({ "state": "failed", "outcome": "retrying" }), "tried again by itself"),
        (json!({ "content": "another", "decision": Decision::skipped("internal mail") }), "other content"),
    ] {
        let operator = operator();
        decided(&operator.records, "email-activity", "n-1", "m-1", fields);
        let shown = told(&operator, json!({ "command": "replay", "notification": body("n-1", "rep") })).await;
        assert_eq!(becomes(&shown), ["would be replayed"]);
        assert!(shown.rows[0]["note"].as_str().is_some_and(|note| note.contains(words)), "{shown:?}");
    }
}

#[tokio::test]
async fn type_that_nobody_wants_goes_nowhere() {
    let operator = operator();
    let body = json!({ "id": "n", "type": "folder.updated", "data": {} });
    let done = told(&operator, json!({ "command": "replay", "dry_run": false, "notification": body })).await;
    assert_eq!((becomes(&done), operator.replays.done().len()), (vec!["wanted by nobody"], 0));
    assert!(done.text.starts_with("Nothing was replayed."), "{}", done.text);
}

#[tokio::test]
async fn queue_that_is_down_is_an_error_that_says_what_to_do() {
    let operator = operator();
    operator.replays.down.store(true, Ordering::SeqCst);
    let event = json!({ "command": "replay", "dry_run": false, "notification": body("n-1", "rep") });
    let error = operator.answer(&event, &invocation()).await.expect_err("it is down").to_string();
    assert!(
        error.starts_with("the queue of email-activity did not take the notification: the queue is down"),
        "{error}"
    );
}

#[tokio::test]
async fn unroutable_queue_is_shown_and_everything_in_it_is_visible_again_at_once() {
    let operator = operator();
    operator.replays.park(parked("r-1", "not json"));
    operator.replays.park(parked("r-2", &body("n-1", "rep")));
    operator.replays.park(parked("r-3", r#"{"id":"n","type":"folder.updated","data":{}}"#));
    let shown = told(&operator, json!({ "command": "replay", "from": "unroutable" })).await;
    assert_eq!(becomes(&shown), ["unroutable", "would be replayed", "wanted by nobody"]);
    let note = shown.rows[0]["note"].as_str().expect("a note");
    assert_eq!(
        note,
        "the body is not a JSON object (line 1, column 2); 8 bytes, parked 2026-03-01T10:00:00Z (message sqs-r-1)"
    );
    assert_eq!(operator.replays.visible(), 3);
    let shown_again = ["r-1", "r-2", "r-3"].map(|receipt| Done::Shown(receipt.to_owned()));
    assert_eq!(operator.replays.done(), shown_again);
    let empty = told(&crate::testing::operator(), json!({ "command": "replay", "from": "unroutable" })).await;
    assert!(empty.text.contains("The unroutable queue is empty."), "{}", empty.text);
}

#[tokio::test]
async fn what_can_be_routed_now_is_sent_first_and_then_taken_out_of_the_unroutable_queue() {
    let operator = operator();
    operator.replays.park(parked("r-1", &body("n-1", "rep")));
    operator.replays.park(parked("r-2", "not json"));
    let done = told(&operator, json!({ "command": "replay", "from": "unroutable", "dry_run": false })).await;
    assert_eq!(becomes(&done), ["replayed", "unroutable"]);
    let order: Vec<&str> = operator
        .replays
        .done()
        .iter()
        .map(|done| match done {
            Done::Sent(..) => "sent",
            Done::Deleted(receipt) => {
                if receipt == "r-1" {
                    "deleted r-1"
                } else {
                    "deleted another"
                }
            }
            Done::Shown(receipt) => {
                if receipt == "r-2" {
                    "shown r-2"
                } else {
                    "shown another"
                }
            }
        })
        .collect();
    assert_eq!(order, ["sent", "deleted r-1", "shown r-2"]);
    assert_eq!(operator.replays.visible(), 1);
    assert!(done.text.contains("1 stay in the unroutable queue"), "{}", done.text);
}

#[tokio::test]
async fn message_that_was_sent_and_cannot_be_taken_out_is_told_of_and_shown_again() {
    let operator = operator();
    operator.replays.park(parked("r-1", &body("n-1", "rep")));
    operator.replays.keeps_everything.store(true, Ordering::SeqCst);
    let done = told(&operator, json!({ "command": "replay", "from": "unroutable", "dry_run": false })).await;
    assert_eq!((becomes(&done), done.ready), (vec!["replayed, and left there"], false));
    assert_eq!(operator.replays.visible(), 1);
}

#[tokio::test]
async fn body_that_the_archive_does_not_hand_over_stays_where_it_is() {
    let operator = operator();
    let gone = Parked { body: Err("the body bodies/1 is not in the archive".to_owned()), ..parked("r-1", "") };
    operator.replays.park(gone);
    let done = told(&operator, json!({ "command": "replay", "from": "unroutable", "dry_run": false })).await;
    assert_eq!((becomes(&done), operator.replays.visible()), (vec!["unroutable"], 1));
}

#[tokio::test]
async fn dead_letter_is_answered_with_the_command_that_puts_it_back() {
    let event = json!({ "command": "replay", "from": "dead_letter", "id": "n 1" });
    let pointed = told(&operator(), event).await;
    assert!(pointed.text.contains("make redrive ID='n 1'"), "{}", pointed.text);
    assert_eq!(pointed.again, Some(json!({ "command": "redrive", "dry_run": true, "id": "n 1" })));
}

#[tokio::test]
async fn object_is_fetched_anew_and_replayed_as_if_nylas_had_notified_of_it() {
    let operator = operator();
    decided(&operator.records, "calendar-sync", "n-1", "e-1", json!({ "decision": Decision::skipped("private") }));
    let held = Fetched {
        trigger: "event.updated.transformed".to_owned(),
        object: json!({ "object": "event", "id": "e-1", "grant_id": "g", "calendar_id": "c", "master_event_id": "master" }),
    };
    operator.replays.hold("e-1", held);
    let object = json!({ "kind": "event", "id": "e-1", "grant_id": "g", "calendar_id": "c" });
    let shown = told(&operator, json!({ "command": "replay", "object": object })).await;
    assert_eq!(
        (becomes(&shown), &shown.rows[0]["decided_before"]),
        (vec!["would be replayed"], &json!("skipped: private"))
    );
    told(&operator, shown.again.expect("the event that does it")).await;
    let [(to, sent, place)] = operator.replays.sent().try_into().expect("one message");
    assert_eq!((to, place.group), (Destination::CalendarSync, GroupId::of("event", "master")));
    let sent: Value = serde_json::from_str(&sent).expect("JSON");
    assert_eq!(
        (&sent["id"], &sent["type"]),
        (&json!(format!("replay:e-1:{RUN}")), &json!("event.updated.transformed"))
    );
}

#[tokio::test]
async fn object_that_nylas_does_not_have_or_does_not_hand_over_is_an_error_in_words() {
    let operator = operator();
    let event = json!({ "command": "replay", "object": { "kind": "event", "id": "e-1", "grant_id": "g" } });
    let Answer::Refused { error, .. } = operator.answer(&event, &invocation()).await.expect("an answer") else {
        panic!("refused")
    };
    assert!(error.contains("Nylas has no event `e-1`") && error.contains("It was deleted"), "{error}");
    operator.replays.fail_fetching(nylas_is_slow());
    let Answer::Refused { error, .. } = operator.answer(&event, &invocation()).await.expect("an answer") else {
        panic!("refused")
    };
    assert!(
        error.starts_with("nothing was replayed: Nylas") && error.ends_with("ask again in a few minutes"),
        "{error}"
    );
    assert!(operator.replays.done().is_empty());
}

#[tokio::test]
async fn log_holds_counts_alone() {
    let operator = operator();
    let event = json!({ "type": "customer.signed_up", "id": "s-1", "email": "dana@acme.example", "name": "Dana" });
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    told(&operator, json!({ "command": "replay", "dry_run": false, "notification": event })).await;
    drop(guard);
    assert_eq!(operator.replays.sent().len(), 1);
    let logged = log.text();
    assert!(logged.contains("replayed=1") && !logged.contains("dana") && !logged.contains("Dana"), "{logged}");
}

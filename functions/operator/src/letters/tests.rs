//! The commands for dead letters over queues, records and an archive in memory.

use jiff::Timestamp;
use serde_json::{Value, json};
use shared::domain::notification::content_digest;
use shared::domain::pointer::BodyPointer;
use shared::engine::Deadline;
use shared::engine::testing::KeptLog;
use std::time::Duration;

use super::asked::LettersRequest;
use super::letter::Letter;
use super::listing::Listing;
use super::moving::Moving;
use super::ports::{LetterRecords as _, Received, Record};
use super::testing::{MemoryLetters, queues};
use super::{known, ports::Letters};
use crate::command::Request;
use crate::operate::OperateError;
use crate::told::Told;

const NOW: &str = "2026-03-20T10:00:00Z";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn dead_letters_of(function: &str) -> String {
    let queues = queues();
    queues.workers.iter().find(|worker| worker.function == function).expect("a worker").dead_letters.clone()
}

fn body(id: &str) -> String {
    json!({ "type": "message.created", "id": id, "data": { "object": { "id": format!("mail-{id}"), "grant_id": "g" } } })
        .to_string()
}

fn letter(id: &str, class: &str) -> Received {
    let attributes = [
        ("reason", "the CRM said: dana@acme.example is no contact"),
        ("class", class),
        ("function", "email-activity"),
        ("notification_id", id),
        ("source_group", "thread-1"),
        ("first_failed_at", "2026-03-18T10:00:00Z"),
        ("last_failed_at", "2026-03-19T10:00:00Z"),
    ];
    Received {
        message_id: format!("letter-{id}"),
        receipt: String::new(),
        body: body(id),
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        sent_at: Some(time("2026-03-19T10:00:00Z")),
        group: Some(format!("of-{id}")),
        trace: Some("Root=1".to_owned()),
    }
}

fn record(id: &str, class: &str) -> Record {
    Record {
        pk: format!("email-activity#{id}"),
        state: "failed".to_owned(),
        notification_id: id.to_owned(),
        trigger: "message.created".to_owned(),
        object_id: format!("mail-{id}"),
        content: content_digest(&body(id)),
        class: class.to_owned(),
        reason: "the CRM said: dana@acme.example is no contact".to_owned(),
        failures: 2,
        fence: 4,
        first_failed_at: Some(time("2026-03-18T10:00:00Z")),
        last_failed_at: Some(time("2026-03-19T10:00:00Z")),
    }
}

/// Dead letters of email-activity with their records.
fn given_up(ids: &[(&str, &str)]) -> MemoryLetters {
    let port = MemoryLetters::default();
    for (id, class) in ids {
        port.put(&dead_letters_of("email-activity"), letter(id, class));
        port.put_record(record(id, class));
    }
    port
}

fn asked(event: &Value) -> LettersRequest {
    match Request::read(event, time(NOW)) {
        Ok(Request::Letters(asked)) => asked,
        other => panic!("{event} is read as {other:?}"),
    }
}

async fn moved_within(port: &impl Letters, event: &Value, left: Duration) -> Result<Told, OperateError> {
    let LettersRequest::Move(order) = asked(event) else { panic!("{event} only shows") };
    Moving { port, order: &order, now: time(NOW), deadline: Deadline::after(left) }.carry_out().await
}

async fn moved(port: &impl Letters, event: Value) -> Told {
    moved_within(port, &event, Duration::from_secs(30)).await.expect("an answer")
}

async fn shown(port: &impl Letters, event: Value) -> Told {
    let LettersRequest::Show(showing) = asked(&event) else { panic!("{event} moves") };
    let known = known(port, &showing, Deadline::after(Duration::from_secs(30))).await.expect("what is known");
    Listing { known: &known, showing: &showing, now: time(NOW) }.told()
}

#[tokio::test(start_paused = true)]
async fn dry_run_shows_what_is_meant_moves_nothing_and_hides_nothing() {
    let port = given_up(&[("n-1", "crm.rejected"), ("n-2", "gave_up")]);
    let told = moved(&port, json!({ "command": "redrive", "class": "crm.rejected" })).await;
    assert_eq!(told.rows.len(), 1, "{}", told.table);
    assert_eq!((&told.rows[0]["id"], &told.rows[0]["object"]), (&json!("n-1"), &json!("mail-n-1")));
    assert!(told.ready && told.text.contains("Nothing was changed"), "{}", told.text);
    assert!(told.text.contains("make redrive CLASS=crm.rejected FAILED_BEFORE="), "{}", told.text);
    let queue = dead_letters_of("email-activity");
    assert_eq!((port.visible(&queue), port.hidden(&queue), port.sent()), (2, 0, Vec::new()));
    assert!(port.calls().iter().all(|call| call.starts_with("show_again")), "{:?}", port.calls());
    let again = told.again.expect("the event that does it");
    assert_eq!((&again["class"], &again["dry_run"]), (&json!("crm.rejected"), &json!(false)));
}

#[tokio::test(start_paused = true)]
async fn redriven_letter_is_sent_then_deleted_then_noted_with_its_group_trace_and_a_fresh_id() {
    let port = given_up(&[("n-1", "crm.rejected"), ("n-2", "gave_up")]);
    let told = moved(&port, json!({ "command": "redrive", "class": "crm.rejected", "dry_run": false })).await;
    assert!(told.ready && told.again.is_none(), "{}", told.text);
    let [sent] = port.sent().try_into().expect("one message");
    assert_eq!(sent.queue, queues().queue_of("email-activity").expect("a queue"));
    assert_eq!((sent.body, sent.group.as_str(), sent.trace.as_deref()), (body("n-1"), "thread-1", Some("Root=1")));
    assert_ne!(sent.deduplication_id, shared::domain::digest::sha256_hex(&[b"email-activity:n-1"]));
    let calls: Vec<String> = port.calls().iter().filter_map(|call| Some(call.split_once(' ')?.0.to_owned())).collect();
    assert_eq!(calls, ["send", "delete", "note", "show_again"]);
    let queue = dead_letters_of("email-activity");
    assert_eq!((port.visible(&queue), port.hidden(&queue)), (1, 0), "what was not meant can be seen at once");
    let kept = port.kept("email-activity#n-1").expect("a record");
    assert_eq!((kept.outcome.as_str(), kept.record.state.as_str()), ("redriven", "failed"), "and can be claimed");
    assert!(!kept.is_dead_lettered, "it is listed no more");
    assert!(port.kept("email-activity#n-2").expect("a record").is_dead_lettered);
    let again = moved(&port, json!({ "command": "redrive", "class": "crm.rejected", "dry_run": false })).await;
    assert!(again.text.starts_with("No letter is meant") && port.sent().len() == 1, "{}", again.text);
}

#[tokio::test(start_paused = true)]
async fn redrive_finds_a_letter_by_its_notification_or_its_object() {
    for id in ["n-2", "mail-n-2"] {
        let port = given_up(&[("n-1", "gave_up"), ("n-2", "gave_up"), ("n-3", "gave_up")]);
        moved(&port, json!({ "command": "redrive", "id": id, "dry_run": false })).await;
        assert_eq!(port.sent().iter().map(|sent| sent.body.clone()).collect::<Vec<_>>(), [body("n-2")], "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn letter_whose_body_lies_in_the_archive_is_found_by_what_its_record_says() {
    let port = MemoryLetters::default();
    let pointer = BodyPointer::to(body("n-1").as_bytes()).to_message();
    port.put(&dead_letters_of("email-activity"), Received { body: pointer.clone(), ..letter("n-1", "gave_up") });
    port.put_record(record("n-1", "gave_up"));
    moved(&port, json!({ "command": "redrive", "id": "mail-n-1", "type": "message.created", "dry_run": false })).await;
    assert_eq!(port.sent()[0].body, pointer, "unchanged");
    assert_eq!(port.kept("email-activity#n-1").expect("a record").outcome, "redriven");
}

#[tokio::test(start_paused = true)]
async fn queue_that_breaks_off_leaves_a_copy_at_most_and_shows_everything_again() {
    let port = given_up(&[("n-1", "gave_up"), ("n-2", "gave_up")]);
    port.fail("delete");
    let all = json!({ "command": "redrive", "all": true, "dry_run": false });
    let broken = moved_within(&port, &all, Duration::from_secs(30)).await.expect_err("broken");
    assert!(broken.to_string().contains("0 letters were put back") && broken.to_string().contains("delete is down"));
    let queue = dead_letters_of("email-activity");
    assert_eq!((port.sent().len(), port.visible(&queue), port.hidden(&queue)), (1, 2, 0));
    port.recover();
    moved(&port, all.clone()).await;
    assert_eq!(port.sent().len(), 2, "the one that had been sent was sent with the same id and counts once");
    assert_eq!((port.visible(&queue), port.hidden(&queue)), (0, 0));

    let port = given_up(&[("n-1", "gave_up")]);
    port.fail("send");
    moved_within(&port, &all, Duration::from_secs(30)).await.expect_err("broken");
    assert_eq!((port.sent().len(), port.visible(&queue)), (0, 1), "nothing is deleted that was not sent");
}

#[tokio::test(start_paused = true)]
async fn letters_go_at_the_pace_that_was_asked_for_and_what_time_does_not_allow_goes_on_later() {
    let ids: Vec<(String, &str)> = (0..25).map(|number| (format!("n-{number:02}"), "gave_up")).collect();
    let ids: Vec<(&str, &str)> = ids.iter().map(|(id, class)| (id.as_str(), *class)).collect();
    let port = given_up(&ids);
    let event = json!({ "command": "redrive", "all": true, "per_second": 2, "dry_run": false });
    let begun = tokio::time::Instant::now();
    let told = moved_within(&port, &event, Duration::from_secs(5)).await.expect("an answer");
    assert!(begun.elapsed() >= Duration::from_millis(4500), "{:?}", begun.elapsed());
    assert!((10..=11).contains(&port.sent().len()), "{}", port.sent().len());
    assert!(!told.ready && told.text.contains("Time was up"), "{}", told.text);
    let queue = dead_letters_of("email-activity");
    assert_eq!((port.visible(&queue) + port.sent().len(), port.hidden(&queue)), (25, 0));
    let again = told.again.expect("it goes on");
    moved_within(&port, &again, Duration::from_mins(1)).await.expect("an answer");
    assert_eq!(port.sent().len(), 25, "each once");
}

#[tokio::test(start_paused = true)]
async fn what_failed_after_the_order_was_given_is_not_moved_again_by_it() {
    let port = given_up(&[("n-1", "gave_up")]);
    let mut again = letter("n-2", "gave_up");
    again.attributes.insert("last_failed_at".to_owned(), "2026-03-20T10:00:01Z".to_owned());
    port.put(&dead_letters_of("email-activity"), again);
    let event = json!({ "command": "redrive", "all": true, "dry_run": false });
    moved(&port, event).await;
    assert_eq!(port.sent().len(), 1, "the one that failed before");
    let event = json!({ "command": "redrive", "all": true, "dry_run": false, "failed_before": "2026-03-20T11:00:00Z" });
    moved(&port, event).await;
    assert_eq!(port.sent().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn record_that_was_claimed_meanwhile_is_not_noted_as_redriven() {
    let port = given_up(&[("n-1", "gave_up")]);
    port.put_record(Record { state: "in_progress".to_owned(), ..record("n-1", "gave_up") });
    moved(&port, json!({ "command": "redrive", "id": "n-1", "dry_run": false })).await;
    assert_eq!(port.sent().len(), 1, "a copy is harmless");
    assert_eq!(port.kept("email-activity#n-1").expect("a record").outcome, "in_progress");
    assert_eq!(
        port.note("email-activity#n-1", 4, super::ports::Note::Redriven, time(NOW)).await,
        Ok(super::ports::Noted::DecidedMeanwhile)
    );
}

#[tokio::test(start_paused = true)]
async fn parked_letter_is_kept_with_its_reason_noted_and_comes_back_as_it_was() {
    let port = given_up(&[("n-1", "crm.rejected"), ("n-2", "gave_up")]);
    let park = json!({ "command": "park", "id": "n-1", "reason": "waits for the new field", "dry_run": false });
    let told = moved(&port, park).await;
    assert!(told.ready && told.text.contains("35 days"), "{}", told.text);
    let calls: Vec<String> = port.calls().iter().filter_map(|call| Some(call.split_once(' ')?.0.to_owned())).collect();
    assert_eq!(calls, ["park", "note", "delete", "show_again"], "kept before it is deleted");
    let (key, kept) = port.archive().into_iter().next().expect("a parked letter");
    assert!(key.starts_with("bodies/parked/email-activity/"), "{key}");
    assert_eq!(kept.parked.map(|parked| parked.because).as_deref(), Some("waits for the new field"));
    let record = port.kept("email-activity#n-1").expect("a record");
    assert_eq!((record.outcome.as_str(), record.record.state.as_str()), ("parked", "failed"), "it stays claimable");
    assert_eq!(record.because.as_deref(), Some("waits for the new field"));

    let listed = shown(&port, json!({ "command": "dead_letters", "list": true })).await;
    let parked = listed.rows.iter().find(|row| row["id"] == "n-1").expect("it is shown");
    assert_eq!((&parked["state"], &parked["parked"]["because"]), (&json!("parked"), &json!("waits for the new field")));
    let all = moved(&port, json!({ "command": "redrive", "all": true, "dry_run": true })).await;
    assert_eq!(all.rows.len(), 1, "all that lies in the dead-letter queues, and not what is parked");

    moved(&port, json!({ "command": "redrive", "parked": true, "dry_run": false })).await;
    let [sent] = port.sent().try_into().expect("one message");
    assert_eq!((sent.body, sent.group.as_str()), (body("n-1"), "thread-1"));
    assert!(port.archive().is_empty());
    assert_eq!(port.kept("email-activity#n-1").expect("a record").outcome, "redriven");
}

#[tokio::test(start_paused = true)]
async fn parked_letter_is_found_by_its_id_alone_for_redrive_and_drop() {
    for command in ["redrive", "drop"] {
        let port = given_up(&[("n-1", "crm.rejected")]);
        moved(&port, json!({ "command": "park", "all": true, "reason": "later", "dry_run": false })).await;
        let mut event = json!({ "command": command, "id": "n-1", "dry_run": false });
        if command == "drop" {
            event["reason"] = "never".into();
        }
        let told = moved(&port, event).await;
        assert_eq!(told.rows.len(), 1, "{command}: {}", told.text);
        assert!(port.archive().is_empty(), "{command}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropped_letter_is_decided_before_it_is_deleted_and_counts_as_decided_from_then_on() {
    let port = given_up(&[("n-1", "crm.rejected")]);
    let told = moved(&port, json!({ "command": "drop", "id": "n-1", "reason": "a test mail", "dry_run": false })).await;
    assert_eq!(told.rows[0]["outcome"], "dropped", "{}", told.table);
    let calls: Vec<String> = port.calls().iter().filter_map(|call| Some(call.split_once(' ')?.0.to_owned())).collect();
    assert_eq!(calls, ["settle", "delete"]);
    let kept = port.kept("email-activity#n-1").expect("a record");
    assert_eq!((kept.record.state.as_str(), kept.outcome.as_str()), ("done", "skipped"));
    assert_eq!(kept.because.as_deref(), Some("dropped by hand: a test mail"));
}

#[tokio::test(start_paused = true)]
async fn letter_is_not_dropped_while_a_worker_is_at_it_and_a_decision_is_never_overwritten() {
    let port = given_up(&[("n-1", "gave_up"), ("n-2", "gave_up")]);
    port.put_record(Record { state: "in_progress".to_owned(), ..record("n-1", "gave_up") });
    port.put_record(Record { state: "done".to_owned(), ..record("n-2", "gave_up") });
    let told = moved(&port, json!({ "command": "drop", "all": true, "reason": "r", "dry_run": false })).await;
    let queue = dead_letters_of("email-activity");
    assert_eq!((port.visible(&queue), port.hidden(&queue)), (1, 0), "the one at work lies where it lay");
    assert!(!told.ready && told.text.contains("1 was left"), "{}", told.text);
    assert_eq!(port.kept("email-activity#n-1").expect("a record").outcome, "in_progress");
    assert_eq!(port.kept("email-activity#n-2").expect("a record").outcome, "done", "as it was decided");
    assert!(told.table.contains("it was decided before"), "{}", told.table);
}

#[tokio::test(start_paused = true)]
async fn letter_without_a_record_is_redriven_parked_and_dropped_all_the_same() {
    let lone = || {
        let port = MemoryLetters::default();
        let mut unclaimed = letter("n-1", "gave_up");
        unclaimed.attributes.insert("notification_id".to_owned(), "message:5c1f".to_owned());
        port.put(&dead_letters_of("email-activity"), unclaimed);
        port
    };
    let port = lone();
    moved(&port, json!({ "command": "redrive", "id": "message:5c1f", "dry_run": false })).await;
    assert_eq!(port.sent().len(), 1);
    let port = lone();
    let told = moved(&port, json!({ "command": "park", "id": "n-1", "reason": "r", "dry_run": false })).await;
    assert_eq!(told.rows[0]["outcome"], "set aside; it has no record");
    let port = lone();
    moved(&port, json!({ "command": "drop", "id": "mail-n-1", "reason": "r", "dry_run": false })).await;
    let made = port.kept("email-activity#n-1").expect("a record, so that a copy counts as one");
    assert_eq!((made.record.state.as_str(), made.record.object_id.as_str()), ("done", "mail-n-1"));
    assert_eq!(made.record.content, content_digest(&body("n-1")));
}

#[tokio::test(start_paused = true)]
async fn notification_that_came_with_other_content_has_a_record_of_its_own() {
    let port = given_up(&[("n-1", "gave_up")]);
    port.put_record(Record { state: "done".to_owned(), content: "other".to_owned(), ..record("n-1", "gave_up") });
    moved(&port, json!({ "command": "drop", "id": "n-1", "reason": "r", "dry_run": false })).await;
    let key = format!("email-activity#n-1~{}", &content_digest(&body("n-1"))[..16]);
    assert_eq!(port.kept(&key).expect("a record").record.state, "done");
    assert_eq!(port.kept("email-activity#n-1").expect("a record").outcome, "done", "untouched");
}

#[tokio::test(start_paused = true)]
async fn record_whose_letter_is_gone_is_told_of_and_can_be_dropped() {
    let port = MemoryLetters::default();
    port.put_record(record("n-1", "gave_up"));
    let told = moved(&port, json!({ "command": "redrive", "id": "n-1" })).await;
    assert!(told.text.contains("Of 1 the record is there and the letter is gone"), "{}", told.text);
    let told = moved(&port, json!({ "command": "drop", "id": "n-1", "reason": "r" })).await;
    assert_eq!(told.rows[0]["outcome"], "would be dropped; its letter is gone");
    moved(&port, json!({ "command": "drop", "id": "n-1", "reason": "r", "dry_run": false })).await;
    assert_eq!(port.kept("email-activity#n-1").expect("a record").record.state, "done");
}

#[tokio::test(start_paused = true)]
async fn schedules_letter_goes_to_the_queue_of_the_function_it_is_for_and_is_left_where_that_cannot_be_told() {
    let port = MemoryLetters::default();
    let schedules = queues().schedules;
    let job = |id: &str, body: &str| Received {
        message_id: id.to_owned(),
        body: body.to_owned(),
        sent_at: Some(time("2026-03-19T10:00:00Z")),
        ..Received::default()
    };
    let timer = r#"{"type":"onboarding.timer","kind":"nudge","email":"dana@acme.example"}"#;
    port.put(&schedules, job("s-1", timer));
    port.put(&schedules, job("s-2", r#"{"type":"reconcile"}"#));
    let listed = shown(&port, json!({ "command": "dead_letters" })).await;
    assert_eq!(listed.rows.len(), 2, "{}", listed.table);
    assert_eq!((port.visible(&schedules), port.hidden(&schedules)), (2, 0), "looking hides nothing");
    let told = moved(&port, json!({ "command": "redrive", "all": true, "dry_run": false })).await;
    let [sent] = port.sent().try_into().expect("one message");
    assert_eq!(sent.queue, queues().queue_of("onboarding-transitions").expect("a queue"));
    assert_eq!((sent.body.as_str(), sent.group.len()), (timer, 32));
    assert!(!told.ready && told.text.contains("1 was left where they lie"), "{}", told.text);
    moved(&port, json!({ "command": "drop", "all": true, "reason": "the next night does it", "dry_run": false })).await;
    assert_eq!((port.visible(&schedules), port.hidden(&schedules)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_reason_of_the_other_side_and_none_of_people_is_logged() {
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let port = given_up(&[("n-1", "crm.rejected")]);
    let reason = "ben@brightwater.example asked for it";
    moved(&port, json!({ "command": "park", "id": "n-1", "reason": reason, "dry_run": false })).await;
    moved(&port, json!({ "command": "drop", "id": "n-1", "reason": reason, "dry_run": false })).await;
    drop(guard);
    let logged = log.text();
    assert!(logged.contains("n-1") && logged.contains("park"), "{logged}");
    assert!(!logged.contains('@') && !logged.contains("the CRM said"), "{logged}");
}

#[tokio::test(start_paused = true)]
async fn listing_that_is_filtered_shows_single_letters_and_reads_only_the_function_that_is_meant() {
    let port = given_up(&[("n-1", "crm.rejected"), ("n-2", "gave_up")]);
    let told =
        shown(&port, json!({ "command": "dead_letters", "function": "email-activity", "class": "gave_up" })).await;
    assert_eq!(told.rows.len(), 1, "{}", told.table);
    assert_eq!((&told.rows[0]["id"], &told.rows[0]["failures"]), (&json!("n-2"), &json!(2)));
    assert!(told.text.contains("make redrive FUNCTION=email-activity CLASS=gave_up"), "{}", told.text);
    let other = shown(&port, json!({ "command": "dead_letters", "function": "calendar-sync" })).await;
    assert_eq!((other.rows.len(), other.text.as_str()), (0, "No dead letter is meant."));
}

#[test]
fn letter_that_is_parked_is_read_back_as_it_was_written() {
    let parked = Letter::of_worker(&letter("n-1", "gave_up"), "email-activity");
    let written = serde_json::to_string(&parked).expect("JSON");
    assert_eq!(serde_json::from_str::<Letter>(&written).expect("a letter"), parked);
}

#[test]
fn ages_are_told_in_two_units_at_most() {
    for (then, words) in [
        ("2026-03-20T09:59:18Z", "42s"),
        ("2026-03-20T09:30:00Z", "30m"),
        ("2026-03-20T06:45:00Z", "3h 15m"),
        ("2026-03-17T05:00:00Z", "3d 5h"),
        ("2026-03-20T11:00:00Z", "0s"),
    ] {
        assert_eq!(super::age(time(NOW), time(then)), words);
    }
}

//! What is forgotten, and what stays, over everything in memory.

use super::held::{LETTER_QUEUES, LetterQueue, OnTheirWay};
use super::testing::open;
use super::treat::Table;
use super::*;
use crate::command::Request;
use crate::testing::{invocation, operator};
use serde_json::json;
use shared::engine::testing::KeptLog;
use std::sync::atomic::Ordering;
use std::time::Duration;

const DANA: &str = "dana@acme.example";

type InMemory = Operator<crate::testing::InMemory>;

fn letters(resource: &str) -> LetterQueue {
    LETTER_QUEUES.into_iter().find(|queue| queue.resource == resource).expect("a queue")
}

/// A stack that knows Dana everywhere, and Ben beside her.
fn stack() -> InMemory {
    let operator = operator();
    let held = &operator.held;
    for (who, name) in [(DANA, "dana"), ("ben@acme.example", "ben")] {
        held.put(
            Table::Decisions,
            json!({
                "pk": format!("email-activity#{name}"), "function": "email-activity", "state": "done", "fence": 1,
                "updated_at": "2026-03-01T10:00:00.000Z", "waiting_grant": "g", "grant_id": "g", "object_id": "m",
                "decision": {"outcome": "skipped", "reason": "no known contact", "waits_for": [who],
                    "facts": {"unmatched": [who]}},
            }),
        );
        held.put(
            Table::Decisions,
            json!({
                "pk": format!("notetaker-media#{name}"), "function": "notetaker-media", "state": "done", "fence": 1,
                "updated_at": "2026-03-01T10:00:00.000Z", "grant_id": "g", "object_id": format!("n-{name}"),
                "decision": {"outcome": "held", "reason": "no known contact", "facts": {"unmatched": [who]}},
            }),
        );
        held.put(
            Table::Links,
            json!({"pk": format!("customer#{name}"), "state": "live", "became": who, "revision": 1}),
        );
        held.put(
            Table::Links,
            json!({"pk": format!("ticket#{name}"), "state": "live", "became": name, "revision": 5,
                "facts": {"id": name, "participants": [who]}}),
        );
        held.put(
            Table::Links,
            json!({"pk": format!("contact#con-{name}"), "state": "live", "became": format!("con-{name}"), "revision": 1,
                "facts": {"copies": [{"says": {"phone": "+1"}}]}}),
        );
        held.put(
            Table::Customers,
            json!({"email": who, "name": name, "revision": 3, "page": {"configuration_id": format!("page-{name}")}}),
        );
        let timer = json!({"type": "onboarding.timer", "kind": "nudge", "email": who, "run": 1}).to_string();
        open(&held.schedules).insert(format!("nudge-{name}"), timer);
        let body = json!({"id": name, "data": {"object": {"from": [{"email": who.to_uppercase()}]}}}).to_string();
        let attributes = [("function", "email-activity"), ("notification_id", name), ("reason", "refused")];
        held.put_letter(letters("EmailActivityDeadLetterQueue"), &body, &attributes);
        held.put_letter(letters("UnroutableQueue"), &body, &[]);
        let mut objects = open(&held.objects);
        objects.insert(format!("bodies/{name}"), body.clone().into_bytes());
        objects.insert(format!("bodies/parked/{name}.json"), json!({"body": body}).to_string().into_bytes());
        objects.insert(format!("media/g/{name}/summary.txt"), format!("mail {who} the plan").into_bytes());
        objects.insert(format!("media/g/{name}/recording.mp4"), vec![0xff; 10]);
        objects.insert(format!("media/g/{name}/transcript.json"), b"{}".to_vec());
    }
    open(&held.objects).insert("settings/fields.toml".to_owned(), b"# ask dana@acme.example".to_vec());
    operator
}

async fn told(operator: &InMemory, event: Value) -> Value {
    let answer = operator.answer(&event, &invocation()).await.expect("an answer");
    serde_json::to_value(answer).expect("JSON")
}

fn live() -> Value {
    json!({ "command": "forget", "email": DANA, "dry_run": false })
}

fn row<'a>(answer: &'a Value, place: &str, done: &str) -> &'a Value {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["place"] == place && row["done"] == done).unwrap_or(&Value::Null)
}

#[tokio::test(start_paused = true)]
async fn person_is_forgotten_everywhere_and_everybody_else_is_left_as_they_were() {
    let operator = stack();
    let answer = told(&operator, live()).await;
    assert_eq!(answer["ready"], true, "{answer}");
    for (place, done, count) in [
        ("schedules", "deleted", 1),
        ("customers", "deleted", 1),
        ("links", "deleted", 2),
        ("links", "rewritten", 1),
        ("decisions", "rewritten", 2),
        ("dead letters of email-activity", "deleted", 1),
        ("unroutable bodies", "deleted", 1),
        ("archived bodies", "deleted", 2),
        ("files of meetings", "deleted", 3),
        ("files of your own", "told", 1),
        ("made at Nylas", "told", 1),
        ("meetings the person was at", "told", 1),
        ("the CRM (hubspot)", "told", 1),
    ] {
        assert_eq!(row(&answer, place, done)["count"], count, "{place} {done}: {answer}");
    }
    let held = operator.held.everything().replace("# ask dana@acme.example", "");
    let dana = Person::new(EmailAddress::parse(DANA).expect("an address"));
    assert!(!dana.is_named_in(&held), "{held}");
    let of_ben = held.matches("ben@acme.example").count() + held.matches("BEN@ACME.EXAMPLE").count();
    let before = stack().held.everything();
    let before = before.matches("ben@acme.example").count() + before.matches("BEN@ACME.EXAMPLE").count();
    assert_eq!(of_ben, before, "{held}");
    let items = open(&operator.held.items);
    assert_eq!(items[&Table::Decisions]["email-activity#dana"].get("waiting_grant"), None);
    assert_eq!(items[&Table::Decisions]["email-activity#ben"]["waiting_grant"], "g");
    assert_eq!(items[&Table::Links]["ticket#dana"]["revision"], 6, "whoever read it before reads it again");
    assert_eq!(items[&Table::Links]["ticket#ben"]["revision"], 5);
    assert!(open(&operator.held.settled).contains(&"email-activity#dana".to_owned()));
    let objects = open(&operator.held.objects);
    assert!(objects.contains_key("media/g/ben/recording.mp4") && !objects.contains_key("media/g/dana/recording.mp4"));
}

#[tokio::test(start_paused = true)]
async fn second_time_finds_nothing() {
    let operator = stack();
    told(&operator, live()).await;
    open(&operator.held.objects).remove("settings/fields.toml");
    let writes = operator.held.writes.load(Ordering::SeqCst);
    let answer = told(&operator, live()).await;
    let text = answer["text"].as_str().unwrap_or_default();
    assert!(text.starts_with("The stack holds nothing of this address."), "{answer}");
    assert_eq!(operator.held.writes.load(Ordering::SeqCst), writes);
    assert_eq!((&answer["ready"], answer.get("again")), (&json!(true), None), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_changed_unless_it_is_said_and_what_is_shown_is_what_is_done() {
    let operator = stack();
    let before = operator.held.everything();
    let shown = told(&operator, json!({ "command": "forget", "email": "Dana Chen <DANA@acme.example>" })).await;
    assert_eq!(operator.held.everything(), before);
    assert!(shown["table"].as_str().is_some_and(|table| table.contains("would be deleted")), "{shown}");
    let mut again = live();
    again["contact_ids"] = json!(["con-dana"]);
    assert_eq!((&shown["ready"], &shown["again"]), (&json!(true), &again));
    let done = told(&operator, shown["again"].clone()).await;
    assert_eq!(done["rows"], shown["rows"]);
}

#[tokio::test(start_paused = true)]
async fn work_that_goes_on_meanwhile_is_not_lost_and_is_forgotten_as_well() {
    let operator = stack();
    // Another customer's reply reaches the ticket between the reading and the writing.
    *open(&operator.held.interference) = Some(Box::new(|item| {
        item["facts"]["participants"] = json!(["eve@acme.example", DANA]);
        item["revision"] = 6.into();
    }));
    let links: Vec<String> = open(&operator.held.items)[&Table::Links].keys().cloned().collect();
    for key in links.iter().filter(|key| *key != "ticket#dana") {
        open(&operator.held.items).entry(Table::Links).or_default().remove(key);
    }
    open(&operator.held.items).remove(&Table::Customers);
    open(&operator.held.items).remove(&Table::Decisions);
    told(&operator, live()).await;
    let ticket = open(&operator.held.items)[&Table::Links]["ticket#dana"].clone();
    assert_eq!(ticket["facts"]["participants"], json!(["eve@acme.example", "forgotten"]));
    assert_eq!(ticket["revision"], 7);
}

#[tokio::test(start_paused = true)]
async fn customer_who_is_being_worked_on_is_left_and_told() {
    let operator = stack();
    let at_work = json!({"who": "x", "until": "2026-03-01T10:01:00Z"});
    let worked_on = json!({"email": DANA, "name": "dana", "revision": 3, "at_work": at_work});
    operator.held.put(Table::Customers, worked_on);
    let answer = told(&operator, live()).await;
    assert!(open(&operator.held.items)[&Table::Customers].contains_key(DANA));
    assert_eq!((&answer["ready"], &answer["again"]["dry_run"]), (&json!(false), &json!(false)), "{answer}");
    assert!(answer["text"].as_str().is_some_and(|text| text.contains("1 of these are being worked on")), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn what_takes_longer_than_an_answer_may_is_gone_on_with_until_nothing_is_left() {
    let operator = stack();
    *open(&operator.held.takes) = Duration::from_secs(15);
    let mut answer = told(&operator, live()).await;
    assert_eq!(answer["ready"], false, "{answer}");
    let mut goes = 1;
    while answer["again"]["from"].is_object() {
        assert!(goes < 20, "{answer}");
        answer = told(&operator, answer["again"].clone()).await;
        goes += 1;
    }
    assert!(goes > 1 && answer["ready"] == true, "{goes}: {answer}");
    let held = operator.held.everything().replace("# ask dana@acme.example", "");
    assert!(!Person::new(EmailAddress::parse(DANA).expect("an address")).is_named_in(&held), "{held}");
    let links = open(&operator.held.items)[&Table::Links].clone();
    assert!(!links.contains_key("contact#con-dana"), "the contact is remembered from go to go");
}

#[tokio::test(start_paused = true)]
async fn place_that_does_not_answer_is_named_with_where_to_go_on() {
    let operator = stack();
    *open(&operator.held.links_are_down) = true;
    let answer = told(&operator, live()).await;
    assert_eq!((&answer["ready"], &answer["again"]["from"]["part"]), (&json!(false), &json!("links")), "{answer}");
    assert!(answer["text"].as_str().is_some_and(|text| text.contains("the links table is down")), "{answer}");
    assert_eq!(row(&answer, "customers", "deleted")["count"], 1, "what was done before is told");
    *open(&operator.held.links_are_down) = false;
    assert_eq!(told(&operator, answer["again"].clone()).await["ready"], true);
}

#[tokio::test(start_paused = true)]
async fn messages_on_their_way_and_a_list_without_the_address_are_told() {
    let operator = stack();
    *open(&operator.held.on_their_way) =
        vec![OnTheirWay { queue: "the queue of email-activity".to_owned(), waiting: 3, in_flight: 1 }];
    let answer = told(&operator, live()).await;
    let text = answer["text"].as_str().unwrap_or_default();
    assert!(text.contains("the queue of email-activity (3 waiting, 1 in flight)"), "{text}");
    assert!(text.contains("make never-log") && text.contains("point-in-time recovery"), "{text}");
    assert_eq!(answer["again"]["dry_run"], false);
    open(&operator.held.objects).insert(NEVER_LOG_KEY.to_owned(), b"acme.example\n".to_vec());
    let text = told(&operator, live()).await["text"].to_string();
    assert!(!text.contains("make never-log"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn letter_whose_body_lies_in_the_archive_goes_with_it_and_others_are_shown_again() {
    let operator = operator();
    let body = json!({"id": "large", "from": DANA}).to_string();
    let pointer = shared::domain::pointer::BodyPointer::to(body.as_bytes());
    open(&operator.held.objects).insert(pointer.key.clone(), body.into_bytes());
    let queue = letters("CalendarSyncDeadLetterQueue");
    operator.held.put_letter(
        queue,
        &pointer.to_message(),
        &[("function", "calendar-sync"), ("notification_id", "large")],
    );
    operator.held.put_letter(queue, r#"{"id":"other"}"#, &[]);
    let answer = told(&operator, live()).await;
    assert_eq!(row(&answer, queue.name, "deleted")["ids"], json!(["large"]), "{answer}");
    let left: Vec<String> =
        open(&operator.held.letters)[queue.resource].iter().map(|letter| letter.body.clone()).collect();
    assert_eq!(left, [r#"{"id":"other"}"#]);
    assert!(open(&operator.held.objects).is_empty());
}

#[tokio::test(start_paused = true)]
async fn own_address_is_refused_unless_it_is_forced() {
    let operator = stack();
    let own = json!({ "command": "forget", "email": "rep@northwind.example", "dry_run": false });
    let refused = told(&operator, own.clone()).await;
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("`force: true`")), "{refused}");
    let mut forced = own;
    forced["force"] = true.into();
    assert_eq!(told(&operator, forced).await["command"], "forget");
}

#[test]
fn connected_accounts_and_own_domains_speak_against_it() {
    let address = |text: &str| EmailAddress::parse(text).expect("an address");
    let company = CompanyDomains::parse(["northwind.example"]).expect("a domain");
    let accounts = [address("rep@partner.example")];
    let objected = |email: &str| objection(&address(email), &company, &accounts);
    assert!(objected("Rep@partner.example").is_some_and(|words| words.contains("connected account")));
    assert!(objected("x@eu.northwind.example").is_some_and(|words| words.contains("CompanyDomains")));
    assert_eq!(objected("dana@partner.example"), None);
}

#[tokio::test(start_paused = true)]
async fn address_stands_in_no_log() {
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    told(&stack(), live()).await;
    drop(guard);
    let logged = log.text();
    assert!(logged.contains("deleted") && !logged.to_lowercase().contains("dana"), "{logged}");
}

#[test]
fn wrong_event_is_told_what_is_wrong_and_shown_a_right_one() {
    let now = jiff::Timestamp::from_second(1_772_359_200).expect("a time");
    for (event, words) in [
        (json!({ "command": "forget" }), "`email` is missing: say whom to forget"),
        (json!({ "command": "forget", "email": " " }), "`email` is empty"),
        (json!({ "command": "forget", "email": "acme.example" }), "it must be one mail address"),
        (json!({ "command": "forget", "email": DANA, "dryrun": false }), "unknown field `dryrun`"),
        (json!({ "command": "forget", "email": DANA, "dry_run": "no" }), "expected a boolean"),
        (json!({ "command": "forget", "email": DANA, "from": {"part": "cellar"} }), "unknown variant `cellar`"),
    ] {
        let refused = Request::read(&event, now).expect_err(&event.to_string());
        assert!(refused.to_string().contains(words), "{event}: {refused}");
        assert!(Request::read(&refused.meant.example(), now).is_ok());
    }
    let Ok(Request::Forget(read)) = Request::read(&Forgotten::example(), now) else { panic!("an example is right") };
    assert!(read.dry_run && !read.force);
}

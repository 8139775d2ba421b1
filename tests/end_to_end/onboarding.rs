//! onboarding-transitions end to end: every new customer from the sign-up to the end, with seconds instead of hours.

use super::*;
use jiff::{SignedDuration, Timestamp};
use sandbox::customers::{Customers, event, mails_to, tell};
use sandbox::stand_ins::nylas::SentMail;
use sandbox::world::{ONBOARDING_EMAIL, ONBOARDING_GRANT};
use shared::aws::documents::DynamoDocuments;
use shared::engine::testing::documents_keep_their_rules;

/// How long the delays of this suite's stack are, in seconds: see the parameters in `end_to_end.rs`.
const DELAY: i64 = 12;

const FUNCTION: &str = "onboarding-transitions";

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0";

fn address(who: &str) -> String {
    format!("{CANARY}.{who}@customers.example")
}

async fn sign_up(world: &World, who: &str) {
    let event =
        event("customer.signed_up", &format!("signed-up-{who}"), &address(who), &format!("{CANARY} <b>{who}</b>"));
    assert_eq!(tell(world, &event).await.expect("told"), 202);
}

async fn complete(world: &World, who: &str) {
    let event = event("customer.onboarding_completed", &format!("done-{who}"), &address(who), who);
    assert_eq!(tell(world, &event).await.expect("told"), 202);
}

/// Waits until a customer is as asked for.
async fn until(world: &World, who: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let customers = Customers::of(world).await.expect("the table");
    let within = Duration::from_secs(90);
    customers.until(&address(who), what, within, is_it).await.unwrap_or_else(|error| panic!("{who}: {error}"))
}

async fn until_state(world: &World, who: &str, state: &str) -> Value {
    until(world, who, &format!("the state is {state}"), |record| {
        record["state"] == state && record["todo"] == json!([])
    })
    .await
}

fn mail_of(world: &World, who: &str, step: &str) -> SentMail {
    let mut mails = mails_to(world, &address(who)).into_iter().filter(|(own, _)| own == step);
    let (_, mail) = mails.next().unwrap_or_else(|| panic!("{who} has no mail {step}"));
    assert!(mails.next().is_none(), "{who} has the mail {step} twice");
    mail
}

fn steps(world: &World, who: &str) -> Vec<String> {
    let mut steps: Vec<String> = mails_to(world, &address(who)).into_iter().map(|(step, _)| step).collect();
    steps.sort();
    steps
}

/// A click long after the mail was delivered, as its notification tells.
fn click(world: &World, who: &str, step: &str) -> Value {
    let mail = mail_of(world, who, step);
    let at = later(mail.at, 90);
    world.nylas.clicked(&mail.message_id, &[(0, at, BROWSER)]).expect("a tracked mail")
}

fn later(at: Timestamp, minutes: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_mins(minutes)).expect("a time")
}

/// The id of a customer's booking page.
fn page(record: &Value) -> String {
    record["page"]["configuration_id"].as_str().expect("a page").to_owned()
}

fn book(world: &World, record: &Value, who: &str, minutes: i64) -> Value {
    let start = later(Timestamp::now(), minutes);
    world.nylas.book(&page(record), &address(who), who, start, 30, "America/Toronto").expect("a booking")
}

fn booking_id(notification: &Value) -> String {
    notification["data"]["object"]["booking_id"].as_str().expect("an id").to_owned()
}

/// The prep reminders of a customer in the team's calendar.
fn reminders(world: &World, who: &str) -> Vec<Value> {
    let address = address(who);
    let events = world.nylas.events(ONBOARDING_GRANT).into_iter();
    events.filter(|event| event["description"].as_str().is_some_and(|text| text.contains(&address))).collect()
}

fn alerts_about(world: &World, who: &str) -> usize {
    let address = address(who);
    world.alerts.texts().iter().filter(|text| text.contains(&address)).count()
}

async fn decided_in(world: &World, notification: &Value) -> DecisionRecord {
    let id = notification["id"].as_str().expect("an id");
    let begun = Instant::now();
    loop {
        let record = world.view.record(FUNCTION, id).await.expect("the table answers");
        if let Some(record) = record.clone().filter(|record| record.state == "done") {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{id} is not decided: {record:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[test]
fn customer_is_welcomed_engages_books_comes_and_is_onboarded_by_one_mail_a_step() {
    in_the_world(async |world| {
        sign_up(world, "happy").await;
        let record = until_state(world, "happy", "welcome_sent").await;
        let welcome = mail_of(world, "happy", "1.welcome");
        assert!(welcome.tracked && welcome.subject.contains(CANARY), "{welcome:?}");
        assert!(!welcome.body.contains("<b>happy"), "{}", welcome.body);
        let header = |name: &str| welcome.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!(header("Auto-Submitted"), Some("auto-generated"));
        assert_eq!(
            header("X-Crm-Autopilot-Loop"),
            Some(sandbox::world::loop_id(&world.stack).expect("an id").as_str())
        );
        let pages = world.nylas.configurations();
        let made = pages.iter().find(|made| made["id"] == page(&record).as_str()).expect("the page");
        let slug = made["slug"].as_str().expect("an address");
        assert!(welcome.body.contains(&format!("https://book.nylas.com/{slug}?name=")), "{}", welcome.body);
        assert!(welcome.body.contains("email__readonly="), "{}", welcome.body);

        deliver(world, &click(world, "happy", "1.welcome")).await;
        let record = until_state(world, "happy", "engaged").await;
        assert_eq!((&record["engagement"], record["armed"].get("follow_up")), (&json!("hard"), None));

        let booked = book(world, &record, "happy", 180);
        deliver(world, &booked).await;
        let record = until_state(world, "happy", "kickoff_booked").await;
        assert_eq!(
            record["armed"].as_object().map(|armed| armed.keys().cloned().collect()),
            Some(vec!["kickoff_ended".to_owned()])
        );
        let start = booked["data"]["object"]["booking_info"]["start_time"].as_i64().expect("a time");
        let reminder = reminders(world, "happy");
        assert_eq!(reminder.len(), 1);
        assert_eq!(reminder[0]["when"]["start_time"], start - 3600);
        assert_eq!(reminder[0]["when"]["end_time"], start - 1800);
        assert_eq!(world.nylas.mailed_participants(), 0, "nobody outside is mailed about a reminder");
        let told = Timestamp::from_second(start).expect("a time").in_tz("America/Toronto").expect("a zone");
        let confirmation = mail_of(world, "happy", "1.confirmation");
        assert!(confirmation.body.contains(&told.strftime("%H:%M").to_string()), "{}", confirmation.body);
        assert!(confirmation.body.contains("America/Toronto"), "{}", confirmation.body);

        // The call is over: it is moved to where it ended twenty minutes ago.
        let moved = world.nylas.reschedule(&booking_id(&booked), later(Timestamp::now(), -50)).expect("moved");
        deliver(world, &moved).await;
        until_state(world, "happy", "kickoff_completed").await;
        complete(world, "happy").await;
        let record = until_state(world, "happy", "onboarded").await;
        assert_eq!(record["armed"], json!({}));
        tokio::time::sleep(Duration::from_secs(DELAY.unsigned_abs())).await;
        assert_eq!(steps(world, "happy"), ["1.confirmation", "1.rescheduled", "1.resources", "1.welcome"]);
    });
}

#[test]
fn silence_an_open_and_a_click_end_as_the_table_says() {
    in_the_world(async |world| {
        for who in ["silent", "opener", "clicker"] {
            sign_up(world, who).await;
            until_state(world, who, "welcome_sent").await;
        }
        let welcome = mail_of(world, "opener", "1.welcome");
        deliver(world, &world.nylas.opened(&welcome.message_id, later(welcome.at, 1), BROWSER).expect("tracked")).await;
        let record = until_state(world, "opener", "engaged").await;
        assert!(record["armed"]["follow_up"].is_number(), "an open cancels nothing: {}", record["armed"]);
        deliver(world, &click(world, "clicker", "1.welcome")).await;

        until_state(world, "silent", "escalated").await;
        assert_eq!(
            (steps(world, "silent"), alerts_about(world, "silent")),
            (vec!["1.follow_up".to_owned(), "1.welcome".to_owned()], 1)
        );
        until_state(world, "opener", "escalated").await;
        assert_eq!(steps(world, "opener"), ["1.follow_up", "1.nudge", "1.welcome"]);
        until_state(world, "clicker", "escalated").await;
        assert_eq!(steps(world, "clicker"), ["1.nudge", "1.welcome"]);
        let (welcome, follow_up) = (mail_of(world, "silent", "1.welcome"), mail_of(world, "silent", "1.follow_up"));
        assert!(follow_up.at.duration_since(welcome.at) >= SignedDuration::from_secs(DELAY));
    });
}

#[test]
fn call_that_is_moved_cancelled_and_booked_again_is_told_each_time_once() {
    in_the_world(async |world| {
        sign_up(world, "changing").await;
        let record = until_state(world, "changing", "welcome_sent").await;
        let booked = book(world, &record, "changing", 300);
        deliver(world, &booked).await;
        until_state(world, "changing", "kickoff_booked").await;
        let moved = world.nylas.reschedule(&booking_id(&booked), later(Timestamp::now(), 400)).expect("moved");
        deliver(world, &moved).await;
        let start = moved["data"]["object"]["booking_info"]["start_time"].as_i64().expect("a time");
        until(world, "changing", "the call is moved", |record| {
            record["mails"]["rescheduled"]["progress"] == "sent" && record["todo"] == json!([])
        })
        .await;
        assert_eq!(
            reminders(world, "changing").iter().map(|event| event["when"]["start_time"].clone()).collect::<Vec<_>>(),
            [start - 3600]
        );
        let cancelled = world.nylas.cancel_booking(&booking_id(&booked), "ill").expect("cancelled");
        deliver(world, &cancelled).await;
        let record = until_state(world, "changing", "engaged").await;
        assert!(record["armed"]["nudge"].is_number(), "{}", record["armed"]);
        assert!(reminders(world, "changing").is_empty());
        // Late and again, under an id of its own: what is cancelled stays so.
        let mut again = moved.clone();
        again["id"] = "moved-again".into();
        deliver(world, &again).await;
        assert_eq!(decided_in(world, &again).await.reason, "the booking is cancelled");
        deliver(world, &book(world, &record, "changing", 500)).await;
        until_state(world, "changing", "kickoff_booked").await;
        assert_eq!(reminders(world, "changing").len(), 1);
        assert_eq!(steps(world, "changing"), ["1.confirmation", "1.confirmation_2", "1.rescheduled", "1.welcome"]);
        complete(world, "changing").await;
        until_state(world, "changing", "onboarded").await;
    });
}

#[test]
fn bounce_ends_the_mails_and_people_are_told_once() {
    in_the_world(async |world| {
        sign_up(world, "bounced").await;
        until_state(world, "bounced", "welcome_sent").await;
        let welcome = mail_of(world, "bounced", "1.welcome");
        for mark in ["bounce-1", "bounce-2"] {
            let mut bounce = world.nylas.bounced(&welcome.message_id, "mailbox_unavailable", "550").expect("sent");
            bounce["id"] = mark.into();
            deliver(world, &bounce).await;
            decided_in(world, &bounce).await;
        }
        let record = until(world, "bounced", "it is known to bounce", |record| record["bounced"].is_object()).await;
        assert_eq!(record["armed"], json!({}));
        tokio::time::sleep(Duration::from_secs(DELAY.unsigned_abs() + 3)).await;
        assert_eq!((steps(world, "bounced"), alerts_about(world, "bounced")), (vec!["1.welcome".to_owned()], 1));
    });
}

#[test]
fn strangers_booking_and_another_campaigns_labels_are_ignored() {
    in_the_world(async |world| {
        let object = json!({"booking_id": "b-stranger", "configuration_id": "somebody-elses", "booking_info": {
            "event_id": "e", "start_time": now() + 7200, "end_time": now() + 9000, "guest_timezone": "UTC",
            "participants": [{"email": "stranger@else.example"}, {"email": ONBOARDING_EMAIL}]}});
        let booking = notification("booking.created", "stranger", &object);
        deliver(world, &booking).await;
        let record = decided_in(world, &booking).await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("skipped", "nobody who booked is a customer"));
        let campaign = json!({"message_id": "m", "label": "spring-campaign", "timestamp": now()});
        deliver(world, &notification("message.opened", "campaign", &campaign)).await;
        let foreign =
            json!({"message_id": "m", "label": "0123456789abcdef0123456789abcdef.1.welcome", "timestamp": now()});
        let foreign = notification("message.opened", "foreign", &foreign);
        deliver(world, &foreign).await;
        assert_eq!(decided_in(world, &foreign).await.reason, "the label is of no customer of this deployment");
        assert!(world.view.record(FUNCTION, "campaign").await.expect("an answer").is_none(), "ingress leaves it out");
    });
}

#[test]
fn second_sign_up_changes_nothing_and_one_after_the_end_begins_run_2() {
    in_the_world(async |world| {
        sign_up(world, "again").await;
        until_state(world, "again", "welcome_sent").await;
        let sign_up_as = async |id: &str| {
            let event = event("customer.signed_up", id, &address("again"), "Again");
            assert_eq!(tell(world, &event).await.expect("told"), 202);
            event
        };
        let second = sign_up_as("signed-up-again-2").await;
        assert_eq!(decided_in(world, &second).await.reason, "the customer's onboarding is under way");
        complete(world, "again").await;
        until_state(world, "again", "onboarded").await;
        sign_up_as("signed-up-again-3").await;
        let record = until_state(world, "again", "welcome_sent").await;
        assert_eq!(
            (&record["run"], steps(world, "again")),
            (&json!(2), vec!["1.welcome".to_owned(), "2.welcome".to_owned()])
        );
        complete(world, "again").await;
        // The same event of the product is taken once; another ends the second run.
        let event = event("customer.onboarding_completed", "done-again-2", &address("again"), "Again");
        assert_eq!(tell(world, &event).await.expect("told"), 202);
        until_state(world, "again", "onboarded").await;
    });
}

#[test]
fn mail_that_waits_because_nylas_takes_no_more_is_brought_back_by_a_schedule_of_its_own() {
    in_the_world(async |world| {
        let send = format!("/v3/grants/{ONBOARDING_GRANT}/messages/send");
        world.nylas.faults().add(FaultRule::next(1, Fault::status_with_retry_after(429, "6")).on("POST", &send));
        let begun = Instant::now();
        sign_up(world, "throttled").await;
        let waits =
            until(world, "throttled", "the mail waits", |record| record["mails"]["welcome"]["progress"] == "waiting")
                .await;
        assert_eq!(waits["state"], "new");
        until_state(world, "throttled", "welcome_sent").await;
        assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
        assert_eq!(steps(world, "throttled"), ["1.welcome"]);
        complete(world, "throttled").await;
        world.nylas.faults().clear();
    });
}

#[test]
fn answers_that_leave_the_sending_open_end_in_one_mail() {
    in_the_world(async |world| {
        world.nylas.time_out_sends_after_sending(1);
        sign_up(world, "unknown").await;
        until_state(world, "unknown", "welcome_sent").await;
        world.nylas.accept_sends_without_id(1);
        sign_up(world, "accepted").await;
        until_state(world, "accepted", "welcome_sent").await;
        world.nylas.set_trial(true);
        sign_up(world, "trial").await;
        until_state(world, "trial", "welcome_sent").await;
        world.nylas.set_trial(false);
        assert!(!mail_of(world, "trial", "1.welcome").tracked);
        for who in ["unknown", "accepted", "trial"] {
            assert_eq!(steps(world, who), ["1.welcome"], "{who}");
            complete(world, who).await;
        }
    });
}

#[test]
fn process_killed_between_the_sending_and_the_record_sends_one_mail() {
    in_the_world(async |world| {
        let onboarding = queue(world, "Onboarding");
        let function = world.stack.function_name("OnboardingTransitions").expect("a name");
        world.view.set_visibility_timeout(&onboarding, 5).await.expect("set");
        world.nylas.hold_sends(Duration::from_secs(20));
        sign_up(world, "killed").await;
        eventually("the mail is sent", async || !mails_to(world, &address("killed")).is_empty()).await;
        let killed = world.engine.kill_function(function).expect("processes to kill");
        assert!(!killed.is_empty(), "no process was at work");
        world.nylas.hold_sends(Duration::ZERO);
        let customers = Customers::of(world).await.expect("the table");
        // The follow-up counts from the sending, so that its time may have come already.
        let is_sent = |record: &Value| record["mails"]["welcome"]["progress"] == "sent";
        let within = Duration::from_mins(3);
        let ended = customers.until(&address("killed"), "the mail is known to be sent", within, is_sent).await;
        ended.unwrap_or_else(|error| panic!("{error}"));
        world.view.set_visibility_timeout(&onboarding, 180).await.expect("set");
        mail_of(world, "killed", "1.welcome");
        complete(world, "killed").await;
        until_state(world, "killed", "onboarded").await;
    });
}

#[test]
fn refused_link_lies_in_the_dead_letter_queue_is_told_once_and_is_mended_by_a_redrive() {
    in_the_world(async |world| {
        let letters = queue(world, "OnboardingDeadLetter");
        world.view.take_all(&letters).await.expect("emptied");
        world.nylas.deny_links_to("northwind.example");
        sign_up(world, "denied").await;
        let id = "signed-up-denied";
        let is_over = |record: &DecisionRecord| record.state == "failed";
        let record =
            world.view.decision(id, Duration::from_mins(1), is_over).await.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(record.class.as_deref(), Some("nylas.mail_refused"));
        let told = world.alerts.texts();
        let told = told
            .iter()
            .filter(|text| text.contains("https://northwind.example/setup") && text.contains("welcome"))
            .count();
        assert_eq!(told, 1, "one alert names the link");
        let letter = world.view.take_all(&letters).await.expect("letters").pop().expect("one letter");
        world.nylas.allow_links_to("northwind.example");
        world.nylas.forget_idempotency_keys();
        let again = sha256_hex(&[b"redrive denied"]);
        world.view.put(&queue(world, "Onboarding"), &letter.body, "redrive", &again).await.expect("put");
        until_state(world, "denied", "welcome_sent").await;
        assert_eq!(steps(world, "denied"), ["1.welcome"]);
        complete(world, "denied").await;
    });
}

#[test]
fn documents_in_dynamodb_keep_the_rules_of_documents() {
    in_the_world(async |world| {
        let config = world.engine.aws_config().await;
        let table = world.stack.output("OnboardingTableName").expect("a table").to_owned();
        let documents = DynamoDocuments::new(&config, table, "email");
        documents_keep_their_rules(&documents, &format!("rules-{}@e2e.example", now())).await;
    });
}

#[test]
fn nothing_was_given_up_and_no_schedule_failed_in_all_these_onboardings() {
    in_the_world(async |world| {
        let letters = world.stack.dead_letter_queue_url("Onboarding").expect("a queue").to_owned();
        assert_eq!(world.view.depth(&letters).await.expect("a depth"), 0);
        let undelivered = world.stack.dead_letter_queue_url("Scheduler").expect("a queue").to_owned();
        assert_eq!(world.view.depth(&undelivered).await.expect("a depth"), 0);
    });
}

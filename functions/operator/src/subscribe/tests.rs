//! What `subscribe` does in which order, against Nylas and the managed secret in memory.

use super::testing::{Done, MemoryWebhooks, challenge_not_met};
use super::*;
use crate::testing::nylas_is_slow;
use shared::engine::testing::KeptLog;

const NOW: i64 = 1_772_359_200;

/// One call of the command on a day, counted from the first.
async fn called_on(day: i64, webhooks: &MemoryWebhooks, asked: Subscription) -> Result<Told, Stopped> {
    let now = Timestamp::from_second(NOW + day * 86_400).expect("a time");
    let deadline = Deadline::after(Duration::from_secs(40));
    let began = (now, Instant::now());
    Subscribing { port: webhooks, asked, deadline, began, rows: Vec::new(), again: None }.carry_out().await
}

async fn called(webhooks: &MemoryWebhooks, asked: Subscription) -> Told {
    called_on(0, webhooks, asked).await.expect("it is answered")
}

async fn refused(webhooks: &MemoryWebhooks, asked: Subscription) -> String {
    match called_on(0, webhooks, asked).await {
        Err(Stopped::Refused(error)) => error,
        other => panic!("it is not refused: {other:?}"),
    }
}

/// The row about something.
fn row<'a>(told: &'a Told, what: &str) -> &'a Value {
    told.rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("no {what}: {told:?}"))
}

fn state<'a>(told: &'a Told, what: &str) -> &'a str {
    row(told, what)["state"].as_str().expect("a state")
}

fn kept(webhooks: &MemoryWebhooks) -> ManagedSecrets {
    ManagedSecrets::parse(webhooks.standing().kept.as_deref().unwrap_or("[]")).expect("a list")
}

fn secrets(list: &ManagedSecrets) -> Vec<&str> {
    list.secrets.iter().map(|secret| secret.secret.expose_secret()).collect()
}

const PLAIN: Subscription = Subscription { rotate: false, activate: false, check: false, force: false };
const ROTATE: Subscription = Subscription { rotate: true, ..PLAIN };
const ACTIVATE: Subscription = Subscription { activate: true, ..PLAIN };
const CHECK: Subscription = Subscription { check: true, ..PLAIN };
const FORCE: Subscription = Subscription { force: true, ..PLAIN };

/// A stack with its webhook, its secret stored and its mark over.
async fn subscribed() -> MemoryWebhooks {
    let webhooks = MemoryWebhooks::default();
    called_on(-1, &webhooks, PLAIN).await.expect("it is made");
    webhooks.taken();
    webhooks
}

#[tokio::test(start_paused = true)]
async fn webhook_is_made_under_a_mark_that_every_instance_has_seen_and_its_secret_is_stored() {
    let webhooks = MemoryWebhooks::default();
    let told = called(&webhooks, PLAIN).await;
    assert!(told.ready, "{told:?}");
    let done = std::mem::take(&mut webhooks.standing().done);
    let [(marked_at, Done::Kept(marked)), (made_at, Done::Created(new)), (_, Done::Kept(stored))] = done.as_slice()
    else {
        panic!("another order: {done:?}")
    };
    assert!(*made_at - *marked_at >= Duration::from_secs(10), "instances may not have seen the mark");
    let marked = ManagedSecrets::parse(marked).expect("a list");
    assert!(marked.is_unfinished() && marked.secrets.is_empty());
    let half_an_hour = Timestamp::from_second(NOW + 1800).expect("a time");
    assert_eq!(marked.mark.map(|mark| mark.rotating_until), Some(half_an_hour));
    let stored = ManagedSecrets::parse(stored).expect("a list");
    assert!(stored.know("w-1") && !stored.is_unfinished());
    assert_eq!(secrets(&stored), ["secret-1"]);
    assert!(new.compressed_delivery && new.description.contains("autopilot"));
    assert_eq!(new.notification_email_addresses, ["ops@northwind.example"]);
    assert!(new.trigger_types.contains(&"grant.expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn second_call_changes_nothing() {
    let webhooks = subscribed().await;
    let told = called(&webhooks, PLAIN).await;
    assert!(told.ready && state(&told, "secret").starts_with("stored, made 2026-02-28T10:00Z"), "{told:?}");
    // The mark is over since: it is taken out, and nothing else is done.
    let [Done::Kept(text)] = webhooks.taken().try_into().expect("one write");
    assert!(!text.contains("rotating_until") && text.contains("secret-1"));
    called(&webhooks, PLAIN).await;
    assert_eq!(webhooks.taken(), []);
}

#[tokio::test(start_paused = true)]
async fn rotation_keeps_the_old_secret_for_a_day_and_ends_it_at_the_next_call_after_that() {
    let webhooks = subscribed().await;
    let told = called(&webhooks, ROTATE).await;
    assert!(state(&told, "secret").contains("1 older kept until a `subscribe` after 2026-03-02T10:00Z"), "{told:?}");
    assert_eq!(secrets(&kept(&webhooks)), ["secret-1", "secret-2"]);
    called_on(1, &webhooks, PLAIN).await.expect("an answer");
    assert_eq!(secrets(&kept(&webhooks)), ["secret-1", "secret-2"], "ten seconds are missing to a day");
    let told = called_on(2, &webhooks, PLAIN).await.expect("an answer");
    assert_eq!(secrets(&kept(&webhooks)), ["secret-2"]);
    assert!(state(&told, "secret").contains("ended now"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn secret_that_could_not_be_stored_is_made_again_by_the_next_call() {
    let webhooks = subscribed().await;
    webhooks.standing().writes_fail = (1..=TRIES_TO_STORE).map(|_| 0).collect();
    webhooks.standing().writes_fail[0] = 1;
    let stopped = called_on(0, &webhooks, ROTATE).await.expect_err("it cannot be stored");
    assert!(matches!(stopped, Stopped::Unavailable { then, .. } if then.contains("subscribe again at once")));
    assert!(kept(&webhooks).is_unfinished() && secrets(&kept(&webhooks)) == ["secret-1"]);
    let told = called_on(1, &webhooks, PLAIN).await.expect("an answer");
    assert!(state(&told, "secret").contains("a rotation broke off"), "{told:?}");
    assert_eq!(secrets(&kept(&webhooks)).last(), Some(&"secret-3"), "the second is lost for good");
    assert!(!kept(&webhooks).is_unfinished());
}

#[tokio::test(start_paused = true)]
async fn write_that_fails_is_tried_again_before_the_secret_is_given_up() {
    let webhooks = subscribed().await;
    webhooks.standing().writes_fail = vec![1, 0, 0];
    called(&webhooks, ROTATE).await;
    assert_eq!(secrets(&kept(&webhooks)), ["secret-1", "secret-2"]);
}

#[tokio::test(start_paused = true)]
async fn webhook_whose_secret_nobody_has_gets_another_and_one_of_a_parameter_is_left_alone() {
    let webhooks = subscribed().await;
    webhooks.standing().kept = None;
    let told = called(&webhooks, PLAIN).await;
    assert!(state(&told, "secret").contains("nobody had the secret"), "{told:?}");
    assert_eq!(secrets(&kept(&webhooks)), ["secret-2"]);

    webhooks.standing().kept = None;
    webhooks.standing().stack.resources.insert("WebhookSecret".to_owned(), "arn:parameter".to_owned());
    webhooks.taken();
    let told = called(&webhooks, PLAIN).await;
    assert!(told.ready && state(&told, "secret").contains("NylasWebhookSecret"), "{told:?}");
    assert_eq!(webhooks.taken(), []);
}

#[tokio::test(start_paused = true)]
async fn of_two_calls_at_once_one_makes_a_secret_and_the_other_says_so() {
    let webhooks = subscribed().await;
    let others = kept(&webhooks).marked(Timestamp::from_second(NOW).expect("a time"));
    webhooks.standing().written_over = Some(others.text().expose_secret().to_owned());
    let error = refused(&webhooks, ROTATE).await;
    assert!(error.contains("another `subscribe` is at it") && !webhooks.taken().contains(&Done::Rotated), "{error}");
    let error = refused(&webhooks, PLAIN).await;
    assert!(error.contains("less than a minute ago"), "{error}");
    assert_eq!(webhooks.taken(), [], "the mark is somebody else's");
    called(&webhooks, FORCE).await;
    assert!(webhooks.taken().contains(&Done::Rotated));
}

#[tokio::test(start_paused = true)]
async fn secret_that_somebody_else_stored_meanwhile_stays_and_another_is_asked_for() {
    let webhooks = subscribed().await;
    let now = Timestamp::from_second(NOW).expect("a time");
    let others = kept(&webhooks).renewed(SecretString::from("of-another"), "w-1", now);
    let marked = kept(&webhooks).marked(now);
    let first = WithSecret {
        webhook: Webhook { id: "w-1".to_owned(), ..Webhook::default() },
        secret: SecretString::from("ours"),
    };
    let began = (now, Instant::now());
    let deadline = Deadline::after(Duration::from_secs(40));
    let subscribing = Subscribing { port: &webhooks, asked: ROTATE, deadline, began, rows: Vec::new(), again: None };
    let mut managed = Managed { arn: "arn:managed", list: marked };
    webhooks.standing().kept = Some(others.text().expose_secret().to_owned());
    subscribing.store(&mut managed, &first, "a version that is gone").await.expect("stored");
    assert_eq!(secrets(&kept(&webhooks)), ["secret-1", "of-another", "ours"]);
    assert!(kept(&webhooks).is_unfinished(), "which of them is live cannot be told");
}

#[tokio::test(start_paused = true)]
async fn challenge_that_is_not_met_is_told_with_its_likely_causes_and_leaves_no_mark() {
    let webhooks = MemoryWebhooks::default();
    webhooks.standing().nylas_fails = Some(challenge_not_met());
    let error = refused(&webhooks, PLAIN).await;
    for words in ["no secret was changed", "got 404", "?challenge=hello", "webhook-ingress does not run"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(kept(&webhooks).mark.is_none());
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_missing_leaves_the_mark_and_the_next_call_makes_another_secret() {
    for made_all_the_same in [true, false] {
        let webhooks = MemoryWebhooks::default();
        webhooks.standing().nylas_fails = Some(nylas_is_slow());
        webhooks.standing().made_all_the_same = made_all_the_same;
        let error = refused(&webhooks, PLAIN).await;
        assert!(error.contains("not known whether Nylas made a secret"), "{error}");
        assert!(kept(&webhooks).is_unfinished());
        let told = called_on(1, &webhooks, PLAIN).await.expect("an answer");
        assert!(told.ready && !kept(&webhooks).is_unfinished() && kept(&webhooks).know("w-1"), "{told:?}");
        let live = format!("secret-{}", webhooks.standing().made);
        assert_eq!(secrets(&kept(&webhooks)), [live], "{made_all_the_same}");
        assert_eq!(webhooks.standing().webhooks.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_for_which_no_time_is_left() {
    let webhooks = MemoryWebhooks::default();
    let began = (Timestamp::from_second(NOW).expect("a time"), Instant::now());
    let deadline = Deadline::after(Duration::from_secs(20));
    let subscribing = Subscribing { port: &webhooks, asked: PLAIN, deadline, began, rows: Vec::new(), again: None };
    let stopped = subscribing.carry_out().await.expect_err("there is no time");
    assert!(matches!(stopped, Stopped::Refused(error) if error.contains("no time is left")));
    assert_eq!(webhooks.taken(), []);
}

#[tokio::test(start_paused = true)]
async fn call_is_answered_within_40_seconds_however_long_ingress_waits() {
    let webhooks = MemoryWebhooks::default();
    let begun = Instant::now();
    called(&webhooks, PLAIN).await;
    assert!(begun.elapsed() < Duration::from_secs(40));
    webhooks.standing().logged_after = None;
    let begun = Instant::now();
    called_on(1, &webhooks, CHECK).await.expect("an answer");
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[tokio::test(start_paused = true)]
async fn what_differs_is_changed_and_said() {
    let webhooks = subscribed().await;
    webhooks.standing().webhooks[0].trigger_types.retain(|kind| kind != "event.deleted");
    let told = called(&webhooks, PLAIN).await;
    assert!(state(&told, "settings").contains("added event.deleted"), "{told:?}");
    let done = webhooks.taken();
    let changes: Vec<&Value> =
        done.iter().filter_map(|done| if let Done::Changed(change) = done { Some(change) } else { None }).collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].as_object().map(Map::len), Some(1), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn failed_webhook_is_made_active_at_once_and_a_paused_one_only_if_that_is_asked_for() {
    let webhooks = subscribed().await;
    let set = |status: &str| {
        webhooks.standing().webhooks[0].status = Some(status.to_owned());
        webhooks.standing().webhooks[0].status_updated_at = Some(NOW - 3600);
    };
    set("failed");
    let told = called(&webhooks, PLAIN).await;
    assert!(told.ready && state(&told, "state").starts_with("active again; it was failed"), "{told:?}");
    assert!(
        state(&told, "missed").contains("from 2026-02-26T09:00:00Z on") && state(&told, "missed").contains("reconcile")
    );
    assert!(webhooks.taken().contains(&Done::Changed(json!({ "status": "active" }))));

    for status in ["pause", "failing"] {
        set(status);
        let told = called(&webhooks, PLAIN).await;
        assert!(!told.ready && row(&told, "state")["to_do"].is_string(), "{told:?}");
        assert_eq!((told.again, webhooks.taken()), (Some(json!({ "command": "subscribe", "activate": true })), vec![]));
        let told = called(&webhooks, ACTIVATE).await;
        assert!(told.ready && state(&told, "missed").contains("from 2026-03-01T09:00:00Z on"), "{told:?}");
        assert_eq!(webhooks.taken(), [Done::Changed(json!({ "status": "active" }))]);
    }
    set("failed");
    webhooks.standing().nylas_fails = Some(challenge_not_met());
    let error = refused(&webhooks, PLAIN).await;
    assert!(error.starts_with("the webhook stays `failed`: ") && error.contains("?challenge=hello"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn test_event_is_right_once_its_refusal_is_in_the_log_whatever_nylas_says() {
    for said in ["failed", "success"] {
        let webhooks = subscribed().await;
        webhooks.standing().said = said.to_owned();
        webhooks.standing().logged_after = Some(3);
        let told = called(&webhooks, CHECK).await;
        assert!(told.ready && state(&told, "test event").contains("refused with 401"), "{told:?}");
        assert!(state(&told, "test event").contains(&format!("\"{said}\"")), "{told:?}");
    }
    let webhooks = subscribed().await;
    webhooks.standing().logged_after = None;
    let told = called(&webhooks, CHECK).await;
    assert!(!told.ready && row(&told, "test event")["to_do"].as_str().is_some_and(|to_do| to_do.contains("curl")));
}

#[tokio::test(start_paused = true)]
async fn test_event_is_not_sent_while_its_answer_would_be_503_and_is_wrong_where_its_secret_is_live() {
    let webhooks = MemoryWebhooks::default();
    let told = called(&webhooks, CHECK).await;
    assert!(!told.ready && state(&told, "test event").contains("not sent: until"), "{told:?}");
    assert_eq!(told.again, Some(json!({ "command": "subscribe", "check": true })));
    assert!(!webhooks.taken().contains(&Done::Tested));

    let webhooks = subscribed().await;
    webhooks.standing().kept = Some(r#"["mock-webhook-secret", {"secret": "s", "webhook_id": "w-1"}]"#.to_owned());
    let told = called(&webhooks, CHECK).await;
    assert!(!told.ready && state(&told, "test event").contains("is a live one"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn managed_secret_that_is_no_list_is_told_without_what_it_holds() {
    let webhooks = MemoryWebhooks::default();
    webhooks.standing().kept = Some("hush-hush".to_owned());
    let error = refused(&webhooks, PLAIN).await;
    assert!(error.contains("no JSON list") || error.contains("not a JSON list"), "{error}");
    assert!(!error.contains("hush"), "{error}");
    assert_eq!(webhooks.taken(), []);
}

#[tokio::test(start_paused = true)]
async fn no_secret_stands_in_an_answer_or_in_a_log() {
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let webhooks = MemoryWebhooks::default();
    let mut answers = format!("{:?}", called(&webhooks, PLAIN).await);
    answers.push_str(&format!("{:?}", called_on(1, &webhooks, ROTATE).await));
    drop(guard);
    assert!(!answers.contains("secret-1") && !answers.contains("secret-2"), "{answers}");
    assert!(!log.text().contains("secret-") && !log.text().contains("ops@"), "{}", log.text());
}

#[test]
fn event_may_say_what_is_to_be_done_and_nothing_else() {
    let read = |event: Value| Subscription::read(event.as_object().expect("an object").clone());
    assert_eq!(read(json!({})), Ok(PLAIN));
    assert_eq!(read(json!({ "rotate": true, "check": null })), Ok(ROTATE));
    let error = read(json!({ "rotated": true })).expect_err("unknown").to_string();
    assert!(error.contains("unknown field `rotated`"), "{error}");
    assert!(read(json!({ "rotate": "yes" })).is_err());
}

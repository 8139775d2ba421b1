//! The whole examination in memory: all green, then each line red once, and nothing that hides anything else.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::engine::testing::{KeptLog, MemoryLinks};
use shared::engine::watermark::advance_watermark;
use shared::engine::{Deadline, Links as _};
use shared::http::CallError;
use shared::nylas::mailboxes::Grant;
use shared::nylas::webhooks::Webhook;
use std::time::Duration;

use super::alarms::Subscription;
use super::queues::Depths;
use super::secrets::Managed;
use super::testing::MemoryExamined;
use crate::operate::{Invocation, Operator};
use crate::subscribe::desired::Desired;
use crate::subscribe::testing::MemoryWebhooks;
use crate::testing::{InMemory, MemoryArchive, MemoryNylas, MemorySystem, crm, operator, tickets};

const NOW: i64 = 1_772_359_200;
const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

fn grant(id: &str, status: &str) -> Grant {
    Grant {
        id: id.to_owned(),
        email: Some(format!("canary.{id}@northwind.example")),
        provider: Some("google".to_owned()),
        grant_status: Some(status.to_owned()),
    }
}

async fn put(links: &MemoryLinks, kind: &str, key: &str, state: LinkState, changed_at: i64, facts: Value) {
    let facts = facts.as_object().cloned().unwrap_or_else(Map::new);
    let key = LinkKey::new(kind, key);
    let revision = links.get(&key).await.expect("an answer").map(|standing| standing.revision);
    let link = Link { key, state, version: Version { sequence: 0, changed_at }, content: None, facts };
    links.put(&link, revision, at(NOW)).await.expect("put");
}

/// A stack that is well in everything, eight and a half hours after the last night.
async fn well() -> Operator<InMemory> {
    let nylas = MemoryNylas::default();
    let links = MemoryLinks::default();
    for id in ["rep", "support", "onboarding"] {
        nylas.connect(grant(id, "valid"));
        for function in ["email-activity", "calendar-sync", "notetaker-media", "ticket-triage"] {
            let id = GrantId::parse(id).expect("an id");
            advance_watermark(&links, function, &id, at(NOW - 9 * HOUR), at(NOW)).await.expect("written");
        }
    }
    let latest = json!({ "run": "nightly-20260301-1", "began_at": NOW - 8 * HOUR });
    put(&links, "contact-sync", "latest-run", LinkState::Note, 0, latest).await;
    let examined = MemoryExamined::default();
    let desired = Desired::of(&examined.stack, "autopilot").expect("a stack with an address");
    let webhooks = MemoryWebhooks::default();
    webhooks.standing().webhooks.push(Webhook {
        id: "w-1".to_owned(),
        status: Some("active".to_owned()),
        trigger_types: desired.to_new().trigger_types,
        webhook_url: desired.url,
        ..Webhook::default()
    });
    Operator {
        links,
        nylas,
        archive: MemoryArchive::down(),
        tickets: tickets(Some(MemorySystem::default())),
        webhooks,
        examined,
        ..operator()
    }
}

async fn answered(operator: &Operator<InMemory>) -> Value {
    let invocation =
        Invocation { id: "i-1".to_owned(), now: at(NOW), deadline: Deadline::after(Duration::from_mins(5)) };
    let answer = operator.answer(&json!({ "command": "doctor" }), &invocation).await.expect("an answer");
    serde_json::to_value(answer).expect("JSON")
}

/// The lines that are not ok, by name.
fn not_ok(answer: &Value) -> Vec<(&str, &str)> {
    let rows = answer["rows"].as_array().expect("rows").iter().filter(|row| row["state"] != "ok");
    rows.map(|row| (row["what"].as_str().expect("a text"), row["state"].as_str().expect("a text"))).collect()
}

/// What to do about a line.
fn to_do<'a>(answer: &'a Value, what: &str) -> &'a str {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["what"] == what).and_then(|row| row["to_do"].as_str()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn stack_that_is_well_is_green_in_every_line() {
    let answer = answered(&well().await).await;
    assert_eq!(not_ok(&answer), [], "{answer}");
    assert_eq!((&answer["command"], &answer["ready"]), (&json!("doctor"), &json!(true)));
    assert_eq!(answer["text"], "Everything that is on works.");
    let names: Vec<&str> =
        answer["rows"].as_array().expect("rows").iter().filter_map(|row| row["what"].as_str()).collect();
    for area in [
        "the last deployment",
        "the function email-activity",
        "the webhook secret",
        "the secret of `CrmApiKey`",
        "the Nylas key",
        "the webhook at Nylas",
        "the connected accounts",
        "the tracking of onboarding mail",
        "the CRM (hubspot)",
        "the ticket system (zendesk)",
        "the queue of contact-sync",
        "the dead letters of ticket-triage",
        "the unroutable queue",
        "the dead letters of the schedules",
        "the schedule NightlyContactSync",
        "the alarms",
        "who is told of alarms",
    ] {
        assert!(names.contains(&area), "no line about {area} among {names:?}");
    }
}

/// Something goes wrong; the line that tells it, and words of what to do.
type Fault = (fn(&mut Operator<InMemory>), &'static str, &'static str);

fn refused(api: &'static str, parameter: &'static str) -> CallError {
    CallError::Unauthorized { api, status: 401, parameter }
}

const FAULTS: [Fault; 29] = [
    (
        |stack| stack.examined.stack.status = "UPDATE_ROLLBACK_FAILED".to_owned(),
        "the last deployment",
        "continue-update-rollback",
    ),
    (
        |stack| {
            stack.examined.managed = Managed::default();
            stack.examined.empty.insert("arn:WebhookSecret");
        },
        "the webhook secret",
        "make subscribe",
    ),
    (|stack| empty(stack, "arn:NylasApiKeySecret"), "the secret of `NylasApiKey`", "put-secret-value"),
    (|stack| empty(stack, "arn:EventsSecret"), "the secret of `CustomerEventsSecret`", "deploy"),
    (|stack| empty(stack, "arn:CrmApiKeySecret"), "the secret of `CrmApiKey`", "deploy"),
    (|stack| empty(stack, "arn:CrmRefreshTokenSecret"), "the secret of `CrmRefreshToken`", "deploy"),
    (|stack| empty(stack, "arn:TicketApiKeySecret"), "the secret of `TicketApiKey`", "deploy"),
    (|stack| empty(stack, "arn:AlertWebhookSecret"), "the secret of `AlertWebhookUrl`", "deploy"),
    (|stack| empty(stack, "arn:SupportGrantsSecret"), "the secret of `SupportGrantIds`", "deploy"),
    (|stack| stack.webhooks.standing().webhooks.clear(), "the webhook at Nylas", "make subscribe"),
    (
        |stack| change_webhook(stack, |webhook| webhook.status = Some("failed".to_owned())),
        "the webhook at Nylas",
        "make subscribe",
    ),
    (
        |stack| change_webhook(stack, |webhook| drop(webhook.trigger_types.pop())),
        "the webhook at Nylas",
        "make subscribe",
    ),
    (|stack| stack.nylas.connect(grant("lost", "invalid")), "the account lost", "connect it again"),
    (|stack| stack.nylas.connect(grant("support", "invalid")), "the support mailbox support", "do it now"),
    (|stack| stack.nylas.connect(grant("onboarding", "invalid")), "the onboarding account onboarding", "do it now"),
    (|stack| stack.nylas.disconnect("support"), "the grant support of `SupportGrantIds`", "put its grant id"),
    (|stack| stack.nylas.disconnect("onboarding"), "the grant onboarding of `OnboardingGrantId`", "put its grant id"),
    (
        |stack| stack.crm = crm(Some(MemorySystem::answering(Err(refused("HubSpot", "CrmApiKey"))))),
        "the CRM (hubspot)",
        "put a valid one into `CrmApiKey`",
    ),
    (
        |stack| stack.tickets = tickets(Some(MemorySystem::answering(Err(refused("Zendesk", "TicketApiKey"))))),
        "the ticket system (zendesk)",
        "put a valid one into `TicketApiKey`",
    ),
    (
        |stack| lay(stack, "https://sqs/1/CalendarSync-dead.fifo"),
        "the dead letters of calendar-sync",
        "make dead-letters",
    ),
    (|stack| lay(stack, "https://sqs/1/unroutable"), "the unroutable queue", "delete them once they are understood"),
    (|stack| lay(stack, "https://sqs/1/of-schedules"), "the dead letters of the schedules", "make reconcile"),
    (
        |stack| drop(stack.examined.schedules.remove("stack-CalendarReconcileSchedule")),
        "the schedule CalendarReconcileSchedule",
        "make it again under its name",
    ),
    (
        |stack| {
            let schedule = stack.examined.schedules.get_mut("stack-EmailReconcileSchedule");
            schedule.expect("a schedule").is_enabled = false;
        },
        "the schedule EmailReconcileSchedule",
        "enable it",
    ),
    (|stack| stack.links = MemoryLinks::default(), "the schedule NightlyContactSync", "make sync"),
    (|stack| stack.examined.alarms[0].state = "ALARM".to_owned(), "the alarm CalendarSyncErrorsAlarm", "runbook"),
    (|stack| drop(stack.examined.alarms.pop()), "the alarm UnroutableAlarm", "make it again"),
    (
        |stack| stack.examined.alarms[1].actions_enabled = false,
        "the alarm GrantsExpiredAlarm",
        "enable-alarm-actions --alarm-names stack-GrantsExpiredAlarm",
    ),
    (|stack| stack.examined.subscriptions.clear(), "who is told of alarms", "subscribe the address again"),
];

fn empty(stack: &mut Operator<InMemory>, secret: &'static str) {
    stack.examined.empty.insert(secret);
}

fn change_webhook(stack: &Operator<InMemory>, change: impl FnOnce(&mut Webhook)) {
    change(&mut stack.webhooks.standing().webhooks[0]);
}

fn lay(stack: &mut Operator<InMemory>, queue: &'static str) {
    stack.examined.depths.insert(queue, Depths { waiting: 2, ..Depths::default() });
}

#[tokio::test(start_paused = true)]
async fn each_fault_turns_its_own_line_red_and_says_what_to_do() {
    for (fault, line, words) in FAULTS {
        let mut operator = well().await;
        fault(&mut operator);
        let answer = answered(&operator).await;
        let red = not_ok(&answer);
        assert!(red.contains(&(line, "red")), "{line}: {red:?}");
        assert!(to_do(&answer, line).contains(words), "{line}: {answer}");
        assert_eq!(answer["ready"], false, "{line}");
        // Without links no night of any function is known of; all other faults are told in one line.
        assert!(red.len() == 1 || line == "the schedule NightlyContactSync", "{line}: {red:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_works_and_should_be_seen_to_is_a_warning_and_no_reason_not_to_be_ready() {
    const WARNINGS: [Fault; 6] = [
        (
            |stack| drop(stack.examined.stack.resources.remove("EventsSecret")),
            "the function onboarding-transitions",
            "`CustomerEventsSecret`",
        ),
        (|stack| drop(stack.examined.stack.resources.remove("AlertWebhookSecret")), "alerts", "`AlertWebhookUrl`"),
        (|stack| drop(stack.examined.stack.resources.remove("AlarmTopic")), "who is told of alarms", "`AlarmEmail`"),
        (
            |stack| stack.examined.subscriptions = vec![Subscription { is_confirmed: false }],
            "who is told of alarms",
            "open the mail of AWS",
        ),
        (|stack| lay(stack, "https://sqs/1/EmailActivity.fifo"), "the queue of email-activity", "is enabled"),
        (
            |stack| stack.examined.managed.rotating_until = Some(at(NOW - HOUR)),
            "the webhook secret",
            "rotate once more",
        ),
    ];
    for (fault, line, words) in WARNINGS {
        let mut operator = well().await;
        fault(&mut operator);
        let answer = answered(&operator).await;
        assert_eq!(not_ok(&answer), [(line, "warning")], "{answer}");
        assert!(to_do(&answer, line).contains(words), "{line}: {answer}");
        assert_eq!(answer["ready"], true, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn tracking_that_was_refused_is_a_warning_and_an_expired_account_tells_what_it_missed() {
    let operator = well().await;
    let words = json!({ "text": "Tracking options are not allowed for trial accounts" });
    put(&operator.links, "tracking-refused", "onboarding", LinkState::Note, 0, words).await;
    operator.nylas.connect(grant("rep", "invalid"));
    let expired = LinkState::Live { became: "expired".to_owned() };
    put(&operator.links, "account", "rep", expired, NOW - 10 * HOUR, json!({})).await;
    let answer = answered(&operator).await;
    assert_eq!(
        not_ok(&answer),
        [("the account rep", "red"), ("the tracking of onboarding mail", "warning")],
        "{answer}"
    );
    let rows = answer["rows"].as_array().expect("rows");
    let line = rows.iter().find(|row| row["what"] == "the account rep").expect("a line");
    let seen = line["seen"].as_str().expect("a text");
    assert!(seen.contains("has expired since 2026-03-01T00:00:00Z"), "{seen}");
    assert!(seen.contains("looked through until 2026-03-01T01:00:00Z, so 9 hours are missing"), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn nylas_that_refuses_the_key_costs_its_lines_and_no_other() {
    let operator = well().await;
    operator.nylas.fail_accounts(refused("Nylas", "NylasApiKey").into());
    let answer = answered(&operator).await;
    assert_eq!(not_ok(&answer), [("the Nylas key", "red"), ("the connected accounts", "red")], "{answer}");
    assert!(to_do(&answer, "the Nylas key").contains("`NylasApiKey`"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_examined_is_red_and_hides_nothing_else() {
    for (part, lines) in [
        (
            "stack",
            vec![
                "the configuration",
                "the secrets",
                "the webhook at Nylas",
                "the queues",
                "the schedules",
                "the alarms",
            ],
        ),
        ("schedules", super::schedules::SCHEDULES.map(|one| one.name).to_vec()),
        ("alarms", vec!["the alarms"]),
        ("subscriptions", vec!["who is told of alarms"]),
    ] {
        for hangs in [false, true] {
            let mut operator = well().await;
            let parts = if hangs { &mut operator.examined.hangs } else { &mut operator.examined.refuses };
            parts.insert(part);
            let begun = tokio::time::Instant::now();
            let answer = answered(&operator).await;
            assert!(begun.elapsed() <= Duration::from_secs(40), "{part}");
            let red = not_ok(&answer);
            assert_eq!(red.len(), lines.len(), "{part}: {red:?}");
            for line in lines.clone() {
                assert!(red.iter().any(|(what, state)| what.ends_with(line) && *state == "red"), "{part}: {red:?}");
            }
            let why = if hangs { "did not answer in time" } else { "AccessDenied" };
            assert!(answer.to_string().contains(why), "{answer}");
            assert!(to_do(&answer, "the Nylas key").is_empty(), "{part} hides nothing else");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_stand_in_the_answer_and_in_no_log() {
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let operator = well().await;
    operator.nylas.connect(grant("lost", "invalid"));
    let answer = answered(&operator).await;
    drop(guard);
    assert!(answer["table"].as_str().is_some_and(|table| table.contains("lost")), "{answer}");
    assert!(answer.to_string().contains("canary.lost@northwind.example"), "{answer}");
    let logged = log.text();
    assert!(logged.contains("doctor") && logged.contains("red"), "{logged}");
    assert!(!logged.contains("canary") && !logged.contains("northwind"), "{logged}");
}

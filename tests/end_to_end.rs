//! The end-to-end suite: the real template, deployed by `sam deploy`, the real binaries, real HTTP, IAM enforced.
//!
//! All tests share one local engine, one stack and one CRM, and run one after another. Set `WITHOUT_PERMISSION` to
//! `<function>:<action>`, for example `EmailActivity:dynamodb:UpdateItem`, to see the suite fail without it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "progress and findings for whoever runs the suite")]

use futures_util::StreamExt as _;
use sandbox::canaries;
use sandbox::demo;
use sandbox::local_engine::{Options, Tools, project_root};
use sandbox::logs_insights::{Query, queries_of};
use sandbox::metrics::Figures;
use sandbox::samples;
use sandbox::stack_view::DecisionRecord;
use sandbox::stand_ins::nylas_webhook::{NylasWebhook, posted, signature};
use sandbox::stand_ins::rest_crm::CrmContact;
use sandbox::stand_ins::{Fault, FaultRule, Faults, Grant};
use sandbox::world::{CUSTOMER_EVENTS_SECRET, WEBHOOK_SECRET, World};
use serde_json::{Value, json};
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::never_log::NEVER_LOG_KEY;
use shared::domain::digest::sha256_hex;
use shared::engine::testing::{
    decisions_keep_their_rules, leases_keep_their_rules, links_keep_their_rules, many_links_keep_their_rules,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[path = "end_to_end/calendars.rs"]
mod calendars;
#[path = "end_to_end/contacts.rs"]
mod contacts;
#[path = "end_to_end/doctor.rs"]
mod doctor;
#[path = "end_to_end/endurance.rs"]
mod endurance;
#[path = "end_to_end/forget.rs"]
mod forget;
#[path = "end_to_end/letters.rs"]
mod letters;
#[path = "end_to_end/notetakers.rs"]
mod notetakers;
#[path = "end_to_end/onboarding.rs"]
mod onboarding;
#[path = "end_to_end/operator.rs"]
mod operator;
#[path = "end_to_end/story.rs"]
mod story;
#[path = "end_to_end/subscribe.rs"]
mod subscribe;
#[path = "end_to_end/support.rs"]
mod support;
#[path = "end_to_end/vendors.rs"]
mod vendors;

/// Stands in every personal field of this suite's mails and of the samples, and may stand in no log line.
const CANARY: &str = canaries::WORD;

struct Suite {
    runtime: tokio::runtime::Runtime,
    world: Mutex<World>,
}

static SUITE: LazyLock<Suite> = LazyLock::new(|| {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let world = runtime.block_on(async {
        // Soon enough to be seen once within the suite.
        let often = [
            ("ReconcileSchedule", "rate(1 minute)".to_owned()),
            ("FollowUpAfter", "12s".to_owned()),
            ("NudgeAfter", "12s".to_owned()),
            ("EscalateAfter", "12s".to_owned()),
            ("OnboardingMailsPerMinute", "600".to_owned()),
            ("OnboardingMailsPerDay", "10000".to_owned()),
            ("AcknowledgeTickets", "on".to_owned()),
            ("IncidentStormWindow", format!("{}s", support::STORM_WINDOW.as_secs())),
        ];
        let options = Options::named("end-to-end");
        let world = World::start_with_canaries(&options, "crm-autopilot-tests", &often, |line| eprintln!("{line}"))
            .await
            .unwrap_or_else(|error| panic!("the world did not start: {error}"));
        // Calendars, notetakers and support mail are looked through when a test asks for it: the tests that hide something
        // from the stack could not tell otherwise who found it.
        for schedule in ["CalendarReconcileSchedule", "NotetakerReconcileSchedule", "TicketTriageReconcileSchedule"] {
            end_schedule(&world, schedule).await;
        }
        world.crm.add_contact(CrmContact::new("con_e2e", &prospect()).with_deal("deal_e2e"));
        if let Some((function, action)) =
            std::env::var("WITHOUT_PERMISSION").ok().as_deref().and_then(|text| text.split_once(':'))
        {
            let name = world.stack.function_name(function).expect("a function of the stack");
            world.engine.take_permission(name, action).await.expect("a permission to take");
        }
        world
    });
    Suite { runtime, world: Mutex::new(world) }
});

/// Runs one test with the world to itself, and a CRM and a ticket system without faults.
fn in_the_world(test: impl AsyncFnOnce(&World)) {
    let world = SUITE.world.lock().unwrap_or_else(PoisonError::into_inner);
    let without_faults = || [world.crm.faults(), world.tickets.faults()].into_iter().for_each(Faults::clear);
    without_faults();
    SUITE.runtime.block_on(test(&world));
    without_faults();
}

/// Ends a schedule of the template.
async fn end_schedule(world: &World, name: &str) {
    let tools = Tools::find().expect("the tools");
    let endpoint = world.engine.endpoint();
    let resources = tools.resources(&world.stack.name, Some(&endpoint)).await.expect("the stack's resources");
    world.engine.end_schedule(&resources[name]).await.expect("a schedule to end");
}

/// Lets a recurring schedule of the template go off within a minute, and every minute from then on.
async fn begin_schedule_soon(world: &World, name: &str) {
    let tools = Tools::find().expect("the tools");
    let endpoint = world.engine.endpoint();
    let resources = tools.resources(&world.stack.name, Some(&endpoint)).await.expect("the stack's resources");
    world.engine.repeat_schedule(&resources[name], "rate(1 minute)").await.expect("a schedule to change");
}

fn prospect() -> String {
    format!("{CANARY}.prospect@e2e.example")
}

/// A mail from the prospect to a rep.
fn mail(id: &str) -> Value {
    mail_of("grant-e2e", id, json!({}))
}

fn mail_of(grant: &str, id: &str, fields: Value) -> Value {
    let mut object = json!({
        "id": format!("mail-{id}"), "grant_id": grant, "object": "message", "thread_id": format!("thread-{id}"),
        "subject": format!("{CANARY} subject"), "snippet": format!("{CANARY} snippet"),
        "body": format!("<p>{CANARY} body</p>"), "date": 1_772_359_200, "folders": ["INBOX"], "unread": true,
        "from": [{"name": format!("{CANARY} Prospect"), "email": prospect()}],
        "to": [{"name": format!("{CANARY} Rep"), "email": format!("{CANARY}.rep@northwind.example")}],
        "cc": [], "bcc": [], "reply_to": [],
    });
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    notification("message.created", id, &object)
}

fn notification(kind: &str, id: &str, object: &Value) -> Value {
    json!({
        "specversion": "1.0", "type": kind, "source": "/google/emails/realtime", "id": id, "time": 1_772_359_201,
        "webhook_delivery_attempt": 1, "data": {"application_id": "app-e2e", "object": object},
    })
}

fn webhook(world: &World) -> NylasWebhook {
    world.webhook().expect("the stack has a webhook").delay_scale(0.000_1)
}

/// Delivers as Nylas does; it must arrive.
async fn deliver(world: &World, notification: &Value) {
    let delivery = webhook(world).deliver(notification).await;
    assert!(delivery.delivered, "{:?} for {}", delivery.attempts, notification["id"]);
}

async fn decided(world: &World, id: &str) -> DecisionRecord {
    world.view.decided(id).await.unwrap_or_else(|error| panic!("{error}"))
}

/// How many activities the CRM holds for a mail.
fn activities_of(world: &World, id: &str) -> usize {
    let message = format!("mail-{id}");
    world.crm.activities().iter().filter(|activity| activity.body["external_message_id"] == message.as_str()).count()
}

fn queue(world: &World, name: &str) -> String {
    world.stack.queue_url(name).expect("a queue of the stack").to_owned()
}

async fn dead_letters(world: &World) -> u64 {
    world.view.depth(&queue(world, "EmailActivityDeadLetter")).await.expect("a depth")
}

/// Asks again and again until the answer is as expected, for what takes effect within seconds.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until no rotation is marked any more, which stands for a minute after each: a false signature is 401 then.
async fn no_rotation_is_marked(world: &World) {
    let stranger = world.webhook_signed_with("a-strangers-secret").expect("a webhook");
    let begun = Instant::now();
    while stranger.post(b"{}").await != Some(401) {
        assert!(begun.elapsed() < Duration::from_secs(100), "a rotation stays marked");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[test]
fn signed_notification_becomes_one_activity_with_its_decision() {
    in_the_world(async |world| {
        deliver(world, &mail("plain")).await;
        let record = decided(world, "plain").await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("logged", "known contact"));
        let activity = world
            .crm
            .activities()
            .into_iter()
            .find(|activity| activity.body["external_message_id"] == "mail-plain")
            .expect("the activity");
        assert_eq!(record.became.as_deref(), Some(activity.id.as_str()));
        assert_eq!(
            activity.body,
            json!({
                "type": "email", "external_message_id": "mail-plain", "prospect_id": "con_e2e",
                "contact_ids": ["con_e2e"], "deal_id": "deal_e2e", "subject": format!("{CANARY} subject"),
                "snippet": format!("{CANARY} snippet"), "thread_id": "thread-plain", "direction": "inbound",
                "timestamp": "2026-03-01T10:00:00Z", "from": prospect(),
                "to": [format!("{CANARY}.rep@northwind.example")], "cc": [], "grant_id": "grant-e2e",
            })
        );
    });
}

/// Connects a mailbox and lets it hold this mail, with these headers.
fn hold(world: &World, grant: Grant, id: &str, fields: Value, headers: Value) -> Value {
    let grant_id = grant.id.clone();
    world.nylas.add_grant(grant);
    hold_in(world, &grant_id, id, fields, headers)
}

/// Lets a connected mailbox hold this mail, and answers the notification of it.
fn hold_in(world: &World, grant: &str, id: &str, fields: Value, headers: Value) -> Value {
    let notification = mail_of(grant, id, fields);
    let mut held = notification["data"]["object"].clone();
    held["headers"] = headers;
    world.nylas.put_message(grant, held).expect("the mailbox is connected");
    notification
}

fn named(name: &str, value: &str) -> Value {
    json!([{"name": name, "value": value}])
}

fn from_microsoft(mut notification: Value) -> Value {
    notification["source"] = "/microsoft/emails/realtime".into();
    notification
}

async fn reason_of(world: &World, id: &str) -> String {
    decided(world, id).await.reason
}

/// Asks for a reconciliation of one mailbox, as an operator would.
async fn reconcile(world: &World, grant: &str, mark: &str) {
    let job = json!({"type": "reconcile", "grant_id": grant}).to_string();
    let deduplication_id = sha256_hex(&[mark.as_bytes()]);
    world.view.put(&queue(world, "EmailActivity"), &job, "reconcile", &deduplication_id).await.expect("put");
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).expect("a time"))
}

#[test]
fn truncated_mail_is_logged_without_its_body_and_transformed_mail_is_completed() {
    in_the_world(async |world| {
        let mut truncated = hold(
            world,
            Grant::google("grant-payloads", "rep.payloads@northwind.example"),
            "truncated",
            json!({}),
            named("Message-ID", "<truncated@e2e.example>"),
        );
        truncated["type"] = "message.created.truncated".into();
        truncated["data"]["object"].as_object_mut().expect("an object").remove("body");
        deliver(world, &truncated).await;
        assert_eq!(decided(world, "truncated").await.outcome, "logged");

        let whole = hold_in(world, "grant-payloads", "transformed", json!({}), json!([]));
        let object = &whole["data"]["object"];
        let chosen = json!({"id": object["id"], "grant_id": object["grant_id"], "thread_id": object["thread_id"]});
        deliver(world, &notification("message.created.transformed", "transformed", &chosen)).await;
        assert_eq!(decided(world, "transformed").await.outcome, "logged");
        let activities = world.crm.activities();
        let subject = format!("{CANARY} subject");
        assert!(activities.iter().any(|activity| {
            activity.body["external_message_id"] == "mail-transformed" && activity.body["subject"] == subject.as_str()
        }));
    });
}

#[test]
fn one_mail_in_three_mailboxes_is_one_activity_and_two_merged_copies() {
    in_the_world(async |world| {
        let grants = [
            Grant::google("grant-three-1", "rep1@northwind.example"),
            Grant::microsoft("grant-three-2", "rep2@northwind.example"),
            Grant::imap("grant-three-3", "rep3@northwind.example"),
        ];
        let values = ["<one.mail@e2e.example>", "one.mail@e2e.example", " <one.mail@e2e.example> "];
        let mut copies = Vec::new();
        for (number, grant) in grants.into_iter().enumerate() {
            let inbox = grant.folder_id("\\Inbox").unwrap_or("INBOX").to_owned();
            let provider = grant.provider.clone();
            let fields = json!({"thread_id": format!("three-{number}"), "folders": [inbox]});
            let mut copy = hold(world, grant, &format!("three-{number}"), fields, named("Message-Id", values[number]));
            copy["source"] = format!("/{provider}/emails/realtime").into();
            copies.push(copy);
        }
        for copy in &copies {
            deliver(world, copy).await;
        }
        let mut outcomes = Vec::new();
        let mut became = BTreeSet::new();
        for number in 0..3 {
            let record = decided(world, &format!("three-{number}")).await;
            outcomes.push(record.outcome.clone());
            became.insert(record.became);
        }
        outcomes.sort();
        assert_eq!(outcomes, ["logged", "merged", "merged"]);
        assert_eq!(became.len(), 1, "all name the one activity");
        let logged: usize = (0..3).map(|number| activities_of(world, &format!("three-{number}"))).sum();
        assert_eq!(logged, 1);
    });
}

#[test]
fn folder_ids_tell_direction_drafts_and_spam_by_their_attributes() {
    in_the_world(async |world| {
        let grant = Grant::microsoft("grant-folders", "rep@partner.example");
        let folder = |attribute: &str| json!([grant.folder_id(attribute).expect("a folder")]);
        let out = json!({"from": [{"email": "rep@partner.example"}], "to": [{"email": prospect()}], "folders": folder("\\Sent")});
        let (drafts, junk) = (json!({"folders": folder("\\Drafts")}), json!({"folders": folder("\\Junk")}));
        let sent = hold(world, grant.clone(), "folder-sent", out, json!([]));
        deliver(world, &from_microsoft(sent)).await;
        let record = decided(world, "folder-sent").await;
        assert_eq!(
            (&record.facts["direction"], &record.facts["direction_told_by"]),
            (&json!("outbound"), &json!("folder"))
        );
        for (id, fields, reason) in [("folder-drafts", drafts, "draft"), ("folder-junk", junk, "in the spam folder")] {
            deliver(world, &from_microsoft(hold_in(world, "grant-folders", id, fields, json!([])))).await;
            assert_eq!(reason_of(world, id).await, reason);
        }
        let listed =
            world.nylas.calls().all().iter().filter(|call| call.path.ends_with("grant-folders/folders")).count();
        assert!(listed <= 2, "{listed} listings: once an instance");
    });
}

#[test]
fn never_log_list_can_be_changed_while_the_stack_runs() {
    in_the_world(async |world| {
        let write = async |list: &str| {
            world.view.put_archived(NEVER_LOG_KEY, list.as_bytes().to_vec()).await.expect("written");
        };
        let mut sent = 0;
        let mut until = async |reason: &str| {
            let begun = Instant::now();
            loop {
                let id = format!("never-log-{sent}");
                sent += 1;
                deliver(world, &mail(&id)).await;
                if reason_of(world, &id).await == reason {
                    return id;
                }
                assert!(begun.elapsed() < Duration::from_secs(40), "the list does not take effect");
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        };
        write(&format!("# private\n{}\n", prospect().to_uppercase())).await;
        let id = until("never-log list").await;
        assert_eq!(activities_of(world, &id), 0);
        write("").await;
        let id = until("known contact").await;
        assert_eq!(activities_of(world, &id), 1);
    });
}

#[test]
fn own_mail_and_automatic_mail_are_dropped_by_the_headers_that_are_fetched() {
    in_the_world(async |world| {
        world.nylas.add_grant(Grant::google("grant-classes", "rep.classes@northwind.example"));
        let own = sandbox::world::loop_id(&world.stack).expect("an id");
        for (id, headers, reason) in [
            ("class-own", named("X-Crm-Autopilot-Loop", own.as_str()), "own mail"),
            ("class-reply", named("auto-submitted", "auto-replied (vacation)"), "automatic mail: auto-reply"),
            ("class-list", named("List-Unsubscribe", "<https://e2e.example/u>"), "mail to many: list"),
            ("class-suppress", named("X-Auto-Response-Suppress", "All"), "known contact"),
            ("class-no", named("Auto-Submitted", "no"), "known contact"),
        ] {
            deliver(world, &hold_in(world, "grant-classes", id, json!({}), headers)).await;
            assert_eq!(reason_of(world, id).await, reason, "{id}");
        }
        let stranger = hold_in(
            world,
            "grant-classes",
            "class-stranger",
            json!({"from": [{"email": "who@else.example"}]}),
            json!([]),
        );
        deliver(world, &stranger).await;
        assert_eq!(reason_of(world, "class-stranger").await, "no known contact");
        let fetched = world.nylas.calls().all().iter().any(|call| call.path.ends_with("/mail-class-stranger"));
        assert!(!fetched, "headers are fetched only where somebody is known");
    });
}

#[test]
fn mail_to_two_companies_is_linked_to_both_and_the_rejected_deal_is_recorded() {
    in_the_world(async |world| {
        let open =
            CrmContact::new("con_two_a", "anna@two-a.example").with_known_deal("deal_a", true, "2026-02-01T00:00:00Z");
        let closed =
            CrmContact::new("con_two_b", "bob@two-b.example").with_known_deal("deal_b", false, "2026-02-27T00:00:00Z");
        world.crm.add_contact(open);
        world.crm.add_contact(closed);
        let fields = json!({"from": [{"email": "Bob+work@Two-B.example"}], "cc": [{"email": "ANNA@two-a.example"}]});
        deliver(world, &mail_of("grant-e2e", "two-companies", fields)).await;
        let record = decided(world, "two-companies").await;
        assert_eq!(record.facts["contact_ids"], json!(["con_two_b", "con_two_a"]));
        assert_eq!(
            (&record.facts["deal_id"], &record.facts["deal_rule"]),
            (&json!("deal_a"), &json!("open before closed"))
        );
        assert_eq!(record.facts["deals_rejected"][0]["deal_id"], "deal_b");
    });
}

#[test]
fn reconcile_brings_the_mail_that_nylas_never_notified_of_and_no_other() {
    in_the_world(async |world| {
        let grant = Grant::google("grant-missed", "rep.missed@northwind.example");
        let recent = json!({"date": now() - 600});
        let seen = hold(world, grant, "missed-not", recent.clone(), json!([]));
        deliver(world, &seen).await;
        decided(world, "missed-not").await;
        hold_in(world, "grant-missed", "missed", recent, json!([]));
        reconcile(world, "grant-missed", "reconcile missed").await;
        let is_it = |record: &DecisionRecord| record.object_id == "mail-missed" && record.state == "done";
        let record = world.view.first_decision("the missed mail is decided", Duration::from_mins(1), is_it).await;
        let record = record.unwrap_or_else(|error| panic!("{error}"));
        assert!(record.notification_id.starts_with("reconcile:mail-missed:"), "{}", record.notification_id);
        assert_eq!(record.outcome, "logged");
        let decisions = world.view.decisions().await.expect("decisions");
        assert_eq!(decisions.values().filter(|record| record.object_id == "mail-missed-not").count(), 1);
        assert_eq!((activities_of(world, "missed"), activities_of(world, "missed-not")), (1, 1));
    });
}

#[test]
fn mail_of_a_stranger_is_logged_by_reconcile_once_the_stranger_is_a_contact() {
    in_the_world(async |world| {
        let grant = Grant::google("grant-stranger", "rep.stranger@northwind.example");
        let stranger = json!({"from": [{"email": "later@known.example"}]});
        let notification = hold(world, grant, "stranger", stranger, json!([]));
        deliver(world, &notification).await;
        let record = decided(world, "stranger").await;
        assert_eq!(
            (record.reason.as_str(), &record.facts["unmatched"]),
            ("no known contact", &json!(["later@known.example"]))
        );
        world.crm.add_contact(CrmContact::new("con_later", "later@known.example"));
        reconcile(world, "grant-stranger", "reconcile stranger").await;
        eventually("the stranger's mail is logged", async || activities_of(world, "stranger") == 1).await;
    });
}

#[test]
fn schedule_starts_a_reconciliation_of_every_mailbox_by_itself() {
    in_the_world(async |world| {
        let is_it = |record: &DecisionRecord| record.reason == "reconcile: one job a mailbox" && record.state == "done";
        let record = world.view.first_decision("the schedule's job is done", Duration::from_mins(3), is_it).await;
        let record = record.unwrap_or_else(|error| panic!("{error}"));
        assert!(record.facts["mailboxes"].as_u64() >= Some(2), "{:?}", record.facts);
        let undelivered = world.stack.dead_letter_queue_url("Scheduler").expect("a queue").to_owned();
        assert_eq!(world.view.depth(&undelivered).await.expect("a depth"), 0);
        // Once seen it is enough: every minute's jobs would share the queue with what other tests count.
        end_schedule(world, "EmailReconcileSchedule").await;
    });
}

#[test]
fn decisions_in_dynamodb_are_found_by_the_rules() {
    in_the_world(async |world| {
        let config = world.engine.aws_config().await;
        let leases = DynamoLeases::new(&config, world.stack.dedup_table().expect("a table").to_owned());
        decisions_keep_their_rules(&leases, &format!("dynamodb-{}", now())).await;
    });
}

#[test]
fn challenge_is_echoed_with_a_content_length() {
    in_the_world(async |world| {
        assert_eq!(webhook(world).challenge().await, Ok(()));
    });
}

#[test]
fn forged_and_unsigned_notifications_are_refused_and_leave_no_trace() {
    in_the_world(async |world| {
        let forger = world.webhook_signed_with("another-secret").expect("a webhook");
        let body = mail("forged").to_string();
        eventually("a forged notification is answered 401", async || forger.post(body.as_bytes()).await == Some(401))
            .await;
        let answer = world
            .engine
            .post(world.stack.webhook_url().expect("a URL"), &[], body.into_bytes())
            .await
            .expect("an answer");
        assert_eq!(answer.status.as_u16(), 401);
        deliver(world, &mail("after-forged")).await;
        decided(world, "after-forged").await;
        assert!(!world.view.decisions().await.expect("decisions").contains_key("forged"));
    });
}

#[test]
fn compressed_delivery_is_verified_over_the_compressed_bytes() {
    in_the_world(async |world| {
        let delivery = webhook(world).compressed().deliver(&mail("gzip")).await;
        assert!(delivery.delivered, "{delivery:?}");
        assert_eq!(decided(world, "gzip").await.outcome, "logged");
    });
}

/// Waits until all of these mails are decided, and answers every decision. Other work may share the queue meanwhile.
async fn all_done(world: &World, ids: &[String], within: Duration) -> BTreeMap<String, DecisionRecord> {
    let begun = Instant::now();
    loop {
        let decisions = world.view.decisions().await.expect("decisions");
        let is_done = |id: &&String| decisions.get(*id).is_some_and(|record| record.state == "done");
        let open: Vec<&String> = ids.iter().filter(|id| !is_done(id)).collect();
        if open.is_empty() {
            return decisions;
        }
        if begun.elapsed() > within {
            let told = open.iter().map(|id| match decisions.get(*id) {
                Some(DecisionRecord { state, outcome, class, failures, .. }) => {
                    format!("{id}: {state}, outcome `{outcome}`, class {class:?}, {failures} failed tries")
                }
                None => format!("{id}: never begun"),
            });
            let told = told.collect::<Vec<_>>().join("\n");
            let depths = world.view.depths(&queue(world, "EmailActivity")).await;
            let log = std::fs::read_to_string(world.engine.log_file()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| line.contains("email-activity")).collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            let (open, all) = (open.len(), ids.len());
            panic!("{open} of {all} mails are not done:\n{told}\nthe queue: {depths:?}\nthe engine's log:\n{last}");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

#[test]
fn three_hundred_notifications_with_duplicates_against_a_failing_crm_become_one_activity_each() {
    in_the_world(async |world| {
        let unique = 180;
        let mut order: Vec<(String, usize)> = (0..unique)
            .map(|number| (number, 0))
            .chain((0..300 - unique).map(|number| (number * 3 % unique, 1)))
            .map(|(number, copy)| (sha256_hex(&[format!("{number}/{copy}").as_bytes()]), number))
            .collect();
        order.sort();
        assert_eq!(order.len(), 300);
        let ids: Vec<String> = (0..unique).map(|number| format!("burst-{number}")).collect();
        world.crm.faults().add(FaultRule::every(5, Fault::status(500)));
        let webhook = webhook(world);
        futures_util::stream::iter(&order)
            .for_each_concurrent(6, async |(_, number)| {
                let delivery = webhook.deliver(&mail(&ids[*number])).await;
                assert!(delivery.delivered, "{delivery:?}");
            })
            .await;
        let decisions = all_done(world, &ids, Duration::from_mins(8)).await;
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for id in &ids {
            *counts.entry(activities_of(world, id)).or_default() += 1;
        }
        assert_eq!(counts, BTreeMap::from([(1, unique)]), "activities a mail, and how many mails have so many");
        assert_eq!(dead_letters(world).await, 0);
        let retried = ids.iter().filter(|id| decisions[*id].failures > 0).count();
        assert!(retried > 0, "the CRM's failures were met");
        println!("{unique} mails in 300 notifications, {retried} of them tried more than once: one activity each");
    });
}

#[test]
fn process_killed_between_the_crms_write_and_the_verdict_makes_one_activity() {
    in_the_world(async |world| {
        let emails = queue(world, "EmailActivity");
        let function = world.stack.function_name("EmailActivity").expect("a name");
        world.view.set_visibility_timeout(&emails, 5).await.expect("set");
        world
            .crm
            .faults()
            .add(FaultRule::next(1, Fault::DelayAnswer(Duration::from_secs(20))).on("POST", "/activities"));
        deliver(world, &mail("killed")).await;
        eventually("the CRM has written the activity", async || activities_of(world, "killed") == 1).await;
        let killed = world.engine.kill_function(function).expect("processes to kill");
        assert!(!killed.is_empty(), "no process was at work");
        let record = world
            .view
            .decision("killed", Duration::from_mins(2), |record| record.state == "done")
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        world.view.set_visibility_timeout(&emails, 180).await.expect("set");
        assert_eq!(record.outcome, "logged");
        assert_eq!(activities_of(world, "killed"), 1);
    });
}

#[test]
fn answer_that_was_lost_after_the_write_makes_one_activity() {
    in_the_world(async |world| {
        world.crm.faults().add(FaultRule::next(1, Fault::LoseAnswer).on("POST", "/activities"));
        deliver(world, &mail("lost-answer")).await;
        let record = decided(world, "lost-answer").await;
        assert_eq!((record.failures, record.class.as_deref()), (1, Some("crm.unavailable")));
        assert_eq!(activities_of(world, "lost-answer"), 1);
    });
}

#[test]
fn notification_that_comes_again_under_another_id_is_merged() {
    in_the_world(async |world| {
        deliver(world, &mail("first")).await;
        decided(world, "first").await;
        let mut again = mail("first");
        again["id"] = "first-again".into();
        deliver(world, &again).await;
        let record = decided(world, "first-again").await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("merged", "notified again"));
        assert_eq!(activities_of(world, "first"), 1);
    });
}

#[test]
fn redrive_of_a_message_that_was_done_changes_nothing() {
    in_the_world(async |world| {
        let notification = mail("redriven").to_string();
        deliver(world, &mail("redriven")).await;
        decided(world, "redriven").await;
        let emails = queue(world, "EmailActivity");
        world.view.put(&emails, &notification, "redrive", &sha256_hex(&[b"redrive"])).await.expect("put");
        world.view.emptied(&emails, Duration::from_secs(30)).await.expect("worked off");
        assert_eq!(activities_of(world, "redriven"), 1);
    });
}

#[test]
fn mail_that_the_crm_refuses_lies_in_the_dead_letter_queue_with_its_reason_and_can_be_redriven() {
    in_the_world(async |world| {
        let letters = queue(world, "EmailActivityDeadLetter");
        world.view.take_all(&letters).await.expect("emptied");
        world.crm.faults().add(FaultRule::next(1, Fault::status(422)).on("POST", "/activities"));
        deliver(world, &mail("refused")).await;
        let record = world
            .view
            .decision("refused", Duration::from_mins(1), |record| record.state == "failed")
            .await
            .expect("a verdict");
        assert_eq!((record.outcome.as_str(), record.class.as_deref()), ("failed", Some("crm.rejected")));
        let letter = world.view.take_all(&letters).await.expect("letters").pop().expect("one letter");
        let body: Value = serde_json::from_str(&letter.body).expect("the notification itself");
        assert_eq!(body["id"], "refused");
        let names: BTreeSet<&str> = letter.attributes.keys().map(String::as_str).collect();
        for name in
            ["reason", "class", "function", "source_group", "first_failed_at", "last_failed_at", "notification_id"]
        {
            assert!(names.contains(name), "{name} is missing in {names:?}");
        }
        assert_eq!(letter.attributes["class"], "crm.rejected");
        assert_eq!(letter.attributes["source_group"], sha256_hex(&[b"thread:thread-refused"])[..32]);
        assert_ne!(letter.group.as_deref(), Some(letter.attributes["source_group"].as_str()), "a group of its own");

        let emails = queue(world, "EmailActivity");
        world.view.put(&emails, &letter.body, "redrive", &sha256_hex(&[b"redrive refused"])).await.expect("put");
        assert_eq!(decided(world, "refused").await.outcome, "logged");
        assert_eq!(activities_of(world, "refused"), 1);
    });
}

#[test]
fn throttled_crm_is_asked_again_after_its_own_time() {
    in_the_world(async |world| {
        world.crm.faults().add(FaultRule::next(1, Fault::status_with_retry_after(429, "3")).on("POST", "/activities"));
        let begun = Instant::now();
        deliver(world, &mail("throttled")).await;
        let record = decided(world, "throttled").await;
        assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(record.class.as_deref(), Some("crm.rate_limited"));
        assert_eq!(activities_of(world, "throttled"), 1);
    });
}

#[test]
fn body_that_no_queue_message_can_carry_goes_by_the_bucket_and_is_logged_like_any_other() {
    in_the_world(async |world| {
        let large = mail_of("grant-e2e", "large", json!({"body": "x".repeat(950 * 1024)}));
        deliver(world, &large).await;
        assert_eq!(decided(world, "large").await.outcome, "logged");

        let mut broken = mail("not-utf-8").to_string().into_bytes();
        let place = broken.windows(7).position(|window| window == b"snippet").expect("a snippet");
        // The first character of the snippet's value.
        broken[place + 10] = 0xff;
        assert_eq!(webhook(world).post(&broken).await, Some(200));
        assert_eq!(decided(world, "not-utf-8").await.outcome, "logged");

        let refused_by_sqs = mail_of("grant-e2e", "noncharacter", json!({"body": "\u{fffe}"}));
        let raw = refused_by_sqs.to_string();
        assert!(raw.contains('\u{fffe}'));
        assert_eq!(webhook(world).post(raw.as_bytes()).await, Some(200));
        assert_eq!(decided(world, "noncharacter").await.outcome, "logged");
        assert!(world.view.archived("bodies/").await.expect("keys").len() >= 3);
    });
}

#[test]
fn customer_event_is_answered_202_once_queued_and_a_bad_one_is_told_what_is_wrong() {
    in_the_world(async |world| {
        let url = world.stack.customer_events_url().expect("a URL");
        let post = async |body: &str, secret: &str| {
            let signed = signature(secret, body.as_bytes());
            world.engine.post(url, &[("X-Signature", &signed)], body).await.expect("an answer")
        };
        let good = json!({"type": "customer.onboarding_completed", "id": "evt-e2e", "email": "rosa@fabrikam.example",
            "name": format!("{CANARY} Rosa")})
        .to_string();
        assert_eq!(post(&good, CUSTOMER_EVENTS_SECRET).await.status.as_u16(), 202);
        assert_eq!(decided(world, "evt-e2e").await.reason, "onboarding completed: – → onboarded");
        assert_eq!(post(&good, "another-secret").await.status.as_u16(), 401);
        let bad = post(r#"{"type":"customer.left"}"#, CUSTOMER_EVENTS_SECRET).await;
        assert_eq!(bad.status.as_u16(), 400);
        let told: Value = serde_json::from_str(&bad.text()).expect("JSON");
        assert!(told["error"].as_str().is_some_and(|text| !text.is_empty()), "{told}");
    });
}

#[test]
fn signed_body_that_is_no_notification_is_parked_whole() {
    in_the_world(async |world| {
        let unroutable = queue(world, "Unroutable");
        world.view.take_all(&unroutable).await.expect("emptied");
        let body = br#"{"deltas":[{"type":"message.created"}]}"#;
        assert_eq!(webhook(world).post(body).await, Some(200));
        let parked = world.view.take_all(&unroutable).await.expect("messages");
        assert_eq!(parked.iter().map(|message| message.body.as_bytes()).collect::<Vec<_>>(), [body]);
    });
}

#[test]
fn managed_secret_is_live_within_seconds_and_a_marked_rotation_answers_503_to_unknown_signatures() {
    in_the_world(async |world| {
        let managed = world.view.secret_described("The Nylas webhook secrets that the operator manages").await;
        let managed = managed.expect("the managed secret");
        let new = world.webhook_signed_with("managed-secret").expect("a webhook");
        let stranger = world.webhook_signed_with("a-strangers-secret").expect("a webhook");
        world.view.write_secret(&managed, r#"["managed-secret"]"#).await.expect("written");
        eventually("the managed secret is live", async || {
            new.post(mail("by-managed-secret").to_string().as_bytes()).await == Some(200)
        })
        .await;
        deliver(world, &mail("by-parameter-secret")).await;

        let marked = r#"["managed-secret",{"rotating_until":"2999-01-01T00:00:00Z"}]"#;
        world.view.write_secret(&managed, marked).await.expect("written");
        let body = mail("by-stranger").to_string();
        eventually("an unknown signature is answered 503", async || stranger.post(body.as_bytes()).await == Some(503))
            .await;
        world.view.write_secret(&managed, r#"["managed-secret"]"#).await.expect("written");
        eventually("an unknown signature is answered 401 again", async || {
            stranger.post(body.as_bytes()).await == Some(401)
        })
        .await;
        decided(world, "by-managed-secret").await;
    });
}

#[test]
fn function_without_a_permission_fails_and_nothing_is_lost() {
    in_the_world(async |world| {
        let function = world.stack.function_name("EmailActivity").expect("a name");
        let taken = world.engine.take_permission(function, "dynamodb:UpdateItem").await.expect("taken");
        deliver(world, &mail("without-permission")).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let decisions = world.view.decisions().await.expect("decisions");
        world.engine.give_back(taken).await.expect("given back");
        assert!(!decisions.contains_key("without-permission"), "IAM is not enforced");
        assert_eq!(decided(world, "without-permission").await.outcome, "logged");
        assert_eq!(activities_of(world, "without-permission"), 1);
    });
}

#[test]
fn leases_in_dynamodb_keep_the_rules_of_leases() {
    in_the_world(async |world| {
        let config = world.engine.aws_config().await;
        let leases = DynamoLeases::new(&config, world.stack.dedup_table().expect("a table").to_owned());
        leases_keep_their_rules(&leases, "dynamodb").await;
    });
}

#[test]
fn links_in_dynamodb_keep_the_rules_of_links() {
    in_the_world(async |world| {
        let config = world.engine.aws_config().await;
        let links = DynamoLinks::new(&config, world.stack.links_table().expect("a table").to_owned());
        links_keep_their_rules(&links, "dynamodb").await;
        many_links_keep_their_rules(&links, "dynamodb").await;
    });
}

#[test]
fn every_sample_of_a_worker_can_be_invoked() {
    in_the_world(async |world| {
        for worker in demo::WORKERS {
            let (folder, output) = (worker.folder, worker.queue);
            let function = world.stack.function_name(worker.function).expect("a name");
            let mut invoked = 0;
            for entry in std::fs::read_dir(project_root().join("events").join(folder)).expect("samples") {
                let path = entry.expect("an entry").path();
                let event = serde_json::from_slice(&std::fs::read(&path).expect("a sample")).expect("JSON");
                let event = canaries::event_with_canaries(&event).to_string();
                let answer = world.engine.invoke(function, &event).await.expect("an answer");
                // What a schedule hands over without a queue begins a run of its own.
                let begun = answer["queued"].is_string();
                assert!(begun || answer["batchItemFailures"] == json!([]), "{}: {answer}", path.display());
                for sample in samples::read(&path).expect("a sample") {
                    if let Some(id) = sample.notification_id() {
                        decided(world, &id).await;
                    }
                }
                invoked += 1;
            }
            assert!(invoked >= 8, "only {invoked} samples");
            let of_it = |record: &&DecisionRecord| record.function == folder;
            let decisions = world.view.decisions().await.expect("decisions");
            let outcomes: BTreeSet<&str> =
                decisions.values().filter(of_it).map(|record| record.outcome.as_str()).collect();
            let is_active =
                outcomes.contains("logged") || folder == "onboarding-transitions" && outcomes.contains("done");
            assert!(is_active && outcomes.contains("skipped"), "{outcomes:?}");
            world.view.emptied(&queue(world, output), Duration::from_mins(2)).await.expect("the jobs end");
            // The cut-off record of one sample lies in the dead-letter queue; later tests expect it empty.
            world.view.take_all(&queue(world, &format!("{output}DeadLetter"))).await.expect("emptied");
        }
    });
}

#[test]
fn every_sample_that_is_posted_is_answered_with_a_canary_in_it() {
    in_the_world(async |world| {
        // Else the sample with a wrong signature is answered 503.
        no_rotation_is_marked(world).await;
        let mut answered: BTreeMap<u16, usize> = BTreeMap::new();
        let folders = demo::WORKERS.map(|worker| worker.folder).into_iter().chain(["webhook-ingress"]);
        for folder in folders {
            let samples = samples::read_folder(&project_root().join("events").join(folder)).expect("samples");
            for sample in samples.iter().filter(|sample| !sample.is_job()) {
                let marked = canaries::sample_with_canaries(sample);
                let secret = if marked.is_customer_event() { CUSTOMER_EVENTS_SECRET } else { WEBHOOK_SECRET };
                let (status, text) = demo::send(&world.engine, &world.stack, &marked, secret).await.expect("an answer");
                assert!(status < 500, "{folder}/{}: {status} {text}", sample.name);
                assert!(canaries::found_in(&text).is_none(), "{folder}/{}: {text}", sample.name);
                *answered.entry(status).or_default() += 1;
            }
        }
        assert!(answered.get(&200).is_some_and(|accepted| *accepted > 90), "{answered:?}");
        for worker in demo::WORKERS {
            let (queue, letters) = (queue(world, worker.queue), queue(world, &format!("{}DeadLetter", worker.queue)));
            world.view.emptied(&queue, Duration::from_mins(2)).await.expect("the samples are worked off");
            world.view.take_all(&letters).await.expect("emptied");
        }
    });
}

#[test]
fn logs_are_json_with_identifiers_and_metrics() {
    in_the_world(async |world| {
        deliver(world, &mail("logged-line")).await;
        decided(world, "logged-line").await;
        let of_support = support::one_mail_of_every_end(world).await;
        world.crm.faults().add(FaultRule::next(1, Fault::status(422)).on("GET", "/contacts"));
        deliver(world, &mail("failed-line")).await;
        let is_over = |record: &DecisionRecord| record.state == "failed";
        world.view.decision("failed-line", Duration::from_mins(1), is_over).await.expect("a verdict");
        world.view.take_all(&queue(world, "EmailActivityDeadLetter")).await.expect("emptied");

        let mut lines = Vec::new();
        eventually("the lines of all mails are in the log", async || {
            lines = world.engine.all_log_lines(&world.stack).await.expect("lines");
            let ids = ["logged-line", "failed-line"].into_iter().chain(of_support);
            ids.into_iter().all(|id| lines.iter().any(|line| line.text.contains(id)))
        })
        .await;
        let objects: Vec<Value> = lines.iter().filter_map(sandbox::local_engine::LogLine::json).collect();
        let decided = objects
            .iter()
            .find(|line| line["notification.id"] == "logged-line" && line["outcome"] == "logged")
            .expect("a line about the decision");
        assert_eq!(decided["grant.id"], "grant-e2e");
        assert!(decided["duration_ms"].is_number(), "{decided}");
        for function in ["email-activity", "calendar-sync", "ticket-triage", "webhook-ingress"] {
            let metric = objects.iter().any(|line| line["_aws"].is_object() && line["Function"] == function);
            assert!(metric, "{function} wrote no metrics");
        }
    });
}

#[test]
fn type_that_nobody_wants_is_answered_200_and_queued_nowhere() {
    in_the_world(async |world| {
        let names = ["CalendarSync", "NotetakerMedia", "Onboarding", "TicketTriage", "ContactSync", "Unroutable"];
        for name in names {
            world.view.take_all(&queue(world, name)).await.expect("emptied");
        }
        deliver(world, &notification("folder.updated", "unwanted", &json!({"id": "f", "grant_id": "g"}))).await;
        for name in names {
            assert_eq!(world.view.depth(&queue(world, name)).await.expect("a depth"), 0, "{name}");
        }
        assert!(!world.view.decisions().await.expect("decisions").contains_key("unwanted"));
    });
}

/// The queries that find something only on a day that this suite does not have.
const FIND_NOTHING_HERE: [&str; 1] = ["Panics and crashes"];

/// Late by its name, so that the lines of almost the whole run are there.
#[test]
fn what_the_queries_of_the_docs_ask_for_stands_in_the_log_lines_of_the_run() {
    in_the_world(async |world| {
        world.crm.faults().add(FaultRule::next(1, Fault::status(429)).on("GET", "/contacts"));
        deliver(world, &mail("asked-for")).await;
        decided(world, "asked-for").await;
        let (own, body) = (queue(world, "EmailActivity"), mail("asked-for").to_string());
        // It is not to the letter what Nylas delivered, so the first copy is decided on its own, and the second is one of it.
        for copy in ["asked-for-again", "asked-for-once-more"] {
            world.view.put(&own, &body, "again", copy).await.expect("put");
        }
        let (dead, of_failed) = (mail("asked-for-failed"), queue(world, "EmailActivityDeadLetter"));
        world.crm.faults().add(FaultRule::next(1, Fault::status(422)).on("GET", "/contacts"));
        deliver(world, &dead).await;
        let is_over = |record: &DecisionRecord| record.state == "failed";
        world.view.decision("asked-for-failed", Duration::from_mins(1), is_over).await.expect("a verdict");
        world.view.take_all(&of_failed).await.expect("emptied");
        // The line of a refused signature.
        no_rotation_is_marked(world).await;

        let page = std::fs::read_to_string(project_root().join("docs/queries.md")).expect("the docs");
        let queries = queries_of(&page);
        let begun = Instant::now();
        let (lines, unanswered) = loop {
            let lines = world.engine.all_log_lines(&world.stack).await.expect("lines");
            let own = lines.iter().filter_map(sandbox::local_engine::LogLine::json);
            let trace = own
                .filter(|line| line["notification.id"] == "asked-for")
                .find_map(|line| line["trace.id"].as_str().map(str::to_owned))
                .unwrap_or_default();
            let mut unanswered = Vec::new();
            for (heading, query) in &queries {
                let query = query
                    .replace("<notification id>", "asked-for")
                    .replace("<grant id>", "grant-e2e")
                    .replace("<trace id>", &trace);
                assert!(!query.contains('<') || query.contains("<="), "{heading} has a place that is not filled in");
                let rows = Query::parse(&query).unwrap_or_else(|error| panic!("{heading}: {error}")).run(&lines);
                if rows.is_empty() && !FIND_NOTHING_HERE.contains(&heading.as_str()) {
                    unanswered.push(heading.as_str());
                }
                if heading == "What happened to a notification" && unanswered.is_empty() {
                    let outcomes: Vec<&str> = rows.iter().filter_map(|row| row.get("outcome")?.as_str()).collect();
                    // A line of ingress, the try that was refused, the decision, and the copy.
                    let is_whole =
                        ["queued", "retried", "logged", "duplicate"].map(|outcome| outcomes.contains(&outcome));
                    if is_whole.contains(&false) {
                        unanswered.push("the whole story of a notification");
                    }
                }
            }
            if unanswered.is_empty() || begun.elapsed() > Duration::from_secs(30) {
                break (lines, unanswered);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        assert_eq!(unanswered, [""; 0], "queries without an answer");

        let figures = Figures::of(&lines).with_queues(&world.stack, &world.view).await.expect("figures");
        for name in
            ["Queued", "Logged", "Retried", "DeadLettered", "CrmLatency", "NylasLatency", "CrmErrors", "Coverage"]
        {
            assert!(figures.metrics.iter().any(|one| one.name == name && one.values > 0), "no {name}");
        }
        for kind in ["rate_limited", "rejected"] {
            assert!(figures.error_kinds["CrmErrorKinds"][kind] > 0, "no {kind}");
        }
        assert_eq!(figures.queues.len(), 8);
        println!("{}", figures.to_tables());
    });
}

/// The test that runs last: tests run one after another in the order of their full names, and no name of a test or of a
/// module of tests may come behind this one. So it looks at every line that the whole suite had written.
#[test]
fn zz_no_line_of_any_log_of_the_whole_suite_holds_a_canary_an_address_or_a_secret() {
    in_the_world(async |world| {
        let lines = world.engine.all_log_lines(&world.stack).await.expect("lines");
        let mut of_function: BTreeMap<&str, usize> = BTreeMap::new();
        let mut leaks = Vec::new();
        for line in &lines {
            *of_function.entry(line.log_group.as_str()).or_default() += 1;
            let canary = canaries::found_in(&line.text).map(str::to_owned);
            let holds = |words: &&&str| line.text.contains(**words);
            let address = ["@northwind.example", "@e2e.example", "@customers.example", "@halden-robotics.example"];
            let personal = canary.or_else(|| address.iter().find(holds).map(|words| (*words).to_owned()));
            let secret = [WEBHOOK_SECRET, CUSTOMER_EVENTS_SECRET].iter().find(holds).map(|_| "a secret".to_owned());
            if let Some(found) = personal.or(secret) {
                leaks.push(format!("{found} in {}: {}", line.log_group, line.text));
            }
        }
        // A filter runs a part of the tests, and not every function has something to say then.
        let is_whole = std::env::args().skip(1).all(|argument| argument.starts_with('-') || argument == "1");
        for function in demo::WORKERS.map(|worker| worker.folder).into_iter().chain(["webhook-ingress", "operator"]) {
            let written = of_function.get(world.stack.log_group(function).as_str()).copied().unwrap_or_default();
            println!("{function}: {written} lines of its log were looked at");
            assert!(written > 0 || !is_whole, "{function} wrote no line that could be looked at: {of_function:?}");
        }
        assert!(!lines.is_empty(), "there is no line that could be looked at");
        leaks.truncate(20);
        assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    });
}

//! The demo: replays the samples of `events/` against the deployed stack and tells what became of each.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

use crate::local_engine::{LocalEngine, Stack, project_root};
use crate::samples::{Sample, read_folder};
use crate::stack_view::{DecisionRecord, StackView};
use crate::stand_ins::rest_crm::RestCrm;
use crate::stand_ins::{Fault, FaultRule};
use crate::world::{CUSTOMER_EVENTS_SECRET, WEBHOOK_SECRET, World, WorldError};

/// How long the stack may take to decide everything.
const PATIENCE: Duration = Duration::from_mins(2);

/// One sample that was sent, and what ingress answered.
#[derive(Debug, Clone)]
struct Sent {
    sample: Sample,
    status: u16,
}

/// Replays the samples and tells what became of them. Lines for people go to `say`.
pub async fn replay(world: &World, mut say: impl FnMut(&str)) -> Result<(), WorldError> {
    let webhook = world.webhook()?;
    match webhook.challenge().await {
        Ok(()) => say("Nylas's challenge was answered"),
        Err(failure) => say(&format!("Nylas's challenge failed: {failure}")),
    }
    world.crm.faults().add(FaultRule::next(1, Fault::status(503)).on("POST", "/activities"));
    say("the CRM will answer 503 to the first activity, so that one retry can be seen");

    let samples = shuffled_with_duplicates()?;
    say(&format!("replaying {} requests from events/: duplicates, disorder and noise among them", samples.len()));
    let mut sent = Vec::new();
    for sample in samples {
        let secret = if sample.is_customer_event() { CUSTOMER_EVENTS_SECRET } else { WEBHOOK_SECRET };
        let status = send(&world.engine, &world.stack, &sample, secret).await?;
        sent.push(Sent { sample, status });
    }
    let expected: Vec<String> =
        sent.iter().filter(|sent| sent.status == 200 && is_mail(sent)).filter_map(id_of).collect();
    say(&format!("waiting until all {} mails are decided", expected.len()));
    for notification in &expected {
        world.view.decision(notification, PATIENCE, |record| record.state == "done").await?;
    }
    say("reconciling one mailbox: Nylas holds a mail that it never notified of");
    let missed = reconcile(world).await?;

    let decisions = world.view.decisions().await?;
    say(&format!("\nWhat went in, and what was decided\n{}", requests_table(&sent, &decisions, &missed)));
    say(&format!("\nWhat the CRM now holds\n{}", crm_table(&world.crm)));
    say(&format!("\nWhat lies in the queues\n{}", queues_table(world).await?));
    Ok(())
}

/// Puts the sample of a reconciliation into the queue and waits for what it finds.
async fn reconcile(world: &World) -> Result<DecisionRecord, WorldError> {
    for job in read_folder(&project_root().join("events/email-activity"))?.into_iter().filter(Sample::is_job) {
        put_job(&world.view, &world.stack, &job).await?;
    }
    let is_found = |record: &DecisionRecord| record.notification_id.starts_with("reconcile:") && record.state == "done";
    Ok(world.view.first_decision("the reconciliation found the mail that was missed", PATIENCE, is_found).await?)
}

/// Puts a job into the queue that it is for, as a person would.
pub async fn put_job(view: &StackView, stack: &Stack, job: &Sample) -> Result<(), WorldError> {
    let body = job.text();
    let deduplication_id = shared::domain::digest::sha256_hex(&[body.as_bytes()]);
    Ok(view.put(stack.queue_url("EmailActivity")?, &body, "reconcile", &deduplication_id).await?)
}

/// Sends one sample to the stack, signed with the given secret, and answers the status.
pub async fn send(engine: &LocalEngine, stack: &Stack, sample: &Sample, secret: &str) -> Result<u16, WorldError> {
    let request = sample.request(stack.webhook_url()?, secret);
    let headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = engine.call(request.method, &request.url, &headers, sample.body.clone()).await?;
    Ok(answer.status.as_u16())
}

/// Every sample of every function, three of them twice, in an order that is mixed up and always the same.
fn shuffled_with_duplicates() -> Result<Vec<Sample>, WorldError> {
    let events = project_root().join("events");
    let mut samples = read_folder(&events.join("email-activity"))?;
    samples.retain(|sample| !sample.is_job());
    samples.extend(read_folder(&events.join("webhook-ingress"))?);
    let again: Vec<Sample> = samples.iter().filter(|sample| sample.method == "POST").step_by(4).cloned().collect();
    samples.extend(again);
    let mut mixed: Vec<(u64, Sample)> = samples
        .into_iter()
        .enumerate()
        .map(|(place, sample)| ((place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17), sample))
        .collect();
    mixed.sort_by_key(|(key, _)| *key);
    Ok(mixed.into_iter().map(|(_, sample)| sample).collect())
}

fn is_mail(sent: &Sent) -> bool {
    sent.sample.kind().is_some_and(|kind| kind.starts_with("message.created"))
}

fn id_of(sent: &Sent) -> Option<String> {
    sent.sample.notification_id()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(150);
    table.set_header(header.to_vec());
    table
}

fn requests_table(sent: &[Sent], decisions: &BTreeMap<String, DecisionRecord>, missed: &DecisionRecord) -> Table {
    let mut table = table(&["sample", "type", "answered", "decided", "why"]);
    let mut seen = Vec::new();
    for one in sent {
        let id = id_of(one).unwrap_or_default();
        let record = decisions.get(&id).filter(|_| one.status == 200 && is_mail(one));
        let (decided, why) = match record {
            Some(_) if seen.contains(&id) => ("duplicate".to_owned(), "the same notification again".to_owned()),
            Some(record) => (record.outcome.clone(), why(record)),
            None => told_by_status(one),
        };
        seen.push(id);
        table.add_row([
            one.sample.name.clone(),
            one.sample.kind().unwrap_or_else(|| "–".to_owned()),
            one.status.to_string(),
            decided,
            why,
        ]);
    }
    table.add_row([
        "(found by reconcile-one-mailbox)".to_owned(),
        missed.trigger.clone(),
        "–".to_owned(),
        missed.outcome.clone(),
        why(missed),
    ]);
    table
}

/// Why it was decided so, in a line.
#[must_use]
pub fn why(record: &DecisionRecord) -> String {
    let fact = |name: &str| record.facts.get(name).filter(|value| !value.is_null()).map(ToString::to_string);
    let mut why = record.reason.clone();
    for name in ["evidence", "entry", "direction", "contact_ids", "deal_id"] {
        if let Some(fact) = fact(name) {
            why = format!("{why}; {name} {}", fact.replace('"', ""));
        }
    }
    if record.failures > 0 {
        why = format!("{why}; after {} failed try ({})", record.failures, record.class.as_deref().unwrap_or("?"));
    }
    why
}

fn told_by_status(sent: &Sent) -> (String, String) {
    let why = match (sent.status, sent.sample.method.as_str()) {
        (200, "GET") => "the challenge was echoed",
        (200, _) if sent.sample.notification_id().is_none() => "no notification: parked in the unroutable queue",
        (200, _) if sent.sample.kind().is_some_and(|kind| kind.starts_with("event.")) => "queued for calendar-sync",
        (200, _) => "a type that nobody wants: counted",
        (202, _) => "queued for onboarding",
        (400, _) => "refused: the request is not what is expected",
        (401, _) => "refused: the signature is wrong",
        (404 | 405, _) => "refused: no such path or method",
        _ => "see the log of webhook-ingress",
    };
    ("–".to_owned(), why.to_owned())
}

fn crm_table(crm: &RestCrm) -> Table {
    let mut table = table(&["activity", "subject", "direction", "contacts", "deal", "from", "to"]);
    let text = |value: &Value| value.as_str().unwrap_or("–").to_owned();
    let list = |value: &Value| {
        value
            .as_array()
            .map(|list| list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
            .unwrap_or_default()
    };
    for activity in crm.activities() {
        let body = &activity.body;
        table.add_row([
            activity.id.clone(),
            text(&body["subject"]),
            text(&body["direction"]),
            list(&body["contact_ids"]),
            text(&body["deal_id"]),
            text(&body["from"]),
            list(&body["to"]),
        ]);
    }
    table
}

async fn queues_table(world: &World) -> Result<Table, WorldError> {
    let mut table = table(&["queue", "messages", "what that means"]);
    for (queue, meaning) in [
        ("EmailActivity", "all mails are decided"),
        ("EmailActivityDeadLetter", "nothing was given up"),
        ("CalendarSync", "the event of a sample waits for calendar-sync"),
        ("Onboarding", "the sign-up of a sample waits for onboarding-transitions"),
        ("Unroutable", "signed bodies that are no notification, each to be looked at by a person"),
    ] {
        let depth = world.view.depth(world.stack.queue_url(queue)?).await?;
        table.add_row([queue.to_owned(), depth.to_string(), meaning.to_owned()]);
    }
    Ok(table)
}

//! The demo: replays the samples of `events/` against the deployed stack and tells what became of each.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::aws::links::DynamoLinks;
use shared::contact_sync::SYNC;
use shared::engine::progress::{Finding, Progress, progress, run_key};
use shared::reconcile::part_of;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::customers::{Customers, event, mails_to, tell};
use crate::local_engine::{LocalEngine, Stack, project_root};
use crate::samples::{Sample, read_folder};
use crate::stack_view::{DecisionRecord, StackView, ViewError};
use crate::stand_ins::crm::{CrmStandIn, SeenStatus};
use crate::stand_ins::rest_crm::{ContactField, CrmContact};
use crate::stand_ins::{Fault, FaultRule, StandInError};
use crate::world::{CUSTOMER_EVENTS_SECRET, WEBHOOK_SECRET, World, WorldError};

/// A function that works on what is sent to its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worker {
    /// Its name, which is that of the folder of its samples.
    pub folder: &'static str,
    /// The beginning of its queue's output.
    pub queue: &'static str,
    /// The beginning of its own output.
    pub function: &'static str,
}

impl Worker {
    const fn of(folder: &'static str, queue: &'static str, function: &'static str) -> Self {
        Self { folder, queue, function }
    }
}

/// The functions that work on what is sent to their queues.
pub const WORKERS: [Worker; 6] = [
    Worker::of("email-activity", "EmailActivity", "EmailActivity"),
    Worker::of("calendar-sync", "CalendarSync", "CalendarSync"),
    Worker::of(NOTETAKERS, "NotetakerMedia", "NotetakerMedia"),
    Worker::of(ONBOARDING, "Onboarding", "OnboardingTransitions"),
    Worker::of(SUPPORT, SUPPORT_QUEUE, "TicketTriage"),
    Worker::of(CONTACTS, CONTACTS_QUEUE, "ContactSync"),
];

/// The folder of samples of the onboarding, which the demo shows by customers of its own.
const ONBOARDING: &str = "onboarding-transitions";

/// The folder of samples of notetakers. A meeting is over before their files are there.
const NOTETAKERS: &str = "notetaker-media";

/// The folder of samples of support mail. They are sent in the order in which they came: an answer comes after what it
/// answers.
const SUPPORT: &str = "ticket-triage";

/// The beginning of its queue's output.
const SUPPORT_QUEUE: &str = "TicketTriage";

/// The folder of samples of address books. They are sent in the order in which they came; whole address books are looked
/// through by night.
const CONTACTS: &str = "contact-sync";

/// The beginning of its queue's output.
const CONTACTS_QUEUE: &str = "ContactSync";

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
    let crm = world.seen_crm();
    let (method, path) = call_that_logs(crm.provider());
    crm.faults().add(FaultRule::next(1, Fault::status(503)).on(method, path));
    say("the CRM will answer 503 to the first activity, so that one retry can be seen");

    let (of_notetakers, samples): (Vec<Sample>, Vec<Sample>) =
        shuffled_with_duplicates()?.into_iter().partition(is_of_a_notetaker);
    let of_support = in_order(SUPPORT)?;
    let of_contacts = in_order(CONTACTS)?;
    say(&format!(
        "replaying {} requests from events/: duplicates, disorder and noise among them",
        samples.len() + of_notetakers.len() + of_support.len() + of_contacts.len()
    ));
    let mut sent = send_all(world, samples).await?;
    wait_until_decided(world, &sent, "mails and events", &mut say).await?;
    say(
        "support mail comes in: among it an incident, a bug that quotes an invoice, and a stranger who quotes a ticket",
    );
    let of_support = send_all(world, of_support).await?;
    wait_until_decided(world, &of_support, "support mails", &mut say).await?;
    world.view.emptied(world.stack.queue_url(SUPPORT_QUEUE)?, PATIENCE).await?;
    sent.extend(of_support);
    say("the meetings are over: notetakers tell of their files, some by links that have expired");
    let of_notetakers =
        send_all(world, of_notetakers.into_iter().map(|sample| with_links(world, sample)).collect()).await?;
    wait_until_decided(world, &of_notetakers, "news of notetakers", &mut say).await?;
    sent.extend(of_notetakers);
    let contacts_before = crm.contacts();
    let (other_book, of_contacts) = of_contacts.split_at(1);
    say(
        "contacts change in address books: first Tobias's says of Marta what the CRM says, then Ines's says something newer",
    );
    let other_book = send_all(world, other_book.to_vec()).await?;
    wait_until_decided(world, &other_book, "changed contacts", |_: &str| ()).await?;
    let of_contacts = send_all(world, of_contacts.to_vec()).await?;
    wait_until_decided(world, &of_contacts, "changed contacts", &mut say).await?;
    sent.extend(other_book.into_iter().chain(of_contacts));
    say("night comes twice: all address books are looked through, and nothing has changed in between");
    let nights = [night(world).await?, night(world).await?];
    say(
        "reconciling and backfilling: Nylas holds a mail and meetings that it never notified of, and a meeting of last month is attached to what was said in it",
    );
    work_off_jobs(world).await?;
    say(
        "onboarding five customers, with seconds instead of days: one is silent, one books, one changes her mind, one bounces, one is scanned",
    );
    onboard(world).await?;

    let mut decisions = world.view.decisions().await?;
    let support = support_decisions(world).await?;
    decisions.extend(support.iter().map(|record| (record.notification_id.clone(), record.clone())));
    say(&format!("\nWhat went in, and what was decided\n{}", requests_table(&sent, &decisions)));
    say(&format!("\nThe activities that the CRM now holds\n{}", mails_table_of(crm)));
    say(&format!("\nThe meetings that the CRM now holds\n{}", meetings_table(crm)));
    say(&format!("\nWhat the CRM now holds of what was said\n{}", notes_table(crm)));
    say(&format!("\nWhat was promised there, as tasks\n{}", tasks_table(crm)));
    say(&format!("\nThe tickets that support mail became\n{}", tickets_table(world, &support)));
    say(&format!(
        "\nWhat the address books changed in the CRM (a number without a country code stays as it was typed, for the sandbox sets no PhoneRegion)\n{}",
        changed_table(&contacts_before, &crm.contacts())
    ));
    say(&format!(
        "\nWhat the address books say otherwise, and what was kept because it is somebody's own\n{}",
        kept_table(&contacts_before, &nights[1].findings)
    ));
    say(&format!("\nWhat the two nights came to\n{}", nights_table(&nights)));
    say(&format!("\nHow far the customers have come\n{}", customers_table(world).await?));
    say(&format!("\nThe mails that customers got\n{}", mails_table(world)));
    let told = world.alerts.texts();
    let told: Vec<String> = told.iter().map(|text| text.replace('\n', " / ")).collect();
    say(&format!("\nWhat people were told at once\n {}", told.join("\n ")));
    say(&format!("\nWhat lies in the queues\n{}", queues_table(world).await?));
    Ok(())
}

/// The call with which a mail is logged in a CRM.
fn call_that_logs(provider: &str) -> (&'static str, &'static str) {
    match provider {
        "hubspot" => ("POST", "/crm/v3/objects/emails"),
        "salesforce" => ("PATCH", "/services/data/v63.0/sobjects/Task"),
        "pipedrive" => ("POST", "/api/v2/activities"),
        _ => ("POST", "/activities"),
    }
}

/// The samples of a folder, in the order in which Nylas told of them.
fn in_order(folder: &str) -> Result<Vec<Sample>, WorldError> {
    let samples = read_folder(&project_root().join("events").join(folder))?;
    let mut told: Vec<Sample> = samples.into_iter().filter(|sample| !sample.is_job()).collect();
    told.sort_by_key(Sample::told_at);
    Ok(told)
}

/// What ticket-triage decided. Of a mail that came back another function has a decision under the same id.
async fn support_decisions(world: &World) -> Result<Vec<DecisionRecord>, WorldError> {
    let mut decisions = Vec::new();
    for sample in in_order(SUPPORT)? {
        let id = sample.notification_id().unwrap_or_default();
        decisions.extend(world.view.record(SUPPORT, &id).await?);
    }
    let found = world.view.decisions().await?.into_values();
    decisions
        .extend(found.filter(|record| record.function == SUPPORT && record.notification_id.starts_with("reconcile:")));
    Ok(decisions)
}

fn tickets_table(world: &World, decisions: &[DecisionRecord]) -> Table {
    let mut table = table(&["ticket", "subject", "from", "desk", "priority", "because of", "more mails of it"]);
    for ticket in world.seen_tickets().tickets() {
        let opened_by = |record: &&DecisionRecord| {
            record.became.as_ref() == Some(&ticket.id) && record.reason.contains("new ticket")
        };
        let comments = ticket.comments.iter().map(|comment| comment.author.as_deref().unwrap_or("one"));
        table.add_row([
            ticket.id.clone(),
            ticket.subject.clone(),
            ticket.requester.as_deref().map(domain_of).unwrap_or_default(),
            or_dash(ticket.desk.clone()),
            or_dash(ticket.priority.clone()),
            decisions.iter().find(opened_by).map(because).unwrap_or_default(),
            comments.collect::<Vec<_>>().join("\n"),
        ]);
    }
    table
}

fn domain_of(address: &str) -> String {
    address.rsplit('@').next().unwrap_or_default().to_owned()
}

/// The most phrases that are shown of a ticket.
const SHOWN_OF_PHRASES: usize = 4;

/// What rules and standing of the sender gave a ticket its desk and its priority for.
fn because(record: &DecisionRecord) -> String {
    let mut phrases = phrases(record);
    if phrases.len() > SHOWN_OF_PHRASES {
        phrases.truncate(SHOWN_OF_PHRASES);
        phrases.push("…");
    }
    let matched = if phrases.is_empty() { "no rule".to_owned() } else { phrases.join(", ") };
    let mut because = vec![matched];
    let is_set = |name: &str| record.facts.get(name).is_some_and(|fact| *fact == true);
    for (name, words) in [("priority_domain", "priority domain"), ("open_deal", "open deal")] {
        if is_set(name) {
            because.push(words.to_owned());
        }
    }
    let flags = record.facts.get("flags").and_then(Value::as_array).into_iter().flatten();
    because.extend(flags.filter_map(Value::as_str).map(str::to_owned));
    if record.facts.get("alert").is_some_and(Value::is_string) {
        because.push("people were told".to_owned());
    }
    because.join("; ")
}

/// The phrases that were found in a mail, as the rules have them.
fn phrases(record: &DecisionRecord) -> Vec<&str> {
    let mut phrases: Vec<&str> = Vec::new();
    for found in record.facts.get("found").and_then(Value::as_array).into_iter().flatten() {
        let phrase = found["phrase"].as_str().unwrap_or_default();
        if !phrases.contains(&phrase) {
            phrases.push(phrase);
        }
    }
    phrases
}

/// What a night came to.
struct Night {
    accounts: usize,
    counts: BTreeMap<String, u64>,
    findings: Vec<Finding>,
    calls: usize,
}

/// Lets contact-sync look through all address books, begun as the schedule does it.
async fn night(world: &World) -> Result<Night, WorldError> {
    let crm = world.seen_crm();
    let before = crm.calls().total();
    let event = json!({ "type": SYNC }).to_string();
    let begun = world.engine.invoke(world.stack.function_name(CONTACTS_QUEUE)?, &event).await?;
    let run = begun["queued"].as_str().unwrap_or_default();
    world.view.emptied(world.stack.queue_url(CONTACTS_QUEUE)?, PATIENCE).await?;
    let calls = crm.calls().total() - before;
    let links = DynamoLinks::new(&world.engine.aws_config().await, world.stack.links_table()?.to_owned());
    let came_to = async |part: &str| -> Result<Progress, WorldError> {
        let read = progress(&links, &run_key(CONTACTS, part)).await;
        let read = read.map_err(|error| ViewError::Aws { what: "reading the links table", problem: error.0 })?;
        Ok(read.unwrap_or_default())
    };
    let accounts = came_to(run).await?.parts;
    let mut night = Night { accounts: accounts.len(), counts: BTreeMap::new(), findings: Vec::new(), calls };
    for account in accounts {
        let share = came_to(&part_of(run, Some(&account))).await?;
        for (name, count) in share.counts {
            *night.counts.entry(name).or_default() += count;
        }
        night.findings.extend(share.findings);
    }
    Ok(night)
}

/// What a contact is called, by its id in the CRM.
fn name_in(contacts: &[CrmContact], id: &str) -> String {
    let name = contacts.iter().find(|contact| contact.id == id).and_then(|contact| contact.name.as_deref());
    name.map_or_else(|| id.to_owned(), |name| format!("{name} ({id})"))
}

fn changed_table(before: &[CrmContact], now: &[CrmContact]) -> Table {
    let mut table = table(&["contact", "field", "before", "now"]);
    for (before, now) in before.iter().zip(now) {
        let fields = [
            (ContactField::Phone, &before.phone, &now.phone),
            (ContactField::JobTitle, &before.job_title, &now.job_title),
            (ContactField::Company, &before.company, &now.company),
        ];
        for (field, before, now_stands) in fields.into_iter().filter(|(_, before, now)| before != now) {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
            let contact = name_in(std::slice::from_ref(now), &now.id);
            table.add_row([contact, field.key().to_owned(), text(before), text(now_stands)]);
        }
    }
    table
}

fn kept_table(contacts: &[CrmContact], findings: &[Finding]) -> Table {
    let mut table = table(&["contact", "field", "stands in the CRM", "an address book says", "why"]);
    for Finding { of, field, stands, proposed, why } in findings {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
        table.add_row([name_in(contacts, of), field.clone(), text(stands), text(proposed), why.clone()]);
    }
    table
}

fn nights_table(nights: &[Night]) -> Table {
    let mut table =
        table(&["night", "accounts", "contacts", "changed", "unchanged", "left alone, and why", "calls to the CRM"]);
    for (number, night) in nights.iter().enumerate() {
        let count = |name: &str| night.counts.get(name).copied().unwrap_or_default().to_string();
        let skipped = night.counts.iter().filter_map(|(name, count)| Some((name.strip_prefix("skipped: ")?, count)));
        table.add_row([
            (number + 1).to_string(),
            night.accounts.to_string(),
            count("contacts"),
            count("changed"),
            count("unchanged"),
            skipped.map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join("\n"),
            night.calls.to_string(),
        ]);
    }
    table
}

/// The customers of the demo beside the one of a sample: an address and a name.
const CUSTOMERS: [(&str, &str); 4] = [
    ("rosa.diaz@fabrikam.example", "Rosa Diaz"),
    ("ida.lund@lumen-yards.example", "Ida Lund"),
    ("kofi.mensah@typo.example", "Kofi Mensah"),
    ("mei.tan@harbor-foods.example", "Mei Tan"),
];

/// The customer of a sample, who stays silent.
const SILENT: &str = "noor.haddad@lumen-bakery.example";

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0";

/// Lets customers live through their onboarding.
async fn onboard(world: &World) -> Result<(), WorldError> {
    let customers = Customers::of(world).await?;
    let webhook = world.webhook()?;
    let [rosa, ida, kofi, mei] = CUSTOMERS.map(|(email, _)| email);
    for (email, name) in CUSTOMERS {
        tell(world, &event("customer.signed_up", &format!("demo-{email}"), email, name)).await?;
    }
    let reaches = async |email: &str, state: &str| {
        let is_there =
            |record: &Value| record["state"] == state && record["todo"].as_array().is_some_and(Vec::is_empty);
        customers.until(email, &format!("{email} is {state}"), PATIENCE, is_there).await
    };
    for (email, _) in CUSTOMERS {
        reaches(email, "welcome_sent").await?;
    }
    let welcome = |email: &str| {
        mails_to(world, email)
            .into_iter()
            .map(|(_, mail)| mail)
            .next()
            .ok_or(StandInError::UnknownGrant(email.to_owned()))
    };
    let later = |at: Timestamp, minutes: i64| at.checked_add(SignedDuration::from_mins(minutes)).unwrap_or(at);
    let page = |record: &Value| record["page"]["configuration_id"].as_str().unwrap_or_default().to_owned();
    let booking = |told: &Value| told["data"]["object"]["booking_id"].as_str().unwrap_or_default().to_owned();

    // Mei's mail scanner follows every link as the mail comes in.
    let mail = welcome(mei)?;
    let every_link: Vec<(usize, Timestamp, &str)> = (0..3).map(|link| (link, later(mail.at, 2), BROWSER)).collect();
    webhook.deliver(&world.nylas.clicked(&mail.message_id, &every_link)?).await;
    // Kofi's address does not exist.
    webhook.deliver(&world.nylas.bounced(&welcome(kofi)?.message_id, "mailbox_unavailable", "550")?).await;
    // Rosa reads, clicks, books, comes, and is set up.
    let mail = welcome(rosa)?;
    webhook.deliver(&world.nylas.clicked(&mail.message_id, &[(1, later(mail.at, 90), BROWSER)])?).await;
    let record = reaches(rosa, "engaged").await?;
    let booked = world.nylas.book(&page(&record), rosa, "Rosa Diaz", later(mail.at, 240), 30, "America/Toronto")?;
    webhook.deliver(&booked).await;
    reaches(rosa, "kickoff_booked").await?;
    // Ida books, moves the call, and cancels it.
    let record = customers.until(ida, "Ida is welcomed", PATIENCE, |record| record["page"].is_object()).await?;
    let idas = world.nylas.book(&page(&record), ida, "Ida Lund", later(mail.at, 300), 30, "Europe/Stockholm")?;
    webhook.deliver(&idas).await;
    reaches(ida, "kickoff_booked").await?;
    webhook.deliver(&world.nylas.reschedule(&booking(&idas), later(mail.at, 360))?).await;
    webhook.deliver(&world.nylas.cancel_booking(&booking(&idas), "a fair")?).await;
    // Rosa's call has taken place by now.
    webhook.deliver(&world.nylas.reschedule(&booking(&booked), later(mail.at, -50))?).await;
    reaches(rosa, "kickoff_completed").await?;
    tell(world, &event("customer.onboarding_completed", "demo-done", rosa, "Rosa Diaz")).await?;
    reaches(rosa, "onboarded").await?;
    reaches(SILENT, "escalated").await?;
    reaches(ida, "escalated").await?;
    reaches(mei, "escalated").await.map(drop)
}

async fn customers_table(world: &World) -> Result<Table, WorldError> {
    let customers = Customers::of(world).await?;
    let mut table = table(&["customer", "state", "how it came there", "evidence"]);
    for email in CUSTOMERS.iter().map(|(email, _)| *email).chain([SILENT]) {
        let record = customers.record(email).await?.map_or(Value::Null, Value::Object);
        let list = |name: &str, of: &dyn Fn(&Value) -> String| {
            record[name].as_array().into_iter().flatten().map(of).collect::<Vec<_>>().join("\n")
        };
        let text = |value: &Value| value.as_str().unwrap_or("–").to_owned();
        table.add_row([
            email.to_owned(),
            text(&record["state"]),
            list("history", &|one| format!("{} → {}", text(&one["on"]), text(&one["to"]))),
            list("evidence", &|one| {
                format!("{}: {} ({})", text(&one["kind"]), text(&one["grade"]), text(&one["reason"]))
            }),
        ]);
    }
    Ok(table)
}

fn mails_table(world: &World) -> Table {
    let mut table = table(&["to", "subject", "step", "tracked"]);
    for mail in world.nylas.sent() {
        let step = mail.label.as_deref().and_then(|label| label.rsplit('.').next()).unwrap_or("–").to_owned();
        let tracked = if mail.tracked { "yes" } else { "no" };
        table.add_row([mail.to.join(", "), mail.subject, step, tracked.to_owned()]);
    }
    table
}

fn is_of_a_notetaker(sample: &Sample) -> bool {
    sample.kind().is_some_and(|kind| kind.starts_with("notetaker."))
}

/// The sample with links to the sandbox's storage in the place of what stands for them.
fn with_links(world: &World, sample: Sample) -> Sample {
    let body = world.nylas.with_links(&sample.text()).into_bytes();
    Sample { body, ..sample }
}

async fn send_all(world: &World, samples: Vec<Sample>) -> Result<Vec<Sent>, WorldError> {
    let mut sent = Vec::new();
    for sample in samples {
        let secret = if sample.is_customer_event() { CUSTOMER_EVENTS_SECRET } else { WEBHOOK_SECRET };
        let (status, _) = send(&world.engine, &world.stack, &sample, secret).await?;
        sent.push(Sent { sample, status });
    }
    Ok(sent)
}

async fn wait_until_decided(
    world: &World,
    sent: &[Sent],
    what: &str,
    mut say: impl FnMut(&str),
) -> Result<(), WorldError> {
    let expected: Vec<String> =
        sent.iter().filter(|sent| sent.status == 200 && is_worked_on(sent)).filter_map(id_of).collect();
    say(&format!("waiting until all {} {what} are decided", expected.len()));
    for notification in &expected {
        world.view.decision(notification, PATIENCE, |record| record.state == "done").await?;
    }
    Ok(())
}

/// Puts the samples of jobs into their queues and waits until what they find is worked off.
async fn work_off_jobs(world: &World) -> Result<(), WorldError> {
    for worker in WORKERS.into_iter().filter(|worker| ![ONBOARDING, CONTACTS].contains(&worker.folder)) {
        let samples = read_folder(&project_root().join("events").join(worker.folder))?;
        for job in samples.into_iter().filter(Sample::is_job) {
            put_job(&world.view, &world.stack, worker.queue, &job).await?;
        }
        world.view.emptied(world.stack.queue_url(worker.queue)?, PATIENCE).await?;
    }
    Ok(())
}

/// The function whose sample a file is: email-activity's if the folder tells no other.
#[must_use]
pub fn worker_of(sample: &Path) -> Worker {
    let is_in = |folder: &str| sample.parent().is_some_and(|parent| parent.ends_with(folder));
    WORKERS.into_iter().find(|worker| is_in(worker.folder)).unwrap_or(WORKERS[0])
}

/// Puts a job into a queue, as a person would.
pub async fn put_job(view: &StackView, stack: &Stack, queue: &str, job: &Sample) -> Result<(), WorldError> {
    let body = job.text();
    let deduplication_id = shared::domain::digest::sha256_hex(&[body.as_bytes()]);
    Ok(view.put(stack.queue_url(queue)?, &body, "by-hand", &deduplication_id).await?)
}

/// Sends one sample to the stack, signed with the given secret, and gives status and text of the answer.
pub async fn send(
    engine: &LocalEngine,
    stack: &Stack,
    sample: &Sample,
    secret: &str,
) -> Result<(u16, String), WorldError> {
    let request = sample.request(stack.webhook_url()?, secret);
    let headers: Vec<(&str, &str)> = request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = engine.call(request.method, &request.url, &headers, sample.body.clone()).await?;
    Ok((answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned()))
}

/// Every sample of every function, three of them twice, in an order that is mixed up and always the same.
fn shuffled_with_duplicates() -> Result<Vec<Sample>, WorldError> {
    let events = project_root().join("events");
    let mut samples = Vec::new();
    for worker in WORKERS.into_iter().filter(|worker| ![ONBOARDING, SUPPORT, CONTACTS].contains(&worker.folder)) {
        samples.extend(read_folder(&events.join(worker.folder))?.into_iter().filter(|sample| !sample.is_job()));
    }
    samples.extend(read_folder(&events.join("webhook-ingress"))?);
    let again: Vec<Sample> = samples.iter().filter(|sample| sample.method == "POST").step_by(4).cloned().collect();
    samples.extend(again);
    let mut mixed: Vec<(u64, Sample)> = samples
        .into_iter()
        .enumerate()
        .map(|(place, sample)| ((place as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17), sample))
        .collect();
    // An account is back after it was lost, or there is nothing to tell.
    mixed.sort_by_key(|(key, sample)| (sample.kind().as_deref() == Some("grant.updated"), *key));
    Ok(mixed.into_iter().map(|(_, sample)| sample).collect())
}

/// True for what a function of this release works on.
fn is_worked_on(sent: &Sent) -> bool {
    let kind = sent.sample.kind().unwrap_or_default();
    ["message.created", "message.bounce_detected", "event.", "grant.", "notetaker.", "contact.updated"]
        .iter()
        .any(|worked_on| kind.starts_with(worked_on))
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

fn requests_table(sent: &[Sent], decisions: &BTreeMap<String, DecisionRecord>) -> Table {
    let mut table = table(&["sample", "type", "answered", "decided", "why"]);
    let mut seen = Vec::new();
    for one in sent {
        let id = id_of(one).unwrap_or_default();
        let record = decisions.get(&id).filter(|_| one.status == 200 && is_worked_on(one));
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
    // What is known already is found by a backfill too; it is merged, and not told here.
    let (found, told): (Vec<&DecisionRecord>, Vec<&DecisionRecord>) =
        decisions.values().partition(|record| record.notification_id.starts_with("reconcile:"));
    let is_told_of = |found: &DecisionRecord| told.iter().any(|record| record.object_id == found.object_id);
    for found in found.into_iter().filter(|record| record.outcome != "merged") {
        table.add_row([
            format!("({}: {})", if is_told_of(found) { "again" } else { "found" }, found.object_id),
            found.trigger.clone(),
            "–".to_owned(),
            found.outcome.clone(),
            why(found),
        ]);
    }
    table
}

/// Why it was decided so, in a line.
#[must_use]
pub fn why(record: &DecisionRecord) -> String {
    let says_something = |value: &&Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let fact = |name: &str| record.facts.get(name).filter(says_something).map(ToString::to_string);
    let mut why = record.reason.clone();
    // Of support mail people ask which ticket it is.
    if let Some(ticket) = record.became.as_deref().filter(|_| record.function == "ticket-triage") {
        why = format!("{why} {ticket}");
    }
    let of_contacts = ["written", "source"].into_iter().filter(|_| record.function == CONTACTS);
    for name in [
        "evidence",
        "entry",
        "direction",
        "news",
        "because",
        "made_by",
        "kept",
        "found_by",
        "links",
        "contact_ids",
        "deal_id",
        "category",
        "priority",
        "priority_by_rules",
        "open_deal",
        "desk",
        "flags",
        "alert",
        "ticket",
    ]
    .into_iter()
    .chain(of_contacts)
    {
        if let Some(fact) = fact(name) {
            why = format!("{why}; {name} {}", fact.replace('"', ""));
        }
    }
    let phrases = phrases(record);
    if !phrases.is_empty() {
        why = format!("{why}; matched {}", phrases.join(", "));
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
        (200, _) => "a type that nobody wants: counted",
        (202, _) => "queued for onboarding: see below",
        (400, _) => "refused: the request is not what is expected",
        (401, _) => "refused: the signature is wrong",
        (404 | 405, _) => "refused: no such path or method",
        _ => "see the log of webhook-ingress",
    };
    ("–".to_owned(), why.to_owned())
}

fn mails_table_of(crm: &dyn CrmStandIn) -> Table {
    let mut table = table(&["activity", "subject", "direction", "at", "contacts", "deal"]);
    for mail in crm.mails() {
        table.add_row([
            mail.id,
            mail.subject,
            or_dash(mail.direction),
            mail.at,
            mail.contact_ids.join(", "),
            or_dash(mail.deal_id),
        ]);
    }
    table
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

/// How many meetings of one name are shown.
const SHOWN_OF_ONE_NAME: usize = 4;

/// How much of a longer text is shown, in characters.
const SHOWN_OF_A_TEXT: usize = 400;

/// A text in one line.
fn in_one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join(" / ");
    match text.char_indices().nth(SHOWN_OF_A_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn notes_table(crm: &dyn CrmStandIn) -> Table {
    let mut table = table(&["record", "contacts", "deal", "what it says"]);
    for notes in crm.notes() {
        let contacts = notes.contact_ids.join(", ");
        table.add_row([notes.id, contacts, or_dash(notes.deal_id), in_one_line(&notes.text)]);
    }
    table
}

fn tasks_table(crm: &dyn CrmStandIn) -> Table {
    let mut table = table(&["task", "what", "owner", "due", "contacts"]);
    for task in crm.tasks() {
        let contacts = task.contact_ids.join(", ");
        table.add_row([task.id, task.subject, or_dash(task.owner), or_dash(task.due), contacts]);
    }
    table
}

fn meetings_table(crm: &dyn CrmStandIn) -> Table {
    let mut table = table(&["meeting", "begins", "status", "contacts", "deal", "what it says"]);
    let mut meetings = crm.meetings();
    meetings.sort_by(|one, other| (&one.start, &one.subject).cmp(&(&other.start, &other.subject)));
    let mut of_one_name: BTreeMap<String, usize> = BTreeMap::new();
    for meeting in meetings {
        let shown = of_one_name.entry(meeting.subject.clone()).or_default();
        *shown += 1;
        if *shown > SHOWN_OF_ONE_NAME {
            continue;
        }
        let status = match meeting.status {
            SeenStatus::Planned => "planned",
            SeenStatus::Cancelled => "cancelled",
            SeenStatus::Deleted => "deleted",
        };
        table.add_row([
            meeting.subject,
            or_dash(meeting.start).replace(":00Z", "Z"),
            status.to_owned(),
            meeting.contact_ids.join(", "),
            or_dash(meeting.deal_id),
            in_one_line(&meeting.text),
        ]);
    }
    for (name, all) in of_one_name.into_iter().filter(|(_, all)| *all > SHOWN_OF_ONE_NAME) {
        table.add_row([format!("… {} more: {name}", all - SHOWN_OF_ONE_NAME)]);
    }
    table
}

async fn queues_table(world: &World) -> Result<Table, WorldError> {
    let mut table = table(&["queue", "messages", "what that means"]);
    for (queue, meaning) in [
        ("EmailActivity", "all mails are decided"),
        ("EmailActivityDeadLetter", "nothing was given up"),
        ("CalendarSync", "all events are decided"),
        ("CalendarSyncDeadLetter", "nothing was given up"),
        ("NotetakerMedia", "all news of notetakers is decided"),
        ("NotetakerMediaDeadLetter", "nothing was given up"),
        ("Onboarding", "all news of customers is decided"),
        ("OnboardingDeadLetter", "nothing was given up"),
        ("TicketTriage", "all support mail is decided"),
        ("TicketTriageDeadLetter", "nothing was given up"),
        ("ContactSync", "all contacts are decided"),
        ("ContactSyncDeadLetter", "nothing was given up"),
        ("Unroutable", "signed bodies that are no notification, each to be looked at by a person"),
    ] {
        let depth = world.view.depth(world.stack.queue_url(queue)?).await?;
        table.add_row([queue.to_owned(), depth.to_string(), meaning.to_owned()]);
    }
    Ok(table)
}

//! One run of a scenario: a CRM that knows everybody, a Nylas that holds the mails, clients without a connection yet,
//! and AWS in memory. Only the handling is timed, and it counts only if it came out right: everything decided as
//! logged, every call a success, and exactly the expected records in the CRM.

use std::{
    error::Error,
    slice,
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::SqsEvent;
use calendar_sync::{CalendarSync, meeting::Scope};
use email_activity::EmailActivity;
use sandbox::stand_ins::{self, CrmContact, Grant};
use secrecy::SecretString;
use serde_json::Value;
use shared::{
    alerts::AlertWebhook,
    configuration::parse_base_url,
    crm::{FindContacts as _, IdempotencyKey, LogEmail as _, rest::RestCrm},
    domain::{
        address::CompanyDomains,
        decision::{Decision, Outcome},
        own_mail::LoopId,
    },
    engine::{
        Clock, Deadline, Engine, Processor, RetryPolicy,
        testing::{MemoryBodies, MemoryLeases, MemoryLinks, MemoryNeverLog, MemoryQueue},
    },
    http::{ApiClient, ApiSettings, Credential, http_client},
    nylas::Nylas,
};

use crate::{
    mail::{self, COLLEAGUE, COMPANY_DOMAIN, GRANT, Mail, Outsider},
    meeting::{self, Meeting},
    scenario::{Scenario, Work},
};

/// Longer than any scenario takes, so that nothing is cut off.
const TIME_LIMIT: Duration = Duration::from_mins(5);

/// What each stand-in waits before it does anything.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// The CRM.
    pub crm: Duration,
    /// Nylas.
    pub nylas: Duration,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// From handing the batch over to its answer.
    pub took: Duration,
    /// How often the CRM was called.
    pub calls: usize,
}

/// The ports of the functions: their real clients, and AWS in memory.
struct InMemory;

impl calendar_sync::Ports for InMemory {
    type Crm = RestCrm;
    type Nylas = Nylas;
    type Links = MemoryLinks;
    type Decisions = MemoryLeases;
    type Queue = MemoryQueue;
    type JobQueue = MemoryQueue;
    type Alerts = AlertWebhook;
}

impl email_activity::Ports for InMemory {
    type Crm = RestCrm;
    type Nylas = Nylas;
    type Links = MemoryLinks;
    type Decisions = MemoryLeases;
    type Queue = MemoryQueue;
    type NeverLog = MemoryNeverLog;
}

/// The outside of one run.
pub struct World {
    crm: stand_ins::RestCrm,
    nylas: stand_ins::Nylas,
}

impl World {
    /// A world in which the CRM knows everybody who is on the scenario's mails.
    pub fn of(scenario: &Scenario, latency: Latency) -> Result<Self, Box<dyn Error>> {
        let crm = stand_ins::RestCrm::start()?;
        let mut known: Vec<&Outsider> = Vec::new();
        for outsider in scenario.work.outsiders() {
            if !known.contains(&outsider) {
                known.push(outsider);
                crm.add_contact(CrmContact::new(&outsider.contact_id(), &outsider.address()));
            }
        }
        let grant = Grant::google(GRANT, COLLEAGUE);
        let grant = scenario.work.mails().iter().fold(grant, |grant, mail| grant.with_message(mail.at_nylas()));
        let nylas = stand_ins::Nylas::builder().grant(grant).start()?;
        crm.faults().set_latency(latency.crm);
        nylas.faults().set_latency(latency.nylas);
        Ok(Self { crm, nylas })
    }

    #[cfg(test)]
    pub fn crm(&self) -> &stand_ins::RestCrm {
        &self.crm
    }

    /// Has the mails handled and checks what became of them.
    pub async fn run(&self, scenario: &Scenario) -> Result<Run, Box<dyn Error>> {
        let http = http_client()?;
        let client = |name, base_url: &str, key: &str| {
            let settings = ApiSettings {
                name,
                base_url: parse_base_url(base_url)?,
                credential: Credential::Fixed(SecretString::from(key)),
                credential_parameter: "none: this is a benchmark",
                calls_per_second: None,
            };
            Ok::<_, Box<dyn Error>>(ApiClient::new(http.clone(), settings))
        };
        let crm = RestCrm::new(client("the CRM", &self.crm.base_url(), self.crm.api_key())?);
        let nylas = Nylas::new(client("Nylas", &self.nylas.base_url(), self.nylas.api_key())?);
        let took = match &scenario.work {
            Work::Mails(mails) => handled_by_email_activity(mails, &crm, &nylas).await?,
            Work::Events(meetings) => handled_by_calendar_sync(meetings, &crm, &nylas).await?,
            Work::MailsInALoop(mails) => handled_by_a_plain_loop(mails, &crm).await?,
        };
        self.check(&scenario.work)?;
        Ok(Run { took, calls: self.crm.calls().all().len() })
    }

    /// Whether the CRM holds what it should and refused nothing on the way.
    fn check(&self, work: &Work) -> Result<(), String> {
        let calls = self.crm.calls().all().into_iter().chain(self.nylas.calls().all());
        for call in calls {
            if !call.status.is_some_and(|status| (200..300).contains(&status)) {
                return Err(format!("{} {} was answered {:?}", call.method, call.path, call.status));
            }
        }
        let contacts = |outsiders: &[Outsider]| outsiders.iter().map(Outsider::contact_id).collect::<Value>();
        let (mut expected, mut found): (Records, Records) = match work {
            Work::Mails(mails) | Work::MailsInALoop(mails) => (
                mails.iter().map(|mail| (mail.id(), contacts(&mail.outsiders))).collect(),
                self.crm.activities().iter().map(|one| record(&one.body, "external_message_id")).collect(),
            ),
            Work::Events(meetings) => (
                meetings.iter().map(|meeting| (meeting.id(), contacts(&meeting.outsiders))).collect(),
                self.crm.meetings().iter().map(|one| record(&one.body, "external_event_id")).collect(),
            ),
        };
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        found.sort_by(|one, other| one.0.cmp(&other.0));
        if expected == found { Ok(()) } else { Err(format!("the CRM holds {found:?} and should hold {expected:?}")) }
    }
}

/// What each record of the CRM belongs to, and its contacts.
type Records = Vec<(String, Value)>;

/// What a record of the CRM belongs to, and its contacts.
fn record(body: &Value, id: &str) -> (String, Value) {
    (body[id].as_str().unwrap_or_default().to_owned(), body["contact_ids"].clone())
}

/// The engine of a function over AWS in memory.
type MemoryEngine = Engine<MemoryLeases, MemoryQueue, MemoryBodies>;

fn engine(function: &'static str) -> MemoryEngine {
    Engine {
        function,
        leases: MemoryLeases::default(),
        queue: MemoryQueue::default(),
        bodies: MemoryBodies::default(),
        retry: RetryPolicy::default(),
        clock: Clock::system(),
    }
}

/// The time that a batch takes, as an instance that has just started. Everything in it has to be logged.
async fn timed(engine: &MemoryEngine, event: SqsEvent, rules: &impl Processor) -> Result<Duration, Box<dyn Error>> {
    let number = event.records.len();
    let begun = Instant::now();
    let response = Box::pin(engine.run(event, Deadline::after(TIME_LIMIT), rules)).await?;
    let took = begun.elapsed();

    let decisions: Vec<Option<Decision>> =
        engine.leases.records().into_values().map(|record| record.decision).collect();
    let logged = |decision: &&Option<Decision>| decision.as_ref().is_some_and(|one| one.outcome == Outcome::Logged);
    if let Some(other) = decisions.iter().find(|decision| !logged(decision)) {
        let other = other.as_ref().map_or_else(|| "undecided".to_owned(), ToString::to_string);
        return Err(format!("one is not logged: {other}").into());
    }
    if decisions.len() != number || !response.batch_item_failures.is_empty() {
        let returned = response.batch_item_failures.len();
        return Err(format!("of {number} {} were decided, {returned} go back", decisions.len()).into());
    }
    Ok(took)
}

async fn handled_by_email_activity(mails: &[Mail], crm: &RestCrm, nylas: &Nylas) -> Result<Duration, Box<dyn Error>> {
    let engine = engine(email_activity::FUNCTION);
    let (links, never_log) = (MemoryLinks::default(), MemoryNeverLog::default());
    let ports: email_activity::Provision<'_, InMemory> = email_activity::Provision {
        crm: Some(crm),
        nylas,
        links: &links,
        decisions: &engine.leases,
        queue: &engine.queue,
        never_log: &never_log,
        clock: Clock::system(),
    };
    let settings = email_activity::Settings {
        company_domains: CompanyDomains::parse([COMPANY_DOMAIN])?,
        loop_id: LoopId::of_stack("benchmark"),
    };
    let rules = EmailActivity::with(ports, settings);
    timed(&engine, mail::batch(mails)?, &rules.for_batch()).await
}

async fn handled_by_calendar_sync(
    meetings: &[Meeting],
    crm: &RestCrm,
    nylas: &Nylas,
) -> Result<Duration, Box<dyn Error>> {
    let engine = engine(calendar_sync::FUNCTION);
    let (links, others) = (MemoryLinks::default(), MemoryQueue::default());
    let ports: calendar_sync::Provision<'_, InMemory> = calendar_sync::Provision {
        crm: Some(crm),
        nylas,
        links: &links,
        decisions: &engine.leases,
        queue: &engine.queue,
        mail_queue: &others,
        notetaker_queue: &others,
        ticket_queue: None,
        alerts: None,
        clock: Clock::system(),
    };
    let settings = calendar_sync::Settings {
        company_domains: CompanyDomains::parse([COMPANY_DOMAIN])?,
        scope: Scope::Prospects,
        loop_id: LoopId::of_stack("benchmark"),
    };
    let rules = CalendarSync::with(ports, settings);
    timed(&engine, meeting::batch(meetings)?, &rules.for_batch()).await
}

/// The time that the usual recipe takes. It gets what only email-activity has to find out: which addresses are
/// outsiders'. It asks Nylas nothing.
async fn handled_by_a_plain_loop(mails: &[Mail], crm: &RestCrm) -> Result<Duration, Box<dyn Error>> {
    let read = mails.iter().map(Mail::read).collect::<Result<Vec<_>, _>>()?;
    let deadline = Deadline::after(TIME_LIMIT);

    let begun = Instant::now();
    for (message, addresses) in read {
        let mut contact_ids = Vec::new();
        for address in &addresses {
            let found = crm.find_contacts(slice::from_ref(address), deadline).await?;
            contact_ids.extend(found.into_values().flatten().map(|contact| contact.id));
        }
        let key = IdempotencyKey::new(format!("usual-loop-{}", message.id));
        crm.log_email(&mail::activity(message, &addresses, contact_ids), &key, deadline).await?;
    }
    Ok(begun.elapsed())
}

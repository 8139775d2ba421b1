//! The rules against the outside in memory.

mod acknowledgements;
mod completing;
mod conversations;
mod copies;
mod crashes;
mod histories;
mod outside;
mod reconciling;
mod skipping;
mod storms;
mod tickets;

use super::*;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::SignedDuration;
use shared::domain::address::CompanyDomains;
use shared::domain::own_mail::LoopId;
use shared::engine::testing::{KeptLog, MemoryLeases};
use shared::engine::{Clock, Deadline};

use crate::acknowledgement::Template;
use crate::screen::OwnAddresses;
use outside::{FakeCrm, FakeDesks, FakeLinks, FakeNylas, FakeQueue, FakeRules, FakeTickets, FakeTimers, Faked, Faults};

/// 2026-03-02T10:00:00Z, a Monday.
const NOW: i64 = 1_772_445_600;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// The rules of these tests. Incidents are of medium urgency here, so that the CRM is asked about them too.
const RULES: &str = r#"
[categories]
incidents = { desk = "on-call", priority = "medium", alert = true }
bugs = { desk = "engineering", priority = "medium" }
billing = { desk = "money", priority = "low" }
churn_risk = { desk = "retention", priority = "high", alert = true }

[desks.retention]
alerts = "https://hooks.example.com/retention"

[[rules]]
name = "outage"
category = "incidents"
weight = 8
words = ["is down"]

[[rules]]
name = "crash"
category = "bugs"
weight = 2
words = ["crashes"]

[[rules]]
name = "money"
category = "billing"
weight = 2
words = ["invoice"]

[[rules]]
name = "wish"
category = "feature_requests"
weight = 1
words = ["dark mode"]

[[rules]]
name = "leaving"
category = "churn_risk"
weight = 4
words = ["cancel our contract"]

[[rules]]
name = "monitoring"
category = "incidents"
weight = 8
words = ["probe failed"]
from = ["monitoring.example"]
opens_for = ["notification"]
"#;

/// Everything that the function has, in memory.
struct Desk {
    faults: Arc<Faults>,
    tickets: FakeTickets,
    nylas: FakeNylas,
    crm: FakeCrm,
    links: FakeLinks,
    decisions: MemoryLeases,
    queue: FakeQueue,
    timers: FakeTimers,
    alerts: FakeDesks,
    rules: FakeRules,
    now: Arc<AtomicI64>,
    settings: Settings,
}

impl Desk {
    /// A desk with two support mailboxes on Gmail.
    fn new() -> Self {
        let desk = Self::of("northwind.example", "stack");
        desk.nylas.connects("g1", "google", "support@northwind.example", "valid");
        desk.nylas.connects("g2", "google", "help@northwind.example", "valid");
        desk
    }

    fn that_acknowledges() -> Self {
        Self::new().acknowledging()
    }

    fn acknowledging(mut self) -> Self {
        self.settings.acknowledgement = Some(Arc::new(Template::built_in().expect("the built-in template")));
        self
    }

    /// The desk of a company with this domain, in this stack.
    fn of(domain: &str, stack: &str) -> Self {
        let faults: Arc<Faults> = Arc::default();
        let rules = FakeRules::counted_by(&faults);
        RULES.clone_into(&mut rules.text.lock().expect("not poisoned"));
        let support = address(&format!("support@{domain}"));
        Self {
            tickets: FakeTickets::counted_by(&faults),
            nylas: FakeNylas::counted_by(&faults),
            crm: FakeCrm::counted_by(&faults),
            links: FakeLinks::counted_by(&faults),
            decisions: MemoryLeases::default(),
            queue: FakeQueue::counted_by(&faults),
            timers: FakeTimers::counted_by(&faults),
            alerts: FakeDesks::counted_by(&faults),
            rules,
            now: Arc::new(AtomicI64::new(NOW)),
            settings: Settings {
                company_domains: CompanyDomains::parse([domain]).expect("a domain"),
                priority_domains: CompanyDomains::parse(["vip.example"]).expect("a domain"),
                own_addresses: OwnAddresses::new(vec![support]),
                loop_id: LoopId::of_stack(stack),
                storm_window: SignedDuration::from_mins(5),
                acknowledgement: None,
                stack: stack.to_owned(),
            },
            faults,
        }
    }

    fn ports(&self) -> Provision<'_, Faked> {
        let now = Arc::clone(&self.now);
        Provision {
            tickets: &self.tickets,
            nylas: &self.nylas,
            crm: Some(&self.crm),
            links: &self.links,
            decisions: &self.decisions,
            queue: &self.queue,
            timers: &self.timers,
            alerts: &self.alerts,
            rules: &self.rules,
            clock: Clock::told_by(move || Timestamp::from_second(now.load(Ordering::SeqCst)).expect("a time")),
        }
    }

    fn turn(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    /// Hands a message over to a new instance.
    async fn process(&self, body: &Value) -> Result<Decision, Failure> {
        let triage = Triage::with(self.ports(), self.settings.clone());
        triage.process(&work_of(&body.to_string(), self.now())).await
    }

    /// Nylas holds the mail, and notifies of it without its headers, as it does.
    async fn tries(&self, notification: &str, mail: &Value) -> Result<Decision, Failure> {
        self.nylas.holds(mail);
        self.process(&notified(notification, mail)).await
    }

    async fn receives(&self, notification: &str, mail: &Value) -> Decision {
        self.tries(notification, mail).await.expect("a decision")
    }

    /// The texts that people were told, wherever.
    fn told(&self) -> Vec<String> {
        self.alerts.told().into_iter().map(|(_, text)| text).collect()
    }
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

/// The notification of a mail.
fn notified(notification: &str, mail: &Value) -> Value {
    let mut object = mail.clone();
    object.as_object_mut().expect("an object").remove("headers");
    json!({"type": "message.created", "id": notification, "data": {"object": object}})
}

fn work_of(body: &str, sent_at: i64) -> Work {
    let input = Envelope::parse(body).map_or_else(
        |_| Input::Job {
            kind: serde_json::from_str::<Value>(body).expect("JSON")["type"].as_str().expect("a type").to_owned(),
        },
        Input::Notification,
    );
    let sent_at = Timestamp::from_second(sent_at).expect("a time");
    Work { input, body: body.to_owned(), sent_at, deadline: Deadline::after(Duration::from_secs(20)) }
}

/// The headers of a mail with this Message-ID and what else it has.
fn headers(message_id: &str, further: &[(&str, &str)]) -> Value {
    let message_id = format!("<{message_id}@mail.example>");
    let usual = [("Message-ID", message_id.as_str()), ("Date", "x"), ("MIME-Version", "1.0")];
    let named = usual.iter().chain(further).map(|(name, value)| json!({"name": name, "value": value}));
    named.collect()
}

/// Dana's mail `m1` to the first support mailbox, or another one by these fields. Its Message-ID is made of its id.
fn mail(fields: Value) -> Value {
    let mut mail = json!({
        "id": "m1", "grant_id": "g1", "thread_id": "t1", "subject": "A question", "snippet": "Hello,",
        "body": "<p>Hello, how are you?</p>", "folders": ["INBOX"], "date": NOW - MINUTE, "attachments": [],
        "from": [{"email": "Dana@acme.example", "name": "Dana Reyes"}], "to": [{"email": "support@northwind.example"}],
        "cc": [], "bcc": [], "reply_to": [],
    });
    let (Some(object), Value::Object(fields)) = (mail.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    if mail.get("headers").is_none() {
        mail["headers"] = headers(mail["id"].as_str().expect("an id"), &[]);
    }
    mail
}

fn from(email: &str) -> Value {
    json!([{"email": email}])
}

/// The reference headers of an answer to the mail with this id.
fn answering(id: &str, answered: &str) -> Value {
    let answered = format!("<{answered}@mail.example>");
    headers(id, &[("In-Reply-To", &answered), ("References", &answered)])
}

/// The mail `s1` that the team sent to somebody, in the thread of `m1`.
fn sent_to(somebody: &str) -> Value {
    let team = from("support@northwind.example");
    mail(json!({"id": "s1", "folders": ["SENT"], "from": team, "to": from(somebody)}))
}

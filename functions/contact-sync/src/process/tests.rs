//! The rules against the outside in memory.

mod crashes;
mod nights;
mod outside;
mod refreshing;
mod runs;
mod trouble;

use super::*;
use crate::FUNCTION;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::crm::contact_fields::ContactField;
use shared::domain::address::CompanyDomains;
use shared::domain::decision::Outcome;
use shared::engine::progress::{Progress, progress, run_key};
use shared::engine::{Deadline, OwnMessage};
use shared::nylas::contact::PhoneNumber;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;

use outside::{FakeBooks, FakeCrm, FakeLinks, FakeQueue, Faked, Faults};
use shared::engine::testing::MemoryNeverLog;

/// 2026-03-02T02:00:00Z.
const NOW: i64 = 1_772_416_800;

const DAY: i64 = 24 * 60 * 60;

/// Everything that the function has, in memory.
struct Night {
    faults: Arc<Faults>,
    crm: FakeCrm,
    books: FakeBooks,
    links: FakeLinks,
    queue: FakeQueue,
    never_log: MemoryNeverLog,
    /// How much later it is than the time that passes in a test.
    later: Arc<AtomicI64>,
    began: Instant,
    /// How many messages of the queue were taken.
    taken: usize,
    sources: Vec<String>,
}

impl Night {
    fn new() -> Self {
        let faults = Arc::new(Faults::default());
        let night = Self {
            crm: FakeCrm { faults: Arc::clone(&faults), ..FakeCrm::default() },
            books: FakeBooks { faults: Arc::clone(&faults), ..FakeBooks::default() },
            links: FakeLinks { faults: Arc::clone(&faults), ..FakeLinks::default() },
            queue: FakeQueue { faults: Arc::clone(&faults), ..FakeQueue::default() },
            never_log: MemoryNeverLog("secret.example".to_owned()),
            later: Arc::new(AtomicI64::new(0)),
            began: Instant::now(),
            taken: 0,
            sources: vec!["address_book".to_owned()],
            faults,
        };
        night.books.page_size.store(4, Ordering::SeqCst);
        night
    }

    fn clock(&self) -> Clock {
        let (later, began) = (Arc::clone(&self.later), self.began);
        Clock::told_by(move || {
            let passed = i64::try_from(began.elapsed().as_secs()).expect("a short test");
            Timestamp::from_second(NOW + passed + later.load(Ordering::SeqCst)).expect("a time")
        })
    }

    fn wait(&self, seconds: i64) {
        self.later.fetch_add(seconds, Ordering::SeqCst);
    }

    fn rules(&self) -> ContactSync<'_, Faked> {
        let ports = Provision {
            crm: Some(&self.crm),
            nylas: &self.books,
            links: &self.links,
            queue: &self.queue,
            never_log: &self.never_log,
            clock: self.clock(),
        };
        let company_domains = CompanyDomains::parse(["northwind.example"]).expect("domains");
        let reading = Reading { company_domains, region: PhoneRegion::default() };
        ContactSync::with(ports, Settings { reading, sources: self.sources.clone(), lookup_ttl: 7 * DAY })
    }

    fn work(&self, body: &str, left: Duration) -> Work {
        let input = match Envelope::parse(body) {
            Ok(envelope) => Input::Notification(envelope),
            Err(_) => Input::Job { kind: SYNC.to_owned() },
        };
        Work { input, body: body.to_owned(), sent_at: self.clock().now(), deadline: Deadline::after(left) }
    }

    async fn process(&self, body: &str) -> Result<Decision, Failure> {
        self.rules().process(&self.work(body, Duration::from_secs(116))).await
    }

    /// Begins a run and works on its messages, each until it is done, as the queue would.
    async fn sync(&mut self, event: Value) -> String {
        let run = self.begins(event).await;
        self.works_off_the_queue().await;
        run
    }

    async fn begins(&self, event: Value) -> String {
        let invocation = format!("{:08}-invocation", self.queue.queue.sent().len());
        match self.rules().begin(event, &invocation).await.expect("begun") {
            crate::run::Begun::Queued { queued } => queued,
            off @ crate::run::Begun::Off { .. } => panic!("{off:?}"),
        }
    }

    fn takes(&mut self) -> Vec<OwnMessage> {
        let new = self.queue.queue.sent().split_off(self.taken);
        self.taken += new.len();
        new
    }

    /// Works on all messages until none is left; what fails comes back.
    async fn works_off_the_queue(&mut self) {
        let mut waiting: VecDeque<OwnMessage> = self.takes().into();
        for _ in 0..1000 {
            let Some(message) = waiting.pop_front() else { return };
            if self.process(&message.body).await.is_err() {
                self.wait(30);
                waiting.push_back(message);
            }
            waiting.extend(self.takes());
        }
        panic!("the queue is never empty");
    }

    async fn share(&self, run: &str, grant: &str) -> Progress {
        let key = run_key(FUNCTION, &format!("{run}/{grant}"));
        progress(&self.links.links, &key).await.expect("an answer").expect("a share")
    }

    async fn count(&self, run: &str, grant: &str, name: &str) -> u64 {
        self.share(run, grant).await.counts.get(name).copied().unwrap_or_default()
    }
}

fn contact(id: &str, email: &str, phone: &str) -> Contact {
    let emails = json!([{ "email": email }]);
    let contact = json!({ "id": id, "emails": emails, "source": "address_book" });
    let phone = PhoneNumber { number: phone.to_owned(), kind: "work".to_owned() };
    Contact { phone_numbers: vec![phone], ..serde_json::from_value(contact).expect("a contact") }
}

fn titled(id: &str, email: &str, phone: &str, title: &str) -> Contact {
    Contact { job_title: title.to_owned(), ..contact(id, email, phone) }
}

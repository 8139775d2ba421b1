//! For tests: the engine's ports in memory, and the rules that every implementation of a port must keep.
//!
//! The same rules run against these and, on the local engine, against DynamoDB, so that the one may stand for the other.

use jiff::{Timestamp, ToSpan};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{
    About, Bodies, BodyError, Claim, ClaimRequest, Committed, DeadLetter, Decisions, Documents, Ending, FailedTry,
    Lease, LeaseKey, Leases, Links, ManyLinks, NeverLogged, OwnMessage, PutDocument, PutLink, Queue, ReadDecisions,
    Revision, SendToQueue, StoreError, StoredDocument, StoredLink, Waiting, WaitingPlace, sortable,
};
use crate::domain::decision::Decision;
use crate::domain::link::{Link, LinkKey, LinkState, Version};
use crate::domain::never_log::NeverLog;
use crate::domain::notification::NotificationId;
use crate::domain::pointer::BodyPointer;

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Leases in memory.
#[derive(Debug, Default)]
pub struct MemoryLeases {
    records: Mutex<HashMap<String, Record>>,
    /// While set, every call fails.
    pub down: std::sync::atomic::AtomicBool,
}

/// A decision record in memory.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// `in_progress`, `done` or `failed`.
    pub state: &'static str,
    /// When the lease ends.
    pub until: Timestamp,
    /// When the record ends.
    pub ends: Timestamp,
    /// The fencing number.
    pub fence: u64,
    /// Claims without a verdict.
    pub unresolved: u32,
    /// Failed tries.
    pub failures: u32,
    /// The first of them.
    pub first_failed_at: Option<Timestamp>,
    /// The kind of the last of them.
    pub class: Option<String>,
    /// The digest of the content.
    pub content: String,
    /// What was decided.
    pub decision: Option<Decision>,
    /// What it is about.
    pub about: Option<About>,
    /// When it was last written.
    pub updated: Timestamp,
    /// True while it waits for a contact.
    pub waits: bool,
    /// When the first message that came for it was put into the queue.
    pub queued_at: Option<Timestamp>,
    /// True while its message lies in the dead-letter queue.
    pub dead_lettered: bool,
}

impl MemoryLeases {
    /// The record with this key.
    #[must_use]
    pub fn record(&self, key: &str) -> Option<Record> {
        open(&self.records).get(key).cloned()
    }

    /// All records by key.
    #[must_use]
    pub fn records(&self) -> HashMap<String, Record> {
        open(&self.records).clone()
    }

    fn up(&self) -> Result<MutexGuard<'_, HashMap<String, Record>>, StoreError> {
        if self.down.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError("the table is down".to_owned()));
        }
        Ok(open(&self.records))
    }

    fn settle(&self, lease: &Lease, change: impl FnOnce(&mut Record)) -> Result<Committed, StoreError> {
        let mut records = self.up()?;
        match records.get_mut(lease.key.as_str()) {
            Some(record) if record.state == "in_progress" && record.fence == lease.fence => {
                change(record);
                Ok(Committed::Yes)
            }
            _ => Ok(Committed::LeaseLost),
        }
    }
}

fn end_of_life(now: Timestamp) -> Timestamp {
    now.checked_add((35 * 24).hours()).unwrap_or(Timestamp::MAX)
}

impl Leases for MemoryLeases {
    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
        let mut records = self.up()?;
        let record = records.entry(request.key.as_str().to_owned()).or_default();
        match record.state {
            "in_progress" if record.until > request.now => return Ok(Claim::Busy { until: record.until }),
            "done" if record.ends > request.now => {
                let decision = record.decision.clone().ok_or(StoreError("done without a decision".to_owned()))?;
                return Ok(Claim::Duplicate { decision, content: record.content.clone() });
            }
            _ => {}
        }
        record.state = "in_progress";
        record.until = request.until;
        record.ends = end_of_life(request.now);
        record.fence += 1;
        record.unresolved += 1;
        request.content.clone_into(&mut record.content);
        record.about = Some(request.about.clone());
        record.updated = request.now;
        record.queued_at.get_or_insert(request.queued_at);
        Ok(Claim::Granted(Lease {
            key: request.key.clone(),
            fence: record.fence,
            unresolved: record.unresolved - 1,
            failures: record.failures,
            first_failed_at: record.first_failed_at,
        }))
    }

    async fn complete(&self, lease: &Lease, decision: &Decision, now: Timestamp) -> Result<Committed, StoreError> {
        self.settle(lease, |record| {
            record.state = "done";
            record.decision = Some(decision.clone());
            record.updated = now;
            record.waits = !decision.waits_for.is_empty();
            record.dead_lettered = false;
            record.unresolved = 0;
            record.ends = end_of_life(now);
        })
    }

    async fn fail(&self, lease: &Lease, failed: &FailedTry, now: Timestamp) -> Result<Committed, StoreError> {
        self.settle(lease, |record| {
            record.state = "failed";
            record.class = Some(failed.class.clone());
            record.failures += 1;
            record.first_failed_at.get_or_insert(now);
            record.dead_lettered = failed.ending == Ending::DeadLetter;
            if failed.ending != Ending::RetryWithoutVerdict {
                record.unresolved = 0;
            }
        })
    }

    async fn release(&self, lease: &Lease, _: Timestamp) -> Result<Committed, StoreError> {
        self.settle(lease, |record| {
            record.state = "failed";
            record.unresolved -= 1;
        })
    }
}

impl Decisions for MemoryLeases {
    async fn is_known(&self, function: &str, grant: &str, object: &str) -> Result<bool, StoreError> {
        let is_final = |record: &&Record| record.decision.as_ref().is_none_or(|decision| !decision.passing);
        Ok(self.up()?.values().filter(is_final).filter_map(|record| record.about.as_ref()).any(|about| {
            about.function == function && about.grant.as_deref().unwrap_or("none") == grant && about.object == object
        }))
    }

    async fn waiting(
        &self,
        function: &str,
        grant: &str,
        after: &WaitingPlace,
        most: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let records = self.up()?;
        let mut found: Vec<Waiting> = records
            .iter()
            .filter(|(_, record)| record.waits)
            .filter_map(|(key, record)| Some((key, record, record.about.as_ref()?, record.decision.as_ref()?)))
            .filter(|(_, _, about, _)| about.function == function && about.grant.as_deref().unwrap_or("none") == grant)
            .map(|(key, record, about, decision)| Waiting {
                place: WaitingPlace { at: sortable(record.updated), key: key.clone() },
                object: about.object.clone(),
                addresses: decision.waits_for.clone(),
            })
            .filter(|waiting| waiting.place > *after)
            .collect();
        found.sort_by(|one, other| one.place.cmp(&other.place));
        found.truncate(most);
        Ok(found)
    }

    async fn waits_no_longer(&self, waiting: &Waiting) -> Result<(), StoreError> {
        if let Some(record) = self.up()?.get_mut(&waiting.place.key) {
            record.waits = false;
        }
        Ok(())
    }
}

impl ReadDecisions for MemoryLeases {
    async fn decisions_on(&self, function: &str, grant: &str, object: &str) -> Result<Vec<Decision>, StoreError> {
        let records = self.up()?;
        let is_about = |about: &About| {
            about.function == function && about.grant.as_deref().unwrap_or("none") == grant && about.object == object
        };
        let mut found: Vec<(Timestamp, Decision)> = records
            .values()
            .filter(|record| record.state == "done" && record.about.as_ref().is_some_and(is_about))
            .filter_map(|record| Some((record.updated, record.decision.clone()?)))
            .collect();
        found.sort_by_key(|(updated, _)| *updated);
        Ok(found.into_iter().map(|(_, decision)| decision).collect())
    }
}

/// Links in memory.
#[derive(Debug, Default)]
pub struct MemoryLinks(Mutex<HashMap<LinkKey, StoredLink>>);

impl Links for MemoryLinks {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        Ok(open(&self.0).get(key).cloned())
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, _: Timestamp) -> Result<PutLink, StoreError> {
        let mut links = open(&self.0);
        if links.get(&link.key).map(|stored| stored.revision) != expected {
            return Ok(PutLink::Raced);
        }
        let revision = Revision(expected.map_or(1, |revision| revision.0 + 1));
        links.insert(link.key.clone(), StoredLink { link: link.clone(), revision });
        Ok(PutLink::Stored(revision))
    }
}

impl ManyLinks for MemoryLinks {
    async fn get_many(&self, keys: &[LinkKey]) -> Result<Vec<Option<StoredLink>>, StoreError> {
        let links = open(&self.0);
        Ok(keys.iter().map(|key| links.get(key).cloned()).collect())
    }

    async fn put_many(&self, written: &[Link], _: Timestamp) -> Result<(), StoreError> {
        let mut links = open(&self.0);
        for link in written {
            links.insert(link.key.clone(), StoredLink { link: link.clone(), revision: Revision(1) });
        }
        Ok(())
    }
}

/// Keeps all that is logged, one field a line, to be looked through for what no log may hold.
#[derive(Debug, Clone)]
pub struct KeptLog(Arc<Mutex<String>>);

/// Two that stay: while there is only one subscriber, `tracing` asks that of the thread which logs first, and remembers for
/// every thread that nobody listens there.
static LISTENING: LazyLock<[tracing::Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| tracing::Dispatch::new(KeptLog(Arc::default()))));

impl Default for KeptLog {
    fn default() -> Self {
        LazyLock::force(&LISTENING);
        Self(Arc::default())
    }
}

impl KeptLog {
    /// What was logged.
    #[must_use]
    pub fn text(&self) -> String {
        open(&self.0).clone()
    }
}

impl tracing::Subscriber for KeptLog {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

impl tracing::field::Visit for KeptLog {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut text = open(&self.0);
        *text = format!("{text}{field}={value:?}\n");
    }
}

/// A never-log list in memory, as people write it; empty by default.
#[derive(Debug, Clone, Default)]
pub struct MemoryNeverLog(pub String);

impl NeverLogged for MemoryNeverLog {
    async fn current(&self) -> Result<Arc<NeverLog>, StoreError> {
        Ok(Arc::new(NeverLog::parse(&self.0).0))
    }
}

/// Documents in memory.
#[derive(Debug, Default)]
pub struct MemoryDocuments(Mutex<HashMap<String, StoredDocument>>);

impl Documents for MemoryDocuments {
    async fn read(&self, key: &str) -> Result<Option<StoredDocument>, StoreError> {
        Ok(open(&self.0).get(key).cloned())
    }

    async fn write(
        &self,
        key: &str,
        fields: &Map<String, Value>,
        expected: Option<Revision>,
        _: Timestamp,
    ) -> Result<PutDocument, StoreError> {
        let mut documents = open(&self.0);
        if documents.get(key).map(|stored| stored.revision) != expected {
            return Ok(PutDocument::Raced);
        }
        let revision = Revision(expected.map_or(1, |revision| revision.0 + 1));
        documents.insert(key.to_owned(), StoredDocument { fields: fields.clone(), revision });
        Ok(PutDocument::Stored(revision))
    }
}

/// A letter that went to the dead-letter queue in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// The text the message carried.
    pub body: String,
    /// SQS's id of the message.
    pub message_id: String,
    /// The kind of failure.
    pub class: String,
    /// What happened.
    pub reason: String,
    /// The trace it belongs to.
    pub trace: Option<String>,
}

/// A queue in memory: what was hidden for how long, and what was buried.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    hidden: Mutex<Vec<(String, Duration)>>,
    buried: Mutex<Vec<Buried>>,
    sent: Mutex<Vec<OwnMessage>>,
    /// While set, nothing can be buried or sent.
    pub down: std::sync::atomic::AtomicBool,
}

impl MemoryQueue {
    /// Receipt handles and how long each was hidden, in order.
    #[must_use]
    pub fn hidden(&self) -> Vec<(String, Duration)> {
        open(&self.hidden).clone()
    }

    /// The messages that were sent, in order, each once.
    #[must_use]
    pub fn sent(&self) -> Vec<OwnMessage> {
        open(&self.sent).clone()
    }

    /// The dead letters, in order.
    #[must_use]
    pub fn buried(&self) -> Vec<Buried> {
        open(&self.buried).clone()
    }
}

impl Queue for MemoryQueue {
    async fn hide(&self, receipt_handle: &str, wait: Duration) -> Result<(), StoreError> {
        open(&self.hidden).push((receipt_handle.to_owned(), wait));
        Ok(())
    }

    async fn dead_letter(&self, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        if self.down.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError("the dead-letter queue is down".to_owned()));
        }
        let mut buried = open(&self.buried);
        if buried.iter().all(|standing| standing.message_id != letter.message_id) {
            buried.push(Buried {
                body: letter.body.to_owned(),
                message_id: letter.message_id.to_owned(),
                class: letter.class.to_owned(),
                reason: letter.reason.to_owned(),
                trace: letter.trace.map(str::to_owned),
            });
        }
        Ok(())
    }
}

impl SendToQueue for MemoryQueue {
    async fn send(&self, message: &OwnMessage) -> Result<(), StoreError> {
        if self.down.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError("the queue is down".to_owned()));
        }
        let mut sent = open(&self.sent);
        if sent.iter().all(|standing| standing.deduplication_id != message.deduplication_id) {
            sent.push(message.clone());
        }
        Ok(())
    }
}

/// Bodies in memory, by key.
#[derive(Debug, Default)]
pub struct MemoryBodies(pub HashMap<String, Vec<u8>>);

impl Bodies for MemoryBodies {
    async fn fetch(&self, pointer: &BodyPointer) -> Result<Vec<u8>, BodyError> {
        let body = self.0.get(&pointer.key).ok_or_else(|| BodyError::Missing(pointer.key.clone()))?;
        if BodyPointer::to(body).sha256 == pointer.sha256 {
            Ok(body.clone())
        } else {
            Err(BodyError::Corrupt(pointer.key.clone()))
        }
    }
}

/// A fixed time for the rules below: 2026-03-01T10:00:00Z.
fn noon() -> Timestamp {
    Timestamp::from_second(1_772_359_200).unwrap_or_default()
}

fn later(seconds: i64) -> Timestamp {
    noon().checked_add(seconds.seconds()).unwrap_or_default()
}

struct Claimant<'a, L> {
    leases: &'a L,
    key: LeaseKey,
    about: About,
}

impl<'a, L: Leases> Claimant<'a, L> {
    fn new(leases: &'a L, name: &str) -> Self {
        let notification = NotificationId::of_our_own("rule", name);
        Self {
            leases,
            key: LeaseKey::new("rules", &notification),
            about: About {
                function: "rules",
                object: notification.as_str().to_owned(),
                notification,
                trigger: "message.created".to_owned(),
                grant: Some("grant-1".to_owned()),
            },
        }
    }

    async fn claim(&self, now: Timestamp, until: Timestamp) -> Claim {
        let (key, about) = (&self.key, &self.about);
        let request = ClaimRequest { key, about, content: "content", now, until, queued_at: now, trace: None };
        match self.leases.claim(&request).await {
            Ok(claim) => claim,
            Err(error) => panic!("{}: {error}", self.key.as_str()),
        }
    }

    async fn granted(&self, now: Timestamp, until: Timestamp) -> Lease {
        match self.claim(now, until).await {
            Claim::Granted(lease) => lease,
            other => panic!("{}: expected a lease, got {other:?}", self.key.as_str()),
        }
    }
}

fn failed(ending: Ending) -> FailedTry {
    FailedTry { class: "crm.unavailable".to_owned(), what: "the CRM answered 503".to_owned(), ending }
}

/// The rules of leases. `run` makes the keys of one run its own, so that a table can be used again.
///
/// # Panics
/// With the name of the rule that is broken.
pub async fn leases_keep_their_rules(leases: &impl Leases, run: &str) {
    let claimant = |name: &str| Claimant::new(leases, &format!("{run}-{name}"));
    let decision = Decision::logged("contact matched", "act-1").with("contact_ids", vec!["c1", "c2"]);

    let rule = claimant("a second claim meets a live lease and learns when it ends");
    let first = rule.granted(noon(), later(30)).await;
    assert_eq!(rule.claim(later(1), later(31)).await, Claim::Busy { until: later(30) });

    // …and a worker that lost its lease cannot commit.
    let second = rule.granted(later(30), later(60)).await;
    assert!(second.fence > first.fence, "a later claim has a higher fence");
    assert_eq!(second.unresolved, 1, "the claim that ran out had no verdict");
    assert_eq!(leases.complete(&first, &decision, later(31)).await, Ok(Committed::LeaseLost));
    assert_eq!(leases.fail(&first, &failed(Ending::Retry), later(31)).await, Ok(Committed::LeaseLost));
    assert_eq!(leases.release(&first, later(31)).await, Ok(Committed::LeaseLost));
    assert_eq!(leases.complete(&second, &decision, later(32)).await, Ok(Committed::Yes));
    assert_eq!(leases.complete(&second, &decision, later(33)).await, Ok(Committed::LeaseLost), "done stays done");

    let rule = claimant("only a completed record makes a duplicate, and it tells the decision");
    let lease = rule.granted(noon(), later(30)).await;
    assert_eq!(leases.complete(&lease, &decision, later(1)).await, Ok(Committed::Yes));
    match rule.claim(later(2), later(32)).await {
        Claim::Duplicate { decision: standing, content } => {
            assert_eq!(standing, decision);
            assert_eq!(content, "content");
        }
        other => panic!("expected a duplicate, got {other:?}"),
    }

    let rule = claimant("a failed record can be claimed again at once and remembers its failures");
    let lease = rule.granted(noon(), later(30)).await;
    assert_eq!(leases.fail(&lease, &failed(Ending::Retry), later(1)).await, Ok(Committed::Yes));
    let again = rule.granted(later(2), later(32)).await;
    assert_eq!((again.failures, again.unresolved, again.first_failed_at), (1, 0, Some(later(1))));
    assert_eq!(leases.fail(&again, &failed(Ending::DeadLetter), later(3)).await, Ok(Committed::Yes));
    let redriven = rule.granted(later(4), later(34)).await;
    assert_eq!((redriven.failures, redriven.first_failed_at), (2, Some(later(1))));

    let rule = claimant("claims without a verdict add up until there is one");
    for crash in 0..4 {
        let lease = rule.granted(later(crash * 30), later(crash * 30 + 30)).await;
        assert_eq!(i64::from(lease.unresolved), crash);
    }
    let lease = rule.granted(later(120), later(150)).await;
    assert_eq!(leases.fail(&lease, &failed(Ending::RetryWithoutVerdict), later(121)).await, Ok(Committed::Yes));
    let lease = rule.granted(later(122), later(152)).await;
    assert_eq!(lease.unresolved, 5, "a panic is no verdict");
    assert_eq!(leases.fail(&lease, &failed(Ending::Retry), later(123)).await, Ok(Committed::Yes));
    assert_eq!(rule.granted(later(124), later(154)).await.unresolved, 0, "a verdict ends the count");

    let rule = claimant("a claim that is given back does not count");
    let lease = rule.granted(noon(), later(30)).await;
    assert_eq!(leases.release(&lease, later(1)).await, Ok(Committed::Yes));
    let again = rule.granted(later(2), later(32)).await;
    assert_eq!((again.unresolved, again.failures), (0, 0));

    let rule = claimant("a lease that ends as it begins is written, and over at once");
    let lease = rule.granted(noon(), noon()).await;
    assert!(rule.granted(later(1), later(31)).await.fence > lease.fence);

    let rule = claimant("a completed record is judged by its own time and can be claimed after its life");
    let lease = rule.granted(noon(), later(30)).await;
    assert_eq!(leases.complete(&lease, &decision, later(1)).await, Ok(Committed::Yes));
    let day = 24 * 60 * 60;
    assert!(matches!(rule.claim(later(34 * day), later(34 * day + 30)).await, Claim::Duplicate { .. }));
    let lease = rule.granted(later(36 * day), later(36 * day + 30)).await;
    assert_eq!(lease.unresolved, 0);
}

/// The rules of finding decisions again, for a store that is a leases store as well. `run` is not yet in the table.
///
/// # Panics
/// With the rule that is broken.
pub async fn decisions_keep_their_rules<S: Leases + Decisions + ReadDecisions>(store: &S, run: &str) {
    let grant = format!("grant-{run}");
    let decide = async |name: &str, grant: &str, decision: &Decision, at: Timestamp| {
        let mut claimant = Claimant::new(store, &format!("{run}-{name}"));
        claimant.about.grant = Some(grant.to_owned());
        let lease = claimant.granted(at, later(600)).await;
        assert_eq!(store.complete(&lease, decision, at).await, Ok(Committed::Yes));
        claimant.about.object
    };
    let waits = |address: &str| Decision::skipped("no known contact").waiting_for(vec![address.to_owned()]);
    let first = decide("first", &grant, &waits("a@x.example"), later(1)).await;
    let second = decide("second", &grant, &waits("b@x.example"), later(2)).await;
    let third = decide("third", &grant, &waits("c@x.example"), later(2)).await;
    let logged = decide("logged", &grant, &Decision::logged("known contact", "act-1"), later(3)).await;
    let draft = decide("draft", &grant, &Decision::skipped("draft").for_now(), later(3)).await;
    decide("elsewhere", &format!("{grant}-b"), &waits("d@x.example"), later(1)).await;

    let known = async |function: &str, grant: &str, object: &str| store.is_known(function, grant, object).await;
    for object in [&first, &logged] {
        assert_eq!(known("rules", &grant, object).await, Ok(true), "whatever was decided is known");
    }
    assert_eq!(known("rules", &grant, "never seen").await, Ok(false));
    assert_eq!(known("rules", &grant, &draft).await, Ok(false), "what was decided for now counts as not seen");
    assert_eq!(known("others", &grant, &first).await, Ok(false), "another function's record does not count");
    assert_eq!(known("rules", "another grant", &first).await, Ok(false), "nor another grant's");

    let read = async |function: &str, grant: &str, object: &str| store.decisions_on(function, grant, object).await;
    assert_eq!(read("rules", &grant, &logged).await, Ok(vec![Decision::logged("known contact", "act-1")]));
    assert_eq!(read("rules", &grant, &draft).await, Ok(vec![Decision::skipped("draft").for_now()]), "for now, too");
    assert_eq!(read("others", &grant, &logged).await, Ok(Vec::new()), "another function has decided nothing");
    assert_eq!(read("rules", "another grant", &logged).await, Ok(Vec::new()), "nor has another grant");
    let mut twice = Claimant::new(store, &format!("{run}-once more"));
    twice.about = About { grant: Some(grant.clone()), object: draft.clone(), ..twice.about };
    let lease = twice.granted(later(5), later(600)).await;
    assert_eq!(read("rules", &grant, &draft).await.map(|found| found.len()), Ok(1), "what is at work is not decided");
    let sent = Decision::logged("known contact", "act-2");
    assert_eq!(store.complete(&lease, &sent, later(6)).await, Ok(Committed::Yes));
    let both = vec![Decision::skipped("draft").for_now(), sent];
    assert_eq!(read("rules", &grant, &draft).await, Ok(both), "what was decided first comes first");

    let from = WaitingPlace::before(noon());
    let list = async |after: &WaitingPlace, most: usize| match store.waiting("rules", &grant, after, most).await {
        Ok(found) => found,
        Err(error) => panic!("{run}: {error}"),
    };
    let all = list(&from, 10).await;
    assert_eq!(all[0].object, first, "the oldest comes first");
    let mut objects: Vec<&str> = all.iter().map(|waiting| waiting.object.as_str()).collect();
    objects.sort_unstable();
    let mut expected = [first.as_str(), &second, &third];
    expected.sort_unstable();
    assert_eq!(objects, expected, "what waits, and only in this grant");
    assert_eq!(all[0].addresses, ["a@x.example"]);
    let mut place = from.clone();
    for waiting in &all {
        let page = list(&place, 1).await;
        assert_eq!(page.first(), Some(waiting), "a page goes on where the last one ended, also within one instant");
        place = waiting.place.clone();
    }
    assert_eq!(list(&place, 10).await, [], "nothing is after the last");
    assert_eq!(list(&WaitingPlace::before(later(2)), 10).await.len(), 2, "what was decided before does not count");
    assert_eq!(store.waits_no_longer(&all[0]).await, Ok(()));
    assert_eq!(store.waits_no_longer(&all[0]).await, Ok(()), "twice is harmless");
    assert_eq!(list(&from, 10).await.len(), 2, "what was settled waits no longer");
    assert_eq!(known("rules", &grant, &first).await, Ok(true), "and is known all the same");
}

/// The rules of links, for keys that begin with `run`.
///
/// # Panics
/// With the rule that is broken.
pub async fn links_keep_their_rules(links: &impl Links, run: &str) {
    let link = |became: &str| Link {
        key: LinkKey::new("rule", run),
        state: LinkState::Live { became: became.to_owned() },
        version: Version { sequence: 3, changed_at: 1_772_359_200 },
        content: Some("digest".to_owned()),
        facts: [("nylas_id".to_owned(), "m-1".into())].into_iter().collect(),
    };
    let key = LinkKey::new("rule", run);
    assert_eq!(links.get(&key).await, Ok(None), "there is no link yet");
    assert_eq!(links.put(&link("a"), Some(Revision(1)), noon()).await, Ok(PutLink::Raced), "nothing to overwrite");
    assert_eq!(links.put(&link("a"), None, noon()).await, Ok(PutLink::Stored(Revision(1))));
    assert_eq!(links.put(&link("b"), None, noon()).await, Ok(PutLink::Raced), "two cannot create one link");
    let stored = StoredLink { link: link("a"), revision: Revision(1) };
    assert_eq!(links.get(&key).await, Ok(Some(stored)), "what was written is read");
    assert_eq!(links.put(&link("c"), Some(Revision(1)), noon()).await, Ok(PutLink::Stored(Revision(2))));
    assert_eq!(links.put(&link("d"), Some(Revision(1)), noon()).await, Ok(PutLink::Raced), "an old read cannot write");
    let tombstone = Link { state: LinkState::Tombstone, content: None, ..link("c") };
    assert_eq!(links.put(&tombstone, Some(Revision(2)), noon()).await, Ok(PutLink::Stored(Revision(3))));
    let stored = StoredLink { link: tombstone, revision: Revision(3) };
    assert_eq!(links.get(&key).await, Ok(Some(stored)), "a tombstone is read as one");
}

/// The rules of links in numbers, for keys that begin with `run`.
///
/// # Panics
/// With the rule that is broken.
pub async fn many_links_keep_their_rules(links: &impl ManyLinks, run: &str) {
    let key = |number: usize| LinkKey::new("many", &format!("{run}/{number}"));
    let link = |number: usize, content: &str| Link {
        key: key(number),
        state: LinkState::Note,
        version: Version::default(),
        content: Some(content.to_owned()),
        facts: Map::new(),
    };
    let written: Vec<Link> = (0..130).map(|number| link(number, "a")).collect();
    assert_eq!(links.put_many(&written, noon()).await, Ok(()), "more than one call of the table takes");
    assert_eq!(links.put_many(&[link(7, "b")], noon()).await, Ok(()), "over whatever stands");
    assert_eq!(links.put_many(&[], noon()).await, Ok(()), "none at all");
    let keys: Vec<LinkKey> = (0..140).rev().chain([7, 7]).map(key).collect();
    let read = links.get_many(&keys).await.expect("links");
    let found: Vec<Option<(LinkKey, String)>> = read
        .into_iter()
        .map(|stored| stored.map(|stored| (stored.link.key, stored.link.content.unwrap_or_default())))
        .collect();
    let expected: Vec<Option<(LinkKey, String)>> = (0..140)
        .rev()
        .chain([7, 7])
        .map(|number| (number < 130).then(|| (key(number), if number == 7 { "b" } else { "a" }.to_owned())))
        .collect();
    assert_eq!(found, expected, "in the order of the keys, none where there is none, also one asked for twice");
    assert_eq!(links.get_many(&[]).await, Ok(Vec::new()), "none at all");
}

/// The rules of documents, for a key that is `run`.
///
/// # Panics
/// With the rule that is broken.
pub async fn documents_keep_their_rules(documents: &impl Documents, run: &str) {
    let fields = |state: &str| -> Map<String, Value> {
        let Value::Object(fields) =
            json!({"state": state, "version": 3, "armed": {"nudge": 2}, "seen": ["a"], "none": null, "share": 0.5})
        else {
            panic!("an object")
        };
        fields
    };
    assert_eq!(documents.read(run).await, Ok(None), "there is no document yet");
    let raced = documents.write(run, &fields("new"), Some(Revision(1)), noon()).await;
    assert_eq!(raced, Ok(PutDocument::Raced), "nothing to overwrite");
    let stored = documents.write(run, &fields("new"), None, noon()).await;
    assert_eq!(stored, Ok(PutDocument::Stored(Revision(1))));
    assert_eq!(
        documents.write(run, &fields("other"), None, noon()).await,
        Ok(PutDocument::Raced),
        "two cannot create one document"
    );
    let standing = StoredDocument { fields: fields("new"), revision: Revision(1) };
    assert_eq!(documents.read(run).await, Ok(Some(standing)), "what was written is read, and nothing beside it");
    let second = documents.write(run, &fields("engaged"), Some(Revision(1)), noon()).await;
    assert_eq!(second, Ok(PutDocument::Stored(Revision(2))));
    let old = documents.write(run, &fields("lost"), Some(Revision(1)), noon()).await;
    assert_eq!(old, Ok(PutDocument::Raced), "an old read cannot write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn documents_in_memory_keep_the_rules_of_documents() {
        documents_keep_their_rules(&MemoryDocuments::default(), "memory@rules.example").await;
    }

    #[tokio::test]
    async fn leases_in_memory_keep_the_rules_of_leases() {
        leases_keep_their_rules(&MemoryLeases::default(), "memory").await;
    }

    #[tokio::test]
    async fn decisions_in_memory_are_found_by_the_rules() {
        decisions_keep_their_rules(&MemoryLeases::default(), "memory").await;
    }

    #[tokio::test]
    async fn links_in_memory_keep_the_rules_of_links() {
        links_keep_their_rules(&MemoryLinks::default(), "memory").await;
        many_links_keep_their_rules(&MemoryLinks::default(), "memory").await;
    }
}

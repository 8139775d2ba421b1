//! What the engine needs of the outside: leases and decisions, links, the queue itself, bodies that did not fit it.
//!
//! Each port is as narrow as the permissions of a function's role.

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::decision::Decision;
use crate::domain::failure::Failure;
use crate::domain::link::{Link, LinkKey};
use crate::domain::never_log::NeverLog;
use crate::domain::notification::{Envelope, NotificationId};
use crate::domain::pointer::BodyPointer;
use crate::domain::queue_message::GroupId;

/// A store or a queue did not do what was asked. Always worth another try: what is wrong lies outside the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::transient("store.unavailable", error.0)
    }
}

/// The key of a decision record: the function and the notification.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseKey(String);

impl LeaseKey {
    /// The key for one notification in one function.
    #[must_use]
    pub fn new(function: &str, notification: &NotificationId) -> Self {
        Self(format!("{function}#{notification}"))
    }

    /// The key for a notification whose id has been seen with other content.
    #[must_use]
    pub fn with_content(&self, content: &str) -> Self {
        Self(format!("{}~{}", self.0, content.get(..16).unwrap_or(content)))
    }

    /// The key as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a decision record is about, so that it can be found by what people know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The function that decides.
    pub function: &'static str,
    /// The notification's id.
    pub notification: NotificationId,
    /// What happened, for example `message.created`.
    pub trigger: String,
    /// The grant it happened in.
    pub grant: Option<String>,
    /// The object it happened to: a message, an event, a notetaker, or what else identifies it.
    pub object: String,
}

impl About {
    /// What a notification is about.
    #[must_use]
    pub fn notification(function: &'static str, envelope: &Envelope) -> Self {
        let keys = &envelope.keys;
        let object = [&keys.id, &keys.message_id, &keys.configuration_id]
            .into_iter()
            .find_map(Clone::clone)
            .unwrap_or_else(|| envelope.id.as_str().to_owned());
        Self {
            function,
            notification: envelope.id.clone(),
            trigger: envelope.trigger.base().to_owned(),
            grant: envelope.grant.as_ref().map(|grant| grant.as_str().to_owned()),
            object,
        }
    }
}

/// A request to work on a message.
#[derive(Debug, Clone)]
pub struct ClaimRequest<'a> {
    /// Which record.
    pub key: &'a LeaseKey,
    /// What it is about.
    pub about: &'a About,
    /// A digest of what the notification says.
    pub content: &'a str,
    /// The time now.
    pub now: Timestamp,
    /// How long the lease lasts. Always later than `now`.
    pub until: Timestamp,
    /// When the message was put into the queue. The first one that came for a record is remembered.
    pub queued_at: Timestamp,
    /// The trace that the message belongs to.
    pub trace: Option<&'a str>,
}

/// A lease that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which record.
    pub key: LeaseKey,
    /// The fencing number: a verdict counts only while no later claim has been granted.
    pub fence: u64,
    /// How many claims before this one ended without a verdict.
    pub unresolved: u32,
    /// How many tries have failed so far.
    pub failures: u32,
    /// When the first of them failed.
    pub first_failed_at: Option<Timestamp>,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Work on it.
    Granted(Lease),
    /// It was completed before.
    Duplicate {
        /// What was decided.
        decision: Decision,
        /// The digest of what the notification said then.
        content: String,
    },
    /// Another worker holds it.
    Busy {
        /// When its lease ends.
        until: Timestamp,
    },
}

/// Whether a verdict was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// It stands.
    Yes,
    /// The lease had been lost to a later claim; nothing was written.
    LeaseLost,
}

/// A try that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTry {
    /// The kind of failure, for example `crm.unavailable`.
    pub class: String,
    /// What happened, to what. May hold words of the other side, so it is stored but never logged.
    pub what: String,
    /// What follows from it.
    pub ending: Ending,
}

/// What follows from a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Another try.
    Retry,
    /// Another try, but the worker panicked, so the claim ends without a verdict and counts towards `crashed`.
    RetryWithoutVerdict,
    /// The dead-letter queue.
    DeadLetter,
}

/// Leases and decision records, one for each notification in each function.
pub trait Leases: Sync {
    /// Claims a record: granted if there is none, if it failed, or if its lease or its life has ended.
    fn claim(&self, request: &ClaimRequest<'_>) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// Completes a record with its decision.
    fn complete(
        &self,
        lease: &Lease,
        decision: &Decision,
        now: Timestamp,
    ) -> impl Future<Output = Result<Committed, StoreError>> + Send;

    /// Records a failed try; the record can be claimed again.
    fn fail(
        &self,
        lease: &Lease,
        failed: &FailedTry,
        now: Timestamp,
    ) -> impl Future<Output = Result<Committed, StoreError>> + Send;

    /// Gives a claim back as if it had not been made: the message was not tried.
    fn release(&self, lease: &Lease, now: Timestamp) -> impl Future<Output = Result<Committed, StoreError>> + Send;
}

/// A place in the decisions that wait, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct WaitingPlace {
    /// When the decision was made, as text that sorts like the time.
    pub at: String,
    /// Its key.
    pub key: String,
}

impl WaitingPlace {
    /// Before everything that was decided at a time or later.
    #[must_use]
    pub fn before(time: Timestamp) -> Self {
        Self { at: sortable(time), key: String::new() }
    }
}

/// A time whose text sorts as it does: always with three digits of the second's fraction.
#[must_use]
pub fn sortable(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// A decision that waits for a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where it stands.
    pub place: WaitingPlace,
    /// The object it is about.
    pub object: String,
    /// The addresses that would have to belong to a contact.
    pub addresses: Vec<String>,
}

/// Finds decisions again.
pub trait Decisions: Sync {
    /// True if the function has a record of this object of this grant, whatever was decided but for decisions that are
    /// passing. It may miss one that was made within the last seconds.
    fn is_known(
        &self,
        function: &str,
        grant: &str,
        object: &str,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Up to `most` decisions of the function in this grant that wait for a contact, after the given place, in order.
    fn waiting(
        &self,
        function: &str,
        grant: &str,
        after: &WaitingPlace,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Waiting>, StoreError>> + Send;

    /// Records that a decision waits no longer.
    fn waits_no_longer(&self, waiting: &Waiting) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Reads what was decided, and changes nothing.
pub trait ReadDecisions: Sync {
    /// What the function has decided about this object of this grant, the oldest first; nothing of what is still at work
    /// or has failed. It may miss what was decided within the last seconds.
    fn decisions_on(
        &self,
        function: &str,
        grant: &str,
        object: &str,
    ) -> impl Future<Output = Result<Vec<Decision>, StoreError>> + Send;
}

/// A message of our own making, to be put into the queue of this or another function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnMessage {
    /// A notification or a job, as JSON.
    pub body: String,
    /// Its group.
    pub group: GroupId,
    /// Its deduplication id.
    pub deduplication_id: String,
}

/// Puts messages into one queue.
pub trait SendToQueue: Sync {
    /// Sends a message. Doing so twice within five minutes does it once.
    fn send(&self, message: &OwnMessage) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A message of our own making that is to be put into the queue at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Its name, which says all that it is about: one that is set twice is one. At most 64 characters.
    pub name: String,
    /// When. A schedule knows whole seconds, and comes within a minute.
    pub at: Timestamp,
    /// What.
    pub message: OwnMessage,
}

/// Sets timers.
pub trait SetTimers: Sync {
    /// Sets a timer, once however often it is done.
    fn set(&self, timer: &Timer) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Takes timers back.
pub trait RemoveTimers: SetTimers {
    /// Removes the timer with this name; one that is not there, or has gone off, is as good as removed.
    fn remove(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A document as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// What it holds.
    pub fields: Map<String, Value>,
    /// Which write this is.
    pub revision: Revision,
}

/// The answer to a write of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutDocument {
    /// It stands as this revision.
    Stored(Revision),
    /// Somebody else wrote meanwhile: read again and decide again.
    Raced,
}

/// Documents by key, written only over the revision that was read.
pub trait Documents: Sync {
    /// Reads a document, consistently.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<StoredDocument>, StoreError>> + Send;

    /// Writes a document if its revision is still the expected one; `None` expects that there is none.
    fn write(
        &self,
        key: &str,
        fields: &Map<String, Value>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> impl Future<Output = Result<PutDocument, StoreError>> + Send;
}

/// Counts the writes to a link; a write names the revision it was decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision(pub u64);

/// A link as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLink {
    /// What became of the thing.
    pub link: Link,
    /// Which write this is.
    pub revision: Revision,
}

/// What a link holds in its facts.
///
/// # Errors
/// If it is of another form.
pub fn read_facts<T: DeserializeOwned>(link: Link) -> Result<T, StoreError> {
    serde_json::from_value(link.facts.into())
        .map_err(|error| StoreError(format!("the link {} cannot be read: {error}", link.key.as_str())))
}

/// A record as the facts of the link with this key.
///
/// # Errors
/// If it is no JSON object.
pub fn facts_of(key: &LinkKey, record: &impl Serialize) -> Result<Map<String, Value>, StoreError> {
    match serde_json::to_value(record) {
        Ok(Value::Object(facts)) => Ok(facts),
        _ => Err(StoreError(format!("the link {} cannot be written", key.as_str()))),
    }
}

/// The answer to a write of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutLink {
    /// It stands as this revision.
    Stored(Revision),
    /// Somebody else wrote meanwhile: read again and decide again.
    Raced,
}

/// What became of each Nylas object at the other end.
pub trait Links: Sync {
    /// Reads a link, consistently.
    fn get(&self, key: &LinkKey) -> impl Future<Output = Result<Option<StoredLink>, StoreError>> + Send;

    /// Writes a link if its revision is still the expected one; `None` expects that there is none.
    fn put(
        &self,
        link: &Link,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> impl Future<Output = Result<PutLink, StoreError>> + Send;
}

impl<L: Links + Send> Links for Arc<L> {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        (**self).get(key).await
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
        (**self).put(link, expected, now).await
    }
}

/// Links in numbers.
pub trait ManyLinks: Links {
    /// Reads links, consistently, in the order of their keys.
    fn get_many(&self, keys: &[LinkKey]) -> impl Future<Output = Result<Vec<Option<StoredLink>>, StoreError>> + Send;

    /// Writes links over whatever stands. Only for links that nobody else writes at the same time; each key once.
    fn put_many(&self, links: &[Link], now: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The list of those who are never logged.
pub trait NeverLogged: Sync {
    /// The list as it stands.
    fn current(&self) -> impl Future<Output = Result<Arc<NeverLog>, StoreError>> + Send;
}

/// A message on its way to the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The text the message carried, unchanged.
    pub body: &'a str,
    /// SQS's id of the message that ends here.
    pub message_id: &'a str,
    /// The notification.
    pub notification: &'a str,
    /// What happened, to what, and what to do.
    pub reason: &'a str,
    /// The kind of failure, `gave_up` or `crashed`.
    pub class: &'a str,
    /// The function that gave it up.
    pub function: &'a str,
    /// The group it came from.
    pub source_group: Option<&'a str>,
    /// When its first try failed.
    pub first_failed_at: Timestamp,
    /// When its last try failed.
    pub last_failed_at: Timestamp,
    /// The trace it belongs to.
    pub trace: Option<&'a str>,
}

/// The function's own queue and its dead-letter queue.
pub trait Queue: Sync {
    /// Hides a received message for so long; zero shows it again at once.
    fn hide(&self, receipt_handle: &str, wait: Duration) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts a message into the dead-letter queue. Doing so twice for one message id within five minutes does it once.
    fn dead_letter(&self, letter: &DeadLetter<'_>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Why a body could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not there: removed by the lifecycle rule or by a person.
    #[error("the body {0} is no longer in the archive bucket; it cannot be brought back")]
    Missing(String),
    /// It is not what was stored.
    #[error("the body {0} does not match its digest; compare it with the notification at Nylas")]
    Corrupt(String),
    /// The bucket could not be asked.
    #[error("the body {0} could not be fetched: {1}")]
    Unavailable(String, String),
}

/// Bodies that one queue message could not carry.
pub trait Bodies: Sync {
    /// Fetches a body and checks it against its pointer.
    fn fetch(&self, pointer: &BodyPointer) -> impl Future<Output = Result<Vec<u8>, BodyError>> + Send;
}

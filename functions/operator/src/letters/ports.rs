//! What the commands for dead letters need of the outside: the queues, the records of the decision table, and the place
//! in the archive bucket where letters are set aside.

use jiff::Timestamp;
use serde::Deserialize;
use shared::domain::decision::Decision;
use shared::engine::StoreError;
use std::collections::BTreeMap;
use std::future::Future;

use super::letter::{Letter, Subject};

/// What lies in the dead-letter queues, and what is known of it.
pub trait Letters: DeadLetterQueues + LetterRecords + ParkedLetters {}

impl<T: DeadLetterQueues + LetterRecords + ParkedLetters> Letters for T {}

/// The queues of one function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerQueues {
    /// The function.
    pub function: &'static str,
    /// The URL of its queue.
    pub queue: String,
    /// The URL of its dead-letter queue.
    pub dead_letters: String,
}

/// The queues of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Queues {
    /// Those of the functions.
    pub workers: Vec<WorkerQueues>,
    /// The URL of the queue for what schedules could not deliver.
    pub schedules: String,
}

impl Queues {
    /// The URL of a function's queue.
    #[must_use]
    pub fn queue_of(&self, function: &str) -> Option<&str> {
        self.workers.iter().find(|worker| worker.function == function).map(|worker| worker.queue.as_str())
    }
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Received {
    /// Its id.
    pub message_id: String,
    /// What deletes it or shows it again.
    pub receipt: String,
    /// Its text.
    pub body: String,
    /// Its attributes that are texts.
    pub attributes: BTreeMap<String, String>,
    /// When it was put into the queue.
    pub sent_at: Option<Timestamp>,
    /// The group it is in.
    pub group: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<String>,
}

/// A message on its way back into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned<'a> {
    /// Its text, as it came.
    pub body: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Its deduplication id.
    pub deduplication_id: &'a str,
    /// The trace it belongs to.
    pub trace: Option<&'a str>,
}

/// The dead-letter queues, and the queues that letters go back to.
pub trait DeadLetterQueues: Sync {
    /// Where they are.
    fn queues(&self) -> impl Future<Output = Result<Queues, StoreError>> + Send;

    /// About how many messages lie in a queue, those that somebody has received included.
    fn count(&self, queue: &str) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Up to ten messages, hidden for as long as an invocation may look at them; none if no more are visible.
    fn receive(&self, queue: &str) -> impl Future<Output = Result<Vec<Received>, StoreError>> + Send;

    /// Shows a received message again at once.
    fn show_again(&self, queue: &str, receipt: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Deletes a received message.
    fn delete(&self, queue: &str, receipt: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Puts a message into a function's queue.
    fn send(&self, queue: &str, message: &Returned<'_>) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What is read of a decision record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Record {
    /// Its key.
    pub pk: String,
    /// `in_progress`, `done` or `failed`.
    pub state: String,
    /// The notification.
    #[serde(default)]
    pub notification_id: String,
    /// What happened, for example `message.created`.
    #[serde(default)]
    pub trigger: String,
    /// The object it happened to.
    #[serde(default)]
    pub object_id: String,
    /// The digest of what the notification says.
    #[serde(default)]
    pub content: String,
    /// The kind of the last failure.
    #[serde(default)]
    pub class: String,
    /// What happened, to what.
    #[serde(default)]
    pub reason: String,
    /// How many tries failed.
    #[serde(default)]
    pub failures: u32,
    /// The fencing number: it grows with each claim.
    #[serde(default)]
    pub fence: u64,
    /// When the first try failed.
    #[serde(default)]
    pub first_failed_at: Option<Timestamp>,
    /// When the last try failed.
    #[serde(default)]
    pub last_failed_at: Option<Timestamp>,
}

/// What is noted in a record that stays claimable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note<'a> {
    /// Its message went back into its queue.
    Redriven,
    /// Its message was set aside.
    Parked {
        /// Why, in the words of who did it.
        because: &'a str,
    },
}

/// Whether a note was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// It stands.
    Yes,
    /// The record was claimed or decided meanwhile, and stands as it is.
    DecidedMeanwhile,
}

/// Whether a record was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The decision stands.
    Yes,
    /// It was decided before, and that decision stands.
    DecidedBefore,
    /// A worker holds it right now; nothing was written.
    AtWork,
}

/// A record that is to be settled by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settling<'a> {
    /// Its key.
    pub key: &'a str,
    /// The function.
    pub function: &'a str,
    /// The notification.
    pub notification: &'a str,
    /// What it is about, for a record that is not there yet.
    pub subject: &'a Subject,
    /// What is decided.
    pub decision: &'a Decision,
}

/// The records of the decision table.
pub trait LetterRecords: Sync {
    /// The records of a function whose messages lie in its dead-letter queue, the oldest first, and whether there are
    /// more than `most`. It may miss what happened within the last seconds.
    fn records(
        &self,
        function: &str,
        most: usize,
    ) -> impl Future<Output = Result<(Vec<Record>, bool), StoreError>> + Send;

    /// A record as it stands.
    fn record(&self, key: &str) -> impl Future<Output = Result<Option<Record>, StoreError>> + Send;

    /// Writes a note into a record that has failed, if nobody has claimed it since its fencing number was read.
    fn note(
        &self,
        key: &str,
        fence: u64,
        note: Note<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Noted, StoreError>> + Send;

    /// Completes a record with a decision that people made, unless it was decided or is being worked on. A record that
    /// is not there is made.
    fn settle(
        &self,
        settling: &Settling<'_>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;
}

/// Letters that were set aside, in the archive bucket.
pub trait ParkedLetters: Sync {
    /// The keys of up to `most` of them.
    fn parked(&self, most: usize) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;

    /// One of them; none if it is gone.
    fn read_parked(&self, key: &str) -> impl Future<Output = Result<Option<Letter>, StoreError>> + Send;

    /// Sets a letter aside. Doing so twice does it once.
    fn park(&self, key: &str, letter: &Letter) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes one of them.
    fn unpark(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
}

//! What the stack holds, as far as forgetting goes: tables, schedules, letters, objects. Each write names what was read, so
//! that work that goes on meanwhile is not lost.

use serde_json::{Map, Value};
use shared::engine::{LeaseKey, StoreError};
use std::future::Future;

use super::treat::Table;

/// Some items of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ItemPage {
    /// The items.
    pub items: Vec<Map<String, Value>>,
    /// Where the next ones begin; none after the last.
    pub next: Option<String>,
}

/// The answer to a write to an item.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It is done.
    Done,
    /// Somebody else wrote meanwhile: the item as it stands now, none if it is gone.
    Raced(Option<Map<String, Value>>),
}

/// A one-time schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// The message that it will send.
    pub input: String,
}

/// Some schedules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SchedulePage {
    /// The schedules.
    pub schedules: Vec<Schedule>,
    /// Where the next ones begin; none after the last.
    pub next: Option<String>,
}

/// A queue of letters: of messages that nobody takes by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LetterQueue {
    /// Its name in the template.
    pub resource: &'static str,
    /// What lies there, for people.
    pub name: &'static str,
}

/// All of them.
pub const LETTER_QUEUES: [LetterQueue; 8] = [
    LetterQueue { resource: "EmailActivityDeadLetterQueue", name: "dead letters of email-activity" },
    LetterQueue { resource: "CalendarSyncDeadLetterQueue", name: "dead letters of calendar-sync" },
    LetterQueue { resource: "NotetakerMediaDeadLetterQueue", name: "dead letters of notetaker-media" },
    LetterQueue { resource: "OnboardingDeadLetterQueue", name: "dead letters of onboarding-transitions" },
    LetterQueue { resource: "TicketTriageDeadLetterQueue", name: "dead letters of ticket-triage" },
    LetterQueue { resource: "ContactSyncDeadLetterQueue", name: "dead letters of contact-sync" },
    LetterQueue { resource: "SchedulerDeadLetterQueue", name: "dead letters of the schedules" },
    LetterQueue { resource: "UnroutableQueue", name: "unroutable bodies" },
];

/// A letter that was received, and that nobody else sees for a while.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letter {
    /// SQS's id of it.
    pub id: String,
    /// What it is deleted or given back by.
    pub receipt_handle: String,
    /// Its text.
    pub body: String,
    /// Its attributes, by name.
    pub attributes: Vec<(String, String)>,
}

impl Letter {
    /// What an attribute holds.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Some objects of the archive bucket, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectPage {
    /// Their keys.
    pub keys: Vec<String>,
    /// True if others follow.
    pub more: bool,
}

/// How many messages of a queue nobody can look at now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnTheirWay {
    /// The queue, for people.
    pub queue: String,
    /// How many wait to be received.
    pub waiting: u64,
    /// How many somebody has received.
    pub in_flight: u64,
}

/// Everything that may hold an address.
pub trait Held: Sync {
    /// Finds out where everything is. Called once before anything else.
    fn begin(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Some items of a table after a place, as they stand now.
    fn items(&self, table: Table, after: Option<&str>) -> impl Future<Output = Result<ItemPage, StoreError>> + Send;

    /// Removes an item if it is still as it was read.
    fn remove_item(
        &self,
        table: Table,
        item: &Map<String, Value>,
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Writes fields of an item, and takes others away, if it is still as it was read.
    fn rewrite_item(
        &self,
        table: Table,
        item: &Map<String, Value>,
        set: &Map<String, Value>,
        unset: &[&'static str],
    ) -> impl Future<Output = Result<Written, StoreError>> + Send;

    /// Some one-time schedules of the stack after a place.
    fn schedules(&self, after: Option<&str>) -> impl Future<Output = Result<SchedulePage, StoreError>> + Send;

    /// Removes a schedule; one that has gone off meanwhile is as good as removed.
    fn remove_schedule(&self, name: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Receives letters of a queue and hides them for ten minutes; none once all were received.
    fn letters(&self, queue: LetterQueue) -> impl Future<Output = Result<Vec<Letter>, StoreError>> + Send;

    /// Deletes a letter that was received.
    fn remove_letter(&self, queue: LetterQueue, letter: &Letter)
    -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Shows letters that were received again at once.
    fn give_back(&self, queue: LetterQueue, letters: &[Letter]) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Records of a decision whose letter was deleted that it lies in no dead-letter queue any more.
    fn lies_no_longer(&self, record: &LeaseKey) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Some objects of the archive bucket below a prefix, after a key.
    fn objects(&self, prefix: &str, after: Option<&str>)
    -> impl Future<Output = Result<ObjectPage, StoreError>> + Send;

    /// An object; none if it is gone.
    fn object(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send;

    /// Removes an object.
    fn remove_object(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Messages that nobody can look at now: those for the functions, and letters that others have received.
    fn on_their_way(&self) -> impl Future<Output = Result<Vec<OnTheirWay>, StoreError>> + Send;
}

//! For tests: dead-letter queues, records and the archive in memory.

use jiff::Timestamp;
use shared::engine::StoreError;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::letter::Letter;
use super::ports::{
    DeadLetterQueues, LetterRecords, Note, Noted, ParkedLetters, Queues, Received, Record, Returned, Settled, Settling,
    WorkerQueues,
};
use crate::stack_map::WORKERS;

/// The queues of a stack, as SQS names them.
#[must_use]
pub fn queues() -> Queues {
    let url = |name: &str| format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{name}");
    let workers = WORKERS.map(|(_, function)| WorkerQueues {
        function,
        queue: url(&format!("{function}.fifo")),
        dead_letters: url(&format!("{function}-dead-letters.fifo")),
    });
    Queues { workers: workers.to_vec(), schedules: url("schedules") }
}

/// A message that went back into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The queue.
    pub queue: String,
    /// Its text.
    pub body: String,
    /// Its group.
    pub group: String,
    /// Its deduplication id.
    pub deduplication_id: String,
    /// The trace.
    pub trace: Option<String>,
}

/// A record in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What is read of it.
    pub record: Record,
    /// True while it is in the index.
    pub is_dead_lettered: bool,
    /// The outcome.
    pub outcome: String,
    /// What was said of it by hand.
    pub because: Option<String>,
}

#[derive(Debug, Default)]
struct Queue {
    visible: Vec<Received>,
    hidden: BTreeMap<String, Received>,
}

/// The port in memory: a queue hides what was received, forgets what was sent twice, and every call is remembered.
#[derive(Debug, Default)]
pub struct MemoryLetters {
    queues: Mutex<BTreeMap<String, Queue>>,
    sent: Mutex<Vec<Sent>>,
    records: Mutex<BTreeMap<String, Kept>>,
    archive: Mutex<BTreeMap<String, Letter>>,
    calls: Mutex<Vec<String>>,
    fails: Mutex<BTreeSet<&'static str>>,
    receipts: Mutex<u64>,
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryLetters {
    /// Puts a message into a queue.
    pub fn put(&self, queue: &str, message: Received) {
        open(&self.queues).entry(queue.to_owned()).or_default().visible.push(message);
    }

    /// Puts a record into the table.
    pub fn put_record(&self, record: Record) {
        let (outcome, key) = (record.state.clone(), record.pk.clone());
        let is_dead_lettered = record.state == "failed";
        open(&self.records).insert(key, Kept { record, is_dead_lettered, outcome, because: None });
    }

    /// The record with this key.
    pub fn kept(&self, key: &str) -> Option<Kept> {
        open(&self.records).get(key).cloned()
    }

    /// What can be received from a queue now.
    pub fn visible(&self, queue: &str) -> usize {
        open(&self.queues).get(queue).map_or(0, |queue| queue.visible.len())
    }

    /// What somebody has received and neither deleted nor given back.
    pub fn hidden(&self, queue: &str) -> usize {
        open(&self.queues).get(queue).map_or(0, |queue| queue.hidden.len())
    }

    /// What went back into the queues.
    pub fn sent(&self) -> Vec<Sent> {
        open(&self.sent).clone()
    }

    /// What was set aside.
    pub fn archive(&self) -> BTreeMap<String, Letter> {
        open(&self.archive).clone()
    }

    /// Every call that changes something, in order, and every message that was received.
    pub fn calls(&self) -> Vec<String> {
        open(&self.calls).clone()
    }

    /// Lets every call of this name fail from now on.
    pub fn fail(&self, call: &'static str) {
        open(&self.fails).insert(call);
    }

    /// Lets all calls succeed again.
    pub fn recover(&self) {
        open(&self.fails).clear();
    }

    fn called(&self, call: &'static str, about: &str) -> Result<(), StoreError> {
        if open(&self.fails).contains(call) {
            return Err(StoreError(format!("{call} is down")));
        }
        open(&self.calls).push(format!("{call} {about}"));
        Ok(())
    }
}

impl DeadLetterQueues for MemoryLetters {
    async fn queues(&self) -> Result<Queues, StoreError> {
        Ok(queues())
    }

    async fn count(&self, queue: &str) -> Result<u64, StoreError> {
        let queues = open(&self.queues);
        Ok(queues.get(queue).map_or(0, |queue| (queue.visible.len() + queue.hidden.len()) as u64))
    }

    async fn receive(&self, queue: &str) -> Result<Vec<Received>, StoreError> {
        if open(&self.fails).contains("receive") {
            return Err(StoreError("receive is down".to_owned()));
        }
        let mut queues = open(&self.queues);
        let queue = queues.entry(queue.to_owned()).or_default();
        let many = queue.visible.len().min(10);
        let received: Vec<Received> = queue.visible.drain(..many).collect();
        let mut receipts = open(&self.receipts);
        let with_receipts = received.into_iter().map(|message| {
            *receipts += 1;
            let receipt = format!("{}-{receipts}", message.message_id);
            Received { receipt, ..message }
        });
        let received: Vec<Received> = with_receipts.collect();
        queue.hidden.extend(received.iter().map(|message| (message.receipt.clone(), message.clone())));
        Ok(received)
    }

    async fn show_again(&self, queue: &str, receipt: &str) -> Result<(), StoreError> {
        self.called("show_again", receipt)?;
        let mut queues = open(&self.queues);
        let queue = queues.entry(queue.to_owned()).or_default();
        let message = queue.hidden.remove(receipt).ok_or(StoreError("no such receipt".to_owned()))?;
        queue.visible.push(message);
        Ok(())
    }

    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), StoreError> {
        self.called("delete", receipt)?;
        let mut queues = open(&self.queues);
        let hidden = queues.get_mut(queue).and_then(|queue| queue.hidden.remove(receipt));
        hidden.map(|_| ()).ok_or(StoreError("no such receipt".to_owned()))
    }

    async fn send(&self, queue: &str, message: &Returned<'_>) -> Result<(), StoreError> {
        self.called("send", message.group)?;
        let mut sent = open(&self.sent);
        if sent.iter().all(|standing| standing.deduplication_id != message.deduplication_id) {
            sent.push(Sent {
                queue: queue.to_owned(),
                body: message.body.to_owned(),
                group: message.group.to_owned(),
                deduplication_id: message.deduplication_id.to_owned(),
                trace: message.trace.map(str::to_owned),
            });
        }
        Ok(())
    }
}

impl LetterRecords for MemoryLetters {
    async fn records(&self, function: &str, most: usize) -> Result<(Vec<Record>, bool), StoreError> {
        let records = open(&self.records);
        let prefix = format!("{function}#");
        let lying = records.values().filter(|kept| kept.is_dead_lettered && kept.record.pk.starts_with(&prefix));
        let mut found: Vec<Record> = lying.map(|kept| kept.record.clone()).collect();
        found.sort_by_key(|record| record.last_failed_at);
        let more = found.len() > most;
        found.truncate(most);
        Ok((found, more))
    }

    async fn record(&self, key: &str) -> Result<Option<Record>, StoreError> {
        Ok(self.kept(key).map(|kept| kept.record))
    }

    async fn note(&self, key: &str, fence: u64, note: Note<'_>, _: Timestamp) -> Result<Noted, StoreError> {
        self.called("note", key)?;
        let mut records = open(&self.records);
        let Some(kept) =
            records.get_mut(key).filter(|kept| kept.record.state == "failed" && kept.record.fence == fence)
        else {
            return Ok(Noted::DecidedMeanwhile);
        };
        kept.is_dead_lettered = false;
        match note {
            Note::Redriven => "redriven".clone_into(&mut kept.outcome),
            Note::Parked { because } => {
                "parked".clone_into(&mut kept.outcome);
                kept.because = Some(because.to_owned());
            }
        }
        Ok(Noted::Yes)
    }

    async fn settle(&self, settling: &Settling<'_>, _: Timestamp) -> Result<Settled, StoreError> {
        self.called("settle", settling.key)?;
        let mut records = open(&self.records);
        match records.get(settling.key).map(|kept| kept.record.state.as_str()) {
            Some("done") => return Ok(Settled::DecidedBefore),
            Some("in_progress") => return Ok(Settled::AtWork),
            _ => {}
        }
        let made = || Kept {
            record: Record {
                pk: settling.key.to_owned(),
                notification_id: settling.notification.to_owned(),
                trigger: settling.subject.trigger.clone(),
                object_id: settling.subject.object.clone(),
                content: settling.subject.content.clone().unwrap_or_default(),
                ..Record::default()
            },
            is_dead_lettered: false,
            outcome: String::new(),
            because: None,
        };
        let kept = records.entry(settling.key.to_owned()).or_insert_with(made);
        kept.record.state = "done".to_owned();
        kept.record.fence += 1;
        kept.is_dead_lettered = false;
        settling.decision.outcome.as_str().clone_into(&mut kept.outcome);
        kept.because = Some(settling.decision.reason.clone());
        Ok(Settled::Yes)
    }
}

impl ParkedLetters for MemoryLetters {
    async fn parked(&self, most: usize) -> Result<Vec<String>, StoreError> {
        Ok(open(&self.archive).keys().take(most).cloned().collect())
    }

    async fn read_parked(&self, key: &str) -> Result<Option<Letter>, StoreError> {
        Ok(open(&self.archive).get(key).cloned())
    }

    async fn park(&self, key: &str, letter: &Letter) -> Result<(), StoreError> {
        self.called("park", key)?;
        open(&self.archive).insert(key.to_owned(), letter.clone());
        Ok(())
    }

    async fn unpark(&self, key: &str) -> Result<(), StoreError> {
        self.called("unpark", key)?;
        open(&self.archive).remove(key);
        Ok(())
    }
}

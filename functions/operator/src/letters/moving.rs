//! Looks the dead-letter queues through and does with each letter that is meant what was asked.
//!
//! SQS cannot be asked for one message: whatever lies in a queue is received, ten at a time, and stays hidden until the
//! queue is looked through; then all that was not moved is shown again at once. Were it shown again earlier, it would be
//! received again and again in place of what lies behind it.
//!
//! A crash in between makes a copy and never a loss: a letter is deleted only once it lies elsewhere. A copy is harmless,
//! for its record is decided once. SQS's own redrive moves all of a queue or nothing, and to where SQS itself had taken it
//! from, which it has not.

use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::domain::decision::Decision;
use shared::engine::{Deadline, StoreError};
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

use super::asked::{Deed, Facts, Order};
use super::letter::{Letter, Parked, Subject};
use super::ports::{Letters, Note, Noted, Queues, Received, Record, Returned, Settled, Settling};
use super::{MOST_RECORDS, age, loggable_id, quoted, shortened, typed};
use crate::findings::MOST_LISTED;
use crate::operate::OperateError;
use crate::told::{Told, table};

/// How many messages are shown again at the same time.
const SHOWN_AGAIN_AT_ONCE: usize = 10;

/// The most letters that were set aside which one order looks at.
const MOST_PARKED: usize = 2000;

/// How many of them are read at the same time: each may be as large as a message.
const READ_AT_ONCE: usize = 4;

/// How much of a reason stands in a table, in characters.
const REASON_IN_TABLE: usize = 80;

/// An order that is carried out.
pub struct Moving<'a, L> {
    /// The queues, the records and the archive.
    pub port: &'a L,
    /// What was asked for.
    pub order: &'a Order,
    /// When it was asked for.
    pub now: Timestamp,
    /// Until when letters may be moved.
    pub deadline: Deadline,
}

/// Where a letter lies.
#[derive(Debug, Clone, Copy)]
enum Home<'a> {
    Queue { queue: &'a str, receipt: &'a str },
    Archive { key: &'a str },
}

/// Whether a letter still lies where it lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    Here,
    Elsewhere,
}

/// What came of it.
#[derive(Debug, Default)]
struct Came {
    looked_at: usize,
    meant: usize,
    done: usize,
    rows: Vec<Row>,
    is_cut_short: bool,
    /// The records that the letters may have.
    met: BTreeSet<String>,
    /// Records that are meant and whose letter is gone.
    gone: usize,
    next_move: Option<Instant>,
}

/// A letter that was meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    id: String,
    object: String,
    function: Option<String>,
    class: String,
    #[serde(rename = "type")]
    kind: String,
    failed_at: Option<Timestamp>,
    outcome: String,
    reason: String,
}

impl Came {
    fn row(&mut self, letter: &Letter, subject: &Subject, outcome: String) {
        if self.rows.len() < MOST_LISTED {
            self.rows.push(Row {
                id: letter.notification.clone(),
                object: subject.object.clone(),
                function: letter.function.clone(),
                class: letter.class.clone(),
                kind: subject.trigger.clone(),
                failed_at: letter.last_failed_at,
                outcome,
                reason: letter.reason.clone(),
            });
        }
    }
}

impl<L: Letters> Moving<'_, L> {
    /// Carries the order out, until it is done or time is up.
    ///
    /// # Errors
    /// If AWS does not do what is asked of it. What was moved before is moved.
    pub async fn carry_out(&self) -> Result<Told, OperateError> {
        let mut came = Came::default();
        let worked = self.work(&mut came).await;
        tracing::info!(
            command = self.order.deed.command(),
            dry_run = self.order.dry_run,
            looked_at = came.looked_at,
            meant = came.meant,
            moved = came.done,
            is_cut_short = came.is_cut_short,
            broke_off = worked.is_err(),
            "answered"
        );
        match worked {
            Ok(()) => Ok(self.told(&came)),
            Err(problem) => Err(OperateError::Unavailable {
                what: format!("{} {}, then it broke off", letters_were(came.done), self.put()),
                problem,
                then: "what was not moved lies where it lay; give the command again",
            }),
        }
    }

    async fn work(&self, came: &mut Came) -> Result<(), StoreError> {
        let (order, queues) = (self.order, self.port.queues().await?);
        if !order.parked {
            for worker in queues.workers.iter().filter(|worker| order.selection.may_be_of(worker.function)) {
                let read = |received: &Received| Letter::of_worker(received, worker.function);
                self.look_through(&worker.dead_letters, read, &queues, came).await?;
            }
            let read = |received: &Received| Letter::of_schedule(received, &queues);
            self.look_through(&queues.schedules, read, &queues, came).await?;
        }
        let is_park = matches!(order.deed, Deed::Park { .. });
        if order.parked || (order.selection.id.is_some() && !is_park) {
            self.look_through_parked(&queues, came).await?;
        }
        let is_drop = matches!(order.deed, Deed::Drop { .. });
        if !order.parked && !came.is_cut_short && (is_drop || came.meant == 0) {
            self.find_those_without_a_letter(&queues, came).await?;
        }
        Ok(())
    }

    /// Looks through a queue. What stays in it is shown again, whatever happens.
    async fn look_through(
        &self,
        queue: &str,
        read: impl Fn(&Received) -> Letter,
        queues: &Queues,
        came: &mut Came,
    ) -> Result<(), StoreError> {
        let mut held = Vec::new();
        let looked = self.hold_and_move(queue, read, queues, came, &mut held).await;
        give_back(self.port, queue, &held).await;
        looked
    }

    async fn hold_and_move(
        &self,
        queue: &str,
        read: impl Fn(&Received) -> Letter,
        queues: &Queues,
        came: &mut Came,
        held: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        loop {
            if self.deadline.left().is_zero() {
                came.is_cut_short = true;
                return Ok(());
            }
            let received = self.port.receive(queue).await?;
            if received.is_empty() {
                return Ok(());
            }
            for (place, message) in received.iter().enumerate() {
                // A standard queue may bring a message twice.
                if !seen.insert(message.message_id.clone()) {
                    held.push(message.receipt.clone());
                    continue;
                }
                came.looked_at += 1;
                let home = Home::Queue { queue, receipt: &message.receipt };
                match self.see_to(&read(message), home, queues, came).await {
                    Ok(Lies::Elsewhere) => {}
                    Ok(Lies::Here) => held.push(message.receipt.clone()),
                    Err(problem) => {
                        held.extend(received[place..].iter().map(|message| message.receipt.clone()));
                        return Err(problem);
                    }
                }
            }
        }
    }

    async fn look_through_parked(&self, queues: &Queues, came: &mut Came) -> Result<(), StoreError> {
        let keys = self.port.parked(MOST_PARKED).await?;
        came.is_cut_short |= keys.len() == MOST_PARKED;
        let read = stream::iter(&keys).map(async |key| (key, self.port.read_parked(key).await));
        let mut read = pin!(read.buffered(READ_AT_ONCE));
        while let Some((key, letter)) = read.next().await {
            if self.deadline.left().is_zero() {
                came.is_cut_short = true;
                return Ok(());
            }
            if let Some(letter) = letter? {
                came.looked_at += 1;
                self.see_to(&letter, Home::Archive { key }, queues, came).await?;
            }
        }
        Ok(())
    }

    /// Does with one letter what was asked, if it is meant.
    async fn see_to(
        &self,
        letter: &Letter,
        home: Home<'_>,
        queues: &Queues,
        came: &mut Came,
    ) -> Result<Lies, StoreError> {
        let order = self.order;
        let mut subject = letter.subject();
        came.met.extend(letter.keys(&subject).iter().map(|key| key.as_str().to_owned()));
        if letter.is_pointer() && order.selection.asks_what_it_is_about() {
            // What it is about lies in the archive bucket; the record says the same.
            if let (_, Some(record)) = self.record_of(letter, &subject).await? {
                (subject.trigger, subject.object) = (record.trigger, record.object_id);
            }
        }
        let failed_before = order.failed_before.unwrap_or(self.now);
        if letter.last_failed_at.is_some_and(|failed_at| failed_at >= failed_before)
            || !order.selection.means(&Facts::of_letter(letter, &subject), self.now)
        {
            return Ok(Lies::Here);
        }
        if self.deadline.left().is_zero() {
            came.is_cut_short = true;
            return Ok(Lies::Here);
        }
        came.meant += 1;
        if order.dry_run {
            came.row(letter, &subject, format!("would be {}", self.put()));
            return Ok(Lies::Here);
        }
        self.keep_the_pace(came).await;
        let (lies, outcome) = match &order.deed {
            Deed::Redrive => self.redrive(letter, &subject, home, queues).await?,
            Deed::Park { because } => self.park(letter, &subject, home, because).await?,
            Deed::Drop { because } => self.drop(letter, &subject, home, because).await?,
        };
        tracing::info!(
            command = order.deed.command(),
            function = letter.function.as_deref(),
            notification.id = loggable_id(letter),
            message.id = letter.message_id,
            moved = lies == Lies::Elsewhere,
            "a dead letter was seen to"
        );
        came.done += usize::from(lies == Lies::Elsewhere);
        came.row(letter, &subject, outcome);
        Ok(lies)
    }

    async fn keep_the_pace(&self, came: &mut Came) {
        if let Some(next) = came.next_move {
            sleep_until(next).await;
        }
        came.next_move = Some(Instant::now() + Duration::from_secs(1) / self.order.per_second.max(1));
    }

    async fn redrive(
        &self,
        letter: &Letter,
        subject: &Subject,
        home: Home<'_>,
        queues: &Queues,
    ) -> Result<(Lies, String), StoreError> {
        let Some(queue) = letter.function.as_deref().and_then(|function| queues.queue_of(function)) else {
            let left = "left: whose job it is cannot be told; the schedule brings the next one, or drop it";
            return Ok((Lies::Here, left.to_owned()));
        };
        // Read before it goes back: from then on a worker may claim it.
        let (_, record) = self.record_of(letter, subject).await?;
        let message = Returned {
            body: &letter.body,
            group: &letter.return_group(),
            deduplication_id: &letter.return_deduplication_id(),
            trace: letter.trace.as_deref(),
        };
        self.port.send(queue, &message).await?;
        self.remove(home).await?;
        if let Some(record) = record.filter(|record| record.state == "failed") {
            self.port.note(&record.pk, record.fence, Note::Redriven, self.now).await?;
        }
        Ok((Lies::Elsewhere, self.put().to_owned()))
    }

    async fn park(
        &self,
        letter: &Letter,
        subject: &Subject,
        home: Home<'_>,
        because: &str,
    ) -> Result<(Lies, String), StoreError> {
        let (_, record) = self.record_of(letter, subject).await?;
        let parked = Some(Parked { at: self.now, because: because.to_owned() });
        self.port.park(&letter.parked_key(), &Letter { parked, ..letter.clone() }).await?;
        let noted = match &record {
            Some(record) if record.state == "failed" => {
                let note = Note::Parked { because };
                Some(self.port.note(&record.pk, record.fence, note, self.now).await?)
            }
            Some(_) => Some(Noted::DecidedMeanwhile),
            None => None,
        };
        self.remove(home).await?;
        let outcome = match noted {
            Some(Noted::Yes) => "set aside",
            Some(Noted::DecidedMeanwhile) => "set aside; a copy of it was taken up meanwhile, and its record stands",
            None => "set aside; it has no record",
        };
        Ok((Lies::Elsewhere, outcome.to_owned()))
    }

    async fn drop(
        &self,
        letter: &Letter,
        subject: &Subject,
        home: Home<'_>,
        because: &str,
    ) -> Result<(Lies, String), StoreError> {
        let (key, record) = self.record_of(letter, subject).await?;
        // Without what it says, a copy that comes later could not be known as one.
        let can_be_recorded = record.is_some() || subject.content.is_some();
        let outcome = match key.filter(|_| can_be_recorded) {
            Some(key) => {
                let function = letter.function.as_deref().unwrap_or_default();
                let notification = subject.notification.as_deref().unwrap_or(&letter.notification);
                match self.settle(&key, function, notification, subject, because).await? {
                    Settled::Yes => "dropped",
                    Settled::DecidedBefore => "removed; it was decided before, and that stands",
                    Settled::AtWork => return Ok((Lies::Here, AT_WORK.to_owned())),
                }
            }
            None => "dropped; it has no record, so a copy of it would be decided anew",
        };
        self.remove(home).await?;
        Ok((Lies::Elsewhere, outcome.to_owned()))
    }

    async fn settle(
        &self,
        key: &str,
        function: &str,
        notification: &str,
        subject: &Subject,
        because: &str,
    ) -> Result<Settled, StoreError> {
        let decision = &Decision::skipped(format!("dropped by hand: {because}"));
        self.port.settle(&Settling { key, function, notification, subject, decision }, self.now).await
    }

    async fn remove(&self, home: Home<'_>) -> Result<(), StoreError> {
        match home {
            Home::Queue { queue, receipt } => self.port.delete(queue, receipt).await,
            Home::Archive { key } => self.port.unpark(key).await,
        }
    }

    /// The key of a letter's record, and the record if there is one.
    async fn record_of(
        &self,
        letter: &Letter,
        subject: &Subject,
    ) -> Result<(Option<String>, Option<Record>), StoreError> {
        let keys = letter.keys(subject);
        let Some(own) = keys.first() else { return Ok((None, None)) };
        let standing = self.port.record(own.as_str()).await?;
        let is_other = |record: &Record| subject.content.as_deref().is_some_and(|content| content != record.content);
        match (standing, keys.get(1)) {
            (Some(other), Some(with_content)) if is_other(&other) => {
                Ok((Some(with_content.as_str().to_owned()), self.port.record(with_content.as_str()).await?))
            }
            (standing, _) => Ok((Some(own.as_str().to_owned()), standing)),
        }
    }

    /// Finds the records that are meant and whose letter is gone, and makes an end of them if that is asked for.
    async fn find_those_without_a_letter(&self, queues: &Queues, came: &mut Came) -> Result<(), StoreError> {
        let order = self.order;
        let failed_before = order.failed_before.unwrap_or(self.now);
        for worker in queues.workers.iter().filter(|worker| order.selection.may_be_of(worker.function)) {
            let (records, _) = self.port.records(worker.function, MOST_RECORDS).await?;
            for record in records {
                let facts = Facts::of_record(&record, worker.function);
                let failed_later = record.last_failed_at.is_some_and(|failed_at| failed_at >= failed_before);
                if failed_later || came.met.contains(&record.pk) || !order.selection.means(&facts, self.now) {
                    continue;
                }
                came.gone += 1;
                let Deed::Drop { because } = &order.deed else { continue };
                if self.deadline.left().is_zero() {
                    came.is_cut_short = true;
                    return Ok(());
                }
                came.meant += 1;
                let subject =
                    Subject { trigger: record.trigger.clone(), object: record.object_id.clone(), ..Subject::default() };
                let outcome = if order.dry_run {
                    "would be dropped; its letter is gone"
                } else {
                    self.keep_the_pace(came).await;
                    let settled =
                        self.settle(&record.pk, worker.function, &record.notification_id, &subject, because).await?;
                    came.done += usize::from(settled != Settled::AtWork);
                    match settled {
                        Settled::Yes => "dropped; its letter was gone",
                        Settled::DecidedBefore => "it was decided before, and that stands",
                        Settled::AtWork => AT_WORK,
                    }
                };
                came.row(&without_a_letter(&record, worker.function), &subject, outcome.to_owned());
            }
        }
        Ok(())
    }

    fn put(&self) -> &'static str {
        match self.order.deed {
            Deed::Redrive => "put back into the queue",
            Deed::Park { .. } => "set aside",
            Deed::Drop { .. } => "dropped",
        }
    }

    fn told(&self, came: &Came) -> Told {
        let left = if self.order.dry_run { 0 } else { came.meant - came.done };
        let goes_on = came.is_cut_short && !self.order.dry_run;
        let failed_before = self.order.failed_before.unwrap_or(self.now);
        let again = (goes_on || (self.order.dry_run && came.meant > 0)).then(|| self.order.event(false, failed_before));
        let rows = came.rows.iter().map(|row| serde_json::to_value(row).unwrap_or(Value::Null)).collect();
        Told {
            command: self.order.deed.command(),
            ready: left == 0 && !goes_on,
            rows,
            table: self.table(came),
            text: self.sentences(came, left).join(" "),
            again,
        }
    }

    fn table(&self, came: &Came) -> String {
        let rows = came.rows.iter().map(|row| {
            [
                row.function.clone().unwrap_or_else(|| "?".to_owned()),
                row.class.clone(),
                row.kind.clone(),
                row.id.clone(),
                row.failed_at.map(|at| age(self.now, at)).unwrap_or_default(),
                row.outcome.clone(),
                shortened(&row.reason, REASON_IN_TABLE),
            ]
        });
        table(["function", "class", "type", "notification", "failed ago", "outcome", "reason"], rows)
    }

    fn sentences(&self, came: &Came, left: usize) -> Vec<String> {
        let order = self.order;
        let failed_before = order.failed_before.unwrap_or(self.now);
        let mut sentences = Vec::new();
        if came.meant == 0 {
            sentences.push(format!("No letter is meant; {} looked at.", were(came.looked_at)));
        } else if order.dry_run {
            let (count, put, pace) = (letters(came.meant), self.put(), order.per_second);
            sentences.push(format!("{count} would be {put}, at most {pace} a second. Nothing was changed."));
            sentences.push(format!("To do it: {}", self.typed(failed_before)));
        } else {
            sentences.push(format!("{} {}.", letters_were(came.done), self.put()));
            match (&order.deed, came.done) {
                (_, 0) => {}
                (Deed::Redrive, _) => sentences.push(
                    "What becomes of one, `make story ID=<its notification>` tells; what fails again comes back here."
                        .to_owned(),
                ),
                (Deed::Park { .. }, _) => sentences.push(
                    "They are kept for 35 days and end then, as their records do; `make redrive PARKED=1 LIVE=1` \
                     brings them back."
                        .to_owned(),
                ),
                (Deed::Drop { .. }, _) => sentences.push(
                    "A copy that comes later counts as decided, and no reconciliation brings it again.".to_owned(),
                ),
            }
        }
        if left > 0 {
            sentences.push(format!("{} left where they lie; the outcome says why.", were(left)));
        }
        if came.is_cut_short {
            let before = "Time was up before all were looked at.";
            sentences.push(if order.dry_run {
                format!("{before} Narrow it down, or do it: it goes on where it ended.")
            } else {
                format!("{before} To go on: {}", self.typed(failed_before))
            });
        }
        if came.meant > came.rows.len() {
            sentences.push(format!("The first {} are shown.", came.rows.len()));
        }
        if came.gone > 0 && !matches!(order.deed, Deed::Drop { .. }) {
            sentences.push(format!(
                "Of {} the record is there and the letter is gone: it expired after 14 days, or somebody took it out by \
                 hand. `replay` has the object fetched anew from Nylas; `drop` makes an end of it.",
                came.gone
            ));
        }
        sentences
    }

    /// The command line that does it.
    fn typed(&self, failed_before: Timestamp) -> String {
        let order = self.order;
        let mut line = format!("make {}{}", order.deed.command(), typed(&order.selection));
        if order.selection.is_everything() && !order.parked {
            line.push_str(" ALL=1");
        }
        if order.parked {
            line.push_str(" PARKED=1");
        }
        if let Some(because) = order.deed.because() {
            line = format!("{line} REASON={}", quoted(because));
        }
        format!("{line} FAILED_BEFORE={failed_before} LIVE=1")
    }
}

/// What is said of a letter whose record a worker holds.
const AT_WORK: &str = "left: a worker is at it right now; give the command again in a few minutes";

/// What a record without a letter would say if it were one.
fn without_a_letter(record: &Record, function: &str) -> Letter {
    Letter {
        message_id: String::new(),
        function: Some(function.to_owned()),
        of_schedule: false,
        notification: record.notification_id.clone(),
        class: record.class.clone(),
        reason: record.reason.clone(),
        group: None,
        trace: None,
        first_failed_at: record.first_failed_at,
        last_failed_at: record.last_failed_at,
        body: String::new(),
        parked: None,
    }
}

/// Shows messages again at once, so that nobody waits for them. One that cannot be shown shows itself when its time is
/// over.
pub async fn give_back<L: Letters>(port: &L, queue: &str, receipts: &[String]) {
    let shown = stream::iter(receipts).map(|receipt| port.show_again(queue, receipt));
    let failed = shown.buffer_unordered(SHOWN_AGAIN_AT_ONCE).filter(|shown| std::future::ready(shown.is_err()));
    let failed = failed.count().await;
    if failed > 0 {
        tracing::warn!(failed, "messages that were looked at could not be shown again at once");
    }
}

fn letters(count: usize) -> String {
    if count == 1 { "1 letter".to_owned() } else { format!("{count} letters") }
}

fn letters_were(count: usize) -> String {
    format!("{} {}", letters(count), if count == 1 { "was" } else { "were" })
}

fn were(count: usize) -> String {
    if count == 1 { "1 was".to_owned() } else { format!("{count} were") }
}

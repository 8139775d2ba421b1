//! What was given up: shown, put back into its queue, set aside, done with.
//!
//! Pure:
//! - [`asked`]: which letters are meant, and what is to be done with them.
//! - [`letter`]: a letter as it lies in a dead-letter queue or in the archive, and what its body is about.
//! - [`listing`]: what lies where, counted or one by one, and what to do next.
//!
//! What carries it out:
//! - [`moving`]: looks the dead-letter queues through and does with each letter what was asked.
//! - [`ports`]: what these need of the queues, of the decision table and of the archive.
//! - [`in_aws`]: the same in AWS.

pub mod asked;
pub mod in_aws;
pub mod letter;
pub mod listing;
pub mod moving;
pub mod ports;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use asked::LettersRequest;
pub use ports::Letters;

use jiff::Timestamp;
use shared::engine::{Deadline, StoreError};
use std::time::Duration;

use crate::operate::{Answer, Invocation, OperateError, Operator, Ports, loggable, soon};
use crate::stack_map::WORKERS;
use crate::told::Told;
use asked::{Selection, Showing};
use letter::Letter;
use listing::{Known, Listing};
use moving::Moving;

/// The most records of a function that are read for one answer.
const MOST_RECORDS: usize = 2000;

/// The most letters of the schedules, and the most that are parked, that are read for one answer.
const MOST_READ: usize = 300;

/// What is kept of the time for giving back what was looked at, and for the answer.
const GIVING_BACK: Duration = Duration::from_secs(6);

impl<P: Ports> Operator<P> {
    /// Shows dead letters, or moves them.
    ///
    /// # Errors
    /// If AWS does not answer.
    pub(crate) async fn letters(
        &self,
        asked: &LettersRequest,
        invocation: &Invocation,
    ) -> Result<Answer, OperateError> {
        let answered = match asked {
            LettersRequest::Show(showing) => self.show_letters(showing, invocation).await,
            LettersRequest::Move(order) => {
                let deadline = soon(invocation).earlier_by(GIVING_BACK);
                Moving { port: &self.letters, order, now: invocation.now, deadline }.carry_out().await
            }
        };
        answered.map(Answer::Told)
    }

    async fn show_letters(&self, showing: &Showing, invocation: &Invocation) -> Result<Told, OperateError> {
        let deadline = soon(invocation).earlier_by(GIVING_BACK);
        let known = tokio::time::timeout(soon(invocation).left(), known(&self.letters, showing, deadline)).await;
        let slow = |_| Err(StoreError("AWS did not answer in time".to_owned()));
        let known = known.unwrap_or_else(slow).map_err(|problem| OperateError::Unavailable {
            what: "what lies in the dead-letter queues cannot be told".to_owned(),
            problem,
            then: "nothing was changed; give the command again",
        })?;
        let listing = Listing { known: &known, showing, now: invocation.now };
        let told = listing.told();
        tracing::info!(
            command = "dead_letters",
            dead_letters = listing.dead_letters(),
            rows = told.rows.len(),
            "answered"
        );
        Ok(told)
    }
}

/// Reads what is known of all letters that may be meant.
async fn known<L: Letters>(port: &L, showing: &Showing, deadline: Deadline) -> Result<Known, StoreError> {
    let queues = port.queues().await?;
    let mut known = Known::default();
    for worker in &queues.workers {
        if !showing.selection.may_be_of(worker.function) {
            continue;
        }
        let (records, more) = port.records(worker.function, MOST_RECORDS).await?;
        let lying = port.count(&worker.dead_letters).await?;
        known.functions.push(listing::OfFunction { function: worker.function, records, more, lying });
    }
    let seen = look(port, &queues.schedules, deadline).await?;
    known.schedules_lying = port.count(&queues.schedules).await?.max(seen.len() as u64);
    known.of_schedules = seen.iter().map(|received| Letter::of_schedule(received, &queues)).collect();
    let keys = port.parked(MOST_READ).await?;
    known.parked_unread = keys.len() == MOST_READ;
    for key in keys {
        known.parked.extend(port.read_parked(&key).await?);
    }
    Ok(known)
}

/// What lies in a queue, the first of it. All of it is shown again at once.
async fn look<L: Letters>(port: &L, queue: &str, deadline: Deadline) -> Result<Vec<ports::Received>, StoreError> {
    let mut seen: Vec<ports::Received> = Vec::new();
    let looked = loop {
        if deadline.left().is_zero() || seen.len() >= MOST_READ {
            break Ok(());
        }
        match port.receive(queue).await {
            Ok(received) if received.is_empty() => break Ok(()),
            Ok(received) => seen.extend(received),
            Err(problem) => break Err(problem),
        }
    };
    let receipts: Vec<String> = seen.iter().map(|received| received.receipt.clone()).collect();
    moving::give_back(port, queue, &receipts).await;
    looked.map(|()| seen)
}

/// A function by its name, as the stack knows it.
fn worker_named(name: &str) -> Option<&'static str> {
    WORKERS.iter().map(|(_, function)| *function).find(|function| *function == name)
}

/// How long ago, in words.
fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// The beginning of a text, for a table.
fn shortened(text: &str, most: usize) -> String {
    let mut beginning: String = text.chars().take(most).collect();
    if beginning.len() < text.len() {
        beginning.push('…');
    }
    beginning
}

/// A notification as a log may name it.
fn loggable_id(letter: &Letter) -> &str {
    loggable(&letter.notification).unwrap_or("one that holds an address")
}

/// A value as a shell takes it.
fn quoted(value: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-:/+=@".contains(character);
    if !value.is_empty() && value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// What names the same letters on the command line.
fn typed(selection: &Selection) -> String {
    let given = selection.fields();
    let words =
        given.iter().flat_map(|(field, value)| [" ".to_owned(), field.to_uppercase(), "=".to_owned(), quoted(value)]);
    words.collect()
}

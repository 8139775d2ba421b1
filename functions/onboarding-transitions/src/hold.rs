//! A customer's record in the hands of the one who works on it. What is to be done is done by one at a time: whoever works
//! says so in the record, for longer than an invocation lasts, and everybody else's news is taken in all the same.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use shared::domain::failure::Failure;
use shared::engine::{Clock, Documents, PutDocument, Revision, StoreError};

use crate::customer::{AtWork, Customer};

/// Longer than the function may run (30 s).
const AT_WORK_FOR: SignedDuration = SignedDuration::from_secs(35);

/// The class of what is not done because somebody else has the record.
pub const BUSY: &str = "onboarding.busy";

/// How often a write that lost a race is decided again. Few write to one customer at once.
const MOST_RACES: usize = 20;

/// A customer as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// The record.
    pub customer: Customer,
    /// Which write it is.
    pub revision: Revision,
}

/// Reads a customer; none if nobody of this address is one.
///
/// # Errors
/// If the table does not answer, or holds a record that cannot be read.
pub async fn read(documents: &impl Documents, email: &str) -> Result<Option<Read>, Failure> {
    let Some(stored) = documents.read(email).await? else { return Ok(None) };
    let mut customer: Customer = serde_json::from_value(Value::Object(stored.fields)).map_err(|error| {
        let what = format!("the record of a customer cannot be read: {error}; was it changed by hand?");
        Failure::permanent("onboarding.record_unreadable", what)
    })?;
    email.clone_into(&mut customer.email);
    Ok(Some(Read { customer, revision: stored.revision }))
}

/// Writes a customer over what was read.
///
/// # Errors
/// If the table does not answer.
pub async fn write(
    documents: &impl Documents,
    customer: &Customer,
    expected: Option<Revision>,
    now: Timestamp,
) -> Result<Option<Revision>, Failure> {
    let Ok(Value::Object(fields)) = serde_json::to_value(customer) else {
        return Err(Failure::permanent("onboarding.record_unwritable", "the record of a customer cannot be written"));
    };
    match documents.write(&customer.email, &fields, expected, now).await? {
        PutDocument::Stored(revision) => Ok(Some(revision)),
        PutDocument::Raced => Ok(None),
    }
}

/// What taking news in came to.
pub enum Taken<T> {
    /// Nothing is to be done, or nothing that this message may do.
    Done(Box<Customer>, T),
    /// There is something to do, and it is this message's turn.
    Hold(Box<Customer>, Revision, String, T),
    /// There is something to do, which somebody else is doing until then at the latest.
    Busy(Timestamp),
}

/// Takes news in, and takes the record into one's hands if something is to be done. `news` is given the record and whether
/// there is one; it may be asked several times.
///
/// # Errors
/// If the table does not answer.
pub async fn take_in<T>(
    documents: &impl Documents,
    clock: &Clock,
    (email, name): (&str, &str),
    by: &str,
    news: impl Fn(&mut Customer, bool, Timestamp) -> T,
) -> Result<Option<Taken<T>>, Failure> {
    for _ in 0..MOST_RACES {
        let now = clock.now();
        let standing = read(documents, email).await?;
        let exists = standing.is_some();
        let revision = standing.as_ref().map(|standing| standing.revision);
        let before = standing.map_or_else(|| Customer::new(email, name), |standing| standing.customer);
        let mut customer = before.clone();
        // What could not be done is tried again with the message that asked for it: somebody has mended the cause.
        for task in customer.todo.iter_mut().filter(|task| task.by == by) {
            task.refused = None;
        }
        let told = news(&mut customer, exists, now);
        customer.trim();
        if !exists && customer == before {
            return Ok(None);
        }
        let busy = customer.at_work.as_ref().map(|at_work| at_work.until).filter(|until| *until > now);
        let has_work = customer.next_task().is_some();
        let who = format!("{:016x}", rand::random::<u64>());
        if has_work && busy.is_none() {
            let until = now.checked_add(AT_WORK_FOR).unwrap_or(Timestamp::MAX);
            customer.at_work = Some(AtWork { who: who.clone(), until });
        }
        let revision = if customer == before {
            revision
        } else {
            let Some(written) = write(documents, &customer, revision, now).await? else { continue };
            Some(written)
        };
        return Ok(Some(match (has_work, busy, revision) {
            (true, Some(until), _) => Taken::Busy(until),
            (true, None, Some(revision)) => Taken::Hold(Box::new(customer), revision, who, told),
            _ => Taken::Done(Box::new(customer), told),
        }));
    }
    Err(raced())
}

fn raced() -> Failure {
    StoreError("the record of a customer is written by too many at once".to_owned()).into()
}

/// A record in one's hands.
pub struct Hold<'a, D> {
    documents: &'a D,
    clock: Clock,
    /// The record as it stands.
    pub customer: Box<Customer>,
    revision: Revision,
    who: String,
    /// What people were told of.
    pub told: Vec<String>,
}

impl<'a, D: Documents> Hold<'a, D> {
    /// What [`take_in`] has taken.
    pub fn new(documents: &'a D, clock: Clock, customer: Box<Customer>, revision: Revision, who: String) -> Self {
        Self { documents, clock, customer, revision, who, told: Vec::new() }
    }

    fn is_mine(&self, customer: &Customer) -> bool {
        customer.at_work.as_ref().is_some_and(|at_work| at_work.who == self.who)
    }

    /// Changes the record. `change` may be asked several times, each time with what stands; a record in which nothing is
    /// left to do is let go.
    ///
    /// # Errors
    /// If the table does not answer, or somebody else has taken the record meanwhile.
    pub async fn update(&mut self, change: impl Fn(&mut Customer)) -> Result<(), Failure> {
        for _ in 0..MOST_RACES {
            let mut next = self.customer.clone();
            change(&mut next);
            next.trim();
            if next.next_task().is_none() {
                next.at_work = None;
            }
            if let Some(revision) = write(self.documents, &next, Some(self.revision), self.clock.now()).await? {
                self.customer = next;
                self.revision = revision;
                return Ok(());
            }
            let Some(standing) = read(self.documents, &self.customer.email).await? else { return Err(raced()) };
            let let_go = standing.customer.at_work.is_none() && self.customer.next_task().is_none();
            if !self.is_mine(&standing.customer) && !let_go {
                let what = "somebody else works on this customer".to_owned();
                let retry_after = std::time::Duration::from_secs(1);
                return Err(Failure::Untried { class: BUSY, what, retry_after });
            }
            *self.customer = standing.customer;
            self.revision = standing.revision;
        }
        Err(raced())
    }

    /// Lets the record go, with what is left to do. If that cannot be written, it is let go by time.
    pub async fn let_go(&mut self) {
        let mine = self.is_mine(&self.customer);
        if mine && let Err(failure) = self.update(|customer| customer.at_work = None).await {
            tracing::warn!(class = failure.class(), "a customer's record could not be let go; that happens by itself");
        }
    }
}

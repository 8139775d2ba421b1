//! The engine of every queue worker: an SQS batch goes in, each message ends in exactly one decision.
//!
//! What it sees to, so that a function's own rules need not:
//!
//! - **Order and partial batches.** The groups of a batch run side by side, a group in order. A message that must come
//!   back is reported as a batch item failure; later members of its group go back untried.
//! - **Leases.** A message is worked on under a lease that lasts as long as the invocation may, carries a fencing
//!   number, and ends in a verdict. Only a completed one makes a duplicate; a failed one can be claimed again.
//! - **Failures.** A transient one hides the message for a doubling, jittered time, or as long as the other side asked,
//!   until [`RetryPolicy::retry_for`] is over. A permanent one goes to the dead-letter queue at once, with its reason.
//!   A message whose claims ended five times without a verdict has crashed its workers and goes there too.
//! - **Time and panics.** Nothing is begun within five seconds of the deadline; what runs too long is cut off in time
//!   to say so; a panic costs its own message and no other.
//!
//! The engine knows ports ([`Leases`], [`Queue`], [`Bodies`]), not AWS; a function implements [`Processor`].

mod batch;
mod deadline;
pub mod job;
mod ports;
pub mod progress;
mod run;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod watermark;

#[cfg(test)]
mod tests;

pub use batch::{BatchError, QueueMessage, messages_of};
pub use deadline::{Clock, Deadline};
pub use ports::{
    About, Bodies, BodyError, Claim, ClaimRequest, Committed, DeadLetter, Decisions, Documents, Ending, FailedTry,
    Lease, LeaseKey, Leases, Links, ManyLinks, NeverLogged, OwnMessage, PutDocument, PutLink, Queue, ReadDecisions,
    RemoveTimers, Revision, SendToQueue, SetTimers, StoreError, StoredDocument, StoredLink, Timer, Waiting,
    WaitingPlace, facts_of, read_facts, sortable,
};
pub use run::{Engine, Input, Processor, QueuedJob, Work, job_of};

pub use crate::domain::backoff::RetryPolicy;

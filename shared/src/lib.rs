//! What at least two functions of crm-autopilot need.
//!
//! - [`domain`]: the pure core. Identifiers, addresses, decisions, retry arithmetic. No AWS, no HTTP, no clock.
//! - [`engine`] (feature `worker`): what turns an SQS batch into decisions, each exactly once: leases, dead letters,
//!   back-off, partial batches. It knows ports, not adapters.
//! - [`contact_sync`] (feature `worker`): the job of contact-sync.
//! - [`field_map`] (feature `worker`): which of our fields goes where in a system at the other end, as data.
//! - [`http`], [`nylas`], [`crm`] (feature `worker`): the guarded HTTP client and what is called through it.
//! - [`alerts`] (feature `worker`): what people are told at once.
//! - [`calls`] (feature `worker`): what the calls of an invocation took, and how those that failed did.
//! - [`mail`] (feature `worker`): what is known of a mail, and what only Nylas can add.
//! - [`meetings`] (feature `worker`): the meetings that calendar-sync keeps, as others find them.
//! - [`plain_text`] (feature `worker`): HTML made readable.
//! - [`reconcile`] (feature `worker`): what is common to the functions that look for what Nylas has not notified of.
//! - [`set_up`], [`written`] (feature `worker`): what a system at the other end needs once, and what was written to it.
//! - [`tickets`] (feature `worker`): the ticket system, as it is called.
//! - [`triage`] (feature `worker`): what a support mail is about, by rules that are data.
//! - [`worker`] (feature `worker`): the clients of a queue worker, wired.
//! - [`aws`] (feature `aws`): adapters to SQS, S3, Secrets Manager and (feature `worker`) DynamoDB.
//! - [`configuration`], [`telemetry`], [`trace`]: the environment read into types, logs and metrics written out, the
//!   trace that work belongs to.
//!
//! Without features only the pure core is compiled.

pub mod configuration;
pub mod domain;

#[cfg(feature = "aws")]
pub mod aws;
#[cfg(feature = "aws")]
pub mod telemetry;
#[cfg(feature = "aws")]
pub mod trace;

#[cfg(feature = "worker")]
pub mod alerts;
#[cfg(feature = "worker")]
pub mod calls;
#[cfg(feature = "worker")]
pub mod contact_sync;
#[cfg(feature = "worker")]
pub mod crm;
#[cfg(feature = "worker")]
pub mod engine;
#[cfg(feature = "worker")]
pub mod field_map;
#[cfg(feature = "worker")]
pub mod fitting;
#[cfg(feature = "worker")]
pub mod http;
#[cfg(feature = "worker")]
pub mod mail;
#[cfg(feature = "worker")]
pub mod meetings;
#[cfg(feature = "worker")]
pub mod nylas;
#[cfg(feature = "worker")]
pub mod plain_text;
#[cfg(feature = "worker")]
pub mod reconcile;
#[cfg(feature = "worker")]
pub mod set_up;
#[cfg(feature = "worker")]
pub mod tickets;
#[cfg(feature = "worker")]
pub mod triage;
#[cfg(feature = "worker")]
pub mod worker;
#[cfg(feature = "worker")]
pub mod written;

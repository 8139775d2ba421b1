//! Nylas: the client for its v3 API and the objects that come over the wire, in notifications and answers alike.

mod client;
pub mod contact;
pub mod event;
pub mod mailboxes;
pub mod message;
pub mod notetaker;
mod notified;
pub mod scheduling;
pub mod sending;
mod time;
pub mod webhooks;

pub use client::{EventFilter, FAILURE_CLASSES, HeaderFields, MessageId, Nylas, NylasError, Page, Received};
pub use notified::{object_in, told_at};
pub use time::optional as optional_time;

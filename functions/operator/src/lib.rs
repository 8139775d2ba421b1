//! operator: what people invoke by hand. It starts backfills and reconciliations and shows how far they have come, sends
//! notetakers to meetings, sets by which rules they join by themselves, and opens what they left.
//!
//! Pure:
//! - [`command`]: an event read into a request, or what is wrong with it.
//! - [`times`]: the times in it.
//! - [`jobs`]: what a request puts into the queues, and where its progress stands.
//! - [`report`]: progress as rows, as a table, and as what to do next.
//! - [`invitation`]: an invitation of a notetaker, which one stands for it already, and how it is claimed.
//! - [`joining_rules`]: the rules for joining, as they are given and as Nylas keeps them.
//! - [`media_link`]: a reference to a file that is to be made a link.
//! - [`nylas_words`]: an error of Nylas as a sentence.
//!
//! What carries it out:
//! - [`operate`]: answers an event.
//! - [`follow`]: reads the progress of a run until it has ended or time is up.
//! - [`invite`]: carries out an invitation once.
//! - [`auto_join`]: shows and sets the rules for joining.
//! - [`mod@media`]: makes a link.
//! - [`ports`]: what these three need of Nylas and of the archive.

pub mod auto_join;
pub mod command;
pub mod follow;
pub mod invitation;
pub mod invite;
pub mod jobs;
pub mod joining_rules;
pub mod media;
pub mod media_link;
pub mod nylas_words;
pub mod operate;
pub mod ports;
pub mod report;
#[cfg(test)]
mod testing;
pub mod times;

pub use operate::{Invocation, OperateError, Operator, Settings};

//! operator: what people invoke by hand. It starts backfills and reconciliations, and shows how far they have come.
//!
//! Pure:
//! - [`command`]: an event read into a request, or what is wrong with it.
//! - [`times`]: the times in it.
//! - [`jobs`]: what a request puts into the queues, and where its progress stands.
//! - [`report`]: progress as rows, as a table, and as what to do next.
//!
//! What carries it out:
//! - [`operate`]: answers an event.
//! - [`follow`]: reads the progress of a run until it has ended or time is up.

pub mod command;
pub mod follow;
pub mod jobs;
pub mod operate;
pub mod report;
pub mod times;

pub use operate::{Invocation, OperateError, Operator, Settings};

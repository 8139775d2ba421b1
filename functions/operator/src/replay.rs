//! Has a notification decided once more: from a file, the unroutable queue, a dead letter, or fetched anew from Nylas.

use serde_json::{Map, Value, json};

use crate::command::{BadCommand, fields_of};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports};

/// Where what is replayed comes from and goes to.
pub trait Replays: Sync {}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOf;

impl ReplayOf {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({ "command": "replay" })
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        fields_of::<Map<String, Value>>(fields).map(|_| Self)
    }
}

impl<P: Ports> Operator<P> {
    /// Carries it out.
    ///
    /// # Errors
    /// If AWS does not answer.
    pub(crate) async fn replay(&self, asked: &ReplayOf, invocation: &Invocation) -> Result<Answer, OperateError> {
        let _ = (asked, invocation);
        Ok(Answer::error("not there yet".to_owned()))
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub mod testing {
    use super::Replays;

    /// The port in memory.
    #[derive(Debug, Default)]
    pub struct MemoryReplays;

    impl Replays for MemoryReplays {}
}

//! Tells all that is known of a notification, an object or a customer, in order.

use serde_json::{Map, Value, json};

use crate::command::{BadCommand, fields_of};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports};

/// Everything that is kept of what happened.
pub trait Records: Sync {}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryOf;

impl StoryOf {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({ "command": "story", "id": "<the id of a notification, message, event, notetaker, contact or ticket>" })
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
    pub(crate) async fn story(&self, asked: &StoryOf, invocation: &Invocation) -> Result<Answer, OperateError> {
        let _ = (asked, invocation);
        Ok(Answer::error("not there yet".to_owned()))
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub mod testing {
    use super::Records;

    /// The port in memory.
    #[derive(Debug, Default)]
    pub struct MemoryRecords;

    impl Records for MemoryRecords {}
}

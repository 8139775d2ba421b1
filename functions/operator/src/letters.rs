//! What was given up: shown, put back into its queue, set aside, done with.

use serde_json::{Map, Value, json};

use crate::command::{BadCommand, fields_of};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports};

/// What lies in the dead-letter queues, and what is known of it.
pub trait Letters: Sync {}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LettersRequest;

impl LettersRequest {
    /// An event that is right.
    #[must_use]
    pub fn example(command: &str) -> Value {
        json!({ "command": command })
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn show(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        fields_of::<Map<String, Value>>(fields).map(|_| Self)
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn redrive(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        fields_of::<Map<String, Value>>(fields).map(|_| Self)
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn park(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        fields_of::<Map<String, Value>>(fields).map(|_| Self)
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn drop(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        fields_of::<Map<String, Value>>(fields).map(|_| Self)
    }
}

impl<P: Ports> Operator<P> {
    /// Carries it out.
    ///
    /// # Errors
    /// If AWS does not answer.
    pub(crate) async fn letters(
        &self,
        asked: &LettersRequest,
        invocation: &Invocation,
    ) -> Result<Answer, OperateError> {
        let _ = (asked, invocation);
        Ok(Answer::error("not there yet".to_owned()))
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub mod testing {
    use super::Letters;

    /// The port in memory.
    #[derive(Debug, Default)]
    pub struct MemoryLetters;

    impl Letters for MemoryLetters {}
}

//! Removes what the stack itself holds of a person.

use serde_json::{Map, Value, json};

use crate::command::{BadCommand, fields_of};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports};

/// Everything that may hold an address.
pub trait Held: Sync {}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten;

impl Forgotten {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({ "command": "forget", "email": "dana@example.com" })
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
    pub(crate) async fn forget(&self, asked: &Forgotten, invocation: &Invocation) -> Result<Answer, OperateError> {
        let _ = (asked, invocation);
        Ok(Answer::error("not there yet".to_owned()))
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub mod testing {
    use super::Held;

    /// The port in memory.
    #[derive(Debug, Default)]
    pub struct MemoryHeld;

    impl Held for MemoryHeld {}
}

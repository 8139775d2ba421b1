//! Examines everything that the stack depends on, one line each.

use crate::operate::{Answer, Invocation, OperateError, Operator, Ports};

/// What is examined.
pub trait Examined: Sync {}

impl<P: Ports> Operator<P> {
    /// Carries it out.
    ///
    /// # Errors
    /// If AWS does not answer.
    pub(crate) async fn doctor(&self, invocation: &Invocation) -> Result<Answer, OperateError> {
        let _ = invocation;
        Ok(Answer::error("not there yet".to_owned()))
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub mod testing {
    use super::Examined;

    /// The port in memory.
    #[derive(Debug, Default)]
    pub struct MemoryExamined;

    impl Examined for MemoryExamined {}
}

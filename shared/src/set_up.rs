//! What a system at the other end needs once before it can be written to: looked for, and made where its API allows.

use serde::Serialize;
use std::future::Future;

use crate::engine::Deadline;
use crate::http::CallError;

/// One thing that a system needs once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetUpItem {
    /// What it is, with its exact name and type: `the property nylas_event_id (single-line text, unique) of meetings`.
    pub what: String,
    /// Whether it is there.
    #[serde(flatten)]
    pub state: SetUpState,
}

/// Whether something is there that a system needs once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SetUpState {
    /// It is there.
    Present,
    /// It was not, and is now.
    Created,
    /// It is not, and work goes on without it.
    DoneWithout {
        /// What is done instead, and what to do for the better way.
        instead: String,
    },
    /// It is not, and nothing can be written until it is.
    Missing {
        /// What to do.
        remedy: String,
    },
}

/// Sees to what a system needs once.
pub trait SetUp: Sync {
    /// Looks for everything that is needed, and makes what is missing where the API allows. Done twice, nothing else
    /// comes of it.
    ///
    /// # Errors
    /// If the system cannot be asked.
    fn set_up(&self, deadline: Deadline) -> impl Future<Output = Result<Vec<SetUpItem>, CallError>> + Send;
}

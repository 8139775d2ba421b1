//! Failures by what they ask for: another try, a person, or simply a little patience.

use std::time::Duration;

/// Why a message was not completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may succeed later: an outage, a throttle, a time-out.
    #[error("{what}")]
    Transient {
        /// A short stable name for the kind of failure, for example `crm.unavailable`.
        class: &'static str,
        /// What happened, to what.
        what: String,
        /// How long the other side asked to wait.
        retry_after: Option<Duration>,
    },
    /// It will never succeed as it is: the dead-letter queue at once.
    #[error("{what}")]
    Permanent {
        /// A short stable name for the kind of failure, for example `crm.rejected`.
        class: &'static str,
        /// What happened, to what, and what to do.
        what: String,
    },
    /// It was not tried: something it needs is known to be down, or the time is up. Not a failure of the message.
    #[error("{what}")]
    Untried {
        /// A short stable name for what stood in the way, for example `crm.breaker_open`.
        class: &'static str,
        /// What stood in the way.
        what: String,
        /// When trying makes sense again.
        retry_after: Duration,
    },
}

impl Failure {
    /// A failure that another try may mend.
    #[must_use]
    pub fn transient(class: &'static str, what: impl Into<String>) -> Self {
        Self::Transient { class, what: what.into(), retry_after: None }
    }

    /// A failure that only a person can mend.
    #[must_use]
    pub fn permanent(class: &'static str, what: impl Into<String>) -> Self {
        Self::Permanent { class, what: what.into() }
    }

    /// The short stable name of the kind of failure.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Transient { class, .. } | Self::Permanent { class, .. } | Self::Untried { class, .. } => class,
        }
    }
}

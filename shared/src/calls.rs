//! What the calls to Nylas, the CRM and the ticket system took within an invocation, and how those that failed did.
//!
//! Gathered beside the work, in a task-local place, so that no function has to hand anything through; written with the
//! metrics at the end of the invocation. Nothing of what was asked or answered is kept.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use crate::telemetry::{Metric, Metrics};

tokio::task_local! {
    static GATHERED: RefCell<Calls>;
}

/// An API whose calls are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Nylas.
    Nylas,
    /// The CRM.
    Crm,
    /// The ticket system.
    Tickets,
}

impl Api {
    /// The metric of how long its calls take.
    #[must_use]
    pub const fn latency(self) -> Metric {
        match self {
            Self::Nylas => Metric::NylasLatency,
            Self::Crm => Metric::CrmLatency,
            Self::Tickets => Metric::TicketLatency,
        }
    }

    /// The metric of how many of its calls failed.
    #[must_use]
    pub const fn errors(self) -> Metric {
        match self {
            Self::Nylas => Metric::NylasErrors,
            Self::Crm => Metric::CrmErrors,
            Self::Tickets => Metric::TicketErrors,
        }
    }

    /// The property that says of which kinds they were.
    #[must_use]
    pub const fn error_kinds(self) -> &'static str {
        match self {
            Self::Nylas => "NylasErrorKinds",
            Self::Crm => "CrmErrorKinds",
            Self::Tickets => "TicketErrorKinds",
        }
    }
}

/// How a call failed. That there is no such thing is often an answer, and never one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// Too many calls.
    RateLimited,
    /// It answered that it is down.
    Unavailable,
    /// It did not answer, or not in time.
    NoAnswer,
    /// It refused the credential.
    Unauthorized,
    /// The credential is good, and may not do this.
    NotAllowed,
    /// Something that it needs once is not there yet.
    NotSetUp,
    /// It will never accept what was sent.
    Rejected,
    /// Its answer cannot be read.
    Unreadable,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::RateLimited,
        Self::Unavailable,
        Self::NoAnswer,
        Self::Unauthorized,
        Self::NotAllowed,
        Self::NotSetUp,
        Self::Rejected,
        Self::Unreadable,
    ];

    /// Its name in a log line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::NoAnswer => "no_answer",
            Self::Unauthorized => "unauthorized",
            Self::NotAllowed => "not_allowed",
            Self::NotSetUp => "not_set_up",
            Self::Rejected => "rejected",
            Self::Unreadable => "unreadable",
        }
    }
}

/// The calls of an invocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    took: BTreeMap<Api, Vec<u64>>,
    failed: BTreeMap<Api, BTreeMap<ErrorKind, u64>>,
}

impl Calls {
    /// Adds them to the metrics of the invocation.
    pub fn add_to(self, metrics: &mut Metrics) {
        for (api, milliseconds) in self.took {
            metrics.durations(api.latency(), milliseconds);
        }
        for (api, kinds) in self.failed {
            metrics.add(api.errors(), kinds.values().sum());
            let kinds: Map<String, Value> =
                kinds.into_iter().map(|(kind, count)| (kind.name().to_owned(), count.into())).collect();
            metrics.property(api.error_kinds(), kinds);
        }
    }
}

/// Does the work and answers, beside what came of it, which calls it made.
pub async fn gathered<T>(work: impl Future<Output = T>) -> (T, Calls) {
    let within = async {
        let came_of_it = work.await;
        (came_of_it, GATHERED.with(RefCell::take))
    };
    GATHERED.scope(RefCell::default(), within).await
}

/// Does the work of an invocation that is no batch, and writes the metrics of its calls.
pub async fn measured<T>(function: &'static str, work: impl Future<Output = T>) -> T {
    let (came_of_it, calls) = gathered(work).await;
    let mut metrics = Metrics::new(function);
    calls.add_to(&mut metrics);
    metrics.emit();
    came_of_it
}

/// Notes how long a call took. Outside of work that is gathered nobody wants to know.
pub(crate) fn took(api: Api, time: Duration) {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    note(|calls| calls.took.entry(api).or_default().push(milliseconds));
}

/// Notes that a call failed.
pub(crate) fn failed(api: Api, kind: ErrorKind) {
    note(|calls| *calls.failed.entry(api).or_default().entry(kind).or_default() += 1);
}

fn note(change: impl FnOnce(&mut Calls)) {
    let _ = GATHERED.try_with(|calls| change(&mut calls.borrow_mut()));
}

#[cfg(test)]
impl Calls {
    /// How many calls were made, and how many failed in each way.
    pub(crate) fn of(&self, api: Api) -> (usize, Vec<(ErrorKind, u64)>) {
        let failed = self.failed.get(&api).into_iter().flatten().map(|(kind, count)| (*kind, *count)).collect();
        (self.took.get(&api).map_or(0, Vec::len), failed)
    }
}

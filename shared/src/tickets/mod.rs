//! The ticket system as the functions see it: a port, the records that cross it, and an adapter for each system.
//!
//! A ticket and a comment are each named by the mail they are made of: done twice, they are there once.

pub mod jira;
pub mod provider;
pub mod rest;
mod text;
pub mod zendesk;

use jiff::Timestamp;
use std::future::Future;

use crate::domain::address::EmailAddress;
use crate::domain::failure::Failure;
use crate::engine::Deadline;
use crate::http::{CallError, FailureClasses};

/// The stable names of the ticket system's failures.
pub const FAILURE_CLASSES: FailureClasses = FailureClasses {
    breaker_open: "ticket.breaker_open",
    out_of_time: "ticket.out_of_time",
    rate_limited: "ticket.rate_limited",
    unavailable: "ticket.unavailable",
    unauthorized: "ticket.unauthorized",
    not_set_up: "ticket.not_set_up",
    unreadable: "ticket.unreadable",
    rejected: "ticket.rejected",
};

/// The ticket system did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct TicketError(#[from] pub CallError);

impl From<TicketError> for Failure {
    fn from(error: TicketError) -> Self {
        error.0.into_failure(&FAILURE_CLASSES)
    }
}

/// The ticket system's error for something that is always there.
fn collection_is_missing(error: CallError) -> CallError {
    error.of_a_collection("TicketBaseUrl")
}

/// Somebody who wrote a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correspondent {
    /// The address.
    pub email: EmailAddress,
    /// The display name.
    pub name: Option<String>,
}

/// A ticket to be opened, made of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// The Nylas id of the mail, under which the ticket is opened once.
    pub message_id: String,
    /// The support mailbox that the mail came to.
    pub grant_id: String,
    /// The mail's thread.
    pub thread_id: Option<String>,
    /// The mail's subject.
    pub subject: Option<String>,
    /// Who wrote it.
    pub from: Correspondent,
    /// What it is about: `incidents`, `bugs`, `billing`, `feature_requests`, `churn_risk` or `general`.
    pub category: String,
    /// How urgent it is: `high`, `medium` or `low`.
    pub priority: String,
    /// Who is to deal with it.
    pub desk: String,
    /// What people should look at twice, one word each, such as `stranger_quotes_ticket`.
    pub flags: Vec<String>,
    /// The ticket that this one follows after a long silence.
    pub previous_ticket_id: Option<String>,
    /// When the mail came.
    pub received_at: Timestamp,
    /// What the mail says, as plain text; empty if it says nothing.
    pub body: String,
}

/// A comment to be added to a ticket, made of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewComment {
    /// The Nylas id of the mail, under which the comment is added once.
    pub message_id: String,
    /// Who wrote it.
    pub from: Correspondent,
    /// What the mail says, as plain text; empty if it says nothing.
    pub body: String,
    /// When the mail came.
    pub received_at: Timestamp,
}

/// A ticket that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The ticket system's id, never empty.
    pub id: String,
    /// Where people open it, `http` or `https`; none if the ticket system does not tell.
    pub url: Option<String>,
}

/// What became of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commented {
    /// It is there now, under this id of the ticket system's.
    Added(String),
    /// There is no such ticket any more, or none that takes comments.
    TicketGone,
}

/// Opens tickets and continues them.
pub trait OpenTickets: Sync {
    /// Opens a ticket; done twice for one mail, it is opened once.
    fn open(&self, ticket: &NewTicket, deadline: Deadline) -> impl Future<Output = Result<Opened, TicketError>> + Send;

    /// Adds a comment to a ticket; done twice for one mail, it is added once.
    fn comment(
        &self,
        ticket_id: &str,
        comment: &NewComment,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Commented, TicketError>> + Send;
}

//! The CRM as the functions see it: ports, the records that cross them, and an adapter for each system.
//!
//! No CRM gives exactly-once for everything, so every write carries a key of ours: an adapter turns it into the CRM's
//! own external key or idempotency header, and looks before it creates where the CRM has neither.

pub mod contact_fields;
pub mod hubspot;
mod lookup;
pub mod matching;
pub mod meeting;
pub mod notes;
pub mod pipedrive;
pub mod prose;
pub mod provider;
pub mod rest;
pub mod salesforce;

pub use lookup::BatchLookup;

use jiff::Timestamp;
use std::collections::HashMap;
use std::future::Future;

use contact_fields::{Current, PerField};

use crate::domain::address::EmailAddress;
use crate::domain::failure::Failure;
use crate::engine::Deadline;
use crate::http::{CallError, FailureClasses};

/// The stable names of the CRM's failures.
pub const FAILURE_CLASSES: FailureClasses = FailureClasses {
    breaker_open: "crm.breaker_open",
    out_of_time: "crm.out_of_time",
    rate_limited: "crm.rate_limited",
    unavailable: "crm.unavailable",
    unauthorized: "crm.unauthorized",
    not_set_up: "crm.not_set_up",
    unreadable: "crm.unreadable",
    rejected: "crm.rejected",
};

/// The CRM did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct CrmError(#[from] pub CallError);

impl CrmError {
    /// The one of several failures that says the most: that the breaker is open says less than what opened it.
    fn more_telling(standing: Option<Self>, next: Self) -> Self {
        match standing {
            Some(standing) if !matches!(standing.0, CallError::BreakerOpen { .. }) => standing,
            _ => next,
        }
    }
}

impl From<CrmError> for Failure {
    fn from(error: CrmError) -> Self {
        error.0.into_failure(&FAILURE_CLASSES)
    }
}

/// The CRM's error for something that is always there.
fn collection_is_missing(error: CallError) -> CallError {
    error.of_a_collection("CrmBaseUrl")
}

/// A contact that the CRM knows: a known prospect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contact {
    /// The CRM's id.
    pub id: String,
    /// The contact's deals, the main one first.
    pub deals: Vec<Deal>,
    /// What the CRM holds in the fields that are kept fresh.
    pub current: PerField<Current>,
}

/// A deal of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deal {
    /// The CRM's id.
    pub id: String,
    /// Whether it is open; none if the CRM does not tell.
    pub open: Option<bool>,
    /// When something last happened in it; none if the CRM does not tell.
    pub last_activity_at: Option<Timestamp>,
}

/// Contacts by the address they were asked for. An address that nobody has is absent; one that the CRM refuses to look
/// up, because it could not hold it, is there with nobody.
pub type ContactsByAddress = HashMap<EmailAddress, Vec<Contact>>;

/// Finds contacts.
pub trait FindContacts: Sync {
    /// Looks up several addresses at once, by whatever the CRM has for that; else side by side.
    fn find_contacts(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> impl Future<Output = Result<ContactsByAddress, CrmError>> + Send;
}

/// Which way a mail went, seen from the company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From outside.
    Inbound,
    /// From the company.
    Outbound,
}

impl Direction {
    /// The direction as one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// One mail, as it is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailActivity {
    /// The Nylas id of the copy that is logged.
    pub external_message_id: String,
    /// Every contact on it, the one it is mainly with first. Never empty.
    pub contact_ids: Vec<String>,
    /// The deal it belongs to.
    pub deal_id: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// Its beginning.
    pub snippet: Option<String>,
    /// Its thread.
    pub thread_id: Option<String>,
    /// Which way it went.
    pub direction: Direction,
    /// When it was sent or received.
    pub timestamp: Timestamp,
    /// Its sender.
    pub from: Option<EmailAddress>,
    /// Its recipients.
    pub to: Vec<EmailAddress>,
    /// Those who got a copy.
    pub cc: Vec<EmailAddress>,
    /// The mailbox it was seen in.
    pub grant_id: Option<String>,
}

/// A key that is equal on every retry of a write, and for every copy of the thing written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key made of letters, digits and punctuation that every header takes.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The key as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Logs mail.
pub trait LogEmail: Sync {
    /// Logs a mail and answers the CRM's id of the activity; done twice under one key, it is logged once.
    fn log_email(
        &self,
        activity: &EmailActivity,
        key: &IdempotencyKey,
        deadline: Deadline,
    ) -> impl Future<Output = Result<String, CrmError>> + Send;
}

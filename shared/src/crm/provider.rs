//! The CRM that a stack is configured for: one of the adapters, behind all ports.

use std::fmt;
use std::str::FromStr;

use super::contact_fields::{ContactUpdate, UpdateContacts};
use super::hubspot::HubSpotCrm;
use super::meeting::{Meeting, WriteMeetings};
use super::notes::{MeetingNotes, WriteMeetingNotes};
use super::pipedrive::PipedriveCrm;
use super::rest::RestCrm;
use super::salesforce::SalesforceCrm;
use super::{Contact, ContactsByAddress, CrmError, EmailActivity, FindContacts, IdempotencyKey, LogEmail};
use crate::domain::address::EmailAddress;
use crate::engine::{Deadline, Links};
use crate::http::CallError;
use crate::set_up::{SetUp, SetUpItem};

/// A kind of CRM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrmProvider {
    /// Any system that speaks the shipped OpenAPI document.
    Rest,
    /// HubSpot.
    HubSpot,
    /// Salesforce.
    Salesforce,
    /// Pipedrive.
    Pipedrive,
}

impl CrmProvider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rest, Self::HubSpot, Self::Salesforce, Self::Pipedrive];

    /// The provider as the parameter `CrmProvider` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::HubSpot => super::hubspot::SYSTEM,
            Self::Salesforce => super::salesforce::SYSTEM,
            Self::Pipedrive => super::pipedrive::SYSTEM,
        }
    }
}

impl fmt::Display for CrmProvider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A text names no kind of CRM.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it must be rest, hubspot, salesforce or pipedrive")]
pub struct NotACrmProvider;

impl FromStr for CrmProvider {
    type Err = NotACrmProvider;

    fn from_str(text: &str) -> Result<Self, NotACrmProvider> {
        Self::ALL.into_iter().find(|provider| provider.name() == text).ok_or(NotACrmProvider)
    }
}

/// The CRM.
pub enum Crm<L> {
    /// Any system that speaks the shipped OpenAPI document.
    Rest(RestCrm),
    /// HubSpot.
    HubSpot(HubSpotCrm<L>),
    /// Salesforce.
    Salesforce(SalesforceCrm<L>),
    /// Pipedrive.
    Pipedrive(PipedriveCrm<L>),
}

/// Asks the adapter, whichever it is.
macro_rules! ask {
    ($crm:expr, $adapter:ident => $call:expr) => {
        match $crm {
            Crm::Rest($adapter) => $call,
            Crm::HubSpot($adapter) => $call,
            Crm::Salesforce($adapter) => $call,
            Crm::Pipedrive($adapter) => $call,
        }
    };
}

impl<L: Links + Send> FindContacts for Crm<L> {
    async fn find_contacts(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> Result<ContactsByAddress, CrmError> {
        ask!(self, crm => crm.find_contacts(addresses, deadline).await)
    }
}

impl<L: Links + Send> LogEmail for Crm<L> {
    async fn log_email(
        &self,
        activity: &EmailActivity,
        key: &IdempotencyKey,
        deadline: Deadline,
    ) -> Result<String, CrmError> {
        ask!(self, crm => crm.log_email(activity, key, deadline).await)
    }
}

impl<L: Links + Send> WriteMeetings for Crm<L> {
    async fn upsert_meeting(&self, meeting: &Meeting, deadline: Deadline) -> Result<String, CrmError> {
        ask!(self, crm => crm.upsert_meeting(meeting, deadline).await)
    }

    async fn delete_meeting(&self, external_event_id: &str, deadline: Deadline) -> Result<(), CrmError> {
        ask!(self, crm => crm.delete_meeting(external_event_id, deadline).await)
    }
}

impl<L: Links + Send> WriteMeetingNotes for Crm<L> {
    async fn upsert_meeting_notes(&self, notes: &MeetingNotes, deadline: Deadline) -> Result<String, CrmError> {
        ask!(self, crm => crm.upsert_meeting_notes(notes, deadline).await)
    }
}

impl<L: Links + Send> UpdateContacts for Crm<L> {
    fn at_a_time(&self) -> usize {
        ask!(self, crm => crm.at_a_time())
    }

    fn asks_for_many_in_one_call(&self) -> bool {
        ask!(self, crm => crm.asks_for_many_in_one_call())
    }

    async fn look_up(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<Result<Vec<Contact>, CrmError>> {
        ask!(self, crm => crm.look_up(addresses, deadline).await)
    }

    async fn update_contacts(&self, updates: &[ContactUpdate], deadline: Deadline) -> Vec<Result<(), CrmError>> {
        ask!(self, crm => crm.update_contacts(updates, deadline).await)
    }

    fn calls_made(&self) -> u64 {
        ask!(self, crm => crm.calls_made())
    }
}

impl<L: Links + Send> SetUp for Crm<L> {
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        ask!(self, crm => crm.set_up(deadline).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_provider_is_read_as_it_is_named_and_another_is_told_the_choices() {
        for provider in CrmProvider::ALL {
            assert_eq!(provider.name().parse(), Ok(provider));
        }
        let error = "sugar".parse::<CrmProvider>().expect_err("unknown").to_string();
        assert!(CrmProvider::ALL.iter().all(|provider| error.contains(provider.name())), "{error}");
    }
}

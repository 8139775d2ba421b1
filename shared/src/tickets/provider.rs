//! Which ticket system a deployment uses, and that system behind one type.

use std::str::FromStr;

use super::jira::JiraTickets;
use super::rest::RestTickets;
use super::zendesk::ZendeskTickets;
use super::{Commented, NewComment, NewTicket, OpenTickets, Opened, TicketError};
use crate::engine::{Deadline, Links};
use crate::http::CallError;
use crate::set_up::{SetUp, SetUpItem};

/// The ticket systems that there are adapters for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TicketProvider {
    /// Any system that speaks the shipped `OpenAPI` document.
    #[default]
    Rest,
    /// Zendesk Support.
    Zendesk,
    /// Jira Cloud.
    Jira,
}

impl TicketProvider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rest, Self::Zendesk, Self::Jira];

    /// The provider as the parameter `TicketProvider` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Zendesk => super::zendesk::SYSTEM,
            Self::Jira => super::jira::SYSTEM,
        }
    }
}

/// No ticket system has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it must be rest, zendesk or jira")]
pub struct UnknownTicketProvider;

impl FromStr for TicketProvider {
    type Err = UnknownTicketProvider;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|provider| provider.name() == text).ok_or(UnknownTicketProvider)
    }
}

/// The adapter of the ticket system that is used.
pub enum Tickets<L> {
    /// Any system that speaks the shipped `OpenAPI` document.
    Rest(RestTickets),
    /// Zendesk Support.
    Zendesk(ZendeskTickets<L>),
    /// Jira Cloud.
    Jira(JiraTickets<L>),
}

impl<L: Links> OpenTickets for Tickets<L> {
    async fn open(&self, ticket: &NewTicket, deadline: Deadline) -> Result<Opened, TicketError> {
        match self {
            Self::Rest(tickets) => tickets.open(ticket, deadline).await,
            Self::Zendesk(tickets) => Box::pin(tickets.open(ticket, deadline)).await,
            Self::Jira(tickets) => Box::pin(tickets.open(ticket, deadline)).await,
        }
    }

    async fn comment(
        &self,
        ticket_id: &str,
        comment: &NewComment,
        deadline: Deadline,
    ) -> Result<Commented, TicketError> {
        match self {
            Self::Rest(tickets) => tickets.comment(ticket_id, comment, deadline).await,
            Self::Zendesk(tickets) => Box::pin(tickets.comment(ticket_id, comment, deadline)).await,
            Self::Jira(tickets) => Box::pin(tickets.comment(ticket_id, comment, deadline)).await,
        }
    }
}

impl<L: Links> SetUp for Tickets<L> {
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        match self {
            Self::Rest(tickets) => tickets.set_up(deadline).await,
            Self::Zendesk(tickets) => Box::pin(tickets.set_up(deadline)).await,
            Self::Jira(tickets) => Box::pin(tickets.set_up(deadline)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_is_named_in_lower_case_and_any_other_name_is_answered_with_the_choices() {
        for (name, provider) in
            [("rest", TicketProvider::Rest), ("zendesk", TicketProvider::Zendesk), ("jira", TicketProvider::Jira)]
        {
            assert_eq!(name.parse(), Ok(provider));
        }
        let error = "Zendesk".parse::<TicketProvider>().expect_err("no such name");
        assert!(error.to_string().contains("rest, zendesk or jira"), "{error}");
    }
}

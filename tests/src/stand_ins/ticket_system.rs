//! What every stand-in for a ticket system lets a test do and see, whatever system it stands for: one form for all.

use super::{CallLog, Faults, Jira, RestTickets, Result, Zendesk};
use shared::tickets::provider::TicketProvider;

/// Starts a stand-in for a ticket system of this kind without tickets.
pub fn start(provider: TicketProvider) -> Result<Box<dyn TicketStandIn>> {
    Ok(match provider {
        TicketProvider::Rest => Box::new(RestTickets::start()?),
        TicketProvider::Zendesk => Box::new(Zendesk::start()?),
        TicketProvider::Jira => Box::new(Jira::start()?),
    })
}

/// A stand-in for a ticket system.
pub trait TicketStandIn: Send + Sync {
    /// The value of `TicketProvider`.
    fn provider(&self) -> &'static str;

    /// The address to give as `TicketBaseUrl`.
    fn base_url(&self) -> String;

    /// The further parameters of a stack that is to use it, beside `TicketProvider` and `TicketBaseUrl`.
    fn parameters(&self) -> Vec<(&'static str, String)>;

    /// The fault plan.
    fn faults(&self) -> &Faults;

    /// Every call so far.
    fn calls(&self) -> &CallLog;

    /// What the description of the API has refused so far, a sentence each.
    fn refusals(&self) -> Vec<String>;

    /// Makes the credential that was good so far no good, as when an administrator revokes it.
    fn revoke_credential(&self);

    /// The tickets, oldest first.
    fn tickets(&self) -> Vec<SeenTicket>;

    /// Removes a ticket, as when a person deletes it.
    fn remove_ticket(&self, id: &str);
}

/// A ticket as the system shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTicket {
    /// The system's id, under which it is commented on.
    pub id: String,
    /// Where people open it.
    pub url: Option<String>,
    /// Its subject.
    pub subject: String,
    /// What it says first, as text.
    pub text: String,
    /// How urgent it is, in the system's words.
    pub priority: Option<String>,
    /// Who is to deal with it: the system's name for the desk.
    pub desk: Option<String>,
    /// The address that replies go to.
    pub requester: Option<String>,
    /// Its labels or tags.
    pub labels: Vec<String>,
    /// What was added to it, oldest first, as text.
    pub comments: Vec<SeenComment>,
}

/// A comment as the system shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenComment {
    /// The system's id.
    pub id: String,
    /// Who wrote it, by address, where the system tells.
    pub author: Option<String>,
    /// What it says, as text.
    pub text: String,
}

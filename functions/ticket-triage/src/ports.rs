//! What the function needs of the outside, each as narrow as its role, and what it is set to.

use jiff::SignedDuration;
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;

use shared::crm::FindContacts;
use shared::domain::address::CompanyDomains;
use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Decisions, Links, SendToQueue, SetTimers, StoreError};
use shared::mail::reading::ReadMail;
use shared::nylas::Nylas;
use shared::nylas::sending::{Receipt, SendError};
use shared::tickets::OpenTickets;
use shared::triage::rules::Rules;

use crate::acknowledgement::Template;
use crate::screen::OwnAddresses;

/// What is asked of Nylas: mail is read, and acknowledged.
pub trait Correspond: ReadMail {
    /// Sends a mail, once for one key within an hour.
    fn send_mail(
        &self,
        grant: &GrantId,
        mail: &Value,
        idempotency_key: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Receipt, SendError>> + Send;
}

impl Correspond for Nylas {
    async fn send_mail(
        &self,
        grant: &GrantId,
        mail: &Value,
        idempotency_key: &str,
        deadline: Deadline,
    ) -> Result<Receipt, SendError> {
        self.send_mail(grant, mail, idempotency_key, deadline).await
    }
}

/// Tells people, at an address of their desk's or where everybody is told.
pub trait AlertDesks: Sync {
    /// True if anybody can be told there.
    fn can_tell(&self, address: Option<&str>) -> bool;

    /// Tells them a text. It may be told twice if the answer is lost.
    fn tell(
        &self,
        address: Option<&str>,
        text: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The rules as they stand, and where they come from.
#[derive(Clone)]
pub struct RulesAtHand {
    /// The rules.
    pub rules: Arc<Rules>,
    /// In words, as it stands in decisions.
    pub told_by: &'static str,
}

/// The rules file.
pub trait CurrentRules: Sync {
    /// The rules as they stand.
    fn current(&self) -> impl Future<Output = Result<RulesAtHand, StoreError>> + Send;
}

/// What the function needs of the outside.
pub trait Ports: Sync {
    /// The ticket system.
    type Tickets: OpenTickets;
    /// Nylas.
    type Nylas: Correspond;
    /// The CRM.
    type Crm: FindContacts;
    /// What became of each mail, and what is known of each ticket.
    type Links: Links;
    /// What was decided before.
    type Decisions: Decisions;
    /// The function's own queue.
    type Queue: SendToQueue;
    /// Timers.
    type Timers: SetTimers;
    /// People.
    type Alerts: AlertDesks;
    /// The rules.
    type Rules: CurrentRules;
}

/// The ports, filled.
pub struct Provision<'a, P: Ports> {
    /// The ticket system.
    pub tickets: &'a P::Tickets,
    /// Nylas.
    pub nylas: &'a P::Nylas,
    /// The CRM; none while it is off.
    pub crm: Option<&'a P::Crm>,
    /// What became of each mail, and what is known of each ticket.
    pub links: &'a P::Links,
    /// What was decided before.
    pub decisions: &'a P::Decisions,
    /// The function's own queue.
    pub queue: &'a P::Queue,
    /// Timers.
    pub timers: &'a P::Timers,
    /// People.
    pub alerts: &'a P::Alerts,
    /// The rules.
    pub rules: &'a P::Rules,
    /// The time of day.
    pub clock: Clock,
}

/// What the rules are set to.
#[derive(Clone)]
pub struct Settings {
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// Domains whose senders come first, with those below them.
    pub priority_domains: CompanyDomains,
    /// The support address and its aliases.
    pub own_addresses: OwnAddresses,
    /// What marks mail that this deployment sends.
    pub loop_id: LoopId,
    /// Within how long more than five incidents are a storm.
    pub storm_window: SignedDuration,
    /// What new tickets are acknowledged with; none while that is off.
    pub acknowledgement: Option<Arc<Template>>,
    /// The stack, which tells timers of one from those of another.
    pub stack: String,
}

//! What the function needs of the outside, each as narrow as its role, and what it is set to.

use jiff::tz::TimeZone;
use serde_json::Value;
use std::future::Future;
use std::sync::Arc;
use url::Url;

use shared::alerts::Alert;
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::notification::GrantId;
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Documents, Links, RemoveTimers, SendToQueue};
use shared::nylas::event::Event;
use shared::nylas::message::Message;
use shared::nylas::scheduling::Configuration;
use shared::nylas::sending::{Receipt, SendError, SentMail};
use shared::nylas::{HeaderFields, Nylas, NylasError, Page};

use crate::apply::Delays;
use crate::hours::SendingHours;
use crate::mail::Templates;
use crate::page::PageSettings;
use crate::slots::Caps;

/// What is asked of Nylas, always of the one account that customers are written from.
pub trait Correspond: Sync {
    /// Sends a mail, once for one key within an hour.
    fn send_mail(
        &self,
        grant: &GrantId,
        mail: &Value,
        idempotency_key: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Receipt, SendError>> + Send;

    /// The mails to an address since a time in Unix seconds, with what `fields` names.
    fn mails_to(
        &self,
        grant: &GrantId,
        to: &str,
        since: i64,
        fields: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<SentMail>, NylasError>> + Send;

    /// One mail; none if it is no longer there.
    fn message(
        &self,
        grant: &GrantId,
        id: &str,
        headers: HeaderFields,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Message>, NylasError>> + Send;

    /// What the account is at, for example `google`; none if that cannot be told.
    fn provider(
        &self,
        grant: &GrantId,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<String>, NylasError>> + Send;

    /// Makes a booking page.
    fn create_configuration(
        &self,
        grant: &GrantId,
        configuration: &Value,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Configuration, NylasError>> + Send;

    /// A page of the booking pages that there are.
    fn configurations(
        &self,
        grant: &GrantId,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Page<Configuration>, NylasError>> + Send;

    /// The events of a calendar that bear this value under `key1` in their metadata.
    fn events_by_metadata(
        &self,
        grant: &GrantId,
        calendar: &str,
        value: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Event>, NylasError>> + Send;

    /// Puts an event into a calendar, without a mail to anybody.
    fn create_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        event: &Value,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Event, NylasError>> + Send;

    /// Changes an event, without a mail to anybody; none if it is no longer there.
    fn change_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        change: &Value,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Event>, NylasError>> + Send;

    /// Removes an event, without a mail to anybody.
    fn remove_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), NylasError>> + Send;
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

    async fn mails_to(
        &self,
        grant: &GrantId,
        to: &str,
        since: i64,
        fields: &str,
        deadline: Deadline,
    ) -> Result<Vec<SentMail>, NylasError> {
        self.mails_to(grant, to, since, fields, deadline).await
    }

    async fn message(
        &self,
        grant: &GrantId,
        id: &str,
        headers: HeaderFields,
        deadline: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        self.message(grant, id, headers, deadline).await
    }

    async fn provider(&self, grant: &GrantId, deadline: Deadline) -> Result<Option<String>, NylasError> {
        Ok(self.grant(grant, deadline).await?.and_then(|grant| grant.provider))
    }

    async fn create_configuration(
        &self,
        grant: &GrantId,
        configuration: &Value,
        deadline: Deadline,
    ) -> Result<Configuration, NylasError> {
        self.create_configuration(grant, configuration, deadline).await
    }

    async fn configurations(
        &self,
        grant: &GrantId,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Configuration>, NylasError> {
        self.configurations(grant, page_token, deadline).await
    }

    async fn events_by_metadata(
        &self,
        grant: &GrantId,
        calendar: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        self.events_by_metadata(grant, calendar, value, deadline).await
    }

    async fn create_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        event: &Value,
        deadline: Deadline,
    ) -> Result<Event, NylasError> {
        self.create_event(grant, calendar, event, deadline).await
    }

    async fn change_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        change: &Value,
        deadline: Deadline,
    ) -> Result<Option<Event>, NylasError> {
        self.change_event(grant, calendar, id, change, deadline).await
    }

    async fn remove_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<(), NylasError> {
        self.remove_event(grant, calendar, id, deadline).await
    }
}

/// What the function needs of the outside.
pub trait Ports: Sync {
    /// Nylas.
    type Nylas: Correspond;
    /// The customers, and whose turn it is to be sent.
    type Documents: Documents;
    /// What leads back to a customer.
    type Links: Links;
    /// The function's own queue.
    type Queue: SendToQueue;
    /// What brings a message at a time.
    type Timers: RemoveTimers;
    /// Who is told what needs a hand.
    type Alerts: Alert;
}

/// The ports, filled.
pub struct Provision<'a, P: Ports> {
    /// Nylas.
    pub nylas: &'a P::Nylas,
    /// The customers, and whose turn it is to be sent.
    pub documents: &'a P::Documents,
    /// What leads back to a customer.
    pub links: &'a P::Links,
    /// The function's own queue.
    pub queue: &'a P::Queue,
    /// What brings a message at a time.
    pub timers: &'a P::Timers,
    /// Who is told; none while alerts are off.
    pub alerts: Option<&'a P::Alerts>,
    /// The time of day.
    pub clock: Clock,
}

/// What the function is set to.
#[derive(Clone)]
pub struct Settings {
    /// The account that customers are written from.
    pub grant: GrantId,
    /// Its address.
    pub sender: EmailAddress,
    /// The product.
    pub product: String,
    /// Where it is set up; empty if that is not set.
    pub setup_url: String,
    /// Where it is explained; empty if that is not set.
    pub docs_url: String,
    /// Where the booking pages are.
    pub page_base: Url,
    /// The team's time zone, and its name.
    pub team_zone: (TimeZone, String),
    /// How long to wait.
    pub delays: Delays,
    /// How much may be sent.
    pub caps: Caps,
    /// When customers are written to; none for always.
    pub hours: Option<SendingHours>,
    /// The booking page and the prep reminder.
    pub page: PageSettings,
    /// What the mails say.
    pub templates: Arc<Templates>,
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// What marks mail and events of this deployment.
    pub loop_id: LoopId,
    /// The stack: what it sets bears its name.
    pub stack: String,
}

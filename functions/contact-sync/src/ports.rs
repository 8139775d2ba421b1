//! What the function needs of the outside, each as narrow as its role.

use shared::aws::links::DynamoLinks;
use shared::aws::never_log::NeverLogFile;
use shared::aws::worker_queue::WorkerQueue;
use shared::crm::contact_fields::UpdateContacts;
use shared::domain::notification::GrantId;
use shared::engine::{Clock, Deadline, ManyLinks, NeverLogged, SendToQueue};
use shared::nylas::contact::Contact;
use shared::nylas::mailboxes::ListGrants;
use shared::nylas::{Nylas, NylasError, Page};
use shared::worker::Crm;
use std::future::Future;

/// The address books of the connected accounts.
pub trait AddressBooks: ListGrants {
    /// A page of an account's contacts, from one source.
    fn contacts(
        &self,
        grant: &GrantId,
        source: &str,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Page<Contact>, NylasError>> + Send;

    /// One contact; none if it is no longer there.
    fn contact(
        &self,
        grant: &GrantId,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Contact>, NylasError>> + Send;

    /// How many calls have been made so far, those that failed included.
    fn calls_made(&self) -> u64;
}

impl AddressBooks for Nylas {
    async fn contacts(
        &self,
        grant: &GrantId,
        source: &str,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Contact>, NylasError> {
        self.contacts(grant, source, page_token, deadline).await
    }

    async fn contact(&self, grant: &GrantId, id: &str, deadline: Deadline) -> Result<Option<Contact>, NylasError> {
        self.contact(grant, id, deadline).await
    }

    fn calls_made(&self) -> u64 {
        self.calls_made()
    }
}

/// The ports.
pub trait Ports: Sync {
    /// The CRM.
    type Crm: UpdateContacts;
    /// Nylas.
    type Nylas: AddressBooks;
    /// What is remembered of contacts, persons and runs.
    type Links: ManyLinks;
    /// The function's own queue.
    type Queue: SendToQueue;
    /// The never-log list.
    type NeverLog: NeverLogged;
}

/// The ports, filled.
pub struct Provision<'a, P: Ports> {
    /// The CRM; none while it is off.
    pub crm: Option<&'a P::Crm>,
    /// Nylas.
    pub nylas: &'a P::Nylas,
    /// What is remembered of contacts, persons and runs.
    pub links: &'a P::Links,
    /// The function's own queue.
    pub queue: &'a P::Queue,
    /// The never-log list.
    pub never_log: &'a P::NeverLog,
    /// The time of day.
    pub clock: Clock,
}

/// The ports of the deployed function.
pub struct Deployed;

impl Ports for Deployed {
    type Crm = Crm;
    type Nylas = Nylas;
    type Links = DynamoLinks;
    type Queue = WorkerQueue;
    type NeverLog = NeverLogFile;
}

//! Stand-ins for the systems on the other side of the network: a CRM, a ticket system, the Nylas API, the sender of
//! Nylas notifications and a webhook for alerts. Each is a real HTTP peer on 127.0.0.1, refuses what the original
//! refuses, and can be told to fail in the ways the original fails.
//!
//! A stand-in runs on a thread of its own, needs no runtime of the caller's, and stops when it is dropped.

pub mod alert_webhook;
pub mod crm;
pub mod faults;
pub mod hubspot;
pub mod jira;
pub mod nylas;
pub mod nylas_webhook;
pub mod openapi;
pub mod pipedrive;
pub mod rest_crm;
pub mod rest_tickets;
pub mod salesforce;
mod server;
pub mod ticket_system;
pub mod zendesk;

use std::path::PathBuf;

pub use alert_webhook::AlertWebhook;
pub use faults::{Fault, FaultRule, Faults};
pub use hubspot::HubSpot;
pub use jira::Jira;
pub use nylas::{GeneratedContacts, Grant, Nylas, generated_contact, generated_crm_contact};
pub use nylas_webhook::NylasWebhook;
pub use pipedrive::Pipedrive;
pub use rest_crm::{ContactField, CrmContact, RestCrm};
pub use rest_tickets::RestTickets;
pub use salesforce::Salesforce;
pub use server::{Call, CallLog};
pub use ticket_system::TicketStandIn;
pub use zendesk::Zendesk;

/// Why a stand-in could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// The port is taken, or this machine does not let us listen.
    #[error("cannot listen on {address}: {source}; choose another port or stop what listens there")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The thread or its runtime could not be started.
    #[error("cannot start the stand-in's thread: {0}")]
    Thread(std::io::Error),
    /// A file with seeds cannot be read.
    #[error("cannot read the seed file {path}: {source}")]
    SeedFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file with seeds does not hold what it should.
    #[error("the seed file {path} is not what the stand-in takes: {source}")]
    SeedFormat {
        /// The file.
        path: PathBuf,
        /// Where it departs from the format.
        source: serde_json::Error,
    },
    /// A shipped `OpenAPI` document cannot be used.
    #[error("a shipped OpenAPI document is unusable: {0}")]
    Document(String),
    /// A test speaks of a grant that was never connected.
    #[error("no grant has the id {0}; connect it with add_grant first")]
    UnknownGrant(String),
    /// A test speaks of a contact that the CRM does not have.
    #[error("no contact of the CRM has the id {0}; make it known with add_contact first")]
    UnknownContact(String),
    /// A seed speaks of a notetaker in a way that the stand-in does not take.
    #[error("the notetaker {id} is not what the stand-in takes: {problem}")]
    Notetaker {
        /// The notetaker's id, as far as it has one.
        id: String,
        /// Where it departs from the format.
        problem: String,
    },
    /// The HTTP client of the webhook sender could not be built.
    #[error("cannot build the HTTP client of the webhook sender: {0}")]
    Client(reqwest::Error),
}

/// What starting a stand-in gives.
pub type Result<T> = std::result::Result<T, StandInError>;

/// Reads a JSON file of seeds.
fn read_seeds<T: serde::de::DeserializeOwned>(path: &std::path::Path) -> Result<T> {
    let text =
        std::fs::read_to_string(path).map_err(|source| StandInError::SeedFile { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| StandInError::SeedFormat { path: path.to_owned(), source })
}

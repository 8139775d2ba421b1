//! Salesforce: contacts and leads looked up and kept fresh many at a time, meetings written as events, mails, notes and
//! action items as tasks.
//!
//! Every record that is written bears our key in a custom field of activities: the second net under our own table. Where
//! that field is an external id, a record is created by an upsert, which may be repeated.

mod activities;
mod contacts;
mod deals;
mod dialect;
mod keys;
mod sign_in;
mod soql;
mod users;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use tokio::sync::Mutex;

use crate::engine::Links;
use crate::field_map::FieldMaps;
use crate::http::ApiClient;
use crate::written::Written;
use keys::{KeyField, Seen};
use users::Users;

pub use dialect::dialect;
pub use sign_in::mint;

/// The name of the system in field maps and in what is remembered of it.
pub const SYSTEM: &str = "salesforce";

/// Where everything goes, unless a user says otherwise.
pub const FIELDS: &str = include_str!("salesforce.toml");

/// The version of the API that is spoken.
const API_VERSION: &str = "v63.0";

/// The adapter.
pub struct SalesforceCrm<L> {
    client: ApiClient,
    written: Written<L>,
    fields: FieldMaps,
    users: Users,
    keys: Mutex<HashMap<KeyField, Seen>>,
    has_told_of_deals: AtomicBool,
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// Speaks through the given client, which must speak the [`dialect`] and sign in by a [`mint`]; what was written is
    /// kept in `written`.
    #[must_use]
    pub fn new(client: ApiClient, written: Written<L>, fields: FieldMaps) -> Self {
        Self {
            client,
            written,
            fields,
            users: Users::default(),
            keys: Mutex::default(),
            has_told_of_deals: AtomicBool::new(false),
        }
    }
}

/// The objects that are written or looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    Contact,
    Lead,
    Event,
    Task,
}

impl Object {
    /// The name in paths and queries.
    const fn name(self) -> &'static str {
        match self {
            Self::Contact => "Contact",
            Self::Lead => "Lead",
            Self::Event => "Event",
            Self::Task => "Task",
        }
    }

    /// What errors call one of them.
    const fn what(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::Lead => "lead",
            Self::Event => "event",
            Self::Task => "task",
        }
    }

    /// The object of a person by its id, whose first three characters name the object (Salesforce Help, "Standard Field
    /// Record ID Prefix Decoder"); none if it can be no id of a person.
    fn of_person(id: &str) -> Option<Self> {
        let is_id = matches!(id.len(), 15 | 18) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match id.get(..3).filter(|_| is_id)? {
            "003" => Some(Self::Contact),
            "00Q" => Some(Self::Lead),
            _ => None,
        }
    }
}

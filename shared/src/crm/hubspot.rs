//! HubSpot: contacts looked up and kept fresh in batches, activities written under keys of ours.
//!
//! Every record that is written bears our key in a property of its own, which is unique where the account allows it:
//! the second net under our own table.

mod activities;
mod contacts;
mod dialect;
mod owners;
mod set_up;
mod wire;

#[cfg(test)]
mod tests;

use reqwest::Method;
use serde_json::Value;
use std::collections::HashMap;
use tokio::sync::Mutex;

use crate::crm::collection_is_missing;
use crate::engine::{Deadline, Links};
use crate::field_map::FieldMaps;
use crate::http::{ApiClient, ApiRequest, CallError};
use crate::written::Written;
use owners::Owners;
use set_up::Readiness;
use wire::{Base, OBJECTS, Page, Record};

pub use dialect::dialect;

/// The name of the system in field maps and in what is remembered of it.
pub const SYSTEM: &str = "hubspot";

/// Where everything goes, unless a user says otherwise.
pub const FIELDS: &str = include_str!("hubspot.toml");

/// The adapter.
pub struct HubSpotCrm<L> {
    client: ApiClient,
    written: Written<L>,
    fields: FieldMaps,
    owners: Owners,
    ready: Mutex<HashMap<Kind, Readiness>>,
    found_by_other_addresses: Mutex<Option<bool>>,
}

/// A kind of record that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Mail,
    Meeting,
    Notes,
    Task,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Mail, Self::Meeting, Self::Notes, Self::Task];

    /// HubSpot's name of the kind, as paths have it.
    const fn object(self) -> &'static str {
        match self {
            Self::Mail => "emails",
            Self::Meeting => "meetings",
            Self::Notes => "notes",
            Self::Task => "tasks",
        }
    }

    /// Its part of the field map.
    const fn section(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Meeting => "meeting",
            Self::Notes => "notes",
            Self::Task => "task",
        }
    }

    /// What errors call one of them.
    const fn what(self) -> &'static str {
        match self {
            Self::Mail => "email",
            Self::Meeting => "meeting",
            Self::Notes => "note",
            Self::Task => "task",
        }
    }

    /// The number of its association with a contact (`AssociationTypes` of HubSpot's official client).
    const fn to_contact(self) -> u32 {
        match self {
            Self::Mail => 198,
            Self::Meeting => 200,
            Self::Notes => 202,
            Self::Task => 204,
        }
    }

    /// The number of its association with a deal.
    const fn to_deal(self) -> u32 {
        match self {
            Self::Mail => 210,
            Self::Meeting => 212,
            Self::Notes => 214,
            Self::Task => 216,
        }
    }

    /// What there is to map of it.
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Mail => &[
                "key",
                "subject",
                "text",
                "direction",
                "time",
                "participants",
                "owner",
                "from",
                "to",
                "cc",
                "thread_id",
                "grant_id",
            ],
            Self::Meeting => &[
                "key",
                "subject",
                "text",
                "time",
                "start",
                "end",
                "location",
                "link",
                "status",
                "owner",
                "organizer",
                "grant_id",
                "master_event_id",
            ],
            Self::Notes => &["key", "text", "time", "subject"],
            Self::Task => &["key", "subject", "text", "due", "owner", "status"],
        }
    }
}

impl<L: Links + Send + Sync> HubSpotCrm<L> {
    /// Speaks through the given client, which must speak the [`dialect`]; what was written is kept in `written`.
    #[must_use]
    pub fn new(client: ApiClient, written: Written<L>, fields: FieldMaps) -> Self {
        Self {
            client,
            written,
            fields,
            owners: Owners::default(),
            ready: Mutex::default(),
            found_by_other_addresses: Mutex::default(),
        }
    }

    fn call(&self, method: Method, base: &Base, path: &[&str], what: &'static str) -> ApiRequest<'_> {
        let segments: Vec<&str> = base.iter().chain(path).copied().collect();
        self.client.request(method, &segments, what)
    }

    async fn search(&self, object: &str, body: &Value, deadline: Deadline) -> Result<Page<Record>, CallError> {
        let request = self.call(Method::POST, OBJECTS, &[object, "search"], "search").json(body);
        request.read(deadline).await.map_err(collection_is_missing)
    }
}

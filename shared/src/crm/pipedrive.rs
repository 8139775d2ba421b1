//! Pipedrive: persons, deals and activities through its API v2; notes, users and activity types, which v2 does not have,
//! through v1.
//!
//! An activity has no field for a key of ours and no custom fields, so what was written is kept in the table of links, and
//! a line at the end of its text (`ref nylas:…`) tells it after a try that was cut short.

mod activities;
mod contacts;
mod dialect;
mod page;
mod set_up;
mod users;
mod wire;

pub use dialect::{API_TOKEN, LOGIN_URL, dialect, mint};

use contacts::SearchPace;
use users::Users;

use crate::field_map::FieldMaps;
use crate::http::{ApiClient, CallError};
use crate::written::Written;

/// The short name of the system: in the field map, and in the table of what was written.
pub const SYSTEM: &str = "pipedrive";

/// Which of our fields goes where, unless users say otherwise.
pub const FIELDS: &str = include_str!("pipedrive.toml");

/// The adapter.
pub struct PipedriveCrm<L> {
    client: ApiClient,
    written: Written<L>,
    fields: FieldMaps,
    users: Users,
    search_pace: SearchPace,
    held: set_up::Held,
}

impl<L> PipedriveCrm<L> {
    /// Speaks through the given client, whose base URL is `https://{company}.pipedrive.com` and which speaks [`dialect`].
    #[must_use]
    pub fn new(client: ApiClient, written: Written<L>, fields: FieldMaps) -> Self {
        Self {
            client,
            written,
            fields,
            users: Users::default(),
            search_pace: SearchPace::default(),
            held: set_up::Held::default(),
        }
    }
}

/// An id as Pipedrive takes it: v2 takes no number in quotes. What is no number is no id of its.
fn number_of(client: &ApiClient, id: &str, what: &'static str) -> Result<u64, CallError> {
    id.parse().map_err(|_| CallError::NotFound { api: client.name(), what, gone: false })
}

#[cfg(test)]
mod tests;

//! calendar-sync: the meetings in the CRM are what the calendars say.
//!
//! The rules, pure:
//! - [`copies`]: one meeting on several connected calendars: which copy counts, whatever the order of the news.
//! - [`meeting`]: what an event becomes in the CRM, and which events become nothing.
//! - [`notes`]: a description without the boilerplate of invitations.
//! - [`series`]: which meetings the master of a series stands for.
//!
//! What carries them out:
//! - [`process`]: one event, from the news of it to the decision.
//! - [`index`]: which meeting a copy belongs to, by its ids alone.
//! - [`keep`]: makes the CRM show a meeting, whoever else works on it.
//! - [`lay_out`]: does so for every occurrence of a series, in slices.
//! - [`backfill`]: does so for everything in a span of time, page by page.
//! - [`reconcile`]: finds what Nylas has not notified of.
//! - [`roster`]: what a calendar held the night before, so that a deletion nobody told of is found.
//! - [`account`]: accounts that are lost and come back.

pub mod account;
pub mod backfill;
pub mod copies;
pub mod index;
pub mod keep;
pub mod lay_out;
pub mod meeting;
pub mod notes;
pub mod process;
pub mod reconcile;
pub mod roster;
pub mod series;

pub use process::{CalendarSync, Further, Ports, Provision, ReadEvents, Settings};

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "calendar-sync";

//! calendar-sync: the meetings in the CRM are what the calendars say. The rules, pure; what carries them out follows.
//!
//! - [`copies`]: one meeting on several connected calendars: which copy counts, whatever the order of the news.
//! - [`index`]: which meeting a copy belongs to, by its ids alone.
//! - [`keep`]: makes the CRM show it, whoever else works on the same meeting.
//! - [`lay_out`]: does so for every occurrence of a series, in slices.
//! - [`meeting`]: what an event becomes in the CRM, and which events become nothing.
//! - [`notes`]: a description without the boilerplate of invitations.
//! - [`process`]: carries it out for one event.
//! - [`series`]: which meetings the master of a series stands for.

pub mod copies;
pub mod index;
pub mod keep;
pub mod lay_out;
pub mod meeting;
pub mod notes;
pub mod process;
pub mod series;

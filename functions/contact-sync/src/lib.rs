//! contact-sync: every night the phones, titles and companies of the address books go to the CRM: only what changed, and
//! never over a person's own edit.
//!
//! Pure:
//! - [`address_book`]: a contact as Nylas hands it over, reduced to what matters.
//! - [`phone`]: which number counts, how it is written, when two are the same.
//! - [`person`]: whose word counts, and what may be written.
//! - [`remembered`]: what is remembered of a contact, so that an unchanged one costs nothing.
//! - [`tally`]: what a run came to.
//!
//! What carries it out:
//! - [`process`]: what to do with a message; one contact that has changed.
//! - [`run`]: a run of all accounts, from its start to its report.
//! - `share`: one account's share of it, page by page.
//! - `keep`: some contacts at a time: looked up, decided, written.
//! - [`ports`]: what all of it needs of the outside.

pub mod address_book;
mod keep;
pub mod person;
pub mod phone;
pub mod ports;
pub mod process;
pub mod remembered;
pub mod run;
mod share;
pub mod tally;

pub use process::{ContactSync, Settings};

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "contact-sync";

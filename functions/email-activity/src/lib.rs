//! email-activity: one activity in the CRM for every mail between the company and someone the CRM knows.
//!
//! - [`mail`]: the rules, pure: which mail is wanted, which way it went. What holds for every function that reads mail
//!   is [`shared::mail`].
//! - [`process`]: carries a decision out: looks addresses up, has fetched what is missing, logs the activity, remembers
//!   what the mail became.
//! - [`reconcile`]: brings what Nylas has not notified of, and what nobody in the CRM was known for at first.

pub mod mail;
mod process;
mod reconcile;

pub use process::{EmailActivity, Ports, Provision, Settings};

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "email-activity";

//! email-activity: one activity in the CRM for every mail between the company and someone the CRM knows.
//!
//! - [`mail`]: the rules, pure: which mail is wanted, which way it went, who is on it, whose deal it is.
//! - [`process`]: carries a decision out: looks addresses up, logs the activity, remembers what the mail became.

mod mail;
mod process;

pub use process::{EmailActivity, FetchMessage};

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "email-activity";

//! ticket-triage: every support mail becomes a ticket at the right desk, or one more comment in the ticket that it belongs
//! to; an incident wakes people at once; and no machine is answered by this one.
//!
//! - [`screen`], [`ticket`], [`storm`], [`acknowledgement`]: the rules, pure. What a mail is about is judged by
//!   [`shared::triage`], whose rules are data.
//! - [`plan`]: what is done with one mail, decided before anything is done.
//! - [`process`]: carries it out, and remembers what became of it ([`store`]).
//! - [`follow`]: alerts and acknowledgements, which follow from a ticket.
//! - [`reconcile`]: brings what Nylas has not notified of.
//! - [`ports`], [`deployed`]: what the function needs of the outside, and what it is set to.

pub mod acknowledgement;
pub mod deployed;
mod follow;
mod plan;
pub mod ports;
mod process;
mod reconcile;
pub mod screen;
mod store;
pub mod storm;
pub mod ticket;

pub use deployed::{Deployed, Further};
pub use process::Triage;

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "ticket-triage";

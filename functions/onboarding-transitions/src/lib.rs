//! onboarding-transitions: every new customer gets the welcome, the nudge and the kickoff call, without anyone watching.
//!
//! The rules, pure:
//! - [`table`]: where a customer stands, what happens, and what follows; [`drawing`] draws it.
//! - [`apply`]: what news does to a customer's record.
//! - [`customer`]: that record.
//! - [`evidence`]: what a sign of life is worth.
//! - [`step`]: the mails of a run and their labels.
//! - [`mail`], [`page`]: what the mails and the booking page say.
//! - [`slots`], [`hours`]: when mails may go.
//! - [`tracking`], [`bookings`]: what Nylas tells, in each of its shapes.
//!
//! What carries them out:
//! - [`process`]: takes each message to its customer.
//! - [`hold`]: one works on a customer at a time.
//! - [`tasks`], [`send`]: do what is to be done, each thing once.
//! - [`turns`]: whose turn it is to be sent.
//! - [`deployed`]: the ports of the deployed function.

pub mod apply;
pub mod bookings;
pub mod customer;
pub mod deployed;
pub mod drawing;
pub mod evidence;
pub mod hold;
pub mod hours;
pub mod mail;
pub mod page;
pub mod ports;
pub mod process;
pub mod send;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
pub mod slots;
pub mod step;
pub mod table;
pub mod tasks;
pub mod tracking;
pub mod turns;

pub use deployed::{Deployed, Further};
pub use process::Onboarding;

/// The name of this function, as it stands in keys, metrics and dead letters.
pub const FUNCTION: &str = "onboarding-transitions";

//! The webhook ingress: verify, route, queue, answer. Nothing else.
//!
//! - [`signature`]: HMAC over the bytes as they were sent; only what is verified can be queued.
//! - [`secrets`]: the live webhook secrets, re-read when an unknown signature arrives.
//! - [`inflate`]: compressed bodies, within bounds.
//! - [`clock`]: the clocks that the age of what is known is judged by.
//! - [`ingress`]: the two endpoints, and what each answers.
//!
//! No CRM, no database and no HTTP client is linked here, and only the envelope of a body is read.

mod clock;
mod configuration;
mod inflate;
mod ingress;
mod secrets;
mod signature;

pub use clock::{Clock, Moment};
pub use configuration::Configuration;
pub use ingress::Ingress;

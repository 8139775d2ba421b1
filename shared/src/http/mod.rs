//! Outgoing HTTP, guarded: one connection pool a process, time-outs inside the time that is left, a rate cap,
//! a breaker a host, and errors that say whether another try makes sense.

mod breaker;
mod client;
pub mod dialect;
mod mint;

pub use breaker::{Breaker, BreakerState};
pub use client::{ApiClient, ApiRequest, ApiSettings, CallError, Credential, FailureClasses, Reply, http_client};
pub use dialect::{Authorization, Dialect, Judgement};
pub use mint::{Ask, Mint, TokenRequest};

//! The pure core: what a message is, who wrote it, what was decided, when to try again.
//!
//! Nothing here performs input or output, reads a clock or knows a vendor's format beyond the Nylas envelope.
//! Time and chance come in as arguments, so every rule can be tested as a plain function.

pub mod address;
pub mod backoff;
pub mod customer_event;
pub mod decision;
pub mod digest;
pub mod failure;
pub mod link;
pub mod mail_class;
pub mod media;
pub mod never_log;
pub mod notification;
pub mod own_mail;
pub mod pattern;
pub mod pointer;
pub mod queue_message;
pub mod routing;
pub mod webhook_secrets;

//! The bodies of notifications that the Nylas stand-in can be told to make, for a test or the demo to deliver.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Api;

/// The application of the sample notifications.
pub(super) const APPLICATION_ID: &str = "b8c1f6e0-3d57-4b1a-9d0e-6f2a7c4e1b90";

/// Why the running stand-in could not do what a test told it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such grant.
    #[error("no grant has the id {0}; connect it with add_grant first")]
    UnknownGrant(String),
    /// No such message in the mailbox.
    #[error("the mailbox holds no message {0}; send it or put it there first")]
    UnknownMessage(String),
    /// No mail with this id was sent.
    #[error("no mail with the id {0} was sent through the stand-in")]
    NotSent(String),
    /// The mail was sent without this kind of tracking.
    #[error("the mail {message_id} was sent without tracking of {what}; set it in tracking_options")]
    NotTracked {
        /// The mail.
        message_id: String,
        /// `opens`, `links` or `thread_replies`.
        what: &'static str,
    },
    /// The mail has no link at this place.
    #[error("the mail {message_id} has no tracked link {index}; they are counted from 0")]
    NoSuchLink {
        /// The mail.
        message_id: String,
        /// The place that was asked for.
        index: usize,
    },
    /// No such scheduling configuration.
    #[error("there is no scheduling configuration {0}; create it first")]
    UnknownConfiguration(String),
    /// No such booking.
    #[error("there is no booking {0}; make it with book first")]
    UnknownBooking(String),
    /// The booking was cancelled before.
    #[error("the booking {0} is cancelled already; make another one with book")]
    BookingCancelled(String),
    /// No such webhook.
    #[error("there is no webhook {0}; create it first")]
    UnknownWebhook(String),
    /// The webhook does not get this type.
    #[error("the webhook {webhook_id} is not subscribed to {kind}; name it in its trigger_types")]
    NotSubscribed {
        /// The webhook.
        webhook_id: String,
        /// The type.
        kind: String,
    },
}

/// What controls of the running stand-in give.
pub(super) type Controlled<T> = std::result::Result<T, ControlError>;

impl Api {
    /// A notification with an id of its own, around what is `data` in it.
    pub(super) fn notification(&self, kind: &str, source: &str, time: i64, mut data: Value) -> Value {
        let id = self.fresh_digest(kind);
        data["application_id"] = APPLICATION_ID.into();
        json!({
            "specversion": "1.0",
            "type": kind,
            "source": source,
            "id": URL_SAFE_NO_PAD.encode(&id.as_bytes()[..16]),
            "time": time,
            "data": data,
        })
    }
}

//! Sending a message to a queue: as it is, or as a pointer when one queue message cannot carry it.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};

use super::bodies::ArchiveBodies;
use super::describe;
use crate::domain::pointer;
use crate::domain::queue_message::GroupId;

/// Where a message goes in a FIFO queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FifoPlace {
    /// Its group.
    pub group: GroupId,
    /// Its deduplication id.
    pub deduplication_id: String,
}

/// A message was not accepted; nothing is lost, because the sender still holds it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// By the queue.
    #[error("the queue {queue} did not take a message: {problem}")]
    Queue {
        /// Its URL.
        queue: String,
        /// Why.
        problem: String,
    },
    /// By the archive bucket.
    #[error(transparent)]
    Bucket(#[from] super::bodies::NotStored),
}

/// Sends messages to queues.
#[derive(Debug, Clone)]
pub struct Outbox {
    client: Client,
    bodies: ArchiveBodies,
}

/// A body in the form in which it travels: made once, sent to every queue that wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packed<'a> {
    /// It fits.
    Inline(&'a str),
    /// It lies in the archive bucket.
    Pointer(String),
}

impl Packed<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Inline(text) => text,
            Self::Pointer(text) => text,
        }
    }
}

impl Outbox {
    /// Sends through the given configuration.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, bodies: ArchiveBodies) -> Self {
        Self { client: Client::new(config), bodies }
    }

    /// Prepares a body for the queue, storing it in the archive bucket if it must go there.
    pub async fn pack<'a>(&self, body: &'a [u8]) -> Result<Packed<'a>, SendError> {
        match pointer::inline(body).filter(|text| !text.is_empty()) {
            Some(text) => Ok(Packed::Inline(text)),
            None => Ok(Packed::Pointer(self.bodies.store(body).await?.to_message())),
        }
    }

    /// Sends a message. `place` is absent for a standard queue; `trace` is the X-Ray header that the message carries on.
    pub async fn send(
        &self,
        queue: &str,
        body: &Packed<'_>,
        place: Option<&FifoPlace>,
        trace: Option<&str>,
    ) -> Result<(), SendError> {
        let mut message = self.client.send_message().queue_url(queue).message_body(body.text());
        if let Some(place) = place {
            message = message.message_group_id(place.group.as_str()).message_deduplication_id(&place.deduplication_id);
        }
        if let Some(header) = trace.and_then(trace_attribute) {
            message = message.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
        }
        match message.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(SendError::Queue { queue: queue.to_owned(), problem: describe(&error) }),
        }
    }
}

/// The trace header as SQS takes it.
pub(crate) fn trace_attribute(trace: &str) -> Option<MessageSystemAttributeValue> {
    MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build().ok()
}

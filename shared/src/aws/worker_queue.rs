//! A worker's own queue and its dead-letter queue in SQS, and the queues of others that jobs are put into.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeNameForSends};
use std::time::Duration;

use super::describe;
use super::outbox::trace_attribute;
use crate::domain::digest::sha256_hex;
use crate::domain::queue_message::{GroupId, queue_accepts};
use crate::engine::{DeadLetter, OwnMessage, Queue, SendToQueue, StoreError};
use crate::trace;

/// SQS hides a message for 12 hours at most, counted from its receipt.
const MAX_VISIBILITY: Duration = Duration::from_mins(12 * 60 - 2);

/// The longest reason a dead letter carries, in characters. Attributes count towards the size of the message.
const MAX_REASON: usize = 1000;

/// The queue that a worker reads, and the one its dead letters go to.
#[derive(Debug, Clone)]
pub struct WorkerQueue {
    client: Client,
    queue_url: String,
    dead_letter_queue_url: String,
}

impl WorkerQueue {
    /// The queues with the given URLs.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, queue_url: String, dead_letter_queue_url: String) -> Self {
        Self { client: Client::new(config), queue_url, dead_letter_queue_url }
    }
}

impl Queue for WorkerQueue {
    async fn hide(&self, receipt_handle: &str, wait: Duration) -> Result<(), StoreError> {
        // Rounded up: showing a message a moment too soon would only have it handed back once more.
        let seconds = wait.min(MAX_VISIBILITY).as_nanos().div_ceil(1_000_000_000);
        self.client
            .change_message_visibility()
            .queue_url(&self.queue_url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(|error| StoreError(format!("{}: {}", self.queue_url, describe(&error))))?;
        Ok(())
    }

    async fn dead_letter(&self, letter: &DeadLetter<'_>) -> Result<(), StoreError> {
        // A group of its own: a FIFO queue shows few messages of one group at a time, and dead letters are looked
        // through, not worked off in order.
        let group = GroupId::of("dead_letter", letter.message_id);
        let deduplication_id = sha256_hex(&[b"dead_letter:", letter.message_id.as_bytes()]);
        let first = letter.first_failed_at.to_string();
        let last = letter.last_failed_at.to_string();
        let reason = acceptable(letter.reason);
        let notification = acceptable(letter.notification);
        let mut send = self
            .client
            .send_message()
            .queue_url(&self.dead_letter_queue_url)
            .message_body(letter.body)
            .message_group_id(group.as_str())
            .message_deduplication_id(deduplication_id);
        for (name, value) in [
            ("reason", reason.as_str()),
            ("class", letter.class),
            ("function", letter.function),
            ("notification_id", notification.as_str()),
            ("source_group", letter.source_group.unwrap_or("none")),
            ("first_failed_at", &first),
            ("last_failed_at", &last),
        ] {
            send = send.message_attributes(name, text_attribute(value)?);
        }
        if let Some(header) = letter.trace.and_then(trace_attribute) {
            send = send.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
        }
        send.send()
            .await
            .map_err(|error| StoreError(format!("{}: {}", self.dead_letter_queue_url, describe(&error))))?;
        Ok(())
    }
}

impl SendToQueue for WorkerQueue {
    async fn send(&self, message: &OwnMessage) -> Result<(), StoreError> {
        send(&self.client, &self.queue_url, message).await
    }
}

/// The queue of another function, which jobs are put into.
#[derive(Debug, Clone)]
pub struct JobQueue {
    client: Client,
    queue_url: String,
}

impl JobQueue {
    /// The queue with the given URL.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, queue_url: String) -> Self {
        Self { client: Client::new(config), queue_url }
    }
}

impl SendToQueue for JobQueue {
    async fn send(&self, message: &OwnMessage) -> Result<(), StoreError> {
        send(&self.client, &self.queue_url, message).await
    }
}

/// Sends a message. It carries on the trace of the message or the invocation that it is sent for.
async fn send(client: &Client, queue_url: &str, message: &OwnMessage) -> Result<(), StoreError> {
    let mut send = client
        .send_message()
        .queue_url(queue_url)
        .message_body(&message.body)
        .message_group_id(message.group.as_str())
        .message_deduplication_id(&message.deduplication_id);
    if let Some(header) = trace::current().as_deref().and_then(trace_attribute) {
        send = send.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
    }
    send.send().await.map_err(|error| StoreError(format!("{queue_url}: {}", describe(&error))))?;
    Ok(())
}

fn text_attribute(value: &str) -> Result<MessageAttributeValue, StoreError> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .map_err(|error| StoreError(error.to_string()))
}

/// Cuts a text to what an attribute should hold and drops characters that SQS refuses; an attribute is never empty.
fn acceptable(text: &str) -> String {
    let text: String =
        text.chars().filter(|character| queue_accepts(character.encode_utf8(&mut [0; 4]))).take(MAX_REASON).collect();
    if text.is_empty() { "none".to_owned() } else { text }
}

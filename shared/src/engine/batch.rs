//! An SQS event read into messages, record by record, so that one odd record cannot spoil the others.

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use jiff::Timestamp;

/// One message as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    /// SQS's id of the message: what a batch item failure names.
    pub message_id: String,
    /// The handle of this receipt.
    pub receipt_handle: String,
    /// The text it carries.
    pub body: String,
    /// Its group; absent in a standard queue.
    pub group: Option<String>,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// How often it has been received, this time included.
    pub receive_count: u32,
    /// The trace it belongs to.
    pub trace: Option<String>,
}

/// The event cannot be answered record by record, so the whole batch must come back.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// Without an id a record can be neither completed nor returned on its own: an empty identifier in the answer
    /// fails the whole batch at AWS.
    #[error("record {position} of the batch has no {field}; is the function invoked by something else than SQS?")]
    Nameless {
        /// Its place in the batch, counted from 0.
        position: usize,
        /// What it lacks.
        field: &'static str,
    },
}

/// Reads the messages of an event, in the order in which they came.
pub fn messages_of(event: SqsEvent) -> Result<Vec<QueueMessage>, BatchError> {
    event.records.into_iter().enumerate().map(|(position, record)| message_of(position, record)).collect()
}

fn message_of(position: usize, record: SqsMessage) -> Result<QueueMessage, BatchError> {
    let named = |field: &'static str, value: Option<String>| {
        value.filter(|value| !value.is_empty()).ok_or(BatchError::Nameless { position, field })
    };
    let attribute = |name: &str| record.attributes.get(name);
    Ok(QueueMessage {
        message_id: named("messageId", record.message_id)?,
        receipt_handle: named("receiptHandle", record.receipt_handle)?,
        group: attribute("MessageGroupId").cloned(),
        sent_at: attribute("SentTimestamp")
            .and_then(|milliseconds| milliseconds.parse().ok())
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
            // A message without a time is taken as new: it is tried for the whole time allowed.
            .unwrap_or_else(Timestamp::now),
        receive_count: attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1),
        trace: attribute("AWSTraceHeader").cloned(),
        // A record without a body is kept as an unreadable one; it must not count as done.
        body: record.body.unwrap_or_default(),
    })
}

/// Splits messages into groups: each in its own order, groups in the order of their first message.
/// A message without a group is a group of its own.
pub(super) fn by_group(messages: Vec<QueueMessage>) -> Vec<Vec<QueueMessage>> {
    let mut groups: Vec<Vec<QueueMessage>> = Vec::new();
    for message in messages {
        let standing = groups
            .iter_mut()
            .find(|group| message.group.is_some() && group.first().is_some_and(|first| first.group == message.group));
        match standing {
            Some(group) => group.push(message),
            None => groups.push(vec![message]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(records: &serde_json::Value) -> SqsEvent {
        serde_json::from_value(serde_json::json!({ "Records": records })).expect("an SQS event")
    }

    #[test]
    fn record_without_an_id_fails_the_batch_by_name_rather_than_with_an_empty_identifier() {
        for record in [
            serde_json::json!({"body": "x", "receiptHandle": "r"}),
            serde_json::json!({"messageId": "", "receiptHandle": "r"}),
        ] {
            assert_eq!(
                messages_of(event(&serde_json::json!([record]))),
                Err(BatchError::Nameless { position: 0, field: "messageId" })
            );
        }
    }

    #[test]
    fn record_without_a_body_is_kept() {
        let messages =
            messages_of(event(&serde_json::json!([{"messageId": "m", "receiptHandle": "r"}]))).expect("messages");
        assert_eq!(messages[0].body, "");
        assert_eq!(messages[0].receive_count, 1);
    }

    #[test]
    fn groups_keep_their_order_and_messages_without_a_group_stand_alone() {
        let record = |id: &str, group: Option<&str>| {
            serde_json::json!({"messageId": id, "receiptHandle": "r", "body": "",
                "attributes": group.map_or(serde_json::json!({}), |group| serde_json::json!({"MessageGroupId": group}))})
        };
        let messages = messages_of(event(&serde_json::json!([
            record("1", Some("a")),
            record("2", Some("b")),
            record("3", Some("a")),
            record("4", None),
            record("5", None),
        ])))
        .expect("messages");
        let ids: Vec<Vec<String>> = by_group(messages)
            .into_iter()
            .map(|group| group.into_iter().map(|message| message.message_id).collect())
            .collect();
        assert_eq!(ids, [vec!["1", "3"], vec!["2"], vec!["4"], vec!["5"]]);
    }
}

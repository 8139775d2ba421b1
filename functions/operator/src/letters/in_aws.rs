//! The dead-letter queues in SQS, the records in DynamoDB, and the letters that were set aside in S3.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    QueueAttributeName,
};
use jiff::{Timestamp, ToSpan};
use shared::aws::{SdkConfig, describe};
use shared::engine::{StoreError, sortable};
use std::collections::HashMap;

use super::letter::{Letter, PARKED_PREFIX};
use super::ports::{
    DeadLetterQueues, LetterRecords, Note, Noted, ParkedLetters, Queues, Received, Record, Returned, Settled, Settling,
    WorkerQueues,
};
use crate::stack_map::{StackMap, WORKERS};

/// How long what was received stays hidden, in seconds: longer than a queue may be looked through, for a message can be
/// deleted only while it is hidden, and short enough that it is soon there again after a crash.
const HIDDEN_SECONDS: i32 = 120;

/// The most messages that SQS hands over at a time.
const RECEIVED_AT_ONCE: i32 = 10;

/// How long SQS looks for a message, in seconds. Without this it asks only some of its servers, and may say that there is
/// nothing when there is.
const LOOKED_FOR_SECONDS: i32 = 1;

/// How long a record lives, in hours: as long as what was set aside.
const LIFE_HOURS: i64 = 35 * 24;

/// The dead letters of a stack.
#[derive(Debug, Clone)]
pub struct AwsLetters {
    sdk: SdkConfig,
    stack_id: String,
    sqs: aws_sdk_sqs::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    table: String,
    bucket: String,
}

impl AwsLetters {
    /// The dead letters of the stack with this id, its decision table and its archive bucket.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String, table: String, bucket: String) -> Self {
        // Path-style addresses work with every endpoint, a local one included.
        let s3 = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true).build();
        Self {
            sdk: sdk.clone(),
            stack_id,
            sqs: aws_sdk_sqs::Client::new(sdk),
            dynamodb: aws_sdk_dynamodb::Client::new(sdk),
            s3: aws_sdk_s3::Client::from_conf(s3),
            table,
            bucket,
        }
    }

    fn not_read(&self, problem: &str) -> StoreError {
        StoreError(format!("the table {} could not be read: {problem}", self.table))
    }

    fn not_written(&self, problem: &str) -> StoreError {
        StoreError(format!("the table {} could not be written: {problem}", self.table))
    }

    fn not_archived(&self, problem: &str) -> StoreError {
        StoreError(format!("the archive bucket {} did not do what was asked: {problem}", self.bucket))
    }
}

impl DeadLetterQueues for AwsLetters {
    async fn queues(&self) -> Result<Queues, StoreError> {
        let map = StackMap::read(&self.sdk, &self.stack_id).await?;
        let workers = WORKERS.iter().map(|(name, function)| {
            let queue = map.queue_url(name)?.to_owned();
            let dead_letters = map.dead_letter_queue_url(name)?.to_owned();
            Ok(WorkerQueues { function, queue, dead_letters })
        });
        let workers = workers.collect::<Result<_, StoreError>>()?;
        Ok(Queues { workers, schedules: map.resource("SchedulerDeadLetterQueue")?.to_owned() })
    }

    async fn count(&self, queue: &str) -> Result<u64, StoreError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let asked = self.sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
        let output = asked.send().await.map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))?;
        let attributes = output.attributes.unwrap_or_default();
        Ok(names.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum())
    }

    async fn receive(&self, queue: &str) -> Result<Vec<Received>, StoreError> {
        let output = self
            .sqs
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(RECEIVED_AT_ONCE)
            .visibility_timeout(HIDDEN_SECONDS)
            .wait_time_seconds(LOOKED_FOR_SECONDS)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .message_system_attribute_names(MessageSystemAttributeName::AwsTraceHeader)
            .send()
            .await
            .map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))?;
        Ok(output.messages.unwrap_or_default().into_iter().map(received).collect())
    }

    async fn show_again(&self, queue: &str, receipt: &str) -> Result<(), StoreError> {
        let shown = self.sqs.change_message_visibility().queue_url(queue).receipt_handle(receipt).visibility_timeout(0);
        shown.send().await.map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))?;
        Ok(())
    }

    async fn delete(&self, queue: &str, receipt: &str) -> Result<(), StoreError> {
        let deleted = self.sqs.delete_message().queue_url(queue).receipt_handle(receipt).send().await;
        deleted.map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))?;
        Ok(())
    }

    async fn send(&self, queue: &str, message: &Returned<'_>) -> Result<(), StoreError> {
        let mut send = self
            .sqs
            .send_message()
            .queue_url(queue)
            .message_body(message.body)
            .message_group_id(message.group)
            .message_deduplication_id(message.deduplication_id);
        let header =
            |trace| MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build().ok();
        if let Some(header) = message.trace.and_then(header) {
            send = send.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, header);
        }
        send.send().await.map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))?;
        Ok(())
    }
}

fn received(message: Message) -> Received {
    let system = message.attributes.unwrap_or_default();
    let attributes = message.message_attributes.unwrap_or_default();
    let sent_at = system.get(&MessageSystemAttributeName::SentTimestamp).and_then(|sent| sent.parse().ok());
    Received {
        message_id: message.message_id.unwrap_or_default(),
        receipt: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        attributes: attributes.into_iter().filter_map(|(name, value)| Some((name, value.string_value?))).collect(),
        sent_at: sent_at.and_then(|sent| Timestamp::from_millisecond(sent).ok()),
        group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
        trace: system.get(&MessageSystemAttributeName::AwsTraceHeader).cloned(),
    }
}

impl LetterRecords for AwsLetters {
    async fn records(&self, function: &str, most: usize) -> Result<(Vec<Record>, bool), StoreError> {
        let mut pages = self
            .dynamodb
            .query()
            .table_name(&self.table)
            .index_name("dead-letters")
            .key_condition_expression("dead_lettered_by = :function")
            .expression_attribute_values(":function", text(function))
            .into_paginator()
            .send();
        let mut records = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.not_read(&describe(&error)))?;
            for item in page.items.unwrap_or_default() {
                if records.len() == most {
                    return Ok((records, true));
                }
                records.push(self.read(item)?);
            }
        }
        Ok((records, false))
    }

    async fn record(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let asked = self.dynamodb.get_item().table_name(&self.table).key("pk", text(key)).consistent_read(true);
        let output = asked.send().await.map_err(|error| self.not_read(&describe(&error)))?;
        output.item.map(|item| self.read(item)).transpose()
    }

    async fn note(&self, key: &str, fence: u64, note: Note<'_>, now: Timestamp) -> Result<Noted, StoreError> {
        let (written, outcome, because) = match note {
            Note::Redriven => ("redriven_at = :now", "redriven", None),
            // What was set aside ends 35 days from now, and so does the record.
            Note::Parked { because } => {
                ("parked_at = :now, parked_because = :because, expires_at = :expires_at", "parked", Some(because))
            }
        };
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .key("pk", text(key))
            .update_expression(format!("SET outcome = :outcome, updated_at = :now, {written} REMOVE dead_lettered_by"))
            .condition_expression("#state = :failed AND fence = :fence")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":failed", text("failed"))
            .expression_attribute_values(":fence", number(fence))
            .expression_attribute_values(":outcome", text(outcome))
            .expression_attribute_values(":now", text(&sortable(now)));
        if let Some(because) = because {
            update = update
                .expression_attribute_values(":because", text(because))
                .expression_attribute_values(":expires_at", number(end_of_life(now)));
        }
        match update.send().await {
            Ok(_) => Ok(Noted::Yes),
            Err(error) if is_condition_failure(&error) => Ok(Noted::DecidedMeanwhile),
            Err(error) => Err(self.not_written(&describe(&error))),
        }
    }

    async fn settle(&self, settling: &Settling<'_>, now: Timestamp) -> Result<Settled, StoreError> {
        let decision = serde_dynamo::to_attribute_value(settling.decision)
            .map_err(|error| self.not_written(&format!("the decision cannot be stored: {error}")))?;
        let subject = settling.subject;
        let mut update = self
            .dynamodb
            .update_item()
            .table_name(&self.table)
            .key("pk", text(settling.key))
            .update_expression(
                "SET #state = :done, decision = :decision, outcome = :outcome, unresolved_claims = :zero, \
                 fence = if_not_exists(fence, :zero) + :one, updated_at = :updated_at, expires_at = :expires_at, \
                 #function = if_not_exists(#function, :function), \
                 notification_id = if_not_exists(notification_id, :notification), \
                 #trigger = if_not_exists(#trigger, :trigger), object_id = if_not_exists(object_id, :object), \
                 grant_id = if_not_exists(grant_id, :grant), content = if_not_exists(content, :content) \
                 REMOVE lease_until, dead_lettered_by, waiting_grant, passing",
            )
            .condition_expression(
                "attribute_not_exists(pk) OR #state = :failed OR (#state = :in_progress AND lease_until <= :now) \
                 OR (#state = :done AND expires_at <= :now_seconds)",
            )
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, attribute) in [("#state", "state"), ("#function", "function"), ("#trigger", "trigger")] {
            update = update.expression_attribute_names(name, attribute);
        }
        for (name, value) in [
            (":done", text("done")),
            (":failed", text("failed")),
            (":in_progress", text("in_progress")),
            (":decision", decision),
            (":outcome", text(settling.decision.outcome.as_str())),
            (":zero", number(0_u64)),
            (":one", number(1_u64)),
            (":now", number(now.as_millisecond())),
            (":now_seconds", number(now.as_second())),
            (":updated_at", text(&sortable(now))),
            (":expires_at", number(end_of_life(now))),
            (":function", text(settling.function)),
            (":notification", text(settling.notification)),
            (":trigger", text(&subject.trigger)),
            (":object", text(if subject.object.is_empty() { settling.notification } else { &subject.object })),
            (":grant", text(subject.grant.as_deref().unwrap_or("none"))),
            (":content", text(subject.content.as_deref().unwrap_or_default())),
        ] {
            update = update.expression_attribute_values(name, value);
        }
        match update.send().await {
            Ok(_) => Ok(Settled::Yes),
            Err(error) => match item_of_condition_failure(&error) {
                Some(item) if self.read(item.clone())?.state == "done" => Ok(Settled::DecidedBefore),
                Some(_) => Ok(Settled::AtWork),
                None => Err(self.not_written(&describe(&error))),
            },
        }
    }
}

impl AwsLetters {
    fn read(&self, item: HashMap<String, AttributeValue>) -> Result<Record, StoreError> {
        serde_dynamo::from_item(item).map_err(|error| self.not_read(&format!("a record cannot be read: {error}")))
    }
}

fn is_condition_failure(error: &SdkError<UpdateItemError>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

fn item_of_condition_failure(error: &SdkError<UpdateItemError>) -> Option<&HashMap<String, AttributeValue>> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failure)) => failure.item.as_ref(),
        _ => None,
    }
}

fn end_of_life(now: Timestamp) -> i64 {
    now.checked_add(LIFE_HOURS.hours()).map_or(i64::MAX, Timestamp::as_second)
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

impl ParkedLetters for AwsLetters {
    async fn parked(&self, most: usize) -> Result<Vec<String>, StoreError> {
        let mut pages = self.s3.list_objects_v2().bucket(&self.bucket).prefix(PARKED_PREFIX).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.not_archived(&describe(&error)))?;
            keys.extend(page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key));
            if keys.len() >= most {
                break;
            }
        }
        keys.truncate(most);
        Ok(keys)
    }

    async fn read_parked(&self, key: &str) -> Result<Option<Letter>, StoreError> {
        let object = match self.s3.get_object().bucket(&self.bucket).key(key).send().await {
            Ok(object) => object,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
            Err(error) => return Err(self.not_archived(&describe(&error))),
        };
        let bytes = object.body.collect().await.map_err(|error| self.not_archived(&error.to_string()))?.to_vec();
        let letter = serde_json::from_slice(&bytes);
        letter.map(Some).map_err(|error| self.not_archived(&format!("{key} is not a parked letter: {error}")))
    }

    async fn park(&self, key: &str, letter: &Letter) -> Result<(), StoreError> {
        let written = serde_json::to_vec(letter)
            .map_err(|error| self.not_archived(&format!("a letter cannot be written: {error}")))?;
        self.s3
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type("application/json")
            .body(ByteStream::from(written))
            .send()
            .await
            .map_err(|error| self.not_archived(&describe(&error)))?;
        Ok(())
    }

    async fn unpark(&self, key: &str) -> Result<(), StoreError> {
        let removed = self.s3.delete_object().bucket(&self.bucket).key(key).send().await;
        removed.map_err(|error| self.not_archived(&describe(&error)))?;
        Ok(())
    }
}

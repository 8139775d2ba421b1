//! A look at what a deployed stack holds: decisions, queues, secrets, bodies. For the demo and the tests.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::local_engine::{EngineError, Stack};

/// The stack could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// An output is missing.
    #[error(transparent)]
    Output(#[from] EngineError),
    /// A service refused.
    #[error("{what} failed: {problem}")]
    Aws {
        /// What was asked.
        what: &'static str,
        /// What came back.
        problem: String,
    },
    /// Something did not happen in time.
    #[error("within {seconds} s it did not happen that {what}; {found}")]
    NotInTime {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
        /// What was there instead.
        found: String,
    },
}

/// One decision record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// The function.
    pub function: String,
    /// The notification's id.
    pub notification_id: String,
    /// What happened, for example `message.created`.
    pub trigger: String,
    /// The object it happened to.
    pub object_id: String,
    /// `in_progress`, `done` or `failed`.
    pub state: String,
    /// The outcome, once there is one.
    pub outcome: String,
    /// The reason.
    pub reason: String,
    /// What it became.
    pub became: Option<String>,
    /// What the rule went by.
    pub facts: BTreeMap<String, Value>,
    /// How many tries failed.
    pub failures: u32,
    /// The kind of the last failure.
    pub class: Option<String>,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueDepths {
    /// Those that can be received now.
    pub visible: u64,
    /// Those that somebody has received and neither deleted nor given back.
    pub in_flight: u64,
    /// Those that were sent with a delay.
    pub delayed: u64,
}

impl QueueDepths {
    /// All of them.
    #[must_use]
    pub fn all(self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// A message as it lies in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingMessage {
    /// Its text.
    pub body: String,
    /// Its group.
    pub group: Option<String>,
    /// Its deduplication id.
    pub deduplication_id: Option<String>,
    /// The X-Ray header it carries on.
    pub trace: Option<String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}

/// The view.
#[derive(Debug, Clone)]
pub struct StackView {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    s3: aws_sdk_s3::Client,
    secrets: aws_sdk_secretsmanager::Client,
    dedup_table: String,
    bucket: String,
}

fn failed<E: std::error::Error + 'static>(what: &'static str) -> impl FnOnce(E) -> ViewError {
    move |error| ViewError::Aws { what, problem: aws_sdk_sqs::error::DisplayErrorContext(error).to_string() }
}

impl StackView {
    /// A view of a stack.
    pub fn new(config: &SdkConfig, stack: &Stack) -> Result<Self, ViewError> {
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
        Ok(Self {
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            sqs: aws_sdk_sqs::Client::new(config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            secrets: aws_sdk_secretsmanager::Client::new(config),
            dedup_table: stack.dedup_table()?.to_owned(),
            bucket: stack.archive_bucket()?.to_owned(),
        })
    }

    /// Every decision record, by notification id.
    pub async fn decisions(&self) -> Result<BTreeMap<String, DecisionRecord>, ViewError> {
        let mut decisions = BTreeMap::new();
        let mut pages =
            self.dynamodb.scan().table_name(&self.dedup_table).consistent_read(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            for item in page.map_err(failed("reading the dedup table"))?.items.unwrap_or_default() {
                let record = record_of(&item);
                decisions.insert(record.notification_id.clone(), record);
            }
        }
        Ok(decisions)
    }

    /// The record of one notification in one function, if there is one.
    pub async fn record(&self, function: &str, notification_id: &str) -> Result<Option<DecisionRecord>, ViewError> {
        let key = AttributeValue::S(format!("{function}#{notification_id}"));
        let found = self.dynamodb.get_item().table_name(&self.dedup_table).key("pk", key).consistent_read(true);
        let found = found.send().await.map_err(failed("reading the dedup table"))?;
        Ok(found.item.as_ref().map(record_of))
    }

    /// Waits until a notification has the decision that `is_it` asks for, and answers it.
    pub async fn decision(
        &self,
        notification_id: &str,
        within: Duration,
        is_it: impl Fn(&DecisionRecord) -> bool,
    ) -> Result<DecisionRecord, ViewError> {
        let begun = Instant::now();
        loop {
            let found = self.decisions().await?.remove(notification_id);
            match found {
                Some(record) if is_it(&record) => return Ok(record),
                found if begun.elapsed() > within => {
                    return Err(ViewError::NotInTime {
                        what: format!("the notification {notification_id} was decided as expected"),
                        seconds: within.as_secs(),
                        found: format!("its record: {found:?}"),
                    });
                }
                _ => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }

    /// Waits until there is a record of which `is_it` is true, and answers it. `what` says that in words.
    pub async fn first_decision(
        &self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&DecisionRecord) -> bool,
    ) -> Result<DecisionRecord, ViewError> {
        let begun = Instant::now();
        loop {
            if let Some(record) = self.decisions().await?.into_values().find(&is_it) {
                return Ok(record);
            }
            if begun.elapsed() > within {
                let (what, found) = (what.to_owned(), "no such record".to_owned());
                return Err(ViewError::NotInTime { what, seconds: within.as_secs(), found });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Waits until a notification is decided.
    pub async fn decided(&self, notification_id: &str) -> Result<DecisionRecord, ViewError> {
        self.decision(notification_id, Duration::from_mins(1), |record| record.state == "done").await
    }

    /// How many messages a queue holds: visible, in flight and delayed.
    pub async fn depth(&self, queue: &str) -> Result<u64, ViewError> {
        Ok(self.depths(queue).await?.all())
    }

    /// How many messages a queue holds of each kind.
    pub async fn depths(&self, queue: &str) -> Result<QueueDepths, ViewError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let output = self
            .sqs
            .get_queue_attributes()
            .queue_url(queue)
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await
            .map_err(failed("asking for a queue's depth"))?;
        let attributes = output.attributes.unwrap_or_default();
        let [visible, in_flight, delayed] =
            names.map(|name| attributes.get(&name).and_then(|number| number.parse().ok()).unwrap_or_default());
        Ok(QueueDepths { visible, in_flight, delayed })
    }

    /// Waits until a queue is empty.
    pub async fn emptied(&self, queue: &str, within: Duration) -> Result<(), ViewError> {
        let begun = Instant::now();
        loop {
            let depth = self.depth(queue).await?;
            if depth == 0 {
                return Ok(());
            }
            if begun.elapsed() > within {
                return Err(ViewError::NotInTime {
                    what: format!("the queue {queue} was emptied"),
                    seconds: within.as_secs(),
                    found: format!("it holds {depth} messages"),
                });
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Takes the messages out of a queue that nobody reads, until it shows no more.
    pub async fn take_all(&self, queue: &str) -> Result<Vec<WaitingMessage>, ViewError> {
        let mut taken = Vec::new();
        loop {
            let output = self
                .sqs
                .receive_message()
                .queue_url(queue)
                .max_number_of_messages(10)
                .wait_time_seconds(1)
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .message_attribute_names("All")
                .send()
                .await
                .map_err(failed("receiving messages"))?;
            let messages = output.messages.unwrap_or_default();
            if messages.is_empty() {
                return Ok(taken);
            }
            for message in messages {
                let system = message.attributes.unwrap_or_default();
                let attributes = message.message_attributes.unwrap_or_default();
                taken.push(WaitingMessage {
                    body: message.body.unwrap_or_default(),
                    group: system.get(&MessageSystemAttributeName::MessageGroupId).cloned(),
                    deduplication_id: system.get(&MessageSystemAttributeName::MessageDeduplicationId).cloned(),
                    trace: system.get(&MessageSystemAttributeName::AwsTraceHeader).cloned(),
                    attributes: attributes
                        .into_iter()
                        .filter_map(|(name, attribute)| Some((name, attribute.string_value?)))
                        .collect(),
                });
                self.sqs
                    .delete_message()
                    .queue_url(queue)
                    .receipt_handle(message.receipt_handle.unwrap_or_default())
                    .send()
                    .await
                    .map_err(failed("deleting a message"))?;
            }
        }
    }

    /// Puts a message into a FIFO queue, as a redrive would.
    pub async fn put(&self, queue: &str, body: &str, group: &str, deduplication_id: &str) -> Result<(), ViewError> {
        self.sqs
            .send_message()
            .queue_url(queue)
            .message_body(body)
            .message_group_id(group)
            .message_deduplication_id(deduplication_id)
            .send()
            .await
            .map_err(failed("sending a message"))?;
        Ok(())
    }

    /// Puts a message into a standard queue, as it would lie there.
    pub async fn put_into_standard(&self, queue: &str, body: &str) -> Result<(), ViewError> {
        self.sqs
            .send_message()
            .queue_url(queue)
            .message_body(body)
            .send()
            .await
            .map_err(failed("sending a message"))?;
        Ok(())
    }

    /// Sets how long a queue hides what was received.
    pub async fn set_visibility_timeout(&self, queue: &str, seconds: u32) -> Result<(), ViewError> {
        self.sqs
            .set_queue_attributes()
            .queue_url(queue)
            .attributes(QueueAttributeName::VisibilityTimeout, seconds.to_string())
            .send()
            .await
            .map_err(failed("setting a queue's visibility timeout"))?;
        Ok(())
    }

    /// The keys below a prefix of the archive bucket.
    pub async fn archived(&self, prefix: &str) -> Result<Vec<String>, ViewError> {
        let output = self
            .s3
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .send()
            .await
            .map_err(failed("listing the archive bucket"))?;
        Ok(output.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect())
    }

    /// The length and the SHA-256 of an object of the archive bucket, read piece by piece.
    pub async fn archived_digest(&self, key: &str) -> Result<(u64, String), ViewError> {
        let what = "reading an object of the archive bucket";
        let object = self.s3.get_object().bucket(&self.bucket).key(key).send().await.map_err(failed(what))?;
        let (mut body, mut length, mut digest) = (object.body, 0, Sha256::new());
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(failed(what))?;
            length += piece.len() as u64;
            digest.update(&piece);
        }
        Ok((length, hex::encode(digest.finalize())))
    }

    /// Writes an object of the archive bucket.
    pub async fn put_archived(&self, key: &str, content: Vec<u8>) -> Result<(), ViewError> {
        self.s3
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(content.into())
            .send()
            .await
            .map_err(failed("writing an object of the archive bucket"))?;
        Ok(())
    }

    /// Removes an object of the archive bucket.
    pub async fn remove_archived(&self, key: &str) -> Result<(), ViewError> {
        self.s3
            .delete_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .map_err(failed("removing an object of the archive bucket"))?;
        Ok(())
    }

    /// The ARN of the secret whose description begins with these words.
    pub async fn secret_described(&self, words: &str) -> Result<String, ViewError> {
        let output = self.secrets.list_secrets().send().await.map_err(failed("listing secrets"))?;
        output
            .secret_list
            .unwrap_or_default()
            .into_iter()
            .find(|secret| secret.description.as_deref().is_some_and(|description| description.starts_with(words)))
            .and_then(|secret| secret.arn)
            .ok_or_else(|| ViewError::Aws {
                what: "finding a secret",
                problem: format!("none is described as `{words}`"),
            })
    }

    /// Writes a secret's value.
    pub async fn write_secret(&self, arn: &str, value: &str) -> Result<(), ViewError> {
        self.secrets
            .put_secret_value()
            .secret_id(arn)
            .secret_string(value)
            .send()
            .await
            .map_err(failed("writing a secret"))?;
        Ok(())
    }

    /// Reads a secret's value.
    pub async fn read_secret(&self, arn: &str) -> Result<String, ViewError> {
        let output = self.secrets.get_secret_value().secret_id(arn).send().await.map_err(failed("reading a secret"))?;
        Ok(output.secret_string.unwrap_or_default())
    }
}

fn record_of(item: &HashMap<String, AttributeValue>) -> DecisionRecord {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    let decision = item.get("decision").and_then(|value| value.as_m().ok());
    let decision_text = |name: &str| decision.and_then(|map| map.get(name)?.as_s().ok().cloned());
    DecisionRecord {
        function: text("function"),
        notification_id: text("notification_id"),
        trigger: text("trigger"),
        object_id: text("object_id"),
        state: text("state"),
        outcome: text("outcome"),
        reason: decision_text("reason").unwrap_or_else(|| text("reason")),
        became: decision_text("became"),
        facts: decision
            .and_then(|map| map.get("facts")?.as_m().ok())
            .map(|facts| facts.iter().map(|(name, value)| (name.clone(), json_of(value))).collect())
            .unwrap_or_default(),
        failures: item
            .get("failures")
            .and_then(|value| value.as_n().ok())
            .and_then(|number| number.parse().ok())
            .unwrap_or_default(),
        class: item.get("class").and_then(|value| value.as_s().ok()).cloned(),
    }
}

fn json_of(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.clone().into(),
        AttributeValue::N(number) => serde_json::from_str(number).unwrap_or(Value::Null),
        AttributeValue::Bool(truth) => (*truth).into(),
        AttributeValue::L(list) => list.iter().map(json_of).collect(),
        AttributeValue::M(map) => map.iter().map(|(name, value)| (name.clone(), json_of(value))).collect(),
        _ => Value::Null,
    }
}

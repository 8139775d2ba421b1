//! Everything that may hold an address, in AWS.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_scheduler::operation::delete_schedule::DeleteScheduleError;
use aws_sdk_scheduler::operation::get_schedule::GetScheduleError;
use aws_sdk_sqs::types::QueueAttributeName;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value};
use shared::aws::{SdkConfig, describe};
use shared::engine::{LeaseKey, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::held::{
    Held, ItemPage, LETTER_QUEUES, Letter, LetterQueue, ObjectPage, OnTheirWay, Schedule, SchedulePage, Written,
};
use super::treat::Table;
use crate::stack_map::{StackMap, WORKERS};

/// How many items of a table are looked at in one go.
const ITEMS: i32 = 300;

/// How many schedules are listed in one go, and how many are read side by side.
const SCHEDULES: i32 = 50;
const SIDE_BY_SIDE: usize = 8;

/// How many objects are listed in one go. Each of them is read, and a body may have 16 MiB.
const OBJECTS: i32 = 20;

/// For how long a letter that was received is hidden, in seconds: longer than a go lasts, so that one that was cut short
/// is followed by one that finds the others.
const HIDDEN_FOR: i32 = 600;

/// How long SQS looks for letters before it answers that there are none, in seconds. With less it asks some of its servers
/// alone (Amazon SQS developer guide, "Short and long polling").
const LOOKED_FOR: i32 = 1;

/// The most messages that one call receives or gives back (Amazon SQS API reference).
const MESSAGES: i32 = 10;

type Item = HashMap<String, AttributeValue>;

/// Everything in AWS.
pub struct HeldInAws {
    dynamodb: aws_sdk_dynamodb::Client,
    scheduler: aws_sdk_scheduler::Client,
    sqs: aws_sdk_sqs::Client,
    s3: aws_sdk_s3::Client,
    sdk: SdkConfig,
    stack_id: String,
    map: Mutex<Arc<StackMap>>,
}

impl HeldInAws {
    /// What the stack with this id holds.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String) -> Self {
        // Path-style addresses work with every endpoint, a local one included.
        let s3 = aws_sdk_s3::config::Builder::from(sdk).force_path_style(true).build();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(sdk),
            scheduler: aws_sdk_scheduler::Client::new(sdk),
            sqs: aws_sdk_sqs::Client::new(sdk),
            s3: aws_sdk_s3::Client::from_conf(s3),
            sdk: sdk.clone(),
            stack_id,
            map: Mutex::default(),
        }
    }

    fn resource(&self, name: &str) -> Result<String, StoreError> {
        let map = Arc::clone(&self.map.lock().unwrap_or_else(PoisonError::into_inner));
        map.resource(name).map(str::to_owned)
    }

    fn table(&self, table: Table) -> Result<String, StoreError> {
        self.resource(match table {
            Table::Decisions => "DedupTable",
            Table::Links => "LinksTable",
            Table::Customers => "OnboardingTable",
        })
    }

    fn bucket(&self) -> Result<String, StoreError> {
        self.resource("ArchiveBucket")
    }

    async fn schedule(&self, group: &str, name: String) -> Result<Option<Schedule>, StoreError> {
        match self.scheduler.get_schedule().group_name(group).name(&name).send().await {
            Ok(schedule) => {
                let input = schedule.target.and_then(|target| target.input).unwrap_or_default();
                Ok(Some(Schedule { name, input }))
            }
            // It has gone off meanwhile.
            Err(error) if error.as_service_error().is_some_and(GetScheduleError::is_resource_not_found_exception) => {
                Ok(None)
            }
            Err(error) => Err(StoreError(format!("a schedule could not be read: {}", describe(&error)))),
        }
    }

    async fn depth(&self, url: &str) -> Result<(u64, u64), StoreError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let asked = self.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let output = asked.send().await.map_err(|error| not_answered("a queue", &describe(&error)))?;
        let attributes = output.attributes.unwrap_or_default();
        let [visible, delayed, in_flight] =
            names.map(|name| attributes.get(&name).and_then(|number| number.parse::<u64>().ok()).unwrap_or_default());
        Ok((visible + delayed, in_flight))
    }
}

fn not_answered(what: &str, problem: &str) -> StoreError {
    StoreError(format!("{what} did not answer: {problem}"))
}

fn key_of(table: Table, item: &Map<String, Value>) -> Result<AttributeValue, StoreError> {
    let key = item.get(table.key()).and_then(Value::as_str);
    let key = key.ok_or_else(|| StoreError(format!("an item of the {} has no key", table.name())))?;
    Ok(AttributeValue::S(key.to_owned()))
}

fn read(item: Item) -> Result<Map<String, Value>, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError(format!("an item cannot be read: {error}")))
}

fn attribute(value: &Value) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value).map_err(|error| StoreError(format!("an item cannot be stored: {error}")))
}

/// An expression with the names and values that it speaks of.
#[derive(Default)]
struct Expression {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expression {
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#n{}", self.names.len());
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    fn value(&mut self, value: &Value) -> Result<String, StoreError> {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), attribute(value)?);
        Ok(placeholder)
    }

    /// True as long as an item is as it was read: the fields are that every write changes. One without a key never was.
    fn unchanged(&mut self, table: Table, item: &Map<String, Value>) -> Result<String, StoreError> {
        let key = self.name(table.key());
        let mut conditions = vec![format!("attribute_exists({key})")];
        for guard in table.guards() {
            let name = self.name(guard);
            conditions.push(match item.get(*guard) {
                Some(value) => format!("{name} = {}", self.value(value)?),
                None => format!("attribute_not_exists({name})"),
            });
        }
        Ok(conditions.join(" AND "))
    }

    fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        (!self.values.is_empty()).then(|| self.values.clone())
    }
}

impl Held for HeldInAws {
    async fn begin(&self) -> Result<(), StoreError> {
        let map = Arc::new(StackMap::read(&self.sdk, &self.stack_id).await?);
        *self.map.lock().unwrap_or_else(PoisonError::into_inner) = map;
        Ok(())
    }

    async fn items(&self, table: Table, after: Option<&str>) -> Result<ItemPage, StoreError> {
        let key = table.key();
        let from = after.map(|after| HashMap::from([(key.to_owned(), AttributeValue::S(after.to_owned()))]));
        let scan = self.dynamodb.scan().table_name(self.table(table)?).consistent_read(true).limit(ITEMS);
        let page = scan.set_exclusive_start_key(from).send().await;
        let page = page.map_err(|error| not_answered(&format!("the table of {}", table.name()), &describe(&error)))?;
        let next = page.last_evaluated_key.and_then(|mut last| match last.remove(key) {
            Some(AttributeValue::S(last)) => Some(last),
            _ => None,
        });
        Ok(ItemPage { items: page.items.unwrap_or_default().into_iter().map(read).collect::<Result<_, _>>()?, next })
    }

    async fn remove_item(&self, table: Table, item: &Map<String, Value>) -> Result<Written, StoreError> {
        let mut expression = Expression::default();
        let unchanged = expression.unchanged(table, item)?;
        let removed = self
            .dynamodb
            .delete_item()
            .table_name(self.table(table)?)
            .key(table.key(), key_of(table, item)?)
            .condition_expression(unchanged)
            .set_expression_attribute_values(expression.values())
            .set_expression_attribute_names(Some(expression.names))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match removed {
            Ok(_) => Ok(Written::Done),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let DeleteItemError::ConditionalCheckFailedException(failure) = error.into_err() else {
                    return Ok(Written::Raced(None));
                };
                raced(failure.item)
            }
            Err(error) => Err(not_answered(&format!("the table of {}", table.name()), &describe(&error))),
        }
    }

    async fn rewrite_item(
        &self,
        table: Table,
        item: &Map<String, Value>,
        set: &Map<String, Value>,
        unset: &[&'static str],
    ) -> Result<Written, StoreError> {
        let mut expression = Expression::default();
        let unchanged = expression.unchanged(table, item)?;
        let mut assignments = Vec::new();
        for (name, value) in set {
            assignments.push(format!("{} = {}", expression.name(name), expression.value(value)?));
        }
        let removals: Vec<String> = unset.iter().map(|name| expression.name(name)).collect();
        let mut update = format!("SET {}", assignments.join(", "));
        if !removals.is_empty() {
            update = format!("{update} REMOVE {}", removals.join(", "));
        }
        let rewritten = self
            .dynamodb
            .update_item()
            .table_name(self.table(table)?)
            .key(table.key(), key_of(table, item)?)
            .update_expression(update)
            .condition_expression(unchanged)
            .set_expression_attribute_values(expression.values())
            .set_expression_attribute_names(Some(expression.names))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match rewritten {
            Ok(_) => Ok(Written::Done),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let UpdateItemError::ConditionalCheckFailedException(failure) = error.into_err() else {
                    return Ok(Written::Raced(None));
                };
                raced(failure.item)
            }
            Err(error) => Err(not_answered(&format!("the table of {}", table.name()), &describe(&error))),
        }
    }

    async fn schedules(&self, after: Option<&str>) -> Result<SchedulePage, StoreError> {
        let group = self.resource("ScheduleGroup")?;
        let listed = self.scheduler.list_schedules().group_name(&group).max_results(SCHEDULES);
        let page = listed.set_next_token(after.map(str::to_owned)).send().await;
        let page = page.map_err(|error| not_answered("the scheduler", &describe(&error)))?;
        let names = page.schedules.into_iter().filter_map(|schedule| schedule.name);
        let mut reads = Vec::new();
        for name in names {
            reads.push(self.schedule(&group, name));
        }
        let read: Vec<Option<Schedule>> = stream::iter(reads).buffered(SIDE_BY_SIDE).try_collect().await?;
        Ok(SchedulePage { schedules: read.into_iter().flatten().collect(), next: page.next_token })
    }

    async fn remove_schedule(&self, name: &str) -> Result<(), StoreError> {
        let group = self.resource("ScheduleGroup")?;
        match self.scheduler.delete_schedule().group_name(group).name(name).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(DeleteScheduleError::is_resource_not_found_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(StoreError(format!("a schedule could not be removed: {}", describe(&error)))),
        }
    }

    async fn letters(&self, queue: LetterQueue) -> Result<Vec<Letter>, StoreError> {
        let received = self
            .sqs
            .receive_message()
            .queue_url(self.resource(queue.resource)?)
            .max_number_of_messages(MESSAGES)
            .visibility_timeout(HIDDEN_FOR)
            .wait_time_seconds(LOOKED_FOR)
            .message_attribute_names("All")
            .send()
            .await
            .map_err(|error| not_answered(&format!("the queue of {}", queue.name), &describe(&error)))?;
        let letters = received.messages.unwrap_or_default().into_iter().map(|message| Letter {
            id: message.message_id.unwrap_or_default(),
            receipt_handle: message.receipt_handle.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            attributes: message
                .message_attributes
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(name, attribute)| Some((name, attribute.string_value?)))
                .collect(),
        });
        Ok(letters.collect())
    }

    async fn remove_letter(&self, queue: LetterQueue, letter: &Letter) -> Result<(), StoreError> {
        let url = self.resource(queue.resource)?;
        let removed = self.sqs.delete_message().queue_url(url).receipt_handle(&letter.receipt_handle).send().await;
        removed.map_err(|error| not_answered(&format!("the queue of {}", queue.name), &describe(&error)))?;
        Ok(())
    }

    async fn give_back(&self, queue: LetterQueue, letters: &[Letter]) -> Result<(), StoreError> {
        let url = &self.resource(queue.resource)?;
        // One that is not shown at once shows itself again in a while.
        let shown = stream::iter(letters.iter().map(Ok)).try_for_each_concurrent(SIDE_BY_SIDE, async |letter| {
            let shown = self
                .sqs
                .change_message_visibility()
                .queue_url(url)
                .receipt_handle(&letter.receipt_handle)
                .visibility_timeout(0);
            shown.send().await.map(drop)
        });
        shown.await.map_err(|error| not_answered(&format!("the queue of {}", queue.name), &describe(&error)))?;
        Ok(())
    }

    async fn lies_no_longer(&self, record: &LeaseKey) -> Result<(), StoreError> {
        let why = "deleted from the dead-letter queue: it named an address that was to be forgotten";
        let settled = self
            .dynamodb
            .update_item()
            .table_name(self.table(Table::Decisions)?)
            .key("pk", AttributeValue::S(record.as_str().to_owned()))
            .update_expression("SET reason = :why REMOVE dead_lettered_by")
            .condition_expression("attribute_exists(dead_lettered_by)")
            .expression_attribute_values(":why", AttributeValue::S(why.to_owned()))
            .send()
            .await;
        match settled {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(not_answered("the table of decisions", &describe(&error))),
        }
    }

    async fn objects(&self, prefix: &str, after: Option<&str>) -> Result<ObjectPage, StoreError> {
        let listed = self.s3.list_objects_v2().bucket(self.bucket()?).prefix(prefix).max_keys(OBJECTS);
        let page = listed.set_start_after(after.map(str::to_owned)).send().await;
        let page = page.map_err(|error| not_answered("the archive bucket", &describe(&error)))?;
        let keys = page.contents.unwrap_or_default().into_iter().filter_map(|object| object.key).collect();
        Ok(ObjectPage { keys, more: page.is_truncated.unwrap_or_default() })
    }

    async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.s3.get_object().bucket(self.bucket()?).key(key).send().await {
            Ok(object) => {
                let content = object.body.collect().await;
                let content = content.map_err(|error| not_answered("the archive bucket", &error.to_string()))?;
                Ok(Some(content.to_vec()))
            }
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
            Err(error) => Err(not_answered("the archive bucket", &describe(&error))),
        }
    }

    async fn remove_object(&self, key: &str) -> Result<(), StoreError> {
        let removed = self.s3.delete_object().bucket(self.bucket()?).key(key).send().await;
        removed.map_err(|error| not_answered("the archive bucket", &describe(&error)))?;
        Ok(())
    }

    async fn on_their_way(&self) -> Result<Vec<OnTheirWay>, StoreError> {
        let mut found = Vec::new();
        for (worker, function) in WORKERS {
            let (waiting, in_flight) = self.depth(&self.resource(&format!("{worker}Queue"))?).await?;
            if waiting + in_flight > 0 {
                found.push(OnTheirWay { queue: format!("the queue of {function}"), waiting, in_flight });
            }
        }
        for queue in LETTER_QUEUES {
            // Those that lie there were looked at; others have these in hand, such as a redrive.
            let (_, in_flight) = self.depth(&self.resource(queue.resource)?).await?;
            if in_flight > 0 {
                found.push(OnTheirWay { queue: queue.name.to_owned(), waiting: 0, in_flight });
            }
        }
        Ok(found)
    }
}

fn raced(item: Option<Item>) -> Result<Written, StoreError> {
    item.map(read).transpose().map(Written::Raced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().expect("an object")
    }

    #[test]
    fn write_is_held_against_every_field_that_another_write_changes() {
        let mut expression = Expression::default();
        let record = item(&json!({ "pk": "a", "fence": 3, "state": "done" }));
        let condition = expression.unchanged(Table::Decisions, &record).expect("a condition");
        assert_eq!(condition, "attribute_exists(#n0) AND #n1 = :v0 AND #n2 = :v1 AND attribute_not_exists(#n3)");
        assert_eq!(
            ["#n0", "#n1", "#n2", "#n3"].map(|name| expression.names[name].as_str()),
            ["pk", "fence", "state", "updated_at"]
        );
        assert_eq!(expression.values().expect("values")[":v0"], AttributeValue::N("3".to_owned()));
        let mut expression = Expression::default();
        let link = item(&json!({ "pk": "a", "revision": 7 }));
        let condition = expression.unchanged(Table::Links, &link).expect("a condition");
        assert_eq!(condition, "attribute_exists(#n0) AND #n1 = :v0");
    }

    #[test]
    fn item_comes_back_as_it_was_read() {
        let stored = json!({
            "pk": "a", "fence": 18_446_744_073_709_551_615_u64, "when": -1, "ratio": 0.5, "passing": true, "none": null,
            "decision": { "facts": { "list": ["x", 1, { "y": [] }] } },
        });
        let attributes: Item = serde_dynamo::to_item(&stored).expect("an item");
        assert_eq!(Value::Object(read(attributes).expect("read")), stored);
    }

    #[test]
    fn every_letter_queue_of_a_worker_is_looked_through() {
        for (worker, function) in WORKERS {
            let resource = format!("{worker}DeadLetterQueue");
            assert!(
                LETTER_QUEUES.iter().any(|queue| queue.resource == resource && queue.name.ends_with(function)),
                "{worker}"
            );
        }
    }
}

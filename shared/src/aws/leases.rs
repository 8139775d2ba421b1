//! Leases and decision records in DynamoDB: one item a notification and function, one conditional write a step.
//!
//! The table has the partition key `pk`; the index `by-object` finds records by what they are about, the index
//! `waiting` those that wait for a contact (only they have the attribute `waiting_grant`), the index `dead-letters` those
//! whose message lies in a dead-letter queue (only they have the attribute `dead_lettered_by`).
//! `expires_at` lets DynamoDB remove items at some time after their end; whether an item has ended is judged here.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure, Select};
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use std::collections::HashMap;

use super::describe;
use crate::domain::decision::Decision;
use crate::engine::{
    Claim, ClaimRequest, Committed, Decisions, Ending, FailedTry, Lease, LeaseKey, Leases, ReadDecisions, StoreError,
    Waiting, WaitingPlace, sortable,
};

/// How long a record lives, in hours: 35 days, longer than a message can (14 days in the queue and 14 in its
/// dead-letter queue).
const LIFE_HOURS: i64 = 35 * 24;

/// The dedup table.
#[derive(Debug, Clone)]
pub struct DynamoLeases {
    client: Client,
    table: String,
}

/// What is read back of an item.
#[derive(Debug, Deserialize)]
struct Record {
    state: String,
    #[serde(default)]
    lease_until: i64,
    #[serde(default)]
    fence: u64,
    #[serde(default)]
    unresolved_claims: u32,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    first_failed_at: Option<Timestamp>,
    #[serde(default)]
    content: String,
    #[serde(default)]
    claim_id: String,
    #[serde(default)]
    decision: Option<Decision>,
}

impl DynamoLeases {
    /// Records in the given table.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }

    /// Writes what follows from a lease, if no later claim has been granted.
    async fn settle(
        &self,
        lease: &Lease,
        update: String,
        names: &[(&'static str, &'static str)],
        values: Vec<(&'static str, AttributeValue)>,
    ) -> Result<Committed, StoreError> {
        let mut request = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(lease.key.as_str()))
            .update_expression(update)
            .condition_expression("fence = :fence AND #state = :in_progress")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":fence", number(lease.fence))
            .expression_attribute_values(":in_progress", text("in_progress"));
        for (name, attribute) in names {
            request = request.expression_attribute_names(*name, *attribute);
        }
        for (name, value) in values {
            request = request.expression_attribute_values(name, value);
        }
        match request.send().await {
            Ok(_) => Ok(Committed::Yes),
            Err(error) if is_condition_failure(&error) => Ok(Committed::LeaseLost),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn not_read(&self, error: &SdkError<QueryError>) -> StoreError {
        StoreError(format!("the table {} could not be read: {}", self.table, describe(error)))
    }

    fn failed(&self, error: &SdkError<UpdateItemError>) -> StoreError {
        StoreError(format!("the table {} could not be written: {}", self.table, describe(error)))
    }
}

impl Leases for DynamoLeases {
    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, StoreError> {
        let about = request.about;
        // Tells a claim that was granted, and whose answer was lost on the way, from somebody else's.
        let claim_id = format!("{:032x}", rand::random::<u128>());
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(request.key.as_str()))
            .update_expression(
                "SET #state = :in_progress, lease_until = :until, fence = if_not_exists(fence, :zero) + :one, \
                 unresolved_claims = if_not_exists(unresolved_claims, :zero) + :one, \
                 #function = :function, notification_id = :notification, #trigger = :trigger, object_id = :object, \
                 grant_id = :grant, content = :content, claim_id = :claim_id, updated_at = :updated_at, expires_at = :expires_at, \
                 queued_at = if_not_exists(queued_at, :queued_at), first_claimed_at = if_not_exists(first_claimed_at, :updated_at), \
                 trace = :trace",
            )
            .condition_expression(
                "attribute_not_exists(pk) OR #state = :failed OR (#state = :in_progress AND lease_until <= :now) \
                 OR (#state = :done AND expires_at <= :now_seconds)",
            )
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, attribute) in [("#state", "state"), ("#function", "function"), ("#trigger", "trigger")] {
            update = update.expression_attribute_names(name, attribute);
        }
        for (name, value) in [
            (":in_progress", text("in_progress")),
            (":failed", text("failed")),
            (":done", text("done")),
            (":until", number(request.until.as_millisecond())),
            (":now", number(request.now.as_millisecond())),
            (":now_seconds", number(request.now.as_second())),
            (":zero", number(0)),
            (":one", number(1)),
            (":function", text(about.function)),
            (":notification", text(about.notification.as_str())),
            (":trigger", text(&about.trigger)),
            (":object", text(&about.object)),
            (":grant", text(about.grant.as_deref().unwrap_or("none"))),
            (":content", text(request.content)),
            (":claim_id", text(&claim_id)),
            (":queued_at", text(&sortable(request.queued_at))),
            (":trace", text(request.trace.unwrap_or("none"))),
            (":updated_at", text(&sortable(request.now))),
            (":expires_at", number(end_of_life(request.now))),
        ] {
            update = update.expression_attribute_values(name, value);
        }
        match update.send().await {
            Ok(output) => Ok(granted(request.key, &read(output.attributes.unwrap_or_default())?)),
            Err(error) => match item_of_condition_failure(&error) {
                Some(item) => refused(request.key, item, &claim_id),
                None => Err(self.failed(&error)),
            },
        }
    }

    async fn complete(&self, lease: &Lease, decision: &Decision, now: Timestamp) -> Result<Committed, StoreError> {
        let decision_item = serde_dynamo::to_attribute_value(decision)
            .map_err(|error| StoreError(format!("the decision cannot be stored: {error}")))?;
        // Only what waits is in the index that reconcile reads.
        let (waits, waits_not) =
            if decision.waits_for.is_empty() { ("", ", waiting_grant") } else { (", waiting_grant = grant_id", "") };
        let (passes, passes_not) = if decision.passing { (", passing = :passing", "") } else { ("", ", passing") };
        self.settle(
            lease,
            format!(
                "SET #state = :done, decision = :decision, outcome = :outcome, unresolved_claims = :zero, \
             updated_at = :updated_at, expires_at = :expires_at{waits}{passes} \
             REMOVE lease_until, dead_lettered_by{waits_not}{passes_not}"
            ),
            &[],
            [
                (":done", text("done")),
                (":decision", decision_item),
                (":outcome", text(decision.outcome.as_str())),
                (":zero", number(0)),
                (":updated_at", text(&sortable(now))),
                (":expires_at", number(end_of_life(now))),
            ]
            .into_iter()
            .chain(decision.passing.then(|| (":passing", AttributeValue::Bool(true))))
            .collect(),
        )
        .await
    }

    async fn fail(&self, lease: &Lease, failed: &FailedTry, now: Timestamp) -> Result<Committed, StoreError> {
        // Only what lies in a dead-letter queue is in the index that lists it.
        let (verdict, outcome, removed) = match failed.ending {
            Ending::Retry => (", unresolved_claims = :zero", "retrying", ", dead_lettered_by"),
            // The claim keeps counting towards `crashed`.
            Ending::RetryWithoutVerdict => {
                (", unresolved_claims = unresolved_claims + :zero", "retrying", ", dead_lettered_by")
            }
            Ending::DeadLetter => (", unresolved_claims = :zero, dead_lettered_by = #function", "failed", ""),
        };
        let mut names = vec![("#class", "class")];
        if failed.ending == Ending::DeadLetter {
            names.push(("#function", "function"));
        }
        self.settle(
            lease,
            format!(
                "SET #state = :failed, #class = :class, reason = :reason, outcome = :outcome, \
                 failures = if_not_exists(failures, :zero) + :one, \
                 first_failed_at = if_not_exists(first_failed_at, :updated_at), last_failed_at = :updated_at, \
                 updated_at = :updated_at, expires_at = :expires_at{verdict} REMOVE lease_until{removed}"
            ),
            &names,
            vec![
                (":failed", text("failed")),
                (":class", text(&failed.class)),
                (":reason", text(&failed.what.chars().take(2000).collect::<String>())),
                (":outcome", text(outcome)),
                (":zero", number(0)),
                (":one", number(1)),
                (":updated_at", text(&sortable(now))),
                (":expires_at", number(end_of_life(now))),
            ],
        )
        .await
    }

    async fn release(&self, lease: &Lease, now: Timestamp) -> Result<Committed, StoreError> {
        self.settle(
            lease,
            "SET #state = :failed, unresolved_claims = unresolved_claims - :one, updated_at = :updated_at \
             REMOVE lease_until"
                .to_owned(),
            &[],
            vec![(":failed", text("failed")), (":one", number(1)), (":updated_at", text(&sortable(now)))],
        )
        .await
    }
}

/// What is read back of an item of the index of waiting decisions.
#[derive(Debug, Deserialize)]
struct WaitingItem {
    pk: String,
    updated_at: String,
    object_id: String,
    decision: Decision,
}

impl Decisions for DynamoLeases {
    async fn is_known(&self, function: &str, grant: &str, object: &str) -> Result<bool, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-object")
            .key_condition_expression("object_id = :object")
            .filter_expression("#function = :function AND grant_id = :grant AND attribute_not_exists(passing)")
            .expression_attribute_names("#function", "function")
            .expression_attribute_values(":object", text(object))
            .expression_attribute_values(":function", text(function))
            .expression_attribute_values(":grant", text(grant))
            .select(Select::Count)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            if page.map_err(|error| self.not_read(&error))?.count > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn waiting(
        &self,
        function: &str,
        grant: &str,
        after: &WaitingPlace,
        most: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let mut found = Vec::new();
        // A place in the index is named by all of its keys; the first one is before every record of its time.
        let place = |place: &WaitingPlace| {
            let keys = [("waiting_grant", grant), ("updated_at", &place.at), ("pk", &place.key)];
            keys.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect::<HashMap<_, _>>()
        };
        let mut from = (!after.key.is_empty()).then(|| place(after));
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .index_name("waiting")
                .key_condition_expression("waiting_grant = :grant AND updated_at >= :since")
                .filter_expression("#function = :function")
                .expression_attribute_names("#function", "function")
                .expression_attribute_values(":grant", text(grant))
                .expression_attribute_values(":since", text(&after.at))
                .expression_attribute_values(":function", text(function))
                .limit(i32::try_from(most).unwrap_or(i32::MAX))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| self.not_read(&error))?;
            for item in page.items.unwrap_or_default() {
                let item: WaitingItem = serde_dynamo::from_item(item)
                    .map_err(|error| StoreError(format!("a waiting decision cannot be read: {error}")))?;
                found.push(Waiting {
                    place: WaitingPlace { at: item.updated_at, key: item.pk },
                    object: item.object_id,
                    addresses: item.decision.waits_for,
                });
                if found.len() == most {
                    return Ok(found);
                }
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    async fn waits_no_longer(&self, waiting: &Waiting) -> Result<(), StoreError> {
        let removed = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", text(&waiting.place.key))
            .update_expression("REMOVE waiting_grant")
            // A record that has ended meanwhile must not come back as an empty one.
            .condition_expression("attribute_exists(pk)")
            .send()
            .await;
        match removed {
            Ok(_) => Ok(()),
            Err(error) if is_condition_failure(&error) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }
}

impl ReadDecisions for DynamoLeases {
    async fn decisions_on(&self, function: &str, grant: &str, object: &str) -> Result<Vec<Decision>, StoreError> {
        // The index is in the order of `updated_at`.
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("by-object")
            .key_condition_expression("object_id = :object")
            .filter_expression("#function = :function AND grant_id = :grant AND #state = :done")
            .expression_attribute_names("#function", "function")
            .expression_attribute_names("#state", "state")
            .expression_attribute_values(":object", text(object))
            .expression_attribute_values(":function", text(function))
            .expression_attribute_values(":grant", text(grant))
            .expression_attribute_values(":done", text("done"))
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            for item in page.map_err(|error| self.not_read(&error))?.items.unwrap_or_default() {
                found.extend(read(item)?.decision);
            }
        }
        Ok(found)
    }
}

fn granted(key: &LeaseKey, record: &Record) -> Claim {
    Claim::Granted(Lease {
        key: key.clone(),
        fence: record.fence,
        unresolved: record.unresolved_claims.saturating_sub(1),
        failures: record.failures,
        first_failed_at: record.first_failed_at,
    })
}

fn refused(key: &LeaseKey, item: HashMap<String, AttributeValue>, claim_id: &str) -> Result<Claim, StoreError> {
    let record = read(item)?;
    if record.state == "in_progress" && record.claim_id == claim_id {
        return Ok(granted(key, &record));
    }
    match (record.state.as_str(), record.decision) {
        ("done", Some(decision)) => Ok(Claim::Duplicate { decision, content: record.content }),
        ("in_progress", _) => Ok(Claim::Busy {
            until: Timestamp::from_millisecond(record.lease_until)
                .map_err(|error| StoreError(format!("a lease has an unreadable end: {error}")))?,
        }),
        (state, _) => Err(StoreError(format!("a decision record is in the unknown state `{state}`"))),
    }
}

fn read(item: HashMap<String, AttributeValue>) -> Result<Record, StoreError> {
    serde_dynamo::from_item(item).map_err(|error| StoreError(format!("a decision record cannot be read: {error}")))
}

fn is_condition_failure(error: &SdkError<UpdateItemError>) -> bool {
    error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception)
}

fn item_of_condition_failure(error: &SdkError<UpdateItemError>) -> Option<HashMap<String, AttributeValue>> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(failure)) => failure.item.clone(),
        _ => None,
    }
}

fn end_of_life(now: Timestamp) -> i64 {
    now.checked_add(LIFE_HOURS.hours()).map_or(i64::MAX, Timestamp::as_second)
}

pub(super) fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

pub(super) fn number(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

//! The links table in DynamoDB: what became of each Nylas object, written only over the revision that was read.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, PutRequest, WriteRequest};
use futures_util::future::try_join_all;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::describe;
use super::leases::{number, text};
use crate::domain::link::{Link, LinkKey, LinkState, TOMBSTONE_DAYS};
use crate::engine::{Links, ManyLinks, PutLink, Revision, StoreError, StoredLink};

/// The links table.
#[derive(Debug, Clone)]
pub struct DynamoLinks {
    client: Client,
    table: String,
}

#[derive(Serialize, Deserialize)]
struct Item {
    #[serde(flatten)]
    link: Link,
    revision: u64,
    updated_at: String,
    /// A tombstone and a note end; a live link stays for as long as the thing it links.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    expires_at: Option<i64>,
}

impl DynamoLinks {
    /// Links in the given table.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, table: String) -> Self {
        Self { client: Client::new(config), table }
    }
}

fn unreadable(key: &str, problem: &serde_dynamo::Error) -> StoreError {
    StoreError(format!("the link {key} cannot be read: {problem}"))
}

fn stored(item: HashMap<String, AttributeValue>) -> Result<StoredLink, serde_dynamo::Error> {
    let item: Item = serde_dynamo::from_item(item)?;
    Ok(StoredLink { link: item.link, revision: Revision(item.revision) })
}

fn item_of(link: &Link, revision: u64, now: Timestamp) -> Result<HashMap<String, AttributeValue>, StoreError> {
    let expires_at = match link.state {
        LinkState::Live { .. } => None,
        LinkState::Tombstone | LinkState::Note => {
            now.checked_add((TOMBSTONE_DAYS * 24).hours()).ok().map(Timestamp::as_second)
        }
    };
    serde_dynamo::to_item(Item { link: link.clone(), revision, updated_at: now.to_string(), expires_at })
        .map_err(|error| StoreError(format!("the link {} cannot be stored: {error}", link.key.as_str())))
}

impl Links for DynamoLinks {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("pk", text(key.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| StoreError(format!("the table {} could not be read: {}", self.table, describe(&error))))?;
        output.item.map(|item| stored(item).map_err(|problem| unreadable(key.as_str(), &problem))).transpose()
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
        let revision = expected.map_or(1, |revision| revision.0 + 1);
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item_of(link, revision, now)?));
        let put = match expected {
            None => put.condition_expression("attribute_not_exists(pk)"),
            Some(revision) => put
                .condition_expression("revision = :expected")
                .expression_attribute_values(":expected", number(revision.0)),
        };
        match put.send().await {
            Ok(_) => Ok(PutLink::Stored(Revision(revision))),
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(PutLink::Raced)
            }
            Err(error) => {
                Err(StoreError(format!("the table {} could not be written: {}", self.table, describe(&error))))
            }
        }
    }
}

/// The most items that one call reads, or writes (DynamoDB API reference, `BatchGetItem` and `BatchWriteItem`).
const MOST_READ: usize = 100;
const MOST_WRITTEN: usize = 25;

/// How often what the table left undone is asked for again, and how long after the first time; it doubles.
const MOST_TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(50);

impl DynamoLinks {
    async fn read_some(&self, keys: &[&LinkKey]) -> Result<Vec<StoredLink>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        let keys = keys.iter().map(|key| HashMap::from([("pk".to_owned(), text(key.as_str()))]));
        let asked = KeysAndAttributes::builder().set_keys(Some(keys.collect())).consistent_read(true).build();
        let asked = asked.map_err(|error| StoreError(error.to_string()))?;
        let mut left = Some(HashMap::from([(self.table.clone(), asked)]));
        for tried in 0..MOST_TRIES {
            let Some(asked) = left.take().filter(|asked| !asked.is_empty()) else { return Ok(found) };
            if tried > 0 {
                tokio::time::sleep(FIRST_WAIT * 2u32.pow(tried - 1)).await;
            }
            let output = self.client.batch_get_item().set_request_items(Some(asked)).send().await.map_err(|error| {
                StoreError(format!("the table {} could not be read: {}", self.table, describe(&error)))
            })?;
            for item in output.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                let key = item.get("pk").and_then(|key| key.as_s().ok()).cloned().unwrap_or_default();
                found.push(stored(item).map_err(|problem| unreadable(&key, &problem))?);
            }
            left = output.unprocessed_keys;
        }
        match left.filter(|left| !left.is_empty()) {
            Some(_) => Err(StoreError(format!("the table {} hands over too little at a time", self.table))),
            None => Ok(found),
        }
    }

    async fn write_some(&self, items: Vec<HashMap<String, AttributeValue>>) -> Result<(), StoreError> {
        let requests: Result<Vec<WriteRequest>, _> = items
            .into_iter()
            .map(|item| {
                Ok(WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(item)).build()?).build())
            })
            .collect();
        let requests = requests.map_err(|error: BuildError| StoreError(error.to_string()))?;
        let mut left = Some(HashMap::from([(self.table.clone(), requests)]));
        for tried in 0..MOST_TRIES {
            let Some(asked) = left.take().filter(|asked| !asked.is_empty()) else { return Ok(()) };
            if tried > 0 {
                tokio::time::sleep(FIRST_WAIT * 2u32.pow(tried - 1)).await;
            }
            let output = self.client.batch_write_item().set_request_items(Some(asked)).send().await;
            left = output
                .map_err(|error| {
                    StoreError(format!("the table {} could not be written: {}", self.table, describe(&error)))
                })?
                .unprocessed_items;
        }
        match left.filter(|left| !left.is_empty()) {
            Some(_) => Err(StoreError(format!("the table {} takes too little at a time", self.table))),
            None => Ok(()),
        }
    }
}

impl ManyLinks for DynamoLinks {
    async fn get_many(&self, keys: &[LinkKey]) -> Result<Vec<Option<StoredLink>>, StoreError> {
        let distinct: Vec<&LinkKey> = keys.iter().collect::<HashSet<_>>().into_iter().collect();
        let mut reads = Vec::new();
        for keys in distinct.chunks(MOST_READ) {
            reads.push(self.read_some(keys));
        }
        let read = try_join_all(reads).await?;
        let found: HashMap<LinkKey, StoredLink> =
            read.into_iter().flatten().map(|stored| (stored.link.key.clone(), stored)).collect();
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn put_many(&self, links: &[Link], now: Timestamp) -> Result<(), StoreError> {
        let mut writes = Vec::new();
        for links in links.chunks(MOST_WRITTEN) {
            let items: Vec<_> = links.iter().map(|link| item_of(link, 1, now)).collect::<Result<_, _>>()?;
            writes.push(self.write_some(items));
        }
        try_join_all(writes).await?;
        Ok(())
    }
}

//! The links table in DynamoDB: what became of each Nylas object, written only over the revision that was read.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

use super::describe;
use super::leases::{number, text};
use crate::domain::link::{Link, LinkKey, LinkState, TOMBSTONE_DAYS};
use crate::engine::{Links, PutLink, Revision, StoreError, StoredLink};

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
        output
            .item
            .map(|item| {
                let item: Item = serde_dynamo::from_item(item)
                    .map_err(|error| StoreError(format!("the link {} cannot be read: {error}", key.as_str())))?;
                Ok(StoredLink { link: item.link, revision: Revision(item.revision) })
            })
            .transpose()
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
        let revision = expected.map_or(1, |revision| revision.0 + 1);
        let expires_at = match link.state {
            LinkState::Live { .. } => None,
            LinkState::Tombstone | LinkState::Note => {
                now.checked_add((TOMBSTONE_DAYS * 24).hours()).ok().map(Timestamp::as_second)
            }
        };
        let item: HashMap<String, AttributeValue> =
            serde_dynamo::to_item(Item { link: link.clone(), revision, updated_at: now.to_string(), expires_at })
                .map_err(|error| StoreError(format!("the link {} cannot be stored: {error}", link.key.as_str())))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
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

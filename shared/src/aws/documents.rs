//! A table of documents in DynamoDB, each under one key, written only over the revision that was read.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::HashMap;

use super::describe;
use super::leases::{number, text};
use crate::engine::{Documents, PutDocument, Revision, StoreError, StoredDocument};

/// What a document has beside its own fields.
const REVISION: &str = "revision";
const UPDATED_AT: &str = "updated_at";

/// A table of documents.
#[derive(Debug, Clone)]
pub struct DynamoDocuments {
    client: Client,
    table: String,
    key: &'static str,
}

impl DynamoDocuments {
    /// Documents in the given table, whose key attribute has the given name. No document has a field of that name, nor
    /// `revision` or `updated_at`.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, table: String, key: &'static str) -> Self {
        Self { client: Client::new(config), table, key }
    }
}

impl Documents for DynamoDocuments {
    async fn read(&self, key: &str) -> Result<Option<StoredDocument>, StoreError> {
        let output =
            self.client.get_item().table_name(&self.table).key(self.key, text(key)).consistent_read(true).send();
        let output = output
            .await
            .map_err(|error| StoreError(format!("the table {} could not be read: {}", self.table, describe(&error))))?;
        let Some(item) = output.item else { return Ok(None) };
        let unreadable =
            |problem: String| StoreError(format!("a document of {} cannot be read: {problem}", self.table));
        let mut fields: Map<String, Value> =
            serde_dynamo::from_item(item).map_err(|error| unreadable(error.to_string()))?;
        let revision = fields.remove(REVISION).as_ref().and_then(Value::as_u64);
        let revision = revision.ok_or_else(|| unreadable("it has no revision".to_owned()))?;
        fields.remove(self.key);
        fields.remove(UPDATED_AT);
        Ok(Some(StoredDocument { fields, revision: Revision(revision) }))
    }

    async fn write(
        &self,
        key: &str,
        fields: &Map<String, Value>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> Result<PutDocument, StoreError> {
        let revision = expected.map_or(1, |revision| revision.0 + 1);
        let mut item: HashMap<String, AttributeValue> = serde_dynamo::to_item(fields)
            .map_err(|error| StoreError(format!("a document of {} cannot be stored: {error}", self.table)))?;
        item.insert(self.key.to_owned(), text(key));
        item.insert(REVISION.to_owned(), number(revision));
        item.insert(UPDATED_AT.to_owned(), text(&now.to_string()));
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = match expected {
            None => put.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", self.key),
            Some(revision) => put
                .condition_expression("revision = :expected")
                .expression_attribute_values(":expected", number(revision.0)),
        };
        match put.send().await {
            Ok(_) => Ok(PutDocument::Stored(Revision(revision))),
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(PutDocument::Raced)
            }
            Err(error) => {
                Err(StoreError(format!("the table {} could not be written: {}", self.table, describe(&error))))
            }
        }
    }
}

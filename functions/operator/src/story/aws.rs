//! The tables of the stack, read as they are stored.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Value};
use shared::aws::{SdkConfig, describe};
use shared::engine::StoreError;
use std::collections::HashMap;
use tokio::sync::OnceCell;

use super::{Records, Shelf};
use crate::stack_map::StackMap;

/// The tables.
#[derive(Debug)]
pub struct Tables {
    client: Client,
    sdk: SdkConfig,
    stack_id: String,
    decisions: String,
    links: String,
    /// Its name has no room in the environment, and few stories need it.
    customers: OnceCell<String>,
}

impl Tables {
    /// The tables of decisions and links with these names, and that of the customers of this stack.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String, decisions: String, links: String) -> Self {
        Self { client: Client::new(sdk), sdk: sdk.clone(), stack_id, decisions, links, customers: OnceCell::new() }
    }

    async fn customers(&self) -> Result<&str, StoreError> {
        let name = self.customers.get_or_try_init(async || {
            let map = StackMap::read(&self.sdk, &self.stack_id).await?;
            map.resource("OnboardingTable").map(str::to_owned)
        });
        name.await.map(String::as_str)
    }
}

fn read(item: HashMap<String, AttributeValue>, table: &str) -> Result<Map<String, Value>, StoreError> {
    serde_dynamo::from_item(item)
        .map_err(|error| StoreError(format!("an item of the table {table} cannot be read: {error}")))
}

impl Records for Tables {
    async fn item(&self, shelf: Shelf, key: &str) -> Result<Option<Map<String, Value>>, StoreError> {
        let (table, name) = match shelf {
            Shelf::Decisions => (self.decisions.as_str(), "pk"),
            Shelf::Links => (self.links.as_str(), "pk"),
            Shelf::Customers => (self.customers().await?, "email"),
        };
        let key = AttributeValue::S(key.to_owned());
        let output = self.client.get_item().table_name(table).key(name, key).consistent_read(true).send().await;
        let output =
            output.map_err(|error| StoreError(format!("the table {table} could not be read: {}", describe(&error))))?;
        output.item.map(|item| read(item, table)).transpose()
    }

    async fn about(&self, object: &str, most: usize) -> Result<Vec<Map<String, Value>>, StoreError> {
        let table = self.decisions.as_str();
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(table)
                .index_name("by-object")
                .key_condition_expression("object_id = :object")
                .expression_attribute_values(":object", AttributeValue::S(object.to_owned()))
                .scan_index_forward(false)
                .limit(i32::try_from(most - found.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(from)
                .send()
                .await
                .map_err(|error| StoreError(format!("the table {table} could not be read: {}", describe(&error))))?;
            for item in page.items.unwrap_or_default() {
                found.push(read(item, table)?);
            }
            from = page.last_evaluated_key;
            if from.is_none() || found.len() >= most {
                return Ok(found);
            }
        }
    }
}

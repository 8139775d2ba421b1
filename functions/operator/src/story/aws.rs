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
    async fn item(&self, table: Shelf, key: &str) -> Result<Option<Map<String, Value>>, StoreError> {
        let (table, name) = match table {
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

/// For tests: AWS, which gives the listed answers one after another.
#[cfg(test)]
pub(crate) mod testing {
    use aws_smithy_http_client::test_util::StaticReplayClient;
    use serde_json::Value;
    use shared::aws::SdkConfig;

    /// AWS with these answers, none of which is an error.
    pub fn replaying(answers: &[Value]) -> (StaticReplayClient, SdkConfig) {
        let answers: Vec<(u16, String)> = answers.iter().map(|answer| (200, answer.to_string())).collect();
        crate::testing::replaying(&answers)
    }

    /// The operations and bodies of the calls, in order.
    pub fn calls_of(client: &StaticReplayClient) -> Vec<(String, Value)> {
        let call = |request: &aws_sdk_dynamodb::config::http::HttpRequest| {
            let target = request.headers().get("x-amz-target").expect("a JSON protocol names its operation").to_owned();
            let body = request.body().bytes().expect("the body is in memory");
            (target, serde_json::from_slice(body).expect("JSON"))
        };
        client.actual_requests().map(call).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{calls_of, replaying};
    use super::*;
    use serde_json::json;

    fn tables(sdk: &SdkConfig) -> Tables {
        Tables::new(sdk, "stack".to_owned(), "dedup".to_owned(), "links".to_owned())
    }

    #[tokio::test]
    async fn item_is_read_consistently_and_as_it_is_stored() {
        let item = json!({
            "pk": { "S": "ticket#T-1" }, "revision": { "N": "2" }, "state": { "S": "live" },
            "facts": { "M": { "participants": { "L": [{ "S": "dana@acme.example" }] }, "incident": { "BOOL": false } } },
        });
        let (client, sdk) = replaying(&[json!({ "Item": item }), json!({})]);
        let tables = tables(&sdk);
        let read = tables.item(Shelf::Links, "ticket#T-1").await.expect("read").expect("an item");
        assert_eq!((&read["revision"], &read["facts"]["incident"]), (&json!(2), &json!(false)));
        assert_eq!(read["facts"]["participants"], json!(["dana@acme.example"]));
        assert_eq!(tables.item(Shelf::Decisions, "email-activity#n").await, Ok(None));
        let calls = calls_of(&client);
        assert!(
            calls.iter().all(|(target, call)| target == "DynamoDB_20120810.GetItem" && call["ConsistentRead"] == true)
        );
        assert_eq!(calls[0].1["Key"], json!({ "pk": { "S": "ticket#T-1" } }));
        assert_eq!((&calls[0].1["TableName"], &calls[1].1["TableName"]), (&json!("links"), &json!("dedup")));
    }

    #[tokio::test]
    async fn records_about_an_object_are_read_page_by_page_the_newest_first_up_to_as_many_as_are_wanted() {
        let item = |id: &str| json!({ "pk": { "S": id }, "object_id": { "S": "m-1" } });
        let more = json!({ "pk": { "S": "b" }, "object_id": { "S": "m-1" }, "updated_at": { "S": "t" } });
        let pages = [
            json!({ "Items": [item("a"), item("b")], "LastEvaluatedKey": more }),
            json!({ "Items": [item("c")], "LastEvaluatedKey": more }),
        ];
        let (client, sdk) = replaying(&pages);
        let found = tables(&sdk).about("m-1", 3).await.expect("read");
        assert_eq!(found.iter().map(|item| &item["pk"]).collect::<Vec<_>>(), ["a", "b", "c"]);
        let calls = calls_of(&client);
        assert_eq!(calls.len(), 2, "no more than are wanted");
        assert_eq!((&calls[0].1["ScanIndexForward"], &calls[0].1["IndexName"]), (&json!(false), &json!("by-object")));
        assert_eq!((&calls[0].1["Limit"], &calls[1].1["Limit"]), (&json!(3), &json!(1)));
        assert_eq!(calls[1].1["ExclusiveStartKey"], more);
    }
}

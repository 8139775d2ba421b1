//! What Pipedrive answers, and how its lists are read page by page.

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::Deadline;
use crate::http::{ApiClient, CallError};

/// How many entries a page of a list has at most (its parameter `limit`). A page costs the same, however long it is.
pub(super) const PAGE: &str = "500";

/// How many pages of one list are read at most: a list that is longer is asked for in the wrong way.
const MOST_PAGES: usize = 40;

/// What every answer is wrapped in.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    pub(super) data: T,
    #[serde(default)]
    pub(super) additional_data: Option<Additional>,
}

/// Where a list goes on: v2 has cursors, v1 counts.
#[derive(Deserialize)]
pub(super) struct Additional {
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    pagination: Option<Pagination>,
}

#[derive(Deserialize)]
struct Pagination {
    #[serde(default)]
    more_items_in_collection: bool,
    #[serde(default)]
    next_start: Option<u64>,
}

/// Something of which only the id counts.
#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) id: u64,
}

/// A page of what a search has found.
#[derive(Deserialize)]
pub(super) struct Hits {
    #[serde(default)]
    pub(super) items: Vec<Hit>,
}

#[derive(Deserialize)]
pub(super) struct Hit {
    pub(super) item: FoundPerson,
}

#[derive(Deserialize)]
pub(super) struct FoundPerson {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) emails: Vec<Value>,
}

#[derive(Deserialize)]
pub(super) struct Person {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) phones: Option<Vec<Phone>>,
    #[serde(default)]
    pub(super) is_deleted: bool,
    #[serde(default)]
    pub(super) custom_fields: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub(super) struct Phone {
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) value: String,
    #[serde(default)]
    pub(super) primary: bool,
    #[serde(default, deserialize_with = "text_or_nothing")]
    pub(super) label: String,
}

fn text_or_nothing<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize)]
pub(super) struct WireDeal {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) update_time: Option<String>,
    #[serde(default)]
    pub(super) is_deleted: bool,
}

/// An activity as it stands.
#[derive(Deserialize)]
pub(super) struct Activity {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) subject: Option<String>,
    #[serde(default)]
    pub(super) is_deleted: bool,
    #[serde(default)]
    pub(super) done: bool,
    #[serde(default)]
    pub(super) due_time: Option<String>,
    #[serde(default)]
    pub(super) duration: Option<String>,
    #[serde(default)]
    pub(super) location: Option<Value>,
    #[serde(default)]
    pub(super) participants: Option<Vec<Participant>>,
    #[serde(default)]
    pub(super) note: Option<String>,
    #[serde(default)]
    pub(super) public_description: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Participant {
    pub(super) person_id: u64,
}

/// A note as it stands.
#[derive(Deserialize)]
pub(super) struct WireNote {
    pub(super) id: u64,
    #[serde(default = "yes")]
    pub(super) active_flag: bool,
    #[serde(default)]
    pub(super) content: Option<String>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) email: Option<String>,
    #[serde(default = "yes")]
    pub(super) active_flag: bool,
}

#[derive(Deserialize)]
pub(super) struct PersonField {
    pub(super) field_name: String,
    pub(super) field_code: String,
    #[serde(default)]
    pub(super) field_type: String,
    #[serde(default)]
    pub(super) is_custom_field: bool,
}

#[derive(Deserialize)]
pub(super) struct ActivityType {
    pub(super) key_string: String,
}

/// Reads a list to its end, or until `is_enough` of a page.
pub(super) async fn list<T: DeserializeOwned>(
    client: &ApiClient,
    path: &[&str],
    query: &[(&str, &str)],
    what: &'static str,
    deadline: Deadline,
    mut is_enough: impl FnMut(&[T]) -> bool,
) -> Result<Vec<T>, CallError> {
    let mut all: Vec<T> = Vec::new();
    let mut next: Option<(&str, String)> = None;
    for _ in 0..MOST_PAGES {
        let mut request = client.request(Method::GET, path, what).query(query);
        if let Some((name, value)) = &next {
            request = request.query(&[(*name, value.as_str())]);
        }
        // v1 says null instead of an empty list.
        let page: Answer<Option<Vec<T>>> = request.read(deadline).await.map_err(at_collection)?;
        let entries = page.data.unwrap_or_default();
        let enough = is_enough(&entries);
        all.extend(entries);
        next = page.additional_data.and_then(|more| match (more.next_cursor, more.pagination) {
            (Some(cursor), _) if !cursor.is_empty() => Some(("cursor", cursor)),
            (_, Some(Pagination { more_items_in_collection: true, next_start: Some(start) })) => {
                Some(("start", start.to_string()))
            }
            _ => None,
        });
        if enough || next.is_none() {
            break;
        }
    }
    Ok(all)
}

/// A collection is always there, so a 404 for one means that the address is wrong or a route is gone, or that what a new
/// entry belongs to was just deleted: no message is at fault, and each is tried again, beginning with a look-up.
pub(super) fn at_collection(error: CallError) -> CallError {
    match error {
        CallError::NotFound { api, what, .. } => CallError::Unavailable {
            api,
            problem: format!(
                "it answered 404 or 410 for the {what}; check the parameter CrmBaseUrl, unless somebody has just deleted a person or a deal"
            ),
            retry_after: None,
            answered: true,
        },
        other => other,
    }
}

//! The paths of HubSpot's API and the forms of its answers, as its official clients have them.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};
use std::collections::{HashMap, HashSet};

use super::dialect::words;
use crate::http::CallError;

/// A path's beginning. The dated versions of the API (`/crm/objects/2026-03/…`) take and answer the same bodies.
pub(super) type Base = [&'static str; 3];

/// Records.
pub(super) const OBJECTS: &Base = &["crm", "v3", "objects"];

/// What belongs to what.
pub(super) const ASSOCIATIONS: &Base = &["crm", "v4", "associations"];

/// The properties of records.
pub(super) const PROPERTIES: &Base = &["crm", "v3", "properties"];

/// The users who can own records.
pub(super) const OWNERS: &Base = &["crm", "v3", "owners"];

/// The most inputs of a batch.
pub(super) const MOST_IN_A_BATCH: usize = 100;

/// The most calls that are made to find the inputs for which a batch is refused.
const MOST_CALLS_FOR_A_BATCH: usize = 40;

/// An id: a text, or a number taken as one.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(serde::de::Error::custom("an id must be a text or a number")),
    }
}

/// A record.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
    #[serde(default)]
    pub(super) properties: Map<String, Value>,
    #[serde(default)]
    pub(super) associations: HashMap<String, AssociatedIds>,
}

impl Record {
    /// A property that has a value.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// The ids of the records of a kind that belong to it, as far as the answer has them.
    pub(super) fn associated(&self, object: &str) -> HashSet<&str> {
        let ids = self.associations.get(object).map(|ids| ids.results.as_slice()).unwrap_or_default();
        ids.iter().map(|associated| associated.id.as_str()).collect()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AssociatedIds {
    results: Vec<OnlyId>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OnlyId {
    #[serde(deserialize_with = "id")]
    pub(super) id: String,
}

/// A page of a list or of a search.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) results: Vec<T>,
    #[serde(default)]
    paging: Option<Paging>,
}

impl<T> Page<T> {
    /// Where the next page begins.
    pub(super) fn after(&self) -> Option<String> {
        self.paging.as_ref()?.next.as_ref().map(|next| next.after.clone())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Paging {
    #[serde(default)]
    pub(super) next: Option<Next>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Next {
    #[serde(deserialize_with = "id")]
    pub(super) after: String,
}

/// The answer to a batch: 200, or 207 if not every input was served.
#[derive(Debug, Deserialize)]
pub(super) struct Batch<T> {
    pub(super) results: Vec<T>,
    #[serde(default)]
    pub(super) errors: Vec<BatchError>,
}

/// Why an input of a batch was not served.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct BatchError(Value);

impl BatchError {
    /// True if it is about the input with this id.
    pub(super) fn is_about(&self, id: &str) -> bool {
        let context = self.0["context"].as_object();
        let named = |value: &Value| match value {
            Value::Array(ids) => ids.iter().any(|named| is_id(named, id)),
            one => is_id(one, id),
        };
        is_id(&self.0["id"], id) || context.into_iter().flat_map(Map::values).any(named)
    }

    /// True if it says that there is no such record.
    pub(super) fn is_not_found(&self) -> bool {
        self.0["category"] == "OBJECT_NOT_FOUND"
    }

    /// It as the error of a call.
    pub(super) fn as_error(&self, api: &'static str, what: &'static str) -> CallError {
        let text = words(&self.0);
        match self.0["category"].as_str().unwrap_or_default() {
            "OBJECT_NOT_FOUND" => CallError::NotFound { api, what, gone: false },
            category if category.contains("RATE_LIMIT") => {
                CallError::RateLimited { api, status: 207, retry_after: None, allowance: Some(category.to_owned()) }
            }
            category if category.contains("INTERNAL") => {
                CallError::Unavailable { api, problem: text, retry_after: None, answered: true }
            }
            _ => CallError::Rejected { api, what, status: 207, text },
        }
    }
}

/// Addresses are named as they are kept, in lower case.
fn is_id(value: &Value, id: &str) -> bool {
    match value {
        Value::String(text) => text.eq_ignore_ascii_case(id),
        Value::Number(number) => number.to_string() == id,
        _ => false,
    }
}

/// A search for the records with a property that fulfils a condition. All that the description requires is there.
pub(super) fn search(filter: &Value, properties: &[&str], limit: usize, after: &str) -> Value {
    json!({
        "filterGroups": [{"filters": [filter]}],
        "properties": properties,
        "sorts": [],
        "limit": limit,
        "after": after,
    })
}

/// An error that is about the inputs of a batch: the others may be served without one of them.
pub(super) fn is_about_the_inputs(error: &CallError) -> bool {
    matches!(error, CallError::Rejected { .. } | CallError::NotFound { .. })
}

/// The parts in which the inputs of a batch are sent, if it is refused as a whole: halves, until each input that is
/// refused stands alone.
#[derive(Debug)]
pub(super) struct Halves {
    waiting: Vec<std::ops::Range<usize>>,
    calls: usize,
}

impl Halves {
    pub(super) fn of(inputs: usize) -> Self {
        Self { waiting: std::iter::once(0..inputs).filter(|part| !part.is_empty()).collect(), calls: 0 }
    }

    /// The next part to send.
    pub(super) fn next(&mut self) -> Option<std::ops::Range<usize>> {
        self.calls += 1;
        self.waiting.pop()
    }

    /// Sends a part in halves, and tells whether it does: not if it is one input alone, nor if too many calls were made.
    pub(super) fn split(&mut self, part: &std::ops::Range<usize>) -> bool {
        if part.len() < 2 || self.calls + self.waiting.len() + 2 > MOST_CALLS_FOR_A_BATCH {
            return false;
        }
        let middle = part.start + part.len() / 2;
        self.waiting.extend([middle..part.end, part.start..middle]);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which inputs stood alone, and how many calls it took, if these are refused.
    fn alone(inputs: usize, refused: &[usize]) -> (Vec<usize>, usize) {
        let (mut halves, mut alone, mut calls) = (Halves::of(inputs), Vec::new(), 0);
        while let Some(part) = halves.next() {
            calls += 1;
            if refused.iter().any(|input| part.contains(input)) && !halves.split(&part) {
                alone.extend(part);
            }
        }
        (alone, calls)
    }

    #[test]
    fn refused_input_is_found_without_losing_another() {
        assert_eq!(alone(100, &[37]).0, [37]);
        assert!(alone(100, &[37]).1 <= 15);
        assert_eq!(alone(100, &[0, 99]).0, [0, 99]);
        assert_eq!(alone(1, &[0]), (vec![0], 1));
        assert_eq!(alone(0, &[]), (Vec::new(), 0));
    }

    #[test]
    fn batch_that_is_refused_whatever_it_holds_is_given_up_before_it_costs_a_call_an_input() {
        let all: Vec<usize> = (0..100).collect();
        let (refused, calls) = alone(100, &all);
        assert_eq!(refused.len(), 100);
        assert!(calls <= MOST_CALLS_FOR_A_BATCH, "{calls}");
    }

    #[test]
    fn error_of_a_batch_names_its_input_in_its_context_or_its_id() {
        let error = |value: Value| serde_json::from_value::<BatchError>(value).expect("an error");
        let unknown = error(json!({"category": "OBJECT_NOT_FOUND", "context": {"ids": ["A@b.example", "7"]}}));
        assert!(unknown.is_about("a@b.example") && unknown.is_about("7") && !unknown.is_about("8"));
        assert!(unknown.is_not_found());
        assert!(error(json!({"category": "VALIDATION_ERROR", "id": 9})).is_about("9"));
    }
}

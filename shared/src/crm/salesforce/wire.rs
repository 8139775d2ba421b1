//! The calls of Salesforce that are made: queries, records, and several of them in one.

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::dialect::INVALID_FIELD;
use super::{API_VERSION, Object, SalesforceCrm, soql};
use crate::crm::collection_is_missing;
use crate::engine::{Deadline, Links};
use crate::http::{ApiRequest, CallError};

/// How many calls one composite call takes ("Composite" in the REST API Developer Guide).
pub(super) const MOST_PARTS: usize = 25;

/// How many of them may be queries.
pub(super) const MOST_QUERIES: usize = 5;

/// What a query found.
#[derive(Debug, Deserialize)]
pub(super) struct Found<T> {
    /// False if there is more than one answer holds.
    pub(super) done: bool,
    pub(super) records: Vec<T>,
}

/// A record that stands.
#[derive(Debug, Deserialize)]
pub(super) struct Id {
    #[serde(alias = "Id")]
    pub(super) id: String,
}

/// One call of a composite call.
#[derive(Debug, Clone)]
pub(super) struct Part {
    method: Method,
    /// The path below the version, and the query.
    place: String,
    body: Option<Map<String, Value>>,
}

impl Part {
    pub(super) fn query(query: &str) -> Self {
        Self { method: Method::GET, place: format!("query?q={}", soql::encoded(query)), body: None }
    }

    pub(super) fn update(object: Object, id: &str, body: Map<String, Value>) -> Self {
        Self { method: Method::PATCH, place: format!("sobjects/{}/{id}", object.name()), body: Some(body) }
    }

    /// The record of an object that bears a value in a field; both are made of letters, digits and `_`.
    pub(super) fn record_with(object: Object, field: &str, value: &str) -> Self {
        Self { method: Method::GET, place: format!("sobjects/{}/{field}/{value}", object.name()), body: None }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CompositeAnswer {
    composite_response: Vec<AnsweredPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnsweredPart {
    #[serde(default)]
    body: Value,
    http_status_code: u16,
    reference_id: String,
}

/// The answer to one call of a composite call.
pub(super) type Answered = Result<Value, CallError>;

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    pub(super) fn request(&self, method: Method, segments: &[&str], what: &'static str) -> ApiRequest<'_> {
        let path: Vec<&str> = ["services", "data", API_VERSION].into_iter().chain(segments.iter().copied()).collect();
        self.client.request(method, &path, what)
    }

    /// Asks one question.
    pub(super) async fn query<T: DeserializeOwned>(
        &self,
        query: &str,
        what: &'static str,
        deadline: Deadline,
    ) -> Result<Found<T>, CallError> {
        let found = self.request(Method::GET, &["query"], what).query(&[("q", query)]).read(deadline).await;
        found.map_err(|error| at_fault(collection_is_missing(error)))
    }

    /// Makes up to [`MOST_PARTS`] calls in one, of which [`MOST_QUERIES`] may be queries, and answers for each of them, in
    /// their order: what goes wrong with one goes wrong with no other.
    pub(super) async fn composite(
        &self,
        parts: &[Part],
        what: &'static str,
        deadline: Deadline,
    ) -> Result<Vec<Answered>, CallError> {
        let requests: Vec<Value> = parts
            .iter()
            .enumerate()
            .map(|(number, part)| {
                let mut request = json!({
                    "method": part.method.as_str(),
                    "url": format!("/services/data/{API_VERSION}/{}", part.place),
                    "referenceId": reference(number),
                });
                if let Some(body) = &part.body {
                    request["body"] = Value::from(body.clone());
                }
                request
            })
            .collect();
        let body = json!({"allOrNone": false, "compositeRequest": requests});
        let answer: Result<CompositeAnswer, CallError> =
            self.request(Method::POST, &["composite"], what).json(&body).read(deadline).await;
        let mut answered = answer.map_err(collection_is_missing)?.composite_response;
        let answer_of = |number: usize| {
            let place = answered.iter().position(|part| part.reference_id == reference(number));
            let Some(part) = place.map(|place| answered.swap_remove(place)) else {
                let problem = "one of its parts is missing".to_owned();
                return Err(CallError::Unreadable { api: self.client.name(), what, problem });
            };
            let status = StatusCode::from_u16(part.http_status_code).map_err(|_| CallError::Unreadable {
                api: self.client.name(),
                what,
                problem: "one of its parts has no status".to_owned(),
            })?;
            self.client.judge_part(status, part.body.to_string().into_bytes(), what).map_err(at_fault)?;
            Ok(part.body)
        };
        Ok((0..parts.len()).map(answer_of).collect())
    }

    /// Reads the answer to one call of a composite call.
    pub(super) fn read_part<T: DeserializeOwned>(&self, body: Value, what: &'static str) -> Result<T, CallError> {
        serde_json::from_value(body).map_err(|_| CallError::Unreadable {
            api: self.client.name(),
            what,
            problem: "one of its parts is of another shape".to_owned(),
        })
    }
}

fn reference(number: usize) -> String {
    format!("part{number}")
}

/// A field that is not there, or that the user who signs in may not see, is a matter of the set-up: names of fields come
/// from the field map alone, and no message is at fault.
pub(super) fn at_fault(error: CallError) -> CallError {
    match error {
        CallError::Rejected { api, text, .. } if text.starts_with(INVALID_FIELD) => CallError::NotSetUp {
            api,
            problem: format!(
                "{}; make the field, let the user who signs in see and edit it, or mend its name in \
                 settings/fields.toml",
                without_query(&text)
            ),
        },
        other => other,
    }
}

/// Words on a query without the query itself, which holds addresses.
fn without_query(words: &str) -> &str {
    let after = words.split_once("ERROR at Row:").and_then(|(_, place)| place.split_once('\n'));
    after.map_or(words, |(_, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_that_is_not_there_is_a_matter_of_the_set_up_and_told_without_addresses() {
        let words = "INVALID_FIELD: \nSELECT Id FROM Lead WHERE Email IN ('dana@acme.example') AND Rank__c = 1\n   ^\n\
                     ERROR at Row:1:Column:58\nNo such column 'Rank__c' on entity 'Lead'.";
        let rejected = CallError::Rejected { api: "the CRM", what: "contacts", status: 400, text: words.to_owned() };
        let text = at_fault(rejected).to_string();
        assert!(text.starts_with("the CRM is not set up: No such column 'Rank__c'"), "{text}");
        assert!(!text.contains("dana"), "{text}");
    }
}

//! The shipped `OpenAPI` documents as gatekeepers: hold requests and answers against one,
//! so that its stand-in (and any test) refuses exactly what the document refuses.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Result, StandInError};

/// The document of the REST CRM as it is shipped.
pub const REST_CRM_DOCUMENT: &str = include_str!("../../../shared/src/crm/rest-crm.openapi.yaml");

/// The document of the generic ticket system as it is shipped.
pub const REST_TICKETS_DOCUMENT: &str = include_str!("../../../shared/src/tickets/rest-tickets.openapi.yaml");

/// A parsed document with a validator for each of its component schemas.
pub struct OpenApiDocument {
    document: Value,
    schemas: BTreeMap<String, Validator>,
}

impl OpenApiDocument {
    /// Parses the shipped document of the REST CRM and compiles its schemas.
    pub fn rest_crm() -> Result<Self> {
        Self::parse(REST_CRM_DOCUMENT)
    }

    /// Parses the shipped document of the generic ticket system and compiles its schemas.
    pub fn rest_tickets() -> Result<Self> {
        Self::parse(REST_TICKETS_DOCUMENT)
    }

    /// Parses a document and compiles its schemas.
    pub fn parse(text: &str) -> Result<Self> {
        let document: Value =
            serde_norway::from_str(text).map_err(|error| StandInError::Document(error.to_string()))?;
        let names = document["components"]["schemas"]
            .as_object()
            .ok_or_else(|| StandInError::Document("it has no component schemas".to_owned()))?
            .keys();
        let mut schemas = BTreeMap::new();
        for name in names {
            // All schemas are in the root under their place in the document, so that references between them resolve.
            let root = json!({
                "$ref": format!("#/components/schemas/{name}"),
                "components": { "schemas": document["components"]["schemas"] },
            });
            let validator = jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&root)
                .map_err(|error| StandInError::Document(format!("schema {name}: {error}")))?;
            schemas.insert(name.clone(), validator);
        }
        Ok(Self { document, schemas })
    }

    /// The document as a JSON value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.document
    }

    /// Holds a body against a component schema. The error tells where and how it departs, in one line.
    pub fn check_body(&self, schema: &str, body: &Value) -> std::result::Result<(), String> {
        let Some(validator) = self.schemas.get(schema) else {
            return Err(format!("the document has no schema {schema}"));
        };
        let departures: Vec<String> = validator
            .iter_errors(body)
            .map(|error| match error.instance_path().to_string().as_str() {
                "" => error.to_string(),
                path => format!("{path}: {error}"),
            })
            .collect();
        if departures.is_empty() { Ok(()) } else { Err(departures.join("; ")) }
    }

    /// Holds a whole request against the operation that its path and method name: path, query, headers and JSON body.
    /// The error says which operation, and where the request departs from it.
    pub fn check_request(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        headers: &HeaderMap,
        body: &[u8],
    ) -> std::result::Result<(), String> {
        let Some(template) = self.template_of(method, path) else {
            return Err(format!("{method} {path}: the description has no such operation"));
        };
        let departs = |problem: String| format!("{method} {template}: {problem}");
        self.check_parameters(method, template, query, headers).map_err(departs)?;
        let operation = &self.document["paths"][template][method.to_ascii_lowercase()];
        let described = self.resolve(&operation["requestBody"]);
        let kinds = described["content"].as_object();
        if body.is_empty() {
            return if described["required"] == true { Err(departs("the body is missing".to_owned())) } else { Ok(()) };
        }
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let Some(content) = kinds.and_then(|kinds| kinds.get(kind)) else {
            return Err(departs(format!("it takes no body of the type {kind:?}")));
        };
        let body = match kind {
            "application/json" => {
                serde_json::from_slice(body).map_err(|error| departs(format!("the body is not JSON: {error}")))?
            }
            "application/x-www-form-urlencoded" => {
                url::form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value)).collect()
            }
            _ => Value::from(String::from_utf8_lossy(body)),
        };
        let schema = &content["schema"];
        let checked = match schema["$ref"].as_str().and_then(|target| target.strip_prefix("#/components/schemas/")) {
            Some(name) => self.check_body(name, &body),
            None => self.check_inline(schema, &body),
        };
        checked.map_err(|problem| departs(format!("the body departs: {problem}")))
    }

    /// The template of the path, for example `/contacts/{id}`: of several that fit, one without parameters comes first.
    #[must_use]
    pub fn template_of(&self, method: &str, path: &str) -> Option<&str> {
        let method = method.to_ascii_lowercase();
        let fits = |template: &str| {
            let (wanted, given) = (template.split('/'), path.split('/'));
            wanted.clone().count() == given.clone().count()
                && wanted.zip(given).all(|(wanted, given)| match wanted.find('{') {
                    // A segment may be a parameter in part: `v{version}`.
                    Some(begin) => given.starts_with(&wanted[..begin]) && given.len() > begin,
                    None => wanted == given,
                })
        };
        let paths = self.document["paths"].as_object()?;
        let fitting = paths.iter().filter(|(template, item)| item.get(&method).is_some() && fits(template));
        fitting.map(|(template, _)| template.as_str()).min_by_key(|template| template.matches('{').count())
    }

    fn check_inline(&self, schema: &Value, body: &Value) -> std::result::Result<(), String> {
        let mut root = schema.clone();
        root["components"] = json!({ "schemas": self.document["components"]["schemas"] });
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&root)
            .map_err(|error| format!("the document's schema cannot be used: {error}"))?
            .validate(body)
            .map_err(|error| format!("{}: {error}", error.instance_path()))
    }

    /// Holds the query and the headers of a request against what the document says of the operation:
    /// a parameter that it does not name is refused as well as one that is missing or malformed.
    pub fn check_parameters(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        headers: &HeaderMap,
    ) -> std::result::Result<(), String> {
        let operation = &self.document["paths"][path][method.to_ascii_lowercase()];
        let parameters: Vec<&Value> =
            operation["parameters"].as_array().into_iter().flatten().map(|parameter| self.resolve(parameter)).collect();
        for (name, _) in query {
            if !parameters.iter().any(|parameter| parameter["in"] == "query" && parameter["name"] == name.as_str()) {
                return Err(format!("the query parameter {name} is not known"));
            }
        }
        for parameter in parameters {
            let name = parameter["name"].as_str().unwrap_or_default();
            let given: Vec<&str> = match parameter["in"].as_str() {
                Some("query") => query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect(),
                Some("header") => {
                    headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default()).collect()
                }
                // The route has matched the path already.
                _ => continue,
            };
            match given.as_slice() {
                [] if parameter["required"] == true => return Err(format!("{name} is missing")),
                [] => {}
                [value] => self.check_value(&parameter["schema"], value).map_err(|error| format!("{name}: {error}"))?,
                _ => return Err(format!("{name} is given more than once")),
            }
        }
        Ok(())
    }

    fn check_value(&self, schema: &Value, value: &str) -> std::result::Result<(), String> {
        let value = Value::from(value);
        if let Some(name) = schema["$ref"].as_str().and_then(|target| target.strip_prefix("#/components/schemas/")) {
            return self.check_body(name, &value);
        }
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(schema)
            .map_err(|error| format!("the document's schema cannot be used: {error}"))?
            .validate(&value)
            .map_err(|error| error.to_string())
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        value["$ref"].as_str().and_then(|target| self.document.pointer(target.trim_start_matches('#'))).unwrap_or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crm() -> OpenApiDocument {
        OpenApiDocument::rest_crm().expect("the shipped document parses")
    }

    fn tickets() -> OpenApiDocument {
        OpenApiDocument::rest_tickets().expect("the shipped document parses")
    }

    fn examples_of(content: &Value) -> Vec<&Value> {
        let media = &content["content"]["application/json"];
        let many = media["examples"].as_object().into_iter().flat_map(|examples| examples.values());
        many.map(|example| &example["value"]).chain(media.get("example")).collect()
    }

    /// The names of the component schemas behind a body's `$ref` or `oneOf`.
    fn schema_names(content: &Value) -> Vec<String> {
        let schema = &content["content"]["application/json"]["schema"];
        let alternatives = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        alternatives
            .iter()
            .filter_map(|alternative| alternative["$ref"].as_str())
            .filter_map(|target| target.rsplit('/').next())
            .map(str::to_owned)
            .collect()
    }

    fn operations(document: &OpenApiDocument) -> Vec<(String, Value)> {
        let paths = document.value()["paths"].as_object().expect("the document has paths");
        paths
            .iter()
            .flat_map(|(path, item)| {
                ["get", "put", "post", "patch", "delete"]
                    .into_iter()
                    .filter_map(move |method| Some((format!("{method} {path}"), item.get(method)?.clone())))
            })
            .collect()
    }

    #[test]
    fn each_document_has_every_call_of_its_contract_and_no_other() {
        let of_crm = ["get /contacts", "patch /contacts/{id}", "post /activities", "put /meetings", "delete /meetings"];
        let of_tickets = ["post /tickets", "post /tickets/{id}/comments"];
        for (document, contract) in [(crm(), of_crm.as_slice()), (tickets(), of_tickets.as_slice())] {
            let mut calls: Vec<String> = operations(&document).into_iter().map(|(call, _)| call).collect();
            let mut contract = contract.to_vec();
            calls.sort_unstable();
            contract.sort_unstable();
            assert_eq!(calls, contract);
        }
    }

    #[test]
    fn every_example_follows_one_of_its_own_schemas() {
        for (document, least) in [(crm(), 15), (tickets(), 15)] {
            let mut checked = 0;
            for (call, operation) in operations(&document) {
                let answers = operation["responses"].as_object().expect("each call has answers").values();
                let contents = answers.map(|answer| document.resolve(answer)).chain(operation.get("requestBody"));
                for content in contents {
                    for example in examples_of(content) {
                        let names = schema_names(content);
                        let fitting = names.iter().filter(|name| document.check_body(name, example).is_ok()).count();
                        assert_eq!(fitting, 1, "{call}: {example}");
                        checked += 1;
                    }
                }
            }
            assert!(checked >= least, "only {checked} examples were found");
        }
    }

    #[test]
    fn every_request_schema_lists_all_its_keys_as_required_and_takes_no_other() {
        let of_crm = ["Activity", "Meeting", "NotetakerRecord", "Attendee", "ActionItem"];
        let of_tickets = ["Ticket", "Comment", "Correspondent"];
        let (crm, tickets) = (crm(), tickets());
        let of_crm = of_crm.map(|name| (name, &crm));
        for (name, document) in of_crm.into_iter().chain(of_tickets.map(|name| (name, &tickets))) {
            let schema = &document.value()["components"]["schemas"][name];
            let mut required: Vec<&str> =
                schema["required"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            required.sort_unstable();
            let mut known: Vec<&str> =
                schema["properties"].as_object().expect("an object").keys().map(String::as_str).collect();
            known.sort_unstable();
            assert_eq!(required, known, "{name}");
            assert_eq!(schema["additionalProperties"], false, "{name}");
        }
        assert_eq!(crm.value()["components"]["schemas"]["ContactPatch"]["additionalProperties"], false);
    }

    #[test]
    fn every_call_wants_the_bearer_token_and_names_the_errors_it_may_answer() {
        for document in [crm(), tickets()] {
            assert_eq!(document.value()["security"], json!([{ "bearer": [] }]));
            for (call, operation) in operations(&document) {
                assert!(operation.get("security").is_none(), "{call} overrides the token");
                for status in ["400", "401", "429", "500", "503"] {
                    assert!(operation["responses"].get(status).is_some(), "{call} does not name {status}");
                }
            }
        }
    }

    #[test]
    fn all_day_meetings_have_days_and_no_duration_and_others_have_moments() {
        let document = crm();
        let examples =
            &document.value()["paths"]["/meetings"]["put"]["requestBody"]["content"]["application/json"]["examples"];
        let timed = &examples["meeting"]["value"];
        let all_day = &examples["all_day"]["value"];
        let with = |meeting: &Value, key: &str, value: Value| {
            let mut changed = meeting.clone();
            changed[key] = value;
            document.check_body("Meeting", &changed)
        };
        assert!(with(all_day, "meeting_date", json!("2026-11-30T00:00:00Z")).is_err());
        assert!(with(all_day, "duration_minutes", json!(1440)).is_err());
        assert!(with(timed, "meeting_date", json!("2026-11-24")).is_err());
        assert!(with(timed, "meeting_date", json!("2026-11-24T15:00:00+01:00")).is_err());
        assert!(with(timed, "meeting_date", Value::Null).is_ok());
        assert!(with(timed, "meeting_status", json!("maybe")).is_err());
    }
}

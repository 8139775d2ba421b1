//! What is to be replayed, read from an event, or what is wrong with it.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::domain::notification::GrantId;
use std::collections::HashSet;

use super::fetched::{Kind, ObjectOf};
use super::notification::Routed;
use crate::command::{BadCommand, fields_of, filled, one_grant};

/// The most notifications of one event.
const MOST: usize = 100;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayOf {
    /// What is to be replayed.
    pub what: What,
    /// True if what was decided before is to be decided once more, under an id of its own.
    pub again: bool,
    /// True if nothing is to be done, only shown.
    pub dry_run: bool,
    fields: Map<String, Value>,
}

impl Eq for ReplayOf {}

/// What is to be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// These bodies.
    Notifications(Vec<String>),
    /// What can be routed of the unroutable queue.
    Unroutable,
    /// A dead letter.
    DeadLetter(Option<String>),
    /// An object as Nylas holds it.
    Object(ObjectOf),
}

impl What {
    /// Where it comes from, in a word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Notifications(_) => "event",
            Self::Unroutable => "unroutable",
            Self::DeadLetter(_) => "dead_letter",
            Self::Object(_) => "nylas",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    notification: Option<Value>,
    from: Option<From>,
    id: Option<String>,
    object: Option<ObjectFields>,
    again: Option<bool>,
    dry_run: Option<bool>,
    /// With it the fields of an object stand here, one by one, as a command line gives them.
    kind: Option<Kind>,
    grant_id: Option<String>,
    calendar_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    Unroutable,
    DeadLetter,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectFields {
    kind: Kind,
    id: Option<String>,
    grant_id: Option<String>,
    calendar_id: Option<String>,
}

fn wrong(field: &'static str, value: impl Into<String>, problem: impl Into<String>) -> BadCommand {
    BadCommand::Wrong { field, value: value.into(), problem: problem.into() }
}

impl ReplayOf {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({
            "command": "replay", "dry_run": true,
            "object": { "kind": "message", "id": "<its Nylas id>", "grant_id": "<the account's Nylas grant>" },
        })
    }

    /// The event that does what this one only shows.
    #[must_use]
    pub fn live(&self) -> Value {
        let mut event = self.fields.clone();
        event.insert("command".to_owned(), "replay".into());
        event.insert("dry_run".to_owned(), false.into());
        Value::Object(event)
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let given = fields.clone();
        let mut fields: Fields = fields_of(fields)?;
        if let Some(kind) = fields.kind.filter(|_| fields.object.is_none()) {
            let (id, grant_id, calendar_id) = (fields.id.take(), fields.grant_id.take(), fields.calendar_id.take());
            fields.object = Some(ObjectFields { kind, id, grant_id, calendar_id });
        } else if fields.kind.is_some() || fields.grant_id.is_some() || fields.calendar_id.is_some() {
            let problem =
                "`kind`, `id`, `grant_id` and `calendar_id` name an object together, in `object` or without it";
            return Err(wrong("object", "named in part", problem));
        }
        let id = filled("id", fields.id)?;
        if id.is_some() && fields.from != Some(From::DeadLetter) {
            let problem =
                "it is for a dead letter alone; an object is named by `object`, with its `kind` and `grant_id`";
            return Err(wrong("id", "given", problem));
        }
        let what = match (fields.notification, fields.from, fields.object) {
            (Some(notification), None, None) => What::Notifications(bodies_in(notification)?),
            (None, Some(From::Unroutable), None) => What::Unroutable,
            (None, Some(From::DeadLetter), None) => What::DeadLetter(id),
            (None, None, Some(object)) => What::Object(object_in(object)?),
            (None, None, None) => {
                let reason =
                    "give a `notification`, an `object` to fetch anew, or `from`: `unroutable` or `dead_letter`";
                return Err(BadCommand::Missing { field: "notification", reason });
            }
            _ => {
                let problem = "only one of `notification`, `from` and `object` can be replayed at a time";
                return Err(wrong("notification", "not alone", problem));
            }
        };
        Ok(Self {
            what,
            again: fields.again.unwrap_or_default(),
            dry_run: fields.dry_run.unwrap_or(true),
            fields: given,
        })
    }
}

fn object_in(fields: ObjectFields) -> Result<ObjectOf, BadCommand> {
    let reason = "an object is fetched by its Nylas id";
    let id = filled("id", fields.id)?.ok_or(BadCommand::Missing { field: "id", reason })?;
    let grant: GrantId = one_grant(fields.grant_id, "an object is of one account")?;
    // Nylas would take it, but what is remembered of an account stands under its id.
    if grant.as_str().contains('@') {
        return Err(BadCommand::NoGrantId);
    }
    let calendar = filled("calendar_id", fields.calendar_id)?;
    if calendar.is_some() && fields.kind != Kind::Event {
        return Err(wrong("calendar_id", "given", "it is for an event alone"));
    }
    Ok(ObjectOf { kind: fields.kind, id, grant, calendar })
}

/// The bodies in a field: each as a text, which says it to the byte, or as an object; one, a list, or an event of SQS or of
/// a Function URL as the samples have it.
fn bodies_in(given: Value) -> Result<Vec<String>, BadCommand> {
    const FIELD: &str = "notification";
    let items = match given {
        Value::Array(items) => items,
        Value::String(text) => match serde_json::from_str(&text) {
            // A file that holds a list: what is in it is not known to the byte.
            Ok(Value::Array(items)) => items,
            _ => vec![Value::String(text)],
        },
        one => vec![one],
    };
    let mut bodies = Vec::new();
    for item in items {
        match unwrapped(&item) {
            Ok(found) => bodies.extend(found),
            Err(problem) => return Err(wrong(FIELD, "an event of a function", problem)),
        }
    }
    if bodies.is_empty() {
        return Err(BadCommand::Empty(FIELD));
    }
    if bodies.len() > MOST {
        return Err(wrong(
            FIELD,
            format!("a list of {}", bodies.len()),
            format!("at most {MOST} are replayed at a time"),
        ));
    }
    let count = bodies.len();
    for (place, body) in bodies.iter().enumerate() {
        if let Routed::Nothing { problem } = Routed::of(body, &HashSet::new()) {
            let which = if count == 1 {
                "no notification".to_owned()
            } else {
                format!("no notification at place {}", place + 1)
            };
            return Err(wrong(FIELD, which, format!("{problem}; give the body as Nylas sends it")));
        }
    }
    Ok(bodies)
}

/// The bodies in one item.
fn unwrapped(item: &Value) -> Result<Vec<String>, String> {
    let parsed: Value;
    let (text, value) = match item {
        Value::String(text) => {
            parsed = serde_json::from_str(text).unwrap_or_default();
            (text.clone(), &parsed)
        }
        other => (other.to_string(), other),
    };
    if let Some(records) = value.get("Records").and_then(Value::as_array) {
        let bodies: Option<Vec<String>> =
            records.iter().map(|record| record.get("body")?.as_str().map(str::to_owned)).collect();
        return bodies.ok_or_else(|| "a record of it has no `body`".to_owned());
    }
    if value.get("rawPath").is_some() {
        if value.get("isBase64Encoded") == Some(&Value::Bool(true)) {
            return Err("its body is packed as base64: unpack it and give the body alone".to_owned());
        }
        let body = value.get("body").and_then(Value::as_str).ok_or_else(|| "the request has no `body`".to_owned())?;
        return Ok(vec![body.to_owned()]);
    }
    Ok(vec![text])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &Value) -> Result<ReplayOf, BadCommand> {
        ReplayOf::read(event.as_object().cloned().expect("an object"))
    }

    fn refused(event: &Value) -> String {
        read(event).expect_err(&event.to_string()).to_string()
    }

    const BODY: &str = r#"{ "type": "message.created","id":"n-1", "data": {"object":{"id":"m-1","grant_id":"g"}} }"#;

    fn bodies(notification: &Value) -> Vec<String> {
        match read(&json!({ "notification": notification })).expect("a request").what {
            What::Notifications(bodies) => bodies,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn body_as_a_text_stays_what_it_is_to_the_byte_whatever_it_is_wrapped_in() {
        let object: Value = serde_json::from_str(BODY).expect("JSON");
        assert_eq!(bodies(&json!(BODY)), [BODY]);
        assert_eq!(bodies(&json!([BODY, BODY])), [BODY, BODY]);
        let of_sqs = json!({ "Records": [{ "body": BODY }, { "body": BODY }] });
        assert_eq!(bodies(&of_sqs), [BODY, BODY]);
        assert_eq!(bodies(&json!(of_sqs.to_string())), [BODY, BODY]);
        assert_eq!(bodies(&json!({ "rawPath": "/webhooks/nylas", "body": BODY, "isBase64Encoded": false })), [BODY]);
        assert_eq!(bodies(&object), [object.to_string()]);
        assert_eq!(bodies(&json!(json!([object]).to_string())), [object.to_string()]);
    }

    #[test]
    fn nothing_is_done_unless_that_is_said_and_nothing_again_unless_that_is() {
        let asked = read(&json!({ "from": "unroutable" })).expect("a request");
        assert_eq!((asked.what.clone(), asked.dry_run, asked.again), (What::Unroutable, true, false));
        assert_eq!(asked.live(), json!({ "command": "replay", "from": "unroutable", "dry_run": false }));
        let asked = read(&json!({ "notification": BODY, "again": true, "dry_run": false })).expect("a request");
        assert!(asked.again && !asked.dry_run);
    }

    #[test]
    fn object_is_named_by_its_kind_its_id_and_its_account() {
        let event = json!({ "object": { "kind": "event", "id": " e ", "grant_id": "g", "calendar_id": "c" } });
        let What::Object(object) = read(&event).expect("a request").what else { panic!("an object") };
        let expected = ObjectOf {
            kind: Kind::Event,
            id: "e".to_owned(),
            grant: GrantId::parse("g").expect("a grant"),
            calendar: Some("c".to_owned()),
        };
        assert_eq!(object, expected);
        let one_by_one = json!({ "kind": "event", "id": "e", "grant_id": "g", "calendar_id": "c" });
        assert_eq!(read(&one_by_one).expect("a request").what, What::Object(expected));
    }

    #[test]
    fn wrong_request_is_told_what_is_wrong() {
        for (event, words) in [
            (json!({}), "give a `notification`, an `object` to fetch anew, or `from`"),
            (json!({ "notification": BODY, "from": "unroutable" }), "only one of"),
            (json!({ "from": "archive" }), "unknown variant `archive`"),
            (json!({ "from": "unroutable", "id": "n" }), "for a dead letter alone"),
            (json!({ "notification": "hello" }), "is no notification: the body is not a JSON object"),
            (
                json!({ "notification": [BODY, { "type": "message.created", "id": "n" }] }),
                "at place 2: the body has no `data`",
            ),
            (json!({ "notification": [] }), "`notification` is empty"),
            (json!({ "notification": vec![BODY; 101] }), "at most 100"),
            (json!({ "notification": { "type": "reconcile" } }), "make reconcile"),
            (json!({ "notification": { "rawPath": "/", "body": "aGk=", "isBase64Encoded": true } }), "base64"),
            (json!({ "object": { "kind": "mail", "id": "m", "grant_id": "g" } }), "unknown variant `mail`"),
            (json!({ "object": { "kind": "message", "grant_id": "g" } }), "`id` is missing"),
            (json!({ "object": { "kind": "message", "id": "m" } }), "`grant_id` is missing"),
            (json!({ "object": { "kind": "message", "id": "m", "grant_id": "a@b.example" } }), "by its Nylas grant id"),
            (
                json!({ "object": { "kind": "message", "id": "m", "grant_id": "g", "calendar_id": "c" } }),
                "for an event alone",
            ),
            (json!({ "id": "m", "grant_id": "g" }), "name an object together"),
            (json!({ "file": "x" }), "unknown field `file`"),
        ] {
            let told = refused(&event);
            assert!(told.contains(words), "{event}: {told}");
        }
    }
}

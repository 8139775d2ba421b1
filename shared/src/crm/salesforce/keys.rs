//! The custom field that bears our key: whether it is there, and whether it is an external id, by which Salesforce finds
//! records itself. Its descriptions do not say whether a field of activities can be one, so either answer works.

use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

use super::contacts::is_closed;
use super::wire::{Answered, MOST_QUERIES, Part};
use super::{Object, SalesforceCrm, soql};
use crate::domain::digest::sha256_hex;
use crate::engine::{Deadline, Links};
use crate::field_map::FieldMap;
use crate::http::CallError;
use crate::set_up::{SetUp, SetUpItem, SetUpState};

/// How long a field that was not there is taken for missing, so that a backlog of writes does not ask for each of them.
const MISSING_FOR: Duration = Duration::from_mins(1);

/// How many characters a text field holds at most.
const MOST_CHARACTERS: usize = 255;

/// What no record bears: keys of ours have another form.
const BORNE_BY_NONE: &str = "none";

/// A field that bears our key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyField {
    pub(super) object: Object,
    pub(super) name: String,
}

/// What a field that bears our key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// Salesforce finds the record that bears a value, and writes it or creates it.
    ExternalId,
    /// Records are found by a query.
    Text,
    /// There is no such field.
    Missing,
}

/// What was seen of a field, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    kind: KeyKind,
    at: Instant,
}

impl KeyField {
    /// The name under which it is remembered what it is good for.
    fn remembered_as(&self) -> String {
        format!("key {}.{}", self.object.name(), self.name)
    }

    /// Those of a field map, each once.
    fn all(map: &FieldMap) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for (section, object) in SECTIONS {
            let field = map.section(section).theirs("key").map(|name| Self { object, name: name.to_owned() });
            all.extend(field.filter(|field| !all.contains(field)));
        }
        all
    }

    fn remedy(&self) -> String {
        format!(
            "make the custom field {} on the object Activity (Setup, Object Manager, Activity, Fields & Relationships, New): \
             type Text, length {MOST_CHARACTERS}, External ID if that is offered, visible and editable for the user who \
             signs in",
            self.name
        )
    }
}

/// The sections whose records bear our key, and what they are in Salesforce.
const SECTIONS: [(&str, Object); 4] =
    [("mail", Object::Task), ("meeting", Object::Event), ("notes", Object::Task), ("task", Object::Task)];

impl KeyKind {
    fn name(self) -> &'static str {
        match self {
            Self::ExternalId => "external id",
            Self::Text => "text",
            Self::Missing => "missing",
        }
    }
}

/// A key as records bear it. Salesforce compares without regard to case, and a path takes some characters badly, so a key
/// with more than small letters, digits and dashes in it becomes a digest, and so does one that is too long.
pub(super) fn key_value(key: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if !key.is_empty() && key.len() <= MOST_CHARACTERS && key.bytes().all(is_plain) && key != BORNE_BY_NONE {
        return key.to_owned();
    }
    sha256_hex(&[key.as_bytes()])
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// What a field that bears our key is good for: [`KeyKind::ExternalId`] or [`KeyKind::Text`]. Asked once a process,
    /// and not even that if another process has asked within a day.
    pub(super) async fn kind_of(
        &self,
        field: &KeyField,
        map: &FieldMap,
        deadline: Deadline,
    ) -> Result<KeyKind, CallError> {
        // One asks for all.
        let mut seen = self.keys.lock().await;
        let fresh = |seen: &&Seen| seen.kind != KeyKind::Missing || seen.at.elapsed() < MISSING_FOR;
        let kind = if let Some(seen) = seen.get(field).filter(fresh) {
            seen.kind
        } else if let Some(kind) = self.remembered(field).await? {
            seen.insert(field.clone(), Seen { kind, at: Instant::now() });
            kind
        } else {
            for (field, kind) in self.look_at(KeyField::all(map), deadline).await? {
                self.remember(&field, kind).await?;
                seen.insert(field, Seen { kind, at: Instant::now() });
            }
            seen.get(field).map_or(KeyKind::Missing, |seen| seen.kind)
        };
        match kind {
            KeyKind::Missing => Err(CallError::NotSetUp { api: self.client.name(), problem: field.remedy() }),
            kind => Ok(kind),
        }
    }

    /// Takes note that a field is good for something else than was thought.
    pub(super) async fn kind_is(&self, field: &KeyField, kind: Option<KeyKind>) -> Result<(), CallError> {
        let mut seen = self.keys.lock().await;
        match kind {
            Some(kind) => seen.insert(field.clone(), Seen { kind, at: Instant::now() }),
            None => seen.remove(field),
        };
        self.remember(field, kind.unwrap_or(KeyKind::Missing)).await
    }

    async fn remembered(&self, field: &KeyField) -> Result<Option<KeyKind>, CallError> {
        let known = self.written.known(&field.remembered_as()).await?;
        let is_known = |kind: &KeyKind| known.as_ref().and_then(Value::as_str) == Some(kind.name());
        // One that was missing is looked for again: somebody may have made it since.
        Ok([KeyKind::ExternalId, KeyKind::Text].into_iter().find(is_known))
    }

    async fn remember(&self, field: &KeyField, kind: KeyKind) -> Result<(), CallError> {
        self.written.know(&field.remembered_as(), json!(kind.name())).await
    }

    /// Looks at fields, all in one call.
    async fn look_at(&self, fields: Vec<KeyField>, deadline: Deadline) -> Result<Vec<(KeyField, KeyKind)>, CallError> {
        const WHAT: &str = "look at the fields of activities";
        let mut looked_at = Vec::with_capacity(fields.len());
        // Two fields are usual, one for each object; there can be four.
        for fields in fields.chunks(MOST_QUERIES) {
            let parts: Vec<Part> = fields
                .iter()
                .flat_map(|field| {
                    let (object, name) = (field.object, &field.name);
                    let (from, none) = (object.name(), soql::literal(BORNE_BY_NONE));
                    let query = format!("SELECT Id FROM {from} WHERE {name} = {none} LIMIT 1");
                    [Part::query(&query), Part::record_with(object, name, BORNE_BY_NONE)]
                })
                .collect();
            let answers = self.composite(&parts, WHAT, deadline).await?;
            for (field, answers) in fields.iter().zip(answers.chunks(2)) {
                looked_at.push((field.clone(), kind_by(answers)?));
            }
        }
        Ok(looked_at)
    }
}

/// Judges a field by the answers to a query for a value that no record bears, and to a look by external id for it.
fn kind_by(answers: &[Answered]) -> Result<KeyKind, CallError> {
    let [by_query, by_id] = answers else { return Ok(KeyKind::Missing) };
    match by_query {
        Ok(_) => {}
        Err(CallError::NotSetUp { .. } | CallError::Rejected { .. }) => return Ok(KeyKind::Missing),
        Err(error) => return Err(error.clone()),
    }
    match by_id {
        // It was looked for, and nobody bears it (or, against all odds, somebody).
        Ok(_) | Err(CallError::NotFound { .. } | CallError::Rejected { status: 300, .. }) => Ok(KeyKind::ExternalId),
        Err(CallError::NotSetUp { .. } | CallError::Rejected { .. }) => Ok(KeyKind::Text),
        Err(error) => Err(error.clone()),
    }
}

impl<L: Links + Send + Sync> SetUp for SalesforceCrm<L> {
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        let map = self.fields.current().await?;
        let mut items = Vec::new();
        for (field, kind) in self.look_at(KeyField::all(&map), deadline).await? {
            self.kind_is(&field, Some(kind)).await?;
            items.push(SetUpItem {
                what: format!(
                    "the field {} (Text, {MOST_CHARACTERS}, External ID) of {}",
                    field.name,
                    field.object.name()
                ),
                state: match kind {
                    KeyKind::ExternalId => SetUpState::Present,
                    KeyKind::Text => SetUpState::DoneWithout {
                        instead:
                            "it is no External ID, so a record whose creation was cut short is found by a query; tick \
                                  External ID in the field's settings if Salesforce offers it there"
                                .to_owned(),
                    },
                    KeyKind::Missing => SetUpState::Missing { remedy: field.remedy() },
                },
            });
        }
        for (section, object) in
            SECTIONS.into_iter().filter(|(section, _)| map.section(section).theirs("key").is_none())
        {
            items.push(SetUpItem {
                what: format!("a field of {} for our key ({section})", object.name()),
                state: SetUpState::DoneWithout {
                    instead:
                        "settings/fields.toml names none, so a record whose creation was cut short may be there twice"
                            .to_owned(),
                },
            });
        }
        items.extend(self.reading(&map, deadline).await?);
        Ok(items)
    }
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// Whether what is read and written may be, by reading one record of each object with all its fields.
    async fn reading(&self, map: &FieldMap, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        const WHAT: &str = "look at the fields of objects";
        let people = [("contact", Object::Contact), ("lead", Object::Lead)];
        // What is looked at, the query that looks, and what is done where the user who signs in may not see it.
        let mut questions: Vec<(String, String, Option<&str>)> = Vec::new();
        for object in [Object::Contact, Object::Lead, Object::Event, Object::Task] {
            let sections = people.into_iter().chain(SECTIONS).filter(|(_, of)| *of == object);
            let mut fields: Vec<&str> = vec!["Id"];
            let named = sections.map(|(section, _)| map.section(section));
            for field in
                named.flat_map(|section| section.all_theirs().chain(section.fixed().keys().map(String::as_str)))
            {
                // Our key has been looked at, in words of its own.
                let is_key = SECTIONS.into_iter().any(|(section, _)| map.section(section).theirs("key") == Some(field));
                if !is_key && !fields.contains(&field) {
                    fields.push(field);
                }
            }
            let without = (object == Object::Lead).then_some("only contacts are looked up");
            let object = object.name();
            questions.push((
                format!("the fields of {object} that are named in the field map"),
                format!("SELECT {} FROM {object} LIMIT 1", fields.join(", ")),
                without,
            ));
        }
        questions.push((
            "the addresses of users".to_owned(),
            "SELECT Id, Email FROM User LIMIT 1".to_owned(),
            Some("every record belongs to the user who signs in"),
        ));
        let parts: Vec<Part> = questions.iter().map(|(_, query, _)| Part::query(query)).collect();
        let answers = self.composite(&parts, WHAT, deadline).await?;
        let mut items = Vec::with_capacity(questions.len());
        for ((what, _, without), answer) in questions.into_iter().zip(answers) {
            let state = match (answer, without) {
                (Ok(_), _) => SetUpState::Present,
                (Err(error), Some(without)) if is_closed(&error) || matches!(error, CallError::NotAllowed { .. }) => {
                    SetUpState::DoneWithout { instead: format!("{without}, because it may not be seen: {error}") }
                }
                (
                    Err(
                        error
                        @ (CallError::NotSetUp { .. } | CallError::Rejected { .. } | CallError::NotAllowed { .. }),
                    ),
                    _,
                ) => SetUpState::Missing { remedy: error.to_string() },
                (Err(error), _) => return Err(error),
            };
            items.push(SetUpItem { what, state });
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_that_salesforce_could_take_for_another_becomes_a_digest() {
        for plain in ["evt_1", "0c2e2bb4-4a2f-4e9d-9a86-1f6a3fd1f5f3", &"a".repeat(255)] {
            assert_eq!(key_value(plain), plain);
        }
        let odd = ["AAMkAD=", "AAMkad=", "a/b", "a b", "", "none", &"a".repeat(256)].map(key_value);
        assert!(odd.iter().all(|value| value.len() == 64), "{odd:?}");
        assert_ne!(odd[0], odd[1], "they differ in case alone");
    }

    fn rejected(status: u16) -> CallError {
        CallError::Rejected { api: "the CRM", what: "look", status, text: "no".to_owned() }
    }

    #[test]
    fn field_is_judged_by_what_is_said_of_a_value_that_nobody_bears() {
        let nobody = || CallError::NotFound { api: "the CRM", what: "look", gone: false };
        let down = || CallError::OutOfTime { api: "the CRM" };
        let found = || Ok(json!({"done": true, "records": []}));
        assert_eq!(kind_by(&[found(), Err(nobody())]), Ok(KeyKind::ExternalId));
        assert_eq!(kind_by(&[found(), Err(rejected(300))]), Ok(KeyKind::ExternalId));
        assert_eq!(kind_by(&[found(), Err(rejected(404))]), Ok(KeyKind::Text));
        assert_eq!(kind_by(&[found(), Err(rejected(400))]), Ok(KeyKind::Text));
        assert_eq!(kind_by(&[Err(rejected(400)), Err(rejected(404))]), Ok(KeyKind::Missing));
        assert_eq!(kind_by(&[found(), Err(down())]), Err(down()));
        assert_eq!(kind_by(&[Err(down()), Err(nobody())]), Err(down()));
    }
}

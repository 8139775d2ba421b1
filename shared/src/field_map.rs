//! Which of our fields goes where in a system at the other end, as data: a sound default for each system, built in, and a
//! file in which users change it (`settings/fields.toml` in the archive bucket).
//!
//! A built-in file names every field there is to map; one that is mapped to `""` is not sent.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aws::settings_file::SettingsFile;
use crate::http::CallError;

/// The file's key in the archive bucket.
pub const FIELDS_KEY: &str = "settings/fields.toml";

/// The name that the file has in errors.
const API: &str = "the file settings/fields.toml";

/// Where the fields of one kind of thing go.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Section {
    /// The name at the other end of each of our fields; empty for one that is not sent.
    fields: BTreeMap<String, String>,
    /// For some of our fields, what each of their values is called at the other end.
    values: BTreeMap<String, BTreeMap<String, String>>,
    /// What is always sent beside them, as it stands.
    fixed: Map<String, Value>,
}

impl Section {
    /// What one of our fields is called at the other end; none if it is not sent.
    #[must_use]
    pub fn theirs(&self, ours: &str) -> Option<&str> {
        self.fields.get(ours).map(String::as_str).filter(|theirs| !theirs.is_empty())
    }

    /// What a value of one of our fields is called at the other end: the value itself, where nothing is said of it.
    #[must_use]
    pub fn value<'a>(&'a self, ours: &str, value: &'a str) -> &'a str {
        self.values.get(ours).and_then(|values| values.get(value)).map_or(value, String::as_str)
    }

    /// What is said of the values of one of our fields: each with what it is called at the other end.
    pub fn translations(&self, ours: &str) -> impl Iterator<Item = (&str, &str)> {
        self.values.get(ours).into_iter().flatten().map(|(value, theirs)| (value.as_str(), theirs.as_str()))
    }

    /// What fields of ours are called at the other end, those that are not sent left out.
    pub fn all_theirs(&self) -> impl Iterator<Item = &str> {
        self.fields.values().map(String::as_str).filter(|theirs| !theirs.is_empty())
    }

    /// What is always sent, as it stands.
    #[must_use]
    pub fn fixed(&self) -> &Map<String, Value> {
        &self.fixed
    }

    /// What is sent for these values of ours: under the other end's names, in its words, with what is always sent.
    #[must_use]
    pub fn body<'a>(&self, values: impl IntoIterator<Item = (&'a str, Value)>) -> Map<String, Value> {
        let mut body = Map::new();
        for (ours, value) in values {
            let Some(theirs) = self.theirs(ours) else { continue };
            let value = match value {
                Value::String(text) => Value::from(self.value(ours, &text)),
                other => other,
            };
            body.insert(theirs.to_owned(), value);
        }
        body.extend(self.fixed.clone());
        body
    }

    fn overlaid_with(&mut self, other: Self) {
        self.fields.extend(other.fields);
        for (ours, values) in other.values {
            self.values.entry(ours).or_default().extend(values);
        }
        self.fixed.extend(other.fixed);
    }
}

/// Where everything goes in one system.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FieldMap {
    sections: BTreeMap<String, Section>,
    nothing: Section,
}

/// A file with something in it that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadFieldMap(String);

type File = BTreeMap<String, BTreeMap<String, Section>>;

impl FieldMap {
    /// Reads what the built-in file says of a system, and over it what a user's file does, if there is one.
    ///
    /// # Errors
    /// If one cannot be read, or the user's speaks of something that there is not: with the line, or the names there are.
    pub fn parse(system: &str, built_in: &str, users: Option<&str>) -> Result<Self, BadFieldMap> {
        let read = |text: &str| toml::from_str::<File>(text).map_err(|error| BadFieldMap(error.to_string()));
        let mut sections = read(built_in)?.remove(system).unwrap_or_default();
        let changes = users.map(read).transpose()?.and_then(|mut file| file.remove(system)).unwrap_or_default();
        for (name, change) in changes {
            let Some(section) = sections.get_mut(&name) else {
                let known: Vec<&str> = sections.keys().map(String::as_str).collect();
                return Err(BadFieldMap(format!(
                    "[{system}.{name}]: there is no such part; there are {}",
                    known.join(", ")
                )));
            };
            let known: Vec<&str> = section.fields.keys().map(String::as_str).collect();
            if let Some(unknown) =
                change.fields.keys().chain(change.values.keys()).find(|ours| !known.contains(&ours.as_str()))
            {
                let known = known.join(", ");
                return Err(BadFieldMap(format!(
                    "[{system}.{name}]: {unknown} is no field of ours; there are {known}"
                )));
            }
            section.overlaid_with(change);
        }
        Ok(Self { sections, nothing: Section::default() })
    }

    /// Where the fields of one kind of thing go, for example of a `meeting`.
    #[must_use]
    pub fn section(&self, name: &str) -> &Section {
        self.sections.get(name).unwrap_or(&self.nothing)
    }
}

/// The field map of one system as it stands.
pub struct FieldMaps {
    system: &'static str,
    built_in: &'static str,
    file: Option<SettingsFile>,
    held: tokio::sync::Mutex<Option<Held>>,
}

/// A map, and the user's text that it was read from.
type Held = (Option<Arc<str>>, Arc<FieldMap>);

impl FieldMaps {
    /// That of a system, with its built-in file, changed by the file in the archive bucket.
    #[must_use]
    pub fn new(system: &'static str, built_in: &'static str, file: SettingsFile) -> Self {
        Self { system, built_in, file: Some(file), held: tokio::sync::Mutex::default() }
    }

    /// That of a system with its built-in file alone.
    #[must_use]
    pub fn built_in(system: &'static str, built_in: &'static str) -> Self {
        Self { system, built_in, file: None, held: tokio::sync::Mutex::default() }
    }

    /// The map as it stands, at most a quarter of a minute old.
    ///
    /// # Errors
    /// One that passes, if the user's file cannot be read or used and no map was used before: nothing may be written to
    /// fields that the user has taken out.
    pub async fn current(&self) -> Result<Arc<FieldMap>, CallError> {
        let text = match &self.file {
            None => None,
            Some(file) => file.text().await.map_err(|error| CallError::Unavailable {
                api: API,
                problem: error.0,
                retry_after: None,
                answered: false,
            })?,
        };
        let mut held = self.held.lock().await;
        if let Some((known, map)) = &*held
            && *known == text
        {
            return Ok(Arc::clone(map));
        }
        match FieldMap::parse(self.system, self.built_in, text.as_deref()) {
            Ok(map) => {
                let map = Arc::new(map);
                *held = Some((text, Arc::clone(&map)));
                Ok(map)
            }
            Err(error) => {
                tracing::error!(key = FIELDS_KEY, "{error}; mend the file");
                match held.take() {
                    Some((_, before)) => {
                        *held = Some((text, Arc::clone(&before)));
                        Ok(before)
                    }
                    None => Err(CallError::NotSetUp { api: API, problem: format!("{error}; mend the file") }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BUILT_IN: &str = r#"
        [hubspot.meeting.fields]
        subject = "hs_meeting_title"
        location = "hs_meeting_location"
        organizer = ""
        status = "hs_meeting_outcome"
        [hubspot.meeting.values.status]
        confirmed = "SCHEDULED"
        cancelled = "CANCELED"
    "#;

    fn body(users: Option<&str>) -> Map<String, Value> {
        let map = FieldMap::parse("hubspot", BUILT_IN, users).expect("a map");
        map.section("meeting").body([
            ("subject", json!("Q3")),
            ("location", Value::Null),
            ("organizer", json!("rep@x.example")),
            ("status", json!("cancelled")),
        ])
    }

    #[test]
    fn fields_go_where_the_map_says_in_the_other_ends_words() {
        let expected = json!({"hs_meeting_title": "Q3", "hs_meeting_location": null, "hs_meeting_outcome": "CANCELED"});
        assert_eq!(Value::from(body(None)), expected);
    }

    #[test]
    fn users_file_adds_takes_out_translates_and_fixes_and_leaves_the_rest() {
        let users = r#"
            [hubspot.meeting.fields]
            organizer = "organizer__c"
            location = ""
            [hubspot.meeting.values.status]
            cancelled = "OFF"
            [hubspot.meeting.fixed]
            pipeline = "sales"
            [salesforce.meeting.fields]
            anything = "of another system"
        "#;
        let expected = json!({"hs_meeting_title": "Q3", "organizer__c": "rep@x.example", "hs_meeting_outcome": "OFF", "pipeline": "sales"});
        assert_eq!(Value::from(body(Some(users))), expected);
    }

    #[test]
    fn what_is_said_of_a_fields_values_can_be_gone_through() {
        let map = FieldMap::parse("hubspot", BUILT_IN, None).expect("a map");
        let said: Vec<_> = map.section("meeting").translations("status").collect();
        assert_eq!(said, [("cancelled", "CANCELED"), ("confirmed", "SCHEDULED")]);
        assert_eq!(map.section("meeting").translations("subject").count(), 0);
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_place_and_what_there_is() {
        let of = |users| FieldMap::parse("hubspot", BUILT_IN, Some(users)).expect_err("bad").to_string();
        assert!(of("[hubspot.meting.fields]\n").contains("there are meeting"));
        assert!(
            of("[hubspot.meeting.fields]\nplace = \"x\"").contains("place is no field of ours; there are location")
        );
        assert!(of("[hubspot.meeting.fields]\nsubject = 1").contains("line 2"));
    }

    #[tokio::test]
    async fn map_without_a_users_file_is_the_built_in_one() {
        let map = FieldMaps::built_in("hubspot", BUILT_IN).current().await.expect("a map");
        assert_eq!(map.section("meeting").theirs("subject"), Some("hs_meeting_title"));
        assert_eq!(map.section("meeting").theirs("organizer"), None);
        assert_eq!(map.section("email"), &Section::default());
    }
}

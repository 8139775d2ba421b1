//! What Pipedrive needs once: custom fields of persons, and the activity types that the field map names.
//!
//! The look for them is boxed: it happens seldom, and would make the future of every call a large one.

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::PipedriveCrm;
use super::contacts::PHONES;
use super::wire::{ActivityType, Answer, PAGE, PersonField, at_collection, list};
use crate::crm::contact_fields::ContactField;
use crate::engine::{Deadline, Links};
use crate::field_map::FieldMap;
use crate::http::CallError;
use crate::set_up::{SetUp, SetUpItem, SetUpState};

/// Under which names the results are remembered.
const KEYS_KNOWN_AS: &str = "person-fields";
const TYPES_KNOWN_AS: &str = "activity-types";

/// The kind of thing that a custom field is, in the table of what was written.
const KIND: &str = "person_field";

/// How soon it is looked again for an activity type that was missing.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// The types of custom fields that take a text as it is.
const TEXT_TYPES: [&str; 4] = ["varchar", "varchar_auto", "text", "phone"];

/// The custom fields of persons that our fields go to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    /// Their names by the field map.
    names: BTreeMap<ContactField, String>,
    /// The keys of those that are there.
    keys: BTreeMap<ContactField, String>,
}

impl Keys {
    /// The key of the custom field that a field of ours goes to; none if there is no such field.
    pub(super) fn key(&self, field: ContactField) -> Option<&str> {
        self.keys.get(&field).map(String::as_str)
    }

    /// All keys, as a parameter takes them.
    pub(super) fn joined(&self) -> String {
        self.keys.values().map(String::as_str).collect::<Vec<_>>().join(",")
    }
}

/// The activity types that the field map names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Types {
    named: BTreeSet<String>,
    /// Those that the account does not have.
    missing: BTreeSet<String>,
}

/// The results as this process holds them.
#[derive(Default)]
pub(super) struct Held {
    keys: tokio::sync::Mutex<Option<Arc<Keys>>>,
    types: tokio::sync::Mutex<Option<(Instant, Types)>>,
}

impl<L: Links + Send + Sync> SetUp for PipedriveCrm<L> {
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        let map = self.fields.current().await?;
        let mut held_types = self.held.types.lock().await;
        let mut held_keys = self.held.keys.lock().await;
        let (mut items, keys) = Box::pin(self.look_for_fields(custom_fields(&map), deadline)).await?;
        let (of_types, types) = Box::pin(self.look_for_types(activity_types(&map), deadline)).await?;
        items.extend(of_types);
        self.written.know(KEYS_KNOWN_AS, json!(keys)).await?;
        self.remember(&types).await?;
        *held_keys = Some(Arc::new(keys));
        *held_types = Some((Instant::now(), types));
        Ok(items)
    }
}

impl<L: Links + Send + Sync> PipedriveCrm<L> {
    /// The custom fields of persons: as this process knows them, as they were learnt within the last day, or looked for
    /// (and made) now.
    pub(super) async fn keys(&self, map: &FieldMap, deadline: Deadline) -> Result<Arc<Keys>, CallError> {
        let names = custom_fields(map);
        let mut held = self.held.keys.lock().await;
        if let Some(keys) = held.as_ref().filter(|keys| keys.names == names) {
            return Ok(Arc::clone(keys));
        }
        let learnt = self.learnt::<Keys>(KEYS_KNOWN_AS).await?.filter(|keys| keys.names == names);
        let keys = if let Some(learnt) = learnt {
            learnt
        } else {
            let (_, keys) = Box::pin(self.look_for_fields(names, deadline)).await?;
            self.written.know(KEYS_KNOWN_AS, json!(keys)).await?;
            keys
        };
        Ok(Arc::clone(held.insert(Arc::new(keys))))
    }

    /// Makes sure that activities of this section of the field map can be written.
    pub(super) async fn ready_for(&self, map: &FieldMap, section: &str, deadline: Deadline) -> Result<(), CallError> {
        let Some(wanted) = activity_type(map, section) else { return Ok(()) };
        let named = activity_types(map);
        let mut held = self.held.types.lock().await;
        let is_good = |at: &Instant, types: &Types| {
            types.named == named && (types.missing.is_empty() || at.elapsed() < LOOK_AGAIN_AFTER)
        };
        if !held.as_ref().is_some_and(|(at, types)| is_good(at, types)) {
            let learnt = self.learnt::<Types>(TYPES_KNOWN_AS).await?.filter(|types| types.named == named);
            let types = if let Some(learnt) = learnt {
                learnt
            } else {
                let (_, types) = Box::pin(self.look_for_types(named, deadline)).await?;
                self.remember(&types).await?;
                types
            };
            *held = Some((Instant::now(), types));
        }
        if held.as_ref().is_some_and(|(_, types)| types.missing.contains(wanted)) {
            let problem = format!("it has no activity type {wanted}; {}", remedy_of_type(section));
            return Err(CallError::NotSetUp { api: self.client.name(), problem });
        }
        Ok(())
    }

    async fn learnt<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, CallError> {
        Ok(self.written.known(name).await?.and_then(|known| serde_json::from_value(known).ok()))
    }

    /// What is missing is not remembered: once it is there, writing goes on.
    async fn remember(&self, types: &Types) -> Result<(), CallError> {
        if types.missing.is_empty() { self.written.know(TYPES_KNOWN_AS, json!(types)).await } else { Ok(()) }
    }

    async fn look_for_fields(
        &self,
        names: BTreeMap<ContactField, String>,
        deadline: Deadline,
    ) -> Result<(Vec<SetUpItem>, Keys), CallError> {
        let mut items = Vec::new();
        let mut keys = BTreeMap::new();
        for (field, name) in &names {
            let (state, key) = self.field(name, deadline).await?;
            keys.extend(key.map(|key| (*field, key)));
            let what = format!("the custom field {name} (text) of persons, for the {}", words_of(*field));
            items.push(SetUpItem { what, state });
        }
        Ok((items, Keys { names, keys }))
    }

    async fn look_for_types(
        &self,
        named: BTreeSet<String>,
        deadline: Deadline,
    ) -> Result<(Vec<SetUpItem>, Types), CallError> {
        if named.is_empty() {
            return Ok((Vec::new(), Types { named, missing: BTreeSet::new() }));
        }
        let there = match self.activity_types_there(deadline).await {
            Err(error) if !is_no_right(&error) => return Err(error),
            there => there,
        };
        let mut missing = BTreeSet::new();
        let mut items = Vec::new();
        for name in &named {
            let state = match &there {
                Ok(there) if there.contains(name) => SetUpState::Present,
                Ok(_) => {
                    missing.insert(name.clone());
                    SetUpState::Missing { remedy: remedy_of_type("mail, meeting or task") }
                }
                Err(error) => SetUpState::DoneWithout { instead: format!("it is taken to be there: {error}") },
            };
            items.push(SetUpItem { what: format!("the activity type {name}"), state });
        }
        Ok((items, Types { named, missing }))
    }

    /// Whether a custom field is there, made if it is not, and its key.
    async fn field(&self, name: &str, deadline: Deadline) -> Result<(SetUpState, Option<String>), CallError> {
        let without = |why: String| {
            let instead = format!("the field is left out of what is kept fresh: {why}");
            Ok((SetUpState::DoneWithout { instead }, None))
        };
        // What was made so far is asked for first: what another instance makes meanwhile is then on the list.
        let made = self.written.standing(KIND, name).await?;
        let fields = match self.person_fields(deadline).await {
            Ok(fields) => fields,
            Err(error) if is_no_right(&error) => return without(error.to_string()),
            Err(error) => return Err(error),
        };
        if let Some(field) = named(&fields, name) {
            if TEXT_TYPES.contains(&field.field_type.as_str()) {
                return Ok((SetUpState::Present, Some(field.field_code.clone())));
            }
            let kind = &field.field_type;
            return without(format!("it is of the type {kind}; name another one in settings/fields.toml"));
        }
        // Not listed, though we made one: somebody has deleted it.
        if let Some(code) = made {
            self.written.gone(KIND, name, &code).await?;
        }
        let find = async {
            let fields = self.person_fields(deadline).await?;
            Ok(named(&fields, name).map(|field| field.field_code.clone()))
        };
        let create = async {
            let made: Answer<PersonField> = self
                .client
                .request(Method::POST, &["api", "v2", "personFields"], "custom field of persons")
                .json(&json!({ "field_name": name, "field_type": "varchar" }))
                .read(deadline)
                .await
                .map_err(at_collection)?;
            Ok(made.data.field_code)
        };
        match self.written.once(KIND, name, find, create).await {
            Ok(made) => Ok((SetUpState::Created, Some(made.id))),
            Err(error) if is_no_right(&error) || matches!(error, CallError::Rejected { .. }) => without(format!(
                "{error}; make it in Pipedrive (Company settings, Data fields, Person, type Text), or give the credential the right contact-fields:full"
            )),
            Err(error) => Err(error),
        }
    }

    async fn person_fields(&self, deadline: Deadline) -> Result<Vec<PersonField>, CallError> {
        let path = ["api", "v2", "personFields"];
        list(&self.client, &path, &[("limit", PAGE)], "list of the fields of persons", deadline, |_| false).await
    }

    /// The keys of the activity types (the page `ActivityTypes` of the API's reference; there is no such call in v2).
    async fn activity_types_there(&self, deadline: Deadline) -> Result<BTreeSet<String>, CallError> {
        let path = ["api", "v1", "activityTypes"];
        let types: Vec<ActivityType> =
            list(&self.client, &path, &[], "list of activity types", deadline, |_| false).await?;
        Ok(types.into_iter().map(|kind| kind.key_string).collect())
    }
}

/// The custom fields of persons that the field map names.
fn custom_fields(map: &FieldMap) -> BTreeMap<ContactField, String> {
    let section = map.section("contact");
    let theirs = ContactField::ALL.into_iter().filter_map(|field| Some((field, section.theirs(field.name())?)));
    theirs.filter(|(_, theirs)| *theirs != PHONES).map(|(field, theirs)| (field, theirs.to_owned())).collect()
}

fn activity_type<'a>(map: &'a FieldMap, section: &str) -> Option<&'a str> {
    map.section(section).fixed().get("type")?.as_str()
}

fn activity_types(map: &FieldMap) -> BTreeSet<String> {
    ["mail", "meeting", "task"].into_iter().filter_map(|name| activity_type(map, name)).map(str::to_owned).collect()
}

/// The custom field with this name, or with this key.
fn named<'a>(fields: &'a [PersonField], name: &str) -> Option<&'a PersonField> {
    fields.iter().find(|field| field.is_custom_field && (field.field_name == name || field.field_code == name))
}

fn is_no_right(error: &CallError) -> bool {
    matches!(error, CallError::NotAllowed { .. } | CallError::Unauthorized { status: 403, .. })
}

fn words_of(field: ContactField) -> &'static str {
    match field {
        ContactField::Phone => "telephone number",
        ContactField::JobTitle => "job title",
        ContactField::Company => "company",
    }
}

fn remedy_of_type(section: &str) -> String {
    format!(
        "make it in Pipedrive (Company settings, Activities), or name the key of another type under fixed.type of {section} in settings/fields.toml"
    )
}

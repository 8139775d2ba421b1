//! What HubSpot needs once: for each kind of record a property that holds our key, unique if the account allows it, and
//! the properties that a user's own field map names.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

use super::wire::PROPERTIES;
use super::{HubSpotCrm, Kind};
use crate::crm::collection_is_missing;
use crate::crm::contact_fields::ContactField;
use crate::engine::{Deadline, Links};
use crate::field_map::Section;
use crate::http::CallError;
use crate::set_up::{SetUp, SetUpItem, SetUpState};

/// How long it is taken for granted that something is missing still.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// How a kind of record can be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ready {
    /// The properties that were looked for.
    properties: Vec<String>,
    /// True if no two records can have the same key, and one is found by it at once.
    pub(super) key_is_unique: bool,
}

/// What is known of a kind of record.
pub(super) enum Readiness {
    /// It can be written.
    Ready(Ready),
    /// It cannot: when that was seen, of which properties, and what to do.
    NotYet(Instant, Vec<String>, String),
}

#[derive(Deserialize)]
struct Listed<T> {
    results: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    #[serde(default)]
    group_name: Option<String>,
    #[serde(default)]
    has_unique_value: bool,
}

#[derive(Deserialize)]
struct Group {
    name: String,
    #[serde(default)]
    archived: bool,
}

impl<L: Links + Send + Sync> SetUp for HubSpotCrm<L> {
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        let map = self.fields.current().await?;
        let mut items = Vec::new();
        for kind in Kind::ALL {
            items.extend(self.look(kind, map.section(kind.section()), deadline).await?.0);
        }
        let section = map.section("contact");
        let named: Vec<String> =
            ContactField::ALL.into_iter().filter_map(|field| section.theirs(field.name())).map(str::to_owned).collect();
        items.extend(match self.properties_of("contacts", deadline).await {
            Ok(standing) => named
                .iter()
                .filter(|name| standing.iter().all(|property| property.name != **name))
                .map(|name| missing_of_users("contacts", name))
                .collect(),
            Err(CallError::NotAllowed { .. }) => vec![may_not_be_read("contacts", &named.join(", "))],
            Err(error) => return Err(error),
        });
        Ok(items)
    }
}

impl<L: Links + Send + Sync> HubSpotCrm<L> {
    /// How records of a kind can be written: looked into once, and again a day later.
    pub(super) async fn ready(&self, kind: Kind, section: &Section, deadline: Deadline) -> Result<Ready, CallError> {
        let properties = properties(kind, section);
        let mut held = self.ready.lock().await;
        match held.get(&kind) {
            Some(Readiness::Ready(ready)) if ready.properties == properties => return Ok(ready.clone()),
            Some(Readiness::NotYet(since, of, problem)) if *of == properties && since.elapsed() < LOOK_AGAIN_AFTER => {
                return Err(self.not_set_up(problem));
            }
            _ => {}
        }
        let name = format!("set-up of {}", kind.object());
        let known = self.written.known(&name).await?.and_then(|known| serde_json::from_value::<Ready>(known).ok());
        if let Some(known) = known.filter(|known| known.properties == properties) {
            held.insert(kind, Readiness::Ready(known.clone()));
            return Ok(known);
        }
        // On the heap: it is done once a day.
        let (items, ready) = Box::pin(self.look(kind, section, deadline)).await?;
        let remedies: Vec<&str> = items
            .iter()
            .filter_map(|item| match &item.state {
                SetUpState::Missing { remedy } => Some(remedy.as_str()),
                _ => None,
            })
            .collect();
        if !remedies.is_empty() {
            let problem = remedies.join(" ");
            let error = self.not_set_up(&problem);
            held.insert(kind, Readiness::NotYet(Instant::now(), properties, problem));
            return Err(error);
        }
        self.written.know(&name, json!(ready)).await?;
        held.insert(kind, Readiness::Ready(ready.clone()));
        Ok(ready)
    }

    fn not_set_up(&self, problem: &str) -> CallError {
        CallError::NotSetUp { api: self.client.name(), problem: problem.to_owned() }
    }

    /// Looks for what records of a kind need, and makes the property of the key if it is not there.
    async fn look(
        &self,
        kind: Kind,
        section: &Section,
        deadline: Deadline,
    ) -> Result<(Vec<SetUpItem>, Ready), CallError> {
        let (object, key) = (kind.object(), section.theirs("key"));
        let mut ready = Ready { properties: properties(kind, section), key_is_unique: false };
        let standing = match self.properties_of(object, deadline).await {
            Ok(standing) => standing,
            Err(CallError::NotAllowed { .. }) => {
                return Ok((vec![may_not_be_read(object, &ready.properties.join(", "))], ready));
            }
            Err(error) => return Err(error),
        };
        let mut items: Vec<SetUpItem> = ready
            .properties
            .iter()
            .filter(|name| Some(name.as_str()) != key && standing.iter().all(|property| property.name != **name))
            .map(|name| missing_of_users(object, name))
            .collect();
        if let Some(key) = key {
            let state = match standing.iter().find(|property| property.name == key) {
                Some(property) if property.has_unique_value => SetUpState::Present,
                Some(_) => done_without(object, key),
                None => self.make(object, key, &standing, deadline).await?,
            };
            ready.key_is_unique = matches!(state, SetUpState::Present | SetUpState::Created);
            items.insert(0, SetUpItem { what: what(object, key), state });
        }
        Ok((items, ready))
    }

    async fn properties_of(&self, object: &str, deadline: Deadline) -> Result<Vec<Property>, CallError> {
        let request = self.call(Method::GET, PROPERTIES, &[object], "list of properties");
        let listed: Listed<Property> = request.read(deadline).await.map_err(collection_is_missing)?;
        Ok(listed.results)
    }

    /// Makes the property of a key: unique, or plain where the account has no room for one more that is.
    async fn make(
        &self,
        object: &str,
        key: &str,
        standing: &[Property],
        deadline: Deadline,
    ) -> Result<SetUpState, CallError> {
        let group = match self.group_of(object, standing, deadline).await {
            Err(CallError::NotAllowed { .. }) => return Ok(not_made(object, key, None)),
            group => group?,
        };
        let mut refusal = String::new();
        for unique in [true, false] {
            let body = json!({
                "groupName": group,
                "name": key,
                "label": label(key),
                "description": "Written by crm-autopilot, which finds its record by it. Please leave it as it is.",
                "type": "string",
                "fieldType": "text",
                "hasUniqueValue": unique,
                "formField": false,
            });
            let request = self.call(Method::POST, PROPERTIES, &[object], "property").json(&body);
            match request.send(deadline).await {
                Ok(_) if unique => return Ok(SetUpState::Created),
                Ok(_) => return Ok(done_without(object, key)),
                // Somebody else has made it just now.
                Err(CallError::Rejected { status: 409, .. }) => {
                    let request = self.call(Method::GET, PROPERTIES, &[object, key], "property");
                    let property: Property = request.read(deadline).await.map_err(collection_is_missing)?;
                    return Ok(if property.has_unique_value { SetUpState::Present } else { done_without(object, key) });
                }
                Err(CallError::NotAllowed { .. }) => return Ok(not_made(object, key, None)),
                Err(CallError::Rejected { text, .. }) => refusal = text,
                Err(error) => return Err(collection_is_missing(error)),
            }
        }
        Ok(not_made(object, key, Some(&refusal)))
    }

    /// The group of properties that a new one belongs to: the one with the information on the object itself.
    async fn group_of(&self, object: &str, standing: &[Property], deadline: Deadline) -> Result<String, CallError> {
        let request = self.call(Method::GET, PROPERTIES, &[object, "groups"], "list of property groups");
        let listed: Listed<Group> = request.read(deadline).await.map_err(collection_is_missing)?;
        let mut groups: Vec<String> =
            listed.results.into_iter().filter(|group| !group.archived).map(|group| group.name).collect();
        let of_object = object.trim_end_matches('s');
        groups.sort_by_key(|name| (!name.contains("information"), !name.contains(of_object)));
        let of_a_property = standing.iter().find_map(|property| property.group_name.clone());
        groups.into_iter().next().or(of_a_property).ok_or_else(|| CallError::Unreadable {
            api: self.client.name(),
            what: "list of property groups",
            problem: "it is empty".to_owned(),
        })
    }
}

/// The properties that records of a kind are written with, as the map names them.
fn properties(kind: Kind, section: &Section) -> Vec<String> {
    let mut names: Vec<String> =
        kind.fields().iter().filter_map(|ours| section.theirs(ours)).map(str::to_owned).collect();
    names.extend(section.fixed().keys().cloned());
    names.sort_unstable();
    names.dedup();
    names
}

fn what(object: &str, key: &str) -> String {
    format!("the property {key} (single-line text, unique) of {object}")
}

fn done_without(object: &str, key: &str) -> SetUpState {
    let instead = format!(
        "{key} of {object} is not unique: records are kept from being written twice by our own table alone; for a \
         second net, free one of the ten unique properties of {object}, delete {key}, and set up again"
    );
    SetUpState::DoneWithout { instead }
}

fn not_made(object: &str, key: &str, refusal: Option<&str>) -> SetUpState {
    let why = refusal.map_or("the credential may not".to_owned(), |words| format!("HubSpot refuses it: {words}"));
    SetUpState::Missing {
        remedy: format!(
            "Create the property with the internal name {key} for {object} in HubSpot (single-line text, unique values \
             required), for it could not be made ({why})."
        ),
    }
}

fn missing_of_users(object: &str, name: &str) -> SetUpItem {
    SetUpItem {
        what: format!("the property {name} of {object}"),
        state: SetUpState::Missing {
            remedy: format!(
                "Create the property with the internal name {name} for {object} in HubSpot, or take it out of \
                 settings/fields.toml."
            ),
        },
    }
}

fn may_not_be_read(object: &str, names: &str) -> SetUpItem {
    SetUpItem {
        what: format!("the properties {names} of {object}"),
        state: SetUpState::Missing {
            remedy: format!(
                "Give the credential of CrmApiKey the scopes crm.objects.contacts.read and crm.schemas.contacts.read, \
                 for the properties of {object} may not be read."
            ),
        },
    }
}

/// What people read: `nylas_event_id` as `Nylas event id`.
fn label(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut characters = words.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

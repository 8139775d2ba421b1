//! Contacts of the Nylas stand-in: lists and one, with the sources, the filters and the refusals of the original. Contacts
//! that are generated are made for the page that shows them, and held nowhere.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::generated_contacts::{generated_contact, index_of};
use super::messages::has_element;
use super::traffic::is_exchange;
use super::{
    Answered, Api, ApiError, Asked, Checked, Grant, Nylas, Parameters, Query, Result, StandInError, page_body,
};

const CONTACTS_LIMIT: (usize, usize) = (30, 200);

const SOURCES: [&str; 3] = ["address_book", "domain", "inbox"];

/// A picture of one white dot.
const PICTURE: &str = "R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==";

/// How many contacts a grant holds that nobody has put there, and what they are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedContacts {
    /// How many.
    pub count: usize,
    /// The same seed gives the same people.
    pub seed: u64,
}

impl Grant {
    /// How many positions a listing walks over: generated contacts first, then those that were put there.
    fn contact_positions(&self) -> usize {
        self.generated_contacts.count + self.contacts.len()
    }

    /// The contact at a position as it is shown; none where one was removed.
    fn contact_at(&self, position: usize) -> Option<Value> {
        let GeneratedContacts { count, seed } = self.generated_contacts;
        let mut contact = match position.checked_sub(count) {
            Some(place) => self.contacts.get(place).filter(|contact| !contact.is_null())?.clone(),
            None => match self.changed_contacts.get(&position) {
                Some(changed) => changed.clone()?,
                None => self.unchanged_contact(seed, position as u64),
            },
        };
        if is_exchange(&self.provider) {
            let emails = contact.get_mut("emails").and_then(Value::as_array_mut);
            for email in emails.into_iter().flatten().filter_map(Value::as_object_mut) {
                email.remove("type");
            }
        }
        Some(contact)
    }

    fn unchanged_contact(&self, seed: u64, index: u64) -> Value {
        let mut contact = generated_contact(seed, index, &self.provider);
        contact["grant_id"] = self.id.as_str().into();
        contact
    }

    fn position_of_contact(&self, id: &str) -> Option<usize> {
        let GeneratedContacts { count, seed } = self.generated_contacts;
        let generated = index_of(seed, id, &self.provider).and_then(|index| usize::try_from(index).ok());
        generated.filter(|index| *index < count).or_else(|| {
            let place = self.contacts.iter().position(|contact| contact["id"] == id)?;
            Some(count + place)
        })
    }

    fn contact_named(&self, id: &str) -> Option<Value> {
        self.contact_at(self.position_of_contact(id)?)
    }

    /// Puts a contact where one with its id is, or else behind all others.
    pub(super) fn put_contact(&mut self, contact: Value) {
        let known = contact["id"].as_str().and_then(|id| self.position_of_contact(id));
        match known.map(|position| position.checked_sub(self.generated_contacts.count).ok_or(position)) {
            Some(Ok(place)) => self.contacts[place] = contact,
            Some(Err(index)) => {
                self.changed_contacts.insert(index, Some(contact));
            }
            None => self.contacts.push(contact),
        }
    }

    /// Leaves the position of the contact empty, so that no cursor of a listing leads past another one.
    fn remove_contact(&mut self, id: &str) {
        let Some(position) = self.position_of_contact(id) else { return };
        match position.checked_sub(self.generated_contacts.count) {
            Some(place) => self.contacts[place] = Value::Null,
            None => {
                self.changed_contacts.insert(position, None);
            }
        }
    }
}

/// What a listing is narrowed to.
struct Wanted<'a> {
    sources: Option<Vec<&'a str>>,
    email: Option<&'a str>,
    phone_number: Option<&'a str>,
    group: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    fn read(asked: &'a Asked) -> std::result::Result<Self, ApiError> {
        let sources = asked.text("source").map(|sources| sources.split(',').map(str::trim).collect::<Vec<_>>());
        if let Some(unknown) = sources.iter().flatten().find(|source| !SOURCES.contains(source)) {
            return Err(ApiError::invalid(format!("source takes {SOURCES:?}, not {unknown}")));
        }
        asked.flag("recurse", false)?;
        Ok(Self {
            sources,
            email: asked.text("email"),
            phone_number: asked.text("phone_number"),
            group: asked.text("group"),
        })
    }

    /// The address book where no source is named, several at once on IMAP and iCloud alone, and no inbox on EWS (Nylas API
    /// reference, `GET /v3/grants/{grant_id}/contacts`).
    fn take_sources_of(&mut self, provider: &str) -> Checked {
        let sources = self.sources.get_or_insert_with(|| vec!["address_book"]);
        if sources.len() > 1 && !matches!(provider, "imap" | "icloud") {
            return Err(ApiError::invalid(format!("{provider} lists one source of contacts at a time")));
        }
        if provider == "ews" && sources.contains(&"inbox") {
            return Err(ApiError::invalid("ews has no contacts of the source inbox"));
        }
        Ok(())
    }

    fn fits(&self, contact: &Value) -> bool {
        let has = |list: &str, key: &str, wanted: Option<&str>| {
            let is_it = |value: &str| wanted.is_some_and(|wanted| value.eq_ignore_ascii_case(wanted));
            wanted.is_none() || has_element(&contact[list], |element| element[key].as_str().is_some_and(is_it))
        };
        let source = contact["source"].as_str().unwrap_or(SOURCES[0]);
        self.sources.as_ref().is_none_or(|sources| sources.contains(&source))
            && has("emails", "email", self.email)
            && has("phone_numbers", "number", self.phone_number)
            && has("groups", "id", self.group)
    }
}

fn refuse_without_contacts(grant: &Grant) -> Checked {
    match grant.provider.as_str() {
        provider @ ("virtual-calendar" | "zoom") => {
            Err(ApiError::invalid(format!("the provider {provider} has no contacts")))
        }
        _ => Ok(()),
    }
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> Answered {
    let known = ["limit", "page_token", "source", "email", "phone_number", "group", "recurse", "select"];
    let asked = Asked::check(query, &known)?;
    let mut wanted = Wanted::read(&asked)?;
    let (start, limit) = (asked.start()?, asked.limit(CONTACTS_LIMIT)?.min(api.largest_page));
    let (page, cursor) = api.use_grant(&grant, |grant| {
        refuse_without_contacts(grant)?;
        wanted.take_sources_of(&grant.provider)?;
        let mut found = (start..grant.contact_positions())
            .filter_map(|position| Some((position, grant.contact_at(position)?)))
            .filter(|(_, contact)| wanted.fits(contact));
        let page: Vec<Value> = found.by_ref().take(limit).map(|(_, contact)| contact).collect();
        Ok((page, found.next().map(|(position, _)| Asked::cursor(position))))
    })??;
    let shown = page.into_iter().map(without_picture).map(|contact| asked.show(&contact));
    Ok(api.success(page_body(shown.collect::<std::result::Result<_, _>>()?, cursor)))
}

pub(super) async fn find(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["select", "profile_picture"])?;
    let with_picture = asked.flag("profile_picture", false)?;
    let found = api.use_grant(&grant, |grant| {
        refuse_without_contacts(grant)?;
        grant.contact_named(&id).ok_or_else(ApiError::not_found)
    })??;
    let contact = if with_picture { with_picture_of(found) } else { without_picture(found) };
    Ok(api.success(Map::from_iter([("data".to_owned(), asked.show(&contact)?)])))
}

fn without_picture(mut contact: Value) -> Value {
    if let Some(contact) = contact.as_object_mut() {
        contact.remove("picture");
    }
    contact
}

fn with_picture_of(mut contact: Value) -> Value {
    if contact["picture_url"].is_string() && contact.get("picture").is_none() {
        contact["picture"] = PICTURE.into();
    }
    contact
}

impl Nylas {
    /// A contact as a listing of its grant shows it.
    #[must_use]
    pub fn contact(&self, grant_id: &str, contact_id: &str) -> Option<Value> {
        self.api.locked(|grants| grants.iter().find(|grant| grant.id == grant_id)?.contact_named(contact_id))
    }

    /// Puts a contact into a grant, in place of one with the same id, generated or not.
    pub fn put_contact(&self, grant_id: &str, contact: Value) -> Result<()> {
        self.with_contacts_of(grant_id, |grant| grant.put_contact(contact))
    }

    /// Takes a contact out of a grant, generated or not.
    pub fn remove_contact(&self, grant_id: &str, contact_id: &str) {
        let _ = self.with_contacts_of(grant_id, |grant| grant.remove_contact(contact_id));
    }

    /// Changes the generated contact with this index: what the patch names is replaced. Gives the contact as it is now; none
    /// where the grant generates no such contact or it was removed.
    pub fn change_generated_contact(&self, grant_id: &str, index: usize, patch: &Value) -> Result<Option<Value>> {
        self.with_contacts_of(grant_id, |grant| {
            let is_generated = index < grant.generated_contacts.count;
            let mut contact = is_generated.then(|| grant.contact_at(index)).flatten()?;
            if let (Some(contact), Some(patch)) = (contact.as_object_mut(), patch.as_object()) {
                contact.extend(patch.clone());
            }
            grant.changed_contacts.insert(index, Some(contact.clone()));
            Some(contact)
        })
    }

    fn with_contacts_of<T>(&self, grant_id: &str, change: impl FnOnce(&mut Grant) -> T) -> Result<T> {
        self.api.locked(|grants| {
            let grant = grants.iter_mut().find(|grant| grant.id == grant_id);
            grant.map(change).ok_or_else(|| StandInError::UnknownGrant(grant_id.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests;

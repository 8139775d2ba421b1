//! Grants of the Nylas stand-in: the accounts with all that is in them, their lists and their folders.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::{Path as UrlPath, State};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::contacts::GeneratedContacts;
use super::{Answered, Api, ApiError, Asked, Parameters, Query, page_body};

const FOLDERS_LIMIT: (usize, usize) = (50, 200);
const GRANTS_LIMIT: (usize, usize) = (10, 200);

/// A connected account with its folders and messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The grant id.
    pub id: String,
    /// The account's address.
    pub email: String,
    /// `google`, `microsoft`, `imap` and so on.
    pub provider: String,
    /// `valid` or `invalid`; an invalid grant lists nothing and answers 401 to everything below it.
    #[serde(default = "valid")]
    pub grant_status: String,
    /// Folder objects; the provider's usual ones where none are given.
    #[serde(default)]
    pub folders: Vec<Value>,
    /// Message objects with all they have; `headers`, `tracking_options` and `raw_mime` are shown only on request.
    #[serde(default)]
    pub messages: Vec<Value>,
    /// Calendar objects; the main one and those that events name where none are given.
    #[serde(default)]
    pub calendars: Vec<Value>,
    /// What has been changed of the calendars since, by calendar id; given or not, they are shown with it.
    #[serde(default)]
    pub calendar_changes: BTreeMap<String, Map<String, Value>>,
    /// Event objects with all they have.
    #[serde(default)]
    pub events: Vec<Value>,
    /// Notetaker objects; `media` and `history`, which are not part of the object, say what their own paths answer.
    #[serde(default)]
    pub notetakers: Vec<Value>,
    /// Contact objects with all they have. One with the id of a generated contact takes its place.
    #[serde(default)]
    pub contacts: Vec<Value>,
    /// How many contacts are there besides, made one by one when they are asked for.
    #[serde(default)]
    pub generated_contacts: GeneratedContacts,
    /// What stands in place of generated contacts, by their index; nothing where one was removed.
    #[serde(skip)]
    pub changed_contacts: BTreeMap<usize, Option<Value>>,
}

fn valid() -> String {
    "valid".to_owned()
}

impl Grant {
    /// A Gmail account: folder ids are names, and folders have no attributes.
    #[must_use]
    pub fn google(id: &str, email: &str) -> Self {
        Self::with_usual_folders("google", id, email)
    }

    /// An Exchange Online account: folder ids are opaque, names follow the user's language, attributes tell what a folder is for.
    #[must_use]
    pub fn microsoft(id: &str, email: &str) -> Self {
        Self::with_usual_folders("microsoft", id, email)
    }

    /// An IMAP account: folder names follow the server, attributes tell what a folder is for.
    #[must_use]
    pub fn imap(id: &str, email: &str) -> Self {
        Self::with_usual_folders("imap", id, email)
    }

    fn with_usual_folders(provider: &str, id: &str, email: &str) -> Self {
        let mut grant = Self {
            id: id.to_owned(),
            email: email.to_owned(),
            provider: provider.to_owned(),
            grant_status: valid(),
            folders: Vec::new(),
            messages: Vec::new(),
            calendars: Vec::new(),
            calendar_changes: BTreeMap::new(),
            events: Vec::new(),
            notetakers: Vec::new(),
            contacts: Vec::new(),
            generated_contacts: GeneratedContacts::default(),
            changed_contacts: BTreeMap::new(),
        };
        grant.fill_folders();
        grant
    }

    /// An iCloud account: it has no primary calendar, and lists no more than six months at a time.
    #[must_use]
    pub fn icloud(id: &str, email: &str) -> Self {
        Self::with_usual_folders("icloud", id, email)
    }

    /// The same grant with a message.
    #[must_use]
    pub fn with_message(mut self, message: Value) -> Self {
        self.messages.push(message);
        self
    }

    /// The same grant with a contact.
    #[must_use]
    pub fn with_contact(mut self, contact: Value) -> Self {
        self.contacts.push(contact);
        self
    }

    /// The same grant with `count` contacts as [`generated_contact`](super::generated_contact) makes them of the seed. They
    /// are made when they are asked for, so that their number costs no memory.
    #[must_use]
    pub fn with_many_contacts(mut self, count: usize, seed: u64) -> Self {
        self.generated_contacts = GeneratedContacts { count, seed };
        self
    }

    /// Fills in what a seed may leave out.
    pub(super) fn settle(&mut self) {
        self.fill_folders();
        for contact in std::mem::take(&mut self.contacts) {
            self.put_contact(contact);
        }
    }

    /// The id of the folder with this attribute (`\Sent`), or on Google with this name (`SENT`).
    #[must_use]
    pub fn folder_id(&self, attribute_or_name: &str) -> Option<&str> {
        let is_it = |folder: &&Value| {
            let attributes = folder["attributes"].as_array().into_iter().flatten();
            folder["name"] == attribute_or_name
                || attributes.into_iter().any(|attribute| attribute == attribute_or_name)
        };
        self.folders.iter().find(is_it).and_then(|folder| folder["id"].as_str())
    }

    /// The id of the folder in which what was sent lies.
    pub(super) fn sent_folder(&self) -> Option<&str> {
        self.folder_id("\\Sent").or_else(|| self.folder_id("SENT"))
    }

    /// The id of the folder in which new mail lies.
    pub(super) fn inbox(&self) -> Option<&str> {
        self.folder_id("\\Inbox").or_else(|| self.folder_id("INBOX"))
    }

    fn fill_folders(&mut self) {
        if !self.folders.is_empty() {
            return;
        }
        let grant_id = self.id.clone();
        let attributed = |id: String, name: &str, attributes: &[&str]| json!({ "id": id, "grant_id": grant_id, "object": "folder", "name": name, "attributes": attributes });
        self.folders = match self.provider.as_str() {
            "google" => [("SENT", true), ("INBOX", true), ("DRAFT", true), ("SPAM", true), ("Label_17", false)]
                .map(|(id, system)| {
                    let name = if system { id } else { "Prospects" };
                    json!({ "id": id, "grant_id": grant_id, "object": "folder", "name": name, "system_folder": system })
                })
                .to_vec(),
            "microsoft" | "ews" => {
                [("Inbox", "\\Inbox"), ("Sent Items", "\\Sent"), ("Drafts", "\\Drafts"), ("Junk Email", "\\Junk")]
                    .map(|(name, attribute)| attributed(opaque_id(&grant_id, name), name, &[attribute]))
                    .into_iter()
                    .chain([attributed(opaque_id(&grant_id, "Prospects"), "Prospects", &[])])
                    .collect()
            }
            _ => [("INBOX", "\\Inbox"), ("INBOX.Verstuurd", "\\Sent"), ("INBOX.Concepten", "\\Drafts")]
                .map(|(name, attribute)| attributed(opaque_id(&grant_id, name), name, &[attribute]))
                .to_vec(),
        };
    }

    pub(super) fn is_named(&self, name: &str) -> bool {
        let bare = name.strip_prefix("grant:").or_else(|| name.strip_prefix("email:")).unwrap_or(name);
        self.id == bare || self.email.eq_ignore_ascii_case(bare)
    }

    pub(super) fn describe(&self) -> Value {
        let scope = match self.provider.as_str() {
            "google" => json!(["https://www.googleapis.com/auth/gmail.readonly"]),
            "microsoft" => json!(["Mail.Read", "User.Read", "offline_access"]),
            _ => json!([]),
        };
        json!({
            "id": self.id,
            "provider": self.provider,
            "email": self.email,
            "grant_status": self.grant_status,
            "scope": scope,
            "created_at": 1_767_225_600,
            "updated_at": 1_767_225_600,
        })
    }
}

/// An id as Exchange makes them: long, and with characters that a path must encode.
pub(super) fn opaque_id(grant_id: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{grant_id}:{name}"));
    format!("AAMkAD{}/+{}==", STANDARD.encode(digest).trim_end_matches('='), hex::encode(&digest[..8]))
}

pub(super) async fn list(State(api): State<Arc<Api>>, Query(query): Parameters) -> Answered {
    let known = [
        "limit",
        "offset",
        "provider",
        "grant_status",
        "email",
        "since",
        "before",
        "sort_by",
        "order_by",
        "workspace_id",
    ];
    let asked = Asked::check(query, &known)?;
    let limit = asked.limit(GRANTS_LIMIT)?;
    let offset = usize::try_from(asked.number("offset")?.unwrap_or(0))
        .map_err(|_| ApiError::invalid("offset must not be negative"))?;
    let grants: Vec<Value> = api.locked(|grants| {
        let fits = |name: &str, value: &str| asked.text(name).is_none_or(|wanted| wanted.eq_ignore_ascii_case(value));
        grants
            .iter()
            .filter(|grant| {
                fits("provider", &grant.provider)
                    && fits("grant_status", &grant.grant_status)
                    && fits("email", &grant.email)
            })
            .skip(offset)
            .take(limit.min(api.largest_page))
            .map(Grant::describe)
            .collect()
    });
    let mut body = page_body(grants, None);
    body.insert("limit".to_owned(), Value::from(limit));
    body.insert("offset".to_owned(), Value::from(offset));
    Ok(api.success(body))
}

pub(super) async fn find(State(api): State<Arc<Api>>, UrlPath(name): UrlPath<String>) -> Answered {
    let described = api.locked(|grants| grants.iter().find(|grant| grant.is_named(&name)).map(Grant::describe));
    let grant = described.ok_or_else(ApiError::not_found)?;
    Ok(api.success(Map::from_iter([("data".to_owned(), grant)])))
}

pub(super) async fn list_folders(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> Answered {
    let known = ["limit", "page_token", "parent_id", "include_hidden_folders", "single_level", "select"];
    let asked = Asked::check(query, &known)?;
    let grant = api.grant(&grant)?;
    let (page, cursor) = asked.page(grant.folders, FOLDERS_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|folder| asked.show(folder)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

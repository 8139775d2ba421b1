//! The properties of HubSpot's records, and which values they take.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The longest text of a property, in UTF-16 units.
const LONGEST_TEXT: usize = 65_536;

/// The most unique properties that a kind of record may have.
const MOST_UNIQUE: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Several texts with semicolons between them, kept by HubSpot itself.
    Several,
    Time,
    Truth,
    Number,
    /// The id of an owner.
    Owner,
    /// JSON as text.
    Json,
}

#[derive(Clone, Debug)]
pub(super) struct Property {
    pub(super) form: Form,
    group: String,
    label: String,
    pub(super) is_unique: bool,
    is_read_only: bool,
    is_of_hubspot: bool,
}

/// The properties of one kind of record.
#[derive(Clone, Debug)]
pub(super) struct Properties {
    object: &'static str,
    by_name: BTreeMap<String, Property>,
}

const COMMON: &[(&str, Form, bool)] = &[
    ("hs_object_id", Form::Number, true),
    ("hs_createdate", Form::Time, true),
    ("hs_lastmodifieddate", Form::Time, true),
];

const CONTACTS: &[(&str, Form, bool)] = &[
    ("email", Form::Text, false),
    ("hs_additional_emails", Form::Several, true),
    ("firstname", Form::Text, false),
    ("lastname", Form::Text, false),
    ("phone", Form::Text, false),
    ("jobtitle", Form::Text, false),
    ("company", Form::Text, false),
];

const DEALS: &[(&str, Form, bool)] = &[
    ("dealname", Form::Text, false),
    ("dealstage", Form::Text, false),
    ("hs_is_closed", Form::Truth, true),
    ("notes_last_updated", Form::Time, true),
];

const ACTIVITIES: &[(&str, Form, bool)] = &[
    ("hs_timestamp", Form::Time, false),
    ("hubspot_owner_id", Form::Owner, false),
    ("hs_attachment_ids", Form::Text, false),
];

const EMAILS: &[(&str, Form, bool)] = &[
    ("hs_email_direction", Form::Choice(&["EMAIL", "INCOMING_EMAIL", "FORWARDED_EMAIL"]), false),
    ("hs_email_status", Form::Choice(&["BOUNCED", "FAILED", "SCHEDULED", "SENDING", "SENT"]), false),
    ("hs_email_subject", Form::Text, false),
    ("hs_email_text", Form::Text, false),
    ("hs_email_html", Form::Text, false),
    ("hs_email_headers", Form::Json, false),
    ("hs_email_from_email", Form::Text, true),
    ("hs_email_to_email", Form::Several, true),
    ("hs_email_cc_email", Form::Several, true),
];

const MEETINGS: &[(&str, Form, bool)] = &[
    ("hs_meeting_title", Form::Text, false),
    ("hs_meeting_body", Form::Text, false),
    ("hs_internal_meeting_notes", Form::Text, false),
    ("hs_meeting_location", Form::Text, false),
    ("hs_meeting_external_url", Form::Text, false),
    ("hs_meeting_start_time", Form::Time, false),
    ("hs_meeting_end_time", Form::Time, false),
    ("hs_meeting_outcome", Form::Choice(&["SCHEDULED", "COMPLETED", "RESCHEDULED", "NO_SHOW", "CANCELED"]), false),
];

const NOTES: &[(&str, Form, bool)] = &[("hs_note_body", Form::Text, false)];

const TASKS: &[(&str, Form, bool)] = &[
    ("hs_task_subject", Form::Text, false),
    ("hs_task_body", Form::Text, false),
    ("hs_task_status", Form::Choice(&["NOT_STARTED", "IN_PROGRESS", "WAITING", "DEFERRED", "COMPLETED"]), false),
    ("hs_task_priority", Form::Choice(&["NONE", "LOW", "MEDIUM", "HIGH"]), false),
    ("hs_task_type", Form::Choice(&["TODO", "CALL", "EMAIL"]), false),
];

impl Properties {
    pub(super) fn of(object: &'static str) -> Self {
        let own = match object {
            "contacts" => CONTACTS,
            "deals" => DEALS,
            "emails" => EMAILS,
            "meetings" => MEETINGS,
            "notes" => NOTES,
            _ => TASKS,
        };
        let activity = if matches!(object, "contacts" | "deals") { &[] } else { ACTIVITIES };
        let lists = [COMMON, activity, own];
        let by_name = lists.into_iter().flatten().map(|(name, form, is_read_only)| {
            let property = Property {
                form: *form,
                group: own_group(object),
                label: (*name).to_owned(),
                is_unique: *name == "email",
                is_read_only: *is_read_only,
                is_of_hubspot: true,
            };
            ((*name).to_owned(), property)
        });
        Self { object, by_name: by_name.collect() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Property> {
        self.by_name.get(name)
    }

    pub(super) fn unique(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().filter(|(_, property)| property.is_unique).map(|(name, _)| name.as_str())
    }

    pub(super) fn listed(&self) -> Vec<Value> {
        self.by_name.keys().filter_map(|name| self.shown(name)).collect()
    }

    pub(super) fn shown(&self, name: &str) -> Option<Value> {
        let property = self.by_name.get(name)?;
        let (kind, field) = match property.form {
            Form::Text | Form::Json => ("string", "text"),
            Form::Choice(_) => ("enumeration", "radio"),
            Form::Several => ("enumeration", "checkbox"),
            Form::Owner => ("enumeration", "select"),
            Form::Time => ("datetime", "date"),
            Form::Truth => ("bool", "booleancheckbox"),
            Form::Number => ("number", "number"),
        };
        let options: Vec<Value> = match property.form {
            Form::Choice(words) => words.iter().map(|word| json!({"label": word, "value": word})).collect(),
            _ => Vec::new(),
        };
        Some(json!({
            "name": name,
            "label": property.label,
            "description": "",
            "type": kind,
            "fieldType": field,
            "groupName": property.group,
            "options": options,
            "hasUniqueValue": property.is_unique,
            "hubspotDefined": property.is_of_hubspot,
            "modificationMetadata": {"readOnlyValue": property.is_read_only, "readOnlyDefinition": property.is_of_hubspot, "archivable": true},
        }))
    }

    /// The groups that properties are shown in.
    pub(super) fn groups(&self) -> Vec<Value> {
        let names = ["engagement".to_owned(), own_group(self.object)];
        let shown = names
            .iter()
            .enumerate()
            .map(|(place, name)| json!({"name": name, "label": name, "displayOrder": place, "archived": false}));
        shown.collect()
    }

    /// Adds a property that the caller describes; the error says why not, with its status.
    pub(super) fn add(&mut self, described: &Value, takes_unique: bool) -> Result<Value, (u16, String)> {
        let text = |key: &str| described[key].as_str().unwrap_or_default();
        let (name, group) = (text("name"), text("groupName"));
        if self.by_name.contains_key(name) {
            return Err((409, format!("A property named '{name}' already exists.")));
        }
        if self.groups().iter().all(|standing| standing["name"] != group) {
            return Err((400, format!("Property group '{group}' does not exist.")));
        }
        let is_unique = described["hasUniqueValue"] == true;
        if is_unique && !takes_unique {
            return Err((400, format!("Properties of {} cannot have unique values.", self.object)));
        }
        if is_unique && self.unique().count() >= MOST_UNIQUE {
            return Err((400, format!("{} can have at most {MOST_UNIQUE} unique properties.", self.object)));
        }
        let form = match (text("type"), text("fieldType")) {
            ("string", "text" | "textarea") => Form::Text,
            ("number", "number") => Form::Number,
            ("datetime" | "date", "date") => Form::Time,
            ("bool", "booleancheckbox") => Form::Truth,
            (kind, field) => return Err((400, format!("The type {kind} does not go with the field type {field}."))),
        };
        let property = Property {
            form,
            group: group.to_owned(),
            label: text("label").to_owned(),
            is_unique,
            is_read_only: false,
            is_of_hubspot: false,
        };
        self.by_name.insert(name.to_owned(), property);
        Ok(self.shown(name).unwrap_or_default())
    }

    /// What is wrong with values, as HubSpot tells it; none if nothing is.
    pub(super) fn refusal(
        &self,
        values: &serde_json::Map<String, Value>,
        is_owner: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let wrong: Vec<Value> = values
            .iter()
            .filter_map(|(name, value)| {
                let value = value.as_str().unwrap_or_default();
                let (error, message) = self.what_is_wrong(name, value, &is_owner)?;
                Some(json!({"isValid": false, "message": message, "error": error, "name": name}))
            })
            .collect();
        (!wrong.is_empty()).then(|| format!("Property values were not valid: {}", Value::from(wrong)))
    }

    fn what_is_wrong(
        &self,
        name: &str,
        value: &str,
        is_owner: &impl Fn(&str) -> bool,
    ) -> Option<(&'static str, String)> {
        let Some(property) = self.get(name) else {
            return Some(("PROPERTY_DOESNT_EXIST", format!("Property \"{name}\" does not exist")));
        };
        if property.is_read_only {
            return Some(("READ_ONLY_VALUE", format!("\"{name}\" is a read only property; its value cannot be set.")));
        }
        if value.is_empty() {
            return None;
        }
        let is_good = match property.form {
            Form::Text => {
                let is_short = value.encode_utf16().count() <= LONGEST_TEXT;
                return (!is_short)
                    .then(|| ("VALUE_TOO_LONG", format!("{name} is longer than {LONGEST_TEXT} characters")));
            }
            Form::Choice(words) => words.contains(&value),
            Form::Several => true,
            Form::Time => time(value).is_some(),
            Form::Truth => matches!(value, "true" | "false"),
            Form::Number => value.parse::<f64>().is_ok(),
            Form::Owner => is_owner(value),
            Form::Json => serde_json::from_str::<Value>(value).is_ok(),
        };
        let error = match property.form {
            Form::Choice(_) => "INVALID_OPTION",
            Form::Time => "INVALID_DATE",
            Form::Owner => "INVALID_OWNER_ID",
            _ => "INVALID_VALUE",
        };
        (!is_good).then(|| (error, format!("{value} is no value of {name}")))
    }
}

/// The group with the information on the object itself.
fn own_group(object: &str) -> String {
    match object {
        "contacts" => "contactinformation".to_owned(),
        "deals" => "dealinformation".to_owned(),
        activity => activity.trim_end_matches('s').to_owned(),
    }
}

/// A time as HubSpot takes it: RFC 3339, or milliseconds since 1970.
pub(super) fn time(value: &str) -> Option<jiff::Timestamp> {
    match value.parse::<i64>() {
        Ok(milliseconds) => jiff::Timestamp::from_millisecond(milliseconds).ok(),
        Err(_) => value.parse().ok(),
    }
}

//! The records of an org, the rules that writes keep, and the answers to queries.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};

use super::objects::{Field, Kind, OBJECTS, OF_ALL, Written, fields_of, way_to, with_check_characters};
use super::soql::{Condition, Literal, Query};
use super::{KeyField, Refusal};

/// The name of the field for our key.
pub(super) const KEY_FIELD: &str = "Nylas_Id__c";

const LONGEST_EVENT_MINUTES: i64 = 14 * 24 * 60;
const DAY_MINUTES: i64 = 24 * 60;

/// A record as it stands.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) object: &'static str,
    pub(super) values: Map<String, Value>,
    /// In the Recycle Bin.
    pub(super) is_deleted: bool,
    /// How often it was written by the API.
    pub(super) writes: u32,
}

impl Record {
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.values.get(field)?.as_str()
    }

    pub(super) fn flag(&self, field: &str) -> bool {
        self.values.get(field).is_some_and(|value| *value == true)
    }

    fn attributes(&self, version: &str) -> Value {
        json!({"type": self.object, "url": format!("/services/data/{version}/sobjects/{}/{}", self.object, self.id)})
    }

    /// The record as a read of it answers.
    pub(super) fn shown(&self, version: &str) -> Value {
        let mut shown = Map::from_iter([("attributes".to_owned(), self.attributes(version))]);
        shown.insert("Id".to_owned(), self.id.clone().into());
        shown.insert("IsDeleted".to_owned(), self.is_deleted.into());
        shown.extend(self.values.clone());
        shown.into()
    }
}

/// What a query found.
pub(super) struct Answered {
    pub(super) records: Vec<Value>,
}

/// All records of an org.
#[derive(Clone, Debug)]
pub(super) struct Org {
    records: Vec<Record>,
    /// By the first 15 characters of their ids, which tell a record.
    places: HashMap<String, usize>,
    pub(super) key_field: KeyField,
    custom_fields: BTreeSet<(&'static str, String)>,
    /// Objects that the user who signs in may not see.
    closed: BTreeSet<&'static str>,
    /// Records that somebody else is writing: the next write of each meets a lock.
    locked: BTreeSet<String>,
    /// The user who signs in.
    pub(super) me: String,
    writes: i64,
}

/// The name of an object as the API spells it.
pub(super) fn object_named(name: &str) -> Option<&'static str> {
    OBJECTS.iter().map(|(object, _)| *object).find(|object| object.eq_ignore_ascii_case(name))
}

impl Org {
    pub(super) fn new() -> Self {
        let mut org = Self {
            records: Vec::new(),
            places: HashMap::new(),
            key_field: KeyField::ExternalId,
            custom_fields: BTreeSet::new(),
            closed: BTreeSet::new(),
            locked: BTreeSet::new(),
            me: String::new(),
            writes: 0,
        };
        org.me = org.add_user("integration@northwind.example");
        org
    }

    pub(super) fn add_user(&mut self, email: &str) -> String {
        let user = json!({"Email": email, "Username": email, "IsActive": true, "UserType": "Standard"});
        self.put_in("User", user)
    }

    pub(super) fn add_custom_field(&mut self, object: &'static str, name: &str) {
        self.custom_fields.insert((object, name.to_owned()));
    }

    pub(super) fn close(&mut self, object: &'static str) {
        self.closed.insert(object);
    }

    pub(super) fn lock_once(&mut self, id: &str) {
        self.locked.insert(id.to_owned());
    }

    /// Makes a record, whatever the rules for writes are.
    pub(super) fn put_in(&mut self, object: &'static str, values: Value) -> String {
        let prefix = OBJECTS.iter().find(|(name, _)| *name == object).map_or("a00", |(_, prefix)| *prefix);
        let number = self.records.iter().filter(|record| record.object == object).count() + 1;
        let id = with_check_characters(&format!("{prefix}{number:012}"));
        let Value::Object(mut values) = values else { return id };
        let now = self.next_moment();
        values.insert("CreatedDate".to_owned(), now.clone());
        values.insert("LastModifiedDate".to_owned(), now);
        self.places.insert(id[..15].to_owned(), self.records.len());
        self.records.push(Record { id: id.clone(), object, values, is_deleted: false, writes: 0 });
        id
    }

    /// A moment later than any before.
    fn next_moment(&mut self) -> Value {
        self.writes += 1;
        let begun = Timestamp::from_second(1_767_225_600).unwrap_or_default();
        begun.saturating_add(self.writes.seconds()).unwrap_or(begun).to_string().into()
    }

    pub(super) fn all(&self, object: &str) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| record.object == object)
    }

    /// A record by its id, deleted or not.
    pub(super) fn any_record(&self, id: &str) -> Option<&Record> {
        self.records.get(*self.places.get(id.get(..15)?)?)
    }

    fn any_record_mut(&mut self, id: &str) -> Option<&mut Record> {
        self.records.get_mut(*self.places.get(id.get(..15)?)?)
    }

    /// A record of an object, refused as the original does if it is not there.
    pub(super) fn record(&self, object: &str, id: &str) -> Result<&Record, Refusal> {
        if id.len() == 18 && with_check_characters(&id[..15]) != id {
            return Err(Refusal::new(400, "MALFORMED_ID", format!("malformed id {id}")));
        }
        match self.any_record(id).filter(|record| record.object == object) {
            Some(record) if record.is_deleted => Err(Refusal::new(404, "ENTITY_IS_DELETED", "entity is deleted")),
            Some(record) => Ok(record),
            None => Err(Refusal::not_there()),
        }
    }

    /// As a person does who works in the org: into the Recycle Bin.
    pub(super) fn delete_as_a_person(&mut self, id: &str) {
        if let Some(record) = self.any_record_mut(id) {
            record.is_deleted = true;
        }
    }

    /// As when the Recycle Bin is emptied.
    pub(super) fn purge(&mut self, id: &str) {
        self.delete_as_a_person(id);
        if let Some(key) = id.get(..15) {
            self.places.remove(key);
        }
    }

    /// Sets a field as a person does.
    pub(super) fn set(&mut self, id: &str, field: &str, value: Value) {
        if let Some(record) = self.any_record_mut(id) {
            record.values.insert(field.to_owned(), value);
        }
    }

    fn field(&self, object: &'static str, name: &str) -> Option<(String, Kind, Written)> {
        let standard = |field: &&Field| field.0.eq_ignore_ascii_case(name);
        if let Some((name, kind, written)) = OF_ALL.iter().chain(fields_of(object)).find(standard) {
            return Some(((*name).to_owned(), *kind, *written));
        }
        let is_key = matches!(object, "Event" | "Task") && name == KEY_FIELD && self.key_field != KeyField::Absent;
        let is_custom = self.custom_fields.contains(&(object, name.to_owned()));
        (is_key || is_custom).then(|| (name.to_owned(), Kind::Text(255), Written::Always))
    }

    /// Refuses a field in a path that is no external id.
    fn external_id(&self, object: &'static str, field: &str) -> Result<(), Refusal> {
        let is_one = matches!(object, "Event" | "Task") && field == KEY_FIELD && self.key_field == KeyField::ExternalId;
        if is_one {
            return Ok(());
        }
        let message = format!("Provided external ID field does not exist or is not accessible: {field}");
        Err(Refusal::new(404, "NOT_FOUND", message))
    }

    /// The records that bear an external id.
    pub(super) fn bearing(&self, object: &'static str, field: &str, value: &str) -> Result<Vec<String>, Refusal> {
        self.external_id(object, field)?;
        let bears = |record: &&Record| {
            !record.is_deleted && record.text(field).is_some_and(|borne| borne.to_lowercase() == value.to_lowercase())
        };
        Ok(self.all(object).filter(bears).map(|record| record.id.clone()).collect())
    }

    /// Creates a record as the API does.
    pub(super) fn create(&mut self, object: &'static str, body: &Map<String, Value>) -> Result<String, Refusal> {
        let values = self.written(object, None, body)?;
        let id = self.put_in(object, values.into());
        if let Some(record) = self.any_record_mut(&id) {
            record.writes = 1;
        }
        Ok(id)
    }

    /// Changes a record as the API does.
    pub(super) fn update(&mut self, object: &'static str, id: &str, body: &Map<String, Value>) -> Result<(), Refusal> {
        let id = self.record(object, id)?.id.clone();
        if self.locked.remove(&id) {
            let message = format!("unable to obtain exclusive access to this record or 1 records: {id}");
            return Err(Refusal::new(400, "UNABLE_TO_LOCK_ROW", message));
        }
        let mut values = self.written(object, Some(&id), body)?;
        values.insert("LastModifiedDate".to_owned(), self.next_moment());
        if let Some(record) = self.any_record_mut(&id) {
            record.values = values;
            record.writes += 1;
        }
        Ok(())
    }

    /// Puts a record into the Recycle Bin as the API does.
    pub(super) fn delete(&mut self, object: &'static str, id: &str) -> Result<(), Refusal> {
        let id = self.record(object, id)?.id.clone();
        self.delete_as_a_person(&id);
        Ok(())
    }

    /// What a record holds after a write.
    fn written(
        &self,
        object: &'static str,
        standing: Option<&str>,
        body: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Refusal> {
        let mut values =
            standing.and_then(|id| self.any_record(id)).map(|record| record.values.clone()).unwrap_or_default();
        for (name, value) in body {
            let Some((name, kind, written)) = self.field(object, name) else {
                return Err(Refusal::new(
                    400,
                    "INVALID_FIELD",
                    format!("No such column '{name}' on sobject of type {object}"),
                ));
            };
            if written == Written::Never || (written == Written::OnlyWhenCreated && standing.is_some()) {
                let message = format!(
                    "Unable to create/update fields: {name}. Please check the security settings of this field and verify \
                     that it is read/write for your profile or permission set."
                );
                return Err(Refusal::new(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message));
            }
            match self.taken(&name, kind, value)? {
                Some(value) => values.insert(name, value),
                None => values.remove(&name),
            };
        }
        let required: &[&str] = match object {
            "Contact" => &["LastName"],
            "Lead" => &["LastName", "Company"],
            _ => &[],
        };
        let missing: Vec<&str> = required.iter().copied().filter(|name| !values.contains_key(*name)).collect();
        if !missing.is_empty() {
            let message = format!("Required fields are missing: [{}]", missing.join(", "));
            return Err(Refusal::new(400, "REQUIRED_FIELD_MISSING", message));
        }
        if matches!(object, "Event" | "Task") {
            values.entry("OwnerId").or_insert_with(|| self.me.clone().into());
            let is_lead = values.get("WhoId").and_then(Value::as_str).is_some_and(|id| id.starts_with("00Q"));
            if is_lead && values.contains_key("WhatId") {
                let message = "Related To ID: a lead cannot be related to another record";
                return Err(Refusal::new(400, "FIELD_INTEGRITY_EXCEPTION", message));
            }
        }
        match object {
            "Task" => {
                for (field, value) in [("Status", "Not Started"), ("Priority", "Normal"), ("TaskSubtype", "Task")] {
                    values.entry(field).or_insert_with(|| value.into());
                }
            }
            "Event" => event_time(&mut values, body)?,
            _ => {}
        }
        Ok(values)
    }

    /// What a field takes of a value; none empties it.
    fn taken(&self, name: &str, kind: Kind, value: &Value) -> Result<Option<Value>, Refusal> {
        if value.is_null() {
            return Ok(None);
        }
        let wrong = |wanted: &str| {
            Refusal::new(
                400,
                "JSON_PARSER_ERROR",
                format!("Cannot deserialize instance of {wanted} from {value} for {name}"),
            )
        };
        let text = || value.as_str().ok_or_else(|| wanted_text(name, value));
        match kind {
            Kind::Id => Err(wrong("id")),
            Kind::Text(most) | Kind::LongText(most) => {
                let text = text()?;
                if text.encode_utf16().count() > most {
                    let message = format!("{name}: data value too large (max length={most})");
                    return Err(Refusal::new(400, "STRING_TOO_LONG", message));
                }
                Ok((!text.is_empty()).then(|| text.into()))
            }
            Kind::Picklist(words) => {
                let text = text()?;
                if words.contains(&text) {
                    return Ok(Some(text.into()));
                }
                let message = format!("{name}: bad value for restricted picklist field: {text}");
                Err(Refusal::new(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message))
            }
            Kind::Flag => value.as_bool().map(|flag| Some(flag.into())).ok_or_else(|| wrong("boolean")),
            Kind::Whole => value.as_i64().map(|number| Some(number.into())).ok_or_else(|| wrong("int")),
            Kind::Day => {
                let day: jiff::civil::Date = text()?.parse().map_err(|_| wrong("date"))?;
                Ok(Some(day.to_string().into()))
            }
            Kind::Instant => {
                let at: Timestamp = text()?.parse().map_err(|_| wrong("datetime"))?;
                Ok(Some(at.to_string().into()))
            }
            Kind::Reference(objects) => {
                let id = text()?;
                let found = self.any_record(id);
                match found {
                    Some(record) if !objects.contains(&record.object) => {
                        Err(Refusal::new(400, "MALFORMED_ID", format!("{name}: id value of incorrect type: {id}")))
                    }
                    Some(record) if record.is_deleted => {
                        Err(Refusal::new(400, "ENTITY_IS_DELETED", "entity is deleted"))
                    }
                    Some(record) if record.object == "User" && !record.flag("IsActive") => {
                        let message = "operation performed with inactive user as owner of the record";
                        Err(Refusal::new(400, "INACTIVE_OWNER_OR_USER", message))
                    }
                    Some(record) => Ok(Some(record.id.clone().into())),
                    None => Err(Refusal::new(
                        400,
                        "INVALID_CROSS_REFERENCE_KEY",
                        format!("{name}: invalid cross reference id"),
                    )),
                }
            }
        }
    }

    /// Answers a query.
    pub(super) fn answer(&self, query: &Query, version: &str) -> Result<Answered, Refusal> {
        let Some(object) = object_named(&query.object).filter(|object| !self.closed.contains(object)) else {
            let message = format!("sObject type '{}' is not supported.", query.object);
            return Err(Refusal::new(400, "INVALID_TYPE", message));
        };
        for name in &query.fields {
            self.selected(object, name)?;
        }
        if let Some(condition) = &query.condition {
            self.check(object, condition)?;
        }
        for order in &query.order {
            self.selected(object, &order.field)?;
        }
        let mut found: Vec<&Record> = self
            .all(object)
            .filter(|record| !record.is_deleted)
            .filter(|record| query.condition.as_ref().is_none_or(|condition| self.fulfils(record, condition)))
            .collect();
        found.sort_by(|one, other| {
            let ordered = query.order.iter().map(|order| {
                let (one, other) = (self.value(one, &order.field), self.value(other, &order.field));
                let (nulls, last) = (one.is_null().cmp(&other.is_null()), order.nulls_last);
                match nulls {
                    Ordering::Equal if order.descending => compared(&other, &one),
                    Ordering::Equal => compared(&one, &other),
                    nulls if last => nulls,
                    nulls => nulls.reverse(),
                }
            });
            ordered.fold(Ordering::Equal, Ordering::then)
        });
        found.truncate(query.limit.unwrap_or(usize::MAX));
        let records = found.into_iter().map(|record| self.columns(record, &query.fields, version)).collect();
        Ok(Answered { records })
    }

    /// The field that a name in a query leads to, perhaps by way of another object.
    fn selected(&self, object: &'static str, name: &str) -> Result<Kind, Refusal> {
        let unknown = |object: &str, name: &str| {
            let message = format!(
                "\nSELECT {name} FROM {object}\n       ^\nERROR at Row:1:Column:8\nNo such column '{name}' on entity '{object}'. \
                 If you are attempting to use a custom field, be sure to append the '__c' after the custom field name."
            );
            Refusal::new(400, "INVALID_FIELD", message)
        };
        let (object, field) = match name.split_once('.') {
            None => (object, name),
            Some((relation, field)) => {
                let way = way_to(object, relation).and_then(|way| self.field(object, way));
                match way {
                    Some((_, Kind::Reference(&[target, ..]), _)) if object_named(target).is_some() => {
                        (object_named(target).unwrap_or(object), field)
                    }
                    _ => return Err(unknown(object, name)),
                }
            }
        };
        self.field(object, field).map(|(_, kind, _)| kind).ok_or_else(|| unknown(object, field))
    }

    /// Refuses a condition that compares what cannot be compared.
    fn check(&self, object: &'static str, condition: &Condition) -> Result<(), Refusal> {
        let (field, values) = match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                return parts.iter().try_for_each(|part| self.check(object, part));
            }
            Condition::Equals { field, value, .. } => (field, std::slice::from_ref(value)),
            Condition::In { field, values } => (field, values.as_slice()),
        };
        let kind = self.selected(object, field)?;
        if let Kind::LongText(_) = kind {
            let message = format!("field '{field}' can not be filtered in a query call");
            return Err(Refusal::new(400, "INVALID_FIELD", message));
        }
        for value in values {
            let fits = match (kind, value) {
                (_, Literal::Null) => true,
                (Kind::Flag, value) => matches!(value, Literal::Flag(_)),
                (Kind::Whole, value) => matches!(value, Literal::Number(_)),
                (Kind::Id | Kind::Reference(_), Literal::Text(id)) => {
                    if !matches!(id.len(), 15 | 18) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                        let message = format!("invalid ID field: {id}");
                        return Err(Refusal::new(400, "INVALID_QUERY_FILTER_OPERATOR", message));
                    }
                    true
                }
                (Kind::Text(_) | Kind::Picklist(_), value) => matches!(value, Literal::Text(_)),
                (_, _) => false,
            };
            if !fits {
                let message = format!("value of filter criterion for field '{field}' must be of another type");
                return Err(Refusal::new(400, "INVALID_FIELD", message));
            }
        }
        Ok(())
    }

    fn fulfils(&self, record: &Record, condition: &Condition) -> bool {
        match condition {
            Condition::All(parts) => parts.iter().all(|part| self.fulfils(record, part)),
            Condition::Any(parts) => parts.iter().any(|part| self.fulfils(record, part)),
            Condition::Equals { field, value, negated } => is(&self.value(record, field), value) != *negated,
            Condition::In { field, values } => {
                let borne = self.value(record, field);
                values.iter().any(|value| is(&borne, value))
            }
        }
    }

    /// What a record has under a name, perhaps by way of another one.
    fn value(&self, record: &Record, name: &str) -> Value {
        if let Some((relation, field)) = name.split_once('.') {
            let target = way_to(record.object, relation).and_then(|way| self.any_record(record.text(way)?));
            return target.map_or(Value::Null, |target| self.value(target, field));
        }
        match self.field(record.object, name) {
            Some((_, Kind::Id, _)) => record.id.clone().into(),
            Some((name, Kind::Flag, _)) => record.flag(&name).into(),
            Some((name, _, _)) => record.values.get(&name).cloned().unwrap_or_default(),
            None => Value::Null,
        }
    }

    fn columns(&self, record: &Record, names: &[String], version: &str) -> Value {
        let mut row = Map::from_iter([("attributes".to_owned(), record.attributes(version))]);
        for name in names {
            let value = self.value(record, name);
            let Some((relation, field)) = name.split_once('.') else {
                let spelt = self.field(record.object, name).map_or_else(|| name.clone(), |(name, _, _)| name);
                row.insert(spelt, value);
                continue;
            };
            let target = way_to(record.object, relation).and_then(|way| self.any_record(record.text(way)?));
            let Some(target) = target else {
                row.insert(relation.to_owned(), Value::Null);
                continue;
            };
            let nested = row.entry(relation).or_insert_with(|| json!({"attributes": target.attributes(version)}));
            nested[field] = value;
        }
        row.into()
    }
}

fn wanted_text(name: &str, value: &Value) -> Refusal {
    Refusal::new(400, "JSON_PARSER_ERROR", format!("Cannot deserialize instance of string from {value} for {name}"))
}

/// Texts are compared without regard to case, ids by what tells a record.
fn is(borne: &Value, wanted: &Literal) -> bool {
    match (borne, wanted) {
        (Value::String(borne), Literal::Text(wanted)) => borne.to_lowercase() == wanted.to_lowercase(),
        (Value::Bool(borne), Literal::Flag(wanted)) => borne == wanted,
        (Value::Number(borne), Literal::Number(wanted)) => borne.as_i64() == Some(*wanted),
        (Value::Null, Literal::Null) => true,
        _ => false,
    }
}

fn compared(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => one.as_i64().cmp(&other.as_i64()),
        _ => Ordering::Equal,
    }
}

/// Keeps the fields of an event's time in step ("Event" in the Object Reference).
fn event_time(values: &mut Map<String, Value>, body: &Map<String, Value>) -> Result<(), Refusal> {
    let broken = |message: &str| Refusal::new(400, "FIELD_INTEGRITY_EXCEPTION", message);
    let missing =
        |names: &str| Refusal::new(400, "REQUIRED_FIELD_MISSING", format!("Required fields are missing: [{names}]"));
    let is_written = |field: &str| body.get(field).is_some_and(|value| !value.is_null());
    let instant =
        |values: &Map<String, Value>, field: &str| -> Option<Timestamp> { values.get(field)?.as_str()?.parse().ok() };
    let is_all_day = values.get("IsAllDayEvent").is_some_and(|value| *value == true);
    let start = if is_all_day {
        let day = values.get("ActivityDate").and_then(Value::as_str).filter(|_| is_written("ActivityDate"));
        let day = day.map(|day| format!("{day}T00:00:00Z")).and_then(|midnight| midnight.parse().ok());
        let start = day.or_else(|| instant(values, "StartDateTime")).ok_or_else(|| missing("ActivityDate"))?;
        if start.as_second() % (24 * 60 * 60) != 0 && is_written("StartDateTime") {
            return Err(broken("an all-day event begins at midnight UTC"));
        }
        start
    } else {
        let begins = if is_written("ActivityDateTime") { "ActivityDateTime" } else { "StartDateTime" };
        instant(values, begins).ok_or_else(|| missing("StartDateTime"))?
    };
    // The last day of an all-day event belongs to it.
    let added = if is_all_day { DAY_MINUTES } else { 0 };
    let by_end = instant(values, "EndDateTime").map(|end| end.duration_since(start).as_mins() + added);
    let by_length = values.get("DurationInMinutes").and_then(Value::as_i64);
    let minutes = match (is_written("EndDateTime"), is_written("DurationInMinutes")) {
        (true, true) if by_end != by_length => return Err(broken("End and duration do not agree")),
        (true, _) => by_end,
        (false, false) if is_all_day => by_length.or(Some(DAY_MINUTES)),
        (false, _) => by_length,
    };
    let minutes = minutes.ok_or_else(|| missing("DurationInMinutes, EndDateTime"))?;
    if minutes < 0 {
        return Err(broken("Event ends before it begins"));
    }
    if minutes > LONGEST_EVENT_MINUTES {
        return Err(broken("Event duration can not exceed 14 days"));
    }
    let end = start.saturating_add((minutes - added).max(0).minutes()).unwrap_or(start);
    let day = start.strftime("%Y-%m-%d").to_string();
    for (field, value) in [
        ("StartDateTime", Value::from(start.to_string())),
        ("EndDateTime", end.to_string().into()),
        ("DurationInMinutes", minutes.into()),
        ("ActivityDate", day.into()),
        ("IsAllDayEvent", is_all_day.into()),
    ] {
        values.insert(field.to_owned(), value);
    }
    values.remove("ActivityDateTime");
    Ok(())
}

//! The calls, each with Pipedrive's own rules beyond its description.

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    Asked, Refusal,
    records::{API_USER, Activity, Deal, Note, Person, Records, User, now},
};

type Answer = Result<Value, Refusal>;

/// The fields that every activity shows, whether it has them or not.
const SHOWN_OF_ACTIVITIES: [&str; 13] = [
    "subject",
    "type",
    "owner_id",
    "deal_id",
    "org_id",
    "due_date",
    "due_time",
    "duration",
    "busy",
    "location",
    "public_description",
    "priority",
    "note",
];

impl Records {
    /// Carries out a call that follows the description.
    pub(super) fn call(&mut self, asked: &Asked, template: &str, hides_deleted: bool) -> Answer {
        let id = asked.path.rsplit('/').next().unwrap_or_default();
        let id = || id.parse::<u64>().map_err(|_| Refusal::bad_request("Validation failed: id: must be an integer"));
        match (asked.method.as_str(), template) {
            ("GET", "/api/v2/persons/search") => self.search_persons(asked),
            ("GET", "/api/v2/persons") => self.list_persons(asked),
            ("GET", "/api/v2/persons/{id}") => Ok(data(self.shown_person(self.person(id()?)?, asked))),
            ("PATCH", "/api/v2/persons/{id}") => self.patch_person(id()?, asked),
            ("GET", "/api/v2/deals") => self.list_deals(asked),
            ("GET", "/api/v2/activities") => self.list_activities(asked),
            ("POST", "/api/v2/activities") => self.add_activity(asked),
            ("GET", "/api/v2/activities/{id}") => self.get_activity(id()?, hides_deleted),
            ("PATCH", "/api/v2/activities/{id}") => self.patch_activity(id()?, asked),
            ("DELETE", "/api/v2/activities/{id}") => self.remove_activity(id()?),
            ("GET", "/api/v2/personFields") => self.list_fields(asked),
            ("POST", "/api/v2/personFields") => self.add_field(asked),
            ("GET", "/api/v1/notes") => Ok(self.list_notes(asked)),
            ("POST", "/api/v1/notes") => self.add_note(asked),
            ("GET", "/api/v1/notes/{id}") => Ok(data(shown_note(self.note(id()?)?))),
            ("PUT", "/api/v1/notes/{id}") => self.put_note(id()?, asked),
            ("DELETE", "/api/v1/notes/{id}") => self.remove_note(id()?),
            ("GET", "/api/v1/users") => Ok(data(self.users.iter().map(shown_user).collect())),
            ("GET", "/api/v1/users/me") => {
                Ok(data(self.users.iter().find(|user| user.id == API_USER).map_or(Value::Null, shown_user)))
            }
            ("GET", "/api/v1/activityTypes") => {
                let types = self.types.iter().enumerate();
                Ok(data(types.map(|(place, key)| json!({ "id": place + 1, "key_string": key, "name": key, "order_nr": place + 1, "active_flag": true })).collect()))
            }
            _ => Err(Refusal::new(StatusCode::NOT_FOUND, "Unknown method .")),
        }
    }

    fn person(&self, id: u64) -> Result<&Person, Refusal> {
        self.persons.iter().find(|person| person.id == id).ok_or_else(|| Refusal::not_found("Person"))
    }

    fn search_persons(&self, asked: &Asked) -> Answer {
        let term = asked.parameter("term").unwrap_or_default().to_lowercase();
        let is_exact = asked.parameter("exact_match") == Some("true");
        if !is_exact && term.chars().count() < 2 {
            return Err(Refusal::bad_request("term should be at least 2 characters long"));
        }
        let fields = asked.parameter("fields").unwrap_or("custom_fields,email,notes,phone,name");
        let fits = |text: &str| {
            let text = text.to_lowercase();
            if is_exact { text == term } else { text.contains(&term) }
        };
        let values = |entries: &[Value]| -> Vec<String> {
            entries.iter().filter_map(|entry| entry["value"].as_str().map(str::to_owned)).collect()
        };
        let found = self.persons.iter().filter(|person| {
            fields.split(',').any(|field| match field {
                "email" => values(&person.emails).iter().any(|email| fits(email)),
                "phone" => values(&person.phones).iter().any(|phone| fits(phone)),
                "name" => fits(&person.name),
                "custom_fields" => person.custom_fields.values().filter_map(Value::as_str).any(fits),
                _ => false,
            })
        });
        let found = found.map(|person| {
            let organization = person.org_id.and_then(|id| {
                let (id, name) = self.organizations.iter().find(|(known, _)| *known == id)?;
                Some(json!({ "id": id, "name": name, "address": null }))
            });
            let (emails, phones) = (values(&person.emails), values(&person.phones));
            let item = json!({
                "id": person.id, "type": "person", "name": person.name, "emails": emails, "phones": phones,
                "visible_to": 3, "owner": { "id": API_USER }, "organization": organization, "custom_fields": [], "notes": [],
            });
            json!({ "result_score": 0.5, "item": item })
        });
        let (items, more) = page(found.collect(), asked)?;
        Ok(json!({ "success": true, "data": { "items": items }, "additional_data": more }))
    }

    fn shown_person(&self, person: &Person, asked: &Asked) -> Value {
        let wanted: Option<Vec<&str>> = asked.parameter("custom_fields").map(|keys| keys.split(',').collect());
        let is_wanted = |code: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(&code));
        let fields = self.fields.iter().filter(|field| is_wanted(&field.code));
        let custom: Map<String, Value> = fields
            .map(|field| (field.code.clone(), person.custom_fields.get(&field.code).cloned().unwrap_or_default()))
            .collect();
        json!({
            "id": person.id, "name": person.name, "first_name": person.name, "last_name": null, "owner_id": API_USER,
            "org_id": person.org_id, "add_time": "2026-01-05T08:00:00Z", "update_time": person.update_time.to_string(),
            "emails": person.emails, "phones": person.phones, "is_deleted": false, "visible_to": 3, "label_ids": [],
            "picture_id": null, "custom_fields": custom,
        })
    }

    fn list_persons(&self, asked: &Asked) -> Answer {
        let ids = ids_of(asked);
        let org_id = number(asked, "org_id");
        let persons = self.persons.iter().filter(|person| {
            ids.as_ref().is_none_or(|ids| ids.contains(&person.id))
                && org_id.is_none_or(|id| person.org_id == Some(id))
                && is_since(asked, person.update_time)
        });
        listed(sorted(persons.collect(), asked, |person| (person.id, person.update_time)), asked, |person| {
            self.shown_person(person, asked)
        })
    }

    fn patch_person(&mut self, id: u64, asked: &Asked) -> Answer {
        self.person(id)?;
        let body = asked.json();
        if body.contains_key("job_title") {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Contact sync is not enabled for the company"));
        }
        if let Some(custom) = body.get("custom_fields").and_then(Value::as_object) {
            for (code, value) in custom {
                let Some(field) = self.fields.iter().find(|field| field.code == *code) else {
                    return Err(Refusal::bad_request(format!("Validation failed: custom_fields: {code} is not known")));
                };
                let fits = value.is_null() || value.as_str().is_some_and(|text| text.chars().count() <= 255);
                if field.kind == "varchar" && !fits {
                    return Err(Refusal::bad_request(format!(
                        "Validation failed: custom_fields.{code}: not a text of at most 255 characters"
                    )));
                }
            }
        }
        if let Some(org) = body.get("org_id").and_then(Value::as_u64)
            && !self.organizations.iter().any(|(id, _)| *id == org)
        {
            return Err(Refusal::bad_request("Organization not found"));
        }
        let Some(person) = self.persons.iter_mut().find(|person| person.id == id) else {
            return Err(Refusal::not_found("Person"));
        };
        for (name, list) in [("phones", &mut person.phones), ("emails", &mut person.emails)] {
            if let Some(entries) = body.get(name).and_then(Value::as_array) {
                *list = numbered(entries)?;
            }
        }
        if let Some(name) = body.get("name").and_then(Value::as_str) {
            name.clone_into(&mut person.name);
        }
        if let Some(org) = body.get("org_id").and_then(Value::as_u64) {
            person.org_id = Some(org);
        }
        for (code, value) in body.get("custom_fields").and_then(Value::as_object).into_iter().flatten() {
            person.custom_fields.insert(code.clone(), value.clone());
        }
        person.update_time = now();
        Ok(data(self.shown_person(self.person(id)?, asked)))
    }

    fn list_deals(&self, asked: &Asked) -> Answer {
        let ids = ids_of(asked);
        let person_id = number(asked, "person_id");
        let status = asked.parameter("status");
        let deals = self.deals.iter().filter(|deal| {
            ids.as_ref().is_none_or(|ids| ids.contains(&deal.id))
                && person_id.is_none_or(|id| deal.person_id == id)
                && status.is_none_or(|wanted| wanted.split(',').any(|wanted| wanted == deal.status))
                && is_since(asked, deal.update_time)
        });
        let shown = |deal: &Deal| {
            json!({
                "id": deal.id, "title": format!("Deal {}", deal.id), "owner_id": API_USER, "person_id": deal.person_id,
                "org_id": null, "pipeline_id": 1, "stage_id": 1, "value": 0, "currency": "EUR", "status": deal.status,
                "add_time": "2026-01-05T08:00:00Z", "update_time": deal.update_time.to_string(), "is_deleted": false,
                "is_archived": false, "custom_fields": {},
            })
        };
        listed(sorted(deals.collect(), asked, |deal| (deal.id, deal.update_time)), asked, |deal| shown(deal))
    }

    fn list_activities(&self, asked: &Asked) -> Answer {
        let ids = ids_of(asked);
        let is = |activity: &Activity, field: &str| {
            number(asked, field).is_none_or(|id| activity.fields.get(field).and_then(Value::as_u64) == Some(id))
        };
        let done = asked.parameter("done").map(|done| Value::Bool(done == "true"));
        let person = number(asked, "person_id");
        let activities = self.activities.iter().filter(|activity| {
            !activity.is_deleted
                && ids.as_ref().is_none_or(|ids| ids.contains(&activity.id))
                // Of the participants only the primary one counts.
                && person.is_none_or(|id| activity.participants().first() == Some(&id))
                && ["owner_id", "deal_id", "org_id"].into_iter().all(|field| is(activity, field))
                && done.as_ref().is_none_or(|done| activity.fields.get("done") == Some(done))
                && is_since(asked, activity.update_time)
        });
        listed(sorted(activities.collect(), asked, |one| (one.id, one.update_time)), asked, shown_activity)
    }

    fn add_activity(&mut self, asked: &Asked) -> Answer {
        let mut fields = asked.json();
        self.check_activity(&mut fields)?;
        let id = self.new_id();
        fields.entry("owner_id").or_insert_with(|| API_USER.into());
        fields.entry("done").or_insert(Value::Bool(false));
        fields.entry("participants").or_insert_with(|| json!([]));
        self.activities.push(Activity { id, fields, is_deleted: false, update_time: now(), writes: 1 });
        Ok(data(self.activities.last().map_or(Value::Null, shown_activity)))
    }

    fn get_activity(&self, id: u64, hides_deleted: bool) -> Answer {
        let activity = self.activities.iter().find(|activity| activity.id == id);
        let activity = activity.filter(|activity| !(hides_deleted && activity.is_deleted));
        activity.map(|activity| data(shown_activity(activity))).ok_or_else(|| Refusal::not_found("Activity"))
    }

    fn patch_activity(&mut self, id: u64, asked: &Asked) -> Answer {
        let mut fields = asked.json();
        self.check_activity(&mut fields)?;
        let standing = self.activities.iter_mut().find(|activity| activity.id == id && !activity.is_deleted);
        let activity = standing.ok_or_else(|| Refusal::not_found("Activity"))?;
        activity.fields.extend(fields);
        activity.update_time = now();
        activity.writes += 1;
        Ok(data(shown_activity(activity)))
    }

    fn remove_activity(&mut self, id: u64) -> Answer {
        let activity = self.activities.iter_mut().find(|activity| activity.id == id);
        let activity = activity.ok_or_else(|| Refusal::not_found("Activity"))?;
        if activity.is_deleted {
            return Err(Refusal::new(StatusCode::GONE, "Activity is deleted"));
        }
        activity.is_deleted = true;
        Ok(data(json!({ "id": id })))
    }

    /// What holds of a new activity and of a change to one; times of day get their seconds.
    fn check_activity(&self, fields: &mut Map<String, Value>) -> Result<(), Refusal> {
        let id = |field: &str| fields.get(field).and_then(Value::as_u64);
        if fields.get("type").and_then(Value::as_str).is_some_and(|kind| !self.types.iter().any(|known| known == kind))
        {
            return Err(Refusal::bad_request("Validation failed: type: unknown activity type"));
        }
        if id("owner_id").is_some_and(|id| !self.users.iter().any(|user| user.id == id && user.is_active)) {
            return Err(Refusal::bad_request("Validation failed: owner_id: no active user has this id"));
        }
        if id("deal_id").is_some_and(|id| !self.deals.iter().any(|deal| deal.id == id)) {
            return Err(Refusal::bad_request("Deal not found"));
        }
        if id("org_id").is_some_and(|id| !self.organizations.iter().any(|(known, _)| *known == id)) {
            return Err(Refusal::bad_request("Organization not found"));
        }
        let participants = fields.get("participants").and_then(Value::as_array).cloned().unwrap_or_default();
        let persons: Vec<u64> = participants.iter().filter_map(|one| one["person_id"].as_u64()).collect();
        for (place, person) in persons.iter().enumerate() {
            if !self.persons.iter().any(|known| known.id == *person) {
                return Err(Refusal::bad_request(format!("Person {person} not found")));
            }
            if persons[..place].contains(person) {
                return Err(Refusal::bad_request("Validation failed: participants: a person stands there twice"));
            }
        }
        let primary = participants.iter().filter(|one| one["primary"] == true).count();
        if primary > 1 {
            return Err(Refusal::bad_request("Validation failed: participants: only one can be primary"));
        }
        for field in ["due_time", "duration"] {
            if let Some(Value::String(time)) = fields.get_mut(field)
                && time.len() == 5
            {
                time.push_str(":00");
            }
        }
        Ok(())
    }

    fn list_fields(&self, asked: &Asked) -> Answer {
        let own = [("Name", "name", "varchar"), ("Phone", "phone", "phone"), ("Email", "email", "varchar")];
        let own = own.map(|(name, code, kind)| shown_field(name, code, kind, false));
        let custom = self.fields.iter().map(|field| shown_field(&field.name, &field.code, &field.kind, true));
        let (fields, more) = page(own.into_iter().chain(custom).collect(), asked)?;
        Ok(json!({ "success": true, "data": fields, "additional_data": more }))
    }

    /// Pipedrive takes several fields of one name.
    fn add_field(&mut self, asked: &Asked) -> Answer {
        let body = asked.json();
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if ["set", "enum"].contains(&text("field_type").as_str()) && !body.contains_key("options") {
            return Err(Refusal::bad_request("Validation failed: options: are missing"));
        }
        let field = self.new_field(&text("field_name"), &text("field_type"));
        Ok(data(shown_field(&field.name, &field.code, &field.kind, true)))
    }

    fn note(&self, id: u64) -> Result<&Note, Refusal> {
        let note = self.notes.iter().find(|note| note.id == id && !note.is_deleted);
        note.ok_or_else(|| Refusal::not_found("Note"))
    }

    fn list_notes(&self, asked: &Asked) -> Value {
        let notes = self.notes.iter().filter(|note| {
            !note.is_deleted
                && number(asked, "person_id").is_none_or(|id| note.person_id == Some(id))
                && number(asked, "deal_id").is_none_or(|id| note.deal_id == Some(id))
                && is_since(asked, note.update_time)
        });
        let notes: Vec<&Note> = notes.collect();
        let size = |name: &str| asked.parameter(name).and_then(|value| value.parse::<usize>().ok());
        let (start, limit) = (size("start").unwrap_or_default(), size("limit").unwrap_or(100));
        let shown: Vec<Value> = notes.iter().skip(start).take(limit).map(|note| shown_note(note)).collect();
        let has_more = notes.len() > start + limit;
        let mut pagination = json!({ "start": start, "limit": limit, "more_items_in_collection": has_more });
        if has_more {
            pagination["next_start"] = json!(start + limit);
        }
        // v1 says null where there is nothing.
        let shown = if shown.is_empty() { Value::Null } else { Value::from(shown) };
        json!({ "success": true, "data": shown, "additional_data": { "pagination": pagination } })
    }

    fn check_note(&self, body: &Map<String, Value>) -> Result<(), Refusal> {
        let id = |field: &str| body.get(field).and_then(Value::as_u64);
        if id("person_id").is_some_and(|id| self.person(id).is_err()) {
            return Err(Refusal::bad_request("Person not found"));
        }
        if id("deal_id").is_some_and(|id| !self.deals.iter().any(|deal| deal.id == id)) {
            return Err(Refusal::bad_request("Deal not found"));
        }
        Ok(())
    }

    fn add_note(&mut self, asked: &Asked) -> Answer {
        let body = asked.json();
        self.check_note(&body)?;
        let id = self.new_id();
        let content = body.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
        let of = |field: &str| body.get(field).and_then(Value::as_u64);
        let (person_id, deal_id) = (of("person_id"), of("deal_id"));
        self.notes.push(Note { id, content, person_id, deal_id, is_deleted: false, update_time: now() });
        Ok(data(shown_note(self.note(id)?)))
    }

    fn put_note(&mut self, id: u64, asked: &Asked) -> Answer {
        let body = asked.json();
        self.note(id)?;
        self.check_note(&body)?;
        if let Some(note) = self.notes.iter_mut().find(|note| note.id == id) {
            if let Some(content) = body.get("content").and_then(Value::as_str) {
                content.clone_into(&mut note.content);
            }
            note.person_id = body.get("person_id").and_then(Value::as_u64).or(note.person_id);
            note.deal_id = body.get("deal_id").and_then(Value::as_u64).or(note.deal_id);
            note.update_time = now();
        }
        Ok(data(shown_note(self.note(id)?)))
    }

    fn remove_note(&mut self, id: u64) -> Answer {
        self.note(id)?;
        self.delete_note(&id.to_string());
        Ok(data(Value::Bool(true)))
    }
}

fn data(data: Value) -> Value {
    Value::from_iter([("success", Value::Bool(true)), ("data", data)])
}

fn number(asked: &Asked, name: &str) -> Option<u64> {
    asked.parameter(name)?.parse().ok()
}

fn ids_of(asked: &Asked) -> Option<Vec<u64>> {
    Some(asked.parameter("ids")?.split(',').filter_map(|id| id.parse().ok()).collect())
}

fn is_since(asked: &Asked, update_time: Timestamp) -> bool {
    let since = asked.parameter("updated_since").and_then(|since| since.parse::<Timestamp>().ok());
    since.is_none_or(|since| update_time >= since)
}

/// Telephone numbers or addresses as they are stored: exactly one is the primary one.
fn numbered(entries: &[Value]) -> Result<Vec<Value>, Refusal> {
    let mut stored: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let label = entry["label"].as_str().unwrap_or("work");
            json!({ "value": entry["value"], "primary": entry["primary"] == true, "label": label })
        })
        .collect();
    match stored.iter().filter(|entry| entry["primary"] == true).count() {
        0 => {
            if let Some(first) = stored.first_mut() {
                first["primary"] = Value::Bool(true);
            }
        }
        1 => {}
        _ => return Err(Refusal::bad_request("Validation failed: only one can be primary")),
    }
    Ok(stored)
}

fn sorted<'a, T>(mut all: Vec<&'a T>, asked: &Asked, key: impl Fn(&T) -> (u64, Timestamp)) -> Vec<&'a T> {
    match asked.parameter("sort_by") {
        Some("update_time") => all.sort_by_key(|one| key(one).1),
        _ => all.sort_by_key(|one| key(one).0),
    }
    if asked.parameter("sort_direction") == Some("desc") {
        all.reverse();
    }
    all
}

fn listed<T>(all: Vec<&T>, asked: &Asked, shown: impl Fn(&T) -> Value) -> Answer {
    let (entries, more) = page(all.into_iter().map(shown).collect(), asked)?;
    Ok(json!({ "success": true, "data": entries, "additional_data": more }))
}

/// One page, and the cursor of the next: opaque to callers.
fn page(all: Vec<Value>, asked: &Asked) -> Result<(Vec<Value>, Value), Refusal> {
    let begin = match asked.parameter("cursor") {
        None => 0,
        Some(cursor) => URL_SAFE_NO_PAD
            .decode(cursor)
            .ok()
            .and_then(|place| String::from_utf8(place).ok()?.strip_prefix("place:")?.parse::<usize>().ok())
            .ok_or_else(|| Refusal::bad_request("Invalid cursor"))?,
    };
    let limit = asked.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    let end = (begin + limit).min(all.len());
    let next = (end < all.len()).then(|| URL_SAFE_NO_PAD.encode(format!("place:{end}")));
    let entries = all.into_iter().skip(begin).take(limit).collect();
    Ok((entries, json!({ "next_cursor": next })))
}

fn shown_activity(activity: &Activity) -> Value {
    let mut shown: Map<String, Value> =
        SHOWN_OF_ACTIVITIES.iter().map(|field| ((*field).to_owned(), Value::Null)).collect();
    shown.extend(activity.fields.clone());
    let primary = activity.participants().first().copied();
    shown.extend([
        ("id".to_owned(), json!(activity.id)),
        ("person_id".to_owned(), json!(primary)),
        ("is_deleted".to_owned(), json!(activity.is_deleted)),
        ("update_time".to_owned(), json!(activity.update_time.to_string())),
        ("creator_user_id".to_owned(), json!(API_USER)),
    ]);
    Value::Object(shown)
}

fn shown_note(note: &Note) -> Value {
    json!({
        "id": note.id, "active_flag": !note.is_deleted, "content": note.content, "person_id": note.person_id,
        "deal_id": note.deal_id, "org_id": null, "lead_id": null, "user_id": API_USER,
        "update_time": note.update_time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    })
}

fn shown_user(user: &User) -> Value {
    json!({
        "id": user.id, "name": user.email, "email": user.email, "active_flag": user.is_active, "activated": true,
        "is_deleted": false, "is_you": user.id == API_USER, "timezone_name": "Europe/Berlin", "role_id": 1,
    })
}

fn shown_field(name: &str, code: &str, kind: &str, is_custom: bool) -> Value {
    json!({
        "field_name": name, "field_code": code, "field_type": kind, "options": null, "subfields": null,
        "is_custom_field": is_custom, "is_optional_response_field": false,
    })
}

//! Making, changing and removing events of the Nylas stand-in, and whether their participants would be mailed of it.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    body::Bytes,
    extract::{Path as UrlPath, State},
};
use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value, json};

use super::calendars::calendar_named;
use super::checks::{
    check_flags, check_metadata, check_texts, check_time_zone, is_plausible_address, number_in, object_in, objects_in,
    required, text_in,
};
use super::events::{calendar_of, is_in};
use super::{
    Answered, Api, ApiError, Asked, Checked, Grant, Nylas, Parameters, Query, grants::opaque_id, object_of,
    refuse_unknown_keys,
};

const KNOWN: [&str; 10] = [
    "title",
    "description",
    "location",
    "when",
    "participants",
    "busy",
    "metadata",
    "conferencing",
    "reminders",
    "visibility",
];

const VISIBILITIES: [&str; 3] = ["public", "private", "default"];

/// Whether a change is told to the participants by mail. It is unless that is declined, which Microsoft and iCloud ignore
/// (Nylas API reference, `notify_participants`).
struct Invitation(bool);

impl Invitation {
    fn of(asked: &Asked, grant: &Grant) -> std::result::Result<Self, ApiError> {
        let asked = asked.flag("notify_participants", true)?;
        Ok(Self(asked || matches!(grant.provider.as_str(), "microsoft" | "icloud")))
    }

    /// Counts the change, if anybody is told of it.
    fn send(&self, api: &Api, versions: &[&Value]) {
        let has_participants = |event: &&Value| event["participants"].as_array().is_some_and(|list| !list.is_empty());
        if self.0 && versions.iter().any(has_participants) {
            api.mailed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn data(event: Value) -> Map<String, Value> {
    Map::from_iter([("data".to_owned(), event)])
}

/// Where the event stands in a grant, in the calendar that the call names.
fn place_of(grant: &Grant, calendar: &str, id: &str) -> std::result::Result<usize, ApiError> {
    let is_it = |event: &Value| event["id"] == id && is_in(event, calendar, grant);
    let place = grant.events.iter().position(is_it).ok_or_else(ApiError::not_found)?;
    if grant.events[place]["read_only"] == true {
        return Err(ApiError::invalid("event is read-only"));
    }
    Ok(place)
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
    body: Bytes,
) -> Answered {
    let asked = Asked::check(query, &["calendar_id", "notify_participants", "select"])?;
    let given = object_of(&body)?;
    let made = api.use_grant(&grant, |grant| {
        let calendar = calendar_named(grant, calendar_of(&asked, grant)?)?;
        let invitation = Invitation::of(&asked, grant)?;
        check(&given)?;
        required(given.get("when"), "when")?;
        if calendar["read_only"] == true {
            return Err(ApiError::invalid("calendar is read-only"));
        }
        let event = event_of(&api, grant, &calendar, given);
        grant.events.push(event.clone());
        invitation.send(&api, &[&event]);
        Ok(event)
    })??;
    Ok(api.success(data(asked.show(&made)?)))
}

pub(super) async fn change(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
    body: Bytes,
) -> Answered {
    let asked = Asked::check(query, &["calendar_id", "notify_participants", "select"])?;
    let changes = object_of(&body)?;
    let event = api.use_grant(&grant, |grant| {
        let calendar = calendar_of(&asked, grant)?;
        let invitation = Invitation::of(&asked, grant)?;
        let place = place_of(grant, calendar, &id)?;
        check(&changes)?;
        let before = grant.events[place].clone();
        let event = &mut grant.events[place];
        if let Some(event) = event.as_object_mut() {
            event.extend(as_kept(changes));
        }
        let earliest = before["updated_at"].as_i64().unwrap_or_default() + 1;
        event["updated_at"] = Timestamp::now().as_second().max(earliest).into();
        invitation.send(&api, &[&before, event]);
        Ok(event.clone())
    })??;
    Ok(api.success(data(asked.show(&event)?)))
}

pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["calendar_id", "notify_participants"])?;
    api.use_grant(&grant, |grant| {
        let calendar = calendar_of(&asked, grant)?;
        let invitation = Invitation::of(&asked, grant)?;
        let event = grant.events.remove(place_of(grant, calendar, &id)?);
        invitation.send(&api, &[&event]);
        Ok(())
    })??;
    Ok(api.success(Map::new()))
}

fn check(event: &Map<String, Value>) -> Checked {
    refuse_unknown_keys(event, &KNOWN, "an event")?;
    check_texts(event, &["title", "description", "location"])?;
    check_flags(event, &["busy"])?;
    check_metadata(event)?;
    object_in(event, "conferencing")?;
    object_in(event, "reminders")?;
    if text_in(event, "visibility")?.is_some_and(|visibility| !VISIBILITIES.contains(&visibility)) {
        return Err(ApiError::invalid(format!("visibility takes one of {VISIBILITIES:?}")));
    }
    for participant in objects_in(event, "participants")? {
        let known = ["email", "name", "status", "comment", "phone_number"];
        refuse_unknown_keys(participant, &known, "a participant")?;
        if !is_plausible_address(required(text_in(participant, "email")?, "email")?) {
            return Err(ApiError::invalid("a participant has an address that no mail can go to"));
        }
    }
    match event.get("when") {
        None => Ok(()),
        Some(when) => check_when(when.as_object().ok_or_else(|| ApiError::invalid("when must be an object"))?),
    }
}

/// The shape of a time, by the key that only it has.
fn shape_of(when: &Map<String, Value>) -> Option<(&'static str, [&'static str; 4])> {
    let shapes = [
        ("timespan", ["start_time", "end_time", "start_timezone", "end_timezone"]),
        ("time", ["time", "timezone", "", ""]),
        ("date", ["date", "", "", ""]),
        ("datespan", ["start_date", "end_date", "", ""]),
    ];
    shapes.into_iter().find(|(_, [first, ..])| when.contains_key(*first))
}

fn check_when(when: &Map<String, Value>) -> Checked {
    let (shape, keys) = shape_of(when).ok_or_else(|| ApiError::invalid("when has none of the shapes that it takes"))?;
    refuse_unknown_keys(when, &[&keys[..], &["object"]].concat(), &format!("a {shape}"))?;
    if text_in(when, "object")?.is_some_and(|object| object != shape) {
        return Err(ApiError::invalid(format!("when has the keys of a {shape} and says that it is something else")));
    }
    for zone in ["start_timezone", "end_timezone", "timezone"] {
        text_in(when, zone)?.map_or(Ok(()), check_time_zone)?;
    }
    let time = |key: &str| required(number_in(when, key)?, key);
    let date = |key: &str| {
        let text = required(text_in(when, key)?, key)?;
        text.parse::<Date>().map_err(|_| ApiError::invalid(format!("{key} must be a date of the form 2030-01-31")))
    };
    let is_in_order = match shape {
        "timespan" => time("start_time")? < time("end_time")?,
        "datespan" => date("start_date")? <= date("end_date")?,
        "time" => time("time").map(|_| true)?,
        _ => date("date").map(|_| true)?,
    };
    if is_in_order { Ok(()) } else { Err(ApiError::invalid("when must end after it begins")) }
}

/// What is given as it is kept: the time says its shape, and nobody has answered yet.
fn as_kept(mut given: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(when)) = given.get_mut("when")
        && let Some((shape, _)) = shape_of(when)
    {
        when.insert("object".to_owned(), shape.into());
    }
    let participants = given.get_mut("participants").and_then(Value::as_array_mut).into_iter().flatten();
    for participant in participants.filter_map(Value::as_object_mut) {
        participant.entry("status").or_insert("noreply".into());
    }
    given
}

fn event_of(api: &Api, grant: &Grant, calendar: &Value, given: Map<String, Value>) -> Value {
    let (digest, now) = (api.fresh_digest("event"), Timestamp::now().as_second());
    let (id, ical_uid) = match grant.provider.as_str() {
        "google" => (digest[..26].to_owned(), format!("{}@google.com", &digest[..26])),
        "microsoft" | "ews" => (opaque_id(&grant.id, &digest), digest[..56].to_uppercase()),
        _ => (digest[..32].to_owned(), digest[..32].to_owned()),
    };
    let mut event = json!({
        "id": id,
        "grant_id": grant.id,
        "calendar_id": calendar["id"],
        "object": "event",
        "status": "confirmed",
        "busy": true,
        "read_only": false,
        "hide_participants": false,
        "participants": [],
        "organizer": { "email": grant.email, "name": "" },
        "ical_uid": ical_uid,
        "created_at": now,
        "updated_at": now,
    });
    if let Some(event) = event.as_object_mut() {
        event.extend(as_kept(given));
    }
    event
}

impl Nylas {
    /// How many times participants would have been mailed because an event was made, changed or removed.
    #[must_use]
    pub fn mailed_participants(&self) -> usize {
        self.api.mailed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;

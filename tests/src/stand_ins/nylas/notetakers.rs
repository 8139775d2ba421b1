//! Notetakers of the Nylas stand-in, those of accounts and standalone ones: lists, one, its media and its history, invitations,
//! cancelling and leaving; and what may be set for them, here and on calendars.

use std::sync::{Arc, PoisonError, atomic::Ordering};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::media::{FILES, Media};
use super::{
    Answered, Api, ApiError, Asked, Checked, Nylas, Parameters, Query, object_in, object_of, page_body,
    refuse_unknown_keys,
};
use crate::stand_ins::{Result, StandInError};

const NOTETAKERS_LIMIT: (usize, usize) = (50, 200);

/// The states that a list can be narrowed to.
const STATES: [&str; 9] = [
    "scheduled",
    "connecting",
    "waiting_for_entry",
    "failed_entry",
    "attending",
    "media_processing",
    "media_available",
    "media_error",
    "media_deleted",
];

/// The states in which a notetaker is in a meeting or on its way into it.
const UNDER_WAY: [&str; 3] = ["connecting", "waiting_for_entry", "attending"];

/// What a seed may have beside what the API shows.
const NOT_SHOWN: [&str; 4] = ["event", "calendar_id", "media", "history"];

/// How many seconds a join time may lie back, for clocks that differ.
const JOIN_TIME_TOLERANCE: i64 = 60;

const LONGEST_INSTRUCTIONS: usize = 1500;

const YES_OR_NO: [&str; 5] = ["video_recording", "audio_recording", "transcription", "summary", "action_items"];

const SETTINGS: [&str; 10] = [
    "transcription",
    "transcription_settings",
    "summary",
    "summary_settings",
    "action_items",
    "action_items_settings",
    "leave_after_silence_seconds",
    "messages",
    "recording_type",
    "retention_time",
];

const EVENT_SELECTIONS: [&str; 5] = ["all", "external", "internal", "own_events", "participant_only"];

/// The paths below `/v3/notetakers` and below a grant's `/notetakers`.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/", get(list).post(invite))
        .route("/{notetaker}", get(find))
        .route("/{notetaker}/media", get(media))
        .route("/{notetaker}/history", get(history))
        .route("/{notetaker}/cancel", delete(cancel))
        .route("/{notetaker}/leave", post(leave))
}

/// What a path names: no grant for a standalone notetaker, no notetaker where all are meant.
#[derive(Debug, Deserialize)]
struct Place {
    grant: Option<String>,
    #[serde(default)]
    notetaker: String,
}

impl Api {
    /// Does something with the notetakers of an account that can be reached, told its id, or with the standalone ones.
    fn use_notetakers<T>(
        &self,
        grant: Option<&str>,
        use_them: impl FnOnce(Option<&str>, &mut Vec<Value>) -> T,
    ) -> std::result::Result<T, ApiError> {
        match grant {
            Some(name) => self.use_grant(name, |grant| use_them(Some(&grant.id), &mut grant.notetakers)),
            None => Ok(use_them(None, &mut self.standalone_notetakers.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }

    /// Does something with the notetakers of an account, reached or not, or with the standalone ones; none if there is no such
    /// account.
    pub(super) fn look_at_notetakers<T>(
        &self,
        grant: Option<&str>,
        use_them: impl FnOnce(&mut Vec<Value>) -> T,
    ) -> Option<T> {
        match grant {
            Some(name) => self.locked(|grants| {
                let grant = grants.iter_mut().find(|grant| grant.is_named(name))?;
                Some(use_them(&mut grant.notetakers))
            }),
            None => Some(use_them(&mut self.standalone_notetakers.lock().unwrap_or_else(PoisonError::into_inner))),
        }
    }

    /// Does something with one notetaker.
    fn use_notetaker<T>(
        &self,
        place: &Place,
        use_it: impl FnOnce(Option<&str>, &mut Value) -> std::result::Result<T, ApiError>,
    ) -> std::result::Result<T, ApiError> {
        self.use_notetakers(place.grant.as_deref(), |grant_id, notetakers| {
            let found = notetakers.iter_mut().find(|known| known["id"] == place.notetaker.as_str());
            use_it(grant_id, found.ok_or_else(ApiError::not_found)?)
        })?
    }
}

/// The state as the filter of a list spells it; objects of the same API lack the prefix of some.
fn state_of(notetaker: &Value) -> &str {
    let state = notetaker["state"].as_str().or_else(|| notetaker["status"].as_str()).unwrap_or_default();
    match state {
        "processing" => "media_processing",
        "available" => "media_available",
        "error" => "media_error",
        "deleted" => "media_deleted",
        state => state,
    }
}

pub(super) fn set_state(notetaker: &mut Value, state: &str) {
    notetaker["state"] = state.into();
    notetaker["status"] = state.into();
}

/// A notetaker as the API shows it.
fn shown(notetaker: &Value, grant_id: Option<&str>) -> Value {
    let object = notetaker.as_object().into_iter().flatten();
    let mut shown: Map<String, Value> = object
        .filter(|(key, _)| !NOT_SHOWN.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    shown.entry("object").or_insert_with(|| "notetaker".into());
    if let Some(grant_id) = grant_id {
        shown.entry("grant_id").or_insert_with(|| grant_id.into());
    }
    Value::Object(shown)
}

fn data(value: Value) -> Map<String, Value> {
    Map::from_iter([("data".to_owned(), value)])
}

async fn list(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>, Query(query): Parameters) -> Answered {
    let known =
        ["limit", "page_token", "state", "join_time_start", "join_time_end", "order_by", "order_direction", "select"];
    let asked = Asked::check(query, &known)?;
    let one_of = |name: &str, words: &[&str]| match asked.text(name) {
        Some(word) if !words.contains(&word) => Err(ApiError::invalid(format!("{name} does not take {word}"))),
        _ => Ok(()),
    };
    one_of("state", &STATES)?;
    one_of("order_by", &["name", "join_time", "created_at"])?;
    one_of("order_direction", &["asc", "desc"])?;
    let (from, to) = (asked.number("join_time_start")?, asked.number("join_time_end")?);
    let fits = |notetaker: &Value| {
        let join_time = notetaker["join_time"].as_i64();
        asked.text("state").is_none_or(|state| state_of(notetaker) == state)
            && from.is_none_or(|from| join_time.is_some_and(|time| time >= from))
            && to.is_none_or(|to| join_time.is_some_and(|time| time <= to))
    };
    let mut found: Vec<Value> = api.use_notetakers(place.grant.as_deref(), |grant_id, notetakers| {
        notetakers.iter().filter(|notetaker| fits(notetaker)).map(|notetaker| shown(notetaker, grant_id)).collect()
    })?;
    match asked.text("order_by") {
        // They stand in the order in which they came.
        Some("created_at") => {}
        Some("name") => found.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str())),
        _ => found.sort_by_key(|notetaker| notetaker["join_time"].as_i64()),
    }
    if asked.text("order_direction") == Some("desc") {
        found.reverse();
    }
    let (page, cursor) = asked.page(found, NOTETAKERS_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|notetaker| asked.show(notetaker)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

async fn find(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>, Query(query): Parameters) -> Answered {
    let asked = Asked::check(query, &["select"])?;
    let found = api.use_notetaker(&place, |grant_id, notetaker| asked.show(&shown(notetaker, grant_id)))?;
    Ok(api.success(data(found)))
}

async fn media(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>, Query(query): Parameters) -> Answered {
    Asked::check(query, &[])?;
    let (status, described) = api.use_notetaker(&place, |grant_id, notetaker| {
        if state_of(notetaker) == "media_deleted" {
            return Err(ApiError::new(410, "not_found_error", "the media are past their retention"));
        }
        let there = Media::of(notetaker).map_err(|error| {
            ApiError::new(500, "internal_error", format!("the seed of this notetaker is not usable: {error}"))
        })?;
        let is_ready = |media: &Media| {
            state_of(notetaker) == "media_available" && !(media.files.is_empty() && media.errors.is_empty())
        };
        let media = there.filter(is_ready).ok_or_else(ApiError::not_found)?;
        let mut described: Map<String, Value> = media
            .files
            .iter()
            .map(|(name, file)| {
                let url = api.storage.link(grant_id, &place.notetaker, name);
                (name.clone(), file.describe(&url, notetaker))
            })
            .collect();
        if media.errors.is_empty() {
            return Ok((StatusCode::OK, described));
        }
        described.insert("errors".to_owned(), media.errors.into());
        Ok((StatusCode::MULTI_STATUS, described))
    })?;
    Ok(api.answer(status, data(described.into())))
}

async fn history(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>, Query(query): Parameters) -> Answered {
    Asked::check(query, &[])?;
    let mut events =
        api.use_notetaker(&place, |_, notetaker| Ok(notetaker["history"].as_array().cloned().unwrap_or_default()))?;
    events.sort_by_key(|event| std::cmp::Reverse(event["created_at"].as_i64()));
    // A seed cannot know where the files will be served.
    let events = api.storage.with_links(&Value::from(events).to_string());
    let events: Value =
        serde_json::from_str(&events).map_err(|error| ApiError::new(500, "internal_error", error.to_string()))?;
    Ok(api.success(data(json!({ "events": events }))))
}

async fn invite(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>, body: Bytes) -> Answered {
    let mut asked = object_of(&body)?;
    let known = ["meeting_link", "join_time", "name", "meeting_settings", "notetaker_settings"];
    refuse_unknown_keys(&asked, &known, "an invitation")?;
    check_how_it_joins(&asked)?;
    let meeting_link = match asked.remove("meeting_link") {
        Some(Value::String(link)) if is_meeting_link(&link) => link,
        _ => return Err(ApiError::invalid("meeting_link must be the link of a meeting")),
    };
    let now = jiff::Timestamp::now().as_second();
    let join_time = match asked.remove("join_time") {
        None => now,
        Some(time) => time.as_i64().ok_or_else(|| ApiError::invalid("join_time must be a Unix time in seconds"))?,
    };
    if join_time < now - JOIN_TIME_TOLERANCE {
        return Err(ApiError::invalid("join_time lies in the past"));
    }
    let mut settings = Map::from_iter(YES_OR_NO.map(|key| (key.to_owned(), Value::Bool(true))));
    settings.insert("leave_after_silence_seconds".to_owned(), 300.into());
    let given = asked.remove("meeting_settings").or_else(|| asked.remove("notetaker_settings"));
    if let Some(Value::Object(given)) = given {
        settings.extend(given);
    }
    let name = asked.remove("name").or_else(|| settings.remove("name")).unwrap_or_else(|| "Nylas Notetaker".into());
    let mut notetaker = json!({
        "object": "notetaker",
        "name": name,
        "meeting_link": meeting_link,
        "join_time": join_time,
        "meeting_settings": settings,
    });
    set_state(&mut notetaker, "scheduled");
    if let Some(provider) = provider_of(&meeting_link) {
        notetaker["meeting_provider"] = provider.into();
    }
    let answer = api.use_notetakers(place.grant.as_deref(), |grant_id, notetakers| {
        // As the original spells ids; no two requests have the same number.
        let digest = Sha256::digest(format!("notetaker:{}", api.requests.fetch_add(1, Ordering::Relaxed)));
        notetaker["id"] = hex::encode(&digest[..16]).into();
        let answer = shown(&notetaker, grant_id);
        notetaker["history"] =
            json!([{ "created_at": now, "event_type": "notetaker.created", "data": answer.clone() }]);
        notetakers.push(notetaker);
        answer
    })?;
    Ok(api.answer(StatusCode::CREATED, data(answer)))
}

async fn cancel(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>) -> Answered {
    api.use_notetakers(place.grant.as_deref(), |_, notetakers| {
        let is_it = |known: &Value| known["id"] == place.notetaker.as_str();
        let at = notetakers.iter().position(is_it).ok_or_else(ApiError::not_found)?;
        if state_of(&notetakers[at]) != "scheduled" {
            return Err(ApiError::planned(409));
        }
        notetakers.remove(at);
        Ok(())
    })??;
    Ok(api.success(Map::new()))
}

async fn leave(State(api): State<Arc<Api>>, UrlPath(place): UrlPath<Place>) -> Answered {
    api.use_notetaker(&place, |_, notetaker| {
        if !UNDER_WAY.contains(&state_of(notetaker)) {
            return Err(ApiError::planned(409));
        }
        set_state(notetaker, "disconnected");
        Ok(())
    })?;
    Ok(api.success(data(json!({ "id": place.notetaker, "message": "The notetaker leaves the meeting." }))))
}

fn is_meeting_link(link: &str) -> bool {
    Url::parse(link).is_ok_and(|link| matches!(link.scheme(), "https" | "http"))
}

fn provider_of(meeting_link: &str) -> Option<&'static str> {
    let link = Url::parse(meeting_link).ok()?;
    let host = link.host_str()?;
    [("meet.google.com", "Google Meet"), ("zoom.us", "Zoom Meeting"), ("teams.microsoft.com", "Microsoft Teams")]
        .into_iter()
        .find_map(|(domain, provider)| host.ends_with(domain).then_some(provider))
}

/// Whether a calendar's `notetaker` is one that the original takes.
pub(super) fn check_of_calendar(notetaker: &Value) -> Checked {
    let Some(notetaker) = notetaker.as_object() else {
        return if notetaker.is_null() {
            Ok(())
        } else {
            Err(ApiError::invalid("notetaker must be an object or null"))
        };
    };
    refuse_unknown_keys(notetaker, &["name", "meeting_settings", "notetaker_settings", "rules"], "notetaker")?;
    check_how_it_joins(notetaker)?;
    let Some(rules) = object_in(notetaker, "rules")? else { return Ok(()) };
    refuse_unknown_keys(rules, &["event_selection", "participant_filter"], "rules")?;
    match rules.get("event_selection") {
        None | Some(Value::Null) => {}
        Some(selection) => {
            let is_known = |word: &Value| word.as_str().is_some_and(|word| EVENT_SELECTIONS.contains(&word));
            if !selection.as_array().is_some_and(|words| words.iter().all(is_known)) {
                return Err(ApiError::invalid(format!("event_selection takes a list out of {EVENT_SELECTIONS:?}")));
            }
        }
    }
    let Some(filter) = object_in(rules, "participant_filter")? else { return Ok(()) };
    refuse_unknown_keys(filter, &["participants_gte", "participants_lte"], "participant_filter")?;
    if let Some(key) = filter.keys().find(|key| !filter[*key].is_u64()) {
        return Err(ApiError::invalid(format!("{key} must be a whole number")));
    }
    Ok(())
}

/// Whether the name and the settings of a notetaker are ones that the original takes.
fn check_how_it_joins(notetaker: &Map<String, Value>) -> Checked {
    let former = ["name", "meeting_settings"];
    if notetaker.contains_key("notetaker_settings") && former.iter().any(|key| notetaker.contains_key(*key)) {
        return Err(ApiError::invalid("notetaker_settings takes neither name nor meeting_settings beside it"));
    }
    check_name(notetaker)?;
    for (place, more) in [
        ("meeting_settings", ["video_recording", "audio_recording", "deduplication_settings"].as_slice()),
        ("notetaker_settings", ["name"].as_slice()),
    ] {
        if let Some(settings) = object_in(notetaker, place)? {
            refuse_unknown_keys(settings, &[&SETTINGS, more].concat(), place)?;
            check_settings(settings)?;
        }
    }
    Ok(())
}

fn check_settings(settings: &Map<String, Value>) -> Checked {
    check_name(settings)?;
    if let Some(key) = YES_OR_NO.iter().find(|key| settings.get(**key).is_some_and(|value| !value.is_boolean())) {
        return Err(ApiError::invalid(format!("{key} must be true or false")));
    }
    let is_within = |seconds: &Value| seconds.as_i64().is_some_and(|seconds| (10..=3600).contains(&seconds));
    if settings.get("leave_after_silence_seconds").is_some_and(|seconds| !is_within(seconds)) {
        return Err(ApiError::invalid("leave_after_silence_seconds must be between 10 and 3600"));
    }
    for place in ["summary_settings", "action_items_settings"] {
        let Some(settings) = object_in(settings, place)? else { continue };
        refuse_unknown_keys(settings, &["custom_instructions"], place)?;
        let is_short = |text: &Value| text.as_str().is_some_and(|text| text.chars().count() <= LONGEST_INSTRUCTIONS);
        if settings.get("custom_instructions").is_some_and(|text| !is_short(text)) {
            return Err(ApiError::invalid(format!(
                "custom_instructions of {place} must be a text of at most {LONGEST_INSTRUCTIONS} characters"
            )));
        }
    }
    Ok(())
}

fn check_name(object: &Map<String, Value>) -> Checked {
    match object.get("name") {
        None | Some(Value::String(_)) => Ok(()),
        Some(_) => Err(ApiError::invalid("name must be a text")),
    }
}

/// Whether a seed is one that can be served later.
pub(super) fn check_seed(notetaker: &Value) -> Result<()> {
    let id = notetaker["id"].as_str();
    let refuse =
        |problem: String| Err(StandInError::Notetaker { id: id.unwrap_or("(without an id)").to_owned(), problem });
    if id.is_none() {
        return refuse("it has no id".to_owned());
    }
    let media = match Media::of(notetaker) {
        Ok(media) => media,
        Err(error) => return refuse(format!("its media cannot be read: {error}")),
    };
    let files = media.map(|media| media.files).unwrap_or_default();
    match files.into_keys().find(|file| !FILES.contains(&file.as_str())) {
        Some(file) => refuse(format!("{file} is none of the files {FILES:?}")),
        None => Ok(()),
    }
}

impl Nylas {
    /// Puts a notetaker into an account, in place of one with the same id; no grant for a standalone one.
    pub fn put_notetaker(&self, grant_id: Option<&str>, notetaker: Value) -> Result<()> {
        check_seed(&notetaker)?;
        let put = self.api.look_at_notetakers(grant_id, |notetakers| {
            notetakers.retain(|known| known["id"] != notetaker["id"]);
            notetakers.push(notetaker);
        });
        put.ok_or_else(|| StandInError::UnknownGrant(grant_id.unwrap_or_default().to_owned()))
    }

    /// The notetakers of an account as they are now, with what the API does not show; no grant for the standalone ones.
    #[must_use]
    pub fn notetakers(&self, grant_id: Option<&str>) -> Vec<Value> {
        self.api.look_at_notetakers(grant_id, |notetakers| notetakers.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reqwest::Method;

    use super::super::Grant;
    use super::super::tests::{get_json, send_json};
    use super::*;

    fn notetaker(id: &str, join_time: i64, state: &str) -> Value {
        json!({
            "id": id,
            "name": "Northwind Notetaker",
            "meeting_link": "https://meet.google.com/pnw-qhzr-tbc",
            "meeting_provider": "Google Meet",
            "join_time": join_time,
            "state": state,
            "status": state,
            "event": { "event_id": "e" },
            "calendar_id": "primary",
        })
    }

    fn file(name: &str) -> Value {
        json!({ "name": name, "type": "application/json", "json": ["Send the offer"], "created_at": 1_794_000_000 })
    }

    fn with(mut notetaker: Value, key: &str, value: Value) -> Value {
        notetaker[key] = value;
        notetaker
    }

    fn nylas() -> Nylas {
        let mut grant = Grant::google("g", "ines.duarte@northwind.example");
        let media = json!({
            "summary": file("meeting_summary.json"),
            "recording": { "name": "meeting.mp4", "type": "video/mp4", "bytes": 4096, "duration": 1800 },
        });
        grant.notetakers = vec![
            notetaker("third", 3000, "scheduled"),
            with(notetaker("first", 1000, "available"), "media", media),
            notetaker("second", 2000, "attending"),
        ];
        Nylas::builder().grant(grant).start().expect("a free port exists")
    }

    async fn ids(nylas: &Nylas, path: &str) -> Vec<String> {
        let (status, body) = get_json(nylas, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        let listed = body["data"].as_array().expect("a list");
        listed.iter().map(|notetaker| notetaker["id"].as_str().expect("an id").to_owned()).collect()
    }

    #[tokio::test]
    async fn notetakers_are_listed_by_state_and_join_time_in_the_order_asked_for() {
        let nylas = nylas();
        for (query, expected) in [
            ("", vec!["first", "second", "third"]),
            ("?state=media_available", vec!["first"]),
            ("?state=media_deleted", vec![]),
            ("?join_time_start=2000", vec!["second", "third"]),
            ("?join_time_start=1500&join_time_end=2000", vec!["second"]),
            ("?order_direction=desc", vec!["third", "second", "first"]),
            ("?order_by=created_at", vec!["third", "first", "second"]),
        ] {
            assert_eq!(ids(&nylas, &format!("/v3/grants/g/notetakers{query}")).await, expected, "{query}");
        }
        for query in ["state=available", "join_time_start=noon", "order_by=age", "limit=201", "colour=red"] {
            let (status, body) = get_json(&nylas, &format!("/v3/grants/g/notetakers?{query}")).await;
            assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{query}");
        }
    }

    #[tokio::test]
    async fn list_is_paged_by_its_cursor() {
        let nylas = nylas();
        let (_, first) = get_json(&nylas, "/v3/grants/g/notetakers?limit=2&select=id").await;
        assert_eq!(first["data"], json!([{ "id": "first" }, { "id": "second" }]));
        let cursor = first["next_cursor"].as_str().expect("there is more");
        let (_, second) = get_json(&nylas, &format!("/v3/grants/g/notetakers?limit=2&page_token={cursor}")).await;
        assert_eq!((second["data"].as_array().map(Vec::len), second.get("next_cursor")), (Some(1), None));
    }

    #[tokio::test]
    async fn a_notetaker_is_shown_without_its_event_and_an_unknown_one_is_not_found() {
        let nylas = nylas();
        let (_, body) = get_json(&nylas, "/v3/grants/ines.duarte@northwind.example/notetakers/first").await;
        assert_eq!((&body["data"]["grant_id"], &body["data"]["object"]), (&json!("g"), &json!("notetaker")));
        for key in NOT_SHOWN {
            assert_eq!(body["data"].get(key), None, "{key}");
        }
        for path in ["unknown", "unknown/media", "unknown/history"] {
            let (status, body) = get_json(&nylas, &format!("/v3/grants/g/notetakers/{path}")).await;
            assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")), "{path}");
        }
        nylas.set_grant_status("g", "invalid");
        assert_eq!(get_json(&nylas, "/v3/grants/g/notetakers").await.0, 401);
    }

    #[tokio::test]
    async fn media_are_described_with_links_that_are_new_each_time() {
        let nylas = nylas();
        let mut links = BTreeSet::new();
        for _ in 0..3 {
            let (status, body) = get_json(&nylas, "/v3/grants/g/notetakers/first/media").await;
            assert_eq!((status, body["data"].as_object().map(Map::len)), (200, Some(2)));
            let summary = &body["data"]["summary"];
            assert_eq!(
                (&summary["name"], &summary["size"], &summary["created_at"], &summary["expires_at"], &summary["ttl"]),
                (
                    &json!("meeting_summary.json"),
                    &json!(18),
                    &json!(1_794_000_000),
                    &json!(1_795_209_600),
                    &json!(3600)
                )
            );
            let recording = &body["data"]["recording"];
            assert_eq!((&recording["size"], &recording["duration"]), (&json!(4096), &json!(1800)));
            links.insert(summary["url"].as_str().expect("a link").to_owned());
        }
        assert_eq!(links.len(), 3);
        for link in links {
            assert_eq!(reqwest::get(link).await.expect("answered").status(), 200, "each works");
        }
    }

    #[tokio::test]
    async fn media_are_not_found_before_they_exist_and_partial_once_some_failed() {
        let nylas = nylas();
        let errors = json!([{ "type": "summary", "message": "too little was said" }]);
        let partial = json!({ "transcript": file("transcript.json"), "errors": errors });
        for (id, state, media) in [
            ("none", "available", Value::Null),
            ("early", "processing", json!({ "summary": file("meeting_summary.json") })),
            ("partial", "media_available", partial),
        ] {
            let mut seed = notetaker(id, 1, state);
            if !media.is_null() {
                seed["media"] = media;
            }
            nylas.put_notetaker(Some("g"), seed).expect("the grant is connected");
        }
        for (id, expected) in [("none", 404), ("early", 404), ("third", 404), ("partial", 207)] {
            let (status, body) = get_json(&nylas, &format!("/v3/grants/g/notetakers/{id}/media")).await;
            assert_eq!(status, expected, "{id}: {body}");
            if status == 207 {
                assert_eq!((&body["data"]["errors"], body["data"]["transcript"]["url"].is_string()), (&errors, true));
            }
        }
    }

    #[tokio::test]
    async fn history_comes_newest_first_with_links_that_work() {
        let nylas = nylas();
        let media = json!({ "summary": "{{link:g/first/summary}}" });
        let history = json!([
            { "created_at": 10, "event_type": "notetaker.created", "data": { "id": "first" } },
            { "created_at": 30, "event_type": "notetaker.media", "data": { "id": "first", "media": media } },
        ]);
        let seed = nylas.notetakers(Some("g")).into_iter().find(|known| known["id"] == "first").expect("it is there");
        nylas.put_notetaker(Some("g"), with(seed, "history", history)).expect("the grant is connected");
        let (_, body) = get_json(&nylas, "/v3/grants/g/notetakers/first/history").await;
        let events = &body["data"]["events"];
        assert_eq!((&events[0]["created_at"], &events[1]["created_at"]), (&json!(30), &json!(10)));
        let link = events[0]["data"]["media"]["summary"].as_str().expect("a link");
        assert_eq!(reqwest::get(link).await.expect("answered").status(), 200);
    }

    #[tokio::test]
    async fn two_equal_invitations_make_two_notetakers() {
        let nylas = nylas();
        let invitation = json!({ "meeting_link": "https://zoom.us/j/123", "meeting_settings": { "summary": false } });
        let mut ids = BTreeSet::new();
        for _ in 0..2 {
            let (status, body) =
                send_json(&nylas, Method::POST, "/v3/grants/g/notetakers", Some(invitation.clone())).await;
            let made = &body["data"];
            assert_eq!((status, &made["state"], &made["grant_id"]), (201, &json!("scheduled"), &json!("g")));
            assert_eq!((&made["meeting_provider"], &made["name"]), (&json!("Zoom Meeting"), &json!("Nylas Notetaker")));
            assert_eq!(made["meeting_settings"]["summary"], false);
            assert_eq!(made["meeting_settings"]["transcription"], true);
            ids.insert(made["id"].as_str().expect("an id").to_owned());
        }
        assert!(ids.len() == 2 && ids.iter().all(|id| id.len() == 32));
        assert_eq!(nylas.notetakers(Some("g")).len(), 5);
    }

    #[tokio::test]
    async fn an_invitation_without_a_link_to_the_past_or_with_unknown_words_is_refused() {
        let nylas = nylas();
        let now = jiff::Timestamp::now().as_second();
        let link = "https://meet.google.com/pnw-qhzr-tbc";
        for body in [
            json!({}),
            json!({ "meeting_link": "the usual room" }),
            json!({ "meeting_link": "ftp://rooms.northwind.example/1" }),
            json!({ "meeting_link": link, "join_time": now - 90 }),
            json!({ "meeting_link": link, "join_time": "soon" }),
            json!({ "meeting_link": link, "colour": "red" }),
            json!({ "meeting_link": link, "meeting_settings": { "colour": "red" } }),
            json!({ "meeting_link": link, "name": "N", "notetaker_settings": { "summary": true } }),
            json!([]),
        ] {
            let (status, answer) = send_json(&nylas, Method::POST, "/v3/grants/g/notetakers", Some(body.clone())).await;
            assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{body}");
        }
        let body = json!({ "meeting_link": link, "join_time": now - 30, "notetaker_settings": { "name": "N" } });
        let (status, made) = send_json(&nylas, Method::POST, "/v3/grants/g/notetakers", Some(body)).await;
        assert_eq!((status, &made["data"]["name"]), (201, &json!("N")), "a clock may be a little behind");
    }

    #[tokio::test]
    async fn only_a_scheduled_one_is_cancelled_and_only_one_in_a_meeting_leaves() {
        let nylas = nylas();
        for (method, path, expected) in [
            (Method::DELETE, "second/cancel", 409),
            (Method::DELETE, "third/cancel", 200),
            (Method::DELETE, "third/cancel", 404),
            (Method::POST, "first/leave", 409),
            (Method::POST, "second/leave", 200),
            (Method::POST, "second/leave", 409),
        ] {
            let (status, body) = send_json(&nylas, method, &format!("/v3/grants/g/notetakers/{path}"), None).await;
            assert_eq!(status, expected, "{path}: {body}");
            if status == 409 {
                assert_eq!(body["error"]["type"], "conflict");
            }
        }
    }

    #[tokio::test]
    async fn standalone_notetakers_have_the_same_paths_and_no_grant() {
        let nylas = nylas();
        let seed = with(notetaker("alone", 5, "available"), "media", json!({ "summary": file("summary.json") }));
        nylas.put_notetaker(None, seed).expect("it is a good seed");
        assert_eq!(ids(&nylas, "/v3/notetakers").await, ["alone"]);
        assert_eq!(ids(&nylas, "/v3/grants/g/notetakers").await.len(), 3);
        let (_, found) = get_json(&nylas, "/v3/notetakers/alone").await;
        assert_eq!(found["data"].get("grant_id"), None);
        let (_, media) = get_json(&nylas, "/v3/notetakers/alone/media").await;
        let link = media["data"]["summary"]["url"].as_str().expect("a link");
        assert_eq!(reqwest::get(link).await.expect("answered").status(), 200);
        let body = json!({ "meeting_link": "https://meet.google.com/pnw-qhzr-tbc" });
        let (status, made) = send_json(&nylas, Method::POST, "/v3/notetakers", Some(body)).await;
        assert_eq!((status, nylas.notetakers(None).len()), (201, 2));
        let id = made["data"]["id"].as_str().expect("an id");
        let (_, history) = get_json(&nylas, &format!("/v3/notetakers/{id}/history")).await;
        assert_eq!(history["data"]["events"][0]["event_type"], "notetaker.created");
        nylas.remove_media(None, "alone");
        assert_eq!(get_json(&nylas, "/v3/notetakers/alone/media").await.0, 410);
    }

    #[test]
    fn a_seed_that_could_not_be_served_is_refused_at_once() {
        let nylas = nylas();
        let good = file("summary.json");
        for (seed, problem) in [
            (json!({ "media": {} }), "no id"),
            (json!({ "id": "n", "media": { "summry": good } }), "summry is none of the files"),
            (json!({ "id": "n", "media": { "summary": { "name": "s", "type": "text/plain" } } }), "cannot be read"),
        ] {
            let error = nylas.put_notetaker(Some("g"), seed.clone()).expect_err("it is no seed").to_string();
            assert!(error.contains(problem), "{seed}: {error}");
        }
        let unknown = nylas.put_notetaker(Some("unknown"), notetaker("n", 1, "scheduled"));
        assert!(matches!(unknown, Err(StandInError::UnknownGrant(_))));
    }
}

//! Calendars of the Nylas stand-in: their lists, one, and changes of it, with the refusals of the original.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Path as UrlPath, State},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    Answered, Api, ApiError, Asked, Checked, Grant, Parameters, Query, notetakers, object_of, page_body,
    refuse_unknown_keys,
};

const CALENDARS_LIMIT: (usize, usize) = (50, 200);

pub(super) const NO_PRIMARY: &str = "iCloud has no primary calendar";

/// The calendars of an account: those that were given, else the main one and those that its events name.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["limit", "page_token", "metadata_pair", "select"])?;
    let grant = api.grant(&grant)?;
    let (page, cursor) = asked.page(calendars_of(&grant), CALENDARS_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|calendar| asked.show(calendar)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

/// One calendar, with what has been set of it.
pub(super) async fn find(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["select"])?;
    let found = api.use_grant(&grant, |grant| calendar_named(grant, &id))??;
    Ok(api.success(Map::from_iter([("data".to_owned(), asked.show(&found)?)])))
}

/// Changes a calendar: what is given replaces what was there, whole where it is an object.
pub(super) async fn change(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
    body: Bytes,
) -> Answered {
    let asked = Asked::check(query, &["select"])?;
    let mut changes = object_of(&body)?;
    check_changes(&changes)?;
    let calendar = api.use_grant(&grant, |grant| {
        let calendar = calendar_named(grant, &id)?;
        if calendar["read_only"] == true {
            return Err(ApiError::invalid("calendar is read-only"));
        }
        let calendar_id = calendar["id"].as_str().unwrap_or_default().to_owned();
        if let Some(Value::Object(notetaker)) = changes.get_mut("notetaker") {
            let digest = Sha256::digest(format!("notetaker:{}:{calendar_id}", grant.id));
            notetaker.insert("id".to_owned(), hex::encode(&digest[..16]).into());
        }
        grant.calendar_changes.entry(calendar_id).or_default().extend(changes);
        calendar_named(grant, &id)
    })??;
    Ok(api.success(Map::from_iter([("data".to_owned(), asked.show(&calendar)?)])))
}

fn check_changes(changes: &Map<String, Value>) -> Checked {
    let texts = ["name", "description", "location", "timezone", "hex_color", "hex_foreground_color"];
    refuse_unknown_keys(changes, &[texts.as_slice(), &["metadata", "notetaker"]].concat(), "a calendar")?;
    if let Some(key) = texts.iter().find(|key| changes.get(**key).is_some_and(|value| !value.is_string())) {
        return Err(ApiError::invalid(format!("{key} must be a text")));
    }
    if changes.get("metadata").is_some_and(|metadata| !metadata.is_object()) {
        return Err(ApiError::invalid("metadata must be an object"));
    }
    changes.get("notetaker").map_or(Ok(()), notetakers::check_of_calendar)
}

pub(super) fn calendar_named(grant: &Grant, name: &str) -> std::result::Result<Value, ApiError> {
    if name == "primary" && grant.provider == "icloud" {
        return Err(ApiError::invalid(NO_PRIMARY));
    }
    let is_it = |calendar: &Value| match name {
        "primary" => calendar["is_primary"] == true || calendar["id"] == grant.email.as_str(),
        name => calendar["id"] == name,
    };
    calendars_of(grant).into_iter().find(is_it).ok_or_else(ApiError::not_found)
}

/// The calendars as they are shown: with what has been set of them.
pub(super) fn calendars_of(grant: &Grant) -> Vec<Value> {
    let mut calendars = unchanged_calendars_of(grant);
    for calendar in calendars.iter_mut().filter_map(Value::as_object_mut) {
        let id = calendar.get("id").and_then(Value::as_str);
        let changes = id.and_then(|id| grant.calendar_changes.get(id));
        calendar.extend(changes.cloned().unwrap_or_default());
        if calendar.get("notetaker").is_some_and(Value::is_null) {
            calendar.remove("notetaker");
        }
    }
    calendars
}

fn unchanged_calendars_of(grant: &Grant) -> Vec<Value> {
    if !grant.calendars.is_empty() {
        return grant.calendars.clone();
    }
    let Some(main) = usual_main_calendar(grant) else { return Vec::new() };
    let named = grant.events.iter().filter_map(|event| event["calendar_id"].as_str().map(str::to_owned));
    let mut ids: Vec<String> = named.filter(|id| id != "primary" && *id != main).collect();
    ids.sort();
    ids.dedup();
    // Microsoft finds an event whatever calendar is named.
    ids.retain(|_| grant.provider != "microsoft");
    ids.insert(0, main);
    let described = |(place, id): (usize, &String)| {
        json!({
            "id": id, "grant_id": grant.id, "object": "calendar", "name": id, "is_primary": place == 0,
            "is_owned_by_user": true, "read_only": false, "timezone": "UTC",
        })
    };
    ids.iter().enumerate().map(described).collect()
}

/// The id of the main calendar of an account whose calendars were not given.
fn usual_main_calendar(grant: &Grant) -> Option<String> {
    match grant.provider.as_str() {
        // Neither mail server has calendars.
        "imap" | "yahoo" => None,
        "google" => Some(grant.email.clone()),
        "icloud" => Some("home".to_owned()),
        _ => Some(format!("AAMk-calendar-{}", grant.id)),
    }
}

/// Whether a calendar is the main one, by its id, the account's address or the word for it.
pub(super) fn is_main(grant: &Grant, calendar: &str) -> bool {
    let is_given = |known: &Value| known["is_primary"] == true && known["id"] == calendar;
    calendar == "primary"
        || calendar.eq_ignore_ascii_case(&grant.email)
        || grant.calendars.iter().any(is_given)
        || grant.calendars.is_empty() && usual_main_calendar(grant).is_some_and(|main| main == calendar)
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::super::Nylas;
    use super::super::tests::{get_json, send_json};
    use super::*;

    fn nylas() -> Nylas {
        let nylas = Nylas::builder()
            .grant(Grant::google("g", "ines.duarte@northwind.example"))
            .grant(Grant { provider: "icloud".to_owned(), ..Grant::imap("i", "mei.lin@northwind.example") })
            .start()
            .expect("a free port exists");
        nylas.put_event("g", json!({ "id": "e", "calendar_id": "team" })).expect("the grant is connected");
        nylas
    }

    fn told_to_join(instructions: &str) -> Value {
        json!({
            "notetaker": {
                "name": "Northwind Notetaker",
                "meeting_settings": {
                    "leave_after_silence_seconds": 600,
                    "summary_settings": { "custom_instructions": instructions },
                },
                "rules": { "event_selection": ["external"], "participant_filter": { "participants_gte": 2 } },
            },
        })
    }

    #[tokio::test]
    async fn calendars_are_the_main_one_and_those_that_events_name() {
        let nylas = nylas();
        let ids = async |grant: &str| {
            let (status, body) = get_json(&nylas, &format!("/v3/grants/{grant}/calendars")).await;
            assert_eq!(status, 200, "{body}");
            let calendars = body["data"].as_array().expect("a list").clone();
            calendars.iter().map(|calendar| calendar["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids("g").await, ["ines.duarte@northwind.example", "team"]);
        assert_eq!(ids("i").await, ["home"]);
    }

    #[tokio::test]
    async fn a_calendar_keeps_what_is_put_and_replaces_its_notetaker_whole() {
        let nylas = nylas();
        let path = "/v3/grants/g/calendars/primary";
        let (status, put) = send_json(&nylas, Method::PUT, path, Some(told_to_join(&"ä".repeat(1500)))).await;
        assert_eq!((status, &put["data"]["id"]), (200, &json!("ines.duarte@northwind.example")));
        let id = put["data"]["notetaker"]["id"].clone();
        assert!(id.is_string());

        let less = json!({ "description": "Ours", "notetaker": { "rules": { "event_selection": ["all"] } } });
        send_json(&nylas, Method::PUT, path, Some(less)).await;
        let expected = json!({ "id": id, "rules": { "event_selection": ["all"] } });
        let (_, found) = get_json(&nylas, "/v3/grants/g/calendars/ines.duarte@northwind.example").await;
        assert_eq!((&found["data"]["notetaker"], &found["data"]["description"]), (&expected, &json!("Ours")));
        assert_eq!(found["data"]["timezone"], "UTC", "what is not given stays");
        let (_, listed) = get_json(&nylas, "/v3/grants/g/calendars").await;
        assert_eq!((&listed["data"][0]["notetaker"], listed["data"][1].get("notetaker")), (&expected, None));

        let (_, cleared) = send_json(&nylas, Method::PUT, path, Some(json!({ "notetaker": null }))).await;
        assert_eq!((cleared["data"].get("notetaker"), &cleared["data"]["description"]), (None, &json!("Ours")));
    }

    #[tokio::test]
    async fn a_change_that_the_original_refuses_is_refused_and_changes_nothing() {
        let nylas = nylas();
        let path = "/v3/grants/g/calendars/primary";
        let silence = |seconds: i64| json!({ "meeting_settings": { "leave_after_silence_seconds": seconds } });
        for body in [
            told_to_join(&"ä".repeat(1501)),
            json!({ "colour": "red" }),
            json!({ "metadata": "text" }),
            json!({ "notetaker": "yes" }),
            json!({ "notetaker": { "colour": "red" } }),
            json!({ "notetaker": { "meeting_settings": { "colour": "red" } } }),
            json!({ "notetaker": { "meeting_settings": { "summary": "yes" } } }),
            json!({ "notetaker": silence(9) }),
            json!({ "notetaker": silence(3601) }),
            json!({ "notetaker": { "rules": { "event_selection": ["some"] } } }),
            json!({ "notetaker": { "rules": { "event_selection": "all" } } }),
            json!({ "notetaker": { "rules": { "participant_filter": { "participants_gt": 2 } } } }),
        ] {
            let (status, answer) = send_json(&nylas, Method::PUT, path, Some(body.clone())).await;
            assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{body}");
        }
        let (_, found) = get_json(&nylas, path).await;
        assert_eq!(found["data"].get("notetaker"), None);
    }

    #[tokio::test]
    async fn a_calendar_that_is_not_there_read_only_or_primary_on_icloud_is_not_changed() {
        let nylas = nylas();
        let mut grant = Grant::microsoft("m", "tobias.lindqvist@northwind.example");
        grant.calendars = vec![json!({ "id": "holidays", "is_primary": false, "read_only": true })];
        nylas.add_grant(grant);
        for (path, expected) in
            [("g/calendars/unknown", 404), ("i/calendars/primary", 400), ("m/calendars/holidays", 400)]
        {
            let (status, body) =
                send_json(&nylas, Method::PUT, &format!("/v3/grants/{path}"), Some(told_to_join("Briefly."))).await;
            assert_eq!(status, expected, "{path}: {body}");
        }
        assert_eq!(get_json(&nylas, "/v3/grants/g/calendars/unknown").await.0, 404);
        assert_eq!(get_json(&nylas, "/v3/grants/i/calendars/primary").await.0, 400);
        assert_eq!(get_json(&nylas, "/v3/grants/m/calendars/holidays").await.0, 200);
    }
}

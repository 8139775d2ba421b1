//! What the Nylas stand-in answers to events that are made, changed and removed.

use reqwest::Method;

use super::super::tests::{get_json, send_json};
use super::*;

const EVENTS: &str = "/v3/grants/g/events";

fn nylas() -> Nylas {
    let mut given = Grant::google("c", "office@northwind.example");
    given.calendars = vec![json!({ "id": "holidays", "is_primary": false, "read_only": true })];
    Nylas::builder()
        .grant(Grant::google("g", "ines.duarte@northwind.example"))
        .grant(Grant::microsoft("m", "tobias.lindqvist@northwind.example"))
        .grant(Grant { provider: "icloud".to_owned(), ..Grant::imap("i", "mei.lin@northwind.example") })
        .grant(given)
        .start()
        .expect("a free port exists")
}

/// An event that can be made, with other fields in place of its own.
fn event(fields: Value) -> Value {
    let mut event = json!({ "title": "Kickoff", "when": { "start_time": 1_900_000_000, "end_time": 1_900_001_800 } });
    let (Some(object), Value::Object(fields)) = (event.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    event
}

fn with_marta() -> Value {
    event(json!({ "participants": [{ "email": "marta.kowal@halden-robotics.example" }] }))
}

/// Makes an event and gives it.
async fn made(nylas: &Nylas, grant: &str, query: &str, body: Value) -> Value {
    let path = format!("/v3/grants/{grant}/events?{query}");
    let (status, answer) = send_json(nylas, Method::POST, &path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

fn path_of(event: &Value, query: &str) -> String {
    let id: String = url::form_urlencoded::byte_serialize(event["id"].as_str().expect("an id").as_bytes()).collect();
    format!("/v3/grants/{}/events/{id}?{query}", event["grant_id"].as_str().expect("a grant"))
}

#[tokio::test]
async fn a_made_event_is_found_by_every_name_of_its_calendar_and_says_what_it_is() {
    let nylas = nylas();
    for (grant, calendar) in [("g", "ines.duarte@northwind.example"), ("m", "AAMk-calendar-m"), ("i", "home")] {
        let event = made(&nylas, grant, &format!("calendar_id={calendar}"), with_marta()).await;
        assert_eq!((&event["calendar_id"], &event["grant_id"]), (&json!(calendar), &json!(grant)));
        assert_eq!((&event["status"], &event["object"]), (&json!("confirmed"), &json!("event")));
        assert_eq!(
            (&event["when"]["object"], &event["participants"][0]["status"]),
            (&json!("timespan"), &json!("noreply"))
        );
        assert!(event["ical_uid"].is_string() && event["created_at"] == event["updated_at"], "{event}");
        let (status, found) = get_json(&nylas, &path_of(&event, &format!("calendar_id={calendar}"))).await;
        assert_eq!((status, &found["data"]), (200, &event));
        assert_eq!(nylas.events(grant), [event]);
    }
    let event = &nylas.events("g")[0];
    let primary = made(&nylas, "g", "calendar_id=primary", event_of_all_shapes()[0].clone()).await;
    assert_eq!(primary["calendar_id"], "ines.duarte@northwind.example");
    assert_eq!(get_json(&nylas, &path_of(event, "calendar_id=primary")).await.0, 200);
}

fn event_of_all_shapes() -> Vec<Value> {
    [
        json!({ "time": 1_900_000_000, "timezone": "Europe/Stockholm" }),
        json!({ "date": "2030-01-31" }),
        json!({ "start_date": "2030-01-31", "end_date": "2030-02-01" }),
        json!({ "object": "timespan", "start_time": 1, "end_time": 2, "start_timezone": "Europe/Stockholm" }),
    ]
    .map(|when| event(json!({ "when": when })))
    .to_vec()
}

#[tokio::test]
async fn an_event_takes_a_time_of_each_shape_and_keeps_which_one_it_is() {
    let nylas = nylas();
    let mut shapes = Vec::new();
    for event in event_of_all_shapes() {
        shapes.push(made(&nylas, "g", "calendar_id=primary", event).await["when"]["object"].clone());
    }
    assert_eq!(shapes, ["time", "date", "datespan", "timespan"]);
}

#[tokio::test]
async fn an_event_that_the_original_refuses_is_refused_and_not_made() {
    let nylas = nylas();
    for body in [
        json!({ "title": "Kickoff" }),
        event(json!({ "colour": "red" })),
        event(json!({ "title": 7 })),
        event(json!({ "when": null })),
        event(json!({ "when": {} })),
        event(json!({ "when": { "start_time": 2, "end_time": 2 } })),
        event(json!({ "when": { "start_time": 2 } })),
        event(json!({ "when": { "start_time": 1, "end_time": 2, "start_timezone": "Mars/Olympus" } })),
        event(json!({ "when": { "date": "31 January" } })),
        event(json!({ "when": { "object": "date", "start_time": 1, "end_time": 2 } })),
        event(json!({ "when": { "start_time": 1, "end_time": 2, "date": "2030-01-31" } })),
        event(json!({ "participants": [{ "name": "Marta Kowal" }] })),
        event(json!({ "participants": [{ "email": "marta" }] })),
        event(json!({ "metadata": { "key1": 7 } })),
        event(json!({ "visibility": "secret" })),
    ] {
        let path = format!("{EVENTS}?calendar_id=primary");
        let (status, answer) = send_json(&nylas, Method::POST, &path, Some(body.clone())).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{body}");
    }
    for (path, expected) in [
        (EVENTS.to_owned(), 400),
        (format!("{EVENTS}?calendar_id=primary&notify_participants=perhaps"), 400),
        (format!("{EVENTS}?calendar_id=unknown"), 404),
        ("/v3/grants/i/events?calendar_id=primary".to_owned(), 400),
        ("/v3/grants/c/events?calendar_id=holidays".to_owned(), 400),
    ] {
        assert_eq!(send_json(&nylas, Method::POST, &path, Some(event(json!({})))).await.0, expected, "{path}");
    }
    assert!(nylas.events("g").is_empty());
}

#[tokio::test]
async fn a_change_replaces_what_is_given_whole_and_makes_the_event_newer() {
    let nylas = nylas();
    let given = event(json!({ "metadata": { "key1": "a", "key2": "b" }, "description": "Agenda" }));
    let before = made(&nylas, "g", "calendar_id=primary", given).await;
    let changes = json!({ "metadata": { "key1": "c" }, "when": { "start_time": 5, "end_time": 6 } });
    let path = path_of(&before, "calendar_id=primary");
    let (status, answer) = send_json(&nylas, Method::PUT, &path, Some(changes)).await;
    let after = &answer["data"];
    assert_eq!((status, &after["metadata"], &after["description"]), (200, &json!({ "key1": "c" }), &json!("Agenda")));
    assert_eq!(after["when"], json!({ "object": "timespan", "start_time": 5, "end_time": 6 }));
    assert!(after["updated_at"].as_i64() > before["updated_at"].as_i64());
    assert_eq!(after["created_at"], before["created_at"]);
    assert_eq!(&nylas.events("g")[0], after);
    for (path, body, expected) in [
        (path.clone(), json!({ "colour": "red" }), 400),
        (path_of(&before, ""), json!({}), 400),
        (format!("{EVENTS}/unknown?calendar_id=primary"), json!({}), 404),
    ] {
        assert_eq!(send_json(&nylas, Method::PUT, &path, Some(body)).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn a_removed_event_is_gone() {
    let nylas = nylas();
    let path = path_of(&made(&nylas, "m", "calendar_id=primary", event(json!({}))).await, "calendar_id=primary");
    let (status, answer) = send_json(&nylas, Method::DELETE, &path, None).await;
    assert!(status == 200 && answer["request_id"].is_string(), "{answer}");
    assert_eq!(send_json(&nylas, Method::DELETE, &path, None).await.0, 404);
    assert_eq!((get_json(&nylas, &path).await.0, nylas.events("m").len()), (404, 0));
}

#[tokio::test]
async fn participants_are_mailed_of_each_change_unless_that_is_declined_or_there_are_none() {
    let nylas = nylas();
    let quiet = "calendar_id=primary&notify_participants=false";
    made(&nylas, "g", "calendar_id=primary", event(json!({}))).await;
    let event = made(&nylas, "g", quiet, with_marta()).await;
    send_json(&nylas, Method::PUT, &path_of(&event, quiet), Some(json!({ "title": "Kickoff 2" }))).await;
    assert_eq!(nylas.mailed_participants(), 0);
    send_json(&nylas, Method::PUT, &path_of(&event, "calendar_id=primary"), Some(json!({ "participants": [] }))).await;
    assert_eq!(nylas.mailed_participants(), 1, "those who are no longer invited hear of it");
    let event = made(&nylas, "g", "calendar_id=primary", with_marta()).await;
    send_json(&nylas, Method::DELETE, &path_of(&event, "calendar_id=primary"), None).await;
    assert_eq!(nylas.mailed_participants(), 3);
    made(&nylas, "m", quiet, with_marta()).await;
    assert_eq!(nylas.mailed_participants(), 4, "Microsoft mails them whatever is asked for");
}

#[tokio::test]
async fn events_are_found_by_indexed_metadata_whenever_they_are_and_without_another_filter() {
    let nylas = nylas();
    for (key, value) in [("key1", "a"), ("key1", "b"), ("key2", "a"), ("colour", "a")] {
        made(&nylas, "g", "calendar_id=primary", event(json!({ "metadata": { key: value } }))).await;
    }
    for (query, expected) in [
        ("metadata_pair=key1:a", Ok(1)),
        ("metadata_pair=key2:a&limit=5&select=id", Ok(1)),
        ("metadata_pair=key5:a", Ok(0)),
        ("metadata_pair=colour:a", Err(400)),
        ("metadata_pair=key1", Err(400)),
        ("metadata_pair=key1:a&title=Kickoff", Err(400)),
        ("metadata_pair=key1:a&start=0&end=1", Err(400)),
    ] {
        let (status, body) = get_json(&nylas, &format!("{EVENTS}?calendar_id=primary&{query}")).await;
        let found = body["data"].as_array().map(Vec::len).ok_or(status);
        assert_eq!(found, expected, "{query}");
    }
}

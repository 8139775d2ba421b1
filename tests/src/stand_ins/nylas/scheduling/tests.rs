//! What the Nylas stand-in answers to scheduling configurations, and what it tells of bookings on their pages.

use jiff::Timestamp;
use reqwest::Method;

use super::super::notifications::{APPLICATION_ID, ControlError};
use super::super::tests::{get_json, send_json};
use super::super::{Grant, Nylas};
use super::*;

const PATH: &str = "/v3/grants/g/scheduling/configurations";

fn nylas() -> Nylas {
    let builder = Nylas::builder().grant(Grant::google("g", "ines.duarte@northwind.example"));
    let builder = builder.grant(Grant::microsoft("m", "tobias.lindqvist@northwind.example"));
    builder.start().expect("a free port exists")
}

fn organizer(email: &str) -> Value {
    let hours = json!({ "days": [1, 2, 3, 4, 5], "timezone": "Europe/Stockholm", "start": "9:00", "end": "17:00" });
    json!({
        "name": "Ines Duarte",
        "email": email,
        "is_organizer": true,
        "availability": { "calendar_ids": ["primary"], "open_hours": [hours] },
        "booking": { "calendar_id": "primary" },
    })
}

/// A configuration that can be made, changed as a test wants it.
fn configuration(change: impl FnOnce(&mut Value)) -> Value {
    let mut configuration = json!({
        "participants": [organizer("ines.duarte@northwind.example")],
        "availability": { "duration_minutes": 45 },
        "event_booking": { "title": "Kickoff with ${invitee}", "location": "By video", "timezone": "Europe/Stockholm" },
        "scheduler": {
            "min_booking_notice": 120,
            "hide_cancellation_options": true,
            "rescheduling_url": "https://northwind.example/move/:booking_ref",
            "additional_fields": {
                "customer": { "label": "customer", "type": "metadata", "default": "cus_7" },
                "team": { "label": "Team", "type": "dropdown", "options": ["Sales", "Service"], "required": true },
            },
        },
    });
    change(&mut configuration);
    configuration
}

async fn made(nylas: &Nylas, body: Value) -> Value {
    let (status, answer) = send_json(nylas, Method::POST, PATH, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer["data"].clone()
}

#[tokio::test]
async fn a_configuration_is_kept_as_given_with_an_id_and_a_slug_that_may_be_null() {
    let nylas = nylas();
    let given = configuration(|given| given["slug"] = "kickoff-halden_1".into());
    let first = made(&nylas, given.clone()).await;
    for (key, value) in given.as_object().expect("an object") {
        assert_eq!(&first[key], value, "{key}");
    }
    assert_eq!((first["id"].as_str().map(str::len), &first["requires_session_auth"]), (Some(36), &json!(false)));
    let second = made(&nylas, configuration(|_| {})).await;
    assert_eq!(second.get("slug"), Some(&Value::Null));
    let (status, found) = get_json(&nylas, &format!("{PATH}/{}", first["id"].as_str().expect("an id"))).await;
    assert_eq!((status, &found["data"]), (200, &first));
    let ids: Vec<Value> = nylas.configurations().iter().map(|known| known["id"].clone()).collect();
    assert_eq!(
        (ids, &nylas.configurations()[0]["grant_id"]),
        (vec![first["id"].clone(), second["id"].clone()], &json!("g"))
    );
}

#[tokio::test]
async fn configurations_of_an_account_are_listed_in_pages_and_those_of_others_are_not() {
    let nylas = nylas();
    for _ in 0..3 {
        made(&nylas, configuration(|_| {})).await;
    }
    let (_, first) = get_json(&nylas, &format!("{PATH}?limit=2")).await;
    let cursor = first["next_cursor"].as_str().expect("there is more");
    let (_, second) = get_json(&nylas, &format!("{PATH}?limit=2&page_token={cursor}")).await;
    assert_eq!((second["data"].as_array().map(Vec::len), second.get("next_cursor")), (Some(1), None));
    assert_eq!(get_json(&nylas, &format!("{PATH}?limit=201")).await.0, 400);
    let (_, others) = get_json(&nylas, "/v3/grants/m/scheduling/configurations").await;
    assert_eq!(others["data"], json!([]));
    let id = first["data"][0]["id"].as_str().expect("an id");
    assert_eq!(get_json(&nylas, &format!("/v3/grants/m/scheduling/configurations/{id}")).await.0, 404);
}

#[tokio::test]
async fn a_slug_is_taken_once_in_the_whole_application() {
    let nylas = nylas();
    let with_slug = |slug: &str| configuration(|given| given["slug"] = slug.into());
    let first = made(&nylas, with_slug("kickoff")).await;
    let mut of_another = with_slug("kickoff");
    of_another["participants"] = json!([organizer("tobias.lindqvist@northwind.example")]);
    for (path, body) in [(PATH, with_slug("kickoff")), ("/v3/grants/m/scheduling/configurations", of_another)] {
        let (status, answer) = send_json(&nylas, Method::POST, path, Some(body)).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")));
        assert_eq!(answer["error"]["message"], "slug kickoff is already taken");
    }
    let second = made(&nylas, with_slug("kickoff-2")).await;
    let path = |known: &Value| format!("{PATH}/{}", known["id"].as_str().expect("an id"));
    let slug = || Some(json!({ "slug": "kickoff" }));
    assert_eq!(send_json(&nylas, Method::PUT, &path(&second), slug()).await.0, 400);
    assert_eq!(send_json(&nylas, Method::PUT, &path(&first), slug()).await.0, 200, "it is its own");
    assert_eq!(send_json(&nylas, Method::DELETE, &path(&first), None).await.0, 200);
    assert_eq!(send_json(&nylas, Method::PUT, &path(&second), slug()).await.0, 200);
    assert_eq!(send_json(&nylas, Method::DELETE, &path(&first), None).await.0, 404);
}

#[tokio::test]
async fn a_change_replaces_nested_objects_whole_and_is_held_against_the_same_rules() {
    let nylas = nylas();
    let first = made(&nylas, configuration(|_| {})).await;
    let path = format!("{PATH}/{}", first["id"].as_str().expect("an id"));
    let changes = json!({ "scheduler": { "min_booking_notice": 60 }, "name": "Kickoffs" });
    let (status, answer) = send_json(&nylas, Method::PUT, &path, Some(changes)).await;
    assert_eq!((status, &answer["data"]["scheduler"]), (200, &json!({ "min_booking_notice": 60 })));
    assert_eq!(
        (&answer["data"]["name"], &answer["data"]["participants"]),
        (&json!("Kickoffs"), &first["participants"])
    );
    for changes in [json!({ "colour": "red" }), json!({ "participants": [] }), json!({ "id": "x" })] {
        assert_eq!(send_json(&nylas, Method::PUT, &path, Some(changes)).await.0, 400);
    }
    let (_, found) = get_json(&nylas, &path).await;
    assert_eq!(found["data"], answer["data"]);
}

#[tokio::test]
async fn a_configuration_that_the_original_refuses_is_refused_and_not_made() {
    let nylas = nylas();
    let set = |pointer: &'static str, value: Value| {
        configuration(move |given| {
            let (holder, key) = pointer.rsplit_once('/').expect("a pointer");
            given.pointer_mut(holder).expect("a holder")[key] = value;
        })
    };
    let hours = |key: &str, value: Value| {
        configuration(|given| given["participants"][0]["availability"]["open_hours"][0][key] = value)
    };
    let field = |field: Value| set("/scheduler/additional_fields/more", field);
    let second = |participant: Value| {
        configuration(|given| given["participants"].as_array_mut().expect("a list").push(participant))
    };
    for body in [
        set("/colour", "red".into()),
        set("/id", "x".into()),
        set("/slug", "kick off".into()),
        set("/slug", "".into()),
        set("/capacity", 0.into()),
        set("/participants", json!([])),
        set("/participants", json!([{ "email": "ines.duarte@northwind.example" }])),
        set("/participants", json!([organizer("tobias.lindqvist@northwind.example")])),
        second(organizer("tobias.lindqvist@northwind.example")),
        second(json!({ "email": "nobody" })),
        second(json!({ "email": "x@halden-robotics.example", "colour": "red" })),
        second(json!({ "email": "x@halden-robotics.example", "booking": { "calendar_id": "primary" } })),
        hours("days", json!([7])),
        hours("days", json!([])),
        hours("timezone", "Europe/Atlantis".into()),
        hours("timezone", "".into()),
        hours("start", "9".into()),
        hours("start", "9:5".into()),
        hours("start", "24:00".into()),
        hours("start", "17:00".into()),
        hours("exdates", json!(["31 January"])),
        hours("colour", "red".into()),
        set("/availability", Value::Null),
        set("/availability/duration_minutes", 0.into()),
        set("/availability/duration_minutes", 1441.into()),
        set("/availability/duration_minutes", "45".into()),
        set("/event_booking", Value::Null),
        set("/event_booking/title", "".into()),
        set("/event_booking/colour", "red".into()),
        set("/event_booking/timezone", "Europe/Atlantis".into()),
        set("/event_booking/booking_type", "perhaps".into()),
        set("/scheduler/colour", "red".into()),
        set("/scheduler/min_booking_notice", "soon".into()),
        set("/scheduler/hide_additional_guests", 1.into()),
        field(json!({ "label": "More", "type": "colour" })),
        field(json!({ "type": "text" })),
        field(json!({ "label": "More", "type": "radio_button" })),
        field(json!({ "label": "More", "type": "text", "colour": "red" })),
        field("text".into()),
    ] {
        let (status, answer) = send_json(&nylas, Method::POST, PATH, Some(body.clone())).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{body}");
    }
    assert!(nylas.configurations().is_empty());
    made(&nylas, second(json!({ "email": "x@halden-robotics.example" }))).await;
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn a_booking_is_told_with_both_sides_and_the_hidden_fields_and_names_no_grant() {
    let nylas = nylas();
    let configuration = made(&nylas, configuration(|_| {})).await;
    let id = configuration["id"].as_str().expect("an id");
    let start = Timestamp::from_second(1_900_000_000).expect("a time");
    let guest = "marta.kowal@halden-robotics.example";
    let created = nylas.book(id, guest, "Marta Kowal", start, 45, "Europe/Warsaw").expect("it is there");
    assert_eq!((&created["type"], &created["source"]), (&json!("booking.created"), &json!("/nylas/passthru")));
    assert_eq!(
        (&created["data"]["application_id"], &created["webhook_delivery_attempt"]),
        (&json!(APPLICATION_ID), &json!(1))
    );
    assert!(!created.to_string().contains("grant_id"), "{created}");
    let object = &created["data"]["object"];
    assert_eq!(keys(object), ["booking_id", "booking_info", "booking_ref", "configuration_id", "object"]);
    let info = &object["booking_info"];
    let people = json!([
        { "email": "ines.duarte@northwind.example", "name": "Ines Duarte" },
        { "email": guest, "name": "Marta Kowal" },
    ]);
    assert_eq!((&info["participants"], &info["additional_fields"]), (&people, &json!({ "customer": "cus_7" })));
    assert_eq!((&info["start_time"], &info["end_time"]), (&json!(1_900_000_000), &json!(1_900_002_700)));
    assert_eq!((&info["title"], &info["duration"]), (&json!("Kickoff with Marta Kowal"), &json!(45)));
    assert_eq!(
        (&info["guest_timezone"], &info["organizer_timezone"]),
        (&json!("Europe/Warsaw"), &json!("Europe/Stockholm"))
    );
    let reference = object["booking_ref"].as_str().expect("a text");
    assert_eq!(info["participant_rescheduling_url"], format!("https://northwind.example/move/{reference}"));
    assert!(info["participant_cancellation_url"].as_str().is_some_and(|link| link.ends_with(reference)), "{info}");
    assert_eq!((&info["hide_cancellation_options"], &info["hide_rescheduling_options"]), (&json!(true), &json!(false)));

    let other = nylas.book(id, guest, "Marta Kowal", start, 45, "Europe/Warsaw").expect("it is there");
    let other_object = &other["data"]["object"];
    assert_ne!(other["id"], created["id"]);
    assert_ne!(other_object["booking_id"], object["booking_id"]);
    assert_ne!(other_object["booking_info"]["event_id"], info["event_id"]);
}

#[tokio::test]
async fn a_booking_that_is_moved_and_cancelled_is_told_later_each_time_with_what_was_before() {
    let nylas = nylas();
    let configuration = made(&nylas, configuration(|_| {})).await;
    let id = configuration["id"].as_str().expect("an id");
    let at = |second: i64| Timestamp::from_second(second).expect("a time");
    let guest = "marta.kowal@halden-robotics.example";
    let created = nylas.book(id, guest, "Marta Kowal", at(1_900_000_000), 45, "Europe/Warsaw").expect("it is there");
    let booking = created["data"]["object"]["booking_id"].as_str().expect("an id");

    let moved = nylas.reschedule(booking, at(1_900_086_400)).expect("it is there");
    let object = &moved["data"]["object"];
    assert_eq!((&moved["type"], keys(object).len()), (&json!("booking.rescheduled"), 5));
    let info = &object["booking_info"];
    assert_eq!((&info["old_start_time"], &info["old_end_time"]), (&json!(1_900_000_000), &json!(1_900_002_700)));
    assert_eq!((&info["start_time"], &info["end_time"]), (&json!(1_900_086_400), &json!(1_900_089_100)));

    let cancelled = nylas.cancel_booking(booking, "").expect("it is there");
    let object = &cancelled["data"]["object"];
    assert_eq!(keys(object), ["booking_id", "booking_info", "configuration_id"]);
    let info = &object["booking_info"];
    assert_eq!((&cancelled["type"], &info["cancellation_reason"]), (&json!("booking.cancelled"), &json!("")));
    assert_eq!((&info["start_time"], info.get("old_start_time")), (&json!(1_900_086_400), None));

    let times = [&created, &moved, &cancelled].map(|told| told["time"].as_i64().expect("a time"));
    assert!(times.is_sorted_by(|earlier, later| earlier < later), "{times:?}");
    let gone = Err(ControlError::BookingCancelled(booking.to_owned()));
    assert_eq!((nylas.reschedule(booking, at(1)), nylas.cancel_booking(booking, "again")), (gone.clone(), gone));
    let unknown = nylas.book("x", guest, "Marta Kowal", at(1), 45, "Europe/Warsaw");
    assert_eq!(unknown, Err(ControlError::UnknownConfiguration("x".to_owned())));
    assert_eq!(nylas.reschedule("x", at(1)), Err(ControlError::UnknownBooking("x".to_owned())));
}

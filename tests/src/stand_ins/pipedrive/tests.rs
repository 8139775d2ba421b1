//! What the stand-in refuses, and what it lets through, as Pipedrive does.

use reqwest::Method;
use serde_json::{Value, json};

use super::*;

fn pipedrive() -> Pipedrive {
    Pipedrive::start().expect("a free port exists")
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

async fn call(stand_in: &Pipedrive, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, format!("{}{path}", stand_in.base_url()));
    let request = request.header("x-api-token", PIPEDRIVE_API_TOKEN);
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

fn dana(stand_in: &Pipedrive) -> u64 {
    let mut dana = CrmContact::new("ignored", "Dana@acme.example").with_deal("41");
    dana.other_emails.push("dana.private@mail.example".to_owned());
    stand_in.add_contact(&dana).parse().expect("a number")
}

fn activity(person: u64) -> Value {
    json!({
        "subject": "Q3", "type": "meeting", "due_date": "2026-03-01", "due_time": "10:00", "duration": "00:55",
        "participants": [{ "person_id": person, "primary": true }], "note": "<b>Plan</b><br>ref nylas:e",
    })
}

#[tokio::test]
async fn persons_are_found_by_any_of_their_addresses_exactly() {
    let stand_in = pipedrive();
    let id = dana(&stand_in);
    for (term, found) in [("dana@ACME.example", 1), ("dana.private@mail.example", 1), ("dana@acme.exampl", 0)] {
        let path = format!("/api/v2/persons/search?term={term}&fields=email&exact_match=true");
        let (status, body) = call(&stand_in, Method::GET, &path, None).await;
        let items = body["data"]["items"].as_array().expect("a list");
        assert_eq!((status, items.len()), (200, found), "{term}");
        assert!(items.iter().all(|hit| hit["item"]["id"] == id));
    }
}

#[tokio::test]
async fn credentials_that_are_missing_wrong_or_revoked_are_refused() {
    let stand_in = pipedrive();
    let url = format!("{}/api/v1/users/me", stand_in.base_url());
    assert_eq!(answer(reqwest::Client::new().get(&url)).await.0, 401);
    assert_eq!(answer(reqwest::Client::new().get(&url).bearer_auth(PIPEDRIVE_API_TOKEN)).await.0, 401);
    assert_eq!(call(&stand_in, Method::GET, "/api/v1/users/me", None).await.0, 200);
    stand_in.revoke_credential();
    assert_eq!(call(&stand_in, Method::GET, "/api/v1/users/me", None).await.0, 401);
}

#[tokio::test]
async fn access_token_is_made_for_the_refresh_token_and_can_be_ended() {
    let stand_in = Pipedrive::start_with_oauth().expect("a free port exists");
    let client = reqwest::Client::new();
    let token = async |refresh_token: &str| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let request = client.post(format!("{}/oauth/token", stand_in.login_url())).form(&form);
        answer(request.basic_auth(stand_in.client_id(), Some(stand_in.client_secret()))).await
    };
    assert_eq!(token("another").await.0, 400);
    let (status, made) = token(stand_in.refresh_token()).await;
    assert_eq!((status, made["expires_in"].as_u64()), (200, Some(3599)));
    let access = made["access_token"].as_str().expect("a token");
    let me = || client.get(format!("{}/api/v1/users/me", stand_in.base_url())).bearer_auth(access);
    assert_eq!(answer(me()).await.0, 200);
    stand_in.end_access_tokens();
    assert_eq!(answer(me()).await.0, 401);
    assert_eq!(token(stand_in.refresh_token()).await.0, 200);
    stand_in.revoke_credential();
    assert_eq!(token(stand_in.refresh_token()).await.0, 400);
}

#[tokio::test]
async fn activity_is_stored_and_seen_as_it_is_shown() {
    let stand_in = pipedrive();
    let id = dana(&stand_in);
    let (status, made) = call(&stand_in, Method::POST, "/api/v2/activities", Some(activity(id))).await;
    assert_eq!((status, &made["data"]["due_time"], &made["data"]["person_id"]), (200, &json!("10:00:00"), &json!(id)));
    let seen = stand_in.meetings().pop().expect("a meeting");
    assert_eq!((seen.start.as_deref(), seen.text.as_str()), (Some("2026-03-01T10:00:00Z"), "Plan\nref nylas:e"));
    assert_eq!(stand_in.refusals(), [""; 0]);
}

#[tokio::test]
async fn activity_with_what_pipedrive_does_not_take_is_refused() {
    let stand_in = pipedrive();
    let id = dana(&stand_in);
    for (field, value) in [
        ("person_id", json!(id)),
        ("external_id", json!("e")),
        ("custom_fields", json!({})),
        ("type", json!("breakfast")),
        ("due_time", json!("9:00")),
        ("due_date", json!("2026-03-01T10:00:00Z")),
        ("duration", json!("36:00")),
        ("done", json!(1)),
        ("deal_id", json!("41")),
        ("deal_id", json!(404)),
        ("due_time", Value::Null),
        ("owner_id", json!(11_384_403)),
        ("subject", json!("x".repeat(256))),
        ("location", json!("Room 4")),
        ("participants", json!([{ "person_id": 404, "primary": true }])),
        ("participants", json!([{ "person_id": id }, { "person_id": id }])),
    ] {
        let mut body = activity(id);
        body[field] = value.clone();
        let (status, refusal) = call(&stand_in, Method::POST, "/api/v2/activities", Some(body)).await;
        assert_eq!((status, &refusal["success"]), (400, &json!(false)), "{field}: {value}");
        assert!(refusal["error"].is_string(), "{refusal}");
    }
    assert_eq!(stand_in.meetings(), []);
}

#[tokio::test]
async fn deleted_activity_is_shown_as_deleted_and_cannot_be_changed() {
    let stand_in = pipedrive();
    let id = dana(&stand_in);
    let (_, made) = call(&stand_in, Method::POST, "/api/v2/activities", Some(activity(id))).await;
    let path = format!("/api/v2/activities/{}", made["data"]["id"]);
    assert_eq!(call(&stand_in, Method::DELETE, &path, None).await.0, 200);
    assert_eq!(call(&stand_in, Method::GET, &path, None).await.1["data"]["is_deleted"], true);
    assert_eq!(call(&stand_in, Method::PATCH, &path, Some(json!({ "done": true }))).await.0, 404);
    assert_eq!(call(&stand_in, Method::DELETE, &path, None).await.0, 410);
    let list = format!("/api/v2/activities?person_id={id}");
    assert_eq!(call(&stand_in, Method::GET, &list, None).await.1["data"], json!([]));
    assert_eq!(stand_in.meetings()[0].status, crate::stand_ins::crm::SeenStatus::Deleted);
    stand_in.hide_deleted();
    assert_eq!(call(&stand_in, Method::GET, &path, None).await.0, 404);
}

#[tokio::test]
async fn activities_are_listed_by_their_primary_participant_page_by_page() {
    let stand_in = pipedrive();
    let (one, other) = (dana(&stand_in), dana(&stand_in));
    let mut both = activity(one);
    both["participants"] = json!([{ "person_id": other }, { "person_id": one, "primary": true }]);
    for body in [both, activity(one), activity(one), activity(other)] {
        assert_eq!(call(&stand_in, Method::POST, "/api/v2/activities", Some(body)).await.0, 200);
    }
    let path = format!("/api/v2/activities?person_id={one}&limit=2&updated_since=2026-01-01T00:00:00Z");
    let (_, first) = call(&stand_in, Method::GET, &path, None).await;
    let cursor = first["additional_data"]["next_cursor"].as_str().expect("more");
    let (_, last) = call(&stand_in, Method::GET, &format!("{path}&cursor={cursor}"), None).await;
    let lengths = [&first, &last].map(|page| page["data"].as_array().expect("a list").len());
    assert_eq!((lengths, &last["additional_data"]["next_cursor"]), ([2, 1], &Value::Null));
    for wrong in ["cursor=x", "updated_since=2026-01-01T00:00:00.5Z", "limit=501", "type=meeting"] {
        let path = format!("/api/v2/activities?{wrong}");
        assert_eq!(call(&stand_in, Method::GET, &path, None).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn list_of_telephone_numbers_is_replaced_whole_and_a_job_title_is_refused() {
    let stand_in = pipedrive();
    let id = dana(&stand_in);
    stand_in.add_phones(&id.to_string(), &[("1", "work"), ("2", "home")]);
    let path = format!("/api/v2/persons/{id}");
    let phones = json!({ "phones": [{ "value": "3" }] });
    assert_eq!(call(&stand_in, Method::PATCH, &path, Some(phones)).await.0, 200);
    assert_eq!(stand_in.phones(&id.to_string()), json!([{ "value": "3", "primary": true, "label": "work" }]));
    assert_eq!(call(&stand_in, Method::PATCH, &path, Some(json!({ "job_title": "VP" }))).await.0, 403);
    let unknown = json!({ "custom_fields": { "0000000000000000000000000000000000000001": "VP" } });
    assert_eq!(call(&stand_in, Method::PATCH, &path, Some(unknown)).await.0, 400);
    let field = json!({ "field_name": JOB_TITLE_FIELD, "field_type": "varchar" });
    let (_, made) = call(&stand_in, Method::POST, "/api/v2/personFields", Some(field)).await;
    let code = made["data"]["field_code"].as_str().expect("a key");
    assert_eq!(code.len(), 40);
    let of_length = |length| Some(json!({ "custom_fields": { code: "x".repeat(length) } }));
    assert_eq!(call(&stand_in, Method::PATCH, &path, of_length(256)).await.0, 400);
    assert_eq!(call(&stand_in, Method::PATCH, &path, of_length(255)).await.0, 200);
    assert_eq!(stand_in.contacts()[0].job_title.as_deref().map(str::len), Some(255));
}

#[tokio::test]
async fn note_belongs_to_something_and_is_not_longer_than_pipedrive_takes() {
    let stand_in = pipedrive();
    let id = dana(&stand_in);
    let post = |body: Value| call(&stand_in, Method::POST, "/api/v1/notes", Some(body));
    assert_eq!(post(json!({ "content": "x" })).await.0, 400);
    assert_eq!(post(json!({ "content": "x".repeat(100_001), "person_id": id })).await.0, 400);
    assert_eq!(post(json!({ "content": "x", "person_id": 404 })).await.0, 400);
    let (_, made) = post(json!({ "content": "1 &lt; 2<br>x", "person_id": id, "deal_id": 41 })).await;
    assert_eq!(stand_in.notes()[0].text, "1 < 2\nx");
    let path = format!("/api/v1/notes/{}", made["data"]["id"]);
    stand_in.delete_note(&made["data"]["id"].to_string());
    assert_eq!(call(&stand_in, Method::PUT, &path, Some(json!({ "content": "y" }))).await.0, 404);
    let list = format!("/api/v1/notes?person_id={id}");
    assert_eq!(call(&stand_in, Method::GET, &list, None).await.1["data"], Value::Null);
}

#[tokio::test]
async fn burst_and_budget_are_kept_and_told() {
    let stand_in = pipedrive();
    stand_in.set_burst(3, 1);
    let search = "/api/v2/persons/search?term=a%40b.example&fields=email&exact_match=true";
    assert_eq!(call(&stand_in, Method::GET, search, None).await.0, 200);
    assert_eq!(call(&stand_in, Method::GET, search, None).await.0, 429);
    assert_eq!(stand_in.tokens_used(), 20);
    stand_in.set_burst(100, 10);
    stand_in.set_tokens_left(21);
    let request = reqwest::Client::new().get(format!("{}/api/v1/users", stand_in.base_url()));
    let answer = request.header("x-api-token", PIPEDRIVE_API_TOKEN).send().await.expect("an answer");
    assert_eq!(answer.headers()["x-daily-ratelimit-token-remaining"], "1");
    assert_eq!(answer.headers()["x-ratelimit-limit"], "100");
    assert_eq!(call(&stand_in, Method::GET, "/api/v1/users", None).await.0, 429);
    stand_in.set_tokens_left(1_000);
    stand_in.forbid("GET", "/api/v1/users");
    let (status, refusal) = call(&stand_in, Method::GET, "/api/v1/users", None).await;
    assert_eq!((status, &refusal["error"]), (403, &json!("Scope and URL mismatch")));
    stand_in.set_blocking(true);
    assert_eq!(call(&stand_in, Method::GET, "/api/v1/notes", None).await, (403, Value::Null));
}

#[tokio::test]
async fn what_the_description_does_not_know_is_recorded() {
    let stand_in = pipedrive();
    let (status, refusal) = call(&stand_in, Method::GET, "/api/v2/nothing", None).await;
    assert_eq!((status, &refusal["error"]), (404, &json!("Unknown method .")));
    assert_eq!(call(&stand_in, Method::PATCH, "/api/v2/persons/1", Some(json!({ "phone": "1" }))).await.0, 400);
    assert_eq!(stand_in.refusals().len(), 2, "{:?}", stand_in.refusals());
}

//! What the Nylas stand-in answers about grants, folders and messages, asked over HTTP.

use std::io::Read;

use super::messages::has_element;
use super::*;
use crate::stand_ins::{Fault, FaultRule};

const GRANT: &str = "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10";

fn message(id: &str, date: i64) -> Value {
    json!({
        "id": id,
        "grant_id": GRANT,
        "object": "message",
        "thread_id": format!("thread-{}", date % 2),
        "subject": "Pilot",
        "from": [{ "email": "marta.kowal@halden-robotics.example", "name": "Marta Kowal" }],
        "to": [{ "email": "ines.duarte@northwind.example" }],
        "date": date,
        "folders": ["INBOX"],
        "unread": false,
        "headers": [
            { "name": "Message-ID", "value": "<p1@halden-robotics.example>" },
            { "name": "Auto-Submitted", "value": "no" },
        ],
    })
}

fn nylas(messages: usize) -> Nylas {
    let grant = (0..messages).fold(Grant::google(GRANT, "ines.duarte@northwind.example"), |grant, number| {
        let date = 1_794_000_000 + i64::try_from(number).expect("few messages");
        grant.with_message(message(&format!("m{number}"), date))
    });
    Nylas::builder().grant(grant).start().expect("a free port exists")
}

pub(super) async fn get_json(nylas: &Nylas, path: &str) -> (u16, Value) {
    send_json(nylas, reqwest::Method::GET, path, None).await
}

pub(super) async fn send_json(nylas: &Nylas, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = request(nylas, method, path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("the stand-in answers");
    (answer.status().as_u16(), answer.json().await.expect("a JSON body"))
}

pub(super) fn request(nylas: &Nylas, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
    reqwest::Client::new().request(method, format!("{}{path}", nylas.base_url())).bearer_auth(nylas.api_key())
}

fn messages_path(rest: &str) -> String {
    format!("/v3/grants/{GRANT}/messages{rest}")
}

#[tokio::test]
async fn a_wrong_key_is_refused_with_the_error_body_of_the_original() {
    let nylas = nylas(1);
    let answer = reqwest::Client::new()
        .get(format!("{}/v3/grants", nylas.base_url()))
        .bearer_auth("wrong")
        .send()
        .await
        .expect("answered");
    assert_eq!(answer.status(), 401);
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["error"]["type"], "unauthorized");
    assert!(body["request_id"].is_string());
}

#[tokio::test]
async fn headers_come_only_when_they_are_asked_for() {
    let nylas = nylas(1);
    let (_, standard) = get_json(&nylas, &messages_path("/m0")).await;
    assert_eq!(standard["data"].get("headers"), None);
    let (_, all) = get_json(&nylas, &messages_path("/m0?fields=include_headers")).await;
    assert_eq!(all["data"]["headers"].as_array().map(Vec::len), Some(2));
    let (_, basic) = get_json(&nylas, &messages_path("/m0?fields=include_basic_headers")).await;
    assert_eq!(basic["data"]["headers"], json!([{ "name": "Message-ID", "value": "<p1@halden-robotics.example>" }]));
    let (status, error) = get_json(&nylas, &messages_path("/m0?fields=headers")).await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("invalid_request_error")));
}

#[tokio::test]
async fn tracking_options_and_the_source_come_only_when_they_are_asked_for() {
    let nylas = nylas(1);
    let mut tracked = message("m1", 1_794_000_100);
    tracked["tracking_options"] = json!({ "opens": true });
    tracked["raw_mime"] = json!("U3ViamVjdDogUGlsb3QNCg0K");
    nylas.put_message(GRANT, tracked).expect("the grant is connected");
    let (_, standard) = get_json(&nylas, &messages_path("/m1")).await;
    assert_eq!((standard["data"].get("tracking_options"), standard["data"].get("raw_mime")), (None, None));
    let (_, asked) = get_json(&nylas, &messages_path("/m1?fields=include_tracking_options")).await;
    assert_eq!(asked["data"]["tracking_options"], json!({ "opens": true }));
    let (_, source) = get_json(&nylas, &messages_path("/m1?fields=raw_mime")).await;
    let only = json!({ "id": "m1", "grant_id": GRANT, "object": "message", "raw_mime": "U3ViamVjdDogUGlsb3QNCg0K" });
    assert_eq!(source["data"], only);
}

#[tokio::test]
async fn select_keeps_only_the_named_fields() {
    let (_, body) = get_json(&nylas(1), &messages_path("/m0?select=id,subject")).await;
    assert_eq!(body["data"], json!({ "id": "m0", "subject": "Pilot" }));
}

#[tokio::test]
async fn ids_are_decoded_and_an_id_that_was_not_encoded_is_not_found() {
    let nylas = nylas(0);
    nylas.put_message(GRANT, message("AAMk/A+b==#1", 1_794_000_000)).expect("the grant is connected");
    let (status, body) = get_json(&nylas, &messages_path("/AAMk%2FA%2Bb%3D%3D%231")).await;
    assert_eq!((status, &body["data"]["id"]), (200, &json!("AAMk/A+b==#1")));
    assert_eq!(get_json(&nylas, &messages_path("/AAMk/A+b==#1")).await.0, 404);
}

#[tokio::test]
async fn a_message_that_is_gone_and_a_grant_that_never_was_are_not_found() {
    let nylas = nylas(1);
    nylas.remove_message(GRANT, "m0");
    for path in [messages_path("/m0"), "/v3/grants/unknown/messages/m0".to_owned(), "/v3/grants/unknown".to_owned()] {
        let (status, body) = get_json(&nylas, &path).await;
        assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")), "{path}");
    }
}

#[tokio::test]
async fn an_expired_grant_is_listed_as_invalid_and_serves_nothing() {
    let nylas = nylas(1);
    nylas.set_grant_status(GRANT, "invalid");
    let (status, body) = get_json(&nylas, &messages_path("")).await;
    assert_eq!((status, &body["error"]["provider_error"]["code"]), (401, &json!(401)));
    let (_, listed) = get_json(&nylas, "/v3/grants?grant_status=invalid").await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn pages_follow_the_cursor_until_there_is_none_newest_first() {
    let nylas = nylas(120);
    let mut ids = Vec::new();
    let mut sizes = Vec::new();
    let mut rest = String::new();
    loop {
        let (_, page) = get_json(&nylas, &messages_path(&rest)).await;
        let data = page["data"].as_array().expect("a list").clone();
        sizes.push(data.len());
        ids.extend(data.iter().map(|message| message["id"].as_str().expect("an id").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        rest = format!("?page_token={cursor}");
    }
    assert_eq!(sizes, [50, 50, 20]);
    assert_eq!((ids[0].as_str(), ids[119].as_str()), ("m119", "m0"));
}

#[tokio::test]
async fn a_short_page_may_be_followed_by_another() {
    let grant = Grant::google(GRANT, "ines.duarte@northwind.example")
        .with_message(message("m0", 1))
        .with_message(message("m1", 2));
    let nylas = Nylas::builder().grant(grant).largest_page(1).start().expect("a free port exists");
    let (_, page) = get_json(&nylas, &messages_path("?limit=50")).await;
    assert_eq!(page["data"].as_array().map(Vec::len), Some(1));
    assert!(page["next_cursor"].is_string());
}

#[tokio::test]
async fn limits_and_cursors_outside_their_bounds_are_refused() {
    let nylas = nylas(1);
    for rest in
        ["?limit=201", "?limit=0", "?limit=many", "?page_token=bm9uc2Vuc2U", "?in=in:inbox", "?recieved_after=1"]
    {
        let (status, body) = get_json(&nylas, &messages_path(rest)).await;
        assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{rest}");
    }
}

#[tokio::test]
async fn messages_are_narrowed_by_time_thread_folder_and_address() {
    let nylas = nylas(4);
    for (rest, expected) in [
        ("?received_after=1794000001", 2),
        ("?received_before=1794000001", 1),
        ("?thread_id=thread-0", 2),
        ("?in=INBOX", 4),
        ("?in=SENT", 0),
        ("?any_email=Marta.Kowal@halden-robotics.example", 4),
        ("?from=ines.duarte@northwind.example", 0),
    ] {
        let (_, page) = get_json(&nylas, &messages_path(rest)).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(expected), "{rest}");
    }
}

#[tokio::test]
async fn copies_and_indexed_metadata_narrow_a_list_and_metadata_takes_no_other_filter_beside_it() {
    let nylas = nylas(1);
    let mut copied = message("copied", 1_794_000_100);
    copied["cc"] = json!([{ "email": "tobias.lindqvist@northwind.example" }]);
    copied["bcc"] = json!([{ "email": "archive@northwind.example" }]);
    copied["metadata"] = json!({ "key1": "deal:7", "colour": "red" });
    nylas.put_message(GRANT, copied).expect("the grant is connected");
    for rest in [
        "?cc=Tobias.Lindqvist@northwind.example",
        "?bcc=archive@northwind.example",
        "?metadata_pair=key1:deal:7",
        "?metadata_pair=key1:deal:7&limit=5&fields=include_headers&select=id",
    ] {
        let (_, page) = get_json(&nylas, &messages_path(rest)).await;
        assert_eq!(
            (page["data"].as_array().map(Vec::len), &page["data"][0]["id"]),
            (Some(1), &json!("copied")),
            "{rest}"
        );
    }
    for rest in ["?metadata_pair=colour:red", "?metadata_pair=key1", "?metadata_pair=key1:deal:7&subject=Pilot"] {
        let (status, body) = get_json(&nylas, &messages_path(rest)).await;
        assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{rest}");
    }
}

#[tokio::test]
async fn lists_show_headers_and_tracking_options_as_one_message_does() {
    let nylas = nylas(1);
    let mut tracked = message("m1", 1_794_000_100);
    tracked["tracking_options"] = json!({ "opens": true });
    nylas.put_message(GRANT, tracked).expect("the grant is connected");
    let (_, standard) = get_json(&nylas, &messages_path("")).await;
    assert_eq!((standard["data"][0].get("headers"), standard["data"][0].get("tracking_options")), (None, None));
    let (_, tracked) = get_json(&nylas, &messages_path("?fields=include_tracking_options")).await;
    assert_eq!(tracked["data"][0]["tracking_options"], json!({ "opens": true }));
    assert_eq!(tracked["data"][1].get("tracking_options"), None);
    let (_, headers) = get_json(&nylas, &messages_path("?fields=include_headers")).await;
    assert_eq!(headers["data"][1]["headers"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn google_folders_are_named_by_their_ids_and_others_are_opaque_with_attributes() {
    let microsoft = Grant::microsoft("ms", "tobias.lindqvist@northwind.example");
    let sent = microsoft.folder_id("\\Sent").expect("every account has one").to_owned();
    assert!(sent.contains('/') && sent != "SENT");
    let nylas = nylas(0);
    nylas.add_grant(microsoft);
    nylas.add_grant(Grant::imap("imap", "office@northwind.example"));
    let (_, google) = get_json(&nylas, &format!("/v3/grants/{GRANT}/folders")).await;
    assert!(has_element(&google["data"], |folder| folder["id"] == "SENT" && folder.get("attributes").is_none()));
    let (_, listed) = get_json(&nylas, "/v3/grants/ms/folders").await;
    assert!(has_element(&listed["data"], |folder| folder["id"] == sent.as_str()
        && folder["attributes"] == json!(["\\Sent"])));
    let (_, imap) = get_json(&nylas, "/v3/grants/imap/folders").await;
    assert!(has_element(&imap["data"], |folder| folder["name"] == "INBOX.Verstuurd"
        && folder["attributes"] == json!(["\\Sent"])));
}

#[tokio::test]
async fn grants_are_paged_by_limit_and_offset_and_found_by_id_or_address() {
    let nylas = Nylas::start().expect("a free port exists");
    for number in 0..12 {
        nylas.add_grant(Grant::google(&format!("g{number}"), &format!("seller{number}@northwind.example")));
    }
    let (_, first) = get_json(&nylas, "/v3/grants").await;
    assert_eq!(
        (first["data"].as_array().map(Vec::len), &first["limit"], first.get("next_cursor")),
        (Some(10), &json!(10), None)
    );
    let (_, second) = get_json(&nylas, "/v3/grants?limit=10&offset=10").await;
    assert_eq!((second["data"].as_array().map(Vec::len), &second["offset"]), (Some(2), &json!(10)));
    let (_, beyond) = get_json(&nylas, "/v3/grants?limit=200&offset=12").await;
    assert_eq!((&beyond["data"], &beyond["limit"]), (&json!([]), &json!(200)));
    for query in ["limit=201", "limit=0", "offset=-1", "page_token=x"] {
        let (status, body) = get_json(&nylas, &format!("/v3/grants?{query}")).await;
        assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{query}");
    }
    for name in ["g3", "grant:g3", "seller3@northwind.example", "email:seller3@northwind.example"] {
        let (_, body) = get_json(&nylas, &format!("/v3/grants/{name}")).await;
        assert_eq!(body["data"]["id"], "g3", "{name}");
    }
}

#[tokio::test]
async fn an_answer_is_compressed_exactly_when_that_is_asked_for() {
    let nylas = nylas(1);
    let client = reqwest::Client::builder().no_gzip().build().expect("a client");
    let ask = |encoding: &'static str| {
        client
            .get(format!("{}{}", nylas.base_url(), messages_path("/m0")))
            .bearer_auth(nylas.api_key())
            .header("Accept-Encoding", encoding)
            .send()
    };
    let plain = ask("identity").await.expect("answered");
    assert_eq!(plain.headers().get("content-encoding"), None);
    let plain = plain.bytes().await.expect("a body");
    let packed = ask("br, gzip").await.expect("answered");
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.expect("a body");
    let mut inflated = Vec::new();
    flate2::read::GzDecoder::new(packed.as_ref()).read_to_end(&mut inflated).expect("gzip");
    let data = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON")["data"].clone();
    assert_eq!(data(&inflated), data(&plain));
}

#[tokio::test]
async fn planned_errors_have_the_types_of_the_original() {
    let nylas = nylas(1);
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "unauthorized"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (504, "provider_error"),
    ] {
        nylas.faults().add(FaultRule::next(1, Fault::status(status)));
        let (answered, body) = get_json(&nylas, &messages_path("/m0")).await;
        assert_eq!((answered, &body["error"]["type"]), (status, &json!(kind)));
        assert!(body["request_id"].is_string() && body["error"]["message"].is_string());
    }
}

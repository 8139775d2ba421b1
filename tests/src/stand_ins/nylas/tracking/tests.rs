//! What the Nylas stand-in tells of opens, clicks, answers and bounces.

use reqwest::Method;

use super::super::Grant;
use super::super::tests::send_json;
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// A stand-in and the id of the mail that was sent with these tracking options.
async fn sent(options: Value) -> (Nylas, String) {
    let nylas = Nylas::builder()
        .grant(Grant::microsoft("m", "tobias.lindqvist@northwind.example"))
        .start()
        .expect("a free port exists");
    let mail = json!({
        "to": [{ "email": "marta.kowal@halden-robotics.example" }],
        "cc": [{ "email": "samuel.okoye@brightwater-clinics.example" }],
        "subject": "Welcome",
        "body": "<a href='https://northwind.example/a'>a</a><a href='https://northwind.example/b'>b</a>\
            <a href='mailto:ines.duarte@northwind.example'>c</a>",
        "tracking_options": options,
    });
    let (status, answer) = send_json(&nylas, Method::POST, "/v3/grants/m/messages/send", Some(mail)).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["data"]["id"].as_str().expect("an id").to_owned();
    (nylas, id)
}

fn everything() -> Value {
    json!({ "opens": true, "links": true, "thread_replies": true, "label": "welcome:1" })
}

#[tokio::test]
async fn opens_are_counted_and_told_with_those_before_up_to_fifty() {
    let (nylas, id) = sent(everything()).await;
    let first = nylas.opened(&id, at(1000), "Mozilla/5.0").expect("it is tracked");
    let object = json!({
        "object": "message",
        "grant_id": "m",
        "message_id": id,
        "label": "welcome:1",
        "message_data": { "count": 1, "timestamp": 1000 },
        "recents": [{ "opened_id": 0, "ip": IP, "timestamp": 1000, "user_agent": "Mozilla/5.0" }],
        "sender_app_id": APPLICATION_ID,
        "timestamp": 1000,
    });
    assert_eq!(first["data"], json!({ "application_id": APPLICATION_ID, "grant_id": "m", "object": object }));
    let envelope = (&first["specversion"], &first["type"], &first["source"], &first["time"]);
    assert_eq!(envelope, (&json!("1.0"), &json!("message.opened"), &json!("/com/nylas/tracking"), &json!(1000)));
    assert_eq!(first.get("webhook_delivery_attempt"), None, "tracking notifications have none");

    for second in 1..=50 {
        nylas.opened(&id, at(1000 + second), "Mozilla/5.0").expect("it is tracked");
    }
    let last = nylas.opened(&id, at(1060), "Mozilla/5.0").expect("it is tracked");
    assert_ne!(last["id"], first["id"]);
    let object = &last["data"]["object"];
    assert_eq!((&object["message_data"]["count"], object["recents"].as_array().map(Vec::len)), (&json!(52), Some(50)));
    assert_eq!((&object["recents"][0]["opened_id"], &object["recents"][49]["opened_id"]), (&json!(2), &json!(51)));
}

#[tokio::test]
async fn clicks_name_their_link_by_its_place_and_are_counted_by_link() {
    let (nylas, id) = sent(everything()).await;
    nylas.clicked(&id, &[(1, at(1000), "Mozilla/5.0")]).expect("it is tracked");
    let clicks = [(2, at(1010), "Mozilla/5.0"), (1, at(1020), "curl/8")];
    let notification = nylas.clicked(&id, &clicks).expect("it is tracked");
    let object = &notification["data"]["object"];
    let expected = json!([
        { "url": "https://northwind.example/b", "count": 2 },
        { "url": "mailto:ines.duarte@northwind.example", "count": 1 },
    ]);
    assert_eq!((&notification["type"], &object["link_data"]), (&json!("message.link_clicked"), &expected));
    let recents: Vec<_> = object["recents"].as_array().expect("a list").iter().collect();
    let places: Vec<_> =
        recents.iter().map(|recent| (recent["click_id"].clone(), recent["link_index"].clone())).collect();
    let expected = [(0, "1"), (1, "2"), (2, "1")].map(|(click, link)| (json!(click), json!(link)));
    assert_eq!(places, expected);
    assert_eq!((&recents[2]["user_agent"], &recents[2]["timestamp"]), (&json!("curl/8"), &json!(1020)));
    assert_eq!(
        (&object["label"], &object["timestamp"], &notification["time"]),
        (&json!("welcome:1"), &json!(1020), &json!(1020))
    );
    let no_such = nylas.clicked(&id, &[(3, at(1030), "Mozilla/5.0")]);
    assert_eq!(no_such, Err(ControlError::NoSuchLink { message_id: id, index: 3 }));
}

#[tokio::test]
async fn an_answer_is_told_with_the_mail_that_began_the_thread_and_perhaps_with_who_wrote_it() {
    let (nylas, id) = sent(everything()).await;
    let from = "marta.kowal@halden-robotics.example";
    let reply = nylas.receive_reply("m", &id, from, "Re: Welcome", &[]).expect("the mail was sent");
    let reply_id = reply["id"].as_str().expect("an id");
    let notification = nylas.replied(&id, reply_id, Some(false)).expect("it is tracked");
    let object = json!({
        "object": "thread",
        "grant_id": "m",
        "message_id": reply_id,
        "root_message_id": id,
        "reply_to_message_id": id,
        "label": "welcome:1",
        "reply_data": { "count": 1 },
        "from_self": false,
        "sender_app_id": APPLICATION_ID,
        "thread_id": reply["thread_id"],
        "timestamp": reply["date"],
    });
    assert_eq!((&notification["type"], &notification["data"]["object"]), (&json!("thread.replied"), &object));
    let older = nylas.replied(&id, "unknown", None).expect("it is tracked");
    let object = &older["data"]["object"];
    assert_eq!((object.get("from_self"), &object["reply_data"]["count"]), (None, &json!(2)));
}

#[tokio::test]
async fn a_bounce_names_the_mail_by_its_origin_and_needs_no_tracking() {
    let (nylas, id) = sent(Value::Null).await;
    let notification = nylas.bounced(&id, "mailbox_unavailable", "550").expect("the mail was sent");
    assert_eq!(notification["source"], "/microsoft/emails/realtime");
    assert_eq!(
        (&notification["webhook_delivery_attempt"], &notification["data"]["grant_id"]),
        (&json!(1), &json!("m"))
    );
    let object = &notification["data"]["object"];
    assert_eq!((&object["type"], &object["code"]), (&json!("mailbox_unavailable"), &json!("550")));
    assert_eq!(object["bounced_addresses"], "marta.kowal@halden-robotics.example");
    let origin = &object["origin"];
    assert_eq!((&origin["id"], &origin["subject"]), (&json!(id), &json!("Welcome")));
    assert_eq!(origin["from"], "tobias.lindqvist@northwind.example");
    assert_eq!(origin["cc"], json!(["samuel.okoye@brightwater-clinics.example"]));
    assert!(origin["mime_id"].as_str().is_some_and(|id| id.ends_with("@northwind.example")), "{origin}");
    for date in [&object["bounce_date"], &origin["original_send_at"]] {
        assert!(rfc2822::parse(date.as_str().expect("a text")).is_ok(), "{date}");
    }
}

#[tokio::test]
async fn what_was_not_tracked_or_not_sent_is_not_told() {
    let (nylas, id) = sent(json!({ "opens": true })).await;
    let not_tracked = |what| Err(ControlError::NotTracked { message_id: id.clone(), what });
    assert_eq!(nylas.clicked(&id, &[(0, at(1000), "Mozilla/5.0")]), not_tracked("links"));
    assert_eq!(nylas.replied(&id, "reply", None), not_tracked("thread_replies"));
    let unlabelled = nylas.opened(&id, at(1000), "Mozilla/5.0").expect("it is tracked");
    assert_eq!(unlabelled["data"]["object"].get("label"), None);
    let (nylas, id) = sent(Value::Null).await;
    let untracked = nylas.opened(&id, at(1000), "Mozilla/5.0");
    assert_eq!(untracked, Err(ControlError::NotTracked { message_id: id, what: "opens" }));
    assert_eq!(nylas.bounced("unknown", "x", "550"), Err(ControlError::NotSent("unknown".to_owned())));
}

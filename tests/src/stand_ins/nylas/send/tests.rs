//! What the Nylas stand-in answers to mail that is to be sent, and what it keeps of it.

use reqwest::Method;
use serde_json::json;

use super::super::tests::{get_json, request, send_json};
use super::*;
use crate::stand_ins::{Fault, FaultRule};

const SENDER: &str = "ines.duarte@northwind.example";
const SEND: &str = "/v3/grants/g/messages/send";

fn nylas() -> Nylas {
    let microsoft = Grant::microsoft("m", "tobias.lindqvist@northwind.example");
    let builder = Nylas::builder().grant(Grant::google("g", SENDER)).grant(microsoft);
    builder.grant(Grant::imap("i", "mei.lin@northwind.example")).start().expect("a free port exists")
}

/// A mail that can be sent, with other fields in place of its own.
fn mail(fields: Value) -> Value {
    let mut mail = json!({
        "to": [{ "email": "marta.kowal@halden-robotics.example", "name": "Marta Kowal" }],
        "subject": "Welcome",
        "body": "<p>Hello, <a href=\"https://northwind.example/setup\">set it up</a>.</p>",
    });
    let (Some(object), Value::Object(fields)) = (mail.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    mail
}

async fn post(nylas: &Nylas, mail: Value) -> (u16, Value) {
    send_json(nylas, Method::POST, SEND, Some(mail)).await
}

/// The status, whether it is an earlier answer again, and the body.
async fn post_with_key(nylas: &Nylas, path: &str, key: &str, mail: &Value) -> (u16, bool, Value) {
    let answer = request(nylas, Method::POST, path).header("Idempotency-Key", key).json(mail).send().await;
    let answer = answer.expect("the stand-in answers");
    let again = answer.headers().get("Idempotent-Response").is_some_and(|value| value == "true");
    (answer.status().as_u16(), again, answer.json().await.expect("a JSON body"))
}

async fn assert_refused(nylas: &Nylas, mail: Value, kind: &str) {
    let (status, body) = post(nylas, mail.clone()).await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!(kind)), "{mail}: {body}");
    assert!(nylas.sent().is_empty(), "{mail}");
}

#[tokio::test]
async fn a_sent_mail_lies_in_the_senders_folder_of_sent_mail_as_the_answer_tells() {
    let nylas = nylas();
    for (grant, sender, folder) in [
        ("g", SENDER, "SENT".to_owned()),
        ("m", "tobias.lindqvist@northwind.example", {
            let grant = Grant::microsoft("m", "tobias.lindqvist@northwind.example");
            grant.folder_id("\\Sent").expect("every account has one").to_owned()
        }),
    ] {
        let path = format!("/v3/grants/{grant}/messages/send");
        let (status, answer) = send_json(&nylas, Method::POST, &path, Some(mail(json!({})))).await;
        assert_eq!((status, &answer["grant_id"], &answer["data"]["schedule_id"]), (200, &json!(grant), &json!("")));
        let (_, listed) = get_json(&nylas, &format!("/v3/grants/{grant}/messages")).await;
        let message = &listed["data"][0];
        for key in ["id", "thread_id", "subject", "body", "to", "date"] {
            assert_eq!(message[key], answer["data"][key], "{key}");
        }
        assert_eq!((&message["folders"], &message["from"][0]["email"]), (&json!([folder]), &json!(sender)));
        assert_eq!(message["snippet"], "Hello, set it up.");
    }
    let ids: Vec<String> = nylas.sent().into_iter().map(|sent| sent.message_id).collect();
    assert!(ids[0].len() == 16 && ids[1].starts_with("AAMk"), "{ids:?}");
}

#[tokio::test]
async fn headers_and_tracking_options_of_a_sent_mail_are_shown_only_on_request() {
    let nylas = nylas();
    let options = json!({ "opens": true, "links": true, "thread_replies": true, "label": "welcome:1" });
    let given = mail(json!({
        "tracking_options": options,
        "custom_headers": [{ "name": "X-Onboarding", "value": "welcome:1" }],
        "metadata": { "key1": "welcome" },
    }));
    let (_, answer) = post(&nylas, given.clone()).await;
    assert_eq!((answer["data"].get("headers"), answer["data"].get("tracking_options")), (None, None));
    let path = "/v3/grants/g/messages";
    let (_, tracked) = get_json(&nylas, &format!("{path}?fields=include_tracking_options")).await;
    assert_eq!(tracked["data"][0]["tracking_options"], options);
    let (_, headers) = get_json(&nylas, &format!("{path}?fields=include_headers")).await;
    let names = headers["data"][0]["headers"].as_array().expect("headers").iter().map(|header| header["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["X-Onboarding", "Message-ID"]);
    let (_, found) = get_json(&nylas, &format!("{path}?metadata_pair=key1:welcome")).await;
    assert_eq!(found["data"].as_array().map(Vec::len), Some(1));
    let asked = format!("{SEND}?fields=include_tracking_options");
    let (_, shown) = send_json(&nylas, Method::POST, &asked, Some(given)).await;
    assert_eq!(shown["data"]["tracking_options"], options);
    let sent = nylas.sent().remove(0);
    assert_eq!((sent.label.as_deref(), sent.tracked, sent.idempotency_key), (Some("welcome:1"), true, None));
    assert_eq!(sent.headers, [("X-Onboarding".to_owned(), "welcome:1".to_owned())]);
    assert_eq!(sent.to, ["marta.kowal@halden-robotics.example"]);
}

#[tokio::test]
async fn a_mail_that_the_original_refuses_is_refused_and_not_sent() {
    let nylas = nylas();
    let person = |email: &str, name: &str| json!([{ "email": email, "name": name }]);
    let header = |name: &str, value: &str| json!([{ "name": name, "value": value }]);
    let soon = Timestamp::now().as_second() + 30;
    let many: Map<String, Value> = (0..51).map(|number| (number.to_string(), "x".into())).collect();
    for fields in [
        json!({ "colour": "red" }),
        json!({ "to": null }),
        json!({ "to": [] }),
        json!({ "to": [{ "name": "Marta Kowal" }] }),
        json!({ "to": person("marta.kowal", "") }),
        json!({ "to": person("marta.kowal@halden", "") }),
        json!({ "to": person("marta kowal@halden-robotics.example", "") }),
        json!({ "to": person("marta.kowal@halden-robotics.example\r\nBcc: x@x.example", "") }),
        json!({ "to": person("marta.kowal@halden-robotics.example", "Marta\nKowal") }),
        json!({ "cc": [{ "email": "x@halden-robotics.example", "phone": "1" }] }),
        json!({ "from": person("tobias.lindqvist@northwind.example", "") }),
        json!({ "from": [{ "email": SENDER }, { "email": SENDER }] }),
        json!({ "subject": "Welcome\r\nBcc: x@x.example" }),
        json!({ "subject": 7 }),
        json!({ "use_draft": "yes" }),
        json!({ "custom_headers": { "X-Onboarding": "1" } }),
        json!({ "custom_headers": header("X-Onboarding", "1\n2") }),
        json!({ "custom_headers": header("X Onboarding", "1") }),
        json!({ "custom_headers": header("X-Onboarding:", "1") }),
        json!({ "attachments": [{ "filename": "terms.pdf" }] }),
        json!({ "send_at": soon }),
        json!({ "send_at": "tomorrow" }),
        json!({ "metadata": many }),
        json!({ "metadata": { "k".repeat(41): "x" } }),
        json!({ "metadata": { "key1": "x".repeat(501) } }),
        json!({ "metadata": { "key1": 1 } }),
        json!({ "reply_to_message_id": "unknown" }),
        json!({ "tracking_options": { "clicks": true } }),
        json!({ "tracking_options": { "opens": "yes" } }),
        json!({ "tracking_options": { "opens": true, "label": "x".repeat(2049) } }),
        json!({ "tracking_options": { "thread_replies": true, "domain_name": "t.northwind.example" } }),
    ] {
        assert_refused(&nylas, mail(fields), "invalid_request_error").await;
    }
    let (status, _) = send_json(&nylas, Method::POST, &format!("{SEND}?fields=headers"), Some(mail(json!({})))).await;
    assert_eq!((status, nylas.sent().len()), (400, 0));
    assert_eq!(send_json(&nylas, Method::POST, "/v3/grants/x/messages/send", Some(mail(json!({})))).await.0, 404);
}

#[tokio::test]
async fn microsoft_takes_only_headers_that_begin_with_x() {
    let nylas = nylas();
    let with = |name: &str| mail(json!({ "custom_headers": [{ "name": name, "value": "1" }] }));
    for (grant, name, expected) in [
        ("m", "List-Unsubscribe", 400),
        ("m", "x-onboarding", 200),
        ("m", "X-Onboarding", 200),
        ("g", "List-Unsubscribe", 200),
    ] {
        let path = format!("/v3/grants/{grant}/messages/send");
        let (status, _) = send_json(&nylas, Method::POST, &path, Some(with(name))).await;
        assert_eq!(status, expected, "{grant} {name}");
    }
}

#[tokio::test]
async fn a_trial_account_sends_only_without_tracking_options() {
    let nylas = nylas();
    nylas.set_trial(true);
    let (status, body) = post(&nylas, mail(json!({ "tracking_options": { "opens": true } }))).await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(body["error"]["message"], "Tracking options are not allowed for trial accounts");
    assert_eq!(post(&nylas, mail(json!({}))).await.0, 200);
    nylas.set_trial(false);
    assert_eq!(post(&nylas, mail(json!({ "tracking_options": { "opens": true } }))).await.0, 200);
}

#[tokio::test]
async fn one_bad_link_refuses_the_whole_mail_where_links_are_tracked() {
    let nylas = nylas();
    nylas.deny_links_to("Shortener.example");
    let linked = |links: &str, tracked: bool| {
        let body = format!("<a href='https://northwind.example/setup'>good</a>{links}");
        mail(json!({ "body": body, "tracking_options": { "opens": true, "links": tracked } }))
    };
    let bad = "<a href='https://docs.example.com/x'>bad</a>";
    let (_, refused) = post(&nylas, linked(bad, true)).await;
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("https://docs.example.com/x"), "{message}");
    let many = "<a href='https://northwind.example/'>x</a>".repeat(100);
    for links in [bad, "<a href='http://shortener.example/1'>bad</a>", &many] {
        assert_refused(&nylas, linked(links, true), "api.tracking_error").await;
    }
    assert_eq!(post(&nylas, linked(bad, false)).await.0, 200);
    assert_eq!(post(&nylas, linked("", true)).await.0, 200);
}

#[tokio::test]
async fn a_key_used_again_gives_the_first_answer_again_and_sends_nothing() {
    let nylas = nylas();
    let first = post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await;
    assert_eq!((first.0, first.1), (200, false));
    // Written otherwise, it is the same.
    let written = format!("{:#}", mail(json!({})));
    let answer = request(&nylas, Method::POST, SEND).header("Idempotency-Key", "k1").body(written).send().await;
    let answer = answer.expect("the stand-in answers");
    assert_eq!(answer.headers()["Idempotent-Response"], "true");
    assert_eq!(answer.json::<Value>().await.expect("a JSON body"), first.2);
    let (status, again, other) = post_with_key(&nylas, SEND, "k1", &mail(json!({ "subject": "Other" }))).await;
    assert_eq!((status, again, &other["error"]["type"]), (409, false, &json!("api.invalid_idempotent_request")));
    assert_eq!(nylas.sent().len(), 1);
    assert_eq!(nylas.sent()[0].idempotency_key.as_deref(), Some("k1"));

    let of_another_grant = post_with_key(&nylas, "/v3/grants/m/messages/send", "k1", &mail(json!({}))).await;
    assert_eq!((of_another_grant.0, of_another_grant.1), (200, false));
    nylas.forget_idempotency_keys();
    let later = post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await;
    assert_eq!((later.0, later.1, nylas.sent().len()), (200, false, 3));
}

#[tokio::test]
async fn errors_are_kept_under_their_key_but_not_faults_in_front_of_the_call() {
    let nylas = nylas();
    nylas.faults().add(FaultRule::next(1, Fault::status(503)));
    assert_eq!(post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await.0, 503);
    assert_eq!(post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await.0, 200);

    let refused = mail(json!({ "tracking_options": { "opens": true } }));
    nylas.set_trial(true);
    let first = post_with_key(&nylas, SEND, "k2", &refused).await;
    nylas.set_trial(false);
    let again = post_with_key(&nylas, SEND, "k2", &refused).await;
    assert_eq!((first.0, first.1, again.0, again.1), (400, false, 400, true));
    assert_eq!(first.2, again.2);

    nylas.faults().add(FaultRule::next(1, Fault::LoseAnswer));
    let lost = request(&nylas, Method::POST, SEND).header("Idempotency-Key", "k3").json(&mail(json!({}))).send().await;
    lost.expect_err("no answer was sent");
    let again = post_with_key(&nylas, SEND, "k3", &mail(json!({}))).await;
    assert_eq!((again.0, again.1, nylas.sent().len()), (200, true, 2));
}

#[tokio::test]
async fn a_key_is_at_most_256_characters_long() {
    let nylas = nylas();
    let (status, _, body) = post_with_key(&nylas, SEND, &"k".repeat(257), &mail(json!({}))).await;
    assert_eq!((status, &body["error"]["type"]), (400, &json!("api.invalid_idempotency_key")));
    assert_eq!(post_with_key(&nylas, SEND, &"k".repeat(256), &mail(json!({}))).await.0, 200);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nothing_back_and_finds_the_answer_under_its_key() {
    let nylas = nylas();
    nylas.hold_sends(Duration::from_secs(2));
    let call = request(&nylas, Method::POST, SEND).header("Idempotency-Key", "k1").json(&mail(json!({}))).send();
    let caller = tokio::spawn(call);
    while nylas.sent().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    caller.abort();
    assert!(caller.await.is_err_and(|error| error.is_cancelled()), "the effect comes before the answer");
    let (status, again, body) = post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await;
    assert_eq!((status, again, &body["error"]["type"]), (409, false, &json!("api.concurrent_idempotent_request")));
    let answered = async {
        loop {
            let answer = post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await;
            if answer.0 != 409 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answered = tokio::time::timeout(Duration::from_secs(30), answered).await;
    let (status, again, body) = answered.expect("the send ends without its caller");
    assert_eq!((status, again, nylas.sent().len()), (200, true, 1));
    assert_eq!(body["data"]["id"], nylas.sent()[0].message_id.as_str());
}

#[tokio::test]
async fn a_time_out_after_sending_has_sent_one_before_has_not_and_both_are_kept() {
    let nylas = nylas();
    nylas.time_out_sends_after_sending(1);
    let first = post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await;
    let again = post_with_key(&nylas, SEND, "k1", &mail(json!({}))).await;
    assert_eq!((first.0, first.1, &first.2["error"]["type"]), (504, false, &json!("provider_error")));
    assert_eq!((again.0, again.1, nylas.sent().len()), (504, true, 1));

    nylas.time_out_sends_before_sending(1);
    let first = post_with_key(&nylas, SEND, "k2", &mail(json!({}))).await;
    let again = post_with_key(&nylas, SEND, "k2", &mail(json!({}))).await;
    assert_eq!((first.0, again.0, again.1, nylas.sent().len()), (504, 504, true, 1));
    assert_eq!(post_with_key(&nylas, SEND, "k3", &mail(json!({}))).await.0, 200, "the stock is used up");
}

#[tokio::test]
async fn what_is_accepted_or_scheduled_is_answered_without_an_id_and_is_in_the_mailbox() {
    let nylas = nylas();
    nylas.accept_sends_without_id(1);
    let (status, accepted) = post(&nylas, mail(json!({ "use_draft": false }))).await;
    assert_eq!((status, accepted["data"].get("id"), &accepted["use_draft"]), (202, None, &json!(false)));
    assert!(accepted["schedule_id"].is_string(), "{accepted}");

    let later = Timestamp::now().as_second() + 3600;
    let (status, scheduled) = post(&nylas, mail(json!({ "send_at": later }))).await;
    assert_eq!((status, scheduled["data"].get("id"), &scheduled["data"]["send_at"]), (200, None, &json!(later)));
    assert!(scheduled["data"]["schedule_id"].as_str().is_some_and(|id| id.len() == 36), "{scheduled}");

    let (_, listed) = get_json(&nylas, "/v3/grants/g/messages?to=marta.kowal@halden-robotics.example").await;
    assert_eq!((listed["data"].as_array().map(Vec::len), nylas.sent().len()), (Some(2), 2));
}

#[tokio::test]
async fn an_expired_account_sends_nothing() {
    let nylas = nylas();
    nylas.set_grant_status("g", "invalid");
    let (status, body) = post(&nylas, mail(json!({}))).await;
    assert_eq!((status, &body["error"]["type"], nylas.sent().len()), (401, &json!("unauthorized"), 0));
}

#[tokio::test]
async fn an_answer_lies_in_the_thread_of_the_mail_and_names_it() {
    let nylas = nylas();
    post(&nylas, mail(json!({}))).await;
    let sent = nylas.sent().remove(0);
    let headers = [("Auto-Submitted", "auto-replied")];
    let from = "marta.kowal@halden-robotics.example";
    let reply = nylas.receive_reply("g", &sent.message_id, from, "Re: Welcome", &headers).expect("the mail was sent");
    assert_eq!((&reply["thread_id"], &reply["folders"]), (&json!(sent.thread_id), &json!(["INBOX"])));
    assert_eq!((&reply["to"][0]["email"], reply.get("headers")), (&json!(SENDER), None));

    let path = format!("/v3/grants/g/messages?thread_id={}&fields=include_headers", sent.thread_id);
    let (_, thread) = get_json(&nylas, &path).await;
    let header = |place: usize, name: &str| {
        let headers = thread["data"][place]["headers"].as_array().expect("headers");
        headers.iter().find(|header| header["name"] == name).map(|header| header["value"].clone())
    };
    assert_eq!(thread["data"][0]["id"], reply["id"], "it is the newer one");
    assert_eq!(header(0, "In-Reply-To"), header(1, "Message-ID"));
    assert_eq!(header(0, "Auto-Submitted"), Some(json!("auto-replied")));

    let own = nylas.receive_reply("g", &sent.message_id, SENDER, "Re: Welcome", &[]).expect("the mail was sent");
    assert_eq!((&own["folders"], &own["to"][0]["email"]), (&json!(["SENT"]), &json!(from)));
    let answer = mail(json!({ "reply_to_message_id": reply["id"] }));
    let (_, answered) = post(&nylas, answer).await;
    assert_eq!(answered["data"]["thread_id"], sent.thread_id.as_str());
    assert_eq!(answered["data"]["reply_to_message_id"], reply["id"]);

    let unknown = nylas.receive_reply("g", "unknown", from, "Re: Welcome", &[]);
    assert_eq!(unknown, Err(ControlError::UnknownMessage("unknown".to_owned())));
    let unknown = nylas.receive_reply("x", &sent.message_id, from, "Re: Welcome", &[]);
    assert_eq!(unknown, Err(ControlError::UnknownGrant("x".to_owned())));
}

//! What the Nylas stand-in does about webhooks, asked over HTTP, with an endpoint that answers the challenge.

use std::time::Duration;

use axum::{Router, body::Bytes, extract::Query, http::HeaderMap, response::IntoResponse, routing::post};
use reqwest::Method;

use super::super::tests::{get_json, send_json};
use super::*;
use crate::stand_ins::nylas_webhook::signature;
use crate::stand_ins::{Fault, FaultRule, server::Server};

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// An endpoint that meets its challenge and takes everything.
fn endpoint() -> (Server, Received) {
    let received = Received::default();
    let taken = Arc::clone(&received);
    let take = move |headers: HeaderMap, body: Bytes| async move {
        open(&taken).push((headers, body));
        ""
    };
    let prove = |Query(query): Query<Vec<(String, String)>>| async move { query[0].1.clone() };
    let router = Router::new().route("/webhooks/nylas", post(take).get(prove));
    let planned = |status| axum::http::StatusCode::from_u16(status).expect("a status").into_response();
    (Server::start(0, router, planned).expect("a free port exists"), received)
}

fn url(server: &Server) -> String {
    format!("{}/webhooks/nylas", server.base_url())
}

fn started() -> Nylas {
    let nylas = Nylas::start().expect("a free port exists");
    nylas.set_delay_scale(0.000_01);
    nylas
}

async fn create(nylas: &Nylas, body: Value) -> (u16, Value) {
    send_json(nylas, Method::POST, "/v3/webhooks", Some(body)).await
}

/// A webhook to the endpoint, with its id and its secret.
async fn made(nylas: &Nylas, server: &Server) -> (String, String) {
    let body = json!({ "webhook_url": url(server), "trigger_types": ["message.created"], "compressed_delivery": true });
    let (status, answer) = create(nylas, body).await;
    assert_eq!(status, 200, "{answer}");
    let text = |key: &str| answer["data"][key].as_str().expect("a text").to_owned();
    (text("id"), text("webhook_secret"))
}

fn notification(kind: &str) -> Value {
    json!({ "specversion": "1.0", "type": kind, "id": "n-1", "time": 1, "data": { "object": { "id": "m" } } })
}

#[tokio::test]
async fn a_webhook_is_made_once_the_endpoint_meets_its_challenge_and_its_secret_is_shown_once() {
    let (nylas, (server, _)) = (started(), endpoint());
    let body = json!({
        "webhook_url": url(&server), "trigger_types": ["message.created", "grant.expired"], "description": "Ours",
        "notification_email_addresses": ["ops@northwind.example"],
    });
    let (status, answer) = create(&nylas, body).await;
    let data = &answer["data"];
    assert_eq!((status, &data["status"], &data["compressed_delivery"]), (200, &json!("active"), &json!(false)));
    assert_eq!((data["webhook_secret"].as_str().map(str::len), data.get("created_at")), (Some(20), None));
    let id = data["id"].as_str().expect("an id");
    for path in ["/v3/webhooks".to_owned(), format!("/v3/webhooks/{id}")] {
        let (status, shown) = get_json(&nylas, &path).await;
        assert_eq!(status, 200);
        assert!(!shown.to_string().contains("webhook_secret") && shown.to_string().contains("ops@"), "{shown}");
    }
    assert_eq!(server.log().count("GET", "/webhooks/nylas"), 1);
}

#[tokio::test]
async fn an_endpoint_that_fails_its_challenge_gets_no_webhook_and_the_error_of_the_original() {
    let (nylas, (server, _)) = (started(), endpoint());
    server.faults().add(FaultRule::next(1, Fault::status(404)));
    let body = json!({ "webhook_url": url(&server), "trigger_types": ["message.created"] });
    let (status, answer) = create(&nylas, body).await;
    let expected = json!({ "type": "70005", "message": "unable.verify.webhook_url : status is not ok, got 404" });
    assert_eq!((status, &answer["error"]), (400, &expected));
    assert_eq!(nylas.webhooks(), []);
}

#[tokio::test]
async fn what_the_original_refuses_is_refused() {
    let (nylas, (server, _)) = (started(), endpoint());
    let (id, _) = made(&nylas, &server).await;
    let types = json!(["message.created"]);
    for body in [
        json!({ "webhook_url": url(&server) }),
        json!({ "trigger_types": types }),
        json!({ "webhook_url": url(&server), "trigger_types": [] }),
        json!({ "webhook_url": url(&server), "trigger_types": ["message.created.truncated"] }),
        json!({ "webhook_url": url(&server), "trigger_types": ["thread.created"] }),
        json!({ "webhook_url": url(&server), "trigger_types": types, "callback_url": "x" }),
        json!({ "webhook_url": url(&server), "trigger_types": types }),
        json!({ "webhook_url": "http://elsewhere.example/", "trigger_types": types }),
        json!({ "webhook_url": "https://x.ngrok.app/", "trigger_types": types }),
        json!({ "webhook_url": "https://nobody-answers.example/", "trigger_types": types }),
    ] {
        assert_eq!(create(&nylas, body.clone()).await.0, 400, "{body}");
    }
    for change in [json!({ "status": "failing" }), json!({ "status": "failed" }), json!({ "trigger_types": ["x"] })] {
        let (status, _) = send_json(&nylas, Method::PUT, &format!("/v3/webhooks/{id}"), Some(change.clone())).await;
        assert_eq!(status, 400, "{change}");
    }
    for (method, path) in [
        (Method::GET, "/v3/webhooks/unknown"),
        (Method::PUT, "/v3/webhooks/unknown"),
        (Method::DELETE, "/v3/webhooks/unknown"),
        (Method::POST, "/v3/webhooks/rotate-secret/unknown"),
    ] {
        let (status, answer) = send_json(&nylas, method, path, Some(json!({}))).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("70000")), "{path}");
    }
    assert_eq!(nylas.webhooks().len(), 1);
}

#[tokio::test]
async fn a_change_leaves_what_it_does_not_name_and_only_activation_asks_the_challenge() {
    let (nylas, (server, _)) = (started(), endpoint());
    let (id, _) = made(&nylas, &server).await;
    let path = format!("/v3/webhooks/{id}");
    let change = json!({ "trigger_types": ["event.created"], "description": "", "notification_email_addresses": [] });
    let (_, changed) = send_json(&nylas, Method::PUT, &path, Some(change)).await;
    assert_eq!(changed["data"]["trigger_types"], json!(["event.created"]));
    assert_eq!(changed["data"]["compressed_delivery"], true);
    send_json(&nylas, Method::PUT, &path, Some(json!({ "status": "pause" }))).await;
    assert_eq!((nylas.webhooks()[0].status.as_str(), server.log().total()), ("pause", 1));

    server.faults().add(FaultRule::next(1, Fault::status(503)));
    let active = || Some(json!({ "status": "active" }));
    assert_eq!(send_json(&nylas, Method::PUT, &path, active()).await.1["error"]["type"], "70005");
    assert_eq!(nylas.webhooks()[0].status, "pause");
    assert_eq!(send_json(&nylas, Method::PUT, &path, active()).await.0, 200);
    assert_eq!(nylas.webhooks()[0].status, "active");
    assert_eq!(send_json(&nylas, Method::DELETE, &path, None).await.1["data"], json!({ "status": "success" }));
    assert_eq!(nylas.webhooks(), []);
}

#[tokio::test]
async fn a_notification_goes_compressed_under_the_secret_that_is_live_and_is_counted() {
    let (nylas, (server, received)) = (started(), endpoint());
    let (id, first) = made(&nylas, &server).await;
    assert!(
        nylas.deliver_through(&id, &notification("message.created.truncated")).await.expect("subscribed").delivered
    );
    let (_, rotated) = send_json(&nylas, Method::POST, &format!("/v3/webhooks/rotate-secret/{id}"), None).await;
    let second = rotated["data"]["webhook_secret"].as_str().expect("a secret");
    assert_eq!(rotated["data"].get("compressed_delivery"), None, "as the original documents it");
    nylas.deliver_through(&id, &notification("message.created")).await.expect("subscribed");
    for ((headers, body), secret) in open(&received).iter().zip([first.as_str(), second]) {
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(headers["x-nylas-signature"], signature(secret, body).as_str());
    }
    for status in [401, 503] {
        server.faults().add(FaultRule::next(1, Fault::status(status)));
        nylas.deliver_through(&id, &notification("message.created")).await.expect("subscribed");
    }
    let webhook = nylas.webhooks().remove(0);
    assert_eq!((webhook.delivered, webhook.lost, webhook.secrets_made), (3, 1, 2), "a 401 is lost, a 503 comes again");
    assert_eq!(
        nylas.deliver_through(&id, &notification("event.created")).await,
        Err(ControlError::NotSubscribed { webhook_id: id, kind: "event.created".to_owned() })
    );
}

#[tokio::test]
async fn an_attempt_after_a_rotation_is_signed_with_the_new_secret() {
    let (nylas, (server, received)) = (Arc::new(Nylas::start().expect("a free port exists")), endpoint());
    nylas.set_delay_scale(0.005);
    let (id, _) = made(&nylas, &server).await;
    server.faults().add(FaultRule::next(1, Fault::status(503)));
    let delivering = {
        let (nylas, id) = (Arc::clone(&nylas), id.clone());
        tokio::spawn(async move { nylas.deliver_through(&id, &notification("message.created")).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (_, rotated) = send_json(&nylas, Method::POST, &format!("/v3/webhooks/rotate-secret/{id}"), None).await;
    let secret = rotated["data"]["webhook_secret"].as_str().expect("a secret").to_owned();
    assert!(delivering.await.expect("it ends").expect("subscribed").delivered);
    let (headers, body) = open(&received)[0].clone();
    assert_eq!(headers["x-nylas-signature"], signature(&secret, &body).as_str());
}

#[tokio::test]
async fn nothing_goes_through_what_was_paused_or_has_failed_and_a_failing_one_delivers() {
    let (nylas, (server, received)) = (started(), endpoint());
    let (id, _) = made(&nylas, &server).await;
    for (status, delivered) in [("pause", false), ("failed", false), ("failing", true)] {
        nylas.set_webhook_status(&id, status).expect("it is there");
        let delivery = nylas.deliver_through(&id, &notification("message.created")).await.expect("subscribed");
        assert_eq!(delivery.delivered, delivered, "{status}");
    }
    assert_eq!((open(&received).len(), nylas.webhooks()[0].lost), (1, 2));
    assert!(nylas.set_webhook_status("unknown", "failed").is_err());
}

#[tokio::test]
async fn a_test_event_is_signed_with_the_public_secret_and_takes_no_booking_and_no_notetaker() {
    let (nylas, (server, received)) = (started(), endpoint());
    let send = async |body: Value| send_json(&nylas, Method::POST, "/v3/webhooks/send-test-event", Some(body)).await;
    let event = |kind: &str| json!({ "webhook_url": url(&server), "trigger_type": kind });
    assert_eq!(send(event("message.created")).await.1["data"], "success");
    let (headers, body) = open(&received)[0].clone();
    assert_eq!(headers["x-nylas-signature"], signature("mock-webhook-secret", &body).as_str());
    server.faults().add(FaultRule::next(1, Fault::status(401)));
    assert_eq!(send(event("message.created")).await.1["data"], "failed");
    for body in [
        event("booking.created"),
        event("notetaker.media"),
        json!({ "trigger_type": "message.created" }),
        json!({ "webhook_url": url(&server) }),
    ] {
        assert_eq!(send(body.clone()).await.0, 400, "{body}");
    }
}

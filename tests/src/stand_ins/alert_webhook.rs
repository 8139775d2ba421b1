//! A stand-in for incoming webhooks as Slack's are: the address of each is its secret, it takes one text at a time and
//! answers `ok`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse as _,
    routing::post,
};
use serde_json::Value;

use super::{
    Faults, Result,
    server::{ErrorAnswer, Server},
};

/// What the addresses of all webhooks have in common.
const FOLDER: &str = "/services/T0SANDBOX/B0SANDBOX";

/// The part of the address that nobody else knows.
const SECRET: &str = "5andb0xs3cret";

const PLANNED_ERROR: ErrorAnswer = |status| {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "service_unavailable").into_response()
};

/// What was told at each address that was given out, by its secret.
type Texts = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// The running stand-in. It stops when it is dropped.
pub struct AlertWebhook {
    server: Server,
    texts: Texts,
}

impl AlertWebhook {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        let texts: Texts = Arc::new(Mutex::new(BTreeMap::from([(SECRET.to_owned(), Vec::new())])));
        let router = Router::new().route(&format!("{FOLDER}/{{secret}}"), post(take)).with_state(Arc::clone(&texts));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, texts })
    }

    /// The address to give as `AlertWebhookUrl`.
    #[must_use]
    pub fn url(&self) -> String {
        self.at(SECRET)
    }

    /// A further address with a secret of its own, the same for the same name: letters, digits and `-`.
    #[must_use]
    pub fn url_of(&self, name: &str) -> String {
        let secret = secret_of(name);
        self.locked(|texts| {
            texts.entry(secret.clone()).or_default();
        });
        self.at(&secret)
    }

    /// What people were told at [`Self::url`], in order.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.locked(|texts| texts.get(SECRET).cloned().unwrap_or_default())
    }

    /// What people were told at the address of the name, in order.
    #[must_use]
    pub fn texts_of(&self, name: &str) -> Vec<String> {
        self.locked(|texts| texts.get(&secret_of(name)).cloned().unwrap_or_default())
    }

    /// The fault plan, to be changed at any time.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn at(&self, secret: &str) -> String {
        format!("{}{FOLDER}/{secret}", self.server.base_url())
    }

    fn locked<T>(&self, use_texts: impl FnOnce(&mut BTreeMap<String, Vec<String>>) -> T) -> T {
        use_texts(&mut self.texts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn secret_of(name: &str) -> String {
    format!("{SECRET}-{name}")
}

/// Slack answers what it does not take with 400 and one word, and an address that it has not given out with 404
/// (`Sending messages using incoming webhooks`).
async fn take(State(texts): State<Texts>, Path(secret): Path<String>, body: Bytes) -> (StatusCode, &'static str) {
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(told) = texts.get_mut(&secret) else {
        return (StatusCode::NOT_FOUND, "no_service");
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "invalid_payload");
    };
    let Some(text) = message["text"].as_str().filter(|text| !text.is_empty()) else {
        return (StatusCode::BAD_REQUEST, "no_text");
    };
    told.push(text.to_owned());
    (StatusCode::OK, "ok")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_is_taken_at_the_secret_address_alone() {
        let webhook = AlertWebhook::start().expect("a free port");
        let client = reqwest::Client::new();
        let post = async |url: &str, body: &str| {
            client.post(url).body(body.to_owned()).send().await.expect("an answer").status().as_u16()
        };
        assert_eq!(post(&webhook.url(), r#"{"text": "wake up"}"#).await, 200);
        assert_eq!(post(&webhook.url(), r#"{"blocks": []}"#).await, 400);
        assert_eq!(post(&webhook.url(), "wake up").await, 400);
        assert_eq!(post(&webhook.url().replace("5andb0x", "other"), r#"{"text": "x"}"#).await, 404);
        assert_eq!(webhook.texts(), ["wake up"]);
    }

    #[tokio::test]
    async fn each_name_has_an_address_and_texts_of_its_own() {
        let webhook = AlertWebhook::start().expect("a free port");
        let client = reqwest::Client::new();
        let post = async |url: &str, text: &str| {
            let message = serde_json::json!({ "text": text });
            client.post(url).json(&message).send().await.expect("an answer").status().as_u16()
        };
        let on_call = webhook.url_of("on-call");
        assert_eq!(post(&on_call, "down").await, 200);
        assert_eq!(post(&webhook.url_of("billing"), "refund").await, 200);
        assert_eq!(post(&webhook.url(), "all").await, 200);
        assert_eq!(post(&on_call.replace("on-call", "nobody"), "x").await, 404);
        assert_eq!(webhook.url_of("on-call"), on_call);
        assert_eq!((webhook.texts_of("on-call"), webhook.texts_of("nobody")), (vec!["down".to_owned()], Vec::new()));
        assert_eq!((webhook.texts_of("billing"), webhook.texts()), (vec!["refund".to_owned()], vec!["all".to_owned()]));
    }
}

//! A stand-in for an incoming webhook as Slack's are: its address is its secret, it takes one text at a time and
//! answers `ok`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, response::IntoResponse as _, routing::post};
use serde_json::Value;

use super::{
    Faults, Result,
    server::{ErrorAnswer, Server},
};

/// The part of the address that nobody else knows.
const PATH: &str = "/services/T0SANDBOX/B0SANDBOX/5andb0xs3cret";

const PLANNED_ERROR: ErrorAnswer = |status| {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "service_unavailable").into_response()
};

/// The running stand-in. It stops when it is dropped.
pub struct AlertWebhook {
    server: Server,
    texts: Arc<Mutex<Vec<String>>>,
}

impl AlertWebhook {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        let texts = Arc::<Mutex<Vec<String>>>::default();
        let router = Router::new().route(PATH, post(take)).with_state(Arc::clone(&texts));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, texts })
    }

    /// The address to give as `AlertWebhookUrl`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.server.base_url())
    }

    /// What people were told, in order.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.texts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The fault plan, to be changed at any time.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }
}

/// Slack answers what it does not take with 400 and one word (`Sending messages using incoming webhooks`).
async fn take(State(texts): State<Arc<Mutex<Vec<String>>>>, body: Bytes) -> (StatusCode, &'static str) {
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "invalid_payload");
    };
    let Some(text) = message["text"].as_str().filter(|text| !text.is_empty()) else {
        return (StatusCode::BAD_REQUEST, "no_text");
    };
    texts.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
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
}

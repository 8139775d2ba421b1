//! The webhooks of the application at Nylas: where notifications are posted to, of which types, and the secret that signs
//! them. Nylas shows a secret once, in the answer that makes it.

use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Answer;
use super::{Nylas, NylasError};
use crate::engine::Deadline;

/// A webhook, as Nylas shows it. Only the list is documented to tell `compressed_delivery` and all else together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Which types of notifications it gets.
    #[serde(default)]
    pub trigger_types: Vec<String>,
    /// Where they are posted to.
    #[serde(default)]
    pub webhook_url: String,
    /// What people call it.
    #[serde(default)]
    pub description: Option<String>,
    /// `active`, `pause`, `failing` or `failed`.
    #[serde(default)]
    pub status: Option<String>,
    /// Since when it is so, in Unix seconds.
    #[serde(default)]
    pub status_updated_at: Option<i64>,
    /// Whom Nylas tells that it is failing.
    #[serde(default)]
    pub notification_email_addresses: Option<Vec<String>>,
    /// True if bodies are compressed.
    #[serde(default)]
    pub compressed_delivery: Option<bool>,
}

/// A webhook with the secret that Nylas has just made for it.
#[derive(Debug, Clone)]
pub struct WithSecret {
    /// The webhook.
    pub webhook: Webhook,
    /// Its secret, shown this once.
    pub secret: SecretString,
}

/// A webhook that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewWebhook {
    /// Which types of notifications it gets.
    pub trigger_types: Vec<String>,
    /// Where they are posted to. No other webhook of the application may have the same.
    pub webhook_url: String,
    /// What people call it.
    pub description: String,
    /// Whom Nylas tells that it is failing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notification_email_addresses: Vec<String>,
    /// True if bodies are to be compressed.
    pub compressed_delivery: bool,
}

#[derive(Deserialize)]
struct Shown {
    #[serde(flatten)]
    webhook: Webhook,
    webhook_secret: String,
}

impl From<Shown> for WithSecret {
    fn from(shown: Shown) -> Self {
        Self { webhook: shown.webhook, secret: SecretString::from(shown.webhook_secret) }
    }
}

impl Nylas {
    /// All webhooks of the application. The list has no pages (Nylas API reference, get destinations).
    pub async fn webhooks(&self, deadline: Deadline) -> Result<Vec<Webhook>, NylasError> {
        let request = self.0.request(Method::GET, &["v3", "webhooks"], "list of webhooks");
        Ok(request.read::<Answer<Option<Vec<Webhook>>>>(deadline).await?.data.unwrap_or_default())
    }

    /// Makes a webhook. Nylas asks the address its challenge first, and answers 400 if it is not met.
    pub async fn create_webhook(&self, wanted: &NewWebhook, deadline: Deadline) -> Result<WithSecret, NylasError> {
        let request = self.0.request(Method::POST, &["v3", "webhooks"], "webhook").json(wanted);
        Ok(request.read::<Answer<Shown>>(deadline).await?.data.into())
    }

    /// Changes a webhook; what is not named stays. To set it `active` Nylas asks its challenge, as when it is made.
    pub async fn change_webhook(&self, id: &str, change: &Value, deadline: Deadline) -> Result<Webhook, NylasError> {
        let request = self.0.request(Method::PUT, &["v3", "webhooks", id], "change of the webhook").json(change);
        Ok(request.read::<Answer<Webhook>>(deadline).await?.data)
    }

    /// Has Nylas make another secret. The one before signs nothing from then on.
    pub async fn rotate_webhook_secret(&self, id: &str, deadline: Deadline) -> Result<WithSecret, NylasError> {
        let path = ["v3", "webhooks", "rotate-secret", id];
        let request = self.0.request(Method::POST, &path, "new secret of the webhook");
        Ok(request.read::<Answer<Shown>>(deadline).await?.data.into())
    }

    /// Has Nylas post a made-up notification of this type to an address, signed with
    /// [`TEST_EVENT_SECRET`](crate::domain::webhook_secrets::TEST_EVENT_SECRET). Answers what
    /// Nylas says of it: `success`, or something else in words of its own.
    pub async fn send_test_event(
        &self,
        webhook_url: &str,
        trigger_type: &str,
        deadline: Deadline,
    ) -> Result<String, NylasError> {
        let body = json!({ "webhook_url": webhook_url, "trigger_type": trigger_type });
        let request = self.0.request(Method::POST, &["v3", "webhooks", "send-test-event"], "test event").json(&body);
        let said = request.read::<Answer<Value>>(deadline).await?.data;
        Ok(said.as_str().map_or_else(|| said.to_string(), str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ApiClient, ApiSettings, CallError, Credential, http_client};
    use secrecy::ExposeSecret as _;
    use std::time::Duration;
    use wiremock::matchers::{body_json, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn nylas(server: &MockServer) -> Nylas {
        Nylas::new(ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "Nylas",
                base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
                credential: Credential::Fixed(SecretString::from("nyk_key")),
                credential_parameter: "NylasApiKey",
                calls_per_second: None,
            },
        ))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn answer(data: &Value) -> ResponseTemplate {
        ResponseTemplate::new(200).set_body_json(json!({ "request_id": "r", "data": data }))
    }

    fn wanted() -> NewWebhook {
        NewWebhook {
            trigger_types: vec!["message.created".to_owned()],
            webhook_url: "https://e.example/webhooks/nylas".to_owned(),
            description: "crm-autopilot".to_owned(),
            notification_email_addresses: Vec::new(),
            compressed_delivery: true,
        }
    }

    #[tokio::test]
    async fn webhook_is_made_with_all_it_is_to_have_and_its_secret_is_read_and_never_printed() {
        let server = MockServer::start().await;
        let body = json!({
            "trigger_types": ["message.created"], "webhook_url": "https://e.example/webhooks/nylas",
            "description": "crm-autopilot", "compressed_delivery": true,
        });
        let made = json!({ "id": "w", "webhook_secret": "hush-hush", "status": "active", "compressed_delivery": true });
        Mock::given(method("POST"))
            .and(path("/v3/webhooks"))
            .and(body_json(body))
            .respond_with(answer(&made))
            .mount(&server)
            .await;
        Mock::given(path("/v3/webhooks/rotate-secret/w"))
            .respond_with(answer(&json!({ "id": "w", "webhook_secret": "hush-too" })))
            .mount(&server)
            .await;
        let made = nylas(&server).create_webhook(&wanted(), soon()).await.expect("made");
        assert_eq!((made.webhook.id.as_str(), made.secret.expose_secret()), ("w", "hush-hush"));
        let rotated = nylas(&server).rotate_webhook_secret("w", soon()).await.expect("rotated");
        assert_eq!(rotated.secret.expose_secret(), "hush-too");
        assert!(!format!("{made:?} {rotated:?}").contains("hush"));
    }

    #[tokio::test]
    async fn list_change_and_test_event_are_read_as_they_are_documented() {
        let server = MockServer::start().await;
        let webhook = json!({
            "id": "w", "trigger_types": ["grant.expired"], "webhook_url": "https://e.example/", "status": "failing",
            "status_updated_at": 1_772_359_200, "notification_email_addresses": null, "compressed_delivery": false,
        });
        Mock::given(method("GET"))
            .and(path("/v3/webhooks"))
            .respond_with(answer(&json!([webhook])))
            .mount(&server)
            .await;
        Mock::given(method("PUT"))
            .and(path("/v3/webhooks/w"))
            .and(body_json(json!({ "status": "active" })))
            .respond_with(answer(&json!({ "id": "w", "status": "active" })))
            .mount(&server)
            .await;
        let event = json!({ "webhook_url": "https://e.example/", "trigger_type": "message.created" });
        Mock::given(path("/v3/webhooks/send-test-event"))
            .and(body_json(event))
            .respond_with(answer(&json!("success")))
            .mount(&server)
            .await;
        let nylas = nylas(&server);
        let [listed] = nylas.webhooks(soon()).await.expect("a list").try_into().expect("one");
        assert_eq!((listed.status.as_deref(), listed.status_updated_at), (Some("failing"), Some(1_772_359_200)));
        let changed = nylas.change_webhook("w", &json!({ "status": "active" }), soon()).await.expect("changed");
        assert_eq!(changed.status.as_deref(), Some("active"));
        let said = nylas.send_test_event("https://e.example/", "message.created", soon()).await;
        assert_eq!(said.as_deref(), Ok("success"));
    }

    #[tokio::test]
    async fn challenge_that_was_not_met_is_a_refusal_in_the_words_of_nylas() {
        let server = MockServer::start().await;
        let error =
            json!({ "error": { "type": "70005", "message": "unable.verify.webhook_url : status is not ok, got 404" } });
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(400).set_body_json(error))
            .expect(1)
            .mount(&server)
            .await;
        let refused = nylas(&server).create_webhook(&wanted(), soon()).await.expect_err("refused");
        assert!(
            matches!(&refused, NylasError::Call(CallError::Rejected { status: 400, text, .. }) if text.contains("70005"))
        );
    }
}

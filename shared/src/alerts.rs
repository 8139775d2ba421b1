//! What people are told at once: one text, posted to an incoming webhook as Slack's take it.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::future::Future;

use crate::aws::secrets::Secrets;
use crate::configuration::parse_address;
use crate::domain::failure::Failure;
use crate::engine::{Deadline, Work};
use crate::http::{ApiClient, ApiSettings, Credential, FailureClasses};

/// The stable names of the failures.
const FAILURE_CLASSES: FailureClasses = FailureClasses {
    breaker_open: "alert.breaker_open",
    out_of_time: "alert.out_of_time",
    rate_limited: "alert.rate_limited",
    unavailable: "alert.unavailable",
    unauthorized: "alert.unauthorized",
    not_set_up: "alert.not_set_up",
    unreadable: "alert.unreadable",
    rejected: "alert.rejected",
};

/// The parameter that holds the webhook's address.
const PARAMETER: &str = "AlertWebhookUrl";

/// Tells people.
pub trait Alert: Sync {
    /// Tells them a text. It may be told twice if the answer is lost.
    fn alert(&self, text: &str, deadline: Deadline) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// The longest text of somebody else's in an alert, in characters.
const LONGEST_QUOTE: usize = 200;

/// A text of somebody else's that cannot call people where Slack's markup is read (Slack's own rule for `&`, `<` and `>`),
/// nor become a link by looking like one: something that shows nothing stands within it then. One line, cut to 200
/// characters.
#[must_use]
pub fn escaped(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST_QUOTE).collect();
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace("://", ":\u{200b}//").replace("www.", "www\u{200b}.")
}

/// How long an alert that cannot be delivered is tried again.
const PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// Tells people what a message led to, and answers by what they were told. What cannot be delivered within an hour stands
/// in the log alone: whatever follows from the message does not depend on who was told.
///
/// # Errors
/// Those of the webhook that another try may mend.
pub async fn tell(alerts: Option<&impl Alert>, text: &str, work: &Work, now: Timestamp) -> Result<String, Failure> {
    let Some(alerts) = alerts else { return Ok(format!("log alone: off ({PARAMETER})")) };
    match alerts.alert(text, work.deadline).await {
        Ok(()) => Ok("alert".to_owned()),
        Err(failure) if is_worth_another_try(&failure, now, work) => Err(failure),
        Err(failure) => {
            tracing::error!(class = failure.class(), "the alert cannot be delivered");
            Ok(format!("log alone: {failure}"))
        }
    }
}

fn is_worth_another_try(failure: &Failure, now: Timestamp, work: &Work) -> bool {
    let passes = matches!(failure, Failure::Transient { .. } | Failure::Untried { .. });
    passes && failure.class() != FAILURE_CLASSES.unauthorized && now.duration_since(work.sent_at) < PATIENCE
}

/// An incoming webhook. Its address is a secret: whoever knows it can post.
pub struct AlertWebhook {
    http: reqwest::Client,
    secrets: Secrets,
    arn: String,
}

impl AlertWebhook {
    /// The webhook whose address is in the given secret.
    #[must_use]
    pub fn new(http: reqwest::Client, secrets: Secrets, arn: String) -> Self {
        Self { http, secrets, arn }
    }
}

impl Alert for AlertWebhook {
    async fn alert(&self, text: &str, deadline: Deadline) -> Result<(), Failure> {
        // Alerts are few, so the address is read for each and is always the one that holds.
        let unavailable = |problem: String| Failure::transient(FAILURE_CLASSES.unavailable, problem);
        let address = self.secrets.read(&self.arn).await.map_err(|error| unavailable(error.to_string()))?;
        let address =
            address.ok_or_else(|| unavailable(format!("the secret behind the parameter {PARAMETER} is empty")))?;
        let base_url = parse_address(address.expose_secret().trim())
            .map_err(|error| Failure::permanent("alert.address", format!("the parameter {PARAMETER}: {error}")))?;
        post(&self.http, base_url, text, deadline).await
    }
}

/// Posts a text to an incoming webhook at a given address, which is a secret as well.
///
/// # Errors
/// A permanent one if the address cannot be used; else what came of it.
pub async fn post_to(http: &reqwest::Client, address: &str, text: &str, deadline: Deadline) -> Result<(), Failure> {
    let address = parse_address(address.trim())
        .map_err(|error| Failure::permanent("alert.address", format!("a desk's address for alerts: {error}")))?;
    post(http, address, text, deadline).await
}

async fn post(http: &reqwest::Client, address: url::Url, text: &str, deadline: Deadline) -> Result<(), Failure> {
    let webhook = ApiClient::new(
        http.clone(),
        ApiSettings {
            name: "the alert webhook",
            base_url: address,
            credential: Credential::None,
            credential_parameter: PARAMETER,
            calls_per_second: None,
        },
    );
    let sent = webhook.request(Method::POST, &[], "alert").json(&json!({ "text": text })).send(deadline).await;
    sent.map(|_| ()).map_err(|error| error.into_failure(&FAILURE_CLASSES))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use wiremock::matchers::{body_json, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    #[tokio::test]
    async fn alert_is_posted_as_one_text_to_the_very_address_without_a_credential() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/services/T0/B0/x"))
            .and(query_param("sig", "1"))
            .and(body_json(json!({"text": "wake up"})))
            .and(|request: &wiremock::Request| !request.headers.contains_key("authorization"))
            .respond_with(ResponseTemplate::new(200))
            .expect(1)
            .mount(&server)
            .await;
        let address = parse_address(&format!("{}/services/T0/B0/x?sig=1", server.uri())).expect("an address");
        let http = crate::http::http_client().expect("a client");
        post(&http, address, "wake up", Deadline::after(Duration::from_secs(5))).await.expect("posted");
    }
}

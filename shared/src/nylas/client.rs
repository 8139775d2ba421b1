//! Calls to Nylas v3: bearer key, percent-encoded ids, the `{request_id, data}` envelope.

use reqwest::Method;
use serde::Deserialize;

use super::message::Message;
use crate::domain::failure::Failure;
use crate::domain::notification::GrantId;
use crate::engine::Deadline;
use crate::http::{ApiClient, CallError, FailureClasses};

/// The stable names of Nylas's failures.
pub const FAILURE_CLASSES: FailureClasses = FailureClasses {
    breaker_open: "nylas.breaker_open",
    out_of_time: "nylas.out_of_time",
    rate_limited: "nylas.rate_limited",
    unavailable: "nylas.unavailable",
    unauthorized: "nylas.unauthorized",
    unreadable: "nylas.unreadable",
    rejected: "nylas.rejected",
};

/// Nylas did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct NylasError(#[from] pub CallError);

impl From<NylasError> for Failure {
    fn from(error: NylasError) -> Self {
        error.0.into_failure(&FAILURE_CLASSES)
    }
}

/// Calls Nylas.
pub struct Nylas(ApiClient);

/// What every answer is wrapped in.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

impl Nylas {
    /// Speaks through the given client, whose base URL is the API's root, without `v3`.
    #[must_use]
    pub fn new(client: ApiClient) -> Self {
        Self(client)
    }

    /// One mail; none if it is no longer there, which is an answer and not an error.
    pub async fn message(&self, grant: &GrantId, id: &str, deadline: Deadline) -> Result<Option<Message>, NylasError> {
        let answer: Result<Answer<Message>, CallError> = self
            .0
            .request(Method::GET, &["v3", "grants", grant.as_str(), "messages", id], "message")
            .read(deadline)
            .await;
        match answer {
            Ok(answer) => Ok(Some(answer.data)),
            Err(CallError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ApiSettings, Credential, http_client};
    use secrecy::SecretString;
    use serde_json::json;
    use std::time::Duration;
    use wiremock::matchers::{method, path};
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

    async fn ask(template: ResponseTemplate) -> Result<Option<Message>, NylasError> {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/v3/grants/g%201/messages/AAMk%2Fx=="))
            .respond_with(template)
            .expect(1)
            .mount(&server)
            .await;
        let grant = GrantId::parse("g 1").expect("a grant");
        nylas(&server).message(&grant, "AAMk/x==", Deadline::after(Duration::from_secs(5))).await
    }

    #[tokio::test]
    async fn message_is_read_out_of_its_envelope() {
        let answer = json!({"request_id": "r", "data": {"id": "AAMk/x==", "subject": "Q3", "object": "message"}});
        let message =
            ask(ResponseTemplate::new(200).set_body_json(answer)).await.expect("an answer").expect("a message");
        assert_eq!(message.subject.as_deref(), Some("Q3"));
    }

    #[tokio::test]
    async fn message_that_is_gone_is_an_answer() {
        let body = json!({"request_id": "r", "error": {"type": "not_found_error", "message": "gone"}});
        assert_eq!(ask(ResponseTemplate::new(404).set_body_json(body)).await, Ok(None));
    }

    #[tokio::test]
    async fn throttle_and_provider_time_out_are_transient() {
        for status in [429, 504] {
            let error = ask(ResponseTemplate::new(status)).await.expect_err("an error");
            assert!(matches!(Failure::from(error), Failure::Transient { .. }), "{status}");
        }
    }
}

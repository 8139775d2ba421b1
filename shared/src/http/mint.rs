//! Access tokens that are got for other credentials: an OAuth 2.0 token endpoint (RFC 6749), asked as a vendor wants it.

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use std::time::Duration;
use url::Url;

use super::client::{CallError, Credential};
use crate::engine::Deadline;

/// How much earlier than it ends a token is not used any more.
const MARGIN: Duration = Duration::from_mins(1);

/// What to send for credentials, in their order. The error says what is wrong with them, without their words.
pub type Ask = Box<dyn Fn(&[SecretString]) -> Result<TokenRequest, String> + Send + Sync>;

/// Makes access tokens.
pub struct Mint {
    /// The token endpoint.
    pub token_url: Url,
    /// What a token is got for: kept credentials, in the order in which `ask` takes them.
    pub credentials: Vec<Credential>,
    /// What to send for them.
    pub ask: Ask,
}

/// What is sent to a token endpoint.
pub struct TokenRequest {
    /// The fields of the form.
    pub form: Vec<(&'static str, String)>,
    /// A name and a password in the header `Authorization`, where the vendor wants them there.
    pub basic: Option<(String, SecretString)>,
}

/// A token.
pub(super) struct Minted {
    pub(super) token: SecretString,
    /// How long it may be used; none if the vendor does not say.
    pub(super) lives_for: Option<Duration>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
}

impl Mint {
    /// Gets a token.
    ///
    /// # Errors
    /// Permanent ones are told as a credential that may not do this, with the vendor's own words.
    pub(super) async fn mint(
        &self,
        http: &reqwest::Client,
        api: &'static str,
        parameter: &'static str,
        deadline: Deadline,
    ) -> Result<Minted, CallError> {
        const WHAT: &str = "request for an access token";
        let unavailable = |problem: String| CallError::Unavailable { api, problem, retry_after: None, answered: false };
        let mut credentials = Vec::with_capacity(self.credentials.len());
        for credential in &self.credentials {
            credentials.push(credential.kept(api, parameter).await?);
        }
        let not_allowed = |status, text| CallError::NotAllowed { api, what: WHAT, status, text, parameter };
        let asked = (self.ask)(&credentials).map_err(|problem| not_allowed(401, problem))?;
        let mut request = http.post(self.token_url.clone()).form(&asked.form).timeout(deadline.left());
        if let Some((name, password)) = &asked.basic {
            request = request.basic_auth(name, Some(password.expose_secret()));
        }
        // The URL stays out of errors, and so does the form.
        let answer = request.send().await.map_err(|error| unavailable(error.without_url().to_string()))?;
        let (status, retry_after) = (answer.status(), super::client::retry_after(answer.headers()));
        let body = answer.bytes().await.map_err(|error| unavailable(error.without_url().to_string()))?;
        if status.is_success() {
            let answer: TokenAnswer = serde_json::from_slice(&body)
                .map_err(|_| unavailable("its token endpoint answered something else than a token".to_owned()))?;
            let lives_for = answer.expires_in.map(Duration::from_secs);
            return Ok(Minted {
                token: SecretString::from(answer.access_token),
                lives_for: lives_for.map(|lives_for| lives_for.saturating_sub(MARGIN)),
            });
        }
        let status = status.as_u16();
        if status == 429 || status >= 500 || status == 408 {
            let problem = format!("its token endpoint answered {status}");
            return Err(CallError::Unavailable { api, problem, retry_after, answered: true });
        }
        let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
        if refusal.error.is_none() {
            // Whatever it was that answered, it was no token endpoint (RFC 6749, 5.2): nothing is said of the credential.
            return Err(unavailable(format!(
                "its token endpoint answered {status} without a reason; check its address"
            )));
        }
        let words = [refusal.error, refusal.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
        Err(not_allowed(status, words))
    }
}

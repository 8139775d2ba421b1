//! How Pipedrive speaks: its credentials, its errors and its allowances.

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::time::Duration;
use url::Url;

use crate::http::dialect::{number, retry_after};
use crate::http::{Authorization, Credential, Dialect, Judgement, Mint, Reply, TokenRequest};

/// How an API token is sent (the page "Authentication" of the API's reference); an OAuth token is a bearer token.
pub const API_TOKEN: Authorization = Authorization::Header("x-api-token");

/// Where OAuth tokens are made.
pub const LOGIN_URL: &str = "https://oauth.pipedrive.com";

/// The window of the burst limit (the page "Rate limiting").
pub(super) const WINDOW: Duration = Duration::from_secs(2);

/// A time until the end of the window that is longer than this is none.
const LONGEST_WINDOW: f64 = 60.0;

/// How soon a message is tried again once a day's budget is used up, which is renewed at a server's midnight.
const UNTIL_ANOTHER_DAY: Duration = Duration::from_hours(1);

/// How long Pipedrive is left alone while it blocks calls.
const WHILE_BLOCKED: Duration = Duration::from_mins(15);

/// What is left of the day's budget of tokens. Not on the page "Rate limiting", and sent all the same.
const TOKENS_LEFT_TODAY: &str = "x-daily-ratelimit-token-remaining";

/// How many writes are left today.
const WRITES_LEFT_TODAY: &str = "x-daily-requests-left";

/// The allowance behind [`TOKENS_LEFT_TODAY`].
const DAILY_BUDGET: &str = "the company's daily budget of API tokens";

/// The allowance of the burst limit.
const BURST: &str = "the calls of two seconds";

/// How Pipedrive speaks to this kind of credential: [`API_TOKEN`] or [`Authorization::Bearer`].
#[must_use]
pub fn dialect(authorization: Authorization) -> Dialect {
    Dialect { authorization, judge, allowance }
}

/// Makes access tokens for a refresh token (the page "OAuth authorization", step 7). The refresh token stays the same, and
/// lives as long as it is used at least every 60 days. `login_url` is [`LOGIN_URL`], save in tests.
#[must_use]
pub fn mint(login_url: &Url, client_secret: Credential, refresh_token: Credential, client_id: String) -> Mint {
    let mut token_url = login_url.clone();
    if let Ok(mut path) = token_url.path_segments_mut() {
        path.pop_if_empty().extend(["oauth", "token"]);
    }
    let ask = move |credentials: &[SecretString]| match credentials {
        [client_secret, refresh_token] if !refresh_token.expose_secret().is_empty() => Ok(TokenRequest {
            form: vec![
                ("grant_type", "refresh_token".to_owned()),
                ("refresh_token", refresh_token.expose_secret().to_owned()),
            ],
            basic: Some((client_id.clone(), client_secret.clone())),
        }),
        _ => Err("the refresh token is empty".to_owned()),
    };
    Mint { token_url, credentials: vec![client_secret, refresh_token], ask: Box::new(ask) }
}

fn judge(reply: &Reply) -> Option<Judgement> {
    let envelope = Envelope::of(reply);
    match (reply.status, envelope) {
        (StatusCode::TOO_MANY_REQUESTS, _) => Some(too_many_calls(&reply.headers)),
        // Sent instead of a 429 to those who go on after one (the page "Rate limiting").
        (StatusCode::FORBIDDEN, None) => {
            let allowance = "it blocks this address for a while, because calls went on after it had asked for a pause";
            Some(Judgement::TooManyCalls { wait: WHILE_BLOCKED, allowance: allowance.to_owned() })
        }
        // 402 is an account that is not open, for example because its trial has ended: nothing is wrong with the request.
        (StatusCode::FORBIDDEN | StatusCode::PAYMENT_REQUIRED, Some(envelope)) => {
            Some(Judgement::NotAllowed { words: envelope.words })
        }
        (StatusCode::PAYMENT_REQUIRED, None) => {
            Some(Judgement::NotAllowed { words: "the account is not open".to_owned() })
        }
        // What Pipedrive does not have it says in its own form. Anything else comes from another server, or from a path
        // that its API does not have.
        (StatusCode::NOT_FOUND | StatusCode::GONE, envelope) => match envelope {
            Some(envelope) if !envelope.words.to_ascii_lowercase().starts_with("unknown method") => None,
            _ => Some(Judgement::Unavailable {
                problem: format!(
                    "it answered {} as if it had no such API; check the parameter CrmBaseUrl",
                    reply.status.as_u16()
                ),
                wait: None,
            }),
        },
        (
            StatusCode::BAD_REQUEST
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::CONFLICT
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY,
            Some(envelope),
        ) => Some(Judgement::Refused { words: envelope.words }),
        _ => None,
    }
}

fn too_many_calls(headers: &HeaderMap) -> Judgement {
    let is_used_up = |name| number(headers, name).is_some_and(|left| left <= 0.0);
    if is_used_up(TOKENS_LEFT_TODAY) {
        return Judgement::TooManyCalls { wait: UNTIL_ANOTHER_DAY, allowance: DAILY_BUDGET.to_owned() };
    }
    if is_used_up(WRITES_LEFT_TODAY) {
        return Judgement::TooManyCalls {
            wait: UNTIL_ANOTHER_DAY,
            allowance: "the day's writes of this API token".to_owned(),
        };
    }
    let wait = retry_after(headers).unwrap_or_default().max(rest_of_window(headers));
    Judgement::TooManyCalls { wait, allowance: BURST.to_owned() }
}

fn allowance(headers: &HeaderMap) -> Option<(Duration, &'static str)> {
    if number(headers, TOKENS_LEFT_TODAY).is_some_and(|left| left <= 0.0) {
        return Some((UNTIL_ANOTHER_DAY, DAILY_BUDGET));
    }
    let is_used_up = number(headers, "x-ratelimit-remaining").is_some_and(|left| left <= 0.0);
    is_used_up.then(|| (rest_of_window(headers), BURST))
}

/// How long the window of the burst limit still lasts. The unit of the header is told nowhere; its values are seconds.
fn rest_of_window(headers: &HeaderMap) -> Duration {
    number(headers, "x-ratelimit-reset")
        .filter(|seconds| *seconds > 0.0 && *seconds <= LONGEST_WINDOW)
        .map_or(WINDOW, Duration::from_secs_f64)
}

/// What Pipedrive says of an error in its own form.
struct Envelope {
    words: String,
}

impl Envelope {
    /// None if the answer is not Pipedrive's own: a page of what stands in front of it.
    fn of(reply: &Reply) -> Option<Self> {
        let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/html") {
            return None;
        }
        let body: Value = serde_json::from_slice(&reply.body).ok()?;
        let body = body.as_object()?;
        let words: Vec<&str> = ["error", "error_info"].iter().filter_map(|name| body.get(*name)?.as_str()).collect();
        Some(Self { words: words.join(": ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header's value"))
        });
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: headers.collect(),
            body: body.as_bytes().to_vec(),
        }
    }

    fn waits(status: u16, headers: &[(&'static str, &str)], body: &str) -> Option<Duration> {
        match judge(&reply(status, headers, body)) {
            Some(Judgement::TooManyCalls { wait, .. }) => Some(wait),
            _ => None,
        }
    }

    #[test]
    fn burst_is_over_when_its_window_is_and_after_two_seconds_if_that_is_not_told() {
        assert_eq!(waits(429, &[], "{}"), Some(Duration::from_secs(2)));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "1")], ""), Some(Duration::from_secs(1)));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "1"), ("retry-after", "5")], ""), Some(Duration::from_secs(5)));
        assert_eq!(waits(429, &[("x-ratelimit-reset", "1772359200")], ""), Some(Duration::from_secs(2)));
    }

    #[test]
    fn daily_budget_that_is_used_up_lets_no_call_through_for_long() {
        assert_eq!(
            waits(429, &[("x-daily-ratelimit-token-remaining", "0"), ("retry-after", "1")], ""),
            Some(UNTIL_ANOTHER_DAY)
        );
        assert_eq!(waits(429, &[("x-daily-requests-left", "0")], ""), Some(UNTIL_ANOTHER_DAY));
        let of = |headers| allowance(&reply(200, headers, "").headers).map(|(wait, _)| wait);
        assert_eq!(of(&[("x-daily-ratelimit-token-remaining", "0")]), Some(UNTIL_ANOTHER_DAY));
        assert_eq!(of(&[("x-daily-ratelimit-token-remaining", "5"), ("x-daily-requests-left", "0")]), None);
    }

    #[test]
    fn last_call_of_a_window_is_followed_by_none_before_the_window_is_over() {
        let of = |headers| allowance(&reply(200, headers, "").headers).map(|(wait, _)| wait);
        assert_eq!(
            of(&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1.5")]),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(of(&[("x-ratelimit-remaining", "0")]), Some(WINDOW));
        assert_eq!(of(&[("x-ratelimit-remaining", "1")]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn page_instead_of_an_answer_is_a_block_and_an_answer_is_a_right_that_is_missing() {
        let page = [("content-type", "text/html; charset=UTF-8")];
        assert_eq!(waits(403, &page, "<html>Attention Required! | Cloudflare</html>"), Some(WHILE_BLOCKED));
        assert_eq!(waits(403, &[], "<html>"), Some(WHILE_BLOCKED));
        let scope = r#"{"success":false,"error":"Scope and URL mismatch","errorCode":403,"error_info":"Please check developers.pipedrive.com"}"#;
        let words = "Scope and URL mismatch: Please check developers.pipedrive.com".to_owned();
        assert_eq!(judge(&reply(403, &[], scope)), Some(Judgement::NotAllowed { words }));
    }

    #[test]
    fn refusal_is_told_in_pipedrives_own_words() {
        let body = r#"{"success":false,"error":"Validation failed: due_time: This value is not a valid datetime.","code":"ERR_BAD_REQUEST"}"#;
        for status in [400, 415, 422] {
            let words = "Validation failed: due_time: This value is not a valid datetime.".to_owned();
            assert_eq!(judge(&reply(status, &[], body)), Some(Judgement::Refused { words }), "{status}");
        }
        assert_eq!(judge(&reply(500, &[], body)), None);
        assert_eq!(judge(&reply(401, &[], body)), None);
    }

    #[test]
    fn thing_that_pipedrive_does_not_have_is_told_from_an_address_that_is_not_pipedrives() {
        assert_eq!(judge(&reply(404, &[], r#"{"success":false,"error":"Activity not found"}"#)), None);
        assert_eq!(judge(&reply(410, &[], r#"{"success":false,"error":"gone"}"#)), None);
        for body in ["<html>", "", r#"{"success":false,"error":"Unknown method ."}"#] {
            let judged = judge(&reply(404, &[], body));
            assert!(
                matches!(&judged, Some(Judgement::Unavailable { problem, .. }) if problem.contains("CrmBaseUrl")),
                "{body}: {judged:?}"
            );
        }
    }

    #[tokio::test]
    async fn token_is_asked_for_with_the_clients_name_and_secret_and_the_refresh_token() {
        use wiremock::matchers::{basic_auth, body_string, header, method, path};
        use wiremock::{Mock, MockServer, ResponseTemplate};
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/oauth/token"))
            .and(basic_auth("client", "secret"))
            .and(body_string("grant_type=refresh_token&refresh_token=r%2F1"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(serde_json::json!({"access_token": "a1", "expires_in": 3600})),
            )
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(method("GET"))
            .and(header("authorization", "Bearer a1"))
            .respond_with(ResponseTemplate::new(200))
            .expect(1)
            .mount(&server)
            .await;
        let fixed = |text: &str| Credential::Fixed(text.to_owned().into());
        let url = crate::configuration::parse_base_url(&server.uri()).expect("a URL");
        let client = crate::http::ApiClient::new(
            crate::http::http_client().expect("a client"),
            crate::http::ApiSettings {
                name: "the CRM",
                base_url: url.clone(),
                credential: Credential::Minted(mint(&url, fixed("secret"), fixed("r/1"), "client".to_owned())),
                credential_parameter: "CrmApiKey",
                calls_per_second: None,
            },
        )
        .speaking(dialect(Authorization::Bearer));
        let deadline = crate::engine::Deadline::after(Duration::from_secs(5));
        client.request(reqwest::Method::GET, &["x"], "thing").send(deadline).await.expect("an answer");
    }
}

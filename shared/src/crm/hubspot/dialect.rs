//! What HubSpot's answers say beyond their status (HubSpot, "Handle errors" and "API usage guidelines").

use reqwest::header::HeaderMap;
use serde_json::Value;
use std::time::Duration;

use crate::http::dialect::{number, retry_after};
use crate::http::{Authorization, Dialect, Judgement, Reply};

/// How long to wait after 429 without `Retry-After`: what HubSpot's own client waits.
const ROLLING_WAIT: Duration = Duration::from_secs(10);

/// The same for the limit of a second, which searches have.
const SECONDLY_WAIT: Duration = Duration::from_secs(1);

/// The same for the limit of a day. That ends at midnight of the account's time zone, which no answer tells.
const DAILY_WAIT: Duration = Duration::from_hours(1);

/// The least that a locked record (423) wants.
const LOCKED_WAIT: Duration = Duration::from_secs(2);

/// What an account that is being moved (477) gets if it does not say how long.
const MOVING_WAIT: Duration = Duration::from_mins(1);

/// How HubSpot speaks.
#[must_use]
pub fn dialect() -> Dialect {
    Dialect { authorization: Authorization::Bearer, judge, allowance }
}

fn judge(reply: &Reply) -> Option<Judgement> {
    let wait = retry_after(&reply.headers);
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    match reply.status.as_u16() {
        401 => Some(Judgement::CredentialRefused),
        403 if body.is_object() => Some(Judgement::NotAllowed { words: words(&body) }),
        404 => Some(Judgement::NotFound),
        423 => Some(unavailable("423: the record is locked", Some(wait.unwrap_or_default().max(LOCKED_WAIT)))),
        429 => {
            let policy = body["policyName"].as_str().unwrap_or("calls");
            let usual = match policy {
                "DAILY" => DAILY_WAIT,
                "SECONDLY" => SECONDLY_WAIT,
                _ => ROLLING_WAIT,
            };
            Some(Judgement::TooManyCalls { wait: wait.unwrap_or(usual), allowance: policy.to_owned() })
        }
        477 => Some(unavailable("477: the account is being moved", Some(wait.unwrap_or(MOVING_WAIT)))),
        408 | 425 => None,
        400..500 if body.is_object() => Some(Judgement::Refused { words: words(&body) }),
        _ => None,
    }
}

fn unavailable(answer: &str, wait: Option<Duration>) -> Judgement {
    Judgement::Unavailable { problem: format!("it answered {answer}"), wait }
}

/// An error's own words: its category, its message and the messages below it, each once.
pub(super) fn words(error: &Value) -> String {
    let details = error["errors"].as_array().into_iter().flatten();
    let mut said: Vec<&str> = Vec::new();
    for text in [&error["category"], &error["message"]].into_iter().chain(details.map(|detail| &detail["message"])) {
        let text = text.as_str().unwrap_or_default().trim();
        if !text.is_empty() && !said.contains(&text) {
            said.push(text);
        }
    }
    said.join(": ")
}

fn allowance(headers: &HeaderMap) -> Option<(Duration, &'static str)> {
    let is_used_up = |name| number(headers, name).is_some_and(|left| left <= 0.0);
    if is_used_up("x-hubspot-ratelimit-daily-remaining") {
        return Some((DAILY_WAIT, "the calls of a day"));
    }
    if is_used_up("x-hubspot-ratelimit-remaining") {
        let interval = number(headers, "x-hubspot-ratelimit-interval-milliseconds")
            .and_then(|milliseconds| Duration::try_from_secs_f64(milliseconds / 1000.0).ok());
        return Some((interval.unwrap_or(ROLLING_WAIT), "the calls of an interval"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    fn reply(status: u16, headers: &[(&'static str, &'static str)], body: &Value) -> Reply {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Reply {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: headers.collect(),
            body: body.to_string().into_bytes(),
        }
    }

    fn waits(headers: &[(&'static str, &'static str)], policy: &str) -> (u64, String) {
        let body = json!({"status": "error", "errorType": "RATE_LIMIT", "policyName": policy});
        match judge(&reply(429, headers, &body)) {
            Some(Judgement::TooManyCalls { wait, allowance }) => (wait.as_secs(), allowance),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_limit_has_its_own_wait_unless_the_answer_names_one() {
        assert_eq!(waits(&[], "TEN_SECONDLY_ROLLING"), (10, "TEN_SECONDLY_ROLLING".to_owned()));
        assert_eq!(waits(&[], "SECONDLY").0, 1);
        assert_eq!(waits(&[], "DAILY").0, 3600);
        assert_eq!(waits(&[("retry-after", "4")], "TEN_SECONDLY_ROLLING").0, 4);
    }

    #[test]
    fn locked_record_and_moving_account_pass_with_a_wait_and_server_errors_are_left_to_their_status() {
        let wait_of =
            |status, headers: &[(&'static str, &'static str)]| match judge(&reply(status, headers, &json!({}))) {
                Some(Judgement::Unavailable { wait, .. }) => wait.map(|wait| wait.as_secs()),
                other => panic!("{other:?}"),
            };
        assert_eq!(wait_of(423, &[]), Some(2));
        assert_eq!(wait_of(423, &[("retry-after", "1")]), Some(2));
        assert_eq!(wait_of(477, &[]), Some(60));
        assert_eq!(wait_of(477, &[("retry-after", "7200")]), Some(7200));
        for status in [500, 502, 503, 504, 521, 523, 524] {
            assert_eq!(judge(&reply(status, &[], &json!({"message": "down"}))), None, "{status}");
        }
    }

    #[test]
    fn missing_scope_is_told_from_a_bad_credential_and_a_page_in_front_of_hubspot_from_both() {
        let body = json!({"category": "MISSING_SCOPES", "message": "needs crm.objects.owners.read"});
        let words = "MISSING_SCOPES: needs crm.objects.owners.read".to_owned();
        assert_eq!(judge(&reply(403, &[], &body)), Some(Judgement::NotAllowed { words }));
        assert_eq!(judge(&reply(401, &[], &json!({}))), Some(Judgement::CredentialRefused));
        let page = Reply { body: b"<html>".to_vec(), ..reply(403, &[], &json!({})) };
        assert_eq!(judge(&page), None);
    }

    #[test]
    fn refusal_is_told_in_hubspots_words_with_all_their_details() {
        let body = json!({
            "status": "error", "category": "VALIDATION_ERROR", "message": "Property values were not valid",
            "errors": [{"message": "bad option"}, {"message": "bad option"}, {"message": "no such property", "code": "X"}],
        });
        let words = "VALIDATION_ERROR: Property values were not valid: bad option: no such property".to_owned();
        assert_eq!(judge(&reply(400, &[], &body)), Some(Judgement::Refused { words }));
    }

    #[test]
    fn success_that_used_up_an_allowance_tells_how_long_to_wait() {
        let told = |headers: &[(&'static str, &'static str)]| {
            allowance(&reply(200, headers, &json!({})).headers).map(|(wait, _)| wait.as_millis())
        };
        let interval = ("x-hubspot-ratelimit-interval-milliseconds", "5000");
        assert_eq!(told(&[("x-hubspot-ratelimit-remaining", "0"), interval]), Some(5000));
        assert_eq!(told(&[("x-hubspot-ratelimit-remaining", "1"), interval]), None);
        assert_eq!(told(&[("x-hubspot-ratelimit-remaining", "0")]), Some(10_000));
        let daily = ("x-hubspot-ratelimit-daily-remaining", "0");
        assert_eq!(told(&[daily, ("x-hubspot-ratelimit-remaining", "90")]), Some(3_600_000));
        assert_eq!(told(&[]), None);
    }
}

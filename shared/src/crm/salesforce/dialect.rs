//! What Salesforce says beyond a status: an array of errors with codes, and how much of the day's calls is used up.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use std::time::Duration;

use crate::http::{Authorization, Dialect, Judgement, Reply};

/// How long Salesforce is left alone once the calls of the last 24 hours are used up.
const UNTIL_CALLS_ARE_LEFT: Duration = Duration::from_mins(15);

/// How long it is left alone if too many calls are under way at once.
const UNTIL_CALLS_HAVE_ENDED: Duration = Duration::from_secs(10);

/// How an error begins whose field does not exist, or may not be seen by the user who signs in.
pub(super) const INVALID_FIELD: &str = "INVALID_FIELD:";

/// How the API of Salesforce speaks ("Status Codes and Error Responses" in the REST API Developer Guide).
#[must_use]
pub fn dialect() -> Dialect {
    Dialect { authorization: Authorization::Bearer, judge, allowance }
}

/// One of the errors of an answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiError {
    #[serde(default)]
    error_code: String,
    #[serde(default)]
    message: String,
}

fn judge(reply: &Reply) -> Option<Judgement> {
    let errors: Vec<ApiError> = serde_json::from_slice(&reply.body).unwrap_or_default();
    let Some(error) = errors.first() else {
        return match reply.status {
            // Answered where several records bear one external id: with their paths alone.
            StatusCode::MULTIPLE_CHOICES => {
                let records = String::from_utf8_lossy(&reply.body);
                let words = format!("several records bear the same key, {records}; delete all but one of them");
                Some(Judgement::Refused { words })
            }
            // Salesforce tells of what is not there in its own words. A page without them is somebody else's.
            StatusCode::NOT_FOUND => Some(Judgement::Unavailable {
                problem: "it answered 404 without a word of Salesforce's own; check the parameter CrmBaseUrl"
                    .to_owned(),
                wait: None,
            }),
            _ => None,
        };
    };
    let words = errors.iter().map(|error| format!("{}: {}", error.error_code, error.message)).collect::<Vec<_>>();
    let words = words.join("; ");
    // The code alone: the words may name people, and what passes is logged.
    let unavailable = |wait| {
        let problem = format!("it answered {} {}", reply.status.as_u16(), error.error_code);
        Some(Judgement::Unavailable { problem, wait })
    };
    match error.error_code.as_str() {
        "INVALID_SESSION_ID" | "INVALID_AUTH_HEADER" => Some(Judgement::CredentialRefused),
        "REQUEST_LIMIT_EXCEEDED" => {
            let at_once = error.message.to_ascii_lowercase().contains("concurrent");
            let wait = if at_once { UNTIL_CALLS_HAVE_ENDED } else { UNTIL_CALLS_ARE_LEFT };
            Some(Judgement::TooManyCalls { wait, allowance: words })
        }
        "UNABLE_TO_LOCK_ROW" | "QUERY_TIMEOUT" | "SERVER_UNAVAILABLE" | "REQUEST_RUNNING_TOO_LONG" => unavailable(None),
        // A trigger or a flow of the customer's that met a lock says so in its own error.
        _ if words.contains("UNABLE_TO_LOCK_ROW") => unavailable(None),
        // Full until somebody makes room: nothing is wrong with what was to be written.
        "STORAGE_LIMIT_EXCEEDED" => unavailable(Some(UNTIL_CALLS_ARE_LEFT)),
        // Who left since the users were looked up is not among them the next time.
        "INACTIVE_OWNER_OR_USER" | "OPERATION_WITH_INACTIVE_USER_EXCEPTION" => unavailable(None),
        "NOT_FOUND" if is_about_the_key_field(&error.message) => Some(Judgement::Refused { words }),
        "NOT_FOUND" => Some(Judgement::NotFound),
        "ENTITY_IS_DELETED" if reply.status == StatusCode::NOT_FOUND => Some(Judgement::NotFound),
        _ if reply.status == StatusCode::FORBIDDEN => Some(Judgement::NotAllowed { words }),
        _ if reply.status.is_server_error() || reply.status.as_u16() == 420 => unavailable(None),
        _ if reply.status.is_client_error() && reply.status != StatusCode::UNAUTHORIZED => {
            Some(Judgement::Refused { words })
        }
        _ => None,
    }
}

/// True if a 404 says that the field in the path is no external id, and not that no record has the value.
fn is_about_the_key_field(message: &str) -> bool {
    message.to_ascii_lowercase().contains("external id field")
}

/// Reads `Sforce-Limit-Info: api-usage=18/15000` ("Limit Info Header" in the REST API Developer Guide).
fn allowance(headers: &HeaderMap) -> Option<(Duration, &'static str)> {
    let told = headers.get("sforce-limit-info")?.to_str().ok()?;
    let usage = told.split([';', ',']).find_map(|part| part.trim().strip_prefix("api-usage="))?;
    let (used, most) = usage.split_once('/')?;
    let (used, most): (u64, u64) = (used.trim().parse().ok()?, most.trim().parse().ok()?);
    (used >= most).then_some((UNTIL_CALLS_ARE_LEFT, "all API requests of the last 24 hours are used up"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Option<Judgement> {
        let status = StatusCode::from_u16(status).expect("a status");
        judge(&Reply { status, headers: HeaderMap::new(), body: body.as_bytes().to_vec() })
    }

    fn coded(status: u16, code: &str, message: &str) -> Option<Judgement> {
        let error = serde_json::json!([{"message": message, "errorCode": code, "fields": []}]);
        judged(status, &error.to_string())
    }

    #[test]
    fn daily_limit_is_waited_for_long_and_calls_at_once_shortly() {
        let wait = |message| match coded(403, "REQUEST_LIMIT_EXCEEDED", message) {
            Some(Judgement::TooManyCalls { wait, allowance }) => (wait, allowance),
            other => panic!("{other:?}"),
        };
        let (long, words) = wait("TotalRequests Limit exceeded.");
        assert_eq!(
            (long, words.as_str()),
            (UNTIL_CALLS_ARE_LEFT, "REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded.")
        );
        assert_eq!(wait("ConcurrentPerOrgLongTxn Limit exceeded.").0, UNTIL_CALLS_HAVE_ENDED);
        assert_eq!(wait("ConcurrentRequests (Concurrent API Requests) Limit exceeded.").0, UNTIL_CALLS_HAVE_ENDED);
    }

    #[test]
    fn codes_say_whether_another_try_makes_sense() {
        for (status, code) in [
            (400, "UNABLE_TO_LOCK_ROW"),
            (400, "QUERY_TIMEOUT"),
            (503, "SERVER_UNAVAILABLE"),
            (500, "UNKNOWN_EXCEPTION"),
            (420, "LICENSE_EXPIRED"),
            (400, "STORAGE_LIMIT_EXCEEDED"),
            (400, "INACTIVE_OWNER_OR_USER"),
        ] {
            let judgement = coded(status, code, "dana@acme.example");
            let Some(Judgement::Unavailable { problem, .. }) = judgement else { panic!("{code}: {judgement:?}") };
            assert!(problem.contains(code) && !problem.contains("dana"), "{problem}");
        }
        let in_a_trigger =
            "SyncTrigger: execution of BeforeUpdate caused by: UNABLE_TO_LOCK_ROW, unable to obtain access";
        let judgement = coded(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", in_a_trigger);
        assert!(matches!(judgement, Some(Judgement::Unavailable { .. })), "{judgement:?}");
        for code in [
            "MALFORMED_QUERY",
            "INVALID_FIELD",
            "REQUIRED_FIELD_MISSING",
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "STRING_TOO_LONG",
            "INVALID_EMAIL_ADDRESS",
            "ENTITY_IS_DELETED",
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "A_CODE_OF_TOMORROW",
        ] {
            let words = format!("{code}: in its own words");
            assert_eq!(coded(400, code, "in its own words"), Some(Judgement::Refused { words }), "{code}");
        }
        assert!(matches!(coded(403, "API_DISABLED_FOR_ORG", "no"), Some(Judgement::NotAllowed { .. })));
        assert_eq!(coded(401, "INVALID_SESSION_ID", "no"), Some(Judgement::CredentialRefused));
    }

    #[test]
    fn what_is_not_there_is_told_from_a_key_that_is_none_and_from_an_address_that_is_not_salesforce() {
        assert_eq!(coded(404, "NOT_FOUND", "The requested resource does not exist"), Some(Judgement::NotFound));
        assert_eq!(coded(404, "ENTITY_IS_DELETED", "entity is deleted"), Some(Judgement::NotFound));
        let no_key = coded(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible: X__c");
        assert!(matches!(no_key, Some(Judgement::Refused { .. })), "{no_key:?}");
        let elsewhere = judged(404, "<html>Not found</html>");
        let Some(Judgement::Unavailable { problem, .. }) = elsewhere else { panic!("{elsewhere:?}") };
        assert!(problem.contains("CrmBaseUrl"), "{problem}");
    }

    #[test]
    fn several_records_under_one_key_are_named() {
        let judgement =
            judged(300, r#"["/services/data/v63.0/sobjects/Event/00U1","/services/data/v63.0/sobjects/Event/00U2"]"#);
        let Some(Judgement::Refused { words }) = judgement else { panic!("{judgement:?}") };
        assert!(words.contains("Event/00U1") && words.contains("Event/00U2"), "{words}");
    }

    #[test]
    fn trouble_without_words_is_left_to_its_status() {
        assert_eq!(judged(502, "<html>Bad gateway</html>"), None);
        assert_eq!(judged(400, "[]"), None);
    }

    #[test]
    fn header_tells_when_the_days_calls_are_used_up() {
        let of = |value: &str| {
            allowance(&HeaderMap::from_iter([(
                reqwest::header::HeaderName::from_static("sforce-limit-info"),
                value.parse().expect("a header"),
            )]))
        };
        assert_eq!(of("api-usage=18/15000"), None);
        assert!(of("api-usage=15000/15000").is_some_and(|(wait, _)| wait == UNTIL_CALLS_ARE_LEFT));
        assert!(of("api-usage=15010/15000; per-app-api-usage=17/250(appName=crm-autopilot)").is_some());
        assert_eq!(of("per-app-api-usage=17/17(appName=crm-autopilot)"), None);
        assert_eq!(of("api-usage=many/more"), None);
        assert_eq!(allowance(&HeaderMap::new()), None);
    }
}

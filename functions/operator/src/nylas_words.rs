//! What Nylas answered instead of what was asked for, in a sentence for people: what happened, to what, what to do.
//! It may hold Nylas's own words, which may name people: it goes into an answer and never into a log.

use serde_json::Value;
use shared::domain::notification::GrantId;
use shared::http::CallError;
use shared::nylas::NylasError;

/// The error of a call for an account, in a sentence.
#[must_use]
pub fn sentence(error: &NylasError, grant: &GrantId) -> String {
    match error {
        NylasError::Call(CallError::NotFound { .. }) => {
            format!("Nylas knows no grant `{grant}`: take the account's grant id from the Nylas dashboard")
        }
        NylasError::Call(CallError::Rejected { what, status, text, .. }) => {
            format!("Nylas refuses the {what} with {status}: {}", words(text))
        }
        NylasError::Call(
            CallError::BreakerOpen { .. }
            | CallError::AskedToWait { .. }
            | CallError::OutOfTime { .. }
            | CallError::RateLimited { .. }
            | CallError::Unavailable { .. }
            | CallError::Unreadable { .. },
        ) => format!("{error}; ask again in a few minutes"),
        NylasError::Call(
            CallError::Unauthorized { .. } | CallError::NotAllowed { .. } | CallError::NotSetUp { .. },
        )
        | NylasError::GrantExpired(_)
        | NylasError::ScopeMissing(_) => error.to_string(),
    }
}

/// True if Nylas may have done what it was asked for all the same: the question may have arrived, and the answer did not.
#[must_use]
pub fn may_be_done(error: &NylasError) -> bool {
    matches!(error, NylasError::Call(CallError::Unavailable { .. } | CallError::Unreadable { .. }))
}

/// The status with which Nylas refused the request as it is; none if it did not.
#[must_use]
pub fn refused_with(error: &NylasError) -> Option<u16> {
    match error {
        NylasError::Call(CallError::Rejected { status, .. }) => Some(*status),
        _ => None,
    }
}

/// Nylas's own words out of the body of an error, `{"request_id", "error": {"type", "message"}}`; else the body.
pub(crate) fn words(text: &str) -> String {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let message = body["error"]["message"].as_str().or(body["message"].as_str()).unwrap_or(text).trim();
    if message.is_empty() { "it does not say why".to_owned() } else { message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::http::CallError;
    use std::time::Duration;

    const API: &str = "Nylas";

    fn told(error: impl Into<NylasError>) -> String {
        sentence(&error.into(), &GrantId::parse("g").expect("a grant"))
    }

    fn rejected(text: &str) -> NylasError {
        CallError::Rejected { api: API, what: "notetaker", status: 400, text: text.to_owned() }.into()
    }

    #[test]
    fn grant_that_is_not_known_is_named() {
        let error = CallError::NotFound { api: API, what: "list of notetakers", gone: false };
        assert_eq!(told(error), "Nylas knows no grant `g`: take the account's grant id from the Nylas dashboard");
    }

    #[test]
    fn grant_that_has_expired_is_told_with_what_its_user_has_to_do() {
        let error = told(NylasError::GrantExpired("g".to_owned()));
        assert!(error.contains("grant g has expired") && error.contains("connect the mailbox again"), "{error}");
    }

    #[test]
    fn refusal_is_passed_on_in_the_words_of_nylas() {
        let body = r#"{"request_id":"r","error":{"type":"invalid_request_error","message":"Unsupported link."}}"#;
        assert_eq!(told(rejected(body)), "Nylas refuses the notetaker with 400: Unsupported link.");
        assert_eq!(told(rejected("no JSON")), "Nylas refuses the notetaker with 400: no JSON");
        assert_eq!(told(rejected(" ")), "Nylas refuses the notetaker with 400: it does not say why");
        assert_eq!(refused_with(&rejected(body)), Some(400));
    }

    #[test]
    fn what_passes_is_told_with_when_to_ask_again() {
        let unavailable = CallError::Unavailable {
            api: API,
            problem: "it answered 503".to_owned(),
            retry_after: None,
            answered: true,
        };
        assert_eq!(told(unavailable), "Nylas is unavailable: it answered 503; ask again in a few minutes");
    }

    #[test]
    fn only_an_answer_that_is_missing_leaves_open_whether_it_is_done() {
        let unavailable =
            CallError::Unavailable { api: API, problem: "time-out".to_owned(), retry_after: None, answered: true };
        let unreadable = CallError::Unreadable { api: API, what: "notetaker", problem: "Eof".to_owned() };
        for error in [unavailable, unreadable] {
            assert!(may_be_done(&error.clone().into()), "{error}");
        }
        let unauthorized = CallError::Unauthorized { api: API, status: 401, parameter: "NylasApiKey" };
        let open = CallError::BreakerOpen { api: API, retry_after: Duration::from_secs(30) };
        let limited = CallError::RateLimited { api: API, status: 429, retry_after: None, allowance: None };
        for error in [unauthorized, open, limited, CallError::OutOfTime { api: API }] {
            assert!(!may_be_done(&error.clone().into()), "{error}");
        }
        assert!(!may_be_done(&rejected("")) && !may_be_done(&NylasError::GrantExpired("g".to_owned())));
    }
}

//! Sending mail through Nylas, and what is known of a mail when that does not go smoothly.

use serde::Deserialize;
use std::time::Duration;

use super::client::NylasError;
use super::message::Header;
use crate::domain::failure::Failure;
use crate::http::{CallError, Reply};

/// The header by which Nylas says that an answer is an earlier one again.
pub(super) const IDEMPOTENT_RESPONSE: &str = "Idempotent-Response";

/// A mail that Nylas has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Its id in the sender's mailbox; none where Nylas took it and sends it later (202).
    pub message_id: Option<String>,
    /// Its thread.
    pub thread_id: Option<String>,
}

/// A mail that was not sent, or of which that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It was not sent, because too many are: another try later is right.
    #[error("Nylas or the mailbox takes no more mail for now")]
    Throttled {
        /// How long to wait, where that is told.
        retry_after: Option<Duration>,
    },
    /// It was not sent: this account may not track mail (trial accounts).
    #[error("Nylas does not track mail for this account: {0}")]
    TrackingRefused(String),
    /// It was not sent: it holds links that Nylas does not track. One bad link refuses the whole mail.
    #[error("Nylas refuses a link of the mail: {0}")]
    LinkRefused(String),
    /// It was not sent, and never will be as it is.
    #[error("{0}")]
    Refused(String),
    /// It was not sent now. The key was used for other content within the hour, so what was sent then is not known here.
    #[error("Nylas has seen this idempotency key with other content within the last hour")]
    KeyUsed,
    /// Another request with the key is under way.
    #[error("Nylas is still working on an earlier request for this mail")]
    UnderWay,
    /// It may have been sent: Nylas or the provider did not answer in time.
    #[error("whether the mail was sent is not known: {0}")]
    Unknown(String),
    /// It may have been sent or be sent yet: there was no answer. Nylas forgets the key of a request whose caller is gone
    /// (Nylas changelog, 2026-09-28).
    #[error("whether the mail was sent is not known, for there was no answer: {0}")]
    CutOff(String),
    /// Nylas remembers that an earlier try failed, and tells so again until the hour of its key is over.
    #[error("Nylas remembers what an earlier try for this mail came to: {0}")]
    Remembered(String),
    /// The request did not come to sending: the account cannot be reached, or no call was made.
    #[error(transparent)]
    NotTried(NylasError),
}

/// The text that Nylas begins the refusal of a trial account with (Nylas docs, `email/message-tracking`).
const TRIAL: &str = "tracking options are not allowed";

/// What became of a mail, by the answer to its request. `again` if that was an earlier answer once more.
pub(super) fn outcome_of(answer: Result<Reply, NylasError>, again: bool) -> Result<Receipt, SendError> {
    #[derive(Deserialize, Default)]
    struct Sent {
        #[serde(default)]
        data: Option<Data>,
    }
    #[derive(Deserialize, Default)]
    struct Data {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        thread_id: Option<String>,
    }
    let non_empty = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    match answer {
        // It is sent whatever the answer looks like.
        Ok(reply) => {
            let data = serde_json::from_slice::<Sent>(&reply.body).unwrap_or_default().data.unwrap_or_default();
            Ok(Receipt { message_id: non_empty(data.id), thread_id: non_empty(data.thread_id) })
        }
        Err(error) => {
            let error = refusal_of(error);
            // The refusal of tracking alone is as good as new: what follows from it is another request.
            let stands = matches!(error, SendError::TrackingRefused(_) | SendError::NotTried(_));
            Err(if again && !stands { SendError::Remembered(error.to_string()) } else { error })
        }
    }
}

/// What an error says of a mail.
fn refusal_of(error: NylasError) -> SendError {
    #[derive(Deserialize, Default)]
    struct Refusal {
        #[serde(default)]
        error: Said,
    }
    #[derive(Deserialize, Default)]
    struct Said {
        #[serde(default, rename = "type")]
        kind: String,
        #[serde(default)]
        message: String,
    }
    match error {
        NylasError::Call(CallError::RateLimited { retry_after, .. }) => SendError::Throttled { retry_after },
        NylasError::Call(CallError::Unavailable { problem, answered: true, .. }) => SendError::Unknown(problem),
        NylasError::Call(CallError::Unavailable { problem, .. }) => SendError::CutOff(problem),
        NylasError::Call(error @ CallError::Unreadable { .. }) => SendError::Unknown(error.to_string()),
        NylasError::Call(error @ CallError::NotFound { .. }) => SendError::Refused(error.to_string()),
        NylasError::Call(CallError::Rejected { ref text, status, .. }) => {
            let said = serde_json::from_str::<Refusal>(text).unwrap_or_default().error;
            match said.kind.as_str() {
                "api.invalid_idempotent_request" => SendError::KeyUsed,
                "api.concurrent_idempotent_request" => SendError::UnderWay,
                _ if said.message.to_lowercase().contains(TRIAL) => SendError::TrackingRefused(said.message),
                "api.tracking_error" => SendError::LinkRefused(said.message),
                _ if status == 409 => SendError::UnderWay,
                _ => SendError::Refused(format!("Nylas refuses the mail with {status}: {text}")),
            }
        }
        error => SendError::NotTried(error),
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let what = error.to_string();
        match error {
            SendError::Throttled { retry_after } => Self::Transient { class: "nylas.rate_limited", what, retry_after },
            SendError::KeyUsed
            | SendError::UnderWay
            | SendError::Unknown(_)
            | SendError::CutOff(_)
            | SendError::Remembered(_) => Self::transient("nylas.send_unknown", what),
            SendError::TrackingRefused(_) | SendError::LinkRefused(_) | SendError::Refused(_) => {
                Self::permanent("nylas.mail_refused", what)
            }
            SendError::NotTried(error) => error.into(),
        }
    }
}

/// A mail in a list of what was sent, with what it is known again by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SentMail {
    /// Its id in the sender's mailbox.
    pub id: String,
    /// Its thread.
    #[serde(default)]
    pub thread_id: Option<String>,
    /// Its tracking options, where they were asked for.
    #[serde(default)]
    pub tracking_options: Option<TrackingOptions>,
    /// Its headers, where they were asked for.
    #[serde(default)]
    pub headers: Option<Vec<Header>>,
}

/// How a mail is tracked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct TrackingOptions {
    /// The sender's own mark.
    #[serde(default)]
    pub label: Option<String>,
}

impl SentMail {
    /// True if it bears this label, in its tracking options or in the header with this name.
    #[must_use]
    pub fn bears(&self, label: &str, header: &str) -> bool {
        let tracked = self.tracking_options.as_ref().and_then(|options| options.label.as_deref());
        let mut headers = self.headers.as_deref().unwrap_or_default().iter();
        tracked == Some(label) || headers.any(|one| one.name.eq_ignore_ascii_case(header) && one.value.trim() == label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;
    use serde_json::json;

    fn reply(body: &serde_json::Value) -> Reply {
        Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: body.to_string().into_bytes() }
    }

    fn refused(status: u16, kind: &str, message: &str) -> Result<Receipt, SendError> {
        let text = json!({"error": {"type": kind, "message": message}}).to_string();
        outcome_of(Err(CallError::Rejected { api: "Nylas", what: "mail", status, text }.into()), false)
    }

    #[test]
    fn mail_that_was_accepted_without_an_id_is_sent() {
        let with_id = outcome_of(Ok(reply(&json!({"data": {"id": "m", "thread_id": "t"}}))), false);
        let receipt = Receipt { message_id: Some("m".to_owned()), thread_id: Some("t".to_owned()) };
        assert_eq!(with_id, Ok(receipt));
        for body in [json!({"schedule_id": "s", "data": {"subject": "x"}}), json!({"data": {"id": ""}}), json!([])] {
            assert_eq!(
                outcome_of(Ok(reply(&body)), false),
                Ok(Receipt { message_id: None, thread_id: None }),
                "{body}"
            );
        }
    }

    #[test]
    fn refusals_are_told_apart_by_what_follows_from_them() {
        let trial = "Tracking options are not allowed for trial accounts";
        assert!(matches!(refused(400, "invalid_request_error", trial), Err(SendError::TrackingRefused(_))));
        let link = "the link https://example.com/x is not allowed";
        assert_eq!(refused(400, "api.tracking_error", link), Err(SendError::LinkRefused(link.to_owned())));
        assert_eq!(refused(409, "api.invalid_idempotent_request", "x"), Err(SendError::KeyUsed));
        assert_eq!(refused(409, "api.concurrent_idempotent_request", "x"), Err(SendError::UnderWay));
        assert!(matches!(refused(400, "invalid_request_error", "to is missing"), Err(SendError::Refused(_))));
    }

    #[test]
    fn no_answer_in_time_says_nothing_of_the_mail_but_a_throttle_says_that_it_was_not_sent() {
        let unavailable = CallError::Unavailable {
            api: "Nylas",
            problem: "it answered 504".to_owned(),
            retry_after: None,
            answered: true,
        };
        assert!(matches!(outcome_of(Err(unavailable.clone().into()), false), Err(SendError::Unknown(_))));
        assert!(matches!(outcome_of(Err(unavailable.into()), true), Err(SendError::Remembered(_))));
        let throttled = CallError::RateLimited {
            api: "Nylas",
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
            allowance: None,
        };
        let expected = SendError::Throttled { retry_after: Some(Duration::from_secs(7)) };
        assert_eq!(outcome_of(Err(throttled.clone().into()), false), Err(expected));
        let remembered = outcome_of(Err(throttled.into()), true);
        assert!(matches!(remembered, Err(SendError::Remembered(_))), "a throttle of an hour ago says nothing of now");
    }

    #[test]
    fn sent_mail_is_known_again_by_its_tracking_label_or_its_header() {
        let mail = |value: serde_json::Value| serde_json::from_value::<SentMail>(value).expect("a mail");
        assert!(mail(json!({"id": "m", "tracking_options": {"label": "l"}})).bears("l", "X-Label"));
        assert!(mail(json!({"id": "m", "headers": [{"name": "x-label", "value": " l "}]})).bears("l", "X-Label"));
        assert!(!mail(json!({"id": "m", "headers": [{"name": "X-Other", "value": "l"}]})).bears("l", "X-Label"));
    }
}

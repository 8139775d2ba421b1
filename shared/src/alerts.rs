//! What people are told at once: one text, posted to an incoming webhook as Slack's take it. Any receiver of
//! `{"text": …}` will do.
//!
//! Facts about Slack's are from api.slack.com: "Sending messages using incoming webhooks", "Improving error conditions for
//! incoming webhooks", "Truncating really long messages" and "Rate limits".

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

use crate::aws::secrets::Secrets;
use crate::configuration::parse_address;
use crate::domain::failure::Failure;
use crate::engine::{Deadline, Work};
use crate::fitting;
use crate::http::dialect::retry_after;
use crate::http::{ApiClient, ApiSettings, CallError, Credential, Dialect, FailureClasses, Judgement, Reply};

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

/// How many messages a webhook takes in a second.
const MESSAGES_PER_SECOND: f64 = 1.0;

/// The longest text that Slack shows whole, in characters, escapes counted.
const LONGEST_TEXT: usize = 40_000;

/// The last line of a text that was longer.
const CUT_LINE: &str = "[Cut here: the text is longer than a message may be.]";

/// How much of a receiver's own words is kept, in characters: Slack says one word.
const LONGEST_ANSWER: usize = 200;

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

/// The webhooks of a process. What is known of each address holds for all that is posted to it: whether it is up, whether
/// it has asked for a pause, and when the next message may follow.
#[derive(Clone)]
pub struct Webhooks {
    http: reqwest::Client,
    by_address: Arc<Mutex<HashMap<Url, Arc<ApiClient>>>>,
}

impl Webhooks {
    /// Posts through the given client.
    #[must_use]
    pub fn new(http: reqwest::Client) -> Self {
        Self { http, by_address: Arc::default() }
    }

    /// Posts a text to a desk's webhook at a given address, which is a secret.
    ///
    /// # Errors
    /// A permanent one if the address cannot be used or is no longer good; else what came of it.
    pub async fn post_to_desk(&self, address: &str, text: &str, deadline: Deadline) -> Result<(), Failure> {
        self.post(address, "the desk's alerts in the rules file", text, deadline).await
    }

    /// `place` is where the address stands, for people who must mend it.
    async fn post(&self, address: &str, place: &str, text: &str, deadline: Deadline) -> Result<(), Failure> {
        let address = parse_address(address.trim())
            .map_err(|error| Failure::permanent("alert.address", format!("{place}: {error}")))?;
        let webhook = self.at(address);
        let message = json!({ "text": whole_or_cut(text) });
        match webhook.request(Method::POST, &[], "alert").json(&message).send(deadline).await {
            Ok(_) => Ok(()),
            Err(CallError::Rejected { api, what, status, text }) => {
                let remedy = remedy(status, &text, place);
                Err(Failure::permanent(
                    FAILURE_CLASSES.rejected,
                    format!("{api} refuses the {what} with {status} ({text}){remedy}"),
                ))
            }
            Err(error) => Err(error.into_failure(&FAILURE_CLASSES)),
        }
    }

    fn at(&self, address: Url) -> Arc<ApiClient> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let known = by_address.entry(address).or_insert_with_key(|address| {
            let settings = ApiSettings {
                name: "the alert webhook",
                base_url: address.clone(),
                credential: Credential::None,
                credential_parameter: PARAMETER,
                calls_per_second: Some(MESSAGES_PER_SECOND),
            };
            Arc::new(ApiClient::new(self.http.clone(), settings).speaking(Dialect { judge, ..Dialect::default() }))
        });
        Arc::clone(known)
    }
}

/// Errors are one word of plain text: `invalid_payload`, `no_text` and their like with 400, `action_prohibited` and
/// `invalid_token` with 403, `channel_not_found` and `no_service` with 404, `channel_is_archived` with 410; 500 passes.
fn judge(reply: &Reply) -> Option<Judgement> {
    match reply.status.as_u16() {
        429 => Some(Judgement::TooManyCalls {
            wait: retry_after(&reply.headers).unwrap_or(Duration::from_secs(1)),
            allowance: "the messages of this second".to_owned(),
        }),
        400 | 403 | 404 | 410 => {
            let text = String::from_utf8_lossy(&reply.body);
            Some(Judgement::Refused { words: fitting::line(&text, LONGEST_ANSWER, |_| 1) })
        }
        _ => None,
    }
}

/// What to do about a refusal, beyond what it says itself.
fn remedy(status: u16, word: &str, place: &str) -> String {
    match (status, word) {
        (403, "action_prohibited") => {
            format!(
                ": ask an administrator of the workspace to allow it, or put another webhook's address into {place}"
            )
        }
        (403 | 404 | 410, _) => format!(": its address is no longer good, put another webhook's into {place}"),
        _ => String::new(),
    }
}

/// The text, or as much of it as is shown: never half an escape such as `&amp;` or half a link such as `<https://…>`.
fn whole_or_cut(text: &str) -> Cow<'_, str> {
    // Units of UTF-16, of which no text has fewer than characters, for it is not told which of the two are counted.
    match fitting::fitting(text, LONGEST_TEXT, char::len_utf16, CUT_LINE) {
        Cow::Borrowed(whole) => Cow::Borrowed(whole),
        Cow::Owned(cut) => {
            let kept = cut.strip_suffix(CUT_LINE).unwrap_or(&cut).trim_end();
            let is_open = |begin: char, end: char| match (kept.rfind(begin), kept.rfind(end)) {
                (Some(begun), ended) if ended.is_none_or(|ended| ended < begun) => Some(begun),
                _ => None,
            };
            let torn = [is_open('&', ';').filter(|begun| kept.len() - begun < "&quot;".len()), is_open('<', '>')];
            let end = torn.into_iter().flatten().min().unwrap_or(kept.len());
            Cow::Owned(format!("{}\n{CUT_LINE}", &kept[..end]))
        }
    }
}

/// An incoming webhook. Its address is a secret: whoever knows it can post.
pub struct AlertWebhook {
    webhooks: Webhooks,
    secrets: Secrets,
    arn: String,
}

impl AlertWebhook {
    /// The webhook whose address is in the given secret.
    #[must_use]
    pub fn new(http: reqwest::Client, secrets: Secrets, arn: String) -> Self {
        Self { webhooks: Webhooks::new(http), secrets, arn }
    }

    /// The webhooks that it is one of, to post to others as well.
    #[must_use]
    pub fn webhooks(&self) -> Webhooks {
        self.webhooks.clone()
    }
}

impl Alert for AlertWebhook {
    async fn alert(&self, text: &str, deadline: Deadline) -> Result<(), Failure> {
        // Alerts are few, so the address is read for each and is always the one that holds.
        let unavailable = |problem: String| Failure::transient(FAILURE_CLASSES.unavailable, problem);
        let address = self.secrets.read(&self.arn).await.map_err(|error| unavailable(error.to_string()))?;
        let address =
            address.ok_or_else(|| unavailable(format!("the secret behind the parameter {PARAMETER} is empty")))?;
        self.webhooks.post(address.expose_secret(), &format!("the parameter {PARAMETER}"), text, deadline).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wiremock::matchers::{body_json, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn webhooks() -> Webhooks {
        Webhooks::new(crate::http::http_client().expect("a client"))
    }

    async fn answering(template: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(method("POST")).respond_with(template).mount(&server).await;
        server
    }

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
        let address = format!(" {}/services/T0/B0/x?sig=1\n", server.uri());
        webhooks().post_to_desk(&address, "wake up", soon()).await.expect("posted");
    }

    #[tokio::test]
    async fn refusal_is_permanent_and_says_what_to_do_with_which_address() {
        for (status, word, told) in [
            (400, "invalid_payload", "with 400 (invalid_payload)"),
            (403, "invalid_token", "put another webhook's into the parameter AlertWebhookUrl"),
            (403, "action_prohibited", "ask an administrator of the workspace"),
            (404, "no_service", "put another webhook's into the parameter AlertWebhookUrl"),
            (404, "channel_not_found", "with 404 (channel_not_found): its address is no longer good"),
            (410, "channel_is_archived", "put another webhook's into the parameter AlertWebhookUrl"),
        ] {
            let server = answering(ResponseTemplate::new(status).set_body_string(word)).await;
            let failure = webhooks()
                .post(&server.uri(), "the parameter AlertWebhookUrl", "x", soon())
                .await
                .expect_err("refused");
            assert!(
                matches!(&failure, Failure::Permanent { class: "alert.rejected", what } if what.contains(told)),
                "{status} {word}: {failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_passes_is_tried_again() {
        for (status, class) in [
            (500, "alert.unavailable"),
            (503, "alert.unavailable"),
            (302, "alert.unreadable"),
            (401, "alert.unauthorized"),
        ] {
            let server = answering(ResponseTemplate::new(status).set_body_string("rollup_error")).await;
            let failure = webhooks().post_to_desk(&server.uri(), "x", soon()).await.expect_err("failed");
            assert!(
                matches!(&failure, Failure::Transient { class: its, .. } if *its == class),
                "{status}: {failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn pause_that_a_webhook_asks_for_holds_for_its_address_alone() {
        let server = MockServer::start().await;
        let limited = ResponseTemplate::new(429).insert_header("retry-after", "30").set_body_string("rate_limited");
        Mock::given(path("/busy")).respond_with(limited).expect(1).mount(&server).await;
        Mock::given(path("/idle")).respond_with(ResponseTemplate::new(200)).expect(1).mount(&server).await;
        let webhooks = webhooks();
        let busy = format!("{}/busy", server.uri());
        let first = webhooks.post_to_desk(&busy, "x", soon()).await.expect_err("too many");
        assert!(
            matches!(first, Failure::Transient { class: "alert.rate_limited", retry_after: Some(wait), .. }
                if wait == Duration::from_secs(30)),
            "{first:?}"
        );
        let second = webhooks.clone().post_to_desk(&busy, "x", soon()).await.expect_err("not yet");
        assert!(matches!(second, Failure::Untried { class: "alert.rate_limited", .. }), "{second:?}");
        webhooks.post_to_desk(&format!("{}/idle", server.uri()), "x", soon()).await.expect("another address");
    }

    #[tokio::test]
    async fn webhook_that_fails_five_times_in_a_row_is_left_alone() {
        let server = answering(ResponseTemplate::new(500).set_body_string("rollup_error")).await;
        let webhooks = webhooks();
        let client = webhooks.at(parse_address(&server.uri()).expect("an address"));
        for _ in 0..5 {
            client.breaker().record(true);
        }
        let failure = webhooks.post_to_desk(&server.uri(), "x", soon()).await.expect_err("left alone");
        assert!(matches!(failure, Failure::Untried { class: "alert.breaker_open", .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn messages_to_one_address_are_a_second_apart() {
        let server = answering(ResponseTemplate::new(200)).await;
        let webhooks = webhooks();
        let begun = tokio::time::Instant::now();
        for _ in 0..2 {
            webhooks.post_to_desk(&server.uri(), "x", soon()).await.expect("posted");
        }
        assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
        let hurried = webhooks.post_to_desk(&server.uri(), "x", Deadline::after(Duration::from_millis(300))).await;
        assert!(matches!(hurried, Err(Failure::Untried { class: "alert.out_of_time", .. })), "{hurried:?}");
    }

    #[test]
    fn text_is_cut_after_escaping_and_never_within_an_escape_or_a_link() {
        assert_eq!(whole_or_cut(&"a".repeat(LONGEST_TEXT)).len(), LONGEST_TEXT);
        for unit in ["&amp;", "&lt;", "<https://desk.example/1|the ticket>"] {
            for lead in 0..unit.len() {
                let text = format!("{}{}", "a".repeat(lead), unit.repeat(LONGEST_TEXT / unit.len() + 10));
                let cut = whole_or_cut(&text);
                let kept = cut.strip_suffix(CUT_LINE).expect("the line that tells of it").trim_end();
                assert!(cut.chars().count() <= LONGEST_TEXT && kept.len() > LONGEST_TEXT - 200, "{unit} {lead}");
                assert!(kept.ends_with(unit), "{unit} {lead}: {}", &kept[kept.len() - 40..]);
            }
        }
        let crabs = whole_or_cut(&"🦀".repeat(LONGEST_TEXT)).into_owned();
        assert!(crabs.encode_utf16().count() <= LONGEST_TEXT, "by units of UTF-16");
    }
}

//! A stand-in for incoming webhooks as Slack's are: the address of each is its secret, it takes one text at a time and
//! answers `ok`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse as _,
    routing::post,
};
use serde_json::Value;

use super::{
    Faults, Result,
    openapi::OpenApiDocument,
    server::{ErrorAnswer, Server},
};

const DOCUMENT: &str = include_str!("slack.openapi.yaml");

/// How much of a text is shown, in characters.
const LONGEST_TEXT: usize = 40_000;

/// What the addresses of all webhooks have in common.
const FOLDER: &str = "/services/T0SANDBOX/B0SANDBOX";

/// The part of the address that nobody else knows.
const SECRET: &str = "5andb0xs3cret";

const PLANNED_ERROR: ErrorAnswer = |status| {
    (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "rollup_error").into_response()
};

/// A channel that a webhook posts to.
#[derive(Debug, Default)]
struct Channel {
    texts: Vec<String>,
    is_archived: bool,
}

struct Site {
    document: OpenApiDocument,
    /// The channel behind each address that was given out, by its secret.
    channels: Mutex<BTreeMap<String, Channel>>,
    refusals: Mutex<Vec<String>>,
}

/// The running stand-in. It stops when it is dropped.
pub struct AlertWebhook {
    server: Server,
    site: Arc<Site>,
}

impl AlertWebhook {
    /// Starts one on a free port.
    pub fn start() -> Result<Self> {
        let site = Arc::new(Site {
            document: OpenApiDocument::parse(DOCUMENT)?,
            channels: Mutex::new(BTreeMap::from([(SECRET.to_owned(), Channel::default())])),
            refusals: Mutex::default(),
        });
        let router = Router::new().route(&format!("{FOLDER}/{{secret}}"), post(take)).with_state(Arc::clone(&site));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, site })
    }

    /// The address to give as `AlertWebhookUrl`.
    #[must_use]
    pub fn url(&self) -> String {
        self.at(SECRET)
    }

    /// A further address with a secret of its own, the same for the same name: letters, digits and `-`.
    #[must_use]
    pub fn url_of(&self, name: &str) -> String {
        let secret = secret_of(name);
        self.locked(|channels| {
            channels.entry(secret.clone()).or_default();
        });
        self.at(&secret)
    }

    /// Archives the channel of [`Self::url`], as people do with one that nobody uses.
    pub fn archive(&self) {
        self.locked(|channels| {
            if let Some(channel) = channels.get_mut(SECRET) {
                channel.is_archived = true;
            }
        });
    }

    /// Removes the webhook of [`Self::url`], as when its app is taken out of the workspace.
    pub fn withdraw(&self) {
        self.locked(|channels| channels.remove(SECRET));
    }

    /// What people were told at [`Self::url`], in order.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.texts_at(SECRET)
    }

    /// What people were told at the address of the name, in order.
    #[must_use]
    pub fn texts_of(&self, name: &str) -> Vec<String> {
        self.texts_at(&secret_of(name))
    }

    /// The fault plan, to be changed at any time.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.server.faults()
    }

    /// What the description of incoming webhooks has refused so far, a sentence each.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        self.site.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn at(&self, secret: &str) -> String {
        format!("{}{FOLDER}/{secret}", self.server.base_url())
    }

    fn texts_at(&self, secret: &str) -> Vec<String> {
        self.locked(|channels| channels.get(secret).map(|channel| channel.texts.clone()).unwrap_or_default())
    }

    fn locked<T>(&self, use_channels: impl FnOnce(&mut BTreeMap<String, Channel>) -> T) -> T {
        use_channels(&mut self.site.channels.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn secret_of(name: &str) -> String {
    format!("{SECRET}-{name}")
}

/// Slack answers what it does not take with 400 and one word, an address that it has not given out with 404 and the one of
/// an archived channel with 410; of a text that is too long it shows the beginning.
async fn take(
    State(site): State<Arc<Site>>,
    OriginalUri(uri): OriginalUri,
    Path(secret): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let mut channels = site.channels.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(channel) = channels.get_mut(&secret) else {
        return (StatusCode::NOT_FOUND, "no_service");
    };
    if channel.is_archived {
        return (StatusCode::GONE, "channel_is_archived");
    }
    if let Err(departure) = site.document.check_request("POST", uri.path(), &[], &headers, &body) {
        site.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(departure);
        return (StatusCode::BAD_REQUEST, "invalid_payload");
    }
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let Some(text) = message["text"].as_str().filter(|text| !text.is_empty()) else {
        return (StatusCode::BAD_REQUEST, "no_text");
    };
    channel.texts.push(text.chars().take(LONGEST_TEXT).collect());
    (StatusCode::OK, "ok")
}

#[cfg(test)]
mod tests {
    use shared::{
        alerts::{Webhooks, escaped},
        domain::failure::Failure,
        engine::Deadline,
        http::http_client,
    };
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::stand_ins::{Fault, FaultRule};

    async fn post(url: &str, message: &Value) -> (u16, String) {
        let answer = reqwest::Client::new().post(url).json(message).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    #[tokio::test]
    async fn a_text_is_taken_at_the_secret_address_alone() {
        let webhook = AlertWebhook::start().expect("a free port");
        assert_eq!(post(&webhook.url(), &json!({ "text": "wake up" })).await, (200, "ok".to_owned()));
        assert_eq!(post(&webhook.url(), &json!({ "blocks": [] })).await, (400, "no_text".to_owned()));
        let elsewhere = webhook.url().replace("5andb0x", "other");
        assert_eq!(post(&elsewhere, &json!({ "text": "x" })).await, (404, "no_service".to_owned()));
        assert_eq!((webhook.texts(), webhook.refusals()), (vec!["wake up".to_owned()], Vec::new()));
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused_and_told() {
        let webhook = AlertWebhook::start().expect("a free port");
        for odd in [json!("wake up"), json!({ "message": "wake up" }), json!({ "text": 1 })] {
            assert_eq!(post(&webhook.url(), &odd).await, (400, "invalid_payload".to_owned()), "{odd}");
        }
        let bare = reqwest::Client::new().post(webhook.url()).body("wake up").send().await.expect("an answer");
        assert_eq!((bare.status().as_u16(), webhook.refusals().len()), (400, 4));
    }

    #[tokio::test]
    async fn an_archived_channel_and_a_webhook_that_is_gone_are_told_apart() {
        let webhook = AlertWebhook::start().expect("a free port");
        let message = json!({ "text": "x" });
        webhook.archive();
        assert_eq!(post(&webhook.url(), &message).await, (410, "channel_is_archived".to_owned()));
        webhook.withdraw();
        assert_eq!(post(&webhook.url(), &message).await, (404, "no_service".to_owned()));
        assert_eq!(webhook.texts(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn of_a_text_that_is_too_long_the_beginning_is_shown() {
        let webhook = AlertWebhook::start().expect("a free port");
        assert_eq!(post(&webhook.url(), &json!({ "text": "ä".repeat(40_001) })).await.0, 200);
        assert_eq!(webhook.texts(), ["ä".repeat(40_000)]);
    }

    fn webhooks() -> Webhooks {
        Webhooks::new(http_client().expect("a client"))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[tokio::test]
    async fn the_adapters_longest_text_is_shown_whole_and_its_messages_are_a_second_apart() {
        let webhook = AlertWebhook::start().expect("a free port");
        let webhooks = webhooks();
        let long = escaped("<!channel> & co").repeat(4_000);
        let begun = tokio::time::Instant::now();
        for text in [long.as_str(), "short"] {
            webhooks.post_to_desk(&webhook.url(), text, soon()).await.expect("taken");
        }
        let texts = webhook.texts();
        assert!(texts[0].ends_with("longer than a message may be.]"), "{}", &texts[0][texts[0].len() - 80..]);
        assert_eq!((texts[1].as_str(), webhook.refusals()), ("short", Vec::new()));
        assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_adapter_tells_for_good_that_a_webhook_is_gone_and_tries_again_what_passes() {
        let webhook = AlertWebhook::start().expect("a free port");
        webhook.faults().add(FaultRule::next(1, Fault::status_with_retry_after(429, "3")));
        let webhooks = webhooks();
        let limited = webhooks.post_to_desk(&webhook.url(), "x", soon()).await.expect_err("too many");
        assert!(
            matches!(limited, Failure::Transient { retry_after: Some(wait), .. } if wait == Duration::from_secs(3)),
            "{limited:?}"
        );
        webhook.archive();
        let other = Webhooks::new(http_client().expect("a client"));
        let gone = other.post_to_desk(&webhook.url(), "x", soon()).await.expect_err("gone");
        assert!(
            matches!(&gone, Failure::Permanent { what, .. } if what.contains("channel_is_archived")
                && what.contains("put another webhook's")),
            "{gone:?}"
        );
    }

    #[tokio::test]
    async fn each_name_has_an_address_and_texts_of_its_own() {
        let webhook = AlertWebhook::start().expect("a free port");
        let client = reqwest::Client::new();
        let post = async |url: &str, text: &str| {
            let message = serde_json::json!({ "text": text });
            client.post(url).json(&message).send().await.expect("an answer").status().as_u16()
        };
        let on_call = webhook.url_of("on-call");
        assert_eq!(post(&on_call, "down").await, 200);
        assert_eq!(post(&webhook.url_of("billing"), "refund").await, 200);
        assert_eq!(post(&webhook.url(), "all").await, 200);
        assert_eq!(post(&on_call.replace("on-call", "nobody"), "x").await, 404);
        assert_eq!(webhook.url_of("on-call"), on_call);
        assert_eq!((webhook.texts_of("on-call"), webhook.texts_of("nobody")), (vec!["down".to_owned()], Vec::new()));
        assert_eq!((webhook.texts_of("billing"), webhook.texts()), (vec!["refund".to_owned()], vec!["all".to_owned()]));
    }
}

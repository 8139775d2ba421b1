//! The sender of Nylas notifications: signs a notification, posts it, and gives up exactly as soon as
//! the original does. Also asks the challenge, as the original does when a destination is created.

use std::{
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Result, StandInError};

/// How often a notification is sent at most.
const ATTEMPTS: u8 = 3;

/// How long the receiver may take for one attempt.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The pauses before the second and the third attempt: the last one comes a quarter of an hour after the first.
const PAUSES: [Duration; 2] = [Duration::from_mins(5), Duration::from_mins(10)];

/// The statuses after which a notification is sent again.
const SENT_AGAIN_AFTER: [u16; 6] = [408, 429, 502, 503, 504, 507];

/// What became of one notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whether an attempt was answered 200. If not, the notification is lost.
    pub delivered: bool,
    /// The status of each attempt; none where no answer came in time.
    pub attempts: Vec<Option<u16>>,
}

/// How the receiver met the challenge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFailure {
    /// No answer within ten seconds.
    #[error("the endpoint gave no answer to the challenge: {0}")]
    NoAnswer(String),
    /// Another status than 200.
    #[error("the endpoint answered the challenge with {0}, not with 200")]
    Status(u16),
    /// The answer was chunked: it must have a content length.
    #[error("the endpoint answered the challenge without a content length")]
    Chunked,
    /// The body is not the challenge and nothing but the challenge.
    #[error("the endpoint answered the challenge {expected:?} with {answered:?}")]
    Body {
        /// What was asked.
        expected: String,
        /// What came back.
        answered: String,
    },
}

/// The lower-case hex HMAC-SHA256 of the bytes that are sent, as it stands in `X-Nylas-Signature`.
#[must_use]
pub fn signature(secret: &str, body: &[u8]) -> String {
    match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mut mac) => {
            mac.update(body);
            hex::encode(mac.finalize().into_bytes())
        }
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

/// A sender for one destination. One sender can deliver many notifications side by side.
#[derive(Debug)]
pub struct NylasWebhook {
    url: String,
    secret: Mutex<String>,
    host: Option<String>,
    compressed: AtomicBool,
    delay_scale: f64,
    answer_within: Duration,
    client: Client,
    delivered: AtomicU64,
    lost: AtomicU64,
    attempts: AtomicU64,
}

impl NylasWebhook {
    /// A destination with its webhook secret.
    pub fn new(url: &str, secret: &str) -> Result<Self> {
        Ok(Self {
            url: url.to_owned(),
            secret: Mutex::new(secret.to_owned()),
            host: None,
            compressed: AtomicBool::new(false),
            delay_scale: 1.0,
            answer_within: ANSWER_WITHIN,
            client: Client::builder().no_proxy().no_gzip().build().map_err(StandInError::Client)?,
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
        })
    }

    /// Sends this `Host` header instead of the URL's: a local engine finds its function by it.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Sends bodies compressed, as a destination with `compressed_delivery` wants it.
    #[must_use]
    pub fn compressed(self) -> Self {
        self.compress(true);
        self
    }

    /// Sends bodies compressed from now on, or as they are.
    pub fn compress(&self, compressed: bool) {
        self.compressed.store(compressed, Ordering::Relaxed);
    }

    /// Signs with another secret from now on: the next attempt of a delivery that is under way, too.
    pub fn sign_with(&self, secret: &str) {
        secret.clone_into(&mut self.secret.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The secret that is signed with.
    #[must_use]
    pub fn secret(&self) -> String {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts a notification as lost that is not even tried.
    pub fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Multiplies the pauses between attempts; 0.001 makes a quarter of an hour one second.
    #[must_use]
    pub fn delay_scale(mut self, scale: f64) -> Self {
        self.delay_scale = scale;
        self
    }

    /// Waits this long for an answer instead of ten seconds.
    #[must_use]
    pub fn answer_within(mut self, time: Duration) -> Self {
        self.answer_within = time;
        self
    }

    /// How many notifications were answered 200.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How many notifications were given up.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many requests were made for notifications.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Delivers a notification: up to three attempts, the later ones only after no answer or a status that
    /// is worth another try. A notification that has `webhook_delivery_attempt` carries the attempt's number there,
    /// so that each attempt has other bytes and another signature.
    pub async fn deliver(&self, notification: &Value) -> Delivery {
        let mut statuses = Vec::new();
        for attempt in 1..=ATTEMPTS {
            if attempt > 1 {
                tokio::time::sleep(PAUSES[usize::from(attempt) - 2].mul_f64(self.delay_scale)).await;
            }
            let status = self.post(&serialise(notification, attempt)).await;
            statuses.push(status);
            match status {
                Some(200) => {
                    self.delivered.fetch_add(1, Ordering::Relaxed);
                    return Delivery { delivered: true, attempts: statuses };
                }
                Some(status) if !SENT_AGAIN_AFTER.contains(&status) => break,
                _ => {}
            }
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        Delivery { delivered: false, attempts: statuses }
    }

    /// Posts exactly these bytes (compressed, if the destination wants that) once, signed. None if no answer came in time.
    pub async fn post(&self, body: &[u8]) -> Option<u16> {
        let body = if self.compressed.load(Ordering::Relaxed) { compress(body) } else { body.to_owned() };
        let signature = signature(&self.secret(), &body);
        self.post_signed(body, &signature).await
    }

    /// Posts exactly these bytes once with a signature of the caller's, which may be wrong. None if no answer came in time.
    pub async fn post_signed(&self, body: Vec<u8>, signature: &str) -> Option<u16> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let mut request = self
            .client
            .post(&self.url)
            .timeout(self.answer_within)
            .header(header::CONTENT_TYPE, "application/json")
            .header("X-Nylas-Signature", signature);
        if self.compressed.load(Ordering::Relaxed) {
            request = request.header(header::CONTENT_ENCODING, "gzip");
        }
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        request.body(body).send().await.ok().map(|answer| answer.status().as_u16())
    }

    /// Asks the endpoint to prove itself, once, as the original does when a destination is created or activated.
    pub async fn challenge(&self) -> std::result::Result<(), ChallengeFailure> {
        let expected = new_challenge();
        let mut request = self.client.get(&self.url).query(&[("challenge", &expected)]).timeout(self.answer_within);
        if let Some(host) = &self.host {
            request = request.header(header::HOST, host);
        }
        let no_answer = |error: reqwest::Error| ChallengeFailure::NoAnswer(error.to_string());
        let answer = request.send().await.map_err(no_answer)?;
        if answer.status() != 200 {
            return Err(ChallengeFailure::Status(answer.status().as_u16()));
        }
        if !answer.headers().contains_key(header::CONTENT_LENGTH) {
            return Err(ChallengeFailure::Chunked);
        }
        let answered = answer.text().await.map_err(no_answer)?;
        if answered == expected { Ok(()) } else { Err(ChallengeFailure::Body { expected, answered }) }
    }
}

/// A notification as it is posted at the first attempt.
#[must_use]
pub fn posted(notification: &Value) -> String {
    String::from_utf8_lossy(&serialise(notification, 1)).into_owned()
}

/// The bytes of one attempt, written as the original writes them: `<`, `>` and `&` as escapes.
fn serialise(notification: &Value, attempt: u8) -> Vec<u8> {
    let mut numbered = notification.clone();
    if let Some(field) = numbered.get_mut("webhook_delivery_attempt") {
        *field = Value::from(attempt);
    }
    // Outside of strings JSON has none of these characters.
    numbered.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026").into_bytes()
}

fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    match encoder.write_all(body).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed,
        Err(_) => unreachable!("writing to memory does not fail"),
    }
}

fn new_challenge() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let digest = hex::encode(Sha256::digest(format!("{now}:{}", COUNTER.fetch_add(1, Ordering::Relaxed))));
    format!("{}-{}-4{}-8{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        sync::{Arc, Mutex},
    };

    use axum::{
        Router,
        body::{Body, Bytes},
        extract::{Query, State},
        http::{HeaderMap, StatusCode},
        response::{IntoResponse, Response},
        routing::post,
    };
    use serde_json::json;

    use super::*;
    use crate::stand_ins::{Fault, FaultRule, server::Server};

    const SECRET: &str = "sample-webhook-secret";

    type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

    /// How a receiver answers the challenge.
    type ChallengeAnswer = fn(String) -> Response;

    fn receiver(challenge_answer: ChallengeAnswer) -> (Server, Received) {
        let received = Received::default();
        let take = |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
            received.lock().expect("no panic while held").push((headers, body));
            StatusCode::OK
        };
        let prove =
            move |Query(query): Query<Vec<(String, String)>>| async move { challenge_answer(query[0].1.clone()) };
        let router = Router::new().route("/webhooks/nylas", post(take).get(prove)).with_state(Arc::clone(&received));
        let planned = |status| StatusCode::from_u16(status).expect("a real status").into_response();
        (Server::start(0, router, planned).expect("a free port exists"), received)
    }

    fn echo(challenge: String) -> Response {
        challenge.into_response()
    }

    fn sender(server: &Server) -> NylasWebhook {
        NylasWebhook::new(&format!("{}/webhooks/nylas", server.base_url()), SECRET)
            .expect("a client")
            .delay_scale(0.00001)
    }

    fn notification() -> Value {
        json!({
            "specversion": "1.0",
            "type": "message.created",
            "id": "n-1",
            "time": 1_794_820_364,
            "webhook_delivery_attempt": 1,
            "data": { "object": { "id": "m-1", "body": "<p>Terms & conditions</p>" } },
        })
    }

    #[test]
    fn the_signature_is_the_published_hmac_sha256_of_the_bytes() {
        // Test case 2 of RFC 4231.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[tokio::test]
    async fn a_notification_is_signed_over_the_bytes_that_were_sent() {
        let (server, received) = receiver(echo);
        let delivery = sender(&server).deliver(&notification()).await;
        assert_eq!(delivery, Delivery { delivered: true, attempts: vec![Some(200)] });
        let (headers, body) = received.lock().expect("no panic while held")[0].clone();
        assert_eq!(headers["x-nylas-signature"], signature(SECRET, &body).as_str());
        assert!(String::from_utf8_lossy(&body).contains("\\u003cp\\u003eTerms \\u0026 conditions"));
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON"), notification());
    }

    #[tokio::test]
    async fn a_compressed_notification_is_signed_over_the_compressed_bytes() {
        let (server, received) = receiver(echo);
        assert!(sender(&server).compressed().deliver(&notification()).await.delivered);
        let (headers, body) = received.lock().expect("no panic while held")[0].clone();
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(headers["x-nylas-signature"], signature(SECRET, &body).as_str());
        let mut inflated = String::new();
        flate2::read::GzDecoder::new(body.as_ref()).read_to_string(&mut inflated).expect("gzip");
        assert_eq!(serde_json::from_str::<Value>(&inflated).expect("JSON"), notification());
    }

    #[tokio::test]
    async fn statuses_worth_another_try_get_three_attempts_in_all_and_count_up_in_the_body() {
        for status in SENT_AGAIN_AFTER {
            let (server, received) = receiver(echo);
            let sender = sender(&server);
            server.faults().add(FaultRule::next(2, Fault::status(status)));
            assert_eq!(sender.deliver(&notification()).await.attempts, [Some(status), Some(status), Some(200)]);
            let (_, body) = received.lock().expect("no panic while held")[0].clone();
            assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON")["webhook_delivery_attempt"], 3);

            server.faults().add(FaultRule::next(3, Fault::status(status)));
            assert_eq!(
                sender.deliver(&notification()).await,
                Delivery { delivered: false, attempts: vec![Some(status); 3] }
            );
            assert_eq!((sender.delivered(), sender.lost(), sender.attempts()), (1, 1, 6));
        }
    }

    #[tokio::test]
    async fn every_other_status_loses_the_notification_at_once() {
        let (server, _) = receiver(echo);
        let sender = sender(&server);
        for status in [201, 202, 400, 401, 403, 404, 413, 500, 501] {
            server.faults().add(FaultRule::next(1, Fault::status(status)));
            assert_eq!(
                sender.deliver(&notification()).await,
                Delivery { delivered: false, attempts: vec![Some(status)] }
            );
        }
        assert_eq!(sender.lost(), 9);
    }

    #[tokio::test]
    async fn no_answer_is_worth_another_try() {
        let (server, _) = receiver(echo);
        server.faults().add(FaultRule::next(1, Fault::DropConnection));
        server.faults().add(FaultRule::next(1, Fault::Hang(Duration::from_mins(1))));
        let sender = sender(&server).answer_within(Duration::from_secs(2));
        assert_eq!(sender.deliver(&notification()).await.attempts, [None, None, Some(200)]);
    }

    #[tokio::test]
    async fn a_notification_without_an_attempt_field_does_not_get_one() {
        let (server, received) = receiver(echo);
        let mut tracking = notification();
        tracking.as_object_mut().expect("an object").remove("webhook_delivery_attempt");
        sender(&server).deliver(&tracking).await;
        let (_, body) = received.lock().expect("no panic while held")[0].clone();
        assert_eq!(serde_json::from_slice::<Value>(&body).expect("JSON"), tracking);
    }

    #[tokio::test]
    async fn the_host_header_is_the_one_asked_for() {
        let (server, received) = receiver(echo);
        sender(&server).host("abc.lambda-url.us-east-1.localhost:4566").deliver(&notification()).await;
        let (headers, _) = received.lock().expect("no panic while held")[0].clone();
        assert_eq!(headers["host"], "abc.lambda-url.us-east-1.localhost:4566");
    }

    #[tokio::test]
    async fn the_challenge_is_passed_only_by_exactly_itself() {
        let (exact, _) = receiver(echo);
        assert_eq!(sender(&exact).challenge().await, Ok(()));
        let (quoted, _) = receiver(|challenge| format!("\"{challenge}\"").into_response());
        assert!(matches!(sender(&quoted).challenge().await, Err(ChallengeFailure::Body { .. })));
        let (refusing, _) = receiver(|_| StatusCode::NO_CONTENT.into_response());
        assert_eq!(sender(&refusing).challenge().await, Err(ChallengeFailure::Status(204)));
        let (chunked, _) = receiver(|challenge| {
            Body::from_stream(futures_util::stream::iter([Ok::<_, std::convert::Infallible>(challenge)]))
                .into_response()
        });
        assert_eq!(sender(&chunked).challenge().await, Err(ChallengeFailure::Chunked));
    }

    #[tokio::test]
    async fn the_challenge_is_asked_once() {
        let (server, _) = receiver(echo);
        server.faults().add(FaultRule::next(1, Fault::status(503)));
        assert_eq!(sender(&server).challenge().await, Err(ChallengeFailure::Status(503)));
        assert_eq!(server.log().all().len(), 1);
    }
}

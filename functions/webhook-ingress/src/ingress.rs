//! The two endpoints: what each request is answered, and what is queued before it is.
//!
//! Nylas makes three attempts in all, and only after 408, 429, 502, 503, 504, 507 or no answer; after a 500 or a 401
//! a notification is lost. So a notification is answered 200 once every queue that wants it has accepted it,
//! 503 whenever it should be brought again, and never 500.

use futures_util::future::try_join_all;
use lambda_http::http::{HeaderValue, Method, StatusCode, header};
use lambda_http::{Body, Error, Request, RequestExt, Response};
use shared::aws::SdkConfig;
use shared::aws::bodies::ArchiveBodies;
use shared::aws::outbox::{FifoPlace, Outbox, SendError};
use shared::aws::secrets::Secrets;
use shared::domain::customer_event::{CustomerEvent, customer_key};
use shared::domain::notification::{Envelope, GrantId};
use shared::domain::queue_message::{GroupId, deduplication_id};
use shared::telemetry::{Metric, Metrics};
use shared::trace::id_of as trace_id;
use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::configuration::Configuration;
use crate::inflate::{InflateError, MAX_BODY_BYTES, inflate};
use crate::secrets::{LiveSecrets, Places};
use crate::signature::{Signature, SigningSecret, Verified, verify};
use shared::domain::routing::{Destination, route};
use shared::domain::webhook_secrets::TEST_EVENT_SECRET;

/// The name of this function, as it stands in logs and metrics.
const FUNCTION: &str = "webhook-ingress";

/// The longest that a call to AWS may take. Nylas waits ten seconds and the function has ten; the longest way (secrets
/// re-read, body stored, message sent) is three calls, so this leaves room to answer 503.
const LONGEST_CALL: Duration = Duration::from_secs(3);

/// The longest challenge that is echoed. Nylas sends a UUID.
const MAX_CHALLENGE_CHARACTERS: usize = 1024;

/// Answers requests.
#[derive(Debug)]
pub struct Ingress {
    configuration: Configuration,
    secrets: LiveSecrets,
    outbox: Outbox,
    clock: Clock,
}

/// What a request is answered: a status, a text, and what it is counted as.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    text: Cow<'static, str>,
    counted: Counted,
}

/// What an answer is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    /// Nothing: it was Nylas's challenge, which comes once.
    Not,
    /// A metric.
    As(Metric),
    /// Bad requests, with the reason beside them.
    Bad(&'static str),
}

/// Why a customer event is a bad request; its answer is JSON.
const BAD_CUSTOMER_EVENT: &str = "bad_customer_event";

impl Answer {
    fn new(status: StatusCode, text: impl Into<Cow<'static, str>>, counted: Counted) -> Self {
        Self { status, text: text.into(), counted }
    }

    fn again_later() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not accepted for now; deliver it again",
            Counted::As(Metric::RefusedForNow),
        )
    }
}

impl Ingress {
    /// Builds the clients and reads the secrets.
    pub async fn start(configuration: Configuration) -> Self {
        Self::with_sdk(configuration, &shared::aws::sdk_config(LONGEST_CALL).await).await
    }

    /// Builds the clients on the given SDK configuration and reads the secrets.
    pub async fn with_sdk(configuration: Configuration, sdk: &SdkConfig) -> Self {
        Self::with_clock(configuration, sdk, Clock::system()).await
    }

    /// The same by clocks of the caller's.
    pub async fn with_clock(configuration: Configuration, sdk: &SdkConfig, clock: Clock) -> Self {
        let places = Places {
            webhook: configuration.webhook_secret_arn.clone(),
            managed: configuration.managed_webhook_secret_arn.clone(),
            customer_events: configuration.customer_events_secret_arn.clone(),
        };
        let secrets = LiveSecrets::read(Secrets::new(sdk), places, clock.clone()).await;
        if secrets.known().webhook().next().is_none() {
            tracing::warn!("no webhook secret is set: notifications are answered 503 until there is one");
        }
        let outbox = Outbox::new(sdk, ArchiveBodies::new(sdk, configuration.archive_bucket.clone()));
        Self { configuration, secrets, outbox, clock }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Only if an answer cannot be built, which its fixed parts rule out.
    pub async fn answer(&self, request: Request) -> Result<Response<Body>, Error> {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let answer = match (path.as_str(), request.method()) {
            ("/webhooks/nylas", &Method::GET) => challenge(&request),
            ("/webhooks/nylas", &Method::POST) => self.notification(&request).await,
            ("/customers/events", &Method::POST) => self.customer_event(&request).await,
            ("/webhooks/nylas", _) => method_not_allowed("GET, POST"),
            ("/customers/events", _) => method_not_allowed("POST"),
            _ => Answer::new(StatusCode::NOT_FOUND, "no such path", Counted::Bad("not_found")),
        };
        let mut metrics = Metrics::new(FUNCTION);
        match answer.counted {
            Counted::Not => tracing::info!("the challenge of Nylas was answered"),
            Counted::As(metric) => metrics.add(metric, 1),
            Counted::Bad(reason) => {
                metrics.add(Metric::BadRequests, 1);
                metrics.property("Reason", reason);
            }
        }
        metrics.emit();

        let is_json = answer.counted == Counted::Bad(BAD_CUSTOMER_EVENT);
        let content_type = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        let mut response = Response::builder()
            .status(answer.status)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        if answer.status == StatusCode::METHOD_NOT_ALLOWED
            && let Ok(allowed) = HeaderValue::from_str(&answer.text)
        {
            response = response.header(header::ALLOW, allowed);
        }
        Ok(response.body(Body::Text(answer.text.into_owned()))?)
    }

    async fn notification(&self, request: &Request) -> Answer {
        let bytes = bytes_of(request);
        if bytes.len() > MAX_BODY_BYTES {
            return too_large();
        }
        let signature = Signature::of(request.headers(), "x-nylas-signature");
        let Some(verified) = self.verify_notification(bytes, signature).await else {
            return if self.secrets.known().can_refuse_notification(self.clock.now().wall) {
                if signature.is_some_and(|signature| is_test_event(bytes, signature)) {
                    tracing::info!(test_event = true, "a test event of Nylas was refused: its secret is public");
                } else {
                    tracing::warn!(
                        present = signature.is_some(),
                        "a notification without a right signature was refused"
                    );
                }
                Answer::new(
                    StatusCode::UNAUTHORIZED,
                    "the signature is missing or wrong",
                    Counted::As(Metric::Unauthorized),
                )
            } else {
                Answer::again_later()
            };
        };
        let encoding = request.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let trace = trace_of(request);
        let queued = match inflate(verified.bytes(), encoding) {
            Ok(body) => self.queue_notification(&body, trace.as_deref()).await,
            Err(InflateError::TooLarge) => return too_large(),
            Err(InflateError::Corrupt) => self.park(verified.bytes(), "not gzip", trace.as_deref()).await,
        };
        queued.unwrap_or_else(|error| {
            tracing::error!(error = %error, "a notification was not queued; Nylas is asked to deliver it again");
            Answer::again_later()
        })
    }

    async fn verify_notification<'a>(&self, bytes: &'a [u8], signature: Option<Signature>) -> Option<Verified<'a>> {
        let known = self.secrets.current().await;
        if let Some(verified) = signature.and_then(|signature| verify(bytes, signature, known.webhook())) {
            return Some(verified);
        }
        // Perhaps the secret has changed since it was read; perhaps a rotation has been marked.
        let fresh = self.secrets.reread().await?;
        signature.and_then(|signature| verify(bytes, signature, fresh.webhook()))
    }

    /// Queues a verified body to every queue that wants it; all must accept it before anything is answered.
    async fn queue_notification(&self, body: &[u8], trace: Option<&str>) -> Result<Answer, SendError> {
        let begun = Instant::now();
        // A body that is not UTF-8 travels as it is; its identifiers are read as far as they can be.
        let envelope = match Envelope::parse(&String::from_utf8_lossy(body)) {
            Ok(envelope) => envelope,
            Err(problem) => return self.park(body, &problem.to_string(), trace).await,
        };
        let trigger = envelope.trigger.base();
        let tell = |outcome| {
            tracing::info!(
                function = FUNCTION, trace.id = trace.and_then(trace_id), notification.id = %envelope.id, notification.type = trigger,
                grant.id = envelope.grant.as_ref().map(GrantId::as_str), outcome,
                duration_ms = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX), "verified"
            );
        };
        let Some(route) = route(&envelope, &self.configuration.support_grants) else {
            tell("unwanted");
            return Ok(Answer::new(StatusCode::OK, "", Counted::As(Metric::Unwanted)));
        };
        let packed = self.outbox.pack(body).await?;
        let sends = route.destinations.iter().map(|destination| {
            let queue = self.configuration.queues.url(*destination);
            let place = FifoPlace {
                group: route.group.clone(),
                deduplication_id: deduplication_id(destination.name(), &envelope.id),
            };
            let packed = &packed;
            async move { self.outbox.send(queue, packed, Some(&place), trace).await }
        });
        try_join_all(sends).await?;
        tell("queued");
        Ok(Answer::new(StatusCode::OK, "", Counted::As(Metric::Queued)))
    }

    /// Parks a body that is signed and yet no notification: Nylas would only send it again.
    async fn park(&self, body: &[u8], problem: &str, trace: Option<&str>) -> Result<Answer, SendError> {
        let packed = self.outbox.pack(body).await?;
        self.outbox.send(&self.configuration.unroutable_queue, &packed, None, trace).await?;
        tracing::error!(problem, "a signed body that is no Nylas notification was parked in the unroutable queue");
        Ok(Answer::new(StatusCode::OK, "", Counted::As(Metric::Unroutable)))
    }

    async fn customer_event(&self, request: &Request) -> Answer {
        let bytes = bytes_of(request);
        if bytes.len() > MAX_BODY_BYTES {
            return too_large();
        }
        let Some(signature) = Signature::of(request.headers(), "x-signature") else {
            return self.refuse_customer_event();
        };
        let known = self.secrets.current().await;
        let verified = match verify(bytes, signature, known.customer_events()) {
            Some(verified) => Some(verified),
            None => self.secrets.reread().await.and_then(|fresh| verify(bytes, signature, fresh.customer_events())),
        };
        let Some(verified) = verified else {
            return self.refuse_customer_event();
        };
        let event = match CustomerEvent::parse(verified.bytes()) {
            Ok(event) => event,
            Err(problem) => {
                let text = serde_json::json!({ "error": problem.to_string() }).to_string();
                return Answer::new(StatusCode::BAD_REQUEST, text, Counted::Bad(BAD_CUSTOMER_EVENT));
            }
        };
        match self.queue_customer_event(&event, verified, trace_of(request).as_deref()).await {
            Ok(()) => Answer::new(StatusCode::ACCEPTED, "", Counted::As(Metric::Queued)),
            Err(error) => {
                tracing::error!(error = %error, "a customer event was not queued");
                Answer::again_later()
            }
        }
    }

    fn refuse_customer_event(&self) -> Answer {
        if self.secrets.known().can_refuse_customer_event() {
            Answer::new(
                StatusCode::UNAUTHORIZED,
                "the signature is missing or wrong",
                Counted::As(Metric::Unauthorized),
            )
        } else {
            Answer::again_later()
        }
    }

    async fn queue_customer_event(
        &self,
        event: &CustomerEvent,
        verified: Verified<'_>,
        trace: Option<&str>,
    ) -> Result<(), SendError> {
        let destination = Destination::Onboarding;
        let packed = self.outbox.pack(verified.bytes()).await?;
        let place = FifoPlace {
            group: GroupId::of("customer", &customer_key(&event.email)),
            deduplication_id: deduplication_id(destination.name(), &event.id),
        };
        self.outbox.send(self.configuration.queues.url(destination), &packed, Some(&place), trace).await
    }
}

/// Proves to Nylas that this endpoint is ours: the value of `challenge`, and nothing else.
fn challenge(request: &Request) -> Answer {
    let parameters = request.query_string_parameters_ref();
    match parameters.and_then(|parameters| parameters.first("challenge")) {
        Some(challenge) if !challenge.is_empty() && challenge.chars().count() <= MAX_CHALLENGE_CHARACTERS => {
            Answer::new(StatusCode::OK, challenge.to_owned(), Counted::Not)
        }
        _ => Answer::new(
            StatusCode::BAD_REQUEST,
            "the query has no challenge; this address takes notifications from Nylas",
            Counted::Bad("no_challenge"),
        ),
    }
}

/// True if the signature is that of Nylas's test events. Their secret is in Nylas's documentation, so it proves nothing:
/// they are refused, and told apart in the log, where the operator looks for them.
fn is_test_event(bytes: &[u8], signature: Signature) -> bool {
    verify(bytes, signature, SigningSecret::parse(TEST_EVENT_SECRET).as_ref()).is_some()
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    Answer::new(StatusCode::METHOD_NOT_ALLOWED, allowed, Counted::Bad("method_not_allowed"))
}

fn too_large() -> Answer {
    Answer::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large", Counted::Bad("too_large"))
}

fn bytes_of(request: &Request) -> &[u8] {
    match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    }
}

/// The X-Ray trace of this invocation, for the message to carry on.
fn trace_of(request: &Request) -> Option<String> {
    request.lambda_context_ref().and_then(|context| context.xray_trace_id.clone())
}

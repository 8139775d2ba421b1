//! The two endpoints against a fake AWS: every line of the ingress contract, driven through `Ingress::answer`.
//!
//! Requests are Function URL events read by `lambda_http`, the samples of `events/webhook-ingress` among them.
//! What reached SQS and S3 is compared byte for byte, and groups, deduplication ids and digests are computed here
//! anew, so that a wrong one in the code under test cannot agree with itself.

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider, retry::RetryConfig};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::{Compression, write::GzEncoder};
use hmac::{Hmac, KeyInit, Mac};
use lambda_http::{Body, Context, Request, RequestExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::aws::SdkConfig;
use shared::configuration::Environment;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use webhook_ingress::{Configuration, Ingress};

#[path = "endpoint/rotation.rs"]
mod rotation;

const WEBHOOK_SECRET: &str = "sample-webhook-secret";
const CUSTOMER_EVENTS_SECRET: &str = "sample-customer-events-secret";
const MANAGED_SECRET: &str = "managed-secret";

const WEBHOOK_ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:webhook";
const MANAGED_ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:managed";
const CUSTOMER_EVENTS_ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:customer-events";

const BUCKET: &str = "archive";
const SUPPORT_GRANT: &str = "grant-of-support";
const LABEL: &str = "0123456789abcdef0123456789abcdef.1.welcome";
const NOTIFICATIONS: &str = "/webhooks/nylas";
const CUSTOMER_EVENTS: &str = "/customers/events";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How long the secrets stay as they were read, with some time to spare.
const UNTIL_REREAD: Duration = Duration::from_millis(5_100);

// ---- The fake AWS ----

#[derive(Debug, Clone)]
enum Secret {
    Value(String),
    NoValue,
    Denied,
}

#[derive(Debug, Clone, Copy)]
enum Refusal {
    ServerError,
    Denied,
    Unreachable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    queue: String,
    body: String,
    group: Option<String>,
    deduplication_id: Option<String>,
    trace: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    secrets: HashMap<&'static str, Secret>,
    secret_reads: BTreeMap<String, usize>,
    queues_down: HashMap<&'static str, Refusal>,
    bucket_down: Option<Refusal>,
    sent: Vec<Sent>,
    stored: BTreeMap<String, Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
struct FakeAws(Arc<Mutex<State>>);

impl FakeAws {
    /// Both secrets have the values that the samples are signed with; the operator has written none yet.
    fn new() -> Self {
        let aws = Self::default();
        aws.set(WEBHOOK_ARN, Secret::Value(WEBHOOK_SECRET.to_owned()));
        aws.set(MANAGED_ARN, Secret::NoValue);
        aws.set(CUSTOMER_EVENTS_ARN, Secret::Value(CUSTOMER_EVENTS_SECRET.to_owned()));
        aws
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, arn: &'static str, secret: Secret) {
        self.state().secrets.insert(arn, secret);
    }

    fn manage(&self, list: &Value) {
        self.set(MANAGED_ARN, Secret::Value(list.to_string()));
    }

    fn refuse_queue(&self, queue: &'static str, refusal: Refusal) {
        self.state().queues_down.insert(queue, refusal);
    }

    fn refuse_bucket(&self, refusal: Refusal) {
        self.state().bucket_down = Some(refusal);
    }

    fn reads_of(&self, arn: &str) -> usize {
        self.state().secret_reads.get(arn).copied().unwrap_or_default()
    }

    fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        self.state().stored.clone()
    }

    /// The one message that was sent since the last look.
    #[track_caller]
    fn take_only(&self) -> Sent {
        let mut sent = std::mem::take(&mut self.state().sent);
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(self.sent(), Vec::new(), "nothing may be queued");
        assert!(self.stored().is_empty(), "nothing may be stored");
    }

    fn configuration(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    fn secret_value(&self, request: &Value) -> HttpResponse {
        let arn = request["SecretId"].as_str().expect("the call names a secret").to_owned();
        let mut state = self.state();
        *state.secret_reads.entry(arn.clone()).or_default() += 1;
        match state.secrets.get(arn.as_str()) {
            Some(Secret::Value(value)) => {
                answer(200, &json!({ "ARN": arn, "Name": "a-secret", "SecretString": value }))
            }
            Some(Secret::NoValue) => answer(
                400,
                &json!({
                    "__type": "ResourceNotFoundException",
                    "Message":
                        "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
                }),
            ),
            Some(Secret::Denied) => answer(
                400,
                &json!({ "__type": "AccessDeniedException", "Message": "User is not authorized to perform: this" }),
            ),
            None => answer(
                400,
                &json!({
                    "__type": "ResourceNotFoundException",
                    "Message": "Secrets Manager can't find the specified secret.",
                }),
            ),
        }
    }

    fn send_message(&self, request: &Value) -> Result<HttpResponse, ConnectorError> {
        let text = |name: &str| request[name].as_str().map(str::to_owned);
        let url = text("QueueUrl").expect("the call names a queue");
        let queue = url.rsplit('/').next().expect("a queue's URL ends in its name").to_owned();
        let mut state = self.state();
        if let Some(refusal) = state.queues_down.get(queue.as_str()) {
            return refused(*refusal, |code| json!({ "__type": code, "message": "not now" }).to_string());
        }
        let trace = &request["MessageSystemAttributes"]["AWSTraceHeader"];
        assert!(trace.is_null() || trace["DataType"] == "String", "{trace}");
        state.sent.push(Sent {
            queue,
            body: text("MessageBody").expect("the message has a body"),
            group: text("MessageGroupId"),
            deduplication_id: text("MessageDeduplicationId"),
            trace: trace["StringValue"].as_str().map(str::to_owned),
        });
        Ok(answer(200, &json!({ "MessageId": "5c1f0a52-0000-4000-8000-000000000001" })))
    }

    fn put_object(&self, request: &HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let mut state = self.state();
        if let Some(refusal) = state.bucket_down {
            return refused(refusal, |code| format!("<Error><Code>{code}</Code><Message>not now</Message></Error>"));
        }
        let (_, path) = request.uri().split_once("://").and_then(|(_, rest)| rest.split_once('/')).expect("a path");
        let path = path.split('?').next().expect("a path before the query");
        let key = path.strip_prefix(BUCKET).and_then(|key| key.strip_prefix('/')).expect("an object of the bucket");
        let bytes = request.body().bytes().expect("the body is in memory");
        state.stored.insert(key.to_owned(), bytes.to_vec());
        Ok(answer(200, &json!(null)))
    }
}

impl HttpConnector for FakeAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = || {
            let bytes = request.body().bytes().expect("the body is in memory");
            serde_json::from_slice::<Value>(bytes).expect("the call is JSON")
        };
        HttpConnectorFuture::ready(match (request.headers().get("x-amz-target"), request.method()) {
            (Some("secretsmanager.GetSecretValue"), _) => Ok(self.secret_value(&body())),
            (Some("AmazonSQS.SendMessage"), _) => self.send_message(&body()),
            (None, "PUT") => self.put_object(&request),
            (target, method) => panic!("ingress has no business with {target:?} {method} {}", request.uri()),
        })
    }
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    respond(status, if body.is_null() { String::new() } else { body.to_string() })
}

fn respond(status: u16, body: String) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).expect("a status"), SdkBody::from(body))
}

fn refused(refusal: Refusal, body: impl Fn(&str) -> String) -> Result<HttpResponse, ConnectorError> {
    match refusal {
        Refusal::ServerError => Ok(respond(500, body("InternalFailure"))),
        Refusal::Denied => Ok(respond(403, body("AccessDenied"))),
        Refusal::Unreachable => Err(ConnectorError::io("connection reset by peer".into())),
    }
}

// ---- Requests and answers ----

#[derive(Debug, PartialEq, Eq)]
struct Answered {
    status: u16,
    body: String,
    content_type: String,
    allow: Option<String>,
}

async fn start(aws: &FakeAws) -> Ingress {
    start_with(aws, &[]).await
}

async fn start_with(aws: &FakeAws, changed: &[(&'static str, &'static str)]) -> Ingress {
    Ingress::with_sdk(configuration(changed), &aws.configuration()).await
}

fn configuration(changed: &[(&'static str, &'static str)]) -> Configuration {
    let mut variables: BTreeMap<&str, String> = [
        ("EMAIL_ACTIVITY_QUEUE_URL", "email-activity.fifo"),
        ("CALENDAR_SYNC_QUEUE_URL", "calendar-sync.fifo"),
        ("NOTETAKER_MEDIA_QUEUE_URL", "notetaker-media.fifo"),
        ("ONBOARDING_QUEUE_URL", "onboarding.fifo"),
        ("TICKET_TRIAGE_QUEUE_URL", "ticket-triage.fifo"),
        ("CONTACT_SYNC_QUEUE_URL", "contact-sync.fifo"),
        ("UNROUTABLE_QUEUE_URL", "unroutable"),
    ]
    .into_iter()
    .map(|(variable, queue)| (variable, format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{queue}")))
    .collect();
    for (variable, value) in [
        ("ARCHIVE_BUCKET", BUCKET),
        ("NYLAS_WEBHOOK_SECRET_ARN", WEBHOOK_ARN),
        ("MANAGED_WEBHOOK_SECRET_ARN", MANAGED_ARN),
        ("CUSTOMER_EVENTS_SECRET_ARN", CUSTOMER_EVENTS_ARN),
        ("SUPPORT_GRANT_IDS", SUPPORT_GRANT),
    ]
    .iter()
    .chain(changed)
    {
        variables.insert(variable, (*value).to_owned());
    }
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Configuration::from_environment(&Environment::of(&variables)).expect("it is whole")
}

async fn ask(ingress: &Ingress, request: Request) -> Answered {
    let response = ingress.answer(request).await.expect("there is always an answer");
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().expect("plain").to_owned());
    let (content_type, allow) = (header("content-type").expect("every answer has a type"), header("allow"));
    let body = match response.body() {
        Body::Empty => String::new(),
        Body::Text(text) => text.clone(),
        other => panic!("answers are texts, not {other:?}"),
    };
    Answered { status: response.status().as_u16(), body, content_type, allow }
}

async fn status(ingress: &Ingress, request: Request) -> u16 {
    ask(ingress, request).await.status
}

fn sample(name: &str) -> Request {
    lambda_http::request::from_str(&sample_text(name)).expect("a sample is a Function URL event")
}

fn sample_text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/webhook-ingress");
    std::fs::read_to_string(folder.join(name).with_extension("json")).expect("the sample can be read")
}

/// A Function URL event. A body that is no text arrives base64-flagged, as it does from Lambda.
fn request(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
    let headers: BTreeMap<&str, &str> =
        [("host", "x.lambda-url.eu-west-1.on.aws")].iter().chain(headers).copied().collect();
    let text = std::str::from_utf8(body).ok();
    event(&json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous", "apiId": "x", "domainName": "x.lambda-url.eu-west-1.on.aws",
            "domainPrefix": "x", "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "16/Nov/2026:08:00:00 +0000", "timeEpoch": 1_794_816_000_181_u64,
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.44", "userAgent": "test",
            },
        },
        "body": text.map_or_else(|| BASE64.encode(body), str::to_owned),
        "isBase64Encoded": text.is_none(),
    }))
}

fn event(event: &Value) -> Request {
    lambda_http::request::from_str(&event.to_string()).expect("a Function URL event")
}

fn get(query: &str) -> Request {
    request("GET", NOTIFICATIONS, query, &[], b"")
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("keys have any length");
    hex::encode(mac.chain_update(body).finalize().into_bytes())
}

/// A notification signed with the given secret.
fn signed_with(secret: &str, body: &[u8]) -> Request {
    request("POST", NOTIFICATIONS, "", &[("x-nylas-signature", &sign(secret, body))], body)
}

fn signed(body: &[u8]) -> Request {
    signed_with(WEBHOOK_SECRET, body)
}

/// A compressed delivery; `covered` is what the signature was made over.
fn compressed(body: &[u8], covered: &[u8]) -> Request {
    let headers = [("x-nylas-signature", sign(WEBHOOK_SECRET, covered)), ("content-encoding", "gzip".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    request("POST", NOTIFICATIONS, "", &headers, body)
}

fn customer(body: &[u8]) -> Request {
    request("POST", CUSTOMER_EVENTS, "", &[("x-signature", &sign(CUSTOMER_EVENTS_SECRET, body))], body)
}

fn customer_body(id: &str, email: &str) -> Vec<u8> {
    json!({ "type": "customer.signed_up", "id": id, "email": email, "name": "Rosa Diaz" }).to_string().into_bytes()
}

fn notification(trigger: &str, object: &Value) -> Vec<u8> {
    let body = json!({ "specversion": "1.0", "type": trigger, "id": "n-1", "data": { "object": object } });
    body.to_string().into_bytes()
}

fn mail() -> Vec<u8> {
    notification("message.created", &json!({ "id": "m-1", "thread_id": "t-1", "grant_id": "grant-of-a-rep" }))
}

/// A mail whose subject is the given text.
fn mail_about(subject: &str) -> Vec<u8> {
    notification("message.created", &json!({ "id": "m-1", "thread_id": "t-1", "subject": subject }))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).expect("compresses");
    encoder.finish().expect("compresses")
}

fn digest(text: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(text))
}

fn group(key: &str) -> String {
    digest(key)[..32].to_owned()
}

fn raw(name: &str) -> Value {
    serde_json::from_str(&sample_text(name)).expect("a sample is JSON")
}

/// The bytes that the body of a sample stands for.
fn raw_body(name: &str) -> Vec<u8> {
    let event = raw(name);
    let body = event["body"].as_str().expect("the sample has a body");
    if event["isBase64Encoded"] == true { BASE64.decode(body).expect("base64") } else { body.as_bytes().to_vec() }
}

/// Asserts that the message is the body in the archive bucket, told by a pointer.
#[track_caller]
fn assert_in_bucket(aws: &FakeAws, message: &Sent, body: &[u8]) {
    let pointer: Value = serde_json::from_str(&message.body).expect("the pointer is JSON");
    let key = pointer["key"].as_str().expect("the pointer has a key");
    assert!(key.starts_with("bodies/"), "{key}");
    assert_eq!(pointer["type"], "body.pointer");
    assert_eq!(pointer["bytes"], body.len());
    assert_eq!(pointer["sha256"], digest(body));
    assert!(aws.stored().get(key).is_some_and(|stored| stored == body), "the stored bytes are not those that came");
}

// ---- The challenge ----

#[tokio::test]
async fn challenge_is_echoed_exactly_as_plain_text() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let answered = ask(&ingress, sample("challenge")).await;
    assert_eq!((answered.status, answered.body.as_str()), (200, "5546a57d-5e34-4021-9d3b-205f07cfa616"));
    assert!(answered.content_type.starts_with("text/plain"), "{}", answered.content_type);
    for (query, expected) in
        [("challenge=a%2Bb%20c", "a+b c"), ("challenge=one,two", "one,two"), ("a=1&challenge=x&b=2", "x")]
    {
        let answered = ask(&ingress, get(query)).await;
        assert_eq!((answered.status, answered.body.as_str()), (200, expected), "{query}");
    }
    aws.assert_untouched();
}

#[tokio::test]
async fn challenge_is_answered_before_any_secret_exists() {
    let aws = FakeAws::new();
    aws.set(WEBHOOK_ARN, Secret::NoValue);
    let ingress = start_with(&aws, &[("NYLAS_WEBHOOK_SECRET_ARN", "")]).await;
    assert_eq!(status(&ingress, sample("challenge")).await, 200);
}

#[tokio::test]
async fn missing_empty_or_endless_challenge_is_400() {
    let ingress = start(&FakeAws::new()).await;
    assert_eq!(status(&ingress, sample("challenge-missing")).await, 400);
    let endless = format!("challenge={}", "x".repeat(5000));
    for query in ["", "challenge=", "challenge", "other=1", &endless] {
        assert_eq!(status(&ingress, get(query)).await, 400, "{query}");
    }
}

// ---- Signatures ----

#[tokio::test]
async fn valid_signature_is_200_and_the_body_is_queued_byte_for_byte_under_the_designed_names() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("signed-notification")).await, 200);
    let body = raw("signed-notification")["body"].as_str().expect("a text").to_owned();
    let read: Value = serde_json::from_str(&body).expect("a notification");
    let thread = read["data"]["object"]["thread_id"].as_str().expect("a thread");
    let id = read["id"].as_str().expect("an id");
    assert_eq!(
        aws.take_only(),
        Sent {
            queue: "email-activity.fifo".to_owned(),
            body,
            group: Some(group(&format!("thread:{thread}"))),
            deduplication_id: Some(digest(format!("email-activity:{id}"))),
            trace: None,
        }
    );
    assert!(aws.stored().is_empty());
}

#[tokio::test]
async fn bodies_that_change_when_serialised_again_are_queued_as_they_came() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    for object in [
        r#"{"id":"m","subject":"\u003cb\u003e caf\u00e9 \/"}"#,
        r#"{ "id" : "m", "score":1.0,  "big":90071992547409931234 }"#,
        "{\"id\":\"m\",\t\"a\":1,\"a\":2}\r\n",
    ] {
        let body = format!(r#"{{"id":"n","type":"message.created","data":{{"object":{object}}}}}"#);
        assert_eq!(status(&ingress, signed(body.as_bytes())).await, 200, "{body}");
        assert_eq!(aws.take_only().body, body);
    }
}

#[tokio::test]
async fn upper_case_hex_and_every_case_of_the_header_are_taken() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("upper-case-signature")).await, 200);
    assert_eq!(aws.take_only().body.as_bytes(), raw_body("upper-case-signature"));
    let body = mail();
    let digits = sign(WEBHOOK_SECRET, &body);
    for (name, value) in [("X-Nylas-Signature", digits.to_uppercase()), ("x-NYLAS-signature", digits)] {
        assert_eq!(status(&ingress, request("POST", NOTIFICATIONS, "", &[(name, &value)], &body)).await, 200);
        aws.take_only();
    }
}

#[tokio::test]
async fn missing_wrong_or_doubled_signature_is_401_and_nothing_is_queued() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("bad-signature")).await, 401);
    let body = mail();
    let right = sign(WEBHOOK_SECRET, &body);
    assert_eq!(status(&ingress, request("POST", NOTIFICATIONS, "", &[], &body)).await, 401, "missing");
    let wrong = [
        String::new(),
        right[1..].to_owned(),
        format!("{right}00"),
        format!("sha256={right}"),
        format!("{right},{right}"),
        "0".repeat(64),
        sign("another secret", &body),
        sign(CUSTOMER_EVENTS_SECRET, &body),
        sign(WEBHOOK_SECRET, &mail_about("another body")),
    ];
    for value in wrong {
        let request = request("POST", NOTIFICATIONS, "", &[("x-nylas-signature", &value)], &body);
        assert_eq!(status(&ingress, request).await, 401, "{value}");
    }
    let mut doubled = signed(&body);
    doubled.headers_mut().append("x-nylas-signature", right.parse().expect("a value"));
    assert_eq!(status(&ingress, doubled).await, 401, "two headers");
    let elsewhere = request("POST", NOTIFICATIONS, "", &[("x-signature", &right)], &body);
    assert_eq!(status(&ingress, elsewhere).await, 401, "the right digits under the other endpoint's header");
    aws.assert_untouched();
}

#[tokio::test]
async fn notification_while_no_secret_is_set_is_503() {
    for arn in [WEBHOOK_ARN, ""] {
        for value in [Secret::NoValue, Secret::Value("  ".to_owned())] {
            let aws = FakeAws::new();
            aws.set(WEBHOOK_ARN, value);
            let ingress = start_with(&aws, &[("NYLAS_WEBHOOK_SECRET_ARN", arn)]).await;
            assert_eq!(status(&ingress, sample("signed-notification")).await, 503);
            assert_eq!(status(&ingress, request("POST", NOTIFICATIONS, "", &[], b"{}")).await, 503, "unsigned");
            // An empty key would otherwise be a secret that everybody knows.
            assert_eq!(status(&ingress, signed_with("", &mail())).await, 503, "signed with nothing");
            aws.assert_untouched();
        }
    }
}

#[tokio::test]
async fn unknown_signature_while_a_secret_is_unreadable_is_503_and_a_known_one_is_taken() {
    for arn in [WEBHOOK_ARN, MANAGED_ARN] {
        let aws = FakeAws::new();
        aws.manage(&json!([MANAGED_SECRET]));
        aws.set(arn, Secret::Denied);
        let ingress = start(&aws).await;
        let (readable, unreadable) = match arn {
            WEBHOOK_ARN => (MANAGED_SECRET, WEBHOOK_SECRET),
            _ => (WEBHOOK_SECRET, MANAGED_SECRET),
        };
        assert_eq!(status(&ingress, signed_with(unreadable, &mail())).await, 503, "{arn}");
        aws.assert_untouched();
        assert_eq!(status(&ingress, signed_with(readable, &mail())).await, 200, "{arn}");
        aws.take_only();
    }
}

#[tokio::test]
async fn unknown_signature_while_the_managed_secret_is_not_a_list_is_503() {
    let aws = FakeAws::new();
    aws.set(MANAGED_ARN, Secret::Value("whsec, not a list".to_owned()));
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, signed_with("whsec", &mail())).await, 503);
    assert_eq!(status(&ingress, signed(&mail())).await, 200);
}

#[tokio::test]
async fn unknown_signature_is_503_while_a_rotation_is_marked_and_401_once_it_is_over() {
    for (until, expected) in [("2199-01-01T00:00:00Z", 503), ("2020-01-01T00:00:00Z", 401)] {
        let aws = FakeAws::new();
        aws.manage(&json!([MANAGED_SECRET, { "rotating_until": until }]));
        let ingress = start(&aws).await;
        assert_eq!(status(&ingress, sample("bad-signature")).await, expected, "{until}");
        assert_eq!(status(&ingress, request("POST", NOTIFICATIONS, "", &[], &mail())).await, expected, "unsigned");
        aws.assert_untouched();
        assert_eq!(status(&ingress, signed_with(MANAGED_SECRET, &mail())).await, 200, "{until}");
    }
}

#[tokio::test]
async fn every_secret_of_the_parameter_and_of_the_managed_list_is_live() {
    let aws = FakeAws::new();
    aws.set(WEBHOOK_ARN, Secret::Value("first, second ,third".to_owned()));
    aws.manage(&json!(["fourth", { "secret": "fifth" }]));
    let ingress = start(&aws).await;
    for secret in ["first", "second", "third", "fourth", "fifth"] {
        assert_eq!(status(&ingress, signed_with(secret, &mail())).await, 200, "{secret}");
        aws.take_only();
    }
    for secret in ["sixth", "first, second ,third", "second ", "first,"] {
        assert_eq!(status(&ingress, signed_with(secret, &mail())).await, 401, "{secret}");
    }
    aws.assert_untouched();
}

#[tokio::test]
async fn secret_added_to_the_managed_list_is_taken_after_a_reread_which_happens_at_most_once_in_5_seconds() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    aws.manage(&json!([MANAGED_SECRET]));
    for _ in 0..3 {
        assert_eq!(status(&ingress, sample("bad-signature")).await, 401);
    }
    assert_eq!(aws.reads_of(MANAGED_ARN), 1, "it was read at start, and that is not 5 seconds ago");
    tokio::time::sleep(UNTIL_REREAD).await;

    assert_eq!(status(&ingress, signed(&mail())).await, 200);
    assert_eq!(aws.reads_of(MANAGED_ARN), 1, "a known signature reads nothing");
    assert_eq!(status(&ingress, signed_with(MANAGED_SECRET, &mail())).await, 200);
    for _ in 0..3 {
        assert_eq!(status(&ingress, sample("bad-signature")).await, 401);
    }
    for arn in [WEBHOOK_ARN, MANAGED_ARN, CUSTOMER_EVENTS_ARN] {
        assert_eq!(aws.reads_of(arn), 2, "{arn}");
    }
    assert_eq!(aws.sent().len(), 2);
}

#[tokio::test]
async fn rotation_marked_and_secret_retired_since_the_start_are_seen_after_a_reread() {
    let aws = FakeAws::new();
    aws.manage(&json!([MANAGED_SECRET]));
    let ingress = start(&aws).await;
    aws.manage(&json!([{ "rotating_until": "2199-01-01T00:00:00Z" }]));
    tokio::time::sleep(UNTIL_REREAD).await;
    assert_eq!(status(&ingress, sample("bad-signature")).await, 503);
    assert_eq!(status(&ingress, signed_with(MANAGED_SECRET, &mail())).await, 503, "retired, and a rotation is marked");
    aws.assert_untouched();
}

#[tokio::test]
async fn secrets_that_cannot_be_reread_stay_live_as_they_were_known() {
    let aws = FakeAws::new();
    aws.manage(&json!([MANAGED_SECRET]));
    let ingress = start(&aws).await;
    for arn in [WEBHOOK_ARN, MANAGED_ARN, CUSTOMER_EVENTS_ARN] {
        aws.set(arn, Secret::Denied);
    }
    tokio::time::sleep(UNTIL_REREAD).await;
    assert_eq!(status(&ingress, sample("bad-signature")).await, 503, "it may be that of a secret unread");
    assert_eq!(status(&ingress, signed(&mail())).await, 200);
    assert_eq!(status(&ingress, signed_with(MANAGED_SECRET, &mail())).await, 200);
    assert_eq!(status(&ingress, sample("customer-signed-up")).await, 202);
}

// ---- Bodies ----

#[tokio::test]
async fn gzip_is_verified_over_the_compressed_bytes_and_queued_inflated() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("gzip-notification")).await, 200);
    let mut inflated = String::new();
    let body = raw_body("gzip-notification");
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut inflated).expect("gzip");
    assert_eq!(aws.take_only().body, inflated);

    let body = mail();
    let packed = gzip(&body);
    assert_eq!(status(&ingress, compressed(&packed, &packed)).await, 200);
    assert_eq!(aws.take_only().body.as_bytes(), body);
    assert_eq!(status(&ingress, compressed(&packed, &body)).await, 401, "signed over the inflated bytes");
    aws.assert_untouched();
}

#[tokio::test]
async fn gzip_that_grows_beyond_the_bounds_is_413() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    for size in [8 * MIB, 17 * MIB] {
        let bomb = gzip(&vec![b' '; size]);
        assert_eq!(status(&ingress, compressed(&bomb, &bomb)).await, 413, "{size}");
    }
    aws.assert_untouched();
}

#[tokio::test]
async fn corrupt_gzip_under_a_right_signature_is_200_and_parked_whole() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let cut = &gzip(&mail())[..40];
    for corrupt in [b"not gzip at all".as_slice(), cut] {
        assert_eq!(status(&ingress, compressed(corrupt, corrupt)).await, 200);
        let parked = aws.take_only();
        assert_eq!((parked.queue.as_str(), &parked.group), ("unroutable", &None));
        if std::str::from_utf8(corrupt).is_ok() {
            assert_eq!(parked.body.as_bytes(), corrupt);
        } else {
            assert_in_bucket(&aws, &parked, corrupt);
        }
    }
}

#[tokio::test]
async fn base64_flagged_body_is_verified_and_queued_decoded() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(raw("base64-body")["isBase64Encoded"], true);
    assert_eq!(status(&ingress, sample("base64-body")).await, 200);
    assert_eq!(aws.take_only().body.as_bytes(), raw_body("base64-body"));
}

#[tokio::test]
async fn body_over_4_mib_is_413_at_both_endpoints_whatever_its_signature() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let too_long = vec![b' '; 4 * MIB + 1];
    assert_eq!(status(&ingress, signed(&too_long)).await, 413);
    assert_eq!(status(&ingress, request("POST", NOTIFICATIONS, "", &[], &too_long)).await, 413);
    assert_eq!(status(&ingress, customer(&too_long)).await, 413);
    aws.assert_untouched();
}

#[tokio::test]
async fn body_of_exactly_4_mib_is_taken() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let empty = mail_about("").len();
    let body = mail_about(&"x".repeat(4 * MIB - empty));
    assert_eq!(body.len(), 4 * MIB);
    assert_eq!(status(&ingress, signed(&body)).await, 200);
    assert_in_bucket(&aws, &aws.take_only(), &body);
}

#[tokio::test]
async fn body_that_no_queue_message_can_carry_goes_to_the_bucket_and_the_message_is_a_pointer() {
    let invalid = |middle: &[u8]| {
        let body = mail_about("MIDDLE");
        let at = body.windows(6).position(|window| window == b"MIDDLE").expect("the subject");
        [&body[..at], middle, &body[at + 6..]].concat()
    };
    let bodies = [
        mail_about(&"x".repeat(900 * KIB)),
        invalid(b"caf\xe9"),
        invalid(b"\xed\xa0\x80"),
        mail_about("\u{fffe}"),
        mail_about("\u{ffff}"),
    ];
    for body in bodies {
        let aws = FakeAws::new();
        let ingress = start(&aws).await;
        assert_eq!(status(&ingress, signed(&body)).await, 200);
        let message = aws.take_only();
        assert_eq!(message.queue, "email-activity.fifo");
        assert_eq!(message.group, Some(group("thread:t-1")));
        assert_eq!(message.deduplication_id, Some(digest("email-activity:n-1")));
        assert_in_bucket(&aws, &message, &body);
    }
}

#[tokio::test]
async fn body_with_raw_control_characters_is_no_json_and_is_parked_through_the_bucket() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    for control in [b'\0', 0x0b, 0x1f] {
        let body = [b"{\"id\":\"n\",\"type\":\"t\",\"data\":{\"a\":\"", [control].as_slice(), b"\"}}"].concat();
        assert_eq!(status(&ingress, signed(&body)).await, 200, "{control}");
        let message = aws.take_only();
        assert_eq!(message.queue, "unroutable");
        assert_in_bucket(&aws, &message, &body);
    }
}

#[tokio::test]
async fn body_of_exactly_900_kib_travels_in_the_message() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let body = mail_about(&"x".repeat(900 * KIB - mail_about("").len()));
    assert_eq!(body.len(), 900 * KIB);
    assert_eq!(status(&ingress, signed(&body)).await, 200);
    assert_eq!(aws.take_only().body.as_bytes(), body);
    assert!(aws.stored().is_empty());
}

// ---- Refusals of AWS ----

#[tokio::test]
async fn bucket_that_refuses_or_cannot_be_reached_is_503_and_nothing_is_queued() {
    for refusal in [Refusal::ServerError, Refusal::Denied, Refusal::Unreachable] {
        let aws = FakeAws::new();
        aws.refuse_bucket(refusal);
        let ingress = start(&aws).await;
        assert_eq!(status(&ingress, signed(&mail_about("\u{fffe}"))).await, 503, "{refusal:?}");
        assert_eq!(status(&ingress, signed(b"\xff is no notification")).await, 503, "{refusal:?}");
        aws.assert_untouched();
    }
}

#[tokio::test]
async fn queue_that_refuses_or_cannot_be_reached_is_503() {
    for refusal in [Refusal::ServerError, Refusal::Denied, Refusal::Unreachable] {
        let aws = FakeAws::new();
        for queue in ["email-activity.fifo", "unroutable", "onboarding.fifo"] {
            aws.refuse_queue(queue, refusal);
        }
        let ingress = start(&aws).await;
        assert_eq!(status(&ingress, sample("signed-notification")).await, 503, "{refusal:?}");
        assert_eq!(status(&ingress, sample("not-a-nylas-notification")).await, 503, "{refusal:?}");
        assert_eq!(status(&ingress, compressed(b"not gzip", b"not gzip")).await, 503, "{refusal:?}");
        assert_eq!(status(&ingress, sample("customer-signed-up")).await, 503, "{refusal:?}");
        aws.assert_untouched();
    }
}

#[tokio::test]
async fn notification_that_one_of_two_queues_refuses_is_503() {
    for queue in ["onboarding.fifo", "ticket-triage.fifo"] {
        let aws = FakeAws::new();
        aws.refuse_queue(queue, Refusal::ServerError);
        let ingress = start(&aws).await;
        let bounce = notification("message.bounce_detected", &json!({ "grant_id": SUPPORT_GRANT, "message_id": "m" }));
        assert_eq!(status(&ingress, signed(&bounce)).await, 503, "{queue}");
        assert!(aws.sent().iter().all(|sent| sent.queue != queue));
    }
}

// ---- Routing ----

#[tokio::test]
async fn type_that_nobody_wants_is_200_and_nothing_is_queued() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("unknown-type")).await, 200);
    for trigger in ["message.updated", "contact.deleted", "calendar.created", "something.new"] {
        let body = notification(trigger, &json!({ "id": "x", "grant_id": "g" }));
        assert_eq!(status(&ingress, signed(&body)).await, 200, "{trigger}");
    }
    let foreign = notification("message.opened", &json!({ "message_id": "m", "label": "spring-campaign" }));
    assert_eq!(status(&ingress, signed(&foreign)).await, 200);
    // Nor is anything stored of what nobody wants.
    let long = notification("message.updated", &json!({ "body": "x".repeat(MIB) }));
    assert_eq!(status(&ingress, signed(&long)).await, 200);
    aws.assert_untouched();
}

#[tokio::test]
async fn signed_body_that_is_no_notification_is_200_and_parked_whole() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("not-a-nylas-notification")).await, 200);
    let parked = aws.take_only();
    assert_eq!((parked.queue.as_str(), parked.body.as_bytes()), ("unroutable", &*raw_body("not-a-nylas-notification")));
    // A standard queue takes neither.
    assert_eq!((parked.group, parked.deduplication_id), (None, None));

    for body in ["not json", "[]", "7", r#"{"deltas":[]}"#, r#"{"type":"message.created","id":"","data":{}}"#] {
        assert_eq!(status(&ingress, signed(body.as_bytes())).await, 200, "{body}");
        let parked = aws.take_only();
        assert_eq!((parked.queue.as_str(), parked.body.as_str()), ("unroutable", body));
    }
    assert!(aws.stored().is_empty());
}

#[tokio::test]
async fn signed_empty_body_is_parked_through_the_bucket_because_sqs_takes_no_empty_message() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, signed(b"")).await, 200);
    let parked = aws.take_only();
    assert_eq!(parked.queue, "unroutable");
    assert_in_bucket(&aws, &parked, b"");
}

#[tokio::test]
async fn every_line_of_the_routing_table_reaches_its_queue_in_its_group() {
    const MAIL: &str = "email-activity";
    const CALENDAR: &str = "calendar-sync";
    const NOTETAKER: &str = "notetaker-media";
    const ONBOARDING: &str = "onboarding-transitions";
    const TRIAGE: &str = "ticket-triage";
    const CONTACTS: &str = "contact-sync";

    let customer = "customer:0123456789abcdef0123456789abcdef";
    let of_thread = json!({ "id": "m", "thread_id": "t", "grant_id": "g" });
    let of_support = json!({ "id": "m", "thread_id": "t", "grant_id": SUPPORT_GRANT });
    let occurrence = json!({ "id": "e_1", "master_event_id": "e", "grant_id": "g" });
    let tracked = json!({ "message_id": "m", "label": LABEL });
    let bounced = json!({ "message_id": "m", "grant_id": "g" });
    let bounced_support = json!({ "message_id": "m", "grant_id": SUPPORT_GRANT });
    let booking = json!({ "booking_id": "b", "configuration_id": "c" });
    let of_grant = json!({ "id": "x", "grant_id": "g" });
    let table: [(&str, &Value, &[&str], &str); 27] = [
        ("message.created", &of_thread, &[MAIL], "thread:t"),
        ("message.created", &json!({ "id": "m" }), &[MAIL], "message:m"),
        ("message.created", &json!({}), &[MAIL], "notification:n-1"),
        ("message.created", &of_support, &[TRIAGE], "thread:t"),
        ("message.created.cleaned", &of_thread, &[MAIL], "thread:t"),
        ("message.created.transformed", &of_thread, &[MAIL], "thread:t"),
        ("message.created.truncated", &of_thread, &[MAIL], "thread:t"),
        ("message.created.metadata", &of_thread, &[MAIL], "thread:t"),
        ("event.created", &of_grant, &[CALENDAR], "event:x"),
        ("event.updated", &occurrence, &[CALENDAR], "event:e"),
        ("event.deleted", &of_grant, &[CALENDAR], "event:x"),
        ("notetaker.created", &of_grant, &[NOTETAKER], "notetaker:x"),
        ("notetaker.media", &of_grant, &[NOTETAKER], "notetaker:x"),
        ("notetaker.meeting_state", &of_grant, &[NOTETAKER], "notetaker:x"),
        ("message.opened", &tracked, &[ONBOARDING], customer),
        ("message.link_clicked", &tracked, &[ONBOARDING], customer),
        ("thread.replied", &tracked, &[ONBOARDING], customer),
        ("message.bounce_detected", &bounced, &[ONBOARDING], "message:m"),
        ("message.bounce_detected", &bounced_support, &[ONBOARDING, TRIAGE], "message:m"),
        ("message.send_failed", &bounced, &[ONBOARDING], "message:m"),
        ("message.send_failed", &bounced_support, &[ONBOARDING, TRIAGE], "message:m"),
        ("booking.created", &booking, &[ONBOARDING], "configuration:c"),
        ("booking.cancelled", &booking, &[ONBOARDING], "configuration:c"),
        ("contact.updated", &of_grant, &[CONTACTS], "grant:g"),
        ("grant.expired", &of_grant, &[CALENDAR], "grant:g"),
        ("grant.created", &of_grant, &[CALENDAR], "grant:g"),
        ("grant.imap_sync_completed", &of_grant, &[CALENDAR], "grant:g"),
    ];
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    for (trigger, object, functions, key) in table {
        let body = notification(trigger, object);
        assert_eq!(status(&ingress, signed(&body)).await, 200, "{trigger}");
        let mut sent = std::mem::take(&mut aws.state().sent);
        sent.sort_by(|one, other| one.queue.cmp(&other.queue));
        let expected: Vec<Sent> = functions
            .iter()
            .map(|function| Sent {
                queue: format!("{}.fifo", if *function == ONBOARDING { "onboarding" } else { function }),
                body: String::from_utf8(body.clone()).expect("a text"),
                group: Some(group(key)),
                deduplication_id: Some(digest(format!("{function}:n-1"))),
                trace: None,
            })
            .collect();
        assert_eq!(sent, expected, "{trigger}");
    }
    assert_eq!(status(&ingress, sample("calendar-event")).await, 200);
    assert_eq!(aws.take_only().queue, "calendar-sync.fifo");
}

#[tokio::test]
async fn grant_beside_the_object_makes_support_mail_too() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let body = json!({
        "id": "n-1", "type": "message.created",
        "data": { "grant_id": SUPPORT_GRANT, "object": { "id": "m", "thread_id": "t" } },
    });
    assert_eq!(status(&ingress, signed(body.to_string().as_bytes())).await, 200);
    assert_eq!(aws.take_only().queue, "ticket-triage.fifo");
}

#[tokio::test]
async fn long_blank_holding_foreign_and_empty_ids_become_names_that_sqs_takes() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let exchange = "AAMkAGI2TG93AAA=".repeat(10)[..152].to_owned();
    for id in [exchange.as_str(), "an id with blanks", "письмо-日本", ""] {
        let body = json!({ "id": format!("n{id}"), "type": "message.created", "data": { "object": { "id": id } } });
        assert_eq!(status(&ingress, signed(body.to_string().as_bytes())).await, 200, "{id}");
        let sent = aws.take_only();
        let key = if id.is_empty() { "notification:n".to_owned() } else { format!("message:{id}") };
        assert_eq!(sent.group, Some(group(&key)), "{id}");
        assert_eq!(sent.deduplication_id, Some(digest(format!("email-activity:n{id}"))), "{id}");
    }
}

#[tokio::test]
async fn redelivery_carries_the_same_deduplication_id() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    for attempt in 1..=2 {
        let body = json!({
            "id": "n-1", "type": "message.created", "webhook_delivery_attempt": attempt,
            "data": { "object": { "id": "m" } },
        });
        assert_eq!(status(&ingress, signed(body.to_string().as_bytes())).await, 200);
    }
    let sent = aws.sent();
    assert_ne!(sent[0].body, sent[1].body);
    assert_eq!(sent[0].deduplication_id, sent[1].deduplication_id);
    assert_eq!(sent[0].group, sent[1].group);
}

// ---- Customer events ----

#[tokio::test]
async fn customer_event_is_202_and_queued_whole_in_the_group_of_the_customer() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("customer-signed-up")).await, 202);
    let key = digest("customer:noor.haddad@lumen-bakery.example")[..32].to_owned();
    assert_eq!(
        aws.take_only(),
        Sent {
            queue: "onboarding.fifo".to_owned(),
            body: raw("customer-signed-up")["body"].as_str().expect("a text").to_owned(),
            // The key that the labels of our mail carry, so that opens and clicks of the customer share the group.
            group: Some(group(&format!("customer:{key}"))),
            deduplication_id: Some(digest("onboarding-transitions:evt_7c20f1a9")),
            trace: None,
        }
    );
}

#[tokio::test]
async fn customer_is_the_same_however_the_address_is_written() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    for email in ["rosa@fabrikam.example", " Rosa@Fabrikam.EXAMPLE "] {
        assert_eq!(status(&ingress, customer(&customer_body("e", email))).await, 202, "{email}");
    }
    let sent = aws.sent();
    assert_eq!(sent[0].group, sent[1].group);
}

#[tokio::test]
async fn customer_event_with_a_missing_or_wrong_signature_is_401_and_nothing_is_queued() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("customer-bad-signature")).await, 401);
    let body = customer_body("e", "rosa@fabrikam.example");
    assert_eq!(status(&ingress, request("POST", CUSTOMER_EVENTS, "", &[], &body)).await, 401, "missing");
    let by_nylas = sign(WEBHOOK_SECRET, &body);
    let of_nylas = request("POST", CUSTOMER_EVENTS, "", &[("x-signature", &by_nylas)], &body);
    assert_eq!(status(&ingress, of_nylas).await, 401, "the secrets of the endpoints are not interchangeable");
    aws.assert_untouched();
}

#[tokio::test]
async fn bad_customer_event_is_400_with_the_error_as_json_and_nothing_is_queued() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let check = |answered: Answered, expected: &str| {
        assert_eq!((answered.status, answered.content_type.as_str()), (400, "application/json"), "{answered:?}");
        let body: Value = serde_json::from_str(&answered.body).expect("JSON");
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
        assert!(body["error"].as_str().is_some_and(|error| error.contains(expected)), "{body} names {expected}");
    };
    check(ask(&ingress, sample("customer-bad-body")).await, "email");
    check(ask(&ingress, customer(b"not json")).await, "not a customer event");
    check(ask(&ingress, customer(b"")).await, "not a customer event");
    check(ask(&ingress, customer(&customer_body("e", "nobody"))).await, "`email`");
    check(ask(&ingress, customer(&customer_body("", "rosa@fabrikam.example"))).await, "`id`");
    aws.assert_untouched();
}

#[tokio::test]
async fn customer_event_without_a_secret_or_with_an_unreadable_one_is_503() {
    for (arn, secret) in [
        ("", Secret::NoValue),
        (CUSTOMER_EVENTS_ARN, Secret::NoValue),
        (CUSTOMER_EVENTS_ARN, Secret::Denied),
        (CUSTOMER_EVENTS_ARN, Secret::Value(String::new())),
    ] {
        let aws = FakeAws::new();
        aws.set(CUSTOMER_EVENTS_ARN, secret.clone());
        let ingress = start_with(&aws, &[("CUSTOMER_EVENTS_SECRET_ARN", arn)]).await;
        assert_eq!(status(&ingress, sample("customer-signed-up")).await, 503, "{secret:?}");
        assert_eq!(status(&ingress, request("POST", CUSTOMER_EVENTS, "", &[], b"{}")).await, 503, "{secret:?}");
        aws.assert_untouched();
        // Notifications know nothing of it.
        assert_eq!(status(&ingress, sample("signed-notification")).await, 200, "{secret:?}");
        assert_eq!(status(&ingress, sample("bad-signature")).await, 401, "{secret:?}");
    }
}

#[tokio::test]
async fn customer_event_with_a_wrong_signature_is_401_even_while_the_webhook_secret_is_unreadable() {
    let aws = FakeAws::new();
    aws.set(WEBHOOK_ARN, Secret::Denied);
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("customer-bad-signature")).await, 401);
}

// ---- Paths, methods, traces ----

#[tokio::test]
async fn other_paths_are_404() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("wrong-path")).await, 404);
    for path in ["/", "/webhooks", "/webhooks/nylas2", "/customers", "/favicon.ico", "//webhooks/nylas"] {
        for method in ["GET", "POST"] {
            assert_eq!(status(&ingress, request(method, path, "challenge=x", &[], b"")).await, 404, "{method} {path}");
        }
    }
    aws.assert_untouched();
}

#[tokio::test]
async fn other_methods_are_405_and_told_which_are_allowed() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    assert_eq!(status(&ingress, sample("wrong-method")).await, 405);
    for (path, methods, allowed) in [
        (NOTIFICATIONS, ["PUT", "DELETE", "PATCH", "OPTIONS"], "GET, POST"),
        (CUSTOMER_EVENTS, ["GET", "PUT", "DELETE", "OPTIONS"], "POST"),
    ] {
        for method in methods {
            let answered = ask(&ingress, request(method, path, "", &[], b"")).await;
            assert_eq!((answered.status, answered.allow.as_deref()), (405, Some(allowed)), "{method} {path}");
        }
    }
    aws.assert_untouched();
}

#[tokio::test]
async fn trailing_slash_changes_nothing() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let challenge = ask(&ingress, request("GET", "/webhooks/nylas/", "challenge=x", &[], b"")).await;
    assert_eq!((challenge.status, challenge.body.as_str()), (200, "x"));
    let body = mail();
    let right = sign(WEBHOOK_SECRET, &body);
    let request = request("POST", "/webhooks/nylas/", "", &[("x-nylas-signature", &right)], &body);
    assert_eq!(status(&ingress, request).await, 200);
    aws.take_only();
}

#[tokio::test]
async fn trace_of_the_invocation_travels_with_every_message() {
    let aws = FakeAws::new();
    let ingress = start(&aws).await;
    let trace = "Root=1-6afac90f-08646c090aa0b640034b2ca2;Parent=53995c3f42cd8ad8;Sampled=1";
    for name in ["signed-notification", "not-a-nylas-notification", "customer-signed-up"] {
        let mut context = Context::default();
        context.xray_trace_id = Some(trace.to_owned());
        let answered = status(&ingress, sample(name).with_lambda_context(context)).await;
        assert!(answered == 200 || answered == 202, "{name}: {answered}");
        assert_eq!(aws.take_only().trace.as_deref(), Some(trace), "{name}");
    }
}

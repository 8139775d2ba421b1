//! Stand-ins for the AWS services that a function calls, on one port of 127.0.0.1: SQS (`SendMessage`,
//! `SendMessageBatch`) and Secrets Manager (`GetSecretValue`). They answer at once with what AWS would answer,
//! refuse what a FIFO queue would refuse, and remember which bodies were queued, so that a wrong one is found.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, Method, Response, StatusCode, Uri},
};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::runtime_api::serve;

/// What one queue has accepted.
#[derive(Debug, Default)]
pub struct Queue {
    /// Deduplication ids seen: a repeated one is accepted and dropped, as SQS does.
    deduplication_ids: HashSet<String>,
    /// How often each body (by its MD5) was queued.
    bodies: HashMap<[u8; 16], usize>,
}

/// What the stand-ins have seen since the last [`StubAws::take`].
#[derive(Debug, Default)]
pub struct Seen {
    /// By queue URL.
    queues: HashMap<String, Queue>,
    /// Requests that the stand-ins do not serve or that AWS would refuse, in words.
    pub refused: Vec<String>,
}

impl Seen {
    /// How often this very body was queued in the queue.
    pub fn times_queued(&self, queue_url: &str, body: &str) -> usize {
        let digest: [u8; 16] = Md5::digest(body.as_bytes()).into();
        self.queues.get(queue_url).and_then(|queue| queue.bodies.get(&digest)).copied().unwrap_or_default()
    }

    /// How many messages were queued in all queues together.
    pub fn messages(&self) -> usize {
        self.queues.values().flat_map(|queue| queue.bodies.values()).sum()
    }
}

struct Shared {
    secrets: HashMap<String, String>,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running stand-ins; they stop when dropped.
pub struct StubAws {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl StubAws {
    /// Opens a port on 127.0.0.1 and serves it. `secrets` holds values by ARN; any other secret has none.
    pub async fn start(secrets: HashMap<String, String>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { secrets, seen: Mutex::default() });
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(Arc::clone(&shared));
        let server = tokio::spawn(serve(listener, router));
        Ok(Self { address, shared, server })
    }

    /// What belongs into the function's `AWS_ENDPOINT_URL`.
    pub fn endpoint_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was seen so far; the stand-ins begin afresh.
    pub fn take(&self) -> Seen {
        std::mem::take(&mut *self.shared.seen())
    }
}

impl Drop for StubAws {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An error as the JSON protocols of AWS carry it.
struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let (content_type, result) = match target {
        "AmazonSQS.SendMessage" => ("application/x-amz-json-1.0", send_message(&shared, &body)),
        "AmazonSQS.SendMessageBatch" => ("application/x-amz-json-1.0", send_message_batch(&shared, &body)),
        "secretsmanager.GetSecretValue" => ("application/x-amz-json-1.1", get_secret_value(&shared, &body)),
        _ => {
            let message = format!("the stand-ins of AWS do not serve {method} {uri} {target}");
            shared.seen().refused.push(message.clone());
            ("application/x-amz-json-1.0", Err(Refusal::new("UnknownOperationException", message)))
        }
    };
    let (status, value) = match result {
        Ok(value) => (StatusCode::OK, value),
        Err(refusal) => (StatusCode::BAD_REQUEST, json!({ "__type": refusal.code, "message": refusal.message })),
    };
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", axum::http::HeaderValue::from_static(content_type));
    response
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessageBatch {
    queue_url: String,
    entries: Vec<Message>,
}

/// A `SendMessage` request (which names the queue) or an entry of a batch (which has an id).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    #[serde(default)]
    id: String,
    #[serde(default)]
    queue_url: String,
    #[serde(rename = "MessageBody")]
    body: String,
    #[serde(rename = "MessageGroupId", default)]
    group_id: String,
    #[serde(rename = "MessageDeduplicationId", default)]
    deduplication_id: String,
    #[serde(rename = "MessageAttributes", default)]
    attributes: BTreeMap<String, Attribute>,
    #[serde(rename = "MessageSystemAttributes", default)]
    system_attributes: BTreeMap<String, Attribute>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    data_type: String,
    string_value: Option<String>,
}

fn send_message(shared: &Shared, body: &[u8]) -> Result<Value, Refusal> {
    let message: Message = parse(shared, body)?;
    accept(shared, &message.queue_url, &message)
}

fn send_message_batch(shared: &Shared, body: &[u8]) -> Result<Value, Refusal> {
    let request: SendMessageBatch = parse(shared, body)?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in &request.entries {
        match accept(shared, &request.queue_url, entry) {
            Ok(mut accepted) => {
                accepted["Id"] = json!(entry.id);
                successful.push(accepted);
            }
            Err(refusal) => failed.push(json!({
                "Id": entry.id, "SenderFault": true, "Code": refusal.code, "Message": refusal.message,
            })),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

fn accept(shared: &Shared, queue_url: &str, message: &Message) -> Result<Value, Refusal> {
    let mut seen = shared.seen();
    if let Err(refusal) = check_ids(message) {
        seen.refused.push(format!("a message for {queue_url}: {}", refusal.message));
        return Err(refusal);
    }
    let digest: [u8; 16] = Md5::digest(message.body.as_bytes()).into();
    let queue = seen.queues.entry(queue_url.to_owned()).or_default();
    if queue.deduplication_ids.insert(message.deduplication_id.clone()) {
        *queue.bodies.entry(digest).or_default() += 1;
    }
    let sequence = queue.deduplication_ids.len();
    let mut accepted = json!({
        "MessageId": format!("00000000-0000-4000-9000-{sequence:012x}"),
        "MD5OfMessageBody": hex::encode(digest),
        "SequenceNumber": format!("{sequence:020}"),
    });
    for (name, attributes) in
        [("MD5OfMessageAttributes", &message.attributes), ("MD5OfMessageSystemAttributes", &message.system_attributes)]
    {
        if !attributes.is_empty() {
            accepted[name] = json!(attributes_md5(attributes));
        }
    }
    Ok(accepted)
}

/// A FIFO queue wants both ids, of 1 to 128 printable ASCII characters each.
fn check_ids(message: &Message) -> Result<(), Refusal> {
    for (name, id) in [("MessageGroupId", &message.group_id), ("MessageDeduplicationId", &message.deduplication_id)] {
        if id.is_empty() {
            return Err(Refusal::new("MissingParameter", format!("{name} is missing")));
        }
        if id.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::new(
                "InvalidParameterValue",
                format!("{name} takes 1 to 128 printable ASCII characters, not {id:?}"),
            ));
        }
    }
    Ok(())
}

/// The digest that SQS defines over attributes: by name, each part preceded by its length in four bytes.
fn attributes_md5(attributes: &BTreeMap<String, Attribute>) -> String {
    fn update(md5: &mut Md5, text: &str) {
        md5.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        md5.update(text.as_bytes());
    }
    /// The mark of a value that is text; no function here sends another kind.
    const TEXT: [u8; 1] = [1];

    let mut md5 = Md5::new();
    for (name, attribute) in attributes {
        update(&mut md5, name);
        update(&mut md5, &attribute.data_type);
        md5.update(TEXT);
        update(&mut md5, attribute.string_value.as_deref().unwrap_or_default());
    }
    hex::encode(md5.finalize())
}

fn get_secret_value(shared: &Shared, body: &[u8]) -> Result<Value, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct GetSecretValue {
        secret_id: String,
    }
    let request: GetSecretValue = parse(shared, body)?;
    let Some(value) = shared.secrets.get(&request.secret_id) else {
        return Err(Refusal::new(
            "ResourceNotFoundException",
            "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
        ));
    };
    Ok(json!({
        "ARN": request.secret_id,
        "Name": request.secret_id.rsplit(':').next(),
        "SecretString": value,
        "VersionId": "00000000-0000-4000-a000-000000000001",
        "VersionStages": ["AWSCURRENT"],
        "CreatedDate": 1_767_225_600.0,
    }))
}

fn parse<T: DeserializeOwned>(shared: &Shared, body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("a request that the stand-ins of AWS cannot read: {error}");
        shared.seen().refused.push(message.clone());
        Refusal::new("SerializationException", message)
    })
}

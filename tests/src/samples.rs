//! The sample files of `events/` read as notifications, so that the demo and the tests replay what people can read.

use base64::Engine as _;
use flate2::read::GzDecoder;
use reqwest::Method;
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::stand_ins::nylas_webhook::signature;

/// A sample cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The file cannot be read.
    #[error("{path} cannot be read; name a file below events/", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{path} is not JSON", path = path.display())]
    NotJson {
        /// Which file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// The file is JSON, but neither a request, an SQS event, a notification nor a job.
    #[error("{path} is neither a Function URL request, an SQS event, a notification nor a job", path = path.display())]
    Unknown {
        /// Which file.
        path: PathBuf,
    },
}

/// Something to be sent to ingress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The file it comes from, without folder and extension.
    pub name: String,
    /// The path it is sent to.
    pub path: String,
    /// The method.
    pub method: String,
    /// The query, without the question mark.
    pub query: String,
    /// The bytes to be signed and sent.
    pub body: Vec<u8>,
    /// True if the body is gzip.
    pub compressed: bool,
    /// The signature in the file, where the sample is one with a wrong signature.
    pub wrong_signature: Option<String>,
}

/// A sample as a request to a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// The method.
    pub method: Method,
    /// The address.
    pub url: String,
    /// The headers, the signature among them.
    pub headers: Vec<(&'static str, String)>,
}

/// Reads a file of `events/`: a Function URL request, the records of an SQS event, or a bare notification or job.
pub fn read(path: &Path) -> Result<Vec<Sample>, SampleError> {
    let text = fs::read(path).map_err(|source| SampleError::File { path: path.to_path_buf(), source })?;
    let value: Value =
        serde_json::from_slice(&text).map_err(|source| SampleError::NotJson { path: path.to_path_buf(), source })?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let notification = |body: Vec<u8>| Sample {
        name: name.clone(),
        path: "/webhooks/nylas".to_owned(),
        method: "POST".to_owned(),
        query: String::new(),
        body,
        compressed: false,
        wrong_signature: None,
    };
    if let Some(records) = value["Records"].as_array() {
        return Ok(records
            .iter()
            .filter_map(|record| Some(notification(record["body"].as_str()?.as_bytes().to_vec())))
            .collect());
    }
    if value["rawPath"].is_string() {
        return Ok(vec![request(&name, &value)]);
    }
    if value["specversion"].is_string() || value["type"].is_string() {
        return Ok(vec![notification(text)]);
    }
    Err(SampleError::Unknown { path: path.to_path_buf() })
}

fn request(name: &str, value: &Value) -> Sample {
    let text = value["body"].as_str().unwrap_or_default();
    let body = match value["isBase64Encoded"].as_bool() {
        Some(true) => base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default(),
        _ => text.as_bytes().to_vec(),
    };
    let header = |wanted: &str| {
        value["headers"]
            .as_object()
            .and_then(|headers| headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)))
            .and_then(|(_, value)| value.as_str())
    };
    let signature = header("x-nylas-signature").or_else(|| header("x-signature"));
    Sample {
        name: name.to_owned(),
        path: value["rawPath"].as_str().unwrap_or_default().to_owned(),
        method: value["requestContext"]["http"]["method"].as_str().unwrap_or("POST").to_owned(),
        query: value["rawQueryString"].as_str().unwrap_or_default().to_owned(),
        compressed: header("content-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip")),
        wrong_signature: signature.filter(|_| name.contains("bad-signature")).map(str::to_owned),
        body,
    }
}

impl Sample {
    /// True if it is an event of the product, not of Nylas.
    #[must_use]
    pub fn is_customer_event(&self) -> bool {
        self.path.starts_with("/customers")
    }

    /// True if it is a job of our own making, for the queue itself and not for ingress.
    #[must_use]
    pub fn is_job(&self) -> bool {
        serde_json::from_str::<Value>(&self.text())
            .is_ok_and(|body| body["type"].is_string() && body.get("data").is_none())
            && !self.is_customer_event()
    }

    /// The request to the stack with this `WebhookUrl`, signed with this secret.
    #[must_use]
    pub fn request(&self, webhook_url: &str, secret: &str) -> SignedRequest {
        let base = webhook_url.trim_end_matches("/webhooks/nylas");
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let header = if self.is_customer_event() { "X-Signature" } else { "X-Nylas-Signature" };
        let signed = self.wrong_signature.clone().unwrap_or_else(|| signature(secret, &self.body));
        let mut headers = vec![("Content-Type", "application/json".to_owned()), (header, signed)];
        if self.compressed {
            headers.push(("Content-Encoding", "gzip".to_owned()));
        }
        SignedRequest {
            method: Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::POST),
            url: format!("{base}{}{query}", self.path),
            headers,
        }
    }

    /// The body as text, inflated if it is gzip.
    #[must_use]
    pub fn text(&self) -> String {
        let mut inflated = Vec::new();
        if self.compressed && GzDecoder::new(self.body.as_slice()).read_to_end(&mut inflated).is_ok() {
            return String::from_utf8_lossy(&inflated).into_owned();
        }
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The id of the notification, if the sample is one.
    #[must_use]
    pub fn notification_id(&self) -> Option<String> {
        serde_json::from_str::<Value>(&self.text()).ok()?["id"].as_str().map(str::to_owned)
    }

    /// When Nylas told of it, in Unix seconds, if the sample is a notification.
    #[must_use]
    pub fn told_at(&self) -> Option<i64> {
        serde_json::from_str::<Value>(&self.text()).ok()?["time"].as_i64()
    }

    /// The type of the notification or event, if the sample is one.
    #[must_use]
    pub fn kind(&self) -> Option<String> {
        serde_json::from_str::<Value>(&self.text()).ok()?["type"].as_str().map(str::to_owned)
    }
}

/// All samples of one folder of `events/`, by file name.
pub fn read_folder(folder: &Path) -> Result<Vec<Sample>, SampleError> {
    let entries = fs::read_dir(folder).map_err(|source| SampleError::File { path: folder.to_path_buf(), source })?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let mut samples = Vec::new();
    for path in paths {
        samples.extend(read(&path)?);
    }
    Ok(samples)
}

//! Answers of the Nylas stand-in: bodies with their request ids, pages, and errors in the format of the original.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::stand_ins::server::ErrorAnswer;

/// What a call comes to.
pub(super) type Answered = std::result::Result<Response, ApiError>;

/// What holding a body against the rules comes to.
pub(super) type Checked = std::result::Result<(), ApiError>;

pub(super) const PLANNED_ERROR: ErrorAnswer = |status| ApiError::planned(status).into_response();

/// An answer that can be given once more.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// The body with its `request_id`.
    pub(super) body: Value,
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let request_id = self.body["request_id"].as_str().and_then(|id| HeaderValue::from_str(id).ok());
        let mut response = (self.status, Json(self.body)).into_response();
        for name in ["x-request-id", "x-fastly-id"] {
            response.headers_mut().extend(request_id.clone().map(|id| (HeaderName::from_static(name), id)));
        }
        response
    }
}

/// The first digits of a digest as the original spells the ids of requests and configurations.
pub(super) fn uuid_of(digest: &str) -> String {
    format!("{}-{}-4{}-a{}-{}", &digest[..8], &digest[8..12], &digest[12..15], &digest[15..18], &digest[18..30])
}

pub(super) fn request_id(number: u64) -> String {
    uuid_of(&hex::encode(Sha256::digest(number.to_be_bytes())))
}

/// An error in the API's format.
#[derive(Debug)]
pub(super) struct ApiError {
    status: u16,
    kind: &'static str,
    message: String,
    pub(super) provider_error: Option<Value>,
}

impl ApiError {
    pub(super) fn new(status: u16, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into(), provider_error: None }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    pub(super) fn not_found() -> Self {
        Self::new(404, "not_found_error", "there is no such object")
    }

    /// What the API says for a status that a test plans.
    pub(super) fn planned(status: u16) -> Self {
        let (kind, message) = match status {
            400 => ("invalid_request_error", "the request could not be read"),
            401 => ("unauthorized", "Unauthorized"),
            403 => ("insufficient_scopes", "the grant lacks a scope that this call needs"),
            404 => return Self::not_found(),
            409 => ("conflict", "the object is not in a state that allows this"),
            429 => ("rate_limit_error", "Too many requests."),
            502..=504 => ("provider_error", "The provider did not answer in time."),
            _ => ("internal_error", "Internal error."),
        };
        Self::new(status, kind, message)
    }
}

impl From<ApiError> for Reply {
    fn from(error: ApiError) -> Self {
        let mut body = json!({
            "request_id": request_id(u64::from(error.status) << 32),
            "error": { "type": error.kind, "message": error.message },
        });
        if let Some(provider_error) = error.provider_error {
            body["error"]["provider_error"] = provider_error;
        }
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, body }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        Reply::from(self).into_response()
    }
}

/// Objects and the cursor of the next page.
pub(super) type PageResult = std::result::Result<(Vec<Value>, Option<String>), ApiError>;

pub(super) fn page_body(data: Vec<Value>, cursor: Option<String>) -> Map<String, Value> {
    let mut body = Map::from_iter([("data".to_owned(), Value::from(data))]);
    body.extend(cursor.map(|cursor| ("next_cursor".to_owned(), Value::from(cursor))));
    body
}

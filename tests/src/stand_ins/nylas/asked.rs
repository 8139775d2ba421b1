//! The query of a call to the Nylas stand-in: filters, pages, and what of an object is shown.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::answers::{ApiError, PageResult};

/// Header names that `fields=include_basic_headers` leaves in.
const BASIC_HEADERS: [&str; 3] = ["message-id", "in-reply-to", "references"];

/// The metadata keys that can be asked for.
const INDEXED_KEYS: [&str; 5] = ["key1", "key2", "key3", "key4", "key5"];

/// The query of a call, held against the names that the call takes.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(super) fn check(query: Vec<(String, String)>, known: &[&str]) -> std::result::Result<Self, ApiError> {
        match query.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(ApiError::invalid(format!("unknown query parameter {name}"))),
            None => Ok(Self(query)),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str) -> std::result::Result<Option<i64>, ApiError> {
        let parse = |value: &str| value.parse().map_err(|_| ApiError::invalid(format!("{name} is not a number")));
        self.text(name).map(parse).transpose()
    }

    pub(super) fn limit(&self, (default, most): (usize, usize)) -> std::result::Result<usize, ApiError> {
        match self.number("limit")? {
            None => Ok(default),
            Some(limit) => usize::try_from(limit)
                .ok()
                .filter(|limit| (1..=most).contains(limit))
                .ok_or_else(|| ApiError::invalid(format!("limit must be between 1 and {most}"))),
        }
    }

    /// Whether this was said; `otherwise` where nothing was.
    pub(super) fn flag(&self, name: &str, otherwise: bool) -> std::result::Result<bool, ApiError> {
        let parse = |value: &str| value.parse().map_err(|_| ApiError::invalid(format!("{name} must be true or false")));
        self.text(name).map_or(Ok(otherwise), parse)
    }

    /// The key and the value that `metadata_pair` asks for. Only five keys are indexed, and filters of the provider cannot
    /// be asked for with it (Nylas docs, `dev-guide/metadata`): only the names in `beside` can.
    pub(super) fn metadata_pair(&self, beside: &[&str]) -> std::result::Result<Option<(&str, &str)>, ApiError> {
        let Some(pair) = self.text("metadata_pair") else { return Ok(None) };
        let is_other = |name: &str| name != "metadata_pair" && !beside.contains(&name);
        if let Some((name, _)) = self.0.iter().find(|(name, _)| is_other(name)) {
            return Err(ApiError::invalid(format!("metadata_pair takes no other filter beside it, and {name} is one")));
        }
        match pair.split_once(':') {
            Some((key, value)) if INDEXED_KEYS.contains(&key) => Ok(Some((key, value))),
            _ => Err(ApiError::invalid(format!("metadata_pair takes key:value with a key out of {INDEXED_KEYS:?}"))),
        }
    }

    /// The position that the page begins at.
    pub(super) fn start(&self) -> std::result::Result<usize, ApiError> {
        match self.text("page_token") {
            None => Ok(0),
            Some(token) => URL_SAFE_NO_PAD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| text.strip_prefix("from:")?.parse().ok())
                .ok_or_else(|| ApiError::invalid("page_token is not a cursor of this listing")),
        }
    }

    /// The cursor of the page that begins at this position.
    pub(super) fn cursor(position: usize) -> String {
        URL_SAFE_NO_PAD.encode(format!("from:{position}"))
    }

    /// One page of the objects, with the cursor of the next one if there is more.
    pub(super) fn page(&self, objects: Vec<Value>, bounds: (usize, usize), largest_page: usize) -> PageResult {
        let limit = self.limit(bounds)?.min(largest_page);
        let start = self.start()?;
        let more = objects.len() > start.saturating_add(limit);
        let cursor = more.then(|| Self::cursor(start + limit));
        Ok((objects.into_iter().skip(start).take(limit).collect(), cursor))
    }

    /// The object as `fields` and `select` want it shown.
    pub(super) fn show(&self, message: &Value) -> std::result::Result<Value, ApiError> {
        let mut shown = message.clone();
        let Some(object) = shown.as_object_mut() else {
            return Ok(shown);
        };
        let headers = object.remove("headers").unwrap_or_else(|| json!([]));
        let tracking = object.remove("tracking_options");
        let raw_mime = object.remove("raw_mime");
        match self.text("fields") {
            None | Some("standard") => {}
            Some("include_headers") => {
                object.insert("headers".to_owned(), headers);
            }
            Some("include_basic_headers") => {
                let is_basic = |header: &Value| {
                    header["name"].as_str().is_some_and(|name| BASIC_HEADERS.contains(&name.to_lowercase().as_str()))
                };
                let basic: Vec<Value> =
                    headers.as_array().into_iter().flatten().filter(|h| is_basic(h)).cloned().collect();
                object.insert("headers".to_owned(), Value::from(basic));
            }
            Some("include_tracking_options") => {
                object.extend(tracking.map(|value| ("tracking_options".to_owned(), value)));
            }
            Some("raw_mime") => {
                let raw_mime =
                    raw_mime.ok_or_else(|| ApiError::invalid("the source of this message is not available"))?;
                object.retain(|key, _| matches!(key.as_str(), "id" | "grant_id" | "object"));
                object.insert("raw_mime".to_owned(), raw_mime);
            }
            Some(other) => return Err(ApiError::invalid(format!("fields does not take {other}"))),
        }
        if let Some(select) = self.text("select") {
            let wanted: Vec<&str> = select.split(',').map(str::trim).collect();
            object.retain(|key, _| wanted.contains(&key.as_str()));
        }
        Ok(shown)
    }
}

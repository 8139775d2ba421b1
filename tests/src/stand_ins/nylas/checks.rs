//! What the Nylas stand-in asks of the body of a request, whatever it is about: its keys, and the kinds of its values.

use axum::body::Bytes;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::answers::{ApiError, Checked};

/// What metadata may hold (Nylas docs, `dev-guide/metadata`).
const MOST_METADATA: usize = 50;
const LONGEST_METADATA_KEY: usize = 40;
const LONGEST_METADATA_VALUE: usize = 500;

type Read<T> = std::result::Result<T, ApiError>;

/// The object that a request bears.
pub(super) fn object_of(body: &Bytes) -> Read<Map<String, Value>> {
    serde_json::from_slice(body).map_err(|_| ApiError::invalid("the body is not a JSON object"))
}

pub(super) fn refuse_unknown_keys(object: &Map<String, Value>, known: &[&str], place: &str) -> Checked {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(ApiError::invalid(format!("{place} does not take {key}"))),
        None => Ok(()),
    }
}

/// What stands under a key; none if it is missing or null.
fn value_in<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn read_in<'a, T>(
    object: &'a Map<String, Value>,
    key: &str,
    read: impl Fn(&'a Value) -> Option<T>,
    kind: &str,
) -> Read<Option<T>> {
    let read_one = |value| read(value).ok_or_else(|| ApiError::invalid(format!("{key} must be {kind}")));
    value_in(object, key).map(read_one).transpose()
}

/// The object of this name; none if it is missing or null.
pub(super) fn object_in<'a>(object: &'a Map<String, Value>, key: &str) -> Read<Option<&'a Map<String, Value>>> {
    read_in(object, key, Value::as_object, "an object")
}

/// The list of this name; none if it is missing or null.
pub(super) fn list_in<'a>(object: &'a Map<String, Value>, key: &str) -> Read<Option<&'a Vec<Value>>> {
    read_in(object, key, Value::as_array, "a list")
}

/// The text of this name; none if it is missing or null.
pub(super) fn text_in<'a>(object: &'a Map<String, Value>, key: &str) -> Read<Option<&'a str>> {
    read_in(object, key, Value::as_str, "a text")
}

/// The truth value of this name; none if it is missing or null.
pub(super) fn flag_in(object: &Map<String, Value>, key: &str) -> Read<Option<bool>> {
    read_in(object, key, Value::as_bool, "true or false")
}

/// The whole number of this name; none if it is missing or null.
pub(super) fn number_in(object: &Map<String, Value>, key: &str) -> Read<Option<i64>> {
    read_in(object, key, Value::as_i64, "a whole number")
}

/// What is there, where it must be.
pub(super) fn required<T>(value: Option<T>, key: &str) -> Read<T> {
    value.ok_or_else(|| ApiError::invalid(format!("{key} is required")))
}

/// The objects of the list of this name; none of them if it is missing or null.
pub(super) fn objects_in<'a>(object: &'a Map<String, Value>, key: &str) -> Read<Vec<&'a Map<String, Value>>> {
    let read = |value: &'a Value| value.as_object().ok_or_else(|| ApiError::invalid(format!("{key} takes objects")));
    list_in(object, key)?.into_iter().flatten().map(read).collect()
}

pub(super) fn check_texts(object: &Map<String, Value>, keys: &[&str]) -> Checked {
    keys.iter().try_for_each(|key| text_in(object, key).map(|_| ()))
}

pub(super) fn check_flags(object: &Map<String, Value>, keys: &[&str]) -> Checked {
    keys.iter().try_for_each(|key| flag_in(object, key).map(|_| ()))
}

/// Refuses a text that would break out of the header line that it stands in.
pub(super) fn refuse_control_characters(text: &str, place: &str) -> Checked {
    if text.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("{place} holds a line break or another control character")));
    }
    Ok(())
}

/// Whether mail could go to this address.
pub(super) fn is_plausible_address(address: &str) -> bool {
    let is_foreign = |letter: char| letter.is_control() || letter.is_whitespace() || "<>(),;:\"@".contains(letter);
    let is_labelled = |domain: &str| domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    address.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && is_labelled(domain) && !local.contains(is_foreign) && !domain.contains(is_foreign)
    })
}

/// Whether a body's `metadata` is one that is kept.
pub(super) fn check_metadata(object: &Map<String, Value>) -> Checked {
    let Some(metadata) = object_in(object, "metadata")? else { return Ok(()) };
    let fits = |key: &str, value: &Value| {
        let is_short = |value: &str| value.chars().count() <= LONGEST_METADATA_VALUE;
        key.chars().count() <= LONGEST_METADATA_KEY && value.as_str().is_some_and(is_short)
    };
    if metadata.len() > MOST_METADATA || metadata.iter().any(|(key, value)| !fits(key, value)) {
        return Err(ApiError::invalid(format!(
            "metadata takes at most {MOST_METADATA} pairs of texts, keys of at most {LONGEST_METADATA_KEY} characters and \
             values of at most {LONGEST_METADATA_VALUE}"
        )));
    }
    Ok(())
}

/// Whether a text is the name of a time zone.
pub(super) fn check_time_zone(name: &str) -> Checked {
    TimeZone::get(name).map(|_| ()).map_err(|_| ApiError::invalid(format!("{name} is not the name of a time zone")))
}

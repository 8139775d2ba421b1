//! Idempotency keys of the Nylas stand-in: what the first send with a key was answered, kept per grant for an hour.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use super::answers::{ApiError, Reply};

/// The header that says that an answer is an earlier one again.
pub(super) const IDEMPOTENT_RESPONSE: &str = "idempotent-response";

const KEPT_FOR: Duration = Duration::from_hours(1);

const LONGEST_KEY: usize = 256;

/// A grant and a key of it.
type Slot = (String, String);

/// The keys that were used within the hour.
#[derive(Debug, Default)]
pub(super) struct Keys(Mutex<HashMap<Slot, Kept>>);

#[derive(Debug)]
struct Kept {
    payload: Map<String, Value>,
    since: Instant,
    /// Empty while the send is being carried out.
    reply: Arc<OnceLock<Reply>>,
}

/// What becomes of a send that bears a key.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is the first: it is to be carried out, and its answer to be put here.
    First(Arc<OnceLock<Reply>>),
    /// It was carried out before, with this answer.
    Again(Reply),
}

impl Keys {
    pub(super) fn begin(
        &self,
        grant_id: &str,
        key: &str,
        payload: &Map<String, Value>,
    ) -> std::result::Result<Begun, ApiError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, one| one.since.elapsed() < KEPT_FOR);
        let slot = (grant_id.to_owned(), key.to_owned());
        let Some(known) = kept.get(&slot) else {
            let reply = Arc::default();
            let first = Kept { payload: payload.clone(), since: Instant::now(), reply: Arc::clone(&reply) };
            kept.insert(slot, first);
            return Ok(Begun::First(reply));
        };
        if known.payload != *payload {
            return Err(ApiError::new(
                409,
                "api.invalid_idempotent_request",
                "This Idempotency-Key was used with another payload before.",
            ));
        }
        known.reply.get().cloned().map(Begun::Again).ok_or_else(|| {
            ApiError::new(
                409,
                "api.concurrent_idempotent_request",
                "The first request with this Idempotency-Key is still being carried out.",
            )
        })
    }

    /// Forgets all keys, those of sends under way too.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The key that a request bears, if it bears one.
pub(super) fn key_of(headers: &HeaderMap) -> std::result::Result<Option<String>, ApiError> {
    let refuse = |message| ApiError::new(400, "api.invalid_idempotency_key", message);
    let Some(key) = headers.get("idempotency-key").filter(|key| !key.is_empty()) else { return Ok(None) };
    let key = key.to_str().map_err(|_| refuse("The Idempotency-Key holds characters that a header does not take."))?;
    if key.chars().count() > LONGEST_KEY {
        return Err(refuse("The Idempotency-Key is longer than 256 characters."));
    }
    Ok(Some(key.to_owned()))
}

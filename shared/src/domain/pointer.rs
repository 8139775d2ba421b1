//! The claim check: what a queue message carries when a body cannot travel in the queue itself.
//!
//! The body lies in the archive bucket under `bodies/`; the message holds this pointer instead, as JSON.

use serde::{Deserialize, Serialize};

use super::digest::sha256_hex;
use super::queue_message::queue_accepts;

/// The longest body, in bytes, that travels in a queue message. SQS takes 1 MiB, attributes included;
/// what is over this goes to the archive bucket.
pub const MAX_INLINE_BYTES: usize = 900 * 1024;

/// The prefix of all bodies in the archive bucket. A lifecycle rule removes them after 35 days,
/// longer than any message can live (14 days in a queue, 14 in its dead-letter queue).
pub const BODIES_PREFIX: &str = "bodies/";

/// Where a body lies, and what it must hash to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyPointer {
    /// Always [`BodyPointer::TYPE`]: no Nylas notification and no job has this type.
    #[serde(rename = "type")]
    kind: PointerType,
    /// The key in the archive bucket.
    pub key: String,
    /// Length of the body in bytes.
    pub bytes: usize,
    /// SHA-256 of the body, as hex.
    pub sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum PointerType {
    #[serde(rename = "body.pointer")]
    BodyPointer,
}

impl BodyPointer {
    /// The value of `type` in a pointer.
    pub const TYPE: &'static str = "body.pointer";

    /// The pointer for a body. Equal bodies have equal keys, so storing one twice costs nothing.
    #[must_use]
    pub fn to(body: &[u8]) -> Self {
        let sha256 = sha256_hex(&[body]);
        Self { kind: PointerType::BodyPointer, key: format!("{BODIES_PREFIX}{sha256}"), bytes: body.len(), sha256 }
    }

    /// Reads a queue message as a pointer, if it is one.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        // A pointer is short; a long message is not even scanned.
        if message.len() > 1024 {
            return None;
        }
        serde_json::from_str(message).ok()
    }

    /// The text that travels in the queue.
    #[must_use]
    pub fn to_message(&self) -> String {
        serde_json::json!({
            "type": Self::TYPE, "key": self.key, "bytes": self.bytes, "sha256": self.sha256,
        })
        .to_string()
    }
}

/// The body as a queue message, if one queue message can carry it unchanged.
#[must_use]
pub fn inline(body: &[u8]) -> Option<&str> {
    if body.len() > MAX_INLINE_BYTES {
        return None;
    }
    std::str::from_utf8(body).ok().filter(|text| queue_accepts(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointer_survives_the_queue() {
        let pointer = BodyPointer::to(b"a body");
        assert_eq!(BodyPointer::parse(&pointer.to_message()), Some(pointer.clone()));
        assert!(pointer.key.starts_with("bodies/"));
        assert_eq!(pointer.bytes, 6);
    }

    #[test]
    fn notifications_and_jobs_are_not_pointers() {
        for body in [
            r#"{"type":"message.created","id":"n","data":{}}"#,
            r#"{"type":"reconcile","grant_id":"g"}"#,
            "not json",
            r#"{"type":"body.pointer"}"#,
        ] {
            assert_eq!(BodyPointer::parse(body), None, "{body}");
        }
    }

    #[test]
    fn body_travels_inline_up_to_900_kib_of_characters_that_sqs_takes() {
        let longest = "x".repeat(MAX_INLINE_BYTES);
        assert!(inline(longest.as_bytes()).is_some());
        assert!(inline(format!("{longest}x").as_bytes()).is_none());
        assert!(inline(b"broken \xff utf-8").is_none());
        assert!(inline("\u{fffe}".as_bytes()).is_none());
        assert!(inline("\u{1}".as_bytes()).is_none());
    }
}

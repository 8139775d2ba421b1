//! The names a message carries in a FIFO queue: its group and its deduplication id.
//!
//! SQS takes 1 to 128 ASCII letters, digits and punctuation for both
//! (`SendMessage` in the SQS API reference); Exchange ids are longer and mail ids may hold anything.
//! So neither is ever an outside id: both are digests of one.

use super::digest::sha256_hex;
use super::notification::NotificationId;

/// The group of a message: equal for all notifications about one entity, so that these stay mostly in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(String);

impl GroupId {
    /// The group of an entity: the first 32 hex digits of SHA-256(`<kind>:<key>`).
    #[must_use]
    pub fn of(kind: &str, key: &str) -> Self {
        let mut digest = sha256_hex(&[kind.as_bytes(), b":", key.as_bytes()]);
        digest.truncate(32);
        Self(digest)
    }

    /// The text as SQS takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The deduplication id of a notification in one queue: SHA-256 hex of `<queue>:<notification id>`.
///
/// `queue` is the name of the function that reads the queue, for example `email-activity`, so that the value
/// does not depend on how a stack names its queues.
#[must_use]
pub fn deduplication_id(queue: &str, notification: &NotificationId) -> String {
    sha256_hex(&[queue.as_bytes(), b":", notification.as_str().as_bytes()])
}

/// True if SQS takes the text as a message body unchanged.
///
/// SQS refuses or replaces characters outside `#x9 | #xA | #xD | #x20-#xD7FF | #xE000-#xFFFD | #x10000-#x10FFFF`
/// (Amazon SQS message quotas).
#[must_use]
pub fn queue_accepts(text: &str) -> bool {
    // Every body is scanned, so the scan goes over bytes and to the end: without an early exit it is done many bytes
    // at a time. In UTF-8 a byte below 0x80 is never a part of a longer character.
    let (mut control, mut high) = (false, false);
    for &byte in text.as_bytes() {
        control |= byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r');
        high |= byte == 0xef;
    }
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
    let beyond = || text.as_bytes().windows(3).any(|bytes| matches!(bytes, [0xef, 0xbf, 0xbe | 0xbf]));
    !(control || high && beyond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> NotificationId {
        NotificationId::parse(text).expect("a usable id")
    }

    #[test]
    fn group_is_the_first_32_hex_digits_of_the_digest_of_kind_and_key() {
        assert_eq!(GroupId::of("thread", "t-1").as_str(), &sha256_hex(&[b"thread:t-1"])[..32]);
    }

    #[test]
    fn groups_of_different_kinds_differ_for_one_key() {
        assert_ne!(GroupId::of("thread", "1"), GroupId::of("event", "1"));
    }

    #[test]
    fn deduplication_id_differs_between_queues() {
        assert_ne!(deduplication_id("ticket-triage", &id("n")), deduplication_id("onboarding", &id("n")));
        assert_eq!(deduplication_id("email-activity", &id("n")), sha256_hex(&[b"email-activity:n"]));
    }

    #[test]
    fn exchange_ids_of_152_characters_blanks_and_other_scripts_become_names_that_sqs_takes() {
        let exchange = "AAMkAGI2TG93AAA=".repeat(10)[..152].to_owned();
        for key in [exchange.as_str(), "with blanks in it", "идентификатор-日本", ""] {
            let group = GroupId::of("message", key);
            assert_eq!(group.as_str().len(), 32, "{key}");
            assert!(group.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
        }
        assert_eq!(deduplication_id("email-activity", &id(&exchange)).len(), 64);
        assert_eq!(deduplication_id("email-activity", &id("уведомление")).len(), 64);
    }

    #[test]
    fn characters_that_sqs_refuses_are_seen() {
        for refused in ["\u{0}", "a\u{8}", "\u{b}", "\u{c}", "\u{1f}b", "\u{fffe}", "\u{ffff}"] {
            assert!(!queue_accepts(refused), "{refused:?}");
        }
        for taken in ["", "\t\n\r", "plain", "\u{d7ff}", "\u{e000}", "\u{fffd}", "\u{10000}", "\u{10ffff}", "日本"] {
            assert!(queue_accepts(taken), "{taken:?}");
        }
    }

    proptest! {
        #[test]
        fn scan_of_bytes_agrees_with_the_set_of_characters(
            text in "[\\x00-\\x20ab\u{7f}\u{80}é日\u{d7ff}\u{e000}\u{efbf}\u{ff00}-\u{ffff}\u{10000}\u{10ffff}]{0,6}"
        ) {
            let in_the_set = |character| {
                matches!(
                    character,
                    '\u{9}' | '\u{a}' | '\u{d}' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..
                )
            };
            prop_assert_eq!(queue_accepts(&text), text.chars().all(in_the_set), "{:?}", text);
        }

        #[test]
        fn group_ids_always_fit_sqs(kind in ".*", key in ".*") {
            let group = GroupId::of(&kind, &key);
            prop_assert!(group.as_str().len() == 32 && group.as_str().is_ascii());
        }
    }
}

//! The managed webhook secret: a JSON list that the operator alone writes and ingress reads. An entry is a secret with what
//! is known of it, or the mark of a rotation.
//!
//! Nylas makes a secret and signs with it at once, before anybody can have stored it, and the one before is dead from then
//! on. So a rotation is marked first: while a mark stands, ingress answers an unknown signature with 503, and Nylas brings
//! the notification again. What the list holds at each step is a function of what it held before:
//! [`marked`](ManagedSecrets::marked), then [`renewed`](ManagedSecrets::renewed), a day later
//! [`settled`](ManagedSecrets::settled).

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

/// The secret that Nylas signs its test events with (Nylas API reference, send test event). It is public, so it proves
/// nothing and must never be a live one.
pub const TEST_EVENT_SECRET: &str = "mock-webhook-secret";

/// How long a rotation is marked at first. Nylas's last attempt comes 10 to 20 minutes after the first (Nylas docs,
/// notifications), so what comes while the mark stands meets its end, or another mark.
pub const MARKED_FOR: SignedDuration = SignedDuration::from_mins(30);

/// How long the mark stands once the new secret is stored, for readers that Secrets Manager still shows what was there
/// before.
pub const SETTLES_FOR: SignedDuration = SignedDuration::from_mins(1);

/// How long a secret stays live after another has taken its place: far longer than Nylas brings a notification again.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// A secret of the list. Its text cannot be printed.
#[derive(Debug, Clone)]
pub struct ManagedSecret {
    /// The secret.
    pub secret: SecretString,
    /// The webhook at Nylas that signs with it; none for one that was put there by hand.
    pub webhook_id: Option<String>,
    /// When Nylas made it.
    pub made_at: Option<Timestamp>,
    /// When another took its place.
    pub replaced_at: Option<Timestamp>,
}

/// The mark of a rotation: until then an unknown signature may be that of a secret which is not stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Until when it stands.
    pub rotating_until: Timestamp,
    /// When it was made; none for one that was put there by hand.
    pub marked_at: Option<Timestamp>,
    /// True until the new secret is stored. One that stays so belongs to a rotation that broke off.
    pub unfinished: bool,
}

/// What the managed secret holds.
#[derive(Debug, Clone, Default)]
pub struct ManagedSecrets {
    /// The live secrets.
    pub secrets: Vec<ManagedSecret>,
    /// The mark.
    pub mark: Option<Mark>,
}

/// The text is no list of secrets. It says where, never what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a JSON list of secrets (line {line}, column {column})")]
pub struct NotAList {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Object(Fields),
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Fields {
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotating_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    marked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unfinished: bool,
}

impl ManagedSecrets {
    /// Reads the list. Entries are texts or objects with a `secret`, with `rotating_until`, or with both; what else they
    /// hold is passed over.
    ///
    /// # Errors
    /// If it is no such list.
    pub fn parse(text: &str) -> Result<Self, NotAList> {
        let entries: Vec<Entry> =
            serde_json::from_str(text).map_err(|error| NotAList { line: error.line(), column: error.column() })?;
        let mut read = Self::default();
        for entry in entries {
            let fields = match entry {
                Entry::Text(text) => Fields { secret: Some(text), ..Fields::default() },
                Entry::Object(fields) => fields,
            };
            if let Some(secret) = fields.secret.filter(|secret| !secret.trim().is_empty()) {
                read.secrets.push(ManagedSecret {
                    secret: SecretString::from(secret.trim().to_owned()),
                    webhook_id: fields.webhook_id,
                    made_at: fields.made_at,
                    replaced_at: fields.replaced_at,
                });
            }
            if let Some(rotating_until) = fields.rotating_until {
                let mark = Mark { rotating_until, marked_at: fields.marked_at, unfinished: fields.unfinished };
                read.mark = Some(read.mark.map_or(mark, |standing| standing.joined(mark)));
            }
        }
        Ok(read)
    }

    /// The list as it is stored.
    #[must_use]
    pub fn text(&self) -> SecretString {
        let secrets = self.secrets.iter().map(|secret| Fields {
            secret: Some(secret.secret.expose_secret().to_owned()),
            webhook_id: secret.webhook_id.clone(),
            made_at: secret.made_at,
            replaced_at: secret.replaced_at,
            ..Fields::default()
        });
        let mark = self.mark.map(|mark| Fields {
            rotating_until: Some(mark.rotating_until),
            marked_at: mark.marked_at,
            unfinished: mark.unfinished,
            ..Fields::default()
        });
        let entries: Vec<Fields> = secrets.chain(mark).collect();
        // Texts, times and truth values: there is nothing in it that JSON could not hold.
        SecretString::from(serde_json::to_string(&entries).unwrap_or_else(|_| "[]".to_owned()))
    }

    /// True if a secret of this webhook is there that none has replaced.
    #[must_use]
    pub fn know(&self, webhook_id: &str) -> bool {
        self.secrets
            .iter()
            .any(|secret| secret.webhook_id.as_deref() == Some(webhook_id) && secret.replaced_at.is_none())
    }

    /// True while an unknown signature is answered 503.
    #[must_use]
    pub fn is_marked(&self, now: Timestamp) -> bool {
        self.mark.is_some_and(|mark| mark.rotating_until > now)
    }

    /// True if a rotation was begun, and its secret never stored.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.mark.is_some_and(|mark| mark.unfinished)
    }

    /// Before Nylas is asked for a secret: the mark beside all that stands.
    #[must_use]
    pub fn marked(&self, now: Timestamp) -> Self {
        let mark = Mark { rotating_until: later(now, MARKED_FOR), marked_at: Some(now), unfinished: true };
        Self { secrets: self.secrets.clone(), mark: Some(mark) }
    }

    /// Once Nylas has made a secret: it stands beside all others, which end a day from now, and the mark ends soon. Secrets
    /// that were put there by hand are nobody's to end.
    #[must_use]
    pub fn renewed(&self, secret: SecretString, webhook_id: &str, now: Timestamp) -> Self {
        let mut secrets: Vec<ManagedSecret> = self
            .secrets
            .iter()
            .filter(|standing| standing.secret.expose_secret() != secret.expose_secret())
            .cloned()
            .collect();
        for standing in secrets.iter_mut().filter(|standing| standing.webhook_id.is_some()) {
            standing.replaced_at = standing.replaced_at.or(Some(now));
        }
        let webhook_id = Some(webhook_id.to_owned());
        secrets.push(ManagedSecret { secret, webhook_id, made_at: Some(now), replaced_at: None });
        let marked_at = self.mark.and_then(|mark| mark.marked_at);
        let mark = Mark { rotating_until: later(now, SETTLES_FOR), marked_at, unfinished: false };
        Self { secrets, mark: Some(mark) }
    }

    /// Where Nylas has made no secret: all that stands without the mark.
    #[must_use]
    pub fn unmarked(&self) -> Self {
        Self { secrets: self.secrets.clone(), mark: None }
    }

    /// Without what is over: secrets that were replaced a day ago, and a mark whose time has passed and whose secret is
    /// stored.
    #[must_use]
    pub fn settled(&self, now: Timestamp) -> Self {
        let is_over =
            |secret: &ManagedSecret| secret.replaced_at.is_some_and(|replaced| later(replaced, KEPT_FOR) <= now);
        Self {
            secrets: self.secrets.iter().filter(|secret| !is_over(secret)).cloned().collect(),
            mark: self.mark.filter(|mark| mark.unfinished || mark.rotating_until > now),
        }
    }
}

impl Mark {
    /// Two marks as one: that of the later end, unfinished if one of them is.
    fn joined(self, other: Self) -> Self {
        let later = if other.rotating_until > self.rotating_until { other } else { self };
        Self { unfinished: self.unfinished || other.unfinished, ..later }
    }
}

/// A time this much later, or the last there is.
fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn texts(list: &ManagedSecrets) -> Vec<&str> {
        list.secrets.iter().map(|secret| secret.secret.expose_secret()).collect()
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        (0..400_000_i64).prop_map(|second| at(1_772_000_000 + second))
    }

    fn lists() -> impl Strategy<Value = ManagedSecrets> {
        let webhook = prop::option::of("w[0-2]");
        let secret = ("s[0-9]{6}", webhook, prop::option::of(times()), prop::option::of(times())).prop_map(
            |(secret, webhook_id, made_at, replaced_at)| {
                let replaced_at = replaced_at.filter(|_| webhook_id.is_some());
                ManagedSecret { secret: SecretString::from(secret), webhook_id, made_at, replaced_at }
            },
        );
        let mark = (times(), prop::option::of(times()), any::<bool>())
            .prop_map(|(rotating_until, marked_at, unfinished)| Mark { rotating_until, marked_at, unfinished });
        (prop::collection::vec(secret, 0..5), prop::option::of(mark))
            .prop_map(|(secrets, mark)| ManagedSecrets { secrets, mark })
    }

    #[test]
    fn list_holds_texts_objects_and_marks_and_what_else_an_entry_says_is_passed_over() {
        let list = ManagedSecrets::parse(
            r#"["a", {"secret": " b ", "webhook_id": "w", "color": [1]}, {"rotating_until": "2026-03-01T10:00:00Z"}, "",
                {"rotating_until": "2026-03-01T09:00:00Z", "unfinished": true}, {"note": "nothing"}]"#,
        )
        .expect("a list");
        assert_eq!(texts(&list), ["a", "b"]);
        assert!(list.know("w") && !list.know("a"));
        let mark = list.mark.expect("a mark");
        assert_eq!((mark.rotating_until, mark.unfinished), (at(1_772_359_200), true), "the later end, and unfinished");
        for text in ["plain text", "{}", "[1]", r#"["whsec"#, ""] {
            let error = ManagedSecrets::parse(text).expect_err(text).to_string();
            assert!(!error.contains("whsec"), "{error}");
        }
    }

    #[test]
    fn secret_is_printed_by_nothing() {
        let list = ManagedSecrets::default().renewed(SecretString::from("hush-hush"), "w", at(0));
        assert!(!format!("{list:?} {:?}", list.text()).contains("hush"));
    }

    #[test]
    fn secret_is_known_as_long_as_none_has_replaced_it_and_kept_a_day_longer() {
        let first = ManagedSecrets::default().marked(at(0)).renewed(SecretString::from("one"), "w", at(10));
        assert!(first.know("w") && !first.is_unfinished() && first.is_marked(at(69)) && !first.is_marked(at(70)));
        let second = first.marked(at(1000)).renewed(SecretString::from("two"), "w", at(1010));
        assert_eq!(texts(&second), ["one", "two"]);
        let day = KEPT_FOR.as_secs();
        assert_eq!(texts(&second.settled(at(1009 + day))), ["one", "two"]);
        assert_eq!(texts(&second.settled(at(1010 + day))), ["two"]);
        assert!(second.settled(at(1010 + day)).know("w") && second.settled(at(1070)).mark.is_none());
    }

    #[test]
    fn mark_whose_secret_was_never_stored_outlives_its_time() {
        let broken_off = ManagedSecrets::default().marked(at(0));
        assert!(!broken_off.is_marked(at(1800)) && broken_off.settled(at(999_999)).is_unfinished());
        assert!(broken_off.unmarked().mark.is_none());
    }

    proptest! {
        #[test]
        fn what_is_stored_is_what_is_read(list in lists()) {
            let text = list.text();
            let read = ManagedSecrets::parse(text.expose_secret()).expect("a list");
            prop_assert_eq!(read.text().expose_secret(), text.expose_secret());
            prop_assert_eq!((texts(&read), read.mark), (texts(&list), list.mark));
        }

        #[test]
        fn no_step_loses_a_live_secret(list in lists(), now in times()) {
            let standing = texts(&list);
            prop_assert_eq!(texts(&list.marked(now)), standing.clone());
            prop_assert_eq!(texts(&list.unmarked()), standing.clone());
            let renewed = list.renewed(SecretString::from("fresh"), "w0", now);
            prop_assert!(standing.iter().all(|secret| texts(&renewed).contains(secret)));
            prop_assert!(texts(&renewed).contains(&"fresh") && renewed.know("w0") && renewed.is_marked(now));
            prop_assert!(!renewed.is_unfinished() && list.marked(now).is_unfinished() && list.marked(now).is_marked(now));
        }

        #[test]
        fn secret_ends_a_day_after_it_was_replaced_and_never_before(list in lists(), now in times()) {
            let settled = list.settled(now);
            for secret in &list.secrets {
                let ends = secret.replaced_at.map(|replaced| later(replaced, KEPT_FOR));
                let is_there = texts(&settled).contains(&secret.secret.expose_secret());
                prop_assert!(is_there || ends.is_some_and(|ends| ends <= now));
            }
            prop_assert!(settled.secrets.iter().all(|secret| {
                secret.replaced_at.is_none_or(|replaced| later(replaced, KEPT_FOR) > now)
            }));
            prop_assert_eq!(list.is_marked(now), settled.is_marked(now));
        }

        #[test]
        fn of_two_rotations_both_secrets_are_live_and_only_the_later_stays(
            list in lists(), now in times(), after in 1..86_400_i64,
        ) {
            let then = later(now, SignedDuration::from_secs(after));
            let twice = list
                .marked(now).renewed(SecretString::from("first"), "w1", now).settled(then)
                .marked(then).renewed(SecretString::from("second"), "w1", then);
            prop_assert!(["first", "second"].iter().all(|secret| texts(&twice).contains(secret)));
            let settled = twice.settled(later(then, KEPT_FOR));
            prop_assert!(texts(&settled).contains(&"second") && !texts(&settled).contains(&"first"));
        }
    }
}

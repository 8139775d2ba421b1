//! How a webhook stands at Nylas: what its state means and what to do, and whether its secret is at hand. Pure.

use jiff::{SignedDuration, Timestamp};
use shared::domain::webhook_secrets::ManagedSecrets;
use shared::nylas::webhooks::Webhook;

use crate::times::shown;

/// Nylas stops 72 hours after a webhook began to fail (Nylas docs, failing and failed webhooks).
const FAILING_FOR: SignedDuration = SignedDuration::from_hours(72);

/// The state of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nylas delivers.
    Active,
    /// Somebody paused it.
    Paused,
    /// Nearly all deliveries of the last quarter of an hour failed.
    Failing,
    /// Nylas has given up.
    Failed,
    /// One that is not known here.
    Other(String),
}

impl State {
    /// The state that Nylas tells.
    #[must_use]
    pub fn of(webhook: &Webhook) -> Self {
        match webhook.status.as_deref() {
            Some("active") => Self::Active,
            Some("pause" | "inactive") => Self::Paused,
            Some("failing") => Self::Failing,
            Some("failed") => Self::Failed,
            other => Self::Other(other.unwrap_or("not told").to_owned()),
        }
    }

    /// What it means, in a sentence.
    #[must_use]
    pub fn meaning(&self) -> String {
        match self {
            Self::Active => "Nylas delivers",
            Self::Paused => "somebody paused it: Nylas delivers nothing, and keeps nothing for later",
            Self::Failing => {
                "nearly all deliveries of a quarter of an hour were not answered 200: Nylas goes on with longer and longer \
                 pauses, and gives up after 72 hours"
            }
            Self::Failed => "nearly all deliveries of 72 hours were not answered 200: Nylas delivers nothing any more",
            Self::Other(state) => {
                return format!("Nylas tells the state `{state}`, which this release does not know");
            }
        }
        .to_owned()
    }

    /// What people have to do; none if nothing.
    #[must_use]
    pub fn to_do(&self) -> Option<&'static str> {
        match self {
            Self::Active => None,
            Self::Paused => Some("make subscribe ACTIVATE=1 has Nylas deliver again"),
            Self::Failing => Some(
                "make doctor tells what is wrong with the endpoint; once it answers, Nylas goes on by itself, or at once \
                 with make subscribe ACTIVATE=1",
            ),
            Self::Failed => Some("make doctor tells what is wrong with the endpoint; then make subscribe"),
            Self::Other(_) => Some("look at the webhook in the Nylas dashboard"),
        }
    }

    /// True if it should be made active. Nobody chose that it failed, and Nylas only takes it back once the endpoint answers
    /// its challenge; that it is paused somebody chose.
    #[must_use]
    pub fn wants_activation(&self, asked: bool) -> bool {
        match self {
            Self::Active => false,
            Self::Failed => true,
            Self::Paused | Self::Failing | Self::Other(_) => asked,
        }
    }

    /// From when on notifications may be missing, now that it is active again; none if it always was.
    #[must_use]
    pub fn missing_since(&self, webhook: &Webhook) -> Option<String> {
        let since = Timestamp::from_second(webhook.status_updated_at?).ok()?;
        let since = match self {
            Self::Active => return None,
            Self::Failed => since.checked_sub(FAILING_FOR).ok()?,
            Self::Paused | Self::Failing | Self::Other(_) => since,
        };
        Some(shown(since.as_second()))
    }
}

/// What is to become of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    /// There is no webhook: it is made, and its secret with it.
    Created,
    /// Another one is made, for this reason.
    Rotated(Why),
    /// It is the managed one.
    Managed,
    /// It is taken to be that of the parameter `NylasWebhookSecret`.
    OfParameter,
}

/// Why another secret is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was asked for.
    Asked,
    /// A rotation broke off before its secret was stored.
    BrokenOff,
    /// Nobody has the secret of the webhook.
    Unknown,
}

impl Why {
    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Asked => "as was asked for",
            Self::BrokenOff => "because a rotation broke off before its secret was stored",
            Self::Unknown => "because nobody had the secret of the webhook, which Nylas shows only once",
        }
    }
}

impl Secret {
    /// What is to become of it: a secret that nobody has is of no use, so another is made of it.
    #[must_use]
    pub fn of(webhook: Option<&Webhook>, managed: &ManagedSecrets, has_parameter: bool, rotate: bool) -> Self {
        match webhook {
            None => Self::Created,
            Some(_) if managed.is_unfinished() => Self::Rotated(Why::BrokenOff),
            Some(_) if rotate => Self::Rotated(Why::Asked),
            Some(webhook) if managed.know(&webhook.id) => Self::Managed,
            Some(_) if has_parameter => Self::OfParameter,
            Some(_) => Self::Rotated(Why::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    fn webhook(status: &str) -> Webhook {
        Webhook {
            id: "w".to_owned(),
            status: Some(status.to_owned()),
            status_updated_at: Some(1_772_359_200),
            ..Webhook::default()
        }
    }

    #[test]
    fn only_what_failed_is_made_active_unasked_and_what_is_active_never() {
        for (status, unasked, asked) in [
            ("active", false, false),
            ("pause", false, true),
            ("failing", false, true),
            ("failed", true, true),
            ("resting", false, true),
        ] {
            let state = State::of(&webhook(status));
            assert_eq!((state.wants_activation(false), state.wants_activation(true)), (unasked, asked), "{status}");
            assert_eq!(state.to_do().is_none(), status == "active");
            assert!(!state.meaning().is_empty());
        }
        assert!(State::of(&webhook("resting")).meaning().contains("`resting`"));
    }

    #[test]
    fn what_may_be_missing_begins_where_it_was_paused_and_three_days_before_it_had_failed() {
        let since = |status| State::of(&webhook(status)).missing_since(&webhook(status));
        assert_eq!(since("active"), None);
        assert_eq!(since("pause").as_deref(), Some("2026-03-01T10:00:00Z"));
        assert_eq!(since("failed").as_deref(), Some("2026-02-26T10:00:00Z"));
    }

    #[test]
    fn secret_is_made_anew_only_where_nobody_has_it_or_it_is_asked_for() {
        let now = Timestamp::from_second(1_772_359_200).expect("a time");
        let none = ManagedSecrets::default();
        let managed = none.renewed(SecretString::from("s"), "w", now);
        let of_another = none.renewed(SecretString::from("s"), "other", now);
        let webhook = webhook("active");
        let of = |list: &ManagedSecrets, has_parameter, rotate| Secret::of(Some(&webhook), list, has_parameter, rotate);
        assert_eq!(Secret::of(None, &managed, true, false), Secret::Created);
        assert_eq!(of(&managed, true, false), Secret::Managed);
        assert_eq!(of(&none, true, false), Secret::OfParameter);
        assert_eq!(of(&of_another, false, false), Secret::Rotated(Why::Unknown));
        assert_eq!(of(&none, false, false), Secret::Rotated(Why::Unknown));
        for list in [&managed, &none] {
            assert_eq!(of(list, true, true), Secret::Rotated(Why::Asked));
            assert_eq!(of(&list.marked(now), true, false), Secret::Rotated(Why::BrokenOff));
        }
    }
}

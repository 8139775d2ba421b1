//! The live secrets: read at start, when what is known is five minutes old, and when a signature is unknown, at most
//! once in five seconds. The age is what retires a secret that was taken out: signatures under it are known ones.
//!
//! The webhook secret has two places. One holds what the parameter says (several, separated by commas). The other is
//! managed: only the operator writes it, as a JSON list, and a deployment never touches it. Ingress takes the union.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use shared::aws::secrets::{SecretError, Secrets};
use shared::domain::webhook_secrets::{ManagedSecrets, NotAList};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::clock::{Clock, Moment};
use crate::signature::SigningSecret;

/// How often the secrets are re-read at most.
const REREAD_AFTER: Duration = Duration::from_secs(5);

/// How old what is known may be.
const KNOWN_FOR: Duration = Duration::from_mins(5);

/// The secrets of one place as they were last read.
#[derive(Debug, Clone, Default)]
struct Keys {
    live: Vec<SigningSecret>,
    /// The last reading failed, so there may be others by now.
    stale: bool,
}

impl Keys {
    /// What was known before, after a reading that failed: a service that is down must not turn right signatures away.
    fn unread(before: &Self) -> Self {
        Self { live: before.live.clone(), stale: true }
    }
}

/// What is known of the secrets.
#[derive(Debug, Clone, Default)]
pub struct Known {
    parameter: Keys,
    managed: Keys,
    customer_events: Keys,
    /// Until when a rotation is under way: an unknown signature may then be that of a secret not yet written here.
    rotating_until: Option<Timestamp>,
}

impl Known {
    /// The live webhook secrets of both places.
    pub fn webhook(&self) -> impl Iterator<Item = &SigningSecret> {
        self.parameter.live.iter().chain(&self.managed.live)
    }

    /// The live secrets for customer events.
    pub fn customer_events(&self) -> impl Iterator<Item = &SigningSecret> {
        self.customer_events.live.iter()
    }

    /// True if an unknown signature of a notification proves that it is false.
    #[must_use]
    pub fn can_refuse_notification(&self, now: Timestamp) -> bool {
        !self.parameter.stale
            && !self.managed.stale
            && self.webhook().next().is_some()
            && self.rotating_until.is_none_or(|until| until <= now)
    }

    /// True if an unknown signature of a customer event proves that it is false.
    #[must_use]
    pub fn can_refuse_customer_event(&self) -> bool {
        !self.customer_events.stale && !self.customer_events.live.is_empty()
    }
}

/// Where the secrets lie.
#[derive(Debug, Clone)]
pub struct Places {
    /// The secret from the parameter.
    pub webhook: Option<String>,
    /// The secret that the operator writes.
    pub managed: String,
    /// The secret for customer events.
    pub customer_events: Option<String>,
}

/// Keeps what is known of the secrets.
#[derive(Debug)]
pub struct LiveSecrets {
    secrets: Secrets,
    places: Places,
    clock: Clock,
    /// What is known, and when the reading of it began.
    known: RwLock<(Arc<Known>, Moment)>,
}

impl LiveSecrets {
    /// Reads the secrets for the first time. What cannot be read now is read again when it is needed.
    pub async fn read(secrets: Secrets, places: Places, clock: Clock) -> Self {
        // Before the reading, not after it: what is stored while it lasts may not be in it.
        let begun = clock.now();
        let known = read(&secrets, &places, &Known::default()).await;
        Self { secrets, places, clock, known: RwLock::new((Arc::new(known), begun)) }
    }

    /// What is known, read again first if it is old.
    pub async fn current(&self) -> Arc<Known> {
        let age = self.clock.now().since(self.known.read().unwrap_or_else(PoisonError::into_inner).1);
        let fresh = if age < KNOWN_FOR { None } else { self.reread().await };
        fresh.unwrap_or_else(|| self.known())
    }

    /// What is known.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Reads again, unless that was done less than five seconds ago; then there is nothing new.
    pub async fn reread(&self) -> Option<Arc<Known>> {
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let now = self.clock.now();
            if now.since(known.1) < REREAD_AFTER {
                return None;
            }
            known.1 = now;
        }
        let fresh = Arc::new(read(&self.secrets, &self.places, &self.known()).await);
        self.known.write().unwrap_or_else(PoisonError::into_inner).0 = Arc::clone(&fresh);
        Some(fresh)
    }
}

async fn read(secrets: &Secrets, places: &Places, before: &Known) -> Known {
    let value = async |arn: Option<&str>| match arn {
        None => Ok(None),
        Some(arn) => secrets.read(arn).await.inspect_err(|error| tracing::error!(error = %error, "secret unreadable")),
    };
    let (webhook, managed, customer_events) = tokio::join!(
        value(places.webhook.as_deref()),
        value(Some(&places.managed)),
        value(places.customer_events.as_deref())
    );
    let keys = |text: Result<Option<SecretString>, SecretError>, before: &Keys| match text {
        Ok(text) => Keys { live: text.map(|text| separated(text.expose_secret())).unwrap_or_default(), stale: false },
        Err(_) => Keys::unread(before),
    };
    let (managed, rotating_until) = match managed.map(|text| text.map(|text| parse_managed(text.expose_secret()))) {
        Ok(None) => (Keys::default(), None),
        Ok(Some(Ok((live, rotating_until)))) => (Keys { live, stale: false }, rotating_until),
        Ok(Some(Err(error))) => {
            // The position alone: the text around it is a secret.
            tracing::error!(line = error.line, column = error.column, "the managed webhook secret is not a JSON list");
            (Keys::unread(&before.managed), before.rotating_until)
        }
        Err(_) => (Keys::unread(&before.managed), before.rotating_until),
    };
    Known {
        parameter: keys(webhook, &before.parameter),
        managed,
        customer_events: keys(customer_events, &before.customer_events),
        rotating_until,
    }
}

fn separated(text: &str) -> Vec<SigningSecret> {
    text.split(',').filter_map(SigningSecret::parse).collect()
}

fn parse_managed(text: &str) -> Result<(Vec<SigningSecret>, Option<Timestamp>), NotAList> {
    let list = ManagedSecrets::parse(text)?;
    let secrets = list.secrets.iter().filter_map(|secret| SigningSecret::parse(secret.secret.expose_secret()));
    Ok((secrets.collect(), list.mark.map(|mark| mark.rotating_until)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_holds_several_secrets_separated_by_commas() {
        assert_eq!(separated("one, two,,three ").len(), 3);
        assert!(separated(" , ").is_empty());
    }

    #[test]
    fn managed_secret_is_a_list_of_texts_or_objects_and_may_mark_a_rotation() {
        let (secrets, rotating) =
            parse_managed(r#"["a", {"secret": "b"}, {"rotating_until": "2026-03-01T10:00:00Z"}, ""]"#).expect("a list");
        assert_eq!(secrets.len(), 2);
        assert_eq!(rotating.map(Timestamp::as_second), Some(1_772_359_200));
        assert!(parse_managed("plain text").is_err());
        assert!(parse_managed("{}").is_err());
    }

    #[test]
    fn unknown_signature_is_proof_only_when_every_secret_is_known_and_none_is_being_rotated() {
        let now = Timestamp::from_second(1000).expect("a time");
        let keys = |text| Keys { live: separated(text), stale: false };
        let whole = Known { parameter: keys("a"), managed: keys("b"), ..Known::default() };
        assert!(whole.can_refuse_notification(now));
        assert!(Known { managed: Keys::default(), ..whole.clone() }.can_refuse_notification(now), "one is enough");
        let stale = Keys { stale: true, ..keys("a") };
        assert!(!Known { parameter: stale.clone(), ..whole.clone() }.can_refuse_notification(now));
        assert!(!Known { managed: stale.clone(), ..whole.clone() }.can_refuse_notification(now));
        assert!(Known { customer_events: stale.clone(), ..whole.clone() }.can_refuse_notification(now));
        assert!(!Known::default().can_refuse_notification(now), "there is none");
        let until = Timestamp::from_second(1001).expect("a time");
        assert!(!Known { rotating_until: Some(until), ..whole.clone() }.can_refuse_notification(now));
        assert!(Known { rotating_until: Some(now), ..whole.clone() }.can_refuse_notification(now), "over");

        assert!(!whole.can_refuse_customer_event(), "there is none");
        assert!(!Known { customer_events: stale.clone(), ..whole.clone() }.can_refuse_customer_event());
        assert!(Known { customer_events: keys("c"), parameter: stale, ..whole }.can_refuse_customer_event());
    }
}

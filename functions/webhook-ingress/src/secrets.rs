//! The live secrets: read at start, and again when a signature is unknown, at most once in five seconds.
//!
//! The webhook secret has two places. One holds what the parameter says (several, separated by commas). The other is
//! managed: only the operator writes it, as a JSON list, and a deployment never touches it. Ingress takes the union.

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use shared::aws::secrets::Secrets;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::signature::SigningSecret;

/// How often the secrets are re-read at most.
const REREAD_AFTER: Duration = Duration::from_secs(5);

/// What is known of the secrets.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The live webhook secrets.
    pub webhook: Vec<SigningSecret>,
    /// The live secrets for customer events.
    pub customer_events: Vec<SigningSecret>,
    /// Until when a rotation is under way: an unknown signature may then be that of a secret not yet written here.
    pub rotating_until: Option<Timestamp>,
    /// False if a secret could not be read: then an unknown signature may be right.
    pub complete: bool,
}

impl Known {
    /// True if an unknown signature of a notification proves that it is false.
    #[must_use]
    pub fn can_refuse(&self, now: Timestamp) -> bool {
        self.complete && !self.webhook.is_empty() && self.rotating_until.is_none_or(|until| until <= now)
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
    known: RwLock<(Arc<Known>, Instant)>,
}

impl LiveSecrets {
    /// Reads the secrets for the first time. What cannot be read now is read again when it is needed.
    pub async fn read(secrets: Secrets, places: Places) -> Self {
        let known = read(&secrets, &places).await;
        Self { secrets, places, known: RwLock::new((Arc::new(known), Instant::now())) }
    }

    /// What is known.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Reads again, unless that was done less than five seconds ago; then there is nothing new.
    pub async fn reread(&self) -> Option<Arc<Known>> {
        {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.1.elapsed() < REREAD_AFTER {
                return None;
            }
            known.1 = Instant::now();
        }
        let fresh = Arc::new(read(&self.secrets, &self.places).await);
        self.known.write().unwrap_or_else(PoisonError::into_inner).0 = Arc::clone(&fresh);
        Some(fresh)
    }
}

async fn read(secrets: &Secrets, places: &Places) -> Known {
    let value = async |arn: Option<&str>| match arn {
        None => Ok(None),
        Some(arn) => secrets.read(arn).await.inspect_err(|error| tracing::error!(error = %error, "secret unreadable")),
    };
    let (webhook, managed, customer_events) = tokio::join!(
        value(places.webhook.as_deref()),
        value(Some(&places.managed)),
        value(places.customer_events.as_deref())
    );
    let mut known = Known { complete: true, ..Known::default() };
    match webhook {
        Ok(text) => known.webhook = text.map(|text| separated(text.expose_secret())).unwrap_or_default(),
        Err(_) => known.complete = false,
    }
    match managed.map(|text| text.map(|text| parse_managed(text.expose_secret()))) {
        Ok(None) => {}
        Ok(Some(Ok((managed, rotating_until)))) => {
            known.webhook.extend(managed);
            known.rotating_until = rotating_until;
        }
        Ok(Some(Err(error))) => {
            // The position alone: the text around it is a secret.
            tracing::error!(
                line = error.line(),
                column = error.column(),
                "the managed webhook secret is not a JSON list"
            );
            known.complete = false;
        }
        Err(_) => known.complete = false,
    }
    match customer_events {
        Ok(text) => known.customer_events = text.map(|text| separated(text.expose_secret())).unwrap_or_default(),
        Err(_) => known.complete = false,
    }
    known
}

fn separated(text: &str) -> Vec<SigningSecret> {
    text.split(',').filter_map(SigningSecret::parse).collect()
}

/// One entry of the managed list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Object {
        #[serde(default)]
        secret: Option<String>,
        #[serde(default)]
        rotating_until: Option<Timestamp>,
    },
}

fn parse_managed(text: &str) -> Result<(Vec<SigningSecret>, Option<Timestamp>), serde_json::Error> {
    let entries: Vec<Entry> = serde_json::from_str(text)?;
    let mut secrets = Vec::new();
    let mut rotating = None;
    for entry in entries {
        match entry {
            Entry::Text(text) => secrets.extend(SigningSecret::parse(&text)),
            Entry::Object { secret, rotating_until } => {
                secrets.extend(secret.as_deref().and_then(SigningSecret::parse));
                rotating = rotating.max(rotating_until);
            }
        }
    }
    Ok((secrets, rotating))
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
        let whole =
            Known { webhook: separated("a"), customer_events: Vec::new(), rotating_until: None, complete: true };
        assert!(whole.can_refuse(now));
        assert!(!Known { complete: false, ..whole.clone() }.can_refuse(now));
        assert!(!Known { webhook: Vec::new(), ..whole.clone() }.can_refuse(now));
        let until = Timestamp::from_second(1001).expect("a time");
        assert!(!Known { rotating_until: Some(until), ..whole.clone() }.can_refuse(now));
        assert!(Known { rotating_until: Some(now), ..whole }.can_refuse(now), "over");
    }
}

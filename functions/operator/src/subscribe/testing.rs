//! For tests: the webhooks of an application, the managed secret and the log of ingress in memory.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use shared::engine::{Deadline, StoreError};
use shared::http::CallError;
use shared::nylas::NylasError;
use shared::nylas::webhooks::{NewWebhook, Webhook, WithSecret};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

use super::{Kept, Webhooks};
use crate::stack_map::StackMap;

/// The address that notifications are posted to.
pub const URL: &str = "https://abc.lambda-url.eu-west-1.on.aws/webhooks/nylas";

/// A stack with an address, a managed secret and these parameters.
pub fn stack_map(parameters: &[(&str, &str)]) -> StackMap {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
    };
    StackMap {
        status: "UPDATE_COMPLETE".to_owned(),
        parameters: map(parameters),
        outputs: map(&[("WebhookUrl", URL)]),
        resources: map(&[("ManagedWebhookSecret", "arn:managed"), ("WebhookIngressLogGroup", "/aws/lambda/ingress")]),
    }
}

/// What was done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The managed secret was written.
    Kept(String),
    /// A webhook was made.
    Created(NewWebhook),
    /// A webhook was changed.
    Changed(Value),
    /// Another secret was made.
    Rotated,
    /// A test event was sent.
    Tested,
}

/// All that stands in memory.
pub struct Standing {
    /// What the stack is made of.
    pub stack: StackMap,
    /// The webhooks of the application.
    pub webhooks: Vec<Webhook>,
    /// What the managed secret holds.
    pub kept: Option<String>,
    /// How often it was written.
    pub version: usize,
    /// How many secrets Nylas has made; the last one is the live one, `secret-<number>`.
    pub made: usize,
    /// What was done, and when.
    pub done: Vec<(Instant, Done)>,
    /// How Nylas fails to make a secret or to change a webhook, once.
    pub nylas_fails: Option<NylasError>,
    /// True if it made the secret all the same.
    pub made_all_the_same: bool,
    /// Which writes fail, counted from now on.
    pub writes_fail: Vec<usize>,
    /// Put into the managed secret by somebody else right after the next write.
    pub written_over: Option<String>,
    /// What Nylas says of a test event.
    pub said: String,
    /// How many looks into the log it takes until the refusal is there; none if it never comes.
    pub logged_after: Option<usize>,
}

/// The port in memory.
pub struct MemoryWebhooks(Mutex<Standing>);

impl Default for MemoryWebhooks {
    fn default() -> Self {
        Self(Mutex::new(Standing {
            stack: stack_map(&[("CrmBaseUrl", "https://crm.example"), ("AlarmEmail", "ops@northwind.example")]),
            webhooks: Vec::new(),
            kept: None,
            version: 0,
            made: 0,
            done: Vec::new(),
            nylas_fails: None,
            made_all_the_same: false,
            writes_fail: Vec::new(),
            written_over: None,
            said: "failed".to_owned(),
            logged_after: Some(1),
        }))
    }
}

impl MemoryWebhooks {
    /// All that stands.
    pub fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done since the last look, without the times.
    pub fn taken(&self) -> Vec<Done> {
        std::mem::take(&mut self.standing().done).into_iter().map(|(_, done)| done).collect()
    }
}

impl Standing {
    fn note(&mut self, done: Done) {
        self.done.push((Instant::now(), done));
    }

    /// A new secret, or why there is none.
    fn secret(&mut self) -> Result<SecretString, NylasError> {
        let failure = self.nylas_fails.take();
        if failure.is_none() || self.made_all_the_same {
            self.made += 1;
        }
        failure.map_or_else(|| Ok(SecretString::from(format!("secret-{}", self.made))), Err)
    }
}

impl Webhooks for MemoryWebhooks {
    fn stack_name(&self) -> &'static str {
        "autopilot"
    }

    async fn stack(&self) -> Result<StackMap, StoreError> {
        Ok(self.standing().stack.clone())
    }

    async fn kept(&self, arn: &str) -> Result<Kept, StoreError> {
        assert_eq!(arn, "arn:managed");
        let standing = self.standing();
        Ok(Kept { text: standing.kept.clone().map(SecretString::from), version: Some(standing.version.to_string()) })
    }

    async fn keep(&self, arn: &str, text: &SecretString) -> Result<String, StoreError> {
        assert_eq!(arn, "arn:managed");
        let mut standing = self.standing();
        if standing.writes_fail.first() == Some(&0) {
            standing.writes_fail.remove(0);
            return Err(StoreError("Secrets Manager is down".to_owned()));
        }
        standing.writes_fail.iter_mut().for_each(|left| *left -= 1);
        standing.kept = Some(text.expose_secret().to_owned());
        standing.version += 1;
        standing.note(Done::Kept(text.expose_secret().to_owned()));
        let version = standing.version;
        if let Some(others) = standing.written_over.take() {
            standing.kept = Some(others);
            standing.version += 1;
        }
        Ok(version.to_string())
    }

    async fn list(&self, _: Deadline) -> Result<Vec<Webhook>, NylasError> {
        Ok(self.standing().webhooks.clone())
    }

    async fn create(&self, wanted: &NewWebhook, _: Deadline) -> Result<WithSecret, NylasError> {
        let mut standing = self.standing();
        standing.note(Done::Created(wanted.clone()));
        let webhook = Webhook {
            id: "w-1".to_owned(),
            trigger_types: wanted.trigger_types.clone(),
            webhook_url: wanted.webhook_url.clone(),
            description: Some(wanted.description.clone()),
            status: Some("active".to_owned()),
            notification_email_addresses: Some(wanted.notification_email_addresses.clone()),
            compressed_delivery: Some(wanted.compressed_delivery),
            ..Webhook::default()
        };
        let secret = standing.secret();
        if secret.is_ok() || standing.made_all_the_same {
            standing.webhooks.push(webhook.clone());
        }
        Ok(WithSecret { webhook, secret: secret? })
    }

    async fn change(&self, id: &str, change: &Value, _: Deadline) -> Result<Webhook, NylasError> {
        let mut standing = self.standing();
        standing.note(Done::Changed(change.clone()));
        if let Some(error) = standing.nylas_fails.take() {
            return Err(error);
        }
        let webhook = standing.webhooks.iter_mut().find(|webhook| webhook.id == id).expect("it is there");
        let text = |name: &str| change[name].as_str().map(str::to_owned);
        webhook.status = text("status").or(webhook.status.clone());
        webhook.description = text("description").or(webhook.description.clone());
        if let Some(types) = change["trigger_types"].as_array() {
            webhook.trigger_types = types.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        Ok(webhook.clone())
    }

    async fn rotate(&self, id: &str, _: Deadline) -> Result<WithSecret, NylasError> {
        let mut standing = self.standing();
        standing.note(Done::Rotated);
        let webhook = Webhook { id: id.to_owned(), ..Webhook::default() };
        Ok(WithSecret { webhook, secret: standing.secret()? })
    }

    async fn send_test_event(&self, url: &str, _: &str, _: Deadline) -> Result<String, NylasError> {
        assert_eq!(url, URL);
        let mut standing = self.standing();
        standing.note(Done::Tested);
        Ok(standing.said.clone())
    }

    async fn refused_test_event(&self, log_group: &str, _: Timestamp) -> Result<bool, StoreError> {
        assert_eq!(log_group, "/aws/lambda/ingress");
        let mut standing = self.standing();
        let left = standing.logged_after;
        standing.logged_after = left.map(|left| left.saturating_sub(1));
        Ok(left == Some(0))
    }
}

/// Nylas refuses, because the endpoint did not meet its challenge.
pub fn challenge_not_met() -> NylasError {
    let text = r#"{"error":{"type":"70005","message":"unable.verify.webhook_url : status is not ok, got 404"}}"#;
    CallError::Rejected { api: "Nylas", what: "webhook", status: 400, text: text.to_owned() }.into()
}

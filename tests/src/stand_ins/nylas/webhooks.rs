//! Webhooks of the Nylas stand-in: they are made once the endpoint meets its challenge, their secret is shown once, and
//! notifications go through them as they are registered, under the secret that is live at each attempt.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    body::Bytes,
    extract::{Path as UrlPath, State},
    response::Response,
};
use jiff::Timestamp;
use reqwest::Url;
use serde_json::{Map, Value, json};

use super::answers::{Answered, ApiError, Checked};
use super::checks::{flag_in, list_in, object_of, refuse_unknown_keys, required, text_in};
use super::notifications::{ControlError, Controlled};
use super::{Api, Nylas};
use crate::local_engine::FunctionUrl;
use crate::stand_ins::nylas_webhook::{ChallengeFailure, Delivery, NylasWebhook};

/// What a webhook may subscribe to (Nylas API reference, `trigger_types` of a webhook destination).
const TRIGGER_TYPES: [&str; 47] = [
    "calendar.created",
    "calendar.updated",
    "calendar.deleted",
    "event.created",
    "event.updated",
    "event.deleted",
    "grant.created",
    "grant.updated",
    "grant.deleted",
    "grant.expired",
    "grant.imap_sync_completed",
    "message.send_success",
    "message.send_failed",
    "message.bounce_detected",
    "message.created",
    "message.created.cleaned",
    "message.opened",
    "message.opened.legacy",
    "message.updated",
    "message.link_clicked",
    "message.link_clicked.legacy",
    "thread.replied",
    "thread.replied.legacy",
    "contact.updated",
    "contact.deleted",
    "folder.created",
    "folder.updated",
    "folder.deleted",
    "booking.created",
    "booking.pending",
    "booking.rescheduled",
    "booking.cancelled",
    "booking.reminder",
    "message.deleted",
    "message.transactional.bounced",
    "message.transactional.complaint",
    "message.transactional.delivered",
    "message.transactional.rejected",
    "message.bounced",
    "message.complaint",
    "message.delivered",
    "message.rejected",
    "notetaker.created",
    "notetaker.updated",
    "notetaker.deleted",
    "notetaker.meeting_state",
    "notetaker.media",
];

/// What a test event may be of (Nylas API reference, send test event): no bookings and no notetakers.
const TESTED_TYPES: [&str; 26] = [
    "calendar.created",
    "calendar.updated",
    "calendar.deleted",
    "event.created",
    "event.updated",
    "event.deleted",
    "grant.created",
    "grant.updated",
    "grant.deleted",
    "grant.expired",
    "message.send_success",
    "message.send_failed",
    "message.bounce_detected",
    "message.created",
    "message.created.truncated",
    "message.created.cleaned",
    "message.updated",
    "message.updated.truncated",
    "contact.updated",
    "contact.deleted",
    "folder.created",
    "folder.updated",
    "folder.deleted",
    "message.opened",
    "message.link_clicked",
    "thread.replied",
];

/// The secret of test events (Nylas API reference, send test event).
const TEST_SECRET: &str = "mock-webhook-secret";

/// What Nylas may add to a type that is subscribed to.
const SUFFIXES: [&str; 4] = [".cleaned", ".transformed", ".truncated", ".metadata"];

/// A webhook as it is registered, for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredWebhook {
    /// Its id.
    pub id: String,
    /// Where notifications are posted to.
    pub url: String,
    /// `active`, `pause`, `failing` or `failed`.
    pub status: String,
    /// What it is subscribed to.
    pub trigger_types: Vec<String>,
    /// Whom Nylas tells that it is failing.
    pub notification_email_addresses: Vec<String>,
    /// Whether bodies are compressed.
    pub compressed: bool,
    /// How many secrets were made for it.
    pub secrets_made: u64,
    /// How many notifications were answered 200.
    pub delivered: u64,
    /// How many notifications were given up.
    pub lost: u64,
}

#[derive(Debug)]
struct Destination {
    shown: RegisteredWebhook,
    description: Option<String>,
    created_at: i64,
    updated_at: i64,
    status_updated_at: i64,
    /// Bears the secret and the counts.
    sender: Arc<NylasWebhook>,
}

/// The webhooks of the application.
#[derive(Debug)]
pub(super) struct Webhooks {
    destinations: Mutex<Vec<Destination>>,
    /// Where the local engine serves the Function URLs.
    functions_at: Mutex<Option<String>>,
    delay_scale: Mutex<f64>,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self { destinations: Mutex::default(), functions_at: Mutex::default(), delay_scale: Mutex::new(1.0) }
    }
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

impl Destination {
    /// What every answer shows.
    fn describe(&self) -> Map<String, Value> {
        let shown = json!({
            "id": self.shown.id,
            "description": self.description,
            "trigger_types": self.shown.trigger_types,
            "webhook_url": self.shown.url,
            "status": self.shown.status,
            "notification_email_addresses": self.shown.notification_email_addresses,
        });
        if let Value::Object(shown) = shown { shown } else { Map::new() }
    }

    /// What is shown of one that stands. Its secret never is.
    fn describe_standing(&self) -> Value {
        let mut shown = self.describe();
        shown.insert("compressed_delivery".to_owned(), self.shown.compressed.into());
        shown.insert("status_updated_at".to_owned(), self.status_updated_at.into());
        shown.insert("created_at".to_owned(), self.created_at.into());
        shown.insert("updated_at".to_owned(), self.updated_at.into());
        shown.into()
    }

    fn set_status(&mut self, status: &str) {
        status.clone_into(&mut self.shown.status);
        self.status_updated_at = now();
    }

    fn counted(&self) -> RegisteredWebhook {
        RegisteredWebhook { delivered: self.sender.delivered(), lost: self.sender.lost(), ..self.shown.clone() }
    }
}

impl Webhooks {
    /// A sender to an address; none for one that cannot be reached from here.
    fn sender(&self, url: &str, secret: &str) -> Option<NylasWebhook> {
        let parsed = Url::parse(url).ok()?;
        if is_loopback(&parsed) {
            return NylasWebhook::new(url, secret).ok();
        }
        let endpoint = open(&self.functions_at).clone()?;
        let target = FunctionUrl::at_engine(url, &endpoint).ok()?;
        Some(NylasWebhook::new(target.address.as_str(), secret).ok()?.host(&target.host))
    }

    /// A sender for the notifications of a destination.
    fn lasting_sender(&self, url: &str, secret: &str, compressed: bool) -> Option<Arc<NylasWebhook>> {
        let sender = self.sender(url, secret)?.delay_scale(*open(&self.delay_scale));
        sender.compress(compressed);
        Some(Arc::new(sender))
    }

    async fn verify(&self, url: &str) -> Checked {
        let not_verified = |words: &str| ApiError::new(400, "70005", format!("unable.verify.webhook_url : {words}"));
        let sender = self.sender(url, "").ok_or_else(|| not_verified("unable to verify webhook URL"))?;
        sender.challenge().await.map_err(|failure| match failure {
            ChallengeFailure::Status(status) => not_verified(&format!("status is not ok, got {status}")),
            _ => not_verified("unable to verify webhook URL"),
        })
    }

    /// Refuses an address that another destination has. That each needs its own is documented, the error's words are not.
    fn check_unique(&self, url: &str, id: Option<&str>) -> Checked {
        let is_taken = open(&self.destinations)
            .iter()
            .any(|standing| standing.shown.url == url && Some(standing.shown.id.as_str()) != id);
        if is_taken {
            return Err(ApiError::new(400, "70000", "destination.webhook_url.exists : each needs a URL of its own"));
        }
        Ok(())
    }

    fn with<T>(&self, id: &str, use_it: impl FnOnce(&mut Destination) -> T) -> std::result::Result<T, ApiError> {
        let mut destinations = open(&self.destinations);
        let destination = destinations.iter_mut().find(|standing| standing.shown.id == id);
        destination.map(use_it).ok_or_else(unknown)
    }
}

fn unknown() -> ApiError {
    ApiError::new(400, "70000", "destination.id.not.found : record not found")
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "localhost"))
}

/// Notifications go to https addresses alone; to this machine, where the original never posts, they may go without.
fn check_url(url: &str) -> Checked {
    let not_verified = |words: &str| ApiError::new(400, "70005", format!("unable.verify.webhook_url : {words}"));
    let parsed = Url::parse(url).map_err(|_| not_verified("the webhook url is not a URL"))?;
    if parsed.host_str().is_some_and(|host| host.contains("ngrok")) {
        return Err(not_verified("ngrok is not allowed"));
    }
    if parsed.scheme() == "https" || (parsed.scheme() == "http" && is_loopback(&parsed)) {
        Ok(())
    } else {
        Err(not_verified("the webhook url must be https"))
    }
}

const KEYS: [&str; 5] =
    ["description", "trigger_types", "webhook_url", "notification_email_addresses", "compressed_delivery"];

/// The texts of a list; none if it is missing, null or empty.
fn texts_in(body: &Map<String, Value>, key: &str) -> std::result::Result<Option<Vec<String>>, ApiError> {
    let Some(list) = list_in(body, key)?.filter(|list| !list.is_empty()) else { return Ok(None) };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts: Option<Vec<String>> = list.iter().map(text).collect();
    texts.map(Some).ok_or_else(|| ApiError::invalid(format!("{key} takes texts")))
}

fn trigger_types_in(body: &Map<String, Value>) -> std::result::Result<Option<Vec<String>>, ApiError> {
    let types = texts_in(body, "trigger_types")?;
    if let Some(other) = types.iter().flatten().find(|kind| !TRIGGER_TYPES.contains(&kind.as_str())) {
        return Err(ApiError::invalid(format!("trigger_types does not take {other}")));
    }
    Ok(types)
}

fn answered(api: &Api, data: impl Into<Value>) -> Response {
    api.success(Map::from_iter([("data".to_owned(), data.into())]))
}

/// A secret as long as those of the original.
fn new_secret(api: &Api) -> String {
    api.fresh_digest("webhook-secret")[..20].to_owned()
}

pub(super) async fn create(State(api): State<Arc<Api>>, body: Bytes) -> Answered {
    let body = object_of(&body)?;
    refuse_unknown_keys(&body, &KEYS, "a webhook")?;
    let trigger_types = required(trigger_types_in(&body)?, "trigger_types")?;
    let url = required(text_in(&body, "webhook_url")?, "webhook_url")?.to_owned();
    let compressed = flag_in(&body, "compressed_delivery")?.unwrap_or(false);
    let description = text_in(&body, "description")?.map(str::to_owned);
    let notification_email_addresses = texts_in(&body, "notification_email_addresses")?.unwrap_or_default();
    check_url(&url)?;
    api.webhooks.check_unique(&url, None)?;
    api.webhooks.verify(&url).await?;
    let secret = new_secret(&api);
    let sender = api.webhooks.lasting_sender(&url, &secret, compressed).ok_or_else(unknown)?;
    let shown = RegisteredWebhook {
        id: format!("W{}", &api.fresh_digest("webhook")[..24]),
        url,
        status: "active".to_owned(),
        trigger_types,
        notification_email_addresses,
        compressed,
        secrets_made: 1,
        delivered: 0,
        lost: 0,
    };
    let made =
        Destination { shown, description, created_at: now(), updated_at: now(), status_updated_at: now(), sender };
    // As the original documents it: without the times.
    let mut answer = made.describe();
    answer.insert("compressed_delivery".to_owned(), compressed.into());
    answer.insert("webhook_secret".to_owned(), secret.into());
    open(&api.webhooks.destinations).push(made);
    Ok(answered(&api, answer))
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Answered {
    let shown: Vec<Value> = open(&api.webhooks.destinations).iter().map(Destination::describe_standing).collect();
    Ok(answered(&api, shown))
}

pub(super) async fn find(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>) -> Answered {
    let shown = api.webhooks.with(&id, |standing| standing.describe_standing())?;
    Ok(answered(&api, shown))
}

pub(super) async fn change(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>, body: Bytes) -> Answered {
    let body = object_of(&body)?;
    refuse_unknown_keys(&body, &[&KEYS[..], &["status"]].concat(), "a webhook")?;
    let standing = api.webhooks.with(&id, |standing| standing.shown.clone())?;
    let trigger_types = trigger_types_in(&body)?;
    let addresses = texts_in(&body, "notification_email_addresses")?;
    let description = text_in(&body, "description")?.filter(|text| !text.is_empty()).map(str::to_owned);
    let compressed = flag_in(&body, "compressed_delivery")?;
    let url = text_in(&body, "webhook_url")?.filter(|url| !url.is_empty() && *url != standing.url).map(str::to_owned);
    if let Some(url) = &url {
        check_url(url)?;
        api.webhooks.check_unique(url, Some(&id))?;
    }
    let status = text_in(&body, "status")?.map(str::to_owned);
    match status.as_deref() {
        None | Some("pause") => {}
        Some("active") => api.webhooks.verify(url.as_deref().unwrap_or(&standing.url)).await?,
        Some(other) => return Err(ApiError::invalid(format!("status does not take {other}"))),
    }
    let moved = match &url {
        Some(url) => {
            let secret = api.webhooks.with(&id, |standing| standing.sender.secret())?;
            let compressed = compressed.unwrap_or(standing.compressed);
            Some(api.webhooks.lasting_sender(url, &secret, compressed).ok_or_else(unknown)?)
        }
        None => None,
    };
    let shown = api.webhooks.with(&id, |standing| {
        let shown = &mut standing.shown;
        shown.trigger_types = trigger_types.unwrap_or_else(|| std::mem::take(&mut shown.trigger_types));
        if let Some(addresses) = addresses {
            shown.notification_email_addresses = addresses;
        }
        if let Some(compressed) = compressed {
            shown.compressed = compressed;
            standing.sender.compress(compressed);
        }
        if let (Some(url), Some(sender)) = (url, moved) {
            shown.url = url;
            standing.sender = sender;
        }
        standing.description = description.or_else(|| standing.description.take());
        standing.updated_at = now();
        if let Some(status) = &status {
            standing.set_status(status);
        }
        standing.describe_standing()
    })?;
    Ok(answered(&api, shown))
}

pub(super) async fn remove(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>) -> Answered {
    api.webhooks.with(&id, |_| ())?;
    open(&api.webhooks.destinations).retain(|standing| standing.shown.id != id);
    Ok(answered(&api, json!({ "status": "success" })))
}

pub(super) async fn rotate(State(api): State<Arc<Api>>, UrlPath(id): UrlPath<String>) -> Answered {
    let secret = new_secret(&api);
    let mut shown = api.webhooks.with(&id, |standing| {
        standing.sender.sign_with(&secret);
        standing.shown.secrets_made += 1;
        standing.updated_at = now();
        standing.describe()
    })?;
    shown.insert("webhook_secret".to_owned(), secret.into());
    Ok(answered(&api, shown))
}

pub(super) async fn send_test_event(State(api): State<Arc<Api>>, body: Bytes) -> Answered {
    let body = object_of(&body)?;
    refuse_unknown_keys(&body, &["webhook_url", "trigger_type"], "a test event")?;
    let url = required(text_in(&body, "webhook_url")?, "webhook_url")?;
    let kind = required(text_in(&body, "trigger_type")?, "trigger_type")?;
    if !TESTED_TYPES.contains(&kind) {
        return Err(ApiError::invalid(format!("trigger_type does not take {kind}")));
    }
    check_url(url)?;
    let event = json!({
        "specversion": "1.0", "type": kind, "source": "/nylas/system", "id": "mock-id", "time": now(),
        "data": { "application_id": super::notifications::APPLICATION_ID, "object": { "id": "mock-data-id" } },
    });
    let status = match api.webhooks.sender(url, TEST_SECRET) {
        Some(sender) => sender.post(event.to_string().as_bytes()).await,
        None => None,
    };
    // Documented is that `data` tells success or failure, with `success` as its example; how it spells a failure is not.
    Ok(answered(&api, if status == Some(200) { "success" } else { "failed" }))
}

impl Nylas {
    /// Tells where the local engine serves the addresses of functions, which are those of AWS.
    pub fn functions_are_at(&self, endpoint: &str) {
        *open(&self.api.webhooks.functions_at) = Some(endpoint.to_owned());
    }

    /// Multiplies the pauses between the attempts of a delivery, for webhooks that are made from now on.
    pub fn set_delay_scale(&self, scale: f64) {
        *open(&self.api.webhooks.delay_scale) = scale;
    }

    /// The webhooks of the application.
    #[must_use]
    pub fn webhooks(&self) -> Vec<RegisteredWebhook> {
        open(&self.api.webhooks.destinations).iter().map(Destination::counted).collect()
    }

    /// Sets the state of a webhook, also one that Nylas alone sets: `failing` or `failed`.
    pub fn set_webhook_status(&self, id: &str, status: &str) -> Controlled<()> {
        let set = self.api.webhooks.with(id, |standing| standing.set_status(status));
        set.map_err(|_| ControlError::UnknownWebhook(id.to_owned()))
    }

    /// Removes all webhooks.
    pub fn remove_webhooks(&self) {
        open(&self.api.webhooks.destinations).clear();
    }

    /// Delivers a notification through a webhook as it is registered: compressed if it is to be, with the attempts of the
    /// original, each signed with the secret that is live then. Through one that was paused or has failed nothing goes: what
    /// is given to it is lost.
    pub async fn deliver_through(&self, id: &str, notification: &Value) -> Controlled<Delivery> {
        let kind = notification["type"].as_str().unwrap_or_default();
        let base = SUFFIXES
            .iter()
            .fold(kind, |kind, _| SUFFIXES.iter().find_map(|suffix| kind.strip_suffix(suffix)).unwrap_or(kind));
        let found = self.api.webhooks.with(id, |standing| {
            let is_wanted = standing.shown.trigger_types.iter().any(|wanted| wanted == base || wanted == kind);
            let is_open = matches!(standing.shown.status.as_str(), "active" | "failing");
            (Arc::clone(&standing.sender), is_wanted, is_open)
        });
        let (sender, is_wanted, is_open) = found.map_err(|_| ControlError::UnknownWebhook(id.to_owned()))?;
        if !is_wanted {
            return Err(ControlError::NotSubscribed { webhook_id: id.to_owned(), kind: kind.to_owned() });
        }
        if !is_open {
            sender.lose();
            return Ok(Delivery { delivered: false, attempts: Vec::new() });
        }
        Ok(sender.deliver(notification).await)
    }
}

#[cfg(test)]
mod tests;

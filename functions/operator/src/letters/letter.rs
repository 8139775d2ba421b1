//! A letter: a message that was given up, as it lies in a dead-letter queue or, set aside, in the archive.
//!
//! A worker tells the whole story of a message in the attributes of its letter. A letter without them was moved by SQS
//! itself after too many receipts. What schedules could not deliver lies in a queue of its own, with the attributes of
//! EventBridge Scheduler (Configuring a schedule's dead-letter queue, Scheduler user guide) or, where a function was
//! invoked and failed, as Lambda's record of the invocation with the job in `requestPayload` (Retaining records of
//! asynchronous invocations, Lambda developer guide).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::domain::digest::sha256_hex;
use shared::domain::notification::{Envelope, NotificationId, content_digest};
use shared::domain::pointer::BodyPointer;
use shared::domain::queue_message::GroupId;
use shared::engine::{About, LeaseKey, job_of};

use super::ports::{Queues, Received};

/// The class of a letter that SQS moved by itself.
pub const RECEIVED_TOO_OFTEN: &str = "received_too_often";

/// The class of what a schedule could not deliver.
pub const NOT_DELIVERED: &str = "schedule.not_delivered";

/// The class of a job whose function was invoked by a schedule and failed.
pub const FUNCTION_FAILED: &str = "schedule.function_failed";

/// The prefix of all letters that were set aside. It lies below that of the bodies, so the same rule of the bucket's
/// lifecycle removes them after 35 days.
pub const PARKED_PREFIX: &str = "bodies/parked/";

/// The folder of those that came from the queue of the schedules.
const OF_SCHEDULES: &str = "schedules";

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// SQS's id of the letter itself. A message that is given up again makes another letter.
    pub message_id: String,
    /// The function whose queue it goes back to; none if that cannot be told.
    pub function: Option<String>,
    /// True if a schedule could not deliver it, so that no function has ever seen it.
    pub of_schedule: bool,
    /// The notification, as the letter names it.
    pub notification: String,
    /// The kind of failure.
    pub class: String,
    /// What happened, to what. May hold words of the other side: it goes into answers and never into a log.
    pub reason: String,
    /// The group it came from.
    pub group: Option<String>,
    /// The trace it belongs to.
    pub trace: Option<String>,
    /// When its first try failed.
    pub first_failed_at: Option<Timestamp>,
    /// When its last try failed.
    pub last_failed_at: Option<Timestamp>,
    /// The text of the message, unchanged.
    pub body: String,
    /// Who set it aside, if anybody has.
    pub parked: Option<Parked>,
}

/// That a letter was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// When.
    pub at: Timestamp,
    /// Why, in the words of who did it.
    pub because: String,
}

/// What a letter's body is about, as the engine reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// The notification; none if its record cannot be found by the body alone.
    pub notification: Option<String>,
    /// What happened, for example `message.created`; empty if the body lies in the archive bucket.
    pub trigger: String,
    /// The object it happened to.
    pub object: String,
    /// The grant it happened in.
    pub grant: Option<String>,
    /// The digest of what it says; none if the body lies in the archive bucket.
    pub content: Option<String>,
}

impl Subject {
    /// Reads a body.
    #[must_use]
    pub fn of(body: &str) -> Self {
        if BodyPointer::parse(body).is_some() {
            return Self::default();
        }
        let content = content_digest(body);
        let subject = match (Envelope::parse(body), job_of(body)) {
            (Ok(envelope), _) => {
                let about = About::notification("operator", &envelope);
                let notification = Some(about.notification.as_str().to_owned());
                Self { notification, trigger: about.trigger, object: about.object, grant: about.grant, content: None }
            }
            (Err(_), Some(job)) => {
                let id = job.id.as_deref().and_then(NotificationId::parse).map(|id| id.as_str().to_owned());
                let object = id.clone().unwrap_or_default();
                Self { notification: id, trigger: job.kind, object, grant: job.grant_id, content: None }
            }
            (Err(_), None) => {
                let id = NotificationId::of_our_own("unreadable", &content).as_str().to_owned();
                Self { object: id.clone(), notification: Some(id), trigger: "unreadable".to_owned(), ..Self::default() }
            }
        };
        Self { content: Some(content), ..subject }
    }
}

impl Letter {
    /// Reads what lies in the dead-letter queue of a function.
    #[must_use]
    pub fn of_worker(received: &Received, function: &str) -> Self {
        let attribute = |name: &str| received.attributes.get(name).cloned();
        let time = |name: &str| attribute(name).and_then(|time| time.parse().ok());
        let told = attribute("class").zip(attribute("reason"));
        let is_told = told.is_some();
        let (class, reason) = told.unwrap_or_else(|| {
            let reason = "SQS moved it here after 1000 receipts, or somebody put it here by hand; it says no more";
            (RECEIVED_TOO_OFTEN.to_owned(), reason.to_owned())
        });
        let notification = attribute("notification_id");
        let notification = notification.or_else(|| Subject::of(&received.body).notification);
        // SQS keeps the group of what it moves; a worker gives its letters groups of their own.
        let group = if is_told { attribute("source_group") } else { received.group.clone() };
        Self {
            message_id: received.message_id.clone(),
            // Whatever an attribute says, it goes back to the queue that this dead-letter queue belongs to.
            function: Some(function.to_owned()),
            of_schedule: false,
            notification: notification.unwrap_or_else(|| format!("message:{}", received.message_id)),
            class,
            reason,
            group: group.filter(|group| group != "none"),
            trace: received.trace.clone(),
            first_failed_at: time("first_failed_at").or(received.sent_at),
            last_failed_at: time("last_failed_at").or(received.sent_at),
            body: received.body.clone(),
            parked: None,
        }
    }

    /// Reads what lies in the queue of the schedules.
    #[must_use]
    pub fn of_schedule(received: &Received, queues: &Queues) -> Self {
        let attribute = |name: &str| received.attributes.get(name).map(String::as_str);
        let record = serde_json::from_str::<Value>(&received.body).unwrap_or_default();
        let (body, class, reason) = if let Some(payload) = record.get("requestPayload") {
            let words = record["responsePayload"]["errorMessage"].as_str();
            let condition = record["requestContext"]["condition"].as_str();
            let reason = words.or(condition).unwrap_or("the function failed and did not say why");
            (payload.to_string(), FUNCTION_FAILED, reason.to_owned())
        } else {
            let code = attribute("ERROR_CODE").unwrap_or("no code");
            let words = attribute("ERROR_MESSAGE").unwrap_or("the schedule did not say why");
            (received.body.clone(), NOT_DELIVERED, format!("{code}: {words}"))
        };
        let subject = Subject::of(&body);
        let is_whole = attribute("IS_PAYLOAD_TRUNCATED") != Some("true");
        let function = is_whole.then(|| destination(&body, attribute("TARGET_ARN"), queues)).flatten();
        Self {
            message_id: received.message_id.clone(),
            function: function.map(str::to_owned),
            of_schedule: true,
            notification: subject.notification.unwrap_or_else(|| format!("message:{}", received.message_id)),
            class: class.to_owned(),
            reason,
            group: None,
            trace: None,
            first_failed_at: received.sent_at,
            last_failed_at: received.sent_at,
            body,
            parked: None,
        }
    }

    /// What its body is about.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::of(&self.body)
    }

    /// True if its body lies in the archive bucket.
    #[must_use]
    pub fn is_pointer(&self) -> bool {
        BodyPointer::parse(&self.body).is_some()
    }

    /// The notification by which its record is found; none if it has no record, because no function has read it, or
    /// because each copy of it is decided anew.
    #[must_use]
    pub fn recorded_as(&self, subject: &Subject) -> Option<NotificationId> {
        if self.of_schedule {
            return None;
        }
        // What the letter says was cut to what an attribute holds; the body has it whole.
        let named = || (!self.notification.starts_with("message:")).then(|| self.notification.clone());
        subject.notification.clone().or_else(named).and_then(|id| NotificationId::parse(&id))
    }

    /// The keys under which its record may stand: its own, and the one of a notification that came with other content.
    #[must_use]
    pub fn keys(&self, subject: &Subject) -> Vec<LeaseKey> {
        let (Some(function), Some(id)) = (self.function.as_deref(), self.recorded_as(subject)) else {
            return Vec::new();
        };
        let key = LeaseKey::new(function, &id);
        let with_content = subject.content.as_deref().map(|content| key.with_content(content));
        std::iter::once(key).chain(with_content).collect()
    }

    /// The group in which it goes back: the one it came from, else one of its own.
    #[must_use]
    pub fn return_group(&self) -> String {
        let own = || GroupId::of("redrive", &self.message_id).as_str().to_owned();
        self.group.clone().unwrap_or_else(own)
    }

    /// The deduplication id with which it goes back: fresh, for the queue may have taken the same message minutes ago,
    /// and the same for one letter, so that one that is moved twice is delivered once.
    #[must_use]
    pub fn return_deduplication_id(&self) -> String {
        sha256_hex(&[b"redrive:", self.message_id.as_bytes()])
    }

    /// Where it lies in the archive bucket once it is set aside.
    #[must_use]
    pub fn parked_key(&self) -> String {
        let folder = if self.of_schedule { OF_SCHEDULES } else { self.function.as_deref().unwrap_or(OF_SCHEDULES) };
        format!("{PARKED_PREFIX}{folder}/{}.json", sha256_hex(&[b"parked:", self.message_id.as_bytes()]))
    }
}

/// The function that a schedule's job is for: by the queue it was to go to, else by its type.
fn destination(body: &str, target: Option<&str>, queues: &Queues) -> Option<&'static str> {
    let name = |path: &str, separator: char| path.rsplit(separator).next().map(str::to_owned);
    let aimed_at = target.and_then(|arn| name(arn, ':'));
    let by_target = queues.workers.iter().find(|worker| aimed_at.is_some() && name(&worker.queue, '/') == aimed_at);
    if let Some(worker) = by_target {
        return Some(worker.function);
    }
    let job: Value = serde_json::from_str(body).ok()?;
    let kind = job["type"].as_str()?;
    match kind.split_once('.').map_or(kind, |(family, _)| family) {
        "calendar" => Some("calendar-sync"),
        "notetaker" => Some("notetaker-media"),
        "onboarding" => Some("onboarding-transitions"),
        "triage" => Some("ticket-triage"),
        "contacts" => Some("contact-sync"),
        "reconcile" => reconciler(&job),
        _ => None,
    }
}

/// The function that a night's reconciliation is for. Support mail is left out of one and is all of another; the jobs of
/// the calendars and of the notetakers say the same, and only the queue they were to go to tells them apart.
fn reconciler(job: &Value) -> Option<&'static str> {
    let is_there = |field: &str| job.get(field).is_some();
    match (is_there("except_grant_ids"), is_there("only_grant_ids")) {
        (true, false) => Some("email-activity"),
        (false, true) => Some("ticket-triage"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::queues;
    use super::*;
    use serde_json::json;

    fn received(body: &Value, attributes: &[(&str, &str)]) -> Received {
        Received {
            message_id: "letter-1".to_owned(),
            receipt: "receipt".to_owned(),
            body: body.to_string(),
            attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            sent_at: "2026-03-01T10:00:00Z".parse().ok(),
            group: Some("as it lies".to_owned()),
            trace: Some("Root=1".to_owned()),
        }
    }

    fn mail() -> Value {
        json!({ "type": "message.created.truncated", "id": "n-1", "data": { "object": { "id": "m-1", "grant_id": "g" } } })
    }

    const TOLD: [(&str, &str); 7] = [
        ("reason", "the CRM refused it"),
        ("class", "crm.rejected"),
        ("function", "email-activity"),
        ("notification_id", "n-1"),
        ("source_group", "g-1"),
        ("first_failed_at", "2026-03-01T08:00:00Z"),
        ("last_failed_at", "2026-03-01T09:00:00Z"),
    ];

    #[test]
    fn letter_of_a_worker_tells_what_its_attributes_tell() {
        let letter = Letter::of_worker(&received(&mail(), &TOLD), "email-activity");
        assert_eq!((letter.class.as_str(), letter.reason.as_str()), ("crm.rejected", "the CRM refused it"));
        assert_eq!((letter.notification.as_str(), letter.group.as_deref()), ("n-1", Some("g-1")));
        assert_eq!(letter.last_failed_at, "2026-03-01T09:00:00Z".parse().ok());
        assert_eq!(letter.trace.as_deref(), Some("Root=1"));
        let subject = letter.subject();
        assert_eq!((subject.trigger.as_str(), subject.object.as_str()), ("message.created", "m-1"));
        let keys: Vec<String> = letter.keys(&subject).iter().map(|key| key.as_str().to_owned()).collect();
        assert_eq!(keys[0], "email-activity#n-1");
        assert!(keys[1].starts_with("email-activity#n-1~") && keys.len() == 2, "{keys:?}");
    }

    #[test]
    fn letter_that_sqs_moved_by_itself_keeps_its_group_and_is_found_by_its_body() {
        let letter = Letter::of_worker(&received(&mail(), &[]), "email-activity");
        assert_eq!((letter.class.as_str(), letter.notification.as_str()), (RECEIVED_TOO_OFTEN, "n-1"));
        assert_eq!(letter.return_group(), "as it lies");
        assert_eq!(letter.last_failed_at, "2026-03-01T10:00:00Z".parse().ok(), "when it was put there");
    }

    #[test]
    fn letter_of_an_unclaimed_message_is_recorded_as_what_its_body_says() {
        let unclaimed = |body: &Value| {
            let attributes: Vec<(&str, &str)> = TOLD
                .iter()
                .map(|(name, value)| (*name, if *name == "notification_id" { "message:5c1f" } else { *value }))
                .collect();
            let letter = Letter::of_worker(&received(body, &attributes), "email-activity");
            letter.recorded_as(&letter.subject()).map(|id| id.as_str().to_owned())
        };
        assert_eq!(unclaimed(&mail()).as_deref(), Some("n-1"));
        assert_eq!(unclaimed(&json!({ "type": "reconcile", "id": "job:1" })).as_deref(), Some("job:1"));
        assert_eq!(unclaimed(&json!({ "type": "reconcile" })), None, "each copy is decided anew");
        assert!(unclaimed(&json!("words")).is_some_and(|id| id.starts_with("unreadable:")));
        let pointer: Value = serde_json::from_str(&BodyPointer::to(b"x").to_message()).expect("JSON");
        assert_eq!(unclaimed(&pointer), None, "the body is elsewhere");
    }

    #[test]
    fn letter_goes_back_in_its_own_group_with_a_fresh_id_that_is_the_same_for_one_letter() {
        let letter = Letter::of_worker(&received(&mail(), &TOLD), "email-activity");
        assert_eq!(letter.return_group(), "g-1");
        let other = Letter { message_id: "letter-2".to_owned(), group: None, ..letter.clone() };
        assert_eq!(letter.return_deduplication_id(), letter.clone().return_deduplication_id());
        assert_ne!(letter.return_deduplication_id(), other.return_deduplication_id());
        assert_eq!(other.return_group().len(), 32, "a letter that names no group gets one that SQS takes");
        assert!(letter.parked_key().starts_with("bodies/parked/email-activity/"));
        assert_ne!(letter.parked_key(), other.parked_key());
    }

    #[test]
    fn schedules_letter_goes_to_the_queue_it_was_aimed_at_else_to_that_of_its_type() {
        let aimed = |body: &Value, target: Option<&str>| {
            let attributes: Vec<(&str, &str)> = target.map(|arn| ("TARGET_ARN", arn)).into_iter().collect();
            Letter::of_schedule(&received(body, &attributes), &queues()).function
        };
        let reconcile = json!({ "type": "reconcile" });
        let arn = "arn:aws:sqs:eu-west-1:123456789012:calendar-sync.fifo";
        assert_eq!(aimed(&reconcile, Some(arn)).as_deref(), Some("calendar-sync"));
        assert_eq!(aimed(&reconcile, None), None, "the calendars' and the notetakers' are the same");
        for (job, function) in [
            (json!({ "type": "reconcile", "except_grant_ids": "" }), "email-activity"),
            (json!({ "type": "reconcile", "only_grant_ids": "g" }), "ticket-triage"),
            (json!({ "type": "calendar.backfill" }), "calendar-sync"),
            (json!({ "type": "notetaker.timer", "kind": "lobby" }), "notetaker-media"),
            (json!({ "type": "onboarding.timer", "kind": "nudge" }), "onboarding-transitions"),
            (json!({ "type": "triage.storm", "desk": "on-call" }), "ticket-triage"),
            (json!({ "type": "contacts.sync" }), "contact-sync"),
        ] {
            assert_eq!(aimed(&job, None).as_deref(), Some(function), "{job}");
        }
        assert_eq!(aimed(&json!("words"), None), None);
        let cut = [("TARGET_ARN", arn), ("IS_PAYLOAD_TRUNCATED", "true")];
        assert_eq!(Letter::of_schedule(&received(&reconcile, &cut), &queues()).function, None, "it is not whole");
    }

    #[test]
    fn schedules_letter_tells_why_and_a_functions_failure_gives_its_job_back() {
        let told = [("ERROR_CODE", "AccessDeniedException"), ("ERROR_MESSAGE", "no permission")];
        let letter = Letter::of_schedule(&received(&json!({ "type": "contacts.sync" }), &told), &queues());
        assert_eq!(letter.reason, "AccessDeniedException: no permission");
        assert_eq!((letter.class.as_str(), letter.recorded_as(&letter.subject())), (NOT_DELIVERED, None));
        let record = json!({
            "version": "1.0", "requestContext": { "condition": "RetriesExhausted" },
            "requestPayload": { "type": "contacts.sync" }, "responsePayload": { "errorMessage": "the queue is gone" },
        });
        let letter = Letter::of_schedule(&received(&record, &[]), &queues());
        assert_eq!(letter.body, r#"{"type":"contacts.sync"}"#);
        assert_eq!((letter.class.as_str(), letter.reason.as_str()), (FUNCTION_FAILED, "the queue is gone"));
        assert_eq!(letter.function.as_deref(), Some("contact-sync"));
        assert!(letter.parked_key().starts_with("bodies/parked/schedules/"));
    }
}

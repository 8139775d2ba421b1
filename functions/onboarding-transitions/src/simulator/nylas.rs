//! Nylas in memory, as far as the onboarding calls it: mail that is sent once for a key within an hour, booking pages of
//! unique addresses, a calendar that takes every event it is given.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shared::domain::notification::GrantId;
use shared::engine::Deadline;
use shared::http::CallError;
use shared::nylas::event::Event;
use shared::nylas::message::Message;
use shared::nylas::scheduling::Configuration;
use shared::nylas::sending::{Receipt, SendError, SentMail};
use shared::nylas::{HeaderFields, NylasError, Page};

use super::world::{World, open};
use crate::ports::Correspond;
use crate::turns::later;

/// How long a key is remembered.
const KEY_LIVES: SignedDuration = SignedDuration::from_hours(1);

/// When the mailbox shows a mail whose request was cut off.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// What goes wrong with the next mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendFault {
    /// The provider does not answer in time, though the mail is sent.
    TimesOutAfter,
    /// The provider does not answer in time, and the mail is not sent.
    TimesOutBefore,
    /// The connection is lost before Nylas has seen anything.
    Lost,
    /// The connection is lost while the provider is at it: the key is forgotten, the mail is sent, and the mailbox shows it
    /// after a minute.
    CutOff,
    /// Too many mails; wait so many seconds.
    Throttled(u64),
    /// The mail is taken without an id.
    WithoutId,
    /// The account may not track mail.
    Trial,
    /// A link is refused.
    LinkRefused(&'static str),
}

/// A mail that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Timestamp,
    /// Its id.
    pub id: String,
    /// To whom.
    pub to: String,
    /// Its label.
    pub label: String,
    /// True if it is tracked.
    pub tracked: bool,
    /// Its subject.
    pub subject: String,
    /// Its body.
    pub body: String,
    /// From when on the mailbox shows it.
    shown_from: Timestamp,
}

#[derive(Default)]
pub(super) struct NylasState {
    faults: VecDeque<SendFault>,
    keys: BTreeMap<String, (Timestamp, Value, Result<Receipt, SendError>)>,
    sent: Vec<Sent>,
    pages: Vec<Configuration>,
    events: BTreeMap<String, Value>,
    replies: BTreeMap<String, Value>,
    count: u64,
}

impl NylasState {
    fn next(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}-{}", self.count)
    }
}

impl World {
    /// The next mail that reaches Nylas meets this.
    pub fn plan(&self, fault: SendFault) {
        open(&self.nylas).faults.push_back(fault);
    }

    /// The mails that were sent, in order.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        open(&self.nylas).sent.clone()
    }

    /// The booking pages that were made.
    #[must_use]
    pub fn pages(&self) -> Vec<Configuration> {
        open(&self.nylas).pages.clone()
    }

    /// The events in the team's calendar, by id.
    #[must_use]
    pub fn events(&self) -> BTreeMap<String, Value> {
        open(&self.nylas).events.clone()
    }

    /// Puts an answer of a customer's into the mailbox.
    pub fn receive(&self, id: &str, message: Value) {
        open(&self.nylas).replies.insert(id.to_owned(), message);
    }
}

fn refused(what: &'static str, text: &str) -> NylasError {
    CallError::Rejected { api: "Nylas", what, status: 400, text: text.to_owned() }.into()
}

fn unknown(what: &str) -> SendError {
    SendError::Unknown(what.to_owned())
}

impl Correspond for World {
    async fn send_mail(
        &self,
        _: &GrantId,
        mail: &Value,
        idempotency_key: &str,
        _: Deadline,
    ) -> Result<Receipt, SendError> {
        assert!(idempotency_key.len() <= 256, "a key has at most 256 characters");
        self.point("before a mail is sent").await;
        let answer = self.take_mail(mail, idempotency_key);
        self.point("after a mail is sent").await;
        answer
    }

    async fn mails_to(
        &self,
        _: &GrantId,
        to: &str,
        since: i64,
        fields: &str,
        _: Deadline,
    ) -> Result<Vec<SentMail>, NylasError> {
        let state = open(&self.nylas);
        let now = self.now();
        let is_shown = |sent: &&Sent| sent.to == to && sent.at.as_second() > since && sent.shown_from <= now;
        let to_them = state.sent.iter().filter(is_shown);
        let shown = to_them.map(|sent| {
            let mut shown = json!({ "id": sent.id });
            if fields == "include_headers" {
                shown["headers"] = json!([{ "name": crate::send::LABEL_HEADER, "value": sent.label }]);
            } else if sent.tracked {
                shown["tracking_options"] = json!({ "label": sent.label });
            }
            serde_json::from_value(shown)
        });
        Ok(shown.filter_map(Result::ok).collect())
    }

    async fn message(
        &self,
        _: &GrantId,
        id: &str,
        _: HeaderFields,
        _: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        let message = open(&self.nylas).replies.get(id).cloned();
        Ok(message.and_then(|message| serde_json::from_value(message).ok()))
    }

    async fn provider(&self, _: &GrantId, _: Deadline) -> Result<Option<String>, NylasError> {
        Ok(Some("google".to_owned()))
    }

    async fn create_configuration(
        &self,
        _: &GrantId,
        configuration: &Value,
        _: Deadline,
    ) -> Result<Configuration, NylasError> {
        self.point("before a booking page is made").await;
        let made = {
            let mut state = open(&self.nylas);
            let slug = configuration["slug"].as_str().map(str::to_owned);
            if state.pages.iter().any(|page| page.slug == slug) {
                Err(refused("scheduling configuration", "the slug is taken"))
            } else {
                let page = Configuration { id: state.next("configuration"), slug };
                state.pages.push(page.clone());
                Ok(page)
            }
        };
        self.point("after a booking page is made").await;
        made
    }

    async fn configurations(
        &self,
        _: &GrantId,
        _: Option<&str>,
        _: Deadline,
    ) -> Result<Page<Configuration>, NylasError> {
        Ok(Page { items: self.pages(), next: None })
    }

    async fn events_by_metadata(
        &self,
        _: &GrantId,
        _: &str,
        value: &str,
        _: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        let events = self.events();
        let found = events.values().filter(|event| event["metadata"]["key1"] == value);
        Ok(found.filter_map(|event| serde_json::from_value(event.clone()).ok()).collect())
    }

    async fn create_event(&self, _: &GrantId, _: &str, event: &Value, _: Deadline) -> Result<Event, NylasError> {
        self.point("before an event is made").await;
        let made = {
            let mut state = open(&self.nylas);
            let id = state.next("event");
            let mut made = event.clone();
            made["id"] = id.clone().into();
            state.events.insert(id, made.clone());
            made
        };
        self.say("calendar", &format!("{} is entered", made["title"].as_str().unwrap_or_default()));
        self.point("after an event is made").await;
        serde_json::from_value(made).map_err(|_| refused("event", "it cannot be read"))
    }

    async fn change_event(
        &self,
        _: &GrantId,
        _: &str,
        id: &str,
        change: &Value,
        _: Deadline,
    ) -> Result<Option<Event>, NylasError> {
        self.point("before an event is changed").await;
        let changed = {
            let mut state = open(&self.nylas);
            state.events.get_mut(id).map(|event| {
                let fields = change.as_object().cloned().unwrap_or_default();
                if let Some(event) = event.as_object_mut() {
                    event.extend::<Map<String, Value>>(fields);
                }
                event.clone()
            })
        };
        self.point("after an event is changed").await;
        Ok(changed.and_then(|event| serde_json::from_value(event).ok()))
    }

    async fn remove_event(&self, _: &GrantId, _: &str, id: &str, _: Deadline) -> Result<(), NylasError> {
        self.point("before an event is removed").await;
        if open(&self.nylas).events.remove(id).is_some() {
            self.say("calendar", "the reminder is removed");
        }
        self.point("after an event is removed").await;
        Ok(())
    }
}

impl World {
    fn take_mail(&self, mail: &Value, key: &str) -> Result<Receipt, SendError> {
        let now = self.now();
        let mut state = open(&self.nylas);
        if state.faults.front() == Some(&SendFault::Lost) {
            state.faults.pop_front();
            return Err(SendError::CutOff("the connection failed".to_owned()));
        }
        if let Some(SendFault::Throttled(seconds)) = state.faults.front().cloned() {
            state.faults.pop_front();
            return Err(SendError::Throttled { retry_after: Some(Duration::from_secs(seconds)) });
        }
        let standing = state.keys.get(key).filter(|(since, ..)| now.duration_since(*since) < KEY_LIVES);
        if let Some((_, content, answer)) = standing {
            if content != mail {
                return Err(SendError::KeyUsed);
            }
            return match answer {
                Err(SendError::TrackingRefused(_)) | Ok(_) => answer.clone(),
                Err(error) => Err(SendError::Remembered(error.to_string())),
            };
        }
        let answer = match state.faults.pop_front() {
            Some(SendFault::TimesOutBefore) => Err(unknown("it answered 504")),
            Some(SendFault::Trial) if mail.get("tracking_options").is_some() => {
                Err(SendError::TrackingRefused("Tracking options are not allowed for trial accounts".to_owned()))
            }
            Some(SendFault::LinkRefused(link)) => {
                Err(SendError::LinkRefused(format!("the link {link} is not allowed")))
            }
            fault => {
                let id = state.next("mail");
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let headers = mail["custom_headers"].as_array().cloned().unwrap_or_default();
                let label = headers.iter().find(|header| header["name"] == crate::send::LABEL_HEADER);
                let sent = Sent {
                    at: now,
                    id: id.clone(),
                    to: text(&mail["to"][0]["email"]),
                    label: label.map(|header| text(&header["value"])).unwrap_or_default(),
                    tracked: mail.get("tracking_options").is_some(),
                    subject: text(&mail["subject"]),
                    body: text(&mail["body"]),
                    shown_from: if fault == Some(SendFault::CutOff) { later(now, SHOWN_AFTER) } else { now },
                };
                let said = format!("“{}” to {}", sent.subject, sent.to);
                state.sent.push(sent);
                self.say("mail", &said);
                match fault {
                    Some(SendFault::CutOff) => return Err(SendError::CutOff("it did not answer in time".to_owned())),
                    Some(SendFault::TimesOutAfter) => Err(unknown("it answered 504")),
                    Some(SendFault::WithoutId) => Ok(Receipt { message_id: None, thread_id: None }),
                    _ => Ok(Receipt { message_id: Some(id), thread_id: None }),
                }
            }
        };
        state.keys.insert(key.to_owned(), (now, mail.clone(), answer.clone()));
        answer
    }
}

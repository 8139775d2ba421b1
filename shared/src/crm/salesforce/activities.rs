//! Mails, notes and action items as tasks, meetings as events: each created once under its key, and kept as it should be.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use reqwest::Method;
use serde_json::{Map, Value};

use super::keys::{KeyField, KeyKind, key_value};
use super::wire::{Found, Id, at_fault};
use super::{Object, SalesforceCrm, soql};
use crate::crm::collection_is_missing;
use crate::crm::meeting::{Meeting, MeetingStatus, MeetingTime, WriteMeetings};
use crate::crm::notes::{ActionItem, MeetingNotes, WriteMeetingNotes};
use crate::crm::{CrmError, Direction, EmailActivity, IdempotencyKey, LogEmail, prose};
use crate::domain::address::EmailAddress;
use crate::domain::digest::sha256_hex;
use crate::engine::{Deadline, Links};
use crate::field_map::{FieldMap, Section};
use crate::http::CallError;
use crate::written::Stands;

/// How long a subject or a place may be, in units of UTF-16 ("Event" and "Task" in the Object Reference).
const LONGEST_LINE: usize = 255;

/// How long a description may be, in units of UTF-16.
const LONGEST_TEXT: usize = 32_000;

/// How many days an event may last ("Considerations for Using Events" in Salesforce Help).
const LONGEST_EVENT_DAYS: i64 = 14;

const MINUTES_IN_A_DAY: i64 = 24 * 60;

/// What is to be written.
struct Draft {
    /// The kind under which our own table knows it.
    kind: &'static str,
    object: Object,
    key: String,
    /// The field that bears the key.
    field: Option<KeyField>,
    /// All fields of a new record.
    new: Map<String, Value>,
    /// The fields that are made what they should be in one that stands; none if it is left to those who own it.
    change: Option<Map<String, Value>>,
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// Makes sure that what is to be written is there and as it should be, and answers its id.
    async fn write(&self, draft: &Draft, map: &FieldMap, deadline: Deadline) -> Result<String, CallError> {
        let stands = self.ensure(draft, map, deadline).await?;
        self.keep(draft, stands, map, deadline).await
    }

    /// Makes sure that what is to be written is there.
    async fn ensure(&self, draft: &Draft, map: &FieldMap, deadline: Deadline) -> Result<Stands, CallError> {
        let kind = match &draft.field {
            Some(field) => Some(self.kind_of(field, map, deadline).await?),
            None => None,
        };
        // Boxed, so that what holds a write stays small.
        let find = Box::pin(self.find_again(draft, deadline));
        let create = Box::pin(self.create(draft, kind, deadline));
        match self.written.once(draft.kind, &draft.key, find, create).await {
            Ok(stands) => Ok(stands),
            Err(error) => Err(self.seen_of_key_field(draft, kind, error).await?),
        }
    }

    /// Makes what stands what it should be, and answers its id. What somebody has deleted is created anew.
    async fn keep(
        &self,
        draft: &Draft,
        stands: Stands,
        map: &FieldMap,
        deadline: Deadline,
    ) -> Result<String, CallError> {
        let Some(change) = draft.change.as_ref().filter(|_| !stands.is_new) else { return Ok(stands.id) };
        if self.change(draft.object, &stands.id, change, deadline).await? {
            return Ok(stands.id);
        }
        self.written.gone(draft.kind, &draft.key, &stands.id).await?;
        Ok(self.ensure(draft, map, deadline).await?.id)
    }

    /// Creates the record.
    async fn create(&self, draft: &Draft, kind: Option<KeyKind>, deadline: Deadline) -> Result<String, CallError> {
        let (object, what, value) = (draft.object.name(), draft.object.what(), key_value(&draft.key));
        let created: Result<Id, CallError> = match (&draft.field, kind) {
            (Some(field), Some(KeyKind::ExternalId)) => {
                // The key stands in the path, and must not stand in the body as well.
                let path = ["sobjects", object, &field.name, &value];
                self.request(Method::PATCH, &path, what).json(&draft.new).read(deadline).await
            }
            (field, _) => {
                let mut body = draft.new.clone();
                body.extend(field.as_ref().map(|field| (field.name.clone(), Value::from(value))));
                self.request(Method::POST, &["sobjects", object], what).json(&body).read(deadline).await
            }
        };
        created.map(|created| created.id).map_err(at_fault)
    }

    /// The record of an earlier try that was cut short, made what it should be by now.
    async fn find_again(&self, draft: &Draft, deadline: Deadline) -> Result<Option<String>, CallError> {
        let Some(field) = &draft.field else { return Ok(None) };
        let Some(id) = self.bearing(field, &draft.key, deadline).await? else { return Ok(None) };
        let stands = match &draft.change {
            Some(change) => self.change(draft.object, &id, change, deadline).await?,
            None => true,
        };
        Ok(stands.then_some(id))
    }

    /// The record that bears a key.
    async fn bearing(&self, field: &KeyField, key: &str, deadline: Deadline) -> Result<Option<String>, CallError> {
        let (object, name, value) = (field.object.name(), &field.name, soql::literal(&key_value(key)));
        let query = format!("SELECT Id FROM {object} WHERE {name} = {value} ORDER BY CreatedDate LIMIT 1");
        let found: Found<Id> = self.query(&query, field.object.what(), deadline).await?;
        Ok(found.records.into_iter().next().map(|record| record.id))
    }

    /// Changes a record. False if it is not there any more.
    async fn change(
        &self,
        object: Object,
        id: &str,
        change: &Map<String, Value>,
        deadline: Deadline,
    ) -> Result<bool, CallError> {
        let path = ["sobjects", object.name(), id];
        match self.request(Method::PATCH, &path, object.what()).json(change).send(deadline).await {
            Ok(_) => Ok(true),
            Err(CallError::NotFound { .. }) => Ok(false),
            // Of the record, or of a contact that is linked to it: only a look tells.
            Err(error) if is_about_something_gone(&error) => {
                let query = format!("SELECT Id FROM {} WHERE Id = {} LIMIT 1", object.name(), soql::literal(id));
                let found: Found<Id> = self.query(&query, object.what(), deadline).await?;
                if found.records.is_empty() { Ok(false) } else { Err(error) }
            }
            Err(error) => Err(at_fault(error)),
        }
    }

    /// What a failed creation says of the field that bears our key, and the failure that is told. Another try then goes
    /// another way.
    async fn seen_of_key_field(
        &self,
        draft: &Draft,
        kind: Option<KeyKind>,
        error: CallError,
    ) -> Result<CallError, CallError> {
        let passes = |problem: String| CallError::Unavailable {
            api: self.client.name(),
            problem,
            retry_after: None,
            answered: true,
        };
        let Some(field) = &draft.field else { return Ok(collection_is_missing(error)) };
        Ok(match error {
            // An upsert creates what is not there: only its field can be what is missing.
            CallError::NotFound { .. } | CallError::Rejected { status: 404, .. }
                if kind == Some(KeyKind::ExternalId) =>
            {
                self.kind_is(field, Some(KeyKind::Text)).await?;
                passes(format!(
                    "its field {} is no external id any more, and is used as a text from now on",
                    field.name
                ))
            }
            CallError::NotSetUp { api, problem } => {
                self.kind_is(field, None).await?;
                CallError::NotSetUp { api, problem }
            }
            // Somebody else was quicker: another try finds what that made.
            CallError::Rejected { text, .. } if text.starts_with("DUPLICATE_VALUE:") => {
                passes("the same thing was written at the same moment".to_owned())
            }
            other => collection_is_missing(other),
        })
    }
}

/// True if a record is gone, or something that was named in a change to it.
fn is_about_something_gone(error: &CallError) -> bool {
    let CallError::Rejected { status: 400, text, .. } = error else { return false };
    ["ENTITY_IS_DELETED:", "INVALID_CROSS_REFERENCE_KEY:", "MALFORMED_ID:"].iter().any(|code| text.starts_with(code))
}

/// Who and what a record is linked to. Events and tasks have one name (a contact or a lead) and one thing they are about;
/// further names go into a table of relations that is not written here.
struct Linked<'a> {
    who: Option<&'a str>,
    deal: Option<&'a str>,
    /// Who and what could not be linked, to be named in the text.
    unlinked: Option<String>,
}

impl<'a> Linked<'a> {
    fn new(contact_ids: &'a [String], deal_id: Option<&'a str>) -> Self {
        let is_lead = |id: &str| Object::of_person(id) == Some(Object::Lead);
        let mut ids = contact_ids.iter().map(String::as_str);
        // A lead takes no opportunity beside it, so with one comes a contact, if there is any.
        let who = deal_id.and_then(|_| ids.clone().find(|id| !is_lead(id))).or(ids.clone().next());
        let deal = deal_id.filter(|_| who.is_none_or(|who| !is_lead(who)));
        let further: Vec<&str> = ids.by_ref().filter(|id| Some(*id) != who).collect();
        let further = (!further.is_empty()).then(|| format!("Also with: {}", further.join(", ")));
        let about = deal_id.filter(|_| deal.is_none()).map(|deal| format!("Opportunity: {deal}"));
        let lines: Vec<String> = further.into_iter().chain(about).collect();
        Self { who, deal, unlinked: (!lines.is_empty()).then(|| lines.join("\n")) }
    }

    /// The links of a new record.
    fn put_on(&self, body: &mut Map<String, Value>) {
        let links = [("WhoId", self.who), ("WhatId", self.deal)];
        body.extend(links.into_iter().filter_map(|(field, id)| Some((field.to_owned(), id?.into()))));
    }

    /// The links of a record that stands. A deal that somebody has linked stays, unless it cannot beside a lead.
    fn change(&self, body: &mut Map<String, Value>) {
        self.put_on(body);
        if self.deal.is_none() && self.who.is_some_and(|who| Object::of_person(who) == Some(Object::Lead)) {
            body.insert("WhatId".to_owned(), Value::Null);
        }
    }

    /// A text that fits, with who and what could not be linked at its end.
    fn text(&self, text: &str) -> String {
        let Some(unlinked) = &self.unlinked else { return prose::fitting(text, LONGEST_TEXT) };
        let unlinked = prose::fitting(unlinked, LONGEST_TEXT / 2);
        let room = LONGEST_TEXT - crate::fitting::length(&unlinked, char::len_utf16) - 2;
        format!("{}\n\n{unlinked}", prose::fitting(text, room)).trim_start().to_owned()
    }
}

/// An instant as Salesforce takes it.
fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The day of an instant, in UTC.
fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// The values that are there.
fn there<const N: usize>(values: [(&'static str, Option<Value>); N]) -> impl Iterator<Item = (&'static str, Value)> {
    values.into_iter().filter_map(|(ours, value)| Some((ours, value?)))
}

fn addresses(addresses: &[EmailAddress]) -> Option<Value> {
    let texts: Vec<&str> = addresses.iter().map(EmailAddress::as_str).collect();
    (!texts.is_empty()).then(|| texts.join("; ").into())
}

fn key_field(section: &Section, object: Object) -> Option<KeyField> {
    section.theirs("key").map(|name| KeyField { object, name: name.to_owned() })
}

impl<L: Links + Send + Sync> LogEmail for SalesforceCrm<L> {
    async fn log_email(
        &self,
        activity: &EmailActivity,
        key: &IdempotencyKey,
        deadline: Deadline,
    ) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        let section = map.section("mail");
        let sender: &[EmailAddress] = activity.from.as_slice();
        let received = activity.to.iter().chain(&activity.cc);
        let people: Vec<&EmailAddress> = match activity.direction {
            Direction::Outbound => sender.iter().chain(received).collect(),
            Direction::Inbound => received.chain(sender).collect(),
        };
        let owner = self.owner(section, &people, deadline).await?;
        let linked = Linked::new(&activity.contact_ids, activity.deal_id.as_deref());
        let mut new = section.body(there([
            ("subject", Some(prose::line(&format!("Email: {}", prose::mail_subject(activity)), LONGEST_LINE).into())),
            ("text", Some(linked.text(&prose::mail(activity)).into())),
            ("direction", Some(activity.direction.as_str().into())),
            ("date", Some(day(activity.timestamp).into())),
            ("time", Some(instant(activity.timestamp).into())),
            ("from", addresses(sender)),
            ("to", addresses(&activity.to)),
            ("cc", addresses(&activity.cc)),
            ("thread_id", activity.thread_id.clone().map(Value::from)),
            ("grant_id", activity.grant_id.clone().map(Value::from)),
            ("owner", owner.map(Value::from)),
        ]));
        linked.put_on(&mut new);
        let draft = Draft {
            kind: "mail",
            object: Object::Task,
            key: key.as_str().to_owned(),
            field: key_field(section, Object::Task),
            new,
            change: None,
        };
        Ok(Box::pin(self.write(&draft, &map, deadline)).await?)
    }
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// Whose a record is to be, if the field map wants it to be told.
    async fn owner(
        &self,
        section: &Section,
        people: &[&EmailAddress],
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        if section.theirs("owner").is_none() {
            return Ok(None);
        }
        self.first_user(people, deadline).await
    }
}

impl<L: Links + Send + Sync> WriteMeetings for SalesforceCrm<L> {
    async fn upsert_meeting(&self, meeting: &Meeting, deadline: Deadline) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        let section = map.section("meeting");
        let invited = meeting.attendees.iter().filter_map(|attendee| attendee.email.as_ref());
        let people: Vec<&EmailAddress> = meeting.organizer.iter().chain(invited).collect();
        let owner = self.owner(section, &people, deadline).await?;
        let linked = Linked::new(&meeting.contact_ids, meeting.deal_id.as_deref());
        let body = meeting_body(section, meeting, &linked);
        let mut new = body.clone();
        // An event has a time. One whose calendar tells none stands on the day on which it was heard of.
        let time = match meeting.time {
            MeetingTime::Unknown => whole_days(day(self.written.now()), 1),
            ref time => time_of(time),
        };
        new.extend(section.body(time.clone().chain(there([("owner", owner.map(Value::from))]))));
        linked.put_on(&mut new);
        let mut change = body;
        if meeting.time != MeetingTime::Unknown {
            change.extend(section.body(time));
        }
        linked.change(&mut change);
        let draft = Draft {
            kind: "meeting",
            object: Object::Event,
            key: meeting.external_event_id.clone(),
            field: key_field(section, Object::Event),
            new,
            change: Some(change),
        };
        Ok(Box::pin(self.write(&draft, &map, deadline)).await?)
    }

    /// Deleted, an event lies in the Recycle Bin.
    async fn delete_meeting(&self, external_event_id: &str, deadline: Deadline) -> Result<(), CrmError> {
        const KIND: &str = "meeting";
        let id = match self.written.standing(KIND, external_event_id).await? {
            Some(id) => Some(id),
            None => self.left_behind(KIND, external_event_id, deadline).await?,
        };
        let Some(id) = id else { return Ok(()) };
        let path = ["sobjects", Object::Event.name(), id.as_str()];
        match self.request(Method::DELETE, &path, Object::Event.what()).send(deadline).await {
            Ok(_) | Err(CallError::NotFound { .. }) => {}
            Err(error) if is_about_something_gone(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.written.gone(KIND, external_event_id, &id).await?)
    }
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// The event that a try of old may have created before it was cut short.
    async fn left_behind(
        &self,
        section: &'static str,
        key: &str,
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        let map = self.fields.current().await?;
        let Some(field) = key_field(map.section(section), Object::Event) else { return Ok(None) };
        self.kind_of(&field, &map, deadline).await?;
        self.bearing(&field, key, deadline).await
    }
}

/// What an event holds beside its time, its owner and its links.
fn meeting_body(section: &Section, meeting: &Meeting, linked: &Linked<'_>) -> Map<String, Value> {
    let status = match meeting.status {
        MeetingStatus::Confirmed => "confirmed",
        MeetingStatus::Tentative => "tentative",
        MeetingStatus::Cancelled => "cancelled",
    };
    let in_subject = section.theirs("status") == section.theirs("subject");
    let prefix = if in_subject { section.value("status", status) } else { "" };
    let mut text = prose::meeting(meeting);
    if let Some(told) = what_an_event_cannot_hold(&meeting.time) {
        text = format!("{told}\n\n{text}");
    }
    let optional = |text: &Option<String>| Some(Value::from(text.clone().unwrap_or_default()));
    section.body(there([
        ("status", (!in_subject).then(|| status.into())),
        ("subject", Some(prose::line(&format!("{prefix}{}", meeting.subject), LONGEST_LINE).into())),
        ("text", Some(linked.text(&text).into())),
        // What was taken back is emptied.
        ("location", Some(prose::line(meeting.location.as_deref().unwrap_or_default(), LONGEST_LINE).into())),
        ("link", optional(&meeting.link)),
        ("organizer", meeting.organizer.as_ref().map(|organizer| organizer.as_str().into())),
        ("grant_id", meeting.grant_id.clone().map(Value::from)),
        ("master_event_id", meeting.master_event_id.clone().map(Value::from)),
    ]))
}

type Values = std::vec::IntoIter<(&'static str, Value)>;

/// The time of an event.
fn time_of(time: &MeetingTime) -> Values {
    match *time {
        MeetingTime::Span { start, end } => {
            let longest = start.saturating_add((LONGEST_EVENT_DAYS * 24).hours()).unwrap_or(end);
            let values: Vec<(&'static str, Value)> = vec![
                ("all_day", false.into()),
                ("start", instant(start).into()),
                ("end", instant(end.min(longest)).into()),
            ];
            values.into_iter()
        }
        MeetingTime::Days { first, last } => whole_days(first.to_string(), days(first, last)),
        MeetingTime::Unknown => Vec::new().into_iter(),
    }
}

fn whole_days(first: String, days: i64) -> Values {
    let minutes = days.clamp(1, LONGEST_EVENT_DAYS) * MINUTES_IN_A_DAY;
    let values: Vec<(&'static str, Value)> =
        vec![("all_day", true.into()), ("date", first.into()), ("minutes", minutes.into())];
    values.into_iter()
}

/// How many days there are from the first to the last, both counted.
fn days(first: Date, last: Date) -> i64 {
    first.until(last).map_or(0, |span| i64::from(span.get_days())) + 1
}

/// What must be said of a meeting's time in its text, because an event cannot hold it.
fn what_an_event_cannot_hold(time: &MeetingTime) -> Option<String> {
    match *time {
        MeetingTime::Unknown => Some("The calendar does not tell when this takes place.".to_owned()),
        MeetingTime::Span { start, end } if end.duration_since(start).as_hours() > LONGEST_EVENT_DAYS * 24 => {
            Some(format!("Until {}", instant(end)))
        }
        // The text names the days already.
        MeetingTime::Span { .. } | MeetingTime::Days { .. } => None,
    }
}

impl<L: Links + Send + Sync> WriteMeetingNotes for SalesforceCrm<L> {
    async fn upsert_meeting_notes(&self, notes: &MeetingNotes, deadline: Deadline) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        let section = map.section("notes");
        let linked = Linked::new(&notes.contact_ids, notes.deal_id.as_deref());
        let mut change = section.body(there([
            ("subject", Some(prose::line(&format!("Meeting notes: {}", notes.subject), LONGEST_LINE).into())),
            ("text", Some(linked.text(&prose::notes(notes)).into())),
        ]));
        let mut new = change.clone();
        let now = self.written.now();
        new.extend(section.body(there([("date", Some(day(now).into())), ("time", Some(instant(now).into()))])));
        linked.put_on(&mut new);
        linked.change(&mut change);
        let draft = Draft {
            kind: "notes",
            object: Object::Task,
            key: notes.external_notetaker_id.clone(),
            field: key_field(section, Object::Task),
            new,
            change: Some(change),
        };
        let stands = self.ensure(&draft, &map, deadline).await?;
        for item in &notes.action_items {
            self.write_task(item, notes, &linked, &map, deadline).await?;
        }
        // Last, so that a try after one that was cut short goes on where that ended.
        Ok(self.keep(&draft, stands, &map, deadline).await?)
    }
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    async fn write_task(
        &self,
        item: &ActionItem,
        notes: &MeetingNotes,
        linked: &Linked<'_>,
        map: &FieldMap,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let section = map.section("task");
        let people: Vec<&EmailAddress> = item.owner.iter().collect();
        let owner = self.owner(section, &people, deadline).await?;
        let text = format!("{}\n\nFrom the meeting: {}", prose::action_item(item), notes.subject);
        let mut new = section.body(there([
            ("subject", Some(prose::line(&item.text, LONGEST_LINE).into())),
            ("text", Some(linked.text(&text).into())),
            ("due", item.due.map(|due| due.to_string().into())),
            ("owner", owner.map(Value::from)),
            ("status", Some("open".into())),
        ]));
        linked.put_on(&mut new);
        let draft = Draft {
            kind: "task",
            object: Object::Task,
            key: format!("{}#{}", notes.external_notetaker_id, sha256_hex(&[item.text.as_bytes()])),
            field: key_field(section, Object::Task),
            new,
            change: None,
        };
        Box::pin(self.write(&draft, map, deadline)).await.map(|_| ())
    }
}

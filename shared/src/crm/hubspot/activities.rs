//! What is written into the timelines of contacts: mails, meetings, notes and tasks.

use jiff::civil::Date;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::wire::{ASSOCIATIONS, Batch, MOST_IN_A_BATCH, OBJECTS, Page, Record, search};
use super::{HubSpotCrm, Kind};
use crate::crm::collection_is_missing;
use crate::crm::meeting::{Meeting, MeetingStatus, MeetingTime, WriteMeetings};
use crate::crm::notes::{ActionItem, MeetingNotes, WriteMeetingNotes};
use crate::crm::{CrmError, EmailActivity, IdempotencyKey, LogEmail, prose};
use crate::domain::address::EmailAddress;
use crate::domain::digest::sha256_hex;
use crate::engine::{Deadline, Links};
use crate::field_map::Section;
use crate::http::CallError;
use crate::written::Stands;

/// The longest text of a property: it may have 65,536 characters (HubSpot, "Activities | Notes"), and some of ours may
/// count there as two.
const LONGEST_TEXT: usize = 65_000;

/// The longest title: what a timeline shows in one line.
const LONGEST_TITLE: usize = 250;

/// What one record is to be.
struct Draft<'a> {
    kind: Kind,
    key: &'a str,
    /// Its properties when it is new.
    new: Map<String, Value>,
    contact_ids: &'a [String],
    deal_id: Option<&'a str>,
}

/// What is to be changed in a record that stands.
struct Change {
    properties: Map<String, Value>,
    /// A property that is written only if it holds this: what it is, what it must hold, what it becomes.
    only_if: Option<(String, String, String)>,
}

impl<L: Links + Send + Sync> LogEmail for HubSpotCrm<L> {
    async fn log_email(
        &self,
        activity: &EmailActivity,
        key: &IdempotencyKey,
        deadline: Deadline,
    ) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        let section = map.section(Kind::Mail.section());
        let people: Vec<&EmailAddress> = activity.from.iter().chain(&activity.to).chain(&activity.cc).collect();
        let owner = self.owner_of(section, &people, deadline).await?;
        let properties = section.body([
            ("key", json!(key.as_str())),
            ("subject", json!(prose::line(prose::mail_subject(activity), LONGEST_TITLE))),
            ("text", json!(prose::fitting(&prose::mail(activity), LONGEST_TEXT))),
            ("direction", json!(activity.direction)),
            ("time", json!(activity.timestamp.to_string())),
            ("participants", json!(participants(activity))),
            ("owner", json!(owner)),
            ("from", json!(activity.from.as_ref().map(EmailAddress::as_str))),
            ("to", json!(listed(&activity.to))),
            ("cc", json!(listed(&activity.cc))),
            ("thread_id", json!(activity.thread_id)),
            ("grant_id", json!(activity.grant_id)),
        ]);
        let draft = Draft {
            kind: Kind::Mail,
            key: key.as_str(),
            new: properties,
            contact_ids: &activity.contact_ids,
            deal_id: activity.deal_id.as_deref(),
        };
        Ok(self.once(&draft, section, deadline).await?.0.id)
    }
}

impl<L: Links + Send + Sync> WriteMeetings for HubSpotCrm<L> {
    async fn upsert_meeting(&self, meeting: &Meeting, deadline: Deadline) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        let section = map.section(Kind::Meeting.section());
        let attendees = meeting.attendees.iter().filter_map(|attendee| attendee.email.as_ref());
        let people: Vec<&EmailAddress> = meeting.organizer.iter().chain(attendees).collect();
        let owner = self.owner_of(section, &people, deadline).await?;
        let lasting = lasting_values(meeting);
        let begins = begin(meeting.time).unwrap_or_else(|| self.written.now().to_string());
        let at_first = [
            ("key", json!(meeting.external_event_id)),
            ("time", json!(begins)),
            ("status", json!(meeting.status)),
            ("owner", json!(owner)),
        ];
        let draft = Draft {
            kind: Kind::Meeting,
            key: &meeting.external_event_id,
            new: section.body(lasting.iter().cloned().chain(at_first)),
            contact_ids: &meeting.contact_ids,
            deal_id: meeting.deal_id.as_deref(),
        };
        let time = begin(meeting.time).map(|begins| ("time", json!(begins)));
        let is_cancelled = meeting.status == MeetingStatus::Cancelled;
        let status = is_cancelled.then(|| ("status", json!(meeting.status)));
        let change = Change {
            properties: section.body(lasting.into_iter().chain(time).chain(status)),
            // A person may have told since how it went.
            only_if: section.theirs("status").filter(|_| !is_cancelled).map(|theirs| {
                let now = if meeting.status == MeetingStatus::Tentative { "tentative" } else { "confirmed" };
                let [cancelled, now] = ["cancelled", now].map(|status| section.value("status", status).to_owned());
                (theirs.to_owned(), cancelled, now)
            }),
        };
        Ok(self.upsert(draft, change, section, deadline).await?)
    }

    async fn delete_meeting(&self, external_event_id: &str, deadline: Deadline) -> Result<(), CrmError> {
        let map = self.fields.current().await?;
        let section = map.section(Kind::Meeting.section());
        let standing = match self.written.standing(Kind::Meeting.section(), external_event_id).await? {
            Some(id) => Some(id),
            // It may have been written without our knowing.
            None => Box::pin(self.find(Kind::Meeting, external_event_id, section, deadline)).await?,
        };
        let Some(id) = standing else { return Ok(()) };
        let path = ["meetings", id.as_str()];
        let call = |method| self.call(method, OBJECTS, &path, Kind::Meeting.what());
        let request = match section.theirs("status") {
            // Kept where people look for it. One in the recycling bin might keep its key from being used again.
            Some(theirs) => {
                let cancelled = section.value("status", "cancelled");
                call(Method::PATCH).json(&json!({"properties": {theirs: cancelled}}))
            }
            None => call(Method::DELETE),
        };
        match request.send(deadline).await {
            Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl<L: Links + Send + Sync> WriteMeetingNotes for HubSpotCrm<L> {
    async fn upsert_meeting_notes(&self, notes: &MeetingNotes, deadline: Deadline) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        let section = map.section(Kind::Notes.section());
        let lasting = [
            ("subject", json!(prose::line(&notes.subject, LONGEST_TITLE))),
            ("text", json!(fitting_html(&prose::notes(notes)))),
        ];
        let at_first = [("key", json!(notes.external_notetaker_id)), ("time", json!(self.written.now().to_string()))];
        let draft = Draft {
            kind: Kind::Notes,
            key: &notes.external_notetaker_id,
            new: section.body(lasting.iter().cloned().chain(at_first)),
            contact_ids: &notes.contact_ids,
            deal_id: notes.deal_id.as_deref(),
        };
        let change = Change { properties: section.body(lasting), only_if: None };
        let id = self.upsert(draft, change, section, deadline).await?;
        for item in &notes.action_items {
            self.task(item, notes, map.section(Kind::Task.section()), deadline).await?;
        }
        Ok(id)
    }
}

impl<L: Links + Send + Sync> HubSpotCrm<L> {
    /// Makes sure that somebody is reminded of what was promised; from then on the task is theirs.
    async fn task(
        &self,
        item: &ActionItem,
        notes: &MeetingNotes,
        section: &Section,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let digest = sha256_hex(&[item.text.as_bytes()]);
        let key = format!("{}#{}", notes.external_notetaker_id, &digest[..16]);
        if self.written.standing(Kind::Task.section(), &key).await?.is_some() {
            return Ok(());
        }
        let people: Vec<&EmailAddress> = item.owner.iter().collect();
        let owner = self.owner_of(section, &people, deadline).await?;
        let text = format!("{}\n{}", prose::action_item(item), notes.subject);
        let draft = Draft {
            kind: Kind::Task,
            key: &key,
            new: section.body([
                ("key", json!(key)),
                ("subject", json!(prose::line(&item.text, LONGEST_TITLE))),
                ("text", json!(fitting_html(&text))),
                ("due", json!(item.due.map_or_else(|| self.written.now().to_string(), due_time))),
                ("owner", json!(owner)),
                ("status", json!("open")),
            ]),
            contact_ids: &notes.contact_ids,
            deal_id: notes.deal_id.as_deref(),
        };
        self.once(&draft, section, deadline).await.map(|_| ())
    }

    /// The id of the first of these people who is a user of HubSpot, if records of the kind are to have an owner.
    async fn owner_of(
        &self,
        section: &Section,
        people: &[&EmailAddress],
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        match section.theirs("owner") {
            Some(_) => self.owners.first_of(&self.client, people, deadline).await,
            None => Ok(None),
        }
    }

    /// Makes a record what is given, whether it stands or not.
    async fn upsert(
        &self,
        draft: Draft<'_>,
        change: Change,
        section: &Section,
        deadline: Deadline,
    ) -> Result<String, CallError> {
        let (stands, is_as_drafted) = self.once(&draft, section, deadline).await?;
        if is_as_drafted || Box::pin(self.change(&draft, &change, &stands.id, deadline)).await? {
            return Ok(stands.id);
        }
        // A person has deleted it.
        self.written.gone(draft.kind.section(), draft.key, &stands.id).await?;
        Ok(self.once(&draft, section, deadline).await?.0.id)
    }

    /// Makes sure that a record stands, and tells whether it was made from this very draft.
    async fn once(
        &self,
        draft: &Draft<'_>,
        section: &Section,
        deadline: Deadline,
    ) -> Result<(Stands, bool), CallError> {
        let was_there = AtomicBool::new(false);
        let found = |id: Option<String>| {
            was_there.fetch_or(id.is_some(), Ordering::Relaxed);
            id
        };
        // On the heap: most calls need neither.
        let find = Box::pin(async { self.find(draft.kind, draft.key, section, deadline).await.map(found) });
        let create = Box::pin(async {
            match self.create_with(draft, &draft.new, deadline).await {
                Err(error) if is_conflict(&error) => {
                    match self.find(draft.kind, draft.key, section, deadline).await.map(found)? {
                        Some(id) => Ok(id),
                        // A record in the recycling bin has the key: ours goes on without, known by our own table.
                        None => self.create_without_key(draft, section, error, deadline).await,
                    }
                }
                created => created,
            }
        });
        self.ready(draft.kind, section, deadline).await?;
        let stands = self.written.once(draft.kind.section(), draft.key, find, create).await?;
        let is_as_drafted = stands.is_new && !was_there.load(Ordering::Relaxed);
        Ok((stands, is_as_drafted))
    }

    async fn create_without_key(
        &self,
        draft: &Draft<'_>,
        section: &Section,
        conflict: CallError,
        deadline: Deadline,
    ) -> Result<String, CallError> {
        let mut properties = draft.new.clone();
        match section.theirs("key").and_then(|theirs| properties.remove(theirs)) {
            Some(_) => self.create_with(draft, &properties, deadline).await,
            None => Err(conflict),
        }
    }

    async fn create_with(
        &self,
        draft: &Draft<'_>,
        properties: &Map<String, Value>,
        deadline: Deadline,
    ) -> Result<String, CallError> {
        let to = |id: &str, kind: u32| {
            json!({
                "to": {"id": id},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": kind}],
            })
        };
        let mut seen = HashSet::new();
        let contacts = draft.contact_ids.iter().filter(|id| seen.insert(*id)).map(|id| to(id, draft.kind.to_contact()));
        let deal = draft.deal_id.map(|id| to(id, draft.kind.to_deal()));
        let associations: Vec<Value> = contacts.chain(deal).collect();
        // What is not known is not told.
        let known = texts(properties).filter(|(_, text)| text != "");
        let body = json!({"properties": known.collect::<Map<_, _>>(), "associations": associations});
        let request = self.call(Method::POST, OBJECTS, &[draft.kind.object()], draft.kind.what()).json(&body);
        let created: Record = request.read(deadline).await.map_err(collection_is_missing)?;
        Ok(created.id)
    }

    /// The id of the record with a key.
    async fn find(
        &self,
        kind: Kind,
        key: &str,
        section: &Section,
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        let Some(property) = section.theirs("key") else { return Ok(None) };
        if self.ready(kind, section, deadline).await?.key_is_unique {
            let request = self.call(Method::GET, OBJECTS, &[kind.object(), key], kind.what());
            return match request.query(&[("idProperty", property)]).read::<Record>(deadline).await {
                Ok(record) => Ok(Some(record.id)),
                Err(CallError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let filter = json!({"propertyName": property, "operator": "EQ", "value": key});
        let page: Page<Record> = self.search(kind.object(), &search(&filter, &[property], 1, "0"), deadline).await?;
        Ok(page.results.into_iter().next().map(|record| record.id))
    }

    /// Changes a record that stands; false if it does not any more.
    async fn change(
        &self,
        draft: &Draft<'_>,
        change: &Change,
        id: &str,
        deadline: Deadline,
    ) -> Result<bool, CallError> {
        let path = [draft.kind.object(), id];
        let looked_at = change.only_if.as_ref().map_or("hs_object_id", |(property, ..)| property);
        let request = self
            .call(Method::GET, OBJECTS, &path, draft.kind.what())
            .query(&[("properties", looked_at), ("associations", "contacts,deals")]);
        let standing: Record = match request.read(deadline).await {
            Ok(standing) => standing,
            Err(CallError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        // What is not there any more is cleared by an empty text (HubSpot, "Update contacts").
        let mut properties: Map<String, Value> = texts(&change.properties).collect();
        if let Some((property, must_hold, becomes)) = &change.only_if
            && standing.text(property) == Some(must_hold)
        {
            properties.insert(property.clone(), json!(becomes));
        }
        let request = self.call(Method::PATCH, OBJECTS, &path, draft.kind.what());
        match request.json(&json!({"properties": properties})).send(deadline).await {
            Ok(_) => {}
            Err(CallError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        let contacts: Vec<&str> = draft.contact_ids.iter().map(String::as_str).collect();
        self.associate(draft.kind, id, "contacts", &contacts, &standing, deadline).await?;
        let deal: Vec<&str> = draft.deal_id.into_iter().collect();
        self.associate(draft.kind, id, "deals", &deal, &standing, deadline).await?;
        Ok(true)
    }

    /// Associates a record with those of these that it is not associated with yet.
    async fn associate(
        &self,
        kind: Kind,
        id: &str,
        object: &str,
        wanted: &[&str],
        standing: &Record,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let mut there = standing.associated(object);
        let missing: Vec<Value> = wanted
            .iter()
            .filter(|wanted| there.insert(wanted))
            .map(|wanted| json!({"from": {"id": id}, "to": {"id": wanted}}))
            .collect();
        for some in missing.chunks(MOST_IN_A_BATCH) {
            let what = "association of an activity";
            let path = [kind.object(), object, "batch", "associate", "default"];
            let request = self.call(Method::POST, ASSOCIATIONS, &path, what).json(&json!({"inputs": some}));
            let batch: Batch<Value> = request.read(deadline).await.map_err(collection_is_missing)?;
            if let Some(error) = batch.errors.first() {
                // A contact that is gone by now is not found by the next try either.
                return Err(collection_is_missing(error.as_error(self.client.name(), what)));
            }
        }
        Ok(())
    }
}

/// A create that failed because another record has the key: 409, or 400 with words that say so.
fn is_conflict(error: &CallError) -> bool {
    match error {
        CallError::Rejected { status: 409, .. } => true,
        CallError::Rejected { status: 400, text, .. } => text.contains("already has that value"),
        _ => false,
    }
}

/// Values as HubSpot takes them: all as text.
fn texts(properties: &Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    properties.iter().map(|(name, value)| {
        let text = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (name.clone(), Value::from(text))
    })
}

/// What a meeting is made anew with each write.
fn lasting_values(meeting: &Meeting) -> Vec<(&'static str, Value)> {
    let mut values = vec![
        ("subject", json!(prose::line(&meeting.subject, LONGEST_TITLE))),
        ("text", json!(fitting_html(&prose::meeting(meeting)))),
        ("location", json!(meeting.location)),
        ("link", json!(meeting.link)),
        ("organizer", json!(meeting.organizer.as_ref().map(EmailAddress::as_str))),
        ("grant_id", json!(meeting.grant_id)),
        ("master_event_id", json!(meeting.master_event_id)),
    ];
    if let (Some(begin), Some(end)) = (begin(meeting.time), end(meeting.time)) {
        values.extend([("start", json!(begin)), ("end", json!(end))]);
    }
    values
}

/// When a meeting begins; whole days begin at midnight, for HubSpot knows none.
fn begin(time: MeetingTime) -> Option<String> {
    match time {
        MeetingTime::Span { start, .. } => Some(start.to_string()),
        MeetingTime::Days { first, .. } => Some(midnight(first)),
        MeetingTime::Unknown => None,
    }
}

fn end(time: MeetingTime) -> Option<String> {
    match time {
        MeetingTime::Span { end, .. } => Some(end.to_string()),
        MeetingTime::Days { last, .. } => Some(midnight(last.tomorrow().unwrap_or(last))),
        MeetingTime::Unknown => None,
    }
}

fn midnight(day: Date) -> String {
    format!("{day}T00:00:00Z")
}

/// A due date as a time that falls on that day nearly everywhere on earth.
fn due_time(day: Date) -> String {
    format!("{day}T12:00:00Z")
}

/// The participants of a mail in the form that HubSpot reads addresses from.
fn participants(activity: &EmailActivity) -> String {
    let person = |address: &EmailAddress| json!({"email": address.as_str()});
    let people = |addresses: &[EmailAddress]| addresses.iter().map(person).collect::<Value>();
    let from = activity.from.iter().map(|from| ("from".to_owned(), person(from)));
    let to = [("to", &activity.to), ("cc", &activity.cc)].map(|(name, these)| (name.to_owned(), people(these)));
    let participants: Map<String, Value> = from.chain(to).chain([("bcc".to_owned(), json!([]))]).collect();
    Value::from(participants).to_string()
}

fn listed(addresses: &[EmailAddress]) -> String {
    addresses.iter().map(EmailAddress::as_str).collect::<Vec<_>>().join(", ")
}

/// Text as HTML that fits into a property.
fn fitting_html(text: &str) -> String {
    let length_of = |text: &str| crate::fitting::length(text, char::len_utf16);
    let mut room = length_of(text).min(LONGEST_TEXT);
    loop {
        let html = prose::html(&prose::fitting(text, room));
        let length = length_of(&html);
        if length <= LONGEST_TEXT {
            return html;
        }
        // As much less as the marks make it longer.
        room = (room * LONGEST_TEXT / length).min(room.saturating_sub(1));
    }
}

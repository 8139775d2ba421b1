//! Mails, meetings and tasks as activities, and what a notetaker brings as a note.
//!
//! What is passed on to be awaited elsewhere is boxed: a call's future is large, and would be held several times over.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

use super::page::{LONGEST_SUBJECT, Page, TEXT_FIELDS, added_by_people, is_marked};
use super::wire::{Activity, Answer, Created, PAGE, WireNote, at_collection, list};
use super::{PipedriveCrm, number_of};
use crate::crm::meeting::{Meeting, MeetingStatus, MeetingTime, WriteMeetings};
use crate::crm::notes::{ActionItem, MeetingNotes, WriteMeetingNotes};
use crate::crm::{CrmError, Direction, EmailActivity, IdempotencyKey, LogEmail, prose};
use crate::domain::address::EmailAddress;
use crate::domain::digest::sha256_hex;
use crate::engine::{Deadline, Links};
use crate::field_map::{FieldMap, Section};
use crate::http::CallError;
use crate::written::Stands;

/// How far back it is looked for what a try of old may have written: a message that failed is kept for two weeks.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(30 * 24);

/// From how many minutes on a duration is said in words, too: Pipedrive takes hours and minutes of a day.
const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// How often a thing is written anew that people delete meanwhile.
const MOST_TRIES: usize = 2;

impl<L: Links + Send + Sync> LogEmail for PipedriveCrm<L> {
    async fn log_email(
        &self,
        activity: &EmailActivity,
        key: &IdempotencyKey,
        deadline: Deadline,
    ) -> Result<String, CrmError> {
        if let Some(id) = self.written.standing("mail", key.as_str()).await? {
            return Ok(id);
        }
        let map = self.fields.current().await?;
        self.ready_for(&map, "mail", deadline).await?;
        let section = map.section("mail");
        let participants = self.numbers(&activity.contact_ids)?;
        let others = activity.to.iter().chain(&activity.cc);
        let ours: Vec<&EmailAddress> = match activity.direction {
            Direction::Outbound => activity.from.iter().collect(),
            Direction::Inbound => others.collect(),
        };
        let owner = self.owner(section, ours, deadline).await?;
        let (day, time) = day_and_time(activity.timestamp);
        let addresses = |list: &[EmailAddress]| list.iter().map(EmailAddress::as_str).collect::<Vec<_>>().join(", ");
        let is_dated = section.theirs("time").is_some();
        let body = Page::new(section)
            .key(key.as_str())
            .named("subject", "Subject", Some(&prose::line(prose::mail_subject(activity), LONGEST_SUBJECT)))
            .text(prose::mail(activity))
            .named("direction", "Direction", Some(activity.direction.as_str()))
            .named("from", "From", activity.from.as_ref().map(EmailAddress::as_str))
            .named("to", "To", Some(&addresses(&activity.to)))
            .named("cc", "Cc", Some(&addresses(&activity.cc)))
            .named("thread_id", "Thread", activity.thread_id.as_deref())
            .named("grant_id", "Grant", activity.grant_id.as_deref())
            .value("time", Some(json!(day)))
            .with("due_time", is_dated.then(|| json!(time)))
            .value("owner", owner.map(Value::from))
            .with("participants", Some(participants_of(&participants, &[])))
            .with("deal_id", self.deal(activity.deal_id.as_deref())?)
            .finish();
        let find = self.find_activity(&participants, key.as_str(), deadline);
        let create = self.create_activity(&body, "logged mail", deadline);
        Ok(self.written.once("mail", key.as_str(), Box::pin(find), Box::pin(create)).await?.id)
    }
}

impl<L: Links + Send + Sync> WriteMeetings for PipedriveCrm<L> {
    async fn upsert_meeting(&self, meeting: &Meeting, deadline: Deadline) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        self.ready_for(&map, "meeting", deadline).await?;
        let section = map.section("meeting");
        let key = meeting.external_event_id.as_str();
        let participants = self.numbers(&meeting.contact_ids)?;
        let body = self.meeting_body(meeting, section, &participants)?;
        let invited = meeting.attendees.iter().filter_map(|attendee| attendee.email.as_ref());
        let people: Vec<&EmailAddress> = meeting.organizer.iter().chain(invited).collect();
        let owner = self.owner(section, people, deadline).await?;
        let mut new = body.clone();
        if let (Some(theirs), Some(owner)) = (section.theirs("owner"), owner) {
            new.insert(theirs.to_owned(), owner.into());
        }
        for _ in 0..MOST_TRIES {
            let was_found = AtomicBool::new(false);
            let find = async {
                let found = self.find_activity(&participants, key, deadline).await?;
                was_found.store(found.is_some(), Ordering::Relaxed);
                Ok(found)
            };
            let create = self.create_activity(&new, "meeting", deadline);
            let stands = self.written.once("meeting", key, Box::pin(find), Box::pin(create)).await?;
            // What an earlier try has left may be older than what is to be written now.
            let holds_it = stands.is_new && !was_found.load(Ordering::Relaxed);
            if holds_it
                || Box::pin(self.update_meeting(&stands, meeting, section, &body, &participants, deadline)).await?
            {
                return Ok(stands.id);
            }
            self.written.gone("meeting", key, &stands.id).await?;
        }
        Err(self.deleted_again("meeting").into())
    }

    /// Pipedrive keeps what was deleted for 30 days (the page "Activities" of the API's reference).
    async fn delete_meeting(&self, external_event_id: &str, deadline: Deadline) -> Result<(), CrmError> {
        let Some(id) = self.written.standing("meeting", external_event_id).await? else { return Ok(()) };
        let path = ["api", "v2", "activities", &id];
        match self.client.request(Method::DELETE, &path, "meeting").send(deadline).await {
            Ok(_) | Err(CallError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.written.gone("meeting", external_event_id, &id).await?)
    }
}

impl<L: Links + Send + Sync> WriteMeetingNotes for PipedriveCrm<L> {
    async fn upsert_meeting_notes(&self, notes: &MeetingNotes, deadline: Deadline) -> Result<String, CrmError> {
        let map = self.fields.current().await?;
        if !notes.action_items.is_empty() {
            self.ready_for(&map, "task", deadline).await?;
        }
        let persons = self.numbers(&notes.contact_ids)?;
        let id = self.upsert_note(notes, map.section("notes"), &persons, deadline).await?;
        for item in &notes.action_items {
            self.write_task(notes, item, &map, &persons, deadline).await?;
        }
        Ok(id)
    }
}

impl<L: Links + Send + Sync> PipedriveCrm<L> {
    fn meeting_body(
        &self,
        meeting: &Meeting,
        section: &Section,
        participants: &[u64],
    ) -> Result<Map<String, Value>, CallError> {
        let subject = format!("{}{}", section.value("status", status_of(meeting.status)), meeting.subject);
        let further = match meeting.time {
            MeetingTime::Span { end, .. } if meeting.time.minutes() >= Some(MINUTES_OF_A_DAY) => {
                format!("Ends: {end}")
            }
            // Without a day the activity stands in the list, and not in the calendar.
            MeetingTime::Unknown => "The calendar does not say when it takes place.".to_owned(),
            _ => String::new(),
        };
        let (day, time, lasts) = match meeting.time {
            MeetingTime::Span { start, .. } => {
                let (day, time) = day_and_time(start);
                (Some(day), Some(time), Some(duration_of(meeting.time.minutes().unwrap_or_default())))
            }
            MeetingTime::Days { first, .. } => (Some(first.to_string()), None, None),
            MeetingTime::Unknown => (None, None, None),
        };
        let is_dated = section.theirs("start").is_some();
        Ok(Page::new(section)
            .key(&meeting.external_event_id)
            .named("subject", "Subject", Some(&prose::line(&subject, LONGEST_SUBJECT)))
            .text(format!("{}\n\n{further}", prose::meeting(meeting)).trim().to_owned())
            .named("location", "Where", meeting.location.as_deref())
            .named("link", "Join", meeting.link.as_deref())
            .named("organizer", "Organizer", meeting.organizer.as_ref().map(EmailAddress::as_str))
            .named("grant_id", "Grant", meeting.grant_id.as_deref())
            .named("master_event_id", "Series", meeting.master_event_id.as_deref())
            .value("start", day.map(Value::from))
            .with("due_time", time.filter(|_| is_dated).map(Value::from))
            .value("end", lasts.map(Value::from))
            .value("status", (meeting.status == MeetingStatus::Cancelled).then_some(Value::Bool(true)))
            .with("participants", Some(participants_of(participants, &[])))
            .with("deal_id", self.deal(meeting.deal_id.as_deref())?)
            .finish())
    }

    /// Makes a meeting that stands what is given, and leaves alone what people have made of it. False if it is not there
    /// any more.
    async fn update_meeting(
        &self,
        stands: &Stands,
        meeting: &Meeting,
        section: &Section,
        body: &Map<String, Value>,
        participants: &[u64],
        deadline: Deadline,
    ) -> Result<bool, CallError> {
        let path = ["api", "v2", "activities", stands.id.as_str()];
        let standing: Answer<Activity> = match self.client.request(Method::GET, &path, "meeting").read(deadline).await {
            Ok(standing) => standing,
            Err(CallError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let standing = standing.data;
        if standing.is_deleted {
            return Ok(false);
        }
        let mut body = body.clone();
        let added: Vec<u64> = standing.participants.iter().flatten().map(|participant| participant.person_id).collect();
        body.insert("participants".to_owned(), participants_of(participants, &added));
        for (field, text) in [("note", &standing.note), ("public_description", &standing.public_description)] {
            keep_additions(&mut body, field, text.as_deref(), &meeting.external_event_id);
        }
        if let Some(done) = section.theirs("status").filter(|_| meeting.status != MeetingStatus::Cancelled)
            && standing.done
            && was_cancelled(&standing, section)
        {
            body.insert(done.to_owned(), false.into());
        }
        let cleared = cleared(&standing, meeting, section);
        let send = async |body: &Map<String, Value>| {
            self.client.request(Method::PATCH, &path, "meeting").json(body).send(deadline).await.map(drop)
        };
        let mut whole = body.clone();
        whole.extend(cleared.iter().map(|field| ((*field).to_owned(), Value::Null)));
        let patched = match send(&whole).await {
            // That null empties a field is told of custom fields only.
            Err(CallError::Rejected { .. }) if !cleared.is_empty() => {
                let patched = send(&body).await;
                if patched.is_ok() {
                    tracing::warn!(
                        fields = cleared.join(","),
                        "Pipedrive does not empty fields of an activity; its text tells what holds"
                    );
                }
                patched
            }
            patched => patched,
        };
        match patched {
            Ok(()) => Ok(true),
            Err(CallError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn upsert_note(
        &self,
        notes: &MeetingNotes,
        section: &Section,
        persons: &[u64],
        deadline: Deadline,
    ) -> Result<String, CallError> {
        let key = notes.external_notetaker_id.as_str();
        let mut text = prose::notes(notes);
        if let Some(others) = self.others(persons, deadline).await? {
            text = format!("{others}\n\n{text}");
        }
        let body = Page::new(section)
            .key(key)
            .named("subject", "Subject", Some(&notes.subject))
            .text(text)
            .with("person_id", persons.first().map(|id| json!(id)))
            .with("deal_id", self.deal(notes.deal_id.as_deref())?)
            .finish();
        for _ in 0..MOST_TRIES {
            let was_found = AtomicBool::new(false);
            let find = async {
                let found = self.find_note(persons, key, deadline).await?;
                was_found.store(found.is_some(), Ordering::Relaxed);
                Ok(found)
            };
            let create = async {
                let request = self.client.request(Method::POST, &["api", "v1", "notes"], "note").json(&body);
                let created: Answer<Created> = request.read(deadline).await.map_err(at_collection)?;
                Ok(created.data.id.to_string())
            };
            let stands = self.written.once("notes", key, Box::pin(find), Box::pin(create)).await?;
            let holds_it = stands.is_new && !was_found.load(Ordering::Relaxed);
            if holds_it || self.update_note(&stands.id, &body, key, deadline).await? {
                return Ok(stands.id);
            }
            self.written.gone("notes", key, &stands.id).await?;
        }
        Err(self.deleted_again("note"))
    }

    /// False if it is not there any more.
    async fn update_note(
        &self,
        id: &str,
        body: &Map<String, Value>,
        key: &str,
        deadline: Deadline,
    ) -> Result<bool, CallError> {
        let path = ["api", "v1", "notes", id];
        let standing: Answer<WireNote> = match self.client.request(Method::GET, &path, "note").read(deadline).await {
            Ok(standing) => standing,
            Err(CallError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if !standing.data.active_flag {
            return Ok(false);
        }
        let mut body = body.clone();
        keep_additions(&mut body, "content", standing.data.content.as_deref(), key);
        match self.client.request(Method::PUT, &path, "note").json(&body).send(deadline).await {
            Ok(_) => Ok(true),
            Err(CallError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A task is written once: from then on it is its owner's.
    async fn write_task(
        &self,
        notes: &MeetingNotes,
        item: &ActionItem,
        map: &FieldMap,
        persons: &[u64],
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let key = format!("{}#{}", notes.external_notetaker_id, sha256_hex(&[item.text.as_bytes()]));
        if self.written.standing("task", &key).await?.is_some() {
            return Ok(());
        }
        let section = map.section("task");
        let owner = self.owner(section, item.owner.iter(), deadline).await?;
        let body = Page::new(section)
            .key(&key)
            .named("subject", "Task", Some(&prose::line(&item.text, LONGEST_SUBJECT)))
            .text(prose::action_item(item))
            .value("due", item.due.map(|due| json!(due.to_string())))
            .value("owner", owner.map(Value::from))
            .with("participants", Some(participants_of(persons, &[])))
            .with("deal_id", self.deal(notes.deal_id.as_deref())?)
            .finish();
        let find = self.find_activity(persons, &key, deadline);
        let create = self.create_activity(&body, "task", deadline);
        self.written.once("task", &key, Box::pin(find), Box::pin(create)).await.map(drop)
    }

    async fn create_activity(
        &self,
        body: &Map<String, Value>,
        what: &'static str,
        deadline: Deadline,
    ) -> Result<String, CallError> {
        let request = self.client.request(Method::POST, &["api", "v2", "activities"], what).json(body);
        let created: Answer<Created> = request.read(deadline).await.map_err(at_collection)?;
        Ok(created.data.id.to_string())
    }

    /// The activity with our key that one of the persons is the main participant of: Pipedrive lists by nobody else.
    async fn find_activity(&self, persons: &[u64], key: &str, deadline: Deadline) -> Result<Option<String>, CallError> {
        let since = self.look_back();
        let is_ours = |activity: &Activity| {
            let mut texts = activity.note.iter().chain(&activity.public_description);
            !activity.is_deleted && texts.any(|text| is_marked(text, key))
        };
        for person in persons {
            let id = person.to_string();
            let query = [("person_id", id.as_str()), ("updated_since", since.as_str()), ("limit", PAGE)];
            let found =
                list(&self.client, &["api", "v2", "activities"], &query, "list of activities", deadline, |page| {
                    page.iter().any(is_ours)
                });
            if let Some(activity) = found.await?.iter().find(|activity| is_ours(activity)) {
                return Ok(Some(activity.id.to_string()));
            }
        }
        Ok(None)
    }

    async fn find_note(&self, persons: &[u64], key: &str, deadline: Deadline) -> Result<Option<String>, CallError> {
        let since = self.look_back();
        let is_ours = |note: &WireNote| {
            note.active_flag && note.content.as_deref().is_some_and(|content| is_marked(content, key))
        };
        for person in persons {
            let id = person.to_string();
            let query = [("person_id", id.as_str()), ("updated_since", since.as_str()), ("limit", PAGE)];
            let found = list(&self.client, &["api", "v1", "notes"], &query, "list of notes", deadline, |page| {
                page.iter().any(is_ours)
            });
            if let Some(note) = found.await?.iter().find(|note| is_ours(note)) {
                return Ok(Some(note.id.to_string()));
            }
        }
        Ok(None)
    }

    /// Since when it is looked for what a try of old has left, in whole seconds: Pipedrive takes no fractions.
    fn look_back(&self) -> String {
        let since = self.written.now().saturating_sub(LOOK_BACK).unwrap_or(Timestamp::UNIX_EPOCH);
        since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// A line that names the further persons of a note, which can belong to one only.
    async fn others(&self, persons: &[u64], deadline: Deadline) -> Result<Option<String>, CallError> {
        let mut others = Vec::new();
        for id in persons.iter().skip(1) {
            let name = match self.name_of(*id, deadline).await {
                Ok(name) => name,
                Err(CallError::NotFound { .. }) => continue,
                Err(error) => return Err(error),
            };
            others.push(name.map_or_else(|| format!("person {id}"), |name| format!("{name} (person {id})")));
        }
        Ok((!others.is_empty()).then(|| format!("Also with: {}", others.join(", "))))
    }

    /// The first of these who is a user, if the field map has a place for that.
    async fn owner(
        &self,
        section: &Section,
        addresses: impl IntoIterator<Item = &EmailAddress>,
        deadline: Deadline,
    ) -> Result<Option<u64>, CallError> {
        match section.theirs("owner") {
            None => Ok(None),
            Some(_) => self.users.first_of(&self.client, addresses, deadline).await,
        }
    }

    fn numbers(&self, ids: &[String]) -> Result<Vec<u64>, CallError> {
        ids.iter().map(|id| number_of(&self.client, id, "person")).collect()
    }

    fn deal(&self, id: Option<&str>) -> Result<Option<Value>, CallError> {
        id.map(|id| number_of(&self.client, id, "deal").map(Value::from)).transpose()
    }

    fn deleted_again(&self, what: &str) -> CallError {
        CallError::Unavailable {
            api: self.client.name(),
            problem: format!("the {what} was deleted while it was being written"),
            retry_after: None,
            answered: true,
        }
    }
}

const fn status_of(status: MeetingStatus) -> &'static str {
    match status {
        MeetingStatus::Confirmed => "confirmed",
        MeetingStatus::Tentative => "tentative",
        MeetingStatus::Cancelled => "cancelled",
    }
}

/// True if the subject is one that a cancelled meeting gets; one that is done otherwise was done by somebody.
fn was_cancelled(standing: &Activity, section: &Section) -> bool {
    let words = section.value("status", "cancelled").trim();
    !words.is_empty() && standing.subject.as_deref().is_some_and(|subject| subject.trim_start().starts_with(words))
}

/// The fields of what stands that the meeting has nothing for any more. A time that the calendar no longer tells stays.
fn cleared(standing: &Activity, meeting: &Meeting, section: &Section) -> Vec<&'static str> {
    let is_filled = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let is_whole_days = matches!(meeting.time, MeetingTime::Days { .. });
    let has_place = standing
        .location
        .as_ref()
        .is_some_and(|place| place.as_str().or_else(|| place["value"].as_str()).is_some_and(|place| !place.is_empty()));
    let mut cleared = Vec::new();
    if is_whole_days && section.theirs("start").is_some() && is_filled(&standing.due_time) {
        cleared.push("due_time");
    }
    if is_whole_days && section.theirs("end") == Some("duration") && is_filled(&standing.duration) {
        cleared.push("duration");
    }
    if meeting.location.is_none() && section.theirs("location") == Some("location") && has_place {
        cleared.push("location");
    }
    cleared
}

/// Puts below a text of ours what people have written there.
fn keep_additions(body: &mut Map<String, Value>, field: &str, standing: Option<&str>, key: &str) {
    debug_assert!(TEXT_FIELDS.contains(&field));
    let added = standing.and_then(|text| added_by_people(text, key));
    if let (Some(Value::String(ours)), Some(added)) = (body.get_mut(field), added) {
        ours.push_str(added);
    }
}

/// All participants, the first of ours as the primary one, then those whom people have added.
fn participants_of(ours: &[u64], added: &[u64]) -> Value {
    let mut all: Vec<u64> = Vec::new();
    for id in ours.iter().chain(added) {
        if !all.contains(id) {
            all.push(*id);
        }
    }
    all.iter().enumerate().map(|(place, id)| json!({ "person_id": id, "primary": place == 0 })).collect()
}

/// The day and the time of day, both in UTC (the page "Activities" of the API's reference).
fn day_and_time(at: Timestamp) -> (String, String) {
    let at = at.to_zoned(TimeZone::UTC);
    (at.strftime("%Y-%m-%d").to_string(), at.strftime("%H:%M").to_string())
}

/// Hours and minutes; a day at most, because Pipedrive takes a time of day.
fn duration_of(minutes: i64) -> String {
    let minutes = minutes.clamp(0, MINUTES_OF_A_DAY - 1);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

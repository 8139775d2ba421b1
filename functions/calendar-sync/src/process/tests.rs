//! The whole of one event's handling with every outside thing faked.

use super::*;
use jiff::Timestamp;
use serde_json::{Value, json};
use shared::crm::{Contact, CrmError};
use shared::engine::Input;
use shared::engine::testing::{MemoryLeases, MemoryLinks, MemoryQueue};
use shared::http::CallError;
use shared::nylas::mailboxes::{Folder, Grant};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// When messages were sent, in Unix seconds.
const NOW: i64 = 1_772_359_999;

/// A CRM that knows some people and holds meetings by their external id.
#[derive(Default)]
struct FakeCrm {
    contacts: Mutex<BTreeMap<String, Contact>>,
    meetings: Mutex<BTreeMap<String, Meeting>>,
    writes: Mutex<usize>,
    lookups: Mutex<usize>,
    refuses: Mutex<Option<String>>,
}

impl FakeCrm {
    fn knows(&self, address: &str, id: &str) {
        let contact = Contact { id: id.to_owned(), deals: Vec::new(), ..Contact::default() };
        self.contacts.lock().expect("a lock").insert(address.to_owned(), contact);
    }
}

impl FindContacts for FakeCrm {
    async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
        *self.lookups.lock().expect("a lock") += 1;
        let known = self.contacts.lock().expect("a lock");
        let of = |address: &EmailAddress| Some((address.clone(), vec![known.get(address.as_str())?.clone()]));
        Ok(addresses.iter().filter_map(of).collect())
    }
}

impl WriteMeetings for FakeCrm {
    async fn upsert_meeting(&self, meeting: &Meeting, _: Deadline) -> Result<String, CrmError> {
        let id = meeting.external_event_id.clone();
        if id == "refused" || self.refuses.lock().expect("a lock").as_ref() == Some(&id) {
            let (api, what, text) = ("the CRM", "meeting", "no".to_owned());
            return Err(CallError::Rejected { api, what, status: 422, text }.into());
        }
        *self.writes.lock().expect("a lock") += 1;
        self.meetings.lock().expect("a lock").insert(id.clone(), meeting.clone());
        Ok(format!("meet-{id}"))
    }

    async fn delete_meeting(&self, external_event_id: &str, _: Deadline) -> Result<(), CrmError> {
        self.meetings.lock().expect("a lock").remove(external_event_id);
        Ok(())
    }
}

/// A Nylas with events and accounts.
#[derive(Default)]
struct FakeNylas {
    events: Mutex<BTreeMap<(String, String), Value>>,
    grants: Mutex<Vec<Grant>>,
    /// What lists were asked for.
    listed: Mutex<Vec<String>>,
    out_of_reach: AtomicBool,
    is_icloud: AtomicBool,
}

impl FakeNylas {
    fn loses(&self, grant: &str, id: &str) {
        self.events.lock().expect("a lock").remove(&(grant.to_owned(), id.to_owned()));
    }

    fn holds(&self, event: &Value) {
        let text = |key: &str| event[key].as_str().expect("a text").to_owned();
        self.events.lock().expect("a lock").insert((text("grant_id"), text("id")), event.clone());
    }
}

impl DescribeMailbox for FakeNylas {
    async fn folders(&self, _: &GrantId, _: Deadline) -> Result<Vec<Folder>, NylasError> {
        Ok(Vec::new())
    }

    async fn grant(&self, grant: &GrantId, _: Deadline) -> Result<Option<Grant>, NylasError> {
        if grant.as_str() == "nobody" {
            return Ok(None);
        }
        let email = if grant.as_str() == "g1" { "ines@northwind.example" } else { "omar@northwind.example" };
        Ok(Some(Grant {
            id: grant.as_str().to_owned(),
            email: Some(email.to_owned()),
            provider: Some(if self.is_icloud.load(Ordering::SeqCst) { "icloud" } else { "microsoft" }.to_owned()),
            grant_status: Some("valid".to_owned()),
        }))
    }
}

impl ListGrants for FakeNylas {
    async fn grants(&self, offset: usize, _: Deadline) -> Result<Vec<Grant>, NylasError> {
        Ok(self.grants.lock().expect("a lock").iter().skip(offset).take(2).cloned().collect())
    }
}

impl ReadEvents for FakeNylas {
    /// Pages of two; the token is the place of the first.
    async fn events(
        &self,
        grant: &GrantId,
        calendar: &str,
        wanted: &EventFilter,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<Event>, NylasError> {
        self.listed.lock().expect("a lock").push(format!("{wanted:?}"));
        if self.out_of_reach.load(Ordering::SeqCst) {
            return Err(NylasError::GrantExpired(grant.as_str().to_owned()));
        }
        let held = self.events.lock().expect("a lock");
        let all = held.iter().filter(|((of, _), event)| of == grant.as_str() && event["calendar_id"] == calendar);
        let events: Vec<Event> =
            all.map(|(_, event)| serde_json::from_value(event.clone()).expect("an event")).collect();
        let begins = |event: &Event| event.when.as_ref().and_then(crate::series::start_of).map(Timestamp::as_second);
        let changed = |event: &Event| event.updated_at.map(Timestamp::as_second);
        let is_wanted = |event: &Event| {
            (wanted.show_cancelled || event.status.as_deref() != Some("cancelled"))
                && wanted.start.is_none_or(|start| begins(event) > Some(start))
                && wanted.end.is_none_or(|end| begins(event) < Some(end))
                && wanted.updated_after.is_none_or(|after| changed(event) > Some(after))
                && wanted.updated_before.is_none_or(|before| changed(event) < Some(before))
        };
        let found: Vec<Event> = events.into_iter().filter(is_wanted).collect();
        let first = page_token.map_or(0, |token| token.parse().expect("a place"));
        let next = (first + 2 < found.len()).then(|| (first + 2).to_string());
        Ok(Page { items: found.into_iter().skip(first).take(2).collect(), next })
    }

    async fn calendars(&self, grant: &GrantId, _: Deadline) -> Result<Vec<Calendar>, NylasError> {
        if self.out_of_reach.load(Ordering::SeqCst) {
            return Err(NylasError::GrantExpired(grant.as_str().to_owned()));
        }
        let calendar = |id: &str, read_only: bool| Calendar {
            id: id.to_owned(),
            read_only: Some(read_only),
            timezone: Some("America/Los_Angeles".to_owned()),
            name: None,
            notetaker: None,
        };
        Ok(vec![calendar("primary", false), calendar("holidays", true), calendar("team", false)])
    }

    async fn event(&self, grant: &GrantId, _: &str, id: &str, _: Deadline) -> Result<Option<Event>, NylasError> {
        let held = self.events.lock().expect("a lock").get(&(grant.as_str().to_owned(), id.to_owned())).cloned();
        Ok(held.map(|event| serde_json::from_value(event).expect("an event")))
    }
}

/// The ports of a desk.
struct Faked;

impl Ports for Faked {
    type Crm = FakeCrm;
    type Nylas = FakeNylas;
    type Links = MemoryLinks;
    type Decisions = MemoryLeases;
    type Queue = MemoryQueue;
    type JobQueue = MemoryQueue;
    type Alerts = Told;
}

/// What people were told; nothing once it is out of order.
#[derive(Default)]
struct Told(Mutex<Vec<String>>, AtomicBool);

impl Alert for Told {
    async fn alert(&self, text: &str, _: Deadline) -> Result<(), Failure> {
        if self.1.load(Ordering::SeqCst) {
            return Err(Failure::permanent("alert.rejected", "revoked"));
        }
        self.0.lock().expect("a lock").push(text.to_owned());
        Ok(())
    }
}

struct Desk {
    crm: FakeCrm,
    nylas: FakeNylas,
    links: MemoryLinks,
    decisions: MemoryLeases,
    queue: MemoryQueue,
    mail_queue: MemoryQueue,
    notetaker_queue: MemoryQueue,
    ticket_queue: MemoryQueue,
    told: Told,
    settings: Settings,
    /// When messages are sent, in Unix seconds.
    now: Mutex<i64>,
}

impl Desk {
    fn new(scope: Scope) -> Self {
        let company_domains = CompanyDomains::parse(["northwind.example"]).expect("a domain");
        let desk = Self {
            crm: FakeCrm::default(),
            nylas: FakeNylas::default(),
            links: MemoryLinks::default(),
            decisions: MemoryLeases::default(),
            queue: MemoryQueue::default(),
            mail_queue: MemoryQueue::default(),
            notetaker_queue: MemoryQueue::default(),
            ticket_queue: MemoryQueue::default(),
            told: Told::default(),
            now: Mutex::new(NOW),
            settings: Settings { company_domains, scope, loop_id: LoopId::of_stack("ours") },
        };
        desk.crm.knows("dana@acme.example", "c1");
        desk
    }

    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let ports = Provision::<Faked> {
            crm: Some(&self.crm),
            nylas: &self.nylas,
            links: &self.links,
            decisions: &self.decisions,
            queue: &self.queue,
            mail_queue: &self.mail_queue,
            notetaker_queue: &self.notetaker_queue,
            ticket_queue: Some(&self.ticket_queue),
            alerts: Some(&self.told),
            clock: Clock::told_by({
                let now = work.sent_at;
                move || now
            }),
        };
        CalendarSync::with(ports, self.settings.clone()).for_batch().process(work).await
    }

    /// Hands a message over as its queue would, in a batch of its own.
    async fn receives(&self, body: &str) -> Result<Decision, Failure> {
        let input = if let Ok(envelope) = Envelope::parse(body) {
            Input::Notification(envelope)
        } else {
            let job: Value = serde_json::from_str(body).expect("JSON");
            Input::Job { kind: job["type"].as_str().expect("a type").to_owned() }
        };
        let sent_at = jiff::Timestamp::from_second(*self.now.lock().expect("a lock")).expect("a time");
        let deadline = Deadline::after(Duration::from_secs(25));
        self.process(&Work { input, body: body.to_owned(), sent_at, deadline }).await
    }

    /// Works off the jobs that were sent, each once, and those that they send.
    async fn work_off(&self) -> usize {
        let mut done = 0;
        while let Some(message) = self.queue.sent().get(done).cloned() {
            self.receives(&message.body).await.expect("a decision");
            done += 1;
        }
        done
    }

    /// Hands one notification over, in a batch of its own.
    async fn told(&self, kind: &str, object: &Value) -> Decision {
        let time = object["updated_at"].as_i64().unwrap_or(1_772_350_000);
        let body = json!({"specversion": "1.0", "type": kind, "source": "/microsoft/events/realtime", "time": time,
            "id": format!("{kind}-{}-{time}", object["id"]), "data": {"object": object}});
        self.receives(&body.to_string()).await.expect("a decision")
    }

    fn subjects(&self) -> Vec<String> {
        self.crm.meetings.lock().expect("a lock").values().map(|meeting| meeting.subject.clone()).collect()
    }
}

fn event(fields: Value) -> Value {
    let mut event = json!({
        "id": "e1", "grant_id": "g1", "calendar_id": "primary", "title": "Pilot", "status": "confirmed",
        "ical_uid": "u1", "updated_at": 1_772_350_000,
        "when": {"object": "timespan", "start_time": 1_772_359_200, "end_time": 1_772_361_000, "start_timezone": "UTC"},
        "organizer": {"email": "ines@northwind.example"},
        "participants": [{"email": "ines@northwind.example", "status": "yes"}, {"email": "dana@acme.example", "status": "noreply"}],
    });
    let (Some(object), Value::Object(fields)) = (event.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    event
}

fn ids(id: &str, at: i64) -> Value {
    json!({"id": id, "grant_id": "g1", "calendar_id": null, "object": "event", "updated_at": at})
}

#[tokio::test]
async fn meeting_with_a_known_contact_is_written_with_its_people_and_follows_its_calendar() {
    let desk = Desk::new(Scope::Prospects);
    let decision = desk.told("event.created", &event(json!({}))).await;
    assert_eq!((decision.to_string().as_str(), decision.became.as_deref()), ("logged: known contact", Some("meet-e1")));
    assert_eq!(decision.facts["contact_ids"], json!(["c1"]));
    desk.told("event.updated", &event(json!({"title": "Pilot, moved", "updated_at": 1_772_350_100}))).await;
    assert_eq!(desk.subjects(), ["Pilot, moved"]);
    let late = desk.told("event.created", &event(json!({}))).await;
    assert_eq!((late.outcome.as_str(), &late.facts["news"]), ("merged", &json!("older")));
    assert_eq!(desk.subjects(), ["Pilot, moved"]);
    let decision = desk.told("event.deleted", &ids("e1", 1_772_350_200)).await;
    assert_eq!(decision.to_string(), "done: removed from the CRM");
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn deletion_before_the_creation_waits_for_nothing_and_stops_it() {
    let desk = Desk::new(Scope::Prospects);
    let decision = desk.told("event.deleted", &ids("e1", 1_772_350_200)).await;
    assert_eq!(decision.to_string(), "done: deleted before anything was written");
    let decision = desk.told("event.created", &event(json!({}))).await;
    assert_eq!(decision.to_string(), "skipped: deleted since");
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn copies_on_two_calendars_are_one_meeting_that_shows_the_organizers() {
    let desk = Desk::new(Scope::Prospects);
    let elsewhere = json!({"id": "AAMk2", "grant_id": "g2", "title": "Pilot (copy)", "updated_at": 1_772_350_900});
    desk.told("event.created", &event(elsewhere.clone())).await;
    desk.nylas.holds(&event(elsewhere));
    desk.told("event.created", &event(json!({}))).await;
    assert_eq!(desk.subjects(), ["Pilot"], "whatever the attendee's clock says");
    desk.told("event.deleted", &ids("e1", 1_772_351_000)).await;
    assert_eq!(desk.subjects(), ["Pilot (copy)"], "the other calendar still has it, and is asked what it says");
    let gone = json!({"id": "AAMk2", "grant_id": "g2", "updated_at": 1_772_351_100});
    desk.told("event.deleted", &gone).await;
    assert_eq!(desk.subjects(), ["Pilot (copy)"], "so soon after a change its calendar is asked, which still has it");
    desk.nylas.loses("g2", "AAMk2");
    desk.told("event.deleted", &gone).await;
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn meeting_of_strangers_is_written_once_one_of_them_is_a_contact() {
    let desk = Desk::new(Scope::Prospects);
    let strangers =
        event(json!({"participants": [{"email": "ines@northwind.example"}, {"email": "new@acme.example"}]}));
    desk.nylas.holds(&strangers);
    let decision = desk.told("event.created", &strangers).await;
    assert_eq!(
        (decision.to_string().as_str(), decision.waits_for),
        ("skipped: no known contact", vec!["new@acme.example".to_owned()])
    );
    desk.crm.knows("new@acme.example", "c2");
    let decision = desk.told("event.updated", &strangers).await;
    assert_eq!(decision.to_string(), "logged: known contact", "the same version, which says something else by now");
}

#[tokio::test]
async fn truncated_event_is_completed_and_one_that_is_gone_is_an_answer() {
    let desk = Desk::new(Scope::Prospects);
    desk.nylas.holds(&event(json!({})));
    let decision = desk.told("event.created.truncated", &ids("e1", 1_772_350_000)).await;
    assert_eq!(decision.to_string(), "logged: known contact");
    let decision = desk.told("event.updated.truncated", &ids("e2", 1_772_350_000)).await;
    assert_eq!((decision.to_string().as_str(), decision.passing), ("skipped: no longer at Nylas", true));
}

#[tokio::test]
async fn meeting_that_becomes_private_or_internal_leaves_the_crm() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &event(json!({}))).await;
    let decision =
        desk.told("event.updated", &event(json!({"visibility": "private", "updated_at": 1_772_350_100}))).await;
    assert_eq!(
        (decision.to_string().as_str(), &decision.facts["because"]),
        ("done: removed from the CRM", &json!("private"))
    );
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn scope_of_all_has_strangers_meetings_too_and_private_ones_without_their_content() {
    let desk = Desk::new(Scope::All);
    let strangers = json!([{"email": "ines@northwind.example"}, {"email": "new@acme.example"}]);
    desk.told("event.created", &event(json!({"participants": strangers, "visibility": "private"}))).await;
    assert_eq!(desk.subjects(), ["Private meeting"]);
}

/// A weekly meeting that began in spring, at nine in New York.
fn series(fields: Value) -> Value {
    let mut master = event(json!({"id": "m1", "recurrence": ["RRULE:FREQ=WEEKLY"], "ical_uid": "s1"}));
    let (Some(object), Value::Object(fields)) = (master.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    master
}

#[tokio::test]
async fn series_becomes_one_meeting_an_occurrence_slice_by_slice_and_none_for_its_master() {
    let desk = Desk::new(Scope::Prospects);
    let daily = series(json!({"recurrence": ["RRULE:FREQ=DAILY;COUNT=50"]}));
    desk.nylas.holds(&daily);
    let decision = desk.told("event.created", &daily).await;
    assert_eq!((&decision.facts["kept"], &decision.facts["left"]), (&json!(20), &json!(30)));
    assert_eq!(desk.work_off().await, 2);
    let meetings = desk.crm.meetings.lock().expect("a lock").clone();
    assert_eq!(meetings.len(), 50);
    assert!(!meetings.contains_key("m1") && meetings.contains_key("m1_20260301T100000Z"), "{:?}", meetings.keys());
    assert!(meetings.values().all(|meeting| meeting.series_label.as_deref() == Some("Series: Pilot")));
}

#[tokio::test]
async fn cancelled_occurrence_cancels_one_meeting_and_a_changed_one_says_what_its_own_event_says() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"]}))).await;
    let moved =
        event(json!({"id": "m1_20260308T100000Z", "master_event_id": "m1", "original_start_time": 1_772_964_000,
        "ical_uid": "s1", "title": "Pilot, elsewhere", "updated_at": 1_772_350_050}));
    desk.nylas.holds(&moved);
    let changed = series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"], "updated_at": 1_772_350_100,
        "occurrences": ["m1_20260308T100000Z"], "cancelled_occurrences": ["m1_20260315T100000Z"]}));
    desk.told("event.updated", &changed).await;
    let meetings = desk.crm.meetings.lock().expect("a lock").clone();
    let told: Vec<String> =
        meetings.values().map(|meeting| format!("{} {:?}", meeting.subject, meeting.status)).collect();
    assert_eq!(told, ["Pilot Confirmed", "Pilot, elsewhere Confirmed", "Pilot Cancelled", "Pilot Confirmed"]);
}

#[tokio::test]
async fn occurrences_that_the_rule_no_longer_names_go_and_all_go_with_their_master() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"]}))).await;
    assert_eq!(desk.subjects().len(), 4);
    let shorter = series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=2"], "updated_at": 1_772_350_100}));
    desk.told("event.updated", &shorter).await;
    assert_eq!(desk.subjects().len(), 2);
    let late = series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=4"], "updated_at": 1_772_350_050}));
    desk.told("event.updated", &late).await;
    assert_eq!(desk.subjects().len(), 2, "old news brings nothing back");
    desk.told("event.deleted", &ids("m1", 1_772_350_200)).await;
    assert!(desk.subjects().is_empty());
    let decision = desk.told("event.updated", &shorter).await;
    assert_eq!(decision.to_string(), "skipped: deleted since");
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn occurrence_that_is_deleted_by_itself_goes_whether_that_is_told_before_or_after_its_series() {
    let weekly = series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=3"]}));
    let gone = ids("m1_20260308T100000Z", 1_772_350_100);
    for deletion_first in [false, true] {
        let desk = Desk::new(Scope::Prospects);
        desk.nylas.holds(&weekly);
        if deletion_first {
            desk.told("event.deleted", &gone).await;
        }
        desk.told("event.created", &weekly).await;
        if !deletion_first {
            assert_eq!(desk.subjects().len(), 3);
            desk.told("event.deleted", &gone).await;
        }
        desk.told("event.updated", &series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=3"]}))).await;
        let left: Vec<String> = desk.crm.meetings.lock().expect("a lock").keys().cloned().collect();
        assert_eq!(left, ["m1_20260301T100000Z", "m1_20260315T100000Z"], "deletion first: {deletion_first}");
    }
}

#[tokio::test]
async fn event_of_our_own_becomes_no_meeting_and_one_of_the_schedulers_becomes_one() {
    let desk = Desk::new(Scope::All);
    let ours = json!({"metadata": {"crm_autopilot_loop": LoopId::of_stack("ours").as_str()}});
    assert_eq!(desk.told("event.created", &event(ours)).await.to_string(), "skipped: made by this deployment");
    let theirs =
        json!({"id": "e2", "ical_uid": "u2", "metadata": {"crm_autopilot_loop": LoopId::of_stack("theirs").as_str()}});
    assert_eq!(desk.told("event.created", &event(theirs)).await.outcome.as_str(), "logged");
    let booked = json!({"id": "e3", "ical_uid": "u3", "metadata": {"source": "scheduler", "key5": "c"}});
    for at in [1_772_350_000, 1_772_350_001] {
        let mut booked = event(booked.clone());
        booked["updated_at"] = at.into();
        desk.told("event.updated", &booked).await;
    }
    assert_eq!(desk.subjects().len(), 2);
}

mod jobs;

mod histories;

mod redriven;

//! The rules over ports in memory and a storage on this machine: what the end-to-end suite cannot bring about, such as an
//! archive that is off, writes that are cut off, links that race.

use super::*;
use crate::known::Piece;
use serde_json::{Value, json};
use shared::crm::notes::MeetingNotes;
use shared::crm::{Contact, ContactsByAddress, CrmError};
use shared::domain::address::EmailAddress;
use shared::domain::link::{Link, LinkState, Version};
use shared::engine::testing::{MemoryLeases, MemoryLinks, MemoryQueue};
use shared::engine::{PutLink, StoreError, Timer};
use shared::http::CallError;
use shared::meetings::{copy_key, meeting_key};
use shared::nylas::mailboxes::Grant;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// 2026-03-02T10:00:00Z, a Monday.
const NOW: i64 = 1_772_445_600;

#[derive(Default)]
struct FakeCrm {
    contacts: Mutex<BTreeMap<EmailAddress, &'static str>>,
    written: Mutex<Vec<MeetingNotes>>,
    fails: Mutex<Vec<CallError>>,
}

impl FindContacts for FakeCrm {
    async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
        let contacts = self.contacts.lock().expect("a lock");
        let contact = |id: &&str| vec![Contact { id: (*id).to_owned(), deals: Vec::new(), ..Contact::default() }];
        Ok(addresses.iter().filter_map(|address| Some((address.clone(), contact(contacts.get(address)?)))).collect())
    }
}

impl WriteMeetingNotes for FakeCrm {
    async fn upsert_meeting_notes(&self, notes: &MeetingNotes, _: Deadline) -> Result<String, CrmError> {
        if let Some(error) = self.fails.lock().expect("a lock").pop() {
            return Err(error.into());
        }
        self.written.lock().expect("a lock").push(notes.clone());
        Ok("met_1".to_owned())
    }
}

#[derive(Default)]
struct FakeNylas {
    /// By grant, calendar and id.
    events: Mutex<HashMap<(String, String, String), Value>>,
    /// What is answered when new links are asked for; null for 404, a text for 410.
    media: Mutex<Value>,
    asked_for_media: AtomicUsize,
    history: Mutex<Vec<Value>>,
    listed: Mutex<Vec<Value>>,
    expired: AtomicBool,
}

fn refused() -> NylasError {
    CallError::Rejected { api: "Nylas", what: "event", status: 400, text: String::new() }.into()
}

impl ListGrants for FakeNylas {
    async fn grants(&self, offset: usize, _: Deadline) -> Result<Vec<Grant>, NylasError> {
        let grant = json!({"id": "g1", "provider": "google", "grant_status": "valid"});
        Ok((offset == 0).then(|| serde_json::from_value(grant).expect("a grant")).into_iter().collect())
    }
}

impl ReadMeetings for FakeNylas {
    async fn event(&self, grant: &GrantId, calendar: &str, id: &str, _: Deadline) -> Result<Option<Event>, NylasError> {
        if self.expired.load(Ordering::SeqCst) && grant.as_str() == "g1" {
            return Err(NylasError::GrantExpired("g1".to_owned()));
        }
        if calendar == "primary" && grant.as_str() == "icloud" {
            return Err(refused());
        }
        let key = (grant.as_str().to_owned(), calendar.to_owned(), id.to_owned());
        let held = self.events.lock().expect("a lock").get(&key).cloned();
        Ok(held.map(|event| serde_json::from_value(event).expect("an event")))
    }

    async fn events_by_uid(
        &self,
        grant: &GrantId,
        calendar: &str,
        ical_uid: &str,
        _: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        let events = self.events.lock().expect("a lock");
        let is_it = |(of, at, _): &(String, String, String)| of == grant.as_str() && at == calendar;
        let found = events.iter().filter(|(key, event)| is_it(key) && event["ical_uid"] == ical_uid);
        Ok(found.map(|(_, event)| serde_json::from_value(event.clone()).expect("an event")).collect())
    }

    async fn events_between(
        &self,
        grant: &GrantId,
        calendar: &str,
        _: (i64, i64),
        _: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        let events = self.events.lock().expect("a lock");
        let is_it = |(of, at, _): &(String, String, String)| of == grant.as_str() && at == calendar;
        let found = events.iter().filter(|(key, _)| is_it(key));
        Ok(found.map(|(_, event)| serde_json::from_value(event.clone()).expect("an event")).collect())
    }

    async fn calendars(&self, _: &GrantId, _: Deadline) -> Result<Vec<Calendar>, NylasError> {
        let calendars = json!([{"id": "holidays", "read_only": true}, {"id": "home"}, {"id": "team"}]);
        Ok(serde_json::from_value(calendars).expect("calendars"))
    }

    async fn notetakers(
        &self,
        grant: Option<&GrantId>,
        _: NotetakerFilter,
        _: Option<&str>,
        _: Deadline,
    ) -> Result<Page<Notetaker>, NylasError> {
        if grant.is_none() {
            return Err(refused());
        }
        let listed = self.listed.lock().expect("a lock").clone().into_iter();
        Ok(Page { items: listed.map(|one| serde_json::from_value(one).expect("one")).collect(), next: None })
    }

    async fn notetaker_media(&self, _: Option<&GrantId>, _: &str, _: Deadline) -> Result<MediaAnswer, NylasError> {
        self.asked_for_media.fetch_add(1, Ordering::SeqCst);
        Ok(match self.media.lock().expect("a lock").clone() {
            Value::Null => MediaAnswer::NotYet,
            Value::String(_) => MediaAnswer::Gone,
            media => MediaAnswer::There(Box::new(serde_json::from_value(media).expect("media"))),
        })
    }

    async fn notetaker_history(
        &self,
        _: Option<&GrantId>,
        _: &str,
        _: Deadline,
    ) -> Result<Vec<HistoryEntry>, NylasError> {
        let history = self.history.lock().expect("a lock").clone().into_iter();
        Ok(history.map(|entry| serde_json::from_value(entry).expect("an entry")).collect())
    }
}

#[derive(Default)]
struct Timers(Mutex<Vec<Timer>>);

impl SetTimers for Timers {
    async fn set(&self, timer: &Timer) -> Result<(), StoreError> {
        self.0.lock().expect("a lock").push(timer.clone());
        Ok(())
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Alert for Told {
    async fn alert(&self, text: &str, _: Deadline) -> Result<(), Failure> {
        self.0.lock().expect("a lock").push(text.to_owned());
        Ok(())
    }
}

#[derive(Default)]
struct MemoryArchive(Mutex<BTreeMap<String, usize>>);

impl KeepMedia for MemoryArchive {
    async fn store(
        &self,
        key: &str,
        _: &str,
        mut file: impl Stream<Item = Result<Bytes, Failure>> + Send + Unpin,
        _: Duration,
    ) -> Result<StoredFile, Failure> {
        use futures_util::StreamExt as _;
        let mut bytes = Vec::new();
        while let Some(piece) = file.next().await {
            bytes.extend_from_slice(&piece?);
        }
        self.0.lock().expect("a lock").insert(key.to_owned(), bytes.len());
        let sha256 = shared::domain::digest::sha256_hex(&[&bytes]);
        Ok(StoredFile { reference: format!("s3://b/{key}"), bytes: bytes.len() as u64, sha256 })
    }
}

struct Faked;

impl Ports for Faked {
    type Crm = FakeCrm;
    type Nylas = FakeNylas;
    type Links = MemoryLinks;
    type Decisions = MemoryLeases;
    type Queue = MemoryQueue;
    type Timers = Timers;
    type Alerts = Told;
    type Archive = MemoryArchive;
}

struct Desk {
    storage: MockServer,
    crm: FakeCrm,
    nylas: FakeNylas,
    links: MemoryLinks,
    decisions: MemoryLeases,
    queue: MemoryQueue,
    timers: Timers,
    told: Told,
    archive: MemoryArchive,
    archives: bool,
    now: Mutex<i64>,
}

impl Desk {
    async fn new(archives: bool) -> Self {
        let desk = Self {
            storage: MockServer::start().await,
            crm: FakeCrm::default(),
            nylas: FakeNylas::default(),
            links: MemoryLinks::default(),
            decisions: MemoryLeases::default(),
            queue: MemoryQueue::default(),
            timers: Timers::default(),
            told: Told::default(),
            archive: MemoryArchive::default(),
            archives,
            now: Mutex::new(NOW),
        };
        desk.knows("dana@acme.example", "c1");
        desk.holds("g1", "primary", json!({}));
        for (file, content) in [
            ("summary", r#"{"summary":"We start."}"#),
            ("action_items", r#"["Dana: send it"]"#),
            ("transcript", r#""Hello.""#),
        ] {
            desk.stores(file, ResponseTemplate::new(200).set_body_raw(content, "application/json")).await;
        }
        desk.stores("recording", ResponseTemplate::new(200).set_body_raw(vec![7; 1000], "video/mp4")).await;
        desk
    }

    fn knows(&self, address: &str, id: &'static str) {
        self.crm.contacts.lock().expect("a lock").insert(EmailAddress::parse(address).expect("an address"), id);
    }

    async fn stores(&self, file: &str, answer: ResponseTemplate) {
        Mock::given(path(format!("/{file}"))).respond_with(answer).with_priority(9).mount(&self.storage).await;
    }

    /// From now on the storage answers so, `times` times.
    async fn answers(&self, file: &str, answer: ResponseTemplate, times: u64) {
        let mock = Mock::given(path(format!("/{file}"))).respond_with(answer).with_priority(1);
        mock.up_to_n_times(times).mount(&self.storage).await;
    }

    fn link(&self, file: &str) -> Value {
        format!("{}/{file}", self.storage.uri()).into()
    }

    fn links_to(&self, files: &[&str]) -> Value {
        files.iter().map(|file| ((*file).to_owned(), self.link(file))).collect()
    }

    fn holds(&self, grant: &str, calendar: &str, fields: Value) {
        let mut event = json!({
            "id": "e1", "grant_id": grant, "calendar_id": calendar, "title": "Pilot", "ical_uid": "u1",
            "when": {"start_time": NOW - 3600, "end_time": NOW - 1800}, "organizer": {"email": "ines@northwind.example"},
            "participants": [{"email": "ines@northwind.example"}, {"email": "dana@acme.example", "name": "Dana Reyes"}],
        });
        extend(&mut event, fields);
        let key = (grant.to_owned(), calendar.to_owned(), event["id"].as_str().expect("an id").to_owned());
        self.nylas.events.lock().expect("a lock").insert(key, event);
    }

    /// calendar-sync keeps the meeting under this key, with a copy in this account's calendar.
    async fn keeps(&self, grant: &str, calendar: &str, external_event_id: &str) {
        let copies = json!({"known": [{"grant": grant, "event": "e1", "calendars": [calendar], "state": "live"}],
            "external_id": external_event_id});
        let Value::Object(facts) = json!({"copies": copies, "became": "met_9"}) else { panic!("an object") };
        for (key, became, facts) in
            [(copy_key(grant, "e1"), "identity", serde_json::Map::new()), (meeting_key("identity"), "met_9", facts)]
        {
            let state = LinkState::Live { became: became.to_owned() };
            let link = Link { key, state, version: Version::default(), content: None, facts };
            assert!(matches!(self.links.put(&link, None, Timestamp::UNIX_EPOCH).await, Ok(PutLink::Stored(_))));
        }
    }

    async fn receives(&self, body: &Value) -> Result<Decision, Failure> {
        let now = Timestamp::from_second(*self.now.lock().expect("a lock")).expect("a time");
        let ports = Provision::<Faked> {
            crm: Some(&self.crm),
            nylas: &self.nylas,
            links: &self.links,
            decisions: &self.decisions,
            queue: &self.queue,
            timers: &self.timers,
            alerts: Some(&self.told),
            archive: self.archives.then_some(&self.archive),
            fetcher: Fetcher::new(UrlPolicy::Any).expect("a client"),
            clock: Clock::told_by(move || now),
        };
        let company_domains = CompanyDomains::parse(["northwind.example"]).expect("a domain");
        let rules = NotetakerMedia::with(ports, Settings { company_domains, stack: "stack".to_owned() });
        let text = body.to_string();
        let input = match Envelope::parse(&text) {
            Ok(envelope) => Input::Notification(envelope),
            Err(_) => Input::Job { kind: body["type"].as_str().expect("a type").to_owned() },
        };
        let deadline = Deadline::after(Duration::from_mins(2));
        rules.for_batch().process(&Work { input, body: text, sent_at: now, deadline }).await
    }

    async fn said(&self, body: &Value) -> String {
        self.receives(body).await.expect("a decision").to_string()
    }

    fn written(&self) -> Vec<MeetingNotes> {
        self.crm.written.lock().expect("a lock").clone()
    }

    async fn known(&self) -> Known {
        Notetakers { links: &self.links, clock: Clock::system() }.known("n1").await.expect("a store")
    }
}

fn extend(object: &mut Value, fields: Value) {
    let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
}

fn news(kind: &str, fields: Value) -> Value {
    let mut object = json!({
        "id": "n1", "grant_id": "g1", "object": "notetaker", "meeting_link": "https://meet.example/x",
        "join_time": NOW - 3600, "event": {"event_id": "e1", "ical_uid": "u1"},
    });
    extend(&mut object, fields);
    json!({"specversion": "1.0", "type": kind, "id": "x", "time": NOW, "data": {"object": object}})
}

fn available(media: &Value) -> Value {
    news("notetaker.media", json!({"state": "available", "media": media}))
}

const ALL: [&str; 4] = ["summary", "action_items", "transcript", "recording"];

#[tokio::test]
async fn record_without_an_archive_carries_no_references_and_says_until_when_nylas_keeps_the_files() {
    let desk = Desk::new(false).await;
    let decision = desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    assert_eq!(decision.to_string(), "logged: known contact");
    let [notes] = desk.written().try_into().expect("one record");
    assert_eq!((notes.recording_url, notes.transcript_url), (None, None));
    let summary = notes.summary.expect("a summary");
    assert!(summary.starts_with("We start.\n\n") && summary.contains("until 16 March 2026"), "{summary}");
    assert_eq!(decision.facts["nylas_keeps_until"], "2026-03-16T10:00:00Z");
    // A later notification does not move it.
    *desk.now.lock().expect("a lock") = NOW + 86_400;
    let mut later = available(&desk.links_to(&ALL));
    later["time"] = (NOW + 86_400).into();
    assert_eq!(desk.said(&later).await, "merged: the CRM has it already");
    assert_eq!(desk.written().len(), 1);
}

#[tokio::test]
async fn archive_holds_each_file_once_and_the_words_are_written_before_the_recording_is_there() {
    let desk = Desk::new(true).await;
    for _ in 0..2 {
        desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    }
    let written = desk.written();
    let recordings: Vec<bool> = written.iter().map(|notes| notes.recording_url.is_some()).collect();
    assert_eq!(recordings, [false, true]);
    assert_eq!(written[1].transcript_url.as_deref(), Some("s3://b/media/g1/n1/transcript.json"));
    assert_eq!(written[1].summary.as_deref(), Some("We start."));
    let archived = desk.archive.0.lock().expect("a lock").clone();
    assert_eq!(archived["media/g1/n1/recording.mp4"], 1000);
    assert_eq!(archived.len(), 4);
    let fetched = desk.storage.received_requests().await.expect("requests");
    assert_eq!(fetched.iter().filter(|request| request.url.path() == "/recording").count(), 1);
}

#[tokio::test]
async fn new_links_are_asked_for_once_for_all_that_failed_and_what_was_read_is_not_read_again() {
    let desk = Desk::new(false).await;
    desk.answers("old", ResponseTemplate::new(400).set_body_raw("<Error/>", "application/xml"), 9).await;
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    let mut media = desk.links_to(&ALL);
    for file in ["transcript", "action_items"] {
        media[file] = desk.link("old");
    }
    let decision = desk.receives(&available(&media)).await.expect("a decision");
    assert_eq!(decision.facts["links"], "made anew");
    assert_eq!(desk.nylas.asked_for_media.load(Ordering::SeqCst), 1);
    let fetched = desk.storage.received_requests().await.expect("requests");
    assert_eq!(fetched.iter().filter(|request| request.url.path() == "/summary").count(), 1);
    assert_eq!(
        desk.written()[0].action_items[0].owner.as_ref().map(ToString::to_string).as_deref(),
        Some("dana@acme.example")
    );
}

#[tokio::test]
async fn words_that_the_crm_has_are_fetched_again_when_news_leaves_them_out_and_never_taken_away() {
    let desk = Desk::new(true).await;
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    assert_eq!(desk.said(&available(&desk.links_to(&["transcript"]))).await, "logged: known contact");
    assert_eq!(desk.said(&available(&desk.links_to(&["summary"]))).await, "logged: known contact");
    let written = desk.written();
    assert_eq!((written[0].summary.is_some(), written[0].transcript.is_some()), (false, true));
    assert_eq!((written[1].summary.is_some(), written[1].transcript.is_some()), (true, true));
    // Nylas has less by now, and then nothing.
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&["summary"]);
    let decision = desk.receives(&available(&desk.links_to(&["summary"]))).await.expect("a decision");
    assert_eq!(decision.to_string(), "merged: the CRM has more than Nylas has now: it stays as it is");
    assert_eq!(decision.facts["kept"], json!(["action_items", "transcript"]));
    *desk.nylas.media.lock().expect("a lock") = json!("gone");
    let gone = desk.said(&available(&json!({}))).await;
    assert_eq!(gone, "skipped: Nylas has deleted its files: their retention is over");
    assert_eq!(desk.written().len(), 3, "words, words, and the recording");
}

#[tokio::test]
async fn write_that_the_crm_did_not_answer_is_done_again_and_a_refused_one_is_a_dead_letter() {
    let desk = Desk::new(false).await;
    let lost = CallError::Unavailable { api: "the CRM", problem: "503".to_owned(), retry_after: None, answered: true };
    desk.crm.fails.lock().expect("a lock").push(lost);
    let told = available(&desk.links_to(&ALL));
    assert!(matches!(desk.receives(&told).await, Err(Failure::Transient { .. })));
    assert_eq!(desk.known().await.writing_until, None, "the next try need not wait");
    assert_eq!(desk.said(&told).await, "logged: known contact");
    let refused = CallError::Rejected { api: "the CRM", what: "record", status: 422, text: String::new() };
    desk.crm.fails.lock().expect("a lock").push(refused);
    desk.knows("ines@northwind.example", "c9");
    desk.holds("g1", "primary", json!({"title": "Renamed"}));
    assert!(matches!(desk.receives(&told).await, Err(Failure::Permanent { .. })));
    assert_eq!(desk.said(&told).await, "logged: known contact");
}

#[tokio::test]
async fn nobody_writes_while_another_may_be_writing_and_a_write_that_was_cut_off_is_done_again() {
    let desk = Desk::new(false).await;
    let notetakers = Notetakers { links: &desk.links, clock: Clock::system() };
    let told = available(&desk.links_to(&ALL));
    desk.receives(&told).await.expect("a decision");
    let until = |seconds: i64| Timestamp::from_second(NOW + seconds).ok();
    notetakers.change("n1", |known| known.content = None).await.expect("changed");
    notetakers.change("n1", |known| known.writing_until = until(30)).await.expect("changed");
    let busy = desk.receives(&told).await.expect_err("somebody is writing");
    assert!(matches!(&busy, Failure::Untried { retry_after, .. } if retry_after.as_secs() == 30), "{busy:?}");
    notetakers.change("n1", |known| known.writing_until = until(-1)).await.expect("changed");
    assert_eq!(desk.said(&told).await, "logged: known contact");
    assert_eq!(desk.written().len(), 2);
}

#[tokio::test]
async fn file_of_another_type_is_left_out_and_told_and_the_rest_is_written() {
    let desk = Desk::new(true).await;
    desk.answers("summary", ResponseTemplate::new(200).set_body_raw("<html>", "text/html"), 9).await;
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    let decision = desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    assert!(decision.facts["unreadable"]["summary"].as_str().is_some_and(|why| why.contains("text/html")));
    assert_eq!((desk.written()[0].summary.is_some(), desk.written()[0].transcript.is_some()), (false, true));
}

#[tokio::test]
async fn file_that_cannot_be_had_now_is_tried_again_and_the_others_are_written_meanwhile() {
    let desk = Desk::new(true).await;
    desk.answers("transcript", ResponseTemplate::new(503), 2).await;
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    let told = available(&desk.links_to(&ALL));
    assert!(matches!(desk.receives(&told).await, Err(Failure::Transient { class: "media.unavailable", .. })));
    let [words, with_recording] = desk.written().try_into().expect("two writes");
    assert_eq!((words.summary.as_deref(), words.transcript), (Some("We start."), None));
    assert!(with_recording.recording_url.is_some());
    assert_eq!(desk.said(&told).await, "logged: known contact");
    assert_eq!(desk.written()[2].transcript.as_deref(), Some("Hello."));
}

#[tokio::test]
async fn storage_that_is_down_as_a_whole_is_tried_again() {
    let desk = Desk::new(false).await;
    for file in ALL {
        desk.answers(file, ResponseTemplate::new(503), 2).await;
    }
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    let told = available(&desk.links_to(&ALL));
    assert!(matches!(desk.receives(&told).await, Err(Failure::Transient { class: "media.unavailable", .. })));
    assert_eq!(desk.written(), []);
    assert_eq!(desk.said(&told).await, "logged: known contact");
}

#[tokio::test]
async fn storage_that_is_down_while_nylas_has_deleted_the_files_is_no_reason_to_give_them_up() {
    let desk = Desk::new(true).await;
    desk.answers("transcript", ResponseTemplate::new(503), 1).await;
    *desk.nylas.media.lock().expect("a lock") = json!("gone");
    let told = available(&desk.links_to(&["summary", "transcript"]));
    assert!(matches!(desk.receives(&told).await, Err(Failure::Transient { .. })));
    assert_eq!(desk.said(&told).await, "logged: known contact");
    assert_eq!(desk.written().last().and_then(|notes| notes.transcript.clone()).as_deref(), Some("Hello."));
}

#[tokio::test]
async fn words_in_a_form_that_is_not_known_are_told_as_unreadable_and_empty_files_are_not() {
    let desk = Desk::new(true).await;
    desk.answers(
        "transcript",
        ResponseTemplate::new(200).set_body_raw(r#"{"lines":{"1":["Hi"]}}"#, "application/json"),
        9,
    )
    .await;
    desk.answers(
        "action_items",
        ResponseTemplate::new(200).set_body_raw(r#"{"action_items":[]}"#, "application/json"),
        9,
    )
    .await;
    let decision = desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    assert_eq!(decision.facts["unreadable"], json!({"transcript": "it is in a form that is not known"}));
    assert!(desk.archive.0.lock().expect("a lock").contains_key("media/g1/n1/transcript.json"), "kept as it came");
}

#[tokio::test]
async fn new_words_beside_lost_ones_are_archived_and_held_and_nothing_is_taken_away() {
    let desk = Desk::new(true).await;
    desk.receives(&available(&desk.links_to(&["summary"]))).await.expect("a decision");
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&["transcript"]);
    let decision = desk.receives(&available(&desk.links_to(&["transcript", "recording"]))).await.expect("a decision");
    assert!(decision.to_string().starts_with("held: what the CRM has of it cannot be had again"), "{decision}");
    assert_eq!((&decision.facts["kept"], &decision.facts["new"]), (&json!(["summary"]), &json!(["transcript"])));
    assert_eq!(desk.written().len(), 1);
    let archived = desk.archive.0.lock().expect("a lock").clone();
    assert!(archived.contains_key("media/g1/n1/transcript.json") && archived.contains_key("media/g1/n1/recording.mp4"));
    // They can be had again.
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    assert_eq!(desk.said(&available(&json!({}))).await, "logged: known contact");
    assert!(desk.written().last().is_some_and(|notes| notes.summary.is_some() && notes.transcript.is_some()));
}

#[tokio::test]
async fn record_that_the_crm_refused_counts_as_nothing_that_it_has() {
    let desk = Desk::new(true).await;
    let refused = CallError::Rejected { api: "the CRM", what: "record", status: 413, text: String::new() };
    desk.crm.fails.lock().expect("a lock").push(refused);
    assert!(desk.receives(&available(&desk.links_to(&ALL))).await.is_err());
    assert_eq!(desk.known().await.written.len(), 0);
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&["summary"]);
    assert_eq!(desk.said(&available(&desk.links_to(&["summary"]))).await, "logged: known contact");
}

#[tokio::test]
async fn meeting_that_anybody_keeps_private_makes_no_record() {
    let desk = Desk::new(true).await;
    desk.keeps("g1", "primary", "e1").await;
    let key = meeting_key("identity");
    let standing = desk.links.get(&key).await.expect("a store").expect("a link");
    let mut link = standing.link;
    let known = link.facts["copies"]["known"].as_array_mut().expect("copies");
    known.push(json!({"grant": "g2", "event": "e2", "calendars": [], "state": "live", "private": true}));
    desk.links.put(&link, Some(standing.revision), Timestamp::UNIX_EPOCH).await.expect("stored");
    assert_eq!(desk.said(&available(&desk.links_to(&ALL))).await, "skipped: private");
    assert_eq!(desk.storage.received_requests().await.expect("requests").len(), 0);
}

#[tokio::test]
async fn notetaker_that_was_invited_by_hand_finds_its_meeting_in_its_own_calendars_and_waits_for_a_contact() {
    let desk = Desk::new(true).await;
    let people = json!([{"email": "ines@northwind.example"}, {"email": "kim@unheard-of.example"}]);
    let at = json!({"start_time": NOW - 3600, "end_time": NOW - 1800});
    let link = json!({"details": {"url": "https://meet.example/x"}});
    desk.holds("g1", "team", json!({"id": "e2", "participants": people, "when": at, "conferencing": link}));
    let mut told = available(&desk.links_to(&ALL));
    told["data"]["object"].as_object_mut().expect("an object").remove("event");
    let decision = desk.receives(&told).await.expect("a decision");
    assert_eq!(
        (decision.to_string().as_str(), &decision.facts["found_by"]),
        ("held: no known contact", &json!("its account's calendar"))
    );
    assert_eq!(decision.waits_for, ["kim@unheard-of.example"]);
    desk.holds("g1", "home", json!({"id": "e3", "when": at, "conferencing": link}));
    assert_eq!(desk.said(&told).await, "held: for review: two meetings take place there at that time");
}

#[tokio::test]
async fn due_date_in_a_series_is_counted_from_the_meeting_that_was_attended() {
    let desk = Desk::new(true).await;
    let first = json!({"start_time": NOW - 700 * 86_400, "end_time": NOW - 700 * 86_400 + 1800, "start_timezone": "Europe/Stockholm"});
    desk.holds("g1", "primary", json!({"when": first, "recurrence": ["RRULE:FREQ=WEEKLY"]}));
    desk.answers(
        "action_items",
        ResponseTemplate::new(200).set_body_raw(r#"["Send it by Friday"]"#, "application/json"),
        9,
    )
    .await;
    desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    assert_eq!(desk.written()[0].action_items[0].due.map(|day| day.to_string()).as_deref(), Some("2026-03-06"));
}

#[tokio::test]
async fn files_in_a_state_that_is_not_known_are_brought_all_the_same() {
    let desk = Desk::new(true).await;
    let mut told = available(&desk.links_to(&ALL));
    told["data"]["object"]["state"] = "ready_to_go".into();
    assert_eq!(desk.said(&told).await, "logged: known contact");
}

#[tokio::test]
async fn change_of_its_event_does_not_end_the_wait_before_the_door() {
    let desk = Desk::new(true).await;
    let waiting = news("notetaker.meeting_state", json!({"state": "connecting", "meeting_state": "waiting_for_entry"}));
    desk.receives(&waiting).await.expect("a decision");
    let mut updated = news("notetaker.updated", json!({"state": "scheduled"}));
    updated["time"] = (NOW + 60).into();
    desk.receives(&updated).await.expect("a decision");
    *desk.now.lock().expect("a lock") = NOW + 300;
    let job = json!({"type": "notetaker.timer", "kind": "lobby", "notetaker_id": "n1", "grant_id": "g1"});
    assert_eq!(desk.said(&job).await, "done: nobody lets it in: told");
}

#[tokio::test]
async fn file_that_is_missing_from_a_record_is_looked_for_in_the_night() {
    let desk = Desk::new(true).await;
    desk.receives(&available(&desk.links_to(&["summary"]))).await.expect("a decision");
    let settings = json!({"summary": true, "transcription": true});
    let listed = json!({"id": "n1", "state": "media_available", "join_time": NOW - 3600, "meeting_settings": settings});
    *desk.nylas.listed.lock().expect("a lock") = vec![listed];
    let decision =
        desk.receives(&json!({"type": "reconcile", "grant_id": "g1", "run": "r1"})).await.expect("a decision");
    assert_eq!(decision.facts["missed"], json!(0), "Nylas told of it");
    let again: Value = serde_json::from_str(&desk.queue.sent()[0].body).expect("JSON");
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    assert_eq!(desk.said(&again).await, "logged: known contact");
    assert_eq!(desk.written().last().and_then(|notes| notes.transcript.clone()).as_deref(), Some("Hello."));
}

#[tokio::test]
async fn meeting_is_found_in_the_calendar_that_is_known_then_the_primary_one_then_by_its_uid_then_by_another_copy() {
    let found_by = async |desk: &Desk, grant: &str| {
        let mut told = available(&desk.links_to(&ALL));
        told["data"]["object"]["grant_id"] = grant.into();
        let decision = desk.receives(&told).await.expect("a decision");
        (decision.facts["found_by"].clone(), decision.facts["external_event_id"].clone())
    };
    let desk = Desk::new(false).await;
    assert_eq!(found_by(&desk, "g1").await, (json!("the primary calendar"), json!(null)));
    let desk = Desk::new(false).await;
    desk.holds("g2", "team", json!({}));
    desk.keeps("g2", "team", "first-copy").await;
    assert_eq!(found_by(&desk, "g2").await, (json!("its calendar"), json!("first-copy")));
    let desk = Desk::new(false).await;
    desk.holds("icloud", "home", json!({"id": "other"}));
    assert_eq!(found_by(&desk, "icloud").await.0, json!("its iCalendar UID"));
    let desk = Desk::new(false).await;
    desk.holds("g2", "team", json!({}));
    desk.keeps("g2", "team", "e1").await;
    let state = LinkState::Live { became: "identity".to_owned() };
    let link = Link {
        key: copy_key("g1", "e1"),
        state,
        version: Version::default(),
        content: None,
        facts: serde_json::Map::new(),
    };
    desk.links.put(&link, None, Timestamp::UNIX_EPOCH).await.expect("stored");
    desk.nylas.expired.store(true, Ordering::SeqCst);
    assert_eq!(found_by(&desk, "g1").await.0, json!("another's calendar"));
}

#[tokio::test]
async fn account_that_is_out_of_reach_is_waited_for() {
    let desk = Desk::new(false).await;
    desk.nylas.expired.store(true, Ordering::SeqCst);
    let failure = desk.receives(&available(&desk.links_to(&ALL))).await.expect_err("not yet");
    assert_eq!(failure.class(), "nylas.grant_expired");
}

#[tokio::test]
async fn event_that_a_notification_leaves_out_is_taken_from_the_history() {
    let desk = Desk::new(false).await;
    let snapshot = json!({"id": "n1", "event": {"event_id": "e1"}});
    *desk.nylas.history.lock().expect("a lock") =
        vec![json!({"created_at": 1, "event_type": "notetaker.created", "data": snapshot})];
    let mut told = available(&desk.links_to(&ALL));
    told["data"]["object"].as_object_mut().expect("an object").remove("event");
    assert_eq!(desk.said(&told).await, "logged: known contact");
}

#[tokio::test]
async fn notetaker_of_which_nothing_is_known_is_held_for_review_and_nothing_is_fetched() {
    let desk = Desk::new(false).await;
    let mut told = available(&desk.links_to(&ALL));
    let object = told["data"]["object"].as_object_mut().expect("an object");
    for field in ["event", "meeting_link", "grant_id"] {
        object.remove(field);
    }
    assert_eq!(desk.said(&told).await, "held: for review: neither an event nor a meeting link is known of it");
    assert_eq!(desk.storage.received_requests().await.expect("requests").len(), 0);
}

#[tokio::test]
async fn timer_is_set_for_five_minutes_after_the_waiting_began_and_tells_only_of_one_that_still_waits() {
    let desk = Desk::new(false).await;
    let waiting = news("notetaker.meeting_state", json!({"state": "connecting", "meeting_state": "waiting_for_entry"}));
    desk.receives(&waiting).await.expect("a decision");
    let timers = desk.timers.0.lock().expect("a lock").clone();
    assert_eq!(timers[0].at.as_second(), NOW + 300);
    let job: Value = serde_json::from_str(&timers[0].message.body).expect("JSON");
    let id = format!("timer:{}", timers[0].name);
    assert_eq!(
        job,
        json!({"type": "notetaker.timer", "kind": "lobby", "notetaker_id": "n1", "grant_id": "g1", "id": id})
    );
    assert_eq!(desk.said(&job).await, "done: it waits no longer", "it came too soon");
    *desk.now.lock().expect("a lock") = NOW + 300;
    assert_eq!(desk.said(&job).await, "done: nobody lets it in: told");
    assert_eq!(desk.said(&job).await, "done: nobody lets it in: told before");
    let failed =
        news("notetaker.meeting_state", json!({"state": "failed_entry", "meeting_state": "admission_timeout"}));
    assert_eq!(desk.said(&failed).await, "done: it could not get into the meeting: told before");
    let told = desk.told.0.lock().expect("a lock").clone();
    assert!(told.len() == 1 && told[0].contains("“Pilot”") && told[0].contains("09:00 UTC"), "{told:?}");
}

#[tokio::test]
async fn reconcile_finds_what_was_missed_leaves_what_is_known_and_moves_the_watermark() {
    let desk = Desk::new(false).await;
    let listed = |id: &str, state: &str| json!({"id": id, "state": state, "join_time": NOW - 3600});
    *desk.nylas.listed.lock().expect("a lock") = vec![
        listed("n1", "media_available"),
        listed("n2", "scheduled"),
        listed("n3", "media_error"),
        listed("n4", "failed_entry"),
    ];
    desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    let job = json!({"type": "reconcile", "grant_id": "g1", "run": "r1"});
    let decision = desk.receives(&job).await.expect("a decision");
    assert_eq!((&decision.facts["listed"], &decision.facts["missed"]), (&json!(3), &json!(1)), "{:?}", decision.facts);
    let sent: Vec<Value> =
        desk.queue.sent().iter().map(|message| serde_json::from_str(&message.body).expect("JSON")).collect();
    assert_eq!(sent[0]["data"]["object"]["id"], "n3");
    assert_eq!(sent[0]["type"], "notetaker.media");
    // In the next night failures since the watermark are told of.
    *desk.now.lock().expect("a lock") = NOW + 86_400;
    let mut failed = listed("n4", "failed_entry");
    failed["join_time"] = (NOW + 3600).into();
    *desk.nylas.listed.lock().expect("a lock") = vec![failed];
    let next = desk.receives(&json!({"type": "reconcile", "grant_id": "g1", "run": "r2"})).await.expect("a decision");
    assert_eq!(next.facts["from"], json!(NOW - 3600), "an hour before the watermark");
    assert_eq!(next.facts["missed"], json!(1));
}

#[tokio::test]
async fn record_that_was_written_before_its_meeting_is_attached_to_it_in_the_night() {
    let desk = Desk::new(false).await;
    desk.receives(&available(&desk.links_to(&ALL))).await.expect("a decision");
    let listed = json!({"id": "n1", "state": "media_available", "join_time": NOW - 3600});
    *desk.nylas.listed.lock().expect("a lock") = vec![listed];
    *desk.nylas.media.lock().expect("a lock") = desk.links_to(&ALL);
    let night = async |run: &str| {
        let job = json!({"type": "reconcile", "grant_id": "g1", "run": run});
        let before = desk.queue.sent().len();
        desk.receives(&job).await.expect("a decision");
        let first: Value = serde_json::from_str(&desk.queue.sent()[before].body).expect("JSON");
        if first["type"] == "notetaker.media" { Some(desk.said(&first).await) } else { None }
    };
    assert_eq!(night("r1").await, None);
    desk.keeps("g1", "primary", "e1").await;
    assert_eq!(night("r2").await.as_deref(), Some("logged: known contact"));
    assert_eq!(desk.written()[1].external_event_id.as_deref(), Some("e1"));
    assert_eq!(night("r3").await, None);
}

#[tokio::test]
async fn all_accounts_and_the_standalone_notetakers_have_a_job_each() {
    let desk = Desk::new(false).await;
    desk.receives(&json!({"type": "reconcile", "run": "r1"})).await.expect("a decision");
    let grants: Vec<Value> = desk
        .queue
        .sent()
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.body).expect("JSON")["grant_id"].clone())
        .collect();
    assert_eq!(grants, [json!("g1"), json!("none")]);
    let standalone: Value = serde_json::from_str(&desk.queue.sent()[1].body).expect("JSON");
    assert_eq!(desk.said(&standalone).await, "done: reconcile: a page of notetakers");
}

#[tokio::test]
async fn message_of_another_kind_is_told_from_one_of_this_functions() {
    let desk = Desk::new(false).await;
    for other in
        [json!({"type": "calendar.backfill"}), json!({"type": "notetaker.timer", "kind": "dance", "notetaker_id": "n"})]
    {
        assert!(matches!(desk.receives(&other).await, Err(Failure::Permanent { .. })), "{other}");
    }
    let unreadable =
        json!({"specversion": "1.0", "type": "notetaker.media", "id": "x", "data": {"object": {"state": "available"}}});
    assert!(matches!(desk.receives(&unreadable).await, Err(Failure::Permanent { class: "body.unreadable", .. })));
    assert!(!desk.known().await.written.contains(&Piece::Summary));
}

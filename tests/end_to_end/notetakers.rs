//! notetaker-media end to end: what was said reaches the deal and stays there, whatever order and shape it comes in.

use super::calendars::{connect, event, rep};
use super::*;
use sandbox::local_engine::LogLine;
use sandbox::stand_ins::rest_crm::StoredMeeting;

const FUNCTION: &str = "notetaker-media";

/// A word of every transcript of these tests.
const WORDS: &str = "canary4f9a spoken words";

/// A file as JSON.
fn json_file(content: &Value) -> Value {
    json!({"name": "file.json", "type": "application/json", "json": content})
}

/// All files of a meeting.
pub(super) fn all_files() -> Value {
    json!({
        "summary": json_file(&json!({"summary": format!("{CANARY} summary")})),
        "action_items": json_file(&json!({"action_items": [
            format!("{CANARY} Prospect will send the plan by 2026-12-04"), "Call again",
        ]})),
        "transcript": json_file(&json!({"object": "transcript", "type": "speaker_labelled", "transcript": [
            {"speaker": "Dana", "start": 0, "end": 10, "text": WORDS}, {"speaker": "Ines", "start": 10, "end": 20, "text": "Yes."},
        ]})),
        "recording": {"name": "meeting.mp4", "type": "video/mp4", "bytes": 20_000_000, "duration": 1800},
    })
}

/// A notetaker as Nylas holds it.
fn held(id: &str, link: &str, media: Value) -> Value {
    let mut notetaker = json!({
        "id": id, "name": "Notetaker", "meeting_link": link, "meeting_provider": "Google Meet",
        "join_time": now() - 3600, "state": "available", "status": "available", "meeting_settings": {},
    });
    if media.is_object() {
        notetaker["media"] = media;
    }
    notetaker
}

fn link_of(id: &str) -> String {
    format!("https://meet.example/{id}")
}

/// An hour ago, a meeting of the prospect in a rep's calendar, and a notetaker that was in it.
pub(super) fn attended(world: &World, grant: &str, id: &str, fields: Value, media: Value) -> Value {
    connect(world, rep(grant));
    let when = json!({"object": "timespan", "start_time": now() - 3600, "end_time": now() - 1800});
    let mut made = event(grant, id, json!({"when": when, "conferencing": {"details": {"url": link_of(id)}}}));
    let (Some(object), Value::Object(fields)) = (made.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    world.nylas.put_event(grant, made.clone()).expect("connected");
    world.nylas.put_notetaker(Some(grant), held(&notetaker(id), &link_of(id), media)).expect("connected");
    made
}

pub(super) fn notetaker(id: &str) -> String {
    format!("notetaker-{id}")
}

/// Nylas's notification of a notetaker.
fn news(kind: &str, mark: &str, grant: Option<&str>, id: &str, fields: Value) -> Value {
    let mut object = json!({
        "id": notetaker(id), "object": "notetaker", "meeting_link": link_of(id), "join_time": now() - 3600,
        "meeting_provider": "Google Meet", "meeting_settings": {},
    });
    if let Some(grant) = grant {
        object["grant_id"] = grant.into();
        object["event"] = json!({"event_id": id, "ical_uid": format!("{id}@ical.example")});
    }
    let (Some(map), Value::Object(fields)) = (object.as_object_mut(), fields) else { panic!("objects") };
    map.extend(fields);
    let mut notification = notification(kind, mark, &object);
    notification["time"] = now().into();
    notification
}

/// Links to some files of a notetaker.
pub(super) fn links(world: &World, grant: Option<&str>, id: &str, files: &[&str]) -> Value {
    let link = |file: &str| Value::from(world.nylas.media_link(grant, &notetaker(id), file));
    files.iter().map(|file| ((*file).to_owned(), link(file))).collect()
}

fn expired(world: &World, grant: Option<&str>, id: &str, files: &[&str]) -> Value {
    let link = |file: &str| Value::from(world.nylas.expired_media_link(grant, &notetaker(id), file));
    files.iter().map(|file| ((*file).to_owned(), link(file))).collect()
}

pub(super) const ALL: [&str; 4] = ["summary", "action_items", "transcript", "recording"];

/// Nylas tells that files are there.
pub(super) fn available(mark: &str, grant: Option<&str>, id: &str, media: &Value) -> Value {
    news("notetaker.media", mark, grant, id, json!({"state": "available", "status": "available", "media": media}))
}

pub(super) async fn decided_on(world: &World, notification: &Value) -> DecisionRecord {
    deliver(world, notification).await;
    decided_in(world, notification["id"].as_str().expect("an id")).await
}

async fn decided_in(world: &World, id: &str) -> DecisionRecord {
    let begun = Instant::now();
    loop {
        let record = world.view.record(FUNCTION, id).await.expect("the table answers");
        if let Some(record) = record.clone().filter(|record| record.state == "done") {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{id} is not decided: {record:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn said(record: &DecisionRecord) -> String {
    format!("{}: {}", record.outcome, record.reason)
}

pub(super) fn record_of(world: &World, id: &str) -> Option<StoredMeeting> {
    world.crm.notetaker_records().into_iter().find(|record| record.external_id == notetaker(id))
}

fn storage_calls(world: &World, id: &str) -> usize {
    let of_it = format!("/{}/", notetaker(id));
    let calls = world.nylas.calls().all();
    calls.iter().filter(|call| call.path.starts_with("/storage/") && call.path.contains(&of_it)).count()
}

fn media_calls(world: &World, id: &str) -> usize {
    let path = format!("/notetakers/{}/media", notetaker(id));
    world.nylas.calls().all().iter().filter(|call| call.path.ends_with(&path)).count()
}

async fn put_job(world: &World, job: &Value, mark: &str) {
    let deduplication_id = sha256_hex(&[mark.as_bytes()]);
    let queue = queue(world, "NotetakerMedia");
    world.view.put(&queue, &job.to_string(), mark, &deduplication_id).await.expect("put");
}

fn alerts_of(world: &World, id: &str) -> Vec<String> {
    let title = format!("{CANARY} title {id}");
    world.alerts.texts().into_iter().filter(|text| text.contains(&title)).collect()
}

#[test]
fn what_was_said_becomes_one_record_on_the_mirrored_meeting_with_archived_media() {
    in_the_world(async |world| {
        let made = attended(world, "nt-plain", "nt-plain", json!({}), all_files());
        deliver(world, &calendars::told("event.created", &made)).await;
        eventually("the meeting is mirrored", async || calendars::meetings(world, "nt-plain").len() == 1).await;
        let notification =
            available("nt-plain-1", Some("nt-plain"), "nt-plain", &links(world, Some("nt-plain"), "nt-plain", &ALL));
        let record = decided_on(world, &notification).await;
        assert_eq!(said(&record), "logged: known contact");
        let stored = record_of(world, "nt-plain").expect("the record");
        assert_eq!(record.became.as_deref(), Some(stored.id.as_str()));
        let bucket = world.stack.archive_bucket().expect("a bucket");
        let place = |file: &str| format!("s3://{bucket}/media/nt-plain/{}/{file}", notetaker("nt-plain"));
        assert_eq!(
            stored.body,
            json!({
                "external_notetaker_id": notetaker("nt-plain"), "external_event_id": "nt-plain",
                "subject": format!("{CANARY} title nt-plain"), "summary": format!("{CANARY} summary"),
                "action_items": [
                    {"text": format!("{CANARY} Prospect will send the plan by 2026-12-04"), "owner_email": prospect(), "due_date": "2026-12-04"},
                    {"text": "Call again", "owner_email": null, "due_date": null},
                ],
                "transcript": format!("Dana: {WORDS}\nInes: Yes."),
                "recording_url": place("recording.mp4"), "transcript_url": place("transcript.json"),
                "associated_contact_ids": ["con_e2e"], "associated_deal_id": "deal_e2e", "unmatched_emails": [],
                "source": "nylas_notetaker",
            })
        );
        let archived =
            world.view.archived(&format!("media/nt-plain/{}/", notetaker("nt-plain"))).await.expect("listed");
        let names: Vec<&str> = archived.iter().filter_map(|key| key.rsplit('/').next()).collect();
        assert_eq!(names, ["action_items.json", "recording.mp4", "summary.json", "transcript.json"]);
        assert_eq!(media_calls(world, "nt-plain"), 0, "the links of the notification were good");
        // Again: the same notification, and the same news under another id.
        let writes = stored.writes;
        deliver(world, &notification).await;
        let mut renamed = notification.clone();
        renamed["id"] = "nt-plain-2".into();
        assert_eq!(said(&decided_on(world, &renamed).await), "merged: the CRM has it already");
        assert_eq!(record_of(world, "nt-plain").expect("the record").writes, writes);
    });
}

#[test]
fn record_grows_as_files_come_and_no_poorer_news_takes_anything_away() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-grows", "nt-grows");
        attended(world, grant, id, json!({}), all_files());
        let told = |mark: &str, files: &[&str]| available(mark, Some(grant), id, &links(world, Some(grant), id, files));
        let first = decided_on(world, &told("nt-grows-1", &["transcript"])).await;
        assert_eq!(said(&first), "logged: known contact");
        let body = record_of(world, id).expect("the record").body;
        assert_eq!(
            (&body["summary"], &body["action_items"], &body["recording_url"]),
            (&json!(null), &json!([]), &json!(null))
        );
        assert!(body["transcript"].is_string());
        let second = decided_on(world, &told("nt-grows-2", &ALL)).await;
        assert_eq!(second.became, first.became, "one record");
        let whole = record_of(world, id).expect("the record").body;
        assert!(whole["summary"].is_string() && whole["recording_url"].is_string());
        for (mark, media) in [("nt-grows-3", links(world, Some(grant), id, &["recording"])), ("nt-grows-4", json!({}))]
        {
            let record = decided_on(world, &available(mark, Some(grant), id, &media)).await;
            assert_eq!(said(&record), "merged: the CRM has it already", "{mark}");
        }
        world.nylas.remove_media(Some(grant), &notetaker(id));
        let gone = news("notetaker.media", "nt-grows-5", Some(grant), id, json!({"state": "media_deleted"}));
        assert_eq!(said(&decided_on(world, &gone).await), "done: Nylas has deleted its files; what the CRM has stays");
        let late = available(
            "nt-grows-6",
            Some(grant),
            id,
            &json!({"transcript": world.nylas.expired_media_link(Some(grant), &notetaker(id), "transcript")}),
        );
        let record = decided_on(world, &late).await;
        assert!(["skipped", "merged"].contains(&record.outcome.as_str()), "{record:?}");
        assert_eq!(record_of(world, id).expect("the record").body, whole);
    });
}

#[test]
fn expired_links_are_renewed_and_what_is_not_there_yet_or_any_more_is_a_decision() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-expired", "nt-expired");
        attended(world, grant, id, json!({}), all_files());
        let notification = available("nt-expired-1", Some(grant), id, &expired(world, Some(grant), id, &ALL));
        let record = decided_on(world, &notification).await;
        assert_eq!((said(&record).as_str(), &record.facts["links"]), ("logged: known contact", &json!("made anew")));
        assert_eq!(media_calls(world, id), 1, "asked for once for all of them");
        assert!(record_of(world, id).expect("the record").body["recording_url"].is_string());

        attended(world, "nt-early", "nt-early", json!({}), json!(null));
        let early = decided_on(world, &available("nt-early-1", Some("nt-early"), "nt-early", &json!({}))).await;
        assert_eq!(said(&early), "held: Nylas has no files of it yet");

        attended(world, "nt-gone", "nt-gone", json!({}), all_files());
        let old = expired(world, Some("nt-gone"), "nt-gone", &ALL);
        world.nylas.remove_media(Some("nt-gone"), &notetaker("nt-gone"));
        let gone = decided_on(world, &available("nt-gone-1", Some("nt-gone"), "nt-gone", &old)).await;
        assert_eq!(said(&gone), "skipped: Nylas has deleted its files: their retention is over");
        for (state, decision) in [
            ("processing", "held: its files are being made"),
            ("media_processing", "held: its files are being made"),
            ("singing", "skipped: files in a state that is not known"),
        ] {
            let told = news("notetaker.media", &format!("nt-{state}"), Some(grant), id, json!({"state": state}));
            assert_eq!(said(&decided_on(world, &told).await), decision);
        }
    });
}

#[test]
fn sound_alone_with_a_raw_transcript_is_recorded_without_a_summary_and_in_milliseconds() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-raw", "nt-raw");
        let media = json!({
            "transcript": json_file(&json!({"object": "transcript", "type": "raw", "transcript": format!("{WORDS}\nYes.")})),
            "recording": {"name": "meeting.mp3", "type": "audio/mpeg", "bytes": 100_000, "duration": 60},
        });
        attended(world, grant, id, json!({}), media);
        let mut told =
            available("nt-raw-1", Some(grant), id, &links(world, Some(grant), id, &["transcript", "recording"]));
        told["time"] = (now() * 1000).into();
        told["data"]["object"]["join_time"] = ((now() - 3600) * 1000).into();
        assert_eq!(said(&decided_on(world, &told).await), "logged: known contact");
        let body = record_of(world, id).expect("the record").body;
        assert_eq!(body["transcript"], format!("{WORDS}\nYes."));
        assert_eq!((&body["summary"], &body["action_items"]), (&json!(null), &json!([])));
        assert!(body["recording_url"].as_str().is_some_and(|url| url.ends_with("/recording.mp3")), "{body}");
    });
}

#[test]
fn all_contacts_are_on_the_record_with_the_open_deal_and_the_rejected_ones_are_told() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-deals", "nt-deals");
        world.crm.add_contact(CrmContact::new("con_closed", "closed@deals.example").with_known_deal(
            "deal_closed",
            false,
            "2026-11-20T10:00:00Z",
        ));
        world.crm.add_contact(CrmContact::new("con_open", "open@deals.example").with_known_deal(
            "deal_open",
            true,
            "2026-11-01T10:00:00Z",
        ));
        let people = json!([
            {"email": format!("{CANARY}.rep@northwind.example")}, {"email": "closed@deals.example"},
            {"email": "open@deals.example"}, {"email": "stranger@deals.example"},
        ]);
        attended(world, grant, id, json!({"participants": people}), all_files());
        let told = available("nt-deals-1", Some(grant), id, &links(world, Some(grant), id, &["summary"]));
        let record = decided_on(world, &told).await;
        let body = record_of(world, id).expect("the record").body;
        assert_eq!(body["associated_contact_ids"], json!(["con_closed", "con_open"]));
        assert_eq!(
            (&body["associated_deal_id"], &body["unmatched_emails"]),
            (&json!("deal_open"), &json!(["stranger@deals.example"]))
        );
        assert_eq!(body["external_event_id"], json!(null), "no meeting was mirrored");
        assert_eq!(record.facts["deal_rule"], "open before closed");
        assert_eq!(record.facts["deals_rejected"][0]["deal_id"], "deal_closed");
    });
}

#[test]
fn internal_and_private_meetings_make_no_record_and_nothing_of_them_is_fetched() {
    in_the_world(async |world| {
        let colleagues =
            json!({"participants": [{"email": "a@northwind.example"}, {"email": "b@eu.northwind.example"}]});
        for (id, fields, reason) in [
            ("nt-internal", colleagues, "internal meeting"),
            ("nt-private", json!({"visibility": "private"}), "private"),
        ] {
            attended(world, id, id, fields, all_files());
            let told = available(&format!("{id}-1"), Some(id), id, &links(world, Some(id), id, &ALL));
            assert_eq!(said(&decided_on(world, &told).await), format!("skipped: {reason}"));
            assert!(record_of(world, id).is_none());
            assert_eq!(storage_calls(world, id), 0);
        }
    });
}

#[test]
fn standalone_notetaker_finds_its_meeting_by_where_and_when_it_joined_else_is_held_for_review() {
    in_the_world(async |world| {
        let id = "nt-alone";
        connect(world, rep("nt-alone"));
        let when = json!({"object": "timespan", "start_time": now() - 3600, "end_time": now() - 1800});
        let conferencing = json!({"details": {"url": link_of(id)}});
        let made = event("nt-alone", id, json!({"when": when, "conferencing": conferencing}));
        world.nylas.put_event("nt-alone", made.clone()).expect("connected");
        deliver(world, &calendars::told("event.created", &made)).await;
        eventually("the meeting is mirrored", async || calendars::meetings(world, id).len() == 1).await;
        world.nylas.put_notetaker(None, held(&notetaker(id), &link_of(id), all_files())).expect("put");
        let mut told = available("nt-alone-1", None, id, &links(world, None, id, &ALL));
        told["data"]["object"]["meeting_link"] = format!("{}?authuser=1", link_of(id)).into();
        let record = decided_on(world, &told).await;
        assert_eq!(said(&record), "logged: known contact");
        assert_eq!(record.facts["found_by"], "where and when it joined");
        let body = record_of(world, id).expect("the record").body;
        assert_eq!(body["external_event_id"], id);
        assert!(body["transcript_url"].as_str().is_some_and(|url| url.contains("/media/standalone/")), "{body}");

        world
            .nylas
            .put_notetaker(None, held(&notetaker("nt-nowhere"), &link_of("nt-nowhere"), all_files()))
            .expect("put");
        let told = available("nt-nowhere-1", None, "nt-nowhere", &links(world, None, "nt-nowhere", &ALL));
        let reason = "held: for review: no meeting is known that takes place there at that time";
        assert_eq!(said(&decided_on(world, &told).await), reason);
    });
}

#[test]
fn event_is_found_by_its_icalendar_uid_where_its_calendar_is_not_the_primary_one() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-uid", "nt-uid");
        attended(world, grant, id, json!({"calendar_id": "team-calendar"}), all_files());
        let told = available("nt-uid-1", Some(grant), id, &links(world, Some(grant), id, &["summary"]));
        let record = decided_on(world, &told).await;
        assert_eq!(
            (said(&record).as_str(), &record.facts["found_by"]),
            ("logged: known contact", &json!("its iCalendar UID"))
        );
    });
}

#[test]
fn notes_of_strangers_are_held_and_recorded_once_one_of_them_is_a_contact() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-waits", "nt-waits");
        let people =
            json!([{"email": format!("{CANARY}.rep@northwind.example")}, {"email": "later@strangers.example"}]);
        attended(world, grant, id, json!({"participants": people}), all_files());
        let told = available("nt-waits-1", Some(grant), id, &links(world, Some(grant), id, &ALL));
        assert_eq!(said(&decided_on(world, &told).await), "held: no known contact");
        assert!(record_of(world, id).is_none());
        world.crm.add_contact(CrmContact::new("con_later", "later@strangers.example"));
        let job = json!({"type": "reconcile", "grant_id": grant});
        put_job(world, &job, "nt-waits-reconcile").await;
        eventually("the notes are recorded", async || record_of(world, id).is_some()).await;
        assert_eq!(record_of(world, id).expect("the record").body["associated_contact_ids"], json!(["con_later"]));
    });
}

#[test]
fn notetaker_that_nylas_never_told_of_is_found_by_reconcile_with_its_event_from_its_history() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-missed", "nt-missed");
        attended(world, grant, id, json!({}), json!(null));
        let mut missed = held(&notetaker(id), &link_of(id), all_files());
        let snapshot = news("notetaker.created", "x", Some(grant), id, json!({"state": "scheduled"}));
        missed["history"] = json!([{"created_at": now() - 3700, "event_type": "notetaker.created", "data": snapshot["data"]["object"]}]);
        world.nylas.put_notetaker(Some(grant), missed).expect("connected");
        put_job(world, &json!({"type": "reconcile", "grant_id": grant}), "nt-missed-reconcile").await;
        // The words come first, the recording follows.
        let is_whole = || {
            let stored = record_of(world, id);
            stored.is_some_and(|stored| stored.body["recording_url"].is_string())
        };
        eventually("the notes are recorded", async || is_whole()).await;
        let before = record_of(world, id).expect("the record").writes;
        put_job(world, &json!({"type": "reconcile", "grant_id": grant}), "nt-missed-again").await;
        world.view.emptied(&queue(world, "NotetakerMedia"), Duration::from_mins(1)).await.expect("worked off");
        assert_eq!(record_of(world, id).expect("the record").writes, before, "it is known by now");
    });
}

#[test]
fn failed_entry_is_told_once_with_title_time_and_what_to_do() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-failed", "nt-failed");
        attended(world, grant, id, json!({}), json!(null));
        let told = |mark: &str| {
            let state = json!({"state": "failed_entry", "status": "failed_entry", "meeting_state": "entry_denied"});
            news("notetaker.meeting_state", mark, Some(grant), id, state)
        };
        let first = told("nt-failed-1");
        assert_eq!(said(&decided_on(world, &first).await), "done: it could not get into the meeting: told");
        deliver(world, &first).await;
        let again = decided_on(world, &told("nt-failed-2")).await;
        assert_eq!(said(&again), "done: it could not get into the meeting: told before");
        let alerts = alerts_of(world, id);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert!(
            alerts[0].contains("entry_denied") && alerts[0].contains(" at ") && alerts[0].contains("invite it again"),
            "{alerts:?}"
        );
    });
}

#[test]
fn notetaker_that_stands_in_the_lobby_for_five_minutes_is_told_of_once_by_a_schedule_and_one_let_in_is_not() {
    in_the_world(async |world| {
        // Waiting for nearly five minutes: the schedule is due in seconds.
        let since = now() - 290;
        let waiting = |mark: &str, id: &str| {
            let state = json!({"state": "connecting", "meeting_state": "waiting_for_entry"});
            let mut told = news("notetaker.meeting_state", mark, Some(id), id, state);
            told["time"] = since.into();
            told
        };
        for id in ["nt-lobby", "nt-let-in"] {
            attended(world, id, id, json!({}), json!(null));
            let record = decided_on(world, &waiting(&format!("{id}-1"), id)).await;
            assert_eq!(said(&record), "done: it waits to be let in: looked at again in five minutes");
        }
        let let_in = json!({"state": "attending", "meeting_state": "recording_active"});
        decided_on(world, &news("notetaker.meeting_state", "nt-let-in-2", Some("nt-let-in"), "nt-let-in", let_in))
            .await;
        let begun = Instant::now();
        while alerts_of(world, "nt-lobby").is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(90), "nobody was told");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        // What is due already goes into the queue at once, and finds that people were told.
        let mut late = waiting("nt-lobby-2", "nt-lobby");
        late["time"] = (since - 60).into();
        decided_on(world, &late).await;
        world.view.emptied(&queue(world, "NotetakerMedia"), Duration::from_mins(1)).await.expect("worked off");
        assert_eq!(alerts_of(world, "nt-lobby").len(), 1);
        assert_eq!(alerts_of(world, "nt-let-in"), [""; 0]);
    });
}

#[test]
fn media_error_is_told_once() {
    in_the_world(async |world| {
        let id = "nt-error";
        attended(world, id, id, json!({}), json!(null));
        for (mark, decision) in [
            ("nt-error-1", "done: its files could not be made: told"),
            ("nt-error-2", "done: its files could not be made: told before"),
        ] {
            let told =
                news("notetaker.media", mark, Some(id), id, json!({"state": "media_error", "status": "media_error"}));
            assert_eq!(said(&decided_on(world, &told).await), decision);
        }
        assert_eq!(alerts_of(world, id).len(), 1);
    });
}

#[test]
fn recording_whose_storage_breaks_down_leaves_the_words_in_the_crm_and_follows_later() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-broken", "nt-broken");
        attended(world, grant, id, json!({}), all_files());
        let recording = format!("/storage/{grant}/{}/recording", notetaker(id));
        world.nylas.faults().add(FaultRule::next(2, Fault::status(503)).on("GET", &recording));
        world.crm.faults().add(FaultRule::next(1, Fault::status(503)).on("PUT", "/meetings"));
        let told = available("nt-broken-1", Some(grant), id, &links(world, Some(grant), id, &ALL));
        let record = decided_on(world, &told).await;
        assert!(record.failures > 0, "{record:?}");
        world.nylas.faults().clear();
        let body = record_of(world, id).expect("the record").body;
        assert!(body["summary"].is_string() && body["recording_url"].is_string());
        assert_eq!(world.view.depth(&queue(world, "NotetakerMediaDeadLetter")).await.expect("a depth"), 0);
    });
}

#[test]
fn no_signed_link_no_word_that_was_said_and_no_address_stands_in_any_log_line() {
    in_the_world(async |world| {
        let (grant, id) = ("nt-logs", "nt-logs");
        let mut media = all_files();
        media["summary"] = json!({"name": "page", "type": "text/html", "text": format!("<p>{CANARY}</p>")});
        attended(world, grant, id, json!({}), media);
        let mut media_links = expired(world, Some(grant), id, &["transcript", "action_items"]);
        media_links["summary"] = world.nylas.media_link(Some(grant), &notetaker(id), "summary").into();
        media_links["recording"] = "http://127.0.0.1:1/canary4f9a?signature=canary4f9a".into();
        let record = decided_on(world, &available("nt-logs-1", Some(grant), id, &media_links)).await;
        assert!(
            record.facts["unreadable"]["summary"].as_str().is_some_and(|why| why.contains("text/html")),
            "{record:?}"
        );
        let mut lines = Vec::new();
        eventually("the log tells of it", async || {
            lines = world.engine.all_log_lines(&world.stack).await.expect("lines");
            lines.iter().any(|line| line.text.contains("nt-logs-1"))
        })
        .await;
        let secrets = [
            CANARY,
            "signature=",
            "/storage/",
            "meet.example",
            "spoken words",
            "@northwind.example",
            "@e2e.example",
            "@strangers.example",
            "@deals.example",
        ];
        for line in &lines {
            for secret in secrets {
                assert!(!line.text.contains(secret), "{secret} in {}: {}", line.log_group, line.text);
            }
        }
        let metrics = lines.iter().filter(|line| line.log_group.ends_with(FUNCTION)).filter_map(LogLine::json);
        assert!(metrics.filter(|line| line["_aws"].is_object()).count() > 0, "{FUNCTION} wrote no metrics");
    });
}

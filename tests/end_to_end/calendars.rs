//! calendar-sync end to end: meetings follow their calendars, whatever order the news comes in.

use super::*;
use sandbox::stand_ins::rest_crm::StoredMeeting;
use shared::engine::progress::{Progress, progress, run_key};

const FUNCTION: &str = "calendar-sync";

const DAY: i64 = 24 * 60 * 60;

/// An event with the prospect in a rep's calendar, tomorrow.
pub(super) fn event(grant: &str, id: &str, fields: Value) -> Value {
    let start = now() / 3600 * 3600 + DAY;
    let mut event = json!({
        "id": id, "grant_id": grant, "calendar_id": "primary", "object": "event",
        "title": format!("{CANARY} title {id}"), "description": format!("<p>{CANARY} agenda</p>"), "status": "confirmed",
        "when": {"object": "timespan", "start_time": start, "end_time": start + 1800},
        "organizer": {"email": format!("{CANARY}.rep@northwind.example"), "name": format!("{CANARY} Rep")},
        "participants": [
            {"email": format!("{CANARY}.rep@northwind.example"), "status": "yes"},
            {"email": prospect(), "name": format!("{CANARY} Prospect"), "status": "noreply"},
        ],
        "ical_uid": format!("{id}@ical.example"), "updated_at": 1_772_350_000, "created_at": 1_772_350_000,
        "busy": true, "conferencing": {}, "location": null,
    });
    let (Some(object), Value::Object(fields)) = (event.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    event
}

/// Nylas's notification of an event.
pub(super) fn told(kind: &str, event: &Value) -> Value {
    let id = notification_id(kind, event);
    let time = event["updated_at"].as_i64().expect("a time");
    let object = if kind == "event.deleted" {
        json!({"id": event["id"], "grant_id": event["grant_id"], "calendar_id": null, "object": "event"})
    } else {
        event.clone()
    };
    json!({
        "specversion": "1.0", "type": kind, "source": "/google/events/incremental", "id": id, "time": time,
        "webhook_delivery_attempt": 1, "data": {"application_id": "app-e2e", "object": object},
    })
}

fn notification_id(kind: &str, event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    format!("{kind}:{}:{}:{}", text("grant_id"), text("id"), event["updated_at"])
}

pub(super) fn changed(event: &Value, at: i64, fields: Value) -> Value {
    let mut event = event.clone();
    event["updated_at"] = at.into();
    let (Some(object), Value::Object(fields)) = (event.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    event
}

pub(super) fn connect(world: &World, grant: Grant) {
    world.nylas.add_grant(grant);
}

pub(super) fn rep(grant: &str) -> Grant {
    Grant::google(grant, &format!("{CANARY}.rep@northwind.example"))
}

/// The calendar holds the event, and Nylas notifies of it.
pub(super) async fn happens(world: &World, kind: &str, event: &Value) -> DecisionRecord {
    holds(world, event);
    deliver(world, &told(kind, event)).await;
    decided_in(world, &notification_id(kind, event)).await
}

/// The event is removed from its calendar, and Nylas notifies of it.
async fn vanishes(world: &World, event: &Value, at: i64) -> DecisionRecord {
    let gone = changed(event, at, json!({}));
    world.nylas.remove_event(event["grant_id"].as_str().expect("a grant"), event["id"].as_str().expect("an id"));
    deliver(world, &told("event.deleted", &gone)).await;
    decided_in(world, &notification_id("event.deleted", &gone)).await
}

fn holds(world: &World, event: &Value) {
    world.nylas.put_event(event["grant_id"].as_str().expect("a grant"), event.clone()).expect("a connected account");
}

async fn decided_in(world: &World, id: &str) -> DecisionRecord {
    let begun = Instant::now();
    loop {
        let record = world.view.record(FUNCTION, id).await.expect("the table answers");
        if let Some(record) = record.filter(|record| record.state == "done") {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{id} is not decided");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn said(record: &DecisionRecord) -> String {
    format!("{}: {}", record.outcome, record.reason)
}

/// The meetings in the CRM whose external id begins so.
pub(super) fn meetings(world: &World, prefix: &str) -> Vec<StoredMeeting> {
    let mut meetings = world.crm.meetings();
    meetings.retain(|meeting| meeting.external_id.starts_with(prefix));
    meetings.sort_by(|one, other| one.external_id.cmp(&other.external_id));
    meetings
}

fn titles(world: &World, prefix: &str) -> Vec<String> {
    let title = |meeting: &StoredMeeting| meeting.body["meeting_subject"].as_str().expect("a subject").to_owned();
    meetings(world, prefix).iter().map(title).collect()
}

/// How many writes of meetings the CRM was asked for since so many calls.
fn writes_since(world: &World, calls: usize) -> usize {
    world.crm.calls().all().iter().skip(calls).filter(|call| call.path == "/meetings").count()
}

/// Puts a job into the function's queue, as an operator would.
pub(super) async fn put_job(world: &World, job: &Value, mark: &str) {
    let deduplication_id = sha256_hex(&[mark.as_bytes()]);
    world.view.put(&queue(world, "CalendarSync"), &job.to_string(), mark, &deduplication_id).await.expect("put");
}

async fn run_of(world: &World, run: &str) -> Progress {
    run_within(world, run, Duration::from_secs(90)).await
}

/// Waits until a run has ended, and answers what it came to.
pub(super) async fn run_within(world: &World, run: &str, patience: Duration) -> Progress {
    let links =
        DynamoLinks::new(&world.engine.aws_config().await, world.stack.links_table().expect("a table").to_owned());
    let begun = Instant::now();
    loop {
        let known = progress(&links, &run_key(FUNCTION, run)).await.expect("the table answers");
        if let Some(known) = known.clone().filter(|known| known.ended) {
            return known;
        }
        assert!(begun.elapsed() < patience, "{run} has not ended: {known:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[test]
fn meeting_is_created_moved_cancelled_and_deleted_as_its_calendar_has_it() {
    in_the_world(async |world| {
        connect(world, rep("cal-plain"));
        let created = event(
            "cal-plain",
            "plain-1",
            json!({
                "when": {"object": "timespan", "start_time": 1_772_359_200, "end_time": 1_772_361_000, "start_timezone": "EST5EDT"},
                "location": "Room 1", "conferencing": {"provider": "Google Meet", "details": {"url": "https://meet.example/abc"}},
                "description": format!("<p>{CANARY} agenda</p><ul><li>one</li><li>two</li></ul><img src='https://t.example/p.gif' width=1>"),
            }),
        );
        let record = happens(world, "event.created", &created).await;
        assert_eq!(said(&record), "logged: known contact");
        let stored = meetings(world, "plain-1").pop().expect("the meeting");
        assert_eq!(record.became.as_deref(), Some(stored.id.as_str()));
        assert_eq!(
            stored.body,
            json!({
                "external_event_id": "plain-1", "meeting_subject": format!("{CANARY} title plain-1"),
                "meeting_date": "2026-03-01T10:00:00Z", "meeting_end_date": "2026-03-01T10:30:00Z", "duration_minutes": 30,
                "all_day": false, "meeting_location": "Room 1", "meeting_link": "https://meet.example/abc",
                "notes": format!("{CANARY} agenda\n* one\n* two"),
                "organizer_email": format!("{CANARY}.rep@northwind.example"),
                "attendees": [
                    {"email": format!("{CANARY}.rep@northwind.example"), "name": null, "rsvp_status": "yes", "contact_id": null},
                    {"email": prospect(), "name": format!("{CANARY} Prospect"), "rsvp_status": "noreply", "contact_id": "con_e2e"},
                ],
                "meeting_status": "confirmed", "provider_calendar_id": "primary", "grant_id": "cal-plain",
                "is_recurring": false, "master_event_id": null, "series_label": null,
                "contact_ids": ["con_e2e"], "deal_id": "deal_e2e",
            })
        );
        let moved = changed(
            &created,
            1_772_350_100,
            json!({"title": "moved", "status": "maybe",
            "when": {"object": "datespan", "start_date": "2026-03-03", "end_date": "2026-03-04"}}),
        );
        assert_eq!(said(&happens(world, "event.updated", &moved).await), "logged: known contact");
        let stored = meetings(world, "plain-1").pop().expect("the meeting").body;
        assert_eq!(
            [&stored["meeting_date"], &stored["meeting_end_date"], &stored["all_day"], &stored["meeting_status"]],
            [&json!("2026-03-03"), &json!("2026-03-04"), &json!(true), &json!("tentative")]
        );
        let cancelled = changed(&moved, 1_772_350_200, json!({"status": "cancelled"}));
        happens(world, "event.updated", &cancelled).await;
        assert_eq!(meetings(world, "plain-1")[0].body["meeting_status"], "cancelled");
        let late = changed(&created, 1_772_350_050, json!({"title": "late"}));
        deliver(world, &told("event.updated", &late)).await;
        let record = decided_in(world, &notification_id("event.updated", &late)).await;
        assert_eq!(
            (said(&record).as_str(), &record.facts["news"]),
            ("merged: the CRM shows what counts", &json!("older"))
        );
        assert_eq!(said(&vanishes(world, &cancelled, 1_772_350_300).await), "done: removed from the CRM");
        assert_eq!(titles(world, "plain-1"), [""; 0]);
    });
}

#[test]
fn deletion_that_comes_first_stops_the_creation_that_is_still_on_its_way() {
    in_the_world(async |world| {
        connect(world, rep("cal-first"));
        let created = event("cal-first", "first-1", json!({}));
        let record = vanishes_unseen(world, &created).await;
        assert_eq!(said(&record), "done: deleted before anything was written");
        deliver(world, &told("event.created", &created)).await;
        let record = decided_in(world, &notification_id("event.created", &created)).await;
        assert_eq!(said(&record), "skipped: deleted since");
        assert_eq!(titles(world, "first-1"), [""; 0]);
    });
}

async fn vanishes_unseen(world: &World, event: &Value) -> DecisionRecord {
    let gone = changed(event, 1_772_350_300, json!({}));
    deliver(world, &told("event.deleted", &gone)).await;
    decided_in(world, &notification_id("event.deleted", &gone)).await
}

#[test]
fn one_meeting_on_three_calendars_is_one_record_until_its_last_copy_is_gone() {
    in_the_world(async |world| {
        let mut copies = Vec::new();
        for (number, grant) in [
            Grant::microsoft("cal-copy-0", &format!("{CANARY}.rep@northwind.example")),
            Grant::microsoft("cal-copy-1", "second@northwind.example"),
            Grant::google("cal-copy-2", "third@northwind.example"),
        ]
        .into_iter()
        .enumerate()
        {
            let id = grant.id.clone();
            connect(world, grant);
            let fields = json!({"ical_uid": "copies@ical.example", "title": format!("copy {number}"), "updated_at": 1_772_350_900 - 100 * number});
            copies.push(event(&id, &format!("copies-{number}"), fields));
        }
        for copy in copies.iter().rev() {
            happens(world, "event.created", copy).await;
        }
        assert_eq!(titles(world, "copies-"), ["copy 0"], "what the organizer's calendar says");
        assert_eq!(meetings(world, "copies-")[0].external_id, "copies-2", "under the id of the copy written first");
        vanishes(world, &copies[0], 1_772_351_000).await;
        assert_eq!(titles(world, "copies-"), ["copy 1"], "the highest version of those that are left");
        vanishes(world, &copies[2], 1_772_351_000).await;
        assert_eq!(titles(world, "copies-"), ["copy 1"]);
        vanishes(world, &copies[1], 1_772_351_000).await;
        assert_eq!(titles(world, "copies-"), [""; 0]);
    });
}

#[test]
fn partial_events_are_completed_and_one_that_is_gone_meanwhile_is_an_answer() {
    in_the_world(async |world| {
        connect(world, rep("cal-partial"));
        let whole = event("cal-partial", "partial-1", json!({}));
        holds(world, &whole);
        let ids = json!({"id": "partial-1", "grant_id": "cal-partial", "calendar_id": "primary", "updated_at": 1});
        deliver(world, &told("event.updated.transformed", &ids)).await;
        let record = decided_in(world, &notification_id("event.updated.transformed", &ids)).await;
        assert_eq!(said(&record), "logged: known contact");
        assert_eq!(titles(world, "partial-1"), [format!("{CANARY} title partial-1")]);
        let gone = json!({"id": "partial-gone", "grant_id": "cal-partial", "calendar_id": "primary", "updated_at": 1});
        deliver(world, &told("event.created.truncated", &gone)).await;
        let record = decided_in(world, &notification_id("event.created.truncated", &gone)).await;
        assert_eq!(said(&record), "skipped: no longer at Nylas");
    });
}

#[test]
fn what_is_nobodys_business_is_skipped_with_its_reason() {
    in_the_world(async |world| {
        connect(world, rep("cal-skip"));
        let own = sandbox::world::loop_id(&world.stack).expect("an id");
        let rep_alone = json!([{"email": format!("{CANARY}.rep@northwind.example"), "status": "yes"}]);
        let colleagues = json!([{"email": "a@northwind.example"}, {"email": "b@northwind.example"}]);
        for (id, fields, reason) in [
            ("skip-private", json!({"visibility": "private"}), "private"),
            ("skip-confidential", json!({"visibility": "confidential"}), "private"),
            ("skip-block", json!({"participants": []}), "personal block"),
            ("skip-alone", json!({"participants": rep_alone}), "personal block"),
            ("skip-internal", json!({"participants": colleagues}), "internal meeting"),
            ("skip-own", json!({"metadata": {"crm_autopilot_loop": own.as_str()}}), "made by this deployment"),
            ("skip-stranger", json!({"participants": [{"email": "nobody@stranger.example"}]}), "no known contact"),
        ] {
            let record = happens(world, "event.created", &event("cal-skip", id, fields)).await;
            assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("skipped", reason), "{id}");
        }
        assert_eq!(titles(world, "skip-"), [""; 0]);
        let booked = json!({"metadata": {"source": "scheduler", "key5": "configuration-1"}});
        let booked = event("cal-skip", "booked-1", booked);
        let record = happens(world, "event.created", &booked).await;
        assert_eq!((said(&record).as_str(), &record.facts["made_by"]), ("logged: known contact", &json!("scheduler")));
        let again = changed(&booked, 1_772_350_001, json!({}));
        assert_eq!(happens(world, "event.updated", &again).await.outcome, "merged", "the scheduler touches it again");
        assert_eq!(meetings(world, "booked-1").len(), 1);
    });
}

#[test]
fn series_is_one_record_an_occurrence_with_its_changes_and_none_for_its_master() {
    in_the_world(async |world| {
        connect(world, rep("cal-series"));
        let start = now() / DAY * DAY + DAY + 36_000;
        let at = |days: i64| {
            let time = jiff::Timestamp::from_second(start + days * DAY).expect("a time");
            format!("series-1_{}", time.strftime("%Y%m%dT%H%M%SZ"))
        };
        let fields = json!({"recurrence": ["RRULE:FREQ=DAILY;COUNT=45"], "title": "Standing call",
            "when": {"object": "timespan", "start_time": start, "end_time": start + 1800, "start_timezone": "UTC"}});
        let master = event("cal-series", "series-1", fields);
        happens(world, "event.created", &master).await;
        eventually("45 occurrences, in three slices", async || meetings(world, "series-1").len() == 45).await;
        assert!(meetings(world, "series-1").iter().all(|meeting| {
            meeting.body["series_label"] == "Series: Standing call" && meeting.body["master_event_id"] == "series-1"
        }));
        let edited = changed(
            &event("cal-series", &at(2), json!({})),
            1_772_350_100,
            json!({"title": "Elsewhere", "master_event_id": "series-1", "ical_uid": "series-1@ical.example",
                "original_start_time": start + 2 * DAY}),
        );
        happens(world, "event.updated", &edited).await;
        let exceptions = json!({"occurrences": [at(2)], "cancelled_occurrences": [at(3)]});
        happens(world, "event.updated", &changed(&master, 1_772_350_200, exceptions)).await;
        eventually("one occurrence cancelled and one elsewhere", async || {
            let shown = meetings(world, "series-1");
            let cancelled = shown.iter().filter(|meeting| meeting.body["meeting_status"] == "cancelled").count();
            let elsewhere = shown.iter().filter(|meeting| meeting.body["meeting_subject"] == "Elsewhere").count();
            (shown.len(), cancelled, elsewhere) == (45, 1, 1)
        })
        .await;
        vanishes(world, &master, 1_772_350_300).await;
        eventually("nothing is left, the occurrence that was edited by itself included", async || {
            meetings(world, "series-1").is_empty()
        })
        .await;
    });
}

#[test]
fn meeting_is_written_once_an_attendee_becomes_a_contact() {
    in_the_world(async |world| {
        connect(world, rep("cal-later"));
        let people = |address: &str| json!([{"email": format!("{CANARY}.rep@northwind.example")}, {"email": address}]);
        let first = event("cal-later", "later-1", json!({"participants": people("soon1@later.example")}));
        let second = event("cal-later", "later-2", json!({"participants": people("soon2@later.example")}));
        for event in [&first, &second] {
            assert_eq!(happens(world, "event.created", event).await.reason, "no known contact");
        }
        for number in [1, 2] {
            world
                .crm
                .add_contact(CrmContact::new(&format!("con_later{number}"), &format!("soon{number}@later.example")));
        }
        happens(world, "event.updated", &changed(&first, 1_772_350_100, json!({}))).await;
        assert_eq!(meetings(world, "later-1").len(), 1, "the next update");
        put_job(world, &json!({"type": "reconcile", "grant_id": "cal-later", "run": "later"}), "later").await;
        run_of(world, "later/cal-later").await;
        eventually("the reconcile", async || meetings(world, "later-2").len() == 1).await;
    });
}

#[test]
fn reconcile_finds_what_nylas_did_not_notify_of_and_tells_how_much_that_was() {
    in_the_world(async |world| {
        for grant in [rep("cal-gap"), Grant::icloud("cal-gap-icloud", "rep.icloud@northwind.example")] {
            let (id, calendar) = (grant.id.clone(), if grant.provider == "icloud" { "home" } else { "primary" });
            connect(world, grant);
            let of = |name: &str, ago: i64, fields: Value| {
                let made = event(&id, &format!("{id}-{name}"), json!({"calendar_id": calendar}));
                changed(&made, now() - ago, fields)
            };
            let seen = of("seen", 600, json!({}));
            happens(world, "event.created", &seen).await;
            put_job(world, &json!({"type": "reconcile", "grant_id": id, "run": "gap-0"}), &format!("{id}-0")).await;
            run_of(world, &format!("gap-0/{id}")).await;
            holds(world, &of("missed", 300, json!({})));
            holds(world, &of("seen", 200, json!({"title": "moved unseen"})));
            put_job(world, &json!({"type": "reconcile", "grant_id": id, "run": "gap-1"}), &format!("{id}-1")).await;
            let found = run_of(world, &format!("gap-1/{id}")).await;
            assert_eq!(found.counts["recovered"], 2, "{found:?}");
            eventually("what was missed is written", async || {
                titles(world, &format!("{id}-")) == [format!("{CANARY} title {id}-missed"), "moved unseen".to_owned()]
            })
            .await;
            world.nylas.remove_event(&id, &format!("{id}-seen"));
            put_job(world, &json!({"type": "reconcile", "grant_id": id, "run": "gap-2"}), &format!("{id}-2")).await;
            run_of(world, &format!("gap-2/{id}")).await;
            eventually("what was deleted unseen goes", async || meetings(world, &format!("{id}-")).len() == 1).await;
        }
        eventually("the coverage is a metric", async || {
            let lines = world.engine.log_lines(&world.stack, FUNCTION).await.expect("the log");
            let coverage = |line: Value| line["Coverage"].as_u64();
            let coverages: Vec<u64> =
                lines.iter().filter_map(sandbox::local_engine::LogLine::json).filter_map(coverage).collect();
            coverages.contains(&0) && coverages.contains(&100)
        })
        .await;
    });
}

#[test]
fn backfill_brings_every_calendar_of_a_span_once_and_a_second_one_changes_nothing() {
    in_the_world(async |world| {
        for (grant, calendars) in [
            (rep("cal-back"), ["primary", "team"]),
            (Grant::icloud("cal-back-icloud", "rep2.icloud@northwind.example"), ["home", "home"]),
        ] {
            let id = grant.id.clone();
            connect(world, grant);
            let begin = now() - 300 * DAY;
            for number in 0..60 {
                let start = begin + number * 5 * DAY;
                let calendar = calendars[usize::try_from(number % 2).expect("small")];
                let fields = json!({"calendar_id": calendar, "when": {"object": "timespan", "start_time": start, "end_time": start + 1800}});
                let fields = if number == 7 {
                    json!({"calendar_id": calendar, "participants": [], "when": fields["when"]})
                } else {
                    fields
                };
                holds(world, &event(&id, &format!("{id}-{number}"), fields));
            }
            // Live news of one of them comes in between.
            let third =
                json!({"object": "timespan", "start_time": begin + 15 * DAY, "end_time": begin + 15 * DAY + 1800});
            let live = event(
                &id,
                &format!("{id}-3"),
                json!({"calendar_id": calendars[1], "title": "live", "updated_at": 1_772_360_000, "when": third}),
            );
            holds(world, &live);
            let calls = world.crm.calls().all().len();
            let job = |run: &str| json!({"type": "calendar.backfill", "grant_id": id, "start": begin - 1, "end": now(), "run": run});
            put_job(world, &job("back-1"), &format!("{id}-1")).await;
            deliver(world, &told("event.updated", &live)).await;
            let came_to = run_of(world, &format!("back-1/{id}")).await;
            assert_eq!((came_to.counts["events"], came_to.counts["written"], came_to.counts["skipped"]), (60, 59, 1));
            assert_eq!(meetings(world, &format!("{id}-")).len(), 59);
            decided_in(world, &notification_id("event.updated", &live)).await;
            assert_eq!(writes_since(world, calls), 59, "each once");
            put_job(world, &job("back-2"), &format!("{id}-2")).await;
            let came_to = run_of(world, &format!("back-2/{id}")).await;
            assert_eq!(came_to.counts["events"], 60);
            assert_eq!(writes_since(world, calls), 59, "nothing is written that the CRM shows already");
        }
    });
}

#[test]
fn expired_account_is_told_of_once_and_what_it_missed_is_fetched_when_it_is_back() {
    in_the_world(async |world| {
        connect(world, rep("cal-expired"));
        let news = |kind: &str, at: i64| {
            json!({"specversion": "1.0", "type": kind, "source": "/nylas/system", "id": format!("{kind}-{at}"), "time": at,
                "data": {"application_id": "app-e2e", "object": {"grant_id": "cal-expired", "code": 25009, "provider": "google",
                    "email": "rep.expired@northwind.example", "reauthentication_flag": kind == "grant.updated"}}})
        };
        let lost_at = now() - 4000;
        deliver(world, &news("grant.expired", lost_at)).await;
        assert_eq!(said(&decided_in(world, &format!("grant.expired-{lost_at}")).await), "done: account expired: told");
        deliver(world, &news("grant.expired", lost_at + 60)).await;
        let again = decided_in(world, &format!("grant.expired-{}", lost_at + 60)).await;
        assert_eq!(said(&again), "skipped: account expired: told before");
        let texts: Vec<String> =
            world.alerts.texts().into_iter().filter(|text| text.contains("rep.expired@northwind.example")).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("connect it again"), "{texts:?}");
        holds(world, &changed(&event("cal-expired", "expired-1", json!({})), lost_at + 1000, json!({})));
        let mut mail = mail_of("cal-expired", "expired", json!({"date": lost_at + 1000}))["data"]["object"].clone();
        mail["headers"] = json!([]);
        world.nylas.put_message("cal-expired", mail).expect("connected");
        deliver(world, &news("grant.updated", lost_at + 2000)).await;
        let back = decided_in(world, &format!("grant.updated-{}", lost_at + 2000)).await;
        assert_eq!(said(&back), "done: account is back: what was missed is looked for");
        eventually("its meetings", async || meetings(world, "expired-1").len() == 1).await;
        eventually("its mail", async || activities_of(world, "expired") == 1).await;
    });
}

/// The histories of the permutations: what happens to one event, in its true order.
fn history(id: &str) -> [Value; 5] {
    let made = event("cal-orders", id, json!({}));
    [
        told("event.created", &made),
        told("event.updated", &changed(&made, 1_772_350_010, json!({"title": "moved"}))),
        told("event.updated", &changed(&made, 1_772_350_020, json!({"status": "cancelled"}))),
        told("event.updated", &changed(&made, 1_772_350_030, json!({"title": "on again", "status": "confirmed"}))),
        told("event.updated", &changed(&made, 1_772_350_040, json!({"title": "the last word"}))),
    ]
}

fn orders() -> Vec<Vec<usize>> {
    fn of(rest: &[usize]) -> Vec<Vec<usize>> {
        if rest.is_empty() {
            return vec![Vec::new()];
        }
        let mut all = Vec::new();
        for (place, first) in rest.iter().enumerate() {
            let others = [&rest[..place], &rest[place + 1..]].concat();
            all.extend(of(&others).into_iter().map(|order| [vec![*first], order].concat()));
        }
        all
    }
    of(&[0, 1, 2, 3, 4])
}

#[test]
fn all_120_orders_of_five_notifications_end_in_the_same_meeting_also_where_each_comes_twice() {
    in_the_world(async |world| {
        connect(world, rep("cal-orders"));
        let calendar = queue(world, "CalendarSync");
        let orders = orders();
        assert_eq!(orders.len(), 120);
        // Every second event is deleted in the end, which is told among the others.
        let mut put = Vec::new();
        for (number, order) in orders.iter().enumerate() {
            let id = format!("orders-{number:03}");
            let mut history = history(&id);
            if number % 2 == 1 {
                let made = event("cal-orders", &id, json!({}));
                history[4] = told("event.deleted", &changed(&made, 1_772_350_040, json!({})));
            } else {
                holds(
                    world,
                    &changed(&event("cal-orders", &id, json!({})), 1_772_350_040, json!({"title": "the last word"})),
                );
            }
            let again = order.iter().rev().filter(|_| number % 3 == 0);
            for (place, step) in order.iter().chain(again).enumerate() {
                put.push((id.clone(), place, history[*step].to_string()));
            }
        }
        futures_util::stream::iter(put)
            .for_each_concurrent(4, async |(id, place, body)| {
                let mark = sha256_hex(&[format!("{id}-{place}").as_bytes()]);
                // Each in a group of its own, so that the queue keeps no order.
                world.view.put(&calendar, &body, &mark, &mark).await.expect("put");
            })
            .await;
        world.view.emptied(&calendar, Duration::from_mins(4)).await.expect("worked off");
        let shown = meetings(world, "orders-");
        assert_eq!(shown.len(), 60, "the deleted ones are gone");
        for meeting in shown {
            let body = &meeting.body;
            assert_eq!(
                (&body["meeting_subject"], &body["meeting_status"]),
                (&json!("the last word"), &json!("confirmed")),
                "{}",
                meeting.external_id
            );
        }
        assert_eq!(world.view.depth(&queue(world, "CalendarSyncDeadLetter")).await.expect("a depth"), 0);
    });
}

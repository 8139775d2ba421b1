//! Histories that end wrongly where one looks at notifications alone: events that become series, exceptions that only
//! notifications tell, calendars that share ids, clocks that differ, accounts that are lost.

use super::*;

impl Desk {
    async fn decides(&self, kind: &str, object: &Value) -> String {
        self.told(kind, object).await.to_string()
    }

    fn keys(&self) -> Vec<String> {
        self.crm.meetings.lock().expect("a lock").keys().cloned().collect()
    }

    /// Hands over what was queued since, each message once.
    async fn work_off_since(&self, first: usize) {
        let mut done = first;
        while let Some(message) = self.queue.sent().get(done).cloned() {
            self.receives(&message.body).await.expect("a decision");
            done += 1;
        }
    }
}

fn weekly(fields: Value) -> Value {
    let mut master = series(json!({"recurrence": ["RRULE:FREQ=WEEKLY;COUNT=3"]}));
    let (Some(object), Value::Object(fields)) = (master.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    master
}

const FIRST: &str = "m1_20260301T100000Z";
const SECOND: &str = "m1_20260308T100000Z";
const THIRD: &str = "m1_20260315T100000Z";

#[tokio::test]
async fn event_that_becomes_a_series_leaves_no_record_of_its_own_and_its_deletion_removes_all() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &weekly(json!({"recurrence": null}))).await;
    assert_eq!(desk.keys(), ["m1"]);
    desk.told("event.updated", &weekly(json!({"updated_at": 1_772_351_000}))).await;
    assert_eq!(desk.keys(), [FIRST, SECOND, THIRD]);
    desk.told("event.deleted", &ids("m1", 1_772_352_000)).await;
    assert!(desk.keys().is_empty(), "{:?}", desk.keys());
}

#[tokio::test]
async fn series_that_becomes_one_event_is_one_record() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &weekly(json!({}))).await;
    desk.told("event.updated", &weekly(json!({"recurrence": null, "updated_at": 1_772_351_000}))).await;
    assert_eq!(desk.keys(), ["m1"]);
}

#[tokio::test]
async fn sequence_that_is_told_at_the_creation_alone_outranks_no_later_change() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &event(json!({"sequence": 17}))).await;
    desk.told("event.updated", &event(json!({"title": "moved", "updated_at": 1_772_350_100}))).await;
    assert_eq!(desk.subjects(), ["moved"]);
}

#[tokio::test]
async fn exceptions_that_only_a_notification_tells_hold_in_every_later_slice() {
    let desk = Desk::new(Scope::Prospects);
    let daily = |fields: Value| {
        let mut master = series(json!({"recurrence": ["RRULE:FREQ=DAILY;COUNT=50"]}));
        let (Some(object), Value::Object(fields)) = (master.as_object_mut(), fields) else { panic!("objects") };
        object.extend(fields);
        master
    };
    // Nylas itself holds the master without its exceptions.
    desk.nylas.holds(&daily(json!({"updated_at": 1_772_351_000})));
    let cancelled = json!({"cancelled_occurrences": ["m1_20260410T100000Z"], "updated_at": 1_772_351_000});
    desk.told("event.updated", &daily(cancelled)).await;
    desk.work_off().await;
    let meetings = desk.crm.meetings.lock().expect("a lock").clone();
    assert_eq!(meetings.len(), 50);
    let cancelled: Vec<&String> = meetings
        .iter()
        .filter(|(_, meeting)| meeting.status == shared::crm::meeting::MeetingStatus::Cancelled)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(cancelled, ["m1_20260410T100000Z"]);
}

#[tokio::test]
async fn deleted_series_takes_its_edited_occurrences_along() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &weekly(json!({}))).await;
    let edited = json!({"id": SECOND, "master_event_id": "m1", "original_start_time": 1_772_964_000, "ical_uid": "s1",
        "title": "elsewhere", "updated_at": 1_772_351_000});
    desk.told("event.updated", &event(edited)).await;
    assert_eq!(desk.subjects(), ["Pilot", "elsewhere", "Pilot"]);
    desk.told("event.deleted", &ids("m1", 1_772_352_000)).await;
    assert!(desk.keys().is_empty(), "{:?}", desk.keys());
}

#[tokio::test]
async fn edited_occurrence_with_a_uid_of_its_own_is_the_same_meeting_whichever_is_told_first() {
    let edited = event(json!({"id": "AAMkException", "master_event_id": "m1", "original_start_time": 1_772_964_000,
        "ical_uid": "its own", "title": "elsewhere", "updated_at": 1_772_351_000}));
    for edited_first in [false, true] {
        let desk = Desk::new(Scope::Prospects);
        desk.nylas.holds(&edited);
        if edited_first {
            desk.told("event.updated", &edited).await;
        }
        desk.told("event.created", &weekly(json!({}))).await;
        if !edited_first {
            desk.told("event.updated", &edited).await;
        }
        let mut subjects = desk.subjects();
        subjects.sort();
        assert_eq!(subjects, ["Pilot", "Pilot", "elsewhere"], "edited first: {edited_first}");
    }
}

#[tokio::test]
async fn series_of_strangers_is_written_once_one_of_them_is_a_contact() {
    let desk = Desk::new(Scope::Prospects);
    let strangers = json!([{"email": "ines@northwind.example"}, {"email": "new@acme.example"}]);
    let master = weekly(json!({"participants": strangers}));
    desk.nylas.holds(&master);
    let decision = desk.told("event.created", &master).await;
    assert_eq!(decision.waits_for, ["new@acme.example"]);
    assert_eq!(decision.to_string(), "skipped: no known contact");
    desk.crm.knows("new@acme.example", "c2");
    let again = json!({"id": "m1", "grant_id": "g1", "calendar_id": "primary"});
    desk.told("event.updated.transformed", &again).await;
    assert_eq!(desk.keys().len(), 3);
}

#[tokio::test]
async fn copy_in_a_colleagues_shared_calendar_is_no_copy_of_its_own() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &event(json!({"calendar_id": "ines@northwind.example"}))).await;
    desk.told("event.created", &event(json!({"calendar_id": "omar@northwind.example"}))).await;
    let gone =
        json!({"id": "e1", "grant_id": "g1", "calendar_id": "omar@northwind.example", "updated_at": 1_772_352_000});
    desk.told("event.deleted", &gone).await;
    assert_eq!(desk.subjects(), ["Pilot"], "it is still in the own calendar");
    let gone =
        json!({"id": "e1", "grant_id": "g1", "calendar_id": "ines@northwind.example", "updated_at": 1_772_352_000});
    desk.told("event.deleted", &gone).await;
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn event_that_is_moved_between_calendars_of_an_account_stays_whichever_is_told_first() {
    let gone = json!({"id": "e1", "grant_id": "g1", "calendar_id": "own", "updated_at": 1_772_352_000});
    let moved = event(json!({"calendar_id": "team", "title": "moved", "updated_at": 1_772_351_000}));
    for deletion_first in [false, true] {
        let desk = Desk::new(Scope::Prospects);
        desk.nylas.holds(&moved);
        desk.told("event.created", &event(json!({"calendar_id": "own"}))).await;
        for (kind, object) in if deletion_first {
            [("event.deleted", &gone), ("event.created", &moved)]
        } else {
            [("event.created", &moved), ("event.deleted", &gone)]
        } {
            desk.told(kind, object).await;
        }
        assert_eq!(desk.subjects(), ["moved"], "deletion first: {deletion_first}");
    }
}

#[tokio::test]
async fn creation_that_is_told_right_after_its_deletion_is_settled_by_its_calendar() {
    for is_there in [false, true] {
        let desk = Desk::new(Scope::Prospects);
        desk.told("event.deleted", &ids("e1", 1_772_350_100)).await;
        if is_there {
            desk.nylas.holds(&event(json!({})));
        }
        desk.told("event.created", &event(json!({}))).await;
        assert_eq!(desk.subjects().len(), usize::from(is_there));
    }
}

#[tokio::test]
async fn event_without_a_time_of_change_counts_from_its_notification_and_not_from_its_queue() {
    let desk = Desk::new(Scope::Prospects);
    let undated = |title: &str| event(json!({"updated_at": null, "title": title}));
    let told = async |time: i64, object: &Value| {
        let body = json!({"specversion": "1.0", "type": "event.updated", "source": "/icloud/events", "id": format!("n{time}"),
            "time": time, "data": {"object": object}});
        desk.receives(&body.to_string()).await.expect("a decision")
    };
    told(1_772_350_500_000, &undated("newer, told in milliseconds")).await;
    told(1_772_350_400, &undated("older")).await;
    assert_eq!(desk.subjects(), ["newer, told in milliseconds"]);
}

#[tokio::test]
async fn private_meeting_of_the_organizer_is_not_told_by_an_attendees_copy() {
    for (scope, subjects) in [(Scope::Prospects, vec![]), (Scope::All, vec!["Private meeting"])] {
        let desk = Desk::new(scope);
        let copy = json!({"id": "AAMk2", "grant_id": "g2", "ical_uid": "u1"});
        desk.told("event.created", &event(copy)).await;
        assert_eq!(desk.subjects(), ["Pilot"]);
        desk.told("event.created", &event(json!({"visibility": "private"}))).await;
        assert_eq!(desk.subjects(), subjects);
    }
}

#[tokio::test]
async fn private_meeting_is_written_without_asking_for_anybody() {
    let desk = Desk::new(Scope::All);
    let decision = desk.told("event.created", &event(json!({"visibility": "confidential"}))).await;
    assert_eq!(decision.outcome.as_str(), "logged");
    assert!(!decision.facts.contains_key("contact_ids") && !decision.facts.contains_key("unmatched"), "{decision:?}");
    assert_eq!(*desk.crm.lookups.lock().expect("a lock"), 0);
}

#[tokio::test]
async fn change_counts_where_the_organizers_account_is_lost() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &event(json!({}))).await;
    desk.told("event.created", &event(json!({"id": "AAMk2", "grant_id": "g2"}))).await;
    let lost = json!({"specversion": "1.0", "type": "grant.deleted", "source": "/nylas/system", "id": "lost", "time": NOW,
        "data": {"object": {"grant_id": "g1"}}});
    desk.receives(&lost.to_string()).await.expect("a decision");
    let moved = json!({"id": "AAMk2", "grant_id": "g2", "title": "moved", "updated_at": 1_772_351_000});
    desk.told("event.updated", &event(moved)).await;
    assert_eq!(desk.subjects(), ["moved"]);
}

#[tokio::test]
async fn calendars_and_rooms_are_nobody() {
    let desk = Desk::new(Scope::All);
    let team = json!({"organizer": {"email": "c_123@group.calendar.google.com"},
        "participants": [{"email": "ines@northwind.example"}, {"email": "room@resource.calendar.google.com"}]});
    assert_eq!(desk.decides("event.created", &event(team)).await, "skipped: personal block");
    let nameless = json!({"id": "e2", "ical_uid": "u2", "participants": [{"email": "ines@northwind.example"}, {"name": "Somebody"}]});
    let decision = desk.decides("event.created", &event(nameless)).await;
    assert_eq!(decision, "logged: no known contact", "whoever that is");
}

#[tokio::test]
async fn deleted_occurrence_of_whole_days_is_found_by_its_shorter_id() {
    let desk = Desk::new(Scope::Prospects);
    let days = json!({"when": {"object": "date", "date": "2026-03-01"}});
    desk.told("event.created", &weekly(days)).await;
    assert_eq!(desk.keys().len(), 3);
    let gone = json!({"id": "m1_20260308", "master_event_id": "m1", "grant_id": "g1", "updated_at": 1_772_352_000});
    assert_eq!(desk.decides("event.deleted", &gone).await, "done: occurrence deleted");
    assert_eq!(desk.keys(), ["m1_20260301T000000Z", "m1_20260315T000000Z"]);
}

#[tokio::test]
async fn series_that_was_changed_while_its_slices_were_under_way_is_laid_out_anew() {
    let desk = Desk::new(Scope::Prospects);
    let daily = |title: &str, at: i64| {
        series(json!({"recurrence": ["RRULE:FREQ=DAILY;COUNT=50"], "title": title, "updated_at": at}))
    };
    desk.told("event.created", &daily("first", 1_772_350_000)).await;
    // The notification of this change is lost.
    desk.nylas.holds(&daily("second", 1_772_351_000));
    desk.work_off().await;
    assert_eq!(desk.keys().len(), 50);
    assert!(desk.subjects().iter().all(|subject| subject == "second"), "{:?}", desk.subjects());
}

#[tokio::test]
async fn occurrence_that_the_crm_refuses_keeps_none_of_the_others_back() {
    let desk = Desk::new(Scope::Prospects);
    *desk.crm.refuses.lock().expect("a lock") = Some(SECOND.to_owned());
    let body = json!({"specversion": "1.0", "type": "event.created", "source": "/google/events", "id": "n1",
        "time": 1_772_350_000, "data": {"object": weekly(json!({}))}});
    let failure = desk.receives(&body.to_string()).await.expect_err("one was refused");
    assert_eq!(failure.class(), "crm.rejected");
    assert_eq!(desk.keys(), [FIRST, THIRD]);
}

#[tokio::test]
async fn zone_that_is_not_told_is_the_calendars() {
    let desk = Desk::new(Scope::Prospects);
    // Thursday evening in Los Angeles is Friday in UTC.
    let when = json!({"object": "timespan", "start_time": 1_772_762_400, "end_time": 1_772_764_200});
    let thursdays = json!({"recurrence": ["RRULE:FREQ=WEEKLY;BYDAY=TH;COUNT=2"], "when": when});
    desk.told("event.created", &weekly(thursdays)).await;
    assert_eq!(desk.keys(), ["m1_20260306T020000Z", "m1_20260313T010000Z"], "the clocks change in between");
}

#[tokio::test]
async fn missed_deletion_is_found_although_google_still_answers_for_what_was_deleted() {
    let desk = Desk::new(Scope::Prospects);
    let soon = json!({"object": "timespan", "start_time": NOW + 86_400, "end_time": NOW + 90_000});
    desk.nylas.holds(&event(json!({"when": soon})));
    let night = |run: &str| json!({"type": "reconcile", "grant_id": "g1", "run": run}).to_string();
    desk.receives(&night("r1")).await.expect("a decision");
    desk.work_off_since(0).await;
    assert_eq!(desk.subjects().len(), 1);
    desk.nylas.holds(&event(json!({"when": soon, "status": "cancelled"})));
    let first = desk.queue.sent().len();
    desk.receives(&night("r2")).await.expect("a decision");
    desk.work_off_since(first).await;
    assert!(desk.subjects().is_empty());
}

#[tokio::test]
async fn late_exception_of_a_deleted_series_brings_nothing_back() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &weekly(json!({}))).await;
    desk.told("event.deleted", &ids("m1", 1_772_352_000)).await;
    let late = json!({"id": SECOND, "master_event_id": "m1", "original_start_time": 1_772_964_000, "ical_uid": "s1",
        "updated_at": 1_772_351_000});
    assert_eq!(desk.decides("event.updated", &event(late)).await, "skipped: deleted with its series");
    assert!(desk.keys().is_empty());
}

#[tokio::test]
async fn late_news_of_a_series_that_is_one_event_by_now_lays_nothing_out() {
    for told in [[0, 2, 1], [2, 0, 1], [1, 2, 0], [2, 1, 0]] {
        let desk = Desk::new(Scope::Prospects);
        let history = [
            weekly(json!({})),
            weekly(json!({"title": "edited", "updated_at": 1_772_351_000})),
            weekly(json!({"recurrence": null, "title": "once", "updated_at": 1_772_352_000})),
        ];
        desk.nylas.holds(&history[2]);
        for place in told {
            desk.told("event.updated", &history[place]).await;
        }
        assert_eq!(desk.subjects(), ["once"], "{told:?}");
    }
}

#[tokio::test]
async fn late_deletion_of_a_series_that_was_restored_removes_nothing() {
    let desk = Desk::new(Scope::Prospects);
    desk.told("event.created", &weekly(json!({}))).await;
    desk.told("event.updated", &weekly(json!({"updated_at": 1_772_353_000, "title": "restored"}))).await;
    desk.told("event.deleted", &ids("m1", 1_772_352_000)).await;
    assert_eq!(desk.keys().len(), 3);
    desk.told("event.deleted", &ids("m1", 1_772_354_000)).await;
    assert!(desk.keys().is_empty());
}

#[tokio::test]
async fn long_series_without_a_time_of_change_is_laid_out_to_its_end() {
    let desk = Desk::new(Scope::Prospects);
    let daily = series(json!({"recurrence": ["RRULE:FREQ=DAILY;COUNT=50"], "updated_at": null}));
    desk.nylas.holds(&daily);
    desk.told("event.created", &daily).await;
    assert_eq!(desk.work_off().await, 2);
    assert_eq!(desk.keys().len(), 50);
}

#[tokio::test]
async fn series_made_public_is_shown_with_its_exceptions() {
    let desk = Desk::new(Scope::Prospects);
    let exception = |fields: Value| {
        let mut exception = event(json!({"id": SECOND, "master_event_id": "m1", "original_start_time": 1_772_964_000,
            "ical_uid": "s1", "title": "elsewhere", "updated_at": 1_772_351_000}));
        let (Some(object), Value::Object(fields)) = (exception.as_object_mut(), fields) else { panic!("objects") };
        object.extend(fields);
        exception
    };
    desk.told("event.created", &weekly(json!({"visibility": "private"}))).await;
    desk.told("event.updated", &exception(json!({"visibility": "private"}))).await;
    assert!(desk.keys().is_empty());
    let public = exception(json!({"updated_at": 1_772_352_000}));
    desk.nylas.holds(&public);
    desk.told("event.updated", &public).await;
    desk.told("event.updated", &weekly(json!({"updated_at": 1_772_352_000}))).await;
    assert_eq!(desk.subjects(), ["Pilot", "elsewhere", "Pilot"]);
}

#[tokio::test]
async fn series_whose_rule_cannot_be_read_is_given_up_once_and_not_found_again_every_night() {
    let desk = Desk::new(Scope::Prospects);
    let odd = weekly(json!({"recurrence": ["RRULE:FREQ=SOMETIMES"], "updated_at": NOW - 100}));
    desk.nylas.holds(&odd);
    let night = |run: &str| json!({"type": "reconcile", "grant_id": "g1", "run": run}).to_string();
    desk.receives(&night("r1")).await.expect("a decision");
    let found = desk.queue.sent().into_iter().find(|message| message.body.contains("event.updated")).expect("found");
    let failure = desk.receives(&found.body).await.expect_err("unreadable");
    assert_eq!(failure.class(), "event.series");
    let before = desk.queue.sent().len();
    desk.receives(&night("r2")).await.expect("a decision");
    let again = desk.queue.sent().split_off(before);
    assert!(again.iter().all(|message| !message.body.contains("event.updated")), "{again:?}");
}

#[tokio::test]
async fn event_that_was_cancelled_before_anything_was_heard_of_it_is_backfilled_as_nothing() {
    let desk = Desk::new(Scope::Prospects);
    let when = json!({"object": "timespan", "start_time": NOW - 3600, "end_time": NOW - 1800});
    desk.nylas.holds(&event(json!({"status": "cancelled", "when": when})));
    desk.receives(r#"{"type":"calendar.backfill","grant_id":"g1","calendar_id":"primary"}"#).await.expect("a decision");
    assert!(desk.keys().is_empty());
}

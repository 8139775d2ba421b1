//! Backfill, reconciling and lost accounts: everything is found, nothing is done twice, and what cannot be done is said.

use super::*;
use shared::engine::progress::{Progress, progress, run_key};
use shared::engine::watermark::{advance_watermark, watermark};

const DAY: i64 = 24 * 60 * 60;

impl Desk {
    /// Works off the queue from this job on, as the event source would, until nothing is left.
    async fn run(&self, job: &Value) -> Progress {
        let first = self.queue.sent().len();
        self.receives(&job.to_string()).await.expect("a decision");
        let mut done = first;
        while let Some(message) = self.queue.sent().get(done).cloned() {
            self.receives(&message.body).await.expect("a decision");
            done += 1;
        }
        let run = format!("{}/{}", job["run"].as_str().expect("a run"), job["grant_id"].as_str().expect("a grant"));
        progress(&self.links, &run_key(crate::FUNCTION, &run)).await.expect("a store").expect("a run")
    }

    fn listed(&self) -> Vec<String> {
        self.nylas.listed.lock().expect("a lock").clone()
    }

    fn calendar_holds(&self, id: &str, start: i64, fields: Value) {
        let when = json!({"object": "timespan", "start_time": start, "end_time": start + 1800});
        let mut held = event(json!({"id": id, "ical_uid": id, "title": id, "when": when, "updated_at": start - DAY}));
        let (Some(object), Value::Object(fields)) = (held.as_object_mut(), fields) else { panic!("objects") };
        object.extend(fields);
        self.nylas.holds(&held);
    }

    async fn mark(&self) -> Option<i64> {
        let grant = GrantId::parse("g1").expect("a grant");
        let mark = watermark(&self.links, crate::FUNCTION, &grant).await.expect("a store");
        mark.map(Timestamp::as_second)
    }
}

fn backfill(fields: Value) -> Value {
    let mut job = json!({"type": "calendar.backfill", "grant_id": "g1", "run": "b1"});
    let (Some(object), Value::Object(fields)) = (job.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    job
}

fn reconcile(run: &str) -> Value {
    json!({"type": "reconcile", "grant_id": "g1", "run": run})
}

fn count(progress: &Progress, name: &str) -> u64 {
    progress.counts.get(name).copied().unwrap_or_default()
}

#[tokio::test]
async fn backfill_goes_through_every_calendar_of_its_own_page_by_page() {
    let desk = Desk::new(Scope::Prospects);
    for number in 0..5 {
        desk.calendar_holds(&format!("e{number}"), NOW - (number + 1) * DAY, json!({}));
    }
    desk.calendar_holds("t1", NOW - DAY, json!({"calendar_id": "team"}));
    desk.calendar_holds("h1", NOW - DAY, json!({"calendar_id": "holidays"}));
    desk.calendar_holds("old", NOW - 91 * DAY, json!({}));
    desk.calendar_holds("block", NOW - DAY, json!({"participants": []}));
    let progress = desk.run(&backfill(json!({}))).await;
    assert_eq!(desk.subjects(), ["e0", "e1", "e2", "e3", "e4", "t1"]);
    assert!(progress.ended);
    let counts = ["pages", "events", "written", "skipped", "set aside"].map(|name| count(&progress, name));
    assert_eq!(counts, [4, 7, 6, 1, 0], "three pages of the one calendar, one of the other");
    let records = desk.decisions.records();
    let block = records.iter().find(|(key, _)| key.starts_with("calendar-sync#reconcile:block:backfill.b1"));
    let decision = block.and_then(|(_, record)| record.decision.clone());
    assert_eq!(decision.map(|decision| decision.reason).as_deref(), Some("personal block"), "each has its record");
}

#[tokio::test]
async fn backfill_of_icloud_asks_for_no_more_than_six_months_at_a_time_and_for_no_cancelled_ones() {
    let desk = Desk::new(Scope::Prospects);
    desk.nylas.is_icloud.store(true, Ordering::SeqCst);
    desk.calendar_holds("e1", NOW - 390 * DAY, json!({}));
    desk.calendar_holds("e2", NOW - DAY, json!({}));
    let job = backfill(json!({"calendar_id": "primary", "start": NOW - 400 * DAY, "end": NOW}));
    desk.run(&job).await;
    assert_eq!(desk.subjects(), ["e1", "e2"]);
    let spans = desk.listed();
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|span| span.contains("show_cancelled: false")), "{spans:?}");
    assert!(spans[0].contains(&format!("end: Some({})", NOW - 220 * DAY)), "{spans:?}");
}

#[tokio::test]
async fn page_that_is_worked_on_twice_writes_nothing_twice_and_a_second_run_looks_at_everything_anew() {
    let desk = Desk::new(Scope::Prospects);
    desk.calendar_holds("e1", NOW - DAY, json!({}));
    let job = backfill(json!({})).to_string();
    for _ in 0..2 {
        desk.receives(&job).await.expect("a decision");
    }
    let progress = desk.run(&backfill(json!({}))).await;
    assert_eq!((count(&progress, "events"), count(&progress, "written")), (1, 1));
    let again = desk.run(&backfill(json!({"run": "b2"}))).await;
    assert_eq!((count(&again, "events"), count(&again, "written")), (1, 1), "merged into what stands");
    assert_eq!(*desk.crm.writes.lock().expect("a lock"), 1);
}

#[tokio::test]
async fn event_that_the_crm_refuses_is_set_aside_with_a_message_of_its_own_and_the_rest_goes_on() {
    let desk = Desk::new(Scope::Prospects);
    for id in ["e1", "e2", "refused"] {
        desk.calendar_holds(id, NOW - DAY, json!({}));
    }
    let job = backfill(json!({"calendar_id": "primary"}));
    desk.receives(&job.to_string()).await.expect("a decision");
    let last_page = desk.queue.sent().pop().expect("the next page");
    desk.receives(&last_page.body).await.expect("a decision");
    assert_eq!(desk.subjects(), ["e1", "e2"]);
    let set_aside = desk.queue.sent().pop().expect("a message");
    assert!(set_aside.body.contains("\"refused\""), "{}", set_aside.body);
    let failure = desk.receives(&set_aside.body).await.expect_err("it ends in the dead-letter queue");
    assert_eq!(failure.class(), "crm.rejected");
}

#[tokio::test]
async fn backfill_of_an_account_out_of_reach_says_so_and_ends() {
    let desk = Desk::new(Scope::Prospects);
    desk.nylas.out_of_reach.store(true, Ordering::SeqCst);
    let progress = desk.run(&backfill(json!({}))).await;
    assert!(progress.ended && progress.problem.is_some_and(|problem| problem.contains("expired")));
}

#[tokio::test]
async fn jobs_that_say_nonsense_are_buried_with_what_they_should_say() {
    let desk = Desk::new(Scope::Prospects);
    for nonsense in [
        json!({"type": "calendar.backfill"}),
        backfill(json!({"grant_id": ""})),
        backfill(json!({"start": "yesterday"})),
        backfill(json!({"start": NOW, "end": NOW - 1})),
        json!({"type": "reconcile", "grant_id": "g1", "from": "yesterday"}),
    ] {
        let failure = desk.receives(&nonsense.to_string()).await.expect_err("nonsense");
        assert!(matches!(&failure, Failure::Permanent { class: "body.unreadable", .. }), "{failure:?}");
    }
}

#[tokio::test]
async fn reconcile_queues_what_is_unknown_once_and_nothing_that_is_known() {
    let desk = Desk::new(Scope::Prospects);
    let known = event(json!({"id": "known", "ical_uid": "known", "title": "known", "updated_at": NOW - 600}));
    desk.nylas.holds(&known);
    desk.told("event.created", &known).await;
    desk.calendar_holds("missed", NOW + DAY, json!({"updated_at": NOW - 300}));
    desk.calendar_holds("long ago", NOW - 20 * DAY, json!({"updated_at": NOW - 21 * DAY}));
    let progress = desk.run(&reconcile("r1")).await;
    assert_eq!(desk.subjects(), ["known", "long ago", "missed"]);
    assert_eq!(count(&progress, "recovered"), 2, "one was changed lately, one only lies around now");
    assert_eq!(desk.mark().await, Some(NOW));
    let again = desk.run(&reconcile("r2")).await;
    assert_eq!(count(&again, "recovered"), 0);
}

#[tokio::test]
async fn providers_that_do_not_tell_when_events_changed_are_looked_through_around_now() {
    let desk = Desk::new(Scope::Prospects);
    desk.nylas.is_icloud.store(true, Ordering::SeqCst);
    desk.calendar_holds("soon", NOW + 29 * DAY, json!({}));
    desk.calendar_holds("later", NOW + 31 * DAY, json!({}));
    desk.run(&reconcile("r1")).await;
    assert_eq!(desk.subjects(), ["soon"]);
    assert!(desk.listed().iter().all(|asked| asked.contains("updated_after: None")), "{:?}", desk.listed());
}

#[tokio::test]
async fn event_that_has_vanished_since_the_last_night_is_deleted_and_one_that_was_moved_away_is_not() {
    let desk = Desk::new(Scope::Prospects);
    for id in ["vanishing", "moving", "staying"] {
        desk.calendar_holds(id, NOW + DAY, json!({}));
    }
    desk.run(&reconcile("r1")).await;
    assert_eq!(desk.subjects().len(), 3);
    desk.nylas.loses("g1", "vanishing");
    desk.calendar_holds("moving", NOW + 60 * DAY, json!({"updated_at": NOW - 2 * DAY}));
    let progress = desk.run(&reconcile("r2")).await;
    assert_eq!(desk.subjects(), ["moving", "staying"]);
    assert_eq!(count(&progress, "recovered"), 1);
}

#[tokio::test]
async fn series_that_was_laid_out_long_ago_is_laid_out_further() {
    let desk = Desk::new(Scope::Prospects);
    let weekly = event(json!({"id": "m1", "ical_uid": "s1", "recurrence": ["RRULE:FREQ=WEEKLY"],
        "when": {"object": "timespan", "start_time": NOW - 70 * DAY, "end_time": NOW - 70 * DAY + 1800}}));
    desk.nylas.holds(&weekly);
    desk.told("event.created", &weekly).await;
    desk.work_off().await;
    let before = desk.subjects().len();
    desk.run(&reconcile("r1")).await;
    assert_eq!(desk.subjects().len(), before, "far enough");
    *desk.now.lock().expect("a lock") = NOW + 40 * DAY;
    // The stand-in lists a series by its first occurrence alone.
    desk.nylas.holds(&event(json!({"id": "m1", "ical_uid": "s1", "recurrence": ["RRULE:FREQ=WEEKLY"],
        "when": {"object": "timespan", "start_time": NOW + 14 * DAY, "end_time": NOW + 14 * DAY + 1800}})));
    desk.run(&reconcile("r2")).await;
    assert!(desk.subjects().len() > before, "{} as before", desk.subjects().len());
}

#[tokio::test]
async fn account_out_of_reach_is_held_and_its_watermark_stays_where_looking_has_to_begin() {
    let desk = Desk::new(Scope::Prospects);
    desk.nylas.out_of_reach.store(true, Ordering::SeqCst);
    let decision = desk.receives(&reconcile("r1").to_string()).await.expect("a decision");
    assert_eq!(decision.to_string(), "held: reconcile: the account is out of reach");
    assert_eq!(desk.mark().await, Some(NOW - DAY));
}

#[tokio::test]
async fn meeting_of_a_stranger_waits_and_is_written_once_the_stranger_is_a_contact() {
    let desk = Desk::new(Scope::Prospects);
    let people = json!([{"email": "ines@northwind.example"}, {"email": "new@acme.example"}]);
    desk.calendar_holds("e1", NOW + DAY, json!({"participants": people}));
    desk.run(&backfill(json!({"start": NOW, "end": NOW + 2 * DAY}))).await;
    assert!(desk.subjects().is_empty());
    desk.crm.knows("new@acme.example", "c2");
    desk.run(&reconcile("r1")).await;
    assert_eq!(desk.subjects(), ["e1"], "also what a backfill has decided waits");
}

#[tokio::test]
async fn job_without_a_grant_becomes_one_for_each_account_that_has_calendars_and_can_be_reached() {
    let desk = Desk::new(Scope::Prospects);
    for (id, provider, status) in
        [("g1", "google", "valid"), ("g2", "imap", "valid"), ("g3", "microsoft", "invalid"), ("g4", "icloud", "valid")]
    {
        desk.nylas.grants.lock().expect("a lock").push(Grant {
            id: id.to_owned(),
            email: None,
            provider: Some(provider.to_owned()),
            grant_status: Some(status.to_owned()),
        });
    }
    let decision = desk.receives(r#"{"type":"reconcile"}"#).await.expect("a decision");
    assert_eq!((&decision.facts["accounts"], &decision.facts["expired"]), (&json!(2), &json!(1)));
}

fn news(kind: &str, at: i64, fields: Value) -> String {
    let mut object = json!({"grant_id": "g1", "provider": "google", "email": "ines@northwind.example"});
    let (Some(own), Value::Object(fields)) = (object.as_object_mut(), fields) else { panic!("objects") };
    own.extend(fields);
    json!({"specversion": "1.0", "type": kind, "source": "/nylas/system", "id": format!("{kind}{at}"), "time": at,
        "data": {"application_id": "a", "object": object}})
    .to_string()
}

#[tokio::test]
async fn lost_account_is_told_of_once_and_the_gap_begins_where_it_was_lost() {
    let desk = Desk::new(Scope::Prospects);
    let told = async |text: &str| desk.receives(text).await.expect("a decision").to_string();
    assert_eq!(told(&news("grant.expired", NOW - 500, json!({}))).await, "done: account expired: told");
    assert_eq!(told(&news("grant.expired", NOW - 400, json!({}))).await, "skipped: account expired: told before");
    let texts = desk.told.0.lock().expect("a lock").clone();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].contains("ines@northwind.example (google)") && texts[0].contains("connect it again"), "{texts:?}");
    assert_eq!(desk.mark().await, Some(NOW - 500));
}

#[tokio::test]
async fn account_that_is_back_has_its_meetings_its_mail_and_its_notes_looked_for() {
    let desk = Desk::new(Scope::Prospects);
    let told = async |text: &str| desk.receives(text).await.expect("a decision").to_string();
    told(&news("grant.expired", NOW - 500, json!({}))).await;
    let back = news("grant.updated", NOW - 100, json!({"reauthentication_flag": true}));
    assert_eq!(told(&back).await, "done: account is back: what was missed is looked for");
    for sent in [desk.queue.sent(), desk.mail_queue.sent(), desk.notetaker_queue.sent(), desk.ticket_queue.sent()] {
        assert_eq!(sent.len(), 1);
        assert!(sent[0].body.contains("\"reconcile\"") && sent[0].body.contains("\"g1\""), "{}", sent[0].body);
    }
    let late = news("grant.expired", NOW - 300, json!({}));
    assert_eq!(told(&late).await, "skipped: older than what is known of the account");
    assert_eq!(desk.told.0.lock().expect("a lock").len(), 1);
    told(&news("grant.updated", NOW - 50, json!({"reauthentication_flag": false}))).await;
    assert_eq!(desk.queue.sent().len(), 1, "nothing was missed");
}

#[tokio::test]
async fn new_account_begins_its_watermark_and_one_that_has_one_keeps_it() {
    let desk = Desk::new(Scope::Prospects);
    desk.receives(&news("grant.created", NOW - 500, json!({}))).await.expect("a decision");
    assert_eq!(desk.mark().await, Some(NOW - 500));
    let grant = GrantId::parse("g1").expect("a grant");
    let at = |second: i64| Timestamp::from_second(second).expect("a time");
    advance_watermark(&desk.links, crate::FUNCTION, &grant, at(NOW - 200), at(NOW)).await.expect("written");
    desk.receives(&news("grant.updated", NOW - 100, json!({}))).await.expect("a decision");
    assert_eq!(desk.mark().await, Some(NOW - 200));
}

#[tokio::test]
async fn news_of_an_account_that_says_nothing_of_its_connection_hides_no_expiry() {
    let desk = Desk::new(Scope::Prospects);
    desk.receives(&news("grant.updated", NOW - 100, json!({"reauthentication_flag": false})))
        .await
        .expect("a decision");
    let expired = news("grant.expired", NOW - 200, json!({}));
    assert_eq!(desk.receives(&expired).await.expect("a decision").to_string(), "done: account expired: told");
    let other = news("grant.updated", NOW - 50, json!({"reauthentication_flag": false}));
    let decision = desk.receives(&other).await.expect("a decision").to_string();
    assert_eq!(decision, "skipped: something else about an account that has expired");
}

#[tokio::test]
async fn alert_that_cannot_be_delivered_costs_neither_the_alarm_nor_the_news_behind_it() {
    let desk = Desk::new(Scope::Prospects);
    desk.told.1.store(true, Ordering::SeqCst);
    let decision = desk.receives(&news("grant.expired", NOW - 500, json!({}))).await.expect("a decision");
    assert!(decision.facts["by"].as_str().is_some_and(|by| by.starts_with("log alone")), "{decision:?}");
    let back = news("grant.updated", NOW - 100, json!({"reauthentication_flag": true}));
    let decision = desk.receives(&back).await.expect("a decision").to_string();
    assert_eq!(decision, "done: account is back: what was missed is looked for");
}

#[tokio::test]
async fn account_that_nylas_does_not_know_is_named_as_what_it_is() {
    let desk = Desk::new(Scope::Prospects);
    for job in [
        json!({"type": "reconcile", "grant_id": "nobody", "run": "x"}),
        json!({"type": "calendar.backfill", "grant_id": "nobody", "run": "y"}),
    ] {
        let progress = desk.run(&job).await;
        assert!(progress.ended);
        let problem = progress.problem.expect("a problem");
        assert_eq!(problem, "Nylas knows no account nobody: look its grant id up in the dashboard");
    }
}

//! Reconciling: what was missed is found, what waits is tried again, and a job that is done twice does nothing more.

use super::*;
use shared::domain::notification::NotificationId;
use shared::engine::{About, Claim, ClaimRequest, LeaseKey, Leases as _, OwnMessage};

const NOW: i64 = 1_772_359_999;

fn job(fields: Value) -> Value {
    let mut job = json!({"type": "reconcile"});
    let (Some(object), Value::Object(fields)) = (job.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    job
}

impl Desk {
    async fn run(&self, job: &Value) -> Decision {
        self.process(&work_of(&job.to_string())).await.expect("a decision")
    }

    /// Works off the queue as the event source would, job by job, until nothing is left; mails are only counted.
    async fn run_to_the_end(&self, first: &Value) -> Vec<OwnMessage> {
        self.run(first).await;
        let mut done = 0;
        loop {
            let sent = self.queue.sent();
            let Some(message) = sent.get(done) else {
                return sent.into_iter().filter(|message| message.body.contains("message.created")).collect();
            };
            if message.body.contains("\"reconcile\"") {
                self.run(&serde_json::from_str(&message.body).expect("a job")).await;
            }
            done += 1;
        }
    }

    async fn record(&self, notification: &str, object: &str, decision: &Decision) {
        let at = jiff::Timestamp::from_second(NOW - 3600).expect("a time");
        let notification = NotificationId::parse(notification).expect("an id");
        let about = About {
            function: crate::FUNCTION,
            notification: notification.clone(),
            trigger: "message.created".to_owned(),
            grant: Some("g1".to_owned()),
            object: object.to_owned(),
        };
        let key = LeaseKey::new(crate::FUNCTION, &notification);
        let request =
            ClaimRequest { key: &key, about: &about, content: "x", now: at, until: at, queued_at: at, trace: None };
        let Ok(Claim::Granted(lease)) = self.decisions.claim(&request).await else { panic!("no lease") };
        self.decisions.complete(&lease, decision, at).await.expect("recorded");
    }
}

fn ids(messages: &[OwnMessage]) -> Vec<String> {
    let id = |message: &OwnMessage| {
        serde_json::from_str::<Value>(&message.body).expect("JSON")["id"].as_str().map(str::to_owned)
    };
    messages.iter().filter_map(id).collect()
}

#[tokio::test]
async fn job_without_a_grant_becomes_one_for_each_mailbox_that_has_mail_and_can_be_reached() {
    let desk = Desk::new();
    for (id, provider) in [("g2", "imap"), ("support", "google"), ("calendar", "virtual-calendar"), ("g3", "microsoft")]
    {
        desk.nylas.connects(id, provider, "x@northwind.example");
    }
    desk.nylas.grants.lock().expect("not poisoned")[4].grant_status = Some("invalid".to_owned());
    let decision = desk.run(&job(json!({"except_grant_ids": "support, other"}))).await;
    assert_eq!(
        (decision.outcome.as_str(), &decision.facts["mailboxes"], &decision.facts["expired"]),
        ("done", &json!(2), &json!(1))
    );
    let sent = desk.queue.sent();
    let grants: Vec<Value> = sent
        .iter()
        .map(|message| serde_json::from_str::<Value>(&message.body).expect("a job")["grant_id"].clone())
        .collect();
    assert_eq!(grants, ["g1", "g2"]);
    assert_ne!(sent[0].group, sent[1].group, "mailboxes do not wait for one another");
    desk.run(&job(json!({"except_grant_ids": "support, other"}))).await;
    assert_eq!(desk.queue.sent().len(), 2, "the same night twice is one job a mailbox");
}

#[tokio::test]
async fn mail_without_a_record_goes_the_ordinary_way_page_by_page_and_seen_mail_does_not() {
    let desk = Desk::new();
    desk.nylas.page_size.store(2, Ordering::SeqCst);
    for (id, date) in
        [("m1", NOW - 100), ("m2", NOW - 200), ("m3", NOW - 300), ("m4", NOW - 400), ("old", NOW - 90_000)]
    {
        desk.nylas.holds("g1", mail_with(json!({"id": id, "date": date})));
    }
    desk.record("n2", "m2", &Decision::skipped("internal mail")).await;
    let sent = desk.run_to_the_end(&job(json!({"grant_id": "g1"}))).await;
    let expected: Vec<String> = [("m1", 100), ("m3", 300), ("m4", 400)]
        .map(|(id, ago)| format!("reconcile:{id}:{}.{}", NOW - ago, NOW * 1000))
        .to_vec();
    assert_eq!(ids(&sent), expected);
    let grant = GrantId::parse("g1").expect("a grant");
    let mark = shared::engine::watermark::watermark(&desk.links, crate::FUNCTION, &grant).await.expect("a store");
    assert_eq!(mark.map(jiff::Timestamp::as_second), Some(NOW), "also where the first run has several pages");
    let decision = desk.process(&work_of(&sent[0].body)).await.expect("a decision");
    assert_eq!(decision.to_string(), "logged: known contact", "and is fetched and logged as any other");
}

#[tokio::test]
async fn watermark_never_moves_into_the_future_whatever_end_a_person_names() {
    let desk = Desk::new();
    let grant = GrantId::parse("g1").expect("a grant");
    desk.run_to_the_end(&job(json!({"grant_id": "g1"}))).await;
    desk.run_to_the_end(&job(json!({"grant_id": "g1", "from": NOW - 3600, "to": NOW + 432_000}))).await;
    let mark = shared::engine::watermark::watermark(&desk.links, crate::FUNCTION, &grant).await.expect("a store");
    assert_eq!(mark.map(jiff::Timestamp::as_second), Some(NOW));
    desk.run(&job(json!({"to": NOW + 432_000, "except_grant_ids": ""}))).await;
    let sent = desk.queue.sent();
    let of_all: Value = serde_json::from_str(&sent.last().expect("a job").body).expect("JSON");
    assert_eq!(of_all["to"], json!(NOW), "nor for all mailboxes");
}

#[tokio::test]
async fn watermark_moves_to_the_end_of_what_was_looked_through_and_never_over_a_gap() {
    let desk = Desk::new();
    let grant = GrantId::parse("g1").expect("a grant");
    let mark =
        async || shared::engine::watermark::watermark(&desk.links, crate::FUNCTION, &grant).await.expect("a store");
    desk.run_to_the_end(&job(json!({"grant_id": "g1", "from": NOW - 500, "to": NOW - 400}))).await;
    assert_eq!(mark().await, None, "a span by hand says nothing about what was before it");
    desk.run_to_the_end(&job(json!({"grant_id": "g1", "to": NOW - 300}))).await;
    assert_eq!(mark().await.map(jiff::Timestamp::as_second), Some(NOW - 300));
    desk.run_to_the_end(&job(json!({"grant_id": "g1", "from": NOW - 100, "to": NOW - 50}))).await;
    assert_eq!(mark().await.map(jiff::Timestamp::as_second), Some(NOW - 300), "there is a gap");
    desk.run_to_the_end(&job(json!({"grant_id": "g1", "from": NOW - 350, "to": NOW - 200}))).await;
    assert_eq!(mark().await.map(jiff::Timestamp::as_second), Some(NOW - 200));
}

#[tokio::test]
async fn span_reaches_back_an_hour_before_the_watermark_for_what_came_late() {
    let desk = Desk::new();
    desk.run_to_the_end(&job(json!({"grant_id": "g1", "to": NOW - 100}))).await;
    desk.nylas.page_size.store(10, Ordering::SeqCst);
    desk.nylas.holds("g1", mail_with(json!({"id": "late", "date": NOW - 3000})));
    let sent = desk.run_to_the_end(&job(json!({"grant_id": "g1"}))).await;
    assert_eq!(ids(&sent), [format!("reconcile:late:{}.{}", NOW - 3000, NOW * 1000)]);
}

#[tokio::test]
async fn mailbox_out_of_reach_is_held_and_its_watermark_stays_where_looking_has_to_begin() {
    let desk = Desk::new();
    desk.nylas.out_of_reach.store(true, Ordering::SeqCst);
    let decision = desk.run(&job(json!({"grant_id": "g1"}))).await;
    assert_eq!(decision.to_string(), "held: reconcile: the mailbox is out of reach");
    let grant = GrantId::parse("g1").expect("a grant");
    let mark =
        async || shared::engine::watermark::watermark(&desk.links, crate::FUNCTION, &grant).await.expect("a store");
    let begin = mark().await.map(jiff::Timestamp::as_second);
    assert_eq!(begin, Some(NOW - 24 * 3600), "so that nothing is forgotten however long it takes");
    desk.run(&job(json!({"grant_id": "g1", "to": NOW + 3600}))).await;
    assert_eq!(mark().await.map(jiff::Timestamp::as_second), begin);
}

#[tokio::test]
async fn mail_of_a_stranger_is_logged_once_the_stranger_is_a_contact() {
    let desk = Desk::new();
    let stranger = mail_with(json!({"id": "m9", "from": [{"email": "nobody@else.example"}], "date": NOW - 7200}));
    desk.nylas.holds("g1", stranger.clone());
    let decision = desk.decide("n9", "message.created", &stranger).await;
    desk.record("n9", "m9", &decision).await;
    let sent = desk.run_to_the_end(&job(json!({"grant_id": "g1", "to": NOW - 50}))).await;
    assert_eq!(ids(&sent), [""; 0], "nobody knows the stranger yet");
    desk.crm.knows("nobody@else.example", contact("c9", None));
    let sent = desk.run_to_the_end(&job(json!({"grant_id": "g1", "to": NOW - 40}))).await;
    assert_eq!(ids(&sent).len(), 1);
    assert_eq!(desk.process(&work_of(&sent[0].body)).await.expect("a decision").to_string(), "logged: known contact");
    let sent = desk.run_to_the_end(&job(json!({"grant_id": "g1", "to": NOW - 30}))).await;
    assert_eq!(sent.len(), 1, "and it waits no longer");
}

#[tokio::test]
async fn second_run_by_hand_lists_everything_anew_and_one_run_does_nothing_twice() {
    let desk = Desk::new();
    let by_hand = json!({"type": "reconcile", "grant_id": "g1", "from": NOW - 500, "to": NOW - 100}).to_string();
    let mut first = work_of(&by_hand);
    desk.process(&first).await.expect("done");
    desk.process(&first).await.expect("done");
    assert_eq!(desk.queue.sent().len(), 1, "a retry of the same message");
    first.sent_at = jiff::Timestamp::from_second(NOW + 60).expect("a time");
    desk.process(&first).await.expect("done");
    assert_eq!(desk.queue.sent().len(), 2, "another message is another run");
}

#[tokio::test]
async fn many_waiting_decisions_are_looked_at_in_several_jobs() {
    let desk = Desk::new();
    for number in 0..45 {
        let waits = Decision::skipped("no known contact").waiting_for(vec![format!("p{number}@else.example")]);
        desk.record(&format!("n{number}"), &format!("m{number}"), &waits).await;
    }
    desk.crm.knows("p44@else.example", contact("c44", None));
    let sent = desk.run_to_the_end(&job(json!({"grant_id": "g1"}))).await;
    assert_eq!(sent.len(), 1);
    let mut lookups = desk.crm.lookups.lock().expect("not poisoned").clone();
    lookups.sort();
    lookups.dedup();
    assert_eq!(lookups.len(), 45, "each was looked at");
}

#[tokio::test]
async fn job_that_says_nonsense_is_buried_with_what_it_should_say() {
    let desk = Desk::new();
    for nonsense in [json!({"grant_id": "g1", "from": "yesterday"}), json!({"grant_id": ""}), json!({})] {
        let failure = desk.process(&work_of(&job(nonsense).to_string())).await.expect_err("nonsense");
        assert!(matches!(&failure, Failure::Permanent { class: "body.unreadable", .. }), "{failure:?}");
    }
    let backwards = desk.run(&job(json!({"grant_id": "g1", "from": NOW, "to": NOW - 1}))).await;
    assert_eq!(backwards.to_string(), "skipped: reconcile: nothing between from and to");
}

#[tokio::test]
async fn job_for_one_mailbox_that_the_nightly_one_leaves_out_is_left_out_too() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail_with(json!({"id": "m1", "date": NOW - 100})));
    desk.run(&job(json!({"except_grant_ids": "support, g1"}))).await;
    let decision = desk.run(&job(json!({"grant_id": "g1"}))).await;
    assert_eq!(decision.to_string(), "skipped: reconcile: a support mailbox, whose mail is ticket-triage's");
    desk.run(&job(json!({"except_grant_ids": "support"}))).await;
    let decision = desk.run(&job(json!({"grant_id": "g1"}))).await;
    assert_eq!(decision.to_string(), "done: reconcile: a page of mail");
}

//! Reconciling: what was missed in a support mailbox is found, and nobody else's mail is taken for support mail.

use super::*;
use shared::domain::notification::NotificationId;
use shared::engine::{About, Claim, ClaimRequest, LeaseKey, Leases as _, OwnMessage};

fn job(fields: Value) -> Value {
    let mut job = json!({"type": "reconcile"});
    let (Some(object), Value::Object(fields)) = (job.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    job
}

fn body(message: &OwnMessage) -> Value {
    serde_json::from_str(&message.body).expect("JSON")
}

impl Desk {
    async fn run(&self, fields: Value) -> Decision {
        self.process(&job(fields)).await.expect("a decision")
    }

    /// Works the jobs in the queue off, each once, and answers the notifications beside them.
    async fn works_off(&self) -> Vec<Value> {
        let (mut done, mut found) = (0, Vec::new());
        while let Some(message) = self.queue.sent().get(done) {
            let body = body(message);
            if body["type"] == "reconcile" {
                self.process(&body).await.expect("a decision");
            } else {
                found.push(body);
            }
            done += 1;
        }
        found
    }

    async fn has_decided(&self, object: &str, decision: &Decision) {
        let at = Timestamp::from_second(NOW - MINUTE).expect("a time");
        let notification = NotificationId::parse(object).expect("an id");
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

#[tokio::test]
async fn job_for_all_becomes_one_for_each_support_mailbox_that_can_be_reached_and_none_for_others() {
    let desk = Desk::new();
    desk.nylas.connects("sales", "google", "sales@northwind.example", "valid");
    desk.nylas.connects("g3", "google", "old@northwind.example", "invalid");
    let decision = desk.run(json!({"only_grant_ids": "g1, g2 ,g3"})).await;
    assert_eq!(decision.to_string(), "done: reconcile: one job a support mailbox");
    assert_eq!((&decision.facts["mailboxes"], &decision.facts["expired"]), (&json!(2), &json!(1)));
    let mut grants: Vec<String> =
        desk.queue.sent().iter().map(|message| body(message)["grant_id"].to_string()).collect();
    grants.sort();
    assert_eq!(grants, ["\"g1\"", "\"g2\""]);
    desk.run(json!({"only_grant_ids": "g1, g2 ,g3"})).await;
    assert_eq!(desk.queue.sent().len(), 2, "the same night twice is one job a mailbox");
}

#[tokio::test]
async fn job_for_all_without_support_mailboxes_does_nothing_and_without_a_list_of_them_is_buried() {
    let desk = Desk::new();
    let decision = desk.run(json!({"only_grant_ids": ""})).await;
    assert_eq!((&decision.facts["mailboxes"], desk.queue.sent().len()), (&json!(0), 0));
    let failure = desk.process(&job(json!({}))).await.expect_err("everybody's mail");
    assert!(matches!(failure, Failure::Permanent { class: "body.unreadable", .. }), "{failure:?}");
    for nonsense in [json!({"grant_id": "g1", "from": "yesterday"}), json!({"grant_id": ""})] {
        let failure = desk.process(&job(nonsense)).await.expect_err("nonsense");
        assert!(matches!(failure, Failure::Permanent { class: "body.unreadable", .. }), "{failure:?}");
    }
}

#[tokio::test]
async fn mail_that_was_missed_is_found_page_by_page_and_becomes_a_ticket() {
    let desk = Desk::new();
    for number in 1..=5 {
        let (id, date) = (format!("m{number}"), NOW - 100 * number);
        desk.nylas.holds(&mail(json!({"id": id, "thread_id": id, "date": date})));
    }
    desk.nylas.holds(&mail(json!({"id": "old", "date": NOW - 2 * DAY})));
    desk.nylas.holds(&mail(json!({"id": "other", "grant_id": "sales"})));
    desk.has_decided("m2", &Decision::skipped("own address")).await;
    desk.has_decided("m3", &Decision::skipped("draft").for_now()).await;
    let decision = desk.run(json!({"only_grant_ids": "g1"})).await;
    assert_eq!(decision.facts["mailboxes"], 1);
    let found = desk.works_off().await;
    let mut ids: Vec<&str> = found.iter().filter_map(|one| one["data"]["object"]["id"].as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["m1", "m3", "m4", "m5"], "a draft may have been sent since");
    for notification in &found {
        let decision = desk.process(notification).await.expect("a decision");
        assert_eq!(decision.to_string(), "logged: a new ticket");
    }
    assert_eq!(desk.tickets.opened().len(), 4);
    let run = desk.links.written().into_iter().rfind(|link| link.contains("run#ticket-triage/")).expect("a run");
    assert!(run.contains("\"ended\":true"), "{run}");
}

#[tokio::test]
async fn mail_that_was_found_and_is_notified_of_later_is_one_ticket() {
    let desk = Desk::new();
    desk.nylas.holds(&mail(json!({})));
    desk.run(json!({"only_grant_ids": "g1"})).await;
    let found = desk.works_off().await;
    desk.process(&found[0]).await.expect("a decision");
    assert_eq!(desk.receives("n1", &mail(json!({}))).await.to_string(), "merged: notified again");
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn job_for_a_mailbox_that_is_no_support_mailbox_is_refused_in_words() {
    let desk = Desk::new();
    desk.nylas.holds(&mail(json!({"grant_id": "sales"})));
    let refused = "skipped: reconcile: not a support mailbox, whose mail is email-activity's";
    for fields in [json!({"grant_id": "sales"}), json!({"grant_id": "sales", "only_grant_ids": "g1,sales2"})] {
        assert_eq!(desk.run(fields).await.to_string(), refused);
    }
    desk.run(json!({"only_grant_ids": "g1"})).await;
    assert_eq!(desk.run(json!({"grant_id": "sales"})).await.to_string(), refused);
    let noted = desk.links.written().into_iter().rfind(|link| link.contains("/sales\"")).expect("a note");
    assert!(noted.contains("not a support mailbox, as far as the last nightly run knew"), "{noted}");
    assert_eq!(desk.run(json!({"grant_id": "g1"})).await.to_string(), "done: reconcile: a page of mail");
    desk.run(json!({"only_grant_ids": "g2"})).await;
    assert_eq!(desk.run(json!({"grant_id": "g1"})).await.to_string(), refused, "it was taken off the list");
    assert!(desk.tickets.opened().is_empty());
}

#[tokio::test]
async fn mail_of_the_team_that_was_not_delivered_is_told_with_its_ticket() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    desk.receives("n2", &sent_to("dana@acme.example")).await;
    let told = async |kind: &str, object: Value| {
        desk.process(&json!({"type": kind, "id": "n3", "data": {"object": object}})).await.expect("a decision")
    };
    for object in [
        json!({"grant_id": "g1", "type": "hard_bounce", "origin": {"id": "s1", "mime_id": "<s1@mail.example>"}}),
        json!({"grant_id": "g1", "mime_id": "s1@mail.example"}),
    ] {
        let decision = told("message.bounce_detected", object).await;
        assert_eq!(decision.to_string(), "skipped: a mail of the team was not delivered");
        assert_eq!(decision.facts["ticket"], "T-1");
    }
    for object in
        [Value::Null, json!({}), json!({"origin": {"mime_id": "<>"}}), json!({"origin": {"mime_id": "<x@y.example>"}})]
    {
        let decision = told("message.send_failed", object.clone()).await;
        assert_eq!((decision.outcome.as_str(), decision.facts.len()), ("skipped", 0), "{object}");
    }
    assert_eq!((desk.tickets.opened().len(), desk.tickets.comments().len()), (1, 0));
}

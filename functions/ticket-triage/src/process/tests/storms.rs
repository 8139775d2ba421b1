//! People are told of incidents one by one, and of a storm of them by one summary that counts.

use super::*;

/// An incident of this number, in a thread of its own.
fn incident(number: usize, fields: Value) -> Value {
    let id = format!("m{number}");
    let mut incident = mail(json!({"id": id, "thread_id": format!("t{number}"), "subject": "API is down"}));
    let (Some(object), Value::Object(fields)) = (incident.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    incident
}

impl Desk {
    async fn storms(&self, numbers: std::ops::Range<usize>) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for number in numbers {
            decisions.push(self.receives(&format!("n{number}"), &incident(number, json!({}))).await);
            self.turn(10);
        }
        decisions
    }

    /// The jobs whose timers have gone off by now.
    fn due(&self) -> Vec<Value> {
        let due = self.timers.set().into_iter().filter(|timer| timer.at.as_second() <= self.now());
        due.map(|timer| serde_json::from_str(&timer.message.body).expect("JSON")).collect()
    }
}

#[tokio::test]
async fn incident_is_told_with_its_subject_its_domain_what_matched_and_its_ticket_and_never_its_text() {
    let desk = Desk::new();
    let subject = "<!channel> API is down, see https://evil.example";
    let told = incident(1, json!({"subject": subject, "body": "The secret is hunter2."}));
    let decision = desk.receives("n1", &told).await;
    assert_eq!(decision.facts["alert"], "alert");
    let expected = "Incident: &lt;!channel&gt; API is down, see https:\u{200b}//evil.example\n\
                    from acme.example, matched: is down\nhttps://tickets.example/T-1";
    assert_eq!(desk.alerts.told(), [(None, expected.to_owned())]);
    desk.receives("n1", &told).await;
    desk.receives("n9", &told).await;
    assert_eq!(desk.told().len(), 1, "once");
}

#[tokio::test]
async fn mail_that_is_no_incident_is_told_to_nobody() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({"body": "The export crashes."}))).await;
    assert!(desk.told().is_empty() && desk.timers.set().is_empty());
}

#[tokio::test]
async fn eight_incidents_within_the_window_are_five_alerts_and_one_summary_that_counts() {
    let desk = Desk::new();
    let decisions = desk.storms(0..8).await;
    assert_eq!((desk.tickets.opened().len(), desk.told().len()), (8, 5));
    let due = Timestamp::from_second(NOW + 50 + 5 * MINUTE).expect("a time");
    assert_eq!(decisions[4].facts["alert"], "alert");
    for decision in &decisions[5..] {
        assert_eq!(decision.facts["alert"], format!("by the summary of {due}"));
    }
    let [timer] = &desk.timers.set()[..] else { panic!("one timer") };
    assert_eq!(timer.at, due);
    assert!(desk.due().is_empty(), "it is not due yet");
    desk.turn(5 * MINUTE);
    let [job] = &desk.due()[..] else { panic!("one job") };
    let decision = desk.process(job).await.expect("a decision");
    assert_eq!(decision.to_string(), "done: storm of incidents: one summary");
    assert_eq!((&decision.facts["incidents"], &decision.facts["desk"]), (&json!(8), &json!("on-call")));
    let told = desk.told();
    assert_eq!(told.len(), 6);
    let expected = "Storm of incidents for on-call: 8 in all, 3 of them not told one by one:\n\
                    https://tickets.example/T-6\nhttps://tickets.example/T-7\nhttps://tickets.example/T-8";
    assert_eq!(told[5], expected);
    let decision = desk.process(job).await.expect("a decision");
    assert_eq!(decision.to_string(), "skipped: storm of incidents: summed up before");
    assert_eq!(desk.told().len(), 6, "a second run tells nothing");
}

#[tokio::test]
async fn summary_that_could_not_be_told_is_told_by_the_next_try() {
    let desk = Desk::new();
    desk.storms(0..8).await;
    desk.turn(5 * MINUTE);
    let job = desk.due().remove(0);
    desk.faults.take_down("alerts.tell");
    let failure = desk.process(&job).await.expect_err("down");
    assert!(matches!(failure, Failure::Transient { class: "alert.unavailable", .. }), "{failure:?}");
    desk.faults.bring_back("alerts.tell");
    desk.process(&job).await.expect("a decision");
    assert_eq!(desk.told().len(), 6);
}

#[tokio::test]
async fn incidents_after_a_storm_are_told_one_by_one_again() {
    let desk = Desk::new();
    desk.storms(0..8).await;
    desk.turn(5 * MINUTE);
    desk.process(&desk.due()[0]).await.expect("a decision");
    desk.turn(10 * MINUTE);
    let decisions = desk.storms(20..23).await;
    assert!(decisions.iter().all(|decision| decision.facts["alert"] == "alert"));
    assert_eq!(desk.told().len(), 9);
}

#[tokio::test]
async fn incidents_of_another_desk_are_counted_by_themselves_and_told_at_its_own_address() {
    let desk = Desk::new();
    desk.storms(0..6).await;
    for number in 10..17 {
        let leaves = incident(number, json!({"subject": "We cancel our contract", "from": from("ann@other.example")}));
        desk.receives(&format!("n{number}"), &leaves).await;
    }
    let hook = Some("https://hooks.example.com/retention".to_owned());
    let told = desk.alerts.told();
    assert_eq!(told.iter().filter(|(address, _)| address.is_none()).count(), 5);
    assert_eq!(told.iter().filter(|(address, _)| *address == hook).count(), 5);
    assert_eq!(desk.timers.set().len(), 2, "each desk has its summary");
    desk.turn(10 * MINUTE);
    for job in desk.due() {
        desk.process(&job).await.expect("a decision");
    }
    let summaries = desk.alerts.told().split_off(10);
    let place_of = |desk: &str| {
        let found = summaries.iter().find(|(_, text)| text.starts_with(&format!("Storm of incidents for {desk}: ")));
        found.map(|(address, _)| address.clone())
    };
    assert_eq!((place_of("on-call"), place_of("retention")), (Some(None), Some(hook)));
}

#[tokio::test]
async fn alert_that_nobody_can_get_leaves_the_ticket_as_it_is() {
    let mut desk = Desk::new();
    desk.alerts.nobody_listens = true;
    let decision = desk.receives("n1", &incident(1, json!({}))).await;
    assert_eq!(decision.facts["alert"], "log alone: off (AlertWebhookUrl)");
    let elsewhere = desk.receives("n2", &incident(2, json!({"subject": "We cancel our contract"}))).await;
    assert_eq!(elsewhere.facts["alert"], "alert", "a desk with an address of its own is told");
}

#[tokio::test]
async fn alert_that_fails_is_tried_again_for_an_hour_and_the_ticket_is_there_meanwhile() {
    let desk = Desk::new();
    desk.faults.take_down("alerts.tell");
    let body = notified("n1", &incident(1, json!({})));
    desk.nylas.holds(&incident(1, json!({})));
    let first = work_of(&body.to_string(), NOW);
    let try_it = async || Triage::with(desk.ports(), desk.settings.clone()).process(&first).await;
    try_it().await.expect_err("down");
    assert_eq!(desk.tickets.opened().len(), 1);
    desk.turn(59 * MINUTE);
    try_it().await.expect_err("down");
    desk.turn(MINUTE);
    let decision = try_it().await.expect("a decision");
    assert_eq!(decision.facts["alert"], "log alone: it could not be delivered");
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn job_of_a_storm_that_says_nonsense_is_buried() {
    let desk = Desk::new();
    let failure = desk.process(&json!({"type": "triage.storm", "desk": "on-call"})).await.expect_err("nonsense");
    assert!(matches!(failure, Failure::Permanent { class: "body.unreadable", .. }), "{failure:?}");
    let unheard_of = json!({"type": "triage.storm", "desk": "x", "due": "2026-03-02T10:00:00Z"});
    assert_eq!(desk.process(&unheard_of).await.expect("a decision").outcome.as_str(), "skipped");
}

//! What a trial of rules looks at, and what it answers.

use super::*;
use crate::command::Request;
use crate::testing::{Call, MemoryNylas, MemoryRules, nylas_is_slow, settings};
use serde_json::{Value, json};
use shared::domain::decision::Decision;
use shared::domain::notification::NotificationId;
use shared::engine::testing::MemoryLeases;
use shared::engine::{About, Claim, ClaimRequest, Committed, LeaseKey, Leases as _};
use std::collections::BTreeSet;

/// 2026-03-01T10:00:00Z.
const NOW: i64 = 1_772_359_200;

/// A word that stands in every mail and in no rule.
const CANARY: &str = "canarius";

const LIVE: &str = r#"
[[rules]]
name = "broken"
category = "bugs"
words = ["crash"]
"#;

const PROPOSED: &str = r#"
[[rules]]
name = "broken"
category = "bugs"
words = ["crash"]

[[rules]]
name = "outage"
category = "incidents"
weight = 5
words = ["is down"]
opens_for = ["notification"]
"#;

struct World {
    nylas: MemoryNylas,
    decisions: MemoryLeases,
    live: MemoryRules,
    support: &'static str,
    deadline: Duration,
}

fn world() -> World {
    World {
        nylas: MemoryNylas::default(),
        decisions: MemoryLeases::default(),
        live: MemoryRules { text: Some(LIVE.into()), down: false },
        support: "g",
        deadline: Duration::from_secs(40),
    }
}

impl World {
    fn put(&self, grant: &str, id: &str, text: &str, more: Value) {
        let mut mail = json!({
            "id": id, "grant_id": grant, "date": NOW - 3600, "folders": ["INBOX"], "subject": format!("{CANARY} {id}"),
            "from": [{ "email": "dana@acme.example", "name": "Dana" }], "to": [{ "email": "support@northwind.example" }],
            "body": format!("<p>{CANARY}</p><div>{text}</div>"), "snippet": CANARY,
            "headers": [
                { "name": "Message-ID", "value": format!("<{id}@acme.example>") },
                { "name": "X-Mailer", "value": "Mail" },
            ],
        });
        if let Value::Object(more) = more {
            mail.as_object_mut().expect("an object").extend(more);
        }
        self.nylas.put_mail(grant, mail);
    }

    async fn decide(&self, grant: &str, id: &str, decision: &Decision) {
        let now = Timestamp::from_second(NOW).expect("a time");
        let notification = NotificationId::of_our_own("test", &format!("{grant}-{id}"));
        let key = LeaseKey::new(TICKET_TRIAGE, &notification);
        let about = About {
            function: TICKET_TRIAGE,
            notification,
            trigger: "message.created".to_owned(),
            grant: Some(grant.to_owned()),
            object: id.to_owned(),
        };
        let until = Timestamp::from_second(NOW + 60).expect("a time");
        let request = ClaimRequest { key: &key, about: &about, content: "", now, until, queued_at: now, trace: None };
        let Claim::Granted(lease) = self.decisions.claim(&request).await.expect("up") else { panic!("not granted") };
        assert_eq!(self.decisions.complete(&lease, decision, now).await, Ok(Committed::Yes));
    }

    async fn tried(&self, fields: Value) -> Result<TrialAnswer, TrialError> {
        let mut event = json!({ "command": "triage_rules", "rules": PROPOSED });
        event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let now = Timestamp::from_second(NOW).expect("a time");
        let asked = match Request::read(&event, now).expect("a request") {
            Request::TriageRules(asked) => asked,
            other => panic!("{other:?} is no such request"),
        };
        let settings = settings();
        let support = self.support.split(',').filter_map(GrantId::parse);
        let mailboxes: Vec<GrantId> = if asked.grants.is_empty() { support.collect() } else { asked.grants.clone() };
        let trial = Trial {
            nylas: &self.nylas,
            decisions: &self.decisions,
            live: &self.live,
            company_domains: &settings.company_domains,
            loop_id: &settings.loop_id,
            asked: &asked,
            mailboxes: &mailboxes,
            now,
            deadline: Deadline::after(self.deadline),
        };
        trial.carry_out().await
    }

    fn asked_for(&self) -> Vec<String> {
        let mails = self.nylas.calls().into_iter();
        mails.filter_map(|call| if let Call::Mail(id) = call { Some(id) } else { None }).collect()
    }
}

fn ticket(category: &str, priority: &str) -> Decision {
    Decision::logged("a new ticket", "T-1").with("class", "human").with("category", category).with("priority", priority)
}

#[tokio::test(start_paused = true)]
async fn differences_alone_are_shown_with_what_was_decided_and_never_a_word_of_the_mail() {
    let world = world();
    world.put("g", "m-down", "Hello, the API is down.", Value::Null);
    world.put("g", "m-crash", "It crashes at every start.", Value::Null);
    let quoted = "On Mon, Feb 23, 2026 at 9:12 AM Ines Duarte &lt;ines@northwind.example&gt; wrote:<br>\
                  <blockquote>The API is down.</blockquote>";
    world.put("g", "m-quoted", quoted, Value::Null);
    world.decide("g", "m-down", &ticket("general", "low")).await;
    world.decide("g", "m-crash", &ticket("bugs", "medium")).await;
    let answer = world.tried(json!({ "days": 3 })).await.expect("an answer");
    let shown = serde_json::to_value(&answer).expect("JSON");
    assert_eq!((answer.rules, answer.ended, answer.problem.is_none()), (2, true, true));
    assert_eq!((&shown["from"], &shown["until"]), (&json!("2026-02-26T10:00:00Z"), &json!("2026-03-01T10:00:00Z")));
    let [row] = answer.rows.as_slice() else { panic!("{shown}") };
    assert_eq!((row.message_id.as_str(), row.received_at.as_str()), ("m-down", "2026-03-01T09:00:00Z"));
    assert_eq!(row.then.in_words(), "general, low");
    assert_eq!(shown["rows"][0]["live"]["category"], "general");
    let proposed = json!({
        "outcome": "ticket", "category": "incidents", "priority": "high", "desk": "on-call", "alert": true,
        "rule": "outage", "phrases": ["is down"],
    });
    assert_eq!(shown["rows"][0]["proposed"], proposed);
    assert_eq!((answer.counts.looked_at, answer.counts.same, answer.counts.different), (3, 2, 1));
    assert!(answer.text.starts_with("Compared with the rules that are live, on the support mail from 2026-02-26"));
    assert!(answer.text.contains("  general → incidents: 1"), "{}", answer.text);
    assert!(answer.table.contains("m-down") && answer.table.contains("outage: is down"), "{}", answer.table);
    assert!(!shown.to_string().contains(CANARY), "{shown}");
    let span = Received { after: NOW - 3 * 86_400 - 1, before: NOW };
    assert!(world.nylas.calls().contains(&Call::Mails(span)));
}

#[tokio::test(start_paused = true)]
async fn automatic_mail_that_a_proposed_rule_would_take_is_a_difference() {
    let world = world();
    let skipped = |reason: &str, class: &str| Decision::skipped(reason).with("class", class);
    for (id, decision) in [
        ("m-alarm", skipped("automatic mail: notification", "notification")),
        ("m-news", skipped("mail to many: list", "list")),
        ("m-away", skipped("automatic mail: out of office", "out of office")),
        ("m-copy", Decision::merged("another mailbox's copy", "T-1")),
    ] {
        world.put("g", id, "The API is down.", Value::Null);
        world.decide("g", id, &decision).await;
    }
    let answer = world.tried(json!({})).await.expect("an answer");
    let [row] = answer.rows.as_slice() else { panic!("{answer:?}") };
    assert_eq!(row.message_id, "m-alarm");
    assert_eq!(row.then.in_words(), "skipped: automatic mail: notification");
    assert_eq!((row.live.label(), row.proposed.label()), ("skipped", "incidents"));
    assert_eq!((answer.counts.same, answer.counts.different, answer.counts.left_alone), (1, 1, 2));
    let asked: BTreeSet<String> = world.asked_for().into_iter().collect();
    assert_eq!(asked, ["m-alarm", "m-news"].map(str::to_owned).into(), "what rules do not matter to is not fetched");
}

#[tokio::test(start_paused = true)]
async fn mail_that_was_not_decided_is_judged_where_it_would_have_been() {
    let world = world();
    let down = "The API is down.";
    world.put("g", "m-new", down, Value::Null);
    world.put("g", "m-off", down, Value::Null);
    world.decide("g", "m-off", &Decision::off("TicketBaseUrl")).await;
    world.put("g", "m-sent", down, json!({ "folders": ["SENT"] }));
    world.put("g", "m-spam", down, json!({ "folders": ["SPAM"] }));
    world.put("g", "m-own", down, json!({ "from": [{ "email": "Support+billing@northwind.example" }] }));
    let invitation = json!({ "attachments": [{ "content_type": "text/calendar; method=REQUEST" }] });
    world.put("g", "m-invitation", down, invitation);
    world.put("g", "m-machine", down, json!({ "from": [{ "email": "mailer-daemon@acme.example" }] }));
    world.put("g", "m-lost", down, Value::Null);
    world.nylas.lose_mail("g", "m-lost");
    let answer = world.tried(json!({})).await.expect("an answer");
    let rows: Vec<(&str, String)> =
        answer.rows.iter().map(|row| (row.message_id.as_str(), row.then.in_words())).collect();
    let off = "skipped: off (TicketBaseUrl)".to_owned();
    assert_eq!(rows, [("m-off", off), ("m-new", "not decided".to_owned())]);
    assert_eq!((answer.counts.left_alone, answer.counts.gone, answer.counts.looked_at), (5, 1, 8), "{answer:?}");
    assert!(answer.text.contains("No longer at Nylas: 1;"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn trial_that_runs_out_of_time_goes_on_at_its_place_to_the_same_end() {
    let world = World { support: "g,h", ..world() };
    for number in 0..60 {
        let text = if number % 6 == 0 { "The API is down." } else { "Hello." };
        world.put(if number < 45 { "g" } else { "h" }, &format!("m-{number}"), text, Value::Null);
    }
    world.nylas.take_for_a_mail(Duration::from_secs(12));
    let begun = tokio::time::Instant::now();
    let mut answer = world.tried(json!({})).await.expect("an answer");
    assert!(begun.elapsed() <= Duration::from_secs(40), "{:?}", begun.elapsed());
    assert!(!answer.ended && answer.problem.is_none());
    assert!(answer.text.ends_with("with `place` as it stands in this answer."), "{}", answer.text);
    let mut rows = answer.rows.len();
    while let Some(place) = answer.place {
        answer = world.tried(json!({ "place": place })).await.expect("an answer");
        rows += answer.rows.len();
    }
    assert_eq!((rows, answer.counts.different, answer.counts.looked_at, answer.ended), (10, 10, 60, true));
    let asked = world.asked_for();
    assert_eq!(asked.len(), asked.iter().collect::<BTreeSet<_>>().len(), "no mail is looked at twice");
    let place = json!({ "grant_id": "other", "done": 0, "until": NOW, "counts": {} });
    let error = world.tried(json!({ "place": place })).await.expect_err("not there").to_string();
    assert!(error.contains("`place` names the mailbox other"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn newest_200_mails_of_a_mailbox_are_looked_at_and_that_there_are_more_is_said() {
    let world = world();
    for number in 0..230 {
        world.put("g", &format!("m-{number}"), "Hello.", Value::Null);
    }
    let answer = world.tried(json!({})).await.expect("an answer");
    assert_eq!((answer.counts.looked_at, answer.counts.same, answer.table.as_str()), (200, 200, ""));
    let [mailbox] = answer.mailboxes.as_slice() else { panic!("{answer:?}") };
    assert!(mailbox.cut && mailbox.mails == 200);
    assert!(answer.text.contains("Of the mailbox g only the newest 200 mails"), "{}", answer.text);
    assert!(!world.asked_for().contains(&"m-0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn mailbox_out_of_reach_is_left_out_and_said_and_none_within_reach_is_an_error() {
    let world = World { support: "g,h", ..world() };
    world.put("h", "m", "The API is down.", Value::Null);
    world.nylas.fail_mailbox("g", NylasError::GrantExpired("g".to_owned()));
    let answer = world.tried(json!({})).await.expect("an answer");
    assert!(answer.text.contains("The mailbox g was left out: the Nylas grant g has expired"), "{}", answer.text);
    assert_eq!((answer.rows.len(), answer.rows[0].grant_id.as_str(), answer.ended), (1, "h", true));
    let error = world.tried(json!({ "grant_ids": ["g"] })).await.expect_err("none").to_string();
    assert!(error.starts_with("no mail was looked at: the Nylas grant g has expired"), "{error}");
    let nowhere = World { support: "", ..world };
    let error = nowhere.tried(json!({})).await.expect_err("none").to_string();
    assert!(error.contains("`SupportGrantIds`") && error.contains("`grant_ids`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn failure_of_nylas_is_told_with_the_place_where_it_goes_on() {
    let world = world();
    for number in 0..15 {
        world.put("g", &format!("m-{number}"), "The API is down.", Value::Null);
    }
    world.nylas.fail_mail(nylas_is_slow());
    let answer = world.tried(json!({})).await.expect("an answer");
    assert!(answer.text.contains("It has not ended: Nylas is unavailable"), "{}", answer.text);
    assert!(answer.problem.is_some() && !answer.ended);
    let place = answer.place.expect("a place");
    assert_eq!((place.done, place.counts.looked_at), (0, 0));
    let answer = world.tried(json!({ "place": place })).await.expect("an answer");
    assert_eq!((answer.counts.different, answer.ended), (15, true));
}

#[tokio::test(start_paused = true)]
async fn rules_are_compared_with_the_built_in_ones_where_no_other_ones_are_live() {
    let built_in = World { live: MemoryRules::default(), ..world() };
    built_in.put("g", "m", "It crashes at every start.", Value::Null);
    let answer = built_in.tried(json!({})).await.expect("an answer");
    assert!(answer.text.starts_with("Compared with the built-in rules"), "{}", answer.text);
    let bad = World { live: MemoryRules { text: Some("rules = 7".into()), down: false }, ..built_in };
    let answer = bad.tried(json!({})).await.expect("an answer");
    assert!(answer.text.contains("settings/triage-rules.toml cannot be used (line 1: "), "{}", answer.text);
    let down = World { live: MemoryRules { text: None, down: true }, ..bad };
    let error = down.tried(json!({})).await.expect_err("down").to_string();
    assert!(error.contains("the archive is down") && error.contains("nothing was changed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn table_that_is_down_is_an_error() {
    let world = world();
    world.put("g", "m", "Hello.", Value::Null);
    world.decisions.down.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = world.tried(json!({})).await.expect_err("down").to_string();
    assert!(error.contains("the table is down") && error.contains("ask again in a minute"), "{error}");
}

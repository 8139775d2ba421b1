//! Every point at which a try can break off: each call to each port fails before it does anything, fails after it did
//! it, or does it and never answers, so that whoever waits for it is ended. Then the message comes again.

#![expect(clippy::print_stdout, reason = "the crash points are shown to whoever looks")]

use super::outside::Fault;
use super::*;

/// What a history came to.
#[derive(Debug, Clone, PartialEq)]
struct Came {
    tickets: Vec<NewTicket>,
    comments: Vec<(String, String)>,
    acknowledged: usize,
    timers: usize,
    decision: Decision,
}

/// Hands a message over until it is decided, at most four times.
async fn until_decided(desk: &Desk, body: &Value) -> Decision {
    for _ in 0..4 {
        match tokio::time::timeout(Duration::from_mins(1), desk.process(body)).await {
            Ok(Ok(decision)) => return decision,
            Ok(Err(failure)) => assert!(!matches!(failure, Failure::Permanent { .. }), "{failure:?}"),
            // The invocation was ended.
            Err(_) => {}
        }
    }
    panic!("it is never decided: {body}");
}

/// True if the alert was told and the fault kept it from being known.
fn alerts_answer_was_lost(calls: &[&str], number: usize, fault: Fault) -> bool {
    let at = number - 1;
    let record_was_refused = at > 0 && calls[at] == "links.put" && calls[at - 1] == "alerts.tell";
    calls[at] == "alerts.tell" && fault != Fault::Before || record_was_refused && fault == Fault::Before
}

/// Tries a history, whose last message is this one, with every fault at every call, and answers how many there were.
async fn at_every_point(before: &[&Value], last: &Value) -> usize {
    let begun = async || {
        let desk = Desk::that_acknowledges();
        for (number, mail) in before.iter().enumerate() {
            desk.receives(&format!("before-{number}"), mail).await;
        }
        desk.nylas.holds(last);
        desk
    };
    let came = |desk: &Desk, decision: Decision| Came {
        tickets: desk.tickets.opened(),
        comments: desk.tickets.comments(),
        acknowledged: desk.nylas.sent().len(),
        timers: desk.timers.set().len(),
        decision,
    };
    let notification = notified("last", last);
    let undisturbed = begun().await;
    let told_before = undisturbed.told().len();
    let decision = until_decided(&undisturbed, &notification).await;
    let expected = came(&undisturbed, decision);
    let told = undisturbed.told().len() - told_before;
    let (mut points, mut fewer) = (0, 0);
    for fault in Fault::ALL {
        for number in 1.. {
            let desk = begun().await;
            desk.faults.set(number, fault);
            let decision = until_decided(&desk, &notification).await;
            let calls = desk.faults.calls();
            if calls.len() < number {
                break;
            }
            points += 1;
            let at = format!("{fault:?} at call {number}, {}", calls[number - 1]);
            let mut came = came(&desk, decision);
            // These tell truly what the fault was.
            for fact in ["acknowledgement", "open_deal", "priority"] {
                if let Some(told) = expected.decision.facts.get(fact) {
                    came.decision.facts.insert(fact.to_owned(), told.clone());
                }
            }
            if calls[number - 1] == "crm.find" {
                came.tickets.clone_from(&expected.tickets);
            }
            // One that breaks off over the sending leaves one acknowledgement too few, never one too many.
            let acknowledged = std::mem::replace(&mut came.acknowledged, expected.acknowledged);
            assert!(acknowledged <= expected.acknowledged, "{at}: {acknowledged}");
            fewer += expected.acknowledged - acknowledged;
            assert_eq!(came, expected, "{at}");
            let twice = told > 0 && alerts_answer_was_lost(&calls, number, fault);
            assert_eq!(desk.told().len() - told_before, told + usize::from(twice), "{at}");
            // Whoever is notified once more finds it done.
            let again = desk.process(&notified("again", last)).await.expect("a decision");
            assert_eq!(again.to_string(), "merged: notified again", "{at}");
            assert_eq!(desk.nylas.sent().len(), acknowledged, "{at}");
        }
    }
    assert!(fewer <= 4, "{fewer} acknowledgements were not sent");
    points
}

fn incident(id: &str, fields: Value) -> Value {
    let mut incident = mail(json!({"id": id, "thread_id": id, "body": "Your API is down."}));
    let (Some(object), Value::Object(fields)) = (incident.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    incident
}

#[tokio::test(start_paused = true)]
async fn ticket_with_an_alert_and_an_acknowledgement_survives_a_crash_at_every_point() {
    let points = at_every_point(&[], &incident("m1", json!({}))).await;
    println!("a new ticket with an alert and an acknowledgement: {points} crash points");
    assert!(points >= 60, "{points}");
}

#[tokio::test(start_paused = true)]
async fn comment_with_an_alert_survives_a_crash_at_every_point() {
    let (first, reply) =
        (mail(json!({})), incident("m2", json!({"thread_id": "t1", "headers": answering("m2", "m1")})));
    let points = at_every_point(&[&first], &reply).await;
    println!("a comment with an alert: {points} crash points");
    assert!(points >= 45, "{points}");
}

#[tokio::test(start_paused = true)]
async fn incident_in_a_storm_survives_a_crash_at_every_point() {
    let before: Vec<Value> = (0..5).map(|number| incident(&format!("b{number}"), json!({}))).collect();
    let sender = json!({"from": from("ann@other.example")});
    let points = at_every_point(&before.iter().collect::<Vec<_>>(), &incident("m1", sender)).await;
    println!("an incident in a storm: {points} crash points");
    assert!(points >= 60, "{points}");
}

#[tokio::test(start_paused = true)]
async fn what_the_team_sent_survives_a_crash_at_every_point() {
    let first = mail(json!({}));
    let sent = sent_to("pat@partner.example");
    let mut points = 0;
    for fault in Fault::ALL {
        for number in 1.. {
            let desk = Desk::new();
            desk.receives("n1", &first).await;
            desk.nylas.holds(&sent);
            desk.faults.set(number, fault);
            let decision = until_decided(&desk, &notified("n2", &sent)).await;
            if desk.faults.calls().len() < number {
                break;
            }
            points += 1;
            assert_eq!(decision.facts["ticket"], "T-1", "{fault:?} at call {number}");
            let reply = json!({
                "id": "m3", "from": from("pat@partner.example"), "thread_id": "t7", "headers": answering("m3", "s1"),
            });
            assert_eq!(desk.receives("n3", &mail(reply)).await.became.as_deref(), Some("T-1"), "{fault:?} at {number}");
        }
    }
    println!("what the team sent: {points} crash points");
}

#[tokio::test]
async fn rules_that_were_changed_after_a_crash_change_nothing_that_was_planned() {
    let desk = Desk::new();
    let last = incident("m1", json!({}));
    desk.nylas.holds(&last);
    let calls = {
        let other = Desk::new();
        other.receives("n1", &last).await;
        other.faults.calls()
    };
    let open = calls.iter().position(|call| *call == "tickets.open").expect("it is opened") + 1;
    desk.faults.set(open, Fault::After);
    desk.process(&notified("n1", &last)).await.expect_err("no answer");
    let changed = RULES.replace("on-call", "night-shift").replace("weight = 8", "weight = 1");
    changed.clone_into(&mut desk.rules.text.lock().expect("not poisoned"));
    desk.crm.knows("dana@acme.example", Some(true));
    desk.turn(MINUTE);
    let decision = desk.receives("n1", &last).await;
    let asked = desk.tickets.asked.lock().expect("not poisoned").clone();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1], "the very same is asked for");
    assert_eq!((&decision.facts["desk"], &decision.facts["score"]), (&json!("on-call"), &json!(8)));
    assert_eq!((desk.tickets.opened().len(), desk.told().len()), (1, 1));
    let other = desk.receives("n2", &incident("m2", json!({}))).await;
    assert_eq!(other.facts["desk"], "night-shift", "what comes now is judged by the new rules");
}

#[tokio::test]
async fn planned_comment_stays_a_comment_in_the_same_ticket() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    desk.faults.take_down("tickets.comment");
    let reply = mail(json!({"id": "m2"}));
    desk.tries("n2", &reply).await.expect_err("down");
    desk.faults.bring_back("tickets.comment");
    // Meanwhile the stranger's ticket was touched last, and Dana is on it.
    let cc = json!({"id": "m3", "from": from("mallory@evil.example"), "cc": from("dana@acme.example"), "date": NOW});
    desk.receives("n3", &mail(cc)).await;
    assert_eq!(desk.receives("n2", &reply).await.became.as_deref(), Some("T-1"));
}

//! Who is answered by this machine, how often, and that two machines do not answer one another.

use super::*;
use shared::nylas::sending::SendError;
use std::collections::BTreeSet;

/// A mail of this number, in a thread of its own.
fn question(number: usize, fields: Value) -> Value {
    let mut question = mail(json!({"id": format!("m{number}"), "thread_id": format!("t{number}")}));
    let (Some(object), Value::Object(fields)) = (question.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    question
}

fn acknowledged(decision: &Decision) -> &str {
    decision.facts["acknowledgement"].as_str().expect("a text")
}

#[tokio::test]
async fn nobody_is_answered_unless_it_is_switched_on() {
    let desk = Desk::new();
    let decision = desk.receives("n1", &question(1, json!({}))).await;
    assert_eq!(decision.facts["acknowledgement"], Value::Null);
    assert_eq!(*desk.nylas.tried.lock().expect("not poisoned"), 0);
}

#[tokio::test]
async fn sender_of_a_new_ticket_is_answered_in_the_thread_with_all_marks_of_a_machine() {
    let desk = Desk::that_acknowledges();
    let decision = desk.receives("n1", &question(1, json!({}))).await;
    assert_eq!(acknowledged(&decision), "sent");
    let [sent] = &desk.nylas.sent()[..] else { panic!("one mail") };
    assert_eq!(sent.grant, "g1");
    let mail = &sent.mail;
    assert_eq!(mail["to"], json!([{"email": "dana@acme.example", "name": "Dana Reyes"}]));
    assert_eq!((&mail["subject"], &mail["reply_to_message_id"]), (&json!("Re: A question"), &json!("m1")));
    assert!(mail["body"].as_str().is_some_and(|body| body.contains("Dana Reyes") && body.contains("T-1")));
    let loop_id = LoopId::of_stack("stack");
    let marks = json!([
        {"name": "X-Crm-Autopilot-Loop", "value": loop_id.as_str()},
        {"name": "X-Auto-Response-Suppress", "value": "All"},
        {"name": "Auto-Submitted", "value": "auto-replied"},
    ]);
    assert_eq!(mail["custom_headers"], marks);
}

#[tokio::test]
async fn microsoft_is_given_no_header_that_it_refuses() {
    let desk = Desk::that_acknowledges();
    desk.nylas.connects("ms", "microsoft", "support@northwind.example", "valid");
    desk.receives("n1", &question(1, json!({"grant_id": "ms"}))).await;
    let sent = &desk.nylas.sent()[0];
    let names: Vec<_> =
        sent.mail["custom_headers"].as_array().expect("headers").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["X-Crm-Autopilot-Loop", "X-Auto-Response-Suppress"]);
}

#[tokio::test]
async fn same_mail_is_answered_once_however_often_it_is_told() {
    let desk = Desk::that_acknowledges();
    for notification in ["n1", "n1", "n2"] {
        desk.receives(notification, &question(1, json!({}))).await;
    }
    assert_eq!(*desk.nylas.tried.lock().expect("not poisoned"), 1);
}

#[tokio::test]
async fn sender_is_answered_once_a_day() {
    let desk = Desk::that_acknowledges();
    desk.receives("n1", &question(1, json!({}))).await;
    desk.turn(DAY - 1);
    let decision = desk.receives("n2", &question(2, json!({}))).await;
    assert_eq!(acknowledged(&decision), "withheld: the sender was answered within a day");
    let decision = desk.receives("n3", &question(3, json!({"from": from("lee@acme.example")}))).await;
    assert_eq!(acknowledged(&decision), "sent", "somebody else is answered");
    desk.turn(1);
    assert_eq!(acknowledged(&desk.receives("n4", &question(4, json!({}))).await), "sent");
    assert_eq!((desk.tickets.opened().len(), desk.nylas.sent().len()), (4, 3));
}

#[tokio::test]
async fn ten_senders_of_a_domain_are_answered_an_hour() {
    let desk = Desk::that_acknowledges();
    for number in 0..12 {
        let sender = from(&format!("person{number}@acme.example"));
        let decision = desk.receives(&format!("n{number}"), &question(number, json!({"from": sender}))).await;
        let withheld = "withheld: ten of the domain were answered within an hour";
        assert_eq!(acknowledged(&decision), if number < 10 { "sent" } else { withheld }, "{number}");
    }
    let other = desk.receives("n20", &question(20, json!({"from": from("ann@other.example")}))).await;
    assert_eq!(acknowledged(&other), "sent", "another domain is counted by itself");
    desk.turn(60 * MINUTE);
    let decision = desk.receives("n21", &question(21, json!({"from": from("late@acme.example")}))).await;
    assert_eq!(acknowledged(&decision), "sent");
}

#[tokio::test]
async fn comment_is_not_answered() {
    let desk = Desk::that_acknowledges();
    desk.receives("n1", &question(1, json!({}))).await;
    desk.turn(2 * DAY);
    let reply = json!({"thread_id": "t1", "date": NOW + 2 * DAY});
    let decision = desk.receives("n2", &question(2, reply)).await;
    assert_eq!(decision.reason, "one more mail of a ticket");
    assert_eq!((&decision.facts["acknowledgement"], desk.nylas.sent().len()), (&Value::Null, 1));
}

#[tokio::test]
async fn mail_that_asks_for_no_answer_has_its_ticket_and_none() {
    for (name, value, why) in [
        ("Precedence", "auto_list, junk", "withheld: Precedence"),
        ("Return-Path", "<>", "withheld: an empty Return-Path"),
        ("X-Auto-Response-Suppress", "All", "withheld: X-Auto-Response-Suppress"),
        ("X-Auto-Response-Suppress", "DR, AutoReply", "withheld: X-Auto-Response-Suppress"),
        ("List-Owner", "<mailto:x@acme.example>", "withheld: a mailing list"),
    ] {
        let desk = Desk::that_acknowledges();
        let marked = json!({"headers": headers("m1", &[(name, value)])});
        let decision = desk.receives("n1", &question(1, marked)).await;
        assert_eq!((decision.reason.as_str(), acknowledged(&decision)), ("a new ticket", why), "{name}");
        assert_eq!(*desk.nylas.tried.lock().expect("not poisoned"), 0, "{name}");
    }
}

#[tokio::test]
async fn acknowledgement_of_which_nobody_knows_whether_it_went_is_never_sent_again() {
    for error in [
        SendError::Unknown("504".to_owned()),
        SendError::CutOff("no answer".to_owned()),
        SendError::UnderWay,
        SendError::KeyUsed,
        SendError::Remembered("504".to_owned()),
        SendError::Refused("400".to_owned()),
    ] {
        let desk = Desk::that_acknowledges();
        desk.nylas.refuses(error.clone());
        let decision = desk.receives("n1", &question(1, json!({}))).await;
        assert_eq!(
            acknowledged(&decision),
            format!("not sent, or not known to be: {}", Failure::from(error.clone()).class())
        );
        for notification in ["n1", "n2"] {
            desk.receives(notification, &question(1, json!({}))).await;
        }
        assert_eq!(*desk.nylas.tried.lock().expect("not poisoned"), 1, "{error}");
    }
}

#[tokio::test]
async fn acknowledgement_that_is_throttled_is_sent_by_another_try() {
    let desk = Desk::that_acknowledges();
    let retry_after = Some(Duration::from_secs(30));
    desk.nylas.refuses(SendError::Throttled { retry_after });
    let failure = desk.tries("n1", &question(1, json!({}))).await.expect_err("throttled");
    assert!(
        matches!(failure, Failure::Transient { class: "nylas.rate_limited", retry_after: Some(_), .. }),
        "{failure:?}"
    );
    assert_eq!(desk.tickets.opened().len(), 1, "the ticket does not wait for it");
    desk.turn(30);
    assert_eq!(acknowledged(&desk.receives("n1", &question(1, json!({}))).await), "sent");
    assert_eq!((desk.tickets.opened().len(), desk.nylas.sent().len()), (1, 1));
}

#[tokio::test]
async fn acknowledgement_that_is_throttled_too_long_is_left() {
    let desk = Desk::that_acknowledges();
    desk.nylas.refuses(SendError::Throttled { retry_after: None });
    desk.tries("n1", &question(1, json!({}))).await.expect_err("throttled");
    desk.turn(50 * MINUTE + 1);
    assert_eq!(acknowledged(&desk.receives("n1", &question(1, json!({}))).await), "withheld: too late");
}

/// A system that answers: its desk, where its mails arrive, and what is known of them.
struct System {
    desk: Desk,
    domain: &'static str,
    provider: &'static str,
    /// How many of the mails that it sent were delivered.
    delivered: usize,
}

impl System {
    fn new(domain: &'static str, provider: &'static str) -> Self {
        let desk = Desk::of(domain, domain).acknowledging();
        desk.nylas.connects("g1", provider, &format!("support@{domain}"), "valid");
        Self { desk, domain, provider, delivered: 0 }
    }

    /// A mail of another system's arrives.
    async fn receives(&self, mail: &Value) -> Decision {
        let id = mail["id"].as_str().expect("an id");
        self.desk.receives(&format!("{} of {id}", self.domain), mail).await
    }
}

/// What of a mail survives the way from one system to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnTheWay {
    AllHeaders,
    /// A gateway takes every header away that it does not know.
    NoMark,
    /// And those that make a thread.
    NoMarkAndNoThread,
}

/// A person at one support mailbox writes to the other one. Each mail that a system sends lies in its own folder of
/// sent mail, and arrives at the other one, until none is sent any more. Answers how many each has sent.
async fn play(mut systems: [System; 2], way: OnTheWay) -> [usize; 2] {
    let id_of = |system: &System, number: usize| format!("{}-{number}", system.domain);
    let first = json!({
        "id": "first", "thread_id": "first", "from": from(&format!("support@{}", systems[0].domain)),
        "to": from(&format!("support@{}", systems[1].domain)),
    });
    systems[1].receives(&mail(first)).await;
    for round in 0.. {
        assert!(round < 20, "they write to one another for ever");
        let before = systems.iter().map(|system| system.delivered).sum::<usize>();
        for (sender, receiver) in [(0, 1), (1, 0)] {
            let sent = systems[sender].desk.nylas.sent();
            for (number, sent) in sent.iter().enumerate().skip(systems[sender].delivered) {
                let id = id_of(&systems[sender], number);
                let answered = sent.mail["reply_to_message_id"].as_str().expect("an id");
                let answered = format!("<{answered}@mail.example>");
                let marks = sent.mail["custom_headers"].as_array().expect("headers");
                let text = |value: &Value| value.as_str().expect("a text").to_owned();
                let mut pairs: Vec<(String, String)> =
                    marks.iter().map(|mark| (text(&mark["name"]), text(&mark["value"]))).collect();
                if systems[sender].provider == "microsoft" {
                    assert!(pairs.iter().all(|(name, _)| name.starts_with("X-")), "{pairs:?}");
                }
                if way != OnTheWay::AllHeaders {
                    pairs.clear();
                }
                if way != OnTheWay::NoMarkAndNoThread {
                    pairs.push(("In-Reply-To".to_owned(), answered));
                }
                let pairs: Vec<(&str, &str)> =
                    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let mut arrived = mail(json!({
                    "id": id, "thread_id": id, "subject": sent.mail["subject"], "body": sent.mail["body"],
                    "snippet": "Hello, we have your message, and somebody will look at it.",
                    "from": from(&format!("support@{}", systems[sender].domain)), "to": sent.mail["to"],
                    "headers": headers(&id, &pairs),
                }));
                let decision = systems[receiver].receives(&arrived).await;
                if way == OnTheWay::AllHeaders {
                    assert_eq!(decision.reason, "automatic mail: auto-reply");
                }
                arrived["folders"] = json!(["SENT"]);
                systems[sender].receives(&arrived).await;
                systems[sender].delivered += 1;
            }
        }
        if systems.iter().map(|system| system.delivered).sum::<usize>() == before {
            break;
        }
        for system in &systems {
            system.desk.turn(MINUTE);
        }
    }
    systems.map(|system| system.delivered)
}

#[tokio::test]
async fn two_systems_that_write_to_one_another_stop_after_one_mail_each() {
    for providers in
        [["google", "google"], ["google", "microsoft"], ["microsoft", "google"], ["microsoft", "microsoft"]]
    {
        for way in [OnTheWay::AllHeaders, OnTheWay::NoMark, OnTheWay::NoMarkAndNoThread] {
            let systems =
                [System::new("northwind.example", providers[0]), System::new("southwind.example", providers[1])];
            let sent = play(systems, way).await;
            assert!(sent.iter().all(|sent| *sent <= 1) && sent[1] == 1, "{providers:?} {way:?}: {sent:?}");
            if way == OnTheWay::AllHeaders {
                assert_eq!(sent, [0, 1], "{providers:?}: the answer is known for what it is");
            }
        }
    }
}

#[tokio::test]
async fn one_persons_many_copies_and_replies_bring_one_answer() {
    let desk = Desk::that_acknowledges();
    let mut answers = BTreeSet::new();
    for number in 0..6 {
        let in_a_thread = json!({"thread_id": format!("t{}", number / 2)});
        let decision = desk.receives(&format!("n{number}"), &question(number, in_a_thread)).await;
        answers.insert(decision.facts["acknowledgement"].to_string());
    }
    assert_eq!((answers.len(), desk.nylas.sent().len()), (3, 1), "{answers:?}");
}

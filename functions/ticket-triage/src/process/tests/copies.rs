//! One mail in two support mailboxes is one ticket, whoever is first, and whoever never comes to an end.

use super::outside::Fault;
use super::*;
use futures_util::future::join;

/// The copy of the mail `m1` in the second support mailbox: another id, another thread, the same Message-ID.
fn copy(fields: Value) -> Value {
    let mut copy = mail(json!({"id": "c1", "grant_id": "g2", "thread_id": "t9", "headers": headers("m1", &[])}));
    let (Some(object), Value::Object(fields)) = (copy.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    copy
}

fn is_at_work(answer: &Result<Decision, Failure>) -> bool {
    let Err(Failure::Untried { class, retry_after, .. }) = answer else { return false };
    (*class, *retry_after) == ("ticket.copy_at_work", ANOTHER_COPY)
}

#[tokio::test]
async fn one_mail_in_two_mailboxes_is_one_ticket() {
    let desk = Desk::that_acknowledges();
    desk.receives("n1", &mail(json!({}))).await;
    let decision = desk.receives("n2", &copy(json!({}))).await;
    assert_eq!(
        (decision.to_string().as_str(), decision.became.as_deref()),
        ("merged: another mailbox's copy", Some("T-1"))
    );
    let decision = desk.receives("n3", &mail(json!({}))).await;
    assert_eq!((decision.to_string().as_str(), decision.became.as_deref()), ("merged: notified again", Some("T-1")));
    assert_eq!((desk.tickets.opened().len(), desk.tickets.comments().len(), desk.nylas.sent().len()), (1, 0, 1));
}

#[tokio::test]
async fn reply_in_the_thread_of_the_other_copy_continues_the_ticket_without_references_too() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    desk.receives("n2", &copy(json!({}))).await;
    let reply = mail(json!({"id": "m2", "grant_id": "g2", "thread_id": "t9"}));
    assert_eq!(desk.receives("n3", &reply).await.became.as_deref(), Some("T-1"));
    let mallory = json!({"id": "m3", "grant_id": "g2", "thread_id": "t9", "from": from("mallory@evil.example")});
    assert_eq!(desk.receives("n4", &mail(mallory)).await.became.as_deref(), Some("T-2"));
}

#[tokio::test]
async fn what_the_team_sent_to_another_support_mailbox_is_merged_there() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    desk.receives("n2", &sent_to("dana@acme.example")).await;
    let copied = json!({"id": "c2", "headers": headers("s1", &[]), "from": from("team@northwind.example")});
    let decision = desk.receives("n3", &copy(copied)).await;
    assert_eq!((decision.outcome.as_str(), decision.became.as_deref()), ("merged", Some("T-1")));
    assert_eq!((desk.tickets.opened().len(), desk.tickets.comments().len()), (1, 0));
}

#[tokio::test]
async fn second_copy_waits_while_the_first_is_at_work_and_is_merged_then() {
    let desk = Desk::new();
    desk.faults.take_down("tickets.open");
    desk.tries("n1", &mail(json!({}))).await.expect_err("down");
    desk.faults.bring_back("tickets.open");
    assert!(is_at_work(&desk.tries("n2", &copy(json!({}))).await));
    assert_eq!(desk.receives("n1", &mail(json!({}))).await.to_string(), "logged: a new ticket");
    assert_eq!(desk.receives("n2", &copy(json!({}))).await.to_string(), "merged: another mailbox's copy");
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn two_copies_at_the_same_time_are_one_ticket() {
    let desk = Desk::that_acknowledges();
    let down = json!({"body": "It is down."});
    let (first, second) = (mail(down.clone()), copy(down));
    let (one, other) = join(desk.tries("n1", &first), desk.tries("n2", &second)).await;
    assert_eq!([&one, &other].into_iter().filter(|answer| is_at_work(answer)).count(), 1, "{one:?} {other:?}");
    assert_eq!([&one, &other].into_iter().filter(|answer| answer.is_ok()).count(), 1, "{one:?} {other:?}");
    let (one, other) = join(desk.tries("n3", &first), desk.tries("n4", &second)).await;
    assert!(one.is_ok_and(|one| one.outcome.as_str() == "merged") && other.is_ok());
    assert_eq!((desk.tickets.opened().len(), desk.told().len(), desk.nylas.sent().len()), (1, 1, 1));
}

#[tokio::test]
async fn one_copy_that_is_notified_of_twice_at_the_same_time_is_one_ticket() {
    let desk = Desk::that_acknowledges();
    let first = mail(json!({}));
    let (one, other) = join(desk.tries("n1", &first), desk.tries("n2", &first)).await;
    let outcomes = [one.expect("a decision").outcome.as_str(), other.expect("a decision").outcome.as_str()];
    assert!(outcomes.contains(&"logged"), "{outcomes:?}");
    assert_eq!((desk.tickets.opened().len(), desk.nylas.sent().len()), (1, 1));
}

#[tokio::test]
async fn copy_that_never_comes_to_an_end_is_stood_in_for_after_ten_minutes() {
    let desk = Desk::new();
    desk.faults.take_down("tickets.open");
    desk.tries("n1", &mail(json!({}))).await.expect_err("down");
    desk.faults.bring_back("tickets.open");
    desk.turn(10 * MINUTE - 1);
    assert!(is_at_work(&desk.tries("n2", &copy(json!({}))).await));
    desk.turn(1);
    let decision = desk.receives("n2", &copy(json!({}))).await;
    assert_eq!((decision.to_string().as_str(), decision.became.as_deref()), ("logged: a new ticket", Some("T-1")));
    assert_eq!(desk.tickets.opened()[0].message_id, "m1", "under the key of the first, which may have opened it");
    let decision = desk.receives("n1", &mail(json!({}))).await;
    assert_eq!((decision.to_string().as_str(), decision.became.as_deref()), ("logged: a new ticket", Some("T-1")));
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn copy_that_stands_in_for_one_whose_ticket_was_opened_without_an_answer_opens_no_second_one() {
    let desk = Desk::new();
    let first = mail(json!({}));
    let calls = {
        let other = Desk::new();
        other.receives("n1", &first).await;
        other.faults.calls()
    };
    desk.nylas.holds(&first);
    desk.faults.set(calls.iter().position(|call| *call == "tickets.open").expect("it is opened") + 1, Fault::After);
    desk.process(&notified("n1", &first)).await.expect_err("no answer");
    desk.turn(10 * MINUTE);
    assert_eq!(desk.receives("n2", &copy(json!({}))).await.became.as_deref(), Some("T-1"));
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn different_mails_with_one_message_id_have_a_ticket_each() {
    let desk = Desk::new();
    let dated = |id: &str, date: &str| {
        let mut headers = headers("constant", &[]);
        headers[1]["value"] = date.into();
        mail(json!({"id": id, "thread_id": id, "headers": headers}))
    };
    let (monday, tuesday) =
        (dated("m1", "Mon, 02 Mar 2026 10:00:00 +0000"), dated("m2", "Tue, 03 Mar 2026 10:00:00 +0000"));
    assert_eq!(desk.receives("n1", &monday).await.became.as_deref(), Some("T-1"));
    assert_eq!(desk.receives("n2", &tuesday).await.became.as_deref(), Some("T-2"));
    assert_eq!(desk.receives("n3", &monday).await.to_string(), "merged: notified again");
    assert_eq!(desk.receives("n4", &tuesday).await.to_string(), "merged: notified again");
}

#[tokio::test]
async fn copies_without_a_message_id_are_mails_of_their_own() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({"headers": [{"name": "Date", "value": "x"}]}))).await;
    let decision = desk.receives("n2", &copy(json!({"headers": [{"name": "Date", "value": "x"}]}))).await;
    assert_eq!(decision.to_string(), "logged: a new ticket");
    let again = desk.receives("n3", &mail(json!({"headers": [{"name": "Date", "value": "x"}]}))).await;
    assert_eq!(again.to_string(), "merged: notified again");
}

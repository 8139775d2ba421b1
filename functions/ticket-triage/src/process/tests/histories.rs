//! Conversations whose notifications come in any order, and more than once.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A conversation in one thread: Dana asks, adds something, a colleague of hers does too, the team answers, Dana
/// thanks. The first two also came to the second support mailbox, where they lie in another thread.
fn conversation() -> Vec<(&'static str, Value)> {
    let at = |minutes: i64| json!(NOW + minutes * MINUTE);
    let team = from("support@northwind.example");
    let copy = |id: &str, of: Value| {
        let mut copy = of;
        (copy["id"], copy["grant_id"], copy["thread_id"]) = (json!(id), json!("g2"), json!("t9"));
        copy
    };
    let asked = mail(json!({"date": at(0), "body": "It is down."}));
    let added = mail(json!({"id": "m2", "date": at(1), "headers": answering("m2", "m1")}));
    let joined = json!({"id": "m3", "date": at(2), "from": from("lee@acme.example"), "headers": answering("m3", "m2")});
    let answered = json!({
        "id": "s4", "date": at(3), "from": team, "to": from("dana@acme.example"), "folders": ["SENT"],
        "headers": answering("s4", "m1"),
    });
    let thanked = json!({"id": "m5", "date": at(4), "body": "Still down.", "headers": answering("m5", "s4")});
    vec![
        ("n1", asked.clone()),
        ("n2", added.clone()),
        ("n3", mail(joined)),
        ("n4", mail(answered)),
        ("n5", mail(thanked)),
        ("n6", copy("c1", asked)),
        ("n7", copy("c2", added)),
    ]
}

async fn play(order: &[usize]) -> Desk {
    let desk = Desk::that_acknowledges();
    let conversation = conversation();
    for (_, mail) in &conversation {
        desk.nylas.holds(mail);
    }
    for number in order {
        let (notification, mail) = &conversation[*number];
        desk.receives(notification, mail).await;
    }
    desk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_order_and_any_repetition_of_a_conversation_is_one_ticket_with_each_mail_once(
        first in Just((0..5usize).collect::<Vec<_>>()).prop_shuffle(),
        further in prop::collection::vec((0..7usize, 0..5usize), 0..12),
    ) {
        let mut order = first;
        for (number, place) in further {
            // A mail that only its answers refer to is known as theirs by its own thread alone, so that a copy in
            // another thread comes after it.
            let original = number.checked_sub(5).and_then(|original| order.iter().position(|one| *one == original));
            let earliest = original.map_or(0, |original| original + 1);
            order.insert((earliest + place).min(order.len()), number);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let desk = runtime.block_on(play(&order));
        let opened = desk.tickets.opened();
        prop_assert_eq!(opened.len(), 1, "{:?}", order);
        let comments = desk.tickets.comments();
        prop_assert!(comments.iter().all(|(ticket, _)| ticket == "T-1"));
        // A mail is known by whichever of its copies came first.
        let mail_of = |id: &str| id.replace('c', "m");
        let mut made: Vec<String> = comments.iter().map(|(_, message)| mail_of(message)).collect();
        made.push(mail_of(&opened[0].message_id));
        made.sort();
        prop_assert_eq!(made, ["m1", "m2", "m3", "m5"], "{:?}", order);
        prop_assert_eq!(desk.told().len(), 1, "one incident: {:?}", order);
        let answered: BTreeSet<String> = desk.nylas.sent().iter().map(|sent| sent.mail["to"].to_string()).collect();
        prop_assert_eq!((desk.nylas.sent().len(), answered.len()), (1, 1));
    }
}

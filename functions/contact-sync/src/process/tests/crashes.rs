//! Every call of a night fails once, before it does anything or after: what comes of the night is the same.

use super::*;
use crate::process::tests::outside::Fails;

/// Two accounts with a person in common, one that a person has edited, and more contacts than a page holds.
async fn night() -> Night {
    let mut night = Night::new();
    for number in 0..7 {
        night.crm.holds(&format!("c{number}"), &[&format!("p{number}@acme.example")], None);
    }
    let phone = |number: usize| format!("+1 202 555 010{number}");
    let book = (0..6).map(|number| contact(&format!("{number}"), &format!("p{number}@acme.example"), &phone(number)));
    night.books.connects("a", "valid", book.collect());
    night.books.connects("b", "valid", vec![titled("9", "p0@acme.example", "+1 202 555 0199", "Buyer")]);
    night.sync(json!({ "type": "contacts.sync" })).await;
    night.crm.edit("c1", ContactField::Phone, Some("+1 202 555 0777"));
    for number in 0..6 {
        night.books.puts("a", contact(&format!("{number}"), &format!("p{number}@acme.example"), &phone(number + 3)));
    }
    night.wait(DAY);
    night
}

fn ended(night: &Night) -> Vec<Option<String>> {
    (0..7).map(|number| night.crm.field(&format!("c{number}"), ContactField::Phone)).collect()
}

#[tokio::test(start_paused = true)]
async fn night_in_which_any_one_call_fails_ends_like_one_in_which_none_does() {
    let mut whole = night().await;
    let run = whole.sync(json!({ "type": "contacts.sync" })).await;
    let expected = ended(&whole);
    let counts = |counts: std::collections::BTreeMap<String, u64>| {
        counts.into_iter().filter(|(name, _)| !name.ends_with("calls") && name != "seconds").collect::<Vec<_>>()
    };
    let expected_counts = counts(whole.share(&run, "a").await.counts);
    assert_eq!(expected[1].as_deref(), Some("+1 202 555 0777"), "the person's edit");
    assert!(
        expected_counts.contains(&("conflicts".to_owned(), 1)) && expected_counts.contains(&("changed".to_owned(), 5))
    );
    let mut points = 0;
    for fails in [Fails::Before, Fails::After] {
        for call in 0.. {
            let mut night = night().await;
            let run = night.begins(json!({ "type": "contacts.sync" })).await;
            night.faults.plan(call, fails);
            night.works_off_the_queue().await;
            if !night.faults.struck() {
                break;
            }
            points += 1;
            assert_eq!(ended(&night), expected, "call {call} fails {fails:?}");
            let share = night.share(&run, "a").await;
            assert!(share.ended && share.problem.is_none(), "call {call} fails {fails:?}: {share:?}");
            assert_eq!(counts(share.counts), expected_counts, "call {call} fails {fails:?}");
        }
    }
    assert!(points > 60, "only {points} points");
}

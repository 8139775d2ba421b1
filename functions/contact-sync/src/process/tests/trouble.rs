//! A CRM that is slow, that has an error for one contact, or that refuses.

use super::*;
use shared::engine::progress::MOST_FINDINGS;
use shared::http::CallError;

fn sync() -> Value {
    json!({ "type": "contacts.sync" })
}

/// An account whose contacts the CRM knows, more than a page of them.
fn known(contacts: usize) -> Night {
    let night = Night::new();
    let book = (0..contacts)
        .map(|number| {
            let email = format!("p{number}@acme.example");
            night.crm.holds(&format!("c{number}"), &[&email], None);
            titled(&format!("{number}"), &email, &format!("+1 202 555 01{number:02}"), "Buyer")
        })
        .collect();
    night.books.connects("g", "valid", book);
    night
}

#[tokio::test(start_paused = true)]
async fn contact_that_the_crm_has_an_error_for_keeps_no_other_from_its_night() {
    for poisonous in ["p1@acme.example", "c1"] {
        let mut night = known(9);
        *night.crm.poisonous.lock().expect("not poisoned") = vec![poisonous.to_owned()];
        for _ in 0..2 {
            let run = night.sync(sync()).await;
            let share = night.share(&run, "g").await;
            assert!(share.ended && share.problem.is_none(), "{share:?}");
            assert_eq!(share.counts["skipped: no answer of the CRM for it"], 1, "{poisonous}");
            assert!(share.findings[0].why.contains("left for another night"), "{:?}", share.findings);
            night.wait(DAY);
        }
        assert_eq!(night.crm.writes().len(), 16, "two fields of the eight others");
        night.crm.poisonous.lock().expect("not poisoned").clear();
        let run = night.sync(sync()).await;
        assert_eq!(night.count(&run, "g", "changed").await, 1, "it is not forgotten");
    }
}

#[tokio::test(start_paused = true)]
async fn crm_that_is_down_costs_no_contact_its_night() {
    let mut night = known(9);
    let everybody: Vec<String> = (0..9).map(|number| format!("p{number}@acme.example")).collect();
    *night.crm.poisonous.lock().expect("not poisoned") = everybody;
    let run = night.begins(sync()).await;
    for message in night.takes() {
        night.process(&message.body).await.expect("divided");
    }
    let [share] = night.takes().try_into().expect("one share");
    for _ in 0..5 {
        let failure = night.process(&share.body).await.expect_err("the CRM is down");
        assert!(matches!(failure, Failure::Transient { .. }), "{failure:?}");
    }
    night.crm.poisonous.lock().expect("not poisoned").clear();
    night.process(&share.body).await.expect("a decision");
    assert_eq!(night.count(&run, "g", "changed").await, 9);
}

#[tokio::test(start_paused = true)]
async fn slow_crm_is_asked_for_fewer_contacts_at_a_time_until_it_keeps_up() {
    let mut night = known(6);
    for number in 0..6 {
        let emails =
            json!([{ "email": format!("other{number}@x.example") }, { "email": format!("p{number}@acme.example") }]);
        let emails = serde_json::from_value(emails).expect("emails");
        night.books.puts("g", Contact { emails, ..contact(&format!("{number}"), "", "+1 202 555 0100") });
    }
    *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(33);
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g", "changed").await, 6);
    // Three calls of 33 s fit an invocation, so each step is done within one.
    *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(50);
    for number in 0..6 {
        night.books.puts("g", contact(&format!("{number}"), &format!("p{number}@acme.example"), "+1 202 555 0199"));
    }
    night.wait(DAY);
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g", "changed").await, 6);
}

#[tokio::test(start_paused = true)]
async fn refused_field_is_told_with_the_words_of_the_crm_and_the_others_are_written() {
    let mut night = known(2);
    *night.crm.refuses_field.lock().expect("not poisoned") = Some(ContactField::Phone);
    let run = night.sync(sync()).await;
    assert_eq!(night.crm.field("c0", ContactField::JobTitle).as_deref(), Some("Buyer"));
    assert_eq!(night.crm.field("c0", ContactField::Phone), None);
    let share = night.share(&run, "g").await;
    assert_eq!((share.counts["changed"], share.findings.len()), (2, 2));
    assert_eq!(share.findings[0].why, "refused: phone is not for you");
    let calls = night.crm.made.load(Ordering::SeqCst);
    night.wait(DAY);
    let run = night.sync(sync()).await;
    assert_eq!(night.crm.made.load(Ordering::SeqCst), calls, "and not tried again every night");
    assert_eq!(night.share(&run, "g").await.findings.len(), 2, "but told");
}

#[tokio::test(start_paused = true)]
async fn crm_that_refuses_every_lookup_ends_the_share_with_its_problem() {
    let mut night = known(6);
    night.crm.refuses_lookups = true;
    let run = night.sync(sync()).await;
    let share = night.share(&run, "g").await;
    let problem = share.problem.expect("a problem");
    assert!(share.ended && problem.contains("refuses to look up all of 3 addresses"), "{problem}");
    night.crm.refuses_lookups = false;
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g", "changed").await, 6, "nobody was taken for unknown");
}

#[tokio::test(start_paused = true)]
async fn crm_without_the_change_of_contacts_is_tried_again_and_no_contact_taken_for_gone() {
    let mut night = known(3);
    let gone = || CallError::NotFound { api: "the CRM", what: "contact", gone: false }.into();
    *night.crm.refusals.lock().expect("not poisoned") = vec![gone(), gone(), gone()];
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g", "changed").await, 3);
}

#[tokio::test(start_paused = true)]
async fn value_of_a_write_that_never_ended_is_not_taken_for_an_edit_even_if_the_next_one_is_refused() {
    let mut night = known(1);
    night.sync(sync()).await;
    let puts = |night: &Night, phone: &str| night.books.puts("g", titled("0", "p0@acme.example", phone, "Buyer"));
    puts(&night, "+1 202 555 0111");
    night.wait(DAY);
    // The change is taken, and nobody learns of it: its answer is lost, and the process dies.
    let run = night.begins(sync()).await;
    for message in night.takes() {
        night.process(&message.body).await.expect("divided");
    }
    let [share] = night.takes().try_into().expect("one share");
    night.crm.edit("c0", ContactField::Phone, Some("+12025550100"));
    *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(10);
    {
        let died = night.process(&share.body);
        assert!(tokio::time::timeout(Duration::from_secs(15), died).await.is_err(), "it was over already");
    }
    night.crm.edit("c0", ContactField::Phone, Some("+12025550111"));
    *night.crm.latency.lock().expect("not poisoned") = Duration::ZERO;
    puts(&night, "+1 202 555 0122");
    *night.crm.refuses_field.lock().expect("not poisoned") = Some(ContactField::Phone);
    night.wait(1000);
    night.process(&share.body).await.expect("a decision");
    *night.crm.refuses_field.lock().expect("not poisoned") = None;
    puts(&night, "+1 202 555 0133");
    night.wait(DAY);
    let next = night.sync(sync()).await;
    assert_eq!(night.crm.field("c0", ContactField::Phone).as_deref(), Some("+12025550133"));
    assert_eq!(night.count(&next, "g", "conflicts").await, 0);
    assert_ne!(run, next);
}

#[tokio::test(start_paused = true)]
async fn long_values_and_many_findings_are_cut_so_that_a_note_fits_its_item() {
    let night = Night::new();
    let long = "x".repeat(5000);
    let book = (0..150)
        .map(|number| {
            let email = format!("p{number}@acme.example");
            night.crm.holds(&format!("c{number}"), &[&email], None);
            night.crm.edit(&format!("c{number}"), ContactField::JobTitle, Some(&long));
            titled(&format!("{number}"), &email, "", "Buyer")
        })
        .collect();
    night.books.connects("g", "valid", book);
    let mut night = night;
    let run = night.sync(sync()).await;
    let share = night.share(&run, "g").await;
    assert_eq!((share.counts["conflicts"], share.findings.len()), (150, MOST_FINDINGS));
    assert!(serde_json::to_string(&share).expect("JSON").len() < 100_000);
}

#[tokio::test(start_paused = true)]
async fn page_that_names_itself_as_the_next_one_ends_with_a_problem() {
    let mut night = known(9);
    night.books.hands_out_one_cursor.store(true, Ordering::SeqCst);
    let run = night.sync(sync()).await;
    let share = night.share(&run, "g").await;
    let problem = share.problem.clone().unwrap_or_default();
    assert!(share.ended && problem.contains("one page as the next one"), "{share:?}");
}

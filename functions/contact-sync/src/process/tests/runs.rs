//! Runs of several accounts: shares, joining, what is broken, and time.

use super::*;
use shared::http::CallError;
use shared::nylas::NylasError;

fn sync() -> Value {
    json!({ "type": "contacts.sync" })
}

fn several(grants: usize, contacts: usize) -> Night {
    let night = Night::new();
    for grant in 0..grants {
        let book = (0..contacts)
            .map(|number| {
                let email = format!("p{number}@g{grant}.example");
                night.crm.holds(&format!("c{grant}-{number}"), &[&email], None);
                contact(&format!("{number}"), &email, &format!("+1 202 555 01{number:02}"))
            })
            .collect();
        night.books.connects(&format!("g{grant}"), "valid", book);
    }
    night
}

fn throttled(retry_after: Option<u64>) -> NylasError {
    let retry_after = retry_after.map(Duration::from_secs);
    CallError::RateLimited { api: "Nylas", status: 429, retry_after, allowance: None }.into()
}

#[tokio::test(start_paused = true)]
async fn every_account_has_a_share_and_one_that_has_expired_is_told_and_not_failed() {
    let mut night = several(5, 3);
    night.books.connects("old", "invalid", Vec::new());
    let run = night.sync(sync()).await;
    let divided = progress(&night.links.links, &run_key(FUNCTION, &run)).await.expect("an answer").expect("a run");
    assert_eq!(divided.parts, ["g0", "g1", "g2", "g3", "g4"]);
    assert!(divided.problem.is_some_and(|problem| problem.starts_with("1 account has expired")));
    assert_eq!(divided.findings[0].of, "old");
    for grant in divided.parts {
        assert_eq!(night.count(&run, &grant, "changed").await, 3, "{grant}");
    }
}

#[tokio::test(start_paused = true)]
async fn second_start_while_a_run_is_under_way_joins_it() {
    let mut night = several(2, 3);
    let (first, second) = (night.begins(sync()).await, night.begins(sync()).await);
    assert_ne!(first, second);
    night.works_off_the_queue().await;
    assert_eq!(night.crm.writes().len(), 6);
    let joined = progress(&night.links.links, &run_key(FUNCTION, &second)).await.expect("an answer").expect("a run");
    assert!(joined.ended && joined.parts.is_empty());
    assert!(joined.problem.is_some_and(|problem| problem.contains(&first)), "it names the other");
    let third = night.sync(sync()).await;
    let after = progress(&night.links.links, &run_key(FUNCTION, &third)).await.expect("an answer").expect("a run");
    assert_eq!(after.problem, None, "a run that has ended is not joined");
}

#[tokio::test(start_paused = true)]
async fn run_that_hangs_on_one_account_does_not_keep_the_next_night_from_the_others() {
    let mut night = several(2, 3);
    let first = night.begins(sync()).await;
    let mut hanging = Vec::new();
    for message in night.takes() {
        night.process(&message.body).await.expect("divided");
    }
    for message in night.takes() {
        if message.body.contains("\"g1\"") {
            hanging.push(message);
        } else {
            night.process(&message.body).await.expect("done");
        }
    }
    night.wait(60 * 60);
    let joined = night.sync(sync()).await;
    let told = progress(&night.links.links, &run_key(FUNCTION, &joined)).await.expect("an answer").expect("a run");
    assert!(told.problem.is_some_and(|problem| problem.contains("joined it")), "it moved an hour ago");
    night.wait(60 * 60);
    let second = night.sync(sync()).await;
    for grant in ["g0", "g1"] {
        assert!(night.share(&second, grant).await.ended, "{grant}");
    }
    let writes = night.crm.writes().len();
    let late = night.process(&hanging[0].body).await.expect("a decision");
    assert_eq!((late.outcome, late.reason.as_str()), (Outcome::Skipped, "a newer run has begun"));
    assert_eq!(night.crm.writes().len(), writes);
    assert_ne!(first, second);
    let share = night.share(&first, "g1").await;
    assert!(share.ended && share.problem.is_some_and(|problem| problem.contains(&second)), "it says who does it now");
}

#[tokio::test(start_paused = true)]
async fn crash_while_a_run_is_superseded_leaves_no_old_run_alive() {
    for call in 0..12 {
        let mut night = several(2, 3);
        let first = night.begins(sync()).await;
        for message in night.takes() {
            night.process(&message.body).await.expect("divided");
        }
        let old = night.takes();
        night.wait(3 * 60 * 60);
        night.begins(sync()).await;
        night.faults.plan(call, outside::Fails::After);
        night.works_off_the_queue().await;
        for message in old {
            let late = night.process(&message.body).await.expect("a decision");
            assert_eq!(late.reason, "a newer run has begun", "call {call}");
        }
        assert_eq!(night.crm.writes().len(), 6);
        assert!(night.share(&first, "g0").await.ended);
    }
}

#[tokio::test(start_paused = true)]
async fn job_of_one_account_that_names_no_run_goes_on_to_its_end_whenever_it_is_sent() {
    let mut night = several(1, 30);
    for round in 1..=2 {
        *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(8);
        for number in 0..30 {
            let phone = format!("+1 202 555 {round}1{number:02}");
            night.books.puts("g0", contact(&format!("{number}"), &format!("p{number}@g0.example"), &phone));
        }
        night.process(&json!({ "type": "contacts.sync", "grant_id": "g0" }).to_string()).await.expect("a first slice");
        night.works_off_the_queue().await;
        assert_eq!(night.crm.writes().len(), round * 30, "in round {round}");
        night.wait(DAY);
    }
}

#[tokio::test(start_paused = true)]
async fn source_that_is_wanted_anew_brings_no_news() {
    let mut night = several(1, 1);
    night.sync(sync()).await;
    let of_the_directory =
        Contact { source: "domain".to_owned(), ..titled("d", "p0@g0.example", "+1 202 555 0177", "Buyer") };
    night.books.puts("g0", of_the_directory);
    night.books.puts("g0", contact("0", "p0@g0.example", "+1 202 555 0188"));
    night.sources = ["address_book", "domain"].map(str::to_owned).to_vec();
    night.wait(DAY);
    night.sync(sync()).await;
    assert_eq!(
        night.crm.field("c0-0", ContactField::Phone).as_deref(),
        Some("+12025550188"),
        "it changed; the other is new to us alone"
    );
    assert_eq!(night.crm.field("c0-0", ContactField::JobTitle).as_deref(), Some("Buyer"));
}

#[tokio::test(start_paused = true)]
async fn account_that_cannot_be_read_ends_with_its_problem_and_the_others_go_on() {
    let mut night = several(4, 2);
    night.books.refuses("g1", vec![NylasError::GrantExpired("g1".to_owned())]);
    night.books.refuses("g2", vec![NylasError::ScopeMissing("g2".to_owned())]);
    let text = "contacts are not for this provider".to_owned();
    let refused = CallError::Rejected { api: "Nylas", what: "list of contacts", status: 400, text };
    night.books.refuses("g3", vec![refused.into()]);
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g0", "changed").await, 2);
    for (grant, words) in [("g1", "has expired"), ("g2", "lacks a scope"), ("g3", "not for this provider")] {
        let share = night.share(&run, grant).await;
        assert!(share.ended && share.problem.as_ref().is_some_and(|problem| problem.contains(words)), "{share:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sources_are_read_one_after_another_and_one_that_cannot_be_read_costs_no_other() {
    let mut night = several(1, 5);
    night.sources = ["domain", "address_book", "inbox"].map(str::to_owned).to_vec();
    night.crm.holds("met", &["met@acme.example"], None);
    let of_the_inbox = Contact { source: "inbox".to_owned(), ..contact("i", "met@acme.example", "+1 202 555 0177") };
    night.books.puts("g0", of_the_inbox);
    night.books.refuses("g0", vec![NylasError::ScopeMissing("g0".to_owned())]);
    let run = night.sync(sync()).await;
    let share = night.share(&run, "g0").await;
    assert_eq!((share.counts["contacts"], share.counts["changed"], share.counts["pages"]), (6, 6, 3));
    assert!(share.problem.is_some_and(|problem| problem.starts_with("the source domain cannot be read")));
}

#[tokio::test(start_paused = true)]
async fn throttled_page_waits_as_long_as_is_asked_or_backs_off_and_goes_on() {
    let mut night = several(1, 3);
    night.books.refuses("g0", vec![throttled(Some(40)), throttled(None), throttled(None)]);
    let begun = Instant::now();
    let run = night.sync(sync()).await;
    assert!((40..50).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(night.count(&run, "g0", "changed").await, 3);
}

#[tokio::test(start_paused = true)]
async fn wait_that_is_longer_than_the_invocation_is_left_to_the_queue() {
    let night = several(1, 3);
    night.books.refuses("g0", vec![throttled(Some(600))]);
    let job = json!({ "type": "contacts.sync", "grant_id": "g0", "run": "r" }).to_string();
    let begun = Instant::now();
    let failure = night.process(&job).await.expect_err("throttled");
    assert_eq!(begun.elapsed().as_secs(), 0);
    let asked = Some(Duration::from_mins(10));
    assert!(matches!(&failure, Failure::Transient { retry_after, .. } if *retry_after == asked), "{failure:?}");
    assert_eq!(night.process(&job).await.expect("a decision").outcome, Outcome::Done);
}

#[tokio::test(start_paused = true)]
async fn cursor_that_has_lost_its_life_costs_a_new_beginning_and_nothing_twice() {
    let mut night = several(1, 9);
    let text = "invalid page token".to_owned();
    let refused = || CallError::Rejected { api: "Nylas", what: "list of contacts", status: 400, text: text.clone() };
    let job = json!({ "type": "contacts.sync", "grant_id": "g0", "run": "r" }).to_string();
    let work = night.work(&job, Duration::from_millis(23_500));
    *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(1);
    night.rules().process(&work).await.expect("a first part");
    night.books.refuses("g0", vec![refused().into()]);
    night.process(&job).await.expect("the rest");
    assert_eq!(night.crm.writes().len(), 9);
    let share = night.share("r", "g0").await;
    assert!(share.ended && share.problem.is_none(), "{share:?}");
    assert_eq!(share.counts["begun anew"], 1);
    night.takes();
}

#[tokio::test(start_paused = true)]
async fn what_is_left_when_time_is_up_goes_on_in_a_message_of_its_own_where_it_was() {
    let mut night = several(1, 30);
    *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(8);
    let run = night.sync(sync()).await;
    let messages = night.queue.queue.sent().len();
    assert!(messages >= 4, "{messages} messages");
    let share = night.share(&run, "g0").await;
    assert_eq!((share.counts["contacts"], share.counts["changed"], share.counts["pages"]), (30, 30, 8));
    assert_eq!(night.crm.writes().len(), 30);
    assert_eq!(night.crm.lookups(), 30, "no step is done twice");
}

#[tokio::test(start_paused = true)]
async fn two_accounts_that_know_one_person_end_in_the_same_value_whatever_the_order() {
    for first in ["a", "b"] {
        let mut night = Night::new();
        night.crm.holds("c1", &["dana@acme.example"], None);
        night.books.connects("a", "valid", vec![contact("1", "dana@acme.example", "+1 202 555 0100")]);
        night.books.connects("b", "valid", vec![titled("1", "dana@acme.example", "+1 202 555 0111", "Buyer")]);
        for grant in [first, if first == "a" { "b" } else { "a" }] {
            night
                .process(&json!({ "type": "contacts.sync", "grant_id": grant, "run": "r" }).to_string())
                .await
                .expect("done");
        }
        assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550111"), "{first} first");
        night.books.puts("a", contact("1", "dana@acme.example", "+1 202 555 0199"));
        night.wait(DAY);
        night.sync(sync()).await;
        assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550199"), "it changed last");
        night.wait(8 * DAY);
        let run = night.sync(sync()).await;
        assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550199"));
        assert_eq!(night.count(&run, "b", "conflicts").await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn two_accounts_at_once_never_write_one_person_at_the_same_time() {
    let night = Night::new();
    for number in 0..6 {
        night.crm.holds(&format!("c{number}"), &[&format!("p{number}@acme.example")], None);
    }
    let book = |phone: &str, order: &[usize]| {
        order
            .iter()
            .map(|number| contact(&format!("{number}"), &format!("p{number}@acme.example"), phone))
            .collect::<Vec<_>>()
    };
    night.books.connects("a", "valid", book("+1 202 555 0100", &[0, 1, 2, 3, 4, 5]));
    night.books.connects("b", "valid", book("+1 202 555 0111", &[5, 4, 3, 2, 1, 0]));
    *night.crm.latency.lock().expect("not poisoned") = Duration::from_secs(2);
    let job = |grant: &str| json!({ "type": "contacts.sync", "grant_id": grant, "run": "r" }).to_string();
    let (a, b) = (job("a"), job("b"));
    let (first, second) = tokio::join!(night.process(&a), night.process(&b));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    for number in 0..6 {
        let phone = night.crm.field(&format!("c{number}"), ContactField::Phone);
        assert_eq!(phone.as_deref(), Some("+12025550100"), "the first in order counts for c{number}");
    }
    let kept = night.share("r", "a").await.counts.get("conflicts").copied();
    assert_eq!((kept, night.share("r", "b").await.counts.get("conflicts").copied()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn run_of_one_account_counts_in_no_run_of_all_and_joins_none() {
    let mut night = several(2, 2);
    let all = night.begins(sync()).await;
    let one = night.begins(json!({ "type": "contacts.sync", "grant_id": "g1", "run": "by-hand" })).await;
    night.works_off_the_queue().await;
    assert!(night.share(&one, "g1").await.ended && night.share(&all, "g1").await.ended);
    let (alone, among) = (night.count(&one, "g1", "changed").await, night.count(&all, "g1", "changed").await);
    assert_eq!(alone + among, 2);
}

#[tokio::test(start_paused = true)]
async fn event_of_another_kind_is_refused_and_a_run_without_a_crm_does_not_begin() {
    let night = several(1, 1);
    let refused = night.rules().begin(json!({ "type": "reconcile" }), "i").await.expect_err("refused");
    assert!(refused.to_string().contains("contacts.sync"), "{refused}");
    let rules = night.rules();
    let without = ContactSync::with(Provision { crm: None, ..rules.ports }, rules.settings);
    let begun = without.begin(sync(), "i").await.expect("an answer");
    assert_eq!(serde_json::to_value(begun).expect("JSON"), json!({ "skipped": "off (CrmBaseUrl)" }));
    let work = night.work(&sync().to_string(), Duration::from_mins(1));
    assert_eq!(without.process(&work).await.expect("a decision"), Decision::off("CrmBaseUrl"));
    assert!(night.queue.queue.sent().is_empty());
}

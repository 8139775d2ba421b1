//! One account, night after night.

use super::*;
use crate::process::tests::outside::Held;
use shared::crm::contact_fields::PerField;
use shared::http::CallError;

fn sync() -> Value {
    json!({ "type": "contacts.sync" })
}

fn two_known() -> Night {
    let night = Night::new();
    night.crm.holds("c1", &["dana@acme.example"], None);
    night.crm.holds("c2", &["eve@acme.example"], None);
    let book = vec![
        titled("1", "dana@acme.example", "+1 202 555 0100", "Buyer"),
        contact("2", "eve@acme.example", "+1 202 555 0111"),
        contact("3", "nobody@acme.example", "+1 202 555 0122"),
        contact("4", "ines@northwind.example", "+1 202 555 0133"),
        contact("5", "x@secret.example", "+1 202 555 0144"),
        contact("6", "fay@acme.example", ""),
    ];
    night.books.connects("g", "valid", book);
    night
}

#[tokio::test(start_paused = true)]
async fn first_night_writes_what_is_known_and_the_second_calls_nobody() {
    let mut night = two_known();
    let run = night.sync(sync()).await;
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550100"));
    assert_eq!(night.crm.field("c1", ContactField::JobTitle).as_deref(), Some("Buyer"));
    assert_eq!(night.crm.field("c2", ContactField::Phone).as_deref(), Some("+12025550111"));
    let share = night.share(&run, "g").await;
    let counts: Vec<(&str, u64)> = share.counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    let expected = [
        ("CRM calls", 2),
        ("Nylas calls", 2),
        ("changed", 2),
        ("contacts", 6),
        ("matched", 2),
        ("pages", 2),
        ("skipped: a colleague", 1),
        ("skipped: no phone, title or company", 1),
        ("skipped: not in the CRM", 1),
        ("skipped: on the never-log list", 1),
    ];
    assert_eq!(counts, expected);
    assert!(share.ended && share.problem.is_none());

    night.wait(DAY);
    let (calls, links) = (night.crm.made.load(Ordering::SeqCst), night.links.written.load(Ordering::SeqCst));
    let second = night.sync(sync()).await;
    assert_ne!(second, run);
    assert_eq!(night.crm.made.load(Ordering::SeqCst), calls, "no lookup and no write");
    assert_eq!(night.count(&second, "g", "unchanged").await, 2);
    assert_eq!(night.count(&second, "g", "skipped: not in the CRM").await, 1);
    assert_eq!(night.count(&second, "g", "changed").await, 0);
    let written = night.links.written.load(Ordering::SeqCst) - links;
    assert!(written < 12, "nothing is written for a contact that has not changed: {written}");
}

#[tokio::test(start_paused = true)]
async fn unchanged_contact_is_looked_up_again_once_its_lookup_is_a_week_old() {
    let mut night = two_known();
    night.sync(sync()).await;
    let lookups = night.crm.lookups();
    night.crm.holds("c3", &["nobody@acme.example"], None);
    night.wait(6 * DAY);
    night.sync(sync()).await;
    assert_eq!(night.crm.lookups(), lookups);
    night.wait(DAY);
    let run = night.sync(sync()).await;
    assert_eq!(night.crm.lookups(), lookups + 3);
    assert_eq!(night.count(&run, "g", "changed").await, 1, "who became a contact meanwhile");
    assert_eq!(night.crm.field("c3", ContactField::Phone).as_deref(), Some("+12025550122"));
}

#[tokio::test(start_paused = true)]
async fn only_the_field_that_changed_is_written() {
    let mut night = two_known();
    night.sync(sync()).await;
    let before = night.crm.writes().len();
    night.books.puts("g", titled("1", "dana@acme.example", "+1 202 555 0100", "Head of Buying"));
    night.wait(DAY);
    night.sync(sync()).await;
    let written = [("c1".to_owned(), ContactField::JobTitle, "Head of Buying".to_owned())];
    assert_eq!(night.crm.writes()[before..], written);
}

#[tokio::test(start_paused = true)]
async fn value_that_vanishes_from_the_address_book_stays_in_the_crm() {
    let mut night = two_known();
    night.sync(sync()).await;
    let before = night.crm.writes().len();
    night.books.puts("g", titled("1", "dana@acme.example", "", "Buyer"));
    night.wait(DAY);
    night.sync(sync()).await;
    assert_eq!(night.crm.writes().len(), before);
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550100"));
}

#[tokio::test(start_paused = true)]
async fn what_a_person_edited_is_kept_counted_and_listed_night_after_night() {
    let mut night = two_known();
    night.sync(sync()).await;
    night.crm.edit("c1", ContactField::Phone, Some("+1 202 555 0777"));
    night.crm.edit("c2", ContactField::Phone, None);
    night.books.puts("g", titled("1", "dana@acme.example", "+1 202 555 0199", "Head of Buying"));
    night.books.puts("g", contact("2", "eve@acme.example", "+1 202 555 0188"));
    for _ in 0..2 {
        night.wait(DAY);
        let run = night.sync(sync()).await;
        assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+1 202 555 0777"));
        assert_eq!(night.crm.field("c2", ContactField::Phone), None, "emptying is an edit, too");
        assert_eq!(night.crm.field("c1", ContactField::JobTitle).as_deref(), Some("Head of Buying"));
        let share = night.share(&run, "g").await;
        assert_eq!(share.counts["conflicts"], 2);
        let listed: Vec<(&str, Option<&str>, Option<&str>)> = share
            .findings
            .iter()
            .map(|finding| (finding.of.as_str(), finding.stands.as_deref(), finding.proposed.as_deref()))
            .collect();
        let mut listed = listed;
        listed.sort_unstable();
        let expected = [("c1", Some("+1 202 555 0777"), Some("+12025550199")), ("c2", None, Some("+12025550188"))];
        assert_eq!(listed, expected);
    }
    night.crm.edit("c1", ContactField::Phone, Some("202-555-0199"));
    night.wait(7 * DAY);
    let run = night.sync(sync()).await;
    assert_eq!(night.share(&run, "g").await.counts["conflicts"], 1, "they agree again");
}

#[tokio::test(start_paused = true)]
async fn value_that_stood_there_before_is_kept_until_somebody_allows_to_replace_it_once() {
    let mut night = Night::new();
    night.crm.holds("c1", &["dana@acme.example"], Some("(202) 555-0700"));
    night.books.connects("g", "valid", vec![contact("1", "dana@acme.example", "+1 202 555 0100")]);
    let run = night.sync(sync()).await;
    assert_eq!(night.share(&run, "g").await.findings[0].why, "kept: it stood in the CRM before");
    night.wait(DAY);
    let tried = night.sync(json!({ "type": "contacts.sync", "replace_existing": true, "dry_run": true })).await;
    assert_eq!(night.count(&tried, "g", "would change").await, 1);
    assert!(night.crm.writes().is_empty());
    night.wait(DAY);
    let run = night.sync(json!({ "type": "contacts.sync", "replace_existing": true })).await;
    assert_eq!(night.count(&run, "g", "changed").await, 1);
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550100"));
}

#[tokio::test(start_paused = true)]
async fn value_that_the_crm_has_already_is_not_written_but_counts_as_written_from_then_on() {
    let mut night = Night::new();
    night.crm.holds("c1", &["dana@acme.example"], Some("(202) 555-0100"));
    night.books.connects("g", "valid", vec![contact("1", "dana@acme.example", "+1 202 555 0100")]);
    night.sync(sync()).await;
    assert!(night.crm.writes().is_empty());
    night.books.puts("g", contact("1", "dana@acme.example", "+1 202 555 0199"));
    night.wait(DAY);
    night.sync(sync()).await;
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550199"));
}

#[tokio::test(start_paused = true)]
async fn crm_that_tells_nothing_is_written_to_once_for_each_change() {
    let mut night = Night::new();
    night.crm.tells_nothing = true;
    night.crm.holds("c1", &["dana@acme.example"], None);
    night.books.connects("g", "valid", vec![contact("1", "dana@acme.example", "+1 202 555 0100")]);
    for _ in 0..3 {
        night.sync(sync()).await;
        night.wait(8 * DAY);
    }
    assert_eq!(night.crm.writes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dry_run_writes_nothing_anywhere_and_lists_what_would_change() {
    let mut night = two_known();
    let run = night.sync(json!({ "type": "contacts.sync", "dry_run": true })).await;
    assert!(night.crm.writes().is_empty());
    let share = night.share(&run, "g").await;
    assert_eq!((share.counts["would change"], share.counts.get("changed")), (2, None));
    assert_eq!(share.findings.len(), 3, "two fields of the one, one of the other");
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g", "changed").await, 2, "nothing of it was remembered");
}

#[tokio::test(start_paused = true)]
async fn address_of_work_is_asked_for_first_and_the_others_only_if_nobody_has_it() {
    let mut night = Night::new();
    night.crm.holds("c1", &["work@acme.example"], None);
    night.crm.holds("c2", &["home@acme.example"], None);
    let emails =
        |work: &str| json!([{ "type": "home", "email": "home@acme.example" }, { "type": "work", "email": work }]);
    let with = |id: &str, work: &str| Contact {
        emails: serde_json::from_value(emails(work)).expect("emails"),
        ..contact(id, "", "+1 202 555 0100")
    };
    night.books.connects("g", "valid", vec![with("1", "work@acme.example")]);
    night.sync(sync()).await;
    assert_eq!(*night.crm.lookups.lock().expect("not poisoned"), ["work@acme.example"]);
    assert_eq!(night.crm.field("c2", ContactField::Phone), None);
    night.books.puts("g", with("2", "gone@acme.example"));
    night.sync(sync()).await;
    assert!(night.crm.field("c2", ContactField::Phone).is_some());
}

#[tokio::test(start_paused = true)]
async fn address_that_several_contacts_have_is_nobodys() {
    let mut night = Night::new();
    night.crm.holds("c1", &["info@acme.example"], None);
    night.crm.holds("c2", &["info@acme.example"], None);
    night.books.connects("g", "valid", vec![contact("1", "info@acme.example", "+1 202 555 0100")]);
    let run = night.sync(sync()).await;
    assert_eq!(night.count(&run, "g", "skipped: several in the CRM").await, 1);
    assert!(night.crm.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn refusal_and_a_vanished_contact_are_counted_and_not_tried_again_every_night() {
    let mut night = two_known();
    night.books.puts("g", contact("1", "dana@acme.example", "+1 202 555 0100"));
    let rejected = CallError::Rejected { api: "the CRM", what: "contact", status: 422, text: "too long".to_owned() };
    let gone = CallError::NotFound { api: "the CRM", what: "contact", gone: false };
    *night.crm.refusals.lock().expect("not poisoned") = vec![rejected.into(), gone.into()];
    let run = night.sync(sync()).await;
    let counts = night.share(&run, "g").await.counts;
    assert_eq!((counts["skipped: refused by the CRM"], counts["skipped: gone from the CRM"]), (1, 1));
    let calls = night.crm.made.load(Ordering::SeqCst);
    night.wait(DAY);
    night.sync(sync()).await;
    assert_eq!(night.crm.made.load(Ordering::SeqCst), calls);
}

#[tokio::test(start_paused = true)]
async fn same_person_twice_in_one_address_book_is_decided_once() {
    let mut night = Night::new();
    night.crm.holds("c1", &["dana@acme.example", "dana@home.example"], None);
    let book = vec![
        contact("1", "dana@acme.example", "+1 202 555 0100"),
        titled("2", "dana@home.example", "+1 202 555 0111", "Buyer"),
    ];
    night.books.connects("g", "valid", book);
    let run = night.sync(sync()).await;
    let fields =
        PerField { phone: Some("+12025550111".to_owned()), job_title: Some("Buyer".to_owned()), company: None };
    let emails = vec!["dana@acme.example".to_owned(), "dana@home.example".to_owned()];
    assert_eq!(*night.crm.contacts.lock().expect("not poisoned"), [Held { id: "c1".to_owned(), emails, fields }]);
    assert_eq!(night.crm.writes().len(), 2, "one value for each field");
    assert_eq!(night.count(&run, "g", "matched").await, 2);
    assert_eq!(night.count(&run, "g", "changed").await, 1);
}

#[tokio::test(start_paused = true)]
async fn conflict_of_one_copy_is_not_mistaken_for_one_after_the_other_copy_was_written() {
    // Both copies are of one person and come in different steps: the second sees what the first has just written.
    let mut night = Night::new();
    night.crm.holds("c1", &["dana@acme.example", "dana@home.example"], None);
    let mut book = vec![contact("1", "dana@acme.example", "+1 202 555 0100")];
    book.extend(
        (0..3).map(|number| contact(&format!("n{number}"), &format!("n{number}@acme.example"), "+1 202 555 0122")),
    );
    book.push(titled("9", "dana@home.example", "+1 202 555 0111", "Buyer"));
    night.books.connects("g", "valid", book);
    let run = night.sync(sync()).await;
    assert_eq!(night.crm.field("c1", ContactField::Phone).as_deref(), Some("+12025550111"), "it says more");
    assert_eq!(night.count(&run, "g", "conflicts").await, 0);
}

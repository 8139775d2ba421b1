//! Contacts end to end: nights of the real function under its own narrow role, with the address books and the CRM of the
//! sandbox.

use super::operator::{followed, told_to};
use super::*;
use sandbox::stand_ins::rest_crm::ContactField;

/// An account with an address book; its name is its id.
fn account(name: &str) -> Grant {
    Grant::google(name, &format!("{CANARY}.{name}@northwind.example"))
}

/// The id in the CRM, and the address, of one of an account's contacts.
fn person(account: &str, number: usize) -> (String, String) {
    (format!("con_{account}_{number}"), format!("{CANARY}.p{number}@{account}.example"))
}

/// A number that nobody else has. Its digits are a canary, too: no log may hold them.
fn phone(number: usize) -> String {
    format!("+1202555{number:04}")
}

fn contact(account: &str, number: usize, phone: &str) -> Value {
    let (_, email) = person(account, number);
    json!({
        "id": format!("{account}-{number}"), "grant_id": account, "object": "contact", "source": "address_book",
        "given_name": CANARY, "emails": [{"email": email, "type": "work"}],
        "phone_numbers": [{"number": phone, "type": "work"}], "job_title": null, "company_name": null,
    })
}

/// Connects an account whose contacts the CRM knows, without a number.
fn connect_known(world: &World, name: &str, contacts: usize, grant: Grant) {
    let book = (0..contacts).map(|number| contact(name, number, &phone(number)));
    world.nylas.add_grant(book.fold(grant, Grant::with_contact));
    for number in 0..contacts {
        let (id, email) = person(name, number);
        world.crm.add_contact(CrmContact::new(&id, &email));
    }
}

fn phone_in_crm(world: &World, account: &str, number: usize) -> Option<String> {
    let (id, email) = person(account, number);
    let contacts = world.crm.contacts_with(&email);
    contacts.into_iter().find(|contact| contact.id == id).expect("a contact of the CRM").phone
}

/// How often the CRM was asked for a contact of an account.
fn lookups(world: &World, account: &str) -> usize {
    let asks_for_it = |query: &str| {
        query.contains(&format!("%40{account}.example")) || query.contains(&format!("@{account}.example"))
    };
    world.crm.calls().all().iter().filter(|call| call.method == "GET" && asks_for_it(&call.query)).count()
}

/// How often a contact of an account was written.
fn writes(world: &World, account: &str) -> usize {
    let of_it = format!("/contacts/con_{account}_");
    let is_written = |status: Option<u16>| status == Some(200);
    let calls = world.crm.calls().all();
    calls
        .iter()
        .filter(|call| call.method == "PATCH" && call.path.starts_with(&of_it) && is_written(call.status))
        .count()
}

/// The row of an account in an answer of the operator.
fn row<'a>(answer: &'a Value, account: &str) -> &'a Value {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["grant"] == account).unwrap_or_else(|| panic!("no row of {account} in {answer}"))
}

async fn sync(world: &World, account: &str) -> Value {
    followed(world, &json!({"command": "sync", "grant_id": account})).await
}

#[test]
fn night_reaches_twelve_accounts_each_by_its_pages_and_the_next_one_calls_the_crm_for_nobody() {
    in_the_world(async |world| {
        let names: Vec<String> = (0..12).map(|number| format!("night-{number:02}")).collect();
        for name in &names {
            let contacts = if name == "night-07" { 430 } else { 3 };
            connect_known(world, name, contacts, account(name));
        }
        world.nylas.add_grant(Grant { grant_status: "invalid".to_owned(), ..account("night-expired") });
        // One is throttled and says for how long, one is throttled and does not say, one is out of order for a while.
        let list = |name: &str| format!("/v3/grants/{name}/contacts");
        let faults = world.nylas.faults();
        faults.add(FaultRule::next(1, Fault::status_with_retry_after(429, "2")).on("GET", &list("night-01")));
        faults.add(FaultRule::next(2, Fault::status(429)).on("GET", &list("night-02")));
        faults.add(FaultRule::next(3, Fault::status(503)).on("GET", &list("night-03")));
        faults.add(FaultRule::next(2, Fault::status(403)).on("GET", &list("night-04")));
        let all = json!({"command": "sync"});
        let (first, second) = tokio::join!(told_to(world, &all), told_to(world, &all));
        let joined = |answer: &Value| {
            let problem = row_of_all(answer)["problem"].as_str().unwrap_or_default().to_owned();
            problem.contains("joined it")
        };
        assert_ne!(joined(&first), joined(&second), "one of two runs joins the other: {first} {second}");
        let whole = if joined(&first) { &second } else { &first };
        let answer = followed(world, &whole["again"]).await;
        faults.clear();
        for name in &names {
            let row = row(&answer, name);
            let contacts: u64 = match name.as_str() {
                "night-07" => 430,
                "night-04" => {
                    let problem = row["problem"].as_str().unwrap_or_default();
                    assert!(problem.contains("lacks a scope"), "{row}");
                    continue;
                }
                _ => 3,
            };
            let counts = &row["counts"];
            assert_eq!((&row["state"], &row["problem"]), (&json!("ended"), &json!(null)), "{row}");
            assert_eq!((&counts["contacts"], &counts["changed"]), (&json!(contacts), &json!(contacts)), "{row}");
            assert_eq!(phone_in_crm(world, name, 2), Some(phone(2)), "{name}");
        }
        assert_eq!(row(&answer, "night-07")["counts"]["pages"], 3);
        assert_eq!((lookups(world, "night-07"), writes(world, "night-07")), (430, 430), "each once");
        assert!(row_of_all(&answer)["problem"].as_str().is_some_and(|problem| problem.contains("expired")), "{answer}");

        let before = (lookups(world, "night-07"), writes(world, "night-07"));
        let again = followed(world, &all).await;
        assert_eq!(row(&again, "night-07")["counts"]["unchanged"], 430);
        assert_eq!(row(&again, "night-04")["counts"]["changed"], 3, "what could not be read is caught up on");
        assert_eq!(
            (lookups(world, "night-07"), writes(world, "night-07")),
            before,
            "an unchanged night costs the CRM nothing"
        );
        let log = world.engine.log_lines(&world.stack, "contact-sync").await.expect("lines");
        let reports: Vec<&str> = log
            .iter()
            .map(|line| line.text.as_str())
            .filter(|line| line.contains("\"contact sync\"") && line.contains("accounts_with_a_problem"))
            .collect();
        assert!(reports.len() >= 2, "{reports:?}");
        for word in ["\"contacts\":", "\"changed\":", "\"conflicts\":", "\"crm_calls\":", "\"seconds\":"] {
            assert!(reports[0].contains(word), "{word} in {}", reports[0]);
        }
    });
}

/// The row of the job that lists the accounts.
fn row_of_all(answer: &Value) -> &Value {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["grant"].is_null()).unwrap_or_else(|| panic!("no row of all in {answer}"))
}

#[test]
fn only_what_changed_is_written_nothing_is_emptied_and_an_edit_of_a_person_stays() {
    in_the_world(async |world| {
        connect_known(world, "careful", 4, account("careful"));
        let answer = sync(world, "careful").await;
        assert_eq!(row(&answer, "careful")["counts"]["changed"], 4);
        // One moves on, one is emptied in the address book, one was edited in the CRM, one stays as it was.
        let mut promoted = contact("careful", 0, &phone(0));
        promoted["job_title"] = json!(format!("{CANARY} Head"));
        world.nylas.put_contact("careful", promoted).expect("connected");
        let mut emptied = contact("careful", 1, "");
        emptied["company_name"] = json!(" ");
        emptied["phone_numbers"] = json!(null);
        world.nylas.put_contact("careful", emptied).expect("connected");
        world.nylas.put_contact("careful", contact("careful", 2, &phone(7777))).expect("connected");
        let (edited, _) = person("careful", 2);
        world.crm.set_contact_field(&edited, ContactField::Phone, Some("+12025550001")).expect("a contact");
        let before = (lookups(world, "careful"), writes(world, "careful"));

        let trial = followed(world, &json!({"command": "sync", "grant_id": "careful", "dry_run": true})).await;
        assert_eq!(row(&trial, "careful")["counts"]["would change"], 1, "{trial}");
        assert_eq!(writes(world, "careful"), before.1, "a dry run writes nothing");

        let answer = sync(world, "careful").await;
        let counts = &row(&answer, "careful")["counts"];
        let expected = [("changed", 1), ("conflicts", 1), ("contacts", 4), ("unchanged", 2)];
        for (name, count) in expected {
            assert_eq!(counts[name], count, "{name}: {answer}");
        }
        assert_eq!(writes(world, "careful"), before.1 + 1);
        let of = |number: usize| world.crm.contacts_with(&person("careful", number).1).remove(0);
        assert_eq!((of(0).phone, of(0).job_title), (Some(phone(0)), Some(format!("{CANARY} Head"))));
        assert_eq!(of(1).phone, Some(phone(1)), "nothing is emptied");
        assert_eq!(of(2).phone.as_deref(), Some("+12025550001"), "the person's edit stays");
        let findings = row(&answer, "careful")["findings"].as_array().expect("findings").clone();
        let [kept] = findings.as_slice() else { panic!("one finding: {findings:?}") };
        assert_eq!((&kept["of"], &kept["field"]), (&json!(edited), &json!("phone")));
        assert_eq!((&kept["stands"], &kept["proposed"]), (&json!("+12025550001"), &json!(phone(7777))));
        let table = answer["table"].as_str().expect("a table");
        assert!(table.contains(&edited) && table.contains("somebody changed it in the CRM"), "{table}");
    });
}

#[test]
fn night_whose_process_is_killed_on_its_way_goes_on_where_it_was_and_writes_nothing_twice() {
    in_the_world(async |world| {
        let contacts = queue(world, "ContactSync");
        let function = world.stack.function_name("ContactSync").expect("a name");
        world.view.set_visibility_timeout(&contacts, 5).await.expect("set");
        connect_known(world, "killed-night", 260, account("killed-night"));
        world.crm.faults().set_latency(Duration::from_millis(100));
        let begun = told_to(world, &json!({"command": "sync", "grant_id": "killed-night", "wait_seconds": 0})).await;
        let within = Instant::now();
        while writes(world, "killed-night") < 60 {
            assert!(within.elapsed() < Duration::from_mins(1), "nothing was written");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let killed = world.engine.kill_function(function).expect("processes to kill");
        assert!(!killed.is_empty(), "no process was at work");
        let before = writes(world, "killed-night");
        assert!(before < 260, "it was over already");
        world.crm.faults().clear();
        let answer = followed(world, &begun["again"]).await;
        world.view.set_visibility_timeout(&contacts, 720).await.expect("set");
        let row = row(&answer, "killed-night");
        assert_eq!((&row["counts"]["contacts"], &row["state"]), (&json!(260), &json!("ended")), "{row}");
        for number in [0, 100, 259] {
            assert_eq!(phone_in_crm(world, "killed-night", number), Some(phone(number)));
        }
        // What was under way when the process died is looked up again and found written.
        let again = writes(world, "killed-night") - 260;
        assert!(again <= 20, "{again} were written twice");
        assert_eq!(
            row["counts"]["changed"].as_u64().unwrap_or_default()
                + row["counts"]["unchanged"].as_u64().unwrap_or_default(),
            260
        );
    });
}

#[test]
fn contact_that_changes_by_day_is_in_the_crm_at_once_as_it_stands_then() {
    in_the_world(async |world| {
        connect_known(world, "by-day", 1, account("by-day"));
        let told = |id: &str, object: Value| notification("contact.updated", id, &object);
        // The notification is older than what the address book says by now.
        deliver(world, &told("contact-old", contact("by-day", 0, &phone(1111)))).await;
        let record = decided(world, "contact-old").await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("logged", "fields written"));
        assert_eq!(phone_in_crm(world, "by-day", 0), Some(phone(0)));
        deliver(world, &told("contact-again", contact("by-day", 0, &phone(0)))).await;
        let record = decided(world, "contact-again").await;
        assert_eq!(record.reason, "nothing has changed that is kept fresh");
        deliver(world, &told("contact-gone", contact("by-day", 404, &phone(0)))).await;
        assert_eq!(decided(world, "contact-gone").await.reason, "gone from the address book");
        assert_eq!((lookups(world, "by-day"), writes(world, "by-day")), (1, 1));
    });
}

#[test]
fn nightly_schedule_begins_a_run_by_itself() {
    in_the_world(async |world| {
        connect_known(world, "scheduled", 1, account("scheduled"));
        begin_schedule_soon(world, "NightlyContactSync").await;
        let begun = Instant::now();
        while phone_in_crm(world, "scheduled", 0).is_none() {
            assert!(begun.elapsed() < Duration::from_mins(3), "the schedule has not begun a run");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        end_schedule(world, "NightlyContactSync").await;
        world.view.emptied(&queue(world, "ContactSync"), Duration::from_mins(2)).await.expect("the run ends");
        // A person can begin one the same way.
        let function = world.stack.function_name("ContactSync").expect("a name");
        let answer =
            world.engine.invoke(function, &json!({"type": "contacts.sync"}).to_string()).await.expect("an answer");
        assert!(answer["queued"].as_str().is_some_and(|run| run.starts_with("nightly-")), "{answer}");
        world.view.emptied(&queue(world, "ContactSync"), Duration::from_mins(2)).await.expect("the run ends");
    });
}

#[test]
fn same_person_in_two_address_books_ends_as_the_one_that_changed_last_says() {
    in_the_world(async |world| {
        let shared_person = |account: &str, phone: &str, title: Option<&str>| {
            let mut contact = contact("twice", 0, phone);
            contact["id"] = json!(format!("{account}-twice"));
            contact["grant_id"] = json!(account);
            contact["job_title"] = json!(title);
            contact
        };
        let (id, email) = person("twice", 0);
        world.crm.add_contact(CrmContact::new(&id, &email));
        let title = format!("{CANARY} Buyer");
        world.nylas.add_grant(account("twice-a").with_contact(shared_person("twice-a", &phone(2001), None)));
        world.nylas.add_grant(account("twice-b").with_contact(shared_person("twice-b", &phone(2002), Some(&title))));
        sync(world, "twice-a").await;
        sync(world, "twice-b").await;
        assert_eq!(phone_in_crm(world, "twice", 0), Some(phone(2002)), "it says more");
        world.nylas.put_contact("twice-a", shared_person("twice-a", &phone(2003), None)).expect("connected");
        sync(world, "twice-a").await;
        let before = writes(world, "twice");
        sync(world, "twice-b").await;
        assert_eq!(phone_in_crm(world, "twice", 0), Some(phone(2003)), "it changed last");
        assert_eq!(writes(world, "twice"), before);
    });
}

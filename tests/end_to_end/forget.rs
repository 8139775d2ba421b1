//! The operator's `forget` end to end: a person whom the stack knows everywhere is forgotten everywhere, and nothing is done
//! twice afterwards.

use super::calendars::{event as meeting, happens, rep};
use super::notetakers::{ALL, all_files, attended, available, decided_on, links};
use super::operator::told_to;
use super::support::Letter;
use super::*;
use sandbox::customers::{Customers, event as product_event, tell};
use sandbox::named::{places, words_for};
use shared::domain::address::EmailAddress;

fn leaver() -> String {
    format!("{CANARY}.leaver@leavers.example")
}

/// Where the stack names the person.
async fn named(world: &World) -> Vec<String> {
    let words = words_for(&EmailAddress::parse(&leaver()).expect("an address"));
    places(&world.engine.aws_config().await, &world.stack, &words).await.expect("everything can be looked through")
}

/// A mail of the prospect's with the person on it.
fn shared_mail(id: &str, fields: &Value) -> Value {
    let mut more = json!({"cc": [{"name": format!("{CANARY} Leaver"), "email": leaver().to_uppercase()}]});
    more.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    mail_of("grant-e2e", id, more)
}

/// Makes the stack know the person in every way that it knows people.
async fn make_known(world: &World) {
    let from_the_person = json!({"from": [{"name": format!("{CANARY} Leaver"), "email": leaver()}]});
    deliver(world, &mail_of("grant-e2e", "leaver-alone", from_the_person)).await;
    assert_eq!(reason_of(world, "leaver-alone").await, "no known contact");
    deliver(world, &shared_mail("leaver-shared", &json!({}))).await;
    assert_eq!(decided(world, "leaver-shared").await.outcome, "logged");
    deliver(world, &shared_mail("leaver-large", &json!({"body": "x".repeat(950 * 1024)}))).await;
    assert_eq!(decided(world, "leaver-large").await.outcome, "logged");
    world.crm.faults().add(FaultRule::next(1, Fault::status(422)).on("POST", "/activities"));
    deliver(world, &shared_mail("leaver-refused", &json!({}))).await;
    let failed = world.view.decision("leaver-refused", Duration::from_mins(1), |record| record.state == "failed").await;
    failed.expect("a dead letter");
    let unroutable = json!({"deltas": [{"type": "message.created", "from": leaver()}]}).to_string();
    assert_eq!(webhook(world).post(unroutable.as_bytes()).await, Some(200));

    let participants = json!({"participants": [
        {"email": prospect(), "status": "yes"},
        {"email": leaver(), "name": format!("{CANARY} Leaver"), "status": "yes"},
    ]});
    calendars::connect(world, rep("leaver"));
    assert_eq!(
        happens(world, "event.created", &meeting("leaver", "leaver-1", participants.clone())).await.outcome,
        "logged"
    );
    let mut files = all_files();
    files["summary"]["json"]["summary"] = format!("{CANARY}: mail {} the plan", leaver()).into();
    let attended = attended(world, "leaver-notes", "leaver-notes", participants, files);
    deliver(world, &calendars::told("event.created", &attended)).await;
    eventually("the meeting is mirrored", async || calendars::meetings(world, "leaver-notes").len() == 1).await;
    let media = links(world, Some("leaver-notes"), "leaver-notes", &ALL);
    let record = decided_on(world, &available("leaver-notes-1", Some("leaver-notes"), "leaver-notes", &media)).await;
    assert_eq!(record.outcome, "logged", "{record:?}");

    assert_eq!(Letter::bug("leaver-ticket", &leaver()).decided(world).await.outcome, "logged");
}

/// Makes the person a customer, with a timer.
async fn sign_up(world: &World) {
    let signed_up = product_event("customer.signed_up", "signed-up-leaver", &leaver(), &format!("{CANARY} Leaver"));
    assert_eq!(tell(world, &signed_up).await.expect("told"), 202);
    let customers = Customers::of(world).await.expect("the table");
    let welcomed = |record: &Value| record["state"] == "welcome_sent" && record["todo"] == json!([]);
    customers.until(&leaver(), "the welcome is sent", Duration::from_mins(1), welcomed).await.expect("welcomed");
}

/// Gives the command and goes on as it says, until it has nothing more to say. Answers all rows.
async fn forget(world: &World) -> Vec<Value> {
    let mut event = json!({"command": "forget", "email": leaver(), "dry_run": false});
    let mut rows = Vec::new();
    let begun = Instant::now();
    loop {
        let answer = told_to(world, &event).await;
        rows.extend(answer["rows"].as_array().expect("rows").iter().cloned());
        let Some(again) = answer.get("again") else { return rows };
        assert!(begun.elapsed() < Duration::from_mins(2), "{answer}");
        event = again.clone();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn counted(rows: &[Value], place: &str, done: &str) -> u64 {
    let of_it = rows.iter().filter(|row| row["place"] == place && row["done"] == done);
    of_it.filter_map(|row| row["count"].as_u64()).sum()
}

#[test]
fn person_known_everywhere_is_forgotten_everywhere_and_nothing_is_done_twice_afterwards() {
    in_the_world(async |world| {
        make_known(world).await;
        let before = named(world).await;
        assert!(before.len() >= 10, "{before:#?}");

        let shown = told_to(world, &json!({"command": "forget", "email": leaver()})).await;
        assert_eq!(shown["ready"], true, "{shown}");
        let rows = shown["rows"].as_array().expect("rows");
        for (place, done) in [
            ("links", "rewritten"),
            ("decisions", "rewritten"),
            ("dead letters of email-activity", "deleted"),
            ("unroutable bodies", "deleted"),
            ("archived bodies", "deleted"),
            ("files of meetings", "deleted"),
        ] {
            assert!(counted(rows, place, done) > 0, "{place}: {shown}");
        }
        assert!(named(world).await.len() >= 10, "nothing is removed by being shown");

        // Last, for the timers of this stack go off within seconds.
        sign_up(world).await;
        let rows = forget(world).await;
        assert!(counted(&rows, "files of meetings", "deleted") >= 4, "the recording too: {rows:#?}");
        for (place, done) in
            [("customers", "deleted"), ("schedules", "deleted"), ("links", "deleted"), ("made at Nylas", "told")]
        {
            assert!(counted(&rows, place, done) >= 1, "{place}: {rows:#?}");
        }
        // What reconcile brings meanwhile of mailboxes that hold the person's mail is forgotten by the next go.
        eventually("the person is named nowhere, and a further go finds nothing", async || {
            named(world).await.is_empty() && forget(world).await.iter().all(|row| row["done"] == "told")
        })
        .await;

        let mut again = shared_mail("leaver-shared", &json!({}));
        deliver(world, &again).await;
        again["id"] = "leaver-shared-again".into();
        deliver(world, &again).await;
        assert_eq!(decided(world, "leaver-shared-again").await.outcome, "merged");
        assert_eq!(activities_of(world, "leaver-shared"), 1);
    });
}

#[test]
fn address_of_a_connected_account_is_not_forgotten_by_mistake() {
    in_the_world(async |world| {
        world.nylas.add_grant(Grant::google("leaver-account", "rep@partner-of-ours.example"));
        let event = json!({"command": "forget", "email": "Rep@partner-of-ours.example", "dry_run": false});
        let answer = told_to(world, &event).await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("connected account")), "{answer}");
    });
}

//! Dead letters end to end, under the operator's own role: made on purpose, shown, put back once the cause is mended, set
//! aside and brought back, dropped; and what comes again after all that changes nothing.

use super::operator::told_to;
use super::*;

/// A mail that the CRM refuses, until it lies in the dead-letter queue.
async fn given_up(world: &World, id: &str) {
    world.crm.faults().add(FaultRule::next(1, Fault::status(422)).on("POST", "/activities"));
    deliver(world, &mail(id)).await;
    let is_over = |record: &DecisionRecord| record.state == "failed";
    world.view.decision(id, Duration::from_mins(1), is_over).await.expect("a verdict");
    world.crm.faults().clear();
}

/// An empty dead-letter queue: other tests leave letters behind.
async fn emptied(world: &World) {
    world.view.take_all(&queue(world, "EmailActivityDeadLetter")).await.expect("emptied");
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["rows"].as_array().unwrap_or_else(|| panic!("no rows: {answer}")).clone()
}

async fn record(world: &World, id: &str) -> DecisionRecord {
    world.view.record("email-activity", id).await.expect("the table").expect("a record")
}

async fn redriven(world: &World, id: &str) -> Value {
    let event = json!({"command": "redrive", "id": id, "function": "email-activity", "dry_run": false});
    let answer = told_to(world, &event).await;
    assert_eq!(answer["ready"], true, "{answer}");
    answer
}

#[test]
fn dead_letter_is_shown_with_its_reason_and_goes_back_once_the_cause_is_mended() {
    in_the_world(async |world| {
        emptied(world).await;
        given_up(world, "letter-redriven").await;
        let counted = told_to(world, &json!({"command": "dead_letters", "function": "email-activity"})).await;
        let is_of_it = |row: &Value| row["class"] == "crm.rejected" && row["state"] == "dead_letter";
        assert!(rows(&counted).iter().any(is_of_it), "{counted}");
        let listed = told_to(world, &json!({"command": "dead_letters", "id": "letter-redriven"})).await;
        let [row] = rows(&listed).try_into().unwrap_or_else(|_| panic!("one letter: {listed}"));
        assert_eq!((&row["function"], &row["failures"]), (&json!("email-activity"), &json!(1)), "{listed}");
        assert_eq!((&row["object"], &row["type"]), (&json!("mail-letter-redriven"), &json!("message.created")));
        assert!(row["reason"].as_str().is_some_and(|reason| reason.contains("422")), "{listed}");
        let story = told_to(world, &json!({"command": "story", "id": "letter-redriven"})).await;
        assert!(story["error"].is_null() && story.to_string().contains("email-activity"), "{story}");

        let dry = told_to(world, &json!({"command": "redrive", "id": "mail-letter-redriven"})).await;
        assert_eq!(rows(&dry).len(), 1, "{dry}");
        assert_eq!((dead_letters(world).await, activities_of(world, "letter-redriven")), (1, 0), "nothing was moved");
        let moved = told_to(world, &dry["again"]).await;
        assert_eq!((&moved["ready"], rows(&moved).len()), (&json!(true), 1), "{moved}");
        let record = decided(world, "letter-redriven").await;
        assert_eq!((record.outcome.as_str(), activities_of(world, "letter-redriven")), ("logged", 1));
        assert_eq!(dead_letters(world).await, 0);
        let none = told_to(world, &json!({"command": "dead_letters", "id": "letter-redriven"})).await;
        assert!(rows(&none).is_empty(), "{none}");
        let again = redriven(world, "letter-redriven").await;
        assert!(rows(&again).is_empty(), "{again}");
    });
}

#[test]
fn letter_that_is_redriven_at_any_age_changes_nothing_that_is_right() {
    in_the_world(async |world| {
        emptied(world).await;
        deliver(world, &mail("letter-of-old")).await;
        let first = decided(world, "letter-of-old").await;
        let (queue, body) = (queue(world, "EmailActivityDeadLetter"), mail("letter-of-old").to_string());
        world.view.put(&queue, &body, "old-1", "old-1").await.expect("put");
        assert_eq!(rows(&redriven(world, "letter-of-old").await).len(), 1);
        world.view.emptied(&super::queue(world, "EmailActivity"), Duration::from_secs(30)).await.expect("worked off");
        assert_eq!(record(world, "letter-of-old").await, first, "a duplicate");

        world.view.remove_record("email-activity", "letter-of-old").await.expect("removed");
        world.view.put(&queue, &body, "old-2", "old-2").await.expect("put");
        assert_eq!(rows(&redriven(world, "letter-of-old").await).len(), 1);
        let anew = decided(world, "letter-of-old").await;
        assert_eq!(anew.became, first.became, "what it had become");
        assert_eq!(activities_of(world, "letter-of-old"), 1);
    });
}

#[test]
fn parked_letter_leaves_the_queue_is_kept_with_its_reason_and_comes_back() {
    in_the_world(async |world| {
        emptied(world).await;
        given_up(world, "letter-parked").await;
        let park = json!({"command": "park", "id": "letter-parked", "reason": format!("{CANARY} asked for it")});
        let dry = told_to(world, &park).await;
        assert_eq!((rows(&dry).len(), dead_letters(world).await), (1, 1), "{dry}");
        let parked = told_to(world, &dry["again"]).await;
        assert_eq!((&parked["ready"], dead_letters(world).await), (&json!(true), 0), "{parked}");
        let standing = record(world, "letter-parked").await;
        assert_eq!((standing.state.as_str(), standing.outcome.as_str()), ("failed", "parked"));
        assert_eq!(world.view.archived("bodies/parked/email-activity/").await.expect("keys").len(), 1);
        let listed = told_to(world, &json!({"command": "dead_letters", "id": "letter-parked"})).await;
        let row = &rows(&listed)[0];
        assert_eq!((&row["state"], rows(&listed).len()), (&json!("parked"), 1), "{listed}");
        assert_eq!(row["parked"]["because"], format!("{CANARY} asked for it"));

        redriven(world, "letter-parked").await;
        assert_eq!(decided(world, "letter-parked").await.outcome, "logged");
        assert_eq!(activities_of(world, "letter-parked"), 1);
        assert!(world.view.archived("bodies/parked/").await.expect("keys").is_empty());
    });
}

#[test]
fn dropped_letter_is_decided_with_its_reason_and_a_copy_of_it_is_a_duplicate() {
    in_the_world(async |world| {
        emptied(world).await;
        given_up(world, "letter-dropped").await;
        let drop = json!({"command": "drop", "id": "letter-dropped", "reason": "a test mail", "dry_run": false});
        let dropped = told_to(world, &drop).await;
        assert_eq!((&dropped["ready"], dead_letters(world).await), (&json!(true), 0), "{dropped}");
        let standing = record(world, "letter-dropped").await;
        assert_eq!((standing.state.as_str(), standing.outcome.as_str()), ("done", "skipped"));
        assert_eq!(standing.reason, "dropped by hand: a test mail");
        let (source, body) = (queue(world, "EmailActivity"), posted(&mail("letter-dropped")));
        world.view.put(&source, &body, "dropped", "a copy of what was dropped").await.expect("put");
        world.view.emptied(&source, Duration::from_secs(30)).await.expect("worked off");
        assert_eq!(record(world, "letter-dropped").await, standing);
        assert_eq!(activities_of(world, "letter-dropped"), 0);
    });
}

#[test]
fn what_a_schedule_could_not_deliver_is_shown_and_goes_to_the_queue_of_its_function() {
    in_the_world(async |world| {
        let schedules = world.stack.queue_url("SchedulerDeadLetter").expect("a queue").to_owned();
        world.view.take_all(&schedules).await.expect("emptied");
        let job = json!({"type": "contacts.sync"});
        let record = json!({
            "version": "1.0", "requestContext": {"condition": "RetriesExhausted"}, "requestPayload": job,
            "responsePayload": {"errorMessage": "the queue was gone"},
        });
        world.view.put_standard(&schedules, &record.to_string()).await.expect("put");
        let listed = told_to(world, &json!({"command": "dead_letters", "class": "schedule.function_failed"})).await;
        assert_eq!(rows(&listed)[0]["function"], "contact-sync", "{listed}");
        let event = json!({"command": "redrive", "class": "schedule.function_failed", "dry_run": false});
        let moved = told_to(world, &event).await;
        assert_eq!((&moved["ready"], rows(&moved).len()), (&json!(true), 1), "{moved}");
        assert_eq!(world.view.depth(&schedules).await.expect("a depth"), 0);
    });
}

//! Stories and replays end to end, under the operator's own narrow role: what the stack did is told by any id that people
//! have, and what is decided once more changes nothing that is right.

use super::calendars::{connect, event, happens, meetings, rep};
use super::operator::told_to;
use super::support::Letter;
use super::*;
use sandbox::customers::{event as product_event, tell};

async fn story(world: &World, fields: Value) -> Value {
    let mut asked = json!({"command": "story"});
    asked.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    told_to(world, &asked).await
}

async fn replay(world: &World, fields: Value) -> Value {
    let mut asked = json!({"command": "replay"});
    asked.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    told_to(world, &asked).await
}

fn text(answer: &Value) -> &str {
    answer["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// What happened, in order.
fn whats(answer: &Value) -> Vec<&str> {
    answer["rows"].as_array().expect("rows").iter().filter_map(|row| row["what"].as_str()).collect()
}

#[test]
fn story_of_a_logged_mail_goes_from_its_arrival_to_its_activity_by_whatever_id_is_given() {
    in_the_world(async |world| {
        deliver(world, &mail("story-logged")).await;
        let record = decided(world, "story-logged").await;
        let activity = record.became.expect("an activity");
        for id in ["story-logged", "mail-story-logged"] {
            let told = story(world, json!({"id": id})).await;
            let mut done = whats(&told);
            // A copy is bound to its mail while it is decided.
            done.retain(|what| *what != "stands");
            assert_eq!(done, ["arrived", "taken up", "decided", "written"], "{told}");
            assert!(text(&told).contains(&format!("it is the CRM's activity {activity}")), "{told}");
            assert!(told["rows"].to_string().contains("mail-copy#"), "the link of the copy: {told}");
            assert_eq!(told["ready"], true);
        }
    });
}

#[test]
fn story_of_a_copy_names_the_mail_that_was_logged_first_and_one_of_a_skipped_mail_the_rule() {
    in_the_world(async |world| {
        let grants = ["story-copy-1", "story-copy-2"];
        for grant in grants {
            let id = format!("{grant}-mail");
            let header = named("Message-ID", "<story.copy@e2e.example>");
            let copy = hold(world, Grant::google(grant, "rep@northwind.example"), &id, json!({}), header);
            deliver(world, &copy).await;
            decided(world, &id).await;
        }
        let told = story(world, json!({"id": "mail-story-copy-2-mail"})).await;
        assert!(text(&told).contains("merged: another mailbox's copy"), "{told}");
        assert!(text(&told).contains("logged first from the message mail-story-copy-1-mail"), "{told}");

        let internal =
            json!({"from": [{"email": "ines@northwind.example"}], "to": [{"email": "tobias@northwind.example"}]});
        deliver(world, &mail_of("grant-e2e", "story-skipped", internal)).await;
        decided(world, "story-skipped").await;
        let told = story(world, json!({"id": "mail-story-skipped"})).await;
        assert!(text(&told).contains("skipped: internal mail"), "{told}");
    });
}

#[test]
fn story_of_a_meeting_names_its_record_and_one_of_held_notes_whom_they_wait_for() {
    in_the_world(async |world| {
        connect(world, rep("story-meeting"));
        let made = event("story-meeting", "story-meeting", json!({}));
        happens(world, "event.created", &made).await;
        let [meeting] = meetings(world, "story-meeting").try_into().expect("one meeting");
        let told = story(world, json!({"id": "story-meeting"})).await;
        let sentence = format!("The meeting is the CRM's meeting {} under the key story-meeting", meeting.id);
        assert!(text(&told).contains(&sentence), "{told}");

        let stranger = format!("{CANARY}.stranger@nowhere.example");
        let participants = json!([{"email": format!("{CANARY}.rep@northwind.example")}, {"email": stranger}]);
        let fields = json!({"participants": participants});
        notetakers::attended(world, "story-held", "story-held", fields, notetakers::all_files());
        let links = notetakers::links(world, Some("story-held"), "story-held", &notetakers::ALL);
        let news = notetakers::available("story-held-1", Some("story-held"), "story-held", &links);
        assert_eq!(notetakers::decided_on(world, &news).await.outcome, "held");
        let told = story(world, json!({"id": notetakers::notetaker("story-held")})).await;
        let waits = told["rows"].as_array().expect("rows").iter().filter(|row| row["what"] == "waits");
        let waits: Vec<&str> = waits.filter_map(|row| row["why"].as_str()).collect();
        assert!(waits.iter().any(|why| why.contains(&stranger) && why.contains("looked up again until")), "{told}");
    });
}

#[test]
fn story_of_a_ticket_and_of_a_customer_is_told_by_what_people_know() {
    in_the_world(async |world| {
        let from = format!("{CANARY}.dana@story.example");
        let record = Letter::bug("story-ticket", &from).decided(world).await;
        let ticket = record.became.expect("a ticket");
        for id in [ticket.as_str(), "mail-story-ticket"] {
            let told = story(world, json!({"id": id})).await;
            assert!(text(&told).contains(&format!("The ticket {ticket}")), "{id}: {told}");
            assert!(text(&told).contains(&from), "who is part of it: {told}");
        }
        let told = story(world, json!({"id": ticket})).await;
        assert!(text(&told).contains("filter became = "), "where else to look: {told}");

        let email = format!("{CANARY}.story@customers.example");
        let signed_up = product_event("customer.signed_up", "signed-up-story", &email, "Story");
        assert_eq!(tell(world, &signed_up).await.expect("told"), 202);
        eventually("the customer's welcome mail is told of", async || {
            let told = story(world, json!({"id": email})).await;
            let rows = told["rows"].to_string();
            rows.contains("the welcome mail was sent") && rows.contains("on signed up")
        })
        .await;
        let by_event = story(world, json!({"id": "signed-up-story"})).await;
        assert!(text(&by_event).contains(&format!("The customer {email} stands at")), "{by_event}");
    });
}

#[test]
fn story_of_a_dead_letter_says_why_it_was_given_up_and_how_it_is_put_back() {
    in_the_world(async |world| {
        world.crm.faults().add(FaultRule::next(1, Fault::status(422)).on("POST", "/activities"));
        deliver(world, &mail("story-dead")).await;
        eventually("it is given up", async || {
            let record = world.view.record("email-activity", "story-dead").await.expect("the table answers");
            record.is_some_and(|record| record.state == "failed" && record.outcome == "failed")
        })
        .await;
        let told = story(world, json!({"id": "mail-story-dead"})).await;
        assert_eq!(told["ready"], false, "somebody has to see to it: {told}");
        assert!(
            text(&told).contains("lies in the dead-letter queue") && text(&told).contains("make redrive ID=story-dead")
        );
        assert!(whats(&told).contains(&"failed"), "{told}");
        // Put back, it is logged, and lies nowhere any more for the tests that follow.
        let letters = world.view.take_all(&queue(world, "EmailActivityDeadLetter")).await.expect("letters");
        let letter = letters.into_iter().find(|letter| letter.body.contains("\"story-dead\"")).expect("the letter");
        let mark = sha256_hex(&[b"story-dead again"]);
        world.view.put(&queue(world, "EmailActivity"), &letter.body, "story-dead", &mark).await.expect("put");
        eventually("it is logged", async || activities_of(world, "story-dead") == 1).await;
    });
}

#[test]
fn story_of_what_nobody_knows_says_where_else_to_look() {
    in_the_world(async |world| {
        let id = format!("AAMkAGI2TG93AAA=/+ ~#'\"{}", "x".repeat(140));
        let told = story(world, json!({"id": id, "grant_id": "grant-e2e"})).await;
        assert_eq!(told["ready"], false);
        assert!(
            text(&told).starts_with("Nothing is known of `AAMk") && text(&told).contains("make reconcile"),
            "{told}"
        );
    });
}

#[test]
fn replayed_mail_is_a_duplicate_and_again_it_is_decided_once_more_and_changes_nothing_at_the_crm() {
    in_the_world(async |world| {
        let notification = mail("replay-file");
        deliver(world, &notification).await;
        assert_eq!(decided(world, "replay-file").await.outcome, "logged");
        let body = posted(&notification);
        let told = replay(world, json!({"notification": body, "dry_run": false})).await;
        assert_eq!(told["rows"][0]["becomes"], "decided before", "{told}");
        assert_eq!(told["rows"][0]["decided_before"], "logged: known contact");

        let shown = replay(world, json!({"notification": body, "again": true})).await;
        assert_eq!(shown["rows"][0]["becomes"], "would be replayed", "{shown}");
        let done = told_to(world, &shown["again"]).await;
        assert_eq!(done["rows"][0]["becomes"], "replayed", "{done}");
        let id = done["rows"][0]["notification_id"].as_str().expect("an id");
        assert!(id.starts_with("replay:replay-file:"), "{id}");
        let record = decided(world, id).await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("merged", "notified again"));
        assert_eq!(activities_of(world, "replay-file"), 1);

        let wrong = replay(world, json!({"notification": "{\"type\":\"message.created\",\"id\":\"n\"}"})).await;
        assert!(wrong["error"].as_str().is_some_and(|error| error.contains("no `data` object")), "{wrong}");
    });
}

#[test]
fn mail_that_was_never_notified_is_fetched_anew_by_its_id() {
    in_the_world(async |world| {
        let grant = Grant::google("replay-fetched", "rep@northwind.example");
        hold(world, grant, "replay-fetched", json!({}), named("Message-ID", "<replay.fetched@e2e.example>"));
        let object = |id: &str| json!({"kind": "message", "id": id, "grant_id": "replay-fetched"});
        let shown = replay(world, json!({"object": object("mail-replay-fetched")})).await;
        assert_eq!(shown["rows"][0]["queue"], "email-activity", "{shown}");
        assert_eq!(activities_of(world, "replay-fetched"), 0, "only shown");
        let done = told_to(world, &shown["again"]).await;
        let id = done["rows"][0]["notification_id"].as_str().expect("an id");
        assert_eq!(decided(world, id).await.outcome, "logged", "{done}");
        assert_eq!(activities_of(world, "replay-fetched"), 1);
        let gone = replay(world, json!({"object": object("mail-nowhere")})).await;
        let error = gone["error"].as_str().unwrap_or_default();
        assert!(error.contains("Nylas has no message `mail-nowhere`"), "{gone}");
    });
}

#[test]
fn what_can_be_routed_leaves_the_unroutable_queue_and_the_rest_stays_in_sight() {
    in_the_world(async |world| {
        let unroutable = queue(world, "Unroutable");
        world.view.take_all(&unroutable).await.expect("emptied");
        assert_eq!(webhook(world).post(br#"{"deltas":[{"type":"message.created"}]}"#).await, Some(200));
        world.view.put_standard(&unroutable, &mail("replay-unroutable").to_string()).await.expect("put");
        let shown = replay(world, json!({"from": "unroutable"})).await;
        let becomes = |answer: &Value| {
            let rows = answer["rows"].as_array().expect("rows");
            rows.iter().filter_map(|row| row["becomes"].as_str().map(str::to_owned)).collect::<BTreeSet<String>>()
        };
        assert_eq!(
            becomes(&shown),
            BTreeSet::from(["unroutable".to_owned(), "would be replayed".to_owned()]),
            "{shown}"
        );
        assert_eq!(world.view.depth(&unroutable).await.expect("a depth"), 2, "shown and left");
        let done = told_to(world, &shown["again"]).await;
        assert_eq!(becomes(&done), BTreeSet::from(["unroutable".to_owned(), "replayed".to_owned()]), "{done}");
        assert_eq!(decided(world, "replay-unroutable").await.outcome, "logged");
        let left = world.view.take_all(&unroutable).await.expect("messages");
        assert_eq!(left.len(), 1, "what is no notification, visible at once");
        assert!(left[0].body.contains("deltas"), "{}", left[0].body);
    });
}

//! The operator end to end: what people start by hand is followed to its end, under the operator's own narrow role.

use super::calendars::{connect, event, meetings, rep};
use super::*;

async fn told_to(world: &World, event: &Value) -> Value {
    let function = world.stack.function_name("Operator").expect("a name");
    world.engine.invoke(function, &event.to_string()).await.expect("an answer")
}

/// Asks again until the run has ended.
async fn followed(world: &World, event: &Value) -> Value {
    let mut answer = told_to(world, event).await;
    let begun = Instant::now();
    while answer["ended"] != true {
        assert!(begun.elapsed() < Duration::from_mins(3), "{answer}");
        answer = told_to(world, &answer["again"]).await;
    }
    answer
}

#[test]
fn backfill_by_hand_is_followed_to_its_end_and_shown_again_by_its_name() {
    in_the_world(async |world| {
        connect(world, rep("by-hand"));
        for number in 0..5 {
            let start = now() - (number + 1) * 24 * 3600;
            let when = json!({"object": "timespan", "start_time": start, "end_time": start + 1800});
            let made = event("by-hand", &format!("by-hand-{number}"), json!({"when": when}));
            world.nylas.put_event("by-hand", made).expect("connected");
        }
        let days = json!({"command": "backfill", "grant_id": "by-hand", "days": 4});
        let answer = followed(world, &days).await;
        let row = &answer["rows"][0];
        assert_eq!((&row["function"], &row["grant"]), (&json!("calendar-sync"), &json!("by-hand")), "{answer}");
        assert_eq!((&row["state"], &row["counts"]["written"]), (&json!("ended"), &json!(4)), "{answer}");
        assert_eq!(meetings(world, "by-hand-").len(), 4);
        let table = answer["table"].as_str().expect("a table");
        assert!(table.contains("written 4") && table.ends_with("It has ended."), "{table}");
        let shown = told_to(world, &answer["again"]).await;
        assert_eq!((&shown["run"], &shown["rows"]), (&answer["run"], &answer["rows"]));
    });
}

#[test]
fn reconciling_by_hand_brings_what_was_missed_of_one_account_and_says_how_much() {
    in_the_world(async |world| {
        connect(world, rep("by-hand-missed"));
        let made = event("by-hand-missed", "by-hand-missed-1", json!({}));
        world.nylas.put_event("by-hand-missed", made).expect("connected");
        let answer = followed(world, &json!({"command": "reconcile", "grant_id": "by-hand-missed"})).await;
        let functions: Vec<&Value> =
            answer["rows"].as_array().expect("rows").iter().map(|row| &row["function"]).collect();
        assert_eq!(functions, ["email-activity", "calendar-sync"], "{answer}");
        let missed = answer["rows"][1]["counts"]["recovered"].as_u64();
        assert!(missed.is_some_and(|missed| missed >= 1), "{answer}");
        eventually("what was missed is in the CRM", async || meetings(world, "by-hand-missed-1").len() == 1).await;
    });
}

#[test]
fn every_sample_of_the_operator_is_answered_as_its_name_says() {
    in_the_world(async |world| {
        let folder = project_root().join("events/operator");
        let mut answered = 0;
        for entry in std::fs::read_dir(&folder).expect("samples") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let mut event: Value = serde_json::from_slice(&std::fs::read(&path).expect("a sample")).expect("JSON");
            if event["command"] != "resync" {
                // Whether it is taken is asked here, not what comes of it.
                event["wait_seconds"] = 0.into();
            }
            let answer = told_to(world, &event).await;
            let is_wrong = ["unknown-command", "start-after-end"].contains(&name.as_str());
            assert_eq!(answer["error"].is_string(), is_wrong, "{name}: {answer}");
            assert_eq!(answer["example"].is_object(), is_wrong, "{name}: {answer}");
            assert_eq!(answer["table"].is_string(), !is_wrong, "{name}: {answer}");
            answered += 1;
        }
        assert_eq!(answered, 7);
    });
}

//! The operator end to end, under its own narrow role: what people start by hand is followed to its end, and what they
//! tell of notetakers is done once.

use super::calendars::{connect, event, meetings, rep};
use super::*;

/// Gives the operator a command. What people see of the answer is printed: the runbook shows it.
pub(super) async fn told_to(world: &World, event: &Value) -> Value {
    let function = world.stack.function_name("Operator").expect("a name");
    let answer = world.engine.invoke(function, &event.to_string()).await.expect("an answer");
    for field in ["table", "text", "error"] {
        println!("{}", answer[field].as_str().unwrap_or_default());
    }
    answer
}

/// Asks again until the run has ended.
pub(super) async fn followed(world: &World, event: &Value) -> Value {
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
        assert_eq!(functions, ["email-activity", "calendar-sync", "notetaker-media"], "{answer}");
        let missed = answer["rows"][1]["counts"]["recovered"].as_u64();
        assert!(missed.is_some_and(|missed| missed >= 1), "{answer}");
        eventually("what was missed is in the CRM", async || meetings(world, "by-hand-missed-1").len() == 1).await;
    });
}

#[test]
fn inviting_twice_or_at_the_same_time_sends_one_notetaker() {
    in_the_world(async |world| {
        connect(world, rep("by-hand-invited"));
        let link = |room: &str| format!("https://meet.google.com/{CANARY}-{room}");
        let invite = async |link: String| {
            let event = json!({
                "command": "invite", "grant_id": "by-hand-invited", "meeting_link": link,
                "name": format!("{CANARY} Notes"),
            });
            told_to(world, &event).await
        };
        let there = |room: &str| -> Vec<Value> {
            let of_it = |notetaker: &Value| notetaker["meeting_link"].as_str().is_some_and(|link| link.contains(room));
            world.nylas.notetakers(Some("by-hand-invited")).into_iter().filter(of_it).collect()
        };
        let first = invite(link("one")).await;
        assert_eq!(first["outcome"], "invited", "{first}");
        let again = invite(format!("{}/#again", link("one"))).await;
        assert_eq!((&again["outcome"], &again["notetaker_id"]), (&json!("already invited"), &first["notetaker_id"]));
        let [notetaker] = there("one").try_into().expect("one notetaker");
        assert_eq!((&notetaker["id"], &notetaker["name"]), (&first["notetaker_id"], &json!(format!("{CANARY} Notes"))));

        let (one, other) = tokio::join!(invite(link("two")), invite(link("two")));
        assert_eq!(there("two").len(), 1, "{one} {other}");
        let sent = [&one, &other].into_iter().filter(|answer| answer["outcome"] == "invited").count();
        assert_eq!(sent, 1, "{one} {other}");

        let turned_away = there("one")[0]["id"].clone();
        world
            .nylas
            .put_notetaker(
                Some("by-hand-invited"),
                json!({
                    "id": turned_away, "meeting_link": link("one"), "join_time": now(), "state": "failed_entry",
                    "history": [{
                        "created_at": now(), "event_type": "notetaker.meeting_state",
                        "data": {"id": turned_away, "state": "failed_entry"},
                    }],
                }),
            )
            .expect("connected");
        let anew = invite(link("one")).await;
        assert_eq!(anew["outcome"], "invited", "who was not let in may be sent again: {anew}");
        assert_ne!(anew["notetaker_id"], first["notetaker_id"]);
    });
}

#[test]
fn invitation_for_later_joins_then_and_one_for_nobody_or_the_past_is_refused_in_words() {
    in_the_world(async |world| {
        connect(world, rep("by-hand-later"));
        let invite = async |grant: &str, at: i64| {
            let link = format!("https://meet.google.com/{CANARY}-later");
            let event = json!({"command": "invite", "grant_id": grant, "meeting_link": link, "at": at});
            told_to(world, &event).await
        };
        let at = now() + 3600;
        let later = invite("by-hand-later", at).await;
        assert_eq!((&later["outcome"], &later["state"]), (&json!("invited"), &json!("scheduled")), "{later}");
        let near = invite("by-hand-later", at + 600).await;
        assert_eq!((&near["outcome"], &near["notetaker_id"]), (&json!("already invited"), &later["notetaker_id"]));
        let joins: Vec<Value> =
            world.nylas.notetakers(Some("by-hand-later")).iter().map(|known| known["join_time"].clone()).collect();
        assert_eq!(joins, [at]);
        let past = invite("by-hand-later", now() - 600).await;
        assert!(past["error"].as_str().is_some_and(|error| error.contains("cannot join in the past")), "{past}");
        let nobody = invite("by-hand-nobody", at).await;
        let words = "no notetaker was invited: Nylas knows no grant `by-hand-nobody`";
        assert!(nobody["error"].as_str().is_some_and(|error| error.starts_with(words)), "{nobody}");
    });
}

#[test]
fn rules_for_joining_are_set_shown_and_removed_by_hand() {
    in_the_world(async |world| {
        connect(world, rep("by-hand-joining"));
        let told = async |fields: Value| {
            let mut event = json!({"command": "auto_join", "grant_id": "by-hand-joining"});
            event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
            told_to(world, &event).await
        };
        let none = told(json!({})).await;
        assert_eq!((&none["outcome"], &none["notetaker"]), (&json!("shown"), &Value::Null), "{none}");
        let instructions = format!("{CANARY} in three sentences");
        let set = told(json!({"set": {
            "name": format!("{CANARY} Notes"), "events": ["external", "own_events"], "participants_at_least": 2,
            "leave_after_silence_seconds": 120, "summary_instructions": instructions,
        }}))
        .await;
        assert_eq!((&set["outcome"], set.get("differs")), (&json!("set"), None), "{set}");
        let shown = told(json!({})).await;
        assert_eq!((&shown["calendar"], &shown["notetaker"]), (&set["calendar"], &set["notetaker"]));
        let held = &shown["notetaker"];
        assert_eq!(
            held["rules"],
            json!({"event_selection": ["external", "own_events"], "participant_filter": {"participants_gte": 2}})
        );
        let settings = &held["meeting_settings"];
        assert_eq!((&settings["summary"], &settings["leave_after_silence_seconds"]), (&json!(true), &json!(120)));
        assert_eq!(settings["summary_settings"]["custom_instructions"], instructions);

        let silent = told(json!({"set": {"events": ["all"], "video": false}})).await;
        let settings = &silent["notetaker"]["meeting_settings"];
        assert_eq!((&settings["summary"], settings.get("summary_settings")), (&json!(false), None), "set as a whole");
        assert!(silent["text"].as_str().is_some_and(|text| text.contains("both are off")), "{silent}");
        let off = told(json!({"off": true})).await;
        assert_eq!((&off["outcome"], &off["notetaker"]), (&json!("removed"), &Value::Null), "{off}");
        assert_eq!(told(json!({})).await["notetaker"], Value::Null);

        let unknown = told(json!({"calendar_id": "no-such-calendar"})).await;
        assert!(unknown["error"].is_string(), "{unknown}");
        assert_eq!(unknown["calendars"][0]["id"], none["calendar"]["id"], "{unknown}");
        world.nylas.add_grant(Grant::icloud("by-hand-icloud", &format!("{CANARY}.rep@icloud.example")));
        let icloud = told(json!({"grant_id": "by-hand-icloud"})).await;
        assert!(icloud["error"].as_str().is_some_and(|error| error.contains("give `calendar_id`")), "{icloud}");
        let home = icloud["calendars"][0]["id"].clone();
        let icloud = told(json!({"grant_id": "by-hand-icloud", "calendar_id": home, "set": {"events": ["all"]}})).await;
        assert_eq!(icloud["outcome"], "set", "{icloud}");
    });
}

#[test]
fn reference_in_the_crm_becomes_a_link_that_opens_the_file() {
    in_the_world(async |world| {
        let key = "media/by-hand-media/notetaker-1/summary.txt";
        let words = format!("{CANARY} what was said");
        world.view.put_archived(key, words.clone().into_bytes()).await.expect("put");
        let bucket = world.stack.archive_bucket().expect("a bucket");
        let told = async |reference: String| told_to(world, &json!({"command": "media", "reference": reference})).await;
        let answer = told(format!("s3://{bucket}/{key}")).await;
        let link = answer["link"].as_str().unwrap_or_else(|| panic!("no link: {answer}"));
        let opened = reqwest::get(link).await.expect("an answer");
        assert_eq!(opened.status(), 200);
        assert_eq!(opened.text().await.expect("a text"), words);
        let gone = told(format!("s3://{bucket}/media/by-hand-media/notetaker-1/recording.mp4")).await;
        assert!(gone["error"].as_str().is_some_and(|error| error.contains("MediaRetentionDays")), "{gone}");
        for elsewhere in [format!("s3://{bucket}/never-log.txt"), format!("s3://another-bucket/{key}")] {
            let refused = told(elsewhere).await;
            assert!(refused["error"].as_str().is_some_and(|error| error.contains(bucket)), "{refused}");
        }
        let mut lines = Vec::new();
        eventually("whose file it is, is in the log", async || {
            lines = world.engine.log_lines(&world.stack, "operator").await.expect("lines");
            lines.iter().any(|line| line.text.contains("by-hand-media"))
        })
        .await;
        assert!(lines.iter().all(|line| !line.text.contains("X-Amz-")), "the link is not");
    });
}

#[test]
fn set_up_by_hand_asks_the_crm_with_the_stacks_key_and_tells_a_refusal_with_what_to_do() {
    in_the_world(async |world| {
        let set_up = json!({"command": "set_up"});
        let before = world.crm.lookups();
        let answer = told_to(world, &set_up).await;
        assert_eq!(answer["ready"], true, "{answer}");
        let rows: Vec<(&Value, &Value)> =
            answer["rows"].as_array().expect("rows").iter().map(|row| (&row["system"], &row["state"])).collect();
        let needed = &json!("nothing needed");
        assert_eq!(
            rows,
            [(&json!("the CRM (rest)"), needed), (&json!("the ticket system (rest)"), needed)],
            "{answer}"
        );
        assert!(world.crm.lookups() > before, "the CRM was asked");

        world.crm.faults().add(FaultRule::every(1, Fault::status(401)).on("GET", "/contacts"));
        let answer = told_to(world, &set_up).await;
        let row = &answer["rows"][0];
        assert_eq!((&answer["ready"], &row["state"]), (&json!(false), &json!("failed")), "{answer}");
        assert!(row["to_do"].as_str().is_some_and(|to_do| to_do.contains("`CrmApiKey`")), "{answer}");
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
            let is_run = ["backfill", "reconcile", "sync"].iter().any(|command| event["command"] == *command);
            if is_run {
                // Whether it is taken is asked here, not what comes of it.
                event["wait_seconds"] = 0.into();
            }
            if event["command"] == "subscribe" {
                // The samples before it have just been at it.
                event["force"] = true.into();
            }
            if let Some(key) = event["reference"].as_str().and_then(|reference| reference.splitn(4, '/').nth(3)) {
                world.view.put_archived(key, b"A summary.".to_vec()).await.expect("put");
                event["reference"] = format!("s3://{}/{key}", world.stack.archive_bucket().expect("a bucket")).into();
            }
            let answer = told_to(world, &event).await;
            let wrong = [
                "unknown-command",
                "start-after-end",
                "silence-too-short",
                "rules-with-mistakes",
                "forget-whole-domain",
                "redrive-nothing-named",
                "replay-no-notification",
                "story-of-nothing",
            ];
            let is_wrong = wrong.contains(&name.as_str());
            assert_eq!(answer["error"].is_string(), is_wrong, "{name}: {answer}");
            assert_eq!(answer["example"].is_object(), is_wrong, "{name}: {answer}");
            let text = if is_run { "table" } else { "text" };
            assert_eq!(answer[text].is_string(), !is_wrong, "{name}: {answer}");
            answered += 1;
        }
        assert_eq!(answered, 41);
        no_rotation_is_marked(world).await;
    });
}

//! The doctor end to end, under the operator's own narrow role: nothing is red while the stack is well, then one thing after
//! another is broken, told in its own line with what to do, mended and green again.

use super::calendars::{connect, rep};
use super::operator::told_to;
use super::*;

/// The queues where nothing lies while all is well.
const RESTING: [&str; 8] = [
    "EmailActivityDeadLetter",
    "CalendarSyncDeadLetter",
    "NotetakerMediaDeadLetter",
    "OnboardingDeadLetter",
    "TicketTriageDeadLetter",
    "ContactSyncDeadLetter",
    "Unroutable",
    "SchedulerDeadLetter",
];

/// The schedules of the template, with the output of the queue that each wakes; contact-sync is woken itself.
const SCHEDULES: [(&str, Option<&str>); 5] = [
    ("EmailReconcileSchedule", Some("EmailActivity")),
    ("CalendarReconcileSchedule", Some("CalendarSync")),
    ("NotetakerReconcileSchedule", Some("NotetakerMedia")),
    ("TicketTriageReconcileSchedule", Some("TicketTriage")),
    ("NightlyContactSync", None),
];

async fn examined(world: &World) -> Value {
    told_to(world, &json!({"command": "doctor"})).await
}

/// The lines that are red, as they are told.
fn red(answer: &Value) -> Vec<&str> {
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("no rows in {answer}"));
    rows.iter().filter(|row| row["state"] == "red").filter_map(|row| row["what"].as_str()).collect()
}

fn line<'a>(answer: &'a Value, what: &str) -> &'a Value {
    let rows = answer["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("no line about {what} in {answer}"))
}

/// Asserts that this line alone is red and says these words of what to do.
fn only_red(answer: &Value, what: &str, to_do: &str) {
    assert_eq!(red(answer), [what], "{answer}");
    assert_eq!(answer["ready"], false);
    let told = line(answer, what)["to_do"].as_str().unwrap_or_default();
    assert!(told.contains(to_do), "{told}");
}

async fn nothing_is_red(world: &World) {
    let answer = examined(world).await;
    assert_eq!(red(&answer), Vec::<&str>::new(), "{}", answer["table"].as_str().unwrap_or_default());
    assert_eq!(answer["ready"], true);
}

/// The names in the engine of what the template makes.
async fn resources(world: &World) -> BTreeMap<String, String> {
    let endpoint = world.engine.endpoint();
    let tools = Tools::find().expect("the tools");
    tools.resources(&world.stack.name, Some(&endpoint)).await.expect("the stack's resources")
}

/// Makes the schedules again that other tests have ended, so that they go off no sooner than tomorrow, and answers which.
async fn make_schedules(world: &World, resources: &BTreeMap<String, String>) -> Vec<String> {
    let mut made = Vec::new();
    for (name, output) in SCHEDULES {
        let physical = &resources[name];
        if world.engine.schedule(physical).await.expect("an answer").is_some() {
            continue;
        }
        let (target, expression) = if let Some(output) = output {
            let url = queue(world, output);
            let queue = url.rsplit('/').next().expect("a name");
            (format!("arn:aws:sqs:us-east-1:000000000000:{queue}"), "rate(1 minute)")
        } else {
            let function = world.stack.function_name("ContactSync").expect("a name");
            (format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"), "cron(0 2 * * ? *)")
        };
        let role = format!("arn:aws:iam::000000000000:role/{}", resources["SchedulerRole"]);
        let schedule = json!({
            "GroupName": "default", "ScheduleExpression": expression, "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"}, "State": "ENABLED", "StartDate": now() + 24 * 3600,
            "Target": {"Arn": target, "RoleArn": role, "Input": "{}"},
        });
        world.engine.make_schedule(physical, &schedule).await.expect("made");
        made.push(physical.clone());
    }
    made
}

/// Sets every account valid that another test has let expire, and answers which.
async fn mend_accounts(world: &World) -> Vec<String> {
    let mut mended = Vec::new();
    for offset in (0..).step_by(200) {
        let address = format!("{}/v3/grants?limit=200&offset={offset}", world.nylas.base_url());
        let request = reqwest::Client::new().get(address).bearer_auth(world.nylas.api_key());
        let page = request.send().await.expect("an answer").text().await.expect("a page");
        let page: Value = serde_json::from_str(&page).expect("JSON");
        let grants = page["data"].as_array().expect("a list");
        if grants.is_empty() {
            break;
        }
        let expired = grants.iter().filter(|grant| grant["grant_status"] == "invalid");
        mended.extend(expired.filter_map(|grant| grant["id"].as_str()).map(str::to_owned));
    }
    for grant in &mended {
        world.nylas.set_grant_status(grant, "valid");
    }
    mended
}

#[test]
fn doctor_is_green_on_a_stack_that_is_well_and_tells_each_fault_in_its_own_line_until_it_is_mended() {
    in_the_world(async |world| {
        for name in RESTING {
            world.view.take_all(&queue(world, name)).await.expect("emptied");
        }
        let resources = resources(world).await;
        let made = make_schedules(world, &resources).await;
        let expired = mend_accounts(world).await;
        let there = world.nylas.webhooks();
        if there.is_empty() {
            only_red(&examined(world).await, "the webhook at Nylas", "make subscribe");
        }
        told_to(world, &json!({"command": "subscribe"})).await;
        nothing_is_red(world).await;
        world.nylas.set_webhook_status(&world.nylas.webhooks()[0].id, "failed").expect("it is there");
        only_red(&examined(world).await, "the webhook at Nylas", "make subscribe");
        told_to(world, &json!({"command": "subscribe"})).await;
        nothing_is_red(world).await;

        let letters = queue(world, "CalendarSyncDeadLetter");
        world.view.put(&letters, "{}", "doctor", &sha256_hex(&[b"doctor"])).await.expect("put");
        only_red(&examined(world).await, "the dead letters of calendar-sync", "make dead-letters");
        world.view.take_all(&letters).await.expect("emptied");
        nothing_is_red(world).await;

        assert_eq!(webhook(world).post(br#"{"deltas":["doctor"]}"#).await, Some(200));
        only_red(&examined(world).await, "the unroutable queue", "delete them once they are understood");
        world.view.take_all(&queue(world, "Unroutable")).await.expect("emptied");
        nothing_is_red(world).await;

        world.crm.faults().add(FaultRule::every(1, Fault::status(401)));
        only_red(&examined(world).await, "the CRM (rest)", "put a valid one into `CrmApiKey` and deploy");
        world.crm.faults().clear();
        nothing_is_red(world).await;

        world.nylas.faults().add(FaultRule::every(1, Fault::status(401)).on("GET", "/v3/grants"));
        let refused = examined(world).await;
        world.nylas.faults().clear();
        assert_eq!(red(&refused), ["the Nylas key", "the connected accounts"], "{refused}");
        let to_do = line(&refused, "the Nylas key")["to_do"].as_str().unwrap_or_default();
        assert!(to_do.contains("put a valid one into `NylasApiKey` and deploy"), "{to_do}");
        nothing_is_red(world).await;

        connect(world, rep("doctor-lost"));
        let lost_at = now() - 4000;
        deliver(
            world,
            &json!({
                "specversion": "1.0", "type": "grant.expired", "source": "/nylas/system", "id": "doctor-lost",
                "time": lost_at, "webhook_delivery_attempt": 1, "data": {"application_id": "app-e2e", "object": {
                    "grant_id": "doctor-lost", "provider": "google", "email": format!("{CANARY}.rep@northwind.example"),
                }},
            }),
        )
        .await;
        decided(world, "doctor-lost").await;
        world.nylas.set_grant_status("doctor-lost", "invalid");
        let lost = examined(world).await;
        only_red(&lost, "the account doctor-lost", "connect it again in your application");
        let seen = line(&lost, "the account doctor-lost")["seen"].as_str().unwrap_or_default().to_owned();
        assert!(seen.contains("has expired since") && seen.contains("1 hour are missing"), "{seen}");
        world.nylas.set_grant_status("doctor-lost", "valid");
        nothing_is_red(world).await;

        let schedule = &resources["EmailReconcileSchedule"];
        let standing = world.engine.schedule(schedule).await.expect("an answer").expect("a schedule");
        let mut changed = standing.clone();
        changed["State"] = "DISABLED".into();
        world.engine.change_schedule(schedule, &changed).await.expect("changed");
        only_red(&examined(world).await, "the schedule EmailReconcileSchedule", "enable it");
        world.engine.end_schedule(schedule).await.expect("ended");
        only_red(&examined(world).await, "the schedule EmailReconcileSchedule", "make it again under its name");
        world.engine.make_schedule(schedule, &standing).await.expect("made");
        nothing_is_red(world).await;

        for schedule in made {
            world.engine.end_schedule(&schedule).await.expect("ended");
        }
        for grant in expired {
            world.nylas.set_grant_status(&grant, "invalid");
        }
        no_rotation_is_marked(world).await;
    });
}

#[test]
fn doctor_tells_what_its_role_may_not_look_at_and_hides_nothing_else() {
    in_the_world(async |world| {
        let function = world.stack.function_name("Operator").expect("a name");
        let taken = world.engine.take_permission(function, "sqs:GetQueueAttributes").await.expect("taken");
        let answer = examined(world).await;
        world.engine.give_back(taken).await.expect("given back");
        for hidden in ["the queue of email-activity", "the dead letters of contact-sync", "the unroutable queue"] {
            let hidden = line(&answer, hidden);
            assert_eq!(hidden["state"], "red", "{answer}");
            let seen = hidden["seen"].as_str().unwrap_or_default();
            assert!(seen.contains("cannot be examined: SQS: AccessDenied"), "{seen}");
        }
        for other in ["the Nylas key", "the CRM (rest)", "the secret of `CrmApiKey`", "the alarms"] {
            assert_ne!(line(&answer, other)["state"], "red", "{answer}");
        }
    });
}

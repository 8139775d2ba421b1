//! The webhook at Nylas end to end: the operator makes it and keeps its secret, ingress takes what is signed with it, and a
//! rotation under traffic loses nothing.

use super::operator::told_to;
use super::*;
use sandbox::stand_ins::RestCrm;
use sandbox::stand_ins::nylas::RegisteredWebhook;
use sandbox::stand_ins::nylas_webhook::Delivery;

/// How long Nylas's answer to a rotation is held back: so long it signs with a secret that nobody here knows.
const ANSWER_HELD_BACK: Duration = Duration::from_secs(2);

/// Five minutes and ten minutes become six seconds and twelve.
const DELAY_SCALE: f64 = 0.02;

fn registered(world: &World) -> RegisteredWebhook {
    let [webhook] = world.nylas.webhooks().try_into().unwrap_or_else(|all| panic!("not one: {all:?}"));
    webhook
}

/// Gives the command; whatever it says is no error.
async fn subscribe(world: &World, fields: Value) -> Value {
    let mut event = json!({"command": "subscribe"});
    if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
        event.extend(fields);
    }
    let answer = told_to(world, &event).await;
    assert!(answer["rows"].is_array(), "{answer}");
    answer
}

fn state<'a>(answer: &'a Value, what: &str) -> &'a str {
    let rows = answer["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["what"] == what).unwrap_or_else(|| panic!("no {what}: {answer}"));
    row["state"].as_str().expect("a state")
}

async fn deliver_through(world: &World, notification: &Value) -> Delivery {
    world.nylas.deliver_through(&registered(world).id, notification).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A notification that is verified and goes to no queue: an opened mail of somebody else's campaign.
fn opened(id: &str) -> Value {
    notification("message.opened", id, &json!({"message_id": id, "label": "spring-campaign"}))
}

async fn is_made_and_verified(world: &World) {
    let answer = subscribe(world, json!({})).await;
    assert_eq!(answer["ready"], true, "{answer}");
    let webhook = registered(world);
    assert_eq!(webhook.url, world.stack.webhook_url().expect("an address"));
    assert!(webhook.compressed && webhook.status == "active" && webhook.secrets_made == 1, "{webhook:?}");
    for kind in ["message.created", "event.deleted", "notetaker.media", "booking.created", "contact.updated"] {
        assert!(webhook.trigger_types.iter().any(|wanted| wanted == kind), "{kind}: {webhook:?}");
    }
    let delivery = deliver_through(world, &mail("subscribed")).await;
    assert!(delivery.delivered, "{delivery:?}");
    assert_eq!(decided(world, "subscribed").await.outcome, "logged");
    let again = subscribe(world, json!({})).await;
    assert!(state(&again, "settings").starts_with("as they should be"), "{again}");
    assert_eq!((registered(world).id, registered(world).secrets_made), (webhook.id, 1));
}

async fn is_made_active_again(world: &World) {
    let id = registered(world).id;
    world.nylas.set_webhook_status(&id, "failing").expect("it is there");
    let told = subscribe(world, json!({})).await;
    assert!(told["ready"] == false && state(&told, "state").starts_with("failing"), "{told}");
    assert_eq!(registered(world).status, "failing");
    let told = told_to(world, &told["again"]).await;
    assert!(told["ready"] == true && state(&told, "state").starts_with("active again"), "{told}");
    world.nylas.set_webhook_status(&id, "failed").expect("it is there");
    assert!(!deliver_through(world, &opened("while-failed")).await.delivered);
    let told = subscribe(world, json!({})).await;
    assert!(state(&told, "missed").contains("make reconcile"), "{told}");
    assert_eq!(registered(world).status, "active");
    assert!(deliver_through(world, &opened("active-again")).await.delivered);
}

async fn is_rotated_under_traffic(world: &World) {
    let before = registered(world);
    let slow = Fault::DelayAnswer(ANSWER_HELD_BACK);
    world.nylas.faults().add(FaultRule::next(1, slow).on("POST", "/v3/webhooks/rotate-secret"));
    // The webhook was made within the last minute, by this test itself.
    let rotate = subscribe(world, json!({"rotate": true, "force": true}));
    let number = 150;
    let traffic = futures_util::future::join_all((0..number).map(|number: u32| async move {
        tokio::time::sleep(Duration::from_millis(150) * number).await;
        let id = format!("rotated-{number}");
        deliver_through(world, &if number.is_multiple_of(30) { mail(&id) } else { opened(&id) }).await
    }));
    let (answer, deliveries) = tokio::join!(rotate, traffic);
    world.nylas.faults().clear();
    assert!(answer["ready"] == true && state(&answer, "secret").contains("another was made"), "{answer}");
    let after = registered(world);
    assert_eq!((after.secrets_made, after.lost), (before.secrets_made + 1, before.lost), "{after:?}");
    assert_eq!(after.delivered, before.delivered + u64::from(number));
    let waited = deliveries.iter().filter(|delivery| delivery.attempts.contains(&Some(503))).count();
    println!("{number} delivered while the secret was rotated, 0 lost, {waited} of them at a later attempt");
    assert!(waited > 0, "no notification came while its secret was not stored: the test shows nothing");
    assert!(deliveries.iter().all(|delivery| delivery.delivered && !delivery.attempts.contains(&Some(401))));
    for number in (0..number).step_by(30) {
        assert_eq!(decided(world, &format!("rotated-{number}")).await.outcome, "logged");
    }
}

async fn outlives_an_update_of_the_stack(world: &World) {
    let other = RestCrm::builder().api_key("another-crm-key").start().expect("a CRM");
    world.use_systems(&other, &world.tickets).await.unwrap_or_else(|error| panic!("{error}"));
    let delivery = deliver_through(world, &opened("after-the-update")).await;
    assert_eq!(delivery.attempts, [Some(200)], "the secret is no longer live");
    let told = subscribe(world, json!({})).await;
    assert!(told["ready"] == true && state(&told, "secret").starts_with("stored"), "{told}");
    world.use_systems(&world.crm, &world.tickets).await.unwrap_or_else(|error| panic!("{error}"));
}

async fn refuses_a_test_event(world: &World) {
    let begun = Instant::now();
    let mut told = subscribe(world, json!({"check": true})).await;
    while state(&told, "test event").starts_with("not sent") {
        assert!(begun.elapsed() < Duration::from_mins(2), "{told}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        told = told_to(world, &told["again"]).await;
    }
    assert!(told["ready"] == true && state(&told, "test event").contains("refused with 401"), "{told}");
}

#[test]
fn webhook_is_made_watched_rotated_under_traffic_and_outlives_an_update_of_the_stack() {
    in_the_world(async |world| {
        no_rotation_is_marked(world).await;
        world.nylas.remove_webhooks();
        world.nylas.set_delay_scale(DELAY_SCALE);
        is_made_and_verified(world).await;
        is_made_active_again(world).await;
        is_rotated_under_traffic(world).await;
        outlives_an_update_of_the_stack(world).await;
        refuses_a_test_event(world).await;
        world.nylas.remove_webhooks();
    });
}

#[test]
fn webhook_is_not_made_while_the_endpoint_fails_its_challenge_and_it_is_said_why() {
    in_the_world(async |world| {
        no_rotation_is_marked(world).await;
        world.nylas.remove_webhooks();
        // As Nylas answers where the endpoint does; the endpoint itself is sound.
        let refused = Fault::status(400);
        world.nylas.faults().add(FaultRule::next(1, refused).on("POST", "/v3/webhooks"));
        let answer = told_to(world, &json!({"command": "subscribe"})).await;
        world.nylas.faults().clear();
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("no error: {answer}"));
        assert!(error.starts_with("no secret was changed: "), "{error}");
        assert_eq!(world.nylas.webhooks(), []);
        // No mark was left: a false signature is refused at once, and the true one is taken.
        eventually("false signatures are refused", async || {
            let stranger = world.webhook_signed_with("strange").expect("a webhook").delay_scale(0.000_1);
            stranger.deliver(&opened("by-a-stranger")).await.attempts == [Some(401)]
        })
        .await;
        deliver(world, &mail("after-no-webhook")).await;
    });
}

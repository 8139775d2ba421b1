//! The adapters against replayed answers: what each call asks of AWS, and how each answer of AWS is read.
//!
//! Requests are compared as they go over the wire. Rules that the local engine does not enforce are kept here:
//! reserved words of DynamoDB, expression values that nobody uses, the limits of SQS.

use aws_sdk_sqs::config::http::HttpRequest;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
use aws_smithy_types::body::SdkBody;
use jiff::{Timestamp, ToSpan};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

use super::SdkConfig;
use super::bodies::ArchiveBodies;
use super::leases::DynamoLeases;
use super::links::DynamoLinks;
use super::never_log::NeverLogFile;
use super::outbox::{FifoPlace, Outbox, Packed, SendError};
use super::secrets::Secrets;
use super::worker_queue::{JobQueue, WorkerQueue};
use crate::domain::decision::Decision;
use crate::domain::digest::sha256_hex;
use crate::domain::link::{Link, LinkKey, LinkState, Version};
use crate::domain::notification::NotificationId;
use crate::domain::pointer::BodyPointer;
use crate::domain::queue_message::{GroupId, queue_accepts};
use crate::engine::{
    About, Bodies as _, BodyError, Claim, ClaimRequest, Committed, DeadLetter, Decisions as _, Ending, FailedTry,
    Lease, LeaseKey, Leases as _, Links as _, ManyLinks as _, OwnMessage, PutLink, Queue as _, Revision,
    SendToQueue as _, StoredLink, Waiting, WaitingPlace,
};

const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/email-activity.fifo";
const DEAD_LETTERS: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/email-activity-dead-letters.fifo";
const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:crm";
const TRACE: &str = "Root=1-6afac90f-08646c090aa0b640034b2ca2;Parent=53995c3f42cd8ad8;Sampled=1";

/// AWS, which gives the listed answers one after another.
fn replay(answers: &[(u16, String)]) -> (StaticReplayClient, SdkConfig) {
    let events = answers.iter().map(|(status, body)| {
        let request = http::Request::builder().uri("https://unused.example").body(SdkBody::empty()).expect("whole");
        let answer = http::Response::builder().status(*status).body(SdkBody::from(body.as_str())).expect("whole");
        ReplayEvent::new(request, answer)
    });
    let client = StaticReplayClient::new(events.collect());
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .retry_config(RetryConfig::disabled())
        .http_client(client.clone())
        .build();
    (client, config)
}

fn json_answer(status: u16, body: &Value) -> [(u16, String); 1] {
    [(status, body.to_string())]
}

fn error(code: &str) -> [(u16, String); 1] {
    json_answer(400, &json!({ "__type": format!("com.amazonaws#{code}"), "message": "in the words of AWS" }))
}

fn only_request(client: &StaticReplayClient) -> &HttpRequest {
    let requests: Vec<&HttpRequest> = client.actual_requests().collect();
    assert_eq!(requests.len(), 1, "one call and no other");
    requests[0]
}

/// The operation and the body of the only request.
fn only_call(client: &StaticReplayClient) -> (String, Value) {
    let request = only_request(client);
    let target = request.headers().get("x-amz-target").expect("a JSON protocol names its operation").to_owned();
    let body = request.body().bytes().expect("the body is in memory");
    (target, serde_json::from_slice(body).expect("JSON"))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

// ---- Leases ----

const CLAIMED_AT: i64 = 1_772_359_200;
const LIFE_SECONDS: i64 = 35 * 24 * 60 * 60;

fn key() -> LeaseKey {
    LeaseKey::new("email-activity", &NotificationId::parse("n-1").expect("an id"))
}

fn lease() -> Lease {
    Lease { key: key(), fence: 7, unresolved: 0, failures: 0, first_failed_at: None }
}

async fn claim(answers: &[(u16, String)]) -> (StaticReplayClient, Result<Claim, crate::engine::StoreError>) {
    let (client, config) = replay(answers);
    let about = About {
        function: "email-activity",
        notification: NotificationId::parse("n-1").expect("an id"),
        trigger: "message.created".to_owned(),
        grant: None,
        object: "m-1".to_owned(),
    };
    let request = ClaimRequest {
        key: &key(),
        about: &about,
        content: "digest",
        now: at(CLAIMED_AT),
        until: at(CLAIMED_AT + 25),
        queued_at: at(CLAIMED_AT - 5),
        trace: None,
    };
    let claimed = DynamoLeases::new(&config, "dedup".to_owned()).claim(&request).await;
    (client, claimed)
}

fn failed(ending: Ending) -> FailedTry {
    FailedTry { class: "crm.unavailable".to_owned(), what: "x".repeat(3000), ending }
}

fn granted_item() -> Value {
    json!({ "Attributes": {
        "pk": { "S": "email-activity#n-1" }, "state": { "S": "in_progress" }, "lease_until": { "N": "1772359225000" },
        "fence": { "N": "8" }, "unresolved_claims": { "N": "3" }, "failures": { "N": "2" },
        "first_failed_at": { "S": "2026-03-01T09:00:00Z" }, "content": { "S": "digest" },
    }})
}

#[tokio::test]
async fn claim_is_one_conditional_write_that_hands_back_what_stands() {
    let (client, _) = claim(&json_answer(200, &granted_item())).await;
    let (target, body) = only_call(&client);
    assert_eq!(target, "DynamoDB_20120810.UpdateItem");
    assert_eq!(body["TableName"], "dedup");
    assert_eq!(body["Key"], json!({ "pk": { "S": "email-activity#n-1" } }));
    assert_eq!(
        body["ConditionExpression"],
        "attribute_not_exists(pk) OR #state = :failed OR (#state = :in_progress AND lease_until <= :now) \
         OR (#state = :done AND expires_at <= :now_seconds)"
    );
    assert_eq!(body["ReturnValues"], "ALL_NEW");
    assert_eq!(body["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    let values = &body["ExpressionAttributeValues"];
    assert_eq!(values[":now"], json!({ "N": "1772359200000" }), "milliseconds, as `lease_until` is");
    assert_eq!(values[":until"], json!({ "N": "1772359225000" }));
    assert_eq!(values[":now_seconds"], json!({ "N": CLAIMED_AT.to_string() }), "seconds, as DynamoDB's TTL wants");
    assert_eq!(values[":expires_at"], json!({ "N": (CLAIMED_AT + LIFE_SECONDS).to_string() }), "35 days");
    assert_eq!(values[":object"], json!({ "S": "m-1" }), "the index finds the record by it");
    assert_eq!(values[":updated_at"], json!({ "S": "2026-03-01T10:00:00.000Z" }));
}

#[tokio::test]
async fn granted_claim_carries_the_fence_and_counts_the_claims_before_it() {
    let (_, claimed) = claim(&json_answer(200, &granted_item())).await;
    let expected = Lease {
        key: key(),
        fence: 8,
        unresolved: 2,
        failures: 2,
        first_failed_at: Some("2026-03-01T09:00:00Z".parse().expect("a time")),
    };
    assert_eq!(claimed, Ok(Claim::Granted(expected)));
}

fn condition_failed(item: &Value) -> [(u16, String); 1] {
    let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    json_answer(400, &json!({ "__type": code, "message": "The conditional request failed", "Item": item }))
}

#[tokio::test]
async fn completed_record_makes_a_duplicate_with_the_decision_that_stands() {
    let decision = Decision::logged("contact matched", "act-1").with("contact_ids", vec!["c-1"]);
    let (_, claimed) = claim(&condition_failed(&json!({
        "pk": { "S": "email-activity#n-1" }, "state": { "S": "done" }, "fence": { "N": "1" },
        "content": { "S": "digest" }, "unresolved_claims": { "N": "0" },
        "decision": { "M": {
            "outcome": { "S": "logged" }, "reason": { "S": "contact matched" }, "became": { "S": "act-1" },
            "facts": { "M": { "contact_ids": { "L": [{ "S": "c-1" }] } } },
        }},
    })))
    .await;
    assert_eq!(claimed, Ok(Claim::Duplicate { decision, content: "digest".to_owned() }));
}

#[tokio::test]
async fn live_lease_of_another_worker_makes_the_claim_busy_until_its_end() {
    let (_, claimed) = claim(&condition_failed(&json!({
        "pk": { "S": "email-activity#n-1" }, "state": { "S": "in_progress" },
        "lease_until": { "N": "1772359230500" }, "fence": { "N": "1" },
    })))
    .await;
    let until = Timestamp::from_millisecond(1_772_359_230_500).expect("a time");
    assert_eq!(claimed, Ok(Claim::Busy { until }));
}

#[tokio::test]
async fn record_in_an_unknown_state_is_an_error_and_never_a_duplicate() {
    for item in [
        json!({ "pk": { "S": "k" }, "state": { "S": "paused" } }),
        json!({ "pk": { "S": "k" }, "state": { "S": "done" } }),
        json!({ "pk": { "S": "k" } }),
    ] {
        let (_, claimed) = claim(&condition_failed(&item)).await;
        assert!(claimed.is_err(), "{item}: {claimed:?}");
    }
}

#[tokio::test]
async fn throttled_table_is_a_store_error_that_names_table_and_code() {
    for code in ["ProvisionedThroughputExceededException", "ThrottlingException", "AccessDeniedException"] {
        let (_, claimed) = claim(&error(code)).await;
        let text = claimed.expect_err("no verdict on the claim").to_string();
        assert!(text.contains("dedup") && text.contains(code), "{text}");

        let (_, config) = replay(&error(code));
        let leases = DynamoLeases::new(&config, "dedup".to_owned());
        assert!(leases.release(&lease(), at(0)).await.is_err(), "{code}");
        let (_, config) = replay(&error(code));
        let links = DynamoLinks::new(&config, "links".to_owned());
        let text = links.get(&LinkKey::new("mail", "1")).await.expect_err("no link").to_string();
        assert!(text.contains("links") && text.contains(code), "{text}");
    }
}

/// Every write that settles a lease, by its name.
async fn settle(name: &str, answers: &[(u16, String)]) -> (StaticReplayClient, Committed) {
    let (client, config) = replay(answers);
    let leases = DynamoLeases::new(&config, "dedup".to_owned());
    let (lease, now) = (lease(), at(CLAIMED_AT));
    let committed = match name {
        "complete" => leases.complete(&lease, &Decision::logged("contact matched", "act-1"), now).await,
        "complete for now" => leases.complete(&lease, &Decision::skipped("draft").for_now(), now).await,
        "complete and wait" => {
            let waits = Decision::skipped("no known contact").waiting_for(vec!["a@x.example".to_owned()]);
            leases.complete(&lease, &waits, now).await
        }
        "retry" => leases.fail(&lease, &failed(Ending::Retry), now).await,
        "panic" => leases.fail(&lease, &failed(Ending::RetryWithoutVerdict), now).await,
        "dead letter" => leases.fail(&lease, &failed(Ending::DeadLetter), now).await,
        "release" => leases.release(&lease, now).await,
        other => panic!("there is no write {other}"),
    };
    (client, committed.expect("the table answered"))
}

const SETTLING: [&str; 7] =
    ["complete", "complete for now", "complete and wait", "retry", "panic", "dead letter", "release"];

#[tokio::test]
async fn every_verdict_is_fenced_and_a_lost_lease_writes_nothing() {
    for name in SETTLING {
        let (client, committed) = settle(name, &json_answer(200, &json!({}))).await;
        assert_eq!(committed, Committed::Yes, "{name}");
        let (target, body) = only_call(&client);
        assert_eq!(target, "DynamoDB_20120810.UpdateItem");
        assert_eq!(body["Key"], json!({ "pk": { "S": "email-activity#n-1" } }), "{name}");
        assert_eq!(body["ConditionExpression"], "fence = :fence AND #state = :in_progress", "{name}");
        assert_eq!(body["ExpressionAttributeNames"]["#state"], "state", "{name}");
        assert_eq!(body["ExpressionAttributeValues"][":fence"], json!({ "N": "7" }), "{name}");
        assert_eq!(body["ExpressionAttributeValues"][":in_progress"], json!({ "S": "in_progress" }), "{name}");
        let update = body["UpdateExpression"].as_str().expect("an update");
        assert!(update.contains("REMOVE lease_until"), "{name}: {update}");

        let (_, committed) = settle(name, &error("ConditionalCheckFailedException")).await;
        assert_eq!(committed, Committed::LeaseLost, "{name}");
    }
}

#[tokio::test]
async fn completion_keeps_the_decision_for_35_days() {
    let (client, _) = settle("complete", &json_answer(200, &json!({}))).await;
    let (_, body) = only_call(&client);
    let values = &body["ExpressionAttributeValues"];
    assert_eq!(values[":done"], json!({ "S": "done" }));
    assert_eq!(values[":outcome"], json!({ "S": "logged" }));
    assert_eq!(values[":decision"]["M"]["became"], json!({ "S": "act-1" }));
    assert_eq!(values[":expires_at"], json!({ "N": (CLAIMED_AT + LIFE_SECONDS).to_string() }));
}

#[tokio::test]
async fn only_a_decision_that_waits_is_in_the_index_of_those_that_do() {
    for (name, update) in [
        ("complete", "REMOVE lease_until, dead_lettered_by, waiting_grant"),
        ("complete and wait", "waiting_grant = grant_id"),
    ] {
        let (client, _) = settle(name, &json_answer(200, &json!({}))).await;
        let (_, body) = only_call(&client);
        let text = body["UpdateExpression"].as_str().expect("an update");
        assert!(text.contains(update), "{name}: {text}");
    }
}

// ---- Decisions found again ----

/// Every call that finds decisions, by its name.
async fn find(name: &str, answers: &[(u16, String)]) -> (StaticReplayClient, Vec<Waiting>) {
    let (client, config) = replay(answers);
    let leases = DynamoLeases::new(&config, "dedup".to_owned());
    let from = WaitingPlace::before(at(CLAIMED_AT));
    let place = WaitingPlace { key: "email-activity#n-1".to_owned(), ..from.clone() };
    let waiting = Waiting { place: place.clone(), object: "m-1".to_owned(), addresses: Vec::new() };
    let found = match name {
        "is known" => {
            leases.is_known("email-activity", "g-1", "m-1").await.expect("an answer");
            Vec::new()
        }
        "waiting" => leases.waiting("email-activity", "g-1", &from, 10).await.expect("an answer"),
        "waiting further" => leases.waiting("email-activity", "g-1", &place, 10).await.expect("an answer"),
        "waits no longer" => {
            leases.waits_no_longer(&waiting).await.expect("an answer");
            Vec::new()
        }
        other => panic!("there is no call {other}"),
    };
    (client, found)
}

const FINDING: [&str; 4] = ["is known", "waiting", "waiting further", "waits no longer"];

#[tokio::test]
async fn waiting_decisions_are_read_from_their_index_and_a_page_goes_on_after_the_last_place() {
    let item = json!({
        "pk": { "S": "email-activity#n-1" }, "updated_at": { "S": "2026-03-01T10:00:00.000Z" },
        "object_id": { "S": "m-1" }, "decision": { "M": {
            "outcome": { "S": "skipped" }, "reason": { "S": "no known contact" }, "waits_for": { "L": [{ "S": "a@x.example" }] },
        } },
    });
    let (client, found) = find("waiting", &json_answer(200, &json!({ "Items": [item], "Count": 1 }))).await;
    assert_eq!((found[0].object.as_str(), found[0].addresses.as_slice()), ("m-1", &["a@x.example".to_owned()][..]));
    let (target, body) = only_call(&client);
    assert_eq!((target.as_str(), body["IndexName"].as_str()), ("DynamoDB_20120810.Query", Some("waiting")));
    assert_eq!(body["ExclusiveStartKey"], Value::Null);
    let (client, _) = find("waiting further", &json_answer(200, &json!({ "Items": [], "Count": 0 }))).await;
    let place = json!({
        "waiting_grant": { "S": "g-1" }, "updated_at": { "S": "2026-03-01T10:00:00.000Z" }, "pk": { "S": "email-activity#n-1" },
    });
    assert_eq!(only_call(&client).1["ExclusiveStartKey"], place);
}

#[tokio::test]
async fn record_that_has_ended_is_not_made_anew_by_saying_that_it_waits_no_longer() {
    let (client, _) = find("waits no longer", &error("ConditionalCheckFailedException")).await;
    assert_eq!(only_call(&client).1["ConditionExpression"], "attribute_exists(pk)");
}

#[tokio::test]
async fn failed_try_can_be_claimed_again_and_only_a_panic_keeps_counting_towards_crashed() {
    for (name, resets, outcome) in
        [("retry", true, "retrying"), ("panic", false, "retrying"), ("dead letter", true, "failed")]
    {
        let (client, _) = settle(name, &json_answer(200, &json!({}))).await;
        let (_, body) = only_call(&client);
        let update = body["UpdateExpression"].as_str().expect("an update");
        assert!(update.starts_with("SET #state = :failed"), "{name}: {update}");
        assert_eq!(update.contains("unresolved_claims = :zero"), resets, "{name}: {update}");
        assert!(update.contains("first_failed_at = if_not_exists(first_failed_at, :updated_at)"), "{name}: {update}");
        let values = &body["ExpressionAttributeValues"];
        assert_eq!(values[":outcome"], json!({ "S": outcome }), "{name}");
        assert_eq!(values[":class"], json!({ "S": "crm.unavailable" }), "{name}");
        assert_eq!(values[":reason"]["S"].as_str().map(str::len), Some(2000), "{name}: bounded");
    }
}

#[tokio::test]
async fn only_what_lies_in_a_dead_letter_queue_is_in_the_index_of_dead_letters() {
    for (name, enters, leaves) in [
        ("dead letter", true, false),
        ("retry", false, true),
        ("panic", false, true),
        ("complete", false, true),
        ("complete for now", false, true),
        ("complete and wait", false, true),
        ("release", false, false),
    ] {
        let (client, _) = settle(name, &json_answer(200, &json!({}))).await;
        let (_, body) = only_call(&client);
        let update = body["UpdateExpression"].as_str().expect("an update");
        let (set, removed) = update.split_once("REMOVE").expect("a lease that ends");
        // By the function, which each record has had since it was first claimed.
        assert_eq!(set.contains("dead_lettered_by = #function"), enters, "{name}: {update}");
        assert_eq!(body["ExpressionAttributeNames"].get("#function").is_some(), enters, "{name}");
        assert_eq!(removed.contains("dead_lettered_by"), leaves, "{name}: {update}");
    }
}

#[tokio::test]
async fn released_claim_counts_neither_as_a_failure_nor_towards_crashed() {
    let (client, _) = settle("release", &json_answer(200, &json!({}))).await;
    let (_, body) = only_call(&client);
    let update = body["UpdateExpression"].as_str().expect("an update");
    assert!(update.contains("unresolved_claims = unresolved_claims - :one"), "{update}");
    assert!(!update.contains("failures"), "{update}");
}

// ---- Links ----

fn link(state: LinkState) -> Link {
    let mut facts = Map::new();
    facts.insert("nylas_id".to_owned(), "m-1".into());
    facts.insert("copies".to_owned(), json!([1, 2.5, { "deep": null }]));
    Link {
        key: LinkKey::new("mail", "digest"),
        state,
        version: Version { sequence: 3, changed_at: 1_772_359_200 },
        content: Some("digest of the content".to_owned()),
        facts,
    }
}

fn live() -> LinkState {
    LinkState::Live { became: "act-1".to_owned() }
}

async fn put(link: &Link, expected: Option<Revision>, answers: &[(u16, String)]) -> (Value, PutLink) {
    let (client, config) = replay(answers);
    let links = DynamoLinks::new(&config, "links".to_owned());
    let put = links.put(link, expected, at(CLAIMED_AT)).await.expect("the table answered");
    let (target, body) = only_call(&client);
    assert_eq!(target, "DynamoDB_20120810.PutItem");
    assert_eq!(body["TableName"], "links");
    (body, put)
}

#[tokio::test]
async fn first_write_of_a_link_expects_none_and_a_later_one_the_revision_it_was_decided_on() {
    let done = json_answer(200, &json!({}));
    let (body, stored) = put(&link(live()), None, &done).await;
    assert_eq!(stored, PutLink::Stored(Revision(1)));
    assert_eq!(body["ConditionExpression"], "attribute_not_exists(pk)");
    assert_eq!(body["Item"]["pk"], json!({ "S": "mail#digest" }));
    assert_eq!(body["Item"]["revision"], json!({ "N": "1" }));

    let (body, stored) = put(&link(live()), Some(Revision(4)), &done).await;
    assert_eq!(stored, PutLink::Stored(Revision(5)));
    assert_eq!(body["ConditionExpression"], "revision = :expected");
    assert_eq!(body["ExpressionAttributeValues"], json!({ ":expected": { "N": "4" } }));
    assert_eq!(body["Item"]["revision"], json!({ "N": "5" }));
}

#[tokio::test]
async fn lost_race_for_a_link_is_told_apart_from_a_failure() {
    for expected in [None, Some(Revision(4))] {
        let (_, raced) = put(&link(live()), expected, &error("ConditionalCheckFailedException")).await;
        assert_eq!(raced, PutLink::Raced);
    }
    let (_, config) = replay(&error("ThrottlingException"));
    let links = DynamoLinks::new(&config, "links".to_owned());
    assert!(links.put(&link(live()), None, at(0)).await.is_err());
}

#[tokio::test]
async fn live_link_never_ends_and_a_tombstone_lives_35_days() {
    let done = json_answer(200, &json!({}));
    let (body, _) = put(&link(live()), None, &done).await;
    assert_eq!(body["Item"].get("expires_at"), None);
    let (body, _) = put(&link(LinkState::Tombstone), None, &done).await;
    assert_eq!(body["Item"]["expires_at"], json!({ "N": (CLAIMED_AT + LIFE_SECONDS).to_string() }));
}

#[tokio::test]
async fn link_is_read_consistently_and_comes_back_as_it_was_put() {
    for link in [link(live()), link(LinkState::Tombstone), Link { content: None, facts: Map::new(), ..link(live()) }] {
        let (body, _) = put(&link, Some(Revision(1)), &json_answer(200, &json!({}))).await;
        let (client, config) = replay(&json_answer(200, &json!({ "Item": body["Item"] })));
        let found = DynamoLinks::new(&config, "links".to_owned()).get(&link.key).await;
        assert_eq!(found, Ok(Some(StoredLink { link, revision: Revision(2) })));
        let (target, body) = only_call(&client);
        assert_eq!(target, "DynamoDB_20120810.GetItem");
        assert_eq!(body["ConsistentRead"], true);
        assert_eq!(body["Key"], json!({ "pk": { "S": "mail#digest" } }));
    }
    let (_, config) = replay(&json_answer(200, &json!({})));
    assert_eq!(DynamoLinks::new(&config, "links".to_owned()).get(&LinkKey::new("mail", "1")).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn links_that_the_table_leaves_undone_are_asked_for_again() {
    let other = Link { key: LinkKey::new("mail", "2"), ..link(live()) };
    let (body, _) = put(&link(live()), None, &json_answer(200, &json!({}))).await;
    let mut second = body["Item"].clone();
    second["pk"] = json!({ "S": "mail#2" });
    let left = json!({ "links": { "Keys": [{ "pk": { "S": "mail#2" } }] } });
    let answers = [
        json_answer(200, &json!({ "Responses": { "links": [body["Item"]] }, "UnprocessedKeys": left })),
        json_answer(200, &json!({ "Responses": { "links": [second] } })),
    ];
    let (_, config) = replay(&answers.concat());
    let links = DynamoLinks::new(&config, "links".to_owned());
    let found = links.get_many(&[other.key.clone(), link(live()).key]).await.expect("links");
    let keys: Vec<Option<LinkKey>> = found.into_iter().map(|stored| stored.map(|stored| stored.link.key)).collect();
    assert_eq!(keys, [Some(other.key.clone()), Some(link(live()).key)]);

    let undone = json!({ "UnprocessedItems": { "links": [{ "PutRequest": { "Item": second } }] } });
    let (client, config) = replay(&[json_answer(200, &undone), json_answer(200, &json!({}))].concat());
    let links = DynamoLinks::new(&config, "links".to_owned());
    assert_eq!(links.put_many(&[link(live()), other.clone()], at(CLAIMED_AT)).await, Ok(()));
    assert_eq!(client.actual_requests().count(), 2);
    let always: Vec<_> = (0..6).flat_map(|_| json_answer(200, &undone)).collect();
    let (_, config) = replay(&always);
    let links = DynamoLinks::new(&config, "links".to_owned());
    let told = links.put_many(&[other], at(CLAIMED_AT)).await.expect_err("too little").to_string();
    assert!(told.contains("takes too little at a time"), "{told}");
}

// ---- What DynamoDB refuses in every expression ----

const EXPRESSIONS: [&str; 4] =
    ["UpdateExpression", "ConditionExpression", "KeyConditionExpression", "FilterExpression"];

/// The words of an expression, each with the sign before it, if it has one.
fn words(expression: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for character in expression.chars() {
        match (character, words.last_mut()) {
            ('#' | ':', _) => words.push(character.into()),
            (letter, Some(word)) if letter.is_ascii_alphanumeric() || letter == '_' => word.push(letter),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[tokio::test]
async fn no_expression_names_a_reserved_word_or_leaves_a_name_or_value_unused() {
    let reserved: BTreeSet<&str> = include_str!("dynamodb-reserved-words.txt").split_whitespace().collect();
    assert_eq!(reserved.len(), 573, "the list of the DynamoDB developer guide");
    let grammar: BTreeSet<&str> =
        ["SET", "REMOVE", "AND", "OR", "attribute_exists", "attribute_not_exists", "if_not_exists"]
            .into_iter()
            .collect();

    let done = json_answer(200, &json!({}));
    let mut calls = vec![("claim", only_call(&claim(&json_answer(200, &granted_item())).await.0).1)];
    for name in SETTLING {
        calls.push((name, only_call(&settle(name, &done).await.0).1));
    }
    for name in FINDING {
        calls.push((name, only_call(&find(name, &json_answer(200, &json!({ "Items": [], "Count": 0 }))).await.0).1));
    }
    calls.push(("first put", put(&link(live()), None, &done).await.0));
    calls.push(("later put", put(&link(live()), Some(Revision(1)), &done).await.0));

    for (name, body) in calls {
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let used: BTreeSet<String> = words(&EXPRESSIONS.map(text).join(" ")).into_iter().collect();
        let declared: BTreeSet<String> = ["ExpressionAttributeNames", "ExpressionAttributeValues"]
            .into_iter()
            .flat_map(|field| body[field].as_object().cloned().unwrap_or_default())
            .map(|(name, _)| name)
            .collect();
        let (signed, plain): (BTreeSet<String>, BTreeSet<String>) =
            used.into_iter().partition(|word| word.starts_with(['#', ':']));
        assert_eq!(signed, declared, "{name}: DynamoDB refuses what is used and not declared, and the reverse");
        for word in plain.iter().filter(|word| !grammar.contains(word.as_str())) {
            assert!(!reserved.contains(word.to_uppercase().as_str()), "{name}: `{word}` is a reserved word");
        }
    }
}

// ---- A worker's queue ----

#[tokio::test]
async fn visibility_is_rounded_up_to_seconds_and_kept_below_12_hours() {
    for (wait, seconds) in [
        (Duration::ZERO, 0),
        (Duration::from_nanos(1), 1),
        (Duration::from_millis(999), 1),
        (Duration::from_secs(1), 1),
        (Duration::new(1, 1), 2),
        (Duration::from_millis(1_001), 2),
        (Duration::from_hours(11), 11 * 60 * 60),
        (Duration::from_hours(12), 12 * 60 * 60 - 120),
        (Duration::MAX, 12 * 60 * 60 - 120),
    ] {
        let (client, config) = replay(&json_answer(200, &json!({})));
        let queue = WorkerQueue::new(&config, QUEUE.to_owned(), DEAD_LETTERS.to_owned());
        assert_eq!(queue.hide("receipt", wait).await, Ok(()));
        let (target, body) = only_call(&client);
        assert_eq!(target, "AmazonSQS.ChangeMessageVisibility");
        let expected = json!({ "QueueUrl": QUEUE, "ReceiptHandle": "receipt", "VisibilityTimeout": seconds });
        assert_eq!(body, expected, "{wait:?}");
    }
}

#[tokio::test]
async fn queue_that_refuses_is_a_store_error_that_names_it() {
    let (_, config) = replay(&error("ReceiptHandleIsInvalid"));
    let queue = WorkerQueue::new(&config, QUEUE.to_owned(), DEAD_LETTERS.to_owned());
    let text = queue.hide("receipt", Duration::ZERO).await.expect_err("refused").to_string();
    assert!(text.contains(QUEUE) && text.contains("ReceiptHandleIsInvalid"), "{text}");

    let (_, config) = replay(&error("AccessDeniedException"));
    let queue = WorkerQueue::new(&config, QUEUE.to_owned(), DEAD_LETTERS.to_owned());
    let text = queue.dead_letter(&letter()).await.expect_err("refused").to_string();
    assert!(text.contains(DEAD_LETTERS) && text.contains("AccessDeniedException"), "{text}");
}

#[tokio::test]
async fn message_of_our_own_goes_into_the_workers_queue_with_its_group_and_deduplication_id() {
    let (client, config) = replay(&json_answer(200, &json!({ "MessageId": "m" })));
    let queue = WorkerQueue::new(&config, QUEUE.to_owned(), DEAD_LETTERS.to_owned());
    let message =
        OwnMessage { body: "{}".to_owned(), group: GroupId::of("reconcile", "g"), deduplication_id: "d".to_owned() };
    queue.send(&message).await.expect("taken");
    let (target, body) = only_call(&client);
    assert_eq!(target, "AmazonSQS.SendMessage");
    assert_eq!((body["QueueUrl"].as_str(), body["MessageBody"].as_str()), (Some(QUEUE), Some("{}")));
    assert_eq!(body["MessageGroupId"], GroupId::of("reconcile", "g").as_str());
    assert_eq!(body["MessageDeduplicationId"], "d");
}

#[tokio::test]
async fn message_of_our_own_carries_on_the_trace_of_what_caused_it() {
    let message =
        OwnMessage { body: "{}".to_owned(), group: GroupId::of("reconcile", "g"), deduplication_id: "d".to_owned() };
    for (trace, expected) in [
        (Some(TRACE), json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": TRACE } })),
        (None, Value::Null),
    ] {
        for of_another_function in [false, true] {
            let (client, config) = replay(&json_answer(200, &json!({ "MessageId": "m" })));
            let send = async {
                if of_another_function {
                    JobQueue::new(&config, QUEUE.to_owned()).send(&message).await
                } else {
                    WorkerQueue::new(&config, QUEUE.to_owned(), DEAD_LETTERS.to_owned()).send(&message).await
                }
            };
            crate::trace::belonging_to(trace.map(str::to_owned), send).await.expect("taken");
            assert_eq!(only_call(&client).1["MessageSystemAttributes"], expected, "{trace:?}");
        }
    }
}

fn letter() -> DeadLetter<'static> {
    DeadLetter {
        body: r#"{"id":"n-1","as":"it came"}"#,
        message_id: "5c1f0a52-0000-4000-8000-000000000001",
        notification: "n-1",
        reason: "the CRM refused the activity: 422; correct the record and redrive",
        class: "crm.rejected",
        function: "email-activity",
        source_group: Some("0123456789abcdef0123456789abcdef"),
        first_failed_at: at(CLAIMED_AT),
        last_failed_at: at(CLAIMED_AT).checked_add(90.minutes()).expect("a time"),
        trace: Some(TRACE),
    }
}

async fn bury(letter: &DeadLetter<'_>) -> Value {
    let (client, config) = replay(&json_answer(200, &json!({ "MessageId": "m" })));
    let queue = WorkerQueue::new(&config, QUEUE.to_owned(), DEAD_LETTERS.to_owned());
    assert_eq!(queue.dead_letter(letter).await, Ok(()));
    let (target, body) = only_call(&client);
    assert_eq!(target, "AmazonSQS.SendMessage");
    body
}

#[tokio::test]
async fn dead_letter_carries_the_body_unchanged_and_the_whole_story_as_attributes() {
    let body = bury(&letter()).await;
    assert_eq!(body["QueueUrl"], DEAD_LETTERS);
    assert_eq!(body["MessageBody"], letter().body);
    let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
    assert_eq!(
        body["MessageAttributes"],
        json!({
            "reason": text(letter().reason),
            "class": text("crm.rejected"),
            "function": text("email-activity"),
            "notification_id": text("n-1"),
            "source_group": text("0123456789abcdef0123456789abcdef"),
            "first_failed_at": text("2026-03-01T10:00:00Z"),
            "last_failed_at": text("2026-03-01T11:30:00Z"),
        })
    );
    assert_eq!(body["MessageSystemAttributes"], json!({ "AWSTraceHeader": text(TRACE) }));
    let body = bury(&DeadLetter { trace: None, source_group: None, ..letter() }).await;
    assert_eq!(body.get("MessageSystemAttributes"), None);
    assert_eq!(body["MessageAttributes"]["source_group"]["StringValue"], "none");
}

#[tokio::test]
async fn every_dead_letter_has_a_group_and_a_deduplication_id_of_its_own() {
    let one = bury(&letter()).await;
    let again = bury(&DeadLetter { reason: "another reason", ..letter() }).await;
    let other = bury(&DeadLetter { message_id: "5c1f0a52-0000-4000-8000-000000000002", ..letter() }).await;
    for field in ["MessageGroupId", "MessageDeduplicationId"] {
        assert_eq!(one[field], again[field], "{field}: one message ends once");
        assert_ne!(one[field], other[field], "{field}: another message, even of the same group and notification");
        let id = one[field].as_str().expect("a text");
        assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{field}: {id}");
    }
    assert_ne!(one["MessageGroupId"].as_str(), letter().source_group, "fresh");
}

#[tokio::test]
async fn attributes_of_a_dead_letter_hold_nothing_that_sqs_refuses() {
    let long = "ä".repeat(5000);
    for (hostile, expected) in [
        ("a\0b\u{fffe}c\u{b}d\n", "abcd\n".to_owned()),
        ("", "none".to_owned()),
        ("\u{1f}\u{ffff}", "none".to_owned()),
        (long.as_str(), "ä".repeat(1000)),
    ] {
        let body = bury(&DeadLetter { reason: hostile, notification: hostile, ..letter() }).await;
        let attributes = body["MessageAttributes"].as_object().expect("attributes");
        assert!(attributes.len() <= 10, "SQS takes ten");
        for (name, attribute) in attributes {
            let value = attribute["StringValue"].as_str().expect("a text");
            assert!(!value.is_empty() && queue_accepts(value), "{name}: {value:?}");
        }
        for name in ["reason", "notification_id"] {
            assert_eq!(attributes[name]["StringValue"], expected, "{name}");
        }
    }
}

// ---- The outbox ----

fn outbox(config: &SdkConfig) -> Outbox {
    Outbox::new(config, ArchiveBodies::new(config, "archive".to_owned()))
}

#[tokio::test]
async fn message_for_a_fifo_queue_carries_its_group_its_deduplication_id_and_the_trace() {
    let (client, config) = replay(&json_answer(200, &json!({ "MessageId": "m" })));
    let place = FifoPlace { group: GroupId::of("thread", "t"), deduplication_id: "d".repeat(64) };
    outbox(&config)
        .send(QUEUE, &Packed::Inline("{ \"as\": \"it came\" }"), Some(&place), Some(TRACE))
        .await
        .expect("sent");
    let (target, body) = only_call(&client);
    assert_eq!(target, "AmazonSQS.SendMessage");
    assert_eq!(
        body,
        json!({
            "QueueUrl": QUEUE,
            "MessageBody": "{ \"as\": \"it came\" }",
            "MessageGroupId": place.group.as_str(),
            "MessageDeduplicationId": place.deduplication_id,
            "MessageSystemAttributes": { "AWSTraceHeader": { "DataType": "String", "StringValue": TRACE } },
        })
    );
}

#[tokio::test]
async fn message_for_a_standard_queue_has_neither_group_nor_deduplication_id() {
    let (client, config) = replay(&json_answer(200, &json!({ "MessageId": "m" })));
    outbox(&config).send(QUEUE, &Packed::Inline("text"), None, None).await.expect("sent");
    assert_eq!(only_call(&client).1, json!({ "QueueUrl": QUEUE, "MessageBody": "text" }));
}

#[tokio::test]
async fn queue_that_does_not_take_a_message_is_named_with_its_code() {
    let (_, config) = replay(&error("OverLimit"));
    let refused = outbox(&config).send(QUEUE, &Packed::Inline("text"), None, None).await.expect_err("refused");
    assert!(matches!(&refused, SendError::Queue { queue, .. } if queue == QUEUE), "{refused:?}");
    assert!(refused.to_string().contains("OverLimit"), "{refused}");
}

#[tokio::test]
async fn body_is_packed_inline_if_it_can_be_and_as_a_pointer_once_the_bucket_has_it() {
    let (client, config) = replay(&[(200, String::new())]);
    let outbox = outbox(&config);
    assert_eq!(outbox.pack(b"plain").await.expect("packed"), Packed::Inline("plain"));
    assert_eq!(client.actual_requests().count(), 0, "nothing was stored");
    let packed = outbox.pack(b"\xff").await.expect("packed");
    assert_eq!(packed, Packed::Pointer(BodyPointer::to(b"\xff").to_message()));
    assert_eq!(only_request(&client).method(), "PUT");

    let (_, config) = replay(&[(503, s3_error("SlowDown"))]);
    let refused = self::outbox(&config).pack(b"\xff").await.expect_err("not stored");
    assert!(matches!(refused, SendError::Bucket(_)), "{refused:?}");
    assert!(refused.to_string().contains("SlowDown"), "{refused}");
}

// ---- The archive bucket ----

fn s3_error(code: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>in the words of S3</Message></Error>")
}

async fn never_logged(answer: (u16, &str)) -> Result<usize, String> {
    let (_, config) = replay(&[(answer.0, answer.1.to_owned())]);
    let list = NeverLogFile::new(&config, "archive".to_owned()).current().await;
    list.map(|list| list.len()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn never_log_list_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error() {
    assert_eq!(never_logged((200, "dana@acme.example\nnot an entry\nlawyers.example\n")).await, Ok(2));
    assert_eq!(never_logged((404, &s3_error("NoSuchKey"))).await, Ok(0));
    assert_eq!(never_logged((200, "# nobody yet\n")).await, Ok(0));
    let unreadable = never_logged((200, "a\0c\0m\0e\0\n")).await.expect_err("no list");
    assert!(unreadable.contains("no line"), "{unreadable}");
    for (status, code) in [(403, "AccessDenied"), (503, "SlowDown")] {
        let problem = never_logged((status, &s3_error(code))).await.expect_err("no list");
        assert!(problem.contains(code) && problem.contains("never-log"), "{problem}");
    }
}

async fn fetch(answer: (u16, &str), pointer: &BodyPointer) -> (StaticReplayClient, Result<Vec<u8>, BodyError>) {
    let (client, config) = replay(&[(answer.0, answer.1.to_owned())]);
    let fetched = ArchiveBodies::new(&config, "archive".to_owned()).fetch(pointer).await;
    (client, fetched)
}

#[tokio::test]
async fn body_is_stored_whole_under_the_digest_of_its_bytes() {
    let body = b"caf\xe9 \0 and more";
    let (client, config) = replay(&[(200, String::new())]);
    let pointer = ArchiveBodies::new(&config, "archive".to_owned()).store(body).await.expect("stored");
    let request = only_request(&client);
    assert_eq!(request.method(), "PUT");
    let expected = format!("/archive/bodies/{}", sha256_hex(&[body]));
    let uri: http::Uri = request.uri().parse().expect("a URI");
    assert_eq!(uri.path(), expected);
    assert_eq!(request.body().bytes(), Some(body.as_slice()));
    assert_eq!(pointer, BodyPointer::to(body));
}

#[tokio::test]
async fn body_is_fetched_by_its_pointer_and_checked_against_it() {
    let pointer = BodyPointer::to(b"a body");
    let (client, fetched) = fetch((200, "a body"), &pointer).await;
    assert_eq!(fetched.as_deref(), Ok(b"a body".as_slice()));
    let uri: http::Uri = only_request(&client).uri().parse().expect("a URI");
    assert_eq!(uri.path(), format!("/archive/{}", pointer.key));
}

#[tokio::test]
async fn missing_corrupt_and_unavailable_bodies_are_told_apart() {
    let pointer = BodyPointer::to(b"a body");
    let key = pointer.key.clone();
    let (_, fetched) = fetch((404, &s3_error("NoSuchKey")), &pointer).await;
    assert_eq!(fetched, Err(BodyError::Missing(key.clone())));
    for other in ["another body", ""] {
        let (_, fetched) = fetch((200, other), &pointer).await;
        assert_eq!(fetched, Err(BodyError::Corrupt(key.clone())), "{other}");
    }
    for (status, code) in [(403, "AccessDenied"), (503, "SlowDown"), (404, "NoSuchBucket")] {
        let (_, fetched) = fetch((status, &s3_error(code)), &pointer).await;
        assert!(
            matches!(&fetched, Err(BodyError::Unavailable(named, why)) if *named == key && why.contains(code)),
            "{code}: {fetched:?}"
        );
    }
}

// ---- Secrets ----

async fn read_secret(answers: &[(u16, String)]) -> (StaticReplayClient, Result<Option<String>, String>) {
    let (client, config) = replay(answers);
    let read = Secrets::new(&config).read(SECRET).await;
    let read = read.map(|secret| secret.map(|secret| secret.expose_secret().to_owned()));
    (client, read.map_err(|error| error.to_string()))
}

#[tokio::test]
async fn secret_is_read_by_its_arn_and_a_blank_one_is_none() {
    for (value, expected) in [(json!("key"), Some("key")), (json!(" \n"), None), (json!(""), None), (json!(null), None)]
    {
        let (client, read) = read_secret(&json_answer(200, &json!({ "ARN": SECRET, "SecretString": value }))).await;
        assert_eq!(read, Ok(expected.map(str::to_owned)), "{value}");
        let (target, body) = only_call(&client);
        assert_eq!((target.as_str(), body), ("secretsmanager.GetSecretValue", json!({ "SecretId": SECRET })));
    }
}

#[tokio::test]
async fn list_that_lies_in_a_secret_is_read_by_its_entries() {
    for (value, expected) in
        [(json!(" a , b,,c\n"), &["a", "b", "c"][..]), (json!(" , "), &[]), (json!(null), &[]), (json!("a"), &["a"])]
    {
        let (_, config) = replay(&json_answer(200, &json!({ "ARN": SECRET, "SecretString": value })));
        let read = Secrets::new(&config).read_list(SECRET).await.expect("a list");
        assert_eq!(read, expected, "{value}");
    }
}

#[tokio::test]
async fn secret_without_a_value_is_none_and_a_missing_secret_is_an_error_that_names_it() {
    let not_found = |message: &str| json!({ "__type": "ResourceNotFoundException", "Message": message });
    let text = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
    let (_, read) = read_secret(&json_answer(400, &not_found(text))).await;
    assert_eq!(read, Ok(None));
    let text = "Secrets Manager can't find the specified secret.";
    let (_, read) = read_secret(&json_answer(400, &not_found(text))).await;
    assert!(read.as_ref().is_err_and(|error| error.contains(SECRET) && error.contains(text)), "{read:?}");
}

#[tokio::test]
async fn secret_that_may_not_be_read_is_an_error_that_names_it() {
    for code in ["AccessDeniedException", "DecryptionFailure", "ThrottlingException"] {
        let (_, read) = read_secret(&error(code)).await;
        assert!(read.as_ref().is_err_and(|error| error.contains(SECRET) && error.contains(code)), "{read:?}");
    }
}

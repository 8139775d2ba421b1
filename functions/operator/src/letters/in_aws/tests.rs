//! The dead letters of a stack against replayed answers: what each call asks of AWS, in which order, and how each answer
//! is read.

use aws_sdk_sqs::config::http::HttpRequest;
use aws_smithy_http_client::test_util::StaticReplayClient;
use serde_json::{Value, json};
use shared::domain::decision::Decision;
use shared::engine::Deadline;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::command::Request;
use crate::letters::asked::LettersRequest;
use crate::letters::letter::Subject;
use crate::letters::moving::Moving;
use crate::testing::replaying;

const QUEUE: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/email-activity.fifo";
const DEAD_LETTERS: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/email-activity-dead-letters.fifo";
const SCHEDULES: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/schedules";
const TRACE: &str = "Root=1-6afac90f-08646c090aa0b640034b2ca2;Parent=53995c3f42cd8ad8;Sampled=1";
const NOW: &str = "2026-03-20T10:00:00Z";
const LIFE_SECONDS: i64 = 35 * 24 * 60 * 60;

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

/// AWS, which gives the listed answers one after another.
fn replay(answers: &[(u16, String)]) -> (StaticReplayClient, AwsLetters) {
    let (client, config) = replaying(answers);
    let letters = AwsLetters::new(&config, "stack".to_owned(), "dedup".to_owned(), "archive".to_owned());
    (client, letters)
}

fn answer(body: &Value) -> (u16, String) {
    (200, body.to_string())
}

fn condition_failed(item: &Value) -> (u16, String) {
    let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
    (400, json!({ "__type": code, "message": "The conditional request failed", "Item": item }).to_string())
}

fn operation(request: &HttpRequest) -> String {
    let target = request.headers().get("x-amz-target").map(str::to_owned);
    let body = || String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
    let action = || body().split('&').find_map(|pair| Some(pair.strip_prefix("Action=")?.to_owned()));
    let of_s3 = || format!("{} {}", request.method(), request.uri().split('?').next().unwrap_or_default());
    target.map(|target| target.rsplit('.').next().unwrap_or_default().to_owned()).or_else(action).unwrap_or_else(of_s3)
}

fn operations(client: &StaticReplayClient) -> Vec<String> {
    client.actual_requests().map(operation).collect()
}

fn body_of(client: &StaticReplayClient, place: usize) -> Value {
    let request = client.actual_requests().nth(place).expect("a call");
    serde_json::from_slice(request.body().bytes().expect("in memory")).expect("JSON")
}

/// A stack, as CloudFormation tells it.
fn stack() -> [(u16, String); 2] {
    let mut resources = String::new();
    let mut tell = |name: &str, id: &str| {
        write!(
            resources,
            "<member><LogicalResourceId>{name}</LogicalResourceId><PhysicalResourceId>{id}</PhysicalResourceId></member>"
        )
        .expect("a text");
    };
    for (name, function) in WORKERS {
        let url = |suffix: &str| format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{function}{suffix}.fifo");
        tell(&format!("{name}Queue"), &url(""));
        tell(&format!("{name}DeadLetterQueue"), &url("-dead-letters"));
    }
    tell("SchedulerDeadLetterQueue", SCHEDULES);
    let described = "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>stack</StackName>\
                     <CreationTime>2026-03-01T10:00:00Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus>\
                     </member></Stacks></DescribeStacksResult></DescribeStacksResponse>";
    let listed = format!(
        "<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries>{resources}\
         </StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>"
    );
    [(200, described.to_owned()), (200, listed)]
}

fn mail(id: &str) -> String {
    json!({ "type": "message.created", "id": id, "data": { "object": { "id": format!("mail-{id}") } } }).to_string()
}

fn message(id: &str, class: &str) -> Value {
    let text = |value: &str| json!({ "DataType": "String", "StringValue": value });
    json!({
        "MessageId": format!("letter-{id}"), "ReceiptHandle": format!("receipt-{id}"), "Body": mail(id),
        "Attributes": { "SentTimestamp": "1773914400000", "MessageGroupId": "own", "AWSTraceHeader": TRACE },
        "MessageAttributes": {
            "reason": text("the CRM refused it"), "class": text(class), "function": text("email-activity"),
            "notification_id": text(id), "source_group": text("0123456789abcdef0123456789abcdef"),
            "first_failed_at": text("2026-03-18T10:00:00Z"), "last_failed_at": text("2026-03-19T10:00:00Z"),
        },
    })
}

fn record(id: &str) -> Value {
    json!({ "Item": {
        "pk": { "S": format!("email-activity#{id}") }, "state": { "S": "failed" }, "fence": { "N": "7" },
        "content": { "S": shared::domain::notification::content_digest(&mail(id)) }, "failures": { "N": "2" },
        "last_failed_at": { "S": "2026-03-19T10:00:00.000Z" }, "class": { "S": "crm.rejected" },
        "expires_at": { "N": "1776000000" },
    } })
}

#[tokio::test(start_paused = true)]
async fn letter_is_received_sent_and_only_then_deleted_and_what_is_not_meant_is_shown_again() {
    let done = answer(&json!({}));
    let answers = stack().into_iter().chain([
        answer(&json!({ "Messages": [message("n-1", "crm.rejected"), message("n-2", "gave_up")] })),
        answer(&record("n-1")),
        answer(&json!({ "MessageId": "m" })),
        done.clone(),
        done.clone(),
        answer(&json!({ "Messages": [] })),
        done.clone(),
        answer(&json!({ "Messages": [] })),
    ]);
    let (client, port) = replay(&answers.collect::<Vec<_>>());
    let event = json!({
        "command": "redrive", "function": "email-activity", "class": "crm.rejected", "dry_run": false,
    });
    let Ok(Request::Letters(LettersRequest::Move(order))) = Request::read(&event, now()) else { panic!("{event}") };
    let moving = Moving { port: &port, order: &order, now: now(), deadline: Deadline::after(Duration::from_secs(30)) };
    let told = moving.carry_out().await.expect("an answer");
    assert_eq!(told.rows.len(), 1, "{}", told.text);
    assert_eq!(
        operations(&client),
        [
            "DescribeStacks",
            "ListStackResources",
            "ReceiveMessage",
            "GetItem",
            "SendMessage",
            "DeleteMessage",
            "UpdateItem",
            "ReceiveMessage",
            "ChangeMessageVisibility",
            "ReceiveMessage",
        ]
    );
    let received = body_of(&client, 2);
    assert_eq!(received["QueueUrl"], DEAD_LETTERS);
    assert_eq!((&received["MaxNumberOfMessages"], &received["VisibilityTimeout"]), (&json!(10), &json!(120)));
    assert_eq!(received["MessageAttributeNames"], json!(["All"]));
    let sent = body_of(&client, 4);
    assert_eq!((&sent["QueueUrl"], &sent["MessageBody"]), (&json!(QUEUE), &json!(mail("n-1"))));
    assert_eq!(sent["MessageGroupId"], "0123456789abcdef0123456789abcdef");
    assert_eq!(sent["MessageDeduplicationId"].as_str().map(str::len), Some(64));
    assert_eq!(sent["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"], TRACE);
    assert_eq!(sent.get("MessageAttributes"), None, "what was said of its end stays behind");
    let deleted = json!({ "QueueUrl": DEAD_LETTERS, "ReceiptHandle": "receipt-n-1" });
    assert_eq!(body_of(&client, 5), deleted);
    let shown = json!({ "QueueUrl": DEAD_LETTERS, "ReceiptHandle": "receipt-n-2", "VisibilityTimeout": 0 });
    assert_eq!(body_of(&client, 8), shown);
    assert_eq!(body_of(&client, 9)["QueueUrl"], SCHEDULES);
}

#[tokio::test]
async fn note_counts_only_while_nobody_has_claimed_the_record_since_it_was_read() {
    for (note, outcome) in [(Note::Redriven, "redriven"), (Note::Parked { because: "later" }, "parked")] {
        let (client, port) = replay(&[answer(&json!({}))]);
        assert_eq!(port.note("email-activity#n-1", 7, note, now()).await, Ok(Noted::Yes));
        let body = body_of(&client, 0);
        assert_eq!(body["ConditionExpression"], "#state = :failed AND fence = :fence");
        let values = &body["ExpressionAttributeValues"];
        assert_eq!((&values[":fence"], &values[":outcome"]), (&json!({ "N": "7" }), &json!({ "S": outcome })));
        let update = body["UpdateExpression"].as_str().expect("an update");
        assert!(update.ends_with("REMOVE dead_lettered_by"), "it leaves the index: {update}");
        assert!(!update.contains("#state"), "it stays claimable: {update}");
        let (_, port) = replay(&[condition_failed(&json!({}))]);
        assert_eq!(port.note("email-activity#n-1", 7, note, now()).await, Ok(Noted::DecidedMeanwhile));
        let (_, port) = replay(&[(400, json!({ "__type": "ThrottlingException" }).to_string())]);
        let told = port.note("email-activity#n-1", 7, note, now()).await.expect_err("no").to_string();
        assert!(told.contains("dedup") && told.contains("ThrottlingException"), "{told}");
    }
}

async fn settle(answers: &[(u16, String)]) -> (StaticReplayClient, Result<Settled, StoreError>) {
    let (client, port) = replay(answers);
    let subject = Subject {
        notification: Some("n-1".to_owned()),
        trigger: "message.created".to_owned(),
        object: "m-1".to_owned(),
        grant: Some("g".to_owned()),
        content: Some("digest".to_owned()),
    };
    let decision = &Decision::skipped("dropped by hand: a test mail");
    let (key, function) = ("email-activity#n-1", "email-activity");
    let settling = Settling { key, function, notification: "n-1", subject: &subject, decision };
    let settled = port.settle(&settling, now()).await;
    (client, settled)
}

#[tokio::test]
async fn dropping_is_one_conditional_write_that_overwrites_no_decision_and_no_live_lease() {
    let (client, settled) = settle(&[answer(&json!({}))]).await;
    assert_eq!(settled, Ok(Settled::Yes));
    let body = body_of(&client, 0);
    assert_eq!(
        body["ConditionExpression"],
        "attribute_not_exists(pk) OR #state = :failed OR (#state = :in_progress AND lease_until <= :now) \
         OR (#state = :done AND expires_at <= :now_seconds)"
    );
    let values = &body["ExpressionAttributeValues"];
    assert_eq!(values[":decision"]["M"]["reason"], json!({ "S": "dropped by hand: a test mail" }));
    assert_eq!((&values[":outcome"], &values[":content"]), (&json!({ "S": "skipped" }), &json!({ "S": "digest" })));
    assert_eq!(values[":expires_at"], json!({ "N": (now().as_second() + LIFE_SECONDS).to_string() }), "35 days");
    let update = body["UpdateExpression"].as_str().expect("an update");
    assert!(update.contains("fence = if_not_exists(fence, :zero) + :one"), "a late worker cannot commit: {update}");
    assert!(update.contains("REMOVE lease_until, dead_lettered_by"), "it leaves the index: {update}");
    for (state, settled_as) in [("done", Settled::DecidedBefore), ("in_progress", Settled::AtWork)] {
        let item = json!({ "pk": { "S": "email-activity#n-1" }, "state": { "S": state } });
        assert_eq!(settle(&[condition_failed(&item)]).await.1, Ok(settled_as), "{state}");
    }
}

#[tokio::test]
async fn no_expression_names_a_reserved_word_or_leaves_a_name_or_value_unused() {
    let reserved: BTreeSet<&str> =
        include_str!("../../../../../shared/src/aws/dynamodb-reserved-words.txt").split_whitespace().collect();
    let grammar = ["SET", "REMOVE", "AND", "OR", "attribute_exists", "attribute_not_exists", "if_not_exists"];
    let mut calls = vec![body_of(&settle(&[answer(&json!({}))]).await.0, 0)];
    for note in [Note::Redriven, Note::Parked { because: "later" }] {
        let (client, port) = replay(&[answer(&json!({}))]);
        port.note("k", 1, note, now()).await.expect("noted");
        calls.push(body_of(&client, 0));
    }
    let (client, port) = replay(&[answer(&json!({ "Items": [] }))]);
    port.records("email-activity", 10).await.expect("none");
    calls.push(body_of(&client, 0));
    for body in calls {
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let expressions = ["UpdateExpression", "ConditionExpression", "KeyConditionExpression"].map(text).join(" ");
        let is_of_a_word = |letter: char| letter.is_ascii_alphanumeric() || "_#:".contains(letter);
        let words: BTreeSet<&str> =
            expressions.split(|letter| !is_of_a_word(letter)).filter(|word| !word.is_empty()).collect();
        let (signed, plain): (BTreeSet<&str>, BTreeSet<&str>) =
            words.into_iter().partition(|word| word.starts_with(['#', ':']));
        let names = ["ExpressionAttributeNames", "ExpressionAttributeValues"];
        let declared: BTreeSet<&str> = names
            .iter()
            .filter_map(|field| body[*field].as_object())
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(signed, declared, "{expressions}");
        for word in plain.into_iter().filter(|word| !grammar.contains(word)) {
            assert!(!reserved.contains(word.to_uppercase().as_str()), "`{word}` is a reserved word: {expressions}");
        }
    }
}

#[tokio::test]
async fn records_are_read_from_their_index_page_by_page_and_no_more_than_asked_for() {
    let item = |id: &str| record(id)["Item"].clone();
    let place =
        json!({ "pk": { "S": "k" }, "dead_lettered_by": { "S": "email-activity" }, "updated_at": { "S": "t" } });
    let pages = [
        answer(&json!({ "Items": [item("n-1"), item("n-2")], "LastEvaluatedKey": place })),
        answer(&json!({ "Items": [item("n-3")] })),
    ];
    let (client, port) = replay(&pages);
    let (records, more) = port.records("email-activity", 10).await.expect("records");
    assert_eq!((records.len(), more, records[2].fence), (3, false, 7));
    let body = body_of(&client, 0);
    assert_eq!(body["IndexName"], "dead-letters");
    assert_eq!(body["ExpressionAttributeValues"], json!({ ":function": { "S": "email-activity" } }));
    assert_eq!(body_of(&client, 1)["ExclusiveStartKey"], place);
    let (_, port) = replay(&pages);
    let (records, more) = port.records("email-activity", 2).await.expect("records");
    assert_eq!((records.len(), more), (2, true));
}

#[tokio::test]
async fn queue_counts_what_is_visible_and_what_somebody_has_received() {
    let attributes = json!({ "ApproximateNumberOfMessages": "3", "ApproximateNumberOfMessagesNotVisible": "2" });
    let (_, port) = replay(&[answer(&json!({ "Attributes": attributes }))]);
    assert_eq!(port.count(DEAD_LETTERS).await, Ok(5));
}

#[tokio::test]
async fn parked_letter_lies_in_the_archive_as_it_was_and_one_that_is_gone_is_none() {
    let received = Received { message_id: "letter-1".to_owned(), body: mail("n-1"), ..Received::default() };
    let letter = Letter::of_worker(&received, "email-activity");
    let (client, port) = replay(&[(200, String::new())]);
    port.park("bodies/parked/email-activity/x.json", &letter).await.expect("kept");
    let request = client.actual_requests().next().expect("a call");
    assert!(operation(request).starts_with("PUT ") && request.uri().contains("/archive/bodies/parked/email-activity/"));
    let written = String::from_utf8(request.body().bytes().expect("in memory").to_vec()).expect("a text");
    assert!(written.contains("message.created"), "{written}");
    let (_, port) = replay(&[(200, serde_json::to_string(&letter).expect("JSON"))]);
    assert_eq!(port.read_parked("bodies/parked/email-activity/x.json").await, Ok(Some(letter)));
    let gone = "<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>";
    let (_, port) = replay(&[(404, gone.to_owned())]);
    assert_eq!(port.read_parked("bodies/parked/email-activity/x.json").await, Ok(None));
}

//! Messages that come again long after they were decided, through the engine itself: nothing is written twice.

use super::*;
use aws_lambda_events::sqs::SqsEvent;
use shared::engine::testing::MemoryBodies;
use shared::engine::{Engine, RetryPolicy};

struct Rules<'a>(&'a Desk);

impl Processor for Rules<'_> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        self.0.process(work).await
    }
}

/// Hands a message to the engine, over these decision records.
async fn receive(desk: &Desk, leases: MemoryLeases, message: &str, body: &str) -> MemoryLeases {
    let engine = Engine {
        function: "email-activity",
        leases,
        queue: MemoryQueue::default(),
        bodies: MemoryBodies::default(),
        retry: RetryPolicy::default(),
        clock: Clock::system(),
    };
    let record = json!({
        "messageId": message, "receiptHandle": message, "body": body,
        "attributes": {"MessageGroupId": "g", "SentTimestamp": "1772359999000", "ApproximateReceiveCount": "1"},
    });
    let event: SqsEvent = serde_json::from_value(json!({ "Records": [record] })).expect("an event");
    let answered = engine.run(event, Deadline::after(Duration::from_secs(25)), &Rules(desk)).await.expect("an answer");
    assert!(answered.batch_item_failures.is_empty(), "{answered:?}");
    assert!(engine.queue.buried().is_empty(), "{:?}", engine.queue.buried());
    engine.leases
}

fn outcome(leases: &MemoryLeases) -> String {
    let record = leases.record("email-activity#n1").expect("a record");
    record.decision.expect("a decision").outcome.as_str().to_owned()
}

#[tokio::test]
async fn mail_that_is_redriven_with_and_without_its_decision_record_is_logged_once() {
    let desk = Desk::new();
    let body = work("n1", "message.created", &mail()).body;
    let leases = receive(&desk, MemoryLeases::default(), "first", &body).await;
    assert_eq!((outcome(&leases).as_str(), desk.crm.writes.load(Ordering::SeqCst)), ("logged", 1));
    receive(&desk, leases, "redriven", &body).await;
    assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1, "a duplicate");
    for message in ["after 35 days", "after 70 days"] {
        receive(&desk, MemoryLeases::default(), message, &body).await;
        assert_eq!(desk.crm.logged().len(), 1, "{message}");
        assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1, "{message}: the link tells what it became");
    }
}

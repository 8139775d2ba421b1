//! Messages that come again long after they were decided, through the engine itself: nothing is written twice, and old
//! news does not overwrite new.

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
        function: "calendar-sync",
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
    let batch: SqsEvent = serde_json::from_value(json!({ "Records": [record] })).expect("an event");
    let answered = engine.run(batch, Deadline::after(Duration::from_secs(25)), &Rules(desk)).await.expect("an answer");
    assert!(answered.batch_item_failures.is_empty(), "{answered:?}");
    assert!(engine.queue.buried().is_empty(), "{:?}", engine.queue.buried());
    engine.leases
}

fn notification(kind: &str, object: &Value) -> String {
    let time = &object["updated_at"];
    json!({"specversion": "1.0", "type": kind, "source": "/microsoft/events/realtime", "time": time,
        "id": format!("{kind}-{time}"), "data": {"object": object}})
    .to_string()
}

#[tokio::test]
async fn event_that_is_redriven_without_its_decision_record_is_not_written_again_and_overwrites_nothing_newer() {
    let desk = Desk::new(Scope::Prospects);
    let first = notification("event.created", &event(json!({})));
    let moved = event(json!({"title": "Pilot, moved", "updated_at": 1_772_350_100}));
    let second = notification("event.updated", &moved);
    let writes = || *desk.crm.writes.lock().expect("a lock");
    desk.nylas.holds(&moved);
    let leases = receive(&desk, MemoryLeases::default(), "first", &first).await;
    let leases = receive(&desk, leases, "second", &second).await;
    let (written, subjects) = (writes(), desk.subjects());
    assert_eq!((written, subjects), (2, vec!["Pilot, moved".to_owned()]));
    receive(&desk, leases, "first redriven", &first).await;
    for (message, body) in [("second", &second), ("first", &first), ("second again", &second)] {
        receive(&desk, MemoryLeases::default(), message, body).await;
        assert_eq!(desk.subjects(), ["Pilot, moved"], "{message}");
        assert_eq!(writes(), 2, "{message}: nothing is written twice");
    }

    desk.nylas.events.lock().expect("a lock").clear();
    let deleted = notification("event.deleted", &ids("e1", 1_772_350_200));
    receive(&desk, MemoryLeases::default(), "deleted", &deleted).await;
    assert!(desk.subjects().is_empty());
    for body in [&first, &second, &deleted] {
        receive(&desk, MemoryLeases::default(), "after the deletion", body).await;
        assert!(desk.subjects().is_empty(), "{body}");
    }
}

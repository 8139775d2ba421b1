//! The queues of the stack, the bodies in its archive, and Nylas.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName};
use jiff::Timestamp;
use shared::aws::bodies::ArchiveBodies;
use shared::aws::outbox::{FifoPlace, Outbox, SendError};
use shared::aws::{SdkConfig, describe};
use shared::domain::pointer::BodyPointer;
use shared::domain::routing::Destination;
use shared::engine::{Bodies as _, Deadline, StoreError};
use shared::nylas::{HeaderFields, Nylas, NylasError};
use std::time::Duration;
use tokio::sync::OnceCell;

use super::Replays;
use super::fetched::{Fetched, Kind, ObjectOf};
use super::unroutable::Parked;
use crate::stack_map::{StackMap, WORKERS};

/// The name of the unroutable queue in the template.
const UNROUTABLE: &str = "UnroutableQueue";

/// The most messages that SQS hands over at a time.
const MOST_AT_A_TIME: i32 = 10;

/// How long an empty queue is waited for: a short poll asks a part of SQS's servers alone and may find nothing of what is
/// there (SQS developer guide, short and long polling).
const LONG_POLL_SECONDS: i32 = 1;

/// Everything that is needed.
pub struct InAws {
    queues: Queues,
    nylas: Nylas,
}

impl InAws {
    /// The queues of a stack, with its archive bucket, and Nylas.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String, bucket: String, nylas: Nylas) -> Self {
        Self { queues: Queues::new(sdk, stack_id, bucket), nylas }
    }
}

/// The queues of a stack, and what they could not carry.
#[derive(Debug)]
struct Queues {
    sqs: Client,
    outbox: Outbox,
    bodies: ArchiveBodies,
    sdk: SdkConfig,
    stack_id: String,
    /// Their addresses have no room in the environment.
    map: OnceCell<StackMap>,
}

impl Queues {
    fn new(sdk: &SdkConfig, stack_id: String, bucket: String) -> Self {
        let bodies = ArchiveBodies::new(sdk, bucket);
        let outbox = Outbox::new(sdk, bodies.clone());
        Self { sqs: Client::new(sdk), outbox, bodies, sdk: sdk.clone(), stack_id, map: OnceCell::new() }
    }

    async fn map(&self) -> Result<&StackMap, StoreError> {
        self.map.get_or_try_init(async || StackMap::read(&self.sdk, &self.stack_id).await).await
    }

    async fn unroutable(&self) -> Result<&str, StoreError> {
        self.map().await?.resource(UNROUTABLE)
    }

    async fn send(&self, to: Destination, body: &str, place: &FifoPlace) -> Result<(), StoreError> {
        let queue = queue_of(self.map().await?, to)?;
        let failed = |error: SendError| StoreError(error.to_string());
        let packed = self.outbox.pack(body.as_bytes()).await.map_err(failed)?;
        self.outbox.send(queue, &packed, Some(place), None).await.map_err(failed)
    }

    async fn receive(&self, hidden_for: Duration) -> Result<Vec<Parked>, StoreError> {
        let queue = self.unroutable().await?;
        let received = self
            .sqs
            .receive_message()
            .queue_url(queue)
            .max_number_of_messages(MOST_AT_A_TIME)
            .wait_time_seconds(LONG_POLL_SECONDS)
            .visibility_timeout(i32::try_from(hidden_for.as_secs()).unwrap_or(i32::MAX))
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))?;
        let mut parked = Vec::new();
        for message in received.messages.unwrap_or_default() {
            parked.extend(self.parked(message).await);
        }
        Ok(parked)
    }

    async fn parked(&self, message: SqsMessage) -> Option<Parked> {
        let text = message.body.unwrap_or_default();
        let body = match BodyPointer::parse(&text) {
            Some(pointer) => self.bodies.fetch(&pointer).await.map_err(|error| error.to_string()),
            None => Ok(text.into_bytes()),
        };
        let sent = message.attributes.and_then(|mut all| all.remove(&MessageSystemAttributeName::SentTimestamp));
        Some(Parked {
            receipt: message.receipt_handle?,
            message_id: message.message_id.unwrap_or_default(),
            parked_at: sent.and_then(|sent| Timestamp::from_millisecond(sent.parse().ok()?).ok()),
            body,
        })
    }

    async fn delete(&self, receipt: &str) -> Result<(), StoreError> {
        let queue = self.unroutable().await?;
        let deleted = self.sqs.delete_message().queue_url(queue).receipt_handle(receipt).send().await;
        deleted.map(|_| ()).map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))
    }

    async fn show_again(&self, receipt: &str) -> Result<(), StoreError> {
        let queue = self.unroutable().await?;
        let shown = self.sqs.change_message_visibility().queue_url(queue).receipt_handle(receipt).visibility_timeout(0);
        shown.send().await.map(|_| ()).map_err(|error| StoreError(format!("{queue}: {}", describe(&error))))
    }
}

/// The URL of a function's queue.
fn queue_of(map: &StackMap, to: Destination) -> Result<&str, StoreError> {
    let worker = WORKERS.iter().find(|(_, function)| *function == to.name());
    let (worker, _) = worker.ok_or_else(|| StoreError(format!("{} has no queue", to.name())))?;
    map.queue_url(worker)
}

impl Replays for InAws {
    async fn send(&self, to: Destination, body: &str, place: &FifoPlace) -> Result<(), StoreError> {
        self.queues.send(to, body, place).await
    }

    async fn receive(&self, hidden_for: Duration) -> Result<Vec<Parked>, StoreError> {
        self.queues.receive(hidden_for).await
    }

    async fn delete(&self, receipt: &str) -> Result<(), StoreError> {
        self.queues.delete(receipt).await
    }

    async fn show_again(&self, receipt: &str) -> Result<(), StoreError> {
        self.queues.show_again(receipt).await
    }

    async fn fetch(&self, object: &ObjectOf, deadline: Deadline) -> Result<Option<Fetched>, NylasError> {
        let ObjectOf { kind, id, grant, .. } = object;
        Ok(match kind {
            Kind::Message => {
                let message = self.nylas.message(grant, id, HeaderFields::None, deadline).await?;
                message.map(|message| Fetched::message(object, &message))
            }
            Kind::Event => {
                let event = self.nylas.event(grant, object.calendar(), id, deadline).await?;
                event.map(|event| Fetched::event(object, &event))
            }
            Kind::Notetaker => {
                let history = self.nylas.notetaker_history(Some(grant), id, deadline).await?;
                Fetched::notetaker(object, &history)
            }
            Kind::Contact => {
                let contact = self.nylas.contact(grant, id, deadline).await?;
                contact.map(|contact| Fetched::contact(object, &contact))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::aws::testing::{calls_of, replaying};
    use serde_json::json;
    use shared::domain::queue_message::GroupId;

    fn map() -> StackMap {
        let workers = WORKERS
            .iter()
            .map(|(worker, function)| (format!("{worker}Queue"), format!("https://sqs.example/{function}")));
        let unroutable = (UNROUTABLE.to_owned(), "https://sqs.example/unroutable".to_owned());
        StackMap { resources: workers.chain([unroutable]).collect(), ..StackMap::default() }
    }

    fn queues(sdk: &SdkConfig) -> Queues {
        let queues = Queues::new(sdk, "stack".to_owned(), "bucket".to_owned());
        Queues { map: OnceCell::new_with(Some(map())), ..queues }
    }

    #[test]
    fn every_function_that_ingress_routes_to_has_its_queue_in_the_map_of_the_stack() {
        for destination in Destination::ALL {
            let url = format!("https://sqs.example/{}", destination.name());
            assert_eq!(queue_of(&map(), destination), Ok(url.as_str()));
        }
    }

    #[tokio::test]
    async fn message_goes_into_the_queue_of_its_function_with_its_group_and_deduplication_id() {
        let (client, sdk) =
            replaying(&[json!({ "MessageId": "m", "MD5OfMessageBody": "841a2d689ad86bd1611447453c22c6fc" })]);
        let place = FifoPlace { group: GroupId::of("thread", "t"), deduplication_id: "d".to_owned() };
        // The client holds the answer's digest against the body.
        queues(&sdk).send(Destination::TicketTriage, "body", &place).await.expect("sent");
        let [(target, call)] = calls_of(&client).try_into().expect("one call");
        assert_eq!(target, "AmazonSQS.SendMessage");
        assert_eq!(call["QueueUrl"], "https://sqs.example/ticket-triage");
        assert_eq!(
            (&call["MessageGroupId"], &call["MessageDeduplicationId"]),
            (&json!(place.group.as_str()), &json!("d"))
        );
    }

    #[tokio::test]
    async fn unroutable_queue_is_long_polled_and_each_message_says_when_it_was_parked() {
        let message = json!({
            "MessageId": "m", "ReceiptHandle": "r", "Body": "not json",
            "Attributes": { "SentTimestamp": "1772359200000" },
        });
        let (client, sdk) = replaying(&[json!({ "Messages": [message] }), json!({}), json!({})]);
        let queues = queues(&sdk);
        let [parked] = queues.receive(Duration::from_mins(2)).await.expect("received").try_into().expect("one");
        assert_eq!((parked.receipt.as_str(), parked.body), ("r", Ok(b"not json".to_vec())));
        assert_eq!(parked.parked_at, Timestamp::from_second(1_772_359_200).ok());
        queues.show_again("r").await.expect("shown");
        queues.delete("r").await.expect("deleted");
        let calls = calls_of(&client);
        let targets: Vec<&str> = calls.iter().map(|(target, _)| target.as_str()).collect();
        assert_eq!(
            targets,
            ["AmazonSQS.ReceiveMessage", "AmazonSQS.ChangeMessageVisibility", "AmazonSQS.DeleteMessage"]
        );
        let received = &calls[0].1;
        assert_eq!((&received["WaitTimeSeconds"], &received["VisibilityTimeout"]), (&json!(1), &json!(120)));
        assert_eq!((&calls[1].1["VisibilityTimeout"], &calls[1].1["ReceiptHandle"]), (&json!(0), &json!("r")));
        assert!(calls.iter().all(|(_, call)| call["QueueUrl"] == "https://sqs.example/unroutable"));
    }
}

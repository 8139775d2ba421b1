//! The queues of the stack, the bodies in its archive, and Nylas.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message as SqsMessage, MessageSystemAttributeName};
use jiff::Timestamp;
use shared::aws::bodies::ArchiveBodies;
use shared::aws::outbox::{FifoPlace, Outbox};
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
    sqs: Client,
    outbox: Outbox,
    bodies: ArchiveBodies,
    sdk: SdkConfig,
    stack_id: String,
    nylas: Nylas,
    /// The queues' addresses have no room in the environment.
    map: OnceCell<StackMap>,
}

impl InAws {
    /// The queues of a stack, with its archive bucket.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String, bucket: String, nylas: Nylas) -> Self {
        let bodies = ArchiveBodies::new(sdk, bucket);
        Self {
            sqs: Client::new(sdk),
            outbox: Outbox::new(sdk, bodies.clone()),
            bodies,
            sdk: sdk.clone(),
            stack_id,
            nylas,
            map: OnceCell::new(),
        }
    }

    async fn map(&self) -> Result<&StackMap, StoreError> {
        self.map.get_or_try_init(async || StackMap::read(&self.sdk, &self.stack_id).await).await
    }

    async fn unroutable(&self) -> Result<&str, StoreError> {
        self.map().await?.resource(UNROUTABLE)
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
}

/// The URL of a function's queue.
fn queue_of(map: &StackMap, to: Destination) -> Result<&str, StoreError> {
    let worker = WORKERS.iter().find(|(_, function)| *function == to.name());
    let (worker, _) = worker.ok_or_else(|| StoreError(format!("{} has no queue", to.name())))?;
    map.queue_url(worker)
}

impl Replays for InAws {
    async fn send(&self, to: Destination, body: &str, place: &FifoPlace) -> Result<(), StoreError> {
        let queue = queue_of(self.map().await?, to)?;
        let failed = |error: shared::aws::outbox::SendError| StoreError(error.to_string());
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

    #[test]
    fn every_function_that_ingress_routes_to_has_its_queue_in_the_map_of_the_stack() {
        let resources =
            WORKERS.iter().map(|(worker, function)| (format!("{worker}Queue"), format!("url of {function}")));
        let map = StackMap { resources: resources.collect(), ..StackMap::default() };
        for destination in Destination::ALL {
            assert_eq!(queue_of(&map, destination), Ok(format!("url of {}", destination.name()).as_str()));
        }
    }
}

//! What a notification in a queue message carries beside the ids of its envelope.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::engine::Work;

/// The object that a notification is about; none if the body is no notification, or its object is of another form.
#[must_use]
pub fn object_in<T: DeserializeOwned>(body: &str) -> Option<T> {
    #[derive(Deserialize)]
    struct Notification<T> {
        data: Data<T>,
    }
    #[derive(Deserialize)]
    struct Data<T> {
        object: T,
    }
    serde_json::from_str::<Notification<T>>(body).ok().map(|notification| notification.data.object)
}

/// When a message tells what it tells: the time of the notification, else when it was queued.
#[must_use]
pub fn told_at(work: &Work) -> Timestamp {
    #[derive(Deserialize)]
    struct Notification {
        #[serde(default, deserialize_with = "super::time::optional")]
        time: Option<Timestamp>,
    }
    let told = serde_json::from_str::<Notification>(&work.body).ok().and_then(|notification| notification.time);
    told.unwrap_or(work.sent_at)
}

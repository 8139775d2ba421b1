//! Jobs of a function's own making, as messages for a queue.

use serde::Serialize;
use serde_json::Value;

use super::{OwnMessage, SendToQueue};
use crate::domain::digest::sha256_hex;
use crate::domain::failure::Failure;
use crate::domain::notification::NotificationId;
use crate::domain::queue_message::{GroupId, deduplication_id};

/// A job as a message for the queue of `function`, with an id made of all that it says: one that is sent twice is done
/// once.
///
/// # Errors
/// If the job is no JSON object.
pub fn job_message(function: &str, group: GroupId, job: &impl Serialize) -> Result<OwnMessage, Failure> {
    let unwritable = |problem: String| Failure::permanent("job.unwritable", problem);
    let mut said = serde_json::to_value(job).map_err(|error| unwritable(error.to_string()))?;
    let id = NotificationId::of_our_own("job", &sha256_hex(&[said.to_string().as_bytes()]));
    let Value::Object(fields) = &mut said else {
        return Err(unwritable("a job is a JSON object".to_owned()));
    };
    fields.insert("id".to_owned(), id.as_str().into());
    Ok(OwnMessage { body: said.to_string(), group, deduplication_id: deduplication_id(function, &id) })
}

/// Puts a message into a queue.
///
/// # Errors
/// A transient one if the queue does not take it.
pub async fn send(queue: &impl SendToQueue, message: &OwnMessage) -> Result<(), Failure> {
    queue.send(message).await.map_err(|error| Failure::transient("queue.unavailable", error.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn job_has_one_id_for_what_it_says_and_another_for_anything_else() {
        let message = |page: i64| {
            let job = json!({"type": "calendar.backfill", "page": page});
            job_message("calendar-sync", GroupId::of("grant", "g"), &job).expect("a message")
        };
        assert_eq!(message(1), message(1));
        assert_ne!(message(1).deduplication_id, message(2).deduplication_id);
        let body: Value = serde_json::from_str(&message(1).body).expect("JSON");
        assert!(body["id"].as_str().is_some_and(|id| id.starts_with("job:")), "{body}");
        assert_eq!(body["page"], 1);
    }
}

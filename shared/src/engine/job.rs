//! Jobs of a function's own making, as messages for a queue.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::{OwnMessage, SendToQueue, SetTimers, Timer};
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
    // The same in every function, whether or not a crate in it makes serde_json keep the order of fields.
    said.sort_all_objects();
    let id = NotificationId::of_our_own("job", &sha256_hex(&[said.to_string().as_bytes()]));
    let Value::Object(fields) = &mut said else {
        return Err(unwritable("a job is a JSON object".to_owned()));
    };
    fields.insert("id".to_owned(), id.as_str().into());
    said.sort_all_objects();
    Ok(OwnMessage { body: said.to_string(), group, deduplication_id: deduplication_id(function, &id) })
}

/// Puts a message into a queue.
///
/// # Errors
/// A transient one if the queue does not take it.
pub async fn send(queue: &impl SendToQueue, message: &OwnMessage) -> Result<(), Failure> {
    queue.send(message).await.map_err(|error| Failure::transient("queue.unavailable", error.0))
}

/// The name of a timer: `<kind>-<32 hex of what it is about>-<run>-<version>`. `about` begins with the stack, because
/// all stacks of an account share the names of schedules.
#[must_use]
pub fn timer_name(kind: &str, about: &[&str], run: u64, version: i64) -> String {
    let mut said = Vec::new();
    for part in about {
        said.extend([part.as_bytes(), b"/"]);
    }
    let digest = sha256_hex(&said);
    format!("{kind}-{}-{run}-{version}", digest.get(..32).unwrap_or_default())
}

/// What is due so soon goes into the queue at once: a schedule must not lie in the past when it is made.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(2);

/// Sets a timer; what is due goes into the queue at once.
///
/// # Errors
/// A transient one if the scheduler or the queue does not take it.
pub async fn arm(
    timers: &impl SetTimers,
    queue: &impl SendToQueue,
    timer: &Timer,
    now: Timestamp,
) -> Result<(), Failure> {
    if timer.at.duration_since(now) <= AT_ONCE {
        return send(queue, &timer.message).await;
    }
    timers.set(timer).await.map_err(|error| Failure::transient("scheduler.unavailable", error.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn name_of_a_timer_fits_a_schedule_and_tells_stacks_apart() {
        let name = timer_name("lobby", &["arn:stack/1", "notetaker"], 1, 1_772_359_200);
        assert!(name.len() <= 64 && name.starts_with("lobby-") && name.ends_with("-1-1772359200"), "{name}");
        assert!(name.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character)));
        assert_ne!(name, timer_name("lobby", &["arn:stack/2", "notetaker"], 1, 1_772_359_200));
        assert_ne!(timer_name("a", &["b", "c"], 1, 1), timer_name("a", &["bc"], 1, 1));
    }

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

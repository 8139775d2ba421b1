//! One repetition: a fresh process of a contender gets its events one by one, and what it answers and uses is taken.
//! The first events are left out of CPU and latency, since connections, caches and the allocator settle in them.
//! Nothing counts as done before it is checked: status, and exactly one queued message with the untouched body.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use crate::{
    contender::{Contender, ContenderError},
    notification::Notification,
    stub_aws::StubAws,
};

/// How many kinds of wrong answers are described; the rest are only counted.
const WRONG_ANSWERS_DESCRIBED: usize = 3;

/// What a contender has to do with each notification.
#[derive(Clone, Debug)]
pub enum Duty {
    /// Answer 200 and leave the queues alone.
    Answer,
    /// Answer 200 once the untouched body is in this queue.
    Forward {
        /// The queue's URL.
        queue_url: String,
    },
    /// The same, and refuse a forged notification with 401.
    VerifyAndForward {
        /// The queue's URL.
        queue_url: String,
    },
}

impl Duty {
    fn queue_url(&self) -> Option<&str> {
        match self {
            Self::Answer => None,
            Self::Forward { queue_url } | Self::VerifyAndForward { queue_url } => Some(queue_url),
        }
    }
}

/// What one process was seen to do.
#[derive(Clone, Debug)]
pub struct Repetition {
    /// From starting the process to its first request for an event.
    pub spawn_to_ready: Duration,
    /// From starting the process to the arrival of its first answer.
    pub spawn_to_first_answer: Duration,
    /// CPU time of one notification, user and system.
    pub cpu: Duration,
    /// The most memory held at once, in bytes.
    pub peak_memory: u64,
    /// Half of the notifications were answered within this.
    pub p50: Duration,
    /// 99 of 100 notifications were answered within this.
    pub p99: Duration,
    /// How many answers were wrong.
    pub wrong: usize,
    /// The first of them, in words.
    pub wrong_described: Vec<String>,
}

/// The events of one repetition.
pub struct Traffic {
    /// All of them in order; the first `warm_up` are not measured.
    pub notifications: Vec<Notification>,
    /// How many come before the measured ones.
    pub warm_up: usize,
    /// Sent last, unmeasured, to whoever has to verify.
    pub forged: Notification,
}

/// Runs one repetition.
pub async fn repetition(
    contender: &Contender,
    duty: &Duty,
    aws: &StubAws,
    traffic: &Traffic,
    cpu: Option<usize>,
    log_directory: &Path,
) -> Result<Repetition, ContenderError> {
    aws.take();
    let mut running = contender.start(aws, cpu, log_directory).await?;
    let mut answers = Vec::with_capacity(traffic.notifications.len());
    let (warm_up, measured) = traffic.notifications.split_at(traffic.warm_up);
    for notification in warm_up {
        answers.push(running.invoke(notification.event.clone()).await?);
    }
    let cpu_before = running.cpu_time()?;
    for notification in measured {
        answers.push(running.invoke(notification.event.clone()).await?);
    }
    let cpu_used = running.cpu_time()?.saturating_sub(cpu_before);
    let peak_memory = running.peak_memory()?;
    let seen = aws.take();

    let mut wrong = Wrong::default();
    for refused in &seen.refused {
        wrong.add(|| refused.clone());
    }
    for (notification, answer) in traffic.notifications.iter().zip(&answers) {
        match status(&answer.body) {
            Some(200) => {}
            status => wrong.add(|| format!("a notification was answered {}", describe(status))),
        }
        if let Some(queue_url) = duty.queue_url() {
            let times = seen.times_queued(queue_url, &notification.body);
            if times != 1 {
                wrong.add(|| format!("a notification answered with success was queued {times} times in {queue_url}"));
            }
        }
    }
    let expected = duty.queue_url().map_or(0, |_| answers.len());
    if seen.messages() != expected {
        wrong.add(|| format!("{} messages were queued for {expected} notifications", seen.messages()));
    }
    if matches!(duty, Duty::VerifyAndForward { .. }) {
        let answer = running.invoke(traffic.forged.event.clone()).await?;
        let status = status(&answer.body);
        if status != Some(401) {
            wrong.add(|| format!("a forged notification was answered {}", describe(status)));
        }
        if aws.take().messages() != 0 {
            wrong.add(|| "a forged notification was queued".to_owned());
        }
    }

    let spawned = running.spawned();
    let since_spawn = |at: Option<std::time::Instant>| at.map_or(Duration::ZERO, |at| at.duration_since(spawned));
    let mut latencies: Vec<Duration> = answers[traffic.warm_up..].iter().map(|answer| answer.took).collect();
    latencies.sort_unstable();
    Ok(Repetition {
        spawn_to_ready: since_spawn(running.ready()),
        spawn_to_first_answer: since_spawn(answers.first().map(|answer| answer.arrived)),
        cpu: cpu_used / u32::try_from(measured.len()).unwrap_or(u32::MAX).max(1),
        peak_memory,
        p50: percentile(&latencies, 50),
        p99: percentile(&latencies, 99),
        wrong: wrong.count,
        wrong_described: wrong.described,
    })
}

#[derive(Default)]
struct Wrong {
    count: usize,
    described: Vec<String>,
}

impl Wrong {
    fn add(&mut self, description: impl FnOnce() -> String) {
        self.count += 1;
        if self.described.len() < WRONG_ANSWERS_DESCRIBED {
            let description = description();
            if !self.described.contains(&description) {
                self.described.push(description);
            }
        }
    }
}

/// The HTTP status that a function's answer stands for.
fn status(answer: &[u8]) -> Option<u16> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct HttpAnswer {
        status_code: u16,
    }
    serde_json::from_slice::<HttpAnswer>(answer).ok().map(|answer| answer.status_code)
}

fn describe(status: Option<u16>) -> String {
    status.map_or_else(|| "without a status".to_owned(), |status| status.to_string())
}

/// The smallest value that at least `percent` of 100 values do not exceed (nearest rank).
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{percentile, status};

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_millis(1));
    }

    #[test]
    fn an_answer_without_a_status_is_not_taken_for_success() {
        assert_eq!(status(br#"{"statusCode":200,"headers":{}}"#), Some(200));
        assert_eq!(status(b"null"), None);
    }
}

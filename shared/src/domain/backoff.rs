//! When to try again: back-off that doubles, with full jitter, within a time that is allowed for trying.

use std::time::Duration;

/// The longest wait between two tries that is not asked for by the other side.
pub const MAX_BACKOFF: Duration = Duration::from_mins(30);

/// The longest `Retry-After` that is honoured. SQS hides a message for 12 hours at most, counted from its receipt.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(11);

/// How long and how often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The ceiling of the first wait; it doubles with each further failure up to [`MAX_BACKOFF`].
    pub first_delay: Duration,
    /// How long after it was sent a message is tried again.
    pub retry_for: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first_delay: Duration::from_secs(5), retry_for: Duration::from_hours(4 * 24) }
    }
}

/// What to do with a message after a transient failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Hide it for this long, then try again.
    RetryIn(Duration),
    /// It has been tried for as long as allowed.
    GiveUp,
}

impl RetryPolicy {
    /// Decides after the `failures`-th failure of a message that was sent `age` ago.
    ///
    /// `jitter` is a number from 0 to 1, drawn by the caller. The wait is a share of the doubling ceiling, so that
    /// many messages which failed together do not come back together; a `Retry-After` is a floor under it.
    #[must_use]
    pub fn next(&self, failures: u32, age: Duration, retry_after: Option<Duration>, jitter: f64) -> Next {
        let Some(left) = self.retry_for.checked_sub(age).filter(|left| !left.is_zero()) else {
            return Next::GiveUp;
        };
        let doublings = failures.saturating_sub(1).min(31);
        let ceiling = self.first_delay.saturating_mul(1 << doublings).min(MAX_BACKOFF);
        let jittered = ceiling.mul_f64(jitter.clamp(0.0, 1.0));
        let wait = match retry_after {
            // Spread over the first delay, so that the other side is not met by everybody in the same second.
            Some(asked) => (asked + self.first_delay.mul_f64(jitter.clamp(0.0, 1.0))).min(MAX_RETRY_AFTER),
            None => jittered,
        };
        // The last try happens at the end of the allowed time, not beyond it.
        Next::RetryIn(wait.min(left).max(Duration::from_secs(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn wait(failures: u32, retry_after: Option<Duration>) -> Duration {
        match RetryPolicy::default().next(failures, Duration::ZERO, retry_after, 1.0) {
            Next::RetryIn(wait) => wait,
            Next::GiveUp => panic!("gave up"),
        }
    }

    #[test]
    fn ceiling_starts_at_5_s_doubles_and_ends_at_30_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|failures| wait(failures, None).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800]);
        assert_eq!(wait(u32::MAX, None), MAX_BACKOFF);
    }

    #[test]
    fn retry_after_is_honoured_up_to_11_hours() {
        assert!(wait(1, Some(Duration::from_secs(90))) >= Duration::from_secs(90));
        assert!(wait(1, Some(HOUR * 10)) >= HOUR * 10);
        assert_eq!(wait(1, Some(HOUR * 48)), MAX_RETRY_AFTER);
    }

    #[test]
    fn trying_ends_when_the_message_is_as_old_as_allowed() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.next(3, policy.retry_for, None, 0.5), Next::GiveUp);
        assert_eq!(policy.next(3, policy.retry_for + HOUR, Some(HOUR), 0.5), Next::GiveUp);
    }

    #[test]
    fn last_try_falls_inside_the_allowed_time() {
        let policy = RetryPolicy::default();
        let left = Duration::from_mins(1);
        assert_eq!(policy.next(20, Duration::from_mins(4 * 24 * 60 - 1), None, 1.0), Next::RetryIn(left));
    }

    proptest! {
        #[test]
        fn wait_is_never_shorter_than_a_second_nor_longer_than_sqs_can_hide(
            failures in 0u32.., age in 0u64..400_000, asked in proptest::option::of(0u64..1_000_000), jitter in 0.0f64..=1.0,
        ) {
            let next = RetryPolicy::default().next(
                failures, Duration::from_secs(age), asked.map(Duration::from_secs), jitter,
            );
            if let Next::RetryIn(wait) = next {
                prop_assert!(wait >= Duration::from_secs(1) && wait <= MAX_RETRY_AFTER);
            }
        }
    }
}

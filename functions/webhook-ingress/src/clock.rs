//! The two clocks that the age of what is known is judged by. An instance is frozen between requests, and nothing promises
//! that the clock which only ever runs forward goes on meanwhile; the clock on the wall does, and may be set back.

use jiff::Timestamp;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// How long this process has been running.
    pub running: Duration,
    /// The time of day.
    pub wall: Timestamp,
}

impl Moment {
    /// How long ago another moment was, by the clock that says more.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let on_the_wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        self.running.saturating_sub(earlier.running).max(on_the_wall)
    }
}

/// Tells the moment.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Moment + Send + Sync>);

impl Clock {
    /// The clocks of this machine.
    #[must_use]
    pub fn system() -> Self {
        let start = Instant::now();
        Self::told_by(move || Moment { running: start.elapsed(), wall: Timestamp::now() })
    }

    /// Clocks that tell what `tell` says.
    pub fn told_by(tell: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// The moment now.
    #[must_use]
    pub fn now(&self) -> Moment {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(running: u64, wall: i64) -> Moment {
        Moment { running: Duration::from_secs(running), wall: Timestamp::from_second(wall).expect("a time") }
    }

    #[test]
    fn age_is_what_the_clock_says_that_says_more() {
        let earlier = moment(100, 1000);
        assert_eq!(moment(103, 1007).since(earlier), Duration::from_secs(7), "frozen meanwhile");
        assert_eq!(moment(107, 1003).since(earlier), Duration::from_secs(7));
        assert_eq!(moment(107, 990).since(earlier), Duration::from_secs(7), "set back");
        assert_eq!(moment(100, 990).since(earlier), Duration::ZERO);
    }
}

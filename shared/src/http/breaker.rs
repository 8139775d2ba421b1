//! The breaker: after five transient failures in a row a host is left alone for half a minute, then tried once.
//!
//! Without it an outage at the other end would cost a whole time-out for every message of a backlog.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many transient failures in a row open the breaker.
pub const FAILURES_TO_OPEN: u32 = 5;

/// How long it stays open before one call is let through.
pub const OPEN_FOR: Duration = Duration::from_secs(30);

/// What the breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Every call; so many transient failures in a row so far.
    Closed(u32),
    /// No call until then.
    Open(Instant),
    /// One call is under way to see whether the host is back; no other until then.
    Probing(Instant),
}

/// The breaker of one host, for one instance of a function.
#[derive(Debug)]
pub struct Breaker(Mutex<BreakerState>);

impl Default for Breaker {
    fn default() -> Self {
        Self(Mutex::new(BreakerState::Closed(0)))
    }
}

impl Breaker {
    /// How long no call will be let through; none if one may be.
    pub fn refuses_for(&self) -> Option<Duration> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            BreakerState::Open(until) | BreakerState::Probing(until) => {
                Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
            }
            BreakerState::Closed(_) => None,
        }
    }

    /// Ends the time for which it is open.
    ///
    /// # Panics
    /// If it is not open.
    #[cfg(test)]
    pub fn let_a_probe_through(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(matches!(*state, BreakerState::Open(_)), "the breaker is not open: {state:?}");
        *state = BreakerState::Open(Instant::now());
    }

    /// Asks to call. The answer is refused with the time after which to ask again.
    pub fn admit(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            BreakerState::Closed(_) => Ok(()),
            BreakerState::Open(until) | BreakerState::Probing(until) if now < until => Err(until - now),
            // A probe that was dropped without a result does not keep the breaker open for good.
            BreakerState::Open(_) | BreakerState::Probing(_) => {
                *state = BreakerState::Probing(now + OPEN_FOR);
                Ok(())
            }
        }
    }

    /// Records how an admitted call ended. An answer of any kind but a transient failure shows that the host is up.
    pub fn record(&self, transient_failure: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, transient_failure) {
            (_, false) => BreakerState::Closed(0),
            (BreakerState::Closed(failures), true) if failures + 1 < FAILURES_TO_OPEN => {
                BreakerState::Closed(failures + 1)
            }
            // Calls that were under way when it opened do not prolong it.
            (BreakerState::Open(until), true) => BreakerState::Open(until),
            (BreakerState::Closed(_) | BreakerState::Probing(_), true) => BreakerState::Open(Instant::now() + OPEN_FOR),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_transient_failures_in_a_row_open_it_and_fewer_do_not() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            breaker.record(true);
        }
        assert_eq!(breaker.admit(), Ok(()));
        breaker.record(false);
        for _ in 0..4 {
            breaker.record(true);
        }
        assert_eq!(breaker.admit(), Ok(()), "an answer in between starts the count anew");
        breaker.record(true);
        assert_eq!(breaker.admit(), Err(OPEN_FOR));
    }

    #[tokio::test(start_paused = true)]
    async fn after_half_a_minute_one_probe_is_let_through_and_decides() {
        let breaker = Breaker::default();
        for _ in 0..5 {
            breaker.record(true);
        }
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(breaker.admit(), Ok(()), "the probe");
        assert!(breaker.admit().is_err(), "only one");
        breaker.record(true);
        assert_eq!(breaker.admit(), Err(OPEN_FOR), "the host is still down");
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(breaker.admit(), Ok(()));
        breaker.record(false);
        assert_eq!((breaker.admit(), breaker.admit()), (Ok(()), Ok(())), "it is back");
    }

    #[tokio::test(start_paused = true)]
    async fn probe_that_never_ends_does_not_keep_it_open_for_good() {
        let breaker = Breaker::default();
        for _ in 0..5 {
            breaker.record(true);
        }
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(breaker.admit(), Ok(()));
        tokio::time::advance(OPEN_FOR).await;
        assert_eq!(breaker.admit(), Ok(()));
    }
}

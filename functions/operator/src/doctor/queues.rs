//! The queues, judged: whether somebody empties them, and whether something lies where it was given up or parked.

use shared::engine::StoreError;

use super::line::Line;

/// How many messages a queue holds, as far as SQS tells at once: approximately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depths {
    /// Waiting to be received.
    pub waiting: u64,
    /// Received and not yet deleted, or put off.
    pub in_flight: u64,
    /// Not to be received yet.
    pub delayed: u64,
}

impl Depths {
    /// All of them.
    #[must_use]
    pub fn all(self) -> u64 {
        self.waiting + self.in_flight + self.delayed
    }

    /// True if there is work and nobody at it.
    #[must_use]
    pub fn is_left_alone(self) -> bool {
        self.waiting > 0 && self.in_flight == 0
    }
}

/// What lies where nobody empties a queue by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resting {
    /// What a function gave up.
    DeadLetters,
    /// Signed bodies that are no notifications.
    Unroutable,
    /// What a schedule could not deliver.
    OfSchedules,
}

/// The queue of a function.
#[must_use]
pub fn of_function(function: &str, depths: &Result<Depths, StoreError>) -> Line {
    let what = format!("the queue of {function}");
    let depths = match depths {
        Ok(depths) => *depths,
        Err(problem) => return Line::unexamined(what, problem),
    };
    let Depths { waiting, in_flight, delayed } = depths;
    let seen = format!("{waiting} waiting, {in_flight} in flight, {delayed} delayed");
    if depths.is_left_alone() {
        return Line::warning(
            what,
            format!("{seen}: nobody seems to be emptying it"),
            format!(
                "give the command again; if it stays so, see in the Lambda console whether the trigger of {function} is \
                 enabled, and whether its concurrency or the account's is used up"
            ),
        );
    }
    Line::ok(what, seen)
}

/// A queue that should be empty.
#[must_use]
pub fn resting(resting: Resting, of: &str, depths: &Result<Depths, StoreError>) -> Line {
    let what = match resting {
        Resting::DeadLetters => format!("the dead letters of {of}"),
        Resting::Unroutable => "the unroutable queue".to_owned(),
        Resting::OfSchedules => "the dead letters of the schedules".to_owned(),
    };
    let count = match depths {
        Ok(depths) => depths.all(),
        Err(problem) => return Line::unexamined(what, problem),
    };
    if count == 0 {
        return Line::ok(what, "none");
    }
    let messages = if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
    let (seen, to_do) = match resting {
        Resting::DeadLetters => (
            format!("{messages} given up"),
            "give `make dead-letters`, which tells why and what to do; SQS forgets them after 14 days",
        ),
        Resting::Unroutable => (
            format!("{messages} with a valid signature that are no notification of Nylas"),
            "read them in the SQS console: either something else knows the webhook secret, which `make subscribe` can \
             rotate, or Nylas changed its format; delete them once they are understood",
        ),
        Resting::OfSchedules => (
            format!("{messages} that a schedule could not deliver, or contact-sync could not begin with"),
            "read in the SQS console what their attributes say, deploy the stack again, and send each body to the queue \
             that it was meant for; `make reconcile` and `make sync` make up for a night",
        ),
    };
    Line::red(what, seen, to_do)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;

    fn down() -> StoreError {
        StoreError("SQS is down".to_owned())
    }

    fn depths(waiting: u64, in_flight: u64, delayed: u64) -> Depths {
        Depths { waiting, in_flight, delayed }
    }

    #[test]
    fn queue_that_waits_with_nobody_at_it_is_a_warning_and_one_that_is_worked_on_is_ok() {
        for (seen, state, words) in [
            (Ok(Depths::default()), State::Ok, ""),
            (Ok(depths(900, 10, 3)), State::Ok, ""),
            (Ok(depths(0, 4, 0)), State::Ok, ""),
            (Ok(depths(2, 0, 0)), State::Warning, "whether the trigger of email-activity is enabled"),
            (Err(down()), State::Red, "role of the operator"),
        ] {
            let line = of_function("email-activity", &seen);
            assert_eq!(line.state, state, "{seen:?}");
            assert!(line.to_do.unwrap_or_default().contains(words), "{seen:?}");
        }
        assert_eq!(of_function("x", &Ok(depths(900, 10, 3))).seen, "900 waiting, 10 in flight, 3 delayed");
    }

    #[test]
    fn message_where_none_should_be_is_red_with_the_count_and_what_to_do() {
        for (kind, words) in [
            (Resting::DeadLetters, "make dead-letters"),
            (Resting::Unroutable, "delete them once they are understood"),
            (Resting::OfSchedules, "make reconcile"),
        ] {
            assert_eq!(resting(kind, "calendar-sync", &Ok(Depths::default())).state, State::Ok);
            let line = resting(kind, "calendar-sync", &Ok(depths(2, 1, 0)));
            assert_eq!(line.state, State::Red);
            assert!(line.seen.starts_with("3 messages"), "{}", line.seen);
            assert!(line.to_do.is_some_and(|to_do| to_do.contains(words)), "{kind:?}");
            assert_eq!(resting(kind, "calendar-sync", &Err(down())).state, State::Red);
        }
        assert!(resting(Resting::DeadLetters, "x", &Ok(depths(1, 0, 0))).seen.starts_with("1 message given up"));
    }
}

//! The account that customers are written from, judged: whether Nylas tracks what it sends.

use super::line::Line;

/// Whether mail is sent with tracking. `refused` are Nylas's words where it has refused that within the last 35 days.
#[must_use]
pub fn tracking(refused: Option<&str>) -> Line {
    let what = "the tracking of onboarding mail";
    match refused {
        None => Line::ok(what, "Nylas has refused none lately"),
        Some(words) => Line::warning(
            what,
            format!("Nylas refuses it, and mail goes out without: {words}"),
            "a trial account of Nylas may not track: book a plan, and the next mail is tracked again; until then replies and \
             bookings are seen, opens and clicks are not",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;

    #[test]
    fn tracking_that_was_refused_is_a_warning_with_the_words_of_nylas() {
        assert_eq!(tracking(None).state, State::Ok);
        let line = tracking(Some("Tracking options are not allowed for trial accounts"));
        assert_eq!(line.state, State::Warning);
        assert!(line.seen.ends_with("trial accounts"), "{}", line.seen);
        assert!(line.to_do.is_some_and(|to_do| to_do.contains("book a plan")));
    }
}

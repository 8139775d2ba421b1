//! The hours in which customers are written to: mail that would come at night or on a weekend waits for the next morning
//! of the customer's own zone. Pure.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// Hours such as `Mon-Fri 08:00-18:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendingHours {
    first: Weekday,
    last: Weekday,
    from: Time,
    to: Time,
}

/// A text is not such hours.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it must be days and hours such as Mon-Fri 08:00-18:00, the first of each before the second")]
pub struct NotHours;

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl SendingHours {
    /// Reads hours.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, NotHours> {
        let (days, hours) = text.trim().split_once(' ').ok_or(NotHours)?;
        let day = |text: &str| {
            DAYS.iter().find(|(name, _)| text.trim().eq_ignore_ascii_case(name)).map(|(_, day)| *day).ok_or(NotHours)
        };
        let time = |text: &str| Time::strptime("%H:%M", text.trim()).map_err(|_| NotHours);
        let (first, last) = match days.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(days)?, day(days)?),
        };
        let (from, to) = hours.split_once('-').ok_or(NotHours)?;
        let hours = Self { first, last, from: time(from)?, to: time(to)? };
        let is_in_order = hours.from < hours.to && first.to_monday_zero_offset() <= last.to_monday_zero_offset();
        is_in_order.then_some(hours).ok_or(NotHours)
    }

    fn includes(&self, day: Weekday) -> bool {
        (self.first.to_monday_zero_offset()..=self.last.to_monday_zero_offset()).contains(&day.to_monday_zero_offset())
    }

    /// The first time from `at` on that lies within these hours.
    #[must_use]
    pub fn next_within(&self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        let local = at.to_zoned(zone.clone());
        if self.includes(local.weekday()) && local.time() >= self.from && local.time() < self.to {
            return at;
        }
        let mut day = local.date();
        // A week has each day.
        for _ in 0..8 {
            if self.includes(day.weekday())
                && let Ok(morning) = day.to_datetime(self.from).to_zoned(zone.clone())
                && morning.timestamp() > at
            {
                return morning.timestamp();
            }
            let Ok(next) = day.checked_add(1.day()) else { return at };
            day = next;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hours() -> SendingHours {
        SendingHours::parse("Mon-Fri 08:00-18:00").expect("hours")
    }

    fn next(at: &str) -> String {
        let zone = TimeZone::get("Europe/Stockholm").expect("a zone");
        hours().next_within(at.parse().expect("a time"), &zone).to_string()
    }

    #[test]
    fn mail_of_the_night_and_of_the_weekend_waits_for_the_next_morning_of_the_customer() {
        // 2026-11-27 is a Friday; Stockholm is an hour ahead.
        assert_eq!(next("2026-11-27T12:00:00Z"), "2026-11-27T12:00:00Z");
        assert_eq!(next("2026-11-27T05:00:00Z"), "2026-11-27T07:00:00Z");
        assert_eq!(next("2026-11-27T17:00:00Z"), "2026-11-30T07:00:00Z");
        assert_eq!(next("2026-11-28T12:00:00Z"), "2026-11-30T07:00:00Z");
    }

    #[test]
    fn morning_follows_the_clocks_of_the_zone() {
        // The clocks go back on 2026-10-25.
        assert_eq!(next("2026-10-24T12:00:00Z"), "2026-10-26T07:00:00Z");
        assert_eq!(next("2026-10-22T20:00:00Z"), "2026-10-23T06:00:00Z");
    }

    #[test]
    fn texts_that_are_no_hours_are_refused() {
        for text in ["", "always", "Mon-Fri", "08:00-18:00", "Fri-Mon 08:00-18:00", "Mon-Fri 18:00-08:00", "Mon 8-18"] {
            assert_eq!(SendingHours::parse(text), Err(NotHours), "{text}");
        }
        assert!(SendingHours::parse(" sat 10:00-12:30 ").is_ok());
    }

    proptest! {
        #[test]
        fn next_time_lies_within_the_hours_and_not_before(second in 1_700_000_000i64..1_900_000_000) {
            let zone = TimeZone::get("America/Toronto").expect("a zone");
            let at = Timestamp::from_second(second).expect("a time");
            let next = hours().next_within(at, &zone);
            prop_assert!(next >= at);
            prop_assert_eq!(hours().next_within(next, &zone), next);
        }
    }
}

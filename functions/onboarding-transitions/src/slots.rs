//! Whose turn it is to be sent: at most so many mails a minute and a day, mail about calls before what continues before
//! what begins, a fifth of the day kept for calls. Pure; what is counted is kept in one document a day.
//!
//! A mail that cannot go at once is given a minute. Of each minute and class it is counted how many were given it
//! (`planned`) and how many went (`taken`). A minute is given by what classes of the same or a higher rank have in it, so
//! that those of a lower one make way; who has to make way finds out when its minute comes. What bounds the sending is what
//! went: never more than the cap in any sixty seconds and in any 24 hours, whenever schedules really fire.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::step::Class;

/// Minutes of a day.
const DAY: i64 = 24 * 60;

/// How long a mail counts against the cap of a minute.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// How much may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Mails in any sixty seconds.
    pub per_minute: u32,
    /// Mails in any 24 hours.
    pub per_day: u32,
}

impl Caps {
    /// What mail that is not about calls may take of a day.
    fn of_others(self) -> u32 {
        self.per_day - self.per_day / 5
    }
}

/// What was given and taken of one minute, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Minute {
    /// How many were given it.
    pub planned: [u32; 3],
    /// How many went in it.
    pub taken: [u32; 3],
}

/// One day of UTC.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Day {
    /// Its minutes, counted from midnight, as far as anything was given or taken.
    #[serde(default)]
    pub minutes: BTreeMap<i64, Minute>,
    /// When the mails of the last minute went.
    #[serde(default)]
    pub recent: Vec<Timestamp>,
    /// Until when nothing is sent, because the other side asked so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Timestamp>,
}

/// What a mail is told that wants to go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It goes, and is counted.
    Now,
    /// Not before this.
    NotBefore(Timestamp),
    /// Not today.
    NotToday,
}

/// A minute of all time.
fn minute_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// The day that a time lies in, counted from 1970.
#[must_use]
pub fn day_of(at: Timestamp) -> i64 {
    minute_of(at).div_euclid(DAY)
}

/// The day in words.
#[must_use]
pub fn name_of_day(day: i64) -> String {
    Timestamp::from_second(day * DAY * 60).map_or_else(|_| day.to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn start_of(minute: i64) -> Timestamp {
    Timestamp::from_second(minute * 60).unwrap_or(Timestamp::MAX)
}

/// A minute and the one before it counted together, by a function of each.
struct Span<'a> {
    day: i64,
    today: &'a Day,
    yesterday: &'a Day,
}

impl Span<'_> {
    /// Sums over the minutes from `from` to `to`, both counted over all time, the last one included.
    fn sum(&self, from: i64, to: i64, count: impl Fn(i64, &Minute) -> u32) -> u32 {
        let of = |day: &Day, number: i64| -> u32 {
            let begins = number * DAY;
            day.minutes
                .iter()
                .map(|(minute, counted)| (begins + minute, counted))
                .filter(|(minute, _)| (from..=to).contains(minute))
                .map(|(minute, counted)| count(minute, counted))
                .sum()
        };
        of(self.yesterday, self.day - 1) + of(self.today, self.day)
    }

    /// The first minute from `from` to `to` that counts.
    fn first(&self, from: i64, to: i64, counts: impl Fn(i64, &Minute) -> bool) -> Option<i64> {
        let all = |day: &'_ Day, number: i64| -> Option<i64> {
            let mut minutes = day.minutes.iter().map(|(minute, counted)| (number * DAY + minute, counted));
            minutes
                .find(|(minute, counted)| (from..=to).contains(minute) && counts(*minute, counted))
                .map(|(minute, _)| minute)
        };
        all(self.yesterday, self.day - 1).or_else(|| all(self.today, self.day))
    }
}

/// Asks for a turn now. `today` and `yesterday` are the days around `now`.
pub fn ask(class: Class, now: Timestamp, today: &mut Day, yesterday: &Day, caps: Caps) -> Turn {
    let pause = [today.paused_until, yesterday.paused_until].into_iter().flatten().max();
    if let Some(until) = pause.filter(|until| *until > now) {
        return Turn::NotBefore(until);
    }
    let minute = minute_of(now);
    let span = Span { day: day_of(now), today, yesterday };
    let all = span.sum(minute - DAY, minute, |_, counted| counted.taken.iter().sum());
    let calls = span.sum(minute - DAY, minute, |_, counted| counted.taken[Class::Booking.rank()]);
    if all >= caps.per_day || (class != Class::Booking && all - calls >= caps.of_others()) {
        return Turn::NotToday;
    }
    let is_recent = |at: &&Timestamp| now.duration_since(**at) < MINUTE;
    let mut recent: Vec<Timestamp> = yesterday.recent.iter().chain(&today.recent).filter(is_recent).copied().collect();
    recent.sort_unstable();
    let gone = u32::try_from(recent.len()).unwrap_or(u32::MAX);
    if gone >= caps.per_minute {
        // The first of those that fill the minute leaves it then.
        let first = recent.len().saturating_sub(caps.per_minute as usize);
        let free = recent.get(first).and_then(|at| at.checked_add(MINUTE).ok()).unwrap_or(now);
        return Turn::NotBefore(free.max(now));
    }
    let counted = today.minutes.get(&minute.rem_euclid(DAY)).copied().unwrap_or_default();
    let still_to_come: u32 =
        (0..class.rank()).map(|rank| counted.planned[rank].saturating_sub(counted.taken[rank])).sum();
    if gone + still_to_come >= caps.per_minute {
        return Turn::NotBefore(start_of(minute + 1));
    }
    today.minutes.entry(minute.rem_euclid(DAY)).or_default().taken[class.rank()] += 1;
    recent.push(now);
    today.recent = recent;
    Turn::Now
}

/// Puts a mail that was to go now, and cannot, into the next minute of the day that has room for anybody, so that those who
/// are put off do not all come again at once. The end of the day if none has.
pub fn put_off(class: Class, until: Timestamp, number: i64, day: &mut Day, caps: Caps) -> Timestamp {
    let first = minute_of(until).max(number * DAY);
    for minute in first..(number + 1) * DAY {
        let here = day.minutes.get(&minute.rem_euclid(DAY)).copied().unwrap_or_default();
        let given: u32 = (0..3).map(|rank| here.planned[rank].max(here.taken[rank])).sum();
        if given < caps.per_minute {
            day.minutes.entry(minute.rem_euclid(DAY)).or_default().planned[class.rank()] += 1;
            let within = i64::from(given) * 60 / i64::from(caps.per_minute.max(1));
            return Timestamp::from_second(minute * 60 + within).unwrap_or(until).max(until);
        }
    }
    start_of((number + 1) * DAY)
}

/// Gives a mail the first minute of a day, from `from` on, that has room for its class; none if the day has none. `before`
/// is the day before it. The answer is the time within the minute at which the mail should come.
pub fn plan(
    class: Class,
    from: Timestamp,
    now: Timestamp,
    (number, day): (i64, &mut Day),
    before: &Day,
    caps: Caps,
) -> Option<Timestamp> {
    let this_minute = minute_of(now);
    // What was given a minute that is over has gone, or was given another.
    let standing = |minute: i64, counted: &Minute, rank: usize| {
        if minute < this_minute { counted.taken[rank] } else { counted.planned[rank].max(counted.taken[rank]) }
    };
    let mut minute = minute_of(from).max(number * DAY);
    while minute < (number + 1) * DAY {
        let here = day.minutes.get(&minute.rem_euclid(DAY)).copied().unwrap_or_default();
        let given: u32 = (0..=class.rank()).map(|rank| standing(minute, &here, rank)).sum();
        if given >= caps.per_minute {
            minute += 1;
            continue;
        }
        let span = Span { day: number, today: day, yesterday: before };
        // What went fills the day for everybody; of what is to come, lower ranks make way.
        let of_ranks = |ranks: std::ops::RangeInclusive<usize>| {
            span.sum(minute - DAY, minute, |minute, counted| {
                let ranks = if minute < this_minute { *ranks.start()..=2 } else { ranks.clone() };
                ranks.map(|rank| standing(minute, counted, rank)).sum()
            })
        };
        let full = of_ranks(0..=class.rank()) >= caps.per_day
            || (class != Class::Booking && of_ranks(1..=class.rank()) >= caps.of_others());
        if full {
            // Nothing changes before the first of those that fill the day leaves it.
            let leaves = span.first(minute - DAY, minute, |minute, counted| {
                let lowest = if minute < this_minute { 2 } else { class.rank() };
                (0..=lowest).any(|rank| standing(minute, counted, rank) > 0)
            });
            minute = leaves.map_or(minute, |first| first + DAY + 1).max(minute + 1);
            continue;
        }
        day.minutes.entry(minute.rem_euclid(DAY)).or_default().planned[class.rank()] += 1;
        // Spread over the minute.
        let within = i64::from(given) * 60 / i64::from(caps.per_minute.max(1));
        let at = Timestamp::from_second(minute * 60 + within).unwrap_or(from);
        return Some(at.max(from));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPS: Caps = Caps { per_minute: 20, per_day: 400 };

    fn at(second: i64) -> Timestamp {
        // A midnight of UTC.
        Timestamp::from_second(1_799_971_200 + second).expect("a time")
    }

    fn day() -> i64 {
        day_of(at(0))
    }

    #[test]
    fn no_more_than_the_cap_goes_in_any_sixty_seconds() {
        let (mut today, yesterday) = (Day::default(), Day::default());
        let mut gone = Vec::new();
        for second in 0..300 {
            for _ in 0..3 {
                if ask(Class::Welcome, at(second), &mut today, &yesterday, CAPS) == Turn::Now {
                    gone.push(second);
                }
            }
        }
        assert_eq!(gone.len(), 100);
        for second in 0..300 {
            assert!(gone.iter().filter(|gone| (second..second + 60).contains(*gone)).count() <= 20);
        }
    }

    #[test]
    fn whoever_must_wait_is_told_when_the_minute_has_room() {
        let (mut today, yesterday) = (Day::default(), Day::default());
        for _ in 0..20 {
            assert_eq!(ask(Class::Welcome, at(90), &mut today, &yesterday, CAPS), Turn::Now);
        }
        assert_eq!(ask(Class::Booking, at(100), &mut today, &yesterday, CAPS), Turn::NotBefore(at(150)));
        assert_eq!(ask(Class::Booking, at(150), &mut today, &yesterday, CAPS), Turn::Now);
    }

    #[test]
    fn a_fifth_of_the_day_is_kept_for_calls_over_midnight_too() {
        let caps = Caps { per_minute: 1000, per_day: 10 };
        let (mut today, mut tomorrow) = (Day::default(), Day::default());
        for _ in 0..8 {
            assert_eq!(ask(Class::Welcome, at(86_000), &mut today, &Day::default(), caps), Turn::Now);
        }
        assert_eq!(ask(Class::FollowUp, at(86_000), &mut today, &Day::default(), caps), Turn::NotToday);
        assert_eq!(ask(Class::Booking, at(86_001), &mut today, &Day::default(), caps), Turn::Now);
        assert_eq!(ask(Class::Booking, at(86_460), &mut tomorrow, &today, caps), Turn::Now);
        assert_eq!(ask(Class::Booking, at(86_461), &mut tomorrow, &today, caps), Turn::NotToday);
        assert_eq!(ask(Class::Welcome, at(86_400 + 85_990), &mut tomorrow, &today, caps), Turn::NotToday);
        assert_eq!(ask(Class::Welcome, at(86_400 + 86_040), &mut tomorrow, &today, caps), Turn::Now, "24 hours later");
    }

    #[test]
    fn mail_about_calls_is_planned_before_what_has_a_minute_already_and_that_makes_way() {
        let caps = Caps { per_minute: 2, per_day: 400 };
        let (mut today, yesterday) = (Day::default(), Day::default());
        let mut give = |class| plan(class, at(0), at(0), (day(), &mut today), &yesterday, caps).expect("a minute");
        let minutes: Vec<i64> = (0..4).map(|_| minute_of(give(Class::Welcome)) - minute_of(at(0))).collect();
        assert_eq!(minutes, [0, 0, 1, 1]);
        assert_eq!(minute_of(give(Class::Booking)), minute_of(at(0)));
        assert_eq!(minute_of(give(Class::FollowUp)), minute_of(at(0)));
        assert_eq!(minute_of(give(Class::FollowUp)), minute_of(at(60)));
        assert_eq!(ask(Class::Welcome, at(0), &mut today, &yesterday, caps), Turn::NotBefore(at(60)), "makes way");
        assert_eq!(ask(Class::Booking, at(1), &mut today, &yesterday, caps), Turn::Now);
        assert_eq!(ask(Class::FollowUp, at(2), &mut today, &yesterday, caps), Turn::Now);
    }

    #[test]
    fn those_who_are_put_off_come_again_minute_by_minute() {
        let caps = Caps { per_minute: 2, per_day: 400 };
        let mut today = Day::default();
        let minutes: Vec<i64> = (0..5)
            .map(|_| minute_of(put_off(Class::Welcome, at(60), day(), &mut today, caps)) - minute_of(at(0)))
            .collect();
        assert_eq!(minutes, [1, 1, 2, 2, 3]);
    }

    #[test]
    fn pause_that_the_other_side_asks_for_holds_everybody() {
        let mut today = Day { paused_until: Some(at(500)), ..Day::default() };
        assert_eq!(ask(Class::Booking, at(10), &mut today, &Day::default(), CAPS), Turn::NotBefore(at(500)));
        assert_eq!(ask(Class::Booking, at(500), &mut today, &Day::default(), CAPS), Turn::Now);
    }

    #[test]
    fn five_thousand_mails_are_given_minutes_within_the_caps() {
        let mut days: BTreeMap<i64, Day> = BTreeMap::new();
        let mut given: Vec<i64> = Vec::new();
        let now = at(36_000);
        for _ in 0..5000 {
            let mut number = day();
            loop {
                let before = days.get(&(number - 1)).cloned().unwrap_or_default();
                let today = days.entry(number).or_default();
                if let Some(at) = plan(Class::Welcome, now, now, (number, today), &before, CAPS) {
                    given.push(minute_of(at));
                    break;
                }
                number += 1;
            }
        }
        given.sort_unstable();
        for (place, minute) in given.iter().enumerate() {
            assert!(given.iter().skip(place).take_while(|other| *other == minute).count() <= 20);
            let window = given[place..].iter().take_while(|other| **other < minute + DAY).count();
            assert!(window <= 320, "{window} in 24 hours");
        }
        assert_eq!((given[4999] - given[0]) / DAY, 15, "320 a day");
    }

    proptest! {
        #[test]
        fn caps_hold_for_any_order_of_asking(
            asked in proptest::collection::vec((0i64..3, 0usize..3, 0i64..90), 1..400),
        ) {
            let caps = Caps { per_minute: 3, per_day: 40 };
            let (mut today, yesterday) = (Day::default(), Day::default());
            let (mut gone, mut second) = (Vec::new(), 0);
            for (step, class, jump) in asked {
                second += step * jump;
                if second >= 86_400 {
                    break;
                }
                let class = Class::ALL[class];
                if ask(class, at(second), &mut today, &yesterday, caps) == Turn::Now {
                    gone.push((second, class));
                }
            }
            prop_assert!(gone.len() <= 40);
            prop_assert!(gone.iter().filter(|(_, class)| *class != Class::Booking).count() <= 32);
            for (second, _) in &gone {
                prop_assert!(gone.iter().filter(|(other, _)| (*second..*second + 60).contains(other)).count() <= 3);
            }
        }
    }
}

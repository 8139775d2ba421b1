//! Days that a text names: `by Friday`, `due 5 March`, `no later than 2026-03-05`. Never a guess: what can mean two days
//! is none.

use jiff::civil::{Date, Weekday};
use jiff::{Span, ToSpan};
use regex::Regex;
use shared::domain::pattern::pattern;
use std::sync::LazyLock;

const MONTHS: &str = "january|february|march|april|may|june|july|august|september|october|november|december\
                      |jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec";
const WEEKDAYS: &str = "monday|tuesday|wednesday|thursday|friday|saturday|sunday";

/// A day, in the words in which it can be named.
static DAY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?i)^(?:(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})(?:t\S*)?\b|(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month>{MONTHS})\.?(?:,?\s+(?P<year>\d{{4}}))?\b|(?P<month_first>{MONTHS})\.?\s+(?P<day_second>\d{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year_last>\d{{4}}))?\b|(?:this\s+)?(?P<weekday>{WEEKDAYS})\b|(?P<tomorrow>tomorrow)\b|(?P<today>today|tonight|eod|(?:the\s+)?end\s+of\s+(?:the\s+)?day)\b)"
    ))
});

/// How far ahead a day without a year may lie, in days: one that lies further may be one that has passed.
const FURTHEST: i32 = 270;

/// What announces the day by which something is due.
static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:by|no\s+later\s+than|due(?:\s+date)?(?:\s*:|\s+on|\s+by)?|deadline(?:\s*:|\s+is)?)\s+")
});

/// The day by which a text says that something is due, seen from the day of the meeting. None if it names none, or more
/// than one.
#[must_use]
pub fn due_in(text: &str, meeting: Option<Date>) -> Option<Date> {
    let mut due = None;
    for announced in ANNOUNCED.find_iter(text) {
        let Some(day) = text.get(announced.end()..).and_then(|rest| day_at_the_beginning(rest, meeting)) else {
            continue;
        };
        if due.is_some_and(|due| due != day) {
            return None;
        }
        due = Some(day);
    }
    due
}

/// The day that a text begins with. None if it begins with none that is certain.
#[must_use]
pub fn day_at_the_beginning(text: &str, meeting: Option<Date>) -> Option<Date> {
    let found = DAY.captures(text.trim_start())?;
    let named = |name: &str| found.name(name).map(|found| found.as_str());
    if let Some(day) = named("iso") {
        return day.parse().ok();
    }
    let in_month = named("month").zip(named("day")).map(|(month, day)| (month, day, named("year")));
    let month_first =
        named("month_first").zip(named("day_second")).map(|(month, day)| (month, day, named("year_last")));
    if let Some((month, day, year)) = in_month.or(month_first) {
        return day_of(month, day, year, meeting);
    }
    let meeting = meeting?;
    if let Some(weekday) = named("weekday") {
        let weekday = weekday_of(weekday)?;
        // On a Friday, `by Friday` may mean today or a week from now.
        return if meeting.weekday() == weekday { None } else { meeting.nth_weekday(1, weekday).ok() };
    }
    let later: Span = if named("tomorrow").is_some() { 1.day() } else { 0.days() };
    meeting.checked_add(later).ok()
}

/// A day of a month; without a year the first one from the meeting on.
fn day_of(month: &str, day: &str, year: Option<&str>, meeting: Option<Date>) -> Option<Date> {
    // The first three letters name a month.
    let month = month.get(..3)?;
    let in_year = |year: i16| Date::strptime("%d %b %Y", format!("{day} {month} {year:04}")).ok();
    if let Some(year) = year {
        return in_year(year.parse().ok()?);
    }
    let meeting = meeting?;
    let day = (0..=1).filter_map(|later| in_year(meeting.year() + later)).find(|day| *day >= meeting)?;
    (day.since(meeting).ok()?.get_days() <= FURTHEST).then_some(day)
}

fn weekday_of(name: &str) -> Option<Weekday> {
    Some(match name.to_ascii_lowercase().as_str() {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A Monday.
    fn meeting() -> Date {
        "2026-11-30".parse().expect("a day")
    }

    fn due(text: &str) -> Option<String> {
        due_in(text, Some(meeting())).map(|day| day.to_string())
    }

    #[test]
    fn day_that_is_named_is_the_due_date() {
        for (text, day) in [
            ("Send the plan by 2026-12-04", "2026-12-04"),
            ("Send the plan by 2026-12-04T17:00:00Z.", "2026-12-04"),
            ("Send the plan by December 4th", "2026-12-04"),
            ("Send the plan by Dec. 4, 2027", "2027-12-04"),
            ("Send the plan (due 4 December)", "2026-12-04"),
            ("Due: 4th of December 2026: the plan", "2026-12-04"),
            ("Send the plan no later than 5 January", "2027-01-05"),
            ("Send the plan by Friday", "2026-12-04"),
            ("Send the plan by this Friday.", "2026-12-04"),
            ("Send the plan by tomorrow", "2026-12-01"),
            ("Send the plan by EOD", "2026-11-30"),
            ("Send the plan by the end of the day, by today", "2026-11-30"),
            ("By Friday send it, so by Friday it is there", "2026-12-04"),
        ] {
            assert_eq!(due(text).as_deref(), Some(day), "{text}");
        }
    }

    #[test]
    fn day_that_may_be_another_is_none() {
        for text in [
            "Send the plan",
            "Send the plan by next Friday",
            "Send the plan by next week",
            "Send the plan by 3/5",
            "Send the plan by Monday",
            "Send the plan by the 31st",
            "Send the plan by February 30",
            "Send it by Tuesday, or by Friday",
            "Meet Friday",
            "Stand by May's team",
            "Talk about the March 5 offer",
            "It was due 15 November",
            "The price holds until 5 March",
        ] {
            assert_eq!(due(text), None, "{text}");
        }
    }

    #[test]
    fn day_that_hangs_on_the_meeting_is_none_without_it() {
        assert_eq!(due_in("by Friday", None), None);
        assert_eq!(due_in("by 5 January", None), None);
        assert_eq!(due_in("by 5 January 2027", None).map(|day| day.to_string()).as_deref(), Some("2027-01-05"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "(by |due |until |[a-z0-9 ,./:-]{0,9}|\\PC{0,3}){0,6}") {
            let due = due_in(&text, Some(meeting()));
            prop_assert!(due.is_none() || text.chars().any(char::is_alphabetic));
        }
    }
}

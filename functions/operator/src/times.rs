//! The times that a person writes: with their zone, as a date, or in Unix seconds.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::Value;

/// The first second that counts as a time: what lies before is a date without its dashes, not a time.
const EARLIEST: i64 = 946_684_800;

/// The first second that does not any more: what lies after is given in milliseconds.
const LATEST: i64 = 4_102_444_800;

/// Which end of a span a time is. A date is a whole day, and the span holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// A date stands for its first moment.
    Beginning,
    /// A date stands for the moment after its last.
    End,
}

/// A value is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotATime {
    /// It has another form.
    #[error(
        "it must be a time with its zone such as 2026-03-01T10:00:00Z, a date such as 2026-03-01, or Unix seconds such \
         as 1772359200"
    )]
    Form,
    /// It has the form of Unix seconds, and would lie in another century.
    #[error("as Unix seconds it must lie between the years 2000 and 2100; 2026-03-01T10:00:00Z is 1772359200")]
    Century,
    /// It says no moment.
    #[error(
        "it must be a time with its zone such as 2026-03-01T10:00:00Z, or Unix seconds such as 1772359200; a date alone \
         names no hour"
    )]
    NoMoment,
}

/// Reads a time into Unix seconds; a date is one in UTC.
///
/// # Errors
/// If the value is not a time.
pub fn unix_seconds(value: &Value, edge: Edge) -> Result<i64, NotATime> {
    match value {
        Value::Number(number) => number.as_i64().ok_or(NotATime::Form).and_then(plausible),
        Value::String(text) => of_text(text.trim(), edge),
        _ => Err(NotATime::Form),
    }
}

/// Reads a moment into Unix seconds. A date is none: it leaves open when.
///
/// # Errors
/// If the value is not a moment.
pub fn moment(value: &Value) -> Result<i64, NotATime> {
    let text = value.as_str().map(str::trim);
    if text.is_some_and(|text| Date::strptime("%Y-%m-%d", text).is_ok()) {
        return Err(NotATime::NoMoment);
    }
    unix_seconds(value, Edge::Beginning).map_err(|problem| match problem {
        NotATime::Form => NotATime::NoMoment,
        other => other,
    })
}

fn of_text(text: &str, edge: Edge) -> Result<i64, NotATime> {
    if let Ok(seconds) = text.parse() {
        return plausible(seconds);
    }
    if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
        let date = match edge {
            Edge::Beginning => date,
            Edge::End => date.tomorrow().map_err(|_| NotATime::Form)?,
        };
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|_| NotATime::Form)?;
        return Ok(midnight.timestamp().as_second());
    }
    text.parse::<Timestamp>().map(Timestamp::as_second).map_err(|_| NotATime::Form)
}

fn plausible(seconds: i64) -> Result<i64, NotATime> {
    if (EARLIEST..LATEST).contains(&seconds) { Ok(seconds) } else { Err(NotATime::Century) }
}

/// A time as it is shown.
#[must_use]
pub fn shown(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_is_a_moment_with_its_zone_a_date_or_unix_seconds() {
        for (value, seconds) in [
            (json!("2026-03-01T10:00:00Z"), 1_772_359_200),
            (json!("2026-03-01T12:00:00+02:00"), 1_772_359_200),
            (json!(1_772_359_200), 1_772_359_200),
            (json!("1772359200"), 1_772_359_200),
            (json!(" 2026-03-01 "), 1_772_323_200),
        ] {
            assert_eq!(unix_seconds(&value, Edge::Beginning), Ok(seconds), "{value}");
        }
    }

    #[test]
    fn span_holds_the_date_at_which_it_ends() {
        let date = json!("2026-02-28");
        assert_eq!(unix_seconds(&date, Edge::End), unix_seconds(&json!("2026-03-01"), Edge::Beginning));
    }

    #[test]
    fn what_is_no_time_is_told_from_what_lies_in_another_century() {
        let others = [
            json!("soon"),
            json!(""),
            json!("2026-02-30"),
            json!("2026-03-01T10:00:00"),
            json!(1.5),
            json!(true),
            json!([]),
        ];
        for value in others {
            assert_eq!(unix_seconds(&value, Edge::Beginning), Err(NotATime::Form), "{value}");
        }
        for value in [json!(0), json!(-5), json!("20260301"), json!(1_772_359_200_000_i64), json!("1772359200000")] {
            assert_eq!(unix_seconds(&value, Edge::Beginning), Err(NotATime::Century), "{value}");
        }
    }

    #[test]
    fn moment_names_its_hour() {
        for value in [json!("2026-03-01T10:00:00Z"), json!("2026-03-01T12:00:00+02:00"), json!(1_772_359_200)] {
            assert_eq!(moment(&value), Ok(1_772_359_200), "{value}");
        }
        for value in [json!("2026-03-01"), json!(" 2026-03-01 "), json!("soon"), json!("10:00"), json!({})] {
            assert_eq!(moment(&value), Err(NotATime::NoMoment), "{value}");
        }
        assert_eq!(moment(&json!(7)), Err(NotATime::Century));
    }

    #[test]
    fn time_is_shown_as_it_can_be_given() {
        assert_eq!(shown(1_772_359_200), "2026-03-01T10:00:00Z");
        assert_eq!(shown(i64::MAX), i64::MAX.to_string());
    }
}

//! A recurring series, laid out: which meetings its master stands for within a window of time.
//!
//! Nylas notifies of masters alone: a changed or cancelled occurrence is an id on the master
//! (<https://developer.nylas.com/docs/v3/calendar/recurring-events/>). So the rule of the master (RFC 5545) is followed
//! here, and every occurrence becomes a meeting of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use jiff::Timestamp;
use jiff::civil::Date;
use rrule::{RRule, RRuleError, RRuleSet, Tz, Unvalidated, ValidationError};
use shared::meetings::original_start_of;
use shared::nylas::event::{Event, When};

/// The most occurrences that one look at a series answers. Two years of a daily meeting are fewer.
const MOST_OCCURRENCES: u16 = 800;

/// Occurrences that begin in here count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From here on.
    pub from: Timestamp,
    /// Up to here, which belongs to it.
    pub to: Timestamp,
}

/// One occurrence of a series, as the rule has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// When it begins by the rule; whole days begin at midnight, UTC. It stays the same when the occurrence is moved.
    pub original_start: Timestamp,
    /// When it takes place.
    pub when: When,
}

/// What a series comes to within a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laid {
    /// The occurrences, the earliest first.
    pub occurrences: Vec<Occurrence>,
    /// True if there are more in the window than one look answers.
    pub more: bool,
}

/// Why a series cannot be laid out. None of them goes away by trying again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// It does not say when it begins.
    #[error("the series {0} does not say when it begins, so its occurrences cannot be told")]
    Undated(String),
    /// Its rule cannot be read.
    #[error("the rule `{rule}` of the series {master} cannot be read: {reason}")]
    Rule {
        /// The series.
        master: String,
        /// The rule.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The occurrences of a series that begin within a window, without those that its rule excludes.
///
/// # Errors
///
/// If the master has no beginning or a rule that cannot be read.
pub fn occurrences(master: &Event, window: Window) -> Result<Laid, SeriesError> {
    let when = master.when.as_ref().ok_or_else(|| SeriesError::Undated(master.id.clone()))?;
    // A zone that nobody knows is read as UTC: hours off at worst, where an error would lose all.
    let zone = match when {
        When::Span { time_zone: Some(name), .. } => zone_named(name).unwrap_or(Tz::UTC),
        _ => Tz::UTC,
    };
    let start = start_of(when).and_then(|start| in_zone(start, zone));
    let start = start.ok_or_else(|| SeriesError::Undated(master.id.clone()))?;

    let mut set = RRuleSet::new(start);
    let mut excluded = Excluded::default();
    let mut ended = false;
    for line in master.recurrence.iter().flatten() {
        let line: String = line.chars().filter(|character| !character.is_whitespace()).collect();
        let unreadable = |reason: String| SeriesError::Rule { master: master.id.clone(), rule: line.clone(), reason };
        match Line::read(&line) {
            Line::Rule(text) => {
                let rule = RRule::<Unvalidated>::from_str(&until_in_utc(text, zone))
                    .map_err(|error| unreadable(error.to_string()))?;
                match rule.validate(start) {
                    Ok(rule) => set = set.rrule(rule),
                    // It ended before it began: nothing is left of it.
                    Err(RRuleError::ValidationError(ValidationError::UntilBeforeStart { .. })) => ended = true,
                    Err(error) => return Err(unreadable(error.to_string())),
                }
            }
            Line::Excluded { dates, zone_name } => {
                let zone = zone_name.and_then(zone_named).unwrap_or(zone);
                for date in dates {
                    excluded.add(date, zone).ok_or_else(|| unreadable(format!("`{date}` is no date")))?;
                }
            }
            Line::Added { dates, zone_name } => {
                let its_zone = zone_name.and_then(zone_named).unwrap_or(zone);
                for date in dates {
                    let added =
                        Moment::read(date, its_zone).ok_or_else(|| unreadable(format!("`{date}` is no date")))?;
                    set = set.rdate(
                        added.instant(start.time(), zone).ok_or_else(|| unreadable(format!("`{date}` is no time")))?,
                    );
                }
            }
            // Time zones stand in `when`; whatever else there may be says nothing of when.
            Line::Other => {}
        }
    }

    if ended {
        return Ok(Laid { occurrences: Vec::new(), more: false });
    }
    let bounds = (in_zone(window.from, Tz::UTC), in_zone(window.to, Tz::UTC));
    let (Some(from), Some(to)) = bounds else { return Ok(Laid { occurrences: Vec::new(), more: false }) };
    let found = set.after(from).before(to).all(MOST_OCCURRENCES);
    excluded.settle(&found.dates);
    let occurrences = found
        .dates
        .iter()
        .filter(|start| !excluded.has(start))
        .filter_map(|start| occurrence_at(Timestamp::from_second(start.timestamp()).ok()?, when))
        .collect();
    Ok(Laid { occurrences, more: found.limited })
}

/// What a series stands for, each occurrence as the event that it would be if its calendar held it by itself: with the
/// master's words, a time and an id of its own. Those that the master says were cancelled say so; those that it says
/// were changed are left out, since only their own event tells how.
///
/// The ids of occurrences tell when they begin on Google alone. Elsewhere `started` tells it, from the events themselves.
#[must_use]
pub fn events_of(master: &Event, laid: &Laid, started: impl Fn(&str) -> Option<Timestamp>) -> Vec<Event> {
    let starts = |ids: Option<&Vec<String>>| -> BTreeSet<Timestamp> {
        ids.into_iter().flatten().filter_map(|id| original_start_of(&master.id, id).or_else(|| started(id))).collect()
    };
    let changed = starts(master.occurrences.as_ref());
    let cancelled = starts(master.cancelled_occurrences.as_ref());
    let days: BTreeSet<NaiveDate> =
        master.cancelled_occurrences.iter().flatten().filter_map(|id| original_day_of(id)).collect();
    let event = |occurrence: &Occurrence| {
        let is_cancelled =
            cancelled.contains(&occurrence.original_start) || day_of(occurrence).is_some_and(|day| days.contains(&day));
        Event {
            id: occurrence_id(&master.id, occurrence.original_start),
            master_event_id: Some(master.id.clone()),
            original_start_time: Some(occurrence.original_start),
            when: Some(occurrence.when.clone()),
            status: if is_cancelled { Some("cancelled".to_owned()) } else { master.status.clone() },
            recurrence: None,
            occurrences: None,
            cancelled_occurrences: None,
            ..master.clone()
        }
    };
    laid.occurrences.iter().filter(|occurrence| !changed.contains(&occurrence.original_start)).map(event).collect()
}

/// True if the time zone of this name is known.
#[must_use]
pub fn is_known_zone(name: &str) -> bool {
    zone_named(name).is_some()
}

/// The series in a time zone.
#[must_use]
pub fn with_zone(master: Event, zone: Option<String>) -> Event {
    let when = match master.when {
        Some(When::Span { start, end, .. }) => Some(When::Span { start, end, time_zone: zone }),
        other => other,
    };
    Event { when, ..master }
}

/// When an event begins, whole days at midnight, UTC.
#[must_use]
pub fn start_of(when: &When) -> Option<Timestamp> {
    match when {
        When::Span { start, .. } | When::Point(start) => Some(*start),
        When::Day(day) | When::Days { first: day, .. } => midnight(*day),
    }
}

/// The id of an occurrence that has none of its own: its series, and when it begins by the rule, in UTC.
#[must_use]
pub fn occurrence_id(master: &str, original_start: Timestamp) -> String {
    format!("{master}_{}", original_start.strftime("%Y%m%dT%H%M%SZ"))
}

/// The day on which an occurrence takes place by the rule, from an id of Microsoft's: `OID.<series>.<day>` (Microsoft
/// Graph, `occurrenceId` of an event).
fn original_day_of(id: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(id.strip_prefix("OID.")?.rsplit_once('.')?.1, "%Y-%m-%d").ok()
}

/// The day on which an occurrence takes place by the rule, where its calendar is.
fn day_of(occurrence: &Occurrence) -> Option<NaiveDate> {
    let zone = match &occurrence.when {
        When::Span { time_zone: Some(name), .. } => zone_named(name).unwrap_or(Tz::UTC),
        _ => Tz::UTC,
    };
    Some(in_zone(occurrence.original_start, zone)?.date_naive())
}

/// The occurrence that begins then, as long as the first one.
fn occurrence_at(start: Timestamp, first: &When) -> Option<Occurrence> {
    let day = || start.to_zoned(jiff::tz::TimeZone::UTC).date();
    let when = match first {
        When::Span { start: begin, end, time_zone } => {
            let end = start.checked_add(end.duration_since(*begin)).ok()?;
            When::Span { start, end, time_zone: time_zone.clone() }
        }
        When::Point(_) => When::Point(start),
        When::Day(_) => When::Day(day()),
        When::Days { first, last } => {
            When::Days { first: day(), last: day().checked_add(last.since(*first).ok()?).ok()? }
        }
    };
    Some(Occurrence { original_start: start, when })
}

fn midnight(day: Date) -> Option<Timestamp> {
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn in_zone(at: Timestamp, zone: Tz) -> Option<DateTime<Tz>> {
    DateTime::from_timestamp(at.as_second(), 0).map(|at| at.with_timezone(&zone))
}

fn zone_named(name: &str) -> Option<Tz> {
    chrono_tz::Tz::from_str(name).ok().map(Tz::Tz)
}

/// A line of a recurrence.
enum Line<'a> {
    Rule(&'a str),
    Excluded { dates: Vec<&'a str>, zone_name: Option<&'a str> },
    Added { dates: Vec<&'a str>, zone_name: Option<&'a str> },
    Other,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Self {
        let (head, value) = line.split_once(':').unwrap_or(("RRULE", line));
        let mut head = head.split(';');
        let name = head.next().unwrap_or_default().to_ascii_uppercase();
        let zone_name = head.find_map(|parameter| parameter.strip_prefix("TZID="));
        let dates = || value.split(',').filter(|date| !date.is_empty()).collect();
        match name.as_str() {
            "RRULE" if value.contains("FREQ=") => Self::Rule(value),
            "EXDATE" => Self::Excluded { dates: dates(), zone_name },
            "RDATE" => Self::Added { dates: dates(), zone_name },
            _ => Self::Other,
        }
    }
}

/// A date, or a date and a time, of RFC 5545.
enum Moment {
    At(DateTime<Tz>),
    Day(NaiveDate),
}

impl Moment {
    /// Reads `20261121`, `20261121T100000` (in the zone) and `20261121T100000Z`.
    fn read(text: &str, zone: Tz) -> Option<Self> {
        let (text, zone) = match text.strip_suffix(['Z', 'z']) {
            Some(text) => (text, Tz::UTC),
            None => (text, zone),
        };
        let Some((day, time)) = text.split_once('T') else {
            return NaiveDate::parse_from_str(text, "%Y%m%d").ok().map(Self::Day);
        };
        let day = NaiveDate::parse_from_str(day, "%Y%m%d").ok()?;
        let time = NaiveTime::parse_from_str(time, "%H%M%S").ok()?;
        day.and_time(time).and_local_timezone(zone).earliest().map(Self::At)
    }

    /// The instant; a day alone means this time of it.
    fn instant(&self, time: NaiveTime, zone: Tz) -> Option<DateTime<Tz>> {
        match self {
            Self::At(at) => Some(*at),
            Self::Day(day) => day.and_time(time).and_local_timezone(zone).earliest(),
        }
    }
}

/// What the rule leaves out.
#[derive(Default)]
struct Excluded {
    instants: BTreeSet<i64>,
    days: BTreeSet<NaiveDate>,
    /// Midnights among the instants, which may stand for their days.
    midnights: BTreeMap<i64, NaiveDate>,
}

impl Excluded {
    fn add(&mut self, date: &str, zone: Tz) -> Option<()> {
        match Moment::read(date, zone)? {
            Moment::At(at) => {
                // Some calendars write the day that is left out as its midnight, whatever the time of the meeting.
                if at.time() == NaiveTime::MIN {
                    self.midnights.insert(at.timestamp(), at.date_naive());
                }
                self.instants.insert(at.timestamp());
            }
            Moment::Day(day) => {
                self.days.insert(day);
            }
        }
        Some(())
    }

    /// Takes the midnights at which no occurrence begins for the days that they stand for.
    fn settle(&mut self, starts: &[DateTime<Tz>]) {
        let begins = |instant: &i64| starts.iter().any(|start| start.timestamp() == *instant);
        self.days.extend(self.midnights.iter().filter(|(instant, _)| !begins(instant)).map(|(_, day)| *day));
    }

    fn has(&self, start: &DateTime<Tz>) -> bool {
        self.instants.contains(&start.timestamp()) || self.days.contains(&start.date_naive())
    }
}

/// The rule with its end as an instant in UTC, which is what RFC 5545 asks for and what calendars do not all write: a
/// day alone means its last second, a time without a zone is the series' own.
fn until_in_utc(rule: &str, zone: Tz) -> String {
    let part = |part: &str| {
        let Some((_, until)) = part.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("UNTIL")) else {
            return part.to_owned();
        };
        let end_of_day = NaiveTime::MIN.overflowing_sub_signed(TimeDelta::seconds(1)).0;
        match Moment::read(until, zone).and_then(|moment| moment.instant(end_of_day, zone)) {
            Some(at) => format!("UNTIL={}", at.to_utc().format("%Y%m%dT%H%M%SZ")),
            None => part.to_owned(),
        }
    };
    rule.split(';').filter(|part| !part.is_empty()).map(part).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn master(when: &Value, recurrence: &[&str]) -> Event {
        serde_json::from_value(json!({"id": "m1", "when": when, "recurrence": recurrence})).expect("an event")
    }

    fn window(from: &str, to: &str) -> Window {
        Window { from: from.parse().expect("a time"), to: to.parse().expect("a time") }
    }

    fn starts(master: &Event, window: Window) -> Vec<String> {
        let laid = occurrences(master, window).expect("a series");
        laid.occurrences.iter().map(|occurrence| occurrence.original_start.to_string()).collect()
    }

    /// 10 to 10:30 in the morning of Thursday 2026-10-22, New York.
    fn thursdays(rules: &[&str]) -> Event {
        let when = json!({"object": "timespan", "start_time": 1_792_677_600, "end_time": 1_792_679_400,
            "start_timezone": "America/New_York", "end_timezone": "America/New_York"});
        master(&when, rules)
    }

    const AUTUMN: (&str, &str) = ("2026-10-20T00:00:00Z", "2026-11-20T00:00:00Z");

    #[test]
    fn weekly_meeting_keeps_its_hour_when_the_clocks_change() {
        let found = starts(&thursdays(&["RRULE:FREQ=WEEKLY;BYDAY=TH"]), window(AUTUMN.0, AUTUMN.1));
        let expected = [
            "2026-10-22T14:00:00Z",
            "2026-10-29T14:00:00Z",
            "2026-11-05T15:00:00Z",
            "2026-11-12T15:00:00Z",
            "2026-11-19T15:00:00Z",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn every_occurrence_is_as_long_as_the_first() {
        let laid = occurrences(&thursdays(&["RRULE:FREQ=WEEKLY"]), window(AUTUMN.0, AUTUMN.1)).expect("a series");
        for occurrence in &laid.occurrences {
            let When::Span { start, end, .. } = occurrence.when else { panic!("a span") };
            assert_eq!((start, end.duration_since(start).as_secs()), (occurrence.original_start, 30 * 60));
        }
        let days = json!({"start_date": "2026-10-20", "end_date": "2026-10-22"});
        let laid =
            occurrences(&master(&days, &["RRULE:FREQ=WEEKLY;COUNT=2"]), window(AUTUMN.0, AUTUMN.1)).expect("a series");
        let day = |text: &str| text.parse().expect("a day");
        assert_eq!(laid.occurrences[1].when, When::Days { first: day("2026-10-27"), last: day("2026-10-29") });
    }

    #[test]
    fn end_of_a_series_is_read_as_calendars_write_it() {
        for until in ["20261105", "20261105T150000Z", "20261105T100000", "20261105T235959Z"] {
            let rule = format!("RRULE:FREQ=WEEKLY;UNTIL={until};BYDAY=TH");
            assert_eq!(starts(&thursdays(&[&rule]), window(AUTUMN.0, AUTUMN.1)).len(), 3, "{until}");
        }
        let earlier = starts(&thursdays(&["RRULE:FREQ=WEEKLY;UNTIL=20261105T145959Z"]), window(AUTUMN.0, AUTUMN.1));
        assert_eq!(earlier.len(), 2);
        let all_day = master(&json!({"date": "2026-10-20"}), &["RRULE:FREQ=DAILY;UNTIL=20261022"]);
        assert_eq!(starts(&all_day, window(AUTUMN.0, AUTUMN.1)).len(), 3);
    }

    #[test]
    fn excluded_dates_are_left_out_in_every_way_of_writing_them() {
        for excluded in [
            "EXDATE:20261029T140000Z",
            "EXDATE;TZID=America/New_York:20261029T100000",
            "EXDATE;VALUE=DATE:20261029",
            "EXDATE:20261029T000000Z",
            "EXDATE:20261029T140000Z,20261231T150000Z",
        ] {
            let found = starts(&thursdays(&["RRULE:FREQ=WEEKLY; BYDAY=TH", excluded]), window(AUTUMN.0, AUTUMN.1));
            assert_eq!(found.len(), 4, "{excluded}: {found:?}");
            assert!(!found.contains(&"2026-10-29T14:00:00Z".to_owned()), "{excluded}");
        }
    }

    #[test]
    fn added_dates_are_occurrences() {
        let found =
            starts(&thursdays(&["RRULE:FREQ=WEEKLY;COUNT=1", "RDATE:20261030T140000Z"]), window(AUTUMN.0, AUTUMN.1));
        assert_eq!(found, ["2026-10-22T14:00:00Z", "2026-10-30T14:00:00Z"]);
    }

    #[test]
    fn endless_series_is_laid_out_within_its_window_alone_and_says_when_there_is_more() {
        let endless = thursdays(&["RRULE:FREQ=WEEKLY"]);
        assert_eq!(starts(&endless, window("2031-01-01T00:00:00Z", "2031-01-31T00:00:00Z")).len(), 5);
        let hourly = thursdays(&["RRULE:FREQ=HOURLY"]);
        let laid = occurrences(&hourly, window("2026-10-01T00:00:00Z", "2027-10-01T00:00:00Z")).expect("a series");
        assert_eq!((laid.occurrences.len(), laid.more), (usize::from(MOST_OCCURRENCES), true));
    }

    #[test]
    fn rule_that_cannot_be_read_is_an_error_that_names_it() {
        let error =
            occurrences(&thursdays(&["RRULE:FREQ=SOMETIMES"]), window(AUTUMN.0, AUTUMN.1)).expect_err("no rule");
        assert!(error.to_string().contains("SOMETIMES") && error.to_string().contains("m1"), "{error}");
        let error = occurrences(&thursdays(&["RRULE:FREQ=DAILY", "EXDATE:soon"]), window(AUTUMN.0, AUTUMN.1))
            .expect_err("no date");
        assert!(error.to_string().contains("`soon`"), "{error}");
        let undated = occurrences(&master(&json!(null), &["RRULE:FREQ=DAILY"]), window(AUTUMN.0, AUTUMN.1));
        assert_eq!(undated, Err(SeriesError::Undated("m1".to_owned())));
    }

    #[test]
    fn zone_that_nobody_knows_is_read_as_utc_and_old_names_are_known() {
        let in_zone = |zone: &str| {
            let when = json!({"start_time": 1_792_677_600, "end_time": 1_792_679_400, "start_timezone": zone});
            starts(&master(&when, &["RRULE:FREQ=WEEKLY"]), window(AUTUMN.0, AUTUMN.1)).pop()
        };
        assert_eq!(in_zone("EST5EDT").as_deref(), Some("2026-11-19T15:00:00Z"));
        assert_eq!(in_zone("Middle Earth").as_deref(), Some("2026-11-19T14:00:00Z"));
    }

    #[test]
    fn each_occurrence_is_an_event_of_its_own_and_the_cancelled_ones_say_so() {
        let mut series = thursdays(&["RRULE:FREQ=WEEKLY"]);
        series.title = Some("Pilot".to_owned());
        series.occurrences = Some(vec!["m1_20261105T150000Z".to_owned()]);
        series.cancelled_occurrences =
            Some(vec!["m1_20261029T140000Z".to_owned(), "AAMk7".to_owned(), "OID.AAMkm1=.2026-10-22".to_owned()]);
        let laid = occurrences(&series, window(AUTUMN.0, AUTUMN.1)).expect("a series");
        let started = |id: &str| (id == "AAMk7").then(|| "2026-11-12T15:00:00Z".parse().expect("a time"));
        let events = events_of(&series, &laid, started);
        let told: Vec<(&str, Option<&str>)> =
            events.iter().map(|event| (event.id.as_str(), event.status.as_deref())).collect();
        let expected = [
            ("m1_20261022T140000Z", Some("cancelled")),
            ("m1_20261029T140000Z", Some("cancelled")),
            ("m1_20261112T150000Z", Some("cancelled")),
            ("m1_20261119T150000Z", None),
        ];
        assert_eq!(told, expected, "the one that was changed by itself is left to its own event");
        for event in &events {
            assert_eq!((event.title.as_deref(), event.master_event_id.as_deref()), (Some("Pilot"), Some("m1")));
            assert!(!event.is_master());
        }
    }

    #[test]
    fn id_of_an_occurrence_tells_when_it_begins_and_back() {
        let start: Timestamp = "2026-10-29T14:00:00Z".parse().expect("a time");
        let id = occurrence_id("m1", start);
        assert_eq!(id, "m1_20261029T140000Z");
        assert_eq!(original_start_of("m1", &id), Some(start));
        assert_eq!(
            original_start_of("m1", "m1_20261029").map(|at| at.to_string()).as_deref(),
            Some("2026-10-29T00:00:00Z")
        );
        for other in ["AAMk3", "m1", "m10_20261029T140000Z", "m1_soon"] {
            assert_eq!(original_start_of("m1", other), None, "{other}");
        }
    }
}

//! A calendar event as Nylas sends it, in `event.*` notifications and from `GET …/events`.
//!
//! Everything but the id may be missing or null: providers differ, and `.transformed` means that only some fields were
//! sent. A field that is absent is told from one that is empty.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::message::Participant;
use super::time::timestamp;
use crate::domain::address::{CompanyDomains, EmailAddress};
use crate::domain::own_mail::{LOOP_METADATA, LoopId};

/// One event: a meeting, the master of a series, or an occurrence of one.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Nylas's id of this copy. On Google all attendees' copies share it.
    pub id: String,
    /// The account whose calendar it is in.
    #[serde(default)]
    pub grant_id: Option<String>,
    /// The calendar.
    #[serde(default)]
    pub calendar_id: Option<String>,
    /// Its title.
    #[serde(default)]
    pub title: Option<String>,
    /// Its description, HTML or plain.
    #[serde(default)]
    pub description: Option<String>,
    /// Where it takes place.
    #[serde(default)]
    pub location: Option<String>,
    /// Who is invited.
    #[serde(default)]
    pub participants: Option<Vec<Invitee>>,
    /// Who called it.
    #[serde(default)]
    pub organizer: Option<Participant>,
    /// `confirmed`, `tentative` or `maybe`, `cancelled`; iCloud has none.
    #[serde(default)]
    pub status: Option<String>,
    /// `default`, `public`, `private` or `confidential`.
    #[serde(default)]
    pub visibility: Option<String>,
    /// Where to join, in one of several shapes.
    #[serde(default)]
    pub conferencing: Option<Value>,
    /// When it takes place.
    #[serde(default, deserialize_with = "when")]
    pub when: Option<When>,
    /// The rules of a series, as in RFC 5545; only its master has them.
    #[serde(default)]
    pub recurrence: Option<Vec<String>>,
    /// The master of the series it is an occurrence of.
    #[serde(default)]
    pub master_event_id: Option<String>,
    /// When the occurrence would have begun by the series' rule.
    #[serde(default, deserialize_with = "super::time::optional")]
    pub original_start_time: Option<Timestamp>,
    /// On a master: the occurrences that are not as the rule says (Google only).
    #[serde(default)]
    pub occurrences: Option<Vec<String>>,
    /// On a master: the occurrences that were cancelled.
    #[serde(default)]
    pub cancelled_occurrences: Option<Vec<String>>,
    /// The same for every copy of a meeting, and for all occurrences of a series.
    #[serde(default)]
    pub ical_uid: Option<String>,
    /// Counts the organizer's changes, where the provider tells.
    #[serde(default)]
    pub sequence: Option<i64>,
    /// Data of whoever made it; the scheduler marks its events here.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
    /// When it was last changed.
    #[serde(default, deserialize_with = "super::time::optional")]
    pub updated_at: Option<Timestamp>,
}

/// A calendar of an account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Calendar {
    /// Its id.
    pub id: String,
    /// True if its user cannot change it: holidays, birthdays, somebody else's that is shared for looking.
    #[serde(default)]
    pub read_only: Option<bool>,
    /// Its time zone, by its name in the IANA database.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// By which rules notetakers join its meetings, as Nylas keeps them; none if they join none.
    #[serde(default)]
    pub notetaker: Option<Value>,
}

/// Somebody who is invited.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Invitee {
    /// The address; on Microsoft it can be missing.
    #[serde(default)]
    pub email: Option<String>,
    /// The name.
    #[serde(default)]
    pub name: Option<String>,
    /// `yes`, `no`, `maybe`, `noreply`.
    #[serde(default)]
    pub status: Option<String>,
}

impl Invitee {
    /// The address of a person, normalised.
    #[must_use]
    pub fn address(&self) -> Option<EmailAddress> {
        person(self.email.as_deref()?)
    }
}

/// The people in a meeting, normalised; what is no address is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// Who called it.
    pub organizer: Option<EmailAddress>,
    /// Who is invited.
    pub invited: Vec<EmailAddress>,
    /// How many of the invited have no address that can be read: Microsoft may leave it out, and whose they are nobody
    /// knows.
    pub without_address: usize,
}

impl People {
    /// The people in an event.
    #[must_use]
    pub fn in_event(event: &Event) -> Self {
        let organizer = event.organizer.as_ref().and_then(|organizer| person(organizer.email.as_deref()?));
        let invited = event.participants.iter().flatten();
        let without_address =
            invited.clone().filter(|invitee| invitee.email.as_deref().and_then(EmailAddress::parse).is_none()).count();
        Self { organizer, invited: invited.filter_map(Invitee::address).collect(), without_address }
    }

    /// Everyone, each once, the organizer first.
    #[must_use]
    pub fn everyone(&self) -> Vec<EmailAddress> {
        let mut everyone: Vec<EmailAddress> = Vec::new();
        for address in self.organizer.iter().chain(&self.invited) {
            if !everyone.contains(address) {
                everyone.push(address.clone());
            }
        }
        everyone
    }

    /// Those outside the company.
    #[must_use]
    pub fn outside(&self, company: &CompanyDomains) -> Vec<EmailAddress> {
        self.everyone().into_iter().filter(|address| !company.contains(address)).collect()
    }
}

/// A person's address. Google gives calendars and rooms addresses too, and names them as organizer or among the invited.
fn person(address: &str) -> Option<EmailAddress> {
    EmailAddress::parse(address).filter(|address| !address.domain().ends_with("calendar.google.com"))
}

/// When an event takes place: the four shapes of `when`, told apart by what they hold, because not every answer
/// names its shape in `object`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// `timespan`.
    Span {
        /// When it begins.
        start: Timestamp,
        /// When it ends.
        end: Timestamp,
        /// The time zone it begins in, as its calendar names it (`America/New_York`, `EST5EDT`): a series keeps its
        /// hour there when the clocks change.
        time_zone: Option<String>,
    },
    /// `time`: a point.
    Point(Timestamp),
    /// `date`: one whole day.
    Day(Date),
    /// `datespan`: whole days, the last of which belongs to it.
    Days {
        /// The first.
        first: Date,
        /// The last.
        last: Date,
    },
}

impl When {
    /// Reads a `when`; none if it is null or says nothing that can be read.
    #[must_use]
    pub fn read(value: &Value) -> Option<Self> {
        let time = |name: &str| value.get(name).and_then(timestamp);
        let date = |name: &str| value.get(name).and_then(Value::as_str).and_then(|text| text.parse::<Date>().ok());
        if let Some(start) = time("start_time") {
            let end = time("end_time").unwrap_or(start);
            let time_zone = value.get("start_timezone").and_then(Value::as_str).map(str::to_owned);
            return Some(Self::Span { start, end: end.max(start), time_zone });
        }
        if let Some(first) = date("start_date") {
            let last = date("end_date").unwrap_or(first);
            return Some(Self::Days { first, last: last.max(first) });
        }
        time("time").map(Self::Point).or_else(|| date("date").map(Self::Day))
    }
}

impl Event {
    /// True if its owner keeps what it is about to themselves.
    #[must_use]
    pub fn is_private(&self) -> bool {
        matches!(self.visibility.as_deref(), Some("private" | "confidential"))
    }

    /// True if it does not take place.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.status
            .as_deref()
            .is_some_and(|status| ["cancelled", "canceled"].contains(&status.to_ascii_lowercase().as_str()))
    }

    /// True if Nylas's scheduler made it.
    #[must_use]
    pub fn is_made_by_the_scheduler(&self) -> bool {
        self.metadata.as_ref().and_then(|metadata| metadata.get("source")).is_some_and(|source| source == "scheduler")
    }

    /// True if this deployment made it.
    #[must_use]
    pub fn is_made_by(&self, deployment: &LoopId) -> bool {
        let marked = self.metadata.as_ref().and_then(|metadata| metadata.get(LOOP_METADATA)).and_then(Value::as_str);
        marked.is_some_and(|marked| deployment.is_in(marked))
    }

    /// True if it is the master of a series.
    #[must_use]
    pub fn is_master(&self) -> bool {
        self.master_event_id.is_none() && self.recurrence.as_ref().is_some_and(|rules| !rules.is_empty())
    }

    /// Where to join online: the conference's address, else a location that is one. Conferencing may be `{}`, lack its
    /// provider or its details, name an unknown provider, or hold `autocreate` alone.
    #[must_use]
    pub fn meeting_link(&self) -> Option<&str> {
        let conference = self.conferencing.as_ref().and_then(|conference| conference["details"]["url"].as_str());
        [conference, self.location.as_deref()].into_iter().flatten().map(str::trim).find(|text| {
            (text.starts_with("https://") || text.starts_with("http://")) && !text.contains(char::is_whitespace)
        })
    }
}

fn when<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<When>, D::Error> {
    Ok(When::read(&Value::deserialize(deserializer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(mut fields: Value) -> Event {
        fields["id"] = "e".into();
        serde_json::from_value(fields).expect("an event")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn day(text: &str) -> Date {
        text.parse().expect("a day")
    }

    fn spanning(start: i64, end: i64, zone: Option<&str>) -> When {
        When::Span { start: at(start), end: at(end), time_zone: zone.map(str::to_owned) }
    }

    #[test]
    fn event_of_an_id_alone_is_read_and_nulls_are_absent() {
        let bare = event(json!({}));
        let nulls =
            event(json!({"title": null, "when": null, "participants": null, "calendar_id": null, "status": null,
            "conferencing": null, "recurrence": null, "metadata": null, "updated_at": null, "organizer": null}));
        assert_eq!(bare, nulls);
    }

    #[test]
    fn all_four_shapes_of_when_are_read_with_and_without_their_name() {
        let span = json!({"object": "timespan", "start_time": 100, "end_time": 200, "start_timezone": "EST5EDT"});
        assert_eq!(When::read(&span), Some(spanning(100, 200, Some("EST5EDT"))));
        assert_eq!(When::read(&json!({"time": 100, "timezone": "UTC"})), Some(When::Point(at(100))));
        assert_eq!(When::read(&json!({"object": "date", "date": "2026-03-01"})), Some(When::Day(day("2026-03-01"))));
        let days = json!({"start_date": "2026-03-01", "end_date": "2026-03-03"});
        assert_eq!(When::read(&days), Some(When::Days { first: day("2026-03-01"), last: day("2026-03-03") }));
    }

    #[test]
    fn when_that_says_nothing_or_ends_before_it_begins_does_no_harm() {
        for nothing in
            [json!(null), json!({}), json!({"object": "timespan"}), json!({"date": "soon"}), json!([1]), json!("x")]
        {
            assert_eq!(When::read(&nothing), None, "{nothing}");
        }
        let backwards = json!({"start_time": 200, "end_time": 100});
        assert_eq!(When::read(&backwards), Some(spanning(200, 200, None)));
        assert_eq!(When::read(&json!({"start_time": 100})), Some(spanning(100, 100, None)));
    }

    #[test]
    fn link_is_found_in_every_shape_of_conferencing_and_else_in_the_location() {
        let link = |conferencing: Value, location: Value| {
            event(json!({"conferencing": conferencing, "location": location})).meeting_link().map(str::to_owned)
        };
        let url = "https://meet.example/x";
        assert_eq!(
            link(json!({"provider": "Zoom Meeting", "details": {"url": url}}), json!(null)).as_deref(),
            Some(url)
        );
        assert_eq!(link(json!({"details": {"url": url}}), json!("Room 1")).as_deref(), Some(url));
        for empty in [
            json!({}),
            json!({"provider": "x"}),
            json!({"autocreate": {}}),
            json!({"details": {"phone": ["1"]}}),
            json!(null),
        ] {
            assert_eq!(link(empty.clone(), json!("Room 1")), None, "{empty}");
            assert_eq!(link(empty.clone(), json!(url)).as_deref(), Some(url), "{empty}");
        }
        assert_eq!(link(json!({}), json!("https://meet.example/x or Room 1")), None);
        assert_eq!(link(json!({"details": {"url": "javascript:alert(1)"}}), json!(null)), None);
    }

    #[test]
    fn kinds_of_events_are_told_apart() {
        assert!(event(json!({"recurrence": ["RRULE:FREQ=WEEKLY"]})).is_master());
        assert!(!event(json!({"recurrence": ["RRULE:FREQ=WEEKLY"], "master_event_id": "m"})).is_master());
        assert!(!event(json!({"recurrence": []})).is_master());
        assert!(
            event(json!({"visibility": "confidential"})).is_private()
                && event(json!({"visibility": "private"})).is_private()
        );
        assert!(!event(json!({"visibility": "default"})).is_private());
        assert!(event(json!({"metadata": {"source": "scheduler", "key5": "c"}})).is_made_by_the_scheduler());
        assert!(!event(json!({"metadata": {}})).is_made_by_the_scheduler());
        let (ours, theirs) = (LoopId::of_stack("a"), LoopId::of_stack("b"));
        let made = event(json!({"metadata": {LOOP_METADATA: ours.as_str()}}));
        assert!(made.is_made_by(&ours) && !made.is_made_by(&theirs));
    }
}

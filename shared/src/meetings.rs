//! The meetings that calendar-sync keeps, as other functions find them among the links: by an event, by what makes
//! copies one meeting, by where and when people join online.
//!
//! calendar-sync alone writes these links; what is read here is no more than others need.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

use crate::domain::digest::sha256_hex;
use crate::domain::link::{Link, LinkKey, LinkState, Version};
use crate::engine::{Links, PutLink, StoreError};
use crate::nylas::event::Event;

/// The fact of a place's link that names its meetings.
const MEETINGS: &str = "meetings";

/// The most meetings that are remembered of one place and day.
const MOST_MEETINGS_A_DAY: usize = 50;

/// How long before a meeting begins somebody may join it.
const EARLY: SignedDuration = SignedDuration::from_mins(15);

/// What makes copies one meeting: the iCalendar UID and the occurrence of the series; where there is no UID, the event
/// itself, whose id Google's copies share. An occurrence goes by the UID of its series where that is known: Exchange gives
/// occurrences UIDs of their own.
#[must_use]
pub fn identity_of(event: &Event, series_uid: Option<&str>) -> String {
    let start = event.master_event_id.as_deref().map(|master| {
        // Google's ids of occurrences end in their start; others name nothing but themselves.
        let start = event.original_start_time.or_else(|| original_start_of(master, &event.id));
        start.map_or_else(|| event.id.clone(), |start| start.to_string())
    });
    let occurrence = start.unwrap_or_default();
    match series_uid.or(event.ical_uid.as_deref()).map(str::trim).filter(|uid| !uid.is_empty()) {
        Some(uid) => sha256_hex(&[b"uid:", uid.as_bytes(), b"/", occurrence.as_bytes()]),
        None => sha256_hex(&[b"event:", event.id.as_bytes()]),
    }
}

/// When an occurrence would have begun by the rule of its series, from its id, if that says so: `<master>_<start>`.
#[must_use]
pub fn original_start_of(master: &str, id: &str) -> Option<Timestamp> {
    let start = id.strip_prefix(master)?.strip_prefix('_')?;
    if let Some(time) = start.strip_suffix('Z') {
        let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
        return time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp());
    }
    let day = Date::strptime("%Y%m%d", start).ok()?;
    day.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp())
}

/// The key of the link that says which meeting a copy belongs to.
#[must_use]
pub fn copy_key(grant: &str, event: &str) -> LinkKey {
    LinkKey::new("event-copy", &sha256_hex(&[grant.as_bytes(), b"/", event.as_bytes()]))
}

/// The key of a meeting's link.
#[must_use]
pub fn meeting_key(identity: &str) -> LinkKey {
    LinkKey::new("meeting", identity)
}

/// A meeting as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMeeting {
    /// What makes copies this meeting.
    pub identity: String,
    /// The key under which the CRM has it; none if the CRM does not.
    pub external_event_id: Option<String>,
    /// Its copies in accounts, as they were last heard of: some may be gone since.
    pub copies: Vec<KeptCopy>,
    /// True if somebody who is invited keeps it private: then no other copy may tell more.
    pub private: bool,
}

/// A copy of a meeting.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KeptCopy {
    /// The account.
    pub grant: String,
    /// Nylas's id of the event in it.
    pub event: String,
    /// The calendars of the account that it is in.
    #[serde(default)]
    pub calendars: BTreeSet<String>,
    /// True for an occurrence that its calendar does not hold by itself, but that the rule of its series stands for: its
    /// id is that of the series and its start.
    #[serde(default)]
    pub by_rule: bool,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    state: String,
}

impl KeptCopy {
    /// The event to ask its calendar for: for an occurrence by rule the master of its series.
    #[must_use]
    pub fn held_as(&self) -> &str {
        let master = self.by_rule.then(|| self.event.rsplit_once('_').map(|(master, _)| master)).flatten();
        master.unwrap_or(&self.event)
    }
}

/// Which meeting an event of an account belongs to; none if nothing is known of it.
///
/// # Errors
/// If the table does not answer.
pub async fn identity_of_copy(links: &impl Links, grant: &str, event: &str) -> Result<Option<String>, StoreError> {
    let standing = links.get(&copy_key(grant, event)).await?;
    Ok(standing.and_then(|standing| match standing.link.state {
        LinkState::Live { became } => Some(became),
        LinkState::Tombstone | LinkState::Note => None,
    }))
}

/// A meeting; none if it is not known.
///
/// # Errors
/// If the table does not answer.
pub async fn kept_meeting(links: &impl Links, identity: &str) -> Result<Option<KeptMeeting>, StoreError> {
    #[derive(Deserialize)]
    struct Facts {
        copies: Copies,
        #[serde(default)]
        became: Option<String>,
    }
    #[derive(Deserialize)]
    struct Copies {
        #[serde(default)]
        known: Vec<KeptCopy>,
        #[serde(default)]
        external_id: Option<String>,
    }
    let key = meeting_key(identity);
    let Some(standing) = links.get(&key).await? else { return Ok(None) };
    let facts: Facts = serde_json::from_value(standing.link.facts.into())
        .map_err(|error| StoreError(format!("the link {} cannot be read: {error}", key.as_str())))?;
    Ok(Some(KeptMeeting {
        identity: identity.to_owned(),
        external_event_id: facts.copies.external_id.filter(|_| facts.became.is_some()),
        private: facts.copies.known.iter().any(|copy| copy.private && copy.state == "live"),
        copies: facts.copies.known,
    }))
}

/// When a meeting takes place that people join at some place online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeetingAt {
    /// What makes copies this meeting.
    pub identity: String,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
}

impl MeetingAt {
    /// True if somebody who joined at a time may have joined this meeting: while it lasted, or a little before.
    #[must_use]
    pub fn may_be_joined(&self, joined: Timestamp) -> bool {
        joined.duration_since(self.start) >= -EARLY && joined < self.end
    }
}

/// A place online in one form, whatever a calendar or a person adds to it: host and path; of the query only what
/// names the meeting itself (Webex's `MTID`). None if it is no link.
#[must_use]
pub fn place_of(link: &str) -> Option<String> {
    let url = Url::parse(link.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let host = url.host_str()?;
    let host = host.strip_prefix("www.").unwrap_or(host);
    let meeting = url.query_pairs().find(|(name, _)| name.eq_ignore_ascii_case("MTID"));
    let meeting = meeting.map(|(_, value)| format!("?{value}")).unwrap_or_default();
    Some(format!("{host}{}{meeting}", url.path().trim_end_matches('/')))
}

/// The key of what takes place somewhere on one day, in UTC. A place that is used for years stays small so.
fn place_key(place: &str, day: Date) -> LinkKey {
    LinkKey::new("place", &format!("{}/{day}", sha256_hex(&[place.as_bytes()])))
}

fn day_of(time: Timestamp) -> Date {
    time.to_zoned(TimeZone::UTC).date()
}

/// Remembers that a meeting takes place where a link leads.
///
/// # Errors
/// If the table does not answer.
pub async fn remember_place(
    links: &impl Links,
    link: &str,
    meeting: &MeetingAt,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(place) = place_of(link) else { return Ok(()) };
    let key = place_key(&place, day_of(meeting.start));
    loop {
        let standing = links.get(&key).await?;
        let revision = standing.as_ref().map(|standing| standing.revision);
        let mut meetings = standing.map(|standing| meetings_in(standing.link.facts)).unwrap_or_default();
        let span = (meeting.start.as_second(), meeting.end.as_second());
        if meetings.get(&meeting.identity) == Some(&span) {
            return Ok(());
        }
        if meetings.len() >= MOST_MEETINGS_A_DAY
            && let Some(earliest) = meetings.iter().min_by_key(|(_, span)| **span).map(|(identity, _)| identity.clone())
        {
            meetings.remove(&earliest);
        }
        meetings.insert(meeting.identity.clone(), span);
        let meetings = serde_json::to_value(&meetings).map_err(|error| StoreError(error.to_string()))?;
        let link = Link {
            key: key.clone(),
            state: LinkState::Live { became: meeting.identity.clone() },
            version: Version::default(),
            content: None,
            facts: Map::from_iter([(MEETINGS.to_owned(), meetings)]),
        };
        if let PutLink::Stored(_) = links.put(&link, revision, now).await? {
            return Ok(());
        }
    }
}

fn meetings_in(mut facts: Map<String, Value>) -> BTreeMap<String, (i64, i64)> {
    facts.remove(MEETINGS).and_then(|meetings| serde_json::from_value(meetings).ok()).unwrap_or_default()
}

/// The meetings that somebody who joined at a place, as [`place_of`] names it, and a time may have joined. What was moved or removed since may
/// be among them.
///
/// # Errors
/// If the table does not answer.
pub async fn meetings_joined(links: &impl Links, place: &str, joined: Timestamp) -> Result<Vec<MeetingAt>, StoreError> {
    // One that began yesterday may last until now, and one that begins tomorrow be joined early.
    let around = [-SignedDuration::from_hours(24), SignedDuration::ZERO, EARLY];
    let days: BTreeSet<Date> = around.iter().filter_map(|away| joined.checked_add(*away).ok()).map(day_of).collect();
    let mut joined_maybe = Vec::new();
    for day in days {
        let Some(standing) = links.get(&place_key(place, day)).await? else { continue };
        joined_maybe.extend(meetings_in(standing.link.facts).into_iter().filter_map(|(identity, (start, end))| {
            let (start, end) = (Timestamp::from_second(start).ok()?, Timestamp::from_second(end).ok()?);
            Some(MeetingAt { identity, start, end }).filter(|meeting| meeting.may_be_joined(joined))
        }));
    }
    Ok(joined_maybe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::MemoryLinks;
    use serde_json::json;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn meeting(identity: &str, start: &str, end: &str) -> MeetingAt {
        MeetingAt { identity: identity.to_owned(), start: at(start), end: at(end) }
    }

    async fn joined(links: &MemoryLinks, link: &str, time: &str) -> Vec<String> {
        let place = place_of(link).expect("a place");
        let found = meetings_joined(links, &place, at(time)).await.expect("an answer");
        found.into_iter().map(|meeting| meeting.identity).collect()
    }

    #[test]
    fn start_of_an_occurrence_is_read_from_an_id_that_names_it_and_from_no_other() {
        assert_eq!(original_start_of("m1", "m1_20261029T090000Z"), Some(at("2026-10-29T09:00:00Z")));
        assert_eq!(original_start_of("m1", "m1_20261029"), Some(at("2026-10-29T00:00:00Z")));
        for other in ["m1", "m1_", "m1_soon", "m2_20261029", "m1_2026", "m1-20261029", "m1_20261029T09Z"] {
            assert_eq!(original_start_of("m1", other), None, "{other}");
        }
    }

    #[test]
    fn place_is_one_whatever_is_added_to_its_link() {
        let place = place_of("https://meet.example/abc").expect("a place");
        for same in [
            "https://MEET.example/abc/",
            " http://www.meet.example/abc?authuser=1#x ",
            "https://meet.example/abc?pwd=1",
        ] {
            assert_eq!(place_of(same).as_deref(), Some(place.as_str()), "{same}");
        }
        assert_ne!(place_of("https://meet.example/abd"), Some(place));
        assert_ne!(place_of("https://w.example/j.php?MTID=m1"), place_of("https://w.example/j.php?MTID=m2"));
        for nothing in ["", "Room 1", "mailto:a@b.example", "javascript:alert(1)"] {
            assert_eq!(place_of(nothing), None, "{nothing}");
        }
    }

    #[tokio::test]
    async fn meeting_is_found_by_its_place_and_the_time_of_joining() {
        let (links, link) = (MemoryLinks::default(), "https://meet.example/room");
        for meeting in [
            meeting("morning", "2026-03-02T09:00:00Z", "2026-03-02T10:00:00Z"),
            meeting("noon", "2026-03-02T10:00:00Z", "2026-03-02T11:00:00Z"),
            meeting("night", "2026-03-02T23:30:00Z", "2026-03-03T01:00:00Z"),
        ] {
            for _ in 0..2 {
                remember_place(&links, link, &meeting, at("2026-03-01T00:00:00Z")).await.expect("remembered");
            }
        }
        assert_eq!(joined(&links, link, "2026-03-02T09:01:00Z").await, ["morning"]);
        let both = ["morning", "noon"];
        assert_eq!(joined(&links, link, "2026-03-02T09:58:00Z").await, both, "one lasts, and one is joined early");
        assert_eq!(joined(&links, link, "2026-03-02T09:35:00Z").await, ["morning"]);
        assert_eq!(joined(&links, link, "2026-03-02T10:00:00Z").await, ["noon"]);
        assert_eq!(joined(&links, link, "2026-03-03T00:30:00Z").await, ["night"]);
        assert_eq!(joined(&links, link, "2026-03-02T12:00:00Z").await, [""; 0]);
        assert_eq!(joined(&links, "https://meet.example/other", "2026-03-02T09:01:00Z").await, [""; 0]);
    }

    #[tokio::test]
    async fn meeting_that_was_moved_within_its_day_is_known_at_its_new_time_alone() {
        let (links, link) = (MemoryLinks::default(), "https://meet.example/room");
        for start in [9, 15] {
            let moved =
                meeting("m", &format!("2026-03-02T{start:02}:00:00Z"), &format!("2026-03-02T{start:02}:30:00Z"));
            remember_place(&links, link, &moved, at("2026-03-01T00:00:00Z")).await.expect("remembered");
        }
        assert_eq!(joined(&links, link, "2026-03-02T09:01:00Z").await, [""; 0]);
        assert_eq!(joined(&links, link, "2026-03-02T15:01:00Z").await, ["m"]);
    }

    #[test]
    fn occurrence_by_rule_is_held_as_its_series() {
        let copy = json!({"grant": "g", "event": "AAM_kx=_20261029T090000Z", "by_rule": true, "state": "live"});
        let copy: KeptCopy = serde_json::from_value(copy).expect("a copy");
        assert_eq!(copy.held_as(), "AAM_kx=");
    }

    #[tokio::test]
    async fn meeting_that_the_crm_does_not_have_has_no_key_there() {
        let links = MemoryLinks::default();
        let copy = json!({"grant": "g", "event": "e", "calendars": ["primary"], "state": "live"});
        for (identity, became) in [("in", json!("met_1")), ("out", json!(null))] {
            let facts = json!({"copies": {"known": [copy], "external_id": "e"}, "became": became});
            let Value::Object(facts) = facts else { panic!("an object") };
            let link = Link {
                key: meeting_key(identity),
                state: LinkState::Live { became: "e".to_owned() },
                version: Version::default(),
                content: None,
                facts,
            };
            links.put(&link, None, Timestamp::UNIX_EPOCH).await.expect("stored");
        }
        let read = async |identity: &str| kept_meeting(&links, identity).await.expect("an answer");
        let kept = read("in").await.expect("a meeting");
        assert_eq!(kept.external_event_id.as_deref(), Some("e"));
        assert_eq!(kept.copies[0].calendars, BTreeSet::from(["primary".to_owned()]));
        assert_eq!((kept.copies[0].held_as(), kept.private), ("e", false));
        assert_eq!(read("out").await.expect("a meeting").external_event_id, None);
        assert_eq!(read("nowhere").await, None);
    }
}

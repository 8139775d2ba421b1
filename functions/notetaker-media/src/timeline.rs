//! What happened to a notetaker and when, whatever order the news of it comes in; and what people are told of it.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use shared::alerts::escaped;
use shared::nylas::event::{Event, When};
use shared::nylas::notetaker::{Notetaker, NotetakerState};

/// How long a notetaker may stand before the door until people are told.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

/// How much too early a timer may come and still be right: schedules and clocks know seconds.
const TOO_EARLY: SignedDuration = SignedDuration::from_secs(15);

/// The most moments that are kept.
const MOST_MOMENTS: usize = 60;

/// What Nylas calls standing before the door.
const WAITING: &str = "waiting_for_entry";

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// When it was told.
    pub at: Timestamp,
    /// Its place among what is told of the same second: nothing follows a later stage.
    rank: u8,
    /// The state, as one word.
    pub state: String,
    /// More about it, in Nylas's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// All of it, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timeline(Vec<Moment>);

impl Timeline {
    /// Takes in what a notification tells, once.
    pub fn take_in(&mut self, state: &NotetakerState, why: Option<&str>, at: Timestamp) {
        let why = why.map(|why| why.chars().take(80).collect());
        let moment = Moment { at, rank: rank(state), state: state.as_str().chars().take(80).collect(), why };
        if self.0.contains(&moment) {
            return;
        }
        self.0.push(moment);
        self.0.sort();
        if self.0.len() > MOST_MOMENTS {
            self.0.remove(0);
        }
    }

    /// True if it was told that it came to this state.
    #[must_use]
    pub fn tells_of(&self, state: &NotetakerState) -> bool {
        self.0.iter().any(|moment| moment.state == state.as_str())
    }

    /// When it was first on its way into the meeting.
    #[must_use]
    pub fn begun_at(&self) -> Option<Timestamp> {
        let is_begun = |moment: &&Moment| matches!(moment.state.as_str(), "connecting" | WAITING | "attending");
        self.0.iter().find(is_begun).map(|moment| moment.at)
    }

    /// Since when it has been standing before the door; none if it is not the last that is known of it.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Timestamp> {
        let mut since = None;
        for moment in self.0.iter().rev() {
            if moment.state != WAITING {
                break;
            }
            since = Some(moment.at);
        }
        since
    }

    /// True if it has been standing before the door for longer than anybody should wait.
    #[must_use]
    pub fn has_waited_too_long(&self, now: Timestamp) -> bool {
        self.waiting_since().is_some_and(|since| now.duration_since(since) >= PATIENCE - TOO_EARLY)
    }
}

fn rank(state: &NotetakerState) -> u8 {
    match state {
        NotetakerState::Scheduled => 0,
        NotetakerState::Connecting => 1,
        NotetakerState::WaitingForEntry => 2,
        NotetakerState::Attending => 3,
        NotetakerState::Disconnected => 4,
        NotetakerState::FailedEntry => 5,
        NotetakerState::MediaProcessing => 6,
        NotetakerState::MediaAvailable | NotetakerState::MediaError => 7,
        NotetakerState::MediaDeleted => 8,
        NotetakerState::Other(_) => 9,
    }
}

/// What a notification says happened: standing before the door is told as a connection that waits.
#[must_use]
pub fn told_state(notetaker: &Notetaker) -> Option<NotetakerState> {
    if notetaker.meeting_state.as_deref().map(NotetakerState::parse) == Some(NotetakerState::WaitingForEntry) {
        return Some(NotetakerState::WaitingForEntry);
    }
    notetaker.state()
}

/// Which meeting people are told of: its title and time, as far as they are known.
#[must_use]
pub fn meeting_in_words(event: Option<&Event>, joined: Option<Timestamp>) -> String {
    let title = event.filter(|event| !event.is_private()).and_then(|event| event.title.as_deref());
    let title = title.map(str::trim).filter(|title| !title.is_empty());
    let title = title.map_or_else(|| "a meeting".to_owned(), |title| format!("“{}”", escaped(title)));
    let when = event.and_then(|event| event.when.as_ref());
    let (start, zone) = match when {
        Some(When::Span { start, time_zone, .. }) => (Some(*start), time_zone.as_deref()),
        Some(When::Point(at)) => (Some(*at), None),
        _ => (joined, None),
    };
    let Some(start) = start else { return title };
    let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
    let start = start.to_zoned(zone);
    format!("{title} on {}", start.strftime("%A, %-d %B %Y at %H:%M %Z"))
}

/// What people are told of a notetaker that nobody lets in.
#[must_use]
pub fn lobby_alert(meeting: &str) -> String {
    format!(
        "The notetaker has been waiting for more than five minutes to be let into {meeting}. Somebody who is in the meeting \
         has to admit it; until then nothing is recorded."
    )
}

/// What people are told of a notetaker that could not get in.
#[must_use]
pub fn failed_entry_alert(meeting: &str, reason: Option<&str>) -> String {
    let (why, what_to_do) = match reason.unwrap_or_default() {
        "admission_timeout" | "no_response" => (
            "nobody let it in",
            "If the meeting still runs, invite a notetaker again and admit it; for next time let it in past the lobby",
        ),
        "entry_denied" => {
            ("somebody turned it away", "Ask the host whether the meeting may be recorded, then invite it again")
        }
        "bad_meeting_code" | "bad_meeting_link" => {
            ("the meeting's link leads nowhere", "Correct the link in the calendar event, then invite it again")
        }
        "sign_in_required" => {
            ("the meeting lets in only those who are signed in", "Have the host allow guests, then invite it again")
        }
        "meeting_capacity_reached" => {
            ("the meeting is full", "Have somebody leave, or the host allow more, then invite it again")
        }
        "cannot_join" => ("the meeting does not let it join", "Have the host allow guests, then invite it again"),
        "error" | "internal_error" => ("it broke down", "Invite it again; if that fails too, ask Nylas"),
        _ => ("it could not get in", "See the meeting's settings for guests, then invite it again"),
    };
    let named = reason.map(|reason| format!(" ({})", escaped(reason))).unwrap_or_default();
    format!("The notetaker is not in {meeting}: {why}{named}. Nothing is recorded. {what_to_do}.")
}

/// What people are told of a notetaker whose files could not be made.
#[must_use]
pub fn media_error_alert(meeting: &str, notetaker: &str) -> String {
    format!(
        "What the notetaker recorded of {meeting} could not be processed: no more notes of it will reach the CRM than are \
         there. Write down what matters by hand, and ask Nylas about the notetaker {}.",
        escaped(notetaker)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn timeline(moments: &[(&str, i64)]) -> Timeline {
        let mut timeline = Timeline::default();
        for (state, second) in moments {
            timeline.take_in(&NotetakerState::parse(state), None, at(*second));
        }
        timeline
    }

    #[test]
    fn timeline_is_one_whatever_order_the_news_comes_in_and_how_often() {
        let moments = [("connecting", 100), ("waiting_for_entry", 101), ("attending", 101), ("disconnected", 900)];
        let whole = timeline(&moments);
        let mut backwards = moments;
        backwards.reverse();
        assert_eq!(timeline(&backwards), whole);
        assert_eq!(timeline(&[moments, backwards].concat()), whole);
        assert_eq!(whole.begun_at(), Some(at(100)));
    }

    #[test]
    fn notetaker_waits_too_long_only_while_waiting_is_the_last_of_it() {
        let waiting = timeline(&[("connecting", 100), ("waiting_for_entry", 110), ("waiting_for_entry", 200)]);
        assert_eq!(waiting.waiting_since(), Some(at(110)));
        assert!(!waiting.has_waited_too_long(at(110 + 240)));
        assert!(waiting.has_waited_too_long(at(110 + 300)));
        for later in ["attending", "failed_entry", "disconnected"] {
            let over = timeline(&[("waiting_for_entry", 110), (later, 400)]);
            assert!(!over.has_waited_too_long(at(9000)), "{later}");
        }
        let again = timeline(&[("waiting_for_entry", 110), ("disconnected", 200), ("waiting_for_entry", 8900)]);
        assert!(!again.has_waited_too_long(at(9000)), "it waits anew");
    }

    #[test]
    fn timeline_stays_small() {
        let mut long = Timeline::default();
        for second in 0..1000 {
            long.take_in(&NotetakerState::Other("word".repeat(100)), Some(&"why".repeat(100)), at(second));
        }
        assert_eq!(long.0.len(), MOST_MOMENTS);
        assert!(long.0.iter().all(|moment| moment.state.chars().count() <= 80));
    }

    #[test]
    fn meeting_is_told_with_title_and_time_where_its_calendar_has_it() {
        let event = |fields: serde_json::Value| -> Event { serde_json::from_value(fields).expect("an event") };
        let span =
            json!({"start_time": 1_772_359_200, "end_time": 1_772_361_000, "start_timezone": "America/New_York"});
        let pilot = event(json!({"id": "e", "title": "Pilot <!channel> & plans https://evil.example", "when": span}));
        assert_eq!(
            meeting_in_words(Some(&pilot), None),
            "“Pilot &lt;!channel&gt; &amp; plans https:\u{200b}//evil.example” on Sunday, 1 March 2026 at 05:00 EST"
        );
        let unnamed = event(json!({"id": "e", "when": {"time": 1_772_359_200}}));
        assert_eq!(meeting_in_words(Some(&unnamed), None), "a meeting on Sunday, 1 March 2026 at 10:00 UTC");
        let private = event(json!({"id": "e", "title": "Secret", "visibility": "private", "when": span}));
        assert!(!meeting_in_words(Some(&private), None).contains("Secret"));
        assert_eq!(meeting_in_words(None, Some(at(1_772_359_200))), "a meeting on Sunday, 1 March 2026 at 10:00 UTC");
        assert_eq!(meeting_in_words(None, None), "a meeting");
    }

    #[test]
    fn every_reason_of_nylas_comes_with_what_to_do() {
        for reason in [
            "bad_meeting_code",
            "bad_meeting_link",
            "sign_in_required",
            "entry_denied",
            "no_response",
            "cannot_join",
            "meeting_capacity_reached",
            "admission_timeout",
            "error",
            "internal_error",
            "something_new",
        ] {
            let text = failed_entry_alert("“Pilot”", Some(reason));
            assert!(text.contains(reason) && text.contains("“Pilot”") && text.matches(". ").count() >= 2, "{text}");
        }
        assert!(failed_entry_alert("a meeting", None).contains("it could not get in."));
    }
}

//! A notetaker as Nylas sends it, in `notetaker.*` notifications, from `GET …/notetakers` and in its history: a bot that
//! attends a meeting, and the files it leaves.
//!
//! Notifications name the calendar event and carry links as texts; answers name no event and carry links as objects.
//! Everything but the id may be missing or null.

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::time::timestamp;

/// One notetaker.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Notetaker {
    /// Nylas's id.
    pub id: String,
    /// The account it works for; none for a standalone one.
    #[serde(default)]
    pub grant_id: Option<String>,
    /// How it is called in the meeting.
    #[serde(default)]
    pub name: Option<String>,
    /// Where it joins.
    #[serde(default)]
    pub meeting_link: Option<String>,
    /// When it joins.
    #[serde(default, deserialize_with = "super::time::optional")]
    pub join_time: Option<Timestamp>,
    /// How far it has come: see [`Notetaker::state`].
    #[serde(default)]
    state: Option<String>,
    /// The same under another name; one of the two may be missing.
    #[serde(default)]
    status: Option<String>,
    /// What happened in the meeting, or why it is not in it: an open list of words.
    #[serde(default)]
    pub meeting_state: Option<String>,
    /// The event it was made for, in notifications of notetakers that follow a calendar.
    #[serde(default)]
    pub event: Option<EventReference>,
    /// The files, once there are any.
    #[serde(default)]
    pub media: Option<Media>,
    /// What it was told to record.
    #[serde(default)]
    pub meeting_settings: Option<Value>,
}

/// Which event a notetaker was made for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventReference {
    /// Nylas's id of the event in the notetaker's account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// The series it is an occurrence of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master_event_id: Option<String>,
    /// Its iCalendar UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ical_uid: Option<String>,
}

/// How far a notetaker has come. Nylas spells the states of media in two ways (`available`, `media_available`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotetakerState {
    /// It waits for its time.
    Scheduled,
    /// It is on its way into the meeting.
    Connecting,
    /// It stands before a door that nobody has opened yet.
    WaitingForEntry,
    /// It is in the meeting.
    Attending,
    /// It has left.
    Disconnected,
    /// It could not get in.
    FailedEntry,
    /// Its files are being made.
    MediaProcessing,
    /// Files are there.
    MediaAvailable,
    /// Files could not be made.
    MediaError,
    /// The files are gone.
    MediaDeleted,
    /// A word that is not known.
    Other(String),
}

impl NotetakerState {
    /// Reads Nylas's word for a state.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        let word = word.trim().to_ascii_lowercase();
        match word.strip_prefix("media_").unwrap_or(&word) {
            "scheduled" => Self::Scheduled,
            "connecting" | "dispatched" => Self::Connecting,
            "waiting_for_entry" => Self::WaitingForEntry,
            "attending" => Self::Attending,
            "disconnected" | "worker_finished" => Self::Disconnected,
            "failed_entry" => Self::FailedEntry,
            "processing" => Self::MediaProcessing,
            "available" => Self::MediaAvailable,
            "error" => Self::MediaError,
            "deleted" => Self::MediaDeleted,
            _ => Self::Other(word),
        }
    }

    /// The state as one word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Connecting => "connecting",
            Self::WaitingForEntry => "waiting_for_entry",
            Self::Attending => "attending",
            Self::Disconnected => "disconnected",
            Self::FailedEntry => "failed_entry",
            Self::MediaProcessing => "media_processing",
            Self::MediaAvailable => "media_available",
            Self::MediaError => "media_error",
            Self::MediaDeleted => "media_deleted",
            Self::Other(word) => word,
        }
    }
}

impl Notetaker {
    /// How far it has come; none if nothing says so.
    #[must_use]
    pub fn state(&self) -> Option<NotetakerState> {
        let word = [&self.state, &self.status].into_iter().flatten().find(|word| !word.trim().is_empty())?;
        Some(NotetakerState::parse(word))
    }

    /// How long its account has files kept, in seconds, where that was set.
    #[must_use]
    pub fn retention_seconds(&self) -> Option<i64> {
        self.meeting_settings.as_ref()?.get("retention_time")?.as_i64().filter(|seconds| *seconds > 0)
    }
}

/// The files of a notetaker, as far as they are there.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Media {
    /// What was said, in short.
    #[serde(default, deserialize_with = "file")]
    pub summary: Option<MediaFile>,
    /// What was promised.
    #[serde(default, deserialize_with = "file")]
    pub action_items: Option<MediaFile>,
    /// What was said, word by word.
    #[serde(default, deserialize_with = "file")]
    pub transcript: Option<MediaFile>,
    /// The video, or the sound alone.
    #[serde(default, deserialize_with = "file")]
    pub recording: Option<MediaFile>,
    /// Until when Nylas keeps them.
    #[serde(default, deserialize_with = "time_in_any_form")]
    pub retained_until: Option<Timestamp>,
    /// What was asked for and could not be made (Nylas changelog of 2026-10-26; its form is not documented).
    #[serde(default)]
    pub errors: Option<Value>,
}

impl Media {
    /// True if there is any file.
    #[must_use]
    pub fn holds_files(&self) -> bool {
        [&self.summary, &self.action_items, &self.transcript, &self.recording].into_iter().any(Option::is_some)
    }
}

/// One file. Its link opens it for an hour to anybody who has it, so it is kept as the secret it is.
#[derive(Debug, Clone)]
pub struct MediaFile {
    /// The signed link.
    pub url: SecretString,
    /// How long it is, in bytes, where that is told.
    pub size: Option<u64>,
}

/// A file, given as a link alone or as an object with one; none for everything else.
fn file<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MediaFile>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let (url, size) = match &value {
        Value::String(url) => (Some(url.as_str()), None),
        Value::Object(object) => (
            object.get("url").and_then(Value::as_str),
            object.get("size").and_then(Value::as_u64).filter(|size| *size > 0),
        ),
        _ => (None, None),
    };
    let url = url.map(str::trim).filter(|url| !url.is_empty());
    Ok(url.map(|url| MediaFile { url: SecretString::from(url.to_owned()), size }))
}

/// A time as a number, a number in a text, or RFC 3339.
fn time_in_any_form<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = value.as_str().unwrap_or_default().trim();
    Ok(timestamp(&value)
        .or_else(|| text.parse().ok())
        .or_else(|| text.parse::<i64>().ok().and_then(|number| timestamp(&number.into()))))
}

/// What Nylas says when it is asked for the files of a notetaker.
#[derive(Debug, Clone)]
pub enum MediaAnswer {
    /// These are there, with links that were made for this answer.
    There(Box<Media>),
    /// There are none yet (404).
    NotYet,
    /// There were some, and they are deleted (410).
    Gone,
}

/// A notetaker as it was at some time, from its history.
#[derive(Debug, Clone, Deserialize)]
pub struct HistoryEntry {
    /// What had happened, for example `notetaker.meeting_state`.
    #[serde(default)]
    pub event_type: Option<String>,
    /// How it was, as in the notification of it.
    pub data: Notetaker,
}

/// Which notetakers are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotetakerFilter {
    /// Joining at this time or later, in Unix seconds.
    pub join_time_start: i64,
    /// Joining before this, in Unix seconds.
    pub join_time_end: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use serde_json::json;

    fn notetaker(value: Value) -> Notetaker {
        serde_json::from_value(value).expect("a notetaker")
    }

    #[test]
    fn state_is_read_in_both_spellings_and_from_either_field() {
        for (word, state) in [
            ("available", NotetakerState::MediaAvailable),
            ("media_available", NotetakerState::MediaAvailable),
            ("media_processing", NotetakerState::MediaProcessing),
            ("processing", NotetakerState::MediaProcessing),
            ("error", NotetakerState::MediaError),
            ("media_deleted", NotetakerState::MediaDeleted),
            ("Failed_Entry", NotetakerState::FailedEntry),
            ("singing", NotetakerState::Other("singing".to_owned())),
        ] {
            for field in ["state", "status"] {
                assert_eq!(notetaker(json!({"id": "n", field: word})).state(), Some(state.clone()), "{field} {word}");
            }
        }
        assert_eq!(notetaker(json!({"id": "n", "state": "", "status": null})).state(), None);
    }

    #[test]
    fn links_are_read_as_texts_and_as_objects_and_everything_else_is_no_file() {
        let media = |value: Value| notetaker(json!({"id": "n", "media": value})).media.expect("media");
        let text = media(json!({"summary": "https://s.example/a", "recording": null, "recording_duration": "1800"}));
        assert_eq!(text.summary.expect("a file").url.expose_secret(), "https://s.example/a");
        assert!(text.recording.is_none() && text.transcript.is_none());
        let object = media(json!({"recording": {"url": "https://s.example/r", "size": 52, "type": "video/mp4"}}));
        assert_eq!(object.recording.expect("a file").size, Some(52));
        for odd in [json!(""), json!(7), json!([]), json!({}), json!({"url": null})] {
            assert!(media(json!({"summary": odd})).summary.is_none(), "{odd}");
        }
    }

    #[test]
    fn links_are_never_shown() {
        let media = notetaker(json!({"id": "n", "media": {"summary": "https://s.example/secret"}})).media;
        assert!(!format!("{media:?}").contains("s.example"));
    }

    #[test]
    fn times_are_taken_in_seconds_milliseconds_and_words() {
        let seconds = 1_737_500_936;
        for join_time in [json!(seconds), json!(seconds * 1000)] {
            let read = notetaker(json!({"id": "n", "join_time": join_time})).join_time;
            assert_eq!(read.map(Timestamp::as_second), Some(seconds));
        }
        for until in [json!(seconds), json!("1737500936"), json!("2025-01-21T23:08:56Z")] {
            let media = notetaker(json!({"id": "n", "media": {"retained_until": until}})).media.expect("media");
            assert_eq!(media.retained_until.map(Timestamp::as_second), Some(seconds));
        }
    }

    #[test]
    fn notetaker_of_an_id_alone_is_read_and_nulls_are_absent() {
        let bare = notetaker(json!({"id": "n"}));
        assert!(bare.event.is_none() && bare.media.is_none() && bare.retention_seconds().is_none());
        let nulls = notetaker(json!({"id": "n", "event": null, "media": null, "join_time": null, "grant_id": null}));
        assert!(nulls.event.is_none() && nulls.grant_id.is_none());
        let set = notetaker(json!({"id": "n", "meeting_settings": {"retention_time": 86_400}}));
        assert_eq!(set.retention_seconds(), Some(86_400));
    }
}

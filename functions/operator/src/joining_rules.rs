//! By which rules notetakers join the meetings of a calendar by themselves: read from an event, written as Nylas keeps
//! them, compared with what it keeps, and told in sentences.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use shared::domain::notification::GrantId;
use std::collections::BTreeSet;

use crate::command::{BadCommand, fields_of, filled, one_grant};

/// The calendar that is meant where none is named. iCloud has none of this name.
pub const PRIMARY: &str = "primary";

/// The longest instructions, in characters (Nylas API reference, `custom_instructions`).
const LONGEST_INSTRUCTIONS: usize = 1_500;

/// How long a notetaker may hear nothing before it leaves, in seconds: Nylas takes nothing shorter and nothing longer.
const SILENCE: std::ops::RangeInclusive<i64> = 10..=3_600;

/// What Nylas keeps beside what it was told only if something else is set: what it adds by itself is not among it.
const NOTHING_UNLESS_ASKED: [&[&str]; 4] = [
    &["rules", "participant_filter", "participants_gte"],
    &["rules", "participant_filter", "participants_lte"],
    &["meeting_settings", "summary_settings", "custom_instructions"],
    &["meeting_settings", "action_items_settings", "custom_instructions"],
];

/// The rules of one calendar, to be shown or set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoJoin {
    /// The account.
    pub grant: GrantId,
    /// The calendar.
    pub calendar: String,
    /// What is to be done.
    pub order: Order,
}

/// What is to be done with the rules of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Show them.
    Show,
    /// Put these in their place.
    Set(JoiningRules),
    /// Remove them: no notetaker joins by itself.
    Remove,
}

/// Which meetings notetakers join by themselves, and what they do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoiningRules {
    /// How they are called; none for Nylas's own name.
    pub name: Option<String>,
    /// Which events, each once.
    pub events: Vec<EventSelection>,
    /// With this number of participants or more.
    pub participants_at_least: Option<i64>,
    /// With this number of participants or fewer.
    pub participants_at_most: Option<i64>,
    /// After how many seconds of silence they leave; none for Nylas's own number.
    pub leave_after_silence_seconds: Option<i64>,
    /// How the summary is to be written.
    pub summary_instructions: Option<String>,
    /// How the action items are to be written.
    pub action_items_instructions: Option<String>,
    /// Whether they record the picture. Without it there is neither a summary nor action items.
    pub video: bool,
}

/// Which of a calendar's events, as Nylas tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventSelection {
    /// Every one with a link to join.
    All,
    /// Those whose host has another domain than somebody who takes part.
    External,
    /// Those whose host has the domain of all who take part.
    Internal,
    /// Those that the account hosts.
    OwnEvents,
    /// Those in which the account takes part without hosting them.
    ParticipantOnly,
}

/// What is wrong with rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRules {
    /// They are set and removed at once.
    #[error("`set` switches joining on, and `off` switches it off; leave one of them out")]
    OnAndOff,
    /// They cannot be read.
    #[error("`set` cannot be read: {0}")]
    Unreadable(String),
    /// They select no events.
    #[error(
        "`set.events` is missing or empty: name `all`, or one or several of `external`, `internal`, `own_events` and \
         `participant_only`"
    )]
    NoEvents,
    /// They select all events and some.
    #[error("`set.events` holds `all` and others: `all` stands alone")]
    AllAndOthers,
    /// A number of participants cannot be.
    #[error("`set.{field}` is {number}: it must be 1 or more")]
    Participants {
        /// Which field.
        field: &'static str,
        /// What it holds.
        number: i64,
    },
    /// No number of participants would be right.
    #[error(
        "`set.participants_at_least` is {least} and `set.participants_at_most` {most}: no meeting has both; the first \
         must not be the greater one"
    )]
    NoParticipants {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// The time of silence cannot be.
    #[error(
        "`set.leave_after_silence_seconds` is {0}: it must be from {shortest} to {longest}", shortest = SILENCE.start(),
        longest = SILENCE.end()
    )]
    Silence(i64),
    /// Instructions are too long.
    #[error("`set.{field}` has {characters} characters: Nylas takes {LONGEST_INSTRUCTIONS} at most")]
    Instructions {
        /// Which field.
        field: &'static str,
        /// How many it has.
        characters: usize,
    },
    /// Instructions are given for what will not be made.
    #[error(
        "`set.{0}` is for nothing: with `video` false Nylas makes no summary and no action items; leave one of the two out"
    )]
    NothingToInstruct(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    grant_id: Option<String>,
    calendar_id: Option<String>,
    set: Option<Value>,
    off: Option<bool>,
}

/// One kind of events, or a list of them.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EventSelection>, D::Error> {
    let given = match Value::deserialize(deserializer)? {
        Value::Null => Value::Array(Vec::new()),
        one @ Value::String(_) => Value::Array(vec![one]),
        other => other,
    };
    serde_json::from_value(given).map_err(D::Error::custom)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFields {
    name: Option<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    events: Vec<EventSelection>,
    participants_at_least: Option<i64>,
    participants_at_most: Option<i64>,
    leave_after_silence_seconds: Option<i64>,
    summary_instructions: Option<String>,
    action_items_instructions: Option<String>,
    video: Option<bool>,
}

impl AutoJoin {
    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let fields: Fields = fields_of(fields)?;
        let grant = one_grant(fields.grant_id, "joining is set for a calendar of one account")?;
        let calendar = filled("calendar_id", fields.calendar_id)?.unwrap_or_else(|| PRIMARY.to_owned());
        let order = match (fields.set, fields.off.unwrap_or_default()) {
            (None, false) => Order::Show,
            (None, true) => Order::Remove,
            (Some(set), false) => Order::Set(JoiningRules::read(set)?),
            (Some(_), true) => return Err(BadRules::OnAndOff.into()),
        };
        Ok(Self { grant, calendar, order })
    }

    /// The event that shows what is set.
    #[must_use]
    pub fn shown_by(&self) -> Value {
        json!({ "command": "auto_join", "grant_id": self.grant.as_str(), "calendar_id": self.calendar })
    }
}

impl JoiningRules {
    fn read(set: Value) -> Result<Self, BadCommand> {
        let fields: RulesFields =
            serde_json::from_value(set).map_err(|error| BadRules::Unreadable(error.to_string()))?;
        let events: BTreeSet<EventSelection> = fields.events.into_iter().collect();
        if events.is_empty() {
            return Err(BadRules::NoEvents.into());
        }
        if events.contains(&EventSelection::All) && events.len() > 1 {
            return Err(BadRules::AllAndOthers.into());
        }
        let (least, most) = (fields.participants_at_least, fields.participants_at_most);
        for (field, number) in [("participants_at_least", least), ("participants_at_most", most)] {
            if let Some(number) = number.filter(|number| *number < 1) {
                return Err(BadRules::Participants { field, number }.into());
            }
        }
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            return Err(BadRules::NoParticipants { least, most }.into());
        }
        if let Some(seconds) = fields.leave_after_silence_seconds.filter(|seconds| !SILENCE.contains(seconds)) {
            return Err(BadRules::Silence(seconds).into());
        }
        let video = fields.video.unwrap_or(true);
        let instructions = |field: &'static str, shown: &'static str, given: Option<String>| {
            let given = filled(shown, given)?;
            let characters = given.as_ref().map_or(0, |text| text.chars().count());
            if characters > LONGEST_INSTRUCTIONS {
                return Err(BadRules::Instructions { field, characters }.into());
            }
            if given.is_some() && !video {
                return Err(BadRules::NothingToInstruct(field).into());
            }
            Ok::<_, BadCommand>(given)
        };
        Ok(Self {
            name: filled("set.name", fields.name)?,
            events: events.into_iter().collect(),
            participants_at_least: least,
            participants_at_most: most,
            leave_after_silence_seconds: fields.leave_after_silence_seconds,
            summary_instructions: instructions(
                "summary_instructions",
                "set.summary_instructions",
                fields.summary_instructions,
            )?,
            action_items_instructions: instructions(
                "action_items_instructions",
                "set.action_items_instructions",
                fields.action_items_instructions,
            )?,
            video,
        })
    }

    /// The rules as Nylas keeps them with the calendar, whole: what is left out of it is removed there. Summary and
    /// action items need sound, picture and transcript (Nylas, "Using Nylas Notetaker").
    #[must_use]
    pub fn to_notetaker(&self) -> Value {
        let mut settings = json!({
            "video_recording": self.video, "audio_recording": true, "transcription": true, "summary": self.video,
            "action_items": self.video,
        });
        if let Some(seconds) = self.leave_after_silence_seconds {
            settings["leave_after_silence_seconds"] = seconds.into();
        }
        for (field, instructions) in [
            ("summary_settings", &self.summary_instructions),
            ("action_items_settings", &self.action_items_instructions),
        ] {
            if let Some(instructions) = instructions {
                settings[field] = json!({ "custom_instructions": instructions });
            }
        }
        let mut rules = json!({ "event_selection": self.events });
        let bounds =
            [("participants_gte", self.participants_at_least), ("participants_lte", self.participants_at_most)];
        for (field, number) in bounds {
            if let Some(number) = number {
                rules["participant_filter"][field] = number.into();
            }
        }
        let mut notetaker = json!({ "meeting_settings": settings, "rules": rules });
        if let Some(name) = &self.name {
            notetaker["name"] = name.as_str().into();
        }
        notetaker
    }
}

/// True if Nylas keeps no rules.
#[must_use]
pub fn keeps_none(held: Option<&Value>) -> bool {
    held.is_none_or(|held| held.is_null() || held.as_object().is_some_and(Map::is_empty))
}

/// Where what Nylas keeps is not what it was told, by the path of each field. What it adds by itself does not count,
/// unless it narrows or instructs.
#[must_use]
pub fn differences(told: &Value, held: &Value) -> Vec<String> {
    let mut different = Vec::new();
    differ(told, held, "", &mut different);
    for path in NOTHING_UNLESS_ASKED {
        let at = |value: &Value| path.iter().try_fold(value.clone(), |value, name| value.get(*name).cloned());
        let is_empty = |value: &Value| value.is_null() || value == "";
        if at(told).is_none() && at(held).is_some_and(|value| !is_empty(&value)) {
            different.push(path.join("."));
        }
    }
    different
}

fn differ(told: &Value, held: &Value, path: &str, different: &mut Vec<String>) {
    let is_same = match (told, held) {
        (Value::Object(fields), _) => {
            for (name, told) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differ(told, held.get(name).unwrap_or(&Value::Null), &path, different);
            }
            true
        }
        // In any order.
        (Value::Array(told), Value::Array(held)) => {
            told.iter().all(|one| held.contains(one)) && held.iter().all(|one| told.contains(one))
        }
        _ => told == held,
    };
    if !is_same {
        different.push(path.to_owned());
    }
}

/// What Nylas keeps, in a sentence or a few.
#[must_use]
pub fn told(held: Option<&Value>) -> String {
    let Some(held) = held.filter(|held| !keeps_none(Some(held))) else {
        return "No notetaker joins its meetings by itself.".to_owned();
    };
    let (rules, settings) = (&held["rules"], &held["meeting_settings"]);
    let words = |value: &Value| match value {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Value::String(word) => word.clone(),
        _ => String::new(),
    };
    let events = match words(&rules["event_selection"]) {
        events if events.is_empty() => "that Nylas selects".to_owned(),
        events if events == "all" => "of every kind".to_owned(),
        events => format!("of the kind {events}"),
    };
    let bound = |field: &str, words: &str| {
        rules["participant_filter"][field].as_i64().map(|number| format!("{words} {number}"))
    };
    let bounds: Vec<String> =
        [bound("participants_gte", "at least"), bound("participants_lte", "at most")].into_iter().flatten().collect();
    let participants =
        if bounds.is_empty() { String::new() } else { format!(", with {} participants", bounds.join(" and ")) };
    let made: Vec<&str> = [
        ("video_recording", "video"),
        ("audio_recording", "sound"),
        ("transcription", "transcript"),
        ("summary", "summary"),
        ("action_items", "action items"),
    ]
    .into_iter()
    .filter_map(|(field, words)| (settings[field] == true).then_some(words))
    .collect();
    let mut sentences = vec![format!("A notetaker joins by itself: events {events}{participants}.")];
    if !made.is_empty() {
        sentences.push(format!("It makes: {}.", made.join(", ")));
    }
    if let Some(seconds) = settings["leave_after_silence_seconds"].as_i64() {
        sentences.push(format!("It leaves after {seconds} seconds of silence."));
    }
    sentences.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event: &Value) -> Result<AutoJoin, String> {
        AutoJoin::read(event.as_object().expect("an object").clone()).map_err(|problem| problem.to_string())
    }

    fn rules(set: &Value) -> Result<JoiningRules, String> {
        match read(&json!({ "grant_id": "g", "set": set }))?.order {
            Order::Set(rules) => Ok(rules),
            other => panic!("{other:?} sets nothing"),
        }
    }

    #[test]
    fn rules_of_the_primary_calendar_are_shown_unless_it_is_told_otherwise() {
        let shown = read(&json!({ "grant_id": " g " })).expect("a request");
        assert_eq!((shown.grant.as_str(), shown.calendar.as_str(), &shown.order), ("g", "primary", &Order::Show));
        assert_eq!(read(&json!({ "grant_id": "g", "calendar_id": null, "set": null, "off": null })), Ok(shown.clone()));
        assert_eq!(read(&json!({ "grant_id": "g", "off": false })), Ok(shown.clone()));
        let off = read(&json!({ "grant_id": "g", "calendar_id": "c", "off": true })).expect("a request");
        assert_eq!((off.calendar.as_str(), off.order.clone()), ("c", Order::Remove));
        assert_eq!(off.shown_by(), json!({ "command": "auto_join", "grant_id": "g", "calendar_id": "c" }));
    }

    #[test]
    fn rules_are_written_whole_as_nylas_keeps_them() {
        let few = rules(&json!({ "events": ["external"] })).expect("rules");
        assert_eq!(rules(&json!({ "events": "external" })).expect("rules").to_notetaker(), few.to_notetaker());
        assert_eq!(
            few.to_notetaker(),
            json!({
                "meeting_settings": {
                    "video_recording": true, "audio_recording": true, "transcription": true, "summary": true,
                    "action_items": true,
                },
                "rules": { "event_selection": ["external"] },
            })
        );
        let all = rules(&json!({
            "name": "Notes", "events": ["own_events", "external", "external"], "participants_at_least": 2,
            "participants_at_most": 10, "leave_after_silence_seconds": 300, "summary_instructions": "In German.",
            "action_items_instructions": "With names.",
        }));
        assert_eq!(
            all.expect("rules").to_notetaker(),
            json!({
                "name": "Notes",
                "meeting_settings": {
                    "video_recording": true, "audio_recording": true, "transcription": true, "summary": true,
                    "action_items": true, "leave_after_silence_seconds": 300,
                    "summary_settings": { "custom_instructions": "In German." },
                    "action_items_settings": { "custom_instructions": "With names." },
                },
                "rules": {
                    "event_selection": ["external", "own_events"],
                    "participant_filter": { "participants_gte": 2, "participants_lte": 10 },
                },
            })
        );
    }

    #[test]
    fn without_video_there_is_neither_a_summary_nor_action_items() {
        let silent = rules(&json!({ "events": ["all"], "video": false })).expect("rules").to_notetaker();
        let settings = &silent["meeting_settings"];
        for (field, value) in [
            ("video_recording", false),
            ("summary", false),
            ("action_items", false),
            ("audio_recording", true),
            ("transcription", true),
        ] {
            assert_eq!(settings[field], value, "{field}");
        }
    }

    #[test]
    fn wrong_rules_are_told_what_is_wrong() {
        let with = |field: &str, value: Value| {
            let mut set = json!({ "events": ["external"] });
            set[field] = value;
            json!({ "grant_id": "g", "set": set })
        };
        for (event, words) in [
            (json!({}), "`grant_id` is missing: joining is set for a calendar of one account"),
            (json!({ "grant_id": "g", "calendar_id": " " }), "`calendar_id` is empty"),
            (json!({ "grant_id": "g", "calendar": "c" }), "unknown field `calendar`"),
            (json!({ "grant_id": "g", "off": "yes" }), "expected a boolean"),
            (json!({ "grant_id": "g", "off": true, "set": { "events": ["all"] } }), "leave one of them out"),
            (json!({ "grant_id": "g", "set": {} }), "`set.events` is missing or empty"),
            (json!({ "grant_id": "g", "set": { "events": [] } }), "`set.events` is missing or empty"),
            (json!({ "grant_id": "g", "set": { "events": ["all", "internal"] } }), "`all` stands alone"),
            (json!({ "grant_id": "g", "set": { "events": ["some"] } }), "`set` cannot be read: unknown variant `some`"),
            (json!({ "grant_id": "g", "set": true }), "`set` cannot be read"),
            (with("video_recording", json!(true)), "unknown field `video_recording`"),
            (with("participants_at_least", json!(0)), "`set.participants_at_least` is 0: it must be 1 or more"),
            (with("participants_at_most", json!(-3)), "`set.participants_at_most` is -3"),
            (with("leave_after_silence_seconds", json!(9)), "is 9: it must be from 10 to 3600"),
            (with("leave_after_silence_seconds", json!(3601)), "is 3601: it must be from 10 to 3600"),
            (with("name", json!(" ")), "`set.name` is empty"),
            (with("summary_instructions", json!("")), "`set.summary_instructions` is empty"),
        ] {
            let problem = read(&event).expect_err("refused");
            assert!(problem.contains(words), "{event}: {problem}");
        }
        let bounds = json!({ "events": ["all"], "participants_at_least": 5, "participants_at_most": 4 });
        assert!(rules(&bounds).expect_err("refused").contains("no meeting has both"));
        assert!(rules(&json!({ "events": ["all"], "participants_at_least": 4, "participants_at_most": 4 })).is_ok());
        let for_nothing = json!({ "events": ["all"], "video": false, "action_items_instructions": "Short." });
        assert!(rules(&for_nothing).expect_err("refused").contains("`set.action_items_instructions` is for nothing"));
        for seconds in [10, 3600] {
            assert!(rules(&json!({ "events": ["all"], "leave_after_silence_seconds": seconds })).is_ok());
        }
    }

    #[test]
    fn instructions_are_counted_in_characters() {
        for field in ["summary_instructions", "action_items_instructions"] {
            let mut set = json!({ "events": ["all"] });
            set[field] = "ü".repeat(1_500).into();
            assert!(rules(&set).is_ok(), "{field}");
            set[field] = "ü".repeat(1_501).into();
            let problem = rules(&set).expect_err("refused");
            assert!(problem.contains(&format!("`set.{field}` has 1501 characters")), "{problem}");
        }
    }

    #[test]
    fn what_nylas_keeps_differs_if_something_is_missing_changed_or_narrowed() {
        let told = json!({
            "meeting_settings": { "summary": true, "leave_after_silence_seconds": 300 },
            "rules": { "event_selection": ["external", "internal"] },
        });
        let mut held = told.clone();
        held["rules"]["event_selection"] = json!(["internal", "external"]);
        held["name"] = "Nylas Notetaker".into();
        held["meeting_settings"]["retention_time"] = 1_209_600.into();
        held["meeting_settings"]["summary_settings"] = json!({ "custom_instructions": "" });
        held["rules"]["participant_filter"] = Value::Null;
        assert!(differences(&told, &held).is_empty(), "an order, and what Nylas adds by itself, are no difference");
        held["meeting_settings"]["summary"] = false.into();
        held["rules"]["event_selection"] = json!(["internal"]);
        held["rules"]["participant_filter"] = json!({ "participants_gte": 3 });
        held["meeting_settings"]["summary_settings"]["custom_instructions"] = "Old.".into();
        let different = differences(&told, &held);
        assert_eq!(
            different,
            [
                "meeting_settings.summary",
                "rules.event_selection",
                "rules.participant_filter.participants_gte",
                "meeting_settings.summary_settings.custom_instructions",
            ]
        );
        assert_eq!(differences(&json!({ "name": "Notes" }), &Value::Null), ["name"]);
    }

    #[test]
    fn what_nylas_keeps_is_told_in_sentences() {
        for nothing in [None, Some(&Value::Null), Some(&json!({}))] {
            assert_eq!(told(nothing), "No notetaker joins its meetings by itself.");
        }
        let set = json!({
            "events": ["external", "own_events"], "participants_at_least": 2, "participants_at_most": 9,
            "leave_after_silence_seconds": 300,
        });
        let held = rules(&set).expect("rules").to_notetaker();
        assert_eq!(
            told(Some(&held)),
            "A notetaker joins by itself: events of the kind external, own_events, with at least 2 and at most 9 \
             participants.\nIt makes: video, sound, transcript, summary, action items.\nIt leaves after 300 seconds of \
             silence."
        );
        assert_eq!(told(Some(&json!({ "name": "x" }))), "A notetaker joins by itself: events that Nylas selects.");
    }
}

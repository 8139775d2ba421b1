//! Shows and sets by which rules notetakers join the meetings of a calendar by themselves.

use serde::Serialize;
use serde_json::Value;
use shared::engine::Deadline;
use shared::nylas::NylasError;
use shared::nylas::event::Calendar;

use crate::joining_rules::{AutoJoin, Order, PRIMARY, differences, keeps_none, told};
use crate::nylas_words::{may_be_done, refused_with, sentence};
use crate::ports::Notetaking;

/// How many calendars an answer names in words.
const NAMED_IN_WORDS: usize = 20;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing: the rules are shown.
    Shown,
    /// Rules were put in place.
    Set,
    /// The rules were removed.
    Removed,
}

impl Outcome {
    /// The outcome in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Set => "set",
            Self::Removed => "removed",
        }
    }
}

/// A calendar by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedCalendar {
    /// Its id.
    pub id: String,
    /// Its name; none if Nylas names none.
    pub name: Option<String>,
}

impl From<&Calendar> for NamedCalendar {
    fn from(calendar: &Calendar) -> Self {
        Self { id: calendar.id.clone(), name: calendar.name.clone() }
    }
}

/// The rules of a calendar, as Nylas keeps them now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AutoJoinAnswer {
    /// The command.
    pub command: &'static str,
    /// What was done.
    pub outcome: Outcome,
    /// The account.
    pub grant_id: String,
    /// The calendar.
    pub calendar: NamedCalendar,
    /// The rules; none if no notetaker joins by itself.
    pub notetaker: Option<Value>,
    /// Where they are not what they were to be, by the path of each field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// The same for people.
    pub text: String,
}

/// Nothing can be shown of a calendar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct AutoJoinError {
    /// What happened, and what to do.
    pub error: String,
    /// The account's calendars, if it may be another one that is meant.
    pub calendars: Vec<NamedCalendar>,
}

/// Does what is asked for and shows what Nylas keeps then.
///
/// # Errors
/// If Nylas does not do it, or knows no such calendar.
pub async fn auto_join(
    nylas: &impl Notetaking,
    asked: &AutoJoin,
    deadline: Deadline,
) -> Result<AutoJoinAnswer, AutoJoinError> {
    let asking = Asking { nylas, asked, deadline };
    let (outcome, notetaker) = match &asked.order {
        Order::Show => {
            let calendar = asking.found(asking.read().await, "nothing can be shown").await?;
            return Ok(asking.answer(Outcome::Shown, &calendar, Vec::new(), None));
        }
        Order::Set(rules) => (Outcome::Set, rules.to_notetaker()),
        Order::Remove => (Outcome::Removed, Value::Null),
    };
    let written = nylas.set_rules(&asked.grant, &asked.calendar, &notetaker, deadline).await;
    let written = asking.found(written, "nothing was set").await?;
    // What Nylas answers to a change is what it was told; what it keeps is what it shows.
    let (calendar, note) = match asking.read().await {
        Ok(Some(calendar)) => (calendar, None),
        Ok(None) | Err(_) => (written, Some("It could not be read again: this is what Nylas answered to the change.")),
    };
    let differs = match calendar.notetaker.as_ref().filter(|held| !keeps_none(Some(held))) {
        None if notetaker.is_null() => Vec::new(),
        Some(held) if !notetaker.is_null() => differences(&notetaker, held),
        _ => vec!["notetaker".to_owned()],
    };
    Ok(asking.answer(outcome, &calendar, differs, note))
}

struct Asking<'a, N> {
    nylas: &'a N,
    asked: &'a AutoJoin,
    deadline: Deadline,
}

impl<N: Notetaking> Asking<'_, N> {
    async fn read(&self) -> Result<Option<Calendar>, NylasError> {
        self.nylas.calendar(&self.asked.grant, &self.asked.calendar, self.deadline).await
    }

    /// The calendar, or why there is none.
    async fn found(
        &self,
        answered: Result<Option<Calendar>, NylasError>,
        nothing: &str,
    ) -> Result<Calendar, AutoJoinError> {
        let (calendar, grant) = (&self.asked.calendar, &self.asked.grant);
        let plain = |error: String| AutoJoinError { error, calendars: Vec::new() };
        let error = match answered {
            Ok(Some(calendar)) => return Ok(calendar),
            Ok(None) => format!("{nothing}: Nylas knows no calendar `{calendar}` of the grant `{grant}`"),
            Err(error) if calendar == PRIMARY && refused_with(&error).is_some_and(|status| status == 400) => format!(
                "{nothing}: {}\nAn iCloud account has no calendar `{PRIMARY}`: if it is one, give `calendar_id`",
                sentence(&error, grant)
            ),
            Err(error) if may_be_done(&error) && self.asked.order != Order::Show => {
                let shown_by = self.asked.shown_by();
                return Err(plain(format!(
                    "Nylas did not say whether it took the change: {error}. See what it keeps with {shown_by}; the change \
                     may be given again"
                )));
            }
            Err(error) => return Err(plain(format!("{nothing}: {}", sentence(&error, grant)))),
        };
        let calendars = self.nylas.calendars(grant, self.deadline).await.unwrap_or_default();
        let calendars: Vec<NamedCalendar> = calendars.iter().map(NamedCalendar::from).collect();
        Err(AutoJoinError { error: format!("{error}. {}", named(&calendars)), calendars })
    }

    fn answer(
        &self,
        outcome: Outcome,
        calendar: &Calendar,
        differs: Vec<String>,
        note: Option<&str>,
    ) -> AutoJoinAnswer {
        let held = calendar.notetaker.as_ref().filter(|held| !keeps_none(Some(held)));
        let name = calendar.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        let done = match outcome {
            Outcome::Shown => "",
            Outcome::Set => "The rules were set. ",
            Outcome::Removed => "The rules were removed. ",
        };
        let mut lines = vec![format!("{done}Calendar {}{name}:", calendar.id), told(held)];
        if let Order::Set(rules) = &self.asked.order
            && !rules.video
        {
            lines.push("Without video Nylas makes no summary and no action items: both are off.".to_owned());
        }
        if let Some(held) = held {
            lines.push(format!("As Nylas keeps it:\n{held:#}"));
        }
        if !differs.is_empty() {
            lines.push(format!(
                "This is not what was asked for; it differs in: {}. Give the change again, and if that does not help, ask \
                 Nylas.",
                differs.join(", ")
            ));
        }
        lines.extend(note.map(str::to_owned));
        AutoJoinAnswer {
            command: "auto_join",
            outcome,
            grant_id: self.asked.grant.to_string(),
            calendar: NamedCalendar::from(calendar),
            notetaker: held.cloned(),
            differs,
            text: lines.join("\n"),
        }
    }
}

/// The calendars of an account in words.
fn named(calendars: &[NamedCalendar]) -> String {
    if calendars.is_empty() {
        return "Nor does it name another one of this account: see whether the grant is right".to_owned();
    }
    let words = calendars.iter().take(NAMED_IN_WORDS).map(|calendar| match &calendar.name {
        Some(name) => format!("`{}` ({name})", calendar.id),
        None => format!("`{}`", calendar.id),
    });
    let more = if calendars.len() > NAMED_IN_WORDS { ", and more" } else { "" };
    format!("The account's calendars are: {}{more}", words.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Request;
    use crate::testing::{Call, MemoryNylas, nylas_is_slow, refused};
    use jiff::Timestamp;
    use serde_json::json;
    use std::time::Duration;

    fn asked(fields: &Value) -> AutoJoin {
        let mut event = json!({ "command": "auto_join", "grant_id": "g" });
        event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        match Request::read(&event, Timestamp::UNIX_EPOCH).expect("a request") {
            Request::AutoJoin(asked) => asked,
            other => panic!("{other:?} is no such request"),
        }
    }

    async fn answered(nylas: &MemoryNylas, fields: Value) -> Result<AutoJoinAnswer, AutoJoinError> {
        auto_join(nylas, &asked(&fields), Deadline::after(Duration::from_secs(40))).await
    }

    fn with_primary() -> MemoryNylas {
        let nylas = MemoryNylas::default();
        nylas.put_calendar("primary", Some("Ines Duarte"));
        nylas
    }

    fn external() -> Value {
        json!({ "set": { "events": ["external"], "participants_at_least": 2 } })
    }

    #[tokio::test]
    async fn rules_are_set_shown_and_removed() {
        let nylas = with_primary();
        let shown = answered(&nylas, json!({})).await.expect("an answer");
        assert_eq!((shown.outcome, &shown.notetaker), (Outcome::Shown, &None));
        assert_eq!(shown.text, "Calendar primary (Ines Duarte):\nNo notetaker joins its meetings by itself.");
        let set = answered(&nylas, external()).await.expect("an answer");
        assert_eq!((set.outcome, set.differs.len()), (Outcome::Set, 0));
        assert!(set.text.starts_with("The rules were set. Calendar primary (Ines Duarte):\n"), "{}", set.text);
        assert!(set.text.contains("events of the kind external, with at least 2 participants"), "{}", set.text);
        let shown = answered(&nylas, json!({})).await.expect("an answer");
        assert_eq!((shown.outcome, &shown.notetaker), (Outcome::Shown, &set.notetaker));
        assert!(shown.text.contains("\"participants_gte\": 2"), "{}", shown.text);
        let removed = answered(&nylas, json!({ "off": true })).await.expect("an answer");
        assert_eq!((removed.outcome, removed.notetaker, removed.differs.len()), (Outcome::Removed, None, 0));
        assert!(removed.text.contains("No notetaker joins"), "{}", removed.text);
        let changes: Vec<Value> = nylas.calls().into_iter().filter_map(Call::rules).collect();
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0]["rules"]["participant_filter"], json!({ "participants_gte": 2 }));
        assert_eq!(changes[1], Value::Null);
    }

    #[tokio::test]
    async fn rules_without_video_are_told_to_make_neither_summary_nor_action_items() {
        let answer = answered(&with_primary(), json!({ "set": { "events": ["all"], "video": false } })).await;
        let answer = answer.expect("an answer");
        assert!(answer.text.contains("no summary and no action items: both are off"), "{}", answer.text);
        assert!(answer.text.contains("It makes: sound, transcript."), "{}", answer.text);
    }

    #[tokio::test]
    async fn what_nylas_keeps_otherwise_than_it_was_told_is_told() {
        let nylas = with_primary();
        nylas.keep_instead(json!({ "rules": { "event_selection": ["all"] } }));
        let answer = answered(&nylas, json!({ "set": { "events": ["external"] } })).await.expect("an answer");
        assert!(answer.differs.contains(&"rules.event_selection".to_owned()), "{:?}", answer.differs);
        assert!(answer.differs.contains(&"meeting_settings.summary".to_owned()), "{:?}", answer.differs);
        assert!(answer.text.contains("This is not what was asked for; it differs in: "), "{}", answer.text);
        for (kept, fields) in [(Value::Null, external()), (json!({ "name": "x" }), json!({ "off": true }))] {
            nylas.keep_instead(kept);
            assert_eq!(answered(&nylas, fields).await.expect("an answer").differs, ["notetaker"]);
        }
    }

    #[tokio::test]
    async fn change_that_cannot_be_read_again_shows_what_was_answered_to_it() {
        let nylas = with_primary();
        nylas.fail_reading_calendars(nylas_is_slow());
        let answer = answered(&nylas, external()).await.expect("an answer");
        assert_eq!((answer.outcome, answer.differs.len()), (Outcome::Set, 0));
        assert!(answer.text.ends_with("this is what Nylas answered to the change."), "{}", answer.text);
    }

    #[tokio::test]
    async fn calendar_that_is_not_known_is_answered_with_those_that_are() {
        let nylas = with_primary();
        nylas.put_calendar("team@group.example", None);
        for (fields, nothing) in [
            (json!({ "calendar_id": "c" }), "nothing can be shown"),
            (json!({ "calendar_id": "c", "off": true }), "nothing was set"),
        ] {
            let AutoJoinError { error, calendars } = answered(&nylas, fields).await.expect_err("not known");
            assert_eq!(
                error,
                format!(
                    "{nothing}: Nylas knows no calendar `c` of the grant `g`. The account's calendars are: `primary` (Ines \
                     Duarte), `team@group.example`"
                )
            );
            assert_eq!(calendars.len(), 2);
        }
        let none = answered(&MemoryNylas::default(), json!({})).await.expect_err("not known").error;
        assert!(none.ends_with("see whether the grant is right"), "{none}");
    }

    #[tokio::test]
    async fn primary_that_is_refused_as_on_icloud_is_answered_with_the_calendars_there_are() {
        let nylas = MemoryNylas::default();
        nylas.put_calendar("home", Some("Home"));
        for fields in [json!({}), external()] {
            nylas.fail_reading_calendars(refused("calendar", "primary is not supported for this provider"));
            nylas.fail_setting(refused("calendar", "primary is not supported for this provider"));
            let AutoJoinError { error, calendars } = answered(&nylas, fields).await.expect_err("refused");
            assert!(error.contains("with 400: primary is not supported for this provider"), "{error}");
            assert!(error.contains("give `calendar_id`. The account's calendars are: `home` (Home)"), "{error}");
            assert_eq!(calendars.len(), 1);
        }
    }

    #[tokio::test]
    async fn refusal_of_a_change_is_told_and_one_without_an_answer_leaves_it_open() {
        let nylas = with_primary();
        nylas.fail_setting(NylasError::GrantExpired("g".to_owned()));
        let error = answered(&nylas, external()).await.expect_err("expired").error;
        assert!(error.starts_with("nothing was set: the Nylas grant g has expired"), "{error}");
        nylas.fail_setting(nylas_is_slow());
        let error = answered(&nylas, external()).await.expect_err("slow").error;
        assert!(error.starts_with("Nylas did not say whether it took the change"), "{error}");
        assert!(error.contains(&asked(&json!({})).shown_by().to_string()), "{error}");
        nylas.fail_reading_calendars(nylas_is_slow());
        let error = answered(&nylas, json!({})).await.expect_err("slow").error;
        assert!(error.starts_with("nothing can be shown: Nylas is unavailable"), "{error}");
    }

    #[test]
    fn answer_names_its_outcome_in_a_word() {
        for outcome in [Outcome::Shown, Outcome::Set, Outcome::Removed] {
            assert_eq!(serde_json::to_value(outcome).expect("JSON"), outcome.as_str());
        }
    }
}

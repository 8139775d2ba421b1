//! What is asked for: which letters are meant, and what is to be done with them.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::configuration::parse_duration;
use shared::domain::notification::Trigger;
use std::time::Duration;

use super::letter::{Letter, Subject};
use super::ports::Record;
use super::worker_named;
use crate::command::{BadCommand, fields_of, filled};
use crate::stack_map::WORKERS;
use crate::times::moment;

/// How many letters are moved in a second if the event does not say.
const PACE: u32 = 5;

/// The most letters that may be moved in a second.
const FASTEST: u32 = 50;

/// The longest reason that people may give, in characters.
const LONGEST_REASON: usize = 500;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LettersRequest {
    /// Show what was given up.
    Show(Showing),
    /// Do something with it.
    Move(Order),
}

/// How letters are to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    /// Which.
    pub selection: Selection,
    /// True if each is to be shown, not only how many there are.
    pub list: bool,
}

/// What is to be done with letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Which letters.
    pub selection: Selection,
    /// What.
    pub deed: Deed,
    /// True if those that were set aside are meant, and not those in the dead-letter queues.
    pub parked: bool,
    /// True if nothing is to be done, only shown.
    pub dry_run: bool,
    /// How many in a second.
    pub per_second: u32,
    /// Only what failed before; none for before this invocation. Without it what fails again at once would be moved again
    /// and again.
    pub failed_before: Option<Timestamp>,
}

/// What is done with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It goes back into its queue.
    Redrive,
    /// It is set aside.
    Park {
        /// Why.
        because: String,
    },
    /// It is done with.
    Drop {
        /// Why.
        because: String,
    },
}

impl Deed {
    /// The command.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Park { .. } => "park",
            Self::Drop { .. } => "drop",
        }
    }

    /// Why, in the words of who does it.
    #[must_use]
    pub fn because(&self) -> Option<&str> {
        match self {
            Self::Redrive => None,
            Self::Park { because } | Self::Drop { because } => Some(because),
        }
    }
}

/// Which letters are meant: those to which all that is given applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// The function that gave them up.
    pub function: Option<&'static str>,
    /// The kind of failure.
    pub class: Option<String>,
    /// What happened, for example `message.created`.
    pub kind: Option<String>,
    /// The notification, or the object it is about.
    pub id: Option<String>,
    /// Failed so long ago or longer, as it was written.
    pub older_than: Option<Span>,
    /// Failed less long ago, as it was written.
    pub newer_than: Option<Span>,
}

/// A span of time, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// How long.
    pub length: Duration,
    /// The text.
    pub written: String,
}

/// What is compared of a letter or of a record.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The function.
    pub function: Option<&'a str>,
    /// The kind of failure.
    pub class: &'a str,
    /// What happened.
    pub trigger: &'a str,
    /// What it may be called.
    pub ids: [&'a str; 3],
    /// When its last try failed.
    pub failed_at: Option<Timestamp>,
}

impl<'a> Facts<'a> {
    /// Those of a letter.
    #[must_use]
    pub fn of_letter(letter: &'a Letter, subject: &'a Subject) -> Self {
        Self {
            function: letter.function.as_deref(),
            class: &letter.class,
            trigger: &subject.trigger,
            ids: [&letter.notification, subject.notification.as_deref().unwrap_or_default(), &subject.object],
            failed_at: letter.last_failed_at,
        }
    }

    /// Those of the record of a function.
    #[must_use]
    pub fn of_record(record: &'a Record, function: &'a str) -> Self {
        Self {
            function: Some(function),
            class: &record.class,
            trigger: &record.trigger,
            ids: [&record.notification_id, &record.object_id, ""],
            failed_at: record.last_failed_at,
        }
    }
}

impl Selection {
    /// True if nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// True if letters of this function may be meant.
    #[must_use]
    pub fn may_be_of(&self, function: &str) -> bool {
        self.function.is_none_or(|wanted| wanted == function)
    }

    /// True if it takes more than a letter's attributes to tell whether it is meant.
    #[must_use]
    pub fn asks_what_it_is_about(&self) -> bool {
        self.kind.is_some() || self.id.is_some()
    }

    /// True if what has these facts is meant.
    #[must_use]
    pub fn means(&self, facts: &Facts<'_>, now: Timestamp) -> bool {
        let before =
            |span: &Span| SignedDuration::try_from(span.length).ok().and_then(|length| now.checked_sub(length).ok());
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let failed_at = facts.failed_at.unwrap_or(now);
        self.function.is_none_or(|wanted| facts.function == Some(wanted))
            && is(&self.class, facts.class)
            && is(&self.kind, facts.trigger)
            && self.id.as_deref().is_none_or(|wanted| facts.ids.contains(&wanted))
            && self.older_than.as_ref().is_none_or(|span| before(span).is_none_or(|limit| failed_at <= limit))
            && self.newer_than.as_ref().is_none_or(|span| before(span).is_none_or(|limit| failed_at > limit))
    }

    /// The fields that say this, in their order.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        let given = [
            ("id", self.id.as_deref()),
            ("function", self.function),
            ("class", self.class.as_deref()),
            ("type", self.kind.as_deref()),
            ("older_than", self.older_than.as_ref().map(|span| span.written.as_str())),
            ("newer_than", self.newer_than.as_ref().map(|span| span.written.as_str())),
        ];
        given.into_iter().filter_map(|(field, value)| Some((field, value?))).collect()
    }
}

impl Order {
    /// The event that does this, or goes on with it.
    #[must_use]
    pub fn event(&self, dry_run: bool, failed_before: Timestamp) -> Value {
        let mut event = json!({
            "command": self.deed.command(), "dry_run": dry_run, "failed_before": failed_before.to_string(),
        });
        for (field, value) in self.selection.fields() {
            event[field] = value.into();
        }
        if self.selection.is_everything() {
            event["all"] = true.into();
        }
        if self.parked {
            event["parked"] = true.into();
        }
        if self.per_second != PACE {
            event["per_second"] = self.per_second.into();
        }
        if let Some(because) = self.deed.because() {
            event["reason"] = because.into();
        }
        event
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowFields {
    function: Option<String>,
    class: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    older_than: Option<String>,
    newer_than: Option<String>,
    list: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RedriveFields {
    function: Option<String>,
    class: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    older_than: Option<String>,
    newer_than: Option<String>,
    all: Option<bool>,
    parked: Option<bool>,
    dry_run: Option<bool>,
    per_second: Option<u32>,
    failed_before: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetAsideFields {
    function: Option<String>,
    class: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    older_than: Option<String>,
    newer_than: Option<String>,
    all: Option<bool>,
    parked: Option<bool>,
    dry_run: Option<bool>,
    per_second: Option<u32>,
    failed_before: Option<Value>,
    reason: Option<String>,
}

/// The selection that the fields of an event make.
macro_rules! selection {
    ($fields:ident) => {
        selection_of(
            [$fields.function, $fields.class, $fields.kind, $fields.id],
            [$fields.older_than, $fields.newer_than],
        )
    };
}

impl LettersRequest {
    /// An event that is right.
    #[must_use]
    pub fn example(command: &str) -> Value {
        match command {
            "redrive" => {
                json!({ "command": command, "function": "email-activity", "class": "crm.rejected", "dry_run": true })
            }
            "park" | "drop" => json!({
                "command": command, "id": "<the notification's id>", "reason": "the customer asked us to", "dry_run": true,
            }),
            _ => json!({ "command": command, "function": "email-activity", "list": true }),
        }
    }

    /// Reads the fields of an event that asks what was given up.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn show(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let fields: ShowFields = fields_of(fields)?;
        let list = fields.list;
        let selection = selection!(fields)?;
        let list = list.unwrap_or(!selection.is_everything());
        Ok(Self::Show(Showing { selection, list }))
    }

    /// Reads the fields of an event that brings letters back into their queues.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn redrive(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let fields: RedriveFields = fields_of(fields)?;
        let how = How {
            all: fields.all,
            parked: fields.parked,
            dry_run: fields.dry_run,
            per_second: fields.per_second,
            failed_before: fields.failed_before,
        };
        how.order(Deed::Redrive, selection!(fields)?)
    }

    /// Reads the fields of an event that sets letters aside.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn park(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let what_for = "it is kept beside the letter, so that whoever finds it knows why it was set aside";
        let (how, because, selection) = set_aside(fields, what_for)?;
        if how.parked == Some(true) {
            let problem = "what is parked is parked; `redrive` with `parked: true` brings it back".to_owned();
            return Err(BadCommand::Wrong { field: "parked", value: "true".to_owned(), problem });
        }
        how.order(Deed::Park { because }, selection)
    }

    /// Reads the fields of an event that is done with letters.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn drop(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let (how, because, selection) = set_aside(fields, "it is kept as the decision on the notification")?;
        how.order(Deed::Drop { because }, selection)
    }
}

fn set_aside(fields: Map<String, Value>, what_for: &'static str) -> Result<(How, String, Selection), BadCommand> {
    let fields: SetAsideFields = fields_of(fields)?;
    let how = How {
        all: fields.all,
        parked: fields.parked,
        dry_run: fields.dry_run,
        per_second: fields.per_second,
        failed_before: fields.failed_before,
    };
    let because = filled("reason", fields.reason)?.ok_or(BadCommand::Missing { field: "reason", reason: what_for })?;
    if because.chars().count() > LONGEST_REASON {
        let value = format!("{} characters long", because.chars().count());
        let problem = format!("say it in at most {LONGEST_REASON}");
        return Err(BadCommand::Wrong { field: "reason", value, problem });
    }
    Ok((how, because, selection!(fields)?))
}

/// How letters are to be moved.
struct How {
    all: Option<bool>,
    parked: Option<bool>,
    dry_run: Option<bool>,
    per_second: Option<u32>,
    failed_before: Option<Value>,
}

impl How {
    fn order(self, deed: Deed, selection: Selection) -> Result<LettersRequest, BadCommand> {
        let all = self.all.unwrap_or_default();
        if all && !selection.is_everything() {
            let problem = "it means every letter, and something else says which; leave one of them out".to_owned();
            return Err(BadCommand::Wrong { field: "all", value: "true".to_owned(), problem });
        }
        if !all && selection.is_everything() && self.parked != Some(true) {
            let reason = "say which letters are meant, by `id`, `class`, `function`, `type`, `older_than` or \
                          `newer_than`, or give `all: true`";
            return Err(BadCommand::Missing { field: "id", reason });
        }
        let per_second = self.per_second.unwrap_or(PACE);
        if !(1..=FASTEST).contains(&per_second) {
            let problem = format!("from 1 to {FASTEST} letters can be moved in a second");
            return Err(BadCommand::Wrong { field: "per_second", value: per_second.to_string(), problem });
        }
        let failed_before =
            self.failed_before.map(|value| {
                let seconds = value.as_str().and_then(|text| text.trim().parse::<Timestamp>().ok());
                seconds
                    .map_or_else(|| moment(&value).and_then(in_seconds), Ok)
                    .map_err(|problem| BadCommand::NotATime { field: "failed_before", value: value.clone(), problem })
            });
        Ok(LettersRequest::Move(Order {
            selection,
            deed,
            parked: self.parked.unwrap_or_default(),
            dry_run: self.dry_run.unwrap_or(true),
            per_second,
            failed_before: failed_before.transpose()?,
        }))
    }
}

fn in_seconds(seconds: i64) -> Result<Timestamp, crate::times::NotATime> {
    Timestamp::from_second(seconds).map_err(|_| crate::times::NotATime::Century)
}

fn selection_of(
    [function, class, kind, id]: [Option<String>; 4],
    [older_than, newer_than]: [Option<String>; 2],
) -> Result<Selection, BadCommand> {
    let function = filled("function", function)?;
    let function = function.map(|name| worker_named(&name).ok_or_else(|| no_function(&name))).transpose()?;
    let (older_than, newer_than) = (span("older_than", older_than)?, span("newer_than", newer_than)?);
    if let (Some(older), Some(newer)) = (&older_than, &newer_than)
        && older.length >= newer.length
    {
        let problem = format!("nothing is that old and newer than {}; give a shorter one", newer.written);
        return Err(BadCommand::Wrong { field: "older_than", value: older.written.clone(), problem });
    }
    Ok(Selection {
        function,
        class: filled("class", class)?,
        kind: filled("type", kind)?.map(|kind| Trigger::parse(&kind).base().to_owned()),
        id: filled("id", id)?,
        older_than,
        newer_than,
    })
}

fn span(field: &'static str, given: Option<String>) -> Result<Option<Span>, BadCommand> {
    let Some(written) = filled(field, given)? else { return Ok(None) };
    match parse_duration(&written) {
        Ok(length) => Ok(Some(Span { length, written })),
        Err(problem) => Err(BadCommand::Wrong { field, value: format!("`{written}`"), problem: problem.to_string() }),
    }
}

fn no_function(name: &str) -> BadCommand {
    let [others @ .., last] = WORKERS.map(|(_, function)| format!("`{function}`"));
    let problem = format!("the functions with a dead-letter queue are {} and {last}", others.join(", "));
    BadCommand::Wrong { field: "function", value: format!("`{name}`"), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Refused, Request};

    fn read(event: &Value) -> Result<LettersRequest, Refused> {
        Request::read(event, Timestamp::UNIX_EPOCH).map(|request| match request {
            Request::Letters(asked) => asked,
            other => panic!("{other:?} is not about letters"),
        })
    }

    fn order(event: &Value) -> Order {
        match read(event).unwrap_or_else(|refused| panic!("{event}: {refused}")) {
            LettersRequest::Move(order) => order,
            LettersRequest::Show(_) => panic!("{event} only shows"),
        }
    }

    #[test]
    fn whatever_moves_letters_only_shows_what_it_would_do_until_it_is_told_to_do_it() {
        let asked = order(&json!({ "command": "redrive", "class": "crm.rejected" }));
        assert_eq!((asked.deed, asked.dry_run, asked.parked, asked.per_second), (Deed::Redrive, true, false, 5));
        for command in ["park", "drop"] {
            let asked = order(&json!({ "command": command, "id": "n-1", "reason": " by hand " }));
            assert_eq!((asked.deed.command(), asked.deed.because()), (command, Some("by hand")));
            assert!(asked.dry_run, "{command}");
        }
        assert!(!order(&json!({ "command": "redrive", "all": true, "dry_run": false })).dry_run);
    }

    #[test]
    fn what_is_asked_for_without_saying_which_letters_is_refused() {
        for command in ["redrive", "park", "drop"] {
            for extra in [json!({}), json!({ "dry_run": false }), json!({ "all": false }), json!({ "parked": false })] {
                let mut event = json!({ "command": command });
                if command != "redrive" {
                    event["reason"] = "a reason".into();
                }
                event.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
                let refused = read(&event).expect_err("refused").to_string();
                assert!(refused.contains("say which letters are meant"), "{event}: {refused}");
            }
        }
        assert!(order(&json!({ "command": "redrive", "parked": true })).parked, "what is parked says which");
    }

    #[test]
    fn wrong_fields_are_told_with_what_is_right_and_an_example_that_can_be_read() {
        for (event, words) in [
            (
                json!({ "command": "dead_letters", "function": "mail" }),
                "`function` is `mail`: the functions with a dead-letter queue are `email-activity`",
            ),
            (json!({ "command": "dead_letters", "dry_run": true }), "unknown field `dry_run`"),
            (
                json!({ "command": "dead_letters", "older_than": "yesterday" }),
                "a whole number followed by s, m, h or d",
            ),
            (json!({ "command": "redrive", "older_than": "48h", "newer_than": "24h" }), "newer than 24h"),
            (json!({ "command": "redrive", "class": " " }), "`class` is empty"),
            (json!({ "command": "redrive", "all": true, "class": "x" }), "leave one of them out"),
            (json!({ "command": "redrive", "all": true, "per_second": 0 }), "from 1 to 50"),
            (json!({ "command": "redrive", "all": true, "reason": "x" }), "unknown field `reason`"),
            (json!({ "command": "redrive", "all": true, "failed_before": "noon" }), "`failed_before` is \"noon\""),
            (json!({ "command": "park", "id": "n" }), "`reason` is missing: it is kept beside the letter"),
            (json!({ "command": "drop", "id": "n", "reason": "" }), "`reason` is empty"),
            (json!({ "command": "drop", "id": "n", "reason": "x".repeat(501) }), "501 characters long"),
            (
                json!({ "command": "park", "parked": true, "reason": "x" }),
                "`redrive` with `parked: true` brings it back",
            ),
        ] {
            let refused = read(&event).expect_err("refused");
            assert!(refused.to_string().contains(words), "{event}: {refused}");
            assert!(read(&refused.meant.example()).is_ok(), "{event}");
        }
    }

    #[test]
    fn filter_shows_each_letter_and_none_shows_how_many_there_are() {
        let listed = |event: &Value| match read(event) {
            Ok(LettersRequest::Show(showing)) => showing.list,
            other => panic!("{other:?}"),
        };
        assert!(!listed(&json!({ "command": "dead_letters" })));
        assert!(listed(&json!({ "command": "dead_letters", "list": true })));
        assert!(listed(&json!({ "command": "dead_letters", "type": "message.created.truncated" })));
        assert!(!listed(&json!({ "command": "dead_letters", "class": "crm.rejected", "list": false })));
    }

    #[test]
    fn event_that_goes_on_means_the_same_letters() {
        for event in [
            json!({ "command": "redrive", "all": true, "per_second": 20 }),
            json!({ "command": "redrive", "parked": true, "id": "n-1" }),
            json!({
                "command": "park", "function": "calendar-sync", "class": "crm.rejected", "type": "event.updated",
                "older_than": "1h", "newer_than": "3d", "reason": "waits for a mend",
            }),
        ] {
            let asked = order(&event);
            let at = "2026-03-01T10:00:00.25Z".parse().expect("a time");
            let again = order(&asked.event(false, at));
            assert_eq!(again, Order { dry_run: false, failed_before: Some(at), ..asked }, "{event}");
        }
    }

    #[test]
    fn letter_is_meant_if_all_that_is_given_applies_to_it() {
        let now: Timestamp = "2026-03-03T10:00:00Z".parse().expect("a time");
        let facts = Facts {
            function: Some("email-activity"),
            class: "crm.rejected",
            trigger: "message.created",
            ids: ["n-1", "n-1", "m-1"],
            failed_at: "2026-03-01T10:00:00Z".parse().ok(),
        };
        for (fields, meant) in [
            (json!({ "id": "n-1" }), true),
            (json!({ "id": "m-1" }), true),
            (json!({ "id": "m" }), false),
            (json!({ "function": "email-activity", "class": "crm.rejected" }), true),
            (json!({ "function": "calendar-sync", "class": "crm.rejected" }), false),
            (json!({ "type": "message.created.cleaned" }), true),
            (json!({ "type": "event.created" }), false),
            (json!({ "older_than": "48h" }), true),
            (json!({ "older_than": "49h" }), false),
            (json!({ "newer_than": "48h" }), false),
            (json!({ "newer_than": "49h", "older_than": "1d" }), true),
        ] {
            let mut event = json!({ "command": "redrive" });
            event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
            assert_eq!(order(&event).selection.means(&facts, now), meant, "{fields}");
        }
    }
}

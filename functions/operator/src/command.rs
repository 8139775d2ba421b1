//! An event read into a request, or what is wrong with it, with an event that is right beside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::domain::notification::GrantId;
use shared::triage::rule_file::BadRules as BadTriageRules;
use std::time::Duration;

use crate::forget::Forgotten;
use crate::invitation::Invitation;
use crate::joining_rules::{AutoJoin, BadRules};
use crate::letters::LettersRequest;
use crate::media_link::{LONGEST_MINUTES, MediaLink};
use crate::proposed_rules::{MOST_DAYS as MOST_DAYS_OF_MAIL, TriageRules};
use crate::replay::ReplayOf;
use crate::story::StoryOf;
use crate::subscribe::Subscription;
use crate::times::{Edge, NotATime, shown, unix_seconds};

/// How far back a backfill goes that does not say so, in days.
const DEFAULT_DAYS: i64 = 90;

/// The most days that a backfill may be told to go back.
const MOST_DAYS: i64 = 36_500;

const DAY: i64 = 24 * 60 * 60;

/// The longest name of a run. Together with the id of an account it is part of a key and of the ids of decisions.
const LONGEST_RUN: usize = 100;

/// What the function can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Bring every event of a span of time to the CRM.
    Backfill,
    /// Look for what Nylas has not notified of.
    Reconcile,
    /// Bring what address books say of contacts to the CRM.
    Sync,
    /// Send a notetaker to a meeting.
    Invite,
    /// Show or set by which rules notetakers join the meetings of a calendar.
    AutoJoin,
    /// Make a link that opens a file of a meeting.
    Media,
    /// Try triage rules on the mail of the last days.
    TriageRules,
    /// See to what the CRM and the ticket system need once.
    SetUp,
    /// Tell all that is known of a notification, an object or a customer.
    Story,
    /// Show what was given up.
    DeadLetters,
    /// Put what was given up back into its queue.
    Redrive,
    /// Set aside what was given up.
    Park,
    /// Be done with what was given up.
    Drop,
    /// Have a notification decided once more.
    Replay,
    /// See to the webhook at Nylas and its secret.
    Subscribe,
    /// Examine everything that the stack depends on.
    Doctor,
    /// Remove what the stack holds of a person.
    Forget,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Backfill,
        Self::Reconcile,
        Self::Sync,
        Self::Invite,
        Self::AutoJoin,
        Self::Media,
        Self::TriageRules,
        Self::SetUp,
        Self::Story,
        Self::DeadLetters,
        Self::Redrive,
        Self::Park,
        Self::Drop,
        Self::Replay,
        Self::Subscribe,
        Self::Doctor,
        Self::Forget,
    ];

    /// The name, as it stands in an event.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Reconcile => "reconcile",
            Self::Sync => "sync",
            Self::Invite => "invite",
            Self::AutoJoin => "auto_join",
            Self::Media => "media",
            Self::TriageRules => "triage_rules",
            Self::SetUp => "set_up",
            Self::Story => "story",
            Self::DeadLetters => "dead_letters",
            Self::Redrive => "redrive",
            Self::Park => "park",
            Self::Drop => "drop",
            Self::Replay => "replay",
            Self::Subscribe => "subscribe",
            Self::Doctor => "doctor",
            Self::Forget => "forget",
        }
    }

    /// An event that is right.
    #[must_use]
    pub fn example(self) -> Value {
        let grant = "<the account's Nylas grant>";
        match self {
            Self::Backfill => json!({ "command": "backfill", "grant_id": grant, "days": 90 }),
            Self::Reconcile => json!({ "command": "reconcile", "grant_id": grant, "what": "mail" }),
            Self::Sync => json!({ "command": "sync", "grant_id": grant, "dry_run": true }),
            Self::Invite => {
                json!({ "command": "invite", "grant_id": grant, "meeting_link": "https://meet.google.com/abc-defg-hij" })
            }
            Self::AutoJoin => json!({
                "command": "auto_join", "grant_id": grant, "calendar_id": "primary",
                "set": { "events": ["external"], "participants_at_least": 2, "leave_after_silence_seconds": 300 },
            }),
            Self::Media => json!({
                "command": "media", "minutes": 15,
                "reference": "s3://<the archive bucket>/media/<grant>/<notetaker>/summary.json",
            }),
            Self::TriageRules => json!({
                "command": "triage_rules", "days": 7,
                "rules": "[[rules]]\nname = \"outage\"\ncategory = \"incidents\"\nwords = [\"is down\"]\n",
            }),
            Self::SetUp => json!({ "command": "set_up" }),
            Self::Story => StoryOf::example(),
            Self::DeadLetters => LettersRequest::example("dead_letters"),
            Self::Redrive => LettersRequest::example("redrive"),
            Self::Park => LettersRequest::example("park"),
            Self::Drop => LettersRequest::example("drop"),
            Self::Replay => ReplayOf::example(),
            Self::Subscribe => Subscription::example(),
            Self::Doctor => json!({ "command": "doctor" }),
            Self::Forget => Forgotten::example(),
        }
    }
}

/// A function that does what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// It handles mail.
    EmailActivity,
    /// It handles calendars.
    CalendarSync,
    /// It handles what notetakers bring.
    NotetakerMedia,
    /// It handles address books.
    ContactSync,
}

impl Function {
    /// The name, as it stands in keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EmailActivity => "email-activity",
            Self::CalendarSync => "calendar-sync",
            Self::NotetakerMedia => "notetaker-media",
            Self::ContactSync => "contact-sync",
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A run, to be started or shown.
    Run(RunRequest),
    /// A notetaker for a meeting.
    Invite(Invitation),
    /// The rules by which notetakers join the meetings of a calendar, to be shown or set.
    AutoJoin(AutoJoin),
    /// A link that opens a file of a meeting.
    Media(MediaLink),
    /// Triage rules, to be tried.
    TriageRules(TriageRules),
    /// What the CRM and the ticket system need once, to be seen to.
    SetUp,
    /// What was given up, to be shown, put back, set aside or done with.
    Letters(LettersRequest),
    /// All that is known of something.
    Story(StoryOf),
    /// A notification, to be decided once more.
    Replay(ReplayOf),
    /// The webhook at Nylas, to be seen to.
    Subscribe(Subscription),
    /// What the stack depends on, to be examined.
    Doctor,
    /// What the stack holds of a person, to be removed.
    Forget(Forgotten),
}

/// A run that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRequest {
    /// The command.
    pub command: Command,
    /// The account; none for all.
    pub grant: Option<GrantId>,
    /// Who does it.
    pub functions: &'static [Function],
    /// Whether it is to be started or only to be shown.
    pub order: Order,
    /// How long its progress is to be followed; none if that is not said.
    pub wait: Option<Duration>,
}

/// Whether a run is started or shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start a run.
    Start(Job),
    /// Show the run that bears this name.
    Show(String),
}

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Bring the events of a span of time.
    Backfill {
        /// The calendar; none for all that the account can write to.
        calendar: Option<String>,
        /// From when, in Unix seconds.
        start: i64,
        /// Until when, in Unix seconds.
        end: i64,
    },
    /// Look for what was missed.
    Reconcile {
        /// From when, in Unix seconds; none for where the last one ended.
        from: Option<i64>,
        /// Until when, in Unix seconds; none for now.
        to: Option<i64>,
    },
    /// Bring the phones, titles and companies of address books.
    Sync {
        /// True if nothing is to be written, only told what would be.
        dry_run: bool,
        /// True if values that stood in the CRM before anything was written there may be replaced.
        replace_existing: bool,
    },
}

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCommand {
    /// It is not a JSON object.
    #[error("the event must be a JSON object with a `command`")]
    NoObject,
    /// It has no command.
    #[error("the event has no `command`; there are {}", names())]
    NoCommand,
    /// The command is not known.
    #[error("`{0}` is no command; there are {names}", names = names())]
    UnknownCommand(String),
    /// The fields are not those of the command.
    #[error("the event cannot be read: {0}")]
    Fields(String),
    /// A field is missing that must be there.
    #[error("`{field}` is missing: {reason}")]
    Missing {
        /// Which field.
        field: &'static str,
        /// What it is needed for.
        reason: &'static str,
    },
    /// An account is named by its address.
    #[error(
        "`grant_id` is an address: name the account by its Nylas grant id, as GET /v3/grants or your application tells it"
    )]
    NoGrantId,
    /// A field is empty.
    #[error("`{0}` is empty; leave it out or fill it in")]
    Empty(&'static str),
    /// A field is not a time.
    #[error("`{field}` is {value}: {problem}")]
    NotATime {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: Value,
        /// What is wrong with it.
        problem: NotATime,
    },
    /// A backfill has two beginnings.
    #[error("`start` and `days` both say where it begins; leave one of them out")]
    TwoBeginnings,
    /// The number of days cannot be.
    #[error("`days` is {0}: it must be from 1 to {MOST_DAYS}")]
    Days(i64),
    /// A span is not one.
    #[error("`{beginning}` ({at}) is not before `{end}` ({until})")]
    NoSpan {
        /// The field that says where it begins.
        beginning: &'static str,
        /// Where that is.
        at: String,
        /// The field that says where it ends, or what holds without it.
        end: &'static str,
        /// Where that is.
        until: String,
    },
    /// The name of the run cannot be one.
    #[error(
        "`run` is the name of a run that was started before: letters, digits, `.`, `-` and `_`, at most {LONGEST_RUN} of them"
    )]
    NoRun,
    /// A run that is only shown is given something to do.
    #[error("with `run` nothing is started, only how far that run has come is shown; leave `{0}` out")]
    NothingIsStarted(&'static str),
    /// Nobody can join a meeting there.
    #[error(
        "`meeting_link` must be the whole link that people join the meeting with, such as \
         https://meet.google.com/abc-defg-hij: with https:// before it, and without a user"
    )]
    NotALink,
    /// The time to join has passed.
    #[error("`at` is {at}, and now is {now}: a notetaker cannot join in the past; leave `at` out to send it at once")]
    Past {
        /// When it was to join.
        at: String,
        /// When it is now.
        now: String,
    },
    /// The rules for joining cannot be.
    #[error(transparent)]
    Rules(#[from] BadRules),
    /// A link cannot live so long.
    #[error("`minutes` is {0}: a link lives from 1 to {LONGEST_MINUTES} minutes")]
    Minutes(i64),
    /// Triage rules cannot be used.
    #[error("`rules` cannot be used; mend every line that is named here:\n  {}", in_lines(.0))]
    TriageRules(BadTriageRules),
    /// A field holds what it cannot hold.
    #[error("`{field}` is {value}: {problem}")]
    Wrong {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with it, and what it may hold.
        problem: String,
    },
    /// It is not known what was decided so long ago.
    #[error(
        "`days` is {0}: it must be from 1 to {MOST_DAYS_OF_MAIL}, for decisions are kept for {MOST_DAYS_OF_MAIL} days"
    )]
    DaysOfMail(i64),
}

fn in_lines(bad: &BadTriageRules) -> String {
    bad.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

fn names() -> String {
    let [others @ .., last] = Command::ALL.map(|command| format!("`{}`", command.name()));
    format!("{} and {last}", others.join(", "))
}

/// An event that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Refused {
    /// What is wrong.
    pub problem: BadCommand,
    /// The command that was meant, as far as that can be told: its example helps most.
    pub meant: Command,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackfillFields {
    grant_id: Option<String>,
    calendar_id: Option<String>,
    start: Option<Value>,
    end: Option<Value>,
    days: Option<i64>,
    run: Option<String>,
    wait_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReconcileFields {
    grant_id: Option<String>,
    what: Option<What>,
    from: Option<Value>,
    to: Option<Value>,
    run: Option<String>,
    wait_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SyncFields {
    grant_id: Option<String>,
    dry_run: Option<bool>,
    replace_existing: Option<bool>,
    run: Option<String>,
    wait_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// What is to be reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Mail,
    Calendars,
    Notes,
}

impl Request {
    /// Reads an event that came at a time.
    ///
    /// # Errors
    /// If it is not a request; the error says what is wrong and which command was meant.
    pub fn read(event: &Value, now: Timestamp) -> Result<Self, Refused> {
        let of_any = |problem| Refused { problem, meant: Command::Backfill };
        let mut fields = event.as_object().cloned().ok_or_else(|| of_any(BadCommand::NoObject))?;
        let name = match fields.remove("command") {
            None | Some(Value::Null) => return Err(of_any(BadCommand::NoCommand)),
            Some(Value::String(name)) => name,
            Some(other) => other.to_string(),
        };
        let command = Command::ALL.into_iter().find(|command| command.name() == name);
        let command = command.ok_or_else(|| of_any(BadCommand::UnknownCommand(name)))?;
        let read = match command {
            Command::Backfill => backfill(fields, now.as_second()).map(Self::Run),
            Command::Reconcile => reconcile(fields, now.as_second()).map(Self::Run),
            Command::Sync => sync(fields).map(Self::Run),
            Command::Invite => Invitation::read(fields, now.as_second()).map(Self::Invite),
            Command::AutoJoin => AutoJoin::read(fields).map(Self::AutoJoin),
            Command::Media => MediaLink::read(fields).map(Self::Media),
            Command::TriageRules => TriageRules::read(fields, now.as_second()).map(Self::TriageRules),
            Command::SetUp => fields_of(fields).map(|NoFields {}| Self::SetUp),
            Command::Story => StoryOf::read(fields).map(Self::Story),
            Command::DeadLetters => LettersRequest::show(fields).map(Self::Letters),
            Command::Redrive => LettersRequest::redrive(fields).map(Self::Letters),
            Command::Park => LettersRequest::park(fields).map(Self::Letters),
            Command::Drop => LettersRequest::drop(fields).map(Self::Letters),
            Command::Replay => ReplayOf::read(fields).map(Self::Replay),
            Command::Subscribe => Subscription::read(fields).map(Self::Subscribe),
            Command::Doctor => fields_of(fields).map(|NoFields {}| Self::Doctor),
            Command::Forget => Forgotten::read(fields).map(Self::Forget),
        };
        read.map_err(|problem| Refused { problem, meant: command })
    }
}

impl RunRequest {
    /// The event that shows how far a run of this request has come.
    #[must_use]
    pub fn again(&self, run: &str) -> Value {
        let mut event = json!({ "command": self.command.name(), "run": run });
        if let Some(grant) = &self.grant {
            event["grant_id"] = grant.as_str().into();
        }
        match (self.command, self.functions) {
            (Command::Reconcile, [Function::EmailActivity]) => event["what"] = "mail".into(),
            (Command::Reconcile, [Function::CalendarSync]) => event["what"] = "calendars".into(),
            (Command::Reconcile, [Function::NotetakerMedia]) => event["what"] = "notes".into(),
            _ => {}
        }
        event
    }
}

fn backfill(fields: Map<String, Value>, now: i64) -> Result<RunRequest, BadCommand> {
    let fields: BackfillFields = fields_of(fields)?;
    let grant = one_grant(fields.grant_id, "a backfill is for one account")?;
    if fields.calendar_id.as_deref().is_some_and(|calendar| calendar.trim().is_empty()) {
        return Err(BadCommand::Empty("calendar_id"));
    }
    let order = if let Some(run) = fields.run {
        let given = [
            ("calendar_id", fields.calendar_id.is_some()),
            ("start", fields.start.is_some()),
            ("end", fields.end.is_some()),
            ("days", fields.days.is_some()),
        ];
        shown_run(run, &given)?
    } else {
        let end_is_given = fields.end.is_some();
        let end = time("end", fields.end, Edge::End)?.unwrap_or(now);
        let start = time("start", fields.start, Edge::Beginning)?;
        let start = match (start, fields.days) {
            (Some(_), Some(_)) => return Err(BadCommand::TwoBeginnings),
            (Some(start), None) => start,
            (None, Some(days)) if (1..=MOST_DAYS).contains(&days) => end - days * DAY,
            (None, Some(days)) => return Err(BadCommand::Days(days)),
            (None, None) => end - DEFAULT_DAYS * DAY,
        };
        if start >= end {
            return Err(no_span(("start", start), (if end_is_given { "end" } else { "now" }, end)));
        }
        Order::Start(Job::Backfill { calendar: fields.calendar_id, start, end })
    };
    Ok(RunRequest {
        command: Command::Backfill,
        grant: Some(grant),
        functions: &[Function::CalendarSync],
        order,
        wait: fields.wait_seconds.map(Duration::from_secs),
    })
}

fn reconcile(fields: Map<String, Value>, now: i64) -> Result<RunRequest, BadCommand> {
    let fields: ReconcileFields = fields_of(fields)?;
    let grant = grant_of(fields.grant_id)?;
    let order = if let Some(run) = fields.run {
        shown_run(run, &[("from", fields.from.is_some()), ("to", fields.to.is_some())])?
    } else {
        let from = time("from", fields.from, Edge::Beginning)?;
        let to = time("to", fields.to, Edge::End)?;
        // What is still to come cannot have been missed: a later end counts as now.
        let end = match to {
            Some(to) if to < now => ("to", to),
            _ => ("now", now),
        };
        if let Some(from) = from
            && from >= end.1
        {
            return Err(no_span(("from", from), end));
        }
        Order::Start(Job::Reconcile { from, to })
    };
    Ok(RunRequest {
        command: Command::Reconcile,
        grant,
        functions: match fields.what {
            Some(What::Mail) => &[Function::EmailActivity],
            Some(What::Calendars) => &[Function::CalendarSync],
            Some(What::Notes) => &[Function::NotetakerMedia],
            None => &[Function::EmailActivity, Function::CalendarSync, Function::NotetakerMedia],
        },
        order,
        wait: fields.wait_seconds.map(Duration::from_secs),
    })
}

fn sync(fields: Map<String, Value>) -> Result<RunRequest, BadCommand> {
    let fields: SyncFields = fields_of(fields)?;
    let grant = grant_of(fields.grant_id)?;
    // Nylas would take it, but what is remembered of an account stands under its id.
    if grant.as_ref().is_some_and(|grant| grant.as_str().contains('@')) {
        return Err(BadCommand::NoGrantId);
    }
    let order = if let Some(run) = fields.run {
        let given = [("dry_run", fields.dry_run.is_some()), ("replace_existing", fields.replace_existing.is_some())];
        shown_run(run, &given)?
    } else {
        Order::Start(Job::Sync {
            dry_run: fields.dry_run.unwrap_or_default(),
            replace_existing: fields.replace_existing.unwrap_or_default(),
        })
    };
    Ok(RunRequest {
        command: Command::Sync,
        grant,
        functions: &[Function::ContactSync],
        order,
        wait: fields.wait_seconds.map(Duration::from_secs),
    })
}

/// Reads the fields of a command.
pub(crate) fn fields_of<T: serde::de::DeserializeOwned>(fields: Map<String, Value>) -> Result<T, BadCommand> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| BadCommand::Fields(error.to_string()))
}

/// The account of a command that is for one and no other; `reason` says so.
pub(crate) fn one_grant(given: Option<String>, reason: &'static str) -> Result<GrantId, BadCommand> {
    grant_of(given)?.ok_or(BadCommand::Missing { field: "grant_id", reason })
}

/// What a field holds, without the blanks around it; none if the field is not there.
pub(crate) fn filled(field: &'static str, given: Option<String>) -> Result<Option<String>, BadCommand> {
    let Some(text) = given else { return Ok(None) };
    let text = text.trim();
    if text.is_empty() { Err(BadCommand::Empty(field)) } else { Ok(Some(text.to_owned())) }
}

fn grant_of(given: Option<String>) -> Result<Option<GrantId>, BadCommand> {
    given.map(|grant| GrantId::parse(grant.trim()).ok_or(BadCommand::Empty("grant_id"))).transpose()
}

fn time(field: &'static str, given: Option<Value>, edge: Edge) -> Result<Option<i64>, BadCommand> {
    let Some(value) = given else { return Ok(None) };
    unix_seconds(&value, edge).map(Some).map_err(|problem| BadCommand::NotATime { field, value, problem })
}

fn shown_run(run: String, given: &[(&'static str, bool)]) -> Result<Order, BadCommand> {
    let is_name = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    if run.is_empty() || run.len() > LONGEST_RUN || !run.chars().all(is_name) {
        return Err(BadCommand::NoRun);
    }
    match given.iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => Err(BadCommand::NothingIsStarted(field)),
        None => Ok(Order::Show(run)),
    }
}

fn no_span((beginning, at): (&'static str, i64), (end, until): (&'static str, i64)) -> BadCommand {
    BadCommand::NoSpan { beginning, at: shown(at), end, until: shown(until) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joining_rules::Order as JoiningOrder;
    use crate::replay::asked::What as ReplayedFrom;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    /// 2026-03-01T10:00:00Z.
    const NOW: i64 = 1_772_359_200;

    fn asked(event: &Value) -> Result<Request, Refused> {
        Request::read(event, Timestamp::from_second(NOW).expect("a time"))
    }

    fn read(event: &Value) -> Result<RunRequest, Refused> {
        asked(event).map(|request| match request {
            Request::Run(run) => run,
            other => panic!("{other:?} is no run"),
        })
    }

    fn refused(event: &Value) -> String {
        let refused = asked(event).expect_err(&event.to_string());
        assert!(asked(&refused.meant.example()).is_ok(), "{event} is answered with a wrong example");
        refused.to_string()
    }

    fn started(event: &Value) -> Job {
        match read(event).expect("a request").order {
            Order::Start(job) => job,
            Order::Show(run) => panic!("{run} is only shown"),
        }
    }

    #[test]
    fn backfill_goes_back_90_days_unless_it_is_told_otherwise() {
        let span = |fields: Value| {
            let mut event = json!({ "command": "backfill", "grant_id": "g" });
            event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
            let Job::Backfill { start, end, .. } = started(&event) else { panic!("no backfill") };
            (start, end)
        };
        assert_eq!(span(json!({})), (NOW - 90 * DAY, NOW));
        assert_eq!(span(json!({ "days": 7 })), (NOW - 7 * DAY, NOW));
        assert_eq!(span(json!({ "end": "2026-02-28", "days": 1 })), (1_772_236_800, 1_772_323_200));
        assert_eq!(span(json!({ "start": "2026-02-01" })), (1_769_904_000, NOW));
        assert_eq!(span(json!({ "start": 1_769_904_000, "end": "1772323200" })), (1_769_904_000, 1_772_323_200));
        let next_year = 1_798_761_600;
        assert_eq!(span(json!({ "start": "2026-02-01", "end": "2026-12-31" })), (1_769_904_000, next_year));
    }

    #[test]
    fn backfill_is_for_one_account_and_calendar_sync_does_it() {
        let event = json!({ "command": "backfill", "grant_id": " g ", "calendar_id": "c", "wait_seconds": 0 });
        let request = read(&event).expect("a request");
        assert_eq!(request.grant, GrantId::parse("g"));
        assert_eq!(request.functions, [Function::CalendarSync]);
        assert_eq!(request.wait, Some(Duration::ZERO));
        assert!(
            matches!(request.order, Order::Start(Job::Backfill { calendar: Some(calendar), .. }) if calendar == "c")
        );
    }

    #[test]
    fn reconcile_is_for_mail_calendars_and_notes_of_all_accounts_unless_it_is_told_otherwise() {
        let request = read(&json!({ "command": "reconcile" })).expect("a request");
        assert_eq!((request.grant, request.wait), (None, None));
        assert_eq!(request.functions, [Function::EmailActivity, Function::CalendarSync, Function::NotetakerMedia]);
        assert_eq!(request.order, Order::Start(Job::Reconcile { from: None, to: None }));
        let event = json!({
            "command": "reconcile", "grant_id": "g", "what": "mail", "from": "2026-02-01", "to": "2026-02-01",
        });
        let request = read(&event).expect("a request");
        assert_eq!(request.grant, GrantId::parse("g"));
        assert_eq!(request.functions, [Function::EmailActivity]);
        let day = Job::Reconcile { from: Some(1_769_904_000), to: Some(1_769_990_400) };
        assert_eq!(request.order, Order::Start(day));
        for (what, function) in [("calendars", Function::CalendarSync), ("notes", Function::NotetakerMedia)] {
            let request = read(&json!({ "command": "reconcile", "what": what })).expect("a request");
            assert_eq!(request.functions, [function]);
        }
    }

    #[test]
    fn sync_is_for_the_address_books_of_all_accounts_and_writes_what_replaces_nothing_unless_it_is_told_otherwise() {
        let request = read(&json!({ "command": "sync" })).expect("a request");
        assert_eq!((request.grant, request.wait), (None, None));
        assert_eq!(request.functions, [Function::ContactSync]);
        assert_eq!(request.order, Order::Start(Job::Sync { dry_run: false, replace_existing: false }));
        let event = json!({ "command": "sync", "grant_id": " g ", "dry_run": true, "wait_seconds": 7 });
        let request = read(&event).expect("a request");
        assert_eq!((request.grant, request.wait), (GrantId::parse("g"), Some(Duration::from_secs(7))));
        assert_eq!(request.order, Order::Start(Job::Sync { dry_run: true, replace_existing: false }));
        let event = json!({ "command": "sync", "dry_run": false, "replace_existing": true });
        assert_eq!(started(&event), Job::Sync { dry_run: false, replace_existing: true });
    }

    #[test]
    fn run_that_is_named_is_shown_and_nothing_is_started() {
        for event in [
            json!({ "command": "backfill", "grant_id": "g", "run": "by-hand.1" }),
            json!({ "command": "reconcile", "run": "by-hand.1", "wait_seconds": 5 }),
            json!({ "command": "sync", "grant_id": "g", "run": "by-hand.1" }),
        ] {
            assert_eq!(read(&event).expect("a request").order, Order::Show("by-hand.1".to_owned()));
        }
        for field in ["calendar_id", "start", "end"] {
            let event = json!({ "command": "backfill", "grant_id": "g", "run": "r", field: "2026-02-01" });
            assert!(refused(&event).contains(&format!("leave `{field}` out")), "{field}");
        }
        let event = json!({ "command": "backfill", "grant_id": "g", "run": "r", "days": 7 });
        assert!(refused(&event).contains("leave `days` out"));
        let event = json!({ "command": "reconcile", "run": "r", "from": "2026-02-01" });
        assert!(refused(&event).contains("leave `from` out"));
        for field in ["dry_run", "replace_existing"] {
            for value in [true, false] {
                let event = json!({ "command": "sync", "run": "r", field: value });
                assert!(refused(&event).contains(&format!("leave `{field}` out")), "{event}");
            }
        }
        for run in ["", "a b", "r/g", &"r".repeat(101)] {
            assert!(refused(&json!({ "command": "reconcile", "run": run })).contains("name of a run"), "{run}");
        }
    }

    #[test]
    fn event_that_asks_again_names_what_the_progress_is_kept_under() {
        for (event, again) in [
            (
                json!({ "command": "backfill", "grant_id": "g", "days": 7 }),
                json!({ "command": "backfill", "grant_id": "g", "run": "r" }),
            ),
            (json!({ "command": "reconcile" }), json!({ "command": "reconcile", "run": "r" })),
            (
                json!({ "command": "reconcile", "grant_id": "g", "what": "calendars", "from": "2026-02-01" }),
                json!({ "command": "reconcile", "grant_id": "g", "what": "calendars", "run": "r" }),
            ),
            (
                json!({ "command": "reconcile", "what": "mail" }),
                json!({ "command": "reconcile", "what": "mail", "run": "r" }),
            ),
            (
                json!({ "command": "sync", "dry_run": true, "replace_existing": true }),
                json!({ "command": "sync", "run": "r" }),
            ),
            (json!({ "command": "sync", "grant_id": "g" }), json!({ "command": "sync", "grant_id": "g", "run": "r" })),
        ] {
            let request = read(&event).expect("a request");
            assert_eq!(request.again("r"), again);
            let asked_again = read(&again).expect("a request");
            assert_eq!((asked_again.grant, asked_again.functions), (request.grant, request.functions));
        }
    }

    #[test]
    fn wrong_event_is_told_what_is_wrong_and_shown_a_right_one() {
        for (event, words) in [
            (json!([]), "must be a JSON object"),
            (json!("backfill"), "must be a JSON object"),
            (
                json!({}),
                "has no `command`; there are `backfill`, `reconcile`, `sync`, `invite`, `auto_join`, `media`, \
                 `triage_rules`, `set_up`, `story`, `dead_letters`, `redrive`, `park`, `drop`, `replay`, `subscribe`, `doctor` \
                 and `forget`",
            ),
            (json!({ "command": "resync" }), "`resync` is no command; there are `backfill`, `reconcile`, `sync`"),
            (json!({ "command": 7 }), "`7` is no command"),
            (json!({ "command": "backfill" }), "`grant_id` is missing"),
            (json!({ "command": "backfill", "grant_id": "  " }), "`grant_id` is empty"),
            (json!({ "command": "reconcile", "grant_id": "" }), "`grant_id` is empty"),
            (
                json!({ "command": "sync", "grant_id": "dana@northwind.example" }),
                "name the account by its Nylas grant id",
            ),
            (json!({ "command": "backfill", "grant_id": "g", "calendar_id": "" }), "`calendar_id` is empty"),
            (json!({ "command": "backfill", "grant": "g" }), "unknown field `grant`"),
            (json!({ "command": "backfill", "grant_id": 7 }), "expected a string"),
            (json!({ "command": "reconcile", "days": 7 }), "unknown field `days`"),
            (json!({ "command": "reconcile", "what": "tickets" }), "unknown variant `tickets`"),
            (json!({ "command": "reconcile", "wait_seconds": -1 }), "invalid value"),
            (json!({ "command": "sync", "grant_id": "" }), "`grant_id` is empty"),
            (json!({ "command": "sync", "dryrun": true }), "unknown field `dryrun`"),
            (json!({ "command": "sync", "dry_run": "yes" }), "expected a boolean"),
            (json!({ "command": "set_up", "provider": "hubspot" }), "unknown field `provider`"),
            (json!({ "command": "set-up" }), "`set-up` is no command"),
            (
                json!({ "command": "backfill", "grant_id": "g", "start": "soon" }),
                "`start` is \"soon\": it must be a time",
            ),
            (json!({ "command": "reconcile", "to": 1 }), "`to` is 1: as Unix seconds"),
            (
                json!({ "command": "backfill", "grant_id": "g", "start": "2026-02-01", "days": 7 }),
                "leave one of them out",
            ),
            (json!({ "command": "backfill", "grant_id": "g", "days": 0 }), "`days` is 0"),
            (json!({ "command": "backfill", "grant_id": "g", "days": i64::MAX }), "it must be from 1 to"),
            (
                json!({ "command": "backfill", "grant_id": "g", "start": "2026-02-02", "end": "2026-02-01" }),
                "`start` (2026-02-02T00:00:00Z) is not before `end` (2026-02-02T00:00:00Z)",
            ),
            (
                json!({ "command": "backfill", "grant_id": "g", "start": "2027-01-01" }),
                "`start` (2027-01-01T00:00:00Z) is not before `now` (2026-03-01T10:00:00Z)",
            ),
            (json!({ "command": "reconcile", "from": 1_772_000_000, "to": 1_772_000_000 }), "is not before `to`"),
            (json!({ "command": "reconcile", "from": "2027-01-01", "to": "2027-02-01" }), "is not before `now`"),
        ] {
            let told = refused(&event);
            assert!(told.contains(words), "{event}: {told}");
        }
    }

    #[test]
    fn field_that_is_null_counts_as_left_out() {
        let event = json!({ "command": "reconcile", "grant_id": null, "from": null, "run": null });
        assert_eq!(read(&event), read(&json!({ "command": "reconcile" })));
    }

    #[test]
    fn every_sample_is_read_or_told_what_its_name_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/operator");
        let samples: BTreeMap<String, Value> = fs::read_dir(&folder)
            .expect("the samples")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).expect("a sample");
                (name, serde_json::from_str(&text).expect("JSON"))
            })
            .collect();
        for (name, event) in &samples {
            // Whatever day it is: samples name their times in full.
            let read = Request::read(event, Timestamp::from_second(1_800_000_000).expect("a time"));
            match (name.as_str(), read) {
                ("backfill" | "backfill-one-calendar", Ok(Request::Run(run))) => {
                    assert!(matches!(run.order, Order::Start(Job::Backfill { .. })), "{name}");
                }
                ("backfill-how-far", Ok(Request::Run(run))) => {
                    assert!(matches!(run.order, Order::Show(_)), "{name}");
                }
                ("reconcile-all-accounts", Ok(Request::Run(run))) => assert_eq!(run.grant, None),
                ("reconcile-one-account", Ok(Request::Run(run))) => assert!(run.grant.is_some()),
                ("sync-dry-run", Ok(Request::Run(run))) => {
                    let dry = Job::Sync { dry_run: true, replace_existing: false };
                    assert_eq!((run.grant, run.order), (None, Order::Start(dry)), "{name}");
                }
                ("sync-one-account", Ok(Request::Run(run))) => {
                    let writing = Job::Sync { dry_run: false, replace_existing: false };
                    assert_eq!((run.grant.is_some(), run.order), (true, Order::Start(writing)), "{name}");
                }
                ("sync-how-far", Ok(Request::Run(run))) => {
                    assert_eq!(run.functions, [Function::ContactSync], "{name}");
                    assert!(matches!(run.order, Order::Show(_)), "{name}");
                }
                ("unknown-command", Err(Refused { problem: BadCommand::UnknownCommand(_), .. }))
                | ("start-after-end", Err(Refused { problem: BadCommand::NoSpan { .. }, .. }))
                | ("silence-too-short", Err(Refused { problem: BadCommand::Rules(BadRules::Silence(5)), .. }))
                | ("rules-with-mistakes", Err(Refused { problem: BadCommand::TriageRules(_), .. }))
                | ("forget-whole-domain", Err(Refused { problem: BadCommand::Wrong { field: "email", .. }, .. }))
                | ("redrive-nothing-named", Err(Refused { problem: BadCommand::Missing { field: "id", .. }, .. }))
                | ("media", Ok(Request::Media(_)))
                | ("dead-letters" | "dead-letters-one-class", Ok(Request::Letters(LettersRequest::Show(_))))
                | ("set-up", Ok(Request::SetUp))
                | ("doctor", Ok(Request::Doctor))
                | ("story-of-nothing", Err(Refused { problem: BadCommand::Empty("id"), .. }))
                | (
                    "replay-no-notification",
                    Err(Refused { problem: BadCommand::Wrong { field: "notification", .. }, .. }),
                ) => {}
                ("forget", Ok(Request::Forget(asked))) => assert!(asked.dry_run, "{name}"),
                ("forget-for-good", Ok(Request::Forget(asked))) => assert!(!asked.dry_run, "{name}"),
                (
                    "redrive-dry-run" | "redrive" | "park" | "drop",
                    Ok(Request::Letters(LettersRequest::Move(order))),
                ) => {
                    let is_real = name == "redrive";
                    assert_eq!(order.dry_run, !is_real, "{name}");
                    assert!(is_real || name.starts_with(order.deed.command()), "{name}");
                }
                ("triage-rules", Ok(Request::TriageRules(asked))) => assert_eq!(asked.days, 14, "{name}"),
                ("subscribe", Ok(Request::Subscribe(asked))) => assert_eq!(asked, Subscription::default()),
                ("subscribe-rotate", Ok(Request::Subscribe(asked))) => assert!(asked.rotate, "{name}"),
                ("subscribe-check", Ok(Request::Subscribe(asked))) => assert!(asked.check, "{name}"),
                ("subscribe-activate", Ok(Request::Subscribe(asked))) => assert!(asked.activate, "{name}"),
                ("invite", Ok(Request::Invite(invitation))) => assert_eq!(invitation.at, None, "{name}"),
                ("auto-join-show", Ok(Request::AutoJoin(asked))) => {
                    assert_eq!(asked.order, JoiningOrder::Show, "{name}");
                }
                ("auto-join-on", Ok(Request::AutoJoin(asked))) => {
                    assert!(matches!(asked.order, JoiningOrder::Set(_)), "{name}");
                }
                ("auto-join-off", Ok(Request::AutoJoin(asked))) => assert_eq!(asked.order, JoiningOrder::Remove),
                ("story", Ok(Request::Story(asked))) => assert_eq!(asked.grant, None, "{name}"),
                ("story-within-an-account", Ok(Request::Story(asked))) => assert!(asked.grant.is_some(), "{name}"),
                ("replay-a-message", Ok(Request::Replay(asked))) => assert!(asked.dry_run, "{name}"),
                ("replay-a-notification-again", Ok(Request::Replay(asked))) => {
                    assert!(asked.again && !asked.dry_run, "{name}");
                }
                ("replay-unroutable", Ok(Request::Replay(asked))) => {
                    assert_eq!(asked.what, ReplayedFrom::Unroutable, "{name}");
                }
                (name, read) => panic!("{name} is read otherwise than this test knows: {read:?}"),
            }
        }
        assert_eq!(samples.len(), 41);
    }
}

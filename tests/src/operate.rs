//! Gives the operator a command through `sam remote invoke`, as `make backfill`, `make reconcile`, `make sync`,
//! `make invite`, `make auto-join`, `make media`, `make set-up` and `make triage-rules` do, and watches a run for longer than
//! one invocation can.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::local_engine::{EngineError, Tools};

/// The operator's name in the template.
const OPERATOR: &str = "OperatorFunction";

/// How long the first invocation follows a run, in seconds: soon enough to tell the run's name before patience ends.
const FIRST_LOOK: u64 = 8;

/// How long every further one does. SAM gives an answer 60 s, then it invokes the function once more.
const FURTHER_LOOK: u64 = 40;

/// The longest event that is handed over, in bytes: it is an argument of a command, which Linux lets have 128 KiB.
const LONGEST_EVENT: usize = 128 * 1024 - 1;

/// What the operator is to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Operation {
    /// Brings the events of an account's calendars to the CRM.
    Backfill(BackfillArguments),
    /// Looks for what Nylas has not notified of.
    Reconcile(ReconcileArguments),
    /// Brings the phones, titles and companies of address books to the CRM.
    Sync(SyncArguments),
    /// Sends a notetaker to a meeting.
    Invite(InviteArguments),
    /// Shows or sets by which rules notetakers join the meetings of a calendar.
    AutoJoin(AutoJoinArguments),
    /// Makes a link that opens a file of a meeting.
    Media(MediaArguments),
    /// Sees to what the CRM and the ticket system need once.
    SetUp,
    /// Gives any command with any fields, and goes on where an answer ends as long as that does no more than was asked for.
    Give(GiveArguments),
}

/// A command and its fields.
#[derive(Debug, Clone, Args)]
pub struct GiveArguments {
    /// The command, for example `story`.
    command: String,
    /// The fields: `name=text`, `name:=JSON`, or `name:=@file` for the JSON that a file holds.
    #[arg(value_parser = field_of)]
    fields: Vec<(String, Value)>,
}

/// What a backfill can be told.
#[derive(Debug, Clone, Args)]
pub struct BackfillArguments {
    /// The account.
    #[arg(long)]
    grant: String,
    /// One of its calendars; all that it can write to if there is none.
    #[arg(long)]
    calendar: Option<String>,
    /// How many days it goes back.
    #[arg(long)]
    days: Option<i64>,
    /// From when: a time, a date or Unix seconds.
    #[arg(long)]
    start: Option<String>,
    /// Until when.
    #[arg(long)]
    end: Option<String>,
    /// Starts nothing and shows how far this run has come.
    #[arg(long)]
    run: Option<String>,
}

/// What a reconciliation can be told.
#[derive(Debug, Clone, Args)]
pub struct ReconcileArguments {
    /// The account; all if there is none.
    #[arg(long)]
    grant: Option<String>,
    /// `mail` or `calendars`; both if there is none.
    #[arg(long)]
    what: Option<String>,
    /// From when: a time, a date or Unix seconds.
    #[arg(long)]
    from: Option<String>,
    /// Until when.
    #[arg(long)]
    to: Option<String>,
    /// Starts nothing and shows how far this run has come.
    #[arg(long)]
    run: Option<String>,
}

/// What a sync of address books can be told.
#[derive(Debug, Clone, Args)]
pub struct SyncArguments {
    /// The account; all if there is none.
    #[arg(long)]
    grant: Option<String>,
    /// Writes nothing and shows what would be written.
    #[arg(long)]
    dry_run: bool,
    /// Replaces values, too, that stood in the CRM before anything was written there.
    #[arg(long)]
    replace_existing: bool,
    /// Starts nothing and shows how far this run has come.
    #[arg(long)]
    run: Option<String>,
}

/// What an invitation can be told.
#[derive(Debug, Clone, Args)]
pub struct InviteArguments {
    /// The account that sends the notetaker.
    #[arg(long)]
    grant: String,
    /// Where people join the meeting.
    #[arg(long)]
    link: String,
    /// When it joins: a time or Unix seconds; at once if there is none.
    #[arg(long)]
    at: Option<String>,
    /// How it is called in the meeting.
    #[arg(long)]
    name: Option<String>,
}

/// What the rules for joining can be told.
#[derive(Debug, Clone, Args)]
pub struct AutoJoinArguments {
    /// The account.
    #[arg(long)]
    grant: String,
    /// Its calendar; `primary` if there is none.
    #[arg(long)]
    calendar: Option<String>,
    /// The rules that are put in place, as a JSON object; without them and without `--off` those that hold are shown.
    #[arg(long, value_parser = json_of)]
    set: Option<Value>,
    /// Removes the rules.
    #[arg(long)]
    off: bool,
}

/// What is told of a file of a meeting.
#[derive(Debug, Clone, Args)]
pub struct MediaArguments {
    /// What stands in the CRM: `s3://<bucket>/media/<grant>/<notetaker>/<file>`.
    #[arg(long)]
    reference: String,
    /// How many minutes the link works.
    #[arg(long)]
    minutes: Option<i64>,
}

/// What rules are tried on.
#[derive(Debug, Clone, Args)]
pub struct TrialArguments {
    /// How many days' mail.
    #[arg(long)]
    days: Option<i64>,
    /// Which mailboxes, separated by commas; those of the stack's `SupportGrantIds` if there is none.
    #[arg(long, value_delimiter = ',')]
    grants: Vec<String>,
}

impl TrialArguments {
    /// The event for the operator.
    fn event(&self, rules: &str) -> Map<String, Value> {
        let mut event = Map::from_iter([("command".to_owned(), json!("triage_rules"))]);
        event.insert("rules".to_owned(), rules.into());
        event.extend(self.days.map(|days| ("days".to_owned(), days.into())));
        if !self.grants.is_empty() {
            event.insert("grant_ids".to_owned(), json!(self.grants));
        }
        event
    }
}

fn json_of(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))
}

/// A field as it is given on the command line.
fn field_of(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("a field is given as name=text or name:=JSON")?;
    let Some(name) = name.strip_suffix(':') else { return Ok((name.to_owned(), value.into())) };
    let value = match value.strip_prefix('@') {
        None => json_of(value)?,
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
            json_of(&text).map_err(|problem| format!("{file}: {problem}"))?
        }
    };
    Ok((name.to_owned(), value))
}

/// The operator did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// It could not be invoked.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It answered that something is wrong.
    #[error("{error}{}", example.as_ref().map(|example| format!("\nAn event that is right: {example}")).unwrap_or_default())]
    Refused {
        /// What is wrong.
        error: String,
        /// An event that is right.
        example: Option<Value>,
    },
    /// It has ended, and could not do all that it should.
    #[error("not all was done: the table says why under `problem`")]
    NotAll,
    /// A system lacks something, or could not be asked.
    #[error("not all is as it should be: the answer says what to do")]
    NotReady,
    /// Nylas keeps other rules than it was told.
    #[error("Nylas keeps something else than it was told: {0}")]
    NotAsTold(String),
    /// It did not come to the end of all mail.
    #[error("not all mail was looked at: {0}. Give the command again in a few minutes")]
    NotAllLookedAt(String),
    /// The event is too long to be handed over.
    #[error(
        "the rules are too long to be handed to the operator: the event has {0} bytes, and {LONGEST_EVENT} is the most. Leave \
         comments out; or put the file in place without a look at what it changes: aws s3 cp <file> \
         s3://<ArchiveBucketName>/settings/triage-rules.toml"
    )]
    TooLong(usize),
    /// The event is too long to be handed over.
    #[error(
        "the event has {0} bytes, and {LONGEST_EVENT} is the most that can be handed over here: give it with \
         `aws lambda invoke --payload file://…`, or in parts"
    )]
    EventTooLong(usize),
    /// It answered in another form.
    #[error("the operator gave an answer of another release: {0}")]
    UnknownAnswer(Value),
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq)]
struct Progress {
    run: String,
    ended: bool,
    rows: Value,
    again: Map<String, Value>,
    table: String,
    answer: Value,
}

impl Operation {
    /// The event for the operator.
    #[must_use]
    pub fn event(&self) -> Map<String, Value> {
        let text = |given: Option<&str>| given.map(Value::from);
        let fields = match self {
            Self::Backfill(arguments) => vec![
                ("command", Some(json!("backfill"))),
                ("grant_id", Some(json!(arguments.grant))),
                ("calendar_id", text(arguments.calendar.as_deref())),
                ("days", arguments.days.map(Value::from)),
                ("start", text(arguments.start.as_deref())),
                ("end", text(arguments.end.as_deref())),
                ("run", text(arguments.run.as_deref())),
            ],
            Self::Reconcile(arguments) => vec![
                ("command", Some(json!("reconcile"))),
                ("grant_id", text(arguments.grant.as_deref())),
                ("what", text(arguments.what.as_deref())),
                ("from", text(arguments.from.as_deref())),
                ("to", text(arguments.to.as_deref())),
                ("run", text(arguments.run.as_deref())),
            ],
            Self::Sync(arguments) => vec![
                ("command", Some(json!("sync"))),
                ("grant_id", text(arguments.grant.as_deref())),
                ("dry_run", arguments.dry_run.then_some(Value::Bool(true))),
                ("replace_existing", arguments.replace_existing.then_some(Value::Bool(true))),
                ("run", text(arguments.run.as_deref())),
            ],
            Self::Invite(arguments) => vec![
                ("command", Some(json!("invite"))),
                ("grant_id", Some(json!(arguments.grant))),
                ("meeting_link", Some(json!(arguments.link))),
                ("at", text(arguments.at.as_deref())),
                ("name", text(arguments.name.as_deref())),
            ],
            Self::AutoJoin(arguments) => vec![
                ("command", Some(json!("auto_join"))),
                ("grant_id", Some(json!(arguments.grant))),
                ("calendar_id", text(arguments.calendar.as_deref())),
                ("set", arguments.set.clone()),
                ("off", arguments.off.then_some(Value::Bool(true))),
            ],
            Self::Media(arguments) => vec![
                ("command", Some(json!("media"))),
                ("reference", Some(json!(arguments.reference))),
                ("minutes", arguments.minutes.map(Value::from)),
            ],
            Self::SetUp => vec![("command", Some(json!("set_up")))],
            Self::Give(arguments) => {
                let mut event: Map<String, Value> = arguments.fields.iter().cloned().collect();
                event.insert("command".to_owned(), arguments.command.clone().into());
                return event;
            }
        };
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Whether it is about a run, which is watched.
    fn is_run(&self) -> bool {
        matches!(self, Self::Backfill(_) | Self::Reconcile(_) | Self::Sync(_))
    }
}

/// Gives the command to the operator of a stack, in AWS if there is no `endpoint`, and says what it answered. A run is
/// watched until it has ended or nothing of it changes any more. Lines for people go to `say`.
///
/// # Errors
/// If the operator cannot be invoked or answers that something is wrong.
pub async fn operate(
    tools: &Tools,
    stack: &str,
    endpoint: Option<&str>,
    operation: &Operation,
    form: Form,
    mut say: impl FnMut(&str),
) -> Result<(), OperateError> {
    let invoke = async |event: Value| tools.remote_invoke(stack, OPERATOR, &event, endpoint).await;
    if !operation.is_run() {
        return go_on(operation.event(), form, invoke, say).await;
    }
    let again = watch(operation.event(), form, invoke, &mut say).await?;
    if let Some(again) = again.filter(|_| form == Form::Table) {
        let aws = if endpoint.is_none() { format!(" STACK={stack}") } else { String::new() };
        say(&format!("or with: {}{aws}", command_line(&again)));
    }
    Ok(())
}

/// In which form an answer is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a table and in words.
    Table,
    /// As the JSON that the operator answered.
    Json,
}

/// Gives a command, says the answer, and gives the event that it names for going on, as long as that does no more than was
/// asked for: what was only shown is not done.
async fn go_on(
    mut event: Map<String, Value>,
    form: Form,
    mut invoke: impl AsyncFnMut(Value) -> Result<Value, EngineError>,
    mut say: impl FnMut(&str),
) -> Result<(), OperateError> {
    loop {
        let length = Value::Object(event.clone()).to_string().len();
        if length > LONGEST_EVENT {
            return Err(OperateError::EventTooLong(length));
        }
        let answer = invoke(Value::Object(event.clone())).await?;
        let again = answer["again"].as_object().cloned();
        match form {
            Form::Table => tell(answer, &mut say)?,
            Form::Json => {
                say(&format!("{answer:#}"));
                tell(answer, |_| ())?;
            }
        }
        let is_live = |event: &Map<String, Value>| event.get("dry_run") == Some(&Value::Bool(false));
        match again {
            Some(again) if again != event && is_live(&again) == is_live(&event) => event = again,
            _ => return Ok(()),
        }
    }
}

/// Has the operator of a stack try rules, in AWS if there is no `endpoint`, until it has looked at all mail. Lines for
/// people go to `say`.
///
/// # Errors
/// If the operator cannot be invoked, answers that something is wrong, or cannot look at all mail.
pub async fn try_rules(
    tools: &Tools,
    stack: &str,
    endpoint: Option<&str>,
    rules: &str,
    arguments: &TrialArguments,
    say: impl FnMut(&str),
) -> Result<(), OperateError> {
    let invoke = async |event: Value| tools.remote_invoke(stack, OPERATOR, &event, endpoint).await;
    go_through(arguments.event(rules), invoke, say).await
}

/// Asks again at the place that was answered, until there is none.
async fn go_through(
    mut event: Map<String, Value>,
    mut invoke: impl AsyncFnMut(Value) -> Result<Value, EngineError>,
    mut say: impl FnMut(&str),
) -> Result<(), OperateError> {
    loop {
        let length = Value::Object(event.clone()).to_string().len();
        if length > LONGEST_EVENT {
            return Err(OperateError::TooLong(length));
        }
        let answer = not_refused(invoke(Value::Object(event.clone())).await?)?;
        let (Some(table), Some(text), Some(ended)) =
            (answer["table"].as_str(), answer["text"].as_str(), answer["ended"].as_bool())
        else {
            return Err(OperateError::UnknownAnswer(answer));
        };
        if !table.is_empty() {
            say(table);
        }
        if ended {
            say(text);
            return Ok(());
        }
        if let Some(problem) = answer["problem"].as_str() {
            say(text);
            return Err(OperateError::NotAllLookedAt(problem.to_owned()));
        }
        let place = answer["place"].clone();
        if event.get("place") == Some(&place) {
            return Err(OperateError::NotAllLookedAt("Nylas is too slow to get any further".to_owned()));
        }
        say(&format!("  mails looked at: {}", answer["counts"]["looked_at"]));
        event.insert("place".to_owned(), place);
    }
}

/// Watches what an event starts; answers the event that asks again if the run has not ended.
async fn watch(
    mut event: Map<String, Value>,
    form: Form,
    mut invoke: impl AsyncFnMut(Value) -> Result<Value, EngineError>,
    mut say: impl FnMut(&str),
) -> Result<Option<Map<String, Value>>, OperateError> {
    event.insert("wait_seconds".to_owned(), FIRST_LOOK.into());
    let mut before: Option<Progress> = None;
    loop {
        let progress = read(invoke(Value::Object(event)).await?)?;
        let stands_still = before.as_ref().is_some_and(|before| before.rows == progress.rows);
        if progress.ended || stands_still {
            match form {
                Form::Table => {
                    say(&format!("{}\n", progress.run));
                    say(&progress.table);
                }
                Form::Json => say(&format!("{:#}", progress.answer)),
            }
            let has_problem = |row: &Value| row["problem"].is_string();
            if progress.ended && progress.rows.as_array().is_some_and(|rows| rows.iter().any(has_problem)) {
                return Err(OperateError::NotAll);
            }
            return Ok((!progress.ended).then_some(progress.again));
        }
        // Programs get the last answer alone.
        let mut say = |line: &str| {
            if form == Form::Table {
                say(line);
            }
        };
        if before.is_none() {
            say(&format!("watching {}, which goes on whether it is watched or not", progress.run));
        }
        say(&in_a_line(&progress.rows));
        event = Map::from_iter([("wait_seconds".to_owned(), FURTHER_LOOK.into())]);
        event.extend(progress.again.clone());
        before = Some(progress);
    }
}

/// Says what was answered to a command that starts no run.
fn tell(answer: Value, mut say: impl FnMut(&str)) -> Result<(), OperateError> {
    let answer = not_refused(answer)?;
    let Some(text) = answer["text"].as_str() else { return Err(OperateError::UnknownAnswer(answer)) };
    if let Some(table) = answer["table"].as_str() {
        say(table);
    }
    say(text);
    if answer["ready"] == false {
        return Err(OperateError::NotReady);
    }
    let differs: Vec<&str> = answer["differs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if differs.is_empty() { Ok(()) } else { Err(OperateError::NotAsTold(differs.join(", "))) }
}

/// The answer, unless it says that something is wrong.
fn not_refused(answer: Value) -> Result<Value, OperateError> {
    // `errorMessage` is Lambda's own, of a function that failed.
    if let Some(error) = answer["error"].as_str().or(answer["errorMessage"].as_str()) {
        let example = answer.get("example").cloned();
        return Err(OperateError::Refused { error: error.to_owned(), example });
    }
    Ok(answer)
}

fn read(answer: Value) -> Result<Progress, OperateError> {
    let answer = not_refused(answer)?;
    let progress = (|| {
        Some(Progress {
            run: answer["run"].as_str()?.to_owned(),
            ended: answer["ended"].as_bool()?,
            rows: answer["rows"].clone(),
            again: answer["again"].as_object()?.clone(),
            table: answer["table"].as_str()?.to_owned(),
            answer: answer.clone(),
        })
    })();
    progress.ok_or(OperateError::UnknownAnswer(answer))
}

/// The `make` command that gives an event.
fn command_line(event: &Map<String, Value>) -> String {
    let text = |name: &str| event.get(name).and_then(Value::as_str);
    let mut line = format!("make {}", text("command").unwrap_or_default());
    for (variable, field) in [("GRANT", "grant_id"), ("WHAT", "what"), ("RUN", "run")] {
        if let Some(value) = text(field) {
            line = format!("{line} {variable}={value}");
        }
    }
    line
}

fn in_a_line(rows: &Value) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let ended = rows.iter().filter(|row| row["state"] == "ended").count();
    let jobs: u64 = rows.iter().filter_map(|row| row["jobs"].as_u64()).sum();
    format!("  jobs done: {jobs}; parts ended: {ended} of {}", rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct CommandLine {
        #[command(subcommand)]
        operation: Operation,
    }

    fn event(words: &[&str]) -> Value {
        let line = CommandLine::try_parse_from([&["operate"], words].concat()).expect("a command line");
        Value::Object(line.operation.event())
    }

    #[test]
    fn command_line_becomes_an_event_of_what_was_given_and_no_more() {
        assert_eq!(
            event(&["backfill", "--grant", "g", "--days", "30"]),
            json!({ "command": "backfill", "grant_id": "g", "days": 30 })
        );
        assert_eq!(
            event(&["backfill", "--grant", "g", "--calendar", "c", "--start", "2026-03-01", "--end", "1772359200"]),
            json!({
                "command": "backfill", "grant_id": "g", "calendar_id": "c", "start": "2026-03-01",
                "end": "1772359200",
            })
        );
        assert_eq!(event(&["reconcile"]), json!({ "command": "reconcile" }));
        assert_eq!(
            event(&["reconcile", "--grant", "g", "--what", "mail", "--from", "2026-03-01", "--to", "2026-03-02"]),
            json!({
                "command": "reconcile", "grant_id": "g", "what": "mail", "from": "2026-03-01", "to": "2026-03-02",
            })
        );
    }

    #[test]
    fn command_line_for_address_books_becomes_an_event_of_a_run_that_is_watched() {
        assert_eq!(event(&["sync"]), json!({ "command": "sync" }));
        assert_eq!(
            event(&["sync", "--grant", "g", "--dry-run", "--replace-existing"]),
            json!({ "command": "sync", "grant_id": "g", "dry_run": true, "replace_existing": true })
        );
        assert_eq!(event(&["sync", "--run", "r"]), json!({ "command": "sync", "run": "r" }));
        let line = CommandLine::try_parse_from(["operate", "sync"]).expect("a command line");
        assert!(line.operation.is_run());
    }

    #[test]
    fn command_line_for_notetakers_becomes_an_event_with_the_rules_as_they_are_given() {
        assert_eq!(
            event(&["invite", "--grant", "g", "--link", "https://meet.google.com/abc", "--at", "1772359200"]),
            json!({
                "command": "invite", "grant_id": "g", "meeting_link": "https://meet.google.com/abc", "at": "1772359200",
            })
        );
        assert_eq!(event(&["auto-join", "--grant", "g"]), json!({ "command": "auto_join", "grant_id": "g" }));
        let rules = r#"{"events":["external"],"summary_instructions":"What's decided."}"#;
        assert_eq!(
            event(&["auto-join", "--grant", "g", "--calendar", "c", "--set", rules]),
            json!({
                "command": "auto_join", "grant_id": "g", "calendar_id": "c",
                "set": { "events": ["external"], "summary_instructions": "What's decided." },
            })
        );
        assert_eq!(
            event(&["auto-join", "--grant", "g", "--off"]),
            json!({ "command": "auto_join", "grant_id": "g", "off": true })
        );
        let wrong = CommandLine::try_parse_from(["operate", "auto-join", "--grant", "g", "--set", "{events}"]);
        assert!(wrong.is_err_and(|error| error.to_string().contains("it is no JSON")));
        assert_eq!(
            event(&["media", "--reference", "s3://b/media/g/n/f", "--minutes", "5"]),
            json!({ "command": "media", "reference": "s3://b/media/g/n/f", "minutes": 5 })
        );
        assert_eq!(event(&["set-up"]), json!({ "command": "set_up" }));
    }

    #[test]
    fn any_command_is_given_with_fields_as_text_or_as_json() {
        assert_eq!(
            event(&["give", "redrive", "id=a=b", "dry_run:=false", "reason=it is mended"]),
            json!({ "command": "redrive", "id": "a=b", "dry_run": false, "reason": "it is mended" })
        );
        assert_eq!(event(&["give", "doctor"]), json!({ "command": "doctor" }));
        for wrong in ["dry_run", "dry_run:={", "notification:=@/no/such/file"] {
            assert!(CommandLine::try_parse_from(["operate", "give", "replay", wrong]).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn answer_that_has_not_ended_is_gone_on_with_and_what_was_only_shown_is_not_done() {
        let given = async |event: Value, answers: Vec<Value>| {
            let (mut given, mut answers) = (Vec::new(), answers.into_iter());
            let invoke = async |event: Value| {
                given.push(event);
                Ok(answers.next().expect("no more is given than there are answers"))
            };
            let event = event.as_object().expect("an object").clone();
            go_on(event, Form::Table, invoke, |_| ()).await.expect("told");
            given
        };
        let part = |again: Value| json!({ "table": "t", "text": "some of it", "again": again });
        let ended = || json!({ "table": "t", "text": "all of it" });
        let (live, next) = (
            json!({ "command": "redrive", "all": true, "dry_run": false }),
            json!({ "command": "redrive", "all": true, "dry_run": false, "after": "7" }),
        );
        assert_eq!(given(live.clone(), vec![part(next.clone()), ended()]).await, [live.clone(), next]);
        let shown = json!({ "command": "redrive", "all": true });
        assert_eq!(given(shown.clone(), vec![part(live.clone())]).await, [shown], "it was only to be shown");
        assert_eq!(given(live.clone(), vec![part(live.clone())]).await, [live], "the same event goes nowhere");
    }

    #[test]
    fn answer_without_a_run_is_said_in_its_words_and_fails_where_it_should() {
        let told = |answer: Value| {
            let mut said = Vec::new();
            let result = tell(answer, |line| said.push(line.to_owned()));
            (said, result.map_err(|error| error.to_string()))
        };
        assert_eq!(told(json!({ "text": "It is on its way." })), (vec!["It is on its way.".to_owned()], Ok(())));
        let (said, result) = told(json!({ "text": "Set.", "differs": ["rules", "name"] }));
        let differs = "Nylas keeps something else than it was told: rules, name".to_owned();
        assert_eq!((said, result), (vec!["Set.".to_owned()], Err(differs)));
        let set_up = |ready: bool| told(json!({ "table": "two rows", "text": "Mend it.", "ready": ready }));
        assert_eq!(set_up(true), (vec!["two rows".to_owned(), "Mend it.".to_owned()], Ok(())));
        let (said, result) = set_up(false);
        assert!(said.len() == 2 && result.is_err_and(|error| error.contains("not all is as it should be")));
        let (said, result) = told(json!({ "error": "no such calendar", "calendars": [] }));
        assert_eq!((said, result), (Vec::new(), Err("no such calendar".to_owned())));
        assert!(told(json!({ "outcome": "invited" })).1.is_err_and(|error| error.contains("another release")));
    }

    fn at(jobs: u64, ended: bool) -> Value {
        let state = if ended { "ended" } else { "under way" };
        json!({
            "command": "backfill", "run": "r", "ended": ended, "rows": [{ "state": state, "jobs": jobs }],
            "again": { "command": "backfill", "grant_id": "g", "run": "r" }, "table": format!("table of {jobs}"),
        })
    }

    async fn watched(answers: Vec<Value>) -> (Vec<Value>, Vec<String>, Option<Map<String, Value>>) {
        let (mut asked, mut said, mut answers) = (Vec::new(), Vec::new(), answers.into_iter());
        let event = Map::from_iter([("command".to_owned(), json!("backfill")), ("days".to_owned(), json!(7))]);
        let invoke = async |event: Value| {
            asked.push(event);
            Ok(answers.next().expect("an answer that is expected"))
        };
        let again = watch(event, Form::Table, invoke, |line| said.push(line.to_owned())).await.expect("watched");
        assert_eq!(answers.next(), None);
        (asked, said, again)
    }

    #[tokio::test]
    async fn run_is_started_once_and_then_watched_by_its_name_to_its_end() {
        let (asked, said, again) = watched(vec![at(1, false), at(2, false), at(3, true)]).await;
        let further = json!({ "command": "backfill", "grant_id": "g", "run": "r", "wait_seconds": FURTHER_LOOK });
        let first = json!({ "command": "backfill", "days": 7, "wait_seconds": FIRST_LOOK });
        assert_eq!(asked, [first, further.clone(), further]);
        assert_eq!(said[1..3], ["  jobs done: 1; parts ended: 0 of 1", "  jobs done: 2; parts ended: 0 of 1"]);
        assert_eq!(said.last().map(String::as_str), Some("table of 3"));
        assert_eq!(again, None);
    }

    #[tokio::test]
    async fn run_that_stands_still_is_watched_no_longer_and_can_be_asked_for_again() {
        let (asked, said, again) = watched(vec![at(1, false), at(2, false), at(2, false)]).await;
        assert_eq!(asked.len(), 3);
        assert_eq!(said.last().map(String::as_str), Some("table of 2"));
        assert_eq!(again.map(|again| command_line(&again)).as_deref(), Some("make backfill GRANT=g RUN=r"));
    }

    async fn tried(answers: Vec<Value>) -> (Vec<Value>, Vec<String>, Result<(), String>) {
        let (mut asked, mut said, mut answers) = (Vec::new(), Vec::new(), answers.into_iter());
        let arguments = TrialArguments { days: Some(14), grants: vec!["g".to_owned(), "h".to_owned()] };
        let invoke = async |event: Value| {
            asked.push(event);
            Ok(answers.next().expect("an answer that is expected"))
        };
        let result = go_through(arguments.event("rules"), invoke, |line| said.push(line.to_owned())).await;
        assert_eq!(answers.next(), None);
        (asked, said, result.map_err(|error| error.to_string()))
    }

    #[tokio::test]
    async fn trial_goes_on_at_its_place_until_it_has_ended() {
        let place = json!({ "grant_id": "g", "done": 120 });
        let first = json!({
            "table": "three rows", "text": "Not ended.", "ended": false, "place": place, "counts": { "looked_at": 120 },
        });
        let last = json!({ "table": "", "text": "Looked at: 150.", "ended": true, "place": null });
        let (asked, said, result) = tried(vec![first.clone(), last]).await;
        let event = json!({ "command": "triage_rules", "rules": "rules", "days": 14, "grant_ids": ["g", "h"] });
        let mut again = event.clone();
        again["place"] = place;
        assert_eq!((asked, result), (vec![event, again], Ok(())));
        assert_eq!(said, ["three rows", "  mails looked at: 120", "Looked at: 150."]);
        let (asked, _, result) = tried(vec![first.clone(), first]).await;
        assert!(asked.len() == 2 && result.is_err_and(|error| error.contains("too slow")));
    }

    #[tokio::test]
    async fn trial_that_cannot_go_on_fails_with_the_reason() {
        let stopped = json!({
            "table": "", "text": "It has not ended.", "ended": false, "problem": "Nylas is unavailable", "place": {},
        });
        let (_, said, result) = tried(vec![stopped]).await;
        assert_eq!(said, ["It has not ended."]);
        assert!(result.is_err_and(|error| error.contains("not all mail was looked at: Nylas is unavailable")));
        let (_, said, result) = tried(vec![json!({ "error": "`rules` cannot be used" })]).await;
        assert_eq!((said.len(), result), (0, Err("`rules` cannot be used".to_owned())));
        let long = TrialArguments { days: None, grants: Vec::new() }.event(&"#".repeat(LONGEST_EVENT));
        let result = go_through(long, async |_| panic!("not handed over"), |_| {}).await;
        assert!(matches!(result, Err(OperateError::TooLong(_))));
    }

    #[test]
    fn answer_is_progress_or_an_error_that_can_be_shown() {
        let again = json!({ "command": "backfill", "grant_id": "g", "run": "r" });
        let progress = json!({
            "command": "backfill", "run": "r", "ended": false, "rows": [], "again": again, "table": "a table",
        });
        let progress = read(progress).expect("progress");
        assert_eq!((progress.run.as_str(), progress.ended, progress.table.as_str()), ("r", false, "a table"));
        assert_eq!(command_line(&progress.again), "make backfill GRANT=g RUN=r");
        let refused =
            read(json!({ "error": "`days` is 0", "example": { "command": "backfill" } })).expect_err("refused");
        assert_eq!(refused.to_string(), "`days` is 0\nAn event that is right: {\"command\":\"backfill\"}");
        let failed = read(json!({ "errorType": "OperateError", "errorMessage": "the queue" })).expect_err("failed");
        assert_eq!(failed.to_string(), "the queue");
        assert!(matches!(read(json!({})), Err(OperateError::UnknownAnswer(_))));
    }
}

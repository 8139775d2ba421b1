//! Sees to what the CRM and the ticket system need once, and tells what is there, what was made and what people have to do.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::{Serialize, Serializer};
use shared::engine::Deadline;
use shared::http::CallError;
use shared::set_up::{SetUp, SetUpItem, SetUpState};
use std::fmt;

use crate::report::WIDTH;

/// A system at the other end, as the stack is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System<S> {
    /// What it is to this project.
    pub name: &'static str,
    /// Whose it is, by the parameter that says so: `hubspot`.
    pub provider: String,
    /// The parameter that holds its address; it is off while that is empty.
    pub address_parameter: &'static str,
    /// Its client; none while it is off.
    pub client: Option<S>,
}

impl<S> System<S> {
    /// The CRM.
    #[must_use]
    pub fn crm(provider: Option<String>, client: Option<S>) -> Self {
        Self { name: "the CRM", provider: named(provider), address_parameter: "CrmBaseUrl", client }
    }

    /// The ticket system.
    #[must_use]
    pub fn tickets(provider: Option<String>, client: Option<S>) -> Self {
        Self { name: "the ticket system", provider: named(provider), address_parameter: "TicketBaseUrl", client }
    }
}

/// The parameters' default.
fn named(provider: Option<String>) -> String {
    provider.unwrap_or_else(|| "rest".to_owned())
}

/// How one thing stands that a system needs, or the system itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is there.
    Present,
    /// It was made now.
    Created,
    /// It is not there, and work goes on without it.
    DoneWithout,
    /// It is not there, and nothing can be written until it is.
    Missing,
    /// The system needs nothing.
    NothingNeeded,
    /// The system could not be asked.
    Failed,
    /// The system is off.
    Off,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Present => "present",
            Self::Created => "created",
            Self::DoneWithout => "done without",
            Self::Missing => "missing",
            Self::NothingNeeded => "nothing needed",
            Self::Failed => "failed",
            Self::Off => "off",
        })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that a system needs, or the system itself, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Which system, and whose.
    pub system: String,
    /// What it is about.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// What people have to do, or what is done instead.
    pub to_do: Option<String>,
}

/// The answer to the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetUpAnswer {
    /// The command.
    pub command: &'static str,
    /// True if nothing is in the way of writing to the systems that are on.
    pub ready: bool,
    /// What stands how.
    pub rows: Vec<Row>,
    /// The same as a table.
    pub table: String,
    /// What it comes to, in a sentence or a few.
    pub text: String,
}

impl SetUpAnswer {
    /// How many rows stand so.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        count(&self.rows, state)
    }
}

/// Sees to both systems, side by side.
pub async fn set_up(crm: &System<impl SetUp>, tickets: &System<impl SetUp>, deadline: Deadline) -> SetUpAnswer {
    let (mut rows, of_tickets) = tokio::join!(rows(crm, deadline), rows(tickets, deadline));
    rows.extend(of_tickets);
    let ready = count(&rows, State::Missing) + count(&rows, State::Failed) == 0;
    SetUpAnswer { command: "set_up", ready, table: table(&rows), text: text(&rows), rows }
}

async fn rows(system: &System<impl SetUp>, deadline: Deadline) -> Vec<Row> {
    let row = |what: String, state: State, to_do: Option<String>| Row {
        system: format!("{} ({})", system.name, system.provider),
        what,
        state,
        to_do,
    };
    let Some(client) = &system.client else {
        let to_do = format!("to turn it on, give `{}` and what goes with it, and deploy", system.address_parameter);
        let off = row(format!("`{}` is empty: nothing is written to it", system.address_parameter), State::Off, None);
        return vec![Row { system: system.name.to_owned(), to_do: Some(to_do), ..off }];
    };
    match client.set_up(deadline).await {
        Ok(items) if items.is_empty() => {
            vec![row("nothing has to be made there before it can be written to".to_owned(), State::NothingNeeded, None)]
        }
        Ok(items) => items
            .into_iter()
            .map(|SetUpItem { what, state }| match state {
                SetUpState::Present => row(what, State::Present, None),
                SetUpState::Created => row(what, State::Created, None),
                SetUpState::DoneWithout { instead } => row(what, State::DoneWithout, Some(instead)),
                SetUpState::Missing { remedy } => row(what, State::Missing, Some(remedy)),
            })
            .collect(),
        Err(error) => {
            let (what, to_do) = told(error, system.address_parameter);
            vec![row(what, State::Failed, Some(to_do))]
        }
    }
}

/// What happened, and what to do about it. It may hold the system's own words: it goes into an answer and never into a log.
pub(crate) fn told(error: CallError, address_parameter: &str) -> (String, String) {
    let what = error.to_string();
    match error {
        CallError::Unauthorized { api, status, parameter } => {
            let to_do = format!("put a valid one into `{parameter}` and deploy");
            (format!("{api} refuses the credential with {status}"), to_do)
        }
        CallError::NotAllowed { api, what, status, text, parameter } => {
            let to_do = format!("give the credential of `{parameter}` the right to it, then give the command again");
            (format!("{api} does not allow the {what} with {status}: {text}"), to_do)
        }
        CallError::NotSetUp { api, problem } => (format!("{api} is not set up"), problem),
        CallError::NotFound { .. } | CallError::Unreadable { .. } => {
            (what, format!("see whether the address in `{address_parameter}` is right"))
        }
        CallError::Rejected { .. } => (what, "mend what it names, then give the command again".to_owned()),
        CallError::BreakerOpen { .. }
        | CallError::AskedToWait { .. }
        | CallError::OutOfTime { .. }
        | CallError::RateLimited { .. } => (what, "give the command again in a few minutes".to_owned()),
        CallError::Unavailable { .. } => {
            let to_do = format!(
                "give the command again in a few minutes; if it stays so, see whether the address in \
                 `{address_parameter}` is right"
            );
            (what, to_do)
        }
    }
}

fn count(rows: &[Row], state: State) -> usize {
    rows.iter().filter(|row| row.state == state).count()
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["system", "what", "state", "what to do"]);
    for row in rows {
        let state = row.state.to_string();
        table.add_row([row.system.as_str(), row.what.as_str(), state.as_str(), row.to_do.as_deref().unwrap_or("–")]);
    }
    table.to_string()
}

/// What it comes to.
fn text(rows: &[Row]) -> String {
    if count(rows, State::Off) == rows.len() {
        return "There is nothing to set up: the CRM and the ticket system are off.".to_owned();
    }
    let mut sentences = Vec::new();
    if count(rows, State::Failed) > 0 {
        sentences.push("Not every system could be asked; what to do stands beside it.");
    }
    if count(rows, State::Missing) > 0 {
        sentences.push(
            "Nothing is written to a system until what it lacks is there: messages wait, and are tried again for as long as \
             `RetryFor` says. Do what stands beside it, then give the command again: what is there is not made twice.",
        );
    }
    if sentences.is_empty() {
        sentences.push("Everything is there that has to be.");
    }
    if count(rows, State::DoneWithout) > 0 {
        sentences.push("What is done without is in nobody's way; beside it stands what is done instead.");
    }
    sentences.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemorySystem;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn item(what: &str, state: SetUpState) -> SetUpItem {
        SetUpItem { what: what.to_owned(), state }
    }

    async fn answered(
        crm: Option<Result<Vec<SetUpItem>, CallError>>,
        tickets: Option<Result<Vec<SetUpItem>, CallError>>,
    ) -> SetUpAnswer {
        let crm = System::crm(Some("hubspot".to_owned()), crm.map(MemorySystem::answering));
        let tickets = System::tickets(Some("jira".to_owned()), tickets.map(MemorySystem::answering));
        set_up(&crm, &tickets, Deadline::after(Duration::from_secs(40))).await
    }

    fn all_states() -> Vec<SetUpItem> {
        vec![
            item("the property a of meetings", SetUpState::Present),
            item("the property b of meetings", SetUpState::Created),
            item("the note type", SetUpState::DoneWithout { instead: "a task is written instead".to_owned() }),
            item("the scope c", SetUpState::Missing { remedy: "tick c in the private app".to_owned() }),
        ]
    }

    #[tokio::test]
    async fn everything_that_a_system_needs_has_a_line_with_its_state_and_what_to_do() {
        let answer = answered(Some(Ok(all_states())), Some(Ok(Vec::new()))).await;
        let rows = serde_json::to_value(&answer.rows).expect("JSON");
        let row = |system: &str, what: &str, state: &str, to_do: Value| json!({ "system": system, "what": what, "state": state, "to_do": to_do });
        let crm = "the CRM (hubspot)";
        let expected = json!([
            row(crm, "the property a of meetings", "present", Value::Null),
            row(crm, "the property b of meetings", "created", Value::Null),
            row(crm, "the note type", "done without", json!("a task is written instead")),
            row(crm, "the scope c", "missing", json!("tick c in the private app")),
            row(
                "the ticket system (jira)",
                "nothing has to be made there before it can be written to",
                "nothing needed",
                Value::Null
            ),
        ]);
        assert_eq!(rows, expected);
        for words in ["the property b of meetings", "created", "tick c in the private app", "the ticket system (jira)"]
        {
            assert!(answer.table.contains(words), "{words} is not in\n{}", answer.table);
        }
        assert!(answer.table.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{}", answer.table);
    }

    #[tokio::test]
    async fn it_is_ready_unless_something_is_missing_or_failed() {
        let missing = answered(Some(Ok(all_states())), None).await;
        assert!(!missing.ready && missing.text.contains("until what it lacks is there"), "{}", missing.text);
        assert!(missing.text.contains("What is done without"), "{}", missing.text);
        let there = answered(Some(Ok(all_states()[..2].to_vec())), None).await;
        assert_eq!((there.ready, there.text.as_str()), (true, "Everything is there that has to be."));
        let without = answered(Some(Ok(all_states()[..3].to_vec())), Some(Ok(Vec::new()))).await;
        assert!(without.ready && without.text.contains("What is done without"), "{}", without.text);
        let failed = answered(Some(Ok(Vec::new())), Some(Err(CallError::OutOfTime { api: "Jira" }))).await;
        assert!(!failed.ready && failed.text.contains("Not every system could be asked"), "{}", failed.text);
    }

    #[tokio::test]
    async fn system_that_is_off_is_told_with_the_parameter_that_turns_it_on() {
        let answer = answered(None, None).await;
        assert!(answer.ready && answer.text.contains("nothing to set up"), "{}", answer.text);
        let rows: Vec<(&str, State)> = answer.rows.iter().map(|row| (row.system.as_str(), row.state)).collect();
        assert_eq!(rows, [("the CRM", State::Off), ("the ticket system", State::Off)]);
        for (row, parameter) in answer.rows.iter().zip(["`CrmBaseUrl`", "`TicketBaseUrl`"]) {
            assert!(row.what.starts_with(parameter), "{}", row.what);
            assert!(row.to_do.as_deref().is_some_and(|to_do| to_do.contains(parameter)), "{:?}", row.to_do);
        }
    }

    #[tokio::test]
    async fn one_system_that_cannot_be_asked_leaves_the_line_of_the_other() {
        let refused = CallError::Unauthorized { api: "HubSpot", status: 401, parameter: "CrmApiKey" };
        let answer = answered(Some(Err(refused)), Some(Ok(vec![item("the project SUP", SetUpState::Present)]))).await;
        let states: Vec<State> = answer.rows.iter().map(|row| row.state).collect();
        assert_eq!(states, [State::Failed, State::Present]);
        assert_eq!(answer.rows[0].what, "HubSpot refuses the credential with 401");
        assert_eq!(answer.rows[0].to_do.as_deref(), Some("put a valid one into `CrmApiKey` and deploy"));
    }

    #[test]
    fn error_of_a_system_says_what_happened_and_what_to_do() {
        let api = "HubSpot";
        let text = "no such field".to_owned();
        let (what, retry_after) = ("property", Duration::from_mins(1));
        for (error, happened, to_do) in [
            (
                CallError::NotAllowed { api, what, status: 403, text: "scope x".to_owned(), parameter: "CrmApiKey" },
                "HubSpot does not allow the property with 403: scope x",
                "give the credential of `CrmApiKey` the right to it",
            ),
            (CallError::NotFound { api, what, gone: false }, "HubSpot knows no property", "address in `CrmBaseUrl`"),
            (
                CallError::Unreadable { api, what, problem: "Eof".to_owned() },
                "something else than a property",
                "address in `CrmBaseUrl`",
            ),
            (CallError::Rejected { api, what, status: 400, text }, "with 400: no such field", "mend what it names"),
            (
                CallError::NotSetUp {
                    api: "the file settings/fields.toml",
                    problem: "line 2; mend the file".to_owned(),
                },
                "the file settings/fields.toml is not set up",
                "line 2; mend the file",
            ),
            (
                CallError::AskedToWait { api, retry_after, allowance: "the day's calls".to_owned() },
                "no more calls for 60s: the day's calls",
                "in a few minutes",
            ),
            (
                CallError::Unavailable { api, problem: "dns".to_owned(), retry_after: None, answered: false },
                "HubSpot is unavailable: dns",
                "if it stays so, see whether the address in `CrmBaseUrl` is right",
            ),
        ] {
            let (told_what, told_to_do) = told(error, "CrmBaseUrl");
            assert!(told_what.contains(happened), "{told_what}");
            assert!(told_to_do.contains(to_do), "{told_to_do}");
        }
    }

    #[test]
    fn system_of_an_environment_without_a_provider_is_the_generic_one() {
        let crm = System::<MemorySystem>::crm(None, None);
        assert_eq!((crm.name, crm.provider.as_str()), ("the CRM", "rest"));
    }
}

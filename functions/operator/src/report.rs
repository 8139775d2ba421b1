//! Progress as people and programs read it: a row for each account, the same as a table, and what to do next.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::{Serialize, Serializer};
use serde_json::Value;
use shared::engine::progress::Progress;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::jobs::Part;

/// How wide a table is, in characters.
const WIDTH: u16 = 150;

/// The count, in a backfill's progress, of events that went on as messages of their own and end as dead letters.
const SET_ASIDE: &str = "set aside";

/// How far a part of a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// None of its jobs is done.
    NotBegun,
    /// Some are done, and others are left.
    UnderWay,
    /// None is left.
    Ended,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotBegun => "queued, not begun yet",
            Self::UnderWay => "under way",
            Self::Ended => "ended",
        })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A part of a run, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The function.
    pub function: &'static str,
    /// The account; none for the job that makes one an account.
    pub grant: Option<String>,
    /// How far it has come.
    pub state: State,
    /// How many of its jobs are done.
    pub jobs: u64,
    /// What they came to, by name.
    pub counts: BTreeMap<String, u64>,
    /// Why it came to less than it should have.
    pub problem: Option<String>,
}

impl Row {
    /// The row of a part with the progress that is kept of it.
    #[must_use]
    pub fn of(part: &Part, progress: Option<&Progress>) -> Self {
        let state = match progress {
            None => State::NotBegun,
            Some(progress) if progress.ended => State::Ended,
            Some(_) => State::UnderWay,
        };
        Self {
            function: part.function,
            grant: part.grant.clone(),
            state,
            jobs: progress.map_or(0, |progress| progress.steps),
            counts: progress.map(|progress| progress.counts.clone()).unwrap_or_default(),
            problem: progress.and_then(|progress| progress.problem.clone()),
        }
    }
}

/// A run, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its parts.
    pub rows: Vec<Row>,
}

impl Report {
    /// True once nothing of it is left.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.rows.iter().all(|row| row.state == State::Ended)
    }

    /// How many of its parts have ended.
    #[must_use]
    pub fn parts_ended(&self) -> usize {
        self.rows.iter().filter(|row| row.state == State::Ended).count()
    }

    /// What all its parts came to together, by name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for (name, count) in self.rows.iter().flat_map(|row| &row.counts) {
            *counts.entry(name.as_str()).or_default() += count;
        }
        counts
    }

    /// The rows as a table for people, and under it what to do next. `again` is the event that asks again; a run that
    /// was `started_before` may not be there at all.
    #[must_use]
    pub fn table(&self, again: &Value, started_before: bool) -> String {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(["function", "account", "state", "jobs done", "came to", "problem"]);
        for row in &self.rows {
            let counts = listed(row.counts.iter().map(|(name, count)| format!("{name} {count}")), ", ");
            table.add_row([
                row.function,
                match row.grant.as_deref() {
                    None => "all",
                    // Of notetakers that no account has sent.
                    Some("none") => "of no account",
                    Some(grant) => grant,
                },
                &row.state.to_string(),
                &row.jobs.to_string(),
                if counts.is_empty() { "–" } else { &counts },
                row.problem.as_deref().unwrap_or("–"),
            ]);
        }
        format!("{table}\n{}", self.next(again, started_before))
    }

    /// What to do next, in a sentence or a few.
    fn next(&self, again: &Value, started_before: bool) -> String {
        let functions_with = |is_so: &dyn Fn(&Row) -> bool| {
            let names: BTreeSet<&str> = self.rows.iter().filter(|row| is_so(row)).map(|row| row.function).collect();
            listed(names, " and ")
        };
        let mut sentences = Vec::new();
        let waiting = functions_with(&|row| row.state == State::NotBegun);
        if self.ended() {
            sentences.push("It has ended.".to_owned());
        } else if waiting.is_empty() {
            sentences.push(format!("It goes on by itself. To see how far it has come, ask again with {again}"));
        } else {
            let unknown = if started_before {
                " Or there is no such run: a run of one account is found by its `grant_id` as well, and each for 35 days."
            } else {
                ""
            };
            sentences.push(format!(
                "What is queued begins once its turn has come in {waiting}; if nothing begins within minutes, look into the \
                 log and the dead-letter queue of {waiting}.{unknown} To see how far it has come, ask again with {again}"
            ));
        }
        let with_problem = self.rows.iter().filter(|row| row.problem.is_some()).count();
        if with_problem > 0 {
            sentences.push(format!(
                "{with_problem} of {} came to less than it should have: mend what stands under `problem`, then start it \
                 again; nothing is done twice.",
                self.rows.len()
            ));
        }
        let set_aside = self.counts().get(SET_ASIDE).copied().unwrap_or_default();
        if set_aside > 0 {
            let functions = functions_with(&|row| row.counts.contains_key(SET_ASIDE));
            sentences.push(format!(
                "{set_aside} could not be written and are set aside, each with its reason, in the dead-letter queue of \
                 {functions}."
            ));
        }
        sentences.join("\n")
    }
}

fn listed<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, between: &str) -> String {
    let mut list = String::new();
    for text in texts {
        if !list.is_empty() {
            list.push_str(between);
        }
        list.push_str(text.as_ref());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(function: &'static str, grant: Option<&str>, progress: Option<&Progress>) -> Row {
        Row::of(&Part { function, grant: grant.map(str::to_owned) }, progress)
    }

    fn at(steps: u64, counts: &[(&str, u64)], ended: bool) -> Progress {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Progress { steps, counts, ended, ..Progress::default() }
    }

    fn again() -> Value {
        json!({ "command": "backfill", "grant_id": "g", "run": "r1" })
    }

    #[test]
    fn run_has_ended_once_every_part_has() {
        let ended = || row("email-activity", Some("g1"), Some(&at(3, &[], true)));
        assert!(Report { rows: vec![ended(), ended()] }.ended());
        for other in
            [row("calendar-sync", Some("g1"), None), row("calendar-sync", Some("g1"), Some(&at(1, &[], false)))]
        {
            let report = Report { rows: vec![ended(), other] };
            assert!(!report.ended());
            assert_eq!(report.parts_ended(), 1);
        }
    }

    #[test]
    fn counts_of_the_parts_are_added_up() {
        let report = Report {
            rows: vec![
                row("email-activity", Some("g1"), Some(&at(1, &[("listed", 7), ("recovered", 1)], true))),
                row("calendar-sync", Some("g1"), Some(&at(1, &[("listed", 5)], false))),
            ],
        };
        assert_eq!(report.counts(), BTreeMap::from([("listed", 12), ("recovered", 1)]));
    }

    #[test]
    fn table_shows_what_a_run_came_to() {
        let report = Report {
            rows: vec![row("calendar-sync", Some("g"), Some(&at(3, &[("events", 412), ("written", 398)], true)))],
        };
        let table = report.table(&again(), false);
        for words in ["│ calendar-sync   g ", "ended", "events 412, written 398", "–"] {
            assert!(table.contains(words), "{words} is not in\n{table}");
        }
        assert!(table.ends_with("\nIt has ended."), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{table}");
    }

    #[test]
    fn run_that_is_queued_is_told_as_queued_with_where_to_look() {
        let report = Report { rows: vec![row("calendar-sync", Some("g"), None)] };
        let table = report.table(&again(), false);
        assert!(table.contains("queued, not begun yet"), "{table}");
        assert!(table.contains("the dead-letter queue of calendar-sync"), "{table}");
        assert!(table.ends_with(&format!("ask again with {}", again())), "{table}");
        assert!(!table.contains("no such run"), "{table}");
        assert!(report.table(&again(), true).contains("there is no such run"));
    }

    #[test]
    fn run_that_is_under_way_says_how_to_ask_again() {
        let report = Report { rows: vec![row("calendar-sync", Some("g"), Some(&at(2, &[], false)))] };
        let table = report.table(&again(), true);
        assert!(table.contains("under way") && table.contains("goes on by itself"), "{table}");
        assert!(table.ends_with(&format!("ask again with {}", again())), "{table}");
    }

    #[test]
    fn problem_and_what_is_set_aside_are_told_with_what_to_do() {
        let problem = Some("the account has to be connected again".to_owned());
        let with_problem = Progress { problem, ..at(1, &[], true) };
        let report = Report {
            rows: vec![
                row("calendar-sync", Some("g1"), Some(&with_problem)),
                row("calendar-sync", Some("g2"), Some(&at(4, &[("set aside", 2)], true))),
            ],
        };
        let table = report.table(&again(), false);
        assert!(table.contains("1 of 2 came to less than it should have"), "{table}");
        assert!(table.contains("connected"), "{table}");
        assert!(table.contains("2 could not be written"), "{table}");
    }

    #[test]
    fn row_as_json_names_its_state_in_words() {
        assert_eq!(
            serde_json::to_value(row("email-activity", None, Some(&at(1, &[("accounts", 2)], true)))).expect("JSON"),
            json!({
                "function": "email-activity", "grant": null, "state": "ended", "jobs": 1,
                "counts": { "accounts": 2 }, "problem": null,
            })
        );
    }
}

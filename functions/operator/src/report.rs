//! Progress as people and programs read it: a row for each account, the same as a table, and what to do next.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::{Serialize, Serializer};
use serde_json::Value;
use shared::engine::progress::{Finding, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::command::Function;
use crate::findings::{self, WOULD_CHANGE};
use crate::jobs::Part;

/// How wide a table is, in characters.
pub(crate) const WIDTH: u16 = 150;

/// The count, in a backfill's progress, of events that went on as messages of their own and end as dead letters.
const SET_ASIDE: &str = "set aside";

/// The counts of a sync that are told first, and those that are told last: what it came to before what it took.
const FIRST_OF_SYNC: [&str; 8] =
    ["accounts", "expired accounts", "contacts", "matched", "changed", WOULD_CHANGE, "unchanged", "conflicts"];
const LAST_OF_SYNC: [&str; 3] = ["CRM calls", "Nylas calls", "seconds"];

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
    /// What people should look at, as far as it is kept and there is room for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// How many that are kept there was no room for.
    #[serde(skip_serializing_if = "is_zero")]
    pub findings_left_out: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
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
            findings: progress.map(|progress| progress.findings.clone()).unwrap_or_default(),
            findings_left_out: 0,
        }
    }

    /// The account, for people.
    pub(crate) fn account(&self) -> &str {
        match self.grant.as_deref() {
            None => "all",
            // Of notetakers that no account has sent.
            Some("none") => "of no account",
            Some(grant) => grant,
        }
    }

    /// What it came to under a name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or_default()
    }

    fn is_of_sync(&self) -> bool {
        self.function == Function::ContactSync.name()
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

    /// The same with so many findings of all its parts together; each part tells how many of its own are left out.
    #[must_use]
    pub fn listing_at_most(mut self, most: usize) -> Self {
        findings::cut(&mut self.rows, most);
        self
    }

    fn is_of_sync(&self) -> bool {
        self.rows.iter().any(Row::is_of_sync)
    }

    /// The rows as a table for people, under it their findings as another, and under both what to do next. `again` is the event that asks again; a run that
    /// was `started_before` may not be there at all.
    #[must_use]
    pub fn table(&self, again: &Value, started_before: bool) -> String {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(["function", "account", "state", "jobs done", "came to", "problem"]);
        for row in &self.rows {
            let counts = row.counts.iter().map(|(name, count)| (name.as_str(), *count));
            table.add_row([
                row.function,
                row.account(),
                &row.state.to_string(),
                &row.jobs.to_string(),
                &came_to(counts, row.is_of_sync()),
                row.problem.as_deref().unwrap_or("–"),
            ]);
        }
        if self.is_of_sync() && self.rows.len() > 1 {
            table.add_row(self.totals());
        }
        let tables = [table.to_string(), findings::table(&self.rows)];
        let tables = listed(tables.iter().filter(|table| !table.is_empty()), "\n\n");
        format!("{tables}\n{}", self.next(again, started_before))
    }

    /// The last row of a table: all parts together.
    fn totals(&self) -> [String; 6] {
        let with_problem = self.with_problem();
        let mut counts = self.counts();
        // Accounts are worked on side by side.
        counts.remove("seconds");
        [
            String::new(),
            "together".to_owned(),
            format!("{} of {} ended", self.parts_ended(), self.rows.len()),
            self.rows.iter().map(|row| row.jobs).sum::<u64>().to_string(),
            came_to(counts, self.is_of_sync()),
            if with_problem == 0 { "–".to_owned() } else { format!("{with_problem} with a problem") },
        ]
    }

    fn with_problem(&self) -> usize {
        self.rows.iter().filter(|row| row.problem.is_some()).count()
    }

    /// What a sync came to less for. What concerns the whole of it stands there once more, in one piece: the event that it
    /// may name can be copied.
    fn problems_of_sync(&self) -> Vec<String> {
        let mut problems = self.rows.iter().map(|row| row.problem.as_deref());
        let whole = problems.next().flatten().map(|problem| format!("It came to less than it should have: {problem}"));
        let of_accounts = problems.clone().flatten().count();
        let accounts = (of_accounts > 0).then(|| {
            format!(
                "{of_accounts} of {} accounts came to less than they should have: `problem` says why. Once nothing is in \
                 the way any more, start it again; nothing is done twice.",
                problems.count()
            )
        });
        whole.into_iter().chain(accounts).collect()
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
        if self.ended() && self.rows.iter().any(|row| row.count(WOULD_CHANGE) > 0) {
            sentences.push(
                "Nothing was written, for it was a dry run: to have it written, give the same command without `dry_run`."
                    .to_owned(),
            );
        }
        let with_problem = self.with_problem();
        if with_problem > 0 && self.is_of_sync() {
            sentences.extend(self.problems_of_sync());
        } else if with_problem > 0 {
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
        sentences.extend(findings::not_listed(&self.rows, again));
        sentences.join("\n")
    }
}

/// What a part came to, for people. Of a sync that is told in an order of its own, else by name.
fn came_to<'a>(counts: impl IntoIterator<Item = (&'a str, u64)>, is_of_sync: bool) -> String {
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    if is_of_sync {
        counts.sort_by_key(|(name, _)| {
            let place = |names: &[&str]| names.iter().position(|standing| standing == name);
            match (place(&FIRST_OF_SYNC), place(&LAST_OF_SYNC)) {
                (Some(place), _) => (0, place),
                (None, None) => (1, 0),
                (None, Some(place)) => (2, place),
            }
        });
    }
    if counts.is_empty() {
        return "–".to_owned();
    }
    listed(counts.iter().map(|(name, count)| format!("{name} {count}")), ", ")
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

    fn finding(stands: Option<&str>, proposed: &str, why: &str) -> Finding {
        Finding {
            of: "c-17".to_owned(),
            field: "phone".to_owned(),
            stands: stands.map(str::to_owned),
            proposed: Some(proposed.to_owned()),
            why: why.to_owned(),
        }
    }

    #[test]
    fn sync_of_several_accounts_is_added_up_in_a_last_row_and_other_runs_are_not() {
        let counts: &[(&str, u64)] = &[("CRM calls", 9), ("changed", 2), ("contacts", 40), ("skipped: no phone", 3)];
        let rows = |function| {
            vec![
                row(function, None, Some(&at(1, &[("accounts", 2)], true))),
                row(function, Some("g1"), Some(&at(2, counts, true))),
                row(function, Some("g2"), Some(&at(1, counts, false))),
            ]
        };
        let table = Report { rows: rows("contact-sync") }.table(&again(), false);
        let last = table.lines().find(|line| line.contains("together")).expect("a last row");
        for words in ["2 of 3 ended", "   4 ", "accounts 2, contacts 80, changed 4, skipped: no phone 6, CRM calls 18"]
        {
            assert!(last.contains(words), "{words} is not in\n{table}");
        }
        assert!(table.contains("contacts 40, changed 2, skipped: no phone 3, CRM calls 9"), "{table}");
        let one = Report { rows: vec![row("contact-sync", Some("g1"), Some(&at(2, counts, true)))] };
        assert!(!one.table(&again(), false).contains("together"));
        let other = Report { rows: rows("calendar-sync") }.table(&again(), false);
        assert!(!other.contains("together") && other.contains("CRM calls 9, changed 2, contacts 40"), "{other}");
    }

    #[test]
    fn findings_stand_under_the_rows_and_above_what_to_do_next() {
        let findings = vec![finding(None, "+351 21 000 0000", "would be written")];
        let progress = Progress { findings, ..at(1, &[("would change", 1)], true) };
        let table = Report { rows: vec![row("contact-sync", Some("g"), Some(&progress))] }.table(&again(), false);
        let place = |words: &str| table.find(words).unwrap_or_else(|| panic!("{words} is not in\n{table}"));
        assert!(place("came to") < place("What would change"), "{table}");
        assert!(place("What would change") < place("+351 21 000 0000"), "{table}");
        assert!(place("+351 21 000 0000") < place("It has ended."), "{table}");
        assert!(place("It has ended.") < place("Nothing was written, for it was a dry run"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{table}");
    }

    #[test]
    fn problem_of_a_sync_is_told_with_what_to_do() {
        let with = |problem: &str| Progress { problem: Some(problem.to_owned()), ..at(1, &[], true) };
        let joined = r#"the run n is under way already, so this one joined it; ask with {"command":"sync","run":"n"}"#;
        let table = Report { rows: vec![row("contact-sync", None, Some(&with(joined)))] }.table(&again(), false);
        assert!(table.ends_with(&format!("It came to less than it should have: {joined}")), "{table}");
        let rows = vec![
            row("contact-sync", None, Some(&at(1, &[], true))),
            row("contact-sync", Some("g1"), Some(&with("the account has expired"))),
            row("contact-sync", Some("g2"), Some(&at(1, &[], true))),
        ];
        let table = Report { rows }.table(&again(), false);
        assert!(table.contains("1 of 2 accounts came to less than they should have: `problem` says why."), "{table}");
    }

    #[test]
    fn row_as_json_has_its_findings_and_how_many_are_left_out() {
        let findings = vec![finding(Some("1"), "2", "kept"), finding(None, "3", "written")];
        let progress = Progress { findings, ..at(1, &[("changed", 1)], true) };
        let report = Report { rows: vec![row("contact-sync", Some("g"), Some(&progress))] }.listing_at_most(1);
        assert_eq!(
            serde_json::to_value(&report.rows[0]).expect("JSON"),
            json!({
                "function": "contact-sync", "grant": "g", "state": "ended", "jobs": 1, "counts": { "changed": 1 },
                "problem": null,
                "findings": [{ "of": "c-17", "field": "phone", "stands": "1", "proposed": "2", "why": "kept" }],
                "findings_left_out": 1,
            })
        );
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

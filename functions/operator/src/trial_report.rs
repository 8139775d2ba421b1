//! What came of a trial of rules, as people and programs read it: the differences as rows and as a table, the counts, and
//! what to do next.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::proposed_rules::TriageRules;
use crate::ruling::{Counts, Difference, Place};
use crate::times::shown;

/// How wide a table is, in characters.
const WIDTH: u16 = 150;

/// A mailbox that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mailbox {
    /// Its grant.
    pub grant_id: String,
    /// How many of its mails are looked at, now or before.
    pub mails: usize,
    /// True if there are more within the days.
    pub cut: bool,
    /// Why its mail cannot be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The rules that proposed ones are compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedWith {
    /// Where they come from.
    pub rules: &'static str,
    /// What is wrong with the file that is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialAnswer {
    /// The command.
    pub command: &'static str,
    /// How many rules are proposed.
    pub rules: usize,
    /// How many examples of theirs hold.
    pub examples: usize,
    /// What they are compared with.
    pub compared_with: ComparedWith,
    /// From when mail is looked at.
    pub from: String,
    /// Until when.
    pub until: String,
    /// The mailboxes that were looked at now.
    pub mailboxes: Vec<Mailbox>,
    /// The mails of which the rules say something else, as far as they were looked at now.
    pub rows: Vec<Difference>,
    /// How many came to what, before and now.
    pub counts: Counts,
    /// True once all are looked at.
    pub ended: bool,
    /// Where to go on; none if it has ended.
    pub place: Option<Place>,
    /// What keeps it from going on; none if only the time was up.
    pub problem: Option<String>,
    /// The rows for people; empty if there is none.
    pub table: String,
    /// The rest for people.
    pub text: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The mailboxes.
    pub mailboxes: Vec<Mailbox>,
    /// The differences.
    pub rows: Vec<Difference>,
    /// The counts.
    pub counts: Counts,
}

/// Why a trial stopped before its end, and where it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// What keeps it from going on; none if only the time was up.
    pub problem: Option<String>,
    /// Where.
    pub place: Place,
}

impl TrialAnswer {
    /// The answer to what was asked.
    #[must_use]
    pub fn of(asked: &TriageRules, compared_with: ComparedWith, found: Found, stopped: Option<Stopped>) -> Self {
        let rules = asked.proposed.rules();
        let (place, problem) = stopped.map(|stopped| (stopped.place, stopped.problem)).unzip();
        let table = table(&found.rows);
        let mut answer = Self {
            command: "triage_rules",
            rules: rules.len(),
            examples: rules.examples(),
            compared_with,
            from: shown(asked.from()),
            until: shown(asked.until),
            mailboxes: found.mailboxes,
            rows: found.rows,
            counts: found.counts,
            ended: place.is_none(),
            place,
            problem: problem.flatten(),
            table,
            text: String::new(),
        };
        answer.text = answer.in_words();
        answer
    }

    fn in_words(&self) -> String {
        let Counts { looked_at, same, different, left_alone, gone, unreadable, changes } = &self.counts;
        let mut lines = vec![format!(
            "Compared with the {}, on the support mail from {} until {}:",
            self.compared_with.rules, self.from, self.until
        )];
        lines.extend(self.compared_with.problem.clone());
        lines.push(format!(
            "Looked at: {looked_at}. The same: {same}; something else: {different}; left alone whatever the rules say: \
             {left_alone}."
        ));
        if *looked_at == 0 {
            lines.push(
                "There was no mail that rules could have changed: more days show more (DAYS, up to 35).".to_owned(),
            );
        }
        lines.extend(changes.iter().map(|(change, count)| format!("  {change}: {count}")));
        if gone + unreadable > 0 {
            lines.push(format!("No longer at Nylas: {gone}; not handed over by it: {unreadable}."));
        }
        if *different > 0 {
            lines.push(
                "Priorities are those of the rules; a priority domain or an open deal raises them, as it did then."
                    .to_owned(),
            );
        }
        for Mailbox { grant_id, mails, cut, problem } in &self.mailboxes {
            if let Some(problem) = problem {
                lines.push(format!("The mailbox {grant_id} was left out: {problem}"));
            } else if *cut {
                lines.push(format!(
                    "Of the mailbox {grant_id} only the newest {mails} mails are looked at; it has more."
                ));
            }
        }
        match (&self.problem, self.ended) {
            (Some(problem), _) => lines.push(format!(
                "It has not ended: {problem}. To go on there, give the same event again with `place` as it stands in this \
                 answer."
            )),
            (None, false) => lines.push(
                "It has not ended, the time was up: give the same event again with `place` as it stands in this answer."
                    .to_owned(),
            ),
            (None, true) => {}
        }
        lines.join("\n")
    }
}

/// The differences as a table; empty if there is none.
fn table(rows: &[Difference]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["mail", "decided then", "live rules", "proposed rules"]);
    for row in rows {
        table.add_row([
            &format!("{}\n{}", row.message_id, row.received_at),
            &row.then.in_words(),
            &row.live.in_words(),
            &row.proposed.in_words(),
        ]);
    }
    table.to_string()
}

//! What the runs come to: one table of medians, and which goals are met.

use std::{fmt, thread, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::{contender::Contender, own_profile::own_profile, spread::Spread};

/// The row of what is done once in a process, and so cannot be repeated.
pub const FIRST_IN_PROCESS: &str = "the first new_text of a process (once)";

/// What a row has to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// A hostile text against 200 rules.
    Hostile,
    /// A mail against 100 rules.
    Mail,
}

impl Goal {
    const ALL: [Self; 2] = [Self::Hostile, Self::Mail];

    fn name(self) -> &'static str {
        match self {
            Self::Hostile => "a hostile text of 1 MiB against 200 rules",
            Self::Mail => "a mail of 16 kB against 100 rules",
        }
    }

    /// Which the median has to stay below, in milliseconds.
    fn bound(self) -> f64 {
        match self {
            Self::Hostile => 50.0,
            Self::Mail => 1.0,
        }
    }
}

/// What was measured of one text.
pub struct Row {
    name: String,
    goal: Option<Goal>,
    /// Milliseconds, in the order of the contenders.
    took: Vec<Spread>,
    /// Against the first contender in the same run.
    ratios: Vec<Spread>,
}

impl Row {
    /// Sums runs up, each of which has a duration for every contender.
    pub fn of(name: &str, goal: Option<Goal>, runs: &[Vec<Duration>]) -> Self {
        let contenders = runs.first().map_or(0, Vec::len);
        let spreads = |value: &dyn Fn(&[Duration], usize) -> f64| -> Vec<Spread> {
            (0..contenders).map(|contender| Spread::of(runs.iter().map(|run| value(run, contender)))).collect()
        };
        let took = spreads(&|run, contender| run[contender].as_secs_f64() * 1_000.0);
        let ratios = spreads(&|run, contender| run[contender].div_duration_f64(run[0]));
        Self { name: name.to_owned(), goal, took, ratios }
    }

    fn median(&self) -> f64 {
        self.took.first().map_or(0.0, |took| took.median)
    }

    fn cells(&self, contenders: usize) -> Vec<String> {
        let others = self.took.iter().zip(&self.ratios).skip(1);
        let others = others.map(|(took, ratio)| format!("{} = {:.1} ×", in_digits(took.median), ratio.median));
        let own = self.took.first().map(|took| match took.median {
            short if short < 10.0 => format!("{took:.2}"),
            _ => format!("{took:.0}"),
        });
        let goal = self.goal.map(|goal| {
            let sign = if self.median() < goal.bound() { "met" } else { "missed" };
            format!("< {:.0} {sign}", goal.bound())
        });
        let mut cells = vec![self.name.clone(), own.unwrap_or_default(), goal.unwrap_or_default()];
        cells.extend(others);
        cells.resize(contenders + 2, String::new());
        cells
    }
}

/// The whole result.
pub struct Report {
    repetitions: u16,
    contenders: Vec<Contender>,
    rows: Vec<Row>,
}

impl Report {
    /// Of rows whose runs were made in turn.
    pub fn new(repetitions: u16, contenders: Vec<Contender>, rows: Vec<Row>) -> Self {
        Self { repetitions, contenders, rows }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        let mut header: Vec<&str> = self.contenders.iter().map(|contender| contender.name()).collect();
        header.insert(0, "text");
        header.insert(2, "goal, ms");
        table.set_header(header);
        for row in &self.rows {
            table.add_row(row.cells(self.contenders.len()));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Which rows met a goal, in words.
    fn verdict(&self, goal: Goal) -> String {
        let rows = || self.rows.iter().filter(|row| row.goal == Some(goal));
        let missed: Vec<&str> =
            rows().filter(|row| row.median() >= goal.bound()).map(|row| row.name.as_str()).collect();
        let verdict = match missed.as_slice() {
            [] => "met by all".to_owned(),
            some => format!("missed by {} of {}: {}", some.len(), rows().count(), some.join("; ")),
        };
        format!("{}, goal under {:.0} ms: {verdict}", goal.name(), goal.bound())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        writeln!(formatter, "in one thread of {processors} processors, {}", own_profile())?;
        writeln!(
            formatter,
            "{} runs after one to warm up, the ways in turn within each run; median (least–greatest), and how many times \
             as long as the rules take in the same run",
            self.repetitions
        )?;
        writeln!(
            formatter,
            "the usual ways look at the raw body; `with new_text` means that the rules first take what is new in it \
             (of the first 256 KiB), as the function does"
        )?;
        writeln!(formatter, "{}", self.table())?;
        Goal::ALL.into_iter().try_for_each(|goal| writeln!(formatter, "{}", self.verdict(goal)))
    }
}

/// Three digits that matter.
fn in_digits(milliseconds: f64) -> String {
    match milliseconds {
        large if large >= 100.0 => format!("{large:.0}"),
        middle if middle >= 10.0 => format!("{middle:.1}"),
        small => format!("{small:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, milliseconds: u64) -> Row {
        let runs = [milliseconds, milliseconds + 1, milliseconds - 1];
        let run = |took| vec![Duration::from_millis(took), Duration::from_millis(took * 3)];
        Row::of(name, Some(Goal::Hostile), &runs.map(run))
    }

    #[test]
    fn goal_is_judged_by_the_median_of_the_rules_and_ratios_are_those_within_a_run() {
        let report = |rows| Report::new(3, Contender::ALL[..2].to_vec(), rows).to_string();
        let told = report(vec![row("one", 49), row("two", 50)]);
        assert!(told.contains("missed by 1 of 2: two"), "{told}");
        assert!(told.contains("= 3.0 ×"), "{told}");
        assert!(report(vec![row("one", 49)]).contains("goal under 50 ms: met by all"));
    }
}

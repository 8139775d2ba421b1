//! What the runs come to: a table that holds every scenario against one message with one address, run by run, and
//! whether the goal holds.

use std::{collections::BTreeSet, fmt, thread, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    scenario::{self, Scenario},
    spread::Spread,
    world::{Latency, Run},
};

/// How long a batch may take, as a multiple of one message with one address.
pub const GOAL: f64 = 1.5;

/// One scenario.
struct Row {
    name: &'static str,
    /// How many calls the CRM got; several numbers if not every run made as many.
    calls: BTreeSet<usize>,
    milliseconds: Spread,
    /// Against the first scenario in the same repetition.
    ratio: Spread,
}

/// What is compared with one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mails.
    Mails,
    /// Events.
    Events,
}

impl Kind {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mails => "mails",
            Self::Events => "events",
        }
    }

    /// Its scenarios, in the order of the report.
    pub fn scenarios(self) -> Vec<Scenario> {
        match self {
            Self::Mails => scenario::of_mails(),
            Self::Events => scenario::of_events(),
        }
    }
}

/// The whole result for one kind.
pub struct Report {
    kind: Kind,
    latency: Latency,
    repetitions: usize,
    rows: Vec<Row>,
}

impl Report {
    /// Sums up the runs of each scenario, which are in the order of the repetitions.
    pub fn new(kind: Kind, latency: Latency, scenarios: &[Scenario], runs: &[Vec<Run>]) -> Self {
        let yardstick = runs.first().map(Vec::as_slice).unwrap_or_default();
        let rows = scenarios.iter().zip(runs).map(|(scenario, runs)| Row {
            name: scenario.name,
            calls: runs.iter().map(|run| run.calls).collect(),
            milliseconds: Spread::of(runs.iter().map(|run| milliseconds(run.took))),
            ratio: Spread::of(runs.iter().zip(yardstick).map(|(run, one)| run.took.div_duration_f64(one.took))),
        });
        Self { kind, latency, repetitions: yardstick.len(), rows: rows.collect() }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header(["scenario", "calls to the CRM", "ms", "× the first"]);
        for (place, row) in self.rows.iter().enumerate() {
            let calls: Vec<String> = row.calls.iter().map(ToString::to_string).collect();
            table.add_row([
                row.name.to_owned(),
                calls.join(" or "),
                format!("{:.0}", row.milliseconds),
                if place == 0 { "1".to_owned() } else { format!("{:.2}", row.ratio) },
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let processors = thread::available_parallelism().map_or(1, usize::from);
        writeln!(
            formatter,
            "in one process on {processors} processors, {profile} profile; HTTP over 127.0.0.1 without TLS, AWS in memory"
        )?;
        writeln!(
            formatter,
            "each call waits {} ms at the CRM and {} ms at Nylas, {}",
            self.latency.crm.as_millis(),
            self.latency.nylas.as_millis(),
            match self.kind {
                Kind::Mails => {
                    "which email-activity asks for the headers of every message; the loop asks it nothing"
                }
                Kind::Events => "which calendar-sync asks for the account's own address",
            }
        )?;
        writeln!(
            formatter,
            "calls a second are not capped here; in a deployment CrmRequestsPerSecond bounds them, and with it how fast a \
             batch can be"
        )?;
        writeln!(
            formatter,
            "{} repetitions in turn after one to warm up, each run with stand-ins and connections of its own; \
             median (least–greatest)",
            self.repetitions
        )?;
        writeln!(
            formatter,
            "every run was checked: all {} logged, exactly the expected records in the CRM",
            self.kind.name()
        )?;
        writeln!(formatter, "{}", self.table())?;
        if let Some(batch) = self.rows.get(1) {
            let verdict = if batch.ratio.median <= GOAL { "holds" } else { "does not hold" };
            let (name, yardstick) = (batch.name, self.rows.first().map_or("", |row| row.name));
            writeln!(
                formatter,
                "{name}, takes {:.2} times as long as {yardstick}: the goal of {GOAL} or less {verdict}\n",
                batch.ratio.median
            )?;
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goal_is_judged_by_the_median_ratio_of_the_batch_with_different_addresses() {
        let latency = Latency { crm: Duration::from_millis(100), nylas: Duration::from_millis(20) };
        let runs = |milliseconds: [u64; 3]| -> Vec<Run> {
            milliseconds.map(|took| Run { took: Duration::from_millis(took), calls: 2 }).to_vec()
        };
        let told = |batch| {
            let runs = [runs([200, 100, 400]), runs(batch), runs([900; 3]), runs([900; 3])];
            Report::new(Kind::Mails, latency, &scenario::of_mails(), &runs).to_string()
        };
        assert!(told([300, 150, 900]).contains("takes 1.50 times"));
        assert!(told([300, 150, 900]).ends_with("the goal of 1.5 or less holds\n\n"));
        assert!(told([302, 160, 400]).ends_with("the goal of 1.5 or less does not hold\n\n"));
    }
}

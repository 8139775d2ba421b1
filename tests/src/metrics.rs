//! The dashboard's figures on the command line: what the metric lines in the logs of a stack come to, how its queues stand.
//! Behind `make metrics`.

use crate::local_engine::{EngineError, LocalEngine, LogLine, Stack, Tools};
use crate::logs_insights::percentile;
use crate::stack_view::{QueueDepths, StackView, ViewError};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use serde_json::Value;
use shared::telemetry::{Metric, Unit};
use std::collections::BTreeMap;

/// The functions, by their folders.
pub const FUNCTIONS: [&str; 8] = [
    "webhook-ingress",
    "email-activity",
    "calendar-sync",
    "notetaker-media",
    "onboarding-transitions",
    "ticket-triage",
    "contact-sync",
    "operator",
];

/// The queues, by the beginnings of their outputs, that have a dead-letter queue.
const QUEUES: [&str; 6] =
    ["EmailActivity", "CalendarSync", "NotetakerMedia", "Onboarding", "TicketTriage", "ContactSync"];

/// The properties that split a count by kind.
const KINDS: [&str; 3] = ["NylasErrorKinds", "CrmErrorKinds", "TicketErrorKinds"];

/// The figures could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The logs.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The queues.
    #[error(transparent)]
    View(#[from] ViewError),
}

/// What all metric lines come to.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figures {
    /// Each metric that was written.
    pub metrics: Vec<Summary>,
    /// How calls failed: by property, by kind.
    pub error_kinds: BTreeMap<String, BTreeMap<String, u64>>,
    /// The lowest coverage of each account, in percent.
    pub coverage: BTreeMap<String, f64>,
    /// How many messages, and dead letters, the queues hold.
    pub queues: Vec<QueueFigure>,
}

/// One metric over all lines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How many values there are.
    pub values: usize,
    /// Their sum.
    pub sum: f64,
    /// The lowest.
    pub lowest: f64,
    /// The one in the middle.
    pub p50: f64,
    /// The one that 99 of a hundred do not exceed.
    pub p99: f64,
    /// The highest.
    pub highest: f64,
}

/// How one queue stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueFigure {
    /// Its name, as its output begins.
    pub name: &'static str,
    /// Messages that can be received now.
    pub waiting: u64,
    /// Messages that are being worked on, or wait for their next try.
    pub in_flight: u64,
    /// Messages in its dead-letter queue; none for a queue without one.
    pub dead_letters: Option<u64>,
}

impl Figures {
    /// What the metric lines among these come to.
    #[must_use]
    pub fn of(lines: &[LogLine]) -> Self {
        let mut figures = Self::default();
        let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
        for line in lines.iter().filter_map(LogLine::json).filter(|line| line["_aws"].is_object()) {
            for metric in Metric::ALL {
                match &line[metric.name()] {
                    Value::Array(several) => {
                        values.entry(*metric).or_default().extend(several.iter().filter_map(Value::as_f64));
                    }
                    one => values.entry(*metric).or_default().extend(one.as_f64()),
                }
            }
            for property in KINDS {
                for (kind, count) in line[property].as_object().into_iter().flatten() {
                    let kinds = figures.error_kinds.entry(property.to_owned()).or_default();
                    *kinds.entry(kind.clone()).or_default() += count.as_u64().unwrap_or_default();
                }
            }
            let coverage = line[Metric::Coverage.name()].as_f64();
            if let (Some(grant), Some(coverage)) = (line["grant.id"].as_str(), coverage) {
                let lowest = figures.coverage.entry(grant.to_owned()).or_insert(coverage);
                *lowest = lowest.min(coverage);
            }
        }
        figures.metrics = values.into_iter().filter_map(|(metric, values)| Summary::of(metric, values)).collect();
        figures
    }

    /// Adds how the queues of a stack stand.
    ///
    /// # Errors
    /// If a queue cannot be asked.
    pub async fn with_queues(mut self, stack: &Stack, view: &StackView) -> Result<Self, MetricsError> {
        for name in QUEUES {
            let depths = view.depths(stack.queue_url(name)?).await?;
            let dead_letters = view.depths(stack.dead_letter_queue_url(name)?).await?.all();
            self.queues.push(QueueFigure::new(name, depths, Some(dead_letters)));
        }
        for (name, url) in [
            ("SchedulerDeadLetter", stack.queue_url("SchedulerDeadLetter")?),
            ("Unroutable", stack.queue_url("Unroutable")?),
        ] {
            self.queues.push(QueueFigure::new(name, view.depths(url).await?, None));
        }
        Ok(self)
    }

    /// The figures as tables for people.
    #[must_use]
    pub fn to_tables(&self) -> String {
        let mut metrics = table(&["metric", "unit", "sum", "values", "lowest", "p50", "p99", "highest"]);
        for one in &self.metrics {
            let is_count = one.unit == Unit::Count.name();
            let of_values = [one.lowest, one.p50, one.p99, one.highest].map(|value| {
                // Of counts a line, only their sum says something.
                if is_count { String::new() } else { figure(value) }
            });
            let sum = if is_count { figure(one.sum) } else { String::new() };
            let row = [one.name.to_owned(), one.unit.to_owned(), sum, one.values.to_string()];
            metrics.add_row(row.into_iter().chain(of_values));
        }
        let mut kinds = table(&["calls that failed", "kind", "count"]);
        for (property, counts) in &self.error_kinds {
            for (kind, count) in counts {
                kinds.add_row([property.trim_end_matches("ErrorKinds"), kind, &count.to_string()]);
            }
        }
        let mut coverage = table(&["account", "lowest coverage in percent"]);
        for (grant, lowest) in &self.coverage {
            coverage.add_row([grant.clone(), figure(*lowest)]);
        }
        let mut queues = table(&["queue", "waiting", "in flight", "dead letters"]);
        for one in &self.queues {
            let dead_letters = one.dead_letters.map_or_else(String::new, |count| count.to_string());
            queues.add_row([one.name.to_owned(), one.waiting.to_string(), one.in_flight.to_string(), dead_letters]);
        }
        let tables = [metrics, kinds, coverage, queues].into_iter().filter(|table| table.row_count() > 0);
        tables.map(|table| table.to_string()).collect::<Vec<_>>().join("\n\n")
    }
}

impl Summary {
    fn of(metric: Metric, mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            name: metric.name(),
            unit: metric.unit().name(),
            values: values.len(),
            sum: values.iter().sum(),
            lowest: *values.first()?,
            p50: percentile(&values, 50.0)?,
            p99: percentile(&values, 99.0)?,
            highest: *values.last()?,
        })
    }
}

impl QueueFigure {
    fn new(name: &'static str, depths: QueueDepths, dead_letters: Option<u64>) -> Self {
        Self { name, waiting: depths.visible + depths.delayed, in_flight: depths.in_flight, dead_letters }
    }
}

/// The figures of a stack, of all lines on the local engine, of the last day in AWS.
///
/// # Errors
/// If its logs or queues cannot be read.
pub async fn figures(
    tools: &Tools,
    stack: &Stack,
    endpoint: Option<&str>,
    view: &StackView,
) -> Result<Figures, MetricsError> {
    let lines = match endpoint {
        Some(endpoint) => LocalEngine::attach(endpoint)?.all_log_lines(stack).await?,
        None => tools.logs_of_a_day(stack, &FUNCTIONS).await?,
    };
    Figures::of(&lines).with_queues(stack, view).await
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

/// A number without a fraction where it has none.
fn figure(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(text: &Value) -> LogLine {
        LogLine { log_group: "g".to_owned(), timestamp: 0, text: text.to_string() }
    }

    fn lines() -> Vec<LogLine> {
        vec![
            line(&json!({"Function": "email-activity", "Logged": 2, "CrmLatency": [10, 30], "_aws": {}})),
            line(&json!({"Function": "email-activity", "Logged": 1, "CrmErrors": 2, "CrmLatency": [20],
                "CrmErrorKinds": {"rate_limited": 1, "no_answer": 1}, "_aws": {}})),
            line(&json!({"Function": "calendar-sync", "Coverage": 100, "grant.id": "g1", "_aws": {}})),
            line(&json!({"Function": "calendar-sync", "Coverage": 90, "grant.id": "g1", "_aws": {}})),
            line(&json!({"notification.id": "n", "Logged": 100})),
            line(&json!("START")),
        ]
    }

    #[test]
    fn metric_lines_are_added_up_and_others_are_not() {
        let figures = Figures::of(&lines());
        let of = |name: &str| figures.metrics.iter().find(|one| one.name == name).expect("a summary").clone();
        assert_eq!((of("Logged").sum, of("Logged").values), (3.0, 2));
        let latency = of("CrmLatency");
        assert_eq!((latency.values, latency.lowest, latency.p50, latency.p99), (3, 10.0, 20.0, 30.0));
        assert_eq!(latency.unit, "Milliseconds");
        assert_eq!(figures.error_kinds["CrmErrorKinds"]["rate_limited"], 1);
        assert_eq!(figures.coverage, BTreeMap::from([("g1".to_owned(), 90.0)]));
        assert!(figures.metrics.iter().all(|one| one.name != "Skipped"), "what was not written is not shown");
    }

    #[test]
    fn tables_show_every_figure_and_leave_out_what_there_is_none_of() {
        let queue = QueueFigure { name: "EmailActivity", waiting: 3, in_flight: 1, dead_letters: Some(2) };
        let text = Figures { queues: vec![queue], ..Figures::of(&lines()) }.to_tables();
        for word in ["Logged", "CrmLatency", "rate_limited", "g1", "EmailActivity", "dead letters"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(Figures::default().to_tables(), "");
    }
}

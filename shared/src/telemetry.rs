//! Logs and metrics: one JSON line each on standard output, which Lambda hands to CloudWatch.
//!
//! Metrics are embedded in log lines (CloudWatch embedded metric format), so they cost no call.
//! CloudWatch bills each name with each value of a dimension as a metric of its own, so there is no dimension: all
//! workers add to the same few names, and which function a count is from stands in the line beside it.

use serde_json::{Map, Value, json};
use std::io::Write as _;
use tracing_subscriber::filter::LevelFilter;

/// The namespace of all metrics.
pub const NAMESPACE: &str = "CrmAutopilot";

/// Starts logging: JSON lines with the fields of each event at the top level, so that queries name them directly.
///
/// `AWS_LAMBDA_LOG_LEVEL`, which the function's logging configuration sets, is the level; else INFO.
pub fn start_logging() {
    let level =
        std::env::var("AWS_LAMBDA_LOG_LEVEL").ok().and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_span_list(false)
        .with_max_level(level)
        .init();
}

/// The counts of one invocation.
#[derive(Debug)]
pub struct Metrics {
    function: &'static str,
    counts: Map<String, Value>,
    percentages: Map<String, Value>,
}

impl Metrics {
    /// No counts yet.
    #[must_use]
    pub fn new(function: &'static str) -> Self {
        Self { function, counts: Map::new(), percentages: Map::new() }
    }

    /// Adds to a count.
    pub fn add(&mut self, name: &'static str, count: u64) {
        let standing = self.counts.get(name).and_then(Value::as_u64).unwrap_or_default();
        self.counts.insert(name.to_owned(), (standing + count).into());
    }

    /// Sets a share, in percent.
    pub fn percentage(&mut self, name: &'static str, of: u64, among: u64) {
        if let Some(percent) = (of * 100).checked_div(among) {
            self.percentages.insert(name.to_owned(), percent.into());
        }
    }

    /// Writes the counts and shares as one line, if there are any.
    pub fn emit(self) {
        if self.counts.is_empty() && self.percentages.is_empty() {
            return;
        }
        let line = self.to_line(jiff::Timestamp::now().as_millisecond());
        // A metric that cannot be written is no reason to fail the work that it counts.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }

    fn to_line(&self, at: i64) -> Value {
        let in_unit = |unit: &'static str| move |name: &String| json!({ "Name": name, "Unit": unit });
        let names: Vec<Value> =
            self.counts.keys().map(in_unit("Count")).chain(self.percentages.keys().map(in_unit("Percent"))).collect();
        let mut line = self.counts.clone();
        line.extend(self.percentages.clone());
        line.insert("Function".to_owned(), self.function.into());
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": at,
                "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": [[]], "Metrics": names }],
            }),
        );
        Value::Object(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_what_the_embedded_metric_format_asks_for() {
        let mut metrics = Metrics::new("email-activity");
        metrics.add("Logged", 1);
        metrics.add("Logged", 2);
        metrics.add("Skipped", 1);
        metrics.percentage("Coverage", 199, 200);
        metrics.percentage("Nothing", 0, 0);
        assert_eq!(
            metrics.to_line(1_700_000_000_000),
            json!({
                "Function": "email-activity", "Logged": 3, "Skipped": 1, "Coverage": 99,
                "_aws": {
                    "Timestamp": 1_700_000_000_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "CrmAutopilot", "Dimensions": [[]],
                        "Metrics": [{ "Name": "Logged", "Unit": "Count" }, { "Name": "Skipped", "Unit": "Count" },
                            { "Name": "Coverage", "Unit": "Percent" }],
                    }],
                },
            })
        );
    }
}

//! Logs and metrics: one JSON line each on standard output, which Lambda hands to CloudWatch.
//!
//! Metrics are embedded in log lines (CloudWatch embedded metric format), so they cost no call.
//! CloudWatch bills each name with each value of a dimension as a metric of its own, so there is no dimension: all
//! workers add to the same few names, and which function a count is from stands in the line beside it. What splits a count
//! further (a grant, a kind of error) is a property of the line: it costs nothing, and Logs Insights reads it.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use tracing_subscriber::filter::LevelFilter;

/// The namespace of all metrics.
pub const NAMESPACE: &str = "CrmAutopilot";

/// How many values of one metric a line may hold (CloudWatch embedded metric format specification, "Target members").
const MAX_VALUES: usize = 100;

/// What a metric is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// A share.
    Percent,
    /// A time that something took.
    Milliseconds,
}

impl Unit {
    /// Its name in CloudWatch.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Percent => "Percent",
            Self::Milliseconds => "Milliseconds",
        }
    }
}

/// Makes the list of metrics, so that none can be written that is not told of here.
macro_rules! metrics {
    ($($name:ident: $unit:ident, $written_by:literal, $means:literal;)*) => {
        /// A metric. Names are stable: alarms, dashboards and people's own queries hold them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $(#[doc = $means] $name,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its name in CloudWatch.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it is counted in.
            #[must_use]
            pub const fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)* }
            }

            /// Which functions write it, in words.
            #[must_use]
            pub const fn written_by(self) -> &'static str {
                match self { $(Self::$name => $written_by,)* }
            }

            /// What it counts or measures, in words.
            #[must_use]
            pub const fn means(self) -> &'static str {
                match self { $(Self::$name => $means,)* }
            }
        }
    };
}

metrics! {
    Queued: Count, "webhook-ingress", "Notifications and customer events that every queue which wants them has accepted.";
    Unwanted: Count, "webhook-ingress", "Notifications of a type that no function wants.";
    Unroutable: Count, "webhook-ingress", "Signed bodies that are no Nylas notification, parked in the unroutable queue.";
    Unauthorized: Count, "webhook-ingress", "Requests without a right signature, answered 401: lost, if they were Nylas's.";
    RefusedForNow: Count, "webhook-ingress", "Requests answered 503, so that they are brought again.";
    BadRequests: Count, "webhook-ingress", "Requests that nothing can be done with, answered 400, 404, 405 or 413; `Reason` says which.";
    Logged: Count, "all workers", "Messages that became a record of their own.";
    Merged: Count, "all workers", "Messages that were one more copy of something that has its record.";
    Skipped: Count, "all workers", "Messages that are not wanted, for the reason in their decision.";
    Held: Count, "all workers", "Messages that wait for something, such as a contact.";
    JobsDone: Count, "all workers", "Jobs of the stack's own making that were carried out.";
    Duplicates: Count, "all workers", "Messages that had been decided before.";
    Retried: Count, "all workers", "Tries that failed in passing; the message comes again.";
    HandedBack: Count, "all workers", "Messages given back untried: leased by another worker, behind a failure, or out of time.";
    DeadLettered: Count, "all workers", "Messages moved to a dead-letter queue.";
    NylasLatency: Milliseconds, "all workers, operator", "How long each call to Nylas took.";
    NylasErrors: Count, "all workers, operator", "Calls to Nylas that failed; `NylasErrorKinds` splits them.";
    CrmLatency: Milliseconds, "all workers, operator", "How long each call to the CRM took.";
    CrmErrors: Count, "all workers, operator", "Calls to the CRM that failed; `CrmErrorKinds` splits them.";
    TicketLatency: Milliseconds, "ticket-triage, operator", "How long each call to the ticket system took.";
    TicketErrors: Count, "ticket-triage, operator", "Calls to the ticket system that failed; `TicketErrorKinds` splits them.";
    Coverage: Percent, "email-activity, calendar-sync, notetaker-media, ticket-triage", "Of what a run of reconcile found at Nylas in one account, the share that had been notified of; `grant.id` names the account.";
    Recovered: Count, "email-activity, calendar-sync, notetaker-media, ticket-triage", "Things that Nylas had not notified of and reconcile put into the queue; `grant.id` names the account.";
    GrantsExpired: Count, "calendar-sync", "Accounts that have to be connected again; `grant.id` names the account.";
    ContactsChanged: Count, "contact-sync", "Contacts of the CRM that a night changed.";
}

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
    // Lambda's own line about a start is below the level at which its lines are kept.
    tracing::info!("an instance has started");
}

/// An id as a log may hold it: Nylas takes an address where it takes a grant's id, and so may we be given one.
#[must_use]
pub fn loggable(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty() && !id.contains('@'))
}

/// The metrics of one invocation.
#[derive(Debug)]
pub struct Metrics {
    function: &'static str,
    counts: BTreeMap<Metric, u64>,
    durations: BTreeMap<Metric, Vec<u64>>,
    properties: Map<String, Value>,
}

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new(function: &'static str) -> Self {
        Self { function, counts: BTreeMap::new(), durations: BTreeMap::new(), properties: Map::new() }
    }

    /// Adds to a count.
    pub fn add(&mut self, metric: Metric, count: u64) {
        *self.counts.entry(metric).or_default() += count;
    }

    /// Sets a share, in percent; there is none of nothing.
    pub fn percentage(&mut self, metric: Metric, of: u64, among: u64) {
        if let Some(percent) = (of * 100).checked_div(among) {
            self.counts.insert(metric, percent);
        }
    }

    /// Adds times in milliseconds. All of them are written, so that CloudWatch knows their percentiles.
    pub fn durations(&mut self, metric: Metric, milliseconds: Vec<u64>) {
        if !milliseconds.is_empty() {
            self.durations.entry(metric).or_default().extend(milliseconds);
        }
    }

    /// Says something beside the metrics, which is none itself: what splits them in Logs Insights.
    pub fn property(&mut self, name: &'static str, value: impl Into<Value>) {
        self.properties.insert(name.to_owned(), value.into());
    }

    /// Names the account, unless its id holds an address.
    pub fn grant(&mut self, grant: Option<&str>) {
        if let Some(grant) = grant.and_then(loggable) {
            self.property("grant.id", grant);
        }
    }

    /// Writes the metrics as a line, if there are any, and as more where one cannot hold all times.
    pub fn emit(self) {
        let mut output = std::io::stdout().lock();
        for line in self.to_lines(jiff::Timestamp::now().as_millisecond()) {
            // A metric that cannot be written is no reason to fail the work that it counts.
            let _ = writeln!(output, "{line}");
        }
    }

    fn to_lines(&self, at: i64) -> Vec<Value> {
        let lines = self.durations.values().map(|values| values.len().div_ceil(MAX_VALUES)).max().unwrap_or_default();
        let lines = lines.max(usize::from(!self.counts.is_empty()));
        (0..lines).map(|line| self.to_line(line, at)).collect()
    }

    /// One of the lines: all that is counted once stands in the first.
    fn to_line(&self, number: usize, at: i64) -> Value {
        let mut line = Map::new();
        let mut definitions = Vec::new();
        let mut write = |metric: Metric, value: Value| {
            definitions.push(json!({ "Name": metric.name(), "Unit": metric.unit().name() }));
            line.insert(metric.name().to_owned(), value);
        };
        if number == 0 {
            for (metric, value) in &self.counts {
                write(*metric, (*value).into());
            }
        }
        for (metric, values) in &self.durations {
            if let Some(values) = values.chunks(MAX_VALUES).nth(number) {
                write(*metric, values.into());
            }
        }
        if number == 0 {
            line.extend(self.properties.clone());
        }
        line.insert("Function".to_owned(), self.function.into());
        line.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": at,
                "CloudWatchMetrics": [{ "Namespace": NAMESPACE, "Dimensions": [[]], "Metrics": definitions }],
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
        metrics.add(Metric::Logged, 1);
        metrics.add(Metric::Logged, 2);
        metrics.add(Metric::Skipped, 1);
        metrics.percentage(Metric::Coverage, 199, 200);
        metrics.percentage(Metric::Recovered, 0, 0);
        metrics.durations(Metric::CrmLatency, vec![12, 250]);
        metrics.durations(Metric::NylasLatency, Vec::new());
        metrics.grant(Some("grant-1"));
        metrics.property("CrmErrorKinds", json!({ "rate_limited": 1 }));
        assert_eq!(
            metrics.to_lines(1_700_000_000_000),
            [json!({
                "Function": "email-activity", "Logged": 3, "Skipped": 1, "Coverage": 99, "CrmLatency": [12, 250],
                "grant.id": "grant-1", "CrmErrorKinds": { "rate_limited": 1 },
                "_aws": {
                    "Timestamp": 1_700_000_000_000_i64,
                    "CloudWatchMetrics": [{
                        "Namespace": "CrmAutopilot", "Dimensions": [[]],
                        "Metrics": [{ "Name": "Logged", "Unit": "Count" }, { "Name": "Skipped", "Unit": "Count" },
                            { "Name": "Coverage", "Unit": "Percent" }, { "Name": "CrmLatency", "Unit": "Milliseconds" }],
                    }],
                },
            })]
        );
    }

    #[test]
    fn more_times_than_a_line_may_hold_go_into_more_lines_and_counts_into_the_first_alone() {
        let mut metrics = Metrics::new("contact-sync");
        metrics.add(Metric::JobsDone, 1);
        metrics.durations(Metric::CrmLatency, (0..250).collect());
        metrics.durations(Metric::NylasLatency, (0..3).collect());
        let lines = metrics.to_lines(0);
        let lengths = |name: &str| -> Vec<Option<usize>> {
            lines.iter().map(|line| line[name].as_array().map(Vec::len)).collect()
        };
        assert_eq!(lengths("CrmLatency"), [Some(100), Some(100), Some(50)]);
        assert_eq!(lengths("NylasLatency"), [Some(3), None, None]);
        assert_eq!(lines.iter().filter(|line| line.get("JobsDone").is_some()).count(), 1);
        for line in &lines {
            for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("definitions") {
                assert!(line.get(metric["Name"].as_str().expect("a name")).is_some(), "defined, so it is there");
            }
        }
    }

    #[test]
    fn nothing_to_count_is_no_line() {
        let mut metrics = Metrics::new("operator");
        metrics.property("Reason", "none");
        assert!(metrics.to_lines(0).is_empty());
    }

    #[test]
    fn metrics_are_at_most_25_and_told_in_sentences() {
        assert!(Metric::ALL.len() <= 25, "{} metrics", Metric::ALL.len());
        for metric in Metric::ALL {
            assert!(metric.means().ends_with('.') && !metric.written_by().is_empty(), "{metric:?}");
        }
    }

    #[test]
    fn account_that_is_named_by_an_address_is_not_named() {
        let mut metrics = Metrics::new("email-activity");
        metrics.add(Metric::Recovered, 1);
        metrics.grant(Some("dana@acme.example"));
        metrics.grant(None);
        assert!(!metrics.to_lines(0)[0].to_string().contains('@'));
    }
}

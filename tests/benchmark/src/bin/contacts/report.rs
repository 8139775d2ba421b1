//! What the nights come to: one table, and which goals are met.

use std::{fmt, thread, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    account::{Counts, Latency},
    night::{CRM_CALLS_PER_SECOND, SLICE},
    own_profile::own_profile,
};

/// How far the peaks of memory may lie apart, in megabytes.
const GOAL_MEGABYTES: f64 = 10.0;
/// How many contacts of a hundred may be looked up in a night in which nothing has changed.
const GOAL_LOOKUPS: f64 = 1.0;
/// What a stack gives one account unless told otherwise: `CrmRequestsPerSecond`, shared by `WorkerConcurrency` instances.
const USUAL_CRM_CALLS_PER_SECOND: f64 = 10.0 / 2.0;

/// Who looks through the address book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The function.
    Function,
    /// The usual recipe.
    Recipe,
}

impl Of {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "contact-sync",
            Self::Recipe => "the recipe's loop",
        }
    }
}

/// One night.
#[derive(Clone, Debug)]
pub struct Row {
    /// Who.
    pub of: Of,
    /// How many contacts the address book has.
    pub contacts: usize,
    /// The first night or the second, before which nothing has changed.
    pub night: usize,
    /// How many of the contacts were looked through.
    pub looked_through: usize,
    /// How long it took.
    pub took: Duration,
    /// The most memory that its process has held, in bytes, if it had one of its own.
    pub peak: Option<u64>,
    /// How often the others were called.
    pub counted: Counts,
}

impl Row {
    /// How many times what was measured the whole address book would take.
    fn scale(&self) -> f64 {
        ratio(self.contacts, self.looked_through)
    }

    fn seconds(&self) -> f64 {
        self.took.as_secs_f64() * self.scale()
    }

    fn megabytes(&self) -> Option<f64> {
        self.peak.and_then(|bytes| u32::try_from(bytes / 1_000).ok()).map(|kilobytes| f64::from(kilobytes) / 1_000.0)
    }

    fn what(&self) -> String {
        let night = match (self.of, self.night) {
            (_, 1) => "first night",
            (Of::Function, _) => "second night, nothing changed",
            (Of::Recipe, _) => "second night",
        };
        let scaled = if self.looked_through == self.contacts {
            String::new()
        } else {
            format!(" (measured on {} and scaled)", grouped(self.looked_through))
        };
        format!("{}, {night}{scaled}", self.of.name())
    }

    fn cells(&self, yardstick: Option<&Self>) -> Vec<String> {
        let scaled = |count: usize| format!("{:.0}", in_all(count) * self.scale());
        let times = yardstick.map(|function| format!("{:.1}", self.seconds() / function.seconds()));
        vec![
            grouped(self.contacts),
            self.what(),
            self.megabytes().map_or("–".to_owned(), |megabytes| format!("{megabytes:.1}")),
            scaled(self.counted.nylas),
            scaled(self.counted.lookups),
            format!("{:.3}", ratio(self.counted.lookups, self.looked_through)),
            scaled(self.counted.writes),
            format!("{:.3}", ratio(self.counted.writes, self.looked_through)),
            scaled(self.counted.links),
            format!("{:.1}", self.seconds()),
            times.unwrap_or_default(),
        ]
    }
}

/// The whole result.
pub struct Report {
    latency: Latency,
    rows: Vec<Row>,
}

impl Report {
    /// Of nights in the order of the table.
    pub fn new(latency: Latency, rows: Vec<Row>) -> Self {
        Self { latency, rows }
    }

    fn of_function(&self, night: usize) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.of == Of::Function && row.night == night)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header([
            "contacts",
            "night",
            "peak MB",
            "Nylas calls",
            "CRM lookups",
            "a contact",
            "CRM writes",
            "a contact",
            "links calls",
            "wall s",
            "× contact-sync",
        ]);
        for row in &self.rows {
            let yardstick = self.of_function(row.night).find(|function| function.contacts == row.contacts);
            table.add_row(row.cells(yardstick.filter(|_| row.of == Of::Recipe)));
        }
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_cell_alignment(if place == 1 { CellAlignment::Left } else { CellAlignment::Right });
        }
        table
    }

    /// The peaks of memory of both nights together, by size, and how far they lie apart.
    fn verdict_on_memory(&self) -> String {
        let peaks: Vec<(usize, f64)> = self
            .of_function(1)
            .zip(self.of_function(2))
            .filter_map(|(first, second)| Some((first.contacts, first.megabytes()?.max(second.megabytes()?))))
            .collect();
        let greatest = peaks.iter().map(|(_, peak)| *peak).fold(0.0, f64::max);
        let spread = greatest - peaks.iter().map(|(_, peak)| *peak).fold(greatest, f64::min);
        let told: Vec<String> =
            peaks.iter().map(|(contacts, peak)| format!("{peak:.1} MB at {}", grouped(*contacts))).collect();
        format!(
            "peak memory of the function: {}; spread {spread:.1} MB, goal {GOAL_MEGABYTES:.0} MB or less: {}",
            told.join(", "),
            met(spread <= GOAL_MEGABYTES)
        )
    }

    fn verdict_on_second_night(&self) -> String {
        let writes: usize = self.of_function(2).map(|row| row.counted.writes).sum();
        let lookups =
            self.of_function(2).map(|row| 100.0 * ratio(row.counted.lookups, row.contacts)).fold(0.0, f64::max);
        format!(
            "second night of the function, nothing changed: {writes} writes at all sizes together, goal 0: {}; at most \
             {lookups:.2} lookups for 100 contacts, goal {GOAL_LOOKUPS:.0} or less: {}",
            met(writes == 0),
            met(lookups <= GOAL_LOOKUPS)
        )
    }

    /// How long the calls of a first night take at the usual cap, whatever else.
    fn under_the_usual_cap(&self) -> String {
        let told: Vec<String> = self
            .of_function(1)
            .map(|row| {
                let minutes = in_all(row.counted.crm) / USUAL_CRM_CALLS_PER_SECOND / 60.0;
                let time =
                    if minutes < 120.0 { format!("{minutes:.0} min") } else { format!("{:.1} h", minutes / 60.0) };
                format!("{time} for {}", grouped(row.contacts))
            })
            .collect();
        format!(
            "with the usual cap (CrmRequestsPerSecond 10, of which one of the two instances that WorkerConcurrency lets run \
             has {USUAL_CRM_CALLS_PER_SECOND:.0}) the calls of the first night alone take {}",
            told.join(", ")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let Latency { crm, nylas, links } = self.latency;
        writeln!(
            formatter,
            "each night of contact-sync is a process of its own, on {processors} processors, {}: its rules, its Nylas and its \
             CRM client over HTTP on 127.0.0.1 without TLS",
            own_profile()
        )?;
        writeln!(
            formatter,
            "the links table is no DynamoDB: the process that measures holds it behind HTTP, so that it counts nowhere as \
             memory of the function; `links calls` are those that DynamoDB would have got. Neither the AWS SDK, which the \
             deployed function has in its memory beside what is measured here, nor Lambda, SQS and leases take part: messages \
             lie in memory, in slices of {} s",
            SLICE.as_secs()
        )?;
        writeln!(
            formatter,
            "each call waits {} ms at Nylas, {} ms at the CRM and {} ms at the links table; calls to the CRM are capped at \
             {CRM_CALLS_PER_SECOND:.0} a second, the most that CrmRequestsPerSecond takes, so that the cap does not hide the rest",
            nylas.as_millis(),
            crm.as_millis(),
            links.as_millis()
        )?;
        writeln!(
            formatter,
            "one Google account, of whose contacts the CRM knows about three tenths; the recipe has the same account and a CRM \
             of its own in the same state: page after page of 30, for each contact the address of the type work, else none, a \
             lookup, and a write of what is there; one thing at a time. Each night was measured once"
        )?;
        writeln!(formatter, "{}", self.table())?;
        writeln!(formatter, "{}", self.verdict_on_memory())?;
        writeln!(formatter, "{}", self.verdict_on_second_night())?;
        writeln!(formatter, "{}", self.under_the_usual_cap())
    }
}

fn met(is_met: bool) -> &'static str {
    if is_met { "met" } else { "missed" }
}

fn in_all(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn ratio(part: usize, whole: usize) -> f64 {
    in_all(part) / in_all(whole)
}

/// A number with a blank between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(contacts: usize, megabytes: u64, writes: usize) -> Vec<Row> {
        let row = |of, night, looked_through, counted: (usize, usize)| Row {
            of,
            contacts,
            night,
            looked_through,
            took: Duration::from_secs(10),
            peak: (of == Of::Function).then_some(megabytes * 1_000_000),
            counted: Counts { nylas: 5, crm: counted.0 + counted.1, lookups: counted.0, writes: counted.1, links: 7 },
        };
        vec![
            row(Of::Function, 1, contacts, (contacts, contacts / 4)),
            row(Of::Function, 2, contacts, (contacts / 100, writes)),
            row(Of::Recipe, 1, contacts / 10, (90, 30)),
        ]
    }

    fn told(sizes: &[Vec<Row>; 2]) -> String {
        let none = Duration::ZERO;
        Report::new(Latency { crm: none, nylas: none, links: none }, sizes.concat()).to_string()
    }

    #[test]
    fn goals_are_judged_over_all_sizes() {
        let met = told(&[rows(1_000, 20, 0), rows(100_000, 30, 0)]);
        assert!(met.contains("20.0 MB at 1 000, 30.0 MB at 100 000; spread 10.0 MB, goal 10 MB or less: met"), "{met}");
        assert!(met.contains("0 writes at all sizes together, goal 0: met; at most 1.00 lookups"), "{met}");
        assert!(met.contains("goal 1 or less: met"), "{met}");
        let missed = told(&[rows(1_000, 20, 1), rows(1_010, 31, 0)]);
        assert!(missed.contains("spread 11.0 MB, goal 10 MB or less: missed"), "{missed}");
        assert!(missed.contains("1 writes at all sizes together, goal 0: missed"), "{missed}");
    }

    #[test]
    fn what_was_measured_on_fewer_contacts_is_scaled_and_says_so() {
        let told = told(&[rows(1_000, 20, 0), Vec::new()]);
        let row = told.lines().find(|line| line.contains("recipe's loop, first")).expect("a row");
        assert!(row.contains("(measured on 100 and scaled)"), "{row}");
        let cells: Vec<&str> = row.split('┆').map(|cell| cell.trim_matches(['│', ' '])).collect();
        assert_eq!(cells[3..], ["50", "900", "0.900", "300", "0.300", "70", "100.0", "10.0"], "{row}");
        assert!(told.contains("take 4 min for 1 000"), "{told}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1_000, 100_000].map(grouped), ["0", "999", "1 000", "100 000"]);
    }
}

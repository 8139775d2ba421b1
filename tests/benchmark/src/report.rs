//! Sums repetitions up to medians with their spread, and these into a table for people and JSON for programs.

use std::{collections::BTreeSet, fmt, path::Path, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::{measurement::Repetition, spread::Spread};

/// What ingress's CPU time per notification may be, as a multiple of the function that only forwards.
pub const CPU_AIM: f64 = 1.15;
/// What the zipped package of ingress may weigh.
pub const PACKAGE_AIM_BYTES: usize = 5_000_000;

/// One contender at one size.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The length of the notification's body.
    pub size_bytes: usize,
    /// The contender.
    pub function: &'static str,
    /// From starting the process to its first request for an event.
    pub spawn_to_ready_ms: Spread,
    /// From starting the process to its first answer.
    pub spawn_to_first_answer_ms: Spread,
    /// User and system time.
    pub cpu_per_notification_us: Spread,
    /// CPU time against the yardstick's in the same repetition.
    pub cpu_ratio_to_yardstick: Option<Spread>,
    /// `VmHWM`.
    pub peak_memory_mb: Spread,
    /// Event handed out to answer received.
    pub warm_p50_ms: Spread,
    /// Event handed out to answer received.
    pub warm_p99_ms: Spread,
    /// Over all repetitions.
    pub wrong_answers: usize,
    /// In words, each kind once.
    pub wrong_answers_described: Vec<String>,
}

impl Row {
    /// Sums repetitions up. `yardstick` are the repetitions that were run in turn with these, where there is a ratio.
    pub fn new(
        size_bytes: usize,
        function: &'static str,
        repetitions: &[Repetition],
        yardstick: Option<&[Repetition]>,
    ) -> Self {
        let spread = |value: fn(&Repetition) -> f64| Spread::of(repetitions.iter().map(value));
        Self {
            size_bytes,
            function,
            spawn_to_ready_ms: spread(|repetition| milliseconds(repetition.spawn_to_ready)),
            spawn_to_first_answer_ms: spread(|repetition| milliseconds(repetition.spawn_to_first_answer)),
            cpu_per_notification_us: spread(|repetition| milliseconds(repetition.cpu) * 1_000.0),
            cpu_ratio_to_yardstick: yardstick.map(|yardstick| {
                Spread::of(repetitions.iter().zip(yardstick).map(|(own, other)| own.cpu.div_duration_f64(other.cpu)))
            }),
            peak_memory_mb: spread(|repetition| megabytes(repetition.peak_memory)),
            warm_p50_ms: spread(|repetition| milliseconds(repetition.p50)),
            warm_p99_ms: spread(|repetition| milliseconds(repetition.p99)),
            wrong_answers: repetitions.iter().map(|repetition| repetition.wrong).sum(),
            wrong_answers_described: repetitions
                .iter()
                .flat_map(|repetition| repetition.wrong_described.iter().cloned())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        }
    }
}

/// Where and how it was measured.
#[derive(Debug, Serialize)]
pub struct Circumstances {
    /// CPU model.
    pub processor: String,
    /// Kernel release.
    pub kernel: String,
    /// The CPU that the contenders had for themselves.
    pub contender_cpu: Option<usize>,
    /// The CPU of the Runtime API and the stand-ins of AWS.
    pub stub_cpu: Option<usize>,
    /// Release profile of the two comparison functions.
    pub profile: String,
    /// Whether ingress was built with the same one, where that can be told.
    pub ingress_has_the_same_profile: Option<bool>,
    /// How often each contender was started at each size.
    pub repetitions: usize,
    /// Measured events a repetition.
    pub events: usize,
    /// Events before those.
    pub warm_up: usize,
}

/// The package of ingress.
#[derive(Debug, Serialize)]
pub struct Package {
    /// The binary as it is, in bytes.
    #[serde(rename = "binary_bytes")]
    pub binary: usize,
    /// As `sam deploy` zips it (deflate, level 6), without the few bytes of the archive's own.
    #[serde(rename = "zipped_bytes")]
    pub zipped: usize,
    /// The goal, zipped.
    #[serde(rename = "aim_bytes")]
    pub aim: usize,
}

impl Package {
    /// Weighs a binary.
    pub fn of(binary: &Path) -> std::io::Result<Self> {
        let content = std::fs::read(binary)?;
        let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        std::io::Write::write_all(&mut deflated, &content)?;
        let zipped = deflated.finish()?.len();
        Ok(Self { binary: content.len(), zipped, aim: PACKAGE_AIM_BYTES })
    }
}

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where and how it was measured.
    pub circumstances: Circumstances,
    /// What the reader has to know before believing the figures.
    pub warnings: Vec<String>,
    /// One row a size and contender.
    pub rows: Vec<Row>,
    /// The package of ingress.
    pub package: Package,
}

impl Report {
    /// Wrong answers of all rows together.
    pub fn wrong_answers(&self) -> usize {
        self.rows.iter().map(|row| row.wrong_answers).sum()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        table.set_header([
            "body",
            "function",
            "spawn to first answer, ms",
            "CPU a notification, µs",
            "× forward-only",
            "peak memory, MB",
            "warm p50, ms",
            "warm p99, ms",
            "wrong",
        ]);
        let mut size_before = None;
        for row in &self.rows {
            let size = if size_before == Some(row.size_bytes) { String::new() } else { size_in_words(row.size_bytes) };
            size_before = Some(row.size_bytes);
            table.add_row([
                size,
                row.function.to_owned(),
                row.spawn_to_first_answer_ms.to_string(),
                format!("{:.0}", row.cpu_per_notification_us),
                row.cpu_ratio_to_yardstick.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                row.peak_memory_mb.to_string(),
                format!("{:.2}", row.warm_p50_ms),
                format!("{:.2}", row.warm_p99_ms),
                row.wrong_answers.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn cpus(&self) -> String {
        match (self.circumstances.contender_cpu, self.circumstances.stub_cpu) {
            (Some(contender), Some(stub)) => format!("contender on CPU {contender}, stand-ins on CPU {stub}"),
            _ => "contender and stand-ins on the same CPUs".to_owned(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Circumstances { processor, kernel, profile, repetitions, events, warm_up, .. } = &self.circumstances;
        writeln!(formatter, "{processor}, Linux {kernel}, {}", self.cpus())?;
        writeln!(formatter, "profile of the comparison functions: {profile}")?;
        writeln!(
            formatter,
            "profile of ingress: {}",
            match self.circumstances.ingress_has_the_same_profile {
                Some(true) => "the same",
                Some(false) => "another one",
                None => "cannot be told (the binary is not the one in this workspace's target directory)",
            }
        )?;
        writeln!(
            formatter,
            "{repetitions} repetitions in turn, each a fresh process with {events} notifications one by one after {warm_up} \
             to warm up (a quarter of both above 64 kB)"
        )?;
        writeln!(formatter, "median (least–greatest) of the repetitions; no TLS, no network, no microVM start in it")?;
        writeln!(formatter, "{}", self.table())?;
        for row in &self.rows {
            for wrong in &row.wrong_answers_described {
                writeln!(formatter, "WRONG: {} at {}: {wrong}", row.function, size_in_words(row.size_bytes))?;
            }
        }
        for row in &self.rows {
            if let Some(ratio) = row.cpu_ratio_to_yardstick {
                let verdict = if ratio.median <= CPU_AIM { "met" } else { "missed" };
                writeln!(
                    formatter,
                    "CPU of {} against forward-only at {}: {:.3} (aim {CPU_AIM} or less: {verdict})",
                    row.function,
                    size_in_words(row.size_bytes),
                    ratio.median
                )?;
            }
        }
        let Package { binary, zipped, aim } = &self.package;
        let verdict = if zipped <= aim { "met" } else { "missed" };
        writeln!(
            formatter,
            "package of ingress: {} zipped, {} as a file (aim {} zipped or less: {verdict})",
            size_in_megabytes(*zipped),
            size_in_megabytes(*binary),
            size_in_megabytes(*aim)
        )?;
        for warning in &self.warnings {
            writeln!(formatter, "WARNING: {warning}")?;
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "no function holds so much memory that a byte gets lost")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn size_in_megabytes(bytes: usize) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}

fn size_in_words(bytes: usize) -> String {
    if bytes.is_multiple_of(1_000) { format!("{} kB", bytes / 1_000) } else { format!("{bytes} B") }
}

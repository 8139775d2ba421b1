//! `triage`: proves or refutes that the rules for support mail judge the worst text of 1 MiB against 200 rules within
//! 50 ms, and a mail of 16 kB against 100 rules within 1 ms; and shows beside it what the usual ways take that look for
//! one keyword at a time. The rules are those of the functions; the texts are made here, the same each time.
//! Run it with `make benchmark-triage`.

mod contender;
mod draws;
#[path = "../../own_profile.rs"]
mod own_profile;
mod report;
mod rule_set;
#[path = "../../spread.rs"]
mod spread;
mod text;

use std::{
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use shared::triage::{new_text::new_text, rule_file::BadRules, rules::Rules};

use crate::{
    contender::{Contender, Ready},
    report::{FIRST_IN_PROCESS, Goal, Report, Row},
    rule_set::RuleSet,
    text::Text,
};

/// Measures the rules for support mail beside the usual ways to look for keywords.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each text is judged in each way. What is done once before these is not measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repetitions: u16,
    /// Leave out the usual ways, which take nearly all of the time.
    #[arg(long)]
    alone: bool,
}

/// Nobody waits for repetitions of what misses its goal by so much.
const TOO_LONG: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(report) => {
            print(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            progress(&format!("triage: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, BadRules> {
    // Before all else: afterwards the patterns that it compiles are there.
    let first = took(|| new_text("<p>Hello,</p><p>the export is down.</p>", false).text.len());
    let contenders: &[Contender] = if arguments.alone { &[Contender::Rules] } else { &Contender::ALL };
    let (large, small) = (RuleSet::of_english(200), RuleSet::of_english(100));
    let many_languages = RuleSet::of_languages(200);
    let mut rows = vec![
        Row::of(FIRST_IN_PROCESS, None, &[vec![first]]),
        reading("reading 200 rules", large.text(), arguments.repetitions)?,
        reading("reading the rules of the functions", shared::triage::rule_file::STANDARD, arguments.repetitions)?,
    ];
    let ready = Ready::new(&large)?;
    for text in text::hostile(&large) {
        rows.push(judging(&text, &ready, Some(Goal::Hostile), contenders, arguments.repetitions));
    }
    let ready = Ready::new(&small)?;
    for text in text::mails(&small) {
        rows.push(judging(&text, &ready, Some(Goal::Mail), contenders, arguments.repetitions));
    }
    let ready = Ready::new(&many_languages)?;
    for text in text::hostile(&many_languages).into_iter().map(|text| text.named(|name| format!("{name}, 8 languages")))
    {
        rows.push(judging(&text, &ready, None, &[Contender::Rules], arguments.repetitions));
    }
    Ok(Report::new(arguments.repetitions, contenders.to_vec(), rows))
}

/// What a cold start takes to read rules.
fn reading(name: &str, rules: &str, repetitions: u16) -> Result<Row, BadRules> {
    Rules::read(rules)?;
    let runs = (0..repetitions).map(|_| vec![took(|| Rules::read(rules).map_or(0, |rules| rules.len()))]);
    Ok(Row::of(name, None, &runs.collect::<Vec<_>>()))
}

/// One text, judged in each way in turn, again and again.
fn judging(text: &Text, ready: &Ready, goal: Option<Goal>, contenders: &[Contender], repetitions: u16) -> Row {
    progress(&text.name);
    let in_turn =
        || contenders.iter().map(|contender| took(|| ready.judge(*contender, text))).collect::<Vec<Duration>>();
    let first = in_turn();
    if first.first().is_some_and(|took| *took > TOO_LONG) {
        return Row::of(&format!("{} (once)", text.name), goal, &[first]);
    }
    Row::of(&text.name, goal, &(0..repetitions).map(|_| in_turn()).collect::<Vec<_>>())
}

fn took(work: impl FnOnce() -> usize) -> Duration {
    let begin = Instant::now();
    black_box(work());
    begin.elapsed()
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn print(report: &Report) {
    print!("{report}");
}

#[expect(clippy::print_stderr, reason = "people wait for the report and see how far it is")]
fn progress(message: &str) {
    eprintln!("{message}");
}

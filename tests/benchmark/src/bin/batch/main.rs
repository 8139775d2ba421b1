//! `batch`: proves or refutes that a batch of ten mails with six outside addresses each takes at most 1.5 times as
//! long as one mail with one address, and shows beside it what the usual loop takes that asks for one thing at a time;
//! and that a batch of ten events of different meetings takes at most 1.5 times as long as one event.
//! The real engine, rules and HTTP clients run against the stand-ins of the CRM and of Nylas; AWS is in memory.
//! Run it with `make benchmark-batch`.

mod mail;
mod meeting;
mod report;
mod scenario;
#[path = "../../spread.rs"]
mod spread;
mod world;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    report::{Kind, Report},
    scenario::Scenario,
    world::{Latency, Run, World},
};

/// Measures a batch of mails beside a single one and beside the usual loop.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often each scenario is run. The first time is not measured: what is made only once settles in it.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(2..=1000))]
    repetitions: u16,
    /// What the CRM waits before it answers, in milliseconds.
    #[arg(long, default_value_t = 100)]
    crm_latency: u64,
    /// What Nylas waits before it answers, in milliseconds.
    #[arg(long, default_value_t = 20)]
    nylas_latency: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(reports) => {
            reports.iter().for_each(print);
            ExitCode::SUCCESS
        }
        Err(error) => {
            progress(&format!("batch: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<[Report; 2], Box<dyn Error>> {
    let latency = Latency {
        crm: Duration::from_millis(arguments.crm_latency),
        nylas: Duration::from_millis(arguments.nylas_latency),
    };
    Ok([of_kind(Kind::Mails, arguments.repetitions, latency)?, of_kind(Kind::Events, arguments.repetitions, latency)?])
}

/// The scenarios of one kind, in turn and again.
fn of_kind(kind: Kind, repetitions: u16, latency: Latency) -> Result<Report, Box<dyn Error>> {
    let scenarios = kind.scenarios();
    let mut runs: Vec<Vec<Run>> = scenarios.iter().map(|_| Vec::new()).collect();
    for repetition in 1..=repetitions {
        progress(&format!("{}: repetition {repetition} of {repetitions}", kind.name()));
        for (scenario, runs) in scenarios.iter().zip(&mut runs) {
            let run = measured(scenario, latency).map_err(|error| format!("{}: {error}", scenario.name))?;
            if repetition > 1 {
                runs.push(run);
            }
        }
    }
    Ok(Report::new(kind, latency, &scenarios, &runs))
}

/// One run, in a world and a runtime of its own: nothing that an earlier run has left can make it quicker.
fn measured(scenario: &Scenario, latency: Latency) -> Result<Run, Box<dyn Error>> {
    let world = World::of(scenario, latency)?;
    // One thread, like the deployed function; the stand-ins have threads of their own.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(world.run(scenario))
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn print(report: &Report) {
    print!("{report}");
}

#[expect(clippy::print_stderr, reason = "people wait for the report and see how far it is")]
fn progress(message: &str) {
    eprintln!("{message}");
}

#[cfg(test)]
mod tests {
    use sandbox::stand_ins::{Fault, FaultRule};

    use super::*;

    const NONE: Latency = Latency { crm: Duration::ZERO, nylas: Duration::ZERO };

    #[test]
    fn each_scenario_passes_its_own_check_with_the_calls_that_it_is_about() {
        let calls = |scenarios: Vec<Scenario>| -> Vec<usize> {
            scenarios.iter().map(|scenario| measured(scenario, NONE).expect("a run").calls).collect()
        };
        assert_eq!(calls(scenario::of_mails()), [2, 60 + 10, 6 + 10, 60 + 10]);
        assert_eq!(calls(scenario::of_events()), [2, 10 + 10, 60 + 10]);
    }

    #[tokio::test]
    async fn run_in_which_something_failed_is_an_error_and_no_measurement() {
        for scenario in scenario::of_mails().into_iter().chain(scenario::of_events()) {
            let world = World::of(&scenario, NONE).expect("a world");
            world.crm().faults().add(FaultRule::next(1, Fault::status(503)).on("POST", "/activities"));
            world.crm().faults().add(FaultRule::next(1, Fault::status(503)).on("PUT", "/meetings"));
            let run = world.run(&scenario).await;
            assert!(run.is_err(), "{}: {run:?}", scenario.name);
        }
    }
}

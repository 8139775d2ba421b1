//! `contacts`: proves or refutes that contact-sync needs as much memory for an address book of 100 000 contacts as for
//! one of 1 000, and that a night in which nothing has changed writes nothing and asks the CRM for at most one contact in
//! a hundred; and shows beside it what the usual recipe takes that asks for and writes every contact every night.
//!
//! Every night of the function is a process of its own: this program, started by itself with `--child`. It runs the real
//! rules over the real HTTP clients against the stand-ins of Nylas and the CRM. What the function remembers lies in the
//! process that starts it, so that it counts there and not as the function's memory, as it would lie in `DynamoDB`.
//! Run it with `make benchmark-contacts`.

// The rules' calls nest deep, and the measured links deeper.
#![recursion_limit = "256"]

mod account;
mod child;
mod links;
mod night;
#[path = "../../own_profile.rs"]
mod own_profile;
mod recipe;
mod report;

use std::{error::Error, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{
    account::{Account, Latency},
    report::{Of, Report, Row},
};

/// Up to this size the recipe goes through the whole address book.
const LARGEST_WHOLE_FOR_RECIPE: usize = 10_000;
/// Of a larger one it goes through so many contacts, and what it takes is scaled.
const SAMPLE_FOR_RECIPE: usize = 2_000;

/// Measures nights of contact-sync beside those of the usual recipe.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave out the address book of 100 000 contacts, which takes most of the time.
    #[arg(long)]
    quick: bool,
    /// What the CRM waits before it answers, in milliseconds.
    #[arg(long, default_value_t = 20)]
    crm_latency: u64,
    /// What Nylas waits before it answers, in milliseconds.
    #[arg(long, default_value_t = 20)]
    nylas_latency: u64,
    /// What the links table waits before it answers, in milliseconds.
    #[arg(long, default_value_t = 5)]
    links_latency: u64,
    /// Be the function for one night: for this program itself.
    #[arg(long, hide = true)]
    child: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.child {
        Some(plan) => child::run(plan),
        None => run(&arguments).map(|report| print(&report)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("contacts: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let latency = Latency {
        crm: Duration::from_millis(arguments.crm_latency),
        nylas: Duration::from_millis(arguments.nylas_latency),
        links: Duration::from_millis(arguments.links_latency),
    };
    let sizes: &[usize] = if arguments.quick { &[1_000, 10_000] } else { &[1_000, 10_000, 100_000] };
    let mut rows = Vec::new();
    for contacts in sizes {
        rows.extend(of_size(*contacts, latency).map_err(|error| format!("{contacts} contacts: {error}"))?);
    }
    Ok(Report::new(latency, rows))
}

/// Two nights of the function and two of the recipe. Nothing changes in the address book between them.
fn of_size(contacts: usize, latency: Latency) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    let mut keep = |of: Of, night: usize, account: &Account, look_through: &dyn Fn() -> Nights| {
        progress(&format!("{contacts} contacts: {}, night {night}", of.name()));
        let before = account.counts();
        let (took, looked_through, peak) = look_through()?;
        let counted = account.counts().since(&before);
        progress(&format!("  {:.1} s for {looked_through} contacts, calls: {counted:?}", took.as_secs_f64()));
        rows.push(Row { of, contacts, night, looked_through, took, peak, counted });
        Ok::<_, Box<dyn Error>>(())
    };
    // Each begins with a CRM of its own that nobody has written to.
    let account = Account::with(contacts, latency)?;
    for night in 1..=2 {
        keep(Of::Function, night, &account, &|| child::night(&account, night))?;
    }
    drop(account);
    let account = Account::with(contacts, latency)?;
    let most = if contacts > LARGEST_WHOLE_FOR_RECIPE { SAMPLE_FOR_RECIPE } else { contacts };
    for night in 1..=2 {
        keep(Of::Recipe, night, &account, &|| recipe::night(&account, most))?;
    }
    Ok(rows)
}

/// How long a night took, how many contacts were looked through, and the most memory that its process held, in bytes,
/// where it had one of its own.
type Nights = Result<(Duration, usize, Option<u64>), Box<dyn Error>>;

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
    use super::*;
    use crate::night::{Came, Plan, night};

    const NONE: Latency = Latency { crm: Duration::ZERO, nylas: Duration::ZERO, links: Duration::ZERO };

    async fn came_of(account: &Account, run: &str) -> Came {
        night(&Plan::of(account, run)).await.expect("a night")
    }

    #[tokio::test]
    async fn second_night_of_the_function_finds_nothing_to_do_and_that_of_the_recipe_does_all_again() {
        let account = Account::with(300, NONE).expect("an account");
        let first = came_of(&account, "one").await;
        assert_eq!((first.slices, first.counts["contacts"]), (1, 300));
        let before = account.counts();
        assert!(before.lookups > 100 && before.writes > 10, "{before:?}");
        assert_eq!((before.crm, before.nylas), (before.lookups + before.writes, 2));
        assert_eq!(came_of(&account, "two").await.counts["contacts"], 300);
        let second = account.counts().since(&before);
        assert_eq!((second.crm, second.nylas), (0, 2), "{second:?}");
    }

    #[test]
    fn every_night_of_the_recipe_is_the_same() {
        let account = Account::with(300, NONE).expect("an account");
        let counted = |most| {
            let before = account.counts();
            let (_, looked_through, _) = recipe::night(&account, most).expect("a night");
            (looked_through, account.counts().since(&before))
        };
        let (looked_through, first) = counted(300);
        assert!(first.lookups > 100 && first.writes > 10, "{first:?}");
        assert_eq!((looked_through, first.nylas, first.links), (300, 10, 0));
        assert_eq!(counted(300), (300, first));
        let (looked_through, sample) = counted(45);
        assert_eq!((looked_through, sample.nylas), (45, 2));
    }
}

//! `benchmark`: measures the release binary of `webhook-ingress` beside a function that does nothing and one that
//! only forwards the body to SQS, all on the same local Runtime API and the same stand-ins of AWS, in one run.
//! Run it after `sam build`: `cargo run --release -p crm-autopilot-benchmark --no-default-features --bin benchmark`.

mod contender;
mod measurement;
mod notification;
mod profile;
mod report;
mod runtime_api;
mod spread;
mod stub_aws;

use std::{
    collections::HashMap,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    contender::{Contender, usage},
    measurement::{Duty, Repetition, Traffic, repetition},
    notification::Notification,
    report::{Circumstances, Package, Report, Row},
    stub_aws::StubAws,
};

const WEBHOOK_SECRET: &str = "benchmark-webhook-secret";
const WEBHOOK_SECRET_ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:benchmark-webhook";
/// Has no value, like the real one before the operator's first rotation.
const MANAGED_SECRET_ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:benchmark-managed";
const CUSTOMER_EVENTS_SECRET_ARN: &str =
    "arn:aws:secretsmanager:us-east-1:000000000000:secret:benchmark-customer-events";

/// Bodies longer than this come in smaller numbers, so that a run stays short.
const LONG_BODY: usize = 64_000;
/// One queue message cannot carry a longer body: ingress would use the archive bucket, for which there is no stand-in.
const LONGEST_BODY: usize = 900_000;

/// Measures webhook-ingress beside a do-nothing function and one that only forwards the body to SQS.
#[derive(Debug, Parser)]
struct Arguments {
    /// The release binary of webhook-ingress, as `sam build` leaves it.
    #[arg(long, default_value = ".aws-sam/build/WebhookIngressFunction/bootstrap")]
    ingress: PathBuf,
    /// How often each function is started at each size.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    repetitions: u16,
    /// Measured notifications a repetition.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    events: u32,
    /// Notifications before those, which are not measured.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    warm_up: u32,
    /// Lengths of the notifications' bodies in bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 4_000, 16_000, 256_000])]
    sizes: Vec<usize>,
    /// Write the results to this file as well, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            progress(&format!("benchmark: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether all answers were right.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    if let Some(size) = arguments.sizes.iter().find(|size| **size > LONGEST_BODY) {
        return Err(format!("--sizes {size}: at most {LONGEST_BODY} bytes go through a queue").into());
    }
    let ingress = ingress(&arguments.ingress);
    ingress.check()?;
    progress("building the comparison functions with the release profile");
    let comparison = profile::build(&["do-nothing", "forward-only"])?;
    let [do_nothing, forward_only] = comparison.as_slice() else {
        return Err("cargo built something else than the comparison functions".into());
    };
    let contenders = [
        (comparison_function("do-nothing", do_nothing, Vec::new()), Duty::Answer),
        (
            comparison_function("forward-only", forward_only, vec![("QUEUE_URL", queue_url("forward-only"))]),
            Duty::Forward { queue_url: queue_url("forward-only") },
        ),
        (ingress, Duty::VerifyAndForward { queue_url: queue_url("email-activity") }),
    ];
    let mut warnings = Vec::new();
    let (contender_cpu, stub_cpu) = choose_cpus(&mut warnings);
    // Bound before the runtime exists, so that everything the benchmark itself does stays off the contender's CPU.
    if let Some(cpu) = stub_cpu {
        usage::bind_this_thread(cpu)?;
    }
    let profile = profile::in_use();
    // An executable lies in `<target directory>/release`, or in `<target directory>/<platform>/release`.
    let same_profile = forward_only
        .ancestors()
        .skip(2)
        .take(2)
        .find_map(|directory| profile::same(directory, forward_only, &arguments.ingress));
    if !profile.is_the_real_one {
        warnings.push(format!("the comparison functions have the profile {}", profile.description));
    }
    if same_profile == Some(false) {
        warnings.push(
            "ingress was built with another release profile than the comparison functions: the comparison is not fair; \
             run `sam build` and the benchmark with the same CARGO_PROFILE_RELEASE_… variables, best with none"
                .to_owned(),
        );
    }
    let package = Package::of(&arguments.ingress)?;
    let rows = tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(
        arguments,
        &contenders,
        contender_cpu,
    ))?;
    let report = Report {
        circumstances: Circumstances {
            processor: processor(),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            contender_cpu,
            stub_cpu,
            profile: profile.description,
            ingress_has_the_same_profile: same_profile,
            repetitions: arguments.repetitions.into(),
            events: arguments.events as usize,
            warm_up: arguments.warm_up as usize,
        },
        warnings,
        rows,
        package,
    };
    print(&report);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)
            .map_err(|error| format!("the results could not be written to {}: {error}", path.display()))?;
    }
    Ok(report.wrong_answers() == 0)
}

async fn measure(
    arguments: &Arguments,
    contenders: &[(Contender, Duty); 3],
    cpu: Option<usize>,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let aws = StubAws::start(HashMap::from([
        (WEBHOOK_SECRET_ARN.to_owned(), WEBHOOK_SECRET.to_owned()),
        (CUSTOMER_EVENTS_SECRET_ARN.to_owned(), "benchmark-customer-events-secret".to_owned()),
    ]))
    .await?;
    let logs = std::env::temp_dir().join(format!("crm-autopilot-benchmark-{}", std::process::id()));
    std::fs::create_dir_all(&logs)?;
    let mut results: Vec<[Vec<Repetition>; 3]> = arguments.sizes.iter().map(|_| Default::default()).collect();
    let mut outcome = Ok(());
    'all: for round in 1..=arguments.repetitions {
        progress(&format!("repetition {round} of {}", arguments.repetitions));
        for (size, results) in arguments.sizes.iter().zip(&mut results) {
            let traffic = traffic(arguments, *size);
            for ((contender, duty), results) in contenders.iter().zip(results) {
                match repetition(contender, duty, &aws, &traffic, cpu, &logs).await {
                    Ok(repetition) => results.push(repetition),
                    Err(error) => {
                        outcome = Err(error);
                        break 'all;
                    }
                }
            }
        }
    }
    // Logs that cannot be removed do no harm in the system's temporary directory.
    let _ = std::fs::remove_dir_all(&logs);
    outcome?;
    let rows = arguments.sizes.iter().zip(&results).flat_map(|(size, [do_nothing, forward_only, ingress])| {
        let names = contenders.each_ref().map(|(contender, _)| contender.name);
        [
            Row::new(*size, names[0], do_nothing, None),
            Row::new(*size, names[1], forward_only, None),
            Row::new(*size, names[2], ingress, Some(forward_only)),
        ]
    });
    Ok(rows.collect())
}

/// The same notifications for every contender, made before the clock runs.
fn traffic(arguments: &Arguments, size: usize) -> Traffic {
    let share = if size > LONG_BODY { 4 } else { 1 };
    let (warm_up, events) = (arguments.warm_up / share, arguments.events / share);
    let count = u64::from(warm_up + events);
    Traffic {
        notifications: (0..count).map(|number| Notification::signed(number, size, WEBHOOK_SECRET)).collect(),
        warm_up: warm_up as usize,
        forged: Notification::forged(count, size),
    }
}

fn comparison_function(name: &'static str, binary: &Path, environment: Vec<(&'static str, String)>) -> Contender {
    Contender { name, binary: binary.to_owned(), hint: "build it with `cargo build --release`", environment }
}

fn ingress(binary: &Path) -> Contender {
    let queues = [
        ("EMAIL_ACTIVITY_QUEUE_URL", "email-activity"),
        ("CALENDAR_SYNC_QUEUE_URL", "calendar-sync"),
        ("NOTETAKER_MEDIA_QUEUE_URL", "notetaker-media"),
        ("ONBOARDING_QUEUE_URL", "onboarding"),
        ("TICKET_TRIAGE_QUEUE_URL", "ticket-triage"),
        ("CONTACT_SYNC_QUEUE_URL", "contact-sync"),
        ("UNROUTABLE_QUEUE_URL", "unroutable"),
    ];
    let mut environment: Vec<_> = queues.into_iter().map(|(name, queue)| (name, queue_url(queue))).collect();
    environment.extend([
        ("ARCHIVE_BUCKET", "benchmark-archive".to_owned()),
        ("NYLAS_WEBHOOK_SECRET_ARN", WEBHOOK_SECRET_ARN.to_owned()),
        ("MANAGED_WEBHOOK_SECRET_ARN", MANAGED_SECRET_ARN.to_owned()),
        ("CUSTOMER_EVENTS_SECRET_ARN", CUSTOMER_EVENTS_SECRET_ARN.to_owned()),
        ("SUPPORT_GRANT_IDS", String::new()),
    ]);
    Contender {
        name: "webhook-ingress",
        binary: binary.to_owned(),
        hint: "run `sam build` at the top of the workspace first, or name the binary with --ingress PATH",
        environment,
    }
}

fn queue_url(queue: &str) -> String {
    format!("https://sqs.us-east-1.amazonaws.com/000000000000/{queue}.fifo")
}

/// The first allowed CPU for the contender, the second for everything else.
fn choose_cpus(warnings: &mut Vec<String>) -> (Option<usize>, Option<usize>) {
    if let [contender, stub, ..] = usage::cpus().as_slice() {
        (Some(*contender), Some(*stub))
    } else {
        warnings.push("there are no two CPUs to tell contender and stand-ins apart: figures are coarser".to_owned());
        (None, None)
    }
}

fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")?.1.into());
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn print(report: &Report) {
    print!("{report}");
}

#[expect(clippy::print_stderr, reason = "people wait for the report and see how far it is")]
fn progress(message: &str) {
    eprintln!("{message}");
}

//! The sandbox's commands, behind `make demo`, `make up`, `make down`, `make send`, `make never-log`, `make backfill`,
//! `make reconcile`, `make sync`, `make invite`, `make auto-join`, `make media`, `make set-up`, `make triage-rules`,
//! `make metrics` and `make simulate`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people")]

use clap::{Args, Parser, Subcommand};
use sandbox::demo;
use sandbox::local_engine::{
    EngineError, LeftRunning, LocalEngine, Options, RecordedProcess, Stack, Tools, project_root,
};
use sandbox::metrics::{self, MetricsError};
use sandbox::operate::{self, Form, OperateError, Operation, TrialArguments};
use sandbox::samples::{self, Sample, SampleError};
use sandbox::simulate::{self, SimulateError};
use sandbox::stack_view::{DecisionRecord, StackView};
use sandbox::stand_ins::rest_crm::DEFAULT_API_KEY;
use sandbox::world::{Kinds, World, WorldError};
use shared::aws::never_log::NEVER_LOG_KEY;
use shared::crm::provider::CrmProvider;
use shared::domain::never_log::NeverLog;
use shared::tickets::provider::TicketProvider;
use shared::triage::RULES_KEY;
use shared::triage::rule_file::BadRules;
use shared::triage::rules::Rules;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The functions that decide about what can be sent, by the beginning of its type.
const DECIDES: [(&str, &str); 11] = [
    ("message.created", "email-activity"),
    ("event.", "calendar-sync"),
    ("grant.", "calendar-sync"),
    ("contact.updated", "contact-sync"),
    ("notetaker.", "notetaker-media"),
    ("customer.", "onboarding-transitions"),
    ("booking.", "onboarding-transitions"),
    ("message.opened", "onboarding-transitions"),
    ("message.link_clicked", "onboarding-transitions"),
    ("message.bounce_detected", "onboarding-transitions"),
    ("thread.replied", "onboarding-transitions"),
];

/// How long a notification that was sent may take to be decided, before that is told instead.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the stack that is played with.
const STACK: &str = "crm-autopilot";

/// The local sandbox of crm-autopilot.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Deploys the built template to the local engine, replays the samples, shows what came of them, and stops.
    Demo(Systems),
    /// Starts the same world and leaves it running.
    Up(Systems),
    /// Ends what `up` left running.
    Down,
    /// Signs a sample with the stack's secret and posts it to the stack.
    Send {
        /// A file below events/, or a bare notification.
        event: PathBuf,
        /// Send to this stack in AWS, with the credentials of your shell, instead of the local one.
        #[arg(long, value_name = "STACK")]
        aws: Option<String>,
    },
    /// Checks a list of addresses and domains whose mail is never logged, and puts it in place of the stack's.
    NeverLog {
        /// The list: an address or a domain a line.
        list: PathBuf,
        /// The list of this stack in AWS, with the credentials of your shell, instead of the local one's.
        #[arg(long, value_name = "STACK")]
        aws: Option<String>,
    },
    /// Checks a file of triage rules, shows what it would change of the mail of the last days, and with `--live` puts it in
    /// place of the stack's.
    TriageRules {
        /// The file.
        rules: PathBuf,
        /// What it is tried on.
        #[command(flatten)]
        trial: TrialArguments,
        /// Puts it in place once the differences are shown.
        #[arg(long)]
        live: bool,
        /// Of this stack in AWS, with the credentials of your shell, instead of the local one.
        #[arg(long, value_name = "STACK")]
        aws: Option<String>,
    },
    /// Gives the operator a command, says what it answered, and watches what it started.
    Operate {
        /// What it is to do.
        #[command(subcommand)]
        operation: Operation,
        /// Prints the answer as the operator gave it, for programs.
        #[arg(long)]
        json: bool,
        /// The operator of this stack in AWS, with the credentials of your shell, instead of the local one's.
        #[arg(long, value_name = "STACK")]
        aws: Option<String>,
    },
    /// Shows the figures of the dashboard: metrics, errors by kind, coverage, queues, dead letters.
    Metrics {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Of this stack in AWS, within the last day, with the credentials of your shell, instead of the local one.
        #[arg(long, value_name = "STACK")]
        aws: Option<String>,
    },
    /// Plays a customer's story through the rules of the onboarding, in virtual time and without AWS.
    Simulate(simulate::Arguments),
    /// Runs the world in the foreground; used by `up`.
    #[command(hide = true)]
    Serve(Systems),
}

/// Which systems the stack uses.
#[derive(Args, Clone, Copy)]
struct Systems {
    /// The CRM: rest, hubspot, salesforce or pipedrive.
    #[arg(long, default_value = "rest")]
    crm: CrmProvider,
    /// The ticket system: rest, zendesk or jira.
    #[arg(long, default_value = "rest")]
    tickets: TicketProvider,
}

impl From<Systems> for Kinds {
    fn from(systems: Systems) -> Self {
        Self { crm: systems.crm, tickets: systems.tickets }
    }
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    World(#[from] WorldError),
    #[error(transparent)]
    Operate(#[from] OperateError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    #[error("nothing is running here: start it with `make up`, or name a stack in AWS with --aws")]
    NothingRuns,
    #[error("it runs already: look at it with `make send`, or end it with `make down`")]
    RunsAlready,
    #[error("the sandbox did not come up; the end of {log} says why:\n{last}", log = log.display())]
    DidNotComeUp { log: PathBuf, last: String },
    #[error("{what} failed: {source}")]
    System { what: &'static str, source: std::io::Error },
    #[error("the stack has no webhook secret yet: deploy it with NylasWebhookSecret first")]
    NoSecret,
    #[error("the request could not be sent: {0}")]
    Http(#[from] reqwest::Error),
    #[error("{list} was not put in place: {problems}", list = list.display())]
    BadList { list: PathBuf, problems: String },
    #[error("{} cannot be used, and nothing was done with it; mend every line that is named here:\n  {problems}", file.display())]
    BadRules { file: PathBuf, problems: String },
    #[error(
        "the rules were not put in place, for there is no stack: start one with `make up`, or name one in AWS with \
         STACK=<stack>"
    )]
    NowhereToPutThem,
    #[error("the rules were not put in place, because not all that they would change could be shown")]
    NotShown(#[source] OperateError),
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        Self::World(error.into())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(systems) => run_demo(systems).await,
        Command::Up(systems) => up(systems).await,
        Command::Down => down(),
        Command::Send { event, aws } => send(event, aws).await,
        Command::NeverLog { list, aws } => never_log(&list, aws).await,
        Command::TriageRules { rules, trial, live, aws } => triage_rules(&rules, &trial, live, aws).await,
        Command::Operate { operation, json, aws } => {
            operate(&operation, if json { Form::Json } else { Form::Table }, aws).await
        }
        Command::Metrics { json, aws } => show_metrics(json, aws).await,
        Command::Simulate(arguments) => simulate::simulate(&arguments, say).map_err(CommandError::from),
        Command::Serve(systems) => serve(systems).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn say(line: &str) {
    println!("{line}");
}

async fn run_demo(systems: Systems) -> Result<(), CommandError> {
    // Days become seconds.
    let quick = ["FollowUpAfter", "NudgeAfter", "EscalateAfter"].map(|parameter| (parameter, "10s".to_owned()));
    let mut world = World::start_with(systems.into(), &Options::named("demo"), STACK, &quick, say).await?;
    let replayed = demo::replay(&world, say).await;
    world.engine.stop()?;
    replayed?;
    say("\nThe local engine was stopped; nothing is left running.");
    Ok(())
}

async fn up(systems: Systems) -> Result<(), CommandError> {
    if LeftRunning::load()?.is_some_and(|running| running.runs()) {
        return Err(CommandError::RunsAlready);
    }
    let log_path = project_root().join(".local/sandbox.log");
    let system = |what: &'static str| move |source| CommandError::System { what, source };
    std::fs::create_dir_all(project_root().join(".local")).map_err(system("making .local/"))?;
    let log = std::fs::File::create(&log_path).map_err(system("making .local/sandbox.log"))?;
    let also = log.try_clone().map_err(system("making .local/sandbox.log"))?;
    let program = std::env::current_exe().map_err(system("finding this program"))?;
    let mut command = std::process::Command::new(program);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command
        .args(["serve", "--crm", systems.crm.name(), "--tickets", systems.tickets.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::from(log))
        .stderr(Stdio::from(also))
        .spawn()
        .map_err(system("starting the sandbox"))?;
    say("starting the local engine and the stand-ins, deploying the stack (half a minute)");
    let begun = Instant::now();
    loop {
        if let Some(running) = LeftRunning::load()?.filter(|running| running.runs() && !running.outputs.is_empty()) {
            tell(&running);
            return Ok(());
        }
        let ended = child.try_wait().map_err(system("waiting for the sandbox"))?.is_some();
        if ended || begun.elapsed() > Duration::from_mins(4) {
            RecordedProcess::leader_of_group("the sandbox", child.id()).end()?;
            let text = std::fs::read_to_string(&log_path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(8)..].join("\n");
            return Err(CommandError::DidNotComeUp { log: log_path, last });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn tell(running: &LeftRunning) {
    say(&format!(
        "It runs. AWS stands in at {} (access key `test`, secret `test`, region us-east-1).",
        running.endpoint
    ));
    for (name, value) in running.notes.iter().chain(&running.outputs) {
        say(&format!("  {name:<32} {value}"));
    }
    say(&format!("  {:<32} Authorization: Bearer {DEFAULT_API_KEY}", "to ask the CRM"));
    say("Try: make send EVENT=events/email-activity/inbound-known-contact.json");
    say("End it with: make down");
}

/// Runs the world until it is told to end.
async fn serve(systems: Systems) -> Result<(), CommandError> {
    let itself = RecordedProcess::single("the sandbox", std::process::id());
    // Written first without outputs, so that `down` finds it while it is still deploying.
    LeftRunning {
        processes: vec![itself.clone()],
        endpoint: String::new(),
        stack_name: STACK.to_owned(),
        outputs: BTreeMap::new(),
        notes: BTreeMap::new(),
    }
    .save()?;
    let mut world = World::start_with(systems.into(), &Options::named("play"), STACK, &[], say).await?;
    let mut processes = vec![itself];
    processes.extend(world.engine.process_id().map(|id| RecordedProcess::leader_of_group("the local engine", id)));
    LeftRunning {
        processes,
        endpoint: world.engine.endpoint(),
        stack_name: world.stack.name.clone(),
        outputs: world.stack.outputs.clone(),
        notes: BTreeMap::from([
            ("CRM".to_owned(), world.seen_crm().base_url()),
            ("Nylas".to_owned(), world.nylas.base_url()),
            ("Tickets".to_owned(), world.seen_tickets().base_url()),
        ]),
    }
    .save()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|source| CommandError::System { what: "waiting for the end", source })?;
    terminate.recv().await;
    world.engine.stop()?;
    Ok(())
}

fn down() -> Result<(), CommandError> {
    match LeftRunning::load()? {
        Some(running) => {
            for sentence in running.end()? {
                say(&sentence);
            }
        }
        None => say("nothing is running here"),
    }
    Ok(())
}

async fn send(event: PathBuf, aws: Option<String>) -> Result<(), CommandError> {
    let tools = Tools::find()?;
    let (stack, endpoint) = stack_of(&tools, aws).await?;
    let resources = tools.resources(&stack.name, endpoint.as_deref()).await?;
    let view = StackView::new(&aws_of(endpoint.as_deref()).await, &stack).map_err(WorldError::from)?;
    for sample in samples::read(&event).map_err(WorldError::from)? {
        if sample.is_job() {
            let worker = demo::worker_of(&event);
            demo::put_job(&view, &stack, worker.queue, &sample).await?;
            say(&format!("{}: put into the queue of {}; its log tells what came of it", sample.name, worker.folder));
            continue;
        }
        let logical = if sample.is_customer_event() { "EventsSecret" } else { "WebhookSecret" };
        let arn = resources.get(logical).ok_or(CommandError::NoSecret)?;
        let secret = view.read_secret(arn).await.map_err(WorldError::from)?;
        if secret.is_empty() {
            return Err(CommandError::NoSecret);
        }
        let secret = secret.split(',').next().unwrap_or_default().trim().to_owned();
        let kind = sample.kind().unwrap_or_default();
        let decided = decides(&kind).zip(sample.notification_id());
        let before = match &decided {
            Some((functions, id)) => record_of(&view, functions, id).await?,
            None => None,
        };
        let (status, text) = match &endpoint {
            Some(endpoint) => {
                let engine = LocalEngine::attach(endpoint)?;
                demo::send(&engine, &stack, &sample, &secret).await?
            }
            None => post_to_aws(stack.webhook_url()?, &sample, &secret).await?,
        };
        say(&format!("{}: answered {status}", sample.name));
        if !(200..300).contains(&status) && !text.trim().is_empty() {
            say(&format!("  {}", text.trim()));
        }
        if let Some((functions, id)) = decided.filter(|_| status == 200 || status == 202) {
            tell_decision(&view, &stack, &functions, &id, before.is_some()).await?;
        }
    }
    Ok(())
}

/// The functions that may decide a notification; which of them does so about mail is told by the mailbox alone. None if
/// nobody wants it.
fn decides(kind: &str) -> Option<Vec<&'static str>> {
    let (_, function) = DECIDES.iter().find(|(beginning, _)| kind.starts_with(beginning))?;
    let of_mail = ["message.created", "message.bounce_detected"].iter().any(|mail| kind.starts_with(mail));
    Some(std::iter::once(*function).chain(of_mail.then_some("ticket-triage")).collect())
}

/// The record of a notification, and whose it is: the one that is decided, else any.
async fn record_of(
    view: &StackView,
    functions: &[&'static str],
    id: &str,
) -> Result<Option<(&'static str, DecisionRecord)>, CommandError> {
    let mut found = None;
    for function in functions {
        if let Some(record) = view.record(function, id).await.map_err(WorldError::from)? {
            let is_done = record.state == "done";
            found = Some((*function, record));
            if is_done {
                break;
            }
        }
    }
    Ok(found)
}

/// Waits until a notification is decided and tells how.
async fn tell_decision(
    view: &StackView,
    stack: &Stack,
    functions: &[&'static str],
    id: &str,
    was_sent_before: bool,
) -> Result<(), CommandError> {
    if was_sent_before {
        say("  a notification with this id came before: it is a duplicate, and what was decided then stands");
    }
    let begun = Instant::now();
    let function = loop {
        let record = record_of(view, functions, id).await?;
        let function = record.as_ref().map_or(functions[0], |(function, _)| *function);
        if let Some((_, record)) = record.filter(|(_, record)| record.state == "done") {
            say(&format!("  {}: {}", record.outcome, demo::why(&record)));
            let archived = record.facts.get("archived").and_then(serde_json::Value::as_object);
            for reference in archived.into_iter().flatten().filter_map(|(_, reference)| reference.as_str()) {
                say(&format!("  to open it: make media REFERENCE={reference}"));
            }
            break function;
        }
        if begun.elapsed() > PATIENCE {
            let patience = PATIENCE.as_secs();
            say(&format!("  not decided within {patience} seconds: it is tried again, or is for another function"));
            break function;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    say(&format!("  record {function}#{id} in the table {}", stack.dedup_table()?));
    Ok(())
}

/// The named stack in AWS, or what was left running here with its address.
async fn stack_of(tools: &Tools, aws: Option<String>) -> Result<(Stack, Option<String>), CommandError> {
    if let Some(name) = aws {
        return Ok((tools.stack(&name, None).await?, None));
    }
    let running = LeftRunning::load()?.filter(LeftRunning::runs).ok_or(CommandError::NothingRuns)?;
    Ok((running.stack(), Some(running.endpoint)))
}

async fn aws_of(endpoint: Option<&str>) -> aws_config::SdkConfig {
    match endpoint {
        Some(endpoint) => sandbox::local_engine::aws_config(endpoint).await,
        None => aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await,
    }
}

async fn never_log(path: &Path, aws: Option<String>) -> Result<(), CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CommandError::System { what: "reading the never-log list", source })?;
    let (list, bad) = NeverLog::parse(&text);
    if !bad.is_empty() {
        let problems: Vec<String> = bad.iter().map(ToString::to_string).collect();
        return Err(CommandError::BadList { list: path.to_path_buf(), problems: problems.join("; ") });
    }
    let (stack, endpoint) = stack_of(&Tools::find()?, aws).await?;
    let view = StackView::new(&aws_of(endpoint.as_deref()).await, &stack).map_err(WorldError::from)?;
    view.put_archived(NEVER_LOG_KEY, text.into_bytes()).await.map_err(WorldError::from)?;
    let entries = if list.len() == 1 { "1 entry holds".to_owned() } else { format!("{} entries hold", list.len()) };
    say(&format!("{entries} for {} within a quarter of a minute", stack.name));
    Ok(())
}

async fn triage_rules(
    path: &Path,
    trial: &TrialArguments,
    live: bool,
    aws: Option<String>,
) -> Result<(), CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| WorldError::from(SampleError::File { path: path.to_path_buf(), source }))?;
    let rules = Rules::read(&text).map_err(|BadRules(problems)| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        CommandError::BadRules { file: path.to_path_buf(), problems: problems.join("\n  ") }
    })?;
    say(&format!(
        "{} can be used: rules: {}, examples that are as they say: {}.",
        path.display(),
        rules.len(),
        rules.examples()
    ));
    let running = LeftRunning::load()?.is_some_and(|running| running.runs());
    if aws.is_none() && !running {
        if live {
            return Err(CommandError::NowhereToPutThem);
        }
        say(
            "What they would change is not shown: nothing runs here. Start it with `make up`, or name a stack in AWS with \
             STACK=<stack>.",
        );
        return Ok(());
    }
    let in_aws = aws.is_some();
    let tools = Tools::find()?;
    let (stack, endpoint) = stack_of(&tools, aws).await?;
    let tried = operate::try_rules(&tools, &stack.name, endpoint.as_deref(), &text, trial, say).await;
    if !live {
        tried?;
        let stack_in_aws = if in_aws { format!(" STACK={}", stack.name) } else { String::new() };
        let (file, bucket) = (path.display(), stack.archive_bucket()?);
        say(&format!("\nTo put them in place: make triage-rules RULES={file} LIVE=1{stack_in_aws}"));
        if in_aws {
            say(&format!("or: aws s3 cp {file} s3://{bucket}/{RULES_KEY}"));
        }
        return Ok(());
    }
    tried.map_err(CommandError::NotShown)?;
    let view = StackView::new(&aws_of(endpoint.as_deref()).await, &stack).map_err(WorldError::from)?;
    view.put_archived(RULES_KEY, text.into_bytes()).await.map_err(WorldError::from)?;
    say(&format!("\nThe rules hold for {} within a quarter of a minute.", stack.name));
    Ok(())
}

async fn operate(operation: &Operation, form: Form, aws: Option<String>) -> Result<(), CommandError> {
    let tools = Tools::find()?;
    let (stack, endpoint) = if let Some(name) = aws {
        (name, None)
    } else {
        let running = LeftRunning::load()?.filter(LeftRunning::runs).ok_or(CommandError::NothingRuns)?;
        (running.stack_name, Some(running.endpoint))
    };
    Ok(operate::operate(&tools, &stack, endpoint.as_deref(), operation, form, say).await?)
}

async fn show_metrics(json: bool, aws: Option<String>) -> Result<(), CommandError> {
    let tools = Tools::find()?;
    let (stack, endpoint) = stack_of(&tools, aws).await?;
    let view = StackView::new(&aws_of(endpoint.as_deref()).await, &stack).map_err(WorldError::from)?;
    let figures = metrics::figures(&tools, &stack, endpoint.as_deref(), &view).await?;
    if json {
        say(&serde_json::json!(figures).to_string());
    } else {
        say(&figures.to_tables());
    }
    Ok(())
}

async fn post_to_aws(webhook_url: &str, sample: &Sample, secret: &str) -> Result<(u16, String), CommandError> {
    let signed = sample.request(webhook_url, secret);
    let mut request = reqwest::Client::new().request(signed.method, signed.url);
    for (name, value) in signed.headers {
        request = request.header(name, value);
    }
    let answer = request.body(sample.body.clone()).send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

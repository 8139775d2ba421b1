//! The ports of the deployed function, and what the environment sets it to.

use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

use shared::alerts::{Alert as _, AlertWebhook, Webhooks};
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::schedules::Schedules;
use shared::aws::settings_file::SettingsFile;
use shared::aws::worker_queue::WorkerQueue;
use shared::configuration::{ConfigurationError, Environment};
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::engine::{Clock, Deadline, Processor, StoreError, Work};
use shared::nylas::Nylas;
use shared::triage::RULES_KEY;
use shared::triage::rule_file::BadRules;
use shared::triage::rules::Rules as TriageRules;
use shared::worker::{Crm, StartError, Tickets, Worker};

use crate::acknowledgement::{Template, TemplateError};
use crate::ports::{AlertDesks, CurrentRules, Ports, Provision, RulesAtHand, Settings};
use crate::process::Triage;
use crate::screen::OwnAddresses;

/// The ports of the deployed function.
pub struct Deployed;

impl Ports for Deployed {
    type Tickets = Tickets;
    type Nylas = Nylas;
    type Crm = Crm;
    type Links = DynamoLinks;
    type Decisions = DynamoLeases;
    type Queue = WorkerQueue;
    type Timers = Schedules;
    type Alerts = Desks;
    type Rules = RulesFile;
}

/// The function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// Its environment is wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The template of acknowledgements is.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The rules that it was built with are.
    #[error("functions are built with rules that cannot be used: {0}")]
    Rules(#[from] BadRules),
}

impl From<ConfigurationError> for CannotStart {
    fn from(error: ConfigurationError) -> Self {
        Self::Start(error.into())
    }
}

/// Where desks are told: at an address of their own, or where everybody is.
pub struct Desks {
    everybody: Option<AlertWebhook>,
    webhooks: Webhooks,
}

impl Desks {
    fn new(everybody: Option<AlertWebhook>, worker: &Worker) -> Self {
        let webhooks = everybody.as_ref().map_or_else(|| Webhooks::new(worker.http()), AlertWebhook::webhooks);
        Self { everybody, webhooks }
    }
}

impl AlertDesks for Desks {
    fn can_tell(&self, address: Option<&str>) -> bool {
        address.is_some() || self.everybody.is_some()
    }

    async fn tell(&self, address: Option<&str>, text: &str, deadline: Deadline) -> Result<(), Failure> {
        match (address, &self.everybody) {
            (Some(address), _) => self.webhooks.post_to_desk(address, text, deadline).await,
            (None, Some(everybody)) => everybody.alert(text, deadline).await,
            (None, None) => Ok(()),
        }
    }
}

/// The rules file in the archive bucket, or else the rules that the function was built with.
pub struct RulesFile {
    file: SettingsFile,
    built_in: Arc<TriageRules>,
    held: Mutex<Option<(Arc<str>, RulesAtHand)>>,
}

impl RulesFile {
    fn new(file: SettingsFile) -> Result<Self, BadRules> {
        Ok(Self { file, built_in: Arc::new(TriageRules::standard()?), held: Mutex::default() })
    }

    fn built_in(&self, told_by: &'static str) -> RulesAtHand {
        RulesAtHand { rules: Arc::clone(&self.built_in), told_by }
    }
}

impl CurrentRules for RulesFile {
    /// A file that cannot be used leaves those rules in place that were used last: a ticket does not wait for its mending.
    async fn current(&self) -> Result<RulesAtHand, StoreError> {
        let mut held = self.held.lock().await;
        let text = match (self.file.text().await, &*held) {
            (Ok(text), _) => text,
            (Err(error), Some((_, known))) => {
                tracing::warn!(key = RULES_KEY, error = error.0.as_str(), "the rules known so far are used");
                return Ok(known.clone());
            }
            (Err(error), None) => {
                tracing::error!(key = RULES_KEY, error = error.0.as_str(), "the rules that are built in are used");
                return Ok(self.built_in("built in, for the rules file cannot be read"));
            }
        };
        let Some(text) = text else {
            *held = None;
            return Ok(self.built_in("built in"));
        };
        if let Some((known, rules)) = &*held
            && **known == *text
        {
            return Ok(rules.clone());
        }
        let at_hand = match TriageRules::load(&text) {
            Ok(rules) => RulesAtHand { rules: Arc::new(rules), told_by: "the rules file" },
            Err(BadRules(problems)) => {
                for problem in problems {
                    tracing::error!(key = RULES_KEY, "{problem}; the file is not used, put another in place");
                }
                let before = held.take().map(|(_, before)| before.rules);
                let told_by = "those before, for the rules file cannot be used";
                before.map_or_else(|| self.built_in(told_by), |rules| RulesAtHand { rules, told_by })
            }
        };
        *held = Some((text, at_hand.clone()));
        Ok(at_hand)
    }
}

/// The clients that this function has beside a worker's, and what it is set to.
pub struct Further {
    tickets: Option<Tickets>,
    timers: Schedules,
    alerts: Desks,
    rules: RulesFile,
    settings: Settings,
}

impl Further {
    /// Reads the environment and builds the clients.
    ///
    /// # Errors
    /// If a variable of the environment, or a file that the function was built with, cannot be used.
    pub fn from_environment(worker: &Worker, environment: &Environment) -> Result<Self, CannotStart> {
        let tickets = worker.tickets(environment)?;
        Ok(Self {
            tickets,
            timers: Schedules::from_environment(&worker.sdk, environment)?,
            alerts: Desks::new(worker.alerts(environment), worker),
            rules: RulesFile::new(SettingsFile::new(&worker.sdk, environment.required("ARCHIVE_BUCKET")?, RULES_KEY))?,
            settings: settings(worker, environment)?,
        })
    }
}

fn settings(worker: &Worker, environment: &Environment) -> Result<Settings, CannotStart> {
    let domains = |list: &str| CompanyDomains::parse(list.split(',').filter(|entry| !entry.trim().is_empty()));
    let addresses = |list: &str| {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| EmailAddress::parse(entry).ok_or_else(|| format!("`{entry}` is no mail address")))
            .collect::<Result<Vec<_>, String>>()
    };
    let on_or_off = |text: &str| match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it must be on or off"),
    };
    let acknowledges = environment.parsed("ACKNOWLEDGE_TICKETS", false, on_or_off)?;
    let template = acknowledges.then(Template::built_in).transpose()?;
    let window = environment.duration("INCIDENT_STORM_WINDOW", Duration::from_mins(5))?;
    Ok(Settings {
        company_domains: worker.company_domains.clone(),
        priority_domains: environment.parsed("PRIORITY_DOMAINS", CompanyDomains::default(), domains)?,
        own_addresses: OwnAddresses::new(environment.parsed("SUPPORT_ADDRESS", Vec::new(), addresses)?),
        loop_id: worker.loop_id.clone(),
        storm_window: SignedDuration::try_from(window).unwrap_or(SignedDuration::from_mins(5)),
        acknowledgement: template.map(Arc::new),
        stack: environment.required("STACK_ID")?,
    })
}

/// The rules, or what they lack.
pub enum Rules<'a> {
    /// They are carried out.
    On(Box<Triage<'a, Deployed>>),
    /// They are off, for want of this parameter.
    Off(&'static str),
}

impl<'a> Rules<'a> {
    /// The rules with the clients of a worker and those of this function.
    #[must_use]
    pub fn new(worker: &'a Worker, further: &'a Further) -> Self {
        let Some(tickets) = &further.tickets else { return Self::Off("TicketBaseUrl") };
        let ports = Provision {
            tickets,
            nylas: &worker.nylas,
            crm: worker.crm.as_ref(),
            links: &worker.links,
            decisions: &worker.engine.leases,
            queue: &worker.engine.queue,
            timers: &further.timers,
            alerts: &further.alerts,
            rules: &further.rules,
            clock: Clock::system(),
        };
        Self::On(Box::new(Triage::with(ports, further.settings.clone())))
    }
}

impl Processor for Rules<'_> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        match self {
            Self::On(triage) => triage.process(work).await,
            Self::Off(parameter) => Ok(Decision::off(parameter)),
        }
    }
}

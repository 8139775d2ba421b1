//! The ports of the deployed function, and what the environment sets it to.

use jiff::tz::TimeZone;
use std::sync::Arc;
use std::time::Duration;

use shared::alerts::AlertWebhook;
use shared::aws::documents::DynamoDocuments;
use shared::aws::links::DynamoLinks;
use shared::aws::schedules::Schedules;
use shared::aws::worker_queue::WorkerQueue;
use shared::configuration::{ConfigurationError, Environment};
use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::engine::{Clock, Processor, Work};
use shared::nylas::Nylas;
use shared::worker::{StartError, Worker};

use crate::apply::Delays;
use crate::hours::SendingHours;
use crate::mail::{TemplateError, Templates};
use crate::page::{PageError, PageSettings};
use crate::ports::{Ports, Provision, Settings};
use crate::process::Onboarding;
use crate::slots::Caps;

/// The ports of the deployed function.
pub struct Deployed;

impl Ports for Deployed {
    type Nylas = Nylas;
    type Documents = DynamoDocuments;
    type Links = DynamoLinks;
    type Queue = WorkerQueue;
    type Timers = Schedules;
    type Alerts = AlertWebhook;
}

/// The function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// Its environment is wrong.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A template is.
    #[error("{0}; try it with `make simulate`")]
    Template(#[from] TemplateError),
    /// The booking page is.
    #[error("{0}; try it with `make simulate`")]
    Page(#[from] PageError),
}

impl From<ConfigurationError> for CannotStart {
    fn from(error: ConfigurationError) -> Self {
        Self::Start(error.into())
    }
}

/// The clients that this function has beside a worker's, and what it is set to.
pub struct Further {
    documents: DynamoDocuments,
    timers: Schedules,
    alerts: Option<AlertWebhook>,
    settings: Result<Settings, &'static str>,
}

impl Further {
    /// Reads the environment and builds the clients.
    ///
    /// # Errors
    /// If a variable of the environment, or a file that the function was built with, cannot be used.
    pub fn from_environment(worker: &Worker, environment: &Environment) -> Result<Self, CannotStart> {
        let settings = settings(worker, environment)?;
        if let Err(parameter) = &settings {
            tracing::warn!(parameter, "onboarding is off: the parameter is empty");
        }
        Ok(Self {
            documents: DynamoDocuments::new(&worker.sdk, environment.required("ONBOARDING_TABLE")?, "email"),
            timers: Schedules::from_environment(&worker.sdk, environment)?,
            alerts: worker.alerts(environment),
            settings,
        })
    }
}

/// What the function is set to; the name of the parameter without which it is off.
fn settings(worker: &Worker, environment: &Environment) -> Result<Result<Settings, &'static str>, CannotStart> {
    let Some(grant) = environment.optional("ONBOARDING_GRANT_ID").as_deref().and_then(GrantId::parse) else {
        return Ok(Err("OnboardingGrantId"));
    };
    let sender = environment.parsed("ONBOARDING_EMAIL", None, |text| {
        EmailAddress::parse(text).map(Some).ok_or("it must be one mail address")
    })?;
    let Some(sender) = sender else { return Ok(Err("OnboardingEmail")) };
    let Some(product) = environment.optional("PRODUCT_NAME") else { return Ok(Err("ProductName")) };
    let hours = |hours: u64| Duration::from_hours(hours);
    let count = |text: &str| match text.parse::<u32>() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("it must be a whole number greater than 0"),
    };
    let zone = environment.optional("TEAM_TIME_ZONE").unwrap_or_else(|| "UTC".to_owned());
    let team_zone = environment.parsed("TEAM_TIME_ZONE", TimeZone::UTC, |name| {
        TimeZone::get(name).map_err(|_| "it must be the name of a time zone such as UTC or Europe/Stockholm")
    })?;
    let page_base = environment.base_url("SCHEDULER_BASE_URL")?;
    Ok(Ok(Settings {
        grant,
        sender,
        product,
        setup_url: environment.optional("SETUP_URL").unwrap_or_default(),
        docs_url: environment.optional("DOCS_URL").unwrap_or_default(),
        page_base: page_base.ok_or(ConfigurationError::Missing("SCHEDULER_BASE_URL"))?,
        team_zone: (team_zone, zone),
        delays: Delays {
            follow_up: environment.duration("FOLLOW_UP_AFTER", hours(48))?,
            nudge: environment.duration("NUDGE_AFTER", hours(72))?,
            escalate: environment.duration("ESCALATE_AFTER", hours(72))?,
        },
        caps: Caps {
            per_minute: environment.parsed("MAILS_PER_MINUTE", 20, count)?,
            per_day: environment.parsed("MAILS_PER_DAY", 400, count)?,
        },
        hours: environment.parsed("SENDING_HOURS", None, |text| SendingHours::parse(text).map(Some))?,
        page: PageSettings::built_in()?,
        templates: Arc::new(Templates::built_in()?),
        company_domains: worker.company_domains.clone(),
        loop_id: worker.loop_id.clone(),
        stack: environment.required("STACK_ID")?,
    }))
}

/// The rules, or what they lack.
pub enum Rules<'a> {
    /// They are carried out.
    On(Box<Onboarding<'a, Deployed>>),
    /// They are off, for want of this parameter.
    Off(&'static str),
}

impl<'a> Rules<'a> {
    /// The rules with the clients of a worker and those of this function.
    #[must_use]
    pub fn new(worker: &'a Worker, further: &'a Further) -> Self {
        let settings = match &further.settings {
            Ok(settings) => settings.clone(),
            Err(parameter) => return Self::Off(parameter),
        };
        let ports = Provision {
            nylas: &worker.nylas,
            documents: &further.documents,
            links: &worker.links,
            queue: &worker.engine.queue,
            timers: &further.timers,
            alerts: further.alerts.as_ref(),
            clock: Clock::system(),
        };
        Self::On(Box::new(Onboarding::with(ports, settings)))
    }
}

impl Processor for Rules<'_> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        match self {
            Self::On(onboarding) => onboarding.process(work).await,
            Self::Off(parameter) => Ok(Decision::off(parameter)),
        }
    }
}

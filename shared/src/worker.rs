//! What every queue worker is built on: the engine over its own queue, links, Nylas, the CRM. Built once a process. The
//! systems at the other end can be had without the rest.

use crate::alerts::AlertWebhook;
use crate::aws::SdkConfig;
use crate::aws::bodies::ArchiveBodies;
use crate::aws::leases::DynamoLeases;
use crate::aws::links::DynamoLinks;
use crate::aws::never_log::NeverLogFile;
use crate::aws::secrets::Secrets;
use crate::aws::worker_queue::WorkerQueue;
use crate::configuration::{ConfigurationError, Environment};
use crate::crm::rest::RestCrm;
use crate::domain::address::CompanyDomains;
use crate::domain::own_mail::LoopId;
use crate::engine::{Clock, Engine, RetryPolicy};
use crate::http::{ApiClient, ApiSettings, Credential, http_client};
use crate::nylas::Nylas;
use crate::tickets::rest::RestTickets;
use std::time::Duration;

/// The longest that a call to AWS may take.
const LONGEST_AWS_CALL: Duration = Duration::from_secs(2);

/// The CRM that a stack is configured for. Further systems become further variants of it.
pub type Crm = RestCrm;

/// The ticket system that a stack is configured for.
pub type Tickets = RestTickets;

/// The clients and settings that every queue worker has.
pub struct Worker {
    /// The engine over the function's own queue.
    pub engine: Engine<DynamoLeases, WorkerQueue, ArchiveBodies>,
    /// What became of each Nylas object.
    pub links: DynamoLinks,
    /// Nylas.
    pub nylas: Nylas,
    /// The CRM; none while `CrmBaseUrl` is not set, and in functions that have nothing to do with it.
    pub crm: Option<Crm>,
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// Whose mail is never logged.
    pub never_log: NeverLogFile,
    /// What marks mail that this deployment sends.
    pub loop_id: LoopId,
    /// The SDK configuration, for clients that only one function needs.
    pub sdk: SdkConfig,
    systems: Systems,
}

/// Nylas, the CRM and the ticket system, as the environment names them, and what their clients are built of.
pub struct Systems {
    sdk: SdkConfig,
    http: reqwest::Client,
    secrets: Secrets,
}

/// A function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its environment is wrong.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// No HTTP client can be built.
    #[error("no HTTP client can be built: {0}")]
    Http(#[from] reqwest::Error),
}

impl Systems {
    /// What clients are built of. No call to AWS takes longer than is said here.
    ///
    /// # Errors
    /// If no HTTP client can be built.
    pub async fn new(longest_aws_call: Duration) -> reqwest::Result<Self> {
        let sdk = crate::aws::sdk_config(longest_aws_call).await;
        Ok(Self { http: http_client()?, secrets: Secrets::new(&sdk), sdk })
    }

    /// The SDK configuration.
    #[must_use]
    pub const fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// The secrets.
    #[must_use]
    pub const fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Nylas.
    ///
    /// # Errors
    /// If the environment is wrong.
    pub fn nylas(&self, environment: &Environment) -> Result<Nylas, ConfigurationError> {
        Ok(Nylas::new(ApiClient::new(
            self.http.clone(),
            ApiSettings {
                name: "Nylas",
                base_url: environment.base_url("NYLAS_API_URI")?.ok_or(ConfigurationError::Missing("NYLAS_API_URI"))?,
                credential: self.stored(environment, "NYLAS_API_KEY_SECRET_ARN")?,
                credential_parameter: "NylasApiKey",
                calls_per_second: None,
            },
        )))
    }

    /// The CRM; none, which is said, while `CrmBaseUrl` is not set.
    ///
    /// # Errors
    /// If the environment is wrong.
    pub fn crm(&self, environment: &Environment) -> Result<Option<Crm>, ConfigurationError> {
        let Some(base_url) = environment.base_url("CRM_BASE_URL")? else {
            tracing::warn!(parameter = "CrmBaseUrl", "writing to the CRM is off: the parameter is empty");
            return Ok(None);
        };
        must_be_rest(environment, "CRM_PROVIDER")?;
        Ok(Some(RestCrm::new(ApiClient::new(
            self.http.clone(),
            ApiSettings {
                name: "the CRM",
                base_url,
                credential: self.stored(environment, "CRM_API_KEY_SECRET_ARN")?,
                credential_parameter: "CrmApiKey",
                calls_per_second: Some(calls_per_second(environment)?),
            },
        ))))
    }

    /// The ticket system; none, which is said, while `TicketBaseUrl` is not set.
    ///
    /// # Errors
    /// If the environment is wrong.
    pub fn tickets(&self, environment: &Environment) -> Result<Option<Tickets>, ConfigurationError> {
        let Some(base_url) = environment.base_url("TICKET_BASE_URL")? else {
            tracing::warn!(parameter = "TicketBaseUrl", "opening tickets is off: the parameter is empty");
            return Ok(None);
        };
        must_be_rest(environment, "TICKET_PROVIDER")?;
        Ok(Some(RestTickets::new(ApiClient::new(
            self.http.clone(),
            ApiSettings {
                name: "the ticket system",
                base_url,
                credential: self.stored(environment, "TICKET_API_KEY_SECRET_ARN")?,
                credential_parameter: "TicketApiKey",
                calls_per_second: None,
            },
        ))))
    }

    fn stored(&self, environment: &Environment, variable: &'static str) -> Result<Credential, ConfigurationError> {
        Ok(Credential::Stored { secrets: self.secrets.clone(), arn: environment.required(variable)? })
    }
}

impl Worker {
    /// Reads the environment and builds the clients. Secrets are read when they are first needed.
    pub async fn from_environment(function: &'static str, environment: &Environment) -> Result<Self, StartError> {
        let mut worker = Self::without_crm(function, environment).await?;
        worker.crm = worker.systems.crm(environment)?;
        Ok(worker)
    }

    /// The same for a function that has nothing to do with the CRM.
    pub async fn without_crm(function: &'static str, environment: &Environment) -> Result<Self, StartError> {
        let retry = RetryPolicy::default();
        let retry = RetryPolicy {
            first_delay: environment.duration("RETRY_FIRST_DELAY", retry.first_delay)?,
            retry_for: environment.duration("RETRY_FOR", retry.retry_for)?,
        };
        let systems = Systems::new(LONGEST_AWS_CALL).await?;
        let sdk = systems.sdk().clone();
        let company_domains = environment.parsed("COMPANY_DOMAINS", CompanyDomains::default(), |list| {
            CompanyDomains::parse(list.split(',').filter(|entry| !entry.trim().is_empty()))
        })?;
        Ok(Self {
            engine: Engine {
                function,
                leases: DynamoLeases::new(&sdk, environment.required("DEDUP_TABLE")?),
                queue: WorkerQueue::new(
                    &sdk,
                    environment.required("QUEUE_URL")?,
                    environment.required("DEAD_LETTER_QUEUE_URL")?,
                ),
                bodies: ArchiveBodies::new(&sdk, environment.required("ARCHIVE_BUCKET")?),
                retry,
                clock: Clock::system(),
            },
            links: DynamoLinks::new(&sdk, environment.required("LINKS_TABLE")?),
            never_log: NeverLogFile::new(&sdk, environment.required("ARCHIVE_BUCKET")?),
            loop_id: LoopId::of_stack(&environment.required("STACK_ID")?),
            nylas: systems.nylas(environment)?,
            crm: None,
            company_domains,
            sdk,
            systems,
        })
    }

    /// The ticket system; none, which is said, while `TicketBaseUrl` is not set.
    ///
    /// # Errors
    /// If the environment is wrong.
    pub fn tickets(&self, environment: &Environment) -> Result<Option<Tickets>, ConfigurationError> {
        self.systems.tickets(environment)
    }

    /// The HTTP client of the process, for adapters that only one function has.
    #[must_use]
    pub fn http(&self) -> reqwest::Client {
        self.systems.http.clone()
    }

    /// Who is told at once; none, which is said, while `AlertWebhookUrl` is not set.
    #[must_use]
    pub fn alerts(&self, environment: &Environment) -> Option<AlertWebhook> {
        let Some(arn) = environment.optional("ALERT_WEBHOOK_SECRET_ARN") else {
            tracing::warn!(parameter = "AlertWebhookUrl", "alerts are off: the parameter is empty");
            return None;
        };
        Some(AlertWebhook::new(self.http(), self.systems.secrets.clone(), arn))
    }
}

/// Refuses the name of a system that this release has no adapter for.
fn must_be_rest(environment: &Environment, variable: &'static str) -> Result<(), ConfigurationError> {
    environment.parsed(variable, (), |provider| match provider {
        "rest" => Ok(()),
        _ => Err("this release has no adapter for it; rest is the only one"),
    })
}

/// This instance's share of the calls that the function may make: the event source runs at most `WORKER_CONCURRENCY`
/// instances, so together they keep to the cap.
fn calls_per_second(environment: &Environment) -> Result<f64, ConfigurationError> {
    let positive = |value: &str| match value.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it must be a number greater than 0"),
    };
    let of_all = environment.parsed("CRM_REQUESTS_PER_SECOND", 10.0, positive)?;
    let instances = environment.parsed("WORKER_CONCURRENCY", 2.0, positive)?;
    Ok(of_all / instances)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_shared_out_among_the_instances_that_may_run() {
        let environment = Environment::of(&[("CRM_REQUESTS_PER_SECOND", "9"), ("WORKER_CONCURRENCY", "3")]);
        assert_eq!(calls_per_second(&environment), Ok(3.0));
        assert_eq!(calls_per_second(&Environment::of(&[])), Ok(5.0));
    }

    #[test]
    fn system_without_an_adapter_is_refused_by_name() {
        let refused = |provider| must_be_rest(&Environment::of(&[("CRM_PROVIDER", provider)]), "CRM_PROVIDER");
        assert_eq!(must_be_rest(&Environment::of(&[]), "CRM_PROVIDER"), Ok(()));
        assert_eq!(refused("rest"), Ok(()));
        let error = refused("siebel").expect_err("refused").to_string();
        assert!(error.contains("CRM_PROVIDER") && error.contains("siebel"), "{error}");
    }

    #[test]
    fn cap_of_zero_is_refused_by_name() {
        let error = calls_per_second(&Environment::of(&[("CRM_REQUESTS_PER_SECOND", "0")])).expect_err("refused");
        assert!(error.to_string().contains("CRM_REQUESTS_PER_SECOND"), "{error}");
    }
}

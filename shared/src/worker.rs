//! What every queue worker is built on: the engine over its own queue, links, Nylas, the CRM. Built once a process. The
//! systems at the other end can be had without the rest.

use crate::alerts::AlertWebhook;
use crate::aws::SdkConfig;
use crate::aws::bodies::ArchiveBodies;
use crate::aws::leases::DynamoLeases;
use crate::aws::links::DynamoLinks;
use crate::aws::never_log::NeverLogFile;
use crate::aws::secrets::Secrets;
use crate::aws::settings_file::SettingsFile;
use crate::aws::worker_queue::WorkerQueue;
use crate::calls::Api;
use crate::configuration::{ConfigurationError, Environment, parse_base_url};
use crate::crm::hubspot::{self, HubSpotCrm};
use crate::crm::pipedrive::{self, PipedriveCrm};
use crate::crm::provider::{self, CrmProvider};
use crate::crm::rest::RestCrm;
use crate::crm::salesforce::{self, SalesforceCrm};
use crate::domain::address::CompanyDomains;
use crate::domain::own_mail::LoopId;
use crate::engine::{Clock, Engine, RetryPolicy};
use crate::field_map::{FIELDS_KEY, FieldMaps};
use crate::http::{ApiClient, ApiSettings, Authorization, Credential, http_client};
use crate::nylas::Nylas;
use crate::tickets::jira::{self, JiraTickets};
use crate::tickets::provider::{self as ticket_provider, TicketProvider};
use crate::tickets::rest::RestTickets;
use crate::tickets::zendesk::{self, ZendeskTickets};
use crate::written::Written;
use std::time::Duration;
use url::Url;

/// The longest that a call to AWS may take.
const LONGEST_AWS_CALL: Duration = Duration::from_secs(2);

/// Where Salesforce's and Pipedrive's users sign in, unless a stack says otherwise (Salesforce help, OAuth 2.0 JWT Bearer
/// Flow; Pipedrive developers, OAuth authorization).
const SALESFORCE_LOGIN: &str = "https://login.salesforce.com";
const PIPEDRIVE_LOGIN: &str = "https://oauth.pipedrive.com";

/// The CRM that a stack is configured for.
pub type Crm = provider::Crm<DynamoLinks>;

/// The ticket system that a stack is configured for.
pub type Tickets = ticket_provider::Tickets<DynamoLinks>;

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
        Ok(Nylas::new(
            ApiClient::new(
                self.http.clone(),
                ApiSettings {
                    name: "Nylas",
                    base_url: environment
                        .base_url("NYLAS_API_URI")?
                        .ok_or(ConfigurationError::Missing("NYLAS_API_URI"))?,
                    credential: self.stored(environment, "NYLAS_API_KEY_SECRET_ARN")?,
                    credential_parameter: "NylasApiKey",
                    calls_per_second: None,
                },
            )
            .measured_as(Api::Nylas),
        ))
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
        let provider = environment.parsed("CRM_PROVIDER", CrmProvider::Rest, str::parse::<CrmProvider>)?;
        let calls_per_second = Some(calls_per_second(environment)?);
        let client = |credential| {
            let settings = ApiSettings {
                name: "the CRM",
                base_url: base_url.clone(),
                credential,
                credential_parameter: "CrmApiKey",
                calls_per_second,
            };
            ApiClient::new(self.http.clone(), settings).measured_as(Api::Crm)
        };
        let key = || self.stored(environment, "CRM_API_KEY_SECRET_ARN");
        let written = |system| self.written(environment, system);
        let fields = |system, built_in| self.fields(environment, system, built_in);
        Ok(Some(match provider {
            CrmProvider::Rest => Crm::Rest(RestCrm::new(client(key()?))),
            CrmProvider::HubSpot => Crm::HubSpot(HubSpotCrm::new(
                client(key()?).speaking(hubspot::dialect()),
                written(hubspot::SYSTEM)?,
                fields(hubspot::SYSTEM, hubspot::FIELDS)?,
            )),
            CrmProvider::Salesforce => {
                let client_id = environment.required("CRM_CLIENT_ID")?;
                let username = environment.optional("CRM_USERNAME");
                let mint =
                    salesforce::mint(&base_url, key()?, client_id, username, login(environment, SALESFORCE_LOGIN)?);
                Crm::Salesforce(SalesforceCrm::new(
                    client(Credential::Minted(mint)).speaking(salesforce::dialect()),
                    written(salesforce::SYSTEM)?,
                    fields(salesforce::SYSTEM, salesforce::FIELDS)?,
                ))
            }
            CrmProvider::Pipedrive => {
                let (credential, authorization) = if environment.optional("CRM_REFRESH_TOKEN_SECRET_ARN").is_none() {
                    (key()?, Authorization::Header("x-api-token"))
                } else {
                    let refresh_token = self.stored(environment, "CRM_REFRESH_TOKEN_SECRET_ARN")?;
                    let client_id = environment.required("CRM_CLIENT_ID")?;
                    let mint = pipedrive::mint(&login(environment, PIPEDRIVE_LOGIN)?, key()?, refresh_token, client_id);
                    (Credential::Minted(mint), Authorization::Bearer)
                };
                Crm::Pipedrive(PipedriveCrm::new(
                    client(credential).speaking(pipedrive::dialect(authorization)),
                    written(pipedrive::SYSTEM)?,
                    fields(pipedrive::SYSTEM, pipedrive::FIELDS)?,
                ))
            }
        }))
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
        let provider = environment.parsed("TICKET_PROVIDER", TicketProvider::Rest, str::parse::<TicketProvider>)?;
        let settings = ApiSettings {
            name: "the ticket system",
            base_url,
            credential: self.stored(environment, "TICKET_API_KEY_SECRET_ARN")?,
            credential_parameter: "TicketApiKey",
            calls_per_second: None,
        };
        let client = ApiClient::new(self.http.clone(), settings).measured_as(Api::Tickets);
        Ok(Some(match provider {
            TicketProvider::Rest => Tickets::Rest(RestTickets::new(client)),
            TicketProvider::Zendesk => Tickets::Zendesk(ZendeskTickets::new(
                client.speaking(zendesk::dialect()),
                self.written(environment, zendesk::SYSTEM)?,
                self.fields(environment, zendesk::SYSTEM, zendesk::FIELDS)?,
            )),
            TicketProvider::Jira => Tickets::Jira(JiraTickets::new(
                client.speaking(jira::dialect()),
                self.written(environment, jira::SYSTEM)?,
                self.fields(environment, jira::SYSTEM, jira::FIELDS)?,
                environment.required("TICKET_PROJECT")?,
            )),
        }))
    }

    fn written(
        &self,
        environment: &Environment,
        system: &'static str,
    ) -> Result<Written<DynamoLinks>, ConfigurationError> {
        let links = DynamoLinks::new(&self.sdk, environment.required("LINKS_TABLE")?);
        Ok(Written::new(links, Clock::system(), system))
    }

    fn fields(
        &self,
        environment: &Environment,
        system: &'static str,
        built_in: &'static str,
    ) -> Result<FieldMaps, ConfigurationError> {
        let bucket = environment.required("ARCHIVE_BUCKET")?;
        Ok(FieldMaps::new(system, built_in, SettingsFile::new(&self.sdk, bucket, FIELDS_KEY)))
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

/// Where the CRM's users sign in.
fn login(environment: &Environment, usual: &'static str) -> Result<Url, ConfigurationError> {
    let login = environment.optional("CRM_LOGIN_URL").unwrap_or_else(|| usual.to_owned());
    parse_base_url(&login).map_err(|problem| ConfigurationError::Invalid {
        variable: "CRM_LOGIN_URL",
        problem: problem.to_string(),
        value: login,
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
    fn users_sign_in_where_the_vendor_has_them_unless_the_stack_says_otherwise() {
        let at = |variables: &[(&str, &str)]| login(&Environment::of(variables), SALESFORCE_LOGIN).map(String::from);
        assert_eq!(at(&[]), Ok("https://login.salesforce.com/".to_owned()));
        let sandbox = [("CRM_LOGIN_URL", "https://test.salesforce.com")];
        assert_eq!(at(&sandbox), Ok("https://test.salesforce.com/".to_owned()));
        let error = at(&[("CRM_LOGIN_URL", "ftp://x")]).expect_err("refused").to_string();
        assert!(error.contains("CRM_LOGIN_URL"), "{error}");
    }

    #[test]
    fn cap_of_zero_is_refused_by_name() {
        let error = calls_per_second(&Environment::of(&[("CRM_REQUESTS_PER_SECOND", "0")])).expect_err("refused");
        assert!(error.to_string().contains("CRM_REQUESTS_PER_SECOND"), "{error}");
    }
}

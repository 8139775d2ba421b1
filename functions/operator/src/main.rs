//! The operator function: wires clients and starts the runtime. What it does is told in the library beside it.

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use operator::{Invocation, Operator, Settings};
use serde_json::Value;
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::media::MediaArchive;
use shared::aws::sdk_config;
use shared::aws::secrets::Secrets;
use shared::aws::settings_file::SettingsFile;
use shared::aws::worker_queue::JobQueue;
use shared::configuration::{ConfigurationError, Environment};
use shared::engine::Deadline;
use shared::http::{ApiClient, ApiSettings, Credential, http_client};
use shared::nylas::Nylas;
use shared::triage::RULES_KEY;
use std::time::Duration;

/// The longest that a call to AWS may take.
const LONGEST_AWS_CALL: Duration = Duration::from_secs(4);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::telemetry::start_logging();
    let environment = Environment::process();
    let sdk = sdk_config(LONGEST_AWS_CALL).await;
    let nylas_api = environment.base_url("NYLAS_API_URI")?.ok_or(ConfigurationError::Missing("NYLAS_API_URI"))?;
    let operator = &Operator {
        mail_queue: JobQueue::new(&sdk, environment.required("EMAIL_ACTIVITY_QUEUE_URL")?),
        calendar_queue: JobQueue::new(&sdk, environment.required("CALENDAR_SYNC_QUEUE_URL")?),
        notetaker_queue: JobQueue::new(&sdk, environment.required("NOTETAKER_MEDIA_QUEUE_URL")?),
        contact_queue: JobQueue::new(&sdk, environment.required("CONTACT_SYNC_QUEUE_URL")?),
        links: DynamoLinks::new(&sdk, environment.required("LINKS_TABLE")?),
        nylas: Nylas::new(ApiClient::new(
            http_client()?,
            ApiSettings {
                name: "Nylas",
                base_url: nylas_api,
                credential: Credential::Stored {
                    secrets: Secrets::new(&sdk),
                    arn: environment.required("NYLAS_API_KEY_SECRET_ARN")?,
                },
                credential_parameter: "NylasApiKey",
                calls_per_second: None,
            },
        )),
        archive: MediaArchive::new(&sdk, environment.required("ARCHIVE_BUCKET")?),
        decisions: DynamoLeases::new(&sdk, environment.required("DEDUP_TABLE")?),
        live_rules: SettingsFile::new(&sdk, environment.required("ARCHIVE_BUCKET")?, RULES_KEY),
        settings: Settings::from_environment(&environment)?,
    };
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let invocation = Invocation {
            id: event.context.request_id.clone(),
            now: Timestamp::now(),
            deadline: Deadline::at(event.context.deadline()),
        };
        Ok::<_, Error>(operator.answer(&event.payload, &invocation).await?)
    }))
    .await
}

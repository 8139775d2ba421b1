//! The operator function: wires clients and starts the runtime. What it does is told in the library beside it.

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use operator::doctor::StackInAws;
use operator::forget::in_aws::HeldInAws;
use operator::letters::in_aws::AwsLetters;
use operator::operate::Ports;
use operator::ports::ListedMailboxes;
use operator::replay::aws::InAws as Replaying;
use operator::set_up::System;
use operator::story::aws::Tables;
use operator::{Invocation, Operator, Settings};
use serde_json::Value;
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::media::MediaArchive;
use shared::aws::settings_file::SettingsFile;
use shared::aws::worker_queue::JobQueue;
use shared::configuration::Environment;
use shared::engine::Deadline;
use shared::nylas::Nylas;
use shared::triage::RULES_KEY;
use shared::worker::{Crm, Systems, Tickets};
use std::time::Duration;

/// The longest that a call to AWS may take.
const LONGEST_AWS_CALL: Duration = Duration::from_secs(4);

/// Everything in AWS.
struct InAws;

impl Ports for InAws {
    type Queue = JobQueue;
    type Links = DynamoLinks;
    type Nylas = Nylas;
    type Archive = MediaArchive;
    type Decisions = DynamoLeases;
    type LiveRules = SettingsFile;
    type Mailboxes = ListedMailboxes;
    type Crm = Crm;
    type Tickets = Tickets;
    type Letters = AwsLetters;
    type Records = Tables;
    type Replays = Replaying;
    type Webhooks = operator::subscribe::in_aws::InAws;
    type Examined = StackInAws;
    type Held = HeldInAws;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::telemetry::start_logging();
    let environment = Environment::process();
    let systems = Systems::new(LONGEST_AWS_CALL).await?;
    let sdk = systems.sdk();
    let operator = &Operator::<InAws> {
        mail_queue: JobQueue::new(sdk, environment.required("EMAIL_ACTIVITY_QUEUE_URL")?),
        calendar_queue: JobQueue::new(sdk, environment.required("CALENDAR_SYNC_QUEUE_URL")?),
        notetaker_queue: JobQueue::new(sdk, environment.required("NOTETAKER_MEDIA_QUEUE_URL")?),
        contact_queue: JobQueue::new(sdk, environment.required("CONTACT_SYNC_QUEUE_URL")?),
        links: DynamoLinks::new(sdk, environment.required("LINKS_TABLE")?),
        nylas: systems.nylas(&environment)?,
        archive: MediaArchive::new(sdk, environment.required("ARCHIVE_BUCKET")?),
        decisions: DynamoLeases::new(sdk, environment.required("DEDUP_TABLE")?),
        live_rules: SettingsFile::new(sdk, environment.required("ARCHIVE_BUCKET")?, RULES_KEY),
        support_mailboxes: ListedMailboxes {
            secrets: systems.secrets().clone(),
            arn: environment.optional("SUPPORT_GRANT_IDS_SECRET_ARN"),
        },
        crm: System::crm(environment.optional("CRM_PROVIDER"), systems.crm(&environment)?),
        tickets: System::tickets(environment.optional("TICKET_PROVIDER"), systems.tickets(&environment)?),
        letters: AwsLetters::new(
            sdk,
            environment.required("STACK_ID")?,
            environment.required("DEDUP_TABLE")?,
            environment.required("ARCHIVE_BUCKET")?,
        ),
        records: Tables::new(
            sdk,
            environment.required("STACK_ID")?,
            environment.required("DEDUP_TABLE")?,
            environment.required("LINKS_TABLE")?,
        ),
        replays: Replaying::new(
            sdk,
            environment.required("STACK_ID")?,
            environment.required("ARCHIVE_BUCKET")?,
            systems.nylas(&environment)?,
        ),
        webhooks: operator::subscribe::in_aws::InAws::new(
            sdk,
            environment.required("STACK_ID")?,
            systems.nylas(&environment)?,
        ),
        examined: StackInAws::new(sdk, environment.required("STACK_ID")?),
        held: HeldInAws::new(sdk, environment.required("STACK_ID")?),
        settings: Settings::from_environment(&environment)?,
    };
    run(service_fn(|event: LambdaEvent<Value>| async move {
        let invocation = Invocation {
            id: event.context.request_id.clone(),
            now: Timestamp::now(),
            deadline: Deadline::at(event.context.deadline()),
        };
        // In a box: the clients' calls nest so deep that the compiler would give up on the type of them all.
        let answer = Box::pin(operator.answer(&event.payload, &invocation));
        let answer = shared::trace::belonging_to(event.context.xray_trace_id.clone(), answer);
        Ok::<_, Error>(shared::calls::measured("operator", answer).await?)
    }))
    .await
}

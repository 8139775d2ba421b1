//! What is examined, in AWS: CloudFormation, Secrets Manager, SQS, EventBridge Scheduler, CloudWatch and SNS.

use aws_sdk_cloudwatch::types::AlarmType;
use aws_sdk_scheduler::operation::get_schedule::GetScheduleError;
use aws_sdk_scheduler::types::ScheduleState;
use aws_sdk_sqs::types::QueueAttributeName;
use jiff::Timestamp;
use shared::aws::{SdkConfig, describe};
use shared::engine::StoreError;

use super::Examined;
use super::alarms::{Alarm, Subscription};
use super::queues::Depths;
use super::schedules::Standing;
use super::secrets::Managed;
use crate::stack_map::StackMap;

/// The stage of the version that readers of a secret get (Secrets Manager user guide, "Secret versions").
const CURRENT: &str = "AWSCURRENT";

/// The group of the template's schedules, which name none.
const SCHEDULE_GROUP: &str = "default";

/// Everything in AWS that the stack depends on.
#[derive(Debug, Clone)]
pub struct StackInAws {
    sdk: SdkConfig,
    stack_id: String,
    secrets: aws_sdk_secretsmanager::Client,
    sqs: aws_sdk_sqs::Client,
    scheduler: aws_sdk_scheduler::Client,
    cloudwatch: aws_sdk_cloudwatch::Client,
    sns: aws_sdk_sns::Client,
}

impl StackInAws {
    /// Looks through the given configuration at the stack with this id.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String) -> Self {
        Self {
            sdk: sdk.clone(),
            stack_id,
            secrets: aws_sdk_secretsmanager::Client::new(sdk),
            sqs: aws_sdk_sqs::Client::new(sdk),
            scheduler: aws_sdk_scheduler::Client::new(sdk),
            cloudwatch: aws_sdk_cloudwatch::Client::new(sdk),
            sns: aws_sdk_sns::Client::new(sdk),
        }
    }
}

/// True once a subscription is confirmed: until then, and once it is deleted, words stand in place of its ARN (SNS API
/// reference, `ListSubscriptionsByTopic`).
fn is_arn(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.starts_with("arn:"))
}

fn failed(what: &str, problem: &str) -> StoreError {
    StoreError(format!("{what}: {problem}"))
}

impl Examined for StackInAws {
    async fn stack(&self) -> Result<StackMap, StoreError> {
        StackMap::read(&self.sdk, &self.stack_id).await
    }

    async fn has_value(&self, secret: &str) -> Result<bool, StoreError> {
        let described = self.secrets.describe_secret().secret_id(secret).send().await;
        let described = described.map_err(|error| failed("Secrets Manager", &describe(&error)))?;
        let mut stages = described.version_ids_to_stages.into_iter().flatten().flat_map(|(_, stages)| stages);
        Ok(stages.any(|stage| stage == CURRENT))
    }

    async fn managed_webhook_secret(&self, secret: &str) -> Result<Managed, StoreError> {
        // Until the operator writes it there is none to be read.
        if !self.has_value(secret).await? {
            return Ok(Managed::default());
        }
        let read = self.secrets.get_secret_value().secret_id(secret).send().await;
        let read = read.map_err(|error| failed("Secrets Manager", &describe(&error)))?;
        match read.secret_string.filter(|value| !value.trim().is_empty()) {
            Some(value) => Managed::read(&value),
            None => Ok(Managed::default()),
        }
    }

    async fn depths(&self, queue: &str) -> Result<Depths, StoreError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let asked = self.sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
        let told = asked.send().await.map_err(|error| failed("SQS", &describe(&error)))?;
        let attributes = told.attributes.unwrap_or_default();
        let number = |name: &QueueAttributeName| {
            let text = attributes.get(name).ok_or_else(|| failed("SQS", "it does not tell how many there are"))?;
            text.parse().map_err(|_| failed("SQS", "it tells no number"))
        };
        let [waiting, in_flight, delayed] = &names;
        Ok(Depths { waiting: number(waiting)?, in_flight: number(in_flight)?, delayed: number(delayed)? })
    }

    async fn schedule(&self, name: &str) -> Result<Option<Standing>, StoreError> {
        let asked = self.scheduler.get_schedule().group_name(SCHEDULE_GROUP).name(name).send().await;
        let schedule = match asked {
            Ok(schedule) => schedule,
            Err(error) if error.as_service_error().is_some_and(GetScheduleError::is_resource_not_found_exception) => {
                return Ok(None);
            }
            Err(error) => return Err(failed("EventBridge Scheduler", &describe(&error))),
        };
        Ok(Some(Standing {
            is_enabled: schedule.state == Some(ScheduleState::Enabled),
            expression: schedule.schedule_expression.unwrap_or_default(),
            zone: schedule.schedule_expression_timezone,
            target: schedule.target.map(|target| target.arn).unwrap_or_default(),
            made_at: schedule.creation_date.and_then(|at| Timestamp::from_second(at.secs()).ok()),
        }))
    }

    async fn alarms(&self, names: &[&str]) -> Result<Vec<Alarm>, StoreError> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let asked = self.cloudwatch.describe_alarms().set_alarm_names(Some(names)).alarm_types(AlarmType::MetricAlarm);
        let told = asked.max_records(100).send().await.map_err(|error| failed("CloudWatch", &describe(&error)))?;
        let alarm = |alarm: aws_sdk_cloudwatch::types::MetricAlarm| Alarm {
            name: alarm.alarm_name.unwrap_or_default(),
            description: alarm.alarm_description.unwrap_or_default(),
            state: alarm.state_value.map(|state| state.as_str().to_owned()).unwrap_or_default(),
            actions_enabled: alarm.actions_enabled.unwrap_or_default(),
            actions: alarm.alarm_actions.unwrap_or_default(),
        };
        Ok(told.metric_alarms.into_iter().flatten().map(alarm).collect())
    }

    async fn subscriptions(&self, topic: &str) -> Result<Vec<Subscription>, StoreError> {
        let asked = self.sns.list_subscriptions_by_topic().topic_arn(topic).send().await;
        let told = asked.map_err(|error| failed("SNS", &describe(&error)))?;
        let subscriptions = told.subscriptions.into_iter().flatten();
        Ok(subscriptions
            .map(|subscription| Subscription { is_confirmed: is_arn(subscription.subscription_arn.as_deref()) })
            .collect())
    }
}

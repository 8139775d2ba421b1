//! One-time schedules of EventBridge Scheduler that put a message into a queue.

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::error::BuildError;
use aws_sdk_scheduler::operation::create_schedule::CreateScheduleError;
use aws_sdk_scheduler::operation::delete_schedule::DeleteScheduleError;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, DeadLetterConfig, FlexibleTimeWindow, FlexibleTimeWindowMode, RetryPolicy, SqsParameters,
    Target,
};

use super::describe;
use crate::configuration::{ConfigurationError, Environment};
use crate::engine::{RemoveTimers, SetTimers, StoreError, Timer};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

/// For how long a message that the queue does not take is tried again, in seconds.
const TRIED_FOR: i32 = 3600;

/// The schedules of one function.
#[derive(Debug, Clone)]
pub struct Schedules {
    client: Client,
    /// The group that they are in.
    group: String,
    /// The queue that they put messages into.
    queue_arn: String,
    /// What they do so as.
    role_arn: String,
    /// What a message that could not be put there is put into.
    dead_letter_queue_arn: String,
}

impl Schedules {
    /// Schedules for the function's own queue, by the environment.
    ///
    /// # Errors
    /// If a variable is not set.
    pub fn from_environment(
        config: &aws_config::SdkConfig,
        environment: &Environment,
    ) -> Result<Self, ConfigurationError> {
        let dead_letter_queue_arn = environment.required("SCHEDULER_DEAD_LETTER_QUEUE_ARN")?;
        Ok(Self {
            client: Client::new(config),
            group: environment.required("SCHEDULE_GROUP")?,
            queue_arn: arn_beside(&dead_letter_queue_arn, &environment.required("QUEUE_URL")?),
            role_arn: environment.required("SCHEDULER_ROLE_ARN")?,
            dead_letter_queue_arn,
        })
    }

    fn target(&self, timer: &Timer) -> Result<Target, BuildError> {
        Target::builder()
            .arn(&self.queue_arn)
            .role_arn(&self.role_arn)
            .input(&timer.message.body)
            .sqs_parameters(SqsParameters::builder().message_group_id(timer.message.group.as_str()).build())
            .dead_letter_config(DeadLetterConfig::builder().arn(&self.dead_letter_queue_arn).build())
            .retry_policy(RetryPolicy::builder().maximum_event_age_in_seconds(TRIED_FOR).build())
            .build()
    }
}

impl SetTimers for Schedules {
    async fn set(&self, timer: &Timer) -> Result<(), StoreError> {
        let failed = |problem: String| StoreError(format!("the schedule {} could not be made: {problem}", timer.name));
        let exactly = FlexibleTimeWindow::builder().mode(FlexibleTimeWindowMode::Off).build();
        let made = self
            .client
            .create_schedule()
            .group_name(&self.group)
            .name(&timer.name)
            .schedule_expression(expression(timer.at))
            .schedule_expression_timezone("UTC")
            .flexible_time_window(exactly.map_err(|error| failed(error.to_string()))?)
            .target(self.target(timer).map_err(|error| failed(error.to_string()))?)
            .action_after_completion(ActionAfterCompletion::Delete)
            .send()
            .await;
        match made {
            Ok(_) => Ok(()),
            // Its name says all that it is about, so one that is there is this one.
            Err(error) if error.as_service_error().is_some_and(CreateScheduleError::is_conflict_exception) => Ok(()),
            Err(error) => Err(failed(describe(&error))),
        }
    }
}

/// The ARN of a queue by its URL and the ARN of another one of the stack, so that it takes no room in the environment. An
/// ARN ends in the queue's name, and so does a URL (Amazon SQS developer guide, "Queue and message identifiers"); what
/// stands before it, the region and the account, is the same for both.
fn arn_beside(other_arn: &str, queue_url: &str) -> String {
    let name = queue_url.rsplit('/').next().unwrap_or_default();
    let place = other_arn.rsplit_once(':').map_or(other_arn, |(place, _)| place);
    format!("{place}:{name}")
}

/// The expression of a time. EventBridge Scheduler knows whole seconds; no timer goes off before it is due.
fn expression(at: Timestamp) -> String {
    let whole = TimestampRound::new().smallest(Unit::Second).mode(RoundMode::Ceil);
    format!("at({})", at.round(whole).unwrap_or(at).strftime("%Y-%m-%dT%H:%M:%S"))
}

impl RemoveTimers for Schedules {
    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.client.delete_schedule().group_name(&self.group).name(name).send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(DeleteScheduleError::is_resource_not_found_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(StoreError(format!("the schedule {name} could not be removed: {}", describe(&error)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_of_a_stack_has_the_arn_of_its_neighbour_with_its_own_name() {
        let neighbour = "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:stack-SchedulerDeadLetterQueue-1A2B3C";
        for url in [
            "https://sqs.us-gov-west-1.amazonaws.com/123456789012/stack-TicketTriage.fifo",
            "http://127.0.0.1:4566/123456789012/stack-TicketTriage.fifo",
        ] {
            let arn = "arn:aws-us-gov:sqs:us-gov-west-1:123456789012:stack-TicketTriage.fifo";
            assert_eq!(arn_beside(neighbour, url), arn, "{url}");
        }
    }

    #[test]
    fn timer_goes_off_at_the_first_whole_second_that_is_not_before_it_is_due() {
        for (at, expected) in [
            ("2026-11-30T09:00:00Z", "at(2026-11-30T09:00:00)"),
            ("2026-11-30T09:00:00.000000001Z", "at(2026-11-30T09:00:01)"),
            ("2026-11-30T23:59:59.9Z", "at(2026-12-01T00:00:00)"),
        ] {
            assert_eq!(expression(at.parse().expect("a time")), expected);
        }
    }
}

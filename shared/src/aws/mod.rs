//! Adapters to AWS. Each is named only where a function is wired together.

pub mod bodies;
pub mod outbox;
pub mod secrets;

#[cfg(feature = "worker")]
pub mod documents;
#[cfg(feature = "worker")]
pub mod leases;
#[cfg(feature = "worker")]
pub mod links;
#[cfg(feature = "worker")]
pub mod media;
#[cfg(feature = "worker")]
pub mod never_log;
#[cfg(feature = "worker")]
pub mod schedules;
#[cfg(feature = "worker")]
pub mod settings_file;
#[cfg(feature = "worker")]
pub mod worker_queue;

#[cfg(all(test, feature = "worker"))]
mod tests;

pub use aws_config::SdkConfig;
use aws_config::{BehaviorVersion, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use std::time::Duration;

/// The configuration of all SDK clients of a process: up to three tries, and never longer than `whole_call` in all,
/// so that a slow service costs an answer and not the invocation.
pub async fn sdk_config(whole_call: Duration) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(2))
                .operation_attempt_timeout(whole_call / 2)
                .operation_timeout(whole_call)
                .build(),
        )
        .load()
        .await
}

/// An SDK error in one line: the service's own code and message, else what went wrong on the way.
pub fn describe<E, R>(error: &SdkError<E, R>) -> String
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    // Never the SDK's own detailed form: for an answer that cannot be read it repeats the answer, which may be a secret.
    match error {
        SdkError::ServiceError(service) => format!(
            "{}: {}",
            service.err().code().unwrap_or("unknown error"),
            service.err().message().unwrap_or("no message")
        ),
        SdkError::TimeoutError(_) => "it did not answer in time".to_owned(),
        SdkError::DispatchFailure(_) => "it could not be reached".to_owned(),
        SdkError::ResponseError(_) => "its answer could not be read".to_owned(),
        _ => "the request could not be made".to_owned(),
    }
}

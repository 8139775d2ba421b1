//! What ingress needs to know: queues, the bucket, where its secrets lie, which grants are support mailboxes.

use shared::configuration::{ConfigurationError, Environment};
use std::collections::HashSet;

use shared::domain::routing::Destination;

/// The configuration of ingress.
#[derive(Debug)]
pub struct Configuration {
    /// The URL of each function's queue.
    pub queues: QueueUrls,
    /// The URL of the queue for bodies that are no Nylas notification.
    pub unroutable_queue: String,
    /// The bucket for bodies that one queue message cannot carry.
    pub archive_bucket: String,
    /// The secret from the parameter; none while Nylas has not made one.
    pub webhook_secret_arn: Option<String>,
    /// The secret that the operator writes.
    pub managed_webhook_secret_arn: String,
    /// The secret for customer events; none if they are off.
    pub customer_events_secret_arn: Option<String>,
    /// The grants whose mail is support mail.
    pub support_grants: HashSet<String>,
}

/// The URL of every destination's queue: there is one for each, so none can be passed over.
#[derive(Debug)]
pub struct QueueUrls([String; Destination::ALL.len()]);

impl QueueUrls {
    fn from_environment(environment: &Environment) -> Result<Self, ConfigurationError> {
        let mut urls = [const { String::new() }; Destination::ALL.len()];
        for destination in Destination::ALL {
            urls[destination as usize] = environment.required(destination.variable())?;
        }
        Ok(Self(urls))
    }

    /// The URL of a destination's queue.
    #[must_use]
    pub fn url(&self, destination: Destination) -> &str {
        &self.0[destination as usize]
    }
}

impl Configuration {
    /// Reads the environment.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigurationError> {
        Ok(Self {
            queues: QueueUrls::from_environment(environment)?,
            unroutable_queue: environment.required("UNROUTABLE_QUEUE_URL")?,
            archive_bucket: environment.required("ARCHIVE_BUCKET")?,
            webhook_secret_arn: environment.optional("NYLAS_WEBHOOK_SECRET_ARN"),
            managed_webhook_secret_arn: environment.required("MANAGED_WEBHOOK_SECRET_ARN")?,
            customer_events_secret_arn: environment.optional("CUSTOMER_EVENTS_SECRET_ARN"),
            support_grants: environment.list("SUPPORT_GRANT_IDS").into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_queue_is_named() {
        let error =
            Configuration::from_environment(&Environment::of(&[("ARCHIVE_BUCKET", "b")])).expect_err("no queue");
        assert!(error.to_string().contains("_QUEUE_URL"), "{error}");
    }
}

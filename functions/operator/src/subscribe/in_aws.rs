//! The port of `subscribe` in AWS and at Nylas.

use aws_sdk_cloudwatchlogs::Client as Logs;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use shared::aws::secrets::Secrets;
use shared::aws::{SdkConfig, describe};
use shared::engine::{Deadline, StoreError};
use shared::nylas::webhooks::{NewWebhook, Webhook, WithSecret};
use shared::nylas::{Nylas, NylasError};

use super::{Kept, Webhooks};
use crate::stack_map::StackMap;

/// What ingress writes beside the refusal of a test event.
const MARK_IN_THE_LOG: &str = "\"test_event\":true";

/// Everything in AWS and at Nylas.
pub struct InAws {
    sdk: SdkConfig,
    stack_id: String,
    secrets: Secrets,
    logs: Logs,
    nylas: Nylas,
}

impl InAws {
    /// For the stack of this id.
    #[must_use]
    pub fn new(sdk: &SdkConfig, stack_id: String, nylas: Nylas) -> Self {
        Self { sdk: sdk.clone(), stack_id, secrets: Secrets::new(sdk), logs: Logs::new(sdk), nylas }
    }
}

/// The name in the id of a stack, `arn:aws:cloudformation:<region>:<account>:stack/<name>/<more>`; else the id.
fn name_in(stack_id: &str) -> &str {
    stack_id.split('/').nth(1).unwrap_or(stack_id)
}

impl Webhooks for InAws {
    fn stack_name(&self) -> &str {
        name_in(&self.stack_id)
    }

    async fn stack(&self) -> Result<StackMap, StoreError> {
        StackMap::read(&self.sdk, &self.stack_id).await
    }

    async fn kept(&self, arn: &str) -> Result<Kept, StoreError> {
        let read = self.secrets.read_with_version(arn).await.map_err(|error| StoreError(error.to_string()))?;
        Ok(Kept { text: read.0, version: read.1 })
    }

    async fn keep(&self, arn: &str, text: &SecretString) -> Result<String, StoreError> {
        self.secrets.write(arn, text).await.map_err(|error| StoreError(error.to_string()))
    }

    async fn list(&self, deadline: Deadline) -> Result<Vec<Webhook>, NylasError> {
        self.nylas.webhooks(deadline).await
    }

    async fn create(&self, wanted: &NewWebhook, deadline: Deadline) -> Result<WithSecret, NylasError> {
        self.nylas.create_webhook(wanted, deadline).await
    }

    async fn change(&self, id: &str, change: &Value, deadline: Deadline) -> Result<Webhook, NylasError> {
        self.nylas.change_webhook(id, change, deadline).await
    }

    async fn rotate(&self, id: &str, deadline: Deadline) -> Result<WithSecret, NylasError> {
        self.nylas.rotate_webhook_secret(id, deadline).await
    }

    async fn send_test_event(&self, url: &str, kind: &str, deadline: Deadline) -> Result<String, NylasError> {
        self.nylas.send_test_event(url, kind, deadline).await
    }

    async fn refused_test_event(&self, log_group: &str, since: Timestamp) -> Result<bool, StoreError> {
        let mut pages = self
            .logs
            .filter_log_events()
            .log_group_name(log_group)
            .start_time(since.as_millisecond())
            .filter_pattern("\"test_event\"")
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| StoreError(describe(&error)))?;
            let mut lines = page.events.into_iter().flatten().filter_map(|event| event.message);
            if lines.any(|line| line.contains(MARK_IN_THE_LOG)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_is_called_by_its_name() {
        assert_eq!(name_in("arn:aws:cloudformation:eu-west-1:123456789012:stack/autopilot/5f1c"), "autopilot");
        assert_eq!(name_in("autopilot"), "autopilot");
    }
}

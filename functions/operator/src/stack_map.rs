//! What the stack is made of, as CloudFormation tells it: outputs and the physical ids of its resources. The function's
//! environment has no room for all these addresses, and a table of them elsewhere would be one more thing to keep true.

use aws_sdk_cloudformation::Client;
use shared::aws::{SdkConfig, describe};
use shared::engine::StoreError;
use std::collections::BTreeMap;
use std::fmt::Display;

/// The queues that a worker empties, by the beginning of their names in the template, with the function that does so.
pub const WORKERS: [(&str, &str); 6] = [
    ("EmailActivity", "email-activity"),
    ("CalendarSync", "calendar-sync"),
    ("NotetakerMedia", "notetaker-media"),
    ("Onboarding", "onboarding-transitions"),
    ("TicketTriage", "ticket-triage"),
    ("ContactSync", "contact-sync"),
];

/// What a stack is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StackMap {
    /// How the last deployment ended, in CloudFormation's words, for example `UPDATE_COMPLETE`.
    pub status: String,
    /// The parameters; those that hold a credential are masked.
    pub parameters: BTreeMap<String, String>,
    /// The outputs.
    pub outputs: BTreeMap<String, String>,
    /// The physical id of each resource by its name in the template: a queue's URL, a table's name, a secret's ARN.
    pub resources: BTreeMap<String, String>,
}

impl StackMap {
    /// Reads what a stack is made of.
    ///
    /// # Errors
    /// If CloudFormation does not answer, or knows no such stack.
    pub async fn read(sdk: &SdkConfig, stack_id: &str) -> Result<Self, StoreError> {
        let client = Client::new(sdk);
        let failed = |problem: &dyn Display| {
            StoreError(format!("CloudFormation does not tell what the stack {stack_id} is made of: {problem}"))
        };
        let described = client.describe_stacks().stack_name(stack_id).send().await;
        let described = described.map_err(|error| failed(&describe(&error)))?;
        let stack = described.stacks.into_iter().flatten().next().ok_or_else(|| failed(&"it knows no such stack"))?;
        let pairs = |name: Option<String>, value: Option<String>| Some((name?, value?));
        let mut resources = BTreeMap::new();
        let mut pages = client.list_stack_resources().stack_name(stack_id).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(&describe(&error)))?;
            let summaries = page.stack_resource_summaries.into_iter().flatten();
            resources.extend(
                summaries.filter_map(|resource| pairs(resource.logical_resource_id, resource.physical_resource_id)),
            );
        }
        Ok(Self {
            status: stack.stack_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
            parameters: stack
                .parameters
                .into_iter()
                .flatten()
                .filter_map(|parameter| pairs(parameter.parameter_key, parameter.parameter_value))
                .collect(),
            outputs: stack
                .outputs
                .into_iter()
                .flatten()
                .filter_map(|output| pairs(output.output_key, output.output_value))
                .collect(),
            resources,
        })
    }

    /// The physical id of a resource.
    ///
    /// # Errors
    /// If the stack has no such resource: it was deployed from an older template, or a condition leaves it out.
    pub fn resource(&self, name: &str) -> Result<&str, StoreError> {
        self.resources.get(name).map(String::as_str).ok_or_else(|| {
            StoreError(format!("the stack has no resource `{name}`: deploy it from the template of this release"))
        })
    }

    /// The URL of the queue of a worker, by the beginning of its name in the template.
    ///
    /// # Errors
    /// If the stack has none.
    pub fn queue_url(&self, worker: &str) -> Result<&str, StoreError> {
        self.resource(&format!("{worker}Queue"))
    }

    /// The URL of the dead-letter queue of a worker, by the beginning of its name in the template.
    ///
    /// # Errors
    /// If the stack has none.
    pub fn dead_letter_queue_url(&self, worker: &str) -> Result<&str, StoreError> {
        self.resource(&format!("{worker}DeadLetterQueue"))
    }
}

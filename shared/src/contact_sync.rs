//! The job of contact-sync, as the nightly schedule, the operator and the function itself write it.

use serde::{Deserialize, Serialize};

use crate::domain::failure::Failure;
use crate::domain::notification::GrantId;
use crate::domain::queue_message::GroupId;
use crate::engine::OwnMessage;
use crate::engine::job::job_message;

/// The type of the job.
pub const SYNC: &str = "contacts.sync";

/// `{"type":"contacts.sync", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncJob {
    /// Always [`SYNC`].
    #[serde(rename = "type")]
    pub kind: String,
    /// The job's own id, in a message.
    #[serde(default, skip_serializing)]
    pub id: Option<String>,
    /// One account; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// Tells one run from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// True if the account is one of a run of all: what it comes to counts in the run's report.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub share: bool,
    /// True if nothing is to be written, only told what would be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// True if values that stood in the CRM before anything was written there may be replaced. What somebody changed
    /// after that never is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace_existing: bool,
    /// How many messages of this account came before: each works for as long as an invocation lasts.
    #[serde(default)]
    pub slice: u64,
}

impl SyncJob {
    /// The job for all accounts that begins a run.
    #[must_use]
    pub fn of_all(run: &str) -> Self {
        Self {
            kind: SYNC.to_owned(),
            id: None,
            grant_id: None,
            run: Some(run.to_owned()),
            share: false,
            dry_run: false,
            replace_existing: false,
            slice: 0,
        }
    }

    /// The share of one account in the run of this job.
    #[must_use]
    pub fn share_of(&self, grant: &str) -> Self {
        Self { grant_id: Some(grant.to_owned()), share: true, slice: 0, ..self.clone() }
    }

    /// The message that goes on where this one stops.
    #[must_use]
    pub fn next_slice(&self) -> Self {
        Self { slice: self.slice + 1, ..self.clone() }
    }

    /// The account; none for all.
    ///
    /// # Errors
    /// A permanent one if it is no id.
    pub fn grant(&self) -> Result<Option<GrantId>, Failure> {
        let Some(grant) = &self.grant_id else { return Ok(None) };
        let grant = GrantId::parse(grant)
            .ok_or_else(|| Failure::permanent("body.unreadable", "the job's `grant_id` is empty or too long"))?;
        Ok(Some(grant))
    }

    /// The job as a message for the function's queue. What concerns one account stands in the group of its
    /// notifications, so that one thing at a time is done for it.
    ///
    /// # Errors
    /// None that can be met: a job can always be written.
    pub fn to_message(&self, function: &str) -> Result<OwnMessage, Failure> {
        let group = match &self.grant_id {
            Some(grant) => GroupId::of("grant", grant),
            None => GroupId::of("contacts.sync", "all"),
        };
        job_message(function, group, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn job_of_an_account_stands_in_the_group_of_its_notifications() {
        let share = SyncJob::of_all("r1").share_of("g");
        let message = share.to_message("contact-sync").expect("a message");
        assert_eq!(message.group, GroupId::of("grant", "g"));
        let mut body: Value = serde_json::from_str(&message.body).expect("JSON");
        assert!(body.as_object_mut().and_then(|body| body.remove("id")).is_some());
        assert_eq!(body, json!({"type": "contacts.sync", "grant_id": "g", "run": "r1", "share": true, "slice": 0}));
        let read: SyncJob = serde_json::from_str(&message.body).expect("a job");
        assert_eq!(SyncJob { id: None, ..read }, share);
        let next = share.next_slice().to_message("contact-sync").expect("a message");
        assert_ne!(next.deduplication_id, message.deduplication_id);
    }

    #[test]
    fn job_is_what_the_design_says_and_nothing_unknown() {
        let read = |said: Value| serde_json::from_value::<SyncJob>(said);
        let job = read(json!({"type": "contacts.sync"})).expect("a job");
        assert_eq!(SyncJob { run: Some("r".to_owned()), ..job }, SyncJob::of_all("r"));
        assert!(read(json!({"type": "contacts.sync", "grant_id": "g"})).is_ok());
        assert!(read(json!({"type": "contacts.sync", "dryrun": true})).is_err());
    }
}

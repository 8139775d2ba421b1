//! What the commands need of the outside beside the queues and the links: a part of Nylas, the archive of meetings, the
//! live triage rules, the list of support mailboxes.

use serde_json::Value;
use shared::aws::media::MediaArchive;
use shared::aws::secrets::Secrets;
use shared::aws::settings_file::SettingsFile;
use shared::domain::notification::GrantId;
use shared::engine::{Deadline, StoreError};
use shared::nylas::event::Calendar;
use shared::nylas::notetaker::{HistoryEntry, Notetaker, NotetakerFilter};
use shared::nylas::{Nylas, NylasError, Page};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The notetakers and calendars of accounts.
pub trait Notetaking: Sync {
    /// A page of an account's notetakers.
    fn notetakers(
        &self,
        grant: &GrantId,
        wanted: NotetakerFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Page<Notetaker>, NylasError>> + Send;

    /// What has happened to a notetaker, the newest first; nothing if there is no such notetaker.
    fn history(
        &self,
        grant: &GrantId,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<HistoryEntry>, NylasError>> + Send;

    /// Sends a notetaker to a meeting, at a time in Unix seconds or at once. Done twice, two come.
    fn invite(
        &self,
        grant: &GrantId,
        meeting_link: &str,
        join_time: Option<i64>,
        name: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Notetaker, NylasError>> + Send;

    /// A calendar; none if there is no such calendar.
    fn calendar(
        &self,
        grant: &GrantId,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Calendar>, NylasError>> + Send;

    /// All calendars of an account.
    fn calendars(
        &self,
        grant: &GrantId,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Calendar>, NylasError>> + Send;

    /// Puts rules in place of those by which notetakers join a calendar's meetings; null for none. None if there is no
    /// such calendar.
    fn set_rules(
        &self,
        grant: &GrantId,
        id: &str,
        notetaker: &Value,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Calendar>, NylasError>> + Send;
}

impl Notetaking for Nylas {
    async fn notetakers(
        &self,
        grant: &GrantId,
        wanted: NotetakerFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Notetaker>, NylasError> {
        self.notetakers(Some(grant), wanted, page_token, deadline).await
    }

    async fn history(&self, grant: &GrantId, id: &str, deadline: Deadline) -> Result<Vec<HistoryEntry>, NylasError> {
        self.notetaker_history(Some(grant), id, deadline).await
    }

    async fn invite(
        &self,
        grant: &GrantId,
        meeting_link: &str,
        join_time: Option<i64>,
        name: Option<&str>,
        deadline: Deadline,
    ) -> Result<Notetaker, NylasError> {
        self.invite_notetaker(grant, meeting_link, join_time, name, deadline).await
    }

    async fn calendar(&self, grant: &GrantId, id: &str, deadline: Deadline) -> Result<Option<Calendar>, NylasError> {
        self.calendar(grant, id, deadline).await
    }

    async fn calendars(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<Calendar>, NylasError> {
        self.calendars(grant, deadline).await
    }

    async fn set_rules(
        &self,
        grant: &GrantId,
        id: &str,
        notetaker: &Value,
        deadline: Deadline,
    ) -> Result<Option<Calendar>, NylasError> {
        self.set_notetaker_of_calendar(grant, id, notetaker, deadline).await
    }
}

/// The files of meetings.
pub trait Archive: Sync {
    /// The bucket that they lie in.
    fn bucket(&self) -> &str;

    /// True if there is such a file.
    fn holds(&self, key: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// A link that opens a file for so long to anybody who has it.
    fn link(&self, key: &str, lifetime: Duration) -> impl Future<Output = Result<String, StoreError>> + Send;
}

impl Archive for MediaArchive {
    fn bucket(&self) -> &str {
        self.bucket()
    }

    async fn holds(&self, key: &str) -> Result<bool, StoreError> {
        self.holds(key).await
    }

    async fn link(&self, key: &str, lifetime: Duration) -> Result<String, StoreError> {
        self.link(key, lifetime).await
    }
}

/// The triage rules that are live.
pub trait LiveRules: Sync {
    /// The file; none while the built-in rules are live.
    fn text(&self) -> impl Future<Output = Result<Option<Arc<str>>, StoreError>> + Send;
}

impl LiveRules for SettingsFile {
    async fn text(&self) -> Result<Option<Arc<str>>, StoreError> {
        self.text().await
    }
}

/// The mailboxes whose mail is support mail.
pub trait SupportMailboxes: Sync {
    /// Their grants.
    fn grants(&self) -> impl Future<Output = Result<Vec<String>, StoreError>> + Send;
}

/// The list of the parameter `SupportGrantIds`, which has no room in the environment.
#[derive(Debug)]
pub struct ListedMailboxes {
    /// Reads it.
    pub secrets: Secrets,
    /// Where it stands; none if the parameter is empty.
    pub arn: Option<String>,
}

impl SupportMailboxes for ListedMailboxes {
    async fn grants(&self) -> Result<Vec<String>, StoreError> {
        let Some(arn) = &self.arn else { return Ok(Vec::new()) };
        self.secrets.read_list(arn).await.map_err(|error| StoreError(error.to_string()))
    }
}

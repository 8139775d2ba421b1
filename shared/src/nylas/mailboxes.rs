//! What is known of the connected mailboxes: their provider, their own address, and what their folders are for.
//! Asked for once and remembered for an hour, so that a mail seldom costs more than its own calls.

use serde::Deserialize;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use super::{Nylas, NylasError};
use crate::domain::address::EmailAddress;
use crate::domain::notification::GrantId;
use crate::engine::Deadline;

/// How long a mailbox is remembered.
const REMEMBERED_FOR: Duration = Duration::from_hours(1);

/// How soon folders are listed again at the earliest because a mail lies in one that is not known.
const LISTED_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// The most mailboxes that are remembered.
const MOST_MAILBOXES: usize = 2000;

/// A connected account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Grant {
    /// Its id.
    pub id: String,
    /// Its address.
    #[serde(default)]
    pub email: Option<String>,
    /// `google`, `microsoft`, `imap` and so on.
    #[serde(default)]
    pub provider: Option<String>,
    /// `valid` or `invalid`.
    #[serde(default)]
    pub grant_status: Option<String>,
}

impl Grant {
    /// False once the account cannot be reached until its user signs in again.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.grant_status.as_deref() != Some("invalid")
    }

    /// False for accounts that have a calendar or meetings alone.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        !matches!(self.provider.as_deref(), Some("virtual-calendar" | "zoom"))
    }

    /// False for accounts that have a calendar or meetings alone (Nylas's table of supported providers).
    #[must_use]
    pub fn has_contacts(&self) -> bool {
        self.has_mail()
    }

    /// False for accounts that have mail or meetings alone (Nylas's table of supported providers).
    #[must_use]
    pub fn has_calendars(&self) -> bool {
        !matches!(self.provider.as_deref(), Some("imap" | "yahoo" | "zoom"))
    }
}

/// A folder of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Folder {
    /// Its id: what messages name.
    pub id: String,
    /// What it is for (`\Sent`, `\Inbox`, `\Drafts`, …); nothing for folders of the user's own.
    #[serde(default)]
    pub attributes: Option<Vec<String>>,
}

/// What the folders of one mail are for, together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles {
    /// One is the folder of sent mail.
    pub sent: bool,
    /// One is the folder of drafts.
    pub drafts: bool,
    /// One is the folder of unwanted mail.
    pub junk: bool,
}

impl Roles {
    /// The roles of folders whose ids are names, as Google's are.
    #[must_use]
    pub fn by_name(folders: &[String]) -> Self {
        let mut roles = Self::default();
        for folder in folders {
            roles.take_in(folder);
        }
        roles
    }

    /// Adds the role that a folder's name or attribute stands for, if it stands for one.
    fn take_in(&mut self, name: &str) {
        match name.trim_start_matches('\\').to_ascii_lowercase().as_str() {
            "sent" => self.sent = true,
            "draft" | "drafts" => self.drafts = true,
            "junk" | "spam" => self.junk = true,
            _ => {}
        }
    }
}

/// What is asked of Nylas about mailboxes.
pub trait DescribeMailbox: Sync {
    /// All folders of a grant.
    fn folders(
        &self,
        grant: &GrantId,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Folder>, NylasError>> + Send;

    /// The grant itself; none if there is no such grant any more.
    fn grant(
        &self,
        grant: &GrantId,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Grant>, NylasError>> + Send;
}

/// Lists the connected accounts.
pub trait ListGrants: Sync {
    /// Grants from the given one on; none beyond the last.
    fn grants(&self, offset: usize, deadline: Deadline) -> impl Future<Output = Result<Vec<Grant>, NylasError>> + Send;
}

impl ListGrants for Nylas {
    async fn grants(&self, offset: usize, deadline: Deadline) -> Result<Vec<Grant>, NylasError> {
        self.grants(offset, deadline).await
    }
}

/// All connected accounts.
pub async fn all_grants(nylas: &impl ListGrants, deadline: Deadline) -> Result<Vec<Grant>, NylasError> {
    let mut all = Vec::new();
    loop {
        let page = nylas.grants(all.len(), deadline).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

impl DescribeMailbox for Nylas {
    async fn folders(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<Folder>, NylasError> {
        self.folders(grant, deadline).await
    }

    async fn grant(&self, grant: &GrantId, deadline: Deadline) -> Result<Option<Grant>, NylasError> {
        self.grant(grant, deadline).await
    }
}

#[derive(Default)]
struct Remembered {
    grant: Option<(Instant, Option<Grant>)>,
    folders: Option<(Instant, HashMap<String, Vec<String>>)>,
}

/// The connected mailboxes, remembered by an instance across its invocations.
#[derive(Default)]
pub struct Mailboxes(Mutex<HashMap<GrantId, Arc<tokio::sync::Mutex<Remembered>>>>);

impl Mailboxes {
    fn of(&self, grant: &GrantId) -> Arc<tokio::sync::Mutex<Remembered>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_MAILBOXES && !known.contains_key(grant) {
            known.clear();
        }
        Arc::clone(known.entry(grant.clone()).or_default())
    }

    /// False if Nylas knows no such account.
    pub async fn is_known(
        &self,
        nylas: &impl DescribeMailbox,
        grant: &GrantId,
        deadline: Deadline,
    ) -> Result<bool, NylasError> {
        Ok(self.grant(nylas, grant, deadline).await?.is_some())
    }

    /// The provider of a grant; none if the grant is gone.
    pub async fn provider(
        &self,
        nylas: &impl DescribeMailbox,
        grant: &GrantId,
        deadline: Deadline,
    ) -> Result<Option<String>, NylasError> {
        Ok(self.grant(nylas, grant, deadline).await?.and_then(|grant| grant.provider))
    }

    /// The grant's own address; none if it is not known.
    pub async fn own_address(
        &self,
        nylas: &impl DescribeMailbox,
        grant: &GrantId,
        deadline: Deadline,
    ) -> Result<Option<EmailAddress>, NylasError> {
        let grant = self.grant(nylas, grant, deadline).await?;
        Ok(grant.and_then(|grant| EmailAddress::parse(&grant.email?)))
    }

    async fn grant(
        &self,
        nylas: &impl DescribeMailbox,
        grant: &GrantId,
        deadline: Deadline,
    ) -> Result<Option<Grant>, NylasError> {
        // Held while asking: messages of one batch that need the same mailbox ask once.
        let remembered = self.of(grant);
        let mut remembered = remembered.lock().await;
        if let Some((at, known)) = &remembered.grant
            && at.elapsed() < REMEMBERED_FOR
        {
            return Ok(known.clone());
        }
        let found = nylas.grant(grant, deadline).await?;
        remembered.grant = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    /// What the folders of a mail are for, where folder ids are not names. A folder that nobody says anything about
    /// may be one of a user's own or may not have been listed yet; its id is then read as a name.
    pub async fn roles(
        &self,
        nylas: &impl DescribeMailbox,
        grant: &GrantId,
        folders: &[String],
        deadline: Deadline,
    ) -> Result<Roles, NylasError> {
        let remembered = self.of(grant);
        let mut remembered = remembered.lock().await;
        let fresh = match &remembered.folders {
            Some((at, known)) => {
                let all_known = folders.iter().all(|folder| known.contains_key(folder));
                at.elapsed() < if all_known { REMEMBERED_FOR } else { LISTED_AGAIN_AFTER }
            }
            None => false,
        };
        if !fresh && !folders.is_empty() {
            let listed = nylas.folders(grant, deadline).await?;
            let listed = listed.into_iter().map(|folder| (folder.id, folder.attributes.unwrap_or_default())).collect();
            remembered.folders = Some((Instant::now(), listed));
        }
        let mut roles = Roles::default();
        for folder in folders {
            match remembered.folders.as_ref().and_then(|(_, known)| known.get(folder)) {
                Some(attributes) => attributes.iter().for_each(|attribute| roles.take_in(attribute)),
                None => roles.take_in(folder),
            }
        }
        Ok(roles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct FakeNylas {
        calls: AtomicUsize,
        folders: Mutex<Vec<Folder>>,
    }

    impl DescribeMailbox for FakeNylas {
        async fn folders(&self, _: &GrantId, _: Deadline) -> Result<Vec<Folder>, NylasError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(self.folders.lock().expect("not poisoned").clone())
        }

        async fn grant(&self, grant: &GrantId, _: Deadline) -> Result<Option<Grant>, NylasError> {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let email = Some("Rep@Northwind.example".to_owned());
            let provider = Some("imap".to_owned());
            Ok(Some(Grant { id: grant.as_str().to_owned(), email, provider, grant_status: None }))
        }
    }

    fn folder(id: &str, attributes: &[&str]) -> Folder {
        Folder { id: id.to_owned(), attributes: Some(attributes.iter().map(|text| (*text).to_owned()).collect()) }
    }

    fn grant() -> GrantId {
        GrantId::parse("g").expect("a grant")
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn folders_are_listed_once_for_all_messages_that_ask_and_again_after_an_hour() {
        let nylas = FakeNylas::default();
        *nylas.folders.lock().expect("not poisoned") =
            vec![folder("AAMk1", &["\\Sent"]), folder("AAMk2", &["\\Drafts"])];
        let mailboxes = Mailboxes::default();
        let (grant, sent, drafts) = (grant(), ids(&["AAMk1"]), ids(&["AAMk2"]));
        let (one, other) = tokio::join!(
            mailboxes.roles(&nylas, &grant, &sent, soon()),
            mailboxes.roles(&nylas, &grant, &drafts, soon())
        );
        assert_eq!(one, Ok(Roles { sent: true, ..Roles::default() }));
        assert_eq!(other, Ok(Roles { drafts: true, ..Roles::default() }));
        assert_eq!(nylas.calls.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(3601)).await;
        mailboxes.roles(&nylas, &grant, &sent, soon()).await.expect("roles");
        assert_eq!(nylas.calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn folder_that_is_new_is_found_by_listing_again_but_not_for_every_mail() {
        let nylas = FakeNylas::default();
        let mailboxes = Mailboxes::default();
        for _ in 0..3 {
            let roles = mailboxes.roles(&nylas, &grant(), &ids(&["new"]), soon()).await;
            assert_eq!(roles, Ok(Roles::default()));
        }
        assert_eq!(nylas.calls.load(Ordering::SeqCst), 1);
        *nylas.folders.lock().expect("not poisoned") = vec![folder("new", &["\\Junk"])];
        tokio::time::advance(Duration::from_secs(61)).await;
        let roles = mailboxes.roles(&nylas, &grant(), &ids(&["new"]), soon()).await;
        assert_eq!(roles, Ok(Roles { junk: true, ..Roles::default() }));
    }

    #[tokio::test]
    async fn folder_of_the_users_own_has_no_role_even_if_it_is_called_sent() {
        let nylas = FakeNylas::default();
        *nylas.folders.lock().expect("not poisoned") = vec![folder("Sent", &[])];
        let roles = Mailboxes::default().roles(&nylas, &grant(), &ids(&["Sent"]), soon()).await;
        assert_eq!(roles, Ok(Roles::default()));
        let unlisted = Mailboxes::default().roles(&FakeNylas::default(), &grant(), &ids(&["Sent"]), soon()).await;
        assert_eq!(unlisted, Ok(Roles { sent: true, ..Roles::default() }), "where nothing is listed the name is all");
    }

    #[tokio::test]
    async fn provider_and_own_address_cost_one_call() {
        let nylas = FakeNylas::default();
        let mailboxes = Mailboxes::default();
        assert_eq!(mailboxes.provider(&nylas, &grant(), soon()).await, Ok(Some("imap".to_owned())));
        let own = mailboxes.own_address(&nylas, &grant(), soon()).await.expect("an address");
        assert_eq!(own, EmailAddress::parse("rep@northwind.example"));
        assert_eq!(nylas.calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn google_names_its_folders() {
        let roles = Roles::by_name(&ids(&["SENT", "Label_17", "UNREAD"]));
        assert_eq!(roles, Roles { sent: true, ..Roles::default() });
        assert!(Roles::by_name(&ids(&["DRAFT"])).drafts && Roles::by_name(&ids(&["SPAM"])).junk);
    }
}

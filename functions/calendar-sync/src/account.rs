//! Connected accounts, as far as calendars and mail depend on them: while one is lost nothing is notified, and Nylas
//! makes up for no more than 72 hours of it. So a lost account is told of once, with what to do, and once it is back
//! what was missed is fetched.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use shared::alerts::tell;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Admission, Link, LinkKey, LinkState, Version, admit};
use shared::domain::notification::{Envelope, GrantId};
use shared::domain::queue_message::GroupId;
use shared::engine::job::{job_message, send};
use shared::engine::watermark::watermark;
use shared::engine::{Links as _, PutLink, StoredLink, Work};
use shared::nylas::object_in;
use shared::telemetry::{Metric, Metrics};

use crate::FUNCTION;
use crate::process::{CalendarSync, Ports, told_at};

/// The function that handles mail, whose queue gets a job as well.
const MAIL_FUNCTION: &str = "email-activity";

/// The function that handles what notetakers bring.
const NOTETAKER_FUNCTION: &str = "notetaker-media";

/// The function that handles support mail, which knows whether the account is a support mailbox.
const TICKET_FUNCTION: &str = "ticket-triage";

/// What the link of an account says.
const CONNECTED: &str = "connected";
const EXPIRED: &str = "expired";
const DELETED: &str = "deleted";

/// Set once people were told.
const TOLD: &str = "told";

/// What a `grant.*` notification says of an account.
#[derive(Debug, Default, Deserialize)]
struct Account {
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    provider: Option<String>,
    /// True if its user has signed in again.
    #[serde(default)]
    reauthentication_flag: Option<bool>,
}

impl<P: Ports> CalendarSync<'_, P> {
    /// Decides about news of an account.
    pub(crate) async fn account(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let Some(grant) = &envelope.grant else {
            return Err(Failure::permanent("body.incomplete", "the notification names no account"));
        };
        let at = told_at(work);
        let version = Version { sequence: 0, changed_at: at };
        let standing = self.ports.links.get(&account_key(grant)).await?;
        let kind = envelope.trigger.base();
        if admit(standing.as_ref().map(|standing| &standing.link), version, Some(kind)) == Admission::Older {
            return Ok(Decision::skipped("older than what is known of the account"));
        }
        // What cannot be read costs the words of an alert, not the alert.
        let account: Account = object_in(&work.body).unwrap_or_default();
        match kind {
            "grant.expired" => self.lost(grant, &account, kind, version, standing, work).await,
            "grant.created" | "grant.updated" => {
                let was_lost = standing.as_ref().is_some_and(|standing| became(&standing.link) != CONNECTED);
                if was_lost && account.reauthentication_flag == Some(false) {
                    return Ok(Decision::skipped("something else about an account that has expired"));
                }
                let is_back = was_lost || account.reauthentication_flag == Some(true);
                if is_back {
                    self.fetch_what_was_missed(grant, at).await?;
                } else {
                    self.begin_watermarks(grant, at).await?;
                }
                // Anything else about an account says nothing of how it is connected, and must not make that look old.
                if is_back || kind == "grant.created" {
                    self.remember(grant, CONNECTED, kind, version, false, standing).await?;
                }
                Ok(if is_back {
                    Decision::done("account is back: what was missed is looked for")
                } else {
                    Decision::done("account connected: what lies before is brought by a backfill")
                })
            }
            "grant.deleted" => {
                self.remember(grant, DELETED, kind, version, false, standing).await?;
                Ok(Decision::done("account disconnected: nothing more comes from it"))
            }
            _ => Ok(Decision::skipped("nothing to do for this news of an account")),
        }
    }

    /// Tells once that an account has to be connected again.
    async fn lost(
        &self,
        grant: &GrantId,
        account: &Account,
        kind: &str,
        version: Version,
        standing: Option<StoredLink>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let is_told = |link: &Link| became(link) == EXPIRED && link.facts.get(TOLD) == Some(&Value::Bool(true));
        if standing.as_ref().is_some_and(|standing| is_told(&standing.link)) {
            return Ok(Decision::skipped("account expired: told before"));
        }
        // From here on there is a gap, which begins now at the latest.
        self.begin_watermarks(grant, version.changed_at).await?;
        if standing.as_ref().is_none_or(|standing| became(&standing.link) != EXPIRED) {
            tracing::warn!(
                grant.id = grant.as_str(),
                "the account has expired: have its user connect it again in your application"
            );
            let mut metrics = Metrics::new(FUNCTION);
            metrics.add(Metric::GrantsExpired, 1);
            metrics.grant(Some(grant.as_str()));
            metrics.emit();
        }
        // Before anything that may fail: what follows from it does not depend on who was told.
        self.remember(grant, EXPIRED, kind, version, false, standing).await?;
        let words = words_for(grant, account);
        let told = tell(self.ports.alerts, &words, work, self.ports.clock.now()).await?;
        let standing = self.ports.links.get(&account_key(grant)).await?;
        self.remember(grant, EXPIRED, kind, version, true, standing).await?;
        Ok(Decision::done("account expired: told").with("by", told))
    }

    /// Begins to count from here for whoever has not looked an account through yet.
    async fn begin_watermarks(&self, grant: &GrantId, at: i64) -> Result<(), Failure> {
        for function in [FUNCTION, MAIL_FUNCTION, NOTETAKER_FUNCTION, TICKET_FUNCTION] {
            if watermark(self.ports.links, function, grant).await?.is_none() {
                self.advance(function, grant, at).await?;
            }
        }
        Ok(())
    }

    /// True if an account cannot be reached any more, as far as Nylas has told.
    pub(crate) async fn is_lost(&self, grant: &GrantId) -> Result<bool, Failure> {
        let standing = self.ports.links.get(&account_key(grant)).await?;
        Ok(standing.is_some_and(|standing| became(&standing.link) != CONNECTED))
    }

    /// Puts a job into the queues of those who look for what Nylas has not notified of.
    async fn fetch_what_was_missed(&self, grant: &GrantId, at: i64) -> Result<(), Failure> {
        let job = json!({ "type": "reconcile", "grant_id": grant.as_str(), "run": format!("returned.{at}") });
        let group = GroupId::of("reconcile", grant.as_str());
        send(self.ports.queue, &job_message(FUNCTION, group.clone(), &job)?).await?;
        send(self.ports.mail_queue, &job_message(MAIL_FUNCTION, group.clone(), &job)?).await?;
        send(self.ports.notetaker_queue, &job_message(NOTETAKER_FUNCTION, group.clone(), &job)?).await?;
        match self.ports.ticket_queue {
            Some(queue) => send(queue, &job_message(TICKET_FUNCTION, group, &job)?).await,
            None => Ok(()),
        }
    }

    async fn remember(
        &self,
        grant: &GrantId,
        state: &str,
        kind: &str,
        version: Version,
        told: bool,
        standing: Option<StoredLink>,
    ) -> Result<(), Failure> {
        let link = Link {
            key: account_key(grant),
            state: LinkState::Live { became: state.to_owned() },
            version,
            content: Some(kind.to_owned()),
            facts: Map::from_iter([(TOLD.to_owned(), told.into())]),
        };
        let revision = standing.map(|standing| standing.revision);
        match self.ports.links.put(&link, revision, self.ports.clock.now()).await? {
            PutLink::Stored(_) => Ok(()),
            PutLink::Raced => Err(Failure::transient("store.raced", "other news of the account came at the same time")),
        }
    }
}

fn became(link: &Link) -> &str {
    match &link.state {
        LinkState::Live { became } => became,
        LinkState::Tombstone | LinkState::Note => DELETED,
    }
}

fn account_key(grant: &GrantId) -> LinkKey {
    LinkKey::new("account", grant.as_str())
}

fn words_for(grant: &GrantId, account: &Account) -> String {
    let whose = account.email.as_deref().unwrap_or("an account");
    let provider = account.provider.as_deref().map(|provider| format!(" ({provider})")).unwrap_or_default();
    format!(
        "The connection to {whose}{provider} has expired: its mail and meetings no longer reach the CRM. Have its user \
         connect it again in your application; what was missed is fetched then. Nylas grant {grant}."
    )
}

//! Reconciling: support mail that Nylas has not notified of is found by listing what is new since the watermark.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::sync::Mutex;

use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::LinkKey;
use shared::domain::notification::GrantId;
use shared::engine::Work;
use shared::engine::progress::Step;
use shared::mail::reconciling::{AfterLastPage, Job, MailList};
use shared::nylas::mailboxes::Grant;
use shared::reconcile::fan_out;

use crate::FUNCTION;
use crate::ports::Ports;
use crate::process::Triage;

/// Which mailboxes the job for all of them named, so that a job for another one takes nobody's mail for support mail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct SupportMailboxes {
    grants: Vec<String>,
    /// Their addresses, as Nylas knows them.
    #[serde(default)]
    addresses: Vec<String>,
}

/// How long the addresses are used before they are read again.
const READ_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(10);

fn mailboxes_key() -> LinkKey {
    LinkKey::new("support-mailboxes", FUNCTION)
}

impl<P: Ports> Triage<'_, P> {
    pub(crate) async fn reconcile(&self, work: &Work) -> Result<Decision, Failure> {
        let job = Job::read(work)?;
        let Some(grant) = job.grant()? else {
            return self.fan_out(&job, work).await;
        };
        if !self.is_a_support_mailbox(&job, &grant).await? {
            let problem = Some("not a support mailbox, as far as the last nightly run knew".to_owned());
            job.note(FUNCTION, self.ports.links, &self.ports.clock, Step { last: true, problem, ..Step::default() })
                .await?;
            return Ok(Decision::skipped("reconcile: not a support mailbox, whose mail is email-activity's"));
        }
        let list = MailList {
            function: FUNCTION,
            nylas: self.ports.nylas,
            links: self.ports.links,
            decisions: self.ports.decisions,
            queue: self.ports.queue,
            clock: &self.ports.clock,
            then: AfterLastPage::End,
        };
        list.look_through(&job, &grant, work).await
    }

    /// The addresses of all support mailboxes, as far as the last nightly run knew: mail from one to another is ours.
    pub(crate) async fn support_addresses(&self) -> Result<Vec<EmailAddress>, Failure> {
        let now = self.ports.clock.now();
        let mut held = self.support_addresses.lock().await;
        if let Some((at, addresses)) = &*held
            && now.duration_since(*at) < READ_AGAIN_AFTER
        {
            return Ok(addresses.clone());
        }
        let known: SupportMailboxes = self.store().note(&mailboxes_key()).await?.unwrap_or_default();
        let addresses: Vec<EmailAddress> =
            known.addresses.iter().filter_map(|address| EmailAddress::parse(address)).collect();
        *held = Some((now, addresses.clone()));
        Ok(addresses)
    }

    async fn is_a_support_mailbox(&self, job: &Job, grant: &GrantId) -> Result<bool, Failure> {
        if let Some(only) = &job.only_grant_ids {
            return Ok(only.split(',').any(|one| one.trim() == grant.as_str()));
        }
        let known: Option<SupportMailboxes> = self.store().note(&mailboxes_key()).await?;
        Ok(known.is_some_and(|known| known.grants.iter().any(|one| one == grant.as_str())))
    }

    /// One job for each support mailbox.
    async fn fan_out(&self, job: &Job, work: &Work) -> Result<Decision, Failure> {
        let Some(support) = &job.only_grant_ids else {
            return Err(Failure::permanent(
                "body.unreadable",
                "a job for all mailboxes says which are support mailboxes: put them into `only_grant_ids`, separated by \
                 commas, or an empty text",
            ));
        };
        let support: Vec<&str> = support.split(',').map(str::trim).collect();
        let ports = &self.ports;
        let addresses = Mutex::new(Vec::new());
        let wanted = |grant: &Grant| {
            let is_support = support.contains(&grant.id.as_str());
            if is_support && let Ok(mut addresses) = addresses.lock() {
                addresses.extend(grant.email.clone());
            }
            is_support
        };
        let fanned = fan_out(job, FUNCTION, ports.nylas, ports.queue, wanted, work).await?;
        let known = SupportMailboxes {
            grants: support.iter().map(|grant| (*grant).to_owned()).collect(),
            addresses: addresses.into_inner().unwrap_or_default(),
        };
        self.store().change_note(&mailboxes_key(), |note: &mut SupportMailboxes| note.clone_from(&known)).await?;
        let (queued, expired) = (fanned.grants.len(), fanned.expired);
        let (counts, problem) = (fanned.counts(), fanned.problem());
        let step = Step { counts: &counts, last: true, parts: fanned.grants, problem, ..Step::default() };
        job.note(FUNCTION, ports.links, &ports.clock, step).await?;
        Ok(Decision::done("reconcile: one job a support mailbox").with("mailboxes", queued).with("expired", expired))
    }
}

//! Reconciling: mail that Nylas has not notified of is found by listing what is new since the watermark, and mail that
//! nobody in the CRM was known for is tried again once somebody is. Whatever is found goes the ordinary way, as a
//! message in the function's own queue.

use serde_json::{Map, Value};
use std::collections::HashSet;

use shared::crm::BatchLookup;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::engine::progress::Step;
use shared::engine::{Links as _, Waiting, WaitingPlace, Work};
use shared::mail::reconciling::{AfterLastPage, MailList, as_if_notified};
use shared::reconcile::{PageByPage, ReconcileJob, WaitingRoom, fan_out};

use crate::FUNCTION;
use crate::process::{BatchRules, Ports};

/// The link that names the mailboxes that are left out, and the fact that it holds.
const LEFT_OUT: &str = "left-out";

type Job = ReconcileJob<PageByPage>;

impl<P: Ports> BatchRules<'_, '_, P> {
    pub(crate) async fn reconcile(&self, lookup: &BatchLookup<'_, P::Crm>, work: &Work) -> Result<Decision, Failure> {
        let job = Job::read(work)?;
        let Some(grant) = job.grant()? else {
            return self.fan_out(&job, work).await;
        };
        match &job.place.waiting_after {
            None => self.list_mails(&job, &grant, work).await,
            Some(after) => self.try_waiting_again(&job, &grant, after.clone(), lookup, work).await,
        }
    }

    /// One job for each mailbox.
    async fn fan_out(&self, job: &Job, work: &Work) -> Result<Decision, Failure> {
        let Some(left_out) = &job.except_grant_ids else {
            return Err(Failure::permanent(
                "body.unreadable",
                "a job for all mailboxes says which to leave out: put the support mailboxes into `except_grant_ids`, \
                 separated by commas, or an empty text",
            ));
        };
        let left_out: HashSet<&str> = left_out.split(',').map(str::trim).collect();
        let ports = &self.rules.ports;
        let wanted =
            |grant: &shared::nylas::mailboxes::Grant| grant.has_mail() && !left_out.contains(grant.id.as_str());
        let fanned = fan_out(job, FUNCTION, ports.nylas, ports.queue, wanted, work).await?;
        let (queued, expired) = (fanned.grants.len(), fanned.expired);
        self.remember_left_out(&left_out).await?;
        let (counts, problem) = (fanned.counts(), fanned.problem());
        let step = Step { counts: &counts, last: true, parts: fanned.grants, problem, ..Step::default() };
        job.note(FUNCTION, ports.links, &ports.clock, step).await?;
        Ok(Decision::done("reconcile: one job a mailbox").with("mailboxes", queued).with("expired", expired))
    }

    /// One page of a mailbox that is not left out: what has no record yet goes into the queue.
    async fn list_mails(&self, job: &Job, grant: &GrantId, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        if self.is_left_out(grant).await? {
            let problem = Some("a support mailbox: its mail is ticket-triage's".to_owned());
            job.note(FUNCTION, ports.links, &ports.clock, Step { last: true, problem, ..Step::default() }).await?;
            return Ok(Decision::skipped("reconcile: a support mailbox, whose mail is ticket-triage's"));
        }
        let list = MailList {
            function: FUNCTION,
            nylas: ports.nylas,
            links: ports.links,
            decisions: ports.decisions,
            queue: ports.queue,
            clock: &ports.clock,
            then: AfterLastPage::Waiting,
        };
        list.look_through(job, grant, work).await
    }

    /// Looks the addresses of waiting decisions up again; mail with somebody known on it by now goes into the queue.
    async fn try_waiting_again(
        &self,
        job: &Job,
        grant: &GrantId,
        after: WaitingPlace,
        lookup: &BatchLookup<'_, P::Crm>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        let room = WaitingRoom {
            decisions: ports.decisions,
            queue: ports.queue,
            links: ports.links,
            lookup,
            clock: &ports.clock,
        };
        let version = || format!("contact.{}", job.run());
        let again = |waiting: &Waiting| as_if_notified(FUNCTION, grant, &waiting.object, None, version());
        let looked = room.look_through(job, FUNCTION, grant, after, work, again).await?;
        Ok(Decision::done("reconcile: mail without a known contact")
            .with("looked_at", looked.looked_at)
            .with("matched", looked.matched))
    }

    /// Remembers which mailboxes the job for all of them leaves out, so that a job for one of them is left out as well.
    async fn remember_left_out(&self, left_out: &HashSet<&str>) -> Result<(), Failure> {
        let ports = &self.rules.ports;
        let facts = Map::from_iter([(LEFT_OUT.to_owned(), left_out.iter().copied().collect::<Vec<_>>().into())]);
        let key = LinkKey::new(LEFT_OUT, FUNCTION);
        let link = Link { key, state: LinkState::Note, version: Version::default(), content: None, facts };
        let standing = ports.links.get(&link.key).await?;
        let revision = standing.map(|standing| standing.revision);
        // Whoever was faster knew the same.
        ports.links.put(&link, revision, ports.clock.now()).await?;
        Ok(())
    }

    async fn is_left_out(&self, grant: &GrantId) -> Result<bool, Failure> {
        let standing = self.rules.ports.links.get(&LinkKey::new(LEFT_OUT, FUNCTION)).await?;
        let left_out = standing.and_then(|mut standing| standing.link.facts.remove(LEFT_OUT));
        Ok(left_out.as_ref().and_then(Value::as_array).is_some_and(|grants| grants.contains(&grant.as_str().into())))
    }
}

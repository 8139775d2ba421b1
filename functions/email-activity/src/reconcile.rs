//! Reconciling: mail that Nylas has not notified of is found by listing what is new since the watermark, and mail that
//! nobody in the CRM was known for is tried again once somebody is. Whatever is found goes the ordinary way, as a
//! message in the function's own queue.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

use shared::crm::BatchLookup;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::domain::queue_message::GroupId;
use shared::engine::job::send;
use shared::engine::progress::Step;
use shared::engine::watermark::{advance_watermark, watermark};
use shared::engine::{Decisions as _, Links as _, OwnMessage, Waiting, WaitingPlace, Work};
use shared::nylas::{MessageId, Received};
use shared::reconcile::{
    AsIfNotified, NOTHING_BETWEEN, PageByPage, RECOVERED, ReconcileJob, SIDE_BY_SIDE, WaitingRoom, fan_out,
};

use crate::FUNCTION;
use crate::process::{BatchRules, Ports, ReadMail as _};

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

    /// One page of a mailbox: what has no record yet goes into the queue.
    async fn list_mails(&self, job: &Job, grant: &GrantId, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        if self.is_left_out(grant).await? {
            let problem = Some("a support mailbox: its mail is ticket-triage's".to_owned());
            job.note(FUNCTION, ports.links, &ports.clock, Step { last: true, problem, ..Step::default() }).await?;
            return Ok(Decision::skipped("reconcile: a support mailbox, whose mail is ticket-triage's"));
        }
        let mark = watermark(ports.links, FUNCTION, grant).await?;
        let Some(span) = job.span(mark, work) else {
            let step = Step { last: true, problem: Some(NOTHING_BETWEEN.to_owned()), ..Step::default() };
            job.note(FUNCTION, ports.links, &ports.clock, step).await?;
            return Ok(Decision::skipped("reconcile: nothing between from and to"));
        };
        let received = Received { after: span.from - 1, before: span.to };
        let page = ports.nylas.messages(grant, received, job.place.page_token.as_deref(), work.deadline).await;
        let page = match page {
            // A grant that is not there has no mail, and never will.
            Err(error) if error.is_refused() => {
                let problem =
                    format!("the mail of the account {grant} cannot be listed: {error}; is that its grant id?");
                let step = Step { last: true, problem: Some(problem.clone()), ..Step::default() };
                job.note(FUNCTION, ports.links, &ports.clock, step).await?;
                return Ok(Decision::held("reconcile: the mailbox cannot be read").with("problem", problem));
            }
            // What it missed is fetched when it is back: the watermark stays where it is, and there is one from now on.
            Err(error) if error.is_out_of_reach() => {
                if mark.is_none() && span.closes_the_gap {
                    self.advance(grant, span.from).await?;
                }
                let problem = Some(error.to_string());
                let step = Step { last: true, problem, ..Step::default() };
                job.note(FUNCTION, ports.links, &ports.clock, step).await?;
                return Ok(Decision::held("reconcile: the mailbox is out of reach").with("problem", error.to_string()));
            }
            other => other?,
        };
        let listed = page.items.len() as u64;
        let unseen: Vec<MessageId> = futures_util::stream::iter(page.items)
            .map(async |mail| {
                let known = ports.decisions.is_known(FUNCTION, grant.as_str(), &mail.id).await?;
                Ok::<_, Failure>((!known).then_some(mail))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_filter_map(async |unseen| Ok(unseen))
            .try_collect()
            .await?;
        let missed = unseen.len() as u64;
        futures_util::stream::iter(unseen)
            .map(async |mail| {
                let version = format!("{}.{}", mail.date.unwrap_or_default(), job.run());
                send(ports.queue, &as_if_notified(grant, &mail.id, mail.thread_id.as_deref(), version)).await
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        if page.next.is_none() && span.closes_the_gap {
            self.advance(grant, span.to).await?;
        }
        let place = PageByPage::after(page.next, work);
        let next = Job { listed: job.listed + listed, missed: job.missed + missed, ..job.next(span, place) };
        send(ports.queue, &next.to_message(FUNCTION)?).await?;
        let counts = [("listed", listed), (RECOVERED, missed)];
        job.note(FUNCTION, ports.links, &ports.clock, Step { counts: &counts, ..Step::default() }).await?;
        Ok(Decision::done("reconcile: a page of mail")
            .with("from", span.from)
            .with("to", span.to)
            .with("listed", listed)
            .with("missed", missed))
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
        let again = |waiting: &Waiting| as_if_notified(grant, &waiting.object, None, version());
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

    async fn advance(&self, grant: &GrantId, to: i64) -> Result<(), Failure> {
        let ports = &self.rules.ports;
        let Ok(to) = Timestamp::from_second(to) else { return Ok(()) };
        advance_watermark(ports.links, FUNCTION, grant, to, ports.clock.now()).await.map_err(Failure::from)
    }
}

/// A mail as if Nylas had notified of it.
fn as_if_notified(grant: &GrantId, id: &str, thread: Option<&str>, version: String) -> OwnMessage {
    let group = thread.map_or_else(|| GroupId::of("message", id), |thread| GroupId::of("thread", thread));
    let object = json!({ "object": "message", "id": id, "grant_id": grant.as_str(), "thread_id": thread });
    AsIfNotified { function: FUNCTION, trigger: "message.created.transformed", version, object, group }.to_message()
}

//! Mail that Nylas has not notified of: a mailbox is listed page by page, and what has no decision goes into the
//! function's own queue as if Nylas had notified of it.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde_json::json;

use super::reading::ReadMail;
use crate::domain::decision::Decision;
use crate::domain::failure::Failure;
use crate::domain::notification::GrantId;
use crate::domain::queue_message::GroupId;
use crate::engine::job::send;
use crate::engine::progress::Step;
use crate::engine::watermark::{advance_watermark, watermark};
use crate::engine::{Clock, Decisions, Links, OwnMessage, SendToQueue, Work};
use crate::nylas::{MessageId, Received};
use crate::reconcile::{AsIfNotified, NOTHING_BETWEEN, PageByPage, RECOVERED, ReconcileJob, SIDE_BY_SIDE};

/// The job of a mailbox.
pub type Job = ReconcileJob<PageByPage>;

/// What follows once the last page of a mailbox is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterLastPage {
    /// A job that looks at the decisions that wait.
    Waiting,
    /// Nothing: the run of this mailbox ends.
    End,
}

/// Where a job finds mails that a function has not seen, and takes them.
pub struct MailList<'a, N, L, D, Q> {
    /// The function, by its name.
    pub function: &'static str,
    /// Nylas.
    pub nylas: &'a N,
    /// Where watermarks and the run's progress are kept.
    pub links: &'a L,
    /// What was decided before.
    pub decisions: &'a D,
    /// The function's own queue.
    pub queue: &'a Q,
    /// The time of day.
    pub clock: &'a Clock,
    /// What follows the last page.
    pub then: AfterLastPage,
}

impl<N: ReadMail, L: Links, D: Decisions, Q: SendToQueue> MailList<'_, N, L, D, Q> {
    /// Lists one page of a mailbox, sends what has no record yet, and leaves the rest to a job of its own.
    ///
    /// # Errors
    /// If Nylas, the tables or the queue do not answer.
    pub async fn look_through(&self, job: &Job, grant: &GrantId, work: &Work) -> Result<Decision, Failure> {
        let mark = watermark(self.links, self.function, grant).await?;
        let Some(span) = job.span(mark, work) else {
            self.end(job, NOTHING_BETWEEN.to_owned()).await?;
            return Ok(Decision::skipped("reconcile: nothing between from and to"));
        };
        let received = Received { after: span.from - 1, before: span.to };
        let page = self.nylas.messages(grant, received, job.place.page_token.as_deref(), work.deadline).await;
        let page = match page {
            // A grant that is not there has no mail, and never will.
            Err(error) if error.is_refused() => {
                let problem =
                    format!("the mail of the account {grant} cannot be listed: {error}; is that its grant id?");
                self.end(job, problem.clone()).await?;
                return Ok(Decision::held("reconcile: the mailbox cannot be read").with("problem", problem));
            }
            // What it missed is fetched when it is back: the watermark stays where it is, and there is one from now on.
            Err(error) if error.is_out_of_reach() => {
                if mark.is_none() && span.closes_the_gap {
                    self.advance(grant, span.from).await?;
                }
                self.end(job, error.to_string()).await?;
                return Ok(Decision::held("reconcile: the mailbox is out of reach").with("problem", error.to_string()));
            }
            other => other?,
        };
        let listed = page.items.len() as u64;
        let missed = self.send_unseen(page.items, job, grant).await?;
        if page.next.is_none() && span.closes_the_gap {
            self.advance(grant, span.to).await?;
        }
        let counts = [("listed", listed), (RECOVERED, missed)];
        let counted = Job { listed: job.listed + listed, missed: job.missed + missed, ..job.clone() };
        if page.next.is_none() && self.then == AfterLastPage::End {
            // No further job tells what all pages came to.
            let step = Step { counts: &counts, last: true, ..Step::default() };
            counted.note(self.function, self.links, self.clock, step).await?;
        } else {
            let next = counted.next(span, PageByPage::after(page.next, work));
            send(self.queue, &next.to_message(self.function)?).await?;
            job.note(self.function, self.links, self.clock, Step { counts: &counts, ..Step::default() }).await?;
        }
        Ok(Decision::done("reconcile: a page of mail")
            .with("from", span.from)
            .with("to", span.to)
            .with("listed", listed)
            .with("missed", missed))
    }

    /// Sends the mails that the function has no record of, and counts them.
    async fn send_unseen(&self, mails: Vec<MessageId>, job: &Job, grant: &GrantId) -> Result<u64, Failure> {
        let unseen: Vec<MessageId> = futures_util::stream::iter(mails)
            .map(async |mail| {
                let known = self.decisions.is_known(self.function, grant.as_str(), &mail.id).await?;
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
                let message = as_if_notified(self.function, grant, &mail.id, mail.thread_id.as_deref(), version);
                send(self.queue, &message).await
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(missed)
    }

    /// Ends the run of a mailbox because of a problem.
    async fn end(&self, job: &Job, problem: String) -> Result<(), Failure> {
        let step = Step { last: true, problem: Some(problem), ..Step::default() };
        job.note(self.function, self.links, self.clock, step).await
    }

    async fn advance(&self, grant: &GrantId, to: i64) -> Result<(), Failure> {
        let Ok(to) = Timestamp::from_second(to) else { return Ok(()) };
        advance_watermark(self.links, self.function, grant, to, self.clock.now()).await.map_err(Failure::from)
    }
}

/// A mail as if Nylas had notified a function of it. The `version` is such that the same find is one message.
#[must_use]
pub fn as_if_notified(
    function: &'static str,
    grant: &GrantId,
    id: &str,
    thread: Option<&str>,
    version: String,
) -> OwnMessage {
    let group = thread.map_or_else(|| GroupId::of("message", id), |thread| GroupId::of("thread", thread));
    let object = json!({ "object": "message", "id": id, "grant_id": grant.as_str(), "thread_id": thread });
    AsIfNotified { function, trigger: "message.created.transformed", version, object, group }.to_message()
}

#[cfg(test)]
mod tests;

//! Reconciling: mail that Nylas has not notified of is found by listing what is new since the watermark, and mail that
//! nobody in the CRM was known for is tried again once somebody is. Whatever is found goes the ordinary way, as a
//! message in the function's own queue.
//!
//! One job without a grant, put into the queue by a schedule, becomes one job a grant. A job works on one page; what
//! is left is a job of its own, so that an invocation never runs long and a crash costs no more than a page.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

use shared::crm::BatchLookup;
use shared::crm::matching::{addresses_to_look_up, match_contacts};
use shared::domain::address::EmailAddress;
use shared::domain::decision::{Decision, WAITING_DAYS};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::notification::{GrantId, NotificationId};
use shared::domain::queue_message::{GroupId, deduplication_id};
use shared::engine::watermark::{advance_watermark, watermark};
use shared::engine::{Decisions as _, OwnMessage, SendToOwnQueue as _, WaitingPlace, Work};
use shared::nylas::{MessageId, Received};
use shared::telemetry::Metrics;

use crate::FUNCTION;
use crate::process::{BatchRules, Ports, ReadMail as _, store_failure};

/// How far back the first reconciliation of a grant goes.
const FIRST_HOURS: i64 = 24;

/// How far before the watermark mail is listed again: providers hand mail over late, and out of order.
const OVERLAP_HOURS: i64 = 1;

/// How many waiting decisions one job reads.
const WAITING_PAGE: usize = 100;

/// How many of them it looks up, at most.
const MOST_LOOKED_AT: usize = 20;

/// In which nights a waiting decision is looked at again, counted in whole days since it was made: often at first, then
/// seldom, so that strangers cost the CRM half as many calls as if they were asked for every night.
const NIGHTS: [i64; 7] = [0, 1, 2, 4, 7, 10, 13];

/// True if the decision at this place is to be looked at again in this run.
pub(crate) fn is_due(place: &WaitingPlace, now: Timestamp) -> bool {
    let made: Option<Timestamp> = place.at.parse().ok();
    made.is_none_or(|made| NIGHTS.contains(&(now.duration_since(made).as_hours() / 24)))
}

/// A job stops looking at waiting decisions with less than this left.
const ENOUGH_TIME: Duration = Duration::from_secs(8);

/// How many records are looked for, and messages sent, at a time.
const SIDE_BY_SIDE: usize = 10;

/// `{"type":"reconcile", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    #[serde(rename = "type")]
    kind: String,
    /// Makes a job that was sent twice one job.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// One mailbox; none for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_id: Option<String>,
    /// Tells one run from another: a job of the same run that was sent twice is one job.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// Mailboxes to leave out, separated by commas: support mail is ticket-triage's.
    #[serde(skip_serializing_if = "Option::is_none")]
    except_grant_ids: Option<String>,
    /// From when, in Unix seconds; none for the watermark.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    /// Until when, in Unix seconds; none for the time at which the job was sent, which is also the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<i64>,
    /// True if the span begins where the last one ended, so that the watermark may move to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_the_gap: Option<bool>,
    /// Which page of the mails.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
    /// All mails are looked through; next come the decisions that wait, after this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_after: Option<WaitingPlace>,
}

impl Job {
    /// Until when: a watermark in the future would hide what is missed until then.
    fn end(&self, work: &Work) -> i64 {
        let sent_at = work.sent_at.as_second();
        self.to.map_or(sent_at, |to| to.min(sent_at))
    }

    /// The same job with an id made of all that it says, as a message for the queue.
    fn into_message(self, group: &str) -> Result<OwnMessage, Failure> {
        let unreadable = |error: serde_json::Error| Failure::permanent("job.unwritable", error.to_string());
        let said = serde_json::to_string(&Self { id: None, ..self.clone() }).map_err(unreadable)?;
        let id = NotificationId::of_our_own("job", &sha256_hex(&[said.as_bytes()]));
        let body = serde_json::to_string(&Self { id: Some(id.as_str().to_owned()), ..self }).map_err(unreadable)?;
        Ok(OwnMessage {
            body,
            group: GroupId::of("reconcile", group),
            deduplication_id: deduplication_id(FUNCTION, &id),
        })
    }
}

impl<P: Ports> BatchRules<'_, '_, P> {
    pub(crate) async fn reconcile(&self, lookup: &BatchLookup<'_, P::Crm>, work: &Work) -> Result<Decision, Failure> {
        let mut job: Job = serde_json::from_str(&work.body).map_err(|error| {
            Failure::permanent(
                "body.unreadable",
                format!("the job is not {{\"type\":\"reconcile\",\"grant_id\",\"from\"?,\"to\"?}} with times in Unix seconds: {error}"),
            )
        })?;
        // The first job of a run names it, the same on every try.
        job.run.get_or_insert_with(|| work.sent_at.as_millisecond().to_string());
        let Some(grant) = &job.grant_id else {
            return self.fan_out(&job, work).await;
        };
        let grant = GrantId::parse(grant)
            .ok_or_else(|| Failure::permanent("body.unreadable", "the job's `grant_id` is empty or too long"))?;
        match &job.waiting_after {
            None => self.list_mails(&job, &grant, work).await,
            Some(after) => self.try_waiting_again(&job, &grant, after.clone(), lookup, work).await,
        }
    }

    /// One job for each mailbox.
    async fn fan_out(&self, job: &Job, work: &Work) -> Result<Decision, Failure> {
        let (mut offset, mut queued, mut expired) = (0, 0_usize, 0_usize);
        let Some(left_out) = &job.except_grant_ids else {
            return Err(Failure::permanent(
                "body.unreadable",
                "a job for all mailboxes says which to leave out: put the support mailboxes into `except_grant_ids`, \
                 separated by commas, or an empty text",
            ));
        };
        let left_out: HashSet<&str> = left_out.split(',').map(str::trim).collect();
        let to = Some(job.end(work));
        loop {
            let grants = self.rules.ports.nylas.grants(offset, work.deadline).await?;
            if grants.is_empty() {
                break;
            }
            offset += grants.len();
            let with_mail =
                grants.into_iter().filter(|grant| grant.has_mail() && !left_out.contains(grant.id.as_str()));
            let (valid, invalid): (Vec<_>, Vec<_>) = with_mail.partition(shared::nylas::mailboxes::Grant::is_valid);
            expired += invalid.len();
            queued += valid.len();
            futures_util::stream::iter(valid)
                .map(async |grant| {
                    let grant_id = Some(grant.id.clone());
                    let one = Job { id: None, grant_id, except_grant_ids: None, to, ..job.clone() };
                    self.send(one.into_message(&grant.id)?).await
                })
                .buffer_unordered(SIDE_BY_SIDE)
                .try_collect::<Vec<()>>()
                .await?;
        }
        Ok(Decision::done("reconcile: one job a mailbox").with("mailboxes", queued).with("expired", expired))
    }

    /// One page of a mailbox: what has no record yet goes into the queue.
    async fn list_mails(&self, job: &Job, grant: &GrantId, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        let to = job.end(work);
        let mark = watermark(ports.links, FUNCTION, grant).await.map_err(store_failure)?;
        let from = job.from.unwrap_or_else(|| match mark {
            Some(mark) => mark.as_second() - OVERLAP_HOURS * 3600,
            None => to - FIRST_HOURS * 3600,
        });
        if from >= to {
            return Ok(Decision::skipped("reconcile: nothing between from and to").with("from", from).with("to", to));
        }
        // Judged on the first page; a span that begins after the watermark would leave a gap behind it.
        let closes_the_gap =
            job.closes_the_gap.unwrap_or_else(|| mark.map_or(job.from.is_none(), |mark| from <= mark.as_second()));
        let received = Received { after: from - 1, before: to };
        let page = ports.nylas.messages(grant, received, job.page_token.as_deref(), work.deadline).await;
        let page = match page {
            // What it missed is fetched when it is back: the watermark stays where it is, and there is one from now on.
            Err(error) if error.is_out_of_reach() => {
                if mark.is_none() && closes_the_gap {
                    self.advance(grant, from).await?;
                }
                return Ok(Decision::held("reconcile: the mailbox is out of reach").with("problem", error.to_string()));
            }
            other => other?,
        };
        let listed = page.items.len();
        let unseen: Vec<MessageId> = futures_util::stream::iter(page.items)
            .map(async |mail| {
                let known =
                    ports.decisions.is_known(FUNCTION, grant.as_str(), &mail.id).await.map_err(store_failure)?;
                Ok::<_, Failure>((!known).then_some(mail))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_filter_map(async |unseen| Ok(unseen))
            .try_collect()
            .await?;
        let missed = unseen.len();
        futures_util::stream::iter(unseen)
            .map(async |mail| {
                let version = format!("{}.{}", mail.date.unwrap_or_default(), job.run.as_deref().unwrap_or_default());
                self.send(notification_of(grant, &mail.id, mail.thread_id.as_deref(), &version)).await
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        let next = if page.next.is_some() {
            let closes_the_gap = Some(closes_the_gap);
            Job { id: None, from: Some(from), to: Some(to), closes_the_gap, page_token: page.next, ..job.clone() }
        } else {
            if closes_the_gap {
                self.advance(grant, to).await?;
            }
            let since = work.sent_at.checked_sub((WAITING_DAYS * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
            let waiting_after = Some(WaitingPlace::before(since));
            Job { id: None, from: Some(from), to: Some(to), page_token: None, waiting_after, ..job.clone() }
        };
        self.send(next.into_message(grant.as_str())?).await?;
        count(missed);
        Ok(Decision::done("reconcile: a page of mail")
            .with("from", from)
            .with("to", to)
            .with("listed", listed)
            .with("missed", missed))
    }

    /// Looks the addresses of waiting decisions up again; mail with somebody known on it by now goes into the queue.
    async fn try_waiting_again(
        &self,
        job: &Job,
        grant: &GrantId,
        mut after: WaitingPlace,
        lookup: &BatchLookup<'_, P::Crm>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        let waiting =
            ports.decisions.waiting(FUNCTION, grant.as_str(), &after, WAITING_PAGE).await.map_err(store_failure)?;
        let (mut passed, mut looked_at, mut matched) = (0, 0, 0);
        for waiting_one in &waiting {
            if !is_due(&waiting_one.place, work.sent_at) {
                after = waiting_one.place.clone();
                passed += 1;
                continue;
            }
            if looked_at == MOST_LOOKED_AT || work.deadline.left() < ENOUGH_TIME && looked_at > 0 {
                break;
            }
            let addresses: Vec<EmailAddress> =
                waiting_one.addresses.iter().filter_map(|address| EmailAddress::parse(address)).collect();
            let known = lookup.find(&addresses_to_look_up(&addresses), work.deadline).await?;
            if match_contacts(&addresses, None, &known).is_ok() {
                let version = format!("contact.{}", job.run.as_deref().unwrap_or_default());
                self.send(notification_of(grant, &waiting_one.object, None, &version)).await?;
                ports.decisions.waits_no_longer(waiting_one).await.map_err(store_failure)?;
                matched += 1;
            }
            after = waiting_one.place.clone();
            passed += 1;
            looked_at += 1;
        }
        let more = passed < waiting.len() || waiting.len() == WAITING_PAGE;
        if more {
            let next = Job { id: None, waiting_after: Some(after), ..job.clone() };
            self.send(next.into_message(grant.as_str())?).await?;
        }
        count(matched);
        Ok(Decision::done("reconcile: mail without a known contact")
            .with("looked_at", looked_at)
            .with("matched", matched))
    }

    async fn advance(&self, grant: &GrantId, to: i64) -> Result<(), Failure> {
        let ports = &self.rules.ports;
        let Ok(to) = Timestamp::from_second(to) else { return Ok(()) };
        advance_watermark(ports.links, FUNCTION, grant, to, ports.clock.now()).await.map_err(store_failure)
    }

    async fn send(&self, message: OwnMessage) -> Result<(), Failure> {
        let sent = self.rules.ports.queue.send(&message).await;
        sent.map_err(|error| Failure::transient("queue.unavailable", error.0))
    }
}

fn count(recovered: usize) {
    let mut metrics = Metrics::new(FUNCTION);
    if recovered > 0 {
        metrics.add("Recovered", recovered as u64);
    }
    metrics.emit();
}

/// A mail as if Nylas had notified of it: its ids alone, so that it is fetched as it stands when its turn comes.
fn notification_of(grant: &GrantId, id: &str, thread: Option<&str>, version: &str) -> OwnMessage {
    let notification = NotificationId::of_our_own("reconcile", &format!("{id}:{version}"));
    let body = json!({
        "specversion": "1.0",
        "type": "message.created.transformed",
        "source": "/crm-autopilot/reconcile",
        "id": notification.as_str(),
        "data": { "object": { "object": "message", "id": id, "grant_id": grant.as_str(), "thread_id": thread } },
    });
    OwnMessage {
        body: body.to_string(),
        group: thread.map_or_else(|| GroupId::of("message", id), |thread| GroupId::of("thread", thread)),
        deduplication_id: deduplication_id(FUNCTION, &notification),
    }
}

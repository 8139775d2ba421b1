//! Reconciling, as far as it is the same for every function that does it: the job, one for each account, the span of
//! time that it covers, and decisions that wait for somebody to become a contact.
//!
//! One job without a grant, put into the queue by a schedule, becomes one job a grant. A job works on one page; what
//! is left is a job of its own, so that an invocation never runs long and a crash costs no more than a page.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{Timestamp, ToSpan as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

use crate::crm::matching::{addresses_to_look_up, match_contacts};
use crate::crm::{BatchLookup, FindContacts};
use crate::domain::address::EmailAddress;
use crate::domain::decision::WAITING_DAYS;
use crate::domain::failure::Failure;
use crate::domain::link::LinkKey;
use crate::domain::notification::{GrantId, NotificationId};
use crate::domain::queue_message::{GroupId, deduplication_id};
use crate::engine::job::{job_message, send};
use crate::engine::progress::{Step, advance, run_key};
use crate::engine::{Clock, Decisions, Links, OwnMessage, SendToQueue, Waiting, WaitingPlace, Work};
use crate::nylas::mailboxes::{Grant, ListGrants, all_grants};
use crate::telemetry::{Metric, Metrics};

/// How far back the first reconciliation of a grant goes, in hours.
const FIRST_HOURS: i64 = 24;

/// How far before the watermark things are listed again, in hours: providers hand them over late, and out of order.
const OVERLAP_HOURS: i64 = 1;

/// How many waiting decisions one job reads.
const WAITING_PAGE: usize = 100;

/// How many of them it looks up, at most.
const MOST_LOOKED_AT: usize = 20;

/// A job stops looking at waiting decisions with less than this left.
const ENOUGH_TIME: Duration = Duration::from_secs(8);

/// How many things are looked for, and messages sent, at a time.
pub const SIDE_BY_SIDE: usize = 10;

/// In which nights a waiting decision is looked at again, counted in whole days since it was made: often at first, then
/// seldom, so that strangers cost the CRM half as many calls as if they were asked for every night.
const NIGHTS: [i64; 7] = [0, 1, 2, 4, 7, 10, 13];

/// True if the decision at this place is to be looked at again in this run.
#[must_use]
pub fn is_due(place: &WaitingPlace, now: Timestamp) -> bool {
    let made: Option<Timestamp> = place.at.parse().ok();
    made.is_none_or(|made| NIGHTS.contains(&(now.duration_since(made).as_hours() / 24)))
}

/// `{"type":"reconcile", …}`; `P` is the place within a grant that a function has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconcileJob<P> {
    /// Always `reconcile`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One account; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
    /// Tells one run from another: a job of the same run that was sent twice is one job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Accounts to leave out, separated by commas: support mail is ticket-triage's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub except_grant_ids: Option<String>,
    /// Accounts that a job for all is limited to, separated by commas: the support mailboxes, for ticket-triage. None
    /// for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_grant_ids: Option<String>,
    /// From when, in Unix seconds; none for the watermark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// Until when, in Unix seconds; none for the time at which the job was sent, which is also the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// True if the span begins where the last one ended, so that the watermark may move to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_the_gap: Option<bool>,
    /// How many jobs of this grant came before.
    #[serde(default)]
    pub step: u64,
    /// How many things they listed that are new or were changed within the span.
    #[serde(default)]
    pub listed: u64,
    /// How many of those Nylas had not notified of.
    #[serde(default)]
    pub missed: u64,
    /// The place within the grant.
    #[serde(flatten)]
    pub place: P,
}

/// The span of time that a job covers, in Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From when.
    pub from: i64,
    /// Until when.
    pub to: i64,
    /// True if the watermark may move to the end.
    pub closes_the_gap: bool,
}

impl<P: Clone + Default + Serialize + DeserializeOwned> ReconcileJob<P> {
    /// The job in a message.
    ///
    /// # Errors
    /// A permanent one that says how the job looks, if it is another.
    pub fn read(work: &Work) -> Result<Self, Failure> {
        let mut job: Self = serde_json::from_str(&work.body).map_err(|error| {
            Failure::permanent(
                "body.unreadable",
                format!(
                    "the job is not {{\"type\":\"reconcile\",\"grant_id\",\"from\"?,\"to\"?}} with times in Unix seconds: {error}"
                ),
            )
        })?;
        // The first job of a run names it, the same on every try.
        job.run.get_or_insert_with(|| work.sent_at.as_millisecond().to_string());
        Ok(job)
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

    /// The name of the run.
    #[must_use]
    pub fn run(&self) -> &str {
        self.run.as_deref().unwrap_or_default()
    }

    /// Until when: a watermark in the future would hide what is missed until then.
    #[must_use]
    pub fn end(&self, work: &Work) -> i64 {
        let sent_at = work.sent_at.as_second();
        self.to.map_or(sent_at, |to| to.min(sent_at))
    }

    /// The span that the job covers, beginning a little before the watermark; none if there is nothing in it.
    #[must_use]
    pub fn span(&self, mark: Option<Timestamp>, work: &Work) -> Option<Span> {
        let to = self.end(work);
        let from = self.from.unwrap_or_else(|| match mark {
            Some(mark) => mark.as_second() - OVERLAP_HOURS * 3600,
            None => to - FIRST_HOURS * 3600,
        });
        // Judged on the first page; a span that begins after the watermark would leave a gap behind it.
        let closes_the_gap =
            self.closes_the_gap.unwrap_or_else(|| mark.map_or(self.from.is_none(), |mark| from <= mark.as_second()));
        (from < to).then_some(Span { from, to, closes_the_gap })
    }

    /// The job that goes on at another place of the same grant, within the span that was found.
    #[must_use]
    pub fn next(&self, span: Span, place: P) -> Self {
        let (from, to) = (Some(span.from), Some(span.to));
        Self { from, to, closes_the_gap: Some(span.closes_the_gap), step: self.step + 1, place, ..self.clone() }
    }

    /// The job as a message for the queue of a function.
    ///
    /// # Errors
    /// None that can be met: a job can always be written.
    pub fn to_message(&self, function: &str) -> Result<OwnMessage, Failure> {
        job_message(function, GroupId::of("reconcile", self.grant_id.as_deref().unwrap_or("all")), self)
    }

    /// The key of what the run came to: of one grant, or of all.
    #[must_use]
    pub fn progress_key(&self, function: &str) -> LinkKey {
        run_key(function, &part_of(self.run(), self.grant_id.as_deref()))
    }

    /// Notes what this job came to, and ends the run with its metrics if no other follows.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn note(
        &self,
        function: &'static str,
        links: &impl Links,
        clock: &Clock,
        step: Step<'_>,
    ) -> Result<(), Failure> {
        let step = Step { number: self.step, ..step };
        let noted = advance(links, &self.progress_key(function), &step, clock.now()).await?;
        let mut metrics = Metrics::new(function);
        metrics.grant(self.grant_id.as_deref());
        if let Some((_, recovered)) = step.counts.iter().find(|(name, count)| *name == RECOVERED && *count > 0) {
            metrics.add(Metric::Recovered, *recovered);
        }
        if noted.ended && self.listed > 0 {
            metrics.percentage(Metric::Coverage, self.listed.saturating_sub(self.missed), self.listed);
        }
        metrics.emit();
        Ok(())
    }
}

/// The count of what a job found and put into the queue.
pub const RECOVERED: &str = "recovered";

/// The name of a run's part.
#[must_use]
pub fn part_of(run: &str, grant: Option<&str>) -> String {
    grant.map_or_else(|| run.to_owned(), |grant| format!("{run}/{grant}"))
}

/// How far a job has come within an account whose things are listed page by page, and after them the decisions that wait.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PageByPage {
    /// Which page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_token: Option<String>,
    /// All is looked through; next come the decisions that wait, after this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_after: Option<WaitingPlace>,
}

impl PageByPage {
    /// The place after a page: the next one, or behind the last one the decisions that have waited for [`WAITING_DAYS`]
    /// at most.
    #[must_use]
    pub fn after(next_page: Option<String>, work: &Work) -> Self {
        let since = work.sent_at.checked_sub((WAITING_DAYS * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
        let waiting_after = next_page.is_none().then(|| WaitingPlace::before(since));
        Self { page_token: next_page, waiting_after }
    }
}

/// Where a job finds decisions that wait, and takes what has somebody known on it by now.
pub struct WaitingRoom<'a, 'c, D, Q, L, C> {
    /// The decisions.
    pub decisions: &'a D,
    /// The function's own queue.
    pub queue: &'a Q,
    /// Where the run's progress is kept.
    pub links: &'a L,
    /// Who is known.
    pub lookup: &'a BatchLookup<'c, C>,
    /// The time of day.
    pub clock: &'a Clock,
}

impl<D: Decisions, Q: SendToQueue, L: Links, C: FindContacts> WaitingRoom<'_, '_, D, Q, L, C> {
    /// Looks the addresses of waiting decisions up again, those after a place, sends what `again` makes of those that wait
    /// no longer, and leaves the rest to a job of its own.
    ///
    /// # Errors
    /// If the CRM, the tables or the queue do not answer.
    pub async fn look_through(
        &self,
        job: &ReconcileJob<PageByPage>,
        function: &'static str,
        grant: &GrantId,
        after: WaitingPlace,
        work: &Work,
        again: impl Fn(&Waiting) -> OwnMessage,
    ) -> Result<LookedAgain, Failure> {
        let clients = (self.decisions, self.queue, self.lookup);
        let looked = look_again(function, grant, after, clients, work, again).await?;
        let last = looked.go_on_after.is_none();
        if looked.go_on_after.is_some() {
            let place = PageByPage { page_token: None, waiting_after: looked.go_on_after.clone() };
            let next = ReconcileJob { step: job.step + 1, place, ..job.clone() };
            send(self.queue, &next.to_message(function)?).await?;
        }
        let counts = [("looked up again", looked.looked_at), (RECOVERED, looked.matched)];
        job.note(function, self.links, self.clock, Step { counts: &counts, last, ..Step::default() }).await?;
        Ok(looked)
    }
}

/// What a job for all accounts became.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FannedOut {
    /// The accounts that have a job of their own now.
    pub grants: Vec<String>,
    /// How many cannot be reached until their users sign in again.
    pub expired: usize,
}

impl FannedOut {
    /// What it came to, by name.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 1] {
        [("accounts", self.grants.len() as u64)]
    }

    /// Why it came to less than it should have; none if every account is covered.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match self.expired {
            0 => None,
            1 => Some("1 account has expired and was left out: have its user connect it again".to_owned()),
            many => {
                Some(format!("{many} accounts have expired and were left out: have their users connect them again"))
            }
        }
    }
}

/// The problem of a run whose span holds no time.
pub const NOTHING_BETWEEN: &str = "nothing lies between `from` and `to`";

/// Puts one job for each account that is wanted and can be reached into the queue.
///
/// # Errors
/// If Nylas or the queue does not answer.
pub async fn fan_out<P: Clone + Default + Serialize + DeserializeOwned>(
    job: &ReconcileJob<P>,
    function: &str,
    nylas: &impl ListGrants,
    queue: &impl SendToQueue,
    wanted: impl Fn(&Grant) -> bool,
    work: &Work,
) -> Result<FannedOut, Failure> {
    let grants = all_grants(nylas, work.deadline).await?;
    let (valid, invalid): (Vec<_>, Vec<_>) = grants.into_iter().filter(&wanted).partition(Grant::is_valid);
    let grants: Vec<String> = valid.into_iter().map(|grant| grant.id).collect();
    futures_util::stream::iter(grants.clone())
        .map(async |grant| {
            let (grant_id, to) = (Some(grant), Some(job.end(work)));
            let one = ReconcileJob { grant_id, except_grant_ids: None, to, ..job.clone() };
            send(queue, &one.to_message(function)?).await
        })
        .buffer_unordered(SIDE_BY_SIDE)
        .try_collect::<Vec<()>>()
        .await?;
    Ok(FannedOut { grants, expired: invalid.len() })
}

/// What looking at waiting decisions came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookedAgain {
    /// The place to go on after; none if no decision is left.
    pub go_on_after: Option<WaitingPlace>,
    /// How many were looked up.
    pub looked_at: u64,
    /// How many of them wait no longer.
    pub matched: u64,
}

/// Looks the addresses of waiting decisions up again, those after a place; what has somebody known on it by now goes
/// into the queue as the message that `again` makes of it.
///
/// # Errors
/// If the CRM, the table or the queue does not answer.
pub async fn look_again<C: FindContacts>(
    function: &str,
    grant: &GrantId,
    mut after: WaitingPlace,
    (decisions, queue, lookup): (&impl Decisions, &impl SendToQueue, &BatchLookup<'_, C>),
    work: &Work,
    again: impl Fn(&Waiting) -> OwnMessage,
) -> Result<LookedAgain, Failure> {
    let waiting = decisions.waiting(function, grant.as_str(), &after, WAITING_PAGE).await?;
    let (mut passed, mut looked_at, mut matched) = (0, 0, 0);
    for waiting_one in &waiting {
        if is_due(&waiting_one.place, work.sent_at) {
            if looked_at == MOST_LOOKED_AT || work.deadline.left() < ENOUGH_TIME && looked_at > 0 {
                break;
            }
            let addresses: Vec<EmailAddress> =
                waiting_one.addresses.iter().filter_map(|address| EmailAddress::parse(address)).collect();
            let known = lookup.find(&addresses_to_look_up(&addresses), work.deadline).await?;
            if match_contacts(&addresses, None, &known).is_ok() {
                send(queue, &again(waiting_one)).await?;
                decisions.waits_no_longer(waiting_one).await?;
                matched += 1;
            }
            looked_at += 1;
        }
        after = waiting_one.place.clone();
        passed += 1;
    }
    let more = passed < waiting.len() || waiting.len() == WAITING_PAGE;
    Ok(LookedAgain { go_on_after: more.then_some(after), looked_at: looked_at as u64, matched })
}

/// What is told of a thing as if Nylas had notified of it: its ids alone, so that it is fetched as it stands when its
/// turn comes.
#[derive(Debug, Clone)]
pub struct AsIfNotified {
    /// The function that it is for.
    pub function: &'static str,
    /// The trigger, for example `message.created`.
    pub trigger: &'static str,
    /// Which version of the thing, so that the same find is one message.
    pub version: String,
    /// The thing's ids: what stands in `data.object`.
    pub object: serde_json::Value,
    /// The group that Nylas's own notification would have.
    pub group: GroupId,
}

impl AsIfNotified {
    /// The message for the queue.
    #[must_use]
    pub fn to_message(&self) -> OwnMessage {
        let id = self.object["id"].as_str().unwrap_or_default();
        let notification = NotificationId::of_our_own("reconcile", &format!("{id}:{}", self.version));
        let body = json!({
            "specversion": "1.0",
            "type": self.trigger,
            "source": "/crm-autopilot/reconcile",
            "id": notification.as_str(),
            "data": { "object": self.object },
        });
        OwnMessage {
            body: body.to_string(),
            group: self.group.clone(),
            deduplication_id: deduplication_id(self.function, &notification),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_were_left_out_are_told_of() {
        let fanned = |expired| FannedOut { grants: vec!["g1".to_owned(), "g2".to_owned()], expired };
        assert_eq!(fanned(0).counts(), [("accounts", 2)]);
        assert_eq!(fanned(0).problem(), None);
        assert!(fanned(1).problem().is_some_and(|problem| problem.starts_with("1 account has expired")));
        assert!(fanned(3).problem().is_some_and(|problem| problem.starts_with("3 accounts have expired")));
    }

    #[test]
    fn job_names_the_accounts_that_it_is_limited_to_only_if_it_is() {
        let read = |said: serde_json::Value| serde_json::from_value::<ReconcileJob<PageByPage>>(said).expect("a job");
        let limited = read(json!({"type": "reconcile", "only_grant_ids": "support, help"}));
        assert_eq!(limited.only_grant_ids.as_deref(), Some("support, help"));
        assert_eq!(serde_json::to_value(&limited).expect("JSON")["only_grant_ids"], "support, help");
        let of_all = read(json!({"type": "reconcile"}));
        assert_eq!(serde_json::to_value(&of_all).expect("JSON").get("only_grant_ids"), None);
    }

    #[test]
    fn waiting_decisions_are_looked_at_often_at_first_and_then_seldom() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let place = WaitingPlace::before(at(1_772_359_999));
        let due: Vec<i64> = (0..14).filter(|day| is_due(&place, at(1_772_359_999 + day * 86_400 + 60))).collect();
        assert_eq!(due, [0, 1, 2, 4, 7, 10, 13]);
    }
}

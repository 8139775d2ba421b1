//! Backfill: every event of a span of time is handled as if Nylas had just notified of it, page by page.
//!
//! A job works on one page; what is left of the page, the next page, the next stretch of time or the next calendar is a
//! job of its own. Every event has a decision of its own, so that whatever was done before a crash is not done again,
//! and a second run alone does it anew.

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

use shared::domain::decision::{Decision, Outcome};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::notification::{GrantId, NotificationId};
use shared::domain::queue_message::GroupId;
use shared::engine::job::{job_message, send};
use shared::engine::progress::{Progress, Step, advance, run_key};
use shared::engine::{
    About, Claim, ClaimRequest, Deadline, Ending, FailedTry, LeaseKey, Leases as _, OwnMessage, Work,
};
use shared::nylas::event::Event;
use shared::nylas::{EventFilter, NylasError};
use shared::reconcile::{AsIfNotified, SIDE_BY_SIDE, part_of};

use crate::FUNCTION;
use crate::copies::CopyKey;
use crate::process::{BatchRules, Ports, ReadEvents as _};

/// The type of the job.
pub(crate) const BACKFILL: &str = "calendar.backfill";

/// How far back a job goes that does not say so, in days.
const DEFAULT_DAYS: i64 = 90;

const DAY: i64 = 24 * 60 * 60;

/// The longest stretch that iCloud lists is six months (Nylas API reference, `start`); a little less is surely taken.
const ICLOUD_STRETCH: i64 = 180 * DAY;

/// An event whose handling ended so often without a verdict has crashed its workers.
const MOST_CRASHES: u32 = 3;

/// The reason of the decision about an event that goes on as a message of its own.
const SET_ASIDE: &str = "set aside: it goes on as a message of its own";

/// No event is begun with less time than this left.
const ENOUGH_TIME: Duration = Duration::from_secs(8);

/// `{"type":"calendar.backfill","grant_id","calendar_id"?,"start"?,"end"?}`, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    #[serde(rename = "type")]
    kind: String,
    grant_id: String,
    /// The calendar; none for all that the account can write to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar_id: Option<String>,
    /// Events that end after this, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    /// Events that begin before this, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<i64>,
    /// Tells one run from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    /// The calendars that come after this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further_calendars: Vec<String>,
    /// Where the stretch of time begins that is being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stretch: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
    /// How many jobs of this run came before.
    #[serde(default)]
    step: u64,
}

impl Job {
    /// The job that goes on with the next calendar, if there is one.
    fn in_next_calendar(&self) -> Option<Self> {
        let (calendar, further) = self.further_calendars.split_first()?;
        let (calendar_id, further_calendars) = (Some(calendar.clone()), further.to_vec());
        Some(Self { page_token: None, stretch: None, calendar_id, further_calendars, ..self.clone() })
    }
}

/// What became of one event of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OneOf {
    /// It is decided.
    Decided {
        /// True if the CRM shows what it says.
        written: bool,
        /// True if it was decided by an earlier job of this run.
        before: bool,
    },
    /// Something is wrong with it: it goes on as a message of its own, to end with its reason in the dead-letter queue.
    SetAside,
    /// There was no time for it, or somebody else is at it.
    Left,
}

impl OneOf {
    fn decided(decision: &Decision, before: bool) -> Self {
        let of_a_series = decision.facts.get("written").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let written = matches!(decision.outcome, Outcome::Logged | Outcome::Merged) || of_a_series > 0;
        if decision.reason == SET_ASIDE { Self::SetAside } else { Self::Decided { written, before } }
    }
}

impl<P: Ports> BatchRules<'_, '_, P> {
    /// Handles one page.
    ///
    /// # Errors
    /// If the job cannot be read, or the CRM, Nylas or the tables do not do what is asked.
    pub async fn backfill(&self, work: &Work) -> Result<Decision, Failure> {
        let mut job: Job = serde_json::from_str(&work.body).map_err(|error| unreadable(&error.to_string()))?;
        let grant = GrantId::parse(&job.grant_id).ok_or_else(|| unreadable("`grant_id` is empty or too long"))?;
        let sent_at = work.sent_at.as_second();
        let end = *job.end.get_or_insert(sent_at);
        let start = *job.start.get_or_insert(end - DEFAULT_DAYS * DAY);
        let run = job.run.get_or_insert_with(|| work.sent_at.as_millisecond().to_string()).clone();
        if start >= end {
            return Err(unreadable("`start` is not before `end`"));
        }
        let nylas = self.rules.ports.nylas;
        if let Some(problem) = self.rules.unknown(&grant, work.deadline).await? {
            return self.ended(&job, &run, &problem).await;
        }
        let calendar = match &job.calendar_id {
            Some(calendar) => calendar.clone(),
            None => match self.own_calendars(&grant, work.deadline).await {
                Ok(mut calendars) if !calendars.is_empty() => {
                    let first = calendars.remove(0);
                    job.further_calendars = calendars;
                    job.calendar_id.insert(first).clone()
                }
                Ok(_) => return self.ended(&job, &run, "the account has no calendar that it can write to").await,
                Err(error) if error.is_out_of_reach() => return self.ended(&job, &run, &error.to_string()).await,
                Err(error) => return Err(error.into()),
            },
        };
        let is_icloud = self.rules.provider(&grant, work.deadline).await?.as_deref() == Some("icloud");
        let from = *job.stretch.get_or_insert(start);
        let to = if is_icloud { end.min(from + ICLOUD_STRETCH) } else { end };
        // Cancelled occurrences are shown nowhere else; iCloud has nothing of the kind.
        let wanted =
            EventFilter { start: Some(from), end: Some(to), show_cancelled: !is_icloud, ..EventFilter::default() };
        let seen_at = self.now();
        let page = match nylas.events(&grant, &calendar, &wanted, job.page_token.as_deref(), work.deadline).await {
            Err(error @ NylasError::GrantExpired(_)) => return self.ended(&job, &run, &error.to_string()).await,
            // One calendar that cannot be read is no reason to leave the others out.
            Err(error) if error.is_out_of_reach() || error.is_refused() => {
                return self.next_calendar(&job, &run, &error).await;
            }
            other => other?,
        };
        let listed = page.items.len();
        let results: Vec<Result<OneOf, Failure>> = futures_util::stream::iter(page.items)
            .map(|event| self.one_of_a_page(event, (&grant, &calendar), &run, seen_at, work))
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        let count = |is_it: fn(&OneOf) -> bool| results.iter().flatten().filter(|one| is_it(one)).count() as u64;
        let left = results.len() as u64 - count(|one| *one != OneOf::Left);
        let new = count(|one| matches!(one, OneOf::SetAside | OneOf::Decided { before: false, .. }));
        let failure = results.iter().find_map(|one| one.as_ref().err().cloned());
        if new == 0 && left > 0 {
            // Nothing moves: the engine waits before it tries again.
            let busy = || Failure::transient("backfill.busy", "another worker is at what is left of this page");
            return Err(failure.unwrap_or_else(busy));
        }
        // A page counts once it is done, whichever of its jobs did how much of it.
        let of_the_page = |is_it: fn(&OneOf) -> bool| if left == 0 { count(is_it) } else { 0 };
        let written = of_the_page(|one| matches!(one, OneOf::Decided { written: true, .. }));
        let skipped = of_the_page(|one| matches!(one, OneOf::Decided { written: false, .. }));
        let set_aside = of_the_page(|one| *one == OneOf::SetAside);
        let next = if left > 0 {
            Some(job.clone())
        } else if page.next.is_some() {
            Some(Job { page_token: page.next, ..job.clone() })
        } else if to < end {
            Some(Job { page_token: None, stretch: Some(to), ..job.clone() })
        } else {
            job.in_next_calendar()
        };
        let last = next.is_none();
        if let Some(next) = next {
            self.go_on_with_backfill(next, &run).await?;
        }
        let counts = [
            ("pages", u64::from(left == 0)),
            ("events", written + skipped + set_aside),
            ("written", written),
            ("skipped", skipped),
            ("set aside", set_aside),
        ];
        self.note_and_tell(&job, &run, &Step { number: job.step, counts: &counts, last, ..Step::default() }).await?;
        Ok(Decision::done("backfill: a page of events")
            .with("run", run)
            .with("listed", listed)
            .with("written", written)
            .with("skipped", skipped)
            .with("set_aside", set_aside)
            .with("left", left))
    }

    /// The calendars that the account can write to. Those for looking alone are holidays, birthdays and other people's.
    pub(crate) async fn own_calendars(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<String>, NylasError> {
        let calendars = self.rules.ports.nylas.calendars(grant, deadline).await?;
        Ok(calendars
            .into_iter()
            .filter(|calendar| calendar.read_only != Some(true))
            .map(|calendar| calendar.id)
            .collect())
    }

    /// False for an event that was cancelled before anything was heard of it.
    pub(crate) async fn is_worth_a_record(&self, event: &Event) -> Result<bool, Failure> {
        if !event.is_cancelled() || event.master_event_id.is_some() {
            return Ok(true);
        }
        Ok(self.copy(&CopyKey::of(event)).await?.is_some())
    }

    /// Ends a run before its time.
    async fn ended(&self, job: &Job, run: &str, problem: &str) -> Result<Decision, Failure> {
        let step = Step { number: job.step, last: true, problem: Some(problem.to_owned()), ..Step::default() };
        self.note(job, run, &step).await?;
        Ok(Decision::held("backfill: nothing can be read").with("run", run).with("problem", problem))
    }

    /// Leaves a calendar out that cannot be read.
    async fn next_calendar(&self, job: &Job, run: &str, error: &NylasError) -> Result<Decision, Failure> {
        let calendar = job.calendar_id.as_deref().unwrap_or_default();
        let problem = format!("the calendar {calendar} cannot be read: {error}");
        let Some(next) = job.in_next_calendar() else { return self.ended(job, run, &problem).await };
        self.go_on_with_backfill(next, run).await?;
        let step = Step { number: job.step, problem: Some(problem.clone()), ..Step::default() };
        self.note(job, run, &step).await?;
        Ok(Decision::done("backfill: a calendar cannot be read").with("run", run).with("problem", problem))
    }

    async fn go_on_with_backfill(&self, next: Job, run: &str) -> Result<(), Failure> {
        let next = Job { step: next.step + 1, ..next };
        send(self.rules.ports.queue, &job_message(FUNCTION, GroupId::of("backfill", run), &next)?).await
    }

    /// Notes what a page came to, and logs how far the run has come.
    async fn note_and_tell(&self, job: &Job, run: &str, step: &Step<'_>) -> Result<(), Failure> {
        let progress = self.note(job, run, step).await?;
        let so_far = |name: &str| progress.counts.get(name).copied().unwrap_or_default();
        // Google's calendars are named by addresses, which no log may hold: the grant and the run tell enough.
        tracing::info!(
            grant.id = job.grant_id,
            run,
            pages = so_far("pages"),
            events = so_far("events"),
            written = so_far("written"),
            skipped = so_far("skipped"),
            set_aside = so_far("set aside"),
            ended = step.last,
            "backfill"
        );
        Ok(())
    }

    async fn note(&self, job: &Job, run: &str, step: &Step<'_>) -> Result<Progress, Failure> {
        let ports = &self.rules.ports;
        let key = run_key(FUNCTION, &part_of(run, Some(&job.grant_id)));
        advance(ports.links, &key, step, ports.clock.now()).await.map_err(Failure::from)
    }

    /// Handles an event under a lease of its own, once a run.
    async fn one_of_a_page(
        &self,
        mut event: Event,
        (grant, calendar): (&GrantId, &str),
        run: &str,
        seen_at: i64,
        work: &Work,
    ) -> Result<OneOf, Failure> {
        if work.deadline.left() < ENOUGH_TIME {
            return Ok(OneOf::Left);
        }
        let (leases, clock) = (self.rules.ports.decisions, &self.rules.ports.clock);
        event.calendar_id.get_or_insert_with(|| calendar.to_owned());
        event.grant_id.get_or_insert_with(|| grant.as_str().to_owned());
        // Google shows what was deleted among what is cancelled: whatever it was, the CRM never had it.
        if !self.is_worth_a_record(&event).await? {
            return Ok(OneOf::Decided { written: false, before: false });
        }
        let version = format!("backfill.{run}.{}", place_of(&event));
        let notification = NotificationId::of_our_own("reconcile", &format!("{}:{version}", event.id));
        let about = About {
            function: FUNCTION,
            notification: notification.clone(),
            trigger: "event.updated".to_owned(),
            grant: event.grant_id.clone(),
            object: event.id.clone(),
        };
        let key = LeaseKey::new(FUNCTION, &notification);
        let now = clock.now();
        let until = now.checked_add(work.deadline.left()).unwrap_or(now);
        let request =
            ClaimRequest { key: &key, about: &about, content: "backfill", now, until, queued_at: now, trace: None };
        let lease = match leases.claim(&request).await? {
            Claim::Granted(lease) => lease,
            Claim::Duplicate { decision, .. } => return Ok(OneOf::decided(&decision, true)),
            Claim::Busy { .. } => return Ok(OneOf::Left),
        };
        let handled = if lease.unresolved < MOST_CRASHES {
            self.handle(&event, Some(seen_at), work).await
        } else {
            Err(Failure::permanent("backfill.crashed", "handling the event has crashed its workers"))
        };
        let decision = match handled {
            Ok(decision) => decision,
            // The message of its own says why, and ends in the dead-letter queue.
            Err(failure @ Failure::Permanent { .. }) => {
                send(self.rules.ports.queue, &as_if_notified(&event, &format!("alone.{version}"))).await?;
                Decision::held(SET_ASIDE).with("problem", failure.to_string())
            }
            Err(failure) => {
                let failed =
                    FailedTry { class: failure.class().to_owned(), what: failure.to_string(), ending: Ending::Retry };
                leases.fail(&lease, &failed, clock.now()).await?;
                return Err(failure);
            }
        };
        leases.complete(&lease, &decision, clock.now()).await?;
        Ok(OneOf::decided(&decision, false))
    }
}

/// Where an event lies, for ids of our own.
pub(crate) fn place_of(event: &Event) -> String {
    place(event.grant_id.as_deref().unwrap_or_default(), event.calendar_id.as_deref().unwrap_or_default())
}

/// A calendar of an account, for ids of our own: on Google one id stands for the same event in many of them. A digest,
/// because logs hold these ids, and Google's calendars are named by addresses.
pub(crate) fn place(grant: &str, calendar: &str) -> String {
    let mut place = sha256_hex(&[grant.as_bytes(), b"/", calendar.as_bytes()]);
    place.truncate(12);
    place
}

/// An event as if Nylas had notified of it.
pub(crate) fn as_if_notified(event: &Event, version: &str) -> OwnMessage {
    let group = GroupId::of("event", event.master_event_id.as_deref().unwrap_or(&event.id));
    let object = json!({
        "object": "event",
        "occurrences": event.occurrences,
        "cancelled_occurrences": event.cancelled_occurrences,
        "id": event.id,
        "grant_id": event.grant_id,
        "calendar_id": event.calendar_id,
        "master_event_id": event.master_event_id,
    });
    AsIfNotified {
        function: FUNCTION,
        trigger: "event.updated.transformed",
        version: version.to_owned(),
        object,
        group,
    }
    .to_message()
}

fn unreadable(problem: &str) -> Failure {
    Failure::permanent(
        "body.unreadable",
        format!(
            "the job is not {{\"type\":\"calendar.backfill\",\"grant_id\",\"calendar_id\"?,\"start\"?,\"end\"?}} with \
             times in Unix seconds: {problem}"
        ),
    )
}

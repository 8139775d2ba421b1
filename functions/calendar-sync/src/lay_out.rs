//! A series in the CRM: each of its occurrences is kept as a meeting of its own, in slices that are jobs of their own,
//! so that an invocation never runs long and a crash costs no more than a slice.
//!
//! The link of a series remembers which starts were laid out, so that what the rule no longer names goes, and all of it
//! when the master is deleted; and which occurrences were changed or cancelled by themselves, which only notifications
//! tell: the master that Nylas is asked for does not.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::domain::decision::{Decision, Outcome};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::domain::queue_message::GroupId;
use shared::engine::job::{job_message, send};
use shared::engine::{Deadline, Links as _, PutLink, Revision, Work};
use shared::meetings::{identity_of, original_start_of};
use shared::nylas::event::{Event, When};
use shared::reconcile::SIDE_BY_SIDE;

use crate::FUNCTION;
use crate::backfill::as_if_notified;
use crate::copies::{CopyKey, Order, has_come_back, order};
use crate::index::Known;
use crate::process::{BatchRules, Ports, ReadEvents as _, told_at, version_of};
use crate::series::{Window, events_of, is_known_zone, occurrence_id, occurrences, start_of, with_zone};

/// How far occurrences are laid out before and after now.
const LAID_OUT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How far ahead they are laid out at least, if the series is looked at every night.
const LAID_OUT_AT_LEAST: SignedDuration = SignedDuration::from_hours(60 * 24);

/// No occurrence is begun with less time than this left.
const ENOUGH_TIME: Duration = Duration::from_secs(8);

/// How many occurrences one message keeps.
const SLICE: usize = 20;

/// The most addresses that a series waits for.
const MOST_WAITED_FOR: usize = 20;

/// The type of a job that goes on with a series.
pub(crate) const SERIES: &str = "calendar.series";

/// `{"type":"calendar.series", …}`: what is left of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Job {
    /// Always `calendar.series`.
    #[serde(rename = "type")]
    kind: String,
    /// The account.
    grant_id: String,
    /// The calendar, where it is known.
    calendar_id: Option<String>,
    /// The master.
    event_id: String,
    /// The start up to which everything is done, in Unix seconds.
    after: i64,
    /// When the master was deleted, in Unix seconds, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<i64>,
    /// Which version of the master it was begun for: a later one is begun anew.
    version: Version,
    /// When the message was sent that it goes on with, in Unix seconds: another one is another job.
    goes_on_with: i64,
}

/// What the link of a series holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Remembered {
    /// Starts of occurrences that the CRM may show by this series' rule, in Unix seconds.
    #[serde(default)]
    starts: BTreeSet<i64>,
    /// Up to when everything was laid out, in Unix seconds.
    #[serde(default)]
    until: i64,
    /// The iCalendar UID of the series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The calendars of the account that hold its master.
    #[serde(default)]
    calendars: BTreeSet<String>,
    /// The occurrences that were changed by themselves, as the newest notification of the master has them.
    #[serde(default)]
    changed: Vec<String>,
    /// Those that were cancelled, likewise.
    #[serde(default)]
    cancelled: Vec<String>,
    /// The occurrences that were told of by themselves: when each begins by the rule, and its id.
    #[serde(default)]
    by_themselves: BTreeMap<i64, String>,
    /// When its master was deleted, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deleted_at: Option<i64>,
}

impl Remembered {
    /// Takes in what a master says. Where it says nothing of exceptions, what was told before holds.
    fn take_in(&mut self, master: &Event) {
        self.deleted_at = None;
        self.uid = master.ical_uid.clone().or(self.uid.take());
        self.calendars.extend(master.calendar_id.clone());
        if let Some(changed) = &master.occurrences {
            self.changed.clone_from(changed);
        }
        if let Some(cancelled) = &master.cancelled_occurrences {
            self.cancelled.clone_from(cancelled);
        }
    }

    /// The master with all that is known of its exceptions.
    fn complete(&self, master: &Event) -> Event {
        let occurrences = Some(self.changed.clone());
        Event { occurrences, cancelled_occurrences: Some(self.cancelled.clone()), ..master.clone() }
    }
}

/// What is known of a series that was laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaidOut {
    /// The version of its master.
    pub(crate) version: Version,
    /// True if the CRM may show an occurrence of it.
    pub(crate) any: bool,
    until: i64,
    calendars: BTreeSet<String>,
}

/// What an occurrence has to know of its series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Series {
    /// Its iCalendar UID.
    pub(crate) uid: Option<String>,
    deleted_at: Option<i64>,
}

impl Series {
    /// True if the series was deleted after an occurrence of it had this version, and the occurrence was not seen since.
    pub(crate) fn is_deleted_since(&self, version: Version, seen_at: Option<i64>) -> bool {
        self.deleted_at
            .is_some_and(|at| !has_come_back(at, seen_at) && order(at, version.changed_at, false) == Order::Later)
    }
}

/// One step of a slice.
enum Step {
    /// The occurrence is kept as this event.
    Keep(Box<Event>),
    /// The occurrence was changed by itself: its calendar holds the event with this id.
    Changed(String),
    /// The rule no longer names it.
    Remove,
}

/// What the steps of a slice came to.
#[derive(Default)]
struct Slice {
    done: usize,
    /// How many occurrences the CRM shows.
    written: usize,
    /// Why others are not shown.
    skipped: BTreeMap<String, usize>,
    waits_for: BTreeSet<String>,
    /// The first occurrence that can never be kept, and why.
    refused: Option<Failure>,
}

impl Slice {
    fn take_in(&mut self, kept: Result<Decision, Failure>) -> Result<(), Failure> {
        self.done += 1;
        match kept {
            Ok(decision) if matches!(decision.outcome, Outcome::Logged | Outcome::Merged) => self.written += 1,
            Ok(decision) if decision.outcome == Outcome::Skipped => {
                self.waits_for.extend(decision.waits_for);
                *self.skipped.entry(decision.reason).or_default() += 1;
            }
            Ok(_) => {}
            // What is wrong with one says nothing of the next.
            Err(failure @ Failure::Permanent { .. }) => {
                self.refused.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }
}

impl<P: Ports> BatchRules<'_, '_, P> {
    /// Keeps the occurrences that a master stands for, those after a start, as many as a slice holds. `seen_at`, in Unix
    /// seconds, if the master was seen in its calendar and not only told of.
    pub(crate) async fn lay_out(
        &self,
        master: &Event,
        after: Option<i64>,
        seen_at: Option<i64>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let version = version_of(master, told_at(work));
        let key = CopyKey::of(master);
        let tombstone = self.tombstone(&key).await?;
        let mut known = self.remembered(&key).await?.0;
        if !self.is_there(master, version, tombstone.max(known.deleted_at), seen_at, work.deadline).await? {
            return Ok(Decision::skipped("deleted since"));
        }
        let single = self.copy(&key).await?.filter(|copy| copy.content().is_some());
        if single.as_ref().is_some_and(|copy| !copy.is_older_than(version)) {
            return Ok(Decision::skipped("older than what is known: it is no series any more"));
        }
        known.take_in(master);
        let master = self.in_its_zone(known.complete(master), work.deadline).await?;

        let to = shifted(work.sent_at, LAID_OUT);
        let from = after.and_then(|after| Timestamp::from_second(after).ok());
        let window = Window { from: from.unwrap_or_else(|| shifted(work.sent_at, -LAID_OUT)), to };
        let laid = match occurrences(&master, window) {
            Ok(laid) => laid,
            Err(error) => {
                // Remembered all the same, so that it is not found unknown again every night.
                self.remember(&key, version, |known| known.take_in(&master)).await?;
                return Err(Failure::permanent("event.series", error.to_string()));
            }
        };
        let mut changed = self.changed_by_themselves(&master, work.deadline).await?;
        changed.extend(known.by_themselves);
        let events = events_of(&master, &laid, |id| started(&changed, id));

        let by_rule: BTreeSet<i64> = events.iter().filter_map(start_seconds).collect();
        let remember = |known: &mut Remembered| {
            known.take_in(&master);
            known.starts.extend(&by_rule);
        };
        let Some(standing) = self.remember(&key, version, remember).await? else {
            return Ok(Decision::skipped("older than what is known of the series"));
        };
        // A deletion that came meanwhile found nothing to remove.
        if let Some(at) = self.tombstone(&key).await?.filter(|at| Some(*at) > tombstone) {
            return self.series_deleted(&key, at, work).await;
        }
        if single.is_some() {
            self.gone(&key, version.changed_at, None, Some(self.now()), work.deadline).await?;
        }
        // Occurrences that were told of by themselves meanwhile.
        changed.extend(standing.by_themselves.clone());
        // What the rule names beyond the most that is laid out at once is not gone.
        let last_laid = events.iter().filter_map(start_seconds).max().filter(|_| laid.more);
        let until = last_laid.unwrap_or(to.as_second());
        let is_in_window = |start: &i64| (window.from.as_second()..=until).contains(start);
        let mut steps: BTreeMap<i64, Step> = events
            .into_iter()
            .filter_map(|event| Some((start_seconds(&event)?, Step::Keep(Box::new(event)))))
            .collect();
        steps.extend(changed.into_iter().map(|(start, id)| (start, Step::Changed(id))));
        for start in standing.starts.iter().filter(|start| is_in_window(start)) {
            steps.entry(*start).or_insert(Step::Remove);
        }
        steps.retain(|start, _| is_in_window(start) && after.is_none_or(|after| *start > after));

        let (mut last, all) = (None, steps.len());
        let mut slice = Slice::default();
        for (start, step) in steps {
            if slice.done == SLICE || slice.done > 0 && work.deadline.left() < ENOUGH_TIME {
                break;
            }
            slice.take_in(match step {
                Step::Keep(event) => self.keep_by_rule(&event, version, seen_at, work).await,
                Step::Changed(id) => self.keep_changed(&master, start, &id, work).await,
                Step::Remove => self.remove_by_rule(&key, start, version.changed_at, work.deadline).await,
            })?;
            last = Some(start);
        }
        let left = all - slice.done;
        if let Some(after) = last.filter(|_| left > 0) {
            self.go_on(&key, master.calendar_id.clone(), after, None, version, work).await?;
        } else {
            let removed = |start: &i64| is_in_window(start) && !by_rule.contains(start);
            self.remember(&key, version, |known| {
                known.starts.retain(|start| after.is_some_and(|after| *start <= after) || !removed(start));
                known.until = known.until.max(until);
            })
            .await?;
        }
        told(slice, left, laid.more)
    }

    /// What is known of a series; none if the event is no master of one that was laid out.
    pub(crate) async fn laid_out(&self, key: &CopyKey) -> Result<Option<LaidOut>, Failure> {
        let (known, version, revision) = self.remembered(key).await?;
        let any = !known.starts.is_empty() || !known.by_themselves.is_empty();
        Ok(revision.map(|_| LaidOut { version, any, until: known.until, calendars: known.calendars }))
    }

    /// True if the master of a series was deleted from one of its account's calendars and is still in another.
    pub(crate) async fn is_series_left_elsewhere(
        &self,
        key: &CopyKey,
        laid_out: &LaidOut,
        calendar: Option<&str>,
        work: &Work,
    ) -> Result<bool, Failure> {
        if laid_out.calendars.len() < 2 && calendar.is_none_or(|calendar| laid_out.calendars.contains(calendar)) {
            return Ok(false);
        }
        let Some(grant) = GrantId::parse(&key.grant) else { return Ok(false) };
        let mut left = BTreeSet::new();
        for other in laid_out.calendars.iter().filter(|other| Some(other.as_str()) != calendar) {
            if self.fetched(&grant, Some(other), &key.event, work.deadline).await?.is_some() {
                left.insert(other.clone());
            }
        }
        if left.is_empty() {
            return Ok(false);
        }
        self.remember(key, laid_out.version, |known| known.calendars.clone_from(&left)).await?;
        Ok(true)
    }

    /// Lays a series out further, as a job of its own, if that was last done too long ago.
    pub(crate) async fn extend(&self, key: &CopyKey, calendar: &str, work: &Work) -> Result<(), Failure> {
        let Some(laid) = self.laid_out(key).await? else { return Ok(()) };
        if laid.until >= shifted(work.sent_at, LAID_OUT_AT_LEAST).as_second() {
            return Ok(());
        }
        self.go_on(key, Some(calendar.to_owned()), laid.until, None, laid.version, work).await
    }

    /// Removes every occurrence of a series, those after a start, as many as a slice holds: its master was deleted, or is an
    /// event of its own now.
    pub(crate) async fn remove_series(
        &self,
        key: &CopyKey,
        at: i64,
        after: Option<i64>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let (known, version, _) = self.remembered(key).await?;
        if order(at, version.changed_at, false) == Order::Earlier {
            return Ok(Decision::skipped("older than what is known of the series"));
        }
        let all: BTreeSet<i64> = known.starts.iter().chain(known.by_themselves.keys()).copied().collect();
        let starts: Vec<i64> = all.into_iter().filter(|start| after.is_none_or(|after| *start > after)).collect();
        let mut slice = Slice::default();
        for start in &starts {
            if slice.done == SLICE || slice.done > 0 && work.deadline.left() < ENOUGH_TIME {
                break;
            }
            let removed = async {
                if let Some(id) = known.by_themselves.get(start) {
                    self.gone_by_itself(&key.grant, id, at, None, work.deadline).await?;
                }
                self.remove_by_rule(key, *start, at, work.deadline).await
            };
            slice.take_in(removed.await)?;
        }
        let done: BTreeSet<i64> = starts.iter().take(slice.done).copied().collect();
        self.remember(key, version, |known| {
            known.starts.retain(|start| !done.contains(start));
            known.by_themselves.retain(|start, _| !done.contains(start));
        })
        .await?;
        let left = starts.len() - slice.done;
        if let Some(last) = done.last().filter(|_| left > 0) {
            let version = Version { sequence: 0, changed_at: at };
            self.go_on(key, None, *last, Some(at), version, work).await?;
        }
        match slice.refused {
            Some(refused) => Err(refused),
            None => Ok(Decision::done("series deleted").with("removed", slice.done).with("left", left)),
        }
    }

    /// Removes what was laid out of an event that was a series and is none any more.
    pub(crate) async fn no_longer_a_series(&self, event: &Event, work: &Work) -> Result<(), Failure> {
        let key = CopyKey::of(event);
        let version = version_of(event, told_at(work));
        let Some(laid) = self.laid_out(&key).await?.filter(|laid| laid.version <= version) else { return Ok(()) };
        if laid.any {
            self.remove_series(&key, version.changed_at, None, work).await?;
        }
        // Late news of the series is older than this.
        self.remember(&key, version, |_| {}).await?;
        Ok(())
    }

    /// Goes on with what is left of a series.
    ///
    /// # Errors
    /// If the job cannot be read, or the CRM, Nylas or the tables do not do what is asked.
    pub async fn go_on_with_series(&self, work: &Work) -> Result<Decision, Failure> {
        let job: Job = serde_json::from_str(&work.body)
            .map_err(|error| Failure::permanent("body.unreadable", format!("the job cannot be read: {error}")))?;
        let grant = GrantId::parse(&job.grant_id)
            .ok_or_else(|| Failure::permanent("body.unreadable", "the job's `grant_id` is empty or too long"))?;
        if let Some(at) = job.deleted_at {
            let key = CopyKey { grant: job.grant_id, event: job.event_id, by_rule: false };
            return self.remove_series(&key, at, Some(job.after), work).await;
        }
        let seen_at = self.now();
        match self.fetched(&grant, job.calendar_id.as_deref(), &job.event_id, work.deadline).await? {
            Some(master) if master.is_master() => {
                // What was done was done for another version: it is done anew. One without a version is taken for the same.
                let updated_at = master.updated_at.or(Timestamp::from_second(job.version.changed_at).ok());
                let master = Event { updated_at, ..master };
                let is_the_same = version_of(&master, told_at(work)) == job.version;
                self.lay_out(&master, is_the_same.then_some(job.after), Some(seen_at), work).await
            }
            _ => Ok(Decision::skipped("no series any more")),
        }
    }

    /// The occurrence of a series as its rule has it now; none if the rule does not name it.
    pub(crate) async fn occurrence_by_rule(
        &self,
        grant: &GrantId,
        calendar: Option<&str>,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Event>, Failure> {
        let Some((master, _)) = id.rsplit_once('_') else { return Ok(None) };
        let Some(start) = original_start_of(master, id) else { return Ok(None) };
        let Some(master) = self.fetched(grant, calendar, master, deadline).await? else { return Ok(None) };
        let known = self.remembered(&CopyKey::of(&master)).await?.0;
        let master = self.in_its_zone(known.complete(&master), deadline).await?;
        let around = Window {
            from: shifted(start, -SignedDuration::from_hours(1)),
            to: shifted(start, SignedDuration::from_hours(1)),
        };
        let laid =
            occurrences(&master, around).map_err(|error| Failure::permanent("event.series", error.to_string()))?;
        let mut changed = self.changed_by_themselves(&master, deadline).await?;
        changed.extend(known.by_themselves);
        let events = events_of(&master, &laid, |id| started(&changed, id));
        Ok(events.into_iter().find(|event| event.original_start_time == Some(start)))
    }

    /// Takes in that an occurrence was deleted of which only its id and its series are told.
    pub(crate) async fn occurrence_deleted(
        &self,
        grant: &GrantId,
        master: &str,
        id: &str,
        at: i64,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let series = CopyKey { grant: grant.as_str().to_owned(), event: master.to_owned(), by_rule: false };
        let Some(start) = original_start_of(master, id) else {
            // Only its series may still tell which one it was.
            if self.laid_out(&series).await?.is_some_and(|laid| laid.any)
                && let Some(event) = self.fetched(grant, None, master, work.deadline).await?
            {
                let message = as_if_notified(&event, &format!("occurrence.{}", told_at(work)));
                send(self.rules.ports.queue, &message).await?;
            }
            return Ok(Decision::done("occurrence deleted: its series is looked at again").with("series", master));
        };
        // Google's ids of whole days are shorter than ours.
        let key = CopyKey { event: occurrence_id(master, start), ..series };
        match self.gone(&key, at, None, None, work.deadline).await? {
            Some((identity, _)) => Ok(Decision::done("occurrence deleted").with("meeting", identity)),
            None => Ok(Decision::done("deleted before anything was written")),
        }
    }

    /// Remembers of an occurrence that was told of by itself to which series it belongs, and answers what is known of that.
    pub(crate) async fn note_occurrence(&self, event: &Event) -> Result<Series, Failure> {
        let (Some(master), Some(grant)) = (&event.master_event_id, &event.grant_id) else {
            return Ok(Series::default());
        };
        let key = CopyKey { grant: grant.clone(), event: master.clone(), by_rule: false };
        let start = event.original_start_time.or_else(|| original_start_of(master, &event.id));
        loop {
            let (known, version, _) = self.remembered(&key).await?;
            let is_noted = |start: &i64| known.by_themselves.get(start) == Some(&event.id);
            let noted = match start.map(Timestamp::as_second).filter(|start| !is_noted(start)) {
                None => Some(known),
                // None if a newer version of the master came meanwhile, which is looked at again.
                Some(start) => {
                    let note = |known: &mut Remembered| {
                        known.by_themselves.insert(start, event.id.clone());
                    };
                    self.remember(&key, version, note).await?
                }
            };
            if let Some(known) = noted {
                return Ok(Series { uid: known.uid, deleted_at: known.deleted_at.max(self.tombstone(&key).await?) });
            }
        }
    }

    /// When a master was deleted that nothing was known of before.
    async fn tombstone(&self, key: &CopyKey) -> Result<Option<i64>, Failure> {
        Ok(match self.index().find(key).await? {
            Known::Deleted { at, .. } => Some(at),
            Known::Bound(_) | Known::Unheard => None,
        })
    }

    /// False if the master was deleted, and not seen in its calendar since.
    async fn is_there(
        &self,
        master: &Event,
        version: Version,
        deleted_at: Option<i64>,
        seen_at: Option<i64>,
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        let Some(at) = deleted_at.filter(|at| !has_come_back(*at, seen_at)) else { return Ok(true) };
        match order(at, version.changed_at, false) {
            Order::Later => Ok(false),
            Order::Earlier => Ok(true),
            Order::Unclear => Ok(self.beside(master, &master.id, deadline).await?.is_some()),
        }
    }

    /// Takes in that the master of a series was deleted, and removes what was laid out of it.
    pub(crate) async fn series_deleted(&self, key: &CopyKey, at: i64, work: &Work) -> Result<Decision, Failure> {
        let version = self.remembered(key).await?.1;
        if order(at, version.changed_at, false) == Order::Earlier {
            return Ok(Decision::skipped("older than what is known of the series"));
        }
        self.remember(key, version, |known| known.deleted_at = known.deleted_at.max(Some(at))).await?;
        self.remove_series(key, at, None, work).await
    }

    /// The master with a time zone: one that Nylas does not name, or that nobody knows, is its calendar's.
    async fn in_its_zone(&self, master: Event, deadline: Deadline) -> Result<Event, Failure> {
        let Some(When::Span { time_zone, .. }) = &master.when else { return Ok(master) };
        if time_zone.as_deref().is_some_and(is_known_zone) {
            return Ok(master);
        }
        let Some(grant) = master.grant_id.as_deref().and_then(GrantId::parse) else { return Ok(master) };
        let calendars = self.rules.ports.nylas.calendars(&grant, deadline).await?;
        let of_it = |wanted: &str| calendars.iter().find(|calendar| calendar.id == wanted);
        let calendar = master.calendar_id.as_deref().and_then(of_it).or(calendars.first());
        let zone = calendar.and_then(|calendar| calendar.timezone.clone());
        Ok(with_zone(master, zone))
    }

    /// The occurrences that a master says were changed by themselves: when each would have begun by the rule, in Unix
    /// seconds, and its id. Only where the id does not tell is Nylas asked.
    async fn changed_by_themselves(
        &self,
        master: &Event,
        deadline: Deadline,
    ) -> Result<BTreeMap<i64, String>, Failure> {
        let ids = master.occurrences.clone().unwrap_or_default();
        let found: Vec<Option<(Timestamp, String)>> = futures_util::stream::iter(ids)
            .map(async |id| {
                if let Some(start) = original_start_of(&master.id, &id) {
                    return Ok::<_, Failure>(Some((start, id)));
                }
                let event = self.beside(master, &id, deadline).await?;
                Ok(event.and_then(|event| Some((event.original_start_time?, id))))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().map(|(start, id)| (start.as_second(), id)).collect())
    }

    /// An event of a master's calendar, as Nylas holds it; none if it is gone.
    async fn beside(&self, master: &Event, id: &str, deadline: Deadline) -> Result<Option<Event>, Failure> {
        let Some(grant) = master.grant_id.as_deref().and_then(GrantId::parse) else { return Ok(None) };
        self.fetched(&grant, master.calendar_id.as_deref(), id, deadline).await
    }

    /// Keeps an occurrence that was changed by itself. Nobody notifies of one that went with a change of its series.
    async fn keep_changed(&self, master: &Event, start: i64, id: &str, work: &Work) -> Result<Decision, Failure> {
        let seen_at = self.now();
        let decision = if let Some(event) = self.beside(master, id, work.deadline).await? {
            self.single(&event, Some(seen_at), work).await?
        } else {
            let grant = master.grant_id.as_deref().unwrap_or_default();
            self.gone_by_itself(grant, id, seen_at, master.calendar_id.as_deref(), work.deadline).await?;
            Decision::done("no longer in its calendar")
        };
        // What the rule says of it may have become a record of its own before anybody told of the change.
        if let Ok(start) = Timestamp::from_second(start) {
            let grant = master.grant_id.clone().unwrap_or_default();
            let by_rule = CopyKey { grant, event: occurrence_id(&master.id, start), by_rule: true };
            if by_rule.event != id && matches!(self.index().find(&by_rule).await?, Known::Bound(_)) {
                self.gone(&by_rule, version_of(master, told_at(work)).changed_at, None, None, work.deadline).await?;
            }
        }
        Ok(decision)
    }

    /// Takes in that an occurrence is gone that its calendar held by itself: its calendar was asked, or its series is
    /// deleted.
    async fn gone_by_itself(
        &self,
        grant: &str,
        id: &str,
        at: i64,
        calendar: Option<&str>,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let key = CopyKey { grant: grant.to_owned(), event: id.to_owned(), by_rule: false };
        self.gone(&key, at, calendar, Some(self.now()), deadline).await?;
        Ok(())
    }

    async fn keep_by_rule(
        &self,
        event: &Event,
        version: Version,
        seen_at: Option<i64>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let judged = self.judge(event, true, seen_at, version.changed_at, work.deadline).await?;
        let key = judged.held.copy.key.clone();
        let over = match self.index().find(&key).await? {
            Known::Deleted { at, .. } if order(at, version.changed_at, true) == Order::Later => {
                return Ok(Decision::done("deleted since"));
            }
            Known::Deleted { at, .. } => Some(at),
            Known::Bound(_) | Known::Unheard => None,
        };
        let bound = self.index().bind(&key, over, &identity_of(event, None)).await?;
        let Some(identity) = bound else { return Ok(Decision::done("deleted since")) };
        let (held, decision) = (judged.held, judged.decision);
        let kept = self.keeper().take_in(&identity, held, work.deadline).await?;
        Ok(crate::process::decided(decision, &kept))
    }

    async fn remove_by_rule(
        &self,
        series: &CopyKey,
        start: i64,
        at: i64,
        deadline: Deadline,
    ) -> Result<Decision, Failure> {
        if let Ok(start) = Timestamp::from_second(start) {
            let event = occurrence_id(&series.event, start);
            let key = CopyKey { grant: series.grant.clone(), event, by_rule: true };
            self.gone(&key, at, None, None, deadline).await?;
        }
        Ok(Decision::done("no longer named by the rule"))
    }

    async fn go_on(
        &self,
        series: &CopyKey,
        calendar_id: Option<String>,
        after: i64,
        deleted_at: Option<i64>,
        version: Version,
        work: &Work,
    ) -> Result<(), Failure> {
        let (grant_id, event_id) = (series.grant.clone(), series.event.clone());
        let (kind, goes_on_with) = (SERIES.to_owned(), work.sent_at.as_second());
        let job = Job { kind, grant_id, calendar_id, event_id, after, deleted_at, version, goes_on_with };
        send(self.rules.ports.queue, &job_message(FUNCTION, GroupId::of("event", &series.event), &job)?).await
    }

    async fn remembered(&self, series: &CopyKey) -> Result<(Remembered, Version, Option<Revision>), Failure> {
        let Some(standing) = self.rules.ports.links.get(&series_key(series)).await? else {
            return Ok((Remembered::default(), Version::default(), None));
        };
        let known = serde_json::from_value(standing.link.facts.into()).map_err(|error| {
            Failure::permanent("link.broken", format!("the link of a series cannot be read: {error}"))
        })?;
        Ok((known, standing.link.version, Some(standing.revision)))
    }

    /// Changes what is remembered of a series, and answers it; none if a newer version of its master is known.
    async fn remember(
        &self,
        series: &CopyKey,
        version: Version,
        change: impl Fn(&mut Remembered),
    ) -> Result<Option<Remembered>, Failure> {
        loop {
            let (mut known, standing, revision) = self.remembered(series).await?;
            if standing > version {
                return Ok(None);
            }
            change(&mut known);
            let Ok(serde_json::Value::Object(facts)) = serde_json::to_value(&known) else {
                return Err(Failure::permanent("link.broken", "the link of a series cannot be written"));
            };
            let state = LinkState::Live { became: series.event.clone() };
            let link = Link { key: series_key(series), state, version, content: None, facts };
            let put = self.rules.ports.links.put(&link, revision, self.rules.ports.clock.now()).await?;
            if matches!(put, PutLink::Stored(_)) {
                return Ok(Some(known));
            }
        }
    }
}

/// When an occurrence that was changed by itself would have begun by the rule.
fn started(changed: &BTreeMap<i64, String>, id: &str) -> Option<Timestamp> {
    let start = changed.iter().find(|(_, held)| *held == id).map(|(start, _)| *start)?;
    Timestamp::from_second(start).ok()
}

/// The decision about a slice.
fn told(slice: Slice, left: usize, more: bool) -> Result<Decision, Failure> {
    if let Some(refused) = slice.refused {
        return Err(refused);
    }
    let reason = slice.skipped.iter().max_by_key(|(_, count)| **count).map(|(reason, _)| reason.clone());
    let decision = match reason.filter(|_| slice.written == 0) {
        Some(reason) => Decision::skipped(reason).with("series", true),
        None => Decision::done("series"),
    };
    let waits_for = slice.waits_for.into_iter().take(MOST_WAITED_FOR).collect();
    Ok(decision
        .with("kept", slice.done)
        .with("written", slice.written)
        .with("left", left)
        .with("more", more)
        .waiting_for(waits_for))
}

fn series_key(series: &CopyKey) -> LinkKey {
    LinkKey::new("series", &sha256_hex(&[series.grant.as_bytes(), b"/", series.event.as_bytes()]))
}

/// When an occurrence begins by its series' rule.
fn start_seconds(event: &Event) -> Option<i64> {
    let start = event.original_start_time.or_else(|| event.when.as_ref().and_then(start_of))?;
    Some(start.as_second())
}

fn shifted(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(time)
}

//! A series in the CRM: each of its occurrences is kept as a meeting of its own, in slices that are jobs of their own,
//! so that an invocation never runs long and a crash costs no more than a slice.
//!
//! The link of a series remembers which starts were laid out: what the rule no longer names goes, and all of it when the
//! master is deleted.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::domain::decision::Decision;
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::domain::queue_message::GroupId;
use shared::engine::job::{job_message, send};
use shared::engine::{Deadline, Links as _, PutLink, Revision, Work};
use shared::nylas::event::Event;
use shared::reconcile::SIDE_BY_SIDE;

use crate::FUNCTION;
use crate::copies::{Copy, CopyKey, CopyState};
use crate::index::{Buried, Known};
use crate::keep::Held;
use crate::meeting::identity_of;
use crate::process::{BatchRules, Ports};
use crate::series::{Window, events_of, occurrence_id, occurrences, original_start_of, start_of};

/// How far occurrences are laid out before and after now.
const LAID_OUT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How far ahead they are laid out at least, if the series is looked at every night.
const LAID_OUT_AT_LEAST: SignedDuration = SignedDuration::from_hours(60 * 24);

/// No occurrence is begun with less time than this left.
const ENOUGH_TIME: Duration = Duration::from_secs(8);

/// How many occurrences one message keeps.
const SLICE: usize = 20;

/// The type of a job that goes on with a series.
pub(crate) const SERIES: &str = "calendar.series";

/// `{"type":"calendar.series", …}`: what is left of a series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesJob {
    /// Always `calendar.series`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The account.
    pub grant_id: String,
    /// The calendar, where it is known.
    pub calendar_id: Option<String>,
    /// The master.
    pub event_id: String,
    /// The start up to which everything is done, in Unix seconds.
    pub after: i64,
    /// When the master was deleted, in Unix seconds, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<i64>,
    /// Which version of the master it was begun for: a later one is another job.
    pub version: Version,
    /// When the message was sent that it goes on with, in Unix seconds: another one is another job.
    pub goes_on_with: i64,
}

/// What the link of a series holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Facts {
    /// Starts of occurrences that the CRM may show by this series' rule, in Unix seconds.
    starts: BTreeSet<i64>,
    /// Up to when everything was laid out, in Unix seconds.
    #[serde(default)]
    until: i64,
}

/// What is known of a series that was laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LaidOut {
    /// The version of its master.
    pub(crate) version: Version,
    /// Up to when it was laid out, in Unix seconds.
    until: i64,
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

impl<P: Ports> BatchRules<'_, '_, P> {
    /// Keeps the occurrences that a master stands for, those after a start, as many as a slice holds.
    pub(crate) async fn lay_out(&self, master: &Event, after: Option<i64>, work: &Work) -> Result<Decision, Failure> {
        let told_at = work.sent_at.as_second();
        let version = Version {
            sequence: master.sequence.unwrap_or_default(),
            changed_at: master.updated_at.map_or(told_at, Timestamp::as_second),
        };
        let grant = master.grant_id.clone().unwrap_or_default();
        let key = CopyKey { grant, event: master.id.clone(), by_rule: false };
        if let Known::Deleted { at } = self.index().find(&key).await?
            && version.changed_at <= at
        {
            return Ok(Decision::skipped("deleted since"));
        }
        let window = Window { from: shifted(work.sent_at, -LAID_OUT), to: shifted(work.sent_at, LAID_OUT) };
        let laid =
            occurrences(master, window).map_err(|error| Failure::permanent("event.series", error.to_string()))?;
        let changed = self.changed_by_themselves(master, work.deadline).await?;
        let started = |id: &str| changed.iter().find(|(_, held)| held == id).map(|(start, _)| *start);
        let events = events_of(master, &laid, started);

        let by_rule: BTreeSet<i64> = events.iter().filter_map(start_seconds).collect();
        let Some(standing) = self.remember(&key, version, |facts| facts.starts.extend(&by_rule)).await? else {
            return Ok(Decision::skipped("older than what is known of the series"));
        };
        let is_in_window = |start: &i64| (window.from.as_second()..=window.to.as_second()).contains(start);
        let mut steps: BTreeMap<i64, Step> = events
            .into_iter()
            .filter_map(|event| Some((start_seconds(&event)?, Step::Keep(Box::new(event)))))
            .collect();
        steps.extend(changed.into_iter().map(|(start, id)| (start.as_second(), Step::Changed(id))));
        for start in standing.starts.iter().filter(|start| is_in_window(start)) {
            steps.entry(*start).or_insert(Step::Remove);
        }
        steps.retain(|start, _| is_in_window(start) && after.is_none_or(|after| *start > after));

        let (mut last, mut done) = (None, 0);
        let all = steps.len();
        for (start, step) in steps {
            if done == SLICE || done > 0 && work.deadline.left() < ENOUGH_TIME {
                break;
            }
            match step {
                Step::Keep(event) => self.keep_by_rule(&event, version, work).await?,
                Step::Changed(id) => self.keep_changed(master, &id, work).await?,
                Step::Remove => self.remove_by_rule(&key, start, version.changed_at, work.deadline).await?,
            }
            (last, done) = (Some(start), done + 1);
        }
        let left = all - done;
        if let Some(after) = last.filter(|_| left > 0) {
            self.go_on(&key, master.calendar_id.clone(), after, None, version, work).await?;
        } else {
            let removed = |start: &i64| is_in_window(start) && !by_rule.contains(start);
            let until = window.to.as_second();
            self.remember(&key, version, |facts| {
                facts.starts.retain(|start| !removed(start));
                facts.until = facts.until.max(until);
            })
            .await?;
        }
        Ok(Decision::done("series").with("kept", done).with("left", left).with("more", laid.more))
    }

    /// What is known of a series; none if the copy is no master of one that was laid out.
    pub(crate) async fn laid_out(&self, key: &CopyKey) -> Result<Option<LaidOut>, Failure> {
        let (facts, version, revision) = self.facts(key).await?;
        Ok(revision.map(|_| LaidOut { version, until: facts.until }))
    }

    /// Lays a series out further, as a job of its own, if that was last done too long ago.
    pub(crate) async fn extend(&self, key: &CopyKey, calendar: &str, work: &Work) -> Result<(), Failure> {
        let Some(laid) = self.laid_out(key).await? else { return Ok(()) };
        if laid.until >= shifted(work.sent_at, LAID_OUT_AT_LEAST).as_second() {
            return Ok(());
        }
        self.go_on(key, Some(calendar.to_owned()), laid.until, None, laid.version, work).await
    }

    /// Removes every occurrence of a series whose master was deleted, those after a start, as many as a slice holds.
    pub(crate) async fn remove_series(
        &self,
        key: &CopyKey,
        at: i64,
        after: Option<i64>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let facts = self.facts(key).await?.0;
        let starts: Vec<i64> =
            facts.starts.into_iter().filter(|start| after.is_none_or(|after| *start > after)).collect();
        let mut done = 0;
        for start in &starts {
            if done == SLICE || done > 0 && work.deadline.left() < ENOUGH_TIME {
                break;
            }
            self.remove_by_rule(key, *start, at, work.deadline).await?;
            done += 1;
        }
        let left = starts.len() - done;
        if let Some(last) = starts.get(done.wrapping_sub(1)).filter(|_| left > 0) {
            let version = Version { sequence: 0, changed_at: at };
            self.go_on(key, None, *last, Some(at), version, work).await?;
        }
        Ok(Decision::done("series deleted").with("removed", done).with("left", left))
    }

    /// Goes on with what is left of a series.
    ///
    /// # Errors
    /// If the job cannot be read, or the CRM, Nylas or the tables do not do what is asked.
    pub async fn go_on_with_series(&self, work: &Work) -> Result<Decision, Failure> {
        let job: SeriesJob = serde_json::from_str(&work.body)
            .map_err(|error| Failure::permanent("body.unreadable", format!("the job cannot be read: {error}")))?;
        let grant = GrantId::parse(&job.grant_id)
            .ok_or_else(|| Failure::permanent("body.unreadable", "the job's `grant_id` is empty or too long"))?;
        if let Some(at) = job.deleted_at {
            let key = CopyKey { grant: job.grant_id, event: job.event_id, by_rule: false };
            return self.remove_series(&key, at, Some(job.after), work).await;
        }
        match self.fetched(&grant, job.calendar_id.as_deref(), &job.event_id, work.deadline).await? {
            Some(master) if master.is_master() => self.lay_out(&master, Some(job.after), work).await,
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
        let around = Window {
            from: shifted(start, -SignedDuration::from_hours(1)),
            to: shifted(start, SignedDuration::from_hours(1)),
        };
        let laid =
            occurrences(&master, around).map_err(|error| Failure::permanent("event.series", error.to_string()))?;
        Ok(events_of(&master, &laid, |_| None).into_iter().find(|event| event.original_start_time == Some(start)))
    }

    /// The occurrences that a master says were changed by themselves: when each would have begun by the rule, and its id.
    /// Only where the id does not tell is Nylas asked.
    async fn changed_by_themselves(
        &self,
        master: &Event,
        deadline: Deadline,
    ) -> Result<Vec<(Timestamp, String)>, Failure> {
        let ids = master.occurrences.clone().unwrap_or_default();
        let found: Vec<Option<(Timestamp, String)>> = futures_util::stream::iter(ids)
            .map(async |id| {
                if let Some(start) = original_start_of(&master.id, &id) {
                    return Ok::<_, Failure>(Some((start, id)));
                }
                let event = self.occurrence(master, &id, deadline).await?;
                Ok(event.and_then(|event| Some((event.original_start_time?, id))))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// An occurrence that its calendar holds by itself, as Nylas holds it; none if it is gone.
    async fn occurrence(&self, master: &Event, id: &str, deadline: Deadline) -> Result<Option<Event>, Failure> {
        let Some(grant) = master.grant_id.as_deref().and_then(GrantId::parse) else { return Ok(None) };
        self.fetched(&grant, master.calendar_id.as_deref(), id, deadline).await
    }

    /// Keeps an occurrence that was changed by itself. One that is gone is told of by a notification of its own.
    async fn keep_changed(&self, master: &Event, id: &str, work: &Work) -> Result<(), Failure> {
        if let Some(event) = self.occurrence(master, id, work.deadline).await? {
            self.single(&event, work).await?;
        }
        Ok(())
    }

    async fn keep_by_rule(&self, event: &Event, version: Version, work: &Work) -> Result<(), Failure> {
        let grant = event.grant_id.clone().unwrap_or_default();
        let by_itself = CopyKey { grant, event: event.id.clone(), by_rule: false };
        if let Known::Deleted { at } = self.index().find(&by_itself).await?
            && version.changed_at <= at
        {
            return Ok(());
        }
        let judged = self.judge(event, true, version.changed_at, work.deadline).await?;
        let bound = self.index().bind(&judged.held.copy.key, version, &identity_of(event)).await?;
        let Some(identity) = bound else { return Ok(()) };
        self.keeper().take_in(&identity, judged.held, work.deadline).await?;
        Ok(())
    }

    async fn remove_by_rule(&self, series: &CopyKey, start: i64, at: i64, deadline: Deadline) -> Result<(), Failure> {
        let Ok(start) = Timestamp::from_second(start) else { return Ok(()) };
        let event = occurrence_id(&series.event, start);
        let key = CopyKey { grant: series.grant.clone(), event, by_rule: true };
        let Buried::Bound(identity) = self.index().bury(&key, at).await? else { return Ok(()) };
        let gone = Copy { key, calendar: None, state: CopyState::Gone { at } };
        self.keeper().take_in(&identity, Held { copy: gone, meeting: None }, deadline).await?;
        Ok(())
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
        let kind = SERIES.to_owned();
        let goes_on_with = work.sent_at.as_second();
        let job = SeriesJob { kind, grant_id, calendar_id, event_id, after, deleted_at, version, goes_on_with };
        send(self.rules.ports.queue, &job_message(FUNCTION, GroupId::of("event", &series.event), &job)?).await
    }

    async fn facts(&self, series: &CopyKey) -> Result<(Facts, Version, Option<Revision>), Failure> {
        let Some(standing) = self.rules.ports.links.get(&series_key(series)).await? else {
            return Ok((Facts::default(), Version::default(), None));
        };
        let facts = serde_json::from_value(standing.link.facts.into()).map_err(|error| {
            Failure::permanent("link.broken", format!("the link of a series cannot be read: {error}"))
        })?;
        Ok((facts, standing.link.version, Some(standing.revision)))
    }

    /// Changes what is remembered of a series, and answers it; none if a newer version of its master is known.
    async fn remember(
        &self,
        series: &CopyKey,
        version: Version,
        change: impl Fn(&mut Facts),
    ) -> Result<Option<Facts>, Failure> {
        loop {
            let (mut facts, known, revision) = self.facts(series).await?;
            if known > version {
                return Ok(None);
            }
            change(&mut facts);
            let Ok(serde_json::Value::Object(map)) = serde_json::to_value(&facts) else {
                return Err(Failure::permanent("link.broken", "the link of a series cannot be written"));
            };
            let state = LinkState::Live { became: series.event.clone() };
            let link = Link { key: series_key(series), state, version, content: None, facts: map };
            let put = self
                .rules
                .ports
                .links
                .put(&link, revision, self.rules.ports.clock.now())
                .await
                ?;
            if matches!(put, PutLink::Stored(_)) {
                return Ok(Some(facts));
            }
        }
    }
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

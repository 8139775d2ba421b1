//! Reconciling: what Nylas has not notified of is found by looking through every calendar of an account, and goes the
//! ordinary way, as a message in the function's own queue.
//!
//! Each calendar is looked through twice. What was changed since the watermark is listed where the provider knows when
//! that was. Then what lies around now is: where the provider does not know, that is all there is; everywhere it finds
//! deletions, by what was there the night before, and series whose occurrences have to be laid out further. Last come
//! the decisions that wait for somebody to become a contact.

use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use shared::domain::decision::{Decision, WAITING_DAYS};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::GrantId;
use shared::domain::queue_message::GroupId;
use shared::engine::job::send;
use shared::engine::progress::Step;
use shared::engine::watermark::{advance_watermark, watermark};
use shared::engine::{Links as _, OwnMessage, PutLink, Revision, WaitingPlace, Work};
use shared::nylas::event::Event;
use shared::nylas::mailboxes::Grant;
use shared::nylas::{EventFilter, NylasError};
use shared::reconcile::{
    AsIfNotified, NOTHING_BETWEEN, RECOVERED, ReconcileJob, SIDE_BY_SIDE, Span, fan_out, look_again,
};

use crate::FUNCTION;
use crate::backfill::{as_if_notified, place, place_of};
use crate::copies::CopyKey;
use crate::process::{BatchRules, Ports, ReadEvents as _, version_of};
use crate::roster::Roster;
use crate::series::start_of;

/// How far around the span the times of changed events may lie, in seconds: Nylas lists a month ahead unless it is told.
const FAR: i64 = 3 * 366 * 24 * 60 * 60;

/// How many missing events one job looks at.
const MOST_LOOKED_AT: usize = 40;

/// How far around now a calendar is looked through, each way, in seconds.
const AROUND: i64 = 30 * 24 * 60 * 60;

/// Which events of a calendar are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pass {
    /// Those that were changed within the span.
    Changed,
    /// Those that take place around now.
    Around,
    /// Those that took place around now the night before, and are not listed any more.
    Missing,
}

/// How far a job has come within an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Place {
    /// The calendars that are left, that which is being looked through first; none before they are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendars: Option<Vec<String>>,
    /// How it is being looked through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pass: Option<Pass>,
    /// Which page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
    /// All calendars are looked through; next come the decisions that wait, after this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting_after: Option<WaitingPlace>,
}

type Job = ReconcileJob<Place>;

/// The calendar that a job looks through.
struct Under<'a> {
    grant: &'a GrantId,
    calendar: &'a str,
    span: Span,
}

impl<P: Ports> BatchRules<'_, '_, P> {
    /// Works on one page of an account, or makes one job an account.
    ///
    /// # Errors
    /// If the job cannot be read, or the CRM, Nylas or the tables do not do what is asked.
    pub async fn reconcile(&self, work: &Work) -> Result<Decision, Failure> {
        let job = Job::read(work)?;
        let Some(grant) = job.grant()? else {
            return self.fan_out(&job, work).await;
        };
        match &job.place.waiting_after {
            None => self.look_through(&job, &grant, work).await,
            Some(after) => self.try_waiting_again(&job, &grant, after.clone(), work).await,
        }
    }

    /// One job for each account.
    async fn fan_out(&self, job: &Job, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        let left_out: Vec<&str> = job.except_grant_ids.iter().flat_map(|list| list.split(',').map(str::trim)).collect();
        let wanted = |grant: &Grant| grant.has_calendars() && !left_out.contains(&grant.id.as_str());
        let fanned = fan_out(job, FUNCTION, ports.nylas, ports.queue, wanted, work).await?;
        let (queued, expired) = (fanned.grants.len(), fanned.expired);
        let (counts, problem) = (fanned.counts(), fanned.problem());
        let step = Step { counts: &counts, last: true, parts: fanned.grants, problem, ..Step::default() };
        job.note(FUNCTION, ports.links, &ports.clock, step).await?;
        Ok(Decision::done("reconcile: one job an account").with("accounts", queued).with("expired", expired))
    }

    /// One page of one calendar: what is not known yet goes into the queue.
    async fn look_through(&self, job: &Job, grant: &GrantId, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        if let Some(problem) = self.rules.unknown(grant, work.deadline).await? {
            let step = Step { last: true, problem: Some(problem.clone()), ..Step::default() };
            job.note(FUNCTION, ports.links, &ports.clock, step).await?;
            return Ok(Decision::held("reconcile: there is no such account").with("problem", problem));
        }
        let mark = watermark(ports.links, FUNCTION, grant).await?;
        let Some(span) = job.span(mark, work) else {
            let step = Step { last: true, problem: Some(NOTHING_BETWEEN.to_owned()), ..Step::default() };
            job.note(FUNCTION, ports.links, &ports.clock, step).await?;
            return Ok(Decision::skipped("reconcile: nothing between from and to"));
        };
        let calendars = match &job.place.calendars {
            Some(calendars) => calendars.clone(),
            None => match self.own_calendars(grant, work.deadline).await {
                Ok(calendars) => calendars,
                Err(error) if error.is_out_of_reach() => {
                    return self.out_of_reach(job, grant, mark, span, error.to_string()).await;
                }
                Err(error) => return Err(error.into()),
            },
        };
        let tells_changes = self.rules.provider(grant, work.deadline).await?.is_some_and(|provider| {
            // Nylas API reference, `updated_after`: "Google, Microsoft and EWS".
            matches!(provider.as_str(), "google" | "microsoft" | "ews")
        });
        let first_pass = if tells_changes { Pass::Changed } else { Pass::Around };
        let Some((calendar, further)) = calendars.split_first() else {
            let next = Place { calendars: Some(Vec::new()), ..Place::default() };
            let decision = Decision::done("reconcile: the account has no calendar that it can write to");
            return self.go_on_with_reconcile(job, span, next, ((0, 0), (0, 0)), decision, work).await;
        };
        let pass = job.place.pass.unwrap_or(first_pass);
        let under = Under { grant, calendar, span };
        let at = |calendars: &[String], pass: Option<Pass>, page_token: Option<String>| Place {
            calendars: Some(calendars.to_vec()),
            pass,
            page_token,
            waiting_after: None,
        };
        if pass == Pass::Missing {
            let (found, more) = self.queue_what_has_vanished(job, &under, work).await?;
            let next = if more { at(&calendars, Some(pass), None) } else { at(further, None, None) };
            let decision =
                told(Decision::done("reconcile: events that are not listed any more"), (0, found), pass, calendar);
            return self.go_on_with_reconcile(job, span, next, ((0, 0), (0, found)), decision, work).await;
        }
        let (around_from, around_to) = around(span);
        let wanted = match pass {
            Pass::Changed => EventFilter {
                start: Some(span.from - FAR),
                end: Some(span.to + FAR),
                updated_after: Some(span.from - 1),
                updated_before: Some(span.to),
                show_cancelled: true,
            },
            // Google shows what was deleted among what is cancelled.
            _ => EventFilter { start: Some(around_from), end: Some(around_to), ..EventFilter::default() },
        };
        let page_token = job.place.page_token.as_deref();
        let page = match ports.nylas.events(grant, calendar, &wanted, page_token, work.deadline).await {
            Err(error @ NylasError::GrantExpired(_)) => {
                return self.out_of_reach(job, grant, mark, span, error.to_string()).await;
            }
            // One calendar that cannot be read is no reason to leave the others out.
            Err(error) if error.is_out_of_reach() || error.is_refused() => {
                let problem = format!("the calendar {calendar} cannot be read: {error}");
                let decision = told(Decision::done("reconcile: a calendar cannot be read"), (0, 0), pass, calendar)
                    .with("problem", problem);
                // What was changed there meanwhile has still to be found.
                let span = Span { closes_the_gap: false, ..span };
                let next = at(further, None, None);
                return self.go_on_with_reconcile(job, span, next, ((0, 0), (0, 0)), decision, work).await;
            }
            other => other?,
        };
        // What was changed within the span has been found before what lies around now is looked at.
        let is_found = |event: &Event| {
            let changed = event.updated_at.map(Timestamp::as_second);
            pass != first_pass && changed.is_some_and(|changed| (span.from..span.to).contains(&changed))
        };
        let listed = page.items.len() as u64;
        let not_found: Vec<&Event> = page.items.iter().filter(|event| !is_found(event)).collect();
        let missed = self.queue_what_is_unknown(job, &under, &not_found).await?;
        if pass == Pass::Around {
            self.extend_series(&under, &page.items, work).await?;
            self.change_roster(&under, |roster| roster.saw(job.run(), page.items.iter().map(seen))).await?;
        }
        // What counts is what was changed, where that can be told; otherwise what is there and tells its version.
        let versioned = page.items.iter().filter(|event| event.updated_at.is_some()).count() as u64;
        let counted = if pass == first_pass { (versioned, missed.min(versioned)) } else { (0, 0) };
        let next = match (page.next, pass) {
            (Some(token), _) => at(&calendars, Some(pass), Some(token)),
            (None, Pass::Changed) => at(&calendars, Some(Pass::Around), None),
            (None, _) => at(&calendars, Some(Pass::Missing), None),
        };
        let decision = told(Decision::done("reconcile: a page of events"), (listed, missed), pass, calendar);
        self.go_on_with_reconcile(job, span, next, (counted, (listed, missed)), decision, work).await
    }

    /// Leaves what is left to a job of its own: the calendars, then the decisions that wait.
    async fn go_on_with_reconcile(
        &self,
        job: &Job,
        span: Span,
        next: Place,
        (counted, found): ((u64, u64), (u64, u64)),
        decision: Decision,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        let next = if next.calendars.as_ref().is_some_and(Vec::is_empty) {
            if let Some(grant) = job.grant()?.filter(|_| span.closes_the_gap) {
                self.rules.advance(FUNCTION, &grant, span.to).await?;
            }
            let since = work.sent_at.checked_sub((WAITING_DAYS * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
            Place { waiting_after: Some(WaitingPlace::before(since)), ..Place::default() }
        } else {
            next
        };
        let next = Job { listed: job.listed + counted.0, missed: job.missed + counted.1, ..job.next(span, next) };
        send(ports.queue, &next.to_message(FUNCTION)?).await?;
        let counts = [("listed", found.0), (RECOVERED, found.1)];
        let problem = decision.facts.get("problem").and_then(Value::as_str).map(str::to_owned);
        job.note(FUNCTION, ports.links, &ports.clock, Step { counts: &counts, problem, ..Step::default() }).await?;
        Ok(decision.with("from", span.from).with("to", span.to))
    }

    /// What it missed is fetched when it is back: the watermark stays where it is, and there is one from now on.
    async fn out_of_reach(
        &self,
        job: &Job,
        grant: &GrantId,
        mark: Option<Timestamp>,
        span: Span,
        problem: String,
    ) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        if mark.is_none() && span.closes_the_gap {
            self.rules.advance(FUNCTION, grant, span.from).await?;
        }
        let step = Step { last: true, problem: Some(problem.clone()), ..Step::default() };
        job.note(FUNCTION, ports.links, &ports.clock, step).await?;
        Ok(Decision::held("reconcile: the account is out of reach").with("problem", problem))
    }

    async fn queue_what_is_unknown(&self, job: &Job, under: &Under<'_>, events: &[&Event]) -> Result<u64, Failure> {
        let of_this_account = |event: &&Event| Event {
            grant_id: Some(under.grant.as_str().to_owned()),
            calendar_id: event.calendar_id.clone().or_else(|| Some(under.calendar.to_owned())),
            ..(*event).clone()
        };
        let events: Vec<Event> = events.iter().map(of_this_account).collect();
        let unknown: Vec<Event> = futures_util::stream::iter(events)
            .map(async |event| Ok::<_, Failure>((!self.is_known(&event).await?).then_some(event)))
            .buffer_unordered(SIDE_BY_SIDE)
            .try_filter_map(async |unknown| Ok(unknown))
            .try_collect()
            .await?;
        let messages: Vec<OwnMessage> = unknown
            .iter()
            .map(|event| {
                as_if_notified(event, &format!("{}.{}.{}", version_of(event, 0).changed_at, job.run(), place_of(event)))
            })
            .collect();
        futures_util::stream::iter(messages)
            .map(async |message| send(self.rules.ports.queue, &message).await)
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(unknown.len() as u64)
    }

    /// True if this version of an event, or a later one, was taken in, or need not be. One that does not tell its version
    /// never is.
    async fn is_known(&self, event: &Event) -> Result<bool, Failure> {
        if event.updated_at.is_none() {
            return Ok(false);
        }
        let version = version_of(event, 0);
        let key = CopyKey::of(event);
        if event.is_master() {
            return Ok(self.laid_out(&key).await?.is_some_and(|laid| laid.version >= version));
        }
        match self.copy(&key).await? {
            Some(copy) => Ok(copy.covers(version)),
            None => Ok(!self.is_worth_a_record(event).await?),
        }
    }

    /// Lays series out further that were laid out too long ago.
    async fn extend_series(&self, under: &Under<'_>, events: &[Event], work: &Work) -> Result<(), Failure> {
        for master in events.iter().filter(|event| event.is_master()) {
            let key = CopyKey { grant: under.grant.as_str().to_owned(), event: master.id.clone(), by_rule: false };
            self.extend(&key, under.calendar, work).await?;
        }
        Ok(())
    }

    /// Looks at events that were there the night before and are not listed any more: those that are gone go into the queue
    /// as deleted. Answers how many those are, and whether there are more to look at.
    async fn queue_what_has_vanished(&self, job: &Job, under: &Under<'_>, work: &Work) -> Result<(u64, bool), Failure> {
        let (from, to) = around(under.span);
        let missing = self.roster(under).await?.0.missing(from, to, MOST_LOOKED_AT);
        let is_last = missing.len() < MOST_LOOKED_AT;
        let looked_at: Vec<(String, Option<Event>)> = futures_util::stream::iter(missing)
            .map(async |id| {
                let event = self.fetched(under.grant, Some(under.calendar), &id, work.deadline).await?;
                Ok::<_, Failure>((id, event.filter(|event| !event.is_cancelled())))
            })
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect()
            .await?;
        let mut vanished = 0;
        for (id, event) in &looked_at {
            match event {
                None => {
                    send(self.rules.ports.queue, &as_if_deleted(under, id, job.run())).await?;
                    vanished += 1;
                }
                Some(event) if event.is_master() => {
                    self.extend_series(under, std::slice::from_ref(event), work).await?;
                }
                Some(_) => {}
            }
        }
        self.change_roster(under, |roster| {
            for (id, event) in &looked_at {
                // One that was moved out of the span is none of this calendar's business here any more.
                roster.looked_at(id, event.as_ref().is_some_and(Event::is_master));
            }
            if is_last {
                roster.end();
            }
        })
        .await?;
        Ok((vanished, !is_last))
    }

    async fn roster(&self, under: &Under<'_>) -> Result<(Roster, Option<Revision>), Failure> {
        let Some(standing) = self.rules.ports.links.get(&under.roster_key()).await? else {
            return Ok((Roster::default(), None));
        };
        // One that cannot be read is begun anew: it is only a memory.
        let roster = serde_json::from_value(Value::Object(standing.link.facts)).unwrap_or_default();
        Ok((roster, Some(standing.revision)))
    }

    async fn change_roster(&self, under: &Under<'_>, change: impl Fn(&mut Roster)) -> Result<(), Failure> {
        loop {
            let (mut roster, revision) = self.roster(under).await?;
            change(&mut roster);
            let Ok(Value::Object(facts)) = serde_json::to_value(&roster) else {
                return Err(Failure::permanent("link.broken", "the roster of a calendar cannot be written"));
            };
            let (key, version) = (under.roster_key(), Version::default());
            let link = Link { key, state: LinkState::Note, version, content: None, facts };
            let ports = &self.rules.ports;
            if let PutLink::Stored(_) = ports.links.put(&link, revision, ports.clock.now()).await? {
                return Ok(());
            }
        }
    }

    /// Looks the addresses of waiting decisions up again; a meeting with somebody known in it by now goes into the queue.
    async fn try_waiting_again(
        &self,
        job: &Job,
        grant: &GrantId,
        after: WaitingPlace,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        let clients = (ports.decisions, ports.queue, &self.lookup);
        let looked = look_again(FUNCTION, grant, after, clients, work, |waiting| {
            let object = json!({ "object": "event", "id": waiting.object, "grant_id": grant.as_str() });
            let version = format!("contact.{}.{}", job.run(), grant.as_str());
            let group = GroupId::of("event", &waiting.object);
            AsIfNotified { function: FUNCTION, trigger: "event.updated.transformed", version, object, group }
                .to_message()
        })
        .await?;
        let last = looked.go_on_after.is_none();
        if let Some(after) = looked.go_on_after {
            let place = Place { waiting_after: Some(after), ..Place::default() };
            let next = Job { step: job.step + 1, place, ..job.clone() };
            send(ports.queue, &next.to_message(FUNCTION)?).await?;
        }
        let counts = [("looked up again", looked.looked_at), (RECOVERED, looked.matched)];
        job.note(FUNCTION, ports.links, &ports.clock, Step { counts: &counts, last, ..Step::default() }).await?;
        Ok(Decision::done("reconcile: meetings without a known contact")
            .with("looked_at", looked.looked_at)
            .with("matched", looked.matched))
    }
}

/// The span around the end of what is looked through, in Unix seconds: the same for every page of a run.
fn around(span: Span) -> (i64, i64) {
    (span.to - AROUND, span.to + AROUND)
}

fn told(decision: Decision, (listed, missed): (u64, u64), pass: Pass, calendar: &str) -> Decision {
    let pass = match pass {
        Pass::Changed => "changed",
        Pass::Around => "around now",
        Pass::Missing => "not listed any more",
    };
    decision.with("listed", listed).with("missed", missed).with("pass", pass).with("calendar", calendar)
}

/// What the roster keeps of an event.
fn seen(event: &Event) -> (String, Option<i64>) {
    let start = event.when.as_ref().and_then(start_of).filter(|_| !event.is_master());
    (event.id.clone(), start.map(Timestamp::as_second))
}

/// A deletion as if Nylas had notified of it.
fn as_if_deleted(under: &Under<'_>, id: &str, run: &str) -> OwnMessage {
    let (grant, calendar) = (under.grant.as_str(), under.calendar);
    let object = json!({ "object": "event", "id": id, "grant_id": grant, "calendar_id": calendar });
    let (version, group) = (format!("deleted.{run}.{}", place(grant, calendar)), GroupId::of("event", id));
    AsIfNotified { function: FUNCTION, trigger: "event.deleted", version, object, group }.to_message()
}

impl Under<'_> {
    fn roster_key(&self) -> LinkKey {
        LinkKey::new("roster", &sha256_hex(&[self.grant.as_str().as_bytes(), b"/", self.calendar.as_bytes()]))
    }
}

impl<P: Ports> crate::process::CalendarSync<'_, P> {
    /// Moves a function's watermark of an account, in Unix seconds.
    pub(crate) async fn advance(&self, function: &str, grant: &GrantId, to: i64) -> Result<(), Failure> {
        let Ok(to) = Timestamp::from_second(to) else { return Ok(()) };
        advance_watermark(self.ports.links, function, grant, to, self.ports.clock.now()).await.map_err(Failure::from)
    }
}

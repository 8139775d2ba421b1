//! Reconciling: what Nylas has not notified of is found by looking through every calendar of an account, and goes the
//! ordinary way, as a message in the function's own queue.
//!
//! Each calendar is looked through twice. What was changed since the watermark is listed where the provider knows when
//! that was. Then what lies around now is: where the provider does not know, that is all there is; everywhere it finds
//! deletions, which no list shows, and series whose occurrences have to be laid out further. Last come the decisions that
//! wait for somebody to become a contact.

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
use shared::engine::{Links as _, OwnMessage, PutLink, WaitingPlace, Work};
use shared::nylas::EventFilter;
use shared::nylas::event::Event;
use shared::nylas::mailboxes::Grant;
use shared::reconcile::{
    AsIfNotified, NOTHING_BETWEEN, RECOVERED, ReconcileJob, SIDE_BY_SIDE, Span, fan_out, look_again,
};

use crate::FUNCTION;
use crate::backfill::{as_if_notified, version_of};
use crate::copies::CopyKey;
use crate::process::{BatchRules, Ports, ReadEvents as _};
use crate::roster::Roster;
use crate::series::start_of;

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
            return self.go_on_with_waiting(job, grant, span, work, ((0, 0), (0, 0))).await;
        };
        let pass = job.place.pass.unwrap_or(first_pass);
        let under = Under { grant, calendar };
        let wanted = match pass {
            Pass::Changed => EventFilter {
                updated_after: Some(span.from - 1),
                updated_before: Some(span.to),
                show_cancelled: true,
                ..EventFilter::default()
            },
            Pass::Around => {
                let (from, to) = around(work);
                EventFilter {
                    start: Some(from),
                    end: Some(to),
                    show_cancelled: tells_changes,
                    ..EventFilter::default()
                }
            }
        };
        let page =
            match ports.nylas.events(grant, calendar, &wanted, job.place.page_token.as_deref(), work.deadline).await {
                Err(error) if error.is_out_of_reach() => {
                    return self.out_of_reach(job, grant, mark, span, error.to_string()).await;
                }
                other => other?,
            };
        let listed = page.items.len() as u64;
        // What was changed within the span has been found before what lies around now is looked at.
        let is_found = |event: &Event| {
            let changed = event.updated_at.map(Timestamp::as_second);
            pass != first_pass && changed.is_some_and(|changed| (span.from..span.to).contains(&changed))
        };
        let not_found: Vec<&Event> = page.items.iter().filter(|event| !is_found(event)).collect();
        let mut missed = self.queue_what_is_unknown(job, &under, &not_found).await?;
        let is_last = page.next.is_none();
        if pass == Pass::Around {
            self.extend_series(&under, &page.items, work).await?;
            missed += self.queue_what_has_vanished(job, &under, &page.items, is_last, work).await?;
        }
        // What counts is what was changed, where that can be told; otherwise what is there.
        let counted = if pass == first_pass { (listed, missed) } else { (0, 0) };
        let place = |calendars: &[String], pass: Option<Pass>, page_token: Option<String>| Place {
            calendars: Some(calendars.to_vec()),
            pass,
            page_token,
            waiting_after: None,
        };
        let next = match (page.next, pass) {
            (Some(token), _) => place(&calendars, Some(pass), Some(token)),
            (None, Pass::Changed) => place(&calendars, Some(Pass::Around), None),
            (None, Pass::Around) => place(further, None, None),
        };
        let facts = (listed, missed, pass, calendar.clone());
        if next.calendars.as_ref().is_some_and(Vec::is_empty) {
            let went_on = self.go_on_with_waiting(job, grant, span, work, (counted, (listed, missed))).await?;
            return Ok(told(went_on, &facts));
        }
        let next = Job { listed: job.listed + counted.0, missed: job.missed + counted.1, ..job.next(span, next) };
        send(ports.queue, &next.to_message(FUNCTION)?).await?;
        let counts = [("listed", listed), (RECOVERED, missed)];
        job.note(FUNCTION, ports.links, &ports.clock, Step { counts: &counts, ..Step::default() }).await?;
        Ok(told(Decision::done("reconcile: a page of events"), &facts).with("from", span.from).with("to", span.to))
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
            self.rules.advance(grant, span.from).await?;
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
            .map(|event| as_if_notified(event, &format!("{}.{}", version_of(event), job.run())))
            .collect();
        futures_util::stream::iter(messages)
            .map(async |message| send(self.rules.ports.queue, &message).await)
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(unknown.len() as u64)
    }

    /// True if this version of an event, or a later one, was taken in. One that does not tell its version never is.
    async fn is_known(&self, event: &Event) -> Result<bool, Failure> {
        let Some(changed_at) = event.updated_at else { return Ok(false) };
        let version = Version { sequence: event.sequence.unwrap_or_default(), changed_at: changed_at.as_second() };
        let grant = event.grant_id.clone().unwrap_or_default();
        let key = CopyKey { grant, event: event.id.clone(), by_rule: false };
        if event.is_master() {
            return Ok(self.laid_out(&key).await?.is_some_and(|laid| laid.version >= version));
        }
        Ok(self.copy(&key).await?.is_some_and(|copy| copy.covers(version)))
    }

    /// Lays series out further that were laid out too long ago.
    async fn extend_series(&self, under: &Under<'_>, events: &[Event], work: &Work) -> Result<(), Failure> {
        for master in events.iter().filter(|event| event.is_master()) {
            let key = CopyKey { grant: under.grant.as_str().to_owned(), event: master.id.clone(), by_rule: false };
            self.extend(&key, under.calendar, work).await?;
        }
        Ok(())
    }

    /// Compares what a calendar holds with what it held the night before.
    async fn queue_what_has_vanished(
        &self,
        job: &Job,
        under: &Under<'_>,
        events: &[Event],
        is_last: bool,
        work: &Work,
    ) -> Result<u64, Failure> {
        let ports = &self.rules.ports;
        let key =
            LinkKey::new("roster", &sha256_hex(&[under.grant.as_str().as_bytes(), b"/", under.calendar.as_bytes()]));
        let (from, to) = around(work);
        loop {
            let standing = ports.links.get(&key).await?;
            let revision = standing.as_ref().map(|standing| standing.revision);
            // One that cannot be read is begun anew: it is only a memory.
            let mut roster: Roster = standing
                .and_then(|standing| serde_json::from_value(Value::Object(standing.link.facts)).ok())
                .unwrap_or_default();
            let start = |event: &Event| event.when.as_ref().and_then(start_of).map_or(work.sent_at, |start| start);
            roster.saw(job.run(), events.iter().map(|event| (event.id.clone(), start(event).as_second())));
            let mut vanished = 0;
            if is_last {
                for id in roster.vanished(from, to) {
                    // Moved out of the span, or really gone?
                    if self.fetched(under.grant, Some(under.calendar), id, work.deadline).await?.is_none() {
                        send(ports.queue, &as_if_deleted(under.grant, id, job.run())).await?;
                        vanished += 1;
                    }
                }
                roster.end();
            }
            let Ok(Value::Object(facts)) = serde_json::to_value(&roster) else {
                return Err(Failure::permanent("link.broken", "the roster of a calendar cannot be written"));
            };
            let link =
                Link { key: key.clone(), state: LinkState::Note, version: Version::default(), content: None, facts };
            if let PutLink::Stored(_) =
                ports.links.put(&link, revision, ports.clock.now()).await?
            {
                return Ok(vanished);
            }
        }
    }

    /// The calendars are looked through.
    async fn go_on_with_waiting(
        &self,
        job: &Job,
        grant: &GrantId,
        span: Span,
        work: &Work,
        (counted, found): ((u64, u64), (u64, u64)),
    ) -> Result<Decision, Failure> {
        let ports = &self.rules.ports;
        if span.closes_the_gap {
            self.rules.advance(grant, span.to).await?;
        }
        let since = work.sent_at.checked_sub((WAITING_DAYS * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
        let place = Place { waiting_after: Some(WaitingPlace::before(since)), ..Place::default() };
        let next = Job { listed: job.listed + counted.0, missed: job.missed + counted.1, ..job.next(span, place) };
        send(ports.queue, &next.to_message(FUNCTION)?).await?;
        let counts = [("listed", found.0), (RECOVERED, found.1)];
        job.note(FUNCTION, ports.links, &ports.clock, Step { counts: &counts, ..Step::default() }).await?;
        Ok(Decision::done("reconcile: the last page of events").with("from", span.from).with("to", span.to))
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
            let (version, group) = (format!("contact.{}", job.run()), GroupId::of("event", &waiting.object));
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

/// The span around now, in Unix seconds: the same for every page of a run, as nearly as it matters.
fn around(work: &Work) -> (i64, i64) {
    let now = work.sent_at.as_second();
    (now - AROUND, now + AROUND)
}

fn told(decision: Decision, (listed, missed, pass, calendar): &(u64, u64, Pass, String)) -> Decision {
    let pass = match pass {
        Pass::Changed => "changed",
        Pass::Around => "around now",
    };
    decision.with("listed", *listed).with("missed", *missed).with("pass", pass).with("calendar", calendar.clone())
}

/// A deletion as if Nylas had notified of it.
fn as_if_deleted(grant: &GrantId, id: &str, run: &str) -> OwnMessage {
    let object = json!({ "object": "event", "id": id, "grant_id": grant.as_str() });
    let (version, group) = (format!("deleted.{run}"), GroupId::of("event", id));
    AsIfNotified { function: FUNCTION, trigger: "event.deleted", version, object, group }.to_message()
}

impl<P: Ports> crate::process::CalendarSync<'_, P> {
    /// Moves an account's watermark, in Unix seconds.
    pub(crate) async fn advance(&self, grant: &GrantId, to: i64) -> Result<(), Failure> {
        let Ok(to) = Timestamp::from_second(to) else { return Ok(()) };
        advance_watermark(self.ports.links, FUNCTION, grant, to, self.ports.clock.now()).await.map_err(Failure::from)
    }
}

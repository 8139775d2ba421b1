//! One account's share of a run: its address book page by page, some contacts at a time, as long as the invocation lasts;
//! what is left is a message of its own. Where it has come to is saved after each step, so that a crash costs one step.

use jiff::Timestamp;
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use shared::contact_sync::SyncJob;
use shared::crm::FAILURE_CLASSES;
use shared::crm::contact_fields::UpdateContacts as _;
use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::engine::job::send;
use shared::engine::progress::{Progress, Step, advance, progress, run_key};
use shared::engine::watermark::{advance_watermark, watermark};
use shared::engine::{Deadline, ManyLinks as _, NeverLogged as _, StoreError, Work};
use shared::http::CallError;
use shared::nylas::contact::Contact;
use shared::nylas::{NylasError, Page};
use shared::reconcile::part_of;
use std::time::Duration;
use tokio::time::Instant;

use crate::FUNCTION;
use crate::address_book::{Copy, LeftAlone, read};
use crate::keep::{Mode, Task};
use crate::ports::{AddressBooks as _, Ports};
use crate::process::ContactSync;
use crate::remembered::{self, Outcome, Remembered};
use crate::tally::Tally;

/// With less than this left of an invocation no further contacts are begun; a message goes on with them.
const ENOUGH_TIME: Duration = Duration::from_secs(20);

/// How often a contact that the CRM has an error for is tried again at once.
const MOST_TRIES_OF_ONE: u32 = 2;

/// For how long a source that was looked through counts as known, in seconds: 30 days, less than contacts are remembered.
const KNOWN_FOR: i64 = 30 * 24 * 60 * 60;

/// How often a page is asked for again within an invocation after too many calls.
const MOST_WAITS: u32 = 4;

/// How long is waited at most before the first of those; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How far a share has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Place {
    /// Which of the sources of contacts: Google, Microsoft and EWS list one at a time (Nylas API reference, contacts).
    #[serde(default)]
    source: usize,
    /// The cursor of the page; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// How many contacts of that page are done.
    #[serde(default)]
    offset: usize,
    /// How many contacts are looked up in a step, where the CRM is too slow for as many as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_a_time: Option<usize>,
    /// True if Nylas has refused a cursor and all began anew.
    #[serde(default)]
    begun_anew: bool,
    /// When it began, in Unix seconds.
    began_at: i64,
    /// True if the address book was looked through before: what is new in it has changed lately.
    known_before: bool,
}

/// A share under way.
struct Share<'s> {
    job: &'s SyncJob,
    grant: &'s GrantId,
    run: String,
    /// Who does it, as records name it.
    by: String,
    place: Place,
    progress: Progress,
    /// The calls made when the last step ended.
    calls_before: (u64, u64),
    /// The longest that a step has taken in this invocation.
    slowest: Duration,
    /// True once the CRM has answered for a contact in this invocation.
    crm_answers: bool,
}

impl Place {
    /// The first page of a source.
    fn at_source(&self, source: usize) -> Self {
        Self { source, cursor: None, offset: 0, ..self.clone() }
    }
}

impl Share<'_> {
    /// In which way it is done, under its name.
    fn mode<'m>(&self, by: &'m str) -> Mode<'m> {
        Mode { by, dry_run: self.job.dry_run, replace_existing: self.job.replace_existing }
    }

    /// True if another step has room in this invocation, even if it takes half as long again as the slowest one.
    fn has_time_for_more(&self, work: &Work) -> bool {
        work.deadline.left() >= ENOUGH_TIME.max(self.slowest * 3 / 2)
    }
}

impl<P: Ports> ContactSync<'_, P> {
    /// Goes on with an account's share, wherever it has come to.
    pub(crate) async fn go_on_with_share(
        &self,
        crm: &P::Crm,
        job: &SyncJob,
        grant: &GrantId,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let run = run_of(job, work);
        // What follows is of this run, whoever named it.
        let job = &SyncJob { run: Some(run.clone()), ..job.clone() };
        let key = run_key(FUNCTION, &part_of(&run, Some(grant.as_str())));
        let progress = progress(self.ports.links, &key).await?.unwrap_or_default();
        let newer = if job.share { self.newer_than(&run).await? } else { None };
        let place = match progress.place.clone().map(serde_json::from_value) {
            Some(Ok(place)) => place,
            _ => Place {
                began_at: self.now(),
                known_before: self.known_before(grant, self.settings.first_source()).await?,
                ..Place::default()
            },
        };
        let by = format!("{run}/{grant}");
        let calls_before = self.calls(crm);
        let mut share = Share {
            job,
            grant,
            run: run.clone(),
            by,
            place,
            progress,
            calls_before,
            slowest: Duration::ZERO,
            crm_answers: false,
        };
        if let Some(newer) = newer
            && !share.progress.ended
        {
            let problem = Some(format!("the run {newer} has begun meanwhile and does what was left here"));
            self.note(crm, &mut share, Vec::new(), Step { last: true, problem, ..Step::default() }).await?;
            return Ok(Decision::skipped("a newer run has begun").with("run", run).with("newer", newer));
        }
        while !share.progress.ended {
            let source = self.settings.source(share.place.source);
            match self.page(grant, source, share.place.cursor.as_deref(), work.deadline).await {
                Ok(page) => {
                    let went_on = match self.work_through(crm, &mut share, page, work).await {
                        // Nothing of this account can be done tonight, whenever it is tried.
                        Err(Failure::Permanent { what, .. }) => {
                            let step = Step { last: true, problem: Some(what), ..Step::default() };
                            self.note(crm, &mut share, Vec::new(), step).await?;
                            true
                        }
                        went_on => went_on?,
                    };
                    if !went_on {
                        if job.share {
                            self.has_moved(&share.run).await?;
                        }
                        send(self.ports.queue, &job.next_slice().to_message(FUNCTION)?).await?;
                        let done = share.progress.steps;
                        return Ok(Decision::done("goes on in a message of its own").with("steps", done));
                    }
                }
                Err(error) if error.is_refused() && share.place.cursor.is_some() && !share.place.begun_anew => {
                    // Cursors do not live for ever. What is done already costs little now.
                    share.place = Place { begun_anew: true, ..share.place.at_source(share.place.source) };
                    self.note(crm, &mut share, vec![("begun anew", 1)], Step::default()).await?;
                }
                Err(error @ NylasError::GrantExpired(_)) => {
                    let step = Step { last: true, problem: Some(error.to_string()), ..Step::default() };
                    self.note(crm, &mut share, Vec::new(), step).await?;
                }
                Err(NylasError::Call(CallError::NotFound { .. })) if share.place.cursor.is_none() => {
                    let problem = Some(format!("Nylas knows no account `{grant}`, or it has no contacts"));
                    self.note(crm, &mut share, Vec::new(), Step { last: true, problem, ..Step::default() }).await?;
                }
                // Another source may be readable all the same.
                Err(error) if error.is_refused() || error.is_out_of_reach() => {
                    let problem = Some(format!("the source {source} cannot be read: {error}"));
                    self.next_source(crm, &mut share, Vec::new(), Step { problem, ..Step::default() }).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if job.share {
            self.close(&share.run, grant).await?;
        }
        let decision = Decision::done("address book looked through").with("run", share.run);
        let decision =
            share.progress.counts.iter().fold(decision, |decision, (name, count)| decision.with(name, *count));
        Ok(match share.progress.problem {
            Some(problem) => decision.with("problem", problem),
            None => decision,
        })
    }

    /// Works through the rest of a page. False if time is up before its end.
    async fn work_through(
        &self,
        crm: &P::Crm,
        share: &mut Share<'_>,
        page: Page<Contact>,
        work: &Work,
    ) -> Result<bool, Failure> {
        let never_log = self.ports.never_log.current().await?;
        let grant = share.grant.as_str();
        let contacts = page.items.get(share.place.offset..).unwrap_or_default();
        let read: Vec<Result<Copy, LeftAlone>> =
            contacts.iter().map(|contact| read(grant, contact, &never_log, &self.settings.reading)).collect();
        let keys: Vec<_> = read.iter().flatten().map(|copy| remembered::key(&copy.id)).collect();
        let mut known = self.ports.links.get_many(&keys).await?.into_iter();
        let by = share.by.clone();
        let mode = share.mode(&by);
        let at_a_time = share.place.at_a_time.unwrap_or(usize::MAX).min(crm.at_a_time()).max(1);
        let (mut tally, mut tasks) = (Tally::new(mode.dry_run), Vec::new());
        let last = read.len().saturating_sub(1);
        let mut answered = None;
        for (number, contact) in read.into_iter().enumerate() {
            match contact {
                Err(left_alone) => tally.left_alone(left_alone),
                Ok(copy) => {
                    let remembered = known.next().flatten().map(|stored| Remembered::of(stored.link)).transpose()?;
                    match remembered {
                        Some(remembered) if self.still_holds(&remembered, &copy, mode) => {
                            tally.remembered(&remembered, mode.by);
                            answered = answered.or_else(|| copy.addresses.into_iter().next());
                        }
                        remembered => tasks.push(self.task(copy, remembered.as_ref(), share.place.known_before)),
                    }
                }
            }
            if tasks.len() < at_a_time && number < last {
                continue;
            }
            for outcome in self.step(crm, share, std::mem::take(&mut tasks), answered.as_ref(), work).await? {
                tally.looked_at(&outcome);
            }
            share.place.offset += tally.contacts();
            if number == last {
                break;
            }
            let (counts, findings) = std::mem::replace(&mut tally, Tally::new(mode.dry_run)).into_counts();
            self.note(crm, share, counts, Step { findings, ..Step::default() }).await?;
            if !share.has_time_for_more(work) {
                return Ok(false);
            }
        }
        let (mut counts, findings) = tally.into_counts();
        counts.push(("pages", 1));
        let step = Step { findings, ..Step::default() };
        match page.next {
            Some(next) if share.place.cursor.as_ref() == Some(&next) => {
                let problem = Some("Nylas names one page as the next one after itself; look at it there".to_owned());
                self.next_source(crm, share, counts, Step { problem, ..step }).await?;
            }
            Some(next) => {
                share.place = Place { cursor: Some(next), ..share.place.at_source(share.place.source) };
                self.note(crm, share, counts, step).await?;
            }
            None => self.next_source(crm, share, counts, step).await?,
        }
        Ok(share.progress.ended || share.has_time_for_more(work))
    }

    /// Looks some contacts up, and answers what came of each. One that the CRM answers nothing for, while it answers for
    /// others, is left for another night: it must not keep the rest of its address book from theirs. `answered` is an
    /// address that the CRM has answered for some other time.
    async fn step(
        &self,
        crm: &P::Crm,
        share: &mut Share<'_>,
        tasks: Vec<Task>,
        answered: Option<&EmailAddress>,
        work: &Work,
    ) -> Result<Vec<Outcome>, Failure> {
        let begun = Instant::now();
        let by = share.by.clone();
        let mode = share.mode(&by);
        let mut looked = self.look_at(crm, &tasks, mode, work.deadline).await;
        for again in 1..=MOST_TRIES_OF_ONE {
            if looked.unanswered.is_empty() || looked.failed.is_some() || work.deadline.left() < ENOUGH_TIME {
                break;
            }
            tokio::time::sleep(FIRST_WAIT * again).await;
            let left: Vec<usize> = looked.unanswered.keys().copied().collect();
            let some: Vec<Task> = left.iter().map(|place| tasks[*place].clone()).collect();
            let anew = self.look_at(crm, &some, mode, work.deadline).await;
            looked.outcomes.extend(anew.outcomes.into_iter().map(|(place, outcome)| (left[place], outcome)));
            looked.unanswered = anew.unanswered.into_iter().map(|(place, failure)| (left[place], failure)).collect();
            looked.failed = anew.failed;
        }
        share.slowest = share.slowest.max(begun.elapsed());
        share.crm_answers |= !looked.outcomes.is_empty();
        if let Some(failure) = looked.failed {
            if matches!(&failure, Failure::Untried { class, .. } if *class == FAILURE_CLASSES.out_of_time)
                && tasks.len() > 1
            {
                share.place.at_a_time = Some(tasks.len() / 2);
                self.note(crm, share, Vec::new(), Step::default()).await?;
            }
            return Err(failure);
        }
        if let Some((_, failure)) = looked.unanswered.first_key_value() {
            if let Some(address) = answered.filter(|_| !share.crm_answers) {
                let found = crm.look_up(std::slice::from_ref(address), work.deadline).await;
                share.crm_answers = found.iter().all(Result::is_ok);
            }
            if !share.crm_answers {
                return Err(failure.clone());
            }
        }
        let unanswered = looked.unanswered.iter();
        let unanswered =
            unanswered.map(|(place, failure)| Outcome::unanswered(&tasks[*place].copy.id.contact, failure));
        Ok(looked.outcomes.into_values().chain(unanswered).collect())
    }

    /// Saves what the last step of a source came to. What is new in it from now on has changed lately; after the last
    /// source the share has ended.
    async fn next_source(
        &self,
        crm: &P::Crm,
        share: &mut Share<'_>,
        counts: Vec<(&'static str, u64)>,
        step: Step<'_>,
    ) -> Result<(), Failure> {
        if step.problem.is_none() && !share.job.dry_run {
            let began_at = Timestamp::from_second(share.place.began_at).unwrap_or_default();
            let of = of_source(self.settings.source(share.place.source));
            advance_watermark(self.ports.links, &of, share.grant, began_at, self.ports.clock.now()).await?;
        }
        share.place = share.place.at_source(share.place.source + 1);
        let last = share.place.source >= self.settings.sources.len();
        if !last {
            let source = self.settings.source(share.place.source);
            share.place.known_before = self.known_before(share.grant, source).await?;
        }
        self.note(crm, share, counts, Step { last, ..step }).await
    }

    /// True if a contact needs no lookup.
    fn still_holds(&self, remembered: &Remembered, copy: &Copy, mode: Mode<'_>) -> bool {
        let is_wanted_again = mode.replace_existing && !remembered.outcome.kept.is_empty() && remembered.by != mode.by;
        let reading = self.settings.reading.name();
        !is_wanted_again && remembered.still_holds(copy, &reading, self.settings.lookup_ttl, self.now())
    }

    /// True if a source of an account was looked through within the last month: what is new in it has changed lately then,
    /// and else has only come into sight.
    async fn known_before(&self, grant: &GrantId, source: &str) -> Result<bool, StoreError> {
        let mark = watermark(self.ports.links, &of_source(source), grant).await?;
        Ok(mark.is_some_and(|mark| self.now() - mark.as_second() < KNOWN_FOR))
    }

    /// A contact that has to be looked up, with when it changed as far as that was seen.
    pub(crate) fn task(&self, copy: Copy, remembered: Option<&Remembered>, known_before: bool) -> Task {
        let changed_at = match remembered {
            Some(remembered) if remembered.content == copy.content => remembered.changed_at,
            Some(_) => self.now(),
            None if known_before => self.now(),
            None => 0,
        };
        Task { copy, changed_at }
    }

    /// A page of an account's contacts; after too many calls it is asked for again while there is time.
    async fn page(
        &self,
        grant: &GrantId,
        source: &str,
        cursor: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Contact>, NylasError> {
        let mut waits = 0;
        loop {
            self.pace.until_ready().await;
            let page = self.ports.nylas.contacts(grant, source, cursor, deadline).await;
            let Err(NylasError::Call(CallError::RateLimited { retry_after, .. })) = &page else { return page };
            let jittered = (FIRST_WAIT * 2u32.pow(waits)).mul_f64(rand::rng().random());
            let wait = retry_after.map_or(jittered, |asked| asked + jittered / 4);
            if waits == MOST_WAITS || deadline.left() < wait + ENOUGH_TIME {
                return page;
            }
            waits += 1;
            tokio::time::sleep(wait).await;
        }
    }

    fn calls(&self, crm: &P::Crm) -> (u64, u64) {
        (self.ports.nylas.calls_made(), crm.calls_made())
    }

    /// Saves what a step came to and where the next one begins.
    async fn note(
        &self,
        crm: &P::Crm,
        share: &mut Share<'_>,
        mut counts: Vec<(&'static str, u64)>,
        step: Step<'_>,
    ) -> Result<(), Failure> {
        let (nylas, crm) = self.calls(crm);
        counts.extend([("Nylas calls", nylas - share.calls_before.0), ("CRM calls", crm - share.calls_before.1)]);
        if step.last {
            counts.push(("seconds", (self.now() - share.place.began_at).try_into().unwrap_or_default()));
        }
        counts.retain(|(_, count)| *count > 0);
        let place = (!step.last).then(|| serde_json::to_value(&share.place)).transpose();
        let place = place.map_err(|error| Failure::permanent("job.unwritable", error.to_string()))?;
        let step = Step { number: share.progress.steps, counts: &counts, place, ..step };
        let key = run_key(FUNCTION, &part_of(&share.run, Some(share.grant.as_str())));
        share.progress = advance(self.ports.links, &key, &step, self.ports.clock.now()).await?;
        share.calls_before = (nylas, crm);
        Ok(())
    }
}

/// Under which name the watermark of a source is kept.
fn of_source(source: &str) -> String {
    format!("{FUNCTION}/{source}")
}

/// The name of a job's run; of one that names none, when it was sent.
pub(crate) fn run_of(job: &SyncJob, work: &Work) -> String {
    job.run.clone().unwrap_or_else(|| work.sent_at.as_millisecond().to_string())
}

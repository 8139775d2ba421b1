//! Carries out what the rules say of one event: completes it, finds who of its people the CRM knows, and has its meeting
//! kept.

use std::collections::BTreeSet;
use std::future::Future;

use shared::alerts::{Alert, AlertWebhook};
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::worker_queue::{JobQueue, WorkerQueue};
use shared::configuration::{ConfigurationError, Environment};
use shared::crm::matching::{addresses_to_look_up, match_contacts};
use shared::crm::meeting::{Meeting, WriteMeetings};
use shared::crm::{BatchLookup, ContactsByAddress, FindContacts};
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::{Decision, Outcome};
use shared::domain::failure::Failure;
use shared::domain::link::Version;
use shared::domain::notification::{Envelope, GrantId};
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Decisions, Input, Leases, Links, Processor, SendToQueue, Work};
use shared::meetings::identity_of;
use shared::nylas::event::{Calendar, Event, People};
use shared::nylas::mailboxes::{DescribeMailbox, ListGrants, Mailboxes};
use shared::nylas::{EventFilter, Nylas, NylasError, Page, object_in};
use shared::worker::{Crm, Worker};

use crate::backfill::BACKFILL;
use crate::copies::{Copy, CopyKey, CopyState, News, Order, has_come_back, order};
use crate::index::{Buried, CopyIndex, Known};
use crate::keep::{Asked, Did, Held, HeldCopies, Keeper, Kept};
use crate::lay_out::SERIES;
use crate::meeting::{Scope, digest_of, dropped, meeting_of};

/// The failure that says that an account cannot be reached until its user signs in again.
const LOST: &str = "nylas.grant_expired";

/// Added to the time of a deletion for an event that was seen after it, whatever the clocks say, in seconds.
const CERTAINLY_AFTER: i64 = 60;

/// What is asked of Nylas about calendars.
pub trait ReadEvents: DescribeMailbox + ListGrants {
    /// An event; none if it is no longer there.
    fn event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Event>, NylasError>> + Send;

    /// A page of a calendar's events.
    fn events(
        &self,
        grant: &GrantId,
        calendar: &str,
        wanted: &EventFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Page<Event>, NylasError>> + Send;

    /// The calendars of an account.
    fn calendars(
        &self,
        grant: &GrantId,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Calendar>, NylasError>> + Send;
}

impl ReadEvents for Nylas {
    async fn event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Event>, NylasError> {
        self.event(grant, calendar, id, deadline).await
    }

    async fn events(
        &self,
        grant: &GrantId,
        calendar: &str,
        wanted: &EventFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Event>, NylasError> {
        self.events(grant, calendar, wanted, page_token, deadline).await
    }

    async fn calendars(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<Calendar>, NylasError> {
        self.calendars(grant, deadline).await
    }
}

/// What the function needs of the outside, each as narrow as its role.
pub trait Ports: Sync {
    /// The CRM.
    type Crm: FindContacts + WriteMeetings;
    /// Nylas.
    type Nylas: ReadEvents;
    /// What became of each event.
    type Links: Links;
    /// What was decided before.
    type Decisions: Decisions + Leases;
    /// The function's own queue.
    type Queue: SendToQueue;
    /// The queues of other functions, for what else was missed of an account that is back.
    type JobQueue: SendToQueue;
    /// Who is told that an account has to be connected again.
    type Alerts: Alert;
}

/// The ports, filled.
pub struct Provision<'a, P: Ports> {
    /// The CRM; none while it is off.
    pub crm: Option<&'a P::Crm>,
    /// Nylas.
    pub nylas: &'a P::Nylas,
    /// What became of each event.
    pub links: &'a P::Links,
    /// What was decided before.
    pub decisions: &'a P::Decisions,
    /// The function's own queue.
    pub queue: &'a P::Queue,
    /// The queue of email-activity.
    pub mail_queue: &'a P::JobQueue,
    /// The queue of notetaker-media.
    pub notetaker_queue: &'a P::JobQueue,
    /// The queue of ticket-triage; none while there is no support mail.
    pub ticket_queue: Option<&'a P::JobQueue>,
    /// Who is told; none while alerts are off.
    pub alerts: Option<&'a P::Alerts>,
    /// The time of day.
    pub clock: Clock,
}

/// What the rules are set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// Which meetings the CRM has.
    pub scope: Scope,
    /// What marks events that this deployment makes.
    pub loop_id: LoopId,
}

/// The ports of the deployed function.
pub struct Deployed;

impl Ports for Deployed {
    type Crm = Crm;
    type Nylas = Nylas;
    type Links = DynamoLinks;
    type Decisions = DynamoLeases;
    type Queue = WorkerQueue;
    type JobQueue = JobQueue;
    type Alerts = AlertWebhook;
}

/// The rules of calendar-sync, carried out through the given ports. Lives as long as the instance.
pub struct CalendarSync<'a, P: Ports> {
    pub(crate) ports: Provision<'a, P>,
    pub(crate) settings: Settings,
    mailboxes: Mailboxes,
}

/// The clients that this function has beside a worker's, and what it is set to.
pub struct Further {
    mail_queue: JobQueue,
    notetaker_queue: JobQueue,
    ticket_queue: Option<JobQueue>,
    alerts: Option<AlertWebhook>,
    scope: Scope,
}

impl Further {
    /// Reads the environment and builds the clients.
    ///
    /// # Errors
    /// If a variable of the environment cannot be used.
    pub fn from_environment(worker: &Worker, environment: &Environment) -> Result<Self, ConfigurationError> {
        Ok(Self {
            mail_queue: JobQueue::new(&worker.sdk, environment.required("EMAIL_ACTIVITY_QUEUE_URL")?),
            notetaker_queue: JobQueue::new(&worker.sdk, environment.required("NOTETAKER_MEDIA_QUEUE_URL")?),
            ticket_queue: environment
                .optional("TICKET_TRIAGE_QUEUE_URL")
                .map(|queue_url| JobQueue::new(&worker.sdk, queue_url)),
            alerts: worker.alerts(environment),
            scope: environment.parsed("CALENDAR_SCOPE", Scope::Prospects, Scope::parse)?,
        })
    }
}

impl<'a> CalendarSync<'a, Deployed> {
    /// The rules with the clients of a worker and those of this function.
    #[must_use]
    pub fn new(worker: &'a Worker, further: &'a Further) -> Self {
        let ports = Provision {
            crm: worker.crm.as_ref(),
            nylas: &worker.nylas,
            links: &worker.links,
            decisions: &worker.engine.leases,
            queue: &worker.engine.queue,
            mail_queue: &further.mail_queue,
            notetaker_queue: &further.notetaker_queue,
            ticket_queue: further.ticket_queue.as_ref(),
            alerts: further.alerts.as_ref(),
            clock: Clock::system(),
        };
        let settings = Settings {
            company_domains: worker.company_domains.clone(),
            scope: further.scope,
            loop_id: worker.loop_id.clone(),
        };
        Self::with(ports, settings)
    }
}

impl<'a, P: Ports> CalendarSync<'a, P> {
    /// Why nothing can be had of an account that Nylas does not know; none if it knows it.
    pub(crate) async fn unknown(&self, grant: &GrantId, deadline: Deadline) -> Result<Option<String>, NylasError> {
        let is_known = self.mailboxes.is_known(self.ports.nylas, grant, deadline).await?;
        Ok((!is_known).then(|| format!("Nylas knows no account {grant}: look its grant id up in the dashboard")))
    }

    /// The provider of an account; none if there is no such account any more.
    pub(crate) async fn provider(&self, grant: &GrantId, deadline: Deadline) -> Result<Option<String>, NylasError> {
        self.mailboxes.provider(self.ports.nylas, grant, deadline).await
    }

    /// The rules with the given ports.
    #[must_use]
    pub fn with(ports: Provision<'a, P>, settings: Settings) -> Self {
        Self { ports, settings, mailboxes: Mailboxes::default() }
    }

    /// The rules for one batch, whose messages share their lookups.
    pub fn for_batch(&self) -> Batch<'_, 'a, P> {
        let rules = self.ports.crm.map(|crm| BatchRules { rules: self, lookup: BatchLookup::new(crm) });
        Batch { sync: self, rules }
    }
}

/// One batch: news of accounts, and of events as far as there is a CRM to write to.
pub struct Batch<'r, 'a, P: Ports> {
    sync: &'r CalendarSync<'a, P>,
    rules: Option<BatchRules<'r, 'a, P>>,
}

/// The rules for the events of one batch.
pub struct BatchRules<'r, 'a, P: Ports> {
    pub(crate) rules: &'r CalendarSync<'a, P>,
    pub(crate) lookup: BatchLookup<'r, P::Crm>,
}

impl<P: Ports> Processor for Batch<'_, '_, P> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let kind = match &work.input {
            Input::Notification(envelope) => envelope.trigger.base(),
            Input::Job { kind } => kind.as_str(),
        };
        match (&work.input, kind) {
            (Input::Notification(envelope), kind) if kind.starts_with("grant.") => {
                return self.sync.account(envelope, work).await;
            }
            (Input::Notification(_), "event.created" | "event.updated" | "event.deleted")
            | (Input::Job { .. }, SERIES | BACKFILL | "reconcile") => {}
            _ => {
                let what = format!(
                    "calendar-sync has no rule for `{kind}`; it was sent to the wrong queue, or by a newer release"
                );
                return Err(Failure::permanent("body.unknown_type", what));
            }
        }
        let Some(rules) = &self.rules else {
            return Ok(Decision::off("CrmBaseUrl"));
        };
        match (&work.input, kind) {
            (Input::Notification(envelope), "event.deleted") => rules.deleted(envelope, work).await,
            (Input::Notification(envelope), _) => rules.changed(envelope, work).await,
            (Input::Job { .. }, SERIES) => rules.go_on_with_series(work).await,
            (Input::Job { .. }, BACKFILL) => rules.backfill(work).await,
            (Input::Job { .. }, _) => rules.reconcile(work).await,
        }
    }
}

/// A copy as it is judged, with what the rules went by.
pub(crate) struct Judged {
    pub(crate) held: Held,
    /// Why, as far as it does not depend on what is known of other copies.
    pub(crate) decision: Decision,
}

impl<P: Ports> BatchRules<'_, '_, P> {
    /// Decides about an event that was created or changed.
    ///
    /// # Errors
    /// If the CRM, Nylas or the tables do not do what is asked.
    pub async fn changed(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        match self.whole(envelope, work).await? {
            Some((event, seen_at)) => self.handle(&event, seen_at, work).await,
            None => Ok(Decision::skipped("no longer at Nylas").for_now()),
        }
    }

    /// Handles an event that is whole; `seen_at`, in Unix seconds, if it was seen in its calendar.
    pub(crate) async fn handle(&self, event: &Event, seen_at: Option<i64>, work: &Work) -> Result<Decision, Failure> {
        if event.is_master() {
            return self.lay_out(event, None, seen_at, work).await;
        }
        if event.master_event_id.is_none() {
            self.no_longer_a_series(event, work).await?;
        }
        self.single(event, seen_at, work).await
    }

    /// Decides about one event that is no master of a series.
    pub(crate) async fn single(&self, event: &Event, seen_at: Option<i64>, work: &Work) -> Result<Decision, Failure> {
        let key = CopyKey::of(event);
        let version = version_of(event, told_at(work));
        let series = self.note_occurrence(event).await?;
        if series.is_deleted_since(version, seen_at) {
            return Ok(Decision::skipped("deleted with its series"));
        }
        let index = self.index();
        let over = match index.find(&key).await? {
            Known::Bound(_) | Known::Unheard => None,
            Known::Deleted { at, .. } if has_come_back(at, seen_at) => Some(at),
            Known::Deleted { at, calendar } => match order(at, version.changed_at, false) {
                Order::Earlier => Some(at),
                Order::Later if !is_another(calendar.as_deref(), event.calendar_id.as_deref()) => {
                    return Ok(Decision::skipped("deleted since"));
                }
                Order::Later | Order::Unclear => return self.is_it_there(event, at, work).await,
            },
        };
        let judged = self.judge(event, false, seen_at, version.changed_at, work.deadline).await?;
        let identity = identity_of(event, series.uid.as_deref());
        let Some(identity) = index.bind(&key, over, &identity).await? else {
            return Ok(Decision::skipped("deleted since"));
        };
        let kept = self.keeper().take_in(&identity, judged.held, work.deadline).await?;
        Ok(decided(judged.decision, &kept).with("meeting", identity))
    }

    /// Decides about an event that was changed and deleted at nearly the same time, as different clocks tell.
    async fn is_it_there(&self, event: &Event, deleted_at: i64, work: &Work) -> Result<Decision, Failure> {
        let grant = event.grant_id.as_deref().and_then(GrantId::parse);
        let Some(grant) = grant else { return Ok(Decision::skipped("deleted since")) };
        match self.fetched(&grant, event.calendar_id.as_deref(), &event.id, work.deadline).await? {
            // Whatever the clocks say, it is there after its deletion.
            Some(event) => Box::pin(self.single(&event, Some(deleted_at + CERTAINLY_AFTER), work)).await,
            None => Ok(Decision::skipped("deleted since")),
        }
    }

    /// Decides about an event that was deleted, of which no more is told than its ids.
    ///
    /// # Errors
    /// If the CRM, Nylas or the tables do not do what is asked.
    pub async fn deleted(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let (Some(grant), Some(id)) = (&envelope.grant, &envelope.keys.id) else {
            let what = "the notification names neither the event nor the account it was deleted from";
            return Err(Failure::permanent("body.incomplete", what));
        };
        let key = CopyKey { grant: grant.as_str().to_owned(), event: id.clone(), by_rule: false };
        let (at, calendar) = (told_at(work), calendar_in(&work.body));
        let laid_out = self.laid_out(&key).await?;
        if let Some(laid_out) = &laid_out
            && self.is_series_left_elsewhere(&key, laid_out, calendar.as_deref(), work).await?
        {
            return Ok(Decision::done("deleted from one calendar, still in another"));
        }
        let kept = self.gone(&key, at, calendar.as_deref(), None, work.deadline).await?;
        if laid_out.is_some_and(|laid_out| laid_out.any) {
            return self.series_deleted(&key, at, work).await;
        }
        if let Some((identity, kept)) = kept {
            return Ok(decided(Decision::done("deleted"), &kept).with("meeting", identity));
        }
        match &envelope.keys.master_event_id {
            Some(master) => self.occurrence_deleted(grant, master, id, at, work).await,
            None => Ok(Decision::done("deleted before anything was written")),
        }
    }

    /// Takes in that a copy is gone, and answers what that came to; none if nothing was known of the copy, for which there is
    /// a tombstone now. `seen_at`, in Unix seconds, if its calendar was asked.
    pub(crate) async fn gone(
        &self,
        key: &CopyKey,
        at: i64,
        calendar: Option<&str>,
        seen_at: Option<i64>,
        deadline: Deadline,
    ) -> Result<Option<(String, Kept)>, Failure> {
        let Buried::Bound(identity) = self.index().bury(key, at, calendar).await? else { return Ok(None) };
        let copy = Copy {
            key: key.clone(),
            calendars: calendar.map(str::to_owned).into_iter().collect(),
            state: CopyState::Gone { at },
            private: false,
            lost: false,
        };
        let news = Held { copy, meeting: None, seen_at };
        let kept = self.keeper().take_in(&identity, news, deadline).await?;
        Ok(Some((identity, kept)))
    }

    pub(crate) fn index(&self) -> CopyIndex<'_, P::Links> {
        CopyIndex { links: self.rules.ports.links, clock: self.rules.ports.clock.clone() }
    }

    pub(crate) fn keeper(&self) -> Keeper<'_, P::Links, P::Crm, Self> {
        let ports = &self.rules.ports;
        Keeper { links: ports.links, crm: self.lookup.crm(), calendars: self, clock: ports.clock.clone() }
    }

    /// What is known of a copy; none if nothing is but perhaps that it was deleted.
    pub(crate) async fn copy(&self, key: &CopyKey) -> Result<Option<Copy>, Failure> {
        match self.index().find(key).await? {
            Known::Bound(identity) => self.keeper().known(&identity, key).await,
            Known::Deleted { .. } | Known::Unheard => Ok(None),
        }
    }

    /// The event with all that is needed: as it was notified, else as Nylas holds it, with the time at which that was seen;
    /// none if it is gone.
    async fn whole(&self, envelope: &Envelope, work: &Work) -> Result<Option<(Event, Option<i64>)>, Failure> {
        let carried: Option<Event> = object_in(&work.body);
        let grant = envelope.grant.clone();
        let is_whole = !envelope.trigger.payload.transformed && !envelope.trigger.payload.truncated;
        match carried {
            Some(mut event) if is_whole && event.when.is_some() && event.participants.is_some() => {
                event.grant_id = event.grant_id.or_else(|| grant.map(|grant| grant.as_str().to_owned()));
                Ok(Some((event, None)))
            }
            carried => {
                let id = carried.as_ref().map(|event| event.id.as_str()).or(envelope.keys.id.as_deref());
                let (Some(grant), Some(id)) = (grant, id) else {
                    let what = "the notification carries neither the event nor the ids to fetch it by";
                    return Err(Failure::permanent("body.incomplete", what));
                };
                let mut calendar = carried.as_ref().and_then(|event| event.calendar_id.clone());
                if calendar.is_none() {
                    let key = CopyKey { grant: grant.as_str().to_owned(), event: id.to_owned(), by_rule: false };
                    calendar = self.copy(&key).await?.and_then(|copy| copy.calendars.into_iter().next());
                }
                let seen_at = self.now();
                let event = self.fetched(&grant, calendar.as_deref(), id, work.deadline).await?;
                let exceptions = |event: Event| Event {
                    // Only notifications carry them.
                    occurrences: event.occurrences.or_else(|| carried.as_ref()?.occurrences.clone()),
                    cancelled_occurrences: event
                        .cancelled_occurrences
                        .or_else(|| carried.as_ref()?.cancelled_occurrences.clone()),
                    ..event
                };
                Ok(event.map(|event| (exceptions(event), Some(seen_at))))
            }
        }
    }

    /// The time now, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.rules.ports.clock.now().as_second()
    }

    /// The event as Nylas holds it; none if it is gone. Where nobody has told its calendar, all of the account's own are
    /// asked: `primary` alone would say that an event of another calendar is gone, and iCloud has none.
    pub(crate) async fn fetched(
        &self,
        grant: &GrantId,
        calendar: Option<&str>,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Event>, Failure> {
        let nylas = self.rules.ports.nylas;
        let of_this_account = |event: Event, calendar: &str| Event {
            grant_id: event.grant_id.or_else(|| Some(grant.as_str().to_owned())),
            calendar_id: event.calendar_id.or_else(|| Some(calendar.to_owned())),
            ..event
        };
        if let Some(calendar) = calendar {
            let event = nylas.event(grant, calendar, id, deadline).await?;
            return Ok(event.map(|event| of_this_account(event, calendar)));
        }
        for calendar in self.own_calendars(grant, deadline).await? {
            if let Some(event) = nylas.event(grant, &calendar, id, deadline).await? {
                return Ok(Some(of_this_account(event, &calendar)));
            }
        }
        Ok(None)
    }

    /// What the rules make of an event: the copy, and the meeting if the CRM is to have one.
    pub(crate) async fn judge(
        &self,
        event: &Event,
        by_rule: bool,
        seen_at: Option<i64>,
        told_at: i64,
        deadline: Deadline,
    ) -> Result<Judged, Failure> {
        let people = People::in_event(event);
        let (meeting, decision) = self.meeting(event, &people, deadline).await?;
        let version = version_of(event, told_at);
        let state = CopyState::Live {
            version,
            content: meeting.as_ref().map(digest_of),
            of_the_organizer: self.is_of_the_organizer(event, &people, deadline).await?,
        };
        let key = CopyKey { by_rule, ..CopyKey::of(event) };
        let calendars = event.calendar_id.clone().into_iter().collect();
        let copy = Copy { key, calendars, state, private: event.is_private(), lost: false };
        Ok(Judged { held: Held { copy, meeting, seen_at }, decision })
    }

    /// The meeting that an event makes, none if the CRM is not to have it, and why.
    async fn meeting(
        &self,
        event: &Event,
        people: &People,
        deadline: Deadline,
    ) -> Result<(Option<Meeting>, Decision), Failure> {
        let (company, scope) = (&self.rules.settings.company_domains, self.rules.settings.scope);
        if event.is_made_by(&self.rules.settings.loop_id) {
            return Ok((None, Decision::skipped("made by this deployment")));
        }
        if let Some(decision) = dropped(event, people, company, scope) {
            return Ok((None, decision));
        }
        if event.is_private() {
            // Of all scopes this one writes it, with its time alone: nobody is looked up, and the record names nobody.
            let meeting = meeting_of(event, &event.id, None, &ContactsByAddress::new());
            return Ok((Some(meeting), Decision::done("private, with its time alone")));
        }
        let known = self.known(people, deadline).await?;
        match match_contacts(&people.outside(company), people.organizer.as_ref(), &known) {
            Ok(matched) => {
                let mut decision = Decision::done("known contact")
                    .with("contact_ids", matched.contact_ids.clone())
                    .with("deal_id", matched.deal.deal_id())
                    .with("deal_rule", matched.deal.rule)
                    .with("deals_rejected", matched.deal.rejected_to_json());
                if event.is_made_by_the_scheduler() {
                    decision = decision.with("made_by", "scheduler");
                }
                Ok((Some(meeting_of(event, &event.id, Some(&matched), &known)), decision))
            }
            Err(nobody) => {
                let unmatched: Vec<String> = nobody.unmatched.iter().map(ToString::to_string).collect();
                let decision = Decision::skipped("no known contact").with("unmatched", unmatched.clone());
                Ok(match scope {
                    Scope::Prospects => (None, decision.waiting_for(unmatched)),
                    Scope::All => (Some(meeting_of(event, &event.id, None, &known)), decision),
                })
            }
        }
    }

    /// The contacts among the people; the company's own are nobody's contacts.
    async fn known(&self, people: &People, deadline: Deadline) -> Result<ContactsByAddress, Failure> {
        let outside: Vec<EmailAddress> = people.outside(&self.rules.settings.company_domains);
        Ok(self.lookup.find(&addresses_to_look_up(&outside), deadline).await?)
    }

    /// True if the copy lies in the calendar of who called the meeting. Only a colleague's can.
    async fn is_of_the_organizer(&self, event: &Event, people: &People, deadline: Deadline) -> Result<bool, Failure> {
        let colleague =
            people.organizer.as_ref().filter(|organizer| self.rules.settings.company_domains.contains(organizer));
        let (Some(organizer), Some(grant)) = (colleague, event.grant_id.as_deref().and_then(GrantId::parse)) else {
            return Ok(false);
        };
        let own = self.rules.mailboxes.own_address(self.rules.ports.nylas, &grant, deadline).await?;
        Ok(own.as_ref() == Some(organizer))
    }
}

impl<P: Ports> HeldCopies for BatchRules<'_, '_, P> {
    async fn held(&self, key: &CopyKey, calendars: &BTreeSet<String>, deadline: Deadline) -> Result<Asked, Failure> {
        let Some(grant) = GrantId::parse(&key.grant) else { return Ok(Asked::Gone) };
        let seen_at = self.now();
        let mut found: Option<Held> = None;
        let known: Vec<Option<&str>> = calendars.iter().map(|calendar| Some(calendar.as_str())).collect();
        for calendar in if known.is_empty() { vec![None] } else { known } {
            let event = if key.by_rule {
                self.occurrence_by_rule(&grant, calendar, &key.event, deadline).await
            } else {
                self.fetched(&grant, calendar, &key.event, deadline).await
            };
            let event = match event {
                Err(failure) if failure.class() == LOST => return Ok(Asked::Lost),
                other => other?,
            };
            let Some(event) = event else { continue };
            match &mut found {
                Some(found) => found.copy.calendars.extend(event.calendar_id),
                None => found = Some(self.judge(&event, key.by_rule, Some(seen_at), 0, deadline).await?.held),
            }
        }
        Ok(found.map_or(Asked::Gone, |held| Asked::Held(Box::new(held))))
    }

    async fn is_lost(&self, grant: &str) -> Result<bool, Failure> {
        let Some(grant) = GrantId::parse(grant) else { return Ok(false) };
        self.rules.is_lost(&grant).await
    }
}

/// When a message tells what it tells, in Unix seconds.
pub(crate) fn told_at(work: &Work) -> i64 {
    shared::nylas::told_at(work).as_second()
}

/// The version of an event: when it was changed, else when it was told of. Nylas tells a sequence number in
/// `event.created` alone (notification schemas), so it cannot order what follows.
pub(crate) fn version_of(event: &Event, told_at: i64) -> Version {
    Version { sequence: 0, changed_at: event.updated_at.map_or(told_at, jiff::Timestamp::as_second) }
}

/// True if both calendars are named, and are two. `primary` may be either.
fn is_another(one: Option<&str>, other: Option<&str>) -> bool {
    let both = one.zip(other).filter(|(one, other)| *one != "primary" && *other != "primary");
    both.is_some_and(|(one, other)| one != other)
}

/// The calendar that a deletion names, if it does.
fn calendar_in(body: &str) -> Option<String> {
    object_in::<serde_json::Value>(body)?["calendar_id"].as_str().map(str::to_owned)
}

/// The decision, now that it is known what the news came to.
pub(crate) fn decided(decision: Decision, kept: &Kept) -> Decision {
    let news = match kept.news {
        News::Newer => "newer",
        News::Known => "known",
        News::Older => "older",
        News::Conflicting => "conflicting",
    };
    let facts = decision.facts.clone();
    let mut decided = match (kept.did, &kept.became) {
        (Did::Wrote, Some(became)) => Decision::logged(decision.reason, became),
        (Did::Removed, _) => Decision::done("removed from the CRM").with("because", decision.reason),
        (Did::Nothing, Some(became)) => Decision::merged("the CRM shows what counts", became),
        // It would have become a meeting, but for what is known by now.
        (Did::Nothing, None) if decision.outcome == Outcome::Done && kept.news == News::Older => {
            Decision::skipped("older than what is known")
        }
        (_, None) => decision,
    };
    decided.facts.extend(facts);
    decided.with("news", news)
}

#[cfg(test)]
mod tests;

//! Takes each message to the rules for it: news of a notetaker, its files, timers, jobs. And what these rules need of the
//! outside.

use futures_util::Stream;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::time::Duration;
use tokio::sync::Semaphore;

use bytes::Bytes;
use shared::alerts::{Alert, AlertWebhook, tell};
use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::media::{MediaArchive, StoredFile};
use shared::aws::schedules::Schedules;
use shared::aws::worker_queue::WorkerQueue;
use shared::configuration::Environment;
use shared::crm::notes::WriteMeetingNotes;
use shared::crm::{BatchLookup, FindContacts};
use shared::domain::address::CompanyDomains;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::{Envelope, GrantId};
use shared::engine::{Clock, Deadline, Decisions, Input, Links, Processor, SendToQueue, SetTimers, Work};
use shared::nylas::event::{Calendar, Event};
use shared::nylas::mailboxes::ListGrants;
use shared::nylas::notetaker::{HistoryEntry, Media, MediaAnswer, Notetaker, NotetakerFilter, NotetakerState};
use shared::nylas::{Nylas, NylasError, Page, object_in, told_at};
use shared::worker::{Crm, StartError, Worker};

use crate::fetch::Fetcher;
use crate::known::{Known, Notetakers, Telling};
use crate::meeting::{Seeker, Sought};
use crate::public_address::UrlPolicy;
use crate::timeline::{meeting_in_words, told_state};

/// The job of a timer.
pub(crate) const TIMER: &str = "notetaker.timer";

/// How long Nylas keeps files that were given no time of their own (Nylas, retention policies).
const KEPT_BY_NYLAS: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How many notetakers' texts, and how many recordings, come in at a time, so that memory is bounded whatever a batch
/// holds.
const TEXTS_AT_A_TIME: usize = 2;
const RECORDINGS_AT_A_TIME: usize = 1;

/// What is asked of Nylas about meetings and those who record them.
pub trait ReadMeetings: ListGrants {
    /// An event; none if it is not in this calendar.
    fn event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Event>, NylasError>> + Send;

    /// The events of a calendar with an iCalendar UID.
    fn events_by_uid(
        &self,
        grant: &GrantId,
        calendar: &str,
        ical_uid: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Event>, NylasError>> + Send;

    /// The events of a calendar within a span of Unix seconds, those of series one by one.
    fn events_between(
        &self,
        grant: &GrantId,
        calendar: &str,
        span: (i64, i64),
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Event>, NylasError>> + Send;

    /// The calendars of an account.
    fn calendars(
        &self,
        grant: &GrantId,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<Calendar>, NylasError>> + Send;

    /// A page of an account's notetakers; of the standalone ones if no account is given.
    fn notetakers(
        &self,
        grant: Option<&GrantId>,
        wanted: NotetakerFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Page<Notetaker>, NylasError>> + Send;

    /// The files of a notetaker, with fresh links.
    fn notetaker_media(
        &self,
        grant: Option<&GrantId>,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<MediaAnswer, NylasError>> + Send;

    /// What has happened to a notetaker.
    fn notetaker_history(
        &self,
        grant: Option<&GrantId>,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Vec<HistoryEntry>, NylasError>> + Send;
}

impl ReadMeetings for Nylas {
    async fn event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Event>, NylasError> {
        self.event(grant, calendar, id, deadline).await
    }

    async fn events_by_uid(
        &self,
        grant: &GrantId,
        calendar: &str,
        ical_uid: &str,
        deadline: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        self.events_by_uid(grant, calendar, ical_uid, deadline).await
    }

    async fn events_between(
        &self,
        grant: &GrantId,
        calendar: &str,
        span: (i64, i64),
        deadline: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        self.events_between(grant, calendar, span, deadline).await
    }

    async fn calendars(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<Calendar>, NylasError> {
        self.calendars(grant, deadline).await
    }

    async fn notetakers(
        &self,
        grant: Option<&GrantId>,
        wanted: NotetakerFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Notetaker>, NylasError> {
        self.notetakers(grant, wanted, page_token, deadline).await
    }

    async fn notetaker_media(
        &self,
        grant: Option<&GrantId>,
        id: &str,
        deadline: Deadline,
    ) -> Result<MediaAnswer, NylasError> {
        self.notetaker_media(grant, id, deadline).await
    }

    async fn notetaker_history(
        &self,
        grant: Option<&GrantId>,
        id: &str,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEntry>, NylasError> {
        self.notetaker_history(grant, id, deadline).await
    }
}

/// Keeps files for longer than Nylas does.
pub trait KeepMedia: Sync {
    /// Stores a file as it comes, in the place of what lay there, within so much time.
    fn store(
        &self,
        key: &str,
        content_type: &str,
        file: impl Stream<Item = Result<Bytes, Failure>> + Send + Unpin,
        within: Duration,
    ) -> impl Future<Output = Result<StoredFile, Failure>> + Send;
}

impl KeepMedia for MediaArchive {
    async fn store(
        &self,
        key: &str,
        content_type: &str,
        file: impl Stream<Item = Result<Bytes, Failure>> + Send + Unpin,
        within: Duration,
    ) -> Result<StoredFile, Failure> {
        self.store(key, content_type, file, within).await
    }
}

/// What the function needs of the outside, each as narrow as its role.
pub trait Ports: Sync {
    /// The CRM.
    type Crm: FindContacts + WriteMeetingNotes;
    /// Nylas.
    type Nylas: ReadMeetings;
    /// What became of each notetaker, and of each meeting.
    type Links: Links;
    /// What was decided before.
    type Decisions: Decisions;
    /// The function's own queue.
    type Queue: SendToQueue;
    /// What brings a message at a time.
    type Timers: SetTimers;
    /// Who is told what needs a hand.
    type Alerts: Alert;
    /// Where files are kept.
    type Archive: KeepMedia;
}

/// The ports, filled.
pub struct Provision<'a, P: Ports> {
    /// The CRM; none while it is off.
    pub crm: Option<&'a P::Crm>,
    /// Nylas.
    pub nylas: &'a P::Nylas,
    /// What became of each notetaker, and of each meeting.
    pub links: &'a P::Links,
    /// What was decided before.
    pub decisions: &'a P::Decisions,
    /// The function's own queue.
    pub queue: &'a P::Queue,
    /// What brings a message at a time.
    pub timers: &'a P::Timers,
    /// Who is told; none while alerts are off.
    pub alerts: Option<&'a P::Alerts>,
    /// Where files are kept; none while that is off.
    pub archive: Option<&'a P::Archive>,
    /// What follows links.
    pub fetcher: Fetcher,
    /// The time of day.
    pub clock: Clock,
}

/// What the rules are set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// The stack: all stacks of an account share the names of schedules.
    pub stack: String,
}

/// The ports of the deployed function.
pub struct Deployed;

impl Ports for Deployed {
    type Crm = Crm;
    type Nylas = Nylas;
    type Links = DynamoLinks;
    type Decisions = DynamoLeases;
    type Queue = WorkerQueue;
    type Timers = Schedules;
    type Alerts = AlertWebhook;
    type Archive = MediaArchive;
}

/// The clients that this function has beside a worker's, and what it is set to.
pub struct Further {
    timers: Schedules,
    alerts: Option<AlertWebhook>,
    archive: Option<MediaArchive>,
    fetcher: Fetcher,
    stack: String,
}

impl Further {
    /// Reads the environment and builds the clients.
    ///
    /// # Errors
    /// If a variable of the environment cannot be used.
    pub fn from_environment(worker: &Worker, environment: &Environment) -> Result<Self, StartError> {
        let days = environment
            .parsed("MEDIA_RETENTION_DAYS", 0_u32, |days| days.parse().map_err(|_| "it must be a number of days"))?;
        let archive = if days == 0 {
            tracing::warn!(parameter = "MediaRetentionDays", "archiving media is off: Nylas alone keeps them");
            None
        } else {
            Some(MediaArchive::new(&worker.sdk, environment.required("ARCHIVE_BUCKET")?))
        };
        let policy = environment.parsed("MEDIA_URL_POLICY", UrlPolicy::Public, UrlPolicy::parse)?;
        if policy == UrlPolicy::Any {
            tracing::warn!(
                parameter = "MediaUrlPolicy",
                "links to media are followed everywhere, inside as well: for the local engine alone"
            );
        }
        Ok(Self {
            timers: Schedules::from_environment(&worker.sdk, environment)?,
            alerts: worker.alerts(environment),
            archive,
            fetcher: Fetcher::new(policy)?,
            stack: environment.required("STACK_ID")?,
        })
    }
}

/// The rules of notetaker-media, carried out through the given ports. Lives as long as the instance.
pub struct NotetakerMedia<'a, P: Ports> {
    pub(crate) ports: Provision<'a, P>,
    pub(crate) settings: Settings,
    pub(crate) texts: Semaphore,
    pub(crate) recordings: Semaphore,
}

impl<'a> NotetakerMedia<'a, Deployed> {
    /// The rules with the clients of a worker and those of this function.
    #[must_use]
    pub fn new(worker: &'a Worker, further: &'a Further) -> Self {
        let ports = Provision {
            crm: worker.crm.as_ref(),
            nylas: &worker.nylas,
            links: &worker.links,
            decisions: &worker.engine.leases,
            queue: &worker.engine.queue,
            timers: &further.timers,
            alerts: further.alerts.as_ref(),
            archive: further.archive.as_ref(),
            fetcher: further.fetcher.clone(),
            clock: Clock::system(),
        };
        let settings = Settings { company_domains: worker.company_domains.clone(), stack: further.stack.clone() };
        Self::with(ports, settings)
    }
}

impl<'a, P: Ports> NotetakerMedia<'a, P> {
    /// The rules with the given ports.
    #[must_use]
    pub fn with(ports: Provision<'a, P>, settings: Settings) -> Self {
        Self {
            ports,
            settings,
            texts: Semaphore::new(TEXTS_AT_A_TIME),
            recordings: Semaphore::new(RECORDINGS_AT_A_TIME),
        }
    }

    /// The rules for one batch, whose messages share their lookups.
    pub fn for_batch(&self) -> Batch<'_, 'a, P> {
        let lookup = self.ports.crm.map(BatchLookup::new);
        Batch { rules: self, lookup }
    }

    pub(crate) fn notetakers(&self) -> Notetakers<'_, P::Links> {
        Notetakers { links: self.ports.links, clock: self.ports.clock.clone() }
    }

    /// The meeting that a notetaker attended.
    pub(crate) async fn meeting_of(&self, known: &Known, deadline: Deadline) -> Result<Sought, Failure> {
        Seeker { links: self.ports.links, nylas: self.ports.nylas, deadline }.seek(known).await
    }

    /// Tells people of a notetaker, each thing once (twice if it cannot be remembered that they were); answers by what they
    /// were told, none if they were before.
    pub(crate) async fn tell_once(
        &self,
        id: &str,
        what: Telling,
        known: &Known,
        words: impl FnOnce(&str) -> String + Send,
        work: &Work,
    ) -> Result<Option<String>, Failure> {
        if known.told.contains(&what) {
            return Ok(None);
        }
        // Better told without a title than not told.
        let event = match self.meeting_of(known, work.deadline).await {
            Ok(Sought::Found(found)) => Some(found.event),
            Ok(Sought::Unknown(_)) => None,
            Err(failure) => {
                tracing::warn!(notetaker.id = id, class = failure.class(), "the meeting could not be looked up");
                None
            }
        };
        let told = if what == Telling::Entry && event.as_ref().is_some_and(Event::is_cancelled) {
            "nobody: the meeting is cancelled".to_owned()
        } else {
            let text = words(&meeting_in_words(event.as_ref(), known.joined_at()));
            tell(self.ports.alerts, &text, work, self.ports.clock.now()).await?
        };
        self.notetakers()
            .change(id, |known| {
                known.told.insert(what);
            })
            .await?;
        Ok(Some(told))
    }
}

/// The rules for one batch.
pub struct Batch<'r, 'a, P: Ports> {
    pub(crate) rules: &'r NotetakerMedia<'a, P>,
    pub(crate) lookup: Option<BatchLookup<'r, P::Crm>>,
}

/// `{"type":"notetaker.timer", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimerJob {
    /// Tells one timer from another, for the queue too: two of one notetaker may be due within five minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    pub(crate) job: String,
    /// What it is for: `lobby`.
    pub(crate) kind: String,
    pub(crate) notetaker_id: String,
    #[serde(default)]
    pub(crate) grant_id: Option<String>,
}

impl<P: Ports> Processor for Batch<'_, '_, P> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        match &work.input {
            Input::Notification(envelope) if envelope.trigger.base().starts_with("notetaker.") => {
                self.news(envelope, work).await
            }
            Input::Job { kind } if kind == TIMER => self.rules.timer(work).await,
            Input::Job { kind } if kind == "reconcile" => match &self.lookup {
                Some(lookup) => self.rules.reconcile(lookup, work).await,
                None => Ok(Decision::off("CrmBaseUrl")),
            },
            other => {
                let kind = match other {
                    Input::Notification(envelope) => envelope.trigger.base(),
                    Input::Job { kind } => kind.as_str(),
                };
                let what = format!(
                    "notetaker-media has no rule for `{kind}`; it was sent to the wrong queue, or by a newer release"
                );
                Err(Failure::permanent("body.unknown_type", what))
            }
        }
    }
}

/// Until when Nylas keeps the files of a notetaker that are told of for the first time.
fn kept_until(notetaker: &Notetaker, told_at: Timestamp) -> Option<Timestamp> {
    let kept_for = notetaker.retention_seconds().map_or(KEPT_BY_NYLAS, SignedDuration::from_secs);
    told_at.checked_add(kept_for).ok()
}

/// News of a notetaker, as a notification brought it.
pub(crate) struct News {
    pub(crate) notetaker: Notetaker,
    pub(crate) state: NotetakerState,
    pub(crate) at: Timestamp,
}

impl<P: Ports> Batch<'_, '_, P> {
    async fn news(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let Some(mut notetaker) = object_in::<Notetaker>(&work.body) else {
            let what = "the notification names no notetaker, or in another form; compare it with what Nylas documents";
            return Err(Failure::permanent("body.unreadable", what));
        };
        notetaker.grant_id = envelope.grant.as_ref().map(|grant| grant.as_str().to_owned());
        let at = told_at(work);
        let kind = envelope.trigger.base();
        let holds_files = notetaker.media.as_ref().is_some_and(Media::holds_files);
        let state = match (told_state(&notetaker), kind) {
            (_, "notetaker.deleted") => NotetakerState::Other("deleted".to_owned()),
            // Files that are there are there, whatever their state is called.
            (None | Some(NotetakerState::Other(_)), "notetaker.media") if holds_files => NotetakerState::MediaAvailable,
            (Some(state), _) => state,
            (None, _) => NotetakerState::Other("none".to_owned()),
        };
        // What else is told of a notetaker says nothing of where it is.
        let happened = matches!(kind, "notetaker.meeting_state" | "notetaker.media" | "notetaker.deleted");
        let why = notetaker.meeting_state.clone();
        let retained_until = (state == NotetakerState::MediaAvailable).then(|| kept_until(&notetaker, at)).flatten();
        let known = self
            .rules
            .notetakers()
            .change(&notetaker.id, |known| {
                known.take_in(&notetaker, at);
                if happened {
                    known.timeline.take_in(&state, why.as_deref(), at);
                }
                // Reconcile may find files before they are told of, and reckons from then on: too late.
                let told = notetaker.media.as_ref().and_then(|media| media.retained_until);
                known.retained_until = told.or([known.retained_until, retained_until].into_iter().flatten().min());
            })
            .await?;
        let news = News { notetaker, state, at };
        match (kind, &news.state) {
            ("notetaker.media", NotetakerState::MediaAvailable) => self.files(news, known, work).await,
            ("notetaker.media", NotetakerState::MediaProcessing) => {
                Ok(Decision::held("its files are being made").with("state", news.state.as_str()))
            }
            ("notetaker.media", NotetakerState::MediaError) => self.rules.media_error(&news, &known, work).await,
            ("notetaker.media", NotetakerState::MediaDeleted) => {
                let reason = if known.became.is_some() {
                    "Nylas has deleted its files; what the CRM has stays"
                } else {
                    "Nylas has deleted its files"
                };
                Ok(Decision::done(reason))
            }
            ("notetaker.media", other) => {
                Ok(Decision::skipped("files in a state that is not known").with("state", other.as_str()))
            }
            ("notetaker.meeting_state", _) => self.rules.attendance(&news, &known, work).await,
            ("notetaker.created" | "notetaker.updated", _) => {
                Ok(Decision::done("noted which meeting it is for").with("state", news.state.as_str()))
            }
            ("notetaker.deleted", _) => Ok(Decision::done("noted that it was taken back; what the CRM has stays")),
            _ => Ok(Decision::skipped("nothing to do for this news of a notetaker")),
        }
    }
}

#[cfg(test)]
mod tests;

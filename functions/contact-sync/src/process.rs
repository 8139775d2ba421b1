//! What to do with a message: begin a run, go on with an account's share of one, or refresh a contact that has changed.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use shared::configuration::{ConfigurationError, Environment};
use shared::contact_sync::{SYNC, SyncJob};
use shared::crm::contact_fields::ContactField;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::{Envelope, GrantId};
use shared::engine::{Clock, Input, Links as _, NeverLogged as _, Processor, Work};
use shared::nylas::contact::Contact;
use shared::nylas::object_in;
use shared::worker::Worker;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::address_book::{CopyId, Reading, read};
use crate::keep::Mode;
use crate::phone::PhoneRegion;
use crate::ports::{AddressBooks as _, Deployed, Ports, Provision};
use crate::remembered::{self, Remembered};

/// How many pages of an address book are asked for in a second at most. Nylas takes 200 requests a second for a grant,
/// which the other functions share (Nylas API reference, rate limits); Microsoft takes four at a time, and here there is
/// one: an account has one message at work, and that one asks for one page after another.
const PAGES_A_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("more than none");

/// How long an unchanged contact is not looked up again unless it is said.
const LOOKUP_TTL: Duration = Duration::from_hours(7 * 24);

/// The longest of such times. What is remembered of a contact ends after 35 days, and a contact that is not remembered
/// looks new.
const LONGEST_LOOKUP_TTL: Duration = Duration::from_hours(30 * 24);

/// After how long a contact that the CRM has only an error for is left to the night, in seconds.
const LEFT_TO_THE_NIGHT_AFTER: i64 = 60 * 60;

/// The sources of contacts that Nylas knows (Nylas API reference, contacts).
const SOURCES: [&str; 3] = ["address_book", "domain", "inbox"];

/// What the rules are set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How contacts are read.
    pub reading: Reading,
    /// The sources of contacts, one or more.
    pub sources: Vec<String>,
    /// How long an unchanged contact is not looked up again, in seconds.
    pub lookup_ttl: i64,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// If a variable of the environment cannot be used.
    pub fn from_environment(worker: &Worker, environment: &Environment) -> Result<Self, ConfigurationError> {
        let region = environment.parsed("PHONE_REGION", PhoneRegion::default(), str::parse)?;
        let sources = environment.parsed("CONTACT_SOURCES", vec![SOURCES[0].to_owned()], |list| {
            let sources: Vec<&str> = list.split(',').map(str::trim).filter(|source| !source.is_empty()).collect();
            match sources.iter().find(|source| !SOURCES.contains(source)) {
                Some(unknown) => Err(format!("`{unknown}` is none of {}", SOURCES.join(", "))),
                None => Ok(sources.into_iter().map(str::to_owned).collect()),
            }
        })?;
        let lookup_ttl = environment.duration("CONTACT_LOOKUP_TTL", LOOKUP_TTL)?.min(LONGEST_LOOKUP_TTL);
        Ok(Self {
            reading: Reading { company_domains: worker.company_domains.clone(), region },
            sources,
            lookup_ttl: i64::try_from(lookup_ttl.as_secs()).unwrap_or(i64::MAX),
        })
    }
}

impl Settings {
    /// A source by its number; the first one beyond the last.
    pub(crate) fn source(&self, number: usize) -> &str {
        self.sources.get(number).map_or_else(|| self.first_source(), String::as_str)
    }

    /// The first source.
    pub(crate) fn first_source(&self) -> &str {
        self.sources.first().map_or(SOURCES[0], String::as_str)
    }
}

/// The rules of contact-sync, carried out through the given ports. Lives as long as the instance.
pub struct ContactSync<'a, P: Ports> {
    pub(crate) ports: Provision<'a, P>,
    pub(crate) settings: Settings,
    pub(crate) pace: DefaultDirectRateLimiter,
}

impl<'a> ContactSync<'a, Deployed> {
    /// The rules with the clients of a worker.
    ///
    /// # Errors
    /// If a variable of the environment cannot be used.
    pub fn new(worker: &'a Worker, environment: &Environment) -> Result<Self, ConfigurationError> {
        let ports = Provision {
            crm: worker.crm.as_ref(),
            nylas: &worker.nylas,
            links: &worker.links,
            queue: &worker.engine.queue,
            never_log: &worker.never_log,
            clock: Clock::system(),
        };
        Ok(Self::with(ports, Settings::from_environment(worker, environment)?))
    }
}

impl<'a, P: Ports> ContactSync<'a, P> {
    /// The rules with the given ports.
    #[must_use]
    pub fn with(ports: Provision<'a, P>, settings: Settings) -> Self {
        Self { ports, settings, pace: RateLimiter::direct(Quota::per_second(PAGES_A_SECOND)) }
    }

    /// The time now, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.ports.clock.now().as_second()
    }

    /// Refreshes a contact that has changed, as it stands now: what a notification says may be old by its turn.
    async fn refresh(&self, crm: &P::Crm, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let (Some(grant), Some(id)) = (&envelope.grant, &envelope.keys.id) else {
            let what = "the notification names no account or no contact; compare it with what Nylas sends";
            return Err(Failure::permanent("body.unreadable", what));
        };
        let wanted = |contact: &Contact| contact.source.is_empty() || self.settings.sources.contains(&contact.source);
        let never_log = self.ports.never_log.current().await?;
        let told: Option<Contact> = object_in(&work.body);
        if let Some(told) = &told
            && !wanted(told)
        {
            return Ok(Decision::skipped("of a source that is not wanted").with("source", told.source.clone()));
        }
        let of = CopyId { grant: grant.as_str().to_owned(), contact: id.clone() };
        let remembered = self.ports.links.get(&remembered::key(&of)).await?;
        let remembered = remembered.map(|standing| Remembered::of(standing.link)).transpose()?;
        let now_told = told.and_then(|told| read(grant.as_str(), &told, &never_log, &self.settings.reading).ok());
        if let Some(copy) = &now_told
            && let Some(remembered) = &remembered
            && remembered.still_holds(copy, &self.settings.reading.name(), self.settings.lookup_ttl, self.now())
        {
            return Ok(Decision::skipped("nothing has changed that is kept fresh"));
        }
        let Some(contact) = self.contact(grant, id, work).await? else {
            return Ok(Decision::skipped("gone from the address book"));
        };
        if !wanted(&contact) {
            return Ok(Decision::skipped("of a source that is not wanted").with("source", contact.source));
        }
        let copy = match read(grant.as_str(), &contact, &never_log, &self.settings.reading) {
            Ok(copy) => copy,
            Err(left_alone) => return Ok(Decision::skipped(left_alone.reason().trim_start_matches("skipped: "))),
        };
        // Nylas notifies of contacts as they change, and not of those that were there (its sources are incremental alone).
        let task = self.task(copy, remembered.as_ref(), true);
        let mode = Mode { by: envelope.id.as_str(), dry_run: false, replace_existing: false };
        let mut looked = self.look_at(crm, &[task], mode, work.deadline).await;
        let Some(outcome) = looked.outcomes.remove(&0) else {
            let unanswered = looked.unanswered.remove(&0);
            return match (looked.failed, unanswered) {
                // The account's other news, and its night, stand behind this one.
                (None, Some(failure)) if self.now() - work.sent_at.as_second() > LEFT_TO_THE_NIGHT_AFTER => {
                    Ok(Decision::held("the CRM answers nothing for it; the night tries it again")
                        .for_now()
                        .with("problem", failure.to_string()))
                }
                (Some(failure), _) | (None, Some(failure)) => Err(failure),
                (None, None) => Err(Failure::transient("contact.undecided", "the contact was not looked at")),
            };
        };
        let kept: Vec<String> = outcome.kept.iter().map(|kept| kept.field.clone()).collect();
        let names = |fields: &[ContactField]| fields.iter().map(|field| field.name()).collect::<Vec<_>>();
        let (written, not_offered) = (names(&outcome.written), names(&outcome.not_offered));
        let decision = match (outcome.contact_id, outcome.skipped) {
            (_, Some(why)) => Decision::skipped(why.reason().trim_start_matches("skipped: ")),
            (Some(contact), None) if !written.is_empty() => Decision::logged("fields written", contact),
            (Some(contact), None) => {
                let reason = match (kept.is_empty(), not_offered.is_empty()) {
                    (false, _) => "somebody's own values are kept",
                    (true, false) => "the CRM has no field for it",
                    (true, true) => "the CRM has it already",
                };
                Decision::skipped(reason).with("contact_id", contact)
            }
            (None, None) => Decision::skipped("nothing to write"),
        };
        let decision = decision.with("written", written).with("kept", kept);
        Ok(if not_offered.is_empty() { decision } else { decision.with("not_offered", not_offered) })
    }

    async fn contact(&self, grant: &GrantId, id: &str, work: &Work) -> Result<Option<Contact>, Failure> {
        self.pace.until_ready().await;
        Ok(self.ports.nylas.contact(grant, id, work.deadline).await?)
    }
}

impl<P: Ports> Processor for ContactSync<'_, P> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let Some(crm) = self.ports.crm else { return Ok(Decision::off("CrmBaseUrl")) };
        match &work.input {
            Input::Notification(envelope) if envelope.trigger.base() == "contact.updated" => {
                self.refresh(crm, envelope, work).await
            }
            Input::Notification(_) => Ok(Decision::skipped("not a changed contact")),
            Input::Job { kind } if kind == SYNC => {
                let job: SyncJob = serde_json::from_str(&work.body).map_err(|error| unreadable(&error))?;
                match job.grant()? {
                    None => self.divide(&job, work).await,
                    Some(grant) => self.go_on_with_share(crm, &job, &grant, work).await,
                }
            }
            Input::Job { kind } => Err(Failure::permanent(
                "body.unreadable",
                format!("`{kind}` is no job of contact-sync; there is `{SYNC}`"),
            )),
        }
    }
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::permanent(
        "body.unreadable",
        format!(
            "the job is not {{\"type\":\"{SYNC}\",\"grant_id\"?,\"run\"?,\"dry_run\"?,\"replace_existing\"?}}: {error}"
        ),
    )
}

#[cfg(test)]
mod tests;

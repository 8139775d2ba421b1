//! Carries out what the rules say of one event: completes it, finds who of its people the CRM knows, and has its meeting
//! kept.

use serde::Deserialize;
use std::future::Future;

use shared::crm::matching::{addresses_to_look_up, match_contacts};
use shared::crm::meeting::{Meeting, WriteMeetings};
use shared::crm::{BatchLookup, ContactsByAddress, FindContacts};
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::Version;
use shared::domain::notification::{Envelope, GrantId};
use shared::engine::{Clock, Deadline, Links, SendToOwnQueue, Work};
use shared::nylas::event::Event;
use shared::nylas::mailboxes::{DescribeMailbox, Mailboxes};
use shared::nylas::{Nylas, NylasError};

use crate::copies::{Copy, CopyKey, CopyState, News};
use crate::index::{Buried, CopyIndex, Known};
use crate::keep::{Did, Held, HeldCopies, Keeper, Kept};
use crate::meeting::{People, Scope, digest_of, dropped, identity_of, meeting_of};

/// What is asked of Nylas about events.
pub trait ReadEvents: DescribeMailbox {
    /// An event; none if it is no longer there.
    fn event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Event>, NylasError>> + Send;
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
}

/// What the rules are set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// Which meetings the CRM has.
    pub scope: Scope,
}

/// The rules for one batch, carried out through the given ports.
pub struct BatchRules<'a, C, N, L, Q> {
    /// The CRM, asked once for each address.
    pub lookup: BatchLookup<'a, C>,
    /// Nylas.
    pub nylas: &'a N,
    /// What is remembered of mailboxes from batch to batch.
    pub mailboxes: &'a Mailboxes,
    /// The links.
    pub links: &'a L,
    /// The function's own queue.
    pub queue: &'a Q,
    /// The time of day.
    pub clock: Clock,
    /// What the rules are set to.
    pub settings: &'a Settings,
}

/// A copy as it is judged, with what the rules went by.
pub(crate) struct Judged {
    pub(crate) held: Held,
    /// Why, as far as it does not depend on what is known of other copies.
    decision: Decision,
}

impl<C: FindContacts + WriteMeetings, N: ReadEvents, L: Links, Q: SendToOwnQueue> BatchRules<'_, C, N, L, Q> {
    /// Decides about an event that was created or changed.
    ///
    /// # Errors
    /// If the CRM, Nylas or the tables do not do what is asked.
    pub async fn changed(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let Some(event) = self.whole(envelope, work).await? else {
            return Ok(Decision::skipped("no longer at Nylas").for_now());
        };
        if event.is_master() {
            return self.lay_out(&event, None, work).await;
        }
        self.single(&event, work).await
    }

    /// Decides about one event that is no master of a series.
    pub(crate) async fn single(&self, event: &Event, work: &Work) -> Result<Decision, Failure> {
        let judged = self.judge(event, false, work.sent_at.as_second(), work.deadline).await?;
        let key = judged.held.copy.key.clone();
        let CopyState::Live { version, .. } = judged.held.copy.state else {
            return Ok(judged.decision);
        };
        let index = self.index();
        let identity = match index.find(&key).await? {
            Known::Bound(identity) => identity,
            Known::Deleted { at } if version.changed_at <= at => return Ok(Decision::skipped("deleted since")),
            Known::Deleted { .. } | Known::Unheard => match index.bind(&key, version, &identity_of(event)).await? {
                Some(identity) => identity,
                None => return Ok(Decision::skipped("deleted since")),
            },
        };
        let kept = self.keeper().take_in(&identity, judged.held, work.deadline).await?;
        Ok(decided(judged.decision, &kept).with("meeting", identity))
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
        let at = told_at(&work.body).unwrap_or(work.sent_at.as_second());
        let identity = match self.index().bury(&key, at).await? {
            Buried::Tombstone if self.is_series(&key).await? => return self.remove_series(&key, at, None, work).await,
            Buried::Tombstone => return Ok(Decision::done("deleted before anything was written")),
            Buried::Bound(identity) => identity,
        };
        let gone = Copy { key, calendar: None, state: CopyState::Gone { at } };
        let news = Held { copy: gone, meeting: None };
        let kept = self.keeper().take_in(&identity, news, work.deadline).await?;
        Ok(decided(Decision::done("deleted"), &kept).with("meeting", identity))
    }

    pub(crate) fn index(&self) -> CopyIndex<'_, L> {
        CopyIndex { links: self.links, clock: self.clock.clone() }
    }

    pub(crate) fn keeper(&self) -> Keeper<'_, L, C, Self> {
        Keeper { links: self.links, crm: self.lookup.crm(), calendars: self, clock: self.clock.clone() }
    }

    /// The event with all that is needed: as it was notified, else as Nylas holds it; none if it is gone.
    async fn whole(&self, envelope: &Envelope, work: &Work) -> Result<Option<Event>, Failure> {
        let carried = carried_event(&work.body);
        let grant = envelope.grant.clone();
        let is_whole = !envelope.trigger.payload.transformed && !envelope.trigger.payload.truncated;
        match carried {
            Some(mut event) if is_whole && event.when.is_some() && event.participants.is_some() => {
                event.grant_id = event.grant_id.or_else(|| grant.map(|grant| grant.as_str().to_owned()));
                Ok(Some(event))
            }
            carried => {
                let id = carried.as_ref().map(|event| event.id.as_str()).or(envelope.keys.id.as_deref());
                let (Some(grant), Some(id)) = (grant, id) else {
                    let what = "the notification carries neither the event nor the ids to fetch it by";
                    return Err(Failure::permanent("body.incomplete", what));
                };
                let calendar = carried.as_ref().and_then(|event| event.calendar_id.as_deref());
                self.fetched(&grant, calendar, id, work.deadline).await
            }
        }
    }

    pub(crate) async fn fetched(
        &self,
        grant: &GrantId,
        calendar: Option<&str>,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Event>, Failure> {
        let event = self.nylas.event(grant, calendar.unwrap_or("primary"), id, deadline).await?;
        Ok(event.map(|event| Event {
            grant_id: event.grant_id.or_else(|| Some(grant.as_str().to_owned())),
            calendar_id: event.calendar_id.or_else(|| calendar.map(str::to_owned)),
            ..event
        }))
    }

    /// What the rules make of an event: the copy, and the meeting if the CRM is to have one.
    pub(crate) async fn judge(
        &self,
        event: &Event,
        by_rule: bool,
        told_at: i64,
        deadline: Deadline,
    ) -> Result<Judged, Failure> {
        let people = People::in_event(event);
        let (meeting, decision) = self.meeting(event, &people, deadline).await?;
        let grant = event.grant_id.clone().unwrap_or_default();
        let version = Version {
            sequence: event.sequence.unwrap_or_default(),
            changed_at: event.updated_at.map_or(told_at, jiff::Timestamp::as_second),
        };
        let state = CopyState::Live {
            version,
            content: meeting.as_ref().map(digest_of),
            of_the_organizer: self.is_of_the_organizer(event, &people, deadline).await?,
        };
        let key = CopyKey { grant, event: event.id.clone(), by_rule };
        let copy = Copy { key, calendar: event.calendar_id.clone(), state };
        Ok(Judged { held: Held { copy, meeting }, decision })
    }

    /// The meeting that an event makes, none if the CRM is not to have it, and why.
    async fn meeting(
        &self,
        event: &Event,
        people: &People,
        deadline: Deadline,
    ) -> Result<(Option<Meeting>, Decision), Failure> {
        let (company, scope) = (&self.settings.company_domains, self.settings.scope);
        if let Some(decision) = dropped(event, people, company, scope) {
            return Ok((None, decision));
        }
        let known = self.known(people, deadline).await?;
        match match_contacts(&people.outside(company), people.organizer.as_ref(), &known) {
            Ok(matched) => {
                let decision = Decision::done("known contact")
                    .with("contact_ids", matched.contact_ids.clone())
                    .with("deal_id", matched.deal.deal_id())
                    .with("deal_rule", matched.deal.rule)
                    .with("deals_rejected", matched.deal.rejected_to_json());
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
        let outside: Vec<EmailAddress> = people.outside(&self.settings.company_domains);
        Ok(self.lookup.find(&addresses_to_look_up(&outside), deadline).await?)
    }
}

impl<C: FindContacts + WriteMeetings, N: ReadEvents, L: Links, Q: SendToOwnQueue> BatchRules<'_, C, N, L, Q> {
    /// True if the copy lies in the calendar of who called the meeting. Only a colleague's can.
    async fn is_of_the_organizer(&self, event: &Event, people: &People, deadline: Deadline) -> Result<bool, Failure> {
        let colleague = people.organizer.as_ref().filter(|organizer| self.settings.company_domains.contains(organizer));
        let (Some(organizer), Some(grant)) = (colleague, event.grant_id.as_deref().and_then(GrantId::parse)) else {
            return Ok(false);
        };
        let own = self.mailboxes.own_address(self.nylas, &grant, deadline).await?;
        Ok(own.as_ref() == Some(organizer))
    }
}

impl<C: FindContacts + WriteMeetings, N: ReadEvents, L: Links, Q: SendToOwnQueue> HeldCopies
    for BatchRules<'_, C, N, L, Q>
{
    async fn held(&self, key: &CopyKey, calendar: Option<&str>, deadline: Deadline) -> Result<Option<Held>, Failure> {
        let Some(grant) = GrantId::parse(&key.grant) else { return Ok(None) };
        let event = if key.by_rule {
            self.occurrence_by_rule(&grant, calendar, &key.event, deadline).await?
        } else {
            self.fetched(&grant, calendar, &key.event, deadline).await?
        };
        let Some(event) = event else { return Ok(None) };
        let judged = self.judge(&event, key.by_rule, 0, deadline).await?;
        Ok(Some(judged.held))
    }
}

/// The event that a notification carries, if it can be read.
fn carried_event(body: &str) -> Option<Event> {
    #[derive(Deserialize)]
    struct Notification {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        object: Event,
    }
    serde_json::from_str::<Notification>(body).ok().map(|notification| notification.data.object)
}

/// When the notification was made, in Unix seconds.
fn told_at(body: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Notification {
        time: Option<i64>,
    }
    serde_json::from_str::<Notification>(body).ok()?.time
}

/// The decision, now that it is known what the news came to.
fn decided(decision: Decision, kept: &Kept) -> Decision {
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
        (_, None) => decision,
    };
    decided.facts.extend(facts);
    decided.with("news", news)
}

#[cfg(test)]
mod tests;

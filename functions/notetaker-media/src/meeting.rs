//! Which meeting a notetaker attended: by the event that it was made for, else by where and when it joined.

use jiff::Timestamp;
use std::collections::BTreeSet;

use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::engine::{Deadline, Links};
use shared::meetings::{
    KeptMeeting, MeetingAt, identity_of, identity_of_copy, kept_meeting, meetings_joined, place_of,
};
use shared::nylas::NylasError;
use shared::nylas::event::{Event, When};

use crate::known::Known;
use crate::process::ReadMeetings;

/// The calendar that is looked in where no other is known. iCloud has none of this name.
const PRIMARY: &str = "primary";

/// How far from the time of joining an event of a series may begin and still be the one, in seconds.
const NEAR: i64 = 12 * 60 * 60;

/// How long the longest meetings last that are looked for by when somebody joined, in seconds.
const LONGEST: i64 = 24 * 60 * 60;

/// A meeting that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// It, as its calendar has it.
    pub event: Event,
    /// The key under which the CRM has it; none if the CRM does not.
    pub external_event_id: Option<String>,
    /// True if anybody who is invited keeps it private.
    pub private: bool,
    /// How it was found.
    pub by: &'static str,
}

/// Why a notetaker without an event has no meeting.
const NOWHERE: &str = "no meeting is known that takes place there at that time";
const TWO: &str = "two meetings take place there at that time";

/// What came of looking.
#[derive(Debug, Clone)]
pub enum Sought {
    /// The meeting.
    Found(Box<Found>),
    /// None that is certain, and why.
    Unknown(&'static str),
}

/// What meetings are looked for with.
pub struct Seeker<'a, L, N> {
    /// What calendar-sync keeps.
    pub links: &'a L,
    /// The calendars.
    pub nylas: &'a N,
    /// Until when there is time.
    pub deadline: Deadline,
}

impl<L: Links, N: ReadMeetings> Seeker<'_, L, N> {
    /// Looks for the meeting of a notetaker.
    ///
    /// # Errors
    /// If Nylas or the table does not answer.
    pub async fn seek(&self, known: &Known) -> Result<Sought, Failure> {
        let grant = known.grant.as_deref().and_then(GrantId::parse);
        let mut out_of_reach = None;
        if let (true, Some(grant)) = (known.names_an_event(), &grant) {
            match self.by_event(grant, known).await {
                Ok(Some(found)) => return Ok(Sought::Found(Box::new(found))),
                Ok(None) => {}
                // Others who were invited may tell what this account cannot.
                Err(failure) if is_out_of_reach(&failure) => out_of_reach = Some(failure),
                Err(failure) => return Err(failure),
            }
            if let Some(kept) = self.kept(grant, known).await?
                && let Some(event) = self.of_any_copy(&kept, |_| true).await?
            {
                let event = at_the_time_of(event, known.joined_at());
                return Ok(Sought::Found(Box::new(found_as_kept(event, kept, "another's calendar"))));
            }
        }
        let mut sought = self.by_place(known).await?;
        if let (Sought::Unknown(NOWHERE), Some(grant), false) = (&sought, &grant, known.names_an_event()) {
            sought = self.by_calendar(grant, known).await?;
        }
        match (sought, out_of_reach) {
            (Sought::Unknown(_), Some(failure)) => Err(failure),
            (Sought::Unknown(_), None) if known.names_an_event() => {
                Ok(Sought::Unknown("its calendar event is nowhere to be found"))
            }
            (sought, _) => Ok(sought),
        }
    }

    /// The meeting that the event belongs to which a notification named.
    async fn kept(&self, grant: &GrantId, known: &Known) -> Result<Option<KeptMeeting>, Failure> {
        let Some(id) = &known.event.event_id else { return Ok(None) };
        match identity_of_copy(self.links, grant.as_str(), id).await? {
            Some(identity) => Ok(kept_meeting(self.links, &identity).await?),
            None => Ok(None),
        }
    }

    /// By the event that a notification named.
    async fn by_event(&self, grant: &GrantId, known: &Known) -> Result<Option<Found>, Failure> {
        let kept = self.kept(grant, known).await?;
        let mut tried = BTreeSet::new();
        if let Some(id) = &known.event.event_id {
            let of_it = kept.iter().flat_map(|kept| &kept.copies);
            let of_it = of_it.filter(|copy| copy.grant == grant.as_str() && copy.event == *id);
            for calendar in of_it.flat_map(|copy| &copy.calendars) {
                if let Some(event) = self.event(grant, calendar, id).await? {
                    return self.found(event, "its calendar", grant, known, kept).await.map(Some);
                }
                tried.insert(calendar.clone());
            }
            if tried.insert(PRIMARY.to_owned())
                && let Some(event) = self.event(grant, PRIMARY, id).await?
            {
                return self.found(event, "the primary calendar", grant, known, kept).await.map(Some);
            }
        }
        match self.by_uid(grant, known).await? {
            Some(event) => self.found(event, "its iCalendar UID", grant, known, kept).await.map(Some),
            None => Ok(None),
        }
    }

    /// By the iCalendar UID, in each of the account's calendars.
    async fn by_uid(&self, grant: &GrantId, known: &Known) -> Result<Option<Event>, Failure> {
        let Some(uid) = &known.event.ical_uid else { return Ok(None) };
        let calendars = answered(self.nylas.calendars(grant, self.deadline).await)?.unwrap_or_default();
        // What its user can write to comes first: other people's calendars and holidays are read-only.
        let (own, others): (Vec<_>, Vec<_>) =
            calendars.into_iter().partition(|calendar| calendar.read_only != Some(true));
        for calendar in own.iter().chain(&others) {
            let listed = self.nylas.events_by_uid(grant, &calendar.id, uid, self.deadline).await;
            let listed = answered(listed)?.unwrap_or_default();
            if let Some(event) = the_one_among(listed, known) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// By where and when the notetaker joined, among the meetings that are kept.
    async fn by_place(&self, known: &Known) -> Result<Sought, Failure> {
        let Some(place) = known.place.as_deref() else {
            return Ok(Sought::Unknown("neither an event nor a meeting link is known of it"));
        };
        let Some(joined) = known.joined_at() else {
            return Ok(Sought::Unknown("it has no event, and when it joined is not known"));
        };
        let mut certain: Option<(KeptMeeting, Event)> = None;
        for candidate in meetings_joined(self.links, place, joined).await? {
            let Some(kept) = kept_meeting(self.links, &candidate.identity).await? else { continue };
            let is_it = |event: &Event| {
                !event.is_cancelled()
                    && event.meeting_link().and_then(place_of).as_deref() == Some(place)
                    && (event.is_master() || start_of(event).is_none_or(|start| start == candidate.start))
            };
            let Some(event) = self.of_any_copy(&kept, is_it).await? else { continue };
            if certain.is_some() {
                return Ok(Sought::Unknown(TWO));
            }
            certain = Some((kept, at_the_time_of(event, Some(joined))));
        }
        Ok(match certain {
            Some((kept, event)) => Sought::Found(Box::new(found_as_kept(event, kept, "where and when it joined"))),
            None => Sought::Unknown(NOWHERE),
        })
    }

    /// By where and when the notetaker joined, among what the calendars of its own account hold: a meeting that nobody in
    /// the CRM was known for is not kept.
    async fn by_calendar(&self, grant: &GrantId, known: &Known) -> Result<Sought, Failure> {
        let (Some(place), Some(joined)) = (known.place.as_ref(), known.joined_at()) else {
            return Ok(Sought::Unknown(NOWHERE));
        };
        let span = (joined.as_second() - LONGEST, joined.as_second() + LONGEST);
        let calendars = answered(self.nylas.calendars(grant, self.deadline).await)?.unwrap_or_default();
        let mut certain: Option<Event> = None;
        for calendar in calendars.iter().filter(|calendar| calendar.read_only != Some(true)) {
            let listed = answered(self.nylas.events_between(grant, &calendar.id, span, self.deadline).await)?;
            for event in listed.unwrap_or_default() {
                let is_it = event.meeting_link().and_then(place_of).as_ref() == Some(place)
                    && !event.is_cancelled()
                    && lasts_from(&event).is_some_and(|meeting| meeting.may_be_joined(joined));
                let is_another = certain.as_ref().is_some_and(|certain| certain.id != event.id);
                if is_it && is_another {
                    return Ok(Sought::Unknown(TWO));
                }
                if is_it {
                    certain = Some(event);
                }
            }
        }
        match certain {
            Some(event) => {
                let found = self.found(event, "its account's calendar", grant, known, None).await?;
                Ok(Sought::Found(Box::new(found)))
            }
            None => Ok(Sought::Unknown(NOWHERE)),
        }
    }

    /// The event of any copy of a meeting, as its calendar has it now.
    async fn of_any_copy(&self, kept: &KeptMeeting, is_it: impl Fn(&Event) -> bool) -> Result<Option<Event>, Failure> {
        for copy in &kept.copies {
            let Some(grant) = GrantId::parse(&copy.grant) else { continue };
            for calendar in copy.calendars.iter().map(String::as_str).chain([PRIMARY]) {
                match self.nylas.event(&grant, calendar, copy.held_as(), self.deadline).await {
                    Ok(Some(event)) if is_it(&event) => return Ok(Some(event)),
                    // The event was moved, or the account cannot tell: another copy may.
                    Ok(Some(_)) => break,
                    Err(error) if error.is_out_of_reach() => break,
                    other => {
                        answered(other)?;
                    }
                }
            }
        }
        Ok(None)
    }

    async fn event(&self, grant: &GrantId, calendar: &str, id: &str) -> Result<Option<Event>, Failure> {
        Ok(answered(self.nylas.event(grant, calendar, id, self.deadline).await)?.flatten())
    }

    /// An event with what the CRM has of it.
    async fn found(
        &self,
        event: Event,
        by: &'static str,
        grant: &GrantId,
        known: &Known,
        kept: Option<KeptMeeting>,
    ) -> Result<Found, Failure> {
        let event = at_the_time_of(event, known.joined_at());
        if let Some(kept) = kept {
            return Ok(found_as_kept(event, kept, by));
        }
        let mut identities = vec![identity_of(&event, None), identity_of(&event, known.event.ical_uid.as_deref())];
        // A series that was named as a whole: the occurrence that was attended.
        if let (true, Some(joined)) = (event.is_master(), known.join_time) {
            let occurrence = format!("{}_{}", event.id, joined.strftime("%Y%m%dT%H%M%SZ"));
            identities.extend(identity_of_copy(self.links, grant.as_str(), &occurrence).await?);
        }
        for identity in identities {
            if let Some(kept) = kept_meeting(self.links, &identity).await? {
                return Ok(found_as_kept(event, kept, by));
            }
        }
        Ok(Found { private: event.is_private(), event, external_event_id: None, by })
    }
}

fn found_as_kept(event: Event, kept: KeptMeeting, by: &'static str) -> Found {
    let private = kept.private || event.is_private();
    Found { event, external_event_id: kept.external_event_id, private, by }
}

/// A series stands for the occurrence that was attended: what it says of time is its first.
fn at_the_time_of(mut event: Event, joined: Option<Timestamp>) -> Event {
    if let (true, Some(joined)) = (event.is_master(), joined) {
        let time_zone = match event.when {
            Some(When::Span { time_zone, .. }) => time_zone,
            _ => None,
        };
        event.when = Some(When::Span { start: joined, end: joined, time_zone });
    }
    event
}

fn lasts_from(event: &Event) -> Option<MeetingAt> {
    match event.when.as_ref()? {
        When::Span { start, end, .. } => Some(MeetingAt { identity: String::new(), start: *start, end: *end }),
        When::Point(_) | When::Day(_) | When::Days { .. } => None,
    }
}

fn is_out_of_reach(failure: &Failure) -> bool {
    matches!(failure.class(), "nylas.grant_expired" | "nylas.scope_missing")
}

/// What Nylas refuses to answer is not there: a calendar that has no such name, an event that is gone.
fn answered<T>(answer: Result<T, NylasError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_refused() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Of the events with one UID the one that was named, else the one that was attended.
fn the_one_among(events: Vec<Event>, known: &Known) -> Option<Event> {
    let named = events.iter().position(|event| Some(&event.id) == known.event.event_id.as_ref());
    let distance = |event: &Event| {
        let joined = known.joined_at()?;
        Some(start_of(event)?.duration_since(joined).as_secs().abs())
    };
    let nearest = || {
        let distances = events.iter().enumerate().filter_map(|(place, event)| Some((distance(event)?, place)));
        distances.min().filter(|(away, _)| *away <= NEAR).map(|(_, place)| place)
    };
    let master = || events.iter().position(Event::is_master);
    let only = || (events.len() == 1).then_some(0);
    let place = named.or_else(nearest).or_else(master).or_else(only)?;
    events.into_iter().nth(place)
}

fn start_of(event: &Event) -> Option<Timestamp> {
    match event.when.as_ref()? {
        When::Span { start, .. } => Some(*start),
        When::Point(at) => Some(*at),
        When::Day(_) | When::Days { .. } => None,
    }
}

//! Whose turn it is: [`crate::slots`] carried out over the documents of the days.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::Mutex;

use shared::domain::failure::Failure;
use shared::engine::{Documents, PutDocument, Revision, StoreError};

use crate::hours::SendingHours;
use crate::slots::{Caps, Day, Turn, ask, day_of, name_of_day, plan, put_off};
use crate::step::Class;

/// How often a write that lost a race is decided again.
const MOST_RACES: usize = 50;

/// How far ahead mails are planned, in days.
const FURTHEST: i64 = 730;

/// How long a day is kept, in days from its beginning.
const KEPT_FOR: i64 = 30;

/// Who waits does so for at least this long: what is due sooner goes into the queue at once.
const SHORTEST_WAIT: SignedDuration = SignedDuration::from_secs(3);

/// Gives turns. One for all mails of an instance: they ask one after another instead of racing.
pub struct Turns {
    /// For each class, the first day that may have room: those before it are full.
    first_day: Mutex<[i64; 3]>,
    caps: Caps,
}

struct Stored {
    day: Day,
    revision: Option<Revision>,
}

impl Turns {
    /// Turns within the given caps.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self { first_day: Mutex::default(), caps }
    }

    /// Asks for a turn now; the answer is until when to wait, if not now. `waited` is true for a mail whose turn was to
    /// be now. Customers are written to within `hours` of their zone.
    ///
    /// # Errors
    /// If the table does not answer, or no day has room.
    pub async fn ask(
        &self,
        documents: &impl Documents,
        class: Class,
        waited: bool,
        hours: Option<(&SendingHours, &TimeZone)>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Failure> {
        let mut first_day = self.first_day.lock().await;
        let earliest =
            hours.filter(|_| class != Class::Booking).map_or(now, |(hours, zone)| hours.next_within(now, zone));
        if earliest <= now {
            for _ in 0..MOST_RACES {
                let number = day_of(now);
                let (today, yesterday) = (load(documents, number).await?, load(documents, number - 1).await?);
                let (mut next, before) = (today.day.clone(), yesterday.day);
                let turn = match self.turn_of(class, waited, now, number, &mut next, &before) {
                    // A fresh one has just been given its minute.
                    Turn::NotBefore(until) if waited => {
                        Turn::NotBefore(put_off(class, until.max(soon(now)), number, &mut next, self.caps))
                    }
                    turn => turn,
                };
                if next != today.day && !store(documents, number, &next, today.revision, now).await? {
                    continue;
                }
                match turn {
                    Turn::Now => return Ok(None),
                    Turn::NotBefore(until) => return Ok(Some(until.max(soon(now)))),
                    Turn::NotToday => break,
                }
            }
        }
        self.plan(documents, class, earliest, now, &mut first_day).await.map(Some)
    }

    fn turn_of(&self, class: Class, waited: bool, now: Timestamp, number: i64, next: &mut Day, before: &Day) -> Turn {
        if waited {
            return ask(class, now, next, before, self.caps);
        }
        let planned = plan(class, now, now, (number, next), before, self.caps);
        match planned {
            Some(at) if at.as_second().div_euclid(60) == now.as_second().div_euclid(60) => {
                ask(class, now, next, before, self.caps)
            }
            Some(at) => Turn::NotBefore(at),
            None => Turn::NotToday,
        }
    }

    /// Gives a mail a minute that is to come.
    async fn plan(
        &self,
        documents: &impl Documents,
        class: Class,
        earliest: Timestamp,
        now: Timestamp,
        first_day: &mut [i64; 3],
    ) -> Result<Timestamp, Failure> {
        // From the next minute on: this one is full, or it could go now.
        let from = earliest.max(later(now, SignedDuration::from_mins(1)));
        let today = day_of(now);
        let first = first_day.get(class.rank()).copied().unwrap_or_default().max(day_of(from));
        for number in first..=today + FURTHEST {
            for _ in 0..MOST_RACES {
                let (day, before) = (load(documents, number).await?, load(documents, number - 1).await?);
                let mut next = day.day.clone();
                let Some(at) = plan(class, from, now, (number, &mut next), &before.day, self.caps) else {
                    // Only a day that was looked through from its beginning is known to be full.
                    if number > day_of(from)
                        && let Some(first) = first_day.get_mut(class.rank())
                    {
                        *first = number;
                    }
                    break;
                };
                if store(documents, number, &next, day.revision, now).await? {
                    return Ok(at.max(soon(now)));
                }
            }
        }
        let what = format!(
            "no day of the next {FURTHEST} has room for another mail: raise OnboardingMailsPerDay, then redrive the message"
        );
        Err(Failure::permanent("onboarding.no_room", what))
    }

    /// Holds everybody until then, because the other side asked so.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn pause(&self, documents: &impl Documents, until: Timestamp, now: Timestamp) -> Result<(), Failure> {
        let _one_at_a_time = self.first_day.lock().await;
        for _ in 0..MOST_RACES {
            let number = day_of(now);
            let today = load(documents, number).await?;
            if today.day.paused_until.is_some_and(|standing| standing >= until) {
                return Ok(());
            }
            let next = Day { paused_until: Some(until), ..today.day };
            if store(documents, number, &next, today.revision, now).await? {
                return Ok(());
            }
        }
        Err(raced())
    }
}

fn raced() -> Failure {
    StoreError("the turns of this day are written by too many at once".to_owned()).into()
}

/// The key of a day: no mail address, so that no customer has it.
fn key_of(number: i64) -> String {
    format!("#sending/{}", name_of_day(number))
}

async fn load(documents: &impl Documents, number: i64) -> Result<Stored, Failure> {
    let Some(stored) = documents.read(&key_of(number)).await? else {
        return Ok(Stored { day: Day::default(), revision: None });
    };
    let day = serde_json::from_value(Value::Object(stored.fields)).map_err(|error| {
        let what =
            format!("the turns of {} cannot be read: {error}; was the record changed by hand?", name_of_day(number));
        Failure::permanent("onboarding.record_unreadable", what)
    })?;
    Ok(Stored { day, revision: Some(stored.revision) })
}

async fn store(
    documents: &impl Documents,
    number: i64,
    day: &Day,
    expected: Option<Revision>,
    now: Timestamp,
) -> Result<bool, Failure> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(day) else {
        return Err(Failure::permanent("onboarding.record_unwritable", "the turns of a day cannot be written"));
    };
    // DynamoDB removes it then; nobody asks for a day that is longer over.
    fields.insert("expires_at".to_owned(), Value::from((number + KEPT_FOR) * 24 * 3600));
    Ok(matches!(documents.write(&key_of(number), &fields, expected, now).await?, PutDocument::Stored(_)))
}

/// A time so much later; the end of time where there is none.
pub(crate) fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn soon(now: Timestamp) -> Timestamp {
    later(now, SHORTEST_WAIT)
}

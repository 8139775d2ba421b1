//! The record of a customer: where the onboarding stands, what has been done, and what is still to be done. It is all that
//! is known; whoever reads it can go on where somebody else stopped.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use shared::domain::address::EmailAddress;
use shared::domain::customer_event::customer_key;
use shared::domain::digest::sha256_hex;

use crate::evidence::Evidence;
use crate::step::{Label, Step};
use crate::table::{Standing, TimerKind};

/// How many pieces of evidence, and how many moves, are kept.
const MOST_KEPT: usize = 60;

/// How many calls of a run are kept.
const MOST_BOOKINGS: usize = 20;

/// A customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Customer {
    /// The address, normalised. It is the key of the record and not stored a second time.
    #[serde(skip)]
    pub email: String,
    /// The name, as a person wrote it.
    pub name: String,
    /// Where the customer stands.
    #[serde(flatten)]
    pub standing: Standing,
    /// Counts the moves, and never begins anew.
    pub version: u64,
    /// Counts the sign-ups.
    pub run: u32,
    /// The events of the product that were taken in, as digests of their ids: for good.
    #[serde(default)]
    pub seen: Vec<String>,
    /// When the customer signed up for this run, where the product told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_up_at: Option<Timestamp>,
    /// When the customer was last onboarded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onboarded_at: Option<Timestamp>,
    /// The customer's time zone, once a booking has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Set once a mail to the address came back. No mail is sent to it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounced: Option<Bounced>,
    /// The booking page of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
    /// The mails of this run, by step.
    #[serde(default)]
    pub mails: BTreeMap<String, Mail>,
    /// The timers that count, with the version that armed them.
    #[serde(default)]
    pub armed: BTreeMap<TimerKind, u64>,
    /// When these timers are due.
    #[serde(default)]
    pub due: BTreeMap<TimerKind, Timestamp>,
    /// The calls of this run, by booking.
    #[serde(default)]
    pub bookings: BTreeMap<String, Booking>,
    /// The booking that is the kickoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kickoff: Option<String>,
    /// What the moves rest on, the newest last.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// The moves, the newest last.
    #[serde(default)]
    pub history: Vec<Move>,
    /// What is still to be done.
    #[serde(default)]
    pub todo: Vec<Task>,
    /// Who is doing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_work: Option<AtWork>,
}

/// A mail that came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounced {
    /// When that was told.
    pub at: Timestamp,
    /// Why, in one word of Nylas's, for example `mailbox_unavailable`.
    pub kind: String,
}

/// A move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When.
    pub at: Timestamp,
    /// The version it made.
    pub version: u64,
    /// The run.
    pub run: u32,
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// On what.
    pub on: String,
    /// The message that told of it, as a digest of its id.
    #[serde(default)]
    pub by: String,
}

/// A booking page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The end of its address. Kept before the page is made, so that a page whose answer was lost is found again.
    pub slug: String,
    /// Nylas's id of it; none until it is known to be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_id: Option<String>,
}

/// How far a mail has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It is to be sent.
    Wanted,
    /// It waits for its turn, or for the morning; a schedule brings it back.
    Waiting,
    /// It is being sent: whether it was, is not known yet.
    Sending,
    /// It is sent.
    Sent,
    /// It will not be sent.
    Dropped,
}

/// A mail of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// How far it has come.
    pub progress: Progress,
    /// The booking that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booking: Option<String>,
    /// Until when it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When the request was first made that its key now stands for. Nylas remembers a key for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_since: Option<Timestamp>,
    /// True once it is known that the account may not track mail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untracked: bool,
    /// Since when it is offered and not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered_since: Option<Timestamp>,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// Nylas's id of it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// How many links it holds that are tracked.
    #[serde(default)]
    pub links: usize,
    /// Why it will not be sent; of one whose sending is open, why it shall not be if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Mail {
    /// A mail that is to be sent.
    #[must_use]
    pub fn wanted(booking: Option<String>) -> Self {
        Self {
            progress: Progress::Wanted,
            booking,
            until: None,
            key_since: None,
            untracked: false,
            offered_since: None,
            sent_at: None,
            message_id: None,
            links: 0,
            why: None,
        }
    }

    /// True if it surely is not sent, and is to be.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self.progress, Progress::Wanted | Progress::Waiting) && self.key_since.is_none()
    }

    /// True if it is somebody's turn to send it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Wanted | Progress::Sending)
    }
}

/// A call that was booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// The run in which it was booked.
    #[serde(default)]
    pub run: u32,
    /// Which of the run, counted from 1.
    pub number: u32,
    /// False once it is cancelled.
    pub stands: bool,
    /// When the newest news of it was told.
    pub told_at: Timestamp,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends.
    pub end: Timestamp,
    /// The event in the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Where the guest can move it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reschedule_url: Option<String>,
    /// Where the guest can cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
    /// How often it was moved.
    #[serde(default)]
    pub moves: u32,
    /// When the prep reminder is to begin; none if there is to be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<Timestamp>,
    /// The prep reminder as it stands in the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminder: Option<Reminder>,
}

/// A prep reminder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// The event; none while it is not known whether it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// When it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Timestamp>,
}

/// Something that is still to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What.
    pub what: Todo,
    /// The message that asked for it, as a digest of its id.
    pub by: String,
    /// Why it cannot be done, as far as is known; it is tried again with that message alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// What can be to be done. Each can be done twice without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Todo {
    /// Have the customer's key lead to the address.
    Register,
    /// Send a mail.
    Mail {
        /// Which.
        step: String,
    },
    /// Set the schedule that brings a waiting mail back.
    WakeMail {
        /// Which.
        step: String,
        /// When.
        at: Timestamp,
    },
    /// Set a timer.
    Arm {
        /// Which.
        kind: TimerKind,
        /// The version that armed it.
        version: u64,
        /// When it is due.
        at: Timestamp,
    },
    /// Remove a timer's schedule.
    Disarm {
        /// Which.
        kind: TimerKind,
        /// The run in which it was armed.
        run: u32,
        /// The version that armed it.
        version: u64,
    },
    /// Set the schedule that judges clicks which may be a machine's.
    JudgeClicks {
        /// The mail.
        step: String,
        /// When.
        at: Timestamp,
    },
    /// Make the team's calendar show what is known of a call.
    Reminder {
        /// The booking.
        booking: String,
    },
    /// Tell people.
    Alert {
        /// What of.
        about: About,
    },
}

/// What people are told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum About {
    /// Nothing was heard of the customer.
    Escalated,
    /// A mail came back.
    Bounced,
    /// The customer's address is known to send mail back.
    BouncedBefore,
    /// Nylas or the provider could not send a mail that it had taken.
    SendFailed {
        /// Which.
        step: String,
    },
    /// A call is booked that begins in less than an hour.
    SoonCall {
        /// The booking.
        booking: String,
    },
}

impl About {
    /// It in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Escalated => "escalated",
            Self::Bounced => "bounced",
            Self::BouncedBefore => "bounced before",
            Self::SendFailed { .. } => "send failed",
            Self::SoonCall { .. } => "call at short notice",
        }
    }
}

/// Who is working on what is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtWork {
    /// Somebody.
    pub who: String,
    /// Until when at the latest: longer than an invocation lasts.
    pub until: Timestamp,
}

impl Customer {
    /// A customer of whom nothing is known but the address and the name.
    #[must_use]
    pub fn new(email: &str, name: &str) -> Self {
        Self {
            email: email.to_owned(),
            name: name.to_owned(),
            standing: Standing::New,
            version: 0,
            run: 0,
            seen: Vec::new(),
            signed_up_at: None,
            onboarded_at: None,
            time_zone: None,
            bounced: None,
            page: None,
            mails: BTreeMap::new(),
            armed: BTreeMap::new(),
            due: BTreeMap::new(),
            bookings: BTreeMap::new(),
            kickoff: None,
            evidence: Vec::new(),
            history: Vec::new(),
            todo: Vec::new(),
            at_work: None,
        }
    }

    /// The opaque key: the first segment of labels.
    #[must_use]
    pub fn key(&self) -> String {
        key_of(&self.email)
    }

    /// The label of a mail of this run.
    #[must_use]
    pub fn label(&self, step: Step) -> Label {
        Label { customer: self.key(), run: self.run, step }
    }

    /// The call that is the kickoff.
    #[must_use]
    pub fn kickoff(&self) -> Option<&Booking> {
        self.bookings.get(self.kickoff.as_ref()?)
    }

    /// True if an event of the product was taken in before.
    #[must_use]
    pub fn has_seen(&self, event: &str) -> bool {
        let digest = digest_of(event);
        self.seen.contains(&digest)
    }

    /// Remembers an event of the product, for good.
    pub fn sees(&mut self, event: &str) {
        if !self.has_seen(event) {
            self.seen.push(digest_of(event));
        }
    }

    /// True if this run's nudge is sent, or on its way.
    #[must_use]
    pub fn is_nudged(&self) -> bool {
        self.mails.get("nudge").is_some_and(|mail| match mail.progress {
            Progress::Sent => true,
            Progress::Dropped => false,
            // One that was called back is not sent again.
            Progress::Wanted | Progress::Waiting | Progress::Sending => mail.why.is_none(),
        })
    }

    /// Adds something to be done, once. What could not be done is tried again, for the message that asks now.
    pub fn add(&mut self, what: Todo, by: &str) {
        match self.todo.iter_mut().find(|task| task.what == what) {
            Some(task) if task.refused.is_some() => *task = Task { what, by: by.to_owned(), refused: None },
            Some(_) => {}
            None => self.todo.push(Task { what, by: by.to_owned(), refused: None }),
        }
    }

    /// True if a mail cannot be sent as things are: its task was refused.
    #[must_use]
    pub fn is_refused(&self, mail: &str) -> bool {
        let is_it = |what: &Todo| matches!(what, Todo::Mail { step } if step == mail);
        self.todo.iter().any(|task| task.refused.is_some() && is_it(&task.what))
    }

    /// The first thing that can be done now.
    #[must_use]
    pub fn next_task(&self) -> Option<&Task> {
        self.todo.iter().find(|task| task.refused.is_none())
    }

    /// Takes something off what is to be done.
    pub fn finish(&mut self, what: &Todo) {
        self.todo.retain(|task| task.what != *what);
    }

    /// Calls mails back that are not sent yet. Those whose sending is open are not sent again if they were not.
    pub fn call_back(&mut self, why: &str, which: impl Fn(Step, &Mail) -> bool) {
        let mut gone = Vec::new();
        for (name, mail) in &mut self.mails {
            let Some(step) = Step::parse(name) else { continue };
            if matches!(mail.progress, Progress::Sent | Progress::Dropped) || !which(step, mail) {
                continue;
            }
            if mail.is_unsent() {
                mail.progress = Progress::Dropped;
                mail.until = None;
                gone.push(name.clone());
            }
            mail.why = Some(why.to_owned());
        }
        self.todo.retain(|task| match &task.what {
            Todo::Mail { step } | Todo::WakeMail { step, .. } => !gone.contains(step),
            _ => true,
        });
    }

    /// Keeps the record within bounds.
    pub fn trim(&mut self) {
        let too_many = self.evidence.len().saturating_sub(MOST_KEPT);
        self.evidence.drain(..too_many);
        let too_many = self.history.len().saturating_sub(MOST_KEPT);
        self.history.drain(..too_many);
        while self.bookings.len() > MOST_BOOKINGS {
            let is_over = |(id, booking): &(&String, &Booking)| !booking.stands && self.kickoff.as_ref() != Some(*id);
            let oldest = self.bookings.iter().filter(is_over).min_by_key(|(_, booking)| booking.number);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return };
            self.bookings.remove(&oldest);
        }
    }
}

/// A digest that stands for an outside id.
#[must_use]
pub fn digest_of(id: &str) -> String {
    let mut digest = sha256_hex(&[id.as_bytes()]);
    digest.truncate(32);
    digest
}

/// The opaque key of an address. Whatever is stored has been an address.
#[must_use]
pub fn key_of(email: &str) -> String {
    EmailAddress::parse(email).map_or_else(|| digest_of(email), |email| customer_key(&email))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn record_is_stored_as_the_design_names_its_parts_and_read_again() {
        let mut customer = Customer::new("rosa@fabrikam.example", "Rosa Diaz");
        customer.standing = Standing::EngagedSoft;
        customer.armed.insert(TimerKind::FollowUp, 2);
        customer.mails.insert("welcome".to_owned(), Mail::wanted(None));
        customer.add(Todo::Mail { step: "welcome".to_owned() }, "m");
        let stored = serde_json::to_value(&customer).expect("written");
        assert_eq!((&stored["state"], &stored["engagement"]), (&json!("engaged"), &json!("soft")));
        assert_eq!(
            (&stored["version"], &stored["run"], &stored["armed"]),
            (&json!(0), &json!(0), &json!({"follow_up": 2}))
        );
        assert_eq!(stored.get("email"), None, "it is the key");
        let mut read: Customer = serde_json::from_value(stored).expect("read");
        read.email.clone_from(&customer.email);
        assert_eq!(read, customer);
    }

    #[test]
    fn record_of_an_earlier_release_that_lacks_fields_is_read() {
        let old = json!({"name": "Rosa", "state": "welcome_sent", "version": 2, "run": 1});
        let read: Customer = serde_json::from_value(old).expect("read");
        assert_eq!((read.standing, read.mails.len()), (Standing::WelcomeSent, 0));
    }

    #[test]
    fn mail_that_is_being_sent_cannot_be_called_back() {
        let mut customer = Customer::new("rosa@fabrikam.example", "Rosa Diaz");
        let asked = Some(Timestamp::UNIX_EPOCH);
        for (name, progress, key_since) in [("welcome", Progress::Sending, asked), ("nudge", Progress::Waiting, None)] {
            customer.mails.insert(name.to_owned(), Mail { progress, key_since, ..Mail::wanted(None) });
            customer.add(Todo::Mail { step: name.to_owned() }, "m");
        }
        customer.call_back("for a test", |_, _| true);
        assert_eq!(customer.mails["welcome"].progress, Progress::Sending);
        assert!(customer.mails["welcome"].why.is_some(), "it is not sent again");
        assert_eq!(customer.mails["nudge"].progress, Progress::Dropped);
        assert_eq!(customer.todo.len(), 1);
    }
}

//! What is measured: which mails or events come, and who handles them.
//! Of each kind the first scenario is what the others are held against, the second is the one that the goal is about.

use crate::mail::{Mail, Outsider};
use crate::meeting::Meeting;

/// How many mails or events a batch has: what the template lets SQS hand over at once.
pub const MAILS_IN_A_BATCH: usize = 10;
/// How many outsiders are on each mail of a batch.
pub const ADDRESSES_OF_A_MAIL: usize = 6;

/// What comes, each in a group of its own, and who handles it.
#[derive(Clone, Debug)]
pub enum Work {
    /// Mails for email-activity, by its engine.
    Mails(Vec<Mail>),
    /// Mails for the usual recipe: mail after mail, address after address, then the activity; nothing side by side.
    MailsInALoop(Vec<Mail>),
    /// Events for calendar-sync, by its engine.
    Events(Vec<Meeting>),
}

impl Work {
    /// The mails, which Nylas has to hold.
    pub fn mails(&self) -> &[Mail] {
        match self {
            Self::Mails(mails) | Self::MailsInALoop(mails) => mails,
            Self::Events(_) => &[],
        }
    }

    /// Everybody outside the company.
    pub fn outsiders(&self) -> Vec<&Outsider> {
        match self {
            Self::Mails(mails) | Self::MailsInALoop(mails) => mails.iter().flat_map(|mail| &mail.outsiders).collect(),
            Self::Events(meetings) => meetings.iter().flat_map(|meeting| &meeting.outsiders).collect(),
        }
    }
}

/// One of the things that are compared.
#[derive(Debug)]
pub struct Scenario {
    /// What it is called in the report.
    pub name: &'static str,
    /// What comes, and who handles it.
    pub work: Work,
}

/// The scenarios of mails, in the order of the report.
pub fn of_mails() -> Vec<Scenario> {
    let of_different = || mails(|mail, place| mail * ADDRESSES_OF_A_MAIL + place);
    let scenario = |name, work| Scenario { name, work };
    vec![
        scenario("one message, one address", Work::Mails(vec![Mail::new(0, vec![Outsider::new(0)])])),
        scenario("batch of 10 messages, 6 different addresses each", Work::Mails(of_different())),
        scenario("batch of 10 messages, the same 6 addresses on all", Work::Mails(mails(|_, place| place))),
        scenario("usual loop over 10 messages, 6 different addresses each", Work::MailsInALoop(of_different())),
    ]
}

/// The scenarios of events, in the order of the report.
pub fn of_events() -> Vec<Scenario> {
    let outsiders =
        |event: usize, number: usize| (0..number).map(|place| Outsider::new(event * number + place)).collect();
    let events = |number, each| (0..number).map(|event| Meeting::new(event, outsiders(event, each))).collect();
    let scenario = |name, number, each| Scenario { name, work: Work::Events(events(number, each)) };
    vec![
        scenario("one event, one outsider", 1, 1),
        scenario("batch of 10 events of different meetings, one outsider each", MAILS_IN_A_BATCH, 1),
        scenario(
            "batch of 10 events of different meetings, 6 different outsiders each",
            MAILS_IN_A_BATCH,
            ADDRESSES_OF_A_MAIL,
        ),
    ]
}

/// A full batch of mails; `outsider` tells who is on which mail at which place.
fn mails(outsider: impl Fn(usize, usize) -> usize) -> Vec<Mail> {
    let on = |mail| (0..ADDRESSES_OF_A_MAIL).map(|place| Outsider::new(outsider(mail, place))).collect();
    (0..MAILS_IN_A_BATCH).map(|mail| Mail::new(mail, on(mail))).collect()
}

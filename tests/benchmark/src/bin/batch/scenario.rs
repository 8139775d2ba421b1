//! What is measured: which mails come, and who handles them.
//! The first scenario is what the others are held against, the second is the one that the goal is about.

use crate::mail::{Mail, Outsider};

/// How many mails a batch has: what the template lets SQS hand over at once.
pub const MAILS_IN_A_BATCH: usize = 10;
/// How many outsiders are on each mail of a batch.
pub const ADDRESSES_OF_A_MAIL: usize = 6;

/// Who handles the mails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// email-activity, by its engine.
    EmailActivity,
    /// The usual recipe: mail after mail, address after address, then the activity; nothing side by side.
    PlainLoop,
}

/// One of the things that are compared.
#[derive(Debug)]
pub struct Scenario {
    /// What it is called in the report.
    pub name: &'static str,
    /// Who handles the mails.
    pub handler: Handler,
    /// The mails, each in a group of its own.
    pub mails: Vec<Mail>,
}

/// All scenarios in the order of the report.
pub fn all() -> [Scenario; 4] {
    let one = vec![Mail::new(0, vec![Outsider::new(0)])];
    let of_different = || mails(|mail, place| mail * ADDRESSES_OF_A_MAIL + place);
    let of_the_same = mails(|_, place| place);
    let by_email_activity = |name, mails| Scenario { name, handler: Handler::EmailActivity, mails };
    [
        by_email_activity("one message, one address", one),
        by_email_activity("batch of 10 messages, 6 different addresses each", of_different()),
        by_email_activity("batch of 10 messages, the same 6 addresses on all", of_the_same),
        Scenario {
            name: "usual loop over 10 messages, 6 different addresses each",
            handler: Handler::PlainLoop,
            mails: of_different(),
        },
    ]
}

/// A full batch of mails; `outsider` tells who is on which mail at which place.
fn mails(outsider: impl Fn(usize, usize) -> usize) -> Vec<Mail> {
    let on = |mail| (0..ADDRESSES_OF_A_MAIL).map(|place| Outsider::new(outsider(mail, place))).collect();
    (0..MAILS_IN_A_BATCH).map(|mail| Mail::new(mail, on(mail))).collect()
}

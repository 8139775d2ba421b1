//! operator: what people invoke by hand. It starts backfills, reconciliations and syncs of address books and shows how far
//! they have come, sends notetakers to meetings, sets by which rules they join by themselves, opens what they left, tries
//! triage rules on the mail of the last days before they go live, and sees to what the CRM and the ticket system need once.
//!
//! Pure:
//! - [`command`]: an event read into a request, or what is wrong with it.
//! - [`times`]: the times in it.
//! - [`jobs`]: what a request puts into the queues, and where its progress stands.
//! - [`report`]: progress as rows, as a table, and as what to do next.
//! - [`findings`]: what people should look at after a sync, as a table.
//! - [`invitation`]: an invitation of a notetaker, which one stands for it already, and how it is claimed.
//! - [`joining_rules`]: the rules for joining, as they are given and as Nylas keeps them.
//! - [`media_link`]: a reference to a file that is to be made a link.
//! - [`proposed_rules`]: a file of triage rules that is to be tried.
//! - [`ruling`]: what rules say of a mail, beside what was decided of it, and where two files differ.
//! - [`trial_report`]: what came of a trial, as rows, as a table, and in words.
//! - [`nylas_words`]: an error of Nylas as a sentence.
//!
//! What carries it out:
//! - [`operate`]: answers an event.
//! - [`follow`]: reads the progress of a run until it has ended or time is up.
//! - [`invite`]: carries out an invitation once.
//! - [`auto_join`]: shows and sets the rules for joining.
//! - [`mod@media`]: makes a link.
//! - [`mod@triage_rules`]: tries triage rules.
//! - [`mod@set_up`]: sees to what the CRM and the ticket system need once.
//! - [`subscribe`]: sees to the webhook at Nylas and to its secret.
//! - [`mod@forget`]: removes what the stack holds of a person.
//! - [`story`]: tells all that is known of a notification, an object or a customer.
//! - [`replay`]: has notifications decided once more.
//! - [`ports`]: what these need of Nylas, of the archive and of the list of support mailboxes.

pub mod auto_join;
pub mod command;
pub mod doctor;
pub mod findings;
pub mod follow;
pub mod forget;
pub mod invitation;
pub mod invite;
pub mod jobs;
pub mod joining_rules;
pub mod letters;
pub mod media;
pub mod media_link;
pub mod nylas_words;
pub mod operate;
pub mod ports;
pub mod proposed_rules;
pub mod replay;
pub mod report;
pub mod ruling;
pub mod set_up;
pub mod stack_map;
pub mod story;
pub mod subscribe;
#[cfg(test)]
mod testing;
pub mod times;
pub mod told;
pub mod triage_rules;
pub mod trial_report;

pub use operate::{Invocation, OperateError, Operator, Settings};

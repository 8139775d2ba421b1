//! Removes what the stack itself holds of a person, by mail address, and says what it removed.
//!
//! What guards against doing a thing twice stays, without the person: decisions, and what each mail, meeting and ticket
//! became. What is about the person alone goes: a customer with her timers, dead letters, archived bodies, files of meetings
//! that name her. What others keep (the CRM, the ticket system, Nylas, files that people put in place) is told.
//!
//! Pure: [`person`], [`mod@shred`], [`mod@treat`], [`tally`]. What carries it out: [`walk`], over what [`held`] says of tables,
//! schedules, queues and objects; [`in_aws`] has them in AWS.

pub mod held;
pub mod in_aws;
pub mod person;
pub mod shred;
pub mod tally;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod treat;
pub mod walk;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::aws::never_log::NEVER_LOG_KEY;
use shared::crm::FindContacts;
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::never_log::NeverLog;
use shared::nylas::mailboxes::all_grants;

use crate::command::{BadCommand, fields_of};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports, soon};
use crate::told::Told;
use held::OnTheirWay;
use person::Person;
use tally::{Done, Tally};
use treat::KnownAs;
use walk::{Ended, Place, Walk};

pub use held::Held;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Who is to be forgotten.
    pub email: EmailAddress,
    /// True if it is only to be shown what would be removed.
    pub dry_run: bool,
    /// True if an address of the company's own is to be forgotten all the same.
    pub force: bool,
    /// The person's contacts in the CRM, as far as the caller knows them.
    pub contact_ids: Vec<String>,
    /// Where an earlier go ended.
    pub from: Option<Place>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    email: Option<String>,
    dry_run: Option<bool>,
    force: Option<bool>,
    contact_ids: Option<Vec<String>>,
    from: Option<Place>,
}

impl Forgotten {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({ "command": "forget", "email": "dana@example.com", "dry_run": true })
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let fields: Fields = fields_of(fields)?;
        let reason = "say whom to forget by the mail address";
        let email = fields.email.ok_or(BadCommand::Missing { field: "email", reason })?;
        if email.trim().is_empty() {
            return Err(BadCommand::Empty("email"));
        }
        let wrong = || BadCommand::Wrong {
            field: "email",
            value: email.clone(),
            problem:
                "it must be one mail address, such as dana@example.com; a domain or a part of one names many people"
                    .to_owned(),
        };
        Ok(Self {
            email: EmailAddress::parse(&email).ok_or_else(wrong)?,
            dry_run: fields.dry_run.unwrap_or(true),
            force: fields.force.unwrap_or(false),
            contact_ids: fields.contact_ids.unwrap_or_default(),
            from: fields.from,
        })
    }

    /// The event that does the same, from a place on.
    fn again(&self, known_as: &KnownAs, dry_run: bool, from: Option<&Place>) -> Value {
        let mut event = json!({ "command": "forget", "email": self.email.as_str(), "dry_run": dry_run });
        if self.force {
            event["force"] = true.into();
        }
        if !known_as.contact_ids.is_empty() {
            event["contact_ids"] = known_as.contact_ids.clone().into();
        }
        if let Some(from) = from {
            event["from"] = json!(from);
        }
        event
    }
}

/// Why an address is not forgotten without `force`; none if nothing speaks against it. `accounts` are the addresses of the
/// connected accounts.
fn objection(email: &EmailAddress, company: &CompanyDomains, accounts: &[EmailAddress]) -> Option<&'static str> {
    if accounts.contains(email) {
        Some("it is the address of a connected account: disconnect the account at Nylas first")
    } else if company.contains(email) {
        Some("it is on a domain of the company's own (`CompanyDomains`)")
    } else {
        None
    }
}

impl<P: Ports> Operator<P> {
    /// Shows what the stack holds of a person, or removes it.
    ///
    /// # Errors
    /// If CloudFormation does not tell where everything is.
    pub(crate) async fn forget(&self, asked: &Forgotten, invocation: &Invocation) -> Result<Answer, OperateError> {
        let deadline = soon(invocation);
        if !asked.force {
            let accounts = match all_grants(&self.nylas, deadline).await {
                Ok(grants) => grants,
                Err(problem) => {
                    return Ok(Answer::error(format!(
                        "nothing was removed: whether the address is that of a connected account cannot be told: {problem}; \
                         give the command again, or with `force` if you know that it is none"
                    )));
                }
            };
            let accounts: Vec<_> =
                accounts.iter().filter_map(|grant| EmailAddress::parse(grant.email.as_deref()?)).collect();
            if let Some(objection) = objection(&asked.email, &self.settings.company_domains, &accounts) {
                return Ok(Answer::error(format!(
                    "nothing was removed: {objection}. Forgetting it would take it out of every decision and meeting; give \
                     the command with `force: true` if that is what you want"
                )));
            }
        }
        let unavailable = |problem| OperateError::Unavailable {
            what: "nothing was removed: where everything is cannot be told".to_owned(),
            problem,
            then: "give the command again in a minute",
        };
        self.held.begin().await.map_err(unavailable)?;
        let (known_as, unasked) = self.known_as(asked, invocation).await;
        let person = Person::new(asked.email.clone());
        let mut walk = Walk {
            held: &self.held,
            person: &person,
            known_as: &known_as,
            dry_run: asked.dry_run,
            now: invocation.now,
            deadline,
            tally: Tally::default(),
            at_work: 0,
        };
        let mut ended = walk.go_on(asked.from.clone()).await;
        let (mut on_their_way, mut listed) = (Vec::new(), true);
        if ended == Ended::Through {
            // What is left undone here is only not told.
            if let Err(problem) = walk.settings().await {
                ended = Ended::Broken(Place { part: walk::Part::Media, after: None }, problem);
            }
            on_their_way = self.held.on_their_way().await.unwrap_or_default();
            listed = self.is_never_logged(&asked.email).await;
        }
        let mut tally = walk.tally;
        let at_work = walk.at_work;
        if asked.from.is_none() {
            for contact in &known_as.contact_ids {
                tally.add(
                    &format!("{} ({})", self.crm.name, self.crm.provider),
                    Done::Told,
                    format!("contact {contact}"),
                );
            }
        }
        log(asked, &tally, &ended);
        let outcome = Outcome {
            asked,
            known_as: &known_as,
            tally: &tally,
            ended: &ended,
            at_work,
            on_their_way,
            listed,
            unasked,
        };
        Ok(Answer::Told(outcome.told()))
    }

    /// The person's contacts in the CRM; beside them why they could not be asked for.
    async fn known_as(&self, asked: &Forgotten, invocation: &Invocation) -> (KnownAs, Option<String>) {
        let mut known_as = KnownAs { contact_ids: asked.contact_ids.clone() };
        let (Some(crm), None) = (&self.crm.client, &asked.from) else { return (known_as, None) };
        let addresses = std::slice::from_ref(&asked.email);
        match crm.find_contacts(addresses, soon(invocation).earlier_by(std::time::Duration::from_secs(20))).await {
            Ok(found) => {
                for contact in found.into_values().flatten() {
                    if !known_as.contact_ids.contains(&contact.id) {
                        known_as.contact_ids.push(contact.id);
                    }
                }
                (known_as, None)
            }
            Err(problem) => (known_as, Some(problem.to_string())),
        }
    }

    /// True if the never-log list keeps new mail of the address out, or cannot be asked.
    async fn is_never_logged(&self, email: &EmailAddress) -> bool {
        match self.held.object(NEVER_LOG_KEY).await {
            Ok(list) => {
                let text = list.map(|list| String::from_utf8_lossy(&list).into_owned()).unwrap_or_default();
                NeverLog::parse(&text).0.forbids(email).is_some()
            }
            Err(_) => true,
        }
    }
}

/// Logs counts alone: whom they are about is for no log.
fn log(asked: &Forgotten, tally: &Tally, ended: &Ended) {
    tracing::info!(
        command = "forget",
        dry_run = asked.dry_run,
        deleted = tally.count(Done::Deleted),
        rewritten = tally.count(Done::Rewritten),
        through = *ended == Ended::Through,
        "answered"
    );
}

/// What came of a go, to be told.
struct Outcome<'a> {
    asked: &'a Forgotten,
    known_as: &'a KnownAs,
    tally: &'a Tally,
    ended: &'a Ended,
    at_work: u64,
    on_their_way: Vec<OnTheirWay>,
    listed: bool,
    unasked: Option<String>,
}

impl Outcome<'_> {
    fn told(&self) -> Told {
        let dry_run = self.asked.dry_run;
        let waits = !self.on_their_way.is_empty();
        let again = match self.ended {
            Ended::TimeIsUp(place) | Ended::Broken(place, _) => {
                Some(self.asked.again(self.known_as, dry_run, Some(place)))
            }
            Ended::Through if dry_run => Some(self.asked.again(self.known_as, false, None)),
            Ended::Through if self.at_work > 0 || waits => Some(self.asked.again(self.known_as, false, None)),
            Ended::Through => None,
        };
        Told {
            command: "forget",
            ready: *self.ended == Ended::Through && (dry_run || self.at_work == 0),
            rows: self.tally.rows(),
            table: self.tally.table(dry_run),
            text: self.sentences(again.as_ref()).join("\n"),
            again,
        }
    }

    fn sentences(&self, again: Option<&Value>) -> Vec<String> {
        let dry_run = self.asked.dry_run;
        let held = self.tally.count(Done::Deleted) + self.tally.count(Done::Rewritten);
        let mut told = vec![match (held, dry_run, &self.asked.from, self.ended) {
            (0, _, None, Ended::Through) => "The stack holds nothing of this address.".to_owned(),
            (0, _, _, _) => "Nothing of this address was found in this go.".to_owned(),
            (_, true, _, _) => "Nothing was removed: this is what would be.".to_owned(),
            (_, false, _, _) => "What stands above as deleted or kept without the address is done.".to_owned(),
        }];
        told.extend(self.consequences().into_iter().map(str::to_owned));
        if let Some(problem) = &self.unasked {
            told.push(format!(
                "The CRM could not be asked for the person's contact ({problem}): what address books said of it stays. Give \
                 `contact_ids` as the CRM has them, or the command again."
            ));
        }
        if self.at_work > 0 {
            told.push(format!(
                "{} of these are being worked on and were left as they are: give the command again in a minute.",
                self.at_work
            ));
        }
        if *self.ended == Ended::Through {
            if !self.listed {
                told.push(
                    "The never-log list does not name the address, so new mail brings it back: put it there first \
                     (`make never-log`)."
                        .to_owned(),
                );
            }
            told.extend(self.on_their_way());
            told.push(
                "Not of this stack, and not touched: the records of the CRM and of the ticket system, and mailboxes, \
                 calendars and address books at Nylas. The backups of the links and onboarding tables (point-in-time recovery) \
                 hold what stood there for 35 days more."
                    .to_owned(),
            );
        }
        match (self.ended, again) {
            (Ended::TimeIsUp(place), Some(again)) => {
                told.push(format!("Time was up at {}. It goes on with {again}", place.part.name()));
            }
            (Ended::Broken(place, problem), Some(again)) => told.push(format!(
                "{} could not be looked through to the end: {problem}. What was done stays done; go on with {again}",
                place.part.name()
            )),
            (Ended::Through, Some(again)) if dry_run => told.push(format!("To do it: {again}")),
            (Ended::Through, Some(again)) => told.push(format!("Then give it again: {again}")),
            _ => {}
        }
        told
    }

    /// What follows from what was done, or would be.
    fn consequences(&self) -> Vec<&'static str> {
        let of = |place: &str, done| self.tally.of(place, done) > 0;
        let mut told = Vec::new();
        if of("decisions", Done::Rewritten) {
            told.push("Decisions stay without the address and wait for it no longer, so nothing is done twice.");
        }
        if of("decisions", Done::Deleted) {
            told.push(
                "Decisions whose own id is made of the address go: the same notification, told once more, would count as new.",
            );
        }
        if of("links", Done::Rewritten) {
            told.push("Tickets no longer know the person: a further mail in one opens a new ticket.");
        }
        if of("customers", Done::Deleted) {
            told.push(
                "The onboarding of a deleted customer ends without a further mail; a sign-up that the product tells anew \
                 begins it again.",
            );
        }
        if of("letters", Done::Deleted) || of("unroutable", Done::Deleted) {
            told.push("What a deleted letter would have brought to the CRM stays out of it.");
        }
        if of("bodies", Done::Deleted) {
            told.push(
                "A message on its way whose archived body is gone ends as a dead letter `body.missing`: drop it.",
            );
        }
        if of("files of meetings", Done::Deleted) {
            told.push(
                "Where a text of a meeting names the address, the recording and the other files of the meeting go with it: \
                 they hold the same person's words. References to them in the CRM lead nowhere then.",
            );
        }
        if of("meetings the person was at", Done::Told) {
            told.push(
                "The person was at the meetings that are listed; their files stay unless a text names the address. Look at \
                 them, and delete those folders of the archive bucket that you must not keep.",
            );
        }
        if of("made at Nylas", Done::Told) {
            told.push("What was made for a customer at Nylas stays there: delete it in the account that sends the onboarding.");
        }
        if of("files of your own", Done::Told) {
            told.push("Files that you put in place name the address; they stay as you wrote them.");
        }
        told
    }

    fn on_their_way(&self) -> Option<String> {
        if self.on_their_way.is_empty() {
            return None;
        }
        let each: Vec<String> = self
            .on_their_way
            .iter()
            .map(|queue| format!("{} ({} waiting, {} in flight)", queue.queue, queue.waiting, queue.in_flight))
            .collect();
        Some(format!(
            "Messages on their way are not looked into, and may name the person: {}. Give the command again once they are \
             through.",
            each.join(", ")
        ))
    }
}

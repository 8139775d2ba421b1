//! Looks contacts of an address book up in the CRM, some at a time, and writes what is to be written.
//!
//! A write is announced in the person's record first, and the record is only written over the revision that was read. So
//! nobody else writes meanwhile, and a write that never ended is known as our own when it is found in the CRM.

use futures_util::StreamExt as _;
use shared::crm::contact_fields::{ContactField, ContactUpdate, PerField, UpdateContacts as _};
use shared::crm::{Contact, CrmError};
use shared::domain::address::EmailAddress;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::progress::Finding;
use shared::engine::{
    Deadline, Links as _, ManyLinks as _, PutLink, Revision, StoreError, StoredLink, facts_of, read_facts,
};
use shared::http::CallError;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::address_book::Copy;
use crate::person::{Person, Plan, Why, Writing};
use crate::ports::Ports;
use crate::process::ContactSync;
use crate::remembered::{Outcome, Remembered, Skipped};

/// How many persons are read and announced at a time.
const SIDE_BY_SIDE: usize = 10;

/// How often a record that others write at the same time is read again.
const MOST_RACES: usize = 8;

/// How often a person that somebody else is writing is come back to, and after how long.
const MOST_VISITS: usize = 30;
const BETWEEN_VISITS: Duration = Duration::from_millis(400);

/// What is kept of the time for writing what was looked up: a quarter, and no more than this.
const MOST_TIME_TO_WRITE: Duration = Duration::from_secs(15);

/// The longest value of the CRM, or word of it, that is listed, in characters.
const LONGEST_LISTED: usize = 200;

/// So many addresses that are all refused are not at fault themselves.
const TOO_MANY_REFUSED: usize = 3;

/// What must be left of the time to come back to a person.
const ENOUGH_TO_COME_BACK: Duration = Duration::from_secs(10);

/// How long an announced write stands beyond the end of the invocation, in seconds: answers may be late.
const AFTER_THE_END: i64 = 10;

/// How far clocks of two machines may differ, in seconds.
const CLOCKS_DIFFER_BY: i64 = 10;

/// A contact that has to be looked up.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// What it says.
    pub copy: Copy,
    /// When it was seen to change, in Unix seconds; 0 if it never was.
    pub changed_at: i64,
}

/// In which way it is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode<'m> {
    /// Who does it: a run and its account, or a notification. The same on every try.
    pub by: &'m str,
    /// Nothing is written, neither to the CRM nor here.
    pub dry_run: bool,
    /// What stood in the CRM before anything was written may be replaced.
    pub replace_existing: bool,
}

/// What came of contacts that were looked at. Those in none of the lists come back with what has failed.
#[derive(Default)]
pub(crate) struct Looked {
    /// Those that are done, by their place among the tasks.
    pub outcomes: BTreeMap<usize, Outcome>,
    /// Those that the CRM has an error for, each for itself: it may answer for others.
    pub unanswered: BTreeMap<usize, Failure>,
    /// What stood in the way of the rest.
    pub failed: Option<Failure>,
}

impl Looked {
    /// Sorts an error of the CRM: it is about one contact, or about all.
    fn take_in(&mut self, error: CrmError, tasks: &[usize]) {
        if is_about_one(&error) {
            let failure = Failure::from(error);
            self.unanswered.extend(tasks.iter().map(|task| (*task, failure.clone())));
        } else {
            self.failed = Some(error.into());
        }
    }
}

/// True if the CRM was reached and could not make anything of this very call.
fn is_about_one(error: &CrmError) -> bool {
    matches!(error.0, CallError::Unavailable { answered: true, .. } | CallError::Unreadable { .. })
}

/// Whom the CRM knows by the addresses of a contact.
enum Match {
    Known(Contact, EmailAddress),
    Several,
    Nobody,
}

/// A contact of the CRM, and the tasks that are about it.
struct Group {
    contact: Contact,
    address: EmailAddress,
    /// When the CRM was asked, in Unix seconds.
    looked_up_at: i64,
    tasks: Vec<usize>,
}

/// A write that is announced.
struct Announced {
    group: Group,
    update: ContactUpdate,
    person: Person,
    revision: Revision,
    outcomes: Vec<(usize, Outcome)>,
}

impl Announced {
    fn places(&self) -> Vec<usize> {
        self.outcomes.iter().map(|(place, _)| *place).collect()
    }
}

/// Why it is not known how an announced write has ended.
enum Unsettled {
    /// The CRM does not say; of these tasks.
    Crm(CrmError, Vec<usize>),
    /// It could not be recorded.
    Table(StoreError),
}

enum Prepared {
    Decided(Vec<(usize, Outcome)>),
    ToWrite(Box<Announced>),
    Busy(Group),
}

impl<P: Ports> ContactSync<'_, P> {
    /// Looks contacts up and writes what is to be written; what is done is remembered even if the rest fails.
    pub(crate) async fn look_at(&self, crm: &P::Crm, tasks: &[Task], mode: Mode<'_>, deadline: Deadline) -> Looked {
        let looked_up_at = self.now();
        let mut looked = Looked::default();
        let mut groups: HashMap<String, Group> = HashMap::new();
        for (place, found) in self.matches(crm, tasks, &mut looked, deadline).await {
            let skipped = |why| Outcome { skipped: Some(why), ..Outcome::default() };
            match found {
                Match::Nobody => drop(looked.outcomes.insert(place, skipped(Skipped::NobodyKnown))),
                Match::Several => drop(looked.outcomes.insert(place, skipped(Skipped::Several))),
                Match::Known(contact, address) => {
                    let group = groups.entry(contact.id.clone());
                    let group = group.or_insert_with(|| Group { contact, address, looked_up_at, tasks: Vec::new() });
                    group.tasks.push(place);
                }
            }
        }
        let mut waiting: Vec<Group> = groups.into_values().collect();
        for visit in 0.. {
            waiting = self.visit(crm, waiting, tasks, mode, &mut looked, deadline).await;
            if waiting.is_empty() || looked.failed.is_some() {
                break;
            }
            if visit == MOST_VISITS || deadline.left() < ENOUGH_TO_COME_BACK {
                let what = "a contact is being written by another run; it is tried again";
                looked.failed = Some(Failure::transient("contact.busy", what));
                break;
            }
            tokio::time::sleep(BETWEEN_VISITS).await;
        }
        if !mode.dry_run
            && let Err(error) = self.remember(tasks, &looked.outcomes, looked_up_at, mode).await
        {
            looked.failed = Some(error.into());
        }
        looked
    }

    /// Asks for the first address of every contact, then for the second of those that nobody is known for, and so on; where
    /// many addresses cost one call, for all of them at once.
    async fn matches(
        &self,
        crm: &P::Crm,
        tasks: &[Task],
        looked: &mut Looked,
        deadline: Deadline,
    ) -> Vec<(usize, Match)> {
        let deadline = deadline.earlier_by(MOST_TIME_TO_WRITE.min(deadline.left() / 4));
        let mut answers: HashMap<&EmailAddress, Result<Vec<Contact>, CrmError>> = HashMap::new();
        let mut open: Vec<usize> = (0..tasks.len()).collect();
        let mut matches = Vec::new();
        for round in 0.. {
            open.retain(|task| {
                let has_more = round < tasks[*task].copy.addresses.len();
                if !has_more {
                    matches.push((*task, Match::Nobody));
                }
                has_more
            });
            if open.is_empty() || looked.failed.is_some() {
                break;
            }
            let mut new: Vec<&EmailAddress> = Vec::new();
            let at_once = if crm.asks_for_many_in_one_call() { usize::MAX } else { 1 };
            let in_question = |task: &usize| tasks[*task].copy.addresses.iter().skip(round).take(at_once);
            for address in open.iter().flat_map(in_question) {
                if !answers.contains_key(address) && !new.contains(&address) {
                    new.push(address);
                }
            }
            for some in new.chunks(crm.at_a_time().max(1)) {
                let asked: Vec<EmailAddress> = some.iter().map(|address| (*address).clone()).collect();
                answers.extend(some.iter().copied().zip(crm.look_up(&asked, deadline).await));
            }
            open.retain(|task| {
                let address = &tasks[*task].copy.addresses[round];
                match answers.get(address) {
                    None | Some(Err(CrmError(CallError::Rejected { .. }))) => return true,
                    Some(Err(error)) => looked.take_in(error.clone(), &[*task]),
                    Some(Ok(contacts)) => match contacts.as_slice() {
                        [] => return true,
                        [contact] => matches.push((*task, Match::Known(contact.clone(), address.clone()))),
                        _ => matches.push((*task, Match::Several)),
                    },
                }
                false
            });
        }
        let refuses = |answer: &Result<_, _>| matches!(answer, Err(CrmError(CallError::Rejected { .. })));
        if answers.len() >= TOO_MANY_REFUSED && answers.values().all(refuses) {
            let number = answers.len();
            let what = format!("the CRM refuses to look up all of {number} addresses; ask it for one to see why");
            looked.failed = Some(Failure::permanent("crm.rejected", what));
            matches.clear();
        }
        matches
    }

    /// Decides, announces, writes and settles; answers the persons that somebody else is writing.
    async fn visit(
        &self,
        crm: &P::Crm,
        groups: Vec<Group>,
        tasks: &[Task],
        mode: Mode<'_>,
        looked: &mut Looked,
        deadline: Deadline,
    ) -> Vec<Group> {
        let keys: Vec<LinkKey> = groups.iter().map(|group| person_key(&group.contact.id)).collect();
        let standing = match self.ports.links.get_many(&keys).await {
            Ok(standing) => standing,
            Err(error) => {
                looked.failed = Some(error.into());
                return Vec::new();
            }
        };
        let prepared: Vec<Result<Prepared, Failure>> = futures_util::stream::iter(groups.into_iter().zip(standing))
            .map(async |(group, standing)| self.prepare(crm, group, standing, tasks, mode, deadline).await)
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        let (mut announced, mut busy) = (Vec::new(), Vec::new());
        for prepared in prepared {
            match prepared {
                Ok(Prepared::Decided(outcomes)) => looked.outcomes.extend(outcomes),
                Ok(Prepared::ToWrite(one)) => announced.push(*one),
                Ok(Prepared::Busy(group)) => busy.push(group),
                Err(failure) => looked.failed = Some(failure),
            }
        }
        while !announced.is_empty() {
            let some = announced.split_off(announced.len().saturating_sub(crm.at_a_time().max(1)));
            self.write_announced(crm, some, mode, looked, deadline).await;
        }
        busy
    }

    /// Writes what is announced, and settles what was answered.
    async fn write_announced(
        &self,
        crm: &P::Crm,
        announced: Vec<Announced>,
        mode: Mode<'_>,
        looked: &mut Looked,
        deadline: Deadline,
    ) {
        let updates: Vec<ContactUpdate> = announced.iter().map(|announced| announced.update.clone()).collect();
        let written = crm.update_contacts(&updates, deadline).await;
        let is_unknown = |answer: &Result<(), CrmError>| matches!(answer, Err(CrmError(CallError::NotFound { .. })));
        if written.len() > 1 && written.iter().all(is_unknown) {
            let number = written.len();
            let what = format!(
                "the CRM answers 404 to the change of all of {number} contacts that it has just named; see that it serves \
                 the change of a contact, and check the parameter CrmBaseUrl"
            );
            looked.failed = Some(Failure::transient("crm.unavailable", what));
            return;
        }
        let settled: Vec<Result<Vec<(usize, Outcome)>, Unsettled>> =
            futures_util::stream::iter(announced.into_iter().zip(written))
                .map(async |(announced, written)| {
                    let of_the_crm = |error| Unsettled::Crm(error, announced.places());
                    let ended = match written {
                        Ok(()) => Ended::Written { refused: Vec::new() },
                        Err(CrmError(CallError::Rejected { text, .. })) => {
                            let refused = self.refused_fields(crm, &announced.update, text, deadline).await;
                            Ended::Written { refused: refused.map_err(of_the_crm)? }
                        }
                        Err(CrmError(CallError::NotFound { .. })) => Ended::Gone,
                        Err(error) => return Err(of_the_crm(error)),
                    };
                    self.settle(announced, ended, mode).await.map_err(Unsettled::Table)
                })
                .buffer_unordered(SIDE_BY_SIDE)
                .collect()
                .await;
        for settled in settled {
            match settled {
                Ok(outcomes) => looked.outcomes.extend(outcomes),
                Err(Unsettled::Crm(error, places)) => looked.take_in(error, &places),
                Err(Unsettled::Table(error)) => looked.failed = Some(error.into()),
            }
        }
    }

    /// Which fields of a refused change are at fault: each is written alone, if there are several.
    async fn refused_fields(
        &self,
        crm: &P::Crm,
        update: &ContactUpdate,
        words: String,
        deadline: Deadline,
    ) -> Result<Vec<(ContactField, String)>, CrmError> {
        let fields: Vec<ContactField> =
            update.values.iter().filter(|(_, value)| value.is_some()).map(|(field, _)| field).collect();
        if let [field] = fields.as_slice() {
            return Ok(vec![(*field, words)]);
        }
        let alone = |field: ContactField| {
            let values = PerField::of(|other| update.values.get(other).clone().filter(|_| other == field));
            ContactUpdate { contact_id: update.contact_id.clone(), values }
        };
        let mut refused = Vec::new();
        for field in fields {
            match crm.update_contacts(&[alone(field)], deadline).await.pop() {
                Some(Err(CrmError(CallError::Rejected { text, .. }))) => refused.push((field, text)),
                Some(Err(error)) => return Err(error),
                Some(Ok(())) | None => {}
            }
        }
        Ok(refused)
    }

    /// Takes what a group says into the person's record, decides, and announces what is to be written.
    async fn prepare(
        &self,
        crm: &P::Crm,
        group: Group,
        mut standing: Option<StoredLink>,
        tasks: &[Task],
        mode: Mode<'_>,
        deadline: Deadline,
    ) -> Result<Prepared, Failure> {
        let key = person_key(&group.contact.id);
        let mut current = group.contact.current.clone();
        for race in 0..MOST_RACES {
            if race > 0 {
                standing = self.ports.links.get(&key).await?;
            }
            let revision = standing.as_ref().map(|standing| standing.revision);
            let before: Option<Person> = standing.take().map(|standing| read_facts(standing.link)).transpose()?;
            let mut person = before.clone().unwrap_or_default();
            if person.is_written_by_another(mode.by, self.now()) {
                return Ok(Prepared::Busy(group));
            }
            let is_open = person.writing.as_ref().is_some_and(|writing| !writing.ended);
            if race > 0 || is_open || person.written_at + CLOCKS_DIFFER_BY > group.looked_up_at {
                // Somebody may have written since the CRM was asked. From here on nobody can without this being noticed.
                let found = crm.look_up(std::slice::from_ref(&group.address), deadline).await.pop();
                let found = found.transpose()?.into_iter().flatten();
                if let Some(now) = found.into_iter().find(|contact| contact.id == group.contact.id) {
                    current = now.current;
                }
            }
            for task in group.tasks.iter().map(|task| &tasks[*task]) {
                person.take_in(&task.copy, task.changed_at, self.now());
            }
            let plan = person.plan(&current, mode.replace_existing, self.settings.reading.region);
            for (field, plan) in plan.iter() {
                let begun_by_us = person.writing.as_ref().and_then(|writing| writing.values.get(field).as_ref());
                match plan {
                    Plan::InPlace(standing) if person.written.get(field).is_none() && begun_by_us.is_none() => {
                        *person.agreed.get_mut(field) = Some(standing.clone());
                    }
                    // What stands there is known as ours even if the new value is never taken.
                    Plan::InPlace(standing) | Plan::Write { over: Some(standing), is_ours: true, .. } => {
                        *person.written.get_mut(field) = Some(standing.clone());
                    }
                    _ => {}
                }
            }
            // A write of this very run counts, even if the run was interrupted before it could count it.
            let begun = person.writing.take().filter(|writing| writing.by == mode.by);
            let outcomes = outcomes_of(&group, &person, &plan, begun.as_ref(), tasks);
            if mode.dry_run {
                return Ok(Prepared::Decided(outcomes));
            }
            let values = values_to_write(&plan);
            let left = i64::try_from(deadline.left().as_secs()).unwrap_or_default();
            let until = self.now() + left + AFTER_THE_END;
            person.writing = (!values.is_empty()).then(|| Writing {
                values: values.clone(),
                until,
                by: mode.by.to_owned(),
                ended: false,
            });
            if before.as_ref() == Some(&person) {
                return Ok(Prepared::Decided(outcomes));
            }
            let link = person_link(&key, &group.contact.id, &person)?;
            match self.ports.links.put(&link, revision, self.ports.clock.now()).await? {
                PutLink::Raced => {}
                PutLink::Stored(_) if values.is_empty() => return Ok(Prepared::Decided(outcomes)),
                PutLink::Stored(revision) => {
                    let update = ContactUpdate { contact_id: group.contact.id.clone(), values };
                    let announced = Announced { group, update, person, revision, outcomes };
                    return Ok(Prepared::ToWrite(Box::new(announced)));
                }
            }
        }
        Ok(Prepared::Busy(group))
    }

    /// Records that an announced write has ended, and how.
    async fn settle(
        &self,
        announced: Announced,
        ended: Ended,
        mode: Mode<'_>,
    ) -> Result<Vec<(usize, Outcome)>, StoreError> {
        let Announced { group, update, mut person, revision, mut outcomes } = announced;
        let refused = match &ended {
            Ended::Gone => ContactField::ALL.to_vec(),
            Ended::Written { refused } => refused.iter().map(|(field, _)| *field).collect(),
        };
        let taken: Vec<(ContactField, &String)> = update
            .values
            .iter()
            .filter_map(|(field, value)| Some((field, value.as_ref()?)))
            .filter(|(field, _)| !refused.contains(field))
            .collect();
        let key = person_key(&group.contact.id);
        let mut revision = Some(revision);
        for _ in 0..MOST_RACES {
            person.writing =
                person.writing.filter(|_| !taken.is_empty()).map(|writing| Writing { ended: true, ..writing });
            if !taken.is_empty() {
                person.written_at = self.now();
            }
            for (field, value) in &taken {
                *person.written.get_mut(*field) = Some((*value).clone());
            }
            let link = person_link(&key, &group.contact.id, &person)?;
            if let PutLink::Stored(_) = self.ports.links.put(&link, revision, self.ports.clock.now()).await? {
                break;
            }
            // It took so long that somebody else has taken over, who knows of this write by its announcement.
            let Some(standing) = self.ports.links.get(&key).await? else { break };
            revision = Some(standing.revision);
            person = read_facts(standing.link)?;
            if person.writing.as_ref().is_none_or(|writing| writing.ended || writing.by != mode.by) {
                break;
            }
        }
        let Ended::Written { refused } = ended else {
            let gone = Outcome { skipped: Some(Skipped::Gone), ..Outcome::default() };
            return Ok(outcomes.into_iter().map(|(place, _)| (place, gone.clone())).collect());
        };
        for (field, words) in refused {
            let value = update.values.get(field).as_deref().unwrap_or_default();
            for (_, outcome) in &mut outcomes {
                if outcome.written.contains(&field) {
                    outcome.written.retain(|written| *written != field);
                    let why = format!("refused: {words}");
                    outcome.refused.push(finding(&group.contact.id, field, None, value, &why));
                    outcome.skipped = outcome.written.is_empty().then_some(Skipped::Refused);
                }
            }
        }
        Ok(outcomes)
    }

    /// Remembers what came of contacts.
    async fn remember(
        &self,
        tasks: &[Task],
        outcomes: &BTreeMap<usize, Outcome>,
        looked_up_at: i64,
        mode: Mode<'_>,
    ) -> Result<(), StoreError> {
        // A page may name a contact twice, and each is written once.
        let mut links: HashMap<LinkKey, Link> = HashMap::new();
        for (place, outcome) in outcomes {
            let Task { copy, changed_at } = &tasks[*place];
            let remembered = Remembered {
                content: copy.content.clone(),
                reading: self.settings.reading.name(),
                changed_at: *changed_at,
                looked_up_at,
                by: mode.by.to_owned(),
                outcome: outcome.clone(),
            };
            let link = remembered.to_link(&copy.id)?;
            links.insert(link.key.clone(), link);
        }
        let links: Vec<Link> = links.into_values().collect();
        self.ports.links.put_many(&links, self.ports.clock.now()).await
    }
}

/// How an announced write has ended.
enum Ended {
    /// The CRM has taken it, but for these fields, with its words.
    Written { refused: Vec<(ContactField, String)> },
    /// The contact has vanished.
    Gone,
}

fn person_key(contact_id: &str) -> LinkKey {
    LinkKey::new("contact", contact_id)
}

fn person_link(key: &LinkKey, contact_id: &str, person: &Person) -> Result<Link, StoreError> {
    let facts = facts_of(key, person)?;
    let state = LinkState::Live { became: contact_id.to_owned() };
    Ok(Link { key: key.clone(), state, version: Version::default(), content: None, facts })
}

fn values_to_write(plan: &PerField<Plan>) -> PerField<Option<String>> {
    PerField::of(|field| match plan.get(field) {
        Plan::Write { value, .. } => Some(value.clone()),
        _ => None,
    })
}

/// What comes of each task of a group. What is written or kept is told with the copy whose word it is; what another
/// address book's copy has to say of it, with that one when its turn comes.
fn outcomes_of(
    group: &Group,
    person: &Person,
    plan: &PerField<Plan>,
    begun: Option<&Writing>,
    tasks: &[Task],
) -> Vec<(usize, Outcome)> {
    let of = &group.contact.id;
    let mut outcomes: Vec<(usize, Outcome)> = group
        .tasks
        .iter()
        .map(|task| (*task, Outcome { contact_id: Some(of.clone()), ..Outcome::default() }))
        .collect();
    for (field, plan) in plan.iter() {
        let decided = person.decided.get(field).as_ref();
        let whose = outcomes.iter().position(|(task, _)| {
            let id = &tasks[*task].copy.id;
            decided.is_some_and(|decided| decided.is_of(&id.grant, &id.contact))
        });
        match plan {
            Plan::Write { value, over, .. } => {
                // Written now, so it counts here even if it is another's word.
                let (_, outcome) = &mut outcomes[whose.unwrap_or_default()];
                outcome.written.push(field);
                outcome.changes.push(finding(of, field, over.as_deref(), value, "would be written"));
            }
            Plan::Kept { stands, proposed, why } => {
                if let Some(whose) = whose {
                    outcomes[whose].1.kept.push(kept(of, field, stands.as_deref(), proposed, *why));
                }
            }
            Plan::NotOffered => outcomes[whose.unwrap_or_default()].1.not_offered.push(field),
            Plan::InPlace(_) | Plan::Nothing => {
                let value = begun.and_then(|begun| begun.values.get(field).as_ref());
                if value.is_some() && value == person.written.get(field).as_ref() {
                    outcomes[whose.unwrap_or_default()].1.written.push(field);
                }
            }
        }
    }
    outcomes
}

fn kept(of: &str, field: ContactField, stands: Option<&str>, proposed: &str, why: Why) -> Finding {
    finding(of, field, stands, proposed, why.in_words())
}

fn finding(of: &str, field: ContactField, stands: Option<&str>, proposed: &str, why: &str) -> Finding {
    let cut = |text: &str| text.chars().take(LONGEST_LISTED).collect();
    Finding {
        of: of.to_owned(),
        field: field.name().to_owned(),
        stands: stands.map(cut),
        proposed: Some(proposed.to_owned()),
        why: cut(why),
    }
}

//! Looks contacts of an address book up in the CRM, some at a time, and writes what is to be written.
//!
//! A write is announced in the person's record first, and the record is only written over the revision that was read. So
//! nobody else writes meanwhile, and a write that never ended is known as our own when it is found in the CRM.

use futures_util::StreamExt as _;
use serde_json::Value;
use shared::crm::contact_fields::{ContactField, ContactUpdate, PerField, UpdateContacts as _};
use shared::crm::{Contact, ContactsByAddress, FindContacts as _};
use shared::domain::address::EmailAddress;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::progress::Finding;
use shared::engine::{Deadline, Links as _, ManyLinks as _, PutLink, Revision, StoreError, StoredLink};
use shared::http::CallError;
use std::collections::{BTreeMap, HashMap, HashSet};
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

enum Prepared {
    Decided(Vec<(usize, Outcome)>),
    ToWrite(Box<Announced>),
    Busy(Group),
}

impl<P: Ports> ContactSync<'_, P> {
    /// Looks contacts up and writes what is to be written; what is done is remembered even if the rest fails.
    ///
    /// # Errors
    /// If the CRM or the table does not answer, or a person is being written by somebody else for too long.
    pub(crate) async fn look_at(
        &self,
        crm: &P::Crm,
        tasks: &[Task],
        mode: Mode<'_>,
        deadline: Deadline,
    ) -> Result<Vec<Outcome>, Failure> {
        let looked_up_at = self.now();
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        let mut groups: HashMap<String, Group> = HashMap::new();
        for (place, found) in self.matches(crm, tasks, deadline).await?.into_iter().enumerate() {
            let skipped = |why| Outcome { skipped: Some(why), ..Outcome::default() };
            match found {
                Match::Nobody => drop(outcomes.insert(place, skipped(Skipped::NobodyKnown))),
                Match::Several => drop(outcomes.insert(place, skipped(Skipped::Several))),
                Match::Known(contact, address) => {
                    let group = groups.entry(contact.id.clone());
                    group
                        .or_insert_with(|| Group { contact, address, looked_up_at, tasks: Vec::new() })
                        .tasks
                        .push(place);
                }
            }
        }
        let mut waiting: Vec<Group> = groups.into_values().collect();
        let mut failed = None;
        for visit in 0.. {
            let visited = self.visit(crm, waiting, tasks, mode, deadline).await;
            outcomes.extend(visited.outcomes);
            failed = visited.failed;
            waiting = visited.busy;
            if waiting.is_empty() || failed.is_some() {
                break;
            }
            if visit == MOST_VISITS || deadline.left() < ENOUGH_TO_COME_BACK {
                let what = "a contact is being written by another run; it is tried again";
                failed = Some(Failure::transient("contact.busy", what));
                break;
            }
            tokio::time::sleep(BETWEEN_VISITS).await;
        }
        if !mode.dry_run {
            self.remember(tasks, &outcomes, looked_up_at, mode).await?;
        }
        match failed {
            Some(failure) => Err(failure),
            None => Ok(outcomes.into_values().collect()),
        }
    }

    /// Asks for the first address of every contact, then for the second of those that nobody is known for, and so on.
    async fn matches(&self, crm: &P::Crm, tasks: &[Task], deadline: Deadline) -> Result<Vec<Match>, Failure> {
        let mut known = ContactsByAddress::new();
        let mut asked: HashSet<&EmailAddress> = HashSet::new();
        let mut open: Vec<usize> = (0..tasks.len()).collect();
        let mut matches: Vec<Match> = tasks.iter().map(|_| Match::Nobody).collect();
        for round in 0.. {
            open.retain(|task| round < tasks[*task].copy.addresses.len());
            if open.is_empty() {
                break;
            }
            let addresses = open.iter().map(|task| &tasks[*task].copy.addresses[round]);
            let new: Vec<EmailAddress> = addresses.filter(|address| asked.insert(*address)).cloned().collect();
            for addresses in new.chunks(crm.at_a_time().max(1)) {
                known.extend(crm.find_contacts(addresses, deadline).await?);
            }
            open.retain(|task| {
                let address = &tasks[*task].copy.addresses[round];
                match known.get(address).map(Vec::as_slice) {
                    None | Some([]) => return true,
                    Some([contact]) => matches[*task] = Match::Known(contact.clone(), address.clone()),
                    Some(_) => matches[*task] = Match::Several,
                }
                false
            });
        }
        Ok(matches)
    }

    /// Decides, announces, writes and settles; persons that somebody else is writing are left.
    async fn visit(
        &self,
        crm: &P::Crm,
        groups: Vec<Group>,
        tasks: &[Task],
        mode: Mode<'_>,
        deadline: Deadline,
    ) -> Visited {
        let mut visited = Visited::default();
        let keys: Vec<LinkKey> = groups.iter().map(|group| person_key(&group.contact.id)).collect();
        let standing = match self.ports.links.get_many(&keys).await {
            Ok(standing) => standing,
            Err(error) => return Visited { failed: Some(error.into()), ..visited },
        };
        let prepared: Vec<Result<Prepared, Failure>> = futures_util::stream::iter(groups.into_iter().zip(standing))
            .map(async |(group, standing)| self.prepare(crm, group, standing, tasks, mode, deadline).await)
            .buffer_unordered(SIDE_BY_SIDE)
            .collect()
            .await;
        let mut announced = Vec::new();
        for prepared in prepared {
            match prepared {
                Ok(Prepared::Decided(outcomes)) => visited.outcomes.extend(outcomes),
                Ok(Prepared::ToWrite(one)) => announced.push(one),
                Ok(Prepared::Busy(group)) => visited.busy.push(group),
                Err(failure) => visited.failed = Some(failure),
            }
        }
        while !announced.is_empty() {
            let some = announced.split_off(announced.len().saturating_sub(crm.at_a_time().max(1)));
            let updates: Vec<ContactUpdate> = some.iter().map(|announced| announced.update.clone()).collect();
            let written = crm.update_contacts(&updates, deadline).await;
            let settled: Vec<Result<Vec<(usize, Outcome)>, Failure>> =
                futures_util::stream::iter(some.into_iter().zip(written))
                    .map(async |(announced, written)| match written {
                        Ok(()) => self.settle(*announced, None, mode).await,
                        Err(error) => match error.0 {
                            CallError::NotFound { .. } => self.settle(*announced, Some(Skipped::Gone), mode).await,
                            CallError::Rejected { .. } => self.settle(*announced, Some(Skipped::Refused), mode).await,
                            _ => Err(error.into()),
                        },
                    })
                    .buffer_unordered(SIDE_BY_SIDE)
                    .collect()
                    .await;
            for settled in settled {
                match settled {
                    Ok(outcomes) => visited.outcomes.extend(outcomes),
                    Err(failure) => visited.failed = Some(failure),
                }
            }
        }
        visited
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
            let before = standing.as_ref().map(|standing| person_of(&standing.link)).transpose()?;
            let mut person = before.clone().unwrap_or_default();
            if person.is_written_by_another(mode.by, self.now()) {
                return Ok(Prepared::Busy(group));
            }
            if race > 0 || person.written_at + CLOCKS_DIFFER_BY > group.looked_up_at {
                // Somebody may have written since the CRM was asked. From here on nobody can without this being noticed.
                let found = crm.find_contacts(std::slice::from_ref(&group.address), deadline).await?;
                let now = found.into_values().flatten().find(|contact| contact.id == group.contact.id);
                current = now.map_or_else(|| current.clone(), |contact| contact.current);
            }
            for task in group.tasks.iter().map(|task| &tasks[*task]) {
                person.take_in(&task.copy, task.changed_at);
            }
            let plan = person.plan(&current, mode.replace_existing, self.settings.reading.region);
            for (field, plan) in plan.iter() {
                if let Plan::InPlace(value) = plan {
                    *person.written.get_mut(field) = Some(value.clone());
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
        skipped: Option<Skipped>,
        mode: Mode<'_>,
    ) -> Result<Vec<(usize, Outcome)>, Failure> {
        let Announced { group, update, mut person, revision, mut outcomes } = announced;
        let key = person_key(&group.contact.id);
        let mut revision = Some(revision);
        for _ in 0..MOST_RACES {
            if skipped.is_some() {
                person.writing = None;
            } else {
                person.writing.iter_mut().for_each(|writing| writing.ended = true);
                person.written_at = self.now();
                for (field, value) in update.values.iter().filter(|(_, value)| value.is_some()) {
                    person.written.get_mut(field).clone_from(value);
                }
            }
            let link = person_link(&key, &group.contact.id, &person)?;
            if let PutLink::Stored(_) = self.ports.links.put(&link, revision, self.ports.clock.now()).await? {
                break;
            }
            // It took so long that somebody else has taken over, who knows of this write by its announcement.
            let Some(standing) = self.ports.links.get(&key).await? else { break };
            person = person_of(&standing.link)?;
            revision = Some(standing.revision);
            if person.writing.as_ref().is_none_or(|writing| writing.ended || writing.by != mode.by) {
                break;
            }
        }
        if let Some(skipped) = skipped {
            for (_, outcome) in &mut outcomes {
                outcome.written.clear();
                outcome.skipped = Some(skipped);
                outcome.contact_id = outcome.contact_id.take().filter(|_| skipped == Skipped::Refused);
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

/// What a visit came to.
#[derive(Default)]
struct Visited {
    outcomes: Vec<(usize, Outcome)>,
    busy: Vec<Group>,
    failed: Option<Failure>,
}

fn person_key(contact_id: &str) -> LinkKey {
    LinkKey::new("contact", contact_id)
}

fn person_of(link: &Link) -> Result<Person, StoreError> {
    serde_json::from_value(Value::Object(link.facts.clone()))
        .map_err(|error| StoreError(format!("the link {} cannot be read: {error}", link.key.as_str())))
}

fn person_link(key: &LinkKey, contact_id: &str, person: &Person) -> Result<Link, StoreError> {
    let Ok(Value::Object(facts)) = serde_json::to_value(person) else {
        return Err(StoreError(format!("the link {} cannot be written", key.as_str())));
    };
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
            decided.is_some_and(|decided| (&decided.grant, &decided.contact) == (&id.grant, &id.contact))
        });
        match plan {
            Plan::Write { value, over } => {
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
    Finding {
        of: of.to_owned(),
        field: field.name().to_owned(),
        stands: stands.map(str::to_owned),
        proposed: Some(proposed.to_owned()),
        why: why.to_owned(),
    }
}

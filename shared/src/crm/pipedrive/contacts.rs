//! Persons: found by address, with their deals or with what they hold, and changed.

use futures_util::future::join_all;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

use super::dialect::WINDOW;
use super::set_up::Keys;
use super::wire::{Answer, FoundPerson, Hits, PAGE, Person, Phone, WireDeal, at_collection, list};
use super::{PipedriveCrm, number_of};
use crate::crm::contact_fields::{ContactField, ContactUpdate, Current, PerField, UpdateContacts};
use crate::crm::{Contact, ContactsByAddress, CrmError, Deal, FindContacts, prose};
use crate::domain::address::EmailAddress;
use crate::engine::{Deadline, Links};
use crate::field_map::Section;
use crate::http::CallError;

/// How many searches Pipedrive takes in a window of its burst limit, on every plan (the page "Rate limiting").
const SEARCHES_IN_A_WINDOW: usize = 10;

/// From how many persons on one list costs no more tokens than reading each (10 against 1).
const LIST_FROM: usize = 10;

/// How many persons one list takes (its parameter `ids`).
const IDS_IN_A_LIST: usize = 100;

/// The name of the list of telephone numbers.
pub(super) const PHONES: &str = "phones";

/// The longest text of a custom field of the type `varchar`, in characters.
const LONGEST_TEXT: usize = 255;

/// Keeps this instance's searches within what Pipedrive takes.
pub(super) struct SearchPace {
    turns: Semaphore,
    /// When each turn that nobody has may be taken, the earliest first.
    from: Mutex<VecDeque<Instant>>,
}

impl Default for SearchPace {
    fn default() -> Self {
        let from = std::iter::repeat_n(Instant::now(), SEARCHES_IN_A_WINDOW).collect();
        Self { turns: Semaphore::new(SEARCHES_IN_A_WINDOW), from: Mutex::new(from) }
    }
}

/// A turn to search. It ends with the answer: only then it is certain that Pipedrive has counted the search.
struct Turn<'a> {
    pace: &'a SearchPace,
    _one: SemaphorePermit<'a>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pace.from().push_back(Instant::now() + WINDOW);
    }
}

impl SearchPace {
    async fn turn(&self, api: &'static str, deadline: Deadline) -> Result<Turn<'_>, CallError> {
        let out_of_time = |_| CallError::OutOfTime { api };
        let turn = timeout(deadline.left(), self.turns.acquire()).await.map_err(out_of_time)?;
        // The semaphore is never closed.
        let turn = turn.map_err(|_| CallError::OutOfTime { api })?;
        let from = self.from().front().copied();
        if let Some(from) = from
            && from.saturating_duration_since(Instant::now()) >= deadline.left()
        {
            return Err(CallError::OutOfTime { api });
        }
        let from = self.from().pop_front();
        let turn = Turn { pace: self, _one: turn };
        if let Some(from) = from {
            sleep_until(from).await;
        }
        Ok(turn)
    }

    fn from(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Links + Send + Sync> FindContacts for PipedriveCrm<L> {
    /// What the persons hold in their fields is not told: nobody who logs or writes asks for it, and it would cost a call
    /// for each.
    async fn find_contacts(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> Result<ContactsByAddress, CrmError> {
        // All are waited for, also after one has failed: the breaker's probe may be among them.
        let answers = join_all(addresses.iter().map(|address| self.persons_with(address, deadline))).await;
        let mut found = Vec::with_capacity(answers.len());
        let mut failed: Option<CrmError> = None;
        for (address, answer) in addresses.iter().zip(answers) {
            match answer {
                Ok(persons) if persons.is_empty() => {}
                Ok(persons) => found.push((address.clone(), persons)),
                Err(CallError::Rejected { .. }) => found.push((address.clone(), Vec::new())),
                Err(error) => failed = Some(CrmError::more_telling(failed, error.into())),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let ids: Vec<u64> = distinct(found.iter().flat_map(|(_, persons)| persons.iter().copied()));
        let deals = join_all(ids.iter().map(|id| self.deals_of(*id, deadline))).await;
        let mut deals_of = BTreeMap::new();
        for (id, deals) in ids.into_iter().zip(deals) {
            match deals {
                Ok(deals) => drop(deals_of.insert(id, deals)),
                Err(error) => failed = Some(CrmError::more_telling(failed, error.into())),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let contact = |id: u64| Contact {
            id: id.to_string(),
            deals: deals_of.get(&id).cloned().unwrap_or_default(),
            ..Contact::default()
        };
        Ok(found.into_iter().map(|(address, ids)| (address, ids.into_iter().map(contact).collect())).collect())
    }
}

impl<L: Links + Send + Sync> UpdateContacts for PipedriveCrm<L> {
    fn at_a_time(&self) -> usize {
        SEARCHES_IN_A_WINDOW
    }

    async fn look_up(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<Result<Vec<Contact>, CrmError>> {
        let map = match self.fields.current().await {
            Ok(map) => map,
            Err(error) => return addresses.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let custom = match self.keys(&map, deadline).await {
            Ok(keys) => keys,
            Err(error) => return addresses.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let answers = join_all(addresses.iter().map(|address| self.persons_with(address, deadline))).await;
        let ids = distinct(answers.iter().flatten().flatten().copied());
        let persons = self.persons(&ids, &custom, deadline).await;
        answers
            .into_iter()
            .map(|answer| {
                let mut contacts = Vec::new();
                for id in answer? {
                    match persons.get(&id) {
                        Some(Ok(person)) => contacts.push(contact_of(person, map.section("contact"), &custom)),
                        Some(Err(error)) => return Err(error.clone().into()),
                        // Deleted since the search.
                        None => {}
                    }
                }
                Ok(contacts)
            })
            .collect()
    }

    async fn update_contacts(&self, updates: &[ContactUpdate], deadline: Deadline) -> Vec<Result<(), CrmError>> {
        let map = match self.fields.current().await {
            Ok(map) => map,
            Err(error) => return updates.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let custom = match self.keys(&map, deadline).await {
            Ok(keys) => keys,
            Err(error) => return updates.iter().map(|_| Err(error.clone().into())).collect(),
        };
        join_all(
            updates
                .iter()
                .map(async |update| Ok(self.update(update, map.section("contact"), &custom, deadline).await?)),
        )
        .await
    }

    fn calls_made(&self) -> u64 {
        self.client.calls_made()
    }
}

impl<L: Links + Send + Sync> PipedriveCrm<L> {
    /// The ids of those who have the address.
    async fn persons_with(&self, address: &EmailAddress, deadline: Deadline) -> Result<Vec<u64>, CallError> {
        let _turn = self.search_pace.turn(self.client.name(), deadline).await?;
        let hits: Answer<Hits> = self
            .client
            .request(Method::GET, &["api", "v2", "persons", "search"], "search for persons")
            .query(&[("term", address.as_str()), ("fields", "email"), ("exact_match", "true"), ("limit", PAGE)])
            .read(deadline)
            .await
            .map_err(at_collection)?;
        // One page is enough: nobody has five hundred persons with one address.
        let persons = hits.data.items.into_iter().map(|hit| hit.item);
        Ok(distinct(persons.filter(|person| has(person, address)).map(|person| person.id)))
    }

    /// The deals of a person, the main one first: open ones before closed ones, then by what was changed last.
    async fn deals_of(&self, person: u64, deadline: Deadline) -> Result<Vec<Deal>, CallError> {
        let id = person.to_string();
        let query =
            [("person_id", id.as_str()), ("sort_by", "update_time"), ("sort_direction", "desc"), ("limit", PAGE)];
        // The newest are enough.
        let deals: Vec<WireDeal> =
            list(&self.client, &["api", "v2", "deals"], &query, "list of deals", deadline, |_| true).await?;
        let mut deals: Vec<Deal> = deals
            .into_iter()
            .filter(|deal| !deal.is_deleted)
            .map(|deal| Deal {
                id: deal.id.to_string(),
                open: deal.status.map(|status| status == "open"),
                // A list of deals tells of no activity; Pipedrive changes this with each.
                last_activity_at: deal.update_time.and_then(|time| time.parse::<Timestamp>().ok()),
            })
            .collect();
        deals.sort_by_key(|deal| (deal.open != Some(true), std::cmp::Reverse(deal.last_activity_at)));
        Ok(deals)
    }

    /// What persons hold, in the cheapest way; those who are not there any more are left out.
    async fn persons(
        &self,
        ids: &[u64],
        custom: &Keys,
        deadline: Deadline,
    ) -> BTreeMap<u64, Result<Person, CallError>> {
        if ids.len() < LIST_FROM {
            let persons = join_all(ids.iter().map(|id| self.person(*id, custom, deadline))).await;
            let there = ids.iter().copied().zip(persons);
            return there.filter(|(_, person)| !matches!(person, Err(CallError::NotFound { .. }))).collect();
        }
        let keys = custom.joined();
        let mut found = BTreeMap::new();
        for ids in ids.chunks(IDS_IN_A_LIST) {
            let joined = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            let mut query = vec![("ids", joined.as_str()), ("limit", PAGE)];
            if !keys.is_empty() {
                query.push(("custom_fields", keys.as_str()));
            }
            match list::<Person>(&self.client, &["api", "v2", "persons"], &query, "list of persons", deadline, |_| {
                false
            })
            .await
            {
                Ok(persons) => found.extend(persons.into_iter().map(|person| (person.id, Ok(person)))),
                Err(error) => found.extend(ids.iter().map(|id| (*id, Err(error.clone())))),
            }
        }
        found.retain(|_, person| !matches!(person, Ok(Person { is_deleted: true, .. })));
        found
    }

    /// What a person is called.
    pub(super) async fn name_of(&self, id: u64, deadline: Deadline) -> Result<Option<String>, CallError> {
        Ok(self.person(id, &Keys::default(), deadline).await?.name)
    }

    /// What a person holds.
    async fn person(&self, id: u64, custom: &Keys, deadline: Deadline) -> Result<Person, CallError> {
        let (keys, id) = (custom.joined(), id.to_string());
        let mut request = self.client.request(Method::GET, &["api", "v2", "persons", &id], "person");
        if !keys.is_empty() {
            request = request.query(&[("custom_fields", keys.as_str())]);
        }
        let person: Answer<Person> = request.read(deadline).await?;
        if person.data.is_deleted {
            return Err(CallError::NotFound { api: self.client.name(), what: "person", gone: true });
        }
        Ok(person.data)
    }

    async fn update(
        &self,
        update: &ContactUpdate,
        section: &Section,
        custom: &Keys,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let id = number_of(&self.client, &update.contact_id, "person")?;
        let mut body = Map::new();
        let mut in_custom_fields = Map::new();
        for (field, value) in update.values.iter() {
            let Some(value) = value else { continue };
            if section.theirs(field.name()) == Some(PHONES) {
                // Pipedrive replaces the whole list: what is not sent again is gone.
                let standing = self.person(id, custom, deadline).await?.phones.unwrap_or_default();
                if let Some(phones) = with_fresh(&standing, value) {
                    body.insert(PHONES.to_owned(), json!(phones));
                }
            } else if let Some(key) = custom.key(field) {
                in_custom_fields.insert(key.to_owned(), prose::line(value, LONGEST_TEXT).into());
            } else {
                tracing::warn!(
                    field = field.name(),
                    "Pipedrive has no such field; run the set-up, or change the field map"
                );
            }
        }
        if !in_custom_fields.is_empty() {
            body.insert("custom_fields".to_owned(), in_custom_fields.into());
        }
        if body.is_empty() {
            return Ok(());
        }
        let path = ["api", "v2", "persons", &id.to_string()];
        self.client.request(Method::PATCH, &path, "person").json(&body).send(deadline).await.map(drop)
    }
}

fn distinct(ids: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut seen = Vec::new();
    for id in ids {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

/// An exact search compares without regard to letter case; whatever else it may find does not have the address.
fn has(person: &FoundPerson, address: &EmailAddress) -> bool {
    let texts = person.emails.iter().filter_map(|email| email.as_str().or_else(|| email["value"].as_str()));
    texts.filter_map(EmailAddress::parse).any(|email| email == *address)
}

fn contact_of(person: &Person, section: &Section, custom: &Keys) -> Contact {
    let current = PerField::of(|field: ContactField| match section.theirs(field.name()) {
        None => Current::NoSuchField,
        Some(PHONES) => {
            let phones = person.phones.as_deref().unwrap_or_default();
            let main = phones.iter().find(|phone| phone.primary).or_else(|| phones.first());
            Current::told(main.map(|phone| phone.value.clone()))
        }
        Some(_) => match custom.key(field) {
            None => Current::NoSuchField,
            Some(key) => match &person.custom_fields[key] {
                Value::Null => Current::Empty,
                Value::String(text) => Current::told(Some(text.clone())),
                // Whatever it is, somebody has put it there.
                other => Current::Value(other["value"].as_str().map_or_else(|| other.to_string(), str::to_owned)),
            },
        },
    });
    Contact { id: person.id.to_string(), deals: Vec::new(), current }
}

/// The list with a fresh number as its primary one, and none of the others lost; none if that is how it stands.
fn with_fresh(standing: &[Phone], fresh: &str) -> Option<Vec<Phone>> {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let others: Vec<&Phone> = standing.iter().filter(|phone| !phone.value.trim().is_empty()).collect();
    if others.iter().any(|phone| phone.primary && phone.value == fresh) {
        return None;
    }
    let (same, others): (Vec<&Phone>, Vec<&Phone>) =
        others.into_iter().partition(|phone| digits(&phone.value) == digits(fresh));
    let label = same.first().map(|phone| phone.label.clone()).filter(|label| !label.is_empty());
    let first = Phone { value: fresh.to_owned(), primary: true, label: label.unwrap_or_else(|| "work".to_owned()) };
    let others = others.into_iter().map(|phone| Phone {
        label: if phone.label.is_empty() { "other".to_owned() } else { phone.label.clone() },
        primary: false,
        ..phone.clone()
    });
    Some(std::iter::once(first).chain(others).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(value: &str, primary: bool, label: &str) -> Phone {
        Phone { value: value.to_owned(), primary, label: label.to_owned() }
    }

    #[test]
    fn fresh_number_becomes_the_primary_one_and_no_other_is_lost() {
        let standing = [phone("+47 1", true, "mobile"), phone("", false, "work"), phone("+47 2", false, "home")];
        let expected = [phone("+47 3", true, "work"), phone("+47 1", false, "mobile"), phone("+47 2", false, "home")];
        assert_eq!(with_fresh(&standing, "+47 3").as_deref(), Some(&expected[..]));
        assert_eq!(with_fresh(&[], "+47 3").as_deref(), Some(&expected[..1]));
    }

    #[test]
    fn number_that_is_there_is_not_added_again_and_the_primary_one_changes_nothing() {
        let standing = [phone("+47 1", true, "mobile"), phone("(+47) 2", false, "home")];
        let expected = [phone("+47 2", true, "home"), phone("+47 1", false, "mobile")];
        assert_eq!(with_fresh(&standing, "+47 2").as_deref(), Some(&expected[..]));
        assert_eq!(with_fresh(&standing, "+47 1"), None);
    }

    #[test]
    fn address_is_compared_as_an_address() {
        let person = |emails| FoundPerson { id: 1, emails };
        let dana = EmailAddress::parse("dana@acme.example").expect("an address");
        assert!(has(&person(vec![json!("x@acme.example"), json!("Dana@ACME.example")]), &dana));
        assert!(has(&person(vec![json!({"value": "dana@acme.example"})]), &dana));
        assert!(!has(&person(vec![json!("dana@acme.example.evil.example")]), &dana));
    }

    #[tokio::test(start_paused = true)]
    async fn eleventh_search_waits_for_the_window_to_end_or_gives_up_at_the_deadline() {
        let pace = SearchPace::default();
        let ample = Deadline::after(std::time::Duration::from_secs(5));
        let begun = Instant::now();
        for _ in 0..SEARCHES_IN_A_WINDOW {
            let turn = pace.turn("the CRM", ample).await.expect("a turn");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            drop(turn);
        }
        let short = Deadline::after(std::time::Duration::from_millis(100));
        assert_eq!(pace.turn("the CRM", short).await.err(), Some(CallError::OutOfTime { api: "the CRM" }));
        pace.turn("the CRM", ample).await.expect("a turn");
        assert_eq!(begun.elapsed(), WINDOW + std::time::Duration::from_millis(10), "counted from the first answer");
    }
}

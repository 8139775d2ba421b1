//! For tests: everything that may hold an address, in memory.

use serde_json::{Map, Value};
use shared::crm::{Contact, ContactsByAddress, CrmError, FindContacts};
use shared::domain::address::EmailAddress;
use shared::engine::{Deadline, LeaseKey, StoreError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::held::{Held, ItemPage, Letter, LetterQueue, ObjectPage, OnTheirWay, Schedule, SchedulePage, Written};
use super::treat::Table;
use crate::testing::MemorySystem;

/// The most things that a page holds.
const PAGE: usize = 2;

/// A change that somebody else makes just before an item is written.
type Interference = Box<dyn FnOnce(&mut Map<String, Value>) + Send>;

/// Everything in memory, two things a page.
#[derive(Default)]
pub struct MemoryHeld {
    /// The items of each table, by key.
    pub items: Mutex<BTreeMap<Table, BTreeMap<String, Map<String, Value>>>>,
    /// The inputs of schedules, by name.
    pub schedules: Mutex<BTreeMap<String, String>>,
    /// The letters of each queue; those in hand are the others.
    pub letters: Mutex<BTreeMap<&'static str, Vec<Letter>>>,
    in_hand: Mutex<BTreeMap<&'static str, Vec<Letter>>>,
    /// The objects, by key.
    pub objects: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What nobody can look at.
    pub on_their_way: Mutex<Vec<OnTheirWay>>,
    /// The records that were told that their letters are gone.
    pub settled: Mutex<Vec<String>>,
    /// What somebody else does before the next write to an item.
    pub interference: Mutex<Option<Interference>>,
    /// While set, the links table does not answer.
    pub links_are_down: Mutex<bool>,
    /// How long a page of items takes.
    pub takes: Mutex<Duration>,
    /// How many writes there were.
    pub writes: AtomicUsize,
}

pub(crate) fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryHeld {
    /// Puts an item into a table.
    pub fn put(&self, table: Table, item: Value) {
        let Value::Object(item) = item else { panic!("no object") };
        let key = item[table.key()].as_str().expect("a key").to_owned();
        open(&self.items).entry(table).or_default().insert(key, item);
    }

    /// Puts a letter into a queue.
    pub fn put_letter(&self, queue: LetterQueue, body: &str, attributes: &[(&str, &str)]) {
        let mut letters = open(&self.letters);
        let letters = letters.entry(queue.resource).or_default();
        let id = format!("{}-{}", queue.resource, letters.len());
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        letters.push(Letter { receipt_handle: id.clone(), id, body: body.to_owned(), attributes });
    }

    /// Everything that it holds, as one text.
    pub fn everything(&self) -> String {
        let items = serde_json::to_string(&open(&self.items).values().collect::<Vec<_>>()).expect("JSON");
        let objects: Vec<String> = open(&self.objects)
            .iter()
            .map(|(key, content)| format!("{key}: {}", String::from_utf8_lossy(content)))
            .collect();
        format!("{items}\n{:?}\n{:?}\n{objects:?}", open(&self.schedules), open(&self.letters))
    }

    fn wrote(&self, table: Table, item: &Map<String, Value>) -> Option<Written> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let key = item[table.key()].as_str().expect("a key").to_owned();
        let mut items = open(&self.items);
        let standing = items.entry(table).or_default();
        if let (Some(interference), Some(now)) = (open(&self.interference).take(), standing.get_mut(&key)) {
            interference(now);
        }
        let now = standing.get(&key).cloned();
        let same = |now: &Map<String, Value>| table.guards().iter().all(|guard| now.get(*guard) == item.get(*guard));
        match now {
            Some(now) if same(&now) => None,
            now => Some(Written::Raced(now)),
        }
    }
}

impl Held for MemoryHeld {
    async fn begin(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn items(&self, table: Table, after: Option<&str>) -> Result<ItemPage, StoreError> {
        let takes = *open(&self.takes);
        tokio::time::sleep(takes).await;
        if table == Table::Links && *open(&self.links_are_down) {
            return Err(StoreError("the links table is down".to_owned()));
        }
        let items = open(&self.items);
        let all = items.get(&table).cloned().unwrap_or_default();
        let mut later = all.into_iter().filter(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        let page: Vec<(String, Map<String, Value>)> = later.by_ref().take(PAGE).collect();
        let next = later.next().and(page.last().map(|(key, _)| key.clone()));
        Ok(ItemPage { items: page.into_iter().map(|(_, item)| item).collect(), next })
    }

    async fn remove_item(&self, table: Table, item: &Map<String, Value>) -> Result<Written, StoreError> {
        if let Some(raced) = self.wrote(table, item) {
            return Ok(raced);
        }
        let key = item[table.key()].as_str().expect("a key");
        open(&self.items).entry(table).or_default().remove(key);
        Ok(Written::Done)
    }

    async fn rewrite_item(
        &self,
        table: Table,
        item: &Map<String, Value>,
        set: &Map<String, Value>,
        unset: &[&'static str],
    ) -> Result<Written, StoreError> {
        if let Some(raced) = self.wrote(table, item) {
            return Ok(raced);
        }
        let key = item[table.key()].as_str().expect("a key");
        let mut items = open(&self.items);
        let standing = items.entry(table).or_default().get_mut(key).expect("it is there");
        standing.extend(set.clone());
        for name in unset {
            standing.remove(*name);
        }
        Ok(Written::Done)
    }

    async fn schedules(&self, after: Option<&str>) -> Result<SchedulePage, StoreError> {
        let all = open(&self.schedules).clone();
        let mut later = all.into_iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        let page: Vec<Schedule> = later.by_ref().take(PAGE).map(|(name, input)| Schedule { name, input }).collect();
        let next = later.next().and(page.last().map(|schedule| schedule.name.clone()));
        Ok(SchedulePage { schedules: page, next })
    }

    async fn remove_schedule(&self, name: &str) -> Result<(), StoreError> {
        open(&self.schedules).remove(name);
        Ok(())
    }

    async fn letters(&self, queue: LetterQueue) -> Result<Vec<Letter>, StoreError> {
        let mut letters = open(&self.letters);
        let lying = letters.entry(queue.resource).or_default();
        let received: Vec<Letter> = lying.drain(..lying.len().min(PAGE)).collect();
        open(&self.in_hand).entry(queue.resource).or_default().extend(received.clone());
        Ok(received)
    }

    async fn remove_letter(&self, queue: LetterQueue, letter: &Letter) -> Result<(), StoreError> {
        open(&self.in_hand).entry(queue.resource).or_default().retain(|held| held != letter);
        Ok(())
    }

    async fn give_back(&self, queue: LetterQueue, letters: &[Letter]) -> Result<(), StoreError> {
        open(&self.in_hand).entry(queue.resource).or_default().retain(|held| !letters.contains(held));
        open(&self.letters).entry(queue.resource).or_default().extend_from_slice(letters);
        Ok(())
    }

    async fn lies_no_longer(&self, record: &LeaseKey) -> Result<(), StoreError> {
        open(&self.settled).push(record.as_str().to_owned());
        Ok(())
    }

    async fn objects(&self, prefix: &str, after: Option<&str>) -> Result<ObjectPage, StoreError> {
        let objects = open(&self.objects);
        let below = objects.keys().filter(|key| key.starts_with(prefix));
        let mut later = below.filter(|key| after.is_none_or(|after| key.as_str() > after));
        let keys: Vec<String> = later.by_ref().take(PAGE).cloned().collect();
        Ok(ObjectPage { keys, more: later.next().is_some() })
    }

    async fn object(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(open(&self.objects).get(key).cloned())
    }

    async fn remove_object(&self, key: &str) -> Result<(), StoreError> {
        open(&self.objects).remove(key);
        Ok(())
    }

    async fn on_their_way(&self) -> Result<Vec<OnTheirWay>, StoreError> {
        Ok(open(&self.on_their_way).clone())
    }
}

impl FindContacts for MemorySystem {
    /// Knows everybody, by an id that is made of the address.
    async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
        let contact =
            |address: &EmailAddress| Contact { id: format!("con-{}", address.local_part()), ..Contact::default() };
        Ok(addresses.iter().map(|address| (address.clone(), vec![contact(address)])).collect())
    }
}

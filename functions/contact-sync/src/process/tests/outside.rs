//! The outside in memory: address books, a CRM, a table and a queue, each call of which can be made to fail.

use shared::crm::contact_fields::{ContactField, ContactUpdate, Current, PerField, UpdateContacts};
use shared::crm::{Contact as CrmContact, CrmError};
use shared::domain::address::EmailAddress;
use shared::domain::link::{Link, LinkKey};
use shared::domain::notification::GrantId;
use shared::engine::testing::{MemoryLinks, MemoryNeverLog, MemoryQueue};
use shared::engine::{Deadline, Links, ManyLinks, OwnMessage, PutLink, Revision, SendToQueue, StoreError, StoredLink};
use shared::http::CallError;
use shared::nylas::contact::Contact;
use shared::nylas::mailboxes::{Grant, ListGrants};
use shared::nylas::{NylasError, Page};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::ports::{AddressBooks, Ports};

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("not poisoned")
}

/// When a call fails: before it does anything, or after it has, as when its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    Before,
    After,
}

/// Which call fails, counted over all ports.
#[derive(Debug, Default)]
pub struct Faults {
    calls: AtomicUsize,
    plan: Mutex<Option<(usize, Fails)>>,
}

impl Faults {
    pub fn plan(&self, call: usize, fails: Fails) {
        *open(&self.plan) = Some((call, fails));
        self.calls.store(0, Ordering::SeqCst);
    }

    /// True once the planned call was made.
    pub fn struck(&self) -> bool {
        open(&self.plan).is_some_and(|(call, _)| self.calls.load(Ordering::SeqCst) > call)
    }

    fn next(&self) -> Option<Fails> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        open(&self.plan).filter(|(planned, _)| *planned == call).map(|(_, fails)| fails)
    }
}

fn lost<T>() -> Result<T, StoreError> {
    Err(StoreError("the answer is lost".to_owned()))
}

fn unavailable(api: &'static str) -> CallError {
    CallError::Unavailable { api, problem: "it answered 503".to_owned(), retry_after: None, answered: true }
}

/// A table that can fail.
#[derive(Default)]
pub struct FakeLinks {
    pub links: MemoryLinks,
    pub faults: Arc<Faults>,
    /// How many links were written.
    pub written: AtomicUsize,
}

impl FakeLinks {
    async fn with_faults<T>(&self, does: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.faults.next() {
            Some(Fails::Before) => lost(),
            Some(Fails::After) => does.await.and_then(|_| lost()),
            None => does.await,
        }
    }
}

impl Links for FakeLinks {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        self.with_faults(self.links.get(key)).await
    }

    async fn put(&self, link: &Link, over: Option<Revision>, now: jiff::Timestamp) -> Result<PutLink, StoreError> {
        self.written.fetch_add(1, Ordering::SeqCst);
        self.with_faults(self.links.put(link, over, now)).await
    }
}

impl ManyLinks for FakeLinks {
    async fn get_many(&self, keys: &[LinkKey]) -> Result<Vec<Option<StoredLink>>, StoreError> {
        self.with_faults(self.links.get_many(keys)).await
    }

    async fn put_many(&self, links: &[Link], now: jiff::Timestamp) -> Result<(), StoreError> {
        self.written.fetch_add(links.len(), Ordering::SeqCst);
        self.with_faults(self.links.put_many(links, now)).await
    }
}

/// A queue that can fail.
#[derive(Default)]
pub struct FakeQueue {
    pub queue: MemoryQueue,
    pub faults: Arc<Faults>,
}

impl SendToQueue for FakeQueue {
    async fn send(&self, message: &OwnMessage) -> Result<(), StoreError> {
        match self.faults.next() {
            Some(Fails::Before) => lost(),
            Some(Fails::After) => {
                self.queue.send(message).await?;
                lost()
            }
            None => self.queue.send(message).await,
        }
    }
}

/// The address books of some accounts.
#[derive(Default)]
pub struct FakeBooks {
    pub grants: Mutex<Vec<Grant>>,
    pub contacts: Mutex<BTreeMap<String, Vec<Contact>>>,
    /// What the next calls for an account's contacts are answered, in their order.
    pub refusals: Mutex<HashMap<String, Vec<NylasError>>>,
    pub page_size: AtomicUsize,
    /// True if every page names the same next one.
    pub hands_out_one_cursor: AtomicBool,
    pub made: AtomicU64,
    pub faults: Arc<Faults>,
}

impl FakeBooks {
    pub fn connects(&self, grant: &str, status: &str, contacts: Vec<Contact>) {
        let (id, status) = (grant.to_owned(), Some(status.to_owned()));
        open(&self.grants).push(Grant { id, email: None, provider: Some("google".to_owned()), grant_status: status });
        open(&self.contacts).insert(grant.to_owned(), contacts);
    }

    pub fn puts(&self, grant: &str, contact: Contact) {
        let mut books = open(&self.contacts);
        let book = books.entry(grant.to_owned()).or_default();
        book.retain(|standing| standing.id != contact.id);
        book.push(contact);
    }

    pub fn refuses(&self, grant: &str, errors: Vec<NylasError>) {
        open(&self.refusals).insert(grant.to_owned(), errors);
    }

    fn answer(&self, grant: &str) -> Result<(), NylasError> {
        self.made.fetch_add(1, Ordering::SeqCst);
        if self.faults.next().is_some() {
            return Err(unavailable("Nylas").into());
        }
        match open(&self.refusals).get_mut(grant).filter(|refusals| !refusals.is_empty()) {
            Some(refusals) => Err(refusals.remove(0)),
            None => Ok(()),
        }
    }
}

impl ListGrants for FakeBooks {
    async fn grants(&self, offset: usize, _: Deadline) -> Result<Vec<Grant>, NylasError> {
        self.answer("")?;
        Ok(open(&self.grants).iter().skip(offset).take(2).cloned().collect())
    }
}

impl AddressBooks for FakeBooks {
    async fn contacts(
        &self,
        grant: &GrantId,
        source: &str,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<Contact>, NylasError> {
        self.answer(grant.as_str())?;
        let books = open(&self.contacts);
        let book: Vec<&Contact> = books[grant.as_str()].iter().filter(|contact| contact.source == source).collect();
        if self.hands_out_one_cursor.load(Ordering::SeqCst) {
            return Ok(Page { items: Vec::new(), next: Some("4".to_owned()) });
        }
        let from: usize = page_token.map_or(0, |token| token.parse().expect("a cursor of ours"));
        let until = (from + self.page_size.load(Ordering::SeqCst)).min(book.len());
        Ok(Page {
            items: book[from..until].iter().map(|contact| (*contact).clone()).collect(),
            next: (until < book.len()).then(|| until.to_string()),
        })
    }

    async fn contact(&self, grant: &GrantId, id: &str, _: Deadline) -> Result<Option<Contact>, NylasError> {
        self.answer(grant.as_str())?;
        Ok(open(&self.contacts)[grant.as_str()].iter().find(|contact| contact.id == id).cloned())
    }

    fn calls_made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

/// A contact in the CRM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub id: String,
    pub emails: Vec<String>,
    pub fields: PerField<Option<String>>,
}

/// The CRM.
#[derive(Default)]
pub struct FakeCrm {
    pub contacts: Mutex<Vec<Held>>,
    pub lookups: Mutex<Vec<String>>,
    /// Every value that was written: contact, field, value.
    pub writes: Mutex<Vec<(String, ContactField, String)>>,
    /// True if it does not tell what it holds.
    pub tells_nothing: bool,
    /// What the next writes are answered, in their order.
    pub refusals: Mutex<Vec<CrmError>>,
    pub made: AtomicU64,
    /// Addresses and contacts that it always has an error for.
    pub poisonous: Mutex<Vec<String>>,
    /// Fields that it refuses.
    pub refuses_field: Mutex<Option<ContactField>>,
    /// A field that it does not have.
    pub lacks: Mutex<Option<ContactField>>,
    /// True if it refuses every lookup.
    pub refuses_lookups: bool,
    /// How long each call takes.
    pub latency: Mutex<Duration>,
    pub faults: Arc<Faults>,
}

impl FakeCrm {
    pub fn holds(&self, id: &str, emails: &[&str], phone: Option<&str>) {
        let fields = PerField { phone: phone.map(str::to_owned), ..PerField::default() };
        let emails = emails.iter().map(|email| (*email).to_owned()).collect();
        open(&self.contacts).push(Held { id: id.to_owned(), emails, fields });
    }

    /// A person edits a field.
    pub fn edit(&self, id: &str, field: ContactField, value: Option<&str>) {
        let mut contacts = open(&self.contacts);
        let contact = contacts.iter_mut().find(|contact| contact.id == id).expect("a contact");
        *contact.fields.get_mut(field) = value.map(str::to_owned);
    }

    pub fn field(&self, id: &str, field: ContactField) -> Option<String> {
        let contacts = open(&self.contacts);
        contacts.iter().find(|contact| contact.id == id).expect("a contact").fields.get(field).clone()
    }

    pub fn lookups(&self) -> usize {
        open(&self.lookups).len()
    }

    pub fn writes(&self) -> Vec<(String, ContactField, String)> {
        open(&self.writes).clone()
    }

    fn update(&self, update: &ContactUpdate, fails: Option<Fails>) -> Result<(), CrmError> {
        let lost = || Err(unavailable("the CRM").into());
        if fails == Some(Fails::Before) {
            return lost();
        }
        if open(&self.poisonous).contains(&update.contact_id) {
            return lost();
        }
        if let Some(field) = *open(&self.refuses_field)
            && update.values.get(field).is_some()
        {
            let text = format!("{} is not for you", field.name());
            return Err(CallError::Rejected { api: "the CRM", what: "contact", status: 422, text }.into());
        }
        let mut refusals = open(&self.refusals);
        if !refusals.is_empty() {
            return Err(refusals.remove(0));
        }
        for (field, value) in update.values.iter() {
            if let Some(value) = value {
                self.edit(&update.contact_id, field, Some(value));
                open(&self.writes).push((update.contact_id.clone(), field, value.clone()));
            }
        }
        if fails == Some(Fails::After) { lost() } else { Ok(()) }
    }
}

impl FakeCrm {
    fn contacts_with(&self, address: &EmailAddress) -> Vec<CrmContact> {
        let contacts = open(&self.contacts);
        let bearing = contacts.iter().filter(|held| held.emails.iter().any(|email| email == address.as_str()));
        bearing
            .map(|held| {
                let lacks = *open(&self.lacks);
                let told = PerField::of(|field| match lacks {
                    Some(lacked) if lacked == field => Current::NoSuchField,
                    _ => Current::told(held.fields.get(field).clone()),
                });
                let current = if self.tells_nothing { PerField::default() } else { told };
                CrmContact { id: held.id.clone(), deals: Vec::new(), current }
            })
            .collect()
    }
}

impl UpdateContacts for FakeCrm {
    fn at_a_time(&self) -> usize {
        3
    }

    async fn look_up(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<Result<Vec<CrmContact>, CrmError>> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let latency = *open(&self.latency);
        let is_late = tokio::time::timeout(deadline.left(), tokio::time::sleep(latency)).await.is_err();
        let fails = self.faults.next().is_some();
        let answer = |address: &EmailAddress| {
            if is_late {
                return Err(CallError::OutOfTime { api: "the CRM" }.into());
            }
            if fails || open(&self.poisonous).contains(&address.to_string()) {
                return Err(unavailable("the CRM").into());
            }
            if self.refuses_lookups {
                let text = "no".to_owned();
                return Err(CallError::Rejected { api: "the CRM", what: "list of contacts", status: 400, text }.into());
            }
            open(&self.lookups).push(address.to_string());
            Ok(self.contacts_with(address))
        };
        addresses.iter().map(answer).collect()
    }

    async fn update_contacts(&self, updates: &[ContactUpdate], _: Deadline) -> Vec<Result<(), CrmError>> {
        self.made.fetch_add(1, Ordering::SeqCst);
        let latency = *open(&self.latency);
        tokio::time::sleep(latency).await;
        updates.iter().map(|update| self.update(update, self.faults.next())).collect()
    }

    fn calls_made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }
}

/// The ports of the tests.
pub struct Faked;

impl Ports for Faked {
    type Crm = FakeCrm;
    type Nylas = FakeBooks;
    type Links = FakeLinks;
    type Queue = FakeQueue;
    type NeverLog = MemoryNeverLog;
}

//! The outside in memory: each port does what the original promises, counts its calls, and fails where a test says so.

use jiff::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex};

use shared::crm::{Contact, ContactsByAddress, CrmError, Deal, FindContacts};
use shared::domain::address::EmailAddress;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey};
use shared::domain::notification::GrantId;
use shared::engine::testing::{MemoryLeases, MemoryLinks, MemoryQueue};
use shared::engine::{
    Deadline, Links, OwnMessage, PutLink, Revision, SendToQueue, SetTimers, StoreError, StoredLink, Timer,
};
use shared::http::CallError;
use shared::mail::reading::ReadMail;
use shared::nylas::mailboxes::{DescribeMailbox, Folder, Grant, ListGrants};
use shared::nylas::message::Message;
use shared::nylas::sending::{Receipt, SendError};
use shared::nylas::{HeaderFields, MessageId, NylasError, Page, Received};
use shared::tickets::{Commented, NewComment, NewTicket, OpenTickets, Opened, TicketError};
use shared::triage::rules::Rules;

use crate::ports::{AlertDesks, Correspond, CurrentRules, Ports, RulesAtHand};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing is done, and an error is answered.
    Before,
    /// It is done, and an error is answered.
    After,
    /// It is done, and no answer comes: whoever waits for it is ended.
    Interrupted,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::After, Self::Interrupted];
}

/// A call that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WentWrong {
    pub(super) fault: Fault,
}

/// Counts the calls to all ports together, and lets one of them go wrong.
#[derive(Default)]
pub(super) struct Faults(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    calls: Vec<&'static str>,
    at: Option<(usize, Fault)>,
    while_down: BTreeSet<&'static str>,
}

impl Faults {
    /// From now on calls are counted from one, and the one with this number goes wrong.
    pub(super) fn set(&self, number: usize, fault: Fault) {
        *self.0.lock().expect("not poisoned") = Counted { at: Some((number, fault)), ..Counted::default() };
    }

    /// Every call to this port fails, as long as it is down.
    pub(super) fn take_down(&self, port: &'static str) {
        self.0.lock().expect("not poisoned").while_down.insert(port);
    }

    pub(super) fn bring_back(&self, port: &'static str) {
        self.0.lock().expect("not poisoned").while_down.remove(port);
    }

    /// The calls since counting began, by the names of their ports.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        self.0.lock().expect("not poisoned").calls.clone()
    }

    fn next(&self, port: &'static str) -> Option<Fault> {
        let mut counted = self.0.lock().expect("not poisoned");
        counted.calls.push(port);
        if counted.while_down.contains(port) {
            return Some(Fault::Before);
        }
        let number = counted.calls.len();
        counted.at.filter(|(at, _)| *at == number).map(|(_, fault)| fault)
    }

    async fn around<T: Send>(
        &self,
        port: &'static str,
        effect: impl Future<Output = T> + Send,
    ) -> Result<T, WentWrong> {
        // Others get their turn between any two calls.
        tokio::task::yield_now().await;
        match self.next(port) {
            None => Ok(effect.await),
            Some(Fault::Before) => Err(WentWrong { fault: Fault::Before }),
            Some(Fault::After) => {
                effect.await;
                Err(WentWrong { fault: Fault::After })
            }
            Some(Fault::Interrupted) => {
                effect.await;
                std::future::pending().await
            }
        }
    }
}

/// A fake as it begins, whose calls are counted with those of the others.
macro_rules! counted {
    ($($fake:ident),*) => {
        $(impl $fake {
            pub(super) fn counted_by(faults: &Arc<Faults>) -> Self {
                Self { faults: Arc::clone(faults), ..Self::default() }
            }
        })*
    };
}

counted!(FakeTickets, FakeNylas, FakeCrm, FakeLinks, FakeQueue, FakeTimers, FakeDesks, FakeRules);

fn unavailable(api: &'static str) -> CallError {
    CallError::Unavailable { api, problem: "503".to_owned(), retry_after: None, answered: true }
}

fn store_is_down(_: WentWrong) -> StoreError {
    StoreError("the table is down".to_owned())
}

/// A ticket system that does a thing once for a message id, refuses another content under the same one, and has lost
/// some tickets.
#[derive(Default)]
pub(super) struct FakeTickets {
    faults: Arc<Faults>,
    opened: Mutex<Vec<NewTicket>>,
    comments: Mutex<Vec<(String, NewComment)>>,
    gone: Mutex<BTreeSet<String>>,
    pub(super) asked: Mutex<Vec<NewTicket>>,
}

fn conflict(what: &'static str) -> TicketError {
    let text = "the same message id with other content".to_owned();
    TicketError(CallError::Rejected { api: "the ticket system", what, status: 409, text })
}

impl FakeTickets {
    /// The tickets; the first has the id `T-1`.
    pub(super) fn opened(&self) -> Vec<NewTicket> {
        self.opened.lock().expect("not poisoned").clone()
    }

    /// The comments, each with the ticket and the message it was made of.
    pub(super) fn comments(&self) -> Vec<(String, String)> {
        let comments = self.comments.lock().expect("not poisoned");
        comments.iter().map(|(ticket, comment)| (ticket.clone(), comment.message_id.clone())).collect()
    }

    pub(super) fn comment_bodies(&self) -> Vec<String> {
        self.comments.lock().expect("not poisoned").iter().map(|(_, comment)| comment.body.clone()).collect()
    }

    pub(super) fn loses(&self, ticket: &str) {
        self.gone.lock().expect("not poisoned").insert(ticket.to_owned());
    }

    fn do_open(&self, ticket: &NewTicket) -> Result<Opened, TicketError> {
        let mut opened = self.opened.lock().expect("not poisoned");
        let place = match opened.iter().position(|known| known.message_id == ticket.message_id) {
            Some(place) if opened[place] != *ticket => return Err(conflict("ticket")),
            Some(place) => place,
            None => {
                opened.push(ticket.clone());
                opened.len() - 1
            }
        };
        let id = format!("T-{}", place + 1);
        Ok(Opened { url: Some(format!("https://tickets.example/{id}")), id })
    }

    fn do_comment(&self, ticket: &str, comment: &NewComment) -> Result<Commented, TicketError> {
        let number: usize = ticket.strip_prefix("T-").and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
        let known = number <= self.opened.lock().expect("not poisoned").len();
        if !known || self.gone.lock().expect("not poisoned").contains(ticket) {
            return Ok(Commented::TicketGone);
        }
        let mut comments = self.comments.lock().expect("not poisoned");
        let same = |(of, known): &(String, NewComment)| of == ticket && known.message_id == comment.message_id;
        match comments.iter().position(same) {
            Some(place) if comments[place].1 != *comment => Err(conflict("comment")),
            Some(place) => Ok(Commented::Added(format!("C-{}", place + 1))),
            None => {
                comments.push((ticket.to_owned(), comment.clone()));
                Ok(Commented::Added(format!("C-{}", comments.len())))
            }
        }
    }
}

impl OpenTickets for FakeTickets {
    async fn open(&self, ticket: &NewTicket, _: Deadline) -> Result<Opened, TicketError> {
        self.asked.lock().expect("not poisoned").push(ticket.clone());
        let answer = self.faults.around("tickets.open", async { self.do_open(ticket) }).await;
        answer.unwrap_or_else(|_| Err(unavailable("the ticket system").into()))
    }

    async fn comment(&self, ticket_id: &str, comment: &NewComment, _: Deadline) -> Result<Commented, TicketError> {
        let answer = self.faults.around("tickets.comment", async { self.do_comment(ticket_id, comment) }).await;
        answer.unwrap_or_else(|_| Err(unavailable("the ticket system").into()))
    }
}

/// A mail that Nylas was asked to send.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentMail {
    pub(super) grant: String,
    pub(super) mail: Value,
    key: String,
}

/// A Nylas with mailboxes, that shows headers as the provider's would be shown, and sends a mail once for a key.
#[derive(Default)]
pub(super) struct FakeNylas {
    faults: Arc<Faults>,
    messages: Mutex<Vec<(String, Value)>>,
    folders: Mutex<Vec<Folder>>,
    grants: Mutex<Vec<Grant>>,
    sent: Mutex<Vec<SentMail>>,
    /// What the next mails that are sent come to.
    refusals: Mutex<VecDeque<SendError>>,
    pub(super) tried: Mutex<usize>,
}

impl FakeNylas {
    pub(super) fn holds(&self, message: &Value) {
        let grant = message["grant_id"].as_str().expect("a grant").to_owned();
        let mut messages = self.messages.lock().expect("not poisoned");
        messages.retain(|(of, known)| *of != grant || known["id"] != message["id"]);
        messages.push((grant, message.clone()));
    }

    pub(super) fn connects(&self, id: &str, provider: &str, email: &str, status: &str) {
        self.grants.lock().expect("not poisoned").push(Grant {
            id: id.to_owned(),
            email: Some(email.to_owned()),
            provider: Some(provider.to_owned()),
            grant_status: Some(status.to_owned()),
        });
    }

    pub(super) fn has_folder(&self, id: &str, attribute: &str) {
        let folder = Folder { id: id.to_owned(), attributes: Some(vec![attribute.to_owned()]) };
        self.folders.lock().expect("not poisoned").push(folder);
    }

    pub(super) fn sent(&self) -> Vec<SentMail> {
        self.sent.lock().expect("not poisoned").clone()
    }

    pub(super) fn refuses(&self, error: SendError) {
        self.refusals.lock().expect("not poisoned").push_back(error);
    }

    fn held(&self, grant: &GrantId, id: &str, headers: HeaderFields) -> Option<Message> {
        let messages = self.messages.lock().expect("not poisoned");
        let (_, held) = messages.iter().find(|(of, message)| of == grant.as_str() && message["id"] == id)?;
        let mut message: Message = serde_json::from_value(held.clone()).expect("a message");
        let mut shown = message.headers.take().unwrap_or_default();
        let threading = ["message-id", "in-reply-to", "references"];
        message.headers = match headers {
            HeaderFields::None => None,
            HeaderFields::All => Some(shown),
            HeaderFields::Threading => {
                shown.retain(|header| threading.contains(&header.name.to_ascii_lowercase().as_str()));
                Some(shown)
            }
        };
        Some(message)
    }

    fn do_send(&self, grant: &GrantId, mail: &Value, key: &str) -> Result<Receipt, SendError> {
        *self.tried.lock().expect("not poisoned") += 1;
        if let Some(error) = self.refusals.lock().expect("not poisoned").pop_front() {
            return Err(error);
        }
        let mut sent = self.sent.lock().expect("not poisoned");
        match sent.iter().find(|known| known.key == key) {
            Some(known) if known.mail != *mail => return Err(SendError::KeyUsed),
            Some(_) => {}
            None => sent.push(SentMail { grant: grant.to_string(), mail: mail.clone(), key: key.to_owned() }),
        }
        Ok(Receipt { message_id: Some(format!("sent-{}", sent.len())), thread_id: None })
    }
}

fn nylas_is_down(_: WentWrong) -> NylasError {
    unavailable("Nylas").into()
}

impl DescribeMailbox for FakeNylas {
    async fn folders(&self, _: &GrantId, _: Deadline) -> Result<Vec<Folder>, NylasError> {
        let folders = async { self.folders.lock().expect("not poisoned").clone() };
        self.faults.around("nylas.folders", folders).await.map_err(nylas_is_down)
    }

    async fn grant(&self, grant: &GrantId, _: Deadline) -> Result<Option<Grant>, NylasError> {
        let of = async {
            let grants = self.grants.lock().expect("not poisoned");
            grants.iter().find(|known| known.id == grant.as_str()).cloned()
        };
        self.faults.around("nylas.grant", of).await.map_err(nylas_is_down)
    }
}

impl ListGrants for FakeNylas {
    async fn grants(&self, offset: usize, _: Deadline) -> Result<Vec<Grant>, NylasError> {
        Ok(self.grants.lock().expect("not poisoned").iter().skip(offset).take(2).cloned().collect())
    }
}

impl ReadMail for FakeNylas {
    async fn message(
        &self,
        grant: &GrantId,
        id: &str,
        headers: HeaderFields,
        _: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        let held = async { self.held(grant, id, headers) };
        self.faults.around("nylas.message", held).await.map_err(nylas_is_down)
    }

    async fn messages(
        &self,
        grant: &GrantId,
        received: Received,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<MessageId>, NylasError> {
        let messages = self.messages.lock().expect("not poisoned");
        let within = |date: i64| date > received.after && date < received.before;
        let of_grant = messages
            .iter()
            .filter(|(of, message)| of == grant.as_str() && within(message["date"].as_i64().unwrap_or_default()));
        let listed: Vec<MessageId> =
            of_grant.map(|(_, message)| serde_json::from_value(message.clone()).expect("an id")).collect();
        let place: usize = page_token.map_or(0, |token| token.parse().expect("a cursor"));
        let next = (place + 2 < listed.len()).then(|| (place + 2).to_string());
        Ok(Page { items: listed.into_iter().skip(place).take(2).collect(), next })
    }
}

impl Correspond for FakeNylas {
    async fn send_mail(&self, grant: &GrantId, mail: &Value, key: &str, _: Deadline) -> Result<Receipt, SendError> {
        match self.faults.around("nylas.send_mail", async { self.do_send(grant, mail, key) }).await {
            Ok(answer) => answer,
            Err(WentWrong { fault: Fault::Before }) => {
                Err(SendError::NotTried(CallError::OutOfTime { api: "Nylas" }.into()))
            }
            Err(_) => Err(SendError::Unknown("504".to_owned())),
        }
    }
}

/// A CRM that knows who has which deals.
#[derive(Default)]
pub(super) struct FakeCrm {
    faults: Arc<Faults>,
    deals: Mutex<BTreeMap<String, Vec<Deal>>>,
}

impl FakeCrm {
    pub(super) fn knows(&self, address: &str, open: Option<bool>) {
        let deal = Deal { id: "d1".to_owned(), open, last_activity_at: None };
        self.deals.lock().expect("not poisoned").entry(address.to_owned()).or_default().push(deal);
    }
}

impl FindContacts for FakeCrm {
    async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
        let found = async {
            let known = self.deals.lock().expect("not poisoned");
            let of = |address: &EmailAddress| {
                let deals = known.get(address.as_str())?.clone();
                Some((address.clone(), vec![Contact { id: format!("contact {address}"), deals, ..Contact::default() }]))
            };
            addresses.iter().filter_map(of).collect()
        };
        self.faults.around("crm.find", found).await.map_err(|_| unavailable("the CRM").into())
    }
}

/// Links that keep everything that was ever written.
#[derive(Default)]
pub(super) struct FakeLinks {
    faults: Arc<Faults>,
    links: MemoryLinks,
    written: Mutex<Vec<String>>,
}

impl FakeLinks {
    /// Every link that was ever written, as JSON.
    pub(super) fn written(&self) -> Vec<String> {
        self.written.lock().expect("not poisoned").clone()
    }
}

impl Links for FakeLinks {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        self.faults.around("links.get", self.links.get(key)).await.map_err(store_is_down)?
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
        self.written.lock().expect("not poisoned").push(serde_json::to_string(link).expect("JSON"));
        self.faults.around("links.put", self.links.put(link, expected, now)).await.map_err(store_is_down)?
    }
}

/// The function's own queue.
#[derive(Default)]
pub(super) struct FakeQueue {
    faults: Arc<Faults>,
    queue: MemoryQueue,
}

impl FakeQueue {
    pub(super) fn sent(&self) -> Vec<OwnMessage> {
        self.queue.sent()
    }
}

impl SendToQueue for FakeQueue {
    async fn send(&self, message: &OwnMessage) -> Result<(), StoreError> {
        self.faults.around("queue.send", self.queue.send(message)).await.map_err(store_is_down)?
    }
}

/// Timers by name.
#[derive(Default)]
pub(super) struct FakeTimers {
    faults: Arc<Faults>,
    timers: Mutex<BTreeMap<String, Timer>>,
}

impl FakeTimers {
    pub(super) fn set(&self) -> Vec<Timer> {
        self.timers.lock().expect("not poisoned").values().cloned().collect()
    }
}

impl SetTimers for FakeTimers {
    async fn set(&self, timer: &Timer) -> Result<(), StoreError> {
        let effect = async {
            self.timers.lock().expect("not poisoned").insert(timer.name.clone(), timer.clone());
        };
        self.faults.around("timers.set", effect).await.map_err(store_is_down)
    }
}

/// People, who are told at addresses or where everybody is.
#[derive(Default)]
pub(super) struct FakeDesks {
    faults: Arc<Faults>,
    told: Mutex<Vec<(Option<String>, String)>>,
    pub(super) nobody_listens: bool,
}

impl FakeDesks {
    pub(super) fn told(&self) -> Vec<(Option<String>, String)> {
        self.told.lock().expect("not poisoned").clone()
    }
}

impl AlertDesks for FakeDesks {
    fn can_tell(&self, address: Option<&str>) -> bool {
        address.is_some() || !self.nobody_listens
    }

    async fn tell(&self, address: Option<&str>, text: &str, _: Deadline) -> Result<(), Failure> {
        let effect = async {
            self.told.lock().expect("not poisoned").push((address.map(str::to_owned), text.to_owned()));
        };
        let told = self.faults.around("alerts.tell", effect).await;
        told.map_err(|_| Failure::transient("alert.unavailable", "the webhook answered 503"))
    }
}

/// The rules file.
#[derive(Default)]
pub(super) struct FakeRules {
    faults: Arc<Faults>,
    pub(super) text: Mutex<String>,
}

impl CurrentRules for FakeRules {
    async fn current(&self) -> Result<RulesAtHand, StoreError> {
        let rules = async {
            let text = self.text.lock().expect("not poisoned").clone();
            RulesAtHand { rules: Arc::new(Rules::read(&text).expect("rules")), told_by: "the rules file" }
        };
        self.faults.around("rules.current", rules).await.map_err(store_is_down)
    }
}

pub(super) struct Faked;

impl Ports for Faked {
    type Tickets = FakeTickets;
    type Nylas = FakeNylas;
    type Crm = FakeCrm;
    type Links = FakeLinks;
    type Decisions = MemoryLeases;
    type Queue = FakeQueue;
    type Timers = FakeTimers;
    type Alerts = FakeDesks;
    type Rules = FakeRules;
}

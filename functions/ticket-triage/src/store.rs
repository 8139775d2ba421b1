//! What is remembered among the links: of each mail what was planned and what became of it, of each ticket who is part of
//! it, of each thread its tickets. Each change is made over what was read.

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use shared::domain::digest::sha256_hex;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::{Clock, Links, PutLink, Revision, StoreError};
use shared::mail::identity_of_message_id;
use shared::nylas::message::Message;

use crate::plan::Plan;
use crate::ticket::Ticket;

/// How long another copy of a mail is waited for, before this one is handled in its stead: longer than a copy is worked
/// on, and than a ticket system is usually down.
const ANOTHER_COPY_LASTS: SignedDuration = SignedDuration::from_mins(10);

/// The most tickets that are remembered of a thread, the newest.
const MOST_OF_A_THREAD: usize = 20;

/// How often a change is tried anew that others were faster with.
const MOST_RACES: usize = 8;

/// The most mails that a mail's references are followed to, the nearest.
const MOST_REFERENCES: usize = 10;

/// What is known of a mail, however many mailboxes have a copy of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledMail {
    /// The notification that brought the copy that is handled.
    pub notification_id: String,
    /// Nylas's id of this copy, under which the ticket system knows the mail.
    pub message_id: String,
    /// The mailbox of this copy.
    pub grant_id: String,
    /// The thread of this copy.
    pub thread_id: Option<String>,
    /// When this copy came.
    pub received_at: Timestamp,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// When its sender's system says that it was written, where that is known: equal in every copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<String>,
    /// What is to be done, which no later try decides otherwise.
    pub plan: Plan,
    /// The ticket that it opened or continued, or that the team sent it in; none until that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
    /// What people were told of it; none while that is not done, or nothing is to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
    /// What its sender was answered; none while that is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<String>,
}

impl HandledMail {
    /// True if a mail with the same Message-ID is not this one: some systems give all their mails one.
    pub fn is_another_mail(&self, message: &Message) -> bool {
        matches!((&self.written_at, written_at(message)), (Some(known), Some(own)) if *known != own)
    }
}

/// When a mail's sender's system says that it was written, as it says it.
pub fn written_at(message: &Message) -> Option<String> {
    message
        .header("Date")
        .map(|date| date.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|date| !date.is_empty())
}

/// Whose turn it is with a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nobody's yet.
    New,
    /// This copy's: a try before this one planned it, or another copy, which did not come to an end.
    Ours(Box<HandledMail>, Revision),
    /// Another copy's, which is at work.
    AtWork,
    /// It is done: the ticket.
    Done(Box<HandledMail>, Revision),
}

/// The links, as this function uses them.
pub struct Store<'a, L> {
    links: &'a L,
    clock: &'a Clock,
}

impl<'a, L: Links> Store<'a, L> {
    /// The store in these links.
    pub fn new(links: &'a L, clock: &'a Clock) -> Self {
        Self { links, clock }
    }

    /// How a mail stands.
    pub async fn standing(&self, identity: &str, message: &Message) -> Result<Standing, StoreError> {
        let Some((mail, revision)) = self.read::<HandledMail>(&mail_key(identity)).await? else {
            return Ok(Standing::New);
        };
        let ours = mail.message_id == message.id && Some(mail.grant_id.as_str()) == message.grant_id.as_deref();
        Ok(if mail.ticket.is_some() {
            Standing::Done(Box::new(mail), revision)
        } else if ours || self.clock.now().duration_since(mail.planned_at) >= ANOTHER_COPY_LASTS {
            // Whoever carries it out asks for the very same, under the same key: it may have been done there.
            Standing::Ours(Box::new(mail), revision)
        } else {
            Standing::AtWork
        })
    }

    /// Writes what is known of a mail over what was read; none if somebody else wrote meanwhile.
    pub async fn put_mail(
        &self,
        identity: &str,
        mail: &HandledMail,
        over: Option<Revision>,
    ) -> Result<Option<Revision>, StoreError> {
        let state = mail.ticket.clone().map_or(LinkState::Note, |became| LinkState::Live { became });
        match self.write(mail_key(identity), state, mail, over).await? {
            PutLink::Stored(revision) => Ok(Some(revision)),
            PutLink::Raced => Ok(None),
        }
    }

    /// A ticket as it is known; none if it was not opened from here.
    pub async fn ticket(&self, id: &str) -> Result<Option<Ticket>, StoreError> {
        Ok(self.read(&ticket_key(id)).await?.map(|(ticket, _)| ticket))
    }

    /// Changes what is known of a ticket; of one that is not known yet `change` is given none.
    pub async fn change_ticket(
        &self,
        id: &str,
        change: impl Fn(Option<Ticket>) -> Option<Ticket>,
    ) -> Result<(), StoreError> {
        for _ in 0..MOST_RACES {
            let (ticket, revision) = self.read::<Ticket>(&ticket_key(id)).await?.unzip();
            let Some(changed) = change(ticket.clone()) else { return Ok(()) };
            if ticket.as_ref() == Some(&changed) {
                return Ok(());
            }
            let state = LinkState::Live { became: id.to_owned() };
            if let PutLink::Stored(_) = self.write(ticket_key(id), state, &changed, revision).await? {
                return Ok(());
            }
        }
        Err(raced(&ticket_key(id)))
    }

    /// Remembers that a thread of a mailbox has a ticket.
    pub async fn add_to_thread(&self, grant: &str, thread: &str, ticket: &str) -> Result<(), StoreError> {
        let key = thread_key(grant, thread);
        for _ in 0..MOST_RACES {
            let (known, revision) = self.read::<Thread>(&key).await?.unzip();
            let mut known = known.unwrap_or_default();
            if known.tickets.iter().any(|one| one == ticket) {
                return Ok(());
            }
            known.tickets.push(ticket.to_owned());
            let excess = known.tickets.len().saturating_sub(MOST_OF_A_THREAD);
            known.tickets.drain(..excess);
            let state = LinkState::Live { became: ticket.to_owned() };
            if let PutLink::Stored(_) = self.write(key.clone(), state, &known, revision).await? {
                return Ok(());
            }
        }
        Err(raced(&key))
    }

    /// The tickets that a mail leads to: those of its thread, and those of the mails that it refers to.
    pub async fn tickets_of(&self, message: &Message) -> Result<Vec<Ticket>, StoreError> {
        let mut ids: Vec<String> = Vec::new();
        if let (Some(grant), Some(thread)) = (&message.grant_id, &message.thread_id) {
            let known = self.read::<Thread>(&thread_key(grant, thread)).await?;
            ids.extend(known.map(|(thread, _)| thread.tickets).unwrap_or_default());
        }
        for reference in references(message) {
            ids.extend(self.ticket_of_mail(&identity_of_message_id(&reference)).await?);
        }
        let mut tickets: Vec<Ticket> = Vec::new();
        for id in ids {
            if tickets.iter().all(|known| known.id != id) {
                tickets.extend(self.ticket(&id).await?);
            }
        }
        Ok(tickets)
    }

    /// The ticket that a mail opened, continued or was sent in.
    pub async fn ticket_of_mail(&self, identity: &str) -> Result<Option<String>, StoreError> {
        Ok(self.read::<HandledMail>(&mail_key(identity)).await?.and_then(|(mail, _)| mail.ticket))
    }

    /// Changes a note, and answers what `change` answers of the change that was written.
    pub async fn change_note<T: Serialize + DeserializeOwned + Default, A>(
        &self,
        key: &LinkKey,
        change: impl Fn(&mut T) -> A,
    ) -> Result<A, StoreError> {
        for _ in 0..MOST_RACES {
            let (note, revision) = self.read::<T>(key).await?.unzip();
            let mut note = note.unwrap_or_default();
            let answer = change(&mut note);
            if let PutLink::Stored(_) = self.write(key.clone(), LinkState::Note, &note, revision).await? {
                return Ok(answer);
            }
        }
        Err(raced(key))
    }

    /// A note as it stands.
    pub async fn note<T: DeserializeOwned>(&self, key: &LinkKey) -> Result<Option<T>, StoreError> {
        Ok(self.read(key).await?.map(|(note, _)| note))
    }

    async fn read<T: DeserializeOwned>(&self, key: &LinkKey) -> Result<Option<(T, Revision)>, StoreError> {
        let Some(standing) = self.links.get(key).await? else { return Ok(None) };
        let read = serde_json::from_value(standing.link.facts.into())
            .map_err(|error| StoreError(format!("the link {} cannot be read: {error}", key.as_str())))?;
        Ok(Some((read, standing.revision)))
    }

    async fn write(
        &self,
        key: LinkKey,
        state: LinkState,
        what: &impl Serialize,
        over: Option<Revision>,
    ) -> Result<PutLink, StoreError> {
        let facts: Map<String, Value> = match serde_json::to_value(what) {
            Ok(Value::Object(facts)) => facts,
            _ => return Err(StoreError(format!("the link {} cannot be written", key.as_str()))),
        };
        let link = Link { key, state, version: Version::default(), content: None, facts };
        self.links.put(&link, over, self.clock.now()).await
    }
}

fn raced(key: &LinkKey) -> StoreError {
    StoreError(format!("others changed the link {} again and again; it is tried anew later", key.as_str()))
}

/// The tickets of a thread.
#[derive(Default, Serialize, Deserialize)]
struct Thread {
    tickets: Vec<String>,
}

fn mail_key(identity: &str) -> LinkKey {
    LinkKey::new("support-mail", identity)
}

fn ticket_key(id: &str) -> LinkKey {
    LinkKey::new("ticket", id)
}

fn thread_key(grant: &str, thread: &str) -> LinkKey {
    LinkKey::new("ticket-thread", &sha256_hex(&[grant.as_bytes(), b"/", thread.as_bytes()]))
}

/// The mails that a mail refers to (RFC 5322, 3.6.4), the one it answers first, then backwards.
fn references(message: &Message) -> Vec<String> {
    let ids = |name: &str| -> Vec<String> {
        let value = message.header(name).unwrap_or_default();
        let split = value.split(['<', '>']).map(str::trim);
        split.filter(|id| id.contains('@')).map(|id| id.split_whitespace().collect()).collect()
    };
    let mut found: Vec<String> = Vec::new();
    for id in ids("In-Reply-To").into_iter().chain(ids("References").into_iter().rev()) {
        if !found.contains(&id) && found.len() < MOST_REFERENCES {
            found.push(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mail_refers_to_the_one_it_answers_first_and_then_backwards() {
        let message: Message = serde_json::from_value(json!({"id": "m", "headers": [
            {"name": "References", "value": "<a@x.example>\r\n <b@x.example> <c@x.example>"},
            {"name": "in-reply-to", "value": " <c@x.example> (Dana's message)"},
        ]}))
        .expect("a message");
        assert_eq!(references(&message), ["c@x.example", "b@x.example", "a@x.example"]);
        assert!(references(&Message::with_id("m")).is_empty());
    }
}

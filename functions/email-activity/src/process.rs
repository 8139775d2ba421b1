//! Carries out what the rules say of one mail: completes it, looks its addresses up, logs it, remembers what it became.

use serde::Deserialize;
use shared::aws::links::DynamoLinks;
use shared::crm::{EmailActivity as Activity, FindContacts, IdempotencyKey, LogEmail};
use shared::domain::address::CompanyDomains;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::{Envelope, GrantId};
use shared::engine::{Clock, Deadline, Input, Links, Processor, StoreError, Work};
use shared::nylas::Nylas;
use shared::nylas::message::Message;
use shared::worker::{Crm, Worker};

use crate::mail::{People, Screening, identity, is_incomplete, match_contacts, screen};

/// Where a mail is fetched from when its notification does not carry enough.
pub trait FetchMessage: Sync {
    /// The mail; none if it is no longer there.
    fn fetch(
        &self,
        grant: &GrantId,
        id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Message>, Failure>> + Send;
}

impl FetchMessage for Nylas {
    async fn fetch(&self, grant: &GrantId, id: &str, deadline: Deadline) -> Result<Option<Message>, Failure> {
        Ok(self.message(grant, id, deadline).await?)
    }
}

/// The rules of email-activity, carried out through the given ports.
pub struct EmailActivity<'a, C, N, L> {
    company: &'a CompanyDomains,
    /// The CRM; none while it is off.
    crm: Option<&'a C>,
    nylas: &'a N,
    links: &'a L,
    clock: Clock,
}

impl<'a> EmailActivity<'a, Crm, Nylas, DynamoLinks> {
    /// The rules with the clients of a worker.
    #[must_use]
    pub fn new(worker: &'a Worker) -> Self {
        Self::with(&worker.company_domains, worker.crm.as_ref(), &worker.nylas, &worker.links, Clock::system())
    }
}

impl<'a, C: FindContacts + LogEmail, N: FetchMessage, L: Links> EmailActivity<'a, C, N, L> {
    /// The rules with the given ports.
    pub fn with(company: &'a CompanyDomains, crm: Option<&'a C>, nylas: &'a N, links: &'a L, clock: Clock) -> Self {
        Self { company, crm, nylas, links, clock }
    }

    async fn decide(&self, crm: &C, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let Some(message) = self.whole_message(envelope, work).await? else {
            return Ok(Decision::skipped("no longer at Nylas"));
        };
        let people = People::on(&message);
        let (external, direction, told_by) = match screen(&message, &people, self.company) {
            Screening::Dropped(decision) => return Ok(decision),
            Screening::LookUp { external, direction, told_by } => (external, direction, told_by),
        };
        let identity = identity(&message);
        let key = LinkKey::new("mail", &identity);
        if let Some(standing) = self.links.get(&key).await.map_err(store_failure)? {
            return Ok(already_logged(&standing.link, envelope, &message));
        }
        let known = crm.find_contacts(&external, work.deadline).await?;
        let Some(matched) = match_contacts(&external, &known) else {
            return Ok(Decision::skipped("no known contact").with("looked_up", external.len()));
        };
        let activity = Activity {
            external_message_id: message.id.clone(),
            contact_ids: matched.contact_ids.clone(),
            deal_id: matched.deal_id.clone(),
            subject: message.subject.clone(),
            snippet: message.snippet.clone(),
            thread_id: message.thread_id.clone(),
            direction,
            timestamp: message.date.unwrap_or(work.sent_at),
            from: people.from.clone(),
            to: people.to.clone(),
            cc: people.cc.clone(),
            grant_id: message.grant_id.clone(),
        };
        let idempotency_key = IdempotencyKey::new(format!("mail-{identity}"));
        let became = crm.log_email(&activity, &idempotency_key, work.deadline).await?;
        // From here on a crash is harmless: the next try finds the same activity under the same key.
        let link = Link {
            key,
            state: LinkState::Live { became: became.clone() },
            version: Version::default(),
            content: None,
            facts: [
                ("notification_id".to_owned(), envelope.id.as_str().into()),
                ("message_id".to_owned(), message.id.clone().into()),
                ("grant_id".to_owned(), message.grant_id.clone().into()),
            ]
            .into_iter()
            .collect(),
        };
        // Whoever wrote it meanwhile wrote the same: the key was the same.
        self.links.put(&link, None, self.clock.now()).await.map_err(store_failure)?;
        Ok(Decision::logged("known contact", became)
            .with("direction", direction.as_str())
            .with("direction_told_by", told_by)
            .with("contact_ids", matched.contact_ids)
            .with("deal_id", matched.deal_id)
            .with("deal_rule", "the first contact's")
            .with("unmatched", matched.unmatched))
    }

    /// The mail as the notification carries it, or as Nylas holds it where that is not enough.
    async fn whole_message(&self, envelope: &Envelope, work: &Work) -> Result<Option<Message>, Failure> {
        #[derive(Deserialize)]
        struct Notification {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            object: Message,
        }
        let carried = serde_json::from_str::<Notification>(&work.body).map(|notification| notification.data.object);
        let message = match carried {
            Ok(message) if !is_incomplete(&message) => Some(message),
            _ => {
                let (Some(id), Some(grant)) = (&envelope.keys.id, &envelope.grant) else {
                    return Err(Failure::permanent(
                        "body.incomplete",
                        "the notification carries neither the mail nor the ids to fetch it by",
                    ));
                };
                self.nylas.fetch(grant, id, work.deadline).await?
            }
        };
        Ok(message.map(|mut message| {
            message.grant_id = message.grant_id.or_else(|| envelope.grant.as_ref().map(|g| g.as_str().to_owned()));
            message
        }))
    }
}

/// What is decided about a mail that has its activity.
fn already_logged(standing: &Link, envelope: &Envelope, message: &Message) -> Decision {
    let became = match &standing.state {
        LinkState::Live { became } => became.clone(),
        LinkState::Tombstone => return Decision::skipped("removed before"),
    };
    let remembered = |fact: &str| standing.facts.get(fact).and_then(serde_json::Value::as_str).unwrap_or_default();
    if remembered("notification_id") == envelope.id.as_str() {
        // This very notification made it, and was interrupted before that was recorded.
        Decision::logged("known contact", became).with("resumed", true)
    } else if remembered("message_id") == message.id {
        Decision::merged("notified again", became)
    } else {
        Decision::merged("another mailbox's copy", became)
    }
}

fn store_failure(error: StoreError) -> Failure {
    Failure::transient("store.unavailable", error.0)
}

impl<C: FindContacts + LogEmail, N: FetchMessage, L: Links> Processor for EmailActivity<'_, C, N, L> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let envelope = match &work.input {
            Input::Notification(envelope) if envelope.trigger.base() == "message.created" => envelope,
            Input::Notification(envelope) => {
                return Err(unknown(envelope.trigger.base()));
            }
            Input::Job { kind } => return Err(unknown(kind)),
        };
        match self.crm {
            Some(crm) => self.decide(crm, envelope, work).await,
            None => Ok(Decision::off("CrmBaseUrl")),
        }
    }
}

fn unknown(kind: &str) -> Failure {
    Failure::permanent(
        "body.unknown_type",
        format!("email-activity has no rule for `{kind}`; it was sent to the wrong queue, or by a newer release"),
    )
}

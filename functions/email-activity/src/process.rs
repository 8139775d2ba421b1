//! Carries out what the rules say of one mail: completes it, looks its addresses up, logs it, remembers what it became.

use serde::Deserialize;
use shared::aws::links::DynamoLinks;
use shared::crm::{EmailActivity as Activity, FindContacts, IdempotencyKey, LogEmail};
use shared::domain::address::CompanyDomains;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::notification::{Envelope, GrantId};
use shared::engine::{Clock, Deadline, Input, Links, Processor, PutLink, StoreError, Work};
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
        let (external, not_looked_up, direction, told_by) = match screen(&message, &people, self.company) {
            Screening::Dropped(decision) => return Ok(decision),
            Screening::LookUp { external, not_looked_up, direction, told_by } => {
                (external, not_looked_up, direction, told_by)
            }
        };
        let identity = identity(&message);
        let key = LinkKey::new("mail", &identity);
        if let Some(standing) = self.links.get(&key).await.map_err(store_failure)? {
            return Ok(already_logged(&standing.link, envelope, &message));
        }
        let known = crm.find_contacts(&external, work.deadline).await?;
        let Some(matched) = match_contacts(&external, &known) else {
            return Ok(Decision::skipped("no known contact")
                .with("looked_up", external.len())
                .with("not_looked_up", not_looked_up));
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
        if self.links.put(&link, None, self.clock.now()).await.map_err(store_failure)? == PutLink::Raced
            && let Some(standing) = self.links.get(&link.key).await.map_err(store_failure)?
        {
            // Another copy was logged meanwhile, under the same key and so as the same activity.
            return Ok(already_logged(&standing.link, envelope, &message));
        }
        Ok(Decision::logged("known contact", became)
            .with("direction", direction.as_str())
            .with("direction_told_by", told_by)
            .with("contact_ids", matched.contact_ids)
            .with("deal_id", matched.deal_id)
            .with("deal_rule", "the first contact's")
            .with("unmatched", matched.unmatched)
            .with("not_looked_up", not_looked_up))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use shared::crm::{Contact, ContactsByAddress, CrmError};
    use shared::domain::address::EmailAddress;
    use shared::engine::testing::MemoryLinks;
    use shared::http::CallError;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// A CRM that knows Dana and remembers what is logged under which key.
    #[derive(Default)]
    struct FakeCrm {
        lookups: Mutex<Vec<Vec<String>>>,
        logged: Mutex<Vec<(String, Activity)>>,
        writes: AtomicU32,
        down: bool,
    }

    impl FindContacts for FakeCrm {
        async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
            if self.down {
                let unavailable =
                    CallError::Unavailable { api: "the CRM", problem: "503".to_owned(), retry_after: None };
                return Err(unavailable.into());
            }
            let texts = addresses.iter().map(|address| address.as_str().to_owned()).collect();
            self.lookups.lock().expect("not poisoned").push(texts);
            let dana = EmailAddress::parse("dana@acme.example").expect("an address");
            Ok(addresses
                .iter()
                .filter(|address| **address == dana)
                .map(|address| {
                    (address.clone(), vec![Contact { id: "c1".to_owned(), primary_deal_id: Some("d1".to_owned()) }])
                })
                .collect())
        }
    }

    impl LogEmail for FakeCrm {
        async fn log_email(&self, activity: &Activity, key: &IdempotencyKey, _: Deadline) -> Result<String, CrmError> {
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut logged = self.logged.lock().expect("not poisoned");
            if let Some(standing) = logged.iter().position(|(standing, _)| standing == key.as_str()) {
                return Ok(format!("act-{standing}"));
            }
            logged.push((key.as_str().to_owned(), activity.clone()));
            Ok(format!("act-{}", logged.len() - 1))
        }
    }

    /// A Nylas that holds at most one mail.
    struct FakeNylas(Option<Value>);

    impl FetchMessage for FakeNylas {
        async fn fetch(&self, _: &GrantId, _: &str, _: Deadline) -> Result<Option<Message>, Failure> {
            Ok(self.0.clone().map(|value| serde_json::from_value(value).expect("a message")))
        }
    }

    fn mail() -> Value {
        json!({
            "id": "m1", "grant_id": "g1", "thread_id": "t1", "subject": "Q3", "snippet": "Hello", "folders": ["INBOX"],
            "from": [{"email": "Dana@acme.example"}], "to": [{"email": "rep@northwind.example"}], "cc": [],
            "date": 1_772_359_200,
        })
    }

    fn work(notification_id: &str, trigger: &str, object: &Value) -> Work {
        let body = json!({"type": trigger, "id": notification_id, "data": {"object": object}}).to_string();
        Work {
            input: Input::Notification(Envelope::parse(&body).expect("a notification")),
            body,
            sent_at: jiff::Timestamp::from_second(1_772_359_999).expect("a time"),
            deadline: Deadline::after(Duration::from_secs(20)),
        }
    }

    struct Desk {
        company: CompanyDomains,
        crm: FakeCrm,
        nylas: FakeNylas,
        links: MemoryLinks,
    }

    impl Desk {
        fn new() -> Self {
            Self {
                company: CompanyDomains::parse(["northwind.example"]).expect("a domain"),
                crm: FakeCrm::default(),
                nylas: FakeNylas(None),
                links: MemoryLinks::default(),
            }
        }

        async fn process(&self, work: &Work) -> Result<Decision, Failure> {
            EmailActivity::with(&self.company, Some(&self.crm), &self.nylas, &self.links, Clock::system())
                .process(work)
                .await
        }
    }

    #[tokio::test]
    async fn mail_with_a_known_contact_is_logged_with_its_contacts_and_the_first_contacts_deal() {
        let desk = Desk::new();
        let decision = desk.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        assert_eq!(decision.to_string(), "logged: known contact");
        assert_eq!(decision.became.as_deref(), Some("act-0"));
        let logged = desk.crm.logged.lock().expect("not poisoned");
        let activity = &logged[0].1;
        assert_eq!(
            (activity.contact_ids.as_slice(), activity.deal_id.as_deref()),
            (&["c1".to_owned()][..], Some("d1"))
        );
        assert_eq!(activity.timestamp.as_second(), 1_772_359_200);
        assert_eq!(activity.grant_id.as_deref(), Some("g1"));
    }

    #[tokio::test]
    async fn second_notification_of_one_mail_writes_nothing() {
        let desk = Desk::new();
        desk.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        let again = desk.process(&work("n2", "message.created", &mail())).await.expect("a decision");
        assert_eq!(again.to_string(), "merged: notified again");
        assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn notification_that_was_interrupted_after_its_write_ends_as_logged_without_a_second_one() {
        let desk = Desk::new();
        desk.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        let resumed = desk.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        assert_eq!((resumed.to_string().as_str(), resumed.became.as_deref()), ("logged: known contact", Some("act-0")));
        assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn write_that_was_interrupted_before_its_link_is_repeated_under_the_same_key() {
        let mut desk = Desk::new();
        desk.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        desk.links = MemoryLinks::default();
        let resumed = desk.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        assert_eq!(resumed.became.as_deref(), Some("act-0"));
        assert_eq!(desk.crm.logged.lock().expect("not poisoned").len(), 1);
    }

    #[tokio::test]
    async fn copies_in_two_mailboxes_with_one_message_id_are_one_activity() {
        let desk = Desk::new();
        let copy = |id: &str, grant: &str| {
            let mut copy = mail();
            copy["id"] = id.into();
            copy["grant_id"] = grant.into();
            copy["headers"] = json!([{"name": "Message-ID", "value": "<one@mail.example>"}]);
            copy
        };
        desk.process(&work("n1", "message.created.metadata", &copy("m1", "g1"))).await.expect("a decision");
        let second =
            desk.process(&work("n2", "message.created.metadata", &copy("m2", "g2"))).await.expect("a decision");
        assert_eq!(second.to_string(), "merged: another mailbox's copy");
        assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn internal_mail_asks_the_crm_nothing() {
        let desk = Desk::new();
        let mut internal = mail();
        internal["from"] = json!([{"email": "boss@northwind.example"}]);
        let decision = desk.process(&work("n1", "message.created", &internal)).await.expect("a decision");
        assert_eq!(decision.to_string(), "skipped: internal mail");
        assert!(desk.crm.lookups.lock().expect("not poisoned").is_empty());
    }

    #[tokio::test]
    async fn mail_with_strangers_only_is_skipped_with_its_reason() {
        let desk = Desk::new();
        let mut stranger = mail();
        stranger["from"] = json!([{"email": "nobody@else.example"}]);
        let decision = desk.process(&work("n1", "message.created", &stranger)).await.expect("a decision");
        assert_eq!(decision.to_string(), "skipped: no known contact");
    }

    #[tokio::test]
    async fn notification_that_lacks_the_people_is_completed_at_nylas() {
        let mut desk = Desk::new();
        desk.nylas = FakeNylas(Some(mail()));
        let bare = json!({"id": "m1", "grant_id": "g1"});
        let decision = desk.process(&work("n1", "message.created.transformed", &bare)).await.expect("a decision");
        assert_eq!(decision.to_string(), "logged: known contact");
    }

    #[tokio::test]
    async fn mail_that_is_gone_before_it_could_be_fetched_is_an_answer() {
        let desk = Desk::new();
        let bare = json!({"id": "m1", "grant_id": "g1"});
        let decision = desk.process(&work("n1", "message.created.transformed", &bare)).await.expect("a decision");
        assert_eq!(decision.to_string(), "skipped: no longer at Nylas");
    }

    #[tokio::test]
    async fn crm_that_is_off_or_down_is_a_decision_or_another_try() {
        let mut desk = Desk::new();
        let off = EmailActivity::with(&desk.company, None::<&FakeCrm>, &desk.nylas, &desk.links, Clock::system());
        let decision = off.process(&work("n1", "message.created", &mail())).await.expect("a decision");
        assert_eq!(decision.to_string(), "skipped: off (CrmBaseUrl)");
        desk.crm.down = true;
        let failure = desk.process(&work("n1", "message.created", &mail())).await.expect_err("down");
        assert!(matches!(failure, Failure::Transient { class: "crm.unavailable", .. }), "{failure:?}");
    }

    #[tokio::test]
    async fn mail_without_a_date_is_dated_by_its_arrival() {
        let desk = Desk::new();
        let mut undated = mail();
        undated["date"] = Value::Null;
        desk.process(&work("n1", "message.created", &undated)).await.expect("a decision");
        assert_eq!(desk.crm.logged.lock().expect("not poisoned")[0].1.timestamp.as_second(), 1_772_359_999);
    }

    #[tokio::test]
    async fn type_without_a_rule_is_buried_by_name() {
        let desk = Desk::new();
        let failure = desk.process(&work("n1", "event.created", &json!({"id": "e"}))).await.expect_err("no rule");
        assert!(
            matches!(&failure, Failure::Permanent { class: "body.unknown_type", what } if what.contains("event.created"))
        );
    }
}

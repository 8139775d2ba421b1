//! The whole of one mail's handling with every outside thing faked.

mod labelled;
mod reconciling;
mod redriven;

use super::*;
use serde_json::{Value, json};
use shared::crm::{Contact, ContactsByAddress, CrmError, Deal};
use shared::domain::never_log::NeverLog;
use shared::domain::notification::GrantId;
use shared::engine::StoreError;
use shared::engine::testing::{MemoryLeases, MemoryLinks, MemoryQueue};
use shared::http::CallError;
use shared::nylas::mailboxes::{DescribeMailbox, Folder, Grant, ListGrants};
use shared::nylas::{HeaderFields, MessageId, NylasError, Page, Received};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A CRM that knows some people and remembers what is logged under which key.
#[derive(Default)]
pub(super) struct FakeCrm {
    pub(super) contacts: Mutex<HashMap<String, Vec<Contact>>>,
    pub(super) knows_everyone: AtomicBool,
    lookups: Mutex<Vec<String>>,
    logged: Mutex<Vec<(String, Activity)>>,
    refused: Mutex<BTreeSet<String>>,
    writes: AtomicU32,
    down: AtomicBool,
}

impl FakeCrm {
    fn refuses(&self, address: &str) {
        self.refused.lock().expect("not poisoned").insert(address.to_owned());
    }

    pub(super) fn knows(&self, address: &str, contact: Contact) {
        self.contacts.lock().expect("not poisoned").entry(address.to_owned()).or_default().push(contact);
    }

    fn logged(&self) -> Vec<Activity> {
        self.logged.lock().expect("not poisoned").iter().map(|(_, activity)| activity.clone()).collect()
    }
}

impl FindContacts for FakeCrm {
    async fn find_contacts(&self, addresses: &[EmailAddress], _: Deadline) -> Result<ContactsByAddress, CrmError> {
        if self.down.load(Ordering::SeqCst) {
            let unavailable =
                CallError::Unavailable { api: "the CRM", problem: "503".to_owned(), retry_after: None, answered: true };
            return Err(unavailable.into());
        }
        self.lookups.lock().expect("not poisoned").extend(addresses.iter().map(ToString::to_string));
        let known = self.contacts.lock().expect("not poisoned");
        let everyone = self.knows_everyone.load(Ordering::SeqCst);
        let of = |address: &EmailAddress| match known.get(address.as_str()) {
            Some(contacts) => contacts.clone(),
            None if everyone => vec![Contact { id: address.to_string(), deals: Vec::new(), ..Contact::default() }],
            None => Vec::new(),
        };
        // As the port has it: who is unknown is absent, who is refused is there with nobody.
        let refused = self.refused.lock().expect("not poisoned");
        let answered = |address: &EmailAddress| {
            let contacts = of(address);
            (!contacts.is_empty() || refused.contains(address.as_str())).then(|| (address.clone(), contacts))
        };
        Ok(addresses.iter().filter_map(answered).collect())
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

/// A Nylas with mailboxes, that shows headers as the provider's would be shown.
#[derive(Default)]
pub(super) struct FakeNylas {
    pub(super) messages: Mutex<Vec<(String, Value)>>,
    pub(super) folders: Mutex<HashMap<String, Vec<Folder>>>,
    pub(super) grants: Mutex<Vec<Grant>>,
    pub(super) calls: Mutex<Vec<String>>,
    pub(super) out_of_reach: AtomicBool,
    pub(super) hides_all_headers: AtomicBool,
    pub(super) page_size: AtomicU32,
}

impl FakeNylas {
    pub(super) fn holds(&self, grant: &str, message: Value) {
        self.messages.lock().expect("not poisoned").push((grant.to_owned(), message));
    }

    pub(super) fn connects(&self, id: &str, provider: &str, email: &str) {
        self.grants.lock().expect("not poisoned").push(Grant {
            id: id.to_owned(),
            email: Some(email.to_owned()),
            provider: Some(provider.to_owned()),
            grant_status: Some("valid".to_owned()),
        });
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("not poisoned").clone()
    }

    fn called(&self, call: String, grant: &GrantId) -> Result<(), NylasError> {
        self.calls.lock().expect("not poisoned").push(call);
        if self.out_of_reach.load(Ordering::SeqCst) {
            return Err(NylasError::GrantExpired(grant.as_str().to_owned()));
        }
        Ok(())
    }
}

impl DescribeMailbox for FakeNylas {
    async fn folders(&self, grant: &GrantId, _: Deadline) -> Result<Vec<Folder>, NylasError> {
        self.called("folders".to_owned(), grant)?;
        Ok(self.folders.lock().expect("not poisoned").get(grant.as_str()).cloned().unwrap_or_default())
    }

    async fn grant(&self, grant: &GrantId, _: Deadline) -> Result<Option<Grant>, NylasError> {
        self.calls.lock().expect("not poisoned").push("grant".to_owned());
        let grants = self.grants.lock().expect("not poisoned");
        Ok(grants.iter().find(|standing| standing.id == grant.as_str()).cloned())
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
        self.called(format!("message {headers:?}"), grant)?;
        let messages = self.messages.lock().expect("not poisoned");
        let Some((_, message)) = messages.iter().find(|(own, message)| own == grant.as_str() && message["id"] == id)
        else {
            return Ok(None);
        };
        let mut message: Message = serde_json::from_value(message.clone()).expect("a message");
        message.headers = match headers {
            HeaderFields::None => None,
            // As Microsoft does for what its user has sent.
            HeaderFields::All if self.hides_all_headers.load(Ordering::SeqCst) => Some(Vec::new()),
            HeaderFields::All => Some(message.headers.unwrap_or_default()),
            HeaderFields::Threading => {
                let mut headers = message.headers.unwrap_or_default();
                headers.retain(|header| header.name.eq_ignore_ascii_case("message-id"));
                Some(headers)
            }
        };
        Ok(Some(message))
    }

    async fn messages(
        &self,
        grant: &GrantId,
        received: Received,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<MessageId>, NylasError> {
        self.called("messages".to_owned(), grant)?;
        let messages = self.messages.lock().expect("not poisoned");
        let listed: Vec<MessageId> = messages
            .iter()
            .filter(|(own, message)| {
                let date = message["date"].as_i64().unwrap_or_default();
                own == grant.as_str() && date > received.after && date < received.before
            })
            .map(|(_, message)| serde_json::from_value(message.clone()).expect("a message"))
            .collect();
        let size = self.page_size.load(Ordering::SeqCst).max(1) as usize;
        let begin: usize = page_token.map_or(0, |token| token.parse().expect("a cursor"));
        let next = (begin + size < listed.len()).then(|| (begin + size).to_string());
        Ok(Page { items: listed.into_iter().skip(begin).take(size).collect(), next })
    }
}

/// A never-log list.
#[derive(Default)]
pub(super) struct FakeNeverLog {
    pub(super) text: Mutex<String>,
    down: AtomicBool,
}

impl NeverLogged for FakeNeverLog {
    async fn current(&self) -> Result<Arc<NeverLog>, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError("the bucket is down".to_owned()));
        }
        Ok(Arc::new(NeverLog::parse(&self.text.lock().expect("not poisoned")).0))
    }
}

pub(super) struct Fakes;

impl Ports for Fakes {
    type Crm = FakeCrm;
    type Nylas = FakeNylas;
    type Links = MemoryLinks;
    type Decisions = MemoryLeases;
    type Queue = MemoryQueue;
    type NeverLog = FakeNeverLog;
}

#[derive(Default)]
pub(super) struct Desk {
    pub(super) crm: FakeCrm,
    pub(super) nylas: FakeNylas,
    pub(super) links: MemoryLinks,
    pub(super) decisions: MemoryLeases,
    pub(super) queue: MemoryQueue,
    pub(super) never_log: FakeNeverLog,
}

pub(super) fn settings() -> Settings {
    Settings {
        company_domains: CompanyDomains::parse(["northwind.example", "nordwind-labor.example"]).expect("domains"),
        loop_id: LoopId::of_stack("stack"),
    }
}

impl Desk {
    /// A CRM that knows Dana and Ben of two companies, and a Gmail account.
    fn new() -> Self {
        let desk = Self::default();
        desk.crm.knows("dana@acme.example", contact("c1", Some("d1")));
        desk.crm.knows("ben@brightwater.example", contact("c2", Some("d2")));
        desk.nylas.connects("g1", "google", "rep@northwind.example");
        desk
    }

    pub(super) fn rules(&self) -> EmailActivity<'_, Fakes> {
        let ports = Provision {
            crm: Some(&self.crm),
            nylas: &self.nylas,
            links: &self.links,
            decisions: &self.decisions,
            queue: &self.queue,
            never_log: &self.never_log,
            clock: Clock::system(),
        };
        EmailActivity::with(ports, settings())
    }

    pub(super) async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        self.rules().for_batch().process(work).await
    }

    async fn decide(&self, id: &str, trigger: &str, mail: &Value) -> Decision {
        self.process(&work(id, trigger, mail)).await.expect("a decision")
    }
}

pub(super) fn contact(id: &str, deal: Option<&str>) -> Contact {
    let deal = deal.map(|id| Deal { id: id.to_owned(), open: None, last_activity_at: None });
    Contact { id: id.to_owned(), deals: deal.into_iter().collect(), ..Contact::default() }
}

pub(super) fn mail() -> Value {
    json!({
        "id": "m1", "grant_id": "g1", "thread_id": "t1", "subject": "Q3", "snippet": "Hello Rep,", "folders": ["INBOX"],
        "from": [{"email": "Dana@acme.example"}], "to": [{"email": "rep@northwind.example"}],
        "cc": [], "bcc": [], "reply_to": [], "attachments": [], "date": 1_772_359_200,
    })
}

fn mail_with(fields: Value) -> Value {
    let mut mail = mail();
    let (Some(mail_fields), Value::Object(fields)) = (mail.as_object_mut(), fields) else { panic!("objects") };
    mail_fields.extend(fields);
    mail
}

fn message_id(id: &str) -> Value {
    json!([{"name": "Message-ID", "value": format!("<{id}>")}, {"name": "From", "value": "x"},
        {"name": "To", "value": "y"}, {"name": "Date", "value": "z"}])
}

pub(super) fn work(notification_id: &str, trigger: &str, object: &Value) -> Work {
    let body = json!({"type": trigger, "id": notification_id, "source": "/google/emails/realtime", "data": {"object": object}});
    work_of(&body.to_string())
}

pub(super) fn work_of(body: &str) -> Work {
    let input = match Envelope::parse(body) {
        Ok(envelope) => Input::Notification(envelope),
        Err(_) => Input::Job {
            kind: serde_json::from_str::<Value>(body).expect("JSON")["type"].as_str().expect("a type").to_owned(),
        },
    };
    Work {
        input,
        body: body.to_owned(),
        sent_at: jiff::Timestamp::from_second(1_772_359_999).expect("a time"),
        deadline: Deadline::after(Duration::from_secs(20)),
    }
}

#[tokio::test]
async fn mail_with_a_known_contact_is_logged_with_its_contacts_and_deal() {
    let desk = Desk::new();
    let decision = desk.decide("n1", "message.created", &mail()).await;
    assert_eq!(decision.to_string(), "logged: known contact");
    assert_eq!(decision.became.as_deref(), Some("act-0"));
    let activity = &desk.crm.logged()[0];
    assert_eq!((activity.contact_ids.as_slice(), activity.deal_id.as_deref()), (&["c1".to_owned()][..], Some("d1")));
    assert_eq!(activity.timestamp.as_second(), 1_772_359_200);
    assert_eq!(activity.grant_id.as_deref(), Some("g1"));
}

#[tokio::test]
async fn contacts_of_two_companies_are_both_linked_and_the_rejected_deal_is_recorded() {
    let desk = Desk::new();
    let mail = mail_with(json!({"cc": [{"email": "ben@brightwater.example"}, {"email": "who@else.example"}]}));
    let decision = desk.decide("n1", "message.created", &mail).await;
    assert_eq!(desk.crm.logged()[0].contact_ids, ["c1", "c2"]);
    assert_eq!(decision.facts["deal_rule"], "the deal of the contact who wrote");
    assert_eq!(decision.facts["deals_rejected"][0]["deal_id"], "d2");
    assert_eq!(decision.facts["unmatched"], json!(["who@else.example"]));
    assert_eq!(decision.waits_for, [""; 0], "a mail that is logged waits for nobody");
}

#[tokio::test]
async fn second_notification_of_one_mail_asks_nobody_and_writes_nothing() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail_with(json!({"headers": message_id("a@b")})));
    desk.decide("n1", "message.created", &mail()).await;
    let (calls, lookups) = (desk.nylas.calls().len(), desk.crm.lookups.lock().expect("not poisoned").len());
    let again = desk.decide("n2", "message.created", &mail()).await;
    assert_eq!(again.to_string(), "merged: notified again");
    assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1);
    assert_eq!(desk.nylas.calls().len(), calls);
    assert_eq!(desk.crm.lookups.lock().expect("not poisoned").len(), lookups);
}

#[tokio::test]
async fn notification_that_was_interrupted_after_its_write_ends_as_logged_without_a_second_one() {
    let desk = Desk::new();
    desk.decide("n1", "message.created", &mail()).await;
    let resumed = desk.decide("n1", "message.created", &mail()).await;
    assert_eq!((resumed.to_string().as_str(), resumed.became.as_deref()), ("logged: known contact", Some("act-0")));
    assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn write_that_was_interrupted_before_its_link_is_repeated_under_the_same_key() {
    let mut desk = Desk::new();
    desk.decide("n1", "message.created", &mail()).await;
    desk.links = MemoryLinks::default();
    let resumed = desk.decide("n1", "message.created", &mail()).await;
    assert_eq!(resumed.became.as_deref(), Some("act-0"));
    assert_eq!(desk.crm.logged().len(), 1);
}

#[tokio::test]
async fn mail_deleted_between_two_tries_keeps_the_key_of_the_first() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail_with(json!({"headers": message_id("a@b")})));
    desk.decide("n1", "message.created", &mail()).await;
    // As if the process had died after the CRM's write: the link of the mail is lost, its binding is not.
    let identity = desk.links.get(&copy_key(&serde_json::from_value(mail()).expect("a message"))).await;
    let identity = identity.expect("a store").expect("a binding").link;
    let fresh = MemoryLinks::default();
    fresh.put(&identity, None, jiff::Timestamp::UNIX_EPOCH).await.expect("stored");
    let desk = Desk { links: fresh, ..desk };
    desk.nylas.messages.lock().expect("not poisoned").clear();
    let resumed = desk.decide("n1", "message.created", &mail()).await;
    assert_eq!(resumed.facts["headers"], "none: no longer at Nylas");
    assert_eq!((resumed.became.as_deref(), desk.crm.logged().len()), (Some("act-0"), 1));
}

#[tokio::test]
async fn copies_in_three_mailboxes_are_one_activity_by_the_message_id_that_is_fetched() {
    let desk = Desk::new();
    for (place, grant) in ["g1", "g2", "g3"].into_iter().enumerate() {
        desk.nylas.connects(grant, if grant == "g1" { "google" } else { "imap" }, "rep@northwind.example");
        let value = if place == 1 { " one@mail.example " } else { "<one@mail.example>" };
        let headers = json!([{"name": "message-id", "value": value}, {"name": "From", "value": "x"}]);
        desk.nylas.holds(grant, mail_with(json!({"id": format!("m-{grant}"), "headers": headers})));
    }
    let mut outcomes = Vec::new();
    for grant in ["g1", "g2", "g3"] {
        let copy = mail_with(json!({"id": format!("m-{grant}"), "grant_id": grant}));
        let mut work = work(&format!("n-{grant}"), "message.created", &copy);
        work.body = work.body.replace("/google/emails/realtime", "/nylas/emails/x");
        outcomes.push(desk.process(&work).await.expect("a decision").to_string());
    }
    assert_eq!(outcomes, ["logged: known contact", "merged: another mailbox's copy", "merged: another mailbox's copy"]);
    assert_eq!(desk.crm.writes.load(Ordering::SeqCst), 1);
    assert!(desk.nylas.calls().contains(&"message All".to_owned()), "Google shows all headers");
    assert!(desk.nylas.calls().contains(&"message Threading".to_owned()), "elsewhere only these are the sender's own");
}

#[tokio::test]
async fn headers_are_fetched_only_after_somebody_is_known_and_may_turn_the_decision() {
    let desk = Desk::new();
    let headers =
        json!([{"name": "Message-ID", "value": "<a@b>"}, {"name": "Auto-submitted", "value": "auto-replied"}]);
    desk.nylas.holds("g1", mail_with(json!({"headers": headers})));
    let stranger = mail_with(json!({"from": [{"email": "who@else.example"}]}));
    assert_eq!(desk.decide("n1", "message.created", &stranger).await.reason, "no known contact");
    assert_eq!(desk.nylas.calls(), [""; 0]);
    let decision = desk.decide("n2", "message.created", &mail()).await;
    assert_eq!(decision.to_string(), "skipped: automatic mail: auto-reply");
    assert_eq!(
        (&decision.facts["evidence"], &decision.facts["headers"]),
        (&json!("header: Auto-Submitted: auto-replied"), &json!("Nylas"))
    );
    assert_eq!(desk.nylas.calls(), ["message All"]);
}

#[tokio::test]
async fn suspicion_by_words_is_cleared_by_full_headers_and_confirmed_where_there_are_none() {
    let desk = Desk::new();
    let suspicious = mail_with(json!({"subject": "How do our users unsubscribe?", "headers": message_id("a@b")}));
    desk.nylas.holds("g1", suspicious.clone());
    let mut notified = suspicious;
    notified.as_object_mut().expect("an object").remove("headers");
    assert_eq!(desk.decide("n1", "message.created", &notified).await.outcome.as_str(), "logged");
    desk.nylas.messages.lock().expect("not poisoned").clear();
    notified["id"] = "m2".into();
    assert_eq!(desk.decide("n2", "message.created", &notified).await.reason, "mail to many: list");
}

#[tokio::test]
async fn mail_of_this_deployment_is_own_mail() {
    let desk = Desk::new();
    let headers = json!([{"name": "X-Crm-Autopilot-Loop", "value": LoopId::of_stack("stack").as_str()}]);
    desk.nylas.holds("g1", mail_with(json!({"headers": headers})));
    let sent = mail_with(
        json!({"folders": ["SENT"], "from": [{"email": "rep@northwind.example"}], "to": [{"email": "dana@acme.example"}]}),
    );
    assert_eq!(desk.decide("n1", "message.created", &sent).await.to_string(), "skipped: own mail");
    assert!(desk.crm.logged().is_empty());
}

#[tokio::test]
async fn headers_that_are_gone_or_out_of_reach_do_not_keep_a_mail_from_being_logged() {
    let desk = Desk::new();
    assert_eq!(desk.decide("n1", "message.created", &mail()).await.facts["headers"], "none: no longer at Nylas");
    desk.nylas.out_of_reach.store(true, Ordering::SeqCst);
    let other = mail_with(json!({"id": "m2"}));
    let decision = desk.decide("n2", "message.created", &other).await;
    assert_eq!(decision.facts["headers"], "none: the mailbox is out of reach", "for more than a day");
    let mut fresh = work("n3", "message.created", &mail_with(json!({"id": "m3"})));
    fresh.sent_at = jiff::Timestamp::now();
    let failure = desk.process(&fresh).await.expect_err("the user may sign in again");
    assert!(matches!(failure, Failure::Transient { class: "nylas.grant_expired", .. }), "{failure:?}");
    assert_eq!(desk.crm.logged().len(), 2);
}

#[tokio::test]
async fn folder_ids_are_resolved_by_their_attributes() {
    let desk = Desk::new();
    desk.nylas.connects("ms", "microsoft", "rep@northwind.example");
    let folder = |id: &str, attribute: &str| Folder { id: id.to_owned(), attributes: Some(vec![attribute.to_owned()]) };
    let folders = vec![folder("AAMk-s", "\\Sent"), folder("AAMk-d", "\\Drafts"), folder("AAMk-j", "\\Junk")];
    desk.nylas.folders.lock().expect("not poisoned").insert("ms".to_owned(), folders);
    let rules = desk.rules();
    let mut decided = Vec::new();
    for (number, folder) in ["AAMk-s", "AAMk-d", "AAMk-j"].into_iter().enumerate() {
        let mail = mail_with(json!({"id": format!("m{number}"), "grant_id": "ms", "folders": [folder]}));
        let mut work = work(&format!("n{number}"), "message.created", &mail);
        work.body = work.body.replace("/google/", "/microsoft/");
        decided.push(rules.for_batch().process(&work).await.expect("a decision"));
    }
    assert_eq!(
        (&decided[0].facts["direction"], &decided[0].facts["direction_told_by"]),
        (&json!("outbound"), &json!("folder"))
    );
    assert_eq!((decided[1].reason.as_str(), decided[2].reason.as_str()), ("draft", "in the spam folder"));
    assert_eq!(desk.nylas.calls().iter().filter(|call| *call == "folders").count(), 1, "once a mailbox");
}

#[tokio::test]
async fn sender_is_compared_with_the_mailboxs_own_address_where_neither_folder_nor_domain_tells() {
    let desk = Desk::new();
    desk.nylas.connects("private", "imap", "Rep@private.example");
    let out = mail_with(
        json!({"grant_id": "private", "folders": ["x"], "from": [{"email": "rep@private.example"}], "to": [{"email": "dana@acme.example"}]}),
    );
    let mut work = work("n1", "message.created", &out);
    work.body = work.body.replace("/google/", "/imap/");
    let decision = desk.process(&work).await.expect("a decision");
    assert_eq!(decision.facts["direction_told_by"], "sender is the mailbox itself");
    assert_eq!(desk.crm.logged()[0].direction, Direction::Outbound);
}

#[tokio::test]
async fn truncated_and_cleaned_mail_needs_no_body_and_transformed_mail_is_completed() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail_with(json!({"headers": message_id("a@b")})));
    for trigger in ["message.created.truncated", "message.created.cleaned"] {
        let decision =
            desk.decide(trigger, trigger, &mail_with(json!({"from": [{"email": "who@else.example"}]}))).await;
        assert_eq!((decision.reason.as_str(), desk.nylas.calls().len()), ("no known contact", 0), "{trigger}");
    }
    let chosen = json!({"id": "m1", "grant_id": "g1", "from": [{"email": "dana@acme.example"}]});
    let decision = desk.decide("n1", "message.created.transformed", &chosen).await;
    assert_eq!(decision.to_string(), "logged: known contact");
    assert_eq!(desk.crm.logged()[0].subject.as_deref(), Some("Q3"));
    assert_eq!(desk.nylas.calls(), ["message None", "message All"]);
}

#[tokio::test]
async fn transformed_mail_with_its_people_is_completed_by_the_call_that_brings_the_headers() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail_with(json!({"headers": message_id("a@b")})));
    let mut chosen = mail();
    for field in ["subject", "snippet", "date"] {
        chosen.as_object_mut().expect("an object").remove(field);
    }
    desk.decide("n1", "message.created.transformed", &chosen).await;
    assert_eq!(desk.nylas.calls(), ["message All"]);
    assert_eq!(desk.crm.logged()[0].snippet.as_deref(), Some("Hello Rep,"));
}

#[tokio::test]
async fn metadata_payload_carries_its_headers_and_needs_no_call() {
    let desk = Desk::new();
    let metadata = mail_with(json!({"headers": message_id("a@b"), "snippet": null}));
    let decision = desk.decide("n1", "message.created.metadata", &metadata).await;
    assert_eq!((decision.outcome.as_str(), &decision.facts["headers"]), ("logged", &json!("the notification")));
    assert_eq!(desk.nylas.calls(), [""; 0]);
}

#[tokio::test]
async fn mail_that_is_gone_before_it_could_be_completed_is_an_answer() {
    let desk = Desk::new();
    let bare = json!({"id": "m1", "grant_id": "g1"});
    assert_eq!(
        desk.decide("n1", "message.created.transformed", &bare).await.to_string(),
        "skipped: no longer at Nylas"
    );
}

#[tokio::test]
async fn mail_with_a_field_of_an_odd_shape_is_fetched_instead_of_lost() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail());
    let odd = mail_with(json!({"attachments": "none"}));
    assert_eq!(desk.decide("n1", "message.created", &odd).await.outcome.as_str(), "logged");
}

#[tokio::test]
async fn internal_mail_and_mail_on_the_never_log_list_ask_the_crm_nothing() {
    let desk = Desk::new();
    let internal = mail_with(json!({"from": [{"email": "boss@eu.Northwind.example"}]}));
    assert_eq!(desk.decide("n1", "message.created", &internal).await.to_string(), "skipped: internal mail");
    *desk.never_log.text.lock().expect("not poisoned") = "dana@acme.example".to_owned();
    assert_eq!(desk.decide("n2", "message.created", &mail()).await.to_string(), "skipped: never-log list");
    assert!(desk.crm.lookups.lock().expect("not poisoned").is_empty());
    assert_eq!(desk.nylas.calls(), [""; 0]);
}

#[tokio::test]
async fn people_whom_only_the_headers_or_the_fetched_mail_name_are_held_against_the_never_log_list() {
    let desk = Desk::new();
    *desk.never_log.text.lock().expect("not poisoned") = "lawyers.example".to_owned();
    let handed_on =
        mail_with(json!({"from": [{"email": "sales@northwind.example"}], "cc": [{"email": "dana@acme.example"}]}));
    let mut held = handed_on.clone();
    held["headers"] = json!([{"name": "List-Id", "value": "<sales.northwind.example>"}, {"name": "Message-ID", "value": "<a@b>"},
        {"name": "X-Original-From", "value": "counsel@lawyers.example"}]);
    desk.nylas.holds("g1", held);
    assert_eq!(desk.decide("n1", "message.created", &handed_on).await.reason, "never-log list");
    assert!(desk.crm.logged().is_empty());
}

#[tokio::test]
async fn sent_mail_of_microsoft_without_headers_is_known_by_the_threading_ones() {
    let desk = Desk::new();
    desk.nylas.hides_all_headers.store(true, Ordering::SeqCst);
    for (id, grant) in [("m1", "ms1"), ("m2", "ms2")] {
        desk.nylas.connects(grant, "microsoft", "rep@northwind.example");
        desk.nylas.holds(grant, mail_with(json!({"id": id, "headers": message_id("a@b")})));
    }
    let mut outcomes = Vec::new();
    for (id, grant) in [("m1", "ms1"), ("m2", "ms2")] {
        let copy = mail_with(json!({"id": id, "grant_id": grant, "snippet": "I'm currently out of the office."}));
        let mut work = work(id, "message.created", &mail_with(json!({"id": id, "grant_id": grant})));
        work.body = work.body.replace("/google/", "/microsoft/");
        outcomes.push(desk.process(&work).await.expect("a decision").to_string());
        drop(copy);
    }
    assert_eq!(outcomes, ["logged: known contact", "merged: another mailbox's copy"]);
}

#[tokio::test]
async fn answer_without_headers_does_not_count_as_all_of_them() {
    let desk = Desk::new();
    desk.nylas.holds("g1", mail_with(json!({"headers": []})));
    let notice = mail_with(json!({"subject": "Automatic reply: Q3", "snippet": "I am out of the office."}));
    assert_eq!(desk.decide("n1", "message.created", &notice).await.reason, "automatic mail: out of office");
}

#[tokio::test]
async fn invitation_that_only_the_fetched_mail_shows_is_dropped() {
    let desk = Desk::new();
    let file = json!([{"content_type": "text/calendar; method=REQUEST", "filename": "invite.ics"}]);
    desk.nylas.holds("g1", mail_with(json!({"attachments": file, "headers": message_id("a@b")})));
    let mut chosen = mail();
    chosen.as_object_mut().expect("an object").remove("attachments");
    assert_eq!(desk.decide("n1", "message.created.transformed", &chosen).await.reason, "calendar invitation");
}

#[tokio::test]
async fn address_that_the_crm_refuses_buries_a_mail_only_if_it_refuses_all() {
    let desk = Desk::new();
    desk.crm.contacts.lock().expect("not poisoned").insert("odd@acme.example".to_owned(), Vec::new());
    desk.crm.refuses("odd@acme.example");
    let rules = desk.rules();
    let batch = rules.for_batch();
    batch.process(&work("n1", "message.created", &mail())).await.expect("a decision");
    let with_odd = mail_with(json!({"id": "m2", "cc": [{"email": "odd@acme.example"}]}));
    assert_eq!(
        batch.process(&work("n2", "message.created", &with_odd)).await.expect("logged").outcome.as_str(),
        "logged"
    );
    let only_odd = mail_with(json!({"id": "m3", "from": [{"email": "odd@acme.example"}]}));
    let failure = batch.process(&work("n3", "message.created", &only_odd)).await.expect_err("all are refused");
    assert!(matches!(failure, Failure::Permanent { class: "crm.rejected", .. }), "{failure:?}");
}

#[tokio::test]
async fn nothing_is_logged_while_the_never_log_list_cannot_be_read() {
    let desk = Desk::new();
    desk.never_log.down.store(true, Ordering::SeqCst);
    let failure = desk.process(&work("n1", "message.created", &mail())).await.expect_err("no list");
    assert!(matches!(failure, Failure::Transient { class: "store.unavailable", .. }));
    assert!(desk.crm.logged().is_empty());
}

#[tokio::test]
async fn strangers_are_recorded_and_the_mail_waits_for_them() {
    let desk = Desk::new();
    let stranger = mail_with(json!({"from": [{"email": "Nobody+x@else.example"}]}));
    let decision = desk.decide("n1", "message.created", &stranger).await;
    assert_eq!(decision.to_string(), "skipped: no known contact");
    assert_eq!(decision.waits_for, ["nobody+x@else.example"]);
    assert_eq!(*desk.crm.lookups.lock().expect("not poisoned"), ["nobody+x@else.example", "nobody@else.example"]);
}

#[tokio::test]
async fn tagged_address_finds_the_contact_of_its_mailbox() {
    let desk = Desk::new();
    let tagged = mail_with(json!({"from": [{"email": "DANA+newsletter@Acme.Example", "name": "x@y.example"}]}));
    assert_eq!(desk.decide("n1", "message.created", &tagged).await.outcome.as_str(), "logged");
}

#[tokio::test]
async fn address_on_several_mails_of_a_batch_is_looked_up_once() {
    let desk = Desk::new();
    let rules = desk.rules();
    let batch = rules.for_batch();
    for number in 0..3 {
        let mail = mail_with(json!({"id": format!("m{number}")}));
        batch.process(&work(&format!("n{number}"), "message.created", &mail)).await.expect("a decision");
    }
    assert_eq!(desk.crm.lookups.lock().expect("not poisoned").len(), 1);
    assert_eq!(desk.crm.logged().len(), 3);
}

#[tokio::test]
async fn exchange_sender_without_an_address_is_found_in_the_headers_and_else_taken_for_a_colleague() {
    let desk = Desk::new();
    desk.nylas.connects("ms", "microsoft", "rep@northwind.example");
    let internal_name =
        mail_with(json!({"grant_id": "ms", "from": [{"email": "/O=EXCHANGELABS/CN=RECIPIENTS/CN=DANA"}]}));
    let microsoft = |id: &str, mail: &Value| {
        let mut work = work(id, "message.created", mail);
        work.body = work.body.replace("/google/", "/microsoft/");
        work
    };
    let decision = desk.process(&microsoft("n1", &internal_name)).await.expect("a decision");
    assert_eq!(decision.reason, "internal mail", "nothing else is known");
    let mut held = internal_name.clone();
    held["headers"] =
        json!([{"name": "From", "value": "Dana <dana@acme.example>"}, {"name": "Message-ID", "value": "<a@b>"}]);
    desk.nylas.holds("ms", held);
    let decision = desk.process(&microsoft("n2", &internal_name)).await.expect("a decision");
    assert_eq!(decision.outcome.as_str(), "logged");
    assert_eq!(desk.crm.logged()[0].from.as_ref().map(EmailAddress::as_str), Some("dana@acme.example"));
}

#[tokio::test]
async fn crm_that_is_off_or_down_is_a_decision_or_another_try() {
    let desk = Desk::new();
    let mut rules = desk.rules();
    rules.ports.crm = None;
    let off = rules.for_batch().process(&work("n1", "message.created", &mail())).await.expect("a decision");
    assert_eq!(off.to_string(), "skipped: off (CrmBaseUrl)");
    desk.crm.down.store(true, Ordering::SeqCst);
    let failure = desk.process(&work("n1", "message.created", &mail())).await.expect_err("down");
    assert!(matches!(failure, Failure::Transient { class: "crm.unavailable", .. }), "{failure:?}");
}

#[tokio::test]
async fn mail_without_a_date_is_dated_by_its_arrival() {
    let desk = Desk::new();
    desk.decide("n1", "message.created", &mail_with(json!({"date": null}))).await;
    assert_eq!(desk.crm.logged()[0].timestamp.as_second(), 1_772_359_999);
}

#[tokio::test]
async fn type_without_a_rule_is_buried_by_name() {
    let desk = Desk::new();
    for body in [
        json!({"type": "event.created", "id": "n", "data": {"object": {"id": "e"}}}).to_string(),
        json!({"type": "calendar.backfill"}).to_string(),
    ] {
        let failure = desk.process(&work_of(&body)).await.expect_err("no rule");
        assert!(matches!(&failure, Failure::Permanent { class: "body.unknown_type", .. }), "{failure:?}");
    }
}

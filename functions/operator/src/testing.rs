//! For tests: Nylas, the archive, the live rules, the support mailboxes and the other systems in memory.

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
use aws_smithy_types::body::SdkBody;
use jiff::Timestamp;
use serde_json::Value;
use shared::aws::SdkConfig;
use shared::domain::address::CompanyDomains;
use shared::domain::notification::GrantId;
use shared::domain::own_mail::LoopId;
use shared::engine::{Deadline, StoreError};
use shared::http::CallError;
use shared::mail::reading::ReadMail;
use shared::nylas::event::Calendar;
use shared::nylas::mailboxes::{DescribeMailbox, Folder, Grant, ListGrants};
use shared::nylas::message::Message;
use shared::nylas::notetaker::{HistoryEntry, Notetaker, NotetakerFilter};
use shared::nylas::{HeaderFields, MessageId, NylasError, Page, Received};
use shared::set_up::{SetUp, SetUpItem};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::doctor::systems::{Reach, Reached};
use crate::doctor::testing::MemoryExamined;
use crate::forget::testing::MemoryHeld;
use crate::letters::testing::MemoryLetters;
use crate::operate::Ports;
use crate::operate::{Invocation, Operator, Settings};
use crate::ports::{Archive, LiveRules, Notetaking, SupportMailboxes};
use crate::replay::testing::MemoryReplays;
use crate::set_up::System;
use crate::story::testing::MemoryRecords;
use crate::subscribe::testing::MemoryWebhooks;
use shared::engine::testing::{MemoryLeases, MemoryLinks, MemoryQueue};

/// Everything in memory.
pub struct InMemory;

impl Ports for InMemory {
    type Queue = MemoryQueue;
    type Links = MemoryLinks;
    type Nylas = MemoryNylas;
    type Archive = MemoryArchive;
    type Decisions = MemoryLeases;
    type LiveRules = MemoryRules;
    type Mailboxes = MemoryMailboxes;
    type Crm = MemorySystem;
    type Tickets = MemorySystem;
    type Letters = MemoryLetters;
    type Records = MemoryRecords;
    type Replays = MemoryReplays;
    type Webhooks = MemoryWebhooks;
    type Examined = MemoryExamined;
    type Held = MemoryHeld;
}

/// The function with nothing in it but a file of a meeting.
pub fn operator() -> Operator<InMemory> {
    Operator {
        mail_queue: MemoryQueue::default(),
        calendar_queue: MemoryQueue::default(),
        notetaker_queue: MemoryQueue::default(),
        contact_queue: MemoryQueue::default(),
        links: MemoryLinks::default(),
        nylas: MemoryNylas::default(),
        archive: MemoryArchive::holding("media/g/n/summary.json"),
        decisions: MemoryLeases::default(),
        live_rules: MemoryRules::default(),
        support_mailboxes: MemoryMailboxes::of(&["support"]),
        crm: crm(Some(MemorySystem::default())),
        tickets: tickets(None),
        letters: MemoryLetters::default(),
        records: MemoryRecords::default(),
        replays: MemoryReplays::default(),
        webhooks: MemoryWebhooks::default(),
        examined: MemoryExamined::default(),
        held: MemoryHeld::default(),
        settings: settings(),
    }
}

/// One that came at 2026-03-01T10:00:00Z.
pub fn invocation() -> Invocation {
    Invocation {
        id: "8d5a3f1e-1c1b-4a55-9c7e-0f9a6b2d7c11".to_owned(),
        now: Timestamp::from_second(1_772_359_200).expect("a time"),
        deadline: Deadline::after(Duration::from_mins(5)),
    }
}

/// AWS, which gives these answers, each with its status, one after another.
pub fn replaying(answers: &[(u16, String)]) -> (StaticReplayClient, SdkConfig) {
    let events = answers.iter().map(|(status, body)| {
        let request = http::Request::builder().uri("https://unused.example").body(SdkBody::empty()).expect("whole");
        let answer = http::Response::builder().status(*status).body(SdkBody::from(body.as_str())).expect("whole");
        ReplayEvent::new(request, answer)
    });
    let client = StaticReplayClient::new(events.collect());
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("AKID", "secret", None, None, "tests")))
        .retry_config(RetryConfig::disabled())
        .http_client(client.clone())
        .build();
    (client, config)
}

fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nylas refuses a request in these words.
pub fn refused(what: &'static str, message: &str) -> NylasError {
    let text =
        serde_json::json!({ "request_id": "r", "error": { "type": "invalid_request_error", "message": message } });
    CallError::Rejected { api: "Nylas", what, status: 400, text: text.to_string() }.into()
}

/// Nylas does not answer in time.
pub fn nylas_is_slow() -> NylasError {
    CallError::Unavailable {
        api: "Nylas",
        problem: "it did not answer in time".to_owned(),
        retry_after: None,
        answered: true,
    }
    .into()
}

/// What Nylas was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A page of notetakers.
    List,
    /// What has happened to a notetaker.
    History,
    /// A notetaker.
    Invite {
        /// For which meeting.
        link: String,
        /// When.
        join_time: Option<i64>,
        /// Under which name.
        name: Option<String>,
    },
    /// A calendar.
    Calendar,
    /// The calendars.
    Calendars,
    /// Other rules.
    SetRules(Value),
    /// A page of mails, received in this span.
    Mails(Received),
    /// A mail.
    Mail(String),
}

impl Call {
    /// The rules that were to be set.
    pub fn rules(self) -> Option<Value> {
        if let Self::SetRules(rules) = self { Some(rules) } else { None }
    }
}

/// Notetakers and calendars of one account in memory, a notetaker a page. What is to fail fails once.
#[derive(Default)]
pub struct MemoryNylas {
    notetakers: Mutex<Vec<Value>>,
    lists_nothing: AtomicBool,
    calendars: Mutex<BTreeMap<String, Value>>,
    /// The mails of each mailbox, the newest first.
    mails: Mutex<BTreeMap<String, Vec<Value>>>,
    mail_takes: Mutex<Duration>,
    mail_fails: Mutex<Option<NylasError>>,
    mailboxes_fail: Mutex<BTreeMap<String, NylasError>>,
    /// The connected accounts.
    accounts: Mutex<Vec<Grant>>,
    accounts_fail: Mutex<Option<NylasError>>,
    kept_instead: Mutex<Option<Value>>,
    calls: Mutex<Vec<Call>>,
    invited: AtomicUsize,
    listing_fails: Mutex<Option<NylasError>>,
    inviting_fails: Mutex<Option<NylasError>>,
    reading_fails: Mutex<Option<NylasError>>,
    setting_fails: Mutex<Option<NylasError>>,
}

impl MemoryNylas {
    /// Puts a notetaker among those of the account.
    pub fn put_notetaker(&self, notetaker: Value) {
        open(&self.notetakers).push(notetaker);
    }

    /// Takes all notetakers away.
    pub fn remove_notetakers(&self) {
        open(&self.notetakers).clear();
    }

    /// Leaves every notetaker out of the lists from now on.
    pub fn list_nothing(&self) {
        self.lists_nothing.store(true, Ordering::SeqCst);
    }

    /// Brings all notetakers into a state.
    pub fn set_states(&self, state: &str) {
        for notetaker in open(&self.notetakers).iter_mut() {
            notetaker["state"] = state.into();
        }
    }

    /// Puts a calendar among those of the account.
    pub fn put_calendar(&self, id: &str, name: Option<&str>) {
        open(&self.calendars).insert(id.to_owned(), serde_json::json!({ "id": id, "name": name }));
    }

    /// Puts a mail into a mailbox of Google's, as the newest.
    pub fn put_mail(&self, grant: &str, mail: Value) {
        open(&self.mails).entry(grant.to_owned()).or_default().insert(0, mail);
    }

    /// Takes a mail out of its mailbox that is listed all the same.
    pub fn lose_mail(&self, grant: &str, id: &str) {
        let mut mails = open(&self.mails);
        for mail in mails.get_mut(grant).into_iter().flatten().filter(|mail| mail["id"] == id) {
            mail["lost"] = true.into();
        }
    }

    /// Takes so long to hand over a mail from now on.
    pub fn take_for_a_mail(&self, long: Duration) {
        *open(&self.mail_takes) = long;
    }

    /// Lets the next mail that is asked for fail.
    pub fn fail_mail(&self, error: NylasError) {
        *open(&self.mail_fails) = Some(error);
    }

    /// Lets every listing of a mailbox fail from now on.
    pub fn fail_mailbox(&self, grant: &str, error: NylasError) {
        open(&self.mailboxes_fail).insert(grant.to_owned(), error);
    }

    /// Connects an account, or changes one that is connected.
    pub fn connect(&self, grant: Grant) {
        self.disconnect(&grant.id);
        open(&self.accounts).push(grant);
    }

    /// Takes an account away.
    pub fn disconnect(&self, id: &str) {
        open(&self.accounts).retain(|known| known.id != id);
    }

    /// Lets the next listing of accounts fail.
    pub fn fail_accounts(&self, error: NylasError) {
        *open(&self.accounts_fail) = Some(error);
    }

    /// Keeps these rules from now on, whatever is set; null for none.
    pub fn keep_instead(&self, rules: Value) {
        *open(&self.kept_instead) = Some(rules);
    }

    /// Lets the next listing of notetakers fail.
    pub fn fail_listing(&self, error: NylasError) {
        *open(&self.listing_fails) = Some(error);
    }

    /// Lets the next invitation fail.
    pub fn fail_inviting(&self, error: NylasError) {
        *open(&self.inviting_fails) = Some(error);
    }

    /// Lets the next reading of a calendar fail.
    pub fn fail_reading_calendars(&self, error: NylasError) {
        *open(&self.reading_fails) = Some(error);
    }

    /// Lets the next change of rules fail.
    pub fn fail_setting(&self, error: NylasError) {
        *open(&self.setting_fails) = Some(error);
    }

    /// What it was asked for, in order.
    pub fn calls(&self) -> Vec<Call> {
        open(&self.calls).clone()
    }

    /// How many notetakers it made.
    pub fn invitations(&self) -> usize {
        self.invited.load(Ordering::SeqCst)
    }

    fn called(&self, call: Call, fails: &Mutex<Option<NylasError>>) -> Result<(), NylasError> {
        open(&self.calls).push(call);
        open(fails).take().map_or(Ok(()), Err)
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).expect("what Nylas would send")
}

impl Notetaking for MemoryNylas {
    async fn notetakers(
        &self,
        _: &GrantId,
        wanted: NotetakerFilter,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<Notetaker>, NylasError> {
        self.called(Call::List, &self.listing_fails)?;
        // As long as a call takes, others have their turn.
        tokio::task::yield_now().await;
        let span = wanted.join_time_start..wanted.join_time_end;
        let notetakers = open(&self.notetakers);
        let wanted: Vec<&Value> = notetakers
            .iter()
            .filter(|_| !self.lists_nothing.load(Ordering::SeqCst))
            .filter(|notetaker| notetaker["join_time"].as_i64().is_none_or(|time| span.contains(&time)))
            .collect();
        let place: usize = page_token.map_or(0, |token| token.parse().expect("a token that was given"));
        let next = (place + 1 < wanted.len()).then(|| (place + 1).to_string());
        Ok(Page { items: wanted.get(place).map(|notetaker| read(notetaker)).into_iter().collect(), next })
    }

    async fn history(&self, _: &GrantId, id: &str, _: Deadline) -> Result<Vec<HistoryEntry>, NylasError> {
        self.called(Call::History, &Mutex::default())?;
        let notetakers = open(&self.notetakers);
        let known = notetakers.iter().find(|notetaker| notetaker["id"] == id);
        Ok(known.map(|notetaker| read(&serde_json::json!({ "data": notetaker }))).into_iter().collect())
    }

    async fn invite(
        &self,
        _: &GrantId,
        meeting_link: &str,
        join_time: Option<i64>,
        name: Option<&str>,
        _: Deadline,
    ) -> Result<Notetaker, NylasError> {
        let call = Call::Invite { link: meeting_link.to_owned(), join_time, name: name.map(str::to_owned) };
        self.called(call, &self.inviting_fails)?;
        tokio::task::yield_now().await;
        let id = format!("n-{}", self.invited.fetch_add(1, Ordering::SeqCst) + 1);
        let state = if join_time.is_some() { "scheduled" } else { "connecting" };
        let notetaker =
            serde_json::json!({ "id": id, "state": state, "join_time": join_time, "meeting_link": meeting_link });
        self.put_notetaker(notetaker.clone());
        Ok(read(&notetaker))
    }

    async fn calendar(&self, _: &GrantId, id: &str, _: Deadline) -> Result<Option<Calendar>, NylasError> {
        self.called(Call::Calendar, &self.reading_fails)?;
        Ok(open(&self.calendars).get(id).map(read))
    }

    async fn calendars(&self, _: &GrantId, _: Deadline) -> Result<Vec<Calendar>, NylasError> {
        self.called(Call::Calendars, &Mutex::default())?;
        Ok(open(&self.calendars).values().map(read).collect())
    }

    async fn set_rules(
        &self,
        _: &GrantId,
        id: &str,
        notetaker: &Value,
        _: Deadline,
    ) -> Result<Option<Calendar>, NylasError> {
        self.called(Call::SetRules(notetaker.clone()), &self.setting_fails)?;
        let kept = open(&self.kept_instead).clone().unwrap_or_else(|| notetaker.clone());
        let mut calendars = open(&self.calendars);
        let Some(calendar) = calendars.get_mut(id) else { return Ok(None) };
        calendar["notetaker"] = kept;
        Ok(Some(read(calendar)))
    }
}

impl DescribeMailbox for MemoryNylas {
    async fn folders(&self, _: &GrantId, _: Deadline) -> Result<Vec<Folder>, NylasError> {
        Ok(Vec::new())
    }

    async fn grant(&self, grant: &GrantId, _: Deadline) -> Result<Option<Grant>, NylasError> {
        let (email, provider) = (Some("support@northwind.example".to_owned()), Some("google".to_owned()));
        Ok(Some(Grant { id: grant.to_string(), email, provider, grant_status: None }))
    }
}

impl ListGrants for MemoryNylas {
    async fn grants(&self, offset: usize, _: Deadline) -> Result<Vec<Grant>, NylasError> {
        if let Some(error) = open(&self.accounts_fail).take() {
            return Err(error);
        }
        // Two a page.
        Ok(open(&self.accounts).iter().skip(offset).take(2).cloned().collect())
    }
}

/// The most mails that a page of the lists below holds.
const PAGE: usize = 30;

impl ReadMail for MemoryNylas {
    async fn message(
        &self,
        grant: &GrantId,
        id: &str,
        _: HeaderFields,
        _: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        self.called(Call::Mail(id.to_owned()), &self.mail_fails)?;
        let takes = *open(&self.mail_takes);
        tokio::time::sleep(takes).await;
        let mails = open(&self.mails);
        let mut of_mailbox = mails.get(grant.as_str()).into_iter().flatten();
        Ok(of_mailbox.find(|mail| mail["id"] == id && mail["lost"] != true).map(read))
    }

    async fn messages(
        &self,
        grant: &GrantId,
        received: Received,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<MessageId>, NylasError> {
        self.called(Call::Mails(received), &Mutex::default())?;
        if let Some(error) = open(&self.mailboxes_fail).get(grant.as_str()) {
            return Err(error.clone());
        }
        let place: usize = page_token.map_or(0, |token| token.parse().expect("a token that was given"));
        let mails = open(&self.mails);
        let mails = mails.get(grant.as_str()).map(Vec::as_slice).unwrap_or_default();
        let items = mails.iter().skip(place).take(PAGE).map(read).collect();
        Ok(Page { items, next: (place + PAGE < mails.len()).then(|| (place + PAGE).to_string()) })
    }
}

/// What a stack is set to.
pub fn settings() -> Settings {
    Settings {
        company_domains: CompanyDomains::parse(["northwind.example"]).expect("a domain"),
        loop_id: LoopId::of_stack("crm-autopilot"),
    }
}

/// A list of support mailboxes in memory.
pub struct MemoryMailboxes(Result<Vec<String>, StoreError>);

impl MemoryMailboxes {
    /// The list of these.
    pub fn of(grants: &[&str]) -> Self {
        Self(Ok(grants.iter().map(|grant| (*grant).to_owned()).collect()))
    }

    /// A list that cannot be read.
    pub fn down() -> Self {
        Self(Err(StoreError("the list is down".to_owned())))
    }
}

impl SupportMailboxes for MemoryMailboxes {
    async fn grants(&self) -> Result<Vec<String>, StoreError> {
        self.0.clone()
    }
}

/// A system at the other end that answers one thing.
#[derive(Debug)]
pub struct MemorySystem(Result<Vec<SetUpItem>, CallError>);

impl Default for MemorySystem {
    /// One that needs nothing.
    fn default() -> Self {
        Self(Ok(Vec::new()))
    }
}

impl MemorySystem {
    /// One that answers this.
    pub fn answering(answer: Result<Vec<SetUpItem>, CallError>) -> Self {
        Self(answer)
    }
}

impl SetUp for MemorySystem {
    async fn set_up(&self, _: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        self.0.clone()
    }
}

impl Reach for MemorySystem {
    async fn reach(&self, _: Deadline) -> Result<Reached, CallError> {
        self.0.clone().map(Reached::Needs)
    }
}

/// A stack's CRM.
pub fn crm(client: Option<MemorySystem>) -> System<MemorySystem> {
    System::crm(Some("hubspot".to_owned()), client)
}

/// A stack's ticket system.
pub fn tickets(client: Option<MemorySystem>) -> System<MemorySystem> {
    System::tickets(Some("zendesk".to_owned()), client)
}

/// Live rules in memory.
#[derive(Default)]
pub struct MemoryRules {
    /// The file.
    pub text: Option<Arc<str>>,
    /// While set, they cannot be read.
    pub down: bool,
}

impl LiveRules for MemoryRules {
    async fn text(&self) -> Result<Option<Arc<str>>, StoreError> {
        if self.down { Err(StoreError("the archive is down".to_owned())) } else { Ok(self.text.clone()) }
    }
}

/// An archive in memory.
pub struct MemoryArchive {
    keys: Vec<String>,
    down: bool,
    asked: AtomicUsize,
}

impl MemoryArchive {
    /// An archive with one file.
    pub fn holding(key: &str) -> Self {
        Self { keys: vec![key.to_owned()], down: false, asked: AtomicUsize::new(0) }
    }

    /// An archive that does not answer.
    pub fn down() -> Self {
        Self { keys: Vec::new(), down: true, asked: AtomicUsize::new(0) }
    }

    /// How often it was asked for a file.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Archive for MemoryArchive {
    fn bucket(&self) -> &'static str {
        "archive"
    }

    async fn holds(&self, key: &str) -> Result<bool, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.down {
            return Err(StoreError("the archive is down".to_owned()));
        }
        Ok(self.keys.iter().any(|standing| standing == key))
    }

    async fn link(&self, key: &str, lifetime: Duration) -> Result<String, StoreError> {
        Ok(format!("https://archive.example/{key}?X-Amz-Expires={}", lifetime.as_secs()))
    }
}

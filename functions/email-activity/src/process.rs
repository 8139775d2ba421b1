//! Carries out what the rules say of one mail: completes it, looks its addresses up, logs it, remembers what it became.

use futures_util::future::try_join;
use serde::Deserialize;
use std::future::Future;
use std::sync::Arc;

use shared::aws::leases::DynamoLeases;
use shared::aws::links::DynamoLinks;
use shared::aws::never_log::NeverLogFile;
use shared::aws::worker_queue::WorkerQueue;
use shared::crm::matching::{Matched, NobodyKnown, addresses_to_look_up, match_contacts, refuses_all};
use shared::crm::{BatchLookup, Direction, EmailActivity as Activity, FindContacts, IdempotencyKey, LogEmail};
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::never_log::NeverLog;
use shared::domain::notification::{Envelope, GrantId};
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Decisions, Input, Links, Processor, PutLink, SendToQueue, StoreError, Work};
use shared::nylas::mailboxes::{DescribeMailbox, ListGrants, Mailboxes, Roles};
use shared::nylas::message::Message;
use shared::nylas::{HeaderFields, MessageId, Nylas, NylasError, Page, Received};
use shared::worker::{Crm, Worker};

use crate::mail::{
    Carried, Company, HeadersAtHand, People, Screening, class_of, copy, direction, dropped_by_the_never_log_list,
    dropped_for_its_class, dropped_for_its_folder, dropped_for_its_invitation, identity, lacks_contents,
    lacks_senders_address, may_wait_for_a_contact, screen, sender_by_header, writer_behind_the_group,
};

/// What is asked of Nylas about mail.
pub trait ReadMail: DescribeMailbox + ListGrants {
    /// A mail; none if it is no longer there.
    fn message(
        &self,
        grant: &GrantId,
        id: &str,
        headers: HeaderFields,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Message>, NylasError>> + Send;

    /// A page of a grant's mails.
    fn messages(
        &self,
        grant: &GrantId,
        received: Received,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Page<MessageId>, NylasError>> + Send;
}

impl ReadMail for Nylas {
    async fn message(
        &self,
        grant: &GrantId,
        id: &str,
        headers: HeaderFields,
        deadline: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        self.message(grant, id, headers, deadline).await
    }

    async fn messages(
        &self,
        grant: &GrantId,
        received: Received,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<MessageId>, NylasError> {
        self.messages(grant, received, page_token, deadline).await
    }
}

/// The list of those whose mail is never logged.
pub trait NeverLogged: Sync {
    /// The list as it stands.
    fn current(&self) -> impl Future<Output = Result<Arc<NeverLog>, StoreError>> + Send;
}

impl NeverLogged for NeverLogFile {
    async fn current(&self) -> Result<Arc<NeverLog>, StoreError> {
        self.current().await
    }
}

/// What the function needs of the outside, each as narrow as its role.
pub trait Ports: Sync {
    /// The CRM.
    type Crm: FindContacts + LogEmail;
    /// Nylas.
    type Nylas: ReadMail;
    /// What became of each mail.
    type Links: Links;
    /// What was decided before.
    type Decisions: Decisions;
    /// The function's own queue.
    type Queue: SendToQueue;
    /// The never-log list.
    type NeverLog: NeverLogged;
}

/// The ports, filled.
pub struct Provision<'a, P: Ports> {
    /// The CRM; none while it is off.
    pub crm: Option<&'a P::Crm>,
    /// Nylas.
    pub nylas: &'a P::Nylas,
    /// What became of each mail.
    pub links: &'a P::Links,
    /// What was decided before.
    pub decisions: &'a P::Decisions,
    /// The function's own queue.
    pub queue: &'a P::Queue,
    /// The never-log list.
    pub never_log: &'a P::NeverLog,
    /// The time of day.
    pub clock: Clock,
}

/// What the rules are set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// What marks mail that this deployment sends.
    pub loop_id: LoopId,
}

/// The ports of the deployed function.
pub struct Deployed;

impl Ports for Deployed {
    type Crm = Crm;
    type Nylas = Nylas;
    type Links = DynamoLinks;
    type Decisions = DynamoLeases;
    type Queue = WorkerQueue;
    type NeverLog = NeverLogFile;
}

/// The rules of email-activity, carried out through the given ports. Lives as long as the instance.
pub struct EmailActivity<'a, P: Ports> {
    pub(crate) ports: Provision<'a, P>,
    pub(crate) settings: Settings,
    mailboxes: Mailboxes,
}

impl<'a> EmailActivity<'a, Deployed> {
    /// The rules with the clients of a worker.
    #[must_use]
    pub fn new(worker: &'a Worker) -> Self {
        let ports = Provision {
            crm: worker.crm.as_ref(),
            nylas: &worker.nylas,
            links: &worker.links,
            decisions: &worker.engine.leases,
            queue: &worker.engine.queue,
            never_log: &worker.never_log,
            clock: Clock::system(),
        };
        let settings = Settings { company_domains: worker.company_domains.clone(), loop_id: worker.loop_id.clone() };
        Self::with(ports, settings)
    }
}

impl<'a, P: Ports> EmailActivity<'a, P> {
    /// The rules with the given ports.
    #[must_use]
    pub fn with(ports: Provision<'a, P>, settings: Settings) -> Self {
        Self { ports, settings, mailboxes: Mailboxes::default() }
    }

    /// The rules for one batch, whose messages share their lookups.
    pub fn for_batch(&self) -> BatchRules<'_, 'a, P> {
        BatchRules { rules: self, lookup: self.ports.crm.map(BatchLookup::new) }
    }

    fn company(&self) -> Company<'_> {
        Company { domains: &self.settings.company_domains, loop_id: &self.settings.loop_id }
    }
}

/// The rules for one batch.
pub struct BatchRules<'r, 'a, P: Ports> {
    pub(crate) rules: &'r EmailActivity<'a, P>,
    lookup: Option<BatchLookup<'r, P::Crm>>,
}

/// A mail as far as it is known.
struct Mail {
    message: Message,
    carried: Carried,
    headers: HeadersAtHand,
    /// The provider, where the notification tells it.
    provider: Option<String>,
}

/// What was learned of a mail once somebody on it was known.
struct Learned {
    mail: Mail,
    roles: Roles,
    own_address: Option<EmailAddress>,
    headers_told_by: &'static str,
}

impl<P: Ports> BatchRules<'_, '_, P> {
    async fn decide(
        &self,
        lookup: &BatchLookup<'_, P::Crm>,
        envelope: &Envelope,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let never_log = self.rules.ports.never_log.current().await?;
        let mut mail = carried_mail(envelope, work)?;
        if let Some(decision) = dropped_for_its_folder(mail.google_roles().unwrap_or_default()) {
            return Ok(decision);
        }
        if lacks_senders_address(&mail.message, &People::on(&mail.message)) {
            mail = self.with_sender(mail, work).await?;
        }
        let (people, external, not_looked_up, verdict) = loop {
            let people = People::on(&mail.message);
            let company = self.rules.company();
            match screen(&mail.message, &people, mail.carried, mail.headers, company, &never_log) {
                Screening::Dropped(decision) => return Ok(decision),
                Screening::LookUp { external, not_looked_up, verdict } => {
                    break (people, external, not_looked_up, verdict);
                }
                Screening::Incomplete => {
                    let Some(whole) = self.whole(mail, work.deadline).await? else {
                        return Ok(Decision::skipped("no longer at Nylas").for_now());
                    };
                    mail = whole;
                }
            }
        };
        // A copy that was handled before is known without asking anybody.
        let bound = self.identity_of_copy(&mail.message).await?;
        if let Some(identity) = &bound
            && let Some(standing) = self.link(&mail_key(identity)).await?
        {
            return Ok(already_logged(&standing, envelope, &mail.message));
        }
        let asked = addresses_to_look_up(&external);
        let known = lookup.find(&asked, work.deadline).await?;
        if let Some(failure) = refuses_all(&asked, &known, "the mail") {
            return Err(failure);
        }
        let matched = match match_contacts(&external, people.from.as_ref(), &known) {
            Ok(matched) => matched,
            Err(NobodyKnown { unmatched }) => {
                let waits_for =
                    if may_wait_for_a_contact(&mail.message, &verdict) { texts(&unmatched) } else { vec![] };
                return Ok(Decision::skipped("no known contact")
                    .with("unmatched", texts(&unmatched))
                    .with("not_looked_up", not_looked_up)
                    .waiting_for(waits_for));
            }
        };
        let learned = self.learn(mail, &people, work).await?;
        // What was fetched may name people whom the notification did not.
        let mut people = People::on(&learned.mail.message);
        if let Some(writer) = writer_behind_the_group(&learned.mail.message, &people, self.rules.company()) {
            people.from = Some(writer);
        }
        if let Some(decision) = dropped_by_the_never_log_list(&people, &never_log) {
            return Ok(decision);
        }
        let verdict = class_of(&learned.mail.message, &people, learned.mail.headers, self.rules.company());
        let dropped = dropped_for_its_folder(learned.roles)
            .or_else(|| dropped_for_its_invitation(&learned.mail.message))
            .or_else(|| dropped_for_its_class(&verdict));
        if let Some(decision) = dropped {
            return Ok(decision.with("headers", learned.headers_told_by));
        }
        let (direction, told_by) = direction(
            learned.roles,
            people.from.as_ref(),
            learned.own_address.as_ref(),
            &self.rules.settings.company_domains,
        );
        let message = learned.mail.message;
        let identity = self.bind(bound, &message).await?;
        if let Some(standing) = self.link(&mail_key(&identity)).await? {
            return Ok(already_logged(&standing, envelope, &message));
        }
        let activity = activity_of(&message, &people, &matched, direction, work);
        let logged = self.log(lookup.crm(), &activity, &identity, envelope, &message, work.deadline).await?;
        Ok(match logged {
            Logged::By(became) => Decision::logged("known contact", became)
                .with("direction", direction.as_str())
                .with("direction_told_by", told_by)
                .with("class_told_by", verdict.evidence)
                .with("headers", learned.headers_told_by)
                .with("contact_ids", matched.contact_ids)
                .with("deal_id", matched.deal.deal_id())
                .with("deal_rule", matched.deal.rule)
                .with("deals_rejected", matched.deal.rejected_to_json())
                .with("unmatched", texts(&matched.unmatched))
                .with("not_looked_up", not_looked_up),
            Logged::Before(standing) => already_logged(&standing, envelope, &message),
        })
    }

    /// The mail as Nylas holds it, where the notification left out what is needed; none if it is gone.
    async fn whole(&self, mail: Mail, deadline: Deadline) -> Result<Option<Mail>, Failure> {
        let grant = mail.grant()?;
        let fetched = self.rules.ports.nylas.message(&grant, &mail.message.id, HeaderFields::None, deadline).await?;
        Ok(fetched.map(|fetched| {
            // A provider that has no such field sends none: nothing more is to be had.
            let mut message = mail.message.completed_by(fetched);
            for list in [&mut message.from, &mut message.to, &mut message.cc, &mut message.bcc, &mut message.reply_to] {
                list.get_or_insert_default();
            }
            message.folders.get_or_insert_default();
            Mail { message, carried: Carried::Standard, ..mail }
        }))
    }

    /// The mail with its sender's address, where only the headers name it. Without it the mail is judged as it is.
    async fn with_sender(&self, mail: Mail, work: &Work) -> Result<Mail, Failure> {
        let Ok(grant) = mail.grant() else { return Ok(mail) };
        let provider = self.provider(&mail, &grant, work.deadline).await?;
        if fields_of(provider.as_deref()) != HeaderFields::All {
            return Ok(mail);
        }
        let (mut mail, _) = self.with_headers(mail, provider.as_deref(), &grant, work).await?;
        if let Some(sender) = sender_by_header(&mail.message) {
            mail.message.from = Some(vec![sender]);
        }
        Ok(mail)
    }

    async fn provider(&self, mail: &Mail, grant: &GrantId, deadline: Deadline) -> Result<Option<String>, Failure> {
        match &mail.provider {
            Some(provider) => Ok(Some(provider.clone())),
            None => Ok(self.rules.mailboxes.provider(self.rules.ports.nylas, grant, deadline).await?),
        }
    }

    /// Learns what only matters for a mail with a known contact: its headers, what its folders are for, and the
    /// mailbox's own address.
    async fn learn(&self, mail: Mail, people: &People, work: &Work) -> Result<Learned, Failure> {
        let deadline = work.deadline;
        let (nylas, mailboxes) = (self.rules.ports.nylas, &self.rules.mailboxes);
        let Ok(grant) = mail.grant() else {
            // Nothing can be asked without a grant.
            let roles = Roles::by_name(mail.message.folders.as_deref().unwrap_or_default());
            return Ok(Learned { mail, roles, own_address: None, headers_told_by: "the notification" });
        };
        let provider = self.provider(&mail, &grant, deadline).await?;
        let is_google = provider.as_deref() == Some("google");
        let folders = mail.message.folders.clone().unwrap_or_default();
        let roles = async {
            if is_google {
                return Ok((Roles::by_name(&folders), None));
            }
            let roles = match mailboxes.roles(nylas, &grant, &folders, deadline).await {
                Err(error) if self.goes_without(&error, work) => Roles::by_name(&folders),
                other => other?,
            };
            // Only where neither folder nor domain tells.
            let by_domain =
                people.from.as_ref().is_none_or(|sender| self.rules.settings.company_domains.contains(sender));
            let own =
                if roles.sent || by_domain { None } else { mailboxes.own_address(nylas, &grant, deadline).await? };
            Ok::<_, Failure>((roles, own))
        };
        let (mail, (roles, own_address)) =
            try_join(self.with_headers(mail, provider.as_deref(), &grant, work), roles).await?;
        let (mail, headers_told_by) = mail;
        Ok(Learned { mail, roles, own_address, headers_told_by })
    }

    /// The mail with its headers, and how they were had. One that is gone by now is logged without.
    async fn with_headers(
        &self,
        mail: Mail,
        provider: Option<&str>,
        grant: &GrantId,
        work: &Work,
    ) -> Result<(Mail, &'static str), Failure> {
        let fields = fields_of(provider);
        let enough = mail.headers == HeadersAtHand::All || fields == HeaderFields::Threading;
        if mail.message.message_id_header().is_some() && enough && !lacks_contents(&mail.message, mail.carried) {
            return Ok((mail, "the notification"));
        }
        let nylas = self.rules.ports.nylas;
        let fetched = match nylas.message(grant, &mail.message.id, fields, work.deadline).await {
            // Microsoft shows no headers of what its user has sent, but Nylas may know the threading ones.
            Ok(Some(fetched)) if fields == HeaderFields::All && fetched.message_id_header().is_none() => {
                let threading = nylas.message(grant, &mail.message.id, HeaderFields::Threading, work.deadline).await;
                threading.map(|threading| Some(fetched.with_further_headers(threading)))
            }
            other => other,
        };
        match fetched {
            Ok(Some(fetched)) => {
                let headers = headers_at_hand(&fetched, fields);
                let message = mail.message.completed_by(fetched);
                Ok((Mail { message, headers, ..mail }, "Nylas"))
            }
            Ok(None) => Ok((mail, "none: no longer at Nylas")),
            Err(error) if self.goes_without(&error, work) => Ok((mail, "none: the mailbox is out of reach")),
            Err(error) => Err(error.into()),
        }
    }

    /// True if it is better to do without than to wait: a scope that is missing seldom comes, and a user who has to sign
    /// in again has had a day to do so.
    fn goes_without(&self, error: &NylasError, work: &Work) -> bool {
        let waited = self.rules.ports.clock.now().duration_since(work.sent_at);
        match error {
            NylasError::ScopeMissing(_) => true,
            NylasError::GrantExpired(_) => waited.as_hours() >= HOURS_FOR_SIGNING_IN,
            NylasError::Call(_) => false,
        }
    }

    async fn link(&self, key: &LinkKey) -> Result<Option<Link>, Failure> {
        let standing = self.rules.ports.links.get(key).await?;
        Ok(standing.map(|standing| standing.link))
    }

    /// Which mail this copy was found to be when it was handled before.
    async fn identity_of_copy(&self, message: &Message) -> Result<Option<String>, Failure> {
        Ok(self.link(&copy_key(message)).await?.and_then(|link| match link.state {
            LinkState::Live { became } => Some(became),
            LinkState::Tombstone | LinkState::Note => None,
        }))
    }

    /// Binds the copy to its mail before anything is written to the CRM: whatever becomes of the headers later, every
    /// other try uses the same key.
    async fn bind(&self, bound: Option<String>, message: &Message) -> Result<String, Failure> {
        if let Some(identity) = bound {
            return Ok(identity);
        }
        let identity = identity(message);
        let link = Link {
            key: copy_key(message),
            state: LinkState::Live { became: identity.clone() },
            version: Version::default(),
            content: None,
            facts: serde_json::Map::new(),
        };
        let ports = &self.rules.ports;
        match ports.links.put(&link, None, ports.clock.now()).await? {
            PutLink::Stored(_) => Ok(identity),
            // Bound by another try meanwhile.
            PutLink::Raced => Ok(self.identity_of_copy(message).await?.unwrap_or(identity)),
        }
    }

    async fn log(
        &self,
        crm: &P::Crm,
        activity: &Activity,
        identity: &str,
        envelope: &Envelope,
        message: &Message,
        deadline: Deadline,
    ) -> Result<Logged, Failure> {
        let became = crm.log_email(activity, &IdempotencyKey::new(format!("mail-{identity}")), deadline).await?;
        // From here on a crash is harmless: the next try finds the same activity under the same key.
        let link = Link {
            key: mail_key(identity),
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
        let ports = &self.rules.ports;
        if ports.links.put(&link, None, ports.clock.now()).await? == PutLink::Raced
            && let Some(standing) = self.link(&link.key).await?
        {
            // Another copy was logged meanwhile, under the same key and so as the same activity.
            return Ok(Logged::Before(standing));
        }
        Ok(Logged::By(became))
    }
}

/// How long a mail waits for its mailbox's user to sign in again, before it is logged without what only the mailbox
/// can tell.
const HOURS_FOR_SIGNING_IN: i64 = 24;

/// Whether a mail that was asked for with these headers has them: an answer with none, or with no more than the
/// threading ones, says nothing about those it lacks.
fn headers_at_hand(message: &Message, asked: HeaderFields) -> HeadersAtHand {
    let is_threading = |name: &str| {
        ["Message-ID", "In-Reply-To", "References"].iter().any(|threading| threading.eq_ignore_ascii_case(name))
    };
    let has_more = message.header_pairs().iter().any(|(name, _)| !is_threading(name));
    if asked == HeaderFields::All && has_more { HeadersAtHand::All } else { HeadersAtHand::Some }
}

/// Which headers of the sender's a provider has; elsewhere than here, the threading ones alone.
fn fields_of(provider: Option<&str>) -> HeaderFields {
    match provider {
        Some("google" | "microsoft" | "eas" | "nylas") => HeaderFields::All,
        _ => HeaderFields::Threading,
    }
}

/// Who logged a mail.
enum Logged {
    /// This try.
    By(String),
    /// Another copy, a moment ago.
    Before(Link),
}

impl Mail {
    fn grant(&self) -> Result<GrantId, Failure> {
        self.message.grant_id.as_deref().and_then(GrantId::parse).ok_or_else(|| {
            Failure::permanent(
                "body.incomplete",
                "the notification carries neither the mail nor the grant to fetch it by",
            )
        })
    }

    /// What the folders are for, where their ids are names.
    fn google_roles(&self) -> Option<Roles> {
        (self.provider.as_deref() == Some("google"))
            .then(|| Roles::by_name(self.message.folders.as_deref().unwrap_or_default()))
    }
}

/// The mail as the notification carries it.
fn carried_mail(envelope: &Envelope, work: &Work) -> Result<Mail, Failure> {
    #[derive(Deserialize)]
    struct Notification {
        #[serde(default)]
        source: Option<String>,
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        object: Message,
    }
    let carried = serde_json::from_str::<Notification>(&work.body);
    let (mut message, source, readable) = match carried {
        Ok(notification) => (notification.data.object, notification.source, true),
        // One odd field must not lose the mail: its ids are enough to fetch it.
        Err(_) => match &envelope.keys.id {
            Some(id) => (Message::with_id(id), None, false),
            None => {
                return Err(Failure::permanent(
                    "body.incomplete",
                    "the notification carries neither the mail nor the ids to fetch it by",
                ));
            }
        },
    };
    message.grant_id = message.grant_id.or_else(|| envelope.grant.as_ref().map(|grant| grant.as_str().to_owned()));
    let chosen = envelope.trigger.payload.transformed || !readable;
    // `/google/emails/realtime` names the provider; our own messages and some samples do not.
    let provider = source
        .as_deref()
        .and_then(|source| source.strip_prefix('/')?.split_once('/'))
        .map(|(provider, _)| provider.to_owned())
        .filter(|provider| {
            matches!(provider.as_str(), "google" | "microsoft" | "imap" | "icloud" | "yahoo" | "ews" | "eas")
        });
    // Gmail's metadata scope hands over all headers; customised payloads do where the provider has them.
    let headers = headers_at_hand(&message, fields_of(provider.as_deref()));
    let carried = if chosen { Carried::ChosenFields } else { Carried::Standard };
    Ok(Mail { message, carried, headers, provider })
}

fn activity_of(message: &Message, people: &People, matched: &Matched, direction: Direction, work: &Work) -> Activity {
    Activity {
        external_message_id: message.id.clone(),
        contact_ids: matched.contact_ids.clone(),
        deal_id: matched.deal.deal_id(),
        subject: message.subject.clone(),
        snippet: message.snippet.clone(),
        thread_id: message.thread_id.clone(),
        direction,
        timestamp: message.date.unwrap_or(work.sent_at),
        from: people.from.clone(),
        to: people.to.clone(),
        cc: people.cc.clone(),
        grant_id: message.grant_id.clone(),
    }
}

fn mail_key(identity: &str) -> LinkKey {
    LinkKey::new("mail", identity)
}

fn copy_key(message: &Message) -> LinkKey {
    LinkKey::new("mail-copy", &shared::domain::digest::sha256_hex(&[copy(message).as_bytes()]))
}

/// What is decided about a mail that has its activity.
fn already_logged(standing: &Link, envelope: &Envelope, message: &Message) -> Decision {
    let became = match &standing.state {
        LinkState::Live { became } => became.clone(),
        LinkState::Tombstone | LinkState::Note => return Decision::skipped("removed before"),
    };
    let remembered = |fact: &str| standing.facts.get(fact).and_then(serde_json::Value::as_str).unwrap_or_default();
    if remembered("notification_id") == envelope.id.as_str() {
        // This very notification made it, and was interrupted before that was recorded.
        Decision::logged("known contact", became).with("resumed", true)
    } else if remembered("message_id") == message.id
        && remembered("grant_id") == message.grant_id.as_deref().unwrap_or_default()
    {
        Decision::merged("notified again", became)
    } else {
        Decision::merged("another mailbox's copy", became)
    }
}

pub(crate) fn texts(addresses: &[EmailAddress]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

impl<P: Ports> Processor for BatchRules<'_, '_, P> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        let Some(lookup) = &self.lookup else {
            return Ok(Decision::off("CrmBaseUrl"));
        };
        match &work.input {
            Input::Notification(envelope) if envelope.trigger.base() == "message.created" => {
                self.decide(lookup, envelope, work).await
            }
            Input::Job { kind } if kind == "reconcile" => self.reconcile(lookup, work).await,
            Input::Notification(envelope) => Err(unknown(envelope.trigger.base())),
            Input::Job { kind } => Err(unknown(kind)),
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
mod tests;

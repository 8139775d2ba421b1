//! Carries out what the rules say of one mail: completes it, looks its addresses up, logs it, remembers what it became.

use futures_util::future::try_join;
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
use shared::domain::notification::Envelope;
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Decisions, Input, Links, NeverLogged, Processor, PutLink, SendToQueue, Work};
use shared::mail::reading::{CarriedMail, MailReader, ReadMail, carried_mail};
use shared::mail::{
    Company, People, class_of, copy, dropped_for_its_folder, identity, lacks_senders_address, writer_behind_the_group,
};
use shared::nylas::Nylas;
use shared::nylas::mailboxes::Roles;
use shared::nylas::message::Message;
use shared::worker::{Crm, Worker};

use crate::mail::{
    Screening, direction, dropped_by_the_never_log_list, dropped_for_its_class, dropped_for_its_invitation,
    may_wait_for_a_contact, screen,
};

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
    reader: MailReader<'a, P::Nylas>,
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
        let reader = MailReader::new(ports.nylas, ports.clock.clone());
        Self { ports, settings, reader }
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

/// What was learned of a mail once somebody on it was known.
struct Learned {
    mail: CarriedMail,
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
            mail = self.rules.reader.with_sender(mail, work).await?;
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
                    let Some(whole) = self.rules.reader.whole(mail, work.deadline).await? else {
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

    /// Learns what only matters for a mail with a known contact: its headers, what its folders are for, and the
    /// mailbox's own address.
    async fn learn(&self, mail: CarriedMail, people: &People, work: &Work) -> Result<Learned, Failure> {
        let reader = &self.rules.reader;
        let Ok(grant) = mail.grant() else {
            // Nothing can be asked without a grant.
            let roles = Roles::by_name(mail.folders());
            return Ok(Learned { mail, roles, own_address: None, headers_told_by: "the notification" });
        };
        let provider = reader.provider(&mail, &grant, work.deadline).await?;
        let provider = provider.as_deref();
        let folders = mail.folders().to_vec();
        let roles = async {
            let roles = reader.roles(&folders, &grant, provider, work).await?;
            // Only where neither folder nor domain tells.
            let by_domain =
                people.from.as_ref().is_none_or(|sender| self.rules.settings.company_domains.contains(sender));
            let told = provider == Some("google") || roles.sent || by_domain;
            let own = if told { None } else { reader.own_address(&grant, work.deadline).await? };
            Ok::<_, Failure>((roles, own))
        };
        let ((mail, headers_told_by), (roles, own_address)) =
            try_join(reader.with_headers(mail, provider, &grant, work), roles).await?;
        Ok(Learned { mail, roles, own_address, headers_told_by })
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

/// Who logged a mail.
enum Logged {
    /// This try.
    By(String),
    /// Another copy, a moment ago.
    Before(Link),
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

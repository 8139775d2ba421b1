//! Takes each message to the rules for it, and carries out what they say of a mail: opens its ticket or continues one, and
//! remembers what it became.

use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;
use tokio::sync::Mutex;

use shared::crm::FindContacts as _;
use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::mail_class::{MailClass, Verdict};
use shared::domain::notification::{Envelope, GrantId};
use shared::engine::{Input, Processor, Work};
use shared::mail::reading::{CarriedMail, MailReader, carried_mail};
use shared::mail::{
    Company, HeadersAtHand, People, class_of, dropped_for_its_folder, identity, identity_of_copy,
    identity_of_message_id, writer_behind_the_group,
};
use shared::nylas::message::Message;
use shared::tickets::{Commented, Correspondent, NewComment, NewTicket, OpenTickets as _};
use shared::triage::Priority;
use shared::triage::said::{Said, name_of};

use crate::plan::{
    Plan, SendersStanding, Way, after_the_mail, comment_text, conversation, explained, plan, whole_text,
};
use crate::ports::{CurrentRules as _, Ports, Provision, Settings};
use crate::screen::{skipped_for_its_nature, skipped_for_want_of_a_rule};
use crate::store::{HandledMail, Standing, Store, written_at};
use crate::storm::STORM;
use crate::ticket::{Continues, Ticket, continues};

/// How long the CRM is given to say whether a sender has an open deal: a ticket does not wait for it.
const CRM_IS_GIVEN: Duration = Duration::from_secs(4);

/// How long a copy waits for another copy of the same mail that is at work.
const ANOTHER_COPY: Duration = Duration::from_secs(5);

/// The rules of ticket-triage, carried out through the given ports. Lives as long as the instance.
pub struct Triage<'a, P: Ports> {
    pub(crate) ports: Provision<'a, P>,
    pub(crate) settings: Settings,
    pub(crate) reader: MailReader<'a, P::Nylas>,
    /// The addresses of all support mailboxes, and when they were read.
    pub(crate) support_addresses: Mutex<Option<(Timestamp, Vec<EmailAddress>)>>,
}

/// A mail as far as it has to be known, and who is on it.
pub(crate) struct Mail {
    pub message: Message,
    pub people: People,
    pub headers: HeadersAtHand,
    pub headers_told_by: &'static str,
    pub provider: Option<String>,
    pub grant: GrantId,
    pub verdict: Verdict,
    pub received_at: Timestamp,
    /// Those of its people who are not the support mailbox.
    pub conversation: Vec<EmailAddress>,
}

/// A mail that was looked at.
enum Looked {
    /// It is a ticket's, if the rules want its class.
    Mail(Box<Mail>, EmailAddress),
    /// It is left alone.
    Decided(Decision),
}

impl<'a, P: Ports> Triage<'a, P> {
    /// The rules with the given ports.
    #[must_use]
    pub fn with(ports: Provision<'a, P>, settings: Settings) -> Self {
        let reader = MailReader::new(ports.nylas, ports.clock.clone());
        Self { ports, settings, reader, support_addresses: Mutex::default() }
    }

    pub(crate) fn store(&self) -> Store<'_, P::Links> {
        Store::new(self.ports.links, &self.ports.clock)
    }

    fn company(&self) -> Company<'_> {
        Company { domains: &self.settings.company_domains, loop_id: &self.settings.loop_id }
    }

    async fn decide(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let (mail, sender) = match self.look(envelope, work).await? {
            Looked::Mail(mail, sender) => (*mail, sender),
            Looked::Decided(decision) => return Ok(decision),
        };
        let store = self.store();
        let said = Said::by(&mail.message, &sender);
        let mut identity = identity(&mail.message);
        loop {
            let (handled, revision) = match store.standing(&identity, &mail.message).await? {
                Standing::Done(handled, _) if handled.is_another_mail(&mail.message) => {
                    identity = identity_of_copy(&mail.message);
                    continue;
                }
                Standing::Done(handled, revision) if handled.notification_id == envelope.id.as_str() => {
                    // This very notification was interrupted before its decision was recorded.
                    let handled = self.follow(*handled, &mail, &said, &identity, Some(revision), work).await?;
                    return Ok(told_of(&handled, &mail, &said));
                }
                Standing::Done(handled, _) => return self.merge(&handled, &mail).await,
                Standing::AtWork => {
                    let what = "another mailbox's copy of the mail is at work".to_owned();
                    return Err(Failure::Untried { class: "ticket.copy_at_work", what, retry_after: ANOTHER_COPY });
                }
                Standing::Ours(handled, revision) => (*handled, revision),
                Standing::New => match self.planned(&mail, &sender, &said, envelope, work).await? {
                    Err(decision) => return Ok(decision),
                    Ok(handled) => match store.put_mail(&identity, &handled, None).await? {
                        Some(revision) => (handled, revision),
                        None => continue,
                    },
                },
            };
            let handled = self.carry_out(handled, &mail, &sender, &said, work).await?;
            let Some(revision) = store.put_mail(&identity, &handled, Some(revision)).await? else { continue };
            let handled = self.follow(handled, &mail, &said, &identity, Some(revision), work).await?;
            return Ok(told_of(&handled, &mail, &said));
        }
    }

    /// One more copy of a mail that has its ticket, or the same one again. What follows in its thread is the ticket's too.
    async fn merge(&self, handled: &HandledMail, mail: &Mail) -> Result<Decision, Failure> {
        let ticket = handled.ticket.clone().unwrap_or_default();
        if handled.message_id == mail.message.id && handled.grant_id == mail.grant.as_str() {
            return Ok(Decision::merged("notified again", ticket));
        }
        if let Some(thread) = &mail.message.thread_id {
            self.store().add_to_thread(mail.grant.as_str(), thread, &ticket).await?;
        }
        Ok(Decision::merged("another mailbox's copy", ticket))
    }

    /// Completes a mail, and tells whether it may be a ticket's.
    async fn look(&self, envelope: &Envelope, work: &Work) -> Result<Looked, Failure> {
        let carried = carried_mail(envelope, work)?;
        if let Some(decision) = carried.google_roles().and_then(dropped_for_its_folder) {
            return Ok(Looked::Decided(decision));
        }
        let grant = carried.grant()?;
        let provider = self.reader.provider(&carried, &grant, work.deadline).await?;
        let (mut mail, headers_told_by) = self.reader.with_headers(carried, provider.as_deref(), &grant, work).await?;
        let lacks_body = mail.message.body.is_none() && headers_told_by == "the notification";
        if lacks_body || mail.message.from.is_none() || mail.message.folders.is_none() {
            mail = match self.reader.whole(mail.clone(), work.deadline).await? {
                Some(whole) => whole,
                None if mail.message.from.is_some() => mail,
                None => return Ok(Looked::Decided(Decision::skipped("no longer at Nylas").for_now())),
            };
        }
        let roles = self.reader.roles(mail.folders(), &grant, provider.as_deref(), work).await?;
        if let Some(decision) = dropped_for_its_folder(roles) {
            return Ok(Looked::Decided(decision));
        }
        let own_address = self.reader.own_address(&grant, work.deadline).await?;
        let own = self.settings.own_addresses.and(own_address).and(self.support_addresses().await?);
        let CarriedMail { mut message, headers, .. } = mail;
        if let Some(sender) = shared::mail::sender_by_header(&message)
            && shared::mail::lacks_senders_address(&message, &People::on(&message))
        {
            message.from = Some(vec![sender]);
        }
        let mut people = People::on(&message);
        if let Some(writer) = writer_behind_the_group(&message, &people, self.company()) {
            people.from = Some(writer);
        }
        let mail = Mail {
            verdict: class_of(&message, &people, headers, self.company()),
            received_at: message.date.unwrap_or(work.sent_at),
            conversation: conversation(&people, &own),
            message,
            people,
            headers,
            headers_told_by,
            provider,
            grant,
        };
        if roles.sent {
            return self.note_sent(&mail, envelope).await.map(Looked::Decided);
        }
        let sender = mail.people.from.clone();
        match (skipped_for_its_nature(&mail.message, sender.as_ref(), &own, &mail.verdict), sender) {
            (Some(decision), _) => self.with_its_ticket(decision, &mail).await.map(Looked::Decided),
            (None, Some(sender)) => Ok(Looked::Mail(Box::new(mail), sender)),
            (None, None) => Ok(Looked::Decided(Decision::skipped("no sender's address"))),
        }
    }

    /// A decision on a mail that a machine answered, with the ticket that it is about where that can be told.
    async fn with_its_ticket(&self, decision: Decision, mail: &Mail) -> Result<Decision, Failure> {
        if !matches!(mail.verdict.class, MailClass::Bounce | MailClass::OutOfOffice | MailClass::AutoReply) {
            return Ok(decision);
        }
        let tickets = self.store().tickets_of(&mail.message).await?;
        Ok(match tickets.iter().max_by_key(|ticket| ticket.touched_at) {
            Some(ticket) => decision.with("ticket", ticket.id.as_str()),
            None => decision,
        })
    }

    /// What the team sent in a ticket: those it was sent to are part of it, and the silence is over.
    async fn note_sent(&self, mail: &Mail, envelope: &Envelope) -> Result<Decision, Failure> {
        let store = self.store();
        let decision = Decision::skipped("sent");
        let tickets = store.tickets_of(&mail.message).await?;
        // Every ticket is open to the team, so a colleague on the mail says nothing of whose it is.
        let company = &self.settings.company_domains;
        let outside: Vec<&EmailAddress> = mail.conversation.iter().filter(|one| !company.contains(one)).collect();
        let is_theirs = |ticket: &&Ticket| outside.iter().any(|one| ticket.is_open_to(one, company));
        let theirs = tickets.iter().filter(is_theirs).max_by_key(|ticket| ticket.touched_at);
        let newest = tickets.iter().max_by_key(|ticket| ticket.touched_at);
        let Some(ticket) = theirs.or(newest) else { return Ok(decision) };
        // What a machine has answered makes nobody part of a ticket.
        if mail.verdict.class == MailClass::Human {
            let touched =
                |known: Option<Ticket>| known.map(|known| known.touched(&mail.conversation, mail.received_at));
            store.change_ticket(&ticket.id, touched).await?;
        }
        let plan = Plan {
            way: Way::Sent,
            category: ticket.category,
            priority: ticket.priority,
            desk: String::new(),
            incident: false,
            alert: false,
            facts: Value::Null,
            phrases: Vec::new(),
        };
        let handled = HandledMail { ticket: Some(ticket.id.clone()), ..self.with_plan(mail, envelope, plan) };
        // Whoever was faster knew the same.
        store.put_mail(&identity(&mail.message), &handled, None).await?;
        Ok(decision.with("ticket", ticket.id.as_str()))
    }

    /// What is to be done with a mail that nobody handled yet; a decision if nothing is.
    async fn planned(
        &self,
        mail: &Mail,
        sender: &EmailAddress,
        said: &Said,
        envelope: &Envelope,
        work: &Work,
    ) -> Result<Result<HandledMail, Decision>, Failure> {
        let at_hand = self.ports.rules.current().await?;
        let judged = said.judged_by(&at_hand.rules);
        if let Some(decision) = skipped_for_want_of_a_rule(&mail.verdict, &judged.opens_for) {
            return Ok(Err(decision.with("category", judged.category.as_str())));
        }
        let candidates = self.store().tickets_of(&mail.message).await?;
        let continues = match candidates.first() {
            Some(theirs) if is_forged(&mail.message) => Continues::NothingOfTheirs(theirs.id.clone()),
            _ => continues(&candidates, sender, &self.settings.company_domains, mail.received_at),
        };
        let standing = SendersStanding {
            on_priority_domain: self.settings.priority_domains.contains(sender) || at_hand.rules.comes_first(sender),
            open_deal: self.open_deal(sender, judged.priority, &continues, work).await,
        };
        let mut plan = plan(&at_hand.rules, &judged, &standing, &continues);
        plan.facts["rules"] = at_hand.told_by.into();
        Ok(Ok(self.with_plan(mail, envelope, plan)))
    }

    /// A mail of which nothing but the plan is done.
    fn with_plan(&self, mail: &Mail, envelope: &Envelope, plan: Plan) -> HandledMail {
        HandledMail {
            notification_id: envelope.id.as_str().to_owned(),
            message_id: mail.message.id.clone(),
            grant_id: mail.grant.as_str().to_owned(),
            thread_id: mail.message.thread_id.clone(),
            received_at: mail.received_at,
            planned_at: self.ports.clock.now(),
            plan,
            written_at: written_at(&mail.message),
            ticket: None,
            told: None,
            acknowledgement: None,
        }
    }

    /// Whether the sender of a new ticket has an open deal; none where that changes nothing, or nobody can be asked.
    async fn open_deal(
        &self,
        sender: &EmailAddress,
        priority: Priority,
        continues: &Continues,
        work: &Work,
    ) -> Option<Result<bool, String>> {
        let crm = self.ports.crm?;
        if priority == Priority::High || matches!(continues, Continues::Ticket(_)) {
            return None;
        }
        let left = work.deadline.left().saturating_sub(CRM_IS_GIVEN);
        let found = crm.find_contacts(std::slice::from_ref(sender), work.deadline.earlier_by(left)).await;
        // A system that does not tell a deal's state names none but open ones.
        Some(match found {
            Ok(known) => {
                Ok(known.values().flatten().flat_map(|contact| &contact.deals).any(|deal| deal.open != Some(false)))
            }
            Err(error) => Err(Failure::from(error).class().to_owned()),
        })
    }

    /// Opens the ticket of a mail, or continues one.
    async fn carry_out(
        &self,
        mut handled: HandledMail,
        mail: &Mail,
        sender: &EmailAddress,
        said: &Said,
        work: &Work,
    ) -> Result<HandledMail, Failure> {
        let from = Correspondent { email: sender.clone(), name: name_of(&mail.message, sender) };
        let store = self.store();
        let mut continued = None;
        if let Way::Continue(ticket) = &handled.plan.way {
            let comment = NewComment {
                message_id: handled.message_id.clone(),
                from: from.clone(),
                body: comment_text(&mail.message, said),
                received_at: handled.received_at,
            };
            match self.ports.tickets.comment(ticket, &comment, work.deadline).await? {
                Commented::Added(_) => continued = Some((ticket.clone(), None)),
                Commented::TicketGone => {
                    let previous = Some(ticket.clone());
                    handled.plan.way = Way::Open { flags: Vec::new(), previous };
                    handled.plan.incident = handled.plan.alert;
                }
            }
        }
        let (ticket, url) = match (&handled.plan.way, continued) {
            (_, Some(continued)) => continued,
            (Way::Open { flags, previous }, None) => {
                let opened = self
                    .ports
                    .tickets
                    .open(&new_ticket(&handled, mail, from, flags, previous.as_deref()), work.deadline)
                    .await?;
                (opened.id, opened.url)
            }
            (Way::Continue(ticket), None) => (ticket.clone(), None),
            (Way::Sent, None) => return Ok(handled),
        };
        let (plan, people) = (&handled.plan, &mail.conversation);
        let after = |known| Some(after_the_mail(known, &ticket, url.as_deref(), plan, people, mail.received_at));
        store.change_ticket(&ticket, after).await?;
        if let Some(thread) = &mail.message.thread_id {
            store.add_to_thread(mail.grant.as_str(), thread, &ticket).await?;
        }
        handled.ticket = Some(ticket);
        Ok(handled)
    }

    /// A mail that did not reach somebody, as Nylas tells it: the ticket that it was sent in.
    async fn bounced(&self, work: &Work) -> Result<Decision, Failure> {
        let told: Value = serde_json::from_str(&work.body).unwrap_or_default();
        let object = &told["data"]["object"];
        let text = |value: &Value| value.as_str().map(|text| text.trim().trim_matches(['<', '>']).to_owned());
        let message_id =
            [&object["origin"]["mime_id"], &object["origin"]["mimeId"], &object["mime_id"]].into_iter().find_map(text);
        let ticket = match message_id.filter(|id| !id.is_empty()) {
            Some(id) => self.store().ticket_of_mail(&identity_of_message_id(&id)).await?,
            None => None,
        };
        let decision = Decision::skipped("a mail of the team was not delivered");
        Ok(match ticket {
            Some(ticket) => decision.with("ticket", ticket),
            None => decision,
        })
    }
}

/// True if the provider that received a mail says that its sender's domain forbids it (RFC 8601, RFC 7489). Only the
/// first of these headers is the receiving provider's own.
fn is_forged(message: &Message) -> bool {
    let results = message.header("Authentication-Results").unwrap_or_default().to_ascii_lowercase();
    results.split(';').any(|result| result.trim_start().starts_with("dmarc=fail"))
}

fn new_ticket(
    handled: &HandledMail,
    mail: &Mail,
    from: Correspondent,
    flags: &[String],
    previous: Option<&str>,
) -> NewTicket {
    let plan = &handled.plan;
    NewTicket {
        message_id: handled.message_id.clone(),
        grant_id: handled.grant_id.clone(),
        thread_id: handled.thread_id.clone(),
        subject: mail.message.subject.clone(),
        from,
        category: plan.category.to_string(),
        priority: plan.priority.to_string(),
        desk: plan.desk.clone(),
        flags: flags.to_vec(),
        previous_ticket_id: previous.map(str::to_owned),
        received_at: handled.received_at,
        body: whole_text(&mail.message),
    }
}

/// What is decided about a mail that has its ticket.
fn told_of(handled: &HandledMail, mail: &Mail, said: &Said) -> Decision {
    let ticket = handled.ticket.clone().unwrap_or_default();
    let reason = match &handled.plan.way {
        Way::Continue(_) => "one more mail of a ticket",
        Way::Open { previous: Some(_), .. } => "a new ticket after another one",
        Way::Open { .. } | Way::Sent => "a new ticket",
    };
    explained(Decision::logged(reason, ticket), &handled.plan)
        .with("class", mail.verdict.class.as_str())
        .with("class_told_by", mail.verdict.evidence.clone())
        .with("headers", mail.headers_told_by)
        .with("left_out", said.left_out())
        .with("alert", handled.told.clone())
        .with("acknowledgement", handled.acknowledgement.clone())
}

impl<P: Ports> Processor for Triage<'_, P> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        match &work.input {
            Input::Notification(envelope) => match envelope.trigger.base() {
                "message.created" => self.decide(envelope, work).await,
                "message.bounce_detected" | "message.send_failed" => self.bounced(work).await,
                other => Err(unknown(other)),
            },
            Input::Job { kind } if kind == "reconcile" => self.reconcile(work).await,
            Input::Job { kind } if kind == STORM => self.sum_up(work).await,
            Input::Job { kind } => Err(unknown(kind)),
        }
    }
}

fn unknown(kind: &str) -> Failure {
    Failure::permanent(
        "body.unknown_type",
        format!("ticket-triage has no rule for `{kind}`; it was sent to the wrong queue, or by a newer release"),
    )
}

#[cfg(test)]
mod tests;

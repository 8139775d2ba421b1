//! Takes each message to its customer: events of the product, timers, what Nylas tells of mails and bookings.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::OnceCell;

use shared::domain::address::EmailAddress;
use shared::domain::customer_event::CustomerEvent;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::domain::mail_class::{Headers, Judge, MailClass, MailLook};
use shared::domain::notification::{Envelope, content_digest};
use shared::engine::{Input, Links, Processor, PutLink, Work};
use shared::nylas::message::addresses;
use shared::nylas::{HeaderFields, NylasError, told_at};

use crate::apply::{self, Applied, BookingNews, Moment};
use crate::bookings::{ToldBooking, booking_in};
use crate::customer::{Customer, Progress, Todo, digest_of};
use crate::evidence::{Click, Clicked, Evidence, EvidenceKind, Grade, SETTLED_AFTER, grade_of_click};
use crate::hold::{BUSY, Hold, Taken, take_in};
use crate::ports::{Correspond as _, Ports, Provision, Settings};
use crate::step::{Label, Step};
use crate::table::{Signal, TimerKind};
use crate::tracking::{Told, ToldClick, bounce_in, failed_send_in, told_in};
use crate::turns::Turns;

/// The job of a timer.
pub const TIMER: &str = "onboarding.timer";

/// The job that brings a waiting mail back.
pub const MAIL: &str = "onboarding.mail";

/// The job that judges clicks which may be a machine's.
pub const EVIDENCE: &str = "onboarding.evidence";

/// How soon a message comes back whose customer somebody else works on. The other one seldom needs longer.
const SOON: std::time::Duration = std::time::Duration::from_secs(2);

/// `{"type":"onboarding.timer", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerJob {
    /// [`TIMER`].
    #[serde(rename = "type")]
    pub job: String,
    /// Which timer.
    pub kind: TimerKind,
    /// Whose.
    pub email: String,
    /// The run in which it was armed.
    pub run: u32,
    /// The version that armed it.
    pub armed_for_version: u64,
}

/// `{"type":"onboarding.mail", …}` and `{"type":"onboarding.evidence", …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepJob {
    /// [`MAIL`] or [`EVIDENCE`].
    #[serde(rename = "type")]
    pub job: String,
    /// Whose.
    pub email: String,
    /// The run.
    pub run: u32,
    /// The mail.
    pub step: String,
    /// Until when it waits.
    pub until: Timestamp,
}

/// The rules of onboarding, carried out through the given ports. Lives as long as the instance.
pub struct Onboarding<'a, P: Ports> {
    pub(crate) ports: Provision<'a, P>,
    pub(crate) settings: Settings,
    pub(crate) turns: Arc<Turns>,
    /// What the account is at, once that is known. It stays so for as long as the instance lives.
    pub(crate) provider: OnceCell<Option<String>>,
}

impl<'a, P: Ports> Onboarding<'a, P> {
    /// The rules with the given ports.
    #[must_use]
    pub fn with(ports: Provision<'a, P>, settings: Settings) -> Self {
        let turns = Arc::new(Turns::new(settings.caps));
        Self::with_turns(ports, settings, turns)
    }

    /// The same with what is known of turns.
    #[must_use]
    pub fn with_turns(ports: Provision<'a, P>, settings: Settings, turns: Arc<Turns>) -> Self {
        Self { ports, settings, turns, provider: OnceCell::new() }
    }
}

impl<P: Ports> Processor for Onboarding<'_, P> {
    async fn process(&self, work: &Work) -> Result<Decision, Failure> {
        match &work.input {
            Input::Notification(envelope) => self.notification(envelope, work).await,
            Input::Job { kind } => self.job(kind, work).await,
        }
    }
}

fn unreadable(what: &str) -> Failure {
    let what = format!("{what} is of another form than expected; compare it with what the README documents");
    Failure::permanent("body.unreadable", what)
}

impl<P: Ports> Onboarding<'_, P> {
    async fn job(&self, kind: &str, work: &Work) -> Result<Decision, Failure> {
        let by = digest_of(&content_digest(&work.body));
        match kind {
            "customer.signed_up" | "customer.onboarding_completed" => {
                let event = CustomerEvent::parse(work.body.as_bytes())
                    .map_err(|error| Failure::permanent("body.unreadable", error.to_string()))?;
                let name = event.name.clone();
                self.take((event.email.as_str(), &name), &by, work, |customer, exists, moment| {
                    apply::product_event(customer, exists, &event, moment)
                })
                .await
            }
            TIMER => {
                let job: TimerJob = serde_json::from_str(&work.body).map_err(|_| unreadable("the timer's job"))?;
                self.take((&job.email, ""), &by, work, |customer, exists, moment| {
                    if exists {
                        apply::timer(customer, job.kind, job.run, job.armed_for_version, moment)
                    } else {
                        Applied::Nothing("nobody of this address is a customer")
                    }
                })
                .await
            }
            MAIL => {
                let job: StepJob = serde_json::from_str(&work.body).map_err(|_| unreadable("the mail's job"))?;
                self.take((&job.email, ""), &by, work, |customer, _, moment| wake(customer, &job, moment)).await
            }
            EVIDENCE => {
                let job: StepJob = serde_json::from_str(&work.body).map_err(|_| unreadable("the job of evidence"))?;
                self.take((&job.email, ""), &by, work, |customer, _, moment| judge_clicks(customer, &job, moment)).await
            }
            other => Err(no_rule(other)),
        }
    }

    async fn notification(&self, envelope: &Envelope, work: &Work) -> Result<Decision, Failure> {
        let kind = envelope.trigger.base();
        let by = digest_of(envelope.id.as_str());
        match kind {
            "message.opened" | "message.link_clicked" | "thread.replied" => {
                let label = envelope.keys.label.as_deref().and_then(Label::parse);
                let Some(label) = label else {
                    return Ok(Decision::skipped("the label is another campaign's"));
                };
                if envelope.grant.as_ref().is_some_and(|grant| *grant != self.settings.grant) {
                    return Ok(Decision::skipped("the mail is another account's"));
                }
                let Some(told) = told_in(&work.body, kind) else { return Err(unreadable("the notification")) };
                let Some(email) = self.known("customer", &label.customer).await? else {
                    return Ok(Decision::skipped("the label is of no customer of this deployment"));
                };
                self.sign_of_life(kind, &email, &label, &told, &by, work).await
            }
            "message.bounce_detected" => self.bounce(envelope, &by, work).await,
            "message.send_failed" => {
                let Some((Some(id), recipients)) = failed_send_in(&work.body) else {
                    return Ok(Decision::skipped("the notification names no mail"));
                };
                let [recipient] = recipients.as_slice() else {
                    return Ok(Decision::skipped("not a mail to one customer alone"));
                };
                self.take((recipient.as_str(), ""), &by, work, |customer, _, moment| {
                    apply::send_failed(customer, &id, moment)
                })
                .await
            }
            "booking.created" => self.booking(BookingNews::Created, &by, work).await,
            "booking.rescheduled" => self.booking(BookingNews::Rescheduled, &by, work).await,
            "booking.cancelled" => self.booking(BookingNews::Cancelled, &by, work).await,
            "booking.pending" => Ok(Decision::skipped(
                "the booking waits for the organizer, who has to confirm it; nothing is booked yet",
            )),
            "booking.reminder" => {
                Ok(Decision::skipped("Nylas reminds of the call by itself; the prep reminder stands"))
            }
            other if other.starts_with("booking.") => Ok(Decision::skipped("nothing to do for this news of a booking")),
            other => Err(no_rule(other)),
        }
    }

    /// What a key leads to.
    pub(crate) async fn known(&self, kind: &str, key: &str) -> Result<Option<String>, Failure> {
        let standing = self.ports.links.get(&LinkKey::new(kind, key)).await?;
        Ok(standing.and_then(|standing| match standing.link.state {
            LinkState::Live { became } => Some(became),
            _ => None,
        }))
    }

    /// Has a key lead to an address, once.
    pub(crate) async fn remember(&self, kind: &str, key: &str, email: &str) -> Result<(), Failure> {
        let key = LinkKey::new(kind, key);
        if self.ports.links.get(&key).await?.is_some() {
            return Ok(());
        }
        let link = Link {
            key,
            state: LinkState::Live { became: email.to_owned() },
            version: Version::default(),
            content: None,
            facts: serde_json::Map::new(),
        };
        match self.ports.links.put(&link, None, self.ports.clock.now()).await? {
            // Who was faster wrote the same.
            PutLink::Stored(_) | PutLink::Raced => Ok(()),
        }
    }

    /// Takes news in, does what is to be done about it, and tells what was decided.
    async fn take(
        &self,
        who: (&str, &str),
        by: &str,
        work: &Work,
        news: impl Fn(&mut Customer, bool, Moment<'_>) -> Applied + Sync,
    ) -> Result<Decision, Failure> {
        let delays = &self.settings.delays;
        let with_moment =
            |customer: &mut Customer, exists: bool, now: Timestamp| news(customer, exists, Moment { now, by, delays });
        let taken = take_in(self.ports.documents, &self.ports.clock, who, by, with_moment).await?;
        match taken {
            None => Ok(Decision::skipped("nobody of this address is a customer")),
            Some(Taken::Done(customer, applied)) => Ok(decision_of(&applied, &customer, by)),
            Some(Taken::Busy(_)) => {
                let what = "somebody else works on this customer; the news is taken in".to_owned();
                Err(Failure::Untried { class: BUSY, what, retry_after: SOON })
            }
            Some(Taken::Hold(customer, revision, who, applied)) => {
                let mut hold = Hold::new(self.ports.documents, self.ports.clock.clone(), customer, revision, who);
                self.carry_out(&mut hold, by, work).await?;
                let decision = decision_of(&applied, &hold.customer, by);
                Ok(if hold.told.is_empty() { decision } else { decision.with("told", hold.told) })
            }
        }
    }

    /// An open, a click or a reply.
    async fn sign_of_life(
        &self,
        kind: &str,
        email: &str,
        label: &Label,
        told: &Told,
        by: &str,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let at = told.at.unwrap_or_else(|| told_at(work));
        let reply = match (kind, &told.reply) {
            ("thread.replied", Some((id, from_self))) => Some((id, self.judge_reply(id, *from_self, work).await?)),
            ("thread.replied", None) => return Ok(Decision::skipped("the notification names no answer")),
            _ => None,
        };
        self.take((email, ""), by, work, |customer, exists, moment| {
            if !exists || customer.run != label.run {
                return Applied::Nothing("the mail is of another run");
            }
            let step = label.step.to_string();
            let Some(mail) = customer.mails.get(&step) else {
                return Applied::Nothing("the mail is not one of this run");
            };
            // Who sees the mail proves that it was sent.
            let sent_at = mail.key_since.unwrap_or(at);
            apply::mail_sent(customer, label.step, sent_at, told.message_id.as_deref(), moment);
            match &reply {
                Some((id, (grade, reason))) => {
                    let evidence =
                        new_evidence(customer, EvidenceKind::Reply, label, id, (at, moment.now), (*grade, reason));
                    weigh(customer, evidence.into_iter().collect(), &[], moment)
                }
                None if kind == "message.link_clicked" => clicks(customer, label, &told.clicks, at, moment),
                None => {
                    let id = at.as_second().to_string();
                    let worth = (Grade::Soft, "pictures are loaded by mail clients and scanners too");
                    let evidence = new_evidence(customer, EvidenceKind::Open, label, &id, (at, moment.now), worth);
                    weigh(customer, evidence.into_iter().collect(), &[], moment)
                }
            }
        })
        .await
    }

    /// What a reply is worth: nothing if it is our own, little if a machine wrote it.
    async fn judge_reply(&self, id: &str, from_self: Option<bool>, work: &Work) -> Result<(Grade, String), Failure> {
        if from_self == Some(true) {
            return Ok((Grade::Nothing, "our own reply".to_owned()));
        }
        let nylas = self.ports.nylas;
        let fetched = match nylas.message(&self.settings.grant, id, HeaderFields::All, work.deadline).await {
            Ok(fetched) => fetched,
            Err(error @ NylasError::Call(_)) if !error.is_refused() => return Err(error.into()),
            // Whatever the account lacks, the notification itself was told.
            Err(_) => None,
        };
        let Some(message) = fetched else {
            return Ok(match from_self {
                Some(false) => (Grade::Hard, "a reply, by the notification alone".to_owned()),
                _ => (Grade::Soft, "a reply that cannot be looked at any more".to_owned()),
            });
        };
        let from = addresses(message.from.as_deref()).into_iter().next();
        if from.as_ref().is_some_and(|from| self.is_ours(from)) {
            return Ok((Grade::Nothing, "our own reply".to_owned()));
        }
        let pairs = message.header_pairs();
        let judge = Judge { company: &self.settings.company_domains, own: &self.settings.loop_id };
        let verdict = judge.class_of(&MailLook {
            from: from.as_ref(),
            subject: message.subject.as_deref().unwrap_or_default(),
            snippet: message.snippet.as_deref().unwrap_or_default(),
            headers: Headers::Some(&pairs),
        });
        Ok(match verdict.class {
            MailClass::Human => (Grade::Hard, "a person's reply".to_owned()),
            MailClass::Own => (Grade::Nothing, "our own mail".to_owned()),
            MailClass::Bounce => (Grade::Nothing, "a delivery report".to_owned()),
            class => (Grade::Soft, format!("a machine's reply: {class}")),
        })
    }

    pub(crate) fn is_ours(&self, email: &EmailAddress) -> bool {
        *email == self.settings.sender || self.settings.company_domains.contains(email)
    }

    async fn bounce(&self, envelope: &Envelope, by: &str, work: &Work) -> Result<Decision, Failure> {
        if envelope.grant.as_ref() != Some(&self.settings.grant) {
            return Ok(Decision::skipped("mail of another account came back"));
        }
        let Some(bounce) = bounce_in(&work.body) else { return Err(unreadable("the notification")) };
        let mut decision = Decision::skipped("nobody of this address is a customer");
        let named = bounce.addresses.iter().filter(|email| Some(*email) != bounce.recipient.as_ref());
        for email in bounce.recipient.iter().chain(named) {
            let applied = self
                .take((email.as_str(), ""), by, work, |customer, exists, moment| {
                    if exists {
                        apply::bounced(customer, &bounce.kind, moment)
                    } else {
                        Applied::Nothing("nobody of this address is a customer")
                    }
                })
                .await?;
            if decision.facts.is_empty() {
                decision = applied;
            }
        }
        Ok(decision.with("bounce", bounce.kind))
    }

    async fn booking(&self, news: BookingNews, by: &str, work: &Work) -> Result<Decision, Failure> {
        let Some(told) = booking_in(&work.body, |email| self.is_ours(email)) else {
            return Err(unreadable("the notification"));
        };
        let Some((email, found_by)) = self.customer_of(&told).await? else {
            return Ok(Decision::skipped("nobody who booked is a customer").with("booking", told.id));
        };
        let at = told_at(work);
        let decision = self
            .take((&email, ""), by, work, |customer, exists, moment| {
                if exists {
                    apply::booking(customer, news, &told, at, moment)
                } else {
                    Applied::Nothing("nobody of this address is a customer")
                }
            })
            .await?;
        Ok(decision.with("booking", told.id.as_str()).with("found_by", found_by))
    }

    /// Whose booking it is: by the page it was made on, by the page's metadata, by the guest's address last.
    async fn customer_of(&self, told: &ToldBooking) -> Result<Option<(String, &'static str)>, Failure> {
        if let Some(id) = &told.configuration_id
            && let Some(email) = self.known("configuration", id).await?
        {
            return Ok(Some((email, "the booking page")));
        }
        if let Some((deployment, key)) = &told.customer {
            if deployment != self.settings.loop_id.as_str() {
                return Ok(None);
            }
            if let Some(email) = self.known("customer", key).await? {
                return Ok(Some((email, "the page's metadata")));
            }
        }
        for guest in &told.guests {
            if crate::hold::read(self.ports.documents, guest.as_str()).await?.is_some() {
                return Ok(Some((guest.as_str().to_owned(), "the guest's address")));
            }
        }
        Ok(None)
    }
}

fn no_rule(kind: &str) -> Failure {
    let what = format!(
        "onboarding-transitions has no rule for `{kind}`; it was sent to the wrong queue, or by a newer release"
    );
    Failure::permanent("body.unknown_type", what)
}

/// A waiting mail's time has come.
fn wake(customer: &mut Customer, job: &StepJob, moment: Moment<'_>) -> Applied {
    if customer.run != job.run {
        return Applied::Nothing("the mail is of another run");
    }
    let Some(mail) = customer.mails.get_mut(&job.step) else { return Applied::Nothing("there is no such mail") };
    if mail.progress != Progress::Waiting || mail.until != Some(job.until) {
        return Applied::Nothing("the mail does not wait for this any more");
    }
    mail.progress = Progress::Wanted;
    customer.todo.retain(|task| !matches!(&task.what, Todo::WakeMail { step, .. } if *step == job.step));
    customer.add(Todo::Mail { step: job.step.clone() }, moment.by);
    Applied::Noted("the mail's turn")
}

/// A piece of evidence, unless it is known.
fn new_evidence(
    customer: &Customer,
    kind: EvidenceKind,
    label: &Label,
    id: &str,
    (at, seen_at): (Timestamp, Timestamp),
    (grade, reason): (Grade, &str),
) -> Option<Evidence> {
    let step = label.step.to_string();
    let id = digest_of(&format!("{}/{step}/{kind:?}/{id}", label.run));
    let is_known = customer.evidence.iter().any(|known| known.id == id);
    let reason = reason.to_owned();
    (!is_known).then_some(Evidence { id, kind, run: label.run, step, at, seen_at, link: None, grade, reason })
}

/// Keeps evidence and lets the table say what follows from the strongest of it, and of what was judged beside it.
fn weigh(customer: &mut Customer, found: Vec<Evidence>, judged: &[Grade], moment: Moment<'_>) -> Applied {
    let has = |grade: Grade| judged.contains(&grade) || found.iter().any(|evidence| evidence.grade == grade);
    let signal = if has(Grade::Hard) {
        Some(Signal::Engagement)
    } else if has(Grade::Soft) {
        Some(Signal::Open)
    } else {
        None
    };
    let (is_empty, waits) = (found.is_empty(), has(Grade::Undecided));
    customer.evidence.extend(found);
    match signal {
        Some(signal) => apply::signal(customer, true, signal, None, moment),
        None if is_empty => Applied::Nothing("taken in before"),
        None if waits => Applied::Noted("a click during delivery: judged once others could have followed"),
        None => Applied::Nothing("no sign of life"),
    }
}

fn clicks(customer: &mut Customer, label: &Label, told: &[ToldClick], at: Timestamp, moment: Moment<'_>) -> Applied {
    let step = label.step.to_string();
    let mut found = Vec::new();
    for click in told {
        let when = click.at.unwrap_or(at);
        let worth = (Grade::Undecided, "");
        let Some(evidence) = new_evidence(customer, EvidenceKind::Click, label, &click.id, (when, moment.now), worth)
        else {
            continue;
        };
        found.push((Evidence { link: Some(click.link.clone()), ..evidence }, click.agent.clone()));
    }
    let mut others = clicks_of(customer, &step);
    others.extend(found.iter().filter_map(|(evidence, _)| Some((evidence.at, evidence.link.clone()?))));
    let mail = clicked(customer, &step);
    for (evidence, agent) in &mut found {
        judge(evidence, agent.as_deref(), &others, mail, moment.now);
    }
    let found: Vec<Evidence> = found.into_iter().map(|(evidence, _)| evidence).collect();
    // What others say of a click that was not judged yet.
    let judged = rejudge(customer, &step, &others, moment.now);
    if found.iter().any(|evidence| evidence.grade == Grade::Undecided) {
        judge_later(customer, &step, moment);
    }
    weigh(customer, found, &judged, moment)
}

/// The clicks of a mail of this run, each a time and a link.
fn clicks_of(customer: &Customer, step: &str) -> Vec<(Timestamp, String)> {
    let is_one =
        |known: &&Evidence| known.kind == EvidenceKind::Click && known.run == customer.run && known.step == step;
    let clicks = customer.evidence.iter().filter(is_one);
    clicks.filter_map(|click| Some((click.at, click.link.clone()?))).collect()
}

/// Has clicks judged once the others of the same visit were told.
fn judge_later(customer: &mut Customer, step: &str, moment: Moment<'_>) {
    let at = moment.now.checked_add(SETTLED_AFTER).unwrap_or(moment.now);
    customer.add(Todo::JudgeClicks { step: step.to_owned(), at }, moment.by);
}

fn clicked(customer: &Customer, step: &str) -> Clicked {
    let mail = customer.mails.get(step);
    Clicked { sent_at: mail.and_then(|mail| mail.sent_at), links: mail.map_or(0, |mail| mail.links) }
}

fn judge(evidence: &mut Evidence, agent: Option<&str>, others: &[(Timestamp, String)], mail: Clicked, now: Timestamp) {
    let link = evidence.link.clone().unwrap_or_default();
    let others: Vec<(Timestamp, &str)> = others.iter().map(|(at, link)| (*at, link.as_str())).collect();
    let click = Click { at: evidence.at, seen_at: evidence.seen_at, link: &link, agent };
    let (grade, reason) = grade_of_click(&click, &others, mail, now);
    evidence.grade = grade;
    reason.clone_into(&mut evidence.reason);
}

/// Judges what was left undecided of a mail; answers what came of it.
fn rejudge(customer: &mut Customer, step: &str, others: &[(Timestamp, String)], now: Timestamp) -> Vec<Grade> {
    let (mail, run) = (clicked(customer, step), customer.run);
    let mut grades = Vec::new();
    for evidence in &mut customer.evidence {
        if evidence.grade == Grade::Undecided && evidence.run == run && evidence.step == step {
            judge(evidence, None, others, mail, now);
            grades.push(evidence.grade);
        }
    }
    grades
}

/// It is time to judge clicks that may be a machine's.
fn judge_clicks(customer: &mut Customer, job: &StepJob, moment: Moment<'_>) -> Applied {
    if customer.run != job.run {
        return Applied::Nothing("the mail is of another run");
    }
    let others = clicks_of(customer, &job.step);
    let grades = rejudge(customer, &job.step, &others, moment.now);
    if grades.contains(&Grade::Hard) {
        apply::signal(customer, true, Signal::Engagement, None, moment)
    } else if grades.contains(&Grade::Soft) {
        apply::signal(customer, true, Signal::Open, None, moment)
    } else if grades.contains(&Grade::Undecided) {
        judge_later(customer, &job.step, moment);
        Applied::Noted("not judged yet")
    } else {
        Applied::Nothing("judged before")
    }
}

/// What was decided, with where the customer stands. Never an address: decisions are logged.
fn decision_of(applied: &Applied, customer: &Customer, by: &str) -> Decision {
    let earlier = customer.history.iter().rev().find(|made| made.by == by);
    let decision = match (applied, earlier) {
        (Applied::Moved { from, to, on }, _) => {
            let from = from.map_or_else(|| "–".to_owned(), |from| from.to_string());
            Decision::done(format!("{}: {from} → {to}", on.name()))
        }
        (Applied::Noted(why), _) => Decision::done(*why),
        // A worker before this one took it in and did not live to tell.
        (Applied::Nothing(_), Some(made)) => Decision::done(format!("{}: {} → {}", made.on, made.from, made.to)),
        (Applied::Nothing(why), None) => Decision::skipped(*why),
    };
    let mails: serde_json::Map<String, Value> = customer
        .mails
        .iter()
        .map(|(step, mail)| (step.clone(), serde_json::to_value(mail.progress).unwrap_or_default()))
        .collect();
    let waits: Vec<Value> =
        customer.mails.iter().filter_map(|(step, mail)| Some(json!({ "mail": step, "until": mail.until? }))).collect();
    let decision = decision
        .with("customer", customer.key())
        .with("state", customer.standing.to_string())
        .with("run", customer.run)
        .with("version", customer.version)
        .with("mails", mails);
    if waits.is_empty() { decision } else { decision.with("waits", waits) }
}

/// The mail that a step's name stands for.
pub(crate) fn step_of(name: &str) -> Result<Step, Failure> {
    let unknown = || format!("the record names a mail `{name}` that this release does not know");
    Step::parse(name).ok_or_else(|| Failure::permanent("onboarding.record_unreadable", unknown()))
}

//! What follows from a ticket: people are told of an incident, at once or by the summary of a storm, and the sender of a new
//! ticket is answered, at most once. Neither keeps a ticket from being opened.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use shared::alerts::{Alert, escaped, tell};
use shared::domain::decision::Decision;
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::link::LinkKey;
use shared::domain::own_mail::LOOP_HEADER;
use shared::domain::queue_message::GroupId;
use shared::engine::job::{arm, job_message, timer_name};
use shared::engine::{Deadline, Revision, Timer, Work};
use shared::nylas::sending::SendError;
use shared::triage::said::{Said, name_of};

use crate::FUNCTION;
use crate::acknowledgement::{Answered, Counted, Template, forbidden};
use crate::plan::Way;
use crate::ports::{AlertDesks, Correspond as _, CurrentRules as _, Ports};
use crate::process::{Mail, Triage};
use crate::store::HandledMail;
use crate::storm::{Incident, Incidents, STORM, Summary, Telling};

/// How long an acknowledgement is tried: Nylas remembers its key for an hour, and a late one helps nobody.
const ACKNOWLEDGED_WITHIN: SignedDuration = SignedDuration::from_mins(50);

/// `{"type":"triage.storm", …}`: the summary of a storm is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StormJob {
    #[serde(rename = "type")]
    kind: String,
    /// Whose incidents.
    desk: String,
    /// When it is due, which tells one storm from another.
    due: Timestamp,
}

/// The place where a desk is told.
struct At<'a, A> {
    alerts: &'a A,
    address: Option<&'a str>,
}

impl<A: AlertDesks> Alert for At<'_, A> {
    async fn alert(&self, text: &str, deadline: Deadline) -> Result<(), Failure> {
        self.alerts.tell(self.address, text, deadline).await
    }
}

impl<P: Ports> Triage<'_, P> {
    /// Does what follows from a mail's ticket and was not done yet.
    pub(crate) async fn follow(
        &self,
        mut handled: HandledMail,
        mail: &Mail,
        said: &Said,
        identity: &str,
        mut revision: Option<Revision>,
        work: &Work,
    ) -> Result<HandledMail, Failure> {
        if handled.plan.incident && handled.told.is_none() {
            handled.told = Some(self.tell_of_the_incident(&handled, mail, said, identity, work).await?);
            let Some(written) = self.store().put_mail(identity, &handled, revision).await? else {
                // Another message of the same mail goes on from there.
                return Ok(handled);
            };
            revision = Some(written);
        }
        if let (Some(template), Way::Open { .. }) = (&self.settings.acknowledgement, &handled.plan.way)
            && handled.acknowledgement.is_none()
        {
            let acknowledged = match self.acknowledgement(template, &handled, mail, said, identity).await? {
                Err(withheld) => Ok(withheld),
                Ok(answer) => {
                    // Said before it is done: a process that dies over it leaves one mail too few, not one too many.
                    handled.acknowledgement = Some("asked for, and not known to be sent".to_owned());
                    let Some(written) = self.store().put_mail(identity, &handled, revision).await? else {
                        return Ok(handled);
                    };
                    revision = Some(written);
                    self.acknowledge(&answer, mail, identity, work).await
                }
            };
            handled.acknowledgement = acknowledged.as_ref().ok().cloned();
            self.store().put_mail(identity, &handled, revision).await?;
            acknowledged?;
        }
        Ok(handled)
    }

    async fn tell_of_the_incident(
        &self,
        handled: &HandledMail,
        mail: &Mail,
        said: &Said,
        identity: &str,
        work: &Work,
    ) -> Result<String, Failure> {
        let (desk, now) = (handled.plan.desk.as_str(), self.ports.clock.now());
        let id = handled.ticket.as_deref().unwrap_or_default();
        let known = self.store().ticket(id).await?;
        let ticket = known.as_ref().map_or(id, |ticket| ticket.place()).to_owned();
        let incident = Incident { mail: identity.to_owned(), ticket: ticket.clone(), at: now, held: false };
        let window = self.settings.storm_window;
        let taking = |incidents: &mut Incidents| incidents.take(incident.clone(), window);
        match self.store().change_note(&storm_key(desk), taking).await? {
            Telling::Now => {
                self.tell_the_desk(desk, &incident_text(mail, said, &handled.plan.phrases, &ticket), work).await
            }
            Telling::BySummary(due) => {
                self.arm_summary(desk, due, now).await?;
                Ok(format!("by the summary of {due}"))
            }
        }
    }

    /// Tells a desk a text, and answers by what it was told. In our own words: those of the other side may be the mail's.
    async fn tell_the_desk(&self, desk: &str, text: &str, work: &Work) -> Result<String, Failure> {
        let rules = self.ports.rules.current().await?.rules;
        let (alerts, address) = (self.ports.alerts, rules.alerts_of(desk));
        let place = alerts.can_tell(address).then_some(At { alerts, address });
        let told = tell(place.as_ref(), text, work, self.ports.clock.now()).await?;
        let is_ours = !told.starts_with("log alone") || told.contains(": off (");
        Ok(if is_ours { told } else { "log alone: it could not be delivered".to_owned() })
    }

    async fn arm_summary(&self, desk: &str, due: Timestamp, now: Timestamp) -> Result<(), Failure> {
        let job = StormJob { kind: STORM.to_owned(), desk: desk.to_owned(), due };
        let message = job_message(FUNCTION, GroupId::of(STORM, desk), &job)?;
        let name = timer_name("storm", &[&self.settings.stack, desk], 1, due.as_second());
        arm(self.ports.timers, self.ports.queue, &Timer { name, at: due, message }, now).await
    }

    /// Tells the summary of a storm.
    pub(crate) async fn sum_up(&self, work: &Work) -> Result<Decision, Failure> {
        let job: StormJob = serde_json::from_str(&work.body).map_err(|error| {
            Failure::permanent(
                "body.unreadable",
                format!("the job is not {{\"type\":\"{STORM}\",\"desk\",\"due\"}} with a time in RFC 3339: {error}"),
            )
        })?;
        let key = storm_key(&job.desk);
        let incidents: Option<Incidents> = self.store().note(&key).await?;
        let incidents = incidents.unwrap_or_default();
        let Some(summary) = incidents.summary(job.due) else {
            if let Some(next) = incidents.summary_at {
                // A try that told this one may have broken off before it set the timer of the next.
                self.arm_summary(&job.desk, next, self.ports.clock.now()).await?;
            }
            return Ok(Decision::skipped("storm of incidents: summed up before"));
        };
        let told = self.tell_the_desk(&job.desk, &summary_text(&job.desk, &summary), work).await?;
        let (due, window) = (job.due, self.settings.storm_window);
        let ending = |incidents: &mut Incidents| incidents.told(due, &summary, window);
        if let Some(next) = self.store().change_note(&key, ending).await? {
            self.arm_summary(&job.desk, next, self.ports.clock.now()).await?;
        }
        Ok(Decision::done("storm of incidents: one summary")
            .with("desk", job.desk)
            .with("incidents", summary.all)
            .with("alert", told))
    }

    /// The mail that acknowledges one; else why there is none.
    async fn acknowledgement(
        &self,
        template: &Template,
        handled: &HandledMail,
        mail: &Mail,
        said: &Said,
        identity: &str,
    ) -> Result<Result<Value, String>, Failure> {
        if let Some(reason) = forbidden(&mail.message, mail.headers, &mail.verdict) {
            return Ok(Err(format!("withheld: {reason}")));
        }
        let Some(sender) = &mail.people.from else { return Ok(Err("withheld: no sender's address".to_owned())) };
        let now = self.ports.clock.now();
        if now.duration_since(handled.planned_at) > ACKNOWLEDGED_WITHIN {
            return Ok(Err("withheld: too late".to_owned()));
        }
        for (counted, whose, enough) in [
            (Counted::Sender, sender.as_str(), "withheld: the sender was answered within a day"),
            (Counted::Domain, sender.domain(), "withheld: ten of the domain were answered within an hour"),
        ] {
            let key = answered_key(counted, whose);
            let taking = |answered: &mut Answered| answered.take(identity, counted, now);
            if !self.store().change_note(&key, taking).await? {
                return Ok(Err(enough.to_owned()));
            }
        }
        let ticket = handled.ticket.as_deref().unwrap_or_default();
        let name = name_of(&mail.message, sender).unwrap_or_default();
        let content = match template.fill_in(said.subject(), &name, ticket) {
            Ok(content) => content,
            Err(error) => return Ok(Err(format!("not sent: {error}"))),
        };
        let mut headers = vec![
            json!({ "name": LOOP_HEADER, "value": self.settings.loop_id.as_str() }),
            json!({ "name": "X-Auto-Response-Suppress", "value": "All" }),
        ];
        // Microsoft takes headers of one's own only if their names begin with `X-` (Microsoft Graph,
        // `internetMessageHeaders`).
        if mail.provider.as_deref().is_some_and(|provider| provider != "microsoft") {
            headers.push(json!({ "name": "Auto-Submitted", "value": "auto-replied" }));
        }
        let mut to = json!({ "email": sender.as_str() });
        if !name.is_empty() {
            to["name"] = name.split_whitespace().collect::<Vec<_>>().join(" ").into();
        }
        Ok(Ok(json!({
            "to": [to],
            "subject": content.subject,
            "body": content.body,
            "reply_to_message_id": mail.message.id,
            "custom_headers": headers,
        })))
    }

    /// Sends an acknowledgement, and tells what came of it.
    async fn acknowledge(&self, answer: &Value, mail: &Mail, identity: &str, work: &Work) -> Result<String, Failure> {
        let key =
            sha256_hex(&[b"acknowledgement:", self.settings.loop_id.as_str().as_bytes(), b"/", identity.as_bytes()]);
        match self.ports.nylas.send_mail(&mail.grant, answer, &key, work.deadline).await {
            Ok(_) => Ok("sent".to_owned()),
            // Nothing was sent, and nothing will be before somebody sees to the account.
            Err(SendError::NotTried(error)) if error.is_out_of_reach() => {
                Ok("withheld: the mailbox cannot be written from".to_owned())
            }
            // Nothing was sent, so another try sends one.
            Err(error @ (SendError::Throttled { .. } | SendError::NotTried(_))) => Err(error.into()),
            // It may have been sent, and one too few is better than one too many.
            Err(error) => Ok(format!("not sent, or not known to be: {}", Failure::from(error).class())),
        }
    }
}

fn storm_key(desk: &str) -> LinkKey {
    LinkKey::new("incident-storm", &sha256_hex(&[desk.as_bytes()]))
}

fn answered_key(counted: Counted, whose: &str) -> LinkKey {
    let kind = match counted {
        Counted::Sender => "acknowledged-sender",
        Counted::Domain => "acknowledged-domain",
    };
    LinkKey::new(kind, &sha256_hex(&[whose.as_bytes()]))
}

/// What people are told of an incident: the subject, whose it is, what matched, where the ticket is. Never the text.
fn incident_text(mail: &Mail, said: &Said, phrases: &[String], ticket: &str) -> String {
    let subject = match said.subject().trim() {
        "" => "(no subject)".to_owned(),
        subject => escaped(subject),
    };
    let domain = mail.people.from.as_ref().map_or("an unknown domain", |sender| sender.domain());
    let matched = phrases.iter().map(|phrase| escaped(phrase)).collect::<Vec<_>>().join(", ");
    format!("Incident: {subject}\nfrom {}, matched: {matched}\n{}", escaped(domain), place_text(ticket))
}

fn summary_text(desk: &str, summary: &Summary) -> String {
    let Summary { all, held, tickets, .. } = summary;
    let places: Vec<String> = tickets.iter().map(|ticket| place_text(ticket)).collect();
    let more = match held.saturating_sub(tickets.len() as u64) {
        0 => String::new(),
        more => format!("\nand {more} more"),
    };
    format!(
        "Storm of incidents for {}: {all} in all, {held} of them not told one by one:\n{}{more}",
        escaped(desk),
        places.join("\n")
    )
}

/// Where a ticket is, as a link that can be followed where it is one of the ticket system's own.
fn place_text(ticket: &str) -> String {
    if ticket.starts_with("https://") || ticket.starts_with("http://") {
        ticket.replace('&', "&amp;").replace('<', "%3C").replace('>', "%3E").replace(char::is_whitespace, "%20")
    } else {
        format!("ticket {}", escaped(ticket))
    }
}

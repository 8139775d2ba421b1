//! Tries proposed triage rules on the newest mail of the support mailboxes, beside the rules that are live: each mail is
//! read and judged on the very path that ticket-triage takes, and nothing is written anywhere.

use futures_util::future::try_join_all;
use jiff::Timestamp;
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::failure::Failure;
use shared::domain::mail_class::MailClass;
use shared::domain::notification::GrantId;
use shared::domain::own_mail::LoopId;
use shared::engine::{Clock, Deadline, Input, ReadDecisions, StoreError, Work};
use shared::http::CallError;
use shared::mail::reading::{CarriedMail, MailReader, ReadMail};
use shared::mail::{
    Carried, Company, HeadersAtHand, People, class_of, invitation, lacks_senders_address, sender_by_header,
    writer_behind_the_group,
};
use shared::nylas::mailboxes::Roles;
use shared::nylas::message::Message;
use shared::nylas::{MessageId, NylasError, Received};
use shared::reconcile::SIDE_BY_SIDE;
use shared::triage::RULES_KEY;
use shared::triage::rule_file::BadRules;
use shared::triage::rules::Rules;
use shared::triage::said::Said;
use std::time::Duration;

use crate::nylas_words::sentence;
use crate::ports::LiveRules;
use crate::proposed_rules::TriageRules;
use crate::ruling::{Difference, Matters, Place, Ruling, decided};
use crate::times::shown;
use crate::trial_report::{ComparedWith, Found, Mailbox, Stopped, TrialAnswer};

/// The most mails of a mailbox that are looked at, the newest.
pub const MOST_MAILS: usize = 200;

/// The function whose decisions are looked for, as it stands in their records.
const TICKET_TRIAGE: &str = "ticket-triage";

/// What must be left of the time for some more mails to be looked at: two calls to Nylas each, side by side.
const ENOUGH_TIME: Duration = Duration::from_secs(10);

/// Nothing can be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// No mailbox is named.
    #[error(
        "no mail was looked at: this stack knows no support mailbox. Deploy it with `SupportGrantIds`, or name mailboxes in \
         `grant_ids`"
    )]
    NoMailbox,
    /// The place is none of these mailboxes'.
    #[error(
        "`place` names the mailbox {0}, which is none of those that are looked at: give the event as it was given first, \
         with `place` as it was answered"
    )]
    Elsewhere(String),
    /// None of the mailboxes can be read.
    #[error("no mail was looked at: {0}")]
    OutOfReach(String),
    /// The functions' own rules cannot be used.
    #[error("the rules that the functions are built with cannot be used: {0}")]
    BuiltIn(#[from] BadRules),
    /// The table or the archive does not answer.
    #[error("the proposed rules could not be tried: {0}; nothing was changed, ask again in a minute")]
    Unavailable(#[from] StoreError),
}

/// A trial of rules.
pub struct Trial<'a, N, D, R> {
    /// Nylas.
    pub nylas: &'a N,
    /// What was decided.
    pub decisions: &'a D,
    /// The rules that are live.
    pub live: &'a R,
    /// The company's own domains.
    pub company_domains: &'a CompanyDomains,
    /// What marks mail that this deployment sends.
    pub loop_id: &'a LoopId,
    /// What is asked for.
    pub asked: &'a TriageRules,
    /// The support mailboxes.
    pub mailboxes: &'a [GrantId],
    /// When it was asked for.
    pub now: Timestamp,
    /// When it must be answered.
    pub deadline: Deadline,
}

/// Why no more mails are looked at.
enum Stop {
    /// The time is up.
    Time,
    /// Nylas does not answer, in words.
    Nylas(String),
    /// The table does not answer.
    Store(StoreError),
}

impl Stop {
    fn by(error: &NylasError, grant: &GrantId) -> Self {
        match error {
            NylasError::Call(CallError::OutOfTime { .. }) => Self::Time,
            _ => Self::Nylas(sentence(error, grant)),
        }
    }
}

/// What a look at one mail came to.
enum Looked {
    /// It was judged.
    Judged(Box<Difference>),
    /// No rule matters to it.
    LeftAlone,
    /// It is no longer there.
    Gone,
    /// Nylas does not hand it over.
    Unreadable,
}

impl<N: ReadMail, D: ReadDecisions, R: LiveRules> Trial<'_, N, D, R> {
    /// Looks at mails until all are looked at or the time is up.
    ///
    /// # Errors
    /// If there is no mail to look at, or the table or the archive does not answer.
    pub async fn carry_out(&self) -> Result<TrialAnswer, TrialError> {
        let place = self.asked.place.clone();
        let begin = match &place {
            _ if self.mailboxes.is_empty() => return Err(TrialError::NoMailbox),
            None => 0,
            Some(place) => {
                let at = self.mailboxes.iter().position(|grant| grant.as_str() == place.grant_id);
                at.ok_or_else(|| TrialError::Elsewhere(place.grant_id.clone()))?
            }
        };
        let (live, compared_with) = self.live_rules().await?;
        let now = self.now;
        let reader = MailReader::new(self.nylas, Clock::told_by(move || now));
        let (mut done, counts) = place.map(|place| (place.done, place.counts)).unwrap_or_default();
        let mut found = Found { counts, ..Found::default() };
        let mut stopped = None;
        for grant in &self.mailboxes[begin..] {
            if let Err(stop) = self.look_through(grant, &mut done, &mut found, &live, &reader).await {
                let problem = match stop {
                    Stop::Time => None,
                    Stop::Nylas(problem) => Some(problem),
                    Stop::Store(error) => return Err(error.into()),
                };
                let (grant_id, until, counts) = (grant.to_string(), self.asked.until, found.counts.clone());
                stopped = Some(Stopped { problem, place: Place { grant_id, done, until, counts } });
                break;
            }
            done = 0;
        }
        let problems: Vec<&str> = found.mailboxes.iter().filter_map(|mailbox| mailbox.problem.as_deref()).collect();
        if problems.len() == self.mailboxes.len() {
            return Err(TrialError::OutOfReach(problems.join("; ")));
        }
        Ok(TrialAnswer::of(self.asked, compared_with, found, stopped))
    }

    /// The rules that are live, and where they come from.
    async fn live_rules(&self) -> Result<(Rules, ComparedWith), TrialError> {
        let Some(text) = self.live.text().await? else {
            return Ok((Rules::standard()?, ComparedWith { rules: "built-in rules", problem: None }));
        };
        match Rules::load(&text) {
            Ok(rules) => Ok((rules, ComparedWith { rules: "rules that are live", problem: None })),
            Err(BadRules(problems)) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let problem = format!(
                    "The live file {RULES_KEY} cannot be used ({first}), so ticket-triage goes by those that it used before, or \
                     by the built-in ones."
                );
                Ok((Rules::standard()?, ComparedWith { rules: "built-in rules", problem: Some(problem) }))
            }
        }
    }

    /// Looks at the mails of a mailbox, from the place on that is given, and moves it.
    async fn look_through(
        &self,
        grant: &GrantId,
        done: &mut usize,
        found: &mut Found,
        live: &Rules,
        reader: &MailReader<'_, N>,
    ) -> Result<(), Stop> {
        let grant_id = grant.to_string();
        let (mails, cut) = match self.newest(grant).await {
            Ok(listed) => listed,
            // The others can be looked at all the same.
            Err(error) if error.is_refused() || error.is_out_of_reach() => {
                let problem = Some(sentence(&error, grant));
                found.mailboxes.push(Mailbox { grant_id, mails: 0, cut: false, problem });
                return Ok(());
            }
            Err(error) => return Err(Stop::by(&error, grant)),
        };
        found.mailboxes.push(Mailbox { grant_id, mails: mails.len(), cut, problem: None });
        while let Some(some) = mails.get(*done..).filter(|left| !left.is_empty()) {
            if self.deadline.left() < ENOUGH_TIME {
                return Err(Stop::Time);
            }
            let some = &some[..some.len().min(SIDE_BY_SIDE)];
            let looked = try_join_all(some.iter().map(|mail| self.look_at(grant, mail, live, reader))).await?;
            for looked in looked {
                found.counts.looked_at += 1;
                match looked {
                    Looked::Judged(judged) if found.counts.take_in(&judged.live, &judged.proposed) => {
                        found.rows.push(*judged);
                    }
                    Looked::Judged(_) => {}
                    Looked::LeftAlone => found.counts.left_alone += 1,
                    Looked::Gone => found.counts.gone += 1,
                    Looked::Unreadable => found.counts.unreadable += 1,
                }
            }
            *done += some.len();
        }
        Ok(())
    }

    /// The newest mails of a mailbox within the days, and whether there are more. Asked again it lists the same, for it
    /// ends at the same time.
    async fn newest(&self, grant: &GrantId) -> Result<(Vec<MessageId>, bool), NylasError> {
        let received = Received { after: self.asked.from() - 1, before: self.asked.until };
        let (mut mails, mut token) = (Vec::new(), None);
        loop {
            let page = self.nylas.messages(grant, received, token.as_deref(), self.deadline).await?;
            mails.extend(page.items);
            let is_last = page.next.is_none();
            if mails.len() >= MOST_MAILS || is_last {
                let cut = mails.len() > MOST_MAILS || !is_last;
                mails.truncate(MOST_MAILS);
                return Ok((mails, cut));
            }
            token = page.next;
        }
    }

    /// Looks at one mail.
    async fn look_at(
        &self,
        grant: &GrantId,
        listed: &MessageId,
        live: &Rules,
        reader: &MailReader<'_, N>,
    ) -> Result<Looked, Stop> {
        let decisions = self.decisions.decisions_on(TICKET_TRIAGE, grant.as_str(), &listed.id).await;
        let (then, matters) = decided(&decisions.map_err(Stop::Store)?);
        if matters == Matters::No {
            return Ok(Looked::LeftAlone);
        }
        let (message, sender, class) = match self.read(grant, &listed.id, matters, reader).await {
            Ok(Read::Mail(message, sender, class)) => (message, sender, class),
            Ok(Read::LeftAlone) => return Ok(Looked::LeftAlone),
            Ok(Read::Gone) => return Ok(Looked::Gone),
            Err(Failure::Permanent { .. }) => return Ok(Looked::Unreadable),
            Err(failure) if failure.class() == "nylas.out_of_time" => return Err(Stop::Time),
            Err(failure) => return Err(Stop::Nylas(format!("{failure}; ask again in a few minutes"))),
        };
        let said = Said::by(&message, &sender);
        let received_at = message.date.map(Timestamp::as_second).or(listed.date);
        Ok(Looked::Judged(Box::new(Difference {
            grant_id: grant.to_string(),
            message_id: listed.id.clone(),
            received_at: received_at.map(shown).unwrap_or_default(),
            then,
            live: Ruling::of(live, &said, class),
            proposed: Ruling::of(self.asked.proposed.rules(), &said, class),
        })))
    }

    /// Reads a mail as ticket-triage does, with its sender, and its class where no decision tells it.
    async fn read(
        &self,
        grant: &GrantId,
        id: &str,
        matters: Matters,
        reader: &MailReader<'_, N>,
    ) -> Result<Read, Failure> {
        let work = Work {
            input: Input::Job { kind: "triage_rules".to_owned() },
            body: String::new(),
            sent_at: self.now,
            deadline: self.deadline,
        };
        let mail = CarriedMail {
            message: Message { grant_id: Some(grant.to_string()), ..Message::with_id(id) },
            carried: Carried::ChosenFields,
            headers: HeadersAtHand::Some,
            provider: None,
        };
        let provider = reader.provider(&mail, grant, self.deadline).await?;
        let (mut mail, _) = reader.with_headers(mail, provider.as_deref(), grant, &work).await?;
        if mail.message.from.is_none() || mail.message.folders.is_none() {
            mail = match reader.whole(mail, self.deadline).await? {
                Some(whole) => whole,
                None => return Ok(Read::Gone),
            };
        }
        let roles = match matters {
            Matters::Open => reader.roles(mail.folders(), grant, provider.as_deref(), &work).await?,
            Matters::To(_) | Matters::No => Roles::default(),
        };
        let CarriedMail { mut message, headers, .. } = mail;
        if let Some(sender) = sender_by_header(&message)
            && lacks_senders_address(&message, &People::on(&message))
        {
            message.from = Some(vec![sender]);
        }
        let company = Company { domains: self.company_domains, loop_id: self.loop_id };
        let mut people = People::on(&message);
        if let Some(writer) = writer_behind_the_group(&message, &people, company) {
            people.from = Some(writer);
        }
        let Some(sender) = people.from.clone() else { return Ok(Read::LeftAlone) };
        let class = match matters {
            Matters::To(class) => class,
            Matters::No | Matters::Open => {
                let own = reader.own_address(grant, self.deadline).await?;
                let is_own = own.is_some_and(|own| sender == own || sender.without_tag() == Some(own));
                let class = class_of(&message, &people, headers, company).class;
                let is_taken = matches!(class, MailClass::Human | MailClass::List | MailClass::Notification);
                let elsewhere = roles.sent || roles.drafts || roles.junk;
                if elsewhere || is_own || !is_taken || invitation(&message).is_some() {
                    return Ok(Read::LeftAlone);
                }
                class
            }
        };
        Ok(Read::Mail(Box::new(message), sender, class))
    }
}

/// A mail that was read.
enum Read {
    /// It is of this sender and this class.
    Mail(Box<Message>, EmailAddress, MailClass),
    /// No rule matters to it.
    LeftAlone,
    /// It is no longer there.
    Gone,
}

#[cfg(test)]
mod tests;

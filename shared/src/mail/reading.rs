//! A mail as far as it is at hand, and what only Nylas can add: the whole mail, its headers, its sender's address, what
//! its folders are for. Each is asked for by itself, because each costs a call.

use serde::Deserialize;
use std::future::Future;

use super::{Carried, HeadersAtHand, lacks_contents, sender_by_header};
use crate::domain::address::EmailAddress;
use crate::domain::failure::Failure;
use crate::domain::notification::{Envelope, GrantId};
use crate::engine::{Clock, Deadline, Work};
use crate::nylas::mailboxes::{DescribeMailbox, ListGrants, Mailboxes, Roles};
use crate::nylas::message::Message;
use crate::nylas::{HeaderFields, MessageId, Nylas, NylasError, Page, Received};

/// How long a mail waits for its mailbox's user to sign in again, before it is handled without what only the mailbox can
/// tell.
const HOURS_FOR_SIGNING_IN: i64 = 24;

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

/// A mail as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CarriedMail {
    /// The mail itself. Its body is none where the notification left it out; [`MailReader::whole`] brings it.
    pub message: Message,
    /// How much of it was sent along.
    pub carried: Carried,
    /// Which of its headers are there.
    pub headers: HeadersAtHand,
    /// The provider, where the notification tells it.
    pub provider: Option<String>,
}

impl CarriedMail {
    /// The mailbox that it lies in.
    ///
    /// # Errors
    /// A permanent one if it is not named: then nothing of the mail can be asked for.
    pub fn grant(&self) -> Result<GrantId, Failure> {
        self.message.grant_id.as_deref().and_then(GrantId::parse).ok_or_else(|| {
            Failure::permanent(
                "body.incomplete",
                "the notification carries neither the mail nor the grant to fetch it by",
            )
        })
    }

    /// The ids of the folders it lies in, as far as they are known.
    #[must_use]
    pub fn folders(&self) -> &[String] {
        self.message.folders.as_deref().unwrap_or_default()
    }

    /// What the folders are for, where their ids are names; none elsewhere.
    #[must_use]
    pub fn google_roles(&self) -> Option<Roles> {
        (self.provider.as_deref() == Some("google")).then(|| Roles::by_name(self.folders()))
    }
}

/// The mail as the notification carries it.
///
/// # Errors
/// A permanent one if it carries neither the mail nor the id to fetch it by.
pub fn carried_mail(envelope: &Envelope, work: &Work) -> Result<CarriedMail, Failure> {
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
    Ok(CarriedMail { message, carried, headers, provider })
}

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
#[must_use]
pub fn fields_of(provider: Option<&str>) -> HeaderFields {
    match provider {
        Some("google" | "microsoft" | "eas" | "nylas") => HeaderFields::All,
        _ => HeaderFields::Threading,
    }
}

/// Asks Nylas for what is missing of mails. Lives as long as the instance, so that what mailboxes are like is asked for
/// once.
pub struct MailReader<'a, N: ReadMail> {
    nylas: &'a N,
    mailboxes: Mailboxes,
    clock: Clock,
}

impl<'a, N: ReadMail> MailReader<'a, N> {
    /// A reader that knows no mailbox yet.
    #[must_use]
    pub fn new(nylas: &'a N, clock: Clock) -> Self {
        Self { nylas, mailboxes: Mailboxes::default(), clock }
    }

    /// The mail as Nylas holds it, its body too, where the notification left out what is needed; none if it is gone.
    ///
    /// # Errors
    /// If Nylas does not answer, or no mailbox is named.
    pub async fn whole(&self, mail: CarriedMail, deadline: Deadline) -> Result<Option<CarriedMail>, Failure> {
        let grant = mail.grant()?;
        let fetched = self.nylas.message(&grant, &mail.message.id, HeaderFields::None, deadline).await?;
        Ok(fetched.map(|fetched| {
            // A provider that has no such field sends none: nothing more is to be had.
            let mut message = mail.message.completed_by(fetched);
            for list in [&mut message.from, &mut message.to, &mut message.cc, &mut message.bcc, &mut message.reply_to] {
                list.get_or_insert_default();
            }
            message.folders.get_or_insert_default();
            CarriedMail { message, carried: Carried::Standard, ..mail }
        }))
    }

    /// The mail with its sender's address, where only the headers name it. Without it the mail is judged as it is.
    ///
    /// # Errors
    /// If Nylas does not answer.
    pub async fn with_sender(&self, mail: CarriedMail, work: &Work) -> Result<CarriedMail, Failure> {
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

    /// The provider of the mailbox; none if the mailbox is gone.
    ///
    /// # Errors
    /// If Nylas does not answer.
    pub async fn provider(
        &self,
        mail: &CarriedMail,
        grant: &GrantId,
        deadline: Deadline,
    ) -> Result<Option<String>, Failure> {
        match &mail.provider {
            Some(provider) => Ok(Some(provider.clone())),
            None => Ok(self.mailboxes.provider(self.nylas, grant, deadline).await?),
        }
    }

    /// The mailbox's own address; none if it is not known.
    ///
    /// # Errors
    /// If Nylas does not answer.
    pub async fn own_address(&self, grant: &GrantId, deadline: Deadline) -> Result<Option<EmailAddress>, Failure> {
        Ok(self.mailboxes.own_address(self.nylas, grant, deadline).await?)
    }

    /// What a mail's folders are for: by their names where the provider's are names, or where the mailbox cannot tell.
    ///
    /// # Errors
    /// If Nylas does not answer, and it is better to wait than to do without.
    pub async fn roles(
        &self,
        folders: &[String],
        grant: &GrantId,
        provider: Option<&str>,
        work: &Work,
    ) -> Result<Roles, Failure> {
        if provider == Some("google") {
            return Ok(Roles::by_name(folders));
        }
        match self.mailboxes.roles(self.nylas, grant, folders, work.deadline).await {
            Err(error) if self.goes_without(&error, work) => Ok(Roles::by_name(folders)),
            other => Ok(other?),
        }
    }

    /// The mail with its headers, and how they were had. One that is gone by now is handled without. Where Nylas had to
    /// be asked, the mail has its body as well.
    ///
    /// # Errors
    /// If Nylas does not answer, and it is better to wait than to do without.
    pub async fn with_headers(
        &self,
        mail: CarriedMail,
        provider: Option<&str>,
        grant: &GrantId,
        work: &Work,
    ) -> Result<(CarriedMail, &'static str), Failure> {
        let fields = fields_of(provider);
        let enough = mail.headers == HeadersAtHand::All || fields == HeaderFields::Threading;
        if mail.message.message_id_header().is_some() && enough && !lacks_contents(&mail.message, mail.carried) {
            return Ok((mail, "the notification"));
        }
        let fetched = match self.nylas.message(grant, &mail.message.id, fields, work.deadline).await {
            // Microsoft shows no headers of what its user has sent, but Nylas may know the threading ones.
            Ok(Some(fetched)) if fields == HeaderFields::All && fetched.message_id_header().is_none() => {
                let threading =
                    self.nylas.message(grant, &mail.message.id, HeaderFields::Threading, work.deadline).await;
                threading.map(|threading| Some(fetched.with_further_headers(threading)))
            }
            other => other,
        };
        match fetched {
            Ok(Some(fetched)) => {
                let headers = headers_at_hand(&fetched, fields);
                let message = mail.message.completed_by(fetched);
                Ok((CarriedMail { message, headers, ..mail }, "Nylas"))
            }
            Ok(None) => Ok((mail, "none: no longer at Nylas")),
            Err(error) if self.goes_without(&error, work) => Ok((mail, "none: the mailbox is out of reach")),
            Err(error) => Err(error.into()),
        }
    }

    /// True if it is better to do without than to wait: a scope that is missing seldom comes, and a user who has to sign
    /// in again has had a day to do so.
    #[must_use]
    pub fn goes_without(&self, error: &NylasError, work: &Work) -> bool {
        let waited = self.clock.now().duration_since(work.sent_at);
        match error {
            NylasError::ScopeMissing(_) => true,
            NylasError::GrantExpired(_) => waited.as_hours() >= HOURS_FOR_SIGNING_IN,
            NylasError::Call(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! What can be told of a mail without asking anybody, for every function that reads mail: who is on it, what wrote it,
//! what is missing of it, which mail it is.
//!
//! - [`reading`]: the mail as a notification carries it, and what only Nylas can add.
//! - [`reconciling`]: mail that Nylas has not notified of.

pub mod reading;
pub mod reconciling;

#[cfg(test)]
mod fake;

use crate::domain::address::{CompanyDomains, EmailAddress};
use crate::domain::decision::Decision;
use crate::domain::digest::sha256_hex;
use crate::domain::mail_class::{Headers, Judge, MailLook, Verdict};
use crate::domain::own_mail::LoopId;
use crate::nylas::mailboxes::Roles;
use crate::nylas::message::{Attachment, Message, Participant, addresses};

/// Who the company is and what marks its own mail.
#[derive(Debug, Clone, Copy)]
pub struct Company<'a> {
    /// Its domains.
    pub domains: &'a CompanyDomains,
    /// What marks mail that this deployment sends.
    pub loop_id: &'a LoopId,
}

/// The people on a mail, normalised; what is no address is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct People {
    /// The sender.
    pub from: Option<EmailAddress>,
    /// The recipients.
    pub to: Vec<EmailAddress>,
    /// Those who got a copy.
    pub cc: Vec<EmailAddress>,
    /// Those who got a hidden copy.
    pub bcc: Vec<EmailAddress>,
    /// Where answers go.
    pub reply_to: Vec<EmailAddress>,
}

impl People {
    /// The people on a mail.
    #[must_use]
    pub fn on(message: &Message) -> Self {
        Self {
            from: addresses(message.from.as_deref()).into_iter().next(),
            to: addresses(message.to.as_deref()),
            cc: addresses(message.cc.as_deref()),
            bcc: addresses(message.bcc.as_deref()),
            reply_to: addresses(message.reply_to.as_deref()),
        }
    }

    /// Everyone, each once: the sender first, then as the mail lists them.
    #[must_use]
    pub fn everyone(&self) -> Vec<EmailAddress> {
        let mut everyone = Vec::new();
        for address in self.from.iter().chain(&self.to).chain(&self.cc).chain(&self.bcc).chain(&self.reply_to) {
            if !everyone.contains(address) {
                everyone.push(address.clone());
            }
        }
        everyone
    }
}

/// Which headers a message at hand carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadersAtHand {
    /// All that the mail has.
    All,
    /// Some, or none.
    Some,
}

/// What wrote the mail, as far as can be told from what is at hand.
#[must_use]
pub fn class_of(message: &Message, people: &People, headers: HeadersAtHand, company: Company<'_>) -> Verdict {
    let pairs = message.header_pairs();
    Judge { company: company.domains, own: company.loop_id }.class_of(&MailLook {
        from: people.from.as_ref(),
        subject: message.subject.as_deref().unwrap_or_default(),
        snippet: message.snippet.as_deref().unwrap_or_default(),
        headers: match headers {
            HeadersAtHand::All => Headers::All(&pairs),
            HeadersAtHand::Some => Headers::Some(&pairs),
        },
    })
}

/// How much of a mail a notification carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// What Nylas sends by default: a field that is not there is empty.
    Standard,
    /// Chosen fields alone (`.transformed`): one that is not there may have been left out.
    ChosenFields,
}

/// True if the mail lacks what every decision needs: who is on it and where it lies.
#[must_use]
pub fn lacks_people(message: &Message, carried: Carried) -> bool {
    let lists = [&message.cc, &message.bcc, &message.reply_to];
    message.from.is_none()
        || message.to.is_none()
        || message.folders.is_none()
        || carried == Carried::ChosenFields && lists.into_iter().any(Option::is_none)
}

/// True if the mail lacks what is told of it: its subject, its beginning, its date, its thread, its files.
#[must_use]
pub fn lacks_contents(message: &Message, carried: Carried) -> bool {
    carried == Carried::ChosenFields
        && (message.subject.is_none()
            || message.snippet.is_none()
            || message.date.is_none()
            || message.thread_id.is_none()
            || message.attachments.is_none())
}

/// What shows that a file is an invitation, an answer to one or a cancellation (RFC 6047): a calendar object with a
/// method, or the file that Gmail and Outlook put it into. A calendar that somebody publishes or attaches is none.
fn invitation_in(file: &Attachment) -> Option<&'static str> {
    let content_type = file.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let name = file.filename.as_deref().unwrap_or_default().trim().to_lowercase();
    let is_calendar =
        ["text/calendar", "application/ics", "text/x-vcalendar"].iter().any(|kind| content_type.starts_with(kind));
    let method = content_type
        .split(';')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(key, _)| key.trim() == "method")
        .map(|(_, value)| value.trim().trim_matches('"').to_owned());
    match method.as_deref() {
        Some("publish") => None,
        Some("request" | "reply" | "cancel" | "add" | "refresh" | "counter" | "declinecounter") if is_calendar => {
            Some("attachment: text/calendar with a method")
        }
        _ if matches!(name.as_str(), "invite.ics" | "meeting.ics" | "response.ics" | "cancel.ics") => {
            Some("attachment: invite.ics")
        }
        // The part of an invitation itself, which has no name.
        None if content_type.starts_with("text/calendar") && name.is_empty() => Some("attachment: text/calendar"),
        _ => None,
    }
}

/// What shows that a mail is an invitation, an answer to one or a cancellation, by its files and its headers; none for
/// other mail.
#[must_use]
pub fn invitation(message: &Message) -> Option<&'static str> {
    if let Some(evidence) = message.attachments.iter().flatten().find_map(invitation_in) {
        return Some(evidence);
    }
    let content_type = message.header("Content-Type").map(str::to_owned);
    let itself = Attachment { filename: None, content_type };
    match message.header("Content-Class") {
        Some(class) if class.trim().eq_ignore_ascii_case("urn:content-classes:calendarmessage") => {
            Some("header: Content-Class: calendarmessage")
        }
        _ => invitation_in(&itself).map(|_| "header: Content-Type: text/calendar"),
    }
}

/// The decision on a mail in a folder whose mail nobody handles; none for other folders. It may be another one once the
/// mail lies elsewhere.
#[must_use]
pub fn dropped_for_its_folder(roles: Roles) -> Option<Decision> {
    if roles.drafts {
        Some(Decision::skipped("draft").for_now())
    } else if roles.junk {
        Some(Decision::skipped("in the spam folder").for_now())
    } else {
        None
    }
}

/// True if the sender is known by something else than an address, as Exchange names its own users
/// (`/O=EXCHANGELABS/…`): who it is then stands in the headers alone.
#[must_use]
pub fn lacks_senders_address(message: &Message, people: &People) -> bool {
    people.from.is_none() && message.from.as_ref().is_some_and(|from| !from.is_empty())
}

/// The sender as the headers name it.
#[must_use]
pub fn sender_by_header(message: &Message) -> Option<Participant> {
    let header = message.header("From")?;
    let address = EmailAddress::parse(header)?;
    Some(Participant { email: Some(address.to_string()), name: None })
}

/// The writer of a mail that a group of the company has handed on under its own address, as Google Groups does for
/// senders whose domain forbids to hand mail on under theirs (DMARC).
#[must_use]
pub fn writer_behind_the_group(message: &Message, people: &People, company: Company<'_>) -> Option<EmailAddress> {
    let pairs = message.header_pairs();
    let judge = Judge { company: company.domains, own: company.loop_id };
    // Anybody can write these headers; only a mail under an address of the company's own can have been handed on so.
    let under_our_address = people.from.as_ref().is_some_and(|from| company.domains.contains(from));
    if !under_our_address || !judge.is_handed_on(Headers::Some(&pairs)) {
        return None;
    }
    ["X-Original-From", "X-Original-Sender"].iter().find_map(|name| EmailAddress::parse(message.header(name)?))
}

/// What makes two copies one mail: the Message-ID where the headers are known, else the copy itself.
/// A digest, so that it fits keys and headers everywhere.
#[must_use]
pub fn identity(message: &Message) -> String {
    match message.message_id_header() {
        Some(message_id) => identity_of_message_id(&message_id),
        None => identity_of_copy(message),
    }
}

/// What makes a copy a mail of its own, where nothing tells which others are copies of the same.
#[must_use]
pub fn identity_of_copy(message: &Message) -> String {
    sha256_hex(&[b"nylas:", copy(message).as_bytes()])
}

/// What every copy of the mail with this Message-ID has in common. The angle brackets are left out.
#[must_use]
pub fn identity_of_message_id(message_id: &str) -> String {
    sha256_hex(&[b"message-id:", message_id.as_bytes()])
}

/// The copy itself: the mailbox and Nylas's id in it.
#[must_use]
pub fn copy(message: &Message) -> String {
    format!("{}/{}", message.grant_id.as_deref().unwrap_or_default(), message.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn domains() -> CompanyDomains {
        CompanyDomains::parse(["northwind.example"]).expect("a domain")
    }

    fn message(fields: &Value) -> Message {
        let mut value = json!({
            "id": "m", "grant_id": "g", "folders": ["INBOX"], "subject": "Q3", "snippet": "Hello Ines,",
            "from": [{"email": "dana@acme.example"}], "to": [{"email": "rep@northwind.example"}],
        });
        for (name, field) in fields.as_object().expect("fields") {
            value[name] = field.clone();
        }
        serde_json::from_value(value).expect("a message")
    }

    #[test]
    fn mail_under_the_address_of_a_group_is_its_writers() {
        let (domains, loop_id) = (domains(), LoopId::of_stack("a"));
        let company = Company { domains: &domains, loop_id: &loop_id };
        let original = json!({"name": "X-Original-From", "value": "Dana <dana@acme.example>"});
        let writer = |from: &str, list: &str| {
            let headers = json!([{"name": "List-ID", "value": list}, original]);
            let message = message(&json!({"from": [{"email": from}], "headers": headers}));
            writer_behind_the_group(&message, &People::on(&message), company)
        };
        let dana = EmailAddress::parse("dana@acme.example");
        assert_eq!(writer("sales@northwind.example", "<sales.northwind.example>"), dana);
        assert_eq!(writer("sales@northwind.example", "<fans.acme.example>"), None, "another's group");
        assert_eq!(writer("mallory@evil.example", "<sales.northwind.example>"), None, "a stranger is a stranger");
    }

    #[test]
    fn copies_with_one_message_id_are_one_mail_and_without_headers_each_copy_is_its_own() {
        let header = json!({"headers": [{"name": "Message-Id", "value": "<abc@mail.example>"}]});
        let mut elsewhere = json!({"headers": [{"name": "MESSAGE-ID", "value": "abc@mail.example"}]});
        elsewhere["id"] = "m2".into();
        elsewhere["grant_id"] = "g2".into();
        assert_eq!(identity(&message(&header)), identity(&message(&elsewhere)));
        assert_ne!(identity(&message(&json!({}))), identity(&message(&json!({"grant_id": "g2"}))));
        assert_eq!(identity(&message(&json!({}))), identity(&message(&json!({"subject": "other"}))));
    }

    #[test]
    fn invitations_answers_and_cancellations_are_told_from_ordinary_calendar_files() {
        let evidence = |file: &Value| invitation(&message(&json!({"attachments": [file]})));
        for file in [
            json!({"content_type": "text/calendar; charset=utf-8; method=REQUEST"}),
            json!({"content_type": "text/calendar; METHOD=\"Reply\"", "filename": "x.ics"}),
            json!({"content_type": "text/calendar"}),
            json!({"content_type": "application/ics", "filename": "invite.ics"}),
            json!({"content_type": "application/octet-stream", "filename": "Invite.ICS"}),
        ] {
            assert!(evidence(&file).is_some_and(|evidence| evidence.starts_with("attachment: ")), "{file}");
        }
        for file in [
            json!({"content_type": "text/calendar; method=PUBLISH", "filename": "holidays.ics"}),
            json!({"content_type": "application/ics", "filename": "holidays.ics"}),
            json!({"content_type": "application/pdf; method=REQUEST", "filename": "offer.pdf"}),
            json!({}),
        ] {
            assert_eq!(evidence(&file), None, "{file}");
        }
    }

    #[test]
    fn invitation_is_told_by_its_own_content_type_and_class_too() {
        let evidence = |header: Value| invitation(&message(&json!({"headers": [header]})));
        let content_type = "text/calendar; charset=\"utf-8\"; method=REQUEST; name=\"meeting.ics\"";
        assert_eq!(
            evidence(json!({"name": "Content-Type", "value": content_type})),
            Some("header: Content-Type: text/calendar")
        );
        assert_eq!(
            evidence(json!({"name": "content-class", "value": "urn:content-classes:calendarmessage"})),
            Some("header: Content-Class: calendarmessage")
        );
        assert_eq!(evidence(json!({"name": "Content-Type", "value": "multipart/mixed; boundary=x"})), None);
    }

    #[test]
    fn everyone_on_a_mail_is_named_once_the_sender_first() {
        let mail = message(&json!({
            "from": [{"email": "Dana@Acme.example"}], "bcc": [{"email": "desk@acme.example"}, {"name": "no address"}],
            "to": [{"email": "ben@acme.example"}, {"email": "dana@acme.example"}], "cc": [{"email": "BEN@acme.example"}],
        }));
        let everyone = People::on(&mail).everyone();
        let texts: Vec<&str> = everyone.iter().map(EmailAddress::as_str).collect();
        assert_eq!(texts, ["dana@acme.example", "ben@acme.example", "desk@acme.example"]);
    }

    #[test]
    fn sender_whom_exchange_names_without_an_address_is_read_in_the_headers() {
        let mut mail = message(&json!({"from": [{"email": "/O=EXCHANGELABS/CN=DANA"}]}));
        assert!(lacks_senders_address(&mail, &People::on(&mail)));
        assert_eq!(sender_by_header(&mail), None);
        mail.headers = message(&json!({"headers": [{"name": "from", "value": "Dana <dana@acme.example>"}]})).headers;
        let sender = sender_by_header(&mail).and_then(|sender| sender.email);
        assert_eq!(sender.as_deref(), Some("dana@acme.example"));
        mail.from = Some(Vec::new());
        assert!(!lacks_senders_address(&mail, &People::on(&mail)), "a mail without a sender names none");
    }

    #[test]
    fn field_that_a_standard_notification_lacks_is_empty_and_one_that_was_not_chosen_is_missing() {
        for field in ["cc", "bcc", "reply_to"] {
            let mut chosen = json!({"cc": [], "bcc": [], "reply_to": []});
            assert!(!lacks_people(&message(&chosen), Carried::ChosenFields));
            chosen[field] = Value::Null;
            assert!(lacks_people(&message(&chosen), Carried::ChosenFields), "{field}");
            assert!(!lacks_people(&message(&chosen), Carried::Standard), "{field}");
        }
        for field in ["from", "to", "folders"] {
            assert!(lacks_people(&message(&json!({field: null})), Carried::Standard), "{field}");
        }
        assert!(!lacks_contents(&message(&json!({"subject": null})), Carried::Standard));
        assert!(lacks_contents(&message(&json!({"subject": null})), Carried::ChosenFields));
    }
}

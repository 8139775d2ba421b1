//! The rules for one mail, without input or output: is it wanted, which way did it go, who is on it, which mail is it.

use shared::crm::Direction;
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::digest::sha256_hex;
use shared::domain::mail_class::{Headers, Judge, MailClass, MailLook, Verdict};
use shared::domain::never_log::NeverLog;
use shared::domain::own_mail::LoopId;
use shared::nylas::mailboxes::Roles;
use shared::nylas::message::{Attachment, Message, Participant, addresses};

/// What is done with a class of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It becomes an activity.
    Log,
    /// It is dropped, for this reason.
    Skip(&'static str),
}

/// What is done with each class of mail.
pub const ACTIONS: [(MailClass, Action); 7] = [
    (MailClass::Human, Action::Log),
    (MailClass::OutOfOffice, Action::Skip("automatic mail: out of office")),
    (MailClass::AutoReply, Action::Skip("automatic mail: auto-reply")),
    (MailClass::Bounce, Action::Skip("automatic mail: bounce")),
    (MailClass::List, Action::Skip("mail to many: list")),
    (MailClass::Notification, Action::Skip("automatic mail: notification")),
    (MailClass::Own, Action::Skip("own mail")),
];

/// What is done with this class of mail.
#[must_use]
pub fn action(class: MailClass) -> Action {
    ACTIONS.iter().find(|(listed, _)| *listed == class).map_or(Action::Log, |(_, action)| *action)
}

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

/// The decision on a class that is not logged; none for one that is.
#[must_use]
pub fn dropped_for_its_class(verdict: &Verdict) -> Option<Decision> {
    match action(verdict.class) {
        Action::Log => None,
        Action::Skip(reason) => Some(
            Decision::skipped(reason).with("class", verdict.class.as_str()).with("evidence", verdict.evidence.clone()),
        ),
    }
}

/// True if a mail among strangers may become a conversation with a contact, so that it is worth looking its addresses
/// up again. What is automatic for certain, or what Gmail sorts among advertisements and the like, is not.
#[must_use]
pub fn may_wait_for_a_contact(message: &Message, verdict: &Verdict) -> bool {
    let sorted_out = ["CATEGORY_PROMOTIONS", "CATEGORY_SOCIAL", "CATEGORY_FORUMS"];
    let is_sorted_out = message.folders.iter().flatten().any(|folder| sorted_out.contains(&folder.as_str()));
    (action(verdict.class) == Action::Log || !verdict.certain) && !is_sorted_out
}

/// The decision on a mail in a folder whose mail is not logged; none for other folders.
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

/// How much of a mail a notification carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// What Nylas sends by default: a field that is not there is empty.
    Standard,
    /// Chosen fields alone (`.transformed`): one that is not there may have been left out.
    ChosenFields,
}

/// True if the mail lacks what every decision needs: who is on it and where it lies.
fn lacks_people(message: &Message, carried: Carried) -> bool {
    let lists = [&message.cc, &message.bcc, &message.reply_to];
    message.from.is_none()
        || message.to.is_none()
        || message.folders.is_none()
        || carried == Carried::ChosenFields && lists.into_iter().any(Option::is_none)
}

/// True if the mail lacks what an activity says of it.
#[must_use]
pub fn lacks_contents(message: &Message, carried: Carried) -> bool {
    carried == Carried::ChosenFields
        && (message.subject.is_none()
            || message.snippet.is_none()
            || message.date.is_none()
            || message.thread_id.is_none()
            || message.attachments.is_none())
}

/// The most addresses of one mail that are looked up. Beyond it a mail is a circular, and looking everybody up would
/// take the calls of all others.
pub const MOST_LOOKUPS: usize = 20;

/// What is to be done with a mail before anybody is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screening {
    /// It is not wanted.
    Dropped(Decision),
    /// It cannot be told: what is missing must be fetched.
    Incomplete,
    /// Look these addresses up, in this order.
    LookUp {
        /// The addresses outside the company, at most [`MOST_LOOKUPS`] of them, the sender first.
        external: Vec<EmailAddress>,
        /// How many more there are.
        not_looked_up: usize,
        /// What wrote it, as far as what is at hand tells.
        verdict: Verdict,
    },
}

/// The decision on a mail with anybody on it whose mail is never logged.
#[must_use]
pub fn dropped_by_the_never_log_list(people: &People, never_log: &NeverLog) -> Option<Decision> {
    let entry = people.everyone().iter().find_map(|address| never_log.forbids(address))?;
    Some(Decision::skipped("never-log list").with("entry", entry))
}

/// Screens a mail by what is at hand, so that as little as possible is fetched and looked up.
#[must_use]
pub fn screen(
    message: &Message,
    people: &People,
    carried: Carried,
    headers: HeadersAtHand,
    company: Company<'_>,
    never_log: &NeverLog,
) -> Screening {
    let everyone = people.everyone();
    if let Some(decision) = dropped_by_the_never_log_list(people, never_log) {
        return Screening::Dropped(decision);
    }
    let complete = !lacks_people(message, carried);
    let mut external: Vec<EmailAddress> =
        everyone.iter().filter(|address| !company.domains.contains(address)).cloned().collect();
    let verdict = class_of(message, people, headers, company);
    let dropped_for_its_class = || dropped_for_its_class(&verdict).filter(|_| verdict.certain);
    // Mail systems report without an address of their own; such a sender is not known to be a colleague.
    if lacks_senders_address(message, people)
        && let Some(decision) = dropped_for_its_class()
    {
        return Screening::Dropped(decision);
    }
    if complete && external.is_empty() {
        let reason = if everyone.is_empty() { "no address on it" } else { "internal mail" };
        return Screening::Dropped(Decision::skipped(reason));
    }
    if let Some(decision) = dropped_for_its_invitation(message) {
        return Screening::Dropped(decision);
    }
    if let Some(decision) = dropped_for_its_class() {
        return Screening::Dropped(decision);
    }
    if !complete {
        return Screening::Incomplete;
    }
    let not_looked_up = external.len().saturating_sub(MOST_LOOKUPS);
    external.truncate(MOST_LOOKUPS);
    Screening::LookUp { external, not_looked_up, verdict }
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

/// The decision on a mail whose files or headers show it to be an invitation, an answer to one or a cancellation.
#[must_use]
pub fn dropped_for_its_invitation(message: &Message) -> Option<Decision> {
    if let Some(file) = message.attachments.iter().flatten().find_map(invitation_in) {
        return Some(Decision::skipped("calendar invitation").with("evidence", file));
    }
    let content_type = message.header("Content-Type").map(str::to_owned);
    let itself = Attachment { filename: None, content_type };
    let evidence = match message.header("Content-Class") {
        Some(class) if class.trim().eq_ignore_ascii_case("urn:content-classes:calendarmessage") => {
            "header: Content-Class: calendarmessage"
        }
        _ => invitation_in(&itself).map(|_| "header: Content-Type: text/calendar")?,
    };
    Some(Decision::skipped("calendar invitation").with("evidence", evidence))
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

/// Which way a mail went, and what told it. What lies among the sent mail went out, and so did what a colleague or
/// the mailbox's own address has sent, wherever this copy lies.
#[must_use]
pub fn direction(
    roles: Roles,
    sender: Option<&EmailAddress>,
    own_address: Option<&EmailAddress>,
    company: &CompanyDomains,
) -> (Direction, &'static str) {
    if roles.sent {
        return (Direction::Outbound, "folder");
    }
    match sender {
        Some(sender) if company.contains(sender) => (Direction::Outbound, "sender on a company domain"),
        Some(sender)
            if own_address == Some(sender) || own_address.is_some() && own_address == sender.without_tag().as_ref() =>
        {
            (Direction::Outbound, "sender is the mailbox itself")
        }
        Some(_) => (Direction::Inbound, "sender"),
        None => (Direction::Inbound, "no sender"),
    }
}

/// What makes two copies one mail: the Message-ID where the headers are known, else the copy itself.
/// A digest, so that it fits keys and headers everywhere.
#[must_use]
pub fn identity(message: &Message) -> String {
    match message.message_id_header() {
        Some(message_id) => sha256_hex(&[b"message-id:", message_id.as_bytes()]),
        None => sha256_hex(&[b"nylas:", copy(message).as_bytes()]),
    }
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
    use std::collections::BTreeSet;

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

    fn screened_as(fields: &Value, carried: Carried, never_log: &str) -> Screening {
        let message = message(fields);
        let (domains, loop_id) = (domains(), LoopId::of_stack("a"));
        let company = Company { domains: &domains, loop_id: &loop_id };
        let list = NeverLog::parse(never_log).0;
        screen(&message, &People::on(&message), carried, HeadersAtHand::Some, company, &list)
    }

    fn screened(fields: &Value) -> Screening {
        screened_as(fields, Carried::Standard, "")
    }

    fn dropped_as(fields: &Value) -> String {
        match screened(fields) {
            Screening::Dropped(decision) => decision.to_string(),
            other => panic!("not dropped: {other:?}"),
        }
    }

    #[test]
    fn every_class_has_one_action_and_only_peoples_mail_is_logged() {
        let listed: BTreeSet<MailClass> = ACTIONS.iter().map(|(class, _)| *class).collect();
        assert_eq!(listed, MailClass::ALL.into_iter().collect());
        assert_eq!(ACTIONS.len(), MailClass::ALL.len());
        for class in MailClass::ALL {
            assert_eq!(action(class) == Action::Log, class == MailClass::Human, "{class}");
        }
    }

    #[test]
    fn mail_among_company_addresses_only_is_internal_whatever_field_they_stand_in() {
        let internal = json!({
            "from": [{"email": "Rep@Northwind.example"}], "to": [{"email": "a@eu.northwind.example"}],
            "cc": [{"email": "b@northwind.example"}], "bcc": [{"email": "c@northwind.example"}],
            "reply_to": [{"email": "rep@northwind.example"}],
        });
        assert_eq!(dropped_as(&internal), "skipped: internal mail");
        for field in ["from", "to", "cc", "bcc", "reply_to"] {
            let mut one_outside = internal.clone();
            one_outside[field] = json!([{"email": "dana@acme.example"}]);
            assert!(matches!(screened(&one_outside), Screening::LookUp { .. }), "{field}");
        }
    }

    #[test]
    fn mail_without_any_address_is_told_from_internal_mail() {
        assert_eq!(dropped_as(&json!({"from": [], "to": [{"name": "undisclosed"}]})), "skipped: no address on it");
    }

    #[test]
    fn mail_with_anybody_of_the_never_log_list_is_dropped_by_its_entry() {
        for field in ["from", "to", "cc", "bcc", "reply_to"] {
            let mail = json!({field: [{"email": "Counsel+7@eu.Lawyers.example"}]});
            let Screening::Dropped(decision) = screened_as(&mail, Carried::Standard, "lawyers.example") else {
                panic!("not dropped: {field}")
            };
            assert_eq!(decision.to_string(), "skipped: never-log list", "{field}");
            assert_eq!(decision.facts["entry"], "lawyers.example");
        }
        let chosen = json!({"to": null, "from": [{"email": "counsel@lawyers.example"}]});
        let screened = screened_as(&chosen, Carried::ChosenFields, "lawyers.example");
        assert!(matches!(screened, Screening::Dropped(_)), "nothing needs to be fetched for that");
    }

    #[test]
    fn drafts_and_spam_are_dropped_by_the_folder_they_lie_in() {
        let dropped = |roles| dropped_for_its_folder(roles).map(|decision| decision.to_string());
        assert_eq!(dropped(Roles { drafts: true, ..Roles::default() }).as_deref(), Some("skipped: draft"));
        assert_eq!(dropped(Roles { junk: true, ..Roles::default() }).as_deref(), Some("skipped: in the spam folder"));
        assert_eq!(dropped(Roles { sent: true, ..Roles::default() }), None);
    }

    #[test]
    fn invitations_answers_and_cancellations_are_dropped_and_ordinary_calendar_files_are_not() {
        for file in [
            json!({"content_type": "text/calendar; charset=utf-8; method=REQUEST"}),
            json!({"content_type": "text/calendar; METHOD=\"Reply\"", "filename": "x.ics"}),
            json!({"content_type": "text/calendar"}),
            json!({"content_type": "application/ics", "filename": "invite.ics"}),
            json!({"content_type": "application/octet-stream", "filename": "Invite.ICS"}),
        ] {
            assert_eq!(dropped_as(&json!({"attachments": [file]})), "skipped: calendar invitation", "{file}");
        }
        for file in [
            json!({"content_type": "text/calendar; method=PUBLISH", "filename": "holidays.ics"}),
            json!({"content_type": "application/ics", "filename": "holidays.ics"}),
            json!({"content_type": "application/pdf; method=REQUEST", "filename": "offer.pdf"}),
            json!({}),
        ] {
            assert!(matches!(screened(&json!({"attachments": [file]})), Screening::LookUp { .. }), "{file}");
        }
    }

    #[test]
    fn invitation_is_told_by_its_own_content_type_and_class_too() {
        for header in [
            json!({"name": "Content-Type", "value": "text/calendar; charset=\"utf-8\"; method=REQUEST; name=\"meeting.ics\""}),
            json!({"name": "content-class", "value": "urn:content-classes:calendarmessage"}),
        ] {
            assert!(dropped_for_its_invitation(&message(&json!({"headers": [header]}))).is_some(), "{header}");
        }
        let plain = json!({"name": "Content-Type", "value": "multipart/mixed; boundary=x"});
        assert_eq!(dropped_for_its_invitation(&message(&json!({"headers": [plain]}))), None);
    }

    #[test]
    fn only_mail_that_may_be_a_persons_waits_for_a_contact() {
        let (domains, loop_id) = (domains(), LoopId::of_stack("a"));
        let company = Company { domains: &domains, loop_id: &loop_id };
        let may_wait = |fields: Value| {
            let message = message(&fields);
            let verdict = class_of(&message, &People::on(&message), HeadersAtHand::Some, company);
            may_wait_for_a_contact(&message, &verdict)
        };
        assert!(may_wait(json!({"folders": ["INBOX", "CATEGORY_PERSONAL"]})));
        assert!(!may_wait(json!({"folders": ["INBOX", "CATEGORY_PROMOTIONS"]})));
        assert!(may_wait(json!({"subject": "Out of office"})), "headers may turn that");
        assert!(!may_wait(json!({"from": [{"email": "no-reply@acme.example"}]})));
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
    fn certain_automatic_mail_is_dropped_before_anything_is_fetched_and_a_suspicion_is_not() {
        let certain = json!({"from": [{"email": "no-reply@acme.example"}], "to": null});
        let Screening::Dropped(decision) = screened_as(&certain, Carried::ChosenFields, "") else {
            panic!("not dropped")
        };
        assert_eq!(decision.to_string(), "skipped: automatic mail: notification");
        assert_eq!(decision.facts["evidence"], "sender: no-reply");
        let suspicion = json!({"subject": "How do I unsubscribe?"});
        assert!(matches!(screened(&suspicion), Screening::LookUp { .. }));
    }

    #[test]
    fn addresses_are_looked_up_once_each_the_sender_first() {
        let mail = json!({
            "from": [{"email": "Dana@Acme.example"}],
            "to": [{"email": "rep@northwind.example"}, {"email": "ben@acme.example"}, {"email": "dana@acme.example"}],
            "cc": [{"email": "BEN@acme.example"}], "reply_to": [{"email": "desk@acme.example"}],
        });
        let Screening::LookUp { external, .. } = screened(&mail) else { panic!("dropped") };
        let texts: Vec<&str> = external.iter().map(EmailAddress::as_str).collect();
        assert_eq!(texts, ["dana@acme.example", "ben@acme.example", "desk@acme.example"]);
    }

    #[test]
    fn display_name_that_shows_another_address_deceives_nobody() {
        let mail = json!({"from": [{"email": "mallory@evil.example", "name": "dana@acme.example"}]});
        let Screening::LookUp { external, .. } = screened(&mail) else { panic!("dropped") };
        assert_eq!(external[0].as_str(), "mallory@evil.example");
    }

    #[test]
    fn circular_has_its_first_twenty_addresses_looked_up_and_the_rest_counted() {
        let to: Vec<Value> = (0..60).map(|number| json!({"email": format!("p{number}@acme.example")})).collect();
        let Screening::LookUp { external, not_looked_up, .. } = screened(&json!({"to": to})) else { panic!("dropped") };
        assert_eq!((external.len(), not_looked_up), (20, 41));
        assert_eq!(external[0].as_str(), "dana@acme.example", "the sender first");
    }

    #[test]
    fn direction_is_told_by_the_sent_folder_then_by_the_sender() {
        let address = |text| EmailAddress::parse(text).expect("an address");
        let (dana, rep) = (address("dana@acme.example"), address("rep@northwind.example"));
        let private = address("rep@private.example");
        let sent = Roles { sent: true, ..Roles::default() };
        let told = |roles, sender, own| direction(roles, sender, own, &domains());
        assert_eq!(told(sent, Some(&dana), None), (Direction::Outbound, "folder"));
        assert_eq!(told(Roles::default(), Some(&rep), None), (Direction::Outbound, "sender on a company domain"));
        let own = told(Roles::default(), Some(&private), Some(&private));
        assert_eq!(own, (Direction::Outbound, "sender is the mailbox itself"));
        let with_tag = address("rep+x@private.example");
        let tagged = told(Roles::default(), Some(&with_tag), Some(&private));
        assert_eq!(tagged.0, Direction::Outbound);
        assert_eq!(told(Roles::default(), Some(&dana), Some(&private)), (Direction::Inbound, "sender"));
        assert_eq!(told(Roles::default(), None, None), (Direction::Inbound, "no sender"));
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
    fn field_that_a_standard_notification_lacks_is_empty_and_one_that_was_not_chosen_is_fetched() {
        assert!(matches!(screened(&json!({"cc": null})), Screening::LookUp { .. }));
        for field in ["cc", "bcc", "reply_to"] {
            let mut chosen = json!({"cc": [], "bcc": [], "reply_to": []});
            chosen[field] = Value::Null;
            assert_eq!(screened_as(&chosen, Carried::ChosenFields, ""), Screening::Incomplete, "{field}");
        }
        for field in ["from", "to", "folders"] {
            assert_eq!(screened(&json!({field: null})), Screening::Incomplete, "{field}");
        }
        assert!(!lacks_contents(&message(&json!({"subject": null})), Carried::Standard));
        assert!(lacks_contents(&message(&json!({"subject": null})), Carried::ChosenFields));
    }
}

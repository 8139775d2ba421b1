//! The rules for one mail, without input or output: is it wanted, which way did it go.

use shared::crm::Direction;
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::mail_class::{MailClass, Verdict};
use shared::domain::never_log::NeverLog;
use shared::mail::{
    Carried, Company, HeadersAtHand, People, class_of, invitation, lacks_people, lacks_senders_address,
};
use shared::nylas::mailboxes::Roles;
use shared::nylas::message::Message;

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

/// The decision on a mail that is an invitation, an answer to one or a cancellation; none for other mail.
#[must_use]
pub fn dropped_for_its_invitation(message: &Message) -> Option<Decision> {
    Some(Decision::skipped("calendar invitation").with("evidence", invitation(message)?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use shared::domain::own_mail::LoopId;
    use shared::mail::dropped_for_its_folder;
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
    fn invitation_is_dropped_by_what_shows_it() {
        let file = json!({"content_type": "text/calendar; method=REQUEST", "filename": "invite.ics"});
        let Screening::Dropped(decision) = screened(&json!({"attachments": [file]})) else { panic!("not dropped") };
        assert_eq!(decision.to_string(), "skipped: calendar invitation");
        assert_eq!(decision.facts["evidence"], "attachment: text/calendar with a method");
        let published = json!({"content_type": "text/calendar; method=PUBLISH", "filename": "holidays.ics"});
        assert!(matches!(screened(&json!({"attachments": [published]})), Screening::LookUp { .. }));
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
    }
}

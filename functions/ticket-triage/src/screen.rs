//! Which mail of a support mailbox is a ticket's at all: pure rules over what is known of one mail.

use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::mail_class::{MailClass, Verdict};
use shared::mail::invitation;
use shared::nylas::message::Message;

/// What is done with a class of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is a ticket's.
    Take,
    /// It is a ticket's where a rule says so (`opens_for`), else it is skipped for this reason.
    TakeIfARuleSaysSo(&'static str),
    /// It is skipped, for this reason.
    Skip(&'static str),
}

/// What is done with each class of mail. What a machine answers never opens a ticket, nor continues one.
pub const ACTIONS: [(MailClass, Action); 7] = [
    (MailClass::Human, Action::Take),
    (MailClass::OutOfOffice, Action::Skip("automatic mail: out of office")),
    (MailClass::AutoReply, Action::Skip("automatic mail: auto-reply")),
    (MailClass::Bounce, Action::Skip("automatic mail: bounce")),
    (MailClass::List, Action::TakeIfARuleSaysSo("mail to many: list")),
    (MailClass::Notification, Action::TakeIfARuleSaysSo("automatic mail: notification")),
    (MailClass::Own, Action::Skip("own mail")),
];

/// What is done with this class of mail.
#[must_use]
pub fn action(class: MailClass) -> Action {
    ACTIONS.iter().find(|(listed, _)| *listed == class).map_or(Action::Take, |(_, action)| *action)
}

/// The support mailbox's own addresses.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Vec<EmailAddress>);

impl OwnAddresses {
    /// These addresses.
    #[must_use]
    pub fn new(addresses: Vec<EmailAddress>) -> Self {
        Self(addresses)
    }

    /// These and more.
    #[must_use]
    pub fn and(&self, more: impl IntoIterator<Item = EmailAddress>) -> Self {
        Self(self.0.iter().cloned().chain(more).collect())
    }

    /// True if an address is one of them, whatever tag it carries (`support+billing@…`).
    #[must_use]
    pub fn contain(&self, address: &EmailAddress) -> bool {
        self.0.contains(address) || address.without_tag().is_some_and(|bare| self.0.contains(&bare))
    }
}

/// The reason for which a mail is left alone whatever it says; none if it may be a ticket's.
#[must_use]
pub fn skipped_for_its_nature(
    message: &Message,
    sender: Option<&EmailAddress>,
    own: &OwnAddresses,
    verdict: &Verdict,
) -> Option<Decision> {
    if verdict.class == MailClass::Own {
        return Some(Decision::skipped("own mail").with("evidence", verdict.evidence.clone()));
    }
    if sender.is_some_and(|sender| own.contain(sender)) {
        return Some(Decision::skipped("own address"));
    }
    if let Some(evidence) = invitation(message) {
        return Some(Decision::skipped("calendar invitation").with("evidence", evidence));
    }
    match action(verdict.class) {
        Action::Skip(reason) => Some(of_class(reason, verdict)),
        Action::Take | Action::TakeIfARuleSaysSo(_) if sender.is_none() => {
            Some(Decision::skipped("no sender's address").with("class", verdict.class.as_str()))
        }
        Action::Take | Action::TakeIfARuleSaysSo(_) => None,
    }
}

/// The reason for which automatic mail is left alone, because no rule that fits opens tickets for its class.
#[must_use]
pub fn skipped_for_want_of_a_rule(verdict: &Verdict, opens_for: &[MailClass]) -> Option<Decision> {
    match action(verdict.class) {
        Action::TakeIfARuleSaysSo(reason) if !opens_for.contains(&verdict.class) => Some(of_class(reason, verdict)),
        _ => None,
    }
}

fn of_class(reason: &str, verdict: &Verdict) -> Decision {
    Decision::skipped(reason).with("class", verdict.class.as_str()).with("evidence", verdict.evidence.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn verdict(class: MailClass) -> Verdict {
        Verdict { class, evidence: "header: x".to_owned(), certain: true }
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    fn skipped(class: MailClass, from: Option<&str>) -> Option<String> {
        let own = OwnAddresses::new(vec![address("support@northwind.example")]);
        let sender = from.map(address);
        let decision = skipped_for_its_nature(&Message::with_id("m"), sender.as_ref(), &own, &verdict(class));
        decision.map(|decision| decision.reason)
    }

    #[test]
    fn every_class_has_one_action_and_what_machines_answer_never_reaches_a_ticket() {
        let listed: BTreeSet<MailClass> = ACTIONS.iter().map(|(class, _)| *class).collect();
        assert_eq!(listed.len(), ACTIONS.len());
        assert_eq!(listed, MailClass::ALL.into_iter().collect());
        for class in [MailClass::OutOfOffice, MailClass::AutoReply, MailClass::Bounce, MailClass::Own] {
            assert!(matches!(action(class), Action::Skip(_)), "{class}");
        }
    }

    #[test]
    fn own_addresses_are_known_with_every_tag() {
        for own in ["support@northwind.example", "Support+billing@Northwind.example"] {
            assert_eq!(skipped(MailClass::Human, Some(own)).as_deref(), Some("own address"), "{own}");
        }
        assert_eq!(skipped(MailClass::Human, Some("dana@acme.example")), None);
        assert_eq!(skipped(MailClass::Human, None).as_deref(), Some("no sender's address"));
    }

    #[test]
    fn lists_and_notifications_are_taken_where_a_rule_says_so_alone() {
        for class in [MailClass::List, MailClass::Notification] {
            assert_eq!(skipped(class, Some("alerts@monitoring.example")), None, "{class}");
            assert!(skipped_for_want_of_a_rule(&verdict(class), &[]).is_some(), "{class}");
            assert_eq!(skipped_for_want_of_a_rule(&verdict(class), &[class]), None, "{class}");
        }
        assert_eq!(skipped_for_want_of_a_rule(&verdict(MailClass::Human), &[]), None);
    }
}

//! The rules for one mail, without input or output: is it wanted, which way did it go, who is on it, whose deal is it.

use shared::crm::{Contact, ContactsByAddress, Direction};
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::decision::Decision;
use shared::domain::digest::sha256_hex;
use shared::nylas::message::{Message, addresses};

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

/// True if the notification lacks what every decision needs, so that the mail must be fetched.
#[must_use]
pub fn is_incomplete(message: &Message) -> bool {
    message.from.is_none() || message.to.is_none() || message.folders.is_none()
}

/// The most addresses of one mail that are looked up. Beyond it a mail is a circular, and looking everybody up would
/// take the calls of all others.
pub const MOST_LOOKUPS: usize = 50;

/// What is to be done with a mail before anybody is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screening {
    /// It is not wanted.
    Dropped(Decision),
    /// Look these addresses up, in this order.
    LookUp {
        /// The addresses outside the company, at most [`MOST_LOOKUPS`] of them.
        external: Vec<EmailAddress>,
        /// How many more there are.
        not_looked_up: usize,
        /// Which way it went.
        direction: Direction,
        /// What the direction was told by.
        told_by: &'static str,
    },
}

/// Screens a mail.
#[must_use]
pub fn screen(message: &Message, people: &People, company: &CompanyDomains) -> Screening {
    if in_folder(message, "DRAFT") || in_folder(message, "DRAFTS") {
        return Screening::Dropped(Decision::skipped("draft"));
    }
    let mut external: Vec<EmailAddress> =
        people.everyone().into_iter().filter(|address| !company.contains(address)).collect();
    if external.is_empty() {
        let reason = if people.everyone().is_empty() { "no address on it" } else { "internal mail" };
        return Screening::Dropped(Decision::skipped(reason));
    }
    let (direction, told_by) = direction(message, people, company);
    let not_looked_up = external.len().saturating_sub(MOST_LOOKUPS);
    external.truncate(MOST_LOOKUPS);
    Screening::LookUp { external, not_looked_up, direction, told_by }
}

/// Which way a mail went. The folder tells where its id is a name; elsewhere, and for a colleague's mail to a customer
/// that lies in one's own inbox, the sender does: what comes from a company domain goes out.
fn direction(message: &Message, people: &People, company: &CompanyDomains) -> (Direction, &'static str) {
    if in_folder(message, "SENT") {
        return (Direction::Outbound, "folder");
    }
    match &people.from {
        Some(sender) if company.contains(sender) => (Direction::Outbound, "sender"),
        Some(_) if !in_folder(message, "INBOX") => (Direction::Inbound, "sender"),
        _ => (Direction::Inbound, "folder"),
    }
}

fn in_folder(message: &Message, name: &str) -> bool {
    message.folders.iter().flatten().any(|folder| folder.eq_ignore_ascii_case(name))
}

/// The contacts on a mail, and whose deal it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// Every contact, each once, in the order of the addresses.
    pub contact_ids: Vec<String>,
    /// The deal of the first contact.
    pub deal_id: Option<String>,
    /// How many addresses nobody in the CRM has.
    pub unmatched: usize,
}

/// Matches the addresses of a mail with what the CRM knows; none if it knows nobody.
#[must_use]
pub fn match_contacts(external: &[EmailAddress], known: &ContactsByAddress) -> Option<Matched> {
    let mut contacts: Vec<&Contact> = Vec::new();
    for contact in external.iter().filter_map(|address| known.get(address)).flatten() {
        if contacts.iter().all(|standing| standing.id != contact.id) {
            contacts.push(contact);
        }
    }
    let first = contacts.first()?;
    Some(Matched {
        deal_id: first.primary_deal_id.clone(),
        contact_ids: contacts.iter().map(|contact| contact.id.clone()).collect(),
        unmatched: external.iter().filter(|address| known.get(address).is_none_or(Vec::is_empty)).count(),
    })
}

/// What makes two copies one mail: the Message-ID where the headers are known, else the copy itself.
/// A digest, so that it fits keys and headers everywhere.
#[must_use]
pub fn identity(message: &Message) -> String {
    if let Some(message_id) = message.message_id_header() {
        sha256_hex(&[b"message-id:", message_id.as_bytes()])
    } else {
        let grant = message.grant_id.as_deref().unwrap_or_default();
        sha256_hex(&[b"nylas:", grant.as_bytes(), b"/", message.id.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn company() -> CompanyDomains {
        CompanyDomains::parse(["northwind.example"]).expect("a domain")
    }

    fn message(fields: &Value) -> Message {
        let mut value = json!({
            "id": "m", "grant_id": "g", "folders": ["INBOX"],
            "from": [{"email": "dana@acme.example"}], "to": [{"email": "rep@northwind.example"}],
        });
        for (name, field) in fields.as_object().expect("fields") {
            value[name] = field.clone();
        }
        serde_json::from_value(value).expect("a message")
    }

    fn screened(fields: &Value) -> Screening {
        let message = message(fields);
        screen(&message, &People::on(&message), &company())
    }

    fn dropped_as(fields: &Value) -> String {
        match screened(fields) {
            Screening::Dropped(decision) => decision.to_string(),
            looked_up @ Screening::LookUp { .. } => panic!("not dropped: {looked_up:?}"),
        }
    }

    fn went(fields: &Value) -> (Direction, &'static str) {
        match screened(fields) {
            Screening::LookUp { direction, told_by, .. } => (direction, told_by),
            Screening::Dropped(decision) => panic!("dropped: {decision}"),
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
    fn draft_is_dropped() {
        for folder in ["DRAFT", "Drafts"] {
            assert_eq!(dropped_as(&json!({"folders": [folder]})), "skipped: draft");
        }
    }

    #[test]
    fn folder_tells_the_direction_where_its_id_is_a_name() {
        assert_eq!(went(&json!({"folders": ["INBOX", "UNREAD"]})), (Direction::Inbound, "folder"));
        let sent = json!({"folders": ["SENT"], "from": [{"email": "alias@private.example"}]});
        assert_eq!(went(&sent), (Direction::Outbound, "folder"));
    }

    #[test]
    fn sender_tells_the_direction_where_folder_ids_are_opaque() {
        assert_eq!(went(&json!({"folders": ["AAMkAGI2"]})), (Direction::Inbound, "sender"));
        let out = json!({"folders": ["AAMkAGI3"], "from": [{"email": "rep@northwind.example"}],
            "to": [{"email": "dana@acme.example"}]});
        assert_eq!(went(&out), (Direction::Outbound, "sender"));
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
    fn circular_has_its_first_fifty_addresses_looked_up_and_the_rest_counted() {
        let to: Vec<Value> = (0..60).map(|number| json!({"email": format!("p{number}@acme.example")})).collect();
        let Screening::LookUp { external, not_looked_up, .. } = screened(&json!({"to": to})) else { panic!("dropped") };
        assert_eq!((external.len(), not_looked_up), (50, 11));
        assert_eq!(external[0].as_str(), "dana@acme.example", "the sender first");
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    fn contact(id: &str, deal: Option<&str>) -> Contact {
        Contact { id: id.to_owned(), primary_deal_id: deal.map(str::to_owned) }
    }

    #[test]
    fn every_contact_is_on_it_once_and_the_deal_is_the_first_contacts() {
        let external = [address("a@x.example"), address("b@y.example"), address("c@z.example")];
        let known = ContactsByAddress::from([
            (address("a@x.example"), vec![contact("1", None), contact("2", Some("d2"))]),
            (address("b@y.example"), vec![contact("2", Some("d2")), contact("3", Some("d3"))]),
        ]);
        assert_eq!(
            match_contacts(&external, &known),
            Some(Matched { contact_ids: vec!["1".into(), "2".into(), "3".into()], deal_id: None, unmatched: 1 })
        );
    }

    #[test]
    fn nobody_known_matches_nothing() {
        assert_eq!(match_contacts(&[address("a@x.example")], &ContactsByAddress::new()), None);
    }

    #[test]
    fn copies_with_one_message_id_are_one_mail_and_without_headers_each_copy_is_its_own() {
        let header = json!({"headers": [{"name": "Message-Id", "value": "<abc@mail.example>"}]});
        let mut elsewhere = header.clone();
        elsewhere["id"] = "m2".into();
        elsewhere["grant_id"] = "g2".into();
        assert_eq!(identity(&message(&header)), identity(&message(&elsewhere)));
        assert_ne!(identity(&message(&json!({}))), identity(&message(&json!({"grant_id": "g2"}))));
        assert_eq!(identity(&message(&json!({}))), identity(&message(&json!({"subject": "other"}))));
    }

    #[test]
    fn notification_that_lacks_people_or_folders_is_incomplete() {
        assert!(!is_incomplete(&message(&json!({"to": [], "subject": null}))));
        for field in ["from", "to", "folders"] {
            assert!(is_incomplete(&message(&json!({field: null}))), "{field}");
        }
    }
}

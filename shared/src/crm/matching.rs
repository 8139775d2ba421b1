//! Who of the people on a mail or in a meeting the CRM knows, and which deal it belongs to: one rule for all functions.
//!
//! A known prospect is a contact that the CRM knows under one of the addresses, or under the mailbox behind a tagged
//! one (`dana+demo@acme.example`).

use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::HashMap;

use super::{Contact, ContactsByAddress, Deal};
use crate::domain::address::EmailAddress;
use crate::domain::failure::Failure;

/// What the CRM may know an address by: the address itself, then the mailbox behind a tagged one.
pub fn known_as(address: &EmailAddress) -> impl Iterator<Item = EmailAddress> {
    std::iter::once(address.clone()).chain(address.without_tag())
}

/// The addresses to ask the CRM for, each once: those given, and the mailboxes behind tagged ones.
#[must_use]
pub fn addresses_to_look_up<'a>(addresses: impl IntoIterator<Item = &'a EmailAddress>) -> Vec<EmailAddress> {
    let mut asked = Vec::new();
    for address in addresses {
        for address in known_as(address) {
            if !asked.contains(&address) {
                asked.push(address);
            }
        }
    }
    asked
}

/// The contacts among the addresses, and the deal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// Every contact, each once, in the order of the addresses.
    pub contact_ids: Vec<String>,
    /// The deal, and what it was chosen from.
    pub deal: DealChoice,
    /// The addresses that nobody in the CRM has.
    pub unmatched: Vec<EmailAddress>,
}

/// Why nothing could be matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NobodyKnown {
    /// The addresses that nobody in the CRM has: all.
    pub unmatched: Vec<EmailAddress>,
}

/// Matches addresses with what the CRM knows. `writer` is who wrote, or asked to meet, if it was one of them.
///
/// # Errors
/// [`NobodyKnown`] if none of them is known.
pub fn match_contacts(
    addresses: &[EmailAddress],
    writer: Option<&EmailAddress>,
    known: &ContactsByAddress,
) -> Result<Matched, NobodyKnown> {
    let mut contacts: Vec<&Contact> = Vec::new();
    let mut unmatched = Vec::new();
    let mut writing: Option<&str> = None;
    for address in addresses {
        let found = known_as(address).find_map(|address| known.get(&address).filter(|contacts| !contacts.is_empty()));
        let Some(found) = found else {
            unmatched.push(address.clone());
            continue;
        };
        for contact in found {
            if writer == Some(address) && writing.is_none() {
                writing = Some(&contact.id);
            }
            if contacts.iter().all(|standing| standing.id != contact.id) {
                contacts.push(contact);
            }
        }
    }
    if contacts.is_empty() {
        return Err(NobodyKnown { unmatched });
    }
    Ok(Matched {
        deal: DealChoice::among(&contacts, writing),
        contact_ids: contacts.iter().map(|contact| contact.id.clone()).collect(),
        unmatched,
    })
}

/// The failure that says that the CRM refuses to look up every single one of the addresses that were asked for, of
/// `what`: something is wrong with it, and not with them. None if it answered for any.
#[must_use]
pub fn refuses_all(asked: &[EmailAddress], known: &ContactsByAddress, what: &str) -> Option<Failure> {
    let refuses = asked.iter().all(|address| known.get(address).is_some_and(Vec::is_empty));
    (refuses && !asked.is_empty()).then(|| {
        let number = asked.len();
        let what = format!("the CRM refuses to look up all {number} addresses of {what}; ask it for one to see why");
        Failure::permanent("crm.rejected", what)
    })
}

/// A deal that came into question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The deal.
    pub deal: Deal,
    /// The contact it was first found with.
    pub contact_id: String,
    /// True if it is a deal of the contact who wrote.
    pub of_the_writer: bool,
}

impl Candidate {
    fn to_json(&self) -> Value {
        json!({
            "deal_id": self.deal.id,
            "contact_id": self.contact_id,
            "open": self.deal.open,
            "last_activity_at": self.deal.last_activity_at.map(|time| time.to_string()),
            "of_the_writer": self.of_the_writer,
        })
    }
}

/// The deal that something belongs to, chosen by one rule: an open one before one whose state is not known before a
/// closed one; then the newest activity; then a deal of the contact who wrote; then the order of the addresses, each
/// contact's main deal first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DealChoice {
    /// The chosen one; none if no contact has a deal.
    pub chosen: Option<Candidate>,
    /// What decided, in words.
    pub rule: &'static str,
    /// The others, the best first.
    pub rejected: Vec<Candidate>,
}

impl DealChoice {
    fn among(contacts: &[&Contact], writer: Option<&str>) -> Self {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for contact in contacts {
            let of_the_writer = writer == Some(contact.id.as_str());
            for deal in &contact.deals {
                if let Some(place) = places.get(deal.id.as_str()) {
                    candidates[*place].of_the_writer |= of_the_writer;
                } else {
                    places.insert(&deal.id, candidates.len());
                    candidates.push(Candidate { deal: deal.clone(), contact_id: contact.id.clone(), of_the_writer });
                }
            }
        }
        // Stable: what the rule leaves equal keeps the order of the addresses.
        candidates.sort_by(|one, other| compare(one, other).0);
        let mut candidates = candidates.into_iter();
        let Some(chosen) = candidates.next() else {
            return Self { chosen: None, rule: "no contact has a deal", rejected: Vec::new() };
        };
        let rejected: Vec<Candidate> = candidates.collect();
        let rule = rejected.first().map_or("the only deal", |second| compare(&chosen, second).1);
        Self { chosen: Some(chosen), rule, rejected }
    }

    /// The id of the chosen deal.
    #[must_use]
    pub fn deal_id(&self) -> Option<String> {
        self.chosen.as_ref().map(|chosen| chosen.deal.id.clone())
    }

    /// The rejected candidates, for the decision record.
    #[must_use]
    pub fn rejected_to_json(&self) -> Vec<Value> {
        self.rejected.iter().map(Candidate::to_json).collect()
    }
}

/// Orders two candidates, the better one first, and names what tells them apart.
fn compare(one: &Candidate, other: &Candidate) -> (Ordering, &'static str) {
    let openness = |candidate: &Candidate| match candidate.deal.open {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    };
    let by_openness = openness(one).cmp(&openness(other));
    // A known time before an unknown one, a later before an earlier one.
    let by_activity = other.deal.last_activity_at.cmp(&one.deal.last_activity_at);
    let by_writer = other.of_the_writer.cmp(&one.of_the_writer);
    [
        (by_openness, "open before closed"),
        (by_activity, "newest activity"),
        (by_writer, "the deal of the contact who wrote"),
    ]
    .into_iter()
    .find(|(order, _)| order.is_ne())
    .unwrap_or((Ordering::Equal, "first in the order of the addresses"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    fn deal(id: &str, open: Option<bool>, last_activity_at: Option<i64>) -> Deal {
        Deal {
            id: id.to_owned(),
            open,
            last_activity_at: last_activity_at.map(|second| Timestamp::from_second(second).expect("a time")),
        }
    }

    fn contact(id: &str, deals: &[Deal]) -> Contact {
        Contact { id: id.to_owned(), deals: deals.to_vec(), ..Contact::default() }
    }

    fn matched(known: &[(&str, Contact)]) -> Matched {
        let addresses: Vec<EmailAddress> = known.iter().map(|(text, _)| address(text)).collect();
        let known = known.iter().map(|(text, contact)| (address(text), vec![contact.clone()])).collect();
        match_contacts(&addresses, addresses.first(), &known).expect("somebody known")
    }

    fn chosen(known: &[(&str, Contact)]) -> (Option<String>, &'static str) {
        let choice = matched(known).deal;
        (choice.deal_id(), choice.rule)
    }

    #[test]
    fn contacts_of_several_companies_are_all_on_it_each_once() {
        let shared = contact("2", &[]);
        let found =
            matched(&[("a@x.example", contact("1", &[])), ("b@y.example", shared.clone()), ("b2@y.example", shared)]);
        assert_eq!(found.contact_ids, ["1", "2"]);
    }

    #[test]
    fn strangers_are_named_and_only_strangers_match_nothing() {
        let addresses = [address("a@x.example"), address("z@z.example")];
        let known = ContactsByAddress::from([(address("a@x.example"), vec![contact("1", &[])])]);
        let found = match_contacts(&addresses, None, &known).expect("somebody known");
        assert_eq!(found.unmatched, [address("z@z.example")]);
        let nobody = match_contacts(&addresses, None, &ContactsByAddress::new()).expect_err("nobody known");
        assert_eq!(nobody.unmatched, addresses);
    }

    #[test]
    fn tagged_address_is_looked_up_as_it_is_and_without_its_tag_and_its_own_contact_comes_first() {
        let tagged = address("dana+crm@acme.example");
        let asked = addresses_to_look_up([&tagged, &address("dana@acme.example")]);
        assert_eq!(asked, [tagged.clone(), address("dana@acme.example")]);
        let plain = (address("dana@acme.example"), vec![contact("plain", &[])]);
        let own = (tagged.clone(), vec![contact("own", &[])]);
        let behind = match_contacts(std::slice::from_ref(&tagged), None, &ContactsByAddress::from([plain.clone()]));
        assert_eq!(behind.expect("known").contact_ids, ["plain"]);
        let both = match_contacts(&[tagged], None, &ContactsByAddress::from([plain, own]));
        assert_eq!(both.expect("known").contact_ids, ["own"]);
    }

    #[test]
    fn open_deal_comes_before_one_of_unknown_state_and_that_before_a_closed_one() {
        let of = |open| contact("c", &[deal("closed", Some(false), Some(9)), deal("this", open, Some(1))]);
        assert_eq!(chosen(&[("a@x.example", of(None))]), (Some("this".to_owned()), "open before closed"));
        let both = [("a@x.example", of(None)), ("b@y.example", contact("d", &[deal("open", Some(true), None)]))];
        assert_eq!(chosen(&both), (Some("open".to_owned()), "open before closed"));
    }

    #[test]
    fn among_open_deals_the_newest_activity_decides_and_then_who_wrote() {
        let first = contact("1", &[deal("old", Some(true), Some(100))]);
        let newer = contact("2", &[deal("new", Some(true), Some(200))]);
        let by_activity = [("a@x.example", first), ("b@y.example", newer)];
        assert_eq!(chosen(&by_activity), (Some("new".to_owned()), "newest activity"));
        let of = |id: &str, deal_id: &str| contact(id, &[deal(deal_id, None, None)]);
        let by_writer = [("a@x.example", of("1", "writers")), ("b@y.example", of("2", "others"))];
        assert_eq!(chosen(&by_writer), (Some("writers".to_owned()), "the deal of the contact who wrote"));
        let addresses = [address("a@x.example"), address("b@y.example")];
        let known = by_writer.into_iter().map(|(text, contact)| (address(text), vec![contact])).collect();
        let of_a_colleagues_mail = match_contacts(&addresses, None, &known).expect("known").deal;
        assert_eq!(of_a_colleagues_mail.rule, "first in the order of the addresses");
    }

    #[test]
    fn rejected_candidates_are_kept_the_best_first() {
        let deals = [deal("closed", Some(false), None), deal("open", Some(true), None), deal("unknown", None, None)];
        let choice = matched(&[("a@x.example", contact("1", &deals))]).deal;
        let rejected: Vec<String> = choice.rejected.iter().map(|candidate| candidate.deal.id.clone()).collect();
        assert_eq!(rejected, ["unknown", "closed"]);
        assert_eq!(choice.rejected_to_json()[1]["open"], false);
    }

    #[test]
    fn deal_that_two_contacts_share_is_one_candidate_and_the_writers() {
        let shared = [deal("shared", None, None)];
        let choice = matched(&[("a@x.example", contact("1", &shared)), ("b@x.example", contact("2", &shared))]).deal;
        assert_eq!((choice.rejected.len(), choice.rule), (0, "the only deal"));
        let no_deal = matched(&[("a@x.example", contact("1", &[]))]).deal;
        assert_eq!((no_deal.deal_id(), no_deal.rule), (None, "no contact has a deal"));
    }
}

//! A contact of an address book, reduced to what matters here: the addresses it may be found by, and what it says of the
//! three fields. Pure.

use shared::crm::contact_fields::PerField;
use shared::crm::matching::addresses_to_look_up;
use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::domain::digest::sha256_hex;
use shared::domain::never_log::NeverLog;
use shared::nylas::contact::Contact;

use crate::phone::{self, PhoneRegion};

/// The most addresses that one contact is looked up by.
const MOST_ADDRESSES: usize = 10;

/// The longest text that a field is filled with, in characters: what is longer is a note in the wrong place, and CRMs
/// refuse it (HubSpot and Salesforce take 128 to 255).
const LONGEST_TEXT: usize = 128;

/// What decides how a contact is read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The company's own domains: colleagues are no contacts.
    pub company_domains: CompanyDomains,
    /// Where numbers without a country code are from.
    pub region: PhoneRegion,
}

impl Reading {
    /// Tells one way of reading from another: what was read otherwise is looked at again.
    #[must_use]
    pub fn name(&self) -> String {
        format!("1{}", self.region.code())
    }
}

/// Which contact of which account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CopyId {
    /// The account.
    pub grant: String,
    /// Nylas's id of the contact within it.
    pub contact: String,
}

/// One address book's word on a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Which.
    pub id: CopyId,
    /// The addresses to look for, the one of work first. Never empty.
    pub addresses: Vec<EmailAddress>,
    /// What it says; at least of one field.
    pub says: PerField<Option<String>>,
    /// A digest of what was read, as it was typed.
    pub content: String,
}

/// Why a contact is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftAlone {
    /// It has no id.
    NoId,
    /// It has no address.
    NoAddress,
    /// It says nothing of the three fields.
    NothingToSay,
    /// All its addresses are the company's own.
    Internal,
    /// The never-log list forbids one of its addresses.
    NeverLog,
}

impl LeftAlone {
    /// The reason in words, as it is counted.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoId => "skipped: no id",
            Self::NoAddress => "skipped: no address",
            Self::NothingToSay => "skipped: no phone, title or company",
            Self::Internal => "skipped: a colleague",
            Self::NeverLog => "skipped: on the never-log list",
        }
    }
}

/// Reads a contact of an account.
///
/// # Errors
/// Why it is left alone.
pub fn read(grant: &str, contact: &Contact, never_log: &NeverLog, reading: &Reading) -> Result<Copy, LeftAlone> {
    if contact.id.is_empty() {
        return Err(LeftAlone::NoId);
    }
    let all = addresses_of(contact);
    if all.is_empty() {
        return Err(LeftAlone::NoAddress);
    }
    if all.iter().any(|address| never_log.forbids(address).is_some()) {
        return Err(LeftAlone::NeverLog);
    }
    let others = all.iter().filter(|address| !reading.company_domains.contains(address));
    let mut addresses = addresses_to_look_up(others);
    addresses.truncate(MOST_ADDRESSES);
    if addresses.is_empty() {
        return Err(LeftAlone::Internal);
    }
    let typed = PerField {
        phone: phone::chosen(&contact.phone_numbers).map(str::to_owned),
        job_title: text(&contact.job_title),
        company: text(&contact.company_name),
    };
    if typed.is_empty() {
        return Err(LeftAlone::NothingToSay);
    }
    let content = digest(&addresses, &typed);
    let says = PerField { phone: typed.phone.map(|typed| phone::written(&typed, reading.region)), ..typed };
    let id = CopyId { grant: grant.to_owned(), contact: contact.id.clone() };
    Ok(Copy { id, addresses, says, content })
}

/// The addresses of work first, then the rest in their order: Microsoft tells no types.
fn addresses_of(contact: &Contact) -> Vec<EmailAddress> {
    let is_work = |kind: &str| kind.eq_ignore_ascii_case("work") || kind.eq_ignore_ascii_case("business");
    let (work, others): (Vec<_>, Vec<_>) = contact.emails.iter().partition(|email| is_work(&email.kind));
    let mut addresses = Vec::new();
    for address in work.into_iter().chain(others).filter_map(|email| EmailAddress::parse(&email.email)) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

fn text(typed: &str) -> Option<String> {
    let text = typed.split(|character: char| character.is_whitespace() || character.is_control());
    let text = text.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let says_something = text.chars().any(char::is_alphanumeric) && text.chars().count() <= LONGEST_TEXT;
    says_something.then_some(text)
}

fn digest(addresses: &[EmailAddress], typed: &PerField<Option<String>>) -> String {
    let mut parts: Vec<&[u8]> = Vec::new();
    for address in addresses {
        parts.extend([address.as_str().as_bytes(), b"\n"]);
    }
    for (field, value) in typed.iter() {
        let value = value.as_deref().unwrap_or_default();
        parts.extend([field.name().as_bytes(), b"=", value.as_bytes(), b"\n"]);
    }
    sha256_hex(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn reading() -> Reading {
        let company_domains = CompanyDomains::parse(["northwind.example"]).expect("domains");
        Reading { company_domains, region: PhoneRegion::default() }
    }

    fn read_from(contact: Value) -> Result<Copy, LeftAlone> {
        let contact: Contact = serde_json::from_value(contact).expect("a contact");
        let (never_log, _) = NeverLog::parse("secret.example");
        read("g", &contact, &never_log, &reading())
    }

    fn addresses(copy: &Copy) -> Vec<&str> {
        copy.addresses.iter().map(EmailAddress::as_str).collect()
    }

    #[test]
    fn address_of_work_comes_first_and_what_stands_behind_a_tag_is_looked_for_too() {
        let copy = read_from(json!({
            "id": "c", "job_title": "Buyer",
            "emails": [{ "type": "home", "email": "Dana@home.example" }, { "email": "not an address" },
                { "type": "work", "email": "Dana+Fair@Acme.example " }, { "type": "work", "email": "dana@HOME.example" },
                { "type": "other", "email": "dana@northwind.example" }],
        }))
        .expect("a copy");
        assert_eq!(addresses(&copy), ["dana+fair@acme.example", "dana@acme.example", "dana@home.example"]);
    }

    #[test]
    fn contact_without_types_is_looked_for_by_all_its_addresses() {
        let emails = json!([{ "email": "a@x.example" }, { "email": "b@x.example" }]);
        let copy = read_from(json!({ "id": "c", "company_name": "X", "emails": emails })).expect("a copy");
        assert_eq!(addresses(&copy), ["a@x.example", "b@x.example"]);
    }

    #[test]
    fn only_what_says_something_is_taken() {
        let copy = read_from(json!({
            "id": "c", "emails": [{ "email": "a@x.example" }], "job_title": " Head\u{a0}of \n Buying ",
            "company_name": " - ", "phone_numbers": [{ "number": "" }, { "number": "+1-555-555-5555", "type": null }],
        }))
        .expect("a copy");
        let says = [copy.says.phone.as_deref(), copy.says.job_title.as_deref(), copy.says.company.as_deref()];
        assert_eq!(says, [Some("+15555555555"), Some("Head of Buying"), None]);
        let too_long = json!({ "id": "c", "emails": [{ "email": "a@x.example" }], "job_title": "x".repeat(129) });
        assert_eq!(read_from(too_long), Err(LeftAlone::NothingToSay));
    }

    #[test]
    fn contact_that_is_left_alone_says_why() {
        let with = |emails: Value| read_from(json!({ "id": "c", "emails": emails, "job_title": "Buyer" }));
        assert_eq!(with(json!(null)), Err(LeftAlone::NoAddress));
        assert_eq!(with(json!([{ "email": "/O=EX/CN=dana" }])), Err(LeftAlone::NoAddress));
        assert_eq!(with(json!([{ "email": "ines@sales.northwind.example" }])), Err(LeftAlone::Internal));
        let one_forbidden = json!([{ "email": "a@x.example" }, { "email": "a@secret.example" }]);
        assert_eq!(with(one_forbidden), Err(LeftAlone::NeverLog));
        assert_eq!(
            read_from(json!({ "id": "c", "emails": [{ "email": "a@x.example" }] })),
            Err(LeftAlone::NothingToSay)
        );
        assert_eq!(read_from(json!({ "emails": [{ "email": "a@x.example" }] })), Err(LeftAlone::NoId));
    }

    #[test]
    fn digest_changes_with_what_is_said_and_with_nothing_else() {
        let content = |contact: Value| read_from(contact).expect("a copy").content;
        let base = json!({ "id": "c", "emails": [{ "email": "a@x.example" }], "job_title": "Buyer" });
        let with = |key: &str, value: Value| {
            let mut contact = base.clone();
            contact[key] = value;
            contact
        };
        assert_eq!(content(base.clone()), content(with("notes", json!("Loves ramen"))));
        assert_eq!(content(base.clone()), content(with("id", json!("d"))));
        assert_ne!(content(base.clone()), content(with("job_title", json!("Head of Buying"))));
        assert_ne!(content(base.clone()), content(with("emails", json!([{ "email": "b@x.example" }]))));
        assert_ne!(content(base.clone()), content(with("phone_numbers", json!([{ "number": "+1 555 555 5555" }]))));
    }
}

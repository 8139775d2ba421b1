//! A contact of an address book as Nylas hands it over, from its lists and in `contact.updated` notifications.
//!
//! Every list may be null, and types are told by Google, IMAP and iCloud alone (Nylas API reference, contacts). What has
//! another form than it should is as good as absent: one odd entry must not cost a page of two hundred contacts.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The fields that are asked for: a contact may hold notes and a picture that nobody here needs.
pub(super) const FIELDS: &str = "id,emails,phone_numbers,job_title,company_name,source";

/// One contact of one address book.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Contact {
    /// Nylas's id, within the account; empty if it has none.
    #[serde(default, deserialize_with = "text")]
    pub id: String,
    /// Its addresses.
    #[serde(default, deserialize_with = "readable_entries")]
    pub emails: Vec<ContactEmail>,
    /// Its telephone numbers.
    #[serde(default, deserialize_with = "readable_entries")]
    pub phone_numbers: Vec<PhoneNumber>,
    /// Its job title; empty if there is none.
    #[serde(default, deserialize_with = "text")]
    pub job_title: String,
    /// Its company; empty if there is none.
    #[serde(default, deserialize_with = "text")]
    pub company_name: String,
    /// `address_book`, `domain` or `inbox`; empty if Nylas does not tell.
    #[serde(default, deserialize_with = "text")]
    pub source: String,
}

/// An address of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct ContactEmail {
    /// The address; empty if there is none.
    #[serde(default, deserialize_with = "text")]
    pub email: String,
    /// `work`, `home` and so on; empty if Nylas does not tell.
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub kind: String,
}

/// A telephone number of a contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct PhoneNumber {
    /// The number, as somebody typed it; empty if there is none.
    #[serde(default, deserialize_with = "text")]
    pub number: String,
    /// `work`, `mobile`, `home_fax` and so on; empty if Nylas does not tell.
    #[serde(default, rename = "type", deserialize_with = "text")]
    pub kind: String,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        _ => String::new(),
    })
}

fn readable_entries<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(entries) => entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn list_that_is_null_and_entry_of_another_form_are_as_good_as_absent() {
        let contact = json!({
            "id": "c", "emails": [{ "email": "A@b.example" }, null, 7, { "email": null, "type": "work" }],
            "phone_numbers": null, "job_title": null, "company_name": 3, "source": "address_book", "groups": null,
        });
        let contact: Contact = serde_json::from_value(contact).expect("a contact");
        let email = |email: &str, kind: &str| ContactEmail { email: email.to_owned(), kind: kind.to_owned() };
        assert_eq!(contact.emails, [email("A@b.example", ""), email("", "work")]);
        assert!(contact.phone_numbers.is_empty() && contact.job_title.is_empty() && contact.company_name.is_empty());
        assert_eq!(serde_json::from_value::<Contact>(json!({})).expect("a contact"), Contact::default());
    }
}

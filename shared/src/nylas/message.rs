//! A mail as Nylas sends it, in `message.*` notifications and from `GET …/messages/{id}`.
//!
//! Everything but the id may be missing or null: providers differ, and suffixes such as `.transformed` mean that
//! only some fields were sent. A field that is absent is told from one that is empty.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::domain::address::EmailAddress;

/// One mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// Nylas's id of this copy.
    pub id: String,
    /// The mailbox it lies in.
    #[serde(default)]
    pub grant_id: Option<String>,
    /// Its thread.
    #[serde(default)]
    pub thread_id: Option<String>,
    /// Its subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// Its beginning, as text.
    #[serde(default)]
    pub snippet: Option<String>,
    /// Its senders.
    #[serde(default)]
    pub from: Option<Vec<Participant>>,
    /// Its recipients.
    #[serde(default)]
    pub to: Option<Vec<Participant>>,
    /// Those who got a copy.
    #[serde(default)]
    pub cc: Option<Vec<Participant>>,
    /// Those who got a hidden copy.
    #[serde(default)]
    pub bcc: Option<Vec<Participant>>,
    /// Where answers go.
    #[serde(default)]
    pub reply_to: Option<Vec<Participant>>,
    /// When it was received, in Unix seconds.
    #[serde(default, deserialize_with = "unix_time")]
    pub date: Option<Timestamp>,
    /// The ids of the folders it lies in. Only Google's are names.
    #[serde(default)]
    pub folders: Option<Vec<String>>,
    /// Its headers, where they were asked for.
    #[serde(default)]
    pub headers: Option<Vec<Header>>,
}

/// A name and an address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Participant {
    /// The address, if there is one.
    #[serde(default)]
    pub email: Option<String>,
    /// The name, if there is one.
    #[serde(default)]
    pub name: Option<String>,
}

/// A header, its name in the sender's case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Header {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

impl Message {
    /// The first header with this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.headers.as_deref()?;
        headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
    }

    /// The RFC 5322 Message-ID without its angle brackets, where the headers are known.
    #[must_use]
    pub fn message_id_header(&self) -> Option<&str> {
        let value = self.header("Message-ID")?.trim();
        let bare = value.strip_prefix('<').and_then(|value| value.strip_suffix('>')).unwrap_or(value).trim();
        (!bare.is_empty()).then_some(bare)
    }
}

/// The addresses of some participants; what is no address is left out.
#[must_use]
pub fn addresses(participants: Option<&[Participant]>) -> Vec<EmailAddress> {
    participants
        .unwrap_or_default()
        .iter()
        .filter_map(|participant| participant.email.as_deref().and_then(EmailAddress::parse))
        .collect()
}

/// Unix time in seconds, or in milliseconds where it is far beyond all seconds (more than 10^11).
fn unix_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.and_then(|number| number.as_i64()).and_then(|value| {
        if value > 100_000_000_000 {
            Timestamp::from_millisecond(value).ok()
        } else {
            Timestamp::from_second(value).ok()
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(value: serde_json::Value) -> Message {
        serde_json::from_value(value).expect("a message")
    }

    #[test]
    fn message_of_an_id_alone_is_read() {
        let message = message(json!({"id": "m", "from": null, "folders": null, "date": null}));
        assert_eq!((message.from, message.folders, message.date), (None, None, None));
    }

    #[test]
    fn time_is_taken_in_seconds_and_in_milliseconds() {
        for date in [1_772_359_200_i64, 1_772_359_200_000] {
            assert_eq!(message(json!({"id": "m", "date": date})).date.map(Timestamp::as_second), Some(1_772_359_200));
        }
    }

    #[test]
    fn headers_are_found_in_every_case_and_the_message_id_loses_its_brackets() {
        let message = message(json!({"id": "m", "headers": [
            {"name": "Auto-Submitted", "value": "no"}, {"name": "message-id", "value": " <abc@mail.example> "},
        ]}));
        assert_eq!(message.header("auto-submitted"), Some("no"));
        assert_eq!(message.message_id_header(), Some("abc@mail.example"));
    }

    #[test]
    fn participants_without_an_address_are_left_out() {
        let message = message(json!({"id": "m", "to": [
            {"email": "Dana@Acme.example"}, {"name": "undisclosed-recipients"}, {"email": "/O=EX/CN=X"}, {"email": null},
        ]}));
        let found = addresses(message.to.as_deref());
        assert_eq!(found.iter().map(EmailAddress::as_str).collect::<Vec<_>>(), ["dana@acme.example"]);
    }
}

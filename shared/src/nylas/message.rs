//! A mail as Nylas sends it, in `message.*` notifications and from `GET …/messages/{id}`.
//!
//! Everything but the id may be missing or null: providers differ, and suffixes such as `.transformed` mean that
//! only some fields were sent. A field that is absent is told from one that is empty.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

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
    /// Its whole text, as HTML or plain, as its sender wrote it. Notifications that would grow too large, or of chosen
    /// fields alone, carry none. One of another form is as good as none: few need it, and the others must not fail on it.
    #[serde(default, deserialize_with = "text_or_none")]
    pub body: Option<String>,
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
    #[serde(default, deserialize_with = "super::time::optional")]
    pub date: Option<Timestamp>,
    /// The ids of the folders it lies in. Only Google's are names.
    #[serde(default)]
    pub folders: Option<Vec<String>>,
    /// What is attached to it.
    #[serde(default)]
    pub attachments: Option<Vec<Attachment>>,
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

/// Something attached to a mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// Its name.
    #[serde(default)]
    pub filename: Option<String>,
    /// Its type, sometimes with parameters, for example `text/calendar; method=REQUEST`.
    #[serde(default)]
    pub content_type: Option<String>,
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
    /// A mail of which nothing but the id is known.
    #[must_use]
    pub fn with_id(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            grant_id: None,
            thread_id: None,
            subject: None,
            snippet: None,
            body: None,
            from: None,
            to: None,
            cc: None,
            bcc: None,
            reply_to: None,
            date: None,
            folders: None,
            attachments: None,
            headers: None,
        }
    }

    /// The first header with this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let headers = self.headers.as_deref()?;
        headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
    }

    /// The headers as names and values.
    #[must_use]
    pub fn header_pairs(&self) -> Vec<(&str, &str)> {
        let headers = self.headers.as_deref().unwrap_or_default();
        headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect()
    }

    /// The RFC 5322 Message-ID without its angle brackets, folds and blanks, where the headers are known.
    #[must_use]
    pub fn message_id_header(&self) -> Option<String> {
        let value: String = self.header("Message-ID")?.split_whitespace().collect();
        let bare = match (value.find('<'), value.rfind('>')) {
            (Some(open), Some(close)) if open < close => &value[open + 1..close],
            _ => value.trim_matches(['<', '>']),
        };
        (!bare.is_empty()).then(|| bare.to_owned())
    }

    /// The same mail with the headers that another answer showed of it as well.
    #[must_use]
    pub fn with_further_headers(mut self, other: Option<Self>) -> Self {
        self.headers.get_or_insert_default().extend(other.and_then(|other| other.headers).unwrap_or_default());
        self
    }

    /// The same mail with what `fuller` knows and this one does not. The headers are the fuller one's.
    #[must_use]
    pub fn completed_by(self, fuller: Self) -> Self {
        Self {
            id: self.id,
            grant_id: self.grant_id.or(fuller.grant_id),
            thread_id: self.thread_id.or(fuller.thread_id),
            subject: self.subject.or(fuller.subject),
            snippet: self.snippet.or(fuller.snippet),
            body: self.body.or(fuller.body),
            from: self.from.or(fuller.from),
            to: self.to.or(fuller.to),
            cc: self.cc.or(fuller.cc),
            bcc: self.bcc.or(fuller.bcc),
            reply_to: self.reply_to.or(fuller.reply_to),
            date: self.date.or(fuller.date),
            folders: self.folders.or(fuller.folders),
            attachments: self.attachments.or(fuller.attachments),
            headers: fuller.headers.or(self.headers),
        }
    }
}

fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        _ => None,
    })
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
    fn headers_are_found_in_every_case_and_the_message_id_loses_its_brackets() {
        let message = message(json!({"id": "m", "headers": [
            {"name": "Auto-Submitted", "value": "no"}, {"name": "message-id", "value": " <abc@mail.example> "},
        ]}));
        assert_eq!(message.header("auto-submitted"), Some("no"));
        assert_eq!(message.message_id_header().as_deref(), Some("abc@mail.example"));
    }

    #[test]
    fn message_id_has_one_form_however_it_was_folded_and_bracketed() {
        for value in
            ["<abc@mail.example>", "abc@mail.example", "\r\n\t<abc@mail.example>", "<abc@\r\n mail.example> (x)"]
        {
            let message = message(json!({"id": "m", "headers": [{"name": "Message-ID", "value": value}]}));
            assert_eq!(message.message_id_header().as_deref(), Some("abc@mail.example"), "{value:?}");
        }
        for empty in ["", "<>", "  "] {
            let message = message(json!({"id": "m", "headers": [{"name": "Message-ID", "value": empty}]}));
            assert_eq!(message.message_id_header(), None, "{empty:?}");
        }
    }

    #[test]
    fn fetched_mail_fills_only_what_the_notification_left_out() {
        let carried = message(json!({"id": "m", "subject": "as notified", "folders": ["INBOX"]}));
        let fetched = message(json!({"id": "m", "subject": "as fetched", "snippet": "Hello", "folders": ["Label_17"],
            "headers": [{"name": "Message-ID", "value": "<a@b.example>"}]}));
        let whole = carried.completed_by(fetched);
        assert_eq!((whole.subject.as_deref(), whole.snippet.as_deref()), (Some("as notified"), Some("Hello")));
        assert_eq!(whole.folders, Some(vec!["INBOX".to_owned()]));
        assert!(whole.message_id_header().is_some());
    }

    #[test]
    fn body_is_taken_from_whichever_has_it_and_one_of_an_odd_shape_loses_no_mail() {
        let held = || message(json!({"id": "m", "body": "<p>as fetched</p>"}));
        let carried = message(json!({"id": "m", "body": "<p>as notified</p>"}));
        assert_eq!(carried.completed_by(held()).body.as_deref(), Some("<p>as notified</p>"));
        for odd in [json!(null), json!(["x"]), json!({"html": "x"}), json!(7)] {
            let truncated = message(json!({"id": "m", "body": odd}));
            assert_eq!(truncated.body, None, "{odd}");
            assert_eq!(truncated.completed_by(held()).body.as_deref(), Some("<p>as fetched</p>"));
        }
        assert_eq!(Message::with_id("m").completed_by(held()).body.as_deref(), Some("<p>as fetched</p>"));
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

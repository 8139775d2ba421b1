//! What Nylas tells of mail that was sent: opens, clicks, replies, mail that came back. In the real shapes and in those
//! that recipes use.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use shared::domain::address::EmailAddress;
use shared::nylas::{object_in, optional_time};

use crate::customer::digest_of;

/// A click as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldClick {
    /// Tells one click of a mail from another.
    pub id: String,
    /// When.
    pub at: Option<Timestamp>,
    /// Which link: its place in the mail, else its address as a digest.
    pub link: String,
    /// By what.
    pub agent: Option<String>,
}

/// What was told of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The mail that was sent, as far as it is named.
    pub message_id: Option<String>,
    /// When it happened.
    pub at: Option<Timestamp>,
    /// For clicks: each of them that is told.
    pub clicks: Vec<ToldClick>,
    /// For replies: the answer, and whether it is the sender's own, where that is told.
    pub reply: Option<(String, Option<bool>)>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    message_id: Option<String>,
    #[serde(default)]
    root_message_id: Option<String>,
    #[serde(default, deserialize_with = "optional_time")]
    timestamp: Option<Timestamp>,
    #[serde(default)]
    message_data: Option<Counted>,
    #[serde(default)]
    link_data: Option<Vec<Link>>,
    #[serde(default)]
    recents: Option<Vec<Recent>>,
    #[serde(default)]
    from_self: Option<bool>,
    /// Of the recipe's shape: the link that was clicked.
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize)]
struct Counted {
    #[serde(default, deserialize_with = "optional_time")]
    timestamp: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    url: Option<String>,
}

#[derive(Deserialize)]
struct Recent {
    /// A text in the guide, a number in the schema.
    #[serde(default)]
    click_id: Option<Value>,
    #[serde(default)]
    link_index: Option<Value>,
    #[serde(default, deserialize_with = "optional_time")]
    timestamp: Option<Timestamp>,
    #[serde(default)]
    user_agent: Option<String>,
}

/// What a notification of an open, a click or a reply tells; none if it is of another form.
#[must_use]
pub fn told_in(body: &str, kind: &str) -> Option<Told> {
    let object: Object = object_in(body)?;
    let at = object.timestamp.or_else(|| object.message_data.as_ref().and_then(|data| data.timestamp));
    let recents = object.recents.unwrap_or_default();
    let newest = recents.iter().filter_map(|recent| recent.timestamp).max();
    if kind == "thread.replied" {
        let reply = object.message_id.map(|id| (id, object.from_self));
        return Some(Told { message_id: object.root_message_id, at, clicks: Vec::new(), reply });
    }
    let clicks = if kind == "message.link_clicked" {
        clicks_of(&recents, object.link_data.unwrap_or_default(), object.url, at)
    } else {
        Vec::new()
    };
    Some(Told { message_id: object.message_id, at: newest.or(at), clicks, reply: None })
}

fn clicks_of(recents: &[Recent], links: Vec<Link>, url: Option<String>, at: Option<Timestamp>) -> Vec<ToldClick> {
    let text = |value: &Option<Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    if recents.is_empty() {
        let url = url.or_else(|| links.into_iter().find_map(|link| link.url));
        let link = url.map_or_else(|| "0".to_owned(), |url| digest_of(&url));
        let second = at.map_or(0, Timestamp::as_second);
        return vec![ToldClick { id: format!("{link}/{second}"), at, link, agent: None }];
    }
    let of_recent = |recent: &Recent| {
        let link = text(&recent.link_index).unwrap_or_else(|| "0".to_owned());
        let second = recent.timestamp.map_or(0, Timestamp::as_second);
        // An id is told apart within its link alone.
        let id =
            text(&recent.click_id).map_or_else(|| format!("{link}/{second}"), |id| format!("{link}/{id}/{second}"));
        ToldClick { id, at: recent.timestamp.or(at), link, agent: recent.user_agent.clone() }
    };
    recents.iter().map(of_recent).collect()
}

/// Mail that came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldBounce {
    /// Whose mail came back: the addresses that the report names.
    pub addresses: Vec<EmailAddress>,
    /// To whom it was written, if to one alone: a forwarder's report names another address.
    pub recipient: Option<EmailAddress>,
    /// Why, in a word of Nylas's.
    pub kind: String,
}

/// What a notification of mail that came back tells.
#[must_use]
pub fn bounce_in(body: &str) -> Option<ToldBounce> {
    #[derive(Deserialize)]
    struct Bounce {
        #[serde(default, alias = "bounced_address")]
        bounced_addresses: Option<Value>,
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        origin: Option<Origin>,
    }
    #[derive(Deserialize)]
    struct Origin {
        #[serde(default)]
        to: Option<Value>,
    }
    let bounce: Bounce = object_in(body)?;
    let addresses = bounce.bounced_addresses.as_ref().map(addresses_in).unwrap_or_default();
    // Only a mail to one alone tells by its recipient whose it was.
    let recipients = bounce.origin.and_then(|origin| origin.to).as_ref().map(addresses_in).unwrap_or_default();
    let recipient = <[EmailAddress; 1]>::try_from(recipients).ok().map(|[recipient]| recipient);
    let word = |text: String| -> String {
        text.chars()
            .filter(|character| character.is_ascii_alphanumeric() || "_-.".contains(*character))
            .take(60)
            .collect()
    };
    Some(ToldBounce {
        addresses,
        recipient,
        kind: bounce.kind.map(word).filter(|kind| !kind.is_empty()).unwrap_or_else(|| "unknown".to_owned()),
    })
}

/// Addresses in a text or a list of texts or objects: one field, several forms.
fn addresses_in(value: &Value) -> Vec<EmailAddress> {
    match value {
        Value::String(text) => text.split([',', ';']).filter_map(EmailAddress::parse).collect(),
        Value::Array(list) => list.iter().flat_map(addresses_in).collect(),
        Value::Object(fields) => fields.get("email").map(addresses_in).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The mail that could not be sent after all, and to whom.
#[must_use]
pub fn failed_send_in(body: &str) -> Option<(Option<String>, Vec<EmailAddress>)> {
    #[derive(Deserialize)]
    struct Failed {
        #[serde(default)]
        id: Option<String>,
        #[serde(default)]
        to: Option<Value>,
    }
    let failed: Failed = object_in(body)?;
    Some((failed.id, failed.to.as_ref().map(addresses_in).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(object: &Value) -> String {
        json!({"id": "n", "type": "t", "data": {"application_id": "a", "grant_id": "g", "object": object}}).to_string()
    }

    #[test]
    fn click_ids_of_the_guide_and_of_the_schema_are_the_same_click() {
        let click = |id: Value| {
            let recent =
                json!({"click_id": id, "ip": "1", "link_index": "2", "timestamp": 1_800_000_001, "user_agent": "x"});
            let object = json!({"message_id": "m", "recents": [recent], "timestamp": 1_800_000_000,
                "link_data": [{"url": "https://a.example", "count": 1}]});
            told_in(&body(&object), "message.link_clicked").expect("told").clicks
        };
        assert_eq!(click(json!(0)), click(json!("0")));
        assert_eq!(click(json!(0))[0].link, "2");
    }

    #[test]
    fn click_of_the_recipe_has_a_link_and_the_time_it_was_told() {
        let object = json!({"message_id": "m", "url": "https://a.example/setup", "timestamp": 1_800_000_000});
        let told = told_in(&body(&object), "message.link_clicked").expect("told");
        assert_eq!(told.clicks.len(), 1);
        assert_eq!(told.clicks[0].at.map(Timestamp::as_second), Some(1_800_000_000));
    }

    #[test]
    fn reply_names_the_answer_and_whose_it_is_where_that_is_told() {
        let object = json!({"message_id": "r", "root_message_id": "m", "from_self": true, "timestamp": 1});
        let told = told_in(&body(&object), "thread.replied").expect("told");
        assert_eq!((told.message_id.as_deref(), told.reply), (Some("m"), Some(("r".to_owned(), Some(true)))));
        let told = told_in(&body(&json!({"message_id": "r"})), "thread.replied").expect("told");
        assert_eq!(told.reply, Some(("r".to_owned(), None)));
    }

    #[test]
    fn bounced_address_is_read_in_each_of_its_forms() {
        let addresses = |object: Value| {
            let bounce = bounce_in(&body(&object)).expect("a bounce");
            bounce.addresses.iter().map(|email| email.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(addresses(json!({"bounced_addresses": "A@x.example, b@x.example"})), ["a@x.example", "b@x.example"]);
        assert_eq!(addresses(json!({"bounced_address": "a@x.example"})), ["a@x.example"]);
        assert_eq!(addresses(json!({"bounced_addresses": ["a@x.example"]})), ["a@x.example"]);
    }

    #[test]
    fn recipient_of_a_bounced_mail_is_known_if_it_went_to_one_alone() {
        let recipient = |to: Value| {
            let bounce = bounce_in(&body(&json!({"origin": {"to": to}}))).expect("a bounce");
            bounce.recipient.map(|email| email.as_str().to_owned())
        };
        assert_eq!(recipient(json!(["a@x.example"])).as_deref(), Some("a@x.example"));
        assert_eq!(recipient(json!(["a@x.example", "b@x.example"])), None, "whose is not told");
    }
}

//! What the product tells about a customer: the body of `POST /customers/events`, checked.

use serde::Deserialize;

use super::address::EmailAddress;
use super::digest::sha256_hex;
use super::notification::NotificationId;

/// The longest name taken, in characters.
pub const MAX_NAME_CHARACTERS: usize = 200;

/// The longest event id taken, in characters.
pub const MAX_ID_CHARACTERS: usize = 256;

/// What happened to the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CustomerEventType {
    /// `customer.signed_up`: a run of the onboarding begins.
    SignedUp,
    /// `customer.onboarding_completed`: the run ends.
    OnboardingCompleted,
}

/// A checked customer event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerEvent {
    /// What happened.
    pub kind: CustomerEventType,
    /// Identifies the event, the same on a retry.
    pub id: NotificationId,
    /// The customer.
    pub email: EmailAddress,
    /// The customer's name, as a person wrote it.
    pub name: String,
    /// When it happened, where the product says so.
    pub occurred_at: Option<jiff::Timestamp>,
}

/// Why a customer event was refused. The text is meant for the engineer who sent it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadCustomerEvent {
    /// The body is not the JSON object that is expected.
    #[error("the body is not a customer event: {0}")]
    NotJson(String),
    /// The type is not one that is known.
    #[error("`type` is `{0}`; it must be `customer.signed_up` or `customer.onboarding_completed`")]
    UnknownType(String),
    /// The id is empty or too long.
    #[error("`id` must be a text of 1 to {MAX_ID_CHARACTERS} characters that is the same on every retry")]
    BadId,
    /// The address is not one.
    #[error("`email` is not an email address")]
    BadEmail,
    /// The name is too long or empty.
    #[error("`name` must be a text of 1 to {MAX_NAME_CHARACTERS} characters")]
    BadName,
    /// A text holds control characters.
    #[error("`{0}` holds a control character, such as a line break")]
    ControlCharacter(&'static str),
    /// The time is not one.
    #[error("`occurred_at` must be an RFC 3339 time such as 2026-01-31T09:00:00Z")]
    BadTime,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    email: String,
    name: String,
    #[serde(default)]
    occurred_at: Option<String>,
}

impl CustomerEvent {
    /// Reads and checks a body.
    ///
    /// # Errors
    /// [`BadCustomerEvent`] names the field at fault and what it should be.
    pub fn parse(body: &[u8]) -> Result<Self, BadCustomerEvent> {
        let wire: Wire = serde_json::from_slice(body).map_err(|error| BadCustomerEvent::NotJson(error.to_string()))?;
        let kind = match wire.kind.as_str() {
            "customer.signed_up" => CustomerEventType::SignedUp,
            "customer.onboarding_completed" => CustomerEventType::OnboardingCompleted,
            _ => {
                return Err(BadCustomerEvent::UnknownType(
                    wire.kind.chars().take(60).filter(|c| !c.is_control()).collect(),
                ));
            }
        };
        for (field, text) in [("id", &wire.id), ("email", &wire.email), ("name", &wire.name)] {
            if text.chars().any(char::is_control) {
                return Err(BadCustomerEvent::ControlCharacter(field));
            }
        }
        let id = NotificationId::parse(&wire.id)
            .filter(|id| id.as_str().chars().count() <= MAX_ID_CHARACTERS)
            .ok_or(BadCustomerEvent::BadId)?;
        let email = EmailAddress::parse(&wire.email).ok_or(BadCustomerEvent::BadEmail)?;
        let name = wire.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARACTERS {
            return Err(BadCustomerEvent::BadName);
        }
        let occurred_at =
            wire.occurred_at.map(|text| text.parse().map_err(|_| BadCustomerEvent::BadTime)).transpose()?;
        Ok(Self { kind, id, email, name: name.to_owned(), occurred_at })
    }
}

/// The customer's opaque key: 32 hex digits, the first segment of the labels that tracked mail carries.
#[must_use]
pub fn customer_key(email: &EmailAddress) -> String {
    let mut key = sha256_hex(&[b"customer:", email.as_str().as_bytes()]);
    key.truncate(32);
    key
}

/// The customer's key in a tracking label of our form, `<32 hex>.<run>.<step>`; other campaigns' labels have none.
#[must_use]
pub fn customer_key_of_label(label: &str) -> Option<&str> {
    let mut segments = label.split('.');
    let (key, run, step) = (segments.next()?, segments.next()?, segments.next()?);
    let is_key = key.len() == 32 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_run = !run.is_empty() && run.len() <= 9 && run.bytes().all(|byte| byte.is_ascii_digit());
    let is_step = step.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && step.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (is_key && is_run && is_step && segments.next().is_none()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut value = serde_json::json!({
            "type": "customer.signed_up", "id": "evt-1", "email": "Rosa@Fabrikam.example", "name": "Rosa Diaz",
        });
        change(&mut value);
        value.to_string().into_bytes()
    }

    #[test]
    fn whole_event_is_read_and_its_address_normalised() {
        let event = CustomerEvent::parse(&body(|value| value["occurred_at"] = "2026-03-01T10:00:00Z".into()))
            .expect("an event");
        assert_eq!(event.email.as_str(), "rosa@fabrikam.example");
        assert_eq!(event.kind, CustomerEventType::SignedUp);
        assert_eq!(event.occurred_at.map(jiff::Timestamp::as_second), Some(1_772_359_200));
    }

    #[test]
    fn every_bad_field_is_refused_by_name() {
        type Change = fn(&mut serde_json::Value);
        let cases: [(Change, BadCustomerEvent); 9] = [
            (|value| value["type"] = "customer.left".into(), BadCustomerEvent::UnknownType("customer.left".into())),
            (|value| value["id"] = "".into(), BadCustomerEvent::BadId),
            (|value| value["id"] = "x".repeat(257).into(), BadCustomerEvent::BadId),
            (|value| value["email"] = "nobody".into(), BadCustomerEvent::BadEmail),
            (|value| value["name"] = " ".into(), BadCustomerEvent::BadName),
            (|value| value["name"] = "n".repeat(201).into(), BadCustomerEvent::BadName),
            (|value| value["name"] = "Rosa\r\nBcc: x@y.example".into(), BadCustomerEvent::ControlCharacter("name")),
            (|value| value["email"] = "a@b.example\n".into(), BadCustomerEvent::ControlCharacter("email")),
            (|value| value["occurred_at"] = "yesterday".into(), BadCustomerEvent::BadTime),
        ];
        for (change, expected) in cases {
            assert_eq!(CustomerEvent::parse(&body(change)), Err(expected));
        }
        assert!(matches!(CustomerEvent::parse(b"[]"), Err(BadCustomerEvent::NotJson(_))));
        assert!(matches!(CustomerEvent::parse(b"\xff"), Err(BadCustomerEvent::NotJson(_))));
    }

    #[test]
    fn only_labels_of_our_own_form_name_a_customer() {
        let email = EmailAddress::parse("rosa@fabrikam.example").expect("an address");
        let key = customer_key(&email);
        assert_eq!(customer_key_of_label(&format!("{key}.1.welcome")), Some(key.as_str()));
        assert_eq!(customer_key_of_label(&format!("{key}.12.follow_up")), Some(key.as_str()));
        assert_eq!(customer_key_of_label(&format!("{key}.1.confirmation_2")), Some(key.as_str()));
        for other in [
            "spring-campaign",
            &key,
            &format!("{key}.1"),
            &format!("{key}.1.welcome.more"),
            &format!("{key}..welcome"),
            &format!("{key}.one.welcome"),
            &format!("{key}.1.2"),
            &format!("{}.1.welcome", key.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A")),
            &format!("{}.1.welcome", &key[1..]),
            "",
        ] {
            assert_eq!(customer_key_of_label(other), None, "{other}");
        }
    }
}

//! Bookings as Nylas tells of them, in their real shape and in the one that recipes use.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use shared::domain::address::EmailAddress;
use shared::nylas::message::Participant;
use shared::nylas::{object_in, optional_time};

/// The metadata field of a booking page that holds the customer's key.
pub const CUSTOMER_FIELD: &str = "crm_autopilot_customer";

/// How long a call lasts of which that is not told.
const USUAL_LENGTH: SignedDuration = SignedDuration::from_mins(30);

/// A booking, as far as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldBooking {
    /// Its id; that of its event where none was told.
    pub id: String,
    /// The page it was made on.
    pub configuration_id: Option<String>,
    /// The deployment and the customer's key, from the page's metadata field.
    pub customer: Option<(String, String)>,
    /// Everybody's address but the organizer's, as far as the organizer can be told.
    pub guests: Vec<EmailAddress>,
    /// When it begins.
    pub start: Option<Timestamp>,
    /// When it ends.
    pub end: Option<Timestamp>,
    /// When it began before it was moved.
    pub old_start: Option<Timestamp>,
    /// The event in the calendar.
    pub event_id: Option<String>,
    /// The guest's time zone.
    pub time_zone: Option<String>,
    /// Where the guest can move it.
    pub reschedule_url: Option<String>,
    /// Where the guest can cancel it.
    pub cancel_url: Option<String>,
}

#[derive(Deserialize, Default)]
struct Object {
    #[serde(default)]
    booking_id: Option<String>,
    #[serde(default)]
    configuration_id: Option<String>,
    #[serde(default)]
    booking_info: Option<Info>,
    /// Of the recipe's shape, in which everything lies flat.
    #[serde(default)]
    guest: Option<Participant>,
    #[serde(flatten)]
    flat: Info,
}

#[derive(Deserialize, Default, Clone)]
struct Info {
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default, deserialize_with = "optional_time")]
    start_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "optional_time")]
    end_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "optional_time")]
    old_start_time: Option<Timestamp>,
    #[serde(default)]
    duration: Option<i64>,
    #[serde(default)]
    participants: Option<Vec<Participant>>,
    #[serde(default)]
    additional_fields: Option<Map<String, Value>>,
    #[serde(default)]
    organizer_email: Option<String>,
    #[serde(default)]
    guest_timezone: Option<String>,
    #[serde(default)]
    participant_rescheduling_url: Option<String>,
    #[serde(default)]
    participant_cancellation_url: Option<String>,
}

/// The booking that a notification is about; none if it names none. `is_ours` tells the organizer's addresses.
#[must_use]
pub fn booking_in(body: &str, is_ours: impl Fn(&EmailAddress) -> bool) -> Option<ToldBooking> {
    let object: Object = object_in(body)?;
    let info = object.booking_info.unwrap_or(object.flat);
    let non_blank = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let event_id = non_blank(info.event_id);
    let id = non_blank(object.booking_id).or_else(|| event_id.clone())?;
    let organizer = info.organizer_email.as_deref().and_then(EmailAddress::parse);
    let told = info.participants.unwrap_or_default().into_iter().chain(object.guest);
    let told = told.filter_map(|person| person.email.as_deref().and_then(EmailAddress::parse));
    let guests = told.filter(|email| !is_ours(email) && organizer.as_ref() != Some(email)).collect();
    let length = info.duration.filter(|minutes| *minutes > 0).map_or(USUAL_LENGTH, SignedDuration::from_mins);
    let end = info.end_time.filter(|end| info.start_time.is_none_or(|start| *end > start));
    Some(ToldBooking {
        id,
        configuration_id: non_blank(object.configuration_id),
        customer: info.additional_fields.as_ref().and_then(customer_in),
        guests,
        start: info.start_time,
        end: end.or_else(|| info.start_time?.checked_add(length).ok()),
        old_start: info.old_start_time,
        event_id,
        time_zone: non_blank(info.guest_timezone),
        reschedule_url: info.participant_rescheduling_url.and_then(link),
        cancel_url: info.participant_cancellation_url.and_then(link),
    })
}

/// The customer's key among the fields of a page: the value itself, or an object around it.
fn customer_in(fields: &Map<String, Value>) -> Option<(String, String)> {
    let value = fields.get(CUSTOMER_FIELD)?;
    let text = value.as_str().or_else(|| value["value"].as_str()).or_else(|| value["default"].as_str())?;
    let (deployment, key) = text.split_once('.')?;
    let is_key = key.len() == 32 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_key.then(|| (deployment.to_owned(), key.to_owned()))
}

/// An address that can stand in a mail: it must be one of the web.
fn link(text: String) -> Option<String> {
    let is_web = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
    is_web.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(object: &Value) -> Option<ToldBooking> {
        let body = json!({"type": "booking.created", "id": "n", "data": {"application_id": "a", "object": object}});
        booking_in(&body.to_string(), |email| email.as_str() == "team@northwind.example")
    }

    fn emails(booking: &ToldBooking) -> Vec<&str> {
        booking.guests.iter().map(EmailAddress::as_str).collect()
    }

    #[test]
    fn guest_is_a_participant_who_is_not_the_organizer_in_any_order() {
        let info = json!({
            "event_id": "e", "start_time": 1_800_000_000, "end_time": 1_800_003_600, "guest_timezone": "America/Toronto",
            "participants": [{"email": "Rosa@Fabrikam.example", "name": "R"}, {"email": "team@northwind.example"}],
            "additional_fields": {CUSTOMER_FIELD: "crm.0123456789abcdef0123456789abcdef", "phone": "1"},
            "participant_rescheduling_url": "https://book.example/r", "participant_cancellation_url": "javascript:x",
        });
        let booking = told(&json!({"booking_id": "b", "configuration_id": "c", "booking_info": info})).expect("one");
        assert_eq!(emails(&booking), ["rosa@fabrikam.example"]);
        let key = "0123456789abcdef0123456789abcdef".to_owned();
        assert_eq!(booking.customer, Some(("crm".to_owned(), key)));
        assert_eq!((booking.id.as_str(), booking.configuration_id.as_deref()), ("b", Some("c")));
        assert_eq!(booking.reschedule_url.as_deref(), Some("https://book.example/r"));
        assert_eq!(booking.cancel_url, None, "only addresses of the web");
    }

    #[test]
    fn participants_that_are_null_and_fields_that_are_null_leave_a_booking() {
        let info =
            json!({"participants": null, "additional_fields": null, "start_time": 1_800_000_000, "duration": 45});
        let booking = told(&json!({"booking_id": "b", "configuration_id": "c", "booking_info": info})).expect("one");
        assert!(booking.guests.is_empty() && booking.customer.is_none());
        assert_eq!(booking.end.map(Timestamp::as_second), Some(1_800_002_700));
    }

    #[test]
    fn shape_of_the_recipe_is_read() {
        let flat = json!({"guest": {"email": "rosa@fabrikam.example"}, "event_id": "e", "start_time": 1_800_000_000});
        let booking = told(&flat).expect("one");
        assert_eq!((booking.id.as_str(), emails(&booking)), ("e", vec!["rosa@fabrikam.example"]));
        assert_eq!(booking.end.map(Timestamp::as_second), Some(1_800_001_800));
    }

    #[test]
    fn notification_that_names_no_booking_is_none() {
        assert_eq!(told(&json!({"configuration_id": "c"})), None);
        assert_eq!(told(&json!(null)), None);
    }
}

//! Bookings on the pages of the Nylas stand-in: what guests do there, as the notifications that follow.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::notifications::{ControlError, Controlled};
use super::{Api, Nylas, answers::uuid_of};

const SOURCE: &str = "/nylas/passthru";

/// A time that a guest has booked.
#[derive(Clone, Debug)]
pub(super) struct Booking {
    id: String,
    reference: String,
    configuration_id: String,
    /// The `booking_info` of its notifications.
    info: Map<String, Value>,
    /// The `time` of the notification before.
    notified: i64,
    is_cancelled: bool,
}

impl Booking {
    /// The notification of what just happened, told later than the one before.
    fn notification(&mut self, api: &Api, kind: &str, more: Value) -> Value {
        self.notified = Timestamp::now().as_second().max(self.notified + 1);
        let mut info = Value::from(self.info.clone());
        let mut object = json!({ "booking_id": self.id, "configuration_id": self.configuration_id });
        // A cancellation lacks both (Nylas notification schemas).
        if !self.is_cancelled {
            object["booking_ref"] = self.reference.as_str().into();
            object["object"] = "booking".into();
        }
        if let (Some(info), Value::Object(more)) = (info.as_object_mut(), more) {
            info.extend(more);
        }
        object["booking_info"] = info;
        let mut notification = api.notification(kind, SOURCE, self.notified, json!({ "object": object }));
        notification["webhook_delivery_attempt"] = 1.into();
        notification
    }
}

/// The hidden fields of a booking form with their values: guests neither see nor change them.
fn hidden_fields(configuration: &Value) -> Map<String, Value> {
    let fields = configuration["scheduler"]["additional_fields"].as_object().into_iter().flatten();
    let hidden = fields.filter(|(_, field)| field["type"] == "metadata");
    hidden.filter_map(|(name, field)| Some((name.clone(), field.get("default")?.clone()))).collect()
}

fn organizer_of(configuration: &Value) -> &Value {
    let mut participants = configuration["participants"].as_array().into_iter().flatten();
    participants.find(|participant| participant["is_organizer"] == true).unwrap_or(&Value::Null)
}

/// The organizer's time zone, where the configuration tells it.
fn time_zone_of<'a>(configuration: &'a Value, organizer: &'a Value) -> &'a str {
    let told = [
        &configuration["event_booking"]["timezone"],
        &organizer["timezone"],
        &organizer["availability"]["open_hours"][0]["timezone"],
    ];
    told.into_iter().filter_map(Value::as_str).find(|zone| !zone.is_empty()).unwrap_or("UTC")
}

/// A link of the guest's: the configuration's own with the booking in it, or one to the pages of the original.
fn guest_link(configuration: &Value, key: &str, page: &str, reference: &str) -> String {
    match configuration["scheduler"][key].as_str().filter(|link| !link.is_empty()) {
        Some(link) => link.replace(":booking_ref", reference),
        None => format!("https://book.nylas.com/us/{page}/{reference}"),
    }
}

impl Nylas {
    /// A guest books a time on the page of a configuration: the body of the `booking.created` that follows. Its participants
    /// are the organizer and then the guest; its additional fields are the hidden ones of the configuration.
    ///
    /// # Errors
    /// There is no such configuration.
    pub fn book(
        &self,
        configuration_id: &str,
        guest_email: &str,
        guest_name: &str,
        start: Timestamp,
        minutes: u32,
        guest_timezone: &str,
    ) -> Controlled<Value> {
        self.api.scheduling.locked(|diary| {
            let known = diary.configurations.iter().find(|known| known.id() == configuration_id);
            let known = known.ok_or_else(|| ControlError::UnknownConfiguration(configuration_id.to_owned()))?;
            let (configuration, event) = (&known.value, &known.value["event_booking"]);
            let organizer = organizer_of(configuration);
            let (id, reference) = (uuid_of(&self.api.fresh_digest("booking")), self.api.fresh_digest("booking_ref"));
            let event_id = self.api.fresh_digest("event")[..26].to_owned();
            let title = event["title"].as_str().unwrap_or_default().replace("${invitee}", guest_name);
            let scheduler = &configuration["scheduler"];
            let info = json!({
                "event_id": event_id,
                "start_time": start.as_second(),
                "end_time": start.as_second() + i64::from(minutes) * 60,
                "participants": [
                    { "email": organizer["email"], "name": organizer["name"].as_str().unwrap_or_default() },
                    { "email": guest_email, "name": guest_name },
                ],
                "additional_fields": hidden_fields(configuration),
                "hide_cancellation_options": scheduler["hide_cancellation_options"] == true,
                "hide_rescheduling_options": scheduler["hide_rescheduling_options"] == true,
                "participant_rescheduling_url":
                    guest_link(configuration, "rescheduling_url", "reschedule", &reference),
                "participant_cancellation_url": guest_link(configuration, "cancellation_url", "cancel", &reference),
                "host_language": "en",
                "guest_language": "en",
                "title": title,
                "duration": minutes,
                "location": event["location"].as_str().unwrap_or_default(),
                "organizer_timezone": time_zone_of(configuration, organizer),
                "guest_timezone": guest_timezone,
                "is_group_event": false,
                "organizer_calendar_id": organizer["booking"]["calendar_id"],
                "event_description": event["description"].as_str().unwrap_or_default(),
                "ical_uid": format!("{event_id}@google.com"),
            });
            let mut booking = Booking {
                id,
                reference,
                configuration_id: configuration_id.to_owned(),
                info: info.as_object().cloned().unwrap_or_default(),
                notified: 0,
                is_cancelled: false,
            };
            let notification = booking.notification(&self.api, "booking.created", Value::Null);
            diary.bookings.push(booking);
            Ok(notification)
        })
    }

    /// A guest takes another time, as long as the one before: the body of the `booking.rescheduled` that follows.
    ///
    /// # Errors
    /// There is no such booking, or it is cancelled.
    pub fn reschedule(&self, booking_id: &str, start: Timestamp) -> Controlled<Value> {
        self.use_booking(booking_id, |booking| {
            let time = |key: &str| booking.info.get(key).and_then(Value::as_i64).unwrap_or_default();
            let (old_start, old_end, start) = (time("start_time"), time("end_time"), start.as_second());
            booking.info.insert("start_time".to_owned(), start.into());
            booking.info.insert("end_time".to_owned(), (start + old_end - old_start).into());
            let old = json!({ "old_start_time": old_start, "old_end_time": old_end });
            booking.notification(&self.api, "booking.rescheduled", old)
        })
    }

    /// A guest cancels, with a reason that may be empty: the body of the `booking.cancelled` that follows.
    ///
    /// # Errors
    /// There is no such booking, or it is cancelled already.
    pub fn cancel_booking(&self, booking_id: &str, reason: &str) -> Controlled<Value> {
        self.use_booking(booking_id, |booking| {
            booking.is_cancelled = true;
            booking.notification(&self.api, "booking.cancelled", json!({ "cancellation_reason": reason }))
        })
    }

    fn use_booking<T>(&self, booking_id: &str, use_it: impl FnOnce(&mut Booking) -> T) -> Controlled<T> {
        self.api.scheduling.locked(|diary| match diary.bookings.iter_mut().find(|booking| booking.id == booking_id) {
            None => Err(ControlError::UnknownBooking(booking_id.to_owned())),
            Some(booking) if booking.is_cancelled => Err(ControlError::BookingCancelled(booking_id.to_owned())),
            Some(booking) => Ok(use_it(booking)),
        })
    }
}

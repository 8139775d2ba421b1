//! What a scheduling configuration of the Nylas stand-in may hold: participants, opening hours, the booking form and the event
//! that is booked.

use jiff::civil::Time;
use serde_json::{Map, Value};

use super::answers::{ApiError, Checked};
use super::checks::{
    check_flags, check_texts, check_time_zone, is_plausible_address, list_in, number_in, object_in, objects_in,
    refuse_unknown_keys, required, text_in,
};

const KNOWN: [&str; 11] = [
    "id",
    "requires_session_auth",
    "slug",
    "participants",
    "availability",
    "event_booking",
    "scheduler",
    "appearance",
    "name",
    "type",
    "capacity",
];

const EVENT_BOOKING: [&str; 9] = [
    "title",
    "description",
    "location",
    "timezone",
    "booking_type",
    "conferencing",
    "disable_emails",
    "hide_participants",
    "reminders",
];

const SCHEDULER_TEXTS: [&str; 5] = [
    "rescheduling_url",
    "cancellation_url",
    "cancellation_policy",
    "confirmation_redirect_url",
    "organizer_confirmation_url",
];

const SCHEDULER_FLAGS: [&str; 3] = ["hide_rescheduling_options", "hide_cancellation_options", "hide_additional_guests"];

const SCHEDULER_NUMBERS: [&str; 3] = ["available_days_in_future", "min_booking_notice", "min_cancellation_notice"];

const FIELD_TYPES: [&str; 9] =
    ["text", "multi_line_text", "email", "phone_number", "dropdown", "date", "checkbox", "radio_button", "metadata"];

const LONGEST_MEETING: i64 = 24 * 60;

/// Whether a configuration, as it would be kept, is one that the original takes for the account with this address.
pub(super) fn check(
    configuration: &Map<String, Value>,
    own_address: &str,
    is_connected: impl Fn(&str) -> bool,
) -> Checked {
    refuse_unknown_keys(configuration, &KNOWN, "a configuration")?;
    check_texts(configuration, &["name", "type"])?;
    check_flags(configuration, &["requires_session_auth"])?;
    object_in(configuration, "appearance")?;
    if number_in(configuration, "capacity")?.is_some_and(|capacity| capacity < 1) {
        return Err(ApiError::invalid("capacity must be at least 1"));
    }
    let is_of_slug = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if text_in(configuration, "slug")?.is_some_and(|slug| slug.is_empty() || !slug.chars().all(is_of_slug)) {
        return Err(ApiError::invalid("slug takes letters, digits, hyphens and underscores"));
    }
    check_participants(configuration, own_address, is_connected)?;
    check_availability(required(object_in(configuration, "availability")?, "availability")?)?;
    check_event_booking(required(object_in(configuration, "event_booking")?, "event_booking")?)?;
    object_in(configuration, "scheduler")?.map_or(Ok(()), check_scheduler)
}

fn check_participants(
    configuration: &Map<String, Value>,
    own_address: &str,
    is_connected: impl Fn(&str) -> bool,
) -> Checked {
    let participants = objects_in(configuration, "participants")?;
    let mut organizers = Vec::new();
    for participant in &participants {
        let known = ["name", "email", "is_organizer", "availability", "booking", "timezone"];
        refuse_unknown_keys(participant, &known, "a participant")?;
        check_texts(participant, &["name"])?;
        check_flags(participant, &["is_organizer"])?;
        let email = required(text_in(participant, "email")?, "email")?;
        if !is_plausible_address(email) {
            return Err(ApiError::invalid("a participant has an address that no mail can go to"));
        }
        let is_organizer = participant.get("is_organizer").is_some_and(|flag| flag == true);
        check_calendars(participant, is_organizer)?;
        // Who only is told of the meeting needs no account (Nylas API reference, configurations).
        if (participant.contains_key("availability") || participant.contains_key("booking")) && !is_connected(email) {
            return Err(ApiError::invalid("a participant with calendars is not the account of any grant"));
        }
        organizers.extend(is_organizer.then_some(email));
    }
    match organizers.as_slice() {
        _ if participants.is_empty() => Err(ApiError::invalid("participants is required")),
        [organizer] if organizer.eq_ignore_ascii_case(own_address) => Ok(()),
        [_] => Err(ApiError::invalid("the organizer must be the account of the grant")),
        organizers => Err(ApiError::invalid(format!("there must be one organizer, not {}", organizers.len()))),
    }
}

fn check_calendars(participant: &Map<String, Value>, is_organizer: bool) -> Checked {
    let (availability, booking) = (object_in(participant, "availability")?, object_in(participant, "booking")?);
    if let Some(availability) = availability {
        refuse_unknown_keys(availability, &["calendar_ids", "open_hours"], "the availability of a participant")?;
        let calendars = list_in(availability, "calendar_ids")?.filter(|calendars| !calendars.is_empty());
        if !required(calendars, "calendar_ids")?.iter().all(Value::is_string) {
            return Err(ApiError::invalid("calendar_ids takes texts"));
        }
        check_open_hours(availability, "open_hours")?;
    }
    if let Some(booking) = booking {
        refuse_unknown_keys(booking, &["calendar_id"], "the booking of a participant")?;
        required(text_in(booking, "calendar_id")?, "calendar_id")?;
    }
    if is_organizer {
        required(availability, "the organizer's availability")?;
        required(booking, "the organizer's booking")?;
    }
    text_in(participant, "timezone")?.filter(|zone| !zone.is_empty()).map_or(Ok(()), check_time_zone)
}

fn check_open_hours(holder: &Map<String, Value>, key: &str) -> Checked {
    for hours in objects_in(holder, key)? {
        refuse_unknown_keys(hours, &["days", "timezone", "start", "end", "exdates"], key)?;
        let is_day = |day: &Value| day.as_u64().is_some_and(|day| day <= 6);
        let days = list_in(hours, "days")?.filter(|days| !days.is_empty());
        if !required(days, "days")?.iter().all(is_day) {
            return Err(ApiError::invalid("days takes the numbers 0 to 6, 0 being Sunday"));
        }
        check_time_zone(required(text_in(hours, "timezone")?, "timezone")?)?;
        let start = time_of_day(required(text_in(hours, "start")?, "start")?)?;
        let end = time_of_day(required(text_in(hours, "end")?, "end")?)?;
        if start >= end {
            return Err(ApiError::invalid(format!("{key} must start before they end")));
        }
        let is_date = |date: &Value| date.as_str().is_some_and(|date| date.parse::<jiff::civil::Date>().is_ok());
        if !list_in(hours, "exdates")?.into_iter().flatten().all(is_date) {
            return Err(ApiError::invalid("exdates takes dates"));
        }
    }
    Ok(())
}

/// A time of the form `9:00` or `09:00`.
fn time_of_day(text: &str) -> std::result::Result<Time, ApiError> {
    let digits = |part: &str, least: usize| {
        let is_one = (least..=2).contains(&part.len()) && part.bytes().all(|digit| digit.is_ascii_digit());
        is_one.then(|| part.parse::<i8>().ok())?
    };
    text.split_once(':')
        .and_then(|(hour, minute)| Time::new(digits(hour, 1)?, digits(minute, 2)?, 0, 0).ok())
        .ok_or_else(|| ApiError::invalid(format!("{text} is not a time of the form 9:00 or 09:00")))
}

fn check_availability(availability: &Map<String, Value>) -> Checked {
    let duration = required(number_in(availability, "duration_minutes")?, "duration_minutes")?;
    if !(1..=LONGEST_MEETING).contains(&duration) {
        return Err(ApiError::invalid(format!("duration_minutes must be between 1 and {LONGEST_MEETING}")));
    }
    object_in(availability, "availability_rules")?.map_or(Ok(()), |rules| check_open_hours(rules, "default_open_hours"))
}

fn check_event_booking(event: &Map<String, Value>) -> Checked {
    refuse_unknown_keys(event, &EVENT_BOOKING, "event_booking")?;
    required(text_in(event, "title")?.filter(|title| !title.is_empty()), "the title of event_booking")?;
    check_texts(event, &["description", "location"])?;
    check_flags(event, &["disable_emails", "hide_participants"])?;
    object_in(event, "conferencing")?;
    objects_in(event, "reminders")?;
    let types = ["booking", "organizer-confirmation", "custom-confirmation"];
    if text_in(event, "booking_type")?.is_some_and(|kind| !types.contains(&kind)) {
        return Err(ApiError::invalid(format!("booking_type takes one of {types:?}")));
    }
    text_in(event, "timezone")?.filter(|zone| !zone.is_empty()).map_or(Ok(()), check_time_zone)
}

fn check_scheduler(scheduler: &Map<String, Value>) -> Checked {
    let others = ["additional_fields", "email_template"];
    let known = [&SCHEDULER_TEXTS[..], &SCHEDULER_FLAGS, &SCHEDULER_NUMBERS, &others].concat();
    refuse_unknown_keys(scheduler, &known, "scheduler")?;
    check_texts(scheduler, &SCHEDULER_TEXTS)?;
    check_flags(scheduler, &SCHEDULER_FLAGS)?;
    for key in SCHEDULER_NUMBERS {
        if number_in(scheduler, key)?.is_some_and(|number| number < 0) {
            return Err(ApiError::invalid(format!("{key} must not be negative")));
        }
    }
    object_in(scheduler, "email_template")?;
    for (name, field) in object_in(scheduler, "additional_fields")?.into_iter().flatten() {
        let field =
            field.as_object().ok_or_else(|| ApiError::invalid(format!("the field {name} must be an object")))?;
        check_field(name, field)?;
    }
    Ok(())
}

fn check_field(name: &str, field: &Map<String, Value>) -> Checked {
    let known = ["label", "type", "required", "order", "default", "options", "pattern"];
    refuse_unknown_keys(field, &known, &format!("the field {name}"))?;
    required(text_in(field, "label")?, &format!("the label of the field {name}"))?;
    let kind = required(text_in(field, "type")?, &format!("the type of the field {name}"))?;
    if !FIELD_TYPES.contains(&kind) {
        return Err(ApiError::invalid(format!("the type of a field is one of {FIELD_TYPES:?}")));
    }
    check_flags(field, &["required"])?;
    check_texts(field, &["default", "pattern"])?;
    number_in(field, "order")?;
    let options = list_in(field, "options")?.filter(|options| !options.is_empty());
    if matches!(kind, "dropdown" | "radio_button") {
        required(options, &format!("the options of the field {name}"))?;
    }
    Ok(())
}

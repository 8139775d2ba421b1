//! The booking page of the kickoff call: what `scheduler.toml` says, as Nylas takes it, and its address for one customer.

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::bookings::CUSTOMER_FIELD;
use crate::customer::Customer;
use crate::mail::{TemplateError, Words, fill_in};

/// The file that the function was built with.
const BUILT_IN: &str = include_str!("../scheduler.toml");

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageSettings {
    /// The title of the call.
    pub title: String,
    /// What the guest reads about it.
    pub description: String,
    /// How long it lasts.
    pub minutes: u32,
    /// How soon it can be booked.
    pub notice_minutes: u32,
    /// How far ahead it can be booked.
    pub days_ahead: u32,
    /// The calendar it is booked in.
    pub calendar: String,
    /// Whether Nylas writes to the guest as well, beside the mails of the onboarding.
    pub nylas_mails: bool,
    /// The time zone of the opening hours; the team's where none is named.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// When it can take place.
    pub open_hours: Vec<OpenHours>,
    /// What the prep reminder says.
    pub reminder: ReminderSettings,
}

/// Opening hours.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenHours {
    /// On which days.
    pub days: Vec<Day>,
    /// From when.
    pub from: String,
    /// Until when.
    pub to: String,
}

/// A day of the week. Nylas counts them from Sunday, 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Sunday.
    Sun,
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
}

/// What the prep reminder says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReminderSettings {
    /// Its title.
    pub title: String,
    /// Its description.
    pub description: String,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// It is not what it should be.
    #[error("scheduler.toml cannot be read: {0}")]
    Unreadable(#[from] toml::de::Error),
    /// A value is not one that can be used.
    #[error("scheduler.toml: {0}")]
    Wrong(String),
}

impl PageSettings {
    /// What the file says that the function was built with.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn built_in() -> Result<Self, PageError> {
        Self::parse(BUILT_IN)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// If it cannot be used; the error names the value.
    pub fn parse(text: &str) -> Result<Self, PageError> {
        let settings: Self = toml::from_str(text)?;
        let wrong = |problem: String| Err(PageError::Wrong(problem));
        if !(5..=480).contains(&settings.minutes) {
            return wrong(format!("minutes is {}; a call lasts 5 to 480 minutes", settings.minutes));
        }
        if settings.title.trim().is_empty() || settings.calendar.trim().is_empty() {
            return wrong("title and calendar must not be empty".to_owned());
        }
        if settings.days_ahead == 0 || settings.notice_minutes >= settings.days_ahead.saturating_mul(24 * 60) {
            return wrong(format!(
                "with days_ahead = {} and notice_minutes = {} no time is left to book",
                settings.days_ahead, settings.notice_minutes
            ));
        }
        if settings.open_hours.is_empty() {
            return wrong("open_hours is missing: nobody could book a call".to_owned());
        }
        for hours in &settings.open_hours {
            let time = |text: &str| jiff::civil::Time::strptime("%H:%M", text).ok();
            match (time(&hours.from), time(&hours.to)) {
                (Some(from), Some(to)) if from < to && !hours.days.is_empty() => {}
                _ => {
                    return wrong(format!(
                        "open_hours from `{}` to `{}` must be days and times such as 09:00, the first before the second",
                        hours.from, hours.to
                    ));
                }
            }
        }
        if let Some(zone) = &settings.time_zone
            && jiff::tz::TimeZone::get(zone).is_err()
        {
            return wrong(format!("time_zone `{zone}` is not the name of a time zone such as Europe/Stockholm"));
        }
        Ok(settings)
    }

    /// What Nylas makes the page of (Nylas API reference, `scheduling/configurations`).
    ///
    /// # Errors
    /// If the title or the description names something that there is not.
    pub fn configuration(
        &self,
        customer: &Customer,
        slug: &str,
        organizer: (&str, &str),
        team_zone: &str,
        (loop_id, words): (&str, &Words<'_>),
    ) -> Result<Value, TemplateError> {
        let (name, email) = organizer;
        let zone = self.time_zone.as_deref().unwrap_or(team_zone);
        let open_hours: Vec<Value> = self
            .open_hours
            .iter()
            .map(|hours| {
                let days: Vec<u8> = hours.days.iter().map(|day| *day as u8).collect();
                json!({ "days": days, "timezone": zone, "start": hours.from, "end": hours.to })
            })
            .collect();
        Ok(json!({
            "requires_session_auth": false,
            "slug": slug,
            "participants": [{
                "name": name,
                "email": email,
                "is_organizer": true,
                "availability": { "calendar_ids": [self.calendar], "open_hours": open_hours },
                "booking": { "calendar_id": self.calendar },
            }],
            "availability": { "duration_minutes": self.minutes },
            "event_booking": {
                "title": fill_in("title", &self.title, words)?,
                "description": fill_in("description", &self.description, words)?,
                "timezone": zone,
                "disable_emails": !self.nylas_mails,
            },
            "scheduler": {
                "available_days_in_future": self.days_ahead,
                "min_booking_notice": self.notice_minutes,
                "additional_fields": {
                    CUSTOMER_FIELD: { "label": "Customer", "type": "metadata", "required": false, "default": field_of(loop_id, customer) },
                },
            },
        }))
    }
}

/// A fresh end of a page's address. Nobody can tell it from what is known of a customer: whoever has the address reads the
/// customer's name and can book.
#[must_use]
pub fn new_slug() -> String {
    format!("kickoff-{:024x}", rand::random::<u128>() >> 32)
}

/// What the page's metadata says of whose it is. Other deployments of the same Nylas application are told of it as well.
fn field_of(loop_id: &str, customer: &Customer) -> String {
    format!("{loop_id}.{}", customer.key())
}

/// The address of a customer's page, filled in with the name, and with the address so that it cannot be changed (Nylas
/// docs, `scheduler/hosted-scheduling-pages`).
#[must_use]
pub fn address_of(base: &Url, slug: &str, loop_id: &str, customer: &Customer) -> String {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(slug);
    }
    url.query_pairs_mut()
        .append_pair("name", &customer.name)
        .append_pair("email__readonly", &customer.email)
        .append_pair(CUSTOMER_FIELD, &field_of(loop_id, customer));
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::first_name;

    fn customer() -> Customer {
        Customer { run: 1, ..Customer::new("rosa+x@fabrikam.example", "Rosa & <Diaz>") }
    }

    fn words(customer: &Customer) -> Words<'_> {
        Words {
            name: &customer.name,
            first_name: first_name(&customer.name),
            email: &customer.email,
            product: "Northwind",
            setup_url: "",
            docs_url: "",
            booking_url: "",
            call: None,
        }
    }

    #[test]
    fn page_has_what_the_file_says_and_the_customers_key_as_metadata() {
        let (settings, customer) = (PageSettings::built_in().expect("settings"), customer());
        let organizer = ("Northwind", "team@northwind.example");
        let made =
            settings.configuration(&customer, "kickoff-1", organizer, "Europe/Stockholm", ("crm", &words(&customer)));
        let made = made.expect("a configuration");
        assert_eq!(made["availability"]["duration_minutes"], 30);
        assert_eq!(made["event_booking"]["title"], "Kickoff call: Rosa & <Diaz> and Northwind");
        let hours = &made["participants"][0]["availability"]["open_hours"][0];
        assert_eq!((&hours["days"], &hours["timezone"]), (&json!([1, 2, 3, 4, 5]), &json!("Europe/Stockholm")));
        let field = &made["scheduler"]["additional_fields"][CUSTOMER_FIELD];
        assert_eq!(
            (&field["type"], &field["default"]),
            (&json!("metadata"), &json!(format!("crm.{}", customer.key())))
        );
    }

    #[test]
    fn address_is_filled_in_and_encoded_and_the_customers_address_cannot_be_changed() {
        let base = Url::parse("https://book.nylas.com/us/app/").expect("a URL");
        let address = address_of(&base, "kickoff-1", "crm", &customer());
        assert!(address.starts_with("https://book.nylas.com/us/app/kickoff-1?name=Rosa+%26+%3CDiaz%3E"), "{address}");
        assert!(address.contains("email__readonly=rosa%2Bx%40fabrikam.example"), "{address}");
    }

    #[test]
    fn slug_cannot_be_told_from_the_customer() {
        let (one, other) = (new_slug(), new_slug());
        assert_ne!(one, other);
        assert_eq!((one.len(), other.len()), (32, 32));
    }

    #[test]
    fn file_that_cannot_be_used_is_refused_by_what_is_wrong() {
        let replaced =
            |from: &str, to: &str| PageSettings::parse(&BUILT_IN.replace(from, to)).expect_err("an error").to_string();
        assert!(replaced("minutes = 30", "minutes = 3").contains("minutes is 3"));
        assert!(replaced("to = \"17:00\"", "to = \"08:00\"").contains("open_hours"));
        assert!(replaced("notice_minutes = 60", "notice_minutes = 999999").contains("no time is left"));
        assert!(replaced("calendar = \"primary\"", "calendar = \" \"").contains("must not be empty"));
        assert!(replaced("calendar =", "time_zone = \"Mars\"\ncalendar =").contains("Mars"));
        assert!(replaced("calendar =", "calender =").contains("calender"));
    }
}

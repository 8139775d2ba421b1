//! What an event becomes in the CRM, and which events become nothing: the mapping of the meeting contract.

use shared::crm::ContactsByAddress;
use shared::crm::matching::{Matched, known_as};
use shared::crm::meeting::{Attendee, Meeting, MeetingStatus, MeetingTime};
use shared::domain::address::CompanyDomains;
use shared::domain::decision::Decision;
use shared::domain::digest::sha256_hex;
use shared::nylas::event::{Event, Invitee, People, When};

use crate::notes::notes;

/// Which meetings the CRM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those with somebody whom the CRM knows.
    Prospects,
    /// All.
    All,
}

impl Scope {
    /// Reads `prospects` or `all`.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "prospects" => Ok(Self::Prospects),
            "all" => Ok(Self::All),
            _ => Err("it must be `prospects` or `all`"),
        }
    }
}

/// The decision on an event that becomes no meeting whoever is in it; none for one that may.
#[must_use]
pub fn dropped(event: &Event, people: &People, company: &CompanyDomains, scope: Scope) -> Option<Decision> {
    let outside = people.outside(company).len() + people.without_address;
    if outside == 0 && people.everyone().len() <= 1 {
        return Some(Decision::skipped("personal block"));
    }
    if outside == 0 {
        return Some(Decision::skipped("internal meeting"));
    }
    // Among prospects alone even the time of a private meeting would tell with whom it is.
    (event.is_private() && scope == Scope::Prospects).then(|| Decision::skipped("private"))
}

/// What the meeting says, apart from who of its people the CRM knows.
#[must_use]
pub fn meeting_of(
    event: &Event,
    external_event_id: &str,
    matched: Option<&Matched>,
    known: &ContactsByAddress,
) -> Meeting {
    let private = event.is_private();
    let shown = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty() && !private).map(str::to_owned);
    let title = event.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
    let subject = if private { "Private meeting" } else { title.unwrap_or("Untitled meeting") };
    let is_occurrence = event.master_event_id.is_some();
    Meeting {
        external_event_id: external_event_id.to_owned(),
        subject: subject.to_owned(),
        time: time_of(event.when.as_ref()),
        location: shown(event.location.as_deref()),
        link: shown(event.meeting_link()),
        notes: if private { String::new() } else { notes(event.description.as_deref()) },
        organizer: People::in_event(event).organizer.filter(|_| !private),
        attendees: if private { Vec::new() } else { attendees_of(event, known) },
        status: status_of(event.status.as_deref()),
        calendar_id: event.calendar_id.clone(),
        grant_id: event.grant_id.clone(),
        master_event_id: event.master_event_id.clone(),
        is_recurring: is_occurrence || event.is_master(),
        series_label: is_occurrence.then(|| format!("Series: {subject}")),
        contact_ids: matched.filter(|_| !private).map(|matched| matched.contact_ids.clone()).unwrap_or_default(),
        deal_id: matched.filter(|_| !private).and_then(|matched| matched.deal.deal_id()),
    }
}

fn time_of(when: Option<&When>) -> MeetingTime {
    match when {
        None => MeetingTime::Unknown,
        Some(When::Span { start, end, .. }) => MeetingTime::Span { start: *start, end: *end },
        Some(When::Point(at)) => MeetingTime::Span { start: *at, end: *at },
        Some(When::Day(day)) => MeetingTime::Days { first: *day, last: *day },
        Some(When::Days { first, last }) => MeetingTime::Days { first: *first, last: *last },
    }
}

/// Nylas's words differ by provider and by page of its documentation; iCloud has none, which means confirmed.
fn status_of(status: Option<&str>) -> MeetingStatus {
    match status.map(str::to_ascii_lowercase).as_deref() {
        Some("cancelled" | "canceled") => MeetingStatus::Cancelled,
        Some("tentative" | "maybe") => MeetingStatus::Tentative,
        _ => MeetingStatus::Confirmed,
    }
}

fn attendees_of(event: &Event, known: &ContactsByAddress) -> Vec<Attendee> {
    let attendee = |invitee: &Invitee| {
        let email = invitee.address();
        let contact = email.as_ref().and_then(|email| known_as(email).find_map(|address| known.get(&address)?.first()));
        Attendee {
            contact_id: contact.map(|contact| contact.id.clone()),
            name: invitee.name.clone().filter(|name| !name.trim().is_empty()),
            rsvp_status: invitee.status.clone(),
            email,
        }
    };
    event.participants.iter().flatten().map(attendee).collect()
}

/// A digest of everything that the meeting says, equal for equal meetings: what need not be written again.
#[must_use]
pub fn digest_of(meeting: &Meeting) -> String {
    // Which copy it came from is not what it says.
    let said = Meeting { calendar_id: None, grant_id: None, external_event_id: String::new(), ..meeting.clone() };
    sha256_hex(&[format!("{said:?}").as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use shared::crm::Contact;
    use shared::domain::address::EmailAddress;
    use shared::meetings::identity_of;

    fn company() -> CompanyDomains {
        CompanyDomains::parse(["northwind.example"]).expect("a domain")
    }

    fn event(fields: Value) -> Event {
        let mut event = json!({
            "id": "e1", "grant_id": "g1", "calendar_id": "primary", "title": "Pilot", "status": "confirmed", "ical_uid": "u1",
            "when": {"object": "timespan", "start_time": 1_772_359_200, "end_time": 1_772_361_000},
            "organizer": {"email": "Ines@Northwind.example"},
            "participants": [{"email": "ines@northwind.example", "status": "yes"}, {"email": "dana@acme.example", "name": "Dana", "status": "noreply"}],
        });
        let (Some(object), Value::Object(fields)) = (event.as_object_mut(), fields) else { panic!("objects") };
        object.extend(fields);
        serde_json::from_value(event).expect("an event")
    }

    fn meeting(fields: Value) -> Meeting {
        meeting_of(&event(fields), "e1", None, &ContactsByAddress::new())
    }

    fn dropped_as(fields: Value, scope: Scope) -> Option<String> {
        let event = event(fields);
        dropped(&event, &People::in_event(&event), &company(), scope).map(|decision| decision.reason)
    }

    #[test]
    fn meeting_says_what_the_event_says() {
        let known = ContactsByAddress::from([(
            EmailAddress::parse("dana@acme.example").expect("an address"),
            vec![Contact { id: "c1".to_owned(), deals: Vec::new(), ..Contact::default() }],
        )]);
        let event = event(
            json!({"description": "<p>Plans</p>", "location": "Room 1", "conferencing": {"details": {"url": "https://meet.example/x"}}}),
        );
        let meeting = meeting_of(&event, "e0", None, &known);
        assert_eq!(
            (meeting.external_event_id.as_str(), meeting.subject.as_str(), meeting.notes.as_str()),
            ("e0", "Pilot", "Plans")
        );
        assert_eq!(meeting.time.minutes(), Some(30));
        assert_eq!(meeting.link.as_deref(), Some("https://meet.example/x"));
        assert_eq!(meeting.organizer.map(|address| address.to_string()).as_deref(), Some("ines@northwind.example"));
        let contacts: Vec<Option<&str>> =
            meeting.attendees.iter().map(|attendee| attendee.contact_id.as_deref()).collect();
        assert_eq!(contacts, [None, Some("c1")]);
        assert_eq!((meeting.is_recurring, meeting.series_label), (false, None));
    }

    #[test]
    fn untitled_allday_and_undated_meetings_are_written_as_the_contract_has_it() {
        for title in [json!(null), json!(""), json!("  ")] {
            assert_eq!(meeting(json!({"title": title})).subject, "Untitled meeting");
        }
        let day = |text: &str| text.parse().expect("a day");
        let days = meeting(json!({"when": {"start_date": "2026-03-01", "end_date": "2026-03-03"}}));
        assert_eq!(days.time, MeetingTime::Days { first: day("2026-03-01"), last: day("2026-03-03") });
        let one = meeting(json!({"when": {"object": "date", "date": "2026-03-01"}}));
        assert_eq!(one.time, MeetingTime::Days { first: day("2026-03-01"), last: day("2026-03-01") });
        assert_eq!(meeting(json!({"when": {"time": 1_772_359_200}})).time.minutes(), Some(0));
        assert_eq!(meeting(json!({"when": null})).time, MeetingTime::Unknown);
    }

    #[test]
    fn every_word_for_a_status_is_one_of_three() {
        for (word, status) in [
            (json!("confirmed"), MeetingStatus::Confirmed),
            (json!("maybe"), MeetingStatus::Tentative),
            (json!("tentative"), MeetingStatus::Tentative),
            (json!("Cancelled"), MeetingStatus::Cancelled),
            (json!(null), MeetingStatus::Confirmed),
            (json!("booked"), MeetingStatus::Confirmed),
        ] {
            assert_eq!(meeting(json!({"status": word})).status, status, "{word}");
        }
    }

    #[test]
    fn private_meeting_shows_its_time_and_nothing_else() {
        for visibility in ["private", "confidential"] {
            let fields = json!({"visibility": visibility, "description": "secret", "location": "https://x.example"});
            let meeting = meeting(fields.clone());
            assert_eq!((meeting.subject.as_str(), meeting.notes.as_str()), ("Private meeting", ""));
            assert_eq!((meeting.location, meeting.link, meeting.organizer), (None, None, None));
            assert!(meeting.attendees.is_empty() && meeting.contact_ids.is_empty());
            assert_eq!(dropped_as(fields.clone(), Scope::Prospects).as_deref(), Some("private"));
            assert_eq!(dropped_as(fields, Scope::All), None);
        }
    }

    #[test]
    fn personal_blocks_and_internal_meetings_are_skipped_in_every_scope() {
        let colleagues = json!([{"email": "a@northwind.example"}, {"email": "b@eu.northwind.example"}]);
        for scope in [Scope::Prospects, Scope::All] {
            for alone in [json!([]), json!(null), json!([{"email": "ines@northwind.example"}])] {
                assert_eq!(dropped_as(json!({"participants": alone}), scope).as_deref(), Some("personal block"));
            }
            assert_eq!(dropped_as(json!({"participants": colleagues}), scope).as_deref(), Some("internal meeting"));
            assert_eq!(dropped_as(json!({}), scope), None);
        }
        let nameless = json!([{"email": "a@northwind.example"}, {"name": "Somebody"}]);
        assert_eq!(
            dropped_as(json!({"participants": nameless}), Scope::All),
            None,
            "who has no address may be anybody"
        );
        let by_outsider =
            json!({"organizer": {"email": "dana@acme.example"}, "participants": [{"email": "ines@northwind.example"}]});
        assert_eq!(dropped_as(by_outsider, Scope::Prospects), None);
    }

    #[test]
    fn occurrences_of_a_series_bear_its_label_and_are_meetings_of_their_own() {
        let occurrence =
            json!({"id": "m1_20260301T100000Z", "master_event_id": "m1", "original_start_time": 1_772_359_200});
        let written = meeting(occurrence.clone());
        assert_eq!((written.series_label.as_deref(), written.is_recurring), (Some("Series: Pilot"), true));
        assert_eq!(written.master_event_id.as_deref(), Some("m1"));
        let first = event(occurrence.clone());
        let mut other = occurrence;
        other["original_start_time"] = 1_772_964_000.into();
        assert_ne!(identity_of(&first, None), identity_of(&event(other), None));
        let unnamed = event(json!({"id": "m1_20260301T100000Z", "master_event_id": "m1"}));
        assert_eq!(identity_of(&first, None), identity_of(&unnamed, None), "Google's id names the start as well");
    }

    #[test]
    fn copies_of_one_meeting_have_one_identity_and_say_the_same() {
        let elsewhere = json!({"id": "AAMk2", "grant_id": "g2", "calendar_id": "c2"});
        assert_eq!(identity_of(&event(json!({})), None), identity_of(&event(elsewhere.clone()), None));
        assert_ne!(identity_of(&event(json!({})), None), identity_of(&event(json!({"ical_uid": "u2"})), None));
        assert_eq!(digest_of(&meeting(json!({}))), digest_of(&meeting(elsewhere)));
        assert_ne!(digest_of(&meeting(json!({}))), digest_of(&meeting(json!({"title": "Pilot 2"}))));
        let without = |id: &str| identity_of(&event(json!({"id": id, "ical_uid": null})), None);
        assert_ne!(without("e1"), without("e2"));
        assert_eq!(without("e1"), without("e1"));
    }
}

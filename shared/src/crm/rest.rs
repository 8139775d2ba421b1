//! The generic REST CRM: any system that speaks the shipped OpenAPI document (`rest-crm.openapi.yaml`).

use futures_util::future::join_all;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::contact_fields::{ContactField, ContactUpdate, Current, PerField, UpdateContacts};
use super::meeting::{Meeting, MeetingTime, WriteMeetings};
use super::notes::{MeetingNotes, WriteMeetingNotes};
use super::{Contact, ContactsByAddress, CrmError, Deal, EmailActivity, FindContacts, IdempotencyKey, LogEmail};
use crate::crm::collection_is_missing;
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;
use crate::http::{ApiClient, CallError};
use crate::set_up::{SetUp, SetUpItem};

/// How many contacts are looked up or changed at a time: the contract has no call for several.
const SIDE_BY_SIDE: usize = 20;

/// The adapter.
pub struct RestCrm(ApiClient);

impl RestCrm {
    /// Speaks through the given client.
    #[must_use]
    pub fn new(client: ApiClient) -> Self {
        Self(client)
    }

    async fn find(&self, address: &EmailAddress, deadline: Deadline) -> Result<Vec<Contact>, CrmError> {
        let answer: Result<ContactList, CallError> = self
            .0
            .request(Method::GET, &["contacts"], "list of contacts")
            .query(&[("email", address.as_str())])
            .read(deadline)
            .await;
        match answer {
            Ok(list) => Ok(list.contacts.into_iter().map(WireContact::into_contact).collect()),
            Err(error) => Err(collection_is_missing(error).into()),
        }
    }
}

impl FindContacts for RestCrm {
    async fn find_contacts(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> Result<ContactsByAddress, CrmError> {
        // All are waited for, also after one has failed: the breaker's probe may be among them.
        let answers = self.look_up(addresses, deadline).await;
        let mut found = Vec::with_capacity(answers.len());
        let mut failed: Option<CrmError> = None;
        for (address, answer) in addresses.iter().zip(answers) {
            match answer {
                Ok(contacts) if contacts.is_empty() => {}
                Ok(contacts) => found.push((address.clone(), contacts)),
                Err(CrmError(CallError::Rejected { .. })) => found.push((address.clone(), Vec::new())),
                Err(error) => failed = Some(CrmError::more_telling(failed, error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(found.into_iter().collect())
    }
}

impl UpdateContacts for RestCrm {
    fn at_a_time(&self) -> usize {
        SIDE_BY_SIDE
    }

    async fn look_up(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<Result<Vec<Contact>, CrmError>> {
        join_all(addresses.iter().map(|address| self.find(address, deadline))).await
    }

    async fn update_contacts(&self, updates: &[ContactUpdate], deadline: Deadline) -> Vec<Result<(), CrmError>> {
        join_all(updates.iter().map(async |update| {
            let values = update.values.iter();
            let values = values.filter_map(|(field, value)| Some((field.name().to_owned(), value.clone()?.into())));
            let body = Value::Object(values.collect());
            let path = ["contacts", update.contact_id.as_str()];
            let changed = self.0.request(Method::PATCH, &path, "contact").json(&body).send(deadline).await;
            changed.map(|_| ()).map_err(CrmError::from)
        }))
        .await
    }

    fn calls_made(&self) -> u64 {
        self.0.calls_made()
    }
}

impl SetUp for RestCrm {
    /// The contract asks for nothing to be made first. Somebody whom nobody has is looked up (`.invalid` is no one's, RFC
    /// 2606), so that a wrong address or key shows.
    async fn set_up(&self, deadline: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        if let Some(nobody) = EmailAddress::parse("nobody@example.invalid") {
            self.find(&nobody, deadline).await.map_err(|CrmError(error)| error)?;
        }
        Ok(Vec::new())
    }
}

impl LogEmail for RestCrm {
    async fn log_email(
        &self,
        activity: &EmailActivity,
        key: &IdempotencyKey,
        deadline: Deadline,
    ) -> Result<String, CrmError> {
        let created: Result<Created, CallError> = self
            .0
            .request(Method::POST, &["activities"], "activity")
            .header("Idempotency-Key", key.as_str())
            .json(&body_of(activity))
            .read(deadline)
            .await;
        match created {
            Ok(created) => Ok(created.id.0),
            // The key was used for another copy of the mail; the answer names the activity that it made.
            Err(CallError::Rejected { status: 409, text, api, what }) => serde_json::from_str::<Created>(&text)
                .map(|created| created.id.0)
                .map_err(|_| CallError::Rejected { status: 409, text, api, what }.into()),
            Err(error) => Err(collection_is_missing(error).into()),
        }
    }
}

impl WriteMeetings for RestCrm {
    async fn upsert_meeting(&self, meeting: &Meeting, deadline: Deadline) -> Result<String, CrmError> {
        let written: Result<Created, CallError> = self
            .0
            .request(Method::PUT, &["meetings"], "meeting")
            .query(&[("external_event_id", meeting.external_event_id.as_str())])
            .json(&meeting_body_of(meeting))
            .read(deadline)
            .await;
        written.map(|written| written.id.0).map_err(|error| collection_is_missing(error).into())
    }

    async fn delete_meeting(&self, external_event_id: &str, deadline: Deadline) -> Result<(), CrmError> {
        let removed = self
            .0
            .request(Method::DELETE, &["meetings"], "meeting")
            .query(&[("external_event_id", external_event_id)])
            .send(deadline)
            .await;
        match removed {
            Ok(_) | Err(CallError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl WriteMeetingNotes for RestCrm {
    async fn upsert_meeting_notes(&self, notes: &MeetingNotes, deadline: Deadline) -> Result<String, CrmError> {
        let written: Result<Created, CallError> = self
            .0
            .request(Method::PUT, &["meetings"], "record of a notetaker")
            .query(&[("external_notetaker_id", notes.external_notetaker_id.as_str())])
            .json(&notes_body_of(notes))
            .read(deadline)
            .await;
        written.map(|written| written.id.0).map_err(|error| collection_is_missing(error).into())
    }
}

/// Every key is present, `null` when unknown.
fn body_of(activity: &EmailActivity) -> Value {
    fn texts(addresses: &[EmailAddress]) -> Vec<&str> {
        addresses.iter().map(EmailAddress::as_str).collect()
    }
    json!({
        "type": "email",
        "external_message_id": activity.external_message_id,
        "prospect_id": activity.contact_ids.first(),
        "contact_ids": activity.contact_ids,
        "deal_id": activity.deal_id,
        "subject": activity.subject,
        "snippet": activity.snippet,
        "thread_id": activity.thread_id,
        "direction": activity.direction,
        "timestamp": activity.timestamp.to_string(),
        "from": activity.from.as_ref().map(EmailAddress::as_str),
        "to": texts(&activity.to),
        "cc": texts(&activity.cc),
        "grant_id": activity.grant_id,
    })
}

/// Every key is present, `null` when unknown.
fn meeting_body_of(meeting: &Meeting) -> Value {
    let (begins, ends) = match meeting.time {
        MeetingTime::Span { start, end } => (Some(start.to_string()), Some(end.to_string())),
        MeetingTime::Days { first, last } => (Some(first.to_string()), Some(last.to_string())),
        MeetingTime::Unknown => (None, None),
    };
    let attendees: Vec<Value> = meeting
        .attendees
        .iter()
        .map(|attendee| {
            json!({
                "email": attendee.email.as_ref().map(EmailAddress::as_str),
                "name": attendee.name,
                "rsvp_status": attendee.rsvp_status,
                "contact_id": attendee.contact_id,
            })
        })
        .collect();
    json!({
        "external_event_id": meeting.external_event_id,
        "meeting_subject": meeting.subject,
        "meeting_date": begins,
        "meeting_end_date": ends,
        "duration_minutes": meeting.time.minutes(),
        "all_day": matches!(meeting.time, MeetingTime::Days { .. }),
        "meeting_location": meeting.location,
        "meeting_link": meeting.link,
        "notes": meeting.notes,
        "organizer_email": meeting.organizer.as_ref().map(EmailAddress::as_str),
        "attendees": attendees,
        "meeting_status": meeting.status,
        "provider_calendar_id": meeting.calendar_id,
        "grant_id": meeting.grant_id,
        "is_recurring": meeting.is_recurring,
        "master_event_id": meeting.master_event_id,
        "series_label": meeting.series_label,
        "contact_ids": meeting.contact_ids,
        "deal_id": meeting.deal_id,
    })
}

/// Every key is present, `null` when unknown.
fn notes_body_of(notes: &MeetingNotes) -> Value {
    let action_items: Vec<Value> = notes
        .action_items
        .iter()
        .map(|item| {
            json!({
                "text": item.text,
                "owner_email": item.owner.as_ref().map(EmailAddress::as_str),
                "due_date": item.due.map(|due| due.to_string()),
            })
        })
        .collect();
    json!({
        "external_notetaker_id": notes.external_notetaker_id,
        "external_event_id": notes.external_event_id,
        "subject": notes.subject,
        "summary": notes.summary,
        "action_items": action_items,
        "transcript": notes.transcript,
        "recording_url": notes.recording_url,
        "transcript_url": notes.transcript_url,
        "associated_contact_ids": notes.contact_ids,
        "associated_deal_id": notes.deal_id,
        "unmatched_emails": notes.unmatched.iter().map(EmailAddress::as_str).collect::<Vec<_>>(),
        "source": "nylas_notetaker",
    })
}

#[derive(Deserialize)]
struct ContactList {
    contacts: Vec<WireContact>,
}

#[derive(Deserialize)]
struct WireContact {
    id: Id,
    #[serde(default)]
    primary_deal_id: Option<Id>,
    #[serde(default)]
    deals: Option<Vec<WireDeal>>,
    // A field that the system has is there, if only as null.
    #[serde(default, deserialize_with = "told")]
    phone: Current,
    #[serde(default, deserialize_with = "told")]
    job_title: Current,
    #[serde(default, deserialize_with = "told")]
    company: Current,
}

fn told<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Current, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Current::told(Some(text)),
        // Some systems keep telephone numbers as such.
        Value::Number(number) => Current::told(Some(number.to_string())),
        Value::Null => Current::Empty,
        // Whatever it is, somebody has put it there.
        other => Current::Value(other.to_string()),
    })
}

#[derive(Deserialize)]
struct WireDeal {
    id: Id,
    // Hints for choosing: one that cannot be read counts as not given.
    #[serde(default)]
    open: Value,
    #[serde(default)]
    last_activity_at: Value,
}

impl WireContact {
    /// The main deal comes first; a system that lists no deals still names that one.
    fn into_contact(self) -> Contact {
        let main = self.primary_deal_id.map(|id| id.0).filter(|id| !id.is_empty());
        let listed = self.deals.into_iter().flatten().filter(|deal| !deal.id.0.is_empty());
        let mut deals: Vec<Deal> = listed
            .map(|deal| Deal {
                id: deal.id.0,
                open: deal.open.as_bool(),
                last_activity_at: deal.last_activity_at.as_str().and_then(|time| time.parse::<Timestamp>().ok()),
            })
            .collect();
        if let Some(main) = main {
            let listed = deals.iter().position(|deal| deal.id == main).map(|place| deals.remove(place));
            deals.insert(0, listed.unwrap_or(Deal { id: main, open: None, last_activity_at: None }));
        }
        let mut current = PerField { phone: self.phone, job_title: self.job_title, company: self.company };
        if ContactField::ALL.into_iter().any(|field| *current.get(field) != Current::Untold) {
            for field in ContactField::ALL {
                if *current.get(field) == Current::Untold {
                    *current.get_mut(field) = Current::NoSuchField;
                }
            }
        }
        Contact { id: self.id.0, deals, current }
    }
}

#[derive(Deserialize)]
struct Created {
    id: Id,
}

/// An id: a text, or a number taken as one, because many systems number their records.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("an id must be a text or a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crm::Direction;
    use crate::crm::meeting::{Attendee, MeetingStatus};
    use crate::crm::notes::ActionItem;
    use crate::http::{ApiSettings, Credential, http_client};
    use secrecy::SecretString;
    use std::time::Duration;
    use wiremock::matchers::{body_json, header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn crm(server: &MockServer) -> RestCrm {
        RestCrm::new(ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "the CRM",
                base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
                credential: Credential::Fixed(SecretString::from("token")),
                credential_parameter: "CrmApiKey",
                calls_per_second: None,
            },
        ))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    #[tokio::test]
    async fn set_up_needs_nothing_and_shows_a_key_or_an_address_that_is_wrong() {
        let server = MockServer::start().await;
        let nobody =
            || Mock::given(method("GET")).and(path("/contacts")).and(query_param("email", "nobody@example.invalid"));
        nobody().respond_with(ResponseTemplate::new(401)).up_to_n_times(1).mount(&server).await;
        let error = crm(&server).set_up(soon()).await.expect_err("refused");
        assert!(matches!(error, CallError::Unauthorized { parameter: "CrmApiKey", .. }), "{error}");
        nobody().respond_with(ResponseTemplate::new(200).set_body_json(json!({"contacts": []}))).mount(&server).await;
        assert_eq!(crm(&server).set_up(soon()).await, Ok(Vec::new()));
        let elsewhere = MockServer::start().await;
        let error = crm(&elsewhere).set_up(soon()).await.expect_err("404");
        assert!(error.to_string().contains("CrmBaseUrl"), "{error}");
    }

    #[tokio::test]
    async fn deals_of_a_contact_are_read_with_what_is_known_of_them_the_main_one_first() {
        let server = MockServer::start().await;
        let contacts = json!({"contacts": [
            {"id": "c1", "email": "a@b.example", "name": null, "primary_deal_id": "d2", "deals": [
                {"id": "d1", "open": true, "last_activity_at": "2026-03-01T10:00:00Z"}, {"id": 2, "open": null},
                {"id": "d2", "open": false, "last_activity_at": "yesterday"},
            ]},
            {"id": "c2", "email": "a@b.example", "name": null, "primary_deal_id": "d9"},
            {"id": "c3", "email": "a@b.example", "name": null, "primary_deal_id": null, "deals": null},
        ]});
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_json(contacts))
            .mount(&server)
            .await;
        let found = crm(&server).find_contacts(&[address("a@b.example")], soon()).await.expect("contacts");
        let deal = |id: &str, open, last_activity_at| Deal { id: id.to_owned(), open, last_activity_at };
        let noon = "2026-03-01T10:00:00Z".parse().ok();
        let deals: Vec<Vec<Deal>> =
            found[&address("a@b.example")].iter().map(|contact| contact.deals.clone()).collect();
        let first = vec![deal("d2", Some(false), None), deal("d1", Some(true), noon), deal("2", None, None)];
        assert_eq!(deals, [first, vec![deal("d9", None, None)], vec![]]);
    }

    #[tokio::test]
    async fn record_of_a_notetaker_is_put_under_its_id_with_every_key_present() {
        let server = MockServer::start().await;
        Mock::given(method("PUT"))
            .and(path("/meetings"))
            .and(query_param("external_notetaker_id", "n-1"))
            .and(body_json(json!({
                "external_notetaker_id": "n-1", "external_event_id": null, "subject": "Pilot", "summary": null,
                "action_items": [{"text": "Send it", "owner_email": "a@b.example", "due_date": "2026-03-06"},
                    {"text": "Call", "owner_email": null, "due_date": null}],
                "transcript": null, "recording_url": "s3://b/media/g/n-1/recording.mp4", "transcript_url": null,
                "associated_contact_ids": ["c1"], "associated_deal_id": null, "unmatched_emails": ["x@b.example"],
                "source": "nylas_notetaker",
            })))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({"id": 7})))
            .expect(1)
            .mount(&server)
            .await;
        let item = |text: &str, owner, due| ActionItem { text: text.to_owned(), owner, due };
        let notes = MeetingNotes {
            external_notetaker_id: "n-1".to_owned(),
            external_event_id: None,
            subject: "Pilot".to_owned(),
            summary: None,
            action_items: vec![
                item("Send it", Some(address("a@b.example")), "2026-03-06".parse().ok()),
                item("Call", None, None),
            ],
            transcript: None,
            recording_url: Some("s3://b/media/g/n-1/recording.mp4".to_owned()),
            transcript_url: None,
            contact_ids: vec!["c1".to_owned()],
            deal_id: None,
            unmatched: vec![address("x@b.example")],
        };
        assert_eq!(crm(&server).upsert_meeting_notes(&notes, soon()).await, Ok("7".to_owned()));
    }

    #[tokio::test]
    async fn address_that_the_crm_refuses_is_one_that_nobody_has_and_told_from_an_unknown_one() {
        let server = MockServer::start().await;
        Mock::given(query_param("email", "odd@b.example"))
            .respond_with(ResponseTemplate::new(422))
            .mount(&server)
            .await;
        let known = json!({"contacts": [{"id": "c1", "email": "a@b.example", "name": null, "primary_deal_id": null}]});
        Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(known)).mount(&server).await;
        let both = [address("odd@b.example"), address("a@b.example")];
        let found = crm(&server).find_contacts(&both, soon()).await.expect("contacts");
        assert_eq!(found.len(), 2);
        assert_eq!((found[&address("a@b.example")].len(), found[&address("odd@b.example")].len()), (1, 0));
    }

    #[tokio::test]
    async fn addresses_are_looked_up_encoded_and_side_by_side_and_unknown_ones_are_absent() {
        let server = MockServer::start().await;
        let slow = |body: Value| ResponseTemplate::new(200).set_body_json(body).set_delay(Duration::from_millis(300));
        for (email, body) in [
            (
                "dana+crm@acme.example",
                json!({"contacts": [
                    {"id": "c1", "email": "dana+crm@acme.example", "name": "Dana", "primary_deal_id": "d1", "phone": null},
                    {"id": 2, "email": "dana+crm@acme.example", "name": null, "primary_deal_id": null},
                ]}),
            ),
            ("nobody@acme.example", json!({"contacts": []})),
        ] {
            Mock::given(method("GET"))
                .and(path("/contacts"))
                .and(query_param("email", email))
                .respond_with(slow(body))
                .expect(1)
                .mount(&server)
                .await;
        }
        let begun = std::time::Instant::now();
        let found = crm(&server)
            .find_contacts(&[address("dana+crm@acme.example"), address("nobody@acme.example")], soon())
            .await
            .expect("contacts");
        assert!(begun.elapsed() < Duration::from_millis(590), "one after the other: {:?}", begun.elapsed());
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[&address("dana+crm@acme.example")],
            [
                Contact {
                    id: "c1".to_owned(),
                    deals: vec![Deal { id: "d1".to_owned(), open: None, last_activity_at: None }],
                    current: PerField {
                        phone: Current::Empty,
                        job_title: Current::NoSuchField,
                        company: Current::NoSuchField,
                    },
                },
                Contact { id: "2".to_owned(), deals: Vec::new(), ..Contact::default() },
            ]
        );
    }

    #[tokio::test]
    async fn field_that_is_told_is_told_from_one_that_the_system_does_not_have() {
        let server = MockServer::start().await;
        let contact = json!({"id": "c1", "phone": 465_550_142, "company": ["Halden"]});
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"contacts": [contact, {"id": "c2"}]})))
            .mount(&server)
            .await;
        let found = crm(&server).find_contacts(&[address("a@b.example")], soon()).await.expect("contacts");
        let current: Vec<&PerField<Current>> =
            found[&address("a@b.example")].iter().map(|contact| &contact.current).collect();
        let phone = Current::Value("465550142".to_owned());
        let company = Current::Value("[\"Halden\"]".to_owned());
        assert_eq!(current, [&PerField { phone, job_title: Current::NoSuchField, company }, &PerField::default()]);
    }

    #[tokio::test]
    async fn change_of_a_contact_names_only_what_changes_and_each_is_answered_for() {
        let server = MockServer::start().await;
        Mock::given(method("PATCH"))
            .and(path("/contacts/c%2F1"))
            .and(body_json(json!({"phone": "+4655501 42"})))
            .respond_with(ResponseTemplate::new(200))
            .expect(1)
            .mount(&server)
            .await;
        Mock::given(method("PATCH"))
            .and(path("/contacts/c2"))
            .and(body_json(json!({"job_title": "Buyer", "company": "Halden"})))
            .respond_with(ResponseTemplate::new(422).set_body_string("no"))
            .mount(&server)
            .await;
        let update = |id: &str, values| ContactUpdate { contact_id: id.to_owned(), values };
        let phone = PerField { phone: Some("+4655501 42".to_owned()), ..PerField::default() };
        let texts = PerField { phone: None, job_title: Some("Buyer".to_owned()), company: Some("Halden".to_owned()) };
        let updates = [update("c/1", phone.clone()), update("c2", texts), update("c404", phone)];
        let crm = crm(&server);
        let answers = crm.update_contacts(&updates, soon()).await;
        assert_eq!(answers[0], Ok(()));
        assert!(matches!(&answers[1], Err(CrmError(CallError::Rejected { status: 422, .. }))), "{answers:?}");
        assert!(matches!(&answers[2], Err(CrmError(CallError::NotFound { .. }))), "{answers:?}");
        assert_eq!(crm.calls_made(), 3);
    }

    #[tokio::test]
    async fn activity_carries_every_key_and_the_idempotency_key() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/activities"))
            .and(header("idempotency-key", "mail-1"))
            .and(body_json(json!({
                "type": "email", "external_message_id": "m1", "prospect_id": "c1", "contact_ids": ["c1", "c2"],
                "deal_id": null, "subject": "Q3", "snippet": null, "thread_id": null, "direction": "outbound",
                "timestamp": "2026-03-01T10:00:00Z", "from": "rep@northwind.example",
                "to": ["dana@acme.example"], "cc": [], "grant_id": "g1",
            })))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({"id": "act-1"})))
            .expect(1)
            .mount(&server)
            .await;
        let id = crm(&server).log_email(&activity(), &IdempotencyKey::new("mail-1".to_owned()), soon()).await;
        assert_eq!(id, Ok("act-1".to_owned()));
    }

    fn activity() -> EmailActivity {
        EmailActivity {
            external_message_id: "m1".to_owned(),
            contact_ids: vec!["c1".to_owned(), "c2".to_owned()],
            deal_id: None,
            subject: Some("Q3".to_owned()),
            snippet: None,
            thread_id: None,
            direction: Direction::Outbound,
            timestamp: jiff::Timestamp::from_second(1_772_359_200).expect("a time"),
            from: Some(address("rep@northwind.example")),
            to: vec![address("dana@acme.example")],
            cc: Vec::new(),
            grant_id: Some("g1".to_owned()),
        }
    }

    fn meeting() -> Meeting {
        Meeting {
            external_event_id: "AAMk/x+=".to_owned(),
            subject: "Pilot".to_owned(),
            time: MeetingTime::Span {
                start: "2026-03-01T10:00:00Z".parse().expect("a time"),
                end: "2026-03-01T10:45:30Z".parse().expect("a time"),
            },
            location: None,
            link: Some("https://meet.example/x".to_owned()),
            notes: String::new(),
            organizer: Some(address("rep@northwind.example")),
            attendees: vec![Attendee {
                email: Some(address("dana@acme.example")),
                name: None,
                rsvp_status: Some("yes".to_owned()),
                contact_id: Some("c1".to_owned()),
            }],
            status: MeetingStatus::Confirmed,
            calendar_id: Some("primary".to_owned()),
            grant_id: Some("g1".to_owned()),
            master_event_id: None,
            is_recurring: false,
            series_label: None,
            contact_ids: vec!["c1".to_owned()],
            deal_id: None,
        }
    }

    #[tokio::test]
    async fn meeting_is_upserted_under_its_encoded_id_with_every_key() {
        let server = MockServer::start().await;
        let body = json!({
            "external_event_id": "AAMk/x+=", "meeting_subject": "Pilot", "meeting_date": "2026-03-01T10:00:00Z",
            "meeting_end_date": "2026-03-01T10:45:30Z", "duration_minutes": 45, "all_day": false,
            "meeting_location": null, "meeting_link": "https://meet.example/x", "notes": "",
            "organizer_email": "rep@northwind.example",
            "attendees": [{"email": "dana@acme.example", "name": null, "rsvp_status": "yes", "contact_id": "c1"}],
            "meeting_status": "confirmed", "provider_calendar_id": "primary", "grant_id": "g1", "is_recurring": false,
            "master_event_id": null, "series_label": null, "contact_ids": ["c1"], "deal_id": null,
        });
        Mock::given(method("PUT"))
            .and(path("/meetings"))
            .and(query_param("external_event_id", "AAMk/x+="))
            .and(body_json(body))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({"id": 7})))
            .expect(1)
            .mount(&server)
            .await;
        assert_eq!(crm(&server).upsert_meeting(&meeting(), soon()).await, Ok("7".to_owned()));
    }

    #[test]
    fn whole_days_are_written_as_days_and_have_no_duration() {
        let day = |text: &str| text.parse().expect("a day");
        let time = MeetingTime::Days { first: day("2026-03-01"), last: day("2026-03-03") };
        let body = meeting_body_of(&Meeting { time, status: MeetingStatus::Cancelled, ..meeting() });
        assert_eq!((&body["meeting_date"], &body["meeting_end_date"]), (&json!("2026-03-01"), &json!("2026-03-03")));
        assert_eq!((&body["duration_minutes"], &body["all_day"]), (&Value::Null, &json!(true)));
        assert_eq!(body["meeting_status"], "cancelled");
        let unknown = meeting_body_of(&Meeting { time: MeetingTime::Unknown, ..meeting() });
        assert_eq!((&unknown["meeting_date"], &unknown["all_day"]), (&Value::Null, &json!(false)));
    }

    #[tokio::test]
    async fn deletion_of_a_meeting_that_is_not_there_is_done() {
        for status in [204, 404] {
            let server = MockServer::start().await;
            Mock::given(method("DELETE"))
                .and(query_param("external_event_id", "e 1"))
                .respond_with(ResponseTemplate::new(status))
                .expect(1)
                .mount(&server)
                .await;
            assert_eq!(crm(&server).delete_meeting("e 1", soon()).await, Ok(()), "{status}");
        }
    }

    #[tokio::test]
    async fn address_without_the_collections_is_told_from_an_unknown_contact() {
        let server = MockServer::start().await;
        Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(404)).mount(&server).await;
        let lookup = crm(&server).find_contacts(&[address("a@b.example")], soon()).await.expect_err("no collection");
        let key = IdempotencyKey::new("mail-1".to_owned());
        let write = crm(&server).log_email(&activity(), &key, soon()).await.expect_err("no collection");
        for error in [lookup, write] {
            let failure = crate::domain::failure::Failure::from(error);
            assert!(
                matches!(&failure, crate::domain::failure::Failure::Transient { class: "crm.unavailable", what, .. }
                    if what.contains("CrmBaseUrl")),
                "{failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn mail_with_two_addresses_closes_the_breaker_of_a_slow_crm_that_is_back() {
        let server = MockServer::start().await;
        let down = Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(503));
        let down = down.mount_as_scoped(&server).await;
        let crm = crm(&server);
        let two = [address("a@b.example"), address("c@d.example")];
        for _ in 0..3 {
            crm.find_contacts(&two, soon()).await.expect_err("down");
        }
        drop(down);
        let back = ResponseTemplate::new(200).set_body_json(json!({"contacts": []}));
        Mock::given(wiremock::matchers::any())
            .respond_with(back.set_delay(Duration::from_millis(100)))
            .mount(&server)
            .await;
        crm.0.breaker().let_a_probe_through();
        // One lookup is the probe, the other is refused; both are waited for.
        crm.find_contacts(&two, soon()).await.expect_err("one is refused");
        assert_eq!(crm.find_contacts(&two, soon()).await.map(|found| found.len()), Ok(0));
    }

    #[tokio::test]
    async fn key_that_another_copy_used_answers_the_activity_it_made() {
        let server = MockServer::start().await;
        let conflict = json!({"error": "the key belongs to another body", "id": "act-7"});
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(409).set_body_json(conflict))
            .mount(&server)
            .await;
        let key = IdempotencyKey::new("mail-1".to_owned());
        assert_eq!(crm(&server).log_email(&activity(), &key, soon()).await, Ok("act-7".to_owned()));
    }

    #[tokio::test]
    async fn refused_activity_is_permanent_with_the_crms_own_words() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(422).set_body_json(json!({"error": "email is malformed"})))
            .mount(&server)
            .await;
        let key = IdempotencyKey::new("mail-1".to_owned());
        let error = crm(&server).log_email(&activity(), &key, soon()).await.expect_err("refused");
        let failure = crate::domain::failure::Failure::from(error);
        assert!(
            matches!(&failure, crate::domain::failure::Failure::Permanent { class: "crm.rejected", what }
            if what.contains("email is malformed")),
            "{failure:?}"
        );
    }
}

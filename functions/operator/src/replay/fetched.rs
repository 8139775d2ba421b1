//! An object fetched anew from Nylas, as if Nylas had notified of it: its ids alone, so that it is decided as it stands when
//! its turn comes.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::domain::notification::{GrantId, NotificationId};
use shared::nylas::contact::Contact;
use shared::nylas::event::Event;
use shared::nylas::message::Message;
use shared::nylas::notetaker::{HistoryEntry, NotetakerState};

use crate::story::quoted;

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A mail.
    Message,
    /// An event of a calendar.
    Event,
    /// A notetaker.
    Notetaker,
    /// A contact of an address book.
    Contact,
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectOf {
    /// Of which kind.
    pub kind: Kind,
    /// Nylas's id.
    pub id: String,
    /// The account.
    pub grant: GrantId,
    /// The calendar of an event; none for the account's primary one.
    pub calendar: Option<String>,
}

/// An object as a notification names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The trigger, for example `message.created.transformed`.
    pub trigger: String,
    /// What stands in `data.object`.
    pub object: Value,
}

impl ObjectOf {
    /// The calendar that is asked for an event.
    #[must_use]
    pub fn calendar(&self) -> &str {
        self.calendar.as_deref().unwrap_or("primary")
    }

    /// What it means that Nylas has no such object, and what to do.
    #[must_use]
    pub fn missing(&self) -> String {
        let (id, grant) = (&self.id, &self.grant);
        let account = quoted(grant.as_str());
        match self.kind {
            Kind::Message => format!(
                "nothing was replayed: Nylas has no message `{id}` in the account {grant}. It was deleted, was a draft that has \
                 been sent under another id, or is in another account; what became of it: make story ID={} GRANT={account}",
                quoted(id)
            ),
            Kind::Event => format!(
                "nothing was replayed: Nylas has no event `{id}` in the calendar `{}` of the account {grant}. It was deleted, or \
                 is in another calendar (CALENDAR=<its id>). If it was deleted and the CRM still shows it: make reconcile \
                 GRANT={account} WHAT=calendars",
                self.calendar()
            ),
            Kind::Notetaker => format!(
                "nothing was replayed: Nylas has no notetaker `{id}` in the account {grant}. It was cancelled, its history has \
                 ended, or it was sent by another account"
            ),
            Kind::Contact => format!(
                "nothing was replayed: Nylas has no contact `{id}` in the account {grant}. It was deleted from the address book, \
                 which changes nothing in the CRM, or is in another account"
            ),
        }
    }
}

impl Fetched {
    /// A mail.
    #[must_use]
    pub fn message(of: &ObjectOf, message: &Message) -> Self {
        let object = json!({
            "object": "message", "id": message.id, "grant_id": of.grant.as_str(), "thread_id": message.thread_id,
        });
        Self { trigger: "message.created.transformed".to_owned(), object }
    }

    /// An event.
    #[must_use]
    pub fn event(of: &ObjectOf, event: &Event) -> Self {
        let object = json!({
            "object": "event",
            "occurrences": event.occurrences,
            "cancelled_occurrences": event.cancelled_occurrences,
            "id": event.id,
            "grant_id": of.grant.as_str(),
            "calendar_id": event.calendar_id.as_deref().unwrap_or(of.calendar()),
            "master_event_id": event.master_event_id,
        });
        Self { trigger: "event.updated.transformed".to_owned(), object }
    }

    /// A notetaker as it last was, from its history, the newest first; none if that tells no state.
    #[must_use]
    pub fn notetaker(of: &ObjectOf, history: &[HistoryEntry]) -> Option<Self> {
        let (newest, state) = history.iter().find_map(|entry| Some((&entry.data, entry.data.state()?)))?;
        let trigger = match &state {
            NotetakerState::MediaProcessing
            | NotetakerState::MediaAvailable
            | NotetakerState::MediaError
            | NotetakerState::MediaDeleted => "notetaker.media",
            _ => "notetaker.meeting_state",
        };
        let object = json!({
            "object": "notetaker", "id": of.id, "grant_id": of.grant.as_str(), "state": state.as_str(),
            "meeting_state": newest.meeting_state, "meeting_link": newest.meeting_link,
            "join_time": newest.join_time.map(jiff::Timestamp::as_second), "meeting_settings": newest.meeting_settings,
        });
        Some(Self { trigger: trigger.to_owned(), object })
    }

    /// A contact.
    #[must_use]
    pub fn contact(of: &ObjectOf, contact: &Contact) -> Self {
        let object = json!({ "object": "contact", "id": contact.id, "grant_id": of.grant.as_str() });
        Self { trigger: "contact.updated.transformed".to_owned(), object }
    }

    /// The body of the notification.
    #[must_use]
    pub fn body(&self, of: &ObjectOf, id: &NotificationId) -> String {
        let mut object = self.object.clone();
        object["id"] = of.id.as_str().into();
        let body = json!({
            "specversion": "1.0",
            "type": self.trigger,
            "source": "/crm-autopilot/replay",
            "id": id.as_str(),
            "data": { "object": object },
        });
        body.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::domain::notification::Envelope;

    fn object(kind: Kind) -> ObjectOf {
        ObjectOf { kind, id: "x-1".to_owned(), grant: GrantId::parse("g").expect("a grant"), calendar: None }
    }

    #[test]
    fn object_is_told_of_by_its_ids_alone_under_an_id_of_its_own() {
        let of = object(Kind::Message);
        let message = Message {
            thread_id: Some("t".to_owned()),
            subject: Some("Dana's offer".to_owned()),
            ..Message::with_id("x-1")
        };
        let id = NotificationId::of_our_own("replay", "x-1:i");
        let body = Fetched::message(&of, &message).body(&of, &id);
        let envelope = Envelope::parse(&body).expect("a notification");
        assert_eq!((envelope.id, envelope.trigger.base()), (id, "message.created"));
        assert!(envelope.trigger.payload.transformed, "the function fetches what is left out");
        assert_eq!((envelope.keys.id.as_deref(), envelope.keys.thread_id.as_deref()), (Some("x-1"), Some("t")));
        assert!(!body.contains("Dana"), "{body}");
    }

    #[test]
    fn notetaker_is_told_of_as_its_history_last_knew_it() {
        let entry = |value: Value| -> HistoryEntry { serde_json::from_value(value).expect("an entry") };
        let of = object(Kind::Notetaker);
        let history = [
            entry(json!({ "event_type": "notetaker.media", "data": { "id": "x-1", "state": "media_available" } })),
            entry(json!({ "event_type": "notetaker.meeting_state", "data": { "id": "x-1", "state": "attending" } })),
        ];
        let fetched = Fetched::notetaker(&of, &history).expect("a state");
        assert_eq!(
            (fetched.trigger.as_str(), &fetched.object["state"]),
            ("notetaker.media", &json!("media_available"))
        );
        let fetched = Fetched::notetaker(&of, &history[1..]).expect("a state");
        assert_eq!(fetched.trigger, "notetaker.meeting_state");
        assert_eq!(Fetched::notetaker(&of, &[]), None);
    }

    #[test]
    fn what_nylas_does_not_have_is_told_with_what_that_means() {
        assert!(object(Kind::Event).missing().contains("calendar `primary`"));
        assert!(object(Kind::Event).missing().ends_with("make reconcile GRANT=g WHAT=calendars"));
        assert!(object(Kind::Message).missing().ends_with("make story ID=x-1 GRANT=g"));
        assert!(object(Kind::Contact).missing().contains("changes nothing in the CRM"));
    }
}

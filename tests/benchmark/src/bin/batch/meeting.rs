//! The events that are measured: meetings of one colleague with outsiders, as the records of a queue that carry Nylas's
//! notifications. They are whole, so that nothing has to be fetched for them.

use aws_lambda_events::sqs::SqsEvent;
use serde_json::{Value, json};

use crate::mail::{COLLEAGUE, GRANT, Outsider, batch_of};

/// A meeting that one colleague has called.
#[derive(Clone, Debug)]
pub struct Meeting {
    number: usize,
    /// The outsiders who are invited.
    pub outsiders: Vec<Outsider>,
}

impl Meeting {
    /// A meeting with these outsiders.
    pub fn new(number: usize, outsiders: Vec<Outsider>) -> Self {
        Self { number, outsiders }
    }

    /// Nylas's id of it.
    pub fn id(&self) -> String {
        format!("event-{}", self.number)
    }

    fn notification(&self) -> Value {
        let start = 1_767_258_000 + 3600 * self.number;
        let invited = self.outsiders.iter().map(|outsider| json!({ "email": outsider.address(), "status": "noreply" }));
        let participants: Vec<Value> =
            std::iter::once(json!({ "email": COLLEAGUE, "status": "yes" })).chain(invited).collect();
        json!({
            "specversion": "1.0",
            "type": "event.created",
            "source": "/google/events/incremental",
            "id": format!("notification-{}", self.number),
            "time": 1_767_225_601,
            "webhook_delivery_attempt": 1,
            "data": { "application_id": "b8c1f6e0-3d57-4b1a-9d0e-6f2a7c4e1b90", "object": {
                "id": self.id(),
                "grant_id": GRANT,
                "calendar_id": "primary",
                "object": "event",
                "title": "Pilot in the second plant",
                "description": "<p>Results of the first weeks.</p><ul><li>uptime</li><li>open questions</li></ul>",
                "when": {
                    "object": "timespan", "start_time": start, "end_time": start + 1800,
                    "start_timezone": "UTC", "end_timezone": "UTC",
                },
                "status": "confirmed",
                "visibility": "default",
                "organizer": { "email": COLLEAGUE },
                "participants": participants,
                "conferencing": { "details": { "url": "https://meet.example/abc" } },
                "ical_uid": format!("{}@calendar.example", self.id()),
                "updated_at": 1_767_225_600,
            } },
        })
    }
}

/// The events as one batch, just sent.
pub fn batch(meetings: &[Meeting]) -> Result<SqsEvent, serde_json::Error> {
    batch_of(meetings.iter().map(|meeting| (meeting.number, meeting.notification())))
}

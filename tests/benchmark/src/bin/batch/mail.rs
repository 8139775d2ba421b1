//! The mails that are measured, in every form in which they are needed: as the record of a queue that carries Nylas's
//! notification, as the message that Nylas holds with its headers, and as the activity that a plain loop would write.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use serde_json::{Value, json};
use shared::{
    crm::{Direction, EmailActivity},
    domain::address::EmailAddress,
    nylas::message::Message,
};

/// The domain of the company whose mail it is.
pub const COMPANY_DOMAIN: &str = "northwind.example";
/// The mailbox in which all mails arrive.
pub const COLLEAGUE: &str = "rep@northwind.example";
/// Nylas's grant for it.
pub const GRANT: &str = "6d2f6a0c-5a44-4f0e-9c51-0b8f3c1e7a10";

/// How many addresses a mail has among its recipients; further ones get a copy.
const RECIPIENTS: usize = 3;

/// A person outside the company.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outsider(usize);

impl Outsider {
    /// The person with this number.
    pub fn new(number: usize) -> Self {
        Self(number)
    }

    /// The only address.
    pub fn address(&self) -> String {
        format!("person{}@customer.example", self.0)
    }

    /// The id under which the CRM knows the person.
    pub fn contact_id(&self) -> String {
        format!("contact-{}", self.0)
    }
}

/// A mail from one outsider to the colleague and to further outsiders.
#[derive(Clone, Debug)]
pub struct Mail {
    number: usize,
    /// The outsiders on it, the writer first.
    pub outsiders: Vec<Outsider>,
}

impl Mail {
    /// A mail with these outsiders on it.
    pub fn new(number: usize, outsiders: Vec<Outsider>) -> Self {
        Self { number, outsiders }
    }

    /// Nylas's id of it.
    pub fn id(&self) -> String {
        format!("message-{}", self.number)
    }

    /// The mail as a standard notification carries it.
    fn notified(&self) -> Value {
        let people = |outsiders: &[Outsider]| -> Vec<Value> {
            outsiders.iter().map(|outsider| json!({ "email": outsider.address() })).collect()
        };
        let (writer, others) = self.outsiders.split_at(self.outsiders.len().min(1));
        let (recipients, copies) = others.split_at(others.len().min(RECIPIENTS));
        let to: Vec<Value> = std::iter::once(json!({ "email": COLLEAGUE })).chain(people(recipients)).collect();
        json!({
            "id": self.id(),
            "grant_id": GRANT,
            "object": "message",
            "thread_id": format!("thread-{}", self.number),
            "subject": "Pilot in the second plant",
            "snippet": "Thanks for the call on Tuesday. For the pilot we would need two lines and a start in spring.",
            "body": "<p>Thanks for the call on Tuesday. For the pilot we would need two lines and a start in spring.</p>",
            "from": people(writer),
            "to": to,
            "cc": people(copies),
            "bcc": [],
            "reply_to": [],
            "date": 1_767_225_600,
            "folders": ["INBOX"],
            "attachments": [],
            "starred": false,
            "unread": true,
        })
    }

    /// The mail as Nylas holds it: a notification leaves the headers out.
    pub fn at_nylas(&self) -> Value {
        let mut message = self.notified();
        let header = |name: &str, value: String| json!({ "name": name, "value": value });
        let from = self.outsiders.first().map(Outsider::address).unwrap_or_default();
        message["headers"] = json!([
            header("Message-ID", format!("<{}@mail.customer.example>", self.id())),
            header("From", from),
            header("To", COLLEAGUE.to_owned()),
            header("Subject", "Pilot in the second plant".to_owned()),
            header("Date", "Thu, 01 Jan 2026 00:00:00 +0000".to_owned()),
            header("MIME-Version", "1.0".to_owned()),
            header("Content-Type", "text/html; charset=\"utf-8\"".to_owned()),
        ]);
        message
    }

    fn notification(&self) -> Value {
        json!({
            "specversion": "1.0",
            "type": "message.created",
            "source": "/google/emails/realtime",
            "id": format!("notification-{}", self.number),
            "time": 1_767_225_601,
            "webhook_delivery_attempt": 1,
            "data": { "application_id": "b8c1f6e0-3d57-4b1a-9d0e-6f2a7c4e1b90", "object": self.notified() },
        })
    }

    /// What a plain loop goes by: the mail, and the addresses on it that are not the company's.
    pub fn read(&self) -> Result<(Message, Vec<EmailAddress>), serde_json::Error> {
        let addresses = self.outsiders.iter().filter_map(|outsider| EmailAddress::parse(&outsider.address()));
        Ok((serde_json::from_value(self.notified())?, addresses.collect()))
    }
}

/// The mails as one batch, just sent.
pub fn batch(mails: &[Mail]) -> Result<SqsEvent, serde_json::Error> {
    batch_of(mails.iter().map(|mail| (mail.number, mail.notification())))
}

/// Numbered notifications as one batch, just sent, each in a group of its own.
pub fn batch_of(notifications: impl Iterator<Item = (usize, Value)>) -> Result<SqsEvent, serde_json::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let record = |(number, notification): (usize, Value)| {
        json!({
            "messageId": format!("00000000-0000-4000-8000-{number:012}"),
            "receiptHandle": format!("receipt-{number}"),
            "body": notification.to_string(),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": now.to_string(),
                "MessageGroupId": format!("group-{number}"),
                "MessageDeduplicationId": format!("deduplication-{number}"),
            },
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue.fifo",
            "awsRegion": "us-east-1",
        })
    };
    serde_json::from_value(json!({ "Records": notifications.map(record).collect::<Vec<Value>>() }))
}

/// The activity of a mail with these contacts.
pub fn activity(message: Message, addresses: &[EmailAddress], contact_ids: Vec<String>) -> EmailActivity {
    let (writer, others) = addresses.split_at(addresses.len().min(1));
    EmailActivity {
        external_message_id: message.id,
        contact_ids,
        deal_id: None,
        subject: message.subject,
        snippet: message.snippet,
        thread_id: message.thread_id,
        direction: Direction::Inbound,
        timestamp: message.date.unwrap_or_default(),
        from: writer.first().cloned(),
        to: others.to_vec(),
        cc: Vec::new(),
        grant_id: message.grant_id,
    }
}

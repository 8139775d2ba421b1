//! What can happen to a customer, as the messages that tell of it, and stories made of it.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use shared::domain::digest::sha256_hex;
use shared::domain::own_mail::LoopId;

use super::world::World;
use super::{GRANT, SENDER};
use crate::bookings::CUSTOMER_FIELD;
use crate::customer::Customer;

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// The product tells of a sign-up, under this id.
    SignUp(String),
    /// The product tells that the customer is set up, under this id.
    Complete(String),
    /// A mail of this step is opened.
    Open(&'static str),
    /// A link of a mail of this step is clicked.
    Click(&'static str),
    /// All links of a mail of this step are followed at once, by a scanner.
    Scan(&'static str),
    /// A mail of this step is answered.
    Reply(&'static str),
    /// A mail of this step is answered by an absence notice.
    OutOfOffice(&'static str),
    /// Mail to the address comes back.
    Bounce,
    /// A call is booked, so much later, under this booking.
    Book(&'static str, SignedDuration),
    /// The call of this booking is moved, to so much later.
    Reschedule(&'static str, SignedDuration),
    /// The call of this booking is cancelled.
    Cancel(&'static str),
}

/// What happens when, counted from the beginning.
pub type Story = (&'static str, &'static str, &'static [(i64, fn() -> Act)]);

/// Stories for people who edit delays and templates: their name, what they are about, and what happens after how many
/// hours.
pub const STORIES: [Story; 7] = [
    ("silent", "a customer who never answers", &[(0, sign_up)]),
    ("opens", "a customer who opens the welcome and does no more", &[(0, sign_up), (5, || Act::Open("welcome"))]),
    ("clicks", "a customer who clicks and then goes quiet", &[(0, sign_up), (5, || Act::Click("welcome"))]),
    (
        "books",
        "a customer who books, comes to the call and is set up",
        &[
            (0, sign_up),
            (5, || Act::Click("welcome")),
            (6, || Act::Book("booking-1", SignedDuration::from_hours(48))),
            (60, || Act::Complete("event-2".to_owned())),
        ],
    ),
    (
        "changes",
        "a customer who books, moves the call, cancels it and books again",
        &[
            (0, sign_up),
            (6, || Act::Book("booking-1", SignedDuration::from_hours(48))),
            (7, || Act::Reschedule("booking-1", SignedDuration::from_hours(72))),
            (8, || Act::Cancel("booking-1")),
            (30, || Act::Book("booking-2", SignedDuration::from_hours(24))),
        ],
    ),
    ("bounces", "an address that does not exist", &[(0, sign_up), (1, || Act::Bounce)]),
    (
        "scanned",
        "a customer whose mail is opened by a scanner that follows every link",
        &[(0, sign_up), (1, || Act::Scan("welcome"))],
    ),
];

fn sign_up() -> Act {
    Act::SignUp("event-1".to_owned())
}

impl Act {
    /// The message that tells of it; none if it cannot have happened.
    pub(super) fn body(&self, world: &World, customer: Option<&Customer>, email: &str) -> Option<String> {
        let now = world.now();
        let told = |kind: &str, object: &Value| {
            let id = sha256_hex(&[kind.as_bytes(), object.to_string().as_bytes(), now.to_string().as_bytes()]);
            json!({
                "specversion": "1.0", "type": kind, "source": "/simulation", "id": id, "time": now.as_second(),
                "data": {"application_id": "app", "grant_id": GRANT, "object": object},
            })
            .to_string()
        };
        let product = |kind: &str, id: &str| {
            json!({"type": kind, "id": id, "email": email, "name": "Rosa Diaz", "occurred_at": now.to_string()})
                .to_string()
        };
        let label = |step: &str| Some(format!("{}.{}.{step}", customer?.key(), customer?.run));
        let mail_of = |step: &str| {
            let label = label(step)?;
            world.sent().into_iter().rev().find(|sent| sent.label == label)
        };
        match self {
            Self::SignUp(id) => Some(product("customer.signed_up", id)),
            Self::Complete(id) => Some(product("customer.onboarding_completed", id)),
            Self::Open(step) => {
                let mail = mail_of(step)?;
                let recent =
                    json!({"opened_id": 0, "ip": "192.0.2.1", "timestamp": now.as_second(), "user_agent": BROWSER});
                let object = json!({"message_id": mail.id, "label": mail.label, "recents": [recent],
                    "message_data": {"count": 1, "timestamp": now.as_second()}, "timestamp": now.as_second()});
                Some(told("message.opened", &object))
            }
            Self::Click(step) | Self::Scan(step) => {
                let mail = mail_of(step)?;
                let links = if matches!(self, Self::Scan(_)) { 3 } else { 1 };
                let recents: Vec<Value> = (0..links)
                    .map(|link| {
                        json!({"click_id": 0, "link_index": link.to_string(), "ip": "192.0.2.1",
                            "timestamp": now.as_second(), "user_agent": BROWSER})
                    })
                    .collect();
                let object = json!({"message_id": mail.id, "label": mail.label, "recents": recents,
                    "link_data": [{"url": "https://northwind.example/setup", "count": 1}], "timestamp": now.as_second()});
                Some(told("message.link_clicked", &object))
            }
            Self::Reply(step) | Self::OutOfOffice(step) => {
                let mail = mail_of(step)?;
                let automatic = matches!(self, Self::OutOfOffice(_));
                let id = format!("reply-{}", now.as_second());
                let headers =
                    if automatic { json!([{"name": "Auto-Submitted", "value": "auto-replied"}]) } else { json!([]) };
                let subject = if automatic { "Automatic reply: I am away" } else { "Re: Welcome" };
                world.receive(
                    &id,
                    json!({"id": id, "from": [{"email": email}], "to": [{"email": SENDER}],
                    "subject": subject, "snippet": "…", "headers": headers}),
                );
                let object = json!({"message_id": id, "root_message_id": mail.id, "label": mail.label, "from_self": false,
                    "reply_data": {"count": 1}, "timestamp": now.as_second()});
                Some(told("thread.replied", &object))
            }
            Self::Bounce => {
                let object = json!({"bounced_addresses": email, "type": "mailbox_unavailable", "code": "550",
                    "bounce_reason": "no such mailbox", "origin": {"to": [email], "from": SENDER}});
                Some(told("message.bounce_detected", &object))
            }
            Self::Book(id, later) => Some(told("booking.created", &booking(world, customer, email, id, now, *later))),
            Self::Reschedule(id, later) => {
                Some(told("booking.rescheduled", &booking(world, customer, email, id, now, *later)))
            }
            Self::Cancel(id) => {
                let mut object = booking(world, customer, email, id, now, SignedDuration::ZERO);
                object["booking_info"]["cancellation_reason"] = "".into();
                Some(told("booking.cancelled", &object))
            }
        }
    }
}

const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0";

fn booking(
    world: &World,
    customer: Option<&Customer>,
    email: &str,
    id: &str,
    now: Timestamp,
    later: SignedDuration,
) -> Value {
    let start = now.checked_add(later).unwrap_or(now).as_second();
    let page = customer.and_then(|customer| customer.page.as_ref()?.configuration_id.clone());
    let page = page.or_else(|| world.pages().first().map(|page| page.id.clone()));
    let key = customer.map(|customer| format!("{}.{}", LoopId::of_stack("simulation").as_str(), customer.key()));
    json!({
        "booking_id": id, "booking_ref": "ref", "configuration_id": page, "object": "booking",
        "booking_info": {
            "event_id": format!("event-of-{id}"), "start_time": start, "end_time": start + 1800, "title": "Kickoff",
            "participants": [{"email": SENDER, "name": "Team"}, {"email": email, "name": "Rosa Diaz"}],
            "additional_fields": {CUSTOMER_FIELD: key}, "guest_timezone": "Europe/Stockholm", "duration": 30,
            "participant_rescheduling_url": "https://book.nylas.com/reschedule/ref",
            "participant_cancellation_url": "https://book.nylas.com/cancel/ref",
        },
    })
}

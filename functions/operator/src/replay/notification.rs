//! A body as it came or comes in: where it goes, and the same body under an id of its own.

use serde_json::value::RawValue;
use shared::domain::customer_event::{CustomerEvent, customer_key};
use shared::domain::notification::{Envelope, NotificationId};
use shared::domain::queue_message::GroupId;
use shared::domain::routing::{Destination, route};
use std::collections::{BTreeMap, HashSet};

/// Where a body goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// To these queues.
    To {
        /// The id of the notification, or of the event of the product.
        id: NotificationId,
        /// What happened.
        trigger: String,
        /// The queues and the group in them.
        route: Place,
    },
    /// Nowhere: nobody wants its type.
    Unwanted {
        /// The id of the notification.
        id: NotificationId,
        /// What happened.
        trigger: String,
    },
    /// Nowhere: it is no notification.
    Nothing {
        /// What is wrong with it.
        problem: String,
    },
}

/// The queues that want a body, and its group in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The queues.
    pub destinations: Vec<Destination>,
    /// The group.
    pub group: GroupId,
    /// What the group is of, for example `thread`.
    pub kind: &'static str,
}

impl Routed {
    /// Routes a body as ingress does; an event of the product goes where ingress puts those.
    #[must_use]
    pub(crate) fn of(body: &str, support_grants: &HashSet<String>) -> Self {
        let envelope = match Envelope::parse(body) {
            Ok(envelope) => envelope,
            Err(problem) => return Self::of_the_product(body).unwrap_or_else(|| {
                let job = type_of(body).filter(|kind| is_a_job(kind));
                let problem = match job {
                    Some(kind) => format!(
                        "`{kind}` is a job of our own making and no notification: start it with `make backfill`, `make \
                         reconcile` or `make sync`"
                    ),
                    None => problem.to_string(),
                };
                Self::Nothing { problem }
            }),
        };
        let trigger = envelope.trigger.base().to_owned();
        match route(&envelope, support_grants) {
            Some(route) => {
                let kind = kind_of(&envelope, &route.group);
                let place = Place { destinations: route.destinations, group: route.group, kind };
                Self::To { id: envelope.id, trigger, route: place }
            }
            None => Self::Unwanted { id: envelope.id, trigger },
        }
    }

    fn of_the_product(body: &str) -> Option<Self> {
        let event = CustomerEvent::parse(body.as_bytes()).ok()?;
        let place = Place {
            destinations: vec![Destination::Onboarding],
            group: GroupId::of("customer", &customer_key(&event.email)),
            kind: "customer",
        };
        Some(Self::To { id: event.id, trigger: type_of(body).unwrap_or_default(), route: place })
    }
}

/// What a group is of: a digest alone does not tell.
fn kind_of(envelope: &Envelope, group: &GroupId) -> &'static str {
    let keys = &envelope.keys;
    let label =
        keys.label.as_deref().and_then(shared::domain::customer_event::customer_key_of_label).map(str::to_owned);
    let grant = envelope.grant.as_ref().map(|grant| grant.as_str().to_owned());
    let candidates = [
        ("thread", &keys.thread_id),
        ("event", &keys.master_event_id),
        ("event", &keys.id),
        ("message", &keys.message_id),
        ("message", &keys.id),
        ("notetaker", &keys.id),
        ("customer", &label),
        ("configuration", &keys.configuration_id),
        ("grant", &grant),
    ];
    let of_it = |(kind, key): &(&'static str, &Option<String>)| {
        key.as_ref().is_some_and(|key| GroupId::of(kind, key) == *group)
    };
    candidates.iter().find(|candidate| of_it(candidate)).map_or("notification", |(kind, _)| kind)
}

/// The type that a body names.
#[must_use]
pub fn type_of(body: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    value.get("type")?.as_str().map(str::to_owned)
}

fn is_a_job(kind: &str) -> bool {
    ["reconcile", "calendar.", "contacts.", "onboarding.", "notetaker.timer", "ticket."]
        .iter()
        .any(|beginning| kind.starts_with(beginning))
}

/// The same body under another id, all else as it was; none if it is no JSON object.
#[must_use]
pub fn renamed(body: &str, id: &NotificationId) -> Option<String> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body).ok()?;
    fields.insert("id".to_owned(), RawValue::from_string(serde_json::json!(id.as_str()).to_string()).ok()?);
    serde_json::to_string(&fields).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use shared::domain::notification::content_digest;

    fn routed(body: &Value) -> Routed {
        Routed::of(&body.to_string(), &HashSet::from(["support".to_owned()]))
    }

    fn mail(grant: &str) -> Value {
        json!({ "id": "n", "type": "message.created", "data": { "object": { "id": "m", "thread_id": "t", "grant_id": grant } } })
    }

    #[test]
    fn mail_goes_where_its_mailbox_belongs_in_the_group_of_its_thread() {
        for (grant, destination) in [("rep", Destination::EmailActivity), ("support", Destination::TicketTriage)] {
            let Routed::To { route, trigger, .. } = routed(&mail(grant)) else { panic!("{grant}") };
            assert_eq!(
                (route.destinations, route.kind, trigger.as_str()),
                (vec![destination], "thread", "message.created")
            );
            assert_eq!(route.group, GroupId::of("thread", "t"));
        }
    }

    #[test]
    fn group_is_named_by_what_it_is_of() {
        for (trigger, object, kind) in [
            ("event.updated", json!({ "id": "e_1", "master_event_id": "e", "grant_id": "g" }), "event"),
            ("notetaker.media", json!({ "id": "nt", "grant_id": "g" }), "notetaker"),
            ("contact.updated", json!({ "id": "c", "grant_id": "g" }), "grant"),
            ("booking.created", json!({ "configuration_id": "c" }), "configuration"),
            ("message.created", json!({ "id": "m", "grant_id": "g" }), "message"),
            ("booking.created", json!({}), "notification"),
        ] {
            let body = json!({ "id": "n", "type": trigger, "data": { "object": object } });
            let Routed::To { route, .. } = routed(&body) else { panic!("{trigger}") };
            assert_eq!(route.kind, kind, "{trigger}");
        }
    }

    #[test]
    fn event_of_the_product_goes_to_onboarding_and_a_job_is_refused_with_how_to_start_it() {
        let event = json!({ "type": "customer.signed_up", "id": "s-1", "email": "dana@acme.example", "name": "Dana" });
        let Routed::To { id, route, .. } = routed(&event) else { panic!("an event of the product") };
        assert_eq!((id.as_str(), route.destinations), ("s-1", vec![Destination::Onboarding]));
        let Routed::Nothing { problem } = routed(&json!({ "type": "reconcile", "grant_id": "g" })) else {
            panic!("a job")
        };
        assert!(problem.contains("make reconcile"), "{problem}");
        let Routed::Nothing { problem } = routed(&json!({ "id": "n", "type": "message.created" })) else {
            panic!("nothing")
        };
        assert_eq!(problem, "the body has no `data` object");
        assert!(matches!(routed(&json!({ "id": "n", "type": "folder.updated", "data": {} })), Routed::Unwanted { .. }));
    }

    #[test]
    fn body_under_an_id_of_its_own_says_the_same_to_the_byte() {
        let body = r#"{"specversion":"1.0","id":"n-1","data":{ "z": 1.50, "a": [1,2] },"type":"message.created"}"#;
        let own = NotificationId::of_our_own("replay", "n-1:i");
        let renamed = renamed(body, &own).expect("an object");
        assert_eq!(Envelope::parse(&renamed).map(|envelope| envelope.id), Ok(own.clone()));
        assert_eq!(content_digest(&renamed), content_digest(body));
        assert_eq!(super::renamed("[]", &own), None);
    }
}

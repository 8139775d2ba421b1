//! The routing table: which queues want a notification, and the group it belongs to in each.
//!
//! A pure function of the envelope and the list of support grants.

use crate::domain::customer_event::customer_key_of_label;
use crate::domain::notification::Envelope;
use crate::domain::queue_message::GroupId;
use std::collections::HashSet;

/// A function that takes work from a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// Logs mail.
    EmailActivity,
    /// Mirrors meetings, watches grants.
    CalendarSync,
    /// Files meeting notes.
    NotetakerMedia,
    /// Onboards customers.
    Onboarding,
    /// Opens tickets.
    TicketTriage,
    /// Refreshes contacts.
    ContactSync,
}

impl Destination {
    /// Every destination.
    pub const ALL: [Self; 6] = [
        Self::EmailActivity,
        Self::CalendarSync,
        Self::NotetakerMedia,
        Self::Onboarding,
        Self::TicketTriage,
        Self::ContactSync,
    ];

    /// The name that enters deduplication ids: that of the function.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EmailActivity => "email-activity",
            Self::CalendarSync => "calendar-sync",
            Self::NotetakerMedia => "notetaker-media",
            Self::Onboarding => "onboarding-transitions",
            Self::TicketTriage => "ticket-triage",
            Self::ContactSync => "contact-sync",
        }
    }

    /// The variable that holds the URL of its queue.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::EmailActivity => "EMAIL_ACTIVITY_QUEUE_URL",
            Self::CalendarSync => "CALENDAR_SYNC_QUEUE_URL",
            Self::NotetakerMedia => "NOTETAKER_MEDIA_QUEUE_URL",
            Self::Onboarding => "ONBOARDING_QUEUE_URL",
            Self::TicketTriage => "TICKET_TRIAGE_QUEUE_URL",
            Self::ContactSync => "CONTACT_SYNC_QUEUE_URL",
        }
    }
}

/// What a webhook at Nylas subscribes to, with whom each type is for: every type that [`route`] sends anywhere and Nylas
/// has. Suffixes are never subscribed to: Nylas adds them by itself.
pub const SUBSCRIBED: [(&str, &[Destination]); 25] = [
    ("message.created", &[Destination::EmailActivity, Destination::TicketTriage]),
    ("event.created", &[Destination::CalendarSync]),
    ("event.updated", &[Destination::CalendarSync]),
    ("event.deleted", &[Destination::CalendarSync]),
    ("notetaker.created", &[Destination::NotetakerMedia]),
    ("notetaker.updated", &[Destination::NotetakerMedia]),
    ("notetaker.meeting_state", &[Destination::NotetakerMedia]),
    ("notetaker.media", &[Destination::NotetakerMedia]),
    ("notetaker.deleted", &[Destination::NotetakerMedia]),
    ("message.opened", &[Destination::Onboarding]),
    ("message.link_clicked", &[Destination::Onboarding]),
    ("thread.replied", &[Destination::Onboarding]),
    ("message.bounce_detected", &[Destination::Onboarding, Destination::TicketTriage]),
    ("message.send_failed", &[Destination::Onboarding, Destination::TicketTriage]),
    ("booking.created", &[Destination::Onboarding]),
    ("booking.pending", &[Destination::Onboarding]),
    ("booking.rescheduled", &[Destination::Onboarding]),
    ("booking.cancelled", &[Destination::Onboarding]),
    ("booking.reminder", &[Destination::Onboarding]),
    ("contact.updated", &[Destination::ContactSync]),
    ("grant.created", &[Destination::CalendarSync]),
    ("grant.updated", &[Destination::CalendarSync]),
    ("grant.deleted", &[Destination::CalendarSync]),
    ("grant.expired", &[Destination::CalendarSync]),
    ("grant.imap_sync_completed", &[Destination::CalendarSync]),
];

/// The types that are subscribed to while these functions are on. How the accounts themselves fare is always wanted.
pub fn wanted_types(is_on: impl Fn(Destination) -> bool) -> impl Iterator<Item = &'static str> {
    SUBSCRIBED
        .into_iter()
        .filter(move |(kind, of)| kind.starts_with("grant.") || of.iter().any(|destination| is_on(*destination)))
        .map(|(kind, _)| kind)
}

/// Where a notification goes: the same group in every queue that wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The queues that want it.
    pub destinations: Vec<Destination>,
    /// The entity it is about.
    pub group: GroupId,
}

/// Routes a notification; none if nobody wants its type.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "the list is made in one way everywhere")]
pub fn route(envelope: &Envelope, support_grants: &HashSet<String>) -> Option<Route> {
    use Destination::{CalendarSync, ContactSync, EmailActivity, NotetakerMedia, Onboarding, TicketTriage};

    let keys = &envelope.keys;
    let grant = envelope.grant.as_ref().map(|grant| grant.as_str().to_owned());
    let of_support = grant.as_ref().is_some_and(|grant| support_grants.contains(grant));
    let (destinations, kind, key) = match envelope.trigger.base() {
        "message.created" => {
            let destination = if of_support { TicketTriage } else { EmailActivity };
            match &keys.thread_id {
                Some(thread) => (vec![destination], "thread", Some(thread.clone())),
                None => (vec![destination], "message", keys.id.clone()),
            }
        }
        // Without the grant: Google shares event ids between the copies of one meeting.
        "event.created" | "event.updated" | "event.deleted" => {
            (vec![CalendarSync], "event", keys.master_event_id.clone().or_else(|| keys.id.clone()))
        }
        trigger if trigger.starts_with("notetaker.") => (vec![NotetakerMedia], "notetaker", keys.id.clone()),
        "message.opened" | "message.link_clicked" | "thread.replied" => {
            // Other campaigns of the same account carry labels of their own.
            let customer = keys.label.as_deref().and_then(customer_key_of_label)?;
            (vec![Onboarding], "customer", Some(customer.to_owned()))
        }
        "message.bounce_detected" | "message.send_failed" => {
            let destinations = if of_support { vec![Onboarding, TicketTriage] } else { vec![Onboarding] };
            (destinations, "message", keys.message_id.clone().or_else(|| keys.id.clone()))
        }
        trigger if trigger.starts_with("booking.") => {
            (vec![Onboarding], "configuration", keys.configuration_id.clone())
        }
        "contact.updated" => (vec![ContactSync], "grant", grant),
        trigger if trigger.starts_with("grant.") => (vec![CalendarSync], "grant", grant),
        _ => return None,
    };
    let group = match key {
        Some(key) => GroupId::of(kind, &key),
        None => GroupId::of("notification", envelope.id.as_str()),
    };
    Some(Route { destinations, group })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Destination::{CalendarSync, ContactSync, EmailActivity, NotetakerMedia, Onboarding, TicketTriage};
    use serde_json::{Value, json};

    const LABEL: &str = "0123456789abcdef0123456789abcdef.1.welcome";

    fn routed(trigger: &str, data: &Value) -> Option<Route> {
        let body = json!({"specversion": "1.0", "type": trigger, "id": "n-1", "data": data});
        let envelope = Envelope::parse(&body.to_string()).expect("a notification");
        route(&envelope, &HashSet::from(["support-1".to_owned()]))
    }

    fn check(trigger: &str, data: &Value, destinations: &[Destination], kind: &str, key: &str) {
        let route = routed(trigger, data).unwrap_or_else(|| panic!("{trigger} is wanted"));
        assert_eq!(route.destinations, destinations, "{trigger}");
        assert_eq!(route.group, GroupId::of(kind, key), "{trigger}");
    }

    #[test]
    fn mail_of_a_rep_goes_to_email_activity_by_its_thread_else_its_id() {
        let mail = json!({"object": {"id": "m", "thread_id": "t", "grant_id": "rep-1"}});
        check("message.created", &mail, &[EmailActivity], "thread", "t");
        let mail = json!({"object": {"id": "m", "grant_id": "rep-1"}});
        check("message.created", &mail, &[EmailActivity], "message", "m");
    }

    #[test]
    fn mail_of_a_support_grant_goes_to_ticket_triage_wherever_the_grant_is_named() {
        let mail = json!({"object": {"id": "m", "thread_id": "t", "grant_id": "support-1"}});
        check("message.created", &mail, &[TicketTriage], "thread", "t");
        let mail = json!({"grant_id": "support-1", "object": {"id": "m", "thread_id": "t"}});
        check("message.created", &mail, &[TicketTriage], "thread", "t");
    }

    #[test]
    fn suffixes_do_not_change_the_route() {
        let mail = json!({"object": {"id": "m", "thread_id": "t", "grant_id": "rep-1"}});
        for suffix in [".cleaned", ".transformed", ".truncated", ".metadata", ".cleaned.transformed.truncated"] {
            check(&format!("message.created{suffix}"), &mail, &[EmailActivity], "thread", "t");
        }
        let event = json!({"object": {"id": "e", "grant_id": "rep-1"}});
        check("event.updated.transformed", &event, &[CalendarSync], "event", "e");
    }

    #[test]
    fn events_go_to_calendar_sync_by_their_master_else_their_id_without_the_grant() {
        for trigger in ["event.created", "event.updated", "event.deleted"] {
            for grant in ["rep-1", "rep-2"] {
                let one = json!({"object": {"id": "e_1", "master_event_id": "e", "grant_id": grant}});
                check(trigger, &one, &[CalendarSync], "event", "e");
                check(trigger, &json!({"object": {"id": "e", "grant_id": grant}}), &[CalendarSync], "event", "e");
            }
        }
    }

    #[test]
    fn every_notetaker_trigger_goes_to_notetaker_media_by_the_notetaker() {
        for trigger in ["created", "updated", "media", "meeting_state", "deleted", "something_new"] {
            check(
                &format!("notetaker.{trigger}"),
                &json!({"object": {"id": "nt"}}),
                &[NotetakerMedia],
                "notetaker",
                "nt",
            );
        }
    }

    #[test]
    fn tracking_goes_to_onboarding_by_the_customer_of_our_own_labels_only() {
        for trigger in ["message.opened", "message.link_clicked", "thread.replied"] {
            let ours = json!({"grant_id": "g", "object": {"message_id": "m", "label": LABEL}});
            check(trigger, &ours, &[Onboarding], "customer", "0123456789abcdef0123456789abcdef");
            for label in [json!("spring-campaign"), json!(null), json!("")] {
                assert_eq!(routed(trigger, &json!({"object": {"message_id": "m", "label": label}})), None, "{trigger}");
            }
            assert_eq!(routed(trigger, &json!({"object": {"message_id": "m"}})), None, "{trigger}");
        }
    }

    #[test]
    fn bounces_and_failed_sends_go_to_onboarding_and_of_a_support_grant_to_triage_as_well() {
        for trigger in ["message.bounce_detected", "message.send_failed"] {
            let of_rep = json!({"grant_id": "rep-1", "object": {"grant_id": "rep-1", "message_id": "m"}});
            check(trigger, &of_rep, &[Onboarding], "message", "m");
            let of_support = json!({"grant_id": "support-1", "object": {"grant_id": "support-1", "message_id": "m"}});
            check(trigger, &of_support, &[Onboarding, TicketTriage], "message", "m");
        }
        check("message.send_failed", &json!({"grant_id": "g", "object": null}), &[Onboarding], "notification", "n-1");
    }

    #[test]
    fn bookings_go_to_onboarding_by_their_configuration() {
        for trigger in ["created", "pending", "rescheduled", "cancelled", "reminder"] {
            let booking = json!({"object": {"booking_id": "b", "configuration_id": "c"}});
            check(&format!("booking.{trigger}"), &booking, &[Onboarding], "configuration", "c");
        }
    }

    #[test]
    fn contacts_go_to_contact_sync_and_grants_to_calendar_sync_by_the_grant() {
        check("contact.updated", &json!({"object": {"id": "c", "grant_id": "g"}}), &[ContactSync], "grant", "g");
        for trigger in ["created", "updated", "deleted", "expired", "imap_sync_completed"] {
            let grant = json!({"object": {"grant_id": "g"}});
            check(&format!("grant.{trigger}"), &grant, &[CalendarSync], "grant", "g");
        }
    }

    #[test]
    fn all_else_is_wanted_by_nobody() {
        for trigger in [
            "message.updated",
            "message.deleted",
            "message.send_success",
            "message.opened.legacy",
            "contact.deleted",
            "calendar.created",
            "folder.updated",
            "thread.created",
            "event",
            "something.new",
            "",
        ] {
            // An empty type is refused as no notification before it can be routed.
            if !trigger.is_empty() {
                assert_eq!(routed(trigger, &json!({"object": {"id": "x", "grant_id": "g"}})), None, "{trigger}");
            }
        }
    }

    /// What a webhook may subscribe to (Nylas API reference, `trigger_types` of a webhook destination).
    const TYPES_AT_NYLAS: &str = "calendar.created calendar.updated calendar.deleted event.created event.updated \
        event.deleted grant.created grant.updated grant.deleted grant.expired grant.imap_sync_completed \
        message.send_success message.send_failed message.bounce_detected message.created message.created.cleaned \
        message.opened message.opened.legacy message.updated message.link_clicked message.link_clicked.legacy \
        thread.replied thread.replied.legacy contact.updated contact.deleted folder.created folder.updated \
        folder.deleted booking.created booking.pending booking.rescheduled booking.cancelled booking.reminder \
        message.deleted message.transactional.bounced message.transactional.complaint \
        message.transactional.delivered message.transactional.rejected message.bounced message.complaint \
        message.delivered message.rejected notetaker.created notetaker.updated notetaker.deleted \
        notetaker.meeting_state notetaker.media";

    /// Who gets notifications of a type, of a rep and of a support mailbox.
    fn receivers(kind: &str) -> Vec<Destination> {
        let object = |grant: &str| json!({"grant_id": grant, "object": {"id": "x", "grant_id": grant, "label": LABEL}});
        let routes = ["rep-1", "support-1"].map(|grant| routed(kind, &object(grant)));
        let mut receivers: Vec<Destination> =
            routes.into_iter().flatten().flat_map(|route| route.destinations).collect();
        receivers.sort_unstable();
        receivers.dedup();
        receivers
    }

    #[test]
    fn what_is_subscribed_to_is_what_nylas_has_and_somebody_gets_for_exactly_those_who_get_it() {
        let at_nylas: Vec<&str> = TYPES_AT_NYLAS.split(' ').filter(|kind| !kind.is_empty()).collect();
        for kind in &at_nylas {
            let subscribed = SUBSCRIBED.iter().find(|(subscribed, _)| subscribed == kind);
            // Nylas sends this form unasked where a mailbox is set to it.
            let is_suffixed = *kind == "message.created.cleaned";
            assert_eq!(subscribed.is_some(), !receivers(kind).is_empty() && !is_suffixed, "{kind}");
        }
        for (kind, of) in SUBSCRIBED {
            assert!(at_nylas.contains(&kind), "{kind}");
            let mut of = of.to_vec();
            of.sort_unstable();
            assert_eq!(receivers(kind), of, "{kind}");
        }
        assert_eq!(wanted_types(|_| true).count(), SUBSCRIBED.len());
    }

    #[test]
    fn what_is_off_is_not_subscribed_to_but_for_the_accounts_themselves() {
        let grants = ["grant.created", "grant.updated", "grant.deleted", "grant.expired", "grant.imap_sync_completed"];
        assert_eq!(wanted_types(|_| false).collect::<Vec<_>>(), grants);
        let of_triage: Vec<&str> = wanted_types(|destination| destination == TicketTriage).collect();
        assert_eq!(of_triage[..3], ["message.created", "message.bounce_detected", "message.send_failed"]);
        assert_eq!(of_triage[3..], grants);
    }

    #[test]
    fn notification_without_a_key_is_its_own_group() {
        for (trigger, data) in [
            ("message.created", json!({"object": {"id": "", "thread_id": ""}})),
            ("event.created", json!({"object": {}})),
            ("notetaker.media", json!({})),
            ("booking.created", json!({"object": null})),
            ("contact.updated", json!({"object": {"id": "c"}})),
            ("grant.expired", json!({"object": {"grant_id": ""}})),
        ] {
            let route = routed(trigger, &data).unwrap_or_else(|| panic!("{trigger} is wanted"));
            assert_eq!(route.group, GroupId::of("notification", "n-1"), "{trigger}");
        }
    }

    #[test]
    fn long_blank_holding_and_foreign_ids_route_like_any_other() {
        let exchange = "AAMkAGI2TG93AAA=".repeat(10)[..152].to_owned();
        for id in [exchange.as_str(), "an id with blanks", "письмо-日本"] {
            check("message.created", &json!({"object": {"id": id}}), &[EmailActivity], "message", id);
            check("event.created", &json!({"object": {"id": id}}), &[CalendarSync], "event", id);
        }
    }
}

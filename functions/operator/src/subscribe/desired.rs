//! How the webhook of this stack at Nylas should be, and where it is not so. Pure.

use serde_json::{Map, Value, json};
use shared::domain::routing::{Destination, wanted_types};
use shared::nylas::webhooks::{NewWebhook, Webhook};
use std::collections::BTreeSet;

use crate::stack_map::StackMap;

/// How the webhook should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Where notifications are posted to. The webhook is known by it: Nylas takes each address once an application.
    pub url: String,
    /// Which types it gets.
    pub trigger_types: Vec<&'static str>,
    /// What people call it.
    pub description: String,
    /// Whom Nylas tells that it is failing; none if the stack names nobody.
    pub contact: Option<String>,
}

/// Something in which the webhook is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The field at Nylas.
    pub field: &'static str,
    /// What it should hold.
    pub wanted: Value,
    /// What is to change, in words.
    pub words: String,
}

impl Desired {
    /// How the webhook of a stack should be; none if the stack has no address for notifications.
    #[must_use]
    pub fn of(stack: &StackMap, stack_name: &str) -> Option<Self> {
        Some(Self {
            url: stack.outputs.get("WebhookUrl")?.clone(),
            trigger_types: wanted_types(|destination| is_on(stack, destination)).collect(),
            description: format!("crm-autopilot, stack {stack_name}"),
            contact: given(stack, "AlarmEmail").map(str::to_owned),
        })
    }

    /// The webhook as it is to be made.
    #[must_use]
    pub fn to_new(&self) -> NewWebhook {
        NewWebhook {
            trigger_types: self.trigger_types.iter().map(|kind| (*kind).to_owned()).collect(),
            webhook_url: self.url.clone(),
            description: self.description.clone(),
            notification_email_addresses: self.contact.iter().cloned().collect(),
            compressed_delivery: true,
        }
    }

    /// The webhook of this address among those of the application.
    #[must_use]
    pub fn among<'a>(&self, webhooks: &'a [Webhook]) -> Option<&'a Webhook> {
        webhooks.iter().find(|webhook| webhook.webhook_url.trim_end_matches('/') == self.url.trim_end_matches('/'))
    }

    /// Where a webhook is not as it should be. An order of types is no difference. Where the stack names nobody to be told,
    /// whoever is told stays: a change cannot empty a field (Nylas API reference, update a webhook destination).
    #[must_use]
    pub fn differences(&self, webhook: &Webhook) -> Vec<Difference> {
        let mut differences = Vec::new();
        let wanted: BTreeSet<&str> = self.trigger_types.iter().copied().collect();
        let standing: BTreeSet<&str> = webhook.trigger_types.iter().map(String::as_str).collect();
        if wanted != standing {
            let named = |of: &BTreeSet<&str>, without: &BTreeSet<&str>, word: &str| {
                let names: Vec<&str> = of.difference(without).copied().collect();
                (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
            };
            let words = [named(&wanted, &standing, "added"), named(&standing, &wanted, "removed")];
            let words = words.into_iter().flatten().collect::<Vec<_>>().join("; ");
            differences.push(Difference { field: "trigger_types", wanted: json!(self.trigger_types), words });
        }
        if webhook.compressed_delivery != Some(true) {
            let words = "bodies are compressed from now on".to_owned();
            differences.push(Difference { field: "compressed_delivery", wanted: json!(true), words });
        }
        if webhook.description.as_deref() != Some(&self.description) {
            let words = format!("it is called \"{}\"", self.description);
            differences.push(Difference { field: "description", wanted: json!(self.description), words });
        }
        if let Some(contact) = &self.contact
            && webhook.notification_email_addresses.as_deref() != Some(std::slice::from_ref(contact))
        {
            let words = "Nylas tells the address of AlarmEmail that it is failing".to_owned();
            differences.push(Difference { field: "notification_email_addresses", wanted: json!([contact]), words });
        }
        differences
    }
}

/// The change that brings a webhook to where it should be.
#[must_use]
pub fn change(differences: &[Difference]) -> Value {
    let fields = differences.iter().map(|difference| (difference.field.to_owned(), difference.wanted.clone()));
    Value::Object(fields.collect::<Map<String, Value>>())
}

/// True if a function does something with what it gets, by the parameters of the stack.
fn is_on(stack: &StackMap, destination: Destination) -> bool {
    let is_given = |name| given(stack, name).is_some();
    match destination {
        Destination::EmailActivity
        | Destination::CalendarSync
        | Destination::NotetakerMedia
        | Destination::ContactSync => is_given("CrmBaseUrl"),
        Destination::Onboarding => is_given("OnboardingGrantId"),
        Destination::TicketTriage => is_given("TicketBaseUrl") && is_given("SupportGrantIds"),
    }
}

fn given<'a>(stack: &'a StackMap, parameter: &str) -> Option<&'a str> {
    stack.parameters.get(parameter).map(|value| value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscribe::testing::stack_map;

    fn standing(desired: &Desired) -> Webhook {
        let new = desired.to_new();
        Webhook {
            id: "w".to_owned(),
            trigger_types: new.trigger_types,
            webhook_url: new.webhook_url,
            description: Some(new.description),
            status: Some("active".to_owned()),
            notification_email_addresses: Some(new.notification_email_addresses),
            compressed_delivery: Some(true),
            ..Webhook::default()
        }
    }

    fn desired(parameters: &[(&str, &str)]) -> Desired {
        Desired::of(&stack_map(parameters), "autopilot").expect("an address")
    }

    const CRM: (&str, &str) = ("CrmBaseUrl", "https://crm.example");
    const ONBOARDING: (&str, &str) = ("OnboardingGrantId", "g");
    const TICKETS: [(&str, &str); 2] = [("TicketBaseUrl", "https://tickets.example"), ("SupportGrantIds", "s")];

    #[test]
    fn types_are_those_of_the_functions_that_are_on() {
        let has = |parameters: &[(&str, &str)], kind: &str| desired(parameters).trigger_types.contains(&kind);
        for kind in ["message.created", "event.updated", "notetaker.media", "contact.updated"] {
            assert!(has(&[CRM], kind) && !has(&[ONBOARDING], kind), "{kind}");
        }
        for kind in ["message.opened", "thread.replied", "booking.created", "message.bounce_detected"] {
            assert!(has(&[ONBOARDING], kind) && !has(&[CRM], kind), "{kind}");
        }
        assert!(has(&TICKETS, "message.created") && !has(&TICKETS[..1], "message.created"));
        assert!(!has(&TICKETS, "event.created"));
        for parameters in [&[][..], &[CRM], &[ONBOARDING], &TICKETS] {
            assert!(has(parameters, "grant.expired"), "{parameters:?}");
        }
    }

    #[test]
    fn webhook_as_it_should_be_differs_in_nothing_whatever_the_order_of_its_types() {
        let wanted = desired(&[CRM, ("AlarmEmail", "ops@northwind.example")]);
        let mut webhook = standing(&wanted);
        webhook.trigger_types.reverse();
        assert_eq!(wanted.differences(&webhook), []);
        let nobody = desired(&[CRM]);
        webhook.description = Some(nobody.description.clone());
        assert_eq!(nobody.differences(&webhook), [], "who is told stays");
    }

    #[test]
    fn each_difference_is_named_and_the_change_holds_no_more_than_them() {
        let wanted = desired(&[CRM, ("AlarmEmail", "ops@northwind.example")]);
        let webhook = Webhook {
            trigger_types: vec!["message.created".to_owned(), "folder.created".to_owned()],
            compressed_delivery: None,
            description: None,
            notification_email_addresses: Some(vec!["old@northwind.example".to_owned()]),
            ..standing(&wanted)
        };
        let differences = wanted.differences(&webhook);
        let change = change(&differences);
        assert_eq!(change["notification_email_addresses"], json!(["ops@northwind.example"]));
        assert_eq!((&change["compressed_delivery"], change.as_object().map(Map::len)), (&json!(true), Some(4)));
        let words = &differences[0].words;
        assert!(words.contains("added") && words.contains("event.created"), "{words}");
        assert!(words.ends_with("removed folder.created"), "{words}");
    }

    #[test]
    fn webhook_is_known_by_its_address_alone() {
        let wanted = desired(&[]);
        let other = Webhook { webhook_url: "https://other.example/webhooks/nylas".to_owned(), ..standing(&wanted) };
        let ours = Webhook { webhook_url: format!("{}/", wanted.url), ..standing(&wanted) };
        assert_eq!(wanted.among(&[other.clone(), ours.clone()]), Some(&ours));
        assert_eq!(wanted.among(&[other]), None);
    }
}

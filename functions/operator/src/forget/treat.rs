//! What is done with each thing that names a person: what guards against doing a thing twice stays, without the person; what
//! is about the person alone goes.

use serde_json::{Map, Value};

use super::person::{FORGOTTEN, Person};
use super::shred::{shred, shred_fields};

/// A table, as far as forgetting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Leases and decisions.
    Decisions,
    /// What each thing became, and what is remembered of it.
    Links,
    /// The customers of the onboarding, and the days in which mails were sent.
    Customers,
}

impl Table {
    /// The name of its key.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Decisions | Self::Links => "pk",
            Self::Customers => "email",
        }
    }

    /// The fields that every write to an item changes: while they are as they were read, nobody else has written.
    #[must_use]
    pub const fn guards(self) -> &'static [&'static str] {
        match self {
            Self::Decisions => &["fence", "state", "updated_at"],
            Self::Links | Self::Customers => &["revision"],
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decisions => "decisions",
            Self::Links => "links",
            Self::Customers => "customers",
        }
    }
}

/// What is done with an item of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Treatment {
    /// Nothing: it does not name the person.
    Leave,
    /// It goes.
    Remove,
    /// It stays, with these fields in the place of what it held, and without those.
    Rewrite {
        /// The fields that change, with what they hold from now on.
        set: Map<String, Value>,
        /// The fields that go.
        unset: Vec<&'static str>,
    },
}

/// What is known of the person beside the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownAs {
    /// The ids of the person's contacts in the CRM.
    pub contact_ids: Vec<String>,
}

/// What is done with an item. An item of the links, or a customer's, is written anew under the next revision, so that
/// whoever read it before reads it again.
#[must_use]
pub fn treat(table: Table, item: &Map<String, Value>, person: &Person, known_as: &KnownAs) -> Treatment {
    let key = item.get(table.key()).and_then(Value::as_str).unwrap_or_default();
    // Under a key that names the person nothing can stay.
    if person.is_named_in(key) || is_about_the_person(table, key, item, person, known_as) {
        return Treatment::Remove;
    }
    let mut left = item.clone();
    shred_fields(&mut left, person);
    if table == Table::Links {
        without_findings_on(&mut left, known_as);
    }
    let mut unset = Vec::new();
    if table == Table::Decisions && waits_for_nobody(&left) && left.contains_key("waiting_grant") {
        // Reconcile would look the object up again, for nobody.
        left.remove("waiting_grant");
        unset.push("waiting_grant");
    }
    let set: Map<String, Value> = left.into_iter().filter(|(name, value)| item.get(name) != Some(value)).collect();
    if set.is_empty() { Treatment::Leave } else { Treatment::Rewrite { set, unset } }
}

/// True for what says nothing once the person is gone: the way from a key to the address, what address books said of the
/// person's contact, how often the person was answered.
fn is_about_the_person(
    table: Table,
    key: &str,
    item: &Map<String, Value>,
    person: &Person,
    known_as: &KnownAs,
) -> bool {
    if table != Table::Links {
        return false;
    }
    let leads_to_the_address = item.get("became").and_then(Value::as_str).is_some_and(|became| person.is(became));
    let is_contact = |id: &str| known_as.contact_ids.iter().any(|contact| contact == id);
    leads_to_the_address
        || match key.split_once('#') {
            Some(("contact", id)) => is_contact(id),
            Some(("address-book", _)) => {
                let contact = item.get("facts").and_then(|facts| facts["outcome"]["contact_id"].as_str());
                contact.is_some_and(is_contact)
            }
            _ => false,
        }
}

/// Takes out what a run found to say of the person's contact: phones, titles and companies.
fn without_findings_on(item: &mut Map<String, Value>, known_as: &KnownAs) {
    let findings = item.get_mut("facts").and_then(|facts| facts.get_mut("findings")).and_then(Value::as_array_mut);
    if let Some(findings) = findings {
        findings.retain(|finding| !known_as.contact_ids.iter().any(|contact| finding["of"] == contact.as_str()));
    }
}

/// True for a decision that waited for contacts and has none to wait for.
fn waits_for_nobody(item: &Map<String, Value>) -> bool {
    let waits_for = item.get("decision").and_then(|decision| decision.get("waits_for"));
    waits_for.and_then(Value::as_array).is_some_and(Vec::is_empty)
}

/// The notetaker whose meeting the person was at, by a decision that names the person: its account and its id.
#[must_use]
pub fn meeting_attended<'i>(item: &'i Map<String, Value>, person: &Person) -> Option<(&'i str, &'i str)> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    if text("function") != Some("notetaker-media") {
        return None;
    }
    let mut decision = item.get("decision")?.clone();
    (shred(&mut decision, person) > 0).then_some(())?;
    Some((text("grant_id").unwrap_or("none"), text("object_id")?))
}

/// The booking page that was made for a customer at Nylas, and the reminders in the team's calendar, as a customer's record
/// names them.
#[must_use]
pub fn made_at_nylas(item: &Map<String, Value>) -> Vec<String> {
    let page = item.get("page").and_then(|page| page["configuration_id"].as_str());
    let page = page.map(|id| format!("booking page {id}"));
    let bookings = item.get("bookings").and_then(Value::as_object);
    let reminders = bookings.into_iter().flat_map(Map::values).filter_map(|booking| {
        let event = booking["reminder"]["event_id"].as_str()?;
        Some(format!("reminder {event} in the team's calendar"))
    });
    page.into_iter().chain(reminders).collect()
}

/// A name for people of something whose key may name the person.
#[must_use]
pub fn shown(id: &str, person: &Person) -> String {
    person.taken_out_of(id).unwrap_or_else(|| id.to_owned()).replace(FORGOTTEN, "<the address>")
}

#[cfg(test)]
mod tests {
    use super::super::person::tests::person;
    use super::*;
    use serde_json::json;

    fn item(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { panic!("no object") };
        fields
    }

    fn treated(table: Table, value: Value) -> Treatment {
        let known_as = KnownAs { contact_ids: vec!["con-7".to_owned()] };
        treat(table, &item(value), &person("dana@acme.example"), &known_as)
    }

    fn rewritten(set: Value, unset: &[&'static str]) -> Treatment {
        Treatment::Rewrite { set: item(set), unset: unset.to_vec() }
    }

    #[test]
    fn decision_stays_without_the_person_and_waits_for_nobody_any_more() {
        let decision = |waits_for: Value| {
            json!({
                "pk": "email-activity#n-1", "state": "done", "fence": 1, "updated_at": "t", "waiting_grant": "g",
                "decision": {
                    "outcome": "skipped", "reason": "no known contact", "waits_for": waits_for,
                    "facts": {"unmatched": ["dana@acme.example"]},
                },
            })
        };
        let left = |waits_for: Value| {
            json!({"decision": {
                "outcome": "skipped", "reason": "no known contact", "waits_for": waits_for,
                "facts": {"unmatched": ["forgotten"]},
            }})
        };
        let alone = treated(Table::Decisions, decision(json!(["dana@acme.example"])));
        assert_eq!(alone, rewritten(left(json!([])), &["waiting_grant"]));
        let others = treated(Table::Decisions, decision(json!(["dana@acme.example", "ben@acme.example"])));
        assert_eq!(others, rewritten(left(json!(["ben@acme.example"])), &[]), "it still waits for the others");
        let of_others = json!({
            "pk": "email-activity#n-2", "state": "done", "waiting_grant": "g",
            "decision": {"outcome": "skipped", "reason": "r", "waits_for": ["ben@acme.example"]},
        });
        assert_eq!(treated(Table::Decisions, of_others), Treatment::Leave);
    }

    #[test]
    fn record_whose_key_is_the_address_goes_and_one_that_fails_keeps_its_class() {
        let by_address = json!({"pk": "onboarding-transitions#signed-up:dana@acme.example", "state": "done"});
        assert_eq!(treated(Table::Decisions, by_address), Treatment::Remove);
        let failed = json!({
            "pk": "email-activity#n-3", "state": "failed", "class": "crm.rejected", "dead_lettered_by": "email-activity",
            "reason": "the CRM answered 422: Dana@acme.example is no address",
        });
        let left = json!({"reason": "the CRM answered 422: forgotten is no address"});
        assert_eq!(treated(Table::Decisions, failed), rewritten(left, &[]));
    }

    #[test]
    fn links_that_lead_to_the_person_go_and_those_of_things_stay_without() {
        let dana = person("dana@acme.example");
        for gone in [
            json!({"pk": "customer#0123", "state": "live", "became": "dana+demo@acme.example", "revision": 1}),
            json!({"pk": "configuration#c-1", "state": "live", "became": "dana@acme.example", "revision": 1}),
            json!({"pk": format!("acknowledged-sender#{}", dana.digest()), "state": "note", "revision": 3}),
            json!({"pk": "contact#con-7", "state": "live", "became": "con-7", "facts": {"copies": []}, "revision": 1}),
            json!({"pk": "address-book#9f", "state": "note", "facts": {"outcome": {"contact_id": "con-7"}}, "revision": 1}),
        ] {
            assert_eq!(treated(Table::Links, gone.clone()), Treatment::Remove, "{gone}");
        }
        for stays in [
            json!({"pk": "mail#77", "state": "live", "became": "act-1", "facts": {"message_id": "m-1"}, "revision": 1}),
            json!({"pk": "contact#con-8", "state": "live", "became": "con-8", "facts": {}, "revision": 1}),
            json!({"pk": "address-book#9e", "state": "note", "facts": {"outcome": {"contact_id": "con-8"}}, "revision": 1}),
            json!({"pk": "acknowledged-domain#12", "state": "note", "facts": {"mails": []}, "revision": 1}),
        ] {
            assert_eq!(treated(Table::Links, stays.clone()), Treatment::Leave, "{stays}");
        }
        let ticket = json!({
            "pk": "ticket#T-1", "state": "live", "became": "T-1", "revision": 4,
            "facts": {"id": "T-1", "participants": ["dana@acme.example", "ben@acme.example"]},
        });
        let left = json!({"facts": {"id": "T-1", "participants": ["forgotten", "ben@acme.example"]}});
        assert_eq!(treated(Table::Links, ticket), rewritten(left, &[]));
        let run = json!({
            "pk": "run#contact-sync/r", "state": "note", "revision": 2,
            "facts": {"steps": 1, "findings": [{"of": "con-7", "proposed": "+1"}, {"of": "con-8", "proposed": "+2"}]},
        });
        let left = json!({"facts": {"steps": 1, "findings": [{"of": "con-8", "proposed": "+2"}]}});
        assert_eq!(treated(Table::Links, run), rewritten(left, &[]));
    }

    #[test]
    fn customer_goes_with_every_tag_and_what_was_made_for_her_at_nylas_is_named() {
        let customer = |email: &str| {
            json!({
                "email": email, "name": "Dana", "revision": 7, "page": {"slug": "s", "configuration_id": "c-1"},
                "bookings": {"b-1": {"reminder": {"event_id": "e-1"}}, "b-2": {}},
            })
        };
        assert_eq!(treated(Table::Customers, customer("dana@acme.example")), Treatment::Remove);
        assert_eq!(treated(Table::Customers, customer("dana+demo@acme.example")), Treatment::Remove);
        assert_eq!(treated(Table::Customers, customer("ben@acme.example")), Treatment::Leave);
        let made = made_at_nylas(&item(customer("dana@acme.example")));
        assert_eq!(made, ["booking page c-1", "reminder e-1 in the team's calendar"]);
    }

    #[test]
    fn meeting_of_a_person_is_known_by_the_decision_on_its_notetaker() {
        let dana = person("dana@acme.example");
        let decision = |function: &str, unmatched: &str| {
            item(json!({
                "pk": "x", "function": function, "grant_id": "g", "object_id": "n-1",
                "decision": {"facts": {"unmatched": [unmatched]}},
            }))
        };
        assert_eq!(meeting_attended(&decision("notetaker-media", "dana@acme.example"), &dana), Some(("g", "n-1")));
        assert_eq!(meeting_attended(&decision("notetaker-media", "ben@acme.example"), &dana), None);
        assert_eq!(meeting_attended(&decision("email-activity", "dana@acme.example"), &dana), None);
    }

    #[test]
    fn id_that_names_the_person_is_shown_without() {
        let dana = person("dana@acme.example");
        assert_eq!(shown("signed-up:dana@acme.example", &dana), "signed-up:<the address>");
        assert_eq!(shown("n-1", &dana), "n-1");
    }
}

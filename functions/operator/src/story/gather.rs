//! Looks everything up that an id leads to: its decision records, its links, the records these lead to, its customers.
//! Exact ids alone; one id may be many things, and all of them are told.

use futures_util::future::try_join_all;
use serde_json::{Map, Value};
use shared::domain::address::EmailAddress;
use shared::domain::routing::Destination;
use shared::engine::StoreError;
use std::collections::BTreeSet;

use super::customer::Known;
use super::link::{Kept, Onward, keys_of, keys_within};
use super::record::Record;
use super::{Records, Shelf, StoryOf};

/// The most records about one object that are told, the newest.
const MOST_RECORDS: usize = 100;

/// How far links are followed: a notetaker leads to a copy, that to its meeting.
const MOST_STEPS: usize = 4;

/// The most ids of a customer that are looked up.
const MOST_OF_A_CUSTOMER: usize = 20;

/// Everything that was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gathered {
    /// Decision records, each once.
    pub records: Vec<Record>,
    /// Links, each once.
    pub links: Vec<Kept>,
    /// Customers.
    pub customers: Vec<Known>,
    /// How many further records are about the object of a notification, and which object that is.
    pub others: Option<(String, usize)>,
    /// True if there are more records than are told.
    pub left_out: bool,
}

impl Gathered {
    /// True if nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.links.is_empty() && self.customers.is_empty()
    }

    fn add(&mut self, record: Record) {
        if self.records.iter().all(|known| known.key != record.key) {
            self.records.push(record);
        }
    }
}

/// Looks everything up.
///
/// # Errors
/// If a table does not answer.
pub async fn gather(records: &impl Records, asked: &StoryOf) -> Result<Gathered, StoreError> {
    let mut found = Gathered::default();
    // A record's own key is taken as well: it is what the log and the tables show.
    let id = Destination::ALL
        .iter()
        .find_map(|function| asked.id.strip_prefix(function.name())?.strip_prefix('#'))
        .unwrap_or(&asked.id);
    let (by_notification, by_object) =
        futures_util::future::try_join(by_notification(records, id), about(records, id, &mut found.left_out)).await?;
    let mut objects: BTreeSet<String> = BTreeSet::from([id.to_owned()]);
    for record in by_notification {
        // The same id with other content has a key of its own, which no id tells.
        if record.object != id && objects.insert(record.object.clone()) {
            let (same, others): (Vec<_>, Vec<_>) = about(records, &record.object, &mut false)
                .await?
                .into_iter()
                .partition(|other| other.notification == record.notification);
            for record in same {
                found.add(record);
            }
            if !others.is_empty() {
                found.others = Some((record.object.clone(), others.len()));
            }
        }
        found.add(record);
    }
    for record in by_object {
        found.add(record);
    }

    let mut keys = keys_of_records(&found.records);
    let grants: BTreeSet<&str> =
        found.records.iter().filter_map(|record| record.grant.as_deref()).chain(asked.grant.as_deref()).collect();
    for object in &objects {
        keys.extend(keys_of(object));
        keys.extend(grants.iter().flat_map(|grant| keys_within(grant, object)));
    }
    keys.extend(grants.iter().map(|grant| format!("account#{grant}")));
    let mut emails: BTreeSet<String> = EmailAddress::parse(id).map(|email| email.to_string()).into_iter().collect();
    emails.extend(follow(records, keys, id, &mut found).await?);
    customers(records, emails, &mut found).await?;
    Ok(found)
}

/// The records of a notification in every function.
async fn by_notification(records: &impl Records, id: &str) -> Result<Vec<Record>, StoreError> {
    let reads = Destination::ALL
        .iter()
        .map(async |function| records.item(Shelf::Decisions, &format!("{}#{id}", function.name())).await);
    Ok(try_join_all(reads).await?.into_iter().flatten().map(Record::read).collect())
}

/// The records about an object.
async fn about(records: &impl Records, object: &str, left_out: &mut bool) -> Result<Vec<Record>, StoreError> {
    let mut found = records.about(object, MOST_RECORDS + 1).await?;
    *left_out = found.len() > MOST_RECORDS;
    found.truncate(MOST_RECORDS);
    Ok(found.into_iter().map(Record::read).collect())
}

/// The links that records name.
fn keys_of_records(records: &[Record]) -> Vec<String> {
    let mut keys = Vec::new();
    for record in records {
        let became = record.decision.as_ref().and_then(|decision| decision.became.as_deref());
        let own = match record.function.as_str() {
            "ticket-triage" => Some("ticket"),
            "contact-sync" => Some("contact"),
            _ => None,
        };
        keys.extend(own.zip(became).map(|(kind, became)| format!("{kind}#{became}")));
        for (fact, kind) in [
            ("ticket", "ticket"),
            ("contact_id", "contact"),
            ("meeting", "meeting"),
            ("customer", "customer"),
            ("notetaker_id", "notetaker"),
        ] {
            keys.extend(record.fact(fact).map(|value| format!("{kind}#{value}")));
        }
    }
    keys
}

/// Reads links and those that they lead to, and answers the addresses that they lead to.
async fn follow(
    records: &impl Records,
    keys: Vec<String>,
    id: &str,
    found: &mut Gathered,
) -> Result<BTreeSet<String>, StoreError> {
    let mut emails = BTreeSet::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = keys;
    for _ in 0..MOST_STEPS {
        next.retain(|key| seen.insert(key.clone()));
        let reads = next.iter().map(async |key| {
            let item: Option<Map<String, Value>> = records.item(Shelf::Links, key).await?;
            Ok::<_, StoreError>(item.map(|item| Kept::read(key, item)))
        });
        let links: Vec<Kept> = try_join_all(reads).await?.into_iter().flatten().collect();
        next = Vec::new();
        for link in links {
            for onward in link.onward() {
                match onward {
                    Onward::Link(key) => next.push(key),
                    Onward::Customer(email) => {
                        emails.insert(email);
                    }
                }
            }
            // That an account is well is news only to who asks for it.
            if !link.is_an_account_that_is_well() || link.key == format!("account#{id}") {
                found.links.push(link);
            }
        }
        if next.is_empty() {
            break;
        }
    }
    Ok(emails)
}

/// Reads customers, and the records of what Nylas told of them.
async fn customers(records: &impl Records, emails: BTreeSet<String>, found: &mut Gathered) -> Result<(), StoreError> {
    for email in emails {
        let Some(item) = records.item(Shelf::Customers, &email).await? else { continue };
        let customer = Known::read(&email, item);
        let objects = customer.objects();
        let mut left_out = false;
        for object in objects.iter().take(MOST_OF_A_CUSTOMER) {
            about(records, object, &mut left_out).await?.into_iter().for_each(|record| found.add(record));
            found.left_out |= left_out;
        }
        found.customers.push(customer);
    }
    Ok(())
}

//! Contacts and their deals: found by address, kept fresh, a hundred in one call.
//!
//! A contact has one address that is its key and any number of others, in the property `hs_additional_emails`. A batch
//! read by address finds a contact by either and does not say by which, so that is told from the two properties. No page
//! of HubSpot's promises it; where an account shows that it does not, addresses that were not found are searched for.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

use super::HubSpotCrm;
use super::wire::{
    ASSOCIATIONS, Batch, Halves, MOST_IN_A_BATCH, OBJECTS, OnlyId, Page, Paging, Record, id, is_about_the_inputs,
    search,
};
use crate::crm::collection_is_missing;
use crate::crm::contact_fields::{ContactField, ContactUpdate, Current, PerField, UpdateContacts};
use crate::crm::{Contact, ContactsByAddress, CrmError, Deal, FindContacts};
use crate::domain::address::EmailAddress;
use crate::engine::{Deadline, Links};
use crate::field_map::Section;
use crate::http::CallError;

/// How many contacts are best looked up or changed together: a page of an address book. So the addresses that only a second
/// and a third question find share their calls.
const AT_A_TIME: usize = 2 * MOST_IN_A_BATCH;

/// A contact's other addresses, with semicolons between them.
const OTHER_ADDRESSES: &str = "hs_additional_emails";

/// Whether a deal is closed, and when something last happened in it.
const DEAL_PROPERTIES: [&str; 2] = ["hs_is_closed", "notes_last_updated"];

/// The most characters of the addresses of one search: its body may have 3,000 (HubSpot, "Search the CRM").
const MOST_SEARCHED_CHARACTERS: usize = 2_500;

/// The name under which it is remembered how batch reads deal with other addresses.
const FOUND_BY_OTHERS: &str = "contacts are read by their other addresses";

type Found = Result<Vec<Contact>, CallError>;

#[derive(Deserialize)]
struct DealsOfContact {
    from: OnlyId,
    #[serde(default)]
    to: Vec<AssociatedDeal>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Deserialize)]
struct AssociatedDeal {
    #[serde(rename = "toObjectId", deserialize_with = "id")]
    id: String,
}

impl<L: Links + Send + Sync> FindContacts for HubSpotCrm<L> {
    async fn find_contacts(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> Result<ContactsByAddress, CrmError> {
        let answers = self.look_up(addresses, deadline).await;
        let mut found = ContactsByAddress::new();
        let mut failed: Option<CrmError> = None;
        for (address, answer) in addresses.iter().zip(answers) {
            match answer {
                Ok(contacts) if contacts.is_empty() => {}
                Ok(contacts) => drop(found.insert(address.clone(), contacts)),
                Err(CrmError(CallError::Rejected { .. })) => drop(found.insert(address.clone(), Vec::new())),
                Err(error) => failed = Some(CrmError::more_telling(failed, error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.add_deals(&mut found, deadline).await?;
        Ok(found)
    }
}

impl<L: Links + Send + Sync> UpdateContacts for HubSpotCrm<L> {
    fn at_a_time(&self) -> usize {
        AT_A_TIME
    }

    fn asks_for_many_in_one_call(&self) -> bool {
        true
    }

    async fn look_up(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<Result<Vec<Contact>, CrmError>> {
        let map = match self.fields.current().await {
            Ok(map) => map,
            Err(error) => return addresses.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let mut distinct: Vec<EmailAddress> = Vec::new();
        let mut seen = HashSet::new();
        distinct.extend(addresses.iter().filter(|address| seen.insert(*address)).cloned());
        let mut answers: HashMap<EmailAddress, Found> = HashMap::new();
        for some in distinct.chunks(MOST_IN_A_BATCH) {
            let found = self.read_by_address(some, map.section("contact"), deadline).await;
            answers.extend(some.iter().cloned().zip(found));
        }
        let answer_for = |address| answers.get(address).cloned().unwrap_or_else(|| Ok(Vec::new()));
        addresses.iter().map(|address| answer_for(address).map_err(CrmError::from)).collect()
    }

    async fn update_contacts(&self, updates: &[ContactUpdate], deadline: Deadline) -> Vec<Result<(), CrmError>> {
        let map = match self.fields.current().await {
            Ok(map) => map,
            Err(error) => return updates.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let section = map.section("contact");
        let mut answers: Vec<Option<Result<(), CallError>>> = vec![None; updates.len()];
        let mut inputs: Vec<Input<'_>> = Vec::new();
        for (place, update) in updates.iter().enumerate() {
            let values = update.values.iter();
            let values = values.filter_map(|(field, value)| Some((section.theirs(field.name())?, value.clone()?)));
            let properties: serde_json::Map<String, Value> =
                values.map(|(theirs, value)| (theirs.to_owned(), Value::from(value))).collect();
            if properties.is_empty() {
                answers[place] = Some(Err(self.nothing_to_send()));
            } else {
                let id = update.contact_id.as_str();
                inputs.push(Input { place, id, body: json!({"id": id, "properties": properties}) });
            }
        }
        for some in batches(&inputs) {
            let changed = self.update_batch(&some, deadline).await;
            for (answer, input) in changed.into_iter().zip(some) {
                answers[input.place] = Some(answer);
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Ok(())).map_err(CrmError::from)).collect()
    }

    fn calls_made(&self) -> u64 {
        self.client.calls_made()
    }
}

/// A change of a contact on its way.
struct Input<'a> {
    /// Its place among all changes.
    place: usize,
    /// The contact.
    id: &'a str,
    body: Value,
}

/// Inputs in batches that name no contact twice, which HubSpot refuses; each contact's inputs stay in their order.
fn batches<'a>(inputs: &'a [Input<'a>]) -> Vec<Vec<&'a Input<'a>>> {
    let mut batches: Vec<Vec<&Input<'_>>> = Vec::new();
    let mut last_with: HashMap<&str, usize> = HashMap::new();
    for input in inputs {
        let first = last_with.get(input.id).map_or(0, |last| last + 1);
        let with_room = (first..batches.len()).find(|batch| batches[*batch].len() < MOST_IN_A_BATCH);
        let batch = with_room.unwrap_or(batches.len());
        if batch == batches.len() {
            batches.push(Vec::new());
        }
        batches[batch].push(input);
        last_with.insert(input.id, batch);
    }
    batches
}

impl<L: Links + Send + Sync> HubSpotCrm<L> {
    fn nothing_to_send(&self) -> CallError {
        let text = "no field of the change has a property in settings/fields.toml".to_owned();
        CallError::Rejected { api: self.client.name(), what: "contact", status: 400, text }
    }

    /// The contacts of some addresses, no more than fit into one call.
    async fn read_by_address(&self, addresses: &[EmailAddress], section: &Section, deadline: Deadline) -> Vec<Found> {
        let mut answers: Vec<Found> = addresses.iter().map(|_| Ok(Vec::new())).collect();
        let mut halves = Halves::of(addresses.len());
        while let Some(part) = halves.next() {
            match self.read_batch(&addresses[part.clone()], section, deadline).await {
                Ok(found) => answers.splice(part, found).for_each(drop),
                Err(error) if is_about_the_inputs(&error) && halves.split(&part) => {}
                Err(error) => part.for_each(|place| answers[place] = Err(error.clone())),
            }
        }
        let is_unknown = |answer: &Found| answer.as_ref().is_ok_and(Vec::is_empty);
        if answers.iter().any(is_unknown) && !self.is_found_by_other_addresses(section, deadline).await {
            let places: Vec<usize> = (0..answers.len()).filter(|place| is_unknown(&answers[*place])).collect();
            let unknown: Vec<EmailAddress> = places.iter().map(|place| addresses[*place].clone()).collect();
            let searched = Box::pin(self.search_others(&unknown, section, deadline)).await;
            for (place, found) in places.into_iter().zip(searched) {
                answers[place] = found;
            }
        }
        answers
    }

    async fn read_batch(
        &self,
        addresses: &[EmailAddress],
        section: &Section,
        deadline: Deadline,
    ) -> Result<Vec<Found>, CallError> {
        let inputs: Vec<Value> = addresses.iter().map(|address| json!({"id": address.as_str()})).collect();
        let body = json!({
            "idProperty": "email",
            "inputs": inputs,
            "properties": properties_of_contacts(section),
            "propertiesWithHistory": [],
        });
        let what = "batch of contacts";
        let request = self.call(Method::POST, OBJECTS, &["contacts", "batch", "read"], what).json(&body);
        let batch: Batch<Record> = request.read(deadline).await.map_err(collection_is_missing)?;
        let by_address = by_address(&batch.results, section);
        let answer_for = |address: &EmailAddress| {
            let mut errors = batch.errors.iter().filter(|error| !error.is_not_found());
            match (by_address.get(address), errors.find(|error| error.is_about(address.as_str()))) {
                (Some(contacts), _) => Ok(contacts.clone()),
                (None, Some(error)) => Err(error.as_error(self.client.name(), "contact")),
                (None, None) => Ok(Vec::new()),
            }
        };
        Ok(addresses.iter().map(answer_for).collect())
    }

    /// Whether a batch read finds contacts by their other addresses: tried once a day with an address that is one.
    /// Taken for granted if that cannot be tried.
    async fn is_found_by_other_addresses(&self, section: &Section, deadline: Deadline) -> bool {
        let mut held = self.found_by_other_addresses.lock().await;
        if let Some(known) = *held {
            return known;
        }
        let is = match self.written.known(FOUND_BY_OTHERS).await {
            Ok(Some(Value::Bool(known))) => known,
            _ => match Box::pin(self.try_another_address(section, deadline)).await {
                Ok(is) => {
                    // Not remembered, it is tried again by the next process.
                    let _ = self.written.know(FOUND_BY_OTHERS, Value::from(is)).await;
                    is
                }
                Err(_) => true,
            },
        };
        *held = Some(is);
        is
    }

    async fn try_another_address(&self, section: &Section, deadline: Deadline) -> Result<bool, CallError> {
        let filter = json!({"propertyName": OTHER_ADDRESSES, "operator": "HAS_PROPERTY"});
        let page: Page<Record> =
            self.search("contacts", &search(&filter, &[OTHER_ADDRESSES], 1, "0"), deadline).await?;
        let Some(address) = page.results.first().and_then(|contact| other_addresses(contact).next()) else {
            return Ok(true);
        };
        let answers = self.read_batch(&[address], section, deadline).await?;
        Ok(answers.iter().any(|found| found.as_ref().is_ok_and(|contacts| !contacts.is_empty())))
    }

    /// The contacts that have one of these as another address.
    async fn search_others(&self, addresses: &[EmailAddress], section: &Section, deadline: Deadline) -> Vec<Found> {
        let mut answers = Vec::with_capacity(addresses.len());
        let mut rest = addresses;
        while !rest.is_empty() {
            let mut room = MOST_SEARCHED_CHARACTERS;
            let fitting = rest.iter().take_while(|address| {
                let length = address.as_str().len() + 3;
                let fits = length <= room;
                room = room.saturating_sub(length);
                fits
            });
            let (some, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            match self.search_some(some, section, deadline).await {
                Ok(found) => {
                    answers.extend(some.iter().map(|address| Ok(found.get(address).cloned().unwrap_or_default())));
                }
                Err(error) => answers.extend(some.iter().map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    async fn search_some(
        &self,
        addresses: &[EmailAddress],
        section: &Section,
        deadline: Deadline,
    ) -> Result<HashMap<EmailAddress, Vec<Contact>>, CallError> {
        let values: Vec<&str> = addresses.iter().map(EmailAddress::as_str).collect();
        let filter = json!({"propertyName": OTHER_ADDRESSES, "operator": "IN", "values": values});
        let properties = properties_of_contacts(section);
        let mut found = Vec::new();
        let mut after = "0".to_owned();
        loop {
            let body = search(&filter, &properties, MOST_IN_A_BATCH, &after);
            let page: Page<Record> = self.search("contacts", &body, deadline).await?;
            let next = page.after();
            found.extend(page.results);
            match next {
                Some(next) => after = next,
                None => return Ok(by_address(&found, section)),
            }
        }
    }

    /// Adds to contacts that were found what deals they have.
    async fn add_deals(&self, found: &mut ContactsByAddress, deadline: Deadline) -> Result<(), CallError> {
        let contacts: HashSet<String> = found.values().flatten().map(|contact| contact.id.clone()).collect();
        let mut deal_ids: HashMap<String, Vec<String>> = HashMap::new();
        let mut asked: Vec<Value> = contacts.iter().map(|id| json!({"id": id})).collect();
        while !asked.is_empty() {
            let some: Vec<Value> = asked.split_off(asked.len().saturating_sub(MOST_IN_A_BATCH));
            let path = ["contacts", "deals", "batch", "read"];
            let request = self.call(Method::POST, ASSOCIATIONS, &path, "batch of deals of contacts");
            let batch: Batch<DealsOfContact> =
                request.json(&json!({"inputs": some})).read(deadline).await.map_err(collection_is_missing)?;
            for of_contact in batch.results {
                let id = of_contact.from.id;
                if let Some(next) = of_contact.paging.and_then(|paging| paging.next) {
                    asked.push(json!({"id": id, "after": next.after}));
                }
                deal_ids.entry(id).or_default().extend(of_contact.to.into_iter().map(|deal| deal.id));
            }
        }
        let distinct: HashSet<&String> = deal_ids.values().flatten().collect();
        let deals = self.deals(&distinct.into_iter().map(String::as_str).collect::<Vec<_>>(), deadline).await?;
        for contact in found.values_mut().flatten() {
            // One that is not told of has been deleted.
            let ids = deal_ids.get(&contact.id).into_iter().flatten();
            contact.deals = ids.filter_map(|id| deals.get(id).cloned()).collect();
        }
        Ok(())
    }

    async fn deals(&self, ids: &[&str], deadline: Deadline) -> Result<HashMap<String, Deal>, CallError> {
        let mut deals = HashMap::new();
        for some in ids.chunks(MOST_IN_A_BATCH) {
            let inputs: Vec<Value> = some.iter().map(|id| json!({"id": id})).collect();
            let body = json!({"inputs": inputs, "properties": DEAL_PROPERTIES, "propertiesWithHistory": []});
            let request = self.call(Method::POST, OBJECTS, &["deals", "batch", "read"], "batch of deals").json(&body);
            let batch: Batch<Record> = request.read(deadline).await.map_err(collection_is_missing)?;
            deals.extend(batch.results.into_iter().map(|record| (record.id.clone(), deal_of(record))));
        }
        Ok(deals)
    }

    /// Changes contacts, no more than fit into one call.
    async fn update_batch(&self, inputs: &[&Input<'_>], deadline: Deadline) -> Vec<Result<(), CallError>> {
        let mut answers: Vec<Result<(), CallError>> = vec![Ok(()); inputs.len()];
        let mut halves = Halves::of(inputs.len());
        while let Some(part) = halves.next() {
            let bodies: Vec<&Value> = inputs[part.clone()].iter().map(|input| &input.body).collect();
            let request = self.call(Method::POST, OBJECTS, &["contacts", "batch", "update"], "contact");
            let answer: Result<Batch<Record>, CallError> =
                request.json(&json!({"inputs": bodies})).read(deadline).await;
            let batch = match answer {
                Ok(batch) => batch,
                Err(error) if is_about_the_inputs(&error) && halves.split(&part) => continue,
                Err(error) => {
                    part.for_each(|place| answers[place] = Err(error.clone()));
                    continue;
                }
            };
            for place in part.clone() {
                let id = inputs[place].id;
                if let Some(error) = batch.errors.iter().find(|error| error.is_about(id)) {
                    answers[place] = Err(error.as_error(self.client.name(), "contact"));
                }
            }
            // An error that names no input may be about any that was not served.
            let unnamed = batch.errors.iter().find(|error| !part.clone().any(|place| error.is_about(inputs[place].id)));
            if let Some(error) = unnamed
                && !halves.split(&part)
            {
                let served: HashSet<&str> = batch.results.iter().map(|record| record.id.as_str()).collect();
                for place in part.filter(|place| !served.contains(inputs[*place].id)) {
                    answers[place] = Err(error.as_error(self.client.name(), "contact"));
                }
            }
        }
        answers
    }
}

/// What is asked of contacts.
fn properties_of_contacts(section: &Section) -> Vec<&str> {
    let kept_fresh = ContactField::ALL.into_iter().filter_map(|field| section.theirs(field.name()));
    ["email", OTHER_ADDRESSES].into_iter().chain(kept_fresh).collect()
}

fn by_address(records: &[Record], section: &Section) -> HashMap<EmailAddress, Vec<Contact>> {
    let mut by_address: HashMap<EmailAddress, Vec<Contact>> = HashMap::new();
    for record in records {
        let contact = contact_of(record, section);
        let main = record.text("email").and_then(EmailAddress::parse);
        for address in main.into_iter().chain(other_addresses(record)) {
            let contacts = by_address.entry(address).or_default();
            if contacts.iter().all(|standing| standing.id != contact.id) {
                contacts.push(contact.clone());
            }
        }
    }
    by_address
}

fn other_addresses(record: &Record) -> impl Iterator<Item = EmailAddress> {
    record.text(OTHER_ADDRESSES).unwrap_or_default().split(';').filter_map(EmailAddress::parse)
}

fn contact_of(record: &Record, section: &Section) -> Contact {
    let current = PerField::of(|field| match section.theirs(field.name()) {
        None => Current::NoSuchField,
        // A property without a value may be left out.
        Some(theirs) => Current::told(record.text(theirs).map(str::to_owned)),
    });
    Contact { id: record.id.clone(), deals: Vec::new(), current }
}

fn deal_of(record: Record) -> Deal {
    let [closed, last_activity] = DEAL_PROPERTIES;
    Deal {
        open: record.text(closed).and_then(|closed| closed.parse::<bool>().ok()).map(|is_closed| !is_closed),
        last_activity_at: record.text(last_activity).and_then(|time| time.parse().ok()),
        id: record.id,
    }
}

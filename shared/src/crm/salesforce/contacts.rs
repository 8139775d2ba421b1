//! Contacts and leads: looked up by address and changed, many in one call.

use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::collections::HashMap;

use super::wire::{Found, MOST_PARTS, Part};
use super::{Object, SalesforceCrm, soql};
use crate::crm::contact_fields::{ContactUpdate, Current, PerField, UpdateContacts};
use crate::crm::{Contact, ContactsByAddress, CrmError, FindContacts};
use crate::domain::address::EmailAddress;
use crate::engine::{Deadline, Links};
use crate::field_map::{FieldMap, Section};
use crate::http::CallError;

/// How many contacts are best looked up or changed together: so many addresses go into one query, and so many changes
/// into four composite calls.
const AT_A_TIME: usize = 100;

/// How long the address of a contact or a lead can be ("Email" in the Object Reference).
const LONGEST_ADDRESS: usize = 80;

/// How an answer to a part is referred to in later parts: a value with this in it would be taken for a reference.
const REFERENCE: &str = "@{";

/// A contact or a lead, and the account it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) contact: Contact,
    pub(super) account: Option<String>,
}

type People = HashMap<EmailAddress, Result<Vec<Person>, CallError>>;

/// Why a look-up of several addresses brought nothing of use.
enum Unanswered {
    /// Asked for half as many, it may.
    TooMany(CallError),
    Failed(CallError),
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// Who has which address. Each is answered for, but for those that no contact can have.
    async fn people(&self, addresses: &[EmailAddress], deadline: Deadline) -> People {
        let mut wanted: Vec<&str> = Vec::new();
        for address in addresses.iter().map(EmailAddress::as_str) {
            if address.chars().count() <= LONGEST_ADDRESS && !wanted.contains(&address) {
                wanted.push(address);
            }
        }
        let mut people = People::new();
        let mut answer = |address: &str, answer: Result<Vec<Person>, CallError>| {
            people.extend(EmailAddress::parse(address).map(|address| (address, answer)));
        };
        let map = match self.fields.current().await {
            Ok(map) => map,
            Err(error) => {
                for address in wanted {
                    answer(address, Err(error.clone()));
                }
                return people;
            }
        };
        let mut asked = soql::parts(&wanted);
        while !asked.is_empty() {
            let answers: Vec<_> = asked.iter().map(|part| self.ask_for(part, &map, deadline)).collect();
            let answers = join_all(answers).await;
            let mut again = Vec::new();
            for (part, answered) in asked.into_iter().zip(answers) {
                match answered {
                    Ok(mut found) => part.iter().for_each(|address| {
                        let found = EmailAddress::parse(address).and_then(|address| found.remove(&address));
                        answer(address, Ok(found.unwrap_or_default()));
                    }),
                    Err(Unanswered::TooMany(_)) if part.len() > 1 => {
                        let (one, other) = part.split_at(part.len() / 2);
                        again.extend([one.to_vec(), other.to_vec()]);
                    }
                    Err(Unanswered::TooMany(error) | Unanswered::Failed(error)) => {
                        for address in part {
                            answer(address, Err(error.clone()));
                        }
                    }
                }
            }
            asked = again;
        }
        people
    }

    /// Asks for addresses in one call.
    async fn ask_for(
        &self,
        addresses: &[&str],
        map: &FieldMap,
        deadline: Deadline,
    ) -> Result<HashMap<EmailAddress, Vec<Person>>, Unanswered> {
        const WHAT: &str = "look-up of contacts";
        let kinds = [(Object::Contact, map.section("contact")), (Object::Lead, map.section("lead"))];
        let parts = kinds.map(|(object, section)| Part::query(&query_for(object, section, addresses)));
        let answers = self.composite(&parts, WHAT, deadline).await.map_err(Unanswered::Failed)?;
        let mut found: HashMap<EmailAddress, Vec<Person>> = HashMap::new();
        for ((object, section), answer) in kinds.into_iter().zip(answers) {
            let records: Found<Map<String, Value>> = match answer.and_then(|body| self.read_part(body, WHAT)) {
                Ok(records) => records,
                // One address that Salesforce does not take, whatever it is, costs the others nothing.
                Err(error) if is_about_a_value(&error) => return Err(Unanswered::TooMany(error)),
                // Not every company works with leads, or lets them be seen.
                Err(error) if object == Object::Lead && is_closed(&error) => continue,
                Err(error) if is_closed(&error) => return Err(Unanswered::Failed(self.contacts_are_closed())),
                Err(error) => return Err(Unanswered::Failed(error)),
            };
            if !records.done && addresses.len() > 1 {
                let problem = "more contacts have these addresses than one answer holds".to_owned();
                let error = CallError::Unreadable { api: self.client.name(), what: WHAT, problem };
                return Err(Unanswered::TooMany(error));
            }
            for record in &records.records {
                let Some(person) = person(object, section, record) else { continue };
                for address in address_fields(section).filter_map(|field| EmailAddress::parse(text(record, field)?)) {
                    let people = found.entry(address).or_default();
                    if people.iter().all(|standing| standing.contact.id != person.contact.id) {
                        people.push(person.clone());
                    }
                }
            }
        }
        Ok(found)
    }
}

/// True if a query was refused for what was asked for, and not for what it asks.
fn is_about_a_value(error: &CallError) -> bool {
    matches!(error, CallError::Rejected { text, .. }
        if ["MALFORMED_QUERY:", "INVALID_QUERY_FILTER_OPERATOR:"].iter().any(|code| text.starts_with(code)))
}

/// True if the user who signs in may not see the object at all.
pub(super) fn is_closed(error: &CallError) -> bool {
    matches!(error, CallError::Rejected { text, .. } if text.starts_with("INVALID_TYPE:"))
}

/// The fields that hold an address.
fn address_fields(section: &Section) -> impl Iterator<Item = &str> {
    std::iter::once("Email").chain(section.theirs("other_email"))
}

fn query_for(object: Object, section: &Section, addresses: &[&str]) -> String {
    let kept_fresh = ["phone", "job_title", "company"].into_iter().filter_map(|ours| section.theirs(ours));
    let mut fields: Vec<&str> = std::iter::once("Id").chain(address_fields(section)).collect();
    let (of_its_own, only) = match object {
        Object::Contact => (Some("AccountId"), ""),
        // One that was converted lives on as a contact.
        _ => (None, "IsConverted = false AND "),
    };
    for field in kept_fresh.chain(of_its_own) {
        if !fields.contains(&field) {
            fields.push(field);
        }
    }
    let list = soql::list(addresses.iter().copied());
    let bears: Vec<String> = address_fields(section).map(|field| format!("{field} IN {list}")).collect();
    format!(
        "SELECT {} FROM {} WHERE {only}({}) ORDER BY LastModifiedDate DESC",
        fields.join(", "),
        object.name(),
        bears.join(" OR ")
    )
}

fn text<'a>(record: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    record.get(field)?.as_str()
}

fn person(object: Object, section: &Section, record: &Map<String, Value>) -> Option<Person> {
    let current = PerField::of(|field| match section.theirs(field.name()) {
        None => Current::NoSuchField,
        Some(theirs) => Current::told(match record.get(theirs) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        }),
    });
    let contact = Contact { id: text(record, "Id")?.to_owned(), deals: Vec::new(), current };
    let account = (object == Object::Contact).then(|| text(record, "AccountId").map(str::to_owned)).flatten();
    Some(Person { contact, account })
}

impl<L: Links + Send + Sync> FindContacts for SalesforceCrm<L> {
    async fn find_contacts(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> Result<ContactsByAddress, CrmError> {
        let mut found: Vec<(EmailAddress, Vec<Person>)> = Vec::new();
        let mut failed: Option<CrmError> = None;
        for (address, answer) in self.people(addresses, deadline).await {
            match answer {
                Ok(people) if people.is_empty() => {}
                Ok(people) => found.push((address, people)),
                Err(CallError::Rejected { .. }) => found.push((address, Vec::new())),
                Err(error) => failed = Some(CrmError::more_telling(failed, error.into())),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let everybody: Vec<&Person> = found.iter().flat_map(|(_, people)| people).collect();
        let deals = self.deals_of(&everybody, deadline).await?;
        let contact = |mut person: Person| {
            person.contact.deals = deals.get(&person.contact.id).cloned().unwrap_or_default();
            person.contact
        };
        Ok(found.into_iter().map(|(address, people)| (address, people.into_iter().map(contact).collect())).collect())
    }
}

impl<L: Links + Send + Sync> UpdateContacts for SalesforceCrm<L> {
    fn at_a_time(&self) -> usize {
        AT_A_TIME
    }

    fn asks_for_many_in_one_call(&self) -> bool {
        true
    }

    async fn look_up(&self, addresses: &[EmailAddress], deadline: Deadline) -> Vec<Result<Vec<Contact>, CrmError>> {
        let people = self.people(addresses, deadline).await;
        let answer = |address: &EmailAddress| match people.get(address) {
            None => Ok(Vec::new()),
            Some(Ok(people)) => Ok(people.iter().map(|person| person.contact.clone()).collect()),
            Some(Err(error)) => Err(error.clone().into()),
        };
        addresses.iter().map(answer).collect()
    }

    async fn update_contacts(&self, updates: &[ContactUpdate], deadline: Deadline) -> Vec<Result<(), CrmError>> {
        let map = match self.fields.current().await {
            Ok(map) => map,
            Err(error) => return updates.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let mut answers: Vec<Result<(), CallError>> = vec![Ok(()); updates.len()];
        let mut together = Vec::new();
        for (place, update) in updates.iter().enumerate() {
            let Some(object) = Object::of_person(&update.contact_id) else {
                answers[place] = Err(CallError::NotFound { api: self.client.name(), what: "contact", gone: false });
                continue;
            };
            let section = map.section(if object == Object::Contact { "contact" } else { "lead" });
            let values = update.values.iter();
            let body: Map<String, Value> = values
                .filter_map(|(field, value)| Some((section.theirs(field.name())?.to_owned(), value.clone()?.into())))
                .collect();
            if body.is_empty() {
                continue;
            }
            if body.values().any(|value| value.as_str().is_some_and(|value| value.contains(REFERENCE))) {
                answers[place] = self.update_person(object, &update.contact_id, &body, deadline).await;
            } else {
                together.push((place, Part::update(object, &update.contact_id, body)));
            }
        }
        // One after another: contacts of one account that are changed side by side keep each other waiting for its lock.
        for several in together.chunks(MOST_PARTS) {
            let parts: Vec<Part> = several.iter().map(|(_, part)| part.clone()).collect();
            let answered = self.composite(&parts, "contact", deadline).await;
            for (number, (place, _)) in several.iter().enumerate() {
                answers[*place] = match &answered {
                    Ok(answered) => answered.get(number).map_or(Ok(()), |answer| answer.clone().map(|_| ())),
                    Err(error) => Err(error.clone()),
                };
            }
        }
        answers.into_iter().map(|answer| answer.map_err(CrmError::from)).collect()
    }

    fn calls_made(&self) -> u64 {
        self.client.calls_made()
    }
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    fn contacts_are_closed(&self) -> CallError {
        let problem = "the user who signs in cannot see contacts; give it the right to read them".to_owned();
        CallError::NotSetUp { api: self.client.name(), problem }
    }

    async fn update_person(
        &self,
        object: Object,
        id: &str,
        body: &Map<String, Value>,
        deadline: Deadline,
    ) -> Result<(), CallError> {
        let path = ["sobjects", object.name(), id];
        let changed = self.request(reqwest::Method::PATCH, &path, object.what()).json(body).send(deadline).await;
        changed.map(|_| ()).map_err(super::wire::at_fault)
    }
}

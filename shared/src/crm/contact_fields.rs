//! The fields of a contact that are kept fresh: what the CRM holds in them, and changes to them.

use serde::{Deserialize, Serialize};
use std::future::Future;

use super::{Contact, CrmError};
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;

/// A field of a contact that is kept fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactField {
    /// The telephone number.
    Phone,
    /// The job title.
    JobTitle,
    /// The company, as text.
    Company,
}

impl ContactField {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Phone, Self::JobTitle, Self::Company];

    /// The name, as it stands in records and in the generic REST CRM.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::JobTitle => "job_title",
            Self::Company => "company",
        }
    }
}

/// One thing for each field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de> + Default"))]
pub struct PerField<T> {
    /// Of the telephone number.
    pub phone: T,
    /// Of the job title.
    pub job_title: T,
    /// Of the company.
    pub company: T,
}

impl<T> PerField<T> {
    /// What `make` makes of each field.
    pub fn of(mut make: impl FnMut(ContactField) -> T) -> Self {
        Self {
            phone: make(ContactField::Phone),
            job_title: make(ContactField::JobTitle),
            company: make(ContactField::Company),
        }
    }

    /// That of one field.
    pub const fn get(&self, field: ContactField) -> &T {
        match field {
            ContactField::Phone => &self.phone,
            ContactField::JobTitle => &self.job_title,
            ContactField::Company => &self.company,
        }
    }

    /// That of one field, to be changed.
    pub const fn get_mut(&mut self, field: ContactField) -> &mut T {
        match field {
            ContactField::Phone => &mut self.phone,
            ContactField::JobTitle => &mut self.job_title,
            ContactField::Company => &mut self.company,
        }
    }

    /// Each field with what it has.
    pub fn iter(&self) -> impl Iterator<Item = (ContactField, &T)> {
        ContactField::ALL.into_iter().map(|field| (field, self.get(field)))
    }
}

impl<T> PerField<Option<T>> {
    /// True if no field has anything.
    pub fn is_empty(&self) -> bool {
        self.iter().all(|(_, value)| value.is_none())
    }
}

/// What the CRM says of a field as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Current {
    /// Nothing, neither of this field nor of the others: it does not tell.
    #[default]
    Untold,
    /// It tells of others and not of this one: it has no such field.
    NoSuchField,
    /// Nobody has filled it in.
    Empty,
    /// It holds this.
    Value(String),
}

impl Current {
    /// What a CRM told: a blank value is an empty field.
    #[must_use]
    pub fn told(value: Option<String>) -> Self {
        match value {
            Some(value) if !value.trim().is_empty() => Self::Value(value),
            _ => Self::Empty,
        }
    }
}

/// New values for some fields of a contact; the others stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactUpdate {
    /// The CRM's id of the contact.
    pub contact_id: String,
    /// The new values. At least one, none of them empty.
    pub values: PerField<Option<String>>,
}

/// Looks contacts up and changes them, many at a time; what goes wrong with one goes wrong with no other.
pub trait UpdateContacts: Sync {
    /// How many contacts are best looked up or changed together: what the CRM takes in one call, else as many as it is
    /// asked for side by side.
    fn at_a_time(&self) -> usize;

    /// True if several addresses cost one call. Otherwise each costs one, and none is looked up before it is known to be
    /// needed.
    fn asks_for_many_in_one_call(&self) -> bool {
        false
    }

    /// Looks addresses up, and answers for each of them, in their order.
    fn look_up(
        &self,
        addresses: &[EmailAddress],
        deadline: Deadline,
    ) -> impl Future<Output = Vec<Result<Vec<Contact>, CrmError>>> + Send;

    /// Changes contacts, and answers for each of them, in their order. Done twice, nothing else comes of it.
    fn update_contacts(
        &self,
        updates: &[ContactUpdate],
        deadline: Deadline,
    ) -> impl Future<Output = Vec<Result<(), CrmError>>> + Send;

    /// How many calls have been made so far, those that failed included.
    fn calls_made(&self) -> u64;
}

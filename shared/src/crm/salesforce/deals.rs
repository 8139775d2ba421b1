//! Opportunities of contacts: by their roles in them, else those of their account.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::contacts::Person;
use super::wire::{Found, MOST_QUERIES, Part};
use super::{Object, SalesforceCrm, soql};
use crate::crm::Deal;
use crate::engine::{Deadline, Links};
use crate::http::CallError;

const WHAT: &str = "look-up of opportunities";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    contact_id: String,
    opportunity_id: String,
    #[serde(default)]
    opportunity: Option<State>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OfAccount {
    id: String,
    account_id: String,
    #[serde(flatten)]
    state: State,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    is_closed: Option<bool>,
    last_activity_date: Option<Date>,
}

impl State {
    fn deal(self, id: String) -> Deal {
        let begins = |day: Date| day.to_zoned(TimeZone::UTC).ok().map(|time| Timestamp::from(&time));
        Deal {
            id,
            open: self.is_closed.map(|closed| !closed),
            last_activity_at: self.last_activity_date.and_then(begins),
        }
    }
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// The opportunities of these people, by the ids of contacts, the main one first. Leads have none.
    pub(super) async fn deals_of(
        &self,
        people: &[&Person],
        deadline: Deadline,
    ) -> Result<HashMap<String, Vec<Deal>>, CallError> {
        let mut contacts: Vec<&str> = Vec::new();
        let mut accounts: Vec<&str> = Vec::new();
        for person in people {
            let id = person.contact.id.as_str();
            if Object::of_person(id) == Some(Object::Contact) && !contacts.contains(&id) {
                contacts.push(id);
            }
            accounts.extend(person.account.as_deref().filter(|account| !accounts.contains(account)));
        }
        let of_contacts = soql::parts(&contacts).into_iter().map(|part| {
            Part::query(&format!(
                "SELECT ContactId, OpportunityId, IsPrimary, Opportunity.IsClosed, Opportunity.LastActivityDate \
                 FROM OpportunityContactRole WHERE ContactId IN {} ORDER BY IsPrimary DESC, CreatedDate DESC LIMIT 2000",
                soql::list(part)
            ))
        });
        // Asked for with the others, though only needed for contacts without a role: a call more costs more.
        let of_accounts = soql::parts(&accounts).into_iter().map(|part| {
            Part::query(&format!(
                "SELECT Id, AccountId, IsClosed, LastActivityDate FROM Opportunity WHERE AccountId IN {} \
                 ORDER BY IsClosed, LastModifiedDate DESC LIMIT 2000",
                soql::list(part)
            ))
        });
        let by_role = of_contacts.len();
        let parts: Vec<Part> = of_contacts.chain(of_accounts).collect();
        let mut answers = Vec::with_capacity(parts.len());
        for parts in parts.chunks(MOST_QUERIES) {
            answers.extend(self.composite(parts, WHAT, deadline).await?);
        }
        let mut deals: HashMap<String, Vec<Deal>> = HashMap::new();
        let mut deals_of_accounts: HashMap<String, Vec<Deal>> = HashMap::new();
        for (number, answer) in answers.into_iter().enumerate() {
            let body = match answer {
                Ok(body) => body,
                Err(
                    error @ (CallError::NotAllowed { .. } | CallError::Rejected { .. } | CallError::NotSetUp { .. }),
                ) => {
                    self.tell_of_no_deals(&error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if number < by_role {
                let found: Found<Role> = self.read_part(body, WHAT)?;
                for role in found.records {
                    let deal = role.opportunity.unwrap_or_default().deal(role.opportunity_id);
                    let standing = deals.entry(role.contact_id).or_default();
                    // A contact may have several roles in one opportunity.
                    if standing.iter().all(|standing| standing.id != deal.id) {
                        standing.push(deal);
                    }
                }
            } else {
                let found: Found<OfAccount> = self.read_part(body, WHAT)?;
                for record in found.records {
                    deals_of_accounts.entry(record.account_id).or_default().push(record.state.deal(record.id));
                }
            }
        }
        for person in people {
            let of_account = person.account.as_ref().and_then(|account| deals_of_accounts.get(account));
            if let Some(of_account) = of_account {
                deals.entry(person.contact.id.clone()).or_insert_with(|| of_account.clone());
            }
        }
        Ok(deals)
    }

    /// Without opportunities everything is still written, to the contacts alone.
    fn tell_of_no_deals(&self, error: &CallError) {
        if !self.has_told_of_deals.swap(true, Ordering::Relaxed) {
            let why = match error {
                CallError::Rejected { status, .. } => format!("it answers {status}"),
                other => other.to_string(),
            };
            tracing::warn!("opportunities of the CRM cannot be read, so nothing is written to them: {why}");
        }
    }
}

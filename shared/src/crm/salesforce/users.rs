//! Who of the company's people is a user of Salesforce, so that records belong to them.

use serde::Deserialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{SalesforceCrm, soql};
use crate::domain::address::EmailAddress;
use crate::engine::{Deadline, Links};
use crate::http::CallError;

/// How long it holds who a user is, and who is none.
const HOLDS_FOR: Duration = Duration::from_hours(1);

/// How many people are asked for at most for one record: users come first among those who wrote or invited.
const MOST_PEOPLE: usize = 50;

/// What is known of addresses. An org may have ten thousand users, so only who is met is asked for.
#[derive(Default)]
pub(super) struct Users {
    known: Mutex<HashMap<EmailAddress, Known>>,
    has_warned: AtomicBool,
}

#[derive(Debug, Clone)]
struct Known {
    id: Option<String>,
    since: Instant,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct User {
    id: String,
    email: Option<String>,
}

impl<L: Links + Send + Sync> SalesforceCrm<L> {
    /// The id of the first of these people who is a user. None if users may not be looked up.
    pub(super) async fn first_user(
        &self,
        people: &[&EmailAddress],
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        let people = &people[..people.len().min(MOST_PEOPLE)];
        // One asks for all.
        let mut known = self.users.known.lock().await;
        known.retain(|_, known| known.since.elapsed() < HOLDS_FOR);
        let mut unknown: Vec<&str> = Vec::new();
        for address in people.iter().filter(|address| !known.contains_key(address)) {
            if !unknown.contains(&address.as_str()) {
                unknown.push(address.as_str());
            }
        }
        if !unknown.is_empty() {
            let mut ids = self.users_with(&unknown, deadline).await?;
            for address in people.iter().filter(|address| unknown.contains(&address.as_str())) {
                let id = ids.remove(address);
                known.entry((*address).clone()).or_insert(Known { id, since: Instant::now() });
            }
        }
        Ok(people.iter().find_map(|address| known.get(address)?.id.clone()))
    }

    async fn users_with(
        &self,
        addresses: &[&str],
        deadline: Deadline,
    ) -> Result<HashMap<EmailAddress, String>, CallError> {
        const WHAT: &str = "list of users";
        let mut ids = HashMap::new();
        for part in soql::parts(addresses) {
            // Of several accounts of one person, the one that is used. Other types may own no records.
            let query = format!(
                "SELECT Id, Email FROM User WHERE IsActive = true AND UserType = 'Standard' AND Email IN {} \
                 ORDER BY LastLoginDate DESC NULLS LAST",
                soql::list(part.iter().copied())
            );
            match self.query::<User>(&query, WHAT, deadline).await {
                Ok(found) => {
                    for user in found.records {
                        let address = user.email.as_deref().and_then(EmailAddress::parse);
                        if let Some(address) = address {
                            ids.entry(address).or_insert(user.id);
                        }
                    }
                }
                Err(
                    error @ (CallError::NotAllowed { .. } | CallError::Rejected { .. } | CallError::NotSetUp { .. }),
                ) => {
                    if !self.users.has_warned.swap(true, Ordering::Relaxed) {
                        let why = match &error {
                            // Their words may repeat the query, and so addresses.
                            CallError::Rejected { status, .. } => format!("it answers {status}"),
                            other => other.to_string(),
                        };
                        tracing::warn!("users of the CRM cannot be looked up, so records belong to nobody else: {why}");
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ids)
    }
}

//! The users of HubSpot who can own records, by address.

use reqwest::Method;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::wire::{OWNERS, Page, id};
use crate::crm::collection_is_missing;
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;
use crate::http::{ApiClient, CallError};

/// How long the list is kept.
const KEPT_FOR: Duration = Duration::from_hours(1);

/// How many users one page of the list has.
const PAGE: &str = "100";

type ByAddress = Arc<HashMap<EmailAddress, String>>;

/// The list, read when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<Option<(Instant, ByAddress)>>);

#[derive(Deserialize)]
struct Owner {
    #[serde(deserialize_with = "id")]
    id: String,
    #[serde(default)]
    email: Option<String>,
}

impl Owners {
    /// The id of the first of these people who is a user.
    pub(super) async fn first_of(
        &self,
        client: &ApiClient,
        people: &[&EmailAddress],
        deadline: Deadline,
    ) -> Result<Option<String>, CallError> {
        if people.is_empty() {
            return Ok(None);
        }
        let by_address = self.list(client, deadline).await?;
        Ok(people.iter().find_map(|address| by_address.get(*address).cloned()))
    }

    async fn list(&self, client: &ApiClient, deadline: Deadline) -> Result<ByAddress, CallError> {
        let mut kept = self.0.lock().await;
        if let Some((read_at, list)) = &*kept
            && read_at.elapsed() < KEPT_FOR
        {
            return Ok(Arc::clone(list));
        }
        let list = match Box::pin(read(client, deadline)).await {
            Ok(list) => Arc::new(list),
            Err(CallError::NotAllowed { .. }) => {
                tracing::warn!("records get no owner: the credential needs the scope crm.objects.owners.read");
                Arc::default()
            }
            Err(error) => match &*kept {
                Some((_, old)) => return Ok(Arc::clone(old)),
                None => return Err(error),
            },
        };
        *kept = Some((Instant::now(), Arc::clone(&list)));
        Ok(list)
    }
}

async fn read(client: &ApiClient, deadline: Deadline) -> Result<HashMap<EmailAddress, String>, CallError> {
    let mut list = HashMap::new();
    let mut after: Option<String> = None;
    loop {
        let mut request = client.request(Method::GET, OWNERS, "list of owners").query(&[("limit", PAGE)]);
        if let Some(after) = &after {
            request = request.query(&[("after", after.as_str())]);
        }
        let page: Page<Owner> = request.read(deadline).await.map_err(collection_is_missing)?;
        after = page.after();
        let known = page.results.into_iter().filter_map(|owner| Some((EmailAddress::parse(&owner.email?)?, owner.id)));
        list.extend(known);
        if after.is_none() {
            return Ok(list);
        }
    }
}

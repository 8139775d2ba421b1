//! The users of Pipedrive by their addresses: whom a meeting or a task belongs to.

use reqwest::Method;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

use super::wire::{Answer, User, at_collection};
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;
use crate::http::{ApiClient, CallError};

/// How long the directory holds.
const HOLDS_FOR: Duration = Duration::from_hours(1);

/// The directory, read when first needed.
#[derive(Default)]
pub(super) struct Users(tokio::sync::Mutex<Option<(Instant, HashMap<EmailAddress, u64>)>>);

impl Users {
    /// The first of these who is a user.
    ///
    /// # Errors
    /// If the directory cannot be read just now. One that may not be read has nobody in it.
    pub(super) async fn first_of(
        &self,
        client: &ApiClient,
        addresses: impl IntoIterator<Item = &EmailAddress>,
        deadline: Deadline,
    ) -> Result<Option<u64>, CallError> {
        let mut addresses = addresses.into_iter().peekable();
        if addresses.peek().is_none() {
            return Ok(None);
        }
        let mut held = self.0.lock().await;
        let is_old = held.as_ref().is_none_or(|(read_at, _)| read_at.elapsed() >= HOLDS_FOR);
        if is_old {
            *held = Some((Instant::now(), read(client, deadline).await?));
        }
        let users = held.as_ref().map(|(_, users)| users);
        Ok(addresses.find_map(|address| users?.get(address).copied()))
    }
}

/// All users (the page "Users" of the API's reference, "Get all users": one answer without pages). There is no such call in
/// v2, and its search by address costs twice as much as the whole list.
async fn read(client: &ApiClient, deadline: Deadline) -> Result<HashMap<EmailAddress, u64>, CallError> {
    let request = client.request(Method::GET, &["api", "v1", "users"], "list of users");
    let users: Answer<Option<Vec<User>>> = match request.read(deadline).await.map_err(at_collection) {
        Ok(users) => users,
        Err(CallError::NotAllowed { .. } | CallError::Unauthorized { status: 403, .. }) => {
            tracing::warn!(
                "Pipedrive lets nobody read its users, so nothing gets an owner; grant the right users:read"
            );
            return Ok(HashMap::new());
        }
        Err(error) => return Err(error),
    };
    let active = users.data.into_iter().flatten().filter(|user| user.active_flag);
    Ok(active.filter_map(|user| Some((EmailAddress::parse(user.email.as_deref()?)?, user.id))).collect())
}

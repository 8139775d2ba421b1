//! Scheduling configurations of the Nylas stand-in: making, listing, changing and removing the pages on which guests book.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as UrlPath, State},
    routing::get,
};
use serde_json::{Map, Value, json};

use super::bookings::Booking;
use super::configuration;
use super::{
    Answered, Api, ApiError, Asked, Checked, Nylas, Parameters, Query, answers::uuid_of, object_of, page_body,
};

const CONFIGURATIONS_LIMIT: (usize, usize) = (50, 200);

/// A configuration with the account that it books for.
#[derive(Clone, Debug)]
pub(super) struct Configuration {
    pub(super) grant_id: String,
    pub(super) value: Value,
}

impl Configuration {
    pub(super) fn id(&self) -> &str {
        self.value["id"].as_str().unwrap_or_default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Diary {
    /// Those of all accounts: a slug is unique among them.
    pub(super) configurations: Vec<Configuration>,
    pub(super) bookings: Vec<Booking>,
}

/// The scheduling half of the stand-in.
#[derive(Debug, Default)]
pub(super) struct Scheduling(Mutex<Diary>);

impl Scheduling {
    pub(super) fn locked<T>(&self, use_diary: impl FnOnce(&mut Diary) -> T) -> T {
        use_diary(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The paths below a grant's `/scheduling/configurations`.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/", get(list).post(create)).route("/{configuration}", get(find).put(change).delete(remove))
}

fn data(value: Value) -> Map<String, Value> {
    Map::from_iter([("data".to_owned(), value)])
}

/// What is asked of a configuration by the account and by what is there beside it.
fn check(api: &Api, email: &str, given: &Map<String, Value>, diary: &Diary) -> Checked {
    let is_connected =
        |address: &str| api.locked(|grants| grants.iter().any(|grant| grant.email.eq_ignore_ascii_case(address)));
    configuration::check(given, email, is_connected)?;
    let Some(slug) = given.get("slug").and_then(Value::as_str) else { return Ok(()) };
    let own_id = given.get("id").and_then(Value::as_str);
    let takes_it = |known: &Configuration| known.value["slug"] == slug && Some(known.id()) != own_id;
    if diary.configurations.iter().any(takes_it) {
        return Err(ApiError::invalid(format!("slug {slug} is already taken")));
    }
    Ok(())
}

async fn create(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
    body: Bytes,
) -> Answered {
    let asked = Asked::check(query, &["select"])?;
    let mut given = object_of(&body)?;
    if given.contains_key("id") {
        return Err(ApiError::invalid("a configuration does not take id"));
    }
    let (grant_id, email) = api.use_grant(&grant, |grant| (grant.id.clone(), grant.email.clone()))?;
    let made = api.scheduling.locked(|diary| {
        check(&api, &email, &given, diary)?;
        given.insert("id".to_owned(), uuid_of(&api.fresh_digest("configuration")).into());
        given.entry("slug").or_insert(Value::Null);
        given.entry("requires_session_auth").or_insert(false.into());
        let value = Value::from(given);
        diary.configurations.push(Configuration { grant_id, value: value.clone() });
        Ok::<_, ApiError>(value)
    })?;
    Ok(api.success(data(asked.show(&made)?)))
}

async fn list(State(api): State<Arc<Api>>, UrlPath(grant): UrlPath<String>, Query(query): Parameters) -> Answered {
    let asked = Asked::check(query, &["limit", "page_token", "select"])?;
    let grant_id = api.use_grant(&grant, |grant| grant.id.clone())?;
    let found = api.scheduling.locked(|diary| {
        let own = diary.configurations.iter().filter(|known| known.grant_id == grant_id);
        own.map(|known| known.value.clone()).collect::<Vec<_>>()
    });
    let (page, cursor) = asked.page(found, CONFIGURATIONS_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|known| asked.show(known)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

/// Where the configuration of a grant stands among all.
fn place_of(diary: &Diary, grant_id: &str, id: &str) -> std::result::Result<usize, ApiError> {
    let is_it = |known: &Configuration| known.grant_id == grant_id && known.id() == id;
    diary.configurations.iter().position(is_it).ok_or_else(ApiError::not_found)
}

async fn find(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["select"])?;
    let grant_id = api.use_grant(&grant, |grant| grant.id.clone())?;
    let found = api
        .scheduling
        .locked(|diary| place_of(diary, &grant_id, &id).map(|place| diary.configurations[place].value.clone()))?;
    Ok(api.success(data(asked.show(&found)?)))
}

async fn change(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
    body: Bytes,
) -> Answered {
    let asked = Asked::check(query, &["select"])?;
    let changes = object_of(&body)?;
    if changes.contains_key("id") {
        return Err(ApiError::invalid("a configuration does not take id"));
    }
    let (grant_id, email) = api.use_grant(&grant, |grant| (grant.id.clone(), grant.email.clone()))?;
    let configuration = api.scheduling.locked(|diary| {
        let place = place_of(diary, &grant_id, &id)?;
        let mut whole = diary.configurations[place].value.as_object().cloned().unwrap_or_default();
        whole.extend(changes);
        check(&api, &email, &whole, diary)?;
        diary.configurations[place].value = whole.into();
        Ok::<_, ApiError>(diary.configurations[place].value.clone())
    })?;
    Ok(api.success(data(asked.show(&configuration)?)))
}

async fn remove(State(api): State<Arc<Api>>, UrlPath((grant, id)): UrlPath<(String, String)>) -> Answered {
    let grant_id = api.use_grant(&grant, |grant| grant.id.clone())?;
    api.scheduling.locked(|diary| {
        let place = place_of(diary, &grant_id, &id)?;
        diary.configurations.remove(place);
        Ok::<_, ApiError>(())
    })?;
    Ok(api.success(Map::new()))
}

impl Nylas {
    /// The scheduling configurations of all accounts, in the order in which they were made, each with its `grant_id`.
    #[must_use]
    pub fn configurations(&self) -> Vec<Value> {
        let with_grant = |known: &Configuration| {
            let mut value = known.value.clone();
            value["grant_id"] = json!(known.grant_id);
            value
        };
        self.api.scheduling.locked(|diary| diary.configurations.iter().map(with_grant).collect())
    }
}

#[cfg(test)]
mod tests;

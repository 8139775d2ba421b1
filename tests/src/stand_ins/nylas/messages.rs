//! Messages of the Nylas stand-in: lists with their filters, and one.

use std::{cmp::Reverse, sync::Arc};

use axum::extract::{Path as UrlPath, State};
use serde_json::{Map, Value};

use super::{Answered, Api, ApiError, Asked, Parameters, Query, page_body};

const MESSAGES_LIMIT: (usize, usize) = (50, 200);

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
) -> Answered {
    let known = [
        "limit",
        "page_token",
        "thread_id",
        "subject",
        "any_email",
        "from",
        "to",
        "cc",
        "bcc",
        "in",
        "unread",
        "starred",
        "received_after",
        "received_before",
        "metadata_pair",
        "fields",
        "select",
    ];
    let asked = Asked::check(query, &known)?;
    let grant = api.grant(&grant)?;
    if asked.text("in").is_some_and(|folder| folder.starts_with("in:")) {
        return Err(ApiError::invalid("in takes a folder id, not a search keyword"));
    }
    let pair = asked.metadata_pair(&["limit", "page_token", "fields", "select"])?;
    let (after, before) = (asked.number("received_after")?, asked.number("received_before")?);
    let mut found: Vec<Value> = grant
        .messages
        .into_iter()
        .filter(|message| {
            let date = message["date"].as_i64().unwrap_or_default();
            after.is_none_or(|after| date > after)
                && before.is_none_or(|before| date < before)
                && asked.text("thread_id").is_none_or(|thread| message["thread_id"] == thread)
                && asked.text("subject").is_none_or(|subject| message["subject"] == subject)
                && asked.text("unread").is_none_or(|unread| message["unread"].as_bool() == unread.parse().ok())
                && asked.text("starred").is_none_or(|starred| message["starred"].as_bool() == starred.parse().ok())
                && asked.text("in").is_none_or(|folder| has_element(&message["folders"], |id| id == folder))
                && pair.is_none_or(|(key, value)| message["metadata"][key] == value)
                && ["from", "to", "cc", "bcc"]
                    .iter()
                    .all(|list| asked.text(list).is_none_or(|address| has_address(message, &[list], address)))
                && asked
                    .text("any_email")
                    .is_none_or(|address| has_address(message, &["from", "to", "cc", "bcc"], address))
        })
        .collect();
    found.sort_by_key(|message| Reverse(message["date"].as_i64()));
    let (page, cursor) = asked.page(found, MESSAGES_LIMIT, api.largest_page)?;
    let shown = page.iter().map(|message| asked.show(message)).collect::<std::result::Result<_, _>>()?;
    Ok(api.success(page_body(shown, cursor)))
}

pub(super) async fn find(
    State(api): State<Arc<Api>>,
    UrlPath((grant, id)): UrlPath<(String, String)>,
    Query(query): Parameters,
) -> Answered {
    let asked = Asked::check(query, &["fields", "select", "query_imap", "shared_from"])?;
    let grant = api.grant(&grant)?;
    let message = grant.messages.iter().find(|message| message["id"] == id.as_str()).ok_or_else(ApiError::not_found)?;
    let shown = asked.show(message)?;
    Ok(api.success(Map::from_iter([("data".to_owned(), shown)])))
}

pub(super) fn has_element(list: &Value, is_it: impl Fn(&Value) -> bool) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(is_it))
}

fn has_address(message: &Value, lists: &[&str], addresses: &str) -> bool {
    addresses.split(',').any(|address| {
        lists.iter().any(|list| {
            has_element(&message[*list], |person| {
                person["email"].as_str().is_some_and(|email| email.eq_ignore_ascii_case(address.trim()))
            })
        })
    })
}

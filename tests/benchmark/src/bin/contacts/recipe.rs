//! The usual recipe, which the function replaces: contact after contact, the address at work, asked for and written
//! whatever stands there, every night the same.

use std::{error::Error, time::Instant};

use serde_json::{Map, Value};
use shared::http::http_client;

use crate::{
    Nights,
    account::{Account, GRANT},
};

/// Goes through the first contacts of an account's address book, no more than `most`.
pub fn night(account: &Account, most: usize) -> Nights {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    let looked_through = runtime.block_on(go_through(account, most))?;
    Ok((begun.elapsed(), looked_through, None))
}

async fn go_through(account: &Account, most: usize) -> Result<usize, Box<dyn Error>> {
    let http = http_client()?;
    let (nylas, crm) = (account.nylas.base_url(), account.crm.base_url());
    let mut looked_through = 0;
    let mut cursor: Option<String> = None;
    loop {
        let page = http.get(format!("{nylas}/v3/grants/{GRANT}/contacts")).bearer_auth(account.nylas.api_key());
        let page = page.query(&cursor.iter().map(|cursor| ("page_token", cursor)).collect::<Vec<_>>());
        let page: Value = page.send().await?.error_for_status()?.json().await?;
        for contact in page["data"].as_array().into_iter().flatten() {
            if looked_through == most {
                return Ok(looked_through);
            }
            looked_through += 1;
            let mut emails = contact["emails"].as_array().into_iter().flatten();
            let Some(address) = emails.find(|email| email["type"] == "work") else { continue };
            let Some(address) = address["email"].as_str() else { continue };
            let found = http.get(format!("{crm}/contacts")).bearer_auth(account.crm.api_key());
            let found: Value = found.query(&[("email", address)]).send().await?.error_for_status()?.json().await?;
            let (Some(id), fields) = (found["contacts"][0]["id"].as_str(), fields(contact)) else { continue };
            // The CRM refuses a patch of nothing.
            if !fields.is_empty() {
                let patch = http.patch(format!("{crm}/contacts/{id}")).bearer_auth(account.crm.api_key());
                patch.json(&fields).send().await?.error_for_status()?;
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(looked_through),
        }
    }
}

/// What is there of the three fields, as somebody typed it.
fn fields(contact: &Value) -> Map<String, Value> {
    let fields = [
        ("phone", &contact["phone_numbers"][0]["number"]),
        ("job_title", &contact["job_title"]),
        ("company", &contact["company_name"]),
    ];
    let is_there = |(_, value): &(&str, &Value)| value.as_str().is_some_and(|text| !text.is_empty());
    fields.into_iter().filter(is_there).map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

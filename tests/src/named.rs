//! Where a stack holds certain words: a look through everything that it keeps, tables, bucket, queues and one-time schedules,
//! as somebody would look who wants to be sure that a person is forgotten. It knows nothing of how the stack does that.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use shared::domain::address::EmailAddress;
use shared::domain::customer_event::customer_key;
use shared::domain::digest::sha256_hex;

use crate::local_engine::Stack;
use crate::stack_view::ViewError;

/// The outputs that name the tables.
const TABLES: [&str; 3] = ["DedupTableName", "LinksTableName", "OnboardingTableName"];

/// The queues of the functions, each with a dead-letter queue.
const QUEUES: [&str; 6] =
    ["EmailActivity", "CalendarSync", "NotetakerMedia", "Onboarding", "TicketTriage", "ContactSync"];

/// The words that name a person: the address, also as links have it, what stands before its `@`, and the digests that keys
/// are made of.
#[must_use]
pub fn words_for(address: &EmailAddress) -> Vec<String> {
    let text = address.as_str();
    let encoded = text.replace('@', "%40").replace('+', "%2B");
    let (local_part, domain) = (address.local_part(), address.domain());
    vec![
        text.to_owned(),
        encoded.clone(),
        encoded.replace('%', "%25"),
        format!("{local_part}\\u0040{domain}"),
        local_part.to_owned(),
        customer_key(address),
        sha256_hex(&[text.as_bytes()]),
    ]
}

/// Every place where a stack holds one of these words, in upper or lower case. What waits in queues is looked at and given
/// back. Files that people have put in place (`settings/`) are left out.
pub async fn places(config: &SdkConfig, stack: &Stack, words: &[String]) -> Result<Vec<String>, ViewError> {
    let search = Search { words: words.iter().map(|word| word.to_lowercase()).collect(), found: Vec::new() };
    let search = tables(config, stack, search).await?;
    let search = objects(config, stack, search).await?;
    let search = queues(config, stack, search).await?;
    let search = schedules(config, search).await?;
    Ok(search.found)
}

struct Search {
    words: Vec<String>,
    found: Vec<String>,
}

impl Search {
    fn look_at(&mut self, place: &str, text: &str) {
        let text = text.to_lowercase();
        if self.words.iter().any(|word| text.contains(word.as_str())) {
            self.found.push(format!("{place}: {}", text.chars().take(600).collect::<String>()));
        }
    }
}

fn failed<E: std::error::Error + 'static>(what: &'static str) -> impl FnOnce(E) -> ViewError {
    move |error| ViewError::Aws { what, problem: aws_sdk_sqs::error::DisplayErrorContext(error).to_string() }
}

/// Everything that an attribute says.
fn said(value: &AttributeValue) -> String {
    let all = |values: Vec<String>| values.join("\n");
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => text.clone(),
        AttributeValue::L(list) => all(list.iter().map(said).collect()),
        AttributeValue::M(map) => all(map.iter().map(|(name, value)| format!("{name}\n{}", said(value))).collect()),
        AttributeValue::Ss(texts) => all(texts.clone()),
        _ => String::new(),
    }
}

async fn tables(config: &SdkConfig, stack: &Stack, mut search: Search) -> Result<Search, ViewError> {
    let client = aws_sdk_dynamodb::Client::new(config);
    for table in TABLES {
        let name = stack.output(table)?;
        let mut pages = client.scan().table_name(name).consistent_read(true).into_paginator().send();
        while let Some(page) = pages.next().await {
            for item in page.map_err(failed("reading a table"))?.items.unwrap_or_default() {
                search.look_at(table, &said(&AttributeValue::M(item)));
            }
        }
    }
    Ok(search)
}

async fn objects(config: &SdkConfig, stack: &Stack, mut search: Search) -> Result<Search, ViewError> {
    let config = aws_sdk_s3::config::Builder::from(config).force_path_style(true).build();
    let client = aws_sdk_s3::Client::from_conf(config);
    let bucket = stack.archive_bucket()?;
    let what = "reading the archive bucket";
    let mut pages = client.list_objects_v2().bucket(bucket).into_paginator().send();
    while let Some(page) = pages.next().await {
        let keys = page.map_err(failed(what))?.contents.unwrap_or_default().into_iter().filter_map(|object| object.key);
        for key in keys.filter(|key| !key.starts_with("settings/")) {
            let object = client.get_object().bucket(bucket).key(&key).send().await.map_err(failed(what))?;
            let content = object.body.collect().await.map_err(failed(what))?.to_vec();
            search.look_at("bucket", &format!("{key}\n{}", String::from_utf8_lossy(&content)));
        }
    }
    Ok(search)
}

async fn queues(config: &SdkConfig, stack: &Stack, mut search: Search) -> Result<Search, ViewError> {
    let client = aws_sdk_sqs::Client::new(config);
    let what = "looking into a queue";
    let mut urls = Vec::new();
    for name in QUEUES {
        urls.push(stack.queue_url(name)?);
        urls.push(stack.dead_letter_queue_url(name)?);
    }
    urls.push(stack.dead_letter_queue_url("Scheduler")?);
    urls.push(stack.queue_url("Unroutable")?);
    for url in urls {
        let mut received = Vec::new();
        loop {
            let asked = client.receive_message().queue_url(url).max_number_of_messages(10).visibility_timeout(30);
            let answer = asked.message_attribute_names("All").send().await;
            let messages = answer.map_err(failed(what))?.messages.unwrap_or_default();
            if messages.is_empty() {
                break;
            }
            for message in messages {
                let attributes = message.message_attributes.unwrap_or_default();
                let mut texts = vec![message.body.unwrap_or_default()];
                texts.extend(attributes.into_values().filter_map(|attribute| attribute.string_value));
                search.look_at(url, &texts.join("\n"));
                received.extend(message.receipt_handle);
            }
        }
        for handle in received {
            let given_back = client.change_message_visibility().queue_url(url).receipt_handle(handle);
            given_back.visibility_timeout(0).send().await.map_err(failed(what))?;
        }
    }
    Ok(search)
}

async fn schedules(config: &SdkConfig, mut search: Search) -> Result<Search, ViewError> {
    let client = aws_sdk_scheduler::Client::new(config);
    let mut pages = client.list_schedules().into_paginator().send();
    while let Some(page) = pages.next().await {
        for schedule in page.map_err(failed("listing schedules"))?.schedules {
            let (Some(group), Some(name)) = (schedule.group_name, schedule.name) else { continue };
            let read = client.get_schedule().group_name(&group).name(&name).send().await;
            // One that has gone off meanwhile holds nothing.
            let input = read.ok().and_then(|read| read.target?.input).unwrap_or_default();
            search.look_at("schedules", &format!("{name}\n{input}"));
        }
    }
    Ok(search)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn words_are_found_at_every_depth_and_in_every_case() {
        let address = EmailAddress::parse("canary.leaver+x@acme.example").expect("an address");
        let words = words_for(&address);
        let deep = AttributeValue::M(HashMap::from([(
            "facts".to_owned(),
            AttributeValue::L(vec![AttributeValue::M(HashMap::from([(
                "CANARY.leaver+x@acme.example".to_owned(),
                AttributeValue::N("1".to_owned()),
            )]))]),
        )]));
        let found = |text: &str| {
            let mut search = Search { words: words.clone(), found: Vec::new() };
            search.look_at("here", text);
            search.found.len()
        };
        assert_eq!(found(&said(&deep)), 1);
        for text in
            ["canary.leaver%2Bx%40acme.example", "CANARY.LEAVER%252bx%2540ACME.EXAMPLE", &customer_key(&address)]
        {
            assert_eq!(found(text), 1, "{text}");
        }
        assert_eq!(found("canary.other@acme.example"), 0);
    }
}

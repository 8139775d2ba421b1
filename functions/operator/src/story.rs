//! Tells all that is known of a notification, an object or a customer, in order: when it came, what was decided and why, what
//! it became and where, how often it failed, what it still waits for.
//!
//! - [`gather`]: looks everything up that a id leads to.
//! - [`record`]: what a decision record tells.
//! - [`link`]: what a link tells, and which links an id leads to.
//! - [`customer`]: what the record of a customer tells.
//! - [`moment`]: a line of the story.
//! - [`aws`]: the tables.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use shared::engine::StoreError;
use std::future::Future;

pub mod aws;
pub mod customer;
pub mod gather;
pub mod link;
pub mod moment;
pub mod record;
#[cfg(test)]
pub(crate) mod tests;

use crate::command::{BadCommand, fields_of, filled};
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports, soon};
use crate::told::{Told, table};
use gather::{Gathered, gather};
use moment::{Moment, shortened};
use record::Standing;

/// The longest id, in bytes. A key of DynamoDB may have 2048 bytes, and the name of a function stands before it.
const LONGEST_ID: usize = 1000;

/// How many characters of an explanation the table shows; the rows hold all of it.
const SHOWN_OF_A_LINE: usize = 400;

/// Of which table something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shelf {
    /// Decision records, by `<function>#<notification id>`.
    Decisions,
    /// Links, by `<kind>#<identity>`.
    Links,
    /// Customers, by their address.
    Customers,
}

/// Everything that is kept of what happened, as it is stored: a story is told of records of other releases, too.
pub trait Records: Sync {
    /// What stands under a key.
    fn item(
        &self,
        shelf: Shelf,
        key: &str,
    ) -> impl Future<Output = Result<Option<Map<String, Value>>, StoreError>> + Send;

    /// Up to `most` decision records about an object, the newest first. It may miss what was written within the last
    /// seconds.
    fn about(
        &self,
        object: &str,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Map<String, Value>>, StoreError>> + Send;
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryOf {
    /// The id, as whoever gave it wrote it.
    pub id: String,
    /// The account that it is an id in; none if that is not said.
    pub grant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    id: Option<String>,
    grant_id: Option<String>,
}

impl StoryOf {
    /// An event that is right.
    #[must_use]
    pub fn example() -> Value {
        json!({ "command": "story", "id": "<the id of a notification, message, event, notetaker, contact or ticket, or a customer's address>" })
    }

    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let fields: Fields = fields_of(fields)?;
        let reason = "a story is told of one notification, object or customer";
        let id = filled("id", fields.id)?.ok_or(BadCommand::Missing { field: "id", reason })?;
        if id.len() > LONGEST_ID {
            let problem = format!("an id has at most {LONGEST_ID} bytes; was something else pasted?");
            return Err(BadCommand::Wrong { field: "id", value: format!("{} bytes long", id.len()), problem });
        }
        let grant = filled("grant_id", fields.grant_id)?;
        if grant.as_deref().is_some_and(|grant| grant.contains('@')) {
            return Err(BadCommand::NoGrantId);
        }
        Ok(Self { id, grant })
    }
}

impl<P: Ports> Operator<P> {
    /// Tells the story. What it holds goes to who asked; the log holds how much was found alone.
    ///
    /// # Errors
    /// If a table does not answer.
    pub(crate) async fn story(&self, asked: &StoryOf, invocation: &Invocation) -> Result<Answer, OperateError> {
        let unavailable = |problem| OperateError::Unavailable {
            what: "the story cannot be told".to_owned(),
            problem,
            then: "nothing was changed, give the command again",
        };
        let slow = |_| StoreError("the tables did not answer in time".to_owned());
        let found = tokio::time::timeout(soon(invocation).left(), gather(&self.records, asked)).await;
        let found = found.map_err(slow).and_then(|found| found).map_err(unavailable)?;
        let told = tell(asked, &found, invocation.now);
        tracing::info!(
            command = "story",
            decisions = found.records.len(),
            links = found.links.len(),
            customers = found.customers.len(),
            needs_a_person = !told.ready,
            "answered"
        );
        Ok(Answer::Told(told))
    }
}

/// The story as rows, as a table and in words.
#[must_use]
pub fn tell(asked: &StoryOf, found: &Gathered, now: jiff::Timestamp) -> Told {
    let mut moments: Vec<Moment> = Vec::new();
    moments.extend(found.records.iter().flat_map(|record| record.moments(now)));
    moments.extend(found.links.iter().flat_map(link::Kept::moments));
    moments.extend(found.customers.iter().flat_map(customer::Known::moments));
    moments.sort_by_key(Moment::order);
    let lines = moments.iter().map(|moment| {
        [moment.time(), moment.function.clone(), moment.what.to_owned(), shortened(&moment.why, SHOWN_OF_A_LINE)]
    });
    let known = !found.is_empty();
    let table = if known { table(["time", "function", "what", "why"], lines) } else { String::new() };
    let in_need = found.records.iter().any(|record| record.standing(now).needs_a_person());
    Told {
        command: "story",
        ready: known && !in_need,
        rows: moments.iter().map(Moment::to_row).collect(),
        table,
        text: if known { how_it_stands(asked, found, now) } else { nothing_known(asked) },
        again: None,
    }
}

/// The most sentences about records; a mail in many mailboxes says the same in each.
const MOST_SENTENCES: usize = 6;

fn how_it_stands(asked: &StoryOf, found: &Gathered, now: jiff::Timestamp) -> String {
    let mut sentences = Vec::new();
    // What asks for somebody first.
    let mut records: Vec<&record::Record> = found.records.iter().collect();
    records.sort_by_key(|record| record.standing(now));
    sentences.extend(records.iter().take(MOST_SENTENCES).map(|record| record.sentence(now)));
    if records.len() > MOST_SENTENCES {
        let settled = records.iter().skip(MOST_SENTENCES).all(|record| record.standing(now) == Standing::Decided);
        let rest = records.len() - MOST_SENTENCES;
        sentences.push(if settled { format!("{rest} more are decided.") } else { format!("{rest} more stand above.") });
    }
    sentences.extend(found.links.iter().filter_map(link::Kept::sentence));
    sentences.extend(found.customers.iter().map(customer::Known::sentence));
    if found.records.is_empty() {
        let query = format!("filter became = {} | sort @timestamp", json!(asked.id));
        let hint = "No decision record leads here: records live 35 days, and none is found by what it became. In CloudWatch \
                    Logs Insights, over the log groups of the functions, this finds the decisions";
        sentences.push(format!("{hint}: {query}"));
    }
    if let Some((object, count)) = &found.others {
        let what = if *count == 1 { "1 more record is" } else { &format!("{count} more records are") };
        sentences.push(format!("{what} about the same object: make story ID={}", quoted(object)));
    }
    if found.left_out {
        sentences.push("Older records are left out: there are too many of them for one answer.".to_owned());
    }
    sentences.join("\n")
}

fn nothing_known(asked: &StoryOf) -> String {
    let id = &asked.id;
    let grant = match (&asked.grant, id.contains('@')) {
        (None, false) => {
            " If it is an id within an account, give that, too, because what became of it stands under both: GRANT=<its \
             Nylas grant>."
        }
        _ => "",
    };
    format!(
        "Nothing is known of `{id}`: no function has a record of it, no link leads anywhere from it, and no customer has it \
         as an address.{grant} Records live 35 days, links for as long as what they link.\n\
         If it was never notified, `make reconcile` fetches what Nylas did not notify of. What arrived stands in the log of \
         webhook-ingress: in CloudWatch Logs Insights: filter notification.id = {query} | sort @timestamp\n\
         If it is the id of an activity or a meeting in the CRM, no key leads back from it; over the log groups of the \
         functions this finds the decision: filter became = {query} | sort @timestamp",
        query = json!(id),
    )
}

/// An id as a shell takes it.
pub(crate) fn quoted(id: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_.:@/=+".contains(character);
    if id.chars().all(plain) { id.to_owned() } else { format!("'{}'", id.replace('\'', r"'\''")) }
}

/// For tests: the port in memory.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Records, Shelf};
    use serde_json::{Map, Value};
    use shared::engine::StoreError;
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    /// The tables in memory.
    #[derive(Debug, Default)]
    pub struct MemoryRecords {
        items: Mutex<BTreeMap<(u8, String), Map<String, Value>>>,
        /// While set, no table answers.
        pub down: bool,
    }

    impl MemoryRecords {
        /// Puts an item under its key.
        pub fn put(&self, table: Shelf, key: &str, item: Value) {
            let Value::Object(mut item) = item else { panic!("an item is an object") };
            if table != Shelf::Customers {
                item.insert("pk".to_owned(), key.into());
            }
            let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            items.insert((table as u8, key.to_owned()), item);
        }

        fn up(&self) -> Result<(), StoreError> {
            if self.down { Err(StoreError("the table is down".to_owned())) } else { Ok(()) }
        }
    }

    impl Records for MemoryRecords {
        async fn item(&self, table: Shelf, key: &str) -> Result<Option<Map<String, Value>>, StoreError> {
            self.up()?;
            let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(items.get(&(table as u8, key.to_owned())).cloned())
        }

        async fn about(&self, object: &str, most: usize) -> Result<Vec<Map<String, Value>>, StoreError> {
            self.up()?;
            let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
            let of_decisions = items.iter().filter(|((table, _), _)| *table == Shelf::Decisions as u8);
            let mut found: Vec<_> = of_decisions
                .map(|(_, item)| item)
                .filter(|item| item.get("object_id") == Some(&object.into()))
                .collect();
            found.sort_by_key(|item| std::cmp::Reverse(item["updated_at"].as_str().map(str::to_owned)));
            Ok(found.into_iter().take(most).cloned().collect())
        }
    }
}

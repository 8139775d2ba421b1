//! What was found of a person, by place: how many, which, and what was done with it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::told::table;

/// So many ids are named of each place; more are counted.
const MOST_NAMED: usize = 20;

/// So many of them fit a table.
const MOST_IN_THE_TABLE: usize = 4;

/// What is done with what was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// It is gone.
    Deleted,
    /// It stays, without the person.
    Rewritten,
    /// Nothing: people are told of it.
    Told,
}

impl Done {
    /// It in a word or a few.
    #[must_use]
    pub const fn words(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Self::Deleted, false) => "deleted",
            (Self::Deleted, true) => "would be deleted",
            (Self::Rewritten, false) => "kept without the address",
            (Self::Rewritten, true) => "would be kept without the address",
            (Self::Told, _) => "not touched",
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    place: String,
    done: Done,
    count: u64,
    ids: Vec<String>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Tally(Vec<Entry>);

impl Tally {
    /// Adds one thing.
    pub fn add(&mut self, place: &str, done: Done, id: String) {
        let known = self.0.iter_mut().find(|entry| entry.place == place && entry.done == done);
        match known {
            Some(entry) => {
                entry.count += 1;
                if entry.ids.len() < MOST_NAMED {
                    entry.ids.push(id);
                }
            }
            None => self.0.push(Entry { place: place.to_owned(), done, count: 1, ids: vec![id] }),
        }
    }

    /// How many things this was done with.
    #[must_use]
    pub fn count(&self, done: Done) -> u64 {
        self.0.iter().filter(|entry| entry.done == done).map(|entry| entry.count).sum()
    }

    /// How many things of a place this was done with.
    #[must_use]
    pub fn of(&self, place: &str, done: Done) -> u64 {
        let of_it = self.0.iter().filter(|entry| entry.place.contains(place) && entry.done == done);
        of_it.map(|entry| entry.count).sum()
    }

    /// It for programs.
    #[must_use]
    pub fn rows(&self) -> Vec<Value> {
        self.0
            .iter()
            .map(|entry| json!({"place": entry.place, "done": entry.done, "count": entry.count, "ids": entry.ids}))
            .collect()
    }

    /// It for people.
    #[must_use]
    pub fn table(&self, dry_run: bool) -> String {
        let rows = self.0.iter().map(|entry| {
            let named = entry.ids.len().min(MOST_IN_THE_TABLE);
            let mut ids = entry.ids[..named].join(", ");
            let more = entry.count - named as u64;
            if more > 0 {
                ids = format!("{ids} and {more} more");
            }
            [entry.place.clone(), entry.done.words(dry_run).to_owned(), entry.count.to_string(), ids]
        });
        if self.0.is_empty() { String::new() } else { table(["where", "what", "count", "which"], rows) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_some_are_named() {
        let mut tally = Tally::default();
        for number in 0..30 {
            tally.add("links", Done::Rewritten, format!("ticket#{number}"));
        }
        tally.add("links", Done::Deleted, "customer#1".to_owned());
        assert_eq!((tally.count(Done::Rewritten), tally.of("links", Done::Deleted)), (30, 1));
        let rows = tally.rows();
        assert_eq!((&rows[0]["count"], rows[0]["ids"].as_array().map(Vec::len)), (&json!(30), Some(MOST_NAMED)));
        assert_eq!(rows[1], json!({"place": "links", "done": "deleted", "count": 1, "ids": ["customer#1"]}));
        let table = tally.table(true);
        assert!(table.contains("and 26 more") && table.contains("would be deleted"), "{table}");
        assert_eq!(Tally::default().table(false), "");
    }
}

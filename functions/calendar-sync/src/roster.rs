//! What a calendar held around now when it was last looked through. What has vanished since was deleted, and Nylas may
//! not have told: no list of events shows those that are gone.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most events of one calendar that are remembered; a link holds 400 KB, and an id of Microsoft's 150 bytes.
const MOST: usize = 2000;

/// What a calendar held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Roster {
    /// The run that is looking through the calendar, or last did.
    run: String,
    /// When each event begins, in Unix seconds, and whether this run has seen it.
    events: BTreeMap<String, (i64, bool)>,
}

impl Roster {
    /// Takes in what a run has seen on a page.
    pub fn saw(&mut self, run: &str, page: impl IntoIterator<Item = (String, i64)>) {
        if self.run != run {
            run.clone_into(&mut self.run);
            self.events.values_mut().for_each(|(_, seen)| *seen = false);
        }
        for (id, start) in page {
            if self.events.len() < MOST || self.events.contains_key(&id) {
                self.events.insert(id, (start, true));
            }
        }
    }

    /// The events that a run should have seen within a span, in Unix seconds, and has not.
    #[must_use]
    pub fn vanished(&self, from: i64, to: i64) -> Vec<&str> {
        let is_missing = |(_, (start, seen)): &(&String, &(i64, bool))| !*seen && (from..to).contains(start);
        self.events.iter().filter(is_missing).map(|(id, _)| id.as_str()).collect()
    }

    /// Ends a run: what it has not seen is forgotten.
    pub fn end(&mut self) {
        self.events.retain(|_, (_, seen)| *seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(events: &[(&str, i64)]) -> Vec<(String, i64)> {
        events.iter().map(|(id, start)| ((*id).to_owned(), *start)).collect()
    }

    #[test]
    fn event_that_was_there_the_night_before_and_is_not_any_more_has_vanished() {
        let mut roster = Roster::default();
        roster.saw("1", page(&[("a", 100), ("b", 200)]));
        roster.saw("1", page(&[("c", 300), ("past", 10)]));
        assert!(roster.vanished(0, 1000).is_empty(), "nothing was known before");
        roster.end();
        roster.saw("2", page(&[("a", 100)]));
        roster.saw("2", page(&[("d", 400)]));
        assert_eq!(roster.vanished(50, 300), ["b"], "what begins outside of the span was not listed");
        roster.end();
        roster.saw("3", page(&[("a", 100), ("d", 400)]));
        assert!(roster.vanished(0, 1000).is_empty(), "told once");
    }

    #[test]
    fn page_that_is_looked_through_twice_changes_nothing() {
        let mut roster = Roster::default();
        roster.saw("1", page(&[("a", 100)]));
        let once = roster.clone();
        roster.saw("1", page(&[("a", 100)]));
        assert_eq!(roster, once);
    }
}

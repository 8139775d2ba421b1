//! What a calendar held around now when it was last looked through. What has vanished since was deleted, and Nylas may
//! not have told: no list of events shows those that are gone.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many bytes of ids are remembered of one calendar; a link holds 400 KB, and an id up to 1,024 bytes.
const MOST_BYTES: usize = 200_000;

/// What a calendar held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Roster {
    /// The run that is looking through the calendar, or last did.
    run: String,
    /// The events by id.
    events: BTreeMap<String, Entry>,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// When it begins, in Unix seconds; none for the master of a series, which may have begun long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<i64>,
    /// Whether this run has seen it.
    seen: bool,
}

impl Roster {
    /// Takes in what a run has seen on a page: ids, and when each event begins, in Unix seconds, but for masters.
    pub fn saw(&mut self, run: &str, page: impl IntoIterator<Item = (String, Option<i64>)>) {
        if self.run != run {
            run.clone_into(&mut self.run);
            self.events.values_mut().for_each(|entry| entry.seen = false);
        }
        let mut bytes: usize = self.events.keys().map(String::len).sum();
        for (id, start) in page {
            let more = if self.events.contains_key(&id) { 0 } else { id.len() };
            if bytes + more <= MOST_BYTES {
                bytes += more;
                self.events.insert(id, Entry { start, seen: true });
            }
        }
    }

    /// Up to so many events that a run should have seen within a span, in Unix seconds, and has not. Masters, which not
    /// every provider lists in every span of theirs, are among them.
    #[must_use]
    pub fn missing(&self, from: i64, to: i64, most: usize) -> Vec<String> {
        let is_missing = |entry: &Entry| !entry.seen && entry.start.is_none_or(|start| (from..to).contains(&start));
        self.events.iter().filter(|(_, entry)| is_missing(entry)).take(most).map(|(id, _)| id.clone()).collect()
    }

    /// Records that a missing event was looked at: one that is still there is seen, another is forgotten.
    pub fn looked_at(&mut self, id: &str, is_there: bool) {
        if is_there {
            self.events.entry(id.to_owned()).and_modify(|entry| entry.seen = true);
        } else {
            self.events.remove(id);
        }
    }

    /// Ends a run: what it has not seen is forgotten.
    pub fn end(&mut self) {
        self.events.retain(|_, entry| entry.seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(events: &[(&str, i64)]) -> Vec<(String, Option<i64>)> {
        events.iter().map(|(id, start)| ((*id).to_owned(), Some(*start))).collect()
    }

    #[test]
    fn event_that_was_there_the_night_before_and_is_not_any_more_is_missing() {
        let mut roster = Roster::default();
        roster.saw("1", page(&[("a", 100), ("b", 200)]));
        roster.saw("1", page(&[("c", 300), ("past", 10)]));
        assert!(roster.missing(0, 1000, 9).is_empty(), "nothing was known before");
        roster.end();
        roster.saw("2", page(&[("a", 100)]));
        roster.saw("2", page(&[("d", 400)]));
        assert_eq!(roster.missing(50, 300, 9), ["b"], "what begins outside of the span was not listed");
        roster.looked_at("b", false);
        assert!(roster.missing(50, 300, 9).is_empty(), "told once");
        roster.end();
        roster.saw("3", page(&[("a", 100), ("d", 400)]));
        assert!(roster.missing(0, 1000, 9).is_empty());
    }

    #[test]
    fn master_that_is_not_listed_is_looked_at_and_stays_while_it_is_there() {
        let mut roster = Roster::default();
        roster.saw("1", [("series".to_owned(), None)]);
        for run in ["2", "3"] {
            roster.saw(run, page(&[]));
            assert_eq!(roster.missing(50, 300, 9), ["series"]);
            roster.looked_at("series", true);
            roster.end();
        }
    }

    #[test]
    fn page_that_is_looked_through_twice_changes_nothing_and_no_calendar_outgrows_its_record() {
        let mut roster = Roster::default();
        roster.saw("1", page(&[("a", 100)]));
        let once = roster.clone();
        roster.saw("1", page(&[("a", 100)]));
        assert_eq!(roster, once);
        let long = |number: i64| (format!("{number:01024}"), Some(100));
        roster.saw("1", (0..1000).map(long));
        assert!(serde_json::to_string(&roster).expect("JSON").len() < 300_000);
    }
}

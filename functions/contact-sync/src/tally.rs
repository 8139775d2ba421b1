//! What a run came to, counted by name: every contact is changed, unchanged, or skipped for a reason. Pure.

use shared::engine::progress::Finding;
use std::collections::BTreeMap;

use crate::address_book::LeftAlone;
use crate::remembered::{Outcome, Remembered};

/// Contacts seen.
pub const CONTACTS: &str = "contacts";
/// Those that the CRM knows.
pub const MATCHED: &str = "matched";
/// Those of which something was written.
pub const CHANGED: &str = "changed";
/// Those of which something would be written.
pub const WOULD_CHANGE: &str = "would change";
/// Those of which nothing was to be written.
pub const UNCHANGED: &str = "unchanged";
/// Those of which a value that is somebody's own was kept, whatever else became of them.
pub const CONFLICTS: &str = "conflicts";
/// What the names of reasons begin with.
pub const SKIPPED: &str = "skipped: ";

/// Counts and findings of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    is_dry_run: bool,
    counts: BTreeMap<&'static str, u64>,
    findings: Vec<Finding>,
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new(is_dry_run: bool) -> Self {
        Self { is_dry_run, counts: BTreeMap::new(), findings: Vec::new() }
    }

    /// How many contacts are counted.
    #[must_use]
    pub fn contacts(&self) -> usize {
        self.counts.get(CONTACTS).copied().unwrap_or_default().try_into().unwrap_or(usize::MAX)
    }

    /// Counts one that is left alone.
    pub fn left_alone(&mut self, why: LeftAlone) {
        self.add(CONTACTS);
        self.add(why.reason());
    }

    /// Counts one that was looked at just now.
    pub fn looked_at(&mut self, outcome: &Outcome) {
        self.count(outcome, !outcome.written.is_empty());
        if self.is_dry_run {
            self.findings.extend(outcome.changes.iter().cloned());
        }
    }

    /// Counts one that has not changed since it was looked at: earlier in this run, which is `by`, or before it.
    pub fn remembered(&mut self, remembered: &Remembered, by: &str) {
        self.count(&remembered.outcome, remembered.by == by && !remembered.outcome.written.is_empty());
    }

    fn count(&mut self, outcome: &Outcome, is_changed: bool) {
        self.add(CONTACTS);
        if outcome.contact_id.is_some() {
            self.add(MATCHED);
        }
        self.add(match outcome.skipped {
            Some(why) => why.reason(),
            None if is_changed && self.is_dry_run => WOULD_CHANGE,
            None if is_changed => CHANGED,
            None => UNCHANGED,
        });
        if !outcome.kept.is_empty() {
            self.add(CONFLICTS);
        }
        self.findings.extend(outcome.kept.iter().chain(&outcome.refused).cloned());
    }

    fn add(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// The counts by name, and what people should look at.
    #[must_use]
    pub fn into_counts(self) -> (Vec<(&'static str, u64)>, Vec<Finding>) {
        (self.counts.into_iter().collect(), self.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remembered::Skipped;
    use shared::crm::contact_fields::ContactField;

    fn finding(why: &str) -> Finding {
        let (of, field) = ("con-1".to_owned(), "phone".to_owned());
        Finding { of, field, stands: None, proposed: None, why: why.to_owned() }
    }

    fn written() -> Outcome {
        let changes = vec![finding("written")];
        let contact_id = Some("con-1".to_owned());
        Outcome { contact_id, written: vec![ContactField::Phone], changes, ..Outcome::default() }
    }

    fn remembered(outcome: Outcome) -> Remembered {
        let (content, reading, by) = (String::new(), String::new(), "run/g".to_owned());
        Remembered { content, reading, changed_at: 0, looked_up_at: 0, by, outcome }
    }

    #[test]
    fn every_contact_is_changed_unchanged_or_skipped_for_a_reason() {
        let mut tally = Tally::new(false);
        tally.left_alone(LeftAlone::NoAddress);
        tally.looked_at(&written());
        tally.looked_at(&Outcome { contact_id: Some("con-2".to_owned()), ..Outcome::default() });
        tally.looked_at(&Outcome { skipped: Some(Skipped::NobodyKnown), ..Outcome::default() });
        tally.looked_at(&Outcome { kept: vec![finding("kept")], ..written() });
        assert_eq!(tally.contacts(), 5);
        let (counts, findings) = tally.into_counts();
        let expected = [
            ("changed", 2),
            ("conflicts", 1),
            ("contacts", 5),
            ("matched", 3),
            ("skipped: no address", 1),
            ("skipped: not in the CRM", 1),
            ("unchanged", 1),
        ];
        assert_eq!(counts, expected);
        assert_eq!(findings, [finding("kept")]);
    }

    #[test]
    fn dry_run_counts_what_would_change_and_lists_it() {
        let mut tally = Tally::new(true);
        tally.looked_at(&written());
        let (counts, findings) = tally.into_counts();
        assert_eq!(counts, [("contacts", 1), ("matched", 1), ("would change", 1)]);
        assert_eq!(findings, [finding("written")]);
    }

    #[test]
    fn contact_that_was_written_in_this_run_counts_as_changed_when_a_step_is_done_again() {
        let count = |by: &str| {
            let mut tally = Tally::new(false);
            tally.remembered(&remembered(written()), by);
            tally.into_counts().0
        };
        assert_eq!(count("run/g"), [("changed", 1), ("contacts", 1), ("matched", 1)]);
        assert_eq!(count("later/g"), [("contacts", 1), ("matched", 1), ("unchanged", 1)]);
    }

    #[test]
    fn standing_conflict_is_counted_and_listed_every_night() {
        let mut tally = Tally::new(false);
        let outcome =
            Outcome { contact_id: Some("con-1".to_owned()), kept: vec![finding("kept")], ..Outcome::default() };
        tally.remembered(&remembered(outcome), "later/g");
        let (counts, findings) = tally.into_counts();
        assert_eq!(counts, [("conflicts", 1), ("contacts", 1), ("matched", 1), ("unchanged", 1)]);
        assert_eq!(findings.len(), 1);
    }
}

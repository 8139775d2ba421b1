//! What lies where, by function and kind of failure or one by one, and what to do next.
//!
//! The decision table knows every message that a worker has claimed and given up. It is set beside what SQS counts, so
//! that letters without a record are told of (what could not even be claimed, what SQS moved by itself), and records whose
//! letter is gone.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use super::asked::{Facts, Showing};
use super::letter::{Letter, Parked};
use super::ports::Record;
use super::{age, quoted, shortened, typed};
use crate::findings::MOST_LISTED;
use crate::told::{Told, table};

/// How long a dead-letter queue keeps a letter, in hours: 14 days.
const KEPT_HOURS: i64 = 14 * 24;

/// How much of a reason stands in a table, in characters.
const REASON_IN_TABLE: usize = 100;

/// What is known of the dead letters.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Of each function.
    pub functions: Vec<OfFunction>,
    /// What schedules could not deliver, the first of it.
    pub of_schedules: Vec<Letter>,
    /// How many messages SQS counts in the queue of the schedules.
    pub schedules_lying: u64,
    /// What was set aside, the first of it.
    pub parked: Vec<Letter>,
    /// True if more may have been set aside than was read.
    pub parked_unread: bool,
}

/// What is known of the dead letters of one function.
#[derive(Debug, Clone)]
pub struct OfFunction {
    /// Its name.
    pub function: &'static str,
    /// Its records that say that their message lies in the dead-letter queue, the oldest first.
    pub records: Vec<Record>,
    /// True if there are more of them.
    pub more: bool,
    /// How many messages SQS counts in the dead-letter queue.
    pub lying: u64,
}

/// Where what is shown stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// In a dead-letter queue.
    DeadLetter,
    /// In a dead-letter queue, and no record tells of it.
    WithoutRecord,
    /// In no dead-letter queue any more, though its record says so.
    LetterIsGone,
    /// In the queue of the schedules.
    NotDelivered,
    /// In the archive.
    Parked,
}

impl State {
    fn words(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead letter",
            Self::WithoutRecord => "without a record",
            Self::LetterIsGone => "letter is gone",
            Self::NotDelivered => "not delivered",
            Self::Parked => "parked",
        }
    }
}

/// A single letter.
#[derive(Debug, Clone, Serialize)]
struct Single {
    id: String,
    object: String,
    function: Option<String>,
    state: State,
    class: String,
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    failures: Option<u32>,
    first_failed_at: Option<Timestamp>,
    last_failed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<Parked>,
}

/// The letters of one function, kind of failure and place.
#[derive(Debug, Clone, Serialize)]
struct Group {
    function: Option<String>,
    state: State,
    class: Option<String>,
    count: u64,
    types: BTreeSet<String>,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    first_reason: Option<String>,
}

/// What is shown.
pub struct Listing<'a> {
    /// What is known.
    pub known: &'a Known,
    /// What was asked for.
    pub showing: &'a Showing,
    /// When.
    pub now: Timestamp,
}

impl Listing<'_> {
    /// How many letters lie in the dead-letter queues, as SQS counts them.
    #[must_use]
    pub fn dead_letters(&self) -> u64 {
        self.known.functions.iter().map(|known| known.lying).sum::<u64>() + self.known.schedules_lying
    }

    /// The answer.
    #[must_use]
    pub fn told(&self) -> Told {
        let singles = self.singles();
        let groups = self.groups(&singles);
        let as_value = |row: Result<Value, _>| row.unwrap_or(Value::Null);
        let (rows, table) = if self.showing.list {
            let listed = &singles[..singles.len().min(MOST_LISTED)];
            (listed.iter().map(|row| as_value(serde_json::to_value(row))).collect(), self.table_of_singles(listed))
        } else {
            (groups.iter().map(|row| as_value(serde_json::to_value(row))).collect(), self.table_of_groups(&groups))
        };
        let text = self.sentences(&singles, &groups).join(" ");
        Told { command: "dead_letters", ready: true, rows, table, text, again: None }
    }

    /// Every letter that is meant and known one by one, the oldest first.
    fn singles(&self) -> Vec<Single> {
        let selection = &self.showing.selection;
        let of_records = self.known.functions.iter().flat_map(|known| {
            let meant = move |record: &&Record| selection.means(&Facts::of_record(record, known.function), self.now);
            known.records.iter().filter(meant).map(move |record| self.of_record(record, known.function))
        });
        let letters = self.known.of_schedules.iter().chain(&self.known.parked);
        let of_letters = letters.filter_map(|letter| {
            let subject = letter.subject();
            let meant = selection.means(&Facts::of_letter(letter, &subject), self.now);
            let state = if letter.parked.is_some() { State::Parked } else { State::NotDelivered };
            meant.then(|| Single {
                id: letter.notification.clone(),
                object: subject.object,
                function: letter.function.clone(),
                state,
                class: letter.class.clone(),
                kind: subject.trigger,
                reason: letter.reason.clone(),
                failures: None,
                first_failed_at: letter.first_failed_at,
                last_failed_at: letter.last_failed_at,
                parked: letter.parked.clone(),
            })
        });
        let mut singles: Vec<Single> = of_records.chain(of_letters).collect();
        singles.sort_by_key(|single| single.last_failed_at);
        singles
    }

    fn of_record(&self, record: &Record, function: &str) -> Single {
        let kept = SignedDuration::from_hours(KEPT_HOURS);
        let expired = record.last_failed_at.and_then(|at| at.checked_add(kept).ok()).is_some_and(|end| end < self.now);
        Single {
            id: record.notification_id.clone(),
            object: record.object_id.clone(),
            function: Some(function.to_owned()),
            state: if expired { State::LetterIsGone } else { State::DeadLetter },
            class: record.class.clone(),
            kind: record.trigger.clone(),
            reason: record.reason.clone(),
            failures: Some(record.failures),
            first_failed_at: record.first_failed_at,
            last_failed_at: record.last_failed_at,
            parked: None,
        }
    }

    /// The letters by function, place and kind of failure, and beside them what only SQS or only the table knows of.
    fn groups(&self, singles: &[Single]) -> Vec<Group> {
        let mut groups: BTreeMap<_, Group> = BTreeMap::new();
        for single in singles {
            let key = (single.function.clone(), single.state, Some(single.class.clone()));
            let group = groups.entry(key).or_insert_with(|| Group {
                function: single.function.clone(),
                state: single.state,
                class: Some(single.class.clone()),
                count: 0,
                types: BTreeSet::new(),
                oldest: single.last_failed_at,
                newest: None,
                first_reason: Some(single.reason.clone()),
            });
            group.count += 1;
            group.types.insert(single.kind.clone());
            group.newest = group.newest.max(single.last_failed_at);
        }
        // With a filter the two counts are not of the same letters.
        let selection = &self.showing.selection;
        let of_all = selection.class.is_none() && !selection.asks_what_it_is_about();
        let of_all = of_all && selection.older_than.is_none() && selection.newer_than.is_none();
        for known in self.known.functions.iter().filter(|known| of_all && !known.more) {
            let is_of_it = |group: &&Group| group.function.as_deref() == Some(known.function);
            let lying = groups.values().filter(|group| group.state == State::DeadLetter).filter(is_of_it);
            let recorded: u64 = lying.map(|group| group.count).sum();
            let (state, count) = match (known.lying, recorded) {
                (lying, recorded) if lying > recorded => (State::WithoutRecord, lying - recorded),
                (lying, recorded) if lying < recorded => (State::LetterIsGone, recorded - lying),
                _ => continue,
            };
            let function = Some(known.function.to_owned());
            let group = Group {
                function: function.clone(),
                state,
                class: None,
                count,
                types: BTreeSet::new(),
                oldest: None,
                newest: None,
                first_reason: None,
            };
            groups.insert((function, state, None), group);
        }
        groups.into_values().collect()
    }

    fn age(&self, at: Option<Timestamp>) -> String {
        at.map(|at| age(self.now, at)).unwrap_or_default()
    }

    fn table_of_groups(&self, groups: &[Group]) -> String {
        let rows = groups.iter().map(|group| {
            [
                group.function.clone().unwrap_or_else(|| "?".to_owned()),
                group.state.words().to_owned(),
                group.class.clone().unwrap_or_default(),
                group.count.to_string(),
                self.age(group.oldest),
                self.age(group.newest),
                group.types.iter().cloned().collect::<Vec<_>>().join(", "),
                shortened(group.first_reason.as_deref().unwrap_or_default(), REASON_IN_TABLE),
            ]
        });
        table(["function", "state", "class", "letters", "oldest", "newest", "types", "first reason"], rows)
    }

    fn table_of_singles(&self, singles: &[Single]) -> String {
        let rows = singles.iter().map(|single| {
            let reason = shortened(&single.reason, REASON_IN_TABLE);
            let reason = match &single.parked {
                Some(parked) => format!("parked: {}; {reason}", parked.because),
                None => reason,
            };
            [
                single.function.clone().unwrap_or_else(|| "?".to_owned()),
                single.state.words().to_owned(),
                single.class.clone(),
                single.kind.clone(),
                single.id.clone(),
                self.age(single.first_failed_at),
                self.age(single.last_failed_at),
                single.failures.map(|failures| failures.to_string()).unwrap_or_default(),
                reason,
            ]
        });
        table(["function", "state", "class", "type", "notification", "first", "last", "failures", "reason"], rows)
    }

    fn sentences(&self, singles: &[Single], groups: &[Group]) -> Vec<String> {
        let counted = |state: State| groups.iter().filter(|group| group.state == state).map(|group| group.count).sum();
        let (without, gone, parked): (u64, u64, u64) =
            (counted(State::WithoutRecord), counted(State::LetterIsGone), counted(State::Parked));
        let lying = counted(State::DeadLetter) + counted(State::NotDelivered) + without;
        let which = typed(&self.showing.selection);
        let redrive = if which.is_empty() { " ALL=1" } else { &which };
        let mut sentences = Vec::new();
        match lying {
            0 => sentences.push("No dead letter is meant.".to_owned()),
            1 => sentences.push("1 lies in the dead-letter queues.".to_owned()),
            lying => sentences.push(format!("{lying} lie in the dead-letter queues.")),
        }
        let oldest = singles.iter().find(|single| single.state == State::DeadLetter);
        if let Some(oldest) = oldest {
            sentences.push(format!("What happened to the oldest: make story ID={} tells.", quoted(&oldest.id)));
        }
        if lying > 0 {
            sentences.push(format!(
                "Mend the cause, then see what would go back into its queue: make redrive{redrive} (nothing is moved \
                 before LIVE=1)."
            ));
        }
        if without > 0 {
            sentences.push(format!(
                "{without} have no record: they could not be claimed, or SQS moved them by itself; `make redrive` shows \
                 each of them. SQS counts about right: what has just been moved may be among them."
            ));
        }
        if gone > 0 {
            sentences.push(format!(
                "Of {gone} the record is there and the letter is gone: it expired after 14 days, or somebody took it out \
                 by hand. `replay` has the object fetched anew from Nylas; `drop` makes an end of it."
            ));
        }
        if parked > 0 {
            sentences.push(format!(
                "{parked} are parked, and end 35 days after they were: make redrive PARKED=1 brings them back."
            ));
        }
        let more: Vec<&str> = self.known.functions.iter().filter(|of| of.more).map(|of| of.function).collect();
        if !more.is_empty() {
            sentences.push(format!(
                "There are more of {}: only the oldest were read, so they are not set beside what SQS counts.",
                more.join(" and ")
            ));
        }
        if self.known.of_schedules.len() as u64 != self.known.schedules_lying || self.known.parked_unread {
            sentences.push("Of what schedules could not deliver, or of what is parked, there is more.".to_owned());
        }
        if self.showing.list && singles.len() > MOST_LISTED {
            sentences.push(format!("The oldest {MOST_LISTED} of {} are shown.", singles.len()));
        }
        sentences
    }
}

#[cfg(test)]
mod tests {
    use super::super::asked::Selection;
    use super::*;

    const NOW: &str = "2026-03-20T10:00:00Z";

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn record(id: &str, class: &str, failed_at: &str) -> Record {
        Record {
            pk: format!("email-activity#{id}"),
            state: "failed".to_owned(),
            notification_id: id.to_owned(),
            trigger: "message.created".to_owned(),
            object_id: format!("mail-{id}"),
            class: class.to_owned(),
            reason: format!("why {id}"),
            failures: 3,
            first_failed_at: Some(time("2026-03-05T10:00:00Z")),
            last_failed_at: Some(time(failed_at)),
            ..Record::default()
        }
    }

    fn known(records: Vec<Record>, lying: u64) -> Known {
        let functions = vec![OfFunction { function: "email-activity", records, more: false, lying }];
        Known { functions, ..Known::default() }
    }

    fn told(known: &Known, selection: Selection, list: bool) -> Told {
        let showing = Showing { selection, list };
        Listing { known, showing: &showing, now: time(NOW) }.told()
    }

    #[test]
    fn letters_are_counted_by_function_and_class_with_ages_the_first_reason_and_their_types() {
        let records = vec![
            record("n-2", "crm.rejected", "2026-03-20T08:00:00Z"),
            record("n-1", "crm.rejected", "2026-03-18T10:00:00Z"),
            record("n-3", "gave_up", "2026-03-20T09:30:00Z"),
        ];
        let told = told(&known(records, 3), Selection::default(), false);
        assert_eq!(told.rows.len(), 2, "{}", told.table);
        let first = &told.rows[0];
        assert_eq!((&first["class"], &first["count"]), (&"crm.rejected".into(), &2.into()));
        assert_eq!((&first["first_reason"], &first["state"]), (&"why n-1".into(), &"dead_letter".into()));
        assert_eq!(first["types"], serde_json::json!(["message.created"]));
        for words in ["2d 0h", "2h 0m", "why n-1", "email-activity"] {
            assert!(told.table.contains(words), "{words}: {}", told.table);
        }
        assert!(told.text.starts_with("3 lie in the dead-letter queues."), "{}", told.text);
        assert!(told.text.contains("make story ID=n-1") && told.text.contains("make redrive ALL=1"), "{}", told.text);
    }

    #[test]
    fn letters_without_a_record_and_records_without_their_letter_are_told_of() {
        let two =
            || vec![record("n-1", "gave_up", "2026-03-18T10:00:00Z"), record("n-2", "gave_up", "2026-03-18T11:00:00Z")];
        let more = told(&known(two(), 5), Selection::default(), false);
        assert_eq!((&more.rows[1]["state"], &more.rows[1]["count"]), (&"without_record".into(), &3.into()));
        assert!(more.text.contains("5 lie in") && more.text.contains("3 have no record"), "{}", more.text);
        let fewer = told(&known(two(), 1), Selection::default(), false);
        assert_eq!((&fewer.rows[1]["state"], &fewer.rows[1]["count"]), (&"letter_is_gone".into(), &1.into()));
        assert!(fewer.text.contains("Of 1 the record is there and the letter is gone"), "{}", fewer.text);
        let even = told(&known(two(), 2), Selection::default(), false);
        assert_eq!(even.rows.len(), 1, "{}", even.table);
        let filtered = told(&known(two(), 5), Selection { id: Some("n-1".to_owned()), ..Selection::default() }, true);
        assert_eq!(filtered.rows.len(), 1, "what is not meant is not set beside what SQS counts");
    }

    #[test]
    fn letter_that_has_expired_is_told_from_one_that_lies_there() {
        let records =
            vec![record("old", "gave_up", "2026-03-06T09:59:00Z"), record("new", "gave_up", "2026-03-06T10:01:00Z")];
        let told = told(&known(records, 1), Selection::default(), true);
        assert_eq!((&told.rows[0]["id"], &told.rows[0]["state"]), (&"old".into(), &"letter_is_gone".into()));
        assert_eq!((&told.rows[1]["id"], &told.rows[1]["state"]), (&"new".into(), &"dead_letter".into()));
    }

    #[test]
    fn single_letters_are_shown_with_all_that_is_known_of_them() {
        let known = known(vec![record("n-1", "crm.rejected", "2026-03-18T10:00:00Z")], 1);
        let told = told(&known, Selection { class: Some("crm.rejected".to_owned()), ..Selection::default() }, true);
        let row = &told.rows[0];
        assert_eq!(
            (&row["object"], &row["failures"], &row["reason"]),
            (&"mail-n-1".into(), &3.into(), &"why n-1".into())
        );
        assert!(told.text.contains("make redrive CLASS=crm.rejected"), "{}", told.text);
    }

    #[test]
    fn nothing_at_all_is_said_in_a_sentence() {
        let told = told(&known(Vec::new(), 0), Selection::default(), false);
        assert_eq!((told.ready, told.text.as_str()), (true, "No dead letter is meant."));
    }
}

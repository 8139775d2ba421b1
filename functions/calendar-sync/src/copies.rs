//! One meeting on several connected calendars: what is known of each copy, and which of them the CRM shows.
//!
//! News of copies comes in any order, twice, or not at all. What is kept is the newest state of each copy, so that the
//! same news in any order ends in the same place: the content of the organizer's copy while it stands, else of the copy
//! with the highest version; nothing once the last copy is gone.

use serde::{Deserialize, Serialize};
use shared::domain::link::Version;
use shared::nylas::event::Event;
use std::collections::BTreeSet;

/// The clock of a provider, which tells when an event was changed, and Nylas's, which tells when one was deleted, are not
/// the same: what lies closer together, in seconds, is settled by asking what the calendar holds.
const CLOCKS_DIFFER: i64 = 300;

/// With so many copies, those that say nothing for the CRM are not kept any more.
const MOST_COPIES: usize = 200;

/// How much later than a deletion an event must have been seen to count as being there again, in seconds.
const SEEN_AFTER: i64 = 5;

/// Which copy: the account and Nylas's id of the event in it. On Google all attendees share the id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CopyKey {
    /// The account; empty where the notification names none.
    pub grant: String,
    /// The event.
    pub event: String,
    /// True for an occurrence that its calendar does not hold by itself, but that the rule of its series stands for. On
    /// Google one that was changed by itself has the same id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_rule: bool,
}

impl CopyKey {
    /// The key of an event that its calendar holds by itself.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Self { grant: event.grant_id.clone().unwrap_or_default(), event: event.id.clone(), by_rule: false }
    }
}

/// What is known of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Which one.
    #[serde(flatten)]
    pub key: CopyKey,
    /// The calendars that it is in, or was removed from. On Google one account sees the same event in its own calendar
    /// and in those of others that are shared with it.
    #[serde(default)]
    pub calendars: BTreeSet<String>,
    /// How it stands.
    #[serde(flatten)]
    pub state: CopyState,
    /// True if its owner keeps to themselves what it is about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// True once its account could not be reached any more, so that nobody knows what it says now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// How a copy stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum CopyState {
    /// It is in its calendar.
    Live {
        /// Its version: by the clock of its own calendar alone.
        version: Version,
        /// A digest of what it says; none if the CRM is not to have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<String>,
        /// True if its account called the meeting.
        of_the_organizer: bool,
    },
    /// It was removed from its calendar.
    Gone {
        /// When, in Unix seconds.
        at: i64,
    },
}

impl Copy {
    /// True if it is known in this version or a later one. One that was removed or lost and is listed again is not.
    #[must_use]
    pub fn covers(&self, version: Version) -> bool {
        !self.lost && matches!(&self.state, CopyState::Live { version: known, .. } if *known >= version)
    }

    /// True if it is live in an older version.
    #[must_use]
    pub fn is_older_than(&self, version: Version) -> bool {
        matches!(&self.state, CopyState::Live { version: known, .. } if *known < version)
    }

    /// The digest of what it says; none once it is gone, or if the CRM is not to have it.
    #[must_use]
    pub fn content(&self) -> Option<&str> {
        match &self.state {
            CopyState::Live { content, .. } => content.as_deref(),
            CopyState::Gone { .. } => None,
        }
    }
}

/// What news of a copy is, held against what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It is newer, and is known from now on.
    Newer,
    /// It says what is known.
    Known,
    /// It is older than what is known, and is dropped.
    Older,
    /// It has the known version and says something else: only what Nylas holds now can tell.
    Conflicting,
}

/// What the CRM was last given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The digest of what it was given.
    pub content: String,
}

/// What is to be done with the CRM's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It shows what it should.
    Nothing,
    /// It shows what this copy says.
    Write(CopyKey),
    /// It goes.
    Remove,
}

/// The copies of one meeting, and what the CRM shows of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Copies {
    known: Vec<Copy>,
    /// What the CRM holds; none if it holds nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    written: Option<Written>,
    /// The id under which the CRM knows it: of the copy that was written first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
}

impl Copies {
    /// What is known of a copy.
    #[must_use]
    pub fn get(&self, key: &CopyKey) -> Option<&Copy> {
        self.known.iter().find(|copy| copy.key == *key)
    }

    /// The id under which the CRM knows the meeting; none before it was first written.
    #[must_use]
    pub fn external_id(&self) -> Option<&str> {
        self.external_id.as_deref()
    }

    /// Takes news of a copy in; `seen_at`, in Unix seconds, if it was not only told of but seen in its calendar.
    pub fn take_in(&mut self, news: Copy, seen_at: Option<i64>) -> News {
        let Some(known) = self.known.iter_mut().find(|copy| copy.key == news.key) else {
            self.known.push(news);
            self.known.sort_by(|one, other| one.key.cmp(&other.key));
            return News::Newer;
        };
        known.lost = false;
        let judged = judge(known, &news, seen_at);
        match judged {
            // It was removed from one calendar and is still in another.
            News::Newer if is_left_elsewhere(known, &news) => {
                known.calendars.retain(|calendar| !news.calendars.contains(calendar));
            }
            News::Newer => {
                let was_live = matches!(known.state, CopyState::Live { .. });
                let is_live = matches!(news.state, CopyState::Live { .. });
                let standing = std::mem::take(&mut known.calendars);
                *known = news;
                // A deletion may name ids alone.
                if was_live == is_live || known.calendars.is_empty() {
                    known.calendars.extend(standing);
                }
            }
            News::Known => known.calendars.extend(news.calendars),
            News::Older | News::Conflicting => {}
        }
        judged
    }

    /// True for news that says nothing for the CRM, of a copy that nobody has heard of, where there are very many already: an
    /// internal meeting of the whole company must not outgrow its record.
    #[must_use]
    pub fn is_one_too_many(&self, news: &Copy) -> bool {
        self.known.len() >= MOST_COPIES && news.content().is_none() && self.get(&news.key).is_none()
    }

    /// Records that an account cannot be reached any more.
    pub fn lose(&mut self, grant: &str) {
        for copy in self.known.iter_mut().filter(|copy| copy.key.grant == grant) {
            copy.lost = true;
        }
    }

    /// Takes in what Nylas holds of a copy right now, which is never older than what was notified.
    pub fn take_in_as_held(&mut self, held: Copy) {
        let newest = match (self.get(&held.key).map(|known| &known.state), &held.state) {
            (Some(CopyState::Live { version: known, .. }), CopyState::Live { version, content, of_the_organizer }) => {
                let version = (*known).max(*version);
                CopyState::Live { version, content: content.clone(), of_the_organizer: *of_the_organizer }
            }
            _ => held.state.clone(),
        };
        self.known.retain(|copy| copy.key != held.key);
        self.known.push(Copy { state: newest, ..held });
        self.known.sort_by(|one, other| one.key.cmp(&other.key));
    }

    /// The copy whose content counts; none once all are gone or none is for the CRM. Where a calendar holds an occurrence
    /// by itself, or held it, its series' rule says nothing of it any more. Where one of those who are invited keeps it
    /// private, no other copy may tell more.
    #[must_use]
    pub fn winner(&self) -> Option<&Copy> {
        let rank = |copy: &Copy| match &copy.state {
            CopyState::Live { version, of_the_organizer, content: Some(_) } => {
                Some((!copy.lost, *of_the_organizer, *version))
            }
            CopyState::Live { .. } | CopyState::Gone { .. } => None,
        };
        let counts = |copy: &&Copy| !copy.key.by_rule || !self.is_held_by_itself(&copy.key.grant);
        let is_live = |copy: &&Copy| matches!(copy.state, CopyState::Live { .. });
        let is_kept_private = self.known.iter().filter(counts).filter(is_live).any(|copy| copy.private);
        // Sorted by key, so that equal ranks are decided the same way whatever came first.
        self.known
            .iter()
            .filter(counts)
            .filter(|copy| copy.private || !is_kept_private)
            .filter_map(|copy| Some((rank(copy)?, copy)))
            .max_by_key(|(rank, _)| *rank)
            .map(|(_, copy)| copy)
    }

    fn is_held_by_itself(&self, grant: &str) -> bool {
        self.known.iter().any(|copy| copy.key.grant == grant && !copy.key.by_rule)
    }

    /// What is to be done with the CRM's record.
    #[must_use]
    pub fn step(&self) -> Step {
        match (self.winner(), &self.written) {
            (None, None) => Step::Nothing,
            (None, Some(_)) => Step::Remove,
            // Nobody can say what it should be; what is there is the best that is known.
            (Some(winner), _) if winner.lost => Step::Nothing,
            (Some(winner), written) => {
                let shown = written.as_ref().map(|written| written.content.as_str());
                if winner.content() == shown { Step::Nothing } else { Step::Write(winner.key.clone()) }
            }
        }
    }

    /// Fixes the id under which the CRM is to know the meeting, before the first write of it is begun: whoever has to do
    /// it again uses the same.
    pub fn begin(&mut self, copy: &CopyKey) -> &str {
        self.external_id.get_or_insert_with(|| copy.event.clone())
    }

    /// Records that the CRM shows what a copy says.
    pub fn wrote(&mut self, content: &str) {
        self.written = Some(Written { content: content.to_owned() });
    }

    /// Records that the CRM shows nothing.
    pub fn removed(&mut self) {
        self.written = None;
    }

    /// Records that nobody knows what the CRM shows: a write was begun and its end was not seen.
    pub fn unsure(&mut self) {
        self.written = Some(Written { content: String::new() });
    }
}

/// The name that stands for an account's main calendar, whatever its id is.
const PRIMARY: &str = "primary";

/// Two sets of calendars of one account, held against one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calendars {
    /// They share one, or nobody has told one of them.
    Shared,
    /// They are others.
    Others,
    /// They may share the main one, under its name here and its id there.
    Unclear,
}

fn compare(one: &BTreeSet<String>, other: &BTreeSet<String>) -> Calendars {
    if one.is_empty() || other.is_empty() || !one.is_disjoint(other) {
        Calendars::Shared
    } else if one.contains(PRIMARY) || other.contains(PRIMARY) {
        Calendars::Unclear
    } else {
        Calendars::Others
    }
}

/// True if news of a removal leaves the copy in another calendar of its account.
fn is_left_elsewhere(known: &Copy, news: &Copy) -> bool {
    let both = (&known.state, &news.state);
    matches!(both, (CopyState::Live { .. }, CopyState::Gone { .. }))
        && !news.calendars.is_empty()
        && !known.calendars.is_subset(&news.calendars)
}

/// Versions count within one calendar alone, and a deletion has no version but its time.
fn judge(known: &Copy, news: &Copy, seen_at: Option<i64>) -> News {
    use CopyState::{Gone, Live};
    let calendars = compare(&known.calendars, &news.calendars);
    // What was seen in a calendar needs no asking.
    let unclear = if seen_at.is_some() { News::Newer } else { News::Conflicting };
    match (&known.state, &news.state) {
        (Live { version: known, content: known_content, .. }, Live { version, content, .. }) => {
            match version.cmp(known) {
                std::cmp::Ordering::Greater => News::Newer,
                std::cmp::Ordering::Less => News::Older,
                std::cmp::Ordering::Equal if content == known_content => News::Known,
                std::cmp::Ordering::Equal => unclear,
            }
        }
        (Live { .. }, Gone { .. }) if calendars == Calendars::Others => News::Older,
        (Live { version, .. }, Gone { at }) => match order(*at, version.changed_at, news.key.by_rule) {
            Order::Earlier => News::Older,
            Order::Later
                if calendars == Calendars::Shared && !(news.calendars.is_empty() && known.calendars.len() > 1) =>
            {
                News::Newer
            }
            Order::Later | Order::Unclear => unclear,
        },
        (Gone { at }, Live { .. }) if has_come_back(*at, seen_at) => News::Newer,
        (Gone { .. }, Live { .. }) if calendars != Calendars::Shared => unclear,
        (Gone { at }, Live { version, .. }) => match order(*at, version.changed_at, news.key.by_rule) {
            Order::Later => News::Older,
            Order::Earlier => News::Newer,
            Order::Unclear => unclear,
        },
        (Gone { at: known }, Gone { at }) => {
            if at > known {
                News::Newer
            } else {
                News::Known
            }
        }
    }
}

/// A deletion, held against a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It came after the change.
    Later,
    /// It came before the change: the event has come back.
    Earlier,
    /// Only the calendar can tell.
    Unclear,
}

/// Whether a deletion came after a change, both in Unix seconds. Of an occurrence by rule both are told by the master's
/// clock.
#[must_use]
pub fn order(deleted_at: i64, changed_at: i64, by_rule: bool) -> Order {
    let tolerance = if by_rule { 0 } else { CLOCKS_DIFFER };
    if deleted_at >= changed_at + tolerance {
        Order::Later
    } else if deleted_at + tolerance < changed_at {
        Order::Earlier
    } else {
        Order::Unclear
    }
}

/// True if an event that was seen in its calendar then has come back since it was deleted, both in Unix seconds.
#[must_use]
pub fn has_come_back(deleted_at: i64, seen_at: Option<i64>) -> bool {
    seen_at.is_some_and(|seen_at| seen_at > deleted_at + SEEN_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Times of these tests lie further apart than clocks differ.
    const APART: i64 = 1000;

    /// What happens to one copy, in its true order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Happening {
        Changed,
        Removed,
    }

    fn key(number: usize) -> CopyKey {
        CopyKey { grant: format!("g{number}"), event: format!("e{number}"), by_rule: false }
    }

    fn live(number: usize, sequence: i64, changed_at: i64, content: &str) -> Copy {
        Copy {
            key: key(number),
            calendars: BTreeSet::from(["primary".to_owned()]),
            private: false,
            lost: false,
            state: CopyState::Live {
                version: Version { sequence, changed_at: changed_at * APART },
                content: Some(content.to_owned()),
                of_the_organizer: number == 0,
            },
        }
    }

    fn gone(number: usize, at: i64) -> Copy {
        let state = CopyState::Gone { at: at * APART };
        Copy { key: key(number), calendars: BTreeSet::new(), private: false, lost: false, state }
    }

    /// The notifications of a history: each copy's clock is off by some seconds of its own.
    fn notifications(history: &[(usize, Happening)]) -> Vec<Copy> {
        let mut sequences: BTreeMap<usize, i64> = BTreeMap::new();
        history
            .iter()
            .enumerate()
            .map(|(step, (number, happening))| {
                let at = i64::try_from(step).expect("few steps") * 10 + i64::try_from(*number).expect("few copies") * 7;
                let sequence = sequences.entry(*number).or_default();
                *sequence += 1;
                match happening {
                    Happening::Changed => live(*number, *sequence, at, &format!("copy {number}, change {step}")),
                    Happening::Removed => gone(*number, at),
                }
            })
            .collect()
    }

    /// A CRM that is kept by the rules; it answers what it shows in the end.
    fn run(news: &[Copy]) -> Option<String> {
        let mut copies = Copies::default();
        let mut shown: Option<String> = None;
        for copy in news {
            copies.take_in(copy.clone(), None);
            match copies.step() {
                Step::Nothing => {}
                Step::Remove => {
                    shown = None;
                    copies.removed();
                }
                Step::Write(key) => {
                    let content =
                        copies.get(&key).and_then(Copy::content).expect("a copy that says something").to_owned();
                    copies.begin(&key);
                    copies.wrote(&content);
                    shown = Some(content);
                }
            }
        }
        shown
    }

    fn permutations(of: &[Copy]) -> Vec<Vec<Copy>> {
        if of.is_empty() {
            return vec![Vec::new()];
        }
        (0..of.len())
            .flat_map(|place| {
                let mut rest = of.to_vec();
                let first = rest.remove(place);
                permutations(&rest).into_iter().map(move |mut order| {
                    order.insert(0, first.clone());
                    order
                })
            })
            .collect()
    }

    use Happening::{Changed, Removed};

    #[test]
    fn all_120_orders_of_five_happenings_end_as_the_true_one_with_and_without_duplicates() {
        for history in [
            [(0, Changed), (0, Changed), (0, Changed), (0, Changed), (0, Removed)],
            [(0, Changed), (0, Removed), (0, Changed), (0, Changed), (0, Changed)],
            [(0, Changed), (1, Changed), (2, Changed), (0, Removed), (1, Removed)],
            [(1, Changed), (2, Changed), (0, Changed), (2, Changed), (0, Changed)],
            [(1, Changed), (0, Changed), (0, Removed), (1, Removed), (1, Changed)],
            [(0, Changed), (1, Changed), (0, Removed), (1, Removed), (2, Removed)],
        ] {
            let news = notifications(&history);
            let expected = run(&news);
            let orders = permutations(&news);
            assert_eq!(orders.len(), 120);
            for order in orders {
                assert_eq!(run(&order), expected, "{history:?} in the order {order:?}");
                let twice: Vec<Copy> = order.iter().chain(order.iter().rev()).cloned().collect();
                assert_eq!(run(&twice), expected, "{history:?} twice");
            }
        }
    }

    #[test]
    fn organizers_copy_counts_whatever_its_clock_says() {
        let mut copies = Copies::default();
        copies.take_in(live(1, 9, 900, "attendee's"), None);
        assert_eq!(copies.step(), Step::Write(key(1)));
        copies.begin(&key(1));
        copies.wrote("attendee's");
        copies.take_in(live(0, 1, 100, "organizer's"), None);
        assert_eq!(copies.step(), Step::Write(key(0)));
        assert_eq!(copies.external_id(), Some("e1"), "it stays known by the copy that was written first");
    }

    #[test]
    fn removal_of_one_copy_removes_nothing_and_that_of_the_last_removes_the_record() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "organizer's"), None);
        copies.take_in(live(1, 1, 100, "attendee's"), None);
        copies.begin(&key(0));
        copies.wrote("organizer's");
        assert_eq!(copies.take_in(gone(1, 200), None), News::Newer);
        assert_eq!(copies.step(), Step::Nothing);
        copies.take_in(gone(0, 300), None);
        assert_eq!(copies.step(), Step::Remove);
        copies.removed();
        assert_eq!(copies.step(), Step::Nothing);
    }

    #[test]
    fn deletion_before_the_creation_it_belongs_to_stops_it() {
        let mut copies = Copies::default();
        copies.take_in(gone(0, 200), None);
        assert_eq!(copies.step(), Step::Nothing);
        assert_eq!(copies.take_in(live(0, 3, 150, "late"), None), News::Older);
        assert_eq!(copies.step(), Step::Nothing);
        assert_eq!(copies.take_in(live(0, 4, 201, "restored"), None), News::Newer);
        assert_eq!(copies.step(), Step::Write(key(0)));
    }

    #[test]
    fn one_version_with_two_contents_is_a_conflict_that_what_nylas_holds_settles() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 2, 100, "a"), None);
        assert_eq!(copies.take_in(live(0, 2, 100, "a"), None), News::Known);
        assert_eq!(copies.take_in(live(0, 2, 100, "b"), None), News::Conflicting);
        copies.take_in_as_held(live(0, 2, 90, "b"));
        let version = Version { sequence: 2, changed_at: 100 * APART };
        let expected = CopyState::Live { version, content: Some("b".to_owned()), of_the_organizer: true };
        assert_eq!(copies.get(&key(0)).map(|copy| &copy.state), Some(&expected), "never back to an older version");
    }

    #[test]
    fn occurrence_changed_or_removed_by_itself_is_no_longer_what_the_rule_says() {
        let by_rule = |changed_at: i64| {
            let copy = live(0, 1, changed_at, "by the rule");
            Copy { key: CopyKey { by_rule: true, ..copy.key.clone() }, ..copy }
        };
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [0, 2, 1]] {
            let news = [by_rule(100), live(0, 1, 200, "moved"), by_rule(300)];
            let mut copies = Copies::default();
            for place in order {
                copies.take_in(news[place].clone(), None);
            }
            assert_eq!(copies.step(), Step::Write(key(0)), "{order:?}");
            copies.take_in(gone(0, 400), None);
            assert_eq!(copies.winner(), None, "the rule does not bring it back");
        }
        let mut elsewhere = Copies::default();
        elsewhere.take_in(by_rule(100), None);
        elsewhere.take_in(gone(1, 400), None);
        assert!(elsewhere.winner().is_some(), "another calendar's removal says nothing of this one");
    }

    #[test]
    fn write_whose_end_was_not_seen_is_done_again() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "a"), None);
        copies.begin(&key(0));
        copies.wrote("a");
        copies.unsure();
        assert_eq!(copies.step(), Step::Write(key(0)));
    }

    fn in_calendar(copy: Copy, calendar: &str) -> Copy {
        Copy { calendars: BTreeSet::from([calendar.to_owned()]), ..copy }
    }

    #[test]
    fn removal_from_one_calendar_of_an_account_leaves_the_copy_in_another() {
        let mut copies = Copies::default();
        for calendar in ["own", "colleague's"] {
            copies.take_in(in_calendar(live(0, 1, 100, "a"), calendar), None);
        }
        assert_eq!(copies.take_in(in_calendar(gone(0, 200), "colleague's"), None), News::Newer);
        assert!(copies.winner().is_some(), "it is still in one's own");
        assert_eq!(copies.take_in(gone(0, 200), None), News::Newer, "one calendar is left, so it needs no name");
        assert_eq!(copies.winner(), None);
    }

    #[test]
    fn main_calendar_may_be_the_same_under_its_name_and_its_id_so_its_calendar_is_asked() {
        for (known, removed) in [("primary", "a@x.example"), ("a@x.example", "primary")] {
            let mut copies = Copies::default();
            copies.take_in(in_calendar(live(0, 1, 100, "a"), known), None);
            let removal = in_calendar(gone(0, 200), removed);
            assert_eq!(copies.take_in(removal, None), News::Conflicting, "{known} {removed}");
        }
    }

    #[test]
    fn event_that_was_moved_to_another_calendar_stays_whichever_is_told_first() {
        let (deleted, created) = (in_calendar(gone(0, 200), "a"), in_calendar(live(0, 1, 190, "moved"), "b"));
        for order in [[&deleted, &created], [&created, &deleted]] {
            let mut copies = Copies::default();
            copies.take_in(in_calendar(live(0, 1, 100, "first"), "a"), None);
            for news in order {
                if copies.take_in(news.clone(), None) == News::Conflicting {
                    copies.take_in_as_held(created.clone());
                }
            }
            assert_eq!(copies.winner().and_then(Copy::content), Some("moved"), "{order:?}");
        }
    }

    #[test]
    fn event_that_was_deleted_from_both_calendars_is_brought_back_by_no_late_news_of_the_first() {
        let mut copies = Copies::default();
        for calendar in ["a", "b"] {
            copies.take_in(in_calendar(live(0, 1, 100, "first"), calendar), None);
        }
        for calendar in ["a", "b"] {
            copies.take_in(in_calendar(gone(0, 200), calendar), None);
        }
        assert_eq!(copies.winner(), None);
        let late = in_calendar(live(0, 1, 150, "late"), "a");
        assert_ne!(copies.take_in(late, None), News::Newer, "at most its calendar is asked");
    }

    #[test]
    fn lost_copy_that_was_never_written_is_not_asked_for_again_and_again() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "a"), None);
        copies.lose("g0");
        assert_eq!(copies.step(), Step::Nothing);
    }

    #[test]
    fn removal_that_was_seen_counts_however_close_the_last_change_is() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "a"), None);
        let now = 100 * APART + 10;
        let removal = Copy { state: CopyState::Gone { at: now }, ..gone(0, 0) };
        assert_eq!(copies.take_in(removal, Some(now)), News::Newer);
    }

    #[test]
    fn deletion_and_change_that_lie_close_together_are_settled_by_asking() {
        let close = |at: i64| Copy { state: CopyState::Gone { at }, ..gone(0, 0) };
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "a"), None);
        for at in [100 * APART - 200, 100 * APART, 100 * APART + 200] {
            assert_eq!(copies.take_in(close(at), None), News::Conflicting, "{at}");
        }
        copies.take_in_as_held(close(100 * APART));
        assert_eq!(copies.take_in(live(0, 1, 100, "a"), None), News::Conflicting, "nor the other way round");
        let seen = 100 * APART + 10;
        assert_eq!(copies.take_in(live(0, 1, 100, "a"), Some(seen)), News::Newer, "it was seen after its deletion");
    }

    #[test]
    fn private_copy_keeps_every_other_from_telling_more() {
        let mut copies = Copies::default();
        copies.take_in(live(1, 1, 100, "attendee's"), None);
        let private = |content: Option<&str>| {
            let Copy { state, .. } = live(0, 1, 100, content.unwrap_or_default());
            let CopyState::Live { version, of_the_organizer, .. } = state else { panic!("live") };
            let state = CopyState::Live { version, content: content.map(str::to_owned), of_the_organizer };
            Copy { state, private: true, ..live(0, 1, 100, "") }
        };
        copies.take_in_as_held(private(None));
        assert_eq!(copies.winner(), None, "where private meetings are not written at all");
        copies.take_in_as_held(private(Some("a private meeting")));
        assert_eq!(copies.winner().and_then(Copy::content), Some("a private meeting"));
    }

    #[test]
    fn copy_of_a_lost_account_gives_way_to_any_other_and_is_removed_by_none() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "organizer's"), None);
        copies.begin(&key(0));
        copies.wrote("organizer's");
        copies.lose("g0");
        assert_eq!(copies.step(), Step::Nothing);
        copies.take_in(live(1, 1, 50, "attendee's"), None);
        assert_eq!(copies.step(), Step::Write(key(1)));
        copies.wrote("attendee's");
        copies.take_in(gone(1, 200), None);
        assert_eq!(copies.step(), Step::Nothing, "what is there is the best that is known");
        copies.take_in(live(0, 1, 300, "back"), None);
        assert_eq!(copies.step(), Step::Write(key(0)));
    }

    #[test]
    fn copies_survive_their_record() {
        let mut copies = Copies::default();
        copies.take_in(live(0, 1, 100, "a"), None);
        copies.take_in(gone(1, 200), None);
        copies.begin(&key(0));
        copies.wrote("a");
        let text = serde_json::to_string(&copies).expect("serialises");
        assert_eq!(serde_json::from_str::<Copies>(&text).expect("reads"), copies);
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_of_any_history_ends_as_the_true_order(
            history in prop::collection::vec((0_usize..3, prop::bool::weighted(0.3)), 1..9),
            shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let history: Vec<(usize, Happening)> =
                history.into_iter().map(|(number, removed)| (number, if removed { Removed } else { Changed })).collect();
            let news = notifications(&history);
            let mut disordered: Vec<Copy> = shuffle.iter().map(|index| index.get(&news).clone()).collect();
            disordered.extend(news.iter().rev().cloned());
            prop_assert_eq!(run(&disordered), run(&news));
        }
    }
}

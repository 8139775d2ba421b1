//! A person that the CRM knows: what each address book says of her, which of them counts, and what may be written. Pure.
//!
//! **Whose word counts**, field by field: the copy whose value changed last; of copies that nobody was seen to change the
//! one that says most; of those the first in the order of account and contact. Whatever the order in which copies are
//! looked at, this ends in the same value. A copy that nobody has seen for a month counts no more.
//!
//! **What may be written**: a value goes over an empty field, or over the value that was written last. A value that
//! somebody else put there is theirs and stays. One that stood there before and that an address book says as well gives
//! way to a value that was seen to change, and to no other.

use serde::{Deserialize, Serialize};
use shared::crm::contact_fields::{ContactField, Current, PerField};
use std::cmp::Reverse;

use crate::address_book::{Copy, CopyId};
use crate::phone::{self, PhoneRegion};

/// For how long a copy counts that is not seen again, in seconds: 35 days. A contact that is still there is looked up at
/// least every 30.
const COUNTS_FOR: i64 = 35 * 24 * 60 * 60;

/// The most copies that are kept of a person. Of more those that say least, and come last, are left out.
const MOST_COPIES: usize = 100;

/// What is known of a person. Kept under her id in the CRM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// What each address book says.
    #[serde(default)]
    pub copies: Vec<Said>,
    /// What was written last, or was found there after that.
    #[serde(default)]
    pub written: PerField<Option<String>>,
    /// What stood in the CRM before anything was written, and an address book says as well.
    #[serde(default)]
    pub agreed: PerField<Option<String>>,
    /// When that was, in Unix seconds.
    #[serde(default)]
    pub written_at: i64,
    /// Whose word counts, and by which rule.
    #[serde(default)]
    pub decided: PerField<Option<Decided>>,
    /// The last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writing: Option<Writing>,
}

/// One address book's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The account.
    pub grant: String,
    /// The contact within it.
    pub contact: String,
    /// When it was last seen, in Unix seconds.
    pub seen_at: i64,
    /// When each field was seen to change, in Unix seconds; 0 if it never was.
    pub changed_at: PerField<i64>,
    /// What it says.
    pub says: PerField<Option<String>>,
}

/// Whose word counts for a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The account.
    pub grant: String,
    /// The contact within it.
    pub contact: String,
    /// By which rule.
    pub rule: Rule,
}

impl Decided {
    /// True if it is the word of this contact of this account.
    #[must_use]
    pub fn is_of(&self, grant: &str, contact: &str) -> bool {
        (self.grant.as_str(), self.contact.as_str()) == (grant, contact)
    }
}

/// A rule by which one copy's word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// No other copy says anything of the field.
    #[serde(rename = "the only one")]
    Only,
    /// It was seen to change after the others.
    #[serde(rename = "changed last")]
    ChangedLast,
    /// It says more than the others.
    #[serde(rename = "says most")]
    SaysMost,
    /// It comes first in the order of account and contact.
    #[serde(rename = "first in order")]
    FirstInOrder,
}

/// A write that was announced, and may never have ended: its values may stand in the CRM then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writing {
    /// What is written.
    pub values: PerField<Option<String>>,
    /// Until when nobody else writes, in Unix seconds.
    pub until: i64,
    /// Who writes.
    pub by: String,
    /// True once it has.
    #[serde(default)]
    pub ended: bool,
}

impl Writing {
    fn is_open(&self) -> bool {
        !self.ended
    }
}

/// What is to become of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// No copy says anything of it, or what it says was written before.
    Nothing,
    /// A copy says something of it, and the CRM has no such field.
    NotOffered,
    /// What counts stands there already.
    InPlace(String),
    /// It is written.
    Write {
        /// What.
        value: String,
        /// What stands there; none if it is empty, or not told.
        over: Option<String>,
        /// True if that was written before.
        is_ours: bool,
    },
    /// What stands there is somebody's own and stays.
    Kept {
        /// What stands there; none if somebody emptied it.
        stands: Option<String>,
        /// What would have been written.
        proposed: String,
        /// Why it is somebody's own.
        why: Why,
    },
}

/// Why a value is somebody's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It was changed since the last write.
    Changed,
    /// It stood there before anything was written.
    StoodBefore,
}

impl Why {
    /// The reason in words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Changed => "kept: somebody changed it in the CRM",
            Self::StoodBefore => "kept: it stood in the CRM before",
        }
    }
}

impl Person {
    /// Takes a copy in that is seen now. What it says otherwise than before counts as changed at `changed_at`.
    pub fn take_in(&mut self, copy: &Copy, changed_at: i64, now: i64) {
        let CopyId { grant, contact } = copy.id.clone();
        let is_it = |said: &Said| (&said.grant, &said.contact) == (&copy.id.grant, &copy.id.contact);
        let before = self.copies.iter().position(is_it).map(|place| self.copies.remove(place));
        let changed_at = PerField::of(|field| match &before {
            Some(before) if before.says.get(field) == copy.says.get(field) => *before.changed_at.get(field),
            _ => changed_at,
        });
        self.copies.retain(|said| now - said.seen_at < COUNTS_FOR);
        self.copies.push(Said { grant, contact, seen_at: now, changed_at, says: copy.says.clone() });
        self.copies.sort_by(|one, other| one.order().cmp(&other.order()));
        if self.copies.len() > MOST_COPIES {
            // The one at hand is kept, or it would be taken in anew every time.
            let least = self.copies.iter().rposition(|said| !is_it(said));
            least.map(|least| self.copies.remove(least));
        }
        self.decided = PerField::of(|field| self.decide(field).map(|(_, decided)| decided));
    }

    /// True if somebody else is writing.
    #[must_use]
    pub fn is_written_by_another(&self, by: &str, now: i64) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.is_open() && writing.by != by && writing.until > now)
    }

    /// Whose word counts for a field, and what it is; none if no copy says anything of it.
    fn decide(&self, field: ContactField) -> Option<(&str, Decided)> {
        let mut saying: Vec<(&Said, &str)> =
            self.copies.iter().filter_map(|said| Some((said, said.says.get(field).as_deref()?))).collect();
        // Copies stand in the order of what they say; among those the one that changed last comes first.
        saying.sort_by_key(|(said, _)| Reverse(*said.changed_at.get(field)));
        let mut saying = saying.into_iter();
        let (first, value) = saying.next()?;
        let rule = match saying.next() {
            None => Rule::Only,
            Some((second, _)) if first.changed_at.get(field) > second.changed_at.get(field) => Rule::ChangedLast,
            Some((second, _)) if first.fields() > second.fields() => Rule::SaysMost,
            Some(_) => Rule::FirstInOrder,
        };
        Some((value, Decided { grant: first.grant.clone(), contact: first.contact.clone(), rule }))
    }

    /// What is to become of each field, given what the CRM holds. `replace_existing` allows to replace what stood there
    /// before anything was written.
    #[must_use]
    pub fn plan(&self, current: &PerField<Current>, replace_existing: bool, region: PhoneRegion) -> PerField<Plan> {
        PerField::of(|field| {
            let Some((proposed, decided)) = self.decide(field) else { return Plan::Nothing };
            let same = |one: &str, other: &str| same(field, one, other, region);
            let last = self.written.get(field).as_deref();
            let under_way = self.writing.as_ref().filter(|writing| writing.is_open());
            let under_way = under_way.and_then(|writing| writing.values.get(field).as_deref());
            let is_ours = |standing: &str| [last, under_way].into_iter().flatten().any(|ours| same(ours, standing));
            let has_changed = self
                .copies
                .iter()
                .any(|said| decided.is_of(&said.grant, &said.contact) && *said.changed_at.get(field) > 0);
            let said = self.copies.iter().map(|said| said.says.get(field)).chain([self.agreed.get(field)]);
            let said: Vec<&str> = said.filter_map(Option::as_deref).collect();
            let gives_way = |standing: &str| has_changed && said.iter().any(|said| same(said, standing));
            let value = proposed.to_owned();
            match current.get(field) {
                Current::Untold if last.is_some_and(|last| same(last, proposed)) && under_way.is_none() => {
                    Plan::Nothing
                }
                Current::Value(standing) if same(standing, proposed) => Plan::InPlace(value),
                Current::NoSuchField => Plan::NotOffered,
                Current::Value(standing) if is_ours(standing) => {
                    Plan::Write { value, over: Some(standing.clone()), is_ours: true }
                }
                Current::Value(standing) if last.is_none() && (replace_existing || gives_way(standing)) => {
                    Plan::Write { value, over: Some(standing.clone()), is_ours: false }
                }
                Current::Value(standing) => {
                    let why = if last.is_some() { Why::Changed } else { Why::StoodBefore };
                    Plan::Kept { stands: Some(standing.clone()), proposed: value, why }
                }
                // Emptied by somebody: that is an edit, too.
                Current::Empty if last.is_some() || self.agreed.get(field).is_some() => {
                    Plan::Kept { stands: None, proposed: value, why: Why::Changed }
                }
                Current::Untold | Current::Empty => Plan::Write { value, over: None, is_ours: false },
            }
        })
    }
}

impl Said {
    fn fields(&self) -> usize {
        self.says.iter().filter(|(_, value)| value.is_some()).count()
    }

    /// Of copies that nobody was seen to change the one whose word counts comes first.
    fn order(&self) -> impl Ord + '_ {
        (Reverse(self.fields()), &self.grant, &self.contact)
    }
}

/// True if two values of a field say the same.
fn same(field: ContactField, one: &str, other: &str, region: PhoneRegion) -> bool {
    match field {
        ContactField::Phone => phone::same(one, other, region),
        ContactField::JobTitle | ContactField::Company => one.split_whitespace().eq(other.split_whitespace()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use shared::domain::address::EmailAddress;

    const NOWHERE: fn() -> PhoneRegion = PhoneRegion::default;

    fn copy(grant: &str, phone: Option<&str>, job_title: Option<&str>) -> Copy {
        Copy {
            id: CopyId { grant: grant.to_owned(), contact: "c".to_owned() },
            addresses: EmailAddress::parse("dana@acme.example").into_iter().collect(),
            says: PerField { phone: phone.map(str::to_owned), job_title: job_title.map(str::to_owned), company: None },
            content: "digest".to_owned(),
        }
    }

    fn of(copies: &[(Copy, i64)]) -> Person {
        let mut person = Person::default();
        for (copy, changed_at) in copies {
            person.take_in(copy, *changed_at, 1000);
        }
        person
    }

    fn phone_of(person: &Person) -> (Option<String>, Option<Rule>) {
        let decided = person.decide(ContactField::Phone);
        (decided.as_ref().map(|(value, _)| (*value).to_owned()), decided.map(|(_, decided)| decided.rule))
    }

    fn holding(phone: Current) -> PerField<Current> {
        PerField { phone, job_title: Current::Empty, company: Current::Empty }
    }

    fn value(text: &str) -> Current {
        Current::Value(text.to_owned())
    }

    #[test]
    fn copy_that_changed_last_counts_then_the_one_that_says_most_then_the_first_in_order() {
        let (a, b) = (copy("a", Some("+12025550100"), None), copy("b", Some("+12025550111"), None));
        let full = copy("b", Some("+12025550111"), Some("Buyer"));
        let said = |person: Person| (phone_of(&person).0.expect("a phone"), phone_of(&person).1.expect("a rule"));
        assert_eq!(said(of(&[(a.clone(), 0)])), ("+12025550100".to_owned(), Rule::Only));
        assert_eq!(said(of(&[(a.clone(), 0), (b.clone(), 0)])), ("+12025550100".to_owned(), Rule::FirstInOrder));
        assert_eq!(said(of(&[(a.clone(), 0), (full, 0)])), ("+12025550111".to_owned(), Rule::SaysMost));
        assert_eq!(said(of(&[(a, 10), (b, 20)])), ("+12025550111".to_owned(), Rule::ChangedLast));
    }

    #[test]
    fn value_that_did_not_change_keeps_its_time_when_another_one_of_the_same_copy_changes() {
        let mut person = of(&[(copy("a", Some("+12025550100"), None), 0), (copy("b", Some("+12025550111"), None), 50)]);
        person.take_in(&copy("a", Some("+12025550100"), Some("Buyer")), 90, 1000);
        assert_eq!(phone_of(&person), (Some("+12025550111".to_owned()), Some(Rule::ChangedLast)));
        person.take_in(&copy("a", Some("+12025550122"), Some("Buyer")), 95, 1000);
        assert_eq!(phone_of(&person), (Some("+12025550122".to_owned()), Some(Rule::ChangedLast)));
    }

    #[test]
    fn copy_that_nobody_has_seen_for_35_days_counts_no_more() {
        let mut person = of(&[(copy("a", Some("+12025550100"), Some("Buyer")), 900)]);
        person.take_in(&copy("b", Some("+12025550111"), None), 0, 1000 + COUNTS_FOR - 1);
        assert_eq!(phone_of(&person).0.as_deref(), Some("+12025550100"));
        person.take_in(&copy("b", Some("+12025550111"), None), 0, 1000 + COUNTS_FOR);
        assert_eq!(phone_of(&person), (Some("+12025550111".to_owned()), Some(Rule::Only)));
    }

    #[test]
    fn field_that_the_crm_does_not_have_is_left_alone() {
        let person = of(&[(copy("a", Some("+12025550100"), Some("Buyer")), 0)]);
        let current = PerField { job_title: Current::NoSuchField, ..holding(Current::Empty) };
        assert_eq!(person.plan(&current, true, NOWHERE()).job_title, Plan::NotOffered);
    }

    #[test]
    fn each_field_is_decided_by_itself_and_the_decision_is_recorded() {
        let person =
            of(&[(copy("a", Some("+12025550100"), None), 50), (copy("b", Some("+12025550111"), Some("Buyer")), 0)]);
        let whose = |field| person.decided.get(field).as_ref().map(|decided| (decided.grant.as_str(), decided.rule));
        assert_eq!(whose(ContactField::Phone), Some(("a", Rule::ChangedLast)));
        assert_eq!(whose(ContactField::JobTitle), Some(("b", Rule::Only)));
        assert_eq!(whose(ContactField::Company), None);
    }

    #[test]
    fn empty_field_is_filled_and_nothing_is_ever_emptied() {
        let person = of(&[(copy("a", Some("+12025550100"), None), 0)]);
        let plan = person.plan(&holding(Current::Empty), false, NOWHERE());
        assert_eq!(plan.phone, Plan::Write { value: "+12025550100".to_owned(), over: None, is_ours: false });
        assert_eq!(plan.job_title, Plan::Nothing);
        let says_nothing = of(&[(copy("a", None, None), 0)]);
        assert_eq!(says_nothing.plan(&holding(value("+1")), true, NOWHERE()).phone, Plan::Nothing);
    }

    #[test]
    fn value_that_was_written_last_is_replaced_and_one_that_somebody_changed_or_emptied_is_kept() {
        let mut person = of(&[(copy("a", Some("+12025550199"), None), 0)]);
        person.written.phone = Some("+12025550100".to_owned());
        let plan = |current, replace| person.plan(&holding(current), replace, NOWHERE()).phone;
        let over = Some("(202) 555-0100".to_owned());
        let ours = plan(value("(202) 555-0100"), false);
        assert_eq!(ours, Plan::Write { value: "+12025550199".to_owned(), over, is_ours: true }, "as the CRM shows it");
        let kept = |stands: Option<&str>| Plan::Kept {
            stands: stands.map(str::to_owned),
            proposed: "+12025550199".to_owned(),
            why: Why::Changed,
        };
        for replace_existing in [false, true] {
            assert_eq!(plan(value("+12025550777"), replace_existing), kept(Some("+12025550777")));
            assert_eq!(plan(Current::Empty, replace_existing), kept(None));
        }
        assert_eq!(plan(value("+1 202 555 0199"), false), Plan::InPlace("+12025550199".to_owned()));
    }

    #[test]
    fn value_that_stood_before_is_kept_unless_it_may_be_replaced() {
        let person = of(&[(copy("a", Some("+12025550199"), None), 0)]);
        let plan = |replace| person.plan(&holding(value("+12025550777")), replace, NOWHERE()).phone;
        assert!(matches!(plan(false), Plan::Kept { why: Why::StoodBefore, .. }));
        assert!(matches!(plan(true), Plan::Write { .. }));
    }

    #[test]
    fn value_that_stood_before_and_that_a_copy_says_gives_way_to_what_changed_whichever_copy_came_first() {
        let (old, new) = (copy("b", Some("+12025550777"), None), copy("a", Some("+12025550199"), None));
        let plan = |copies: &[(Copy, i64)]| of(copies).plan(&holding(value("+12025550777")), false, NOWHERE()).phone;
        for (changed_at, is_written) in [(50, true), (0, false)] {
            for copies in [[(old.clone(), 0), (new.clone(), changed_at)], [(new.clone(), changed_at), (old.clone(), 0)]]
            {
                assert_eq!(matches!(plan(&copies), Plan::Write { .. }), is_written, "{:?}", plan(&copies));
            }
        }
        let mut moved_on = of(&[(copy("b", Some("+12025550199"), None), 50)]);
        moved_on.agreed.phone = Some("+12025550777".to_owned());
        let plan = |current| moved_on.plan(&holding(current), false, NOWHERE()).phone;
        assert!(matches!(plan(value("+12025550777")), Plan::Write { .. }), "they agreed before");
        assert!(matches!(plan(value("+12025550555")), Plan::Kept { .. }), "that is another one");
        assert!(matches!(plan(Current::Empty), Plan::Kept { .. }), "somebody emptied it");
    }

    #[test]
    fn write_that_never_ended_is_known_as_ones_own() {
        let mut person = of(&[(copy("a", Some("+12025550199"), None), 0)]);
        person.written.phone = Some("+12025550100".to_owned());
        let values = PerField { phone: Some("+12025550150".to_owned()), ..PerField::default() };
        person.writing = Some(Writing { values, until: 100, by: "one".to_owned(), ended: false });
        let plan = person.plan(&holding(value("+12025550150")), false, NOWHERE()).phone;
        assert!(matches!(plan, Plan::Write { .. }), "{plan:?}");
        assert!(person.is_written_by_another("other", 99));
        assert!(!person.is_written_by_another("one", 99) && !person.is_written_by_another("other", 100));
        person.writing.iter_mut().for_each(|writing| writing.ended = true);
        assert!(!person.is_written_by_another("other", 99));
    }

    #[test]
    fn crm_that_does_not_tell_gets_only_what_differs_from_the_last_write() {
        let mut person = of(&[(copy("a", Some("+12025550199"), None), 0)]);
        let plan = |person: &Person| person.plan(&holding(Current::Untold), false, NOWHERE()).phone;
        assert!(matches!(plan(&person), Plan::Write { .. }));
        person.written.phone = Some("+1 202 555 0199".to_owned());
        assert_eq!(plan(&person), Plan::Nothing);
        person.written.phone = Some("+12025550100".to_owned());
        assert!(matches!(plan(&person), Plan::Write { .. }));
    }

    #[test]
    fn copies_are_bounded_and_the_one_at_hand_stays() {
        let mut person = Person::default();
        for number in 0..=120_i64 {
            person.take_in(&copy(&format!("g{number:03}"), Some("+12025550100"), None), 0, 1000);
            assert!(person.copies.iter().any(|said| said.grant == format!("g{number:03}")));
        }
        assert_eq!(person.copies.len(), MOST_COPIES);
        assert_eq!(person.copies[0].grant, "g000", "what counts most stays");
    }

    proptest! {
        #[test]
        fn copies_in_any_order_end_in_the_same_decision(
            order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(), changed in proptest::collection::vec(0i64..3, 4),
        ) {
            let copies = [
                copy("a", Some("1"), None), copy("b", Some("2"), Some("Buyer")), copy("c", None, Some("Head")), copy("d", Some("4"), None),
            ];
            let straight = of(&[0, 1, 2, 3].map(|place: usize| (copies[place].clone(), changed[place])));
            let shuffled: Vec<(Copy, i64)> = order.iter().map(|place| (copies[*place].clone(), changed[*place])).collect();
            prop_assert_eq!(of(&shuffled), straight);
        }

        #[test]
        fn value_of_somebody_else_is_never_planned_away(
            last in proptest::option::of(0u8..4), standing in 0u8..4, proposed in 0u8..4,
        ) {
            let number = |digit: u8| format!("+1202555010{digit}");
            let mut person = of(&[(copy("a", Some(&number(proposed)), None), 0)]);
            person.written.phone = last.map(number);
            let plan = person.plan(&holding(value(&number(standing))), false, NOWHERE()).phone;
            if last != Some(standing) && proposed != standing {
                prop_assert!(matches!(plan, Plan::Kept { .. }), "{:?}", plan);
            }
        }
    }
}

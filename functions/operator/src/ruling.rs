//! What rules say of a mail, beside what was decided of it and beside what other rules say: pure, and never a word of the
//! mail.

use serde::{Deserialize, Serialize};
use shared::domain::decision::{Decision, Outcome};
use shared::domain::mail_class::MailClass;
use shared::triage::rules::Rules;
use shared::triage::said::Said;
use shared::triage::{Category, Priority};
use std::collections::BTreeMap;

/// What rules say of a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Ruling {
    /// It is a ticket's.
    Ticket {
        /// What it is about.
        category: Category,
        /// How urgent it is, before anything is known of the sender.
        priority: Priority,
        /// Whose it is.
        desk: String,
        /// True if people are told at once.
        alert: bool,
        /// The rule that gave most to it; none if no rule fits.
        rule: Option<String>,
        /// The phrases that were found, as the rules file has them.
        phrases: Vec<String>,
    },
    /// No rule that fits opens a ticket for mail of this class.
    Skipped {
        /// Why.
        reason: String,
    },
}

impl Ruling {
    /// What rules say of a mail of a class.
    #[must_use]
    pub fn of(rules: &Rules, said: &Said, class: MailClass) -> Self {
        let judged = said.judged_by(rules);
        if needs_a_rule(class) && !judged.opens_for.contains(&class) {
            return Self::Skipped { reason: format!("{class}, and no rule opens a ticket for it") };
        }
        let mut phrases: Vec<String> = Vec::new();
        for found in judged.found {
            if !phrases.contains(&found.phrase) {
                phrases.push(found.phrase);
            }
        }
        Self::Ticket {
            category: judged.category,
            priority: judged.priority,
            desk: judged.desk,
            alert: judged.alert,
            rule: judged.rule,
            phrases,
        }
    }

    /// True if the same follows from both, whichever rules and phrases led there.
    #[must_use]
    pub fn comes_to_the_same_as(&self, other: &Self) -> bool {
        let essence = |ruling: &Self| match ruling {
            Self::Ticket { category, priority, desk, alert, .. } => Some((*category, *priority, desk.clone(), *alert)),
            Self::Skipped { .. } => None,
        };
        essence(self) == essence(other)
    }

    /// The category, or that it is skipped.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Ticket { category, .. } => category.as_str(),
            Self::Skipped { .. } => "skipped",
        }
    }

    /// The ruling for people, on some lines.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Skipped { reason } => format!("skipped: {reason}"),
            Self::Ticket { category, priority, desk, alert, rule, phrases } => {
                let told = if *alert { "\npeople are told at once" } else { "" };
                let by = match rule {
                    None => "no rule fits".to_owned(),
                    Some(rule) if phrases.is_empty() => format!("{rule}: by its sender"),
                    Some(rule) => format!("{rule}: {}", phrases.join(", ")),
                };
                format!("{category}, {priority}, {desk}{told}\n{by}")
            }
        }
    }
}

/// True for the classes of automatic mail that a rule may open tickets for, and that are skipped without one.
fn needs_a_rule(class: MailClass) -> bool {
    matches!(class, MailClass::List | MailClass::Notification)
}

/// What was decided of a mail when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// How it ended; none if nothing is known of that.
    pub outcome: Option<Outcome>,
    /// Why, in ticket-triage's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// How urgent it was, all told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// How urgent it was before anything was known of the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_by_rules: Option<String>,
}

impl Decided {
    fn by(decision: Option<&Decision>) -> Self {
        let fact = |name: &str| decision.and_then(|decision| decision.facts.get(name)?.as_str().map(str::to_owned));
        Self {
            outcome: decision.map(|decision| decision.outcome),
            reason: decision.map(|decision| decision.reason.clone()),
            category: fact("category"),
            priority: fact("priority"),
            priority_by_rules: fact("priority_by_rules"),
        }
    }

    /// The decision for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        match (self.outcome, &self.category, &self.priority) {
            (None, _, _) => "not decided".to_owned(),
            (Some(Outcome::Logged), Some(category), Some(priority)) => match &self.priority_by_rules {
                Some(by_rules) if by_rules != priority => format!("{category}, {priority} (raised from {by_rules})"),
                _ => format!("{category}, {priority}"),
            },
            (Some(outcome), _, _) => format!("{outcome}: {}", self.reason.as_deref().unwrap_or_default()),
        }
    }
}

/// What the decision on a mail says of whether rules matter to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matters {
    /// They do: it is of this class.
    To(MailClass),
    /// They do not: it is left alone whatever they say.
    No,
    /// That is not known, because nothing was decided that lasts.
    Open,
}

/// What was decided of a mail by decisions on it, the oldest first, and whether rules matter to it.
#[must_use]
pub fn decided(decisions: &[Decision]) -> (Decided, Matters) {
    // What follows a lasting decision only repeats it.
    let decision = decisions.iter().find(|decision| !decision.passing).or(decisions.last());
    let class = || {
        let class = decision?.facts.get("class")?.as_str()?;
        MailClass::ALL.into_iter().find(|one| one.as_str() == class)
    };
    let matters = match decision {
        Some(decision) if decision.passing => Matters::Open,
        Some(decision) => match (decision.outcome, class()) {
            (Outcome::Logged, class) => Matters::To(class.unwrap_or(MailClass::Human)),
            (Outcome::Skipped, Some(class)) if needs_a_rule(class) => Matters::To(class),
            (Outcome::Skipped | Outcome::Merged, _) => Matters::No,
            (Outcome::Held | Outcome::Done | Outcome::Failed, _) => Matters::Open,
        },
        None => Matters::Open,
    };
    (Decided::by(decision), matters)
}

/// A mail of which the proposed rules say something else than the live ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its mailbox.
    pub grant_id: String,
    /// Its id there.
    pub message_id: String,
    /// When it was received.
    pub received_at: String,
    /// What was decided of it.
    pub then: Decided,
    /// What the live rules say of it.
    pub live: Ruling,
    /// What the proposed ones say.
    pub proposed: Ruling,
}

/// How many mails came to what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counts {
    /// All of them.
    pub looked_at: u64,
    /// Those that come to the same.
    pub same: u64,
    /// Those that do not.
    pub different: u64,
    /// Those that no rule matters to: what the team sent, machines, copies, drafts.
    pub left_alone: u64,
    /// Those that are no longer at Nylas.
    pub gone: u64,
    /// Those that Nylas did not hand over.
    pub unreadable: u64,
    /// Those that differ, by what they were and what they become.
    pub changes: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts a mail that was judged; true if its rulings differ.
    pub fn take_in(&mut self, live: &Ruling, proposed: &Ruling) -> bool {
        if proposed.comes_to_the_same_as(live) {
            self.same += 1;
            return false;
        }
        self.different += 1;
        let (from, to) = (live.label(), proposed.label());
        let beside = if from == to { " (priority, desk or alert)" } else { "" };
        *self.changes.entry(format!("{from} → {to}{beside}")).or_default() += 1;
        true
    }
}

/// Where a trial of rules goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The mailbox.
    pub grant_id: String,
    /// How many of its mails are done, the newest first.
    pub done: usize,
    /// Until when mail is looked at, in Unix seconds.
    pub until: i64,
    /// What the mails before it came to.
    pub counts: Counts,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::domain::address::EmailAddress;
    use shared::nylas::message::Message;

    const RULES: &str = r#"
        [[rules]]
        name = "outage"
        category = "incidents"
        words = ["is down"]
        opens_for = ["notification"]

        [[rules]]
        name = "broken"
        category = "bugs"
        words = ["crash"]
    "#;

    fn said(subject: &str) -> Said {
        let mail = Message { subject: Some(subject.to_owned()), ..Message::with_id("m") };
        Said::by(&mail, &EmailAddress::parse("dana@acme.example").expect("an address"))
    }

    fn ruling(subject: &str, class: MailClass) -> Ruling {
        Ruling::of(&Rules::read(RULES).expect("rules"), &said(subject), class)
    }

    #[test]
    fn ruling_names_the_rule_and_its_phrases_and_never_the_mail() {
        let outage = ruling("Re: CANARY The API is down, is down!", MailClass::Human);
        assert_eq!(
            serde_json::to_value(&outage).expect("JSON"),
            json!({
                "outcome": "ticket", "category": "incidents", "priority": "high", "desk": "on-call", "alert": true,
                "rule": "outage", "phrases": ["is down"],
            })
        );
        assert_eq!(outage.in_words(), "incidents, high, on-call\npeople are told at once\noutage: is down");
        assert_eq!(ruling("Hello", MailClass::Human).in_words(), "general, low, support\nno rule fits");
    }

    #[test]
    fn automatic_mail_is_taken_where_a_rule_that_fits_opens_tickets_for_its_class() {
        assert_eq!(ruling("The API is down", MailClass::Notification).label(), "incidents");
        assert_eq!(ruling("The API is down", MailClass::List).label(), "skipped");
        let skipped = ruling("It crashes", MailClass::Notification);
        assert_eq!(skipped.in_words(), "skipped: notification, and no rule opens a ticket for it");
        let mut counts = Counts::default();
        assert!(counts.take_in(&skipped, &ruling("The API is down", MailClass::Notification)));
        assert_eq!(counts.changes, BTreeMap::from([("skipped → incidents".to_owned(), 1)]));
    }

    #[test]
    fn rulings_differ_by_what_follows_and_not_by_what_led_there() {
        let other = Rules::read(&RULES.replace("is down", "api").replace("outage", "api")).expect("rules");
        let mail = said("The API is down");
        let live = Ruling::of(&Rules::read(RULES).expect("rules"), &mail, MailClass::Human);
        assert!(Ruling::of(&other, &mail, MailClass::Human).comes_to_the_same_as(&live));
        let urgent = RULES.replace("category = \"bugs\"", "category = \"bugs\"\npriority = \"high\"");
        let mail = said("It crashes");
        let live = Ruling::of(&Rules::read(RULES).expect("rules"), &mail, MailClass::Human);
        let proposed = Ruling::of(&Rules::read(&urgent).expect("rules"), &mail, MailClass::Human);
        let mut counts = Counts::default();
        assert!(counts.take_in(&live, &proposed) && !counts.take_in(&live, &live));
        assert_eq!((counts.same, counts.different), (1, 1));
        assert_eq!(counts.changes, BTreeMap::from([("bugs → bugs (priority, desk or alert)".to_owned(), 1)]));
    }

    #[test]
    fn decision_tells_whether_rules_matter_to_a_mail() {
        let logged = || {
            let logged = Decision::logged("a new ticket", "T-1").with("class", "human").with("category", "bugs");
            logged.with("priority", "high").with("priority_by_rules", "medium")
        };
        let skipped = |reason: &str| Decision::skipped(reason);
        let notification = skipped("automatic mail: notification").with("class", "notification");
        let off = Decision::off("TicketBaseUrl");
        for (decisions, words, matters) in [
            (vec![], "not decided", Matters::Open),
            (vec![logged()], "bugs, high (raised from medium)", Matters::To(MailClass::Human)),
            (vec![notification], "skipped: automatic mail: notification", Matters::To(MailClass::Notification)),
            (vec![skipped("sent")], "skipped: sent", Matters::No),
            (
                vec![skipped("automatic mail: bounce").with("class", "bounce")],
                "skipped: automatic mail: bounce",
                Matters::No,
            ),
            (vec![Decision::merged("another mailbox's copy", "T-1")], "merged: another mailbox's copy", Matters::No),
            (vec![off.clone()], "skipped: off (TicketBaseUrl)", Matters::Open),
            (
                vec![off, logged(), Decision::merged("notified again", "T-1")],
                "bugs, high (raised from medium)",
                Matters::To(MailClass::Human),
            ),
        ] {
            let (then, found) = decided(&decisions);
            assert_eq!((then.in_words().as_str(), found), (words, matters), "{decisions:?}");
        }
        let shown = serde_json::to_value(decided(&[]).0).expect("JSON");
        assert_eq!(shown, json!({ "outcome": null }));
    }
}

//! A file of triage rules that is to be tried on the mail of the last days before it goes live.

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::domain::notification::GrantId;
use shared::triage::rules::Rules;
use std::fmt;
use std::sync::Arc;

use crate::command::{BadCommand, fields_of};
use crate::ruling::Place;

/// How many days' mail is looked at where that is not said.
const DEFAULT_DAYS: i64 = 7;

/// The most days whose mail is looked at: so long is it known what was decided.
pub const MOST_DAYS: i64 = 35;

const DAY: i64 = 24 * 60 * 60;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriageRules {
    /// The rules.
    pub proposed: ProposedRules,
    /// The mailboxes; empty for those that `SupportGrantIds` names.
    pub grants: Vec<GrantId>,
    /// How many days' mail is looked at.
    pub days: i64,
    /// Until when, in Unix seconds.
    pub until: i64,
    /// Where to go on; none for the beginning.
    pub place: Option<Place>,
}

/// A file of rules that can be used.
#[derive(Clone)]
pub struct ProposedRules {
    text: String,
    rules: Arc<Rules>,
}

impl ProposedRules {
    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl PartialEq for ProposedRules {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ProposedRules {}

impl fmt::Debug for ProposedRules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProposedRules").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    rules: Option<String>,
    grant_ids: Option<Vec<String>>,
    days: Option<i64>,
    place: Option<Place>,
}

impl TriageRules {
    /// Reads the fields of an event that came at a time in Unix seconds.
    ///
    /// # Errors
    /// If they are no such request, or the rules cannot be used; then with everything that is wrong with them.
    pub fn read(fields: Map<String, Value>, now: i64) -> Result<Self, BadCommand> {
        let fields: Fields = fields_of(fields)?;
        let reason = "it is the whole text of a file of rules, such as settings/triage-rules.toml";
        let text = fields.rules.ok_or(BadCommand::Missing { field: "rules", reason })?;
        if text.trim().is_empty() {
            return Err(BadCommand::Empty("rules"));
        }
        let rules = Rules::read(&text).map_err(BadCommand::TriageRules)?;
        let grants = match fields.grant_ids {
            None => Vec::new(),
            Some(grants) if grants.is_empty() => return Err(BadCommand::Empty("grant_ids")),
            Some(grants) => {
                let read = |grant: String| GrantId::parse(grant.trim()).ok_or(BadCommand::Empty("grant_ids"));
                grants.into_iter().map(read).collect::<Result<_, _>>()?
            }
        };
        let days = fields.days.unwrap_or(DEFAULT_DAYS);
        if !(1..=MOST_DAYS).contains(&days) {
            return Err(BadCommand::DaysOfMail(days));
        }
        Ok(Self {
            proposed: ProposedRules { text, rules: Arc::new(rules) },
            grants,
            days,
            until: fields.place.as_ref().map_or(now, |place| place.until),
            place: fields.place,
        })
    }

    /// From when, in Unix seconds.
    #[must_use]
    pub fn from(&self) -> i64 {
        self.until.saturating_sub(self.days * DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: &str = "[[rules]]\nname = \"outage\"\ncategory = \"incidents\"\nwords = [\"is down\"]\n";

    fn read(event: &Value) -> Result<TriageRules, String> {
        TriageRules::read(event.as_object().expect("an object").clone(), 1_772_359_200)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn mail_of_seven_days_is_looked_at_unless_it_is_told_otherwise_and_of_35_at_most() {
        let asked = read(&json!({ "rules": RULES })).expect("a request");
        assert_eq!((asked.days, asked.until, asked.from()), (7, 1_772_359_200, 1_772_359_200 - 7 * DAY));
        assert_eq!((asked.proposed.rules().len(), asked.grants.len(), asked.place), (1, 0, None));
        assert_eq!(read(&json!({ "rules": RULES, "days": 35 })).map(|asked| asked.days), Ok(35));
        for days in [0, -1, 36, i64::MAX] {
            let problem = read(&json!({ "rules": RULES, "days": days })).expect_err("refused");
            assert!(problem.contains(&format!("`days` is {days}: it must be from 1 to 35")), "{problem}");
        }
    }

    #[test]
    fn place_brings_the_time_until_which_mail_was_looked_at_from_the_first() {
        let place = json!({ "grant_id": "g", "done": 120, "until": 1_772_000_000, "counts": { "looked_at": 120 } });
        let asked = read(&json!({ "rules": RULES, "days": 1, "place": place })).expect("a request");
        assert_eq!((asked.until, asked.from()), (1_772_000_000, 1_772_000_000 - DAY));
        assert_eq!(asked.place.map(|place| (place.done, place.counts.looked_at)), Some((120, 120)));
    }

    #[test]
    fn everything_that_is_wrong_with_the_rules_is_told_with_its_line_and_its_field() {
        let bad = "[[rules]]\nname = \"outage\"\ncategory = \"incident\"\nwords = [\"is down\"]\nweight = 0\n";
        let problem = read(&json!({ "rules": bad })).expect_err("refused");
        let lines: Vec<&str> = problem.lines().collect();
        assert_eq!(lines.len(), 3, "{problem}");
        assert!(lines[0].starts_with("`rules` cannot be used"), "{problem}");
        let (mut category, mut weight) = (false, false);
        for line in &lines[1..] {
            category |= line.starts_with("  line 3, `category` of the rule `outage`: `incident` is no category");
            weight |= line.starts_with("  line 5, `weight` of the rule `outage`: it is 0");
        }
        assert!(category && weight, "{problem}");
    }

    #[test]
    fn wrong_request_is_told_what_is_wrong() {
        for (event, words) in [
            (json!({}), "`rules` is missing: it is the whole text of a file of rules"),
            (json!({ "rules": " \n" }), "`rules` is empty"),
            (json!({ "rules": "rules = [" }), "line 1"),
            (json!({ "rules": RULES, "grant_ids": [] }), "`grant_ids` is empty"),
            (json!({ "rules": RULES, "grant_ids": [" "] }), "`grant_ids` is empty"),
            (json!({ "rules": RULES, "grant_id": "g" }), "unknown field `grant_id`"),
            (json!({ "rules": RULES, "place": { "grant_id": "g" } }), "missing field"),
        ] {
            let problem = read(&event).expect_err("refused");
            assert!(problem.contains(words), "{event}: {problem}");
        }
    }
}

//! What was decided about a message, and why: the completed record of every notification, hits and misses alike.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It became a record of its own.
    Logged,
    /// It is one more copy of something that already has a record.
    Merged,
    /// It is not wanted, for the stated reason.
    Skipped,
    /// It waits for something, for the stated reason.
    Held,
    /// It was a job of our own making, and is carried out.
    Done,
    /// It could not be handled and lies in the dead-letter queue.
    Failed,
}

impl Outcome {
    /// The outcome as one lower-case word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logged => "logged",
            Self::Merged => "merged",
            Self::Skipped => "skipped",
            Self::Held => "held",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A decision with its reason. Facts explain it (matched words, candidate deals, contacts); they never hold a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// How the message ended.
    pub outcome: Outcome,
    /// The rule that decided, in the words of the function, for example `internal mail`.
    pub reason: String,
    /// What the object became at the other end, for example the id of an activity in the CRM.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub became: Option<String>,
    /// What the rule went by.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub facts: Map<String, Value>,
    /// The addresses that would have to belong to a contact for the decision to be another one. Reconcile looks them
    /// up again for [`WAITING_DAYS`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waits_for: Vec<String>,
    /// True if the object may be decided otherwise another time, because what decided passes (a draft is sent, the CRM
    /// is switched on): reconcile takes it as not seen.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub passing: bool,
}

/// How long reconcile asks again whether what a decision waits for has come.
pub const WAITING_DAYS: i64 = 14;

impl Decision {
    /// A record was made: `became` is its id.
    #[must_use]
    pub fn logged(reason: impl Into<String>, became: impl Into<String>) -> Self {
        Self { became: Some(became.into()), ..Self::new(Outcome::Logged, reason) }
    }

    /// One more copy of what already has the record `became`.
    #[must_use]
    pub fn merged(reason: impl Into<String>, became: impl Into<String>) -> Self {
        Self { became: Some(became.into()), ..Self::new(Outcome::Merged, reason) }
    }

    /// Not wanted.
    #[must_use]
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, reason)
    }

    /// A job of our own making was carried out.
    #[must_use]
    pub fn done(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Done, reason)
    }

    /// Waiting.
    #[must_use]
    pub fn held(reason: impl Into<String>) -> Self {
        Self::new(Outcome::Held, reason)
    }

    /// Turned off, because the parameter that it needs is not set.
    #[must_use]
    pub fn off(parameter: &str) -> Self {
        Self::skipped(format!("off ({parameter})")).for_now()
    }

    fn new(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into(), became: None, facts: Map::new(), waits_for: Vec::new(), passing: false }
    }

    /// The same decision, which may be another one another time.
    #[must_use]
    pub fn for_now(mut self) -> Self {
        self.passing = true;
        self
    }

    /// Adds the addresses that would have to belong to a contact.
    #[must_use]
    pub fn waiting_for(mut self, addresses: Vec<String>) -> Self {
        self.waits_for = addresses;
        self
    }

    /// Adds what the rule went by.
    #[must_use]
    pub fn with(mut self, name: &str, fact: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), fact.into());
        self
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.outcome, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decision_of_a_function_that_is_off_names_the_parameter() {
        assert_eq!(Decision::off("CrmBaseUrl").to_string(), "skipped: off (CrmBaseUrl)");
    }

    #[test]
    fn decision_survives_its_record() {
        let decision = Decision::logged("contact matched", "act-1").with("contact_ids", vec!["c1"]);
        let text = serde_json::to_string(&decision).expect("serialises");
        assert_eq!(serde_json::from_str::<Decision>(&text).expect("reads"), decision);
    }
}

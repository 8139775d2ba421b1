//! What a support mail is about, how urgent it is and whose it is: rules that are data, matched against what the mail
//! newly says.
//!
//! - [`new_text`](mod@new_text): the words that are new in a mail, without quoted history, signatures and disclaimers.
//! - [`words`]: words as they are compared: folded, and reduced to their stem.
//! - [`rules`]: a file of rules, ready to judge mails.
//! - [`rule_file`]: how such a file looks, and what is wrong with one.
//! - [`said`]: what a mail says, as rules look at it.

pub mod new_text;
pub mod rule_file;
pub mod rules;
pub mod said;
pub mod words;

use serde::{Deserialize, Serialize};
use std::fmt;

/// The key in the archive bucket of a rules file that replaces the one that the functions were built with.
pub const RULES_KEY: &str = "settings/triage-rules.toml";

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Something is down.
    Incidents,
    /// Something misbehaves.
    Bugs,
    /// Money.
    Billing,
    /// Something is missing.
    FeatureRequests,
    /// The customer may leave.
    ChurnRisk,
    /// All else.
    General,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 6] =
        [Self::Incidents, Self::Bugs, Self::Billing, Self::FeatureRequests, Self::ChurnRisk, Self::General];

    /// The category as ticket systems are told it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incidents => "incidents",
            Self::Bugs => "bugs",
            Self::Billing => "billing",
            Self::FeatureRequests => "feature_requests",
            Self::ChurnRisk => "churn_risk",
            Self::General => "general",
        }
    }

    /// The category with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == name)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How urgent a ticket is, the least urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// It can wait.
    Low,
    /// It is looked at in turn.
    Medium,
    /// It is looked at now.
    High,
}

impl Priority {
    /// Every priority, the least urgent first.
    pub const ALL: [Self; 3] = [Self::Low, Self::Medium, Self::High];

    /// The priority as ticket systems are told it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The priority with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == name)
    }

    /// The priority so many levels higher, at most the highest.
    #[must_use]
    pub fn raised(self, levels: u8) -> Self {
        (0..levels).fold(self, |priority, _| match priority {
            Self::Low => Self::Medium,
            Self::Medium | Self::High => Self::High,
        })
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod labelled;

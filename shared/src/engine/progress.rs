//! How far a run of jobs has come, so that whoever started it by hand can see. Kept among the links, for as long as a
//! tombstone is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

use super::{Links, PutLink, StoreError, facts_of, read_facts};
use crate::domain::link::{Link, LinkKey, LinkState, Version};

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// How many of its jobs are done.
    pub steps: u64,
    /// What they came to, by name.
    pub counts: BTreeMap<String, u64>,
    /// True once no job of it is left.
    pub ended: bool,
    /// The runs that it was divided into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Why it came to less than it should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Where it goes on, for runs that may be interrupted between their jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Value>,
    /// What people should look at, as far as there is room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// The most findings that a run keeps. More are counted and not listed: an item of the table holds 400 KB.
pub const MOST_FINDINGS: usize = 100;

/// A value that was changed, would be changed, or was left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Of what, by its id.
    pub of: String,
    /// Which field of it.
    pub field: String,
    /// What stands there; none if it is empty, or not known.
    pub stands: Option<String>,
    /// What was to stand there.
    pub proposed: Option<String>,
    /// What became of that, in words.
    pub why: String,
}

/// What one job of a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step<'a> {
    /// Which job of the run it is, counted from 0. The jobs of a run follow one another.
    pub number: u64,
    /// What it came to, by name.
    pub counts: &'a [(&'static str, u64)],
    /// True if no job follows.
    pub last: bool,
    /// The runs that it divided the run into.
    pub parts: Vec<String>,
    /// Why it came to less than it should have.
    pub problem: Option<String>,
    /// Where the run goes on.
    pub place: Option<Value>,
    /// What people should look at.
    pub findings: Vec<Finding>,
}

/// The key of a run's progress.
#[must_use]
pub fn run_key(function: &str, run: &str) -> LinkKey {
    LinkKey::new("run", &format!("{function}/{run}"))
}

/// How far a run has come; none if nothing of it is done.
///
/// # Errors
/// If the table does not answer.
pub async fn progress(links: &impl Links, key: &LinkKey) -> Result<Option<Progress>, StoreError> {
    links.get(key).await?.map(|standing| read_facts(standing.link)).transpose()
}

/// Adds what a job came to, once however often it is done.
///
/// # Errors
/// If the table does not answer.
pub async fn advance(
    links: &impl Links,
    key: &LinkKey,
    step: &Step<'_>,
    now: Timestamp,
) -> Result<Progress, StoreError> {
    loop {
        let standing = links.get(key).await?;
        let revision = standing.as_ref().map(|standing| standing.revision);
        let mut progress = standing.map_or_else(|| Ok(Progress::default()), |standing| read_facts(standing.link))?;
        if progress.steps > step.number {
            return Ok(progress);
        }
        progress.steps = step.number + 1;
        progress.ended = step.last;
        progress.parts.clone_from(&step.parts);
        progress.problem = step.problem.clone().or(progress.problem);
        progress.place.clone_from(&step.place);
        let room = MOST_FINDINGS.saturating_sub(progress.findings.len());
        progress.findings.extend(step.findings.iter().take(room).cloned());
        for (name, count) in step.counts {
            *progress.counts.entry((*name).to_owned()).or_default() += count;
        }
        let facts = facts_of(key, &progress)?;
        let link = Link { key: key.clone(), state: LinkState::Note, version: Version::default(), content: None, facts };
        if let PutLink::Stored(_) = links.put(&link, revision, now).await? {
            return Ok(progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::MemoryLinks;

    #[tokio::test]
    async fn job_that_is_done_twice_counts_once() {
        let links = MemoryLinks::default();
        let key = run_key("calendar-sync", "r1");
        assert_eq!(progress(&links, &key).await, Ok(None));
        for (number, last) in [(0, false), (0, false), (1, true), (0, false)] {
            let step = Step { number, counts: &[("events", 200), ("written", 7)], last, ..Step::default() };
            advance(&links, &key, &step, Timestamp::UNIX_EPOCH).await.expect("noted");
        }
        let progress = progress(&links, &key).await.expect("an answer").expect("a run");
        assert_eq!(
            (progress.steps, progress.ended, progress.counts["events"], progress.counts["written"]),
            (2, true, 400, 14)
        );
    }
}

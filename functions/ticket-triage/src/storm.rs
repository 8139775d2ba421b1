//! When people are told of incidents one by one, and when a storm of them becomes one summary that counts: pure rules over
//! one document for each place where alerts go.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The job that tells the summary of a storm.
pub const STORM: &str = "triage.storm";

/// So many incidents within the window are told one by one.
pub const TOLD_ONE_BY_ONE: usize = 5;

/// The most incidents that a summary names.
pub const MOST_NAMED: usize = 20;

/// The most incidents that wait for a summary by themselves; of those beyond it only the number is kept.
const MOST_HELD: usize = 100;

/// An incident of which people are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// The mail that it came by: the same is counted once.
    pub mail: String,
    /// Where people find its ticket.
    pub ticket: String,
    /// When.
    pub at: Timestamp,
    /// True if it waits for the summary.
    #[serde(default)]
    pub held: bool,
}

/// The incidents that one place was told of lately.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Incidents {
    /// Those of the last window, and those that wait for a summary.
    #[serde(default)]
    pub lately: Vec<Incident>,
    /// How many more wait for the summary.
    #[serde(default)]
    pub unnamed: u64,
    /// When the summary is due; none while there is no storm.
    #[serde(default)]
    pub summary_at: Option<Timestamp>,
}

/// How people are told of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// At once, by itself.
    Now,
    /// By the summary that is due at this time.
    BySummary(Timestamp),
}

impl Incidents {
    /// Takes an incident in, and says how people are told of it; of one that was taken in before, the same as then.
    pub fn take(&mut self, incident: Incident, window: SignedDuration) -> Telling {
        if let Some(known) = self.lately.iter().find(|known| known.mail == incident.mail) {
            return match self.summary_at {
                Some(due) if known.held => Telling::BySummary(due),
                _ => Telling::Now,
            };
        }
        let now = incident.at;
        self.lately.retain(|known| known.held || now.duration_since(known.at) <= window);
        if self.summary_at.is_none() && self.lately.len() < TOLD_ONE_BY_ONE {
            self.lately.push(incident);
            return Telling::Now;
        }
        let due = *self.summary_at.get_or_insert_with(|| now.saturating_add(window).unwrap_or(Timestamp::MAX));
        if self.lately.iter().filter(|known| known.held).count() < MOST_HELD {
            self.lately.push(Incident { held: true, ..incident });
        } else {
            self.unnamed += 1;
        }
        Telling::BySummary(due)
    }

    /// What the summary of this time says; none if there is none due, or it was told before.
    #[must_use]
    pub fn summary(&self, due: Timestamp) -> Option<Summary> {
        (self.summary_at == Some(due)).then(|| {
            let held = self.lately.iter().filter(|known| known.held);
            let summed: Vec<&Incident> = held.collect();
            let mails = summed.iter().map(|known| known.mail.clone()).collect::<Vec<_>>();
            let held = mails.len() as u64 + self.unnamed;
            let tickets = summed.iter().take(MOST_NAMED).map(|known| known.ticket.clone()).collect();
            let told = self.lately.iter().filter(|known| !known.held).count() as u64;
            Summary { all: told + held, held, tickets, mails, unnamed: self.unnamed }
        })
    }

    /// Ends the storm whose summary was told. What came while it was told waits for another one, which is due at the time
    /// that is answered.
    pub fn told(&mut self, due: Timestamp, summary: &Summary, window: SignedDuration) -> Option<Timestamp> {
        if self.summary_at != Some(due) {
            return None;
        }
        // Those just summed up count towards the next storm.
        for known in self.lately.iter_mut().filter(|known| summary.mails.contains(&known.mail)) {
            known.held = false;
        }
        self.unnamed = self.unnamed.saturating_sub(summary.unnamed);
        let waits = self.unnamed > 0 || self.lately.iter().any(|known| known.held);
        self.summary_at = waits.then(|| due.saturating_add(window).unwrap_or(Timestamp::MAX));
        self.summary_at
    }
}

/// What is said of a storm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How many incidents there were.
    pub all: u64,
    /// How many of them were not told one by one.
    pub held: u64,
    /// The tickets of those, as many as are named.
    pub tickets: Vec<String>,
    /// The mails that they came by, as far as these are kept.
    mails: Vec<String>,
    /// How many more.
    unnamed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: SignedDuration = SignedDuration::from_mins(5);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn incident(number: i64, seconds: i64) -> Incident {
        Incident { mail: format!("m-{number}"), ticket: format!("T-{number}"), at: at(seconds), held: false }
    }

    #[test]
    fn five_incidents_in_five_minutes_are_told_one_by_one_and_more_become_one_summary_that_counts() {
        let mut incidents = Incidents::default();
        for number in 0..5 {
            assert_eq!(incidents.take(incident(number, number), WINDOW), Telling::Now);
        }
        for number in 5..30 {
            assert_eq!(incidents.take(incident(number, number), WINDOW), Telling::BySummary(at(305)));
        }
        let summary = incidents.summary(at(305)).expect("one is due");
        assert_eq!((summary.all, summary.held, summary.tickets.len()), (30, 25, MOST_NAMED));
        assert_eq!(summary.tickets.first().map(String::as_str), Some("T-5"));
        assert_eq!(incidents.told(at(305), &summary, WINDOW), None);
        assert_eq!(incidents.summary(at(305)), None);
    }

    #[test]
    fn incident_that_comes_while_a_summary_is_told_waits_for_the_next_one() {
        let mut incidents = Incidents::default();
        for number in 0..8 {
            incidents.take(incident(number, number), WINDOW);
        }
        let summary = incidents.summary(at(305)).expect("one is due");
        assert_eq!(incidents.take(incident(8, 306), WINDOW), Telling::BySummary(at(305)));
        assert_eq!(incidents.told(at(305), &summary, WINDOW), Some(at(605)));
        let next = incidents.summary(at(605)).expect("another one is due");
        assert_eq!((next.held, next.tickets.as_slice()), (1, ["T-8".to_owned()].as_slice()));
        assert_eq!(incidents.told(at(605), &next, WINDOW), None);
    }

    #[test]
    fn incidents_far_apart_are_no_storm() {
        let mut incidents = Incidents::default();
        for number in 0..50 {
            assert_eq!(incidents.take(incident(number, number * 76), WINDOW), Telling::Now, "{number}");
        }
        assert!(incidents.lately.len() <= TOLD_ONE_BY_ONE);
    }

    #[test]
    fn incident_that_comes_again_is_told_as_before_and_counted_once() {
        let mut incidents = Incidents::default();
        for number in 0..6 {
            incidents.take(incident(number, number), WINDOW);
        }
        assert_eq!(incidents.take(incident(2, 9), WINDOW), Telling::Now);
        assert_eq!(incidents.take(incident(5, 9), WINDOW), Telling::BySummary(at(305)));
        assert_eq!(incidents.summary(at(305)).map(|summary| summary.all), Some(6));
    }

    #[test]
    fn storm_that_goes_on_has_a_summary_in_every_window() {
        let mut incidents = Incidents::default();
        for number in 0..8 {
            incidents.take(incident(number, number), WINDOW);
        }
        let summary = incidents.summary(at(305)).expect("one is due");
        assert_eq!(incidents.told(at(305), &summary, WINDOW), None);
        for number in 8..13 {
            assert_eq!(incidents.take(incident(number, 400), WINDOW), Telling::Now, "those before lie a window back");
        }
        assert_eq!(incidents.take(incident(13, 410), WINDOW), Telling::BySummary(at(710)));
    }
}

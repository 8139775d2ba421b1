//! The faults that a test or the demo plans for a stand-in: which calls fail, and in which of the ways
//! that real services fail. A plan can be changed at any time, while calls are under way.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// One way in which a call can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error status in the service's own error format; nothing is carried out.
    Status {
        /// The status.
        status: u16,
        /// The value of `Retry-After`, if the answer has one.
        retry_after: Option<String>,
    },
    /// The connection is closed without an answer; nothing is carried out.
    DropConnection,
    /// The call is carried out and its effect stays, but the connection is closed before the answer.
    LoseAnswer,
    /// The call is carried out and its effect stays, but the answer comes only after this long.
    DelayAnswer(Duration),
    /// Nothing happens for this long; then the call is served, unless the caller has left by then.
    Hang(Duration),
}

impl Fault {
    /// An error status without `Retry-After`.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None }
    }

    /// An error status with `Retry-After`: seconds, or an HTTP date.
    #[must_use]
    pub fn status_with_retry_after(status: u16, retry_after: &str) -> Self {
        Self::Status { status, retry_after: Some(retry_after.to_owned()) }
    }
}

#[derive(Clone, Debug)]
enum Timing {
    Every { nth: u32, seen: u32 },
    Next { remaining: u32 },
}

/// Which calls meet which fault. Of several rules that a call meets, the one added first decides.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    timing: Timing,
    only: Option<(String, String)>,
}

impl FaultRule {
    /// Each `nth` call meets the fault, counted from when the rule is added. Zero never fires.
    #[must_use]
    pub fn every(nth: u32, fault: Fault) -> Self {
        Self { fault, timing: Timing::Every { nth, seen: 0 }, only: None }
    }

    /// The next `calls` calls meet the fault.
    #[must_use]
    pub fn next(calls: u32, fault: Fault) -> Self {
        Self { fault, timing: Timing::Next { remaining: calls }, only: None }
    }

    /// Narrows the rule to calls with this method whose path begins with `path_prefix`; other calls neither meet nor count.
    #[must_use]
    pub fn on(mut self, method: &str, path_prefix: &str) -> Self {
        self.only = Some((method.to_owned(), path_prefix.to_owned()));
        self
    }

    fn fires(&mut self, method: &str, path: &str) -> bool {
        if let Some((only_method, prefix)) = &self.only
            && (only_method != method || !path.starts_with(prefix.as_str()))
        {
            return false;
        }
        match &mut self.timing {
            Timing::Every { nth, seen } => {
                *seen += 1;
                *nth > 0 && (*seen).is_multiple_of(*nth)
            }
            Timing::Next { remaining } if *remaining > 0 => {
                *remaining -= 1;
                true
            }
            Timing::Next { .. } => false,
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<FaultRule>,
    latency: Duration,
}

/// The fault plan of one stand-in. Clones share the plan.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&self, rule: FaultRule) {
        self.locked(|plan| plan.rules.push(rule));
    }

    /// Every call waits this long before anything else happens.
    pub fn set_latency(&self, latency: Duration) {
        self.locked(|plan| plan.latency = latency);
    }

    /// Forgets all rules and the latency.
    pub fn clear(&self) {
        self.locked(|plan| *plan = Plan::default());
    }

    /// What this call meets: the latency, and a fault if a rule fires.
    pub(crate) fn meet(&self, method: &str, path: &str) -> (Duration, Option<Fault>) {
        self.locked(|plan| {
            let mut met = None;
            for rule in &mut plan.rules {
                // Once a fault is found, rules that count calls still see this one; those with a stock keep it.
                let counts = matches!(rule.timing, Timing::Every { .. });
                if (met.is_none() || counts) && rule.fires(method, path) && met.is_none() {
                    met = Some(rule.fault.clone());
                }
            }
            (plan.latency, met)
        })
    }

    fn locked<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        change(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(faults: &Faults, calls: usize) -> Vec<Option<u16>> {
        (0..calls)
            .map(|_| match faults.meet("POST", "/activities").1 {
                Some(Fault::Status { status, .. }) => Some(status),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn every_fifth_call_meets_the_fault() {
        let faults = Faults::default();
        faults.add(FaultRule::every(5, Fault::status(500)));
        let met = statuses(&faults, 15);
        let failed: Vec<usize> = (1..=15).filter(|call| met[call - 1].is_some()).collect();
        assert_eq!(failed, [5, 10, 15]);
    }

    #[test]
    fn a_stock_of_faults_runs_out() {
        let faults = Faults::default();
        faults.add(FaultRule::next(2, Fault::status(503)));
        assert_eq!(statuses(&faults, 4), [Some(503), Some(503), None, None]);
    }

    #[test]
    fn a_rule_for_one_path_neither_meets_nor_counts_other_calls() {
        let faults = Faults::default();
        faults.add(FaultRule::every(2, Fault::status(500)).on("POST", "/activities"));
        assert_eq!(faults.meet("POST", "/activities").1, None);
        assert_eq!(faults.meet("GET", "/activities").1, None);
        assert_eq!(faults.meet("POST", "/contacts").1, None);
        assert_eq!(faults.meet("POST", "/activities").1, Some(Fault::status(500)));
    }

    #[test]
    fn the_first_rule_decides_and_the_second_keeps_its_stock() {
        let faults = Faults::default();
        faults.add(FaultRule::next(1, Fault::status(429)));
        faults.add(FaultRule::next(1, Fault::status(503)));
        assert_eq!(statuses(&faults, 3), [Some(429), Some(503), None]);
    }

    #[test]
    fn a_cleared_plan_lets_every_call_pass() {
        let faults = Faults::default();
        faults.set_latency(Duration::from_secs(9));
        faults.add(FaultRule::every(1, Fault::DropConnection));
        faults.clear();
        assert_eq!(faults.meet("GET", "/"), (Duration::ZERO, None));
    }
}

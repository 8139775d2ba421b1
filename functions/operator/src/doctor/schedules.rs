//! The schedules of the template, judged: each is there and enabled, goes off when its parameter says, reaches its queue or
//! function, and the last night that had to run did.

use jiff::{SignedDuration, Timestamp};
use shared::engine::StoreError;

use super::configuration::parameter;
use super::line::Line;
use crate::stack_map::StackMap;

/// How much later than it should a night may be done: Scheduler tries for an hour, and accounts take turns.
const LATE_BY: SignedDuration = SignedDuration::from_hours(3);

/// What a schedule wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The queue of the function, by the beginning of its name in the template.
    Queue(&'static str),
    /// The function itself, by its name in the template.
    Function(&'static str),
}

/// A schedule of the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Its name in the template.
    pub name: &'static str,
    /// Whose work it begins.
    pub function: &'static str,
    /// What it wakes.
    pub target: Target,
    /// The parameter that says when.
    pub expression: &'static str,
}

/// All of them.
pub const SCHEDULES: [Schedule; 5] = [
    Schedule {
        name: "EmailReconcileSchedule",
        function: "email-activity",
        target: Target::Queue("EmailActivity"),
        expression: "ReconcileSchedule",
    },
    Schedule {
        name: "CalendarReconcileSchedule",
        function: "calendar-sync",
        target: Target::Queue("CalendarSync"),
        expression: "ReconcileSchedule",
    },
    Schedule {
        name: "NotetakerReconcileSchedule",
        function: "notetaker-media",
        target: Target::Queue("NotetakerMedia"),
        expression: "ReconcileSchedule",
    },
    Schedule {
        name: "TicketTriageReconcileSchedule",
        function: "ticket-triage",
        target: Target::Queue("TicketTriage"),
        expression: "ReconcileSchedule",
    },
    Schedule {
        name: "NightlyContactSync",
        function: "contact-sync",
        target: Target::Function("ContactSyncFunction"),
        expression: "ContactSyncSchedule",
    },
];

impl Schedule {
    /// The parameter that turns it off while empty, if one does.
    fn off_by(self, stack: &StackMap) -> Option<&'static str> {
        let needed: &[&str] = match self.function {
            "ticket-triage" => &["SupportGrantIds", "TicketBaseUrl"],
            _ => &["CrmBaseUrl"],
        };
        needed.iter().find(|name| parameter(stack, name).is_none()).copied()
    }

    /// What the ARN of its target ends with.
    fn target_ends_with(self, stack: &StackMap) -> Option<String> {
        match self.target {
            Target::Queue(worker) => {
                let url = stack.queue_url(worker).ok()?;
                Some(format!(":{}", url.rsplit('/').next()?))
            }
            Target::Function(name) => Some(format!(":function:{}", stack.resource(name).ok()?)),
        }
    }
}

/// A schedule as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// False while somebody has turned it off.
    pub is_enabled: bool,
    /// When it goes off.
    pub expression: String,
    /// In which time zone, if that is told.
    pub zone: Option<String>,
    /// The ARN of what it wakes.
    pub target: String,
    /// When it was made.
    pub made_at: Option<Timestamp>,
}

/// What was seen of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// How it stands; none if there is no such schedule.
    pub standing: Result<Option<Standing>, StoreError>,
    /// When its work was last done for each account that it is done for, by the account's id; none if it cannot be told.
    pub done: Option<Vec<(String, Option<Timestamp>)>>,
}

/// A schedule, and whether its last night ran.
#[must_use]
pub fn judge(schedule: Schedule, stack: &StackMap, seen: &Seen, now: Timestamp) -> Line {
    let what = format!("the schedule {}", schedule.name);
    if let Some(parameter) = schedule.off_by(stack) {
        return Line::off(
            what,
            format!("off with {}, by the empty `{parameter}`", schedule.function),
            format!("to turn it on, give `{parameter}` and what goes with it, and deploy"),
        );
    }
    let expression = parameter(stack, schedule.expression).unwrap_or_default();
    let zone = parameter(stack, "ScheduleTimeZone").unwrap_or("UTC");
    let standing = match &seen.standing {
        Ok(Some(standing)) => standing,
        Ok(None) => {
            return Line::red(
                what,
                "there is none: somebody deleted it, so nothing that was missed is looked for",
                format!(
                    "make it again under its name in the EventBridge Scheduler console, with {expression} in {zone} and the \
                     target that the template says: a deployment makes nothing anew whose definition stays as it was"
                ),
            );
        }
        Err(problem) => return Line::unexamined(what, problem),
    };
    if !standing.is_enabled {
        return Line::red(what, "it is disabled", "enable it in the EventBridge Scheduler console");
    }
    let other_zone = standing.zone.as_deref().filter(|standing| *standing != zone);
    if standing.expression != expression || other_zone.is_some() {
        return Line::red(
            what,
            format!(
                "it goes off at {} in {}, and `{}` says {expression} in {zone}",
                standing.expression,
                other_zone.unwrap_or(zone),
                schedule.expression
            ),
            format!(
                "set it in the EventBridge Scheduler console to {expression} in {zone}, or deploy with what it has"
            ),
        );
    }
    let ends_with = schedule.target_ends_with(stack);
    if ends_with.is_none_or(|ends_with| !standing.target.ends_with(&ends_with)) {
        return Line::red(
            what,
            format!("it wakes {}, which is not what {} listens to", standing.target, schedule.function),
            "set its target in the EventBridge Scheduler console to what the template says",
        );
    }
    night(schedule, &what, standing, seen.done.as_deref(), now)
}

/// Whether the last night ran, as far as that can be told.
fn night(
    schedule: Schedule,
    what: &str,
    standing: &Standing,
    done: Option<&[(String, Option<Timestamp>)]>,
    now: Timestamp,
) -> Line {
    let enabled = format!("enabled, {}", standing.expression);
    let Some(done) = done else { return Line::ok(what, enabled) };
    let last = done.iter().filter_map(|(_, at)| *at).max();
    let told = match last {
        Some(last) => format!("{enabled}; last done for what lies before {last}"),
        None => format!("{enabled}; not done yet"),
    };
    let (Some(pause), false) = (longest_pause(&standing.expression), done.is_empty()) else {
        return Line::ok(what, told);
    };
    let due = |at: Timestamp| now.duration_since(at) > pause.saturating_add(LATE_BY);
    // What was made lately had no night yet.
    if standing.made_at.is_none_or(|made_at| !due(made_at)) {
        return Line::ok(what, told);
    }
    let reconcile = if schedule.function == "contact-sync" { "make sync" } else { "make reconcile" };
    if last.is_none_or(due) {
        return Line::red(
            what,
            format!("{told}: the last night did not run, or did not get to its end"),
            format!(
                "see the line of {}'s queue and the dead letters of the schedules, then the function's log; `{reconcile}` \
                 does the work now",
                schedule.function
            ),
        );
    }
    let behind: Vec<&str> =
        done.iter().filter(|(_, at)| at.is_none_or(due)).map(|(account, _)| account.as_str()).collect();
    match behind.as_slice() {
        [] => Line::ok(what, told),
        [first, ..] => Line::warning(
            what,
            format!("{told}, but not for {} of {} accounts, {first} among them", behind.len(), done.len()),
            format!("see in the log of {} what stops it; `{reconcile} GRANT={first}` tries it now", schedule.function),
        ),
    }
}

/// The longest time that lies between two times at which a schedule goes off; none if that cannot be told (EventBridge
/// Scheduler user guide, "Schedule types").
fn longest_pause(expression: &str) -> Option<SignedDuration> {
    let within = |kind: &str| expression.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')');
    if let Some(rate) = within("rate") {
        let (number, unit) = rate.trim().split_once(' ')?;
        let number: i64 = number.parse().ok()?;
        let seconds = match unit.trim().trim_end_matches('s') {
            "minute" => 60,
            "hour" => 3600,
            "day" => 24 * 3600,
            _ => return None,
        };
        return Some(SignedDuration::from_secs(number.checked_mul(seconds)?));
    }
    let fields: Vec<&str> = within("cron")?.split_whitespace().collect();
    let [_, _, days @ ..] = fields.as_slice() else { return None };
    // Every day: those that leave days out pause for as long as their calendar says. A day may have 25 hours.
    days.iter().all(|field| matches!(*field, "*" | "?")).then(|| SignedDuration::from_hours(25))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;
    use crate::doctor::testing::{schedule_as_deployed, stack};

    const NOW: i64 = 1_772_359_200;
    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn done(hours: &[Option<i64>]) -> Vec<(String, Option<Timestamp>)> {
        let account =
            |(number, hours): (usize, &Option<i64>)| (format!("g{number}"), hours.map(|hours| at(NOW - hours * HOUR)));
        hours.iter().enumerate().map(account).collect()
    }

    fn seen(schedule: Schedule) -> Seen {
        let standing = schedule_as_deployed(&stack(), schedule);
        Seen {
            standing: Ok(Some(Standing { made_at: Some(at(NOW - 1000 * HOUR)), ..standing })),
            done: Some(done(&[Some(9)])),
        }
    }

    #[test]
    fn every_schedule_as_the_template_makes_it_is_ok() {
        for schedule in SCHEDULES {
            let line = judge(schedule, &stack(), &seen(schedule), at(NOW));
            assert_eq!(line.state, State::Ok, "{line:?}");
            assert!(line.seen.contains("last done for what lies before 2026-03-01T01:00:00Z"), "{}", line.seen);
        }
    }

    #[test]
    fn schedule_of_a_function_that_is_off_is_off() {
        let mut stack = stack();
        stack.parameters.insert("CrmBaseUrl".to_owned(), String::new());
        let states: Vec<State> = SCHEDULES.iter().map(|one| judge(*one, &stack, &seen(*one), at(NOW)).state).collect();
        assert_eq!(states, [State::Off, State::Off, State::Off, State::Ok, State::Off]);
    }

    #[test]
    fn schedule_that_is_not_as_the_template_makes_it_is_red_with_what_to_set() {
        for schedule in SCHEDULES {
            let good = schedule_as_deployed(&stack(), schedule);
            let some = |standing: Standing| Ok(Some(standing));
            for (standing, seen_words, to_do) in [
                (Ok(None), "somebody deleted it", "make it again under its name"),
                (some(Standing { is_enabled: false, ..good.clone() }), "disabled", "enable it"),
                (
                    some(Standing { expression: "rate(9 days)".to_owned(), ..good.clone() }),
                    "goes off at rate(9 days)",
                    "or deploy with what it has",
                ),
                (some(Standing { zone: Some("Asia/Tokyo".to_owned()), ..good.clone() }), "in Asia/Tokyo", "set it"),
                (
                    some(Standing { target: "arn:aws:sqs:r:1:other".to_owned(), ..good.clone() }),
                    "wakes",
                    "set its target",
                ),
                (Err(StoreError("throttled".to_owned())), "throttled", "again in a few minutes"),
            ] {
                let line = judge(schedule, &stack(), &Seen { standing, done: None }, at(NOW));
                assert_eq!(line.state, State::Red, "{line:?}");
                assert!(line.seen.contains(seen_words), "{}", line.seen);
                assert!(line.to_do.is_some_and(|told| told.contains(to_do)), "{to_do}");
            }
        }
    }

    #[test]
    fn night_that_did_not_run_is_red_and_accounts_that_it_left_out_are_a_warning() {
        let [mail, .., contacts] = SCHEDULES;
        for (hours, state, words) in [
            (Some(done(&[Some(9), Some(20)])), State::Ok, ""),
            (Some(done(&[Some(40), Some(33)])), State::Red, "make reconcile"),
            (Some(done(&[None])), State::Red, "make reconcile"),
            (Some(done(&[Some(9), Some(40), None])), State::Warning, "GRANT=g1"),
            (Some(done(&[])), State::Ok, ""),
            (None, State::Ok, ""),
        ] {
            let line = judge(mail, &stack(), &Seen { done: hours, ..seen(mail) }, at(NOW));
            assert_eq!(line.state, state, "{line:?}");
            assert!(line.to_do.unwrap_or_default().contains(words), "{words}");
        }
        let line = judge(contacts, &stack(), &Seen { done: Some(done(&[Some(40)])), ..seen(contacts) }, at(NOW));
        assert!(line.to_do.is_some_and(|to_do| to_do.contains("make sync")));
    }

    #[test]
    fn schedule_that_was_made_lately_had_no_night_yet() {
        let [mail, ..] = SCHEDULES;
        let new = Standing { made_at: Some(at(NOW - HOUR)), ..schedule_as_deployed(&stack(), mail) };
        let line = judge(mail, &stack(), &Seen { standing: Ok(Some(new)), done: Some(done(&[None])) }, at(NOW));
        assert_eq!((line.state, line.seen.ends_with("not done yet")), (State::Ok, true), "{line:?}");
    }

    #[test]
    fn longest_pause_is_told_for_rates_and_for_every_day_and_for_nothing_else() {
        let hours = |hours| Some(SignedDuration::from_hours(hours));
        for (expression, pause) in [
            ("rate(1 minute)", Some(SignedDuration::from_mins(1))),
            ("rate(12 hours)", hours(12)),
            ("rate(2 days)", hours(48)),
            ("cron(30 1 * * ? *)", hours(25)),
            ("cron(30 1 ? * MON-FRI *)", None),
            ("cron(30 1 1 * ? *)", None),
            ("at(2026-03-01T10:00:00)", None),
        ] {
            assert_eq!(longest_pause(expression), pause, "{expression}");
        }
    }
}

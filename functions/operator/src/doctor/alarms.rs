//! The alarms of the stack, judged: each is there and tells somebody, none is going off, and whoever is to be told has said
//! yes to it.

use shared::engine::StoreError;

use super::line::Line;

/// An alarm as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alarm {
    /// Its name in CloudWatch.
    pub name: String,
    /// What it says of itself.
    pub description: String,
    /// `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub state: String,
    /// False while somebody has turned its actions off.
    pub actions_enabled: bool,
    /// Whom it tells, by ARN.
    pub actions: Vec<String>,
}

/// Somebody whom the topic of the alarms tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// True once the mail of AWS that asks for it was answered.
    pub is_confirmed: bool,
}

/// The alarms that the template makes, by their names there and in CloudWatch.
pub type Expected<'a> = [(&'a str, &'a str)];

/// All lines about the alarms. `topic` is whom they are to tell, if `AlarmEmail` is given.
#[must_use]
pub fn judge(expected: &Expected<'_>, standing: &Result<Vec<Alarm>, StoreError>, topic: Option<&str>) -> Vec<Line> {
    let standing = match standing {
        Ok(standing) => standing,
        Err(problem) => return vec![Line::unexamined("the alarms", problem)],
    };
    let mut lines: Vec<Line> = Vec::new();
    for (name, physical) in expected {
        match standing.iter().find(|alarm| alarm.name == *physical) {
            Some(alarm) => lines.extend(of_one(name, alarm, topic)),
            None => lines.push(Line::red(
                format!("the alarm {name}"),
                "there is none: somebody deleted it, so nobody is told of what it watches",
                "make it again under its name in the CloudWatch console as the template says: a deployment makes nothing \
                 anew whose definition stays as it was",
            )),
        }
    }
    let wrong = lines.len();
    let count = expected.len();
    if count == 0 {
        return vec![Line::red("the alarms", "the stack has none", "deploy it from the template of this release")];
    }
    let undecided = standing.iter().filter(|alarm| alarm.state == "INSUFFICIENT_DATA").count();
    let undecided = if undecided == 0 { String::new() } else { format!(", {undecided} without data yet") };
    let quiet = format!("{} of {count} in place and quiet{undecided}", count - wrong);
    lines.insert(0, Line::ok("the alarms", quiet));
    lines
}

/// What is wrong with an alarm that is there.
fn of_one(name: &str, alarm: &Alarm, topic: Option<&str>) -> Option<Line> {
    let what = format!("the alarm {name}");
    if alarm.state == "ALARM" {
        let says = first_sentence(&alarm.description);
        return Some(Line::red(
            what,
            format!("it is going off: {says}"),
            "what to do stands in its description and in the runbook; it ends by itself once the cause is mended",
        ));
    }
    if topic.is_some() && !alarm.actions_enabled {
        let to_do = format!("give `aws cloudwatch enable-alarm-actions --alarm-names {}`", alarm.name);
        return Some(Line::red(what, "its actions are disabled: nobody is told when it goes off", to_do));
    }
    let tells_nobody = topic.is_some_and(|topic| alarm.actions.iter().all(|action| action != topic));
    tells_nobody.then(|| {
        let to_do =
            "set the stack's topic as its action in the CloudWatch console, or deploy once with another `AlarmEmail`";
        Line::red(what, "it does not tell the topic that `AlarmEmail` listens to", to_do)
    })
}

/// Whether somebody hears of an alarm. None stands for a stack without `AlarmEmail`.
#[must_use]
pub fn listener(subscriptions: Option<&Result<Vec<Subscription>, StoreError>>) -> Line {
    let what = "who is told of alarms";
    match subscriptions {
        None => Line::warning(
            what,
            "nobody: `AlarmEmail` is empty",
            "give the address of somebody who should know in `AlarmEmail` and deploy",
        ),
        Some(Err(problem)) => Line::unexamined(what, problem),
        Some(Ok(subscriptions)) if subscriptions.is_empty() => Line::red(
            what,
            "nobody: the subscription of `AlarmEmail` is gone",
            "subscribe the address again to the stack's topic in the SNS console, and answer the mail of AWS",
        ),
        Some(Ok(subscriptions)) if subscriptions.iter().any(|subscription| subscription.is_confirmed) => {
            Line::ok(what, "`AlarmEmail`, confirmed")
        }
        Some(Ok(_)) => Line::warning(
            what,
            "nobody yet: `AlarmEmail` has not confirmed",
            "open the mail of AWS (“AWS Notification - Subscription Confirmation”) and follow its link; if it is lost, \
             request it again in the SNS console",
        ),
    }
}

/// The first sentence of a description.
fn first_sentence(description: &str) -> &str {
    description.split_inclusive(". ").next().unwrap_or(description).trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;

    const TOPIC: &str = "arn:aws:sns:eu-west-1:1:alarms";

    fn alarm(name: &str) -> Alarm {
        Alarm {
            name: name.to_owned(),
            description: "It is broken. Mend it, then look again.".to_owned(),
            state: "OK".to_owned(),
            actions_enabled: true,
            actions: vec![TOPIC.to_owned()],
        }
    }

    const EXPECTED: [(&str, &str); 2] = [("OneAlarm", "stack-one"), ("OtherAlarm", "stack-other")];

    #[test]
    fn alarms_that_are_in_place_and_quiet_are_one_line_that_is_ok() {
        let new = Alarm { state: "INSUFFICIENT_DATA".to_owned(), ..alarm("stack-other") };
        let standing = Ok(vec![alarm("stack-one"), new]);
        let lines = judge(&EXPECTED, &standing, Some(TOPIC));
        assert_eq!(lines, [Line::ok("the alarms", "2 of 2 in place and quiet, 1 without data yet")]);
    }

    #[test]
    fn alarm_that_is_gone_goes_off_or_tells_nobody_has_a_red_line_of_its_own() {
        let good = alarm("stack-one");
        for (other, seen, to_do) in [
            (None, "somebody deleted it", "make it again"),
            (
                Some(Alarm { state: "ALARM".to_owned(), ..good.clone() }),
                "it is going off: It is broken.",
                "its description and in the runbook",
            ),
            (
                Some(Alarm { actions_enabled: false, ..good.clone() }),
                "disabled",
                "enable-alarm-actions --alarm-names stack-one",
            ),
            (Some(Alarm { actions: Vec::new(), ..good.clone() }), "does not tell", "another `AlarmEmail`"),
        ] {
            let standing = Ok([other, Some(alarm("stack-other"))].into_iter().flatten().collect());
            let lines = judge(&EXPECTED, &standing, Some(TOPIC));
            assert_eq!((lines.len(), lines[0].seen.as_str()), (2, "1 of 2 in place and quiet"), "{lines:?}");
            assert_eq!((lines[1].state, lines[1].what.as_str()), (State::Red, "the alarm OneAlarm"));
            assert!(lines[1].seen.contains(seen), "{}", lines[1].seen);
            assert!(lines[1].to_do.as_ref().is_some_and(|told| told.contains(to_do)), "{to_do}");
        }
        let lines = judge(&EXPECTED, &Err(StoreError("AccessDenied".to_owned())), None);
        assert_eq!((lines[0].state, lines.len()), (State::Red, 1));
        assert_eq!(judge(&[], &Ok(Vec::new()), None)[0].state, State::Red);
    }

    #[test]
    fn alarm_that_tells_nobody_is_no_fault_where_nobody_is_to_be_told() {
        let silent = Alarm { actions: Vec::new(), actions_enabled: false, ..alarm("stack-one") };
        assert_eq!(judge(&EXPECTED[..1], &Ok(vec![silent]), None).len(), 1);
    }

    #[test]
    fn listener_is_judged_by_its_confirmation() {
        let confirmed = |is_confirmed| Subscription { is_confirmed };
        for (subscriptions, state, words) in [
            (Some(Ok(vec![confirmed(true)])), State::Ok, ""),
            (Some(Ok(vec![confirmed(false), confirmed(true)])), State::Ok, ""),
            (Some(Ok(vec![confirmed(false)])), State::Warning, "open the mail of AWS"),
            (Some(Ok(Vec::new())), State::Red, "subscribe the address again"),
            (Some(Err(StoreError("down".to_owned()))), State::Red, "in a few minutes"),
            (None, State::Warning, "`AlarmEmail`"),
        ] {
            let line = listener(subscriptions.as_ref());
            assert_eq!(line.state, state, "{subscriptions:?}");
            assert!(line.to_do.unwrap_or_default().contains(words), "{words}");
        }
    }
}

//! How the stack is configured, judged: whether the last deployment ended well, which functions are on, whether people are
//! told of what goes wrong, and whether addresses of one region meet those of another.

use super::line::Line;
use crate::stack_map::StackMap;

/// The functions with the parameters that turn them off while empty.
const FUNCTIONS: [(&str, &[&str]); 6] = [
    ("email-activity", &["CrmBaseUrl"]),
    ("calendar-sync", &["CrmBaseUrl"]),
    ("notetaker-media", &["CrmBaseUrl"]),
    ("onboarding-transitions", &["OnboardingGrantId"]),
    ("ticket-triage", &["SupportGrantIds", "TicketBaseUrl"]),
    ("contact-sync", &["CrmBaseUrl"]),
];

/// The APIs of Nylas, by region (Nylas documentation, "Data residency").
const REGIONS: [(&str, &str); 2] = [("us", "https://api.us.nylas.com"), ("eu", "https://api.eu.nylas.com")];

/// The value of a parameter; none if it is empty.
#[must_use]
pub fn parameter<'a>(stack: &'a StackMap, name: &str) -> Option<&'a str> {
    stack.parameters.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// The entries of a parameter that is a list.
pub fn listed<'a>(stack: &'a StackMap, name: &str) -> impl Iterator<Item = &'a str> {
    parameter(stack, name).unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// All lines about it.
#[must_use]
pub fn judge(stack: &StackMap) -> Vec<Line> {
    let mut lines = vec![deployment(&stack.status), region(stack)];
    lines.extend(FUNCTIONS.iter().map(|(function, parameters)| switch(stack, function, parameters)));
    lines.push(alerts(stack));
    lines
}

/// How the last deployment ended, in CloudFormation's words.
fn deployment(status: &str) -> Line {
    let what = "the last deployment";
    let seen = format!("CloudFormation says {status}");
    match status {
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "IMPORT_COMPLETE" => Line::ok(what, seen),
        "UPDATE_ROLLBACK_COMPLETE" | "IMPORT_ROLLBACK_COMPLETE" => Line::warning(
            what,
            format!("{seen}: it failed and was undone, so what runs is what ran before"),
            "see in the stack's events which resource failed, mend that and deploy again",
        ),
        under_way if under_way.ends_with("_IN_PROGRESS") => {
            Line::warning(what, format!("{seen}: it is under way"), "give the command again once it has ended")
        }
        _ => Line::red(
            what,
            seen,
            "see in the stack's events which resource failed, mend that and deploy again; a stack whose undoing failed \
             has to be continued by `aws cloudformation continue-update-rollback` first",
        ),
    }
}

/// Whether the addresses of Nylas are of one region.
fn region(stack: &StackMap) -> Line {
    let what = "the region of Nylas";
    let uri = parameter(stack, "NylasApiUri").unwrap_or_default().trim_end_matches('/');
    let Some((region, _)) = REGIONS.iter().find(|(_, known)| *known == uri) else {
        let is_here = uri.starts_with("http://");
        return if is_here {
            Line::ok(what, format!("`NylasApiUri` is {uri}, a stand-in on this machine"))
        } else {
            Line::warning(
                what,
                format!("`NylasApiUri` is {uri}, which is no address of Nylas's"),
                "unless it is a proxy of yours, give https://api.us.nylas.com or https://api.eu.nylas.com and deploy",
            )
        };
    };
    let pages = parameter(stack, "SchedulerBaseUrl").unwrap_or_default();
    let other = REGIONS.iter().find(|(other, _)| other != region && pages.split('/').any(|part| part == *other));
    match other {
        None => Line::ok(what, format!("{region}: `NylasApiUri` is {uri}")),
        Some((other, _)) => Line::warning(
            what,
            format!("`NylasApiUri` is of the region {region}, `SchedulerBaseUrl` ({pages}) of {other}"),
            "give both of the region that your Nylas application lives in, and deploy: customers are sent to booking \
             pages that do not exist",
        ),
    }
}

/// Whether a function is on, and whether it lacks something while it is.
fn switch(stack: &StackMap, function: &str, needed: &[&str]) -> Line {
    let what = format!("the function {function}");
    let empty: Vec<String> =
        needed.iter().filter(|name| parameter(stack, name).is_none()).map(|name| format!("`{name}`")).collect();
    if !empty.is_empty() {
        let empty = empty.join(" and ");
        return Line::off(
            what,
            format!("off by the empty {empty}: what comes is completed as skipped"),
            format!("to turn it on, give {empty} and what goes with it, and deploy"),
        );
    }
    if function == "onboarding-transitions" && !stack.resources.contains_key("EventsSecret") {
        return Line::warning(
            what,
            "on, but `CustomerEventsSecret` is empty: no sign-up of a customer can come in",
            "give `CustomerEventsSecret`, deploy, and have your product sign what it posts to the output \
             CustomerEventsUrl with it",
        );
    }
    if needed.contains(&"CrmBaseUrl") && listed(stack, "CompanyDomains").next().is_none() {
        return Line::warning(
            what,
            "on, but `CompanyDomains` is empty: internal mail and meetings cannot be told from a prospect's",
            "give your own mail domains in `CompanyDomains` and deploy",
        );
    }
    Line::ok(what, "on")
}

/// Whether people are told at once of what needs them.
fn alerts(stack: &StackMap) -> Line {
    let what = "alerts";
    if stack.resources.contains_key("AlertWebhookSecret") {
        return Line::ok(what, "posted to `AlertWebhookUrl`");
    }
    Line::warning(
        what,
        "`AlertWebhookUrl` is empty: nobody is told of expired accounts, incidents or customers that need a person",
        "give the address of an incoming webhook, such as Slack's, in `AlertWebhookUrl` and deploy",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;
    use crate::doctor::testing::stack;

    fn line(stack: &StackMap, what: &str) -> Line {
        let found = judge(stack).into_iter().find(|line| line.what == what);
        found.unwrap_or_else(|| panic!("no line about {what}"))
    }

    #[test]
    fn stack_that_has_everything_is_ok_in_every_line() {
        for line in judge(&stack()) {
            assert_eq!(line.state, State::Ok, "{line:?}");
        }
    }

    #[test]
    fn deployment_is_judged_by_how_it_ended() {
        for (status, state, words) in [
            ("CREATE_COMPLETE", State::Ok, ""),
            ("UPDATE_COMPLETE", State::Ok, ""),
            ("UPDATE_ROLLBACK_COMPLETE", State::Warning, "which resource failed"),
            ("UPDATE_IN_PROGRESS", State::Warning, "once it has ended"),
            ("ROLLBACK_COMPLETE", State::Red, "which resource failed"),
            ("UPDATE_ROLLBACK_FAILED", State::Red, "continue-update-rollback"),
        ] {
            let line = deployment(status);
            assert_eq!(line.state, state, "{status}");
            assert!(line.to_do.unwrap_or_default().contains(words), "{status}");
        }
    }

    #[test]
    fn function_that_an_empty_parameter_turns_off_is_off_and_names_it() {
        for (function, parameters) in FUNCTIONS {
            for parameter in parameters {
                let mut stack = stack();
                stack.parameters.insert((*parameter).to_owned(), String::new());
                let line = line(&stack, &format!("the function {function}"));
                assert_eq!(line.state, State::Off, "{function}");
                assert!(line.to_do.is_some_and(|to_do| to_do.contains(&format!("`{parameter}`"))), "{function}");
            }
        }
    }

    #[test]
    fn function_that_is_on_and_lacks_something_is_a_warning() {
        let mut without = stack();
        without.resources.remove("EventsSecret");
        let onboarding = line(&without, "the function onboarding-transitions");
        assert_eq!(onboarding.state, State::Warning);
        assert!(onboarding.to_do.is_some_and(|to_do| to_do.contains("`CustomerEventsSecret`")));
        let mut without = stack();
        without.parameters.insert("CompanyDomains".to_owned(), String::new());
        let mail = line(&without, "the function email-activity");
        assert_eq!(mail.state, State::Warning);
        assert!(mail.to_do.is_some_and(|to_do| to_do.contains("`CompanyDomains`")));
        let mut without = stack();
        without.resources.remove("AlertWebhookSecret");
        let alerts = line(&without, "alerts");
        assert_eq!(alerts.state, State::Warning);
        assert!(alerts.to_do.is_some_and(|to_do| to_do.contains("`AlertWebhookUrl`")));
    }

    #[test]
    fn addresses_of_two_regions_are_a_warning() {
        for (api, pages, state) in [
            ("https://api.us.nylas.com", "https://book.nylas.com", State::Ok),
            ("https://api.eu.nylas.com/", "https://book.nylas.com/eu/app", State::Ok),
            ("https://api.eu.nylas.com", "https://book.nylas.com/us/app", State::Warning),
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000", State::Ok),
            ("https://api.nylas.com", "https://book.nylas.com", State::Warning),
        ] {
            let mut stack = stack();
            stack.parameters.insert("NylasApiUri".to_owned(), api.to_owned());
            stack.parameters.insert("SchedulerBaseUrl".to_owned(), pages.to_owned());
            assert_eq!(line(&stack, "the region of Nylas").state, state, "{api} {pages}");
        }
    }
}

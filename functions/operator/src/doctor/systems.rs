//! The CRM and the ticket system, asked without writing anything: whether they take the credential, and what they lack.

use shared::crm::{CrmError, FindContacts as _};
use shared::domain::address::EmailAddress;
use shared::engine::Deadline;
use shared::http::CallError;
use shared::set_up::{SetUp as _, SetUpItem, SetUpState};
use shared::worker::{Crm, Tickets};
use std::future::Future;

use super::line::Line;
use crate::set_up::{System, told};

/// What asking a system came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It answered a question that its credential has to be good for.
    Answers,
    /// It answered, and this is what it needs, as it stands.
    Needs(Vec<SetUpItem>),
    /// It has no question that leaves nothing behind.
    CannotBeAsked,
}

/// Asks a system something that changes nothing.
pub trait Reach: Sync {
    /// Asks it.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    fn reach(&self, deadline: Deadline) -> impl Future<Output = Result<Reached, CallError>> + Send;
}

impl Reach for Crm {
    /// Looks somebody up whom nobody has (`.invalid` is no one's, RFC 2606).
    async fn reach(&self, deadline: Deadline) -> Result<Reached, CallError> {
        let nobody: Vec<EmailAddress> = EmailAddress::parse("nobody@example.invalid").into_iter().collect();
        self.find_contacts(&nobody, deadline).await.map_err(|CrmError(error)| error)?;
        Ok(Reached::Answers)
    }
}

impl Reach for Tickets {
    /// Looks for what it needs: no ticket system has any of that made by us.
    async fn reach(&self, deadline: Deadline) -> Result<Reached, CallError> {
        match self {
            Self::Rest(_) => Ok(Reached::CannotBeAsked),
            Self::Zendesk(_) | Self::Jira(_) => self.set_up(deadline).await.map(Reached::Needs),
        }
    }
}

/// A system, as it stands. `reached` is none while it is off.
#[must_use]
pub fn judge<S>(system: &System<S>, reached: Option<&Result<Reached, CallError>>) -> Vec<Line> {
    let what = format!("{} ({})", system.name, system.provider);
    let address = system.address_parameter;
    let lines = match reached {
        None => Line::off(
            system.name,
            format!("`{address}` is empty: nothing is written to it"),
            format!("to turn it on, give `{address}` and what goes with it, and deploy"),
        ),
        Some(Ok(Reached::Answers)) => Line::ok(
            what,
            "it takes the credential and finds contacts; `make set-up` tells whether the fields of our own are there",
        ),
        Some(Ok(Reached::CannotBeAsked)) => Line::ok(
            what,
            "on; its contract has no question that leaves nothing behind, so its key shows with the next ticket",
        ),
        Some(Ok(Reached::Needs(items))) => return needs(&what, items),
        Some(Err(error)) => {
            let (happened, to_do) = told(error.clone(), address);
            Line::red(what, happened, to_do)
        }
    };
    vec![lines]
}

/// What a system needs: a line for all that is there, and one for each thing that is in the way.
fn needs(what: &str, items: &[SetUpItem]) -> Vec<Line> {
    let missing = |item: &&SetUpItem| matches!(item.state, SetUpState::Missing { .. });
    let without = items.iter().filter(|item| matches!(item.state, SetUpState::DoneWithout { .. })).count();
    let there = items.len() - items.iter().filter(missing).count() - without;
    let done_without = match without {
        0 => String::new(),
        some => format!(", {some} are done without: `make set-up` tells which"),
    };
    let seen =
        format!("it takes the credential; {there} of {} things that it needs are there{done_without}", items.len());
    let mut lines = vec![Line::ok(what, seen)];
    lines.extend(items.iter().filter_map(|item| match &item.state {
        SetUpState::Missing { remedy } => {
            Some(Line::red(format!("{what}: {}", item.what), "it is not there: nothing is written until it is", remedy))
        }
        SetUpState::Present | SetUpState::Created | SetUpState::DoneWithout { .. } => None,
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;
    use crate::testing::{MemorySystem, crm, tickets};

    fn item(what: &str, state: SetUpState) -> SetUpItem {
        SetUpItem { what: what.to_owned(), state }
    }

    #[test]
    fn system_that_answers_is_ok_and_one_that_is_off_names_the_parameter() {
        let crm = crm(Some(MemorySystem::default()));
        let [line] = judge(&crm, Some(&Ok(Reached::Answers))).try_into().expect("one line");
        assert_eq!((line.what.as_str(), line.state), ("the CRM (hubspot)", State::Ok));
        let [line] = judge(&crm, None).try_into().expect("one line");
        assert_eq!((line.state, line.to_do.is_some_and(|to_do| to_do.contains("`CrmBaseUrl`"))), (State::Off, true));
        let [line] = judge(&tickets(None), Some(&Ok(Reached::CannotBeAsked))).try_into().expect("one line");
        assert_eq!((line.state, line.seen.contains("with the next ticket")), (State::Ok, true));
    }

    #[test]
    fn system_that_refuses_or_does_not_answer_is_red_with_what_to_do() {
        let crm = crm(Some(MemorySystem::default()));
        let api = "HubSpot";
        for (error, seen, to_do) in [
            (
                CallError::Unauthorized { api, status: 401, parameter: "CrmApiKey" },
                "HubSpot refuses the credential with 401",
                "put a valid one into `CrmApiKey` and deploy",
            ),
            (
                CallError::Unavailable { api, problem: "dns".to_owned(), retry_after: None, answered: false },
                "HubSpot is unavailable: dns",
                "whether the address in `CrmBaseUrl` is right",
            ),
        ] {
            let [line] = judge(&crm, Some(&Err(error))).try_into().expect("one line");
            assert_eq!((line.state, line.seen.as_str()), (State::Red, seen));
            assert!(line.to_do.is_some_and(|told| told.contains(to_do)), "{to_do}");
        }
    }

    #[test]
    fn what_a_system_lacks_is_red_with_the_remedy_and_what_is_done_without_is_no_fault() {
        let items = vec![
            item("the project SUP", SetUpState::Present),
            item("the group of billing", SetUpState::DoneWithout { instead: "a tag".to_owned() }),
            item("the type Task", SetUpState::Missing { remedy: "add the type to the project".to_owned() }),
        ];
        let lines = judge(&tickets(Some(MemorySystem::default())), Some(&Ok(Reached::Needs(items))));
        assert_eq!((lines.len(), lines[0].state), (2, State::Ok));
        assert!(lines[0].seen.contains("1 of 3 things") && lines[0].seen.contains("1 are done without"));
        assert_eq!((lines[1].state, lines[1].to_do.as_deref()), (State::Red, Some("add the type to the project")));
    }
}

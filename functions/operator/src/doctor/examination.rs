//! Looks at everything that the stack depends on, side by side, in the time that there is. Whatever does not answer costs
//! its own line and no other.

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use shared::domain::link::{LinkKey, LinkState};
use shared::domain::notification::GrantId;
use shared::engine::progress::{progress, run_key};
use shared::engine::watermark::watermark;
use shared::engine::{Deadline, Links as _, StoreError};
use shared::http::CallError;
use shared::nylas::NylasError;
use shared::nylas::mailboxes::{Grant, ListGrants as _};
use shared::reconcile::part_of;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use super::Examined as _;
use super::configuration::{self, listed, parameter};
use super::grants::{self, Account, Kept, Role, Told, Unknown};
use super::line::Line;
use super::queues::{self, Depths, Resting};
use super::schedules::{self, SCHEDULES, Schedule, Seen};
use super::secrets::{self, MANAGED_WEBHOOK_SECRET, SECRETS, WEBHOOK_SECRET, WebhookSecrets};
use super::systems::{self, Reach, Reached};
use super::{alarms, nylas_key, onboarding, webhook};
use crate::operate::{Operator, Ports};
use crate::set_up::System;
use crate::stack_map::{StackMap, WORKERS};
use crate::subscribe::Webhooks as _;
use crate::subscribe::desired::Desired;

/// The most accounts that are listed.
const MOST_ACCOUNTS: usize = 5000;

/// The most accounts of which is read what is kept.
const MOST_LOOKED_AT: usize = 500;

/// How many things are read at a time.
const SIDE_BY_SIDE: usize = 16;

/// How long listing the accounts leaves for what follows from it.
const TIME_FOR_THE_REST: Duration = Duration::from_secs(12);

/// What is kept of the time for the answer.
const TIME_FOR_THE_ANSWER: Duration = Duration::from_secs(1);

/// How long after a queue looked left alone it is looked at again: a message may just have come.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(3);

/// For how long it is looked up how far looking for what was missed of a returned account has come.
const RETURNED_LATELY: SignedDuration = SignedDuration::from_hours(7 * 24);

/// An examination.
pub struct Examination<'a, P: Ports> {
    /// Whose.
    pub operator: &'a Operator<P>,
    /// When.
    pub now: Timestamp,
    /// Until when.
    pub deadline: Deadline,
}

/// What was seen of the accounts, with what follows from that for other lines.
struct Looked {
    accounts: Result<Vec<Account>, NylasError>,
    unknown: Vec<Unknown>,
    /// Nylas's words if it refused to track a mail; none if the onboarding is off.
    tracking: Option<Result<Option<String>, StoreError>>,
    /// When the latest run of contact-sync began.
    contacts: Result<Option<Timestamp>, StoreError>,
}

impl<P: Ports> Examination<'_, P> {
    /// All lines, in the order in which one looks for a fault: from the configuration to what depends on it.
    pub async fn lines(&self) -> Vec<Line> {
        let deadline = self.deadline.earlier_by(TIME_FOR_THE_ANSWER);
        let (of_stack, crm, tickets) = tokio::join!(
            self.of_stack(deadline),
            reached(&self.operator.crm, deadline),
            reached(&self.operator.tickets, deadline)
        );
        let (mut lines, behind) = of_stack;
        lines.extend(systems::judge(&self.operator.crm, crm.as_ref()));
        lines.extend(systems::judge(&self.operator.tickets, tickets.as_ref()));
        lines.extend(behind);
        lines
    }

    /// The lines before and after those of the systems at the other end.
    async fn of_stack(&self, deadline: Deadline) -> (Vec<Line>, Vec<Line>) {
        let earlier = deadline.earlier_by(TIME_FOR_THE_REST);
        let (stack, listed) = tokio::join!(in_time(earlier, self.operator.examined.stack()), self.listed(earlier));
        let known = stack.as_ref().ok();
        let uri = known.and_then(|stack| parameter(stack, "NylasApiUri"));
        let key = nylas_key::judge(listed.as_ref().map(Vec::len), uri);
        match &stack {
            Ok(stack) => {
                let (webhook, secrets, looked, queues, standing, alarms) = tokio::join!(
                    self.webhook(stack, deadline),
                    self.secrets(stack, deadline),
                    self.looked(stack, listed, deadline),
                    self.queues(stack, deadline),
                    self.standing(stack, deadline),
                    self.alarms(stack, deadline)
                );
                let mut before = configuration::judge(stack);
                before.extend(secrets);
                before.push(key);
                before.push(webhook);
                before.extend(self.of_accounts(&looked));
                let mut behind = queues;
                behind.extend(standing.into_iter().map(|(schedule, standing)| {
                    let seen = Seen { standing, done: done(schedule, &looked) };
                    schedules::judge(schedule, stack, &seen, self.now)
                }));
                behind.extend(alarms);
                (before, behind)
            }
            Err(problem) => {
                let looked = self.looked(&StackMap::default(), listed, deadline).await;
                let mut before = vec![Line::unexamined("the configuration", problem)];
                before.push(Line::unexamined("the secrets", &"where they are is not known"));
                before.push(key);
                before.push(Line::unexamined(webhook::WHAT, &"its address is not known"));
                before.extend(self.of_accounts(&looked));
                let unknown = ["the queues", "the schedules", "the alarms"];
                let behind = unknown.map(|what| Line::unexamined(what, &"where they are is not known")).to_vec();
                (before, behind)
            }
        }
    }

    /// All accounts that Nylas knows, as far as there are not too many.
    async fn listed(&self, deadline: Deadline) -> Result<Vec<Grant>, NylasError> {
        let mut all: Vec<Grant> = Vec::new();
        while all.len() < MOST_ACCOUNTS {
            let page = self.operator.nylas.grants(all.len(), deadline).await?;
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        Ok(all)
    }

    async fn webhook(&self, stack: &StackMap, deadline: Deadline) -> Line {
        let webhooks = &self.operator.webhooks;
        match webhooks.list(deadline).await {
            Ok(all) => webhook::judge(Desired::of(stack, webhooks.stack_name()).as_ref(), &all),
            Err(error) => Line::unexamined(webhook::WHAT, &error),
        }
    }

    async fn secrets(&self, stack: &StackMap, deadline: Deadline) -> Vec<Line> {
        let examined = &self.operator.examined;
        let there = SECRETS.iter().filter_map(|(name, parameter)| Some((*parameter, stack.resource(name).ok()?)));
        let has_value = async |arn: &str| in_time(deadline, examined.has_value(arn)).await;
        let of_webhook = async {
            let parameter = match stack.resource(WEBHOOK_SECRET) {
                Ok(arn) => Some(has_value(arn).await),
                Err(_) => None,
            };
            let managed = match stack.resource(MANAGED_WEBHOOK_SECRET) {
                Ok(arn) => in_time(deadline, examined.managed_webhook_secret(arn)).await,
                Err(problem) => Err(problem),
            };
            secrets::of_webhook(&WebhookSecrets { parameter, managed }, self.now)
        };
        let of_parameters = futures_util::future::join_all(
            there.map(async |(parameter, arn)| secrets::of_parameter(parameter, &has_value(arn).await)),
        );
        let (of_webhook, mut lines) = tokio::join!(of_webhook, of_parameters);
        lines.insert(0, of_webhook);
        lines
    }

    /// What is kept of the accounts, the expired ones first.
    async fn looked(&self, stack: &StackMap, grants: Result<Vec<Grant>, NylasError>, deadline: Deadline) -> Looked {
        let support: BTreeSet<&str> = listed(stack, "SupportGrantIds").collect();
        let onboarding = parameter(stack, "OnboardingGrantId");
        let tracking = async {
            match onboarding {
                Some(grant) => Some(in_time(deadline, self.tracking_refused(grant)).await),
                None => None,
            }
        };
        let accounts = async {
            let mut grants = grants?;
            // Those of which most is to be told are looked at whatever the time.
            grants.sort_by_key(Grant::is_valid);
            let looking = grants.into_iter().enumerate().map(async |(number, grant)| {
                let role = match grant.id.as_str() {
                    id if Some(id) == onboarding => Role::Onboarding,
                    id if support.contains(id) => Role::Support,
                    _ => Role::Ordinary,
                };
                let is_time = number < MOST_LOOKED_AT && !deadline.left().is_zero();
                let kept = if is_time { Some(in_time(deadline, self.kept(&grant, role)).await) } else { None };
                Account { grant, role, kept }
            });
            Ok(futures_util::stream::iter(looking).buffered(SIDE_BY_SIDE).collect::<Vec<_>>().await)
        };
        let contacts = in_time(deadline, self.latest_contacts());
        let (accounts, tracking, contacts) = tokio::join!(accounts, tracking, contacts);
        let unknown = accounts.as_ref().map(|accounts| {
            let is_known = |id: &str| accounts.iter().any(|account| account.grant.id == id);
            let of = |parameter: &'static str, ids: Vec<&str>| {
                let missing: Vec<Unknown> = ids
                    .into_iter()
                    .filter(|id| !is_known(id))
                    .map(|id| Unknown { parameter, grant: id.to_owned() })
                    .collect();
                missing
            };
            let mut unknown = of("OnboardingGrantId", onboarding.into_iter().collect());
            unknown.extend(of("SupportGrantIds", listed(stack, "SupportGrantIds").collect()));
            unknown
        });
        let unknown = unknown.unwrap_or_default();
        Looked { accounts, unknown, tracking, contacts }
    }

    /// What is kept of an account.
    async fn kept(&self, grant: &Grant, role: Role) -> Result<Kept, StoreError> {
        let links = &self.operator.links;
        let Some(id) = GrantId::parse(&grant.id) else { return Ok(Kept::default()) };
        let told = links.get(&LinkKey::new("account", id.as_str())).await?.map(|standing| {
            let state = match standing.link.state {
                LinkState::Live { became } => became,
                LinkState::Tombstone | LinkState::Note => "deleted".to_owned(),
            };
            (state, standing.link.version.changed_at)
        });
        let mut kept = Kept::default();
        for function in functions_of(grant, role) {
            kept.looked_through.push((function, watermark(links, function, &id).await?));
        }
        let Some((state, at)) = told else { return Ok(kept) };
        let since = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
        if state == "connected" && self.now.duration_since(since) < RETURNED_LATELY {
            // The run as calendar-sync names it when an account is back.
            let run = part_of(&format!("returned.{at}"), Some(id.as_str()));
            for function in functions_of(grant, role) {
                kept.returned.push((function, progress(links, &run_key(function, &run)).await?));
            }
        }
        kept.told = Some(Told { state, since });
        Ok(kept)
    }

    /// What Nylas said when it refused to track a mail, as onboarding-transitions notes it.
    async fn tracking_refused(&self, grant: &str) -> Result<Option<String>, StoreError> {
        let note = self.operator.links.get(&LinkKey::new("tracking-refused", grant)).await?;
        Ok(note.map(|note| note.link.facts.get("text").and_then(Value::as_str).unwrap_or("no words").to_owned()))
    }

    /// When the latest run of contact-sync for all accounts began, as it notes that.
    async fn latest_contacts(&self) -> Result<Option<Timestamp>, StoreError> {
        let latest = self.operator.links.get(&LinkKey::new("contact-sync", "latest-run")).await?;
        let began_at = latest.and_then(|latest| latest.link.facts.get("began_at")?.as_i64());
        Ok(began_at.and_then(|began_at| Timestamp::from_second(began_at).ok()))
    }

    fn of_accounts(&self, looked: &Looked) -> Vec<Line> {
        let mut lines = match &looked.accounts {
            Ok(accounts) => grants::judge(accounts, &looked.unknown, self.now),
            Err(_) => vec![Line::unexamined("the connected accounts", &"Nylas did not list them, see the Nylas key")],
        };
        lines.extend(looked.tracking.as_ref().map(|tracking| match tracking {
            Ok(refused) => onboarding::tracking(refused.as_deref()),
            Err(problem) => Line::unexamined("the tracking of onboarding mail", problem),
        }));
        lines
    }

    async fn queues(&self, stack: &StackMap, deadline: Deadline) -> Vec<Line> {
        let of_functions = WORKERS.map(|(worker, function)| async move {
            queues::of_function(function, &self.depths_twice(stack.queue_url(worker), deadline).await)
        });
        let letters = WORKERS.map(|(worker, function)| async move {
            let depths = self.depths(stack.dead_letter_queue_url(worker), deadline).await;
            queues::resting(Resting::DeadLetters, function, &depths)
        });
        let others = [(Resting::Unroutable, "UnroutableQueue"), (Resting::OfSchedules, "SchedulerDeadLetterQueue")];
        let others = others.map(|(resting, name)| async move {
            queues::resting(resting, "", &self.depths(stack.resource(name), deadline).await)
        });
        let (mut lines, letters, others) = tokio::join!(
            futures_util::future::join_all(of_functions),
            futures_util::future::join_all(letters),
            futures_util::future::join_all(others)
        );
        lines.extend(letters);
        lines.extend(others);
        lines
    }

    async fn depths(&self, url: Result<&str, StoreError>, deadline: Deadline) -> Result<Depths, StoreError> {
        in_time(deadline, self.operator.examined.depths(url?)).await
    }

    /// The same, and once more a little later if nobody seems to be at it.
    async fn depths_twice(&self, url: Result<&str, StoreError>, deadline: Deadline) -> Result<Depths, StoreError> {
        let first = self.depths(url.clone(), deadline).await?;
        if !first.is_left_alone() || deadline.left() <= SECOND_LOOK_AFTER {
            return Ok(first);
        }
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        self.depths(url, deadline).await
    }

    async fn standing(
        &self,
        stack: &StackMap,
        deadline: Deadline,
    ) -> Vec<(Schedule, Result<Option<schedules::Standing>, StoreError>)> {
        let examined = &self.operator.examined;
        futures_util::future::join_all(SCHEDULES.map(|schedule| async move {
            let standing = match stack.resource(schedule.name) {
                Ok(name) => in_time(deadline, examined.schedule(name)).await,
                Err(problem) => Err(problem),
            };
            (schedule, standing)
        }))
        .await
    }

    async fn alarms(&self, stack: &StackMap, deadline: Deadline) -> Vec<Line> {
        let examined = &self.operator.examined;
        let expected: Vec<(&str, &str)> = stack
            .resources
            .iter()
            .filter(|(name, _)| name.ends_with("Alarm"))
            .map(|(name, physical)| (name.as_str(), physical.as_str()))
            .collect();
        let topic = stack.resource("AlarmTopic").ok();
        let names: Vec<&str> = expected.iter().map(|(_, physical)| *physical).collect();
        let subscriptions = async {
            match topic {
                Some(topic) => Some(in_time(deadline, examined.subscriptions(topic)).await),
                None => None,
            }
        };
        let (standing, subscriptions) = tokio::join!(in_time(deadline, examined.alarms(&names)), subscriptions);
        let mut lines = alarms::judge(&expected, &standing, topic);
        lines.push(alarms::listener(subscriptions.as_ref()));
        lines
    }
}

/// Asks a system, if it is on.
async fn reached(system: &System<impl Reach>, deadline: Deadline) -> Option<Result<Reached, CallError>> {
    match &system.client {
        Some(client) => Some(
            tokio::time::timeout(deadline.left(), client.reach(deadline))
                .await
                .unwrap_or(Err(CallError::OutOfTime { api: system.name })),
        ),
        None => None,
    }
}

/// What something answers in the time that there is.
async fn in_time<T>(deadline: Deadline, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answered = tokio::time::timeout(deadline.left(), answer).await;
    answered.unwrap_or_else(|_| Err(StoreError("it did not answer in time".to_owned())))
}

/// The functions that look an account through every night.
fn functions_of(grant: &Grant, role: Role) -> Vec<&'static str> {
    let mail = if role == Role::Support { "ticket-triage" } else { "email-activity" };
    let functions = [(mail, grant.has_mail()), ("calendar-sync", grant.has_calendars()), ("notetaker-media", true)];
    functions.into_iter().filter(|(_, does)| *does).map(|(function, _)| function).collect()
}

/// When the work of a schedule was last done, for each account that it is done for; none if that cannot be told.
fn done(schedule: Schedule, looked: &Looked) -> Option<Vec<(String, Option<Timestamp>)>> {
    if schedule.function == "contact-sync" {
        let latest = looked.contacts.as_ref().ok()?;
        return Some(vec![("all accounts".to_owned(), *latest)]);
    }
    let valid = looked.accounts.as_ref().ok()?.iter().filter(|account| account.grant.is_valid());
    let kept = valid.filter_map(|account| Some((account, account.kept.as_ref()?.as_ref().ok()?)));
    let of_function = kept.filter_map(|(account, kept)| {
        let (_, at) = kept.looked_through.iter().find(|(function, _)| *function == schedule.function)?;
        Some((account.grant.id.clone(), *at))
    });
    Some(of_function.collect())
}

//! Examines everything that the stack depends on, one line each: what it is, how it stands, what was seen, and what to do
//! when it is red.
//!
//! Pure, each a judgement of what was seen:
//! - [`configuration`]: the last deployment, which functions are on, the region.
//! - [`secrets`]: whether each has a value, and the mark of a rotation.
//! - [`nylas_key`]: the key of Nylas.
//! - [`webhook`]: the webhook at Nylas.
//! - [`grants`]: the connected accounts, and what was missed of those that have expired.
//! - [`systems`]: the CRM and the ticket system.
//! - [`queues`]: the queues, and those where nothing should lie.
//! - [`schedules`]: the schedules, and whether the last night ran.
//! - [`alarms`]: the alarms, and who is told of them.
//! - [`onboarding`]: the account that customers are written from.
//! - [`line`](mod@line): a line, and all lines as an answer.
//!
//! What carries it out:
//! - [`examination`]: looks at everything side by side, in the time that there is.
//! - [`in_aws`]: what is looked at, in AWS.

pub mod alarms;
pub mod configuration;
pub mod examination;
pub mod grants;
pub mod in_aws;
pub mod line;
pub mod nylas_key;
pub mod onboarding;
pub mod queues;
pub mod schedules;
pub mod secrets;
pub mod systems;
pub mod webhook;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use shared::engine::StoreError;
use std::future::Future;

use self::alarms::{Alarm, Subscription};
use self::examination::Examination;
use self::line::{State, count, told};
use self::queues::Depths;
use self::schedules::Standing;
use self::secrets::Managed;
use crate::operate::{Answer, Invocation, OperateError, Operator, Ports, soon};
use crate::stack_map::StackMap;

pub use self::in_aws::StackInAws;

/// What is examined beside Nylas, the CRM, the ticket system and the links. Nothing of it is changed.
pub trait Examined: Sync {
    /// What the stack is made of.
    fn stack(&self) -> impl Future<Output = Result<StackMap, StoreError>> + Send;

    /// Whether a secret has a value, by its ARN.
    fn has_value(&self, secret: &str) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// What the managed webhook secret holds, by its ARN.
    fn managed_webhook_secret(&self, secret: &str) -> impl Future<Output = Result<Managed, StoreError>> + Send;

    /// How many messages a queue holds, by its URL.
    fn depths(&self, queue: &str) -> impl Future<Output = Result<Depths, StoreError>> + Send;

    /// A schedule, by its name; none if there is no such schedule.
    fn schedule(&self, name: &str) -> impl Future<Output = Result<Option<Standing>, StoreError>> + Send;

    /// Those of the alarms with these names that are there; at most 100.
    fn alarms(&self, names: &[&str]) -> impl Future<Output = Result<Vec<Alarm>, StoreError>> + Send;

    /// Who listens to a topic, by its ARN.
    fn subscriptions(&self, topic: &str) -> impl Future<Output = Result<Vec<Subscription>, StoreError>> + Send;
}

impl<P: Ports> Operator<P> {
    /// Examines everything. What cannot be examined is a line of its own, never an error. Of what was seen no more is logged
    /// than how many lines stand how.
    ///
    /// # Errors
    /// None: whatever does not answer is told in its line.
    pub(crate) async fn doctor(&self, invocation: &Invocation) -> Result<Answer, OperateError> {
        let examination = Examination { operator: self, now: invocation.now, deadline: soon(invocation) };
        let lines = examination.lines().await;
        tracing::info!(
            command = "doctor",
            ok = count(&lines, State::Ok),
            off = count(&lines, State::Off),
            warnings = count(&lines, State::Warning),
            red = count(&lines, State::Red),
            "answered"
        );
        Ok(Answer::Told(told(&lines)))
    }
}

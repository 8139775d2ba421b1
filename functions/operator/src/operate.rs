//! Answers an event: starts what it asks for and follows it as long as there is time.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::configuration::{ConfigurationError, Environment};
use shared::domain::failure::Failure;
use shared::engine::{Deadline, Links, SendToQueue, StoreError};
use std::time::Duration;

use crate::command::{Function, Order, Refused, Request};
use crate::follow::Follower;
use crate::jobs::{Part, messages, run_name};
use crate::report::{Report, Row};

/// How long a run is followed if the event does not say. SAM waits for an answer for a minute, then it invokes the
/// function once more, which would start the run once more (botocore's default `read_timeout` is 60 s, and it tries a
/// call again whose answer did not come).
pub const DEFAULT_WAIT: Duration = Duration::from_secs(45);

/// What is kept of the invocation's time for the last look and the answer.
const MARGIN: Duration = Duration::from_secs(15);

/// What the function is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The support mailboxes, separated by commas, whose mail is not email-activity's.
    pub support_grants: String,
    /// False while no CRM is configured: then the functions do nothing.
    pub has_crm: bool,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// If a variable of the environment cannot be used.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigurationError> {
        Ok(Self {
            support_grants: environment.list("SUPPORT_GRANT_IDS").join(","),
            has_crm: environment.base_url("CRM_BASE_URL")?.is_some(),
        })
    }
}

/// The function, with its clients.
pub struct Operator<Q, L> {
    /// The queue of email-activity.
    pub mail_queue: Q,
    /// The queue of calendar-sync.
    pub calendar_queue: Q,
    /// Where progress is kept.
    pub links: L,
    /// What it is set to.
    pub settings: Settings,
}

/// One invocation.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Its id.
    pub id: String,
    /// When it came.
    pub now: Timestamp,
    /// When it ends.
    pub deadline: Deadline,
}

/// What an event is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// How far the run has come.
    Progress {
        /// The command.
        command: &'static str,
        /// The name of the run.
        run: String,
        /// True once nothing of it is left.
        ended: bool,
        /// Its parts.
        rows: Vec<Row>,
        /// The event that asks again.
        again: Value,
        /// The same for people, and what to do next.
        table: String,
    },
    /// Nothing was done.
    Refused {
        /// Why.
        error: String,
        /// An event that is right.
        #[serde(skip_serializing_if = "Option::is_none")]
        example: Option<Value>,
    },
}

/// What the function needs did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// A job cannot be written.
    #[error("the job cannot be written: {0}")]
    Unwritable(Failure),
    /// A queue did not take a job.
    #[error(
        "the queue of {function} did not take the job: {problem}; {before}, and starting it again does nothing twice"
    )]
    Queue {
        /// Whose queue.
        function: &'static str,
        /// What happened.
        problem: StoreError,
        /// What was started before.
        before: String,
    },
    /// The progress cannot be read.
    #[error(
        "how far the run {run} has come cannot be read: {problem}; it goes on all the same, ask again with {again}"
    )]
    Unreadable {
        /// The run.
        run: String,
        /// What happened.
        problem: StoreError,
        /// The event that asks again.
        again: Value,
    },
}

impl<Q: SendToQueue, L: Links> Operator<Q, L> {
    /// Does what an event asks for, or says what is wrong with it.
    ///
    /// # Errors
    /// If a queue or the table does not answer.
    pub async fn answer(&self, event: &Value, invocation: &Invocation) -> Result<Answer, OperateError> {
        let request = match Request::read(event, invocation.now) {
            Ok(request) => request,
            Err(Refused { problem, meant }) => {
                return Ok(Answer::Refused { error: problem.to_string(), example: Some(meant.example()) });
            }
        };
        let (run, is_shown) = match &request.order {
            Order::Show(run) => (run.clone(), true),
            Order::Start(_) if !self.settings.has_crm => {
                let error =
                    "nothing was started: there is no CRM to write to; deploy the stack with `CrmBaseUrl` first";
                return Ok(Answer::Refused { error: error.to_owned(), example: None });
            }
            Order::Start(_) => (run_name(invocation.now, &invocation.id), false),
        };
        self.start(&request, &run).await?;
        let command = request.command.name();
        let again = request.again(&run);
        let left = invocation.deadline.earlier_by(MARGIN).left();
        let until = Deadline::after(request.wait.unwrap_or(DEFAULT_WAIT).min(left));
        let report = Follower::new(&self.links, &run, Part::first_of(&request))
            .follow(until, |report| log(command, &run, report))
            .await
            .map_err(|problem| OperateError::Unreadable { run: run.clone(), problem, again: again.clone() })?;
        let (ended, table) = (report.ended(), report.table(&again, is_shown));
        Ok(Answer::Progress { command, run, ended, rows: report.rows, again, table })
    }

    /// Puts the jobs into their queues, if the request is to start something.
    async fn start(&self, request: &Request, run: &str) -> Result<(), OperateError> {
        let Order::Start(job) = &request.order else { return Ok(()) };
        let messages = messages(request, job, run, &self.settings.support_grants).map_err(OperateError::Unwritable)?;
        let mut before = "nothing was started".to_owned();
        for (function, message) in messages {
            let (queue, function) = match function {
                Function::EmailActivity => (&self.mail_queue, function.name()),
                Function::CalendarSync => (&self.calendar_queue, function.name()),
            };
            if let Err(problem) = queue.send(&message).await {
                return Err(OperateError::Queue { function, problem, before });
            }
            before = format!("that of {function} was started as the run {run}");
            tracing::info!(command = request.command.name(), run, function, "queued");
        }
        Ok(())
    }
}

fn log(command: &str, run: &str, report: &Report) {
    tracing::info!(
        command,
        run,
        parts = report.rows.len(),
        parts_ended = report.parts_ended(),
        jobs = report.rows.iter().map(|row| row.jobs).sum::<u64>(),
        came_to = ?report.counts(),
        ended = report.ended(),
        "progress"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::engine::progress::{Step, advance, run_key};
    use shared::engine::testing::{MemoryLinks, MemoryQueue};
    use std::sync::atomic::Ordering;

    fn operator() -> Operator<MemoryQueue, MemoryLinks> {
        Operator {
            mail_queue: MemoryQueue::default(),
            calendar_queue: MemoryQueue::default(),
            links: MemoryLinks::default(),
            settings: Settings { support_grants: "support".to_owned(), has_crm: true },
        }
    }

    fn invocation() -> Invocation {
        Invocation {
            id: "8d5a3f1e-1c1b-4a55-9c7e-0f9a6b2d7c11".to_owned(),
            now: Timestamp::from_second(1_772_359_200).expect("a time"),
            deadline: Deadline::after(Duration::from_mins(5)),
        }
    }

    async fn answered(operator: &Operator<MemoryQueue, MemoryLinks>, event: Value) -> Value {
        let answer = operator.answer(&event, &invocation()).await.expect("an answer");
        serde_json::to_value(answer).expect("JSON")
    }

    const RUN: &str = "by-hand-20260301T100000Z-8d5a3f1e";

    #[tokio::test(start_paused = true)]
    async fn backfill_is_queued_and_followed_to_its_end() {
        let operator = operator();
        let event = json!({ "command": "backfill", "grant_id": "g" });
        let work = async {
            let key = run_key("calendar-sync", &format!("{RUN}/g"));
            for number in 0..2 {
                tokio::time::sleep(Duration::from_secs(5)).await;
                let step = Step { number, counts: &[("written", 3)], last: number == 1, ..Step::default() };
                advance(&operator.links, &key, &step, Timestamp::UNIX_EPOCH).await.expect("noted");
            }
        };
        let (answer, ()) = tokio::join!(answered(&operator, event), work);
        assert_eq!(
            (&answer["command"], &answer["run"], &answer["ended"]),
            (&json!("backfill"), &json!(RUN), &json!(true))
        );
        assert_eq!(answer["rows"][0]["counts"], json!({ "written": 6 }));
        assert!(answer["table"].as_str().is_some_and(|table| table.ends_with("It has ended.")), "{answer}");
        assert_eq!(operator.calendar_queue.sent().len(), 1);
        assert!(operator.mail_queue.sent().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn run_is_followed_for_45_seconds_or_as_long_as_is_said_but_never_beyond_the_invocation() {
        let waited = async |wait: Value| {
            let begun = tokio::time::Instant::now();
            let event = json!({ "command": "reconcile", "grant_id": "g", "wait_seconds": wait });
            let answer = answered(&operator(), event).await;
            assert_eq!(answer["ended"], false);
            begun.elapsed().as_secs()
        };
        assert_eq!(waited(Value::Null).await, 45);
        assert_eq!(waited(json!(0)).await, 0);
        assert_eq!(waited(json!(120)).await, 120);
        assert_eq!(waited(json!(u64::MAX)).await, 285);
    }

    #[tokio::test(start_paused = true)]
    async fn reconciling_goes_into_both_queues() {
        let operator = operator();
        let answer = answered(&operator, json!({ "command": "reconcile", "wait_seconds": 0 })).await;
        for queue in [&operator.mail_queue, &operator.calendar_queue] {
            let [message] = queue.sent().try_into().expect("one message");
            assert!(message.body.contains(RUN), "{}", message.body);
        }
        let rows: Vec<(&Value, &Value)> =
            answer["rows"].as_array().expect("rows").iter().map(|row| (&row["function"], &row["state"])).collect();
        let state = &json!("queued, not begun yet");
        assert_eq!(rows, [(&json!("email-activity"), state), (&json!("calendar-sync"), state)]);
        assert_eq!(answer["again"], json!({ "command": "reconcile", "run": RUN }));
    }

    #[tokio::test(start_paused = true)]
    async fn run_that_is_named_is_shown_without_queueing_anything() {
        let operator = operator();
        let key = run_key("calendar-sync", "earlier/g");
        let step = Step { last: true, ..Step::default() };
        advance(&operator.links, &key, &step, Timestamp::UNIX_EPOCH).await.expect("noted");
        let answer = answered(&operator, json!({ "command": "backfill", "grant_id": "g", "run": "earlier" })).await;
        assert_eq!((&answer["run"], &answer["ended"]), (&json!("earlier"), &json!(true)));
        assert!(operator.calendar_queue.sent().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_event_is_answered_and_nothing_is_queued() {
        let operator = operator();
        let answer = answered(&operator, json!({ "command": "backfill" })).await;
        assert_eq!(answer["error"], "`grant_id` is missing: a backfill is for one account");
        assert_eq!(answer["example"]["command"], "backfill");
        assert!(operator.calendar_queue.sent().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_started_without_a_crm_and_what_was_started_is_still_shown() {
        let without = Operator { settings: Settings { has_crm: false, ..operator().settings }, ..operator() };
        let answer = answered(&without, json!({ "command": "reconcile" })).await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("CrmBaseUrl")), "{answer}");
        assert_eq!(answer.get("example"), None);
        assert!(without.mail_queue.sent().is_empty());
        let answer = answered(&without, json!({ "command": "reconcile", "run": "r", "wait_seconds": 0 })).await;
        assert_eq!(answer["ended"], false);
    }

    #[tokio::test(start_paused = true)]
    async fn queue_that_is_down_is_an_error_that_says_what_was_started_before() {
        let operator = operator();
        operator.calendar_queue.down.store(true, Ordering::SeqCst);
        let error = operator.answer(&json!({ "command": "reconcile" }), &invocation()).await.expect_err("it is down");
        let told = error.to_string();
        assert!(told.contains("queue of calendar-sync") && told.contains("the queue is down"), "{told}");
        assert!(told.contains(&format!("that of email-activity was started as the run {RUN}")), "{told}");
    }

    #[test]
    fn environment_says_whether_there_is_a_crm_and_whose_mail_is_left_out() {
        let read = |variables: &[(&str, &str)]| Settings::from_environment(&Environment::of(variables));
        let none = Settings { support_grants: String::new(), has_crm: false };
        assert_eq!(read(&[("SUPPORT_GRANT_IDS", ""), ("CRM_BASE_URL", "")]), Ok(none));
        let both = Settings { support_grants: "a,b".to_owned(), has_crm: true };
        assert_eq!(read(&[("SUPPORT_GRANT_IDS", " a , b"), ("CRM_BASE_URL", "https://crm.example.com")]), Ok(both));
    }
}

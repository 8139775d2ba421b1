//! Answers an event: does what it asks for; what it starts is followed as long as there is time.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use shared::configuration::{ConfigurationError, Environment};
use shared::crm::FindContacts;
use shared::domain::address::CompanyDomains;
use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::domain::own_mail::LoopId;
use shared::engine::{Deadline, Links, ReadDecisions, SendToQueue, StoreError};
use shared::mail::reading::ReadMail;
use shared::set_up::SetUp;
use std::time::Duration;

use crate::auto_join::{AutoJoinAnswer, AutoJoinError, NamedCalendar, auto_join};
use crate::command::{Function, Job, Order, Refused, Request, RunRequest};
use crate::doctor::Examined;
use crate::doctor::systems::Reach;
use crate::findings::MOST_LISTED;
use crate::follow::Follower;
use crate::forget::Held;
use crate::invitation::Invitation;
use crate::invite::{InviteAnswer, InviteError, Inviting};
use crate::jobs::{Part, messages, run_name};
use crate::joining_rules::AutoJoin;
use crate::letters::Letters;
use crate::media::{MediaAnswer, MediaError, media};
use crate::media_link::{MediaLink, owners};
use crate::ports::{Archive, LiveRules, Notetaking, SupportMailboxes};
use crate::proposed_rules::TriageRules;
use crate::replay::Replays;
use crate::report::{Report, Row};
use crate::set_up::{SetUpAnswer, State, System, set_up};
use crate::story::Records;
use crate::subscribe::Webhooks;
use crate::told::Told;
use crate::triage_rules::{Trial, TrialError};
use crate::trial_report::TrialAnswer;

/// How long a run is followed if the event does not say. SAM waits for an answer for a minute, then it invokes the
/// function once more, which would start the run once more (botocore's default `read_timeout` is 60 s, and it tries a
/// call again whose answer did not come).
pub const DEFAULT_WAIT: Duration = Duration::from_secs(45);

/// How long Nylas, the archive and the other systems may take together, so that the answer comes while SAM waits for it.
const LONGEST_ANSWER: Duration = Duration::from_secs(40);

/// What is kept of the invocation's time for the last look and the answer.
const MARGIN: Duration = Duration::from_secs(15);

/// What the function is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The company's own domains.
    pub company_domains: CompanyDomains,
    /// What marks mail that this deployment sends.
    pub loop_id: LoopId,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// If a variable of the environment cannot be used.
    pub fn from_environment(environment: &Environment) -> Result<Self, ConfigurationError> {
        Ok(Self {
            company_domains: environment.parsed("COMPANY_DOMAINS", CompanyDomains::default(), |list| {
                CompanyDomains::parse(list.split(',').filter(|entry| !entry.trim().is_empty()))
            })?,
            loop_id: LoopId::of_stack(&environment.required("STACK_ID")?),
        })
    }
}

/// What the function needs of the outside, each as narrow as what it is used for.
pub trait Ports {
    /// A queue that jobs are put into.
    type Queue: SendToQueue;
    /// Where progress is kept, and what was invited.
    type Links: Links;
    /// Nylas.
    type Nylas: Notetaking + ReadMail;
    /// Where the files of meetings lie.
    type Archive: Archive;
    /// What was decided of each mail.
    type Decisions: ReadDecisions;
    /// The triage rules that are live.
    type LiveRules: LiveRules;
    /// The support mailboxes.
    type Mailboxes: SupportMailboxes;
    /// The CRM.
    type Crm: SetUp + FindContacts + Reach;
    /// The ticket system.
    type Tickets: SetUp + Reach;
    /// What lies in the dead-letter queues, and what is known of it.
    type Letters: Letters;
    /// Everything that is kept of what happened.
    type Records: Records;
    /// Where what is replayed comes from and goes to.
    type Replays: Replays;
    /// The webhook at Nylas and its secret.
    type Webhooks: Webhooks;
    /// What is examined.
    type Examined: Examined;
    /// Everything that may hold an address.
    type Held: Held;
}

/// The function, with its clients.
pub struct Operator<P: Ports> {
    /// The queue of email-activity.
    pub mail_queue: P::Queue,
    /// The queue of calendar-sync.
    pub calendar_queue: P::Queue,
    /// The queue of notetaker-media.
    pub notetaker_queue: P::Queue,
    /// The queue of contact-sync.
    pub contact_queue: P::Queue,
    /// Where progress is kept, and what was invited.
    pub links: P::Links,
    /// Nylas.
    pub nylas: P::Nylas,
    /// Where the files of meetings lie.
    pub archive: P::Archive,
    /// What was decided of each mail.
    pub decisions: P::Decisions,
    /// The triage rules that are live.
    pub live_rules: P::LiveRules,
    /// The support mailboxes, whose mail is not email-activity's.
    pub support_mailboxes: P::Mailboxes,
    /// The CRM. While it is off, the functions do nothing.
    pub crm: System<P::Crm>,
    /// The ticket system.
    pub tickets: System<P::Tickets>,
    /// What lies in the dead-letter queues, and what is known of it.
    pub letters: P::Letters,
    /// Everything that is kept of what happened.
    pub records: P::Records,
    /// Where what is replayed comes from and goes to.
    pub replays: P::Replays,
    /// The webhook at Nylas and its secret.
    pub webhooks: P::Webhooks,
    /// What is examined.
    pub examined: P::Examined,
    /// Everything that may hold an address.
    pub held: P::Held,
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
    /// A notetaker was invited, or had been.
    Invited(InviteAnswer),
    /// By which rules notetakers join a calendar's meetings.
    AutoJoin(AutoJoinAnswer),
    /// A link to a file of a meeting.
    Media(MediaAnswer),
    /// What proposed triage rules would change.
    Trial(Box<TrialAnswer>),
    /// What the CRM and the ticket system need once, and how it stands.
    SetUp(SetUpAnswer),
    /// What a command came to, as rows, as a table and in words.
    Told(Told),
    /// The calendar is not known.
    NoCalendar {
        /// What happened.
        error: String,
        /// Those that are.
        calendars: Vec<NamedCalendar>,
    },
    /// Nothing was done, or nobody can say whether it was.
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
    /// It is not known which mailboxes are support mailboxes.
    #[error("nothing was started: which mailboxes are support mailboxes cannot be read: {0}; give the command again")]
    Unlisted(StoreError),
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
    /// An invitation cannot be claimed.
    #[error(transparent)]
    Unclaimed(InviteError),
    /// The archive does not answer.
    #[error(transparent)]
    Archive(MediaError),
    /// Rules cannot be tried.
    #[error(transparent)]
    Untried(TrialError),
    /// Something of AWS that a command needs does not answer.
    #[error("{what}: {problem}; {then}")]
    Unavailable {
        /// What could not be done.
        what: String,
        /// What happened.
        problem: StoreError,
        /// What was done before, and what to do.
        then: &'static str,
    },
}

impl Answer {
    pub(crate) fn error(error: String) -> Self {
        Self::Refused { error, example: None }
    }
}

impl<P: Ports> Operator<P> {
    /// Does what an event asks for, or says what is wrong with it.
    ///
    /// # Errors
    /// If a queue, a table or the archive does not answer.
    pub async fn answer(&self, event: &Value, invocation: &Invocation) -> Result<Answer, OperateError> {
        match Request::read(event, invocation.now) {
            Ok(Request::Run(request)) => self.run(&request, invocation).await,
            Ok(Request::Invite(invitation)) => self.invite(&invitation, invocation).await,
            Ok(Request::AutoJoin(asked)) => Ok(self.auto_join(&asked, invocation).await),
            Ok(Request::Media(asked)) => self.media(&asked, invocation).await,
            Ok(Request::TriageRules(asked)) => self.triage_rules(&asked, invocation).await,
            Ok(Request::SetUp) => Ok(Answer::SetUp(self.set_up(invocation).await)),
            Ok(Request::Letters(asked)) => self.letters(&asked, invocation).await,
            Ok(Request::Story(asked)) => self.story(&asked, invocation).await,
            Ok(Request::Replay(asked)) => self.replay(&asked, invocation).await,
            Ok(Request::Subscribe(asked)) => self.subscribe(&asked, invocation).await,
            Ok(Request::Doctor) => self.doctor(invocation).await,
            Ok(Request::Forget(asked)) => self.forget(&asked, invocation).await,
            Err(Refused { problem, meant }) => {
                Ok(Answer::Refused { error: problem.to_string(), example: Some(meant.example()) })
            }
        }
    }

    /// Starts a run, or shows how far it has come.
    async fn run(&self, request: &RunRequest, invocation: &Invocation) -> Result<Answer, OperateError> {
        let (run, is_shown) = match &request.order {
            Order::Show(run) => (run.clone(), true),
            Order::Start(_) if self.crm.client.is_none() => {
                let error =
                    "nothing was started: there is no CRM to write to; deploy the stack with `CrmBaseUrl` first";
                return Ok(Answer::error(error.to_owned()));
            }
            Order::Start(_) => (run_name(invocation.now, &invocation.id), false),
        };
        self.start(request, &run).await?;
        let command = request.command.name();
        let again = request.again(&run);
        let left = invocation.deadline.earlier_by(MARGIN).left();
        let until = Deadline::after(request.wait.unwrap_or(DEFAULT_WAIT).min(left));
        let report = Follower::new(&self.links, &run, Part::first_of(request))
            .follow(until, |report| log(command, &run, report))
            .await
            .map_err(|problem| OperateError::Unreadable { run: run.clone(), problem, again: again.clone() })?
            .listing_at_most(MOST_LISTED);
        let (ended, table) = (report.ended(), report.table(&again, is_shown));
        Ok(Answer::Progress { command, run, ended, rows: report.rows, again, table })
    }

    /// Sends a notetaker to a meeting.
    async fn invite(&self, invitation: &Invitation, invocation: &Invocation) -> Result<Answer, OperateError> {
        let Self { links, nylas, .. } = self;
        let inviting = Inviting { links, nylas, invitation, now: invocation.now, deadline: soon(invocation) };
        let answered = inviting.carry_out().await;
        let outcome = answered.as_ref().map_or("refused", |answer| answer.outcome.as_str());
        let notetaker = answered.as_ref().ok().and_then(|answer| answer.notetaker_id.as_deref());
        tracing::info!(
            command = "invite",
            grant.id = loggable(invitation.grant.as_str()),
            notetaker.id = notetaker,
            outcome,
            "answered"
        );
        match answered {
            Ok(answer) => Ok(Answer::Invited(answer)),
            Err(InviteError::Nylas(error)) => Ok(Answer::error(error)),
            Err(unclaimed @ InviteError::Unclaimed(_)) => Err(OperateError::Unclaimed(unclaimed)),
        }
    }

    /// Shows or sets by which rules notetakers join a calendar's meetings.
    async fn auto_join(&self, asked: &AutoJoin, invocation: &Invocation) -> Answer {
        let answered = auto_join(&self.nylas, asked, soon(invocation)).await;
        let outcome = answered.as_ref().map_or("refused", |answer| answer.outcome.as_str());
        let differs = answered.as_ref().is_ok_and(|answer| !answer.differs.is_empty());
        tracing::info!(command = "auto_join", grant.id = loggable(asked.grant.as_str()), outcome, differs, "answered");
        match answered {
            Ok(answer) => Answer::AutoJoin(answer),
            Err(AutoJoinError { error, calendars }) if calendars.is_empty() => Answer::error(error),
            Err(AutoJoinError { error, calendars }) => Answer::NoCalendar { error, calendars },
        }
    }

    /// Makes a link to a file of a meeting.
    async fn media(&self, asked: &MediaLink, invocation: &Invocation) -> Result<Answer, OperateError> {
        let slow = |_| MediaError::Unavailable(StoreError("the archive did not answer in time".to_owned()));
        let made = tokio::time::timeout(soon(invocation).left(), media(&self.archive, asked, invocation.now)).await;
        match made.map_err(slow).flatten() {
            Ok((answer, key)) => {
                let (grant, notetaker) = owners(&key).unzip();
                let grant = grant.and_then(loggable);
                tracing::info!(command = "media", grant.id = grant, notetaker.id = notetaker, "a link was made");
                Ok(Answer::Media(answer))
            }
            Err(error @ (MediaError::Elsewhere { .. } | MediaError::Gone)) => Ok(Answer::error(error.to_string())),
            Err(unavailable @ MediaError::Unavailable(_)) => Err(OperateError::Archive(unavailable)),
        }
    }

    /// Tries triage rules on the mail of the support mailboxes.
    async fn triage_rules(&self, asked: &TriageRules, invocation: &Invocation) -> Result<Answer, OperateError> {
        let mailboxes = if asked.grants.is_empty() {
            let support = self.support_mailboxes.grants().await.map_err(OperateError::Unlisted)?;
            support.iter().filter_map(|grant| GrantId::parse(grant)).collect()
        } else {
            asked.grants.clone()
        };
        let trial = Trial {
            nylas: &self.nylas,
            decisions: &self.decisions,
            live: &self.live_rules,
            company_domains: &self.settings.company_domains,
            loop_id: &self.settings.loop_id,
            asked,
            mailboxes: &mailboxes,
            now: invocation.now,
            deadline: soon(invocation),
        };
        match trial.carry_out().await {
            Ok(answer) => {
                let (looked_at, different) = (answer.counts.looked_at, answer.counts.different);
                let (command, ended) = ("triage_rules", answer.ended);
                tracing::info!(command, mailboxes = mailboxes.len(), looked_at, different, ended, "answered");
                Ok(Answer::Trial(Box::new(answer)))
            }
            Err(error @ (TrialError::NoMailbox | TrialError::Elsewhere(_) | TrialError::OutOfReach(_))) => {
                Ok(Answer::error(error.to_string()))
            }
            Err(error @ (TrialError::BuiltIn(_) | TrialError::Unavailable(_))) => Err(OperateError::Untried(error)),
        }
    }

    /// Sees to what the CRM and the ticket system need once. Of what they say no more is logged than how much stands how.
    async fn set_up(&self, invocation: &Invocation) -> SetUpAnswer {
        let answer = set_up(&self.crm, &self.tickets, soon(invocation)).await;
        tracing::info!(
            command = "set_up",
            present = answer.count(State::Present),
            created = answer.count(State::Created),
            done_without = answer.count(State::DoneWithout),
            missing = answer.count(State::Missing),
            failed = answer.count(State::Failed),
            "answered"
        );
        answer
    }

    /// Puts the jobs into their queues, if the request is to start something.
    async fn start(&self, request: &RunRequest, run: &str) -> Result<(), OperateError> {
        let Order::Start(job) = &request.order else { return Ok(()) };
        let support = match job {
            // Of all accounts: theirs are left out.
            Job::Reconcile { .. } if request.grant.is_none() => {
                self.support_mailboxes.grants().await.map_err(OperateError::Unlisted)?.join(",")
            }
            Job::Reconcile { .. } | Job::Backfill { .. } | Job::Sync { .. } => String::new(),
        };
        let messages = messages(request, job, run, &support).map_err(OperateError::Unwritable)?;
        let mut before = "nothing was started".to_owned();
        for (function, message) in messages {
            let (queue, function) = match function {
                Function::EmailActivity => (&self.mail_queue, function.name()),
                Function::CalendarSync => (&self.calendar_queue, function.name()),
                Function::NotetakerMedia => (&self.notetaker_queue, function.name()),
                Function::ContactSync => (&self.contact_queue, function.name()),
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

/// Until when the answer to a command that starts no run must be there.
pub(crate) fn soon(invocation: &Invocation) -> Deadline {
    Deadline::after(LONGEST_ANSWER.min(invocation.deadline.earlier_by(MARGIN).left()))
}

/// A grant as a log may name it: Nylas takes its address in place of its id, and an address is for no log.
pub(crate) fn loggable(grant: &str) -> Option<&str> {
    (!grant.contains('@')).then_some(grant)
}

/// Logs how far a run has come, in numbers alone: what was found are people's phones and names.
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
    use crate::testing::{
        MemoryArchive, MemoryMailboxes, MemorySystem, crm, invocation, operator, refused, settings, tickets,
    };
    use serde_json::json;
    use shared::engine::progress::{Finding, Step, advance, run_key};
    use shared::engine::testing::KeptLog;
    use shared::http::CallError;
    use shared::set_up::{SetUpItem, SetUpState};
    use std::sync::atomic::Ordering;

    type InMemory = Operator<crate::testing::InMemory>;

    async fn answered(operator: &InMemory, event: Value) -> Value {
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
    async fn reconciling_goes_into_the_queue_of_each_function() {
        let operator = operator();
        let answer = answered(&operator, json!({ "command": "reconcile", "wait_seconds": 0 })).await;
        for queue in [&operator.mail_queue, &operator.calendar_queue, &operator.notetaker_queue] {
            let [message] = queue.sent().try_into().expect("one message");
            assert!(message.body.contains(RUN), "{}", message.body);
        }
        let rows: Vec<(&Value, &Value)> =
            answer["rows"].as_array().expect("rows").iter().map(|row| (&row["function"], &row["state"])).collect();
        let state = &json!("queued, not begun yet");
        let functions = [json!("email-activity"), json!("calendar-sync"), json!("notetaker-media")];
        assert_eq!(rows, functions.each_ref().map(|function| (function, state)));
        assert_eq!(answer["again"], json!({ "command": "reconcile", "run": RUN }));
    }

    fn findings() -> Vec<Finding> {
        vec![Finding {
            of: "c-17".to_owned(),
            field: "phone".to_owned(),
            stands: Some("+351 21 000 0000".to_owned()),
            proposed: Some("+351 21 999 9999".to_owned()),
            why: "kept: somebody changed it in the CRM".to_owned(),
        }]
    }

    #[tokio::test(start_paused = true)]
    async fn sync_is_queued_and_followed_through_its_accounts_with_what_they_found() {
        let operator = operator();
        let work = async {
            for (part, counts, parts, findings) in [
                (RUN.to_owned(), ("accounts", 2), vec!["g1".to_owned(), "g2".to_owned()], Vec::new()),
                (format!("{RUN}/g1"), ("conflicts", 1), Vec::new(), findings()),
                (format!("{RUN}/g2"), ("unchanged", 5), Vec::new(), Vec::new()),
            ] {
                tokio::time::sleep(Duration::from_secs(5)).await;
                let step = Step { counts: &[counts], last: true, parts, findings, ..Step::default() };
                let key = run_key("contact-sync", &part);
                advance(&operator.links, &key, &step, Timestamp::UNIX_EPOCH).await.expect("noted");
            }
        };
        let (answer, ()) = tokio::join!(answered(&operator, json!({ "command": "sync", "dry_run": true })), work);
        assert_eq!((&answer["command"], &answer["run"], &answer["ended"]), (&json!("sync"), &json!(RUN), &json!(true)));
        assert_eq!(answer["again"], json!({ "command": "sync", "run": RUN }));
        let found = json!([{
            "of": "c-17", "field": "phone", "stands": "+351 21 000 0000", "proposed": "+351 21 999 9999",
            "why": "kept: somebody changed it in the CRM",
        }]);
        assert_eq!(answer["rows"][1]["findings"], found);
        assert_eq!(answer["rows"][2].get("findings"), None);
        let table = answer["table"].as_str().expect("a table");
        assert!(table.contains("3 of 3 ended") && table.contains("+351 21 999 9999"), "{table}");
        let [message] = operator.contact_queue.sent().try_into().expect("one message");
        assert!(message.body.contains(r#""dry_run":true"#) && message.body.contains(RUN), "{}", message.body);
        for queue in [&operator.mail_queue, &operator.calendar_queue, &operator.notetaker_queue] {
            assert!(queue.sent().is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn value_that_was_found_stands_in_the_answer_and_in_no_log() {
        let log = KeptLog::default();
        let guard = tracing::subscriber::set_default(log.clone());
        let operator = operator();
        let step = Step { counts: &[("conflicts", 1)], last: true, findings: findings(), ..Step::default() };
        let key = run_key("contact-sync", "earlier/g");
        advance(&operator.links, &key, &step, Timestamp::UNIX_EPOCH).await.expect("noted");
        let answer = answered(&operator, json!({ "command": "sync", "grant_id": "g", "run": "earlier" })).await;
        drop(guard);
        assert!(answer["table"].as_str().is_some_and(|table| table.contains("+351 21 999 9999")), "{answer}");
        let logged = log.text();
        assert!(logged.contains("conflicts") && !logged.contains("+351"), "{logged}");
    }

    #[tokio::test(start_paused = true)]
    async fn sync_that_joined_another_shows_what_to_ask_with() {
        let operator = operator();
        let problem = Some(r#"joined the run nightly: ask with {"command":"sync","run":"nightly"}"#.to_owned());
        let step = Step { last: true, problem: problem.clone(), ..Step::default() };
        advance(&operator.links, &run_key("contact-sync", RUN), &step, Timestamp::UNIX_EPOCH).await.expect("noted");
        let answer = answered(&operator, json!({ "command": "sync" })).await;
        assert_eq!((&answer["ended"], answer["rows"][0]["problem"].as_str()), (&json!(true), problem.as_deref()));
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
        let without = Operator { crm: crm(None), ..operator() };
        let answer = answered(&without, json!({ "command": "reconcile" })).await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("CrmBaseUrl")), "{answer}");
        assert_eq!(answer.get("example"), None);
        assert!(without.mail_queue.sent().is_empty());
        let answer = answered(&without, json!({ "command": "sync", "dry_run": true })).await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("CrmBaseUrl")), "{answer}");
        assert!(without.contact_queue.sent().is_empty());
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

    #[tokio::test(start_paused = true)]
    async fn invitation_is_answered_with_its_notetaker() {
        let operator = operator();
        let event = json!({ "command": "invite", "grant_id": "g", "meeting_link": "https://meet.google.com/abc" });
        let answer = answered(&operator, event.clone()).await;
        assert!(answer["text"].is_string(), "{answer}");
        let fields = ["command", "outcome", "grant_id", "notetaker_id", "state", "join_time"].map(|name| &answer[name]);
        assert_eq!(json!(fields), json!(["invite", "invited", "g", "n-1", "connecting", null]));
        assert_eq!(answered(&operator, event).await["outcome"], "already invited");
        assert_eq!(operator.nylas.invitations(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn refusal_of_nylas_is_answered_as_an_error_without_an_example() {
        let operator = operator();
        operator.nylas.fail_listing(refused("list of notetakers", "Not for this plan."));
        let event = json!({ "command": "invite", "grant_id": "g", "meeting_link": "https://meet.google.com/abc" });
        let error = "no notetaker was invited: Nylas refuses the list of notetakers with 400: Not for this plan.";
        assert_eq!(answered(&operator, event).await, json!({ "error": error }));
    }

    #[tokio::test(start_paused = true)]
    async fn rules_for_joining_are_answered_with_their_calendar() {
        let operator = operator();
        operator.nylas.put_calendar("primary", Some("Ines"));
        let answer = answered(&operator, json!({ "command": "auto_join", "grant_id": "g", "off": true })).await;
        assert!(answer["text"].is_string(), "{answer}");
        let fields = ["command", "outcome", "grant_id", "calendar", "notetaker"].map(|name| &answer[name]);
        assert_eq!(json!(fields), json!(["auto_join", "removed", "g", { "id": "primary", "name": "Ines" }, null]));
        let event = json!({ "command": "auto_join", "grant_id": "g", "calendar_id": "c" });
        let answer = answered(&operator, event).await;
        assert!(answer["error"].is_string() && answer.get("text").is_none(), "{answer}");
        assert_eq!(answer["calendars"], json!([{ "id": "primary", "name": "Ines" }]));
    }

    #[tokio::test(start_paused = true)]
    async fn reference_is_answered_with_a_link_and_what_is_gone_with_an_error() {
        let operator = operator();
        let event = json!({ "command": "media", "reference": "s3://archive/media/g/n/summary.json", "minutes": 5 });
        let answer = answered(&operator, event).await;
        assert_eq!((&answer["command"], &answer["until"]), (&json!("media"), &json!("2026-03-01T10:05:00Z")));
        assert!(answer["link"].is_string() && answer["text"].is_string(), "{answer}");
        let event = json!({ "command": "media", "reference": "s3://archive/media/g/n/recording.mp4" });
        let answer = answered(&operator, event).await;
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("holds no such file")), "{answer}");
        let down = Operator { archive: MemoryArchive::down(), ..operator };
        let event = json!({ "command": "media", "reference": "s3://archive/media/g/n/summary.json" });
        let error = down.answer(&event, &invocation()).await.expect_err("it is down").to_string();
        assert!(error.contains("the archive is down"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn notetakers_are_sent_and_set_without_a_crm() {
        let without = Operator { crm: crm(None), ..operator() };
        let event = json!({ "command": "invite", "grant_id": "g", "meeting_link": "https://meet.google.com/abc" });
        assert_eq!(answered(&without, event).await["outcome"], "invited");
    }

    #[tokio::test(start_paused = true)]
    async fn set_up_is_answered_with_a_line_for_each_thing_and_each_system_whatever_they_say() {
        let property = "the property nylas_event_id (single-line text, unique) of meetings".to_owned();
        let created =
            MemorySystem::answering(Ok(vec![SetUpItem { what: property.clone(), state: SetUpState::Created }]));
        let made = Operator { crm: crm(Some(created)), ..operator() };
        let answer = answered(&made, json!({ "command": "set_up" })).await;
        assert_eq!((&answer["command"], &answer["ready"]), (&json!("set_up"), &json!(true)));
        assert!(answer["table"].is_string() && answer["text"].is_string(), "{answer}");
        let line = json!({ "system": "the CRM (hubspot)", "what": property, "state": "created", "to_do": null });
        assert_eq!((&answer["rows"][0], &answer["rows"][1]["state"]), (&line, &json!("off")));

        let words = "401: dana@acme.example";
        let failing = MemorySystem::answering(Err(CallError::Rejected {
            api: "Zendesk",
            what: "list of fields",
            status: 400,
            text: words.to_owned(),
        }));
        let log = KeptLog::default();
        let guard = tracing::subscriber::set_default(log.clone());
        let failing = Operator { crm: crm(None), tickets: tickets(Some(failing)), ..operator() };
        let answer = answered(&failing, json!({ "command": "set_up" })).await;
        drop(guard);
        let states = [&answer["rows"][0]["state"], &answer["rows"][1]["state"]];
        assert_eq!((states, &answer["ready"]), ([&json!("off"), &json!("failed")], &json!(false)));
        assert!(answer["rows"][1]["what"].as_str().is_some_and(|what| what.contains(words)), "{answer}");
        let logged = log.text();
        assert!(logged.contains("failed") && !logged.contains("dana"), "{logged}");
    }

    #[tokio::test(start_paused = true)]
    async fn list_of_support_mailboxes_is_asked_for_where_it_counts_and_nothing_is_started_without_it() {
        let listed = Operator { support_mailboxes: MemoryMailboxes::of(&["support", "help"]), ..operator() };
        answered(&listed, json!({ "command": "reconcile", "wait_seconds": 0 })).await;
        let [message] = listed.mail_queue.sent().try_into().expect("one message");
        assert!(message.body.contains(r#""except_grant_ids":"support,help""#), "{}", message.body);

        let down = Operator { support_mailboxes: MemoryMailboxes::down(), ..operator() };
        let rules = "[[rules]]\nname = \"outage\"\ncategory = \"incidents\"\nwords = [\"is down\"]\n";
        for event in [json!({ "command": "reconcile" }), json!({ "command": "triage_rules", "rules": rules })] {
            let error = down.answer(&event, &invocation()).await.expect_err("it is down").to_string();
            assert!(error.starts_with("nothing was started: ") && error.contains("the list is down"), "{error}");
        }
        assert!(down.mail_queue.sent().is_empty() && down.calendar_queue.sent().is_empty());
        for event in [
            json!({ "command": "reconcile", "grant_id": "g", "wait_seconds": 0 }),
            json!({ "command": "sync", "wait_seconds": 0 }),
        ] {
            assert_eq!(answered(&down, event).await["ended"], false, "it is not needed");
        }
    }

    #[test]
    fn grant_that_is_given_by_its_address_is_not_logged() {
        assert_eq!(loggable("6d2f6a0c-5a44"), Some("6d2f6a0c-5a44"));
        assert_eq!(loggable("ines.duarte@northwind.example"), None);
    }

    #[test]
    fn environment_says_whose_mail_is_internal_and_which_is_our_own() {
        let read = |variables: &[(&str, &str)]| Settings::from_environment(&Environment::of(variables));
        let stack = ("STACK_ID", "crm-autopilot");
        let none = Settings { company_domains: CompanyDomains::default(), ..settings() };
        assert_eq!(read(&[("COMPANY_DOMAINS", ""), stack]), Ok(none));
        assert_eq!(read(&[("COMPANY_DOMAINS", "northwind.example"), stack]), Ok(settings()));
    }
}

//! One batch, from received messages to the answer that SQS gets.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures_util::FutureExt;
use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Deserialize;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use super::batch::{BatchError, QueueMessage, by_group, messages_of};
use super::deadline::{Clock, Deadline};
use super::ports::{
    About, Bodies, BodyError, Claim, ClaimRequest, Committed, DeadLetter, Ending, FailedTry, Lease, LeaseKey, Leases,
    Queue,
};
use crate::domain::backoff::{Next, RetryPolicy};
use crate::domain::decision::{Decision, Outcome};
use crate::domain::failure::Failure;
use crate::domain::notification::{Envelope, NotificationId, content_digest};
use crate::domain::pointer::BodyPointer;
use crate::telemetry::{Metric, Metrics, loggable};
use crate::{calls, trace};

/// No message is begun with less time than this left.
const LAST_START: Duration = Duration::from_secs(5);

/// What is kept back for recording the verdict of a message that ran too long and for hiding it: two calls to AWS.
const VERDICT_RESERVE: Duration = Duration::from_secs(4);

/// A message has crashed its workers when this many claims have ended without a verdict.
const MAX_UNRESOLVED_CLAIMS: u32 = 5;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A Nylas notification.
    Notification(Envelope),
    /// A job of our own making, such as `reconcile`, or a customer event: a JSON object with a `type` and no `data`.
    Job {
        /// Its type.
        kind: String,
    },
}

/// One message, ready to be worked on under its lease.
#[derive(Debug, Clone)]
pub struct Work {
    /// What it asks for.
    pub input: Input,
    /// The body, as it was first received.
    pub body: String,
    /// When it was put into the queue.
    pub sent_at: Timestamp,
    /// When the work must be done. The engine cuts it off then.
    pub deadline: Deadline,
}

/// The rules of one function: what to do with one message.
pub trait Processor: Sync {
    /// Works on one message to a decision. It may run several times for one message, after a crash or a lost lease;
    /// each effect must be harmless when done again.
    fn process(&self, work: &Work) -> impl Future<Output = Result<Decision, Failure>> + Send;
}

/// Runs batches for one function.
pub struct Engine<L, Q, B> {
    /// The name of the function, as it stands in keys and metrics.
    pub function: &'static str,
    /// Leases and decision records.
    pub leases: L,
    /// Its queue.
    pub queue: Q,
    /// Bodies that did not fit the queue.
    pub bodies: B,
    /// When to try again.
    pub retry: RetryPolicy,
    /// The time of day.
    pub clock: Clock,
}

/// How one message of a batch ended.
#[derive(Debug, Clone, PartialEq)]
enum Handled {
    Decided(Decision),
    Duplicate(Decision),
    DeadLettered {
        class: String,
    },
    Retried {
        class: String,
        wait: Duration,
    },
    HandedBack {
        class: &'static str,
        wait: Duration,
    },
    /// A claim on it ended without a verdict before; it is worked on when no other message is.
    Suspect,
}

/// Whether other messages are being worked on meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    InABatch,
    Alone,
}

impl Handled {
    /// What it counts as.
    fn metric(&self) -> Metric {
        match self {
            Self::Decided(decision) => match decision.outcome {
                Outcome::Logged => Metric::Logged,
                Outcome::Merged => Metric::Merged,
                Outcome::Skipped => Metric::Skipped,
                Outcome::Held => Metric::Held,
                Outcome::Done => Metric::JobsDone,
                Outcome::Failed => Metric::DeadLettered,
            },
            Self::Duplicate(_) => Metric::Duplicates,
            Self::DeadLettered { .. } => Metric::DeadLettered,
            Self::Retried { .. } => Metric::Retried,
            Self::HandedBack { .. } | Self::Suspect => Metric::HandedBack,
        }
    }

    fn returns_to_the_queue(&self) -> bool {
        matches!(self, Self::Retried { .. } | Self::HandedBack { .. })
    }
}

/// A body, resolved and read.
struct Opened {
    about: About,
    content: String,
    work: Result<Work, Failure>,
}

impl<L: Leases, Q: Queue, B: Bodies> Engine<L, Q, B> {
    /// Works on a batch and answers which messages must come back.
    ///
    /// # Errors
    /// [`BatchError`] if the event is not one that SQS sends; then the whole batch comes back.
    pub async fn run(
        &self,
        event: SqsEvent,
        deadline: Deadline,
        processor: &impl Processor,
    ) -> Result<SqsBatchResponse, BatchError> {
        let (handled, calls) =
            calls::gathered(self.handle_all(by_group(messages_of(event)?), deadline, processor)).await;
        let mut response = SqsBatchResponse::default();
        let mut metrics = Metrics::new(self.function);
        for (message, handled) in handled {
            metrics.add(handled.metric(), 1);
            if handled.returns_to_the_queue() {
                response.add_failure(message.message_id);
            }
        }
        calls.add_to(&mut metrics);
        metrics.emit();
        Ok(response)
    }

    /// Works on groups side by side, and on what has lost a claim before when nothing else is worked on.
    async fn handle_all(
        &self,
        groups: Vec<Vec<QueueMessage>>,
        deadline: Deadline,
        processor: &impl Processor,
    ) -> Vec<(QueueMessage, Handled)> {
        let groups = groups.into_iter().map(|group| self.run_group(group, deadline, processor, Company::InABatch));
        let mut handled = Vec::new();
        let mut suspects = Vec::new();
        for (done, suspect) in join_all(groups).await {
            handled.extend(done);
            suspects.push(suspect);
        }
        // A message that kills the process takes the claims of all that are worked on beside it along, so whatever has
        // lost a claim before is worked on alone: after the others, one at a time.
        for group in suspects {
            handled.extend(self.run_group(group, deadline, processor, Company::Alone).await.0);
        }
        handled
    }

    /// Works on a group in order. From the first suspect on, the rest of it is answered as not yet handled.
    async fn run_group(
        &self,
        group: Vec<QueueMessage>,
        deadline: Deadline,
        processor: &impl Processor,
        company: Company,
    ) -> (Vec<(QueueMessage, Handled)>, Vec<QueueMessage>) {
        let mut handled = Vec::with_capacity(group.len());
        let mut blocked = false;
        let mut group = group.into_iter();
        while let Some(message) = group.next() {
            let result = if blocked {
                // The message at the head hides the whole group, so this one cannot overtake it.
                self.hide(&message, Duration::ZERO).await;
                Handled::HandedBack { class: "behind_a_failure", wait: Duration::ZERO }
            } else {
                self.handle(&message, deadline, processor, company).await
            };
            if result == Handled::Suspect {
                let not_yet = std::iter::once(message).chain(group).collect();
                return (handled, not_yet);
            }
            blocked = blocked || result.returns_to_the_queue();
            handled.push((message, result));
        }
        (handled, Vec::new())
    }

    async fn handle(
        &self,
        message: &QueueMessage,
        deadline: Deadline,
        processor: &impl Processor,
        company: Company,
    ) -> Handled {
        let begun = self.clock.now();
        let (about, handled) = if deadline.left() < LAST_START {
            (None, self.hand_back(message, "out_of_time", Duration::ZERO).await)
        } else {
            match self.open(message, deadline).await {
                Ok(opened) => {
                    let handled = self.claim_and_work(message, &opened, deadline, processor, company).await;
                    (Some(opened.about), handled)
                }
                Err(failure) => (None, self.fail_unclaimed(message, &failure).await),
            }
        };
        let duration = self.clock.now().duration_since(begun).as_millis().try_into().unwrap_or(i64::MAX);
        log(self.function, &handled, message, about.as_ref(), duration);
        handled
    }

    /// Resolves a pointer and reads the body. What cannot be read is still something to claim and to record.
    async fn open(&self, message: &QueueMessage, deadline: Deadline) -> Result<Opened, Failure> {
        let body = match BodyPointer::parse(&message.body) {
            None => message.body.clone(),
            Some(pointer) => match self.fetch(&pointer, deadline).await {
                // Bytes that are not UTF-8 came that way from Nylas; what can be read of them is.
                Ok(bytes) => String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
                Err(error) => {
                    let class = match error {
                        BodyError::Unavailable(..) => {
                            return Err(Failure::transient("body.unavailable", error.to_string()));
                        }
                        BodyError::Missing(_) => "body.missing",
                        BodyError::Corrupt(_) => "body.corrupt",
                    };
                    return Ok(Opened {
                        about: self
                            .about_no_notification(NotificationId::of_our_own("pointer", &pointer.sha256), "pointer"),
                        content: pointer.sha256,
                        work: Err(Failure::permanent(class, error.to_string())),
                    });
                }
            },
        };
        let content = content_digest(&body);
        let deadline = deadline.earlier_by(VERDICT_RESERVE);
        let (about, input) = match (Envelope::parse(&body), job_of(&body)) {
            (Ok(envelope), _) => (About::notification(self.function, &envelope), Ok(Input::Notification(envelope))),
            (Err(_), Some(job)) => {
                let id = job.id.as_deref().and_then(NotificationId::parse);
                let id = id.unwrap_or_else(|| NotificationId::of_our_own("job", &message.message_id));
                let about = self.about_no_notification(id, &job.kind);
                (About { grant: job.grant_id, ..about }, Ok(Input::Job { kind: job.kind }))
            }
            (Err(problem), None) => (
                self.about_no_notification(NotificationId::of_our_own("unreadable", &content), "unreadable"),
                Err(Failure::permanent(
                    "body.unreadable",
                    format!("{problem}; compare the body in the dead-letter queue with what Nylas sends"),
                )),
            ),
        };
        Ok(Opened { about, content, work: input.map(|input| Work { input, body, sent_at: message.sent_at, deadline }) })
    }

    /// Fetches a body in the time that is left.
    async fn fetch(&self, pointer: &BodyPointer, deadline: Deadline) -> Result<Vec<u8>, BodyError> {
        let left = deadline.earlier_by(VERDICT_RESERVE).left();
        tokio::time::timeout(left, self.bodies.fetch(pointer))
            .await
            .unwrap_or_else(|_| Err(BodyError::Unavailable(pointer.key.clone(), "it did not come in time".to_owned())))
    }

    fn about_no_notification(&self, id: NotificationId, trigger: &str) -> About {
        About {
            function: self.function,
            object: id.as_str().to_owned(),
            notification: id,
            trigger: trigger.to_owned(),
            grant: None,
        }
    }

    async fn claim_and_work(
        &self,
        message: &QueueMessage,
        opened: &Opened,
        deadline: Deadline,
        processor: &impl Processor,
        company: Company,
    ) -> Handled {
        let key = LeaseKey::new(self.function, &opened.about.notification);
        let claim = match self.claim(message, &key, opened, deadline).await {
            // The same id with other content is not a repetition: it is decided on its own, and seen in the metrics.
            Ok(Claim::Duplicate { content, .. }) if content != opened.content => {
                tracing::warn!(
                    notification.id = %opened.about.notification,
                    "a notification id came again with other content; it is decided on its own"
                );
                self.claim(message, &key.with_content(&opened.content), opened, deadline).await
            }
            other => other,
        };
        let lease = match claim {
            Ok(Claim::Granted(lease)) => lease,
            Ok(Claim::Duplicate { decision, .. }) => return Handled::Duplicate(decision),
            Ok(Claim::Busy { until }) => {
                let left = until.duration_since(self.clock.now()).try_into().unwrap_or(Duration::ZERO);
                return self.hand_back(message, "leased", left + Duration::from_secs(1)).await;
            }
            Err(error) => {
                let failure = Failure::transient("store.unavailable", error.to_string());
                return self.fail_unclaimed(message, &failure).await;
            }
        };
        if lease.unresolved >= MAX_UNRESOLVED_CLAIMS {
            let what = format!(
                "{} claims ended without a verdict: the function crashed, ran out of memory or was cut off each time; \
                 look at its log for this notification",
                lease.unresolved
            );
            return self.bury(message, &opened.about, &lease, "crashed", &what).await;
        }
        if lease.unresolved > 0 && company == Company::InABatch {
            log_unless_stored(self.leases.release(&lease, self.clock.now()).await);
            return Handled::Suspect;
        }
        match self.work(message, opened, processor).await {
            Ok(decision) => match self.leases.complete(&lease, &decision, self.clock.now()).await {
                Ok(Committed::Yes) => Handled::Decided(decision),
                Ok(Committed::LeaseLost) => self.hand_back(message, "lease_lost", Duration::from_secs(1)).await,
                Err(error) => {
                    let failure = Failure::transient("store.unavailable", error.to_string());
                    self.fail_unclaimed(message, &failure).await
                }
            },
            Err((failure, ending)) => self.fail(message, &opened.about, &lease, &failure, ending).await,
        }
    }

    async fn claim(
        &self,
        message: &QueueMessage,
        key: &LeaseKey,
        opened: &Opened,
        deadline: Deadline,
    ) -> Result<Claim, super::StoreError> {
        let now = self.clock.now();
        // Never absent, never zero: a lease without an end would lock the record until its life ends.
        let lasts = deadline.left().max(Duration::from_secs(1));
        let until = now.checked_add(lasts).unwrap_or(Timestamp::MAX);
        let (about, content) = (&opened.about, opened.content.as_str());
        let (queued_at, trace) = (message.sent_at, message.trace.as_deref());
        self.leases.claim(&ClaimRequest { key, about, content, now, until, queued_at, trace }).await
    }

    async fn work(
        &self,
        message: &QueueMessage,
        opened: &Opened,
        processor: &impl Processor,
    ) -> Result<Decision, (Failure, Ending)> {
        let work = opened.work.as_ref().map_err(|failure| (failure.clone(), Ending::DeadLetter))?;
        let traced = trace::belonging_to(message.trace.clone(), processor.process(work));
        let guarded = AssertUnwindSafe(traced).catch_unwind();
        match tokio::time::timeout(work.deadline.left(), guarded).await {
            Ok(Ok(Ok(decision))) => Ok(decision),
            Ok(Ok(Err(failure))) => Err((failure, Ending::Retry)),
            Ok(Err(_)) => Err((
                Failure::transient("panicked", "the function panicked; its log says where"),
                Ending::RetryWithoutVerdict,
            )),
            Err(_) => {
                Err((Failure::transient("timed_out", "the work did not end within the invocation"), Ending::Retry))
            }
        }
    }

    /// A failure under a lease.
    async fn fail(
        &self,
        message: &QueueMessage,
        about: &About,
        lease: &Lease,
        failure: &Failure,
        ending: Ending,
    ) -> Handled {
        let now = self.clock.now();
        match failure {
            Failure::Permanent { class, what } => self.bury(message, about, lease, class, what).await,
            Failure::Transient { class, what, retry_after } => {
                match self.next(message, lease.failures + 1, *retry_after) {
                    Next::GiveUp => self.bury(message, about, lease, "gave_up", &self.given_up(class, what)).await,
                    Next::RetryIn(wait) => {
                        let failed = FailedTry { class: (*class).to_owned(), what: what.clone(), ending };
                        // If this is lost the lease runs out by itself and the next claim finds it expired.
                        log_unless_stored(self.leases.fail(lease, &failed, now).await);
                        self.hide(message, wait).await;
                        Handled::Retried { class: (*class).to_owned(), wait }
                    }
                }
            }
            Failure::Untried { class, what, retry_after } => {
                // Grows with the receipts, so that a long outage does not use up what SQS allows a message.
                match self.next(message, message.receive_count, Some(*retry_after)) {
                    Next::GiveUp => self.bury(message, about, lease, "gave_up", &self.given_up(class, what)).await,
                    Next::RetryIn(_) => {
                        log_unless_stored(self.leases.release(lease, now).await);
                        let grown = match self.next(message, message.receive_count, None) {
                            Next::RetryIn(wait) => wait,
                            Next::GiveUp => Duration::ZERO,
                        };
                        self.hand_back(message, class, (*retry_after).max(grown)).await
                    }
                }
            }
        }
    }

    /// A failure before there was a lease, or after it could not be completed: no record is written.
    async fn fail_unclaimed(&self, message: &QueueMessage, failure: &Failure) -> Handled {
        let (class, what) = match failure {
            Failure::Permanent { class, what } => (*class, what.clone()),
            Failure::Transient { class, what, .. } | Failure::Untried { class, what, .. } => {
                match self.next(message, message.receive_count, None) {
                    Next::RetryIn(wait) => {
                        // There is no record to keep it in. These are words of AWS, about no message.
                        tracing::error!(class, error = what.as_str(), "a message could not be claimed or completed");
                        self.hide(message, wait).await;
                        return Handled::Retried { class: (*class).to_owned(), wait };
                    }
                    Next::GiveUp => ("gave_up", self.given_up(class, what)),
                }
            }
        };
        let now = self.clock.now();
        let id = format!("message:{}", message.message_id);
        match self.queue.dead_letter(&self.letter(message, &id, class, &what, now, now)).await {
            Ok(()) => Handled::DeadLettered { class: class.to_owned() },
            Err(error) => self.keep_for_burial(message, &error).await,
        }
    }

    /// The reason of a message that was tried for as long as allowed.
    fn given_up(&self, class: &str, what: &str) -> String {
        format!("given up after {:?}; last: {class}: {what}", self.retry.retry_for)
    }

    /// Moves a message to the dead-letter queue, then records that it failed. In this order a crash in between
    /// repeats the letter, which SQS deduplicates; in the other order it would lose it.
    async fn bury(&self, message: &QueueMessage, about: &About, lease: &Lease, class: &str, what: &str) -> Handled {
        let now = self.clock.now();
        let first = lease.first_failed_at.unwrap_or(now);
        let letter = self.letter(message, about.notification.as_str(), class, what, first, now);
        if let Err(error) = self.queue.dead_letter(&letter).await {
            let failed =
                FailedTry { class: "queue.unavailable".to_owned(), what: error.to_string(), ending: Ending::Retry };
            log_unless_stored(self.leases.fail(lease, &failed, now).await);
            return self.keep_for_burial(message, &error).await;
        }
        let failed = FailedTry { class: class.to_owned(), what: what.to_owned(), ending: Ending::DeadLetter };
        log_unless_stored(self.leases.fail(lease, &failed, now).await);
        Handled::DeadLettered { class: class.to_owned() }
    }

    async fn keep_for_burial(&self, message: &QueueMessage, error: &super::StoreError) -> Handled {
        tracing::error!(error = %error, "the dead-letter queue did not take a message; it stays in its queue");
        let wait = match self.next(message, message.receive_count, None) {
            Next::RetryIn(wait) => wait,
            Next::GiveUp => self.retry.first_delay,
        };
        self.hide(message, wait).await;
        Handled::Retried { class: "queue.unavailable".to_owned(), wait }
    }

    fn letter<'a>(
        &self,
        message: &'a QueueMessage,
        notification: &'a str,
        class: &'a str,
        reason: &'a str,
        first_failed_at: Timestamp,
        last_failed_at: Timestamp,
    ) -> DeadLetter<'a> {
        DeadLetter {
            body: &message.body,
            message_id: &message.message_id,
            notification,
            reason,
            class,
            function: self.function,
            source_group: message.group.as_deref(),
            first_failed_at,
            last_failed_at,
            trace: message.trace.as_deref(),
        }
    }

    fn next(&self, message: &QueueMessage, failures: u32, retry_after: Option<Duration>) -> Next {
        let age = self.clock.now().duration_since(message.sent_at).try_into().unwrap_or(Duration::ZERO);
        self.retry.next(failures, age, retry_after, rand::random())
    }

    async fn hand_back(&self, message: &QueueMessage, class: &'static str, wait: Duration) -> Handled {
        self.hide(message, wait).await;
        Handled::HandedBack { class, wait }
    }

    /// Hides a message. If that fails it comes back when the queue's own visibility timeout ends: later, not lost.
    async fn hide(&self, message: &QueueMessage, wait: Duration) {
        if let Err(error) = self.queue.hide(&message.receipt_handle, wait).await {
            tracing::warn!(error = %error, "the visibility timeout of a message could not be changed");
        }
    }
}

/// Says where a verdict that could not be written went; the message itself is safe either way.
fn log_unless_stored(result: Result<Committed, super::StoreError>) {
    match result {
        Ok(Committed::Yes) => {}
        Ok(Committed::LeaseLost) => tracing::warn!("the lease of a failed try had been lost to a later claim"),
        Err(error) => tracing::error!(error = %error, "a failed try could not be recorded"),
    }
}

/// One line a message. Identifiers, outcome and duration: never an address, a subject or words of the other side.
fn log(function: &'static str, handled: &Handled, message: &QueueMessage, about: Option<&About>, duration_ms: i64) {
    let id = about.map(|about| about.notification.as_str()).unwrap_or_default();
    let trigger = about.map(|about| about.trigger.as_str());
    let grant = about.and_then(|about| about.grant.as_deref()).and_then(loggable).unwrap_or_default();
    let message_id = message.message_id.as_str();
    let trace = message.trace.as_deref().and_then(trace::id_of);
    match handled {
        Handled::Decided(decision) => tracing::info!(
            function,
            notification.id = id,
            notification.r#type = trigger,
            grant.id = grant,
            message.id = message_id,
            trace.id = trace,
            outcome = decision.outcome.as_str(),
            reason = decision.reason.as_str(),
            became = decision.became.as_deref(),
            duration_ms,
            "decided"
        ),
        Handled::Duplicate(decision) => tracing::info!(
            function,
            notification.id = id,
            notification.r#type = trigger,
            grant.id = grant,
            message.id = message_id,
            trace.id = trace,
            outcome = "duplicate",
            decided = decision.outcome.as_str(),
            duration_ms,
            "duplicate"
        ),
        // It is handled once more in this invocation; that is the line to write.
        Handled::Suspect => {}
        Handled::HandedBack { class, wait } => tracing::info!(
            function,
            notification.id = id,
            notification.r#type = trigger,
            grant.id = grant,
            message.id = message_id,
            trace.id = trace,
            outcome = "handed_back",
            class,
            wait_s = wait.as_secs(),
            duration_ms,
            "handed back untried"
        ),
        Handled::Retried { class, wait } => tracing::warn!(
            function,
            notification.id = id,
            notification.r#type = trigger,
            grant.id = grant,
            message.id = message_id,
            trace.id = trace,
            outcome = "retried",
            class = class.as_str(),
            wait_s = wait.as_secs(),
            receive_count = message.receive_count,
            duration_ms,
            "will be tried again"
        ),
        Handled::DeadLettered { class } => tracing::error!(
            function,
            notification.id = id,
            notification.r#type = trigger,
            grant.id = grant,
            message.id = message_id,
            trace.id = trace,
            outcome = "failed",
            class = class.as_str(),
            duration_ms,
            "moved to the dead-letter queue"
        ),
    }
}

/// A job of our own making: an object with a `type` and without `data`.
#[derive(Debug, Deserialize)]
pub struct QueuedJob {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its id; a schedule's job has none.
    #[serde(default)]
    pub id: Option<String>,
    /// The grant that it is for.
    #[serde(default)]
    pub grant_id: Option<String>,
    #[serde(default)]
    data: Option<serde::de::IgnoredAny>,
}

/// Reads a body as a job, if it is one.
#[must_use]
pub fn job_of(body: &str) -> Option<QueuedJob> {
    let job: QueuedJob = body.trim_start().starts_with('{').then(|| serde_json::from_str(body).ok())??;
    (job.data.is_none() && !job.kind.is_empty()).then_some(job)
}

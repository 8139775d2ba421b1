//! Has a notification decided once more, the ordinary way: from a file, the unroutable queue, or fetched anew from Nylas.
//!
//! - [`asked`]: what is asked for, read.
//! - [`notification`]: a body, where it goes, and the same body under an id of its own.
//! - [`unroutable`]: what lies in the unroutable queue.
//! - [`fetched`]: an object fetched anew, as if Nylas had notified of it.
//! - [`aws`]: the queues, the archive and Nylas.

use serde_json::{Value, json};
use shared::aws::outbox::FifoPlace;
use shared::domain::decision::Decision;
use shared::domain::notification::NotificationId;
use shared::domain::queue_message::deduplication_id;
use shared::domain::routing::Destination;
use shared::engine::{Deadline, StoreError};
use shared::nylas::NylasError;
use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

pub mod asked;
pub mod aws;
pub mod fetched;
pub mod notification;
#[cfg(test)]
mod tests;
pub mod unroutable;

pub use asked::ReplayOf;

use crate::operate::{Answer, Invocation, OperateError, Operator, Ports, soon};
use crate::ports::SupportMailboxes as _;
use crate::story::moment::shortened;
use crate::story::record::{Record, Standing};
use crate::story::{Records as _, Shelf, quoted};
use crate::told::{Told, table};
use asked::What;
use fetched::{Fetched, ObjectOf};
use notification::Routed;
use unroutable::Parked;

/// Where what is replayed comes from and goes to.
pub trait Replays: Sync {
    /// Sends a body to the queue of a function, by a pointer if one queue message cannot carry it.
    fn send(
        &self,
        to: Destination,
        body: &str,
        place: &FifoPlace,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Some of what lies in the unroutable queue, hidden from others for so long; nothing once all of it is.
    fn receive(&self, hidden_for: Duration) -> impl Future<Output = Result<Vec<Parked>, StoreError>> + Send;

    /// Takes a message out of the unroutable queue.
    fn delete(&self, receipt: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Shows a message of the unroutable queue to others again, at once.
    fn show_again(&self, receipt: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What Nylas holds of an object; none if it has no such object.
    fn fetch(
        &self,
        object: &ObjectOf,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Fetched>, NylasError>> + Send;
}

/// What becomes, or would become, of a notification in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// It would be put into the queue.
    WouldBeReplayed,
    /// It is in the queue.
    Replayed,
    /// It was decided before: it would be a duplicate.
    DecidedBefore,
    /// Nobody wants its type.
    Unwanted,
    /// It is no notification.
    Unroutable,
    /// It is in the queue, and in the unroutable queue as well.
    ReplayedAndLeft,
}

impl Becomes {
    const fn name(self) -> &'static str {
        match self {
            Self::WouldBeReplayed => "would be replayed",
            Self::Replayed => "replayed",
            Self::DecidedBefore => "decided before",
            Self::Unwanted => "wanted by nobody",
            Self::Unroutable => "unroutable",
            Self::ReplayedAndLeft => "replayed, and left there",
        }
    }
}

/// One notification in one queue, or nowhere.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    becomes: Becomes,
    notification: String,
    trigger: String,
    queue: Option<Destination>,
    group_kind: Option<&'static str>,
    before: Option<String>,
    bytes: usize,
    note: String,
}

impl Line {
    fn nowhere(becomes: Becomes, notification: &str, trigger: &str, bytes: usize, note: String) -> Self {
        Self {
            becomes,
            notification: notification.to_owned(),
            trigger: trigger.to_owned(),
            queue: None,
            group_kind: None,
            before: None,
            bytes,
            note,
        }
    }

    fn to_row(&self) -> Value {
        json!({
            "becomes": self.becomes.name(), "notification_id": self.notification, "type": self.trigger,
            "queue": self.queue.map(Destination::name), "group_kind": self.group_kind,
            "decided_before": self.before, "bytes": self.bytes, "note": self.note,
        })
    }
}

/// What one invocation replays.
struct Replaying<'a, P: Ports> {
    operator: &'a Operator<P>,
    invocation: &'a Invocation,
    support: HashSet<String>,
    again: bool,
    dry_run: bool,
}

impl<P: Ports> Operator<P> {
    /// Carries it out. The log holds how much was done alone.
    ///
    /// # Errors
    /// If AWS does not answer.
    pub(crate) async fn replay(&self, asked: &ReplayOf, invocation: &Invocation) -> Result<Answer, OperateError> {
        if let What::DeadLetter(id) = &asked.what {
            return Ok(Answer::Told(redriven_instead(id.as_deref())));
        }
        let support = self.support_mailboxes.grants().await.map_err(OperateError::Unlisted)?.into_iter().collect();
        let ReplayOf { again, dry_run, .. } = *asked;
        let run = Replaying { operator: self, invocation, support, again, dry_run };
        let (lines, text) = match &asked.what {
            What::Notifications(bodies) => run.notifications(bodies).await?,
            What::Unroutable => run.unroutable().await?,
            What::Object(object) => match run.object(object).await? {
                Ok(lines) => lines,
                Err(told) => return Ok(Answer::error(told)),
            },
            What::DeadLetter(_) => (Vec::new(), String::new()),
        };
        let count = |becomes| lines.iter().filter(|line| line.becomes == becomes).count();
        tracing::info!(
            command = "replay",
            from = asked.what.name(),
            dry_run,
            again,
            replayed = count(Becomes::Replayed) + count(Becomes::ReplayedAndLeft),
            would_be_replayed = count(Becomes::WouldBeReplayed),
            decided_before = count(Becomes::DecidedBefore),
            left = count(Becomes::Unwanted) + count(Becomes::Unroutable),
            "answered"
        );
        Ok(Answer::Told(told(asked, &lines, text)))
    }
}

/// A dead letter is moved, not copied: else it would lie in the dead-letter queue after it is decided.
fn redriven_instead(id: Option<&str>) -> Told {
    let mut again = json!({ "command": "redrive", "dry_run": true });
    let command = match id {
        Some(id) => {
            again["id"] = id.into();
            format!("make redrive ID={}", quoted(id))
        }
        None => "make dead-letters, and then make redrive ID=<one of them>".to_owned(),
    };
    let text = format!(
        "Nothing was replayed. A dead letter is decided again by putting it back into its queue, which takes it out of the \
         dead-letter queue: {command}. It shows what would be moved; LIVE=1 moves it."
    );
    Told { command: "replay", ready: true, rows: Vec::new(), table: String::new(), text, again: Some(again) }
}

impl<P: Ports> Replaying<'_, P> {
    fn route(&self, body: &str) -> Routed {
        Routed::of(body, &self.support)
    }

    /// What is known of a notification in a function.
    async fn before(&self, function: Destination, id: &NotificationId) -> Result<Option<Record>, OperateError> {
        let key = format!("{}#{id}", function.name());
        let item = self.operator.records.item(Shelf::Decisions, &key).await.map_err(|problem| {
            OperateError::Unavailable {
                what: "whether it was decided before cannot be read".to_owned(),
                problem,
                then: "give the command again: what was replayed already is a duplicate then, unless you ask for it again",
            }
        })?;
        Ok(item.map(Record::read))
    }

    /// Replays bodies, one after another.
    async fn notifications(&self, bodies: &[String]) -> Result<(Vec<Line>, String), OperateError> {
        let mut lines = Vec::new();
        for body in bodies {
            lines.extend(self.one(body).await?);
        }
        let text = if !self.again && lines.iter().any(|line| line.becomes == Becomes::DecidedBefore) {
            "What was decided before is a duplicate and changes nothing. With `again` (AGAIN=1) it gets an id of its \
                    own and is decided once more; what stands in the CRM is not written a second time, and old news does \
                    not overwrite new."
                .to_owned()
        } else {
            String::new()
        };
        Ok((lines, text))
    }

    /// Replays one body into the queues that want it.
    async fn one(&self, body: &str) -> Result<Vec<Line>, OperateError> {
        let (id, trigger, route) = match self.route(body) {
            Routed::To { id, trigger, route } => (id, trigger, route),
            Routed::Unwanted { id, trigger } => {
                let note = "no function wants this type, so ingress would only count it".to_owned();
                return Ok(vec![Line::nowhere(Becomes::Unwanted, id.as_str(), &trigger, body.len(), note)]);
            }
            Routed::Nothing { problem } => {
                return Ok(vec![Line::nowhere(Becomes::Unroutable, "", "", body.len(), problem)]);
            }
        };
        let content = shared::domain::notification::content_digest(body);
        // SQS must not take it for the first delivery, and one event of this command is one message in each queue.
        let own = NotificationId::of_our_own("replay", &format!("{id}:{}", self.invocation.id));
        let renamed = if self.again { notification::renamed(body, &own) } else { None };
        let (sent, sent_id) = renamed.as_deref().map_or((body, &id), |renamed| (renamed, &own));
        let mut lines = Vec::new();
        for destination in &route.destinations {
            let before = self.before(*destination, &id).await?;
            let (before, duplicate, note) = seen_before(before.as_ref(), &content, self.invocation.now);
            let becomes = match (duplicate && !self.again, self.dry_run) {
                (true, _) => Becomes::DecidedBefore,
                (false, true) => Becomes::WouldBeReplayed,
                (false, false) => {
                    let place = FifoPlace {
                        group: route.group.clone(),
                        deduplication_id: deduplication_id(destination.name(), &own),
                    };
                    self.send(*destination, sent, &place, &lines).await?;
                    Becomes::Replayed
                }
            };
            lines.push(Line {
                becomes,
                notification: sent_id.to_string(),
                trigger: trigger.clone(),
                queue: Some(*destination),
                group_kind: Some(route.kind),
                before,
                bytes: body.len(),
                note,
            });
        }
        Ok(lines)
    }

    async fn send(&self, to: Destination, body: &str, place: &FifoPlace, before: &[Line]) -> Result<(), OperateError> {
        self.operator.replays.send(to, body, place).await.map_err(|problem| OperateError::Unavailable {
            what: format!("the queue of {} did not take the notification", to.name()),
            problem,
            then: if before.is_empty() && !self.again {
                "give the command again: what was replayed before it is a duplicate then"
            } else {
                "give the command again; what is decided twice changes nothing that is right"
            },
        })
    }

    /// Fetches an object and replays it; the sentence says why there is nothing to replay.
    async fn object(&self, object: &ObjectOf) -> Result<Result<(Vec<Line>, String), String>, OperateError> {
        let fetched = match self.operator.replays.fetch(object, soon(self.invocation)).await {
            Ok(Some(fetched)) => fetched,
            Ok(None) => return Ok(Err(object.missing())),
            Err(error) => {
                let problem = crate::nylas_words::sentence(&error, &object.grant);
                return Ok(Err(format!("nothing was replayed: {problem}")));
            }
        };
        let known = self.operator.records.about(&object.id, 1).await.map_err(|problem| OperateError::Unavailable {
            what: "what was decided of it before cannot be read".to_owned(),
            problem,
            then: "nothing was replayed, give the command again",
        })?;
        let known = known.into_iter().next().map(Record::read);
        let id = NotificationId::of_our_own("replay", &format!("{}:{}", object.id, self.invocation.id));
        let body = fetched.body(object, &id);
        let mut lines = self.one(&body).await?;
        for line in &mut lines {
            line.before = known.as_ref().and_then(|record| Some(record.decision.as_ref()?.to_string()));
        }
        let text = if known.is_some() {
            "It is decided as Nylas holds it now, and what stands in the CRM is updated, not written a second time."
        } else {
            "No function has a record of it so far."
        };
        Ok(Ok((lines, text.to_owned())))
    }
}

/// What was decided before, whether it would be a duplicate therefore, and what to know about that.
fn seen_before(before: Option<&Record>, content: &str, now: jiff::Timestamp) -> (Option<String>, bool, String) {
    let Some(record) = before else { return (None, false, String::new()) };
    let decision: Option<&Decision> = record.decision.as_ref();
    let note = match record.standing(now) {
        Standing::DeadLetter => {
            "it lies in the dead-letter queue: `make redrive` decides it again and takes it out of there".to_owned()
        }
        Standing::Retrying | Standing::PutBack | Standing::HandedBack | Standing::InProgress | Standing::CutOff => {
            "it is still at work or tried again by itself".to_owned()
        }
        Standing::GivenUp => "it was given up".to_owned(),
        Standing::Parked => {
            "it was set aside: `make redrive` decides it again and takes it out of where it lies".to_owned()
        }
        Standing::Waiting | Standing::Held | Standing::Decided => {
            if record.content().is_none_or(|known| known == content) {
                return (decision.map(Decision::to_string), true, String::new());
            }
            "its id came with other content before, so it is decided on its own".to_owned()
        }
    };
    (decision.map(Decision::to_string), false, note)
}

fn told(asked: &ReplayOf, lines: &[Line], more: String) -> Told {
    let rows = lines.iter().map(|line| {
        let queue = line.queue.map_or("none", Destination::name).to_owned();
        let before = line.before.clone().unwrap_or_else(|| "no".to_owned());
        let group = line.group_kind.unwrap_or("none").to_owned();
        let note = shortened(&line.note, 200);
        let trigger = if line.trigger.is_empty() { "none".to_owned() } else { line.trigger.clone() };
        [line.becomes.name().to_owned(), trigger, line.notification.clone(), queue, group, before, note]
    });
    let header = ["becomes", "type", "notification", "queue", "group", "decided before", "note"];
    let table = if lines.is_empty() { String::new() } else { table(header, rows) };
    let count = |becomes| lines.iter().filter(|line| line.becomes == becomes).count();
    let would = count(Becomes::WouldBeReplayed);
    let done = count(Becomes::Replayed) + count(Becomes::ReplayedAndLeft);
    let mut text = Vec::new();
    if asked.dry_run {
        text.push(match would {
            0 => "Nothing would be replayed.".to_owned(),
            1 => "1 message would be put into its queue; nothing was done. LIVE=1 does it.".to_owned(),
            many => format!("{many} messages would be put into their queues; nothing was done. LIVE=1 does it."),
        });
    } else {
        text.push(match done {
            0 => "Nothing was replayed.".to_owned(),
            1 => "1 message was put into its queue. What becomes of it: make story ID=<its notification>".to_owned(),
            many => {
                format!(
                    "{many} messages were put into their queues. What becomes of them: make story ID=<a notification>"
                )
            }
        });
    }
    if !more.is_empty() {
        text.push(more);
    }
    let left = count(Becomes::ReplayedAndLeft);
    if left > 0 {
        text.push(format!(
            "{left} could not be taken out of the unroutable queue: replayed once more they are duplicates."
        ));
    }
    Told {
        command: "replay",
        ready: left == 0,
        rows: lines.iter().map(Line::to_row).collect(),
        table,
        text: text.join("\n"),
        again: (asked.dry_run && would > 0).then(|| asked.live()),
    }
}

/// For tests: the port in memory.
#[cfg(test)]
pub(crate) mod testing {
    use super::{Fetched, FifoPlace, ObjectOf, Parked, Replays};
    use shared::domain::routing::Destination;
    use shared::engine::{Deadline, StoreError};
    use shared::nylas::NylasError;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked of the queues, in order.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Done {
        /// A message was sent.
        Sent(Destination, String, FifoPlace),
        /// A message was taken out of the unroutable queue.
        Deleted(String),
        /// A message of the unroutable queue was shown again.
        Shown(String),
    }

    /// Queues and Nylas in memory.
    #[derive(Debug, Default)]
    pub struct MemoryReplays {
        unroutable: Mutex<Vec<Parked>>,
        hidden: Mutex<Vec<Parked>>,
        objects: Mutex<BTreeMap<String, Fetched>>,
        done: Mutex<Vec<Done>>,
        fetching_fails: Mutex<Option<NylasError>>,
        /// While set, no queue takes anything.
        pub down: AtomicBool,
        /// While set, nothing can be deleted.
        pub keeps_everything: AtomicBool,
    }

    impl MemoryReplays {
        /// Parks a body in the unroutable queue.
        pub fn park(&self, parked: Parked) {
            open(&self.unroutable).push(parked);
        }

        /// Lets Nylas hold an object.
        pub fn hold(&self, id: &str, fetched: Fetched) {
            open(&self.objects).insert(id.to_owned(), fetched);
        }

        /// Lets the next fetching fail.
        pub fn fail_fetching(&self, error: NylasError) {
            *open(&self.fetching_fails) = Some(error);
        }

        /// What was done, in order.
        pub fn done(&self) -> Vec<Done> {
            open(&self.done).clone()
        }

        /// The bodies that were sent, with their places.
        pub fn sent(&self) -> Vec<(Destination, String, FifoPlace)> {
            let sent = |done| if let Done::Sent(to, body, place) = done { Some((to, body, place)) } else { None };
            self.done().into_iter().filter_map(sent).collect()
        }

        /// How many messages others see in the unroutable queue.
        pub fn visible(&self) -> usize {
            open(&self.unroutable).len()
        }
    }

    impl Replays for MemoryReplays {
        async fn send(&self, to: Destination, body: &str, place: &FifoPlace) -> Result<(), StoreError> {
            if self.down.load(Ordering::SeqCst) {
                return Err(StoreError("the queue is down".to_owned()));
            }
            open(&self.done).push(Done::Sent(to, body.to_owned(), place.clone()));
            Ok(())
        }

        async fn receive(&self, _: Duration) -> Result<Vec<Parked>, StoreError> {
            if self.down.load(Ordering::SeqCst) {
                return Err(StoreError("the queue is down".to_owned()));
            }
            let mut waiting = open(&self.unroutable);
            let some: Vec<Parked> = {
                let most = waiting.len().min(10);
                waiting.drain(..most).collect()
            };
            open(&self.hidden).extend(some.iter().cloned());
            Ok(some)
        }

        async fn delete(&self, receipt: &str) -> Result<(), StoreError> {
            if self.keeps_everything.load(Ordering::SeqCst) {
                return Err(StoreError("the queue is down".to_owned()));
            }
            open(&self.hidden).retain(|parked| parked.receipt != receipt);
            open(&self.done).push(Done::Deleted(receipt.to_owned()));
            Ok(())
        }

        async fn show_again(&self, receipt: &str) -> Result<(), StoreError> {
            let mut hidden = open(&self.hidden);
            if let Some(place) = hidden.iter().position(|parked| parked.receipt == receipt) {
                open(&self.unroutable).push(hidden.remove(place));
            }
            open(&self.done).push(Done::Shown(receipt.to_owned()));
            Ok(())
        }

        async fn fetch(&self, object: &ObjectOf, _: Deadline) -> Result<Option<Fetched>, NylasError> {
            match open(&self.fetching_fails).take() {
                Some(error) => Err(error),
                None => Ok(open(&self.objects).get(&object.id).cloned()),
            }
        }
    }
}

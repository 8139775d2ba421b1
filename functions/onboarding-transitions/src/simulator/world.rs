//! The world: its clock, its tables, its queue and timers, the people who are told. Every call from the rules is a point at
//! which the worker can be made to die, before the call has its effect and after.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use shared::alerts::Alert;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey};
use shared::engine::testing::{MemoryDocuments, MemoryLinks};
use shared::engine::{
    Deadline, Documents, Links, OwnMessage, PutDocument, PutLink, RemoveTimers, Revision, SendToQueue, SetTimers,
    StoreError, StoredDocument, StoredLink, Timer,
};

use super::nylas::NylasState;

/// Something that happened, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// What kind of thing: `mail`, `timer`, `state`, `alert` …
    pub kind: &'static str,
    /// What.
    pub text: String,
}

#[derive(Default)]
struct Crashes {
    /// The point at which the worker dies, counted from 1.
    at: Option<usize>,
    /// The point at which the worker stands still for a moment, counted from 1.
    stands_at: Option<usize>,
    passed: Vec<String>,
}

/// Timers by name, and their names by when they are due.
type Timers = (BTreeMap<String, Timer>, BTreeSet<(Timestamp, String)>);

/// The world.
pub struct World {
    now: Mutex<Timestamp>,
    documents: MemoryDocuments,
    links: MemoryLinks,
    /// Messages by when they are due and in which order they came.
    queue: Mutex<BTreeMap<(Timestamp, u64), String>>,
    count: Mutex<u64>,
    timers: Mutex<Timers>,
    alerts: Mutex<Vec<String>>,
    lines: Mutex<Vec<Line>>,
    crashes: Mutex<Crashes>,
    quiet: AtomicBool,
    pub(super) nylas: Mutex<NylasState>,
}

pub(super) fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world that begins at a time.
    #[must_use]
    pub fn new(begins: Timestamp) -> Self {
        Self {
            now: Mutex::new(begins),
            documents: MemoryDocuments::default(),
            links: MemoryLinks::default(),
            queue: Mutex::default(),
            count: Mutex::default(),
            timers: Mutex::default(),
            alerts: Mutex::default(),
            lines: Mutex::default(),
            crashes: Mutex::default(),
            quiet: AtomicBool::new(false),
            nylas: Mutex::default(),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        *open(&self.now)
    }

    /// Turns the clock forward, never back.
    pub fn turn_to(&self, at: Timestamp) {
        let mut now = open(&self.now);
        *now = at.max(*now);
    }

    /// Says something to people.
    pub fn say(&self, kind: &'static str, text: &str) {
        open(&self.lines).push(Line { at: self.now(), kind, text: text.to_owned() });
    }

    /// What happened so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        open(&self.lines).clone()
    }

    /// What people were told.
    #[must_use]
    pub fn alerts(&self) -> Vec<String> {
        open(&self.alerts).clone()
    }

    /// The names of the timers that are set.
    #[must_use]
    pub fn timers(&self) -> Vec<String> {
        open(&self.timers).0.keys().cloned().collect()
    }

    /// Puts a message into the queue, for so much later.
    pub fn put_later(&self, body: &str, later: SignedDuration) {
        let at = self.now().checked_add(later).unwrap_or(Timestamp::MAX);
        let mut count = open(&self.count);
        *count += 1;
        open(&self.queue).insert((at, *count), body.to_owned());
    }

    /// Takes the next message that is due until a time, from the queue or a timer, and turns the clock there.
    pub fn next_due(&self, until: Timestamp) -> Option<String> {
        let (timers, by_time) = &mut *open(&self.timers);
        let timer = by_time.first().cloned();
        let mut queue = open(&self.queue);
        let message = queue.first_key_value().map(|(key, _)| *key);
        let timer_is_first = match (&timer, message) {
            (Some((first, _)), Some((at, _))) => *first < at,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if timer_is_first {
            let timer = timer.filter(|(at, _)| *at <= until)?;
            by_time.remove(&timer);
            self.turn_to(timer.0);
            return timers.remove(&timer.1).map(|timer| timer.message.body);
        }
        let key = message.filter(|(at, _)| *at <= until)?;
        self.turn_to(key.0);
        queue.remove(&key)
    }

    /// The worker dies at the given point, counted from 1; none that it lives. Answers the points passed before.
    pub fn crash_at(&self, point: Option<usize>) -> Vec<String> {
        let mut crashes = open(&self.crashes);
        crashes.at = point;
        std::mem::take(&mut crashes.passed)
    }

    /// The worker stands still for a moment at the given point, counted from 1 from now on.
    pub fn stand_at(&self, point: usize) {
        let mut crashes = open(&self.crashes);
        crashes.passed.clear();
        crashes.stands_at = Some(point);
    }

    /// Looks at the world without passing points.
    pub fn quietly<T>(&self, look: impl FnOnce() -> T) -> T {
        self.quiet.store(true, Ordering::SeqCst);
        let seen = look();
        self.quiet.store(false, Ordering::SeqCst);
        seen
    }

    /// A point at which the worker may die.
    pub(super) async fn point(&self, name: &str) {
        if self.quiet.load(Ordering::SeqCst) {
            return;
        }
        let (dies, stands) = {
            let mut crashes = open(&self.crashes);
            crashes.passed.push(name.to_owned());
            let stands = crashes.stands_at == Some(crashes.passed.len());
            if stands {
                crashes.stands_at = None;
            }
            let dies = crashes.at == Some(crashes.passed.len());
            if dies {
                crashes.at = None;
            }
            (dies, stands)
        };
        if stands {
            let mut waited = false;
            std::future::poll_fn(
                |_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending },
            )
            .await;
        }
        if dies {
            std::future::pending::<()>().await;
        }
    }
}

impl Documents for World {
    async fn read(&self, key: &str) -> Result<Option<StoredDocument>, StoreError> {
        self.documents.read(key).await
    }

    async fn write(
        &self,
        key: &str,
        fields: &Map<String, Value>,
        expected: Option<Revision>,
        now: Timestamp,
    ) -> Result<PutDocument, StoreError> {
        let what = if key.starts_with('#') { "turn" } else { "record" };
        self.point(&format!("before the {what} is written")).await;
        let before = self.documents.read(key).await?;
        let written = self.documents.write(key, fields, expected, now).await?;
        if what == "record" && matches!(written, PutDocument::Stored(_)) {
            let standing = |fields: &Map<String, Value>| {
                let engagement = fields.get("engagement").and_then(Value::as_str);
                let state = fields.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
                engagement.map_or_else(|| state.clone(), |engagement| format!("{state} ({engagement})"))
            };
            let (from, to) = (before.map(|before| standing(&before.fields)), standing(fields));
            if from.as_ref() != Some(&to) {
                self.say("state", &format!("{} → {to}", from.unwrap_or_else(|| "–".to_owned())));
            }
        }
        self.point(&format!("after the {what} is written")).await;
        Ok(written)
    }
}

impl Links for World {
    async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
        self.links.get(key).await
    }

    async fn put(&self, link: &Link, expected: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
        self.point("before a link is written").await;
        let put = self.links.put(link, expected, now).await;
        self.point("after a link is written").await;
        put
    }
}

impl SendToQueue for World {
    async fn send(&self, message: &OwnMessage) -> Result<(), StoreError> {
        self.point("before a message is queued").await;
        self.put_later(&message.body, SignedDuration::ZERO);
        self.point("after a message is queued").await;
        Ok(())
    }
}

impl SetTimers for World {
    async fn set(&self, timer: &Timer) -> Result<(), StoreError> {
        assert!(timer.name.len() <= 64, "{} is too long for a schedule", timer.name);
        self.point("before a timer is set").await;
        let is_new = {
            let (timers, by_time) = &mut *open(&self.timers);
            let is_new = !timers.contains_key(&timer.name);
            if is_new {
                timers.insert(timer.name.clone(), timer.clone());
                by_time.insert((timer.at, timer.name.clone()));
            }
            is_new
        };
        if is_new {
            let kind = timer.name.split('-').next().unwrap_or_default();
            self.say("timer", &format!("{kind} is set for {}", timer.at.strftime("%a %Y-%m-%d %H:%M:%S")));
        }
        self.point("after a timer is set").await;
        Ok(())
    }
}

impl RemoveTimers for World {
    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.point("before a timer is removed").await;
        let removed = {
            let (timers, by_time) = &mut *open(&self.timers);
            timers.remove(name).inspect(|timer| {
                by_time.remove(&(timer.at, timer.name.clone()));
            })
        };
        if removed.is_some() {
            self.say("timer", &format!("{} is removed", name.split('-').next().unwrap_or_default()));
        }
        self.point("after a timer is removed").await;
        Ok(())
    }
}

impl Alert for World {
    async fn alert(&self, text: &str, _: Deadline) -> Result<(), Failure> {
        self.point("before people are told").await;
        open(&self.alerts).push(text.to_owned());
        self.say("alert", text);
        self.point("after people are told").await;
        Ok(())
    }
}

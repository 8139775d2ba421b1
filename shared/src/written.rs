//! What has been written at the other end, and under which id: the first net under systems that cannot be asked to write a
//! thing only once.
//!
//! A key of ours is claimed before its thing is created and linked to the other end's id afterwards. Whoever finds an
//! older claim looks at the other end before creating anything: the one who claimed may have got that far.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use std::future::Future;
use std::time::Duration;

use crate::domain::link::{Link, LinkKey, LinkState, Version};
use crate::engine::{Clock, Links, PutLink, Revision, StoreError, StoredLink};
use crate::http::CallError;

/// How old a claim must be for somebody else to look for what became of it: longer than a call can take.
pub const SETTLED_AFTER: Duration = Duration::from_mins(1);

/// How long what was learnt of a system holds.
const KNOWN_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The fact that a claim is.
const CLAIMED_AT: &str = "claimed_at";

/// The name that the table has in errors.
const API: &str = "the links table";

/// Keeps what one system made of our keys.
#[derive(Clone)]
pub struct Written<L> {
    links: L,
    clock: Clock,
    system: &'static str,
    settled_after: Duration,
}

/// What stands at the other end under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// The other end's id.
    pub id: String,
    /// True if it was created, or found again, just now: it holds what was to be written.
    pub is_new: bool,
}

impl<L: Links> Written<L> {
    /// Of the system with this short name, for example `hubspot`.
    #[must_use]
    pub fn new(links: L, clock: Clock, system: &'static str) -> Self {
        Self { links, clock, system, settled_after: SETTLED_AFTER }
    }

    /// The same with another age from which a claim is looked into.
    #[must_use]
    pub fn settled_after(mut self, age: Duration) -> Self {
        self.settled_after = age;
        self
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The id of what stands under a key, if that is known: `kind` is what it is (`meeting`), `key` which one.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub async fn standing(&self, kind: &str, key: &str) -> Result<Option<String>, CallError> {
        let stored = self.links.get(&self.link_key(kind, key)).await.map_err(table)?;
        Ok(stored.and_then(|stored| live(&stored.link)))
    }

    /// Makes sure that a thing is there, and answers its id: created by `create` if nothing is known of it; if a try of
    /// old was cut short, first looked for by `find`.
    ///
    /// # Errors
    /// Those of the two, and one that passes if somebody else is at it right now.
    pub async fn once(
        &self,
        kind: &str,
        key: &str,
        find: impl Future<Output = Result<Option<String>, CallError>> + Send,
        create: impl Future<Output = Result<String, CallError>> + Send,
    ) -> Result<Stands, CallError> {
        let link_key = self.link_key(kind, key);
        let now = self.clock.now();
        let (standing, claimed_at) = match self.links.get(&link_key).await.map_err(table)? {
            None => (None, None),
            Some(StoredLink { link, revision }) => match live(&link) {
                Some(id) => return Ok(Stands { id, is_new: false }),
                None => (Some(revision), claim_of(&link)),
            },
        };
        if let Some(claimed_at) = claimed_at {
            let age = Duration::try_from(now.duration_since(claimed_at)).unwrap_or_default();
            if age < self.settled_after {
                return Err(somebody_is_at_it(self.settled_after.saturating_sub(age)));
            }
        }
        let claimed = self.put(&link_key, LinkState::Note, Some(now), standing).await?;
        let Some(revision) = claimed else { return Err(somebody_is_at_it(self.settled_after)) };
        let found = match claimed_at {
            None => None,
            Some(_) => match find.await {
                Ok(found) => found,
                Err(error) => {
                    // What it was claimed for is as unknown as before: the next try need not wait.
                    self.put(&link_key, LinkState::Note, claimed_at, Some(revision)).await?;
                    return Err(error);
                }
            },
        };
        let id = match found {
            Some(id) => id,
            None => match create.await {
                Ok(id) => id,
                Err(error) if is_surely_not_done(&error) => {
                    self.put(&link_key, LinkState::Note, None, Some(revision)).await?;
                    return Err(error);
                }
                Err(error) => return Err(error),
            },
        };
        // Raced only by one who found the claim old: it looked, and found the same thing.
        self.put(&link_key, LinkState::Live { became: id.clone() }, None, Some(revision)).await?;
        Ok(Stands { id, is_new: true })
    }

    /// Forgets the id of a thing that is gone at the other end, if it is still this one.
    ///
    /// # Errors
    /// If the table cannot be read or written.
    pub async fn gone(&self, kind: &str, key: &str, id: &str) -> Result<(), CallError> {
        let link_key = self.link_key(kind, key);
        let stored = self.links.get(&link_key).await.map_err(table)?;
        if let Some(stored) = stored.filter(|stored| live(&stored.link).as_deref() == Some(id)) {
            self.put(&link_key, LinkState::Note, None, Some(stored.revision)).await?;
        }
        Ok(())
    }

    /// What was learnt of the system under a name, within the last day.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub async fn known(&self, name: &str) -> Result<Option<Value>, CallError> {
        let stored = self.links.get(&self.link_key("known", name)).await.map_err(table)?;
        let now = self.clock.now();
        Ok(stored.map(|stored| stored.link.facts).and_then(|mut facts| {
            let at: Timestamp = facts.get("at")?.as_str()?.parse().ok()?;
            (now.duration_since(at) < KNOWN_FOR).then(|| facts.remove("value")).flatten()
        }))
    }

    /// Remembers what was learnt of the system under a name.
    ///
    /// # Errors
    /// If the table cannot be read or written.
    pub async fn know(&self, name: &str, value: Value) -> Result<(), CallError> {
        let key = self.link_key("known", name);
        let standing = self.links.get(&key).await.map_err(table)?.map(|stored| stored.revision);
        let facts =
            Map::from_iter([("at".to_owned(), json!(self.clock.now().to_string())), ("value".to_owned(), value)]);
        let link = Link { key, state: LinkState::Note, version: Version::default(), content: None, facts };
        // Raced by one who learnt the same.
        self.links.put(&link, standing, self.clock.now()).await.map(|_| ()).map_err(table)
    }

    fn link_key(&self, kind: &str, key: &str) -> LinkKey {
        LinkKey::new("written", &format!("{}#{kind}#{key}", self.system))
    }

    async fn put(
        &self,
        key: &LinkKey,
        state: LinkState,
        claimed_at: Option<Timestamp>,
        expected: Option<Revision>,
    ) -> Result<Option<Revision>, CallError> {
        let facts = claimed_at.map(|at| (CLAIMED_AT.to_owned(), json!(at.to_string()))).into_iter().collect();
        let link = Link { key: key.clone(), state, version: Version::default(), content: None, facts };
        match self.links.put(&link, expected, self.clock.now()).await.map_err(table)? {
            PutLink::Stored(revision) => Ok(Some(revision)),
            PutLink::Raced => Ok(None),
        }
    }
}

fn live(link: &Link) -> Option<String> {
    match &link.state {
        LinkState::Live { became } => Some(became.clone()),
        LinkState::Tombstone | LinkState::Note => None,
    }
}

fn claim_of(link: &Link) -> Option<Timestamp> {
    link.facts.get(CLAIMED_AT)?.as_str()?.parse().ok()
}

fn table(error: StoreError) -> CallError {
    CallError::Unavailable { api: API, problem: error.0, retry_after: None, answered: false }
}

fn somebody_is_at_it(wait: Duration) -> CallError {
    let problem = "the same thing is being written just now, or its writing was cut short".to_owned();
    CallError::Unavailable { api: API, problem, retry_after: Some(wait), answered: true }
}

/// False if the other end may have done it all the same.
fn is_surely_not_done(error: &CallError) -> bool {
    !matches!(error, CallError::Unavailable { .. } | CallError::Unreadable { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::MemoryLinks;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::sync::{Arc, Mutex};

    struct Stage {
        written: Written<MemoryLinks>,
        second: Arc<AtomicI64>,
        made: Mutex<Vec<String>>,
    }

    impl Stage {
        fn new() -> Self {
            let second = Arc::new(AtomicI64::new(1_000));
            let told = Arc::clone(&second);
            let clock = Clock::told_by(move || Timestamp::from_second(told.load(Ordering::SeqCst)).expect("a time"));
            Self { written: Written::new(MemoryLinks::default(), clock, "crm"), second, made: Mutex::default() }
        }

        fn later(&self, by: Duration) {
            self.second.fetch_add(i64::try_from(by.as_secs()).expect("small"), Ordering::SeqCst);
        }

        async fn write(&self, answer: Result<(), CallError>, takes_effect: bool) -> Result<Stands, CallError> {
            let find = async { Ok(self.made.lock().expect("not poisoned").last().cloned()) };
            let create = async {
                if takes_effect {
                    let mut made = self.made.lock().expect("not poisoned");
                    let id = format!("id-{}", made.len() + 1);
                    made.push(id);
                }
                answer.map(|()| self.made.lock().expect("not poisoned").last().cloned().unwrap_or_default())
            };
            self.written.once("meeting", "evt_1", find, create).await
        }

        fn made(&self) -> usize {
            self.made.lock().expect("not poisoned").len()
        }
    }

    fn lost() -> CallError {
        CallError::Unavailable { api: "the CRM", problem: "no answer".to_owned(), retry_after: None, answered: false }
    }

    fn refused() -> CallError {
        CallError::Rejected { api: "the CRM", what: "meeting", status: 422, text: "no".to_owned() }
    }

    #[tokio::test]
    async fn thing_that_is_written_twice_is_created_once() {
        let stage = Stage::new();
        assert_eq!(stage.write(Ok(()), true).await, Ok(Stands { id: "id-1".to_owned(), is_new: true }));
        assert_eq!(stage.write(Ok(()), true).await, Ok(Stands { id: "id-1".to_owned(), is_new: false }));
        assert_eq!(stage.made(), 1);
    }

    #[tokio::test]
    async fn thing_whose_answer_was_lost_is_looked_for_once_that_has_settled_and_not_created_again() {
        let stage = Stage::new();
        assert_eq!(stage.write(Err(lost()), true).await, Err(lost()));
        let at_once = stage.write(Ok(()), true).await.expect_err("too soon");
        assert!(matches!(at_once, CallError::Unavailable { retry_after: Some(_), .. }), "{at_once:?}");
        stage.later(SETTLED_AFTER);
        assert_eq!(stage.write(Ok(()), true).await, Ok(Stands { id: "id-1".to_owned(), is_new: true }));
        assert_eq!(stage.made(), 1);
    }

    #[tokio::test]
    async fn thing_that_was_not_created_although_it_was_claimed_is_created_after_a_look() {
        let stage = Stage::new();
        stage.write(Err(lost()), false).await.expect_err("lost");
        stage.later(SETTLED_AFTER);
        assert_eq!(stage.write(Ok(()), true).await.map(|stands| stands.is_new), Ok(true));
        assert_eq!(stage.made(), 1);
    }

    #[tokio::test]
    async fn refusal_frees_the_key_at_once() {
        let stage = Stage::new();
        stage.write(Err(refused()), false).await.expect_err("refused");
        assert_eq!(stage.write(Ok(()), true).await.map(|stands| stands.id), Ok("id-1".to_owned()));
    }

    #[tokio::test]
    async fn thing_that_is_gone_at_the_other_end_is_created_anew() {
        let stage = Stage::new();
        stage.write(Ok(()), true).await.expect("written");
        stage.written.gone("meeting", "evt_1", "another").await.expect("kept");
        assert_eq!(stage.written.standing("meeting", "evt_1").await, Ok(Some("id-1".to_owned())));
        stage.written.gone("meeting", "evt_1", "id-1").await.expect("forgotten");
        assert_eq!(stage.write(Ok(()), true).await.map(|stands| stands.id), Ok("id-2".to_owned()));
    }

    #[tokio::test]
    async fn what_was_learnt_of_a_system_holds_for_a_day() {
        let stage = Stage::new();
        assert_eq!(stage.written.known("set-up").await, Ok(None));
        stage.written.know("set-up", json!({"unique": true})).await.expect("remembered");
        assert_eq!(stage.written.known("set-up").await, Ok(Some(json!({"unique": true}))));
        stage.later(Duration::from_hours(25));
        assert_eq!(stage.written.known("set-up").await, Ok(None));
    }
}

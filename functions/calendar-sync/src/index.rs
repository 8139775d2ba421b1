//! Finds the meeting that a copy belongs to by the copy's ids alone, which is all that a deletion tells.
//!
//! A copy is bound to its meeting before anything is written of it. A deletion that comes before all other news leaves a
//! tombstone in the same place, so that whichever of the two is second finds the first.

use serde_json::Value;
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::{Clock, Links, PutLink, Revision};
use shared::meetings::copy_key;

use crate::copies::CopyKey;

/// The fact of a tombstone that names the calendar.
const CALENDAR: &str = "calendar";

/// The index over the links.
pub struct CopyIndex<'a, L> {
    /// Where it is kept.
    pub links: &'a L,
    /// The time of day.
    pub clock: Clock,
}

/// What is known of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It belongs to the meeting with this identity.
    Bound(String),
    /// It was deleted before anything else was heard of it.
    Deleted {
        /// When, in Unix seconds.
        at: i64,
        /// From which calendar, where that was told.
        calendar: Option<String>,
    },
    /// Nothing.
    Unheard,
}

/// What became of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Buried {
    /// It is the meeting's to know: the copy is bound.
    Bound(String),
    /// A tombstone stops what may still come.
    Tombstone,
}

impl<L: Links> CopyIndex<'_, L> {
    /// What is known of a copy.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn find(&self, copy: &CopyKey) -> Result<Known, Failure> {
        Ok(self.read(copy).await?.0)
    }

    /// Binds a copy to its meeting, and answers the meeting's identity: the one it was bound to first, if it was. `over` is
    /// the deletion, in Unix seconds, after which the copy is known to have come back. None if it was deleted since.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn bind(&self, copy: &CopyKey, over: Option<i64>, identity: &str) -> Result<Option<String>, Failure> {
        loop {
            let (known, revision) = self.read(copy).await?;
            match known {
                Known::Bound(bound) => return Ok(Some(bound)),
                Known::Deleted { at, .. } if over.is_none_or(|over| at > over) => return Ok(None),
                Known::Deleted { .. } | Known::Unheard => {}
            }
            let state = LinkState::Live { became: identity.to_owned() };
            if self.put(copy, state, Version::default(), None, revision).await? {
                return Ok(Some(identity.to_owned()));
            }
        }
    }

    /// Records that a copy was deleted, from a calendar if that was told.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn bury(&self, copy: &CopyKey, at: i64, calendar: Option<&str>) -> Result<Buried, Failure> {
        loop {
            let (known, revision) = self.read(copy).await?;
            match known {
                Known::Bound(bound) => return Ok(Buried::Bound(bound)),
                Known::Deleted { at: standing, .. } if standing >= at => return Ok(Buried::Tombstone),
                Known::Deleted { .. } | Known::Unheard => {}
            }
            let version = Version { sequence: 0, changed_at: at };
            if self.put(copy, LinkState::Tombstone, version, calendar, revision).await? {
                return Ok(Buried::Tombstone);
            }
        }
    }

    async fn read(&self, copy: &CopyKey) -> Result<(Known, Option<Revision>), Failure> {
        let Some(standing) = self.links.get(&key_of(copy)).await? else {
            return Ok((Known::Unheard, None));
        };
        let known = match standing.link.state {
            LinkState::Live { became } => Known::Bound(became),
            LinkState::Tombstone | LinkState::Note => {
                let calendar = standing.link.facts.get(CALENDAR).and_then(Value::as_str).map(str::to_owned);
                Known::Deleted { at: standing.link.version.changed_at, calendar }
            }
        };
        Ok((known, Some(standing.revision)))
    }

    /// False if somebody else was faster.
    async fn put(
        &self,
        copy: &CopyKey,
        state: LinkState,
        version: Version,
        calendar: Option<&str>,
        expected: Option<Revision>,
    ) -> Result<bool, Failure> {
        let facts = calendar.map(|calendar| (CALENDAR.to_owned(), calendar.into())).into_iter().collect();
        let link = Link { key: key_of(copy), state, version, content: None, facts };
        let put = self.links.put(&link, expected, self.clock.now()).await?;
        Ok(matches!(put, PutLink::Stored(_)))
    }
}

/// An occurrence by rule and the same occurrence held by itself are one copy here: their ids are.
fn key_of(copy: &CopyKey) -> LinkKey {
    copy_key(&copy.grant, &copy.event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::engine::testing::MemoryLinks;

    fn copy(event: &str) -> CopyKey {
        CopyKey { grant: "g1".to_owned(), event: event.to_owned(), by_rule: false }
    }

    fn deleted(at: i64) -> Known {
        Known::Deleted { at, calendar: Some("primary".to_owned()) }
    }

    #[tokio::test]
    async fn deletion_finds_the_meeting_of_a_copy_that_is_bound() {
        let links = MemoryLinks::default();
        let index = CopyIndex { links: &links, clock: Clock::system() };
        assert_eq!(index.find(&copy("e1")).await, Ok(Known::Unheard));
        assert_eq!(index.bind(&copy("e1"), None, "meeting").await, Ok(Some("meeting".to_owned())));
        assert_eq!(index.bury(&copy("e1"), 20, None).await, Ok(Buried::Bound("meeting".to_owned())));
        assert_eq!(index.find(&copy("e2")).await, Ok(Known::Unheard), "another copy is another matter");
    }

    #[tokio::test]
    async fn copy_stays_bound_to_what_it_was_bound_to_first() {
        let links = MemoryLinks::default();
        let index = CopyIndex { links: &links, clock: Clock::system() };
        index.bind(&copy("e1"), None, "by its id").await.expect("bound");
        assert_eq!(index.bind(&copy("e1"), None, "by its UID").await, Ok(Some("by its id".to_owned())));
        let by_rule = CopyKey { by_rule: true, ..copy("e1") };
        assert_eq!(index.find(&by_rule).await, Ok(Known::Bound("by its id".to_owned())));
    }

    #[tokio::test]
    async fn deletion_that_comes_first_stops_everything_but_what_is_known_to_have_come_back() {
        let links = MemoryLinks::default();
        let index = CopyIndex { links: &links, clock: Clock::system() };
        assert_eq!(index.bury(&copy("e1"), 20, Some("primary")).await, Ok(Buried::Tombstone));
        assert_eq!(index.bury(&copy("e1"), 15, None).await, Ok(Buried::Tombstone));
        assert_eq!(index.find(&copy("e1")).await, Ok(deleted(20)), "the later deletion stands");
        assert_eq!(index.bind(&copy("e1"), None, "meeting").await, Ok(None));
        assert_eq!(index.bind(&copy("e1"), Some(19), "meeting").await, Ok(None), "another deletion came since");
        assert_eq!(index.bind(&copy("e1"), Some(20), "meeting").await, Ok(Some("meeting".to_owned())));
    }
}

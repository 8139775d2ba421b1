//! Links: what a Nylas object became at the other end, at which version, and the guard that keeps old news from
//! overwriting new.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How long a tombstone stops a creation that is still on its way: 35 days, longer than a message can live.
pub const TOMBSTONE_DAYS: i64 = 35;

/// The key of a link: the kind of thing and its identity, for example `mail#<digest>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkKey(String);

impl LinkKey {
    /// The key of a thing.
    #[must_use]
    pub fn new(kind: &str, identity: &str) -> Self {
        Self(format!("{kind}#{identity}"))
    }

    /// The key as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it identifies, without the kind.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.0.split_once('#').map_or(&self.0, |(_, identity)| identity)
    }
}

/// The version of a copy: the higher one is newer. Things that never change have the default version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Version {
    /// The sequence number of the object, 0 if it has none.
    pub sequence: i64,
    /// When it was last changed, in Unix seconds; else the time of the notification.
    pub changed_at: i64,
}

/// What stands at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LinkState {
    /// The record with this id.
    Live {
        /// The id that the other end gave.
        became: String,
    },
    /// Nothing, and nothing may be made from older news.
    Tombstone,
    /// It says nothing of the other end, and ends when a tombstone would.
    Note,
}

/// What became of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which thing.
    #[serde(rename = "pk")]
    pub key: LinkKey,
    /// What stands at the other end.
    #[serde(flatten)]
    pub state: LinkState,
    /// The version that stands there.
    pub version: Version,
    /// A digest of the content that stands there, where one is kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<String>,
    /// What else must be known about it, for example the Nylas id of the copy that was logged first.
    #[serde(default)]
    pub facts: Map<String, Value>,
}

/// What the guard says of a copy that has just arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It is news: write it.
    Newer,
    /// The same version with the same content: nothing to do.
    Same,
    /// The same version with other content: fetch what holds now and write that.
    Conflicting,
    /// It is old news: drop it.
    Older,
}

/// Judges a copy against what stands. A tombstone admits only what is newer than the deletion.
#[must_use]
pub fn admit(standing: Option<&Link>, version: Version, content: Option<&str>) -> Admission {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let Some(standing) = standing else {
        return Admission::Newer;
    };
    match version.cmp(&standing.version) {
        Greater => Admission::Newer,
        Less => Admission::Older,
        Equal if standing.state == LinkState::Tombstone => Admission::Older,
        Equal if standing.content.as_deref() == content => Admission::Same,
        Equal => Admission::Conflicting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(sequence: i64, changed_at: i64) -> Version {
        Version { sequence, changed_at }
    }

    fn live(version: Version, content: &str) -> Link {
        Link {
            key: LinkKey::new("meeting", "1"),
            state: LinkState::Live { became: "m-1".to_owned() },
            version,
            content: Some(content.to_owned()),
            facts: Map::new(),
        }
    }

    #[test]
    fn first_copy_is_always_news() {
        assert_eq!(admit(None, Version::default(), None), Admission::Newer);
    }

    #[test]
    fn older_copy_never_overwrites_a_newer_one() {
        let standing = live(version(2, 100), "a");
        assert_eq!(admit(Some(&standing), version(1, 900), Some("b")), Admission::Older);
        assert_eq!(admit(Some(&standing), version(2, 99), Some("b")), Admission::Older);
        assert_eq!(admit(Some(&standing), version(2, 101), Some("b")), Admission::Newer);
    }

    #[test]
    fn equal_version_is_the_same_or_a_conflict_by_its_content() {
        let standing = live(version(2, 100), "a");
        assert_eq!(admit(Some(&standing), version(2, 100), Some("a")), Admission::Same);
        assert_eq!(admit(Some(&standing), version(2, 100), Some("b")), Admission::Conflicting);
    }

    #[test]
    fn tombstone_stops_a_creation_that_was_still_on_its_way() {
        let tombstone = Link { state: LinkState::Tombstone, ..live(version(0, 100), "a") };
        assert_eq!(admit(Some(&tombstone), version(0, 90), Some("a")), Admission::Older);
        assert_eq!(admit(Some(&tombstone), version(0, 100), Some("a")), Admission::Older);
        assert_eq!(admit(Some(&tombstone), version(0, 101), Some("a")), Admission::Newer);
    }

    proptest! {
        #[test]
        fn any_order_of_copies_ends_at_the_newest(order in Just(vec![1i64, 2, 3, 4, 5]).prop_shuffle()) {
            let mut standing: Option<Link> = None;
            for changed_at in order {
                let content = changed_at.to_string();
                if admit(standing.as_ref(), version(0, changed_at), Some(&content)) == Admission::Newer {
                    standing = Some(live(version(0, changed_at), &content));
                }
            }
            prop_assert_eq!(standing.and_then(|link| link.content), Some("5".to_owned()));
        }
    }
}

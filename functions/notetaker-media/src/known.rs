//! What is known of one notetaker, kept among the links: which meeting it was sent to, what happened to it, what the CRM
//! has of it. News of it comes in any order and twice; each change is made over what was read.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::{Clock, Links, PutLink, Revision};
use shared::meetings::place_of;
use shared::nylas::notetaker::{EventReference, Notetaker};

use crate::timeline::Timeline;

/// For how long a write to the CRM is announced: longer than one can last.
const WRITING_LASTS: SignedDuration = SignedDuration::from_secs(60);

/// A file of a notetaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// What was said, in short.
    Summary,
    /// What was promised.
    ActionItems,
    /// What was said.
    Transcript,
    /// The video, or the sound alone.
    Recording,
}

impl Piece {
    /// Those that are read as text.
    pub const TEXTS: [Self; 3] = [Self::Summary, Self::ActionItems, Self::Transcript];

    /// The name, as it stands in decisions and in the names of files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::ActionItems => "action_items",
            Self::Transcript => "transcript",
            Self::Recording => "recording",
        }
    }
}

/// What people are told of a notetaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Telling {
    /// It is not in its meeting.
    Entry,
    /// Its files could not be made.
    Media,
}

/// Whether a record may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// It may, by nobody else for a while.
    Go,
    /// The CRM has it as it is.
    Same,
    /// The CRM has the words of files that this record lacks: it would take them away.
    Poorer(BTreeSet<Piece>),
}

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    /// Its lasting reference.
    pub reference: String,
    /// How long it is.
    pub bytes: u64,
    /// The SHA-256 of it, as hex.
    pub sha256: String,
}

/// What is known of a notetaker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// The account that sent it; none for a standalone one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// The event it was made for.
    #[serde(default)]
    pub event: EventReference,
    /// Where it joins: the place alone, because a link may carry a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// When it joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_time: Option<Timestamp>,
    /// What happened to it.
    #[serde(default)]
    pub timeline: Timeline,
    /// When what is known of its meeting was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// What people were told of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub told: BTreeSet<Telling>,
    /// True once files that are there were dealt with. Further ones may follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dealt_with: bool,
    /// Which files the CRM has the words of, for certain.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub written: BTreeSet<Piece>,
    /// Which files are archived.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub archived: BTreeMap<Piece, Archived>,
    /// True if the record was written as one of a meeting that the CRM has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attached: bool,
    /// A digest of what the CRM was last given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Until when Nylas keeps the files, as it was first told or reckoned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_until: Option<Timestamp>,
    /// Until when somebody may be writing to the CRM. One that is over without an end was cut off: nobody knows what the
    /// CRM has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writing_until: Option<Timestamp>,
    /// The CRM's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<String>,
}

impl Known {
    /// Takes in which meeting a notetaker was sent to, as it was told at a time. What news leaves out stays known, and
    /// older news adds what is not known alone.
    pub fn take_in(&mut self, news: &Notetaker, at: Timestamp) {
        let is_newer = self.told_at.is_none_or(|told_at| at >= told_at);
        if is_newer {
            self.told_at = Some(at);
        }
        let keep = |known: &mut Option<String>, news: Option<&String>| {
            let news = news.filter(|news| !news.trim().is_empty());
            if let Some(news) = news.filter(|_| is_newer || known.is_none()) {
                *known = Some(news.clone());
            }
        };
        keep(&mut self.grant, news.grant_id.as_ref());
        keep(&mut self.place, news.meeting_link.as_deref().and_then(place_of).as_ref());
        if let Some(event) = &news.event {
            keep(&mut self.event.event_id, event.event_id.as_ref());
            keep(&mut self.event.master_event_id, event.master_event_id.as_ref());
            keep(&mut self.event.ical_uid, event.ical_uid.as_ref());
        }
        if is_newer || self.join_time.is_none() {
            self.join_time = news.join_time.or(self.join_time);
        }
    }

    /// True if it is known which event it was made for.
    #[must_use]
    pub fn names_an_event(&self) -> bool {
        self.event.event_id.is_some() || self.event.ical_uid.is_some()
    }

    /// When it joined, else when it was to.
    #[must_use]
    pub fn joined_at(&self) -> Option<Timestamp> {
        self.timeline.begun_at().or(self.join_time)
    }

    fn link(&self, key: LinkKey) -> Result<Link, Failure> {
        let state = match &self.became {
            Some(became) => LinkState::Live { became: became.clone() },
            None => LinkState::Note,
        };
        let Ok(Value::Object(facts)) = serde_json::to_value(self) else {
            return Err(Failure::permanent("link.broken", format!("the link {} cannot be written", key.as_str())));
        };
        Ok(Link { key, state, version: Version::default(), content: None, facts })
    }
}

/// Where it is kept.
pub struct Notetakers<'a, L> {
    /// The links.
    pub links: &'a L,
    /// The time of day.
    pub clock: Clock,
}

fn key(id: &str) -> LinkKey {
    LinkKey::new("notetaker", id)
}

impl<L: Links> Notetakers<'_, L> {
    /// What is known of a notetaker: nothing, if nothing is.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn known(&self, id: &str) -> Result<Known, Failure> {
        Ok(self.read(id).await?.0)
    }

    async fn read(&self, id: &str) -> Result<(Known, Option<Revision>), Failure> {
        let Some(standing) = self.links.get(&key(id)).await? else { return Ok((Known::default(), None)) };
        let known = serde_json::from_value(standing.link.facts.into()).map_err(|error| {
            let what = format!(
                "the link {} cannot be read ({error}); remove it to have the notetaker's record written anew",
                key(id).as_str()
            );
            Failure::permanent("link.broken", what)
        })?;
        Ok((known, Some(standing.revision)))
    }

    /// Changes what is known of a notetaker, and answers it.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn change(&self, id: &str, change: impl Fn(&mut Known)) -> Result<Known, Failure> {
        loop {
            let (standing, revision) = self.read(id).await?;
            let mut known = standing.clone();
            change(&mut known);
            if known == standing || self.put(id, &known, revision).await? {
                return Ok(known);
            }
        }
    }

    /// Announces a write to the CRM of the words of some files, so that nobody else writes meanwhile.
    ///
    /// # Errors
    /// If somebody else is writing, or the table does not answer.
    pub async fn announce(&self, id: &str, content: &str, pieces: &BTreeSet<Piece>) -> Result<Announced, Failure> {
        loop {
            let (mut known, revision) = self.read(id).await?;
            let now = self.clock.now();
            if let Some(until) = known.writing_until.filter(|until| *until > now) {
                let retry_after = until.duration_since(now).try_into().unwrap_or_default();
                let what = "another worker is writing the record of this notetaker to the CRM".to_owned();
                return Err(Failure::Untried { class: "notetaker.busy", what, retry_after });
            }
            let lacking: BTreeSet<Piece> = known.written.difference(pieces).copied().collect();
            if !lacking.is_empty() {
                return Ok(Announced::Poorer(lacking));
            }
            // One that was announced and never ended may have been made or not.
            let is_certain = known.writing_until.is_none();
            if is_certain && known.became.is_some() && known.content.as_deref() == Some(content) {
                return Ok(Announced::Same);
            }
            known.writing_until = now.checked_add(WRITING_LASTS).ok();
            if self.put(id, &known, revision).await? {
                return Ok(Announced::Go);
            }
        }
    }

    async fn put(&self, id: &str, known: &Known, expected: Option<Revision>) -> Result<bool, Failure> {
        let put = self.links.put(&known.link(key(id))?, expected, self.clock.now()).await?;
        Ok(matches!(put, PutLink::Stored(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::engine::testing::MemoryLinks;

    fn notetaker(value: Value) -> Notetaker {
        serde_json::from_value(value).expect("a notetaker")
    }

    #[test]
    fn poorer_news_takes_nothing_away_and_older_news_adds_what_is_not_known_alone() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let mut known = Known::default();
        let whole = json!({
            "id": "n", "grant_id": "g", "meeting_link": "https://meet.example/a", "join_time": 100,
            "event": {"event_id": "e", "ical_uid": "u"},
        });
        known.take_in(&notetaker(whole), at(10));
        let standing = known.clone();
        let poorer = [
            json!({"id": "n"}),
            json!({"id": "n", "event": {}, "meeting_link": ""}),
            json!({"id": "n", "event": {"ical_uid": "u"}}),
        ];
        for poorer in poorer {
            known.take_in(&notetaker(poorer), at(10));
            assert_eq!(known, standing);
        }
        let older = json!({"id": "n", "meeting_link": "https://meet.example/old", "join_time": 50,
            "event": {"master_event_id": "m"}});
        known.take_in(&notetaker(older), at(5));
        assert_eq!((known.place, known.join_time), (standing.place, standing.join_time));
        assert_eq!(known.event.master_event_id.as_deref(), Some("m"));
        let newer = json!({"id": "n", "meeting_link": "https://meet.example/new", "join_time": 200});
        known.place = None;
        known.take_in(&notetaker(newer), at(11));
        assert_eq!((known.place.as_deref(), known.join_time), (Some("meet.example/new"), Some(at(200))));
    }

    #[tokio::test]
    async fn write_is_announced_once_at_a_time_and_not_for_what_the_crm_has() {
        let links = MemoryLinks::default();
        let notetakers = Notetakers { links: &links, clock: Clock::system() };
        assert_eq!(notetakers.announce("n", "a", &BTreeSet::new()).await, Ok(Announced::Go));
        let busy = notetakers.announce("n", "b", &BTreeSet::new()).await.expect_err("somebody is writing");
        assert!(matches!(busy, Failure::Untried { .. }), "{busy:?}");
        notetakers
            .change("n", |known| {
                known.writing_until = None;
                known.content = Some("a".to_owned());
                known.became = Some("met_1".to_owned());
            })
            .await
            .expect("changed");
        assert_eq!(notetakers.announce("n", "a", &BTreeSet::new()).await, Ok(Announced::Same));
        notetakers.change("n", |known| known.written.extend([Piece::Summary])).await.expect("changed");
        let poorer = Announced::Poorer(BTreeSet::from([Piece::Summary]));
        assert_eq!(notetakers.announce("n", "b", &BTreeSet::from([Piece::Transcript])).await, Ok(poorer));
        assert_eq!(notetakers.announce("n", "b", &BTreeSet::from(Piece::TEXTS)).await, Ok(Announced::Go));
    }

    #[tokio::test]
    async fn write_that_was_cut_off_is_done_again() {
        let links = MemoryLinks::default();
        let notetakers = Notetakers { links: &links, clock: Clock::system() };
        notetakers
            .change("n", |known| {
                known.writing_until = Some(Timestamp::UNIX_EPOCH);
                known.content = Some("a".to_owned());
                known.became = Some("met_1".to_owned());
            })
            .await
            .expect("changed");
        assert_eq!(notetakers.announce("n", "a", &BTreeSet::new()).await, Ok(Announced::Go));
    }

    #[test]
    fn known_survives_its_link() {
        let mut known = Known { became: Some("met_1".to_owned()), ..Known::default() };
        known.written.insert(Piece::Summary);
        let archived = Archived { reference: "s3://b/k".to_owned(), bytes: 7, sha256: "00".to_owned() };
        known.archived.insert(Piece::Recording, archived);
        let link = known.link(key("n")).expect("a link");
        assert_eq!(serde_json::from_value::<Known>(link.facts.into()).expect("read"), known);
        assert_eq!(link.key.as_str(), "notetaker#n");
    }
}

//! Keeps the CRM's record of one meeting what its copies say, whoever else works on it at the same time.
//!
//! The record of the copies is a link, written only over the revision that was read. A write to the CRM is announced
//! there first: nobody else writes meanwhile, and one that was begun and never ended is done again. News that comes in
//! during a write is recorded at once, and whoever is writing finds it before it is done.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use shared::crm::meeting::{Meeting, MeetingTime, WriteMeetings};
use shared::domain::failure::Failure;
use shared::domain::link::{Link, LinkKey, LinkState, Version};
use shared::engine::{Clock, Deadline, Links, PutLink, Revision};
use shared::meetings::{MeetingAt, meeting_key, remember_place};

use crate::copies::{Copies, Copy, CopyKey, CopyState, News, Step};

/// How long a write to the CRM may take: longer than the function's timeout, so that nobody is still at it afterwards.
const WRITING_LASTS: SignedDuration = SignedDuration::from_secs(35);

/// How long to wait before looking again whether somebody else's write has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(150);

/// A copy, and the meeting it makes; no meeting if the CRM is not to have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The copy.
    pub copy: Copy,
    /// The meeting, as the CRM is to show it. Its external id is set when it is written.
    pub meeting: Option<Meeting>,
    /// When it was seen in its calendar, in Unix seconds; none if it was only told of.
    pub seen_at: Option<i64>,
}

/// What a calendar answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It holds the copy.
    Held(Box<Held>),
    /// It holds it no longer.
    Gone,
    /// Its account cannot be reached any more.
    Lost,
}

/// Asks what a calendar holds now.
pub trait HeldCopies: Sync {
    /// The copy as the calendars hold it that it is known to be in.
    fn held(
        &self,
        key: &CopyKey,
        calendars: &BTreeSet<String>,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Asked, Failure>> + Send;

    /// True if an account cannot be reached any more, as far as Nylas has told.
    fn is_lost(&self, grant: &str) -> impl Future<Output = Result<bool, Failure>> + Send;
}

/// What news came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it was, held against what was known.
    pub news: News,
    /// What was done to the CRM's record because of it.
    pub did: Did,
    /// The CRM's id of the record; none if it holds none now.
    pub became: Option<String>,
}

/// What was done to the CRM's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// It showed what it should.
    Nothing,
    /// It was written.
    Wrote,
    /// It was removed.
    Removed,
}

/// What is needed to keep meetings.
pub struct Keeper<'a, L, C, H> {
    /// The records of the copies.
    pub links: &'a L,
    /// The CRM.
    pub crm: &'a C,
    /// The calendars.
    pub calendars: &'a H,
    /// The time of day.
    pub clock: Clock,
}

/// What the link of a meeting holds beside the CRM's id.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Facts {
    copies: Copies,
    /// Until when somebody may be writing to the CRM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writing_until: Option<Timestamp>,
    /// The CRM's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    became: Option<String>,
}

/// The link of a meeting as it was read.
struct Read {
    facts: Facts,
    revision: Option<Revision>,
}

impl<L: Links, C: WriteMeetings, H: HeldCopies> Keeper<'_, L, C, H> {
    /// Takes news of a copy in, and makes the CRM show what the copies of its meeting say.
    ///
    /// # Errors
    /// If the CRM, Nylas or the table does not do what is asked, or somebody else's write does not end in time. Nothing
    /// is lost by that: the next try goes on where this one ended.
    pub async fn take_in(&self, identity: &str, news: Held, deadline: Deadline) -> Result<Kept, Failure> {
        let key = meeting_key(identity);
        // Until it is recorded.
        let mut pending = Some(news.copy.clone());
        let seen_at = news.seen_at;
        let mut believed = BTreeSet::from([news.copy.key.grant.clone()]);
        let mut at_hand = vec![news];
        let mut kept = Kept { news: News::Known, did: Did::Nothing, became: None };
        loop {
            let read = self.read(&key).await?;
            let mut facts = read.facts.clone();
            if let Some(copy) = &pending {
                if facts.copies.is_one_too_many(copy) {
                    kept.became.clone_from(&facts.became);
                    return Ok(kept);
                }
                kept.news = facts.copies.take_in(copy.clone(), seen_at);
                if kept.news == News::Conflicting {
                    self.ask(copy, &mut facts.copies, &mut at_hand, deadline).await?;
                }
            }
            if facts.writing_until.is_some_and(|until| until > self.clock.now()) {
                if self.put(&key, &facts, &read).await? {
                    pending = None;
                    wait(deadline).await?;
                }
                continue;
            }
            if facts.writing_until.take().is_some() {
                facts.copies.unsure();
            }
            // Another account's copy counts only while the account still tells what becomes of it.
            let another = facts.copies.winner().map(|winner| winner.key.grant.clone());
            if let Some(another) = another.filter(|another| believed.insert(another.clone()))
                && self.calendars.is_lost(&another).await?
            {
                facts.copies.lose(&another);
            }
            let did = match facts.copies.step() {
                Step::Nothing => {
                    kept.became.clone_from(&facts.became);
                    if !self.put(&key, &facts, &read).await? {
                        continue;
                    }
                    // A meeting that was written before places were remembered.
                    let winner = facts.copies.winner().map(|copy| &copy.key);
                    let shown = at_hand.iter().find(|held| Some(&held.copy.key) == winner);
                    if let (true, Some(meeting)) =
                        (facts.became.is_some(), shown.and_then(|held| held.meeting.as_ref()))
                    {
                        self.remember_place(&key, meeting).await?;
                    }
                    return Ok(kept);
                }
                Step::Remove => self.remove(&key, facts, &read, deadline).await?,
                Step::Write(winner) => {
                    let Some(copy) = facts.copies.get(&winner).cloned() else { continue };
                    let says = |held: &&Held| held.copy.key == winner && held.copy.content() == copy.content();
                    let Some(meeting) = at_hand.iter().find(says).and_then(|held| held.meeting.clone()) else {
                        self.ask(&copy, &mut facts.copies, &mut at_hand, deadline).await?;
                        // Whether it is still the winner is seen in the next round.
                        if self.put(&key, &facts, &read).await? {
                            pending = None;
                        }
                        continue;
                    };
                    self.write(&key, facts, &read, &copy, meeting, deadline).await?
                }
            };
            if let Some(did) = did {
                pending = None;
                kept.did = did;
            }
        }
    }

    /// What is known of a copy of a meeting; none if nothing is.
    ///
    /// # Errors
    /// If the table does not answer.
    pub async fn known(&self, identity: &str, copy: &CopyKey) -> Result<Option<Copy>, Failure> {
        Ok(self.read(&meeting_key(identity)).await?.facts.copies.get(copy).cloned())
    }

    /// Asks the copy's calendar what it holds now.
    async fn ask(
        &self,
        copy: &Copy,
        copies: &mut Copies,
        at_hand: &mut Vec<Held>,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let calendars = copies.get(&copy.key).map_or(&copy.calendars, |known| &known.calendars);
        match self.calendars.held(&copy.key, calendars, deadline).await? {
            Asked::Held(held) => {
                copies.take_in_as_held(held.copy.clone());
                at_hand.retain(|standing| standing.copy.key != held.copy.key);
                at_hand.push(*held);
            }
            Asked::Gone => {
                let time = |state: &CopyState| match state {
                    CopyState::Live { version, .. } => version.changed_at,
                    CopyState::Gone { at } => *at,
                };
                let known = copies.get(&copy.key).map_or(0, |known| time(&known.state));
                let at = known.max(time(&copy.state));
                copies.take_in_as_held(Copy { state: CopyState::Gone { at }, ..copy.clone() });
            }
            Asked::Lost => copies.lose(&copy.key.grant),
        }
        Ok(())
    }

    async fn write(
        &self,
        key: &LinkKey,
        mut facts: Facts,
        read: &Read,
        copy: &Copy,
        meeting: Meeting,
        deadline: Deadline,
    ) -> Result<Option<Did>, Failure> {
        let external_event_id = facts.copies.begin(&copy.key).to_owned();
        if !self.announce(key, &mut facts, read).await? {
            return Ok(None);
        }
        let meeting = Meeting { external_event_id, ..meeting };
        // Before the CRM has it: once it does, nothing is left to be done again.
        if let Err(failure) = self.remember_place(key, &meeting).await {
            return Err(self.give_up(key, failure).await);
        }
        let written = self.crm.upsert_meeting(&meeting, deadline).await;
        let content = copy.content().unwrap_or_default();
        match written {
            Ok(id) => {
                self.end(key, |facts| {
                    facts.copies.wrote(content);
                    facts.became = Some(id.clone());
                })
                .await?;
                Ok(Some(Did::Wrote))
            }
            Err(error) => Err(self.give_up(key, error.into()).await),
        }
    }

    /// Remembers where and when a meeting is joined, so that what was recorded there finds it.
    async fn remember_place(&self, key: &LinkKey, meeting: &Meeting) -> Result<(), Failure> {
        let (Some(link), MeetingTime::Span { start, end }) = (&meeting.link, meeting.time) else { return Ok(()) };
        let identity = key.identity().to_owned();
        remember_place(self.links, link, &MeetingAt { identity, start, end }, self.clock.now()).await?;
        Ok(())
    }

    async fn remove(
        &self,
        key: &LinkKey,
        mut facts: Facts,
        read: &Read,
        deadline: Deadline,
    ) -> Result<Option<Did>, Failure> {
        let Some(external_event_id) = facts.copies.external_id().map(str::to_owned) else {
            return Err(Failure::permanent("link.broken", format!("{} names no record to remove", key.as_str())));
        };
        if !self.announce(key, &mut facts, read).await? {
            return Ok(None);
        }
        match self.crm.delete_meeting(&external_event_id, deadline).await {
            Ok(()) => {
                self.end(key, |facts| {
                    facts.copies.removed();
                    facts.became = None;
                })
                .await?;
                Ok(Some(Did::Removed))
            }
            Err(error) => Err(self.give_up(key, error.into()).await),
        }
    }

    /// Announces a write to the CRM; false if somebody else was faster.
    async fn announce(&self, key: &LinkKey, facts: &mut Facts, read: &Read) -> Result<bool, Failure> {
        facts.writing_until = Some(self.clock.now().checked_add(WRITING_LASTS).unwrap_or(Timestamp::MAX));
        self.put(key, facts, read).await
    }

    /// Ends a write that was announced, whatever was recorded meanwhile.
    async fn end(&self, key: &LinkKey, change: impl Fn(&mut Facts)) -> Result<(), Failure> {
        loop {
            let read = self.read(key).await?;
            let mut facts = read.facts.clone();
            change(&mut facts);
            facts.writing_until = None;
            if self.put(key, &facts, &read).await? {
                return Ok(());
            }
        }
    }

    /// Ends a write that failed. What was refused was not written; of everything else nobody knows.
    async fn give_up(&self, key: &LinkKey, failure: Failure) -> Failure {
        let refused = matches!(failure, Failure::Permanent { .. });
        let ended = self.end(key, |facts| {
            if !refused {
                facts.copies.unsure();
            }
        });
        // If this fails as well, the announcement ends by itself.
        let _ = ended.await;
        failure
    }

    async fn read(&self, key: &LinkKey) -> Result<Read, Failure> {
        let Some(standing) = self.links.get(key).await? else {
            return Ok(Read { facts: Facts::default(), revision: None });
        };
        let facts = serde_json::from_value(standing.link.facts.into()).map_err(|error| {
            let what = format!(
                "the link {} cannot be read ({error}); remove it to have the meeting written anew",
                key.as_str()
            );
            Failure::permanent("link.broken", what)
        })?;
        Ok(Read { facts, revision: Some(standing.revision) })
    }

    /// Writes the link if it is still as it was read and something has changed; false if somebody else was
    /// faster.
    async fn put(&self, key: &LinkKey, facts: &Facts, read: &Read) -> Result<bool, Failure> {
        if *facts == read.facts && read.revision.is_some() {
            return Ok(true);
        }
        // What was ever written keeps its id in the CRM for good.
        let state = match facts.became.as_deref().or(facts.copies.external_id()) {
            Some(became) => LinkState::Live { became: became.to_owned() },
            None => LinkState::Tombstone,
        };
        let version = facts.copies.winner().map_or_else(Version::default, |copy| match copy.state {
            CopyState::Live { version, .. } => version,
            CopyState::Gone { at } => Version { sequence: 0, changed_at: at },
        });
        let Ok(serde_json::Value::Object(map)) = serde_json::to_value(facts) else {
            return Err(Failure::permanent("link.broken", format!("the link {} cannot be written", key.as_str())));
        };
        let link = Link { key: key.clone(), state, version, content: None, facts: map };
        match self.links.put(&link, read.revision, self.clock.now()).await? {
            PutLink::Stored(_) => Ok(true),
            PutLink::Raced => Ok(false),
        }
    }
}

/// Waits a moment for somebody else's write.
async fn wait(deadline: Deadline) -> Result<(), Failure> {
    if deadline.left() <= LOOK_AGAIN {
        let what = "another worker is writing the same meeting to the CRM and has not ended; this is tried again";
        return Err(Failure::transient("meeting.busy", what));
    }
    tokio::time::sleep(LOOK_AGAIN).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::Date;
    use shared::crm::CrmError;
    use shared::crm::meeting::{MeetingStatus, MeetingTime};
    use shared::engine::testing::MemoryLinks;
    use shared::http::CallError;
    use shared::meetings::{kept_meeting, meetings_joined};
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    const DEADLINE: Duration = Duration::from_secs(25);

    /// A CRM with meetings: it takes its time, and fails when told to.
    #[derive(Default)]
    struct Crm {
        meetings: Mutex<BTreeMap<String, String>>,
        calls: Mutex<Vec<String>>,
        failing: Mutex<Vec<Fails>>,
        busy: Mutex<usize>,
        most_at_once: Mutex<usize>,
    }

    /// How a call fails.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fails {
        /// It is done, and the answer is lost.
        AnswerLost,
        /// It is refused.
        Refused,
    }

    impl Crm {
        fn failing(fails: &[Fails]) -> Self {
            Self { failing: Mutex::new(fails.to_vec()), ..Self::default() }
        }

        fn shown(&self) -> BTreeMap<String, String> {
            self.meetings.lock().expect("a lock").clone()
        }

        fn calls(&self) -> Vec<String> {
            self.calls.lock().expect("a lock").clone()
        }

        async fn call(&self, call: String, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<(), CrmError> {
            let busy = {
                let mut busy = self.busy.lock().expect("a lock");
                *busy += 1;
                *busy
            };
            {
                let mut most = self.most_at_once.lock().expect("a lock");
                *most = busy.max(*most);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.calls.lock().expect("a lock").push(call);
            let fails = self.failing.lock().expect("a lock").pop();
            if fails != Some(Fails::Refused) {
                change(&mut self.meetings.lock().expect("a lock"));
            }
            // The answer is on its way.
            tokio::time::sleep(Duration::from_millis(20)).await;
            *self.busy.lock().expect("a lock") -= 1;
            let (api, what) = ("the CRM", "meeting");
            match fails {
                None => Ok(()),
                Some(Fails::AnswerLost) => Err(CrmError(CallError::Unavailable {
                    api,
                    problem: "lost".to_owned(),
                    retry_after: None,
                    answered: true,
                })),
                Some(Fails::Refused) => {
                    Err(CrmError(CallError::Rejected { api, what, status: 422, text: "no".to_owned() }))
                }
            }
        }
    }

    impl WriteMeetings for Crm {
        async fn upsert_meeting(&self, meeting: &Meeting, _: Deadline) -> Result<String, CrmError> {
            let (id, subject) = (meeting.external_event_id.clone(), meeting.subject.clone());
            let key = id.clone();
            self.call(format!("write {id}: {subject}"), move |meetings| {
                meetings.insert(key, subject);
            })
            .await?;
            Ok(format!("crm-{id}"))
        }

        async fn delete_meeting(&self, external_event_id: &str, _: Deadline) -> Result<(), CrmError> {
            self.call(format!("remove {external_event_id}"), |meetings| {
                meetings.remove(external_event_id);
            })
            .await
        }
    }

    /// Calendars that hold what they are told to.
    #[derive(Default)]
    struct Calendars(Mutex<Vec<Held>>, Mutex<BTreeSet<String>>);

    impl HeldCopies for Calendars {
        async fn held(&self, key: &CopyKey, _: &BTreeSet<String>, _: Deadline) -> Result<Asked, Failure> {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let held = self.0.lock().expect("a lock").iter().find(|held| held.copy.key == *key).cloned();
            Ok(held.map_or(Asked::Gone, |held| Asked::Held(Box::new(held))))
        }

        async fn is_lost(&self, grant: &str) -> Result<bool, Failure> {
            Ok(self.1.lock().expect("a lock").contains(grant))
        }
    }

    fn key(number: usize) -> CopyKey {
        CopyKey { grant: format!("g{number}"), event: format!("e{number}"), by_rule: false }
    }

    /// Times of these tests lie further apart than clocks differ.
    const APART: i64 = 1000;

    fn copy(number: usize, state: CopyState) -> Copy {
        Copy { key: key(number), calendars: BTreeSet::new(), state, private: false, lost: false }
    }

    fn live(number: usize, changed_at: i64, subject: &str) -> Held {
        let day = Date::constant(2026, 11, 21);
        let meeting = Meeting {
            external_event_id: String::new(),
            subject: subject.to_owned(),
            time: MeetingTime::Days { first: day, last: day },
            location: None,
            link: None,
            notes: String::new(),
            organizer: None,
            attendees: Vec::new(),
            status: MeetingStatus::Confirmed,
            calendar_id: None,
            grant_id: None,
            master_event_id: None,
            is_recurring: false,
            series_label: None,
            contact_ids: Vec::new(),
            deal_id: None,
        };
        let state = CopyState::Live {
            version: Version { sequence: 0, changed_at: changed_at * APART },
            content: Some(subject.to_owned()),
            of_the_organizer: number == 0,
        };
        Held { copy: copy(number, state), meeting: Some(meeting), seen_at: None }
    }

    fn gone(number: usize, at: i64) -> Held {
        Held { copy: copy(number, CopyState::Gone { at: at * APART }), meeting: None, seen_at: None }
    }

    /// A clock that goes on with tokio's.
    fn clock() -> Clock {
        let begin = tokio::time::Instant::now();
        Clock::told_by(move || {
            let since = i64::try_from(begin.elapsed().as_millis()).expect("a short test");
            Timestamp::from_millisecond(1_800_000_000_000 + since).expect("a time")
        })
    }

    struct Stage {
        links: MemoryLinks,
        crm: Crm,
        calendars: Calendars,
        clock: Clock,
    }

    impl Stage {
        fn with(crm: Crm) -> Self {
            Self { links: MemoryLinks::default(), crm, calendars: Calendars::default(), clock: clock() }
        }

        /// Calendars hold what the history ends in.
        fn holding(self, history: &[Held]) -> Self {
            for held in history {
                let mut holds = self.calendars.0.lock().expect("a lock");
                holds.retain(|standing| standing.copy.key != held.copy.key);
                if held.meeting.is_some() {
                    holds.push(held.clone());
                }
            }
            self
        }

        async fn take_in(&self, news: Held) -> Result<Kept, Failure> {
            let keeper =
                Keeper { links: &self.links, crm: &self.crm, calendars: &self.calendars, clock: self.clock.clone() };
            keeper.take_in("meeting", news, Deadline::after(DEADLINE)).await
        }
    }

    fn permutations(of: &[Held]) -> Vec<Vec<Held>> {
        if of.is_empty() {
            return vec![Vec::new()];
        }
        let without = |place: usize| [&of[..place], &of[place + 1..]].concat();
        (0..of.len())
            .flat_map(|place| {
                permutations(&without(place)).into_iter().map(move |rest| [vec![of[place].clone()], rest].concat())
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn all_120_orders_end_as_the_true_one_with_and_without_duplicates_one_by_one_and_all_at_once() {
        let created = live(1, 10, "created");
        for history in [
            [
                created.clone(),
                live(1, 20, "moved"),
                live(1, 30, "moved again"),
                live(0, 35, "organizer's"),
                gone(0, 50),
            ],
            [created.clone(), live(0, 12, "organizer's"), gone(1, 20), live(0, 30, "moved"), gone(0, 50)],
            [created.clone(), gone(1, 20), live(1, 30, "back"), live(2, 31, "another's"), live(1, 40, "moved")],
        ] {
            let truth = Stage::with(Crm::default()).holding(&history);
            for news in &history {
                truth.take_in(news.clone()).await.expect("kept");
            }
            let subjects = |stage: &Stage| stage.crm.shown().into_values().collect::<Vec<_>>();
            let expected = subjects(&truth);
            for order in permutations(&history) {
                for order in [order.clone(), [order.clone(), order.iter().rev().cloned().collect()].concat()] {
                    let stage = Stage::with(Crm::default()).holding(&history);
                    for news in &order {
                        stage.take_in(news.clone()).await.expect("kept");
                    }
                    assert_eq!(subjects(&stage), expected, "one by one: {order:?}");
                    let stage = Stage::with(Crm::default()).holding(&history);
                    let all = order.iter().map(|news| stage.take_in(news.clone()));
                    for kept in futures_util::future::join_all(all).await {
                        kept.expect("kept");
                    }
                    assert_eq!(subjects(&stage), expected, "at once: {order:?}");
                    assert!(*stage.crm.most_at_once.lock().expect("a lock") <= 1, "one write at a time");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn burst_of_one_change_on_many_calendars_is_written_once() {
        let stage = Stage::with(Crm::default());
        let news = (0..50).map(|number| live(number, 10, "moved"));
        for kept in futures_util::future::join_all(news.map(|news| stage.take_in(news))).await {
            kept.expect("kept");
        }
        assert_eq!(stage.crm.calls().len(), 1, "{:?}", stage.crm.calls());
    }

    #[tokio::test(start_paused = true)]
    async fn write_whose_answer_was_lost_is_done_again_under_the_same_id() {
        let stage = Stage::with(Crm::failing(&[Fails::AnswerLost]));
        stage.take_in(live(1, 10, "created")).await.expect_err("the answer was lost");
        let kept = stage.take_in(live(0, 20, "organizer's")).await.expect("kept");
        assert_eq!((kept.did, kept.became.as_deref()), (Did::Wrote, Some("crm-e1")));
        assert_eq!(stage.crm.calls(), ["write e1: created", "write e1: organizer's"]);
    }

    #[tokio::test(start_paused = true)]
    async fn deletion_after_a_write_whose_answer_was_lost_removes_what_may_be_there() {
        let stage = Stage::with(Crm::failing(&[Fails::AnswerLost]));
        stage.take_in(live(1, 10, "created")).await.expect_err("the answer was lost");
        assert_eq!(stage.take_in(gone(1, 20)).await.expect("kept").did, Did::Removed);
        assert!(stage.crm.shown().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn refused_write_is_not_taken_for_done_and_the_next_version_goes_on() {
        let stage = Stage::with(Crm::failing(&[Fails::Refused]));
        let failure = stage.take_in(live(1, 10, "created")).await.expect_err("refused");
        assert_eq!(failure.class(), "crm.rejected");
        assert_eq!(stage.take_in(live(1, 20, "mended")).await.expect("kept").did, Did::Wrote);
        assert_eq!(stage.crm.shown().into_values().collect::<Vec<_>>(), ["mended"]);
    }

    #[tokio::test(start_paused = true)]
    async fn worker_that_died_while_writing_holds_nobody_up_for_longer_than_its_announcement() {
        let stage = Arc::new(Stage::with(Crm::default()));
        let dying = Arc::clone(&stage);
        let task = tokio::spawn(async move { dying.take_in(live(1, 10, "created")).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        task.abort();
        assert!(task.await.expect_err("it died").is_cancelled());
        let busy = stage.take_in(live(1, 20, "moved")).await.expect_err("the announcement stands");
        assert_eq!(busy.class(), "meeting.busy");
        let kept = stage.take_in(live(1, 20, "moved")).await.expect("kept");
        assert_eq!(kept.did, Did::Wrote);
        assert_eq!(stage.crm.shown().into_values().collect::<Vec<_>>(), ["moved"]);
    }

    #[tokio::test(start_paused = true)]
    async fn deletion_after_a_worker_died_with_its_write_done_removes_the_record() {
        let stage = Arc::new(Stage::with(Crm::default()));
        let dying = Arc::clone(&stage);
        let task = tokio::spawn(async move { dying.take_in(live(1, 10, "created")).await });
        tokio::time::sleep(Duration::from_millis(110)).await;
        task.abort();
        assert!(task.await.expect_err("it died").is_cancelled());
        assert_eq!(stage.crm.shown().len(), 1);
        tokio::time::sleep(Duration::from_secs(36)).await;
        assert_eq!(stage.take_in(gone(1, 20)).await.expect("kept").did, Did::Removed);
        assert!(stage.crm.shown().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn two_contents_of_one_version_are_settled_by_what_the_calendar_holds() {
        let stage = Stage::with(Crm::default()).holding(&[live(1, 10, "held")]);
        stage.take_in(live(1, 10, "notified")).await.expect("kept");
        let kept = stage.take_in(live(1, 10, "held")).await.expect("kept");
        assert_eq!((kept.news, kept.did), (News::Conflicting, Did::Wrote));
        assert_eq!(stage.crm.shown().into_values().collect::<Vec<_>>(), ["held"]);
    }

    #[tokio::test(start_paused = true)]
    async fn copy_of_an_account_that_is_lost_counts_no_more_once_another_copy_changes() {
        let stage = Stage::with(Crm::default());
        stage.take_in(live(0, 10, "organizer's")).await.expect("kept");
        stage.calendars.1.lock().expect("a lock").insert("g0".to_owned());
        let kept = stage.take_in(live(1, 20, "moved")).await.expect("kept");
        assert_eq!(kept.did, Did::Wrote);
        assert_eq!(stage.crm.shown().into_values().collect::<Vec<_>>(), ["moved"]);
    }

    #[tokio::test(start_paused = true)]
    async fn meeting_that_was_ever_written_keeps_its_id_and_its_link() {
        let stage = Stage::with(Crm::failing(&[Fails::AnswerLost]));
        stage.take_in(live(1, 10, "created")).await.expect_err("the answer was lost");
        let link = stage.links.get(&meeting_key("meeting")).await.expect("a store").expect("a link");
        assert!(matches!(link.link.state, LinkState::Live { .. }), "{:?}", link.link.state);
    }

    #[tokio::test(start_paused = true)]
    async fn meeting_is_found_by_others_under_its_key_and_where_and_when_it_is_joined() {
        let stage = Stage::with(Crm::default());
        let mut online = live(1, 10, "created");
        let (start, end) = (at(1_772_359_200), at(1_772_361_000));
        if let Some(meeting) = &mut online.meeting {
            meeting.link = Some("https://meet.example/room".to_owned());
            meeting.time = MeetingTime::Span { start, end };
        }
        stage.take_in(online).await.expect("kept");
        let kept = kept_meeting(&stage.links, "meeting").await.expect("a store").expect("a meeting");
        assert_eq!(kept.external_event_id.as_deref(), Some("e1"));
        assert_eq!(kept.copies[0].grant, "g1");
        let joined = meetings_joined(&stage.links, "meet.example/room", start).await.expect("a store");
        assert_eq!(joined, [MeetingAt { identity: "meeting".to_owned(), start, end }]);
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[tokio::test(start_paused = true)]
    async fn copy_that_the_crm_is_not_to_have_any_more_takes_its_record_away() {
        let stage = Stage::with(Crm::default());
        stage.take_in(live(1, 10, "created")).await.expect("kept");
        let mut private = live(1, 20, "private");
        private.meeting = None;
        if let CopyState::Live { content, .. } = &mut private.copy.state {
            *content = None;
        }
        assert_eq!(stage.take_in(private).await.expect("kept").did, Did::Removed);
    }
}

//! Carries out an invitation once, however often and by how many at a time it is given.
//!
//! Nylas makes a notetaker of every invitation, so an invitation is claimed first, then looked for, and only then sent.
//! What is claimed and not ended is somebody else's; what Nylas may have received stays claimed until it can be found.

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::link::LinkKey;
use shared::engine::{Deadline, Links, PutLink, Revision, StoreError};
use shared::nylas::NylasError;
use shared::nylas::notetaker::Notetaker;
use std::time::Duration;

use crate::invitation::{Before, Claim, Invitation, still_stands};
use crate::nylas_words::{may_be_done, sentence};
use crate::operate::loggable;
use crate::ports::Notetaking;
use crate::times::shown;

/// What is kept of the time for the invitation itself when notetakers are listed: a call takes that long at most.
const FOR_THE_INVITATION: Duration = Duration::from_secs(15);

/// How often a claim is made while others make theirs. Whoever loses finds the claim of who won.
const TRIES: usize = 3;

/// What came of an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// A notetaker was sent.
    #[serde(rename = "invited")]
    Invited,
    /// One was on its way, or there, already.
    #[serde(rename = "already invited")]
    AlreadyInvited,
    /// Another call is sending one.
    #[serde(rename = "being invited")]
    BeingInvited,
}

impl Outcome {
    /// The outcome in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::AlreadyInvited => "already invited",
            Self::BeingInvited => "being invited",
        }
    }
}

/// The answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InviteAnswer {
    /// The command.
    pub command: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// The account.
    pub grant_id: String,
    /// The notetaker; none while another call is sending one.
    pub notetaker_id: Option<String>,
    /// How far it has come, if Nylas said so.
    pub state: Option<String>,
    /// When it joins, if Nylas said so.
    pub join_time: Option<String>,
    /// The same for people, and what to do next.
    pub text: String,
}

/// An invitation was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// Nylas did not do it, as this sentence says.
    #[error("{0}")]
    Nylas(String),
    /// It could not be claimed.
    #[error(
        "no notetaker was invited, because it cannot be told whether another call does: {0}; ask again in two minutes"
    )]
    Unclaimed(#[from] StoreError),
}

/// One invitation, as it is carried out.
pub struct Inviting<'a, L, N> {
    /// Where it is claimed.
    pub links: &'a L,
    /// Who sends the notetaker.
    pub nylas: &'a N,
    /// The invitation.
    pub invitation: &'a Invitation,
    /// When it was given.
    pub now: Timestamp,
    /// When it must be answered.
    pub deadline: Deadline,
}

/// A claim that was made.
struct Claimed {
    key: LinkKey,
    claim: Claim,
    revision: Revision,
}

/// A notetaker that was looked up.
enum Found {
    Standing(Box<Notetaker>),
    Ended,
}

/// Whether it could be claimed.
enum Tried {
    Claimed(Claimed),
    Answered(InviteAnswer),
}

impl<L: Links, N: Notetaking> Inviting<'_, L, N> {
    /// Carries it out.
    ///
    /// # Errors
    /// If Nylas or the table does not do what it is asked for.
    pub async fn carry_out(&self) -> Result<InviteAnswer, InviteError> {
        let claimed = match self.claim().await? {
            Tried::Claimed(claimed) => claimed,
            Tried::Answered(answer) => return Ok(answer),
        };
        let there = match self.listed().await {
            Ok(there) => there,
            Err(error) => return Err(self.give_up(&claimed, &error).await),
        };
        if let Some(standing) = self.invitation.standing(&there, self.now()) {
            self.keep(&claimed, &standing.id).await;
            return Ok(self.answer(Outcome::AlreadyInvited, standing));
        }
        let Invitation { grant, meeting_link, name, .. } = self.invitation;
        let join_time = self.invitation.join_time(self.now());
        match self.nylas.invite(grant, meeting_link, join_time, name.as_deref(), self.deadline).await {
            Ok(notetaker) => {
                self.keep(&claimed, &notetaker.id).await;
                Ok(self.answer(Outcome::Invited, &notetaker))
            }
            // The claim stands until it can be seen in the list whether one was sent.
            Err(error) if may_be_done(&error) => Err(InviteError::Nylas(format!(
                "Nylas did not say whether it sends a notetaker: {error}. Ask again with the same event in two minutes: \
                 if one was sent it is found, and no second one is"
            ))),
            Err(error) => Err(self.give_up(&claimed, &error).await),
        }
    }

    /// Claims the invitation, unless it has been carried out or is being.
    async fn claim(&self) -> Result<Tried, InviteError> {
        let (key, claim) = (self.invitation.key(), self.invitation.claim(self.now()));
        for _ in 0..TRIES {
            let standing = self.links.get(&key).await?;
            let before = standing.as_ref().and_then(|standing| Claim::of(&standing.link));
            match before.map_or(Before::Nothing, |before| before.says(self.invitation, self.now())) {
                Before::BeingInvited(until) => return Ok(Tried::Answered(self.being_invited(until))),
                Before::Invited { notetaker_id, just_now } => {
                    if let Some(answer) = self.verified(&notetaker_id, just_now).await {
                        return Ok(Tried::Answered(answer));
                    }
                }
                Before::Nothing => {}
            }
            let expected = standing.map(|standing| standing.revision);
            if let PutLink::Stored(revision) = self.links.put(&claim.to_link(&key), expected, self.now).await? {
                return Ok(Tried::Claimed(Claimed { key, claim, revision }));
            }
        }
        Ok(Tried::Answered(self.being_invited(claim.until)))
    }

    /// The answer that names the notetaker of an earlier call; none if it has ended meanwhile.
    async fn verified(&self, notetaker_id: &str, just_now: bool) -> Option<InviteAnswer> {
        match self.looked_up(notetaker_id).await {
            Ok(Some(Found::Standing(notetaker))) => Some(self.answer(Outcome::AlreadyInvited, &notetaker)),
            Ok(Some(Found::Ended)) => None,
            Ok(None) => just_now.then(|| self.unverified(notetaker_id, "Nylas does not show it yet.")),
            Err(error) => {
                let problem = sentence(&error, &self.invitation.grant);
                Some(self.unverified(notetaker_id, &format!("How it stands could not be asked: {problem}.")))
            }
        }
    }

    /// What Nylas knows of the notetaker of an earlier call, or of another one for the same meeting. One that was to
    /// join at once may have no time by which it could be listed: its history tells.
    async fn looked_up(&self, notetaker_id: &str) -> Result<Option<Found>, NylasError> {
        let there = self.listed().await?;
        if let Some(standing) = self.invitation.standing(&there, self.now()) {
            return Ok(Some(Found::Standing(Box::new(standing.clone()))));
        }
        let history = self.nylas.history(&self.invitation.grant, notetaker_id, self.for_looking()).await?;
        Ok(history
            .into_iter()
            .next()
            .map(|newest| if still_stands(&newest) { Found::Standing(Box::new(newest.data)) } else { Found::Ended }))
    }

    /// The account's notetakers that can be for this meeting, all pages.
    async fn listed(&self) -> Result<Vec<Notetaker>, NylasError> {
        let (grant, wanted) = (&self.invitation.grant, self.invitation.filter(self.now()));
        let (mut there, mut next) = (Vec::new(), None::<String>);
        loop {
            let page = self.nylas.notetakers(grant, wanted, next.as_deref(), self.for_looking()).await?;
            there.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(there);
            }
        }
    }

    /// Until when it may be looked for.
    fn for_looking(&self) -> Deadline {
        self.deadline.earlier_by(FOR_THE_INVITATION)
    }

    /// Keeps which notetaker came of it. What is not kept is found in the list.
    async fn keep(&self, claimed: &Claimed, notetaker_id: &str) {
        self.write(claimed, &claimed.claim.clone().with(notetaker_id)).await;
    }

    /// Gives the claim back, since nothing came of it.
    async fn give_up(&self, claimed: &Claimed, error: &NylasError) -> InviteError {
        self.write(claimed, &claimed.claim.clone().given_up()).await;
        InviteError::Nylas(format!("no notetaker was invited: {}", sentence(error, &self.invitation.grant)))
    }

    async fn write(&self, claimed: &Claimed, claim: &Claim) {
        let written = self.links.put(&claim.to_link(&claimed.key), Some(claimed.revision), self.now).await;
        if let Err(problem) = written {
            tracing::warn!(
                grant.id = loggable(self.invitation.grant.as_str()),
                problem = problem.0,
                "the claim was not written"
            );
        }
    }

    fn now(&self) -> i64 {
        self.now.as_second()
    }

    fn answer(&self, outcome: Outcome, notetaker: &Notetaker) -> InviteAnswer {
        let id = &notetaker.id;
        let state = notetaker.state().map(|state| state.as_str().to_owned());
        let join_time = notetaker.join_time.map(|time| shown(time.as_second()));
        let joins = join_time.as_ref().map_or_else(String::new, |time| format!(", joining at {time}"));
        let text = match outcome {
            Outcome::Invited => format!(
                "The notetaker {id} is on its way{joins}. If the meeting has a waiting room, somebody has to let it in."
            ),
            Outcome::AlreadyInvited | Outcome::BeingInvited => {
                let state = state.as_ref().map_or_else(String::new, |state| format!(" ({state})"));
                format!("The notetaker {id}{state} was invited to this meeting before{joins}; no second one was sent.")
            }
        };
        InviteAnswer { notetaker_id: Some(id.clone()), state, join_time, text, ..self.bare(outcome) }
    }

    fn unverified(&self, notetaker_id: &str, note: &str) -> InviteAnswer {
        let text =
            format!("The notetaker {notetaker_id} was invited to this meeting before; no second one was sent. {note}");
        InviteAnswer { notetaker_id: Some(notetaker_id.to_owned()), text, ..self.bare(Outcome::AlreadyInvited) }
    }

    fn being_invited(&self, until: i64) -> InviteAnswer {
        let text = format!(
            "Another call is inviting a notetaker to this meeting right now, so nothing was done. Ask again with the same \
             event in two minutes, after {}: the answer then names that notetaker.",
            shown(until)
        );
        InviteAnswer { text, ..self.bare(Outcome::BeingInvited) }
    }

    fn bare(&self, outcome: Outcome) -> InviteAnswer {
        InviteAnswer {
            command: "invite",
            outcome,
            grant_id: self.invitation.grant.to_string(),
            notetaker_id: None,
            state: None,
            join_time: None,
            text: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Request;
    use crate::testing::{Call, MemoryNylas, nylas_is_slow, refused};
    use serde_json::{Value, json};
    use shared::domain::link::{Link, LinkState};
    use shared::domain::notification::GrantId;
    use shared::engine::StoredLink;
    use shared::engine::testing::MemoryLinks;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// 2026-03-01T10:00:00Z.
    const NOW: i64 = 1_772_359_200;

    const LINK: &str = "https://meet.google.com/abc-defg-hij";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn invitation(fields: &Value) -> Invitation {
        let mut event = json!({ "command": "invite", "grant_id": "g", "meeting_link": LINK });
        event.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        match Request::read(&event, at(NOW)).expect("a request") {
            Request::Invite(invitation) => invitation,
            other => panic!("{other:?} is no invitation"),
        }
    }

    async fn invite_at(
        links: &impl Links,
        nylas: &MemoryNylas,
        invitation: &Invitation,
        seconds: i64,
    ) -> Result<InviteAnswer, InviteError> {
        let deadline = Deadline::after(Duration::from_secs(40));
        Inviting { links, nylas, invitation, now: at(seconds), deadline }.carry_out().await
    }

    async fn invited(links: &MemoryLinks, nylas: &MemoryNylas, seconds: i64) -> InviteAnswer {
        invite_at(links, nylas, &invitation(&json!({})), seconds).await.expect("an answer")
    }

    fn there(id: &str, state: &str, joins: i64) -> Value {
        json!({ "id": id, "state": state, "join_time": joins, "meeting_link": LINK })
    }

    #[tokio::test]
    async fn invitation_that_is_given_twice_sends_one_notetaker() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        let first = invited(&links, &nylas, NOW).await;
        assert_eq!((first.outcome, first.notetaker_id.as_deref()), (Outcome::Invited, Some("n-1")));
        assert!(first.text.contains("n-1 is on its way"), "{}", first.text);
        for later in [NOW, NOW + 60, NOW + 300] {
            let again = invited(&links, &nylas, later).await;
            assert_eq!((again.outcome, again.notetaker_id.as_deref()), (Outcome::AlreadyInvited, Some("n-1")));
            assert!(again.text.contains("no second one was sent"), "{}", again.text);
        }
        assert_eq!(nylas.invitations(), 1);
    }

    #[tokio::test]
    async fn what_is_sent_is_what_was_given() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        let later = invitation(&json!({ "at": NOW + 600, "name": "Notes", "meeting_link": format!("{LINK}/#pwd") }));
        let answer = invite_at(&links, &nylas, &later, NOW).await.expect("an answer");
        assert_eq!(answer.join_time.as_deref(), Some("2026-03-01T10:10:00Z"));
        let sent =
            Call::Invite { link: format!("{LINK}/#pwd"), join_time: Some(NOW + 600), name: Some("Notes".into()) };
        assert_eq!(nylas.calls().last(), Some(&sent));
    }

    #[tokio::test]
    async fn notetaker_that_follows_the_calendar_is_found_on_any_page() {
        let nylas = MemoryNylas::default();
        for (id, state) in [("n-a", "failed_entry"), ("n-b", "media_available"), ("n-c", "attending")] {
            nylas.put_notetaker(there(id, state, NOW - 300));
        }
        let links = MemoryLinks::default();
        let answer = invited(&links, &nylas, NOW).await;
        assert_eq!((answer.outcome, answer.notetaker_id.as_deref()), (Outcome::AlreadyInvited, Some("n-c")));
        assert_eq!(answer.state.as_deref(), Some("attending"));
        let pages = nylas.calls().iter().filter(|call| matches!(call, Call::List)).count();
        assert_eq!((pages, nylas.invitations()), (3, 0));
    }

    #[tokio::test]
    async fn two_at_the_same_time_send_one_notetaker() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        let one = invitation(&json!({}));
        let both = tokio::join!(invite_at(&links, &nylas, &one, NOW), invite_at(&links, &nylas, &one, NOW + 1));
        let outcomes = [both.0, both.1].map(|answer| answer.expect("an answer").outcome);
        assert!(outcomes.contains(&Outcome::Invited), "{outcomes:?}");
        assert!(outcomes.iter().any(|outcome| *outcome != Outcome::Invited), "{outcomes:?}");
        assert_eq!(nylas.invitations(), 1);
    }

    #[tokio::test]
    async fn claim_of_another_call_is_left_alone_until_it_runs_out() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        let one = invitation(&json!({}));
        links.put(&one.claim(NOW).to_link(&one.key()), None, at(NOW)).await.expect("claimed");
        let answer = invited(&links, &nylas, NOW + 60).await;
        assert_eq!((answer.outcome, answer.notetaker_id.as_deref()), (Outcome::BeingInvited, None));
        assert!(answer.text.contains("right now") && answer.text.contains("2026-03-01T10:02:00Z"), "{}", answer.text);
        assert!(nylas.calls().is_empty(), "it is not even looked for");
        assert_eq!(invited(&links, &nylas, NOW + 120).await.outcome, Outcome::Invited);
    }

    /// Links in which somebody else claims between the reading and the writing.
    struct Raced {
        links: MemoryLinks,
        races: AtomicUsize,
        by: Link,
    }

    impl Links for Raced {
        async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
            self.links.get(key).await
        }

        async fn put(&self, link: &Link, of: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
            if self.races.fetch_add(1, Ordering::SeqCst) == 0 {
                self.links.put(&self.by, of, now).await?;
            }
            self.links.put(link, of, now).await
        }
    }

    #[tokio::test]
    async fn who_loses_the_claim_goes_by_what_who_won_wrote() {
        let one = invitation(&json!({}));
        let claim = one.claim(NOW);
        for (by, outcome) in
            [(claim.clone(), Outcome::BeingInvited), (claim.with("n-of-the-other"), Outcome::AlreadyInvited)]
        {
            let by = by.to_link(&one.key());
            let links = Raced { links: MemoryLinks::default(), races: AtomicUsize::new(0), by };
            let nylas = MemoryNylas::default();
            assert_eq!(invite_at(&links, &nylas, &one, NOW).await.expect("an answer").outcome, outcome);
            assert_eq!(nylas.invitations(), 0);
        }
    }

    #[tokio::test]
    async fn notetaker_that_ended_or_was_taken_back_can_be_sent_for_again() {
        for taken_back in [false, true] {
            let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
            invited(&links, &nylas, NOW).await;
            if taken_back {
                nylas.remove_notetakers();
                // The list may still lag behind.
                assert_eq!(invited(&links, &nylas, NOW + 100).await.notetaker_id.as_deref(), Some("n-1"));
            } else {
                nylas.set_states("failed_entry");
            }
            let again = invited(&links, &nylas, NOW + 150).await;
            assert_eq!((again.outcome, again.notetaker_id.as_deref()), (Outcome::Invited, Some("n-2")));
        }
    }

    #[tokio::test]
    async fn notetaker_that_no_list_shows_is_known_by_its_history() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        nylas.list_nothing();
        invited(&links, &nylas, NOW).await;
        let again = invited(&links, &nylas, NOW + 300).await;
        assert_eq!((again.outcome, again.notetaker_id.as_deref()), (Outcome::AlreadyInvited, Some("n-1")));
        assert_eq!(again.state.as_deref(), Some("connecting"));
        nylas.set_states("disconnected");
        assert_eq!(invited(&links, &nylas, NOW + 301).await.outcome, Outcome::Invited);
    }

    #[tokio::test]
    async fn notetaker_of_an_earlier_call_is_named_even_if_nylas_cannot_be_asked() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        invited(&links, &nylas, NOW).await;
        nylas.fail_listing(nylas_is_slow());
        let answer = invited(&links, &nylas, NOW + 300).await;
        assert_eq!((answer.outcome, answer.notetaker_id.as_deref()), (Outcome::AlreadyInvited, Some("n-1")));
        assert!(answer.text.contains("could not be asked"), "{}", answer.text);
    }

    #[tokio::test]
    async fn refusal_gives_the_claim_back_and_is_told_in_words() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        let one = invitation(&json!({}));
        nylas.fail_inviting(refused("notetaker", "The meeting link is not supported."));
        let error = invite_at(&links, &nylas, &one, NOW).await.expect_err("refused").to_string();
        assert_eq!(
            error,
            "no notetaker was invited: Nylas refuses the notetaker with 400: The meeting link is not supported."
        );
        assert_eq!(invited(&links, &nylas, NOW + 1).await.outcome, Outcome::Invited);
    }

    #[tokio::test]
    async fn list_that_cannot_be_read_invites_nobody_and_gives_the_claim_back() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        nylas.fail_listing(NylasError::GrantExpired("g".to_owned()));
        let error = invite_at(&links, &nylas, &invitation(&json!({})), NOW).await.expect_err("expired").to_string();
        assert!(error.starts_with("no notetaker was invited: the Nylas grant g has expired"), "{error}");
        assert_eq!(nylas.invitations(), 0);
        assert_eq!(invited(&links, &nylas, NOW + 1).await.outcome, Outcome::Invited);
    }

    #[tokio::test]
    async fn answer_that_did_not_come_keeps_the_claim_and_the_notetaker_is_found_later() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        nylas.fail_inviting(nylas_is_slow());
        let error = invite_at(&links, &nylas, &invitation(&json!({})), NOW).await.expect_err("slow").to_string();
        assert!(error.contains("did not say whether") && error.contains("in two minutes"), "{error}");
        // It had arrived all the same.
        nylas.put_notetaker(there("n-late", "connecting", NOW));
        assert_eq!(invited(&links, &nylas, NOW + 60).await.outcome, Outcome::BeingInvited);
        let found = invited(&links, &nylas, NOW + 120).await;
        assert_eq!((found.outcome, found.notetaker_id.as_deref()), (Outcome::AlreadyInvited, Some("n-late")));
        assert_eq!(nylas.invitations(), 0);
    }

    /// Links whose table is down, from the given call on.
    struct Down {
        links: MemoryLinks,
        calls: AtomicUsize,
        from: usize,
    }

    impl Down {
        fn from(call: usize) -> Self {
            Self { links: MemoryLinks::default(), calls: AtomicUsize::new(0), from: call }
        }

        fn up(&self) -> Result<(), StoreError> {
            if self.calls.fetch_add(1, Ordering::SeqCst) < self.from {
                return Ok(());
            }
            Err(StoreError("the table is down".to_owned()))
        }
    }

    impl Links for Down {
        async fn get(&self, key: &LinkKey) -> Result<Option<StoredLink>, StoreError> {
            self.up()?;
            self.links.get(key).await
        }

        async fn put(&self, link: &Link, of: Option<Revision>, now: Timestamp) -> Result<PutLink, StoreError> {
            self.up()?;
            self.links.put(link, of, now).await
        }
    }

    #[tokio::test]
    async fn nobody_is_invited_without_a_claim_and_an_invitation_that_cannot_be_kept_is_told_all_the_same() {
        let one = invitation(&json!({}));
        for from in [0, 1] {
            let nylas = MemoryNylas::default();
            let error = invite_at(&Down::from(from), &nylas, &one, NOW).await.expect_err("down").to_string();
            assert!(error.contains("the table is down") && error.contains("ask again"), "{error}");
            assert!(nylas.calls().is_empty());
        }
        let nylas = MemoryNylas::default();
        let answer = invite_at(&Down::from(2), &nylas, &one, NOW).await.expect("an answer");
        assert_eq!(answer.outcome, Outcome::Invited);
    }

    #[tokio::test]
    async fn claim_holds_no_link_and_no_name() {
        let (links, nylas) = (MemoryLinks::default(), MemoryNylas::default());
        let one = invitation(&json!({ "name": "Notes" }));
        invite_at(&links, &nylas, &one, NOW).await.expect("an answer");
        let kept = links.get(&one.key()).await.expect("an answer").expect("a link").link;
        assert_eq!(kept.state, LinkState::Note);
        let text = serde_json::to_string(&kept).expect("JSON");
        assert!(text.contains("n-1") && !text.contains("meet.google") && !text.contains("Notes"), "{text}");
    }

    #[test]
    fn answer_names_its_outcome_in_words() {
        let nylas = MemoryNylas::default();
        let one = invitation(&json!({}));
        let inviting = Inviting {
            links: &MemoryLinks::default(),
            nylas: &nylas,
            invitation: &one,
            now: at(NOW),
            deadline: Deadline::after(Duration::ZERO),
        };
        for outcome in [Outcome::Invited, Outcome::AlreadyInvited, Outcome::BeingInvited] {
            let answer = serde_json::to_value(inviting.bare(outcome)).expect("JSON");
            assert_eq!(answer["outcome"], outcome.as_str());
        }
        assert_eq!(GrantId::parse("g").map(|grant| grant.to_string()), Some(inviting.bare(Outcome::Invited).grant_id));
    }
}

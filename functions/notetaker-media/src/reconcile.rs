//! Reconciling: notetakers whose files or failures Nylas has not notified of are found by listing those that joined since
//! the watermark, and notes that nobody in the CRM was known for are tried again once somebody is. Whatever is found goes
//! the ordinary way, as a message in the function's own queue.

use jiff::Timestamp;
use serde_json::{Value, json};

use shared::crm::BatchLookup;
use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::domain::queue_message::GroupId;
use shared::engine::job::send;
use shared::engine::progress::Step;
use shared::engine::watermark::{advance_watermark, watermark};
use shared::engine::{OwnMessage, Waiting, WaitingPlace, Work};
use shared::meetings::{identity_of_copy, kept_meeting};
use shared::nylas::notetaker::{Notetaker, NotetakerFilter, NotetakerState};
use shared::reconcile::{AsIfNotified, NOTHING_BETWEEN, PageByPage, RECOVERED, ReconcileJob, WaitingRoom, fan_out};

use crate::FUNCTION;
use crate::known::{Known, Piece, Telling};
use crate::process::{NotetakerMedia, Ports, ReadMeetings as _};

/// Stands for the account of notetakers that no account has sent.
pub(crate) const STANDALONE: &str = "none";

/// How long before its files are there a notetaker may have joined: the longest meeting, and the making of them. In
/// seconds.
const LONGEST_MEETING: i64 = 24 * 60 * 60;

type Job = ReconcileJob<PageByPage>;

impl<P: Ports> NotetakerMedia<'_, P> {
    pub(crate) async fn reconcile(&self, lookup: &BatchLookup<'_, P::Crm>, work: &Work) -> Result<Decision, Failure> {
        let job = Job::read(work)?;
        let Some(grant) = job.grant()? else {
            return self.fan_out_job(&job, work).await;
        };
        match &job.place.waiting_after {
            None => self.list_notetakers(&job, &grant, work).await,
            Some(after) => self.try_waiting_again(&job, &grant, after.clone(), lookup, work).await,
        }
    }

    /// One job for each account, and one for the notetakers that no account has sent.
    async fn fan_out_job(&self, job: &Job, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.ports;
        let mut fanned = fan_out(job, FUNCTION, ports.nylas, ports.queue, |_| true, work).await?;
        let (grant_id, to) = (Some(STANDALONE.to_owned()), Some(job.end(work)));
        send(ports.queue, &Job { grant_id, to, ..job.clone() }.to_message(FUNCTION)?).await?;
        fanned.grants.push(STANDALONE.to_owned());
        let (counts, problem) = (fanned.counts(), fanned.problem());
        let (queued, expired) = (fanned.grants.len(), fanned.expired);
        let step = Step { counts: &counts, last: true, parts: fanned.grants, problem, ..Step::default() };
        job.note(FUNCTION, ports.links, &ports.clock, step).await?;
        Ok(Decision::done("reconcile: one job an account").with("accounts", queued).with("expired", expired))
    }

    /// One page of an account's notetakers: what has not been dealt with goes into the queue.
    async fn list_notetakers(&self, job: &Job, grant: &GrantId, work: &Work) -> Result<Decision, Failure> {
        let ports = &self.ports;
        let mark = watermark(ports.links, FUNCTION, grant).await?;
        let Some(span) = job.span(mark, work) else {
            let step = Step { last: true, problem: Some(NOTHING_BETWEEN.to_owned()), ..Step::default() };
            job.note(FUNCTION, ports.links, &ports.clock, step).await?;
            return Ok(Decision::skipped("reconcile: nothing between from and to"));
        };
        let wanted = NotetakerFilter { join_time_start: span.from - LONGEST_MEETING, join_time_end: span.to };
        let of_account = (grant.as_str() != STANDALONE).then_some(grant);
        let page = ports.nylas.notetakers(of_account, wanted, job.place.page_token.as_deref(), work.deadline).await;
        let (notetakers, next, problem) = match page {
            Ok(page) => (page.items, page.next, None),
            // Without notetakers of its own an account may still have notes that wait; what it missed is found once it is
            // back, because the watermark stays.
            Err(error) if error.is_refused() || error.is_out_of_reach() => (
                Vec::new(),
                None,
                Some(format!("the notetakers of the account {grant} cannot be listed: {error}; is that its grant id?")),
            ),
            Err(error) => return Err(error.into()),
        };
        let (mut listed, mut missed, mut again) = (0, 0, 0);
        for notetaker in notetakers {
            let (Some(news), Some(state)) = (news_of(&notetaker), notetaker.state()) else { continue };
            let known = self.notetakers().known(&notetaker.id).await?;
            let was_told = known.timeline.tells_of(&state);
            listed += 1;
            let is_known = match news {
                Missed::Files => {
                    known.dealt_with && !self.lacks_some(&notetaker, &known) && !self.can_be_attached(&known).await?
                }
                // Of a failure before anything was looked through nobody needs to be told any more.
                Missed::FailedEntry => {
                    let is_recent = notetaker.join_time.is_some_and(|joined| joined.as_second() >= span.from);
                    known.told.contains(&Telling::Entry) || mark.is_none() || !is_recent
                }
            };
            if !is_known {
                missed += u64::from(!was_told);
                again += u64::from(was_told);
                send(ports.queue, &as_if_notified(of_account, &notetaker, news, job.run())).await?;
            }
        }
        if next.is_none() && span.closes_the_gap && problem.is_none() {
            let to = Timestamp::from_second(span.to).unwrap_or(work.sent_at);
            advance_watermark(ports.links, FUNCTION, grant, to, ports.clock.now()).await?;
        }
        let place = PageByPage::after(next, work);
        let following = Job { listed: job.listed + listed, missed: job.missed + missed, ..job.next(span, place) };
        send(ports.queue, &following.to_message(FUNCTION)?).await?;
        // That there are no standalone notetakers is no problem of anybody's.
        let problem = problem.filter(|_| of_account.is_some());
        let counts = [("listed", listed), (RECOVERED, missed), ("brought again", again)];
        let step = Step { counts: &counts, problem: problem.clone(), ..Step::default() };
        job.note(FUNCTION, ports.links, &ports.clock, step).await?;
        Ok(Decision::done("reconcile: a page of notetakers")
            .with("from", span.from)
            .with("to", span.to)
            .with("listed", listed)
            .with("missed", missed)
            .with("brought_again", again)
            .with("problem", problem))
    }

    /// True if the record of a notetaker lacks files that it was told to make.
    fn lacks_some(&self, notetaker: &Notetaker, known: &Known) -> bool {
        let makes = |setting: &str| {
            let settings = notetaker.meeting_settings.as_ref();
            settings.and_then(|settings| settings.get(setting)).and_then(Value::as_bool) == Some(true)
        };
        let texts = [
            (Piece::Summary, makes("summary")),
            (Piece::ActionItems, makes("action_items")),
            (Piece::Transcript, makes("transcription")),
        ];
        let lacks_a_text = texts.into_iter().any(|(piece, made)| made && !known.written.contains(&piece));
        let is_recorded = makes("video_recording") || makes("audio_recording");
        let lacks_the_recording =
            self.ports.archive.is_some() && is_recorded && !known.archived.contains_key(&Piece::Recording);
        known.became.is_some() && (lacks_a_text || lacks_the_recording)
    }

    /// True if a record belongs to a meeting that was mirrored since it was written.
    async fn can_be_attached(&self, known: &Known) -> Result<bool, Failure> {
        let is_loose = known.became.is_some() && !known.attached;
        let (true, Some(grant), Some(event)) = (is_loose, &known.grant, &known.event.event_id) else {
            return Ok(false);
        };
        let Some(identity) = identity_of_copy(self.ports.links, grant, event).await? else { return Ok(false) };
        let kept = kept_meeting(self.ports.links, &identity).await?;
        Ok(kept.is_some_and(|kept| kept.external_event_id.is_some()))
    }

    /// Looks the addresses of waiting decisions up again; notes with somebody known among them by now go into the queue.
    async fn try_waiting_again(
        &self,
        job: &Job,
        grant: &GrantId,
        after: WaitingPlace,
        lookup: &BatchLookup<'_, P::Crm>,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let ports = &self.ports;
        let room = WaitingRoom {
            decisions: ports.decisions,
            queue: ports.queue,
            links: ports.links,
            lookup,
            clock: &ports.clock,
        };
        let of_account = (grant.as_str() != STANDALONE).then_some(grant);
        let version = || format!("contact.{}", job.run());
        let once_more = |waiting: &Waiting| again(of_account, &waiting.object, version());
        let looked = room.look_through(job, FUNCTION, grant, after, work, once_more).await?;
        Ok(Decision::done("reconcile: notes without a known contact")
            .with("looked_at", looked.looked_at)
            .with("matched", looked.matched))
    }
}

/// What may have been missed of a notetaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    /// That its files are there, or could not be made.
    Files,
    /// That it could not get in.
    FailedEntry,
}

fn news_of(notetaker: &Notetaker) -> Option<Missed> {
    match notetaker.state()? {
        NotetakerState::MediaAvailable | NotetakerState::MediaError => Some(Missed::Files),
        NotetakerState::FailedEntry => Some(Missed::FailedEntry),
        _ => None,
    }
}

/// A notetaker as if Nylas had notified of it.
fn as_if_notified(grant: Option<&GrantId>, notetaker: &Notetaker, missed: Missed, run: &str) -> OwnMessage {
    let state = notetaker.state().map(|state| state.as_str().to_owned()).unwrap_or_default();
    let object = json!({
        "object": "notetaker", "id": notetaker.id, "grant_id": grant.map(GrantId::as_str), "state": state,
        "meeting_state": notetaker.meeting_state, "meeting_link": notetaker.meeting_link,
        "join_time": notetaker.join_time.map(Timestamp::as_second), "meeting_settings": notetaker.meeting_settings,
    });
    let trigger = match missed {
        Missed::Files => "notetaker.media",
        Missed::FailedEntry => "notetaker.meeting_state",
    };
    let group = GroupId::of("notetaker", &notetaker.id);
    AsIfNotified { function: FUNCTION, trigger, version: format!("{state}.{run}"), object, group }.to_message()
}

/// A notetaker whose files are there, told of by its ids alone: what else it was is known.
fn again(grant: Option<&GrantId>, id: &str, version: String) -> OwnMessage {
    let object =
        json!({ "object": "notetaker", "id": id, "grant_id": grant.map(GrantId::as_str), "state": "media_available" });
    let group = GroupId::of("notetaker", id);
    AsIfNotified { function: FUNCTION, trigger: "notetaker.media", version, object, group }.to_message()
}

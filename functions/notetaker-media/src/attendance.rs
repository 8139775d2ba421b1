//! Whether a notetaker gets into its meeting: a timeline of it, and people told once when nobody lets it in.

use shared::domain::decision::Decision;
use shared::domain::failure::Failure;
use shared::domain::notification::NotificationId;
use shared::domain::queue_message::{GroupId, deduplication_id};
use shared::engine::job::{arm, timer_name};
use shared::engine::{OwnMessage, Timer, Work};
use shared::nylas::notetaker::NotetakerState;

use crate::FUNCTION;
use crate::known::{Known, Telling};
use crate::process::{News, NotetakerMedia, Ports, TIMER, TimerJob};
use crate::timeline::{PATIENCE, failed_entry_alert, lobby_alert, media_error_alert};

/// The timer for a notetaker before the door.
const LOBBY: &str = "lobby";

impl<P: Ports> NotetakerMedia<'_, P> {
    /// Decides about news from a meeting.
    pub(crate) async fn attendance(&self, news: &News, known: &Known, work: &Work) -> Result<Decision, Failure> {
        let why = news.notetaker.meeting_state.as_deref();
        match news.state {
            // News that came late: it has gone on since.
            NotetakerState::WaitingForEntry if known.timeline.waiting_since().is_none() => {
                Ok(Decision::done("noted: it waits no longer"))
            }
            NotetakerState::WaitingForEntry => self.watch_the_door(news).await,
            NotetakerState::FailedEntry => {
                let words = |meeting: &str| failed_entry_alert(meeting, why);
                let told = self.tell_once(&news.notetaker.id, Telling::Entry, known, words, work).await?;
                Ok(decided("it could not get into the meeting", told).with("why", why))
            }
            _ => Ok(Decision::done("noted what happened").with("state", news.state.as_str()).with("why", why)),
        }
    }

    /// Has the notetaker looked after once it may have waited for too long.
    async fn watch_the_door(&self, news: &News) -> Result<Decision, Failure> {
        let now = self.ports.clock.now();
        let due = news.at.checked_add(PATIENCE).unwrap_or(now);
        let id = news.notetaker.id.as_str();
        let name = timer_name(LOBBY, &[&self.settings.stack, id], 1, news.at.as_second());
        let own_id = NotificationId::of_our_own("timer", &name);
        let job = TimerJob {
            id: Some(own_id.as_str().to_owned()),
            job: TIMER.to_owned(),
            kind: LOBBY.to_owned(),
            notetaker_id: id.to_owned(),
            grant_id: news.notetaker.grant_id.clone(),
        };
        let body =
            serde_json::to_string(&job).map_err(|error| Failure::permanent("job.unwritable", error.to_string()))?;
        let group = GroupId::of("notetaker", id);
        let message = OwnMessage { body, group, deduplication_id: deduplication_id(FUNCTION, &own_id) };
        arm(self.ports.timers, self.ports.queue, &Timer { name, at: due, message }, now).await?;
        Ok(Decision::done("it waits to be let in: looked at again in five minutes").with("at", due.to_string()))
    }

    /// Decides what follows once a timer has run out.
    pub(crate) async fn timer(&self, work: &Work) -> Result<Decision, Failure> {
        let job: TimerJob = serde_json::from_str(&work.body).map_err(|error| {
            let what = format!(
                "the job is not {{\"type\":\"notetaker.timer\",\"kind\":\"lobby\",\"notetaker_id\",\"grant_id\"}}: {error}"
            );
            Failure::permanent("body.unreadable", what)
        })?;
        if job.kind != LOBBY {
            let what = format!("there is no timer `{}`; it was set by a newer release", job.kind);
            return Err(Failure::permanent("body.unknown_type", what));
        }
        let known = self.notetakers().known(&job.notetaker_id).await?;
        if !known.timeline.has_waited_too_long(self.ports.clock.now()) {
            return Ok(Decision::done("it waits no longer").with("notetaker_id", job.notetaker_id));
        }
        let told = self.tell_once(&job.notetaker_id, Telling::Entry, &known, lobby_alert, work).await?;
        Ok(decided("nobody lets it in", told).with("notetaker_id", job.notetaker_id))
    }

    /// Decides about files that could not be made.
    pub(crate) async fn media_error(&self, news: &News, known: &Known, work: &Work) -> Result<Decision, Failure> {
        let id = news.notetaker.id.as_str();
        let told = self.tell_once(id, Telling::Media, known, |meeting| media_error_alert(meeting, id), work).await?;
        self.notetakers().change(id, |known| known.dealt_with = true).await?;
        Ok(decided("its files could not be made", told))
    }
}

fn decided(reason: &str, told: Option<String>) -> Decision {
    match told {
        Some(by) => Decision::done(format!("{reason}: told")).with("by", by),
        None => Decision::done(format!("{reason}: told before")),
    }
}

//! What lies in the unroutable queue: each message is looked at, what can be routed now is sent and then taken out, and what
//! stays is shown to others again at once.

use jiff::Timestamp;
use std::time::Duration;

use super::notification::{Routed, type_of};
use super::{Becomes, Line, Replaying, Replays as _};
use crate::operate::{OperateError, Ports};
use crate::story::moment::second_of;

/// The most messages that are looked at in one invocation.
const MOST: usize = 100;

/// For how long what is looked at is hidden from others: longer than an invocation looks.
const HIDDEN_FOR: Duration = Duration::from_mins(2);

/// A message of the unroutable queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// By what it is deleted and shown again.
    pub receipt: String,
    /// SQS's id of it.
    pub message_id: String,
    /// When it was parked, where that is told.
    pub parked_at: Option<Timestamp>,
    /// The body; what one queue message could not carry is fetched from the archive.
    pub body: Result<Vec<u8>, String>,
}

impl Parked {
    /// The body as far as it can be read, as a function would read it.
    fn text(&self) -> String {
        self.body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Vec::len)
    }

    fn line(&self, becomes: Becomes, trigger: &str, problem: &str) -> Line {
        let since = self.parked_at.map(|at| format!(", parked {}", second_of(at))).unwrap_or_default();
        let bytes = self.bytes();
        let note = format!("{problem}; {bytes} bytes{since} (message {})", self.message_id);
        Line::nowhere(becomes, "", trigger, bytes, note)
    }
}

impl<P: Ports> Replaying<'_, P> {
    /// Looks through the unroutable queue.
    pub(super) async fn unroutable(&self) -> Result<(Vec<Line>, String), OperateError> {
        let mut looked_at: Vec<Parked> = Vec::new();
        let received = self.received(&mut looked_at).await;
        let mut lines = Vec::new();
        let mut ended = received;
        for parked in looked_at {
            // After a failure the rest is only shown again.
            if ended.is_ok() {
                match self.parked(&parked).await {
                    Ok((of_it, true)) => {
                        lines.extend(of_it);
                        continue;
                    }
                    Ok((of_it, false)) => lines.extend(of_it),
                    Err(error) => ended = Err(error),
                }
            }
            // If this fails it is shown again by itself in two minutes.
            let _ = self.operator.replays.show_again(&parked.receipt).await;
        }
        let more = ended?;
        let stays = lines.iter().filter(|line| matches!(line.becomes, Becomes::Unroutable | Becomes::Unwanted)).count();
        let mut text = match (lines.is_empty(), stays) {
            (true, _) => "The unroutable queue is empty.".to_owned(),
            (false, 0) => String::new(),
            (false, stays) => format!(
                "{stays} stay in the unroutable queue, for 14 days from when they were parked. If Nylas sends something in a form \
                 that is not read, a release that reads it lets this command route it; until then nothing is lost."
            ),
        };
        if more {
            let rest = format!("There are more: {MOST} are looked at a time; give the command again.");
            text = if text.is_empty() { rest } else { format!("{text} {rest}") };
        }
        Ok((lines, text))
    }

    /// Receives what is there; true if there may be more.
    async fn received(&self, looked_at: &mut Vec<Parked>) -> Result<bool, OperateError> {
        while looked_at.len() < MOST {
            let some =
                self.operator.replays.receive(HIDDEN_FOR).await.map_err(|problem| OperateError::Unavailable {
                    what: "the unroutable queue cannot be read".to_owned(),
                    problem,
                    then: "nothing was replayed, give the command again",
                })?;
            if some.is_empty() {
                return Ok(false);
            }
            looked_at.extend(some);
        }
        Ok(true)
    }

    /// Handles one message; true if it is not to be shown again.
    async fn parked(&self, parked: &Parked) -> Result<(Vec<Line>, bool), OperateError> {
        if let Err(problem) = &parked.body {
            return Ok((vec![parked.line(Becomes::Unroutable, "", problem)], false));
        }
        let text = parked.text();
        let trigger = type_of(&text).unwrap_or_default();
        match self.route(&text) {
            Routed::Nothing { problem } => Ok((vec![parked.line(Becomes::Unroutable, &trigger, &problem)], false)),
            Routed::Unwanted { .. } => {
                let problem = "it is a notification now, of a type that no function wants";
                Ok((vec![parked.line(Becomes::Unwanted, &trigger, problem)], false))
            }
            Routed::To { .. } => {
                let mut lines = self.one(&text).await?;
                // What was decided before is done with: it needs no place there either.
                if self.dry_run {
                    return Ok((lines, false));
                }
                if self.operator.replays.delete(&parked.receipt).await.is_ok() {
                    return Ok((lines, true));
                }
                for line in lines.iter_mut().filter(|line| line.becomes == Becomes::Replayed) {
                    line.becomes = Becomes::ReplayedAndLeft;
                }
                Ok((lines, false))
            }
        }
    }
}

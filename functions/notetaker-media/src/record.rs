//! The record of a notetaker: what its files say, and how that is written to the CRM, once, by one at a time, and never with
//! less than the CRM has.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::time::Duration;

use shared::crm::notes::{ActionItem, MeetingNotes, WriteMeetingNotes as _};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::engine::Deadline;
use shared::nylas::event::{Event, When};

use crate::action_items::{action_items, people_in};
use crate::gather::Gathered;
use crate::known::{Announced, Archived, Known, Piece};
use crate::media::Meeting;
use crate::process::{NotetakerMedia, Ports};
use crate::words::{has_too_many_parts, has_words, read, summary, transcript};

/// How long a write to the CRM may last: less than it is announced for.
const LONGEST_WRITE: Duration = Duration::from_secs(45);

/// What became of a record.
pub(crate) enum Written {
    /// It was written, and this is known since.
    Wrote(Box<Known>),
    /// The CRM had it as it is.
    Same,
    /// It would have taken the words of these files away.
    Poorer(BTreeSet<Piece>),
}

/// What was said, as it is written.
#[derive(Debug, Default)]
pub(crate) struct Said {
    summary: Option<String>,
    action_items: Vec<ActionItem>,
    transcript: Option<String>,
}

impl Said {
    /// Which files it has words of.
    pub(crate) fn pieces(&self) -> BTreeSet<Piece> {
        let has = [
            (Piece::Summary, self.summary.is_some()),
            (Piece::ActionItems, !self.action_items.is_empty()),
            (Piece::Transcript, self.transcript.is_some()),
        ];
        has.into_iter().filter_map(|(piece, has)| has.then_some(piece)).collect()
    }
}

impl<P: Ports> NotetakerMedia<'_, P> {
    /// The record as it is to be written.
    pub(crate) fn notes(
        &self,
        id: &str,
        meeting: &Meeting,
        said: Said,
        known: &Known,
        is_recorded: bool,
    ) -> MeetingNotes {
        let title = meeting.found.event.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        let reference = |piece| known.archived.get(&piece).map(|archived: &Archived| archived.reference.clone());
        let kept_by_nylas = match self.ports.archive {
            Some(_) => None,
            None => known.retained_until.and_then(|until| kept_by_nylas(until, is_recorded, said.transcript.is_some())),
        };
        let summary = [said.summary, kept_by_nylas].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
        MeetingNotes {
            external_notetaker_id: id.to_owned(),
            external_event_id: meeting.found.external_event_id.clone(),
            subject: title.unwrap_or("Untitled meeting").to_owned(),
            summary: Some(summary).filter(|summary| !summary.is_empty()),
            action_items: said.action_items,
            transcript: said.transcript,
            recording_url: reference(Piece::Recording),
            transcript_url: reference(Piece::Transcript),
            contact_ids: meeting.matched.contact_ids.clone(),
            deal_id: meeting.matched.deal.deal_id(),
            unmatched: meeting.matched.unmatched.clone(),
        }
    }

    /// Writes the record, unless the CRM has it as it is, or has more.
    pub(crate) async fn write(
        &self,
        crm: &P::Crm,
        notes: &MeetingNotes,
        pieces: &BTreeSet<Piece>,
        deadline: Deadline,
    ) -> Result<Written, Failure> {
        let id = notes.external_notetaker_id.as_str();
        let notetakers = self.notetakers();
        let content = content_of(notes);
        match notetakers.announce(id, &content, pieces).await? {
            Announced::Go => {}
            Announced::Same => return Ok(Written::Same),
            Announced::Poorer(lacking) => return Ok(Written::Poorer(lacking)),
        }
        let in_time = Deadline::after(LONGEST_WRITE.min(deadline.left()));
        match crm.upsert_meeting_notes(notes, in_time).await {
            Ok(became) => {
                let known = notetakers.change(id, |known| {
                    known.writing_until = None;
                    known.content = Some(content.clone());
                    known.became = Some(became.clone());
                    known.written.clone_from(pieces);
                    known.attached = notes.external_event_id.is_some();
                });
                Ok(Written::Wrote(Box::new(known.await?)))
            }
            Err(error) => {
                let failure = Failure::from(error);
                let refused = matches!(failure, Failure::Permanent { .. });
                let ended = notetakers.change(id, |known| {
                    known.writing_until = None;
                    // What was refused was not written; of everything else nobody knows.
                    if !refused {
                        known.content = None;
                    }
                });
                // If this fails as well, the announcement ends by itself.
                let _ = ended.await;
                Err(failure)
            }
        }
    }
}

/// A digest of everything that a record says.
pub(crate) fn content_of(notes: &MeetingNotes) -> String {
    sha256_hex(&[format!("{notes:?}").as_bytes()])
}

/// What a record without an archive says of its files; none if there are none.
fn kept_by_nylas(until: Timestamp, is_recorded: bool, is_transcribed: bool) -> Option<String> {
    let day = until.to_zoned(TimeZone::UTC).strftime("%-d %B %Y");
    let files = match (is_recorded, is_transcribed) {
        (true, true) => "The recording and the transcript are",
        (true, false) => "The recording is",
        (false, true) => "The transcript is",
        (false, false) => return None,
    };
    Some(format!("{files} kept by Nylas until {day}, and not archived."))
}

/// What the files say. What has words that cannot be found, or is too large to look for them, is told as unreadable.
pub(crate) fn said(gathered: &mut Gathered, event: &Event) -> Said {
    let mut said = Said::default();
    for (piece, text) in &gathered.texts {
        if has_too_many_parts(&text.file) {
            gathered.unreadable.insert(*piece, "it has too many parts".to_owned());
            continue;
        }
        let file = read(&text.file);
        match piece {
            Piece::Summary => said.summary = summary(&file),
            Piece::ActionItems => said.action_items = action_items(&file, &people_in(event), day_of(event)),
            Piece::Transcript => said.transcript = transcript(&file),
            Piece::Recording => {}
        }
        if !said.pieces().contains(piece) && has_words(&file) {
            gathered.unreadable.insert(*piece, "it is in a form that is not known".to_owned());
        }
    }
    said
}

/// The day of a meeting where it takes place; none if it is not known where that is.
fn day_of(event: &Event) -> Option<Date> {
    match event.when.as_ref()? {
        When::Span { start, time_zone, .. } => Some(start.to_zoned(TimeZone::get(time_zone.as_deref()?).ok()?).date()),
        When::Point(_) => None,
        When::Day(day) | When::Days { first: day, .. } => Some(*day),
    }
}

//! Files that are there: whose meeting it was, what was said, and one record of it in the CRM that grows as files come and
//! never shrinks.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{TryStreamExt as _, stream};
use shared::crm::BatchLookup;
use shared::crm::matching::{Matched, NobodyKnown, addresses_to_look_up, match_contacts, refuses_all};
use shared::crm::notes::{ActionItem, MeetingNotes, WriteMeetingNotes as _};
use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::media::media_key;
use shared::domain::notification::GrantId;
use shared::engine::{Deadline, Work};
use shared::nylas::event::{Event, People, When};

use crate::action_items::{action_items, people_in};
use crate::fetch::Download;
use crate::gather::{Answer, Files, Gathered, Text};
use crate::known::{Announced, Archived, Known, Piece};
use crate::meeting::{Found, Sought};
use crate::process::{Batch, KeepMedia as _, News, NotetakerMedia, Ports, ReadMeetings as _};
use crate::words::{has_too_many_parts, has_words, read, summary, transcript};

/// How long a write to the CRM may last: less than it is announced for.
const LONGEST_WRITE: Duration = Duration::from_secs(45);

/// How long all texts of a notetaker may take to come in.
const LONGEST_TEXTS: Duration = Duration::from_mins(1);

/// What is kept of the invocation's time for what follows a recording.
const AFTER_A_RECORDING: Duration = Duration::from_secs(20);

/// How long a recording waits for those before it. Then its message goes back, so that news of others gets its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Nothing is begun to be fetched with less time than this left.
const FOR_TEXTS: Duration = Duration::from_secs(10);

/// A recording is not begun with less time than this left.
const FOR_A_RECORDING: Duration = Duration::from_mins(1);

/// A meeting with somebody whom the CRM knows, and how it was found.
struct Meeting {
    found: Found,
    matched: Matched,
}

/// Whether what was said in a meeting is brought to the CRM.
enum Judged {
    Bring(Box<Meeting>),
    Decided(Decision),
}

/// What became of a record.
enum Written {
    /// It was written, and this is known since.
    Wrote(Box<Known>),
    /// The CRM had it as it is.
    Same,
    /// It would have taken the words of these files away.
    Poorer(BTreeSet<Piece>),
}

/// What was said, as it is written.
#[derive(Debug, Default)]
struct Said {
    summary: Option<String>,
    action_items: Vec<ActionItem>,
    transcript: Option<String>,
}

impl Said {
    /// Which files it has words of.
    fn pieces(&self) -> BTreeSet<Piece> {
        let has = [
            (Piece::Summary, self.summary.is_some()),
            (Piece::ActionItems, !self.action_items.is_empty()),
            (Piece::Transcript, self.transcript.is_some()),
        ];
        has.into_iter().filter_map(|(piece, has)| has.then_some(piece)).collect()
    }
}

impl<P: Ports> Batch<'_, '_, P> {
    /// Decides about files that are there.
    pub(crate) async fn files(&self, news: News, known: Known, work: &Work) -> Result<Decision, Failure> {
        let Some(lookup) = &self.lookup else { return Ok(Decision::off("CrmBaseUrl")) };
        let rules = self.rules;
        let id = news.notetaker.id.clone();
        let known = rules.with_its_event(&id, known, work.deadline).await?;
        let found = match rules.meeting_of(&known, work.deadline).await? {
            Sought::Found(found) => *found,
            Sought::Unknown(reason) => return Ok(Decision::held(format!("for review: {reason}"))),
        };
        match rules.judge(found, lookup, work.deadline).await? {
            Judged::Bring(meeting) => rules.bring(lookup.crm(), &meeting, news, known, work).await,
            Judged::Decided(decision) => {
                rules.deal_with(&id).await?;
                Ok(decision)
            }
        }
    }
}

impl<P: Ports> NotetakerMedia<'_, P> {
    /// What is known of a notetaker, with the event it was made for, where its history tells what a notification did not.
    async fn with_its_event(&self, id: &str, known: Known, deadline: Deadline) -> Result<Known, Failure> {
        if known.names_an_event() {
            return Ok(known);
        }
        let grant = known.grant.as_deref().and_then(GrantId::parse);
        let history = match self.ports.nylas.notetaker_history(grant.as_ref(), id, deadline).await {
            Ok(history) => history,
            // Without it the meeting may still be found by where and when it was joined.
            Err(error) if error.is_refused() || error.is_out_of_reach() || error.is_unreadable() => return Ok(known),
            Err(error) => return Err(error.into()),
        };
        // As old news: what a notification said holds. The newest comes first.
        self.notetakers()
            .change(id, |known| history.iter().for_each(|entry| known.take_in(&entry.data, Timestamp::MIN)))
            .await
    }

    /// Judges a meeting by who was invited.
    async fn judge(
        &self,
        found: Found,
        lookup: &BatchLookup<'_, P::Crm>,
        deadline: Deadline,
    ) -> Result<Judged, Failure> {
        if found.private {
            return Ok(Judged::Decided(Decision::skipped("private")));
        }
        let people = People::in_event(&found.event);
        let outside = people.outside(&self.settings.company_domains);
        if outside.is_empty() {
            let reason =
                if people.without_address == 0 { "internal meeting" } else { "nobody from outside has an address" };
            return Ok(Judged::Decided(Decision::skipped(reason)));
        }
        let asked = addresses_to_look_up(&outside);
        let known = lookup.find(&asked, deadline).await?;
        if let Some(failure) = refuses_all(&asked, &known, "the meeting") {
            return Err(failure);
        }
        Ok(match match_contacts(&outside, people.organizer.as_ref(), &known) {
            Ok(matched) => Judged::Bring(Box::new(Meeting { found, matched })),
            Err(NobodyKnown { unmatched }) => {
                let unmatched = texts(&unmatched);
                let held = Decision::held("no known contact").with("unmatched", unmatched.clone());
                Judged::Decided(held.with("found_by", found.by).waiting_for(unmatched))
            }
        })
    }

    /// Brings what was said to the CRM, and what must last to the archive.
    async fn bring(
        &self,
        crm: &P::Crm,
        meeting: &Meeting,
        news: News,
        known: Known,
        work: &Work,
    ) -> Result<Decision, Failure> {
        let id = news.notetaker.id.as_str();
        let turn = in_turn(self.texts.acquire(), work.deadline.left(), work.deadline, FOR_TEXTS).await?;
        let mut files = Files {
            nylas: self.ports.nylas,
            fetcher: &self.ports.fetcher,
            grant: known.grant.as_deref().and_then(GrantId::parse),
            id,
            media: news.notetaker.media.unwrap_or_default(),
            renewed: false,
            deadline: Deadline::after(LONGEST_TEXTS.min(work.deadline.left())),
        };
        let mut gathered = match files.texts(&known.written).await? {
            Answer::Gathered(gathered) => gathered,
            Answer::NotYet => return Ok(Decision::held("Nylas has no files of it yet")),
            Answer::Gone => {
                self.deal_with(id).await?;
                return Ok(Decision::skipped("Nylas has deleted its files: their retention is over"));
            }
        };
        let said = said(&mut gathered, &meeting.found.event);
        let pieces = said.pieces();
        let mut decision = described(meeting, &gathered, &files).with("pieces", names(&pieces));
        let mut known = self.archive_texts(id, &known, &gathered).await?;
        let pending = gathered.pending.take();
        drop(gathered);
        if self.ports.archive.is_none() {
            let until = known.retained_until.map(|until| until.to_string());
            decision = decision.with("nylas_keeps_until", until);
        }
        let mut notes = self.notes(id, meeting, said, &known, files.media.recording.is_some());
        let written = self.write(crm, &notes, &pieces, work.deadline).await?;
        drop(turn);
        let mut did_write = matches!(written, Written::Wrote(_));
        let lacking = match written {
            Written::Wrote(since) => {
                known = *since;
                BTreeSet::new()
            }
            Written::Same => BTreeSet::new(),
            Written::Poorer(lacking) => lacking,
        };
        match self.archive_recording(id, &known, &mut files, work).await? {
            Recording::Archived(archived) => {
                let as_written = content_of(&notes);
                known = self
                    .notetakers()
                    .change(id, |known| drop(known.archived.insert(Piece::Recording, archived.clone())))
                    .await?;
                notes.recording_url = Some(archived.reference);
                if lacking.is_empty() {
                    if known.content != Some(as_written) {
                        return Err(written_meanwhile());
                    }
                    match self.write(crm, &notes, &pieces, work.deadline).await? {
                        Written::Wrote(since) => (did_write, known) = (true, *since),
                        Written::Same => {}
                        Written::Poorer(_) => return Err(written_meanwhile()),
                    }
                }
            }
            Recording::Unreadable(why) => decision = decision.with("recording", why),
            Recording::AsBefore => {}
        }
        if let Some(failure) = pending {
            return Err(failure);
        }
        if !known.archived.is_empty() {
            let archived: BTreeSet<Piece> = known.archived.keys().copied().collect();
            decision = decision.with("archived", names(&archived));
        }
        let became = known.became.clone().unwrap_or_default();
        let decided = if lacking.is_empty() {
            self.deal_with(id).await?;
            if did_write {
                Decision::logged("known contact", became)
            } else {
                Decision::merged("the CRM has it already", became)
            }
        } else {
            decision = decision.with("kept", names(&lacking));
            if pieces.is_subset(&known.written) {
                self.deal_with(id).await?;
                Decision::merged("the CRM has more than Nylas has now: it stays as it is", became)
            } else {
                // Reconcile tries again, as long as Nylas keeps the files.
                let reason = "what the CRM has of it cannot be had again, so that nothing new is written over it";
                Decision::held(reason).with("new", names(&pieces.difference(&known.written).copied().collect()))
            }
        };
        let facts = decision.facts.into_iter().chain(decided.facts.clone()).collect();
        Ok(Decision { facts, ..decided })
    }

    /// Archives the texts, as they came, where that is on.
    async fn archive_texts(&self, id: &str, known: &Known, gathered: &Gathered) -> Result<Known, Failure> {
        let Some(archive) = self.ports.archive else { return Ok(known.clone()) };
        let mut archived = BTreeMap::new();
        for (piece, text) in &gathered.texts {
            let sha256 = sha256_hex(&[&text.file]);
            if known.archived.get(piece).is_some_and(|standing| standing.sha256 == sha256) {
                continue;
            }
            let (extension, content_type) = form_of(text);
            let key = media_key(known.grant.as_deref(), id, &format!("{}.{extension}", piece.name()));
            let file = stream::iter([Ok(bytes::Bytes::copy_from_slice(&text.file))]);
            let stored = archive.store(&key, content_type, file, LONGEST_TEXTS).await?;
            archived.insert(*piece, Archived { reference: stored.reference, bytes: stored.bytes, sha256 });
        }
        if archived.is_empty() {
            return Ok(known.clone());
        }
        self.notetakers().change(id, |known| known.archived.extend(archived.clone())).await
    }

    /// Archives the recording, where that is on and it is not there yet.
    async fn archive_recording(
        &self,
        id: &str,
        known: &Known,
        files: &mut Files<'_, P::Nylas>,
        work: &Work,
    ) -> Result<Recording, Failure> {
        let Some(archive) = self.ports.archive else { return Ok(Recording::AsBefore) };
        let Some(file) = &files.media.recording else { return Ok(Recording::AsBefore) };
        let file_size = file.size;
        let standing = known.archived.get(&Piece::Recording);
        if standing.is_some_and(|standing| file_size.is_none_or(|size| size == standing.bytes)) {
            return Ok(Recording::AsBefore);
        }
        let _turn = in_turn(self.recordings.acquire(), LONGEST_WAIT, work.deadline, FOR_A_RECORDING).await?;
        files.deadline = work.deadline;
        let download = match files.recording().await {
            Ok(Some(download)) => download,
            Ok(None) => return Ok(Recording::Unreadable("Nylas has deleted it".to_owned())),
            Err(Failure::Permanent { what, .. }) => return Ok(Recording::Unreadable(what)),
            Err(failure) => return Err(failure),
        };
        let key = media_key(known.grant.as_deref(), id, &format!("recording.{}", extension_of(&download)));
        let content_type = match download.content_type.as_str() {
            "" => "application/octet-stream".to_owned(),
            content_type => content_type.to_owned(),
        };
        let length = download.length.or(file_size);
        let pieces = Box::pin(download.pieces().map_err(Failure::from));
        let within = work.deadline.earlier_by(AFTER_A_RECORDING).left();
        match archive.store(&key, &content_type, pieces, within).await {
            Ok(stored) if length.is_some_and(|length| length != stored.bytes) => {
                let what = format!("the recording ended after {} bytes; it is tried again", stored.bytes);
                Err(Failure::transient("media.unavailable", what))
            }
            Ok(stored) => Ok(Recording::Archived(Archived {
                reference: stored.reference,
                bytes: stored.bytes,
                sha256: stored.sha256,
            })),
            Err(Failure::Permanent { what, .. }) => Ok(Recording::Unreadable(what)),
            Err(failure) => Err(failure),
        }
    }

    /// The record as it is to be written.
    fn notes(&self, id: &str, meeting: &Meeting, said: Said, known: &Known, is_recorded: bool) -> MeetingNotes {
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
    async fn write(
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

    /// Remembers that the files that are there were dealt with: reconcile need not.
    async fn deal_with(&self, id: &str) -> Result<Known, Failure> {
        self.notetakers().change(id, |known| known.dealt_with = true).await
    }
}

/// What became of a recording.
enum Recording {
    Archived(Archived),
    Unreadable(String),
    AsBefore,
}

/// A digest of everything that a record says.
fn content_of(notes: &MeetingNotes) -> String {
    sha256_hex(&[format!("{notes:?}").as_bytes()])
}

/// What is in the way once somebody else wrote the record after its words and before its recording.
fn written_meanwhile() -> Failure {
    let what = "another worker wrote the record of this notetaker meanwhile".to_owned();
    Failure::Untried { class: "notetaker.changed", what, retry_after: Duration::from_secs(1) }
}

/// Waits so long for a turn, if there is time enough left to use it.
async fn in_turn<T, E>(
    turn: impl Future<Output = Result<T, E>>,
    patience: Duration,
    deadline: Deadline,
    needed: Duration,
) -> Result<T, Failure> {
    let patience = patience.min(deadline.earlier_by(needed).left());
    if !patience.is_zero()
        && let Ok(Ok(turn)) = tokio::time::timeout(patience, turn).await
    {
        return Ok(turn);
    }
    Err(Failure::Untried {
        class: "media.out_of_time",
        what: "the files of other notetakers took the time of this invocation".to_owned(),
        retry_after: Duration::from_secs(1),
    })
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
fn said(gathered: &mut Gathered, event: &Event) -> Said {
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

/// What the rules went by.
fn described<N>(meeting: &Meeting, gathered: &Gathered, files: &Files<'_, N>) -> Decision {
    let matched = &meeting.matched;
    let unreadable: serde_json::Map<String, serde_json::Value> =
        gathered.unreadable.iter().map(|(piece, why)| (piece.name().to_owned(), why.clone().into())).collect();
    let mut decision = Decision::done("")
        .with("found_by", meeting.found.by)
        .with("external_event_id", meeting.found.external_event_id.clone())
        .with("links", if gathered.renewed { "made anew" } else { "of the notification" })
        .with("contact_ids", matched.contact_ids.clone())
        .with("deal_id", matched.deal.deal_id())
        .with("deal_rule", matched.deal.rule)
        .with("deals_rejected", matched.deal.rejected_to_json())
        .with("unmatched", texts(&matched.unmatched));
    if !unreadable.is_empty() {
        decision = decision.with("unreadable", unreadable);
    }
    if let Some(errors) =
        files.media.errors.as_ref().and_then(|errors| errors.as_array()).filter(|list| !list.is_empty())
    {
        decision = decision.with("not_made_by_nylas", errors.len());
    }
    decision
}

fn names(pieces: &BTreeSet<Piece>) -> Vec<&'static str> {
    pieces.iter().map(|piece| piece.name()).collect()
}

fn texts(addresses: &[EmailAddress]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// In which form a text is archived: its extension and type.
fn form_of(text: &Text) -> (&'static str, &'static str) {
    let is_json = text.content_type.contains("json")
        || matches!(read(&text.file), serde_json::Value::Object(_) | serde_json::Value::Array(_));
    if is_json { ("json", "application/json") } else { ("txt", "text/plain; charset=utf-8") }
}

/// The extension of a recording, by its type.
fn extension_of(download: &Download) -> &'static str {
    match download.content_type.as_str() {
        "audio/mpeg" | "audio/mp3" => "mp3",
        "audio/mp4" | "audio/m4a" | "audio/x-m4a" => "m4a",
        "audio/wav" | "audio/x-wav" => "wav",
        "video/webm" | "audio/webm" => "webm",
        // Nylas records video as MP4 unless it says otherwise (Nylas, media formats).
        _ => "mp4",
    }
}

//! Files that are there: whose meeting it was, what was said, and one record of it in the CRM that grows as files come and
//! never shrinks.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
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
use crate::known::{Archived, Known, Piece};
use crate::meeting::{Found, Sought};
use crate::process::{Batch, KeepMedia as _, News, NotetakerMedia, Ports, ReadMeetings as _};
use crate::words::{read, summary, transcript};

/// How long Nylas keeps files that were given no time of their own (Nylas, retention policies).
const KEPT_BY_NYLAS: SignedDuration = SignedDuration::from_hours(14 * 24);

/// How long a write to the CRM may last: less than it is announced for.
const LONGEST_WRITE: Duration = Duration::from_secs(45);

/// How long all texts of a notetaker may take to come in.
const LONGEST_TEXTS: Duration = Duration::from_mins(1);

/// What is kept of the invocation's time for what follows a recording.
const AFTER_A_RECORDING: Duration = Duration::from_secs(20);

/// A recording is not begun with less time than this left.
const FOR_A_RECORDING: Duration = Duration::from_mins(1);

/// Who the CRM knows of a meeting, and how it was found.
struct Meeting {
    found: Found,
    matched: Matched,
}

/// What was said, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
        let decision = match rules.matched(found, lookup, work.deadline).await? {
            Ok(meeting) => return rules.bring(lookup.crm(), &meeting, news, known, work).await,
            Err(decision) => decision,
        };
        rules.deal_with(&id).await?;
        Ok(decision)
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
            Err(error) if error.is_refused() || error.is_out_of_reach() => return Ok(known),
            Err(error) => return Err(error.into()),
        };
        // The newest comes first, so that it is taken in last.
        let snapshots: Vec<_> = history.into_iter().rev().map(|entry| entry.data).collect();
        self.notetakers()
            .change(id, |known| {
                let told = known.clone();
                for snapshot in &snapshots {
                    known.take_in(snapshot);
                }
                // What a notification said holds.
                known.grant = told.grant;
                known.meeting_link = told.meeting_link.or(known.meeting_link.take());
                known.join_time = told.join_time.or(known.join_time);
            })
            .await
    }

    /// Who of a meeting's people the CRM knows, else the decision on it.
    async fn matched(
        &self,
        found: Found,
        lookup: &BatchLookup<'_, P::Crm>,
        deadline: Deadline,
    ) -> Result<Result<Meeting, Decision>, Failure> {
        if found.event.is_private() {
            return Ok(Err(Decision::skipped("private")));
        }
        let people = People::in_event(&found.event);
        let outside = people.outside(&self.settings.company_domains);
        if outside.is_empty() {
            let reason =
                if people.without_address == 0 { "internal meeting" } else { "nobody from outside has an address" };
            return Ok(Err(Decision::skipped(reason)));
        }
        let asked = addresses_to_look_up(&outside);
        let known = lookup.find(&asked, deadline).await?;
        if let Some(failure) = refuses_all(&asked, &known, "the meeting") {
            return Err(failure);
        }
        Ok(match match_contacts(&outside, people.organizer.as_ref(), &known) {
            Ok(matched) => Ok(Meeting { found, matched }),
            Err(NobodyKnown { unmatched }) => {
                let unmatched = texts(&unmatched);
                Err(Decision::held("no known contact")
                    .with("unmatched", unmatched.clone())
                    .with("found_by", found.by)
                    .waiting_for(unmatched))
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
        let retained_for = news.notetaker.retention_seconds().map(SignedDuration::from_secs);
        let mut files = Files {
            nylas: self.ports.nylas,
            fetcher: &self.ports.fetcher,
            grant: known.grant.as_deref().and_then(GrantId::parse),
            id,
            media: news.notetaker.media.unwrap_or_default(),
            renewed: false,
            deadline: Deadline::after(LONGEST_TEXTS.min(work.deadline.left())),
        };
        let permit = in_time(self.texts.acquire(), work.deadline, Duration::ZERO).await?;
        let gathered = match files.texts(&known.written).await? {
            Answer::Gathered(gathered) => gathered,
            Answer::NotYet => return Ok(Decision::held("Nylas has no files of it yet")),
            Answer::Gone => {
                self.deal_with(id).await?;
                return Ok(Decision::skipped("Nylas has deleted its files: their retention is over"));
            }
        };
        let retained_until = match (files.media.retained_until, known.retained_until) {
            (Some(told), _) => Some(told),
            (None, Some(before)) => Some(before),
            (None, None) => news.at.checked_add(retained_for.unwrap_or(KEPT_BY_NYLAS)).ok(),
        };
        let said = said(&gathered, &meeting.found.event);
        let lost: Vec<&str> = known.written.difference(&said.pieces()).map(|piece| piece.name()).collect();
        let mut decision = described(meeting, &gathered, &files).with("pieces", names(&said.pieces()));
        if !lost.is_empty() {
            self.deal_with(id).await?;
            let became = known.became.clone().unwrap_or_default();
            return Ok(Decision {
                facts: decision.facts,
                ..Decision::merged("the CRM has more than Nylas has now: it stays as it is", became)
            }
            .with("kept", lost));
        }
        let known = self.archive_texts(id, &known, &gathered).await?;
        let is_kept_by_nylas = self.ports.archive.is_none();
        if is_kept_by_nylas {
            decision = decision.with("nylas_keeps_until", retained_until.map(|until| until.to_string()));
        }
        drop(gathered);
        let mut notes = self.notes(id, meeting, said.clone(), &known, retained_until);
        let written = self.write(crm, &notes, &said.pieces(), retained_until, work.deadline).await?;
        drop(permit);
        let mut did_write = written.is_some();
        let mut known = written.unwrap_or(known);
        match self.archive_recording(id, &known, &mut files, work).await? {
            Recording::Archived(archived) => {
                known = self
                    .notetakers()
                    .change(id, |known| drop(known.archived.insert(Piece::Recording, archived.clone())))
                    .await?;
                notes.recording_url = Some(archived.reference);
                if let Some(again) = self.write(crm, &notes, &said.pieces(), retained_until, work.deadline).await? {
                    did_write = true;
                    known = again;
                }
            }
            Recording::Unreadable(why) => decision = decision.with("recording", why),
            Recording::AsBefore => {}
        }
        let known = self.deal_with(id).await.unwrap_or(known);
        if !known.archived.is_empty() {
            let archived: BTreeSet<Piece> = known.archived.keys().copied().collect();
            decision = decision.with("archived", names(&archived));
        }
        let became = known.became.unwrap_or_default();
        let decided = if did_write {
            Decision::logged("known contact", became)
        } else {
            Decision::merged("the CRM has it already", became)
        };
        Ok(Decision { facts: decision.facts, ..decided })
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
            let stored = archive.store(&key, content_type, file).await?;
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
        let standing = known.archived.get(&Piece::Recording);
        if standing.is_some_and(|standing| file.size.is_none_or(|size| size == standing.bytes)) {
            return Ok(Recording::AsBefore);
        }
        let _permit = in_time(self.recordings.acquire(), work.deadline, FOR_A_RECORDING).await?;
        files.deadline = work.deadline;
        let download = match files.recording().await {
            Ok(Some(download)) => download,
            Ok(None) => return Ok(Recording::Unreadable("it is gone".to_owned())),
            Err(Failure::Permanent { what, .. }) => return Ok(Recording::Unreadable(what)),
            Err(failure) => return Err(failure),
        };
        let key = media_key(known.grant.as_deref(), id, &format!("recording.{}", extension_of(&download)));
        let content_type = match download.content_type.as_str() {
            "" => "application/octet-stream".to_owned(),
            content_type => content_type.to_owned(),
        };
        let pieces = Box::pin(download.pieces().map_err(Failure::from));
        let left = work.deadline.earlier_by(AFTER_A_RECORDING).left();
        let stored = tokio::time::timeout(left, archive.store(&key, &content_type, pieces)).await;
        match stored {
            Ok(Ok(stored)) => Ok(Recording::Archived(Archived {
                reference: stored.reference,
                bytes: stored.bytes,
                sha256: stored.sha256,
            })),
            Ok(Err(Failure::Permanent { what, .. })) => Ok(Recording::Unreadable(what)),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::transient(
                "media.slow",
                "the recording did not pass into the archive within one invocation; it is tried again from its beginning",
            )),
        }
    }

    /// The record as it is to be written.
    fn notes(
        &self,
        id: &str,
        meeting: &Meeting,
        said: Said,
        known: &Known,
        retained_until: Option<Timestamp>,
    ) -> MeetingNotes {
        let title = meeting.found.event.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
        let reference = |piece| known.archived.get(&piece).map(|archived: &Archived| archived.reference.clone());
        let summary = match (said.summary, retained_until) {
            (Some(summary), Some(until)) if self.ports.archive.is_none() => {
                let day = until.to_zoned(TimeZone::UTC).strftime("%-d %B %Y");
                Some(format!(
                    "{summary}\n\nThe recording and the transcript are kept by Nylas until {day}, and not archived."
                ))
            }
            (summary, _) => summary,
        };
        MeetingNotes {
            external_notetaker_id: id.to_owned(),
            external_event_id: meeting.found.external_event_id.clone(),
            subject: title.unwrap_or("Untitled meeting").to_owned(),
            summary,
            action_items: said.action_items,
            transcript: said.transcript,
            recording_url: reference(Piece::Recording),
            transcript_url: reference(Piece::Transcript),
            contact_ids: meeting.matched.contact_ids.clone(),
            deal_id: meeting.matched.deal.deal_id(),
            unmatched: meeting.matched.unmatched.clone(),
        }
    }

    /// Writes the record, unless the CRM has it as it is; answers what is known since, none if nothing was written.
    async fn write(
        &self,
        crm: &P::Crm,
        notes: &MeetingNotes,
        pieces: &BTreeSet<Piece>,
        retained_until: Option<Timestamp>,
        deadline: Deadline,
    ) -> Result<Option<Known>, Failure> {
        let id = notes.external_notetaker_id.as_str();
        let notetakers = self.notetakers();
        let content = sha256_hex(&[format!("{notes:?}").as_bytes()]);
        if notetakers.announce(id, &content, pieces).await?.is_none() {
            return Ok(None);
        }
        let in_time = Deadline::after(LONGEST_WRITE.min(deadline.left()));
        match crm.upsert_meeting_notes(notes, in_time).await {
            Ok(became) => {
                let known = notetakers.change(id, |known| {
                    known.writing_until = None;
                    known.content = Some(content.clone());
                    known.became = Some(became.clone());
                    known.retained_until = retained_until;
                });
                Ok(Some(known.await?))
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

/// Waits for a turn, as long as there is time to use it.
async fn in_time<T, E>(
    turn: impl Future<Output = Result<T, E>>,
    deadline: Deadline,
    needed: Duration,
) -> Result<T, Failure> {
    match tokio::time::timeout(deadline.earlier_by(needed).left(), turn).await {
        Ok(Ok(turn)) => Ok(turn),
        Ok(Err(_)) | Err(_) => Err(Failure::Untried {
            class: "media.out_of_time",
            what: "other recordings took the time of this invocation".to_owned(),
            retry_after: Duration::from_secs(1),
        }),
    }
}

/// What the files say.
fn said(gathered: &Gathered, event: &Event) -> Said {
    let file = |piece| gathered.texts.get(&piece).map(|text: &Text| read(&text.file));
    Said {
        summary: file(Piece::Summary).as_ref().and_then(summary),
        action_items: file(Piece::ActionItems)
            .map(|file| action_items(&file, &people_in(event), day_of(event)))
            .unwrap_or_default(),
        transcript: file(Piece::Transcript).as_ref().and_then(transcript),
    }
}

/// The day of a meeting where it takes place.
fn day_of(event: &Event) -> Option<Date> {
    let in_zone = |at: &Timestamp, zone: Option<&str>| {
        let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
        at.to_zoned(zone).date()
    };
    Some(match event.when.as_ref()? {
        When::Span { start, time_zone, .. } => in_zone(start, time_zone.as_deref()),
        When::Point(at) => in_zone(at, None),
        When::Day(day) | When::Days { first: day, .. } => *day,
    })
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

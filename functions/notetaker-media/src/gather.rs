//! Fetches the files of a notetaker while their links live, side by side, and has new links made where they do not.

use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

use shared::domain::failure::Failure;
use shared::domain::notification::GrantId;
use shared::engine::Deadline;
use shared::nylas::notetaker::{Media, MediaAnswer, MediaFile};

use crate::fetch::{Download, FetchError, Fetcher, Kind};
use crate::known::Piece;
use crate::process::ReadMeetings;
use crate::words::{MOST_SUMMARY_BYTES, MOST_TRANSCRIPT_BYTES};

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// It, as it came.
    pub file: Vec<u8>,
    /// Its type; empty if the storage does not say.
    pub content_type: String,
}

/// What was fetched.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What was read.
    pub texts: BTreeMap<Piece, Text>,
    /// What is there and cannot be read, and why.
    pub unreadable: BTreeMap<Piece, String>,
    /// Why further files could not be had this time; none if all were.
    pub pending: Option<Failure>,
    /// True if links had to be made anew.
    pub renewed: bool,
}

/// What Nylas has of a notetaker's files.
#[derive(Debug)]
pub enum Answer {
    /// These.
    Gathered(Gathered),
    /// None yet.
    NotYet,
    /// None any more.
    Gone,
}

/// The links of one notetaker's files, made anew when they have to be.
pub struct Files<'a, N> {
    /// What makes them.
    pub nylas: &'a N,
    /// What follows them.
    pub fetcher: &'a Fetcher,
    /// The account; none for a standalone notetaker.
    pub grant: Option<GrantId>,
    /// The notetaker.
    pub id: &'a str,
    /// The links as they are known.
    pub media: Media,
    /// True once they were made anew.
    pub renewed: bool,
    /// Until when there is time.
    pub deadline: Deadline,
}

fn link(media: &Media, piece: Piece) -> Option<&MediaFile> {
    match piece {
        Piece::Summary => media.summary.as_ref(),
        Piece::ActionItems => media.action_items.as_ref(),
        Piece::Transcript => media.transcript.as_ref(),
        Piece::Recording => media.recording.as_ref(),
    }
}

fn kind(piece: Piece) -> Kind {
    match piece {
        Piece::Summary | Piece::ActionItems => Kind::Text(MOST_SUMMARY_BYTES),
        Piece::Transcript => Kind::Text(MOST_TRANSCRIPT_BYTES),
        Piece::Recording => Kind::Recording,
    }
}

/// Whether new links could be had.
enum Renewed {
    Yes,
    NotYet,
    Gone,
}

impl<N: ReadMeetings> Files<'_, N> {
    /// Reads all texts that there are. `wanted` are those that the CRM has words of: if the links at hand lead to fewer,
    /// new ones are asked for.
    ///
    /// # Errors
    /// If Nylas or its storage does not answer, and so nothing was read. Another try may read all.
    pub async fn texts(&mut self, wanted: &BTreeSet<Piece>) -> Result<Answer, Failure> {
        let is_at_hand = |media: &Media, piece: Piece| link(media, piece).is_some();
        let has_none = Piece::TEXTS.into_iter().chain([Piece::Recording]).all(|piece| !is_at_hand(&self.media, piece));
        let lacks_some =
            Piece::TEXTS.into_iter().any(|piece| wanted.contains(&piece) && !is_at_hand(&self.media, piece));
        if has_none || lacks_some {
            match self.renew().await? {
                Renewed::NotYet if has_none => return Ok(Answer::NotYet),
                Renewed::Gone if has_none => return Ok(Answer::Gone),
                Renewed::Yes | Renewed::NotYet | Renewed::Gone => {}
            }
        }
        let mut gathered = Gathered::default();
        let mut failed = self.read(&mut gathered).await;
        let mut is_deleted = false;
        if !failed.is_empty() && !self.renewed {
            let only_links_failed = failed.values().all(|error| matches!(error, FetchError::Refused(_)));
            let has_nothing = gathered.texts.is_empty() && only_links_failed;
            match self.renew().await? {
                Renewed::Yes => failed = self.read(&mut gathered).await,
                Renewed::NotYet if has_nothing => return Ok(Answer::NotYet),
                Renewed::Gone if has_nothing => return Ok(Answer::Gone),
                Renewed::NotYet => {}
                Renewed::Gone => is_deleted = true,
            }
        }
        for (piece, error) in failed {
            match error {
                FetchError::Refused(_) if is_deleted => {
                    gathered.unreadable.insert(piece, "Nylas has deleted it".to_owned());
                }
                error if error.is_transient() => gathered.pending = Some(error.into()),
                error => drop(gathered.unreadable.insert(piece, error.to_string())),
            }
        }
        gathered.renewed = self.renewed;
        match gathered.pending.take_if(|_| gathered.texts.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(Answer::Gathered(gathered)),
        }
    }

    /// Opens the recording; none if there is none any more.
    ///
    /// # Errors
    /// Of Nylas and its storage, or that it is no recording.
    pub async fn recording(&mut self) -> Result<Option<Download>, Failure> {
        loop {
            let Some(file) = &self.media.recording else { return Ok(None) };
            match self.fetcher.open(&file.url, Kind::Recording, self.deadline).await {
                Ok(download) => return Ok(Some(download)),
                Err(error) if !self.renewed => match self.renew().await? {
                    Renewed::Yes => {}
                    Renewed::Gone => return Ok(None),
                    Renewed::NotYet => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is at hand and was not read yet.
    async fn read(&self, gathered: &mut Gathered) -> BTreeMap<Piece, FetchError> {
        let left = Piece::TEXTS.into_iter().filter(|piece| !gathered.texts.contains_key(piece));
        let reads = left.filter_map(|piece| {
            let file = link(&self.media, piece)?;
            Some(async move {
                let opened = self.fetcher.open(&file.url, kind(piece), self.deadline).await;
                let read = match opened {
                    Ok(download) => {
                        let content_type = download.content_type.clone();
                        download.bytes(self.deadline).await.map(|file| Text { file, content_type })
                    }
                    Err(error) => Err(error),
                };
                (piece, read)
            })
        });
        let mut failed = BTreeMap::new();
        let reads = join_all(reads).await;
        for (piece, read) in reads {
            match read {
                Ok(text) => drop(gathered.texts.insert(piece, text)),
                Err(error) => drop(failed.insert(piece, error)),
            }
        }
        failed
    }

    /// Has new links made for all files that there are.
    async fn renew(&mut self) -> Result<Renewed, Failure> {
        match self.nylas.notetaker_media(self.grant.as_ref(), self.id, self.deadline).await? {
            MediaAnswer::There(media) => {
                // What an answer leaves out may still be had by its old link.
                let (media, known) = (*media, std::mem::take(&mut self.media));
                self.media = Media {
                    summary: media.summary.or(known.summary),
                    action_items: media.action_items.or(known.action_items),
                    transcript: media.transcript.or(known.transcript),
                    recording: media.recording.or(known.recording),
                    retained_until: media.retained_until.or(known.retained_until),
                    errors: media.errors.or(known.errors),
                };
                self.renewed = true;
                Ok(Renewed::Yes)
            }
            MediaAnswer::NotYet => Ok(Renewed::NotYet),
            MediaAnswer::Gone => Ok(Renewed::Gone),
        }
    }
}

//! Files that must last: texts as they came, and recordings streamed, one at a time, into the archive bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{TryStreamExt as _, stream};
use shared::domain::digest::sha256_hex;
use shared::domain::failure::Failure;
use shared::domain::media::media_key;
use shared::engine::{Deadline, Work};

use crate::fetch::Download;
use crate::gather::{Files, Gathered, Text};
use crate::known::{Archived, Known, Piece};
use crate::process::{KeepMedia as _, NotetakerMedia, Ports};
use crate::words::read;

/// How long a text may take to be stored.
const LONGEST_TEXT: Duration = Duration::from_mins(1);

/// What is kept of the invocation's time for what follows a recording.
const AFTER_A_RECORDING: Duration = Duration::from_secs(20);

/// How long a recording waits for those before it. Then its message goes back, so that news of others gets its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A recording is not begun with less time than this left.
const FOR_A_RECORDING: Duration = Duration::from_mins(1);

/// What became of a recording.
pub(crate) enum Recording {
    Archived(Archived),
    Unreadable(String),
    AsBefore,
}

impl<P: Ports> NotetakerMedia<'_, P> {
    /// Archives the texts, as they came, where that is on.
    pub(crate) async fn archive_texts(&self, id: &str, known: &Known, gathered: &Gathered) -> Result<Known, Failure> {
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
            let stored = archive.store(&key, content_type, file, LONGEST_TEXT).await?;
            archived.insert(*piece, Archived { reference: stored.reference, bytes: stored.bytes, sha256 });
        }
        if archived.is_empty() {
            return Ok(known.clone());
        }
        self.notetakers().change(id, |known| known.archived.extend(archived.clone())).await
    }

    /// Archives the recording, where that is on and it is not there yet.
    pub(crate) async fn archive_recording(
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
}

/// Waits so long for a turn, if there is time enough left to use it.
pub(crate) async fn in_turn<T, E>(
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

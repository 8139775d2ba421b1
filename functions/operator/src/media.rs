//! Makes a link that opens a file of a meeting, for a while and for whoever has it.

use jiff::Timestamp;
use serde::Serialize;
use shared::domain::media::{MEDIA_PREFIX, key_of};
use shared::engine::StoreError;

use crate::media_link::MediaLink;
use crate::ports::Archive;
use crate::times::shown;

/// A link to a file.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct MediaAnswer {
    /// The command.
    pub command: &'static str,
    /// The reference that it stands for.
    pub reference: String,
    /// The link. It opens the file to anybody who has it: it is for the answer and for nothing else.
    pub link: String,
    /// Until when it works at most.
    pub until: String,
    /// The same for people.
    pub text: String,
}

impl std::fmt::Debug for MediaAnswer {
    /// Without the link.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("MediaAnswer").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// There is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The reference is not one of this archive.
    #[error(
        "`reference` names nothing in this stack's archive: it must be s3://{bucket}/{MEDIA_PREFIX}<grant>/<notetaker>/<file>, \
         as it stands in the CRM"
    )]
    Elsewhere {
        /// The archive's bucket.
        bucket: String,
    },
    /// There is no such file.
    #[error(
        "the archive holds no such file: `MediaRetentionDays` has removed it, or it was never archived; a link cannot be \
         made"
    )]
    Gone,
    /// The archive did not answer.
    #[error("no link was made: {0}; ask again in a minute")]
    Unavailable(#[from] StoreError),
}

/// Makes the link, and names the key of the file.
///
/// # Errors
/// If there is no such file, or the archive does not answer.
pub async fn media(
    archive: &impl Archive,
    asked: &MediaLink,
    now: Timestamp,
) -> Result<(MediaAnswer, String), MediaError> {
    let bucket = archive.bucket();
    let key = key_of(&asked.reference, bucket).ok_or_else(|| MediaError::Elsewhere { bucket: bucket.to_owned() })?;
    if !archive.holds(key).await? {
        return Err(MediaError::Gone);
    }
    let link = archive.link(key, asked.lifetime).await?;
    let until = shown(now.as_second().saturating_add(asked.lifetime.as_secs().cast_signed()));
    let text = format!(
        "{link}\nIt opens the file to whoever has it until {until}, at most for an hour, and ends sooner if the credentials \
         that signed it do. Give it to nobody else; ask again for a new one."
    );
    let answer = MediaAnswer { command: "media", reference: asked.reference.clone(), link, until, text };
    Ok((answer, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryArchive;
    use std::time::Duration;

    const REFERENCE: &str = "s3://archive/media/g/n/summary.json";

    async fn asked(archive: &MemoryArchive, reference: &str) -> Result<(MediaAnswer, String), MediaError> {
        let asked = MediaLink { reference: reference.to_owned(), lifetime: Duration::from_mins(15) };
        media(archive, &asked, Timestamp::from_second(1_772_359_200).expect("a time")).await
    }

    #[tokio::test]
    async fn reference_becomes_a_link_with_the_time_at_which_it_ends() {
        let archive = MemoryArchive::holding("media/g/n/summary.json");
        let (answer, key) = asked(&archive, REFERENCE).await.expect("a link");
        assert_eq!((answer.reference.as_str(), key.as_str()), (REFERENCE, "media/g/n/summary.json"));
        assert!(answer.link.starts_with("https://") && answer.link.contains("=900"), "{}", answer.link);
        assert_eq!(answer.until, "2026-03-01T10:15:00Z");
        assert!(answer.text.contains(&answer.link) && answer.text.contains(&answer.until), "{}", answer.text);
        assert!(answer.text.contains("at most for an hour"), "{}", answer.text);
        assert!(!format!("{answer:?}").contains(&answer.link));
    }

    #[tokio::test]
    async fn file_that_is_gone_is_told_with_what_removes_it() {
        let archive = MemoryArchive::holding("media/g/n/recording.mp4");
        let error = asked(&archive, REFERENCE).await.expect_err("gone");
        assert_eq!(error, MediaError::Gone);
        assert!(error.to_string().contains("`MediaRetentionDays` has removed it"), "{error}");
    }

    #[tokio::test]
    async fn nothing_else_than_a_file_of_a_meeting_in_this_archive_is_looked_for() {
        let archive = MemoryArchive::holding("bodies/abc");
        for reference in [
            "s3://archive/bodies/abc",
            "s3://archive-2/media/g/n/summary.json",
            "https://archive/media/g/n/summary.json",
            "media/g/n/summary.json",
            "s3://archive/media/g/n",
        ] {
            let error = asked(&archive, reference).await.expect_err("refused");
            assert_eq!(error, MediaError::Elsewhere { bucket: "archive".to_owned() }, "{reference}");
            assert!(error.to_string().contains("s3://archive/media/<grant>/<notetaker>/<file>"), "{error}");
        }
        assert_eq!(archive.asked(), 0);
    }

    #[tokio::test]
    async fn archive_that_is_down_is_told() {
        let error = asked(&MemoryArchive::down(), REFERENCE).await.expect_err("down").to_string();
        assert!(error.contains("the archive is down") && error.contains("ask again"), "{error}");
    }
}

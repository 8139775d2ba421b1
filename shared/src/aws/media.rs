//! The archive bucket's `media/`: what was recorded of a meeting, for longer than Nylas keeps it.
//!
//! A file of any length is passed on in parts, so that memory holds two of them at most.

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use super::describe;
use crate::domain::failure::Failure;
use crate::domain::media::reference;
use crate::engine::StoreError;

/// How long a part is. S3 takes 10,000 parts of at least 5 MiB, so a file may have 80 GB.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// How long one try to store a part may take, and all tries together.
const ONE_TRY: Duration = Duration::from_secs(20);
const ALL_TRIES: Duration = Duration::from_mins(1);

/// The class of failures of the archive.
const UNAVAILABLE: &str = "archive.unavailable";

/// The files of meetings in one bucket.
#[derive(Debug, Clone)]
pub struct MediaArchive {
    client: Client,
    bucket: String,
}

/// A file that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its lasting reference: `s3://<bucket>/<key>`.
    pub reference: String,
    /// How long it is.
    pub bytes: u64,
    /// The SHA-256 of it, as hex.
    pub sha256: String,
}

impl MediaArchive {
    /// The archive in the given bucket.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, bucket: String) -> Self {
        let patient = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(ONE_TRY)
            .operation_timeout(ALL_TRIES)
            .build();
        let config = aws_sdk_s3::config::Builder::from(config).force_path_style(true).timeout_config(patient).build();
        Self { client: Client::from_conf(config), bucket }
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Stores a file as it comes, in the place of what lay there, within so much time.
    ///
    /// # Errors
    /// That of the file, if it breaks off; a transient one if the bucket does not take it, or not in time. Nothing is
    /// stored then.
    pub async fn store(
        &self,
        key: &str,
        content_type: &str,
        file: impl Stream<Item = Result<Bytes, Failure>> + Send + Unpin,
        within: Duration,
    ) -> Result<StoredFile, Failure> {
        let mut parts = Parts { file, left: BytesMut::new(), ended: false, bytes: 0, digest: Sha256::new() };
        let first = parts.next().await?.unwrap_or_default();
        if parts.ended {
            self.put(key, content_type, first).await?;
        } else {
            let upload = self.begin(key, content_type).await?;
            let passing = async {
                let completed = self.pass_on(key, &upload, first, &mut parts).await?;
                self.complete(key, &upload, completed).await
            };
            let passed = tokio::time::timeout(within, passing).await;
            if let Err(failure) = passed.unwrap_or_else(|_| Err(too_slow(within))) {
                // What is not removed now is removed by the bucket's rule for unfinished uploads.
                let _ =
                    self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload).send().await;
                return Err(failure);
            }
        }
        Ok(StoredFile {
            reference: reference(&self.bucket, key),
            bytes: parts.bytes,
            sha256: hex::encode(parts.digest.finalize()),
        })
    }

    async fn put(&self, key: &str, content_type: &str, content: Bytes) -> Result<(), Failure> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type);
        put.body(ByteStream::from(content)).send().await.map_err(|error| self.unavailable(&error))?;
        Ok(())
    }

    async fn begin(&self, key: &str, content_type: &str) -> Result<String, Failure> {
        let begun = self.client.create_multipart_upload().bucket(&self.bucket).key(key).content_type(content_type);
        // S3 holds the parts against what the upload was begun with.
        let begun = begun.checksum_algorithm(ChecksumAlgorithm::Crc32);
        let begun = begun.send().await.map_err(|error| self.unavailable(&error))?;
        begun.upload_id.ok_or_else(|| Failure::transient(UNAVAILABLE, "the archive bucket named no upload"))
    }

    /// Stores part after part; while one is stored the next one comes in.
    async fn pass_on<F: Stream<Item = Result<Bytes, Failure>> + Send + Unpin>(
        &self,
        key: &str,
        upload: &str,
        first: Bytes,
        parts: &mut Parts<F>,
    ) -> Result<Vec<CompletedPart>, Failure> {
        let mut completed = Vec::new();
        let mut part = Some(first);
        while let Some(content) = part {
            let number = i32::try_from(completed.len() + 1).unwrap_or(i32::MAX);
            let storing = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key)
                .upload_id(upload)
                .part_number(number)
                .checksum_algorithm(ChecksumAlgorithm::Crc32)
                .body(ByteStream::from(content))
                .send();
            let (stored, next) = futures_util::join!(storing, parts.next());
            let stored = stored.map_err(|error| self.unavailable(&error))?;
            let part_stored = CompletedPart::builder().part_number(number).set_e_tag(stored.e_tag);
            completed.push(part_stored.set_checksum_crc32(stored.checksum_crc32).build());
            part = next?;
        }
        Ok(completed)
    }

    async fn complete(&self, key: &str, upload: &str, parts: Vec<CompletedPart>) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        complete.multipart_upload(parts).send().await.map_err(|error| self.unavailable(&error))?;
        Ok(())
    }

    /// True if there is such a file.
    ///
    /// # Errors
    /// If the bucket does not answer.
    pub async fn holds(&self, key: &str) -> Result<bool, StoreError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(aws_sdk_s3::operation::head_object::HeadObjectError::is_not_found) =>
            {
                Ok(false)
            }
            Err(error) => Err(StoreError(format!("the archive bucket could not be asked: {}", describe(&error)))),
        }
    }

    /// A link that opens a file for so long to anybody who has it.
    ///
    /// # Errors
    /// If it cannot be signed: without credentials, or for longer than S3 allows.
    pub async fn link(&self, key: &str, lifetime: Duration) -> Result<String, StoreError> {
        let unsigned = |problem: String| StoreError(format!("the link could not be signed: {problem}"));
        let lifetime = PresigningConfig::expires_in(lifetime).map_err(|error| unsigned(error.to_string()))?;
        let link = self.client.get_object().bucket(&self.bucket).key(key).presigned(lifetime).await;
        link.map(|link| link.uri().to_owned()).map_err(|error| unsigned(describe(&error)))
    }

    fn unavailable<E, R>(&self, error: &SdkError<E, R>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: std::fmt::Debug,
    {
        let what = format!("the archive bucket {} did not take a file: {}", self.bucket, describe(error));
        Failure::transient(UNAVAILABLE, what)
    }
}

fn too_slow(within: Duration) -> Failure {
    let what = format!(
        "the recording did not pass into the archive within {} s; it is tried again from its beginning. If that never \
         succeeds, give notetaker-media more memory, which brings more of the network",
        within.as_secs()
    );
    Failure::transient("archive.slow", what)
}

/// A file cut into parts of one length but the last.
struct Parts<F> {
    file: F,
    left: BytesMut,
    ended: bool,
    bytes: u64,
    digest: Sha256,
}

impl<F: Stream<Item = Result<Bytes, Failure>> + Send + Unpin> Parts<F> {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.ended && self.left.len() < PART_BYTES {
            match self.file.next().await {
                Some(piece) => {
                    let piece = piece?;
                    self.bytes += piece.len() as u64;
                    self.digest.update(&piece);
                    if self.left.capacity() == 0 {
                        // In one go, so that the part does not grow by copying itself.
                        self.left.reserve(PART_BYTES + piece.len());
                    }
                    self.left.extend_from_slice(&piece);
                }
                None => self.ended = true,
            }
        }
        let next = std::mem::take(&mut self.left);
        Ok((!next.is_empty()).then(|| next.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn parts_of(
        pieces: Vec<Result<Bytes, Failure>>,
    ) -> Parts<impl Stream<Item = Result<Bytes, Failure>> + Send + Unpin> {
        Parts { file: stream::iter(pieces), left: BytesMut::new(), ended: false, bytes: 0, digest: Sha256::new() }
    }

    #[tokio::test]
    async fn file_is_cut_into_parts_that_are_together_what_came() {
        let piece = Bytes::from(vec![7_u8; 3 * 1024 * 1024]);
        let mut parts = parts_of(vec![Ok(piece.clone()); 7]);
        let mut lengths = Vec::new();
        while let Some(part) = parts.next().await.expect("a part") {
            lengths.push(part.len());
        }
        assert_eq!(lengths.iter().sum::<usize>(), 21 * 1024 * 1024);
        assert!(lengths[..lengths.len() - 1].iter().all(|length| *length >= PART_BYTES), "{lengths:?}");
        assert_eq!(parts.bytes, 21 * 1024 * 1024);
        assert_eq!(
            hex::encode(parts.digest.finalize()),
            crate::domain::digest::sha256_hex(&[&vec![7; 21 * 1024 * 1024]])
        );
    }

    #[tokio::test]
    async fn file_that_breaks_off_is_no_file() {
        let broken = Failure::transient("media.unavailable", "broke off");
        let mut parts = parts_of(vec![Ok(Bytes::from_static(b"a")), Err(broken.clone())]);
        assert_eq!(parts.next().await, Err(broken));
    }

    #[tokio::test]
    async fn empty_file_has_no_part() {
        assert_eq!(parts_of(Vec::new()).next().await, Ok(None));
    }
}

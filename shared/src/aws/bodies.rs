//! The archive bucket's `bodies/`: what one queue message could not carry.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;

use super::describe;
use crate::domain::pointer::BodyPointer;

/// Stores and fetches bodies.
#[derive(Debug, Clone)]
pub struct ArchiveBodies {
    client: Client,
    bucket: String,
}

/// A body could not be stored.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the archive bucket did not take a body: {0}")]
pub struct NotStored(String);

/// A client for the archive bucket. Path-style addresses work with every endpoint, a local one included.
pub(super) fn bucket_client(config: &aws_config::SdkConfig) -> Client {
    Client::from_conf(aws_sdk_s3::config::Builder::from(config).force_path_style(true).build())
}

impl ArchiveBodies {
    /// Bodies in the given bucket.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, bucket: String) -> Self {
        Self { client: bucket_client(config), bucket }
    }

    /// Stores a body and returns the pointer to it. Storing the same body twice is harmless.
    pub async fn store(&self, body: &[u8]) -> Result<BodyPointer, NotStored> {
        let pointer = BodyPointer::to(body);
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(&pointer.key)
            .content_type("application/json")
            .body(ByteStream::from(body.to_vec()))
            .send()
            .await
            .map_err(|error| NotStored(describe(&error)))?;
        Ok(pointer)
    }
}

#[cfg(feature = "worker")]
impl crate::engine::Bodies for ArchiveBodies {
    async fn fetch(&self, pointer: &BodyPointer) -> Result<Vec<u8>, crate::engine::BodyError> {
        use crate::domain::digest::sha256_hex;
        use crate::engine::BodyError;

        let key = || pointer.key.clone();
        let object = self.client.get_object().bucket(&self.bucket).key(&pointer.key).send().await.map_err(|error| {
            if error.as_service_error().is_some_and(aws_sdk_s3::operation::get_object::GetObjectError::is_no_such_key) {
                BodyError::Missing(key())
            } else {
                BodyError::Unavailable(key(), describe(&error))
            }
        })?;
        let bytes =
            object.body.collect().await.map_err(|error| BodyError::Unavailable(key(), error.to_string()))?.to_vec();
        if sha256_hex(&[&bytes]) == pointer.sha256 { Ok(bytes) } else { Err(BodyError::Corrupt(key())) }
    }
}

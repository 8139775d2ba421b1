//! Settings in the archive bucket: objects that people write, read again while a function runs, so that a change needs no
//! deployment.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::describe;
use crate::engine::StoreError;

/// How long a file is used before it is read again. A change holds everywhere after this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// Reads one object.
#[derive(Debug)]
pub struct SettingsFile {
    client: Client,
    bucket: String,
    key: &'static str,
    held: tokio::sync::Mutex<Option<(Instant, Option<Arc<str>>)>>,
}

impl SettingsFile {
    /// The object with this key in the given bucket.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, bucket: String, key: &'static str) -> Self {
        Self { client: super::bodies::bucket_client(config), bucket, key, held: tokio::sync::Mutex::default() }
    }

    /// The text as it stands, at most a quarter of a minute old; none if nobody has written one. A text that has not
    /// changed is the same `Arc`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn text(&self) -> Result<Option<Arc<str>>, StoreError> {
        let mut held = self.held.lock().await;
        if let Some((at, text)) = &*held
            && at.elapsed() < READ_AGAIN_AFTER
        {
            return Ok(text.clone());
        }
        let text = self.read().await?;
        let known = held.take().and_then(|(_, known)| known).filter(|known| Some(&**known) == text.as_deref());
        let text = known.or_else(|| text.map(Arc::from));
        *held = Some((Instant::now(), text.clone()));
        Ok(text)
    }

    async fn read(&self) -> Result<Option<String>, StoreError> {
        let failed = |problem: String| StoreError(format!("{} could not be read: {problem}", self.key));
        match self.client.get_object().bucket(&self.bucket).key(self.key).send().await {
            Ok(object) => {
                let bytes = object.body.collect().await.map_err(|error| failed(error.to_string()))?.to_vec();
                let text = String::from_utf8(bytes);
                text.map(Some)
                    .map_err(|_| failed("it is not UTF-8; save it as UTF-8 and put it in place again".to_owned()))
            }
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(None),
            Err(error) => Err(failed(describe(&error))),
        }
    }
}

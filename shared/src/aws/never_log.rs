//! The never-log list in the archive bucket: an object that people write, read again while a function runs, so that
//! a change needs no deployment.

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::describe;
use crate::domain::never_log::NeverLog;
use crate::engine::StoreError;

/// The list's key in the archive bucket.
pub const NEVER_LOG_KEY: &str = "settings/never-log.txt";

/// How long a list is used before it is read again. A change holds everywhere after this.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(15);

/// Reads the list.
#[derive(Debug)]
pub struct NeverLogFile {
    client: Client,
    bucket: String,
    held: tokio::sync::Mutex<Option<(Instant, Arc<NeverLog>)>>,
}

impl NeverLogFile {
    /// The list in the given bucket.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, bucket: String) -> Self {
        Self { client: super::bodies::bucket_client(config), bucket, held: tokio::sync::Mutex::default() }
    }

    /// The list as it stands, at most a quarter of a minute old; empty if nobody has written one.
    ///
    /// # Errors
    /// If it cannot be read: nothing may be logged then that the list might forbid.
    pub async fn current(&self) -> Result<Arc<NeverLog>, StoreError> {
        let mut held = self.held.lock().await;
        if let Some((at, list)) = &*held
            && at.elapsed() < READ_AGAIN_AFTER
        {
            return Ok(Arc::clone(list));
        }
        let text = self.read().await?;
        let (list, bad) = NeverLog::parse(&text);
        if list.is_empty() && !bad.is_empty() {
            // Most likely a file of another kind: what it was meant to protect is not known.
            return Err(StoreError(format!(
                "no line of the never-log list {NEVER_LOG_KEY} can be read; put it in place again"
            )));
        }
        let changed = held.as_ref().is_none_or(|(_, known)| **known != list);
        for line in bad.iter().filter(|_| changed) {
            tracing::error!(key = NEVER_LOG_KEY, "{line}; it is ignored, the other lines hold");
        }
        let list = Arc::new(list);
        *held = Some((Instant::now(), Arc::clone(&list)));
        Ok(list)
    }

    async fn read(&self) -> Result<String, StoreError> {
        let failed =
            |problem: String| StoreError(format!("the never-log list {NEVER_LOG_KEY} could not be read: {problem}"));
        match self.client.get_object().bucket(&self.bucket).key(NEVER_LOG_KEY).send().await {
            Ok(object) => {
                let bytes = object.body.collect().await.map_err(|error| failed(error.to_string()))?.to_vec();
                String::from_utf8(bytes)
                    .map_err(|_| failed("it is not UTF-8; save it as UTF-8 and put it in place again".to_owned()))
            }
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(String::new()),
            Err(error) => Err(failed(describe(&error))),
        }
    }
}

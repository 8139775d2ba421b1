//! The never-log list in the archive bucket.

use std::sync::Arc;

use super::settings_file::SettingsFile;
use crate::domain::never_log::NeverLog;
use crate::engine::{NeverLogged, StoreError};

/// The list's key in the archive bucket.
pub const NEVER_LOG_KEY: &str = "settings/never-log.txt";

/// A list, and the text that it was read from.
type Parsed = (Option<Arc<str>>, Arc<NeverLog>);

/// Reads the list.
#[derive(Debug)]
pub struct NeverLogFile {
    file: SettingsFile,
    held: tokio::sync::Mutex<Option<Parsed>>,
}

impl NeverLogged for NeverLogFile {
    async fn current(&self) -> Result<Arc<NeverLog>, StoreError> {
        self.current().await
    }
}

impl NeverLogFile {
    /// The list in the given bucket.
    #[must_use]
    pub fn new(config: &aws_config::SdkConfig, bucket: String) -> Self {
        Self { file: SettingsFile::new(config, bucket, NEVER_LOG_KEY), held: tokio::sync::Mutex::default() }
    }

    /// The list as it stands, at most a quarter of a minute old; empty if nobody has written one.
    ///
    /// # Errors
    /// If it cannot be read: nothing may be logged then that the list might forbid.
    pub async fn current(&self) -> Result<Arc<NeverLog>, StoreError> {
        let text = self.file.text().await?;
        let mut held = self.held.lock().await;
        if let Some((known, list)) = &*held
            && *known == text
        {
            return Ok(Arc::clone(list));
        }
        let (list, bad) = NeverLog::parse(text.as_deref().unwrap_or_default());
        if list.is_empty() && !bad.is_empty() {
            // Most likely a file of another kind: what it was meant to protect is not known.
            return Err(StoreError(format!(
                "no line of the never-log list {NEVER_LOG_KEY} can be read; put it in place again"
            )));
        }
        for line in &bad {
            tracing::error!(key = NEVER_LOG_KEY, "{line}; it is ignored, the other lines hold");
        }
        let list = Arc::new(list);
        *held = Some((text, Arc::clone(&list)));
        Ok(list)
    }
}

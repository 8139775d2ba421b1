//! The pages of the Nylas Scheduler, on which a guest books a time.

use serde::Deserialize;

/// A scheduling configuration, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Configuration {
    /// Its id: what bookings name.
    pub id: String,
    /// The end of its page's address, unique in the Nylas application; null for those that have no page.
    #[serde(default)]
    pub slug: Option<String>,
}

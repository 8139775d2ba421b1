//! Meetings as they cross the port to the CRM.

use jiff::Timestamp;
use jiff::civil::Date;
use std::future::Future;

use super::CrmError;
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;

/// When a meeting takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeetingTime {
    /// From one instant to another.
    Span {
        /// When it begins.
        start: Timestamp,
        /// When it ends, never before it begins.
        end: Timestamp,
    },
    /// Whole days.
    Days {
        /// The first.
        first: Date,
        /// The last, which belongs to it; never before the first.
        last: Date,
    },
    /// The calendar does not say.
    Unknown,
}

impl MeetingTime {
    /// How long it lasts in minutes; none for whole days and where it is not known.
    #[must_use]
    pub fn minutes(&self) -> Option<i64> {
        match self {
            Self::Span { start, end } => Some(end.duration_since(*start).as_secs() / 60),
            Self::Days { .. } | Self::Unknown => None,
        }
    }
}

/// How certain a meeting is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MeetingStatus {
    /// It takes place.
    Confirmed,
    /// It may.
    Tentative,
    /// It does not.
    Cancelled,
}

/// Somebody who is invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendee {
    /// The address; Microsoft knows attendees without one.
    pub email: Option<EmailAddress>,
    /// The name.
    pub name: Option<String>,
    /// The answer in Nylas's words (`yes`, `no`, `maybe`, `noreply`), which may become more.
    pub rsvp_status: Option<String>,
    /// The contact with this address.
    pub contact_id: Option<String>,
}

/// One meeting, or one occurrence of a series, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meeting {
    /// The key it is written under: the Nylas id of the copy that was written first.
    pub external_event_id: String,
    /// What it is about. Never empty.
    pub subject: String,
    /// When it takes place.
    pub time: MeetingTime,
    /// Where.
    pub location: Option<String>,
    /// Where to join online.
    pub link: Option<String>,
    /// The description as clean text; empty if there is none.
    pub notes: String,
    /// Who called it.
    pub organizer: Option<EmailAddress>,
    /// Who is invited.
    pub attendees: Vec<Attendee>,
    /// How certain it is.
    pub status: MeetingStatus,
    /// The calendar whose copy is written.
    pub calendar_id: Option<String>,
    /// The account whose copy is written.
    pub grant_id: Option<String>,
    /// The series it belongs to.
    pub master_event_id: Option<String>,
    /// True if it belongs to a series.
    pub is_recurring: bool,
    /// `Series: <title>` for an occurrence of a series.
    pub series_label: Option<String>,
    /// Every contact in it.
    pub contact_ids: Vec<String>,
    /// The deal it belongs to.
    pub deal_id: Option<String>,
}

/// Writes meetings.
pub trait WriteMeetings: Sync {
    /// Makes the meeting with this external id what is given, and answers the CRM's id. Doing so twice changes nothing.
    fn upsert_meeting(
        &self,
        meeting: &Meeting,
        deadline: Deadline,
    ) -> impl Future<Output = Result<String, CrmError>> + Send;

    /// Removes the meeting with this external id; one that is not there counts as removed.
    fn delete_meeting(
        &self,
        external_event_id: &str,
        deadline: Deadline,
    ) -> impl Future<Output = Result<(), CrmError>> + Send;
}

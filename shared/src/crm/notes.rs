//! What a notetaker brought out of a meeting, as it crosses the port to the CRM.

use jiff::civil::Date;
use std::future::Future;

use super::CrmError;
use crate::domain::address::EmailAddress;
use crate::engine::Deadline;

/// Something that somebody promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionItem {
    /// What. Never empty.
    pub text: String,
    /// Who, where the text names somebody who was in the meeting.
    pub owner: Option<EmailAddress>,
    /// By when, where the text names a day.
    pub due: Option<Date>,
}

/// The record of one notetaker, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeetingNotes {
    /// The key it is written under: the notetaker's Nylas id.
    pub external_notetaker_id: String,
    /// The meeting in the CRM that it belongs to, by that meeting's key; none if the CRM has none.
    pub external_event_id: Option<String>,
    /// What the meeting was about. Never empty.
    pub subject: String,
    /// What was said, in short, as plain text.
    pub summary: Option<String>,
    /// What was promised; empty if that is not known (yet).
    pub action_items: Vec<ActionItem>,
    /// What was said, a line for each speaker's turn, as plain text.
    pub transcript: Option<String>,
    /// Where the recording lies for good (`s3://…`); none if it lies nowhere of ours.
    pub recording_url: Option<String>,
    /// Where the transcript lies for good (`s3://…`); none if it lies nowhere of ours.
    pub transcript_url: Option<String>,
    /// Every contact who was invited. Never empty.
    pub contact_ids: Vec<String>,
    /// The deal it belongs to.
    pub deal_id: Option<String>,
    /// Who was invited from outside and is not known to the CRM.
    pub unmatched: Vec<EmailAddress>,
}

/// Writes what notetakers bring.
pub trait WriteMeetingNotes: Sync {
    /// Makes the record of this notetaker what is given, and answers the CRM's id. Doing so twice changes nothing.
    fn upsert_meeting_notes(
        &self,
        notes: &MeetingNotes,
        deadline: Deadline,
    ) -> impl Future<Output = Result<String, CrmError>> + Send;
}

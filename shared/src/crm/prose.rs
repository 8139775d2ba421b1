//! Mails, meetings and notes as text, for systems that have one field for what has many parts.

use std::fmt::Write as _;

use super::EmailActivity;
use super::meeting::{Meeting, MeetingTime};
use super::notes::{ActionItem, MeetingNotes};
use crate::domain::address::EmailAddress;

/// The last line of a text that was too long.
const CUT: &str = "[Cut here: the text is longer than this system takes.]";

/// The text, or as much of it as leaves room for a line that tells of the cut; `most` is in units of UTF-16, in which the
/// vendors' systems count.
#[must_use]
pub fn fitting(text: &str, most: usize) -> String {
    crate::fitting::fitting(text, most, char::len_utf16, CUT).into_owned()
}

/// One line of at most `most` units of UTF-16, for a subject; what is cut ends in an ellipsis.
#[must_use]
pub fn line(text: &str, most: usize) -> String {
    crate::fitting::line(text, most, char::len_utf16)
}

/// Plain text as HTML that shows the same lines and nothing else.
#[must_use]
pub fn html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    text.lines().collect::<Vec<_>>().join("<br>")
}

/// The subject of a mail.
#[must_use]
pub fn mail_subject(activity: &EmailActivity) -> &str {
    activity.subject.as_deref().map(str::trim).filter(|subject| !subject.is_empty()).unwrap_or("(no subject)")
}

/// Who wrote a mail to whom, and its beginning.
#[must_use]
pub fn mail(activity: &EmailActivity) -> String {
    let mut text = String::new();
    let from: Vec<&EmailAddress> = activity.from.iter().collect();
    for (name, people) in [("From", from), ("To", activity.to.iter().collect()), ("Cc", activity.cc.iter().collect())] {
        if !people.is_empty() {
            let people: Vec<&str> = people.into_iter().map(EmailAddress::as_str).collect();
            let _ = writeln!(text, "{name}: {}", people.join(", "));
        }
    }
    if let Some(snippet) = &activity.snippet {
        let _ = write!(text, "\n{snippet}");
    }
    text.trim().to_owned()
}

/// A meeting's description, who is invited, and where to join.
#[must_use]
pub fn meeting(meeting: &Meeting) -> String {
    let mut text = meeting.notes.trim().to_owned();
    if !text.is_empty() {
        text.push_str("\n\n");
    }
    if let MeetingTime::Days { first, last } = meeting.time {
        let _ = if first == last {
            writeln!(text, "All day: {first}")
        } else {
            writeln!(text, "All day: {first} to {last}")
        };
    }
    for (name, value) in [
        ("Series", meeting.series_label.as_deref().map(|label| label.trim_start_matches("Series: "))),
        ("Join", meeting.link.as_deref()),
        ("Organizer", meeting.organizer.as_ref().map(EmailAddress::as_str)),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    if !meeting.attendees.is_empty() {
        text.push_str("Invited:\n");
    }
    for attendee in &meeting.attendees {
        let name = match (&attendee.name, &attendee.email) {
            (Some(name), Some(email)) => format!("{name} <{email}>"),
            (Some(name), None) => name.clone(),
            (None, Some(email)) => email.to_string(),
            (None, None) => continue,
        };
        let answer = attendee.rsvp_status.as_deref().map(|answer| format!(" ({answer})")).unwrap_or_default();
        let _ = writeln!(text, "- {name}{answer}");
    }
    text.trim().to_owned()
}

/// What a notetaker brought: the summary, what was promised, where the recording lies, and the transcript.
#[must_use]
pub fn notes(notes: &MeetingNotes) -> String {
    let mut text = format!("{}\n", notes.subject);
    if let Some(summary) = &notes.summary {
        let _ = write!(text, "\nSummary\n{}\n", summary.trim());
    }
    if !notes.action_items.is_empty() {
        text.push_str("\nAction items\n");
    }
    for item in &notes.action_items {
        let _ = writeln!(text, "- {}", action_item(item));
    }
    for (name, value) in [("Recording", &notes.recording_url), ("Transcript", &notes.transcript_url)] {
        if let Some(value) = value {
            let _ = write!(text, "\n{name}: {value}");
        }
    }
    if !notes.unmatched.is_empty() {
        let people: Vec<&str> = notes.unmatched.iter().map(EmailAddress::as_str).collect();
        let _ = write!(text, "\nInvited, and not known here: {}", people.join(", "));
    }
    if let Some(transcript) = &notes.transcript {
        let _ = write!(text, "\n\nTranscript\n{}", transcript.trim());
    }
    text.trim().to_owned()
}

/// Something that was promised, in one line: what, who, by when.
#[must_use]
pub fn action_item(item: &ActionItem) -> String {
    let owner = item.owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
    let due = item.due.map(|due| format!(" by {due}")).unwrap_or_default();
    format!("{}{owner}{due}", item.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_too_long_says_that_it_was_cut() {
        assert_eq!(fitting("short", 5), "short");
        let cut = fitting(&"🦀".repeat(200), 100);
        assert!(cut.encode_utf16().count() <= 100 && cut.ends_with(CUT) && cut.starts_with("🦀🦀"), "{cut}");
    }

    #[test]
    fn html_shows_text_as_it_is() {
        assert_eq!(html("<b>1 & 2</b>\n\"x\""), "&lt;b&gt;1 &amp; 2&lt;/b&gt;<br>&quot;x&quot;");
    }
}

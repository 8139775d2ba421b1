//! A description as a person would read it: clean text without what conferencing tools put into every invitation.

use regex::Regex;
use shared::domain::pattern::pattern;
use shared::plain_text::plain_text;
use std::sync::LazyLock;

/// The lines that Google puts around its block on how to join.
static GOOGLE_FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^-::(?:~?:)+.*$"));

/// A line that Microsoft Teams puts before and after its block.
static TEAMS_FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^_{20,}$"));

/// What begins a block of Zoom's.
static ZOOM_BEGIN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)(?:is inviting you to a scheduled zoom meeting|^join zoom meeting\b)"));

/// What ends it.
static ZOOM_END: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^find your local number"));

/// What begins a block of Webex's, which goes on to the end.
const WEBEX_BEGIN: &str = "Do not delete or change any of the following text";

/// The description of an event as clean text; empty if there is none.
#[must_use]
pub fn notes(description: Option<&str>) -> String {
    let text = plain_text(description.unwrap_or_default());
    let lines: Vec<&str> = text.lines().collect();
    let mut kept: Vec<&str> = Vec::with_capacity(lines.len());
    let mut place = 0;
    while let Some(line) = lines.get(place) {
        if let Some(end) = end_of_boilerplate(&lines, place) {
            place = end;
        } else {
            kept.push(line);
            place += 1;
        }
    }
    tidy(&kept)
}

/// Where the boilerplate that begins at this line ends: the place of the first line behind it; none if none begins.
fn end_of_boilerplate(lines: &[&str], begin: usize) -> Option<usize> {
    let line = lines[begin].trim();
    let behind = |is_end: &dyn Fn(&str) -> bool| {
        lines[begin + 1..].iter().position(|line| is_end(line.trim())).map(|ahead| begin + 1 + ahead + 1)
    };
    if GOOGLE_FENCE.is_match(line) {
        return Some(behind(&|line| GOOGLE_FENCE.is_match(line)).unwrap_or(lines.len()));
    }
    let is_teams = || lines[begin + 1..].iter().take(3).any(|line| line.contains("Microsoft Teams"));
    if TEAMS_FENCE.is_match(line) && is_teams() {
        return Some(behind(&|line| TEAMS_FENCE.is_match(line)).unwrap_or(lines.len()));
    }
    let is_zoom = || lines[begin..].iter().any(|line| line.contains("Meeting ID"));
    if ZOOM_BEGIN.is_match(line) && is_zoom() {
        return Some(behind(&|line| ZOOM_END.is_match(line)).unwrap_or(lines.len()));
    }
    line.contains(WEBEX_BEGIN).then_some(lines.len())
}

/// The lines with no empty ones around them, and never two together.
fn tidy(lines: &[&str]) -> String {
    let mut tidied: Vec<&str> = Vec::with_capacity(lines.len());
    for line in lines {
        if !line.trim().is_empty() || tidied.last().is_some_and(|last| !last.trim().is_empty()) {
            tidied.push(line);
        }
    }
    while tidied.last().is_some_and(|last| last.trim().is_empty()) {
        tidied.pop();
    }
    tidied.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_wrote_is_kept_with_its_lines_and_lists() {
        let html = "<p>Agenda</p><ul><li>Pilot</li><li>Prices</li></ul><p>Bring the plans.</p>";
        assert_eq!(notes(Some(html)), "Agenda\n* Pilot\n* Prices\n\nBring the plans.");
        assert_eq!(notes(None), "");
        assert_eq!(notes(Some(" \n ")), "");
    }

    #[test]
    fn googles_block_is_gone_and_what_stands_around_it_stays() {
        let fence = "-::~:~::~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~:~::~:~::-";
        let text = format!(
            "Agenda\n\n{fence}\nJoin with Google Meet: https://meet.example/abc\nLearn more\n{fence}\n\nSee you"
        );
        assert_eq!(notes(Some(&text)), "Agenda\n\nSee you");
    }

    #[test]
    fn teams_zooms_and_webexs_blocks_are_gone() {
        let fence = "_".repeat(80);
        let teams = format!("Agenda\n{fence}\nMicrosoft Teams meeting\nJoin on your computer\nMeeting ID: 1\n{fence}");
        let zoom = "Agenda\n\nInes Duarte is inviting you to a scheduled Zoom meeting.\n\nJoin Zoom Meeting\nhttps://zoom.example/j/1\n\nMeeting ID: 123\nPasscode: x\n\nFind your local number: https://zoom.example/u/1\n\nBring the plans.";
        let webex = "Agenda\n-- Do not delete or change any of the following text. --\nWhen it's time, join your Webex meeting here.";
        assert_eq!(notes(Some(&teams)), "Agenda");
        assert_eq!(notes(Some(zoom)), "Agenda\n\nBring the plans.");
        assert_eq!(notes(Some(webex)), "Agenda");
    }

    #[test]
    fn talk_about_zoom_and_a_line_of_a_form_are_no_boilerplate() {
        for text in [
            "Join Zoom Meeting or call me",
            "Name ____________________\nDate ____________________",
            "____________________\nsigned",
        ] {
            assert_eq!(notes(Some(text)), text);
        }
    }
}

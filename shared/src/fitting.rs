//! Texts cut to what a system takes, in the measure that it counts in.

use std::borrow::Cow;

/// What a character counts for: `char::len_utf8` where bytes are counted, `char::len_utf16` where units of UTF-16 are, as
/// by systems written in Java, JavaScript and their like.
pub type Measure = fn(char) -> usize;

/// The text, or as much of it as leaves room for a last line that tells of the cut.
#[must_use]
pub fn fitting<'a>(text: &'a str, most: usize, measure: Measure, cut_line: &str) -> Cow<'a, str> {
    if length(text, measure) <= most {
        return Cow::Borrowed(text);
    }
    let room = most.saturating_sub(length(cut_line, measure) + 1);
    Cow::Owned(format!("{}\n{cut_line}", beginning(text, room, measure)))
}

/// One line, for a subject; what is cut ends in an ellipsis.
#[must_use]
pub fn line(text: &str, most: usize, measure: Measure) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if length(&text, measure) <= most {
        return text;
    }
    let room = most.saturating_sub(measure('…'));
    format!("{}…", beginning(&text, room, measure).trim_end())
}

/// How long a text is.
#[must_use]
pub fn length(text: &str, measure: Measure) -> usize {
    text.chars().map(measure).sum()
}

/// As much of a text as fits, cut between two characters.
fn beginning(text: &str, room: usize, measure: Measure) -> &str {
    let mut counted = 0;
    let end = text.char_indices().find(|(_, character)| {
        counted += measure(*character);
        counted > room
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_fits_is_left_as_it_is() {
        assert!(matches!(fitting("short", 5, char::len_utf8, "cut"), Cow::Borrowed("short")));
        assert_eq!(line("a\r\n b\tc", 5, char::len_utf16), "a b c");
    }

    #[test]
    fn text_that_is_too_long_is_as_long_as_may_be_and_ends_in_the_line_that_tells_of_it() {
        assert_eq!(fitting("abcdefghij", 8, char::len_utf8, "cut"), "abcd\ncut");
        assert_eq!(line("abcdef", 4, char::len_utf16), "abc…");
    }

    #[test]
    fn characters_count_for_what_the_measure_says_and_are_never_cut_in_two() {
        assert_eq!(fitting("🦀🦀🦀🦀", 8, char::len_utf16, "cut"), "🦀🦀🦀🦀");
        assert_eq!(fitting("🦀🦀🦀🦀", 15, char::len_utf8, "cut"), "🦀🦀\ncut");
        assert_eq!(line("🦀🦀🦀", 5, char::len_utf16), "🦀🦀…");
    }

    #[test]
    fn nothing_but_the_line_is_left_where_there_is_no_room() {
        assert_eq!(fitting("abcdef", 2, char::len_utf8, "cut"), "\ncut");
    }
}

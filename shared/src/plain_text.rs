//! What people wrote, as clean text: HTML or plain in, lines out. Scripts, styles and pictures are gone, line breaks
//! and lists are kept.

use html2text::config::{self, ImageRenderMode};
use html2text::render::TextDecorator;
use regex::Regex;
use std::sync::LazyLock;

use crate::domain::pattern::pattern;

/// The longest text that is read, in bytes. What is beyond it is cut: nobody reads that much in a CRM.
pub const MOST_BYTES: usize = 256 * 1024;

/// Wide enough for no line to be broken.
const WIDTH: usize = 100_000;

/// Tags that only HTML has; `<dana@acme.example>` and `a < b` are none.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)<(?:!doctype|!--|/?(?:html|head|body|meta|title|p|br|div|span|a|ul|ol|li|b|i|u|em|strong|font|h[1-6]|table|tbody|tr|td|th|style|script|img|pre|blockquote|center|hr|section|article|o:p)(?:\s[^>]*)?/?>)",
    )
});

/// Tags that begin a line by themselves. Where there are none, the line breaks are those of the text.
static BLOCK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)<(?:p|br|div|ul|ol|li|table|tr|h[1-6]|blockquote|pre|hr)(?:\s[^>]*)?/?>"));

static RULER: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)<hr(?:\s[^>]*)?/?>"));

/// The text of a description or a body.
#[must_use]
pub fn plain_text(text: &str) -> String {
    let text = cut(text, MOST_BYTES);
    if !TAG.is_match(text) {
        return tidy(text);
    }
    let html = if BLOCK.is_match(text) { text.to_owned() } else { text.replace("\r\n", "\n").replace('\n', "<br>") };
    // The renderer leaves a ruler out, and with it the end of the line.
    let html = RULER.replace_all(&html.replace(LINK, ""), "<br>").into_owned();
    if depth_of(&html) > MOST_DEPTH {
        return tidy(&TAG.replace_all(&html, " "));
    }
    let config = config::with_decorator(Words::default())
        .raw_mode(true)
        .no_table_borders()
        .no_link_wrapping()
        .allow_width_overflow()
        .link_footnotes(false)
        .empty_img_mode(ImageRenderMode::IgnoreEmpty);
    match config.string_from_read(html.as_bytes(), WIDTH) {
        Ok(text) => tidy(&with_addresses(&text)),
        // What cannot be rendered is shown without its tags rather than not at all.
        Err(_) => tidy(&TAG.replace_all(&html, " ")),
    }
}

/// Elements within elements beyond which a text is not rendered: each level costs, and nobody writes so.
const MOST_DEPTH: usize = 200;

/// How deep the elements lie within one another, at most.
fn depth_of(html: &str) -> usize {
    static ELEMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"<(/?)([a-zA-Z][a-zA-Z0-9:]*)[^>]*?(/?)>"));
    let (mut depth, mut deepest) = (0_usize, 0);
    for found in ELEMENT.captures_iter(html) {
        let name = found[2].to_ascii_lowercase();
        if matches!(name.as_str(), "br" | "hr" | "img" | "meta" | "link" | "input" | "col" | "wbr") || &found[3] == "/"
        {
            continue;
        }
        depth = if found[1].is_empty() { depth + 1 } else { depth.saturating_sub(1) };
        deepest = deepest.max(depth);
    }
    deepest
}

/// Stand around a link while it is rendered: before its words, before its address, after it.
const LINK: [char; 3] = ['\u{e000}', '\u{e001}', '\u{e002}'];

/// Words without decoration; a link keeps its address, marked so that it can be told from the words.
#[derive(Debug, Clone, Default)]
struct Words {
    addresses: Vec<String>,
}

impl TextDecorator for Words {
    type Annotation = ();

    fn decorate_link_start(&mut self, url: &str) -> (String, ()) {
        self.addresses.push(url.to_owned());
        (LINK[0].to_string(), ())
    }

    fn decorate_link_end(&mut self) -> String {
        format!("{}{}{}", LINK[1], self.addresses.pop().unwrap_or_default(), LINK[2])
    }

    fn decorate_em_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_em_end(&self) -> String {
        String::new()
    }

    fn decorate_strong_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_strong_end(&self) -> String {
        String::new()
    }

    fn decorate_strikeout_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_strikeout_end(&self) -> String {
        String::new()
    }

    fn decorate_code_start(&self) -> (String, ()) {
        (String::new(), ())
    }

    fn decorate_code_end(&self) -> String {
        String::new()
    }

    fn decorate_preformat_first(&self) {}

    fn decorate_preformat_cont(&self) {}

    fn decorate_image(&mut self, _: &str, _: &str) -> (String, ()) {
        (String::new(), ())
    }

    fn header_prefix(&self, _: usize) -> String {
        String::new()
    }

    fn quote_prefix(&self) -> String {
        "> ".to_owned()
    }

    fn unordered_item_prefix(&self) -> String {
        "* ".to_owned()
    }

    fn ordered_item_prefix(&self, number: i64) -> String {
        format!("{number}. ")
    }

    fn make_subblock_decorator(&self) -> Self {
        self.clone()
    }
}

/// Puts a link's address behind its words, unless they say it already or it leads nowhere outside.
fn with_addresses(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut words_from = None;
    let mut rest = text;
    while let Some(at) = rest.find(LINK) {
        shown.push_str(&rest[..at]);
        let mut after = rest[at..].chars();
        let mark = after.next();
        rest = after.as_str();
        if mark == Some(LINK[0]) {
            words_from = Some(shown.len());
        } else if mark == Some(LINK[1]) {
            let (address, behind) = rest.split_once(LINK[2]).unwrap_or((rest, ""));
            rest = behind;
            let words = words_from.take().map_or("", |from| shown[from..].trim());
            let bare = |text: &str| {
                text.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/').to_owned()
            };
            let leads_outside = address.starts_with("https://") || address.starts_with("http://");
            if leads_outside && words.is_empty() {
                shown.push_str(address);
            } else if leads_outside && bare(words) != bare(address) {
                shown.extend([" (", address, ")"]);
            }
        }
    }
    shown.push_str(rest);
    shown
}

/// No blanks at the end of a line, no invisible characters, never more than one empty line, none around the text.
fn tidy(text: &str) -> String {
    let mut tidied = String::with_capacity(text.len());
    let mut empty_lines = 0;
    for line in text.lines() {
        let line: String = line
            .chars()
            .map(|character| if character == '\u{a0}' { ' ' } else { character })
            .filter(|character| !is_invisible(*character))
            .collect();
        let line = line.trim_end();
        if line.trim().is_empty() {
            empty_lines += 1;
            continue;
        }
        if !tidied.is_empty() {
            tidied.push_str(if empty_lines > 0 { "\n\n" } else { "\n" });
        }
        empty_lines = 0;
        tidied.push_str(line);
    }
    tidied
}

fn is_invisible(character: char) -> bool {
    character.is_control() && character != '\t'
        || matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paragraphs_line_breaks_and_lists_are_kept() {
        let html = "<html><body><p>Agenda</p><ul><li>Numbers</li><li>Next steps</li></ul>Bring <b>coffee</b>.<br>See you</body></html>";
        assert_eq!(plain_text(html), "Agenda\n* Numbers\n* Next steps\n\nBring coffee.\nSee you");
        assert_eq!(plain_text("<ol><li>One</li><li>Two</li></ol>"), "1. One\n2. Two");
    }

    #[test]
    fn ruler_ends_a_line() {
        assert_eq!(plain_text("<div>a<hr>b<hr class=\"x\" />c</div>"), "a\nb\nc");
    }

    #[test]
    fn scripts_styles_comments_and_tracking_pixels_are_gone() {
        let html = "<style>p{color:red}</style><script>alert(1)</script><!-- hidden --><p>Hello</p><img src=\"https://t.example/p.gif\" width=1 height=1>";
        assert_eq!(plain_text(html), "Hello");
    }

    #[test]
    fn line_breaks_of_a_text_with_a_few_tags_in_it_are_its_own() {
        assert_eq!(plain_text("Agenda:\n1. <b>Numbers</b>\n2. Next steps"), "Agenda:\n1. Numbers\n2. Next steps");
    }

    #[test]
    fn links_keep_their_words_and_their_address_once() {
        let link = |address: &str, words: &str| {
            plain_text(&format!("<p>R&amp;D: <a href=\"{address}\">{words}</a>&nbsp;&lt;3</p>"))
        };
        assert_eq!(link("https://x.example/n", "notes"), "R&D: notes (https://x.example/n) <3");
        assert_eq!(link("https://x.example/", "x.example"), "R&D: x.example <3");
        assert_eq!(link("mailto:dana@acme.example", "Dana"), "R&D: Dana <3");
        assert_eq!(link("javascript:alert(1)", "here"), "R&D: here <3");
    }

    #[test]
    fn plain_text_is_left_as_it_is_but_for_blanks() {
        let text = "Dana <dana@acme.example> says a < b &amp; c  \r\n\r\n\r\n\r\n  indented\u{200b}\n";
        assert_eq!(plain_text(text), "Dana <dana@acme.example> says a < b &amp; c\n\n  indented");
        assert_eq!(plain_text("  \n "), "");
    }

    #[test]
    fn tables_become_lines() {
        let html = "<table><tr><td>Monday</td><td>10:00</td></tr><tr><td>Tuesday</td><td>11:00</td></tr></table>";
        let text = plain_text(html);
        assert!(text.contains("Monday") && text.contains("11:00") && text.lines().count() >= 2, "{text}");
    }

    #[test]
    fn hostile_depth_and_length_come_to_an_end() {
        let deep = "<div>".repeat(20_000) + "x";
        assert!(plain_text(&deep).contains('x'));
        let long = "é".repeat(MOST_BYTES);
        assert!(plain_text(&long).len() <= MOST_BYTES);
    }

    proptest! {
        #[test]
        fn every_text_is_rendered(text in "[<>/a-z &;\"=!\\n-]{0,200}") {
            let _ = plain_text(&text);
        }
    }
}

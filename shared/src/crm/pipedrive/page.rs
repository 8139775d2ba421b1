//! One activity or note as it is sent: which of our values goes where is the field map's word; how texts share one field,
//! and how a thing of ours is known again, is told here.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::crm::prose;
use crate::field_map::Section;

/// The longest subject, in characters. Pipedrive tells none; its text fields take this many.
pub(super) const LONGEST_SUBJECT: usize = 255;

/// The longest text of an activity, in bytes. Pipedrive tells none.
const LONGEST_NOTE_OF_ACTIVITY: usize = 60_000;

/// The longest content of a note, in bytes: "approximately 100,000 characters (or 100KB per note)" (the page "Notes" of
/// the API's reference).
const LONGEST_CONTENT: usize = 95_000;

/// A thing as it is being put together.
pub(super) struct Page<'a> {
    section: &'a Section,
    body: Map<String, Value>,
    texts: BTreeMap<&'static str, Vec<String>>,
    key: Option<(&'static str, String)>,
}

impl<'a> Page<'a> {
    pub(super) fn new(section: &'a Section) -> Self {
        Self { section, body: Map::new(), texts: BTreeMap::new(), key: None }
    }

    /// The key by which the thing is found again.
    pub(super) fn key(mut self, key: &str) -> Self {
        if let Some(field) = self.section.theirs("key").and_then(text_field) {
            self.key = Some((field, marker(key)));
        }
        self
    }

    /// The main text.
    pub(super) fn text(mut self, text: String) -> Self {
        self.put_words("text", text);
        self
    }

    /// A value that has a name where it shares a text with others.
    pub(super) fn named(mut self, ours: &str, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let value = self.section.value(ours, value);
            let shares = self.section.theirs(ours).is_some_and(|theirs| text_field(theirs).is_some());
            let words = if shares { format!("{name}: {value}") } else { value.to_owned() };
            self.put_words(ours, words);
        }
        self
    }

    /// A value that is no text, or stands alone.
    pub(super) fn value(mut self, ours: &str, value: Option<Value>) -> Self {
        if let (Some(theirs), Some(value)) = (self.section.theirs(ours), value) {
            self.body.insert(theirs.to_owned(), value);
        }
        self
    }

    /// What belongs to the thing wherever the map sends its fields.
    pub(super) fn with(mut self, theirs: &str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.body.insert(theirs.to_owned(), value);
        }
        self
    }

    /// The body of the call.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        if let Some((field, _)) = &self.key {
            self.texts.entry(field).or_default();
        }
        for (field, texts) in self.texts {
            let mut end = String::new();
            if let Some((_, marker)) = self.key.as_ref().filter(|(of, _)| *of == field) {
                let _ = write!(end, "{}{marker}", if texts.is_empty() { "" } else { "\n\n" });
            }
            let text = texts.join("\n\n");
            let most = if field == CONTENT { LONGEST_CONTENT } else { LONGEST_NOTE_OF_ACTIVITY };
            let whole = if field == PUBLIC_DESCRIPTION {
                format!("{}{end}", fitting_bytes(&text, most.saturating_sub(end.len()), str::to_owned))
            } else {
                let end = prose::html(&end);
                format!("{}{end}", fitting_bytes(&text, most.saturating_sub(end.len()), prose::html))
            };
            self.body.insert(field.to_owned(), whole.into());
        }
        self.body.extend(self.section.fixed().clone());
        self.body
    }

    fn put_words(&mut self, ours: &str, words: String) {
        let Some(theirs) = self.section.theirs(ours) else { return };
        match text_field(theirs) {
            Some(field) if !words.is_empty() => self.texts.entry(field).or_default().push(words),
            Some(_) => {}
            None if theirs == "location" => {
                self.body.insert(theirs.to_owned(), json!({ "value": words }));
            }
            None => {
                self.body.insert(theirs.to_owned(), words.into());
            }
        }
    }
}

const CONTENT: &str = "content";
const PUBLIC_DESCRIPTION: &str = "public_description";

/// The fields that several values share. The description that guests see is plain text, the others are HTML.
pub(super) const TEXT_FIELDS: [&str; 3] = [CONTENT, "note", PUBLIC_DESCRIPTION];

fn text_field(theirs: &str) -> Option<&'static str> {
    TEXT_FIELDS.into_iter().find(|field| *field == theirs)
}

/// The last line of a text of ours.
fn marker(key: &str) -> String {
    format!("ref nylas:{key}")
}

/// As much of the text as fits once it is written out.
fn fitting_bytes(text: &str, most: usize, write: fn(&str) -> String) -> String {
    let mut characters = most;
    loop {
        let written = write(&prose::fitting(text, characters));
        if written.len() <= most || characters == 0 {
            return written;
        }
        // By how much it is too long, and a little more, so that few rounds are needed.
        characters = (characters.min(text.chars().count()) * most / written.len()).saturating_sub(1);
    }
}

/// True if the text of an activity or note is that of ours with this key.
pub(super) fn is_marked(text: &str, key: &str) -> bool {
    end_of_marker(text, key).is_some()
}

/// What people have written below a text of ours: it stays when ours is written anew.
pub(super) fn added_by_people<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let rest = &text[end_of_marker(text, key)?..];
    let mut shown = String::new();
    let mut in_tag = false;
    for character in rest.chars() {
        match character {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => shown.push(character),
            _ => {}
        }
    }
    (!shown.replace("&nbsp;", " ").trim().is_empty()).then_some(rest)
}

/// Where the marker ends: another key may begin as this one does.
fn end_of_marker(text: &str, key: &str) -> Option<usize> {
    let plain = marker(key);
    let html = prose::html(&plain);
    [html, plain].iter().find_map(|marker| {
        text.match_indices(marker.as_str()).map(|(at, _)| at + marker.len()).find(|end| {
            let next = text[*end..].chars().next();
            next.is_none_or(|next| next == '<' || next.is_whitespace()) || text[*end..].starts_with("&nbsp;")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field_map::FieldMap;

    fn section(fields: &str) -> Section {
        let file = format!("[pipedrive.meeting.fields]\n{fields}");
        FieldMap::parse("pipedrive", &file, None).expect("a map").section("meeting").clone()
    }

    #[test]
    fn values_that_share_a_field_stand_in_lines_of_their_own_and_the_key_comes_last() {
        let section = section("text = 'note'\nlink = 'note'\nkey = 'note'\nlocation = 'location'\nsubject = ''");
        let body = Page::new(&section)
            .key("evt<1>")
            .named("link", "Join", Some("https://meet.example/?a&b"))
            .named("location", "Place", Some("Room 4"))
            .named("subject", "Subject", Some("Pilot"))
            .finish();
        let note = "Join: https://meet.example/?a&amp;b<br><br>ref nylas:evt&lt;1&gt;";
        assert_eq!(Value::from(body), json!({"note": note, "location": {"value": "Room 4"}}));
        assert!(is_marked(note, "evt<1>") && !is_marked(note, "evt"));
    }

    #[test]
    fn text_that_is_too_long_once_it_is_html_is_cut_and_keeps_its_key() {
        let section = section("text = 'note'\nkey = 'note'");
        let body = Page::new(&section).key("evt_1").text("<ä>\n".repeat(30_000)).finish();
        let note = body["note"].as_str().expect("a text");
        assert!(note.len() <= LONGEST_NOTE_OF_ACTIVITY && note.len() > LONGEST_NOTE_OF_ACTIVITY / 2, "{}", note.len());
        assert!(note.ends_with("[Cut here: the text is longer than this system takes.]<br><br>ref nylas:evt_1"));
    }

    #[test]
    fn key_that_begins_as_another_does_is_told_from_it() {
        assert!(is_marked("<p>a<br>ref nylas:evt_1</p>", "evt_1"));
        assert!(is_marked("ref nylas:evt_10 and ref nylas:evt_1", "evt_1"));
        assert!(!is_marked("ref nylas:evt_10", "evt_1"));
        assert!(is_marked("ref nylas:a&b", "a&b") && is_marked("ref nylas:a&amp;b", "a&b"));
    }

    #[test]
    fn what_people_write_below_is_told_from_tags_that_show_nothing() {
        assert_eq!(added_by_people("a<br>ref nylas:e</p><p>&nbsp;</p>", "e"), None);
        assert_eq!(
            added_by_people("a<br>ref nylas:e<p>Bring the <b>offer</b></p>", "e"),
            Some("<p>Bring the <b>offer</b></p>")
        );
        assert_eq!(added_by_people("rewritten by a person", "e"), None);
    }
}

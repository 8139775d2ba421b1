//! Text in queries: quoted, and never so much of it that a URL grows too long.

use std::fmt::Write as _;
use url::form_urlencoded::byte_serialize;

/// How long a list in a query may be, in bytes as the URL carries it. A URL may have 16,384 in all (Salesforce Developer
/// Limits, "API Request Limits"), and a query may hold two lists.
const MOST_BYTES_IN_A_LIST: usize = 6_000;

/// A text as SOQL takes it, in quotes ("Quoted String Escape Sequences" in its reference).
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\\' => quoted.push_str("\\\\"),
            '\'' => quoted.push_str("\\'"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// Texts as the right side of `IN`.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(literal).collect();
    format!("({})", quoted.join(","))
}

/// The texts in as few parts as a query takes lists of them, in their order.
pub(super) fn parts<T: AsRef<str> + Clone>(texts: &[T]) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for text in texts {
        let length = encoded(&literal(text.as_ref())).len() + encoded(",").len();
        match parts.last_mut() {
            Some(part) if length <= room => part.push(text.clone()),
            _ => {
                parts.push(vec![text.clone()]);
                room = MOST_BYTES_IN_A_LIST;
            }
        }
        room = room.saturating_sub(length);
    }
    parts
}

/// A query as a URL carries it.
pub(super) fn encoded(query: &str) -> String {
    byte_serialize(query.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_break_out_of_no_query() {
        assert_eq!(literal("dana@acme.example"), "'dana@acme.example'");
        assert_eq!(literal("o'brien@acme.example"), r"'o\'brien@acme.example'");
        assert_eq!(literal(r"a\' OR Name != '"), r"'a\\\' OR Name != \''");
        assert_eq!(literal("a\n\r\tb\u{1}"), r"'a\n\r\tb\u0001'");
        assert_eq!(list(["a", "b'c"]), r"('a','b\'c')");
    }

    #[test]
    fn lists_grow_no_longer_than_a_url_takes() {
        let few: Vec<String> = (0..100).map(|number| format!("person{number}@acme.example")).collect();
        assert_eq!(parts(&few).as_slice(), std::slice::from_ref(&few));
        let many: Vec<String> = (0..1_000).map(|number| format!("o'brien+{number}@acme.example")).collect();
        let parts = parts(&many);
        assert!(parts.len() > 1);
        assert!(parts.iter().all(|part| encoded(&list(part.iter().map(String::as_str))).len() <= 6_010), "{parts:?}");
        assert_eq!(parts.concat(), many);
    }
}

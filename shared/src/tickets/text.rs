//! What tickets and comments say, for systems that have one text for it.

use super::{Correspondent, NewTicket};

/// The last line of a text that a ticket system would not take whole.
pub(super) const CUT_LINE: &str =
    "[Cut here: the mail is longer than this system takes. The rest of it is in the mailbox.]";

/// A text without what no screen shows and some systems refuse: control characters, and what is no character at all.
pub(super) fn readable(text: &str) -> String {
    let is_shown = |character: char| {
        matches!(character, '\n' | '\t') || !(character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}'))
    };
    text.replace("\r\n", "\n").chars().filter(|character| is_shown(*character)).collect()
}

/// What a mail says, which no system wants to be nothing.
pub(super) fn said(body: &str) -> String {
    let text = readable(body);
    if text.trim().is_empty() { "(The mail says nothing.)".to_owned() } else { text }
}

/// The subject of a ticket, which no system wants to be nothing.
pub(super) fn subject(ticket: &NewTicket) -> String {
    let subject = readable(ticket.subject.as_deref().unwrap_or_default());
    if subject.trim().is_empty() { "(no subject)".to_owned() } else { subject }
}

/// Who wrote a mail, in one line.
pub(super) fn writer(from: &Correspondent) -> String {
    match from.name.as_deref().map(readable).filter(|name| !name.trim().is_empty()) {
        Some(name) => format!("{} <{}>", name.split_whitespace().collect::<Vec<_>>().join(" "), from.email),
        None => from.email.to_string(),
    }
}

/// What a person is called: by the mail, or else by the address.
pub(super) fn name(from: &Correspondent) -> String {
    let name = from.name.as_deref().map(readable).unwrap_or_default();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { from.email.as_str().split('@').next().unwrap_or_default().to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::EmailAddress;

    fn from(name: Option<&str>) -> Correspondent {
        let email = EmailAddress::parse("dana@acme.example").expect("an address");
        Correspondent { email, name: name.map(str::to_owned) }
    }

    #[test]
    fn control_characters_are_left_out_and_all_else_is_kept() {
        assert_eq!(readable("a\0b\u{7}\r\nc\td\u{1b}[0m 🦀 <b>&amp;</b>\u{ffff}"), "ab\nc\td[0m 🦀 <b>&amp;</b>");
    }

    #[test]
    fn nothing_is_told_as_such() {
        assert_eq!((said(" \n"), said("x")), ("(The mail says nothing.)".to_owned(), "x".to_owned()));
    }

    #[test]
    fn people_are_called_by_their_name_and_else_by_their_address() {
        assert_eq!(
            (writer(&from(Some("Dana\r\nChen"))), name(&from(Some("Dana  Chen")))),
            ("Dana Chen <dana@acme.example>".to_owned(), "Dana Chen".to_owned())
        );
        assert_eq!((writer(&from(Some(" "))), name(&from(None))), ("dana@acme.example".to_owned(), "dana".to_owned()));
    }
}

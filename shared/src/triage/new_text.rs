//! What a mail newly says: quoted history, signatures and legal footers left out, so that a keyword is looked for in
//! the writer's own words only.
//!
//! - [`new_text`]: the new words of a body.
//! - [`bare_subject`]: a subject without `Re:` and `Fwd:`.
//!
//! Where the markup tells what is quoted it is believed (`markup`); the rest is told by the lines of the text (`lines`,
//! `reading`), in the languages of `phrases`. What is doubtful is kept: a keyword too many costs a glance, one too few
//! a report. Everything takes time in proportion to the body.

mod lines;
mod markup;
mod phrases;
mod reading;
#[cfg(test)]
mod tests;

use regex::Regex;
use std::sync::LazyLock;

use crate::domain::pattern::pattern;
use crate::plain_text::{MOST_BYTES, cut, plain_text};
use lines::any_of;
use reading::Reading;

/// The new words of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewText {
    /// Clean lines, as [`plain_text`] makes them.
    pub text: String,
    /// The same with signatures and footers: all that is the writer's, for people to read.
    pub without_history: String,
    /// What was cut, each kind once, in the order in which it first stood in the mail. Empty where the whole text
    /// counts.
    pub left_out: Vec<LeftOut>,
}

/// What is no new text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeftOut {
    /// Earlier mails of the thread.
    QuotedHistory,
    /// Name, title, telephone; `Sent from my iPhone`.
    Signature,
    /// Legal footers, warnings of external mail, hints how to unsubscribe.
    Disclaimer,
}

impl LeftOut {
    /// The kind in words for records and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QuotedHistory => "quoted_history",
            Self::Signature => "signature",
            Self::Disclaimer => "disclaimer",
        }
    }
}

/// What a mail newly says.
///
/// `body` is HTML or plain text as Nylas hands it over, of which [`MOST_BYTES`] are read. `forwarded` says that the
/// mail is a forward ([`BareSubject::forwards`]): then what the first mark of history leads to is what the mail is
/// about, and is kept without its header lines; so is, in any mail, what a mark of a forward leads to.
///
/// A mail of which nothing would be left, because it is nothing but a quote or a signature, counts as a whole.
#[must_use]
pub fn new_text(body: &str, forwarded: bool) -> NewText {
    let lines = plain_text(&markup::signed(cut(body, MOST_BYTES)));
    let mut reading = Reading::of(&lines, forwarded);
    reading.leave_out_history();
    let without_history = reading.kept();
    reading.leave_out_footers();
    reading.leave_out_what_follows_closings();
    let text = reading.kept();
    if text.chars().any(char::is_alphanumeric) {
        NewText { text, without_history, left_out: reading.left_out() }
    } else {
        let whole = plain_text(body);
        NewText { text: whole.clone(), without_history: whole, left_out: Vec::new() }
    }
}

/// A subject without what mail clients put before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareSubject<'a> {
    /// The subject itself.
    pub text: &'a str,
    /// True if the first prefix is that of an answer. Those behind it are of earlier mails.
    pub answers: bool,
    /// True if the first prefix is that of a forward.
    pub forwards: bool,
}

/// Takes all prefixes of answers and forwards from a subject, and the tags of lists (`[support]`) that stand before
/// one.
///
/// Words of the subject stay: `Regarding: x`, `Re-issue`. The letters `R` and `I`, and `Ref`, which mean something
/// else as often, count only as Outlook writes them: `R: Fattura`, but not `I: have` or `Ref: 4711`.
#[must_use]
pub fn bare_subject(subject: &str) -> BareSubject<'_> {
    static PREFIX: LazyLock<Regex> = LazyLock::new(|| {
        let (answer, forward) = (any_of(phrases::ANSWERS), any_of(phrases::FORWARDS));
        let tags = r"(?:\s*\[[^\[\]]{1,60}\])*\s*";
        let count = r"\s?(?:\[\d{1,4}\]|\(\d{1,4}\)|[*^]?\d{1,3})?\s*";
        pattern(&format!(r"(?i)^{tags}(?:(?P<answer>{answer})|(?P<forward>{forward})){count}[:：]\s*"))
    });
    let mut bare = BareSubject { text: subject.trim(), answers: false, forwards: false };
    while let Some(found) = PREFIX.captures(bare.text) {
        let Some(word) = found.name("answer").or_else(|| found.name("forward")) else { break };
        let behind = &bare.text[found[0].len()..];
        let next = behind.chars().next();
        let is_prefix = match word.as_str() {
            // A client writes a capital letter, and the subject seldom begins with a small one; a sentence goes on so.
            "R" | "I" => !next.is_some_and(char::is_lowercase),
            "r" | "i" => false,
            word if ["ref", "rif", "réf"].contains(&word.to_lowercase().as_str()) => {
                next.is_none_or(|next| next.is_alphabetic() || next == '[')
            }
            _ => true,
        };
        if !is_prefix {
            break;
        }
        if !(bare.answers || bare.forwards) {
            bare.answers = found.name("answer").is_some();
            bare.forwards = !bare.answers;
        }
        bare.text = behind.trim_end();
    }
    bare
}

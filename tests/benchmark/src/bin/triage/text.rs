//! What is judged: texts that are as hard on the rules as a sender can make them, and mails as they come.

use std::iter;

use crate::{draws::Draws, rule_set::RuleSet};

/// The length of a hostile text, in bytes.
pub const HOSTILE: usize = 1024 * 1024;
/// The length of a mail, in bytes.
pub const MAIL: usize = 16_000;

/// How deep the elements of the nested text lie.
const DEPTH: usize = 10_000;

/// A text to judge.
pub struct Text {
    /// What it is called.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// The body.
    pub body: String,
    /// True if it has to go through `new_text` first.
    pub raw: bool,
}

impl Text {
    fn new(name: &str, body: String) -> Self {
        Self { name: name.to_owned(), subject: "Question about the export".to_owned(), body, raw: false }
    }

    fn raw(self) -> Self {
        Self { raw: true, ..self }
    }

    /// The same with another name.
    pub fn named(self, name: impl FnOnce(&str) -> String) -> Self {
        Self { name: name(&self.name), ..self }
    }
}

/// Texts of 1 MiB, each the worst in its own way.
pub fn hostile(rules: &RuleSet) -> Vec<Text> {
    let mut draws = Draws::new(2);
    let phrases: Vec<&str> = rules.keywords().iter().flatten().map(String::as_str).collect();
    let whole: Vec<String> = phrases.iter().map(|phrase| format!("{phrase} ")).collect();
    let nearly: Vec<String> = phrases.iter().map(|phrase| but_the_last(phrase)).collect();
    let different = (0..).map(different_word);
    let non_ascii = iter::repeat_with(move || non_ascii_word(&mut draws));
    let one_letter = iter::repeat(('a'..='z').map(|letter| format!("{letter} "))).flatten();
    let ya = iter::repeat("ya".to_owned());
    let marks = iter::once("a".to_owned()).chain(iter::repeat("\u{301}\u{323}".to_owned()));
    vec![
        Text::new("words of one letter", filled(HOSTILE, one_letter)),
        Text::new("nearly every phrase", filled(HOSTILE, nearly.into_iter().cycle())),
        Text::new("every phrase, again and again", filled(HOSTILE, whole.iter().cloned().cycle())),
        Text::new("words that all differ", filled(HOSTILE, different)),
        Text::new("words beyond ASCII that differ", filled(HOSTILE, non_ascii)),
        Text::new("one word", filled(HOSTILE, ya)),
        Text::new("one letter with accents", filled(HOSTILE, marks)),
        Text::new("HTML 10,000 deep, with new_text", nested(&whole)).raw(),
    ]
}

/// Mails of 16 kB.
pub fn mails(rules: &RuleSet) -> Vec<Text> {
    const ENGLISH: &str = "Hello team, since this morning we cannot open the weekly report. It shows an error after the \
                           third step, and the people in our office have tried it with two browsers.\n";
    const FRENCH: &str = "Bonjour, depuis ce matin nous n’arrivons plus à ouvrir le rapport. Après la troisième étape \
                          une erreur s’affiche, même après plusieurs essais. Où était-ce réglé ?\n";
    // A phrase of the rules in every paragraph.
    let with_phrases = |paragraph: &'static str| {
        let phrases: Vec<String> = rules.keywords().iter().flatten().cloned().collect();
        phrases.into_iter().cycle().map(move |phrase| format!("{paragraph}We see: {phrase}.\n"))
    };
    let html = with_phrases(ENGLISH).map(|paragraph| format!("<p class=\"MsoNormal\"><span>{paragraph}</span></p>\n"));
    vec![
        Text::new("English mail", filled(MAIL, with_phrases(ENGLISH))),
        Text::new("French mail", filled(MAIL, with_phrases(FRENCH))),
        Text::new("English mail, with new_text", filled(MAIL, with_phrases(ENGLISH))).raw(),
        Text::new("English mail in HTML, with new_text", filled(MAIL, html)).raw(),
    ]
}

/// Pieces one after another, as many as so many bytes hold; the last is cut.
fn filled(length: usize, pieces: impl Iterator<Item = String>) -> String {
    let mut text = String::with_capacity(length + 512);
    for piece in pieces {
        text.push_str(&piece);
        if text.len() >= length {
            break;
        }
    }
    text.truncate(text.floor_char_boundary(length));
    text
}

/// A phrase whose last word is another one.
fn but_the_last(phrase: &str) -> String {
    match phrase.rsplit_once(' ') {
        Some((before, last)) => format!("{before} {last}x "),
        None => format!("{phrase}x "),
    }
}

/// A word that no other number has, with an ending that a stemmer works on.
fn different_word(number: usize) -> String {
    const ENDINGS: [&str; 6] = ["", "s", "ing", "ations", "fully", "iveness"];
    let letters: String = iter::successors(Some(number), |rest| (*rest >= 20).then_some(rest / 20))
        .map(|rest| char::from(b"bcdfghjklmnpqrstvwxz"[rest % 20]))
        .collect();
    format!("{letters}a{} ", ENDINGS[number % ENDINGS.len()])
}

/// A word whose letters change when they are folded: capitals, ligatures, wide letters, accents that stand apart.
fn non_ascii_word(draws: &mut Draws) -> String {
    const LETTERS: [&str; 16] =
        ["É", "e\u{301}", "ß", "Σ", "ς", "İ", "ﬁ", "Ｅ", "ｒ", "Ж", "ю", "ø", "Ǆ", "o\u{323}\u{302}", "ậ", "ŉ"];
    let count = *draws.one_of(&[3, 5, 7, 9]);
    (0..count).map(|_| *draws.one_of(&LETTERS)).chain([" "]).collect()
}

/// Elements within elements, then phrases.
fn nested(phrases: &[String]) -> String {
    let (opened, closed) = ("<div>".repeat(DEPTH), "</div>".repeat(DEPTH));
    let words = filled(HOSTILE - opened.len() - closed.len(), phrases.iter().cloned().cycle());
    // The end tags stand before the words: only so much of a mail is read, and both belong to that.
    format!("{opened}{closed}{words}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn texts_have_the_length_that_the_goals_name() {
        let rules = RuleSet::of_english(200);
        for (texts, length) in [(hostile(&rules), HOSTILE), (mails(&rules), MAIL)] {
            for text in texts {
                let is_full = (length - 3..=length).contains(&text.body.len());
                assert!(is_full, "{}: {} bytes", text.name, text.body.len());
            }
        }
    }

    #[test]
    fn words_that_differ_do() {
        let words: BTreeSet<String> = (0..100_000).map(different_word).collect();
        assert_eq!(words.len(), 100_000);
    }
}

//! Words as they are compared: whole words by Unicode's own boundaries (UAX #29), folded so that case, width and the
//! form of an apostrophe make no difference, and reduced to the stem of their language, so that `crashes` is `crash` and
//! `down` is not in `download`.

use caseless::Caseless as _;
use rust_stemmers::{Algorithm, Stemmer};
use std::borrow::Cow;
use std::ops::Range;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};
use unicode_segmentation::UnicodeSegmentation as _;
use whatlang::{Detector, Lang};

/// A language whose word forms are known (the Snowball stemmers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Language(usize);

/// Codes (ISO 639-1), stemmers, and what a text is told to be in.
const LANGUAGES: [(&str, Algorithm, Lang); 17] = [
    ("ar", Algorithm::Arabic, Lang::Ara),
    ("da", Algorithm::Danish, Lang::Dan),
    ("de", Algorithm::German, Lang::Deu),
    ("el", Algorithm::Greek, Lang::Ell),
    ("en", Algorithm::English, Lang::Eng),
    ("es", Algorithm::Spanish, Lang::Spa),
    ("fi", Algorithm::Finnish, Lang::Fin),
    ("fr", Algorithm::French, Lang::Fra),
    ("hu", Algorithm::Hungarian, Lang::Hun),
    ("it", Algorithm::Italian, Lang::Ita),
    ("nl", Algorithm::Dutch, Lang::Nld),
    ("no", Algorithm::Norwegian, Lang::Nob),
    ("pt", Algorithm::Portuguese, Lang::Por),
    ("ro", Algorithm::Romanian, Lang::Ron),
    ("ru", Algorithm::Russian, Lang::Rus),
    ("sv", Algorithm::Swedish, Lang::Swe),
    ("tr", Algorithm::Turkish, Lang::Tur),
];

impl Language {
    /// English.
    pub const ENGLISH: Self = Self(4);

    /// The language with this code, for example `de`.
    #[must_use]
    pub fn with_code(code: &str) -> Option<Self> {
        LANGUAGES.iter().position(|(known, ..)| *known == code).map(Self)
    }

    /// The codes of all languages, for people.
    #[must_use]
    pub fn codes() -> String {
        LANGUAGES.map(|(code, ..)| code).join(", ")
    }

    /// True if a text in `spoken` can hold words of this language. English is met everywhere, and the Scandinavian languages
    /// are too close to be told apart in a few lines.
    #[must_use]
    pub fn is_met_in(self, spoken: Spoken) -> bool {
        let Spoken(Some(spoken)) = spoken else { return true };
        let own = LANGUAGES[self.0].2;
        let close = [Lang::Swe, Lang::Dan, Lang::Nob];
        own == Lang::Eng || own == spoken || close.contains(&own) && close.contains(&spoken)
    }

    /// What reduces words of the language to their stems.
    #[must_use]
    pub fn stems(self) -> Stems {
        Stems(Stemmer::create(LANGUAGES[self.0].1))
    }
}

/// Reduces folded words of one language to their stems.
pub struct Stems(Stemmer);

/// The longest word that has a stem, in bytes. Stemmers take time by the square of a word's length, and no word of a
/// language is longer.
const LONGEST_WORD: usize = 64;

impl Stems {
    /// The stem of a folded word; a longer one than any language has is its own.
    #[must_use]
    pub fn of<'w>(&self, word: &'w str) -> Cow<'w, str> {
        if word.len() > LONGEST_WORD { Cow::Borrowed(word) } else { self.0.stem(word) }
    }
}

/// The language of a text, where that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken(Option<Lang>);

/// As much of a text as its language is told by, in characters.
const TELLING: usize = 600;

impl Spoken {
    /// It cannot be told.
    pub const UNKNOWN: Self = Self(None);

    /// The language of some texts together.
    #[must_use]
    pub fn of(texts: [&str; 2]) -> Self {
        let beginning: String = texts.into_iter().flat_map(|text| text.chars().chain([' '])).take(TELLING).collect();
        let detector = Detector::with_allowlist(LANGUAGES.map(|(_, _, lang)| lang).to_vec());
        Self(detector.detect(&beginning).filter(whatlang::Info::is_reliable).map(|found| found.lang()))
    }
}

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<'t> {
    /// The word, folded.
    pub folded: Cow<'t, str>,
    /// Where it stands in the text, in bytes.
    pub at: Range<usize>,
    /// True if a mark that ends a sentence or a part of one stands between it and the word before it.
    pub begins_clause: bool,
}

/// The words of a text, in order.
pub fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut behind = 0;
    text.unicode_word_indices().map(move |(start, word)| {
        let begins_clause = start == 0 || text[behind..start].contains(ends_clause);
        behind = start + word.len();
        Word { folded: folded(word), at: start..behind, begins_clause }
    })
}

fn ends_clause(character: char) -> bool {
    matches!(
        character,
        '.' | '!' | '?' | ',' | ';' | ':' | '(' | ')' | '\n' | '…' | '–' | '—' | '。' | '、' | '，' | '！' | '？'
    )
}

/// A word without differences of case, width and apostrophes (Unicode's default case folding over NFKC).
#[must_use]
pub fn folded(word: &str) -> Cow<'_, str> {
    if word.is_ascii() {
        let has_capitals = word.bytes().any(|byte| byte.is_ascii_uppercase());
        return if has_capitals { Cow::Owned(word.to_ascii_lowercase()) } else { Cow::Borrowed(word) };
    }
    let of_one_width = composed(word);
    let folded: String =
        of_one_width.chars().default_case_fold().map(|one| if one == '’' { '\'' } else { one }).collect();
    // Folding may leave what another form composes: `İ` becomes `i` and a dot above.
    Cow::Owned(composed(&folded).chars().filter(|character| *character != '\u{307}').collect())
}

fn composed(text: &str) -> Cow<'_, str> {
    match is_nfkc_quick(text.chars()) {
        IsNormalized::Yes => Cow::Borrowed(text),
        IsNormalized::No | IsNormalized::Maybe => Cow::Owned(text.nfkc().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stems(text: &str) -> Vec<String> {
        let stems = Language::ENGLISH.stems();
        words(text).map(|word| stems.of(&word.folded).into_owned()).collect()
    }

    #[test]
    fn words_are_whole_and_their_forms_are_one() {
        assert_eq!(stems("It crashes; CRASHED, crashing!"), ["it", "crash", "crash", "crash"]);
        assert_eq!(stems("download the markdown"), ["download", "the", "markdown"]);
        assert_eq!(stems("can’t can't"), ["can't", "can't"]);
    }

    #[test]
    fn word_that_is_longer_than_any_language_has_costs_no_more_than_its_length() {
        let word = "ya".repeat(500_000);
        assert_eq!(stems(&word), [word]);
    }

    #[test]
    fn folding_makes_one_of_cases_widths_and_ligatures() {
        for (word, same) in
            [("STRASSE", "straße"), ("ＥＲＲＯＲ", "error"), ("ﬁle", "FILE"), ("İade", "iade"), ("ΣΊΣΥΦΟΣ", "σίσυφος")]
        {
            assert_eq!(folded(word), folded(same), "{word}");
        }
    }

    #[test]
    fn words_know_where_they_stand_and_where_a_clause_begins() {
        let text = "Sorry, größer\nist es.";
        let found: Vec<(&str, bool)> = words(text).map(|word| (&text[word.at.clone()], word.begins_clause)).collect();
        assert_eq!(found, [("Sorry", true), ("größer", true), ("ist", true), ("es", false)]);
    }
}

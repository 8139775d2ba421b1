//! Rules as a user would write them: each with five phrases of one to four words.

use std::fmt::Write as _;

use shared::triage::Category;

use crate::draws::Draws;

const PHRASES: usize = 5;

/// The languages that the functions' own rules are in.
const LANGUAGES: [&str; 8] = ["en", "de", "es", "fr", "it", "nl", "pt", "sv"];

/// Rules in the making, and the same as mere keywords.
pub struct RuleSet {
    text: String,
    keywords: Vec<Vec<String>>,
}

impl RuleSet {
    /// So many rules in English.
    pub fn of_english(count: usize) -> Self {
        Self::of(count, &LANGUAGES[..1])
    }

    /// So many rules, in eight languages by turns.
    pub fn of_languages(count: usize) -> Self {
        Self::of(count, &LANGUAGES)
    }

    fn of(count: usize, languages: &[&str]) -> Self {
        let mut draws = Draws::new(1);
        // Few enough that phrases share words and beginnings, as those of people do.
        let vocabulary: Vec<String> = (0..count * 3).map(|_| draws.word()).collect();
        let mut text = "[negation]\nreach = 3\nwords = [\"not\", \"never\", \"without\"]\n".to_owned();
        let mut keywords = Vec::with_capacity(count);
        for rule in 0..count {
            let phrases: Vec<String> = (0..PHRASES)
                .map(|place| {
                    let words: Vec<&str> =
                        (0..=(rule + place) % 4).map(|_| draws.one_of(&vocabulary).as_str()).collect();
                    words.join(" ")
                })
                .collect();
            let (category, language) = (Category::ALL[rule % Category::ALL.len()], languages[rule % languages.len()]);
            // A `String` takes whatever is written to it.
            let _ = write!(
                text,
                "\n[[rules]]\nname = \"rule {rule}\"\ncategory = \"{category}\"\nlanguage = \"{language}\"\nwords = {phrases:?}\n"
            );
            keywords.push(phrases);
        }
        Self { text, keywords }
    }

    /// The rules file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The phrases, rule by rule.
    pub fn keywords(&self) -> &[Vec<String>] {
        &self.keywords
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use shared::triage::rules::Rules;

    use super::*;

    #[test]
    fn rules_can_be_read_and_have_five_phrases_of_one_to_four_words() {
        for rules in [RuleSet::of_english(200), RuleSet::of_languages(200)] {
            assert_eq!(Rules::read(rules.text()).map(|rules| rules.len()), Ok(200));
            assert!(rules.keywords().iter().all(|phrases| phrases.len() == PHRASES));
            let lengths: BTreeSet<usize> =
                rules.keywords().iter().flatten().map(|phrase| phrase.split(' ').count()).collect();
            assert_eq!(lengths, BTreeSet::from([1, 2, 3, 4]));
        }
    }
}

//! The ways to find out which rules fit a text.

use shared::{
    domain::pattern::pattern,
    triage::{
        new_text::new_text,
        rule_file::BadRules,
        rules::{Look, Rules},
    },
};

use crate::{rule_set::RuleSet, text::Text};

/// A way to find out which rules fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// That of the functions.
    Rules,
    /// For every keyword: the subject and the body put together, in lower case, `contains`.
    Recipe,
    /// The same, but put together and lower-cased once.
    LoweredOnce,
    /// The same with a regular expression for every keyword, so that it finds whole words.
    Patterns,
}

impl Contender {
    /// Every contender, that of the functions first.
    pub const ALL: [Self; 4] = [Self::Rules, Self::Recipe, Self::LoweredOnce, Self::Patterns];

    /// What it is called in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "the rules, ms",
            Self::Recipe => "lower-case and contains for each keyword, ms",
            Self::LoweredOnce => "lower-case once, ms",
            Self::Patterns => "once, regex with \\b for each keyword, ms",
        }
    }
}

/// True for a text that holds a keyword.
type Matcher = Box<dyn Fn(&str) -> bool>;

/// Rules, ready for every contender.
pub struct Ready {
    rules: Rules,
    keywords: Vec<String>,
    patterns: Vec<Matcher>,
}

impl Ready {
    /// From a rules file and its keywords.
    pub fn new(rules: &RuleSet) -> Result<Self, BadRules> {
        let keywords: Vec<String> = rules.keywords().iter().flatten().cloned().collect();
        let matcher = |keyword: &String| -> Matcher {
            let regex = pattern(&format!(r"\b{keyword}\b"));
            Box::new(move |text| regex.is_match(text))
        };
        Ok(Self { rules: Rules::read(rules.text())?, patterns: keywords.iter().map(matcher).collect(), keywords })
    }

    /// Judges a text and returns how much was found.
    pub fn judge(&self, contender: Contender, text: &Text) -> usize {
        let Text { subject, body, .. } = text;
        let lowered = || format!("{subject} {body}").to_lowercase();
        match contender {
            Contender::Rules if text.raw => self.judged(subject, &new_text(body, false).text),
            Contender::Rules => self.judged(subject, body),
            Contender::Recipe => self.keywords.iter().filter(|keyword| lowered().contains(keyword.as_str())).count(),
            Contender::LoweredOnce => {
                let lowered = lowered();
                self.keywords.iter().filter(|keyword| lowered.contains(keyword.as_str())).count()
            }
            Contender::Patterns => {
                let lowered = lowered();
                self.patterns.iter().filter(|matches| matches(&lowered)).count()
            }
        }
    }

    fn judged(&self, subject: &str, text: &str) -> usize {
        self.rules.judge(&Look { subject, text, from: "dana@acme.example", name: "Dana" }).found.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn every_contender_finds_what_stands_in_a_mail_and_nothing_in_another() {
        let rules = RuleSet::of_english(100);
        let ready = Ready::new(&rules).expect("rules");
        let other =
            Text { name: String::new(), subject: "Hello".to_owned(), body: "All is well.".to_owned(), raw: true };
        for contender in Contender::ALL {
            for mail in text::mails(&rules) {
                assert!(ready.judge(contender, &mail) > 0, "{contender:?}, {}", mail.name);
            }
            assert_eq!(ready.judge(contender, &other), 0, "{contender:?}");
        }
    }
}

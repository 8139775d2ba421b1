//! Rules, ready to judge mails: every phrase of every rule is looked for in one pass over the words of a mail, whose
//! length alone decides how long that takes.

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::rule_file::{BadRules, CategoryFacts, Example, Problem, Rule, RuleFile, STANDARD, Scope};
use super::words::{Language, Spoken, Stems, Word, words};
use super::{Category, Priority};
use crate::domain::address::EmailAddress;
use crate::domain::mail_class::MailClass;
use crate::plain_text::{MOST_BYTES, cut};

/// How often a phrase is looked at in one place of a mail. Once would do but for phrases that are taken back.
const MOST_HITS: usize = 64;

/// What is judged of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look<'a> {
    /// The subject, without its prefixes.
    pub subject: &'a str,
    /// What the mail newly says.
    pub text: &'a str,
    /// The sender's address, in lower case.
    pub from: &'a str,
    /// The sender's name.
    pub name: &'a str,
}

/// A phrase that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The rule.
    pub rule: String,
    /// The phrase, as the rules file has it.
    pub phrase: String,
    /// Where.
    pub scope: Scope,
    /// From which byte of it to which.
    pub at: Range<usize>,
}

impl Found {
    /// As it stands in a decision.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "rule": self.rule, "phrase": self.phrase, "in": self.scope.as_str(), "at": [self.at.start, self.at.end] })
    }
}

/// What the rules say of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What it is about.
    pub category: Category,
    /// How urgent it is, before anything is known of the sender.
    pub priority: Priority,
    /// Whose it is.
    pub desk: String,
    /// True if people are told at once.
    pub alert: bool,
    /// The score of the category; 0 if no rule fits.
    pub score: u32,
    /// The rule that gave most to it; none if no rule fits.
    pub rule: Option<String>,
    /// What was found by the rules of the category.
    pub found: Vec<Found>,
    /// The scores of the other categories that rules fit for.
    pub others: BTreeMap<Category, u32>,
    /// The classes of automatic mail that rules which fit open tickets for.
    pub opens_for: Vec<MailClass>,
}

/// Rules, ready to judge mails.
pub struct Rules {
    file: RuleFile,
    patterns: Vec<Pattern>,
    languages: Vec<InLanguage>,
}

/// A phrase in one language, and the rules that look for it.
struct Pattern {
    words: Vec<(String, bool)>,
    uses: Vec<Use>,
}

/// What a phrase is to a rule, named by its number.
struct Use {
    rule: usize,
    role: Role,
}

/// What a phrase is to a rule.
#[derive(Clone, Copy)]
enum Role {
    /// It makes the rule fit: the number of the phrase.
    Word(usize),
    /// It takes back what it overlaps.
    Unless,
    /// It switches the rule off.
    NotWith,
}

/// The phrases of one language.
struct InLanguage {
    language: Language,
    stems: Stems,
    automaton: AhoCorasick,
    /// By the automaton's number: the number of the pattern.
    patterns: Vec<usize>,
}

/// A place where a pattern was found.
#[derive(Clone)]
struct Hit {
    words: Range<usize>,
    at: Range<usize>,
    negated: bool,
}

/// Where patterns were found, by the number of the pattern. Of thousands a mail holds a few.
type Hits = BTreeMap<(usize, Scope), Vec<Hit>>;

/// What of a rule's phrases was found.
#[derive(Default)]
struct OfRule<'h> {
    words: BTreeMap<(usize, Scope), &'h [Hit]>,
    unless: Vec<(Scope, &'h Range<usize>)>,
    is_off: bool,
}

impl<'h> OfRule<'h> {
    /// The first place in a scope where a phrase of a rule stands and is not taken back.
    fn standing(&self, rule: &Rule, phrase: usize, scope: Scope) -> Option<&'h Hit> {
        let taken_back = |hit: &Hit| {
            let mut unless = self.unless.iter().filter(|(where_to, _)| *where_to == scope);
            unless.any(|(_, words)| words.start < hit.words.end && hit.words.start < words.end)
        };
        let hits: &'h [Hit] = self.words.get(&(phrase, scope))?;
        hits.iter().find(|hit| (rule.also_negated || !hit.negated) && !taken_back(hit))
    }
}

/// The phrases of one language while they are gathered.
#[derive(Default)]
struct Gathered {
    texts: Vec<String>,
    patterns: Vec<usize>,
}

impl Rules {
    /// The rules of a file, whose examples are as they say: what is asked of a file before it is put in place.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or every example that is not as it says.
    pub fn read(text: &str) -> Result<Self, BadRules> {
        let rules = Self::load(text)?;
        if rules.is_empty() {
            let what = "there is none, so that every mail would be `general` and nobody told of an incident; \
                        begin with a copy of shared/src/triage/rules.toml";
            return Err(BadRules(vec![Problem { line: 1, field: "rules".to_owned(), what: what.to_owned() }]));
        }
        let problems = rules.examples_gone_wrong();
        if problems.is_empty() { Ok(rules) } else { Err(BadRules(problems)) }
    }

    /// The rules of a file, whatever its examples say: a function does not try them whenever it starts.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn load(text: &str) -> Result<Self, BadRules> {
        let of_file = |what| BadRules(vec![Problem { line: 1, field: "rules".to_owned(), what }]);
        Self::of(RuleFile::read(text)?).map_err(of_file)
    }

    /// The rules that the functions are built with.
    ///
    /// # Errors
    /// None that can be met: a test reads them.
    pub fn standard() -> Result<Self, BadRules> {
        Self::load(STANDARD)
    }

    fn of(file: RuleFile) -> Result<Self, String> {
        let (mut patterns, mut known): (Vec<Pattern>, HashMap<_, usize>) = (Vec::new(), HashMap::new());
        let mut gathered: BTreeMap<Language, Gathered> = BTreeMap::new();
        for (number, rule) in file.rules.iter().enumerate() {
            let stems = rule.language.stems();
            let in_language = gathered.entry(rule.language).or_default();
            let words = rule.words.iter().enumerate().map(|(phrase, text)| (text, Role::Word(phrase)));
            let unless = rule.unless.iter().map(|text| (text, Role::Unless));
            let not_with = rule.not_with.iter().map(|text| (text, Role::NotWith));
            for (phrase, role) in words.chain(unless).chain(not_with) {
                let as_compared = |(word, exact): &(String, bool)| match exact {
                    true => (word.clone(), true),
                    false => (stems.of(word).into_owned(), false),
                };
                let key: (Language, Vec<_>) = (rule.language, phrase.words.iter().map(as_compared).collect());
                let pattern = *known.entry(key).or_insert_with(|| {
                    let as_stems = phrase.words.iter().map(|(word, _)| stems.of(word));
                    in_language.texts.push(as_stems.fold(" ".to_owned(), |text, stem| text + &stem + " "));
                    in_language.patterns.push(patterns.len());
                    patterns.push(Pattern { words: phrase.words.clone(), uses: Vec::new() });
                    patterns.len() - 1
                });
                // Another form of a word that the rule has already.
                let again =
                    |one: &Use| one.rule == number && matches!((one.role, role), (Role::Word(_), Role::Word(_)));
                let uses = &mut patterns[pattern].uses;
                if !uses.iter().any(again) {
                    uses.push(Use { rule: number, role });
                }
            }
        }
        let languages = gathered
            .into_iter()
            .map(|(language, Gathered { texts, patterns })| {
                let automaton = AhoCorasickBuilder::new()
                    .match_kind(MatchKind::Standard)
                    .kind(Some(aho_corasick::AhoCorasickKind::NoncontiguousNFA))
                    .build(&texts);
                let automaton = automaton.map_err(|error| format!("there are too many phrases: {error}"))?;
                Ok(InLanguage { language, stems: language.stems(), automaton, patterns })
            })
            .collect::<Result<_, String>>()?;
        Ok(Self { file, patterns, languages })
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.file.rules.len()
    }

    /// How many examples they hold.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.file.rules.iter().map(|rule| rule.fits.len() + rule.not.len()).sum()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file.rules.is_empty()
    }

    /// What follows from a category.
    #[must_use]
    pub fn facts_of(&self, category: Category) -> &CategoryFacts {
        // Every category is there: reading a file begins with all of them.
        &self.file.categories[&category]
    }

    /// Where a desk's alerts go; none for `AlertWebhookUrl`.
    #[must_use]
    pub fn alerts_of(&self, desk: &str) -> Option<&str> {
        self.file.alerts.get(desk).map(String::as_str)
    }

    /// How many levels a priority is raised for a sender on a priority domain, and for one with an open deal.
    #[must_use]
    pub fn boosts(&self) -> (u8, u8) {
        (self.file.priority_domains, self.file.open_deal)
    }

    /// True if an address is on a priority domain of the file's.
    #[must_use]
    pub fn comes_first(&self, address: &EmailAddress) -> bool {
        self.file.domains.iter().any(|domain| is_from(address.as_str(), domain))
    }

    /// What the rules say of a mail, of whose text no more than [`MOST_BYTES`] is looked at: the category with the
    /// highest score, of equal ones the one whose rule stands first.
    #[must_use]
    pub fn judge(&self, mail: &Look<'_>) -> Judgement {
        let spoken = Spoken::of([mail.subject, mail.text]);
        let hits = self.hits(mail, spoken);
        let fitting = self.fitting(&hits, mail);
        let mut scores: Vec<(Category, u32)> = Vec::new();
        for Fit { rule: Rule { category, .. }, .. } in &fitting {
            if scores.iter().all(|(known, _)| known != category) {
                let of_category = fitting.iter().filter(|fit| fit.rule.category == *category);
                scores.push((*category, sum_of_places(of_category.flat_map(|fit| &fit.places))));
            }
        }
        // Of equal ones the first: that is the order of the rules.
        let best = scores.iter().rev().max_by_key(|(_, score)| *score).copied();
        let (category, score) = best.unwrap_or((Category::General, 0));
        let facts = self.facts_of(category);
        let of_category = || fitting.iter().filter(|fit| fit.rule.category == category);
        let strongest = fitting
            .iter()
            .rev()
            .filter(|fit| fit.rule.category == category)
            .max_by_key(|fit| sum_of_places(&fit.places));
        let mut opens_for: Vec<MailClass> = Vec::new();
        for class in fitting.iter().flat_map(|fit| &fit.rule.opens_for) {
            if !opens_for.contains(class) {
                opens_for.push(*class);
            }
        }
        Judgement {
            category,
            priority: of_category()
                .map(|fit| fit.rule.priority.unwrap_or(facts.priority))
                .max()
                .unwrap_or(facts.priority),
            desk: facts.desk.clone(),
            alert: facts.alert,
            score,
            rule: strongest.map(|fit| fit.rule.name.clone()),
            found: of_category().flat_map(|fit| &fit.places).filter_map(|place| place.found.clone()).collect(),
            others: scores.into_iter().filter(|(other, _)| *other != category).collect(),
            opens_for,
        }
    }

    fn hits(&self, mail: &Look<'_>, spoken: Spoken) -> Hits {
        let (mailbox, domain) = mail.from.rsplit_once('@').unwrap_or((mail.from, ""));
        let sender = format!("{} {mailbox}", mail.name);
        let mut hits = Hits::default();
        for (scope, text) in [
            (Scope::Subject, mail.subject),
            (Scope::Text, mail.text),
            (Scope::Sender, sender.as_str()),
            (Scope::Domain, domain),
        ] {
            let words: Vec<Word<'_>> = words(cut(text, MOST_BYTES)).collect();
            for language in self.languages.iter().filter(|language| language.language.is_met_in(spoken)) {
                self.hits_in(language, scope, &words, &mut hits);
            }
        }
        hits
    }

    fn hits_in(&self, language: &InLanguage, scope: Scope, words: &[Word<'_>], hits: &mut Hits) {
        let (mut text, mut starts) = (String::from(" "), Vec::with_capacity(words.len()));
        // Texts repeat their words, and a look is cheaper than a stemmer.
        let mut stems: HashMap<&str, Cow<'_, str>> = HashMap::new();
        for word in words {
            starts.push(text.len() - 1);
            text.push_str(stems.entry(&word.folded).or_insert_with(|| language.stems.of(&word.folded)));
            text.push(' ');
        }
        for found in language.automaton.find_overlapping_iter(&text) {
            let number = language.patterns[found.pattern().as_usize()];
            let pattern = &self.patterns[number];
            let of_pattern = hits.entry((number, scope)).or_default();
            if of_pattern.len() == MOST_HITS {
                continue;
            }
            let Ok(first) = starts.binary_search(&found.start()) else { continue };
            let range = first..first + pattern.words.len();
            let as_it_must_be = |(word, (form, exact)): (&Word<'_>, &(String, bool))| !exact || word.folded == *form;
            if words[range.clone()].iter().zip(&pattern.words).all(as_it_must_be) {
                let at = words[range.start].at.start..words[range.end - 1].at.end;
                of_pattern.push(Hit { negated: self.is_negated(words, first), words: range, at });
            }
        }
    }

    /// True if a word that takes back what follows stands a little before, within the same part of the sentence.
    fn is_negated(&self, words: &[Word<'_>], first: usize) -> bool {
        let negation = &self.file.negation;
        let reached = words[..first].iter().rev().take(negation.reach);
        let clause = std::iter::once(&words[first]).chain(reached.clone()).map(|word| word.begins_clause);
        reached.zip(clause).take_while(|(_, begins)| !begins).any(|(word, _)| negation.words.contains(&*word.folded))
    }

    /// The rules that fit a mail, in order.
    fn fitting(&self, hits: &Hits, mail: &Look<'_>) -> Vec<Fit<'_>> {
        let mut found: BTreeMap<usize, OfRule<'_>> = BTreeMap::new();
        for ((pattern, scope), hits) in hits {
            for Use { rule, role } in &self.patterns[*pattern].uses {
                let of_rule = found.entry(*rule).or_default();
                match role {
                    Role::Word(phrase) => drop(of_rule.words.insert((*phrase, *scope), hits.as_slice())),
                    Role::Unless => of_rule.unless.extend(hits.iter().map(|hit| (*scope, &hit.words))),
                    Role::NotWith => of_rule.is_off |= hits.iter().any(|hit| !hit.negated),
                }
            }
        }
        for (number, rule) in self.file.rules.iter().enumerate() {
            if rule.words.is_empty() {
                found.entry(number).or_default();
            }
        }
        found.into_iter().filter_map(|(number, of_rule)| self.fit(&self.file.rules[number], &of_rule, mail)).collect()
    }

    /// A rule as far as it fits a mail; none if it does not.
    fn fit<'r>(&self, rule: &'r Rule, found: &OfRule<'_>, mail: &Look<'_>) -> Option<Fit<'r>> {
        if found.is_off || !rule.from.is_empty() && !rule.from.iter().any(|sender| is_from(mail.from, sender)) {
            return None;
        }
        if rule.words.is_empty() {
            return Some(Fit { rule, places: vec![Place { points: rule.weight, found: None }] });
        }
        let mut phrases: Vec<usize> = found.words.keys().map(|(phrase, _)| *phrase).collect();
        phrases.dedup();
        let mut places = Vec::new();
        for phrase in phrases {
            let scopes = rule.scopes.iter();
            let best = scopes
                .filter_map(|scope| Some((*scope, found.standing(rule, phrase, *scope)?)))
                .max_by_key(|(scope, _)| (self.weight_of(*scope), std::cmp::Reverse(*scope)));
            if let Some((scope, hit)) = best {
                let text = rule.words[phrase].text.clone();
                let found = Found { rule: rule.name.clone(), phrase: text, scope, at: hit.at.clone() };
                places.push(Place { points: rule.weight * self.weight_of(scope), found: Some(found) });
            }
        }
        (!places.is_empty()).then_some(Fit { rule, places })
    }

    fn weight_of(&self, scope: Scope) -> u32 {
        if scope == Scope::Subject { self.file.subject_weight } else { 1 }
    }

    fn examples_gone_wrong(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for rule in &self.file.rules {
            let fits = |example: &Example| {
                let mail = look_of(example);
                let fitting = self.fitting(&self.hits(&mail, Spoken::UNKNOWN), &mail);
                fitting.iter().any(|fit| std::ptr::eq(fit.rule, rule))
            };
            let mut wrong = |example: &Example, list: &str, what: &str| {
                let field = format!("`{list}` of the rule `{}`", rule.name);
                let what = format!("the rule {what} this example: {}", example.text.trim());
                problems.push(Problem { line: example.line, field, what });
            };
            rule.fits
                .iter()
                .filter(|example| !fits(example))
                .for_each(|example| wrong(example, "fits", "does not fit"));
            rule.not.iter().filter(|example| fits(example)).for_each(|example| wrong(example, "not", "fits"));
        }
        problems
    }
}

/// A rule that fits a mail.
struct Fit<'r> {
    rule: &'r Rule,
    places: Vec<Place>,
}

/// What speaks for a rule.
struct Place {
    points: u32,
    /// The phrase; none if the sender alone does.
    found: Option<Found>,
}

/// What places add up to. Of those that overlap, as `is down` and `down again` do, the one that gives most counts alone.
fn sum_of_places<'p>(places: impl IntoIterator<Item = &'p Place>) -> u32 {
    let mut places: Vec<&Place> = places.into_iter().collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.points));
    let mut counted: BTreeMap<(Scope, usize), usize> = BTreeMap::new();
    let mut sum = 0_u32;
    for place in places {
        if let Some(Found { scope, at, .. }) = &place.found {
            // Those counted lie apart, so only the last one that begins before this one ends can overlap it.
            let before = counted.range((*scope, 0)..(*scope, at.end)).next_back();
            if before.is_some_and(|(_, end)| *end > at.start) {
                continue;
            }
            counted.insert((*scope, at.start), at.end);
        }
        sum = sum.saturating_add(place.points);
    }
    sum
}

/// True if an address is this one, or on this domain or one below it.
fn is_from(address: &str, sender: &str) -> bool {
    let domain = address.rsplit('@').next().unwrap_or_default();
    let is_below = || domain.strip_suffix(sender).is_some_and(|below| below.is_empty() || below.ends_with('.'));
    if sender.contains('@') { address == sender } else { is_below() }
}

/// An example as a mail: lines `From:` and `Subject:` at its beginning, then the text.
fn look_of(example: &Example) -> Look<'_> {
    let (mut mail, mut rest) = (Look::default(), example.text.trim_start());
    loop {
        let (line, behind) = rest.split_once('\n').unwrap_or((rest, ""));
        if let Some(subject) = line.strip_prefix("Subject:") {
            mail.subject = subject.trim();
        } else if let Some(from) = line.strip_prefix("From:") {
            mail.from = from.trim();
        } else {
            mail.text = rest;
            return mail;
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests;

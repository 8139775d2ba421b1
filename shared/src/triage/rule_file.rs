//! A rules file: TOML that people write. It is read whole or not at all, and each thing that is wrong with it is told
//! with its line and its field.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use toml::Spanned;

use super::words::{Language, words};
use super::{Category, Priority};
use crate::domain::mail_class::MailClass;

/// The most rules of a file.
pub const MOST_RULES: usize = 500;

/// The most words of a phrase.
pub const MOST_WORDS: usize = 12;

/// The most phrases that one text with choices stands for.
const MOST_VARIANTS: usize = 1_000;

/// The highest weight of a rule.
const HIGHEST_WEIGHT: u32 = 100;

/// The rules that the functions are built with.
pub const STANDARD: &str = include_str!("rules.toml");

/// Something in a rules file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1.
    pub line: usize,
    /// The field, for example `rules.words` of the rule `outage`; empty where the file cannot be read at all.
    pub field: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(formatter, "line {}: {}", self.line, self.what),
            field => write!(formatter, "line {}, {field}: {}", self.line, self.what),
        }
    }
}

/// A rules file with problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BadRules(pub Vec<Problem>);

/// Where a phrase is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The subject, without its prefixes.
    Subject,
    /// What the mail newly says.
    Text,
    /// The sender's name and the part of the address before the `@`.
    Sender,
    /// The sender's domain.
    Domain,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Subject, Self::Text, Self::Sender, Self::Domain];

    /// The scope as a rules file names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Text => "text",
            Self::Sender => "sender",
            Self::Domain => "domain",
        }
    }
}

/// A rules file as it was read.
#[derive(Debug, Clone)]
pub struct RuleFile {
    /// How many times as much a phrase counts in the subject.
    pub subject_weight: u32,
    /// Words that take back what follows them, and how many words further they reach.
    pub negation: Negation,
    /// How many levels a priority is raised for a sender on a priority domain.
    pub priority_domains: u8,
    /// The same for a customer with an open deal.
    pub open_deal: u8,
    /// Priority domains beside those of the parameter `PriorityDomains`, with those below them.
    pub domains: Vec<String>,
    /// What follows from a category.
    pub categories: BTreeMap<Category, CategoryFacts>,
    /// Where a desk's alerts go, where that is not `AlertWebhookUrl`.
    pub alerts: BTreeMap<String, String>,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// What follows from a category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategoryFacts {
    /// Whose tickets these are.
    pub desk: String,
    /// The priority, where no rule says another.
    pub priority: Priority,
    /// True if people are told at once.
    pub alert: bool,
}

/// Words that take back what follows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Negation {
    /// The words, folded.
    pub words: BTreeSet<String>,
    /// How many words a negation may stand before a phrase.
    pub reach: usize,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What a mail that it fits is about.
    pub category: Category,
    /// How urgent such a mail is; none for the category's priority.
    pub priority: Option<Priority>,
    /// What each different phrase that is found adds to the score.
    pub weight: u32,
    /// The language of its words.
    pub language: Language,
    /// Words and phrases, any of which makes it fit.
    pub words: Vec<Phrase>,
    /// Where these are looked for.
    pub scopes: Vec<Scope>,
    /// True if they also count where they are negated: a missing invoice is about money all the same.
    pub also_negated: bool,
    /// Phrases that take back what they overlap.
    pub unless: Vec<Phrase>,
    /// Phrases that switch the rule off wherever they stand.
    pub not_with: Vec<Phrase>,
    /// Addresses and domains, one of which the sender must have; empty for any.
    pub from: Vec<String>,
    /// Classes of automatic mail that the rule opens tickets for.
    pub opens_for: Vec<MailClass>,
    /// Examples that it must fit.
    pub fits: Vec<Example>,
    /// Examples that it must not fit.
    pub not: Vec<Example>,
}

/// Words in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// As it stands in the file.
    pub text: String,
    /// Its words, folded, each with whether it must have this very form.
    pub words: Vec<(String, bool)>,
}

/// An example of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// As it stands in the file: lines `From:` and `Subject:` where they matter, then the text.
    pub text: String,
    /// Its line.
    pub line: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    subject_weight: Option<Spanned<u32>>,
    #[serde(default)]
    negation: Option<NegationTable>,
    #[serde(default)]
    boosts: Boosts,
    #[serde(default)]
    categories: BTreeMap<Spanned<String>, CategoryTable>,
    #[serde(default)]
    desks: BTreeMap<Spanned<String>, DeskTable>,
    #[serde(default)]
    rules: Vec<Spanned<RuleTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NegationTable {
    words: Spanned<Vec<String>>,
    reach: Spanned<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Boosts {
    #[serde(default)]
    priority_domains: Option<Spanned<u8>>,
    #[serde(default)]
    open_deal: Option<Spanned<u8>>,
    #[serde(default)]
    domains: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CategoryTable {
    #[serde(default)]
    desk: Option<Spanned<String>>,
    #[serde(default)]
    priority: Option<Spanned<String>>,
    #[serde(default)]
    alert: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeskTable {
    alerts: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    name: Spanned<String>,
    category: Spanned<String>,
    #[serde(default)]
    priority: Option<Spanned<String>>,
    #[serde(default)]
    weight: Option<Spanned<u32>>,
    #[serde(default)]
    language: Option<Spanned<String>>,
    #[serde(default)]
    words: Vec<Spanned<String>>,
    #[serde(default, rename = "in")]
    scopes: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    also_negated: bool,
    #[serde(default)]
    unless: Vec<Spanned<String>>,
    #[serde(default)]
    not_with: Vec<Spanned<String>>,
    #[serde(default)]
    from: Vec<Spanned<String>>,
    #[serde(default)]
    opens_for: Vec<Spanned<String>>,
    #[serde(default)]
    fits: Vec<Spanned<String>>,
    #[serde(default)]
    not: Vec<Spanned<String>>,
}

/// What follows from a category where the file does not say.
fn standard_facts(category: Category) -> CategoryFacts {
    let (desk, priority) = match category {
        Category::Incidents => ("on-call", Priority::High),
        Category::Bugs => ("engineering", Priority::Medium),
        Category::Billing => ("billing", Priority::Medium),
        Category::FeatureRequests => ("product", Priority::Low),
        Category::ChurnRisk => ("retention", Priority::High),
        Category::General => ("support", Priority::Low),
    };
    CategoryFacts { desk: desk.to_owned(), priority, alert: category == Category::Incidents }
}

/// The classes of automatic mail that a rule may open tickets for. An out-of-office, an auto-reply, a bounce and our own
/// mail never open one.
const OPENING: [(&str, MailClass); 2] = [("list", MailClass::List), ("notification", MailClass::Notification)];

impl RuleFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(text: &str) -> Result<Self, BadRules> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(text, span.start));
            BadRules(vec![Problem { line, field: String::new(), what: without_values(error.message()) }])
        })?;
        let mut reading = Reading { text, problems: Vec::new() };
        let read = reading.file(file);
        reading.problems.sort_by_key(|problem| problem.line);
        if reading.problems.is_empty() { Ok(read) } else { Err(BadRules(reading.problems)) }
    }
}

/// A message without the texts that the file holds: an address for alerts that stands in the wrong place is a secret too.
fn without_values(message: &str) -> String {
    match message.split_once("string \"") {
        Some((before, behind)) => {
            let behind = behind.rsplit_once('"').map_or("", |(_, behind)| behind);
            format!("{before}a text{behind}")
        }
        None => message.to_owned(),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// A file on its way from text to rules, and what was found wrong with it.
struct Reading<'t> {
    text: &'t str,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn wrong(&mut self, at: &Range<usize>, field: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem { line: line_at(self.text, at.start), field: field.into(), what: what.into() });
    }

    fn file(&mut self, file: File) -> RuleFile {
        let most_levels = 2;
        let subject_weight = file.subject_weight.map_or(2, |weight| self.within(&weight, 1..=10, "subject_weight"));
        let mut boost = |levels: Option<Spanned<u8>>, field: &str| {
            levels.map_or(1, |levels| self.within(&levels, 0..=most_levels, field))
        };
        let priority_domains = boost(file.boosts.priority_domains, "boosts.priority_domains");
        let open_deal = boost(file.boosts.open_deal, "boosts.open_deal");
        let domains = self.senders(file.boosts.domains, "boosts.domains");
        let negation = file.negation.map_or_else(Negation::default, |table| self.negation(table));
        let categories = self.categories(file.categories);
        let alerts = self.alerts(file.desks, &categories);
        let mut rules = Vec::new();
        let mut names = BTreeSet::new();
        for table in file.rules {
            let at = table.span();
            if rules.len() == MOST_RULES {
                self.wrong(&at, "rules", format!("there are more than {MOST_RULES} rules; join some of them"));
                break;
            }
            let table = table.into_inner();
            if !names.insert(table.name.get_ref().trim().to_owned()) {
                let what = format!("`{}` names two rules; give each a name of its own", table.name.get_ref());
                self.wrong(&table.name.span(), "rules.name", what);
            }
            rules.extend(self.rule(table, &at));
        }
        RuleFile { subject_weight, negation, priority_domains, open_deal, domains, categories, alerts, rules }
    }

    fn within<T: Copy + PartialOrd + fmt::Display>(
        &mut self,
        value: &Spanned<T>,
        range: std::ops::RangeInclusive<T>,
        field: &str,
    ) -> T {
        if !range.contains(value.get_ref()) {
            let what = format!("it is {}, and must lie between {} and {}", value.get_ref(), range.start(), range.end());
            self.wrong(&value.span(), field, what);
        }
        *value.get_ref()
    }

    fn negation(&mut self, table: NegationTable) -> Negation {
        let reach = self.within(&table.reach, 0..=5, "negation.reach");
        let at = table.words.span();
        let mut found = BTreeSet::new();
        for word in table.words.into_inner() {
            match words(&word).map(|word| word.folded.into_owned()).collect::<Vec<_>>().as_slice() {
                [one] => drop(found.insert(one.clone())),
                _ => self.wrong(&at, "negation.words", format!("`{word}` is not one word")),
            }
        }
        Negation { words: found, reach }
    }

    fn categories(&mut self, tables: BTreeMap<Spanned<String>, CategoryTable>) -> BTreeMap<Category, CategoryFacts> {
        let mut categories: BTreeMap<_, _> =
            Category::ALL.into_iter().map(|category| (category, standard_facts(category))).collect();
        for (name, table) in tables {
            let Some(category) = Category::named(name.get_ref()) else {
                let what = format!("`{}` is no category; they are {}", name.get_ref(), categories_in_words());
                self.wrong(&name.span(), "categories", what);
                continue;
            };
            let mut facts = standard_facts(category);
            if let Some(desk) = table.desk {
                self.check_desk(&desk, &format!("categories.{category}.desk"));
                desk.get_ref().trim().clone_into(&mut facts.desk);
            }
            if let Some(priority) = table.priority {
                facts.priority = self.priority(&priority, &format!("categories.{category}.priority"));
            }
            facts.alert = table.alert.unwrap_or(facts.alert);
            categories.insert(category, facts);
        }
        categories
    }

    fn check_desk(&mut self, desk: &Spanned<String>, field: &str) {
        let name = desk.get_ref().trim();
        if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
            self.wrong(&desk.span(), field, "a desk is a name of 1 to 100 characters on one line");
        }
    }

    fn alerts(
        &mut self,
        tables: BTreeMap<Spanned<String>, DeskTable>,
        categories: &BTreeMap<Category, CategoryFacts>,
    ) -> BTreeMap<String, String> {
        let mut alerts = BTreeMap::new();
        for (name, table) in tables {
            let (desk, field) = (name.get_ref().trim().to_owned(), format!("desks.{}", name.get_ref()));
            if categories.values().all(|facts| facts.desk != desk) {
                let what = "no category has this desk; name it in `[categories.…]`, or remove it";
                self.wrong(&name.span(), &field, what);
            }
            if let Err(problem) = crate::configuration::parse_address(table.alerts.get_ref().trim()) {
                self.wrong(&table.alerts.span(), format!("{field}.alerts"), problem.to_string());
            }
            alerts.insert(desk, table.alerts.into_inner().trim().to_owned());
        }
        alerts
    }

    fn priority(&mut self, name: &Spanned<String>, field: &str) -> Priority {
        Priority::named(name.get_ref()).unwrap_or_else(|| {
            self.wrong(
                &name.span(),
                field,
                format!("`{}` is no priority; they are high, medium and low", name.get_ref()),
            );
            Priority::Low
        })
    }

    fn rule(&mut self, table: RuleTable, at: &Range<usize>) -> Option<Rule> {
        let name = table.name.get_ref().trim().to_owned();
        let field = |field: &str| format!("`{field}` of the rule `{name}`");
        if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
            self.wrong(&table.name.span(), "rules.name", "a rule needs a name of 1 to 60 characters on one line");
        }
        let category = Category::named(table.category.get_ref());
        if category.is_none() {
            let what = format!("`{}` is no category; they are {}", table.category.get_ref(), categories_in_words());
            self.wrong(&table.category.span(), field("category"), what);
        }
        let priority = table.priority.map(|priority| self.priority(&priority, &field("priority")));
        let weight = table.weight.map_or(1, |weight| self.within(&weight, 1..=HIGHEST_WEIGHT, &field("weight")));
        let language = match table.language {
            None => Language::ENGLISH,
            Some(code) => Language::with_code(code.get_ref()).unwrap_or_else(|| {
                let what =
                    format!("the forms of words in `{}` are not known; {} are", code.get_ref(), Language::codes());
                self.wrong(&code.span(), field("language"), what);
                Language::ENGLISH
            }),
        };
        let scopes = match table.scopes {
            None => vec![Scope::Subject, Scope::Text],
            Some(named) => self.among(named, &field("in"), Scope::ALL.map(|scope| (scope.as_str(), scope))),
        };
        if table.words.is_empty() && table.from.is_empty() {
            self.wrong(at, field("words"), "a rule needs `words`, or senders in `from`");
        }
        Some(Rule {
            words: self.phrases(table.words, &field("words")),
            also_negated: table.also_negated,
            unless: self.phrases(table.unless, &field("unless")),
            not_with: self.phrases(table.not_with, &field("not_with")),
            from: self.senders(table.from, &field("from")),
            opens_for: self.among(table.opens_for, &field("opens_for"), OPENING),
            fits: self.examples(table.fits, &field("fits")),
            not: self.examples(table.not, &field("not")),
            category: category?,
            name,
            priority,
            weight,
            language,
            scopes,
        })
    }

    fn among<T: Copy, const N: usize>(
        &mut self,
        names: Vec<Spanned<String>>,
        field: &str,
        known: [(&'static str, T); N],
    ) -> Vec<T> {
        let mut found = Vec::new();
        for name in names {
            match known.iter().find(|(known, _)| known == name.get_ref()) {
                Some((_, one)) => found.push(*one),
                None => self.wrong(
                    &name.span(),
                    field,
                    format!("`{}` is none of {}", name.get_ref(), known.map(|(known, _)| known).join(", ")),
                ),
            }
        }
        found
    }

    fn phrases(&mut self, texts: Vec<Spanned<String>>, field: &str) -> Vec<Phrase> {
        let mut phrases = Vec::new();
        for text in texts {
            let variants = variants(text.get_ref()).unwrap_or_else(|what| {
                self.wrong(&text.span(), field, format!("`{}` {what}", text.get_ref()));
                Vec::new()
            });
            for variant in variants {
                let phrase = phrase(&variant);
                match phrase.words.len() {
                    0 => self.wrong(&text.span(), field, format!("`{variant}` holds no word")),
                    count if count > MOST_WORDS => {
                        let what = format!("`{variant}` has {count} words; {MOST_WORDS} is the most");
                        self.wrong(&text.span(), field, what);
                    }
                    _ => phrases.push(phrase),
                }
            }
        }
        phrases
    }

    fn senders(&mut self, texts: Vec<Spanned<String>>, field: &str) -> Vec<String> {
        let mut senders = Vec::new();
        for text in texts {
            let sender = text.get_ref().trim().to_lowercase();
            let domain = sender.rsplit('@').next().unwrap_or_default();
            if domain.is_empty() || !domain.contains('.') || sender.contains(char::is_whitespace) {
                let what = format!("`{sender}` is neither an address nor a domain such as status.example.com");
                self.wrong(&text.span(), field, what);
            }
            senders.push(sender);
        }
        senders
    }

    fn examples(&mut self, texts: Vec<Spanned<String>>, field: &str) -> Vec<Example> {
        let mut examples = Vec::new();
        for text in texts {
            if text.get_ref().trim().is_empty() {
                self.wrong(&text.span(), field, "an example is a text, and this one is empty");
            }
            let line = line_at(self.text, text.span().start);
            examples.push(Example { text: text.into_inner(), line });
        }
        examples
    }
}

fn categories_in_words() -> String {
    Category::ALL.map(Category::as_str).join(", ")
}

/// Every phrase that a text with choices such as `(cancel|end) our (contract|plan)` stands for.
fn variants(text: &str) -> Result<Vec<String>, String> {
    let (mut variants, mut rest) = (vec![String::new()], text);
    while let Some((before, after)) = rest.split_once('(') {
        let (choices, behind) = after.split_once(')').ok_or("has a `(` without its `)`")?;
        if choices.contains('(') || before.contains(')') {
            return Err("has choices within choices, or a `)` too many".to_owned());
        }
        let grown =
            variants.iter().flat_map(|one| choices.split('|').map(move |choice| format!("{one}{before}{choice}")));
        variants = grown.take(MOST_VARIANTS + 1).collect();
        if variants.len() > MOST_VARIANTS {
            return Err(format!("stands for more than {MOST_VARIANTS} phrases; make two of it"));
        }
        rest = behind;
    }
    if rest.contains([')', '|']) {
        return Err("has a `)` or a `|` outside of choices".to_owned());
    }
    for variant in &mut variants {
        variant.push_str(rest);
    }
    Ok(variants)
}

/// The words of a phrase; one that stands behind `=` must have this very form.
fn phrase(text: &str) -> Phrase {
    let words = words(text)
        .map(|word| {
            let exact = text[..word.at.start].ends_with('=');
            (word.folded.into_owned(), exact)
        })
        .collect();
    Phrase { text: text.trim().to_owned(), words }
}

#[cfg(test)]
mod tests;

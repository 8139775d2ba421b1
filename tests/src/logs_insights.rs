//! A stand-in for CloudWatch Logs Insights: runs the queries of the docs over log lines.
//!
//! It knows exactly the part of the language that those queries and the dashboard use (CloudWatch Logs user guide, "CloudWatch
//! Logs Insights language query syntax") and refuses everything else, so that no query passes here on a guess: `fields`,
//! `display`, `filter`, `stats`, `sort`, `limit`; comparisons, `like` with a text, `in`, `ispresent`, `and`, `or`, `not`;
//! `count`, `sum`, `avg`, `min`, `max`, `pct`; `by` fields and `bin`. Comments begin with `#`.

use crate::local_engine::LogLine;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// How many rows are answered where a query does not say (user guide, "limit").
const DEFAULT_LIMIT: usize = 10_000;

/// A query that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this query is not understood at `{at}`: {problem}")]
pub struct BadQuery {
    /// Where.
    pub at: String,
    /// Why.
    pub problem: &'static str,
}

/// A row of an answer: columns by name. What a line does not have is not in it.
pub type Row = BTreeMap<String, Value>;

/// A query, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    commands: Vec<Command>,
}

#[derive(Debug, Clone, PartialEq)]
enum Command {
    Fields(Vec<(String, String)>),
    Display(Vec<String>),
    Filter(Condition),
    Stats { figures: Vec<Figure>, by: Vec<Group> },
    Sort { field: String, descending: bool },
    Limit(usize),
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    IsPresent(String),
    Compares(String, Comparison, Value),
    Like(String, String),
    In(String, Vec<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
struct Figure {
    function: Function,
    /// The field; none for `count(*)`.
    of: Option<String>,
    called: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Function {
    Count,
    Sum,
    Average,
    Least,
    Greatest,
    Percentile(f64),
}

#[derive(Debug, Clone, PartialEq)]
enum Group {
    Field(String),
    /// Spans of so many milliseconds, and what they are called.
    Bin(i64, String),
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// If it holds anything that is not known here.
    pub fn parse(text: &str) -> Result<Self, BadQuery> {
        let mut reader = Reader { words: words_of(text)?, next: 0 };
        let mut commands = vec![reader.command()?];
        while reader.takes("|") {
            commands.push(reader.command()?);
        }
        match reader.peek() {
            None => Ok(Self { commands }),
            Some(_) => Err(reader.refuse("a command ends here, or goes on with something unknown")),
        }
    }

    /// What it answers about these lines.
    #[must_use]
    pub fn run(&self, lines: &[LogLine]) -> Vec<Row> {
        let mut rows: Vec<Row> = lines.iter().map(fields_of).collect();
        let mut shown: Option<Vec<(String, String)>> = None;
        let mut limit = DEFAULT_LIMIT;
        for command in &self.commands {
            match command {
                Command::Fields(fields) => shown.get_or_insert_default().extend(fields.clone()),
                Command::Display(fields) => {
                    shown = Some(fields.iter().map(|field| (field.clone(), field.clone())).collect());
                }
                Command::Filter(condition) => rows.retain(|row| condition.holds(row)),
                Command::Stats { figures, by } => {
                    rows = summed_up(&rows, figures, by);
                    shown = None;
                }
                Command::Sort { field, descending } => rows.sort_by(|one, other| {
                    let order = by_value(one.get(field), other.get(field));
                    // What has no such field comes last, whichever way it is sorted.
                    let both = one.contains_key(field) && other.contains_key(field);
                    if *descending && both { order.reverse() } else { order }
                }),
                Command::Limit(most) => limit = *most,
            }
        }
        rows.truncate(limit);
        match shown {
            None => rows,
            Some(shown) => rows
                .iter()
                .map(|row| {
                    shown.iter().filter_map(|(field, called)| Some((called.clone(), row.get(field)?.clone()))).collect()
                })
                .collect(),
        }
    }
}

/// The queries in the fenced blocks of a page, each with the heading above it.
#[must_use]
pub fn queries_of(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let (mut heading, mut block) = (String::new(), None::<String>);
    for line in page.lines() {
        match (&mut block, line.starts_with("```")) {
            (None, true) => block = Some(String::new()),
            (Some(_), true) => found.extend(block.take().map(|query| (heading.clone(), query))),
            (Some(query), false) => {
                query.push_str(line);
                query.push('\n');
            }
            (None, false) => {
                if let Some(words) = line.strip_prefix("## ") {
                    words.clone_into(&mut heading);
                }
            }
        }
    }
    found
}

impl Condition {
    fn holds(&self, row: &Row) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(row)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(row)),
            Self::Not(part) => !part.holds(row),
            Self::IsPresent(field) => row.contains_key(field),
            // A line without the field is not found by any comparison.
            Self::Compares(field, comparison, with) => row.get(field).is_some_and(|value| {
                let order = by_value(Some(value), Some(with));
                match comparison {
                    Comparison::Equal => order == Ordering::Equal,
                    Comparison::NotEqual => order != Ordering::Equal,
                    Comparison::Less => order == Ordering::Less,
                    Comparison::LessOrEqual => order != Ordering::Greater,
                    Comparison::Greater => order == Ordering::Greater,
                    Comparison::GreaterOrEqual => order != Ordering::Less,
                }
            }),
            Self::Like(field, part) => row.get(field).is_some_and(|value| text_of(value).contains(part)),
            Self::In(field, values) => row
                .get(field)
                .is_some_and(|value| values.iter().any(|one| by_value(Some(value), Some(one)) == Ordering::Equal)),
        }
    }
}

/// What Logs Insights finds in a line by itself: `@timestamp`, `@message`, `@log`, and each leaf of a JSON object by its
/// path (user guide, "Supported logs and discovered fields").
fn fields_of(line: &LogLine) -> Row {
    let at = Timestamp::from_millisecond(line.timestamp).unwrap_or_default();
    let mut row = Row::from([
        ("@timestamp".to_owned(), at.to_string().into()),
        ("@message".to_owned(), line.text.clone().into()),
        ("@log".to_owned(), line.log_group.clone().into()),
    ]);
    if let Some(Value::Object(fields)) = line.json() {
        flatten("", &fields, &mut row);
    }
    row
}

fn flatten(path: &str, fields: &Map<String, Value>, row: &mut Row) {
    let mut leaf = |name: String, value: &Value| match value {
        Value::Null => {}
        Value::Object(inner) => flatten(&format!("{name}."), inner, row),
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(place, item)| (place.to_string(), item.clone())).collect();
            flatten(&format!("{name}."), &items, row);
        }
        other => {
            row.insert(name, other.clone());
        }
    };
    for (name, value) in fields {
        leaf(format!("{path}{name}"), value);
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Numbers by their size, all else by its text; what is not there comes last.
fn by_value(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => text_of(one).cmp(&text_of(other)),
        },
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

fn summed_up(rows: &[Row], figures: &[Figure], by: &[Group]) -> Vec<Row> {
    let mut groups: BTreeMap<Vec<Option<String>>, (Row, Vec<&Row>)> = BTreeMap::new();
    for row in rows {
        let named: Row = by.iter().filter_map(|group| group.of(row)).collect();
        let key = by.iter().map(|group| named.get(group.called()).map(text_of)).collect();
        groups.entry(key).or_insert_with(|| (named, Vec::new())).1.push(row);
    }
    let rows = groups.into_values().map(|(mut row, members)| {
        for figure in figures {
            row.extend(figure.of(&members).map(|value| (figure.called.clone(), value)));
        }
        row
    });
    rows.collect()
}

impl Group {
    fn called(&self) -> &str {
        match self {
            Self::Field(name) | Self::Bin(_, name) => name,
        }
    }

    fn of(&self, row: &Row) -> Option<(String, Value)> {
        let value = match self {
            Self::Field(name) => row.get(name)?.clone(),
            Self::Bin(span, _) => {
                let at: Timestamp = row.get("@timestamp")?.as_str()?.parse().ok()?;
                let begins = at.as_millisecond().div_euclid(*span) * span;
                Timestamp::from_millisecond(begins).ok()?.to_string().into()
            }
        };
        Some((self.called().to_owned(), value))
    }
}

impl Figure {
    /// The figure over some rows; none of what none of them has.
    fn of(&self, rows: &[&Row]) -> Option<Value> {
        let Some(field) = &self.of else { return Some(rows.len().into()) };
        let values: Vec<&Value> = rows.iter().filter_map(|row| row.get(field)).collect();
        if self.function == Function::Count {
            return Some(values.len().into());
        }
        let mut numbers: Vec<f64> = values.into_iter().filter_map(Value::as_f64).collect();
        numbers.sort_by(f64::total_cmp);
        #[expect(clippy::cast_precision_loss, reason = "lines are counted in thousands")]
        let count = numbers.len() as f64;
        let (least, greatest) = (numbers.first()?, numbers.last()?);
        Some(Value::from(match self.function {
            Function::Sum => numbers.iter().sum::<f64>(),
            Function::Average => numbers.iter().sum::<f64>() / count,
            Function::Least => *least,
            Function::Greatest => *greatest,
            Function::Percentile(percent) => percentile(&numbers, percent)?,
            Function::Count => return None,
        }))
    }
}

/// The least of these sorted numbers that so many percent of them do not exceed; none of no numbers.
#[must_use]
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place")]
    let place = ((percent / 100.0 * sorted.len() as f64).ceil() as usize).saturating_sub(1);
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied()
}

#[derive(Debug, Clone, PartialEq)]
enum Word {
    /// A name, a number or a sign, as it stands.
    Plain(String),
    /// A text in quotes.
    Text(String),
}

fn words_of(text: &str) -> Result<Vec<Word>, BadQuery> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_of_a_name = |character: char| character.is_alphanumeric() || "@_.-".contains(character);
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => {
                let refuse = || BadQuery { at: rest.to_owned(), problem: "a text has no end" };
                let (inner, _) = rest[1..].split_once(first).ok_or_else(refuse)?;
                words.push(Word::Text(inner.to_owned()));
                inner.len() + 2
            }
            '!' | '<' | '>' if rest[1..].starts_with('=') => 2,
            '|' | ',' | '(' | ')' | '[' | ']' | '=' | '<' | '>' | '*' => 1,
            _ if is_of_a_name(first) => rest.find(|character| !is_of_a_name(character)).unwrap_or(rest.len()),
            _ => return Err(BadQuery { at: rest.to_owned(), problem: "a sign that is not known here" }),
        };
        if !"#\"'".contains(first) {
            words.push(Word::Plain(rest[..length].to_owned()));
        }
        rest = rest[length..].trim_start();
    }
    Ok(words)
}

struct Reader {
    words: Vec<Word>,
    next: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.next)
    }

    fn refuse(&self, problem: &'static str) -> BadQuery {
        let rest = self.words.iter().skip(self.next).take(6).map(|word| match word {
            Word::Plain(word) | Word::Text(word) => word.as_str(),
        });
        BadQuery { at: rest.collect::<Vec<_>>().join(" "), problem }
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), Some(Word::Plain(next)) if next == word);
        self.next += usize::from(is_it);
        is_it
    }

    fn expects(&mut self, word: &str) -> Result<(), BadQuery> {
        if self.takes(word) { Ok(()) } else { Err(self.refuse("another sign belongs here")) }
    }

    fn plain(&mut self) -> Result<String, BadQuery> {
        match self.peek() {
            Some(Word::Plain(word)) => {
                let word = word.clone();
                self.next += 1;
                Ok(word)
            }
            _ => Err(self.refuse("a word belongs here")),
        }
    }

    fn field(&mut self) -> Result<String, BadQuery> {
        let is_a_name = matches!(self.peek(), Some(Word::Plain(word))
            if word.starts_with(|first: char| first.is_alphabetic() || "@_".contains(first)) && !word.contains('-'));
        if is_a_name { self.plain() } else { Err(self.refuse("the name of a field belongs here")) }
    }

    fn value(&mut self) -> Result<Value, BadQuery> {
        if let Some(Word::Text(text)) = self.peek() {
            let text = text.clone();
            self.next += 1;
            return Ok(text.into());
        }
        let at = self.next;
        let number = self.plain()?.parse::<f64>().ok();
        number.map(Value::from).ok_or_else(|| {
            self.next = at;
            self.refuse("a text or a number belongs here")
        })
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Result<T, BadQuery>) -> Result<Vec<T>, BadQuery> {
        let mut list = vec![one(self)?];
        while self.takes(",") {
            list.push(one(self)?);
        }
        Ok(list)
    }

    fn command(&mut self) -> Result<Command, BadQuery> {
        let at = self.next;
        match self.plain()?.as_str() {
            "fields" => Ok(Command::Fields(self.list(|reader| {
                let field = reader.field()?;
                let called = if reader.takes("as") { reader.field()? } else { field.clone() };
                Ok((field, called))
            })?)),
            "display" => Ok(Command::Display(self.list(Self::field)?)),
            "filter" => Ok(Command::Filter(self.any()?)),
            "stats" => {
                let figures = self.list(Self::figure)?;
                let by = if self.takes("by") { self.list(Self::group)? } else { Vec::new() };
                Ok(Command::Stats { figures, by })
            }
            "sort" => {
                let field = self.field()?;
                let descending = self.takes("desc") || !self.takes("asc");
                Ok(Command::Sort { field, descending })
            }
            "limit" => {
                let most = self.plain()?.parse().ok();
                most.map(Command::Limit).ok_or_else(|| self.refuse("a number belongs before this"))
            }
            _ => {
                self.next = at;
                Err(self.refuse("a command that is not known here"))
            }
        }
    }

    fn any(&mut self) -> Result<Condition, BadQuery> {
        let mut parts = vec![self.all()?];
        while self.takes("or") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, BadQuery> {
        let mut parts = vec![self.one()?];
        while self.takes("and") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, BadQuery> {
        if self.takes("not") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.takes("(") {
            let inner = self.any()?;
            self.expects(")")?;
            return Ok(inner);
        }
        if self.takes("ispresent") {
            self.expects("(")?;
            let field = self.field()?;
            self.expects(")")?;
            return Ok(Condition::IsPresent(field));
        }
        let field = self.field()?;
        let at = self.next;
        let comparison = match self.plain()?.as_str() {
            "=" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            "like" => {
                return match self.value()? {
                    Value::String(part) => Ok(Condition::Like(field, part)),
                    _ => Err(self.refuse("`like` wants a text")),
                };
            }
            "in" => {
                self.expects("[")?;
                let values = self.list(Self::value)?;
                self.expects("]")?;
                return Ok(Condition::In(field, values));
            }
            _ => {
                self.next = at;
                return Err(self.refuse("a comparison belongs here"));
            }
        };
        Ok(Condition::Compares(field, comparison, self.value()?))
    }

    fn figure(&mut self) -> Result<Figure, BadQuery> {
        let at = self.next;
        let name = self.plain()?;
        self.expects("(")?;
        let of = if name == "count" && self.takes("*") { None } else { Some(self.field()?) };
        let function = match name.as_str() {
            "count" => Function::Count,
            "sum" => Function::Sum,
            "avg" => Function::Average,
            "min" => Function::Least,
            "max" => Function::Greatest,
            "pct" => {
                self.expects(",")?;
                let percent = self.value()?.as_f64().filter(|percent| (0.0..=100.0).contains(percent));
                Function::Percentile(percent.ok_or_else(|| self.refuse("a percentile is from 0 to 100"))?)
            }
            _ => {
                self.next = at;
                return Err(self.refuse("a function that is not known here"));
            }
        };
        self.expects(")")?;
        let written = format!("{name}({})", of.as_deref().unwrap_or("*"));
        let called = if self.takes("as") { self.field()? } else { written };
        Ok(Figure { function, of, called })
    }

    fn group(&mut self) -> Result<Group, BadQuery> {
        if !self.takes("bin") {
            return Ok(Group::Field(self.field()?));
        }
        self.expects("(")?;
        let span = self.plain()?;
        self.expects(")")?;
        let milliseconds = span.char_indices().last().and_then(|(place, unit)| {
            let unit = match unit {
                's' => 1_000,
                'm' => 60_000,
                'h' => 3_600_000,
                'd' => 86_400_000,
                _ => return None,
            };
            let count: i64 = span[..place].parse().ok().filter(|count| *count > 0)?;
            count.checked_mul(unit)
        });
        let milliseconds = milliseconds.ok_or_else(|| self.refuse("a span is a number with s, m, h or d"))?;
        Ok(Group::Bin(milliseconds, format!("bin({span})")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines() -> Vec<LogLine> {
        let line = |timestamp: i64, text: String| LogLine {
            log_group: "/aws/lambda/stack-email-activity".to_owned(),
            timestamp,
            text,
        };
        vec![
            line(
                0,
                json!({"notification.id": "n1", "outcome": "logged", "duration_ms": 10, "function": "a"}).to_string(),
            ),
            line(
                1,
                json!({"notification.id": "n2", "outcome": "retried", "class": "crm.unavailable", "duration_ms": 30,
                "function": "a"})
                .to_string(),
            ),
            line(
                60_000,
                json!({"notification.id": "n3", "outcome": "failed", "class": "crm.rejected", "duration_ms": 20,
                "function": "b"})
                .to_string(),
            ),
            line(
                60_001,
                json!({"Function": "a", "CrmErrors": 3, "CrmErrorKinds": {"rate_limited": 2, "rejected": 1},
                "CrmLatency": [1, 2]})
                .to_string(),
            ),
            line(60_002, "thread 'main' panicked at src/lib.rs:1".to_owned()),
        ]
    }

    fn run(query: &str) -> Value {
        serde_json::to_value(Query::parse(query).expect("a query").run(&lines())).expect("JSON")
    }

    #[test]
    fn lines_are_filtered_and_shown_by_their_fields() {
        assert_eq!(
            run("fields outcome, notification.id as id | filter notification.id = 'n1'"),
            json!([{"outcome": "logged", "id": "n1"}])
        );
        assert_eq!(
            run("filter outcome in [\"failed\", 'logged'] | display notification.id").as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(
            run("filter @message like 'panicked at' | fields @log"),
            json!([{"@log": "/aws/lambda/stack-email-activity"}])
        );
        assert_eq!(
            run("filter ispresent(class) and not (class = 'crm.rejected') | fields class"),
            json!([{"class": "crm.unavailable"}])
        );
        assert_eq!(
            run("filter duration_ms >= 20 and outcome != 'failed' | fields duration_ms"),
            json!([{"duration_ms": 30}])
        );
        assert_eq!(
            run("filter outcome = 'logged' or outcome = 'failed' and function = 'a' | fields outcome"),
            json!([{"outcome": "logged"}])
        );
    }

    #[test]
    fn lines_are_summed_up_by_fields_and_by_spans() {
        assert_eq!(
            run(
                "filter ispresent(outcome) | stats count(*) as messages, max(duration_ms) as slowest by function | sort messages desc"
            ),
            json!([{"function": "a", "messages": 2, "slowest": 30.0}, {"function": "b", "messages": 1, "slowest": 20.0}])
        );
        assert_eq!(
            run("filter ispresent(duration_ms) | stats count(*) as messages by bin(1m) | sort messages asc"),
            json!([{"bin(1m)": "1970-01-01T00:01:00Z", "messages": 1}, {"bin(1m)": "1970-01-01T00:00:00Z", "messages": 2}])
        );
        assert_eq!(
            run(
                "stats sum(CrmErrorKinds.rate_limited) as limited, avg(duration_ms), pct(duration_ms, 50) as p50, min(nothing)"
            ),
            json!([{"limited": 2.0, "avg(duration_ms)": 20.0, "p50": 20.0}])
        );
    }

    #[test]
    fn rows_are_sorted_and_cut_with_those_that_lack_the_field_last() {
        assert_eq!(
            run("fields duration_ms | sort duration_ms desc | limit 4"),
            json!([{"duration_ms": 30}, {"duration_ms": 20}, {"duration_ms": 10}, {}])
        );
        assert_eq!(run("fields duration_ms | sort duration_ms asc | limit 1"), json!([{"duration_ms": 10}]));
    }

    #[test]
    fn whatever_is_not_known_is_refused() {
        for query in [
            "",
            "parse @message '*' as all",
            "filter outcome",
            "filter outcome ~ 'x'",
            "filter @message like /panicked/",
            "filter outcome = logged",
            "filter outcome = 'logged",
            "filter (outcome = 'logged'",
            "filter outcome in 'logged'",
            "stats median(duration_ms)",
            "stats pct(duration_ms, 101)",
            "stats count(*) by bin(5x)",
            "stats count(*) by bin(0m)",
            "limit many",
            "fields a b",
            "fields a | | limit 1",
            "filter a = 'b' and",
        ] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let numbers: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [50.0, 99.0, 100.0, 0.0].map(|percent| percentile(&numbers, percent)),
            [50.0, 99.0, 100.0, 1.0].map(Some)
        );
        assert_eq!(percentile(&[7.0], 50.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn queries_of_a_page_are_its_blocks_under_their_headings() {
        let page = "# Page\n\n## One\n\nWords.\n\n```\nlimit 1\n```\n\n## Two\n```\nlimit 2\n| limit 3\n```\n";
        let queries = [("One", "limit 1\n"), ("Two", "limit 2\n| limit 3\n")];
        assert_eq!(queries_of(page), queries.map(|(heading, query)| (heading.to_owned(), query.to_owned())));
    }
}

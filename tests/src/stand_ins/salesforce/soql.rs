//! The part of SOQL that is asked for, read strictly: `SELECT … FROM … WHERE … ORDER BY … LIMIT …`.

use std::iter::Peekable;
use std::str::Chars;

use super::Refusal;

/// A query that could be read.
#[derive(Debug, PartialEq)]
pub(super) struct Query {
    pub(super) fields: Vec<String>,
    pub(super) object: String,
    pub(super) condition: Option<Condition>,
    pub(super) order: Vec<Order>,
    pub(super) limit: Option<usize>,
}

/// What records must fulfil.
#[derive(Debug, PartialEq)]
pub(super) enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Equals { field: String, value: Literal, negated: bool },
    In { field: String, values: Vec<Literal> },
}

/// A value in a query.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Flag(bool),
    Number(i64),
    Null,
}

/// By what records are sorted.
#[derive(Debug, PartialEq)]
pub(super) struct Order {
    pub(super) field: String,
    pub(super) descending: bool,
    pub(super) nulls_last: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(i64),
    Sign(char),
    NotEqual,
}

fn malformed(message: String) -> Refusal {
    Refusal::new(400, "MALFORMED_QUERY", message)
}

/// Reads a query, or says as the original does what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Query, Refusal> {
    let mut parser = Parser { tokens: tokens(text)?.into_iter().peekable() };
    parser.keyword("SELECT")?;
    let fields = parser.several(Parser::name)?;
    parser.keyword("FROM")?;
    let object = parser.name()?;
    let condition = if parser.take_keyword("WHERE") { Some(parser.condition()?) } else { None };
    let mut order = Vec::new();
    if parser.take_keyword("ORDER") {
        parser.keyword("BY")?;
        order = parser.several(Parser::order)?;
    }
    let limit = if parser.take_keyword("LIMIT") { Some(parser.number()?) } else { None };
    match parser.tokens.next() {
        None => Ok(Query { fields, object, condition, order, limit }),
        Some(token) => Err(unexpected(Some(&token))),
    }
}

fn unexpected(token: Option<&Token>) -> Refusal {
    malformed(match token {
        None => "unexpected end of the query".to_owned(),
        Some(Token::Word(word)) => format!("unexpected token: {word}"),
        Some(Token::Text(text)) => format!("unexpected token: '{text}'"),
        Some(Token::Number(number)) => format!("unexpected token: {number}"),
        Some(Token::Sign(sign)) => format!("unexpected token: {sign}"),
        Some(Token::NotEqual) => "unexpected token: !=".to_owned(),
    })
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut found = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' => {}
            '\'' => found.push(Token::Text(quoted(&mut characters)?)),
            '(' | ')' | ',' | '=' => found.push(Token::Sign(character)),
            '!' if characters.next_if_eq(&'=').is_some() => found.push(Token::NotEqual),
            '0'..='9' => {
                let mut digits = String::from(character);
                while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                    digits.push(digit);
                }
                found.push(Token::Number(digits.parse().map_err(|_| malformed(format!("bad number: {digits}")))?));
            }
            'A'..='Z' | 'a'..='z' => {
                let mut word = String::from(character);
                let in_word = |next: &char| next.is_ascii_alphanumeric() || matches!(next, '_' | '.');
                while let Some(next) = characters.next_if(in_word) {
                    word.push(next);
                }
                found.push(Token::Word(word));
            }
            other => return Err(malformed(format!("line 1: unexpected char: '{other}'"))),
        }
    }
    Ok(found)
}

/// What stands between two quotes; the first one has been read.
fn quoted(characters: &mut Peekable<Chars<'_>>) -> Result<String, Refusal> {
    let mut text = String::new();
    loop {
        match characters.next() {
            Some('\'') => return Ok(text),
            Some('\\') => text.push(escaped(characters)?),
            Some(control) if control.is_control() => {
                return Err(malformed("unexpected char in a string literal".to_owned()));
            }
            Some(other) => text.push(other),
            None => return Err(malformed("expecting ''', found '<EOF>'".to_owned())),
        }
    }
}

fn escaped(characters: &mut Peekable<Chars<'_>>) -> Result<char, Refusal> {
    let sequence = characters.next();
    Ok(match sequence {
        Some('n' | 'N') => '\n',
        Some('r' | 'R') => '\r',
        Some('t' | 'T') => '\t',
        Some('b' | 'B') => '\u{8}',
        Some('f' | 'F') => '\u{c}',
        Some(itself @ ('"' | '\'' | '\\')) => itself,
        Some('u') => {
            let digits: String = characters.by_ref().take(4).collect();
            let number = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 4);
            number
                .and_then(char::from_u32)
                .ok_or_else(|| malformed(format!("Illegal character sequence '\\u{digits}'")))?
        }
        other => {
            let other = other.map(String::from).unwrap_or_default();
            return Err(malformed(format!("Illegal character sequence '\\{other}' in string literal")));
        }
    })
}

struct Parser {
    tokens: Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn take_keyword(&mut self, keyword: &str) -> bool {
        self.tokens.next_if(|token| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword))).is_some()
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Refusal> {
        if self.take_keyword(keyword) { Ok(()) } else { Err(unexpected(self.tokens.peek())) }
    }

    fn sign(&mut self, sign: char) -> Result<(), Refusal> {
        match self.tokens.next_if_eq(&Token::Sign(sign)) {
            Some(_) => Ok(()),
            None => Err(unexpected(self.tokens.peek())),
        }
    }

    fn name(&mut self) -> Result<String, Refusal> {
        const RESERVED: [&str; 9] = ["SELECT", "FROM", "WHERE", "ORDER", "LIMIT", "AND", "OR", "IN", "NULLS"];
        match self.tokens.next() {
            Some(Token::Word(word)) if !RESERVED.iter().any(|reserved| word.eq_ignore_ascii_case(reserved)) => Ok(word),
            token => Err(unexpected(token.as_ref())),
        }
    }

    fn number(&mut self) -> Result<usize, Refusal> {
        match self.tokens.next() {
            Some(Token::Number(number)) => {
                usize::try_from(number).map_err(|_| unexpected(Some(&Token::Number(number))))
            }
            token => Err(unexpected(token.as_ref())),
        }
    }

    fn several<T>(&mut self, one: fn(&mut Self) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
        let mut all = vec![one(self)?];
        while self.tokens.next_if_eq(&Token::Sign(',')).is_some() {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn order(&mut self) -> Result<Order, Refusal> {
        let field = self.name()?;
        let descending = !self.take_keyword("ASC") && self.take_keyword("DESC");
        let mut nulls_last = false;
        if self.take_keyword("NULLS") {
            nulls_last = self.take_keyword("LAST");
            if !nulls_last {
                self.keyword("FIRST")?;
            }
        }
        Ok(Order { field, descending, nulls_last })
    }

    /// Conditions joined by `AND` alone or by `OR` alone: a mixture needs parentheses.
    fn condition(&mut self) -> Result<Condition, Refusal> {
        let first = self.comparison()?;
        for (keyword, of_all) in [("AND", true), ("OR", false)] {
            if self.take_keyword(keyword) {
                let mut parts = vec![first, self.comparison()?];
                while self.take_keyword(keyword) {
                    parts.push(self.comparison()?);
                }
                return Ok(if of_all { Condition::All(parts) } else { Condition::Any(parts) });
            }
        }
        Ok(first)
    }

    fn comparison(&mut self) -> Result<Condition, Refusal> {
        if self.tokens.next_if_eq(&Token::Sign('(')).is_some() {
            let inner = self.condition()?;
            self.sign(')')?;
            return Ok(inner);
        }
        let field = self.name()?;
        if self.take_keyword("IN") {
            self.sign('(')?;
            let values = self.several(Self::literal)?;
            self.sign(')')?;
            return Ok(Condition::In { field, values });
        }
        let negated = self.tokens.next_if_eq(&Token::NotEqual).is_some();
        if !negated {
            self.sign('=')?;
        }
        Ok(Condition::Equals { field, value: self.literal()?, negated })
    }

    fn literal(&mut self) -> Result<Literal, Refusal> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(Literal::Text(text)),
            Some(Token::Number(number)) => Ok(Literal::Number(number)),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Ok(Literal::Flag(true)),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Ok(Literal::Flag(false)),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => Ok(Literal::Null),
            token => Err(unexpected(token.as_ref())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_read_with_all_its_clauses_and_its_escapes() {
        let query = parse(
            r"SELECT Id, Opportunity.IsClosed FROM OpportunityContactRole WHERE IsPrimary = true AND (Role IN ('o\'brien', 'a\\b') OR Role != null) ORDER BY IsPrimary DESC NULLS LAST, Id LIMIT 5",
        )
        .expect("a query");
        assert_eq!(query.fields, ["Id", "Opportunity.IsClosed"]);
        assert_eq!(query.limit, Some(5));
        let Some(Condition::All(parts)) = query.condition else { panic!("{:?}", query.condition) };
        let Condition::Any(roles) = &parts[1] else { panic!("{parts:?}") };
        let values = vec![Literal::Text("o'brien".to_owned()), Literal::Text(r"a\b".to_owned())];
        assert_eq!(roles[0], Condition::In { field: "Role".to_owned(), values });
        assert!(query.order[0].descending && query.order[0].nulls_last && !query.order[1].descending);
    }

    #[test]
    fn whatever_is_not_soql_is_refused() {
        for bad in [
            "",
            "SELECT FROM Contact",
            "SELECT Id Contact",
            "SELECT Id FROM Contact WHERE",
            "SELECT Id FROM Contact WHERE Email = 'o'brien@acme.example'",
            "SELECT Id FROM Contact WHERE Email = 'dana",
            r"SELECT Id FROM Contact WHERE Email = 'a\xb'",
            "SELECT Id FROM Contact WHERE Email = 'a\nb'",
            "SELECT Id FROM Contact WHERE Email IN ()",
            "SELECT Id FROM Contact WHERE Email = \"dana\"",
            "SELECT Id FROM Contact WHERE A = 'a' AND B = 'b' OR C = 'c'",
            "SELECT Id FROM Contact LIMIT five",
            "SELECT Id FROM Contact LIMIT 5; DELETE",
            "SELECT Id FROM Contact ORDER Name",
        ] {
            let refusal = parse(bad).expect_err(bad);
            assert_eq!((refusal.status, refusal.code), (400, "MALFORMED_QUERY"), "{bad}");
        }
    }
}

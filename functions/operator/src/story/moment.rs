//! A line of a story: when, in which function, what happened, and why.

use jiff::Timestamp;
use serde_json::{Value, json};

/// What happened at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// When; none for what holds now.
    pub at: Option<Timestamp>,
    /// The function that it happened in.
    pub function: String,
    /// What happened, in a word or two.
    pub what: &'static str,
    /// Why, or more about it.
    pub why: String,
    /// The key of what tells of it.
    pub key: String,
    /// What else is known, for programs; null if nothing.
    pub details: Value,
}

impl Moment {
    /// Where it stands in a story: by its time, what holds now last, and of one time in the order of the work.
    #[must_use]
    pub fn order(&self) -> (Timestamp, u8) {
        let rank = match self.what {
            "arrived" => 0,
            "taken up" => 1,
            "failed" => 2,
            "decided" => 4,
            "written" => 5,
            "stands" | "removed" | "noted" => 6,
            "waits" | "is due" => 7,
            _ => 3,
        };
        (self.at.unwrap_or(Timestamp::MAX), rank)
    }

    /// The time as a table shows it.
    #[must_use]
    pub fn time(&self) -> String {
        self.at.map_or_else(|| "now".to_owned(), second_of)
    }

    /// The row for programs.
    #[must_use]
    pub fn to_row(&self) -> Value {
        json!({
            "at": self.at.map(|at| at.to_string()), "function": self.function, "what": self.what, "why": self.why,
            "key": self.key, "details": self.details,
        })
    }
}

/// A time in whole seconds.
#[must_use]
pub fn second_of(at: Timestamp) -> String {
    format!("{at:.0}")
}

/// A text cut to so many characters.
#[must_use]
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most).chain(['…']).collect() }
}

/// A value in words: lists as lists, nothing quoted.
#[must_use]
pub fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", in_words(value)));
            format!("({})", fields.collect::<Vec<_>>().join(", "))
        }
    }
}

/// A time as a table keeps it; none for all else.
#[must_use]
pub fn time_in(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_in_words() {
        for (value, words) in [
            (json!(["a", "b"]), "a, b"),
            (json!([]), "none"),
            (json!({"deal": "d-1", "open": true}), "(deal: d-1, open: yes)"),
            (Value::Null, "none"),
            (json!(7), "7"),
        ] {
            assert_eq!(in_words(&value), words);
        }
    }

    #[test]
    fn what_holds_now_comes_last_and_of_one_time_the_work_goes_in_order() {
        let moment = |at: Option<i64>, what| Moment {
            at: at.map(|second| Timestamp::from_second(second).expect("a time")),
            function: String::new(),
            what,
            why: String::new(),
            key: String::new(),
            details: Value::Null,
        };
        let mut story = [
            moment(None, "waits"),
            moment(Some(5), "written"),
            moment(Some(5), "decided"),
            moment(Some(5), "arrived"),
            moment(Some(4), "stands"),
        ];
        story.sort_by_key(Moment::order);
        assert_eq!(story.map(|moment| moment.what), ["stands", "arrived", "decided", "written", "waits"]);
    }

    #[test]
    fn long_text_is_cut_by_characters() {
        assert_eq!(shortened("приветик", 3), "при…");
        assert_eq!(shortened("abc", 3), "abc");
    }
}

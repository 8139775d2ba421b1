//! One line of an examination: what was looked at, how it stands, what was seen, and what to do about it.

use serde::{Serialize, Serializer};
use serde_json::Value;
use std::fmt;

use crate::told::{Told, table};

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should.
    Ok,
    /// Turned off by an empty parameter.
    Off,
    /// It works, and something about it should be seen to.
    Warning,
    /// It does not work, or nobody can tell whether it does.
    Red,
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ok => "ok",
            Self::Off => "off",
            Self::Warning => "warning",
            Self::Red => "red",
        })
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One thing that was examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// What was seen of it.
    pub seen: String,
    /// What to do; nothing where all is well.
    pub to_do: Option<String>,
}

impl Line {
    /// A line about something that is as it should be.
    pub fn ok(what: impl Into<String>, seen: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Ok, seen: seen.into(), to_do: None }
    }

    /// A line about something that is turned off.
    pub fn off(what: impl Into<String>, seen: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Off, seen: seen.into(), to_do: Some(to_do.into()) }
    }

    /// A line about something that should be seen to.
    pub fn warning(what: impl Into<String>, seen: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Warning, seen: seen.into(), to_do: Some(to_do.into()) }
    }

    /// A line about something that does not work.
    pub fn red(what: impl Into<String>, seen: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Red, seen: seen.into(), to_do: Some(to_do.into()) }
    }

    /// A line about something that could not be looked at.
    pub fn unexamined(what: impl Into<String>, why: &impl fmt::Display) -> Self {
        Self::red(
            what,
            format!("it cannot be examined: {why}"),
            "give the command again in a few minutes; if it stays so, see whether somebody changed the role of the \
             operator, and deploy the stack of this release",
        )
    }
}

/// How many lines stand so.
#[must_use]
pub fn count(lines: &[Line], state: State) -> usize {
    lines.iter().filter(|line| line.state == state).count()
}

/// The lines as the answer to the command.
#[must_use]
pub fn told(lines: &[Line]) -> Told {
    let in_table = |line: &Line| {
        let to_do = line.to_do.clone().unwrap_or_else(|| "–".to_owned());
        [line.what.clone(), line.state.to_string(), line.seen.clone(), to_do]
    };
    Told {
        command: "doctor",
        ready: count(lines, State::Red) == 0,
        rows: lines.iter().filter_map(|line| serde_json::to_value(line).ok()).collect::<Vec<Value>>(),
        table: table(["what", "state", "seen", "what to do"], lines.iter().map(in_table)),
        text: text(lines),
        again: None,
    }
}

/// What it comes to.
fn text(lines: &[Line]) -> String {
    let named = |state: State| {
        let names: Vec<&str> = lines.iter().filter(|line| line.state == state).map(|line| line.what.as_str()).collect();
        names.join(", ")
    };
    let mut sentences = Vec::new();
    match count(lines, State::Red) {
        0 => sentences.push("Everything that is on works.".to_owned()),
        red => sentences.push(format!(
            "{red} of {} lines {} red: {}. Do what stands beside {}, then give the command again.",
            lines.len(),
            if red == 1 { "is" } else { "are" },
            named(State::Red),
            if red == 1 { "it" } else { "them" },
        )),
    }
    match count(lines, State::Warning) {
        0 => {}
        1 => sentences.push(format!("One thing should be seen to: {}.", named(State::Warning))),
        warnings => sentences.push(format!("{warnings} things should be seen to: {}.", named(State::Warning))),
    }
    sentences.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::WIDTH;
    use serde_json::json;

    #[test]
    fn answer_is_ready_unless_a_line_is_red_and_names_what_is_red_and_what_should_be_seen_to() {
        let fine = [Line::ok("a", "fine"), Line::off("b", "`B` is empty", "give `B`")];
        let told_fine = told(&fine);
        assert!(told_fine.ready);
        assert_eq!(told_fine.text, "Everything that is on works.");
        let warned = [fine.as_slice(), &[Line::warning("c", "odd", "look at it")]].concat();
        let told_warned = told(&warned);
        assert!(told_warned.ready);
        assert!(told_warned.text.ends_with("One thing should be seen to: c."), "{}", told_warned.text);
        let red = [warned.as_slice(), &[Line::red("d", "broken", "mend it")]].concat();
        let told_red = told(&red);
        assert!(!told_red.ready);
        assert!(told_red.text.starts_with("1 of 4 lines is red: d. Do what stands beside it"), "{}", told_red.text);
        let row = json!({ "what": "d", "state": "red", "seen": "broken", "to_do": "mend it" });
        assert_eq!(told_red.rows[3], row);
        assert_eq!(told_red.rows[0]["to_do"], Value::Null);
        assert!(told_red.table.contains("mend it"), "{}", told_red.table);
        assert!(told_red.table.lines().all(|line| line.chars().count() <= usize::from(WIDTH)));
    }

    #[test]
    fn line_that_cannot_be_examined_is_red_and_says_why() {
        let line = Line::unexamined("the alarms", &"AccessDenied: no");
        assert_eq!(line.state, State::Red);
        assert_eq!(line.seen, "it cannot be examined: AccessDenied: no");
    }
}

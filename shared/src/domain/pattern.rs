//! Patterns that are written in the code.

use regex::Regex;

/// Compiles a pattern of a module's own words. For statics alone: a test must touch each of them.
///
/// # Panics
/// If the pattern is wrong.
#[must_use]
pub fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("a pattern in the code is wrong: {error}"))
}

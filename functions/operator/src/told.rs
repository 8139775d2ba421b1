//! What a command came to: rows for programs, the same as a table for people, and what to do next in words.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;
use serde_json::Value;

use crate::report::WIDTH;

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The command.
    pub command: &'static str,
    /// False if people have to do something; the command line ends with an error then.
    pub ready: bool,
    /// What there is, one object each.
    pub rows: Vec<Value>,
    /// The same as a table.
    pub table: String,
    /// What it comes to and what to do next, in a sentence or a few.
    pub text: String,
    /// The event that goes on where this answer ended, or does what this one only showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<Value>,
}

/// Rows as a table that fits a terminal.
#[must_use]
pub fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_a_row_and_never_grows_wider_than_a_terminal() {
        let long = "word ".repeat(100);
        let table = table(["one", "two"], [["a".to_owned(), long], ["b".to_owned(), "c".to_owned()]]);
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{table}");
        assert!(table.contains("one") && table.contains('c'));
    }
}

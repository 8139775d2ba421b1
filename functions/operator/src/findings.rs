//! What people should look at after a sync of address books: the values that would be changed or were left alone, as a table,
//! and what is not listed in it.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;
use shared::engine::progress::MOST_FINDINGS;

use crate::report::{Row, WIDTH};

/// The most findings that an answer lists, of all accounts together: Lambda carries 6 MB, and each stands in it twice.
pub const MOST_LISTED: usize = 500;

/// The most characters of a value that a table shows.
const LONGEST_SHOWN: usize = 120;

/// The most accounts that a sentence names.
const MOST_NAMED: usize = 5;

/// The count of contacts, in a dry run, of which something would be written.
pub(crate) const WOULD_CHANGE: &str = "would change";

/// The count of contacts of which a value that is somebody's own was left alone.
const CONFLICTS: &str = "conflicts";

/// Cuts the findings of rows to so many of all rows together; each row tells how many of its own are left out.
pub(crate) fn cut(rows: &mut [Row], most: usize) {
    let mut room = most;
    for row in rows {
        let listed = row.findings.len().min(room);
        row.findings_left_out += row.findings.len() - listed;
        row.findings.truncate(listed);
        room -= listed;
    }
}

/// The findings as a table with its heading; empty if there is none.
pub(crate) fn table(rows: &[Row]) -> String {
    if rows.iter().all(|row| row.findings.is_empty()) {
        return String::new();
    }
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["account", "contact", "field", "in the CRM", "in the address book", "what became of it"]);
    for row in rows {
        for finding in &row.findings {
            let value = |held: Option<&str>| held.map_or_else(|| "–".to_owned(), shown);
            // What all accounts have a finding of is an account.
            let (account, contact) = match row.grant {
                Some(_) => (row.account(), Some(finding.of.as_str())),
                None => (finding.of.as_str(), None),
            };
            table.add_row([
                shown(account),
                value(contact),
                shown(&finding.field),
                value(finding.stands.as_deref()),
                value(finding.proposed.as_deref()),
                shown(&finding.why),
            ]);
        }
    }
    let heading = if rows.iter().any(|row| row.count(WOULD_CHANGE) > 0) {
        "What would change, and what would be left alone:"
    } else {
        "What was left alone:"
    };
    format!("{heading}\n{table}")
}

/// What is not listed in the table, in a sentence or two. `again` is the event that asks for the run again.
pub(crate) fn not_listed(rows: &[Row], again: &Value) -> Vec<String> {
    let mut sentences = Vec::new();
    let full: Vec<String> = rows.iter().filter_map(beyond_the_list).collect();
    if !full.is_empty() {
        let mut named = full[..full.len().min(MOST_NAMED)].join(", ");
        if full.len() > MOST_NAMED {
            named = format!("{named}, and so on for {} more accounts", full.len() - MOST_NAMED);
        }
        sentences.push(format!(
            "Not everything may be listed, for a list holds at most {MOST_FINDINGS} of an account: {named}."
        ));
    }
    let left_out: usize = rows.iter().map(|row| row.findings_left_out).sum();
    let first_cut = rows.iter().find(|row| row.findings_left_out > 0).and_then(|row| row.grant.as_deref());
    if let Some(grant) = first_cut {
        let mut event = again.clone();
        event["grant_id"] = grant.into();
        sentences.push(format!(
            "There was no room here for {left_out} more; an account is shown alone if the event names it, such as {event}"
        ));
    }
    sentences
}

/// How many values of an account are listed, if its list does not hold them all, or may not. What is counted are contacts,
/// of which each has at least one.
fn beyond_the_list(row: &Row) -> Option<String> {
    let kept = row.findings.len() + row.findings_left_out;
    let counted: u64 = [WOULD_CHANGE, CONFLICTS].map(|name| row.count(name)).iter().sum();
    if counted > kept as u64 {
        return Some(format!("the first {kept} of at least {counted} of {}", row.account()));
    }
    (kept >= MOST_FINDINGS).then(|| format!("the first {kept} of {}", row.account()))
}

/// What a table shows of a text that others wrote: cut if it is long, and without what a terminal would obey.
fn shown(text: &str) -> String {
    let obeyed = |character: char| {
        character.is_control() || matches!(character, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let mut characters = text.chars().map(|character| match character {
        blank if blank.is_whitespace() => ' ',
        character if obeyed(character) => char::REPLACEMENT_CHARACTER,
        character => character,
    });
    let mut shown: String = characters.by_ref().take(LONGEST_SHOWN).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Part;
    use serde_json::json;
    use shared::engine::progress::{Finding, Progress};

    fn finding(number: usize) -> Finding {
        Finding {
            of: format!("contact-{number}"),
            field: "phone".to_owned(),
            stands: None,
            proposed: Some("+351 21 000 0000".to_owned()),
            why: "would be written".to_owned(),
        }
    }

    fn row(grant: &str, counts: &[(&str, u64)], findings: Vec<Finding>) -> Row {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let progress = Progress { ended: true, counts, findings, ..Progress::default() };
        Row::of(&Part { function: "contact-sync", grant: Some(grant.to_owned()) }, Some(&progress))
    }

    fn many(count: usize) -> Vec<Finding> {
        (0..count).map(finding).collect()
    }

    fn again() -> Value {
        json!({ "command": "sync", "run": "r1" })
    }

    #[test]
    fn findings_are_listed_with_what_stands_on_both_sides_and_what_became_of_it() {
        let kept = Finding {
            of: "c-2".to_owned(),
            field: "title".to_owned(),
            stands: Some("Head of Sales".to_owned()),
            proposed: Some("Sales".to_owned()),
            why: "kept: somebody changed it in the CRM".to_owned(),
        };
        let table =
            table(&[row("g1", &[("would change", 1)], vec![finding(1)]), row("g2", &[("conflicts", 1)], vec![kept])]);
        assert!(table.starts_with("What would change, and what would be left alone:\n"), "{table}");
        let line = |of: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.contains(of)).expect("a line");
            line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
        };
        assert_eq!(line("contact-1"), ["g1", "contact-1", "phone", "–", "+351 21 000 0000", "would be written"]);
        let told = ["g2", "c-2", "title", "Head of Sales", "Sales", "kept: somebody changed it in the CRM"];
        assert_eq!(line("c-2"), told);
    }

    #[test]
    fn finding_of_all_accounts_is_told_of_the_account_that_it_is_about() {
        let expired = Finding {
            of: "g9".to_owned(),
            field: "account".to_owned(),
            stands: None,
            proposed: None,
            why: "expired".to_owned(),
        };
        let progress = Progress { findings: vec![expired], ..Progress::default() };
        let table = table(&[Row::of(&Part { function: "contact-sync", grant: None }, Some(&progress))]);
        let line: Vec<&str> =
            table.lines().filter(|line| line.contains("g9")).flat_map(str::split_whitespace).collect();
        assert_eq!(line, ["g9", "–", "account", "–", "–", "expired"]);
    }

    #[test]
    fn heading_says_whether_it_was_done_or_would_be() {
        for (count, heading) in [
            ("would change", "What would change, and what would be left alone:"),
            ("conflicts", "What was left alone:"),
        ] {
            let table = table(&[row("g", &[(count, 1)], many(1))]);
            assert_eq!(table.lines().next(), Some(heading));
        }
        assert_eq!(table(&[row("g", &[("changed", 7)], Vec::new())]), "");
    }

    #[test]
    fn account_that_counts_more_than_its_list_holds_is_named_with_its_count() {
        let told = |counted: u64, listed: usize| {
            not_listed(&[row("g", &[("would change", counted), ("conflicts", 3)], many(listed))], &again())
        };
        let words = "Not everything may be listed, for a list holds at most 100 of an account:";
        assert_eq!(told(240, 100), [format!("{words} the first 100 of at least 243 of g.")]);
        assert_eq!(told(40, 100), [format!("{words} the first 100 of g.")]);
        assert_eq!(told(96, 99), [""; 0]);
        assert_eq!(told(2, 5), [""; 0]);
    }

    #[test]
    fn sentence_names_a_few_accounts_and_counts_the_others() {
        let rows: Vec<Row> =
            (1..=7).map(|number| row(&format!("g{number}"), &[("would change", 200)], many(100))).collect();
        let [told] = not_listed(&rows, &again()).try_into().expect("one sentence");
        assert!(
            told.contains("the first 100 of at least 200 of g1, ") && told.ends_with("and so on for 2 more accounts."),
            "{told}"
        );
        assert!(!told.contains("g6"), "{told}");
    }

    #[test]
    fn answer_has_room_for_so_many_and_says_how_the_others_are_seen() {
        let mut rows = vec![row("g1", &[], many(3)), row("g2", &[], many(3)), row("g3", &[], many(2))];
        cut(&mut rows, 4);
        let kept: Vec<(usize, usize)> = rows.iter().map(|row| (row.findings.len(), row.findings_left_out)).collect();
        assert_eq!(kept, [(3, 0), (1, 2), (0, 2)]);
        let event = json!({ "command": "sync", "run": "r1", "grant_id": "g2" });
        let told = not_listed(&rows, &again());
        let words = "There was no room here for 4 more; an account is shown alone if the event names it, such as";
        assert_eq!(told, [format!("{words} {event}")]);
    }

    #[test]
    fn value_that_a_terminal_would_obey_is_made_harmless_and_a_long_one_is_cut() {
        assert_eq!(shown("+351\u{1b}[2J 21\n000\u{202E}"), "+351\u{fffd}[2J 21 000\u{fffd}");
        let long = shown(&"ü".repeat(200));
        assert_eq!((long.chars().count(), long.ends_with("ü…")), (121, true));
        assert_eq!(shown(&"ü".repeat(120)), "ü".repeat(120));
    }
}

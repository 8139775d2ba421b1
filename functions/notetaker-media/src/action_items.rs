//! What people promised in a meeting, as items: the text, and who and by when where the text says so and only one person
//! in the meeting can be meant.

use jiff::civil::Date;
use regex::Regex;
use serde_json::{Map, Value};
use shared::crm::notes::ActionItem;
use shared::domain::address::EmailAddress;
use shared::domain::pattern::pattern;
use shared::nylas::event::Event;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::due::{day_at_the_beginning, due_in};
use crate::words::one_line;

/// The most items that are taken from one meeting.
const MOST_ITEMS: usize = 200;

/// The longest text of an item, in characters.
const MOST_CHARACTERS: usize = 2000;

/// How deep items may lie in objects and lists.
const MOST_DEPTH: usize = 4;

/// Where an object has its text, who is to do it, and by when.
const TEXTS: [&str; 9] =
    ["title", "text", "action_item", "task", "action", "item", "description", "content", "summary"];
const OWNERS: [&str; 8] =
    ["owner_email", "owner", "assignee", "assigned_to", "assignees", "owners", "responsible", "person"];
const DUES: [&str; 5] = ["due_date", "due", "deadline", "due_at", "due_by"];

/// What an object tells of the file and not of its items.
const ABOUT_THE_FILE: [&str; 6] = ["object", "type", "id", "language", "status", "meeting_id"];

/// Where an object has a list of items.
const LISTS: [&str; 4] = ["action_items", "items", "tasks", "actions"];

/// A mark that begins an item of a list in plain text.
static BULLET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(?:[-*•‣◦]|\d{1,3}[.)]|\[[ xX]?\])\s+"));

/// A name before a colon or a dash, at the beginning.
static NAMED_BEFORE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\[?@?([^\[\]:–—]{2,60}?)\]?\s*(?::|\s[-–—])\s"));

/// A name before what its bearer has to do, at the beginning, and the first word of that.
static NAMED_TO_DO: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^@?((?:\S+\s+){1,4}?)(?:will|to|shall|should|must|needs\s+to|has\s+to|is\s+to|is\s+going\s+to|agreed\s+to|promised\s+to|commits?\s+to|committed\s+to|offered\s+to)\s+(\S+)",
    )
});

/// What somebody does who has nothing to do: others do it for them.
const DONE_FOR_THEM: [&str; 9] = ["be", "get", "receive", "have", "hear", "see", "learn", "obtain", "not"];

/// Words of mailboxes that are nobody's own.
const ROLES: [&str; 17] = [
    "sales",
    "support",
    "info",
    "contact",
    "team",
    "hello",
    "office",
    "admin",
    "billing",
    "marketing",
    "finance",
    "legal",
    "engineering",
    "product",
    "service",
    "customer",
    "operations",
];

/// A name after a word that says what it stands for.
static NAMED_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)(?:\b(?:owner|assignee|responsible)\s*[:=]\s*|\bassigned\s+to:?\s+|\(\s*@)([^()\[\],;:]{2,60}?)\s*(?:[)\],;]|\.(?:\s|$)|$)",
    )
});

/// Somebody in the meeting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The address.
    pub address: EmailAddress,
    /// The name, in lower case and without blanks around and between its words but one.
    name: Option<String>,
}

/// Everybody in an event, each once.
#[must_use]
pub fn people_in(event: &Event) -> Vec<Person> {
    let organizer = event.organizer.iter().map(|person| (person.email.as_deref(), person.name.as_deref()));
    let invited = event.participants.iter().flatten().map(|person| (person.email.as_deref(), person.name.as_deref()));
    let mut people: Vec<Person> = Vec::new();
    for (address, name) in organizer.chain(invited) {
        let Some(address) = address.and_then(EmailAddress::parse) else { continue };
        let name = name.map(plain_name).filter(|name| !name.is_empty() && !name.contains('@'));
        match people.iter_mut().find(|person| person.address == address) {
            Some(known) => known.name = known.name.take().or(name),
            None => people.push(Person { address, name }),
        }
    }
    people
}

fn plain_name(name: &str) -> String {
    one_line(name.trim_matches(|character: char| !character.is_alphanumeric())).to_lowercase()
}

/// The one person who can be meant by a name or an address; none if nobody can, or more than one.
fn meant<'a>(named: &str, people: &'a [Person]) -> Option<&'a EmailAddress> {
    if named.contains('@')
        && let Some(address) = EmailAddress::parse(named.trim())
    {
        return people.iter().map(|person| &person.address).find(|known| **known == address);
    }
    let name = plain_name(named);
    if name.is_empty() {
        return None;
    }
    let is_meant = |person: &&Person| {
        let known_as = person.name.as_deref();
        let first_name = known_as.and_then(|name| name.split(' ').next());
        known_as == Some(&name) || first_name == Some(&name) || name_in(&person.address).as_deref() == Some(&name)
    };
    match people.iter().filter(is_meant).collect::<Vec<_>>().as_slice() {
        [one] => Some(&one.address),
        _ => None,
    }
}

/// `dana.reyes@acme.example` is somebody called Dana Reyes; one word alone, or that of a role, is nobody's name for certain.
fn name_in(address: &EmailAddress) -> Option<String> {
    let mailbox = address.local_part().split('+').next().unwrap_or_default();
    let words: Vec<&str> = mailbox.split(['.', '_', '-']).filter(|word| !word.is_empty()).collect();
    let is_name = words.len() > 1 && !words.iter().any(|word| ROLES.contains(word));
    is_name.then(|| words.join(" "))
}

/// An item as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Found {
    text: String,
    owner: Option<String>,
    due: Option<String>,
}

/// The items in a file; `meeting` is the day of the meeting, which `tomorrow` is counted from.
#[must_use]
pub fn action_items(file: &Value, people: &[Person], meeting: Option<Date>) -> Vec<ActionItem> {
    let mut found = Vec::new();
    collect(file, None, 0, &mut found);
    let mut seen = BTreeSet::new();
    found
        .into_iter()
        .filter(|item| seen.insert(item.text.clone()))
        .take(MOST_ITEMS)
        .map(|item| ActionItem {
            owner: owner_of(&item, people).cloned(),
            due: due_of(&item, meeting),
            text: item.text.chars().take(MOST_CHARACTERS).collect(),
        })
        .collect()
}

fn collect(value: &Value, owner: Option<&str>, depth: usize, found: &mut Vec<Found>) {
    if depth > MOST_DEPTH {
        return;
    }
    match value {
        Value::String(text) if depth == 0 => {
            // A line that ends in a colon is the heading of what follows.
            for line in text.lines().filter(|line| !line.trim_end().ends_with(':')) {
                push(line, owner, None, found);
            }
        }
        Value::String(text) => push(text, owner, None, found),
        Value::Array(items) => items.iter().for_each(|item| collect(item, owner, depth + 1, found)),
        Value::Object(fields) => object(fields, owner, depth, found),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(fields: &Map<String, Value>, owner: Option<&str>, depth: usize, found: &mut Vec<Found>) {
    let owner = OWNERS.iter().find_map(|name| who(fields.get(*name)?)).or(owner);
    let due = DUES.iter().find_map(|name| fields.get(*name)?.as_str());
    let is_empty = |list: &Value| match list {
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.trim().is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    };
    if let Some(list) = LISTS.iter().find_map(|name| fields.get(*name).filter(|list| !is_empty(list))) {
        // A text under the name of a list has an item in each line, wherever it stands.
        let depth = if list.is_string() { 0 } else { depth + 1 };
        return collect(list, owner, depth, found);
    }
    let mut texts = TEXTS.iter().filter_map(|name| fields.get(*name)?.as_str()).filter(|text| !text.trim().is_empty());
    if let Some(text) = texts.next() {
        // A title says what, and what stands beside it how.
        let more = texts.next().filter(|more| *more != text).map(|more| format!(": {more}")).unwrap_or_default();
        return push(&format!("{text}{more}"), owner, due, found);
    }
    // Grouped by whoever is to do them: `{"Dana": ["Send the plan"]}`.
    let is_group = |name: &str, items: &Value| items.is_array() || items.is_string() && !ABOUT_THE_FILE.contains(&name);
    for (name, items) in fields.iter().filter(|(name, items)| is_group(name, items)) {
        collect(items, Some(name), depth + 1, found);
    }
}

/// Who an owner's field names: one person, by name or address.
fn who(value: &Value) -> Option<&str> {
    match value {
        Value::String(name) => Some(name),
        Value::Object(fields) => {
            ["email", "name"].into_iter().find_map(|name| fields.get(name)?.as_str()).filter(|name| !name.is_empty())
        }
        Value::Array(people) => match people.as_slice() {
            [one] => who(one),
            _ => None,
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn push(text: &str, owner: Option<&str>, due: Option<&str>, found: &mut Vec<Found>) {
    let text = one_line(&BULLET.replace(text, ""));
    if text.chars().any(char::is_alphanumeric) {
        found.push(Found { text, owner: owner.map(str::to_owned), due: due.map(str::to_owned) });
    }
}

fn owner_of<'a>(item: &Found, people: &'a [Person]) -> Option<&'a EmailAddress> {
    if let Some(owner) = &item.owner {
        return meant(owner, people);
    }
    let text = item.text.as_str();
    let has_to_do = |found: &regex::Captures<'_>| {
        let first = found.get(2).map(|word| word.as_str().to_lowercase());
        first.is_none_or(|first| !DONE_FOR_THEM.contains(&first.as_str()))
    };
    let before = [&NAMED_BEFORE, &NAMED_TO_DO].into_iter().filter_map(|named| named.captures(text)).filter(has_to_do);
    let after = NAMED_AFTER.captures_iter(text);
    let named: BTreeSet<&EmailAddress> =
        before.chain(after).filter_map(|found| meant(found.get(1)?.as_str(), people)).collect();
    match named.into_iter().collect::<Vec<_>>().as_slice() {
        [one] => Some(*one),
        _ => None,
    }
}

fn due_of(item: &Found, meeting: Option<Date>) -> Option<Date> {
    match &item.due {
        Some(due) => day_at_the_beginning(due, meeting),
        None => due_in(&item.text, meeting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn people() -> Vec<Person> {
        let event = json!({"id": "e", "organizer": {"email": "ines.duarte@northwind.example"}, "participants": [
            {"email": "ines.duarte@northwind.example", "name": "Inês Duarte"}, {"email": "dana@acme.example", "name": "Dana Reyes"},
            {"email": "sam.ito@acme.example"}, {"email": "kim.a@acme.example", "name": "Kim Adler"},
            {"email": "kim.b@acme.example", "name": "Kim Brandt"}, {"name": "Nobody"}, {"email": "sales@acme.example"},
            {"email": "customer.service@acme.example"}, {"email": "lee@acme.example", "name": "Lee Moss"},
            {"email": "lm@acme.example", "name": "Lee Mason"},
        ]});
        people_in(&serde_json::from_value(event).expect("an event"))
    }

    fn items(file: &Value) -> Vec<ActionItem> {
        action_items(file, &people(), "2026-11-30".parse().ok())
    }

    fn owner(text: &str) -> Option<String> {
        let mut items = items(&json!([text]));
        assert_eq!(items.len(), 1, "{text}");
        assert_eq!(items[0].text, text);
        items.remove(0).owner.map(|owner| owner.to_string())
    }

    #[test]
    fn items_are_read_in_each_of_their_forms() {
        let plan = |file: Value| items(&file).into_iter().map(|item| item.text).collect::<Vec<_>>();
        for file in [
            json!(["Send the plan", "Call Sam"]),
            json!({"action_items": ["Send the plan", "Call Sam"]}),
            json!({"object": "action_items", "action_items": [{"text": "Send the plan"}, {"task": "Call Sam"}]}),
            json!([{"title": "Send the plan"}, {"action_item": "Call Sam"}, {"other": 1}, "", " – ", null, 7]),
            json!("- Send the plan\n- Call Sam\n"),
            json!("1. Send the plan\n2) Call Sam"),
            json!({"action_items": "* Send the plan\n* Call Sam"}),
            json!({"action_items": {"Ines": ["Send the plan"], "Sam": ["Call Sam"]}}),
            json!([{"assignee": "Dana", "items": ["Send the plan", "Call Sam"]}]),
            json!(["Send the plan", "Send  the\nplan", "Call Sam"]),
            json!(["- Send the plan", "[ ] Call Sam"]),
            json!("Action items:\n- Send the plan\n- Call Sam"),
            json!({"type": "list", "Dana": "Send the plan", "Sam": "Call Sam"}),
            json!({"text": "", "items": ["Send the plan", "Call Sam"], "tasks": []}),
            json!([{"text": "Send the plan", "items": []}, {"text": "Call Sam"}]),
        ] {
            assert_eq!(plan(file.clone()), ["Send the plan", "Call Sam"], "{file}");
        }
        for nothing in [json!(null), json!([]), json!({}), json!(""), json!({"action_items": null}), json!(7)] {
            assert_eq!(plan(nothing.clone()), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn owner_is_whoever_the_text_names_and_was_there() {
        for (text, address) in [
            ("Dana: send the plan", "dana@acme.example"),
            ("@Dana Reyes - send the plan", "dana@acme.example"),
            ("[Dana Reyes]: send the plan", "dana@acme.example"),
            ("Dana will send the plan", "dana@acme.example"),
            ("Sam Ito to send the plan", "sam.ito@acme.example"),
            ("Kim Brandt needs to send the plan", "kim.b@acme.example"),
            ("Send the plan (@Dana)", "dana@acme.example"),
            ("Send the plan (owner: Dana Reyes)", "dana@acme.example"),
            ("Send the plan. Owner: dana@acme.example", "dana@acme.example"),
            ("Send the plan, assigned to Dana", "dana@acme.example"),
            ("Inês to prepare the offer", "ines.duarte@northwind.example"),
            ("Ines Duarte to prepare the offer", "ines.duarte@northwind.example"),
        ] {
            assert_eq!(owner(text).as_deref(), Some(address), "{text}");
        }
    }

    #[test]
    fn title_and_what_stands_beside_it_are_one_text() {
        let file = json!([{"title": "Plan", "description": "Send it by Friday", "owner": "Dana"}]);
        let item = items(&file).remove(0);
        assert_eq!(
            (item.text.as_str(), item.due.map(|day| day.to_string()).as_deref()),
            ("Plan: Send it by Friday", Some("2026-12-04"))
        );
        assert!(item.owner.is_some());
    }

    #[test]
    fn owner_is_never_a_guess() {
        for text in [
            "Send the plan",
            "Send the plan to Dana",
            "Kim will send the plan",
            "Lee will send the plan",
            "Sam will send the plan",
            "Dana and Inês will send the plan",
            "Dana: ask Inês (@Inês)",
            "Robert: send the plan",
            "Send the plan (urgent)",
            "We will call Dana",
            "Note: the plan is late",
            "Send the plan (Dana)",
            "Call the buyer (Dana)",
            "Dana should receive the plan",
            "Dana to be sent the contract by Inês",
            "Dana will get the plan from Inês",
            "Sales: prepare the offer",
            "Customer Service to prepare the offer",
        ] {
            assert_eq!(owner(text), None, "{text}");
        }
        let by_field = |owner: Value| items(&json!([{"text": "Send", "owner": owner}])).remove(0).owner;
        assert!(by_field(json!("Dana")).is_some() && by_field(json!({"email": "dana@acme.example"})).is_some());
        assert!(by_field(json!(["Dana Reyes"])).is_some());
        for nobody in [json!("Kim"), json!(["Dana", "Sam Ito"]), json!("zoe@acme.example"), json!(null), json!(7)] {
            assert_eq!(by_field(nobody.clone()), None, "{nobody}");
        }
    }

    #[test]
    fn due_date_stands_in_its_field_or_in_the_text() {
        let due = |item: Value| items(&json!([item])).remove(0).due.map(|day| day.to_string());
        assert_eq!(due(json!("Send the plan by Friday")).as_deref(), Some("2026-12-04"));
        for field in [json!("2026-12-04"), json!("2026-12-04T09:00:00Z"), json!("December 4"), json!("Friday")] {
            assert_eq!(due(json!({"text": "Send", "due_date": field})).as_deref(), Some("2026-12-04"), "{field}");
        }
        for nothing in [json!("soon"), json!(""), json!(null), json!("next week")] {
            assert_eq!(due(json!({"text": "Send", "due_date": nothing})), None, "{nothing}");
        }
    }

    #[test]
    fn items_and_their_texts_are_bounded() {
        let many: Vec<String> = (0..1000).map(|number| format!("{number} {}", "long ".repeat(1000))).collect();
        let items = items(&json!(many));
        assert_eq!(items.len(), MOST_ITEMS);
        assert!(items.iter().all(|item| item.text.chars().count() <= MOST_CHARACTERS));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "(Dana|Kim|will|to|owner:|[(@\\[]|\\PC{0,4}| ){0,12}") {
            prop_assert!(items(&json!([text.clone()])).len() <= 1);
            items(&json!(text));
        }
    }
}

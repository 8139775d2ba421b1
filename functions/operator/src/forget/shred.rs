//! Takes a person out of a value, whatever its form, and leaves the rest of it as it is.

use serde_json::{Map, Value};

use super::person::{FORGOTTEN, Person};

/// Fields whose lists are asked again for each of their entries: an entry that named the person is taken out of these, where
/// the word in its place would be looked up. `waits_for` lists addresses that may become contacts, `calendars` the ids of
/// calendars, which Google makes of addresses.
const ASKED_AGAIN: [&str; 2] = ["waits_for", "calendars"];

/// Fields that hold an address; what stands beside them in the same object under [`NAMES`] is the name of its owner.
const ADDRESSES: [&str; 2] = ["email", "address"];
const NAMES: [&str; 2] = ["name", "display_name"];

/// Puts [`FORGOTTEN`] in the place of everything in a value that names the person, at any depth and in the names of fields
/// too, and of the person's name beside an address. Answers how many texts were changed.
pub fn shred(value: &mut Value, person: &Person) -> usize {
    match value {
        Value::String(text) => person.taken_out_of(text).map_or(0, |left| {
            *text = left;
            1
        }),
        Value::Array(values) => values.iter_mut().map(|value| shred(value, person)).sum(),
        Value::Object(fields) => shred_fields(fields, person),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The same for the fields of an object.
pub fn shred_fields(fields: &mut Map<String, Value>, person: &Person) -> usize {
    let mut changed = 0;
    let owner =
        ADDRESSES.iter().any(|name| fields.get(*name).and_then(Value::as_str).is_some_and(|text| person.is(text)));
    for (name, value) in fields.iter_mut() {
        if let (true, Value::Array(entries)) = (ASKED_AGAIN.contains(&name.as_str()), &mut *value) {
            let before = entries.len();
            entries.retain(|entry| !entry.as_str().is_some_and(|text| person.is_named_in(text)));
            changed += before - entries.len();
        }
        if owner && NAMES.contains(&name.as_str()) && value.is_string() && value != FORGOTTEN {
            *value = FORGOTTEN.into();
            changed += 1;
        } else {
            changed += shred(value, person);
        }
    }
    let named: Vec<String> = fields.keys().filter(|name| person.is_named_in(name)).cloned().collect();
    for name in named {
        let value = fields.remove(&name).unwrap_or_default();
        let left = person.taken_out_of(&name).unwrap_or(name);
        // Two fields may have named the person in two spellings.
        let mut free = left.clone();
        let mut number = 1;
        while fields.contains_key(&free) {
            number += 1;
            free = format!("{left} {number}");
        }
        fields.insert(free, value);
        changed += 1;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::super::person::tests::{encoded, person};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn person_is_taken_out_at_every_depth_with_the_name_beside_the_address() {
        let mut value = json!({
            "reason": "the CRM refused Dana@acme.example: bad address",
            "from": {"email": "dana@acme.example", "name": "Dana Chen", "rsvp": "yes"},
            "cc": [{"email": "ben@acme.example", "name": "Ben"}],
            "unmatched": ["ben@acme.example", "Dana <dana+x@acme.example>"],
            "waits_for": ["ben@acme.example", "dana@acme.example"],
            "copies": [{"calendars": ["dana@acme.example", "team"], "grant": "g"}],
            "by": {"dana@acme.example": 1, "DANA@acme.example": 2, "ben@acme.example": 3},
            "count": 7, "passing": true, "deal": null,
        });
        assert_eq!(shred(&mut value, &person("dana@acme.example")), 8);
        let by = value.as_object_mut().and_then(|fields| fields.remove("by")).expect("it stays");
        assert_eq!(by.as_object().map(|by| by.keys().cloned().collect::<Vec<_>>().len()), Some(3));
        assert_eq!((&by["ben@acme.example"], by.get("forgotten 2").is_some()), (&json!(3), true), "{by}");
        assert_eq!(
            value,
            json!({
                "reason": "the CRM refused forgotten: bad address",
                "from": {"email": "forgotten", "name": "forgotten", "rsvp": "yes"},
                "cc": [{"email": "ben@acme.example", "name": "Ben"}],
                "unmatched": ["ben@acme.example", "forgotten"],
                "waits_for": ["ben@acme.example"],
                "copies": [{"calendars": ["team"], "grant": "g"}],
                "count": 7, "passing": true, "deal": null,
            })
        );
    }

    /// Any value whose texts name nobody.
    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Puts texts at places of a value, and answers how many found one.
    fn put(value: &mut Value, texts: &mut Vec<String>) -> usize {
        match value {
            Value::String(text) => texts.pop().map_or(0, |name| {
                *text = format!("{text} {name}");
                1
            }),
            Value::Array(values) => values.iter_mut().map(|value| put(value, texts)).sum(),
            Value::Object(fields) => fields.values_mut().map(|value| put(value, texts)).sum(),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn what_names_nobody_is_not_changed(value in values()) {
            let mut shredded = value.clone();
            prop_assert_eq!(shred(&mut shredded, &person("dana.canary@acme.example")), 0);
            prop_assert_eq!(shredded, value);
        }

        #[test]
        fn no_spelling_is_left_anywhere_and_a_second_time_changes_nothing(
            value in values(),
            spellings in prop::collection::vec((any::<bool>(), "(\\+[a-z]{1,4})?", 0..3_usize), 1..6),
        ) {
            let dana = person("dana.canary@acme.example");
            let mut texts: Vec<String> = spellings
                .iter()
                .map(|(upper, tag, times)| {
                    let plain = format!("dana.canary{tag}@acme.example");
                    encoded(&if *upper { plain.to_uppercase() } else { plain }, *times)
                })
                .collect();
            let mut named = value.clone();
            let put = put(&mut named, &mut texts);
            prop_assert_eq!(shred(&mut named, &dana), put);
            let left = named.to_string();
            prop_assert!(!dana.is_named_in(&left) && !left.to_lowercase().contains("dana.canary"), "{}", left);
            let once = named.clone();
            prop_assert_eq!(shred(&mut named, &dana), 0);
            prop_assert_eq!(named, once);
        }
    }
}

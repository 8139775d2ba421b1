//! What goes into the samples, and what is found again.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{DIGITS, Form, WORD, form_of, found_in, text_fields, with_canaries};
use crate::local_engine::project_root;
use crate::samples::read_folder;

#[test]
fn address_gets_the_canary_in_its_local_part_and_stays_an_address() {
    let mail = json!({"from": [{"email": "Marta.Kowal+northwind@Halden-Robotics.example"}], "bounced_addresses": ["a@b.example"]});
    let expected = json!({
        "from": [{"email": "canary4f9a.Marta.Kowal+northwind@Halden-Robotics.example"}],
        "bounced_addresses": ["canary4f9a.a@b.example"],
    });
    assert_eq!(with_canaries(&mail), expected);
}

#[test]
fn mailboxes_of_the_stacks_parameters_and_machines_keep_their_addresses() {
    for address in
        ["support@northwind.example", "welcome@northwind.example", "mailer-daemon@mx.example", "no-reply@p.example"]
    {
        assert_eq!(with_canaries(&json!({ "email": address })), json!({ "email": address }));
    }
}

#[test]
fn calendar_whose_id_is_an_address_gets_the_canary_and_another_keeps_its_id() {
    let both = json!([{"calendar_id": "ines@northwind.example"}, {"calendar_id": "AAMkADk5="}]);
    assert_eq!(
        with_canaries(&both),
        json!([{"calendar_id": "canary4f9a.ines@northwind.example"}, {"calendar_id": "AAMkADk5="}])
    );
}

#[test]
fn words_get_the_canary_in_front_but_behind_what_says_which_kind_of_mail_it_is() {
    let mail = json!({
        "subject": "Automatic reply: Our contract", "title": "First call", "snippet": "",
        "body": "<div dir=\"ltr\"><p>All,</p>", "notes": "Write to a@b.example",
    });
    let expected = json!({
        "subject": "Automatic reply: canary4f9a Our contract", "title": "canary4f9a First call", "snippet": "",
        "body": "<div dir=\"ltr\"><p>canary4f9a All,</p>", "notes": "canary4f9a Write to canary4f9a.a@b.example",
    });
    assert_eq!(with_canaries(&mail), expected);
}

#[test]
fn numbers_become_canaries_that_differ_by_their_last_two_digits() {
    let numbers = json!({"phone_numbers": [{"number": "+46 (0)70-174 06 42"}, {"number": "+44 20 7946 0077"}], "pin": "418 220 7"});
    let expected = json!({
        "phone_numbers": [{"number": "+46 314159265342"}, {"number": "+44 314159265377"}], "pin": "314159265307",
    });
    assert_eq!(with_canaries(&numbers), expected);
    assert_eq!(
        with_canaries(&json!({"details": {"phone": ["tel:+46555010190"]}})),
        json!({"details": {"phone": ["tel:314159265390"]}})
    );
}

#[test]
fn links_files_browsers_and_network_addresses_get_theirs() {
    let fields = json!({
        "meeting_link": "https://meet.example/abc?pwd=1", "url": "https://northwind.example/setup", "filename": "offer.pdf",
        "attachments": [{"content_type": "application/pdf; name=\"offer.pdf\""}], "ip": "192.0.2.7", "user_agent": "Mozilla/5.0",
    });
    let expected = json!({
        "meeting_link": "https://meet.example/abc-canary4f9a?pwd=1", "url": "https://northwind.example/setup",
        "filename": "canary4f9a-offer.pdf",
        "attachments": [{"content_type": "application/pdf; name=\"canary4f9a-offer.pdf\""}], "ip": "198.51.100.159",
        "user_agent": "Mozilla/5.0 canary4f9a",
    });
    assert_eq!(with_canaries(&fields), expected);
}

#[test]
fn headers_get_it_in_names_addresses_and_subjects_and_keep_ids_marks_and_types() {
    let value = |text: &str| json!({"headers": [{"name": "x", "value": text}]});
    for (plain, marked) in [
        ("Jonas Brandt <jonas@halden.example>", "canary4f9a Jonas Brandt <canary4f9a.jonas@halden.example>"),
        ("Are you there?", "canary4f9a Are you there?"),
        ("<0f5995@hartmann-counsel.example>", "<0f5995@hartmann-counsel.example>"),
        ("auto-replied", "auto-replied"),
        ("multipart/report; boundary=\"b1\"", "multipart/report; boundary=\"b1\""),
        ("{{loop-id}}", "{{loop-id}}"),
    ] {
        assert_eq!(with_canaries(&value(plain)), value(marked));
    }
}

#[test]
fn ids_types_and_times_stay_as_they_are() {
    let plain =
        json!({"id": "evt_31c9a0d4", "type": "customer.signed_up", "occurred_at": "2026-11-18T12:04:11Z", "n": 7});
    assert_eq!(with_canaries(&plain), plain);
}

#[test]
fn canaries_go_into_the_bodies_of_the_records_and_an_event_without_records_stays_as_it_is() {
    let event =
        json!({"Records": [{"messageId": "m", "body": "{\"name\":\"Lea\"}"}, {"body": "{cut off a@b.example"}]});
    let marked = json!({
        "Records": [
            {"messageId": "m", "body": "{\"name\":\"canary4f9a Lea\"}"}, {"body": "{cut off canary4f9a.a@b.example"},
        ],
    });
    assert_eq!(super::event_with_canaries(&event), marked);
    let nightly = json!({"type": "contacts.sync"});
    assert_eq!(super::event_with_canaries(&nightly), nightly);
}

#[test]
fn canary_is_found_in_any_letters_percent_encoded_and_as_hex_or_base64_wherever_it_stands() {
    let word = |text: &str| found_in(text).is_some();
    assert!(word("to canary4f9a.marta@x.example") && word("CANARY4F9A") && word("a%20%43anary4%469a"));
    assert!(word(&hex::encode("x canary4f9a y")) && word(&hex::encode("CANARY4F9A").to_uppercase()));
    for before in ["", "a", "ab", "abc"] {
        for canary in [WORD.to_owned(), WORD.to_uppercase(), format!("+46 {DIGITS}42")] {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(format!("{before}{canary} behind"));
            assert_eq!(found_in(&format!("x={text}")), Some("base64"), "{before}{canary}");
        }
    }
    assert!(word("+46 (31) 41-59.26 53 42") && word("198.51.100.159"));
    for harmless in ["", "a canary sang", "3141592 653", "%zz%", "68656c6c6f", "31415926"] {
        assert_eq!(found_in(harmless), (harmless == "3141592 653").then_some("a number"), "{harmless}");
    }
}

#[test]
fn every_text_field_of_every_sample_is_impersonal_by_name_or_gets_a_canary() {
    let events = project_root().join("events");
    let mut values = Vec::new();
    for entry in std::fs::read_dir(&events).expect("the samples") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        if !folder.is_dir() || name == "operator" {
            continue;
        }
        if name == "demo" {
            for file in ["contacts.json", "mailboxes.json"] {
                let text = std::fs::read(folder.join(file)).expect("a file");
                values.push((format!("demo/{file}"), serde_json::from_slice(&text).expect("JSON")));
            }
            continue;
        }
        for sample in read_folder(&folder).expect("samples") {
            // What is cut off is no JSON, and what has no body tells nothing.
            if let Ok(value) = serde_json::from_str::<Value>(&sample.text()) {
                values.push((format!("{name}/{}", sample.name), value));
            }
        }
    }
    assert!(values.len() > 100, "only {} samples", values.len());
    let (mut forgotten, mut bare, mut seen) = (BTreeSet::new(), String::new(), BTreeSet::new());
    for (sample, value) in &values {
        let marked = with_canaries(value);
        let mut texts = Vec::new();
        text_fields(&marked, &mut |_, text| texts.push(text.to_owned()));
        let mut texts = texts.into_iter();
        text_fields(value, &mut |path, text| {
            let marked = texts.next().expect("the same fields");
            let Some(form) = form_of(path) else {
                forgotten.insert(format!("{} in {sample}", path.join(".")));
                return;
            };
            seen.insert(path.last().copied().unwrap_or_default().to_owned());
            let may_be_bare = match form {
                Form::Impersonal | Form::NamesAFile | Form::Header | Form::IdOrAddress | Form::Folder => true,
                Form::Address => {
                    text.starts_with("no-reply@")
                        || text.starts_with("mailer-daemon@")
                        || super::OWN_MAILBOXES.contains(&text)
                }
                Form::Link => text.starts_with(super::OWN_LINKS),
                _ => false,
            };
            if !text.is_empty() && !may_be_bare && found_in(&marked).is_none() {
                let _ = writeln!(bare, "{} in {sample}: {marked}", path.join("."));
            }
        });
    }
    assert!(forgotten.is_empty(), "put these into PERSONAL or IMPERSONAL: {forgotten:#?}");
    assert!(bare.is_empty(), "no canary went into these:\n{bare}");
    let listed = super::PERSONAL.iter().map(|(name, _)| *name).chain(super::IMPERSONAL.iter().copied());
    let unused: Vec<&str> = listed.filter(|name| !seen.contains(name.rsplit('.').next().unwrap_or_default())).collect();
    assert!(unused.is_empty(), "no sample has these fields any more: {unused:?}");
}

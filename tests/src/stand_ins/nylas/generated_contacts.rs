//! People made of a seed and a number, as address books and a CRM know them: always the same, without any of them being held.

use serde_json::{Map, Value, json};

use super::traffic::is_exchange;
use crate::stand_ins::CrmContact;

/// Given names and surnames of one script, each with its spelling in addresses.
type Names = (&'static [(&'static str, &'static str)], &'static [(&'static str, &'static str)]);

const LATIN: Names = (
    &[
        ("Marta", "marta"),
        ("Jonas", "jonas"),
        ("Zoë", "zoe"),
        ("Łukasz", "lukasz"),
        ("Inês", "ines"),
        ("Åsa", "asa"),
        ("Chidi", "chidi"),
        ("Nguyệt", "nguyet"),
        ("Jean-Luc", "jean-luc"),
        ("Siobhán", "siobhan"),
        ("İlker", "ilker"),
        ("Thomas", "thomas"),
    ],
    &[
        ("Kowalczyk", "kowalczyk"),
        ("Brandt", "brandt"),
        ("Müller", "mueller"),
        ("O'Brien", "obrien"),
        ("Strand", "strand"),
        ("van der Berg", "vanderberg"),
        ("Núñez", "nunez"),
        ("Okafor", "okafor"),
        ("Trần", "tran"),
        ("Yıldız", "yildiz"),
        ("Šimić", "simic"),
        ("Moreau", "moreau"),
    ],
);

const OTHER_SCRIPTS: [Names; 7] = [
    (&[("Ольга", "olga"), ("Дмитро", "dmytro")], &[("Петренко", "petrenko"), ("Соколова", "sokolova")]),
    (&[("Ελένη", "eleni"), ("Νίκος", "nikos")], &[("Παπαδάκη", "papadaki"), ("Οικονόμου", "oikonomou")]),
    (&[("健太", "kenta"), ("さくら", "sakura")], &[("佐藤", "sato"), ("高橋", "takahashi")]),
    (&[("伟", "wei"), ("秀英", "xiuying")], &[("王", "wang"), ("陈", "chen")]),
    (&[("민준", "minjun"), ("서연", "seoyeon")], &[("김", "kim"), ("박", "park")]),
    (&[("ليلى", "layla"), ("يوسف", "yusuf")], &[("حداد", "haddad"), ("منصور", "mansour")]),
    (&[("प्रिया", "priya"), ("अर्जुन", "arjun")], &[("शर्मा", "sharma"), ("पटेल", "patel")]),
];

/// Companies with their domains. The CRM knows the people of the first ones.
const COMPANIES: [(&str, &str); 20] = [
    ("Alder Freight", "alder-freight.example"),
    ("Bluefin Analytics", "bluefin-analytics.example"),
    ("Cobalt & Söhne GmbH", "cobalt-soehne.example"),
    ("Dunmore Textiles Ltd.", "dunmore-textiles.example"),
    ("Elmfield Hospitals", "elmfield-hospitals.example"),
    ("Ferrous Works", "ferrous-works.example"),
    ("Glasshouse Foods", "glasshouse-foods.example"),
    ("Harrow & Pike", "harrow-pike.example"),
    ("Ironbridge Insurance", "ironbridge-insurance.example"),
    ("Juniper Schools", "juniper-schools.example"),
    ("Kestrel Aviation", "kestrel-aviation.example"),
    ("Lindqvist Möbler AB", "lindqvist-mobler.example"),
    ("Marlow Pharma", "marlow-pharma.example"),
    ("Nordlys Energi AS", "nordlys-energi.example"),
    ("Oakhaven Hotels", "oakhaven-hotels.example"),
    ("Pinewood Press", "pinewood-press.example"),
    ("Quarry Stone S.A.", "quarry-stone.example"),
    ("Ravensworth Legal LLP", "ravensworth-legal.example"),
    ("さくら物流株式会社", "sakura-logistics.example"),
    ("Tamarind Travel", "tamarind-travel.example"),
];

const COMPANIES_IN_CRM: usize = 6;

const JOB_TITLES: [&str; 14] = [
    "Head of Operations",
    "Chief Technology Officer",
    "Procurement Lead",
    "Facilities Manager",
    "VP, Sales & Marketing",
    "Geschäftsführerin",
    "Directeur général",
    "営業部長",
    "Software Engineer",
    "Office Manager",
    "CFO",
    "Integration Partner",
    "Buyer (EMEA)",
    "owner",
];

/// What is drawn for one purpose does not change what is drawn for another.
#[derive(Clone, Copy)]
enum Purpose {
    Person,
    Contact,
    Mails,
    Phones,
    JobTitle,
    Crm,
}

/// Numbers that look like chance and are the same each time (`SplitMix64`).
struct Draw(u64);

impl Draw {
    fn new(seed: u64, index: u64, purpose: Purpose) -> Self {
        let mut of_seed = Self(seed);
        let mut of_index = Self(of_seed.number() ^ index);
        Self(of_index.number() ^ purpose as u64)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True in so many of a hundred draws.
    fn in_hundred(&mut self, hits: u64) -> bool {
        self.below(100) < hits
    }

    fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let place = self.below(choices.len() as u64);
        &choices[usize::try_from(place).unwrap_or_default()]
    }
}

/// What is the same of a person wherever somebody knows them.
struct Person {
    index: u64,
    given_name: (&'static str, &'static str),
    surname: (&'static str, &'static str),
    company: usize,
    has_mails: bool,
}

impl Person {
    fn new(seed: u64, index: u64) -> Self {
        let mut draw = Draw::new(seed, index, Purpose::Person);
        let (given_names, surnames) = if draw.in_hundred(70) { LATIN } else { *draw.of(&OTHER_SCRIPTS) };
        Self {
            index,
            given_name: *draw.of(given_names),
            surname: *draw.of(surnames),
            company: usize::try_from(draw.below(COMPANIES.len() as u64)).unwrap_or_default(),
            has_mails: draw.in_hundred(88),
        }
    }

    /// The address at work, which nobody else has by birth.
    fn address(&self) -> String {
        format!("{}.{}{}@{}", self.given_name.1, self.surname.1, self.index, self.domain())
    }

    /// Another address of the same mailbox.
    fn alias(&self) -> String {
        let initial = self.given_name.1.chars().next().unwrap_or('x');
        format!("{initial}{}{}@{}", self.surname.1, self.index, self.domain())
    }

    fn domain(&self) -> &'static str {
        COMPANIES[self.company].1
    }
}

/// What tells the ids of one seed from those of another.
fn tag(seed: u64) -> u64 {
    Draw(seed).number() >> 32
}

/// The id of a generated contact, in the manner of its provider. Those of Exchange must be encoded in a path.
fn id_of(seed: u64, index: u64, provider: &str) -> String {
    let id = format!("c{:08x}{index:012x}", tag(seed));
    if is_exchange(provider) { format!("AAMkAD{id}/+BEAAA==") } else { id }
}

/// The index of the contact with this id; none if the seed has no such contact.
pub(super) fn index_of(seed: u64, id: &str, provider: &str) -> Option<u64> {
    let bare = if is_exchange(provider) { id.strip_prefix("AAMkAD")?.strip_suffix("/+BEAAA==")? } else { id };
    let index = u64::from_str_radix(bare.get(9..)?, 16).ok()?;
    (id_of(seed, index, provider) == id).then_some(index)
}

/// The contact with this index of an account of the provider, as Nylas shows it but for its `grant_id`. The same seed and
/// index give the same contact, and on each provider the same person. [`generated_crm_contact`] is who a CRM knows of them.
///
/// Of a hundred, some 85 are in the address book; the others come from the inbox or the domain, and tell little. Most have one
/// address at work, some two or three (an alias, one with a plus, one at home), in capitals now and then, and some none. Two
/// have the address of another one. Telephone numbers are written in any way. Any list may be null or missing, and texts may
/// be null, empty, or have blanks round them.
#[must_use]
pub fn generated_contact(seed: u64, index: u64, provider: &str) -> Value {
    let person = Person::new(seed, index);
    let mut draw = Draw::new(seed, index, Purpose::Contact);
    let source = match draw.below(100) {
        ..85 => "address_book",
        85..95 => "inbox",
        _ => "domain",
    };
    let mut contact = Map::new();
    contact.insert("id".to_owned(), id_of(seed, index, provider).into());
    contact.insert("object".to_owned(), "contact".into());
    contact.insert("source".to_owned(), source.into());
    if source == "address_book" {
        fill_from_address_book(&mut contact, &person, seed, provider, &mut draw);
    } else {
        let email = json!([{ "email": address_in_book(&person, seed) }]);
        contact.insert("emails".to_owned(), email);
        if source == "domain" || draw.in_hundred(40) {
            contact.insert("given_name".to_owned(), person.given_name.0.into());
            contact.insert("surname".to_owned(), person.surname.0.into());
        }
        if source == "domain" {
            contact.extend(job_title(&person, seed).map(|title| ("job_title".to_owned(), title)));
            contact.insert("phone_numbers".to_owned(), Value::Null);
        }
    }
    Value::Object(contact)
}

fn fill_from_address_book(
    contact: &mut Map<String, Value>,
    person: &Person,
    seed: u64,
    provider: &str,
    draw: &mut Draw,
) {
    let index = person.index;
    for (key, name) in [("given_name", person.given_name.0), ("surname", person.surname.0)] {
        let is_told = draw.in_hundred(96);
        contact.insert(key.to_owned(), is_told.then_some(name).into());
    }
    let texts = [
        ("job_title", job_title(person, seed)),
        ("company_name", text_as_typed(COMPANIES[person.company].0, draw)),
        ("middle_name", draw.in_hundred(10).then(|| "J.".into())),
        ("nickname", draw.in_hundred(8).then(|| person.given_name.1.into())),
        ("suffix", draw.in_hundred(2).then(|| "Jr.".into())),
        ("birthday", draw.in_hundred(8).then(|| format!("19{}-{:02}-17", 60 + index % 40, 1 + index % 12).into())),
        ("notes", draw.in_hundred(15).then(|| "Met at the fair.\nCall before noon.".into())),
        ("manager_name", draw.in_hundred(8).then(|| "Ines Duarte".into())),
        ("office_location", draw.in_hundred(8).then(|| "Building 4, second floor".into())),
        ("picture_url", draw.in_hundred(20).then(|| format!("https://pictures.example/{index}.jpg").into())),
    ];
    contact.extend(texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))));

    let company = COMPANIES[person.company].1;
    let or_none = |is_there: bool, element: Value| if is_there { vec![element] } else { Vec::new() };
    let lists = [
        ("groups", or_none(draw.in_hundred(30), json!({ "id": *draw.of(&["starred", "friends", "customers"]) }))),
        ("im_addresses", or_none(draw.in_hundred(5), json!({ "type": "jabber", "im_address": person.alias() }))),
        (
            "physical_addresses",
            or_none(
                draw.in_hundred(20),
                json!({ "type": "work", "street_address": format!("{} Market Street", index % 200), "city": "Halden" }),
            ),
        ),
        (
            "web_pages",
            or_none(draw.in_hundred(10), json!({ "type": "work", "url": format!("https://www.{company}/") })),
        ),
        ("phone_numbers", phones(person, seed)),
    ];
    for (key, list) in lists {
        match draw.below(20) {
            0 => {}
            1 => {
                contact.insert(key.to_owned(), Value::Null);
            }
            _ => {
                contact.insert(key.to_owned(), list.into());
            }
        }
    }
    match mails(person, seed, provider) {
        Some(mails) => {
            contact.insert("emails".to_owned(), mails.into());
        }
        None if draw.in_hundred(50) => {
            contact.insert("emails".to_owned(), Value::Null);
        }
        None => {}
    }
}

/// The address under which the person stands in the address book: two of a hundred have one of somebody else.
fn address_in_book(person: &Person, seed: u64) -> String {
    let mut draw = Draw::new(seed, person.index, Purpose::Mails);
    if person.index == 0 || !draw.in_hundred(2) {
        return person.address();
    }
    let others = (0..4).map(|_| Person::new(seed, draw.below(person.index)));
    others.into_iter().find(|other| other.has_mails).map_or_else(|| person.address(), |other| other.address())
}

/// The element of `emails` for each address; none where the list is null or missing.
fn mails(person: &Person, seed: u64, provider: &str) -> Option<Vec<Value>> {
    let own = address_in_book(person, seed);
    // Apart from the draws for the address, of which the number varies.
    let mut draw = Draw::new(seed ^ 1, person.index, Purpose::Mails);
    if !person.has_mails {
        return draw.in_hundred(15).then(Vec::new);
    }
    let home = format!("{}{}@mail.example", person.given_name.1, person.index);
    let with_plus = own.replacen('@', "+events@", 1);
    let mut addresses = vec![(own.clone(), "work")];
    match draw.below(100) {
        ..76 => {}
        76..81 => addresses.push((person.alias(), "work")),
        81..86 => addresses.push((with_plus, "other")),
        86..89 => addresses.push((own.to_uppercase(), "work")),
        89..93 => addresses.insert(0, (home, "home")),
        93..97 => addresses.extend([(home, "home"), (person.alias(), "work")]),
        _ => addresses.extend([(with_plus, "work"), (person.alias(), "other")]),
    }
    if draw.in_hundred(6) {
        addresses[0].0 = addresses[0].0.to_uppercase();
    }
    let element = |(address, kind): (String, &str)| {
        let mut element = json!({ "email": address });
        match draw.below(20) {
            _ if is_exchange(provider) => {}
            0 => element["type"] = Value::Null,
            1 => element["type"] = "".into(),
            2 => {}
            _ => element["type"] = kind.into(),
        }
        element
    };
    Some(addresses.into_iter().map(element).collect())
}

fn phones(person: &Person, seed: u64) -> Vec<Value> {
    let mut draw = Draw::new(seed, person.index, Purpose::Phones);
    let count = match draw.below(100) {
        ..25 => 0,
        25..70 => 1,
        70..90 => 2,
        _ => 3,
    };
    let phone = |_| {
        let mut phone = json!({ "number": phone_number(&mut draw) });
        match draw.below(20) {
            ..8 => phone["type"] = "work".into(),
            8..13 => phone["type"] = "mobile".into(),
            13 => phone["type"] = "home".into(),
            14 => phone["type"] = "work_fax".into(),
            15 => phone["type"] = "home_fax".into(),
            16 => phone["type"] = "other".into(),
            17 => phone["type"] = "pager".into(),
            18 => phone["type"] = Value::Null,
            _ => {}
        }
        phone
    };
    (0..count).map(phone).collect()
}

/// A number as somebody typed it: of any country and in any manner, or nothing at all. No telephone has it: it is all 555.
fn phone_number(draw: &mut Draw) -> String {
    let country = *draw.of(&[1, 31, 44, 46, 47, 49, 81, 351]);
    let (first, last) = (draw.below(100), draw.below(10_000));
    match draw.below(14) {
        0..3 => format!("+{country} 555 {first:02} {last:04}"),
        3 => format!("+{country}555{first:02}{last:04}"),
        4 => format!("+{country}-555-{first:02}-{last:04}"),
        5 => format!("00{country} 555 {first:02}{last:04}"),
        6 => format!("+{country} (0) 555 / {first:02} {last:04}"),
        7 => format!("(555) 5{first:02}-{last:04}"),
        8 => format!("0555 {first:02} {last:04}"),
        9 => format!("555.5{first:02}.{last:04}"),
        10 => format!("+{country} 555 {first:02} {last:04} ext. {}", 1 + last % 400),
        11 => format!("(555) 5{first:02}-{last:04} x{}", 1 + last % 400),
        12 => format!(" +{country}\u{a0}555\u{a0}{first:02}\u{a0}{last:04} "),
        _ => String::new(),
    }
}

fn job_title(person: &Person, seed: u64) -> Option<Value> {
    let mut draw = Draw::new(seed, person.index, Purpose::JobTitle);
    let title = *draw.of(&JOB_TITLES);
    text_as_typed(title, &mut draw)
}

/// A text as it may stand in a field: as it is, with blanks round it, empty, null, or not at all.
fn text_as_typed(text: &str, draw: &mut Draw) -> Option<Value> {
    match draw.below(100) {
        ..12 => Some(Value::Null),
        12..17 => Some("".into()),
        17..22 => Some(format!("  {text} ").into()),
        22..24 => Some("   ".into()),
        24..28 => None,
        _ => Some(text.into()),
    }
}

/// Whom a CRM knows of the people that [`generated_contact`] makes: about thirty of a hundred, all those of some companies, by
/// their address at work and now and then by an alias. Of telephone, title and company each is unknown to it, or the same as
/// in the address book, or another.
#[must_use]
pub fn generated_crm_contact(seed: u64, index: u64) -> Option<CrmContact> {
    let person = Person::new(seed, index);
    if person.company >= COMPANIES_IN_CRM {
        return None;
    }
    let mut draw = Draw::new(seed, index, Purpose::Crm);
    let mut contact = CrmContact::new(&format!("con_{seed}_{index}"), &person.address());
    contact.name = Some(format!("{} {}", person.given_name.0, person.surname.0));
    contact.primary_deal_id = draw.in_hundred(40).then(|| format!("deal_{seed}_{}", person.company));
    if draw.in_hundred(20) {
        contact.other_emails.push(person.alias());
    }
    let is_text = |text: &String| !text.trim().is_empty();
    let phones = phones(&person, seed);
    let phone = phones.iter().filter_map(|phone| phone["number"].as_str()).map(str::to_owned).find(is_text);
    let title = job_title(&person, seed).and_then(|title| Some(title.as_str()?.trim().to_owned())).filter(is_text);
    contact.phone = match draw.below(10) {
        ..4 => None,
        4..8 => phone,
        _ => Some(format!("+47 555 {:02} {:04}", draw.below(100), draw.below(10_000))),
    };
    contact.job_title = match draw.below(10) {
        ..4 => None,
        4..8 => title,
        _ => Some((*draw.of(&JOB_TITLES)).to_owned()),
    };
    contact.company = draw.in_hundred(60).then(|| COMPANIES[person.company].0.to_owned());
    Some(contact)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::LazyLock,
    };

    use super::*;

    const PEOPLE: u64 = 5_000;

    static CONTACTS: LazyLock<Vec<Value>> =
        LazyLock::new(|| (0..PEOPLE).map(|index| generated_contact(7, index, "google")).collect());

    fn elements<'a>(contact: &'a Value, list: &str) -> &'a [Value] {
        contact[list].as_array().map_or(&[], Vec::as_slice)
    }

    /// How many of a thousand contacts are so.
    fn in_thousand(is_so: impl Fn(&Value) -> bool) -> usize {
        CONTACTS.iter().filter(|contact| is_so(contact)).count() / 5
    }

    #[test]
    fn the_same_seed_and_index_give_the_same_contact_and_others_give_another() {
        assert_eq!(generated_contact(7, 42, "google"), generated_contact(7, 42, "google"));
        assert_ne!(generated_contact(7, 42, "google")["id"], generated_contact(8, 42, "google")["id"]);
        let ids: BTreeSet<String> = CONTACTS.iter().map(|contact| contact["id"].to_string()).collect();
        assert_eq!(ids.len() as u64, PEOPLE);
    }

    #[test]
    fn an_id_leads_back_to_its_index_on_its_provider_and_seed_alone() {
        for provider in ["google", "microsoft", "ews", "imap"] {
            for index in [0, 1, 99_999, u64::MAX >> 20] {
                let contact = generated_contact(7, index, provider);
                let id = contact["id"].as_str().expect("an id");
                assert_eq!(index_of(7, id, provider), Some(index), "{id}");
                assert_eq!(index_of(8, id, provider), None, "{id}");
            }
        }
        let google = generated_contact(7, 1, "google");
        assert_eq!(index_of(7, google["id"].as_str().expect("an id"), "microsoft"), None);
        for id in ["", "c", "5d3qmne77v32r8l4phyuksl2x", "Łukasz-Łukasz-Łukasz", "AAMkAD/+BEAAA=="] {
            assert_eq!((index_of(7, id, "google"), index_of(7, id, "microsoft")), (None, None), "{id}");
        }
    }

    #[test]
    fn a_person_is_the_same_on_each_provider_and_exchange_tells_no_type_of_an_address() {
        for index in 0..200 {
            let (google, microsoft) = (generated_contact(7, index, "google"), generated_contact(7, index, "microsoft"));
            assert_eq!(google.get("surname"), microsoft.get("surname"));
            let addresses = |contact: &Value| {
                elements(contact, "emails").iter().map(|mail| mail["email"].to_string()).collect::<Vec<_>>()
            };
            assert_eq!(addresses(&google), addresses(&microsoft));
            assert!(elements(&microsoft, "emails").iter().all(|mail| mail.get("type").is_none()));
        }
    }

    #[test]
    fn most_contacts_have_one_address_some_more_and_some_none() {
        let with = |count: usize| in_thousand(|contact| elements(contact, "emails").len() == count);
        assert!((600..760).contains(&with(1)), "{}", with(1));
        assert!((80..180).contains(&with(2)), "{}", with(2));
        assert!((25..90).contains(&with(3)), "{}", with(3));
        assert!((60..140).contains(&with(0)), "{}", with(0));
        let any = |is_so: fn(&str) -> bool| {
            in_thousand(|contact| {
                elements(contact, "emails").iter().any(|mail| mail["email"].as_str().is_some_and(is_so))
            })
        };
        assert!(any(|address| address.contains('+')) > 30);
        assert!(any(|address| *address == address.to_uppercase()) > 30);
        assert_eq!(any(|address| !address.to_lowercase().ends_with(".example")), 0);
    }

    #[test]
    fn about_a_tenth_of_each_list_is_null_or_missing() {
        let of_book = |contact: &Value| contact["source"] == "address_book";
        let book = in_thousand(of_book);
        assert!((820..880).contains(&book), "{book}");
        for list in ["emails", "phone_numbers", "groups", "web_pages"] {
            let null = in_thousand(|contact| of_book(contact) && contact.get(list) == Some(&Value::Null));
            let missing = in_thousand(|contact| of_book(contact) && contact.get(list).is_none());
            assert!((70..130).contains(&((null + missing) * 1000 / book)), "{list}: {null} null, {missing} missing");
            assert!(null > 20 && missing > 20, "{list}: {null} null, {missing} missing");
        }
    }

    #[test]
    fn about_two_in_a_hundred_contacts_have_the_address_of_another() {
        let mut holders: BTreeMap<String, usize> = BTreeMap::new();
        for contact in CONTACTS.iter() {
            let addresses = elements(contact, "emails").iter().filter_map(|mail| mail["email"].as_str());
            let addresses: BTreeSet<String> = addresses.map(str::to_lowercase).collect();
            for address in addresses {
                *holders.entry(address).or_default() += 1;
            }
        }
        let shared = holders.values().filter(|holders| **holders > 1).count();
        assert!((60..140).contains(&shared), "{shared} of {PEOPLE}");
    }

    #[test]
    fn numbers_and_texts_are_as_people_type_them() {
        let numbers: Vec<&str> = CONTACTS
            .iter()
            .flat_map(|contact| elements(contact, "phone_numbers"))
            .filter_map(|phone| phone["number"].as_str())
            .collect();
        let kinds: [fn(&str) -> bool; 6] = [
            str::is_empty,
            |number| number.starts_with('+'),
            |number| number.starts_with('0'),
            |number| number.starts_with('('),
            |number| number.contains("ext."),
            |number| number.starts_with(' '),
        ];
        for (place, is_it) in kinds.into_iter().enumerate() {
            let of_kind = numbers.iter().filter(|number| is_it(number)).count();
            assert!(of_kind * 50 > numbers.len(), "kind {place}: {of_kind} of {}", numbers.len());
        }
        for key in ["job_title", "company_name"] {
            for is_it in [
                |text: Option<&Value>| text.is_some_and(Value::is_null),
                |text: Option<&Value>| text.and_then(Value::as_str) == Some(""),
                |text: Option<&Value>| {
                    text.and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty() && text != text.trim())
                },
            ] {
                assert!(in_thousand(|contact| is_it(contact.get(key))) > 20, "{key}");
            }
        }
        let other_script = in_thousand(|contact| {
            contact["surname"].as_str().is_some_and(|name| name.chars().all(|letter| letter > '\u{36f}'))
        });
        assert!(other_script > 200, "{other_script}");
    }

    #[test]
    fn inbox_and_domain_tell_little() {
        for (source, least) in [("inbox", 70), ("domain", 30)] {
            assert!(in_thousand(|contact| contact["source"] == source) > least, "{source}");
        }
        let full = in_thousand(|contact| contact["source"] != "address_book" && contact.get("company_name").is_some());
        assert_eq!(full, 0);
    }

    #[test]
    fn a_crm_knows_three_tenths_of_the_people_by_addresses_that_the_contacts_have() {
        let known: Vec<(u64, CrmContact)> =
            (0..PEOPLE).filter_map(|index| Some((index, generated_crm_contact(7, index)?))).collect();
        assert!((1_350..1_650).contains(&known.len()), "{}", known.len());
        assert_eq!(generated_crm_contact(7, known[0].0), Some(known[0].1.clone()));
        let has_it = |(index, of_crm): &&(u64, CrmContact)| {
            let contact = &CONTACTS[usize::try_from(*index).expect("few people")];
            elements(contact, "emails")
                .iter()
                .any(|mail| mail["email"].as_str().is_some_and(|address| address.eq_ignore_ascii_case(&of_crm.email)))
        };
        let found = known.iter().filter(has_it).count();
        assert!(found * 10 > known.len() * 8, "{found} of {}", known.len());
        let fields: [fn(&CrmContact) -> bool; 3] = [
            |contact| contact.phone.is_none(),
            |contact| contact.job_title.is_none(),
            |contact| contact.company.is_none(),
        ];
        for is_unknown in fields {
            let unknown = known.iter().filter(|(_, contact)| is_unknown(contact)).count();
            assert!(unknown * 4 > known.len() && unknown * 4 < known.len() * 3, "{unknown} of {}", known.len());
        }
    }
}

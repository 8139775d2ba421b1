//! What the Nylas stand-in answers about contacts, asked over HTTP.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;

use super::super::NylasBuilder;
use super::super::tests::get_json;
use super::*;

const EMAIL: &str = "ines.duarte@northwind.example";

fn contact(id: &str, address: &str) -> Value {
    json!({
        "id": id,
        "grant_id": "g",
        "object": "contact",
        "source": "address_book",
        "given_name": "Marta",
        "emails": [{ "type": "work", "email": address }],
        "phone_numbers": null,
        "picture_url": "https://pictures.example/marta.jpg",
    })
}

fn started(builder: NylasBuilder) -> Nylas {
    builder.start().expect("a free port exists")
}

fn with(grant: Grant) -> Nylas {
    started(Nylas::builder().grant(grant))
}

/// An account on IMAP, where several sources can be listed at once.
fn many(count: usize) -> Nylas {
    with(Grant::imap("g", EMAIL).with_many_contacts(count, 7))
}

/// The ids of a page; of all sources if the query names none.
async fn listed(nylas: &Nylas, query: &str) -> (Vec<String>, Option<String>) {
    let sources = if query.contains("source=") { "" } else { "&source=address_book,domain,inbox" };
    let (status, body) = get_json(nylas, &format!("/v3/grants/g/contacts?{query}{sources}")).await;
    assert_eq!(status, 200, "{query}: {body}");
    let ids = body["data"].as_array().expect("a list").iter();
    let ids = ids.map(|contact| contact["id"].as_str().expect("an id").to_owned()).collect();
    (ids, body.get("next_cursor").and_then(Value::as_str).map(str::to_owned))
}

/// The ids of all pages, and how many each page had.
async fn all_listed(nylas: &Nylas, query: &str) -> (Vec<String>, Vec<usize>) {
    let (mut all, mut pages, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let (ids, cursor) = listed(nylas, &format!("{query}{token}")).await;
        pages.push(ids.len());
        all.extend(ids);
        match cursor {
            Some(cursor) => token = format!("&page_token={cursor}"),
            None => return (all, pages),
        }
    }
}

#[tokio::test]
async fn a_page_has_thirty_contacts_unless_told_otherwise_and_no_more_than_two_hundred() {
    let nylas = many(450);
    assert_eq!(listed(&nylas, "").await.0.len(), 30);
    let (ids, pages) = all_listed(&nylas, "limit=200").await;
    assert_eq!(pages, [200, 200, 50]);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 450);
    for query in ["limit=201", "limit=0", "page_token=x", "colour=red", "source=everywhere", "recurse=perhaps"] {
        let (status, body) = get_json(&nylas, &format!("/v3/grants/g/contacts?{query}")).await;
        assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{query}");
    }
}

#[tokio::test]
async fn a_page_that_ends_with_the_last_contact_has_no_cursor_and_a_short_page_may_have_one() {
    assert_eq!(all_listed(&many(60), "limit=30").await.1, [30, 30]);
    let nylas = started(Nylas::builder().grant(Grant::imap("g", EMAIL).with_many_contacts(10, 7)).largest_page(4));
    assert_eq!(all_listed(&nylas, "limit=200").await.1, [4, 4, 2]);
    assert_eq!(listed(&with(Grant::imap("g", EMAIL)), "").await, (Vec::new(), None));
}

#[tokio::test]
async fn a_page_late_in_a_hundred_thousand_contacts_comes_as_quickly_as_the_first() {
    let nylas = many(100_000);
    let token = Asked::cursor(99_900);
    let begun = Instant::now();
    let (ids, cursor) = listed(&nylas, &format!("limit=200&page_token={token}")).await;
    assert_eq!((ids.len(), cursor), (100, None));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_listing_is_narrowed_by_source_address_number_and_group() {
    let nylas = many(500);
    let whole = all_listed(&nylas, "limit=200").await.0.len();
    let mut apart = 0;
    for source in SOURCES {
        let (ids, pages) = all_listed(&nylas, &format!("limit=20&source={source}")).await;
        assert!(!ids.is_empty() && pages.iter().rev().skip(1).all(|page| *page == 20), "{source}: {pages:?}");
        apart += ids.len();
    }
    assert_eq!((whole, apart), (500, 500), "each has one source, and without one all are listed");
    let both = all_listed(&nylas, "limit=200&source=inbox,domain").await.0.len();
    assert!(both > 40 && both < 120, "{both}");

    let mut marta = contact("marta", "Marta.Kowal@halden-robotics.example");
    marta["phone_numbers"] = json!([{ "number": "+47 555 01 42" }]);
    marta["groups"] = json!([{ "id": "suppliers" }]);
    nylas.put_contact("g", marta).expect("the grant is connected");
    for query in [
        "email=marta.kowal@halden-robotics.example",
        "phone_number=%2B47%20555%2001%2042",
        "group=suppliers&recurse=true",
    ] {
        assert_eq!(listed(&nylas, query).await, (vec!["marta".to_owned()], None), "{query}");
    }
}

#[tokio::test]
async fn the_address_book_is_listed_unless_one_other_source_is_named() {
    let grants = [
        Grant::google("g", EMAIL),
        Grant::imap("i", EMAIL),
        Grant { provider: "ews".to_owned(), ..Grant::microsoft("e", EMAIL) },
    ];
    let builder =
        grants.into_iter().fold(Nylas::builder(), |builder, grant| builder.grant(grant.with_many_contacts(100, 7)));
    let nylas = started(builder);
    let (_, without) = get_json(&nylas, "/v3/grants/g/contacts?limit=200").await;
    let (_, address_book) = get_json(&nylas, "/v3/grants/g/contacts?limit=200&source=address_book").await;
    assert_eq!(without["data"], address_book["data"]);
    assert!(without["data"].as_array().is_some_and(|contacts| contacts.len() < 95));
    for (path, expected) in [
        ("g/contacts?source=inbox", 200),
        ("g/contacts?source=inbox,domain", 400),
        ("i/contacts?source=inbox,domain", 200),
        ("e/contacts?source=domain", 200),
        ("e/contacts?source=inbox", 400),
    ] {
        assert_eq!(get_json(&nylas, &format!("/v3/grants/{path}")).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn a_contact_is_found_by_its_id_whether_it_was_put_or_generated() {
    let grant = Grant::microsoft("m", EMAIL).with_many_contacts(1_000, 7).with_contact(contact("own", "a@b.example"));
    let nylas = with(grant);
    let generated = generated_contact(7, 999, "microsoft");
    let id = generated["id"].as_str().expect("an id");
    assert!(id.contains('/') && id.ends_with("=="));
    let encoded = id.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    let (status, found) = get_json(&nylas, &format!("/v3/grants/m/contacts/{encoded}")).await;
    assert_eq!((status, &found["data"]["id"], &found["data"]["grant_id"]), (200, &json!(id), &json!("m")));
    let (_, own) = get_json(&nylas, "/v3/grants/m/contacts/own?select=id,emails").await;
    assert_eq!(own["data"], json!({ "id": "own", "emails": [{ "email": "a@b.example" }] }), "Exchange tells no type");
    let beyond = generated_contact(7, 1_000, "microsoft")["id"].as_str().expect("an id").replace('/', "%2F");
    for id in ["unknown", &beyond] {
        let (status, body) = get_json(&nylas, &format!("/v3/grants/m/contacts/{id}")).await;
        assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")), "{id}");
    }
}

#[tokio::test]
async fn a_picture_is_told_only_of_one_contact_and_only_when_it_is_asked_for() {
    let nylas = with(Grant::google("g", EMAIL).with_contact(contact("marta", "marta@halden-robotics.example")));
    let picture = async |path: &str| get_json(&nylas, &format!("/v3/grants/g/contacts{path}")).await.1;
    assert!(picture("/marta?profile_picture=true").await["data"]["picture"].is_string());
    assert_eq!(picture("/marta").await["data"].get("picture"), None);
    assert_eq!(picture("").await["data"][0].get("picture"), None);
    assert_eq!(get_json(&nylas, "/v3/grants/g/contacts?profile_picture=true").await.0, 400);
}

#[tokio::test]
async fn a_contact_that_is_put_or_changed_stands_where_the_generated_one_stood() {
    let nylas = many(50);
    let (before, _) = all_listed(&nylas, "limit=20").await;
    nylas.put_contact("g", contact(&before[7], "new@halden-robotics.example")).expect("the grant is connected");
    let changed = nylas.change_generated_contact("g", 8, &json!({ "job_title": "Owner" })).expect("a grant");
    assert_eq!(changed.expect("a contact")["id"], json!(before[8]));
    assert_eq!(nylas.change_generated_contact("g", 50, &json!({})).expect("a grant"), None);
    assert_eq!(all_listed(&nylas, "limit=20").await.0, before);
    assert_eq!(nylas.contact("g", &before[7]).expect("a contact")["given_name"], "Marta");
    assert_eq!(nylas.contact("g", &before[8]).expect("a contact")["job_title"], "Owner");
    assert!(nylas.put_contact("unknown", contact("x", "x@y.example")).is_err());
}

#[tokio::test]
async fn a_removed_contact_is_gone_and_moves_no_other_one() {
    let grant = Grant::imap("g", EMAIL).with_many_contacts(3, 7);
    let grant = ["a", "b", "c"].iter().fold(grant, |grant, id| grant.with_contact(contact(id, "x@y.example")));
    let nylas = with(grant);
    let (before, cursor) = listed(&nylas, "limit=4").await;
    for id in [&before[1], "a"] {
        nylas.remove_contact("g", id);
        assert_eq!(get_json(&nylas, &format!("/v3/grants/g/contacts/{id}")).await.0, 404, "{id}");
    }
    let rest = listed(&nylas, &format!("limit=4&page_token={}", cursor.expect("there is more"))).await.0;
    assert_eq!(rest, ["b", "c"]);
    nylas.put_contact("g", contact(&before[1], "x@y.example")).expect("the grant is connected");
    nylas.put_contact("g", contact("a", "x@y.example")).expect("the grant is connected");
    let again = [before[0].as_str(), &before[1], &before[2], "b", "c", "a"];
    assert_eq!(listed(&nylas, "").await.0, again);
}

#[tokio::test]
async fn an_account_without_contacts_or_that_cannot_be_reached_lists_none() {
    let nylas = many(3);
    for provider in ["virtual-calendar", "zoom"] {
        nylas.add_grant(Grant { provider: provider.to_owned(), ..Grant::imap(provider, "room@northwind.example") });
        for path in ["contacts", "contacts/x"] {
            let (status, body) = get_json(&nylas, &format!("/v3/grants/{provider}/{path}")).await;
            assert_eq!((status, &body["error"]["type"]), (400, &json!("invalid_request_error")), "{provider}");
        }
    }
    assert_eq!(get_json(&nylas, "/v3/grants/unknown/contacts").await.0, 404);
    nylas.set_grant_status("g", "invalid");
    for path in ["contacts", "contacts/x"] {
        let (status, body) = get_json(&nylas, &format!("/v3/grants/g/{path}")).await;
        assert_eq!((status, &body["error"]["type"]), (401, &json!("unauthorized")), "{path}");
    }
}

#[test]
fn a_seed_file_names_contacts_and_how_many_are_generated() {
    let generated = generated_contact(7, 1, "google");
    let mut grant: Grant = serde_json::from_value(json!({
        "id": "g",
        "email": EMAIL,
        "provider": "google",
        "contacts": [contact("own", "a@b.example"), { "id": generated["id"], "surname": "Instead" }],
        "generated_contacts": { "count": 3, "seed": 7 },
    }))
    .expect("the format is taken");
    grant.settle();
    assert_eq!(grant.contact_positions(), 4);
    assert_eq!(grant.contact_at(1).expect("a contact")["surname"], "Instead");
    assert_eq!(grant.contact_at(3).expect("a contact")["id"], "own");
}

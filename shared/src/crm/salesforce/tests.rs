//! What the contract and the stand-in cannot show: answers of odd shapes, and the calls as they are sent.

use super::*;

use crate::crm::contact_fields::{ContactUpdate, PerField, UpdateContacts as _};
use crate::crm::{CrmError, Direction, EmailActivity, FindContacts as _, IdempotencyKey, LogEmail as _};
use crate::domain::address::EmailAddress;
use crate::engine::testing::MemoryLinks;
use crate::engine::{Clock, Deadline};
use crate::http::{ApiSettings, CallError, Credential, http_client};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn crm(server: &MockServer) -> SalesforceCrm<MemoryLinks> {
    with_fields(server, FieldMaps::built_in(SYSTEM, FIELDS))
}

fn with_fields(server: &MockServer, fields: FieldMaps) -> SalesforceCrm<MemoryLinks> {
    let base_url = crate::configuration::parse_base_url(&server.uri()).expect("a URL");
    let mint = mint(&base_url, Credential::Fixed("secret".into()), "app".to_owned(), None, base_url.clone());
    let client = ApiClient::new(
        http_client().expect("a client"),
        ApiSettings {
            name: "the CRM",
            base_url,
            credential: Credential::Minted(mint),
            credential_parameter: "CrmApiKey",
            calls_per_second: None,
        },
    );
    let written = Written::new(MemoryLinks::default(), Clock::system(), SYSTEM);
    SalesforceCrm::new(client.speaking(dialect()), written, fields)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

/// Gives tokens `t1`, `t2` and so on.
async fn signing_in(server: &MockServer) {
    let given = Arc::new(AtomicUsize::new(0));
    Mock::given(method("POST"))
        .and(path("/services/oauth2/token"))
        .respond_with(move |_: &Request| {
            let number = given.fetch_add(1, Ordering::SeqCst) + 1;
            ResponseTemplate::new(200)
                .set_body_json(json!({"access_token": format!("t{number}"), "token_type": "Bearer"}))
        })
        .mount(server)
        .await;
}

/// Answers every part of a composite call by what `answer` makes of its URL and its body.
async fn answering(server: &MockServer, answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static) {
    Mock::given(method("POST"))
        .and(path("/services/data/v63.0/composite"))
        .respond_with(move |request: &Request| {
            let asked: Value = request.body_json().expect("JSON");
            let parts = asked["compositeRequest"].as_array().expect("parts").iter().map(|part| {
                let (status, body) = answer(part["url"].as_str().expect("a URL"), &part["body"]);
                json!({"body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": part["referenceId"]})
            });
            // In another order than they were asked in.
            let parts: Vec<Value> = parts.rev().collect();
            ResponseTemplate::new(200).set_body_json(json!({"compositeResponse": parts}))
        })
        .mount(server)
        .await;
}

fn records(records: &Value) -> (u16, Value) {
    (200, json!({"totalSize": 1, "done": true, "records": records}))
}

fn error(status: u16, code: &str) -> (u16, Value) {
    (status, json!([{"message": "in its own words", "errorCode": code}]))
}

/// The queries of every composite call so far, as they were written.
async fn queries(server: &MockServer) -> Vec<Vec<String>> {
    let query_of = |part: &Value| -> Option<String> {
        let query = part["url"].as_str()?.split_once("query?q=")?.1.to_owned();
        url::form_urlencoded::parse(format!("q={query}").as_bytes()).next().map(|(_, query)| query.into_owned())
    };
    let requests = server.received_requests().await.expect("recorded");
    let bodies = requests.iter().filter_map(|request| request.body_json::<Value>().ok());
    bodies
        .map(|body| body["compositeRequest"].as_array().into_iter().flatten().filter_map(query_of).collect())
        .collect()
}

#[tokio::test]
async fn contacts_and_leads_are_asked_for_in_one_call_with_their_addresses_quoted() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    answering(&server, |url, _| {
        if url.contains("FROM+Contact") {
            let dana = json!({"Id": "003000000000001AAA", "Email": "O'Brien@Acme.example", "Phone": 5_550_100, "Title": " ", "AccountId": null});
            return records(&json!([dana]));
        }
        records(&json!([]))
    })
    .await;
    let long = format!("{}@acme.example", "a".repeat(64));
    let crm = crm(&server);
    let answers = crm.look_up(&[address("o'brien@acme.example"), address(&format!("{long}.example"))], soon()).await;
    let found = answers[0].as_ref().expect("found");
    assert_eq!(found[0].id, "003000000000001AAA");
    let expected = PerField {
        phone: crate::crm::contact_fields::Current::Value("5550100".to_owned()),
        job_title: crate::crm::contact_fields::Current::Empty,
        company: crate::crm::contact_fields::Current::NoSuchField,
    };
    assert_eq!(found[0].current, expected);
    assert_eq!(answers[1], Ok(Vec::new()), "longer than any address there can be");
    let asked = queries(&server).await;
    assert_eq!(
        asked,
        [[
            r"SELECT Id, Email, Phone, Title, AccountId FROM Contact WHERE (Email IN ('o\'brien@acme.example')) ORDER BY LastModifiedDate DESC",
            r"SELECT Id, Email, Phone, Title, Company FROM Lead WHERE IsConverted = false AND (Email IN ('o\'brien@acme.example')) ORDER BY LastModifiedDate DESC",
        ]]
    );
}

#[tokio::test]
async fn address_that_salesforce_does_not_take_costs_the_others_nothing() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    answering(&server, |url, _| {
        if url.contains("odd") {
            return error(400, "MALFORMED_QUERY");
        }
        let good =
            url.contains("FROM+Contact").then(|| json!({"Id": "003000000000001AAA", "Email": "good@acme.example"}));
        records(&json!(good.into_iter().collect::<Vec<_>>()))
    })
    .await;
    let both = [address("odd@acme.example"), address("good@acme.example")];
    let found = crm(&server).find_contacts(&both, soon()).await.expect("found");
    assert_eq!((found[&both[0]].len(), found[&both[1]].len()), (0, 1));
}

#[tokio::test]
async fn part_that_is_held_up_holds_up_what_it_is_part_of_alone() {
    for (status, code, is_permanent) in [
        (400, "UNABLE_TO_LOCK_ROW", false),
        (403, "REQUEST_LIMIT_EXCEEDED", false),
        (403, "INSUFFICIENT_ACCESS", false),
        (401, "INVALID_SESSION_ID", false),
        (400, "STRING_TOO_LONG", true),
        (404, "NOT_FOUND", true),
    ] {
        let server = MockServer::start().await;
        signing_in(&server).await;
        answering(
            &server,
            move |url, _| if url.contains("003000000000002AAA") { error(status, code) } else { (204, Value::Null) },
        )
        .await;
        let update = |id: &str| ContactUpdate {
            contact_id: id.to_owned(),
            values: PerField { phone: Some("+1".to_owned()), ..PerField::default() },
        };
        let updates = [update("003000000000001AAA"), update("003000000000002AAA"), update("00Q000000000001EAA")];
        let answers = crm(&server).update_contacts(&updates, soon()).await;
        assert_eq!((&answers[0], &answers[2]), (&Ok(()), &Ok(())), "{code}");
        let failure = crate::domain::failure::Failure::from(answers[1].clone().expect_err("held up"));
        let permanent = matches!(failure, crate::domain::failure::Failure::Permanent { .. });
        assert_eq!(permanent, is_permanent, "{code}: {failure:?}");
    }
}

#[tokio::test]
async fn session_that_is_told_to_have_ended_inside_a_call_is_renewed_for_the_next() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    Mock::given(method("POST"))
        .and(path("/services/data/v63.0/composite"))
        .and(header("authorization", "Bearer t1"))
        .respond_with(|request: &Request| {
            let asked: Value = request.body_json().expect("JSON");
            let (status, body) = error(401, "INVALID_SESSION_ID");
            let parts = asked["compositeRequest"]
                .as_array()
                .expect("parts")
                .iter()
                .map(|part| json!({"body": body, "httpStatusCode": status, "referenceId": part["referenceId"]}));
            ResponseTemplate::new(200).set_body_json(json!({"compositeResponse": parts.collect::<Vec<_>>()}))
        })
        .with_priority(1)
        .mount(&server)
        .await;
    answering(&server, |_, _| records(&json!([]))).await;
    let crm = crm(&server);
    let one = [address("dana@acme.example")];
    let error = crm.find_contacts(&one, soon()).await.expect_err("ended");
    assert!(matches!(error, CrmError(CallError::Unauthorized { status: 401, .. })), "{error:?}");
    assert_eq!(crm.find_contacts(&one, soon()).await.map(|found| found.len()), Ok(0));
}

#[tokio::test]
async fn updates_go_twenty_five_to_a_call() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    answering(&server, |_, body| (if *body == json!({"Title": "Buyer"}) { 204 } else { 400 }, Value::Null)).await;
    let updates: Vec<ContactUpdate> = (0..60)
        .map(|number| ContactUpdate {
            contact_id: format!("{}{number:012}AAA", "003"),
            values: PerField { job_title: Some("Buyer".to_owned()), ..PerField::default() },
        })
        .collect();
    let crm = crm(&server);
    let answers = crm.update_contacts(&updates, soon()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(crm.calls_made(), 3);
}

#[tokio::test]
async fn composite_answer_without_a_part_is_no_answer_to_it() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    Mock::given(method("POST"))
        .and(path("/services/data/v63.0/composite"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"compositeResponse": []})))
        .mount(&server)
        .await;
    let error = crm(&server).find_contacts(&[address("dana@acme.example")], soon()).await.expect_err("no answer");
    assert!(matches!(error, CrmError(CallError::Unreadable { .. })), "{error:?}");
}

#[tokio::test]
async fn address_that_is_not_salesforce_is_told_by_the_parameter_to_check() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    let error = crm(&server).find_contacts(&[address("dana@acme.example")], soon()).await.expect_err("no such path");
    assert!(error.to_string().contains("CrmBaseUrl"), "{error}");
    let nothing = MockServer::start().await;
    let error = crm(&nothing).find_contacts(&[address("dana@acme.example")], soon()).await.expect_err("no such path");
    assert!(matches!(&error, CrmError(CallError::Unavailable { .. })), "{error:?}");
    assert!(error.to_string().contains("its token endpoint answered 404"), "{error}");
}

#[tokio::test]
async fn mail_is_upserted_under_its_key_which_stands_in_the_path_alone() {
    let server = MockServer::start().await;
    signing_in(&server).await;
    answering(&server, |url, _| if url.contains("/sobjects/") { error(404, "NOT_FOUND") } else { records(&json!([])) })
        .await;
    Mock::given(method("GET"))
        .and(path("/services/data/v63.0/query"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"done": true, "records": [
            {"Id": "005000000000002AAA", "Email": "Ines.Duarte@northwind.example"},
        ]})))
        .mount(&server)
        .await;
    Mock::given(method("PATCH"))
        .and(path("/services/data/v63.0/sobjects/Task/Nylas_Id__c/mail-1"))
        .respond_with(
            ResponseTemplate::new(201)
                .set_body_json(json!({"id": "00T000000000001AAA", "success": true, "created": true})),
        )
        .mount(&server)
        .await;
    let activity = EmailActivity {
        external_message_id: "m1".to_owned(),
        contact_ids: vec!["003000000000001AAA".to_owned(), "00Q000000000001EAA".to_owned()],
        deal_id: Some("006000000000001AAA".to_owned()),
        subject: Some("Offer\n for  you".to_owned()),
        snippet: Some("Hello".to_owned()),
        thread_id: None,
        direction: Direction::Inbound,
        timestamp: "2026-03-01T10:00:00.123456Z".parse().expect("a time"),
        from: Some(address("dana@acme.example")),
        to: vec![address("ines.duarte@northwind.example")],
        cc: Vec::new(),
        grant_id: Some("g1".to_owned()),
    };
    let id = crm(&server).log_email(&activity, &IdempotencyKey::new("mail-1".to_owned()), soon()).await;
    assert_eq!(id, Ok("00T000000000001AAA".to_owned()));
    let requests = server.received_requests().await.expect("recorded");
    let sent: Value = requests.last().expect("a call").body_json().expect("JSON");
    let text = "From: dana@acme.example\nTo: ines.duarte@northwind.example\n\nHello\n\nAlso with: 00Q000000000001EAA";
    assert_eq!(
        sent,
        json!({
            "Subject": "Email: Offer for you", "Description": text, "ActivityDate": "2026-03-01",
            "OwnerId": "005000000000002AAA", "WhoId": "003000000000001AAA", "WhatId": "006000000000001AAA",
            "TaskSubtype": "Email", "Status": "Completed", "Priority": "Normal",
        })
    );
}

#[tokio::test]
async fn fields_of_the_map_are_asked_for_by_their_names() {
    const USERS: &str = r#"
        [salesforce.contact.fields]
        phone = "MobilePhone"
        company = "Company_Name__c"
        other_email = "Other_Email__c"
        [salesforce.lead.fields]
        phone = ""
        job_title = ""
        company = ""
        other_email = ""
    "#;
    let server = MockServer::start().await;
    signing_in(&server).await;
    answering(&server, |url, _| {
        if url.contains("FROM+Contact") {
            return records(
                &json!([{"Id": "003000000000001AAA", "Email": null, "Other_Email__c": "dana@home.example"}]),
            );
        }
        records(&json!([]))
    })
    .await;
    let crm = with_fields(&server, FieldMaps::built_in(SYSTEM, USERS));
    let answers = crm.look_up(&[address("dana@home.example")], soon()).await;
    assert_eq!(answers[0].as_ref().map(Vec::len), Ok(1), "found by its other address");
    assert_eq!(
        queries(&server).await,
        [[
            "SELECT Id, Email, Other_Email__c, MobilePhone, Company_Name__c, AccountId FROM Contact WHERE \
             (Email IN ('dana@home.example') OR Other_Email__c IN ('dana@home.example')) ORDER BY LastModifiedDate DESC",
            "SELECT Id, Email FROM Lead WHERE IsConverted = false AND (Email IN ('dana@home.example')) \
             ORDER BY LastModifiedDate DESC",
        ]]
    );
}

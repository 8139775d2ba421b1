//! What the stand-in refuses, and the adapter against an org that is not as it is best.

use super::*;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::engine::general_purpose::STANDARD;
use shared::configuration::parse_base_url;
use shared::crm::contact_fields::{ContactUpdate, Current, PerField, UpdateContacts as _};
use shared::crm::meeting::{Meeting, MeetingStatus, MeetingTime, WriteMeetings as _};
use shared::crm::salesforce::{FIELDS, SYSTEM, SalesforceCrm, dialect, mint};
use shared::crm::{CrmError, Direction, EmailActivity, FindContacts as _, IdempotencyKey, LogEmail as _};
use shared::domain::address::EmailAddress;
use shared::domain::failure::Failure;
use shared::engine::testing::MemoryLinks;
use shared::engine::{Clock, Deadline};
use shared::field_map::FieldMaps;
use shared::http::{ApiClient, ApiSettings, CallError, Credential, http_client};
use shared::set_up::{SetUp as _, SetUpState};
use shared::written::Written;
use std::time::Duration;

type Adapter = SalesforceCrm<Arc<MemoryLinks>>;

/// The adapter in a new process: signing in with a key, with the table of others.
fn adapter(org: &Salesforce, key: &str, username: Option<&str>, links: &Arc<MemoryLinks>) -> Adapter {
    let base_url = parse_base_url(&org.base_url()).expect("a base URL");
    let audience = parse_base_url(LOGIN).expect("a URL");
    let key = Credential::Fixed(key.into());
    let mint = mint(&base_url, key, CLIENT_ID.to_owned(), username.map(str::to_owned), audience);
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
    let written = Written::new(Arc::clone(links), Clock::system(), SYSTEM).settled_after(Duration::ZERO);
    SalesforceCrm::new(client.speaking(dialect()), written, FieldMaps::built_in(SYSTEM, FIELDS))
}

fn usual(org: &Salesforce) -> Adapter {
    adapter(org, CLIENT_SECRET, None, &Arc::new(MemoryLinks::default()))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

fn mail(contact_ids: &[String], deal_id: Option<&str>) -> EmailActivity {
    EmailActivity {
        external_message_id: "msg_1".to_owned(),
        contact_ids: contact_ids.to_vec(),
        deal_id: deal_id.map(str::to_owned),
        subject: Some("Offer".to_owned()),
        snippet: Some("Hello".to_owned()),
        thread_id: None,
        direction: Direction::Outbound,
        timestamp: "2026-03-01T23:30:00Z".parse().expect("a time"),
        from: Some(address(CRM_USER)),
        to: vec![address("dana@acme.example")],
        cc: Vec::new(),
        grant_id: None,
    }
}

fn meeting(contact_ids: &[String]) -> Meeting {
    Meeting {
        external_event_id: "AAMkAD=".to_owned(),
        subject: "Pilot".to_owned(),
        time: MeetingTime::Span {
            start: "2026-03-02T10:00:00Z".parse().expect("a time"),
            end: "2026-03-02T11:00:00Z".parse().expect("a time"),
        },
        location: None,
        link: None,
        notes: String::new(),
        organizer: Some(address(CRM_USER)),
        attendees: Vec::new(),
        status: MeetingStatus::Confirmed,
        calendar_id: None,
        grant_id: None,
        master_event_id: None,
        is_recurring: false,
        series_label: None,
        contact_ids: contact_ids.to_vec(),
        deal_id: None,
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text.to_owned())
}

/// A client that speaks to the stand-in by itself.
struct Caller {
    http: reqwest::Client,
    base_url: String,
    token: String,
}

impl Caller {
    async fn new(org: &Salesforce) -> Self {
        let http = reqwest::Client::new();
        let form = [("grant_type", "client_credentials"), ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
        let url = format!("{}/services/oauth2/token", org.base_url());
        let answer = http.post(url).form(&form).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        Self { http, base_url: org.base_url(), token }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}/services/data/v63.0/{path}", self.base_url));
        request = request.bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn code(&self, method: &str, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, answer) = self.call(method, path, body).await;
        (status, answer[0]["errorCode"].as_str().unwrap_or_default().to_owned())
    }
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn queries_that_are_wrong_are_refused_with_the_code_that_says_why() {
    let org = Salesforce::start().expect("an org");
    let caller = Caller::new(&org).await;
    for (query, status, code) in [
        ("SELECT Id FROM Contact WHERE Email = 'o'brien@acme.example'", 400, "MALFORMED_QUERY"),
        ("SELECT Id, Nickname FROM Contact", 400, "INVALID_FIELD"),
        ("SELECT Id FROM Contact WHERE Nickname = 'x'", 400, "INVALID_FIELD"),
        ("SELECT Id FROM Contact ORDER BY Nickname", 400, "INVALID_FIELD"),
        ("SELECT Id, Opportunity.Nickname FROM OpportunityContactRole", 400, "INVALID_FIELD"),
        ("SELECT Id FROM Task WHERE Description = 'x'", 400, "INVALID_FIELD"),
        ("SELECT Id FROM Lead WHERE IsConverted = 'false'", 400, "INVALID_FIELD"),
        ("SELECT Id FROM Person", 400, "INVALID_TYPE"),
        ("SELECT Id FROM Contact WHERE Id = '12'", 400, "INVALID_QUERY_FILTER_OPERATOR"),
    ] {
        let path = format!("query?q={}", url::form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>());
        assert_eq!(caller.code("GET", &path, None).await, refused(status, code), "{query}");
    }
    assert_eq!(org.refusals(), Vec::<String>::new());
}

#[tokio::test]
async fn records_that_break_a_rule_are_refused_with_the_code_that_says_which() {
    let org = Salesforce::start().expect("an org");
    let caller = Caller::new(&org).await;
    let lead = org.add_lead("omar@acme.example", "Acme");
    let opportunity = {
        let contact = org.add_contact(&CrmContact::new("c", "dana@acme.example"));
        org.add_opportunity_of_account(&contact, true)
    };
    let timed = json!({"Subject": "x", "StartDateTime": "2026-03-02T10:00:00Z", "DurationInMinutes": 30});
    let with = |field: &str, value: Value| {
        let mut body = timed.clone();
        body[field] = value;
        Some(body)
    };
    for (body, code) in [
        (with("Nickname__c", json!("x")), "INVALID_FIELD"),
        (with("WhoId", json!("003000000000999AAA")), "INVALID_CROSS_REFERENCE_KEY"),
        (with("WhoId", json!(opportunity)), "MALFORMED_ID"),
        (with("EndDateTime", json!("2026-03-02T12:00:00Z")), "FIELD_INTEGRITY_EXCEPTION"),
        (with("DurationInMinutes", json!(15 * 24 * 60)), "FIELD_INTEGRITY_EXCEPTION"),
        (with("Description", json!("\u{1f4c8}".repeat(16_001))), "STRING_TOO_LONG"),
        (Some(json!({"Subject": "x", "StartDateTime": "2026-03-02T10:00:00Z"})), "REQUIRED_FIELD_MISSING"),
        (Some(json!({"Subject": "x", "IsAllDayEvent": true})), "REQUIRED_FIELD_MISSING"),
    ] {
        assert_eq!(caller.code("POST", "sobjects/Event", body.clone()).await, refused(400, code), "{body:?}");
    }
    let task =
        json!({"Subject": "x", "Status": "Completed", "Priority": "Normal", "WhoId": lead, "WhatId": opportunity});
    assert_eq!(caller.code("POST", "sobjects/Task", Some(task)).await, refused(400, "FIELD_INTEGRITY_EXCEPTION"));
    let task = json!({"Subject": "x", "Status": "Completed", "Priority": "Normal"});
    let (_, made) = caller.call("POST", "sobjects/Task", Some(task)).await;
    let path = format!("sobjects/Task/{}", made["id"].as_str().expect("an id"));
    let change = json!({"TaskSubtype": "Email"});
    assert_eq!(caller.code("PATCH", &path, Some(change)).await, refused(400, "INVALID_FIELD_FOR_INSERT_UPDATE"));
    assert_eq!(
        caller.code("PATCH", "sobjects/Contact/003000000000999AAA", Some(json!({"Phone": "1"}))).await,
        refused(404, "NOT_FOUND")
    );
    assert_eq!(org.refusals(), Vec::<String>::new());
    let unknown = json!({"Subject": "x", "Nickname": "y"});
    assert_eq!(caller.code("POST", "sobjects/Event", Some(unknown)).await.0, 400);
    assert_eq!(org.refusals().len(), 1, "the description refuses standard fields that there are not");
}

#[tokio::test]
async fn external_id_writes_one_record_and_refuses_to_choose_among_several() {
    let org = Salesforce::start().expect("an org");
    let caller = Caller::new(&org).await;
    let path = "sobjects/Event/Nylas_Id__c/evt_1";
    let event = json!({"Subject": "x", "IsAllDayEvent": true, "ActivityDate": "2026-03-02"});
    let (status, made) = caller.call("PATCH", path, Some(event.clone())).await;
    assert_eq!((status, &made["created"]), (201, &json!(true)));
    let (status, again) = caller.call("PATCH", path, Some(event.clone())).await;
    assert_eq!((status, &again["id"]), (200, &made["id"]));
    let with_key = json!({"Subject": "x", "Nylas_Id__c": "evt_1"});
    assert_eq!(caller.code("PATCH", path, Some(with_key.clone())).await, refused(400, "INVALID_FIELD"));
    let mut second = event.clone();
    second["Nylas_Id__c"] = json!("EVT_1");
    assert_eq!(caller.call("POST", "sobjects/Event", Some(second)).await.0, 201);
    let (status, several) = caller.call("PATCH", path, Some(event.clone())).await;
    assert_eq!((status, several.as_array().map(Vec::len)), (300, Some(2)));
    org.set_key_field(KeyField::Text);
    assert_eq!(caller.code("PATCH", path, Some(event)).await, refused(404, "NOT_FOUND"));
}

#[tokio::test]
async fn composite_call_answers_each_part_and_takes_no_more_than_the_original() {
    let org = Salesforce::start().expect("an org");
    let caller = Caller::new(&org).await;
    let contact = org.add_contact(&CrmContact::new("c", "dana@acme.example"));
    let part = |number: usize, url: &str| {
        json!({"method": "PATCH", "url": format!("/services/data/v63.0/sobjects/Contact/{url}"),
            "referenceId": format!("r{number}"), "body": {"Phone": "1"}})
    };
    let ask = |parts: Vec<Value>| Some(json!({"allOrNone": false, "compositeRequest": parts}));
    let parts = vec![part(0, &contact), part(1, "003000000000999AAA")];
    let (status, answer) = caller.call("POST", "composite", ask(parts)).await;
    let statuses: Vec<&Value> =
        answer["compositeResponse"].as_array().expect("parts").iter().map(|part| &part["httpStatusCode"]).collect();
    assert_eq!((status, statuses), (200, vec![&json!(204), &json!(404)]));
    let all_or_none = json!({"allOrNone": true, "compositeRequest": [
        {"method": "PATCH", "url": format!("/services/data/v63.0/sobjects/Contact/{contact}"), "referenceId": "a", "body": {"Phone": "2"}},
        part(1, "003000000000999AAA"),
    ]});
    caller.call("POST", "composite", Some(all_or_none)).await;
    assert_eq!(org.contacts()[0].phone.as_deref(), Some("1"), "taken back");
    let many: Vec<Value> = (0..26).map(|number| part(number, &contact)).collect();
    assert_eq!(caller.call("POST", "composite", ask(many)).await.0, 400);
    let query = |number: usize| json!({"method": "GET", "url": "/services/data/v63.0/query?q=SELECT+Id+FROM+Contact", "referenceId": format!("r{number}")});
    assert_eq!(caller.call("POST", "composite", ask((0..5).map(query).collect())).await.0, 200);
    assert_eq!(caller.call("POST", "composite", ask((0..6).map(query).collect())).await.0, 400);
    assert_eq!(caller.call("POST", "composite", ask(vec![part(1, &contact), part(1, &contact)])).await.0, 400);
    let mut refers = part(0, &contact);
    refers["body"]["Title"] = json!("@{r1.id}");
    let (_, answer) = caller.call("POST", "composite", ask(vec![refers])).await;
    assert_eq!(answer["compositeResponse"][0]["httpStatusCode"], 400);
}

#[tokio::test]
async fn only_sessions_that_stand_are_served_and_only_good_secrets_make_one() {
    let org = Salesforce::start().expect("an org");
    let caller = Caller::new(&org).await;
    assert_eq!(caller.call("GET", "limits", None).await.0, 200);
    org.end_sessions();
    assert_eq!(caller.code("GET", "limits", None).await, refused(401, "INVALID_SESSION_ID"));
    let url = format!("{}/services/oauth2/token", org.base_url());
    for (form, error) in [
        (
            [("grant_type", "client_credentials"), ("client_id", "x"), ("client_secret", CLIENT_SECRET)],
            "invalid_client_id",
        ),
        ([("grant_type", "client_credentials"), ("client_id", CLIENT_ID), ("client_secret", "x")], "invalid_client"),
        (
            [("grant_type", "password"), ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)],
            "unsupported_grant_type",
        ),
    ] {
        let answer = caller.http.post(&url).form(&form).send().await.expect("an answer");
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.json::<Value>().await.expect("JSON")["error"], error);
    }
    org.set_usage(10, 10);
    let caller = Caller::new(&org).await;
    assert_eq!(caller.code("GET", "limits", None).await, refused(403, "REQUEST_LIMIT_EXCEEDED"));
}

fn pem_of(pair: &KeyPair) -> String {
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("its bytes");
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", STANDARD.encode(der.as_ref()))
}

#[tokio::test]
async fn private_key_signs_in_as_the_user_it_may() {
    let org = Salesforce::start().expect("an org");
    let (pair, other) =
        (KeyPair::generate(KeySize::Rsa2048).expect("a key"), KeyPair::generate(KeySize::Rsa2048).expect("a key"));
    org.trust(pair.public_key().as_ref(), "rep@northwind.example");
    org.add_contact(&CrmContact::new("c", "dana@acme.example"));
    let find = async |pem: &str, username| {
        let crm = adapter(&org, pem, Some(username), &Arc::new(MemoryLinks::default()));
        crm.find_contacts(&[address("dana@acme.example")], soon()).await
    };
    assert_eq!(find(&pem_of(&pair), "rep@northwind.example").await.map(|found| found.len()), Ok(1));
    for (pem, username) in [(pem_of(&pair), "ceo@northwind.example"), (pem_of(&other), "rep@northwind.example")] {
        let error = find(&pem, username).await.expect_err("not approved");
        assert!(matches!(error, CrmError(CallError::NotAllowed { status: 400, .. })), "{error:?}");
    }
    let error = find(&pem_of(&pair), "ceo@northwind.example").await.expect_err("not approved").to_string();
    let words = "the CRM does not allow the request for an access token with 400: invalid_grant: user hasn't approved this \
                 consumer; give the credential of CrmApiKey the right to it";
    assert_eq!(error, words);
}

#[tokio::test]
async fn many_calls_sign_in_once() {
    let org = Salesforce::start().expect("an org");
    let crm = usual(&org);
    let addresses: Vec<[EmailAddress; 1]> =
        (0..10).map(|number| [address(&format!("p{number}@acme.example"))]).collect();
    let found = futures_util::future::join_all(addresses.iter().map(|one| crm.find_contacts(one, soon()))).await;
    assert!(found.iter().all(std::result::Result::is_ok), "{found:?}");
    assert_eq!(org.sessions_made(), 1);
}

#[tokio::test]
async fn key_that_is_a_text_alone_still_keeps_every_record_single() {
    let org = Salesforce::start().expect("an org");
    org.set_key_field(KeyField::Text);
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let crm = usual(&org);
    let items = crm.set_up(soon()).await.expect("set up");
    let lesser = items.iter().filter(|item| matches!(item.state, SetUpState::DoneWithout { .. })).count();
    assert_eq!(lesser, 2, "{items:?}");
    let first = crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written");
    // A process without our table: only the field in Salesforce tells.
    let links = Arc::new(MemoryLinks::default());
    let other = adapter(&org, CLIENT_SECRET, None, &links);
    other.delete_meeting("AAMkAD=", soon()).await.expect("found and deleted");
    assert_eq!(org.meetings()[0].status, SeenStatus::Deleted);
    let again = crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written anew");
    assert_ne!(first, again);
    let borne = org.fields(&again).expect("a record")["Nylas_Id__c"].clone();
    assert_eq!(borne.as_str().map(str::len), Some(64), "{borne}");
    assert_eq!(org.refusals(), Vec::<String>::new());
}

#[tokio::test]
async fn key_that_is_no_external_id_any_more_costs_a_try_and_no_message() {
    let org = Salesforce::start().expect("an org");
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let crm = usual(&org);
    crm.log_email(&mail(&ids, None), &key("mail-1"), soon()).await.expect("logged");
    org.set_key_field(KeyField::Text);
    let error = crm.log_email(&mail(&ids, None), &key("mail-2"), soon()).await.expect_err("another way is needed");
    assert!(matches!(Failure::from(error), Failure::Transient { class: "crm.unavailable", .. }));
    crm.log_email(&mail(&ids, None), &key("mail-2"), soon()).await.expect("logged");
    org.set_key_field(KeyField::Absent);
    for _ in 0..2 {
        let error = crm.log_email(&mail(&ids, None), &key("mail-3"), soon()).await.expect_err("not set up");
        assert!(matches!(Failure::from(error), Failure::Transient { class: "crm.not_set_up", .. }));
    }
    assert_eq!(org.mails().len(), 2);
}

#[tokio::test]
async fn missing_field_is_told_with_its_name_its_type_and_its_place_and_holds_every_write() {
    let org = Salesforce::start().expect("an org");
    org.set_key_field(KeyField::Absent);
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let links = Arc::new(MemoryLinks::default());
    let crm = adapter(&org, CLIENT_SECRET, None, &links);
    let items = crm.set_up(soon()).await.expect("asked");
    let remedies: Vec<&String> = items
        .iter()
        .filter_map(|item| match &item.state {
            SetUpState::Missing { remedy } => Some(remedy),
            _ => None,
        })
        .collect();
    assert_eq!(remedies.len(), 2, "{items:?}");
    assert!(["Nylas_Id__c", "Activity", "Text", "255"].iter().all(|part| remedies[0].contains(part)), "{remedies:?}");
    let error = crm.log_email(&mail(&ids, None), &key("mail-1"), soon()).await.expect_err("not set up");
    assert!(
        matches!(&error, CrmError(CallError::NotSetUp { problem, .. }) if problem.contains("Nylas_Id__c")),
        "{error:?}"
    );
    assert!(org.mails().is_empty());
    org.set_key_field(KeyField::ExternalId);
    let other = adapter(&org, CLIENT_SECRET, None, &links);
    other.log_email(&mail(&ids, None), &key("mail-1"), soon()).await.expect("logged as soon as it is there");
}

#[tokio::test]
async fn several_records_under_one_key_are_told_and_none_is_touched() {
    let org = Salesforce::start().expect("an org");
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let caller = Caller::new(&org).await;
    for _ in 0..2 {
        let event =
            json!({"Subject": "x", "IsAllDayEvent": true, "ActivityDate": "2026-03-02", "Nylas_Id__c": "evt_1"});
        assert_eq!(caller.call("POST", "sobjects/Event", Some(event)).await.0, 201);
    }
    let meeting = Meeting { external_event_id: "evt_1".to_owned(), ..meeting(&ids) };
    let error = usual(&org).upsert_meeting(&meeting, soon()).await.expect_err("which?");
    let Failure::Permanent { what, .. } = Failure::from(error) else { panic!("it never passes") };
    assert!(what.contains("several records bear the same key") && what.contains("/Event/00U"), "{what}");
    assert!(org.meetings().iter().all(|meeting| meeting.writes == 1));
}

#[tokio::test]
async fn lead_is_linked_alone_and_its_deal_and_the_others_are_named() {
    let org = Salesforce::start().expect("an org");
    let lead = org.add_lead("omar@acme.example", "Acme");
    let dana = org.add_contact(&CrmContact::new("c", "dana@acme.example").with_deal("d"));
    let crm = usual(&org);
    let found =
        crm.find_contacts(&[address("omar@acme.example"), address("dana@acme.example")], soon()).await.expect("found");
    assert!(found[&address("omar@acme.example")][0].deals.is_empty());
    let deal = found[&address("dana@acme.example")][0].deals[0].id.clone();
    crm.log_email(&mail(std::slice::from_ref(&lead), Some(&deal)), &key("mail-1"), soon()).await.expect("logged");
    crm.log_email(&mail(&[lead.clone(), dana.clone()], Some(&deal)), &key("mail-2"), soon()).await.expect("logged");
    crm.log_email(&mail(&[lead.clone(), dana.clone()], None), &key("mail-3"), soon()).await.expect("logged");
    let mails = org.mails();
    assert_eq!((mails[0].contact_ids.as_slice(), mails[0].deal_id.as_deref()), ([lead.clone()].as_slice(), None));
    assert!(mails[0].text.contains(&deal), "{}", mails[0].text);
    assert_eq!(
        (mails[1].contact_ids.as_slice(), mails[1].deal_id.as_deref()),
        ([dana.clone()].as_slice(), Some(deal.as_str()))
    );
    assert!(mails[1].text.contains(&lead), "{}", mails[1].text);
    assert_eq!(mails[2].contact_ids, [lead]);
    assert!(mails[2].text.contains(&dana), "{}", mails[2].text);
    assert_eq!(mails[0].at, "2026-03-01", "the day in UTC");
}

#[tokio::test]
async fn contact_without_a_role_has_the_opportunities_of_its_account() {
    let org = Salesforce::start().expect("an org");
    let with_role = org.add_contact(&CrmContact::new("c", "dana@acme.example").with_deal("d"));
    let without = org.add_contact(&CrmContact::new("c", "omar@acme.example"));
    let _ = org.add_opportunity_of_account(&with_role, true);
    let _ = org.add_opportunity_of_account(&without, false);
    let open = org.add_opportunity_of_account(&without, true);
    let crm = usual(&org);
    let both = [address("dana@acme.example"), address("omar@acme.example")];
    let found = crm.find_contacts(&both, soon()).await.expect("found");
    assert_eq!(found[&both[0]][0].deals.len(), 1, "that of its role alone");
    let states: Vec<(bool, Option<bool>)> =
        found[&both[1]][0].deals.iter().map(|deal| (deal.id == open, deal.open)).collect();
    assert_eq!(states, [(true, Some(true)), (false, Some(false))]);
    assert_eq!(crm.calls_made(), 2, "one for people, one for deals");
}

#[tokio::test]
async fn objects_that_may_not_be_seen_cost_only_what_is_in_them() {
    let org = Salesforce::start().expect("an org");
    for object in ["Lead", "User", "Opportunity", "OpportunityContactRole"] {
        org.close_object(object);
    }
    let contact = CrmContact::new("c", "dana@acme.example").with_deal("d");
    let ids = [org.add_contact(&contact)];
    let crm = usual(&org);
    let found = crm.find_contacts(&[address("dana@acme.example")], soon()).await.expect("found");
    assert!(found[&address("dana@acme.example")][0].deals.is_empty());
    crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written");
    assert_eq!(org.meetings()[0].owner.as_deref(), Some("integration@northwind.example"));
    let items = crm.set_up(soon()).await.expect("set up");
    assert!(items.iter().all(|item| !matches!(item.state, SetUpState::Missing { .. })), "{items:?}");
    org.close_object("Contact");
    let error = usual(&org).find_contacts(&[address("dana@acme.example")], soon()).await.expect_err("no contacts");
    assert!(matches!(error, CrmError(CallError::NotSetUp { .. })), "{error:?}");
}

#[tokio::test]
async fn answer_that_does_not_hold_everybody_is_asked_for_in_halves() {
    let org = Salesforce::start().expect("an org");
    let addresses: Vec<EmailAddress> = (0..8).map(|number| address(&format!("p{number}@acme.example"))).collect();
    for address in &addresses {
        org.add_contact(&CrmContact::new("c", address.as_str()));
    }
    org.set_most_records_in_an_answer(3);
    let answers = usual(&org).look_up(&addresses, soon()).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|found| found.len() == 1)), "{answers:?}");
}

fn phone(id: &str, phone: &str) -> ContactUpdate {
    ContactUpdate {
        contact_id: id.to_owned(),
        values: PerField { phone: Some(phone.to_owned()), ..PerField::default() },
    }
}

#[tokio::test]
async fn each_update_of_many_is_judged_by_itself() {
    let org = Salesforce::start().expect("an org");
    let ids: Vec<String> =
        (0..4).map(|number| org.add_contact(&CrmContact::new("c", &format!("p{number}@acme.example")))).collect();
    let lead = org.add_lead("omar@acme.example", "Acme");
    org.lock_once(&ids[1]);
    org.delete(&ids[2]);
    let company = |id: &str| ContactUpdate {
        contact_id: id.to_owned(),
        values: PerField { company: Some("Halden".to_owned()), ..PerField::default() },
    };
    let updates = [
        phone(&ids[0], "+1"),
        phone(&ids[1], "+1"),
        phone(&ids[2], "+1"),
        phone("12", "+1"),
        phone(&ids[3], "@{part0.id}"),
        company(&lead),
        company(&ids[0]),
    ];
    let crm = usual(&org);
    let answers = crm.update_contacts(&updates, soon()).await;
    let failures: Vec<Option<bool>> = answers
        .into_iter()
        .map(|answer| answer.err().map(|error| matches!(Failure::from(error), Failure::Permanent { .. })))
        .collect();
    assert_eq!(failures, [None, Some(false), Some(true), Some(true), None, None, None]);
    assert_eq!(org.fields(&ids[3]).expect("a contact")["Phone"], "@{part0.id}");
    assert_eq!(org.fields(&lead).expect("a lead")["Company"], "Halden");
    let lead = crm.look_up(&[address("omar@acme.example")], soon()).await.remove(0).expect("found").remove(0);
    assert_eq!(lead.current.company, Current::Value("Halden".to_owned()));
    assert_eq!(org.refusals(), Vec::<String>::new());
}

#[tokio::test]
async fn meeting_that_a_person_deleted_is_written_anew_and_one_whose_contact_is_gone_is_not_doubled() {
    let org = Salesforce::start().expect("an org");
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let crm = usual(&org);
    let first = crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written");
    org.delete(&first);
    let second = crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written anew");
    org.purge(&second);
    let third = crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written anew");
    assert!(first != second && second != third);
    org.delete(&ids[0]);
    let error = crm.upsert_meeting(&meeting(&ids), soon()).await.expect_err("nobody to link");
    assert!(matches!(Failure::from(error), Failure::Permanent { .. }));
    let standing = org.meetings().iter().filter(|meeting| meeting.status == SeenStatus::Planned).count();
    assert_eq!(standing, 1);
    crm.delete_meeting("AAMkAD=", soon()).await.expect("deleted");
    crm.delete_meeting("AAMkAD=", soon()).await.expect("it is not there");
}

#[tokio::test]
async fn meeting_longer_than_an_event_can_be_and_one_without_a_time_lose_nothing() {
    let org = Salesforce::start().expect("an org");
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let crm = usual(&org);
    let long = MeetingTime::Span {
        start: "2026-03-02T10:00:00Z".parse().expect("a time"),
        end: "2026-04-02T10:00:00Z".parse().expect("a time"),
    };
    let id = crm.upsert_meeting(&Meeting { time: long, ..meeting(&ids) }, soon()).await.expect("written");
    let fields = org.fields(&id).expect("an event");
    assert_eq!(fields["EndDateTime"], "2026-03-16T10:00:00Z");
    assert!(
        fields["Description"].as_str().is_some_and(|text| text.contains("Until 2026-04-02T10:00:00Z")),
        "{fields:?}"
    );
    let day = |text: &str| text.parse().expect("a day");
    let days = MeetingTime::Days { first: day("2026-03-01"), last: day("2026-03-30") };
    crm.upsert_meeting(&Meeting { time: days, ..meeting(&ids) }, soon()).await.expect("written");
    let fields = org.fields(&id).expect("an event");
    assert_eq!((&fields["IsAllDayEvent"], &fields["ActivityDate"]), (&json!(true), &json!("2026-03-01")));
    assert!(fields["Description"].as_str().is_some_and(|text| text.contains("2026-03-01 to 2026-03-30")), "{fields:?}");
    crm.upsert_meeting(&Meeting { time: MeetingTime::Unknown, ..meeting(&ids) }, soon()).await.expect("written");
    let fields = org.fields(&id).expect("an event");
    assert_eq!(fields["ActivityDate"], "2026-03-01", "the time it had stays");
    assert!(fields["Description"].as_str().is_some_and(|text| text.contains("does not tell when")), "{fields:?}");
    crm.upsert_meeting(&meeting(&ids), soon()).await.expect("written");
    let fields = org.fields(&id).expect("an event");
    assert_eq!((&fields["IsAllDayEvent"], &fields["EndDateTime"]), (&json!(false), &json!("2026-03-02T11:00:00Z")));
    let timeless = Meeting { external_event_id: "evt_2".to_owned(), time: MeetingTime::Unknown, ..meeting(&ids) };
    let id = crm.upsert_meeting(&timeless, soon()).await.expect("written");
    assert_eq!(org.fields(&id).expect("an event")["IsAllDayEvent"], true);
    assert_eq!(org.refusals(), Vec::<String>::new());
}

#[tokio::test]
async fn day_whose_calls_are_used_up_is_respected() {
    let org = Salesforce::start().expect("an org");
    let ids = [org.add_contact(&CrmContact::new("c", "dana@acme.example"))];
    let crm = usual(&org);
    crm.log_email(&mail(&ids, None), &key("mail-1"), soon()).await.expect("logged");
    org.set_usage(99, 100);
    // The last call there is; its answer says so.
    crm.log_email(&mail(&ids, None), &key("mail-2"), soon()).await.expect("logged");
    let before = org.calls().total();
    let error = crm.log_email(&mail(&ids, None), &key("mail-3"), soon()).await.expect_err("held");
    assert!(matches!(&error, CrmError(CallError::AskedToWait { .. })), "{error:?}");
    assert_eq!(org.calls().total(), before);
}

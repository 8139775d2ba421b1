//! What the stand-in of Pipedrive cannot show: exact bodies, odd answers, and what fails in part.

use serde_json::{Value, json};
use std::time::Duration;
use wiremock::matchers::{body_json, body_partial_json, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::crm::contact_fields::{ContactUpdate, Current, PerField, UpdateContacts as _};
use crate::crm::meeting::{Meeting, MeetingStatus, MeetingTime, WriteMeetings as _};
use crate::crm::{Direction, EmailActivity, FindContacts as _, IdempotencyKey, LogEmail as _};
use crate::domain::address::EmailAddress;
use crate::engine::testing::MemoryLinks;
use crate::engine::{Clock, Deadline};
use crate::http::{ApiSettings, Credential, http_client};
use crate::set_up::{SetUp as _, SetUpState};

const KEY: &str = "00000000000000000000000000000000000000aa";

fn crm(server: &MockServer) -> PipedriveCrm<MemoryLinks> {
    let settings = ApiSettings {
        name: "the CRM",
        base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
        credential: Credential::Fixed("token".to_owned().into()),
        credential_parameter: "CrmApiKey",
        calls_per_second: None,
    };
    let client = ApiClient::new(http_client().expect("a client"), settings).speaking(dialect(API_TOKEN));
    let clock = Clock::told_by(|| jiff::Timestamp::from_second(1_772_359_200).expect("a time"));
    let written = Written::new(MemoryLinks::default(), clock, SYSTEM).settled_after(Duration::ZERO);
    PipedriveCrm::new(client, written, FieldMaps::built_in(SYSTEM, FIELDS))
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).expect("an address")
}

fn ok(data: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"success": true, "data": data}))
}

async fn answers(server: &MockServer, verb: &str, at: &str, answer: ResponseTemplate) {
    Mock::given(method(verb)).and(path(at)).respond_with(answer).mount(server).await;
}

/// An account with the activity types, one user and the custom field of the job title.
async fn account() -> MockServer {
    let server = MockServer::start().await;
    let types = json!([{"key_string": "email"}, {"key_string": "meeting"}, {"key_string": "task"}]);
    answers(&server, "GET", "/api/v1/activityTypes", ok(&types)).await;
    let users = json!([{"id": 9, "email": "Rep@Northwind.example", "active_flag": true}]);
    answers(&server, "GET", "/api/v1/users", ok(&users)).await;
    let field =
        json!({"field_name": "Job title (Nylas)", "field_code": KEY, "field_type": "varchar", "is_custom_field": true});
    answers(&server, "GET", "/api/v2/personFields", ok(&json!([field]))).await;
    server
}

fn mail() -> EmailActivity {
    EmailActivity {
        external_message_id: "m1".to_owned(),
        contact_ids: vec!["5".to_owned(), "6".to_owned()],
        deal_id: Some("41".to_owned()),
        subject: Some("Re: <Q3>".to_owned()),
        snippet: Some("1 < 2".to_owned()),
        thread_id: Some("t1".to_owned()),
        direction: Direction::Inbound,
        timestamp: "2026-03-01T09:05:30Z".parse().expect("a time"),
        from: Some(address("dana@acme.example")),
        to: vec![address("rep@northwind.example")],
        cc: Vec::new(),
        grant_id: Some("g1".to_owned()),
    }
}

fn meeting() -> Meeting {
    Meeting {
        external_event_id: "evt/1=".to_owned(),
        subject: "Pilot".to_owned(),
        time: MeetingTime::Span {
            start: "2026-03-01T10:00:00Z".parse().expect("a time"),
            end: "2026-03-01T10:45:00Z".parse().expect("a time"),
        },
        location: Some("Room 4".to_owned()),
        link: None,
        notes: "Agenda".to_owned(),
        organizer: Some(address("rep@northwind.example")),
        attendees: Vec::new(),
        status: MeetingStatus::Confirmed,
        calendar_id: None,
        grant_id: None,
        master_event_id: None,
        is_recurring: false,
        series_label: None,
        contact_ids: vec!["5".to_owned()],
        deal_id: None,
    }
}

fn key() -> IdempotencyKey {
    IdempotencyKey::new("mail-1".to_owned())
}

#[tokio::test]
async fn mail_is_an_activity_that_is_done_with_numbers_for_ids_and_its_text_as_html() {
    let server = account().await;
    let note = "From: dana@acme.example<br>To: rep@northwind.example<br><br>1 &lt; 2<br><br>Direction: inbound<br><br>ref nylas:mail-1";
    Mock::given(method("POST"))
        .and(path("/api/v2/activities"))
        .and(body_json(json!({
            "subject": "Re: <Q3>", "type": "email", "done": true, "due_date": "2026-03-01", "due_time": "09:05",
            "owner_id": 9, "deal_id": 41, "note": note,
            "participants": [{"person_id": 5, "primary": true}, {"person_id": 6, "primary": false}],
        })))
        .respond_with(ok(&json!({"id": 77})))
        .expect(1)
        .mount(&server)
        .await;
    let crm = crm(&server);
    assert_eq!(crm.log_email(&mail(), &key(), soon()).await, Ok("77".to_owned()));
    assert_eq!(crm.log_email(&mail(), &key(), soon()).await, Ok("77".to_owned()));
}

#[tokio::test]
async fn mail_whose_answer_was_lost_is_looked_for_on_every_page_of_every_contact() {
    let server = account().await;
    let lost = Mock::given(method("POST")).respond_with(ResponseTemplate::new(500));
    let lost = lost.mount_as_scoped(&server).await;
    let crm = crm(&server);
    crm.log_email(&mail(), &key(), soon()).await.expect_err("lost");
    drop(lost);
    let other =
        json!([{"id": 1, "note": "ref nylas:mail-10"}, {"id": 2, "note": "ref nylas:mail-1", "is_deleted": true}]);
    let page = json!({"success": true, "data": other, "additional_data": {"next_cursor": "c/2"}});
    let activities = || Mock::given(method("GET")).and(path("/api/v2/activities"));
    let since = "2026-01-30T10:00:00Z";
    activities()
        .and(query_param("person_id", "5"))
        .and(query_param("updated_since", since))
        .and(query_param_is_missing("cursor"))
        .respond_with(ResponseTemplate::new(200).set_body_json(page))
        .expect(1)
        .mount(&server)
        .await;
    activities().and(query_param("cursor", "c/2")).respond_with(ok(&json!([]))).expect(1).mount(&server).await;
    let found = json!([{"id": 78, "note": "<p>Hello<br>ref nylas:mail-1</p>"}]);
    activities().and(query_param("person_id", "6")).respond_with(ok(&found)).expect(1).mount(&server).await;
    assert_eq!(crm.log_email(&mail(), &key(), soon()).await, Ok("78".to_owned()));
}

#[tokio::test]
async fn field_that_null_does_not_empty_keeps_no_meeting_from_being_updated() {
    let server = account().await;
    let id = json!({"id": 7});
    Mock::given(method("POST")).and(path("/api/v2/activities")).respond_with(ok(&id)).expect(1).mount(&server).await;
    let standing = json!({"id": 7, "subject": "Pilot", "due_time": "10:00:00", "duration": "00:45:00", "location": {"value": "Room 4"},
        "note": "old<br>ref nylas:evt/1=<p>Bring the offer</p>", "participants": [{"person_id": 8, "primary": true}]});
    answers(&server, "GET", "/api/v2/activities/7", ok(&standing)).await;
    let no_null = json!({"success": false, "error": "Validation failed: due_time", "code": "ERR_BAD_REQUEST"});
    let nulls = body_partial_json(json!({"due_time": null, "duration": null, "location": null}));
    Mock::given(method("PATCH"))
        .and(nulls)
        .respond_with(ResponseTemplate::new(400).set_body_json(no_null))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("PATCH"))
        .and(path("/api/v2/activities/7"))
        .and(body_json(json!({
            "subject": "Pilot", "type": "meeting", "due_date": "2026-03-02",
            "participants": [{"person_id": 5, "primary": true}, {"person_id": 8, "primary": false}],
            "note": "Agenda<br><br>All day: 2026-03-02<br>Organizer: rep@northwind.example<br><br>ref nylas:evt/1=<p>Bring the offer</p>",
        })))
        .respond_with(ok(&id))
        .expect(1)
        .mount(&server)
        .await;
    let crm = crm(&server);
    crm.upsert_meeting(&meeting(), soon()).await.expect("created");
    let day = "2026-03-02".parse().expect("a day");
    let moved = Meeting { time: MeetingTime::Days { first: day, last: day }, location: None, ..meeting() };
    assert_eq!(crm.upsert_meeting(&moved, soon()).await, Ok("7".to_owned()));
}

#[tokio::test]
async fn meeting_of_days_and_one_without_a_time_say_in_words_what_no_field_holds() {
    let server = account().await;
    answers(&server, "POST", "/api/v2/activities", ok(&json!({"id": 7}))).await;
    let crm = crm(&server);
    let time = MeetingTime::Span {
        start: "2026-03-01T22:00:00Z".parse().expect("a time"),
        end: "2026-03-03T10:00:00Z".parse().expect("a time"),
    };
    crm.upsert_meeting(&Meeting { time, ..meeting() }, soon()).await.expect("created");
    let unknown = Meeting { time: MeetingTime::Unknown, external_event_id: "e2".to_owned(), ..meeting() };
    crm.upsert_meeting(&unknown, soon()).await.expect("created");
    let requests = server.received_requests().await.expect("kept");
    let bodies = requests.iter().filter(|request| request.method.as_str() == "POST");
    let bodies: Vec<Value> = bodies.map(|request| request.body_json().expect("JSON")).collect();
    assert_eq!((&bodies[0]["due_time"], &bodies[0]["duration"]), (&json!("22:00"), &json!("23:59")));
    assert!(
        bodies[0]["note"].as_str().is_some_and(|note| note.contains("Ends: 2026-03-03T10:00:00Z")),
        "{}",
        bodies[0]
    );
    assert_eq!([&bodies[1]["due_date"], &bodies[1]["due_time"], &bodies[1]["duration"]], [&Value::Null; 3]);
    assert!(bodies[1]["note"].as_str().is_some_and(|note| note.contains("does not say when")), "{}", bodies[1]);
}

#[tokio::test]
async fn users_who_may_not_be_read_are_asked_for_once_and_nothing_gets_an_owner() {
    let server = MockServer::start().await;
    answers(
        &server,
        "GET",
        "/api/v1/activityTypes",
        ok(&json!([{"key_string": "meeting"}, {"key_string": "email"}, {"key_string": "task"}])),
    )
    .await;
    let refusal = json!({"success": false, "error": "Scope and URL mismatch"});
    Mock::given(path("/api/v1/users"))
        .respond_with(ResponseTemplate::new(403).set_body_json(refusal))
        .expect(1)
        .mount(&server)
        .await;
    answers(&server, "POST", "/api/v2/activities", ok(&json!({"id": 7}))).await;
    let crm = crm(&server);
    for event in ["e1", "e2"] {
        let meeting = Meeting { external_event_id: event.to_owned(), ..meeting() };
        crm.upsert_meeting(&meeting, soon()).await.expect("created");
    }
    let requests = server.received_requests().await.expect("kept");
    let created = requests.iter().filter(|request| request.method.as_str() == "POST");
    assert!(
        created.map(|request| request.body_json::<Value>().expect("JSON")).all(|body| body.get("owner_id").is_none())
    );
}

#[tokio::test]
async fn activity_type_that_is_missing_holds_up_its_own_kind_alone_until_it_is_there() {
    let server = MockServer::start().await;
    let without = Mock::given(path("/api/v1/activityTypes")).respond_with(ok(&json!([{"key_string": "meeting"}])));
    without.mount(&server).await;
    answers(&server, "GET", "/api/v1/users", ok(&json!([]))).await;
    answers(&server, "POST", "/api/v2/activities", ok(&json!({"id": 7}))).await;
    let crm = crm(&server);
    let error = crm.log_email(&mail(), &key(), soon()).await.expect_err("no type for mail").0;
    assert!(
        matches!(&error, CallError::NotSetUp { problem, .. } if problem.contains("activity type email")),
        "{error}"
    );
    crm.upsert_meeting(&meeting(), soon()).await.expect("created");
    assert_eq!(crm.written.known("activity-types").await, Ok(None));
}

#[tokio::test]
async fn set_up_finds_what_is_there_makes_what_is_not_and_says_what_it_does_without() {
    let server = account().await;
    let items = crm(&server).set_up(soon()).await.expect("an account");
    assert!(items.iter().all(|item| item.state == SetUpState::Present), "{items:?}");
    assert_eq!(items.len(), 4);

    let server = MockServer::start().await;
    answers(&server, "GET", "/api/v1/activityTypes", ResponseTemplate::new(403).set_body_json(json!({"error": "no"})))
        .await;
    answers(&server, "GET", "/api/v2/personFields", ok(&json!([]))).await;
    Mock::given(method("POST"))
        .and(path("/api/v2/personFields"))
        .and(body_json(json!({"field_name": "Job title (Nylas)", "field_type": "varchar"})))
        .respond_with(ok(&json!({"field_name": "Job title (Nylas)", "field_code": KEY})))
        .expect(1)
        .mount(&server)
        .await;
    let items = crm(&server).set_up(soon()).await.expect("an account");
    assert_eq!(items[0].state, SetUpState::Created);
    assert!(items[1..].iter().all(|item| matches!(item.state, SetUpState::DoneWithout { .. })), "{items:?}");

    let server = MockServer::start().await;
    answers(&server, "GET", "/api/v1/activityTypes", ok(&json!([]))).await;
    let other =
        json!({"field_name": "Job title (Nylas)", "field_code": KEY, "field_type": "enum", "is_custom_field": true});
    answers(&server, "GET", "/api/v2/personFields", ok(&json!([other]))).await;
    let items = crm(&server).set_up(soon()).await.expect("an account");
    assert!(matches!(&items[0].state, SetUpState::DoneWithout { instead } if instead.contains("enum")), "{items:?}");
    assert!(items[1..].iter().all(|item| matches!(item.state, SetUpState::Missing { .. })), "{items:?}");
}

#[tokio::test]
async fn field_that_cannot_be_made_is_none_and_its_value_is_left_out() {
    let server = MockServer::start().await;
    answers(&server, "GET", "/api/v2/personFields", ok(&json!([]))).await;
    let refusal =
        ResponseTemplate::new(403).set_body_json(json!({"success": false, "error": "Scope and URL mismatch"}));
    Mock::given(method("POST")).respond_with(refusal).expect(1).mount(&server).await;
    let hit = json!({"items": [{"item": {"id": 5, "emails": ["dana@acme.example"]}}]});
    answers(&server, "GET", "/api/v2/persons/search", ok(&hit)).await;
    answers(&server, "GET", "/api/v2/persons/5", ok(&json!({"id": 5, "phones": []}))).await;
    let crm = crm(&server);
    for _ in 0..2 {
        let found = crm.look_up(&[address("dana@acme.example")], soon()).await.remove(0).expect("contacts");
        let (phone, none) = (Current::Empty, Current::NoSuchField);
        assert_eq!(found[0].current, PerField { phone, job_title: none.clone(), company: none });
    }
    let values = PerField { job_title: Some("VP".to_owned()), ..PerField::default() };
    let update = ContactUpdate { contact_id: "5".to_owned(), values };
    assert_eq!(crm.update_contacts(&[update], soon()).await, [Ok(())]);
}

#[tokio::test]
async fn many_persons_are_read_in_one_call_and_few_in_one_each() {
    let server = account().await;
    let people: Vec<EmailAddress> = (1..=10).map(|id| address(&format!("p{id}@acme.example"))).collect();
    for id in 1..=10 {
        let hit = json!({"items": [{"item": {"id": id, "emails": [format!("p{id}@acme.example")]}}]});
        Mock::given(path("/api/v2/persons/search"))
            .and(query_param("term", format!("p{id}@acme.example")))
            .respond_with(ok(&hit))
            .mount(&server)
            .await;
    }
    // The last one was deleted since.
    let persons: Vec<Value> =
        (1..=9).map(|id| json!({"id": id, "phones": null, "custom_fields": {KEY: format!("VP {id}")}})).collect();
    Mock::given(path("/api/v2/persons"))
        .and(query_param("ids", "1,2,3,4,5,6,7,8,9,10"))
        .and(query_param("custom_fields", KEY))
        .respond_with(ok(&json!(persons)))
        .expect(1)
        .mount(&server)
        .await;
    let found = crm(&server).look_up(&people, soon()).await;
    let titles = found.iter().map(|found| found.as_ref().expect("contacts").first().map(|one| &one.current.job_title));
    let titles: Vec<_> = titles.collect();
    assert_eq!((titles[0], titles[9]), (Some(&Current::Value("VP 1".to_owned())), None));
}

#[tokio::test]
async fn contact_that_cannot_be_changed_spoils_no_others_change() {
    let server = account().await;
    let refusal =
        ResponseTemplate::new(400).set_body_json(json!({"success": false, "error": "no", "error_info": "why"}));
    answers(&server, "PATCH", "/api/v2/persons/5", refusal).await;
    Mock::given(method("PATCH"))
        .and(path("/api/v2/persons/6"))
        .and(body_json(json!({"custom_fields": {KEY: "VP"}})))
        .respond_with(ok(&json!({"id": 6})))
        .expect(1)
        .mount(&server)
        .await;
    let values = PerField { job_title: Some("VP".to_owned()), ..PerField::default() };
    let updates = ["5", "6", "con_7"].map(|id| ContactUpdate { contact_id: id.to_owned(), values: values.clone() });
    let answers = crm(&server).update_contacts(&updates, soon()).await;
    assert!(matches!(&answers[0], Err(error) if error.to_string().contains("no: why")), "{answers:?}");
    assert_eq!(answers[1], Ok(()));
    assert!(matches!(&answers[2], Err(error) if matches!(error.0, CallError::NotFound { .. })), "{answers:?}");
}

#[tokio::test]
async fn address_that_pipedrive_refuses_is_there_with_nobody_and_one_that_fails_fails_the_lookup() {
    let server = MockServer::start().await;
    let search = |term: &str| Mock::given(path("/api/v2/persons/search")).and(query_param("term", term));
    let refusal = ResponseTemplate::new(400).set_body_json(json!({"success": false, "error": "term is no good"}));
    search("odd@acme.example").respond_with(refusal).mount(&server).await;
    search("down@acme.example").respond_with(ResponseTemplate::new(503)).mount(&server).await;
    search("dana+crm@acme.example")
        .respond_with(ok(&json!({"items": [{"item": {"id": 5, "emails": ["dana+crm@acme.example"]}}]})))
        .mount(&server)
        .await;
    let deals = json!([
        {"id": 1, "status": "lost", "update_time": "2026-03-09T00:00:00Z"},
        {"id": 2, "status": "open", "update_time": "2026-03-01T00:00:00Z"},
        {"id": 3, "status": "open", "update_time": "2026-03-02T00:00:00Z"},
    ]);
    Mock::given(path("/api/v2/deals"))
        .and(query_param("person_id", "5"))
        .respond_with(ok(&deals))
        .expect(1)
        .mount(&server)
        .await;
    let crm = crm(&server);
    let (dana, odd) = (address("dana+crm@acme.example"), address("odd@acme.example"));
    let found = crm.find_contacts(&[dana.clone(), odd.clone()], soon()).await.expect("contacts");
    let deals: Vec<(&str, Option<bool>)> =
        found[&dana][0].deals.iter().map(|deal| (deal.id.as_str(), deal.open)).collect();
    assert_eq!(deals, [("3", Some(true)), ("2", Some(true)), ("1", Some(false))]);
    assert_eq!((found[&dana][0].id.as_str(), found[&odd].len()), ("5", 0));
    crm.find_contacts(&[address("down@acme.example")], soon()).await.expect_err("down");
}

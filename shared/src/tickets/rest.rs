//! The generic ticket system: any system that speaks the shipped OpenAPI document (`rest-tickets.openapi.yaml`).

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use url::Url;

use super::{Commented, Correspondent, NewComment, NewTicket, OpenTickets, Opened, TicketError, collection_is_missing};
use crate::engine::Deadline;
use crate::fitting;
use crate::http::{ApiClient, CallError};
use crate::set_up::{SetUp, SetUpItem};

/// The longest text of a ticket or a comment that is sent, in bytes of UTF-8, the line that tells of the cut included.
///
/// Mail may hold megabytes of quoted text and logs, which no ticket system takes and nobody reads.
pub const LONGEST_BODY: usize = 64 * 1024;

/// The last line of a text that was longer than [`LONGEST_BODY`].
pub const CUT_LINE: &str = "[Cut here: the mail is longer than 64 KiB. The rest of it is in the mailbox.]";

/// The adapter.
pub struct RestTickets(ApiClient);

impl RestTickets {
    /// Speaks through the given client.
    #[must_use]
    pub fn new(client: ApiClient) -> Self {
        Self(client)
    }

    async fn create(
        &self,
        segments: &[&str],
        what: &'static str,
        message_id: &str,
        body: &Value,
        deadline: Deadline,
    ) -> Result<Created, CallError> {
        let created: Result<Created, CallError> = self
            .0
            .request(Method::POST, segments, what)
            .header("Idempotency-Key", message_id)
            .json(body)
            .read(deadline)
            .await;
        match created {
            // An earlier try wrote another body, as under rules that were changed since; the answer names what it made.
            Err(CallError::Rejected { status: 409, text, api, what }) => {
                serde_json::from_str(&text).map_err(|_| CallError::Rejected { status: 409, text, api, what })
            }
            other => other,
        }
    }
}

impl SetUp for RestTickets {
    /// The contract asks for nothing to be made first, and has no call that leaves nothing behind: nothing is asked.
    async fn set_up(&self, _: Deadline) -> Result<Vec<SetUpItem>, CallError> {
        Ok(Vec::new())
    }
}

impl OpenTickets for RestTickets {
    async fn open(&self, ticket: &NewTicket, deadline: Deadline) -> Result<Opened, TicketError> {
        let body = ticket_body_of(ticket);
        match self.create(&["tickets"], "ticket", &ticket.message_id, &body, deadline).await {
            Ok(created) => Ok(Opened { id: created.id.0, url: address_for_people(&created.url) }),
            Err(error) => Err(collection_is_missing(error).into()),
        }
    }

    async fn comment(
        &self,
        ticket_id: &str,
        comment: &NewComment,
        deadline: Deadline,
    ) -> Result<Commented, TicketError> {
        let segments = ["tickets", ticket_id, "comments"];
        let body = comment_body_of(comment);
        match self.create(&segments, "comment", &comment.message_id, &body, deadline).await {
            Ok(created) => Ok(Commented::Added(created.id.0)),
            Err(CallError::NotFound { .. }) => Ok(Commented::TicketGone),
            Err(error) => Err(error.into()),
        }
    }
}

/// Every key is present, `null` when unknown.
fn ticket_body_of(ticket: &NewTicket) -> Value {
    json!({
        "message_id": ticket.message_id,
        "grant_id": ticket.grant_id,
        "thread_id": ticket.thread_id,
        "subject": ticket.subject,
        "from": from_of(&ticket.from),
        "category": ticket.category,
        "priority": ticket.priority,
        "desk": ticket.desk,
        "flags": ticket.flags,
        "previous_ticket_id": ticket.previous_ticket_id,
        "received_at": ticket.received_at.to_string(),
        "body": fitting(&ticket.body),
    })
}

/// Every key is present, `null` when unknown.
fn comment_body_of(comment: &NewComment) -> Value {
    json!({
        "message_id": comment.message_id,
        "from": from_of(&comment.from),
        "body": fitting(&comment.body),
        "received_at": comment.received_at.to_string(),
    })
}

fn from_of(correspondent: &Correspondent) -> Value {
    json!({ "email": correspondent.email.as_str(), "name": correspondent.name })
}

fn fitting(text: &str) -> Cow<'_, str> {
    fitting::fitting(text, LONGEST_BODY, char::len_utf8, CUT_LINE)
}

/// The address, if a browser opens a page under it and nothing else.
fn address_for_people(url: &Value) -> Option<String> {
    let text = url.as_str()?;
    let parsed = Url::parse(text).ok()?;
    matches!(parsed.scheme(), "http" | "https").then(|| parsed.to_string())
}

#[derive(Deserialize)]
struct Created {
    id: Id,
    // For people alone: one that cannot be read counts as not given.
    #[serde(default)]
    url: Value,
}

/// An id: a text, or a number taken as one, because many systems number their tickets.
struct Id(String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) if !text.is_empty() => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            _ => Err(serde::de::Error::custom("an id must be a text that is not empty, or a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::EmailAddress;
    use crate::domain::failure::Failure;
    use crate::http::{ApiSettings, Credential, http_client};
    use secrecy::SecretString;
    use std::time::Duration;
    use wiremock::matchers::{any, body_json, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn tickets(server: &MockServer) -> RestTickets {
        RestTickets::new(ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "the ticket system",
                base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
                credential: Credential::Fixed(SecretString::from("token")),
                credential_parameter: "TicketApiKey",
                calls_per_second: None,
            },
        ))
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    async fn answering(template: ResponseTemplate) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(template).mount(&server).await;
        server
    }

    fn dana(name: Option<&str>) -> Correspondent {
        let email = EmailAddress::parse("dana@acme.example").expect("an address");
        Correspondent { email, name: name.map(str::to_owned) }
    }

    fn ticket() -> NewTicket {
        NewTicket {
            message_id: "m1".to_owned(),
            grant_id: "g1".to_owned(),
            thread_id: Some("t1".to_owned()),
            subject: Some("Export fails".to_owned()),
            from: dana(Some("Dana")),
            category: "bugs".to_owned(),
            priority: "medium".to_owned(),
            desk: "engineering".to_owned(),
            flags: vec!["stranger_quotes_ticket".to_owned()],
            previous_ticket_id: Some("T-7".to_owned()),
            received_at: "2026-03-01T10:00:00Z".parse().expect("a time"),
            body: "It says 500.".to_owned(),
        }
    }

    fn comment() -> NewComment {
        NewComment {
            message_id: "m2".to_owned(),
            from: dana(None),
            body: "Still.".to_owned(),
            received_at: "2026-03-01T10:00:00Z".parse().expect("a time"),
        }
    }

    #[tokio::test]
    async fn ticket_carries_every_key_the_token_and_its_message_id_as_idempotency_key() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/tickets"))
            .and(header("authorization", "Bearer token"))
            .and(header("idempotency-key", "m1"))
            .and(body_json(json!({
                "message_id": "m1", "grant_id": "g1", "thread_id": "t1", "subject": "Export fails",
                "from": {"email": "dana@acme.example", "name": "Dana"}, "category": "bugs", "priority": "medium",
                "desk": "engineering", "flags": ["stranger_quotes_ticket"], "previous_ticket_id": "T-7",
                "received_at": "2026-03-01T10:00:00Z", "body": "It says 500.",
            })))
            .respond_with(
                ResponseTemplate::new(201)
                    .set_body_json(json!({"id": "T-8", "url": "https://desk.example/T-8", "state": "new"})),
            )
            .expect(1)
            .mount(&server)
            .await;
        let opened = Opened { id: "T-8".to_owned(), url: Some("https://desk.example/T-8".to_owned()) };
        assert_eq!(tickets(&server).open(&ticket(), soon()).await, Ok(opened));
    }

    #[test]
    fn what_is_not_known_of_a_ticket_is_null_and_never_left_out() {
        let unknown = ticket_body_of(&NewTicket {
            thread_id: None,
            subject: None,
            from: dana(None),
            flags: Vec::new(),
            previous_ticket_id: None,
            body: String::new(),
            ..ticket()
        });
        assert_eq!(
            unknown,
            json!({
                "message_id": "m1", "grant_id": "g1", "thread_id": null, "subject": null,
                "from": {"email": "dana@acme.example", "name": null}, "category": "bugs", "priority": "medium",
                "desk": "engineering", "flags": [], "previous_ticket_id": null,
                "received_at": "2026-03-01T10:00:00Z", "body": "",
            })
        );
    }

    #[tokio::test]
    async fn comment_goes_below_its_ticket_whose_id_is_one_segment_of_the_path() {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/tickets/A%2Fb%23c=d%20e%3F/comments"))
            .and(header("authorization", "Bearer token"))
            .and(header("idempotency-key", "m2"))
            .and(body_json(json!({
                "message_id": "m2", "from": {"email": "dana@acme.example", "name": null}, "body": "Still.",
                "received_at": "2026-03-01T10:00:00Z",
            })))
            .respond_with(ResponseTemplate::new(201).set_body_json(json!({"id": 12})))
            .expect(1)
            .mount(&server)
            .await;
        let commented = tickets(&server).comment("A/b#c=d e?", &comment(), soon()).await;
        assert_eq!(commented, Ok(Commented::Added("12".to_owned())));
    }

    #[tokio::test]
    async fn comment_that_is_answered_404_or_410_tells_that_the_ticket_is_gone() {
        for status in [404, 410] {
            let server = answering(ResponseTemplate::new(status)).await;
            let commented = tickets(&server).comment("T-8", &comment(), soon()).await;
            assert_eq!(commented, Ok(Commented::TicketGone), "{status}");
        }
    }

    #[tokio::test]
    async fn address_without_tickets_is_at_fault_and_no_message() {
        let server = answering(ResponseTemplate::new(404)).await;
        let failure = Failure::from(tickets(&server).open(&ticket(), soon()).await.expect_err("no collection"));
        assert!(
            matches!(&failure, Failure::Transient { class: "ticket.unavailable", what, .. }
                if what.contains("TicketBaseUrl")),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn id_is_a_text_or_a_number_and_anything_else_is_unreadable() {
        for (answer, id) in [
            (json!({"id": "T-8"}), Some("T-8")),
            (json!({"id": 8}), Some("8")),
            (json!({"id": ""}), None),
            (json!({"id": null}), None),
            (json!({"id": ["T-8"]}), None),
            (json!({"ticket": "T-8"}), None),
            (json!("T-8"), None),
        ] {
            let server = answering(ResponseTemplate::new(201).set_body_json(&answer)).await;
            let opened = tickets(&server).open(&ticket(), soon()).await;
            let commented = tickets(&server).comment("T-8", &comment(), soon()).await;
            if let Some(id) = id {
                assert_eq!(opened, Ok(Opened { id: id.to_owned(), url: None }), "{answer}");
                assert_eq!(commented, Ok(Commented::Added(id.to_owned())), "{answer}");
                continue;
            }
            for error in [opened.expect_err("no id"), commented.expect_err("no id")] {
                assert_eq!(Failure::from(error).class(), "ticket.unreadable", "{answer}");
            }
        }
    }

    #[tokio::test]
    async fn address_of_a_ticket_is_kept_only_if_a_browser_opens_a_page_under_it() {
        for (url, kept) in [
            (json!("https://desk.example/T-8?tab=1"), Some("https://desk.example/T-8?tab=1")),
            (json!("http://desk.example/T-8"), Some("http://desk.example/T-8")),
            (json!("javascript:alert(1)"), None),
            (json!("ftp://desk.example/T-8"), None),
            (json!("/T-8"), None),
            (json!(""), None),
            (json!(8), None),
            (Value::Null, None),
        ] {
            let server = answering(ResponseTemplate::new(201).set_body_json(json!({"id": "T-8", "url": url}))).await;
            let opened = tickets(&server).open(&ticket(), soon()).await.expect("opened");
            assert_eq!(opened.url.as_deref(), kept, "{url}");
        }
    }

    #[tokio::test]
    async fn key_that_made_something_of_another_body_answers_what_it_made() {
        let conflict =
            json!({"error": "the key belongs to another body", "id": "T-7", "url": "https://desk.example/7"});
        let server = answering(ResponseTemplate::new(409).set_body_json(conflict)).await;
        let opened = Opened { id: "T-7".to_owned(), url: Some("https://desk.example/7".to_owned()) };
        assert_eq!(tickets(&server).open(&ticket(), soon()).await, Ok(opened));
        let commented = tickets(&server).comment("T-7", &comment(), soon()).await;
        assert_eq!(commented, Ok(Commented::Added("T-7".to_owned())));
    }

    #[tokio::test]
    async fn refused_ticket_is_permanent_with_the_ticket_systems_own_words() {
        for status in [400, 409, 422] {
            let refusal = ResponseTemplate::new(status).set_body_json(json!({"error": "no desk is named engineering"}));
            let server = answering(refusal).await;
            let failure = Failure::from(tickets(&server).open(&ticket(), soon()).await.expect_err("refused"));
            assert!(
                matches!(&failure, Failure::Permanent { class: "ticket.rejected", what }
                    if what.contains("no desk is named engineering")),
                "{failure:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_passes_by_itself_is_tried_again_with_the_pause_that_was_asked_for() {
        let pause = Some(Duration::from_secs(17));
        for (status, class, retry_after) in [
            (401, "ticket.unauthorized", None),
            (403, "ticket.unauthorized", None),
            (429, "ticket.rate_limited", pause),
            (500, "ticket.unavailable", pause),
            (503, "ticket.unavailable", pause),
        ] {
            let server = answering(ResponseTemplate::new(status).insert_header("retry-after", "17")).await;
            let opening = tickets(&server).open(&ticket(), soon()).await.expect_err("no ticket");
            let commenting = tickets(&server).comment("T-8", &comment(), soon()).await.expect_err("no comment");
            for failure in [Failure::from(opening), Failure::from(commenting)] {
                assert!(
                    matches!(&failure, Failure::Transient { class: its, retry_after: asked, .. }
                        if *its == class && *asked == retry_after),
                    "{status}: {failure:?}"
                );
            }
        }
    }

    #[test]
    fn text_is_whole_up_to_the_limit_and_beyond_it_its_last_line_tells_of_the_cut() {
        let whole = "a".repeat(LONGEST_BODY);
        assert_eq!(fitting(&whole), whole);
        let cut = fitting(&format!("{whole}a")).into_owned();
        assert_eq!((cut.len(), cut.lines().last()), (LONGEST_BODY, Some(CUT_LINE)));
        assert!(cut.starts_with("aaaa"));
    }

    #[test]
    fn cut_falls_between_characters_wherever_they_begin() {
        for lead in ["", "a", "aa", "aaa"] {
            let text = format!("{lead}{}", "🦀".repeat(LONGEST_BODY));
            let cut = fitting(&text).into_owned();
            assert!(cut.len() <= LONGEST_BODY && cut.len() > LONGEST_BODY - 4, "{}", cut.len());
            let (kept, last) = cut.rsplit_once('\n').expect("two lines");
            assert!(text.starts_with(kept) && last == CUT_LINE);
        }
    }

    #[test]
    fn tickets_and_comments_are_cut_alike() {
        let long = "a".repeat(LONGEST_BODY + 1);
        let ticket = ticket_body_of(&NewTicket { body: long.clone(), ..ticket() });
        let comment = comment_body_of(&NewComment { body: long, ..comment() });
        assert_eq!(ticket["body"], comment["body"]);
        assert!(ticket["body"].as_str().is_some_and(|text| text.ends_with(CUT_LINE)));
    }
}

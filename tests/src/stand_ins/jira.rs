//! A stand-in for Jira Cloud: the issues of one project, and their comments. Holds every request against its description,
//! and refuses what Jira refuses with Jira's own errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::{
    CallLog, Faults, Result,
    openapi::OpenApiDocument,
    server::{ErrorAnswer, Server},
    ticket_system::{SeenComment, SeenTicket, TicketStandIn},
};

/// The credential that is good: the address of a user, and an API token.
pub const CREDENTIAL: &str = "service@northwind.example:sample-jira-token";

/// The key of the project.
pub const PROJECT: &str = "SUP";

const TYPES: [(&str, &str); 3] = [("10001", "Task"), ("10002", "Bug"), ("10003", "Incident")];

const PRIORITIES: [&str; 5] = ["Highest", "High", "Medium", "Low", "Lowest"];

const COMPONENTS: [&str; 2] = ["On-call", "Billing"];

const DOCUMENT: &str = include_str!("jira.openapi.yaml");

const MOST_BYTES_IN_A_BODY: usize = 8 * 1024 * 1024;

/// The longest description or comment.
const LONGEST_TEXT: usize = 32_767;

#[derive(Debug, Clone)]
struct Comment {
    id: u64,
    text: String,
    properties: Value,
}

#[derive(Debug, Clone)]
struct Issue {
    id: u64,
    key: String,
    fields: Map<String, Value>,
    comments: Vec<Comment>,
}

#[derive(Debug, Default)]
struct Records {
    last_number: u64,
    last_id: u64,
    issues: Vec<Issue>,
    required: Vec<String>,
    not_on_screen: BTreeSet<String>,
    counts_markup: bool,
}

impl Records {
    fn id(&mut self) -> u64 {
        self.last_id += 1;
        10_000 + self.last_id
    }

    fn issue(&mut self, key: &str) -> std::result::Result<&mut Issue, Refusal> {
        self.issues.iter_mut().find(|issue| issue.key == key || issue.id.to_string() == key).ok_or_else(|| {
            Refusal::of(StatusCode::NOT_FOUND, "Issue does not exist or you do not have permission to see it.")
        })
    }

    fn check_text(&self, document: &Value) -> std::result::Result<String, Refusal> {
        let text = text_of(document);
        let counted = if self.counts_markup { document.to_string() } else { text.clone() }.encode_utf16().count();
        if counted > LONGEST_TEXT {
            return Err(Refusal::of(StatusCode::BAD_REQUEST, "CONTENT_LIMIT_EXCEEDED"));
        }
        Ok(text)
    }

    /// What is wrong with the fields of a new issue, by field.
    fn faults_of(&self, fields: &Map<String, Value>) -> BTreeMap<String, String> {
        let mut faults = BTreeMap::new();
        let mut fault = |field: &str, problem: String| {
            faults.insert(field.to_owned(), problem);
        };
        for field in fields.keys().filter(|field| self.not_on_screen.contains(*field)) {
            let problem = format!("Field '{field}' cannot be set. It is not on the appropriate screen, or unknown.");
            fault(field, problem);
        }
        for field in self.required.iter().filter(|field| !fields.contains_key(*field)) {
            fault(field, format!("{field} is required."));
        }
        let of = |field: &str| fields.get(field).unwrap_or(&Value::Null);
        if of("project")["key"] != PROJECT {
            fault("project", "valid project is required".to_owned());
        }
        let kind = of("issuetype");
        if !TYPES.iter().any(|(id, name)| kind["name"] == *name || kind["id"] == *id) {
            fault("issuetype", "Specify a valid issue type".to_owned());
        }
        let summary = of("summary").as_str().unwrap_or_default();
        if summary.contains(['\n', '\r']) {
            fault("summary", "The summary is invalid because it contains newline characters.".to_owned());
        }
        if summary.encode_utf16().count() > 255 {
            fault("summary", "Summary can't exceed 255 characters.".to_owned());
        }
        let priority = of("priority");
        if !priority.is_null() && !PRIORITIES.iter().any(|name| priority["name"] == *name) {
            fault("priority", "The priority selected is invalid.".to_owned());
        }
        for component in of("components").as_array().into_iter().flatten() {
            if !COMPONENTS.iter().any(|name| component["name"] == *name) {
                fault("components", format!("Component name {} is not valid", component["name"]));
            }
        }
        for label in of("labels").as_array().into_iter().flatten().filter_map(Value::as_str) {
            if label.contains(char::is_whitespace) {
                fault("labels", format!("The label '{label}' contains spaces which is invalid."));
            }
        }
        faults
    }
}

struct Site {
    document: OpenApiDocument,
    revoked: AtomicBool,
    refusals: Mutex<Vec<String>>,
    records: Mutex<Records>,
}

impl Site {
    fn locked<T>(&self, use_records: impl FnOnce(&mut Records) -> T) -> T {
        use_records(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The running stand-in. It stops when it is dropped.
pub struct Jira {
    server: Server,
    site: Arc<Site>,
}

impl Jira {
    /// Starts a site whose project has no issues, on a free port.
    pub fn start() -> Result<Self> {
        let site = Arc::new(Site {
            document: OpenApiDocument::parse(DOCUMENT)?,
            revoked: AtomicBool::new(false),
            refusals: Mutex::default(),
            records: Mutex::default(),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&site));
        Ok(Self { server: Server::start(0, router, PLANNED_ERROR)?, site })
    }

    /// A field of an issue, as it was sent.
    #[must_use]
    pub fn field(&self, key: &str, name: &str) -> Value {
        let field = |records: &mut Records| records.issue(key).ok().and_then(|issue| issue.fields.get(name).cloned());
        self.site.locked(field).unwrap_or_default()
    }

    /// From now on a new issue must have this field.
    pub fn require_field(&self, name: &str) {
        self.site.locked(|records| records.required.push(name.to_owned()));
    }

    /// Takes a field off the create screen.
    pub fn take_off_screen(&self, name: &str) {
        self.site.locked(|records| records.not_on_screen.insert(name.to_owned()));
    }

    /// From now on the length of a text is that of the whole document.
    pub fn count_markup(&self) {
        self.site.locked(|records| records.counts_markup = true);
    }
}

impl TicketStandIn for Jira {
    fn provider(&self) -> &'static str {
        "jira"
    }

    fn base_url(&self) -> String {
        self.server.base_url()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("TicketApiKey", CREDENTIAL.to_owned()), ("TicketProject", PROJECT.to_owned())]
    }

    fn faults(&self) -> &Faults {
        self.server.faults()
    }

    fn calls(&self) -> &CallLog {
        self.server.log()
    }

    fn refusals(&self) -> Vec<String> {
        self.site.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn revoke_credential(&self) {
        self.site.revoked.store(true, Ordering::SeqCst);
    }

    fn tickets(&self) -> Vec<SeenTicket> {
        let base_url = self.base_url();
        let seen = |issue: &Issue| {
            let of = |field: &str| issue.fields.get(field).cloned().unwrap_or_default();
            let labels = of("labels").as_array().cloned().unwrap_or_default();
            SeenTicket {
                id: issue.key.clone(),
                url: Some(format!("{base_url}/browse/{}", issue.key)),
                subject: of("summary").as_str().unwrap_or_default().to_owned(),
                text: text_of(&of("description")),
                priority: of("priority")["name"].as_str().map(str::to_owned),
                desk: of("components")[0]["name"].as_str().map(str::to_owned),
                // Of the kinds of projects that have one this is none.
                requester: None,
                labels: labels.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                comments: issue
                    .comments
                    .iter()
                    .map(|comment| SeenComment { id: comment.id.to_string(), author: None, text: comment.text.clone() })
                    .collect(),
            }
        };
        self.site.locked(|records| records.issues.iter().map(seen).collect())
    }

    fn remove_ticket(&self, id: &str) {
        self.site.locked(|records| records.issues.retain(|issue| issue.key != id));
    }
}

/// An answer that says no, as Jira says it.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    body: Value,
}

impl Refusal {
    fn of(status: StatusCode, message: &str) -> Self {
        Self { status, body: json!({ "errorMessages": [message], "errors": {} }) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

const PLANNED_ERROR: ErrorAnswer = |status| {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
    Refusal::of(status, &format!("planned fault: {reason}")).into_response()
};

async fn serve(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if site.revoked.load(Ordering::SeqCst) || !is_good(&parts.headers) {
        return Refusal::of(StatusCode::UNAUTHORIZED, "Client must be authenticated to access this resource.")
            .into_response();
    }
    let Ok(body) = to_bytes(body, MOST_BYTES_IN_A_BODY).await else {
        return Refusal::of(StatusCode::PAYLOAD_TOO_LARGE, "The request is too large.").into_response();
    };
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    if let Err(departure) = site.document.check_request(method, path, &query, &parts.headers, &body) {
        site.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(departure.clone());
        return Refusal::of(StatusCode::BAD_REQUEST, &departure).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let number = |name: &str, default: usize| {
        let given = query.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.parse().ok());
        given.unwrap_or(default)
    };
    let segments: Vec<&str> = path.trim_start_matches("/rest/api/3/").split('/').collect();
    let answer = match (method, segments.as_slice()) {
        ("POST", ["issue"]) => create_issue(&site, &body),
        ("GET", ["issue", "createmeta", project, "issuetypes"]) => {
            types_of(project, number("startAt", 0), number("maxResults", 50))
        }
        ("GET", ["issue", key, "comment"]) => {
            let newest_first = query.iter().any(|(name, value)| name == "orderBy" && value == "-created");
            comments_of(&site, key, newest_first, number("startAt", 0), number("maxResults", 100))
        }
        ("POST", ["issue", key, "comment"]) => add_comment(&site, key, &body),
        ("POST", ["comment", "list"]) => {
            let shows_properties =
                query.iter().any(|(name, value)| name == "expand" && value.split(',').any(|word| word == "properties"));
            Ok(comments_by_id(&site, &body["ids"], shows_properties))
        }
        ("POST", ["search", "jql"]) => search(&site, &body),
        _ => Err(Refusal::of(StatusCode::NOT_FOUND, "dead link")),
    };
    let mut answer = answer.unwrap_or_else(Refusal::into_response);
    for (name, value) in [("x-ratelimit-limit", "350"), ("x-ratelimit-remaining", "349")] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn is_good(headers: &HeaderMap) -> bool {
    let good = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(CREDENTIAL));
    headers.get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == good.as_bytes())
}

/// What a document shows.
fn text_of(document: &Value) -> String {
    let paragraphs = document["content"].as_array().into_iter().flatten().map(|paragraph| {
        let inline = paragraph["content"].as_array().into_iter().flatten();
        inline.map(|node| node["text"].as_str().unwrap_or("\n")).collect::<String>()
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

fn create_issue(site: &Site, body: &Value) -> std::result::Result<Response, Refusal> {
    let fields = body["fields"].as_object().cloned().unwrap_or_default();
    site.locked(|records| {
        // Counted up also when the issue is refused afterwards (JRACLOUD-78553).
        records.last_number += 1;
        records.check_text(fields.get("description").unwrap_or(&Value::Null))?;
        let faults = records.faults_of(&fields);
        if !faults.is_empty() {
            let body = json!({ "errorMessages": [], "errors": faults });
            return Err(Refusal { status: StatusCode::BAD_REQUEST, body });
        }
        let (id, key) = (records.id(), format!("{PROJECT}-{}", records.last_number));
        records.issues.push(Issue { id, key: key.clone(), fields, comments: Vec::new() });
        let made =
            json!({ "id": id.to_string(), "key": key, "self": format!("https://jira.example/rest/api/3/issue/{id}") });
        Ok((StatusCode::CREATED, Json(made)).into_response())
    })
}

fn types_of(project: &str, start_at: usize, most: usize) -> std::result::Result<Response, Refusal> {
    if project != PROJECT {
        return Err(Refusal::of(StatusCode::NOT_FOUND, &format!("No project could be found with key '{project}'.")));
    }
    let shown = |(id, name): &(&str, &str)| json!({ "id": id, "name": name, "subtask": false });
    let types: Vec<Value> = TYPES.iter().skip(start_at).take(most).map(shown).collect();
    let page = json!({ "issueTypes": types, "startAt": start_at, "maxResults": most, "total": TYPES.len() });
    Ok(Json(page).into_response())
}

fn add_comment(site: &Site, key: &str, body: &Value) -> std::result::Result<Response, Refusal> {
    site.locked(|records| {
        records.issue(key)?;
        let text = records.check_text(&body["body"])?;
        if text.trim().is_empty() {
            return Err(Refusal::of(StatusCode::BAD_REQUEST, "Comment body can not be empty!"));
        }
        let id = records.id();
        records.issue(key)?.comments.push(Comment { id, text, properties: body["properties"].clone() });
        let made = json!({ "id": id.to_string(), "body": body["body"] });
        Ok((StatusCode::CREATED, Json(made)).into_response())
    })
}

fn comments_of(
    site: &Site,
    key: &str,
    newest_first: bool,
    start_at: usize,
    most: usize,
) -> std::result::Result<Response, Refusal> {
    let mut comments = site.locked(|records| records.issue(key).map(|issue| issue.comments.clone()))?;
    if newest_first {
        comments.reverse();
    }
    let total = comments.len();
    let shown = |comment: Comment| json!({ "id": comment.id.to_string() });
    let page: Vec<Value> = comments.into_iter().skip(start_at).take(most).map(shown).collect();
    Ok(Json(json!({ "comments": page, "startAt": start_at, "maxResults": most, "total": total })).into_response())
}

fn comments_by_id(site: &Site, ids: &Value, shows_properties: bool) -> Response {
    let asked = ids.as_array().cloned().unwrap_or_default();
    let shown = |comment: &Comment| {
        let mut shown = json!({ "id": comment.id.to_string() });
        if shows_properties {
            shown["properties"] = comment.properties.clone();
        }
        shown
    };
    let values: Vec<Value> = site.locked(|records| {
        let comments = records.issues.iter().flat_map(|issue| &issue.comments);
        comments.filter(|comment| asked.contains(&json!(comment.id))).map(shown).collect()
    });
    Json(json!({ "values": values, "isLast": true })).into_response()
}

/// Takes `project = "…" AND labels = "…"`; a query without a restriction, or in another form, is an error.
fn search(site: &Site, body: &Value) -> std::result::Result<Response, Refusal> {
    let jql = body["jql"].as_str().unwrap_or_default();
    let unreadable =
        || Refusal::of(StatusCode::BAD_REQUEST, &format!("Error in the JQL Query: it cannot be read: {jql}"));
    let rest = jql.strip_prefix("project = ").ok_or_else(unreadable)?;
    let (project, rest) = quoted(rest).ok_or_else(unreadable)?;
    let (label, rest) = rest.strip_prefix(" AND labels = ").and_then(quoted).ok_or_else(unreadable)?;
    if !rest.is_empty() {
        return Err(unreadable());
    }
    if project != PROJECT {
        let words = format!("The value '{project}' does not exist for the field 'project'.");
        return Err(Refusal::of(StatusCode::BAD_REQUEST, &words));
    }
    let found: Vec<Value> = site.locked(|records| {
        let has_it = |issue: &&Issue| {
            let labels = issue.fields.get("labels").and_then(Value::as_array);
            labels.is_some_and(|labels| labels.contains(&json!(label)))
        };
        let shown = |issue: &Issue| json!({ "id": issue.id.to_string(), "key": issue.key });
        records.issues.iter().filter(has_it).map(shown).collect()
    });
    Ok(Json(json!({ "issues": found, "isLast": true })).into_response())
}

/// A text in double quotes at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut characters = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(jira: &Jira, method: &str, path: &str, body: Value) -> (u16, Value) {
        let method = method.parse().expect("a method");
        let mut request = reqwest::Client::new()
            .request(method, format!("{}/rest/api/3/{path}", jira.base_url()))
            .basic_auth("service@northwind.example", Some("sample-jira-token"));
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    fn document(text: &str) -> Value {
        let content = json!([{ "type": "paragraph", "content": [{ "type": "text", "text": text }] }]);
        json!({ "type": "doc", "version": 1, "content": content })
    }

    fn issue() -> Value {
        json!({ "fields": {
            "project": { "key": "SUP" }, "issuetype": { "name": "Task" }, "summary": "Down",
            "description": document("All is down."), "labels": ["nylas-1"],
        } })
    }

    #[tokio::test]
    async fn what_jira_refuses_is_refused_by_field() {
        let jira = Jira::start().expect("a free port");
        jira.take_off_screen("customfield_1");
        for (name, value) in [
            ("project", json!({ "key": "NONE" })),
            ("issuetype", json!({ "name": "Epic" })),
            ("summary", json!("two\nlines")),
            ("summary", json!("a".repeat(256))),
            ("priority", json!({ "name": "Urgent" })),
            ("components", json!([{ "name": "Nowhere" }])),
            ("labels", json!(["two words"])),
            ("customfield_1", json!("x")),
        ] {
            let mut body = issue();
            body["fields"][name] = value;
            let (status, refusal) = call(&jira, "POST", "issue", body).await;
            assert_eq!((status, refusal["errors"][name].is_string()), (400, true), "{name}: {refusal}");
        }
        assert_eq!((jira.tickets(), jira.refusals()), (Vec::new(), Vec::new()));
    }

    #[tokio::test]
    async fn text_of_more_than_the_limit_is_refused_and_uses_up_a_number() {
        let jira = Jira::start().expect("a free port");
        let mut body = issue();
        body["fields"]["description"] = document(&"a".repeat(32_768));
        let (status, refusal) = call(&jira, "POST", "issue", body).await;
        assert_eq!((status, &refusal["errorMessages"][0]), (400, &json!("CONTENT_LIMIT_EXCEEDED")));
        assert_eq!(call(&jira, "POST", "issue", issue()).await.1["key"], "SUP-2");
    }

    #[tokio::test]
    async fn document_that_is_none_and_fields_that_there_are_not_are_told() {
        let jira = Jira::start().expect("a free port");
        for (name, value) in [("description", json!("a text")), ("description", document("")), ("desk", json!("x"))] {
            let mut body = issue();
            body["fields"][name] = value;
            assert_eq!(call(&jira, "POST", "issue", body).await.0, 400, "{name}");
        }
        assert_eq!(jira.refusals().len(), 3);
    }

    #[tokio::test]
    async fn query_finds_by_label_and_must_be_quoted_and_bounded() {
        let jira = Jira::start().expect("a free port");
        let (_, made) = call(&jira, "POST", "issue", issue()).await;
        let query = |jql: &str| json!({ "jql": jql, "fields": ["key"], "maxResults": 2 });
        let found = call(&jira, "POST", "search/jql", query(r#"project = "SUP" AND labels = "nylas-1""#)).await;
        assert_eq!((found.0, &found.1["issues"][0]["key"]), (200, &made["key"]));
        let none = call(&jira, "POST", "search/jql", query(r#"project = "SUP" AND labels = "a\"b\\c""#)).await;
        assert_eq!((none.0, none.1["issues"].as_array().map(Vec::len)), (200, Some(0)));
        for odd in ["", "order by created", "project = SUP", r#"project = "SUP" AND labels = "a" OR 1 = 1"#] {
            assert_eq!(call(&jira, "POST", "search/jql", query(odd)).await.0, 400, "{odd}");
        }
    }

    #[tokio::test]
    async fn properties_of_comments_are_shown_where_they_are_asked_for_by_id_alone() {
        let jira = Jira::start().expect("a free port");
        let (_, made) = call(&jira, "POST", "issue", issue()).await;
        let path = format!("issue/{}/comment", made["key"].as_str().expect("a key"));
        let properties = json!([{ "key": "nylas", "value": { "message_id": "m2" } }]);
        let (status, added) =
            call(&jira, "POST", &path, json!({ "body": document("x"), "properties": properties })).await;
        assert_eq!(status, 201);
        let listed = call(&jira, "GET", &path, Value::Null).await.1;
        assert_eq!((&listed["comments"][0]["id"], &listed["comments"][0]["properties"]), (&added["id"], &Value::Null));
        let id: u64 = added["id"].as_str().expect("an id").parse().expect("a number");
        let by_id = call(&jira, "POST", "comment/list?expand=properties", json!({ "ids": [id] })).await.1;
        assert_eq!(by_id["values"][0]["properties"], properties);
        assert_eq!(call(&jira, "POST", "issue/SUP-99/comment", json!({ "body": document("x") })).await.0, 404);
    }

    #[tokio::test]
    async fn another_credential_is_a_stranger() {
        let jira = Jira::start().expect("a free port");
        let url = format!("{}/rest/api/3/issue/createmeta/SUP/issuetypes", jira.base_url());
        assert_eq!(reqwest::get(&url).await.expect("an answer").status(), 401);
        assert_eq!(call(&jira, "GET", "issue/createmeta/SUP/issuetypes", Value::Null).await.1["total"], 3);
        jira.revoke_credential();
        assert_eq!(call(&jira, "GET", "issue/createmeta/SUP/issuetypes", Value::Null).await.0, 401);
    }
}

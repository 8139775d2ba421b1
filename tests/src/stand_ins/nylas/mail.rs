//! A mail that the Nylas stand-in is asked to send: what the request may hold, and the message that it becomes.

use serde_json::{Map, Value, json};

use super::answers::{ApiError, Checked};
use super::checks::{
    check_flags, check_metadata, check_texts, flag_in, is_plausible_address, number_in, object_in, objects_in,
    refuse_control_characters, refuse_unknown_keys, required, text_in,
};
use super::{Api, Grant, grants::opaque_id, links};

const KNOWN: [&str; 17] = [
    "to",
    "cc",
    "bcc",
    "from",
    "reply_to",
    "subject",
    "body",
    "reply_to_message_id",
    "attachments",
    "custom_headers",
    "send_at",
    "use_draft",
    "is_plaintext",
    "metadata",
    "signature_id",
    "template",
    "tracking_options",
];

/// What of a request is told again in the answer.
const ECHOED: [&str; 11] = [
    "to",
    "cc",
    "bcc",
    "reply_to",
    "subject",
    "body",
    "reply_to_message_id",
    "send_at",
    "use_draft",
    "metadata",
    "attachments",
];

/// A mail is not put off by less than this, in seconds.
const LEAST_DELAY: i64 = 60;

const LONGEST_LABEL: usize = 2048;

/// The longest text that a list of messages shows of a body.
const LONGEST_SNIPPET: usize = 200;

/// A request that was held against the rules.
#[derive(Debug)]
pub(super) struct Mail {
    payload: Map<String, Value>,
    /// How it is tracked.
    pub(super) tracking: Tracking,
    /// When it is to be sent, if not now.
    pub(super) send_at: Option<i64>,
}

/// How a mail is tracked.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracking {
    pub(super) opens: bool,
    pub(super) links: bool,
    pub(super) thread_replies: bool,
    pub(super) label: Option<String>,
}

/// What an application may not track.
#[derive(Debug)]
pub(super) struct TrackingRules {
    /// A trial account tracks nothing.
    pub(super) trial: bool,
    /// Links to these hosts and those below them are not tracked.
    pub(super) denied_hosts: Vec<String>,
}

impl Default for TrackingRules {
    fn default() -> Self {
        Self { trial: false, denied_hosts: vec!["example.com".to_owned()] }
    }
}

impl Mail {
    pub(super) fn check(
        payload: Map<String, Value>,
        grant: &Grant,
        rules: &TrackingRules,
        now: i64,
    ) -> std::result::Result<Self, ApiError> {
        refuse_unknown_keys(&payload, &KNOWN, "a mail")?;
        if people(&payload, "to")?.is_empty() {
            return Err(ApiError::invalid("to is required"));
        }
        for list in ["cc", "bcc", "reply_to"] {
            people(&payload, list)?;
        }
        check_sender(&payload, grant)?;
        check_texts(&payload, &["subject", "body", "reply_to_message_id", "signature_id"])?;
        check_flags(&payload, &["use_draft", "is_plaintext"])?;
        object_in(&payload, "template")?;
        refuse_control_characters(text_in(&payload, "subject")?.unwrap_or_default(), "subject")?;
        check_headers(&payload, grant)?;
        check_attachments(&payload)?;
        check_metadata(&payload)?;
        let send_at = number_in(&payload, "send_at")?;
        if send_at.is_some_and(|at| at < now + LEAST_DELAY) {
            return Err(ApiError::invalid("send_at must lie at least one minute ahead"));
        }
        let tracking = check_tracking(&payload, rules)?;
        Ok(Self { payload, tracking, send_at })
    }

    /// The text of this name, empty where none was given.
    pub(super) fn text(&self, key: &str) -> &str {
        self.payload.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The addresses that it goes to.
    pub(super) fn to(&self) -> Vec<String> {
        addresses(self.payload.get("to").unwrap_or(&Value::Null))
    }

    pub(super) fn custom_headers(&self) -> Vec<(String, String)> {
        let headers = self.payload.get("custom_headers").and_then(Value::as_array).into_iter().flatten();
        let text = |header: &Value, key: &str| header[key].as_str().unwrap_or_default().to_owned();
        headers.map(|header| (text(header, "name"), text(header, "value"))).collect()
    }

    fn sender(&self, grant: &Grant) -> Value {
        let name = self.payload.get("from").and_then(|from| from[0]["name"].as_str()).unwrap_or_default();
        json!([{ "email": grant.email, "name": name }])
    }

    /// What the answer tells again of the request.
    pub(super) fn echo(&self, grant: &Grant) -> Map<String, Value> {
        let given = self.payload.iter().filter(|(key, value)| ECHOED.contains(&key.as_str()) && !value.is_null());
        let mut echo: Map<String, Value> = given.map(|(key, value)| (key.clone(), value.clone())).collect();
        for attachment in echo.get_mut("attachments").and_then(Value::as_array_mut).into_iter().flatten() {
            attachment.as_object_mut().map(|attachment| attachment.remove("content"));
        }
        echo.insert("from".to_owned(), self.sender(grant));
        echo
    }

    /// The message that lies in the sender's mailbox once it is sent, with the headers and tracking options that are shown
    /// only on request.
    pub(super) fn message(&self, api: &Api, grant: &Grant, now: i64) -> std::result::Result<Value, ApiError> {
        let id = provider_id(api, grant);
        let list =
            |key: &str| self.payload.get(key).filter(|list| list.is_array()).cloned().unwrap_or_else(|| json!([]));
        let (mut thread_id, mut headers) = (thread_id_of(&id, grant), self.custom_headers());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("message-id")) {
            headers.push(message_id_header(api, &grant.email));
        }
        if let Some(answered) =
            self.payload.get("reply_to_message_id").and_then(Value::as_str).filter(|id| !id.is_empty())
        {
            let root = grant.messages.iter().find(|message| message["id"] == answered);
            let root = root.ok_or_else(|| ApiError::invalid("reply_to_message_id names no message of this account"))?;
            thread_id = root["thread_id"].as_str().unwrap_or(&thread_id).to_owned();
            headers.extend(reply_headers(root));
        }
        let mut message = json!({
            "id": id,
            "grant_id": grant.id,
            "object": "message",
            "thread_id": thread_id,
            "subject": self.text("subject"),
            "body": self.text("body"),
            "snippet": snippet_of(self.text("body")),
            "from": self.sender(grant),
            "to": list("to"),
            "cc": list("cc"),
            "bcc": list("bcc"),
            "reply_to": list("reply_to"),
            "attachments": self.attachments(api),
            "date": now,
            "folders": grant.sent_folder().into_iter().collect::<Vec<_>>(),
            "starred": false,
            "unread": false,
            "headers": header_objects(&headers),
        });
        for key in ["metadata", "tracking_options"] {
            if let Some(given) = self.payload.get(key).filter(|given| !given.is_null()) {
                message[key] = given.clone();
            }
        }
        Ok(message)
    }

    fn attachments(&self, api: &Api) -> Vec<Value> {
        let given = self.payload.get("attachments").and_then(Value::as_array).into_iter().flatten();
        let shown = given.map(|attachment| {
            let mut shown = attachment.clone();
            shown.as_object_mut().map(|shown| shown.remove("content"));
            shown["id"] = api.fresh_digest("attachment")[..25].into();
            shown
        });
        shown.collect()
    }
}

fn people<'a>(
    payload: &'a Map<String, Value>,
    key: &str,
) -> std::result::Result<Vec<&'a Map<String, Value>>, ApiError> {
    let people = objects_in(payload, key)?;
    for person in &people {
        refuse_unknown_keys(person, &["name", "email"], key)?;
        let email = required(text_in(person, "email")?, "email")?;
        if !is_plausible_address(email) {
            return Err(ApiError::invalid(format!("{key} holds an address that no mail can go to")));
        }
        refuse_control_characters(text_in(person, "name")?.unwrap_or_default(), key)?;
    }
    Ok(people)
}

fn check_sender(payload: &Map<String, Value>, grant: &Grant) -> Checked {
    let from = people(payload, "from")?;
    let is_own = |person: &&Map<String, Value>| {
        person.get("email").and_then(Value::as_str).is_some_and(|email| email.eq_ignore_ascii_case(&grant.email))
    };
    if from.len() > 1 || !from.iter().all(is_own) {
        return Err(ApiError::invalid("from takes one person, and only the account's own address"));
    }
    Ok(())
}

fn check_headers(payload: &Map<String, Value>, grant: &Grant) -> Checked {
    for header in objects_in(payload, "custom_headers")? {
        refuse_unknown_keys(header, &["name", "value"], "custom_headers")?;
        let name = required(text_in(header, "name")?, "name")?;
        let value = required(text_in(header, "value")?, "value")?;
        refuse_control_characters(name, "the name of a header")?;
        refuse_control_characters(value, "the value of a header")?;
        if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_graphic() && letter != ':') {
            return Err(ApiError::invalid(format!("{name:?} is not the name of a header")));
        }
        // Microsoft Graph, `internetMessageHeaders`: custom headers begin with it.
        if grant.provider == "microsoft" && !name.to_ascii_lowercase().starts_with("x-") {
            return Err(ApiError::invalid(format!("Microsoft takes no header {name}: custom names begin with x-")));
        }
    }
    Ok(())
}

fn check_attachments(payload: &Map<String, Value>) -> Checked {
    for attachment in objects_in(payload, "attachments")? {
        for key in ["filename", "content_type", "content"] {
            required(text_in(attachment, key)?, key)?;
        }
    }
    Ok(())
}

fn check_tracking(payload: &Map<String, Value>, rules: &TrackingRules) -> std::result::Result<Tracking, ApiError> {
    let Some(options) = object_in(payload, "tracking_options")? else { return Ok(Tracking::default()) };
    refuse_unknown_keys(options, &["opens", "links", "thread_replies", "label", "domain_name"], "tracking_options")?;
    let flag = |key| Ok(flag_in(options, key)?.unwrap_or_default());
    let label = text_in(options, "label")?.map(str::to_owned);
    let tracking =
        Tracking { opens: flag("opens")?, links: flag("links")?, thread_replies: flag("thread_replies")?, label };
    if tracking.label.as_ref().is_some_and(|label| label.chars().count() > LONGEST_LABEL) {
        return Err(ApiError::invalid(format!("label takes at most {LONGEST_LABEL} characters")));
    }
    if text_in(options, "domain_name")?.is_some() && !(tracking.opens || tracking.links) {
        return Err(ApiError::invalid("domain_name needs opens or links"));
    }
    if rules.trial {
        return Err(ApiError::invalid("Tracking options are not allowed for trial accounts"));
    }
    if tracking.links && flag_in(payload, "is_plaintext")? != Some(true) {
        links::check(text_in(payload, "body")?.unwrap_or_default(), &rules.denied_hosts)?;
    }
    Ok(tracking)
}

/// The addresses of a list of people.
pub(super) fn addresses(people: &Value) -> Vec<String> {
    let people = people.as_array().into_iter().flatten();
    people.filter_map(|person| person["email"].as_str().map(str::to_owned)).collect()
}

/// The value of a header of a message.
pub(super) fn header_of<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    let mut headers = message["headers"].as_array().into_iter().flatten();
    let is_it = |header: &&Value| header["name"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(name));
    headers.find(is_it).and_then(|header| header["value"].as_str())
}

/// A new id of a message, as the account's provider makes them.
pub(super) fn provider_id(api: &Api, grant: &Grant) -> String {
    let digest = api.fresh_digest("message");
    match grant.provider.as_str() {
        "google" => digest[..16].to_owned(),
        "microsoft" | "ews" => opaque_id(&grant.id, &digest),
        _ => digest[..25].to_owned(),
    }
}

/// The id of a thread that begins with this message: on Google the same.
fn thread_id_of(message_id: &str, grant: &Grant) -> String {
    match grant.provider.as_str() {
        "google" => message_id.to_owned(),
        "microsoft" | "ews" => opaque_id(&grant.id, &format!("thread:{message_id}")),
        _ => format!("thread-{message_id}"),
    }
}

/// A `Message-ID` of the sender's domain.
pub(super) fn message_id_header(api: &Api, sender: &str) -> (String, String) {
    let domain = sender.rsplit_once('@').map_or(sender, |(_, domain)| domain);
    ("Message-ID".to_owned(), format!("<{}@{domain}>", &api.fresh_digest("mime")[..32]))
}

/// The headers by which an answer names what it answers.
pub(super) fn reply_headers(answered: &Value) -> Vec<(String, String)> {
    let Some(message_id) = header_of(answered, "Message-ID") else { return Vec::new() };
    let references = match header_of(answered, "References") {
        Some(earlier) => format!("{earlier} {message_id}"),
        None => message_id.to_owned(),
    };
    vec![("In-Reply-To".to_owned(), message_id.to_owned()), ("References".to_owned(), references)]
}

pub(super) fn header_objects(headers: &[(String, String)]) -> Vec<Value> {
    headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// The beginning of a body without its markup.
fn snippet_of(body: &str) -> String {
    let mut is_markup = false;
    let shown = body.chars().filter(|letter| {
        is_markup = (is_markup || *letter == '<') && *letter != '>';
        !is_markup && *letter != '>'
    });
    shown.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST_SNIPPET).collect()
}

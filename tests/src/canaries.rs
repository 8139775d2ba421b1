//! Canaries: marks that stand in every personal field of the samples while the end-to-end suite runs, and that no log may
//! hold. [`with_canaries`] puts them in, by the name of a field and the form it has; [`found_in`] finds them in a line,
//! also where it was upper-cased, percent-encoded, or written as hex or base64.
//! A field that is on none of the lists here has no form: a test fails then, so that none is forgotten.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::path::{Path, PathBuf};

use crate::samples::{Sample, SampleError};
use crate::world::{ONBOARDING_EMAIL, SECOND_SUPPORT_EMAIL, SUPPORT_EMAIL};

/// The canary in words, addresses, links and names of files.
pub const WORD: &str = "canary4f9a";

/// The canary in numbers that people are called by, long enough that no other number holds it by chance.
pub const DIGITS: &str = "3141592653";

/// The canary in the place of a person's address in the network.
const NETWORK_ADDRESS: &str = "198.51.100.159";

/// What the company itself publishes begins so; the stack's parameters hold such links.
const OWN_LINKS: &str = "https://northwind.example/";

/// Mailboxes that the stack's parameters name, which notifications have to name the same.
const OWN_MAILBOXES: [&str; 3] = [SUPPORT_EMAIL, SECOND_SUPPORT_EMAIL, ONBOARDING_EMAIL];

/// Beginnings of addresses that are nobody's: with another beginning they would be taken for a person's.
const NOBODY: [&str; 2] = ["mailer-daemon@", "no-reply@"];

/// How a field holds what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// It tells nothing of a person: ids, types, times, states.
    Impersonal,
    /// An id, which for some providers is an address.
    IdOrAddress,
    /// An address.
    Address,
    /// Words of or about people: names, subjects, notes, places.
    Words,
    /// Words as HTML or plain text.
    Body,
    /// A number that people are called by, or a code in digits.
    Number,
    /// A link.
    Link,
    /// The name of a file.
    FileName,
    /// The name of a file within the value of a header of an attachment.
    NamesAFile,
    /// A header of a mail with addresses or words.
    Header,
    /// A text that has to stay readable at its beginning, such as that of a browser.
    Beginning,
    /// An address in the network.
    NetworkAddress,
    /// A mailbox folder's name; those in capitals are the provider's own.
    Folder,
}

/// Fields that tell nothing of a person, wherever they stand.
const IMPERSONAL: &[&str] = &[
    // What something is, and by which name systems know it.
    "application_id",
    "attributes",
    "booking_id",
    "booking_ref",
    "booking_type",
    "cancelled_occurrences",
    "code",
    "configuration_id",
    "conferencing.provider",
    "crm_autopilot_loop",
    "desk",
    "event_id",
    "folders",
    "grant_id",
    "groups.id",
    "ical_uid",
    "id",
    "integration_id",
    "key5",
    "kind",
    "label",
    "link_index",
    "master_event_id",
    "message_id",
    "meeting_provider",
    "mime_id",
    "notetaker_id",
    "object",
    "occurrences",
    "only_grant_ids",
    "primary_deal_id",
    "provider",
    "reply_to_message_id",
    "root_message_id",
    "run",
    "sender_app_id",
    "source",
    "specversion",
    "thread_id",
    "type",
    "visibility",
    // Times and spans.
    "at",
    "bounce_date",
    "due",
    "due_date",
    "end_date",
    "end_timezone",
    "guest_timezone",
    "occurred_at",
    "organizer_timezone",
    "original_send_at",
    "recurrence",
    "scheduler_last_updated_at",
    "start_date",
    "start_timezone",
    "timezone",
    // States.
    "cleaning_status",
    "environment",
    "event",
    "guest_language",
    "host_language",
    "meeting_state",
    "recording_duration",
    "recording_file_format",
    "state",
    "status",
    // Links to storage, which the sandbox makes when a sample is sent.
    "media.action_items",
    "media.recording",
    "media.summary",
    "media.transcript",
];

/// Personal fields and their forms; a name with a dot holds below that field alone and goes before a plain one.
const PERSONAL: &[(&str, Form)] = &[
    ("additional_fields.phone", Form::Number),
    ("assignee", Form::Words),
    ("attachments.content_disposition", Form::NamesAFile),
    ("attachments.content_type", Form::NamesAFile),
    ("birthday", Form::Words),
    ("body", Form::Body),
    ("bounce_reason", Form::Words),
    ("bounced_addresses", Form::Address),
    ("calendar_id", Form::IdOrAddress),
    ("calendars.id", Form::IdOrAddress),
    ("company", Form::Words),
    ("company_name", Form::Words),
    ("description", Form::Body),
    ("email", Form::Address),
    ("filename", Form::FileName),
    ("folders.name", Form::Folder),
    ("from", Form::Address),
    ("given_name", Form::Words),
    ("headers.value", Form::Header),
    ("html_link", Form::Link),
    ("ip", Form::NetworkAddress),
    ("job_title", Form::Words),
    ("json.action_items", Form::Words),
    ("json.summary", Form::Words),
    ("location", Form::Words),
    ("media.text", Form::Words),
    ("meeting_code", Form::Words),
    ("meeting_link", Form::Link),
    ("name", Form::Words),
    ("nickname", Form::Words),
    ("notes", Form::Words),
    ("number", Form::Number),
    ("organizer_calendar_id", Form::IdOrAddress),
    ("organizer_email", Form::Address),
    ("other_emails", Form::Address),
    ("participant_cancellation_url", Form::Link),
    ("participant_rescheduling_url", Form::Link),
    ("phone", Form::Number),
    ("pin", Form::Number),
    ("snippet", Form::Words),
    ("speaker", Form::Words),
    ("subject", Form::Words),
    ("surname", Form::Words),
    ("text", Form::Words),
    ("title", Form::Words),
    ("to", Form::Address),
    ("url", Form::Link),
    ("user_agent", Form::Beginning),
    // Files of a meeting.
    ("action_items.name", Form::FileName),
    ("recording.name", Form::FileName),
    ("summary.name", Form::FileName),
    ("transcript.name", Form::FileName),
    // The name of a header is no person's.
    ("headers.name", Form::Impersonal),
];

/// The form of a text field by the names that lead to it; none if it is on no list.
#[must_use]
pub fn form_of(path: &[&str]) -> Option<Form> {
    let own = path.last().copied().unwrap_or_default();
    let below = path.len().checked_sub(2).map(|place| format!("{}.{own}", path[place]));
    let of = |name: &str| {
        let personal = PERSONAL.iter().find(|(known, _)| *known == name).map(|(_, form)| *form);
        personal.or_else(|| IMPERSONAL.contains(&name).then_some(Form::Impersonal))
    };
    below.as_deref().and_then(of).or_else(|| of(own))
}

/// A sample's JSON with a canary in every personal field. The same text always becomes the same one, so that what
/// belongs together still does.
#[must_use]
pub fn with_canaries(value: &Value) -> Value {
    within(value, &mut Vec::new())
}

fn within<'a>(value: &'a Value, path: &mut Vec<&'a str>) -> Value {
    match value {
        Value::String(text) => canary_in(text, form_of(path).unwrap_or(Form::Impersonal)).into(),
        Value::Array(items) => items.iter().map(|item| within(item, path)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| {
                path.push(name);
                let field = within(field, path);
                path.pop();
                (name.clone(), field)
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

/// Every text field of a JSON value with the names that lead to it.
pub fn text_fields<'a>(value: &'a Value, visit: &mut impl FnMut(&[&'a str], &'a str)) {
    fn walk<'a>(value: &'a Value, path: &mut Vec<&'a str>, visit: &mut impl FnMut(&[&'a str], &'a str)) {
        match value {
            Value::String(text) => visit(path, text),
            Value::Array(items) => items.iter().for_each(|item| walk(item, path, visit)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    path.push(name);
                    walk(field, path, visit);
                    path.pop();
                }
            }
            _ => {}
        }
    }
    walk(value, &mut Vec::new(), visit);
}

/// A text with a canary where its form has room for one.
fn canary_in(text: &str, form: Form) -> String {
    if text.is_empty() {
        return String::new();
    }
    match form {
        Form::Impersonal => text.to_owned(),
        Form::IdOrAddress | Form::Address => in_addresses(text),
        Form::Words => in_words(&in_addresses(text)),
        Form::Body => in_body(&in_addresses(text)),
        Form::Number => in_number(text),
        Form::Link => in_link(text),
        Form::FileName => format!("{WORD}-{text}"),
        Form::NamesAFile => text.replace("name=\"", &format!("name=\"{WORD}-")),
        Form::Header => in_header(text),
        Form::Beginning => format!("{text} {WORD}"),
        Form::NetworkAddress => NETWORK_ADDRESS.to_owned(),
        Form::Folder if text.chars().all(|letter| letter.is_ascii_uppercase()) => text.to_owned(),
        Form::Folder => in_words(text),
    }
}

fn is_of_an_address(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "._+-".contains(letter)
}

/// Puts the canary before every address of people in a text. What stands in angle brackets without a name may be the id
/// of a mail, which no person has: [`in_header`] leaves those out.
fn in_addresses(text: &str) -> String {
    let mut with = String::with_capacity(text.len() + 2 * WORD.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let start = rest[..at]
            .rfind(|letter| !is_of_an_address(letter))
            .map_or(0, |place| place + rest[place..].chars().next().map_or(1, char::len_utf8));
        let end = rest[at + 1..].find(|letter| !is_of_an_address(letter)).map_or(rest.len(), |length| at + 1 + length);
        let address = &rest[start..end];
        with.push_str(&rest[..start]);
        let nobody = NOBODY.iter().any(|beginning| address.starts_with(beginning));
        if start < at && !nobody && !OWN_MAILBOXES.contains(&address) {
            with.push_str(WORD);
            with.push('.');
        }
        with.push_str(address);
        rest = &rest[end..];
    }
    with + rest
}

/// Puts the canary before the words, but behind a beginning that says what kind of mail it is, such as `Re: `.
fn in_words(text: &str) -> String {
    let kind = text.find(": ").filter(|place| *place < 20).map_or(0, |place| place + 2);
    format!("{}{WORD} {}", &text[..kind], &text[kind..])
}

/// Puts the canary before the first words of a body, behind the tags that open it.
fn in_body(text: &str) -> String {
    let mut start = 0;
    while text[start..].starts_with('<') {
        match text[start..].find('>') {
            Some(length) => start += length + 1,
            None => break,
        }
    }
    format!("{}{WORD} {}", &text[..start], &text[start..])
}

/// Keeps what a number begins with and its last two digits, which tell the numbers of the samples apart.
fn in_number(text: &str) -> String {
    let country = text.find(' ').filter(|_| text.starts_with('+')).map_or("", |place| &text[..=place]);
    let scheme = if text.starts_with("tel:") { "tel:" } else { "" };
    let digits: Vec<char> = text.chars().filter(char::is_ascii_digit).collect();
    let last: String = digits[digits.len().saturating_sub(2)..].iter().collect();
    format!("{scheme}{country}{DIGITS}{last}")
}

fn in_link(text: &str) -> String {
    if let Some(number) = text.strip_prefix("tel:") {
        return format!("tel:{}", in_number(number));
    }
    if text.starts_with(OWN_LINKS) || !text.contains("://") {
        return text.to_owned();
    }
    let end = text.find(['?', '#']).unwrap_or(text.len());
    format!("{}-{WORD}{}", &text[..end], &text[end..])
}

/// A header's value: names and addresses, or the words of a subject. Ids of mails, marks and types stay as they are.
fn in_header(text: &str) -> String {
    let is_of_ids = text.starts_with('<');
    let is_of_a_machine = text.contains("{{") || text.contains('=') || text.contains('/') || !text.contains(' ');
    if is_of_ids || (is_of_a_machine && !text.contains('@')) {
        return text.to_owned();
    }
    in_words(&in_addresses(text))
}

/// A sample with canaries in its body, also where the body is compressed; what is no JSON gets them in its addresses.
#[must_use]
pub fn sample_with_canaries(sample: &Sample) -> Sample {
    let text = sample.text();
    let body = serde_json::from_str::<Value>(&text)
        .map_or_else(|_| in_addresses(&text), |body| with_canaries(&body).to_string());
    Sample { body: body.into_bytes(), compressed: false, ..sample.clone() }
}

/// What a function is invoked with, with canaries in the bodies of its records.
#[must_use]
pub fn event_with_canaries(event: &Value) -> Value {
    let mut event = event.clone();
    for record in event.get_mut("Records").and_then(Value::as_array_mut).into_iter().flatten() {
        let text = record["body"].as_str().unwrap_or_default();
        let body = serde_json::from_str::<Value>(text)
            .map_or_else(|_| in_addresses(text), |body| with_canaries(&body).to_string());
        record["body"] = body.into();
    }
    event
}

/// Writes the contacts and mailboxes of `events/demo` with canaries into a folder, and answers it.
///
/// # Errors
/// A file cannot be read or written, or is not JSON.
pub fn demo_with_canaries(demo: &Path, folder: PathBuf) -> Result<PathBuf, SampleError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| SampleError::File { path, source }
    };
    std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
    for entry in std::fs::read_dir(demo).map_err(failed(demo))? {
        let path = entry.map_err(failed(demo))?.path();
        let Some(name) = path.file_name() else { continue };
        let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
        let with = if path.extension().is_some_and(|extension| extension == "json") {
            let value =
                serde_json::from_str(&text).map_err(|source| SampleError::NotJson { path: path.clone(), source })?;
            with_canaries(&value).to_string()
        } else {
            in_addresses(&text)
        };
        let target = folder.join(name);
        std::fs::write(&target, with).map_err(failed(&target))?;
    }
    Ok(folder)
}

/// The first form in which a canary stands in a text.
#[must_use]
pub fn found_in(text: &str) -> Option<&'static str> {
    if text.contains(NETWORK_ADDRESS) {
        return Some("an address in the network");
    }
    let lower = text.to_lowercase();
    if lower.contains(WORD) {
        return Some("a word");
    }
    if lower.contains('%') && percent_decoded(&lower).to_lowercase().contains(WORD) {
        return Some("a percent-encoded word");
    }
    let separators: &[char] = &[' ', '-', '.', '/', '(', ')'];
    if text.replace(separators, "").contains(DIGITS) {
        return Some("a number");
    }
    [WORD.to_owned(), WORD.to_uppercase(), DIGITS.to_owned()].iter().find_map(|canary| {
        if lower.contains(&hex::encode(canary)) {
            return Some("hex");
        }
        base64_forms(canary).iter().any(|form| text.contains(form.as_str())).then_some("base64")
    })
}

/// The texts of which one stands in any base64 text that a canary went into, wherever it stood in what was encoded.
fn base64_forms(canary: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend(canary.as_bytes());
        // A character of six bits that holds bits of what stands before or behind is not the canary's alone.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.push(STANDARD_NO_PAD.encode(&bytes)[first..end].to_owned());
        forms.push(URL_SAFE_NO_PAD.encode(&bytes)[first..end].to_owned());
    }
    forms
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find('%') {
        decoded.push_str(&rest[..place]);
        let code = rest.get(place + 1..place + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        if let Some(code) = code.filter(u8::is_ascii) {
            decoded.push(char::from(code));
            rest = &rest[place + 3..];
        } else {
            decoded.push('%');
            rest = &rest[place + 1..];
        }
    }
    decoded + rest
}

#[cfg(test)]
mod tests;

//! Calls to Nylas v3: bearer key, percent-encoded ids, the `{request_id, data}` envelope.

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::contact::{self, Contact};
use super::event::{Calendar, Event};
use super::mailboxes::{Folder, Grant};
use super::message::Message;
use super::notetaker::{HistoryEntry, MediaAnswer, Notetaker, NotetakerFilter};
use super::scheduling::Configuration;
use super::sending::{IDEMPOTENT_RESPONSE, Receipt, SendError, SentMail, outcome_of};
use crate::domain::failure::Failure;
use crate::domain::notification::GrantId;
use crate::engine::Deadline;
use crate::http::{ApiClient, CallError, FailureClasses};

/// The stable names of Nylas's failures.
pub const FAILURE_CLASSES: FailureClasses = FailureClasses {
    breaker_open: "nylas.breaker_open",
    out_of_time: "nylas.out_of_time",
    rate_limited: "nylas.rate_limited",
    unavailable: "nylas.unavailable",
    unauthorized: "nylas.unauthorized",
    not_set_up: "nylas.not_set_up",
    unreadable: "nylas.unreadable",
    rejected: "nylas.rejected",
};

/// Nylas did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NylasError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The account behind the grant can no longer be reached: its user has to sign in again.
    #[error("the Nylas grant {0} has expired: have its user connect the mailbox again")]
    GrantExpired(String),
    /// The grant was given without the scope that the call needs.
    #[error(
        "the Nylas grant {0} lacks a scope that is needed: have its user connect the mailbox again with all scopes"
    )]
    ScopeMissing(String),
}

impl NylasError {
    /// True if what was asked for is out of reach for this grant, whenever it is asked again: what can be done without
    /// should be.
    #[must_use]
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::GrantExpired(_) | Self::ScopeMissing(_))
    }

    /// True if Nylas answered something else than what it documents.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Call(CallError::Unreadable { .. }))
    }

    /// True if Nylas will never answer this very request.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Call(CallError::NotFound { .. } | CallError::Rejected { .. }))
    }
}

impl From<NylasError> for Failure {
    fn from(error: NylasError) -> Self {
        let what = error.to_string();
        match error {
            NylasError::Call(error) => error.into_failure(&FAILURE_CLASSES),
            // Right again as soon as the user has signed in.
            NylasError::GrantExpired(_) => Self::transient("nylas.grant_expired", what),
            NylasError::ScopeMissing(_) => Self::transient("nylas.scope_missing", what),
        }
    }
}

/// Calls Nylas.
pub struct Nylas(pub(super) ApiClient);

/// What every answer is wrapped in.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    pub(super) data: T,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Which headers a mail is fetched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFields {
    /// None.
    None,
    /// Message-ID, In-Reply-To and References alone (`include_basic_headers`): what every provider has.
    Threading,
    /// All (`include_headers`). Google, Microsoft and EAS hand over what the mail carries; for EWS and IMAP, Nylas makes
    /// headers up from the message (Nylas changelog of 2026-05-20), so these must not be asked for all.
    All,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it. A short page is not the last one.
    pub items: Vec<T>,
    /// The cursor of the next page; none on the last one.
    pub next: Option<String>,
}

/// A mail in a list: enough to tell whether it has been seen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MessageId {
    /// Nylas's id of this copy.
    pub id: String,
    /// Its thread.
    #[serde(default)]
    pub thread_id: Option<String>,
    /// When it was received, in Unix seconds.
    #[serde(default)]
    pub date: Option<i64>,
}

/// A span of receiving times in Unix seconds, both ends excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Later than this.
    pub after: i64,
    /// Earlier than this.
    pub before: i64,
}

/// Which events of a calendar are listed. What is not given does not narrow the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventFilter {
    /// Ending after this, in Unix seconds. iCloud takes no span longer than six months.
    pub start: Option<i64>,
    /// Beginning before this, in Unix seconds.
    pub end: Option<i64>,
    /// Changed after this, in Unix seconds. Google, Microsoft and EWS alone know when events changed.
    pub updated_after: Option<i64>,
    /// Changed before this, in Unix seconds, where `updated_after` is known.
    pub updated_before: Option<i64>,
    /// Cancelled ones too.
    pub show_cancelled: bool,
}

/// The most mails, folders, events or contacts that one page holds (Nylas API reference, `limit`).
const LARGEST_PAGE: &str = "200";

impl Nylas {
    /// Speaks through the given client, whose base URL is the API's root, without `v3`.
    #[must_use]
    pub fn new(client: ApiClient) -> Self {
        Self(client)
    }

    /// One mail; none if it is no longer there, which is an answer and not an error.
    pub async fn message(
        &self,
        grant: &GrantId,
        id: &str,
        headers: HeaderFields,
        deadline: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        let request = self.0.request(Method::GET, &["v3", "grants", grant.as_str(), "messages", id], "message");
        let request = match headers {
            HeaderFields::None => request,
            HeaderFields::Threading => request.query(&[("fields", "include_basic_headers")]),
            HeaderFields::All => request.query(&[("fields", "include_headers")]),
        };
        let answer = request.read::<Answer<Message>>(deadline).await;
        Ok(found(self.of_grant(grant, answer, deadline).await)?.map(|answer| answer.data))
    }

    /// A page of a grant's mails received in a span of time.
    pub async fn messages(
        &self,
        grant: &GrantId,
        received: Received,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<MessageId>, NylasError> {
        let (after, before) = (received.after.to_string(), received.before.to_string());
        let query = vec![
            ("received_after", after.as_str()),
            ("received_before", before.as_str()),
            ("select", "id,thread_id,date"),
        ];
        self.page(grant, ("messages", "list of messages"), query, page_token, deadline).await
    }

    /// One event; none if it is no longer there. Nylas asks for the calendar although the id is enough; `primary` does
    /// for every provider but iCloud.
    pub async fn event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Event>, NylasError> {
        let answer = self
            .0
            .request(Method::GET, &["v3", "grants", grant.as_str(), "events", id], "event")
            .query(&[("calendar_id", calendar)])
            .read::<Answer<Event>>(deadline)
            .await;
        Ok(found(self.of_grant(grant, answer, deadline).await)?.map(|answer| answer.data))
    }

    /// A page of a calendar's events.
    pub async fn events(
        &self,
        grant: &GrantId,
        calendar: &str,
        wanted: &EventFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Event>, NylasError> {
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let (start, end) = (number(wanted.start), number(wanted.end));
        let (updated_after, updated_before) = (number(wanted.updated_after), number(wanted.updated_before));
        // Masters, not what Nylas makes of them: a series is laid out by its rule.
        let mut query = vec![("calendar_id", calendar), ("expand_recurring", "false")];
        query.extend(start.as_deref().map(|start| ("start", start)));
        query.extend(end.as_deref().map(|end| ("end", end)));
        query.extend(updated_after.as_deref().map(|after| ("updated_after", after)));
        query.extend(updated_before.as_deref().map(|before| ("updated_before", before)));
        query.extend(wanted.show_cancelled.then_some(("show_cancelled", "true")));
        self.page(grant, ("events", "list of events"), query, page_token, deadline).await
    }

    /// All folders of a grant; empty if it has none or cannot list them.
    pub async fn folders(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<Folder>, NylasError> {
        self.all(grant, ("folders", "list of folders"), deadline).await
    }

    /// All calendars of a grant; empty if it has none.
    pub async fn calendars(&self, grant: &GrantId, deadline: Deadline) -> Result<Vec<Calendar>, NylasError> {
        self.all(grant, ("calendars", "list of calendars"), deadline).await
    }

    /// The events of a calendar with an iCalendar UID: one, or those of a series.
    pub async fn events_by_uid(
        &self,
        grant: &GrantId,
        calendar: &str,
        ical_uid: &str,
        deadline: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        // `ical_uid` takes no other filter beside it.
        let query = vec![("calendar_id", calendar), ("ical_uid", ical_uid)];
        Ok(self.page(grant, ("events", "list of events"), query, None, deadline).await?.items)
    }

    /// The events of a calendar that lie within a span of Unix seconds, those of series one by one; as many as one page
    /// holds.
    pub async fn events_between(
        &self,
        grant: &GrantId,
        calendar: &str,
        (start, end): (i64, i64),
        deadline: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        let (start, end) = (start.to_string(), end.to_string());
        let query = vec![("calendar_id", calendar), ("start", start.as_str()), ("end", end.as_str())];
        Ok(self.page(grant, ("events", "list of events"), query, None, deadline).await?.items)
    }

    /// The events of a calendar that bear this value in their metadata, under `key1`: one of the five keys that Nylas
    /// indexes (Nylas docs, `dev-guide/metadata`).
    pub async fn events_by_metadata(
        &self,
        grant: &GrantId,
        calendar: &str,
        value: &str,
        deadline: Deadline,
    ) -> Result<Vec<Event>, NylasError> {
        let pair = format!("key1:{value}");
        // It takes no other filter beside it.
        let query = vec![("calendar_id", calendar), ("metadata_pair", pair.as_str())];
        Ok(self.page(grant, ("events", "list of events"), query, None, deadline).await?.items)
    }

    /// Puts an event into a calendar, without a mail to anybody. Done twice, two are there: Nylas does not tell them apart.
    pub async fn create_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        event: &Value,
        deadline: Deadline,
    ) -> Result<Event, NylasError> {
        let request = self.0.request(Method::POST, &["v3", "grants", grant.as_str(), "events"], "event").json(event);
        let request = request.query(&[("calendar_id", calendar), ("notify_participants", "false")]);
        let answer = request.read::<Answer<Event>>(deadline).await;
        Ok(self.of_grant(grant, answer, deadline).await?.data)
    }

    /// Changes an event, without a mail to anybody; none if it is no longer there. What is given replaces what stood.
    pub async fn change_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        change: &Value,
        deadline: Deadline,
    ) -> Result<Option<Event>, NylasError> {
        let path = ["v3", "grants", grant.as_str(), "events", id];
        let request = self.0.request(Method::PUT, &path, "event").json(change);
        let request = request.query(&[("calendar_id", calendar), ("notify_participants", "false")]);
        let answer = request.read::<Answer<Event>>(deadline).await;
        Ok(found(self.of_grant(grant, answer, deadline).await)?.map(|answer| answer.data))
    }

    /// Removes an event, without a mail to anybody; one that is no longer there is as good as removed.
    pub async fn remove_event(
        &self,
        grant: &GrantId,
        calendar: &str,
        id: &str,
        deadline: Deadline,
    ) -> Result<(), NylasError> {
        let request = self.0.request(Method::DELETE, &["v3", "grants", grant.as_str(), "events", id], "event");
        let request = request.query(&[("calendar_id", calendar), ("notify_participants", "false")]);
        let answer = request.send(deadline).await;
        found(self.of_grant(grant, answer, deadline).await).map(|_| ())
    }

    /// Sends a mail. With the same key and the same content it is sent once within an hour, however often this is done
    /// (Nylas docs, `email/idempotent-send`).
    ///
    /// # Errors
    /// [`SendError`] tells what is known of the mail then.
    pub async fn send_mail(
        &self,
        grant: &GrantId,
        mail: &Value,
        idempotency_key: &str,
        deadline: Deadline,
    ) -> Result<Receipt, SendError> {
        let path = ["v3", "grants", grant.as_str(), "messages", "send"];
        let request = self.0.request(Method::POST, &path, "mail").json(mail);
        let request = request.header("Idempotency-Key", idempotency_key);
        let (headers, answer) = request.send_with_headers(deadline).await;
        let answer = self.of_grant(grant, answer, deadline).await;
        outcome_of(answer, headers.contains_key(IDEMPOTENT_RESPONSE))
    }

    /// The mails of a mailbox to an address since a time in Unix seconds, with their tracking options or with all their
    /// headers; as many as one page holds.
    pub async fn mails_to(
        &self,
        grant: &GrantId,
        to: &str,
        since: i64,
        fields: &str,
        deadline: Deadline,
    ) -> Result<Vec<SentMail>, NylasError> {
        let since = since.to_string();
        let query = vec![("to", to), ("received_after", since.as_str()), ("fields", fields)];
        Ok(self.page(grant, ("messages", "list of messages"), query, None, deadline).await?.items)
    }

    /// A page of the contacts of an account, from the given source: `address_book`, `domain` or `inbox`. Several at once
    /// are for IMAP and iCloud alone (Nylas API reference, contacts).
    pub async fn contacts(
        &self,
        grant: &GrantId,
        source: &str,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Contact>, NylasError> {
        let query = vec![("source", source), ("select", contact::FIELDS)];
        self.page(grant, ("contacts", "list of contacts"), query, page_token, deadline).await
    }

    /// One contact of an account; none if it is no longer there.
    pub async fn contact(&self, grant: &GrantId, id: &str, deadline: Deadline) -> Result<Option<Contact>, NylasError> {
        let path = ["v3", "grants", grant.as_str(), "contacts", id];
        let request = self.0.request(Method::GET, &path, "contact").query(&[("select", contact::FIELDS)]);
        let answer = request.read::<Answer<Contact>>(deadline).await;
        Ok(found(self.of_grant(grant, answer, deadline).await)?.map(|answer| answer.data))
    }

    /// How many calls have been made so far, those that failed included.
    #[must_use]
    pub fn calls_made(&self) -> u64 {
        self.0.calls_made()
    }

    /// Makes a page on which a guest can book.
    pub async fn create_configuration(
        &self,
        grant: &GrantId,
        configuration: &Value,
        deadline: Deadline,
    ) -> Result<Configuration, NylasError> {
        let path = ["v3", "grants", grant.as_str(), "scheduling", "configurations"];
        let request = self.0.request(Method::POST, &path, "scheduling configuration").json(configuration);
        let answer = request.read::<Answer<Configuration>>(deadline).await;
        Ok(self.of_grant(grant, answer, deadline).await?.data)
    }

    /// A page of the scheduling configurations of an account.
    pub async fn configurations(
        &self,
        grant: &GrantId,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Configuration>, NylasError> {
        let collection = ("scheduling/configurations", "list of scheduling configurations");
        self.page(grant, collection, Vec::new(), page_token, deadline).await
    }

    /// One calendar; none if there is no such calendar.
    pub async fn calendar(
        &self,
        grant: &GrantId,
        id: &str,
        deadline: Deadline,
    ) -> Result<Option<Calendar>, NylasError> {
        let request = self.0.request(Method::GET, &["v3", "grants", grant.as_str(), "calendars", id], "calendar");
        let answer = request.read::<Answer<Calendar>>(deadline).await;
        Ok(found(self.of_grant(grant, answer, deadline).await)?.map(|answer| answer.data))
    }

    /// Sets by which rules notetakers join a calendar's meetings; null for none. Nylas replaces what is set as a whole.
    /// None if there is no such calendar.
    pub async fn set_notetaker_of_calendar(
        &self,
        grant: &GrantId,
        id: &str,
        notetaker: &Value,
        deadline: Deadline,
    ) -> Result<Option<Calendar>, NylasError> {
        let path = ["v3", "grants", grant.as_str(), "calendars", id];
        let request = self.0.request(Method::PUT, &path, "calendar").json(&json!({ "notetaker": notetaker }));
        let answer = request.read::<Answer<Calendar>>(deadline).await;
        Ok(found(self.of_grant(grant, answer, deadline).await)?.map(|answer| answer.data))
    }

    /// A page of an account's notetakers; of the standalone ones if no account is given.
    pub async fn notetakers(
        &self,
        grant: Option<&GrantId>,
        wanted: NotetakerFilter,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<Notetaker>, NylasError> {
        let (from, to) = (wanted.join_time_start.to_string(), wanted.join_time_end.to_string());
        let mut query = vec![("join_time_start", from.as_str()), ("join_time_end", &to), ("limit", LARGEST_PAGE)];
        query.extend(page_token.map(|token| ("page_token", token)));
        let request = self.0.request(Method::GET, &notetakers_of(grant), "list of notetakers").query(&query);
        let answer = request.read::<Answer<Option<Vec<Notetaker>>>>(deadline).await;
        let answer = self.of_grant_or_none(grant, answer, deadline).await?;
        Ok(Page { items: answer.data.unwrap_or_default(), next: answer.next_cursor.filter(|next| !next.is_empty()) })
    }

    /// The files of a notetaker, with links made for this answer.
    pub async fn notetaker_media(
        &self,
        grant: Option<&GrantId>,
        id: &str,
        deadline: Deadline,
    ) -> Result<MediaAnswer, NylasError> {
        let mut path = notetakers_of(grant);
        path.extend([id, "media"]);
        let answer = self.0.request(Method::GET, &path, "media of the notetaker").read::<Answer<_>>(deadline).await;
        match self.of_grant_or_none(grant, answer, deadline).await {
            Ok(answer) => Ok(MediaAnswer::There(Box::new(answer.data))),
            Err(NylasError::Call(CallError::NotFound { gone: true, .. })) => Ok(MediaAnswer::Gone),
            Err(NylasError::Call(CallError::NotFound { .. })) => Ok(MediaAnswer::NotYet),
            Err(error) => Err(error),
        }
    }

    /// What has happened to a notetaker, the newest first; nothing if there is no such notetaker. Entries that cannot be
    /// read are left out.
    pub async fn notetaker_history(
        &self,
        grant: Option<&GrantId>,
        id: &str,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEntry>, NylasError> {
        #[derive(Deserialize)]
        struct History {
            #[serde(default)]
            events: Option<Vec<Value>>,
        }
        let mut path = notetakers_of(grant);
        path.extend([id, "history"]);
        let answer = self.0.request(Method::GET, &path, "history of the notetaker");
        let answer = answer.read::<Answer<History>>(deadline).await;
        let answer = found(self.of_grant_or_none(grant, answer, deadline).await)?;
        let entries = answer.and_then(|answer| answer.data.events).unwrap_or_default();
        Ok(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
    }

    /// Sends a notetaker to a meeting, now or at a time in Unix seconds. Done twice, two come: Nylas does not tell
    /// invitations apart.
    pub async fn invite_notetaker(
        &self,
        grant: &GrantId,
        meeting_link: &str,
        join_time: Option<i64>,
        name: Option<&str>,
        deadline: Deadline,
    ) -> Result<Notetaker, NylasError> {
        let mut body = json!({ "meeting_link": meeting_link });
        for (key, value) in [("join_time", join_time.map(Value::from)), ("name", name.map(Value::from))] {
            if let Some(value) = value {
                body[key] = value;
            }
        }
        let request = self.0.request(Method::POST, &notetakers_of(Some(grant)), "notetaker").json(&body);
        let answer = request.read::<Answer<Notetaker>>(deadline).await;
        Ok(self.of_grant(grant, answer, deadline).await?.data)
    }

    /// All pages of one of a grant's collections; nothing if there is no such collection.
    async fn all<T: DeserializeOwned>(
        &self,
        grant: &GrantId,
        collection: (&str, &'static str),
        deadline: Deadline,
    ) -> Result<Vec<T>, NylasError> {
        let (mut items, mut next) = (Vec::new(), None::<String>);
        loop {
            let page = found(self.page(grant, collection, Vec::new(), next.as_deref(), deadline).await)?;
            let Some(page) = page else { return Ok(items) };
            items.extend(page.items);
            next = page.next;
            if next.is_none() {
                return Ok(items);
            }
        }
    }

    /// A grant; none if there is no such grant any more.
    pub async fn grant(&self, grant: &GrantId, deadline: Deadline) -> Result<Option<Grant>, NylasError> {
        let answer = self
            .0
            .request(Method::GET, &["v3", "grants", grant.as_str()], "grant")
            .read::<Answer<Grant>>(deadline)
            .await;
        Ok(found(answer.map_err(NylasError::from))?.map(|answer| answer.data))
    }

    /// Grants from the given one on, as many as Nylas puts on a page. Only an empty page is beyond the last.
    pub async fn grants(&self, offset: usize, deadline: Deadline) -> Result<Vec<Grant>, NylasError> {
        let answer: Answer<Option<Vec<Grant>>> = self
            .0
            .request(Method::GET, &["v3", "grants"], "list of grants")
            .query(&[("limit", LARGEST_PAGE), ("offset", &offset.to_string())])
            .read(deadline)
            .await?;
        Ok(answer.data.unwrap_or_default())
    }

    /// A page of one of a grant's collections, which is given by its path and its name for people.
    async fn page<T: DeserializeOwned>(
        &self,
        grant: &GrantId,
        (path, name): (&str, &'static str),
        mut query: Vec<(&str, &str)>,
        page_token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Page<T>, NylasError> {
        query.push(("limit", LARGEST_PAGE));
        query.extend(page_token.map(|token| ("page_token", token)));
        let below: Vec<&str> = path.split('/').collect();
        let path = [&["v3", "grants", grant.as_str()], below.as_slice()].concat();
        let request = self.0.request(Method::GET, &path, name).query(&query);
        let answer = request.read::<Answer<Option<Vec<T>>>>(deadline).await;
        let answer = self.of_grant(grant, answer, deadline).await?;
        Ok(Page { items: answer.data.unwrap_or_default(), next: answer.next_cursor.filter(|next| !next.is_empty()) })
    }

    async fn of_grant_or_none<T>(
        &self,
        grant: Option<&GrantId>,
        answer: Result<T, CallError>,
        deadline: Deadline,
    ) -> Result<T, NylasError> {
        match grant {
            Some(grant) => self.of_grant(grant, answer, deadline).await,
            None => Ok(answer?),
        }
    }

    /// Tells a grant that cannot be used from a key that cannot: Nylas answers 401 to both.
    async fn of_grant<T>(
        &self,
        grant: &GrantId,
        answer: Result<T, CallError>,
        deadline: Deadline,
    ) -> Result<T, NylasError> {
        match answer {
            Err(CallError::Unauthorized { status: 403, .. }) => {
                Err(NylasError::ScopeMissing(grant.as_str().to_owned()))
            }
            Err(error @ CallError::Unauthorized { .. }) => match self.grant(grant, deadline).await? {
                Some(standing) if standing.is_valid() => Err(error.into()),
                _ => Err(NylasError::GrantExpired(grant.as_str().to_owned())),
            },
            other => Ok(other?),
        }
    }
}

/// The path of an account's notetakers, or of those that no account has sent (Nylas API reference, standalone
/// notetakers).
fn notetakers_of(grant: Option<&GrantId>) -> Vec<&str> {
    match grant {
        Some(grant) => vec!["v3", "grants", grant.as_str(), "notetakers"],
        None => vec!["v3", "notetakers"],
    }
}

/// A 404 is an answer: there is none.
fn found<T>(answer: Result<T, NylasError>) -> Result<Option<T>, NylasError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(NylasError::Call(CallError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ApiSettings, Credential, http_client};
    use secrecy::SecretString;
    use serde_json::json;
    use std::time::Duration;
    use wiremock::matchers::{method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn nylas(server: &MockServer) -> Nylas {
        Nylas::new(ApiClient::new(
            http_client().expect("a client"),
            ApiSettings {
                name: "Nylas",
                base_url: crate::configuration::parse_base_url(&server.uri()).expect("a URL"),
                credential: Credential::Fixed(SecretString::from("nyk_key")),
                credential_parameter: "NylasApiKey",
                calls_per_second: None,
            },
        ))
    }

    async fn ask(template: ResponseTemplate) -> Result<Option<Message>, NylasError> {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(path("/v3/grants/g%201/messages/AAMk%2Fx=="))
            .respond_with(template)
            .expect(1)
            .mount(&server)
            .await;
        let grant = GrantId::parse("g 1").expect("a grant");
        nylas(&server).message(&grant, "AAMk/x==", HeaderFields::None, soon()).await
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(5))
    }

    #[tokio::test]
    async fn headers_are_asked_for_as_far_as_the_provider_has_them() {
        for (fields, value) in
            [(HeaderFields::Threading, "include_basic_headers"), (HeaderFields::All, "include_headers")]
        {
            let server = MockServer::start().await;
            let answer = json!({"data": {"id": "m", "headers": [{"name": "Message-ID", "value": "<a@b>"}]}});
            Mock::given(query_param("fields", value))
                .respond_with(ResponseTemplate::new(200).set_body_json(answer))
                .expect(1)
                .mount(&server)
                .await;
            let grant = GrantId::parse("g").expect("a grant");
            let message =
                nylas(&server).message(&grant, "m", fields, soon()).await.expect("an answer").expect("a message");
            assert_eq!(message.message_id_header().as_deref(), Some("a@b"));
        }
    }

    #[tokio::test]
    async fn folders_are_read_page_by_page_until_no_cursor_is_left() {
        let server = MockServer::start().await;
        let page = |id: &str, next: serde_json::Value| {
            let folder = json!({"id": id, "name": "x", "attributes": ["\\Sent"]});
            ResponseTemplate::new(200).set_body_json(json!({"data": [folder], "next_cursor": next}))
        };
        Mock::given(query_param("page_token", "2")).respond_with(page("b", json!(null))).mount(&server).await;
        Mock::given(path("/v3/grants/g/folders")).respond_with(page("a", json!("2"))).mount(&server).await;
        let folders = nylas(&server).folders(&GrantId::parse("g").expect("a grant"), soon()).await.expect("folders");
        assert_eq!(folders.iter().map(|folder| folder.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn expired_grant_and_missing_scope_are_told_from_a_refused_key() {
        let server = MockServer::start().await;
        let grant = |id: &str, status: &str| {
            let body =
                json!({"data": {"id": id, "email": "a@b.example", "provider": "google", "grant_status": status}});
            Mock::given(path(format!("/v3/grants/{id}"))).respond_with(ResponseTemplate::new(200).set_body_json(body))
        };
        grant("expired", "invalid").mount(&server).await;
        grant("valid", "valid").mount(&server).await;
        Mock::given(path("/v3/grants/scope/folders")).respond_with(ResponseTemplate::new(403)).mount(&server).await;
        Mock::given(path("/v3/grants/gone")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
        Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(401)).mount(&server).await;
        let nylas = nylas(&server);
        let folders =
            async |id: &str| nylas.folders(&GrantId::parse(id).expect("a grant"), soon()).await.expect_err("401");
        assert_eq!(folders("expired").await, NylasError::GrantExpired("expired".to_owned()));
        assert_eq!(folders("gone").await, NylasError::GrantExpired("gone".to_owned()));
        assert_eq!(folders("scope").await, NylasError::ScopeMissing("scope".to_owned()));
        assert!(matches!(folders("valid").await, NylasError::Call(CallError::Unauthorized { status: 401, .. })));
    }

    #[tokio::test]
    async fn event_is_asked_for_by_its_encoded_id_with_its_calendar_and_one_that_is_gone_is_an_answer() {
        let server = MockServer::start().await;
        Mock::given(path("/v3/grants/g/events/a%2Fb=="))
            .and(query_param("calendar_id", "primary"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"data": {"id": "a/b==", "title": "Pilot"}})))
            .mount(&server)
            .await;
        Mock::given(path("/v3/grants/g/events/gone")).respond_with(ResponseTemplate::new(404)).mount(&server).await;
        let (nylas, grant) = (nylas(&server), GrantId::parse("g").expect("a grant"));
        let event = nylas.event(&grant, "primary", "a/b==", soon()).await.expect("an answer").expect("an event");
        assert_eq!(event.title.as_deref(), Some("Pilot"));
        assert_eq!(nylas.event(&grant, "primary", "gone", soon()).await, Ok(None));
    }

    #[tokio::test]
    async fn page_of_events_asks_only_for_what_narrows_it() {
        let server = MockServer::start().await;
        let answer = json!({"data": [{"id": "e1"}], "next_cursor": "c2"});
        Mock::given(path("/v3/grants/g/events"))
            .and(query_param("calendar_id", "primary"))
            .and(query_param("start", "100"))
            .and(query_param("updated_after", "50"))
            .and(query_param("show_cancelled", "true"))
            .and(query_param("page_token", "c1"))
            .and(wiremock::matchers::query_param_is_missing("end"))
            .and(query_param("expand_recurring", "false"))
            .respond_with(ResponseTemplate::new(200).set_body_json(answer))
            .mount(&server)
            .await;
        let wanted =
            EventFilter { start: Some(100), updated_after: Some(50), show_cancelled: true, ..EventFilter::default() };
        let grant = GrantId::parse("g").expect("a grant");
        let page = nylas(&server).events(&grant, "primary", &wanted, Some("c1"), soon()).await.expect("a page");
        assert_eq!((page.items[0].id.as_str(), page.next.as_deref()), ("e1", Some("c2")));
    }

    #[tokio::test]
    async fn page_of_messages_asks_for_its_span_and_reads_null_as_empty() {
        let server = MockServer::start().await;
        Mock::given(query_param("received_after", "100"))
            .and(query_param("received_before", "200"))
            .and(query_param("page_token", "p"))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({"data": null, "next_cursor": "q"})))
            .mount(&server)
            .await;
        let grant = GrantId::parse("g").expect("a grant");
        let page = nylas(&server).messages(&grant, Received { after: 100, before: 200 }, Some("p"), soon()).await;
        assert_eq!(page, Ok(Page { items: Vec::new(), next: Some("q".to_owned()) }));
    }

    #[tokio::test]
    async fn page_of_contacts_asks_for_its_source_and_for_no_more_fields_than_are_read() {
        let server = MockServer::start().await;
        Mock::given(path("/v3/grants/g/contacts"))
            .and(query_param("source", "domain"))
            .and(query_param("select", "id,emails,phone_numbers,job_title,company_name,source"))
            .and(query_param("limit", "200"))
            .respond_with(
                ResponseTemplate::new(200).set_body_json(
                    json!({"request_id": "r", "data": [{"id": "c1", "emails": null}], "next_cursor": "q"}),
                ),
            )
            .mount(&server)
            .await;
        let grant = GrantId::parse("g").expect("a grant");
        let page = nylas(&server).contacts(&grant, "domain", None, soon()).await.expect("a page");
        assert_eq!((page.items[0].id.as_str(), page.next.as_deref()), ("c1", Some("q")));
    }

    #[tokio::test]
    async fn message_is_read_out_of_its_envelope() {
        let answer = json!({"request_id": "r", "data": {"id": "AAMk/x==", "subject": "Q3", "object": "message"}});
        let message =
            ask(ResponseTemplate::new(200).set_body_json(answer)).await.expect("an answer").expect("a message");
        assert_eq!(message.subject.as_deref(), Some("Q3"));
    }

    #[tokio::test]
    async fn message_that_is_gone_is_an_answer() {
        let body = json!({"request_id": "r", "error": {"type": "not_found_error", "message": "gone"}});
        assert_eq!(ask(ResponseTemplate::new(404).set_body_json(body)).await, Ok(None));
    }

    #[tokio::test]
    async fn throttle_and_provider_time_out_are_transient() {
        for status in [429, 504] {
            let error = ask(ResponseTemplate::new(status)).await.expect_err("an error");
            assert!(matches!(Failure::from(error), Failure::Transient { .. }), "{status}");
        }
    }
}

//! Sending mail through the Nylas stand-in: the call, the ways in which it can be told to go wrong, what was sent, and answers
//! of others to it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    extract::{Path as UrlPath, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::IntoResponse,
};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::idempotency::{Begun, IDEMPOTENT_RESPONSE, Keys, key_of};
use super::mail::{Mail, Tracking, TrackingRules, header_objects, message_id_header, provider_id, reply_headers};
use super::notifications::{ControlError, Controlled};
use super::{Answered, Api, ApiError, Asked, Grant, Nylas, Parameters, Query, Reply, answers::uuid_of, object_of};

/// A mail that was sent through the stand-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMail {
    /// The grant it was sent from.
    pub grant_id: String,
    /// Its id in the sender's mailbox, told in the answer or not.
    pub message_id: String,
    /// Its thread.
    pub thread_id: String,
    /// The addresses that it went to, without copies.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its body, HTML unless it was sent as plain text.
    pub body: String,
    /// The label of its tracking.
    pub label: Option<String>,
    /// Whether opens, links or answers are tracked.
    pub tracked: bool,
    /// The headers that were asked for.
    pub headers: Vec<(String, String)>,
    /// The idempotency key it was sent with.
    pub idempotency_key: Option<String>,
    /// When it was sent.
    pub at: Timestamp,
}

/// A sent mail with what happened to it since.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) mail: SentMail,
    pub(super) message: Value,
    pub(super) provider: String,
    pub(super) tracking: Tracking,
    /// The `recents` of its opens.
    pub(super) opens: Vec<Value>,
    /// Which link was clicked, with the `recents` of the click.
    pub(super) clicks: Vec<(usize, Value)>,
    pub(super) replies: usize,
}

/// What a test has told of the sends to come.
#[derive(Debug, Default)]
struct Plan {
    without_id: u32,
    time_out_after: u32,
    time_out_before: u32,
    hold: Duration,
}

#[derive(Debug, Default)]
struct Desk {
    rules: TrackingRules,
    plan: Plan,
    sent: Vec<Sent>,
}

/// The sending half of the stand-in.
#[derive(Debug, Default)]
pub(super) struct Sending {
    keys: Keys,
    desk: Mutex<Desk>,
}

impl Sending {
    fn locked<T>(&self, use_desk: impl FnOnce(&mut Desk) -> T) -> T {
        use_desk(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something with a mail that was sent.
    pub(super) fn use_sent<T>(
        &self,
        message_id: &str,
        use_it: impl FnOnce(&mut Sent) -> Controlled<T>,
    ) -> Controlled<T> {
        self.locked(|desk| {
            let found = desk.sent.iter_mut().find(|sent| sent.mail.message_id == message_id);
            use_it(found.ok_or_else(|| ControlError::NotSent(message_id.to_owned()))?)
        })
    }
}

/// Takes one out of a stock, if there is one.
fn take_one(stock: &mut u32) -> bool {
    let is_there = *stock > 0;
    *stock = stock.saturating_sub(1);
    is_there
}

/// The call that sends a mail.
pub(super) async fn send(
    State(api): State<Arc<Api>>,
    UrlPath(grant): UrlPath<String>,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let asked = Asked::check(query, &["fields"])?;
    let key = key_of(&headers)?;
    let payload = object_of(&body)?;
    // In front of the keys: that an account cannot be reached is no answer of the send, and is not kept.
    let grant_id = api.use_grant(&grant, |grant| grant.id.clone())?;
    let begun = key.as_deref().map(|key| api.sending.keys.begin(&grant_id, key, &payload)).transpose()?;
    let kept = match begun {
        Some(Begun::Again(reply)) => {
            let mut response = reply.into_response();
            let name = HeaderName::from_static(IDEMPOTENT_RESPONSE);
            response.headers_mut().insert(name, HeaderValue::from_static("true"));
            return Ok(response);
        }
        Some(Begun::First(kept)) => Some(kept),
        None => None,
    };
    // On a task of its own: a caller that leaves takes nothing back, and finds the answer under its key.
    let work = tokio::spawn(async move {
        let done = deliver(&api, &grant_id, &asked, payload, key);
        let reply = done.unwrap_or_else(Reply::from);
        let hold = api.sending.locked(|desk| desk.plan.hold);
        // What was refused had no effect to wait after.
        if !reply.status.is_client_error() && !hold.is_zero() {
            tokio::time::sleep(hold).await;
        }
        if let Some(kept) = kept {
            // Empty until now: only who began with the key puts something here.
            let _ = kept.set(reply.clone());
        }
        reply
    });
    let reply = work.await.map_err(|error| ApiError::new(500, "internal_error", error.to_string()))?;
    Ok(reply.into_response())
}

/// Sends a mail, if it is one that can be sent and nothing else is planned.
fn deliver(
    api: &Api,
    grant_id: &str,
    asked: &Asked,
    payload: Map<String, Value>,
    key: Option<String>,
) -> std::result::Result<Reply, ApiError> {
    let at = Timestamp::now();
    api.sending.locked(|desk| {
        let (echo, mail, message, provider) = api.use_grant(grant_id, |grant| {
            let mail = Mail::check(payload, grant, &desk.rules, at.as_second())?;
            let message = mail.message(api, grant, at.as_second())?;
            Ok((mail.echo(grant), mail, message, grant.provider.clone()))
        })??;
        let shown = asked.show(&message)?;
        if take_one(&mut desk.plan.time_out_before) {
            return Err(ApiError::planned(504));
        }
        api.use_grant(grant_id, |grant| grant.messages.push(message.clone()))?;
        desk.sent.push(Sent {
            mail: sent_mail(grant_id, &mail, &message, key, at),
            message,
            provider,
            tracking: mail.tracking.clone(),
            opens: Vec::new(),
            clicks: Vec::new(),
            replies: 0,
        });
        if take_one(&mut desk.plan.time_out_after) {
            return Err(ApiError::planned(504));
        }
        let is_accepted = take_one(&mut desk.plan.without_id);
        Ok(taken(api, grant_id, &mail, is_accepted, echo, shown))
    })
}

fn sent_mail(grant_id: &str, mail: &Mail, message: &Value, key: Option<String>, at: Timestamp) -> SentMail {
    let tracking = &mail.tracking;
    SentMail {
        grant_id: grant_id.to_owned(),
        message_id: message["id"].as_str().unwrap_or_default().to_owned(),
        thread_id: message["thread_id"].as_str().unwrap_or_default().to_owned(),
        to: mail.to(),
        subject: mail.text("subject").to_owned(),
        body: mail.text("body").to_owned(),
        label: tracking.label.clone(),
        tracked: tracking.opens || tracking.links || tracking.thread_replies,
        headers: mail.custom_headers(),
        idempotency_key: key,
        at,
    }
}

/// The answer to a mail that was taken: with its id, or with that of a schedule where it is to be sent later.
fn taken(
    api: &Api,
    grant_id: &str,
    mail: &Mail,
    is_accepted: bool,
    mut echo: Map<String, Value>,
    shown: Value,
) -> Reply {
    let schedule_id = || Value::from(uuid_of(&api.fresh_digest("schedule")));
    let mut body = Map::from_iter([("grant_id".to_owned(), grant_id.into())]);
    if is_accepted {
        for key in ["send_at", "use_draft"] {
            body.extend(echo.remove(key).map(|given| (key.to_owned(), given)));
        }
        body.insert("schedule_id".to_owned(), schedule_id());
        body.insert("data".to_owned(), echo.into());
        return api.reply(StatusCode::ACCEPTED, body);
    }
    let data = if mail.send_at.is_some() {
        echo.insert("schedule_id".to_owned(), schedule_id());
        Value::from(echo)
    } else {
        let mut data = shown;
        // The original has the key, empty, where nothing is scheduled.
        data["schedule_id"] = "".into();
        if let Some(answered) = echo.remove("reply_to_message_id") {
            data["reply_to_message_id"] = answered;
        }
        data
    };
    body.insert("data".to_owned(), data);
    api.reply(StatusCode::OK, body)
}

/// The answer of somebody to a message of this account.
fn reply_of(api: &Api, grant: &Grant, root: &Value, from: &str, subject: &str, headers: &[(&str, &str)]) -> Value {
    let is_own = from.eq_ignore_ascii_case(&grant.email);
    let (folder, to) = match (is_own, &root["to"]) {
        (true, to) => (grant.sent_folder(), to.clone()),
        (false, _) => (grant.inbox(), json!([{ "email": grant.email, "name": "" }])),
    };
    let mut all: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    all.push(message_id_header(api, from));
    all.extend(reply_headers(root));
    let earliest = root["date"].as_i64().unwrap_or_default() + 1;
    json!({
        "id": provider_id(api, grant),
        "grant_id": grant.id,
        "object": "message",
        "thread_id": root["thread_id"],
        "subject": subject,
        "body": "<div>Thank you for your mail.</div>",
        "snippet": "Thank you for your mail.",
        "from": [{ "email": from, "name": "" }],
        "to": to,
        "cc": [],
        "bcc": [],
        "reply_to": [],
        "attachments": [],
        "date": Timestamp::now().as_second().max(earliest),
        "folders": folder.into_iter().collect::<Vec<_>>(),
        "starred": false,
        "unread": !is_own,
        "headers": header_objects(&all),
    })
}

impl Nylas {
    /// Makes the account one that may not track mail, or one that may.
    pub fn set_trial(&self, trial: bool) {
        self.api.sending.locked(|desk| desk.rules.trial = trial);
    }

    /// Refuses mail with tracked links to this host or one below it, beside `example.com`.
    pub fn deny_links_to(&self, host: &str) {
        self.api.sending.locked(|desk| desk.rules.denied_hosts.push(host.to_ascii_lowercase()));
    }

    /// Takes mail with tracked links to this host again.
    pub fn allow_links_to(&self, host: &str) {
        self.api.sending.locked(|desk| desk.rules.denied_hosts.retain(|denied| !denied.eq_ignore_ascii_case(host)));
    }

    /// The next sends do send, but are answered 202 with a schedule and without the id of a message.
    pub fn accept_sends_without_id(&self, sends: u32) {
        self.api.sending.locked(|desk| desk.plan.without_id = sends);
    }

    /// The next sends do send, but are answered 504.
    pub fn time_out_sends_after_sending(&self, sends: u32) {
        self.api.sending.locked(|desk| desk.plan.time_out_after = sends);
    }

    /// The next sends are answered 504 and send nothing.
    pub fn time_out_sends_before_sending(&self, sends: u32) {
        self.api.sending.locked(|desk| desk.plan.time_out_before = sends);
    }

    /// Lets this long pass between the sending of each mail and the answer.
    pub fn hold_sends(&self, pause: Duration) {
        self.api.sending.locked(|desk| desk.plan.hold = pause);
    }

    /// Forgets all idempotency keys, as if the hour for which they are kept had passed.
    pub fn forget_idempotency_keys(&self) {
        self.api.sending.keys.forget();
    }

    /// Every mail that was sent, in order. What was answered again under its key is there once.
    #[must_use]
    pub fn sent(&self) -> Vec<SentMail> {
        self.api.sending.locked(|desk| desk.sent.iter().map(|sent| sent.mail.clone()).collect())
    }

    /// Puts somebody's answer to a message into the thread of that message, and gives it as a notification would carry it.
    /// Its headers name the message that it answers; the given ones come on top. An answer from the account's own address
    /// lies in the folder of what was sent.
    ///
    /// # Errors
    /// There is no such grant, or no such message in its mailbox.
    pub fn receive_reply(
        &self,
        grant_id: &str,
        message_id: &str,
        from: &str,
        subject: &str,
        headers: &[(&str, &str)],
    ) -> Controlled<Value> {
        self.api.locked(|grants| {
            let grant = grants.iter_mut().find(|grant| grant.id == grant_id);
            let grant = grant.ok_or_else(|| ControlError::UnknownGrant(grant_id.to_owned()))?;
            let root = grant.messages.iter().find(|message| message["id"] == message_id);
            let root = root.ok_or_else(|| ControlError::UnknownMessage(message_id.to_owned()))?;
            let mut reply = reply_of(&self.api, grant, root, from, subject, headers);
            grant.messages.push(reply.clone());
            reply.as_object_mut().map(|reply| reply.remove("headers"));
            Ok(reply)
        })
    }
}

#[cfg(test)]
mod tests;

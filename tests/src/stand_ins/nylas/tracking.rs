//! What the Nylas stand-in can be told to notify of a mail that was sent: opens, clicks, answers and bounces.

use std::collections::BTreeMap;

use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};
use serde_json::{Value, json};

use super::Nylas;
use super::links::tracked_links;
use super::mail::{addresses, header_of};
use super::notifications::{APPLICATION_ID, ControlError, Controlled};
use super::send::Sent;

const SOURCE: &str = "/com/nylas/tracking";

/// The address that all who open and click come from: of a block that is kept for documentation (RFC 5737).
const IP: &str = "203.0.113.24";

/// More than these newest ones are not told (Nylas docs, `email/message-tracking`).
const MOST_RECENTS: usize = 50;

/// The newest of a list, the oldest of them first.
fn newest<T: Clone>(all: &[T]) -> Vec<T> {
    all[all.len().saturating_sub(MOST_RECENTS)..].to_vec()
}

/// The object of a tracking notification, with what it has of every kind.
fn tracked(sent: &Sent, object: &str, at: i64, mut fields: Value) -> Value {
    let mail = &sent.mail;
    fields["object"] = object.into();
    fields["grant_id"] = mail.grant_id.as_str().into();
    fields["sender_app_id"] = APPLICATION_ID.into();
    fields["timestamp"] = at.into();
    if let Some(label) = &mail.label {
        fields["label"] = label.as_str().into();
    }
    json!({ "grant_id": mail.grant_id, "object": fields })
}

fn refuse_untracked(sent: &Sent, is_tracked: bool, what: &'static str) -> Controlled<()> {
    if is_tracked {
        return Ok(());
    }
    Err(ControlError::NotTracked { message_id: sent.mail.message_id.clone(), what })
}

/// A time as mail spells it.
fn in_mail(at: Timestamp) -> String {
    rfc2822::to_string(&at.to_zoned(TimeZone::UTC)).unwrap_or_else(|_| at.to_string())
}

impl Nylas {
    /// The notification that a sent mail was opened. The opens of earlier calls are told with it, and counted.
    ///
    /// # Errors
    /// No such mail was sent, or not with `opens` tracked.
    pub fn opened(&self, message_id: &str, at: Timestamp, user_agent: &str) -> Controlled<Value> {
        let at = at.as_second();
        let data = self.api.sending.use_sent(message_id, |sent| {
            refuse_untracked(sent, sent.tracking.opens, "opens")?;
            let number = sent.opens.len();
            sent.opens.push(json!({ "opened_id": number, "ip": IP, "timestamp": at, "user_agent": user_agent }));
            let fields = json!({
                "message_id": message_id,
                "message_data": { "count": sent.opens.len(), "timestamp": at },
                "recents": newest(&sent.opens),
            });
            Ok(tracked(sent, "message", at, fields))
        })?;
        Ok(self.api.notification("message.opened", SOURCE, at, data))
    }

    /// The notification that links of a sent mail were clicked: which ones, counted from 0 among its tracked links, when, and
    /// by which program. The clicks of earlier calls are told with them, and counted.
    ///
    /// # Errors
    /// No such mail was sent, or not with `links` tracked, or it has no such link.
    pub fn clicked(&self, message_id: &str, clicks: &[(usize, Timestamp, &str)]) -> Controlled<Value> {
        let latest = clicks.iter().map(|(_, at, _)| *at).max().unwrap_or_else(Timestamp::now).as_second();
        let data = self.api.sending.use_sent(message_id, |sent| {
            refuse_untracked(sent, sent.tracking.links, "links")?;
            let links = tracked_links(&sent.mail.body);
            if let Some((index, ..)) = clicks.iter().find(|(index, ..)| *index >= links.len()) {
                return Err(ControlError::NoSuchLink { message_id: message_id.to_owned(), index: *index });
            }
            for (index, at, user_agent) in clicks {
                let recent = json!({
                    "click_id": sent.clicks.len(),
                    "ip": IP,
                    "link_index": index.to_string(),
                    "timestamp": at.as_second(),
                    "user_agent": user_agent,
                });
                sent.clicks.push((*index, recent));
            }
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for (index, _) in &sent.clicks {
                *counts.entry(*index).or_default() += 1;
            }
            let link_data = counts.iter().map(|(index, count)| json!({ "url": links[*index], "count": count }));
            // The newest are kept for each link.
            let recents = counts.keys().flat_map(|index| {
                let of_link = sent.clicks.iter().filter(|(clicked, _)| clicked == index);
                newest(&of_link.map(|(_, recent)| recent.clone()).collect::<Vec<_>>())
            });
            let mut recents: Vec<Value> = recents.collect();
            recents.sort_by_key(|recent| recent["click_id"].as_u64());
            let fields = json!({
                "message_id": message_id,
                "link_data": link_data.collect::<Vec<_>>(),
                "recents": recents,
            });
            Ok(tracked(sent, "message", latest, fields))
        })?;
        Ok(self.api.notification("message.link_clicked", SOURCE, latest, data))
    }

    /// The notification that a sent mail was answered. `from_self` is left out where it is none, as older notifications do.
    ///
    /// # Errors
    /// No such mail was sent, or not with `thread_replies` tracked.
    pub fn replied(&self, root_message_id: &str, reply_message_id: &str, from_self: Option<bool>) -> Controlled<Value> {
        let received = self.api.locked(|grants| {
            let mut messages = grants.iter().flat_map(|grant| &grant.messages);
            messages.find(|message| message["id"] == reply_message_id).and_then(|message| message["date"].as_i64())
        });
        let at = received.unwrap_or_else(|| Timestamp::now().as_second());
        let data = self.api.sending.use_sent(root_message_id, |sent| {
            refuse_untracked(sent, sent.tracking.thread_replies, "thread_replies")?;
            sent.replies += 1;
            let mut fields = json!({
                "message_id": reply_message_id,
                "root_message_id": root_message_id,
                "reply_to_message_id": root_message_id,
                "reply_data": { "count": sent.replies },
                "thread_id": sent.mail.thread_id,
            });
            if let Some(from_self) = from_self {
                fields["from_self"] = from_self.into();
            }
            Ok(tracked(sent, "thread", at, fields))
        })?;
        Ok(self.api.notification("thread.replied", SOURCE, at, data))
    }

    /// The notification that a sent mail, tracked or not, did not reach its first recipient: the kind of bounce, for example
    /// `mailbox_unavailable`, and the SMTP code.
    ///
    /// # Errors
    /// No such mail was sent.
    pub fn bounced(&self, message_id: &str, kind: &str, code: &str) -> Controlled<Value> {
        let now = Timestamp::now();
        let (source, data) = self.api.sending.use_sent(message_id, |sent| {
            let (mail, message) = (&sent.mail, &sent.message);
            let mime_id = header_of(message, "Message-ID").unwrap_or_default();
            let object = json!({
                "bounce_reason": "The server of the recipient did not take the mail.",
                "bounce_date": in_mail(now),
                "bounced_addresses": mail.to.first(),
                "type": kind,
                "code": code,
                "grant_id": mail.grant_id,
                "origin": {
                    "to": mail.to,
                    "from": message["from"][0]["email"],
                    "cc": addresses(&message["cc"]),
                    "bcc": addresses(&message["bcc"]),
                    "subject": mail.subject,
                    "mime_id": mime_id.trim_matches(['<', '>']),
                    "id": message_id,
                    "original_send_at": in_mail(mail.at),
                },
            });
            let data = json!({ "grant_id": mail.grant_id, "object": object });
            Ok((format!("/{}/emails/realtime", sent.provider), data))
        })?;
        let mut notification = self.api.notification("message.bounce_detected", &source, now.as_second(), data);
        notification["webhook_delivery_attempt"] = 1.into();
        Ok(notification)
    }
}

#[cfg(test)]
mod tests;

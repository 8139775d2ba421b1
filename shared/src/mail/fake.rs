//! A Nylas in memory, with the mails of its mailboxes.

use serde_json::Value;
use std::sync::Mutex;
use std::time::Duration;

use super::reading::ReadMail;
use crate::domain::notification::{Envelope, GrantId};
use crate::engine::{Deadline, Input, Work};
use crate::nylas::mailboxes::{DescribeMailbox, Folder, Grant, ListGrants};
use crate::nylas::message::Message;
use crate::nylas::{HeaderFields, MessageId, NylasError, Page, Received};

/// When the messages of the tests were sent.
pub(super) const SENT_AT: i64 = 1_772_359_999;

/// A Nylas with one mailbox, `g1`, that is asked for one mail a page.
#[derive(Default)]
pub(super) struct FakeNylas {
    pub(super) mails: Vec<Value>,
    pub(super) folders: Vec<Folder>,
    pub(super) provider: Option<&'static str>,
    /// What every call but that for the grant fails with.
    pub(super) error: Option<NylasError>,
    pub(super) calls: Mutex<Vec<String>>,
}

impl FakeNylas {
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("not poisoned").clone()
    }

    fn called(&self, call: String) -> Result<(), NylasError> {
        self.calls.lock().expect("not poisoned").push(call);
        self.error.clone().map_or(Ok(()), Err)
    }
}

impl DescribeMailbox for FakeNylas {
    async fn folders(&self, _: &GrantId, _: Deadline) -> Result<Vec<Folder>, NylasError> {
        self.called("folders".to_owned())?;
        Ok(self.folders.clone())
    }

    async fn grant(&self, grant: &GrantId, _: Deadline) -> Result<Option<Grant>, NylasError> {
        self.calls.lock().expect("not poisoned").push("grant".to_owned());
        let email = Some("rep@private.example".to_owned());
        let provider = self.provider.map(str::to_owned);
        Ok(Some(Grant { id: grant.to_string(), email, provider, grant_status: None }))
    }
}

impl ListGrants for FakeNylas {
    async fn grants(&self, _: usize, _: Deadline) -> Result<Vec<Grant>, NylasError> {
        Ok(Vec::new())
    }
}

impl ReadMail for FakeNylas {
    async fn message(
        &self,
        _: &GrantId,
        id: &str,
        headers: HeaderFields,
        _: Deadline,
    ) -> Result<Option<Message>, NylasError> {
        self.called(format!("message {headers:?}"))?;
        let Some(mail) = self.mails.iter().find(|mail| mail["id"] == id) else { return Ok(None) };
        let mut message: Message = serde_json::from_value(mail.clone()).expect("a message");
        if headers == HeaderFields::None {
            message.headers = None;
        }
        Ok(Some(message))
    }

    async fn messages(
        &self,
        _: &GrantId,
        _: Received,
        page_token: Option<&str>,
        _: Deadline,
    ) -> Result<Page<MessageId>, NylasError> {
        self.called("messages".to_owned())?;
        let place: usize = page_token.map_or(0, |token| token.parse().expect("a cursor"));
        let on_page = self.mails.iter().skip(place).take(1);
        let items = on_page.map(|mail| serde_json::from_value(mail.clone()).expect("a message")).collect();
        let next = (place + 1 < self.mails.len()).then(|| (place + 1).to_string());
        Ok(Page { items, next })
    }
}

pub(super) fn grant() -> GrantId {
    GrantId::parse("g1").expect("a grant")
}

/// The work that a notification or a job is.
pub(super) fn work(body: &Value) -> Work {
    let body = body.to_string();
    let input =
        Envelope::parse(&body).map_or_else(|_| Input::Job { kind: "reconcile".to_owned() }, Input::Notification);
    let sent_at = jiff::Timestamp::from_second(SENT_AT).expect("a time");
    Work { input, body, sent_at, deadline: Deadline::after(Duration::from_secs(20)) }
}

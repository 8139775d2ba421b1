//! What is read of a notification, and what is asked of Nylas for the rest.

use super::*;
use crate::engine::Input;
use crate::mail::fake::{FakeNylas, SENT_AT, grant, work};
use crate::nylas::mailboxes::Folder;
use serde_json::{Value, json};

fn notification(trigger: &str, source: &str, object: &Value) -> Work {
    work(&json!({"type": trigger, "id": "n1", "source": source, "data": {"object": object}}))
}

fn carried(work: &Work) -> CarriedMail {
    let Input::Notification(envelope) = &work.input else { panic!("no notification") };
    carried_mail(envelope, work).expect("a mail")
}

fn mail() -> Value {
    json!({
        "id": "m1", "grant_id": "g1", "thread_id": "t1", "subject": "Q3", "snippet": "Hello,", "folders": ["INBOX"],
        "from": [{"email": "dana@acme.example"}], "to": [{"email": "rep@northwind.example"}], "date": 1_772_359_200,
    })
}

fn with(fields: &Value) -> Value {
    let mut mail = mail();
    for (name, field) in fields.as_object().expect("fields") {
        mail[name] = field.clone();
    }
    mail
}

/// The mail as Nylas holds it.
fn held() -> Value {
    let headers =
        json!([{"name": "Message-ID", "value": "<a@b>"}, {"name": "From", "value": "Dana <dana@acme.example>"}]);
    with(&json!({"body": "<p>Hello, the whole of it</p>", "headers": headers}))
}

fn holding(mail: Value) -> FakeNylas {
    FakeNylas { mails: vec![mail], ..FakeNylas::default() }
}

fn clock(second: i64) -> Clock {
    Clock::told_by(move || jiff::Timestamp::from_second(second).expect("a time"))
}

#[test]
fn notification_tells_the_mail_its_provider_and_how_much_of_it_was_sent_along() {
    let google = carried(&notification("message.created", "/google/emails/realtime", &held()));
    assert_eq!((google.provider.as_deref(), google.carried), (Some("google"), Carried::Standard));
    assert_eq!((google.headers, google.message.body.is_some()), (HeadersAtHand::All, true));
    assert_eq!(google.google_roles(), Some(Roles::default()));
    let truncated = carried(&notification("message.created.truncated", "/imap/emails/realtime", &mail()));
    assert_eq!((truncated.carried, truncated.headers), (Carried::Standard, HeadersAtHand::Some));
    assert_eq!((truncated.message.body.as_deref(), truncated.google_roles()), (None, None));
    let chosen = carried(&notification("message.created.transformed", "/crm-autopilot/reconcile", &mail()));
    assert_eq!((chosen.provider.as_deref(), chosen.carried), (None, Carried::ChosenFields));
}

#[test]
fn mail_with_a_field_of_an_odd_shape_is_known_by_its_ids() {
    let odd =
        carried(&notification("message.created", "/google/emails/realtime", &with(&json!({"attachments": "none"}))));
    assert_eq!((odd.message.id.as_str(), odd.carried), ("m1", Carried::ChosenFields));
    assert_eq!(odd.grant().ok(), Some(grant()), "the envelope names it");
    let odd_body = carried(&notification("message.created", "/google/emails/realtime", &with(&json!({"body": [1]}))));
    assert_eq!((odd_body.message.subject.as_deref(), odd_body.carried), (Some("Q3"), Carried::Standard));
}

#[tokio::test]
async fn whole_mail_has_its_body_and_every_list_of_people() {
    let nylas = holding(held());
    let reader = MailReader::new(&nylas, clock(SENT_AT));
    let truncated = notification("message.created.truncated", "/google/emails/realtime", &mail());
    let whole = reader.whole(carried(&truncated), truncated.deadline).await.expect("an answer").expect("a mail");
    assert_eq!(whole.message.body.as_deref(), Some("<p>Hello, the whole of it</p>"));
    assert_eq!((whole.message.bcc, whole.carried), (Some(Vec::new()), Carried::Standard));
    let nothing = FakeNylas::default();
    let gone = MailReader::new(&nothing, clock(SENT_AT)).whole(carried(&truncated), truncated.deadline).await;
    assert_eq!(gone.map(|gone| gone.is_none()).ok(), Some(true));
}

#[tokio::test]
async fn headers_are_asked_for_where_they_are_missing_and_bring_the_body_along() {
    let nylas = holding(held());
    let reader = MailReader::new(&nylas, clock(SENT_AT));
    let truncated = notification("message.created.truncated", "/google/emails/realtime", &mail());
    let (mail, told_by) =
        reader.with_headers(carried(&truncated), Some("google"), &grant(), &truncated).await.expect("an answer");
    assert_eq!((told_by, mail.headers), ("Nylas", HeadersAtHand::All));
    assert_eq!(mail.message.body.as_deref(), Some("<p>Hello, the whole of it</p>"));
    let (_, told_by) = reader.with_headers(mail, Some("google"), &grant(), &truncated).await.expect("an answer");
    assert_eq!((told_by, nylas.calls()), ("the notification", vec!["message All".to_owned()]));
}

#[tokio::test]
async fn sender_without_an_address_is_looked_for_only_where_the_provider_shows_the_senders_headers() {
    let nameless = with(&json!({"from": [{"email": "/O=EXCHANGELABS/CN=DANA"}]}));
    for (provider, calls) in [("microsoft", 1), ("imap", 0)] {
        let nylas = holding(held());
        let notified = notification("message.created", &format!("/{provider}/emails/realtime"), &nameless);
        let mail = MailReader::new(&nylas, clock(SENT_AT)).with_sender(carried(&notified), &notified).await;
        let from = mail.expect("an answer").message.from.and_then(|from| from[0].email.clone());
        assert_eq!(from.as_deref() == Some("dana@acme.example"), calls == 1, "{provider}");
        assert_eq!(nylas.calls().len(), calls, "{provider}");
    }
}

#[tokio::test]
async fn provider_is_asked_for_only_where_the_notification_does_not_tell_it_and_with_the_address() {
    let nylas = FakeNylas { provider: Some("imap"), ..FakeNylas::default() };
    let reader = MailReader::new(&nylas, clock(SENT_AT));
    let told = notification("message.created", "/google/emails/realtime", &mail());
    let provider = reader.provider(&carried(&told), &grant(), told.deadline).await;
    assert_eq!((provider, nylas.calls().len()), (Ok(Some("google".to_owned())), 0));
    let untold = notification("message.created", "/crm-autopilot/reconcile", &mail());
    let provider = reader.provider(&carried(&untold), &grant(), untold.deadline).await;
    assert_eq!(provider, Ok(Some("imap".to_owned())));
    let own = reader.own_address(&grant(), untold.deadline).await;
    assert_eq!(own, Ok(EmailAddress::parse("rep@private.example")));
    assert_eq!(nylas.calls(), ["grant"]);
}

#[tokio::test]
async fn folders_are_what_their_attributes_say_but_for_google_and_mailboxes_out_of_reach() {
    let sent = Folder { id: "AAMk".to_owned(), attributes: Some(vec!["\\Sent".to_owned()]) };
    let nylas = FakeNylas { folders: vec![sent], ..FakeNylas::default() };
    let reader = MailReader::new(&nylas, clock(SENT_AT));
    let work = notification("message.created", "/microsoft/emails/realtime", &mail());
    let folders = |id: &str| vec![id.to_owned()];
    let is_sent = Roles { sent: true, ..Roles::default() };
    assert_eq!(reader.roles(&folders("AAMk"), &grant(), Some("microsoft"), &work).await, Ok(is_sent));
    assert_eq!(reader.roles(&folders("SENT"), &grant(), Some("google"), &work).await, Ok(is_sent));
    assert_eq!(nylas.calls(), ["folders"]);
    let nylas = FakeNylas { error: Some(NylasError::ScopeMissing("g1".to_owned())), ..FakeNylas::default() };
    let reader = MailReader::new(&nylas, clock(SENT_AT));
    assert_eq!(reader.roles(&folders("Sent"), &grant(), Some("imap"), &work).await, Ok(is_sent));
}

#[test]
fn expired_mailbox_is_waited_for_a_day_and_a_missing_scope_not_at_all() {
    let nylas = FakeNylas::default();
    let work = notification("message.created", "/google/emails/realtime", &mail());
    let goes_without = |error: NylasError, hours: i64| {
        MailReader::new(&nylas, clock(SENT_AT + hours * 3600)).goes_without(&error, &work)
    };
    assert!(!goes_without(NylasError::GrantExpired("g1".to_owned()), 23));
    assert!(goes_without(NylasError::GrantExpired("g1".to_owned()), 24));
    assert!(goes_without(NylasError::ScopeMissing("g1".to_owned()), 0));
}

//! The Nylas envelope: the little of a notification that decides where it goes and what it is about.
//!
//! A v3 notification is one `CloudEvents` object (`{specversion,type,source,id,time,data:{application_id,grant_id?,object}}`).
//! The grant sits in `data.object.grant_id` for most triggers, in `data.grant_id` for tracking, in neither for bookings.
//! Only identifiers are read here; everything else of the body is left alone.

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

use super::digest::sha256_hex;

/// The id of a notification: the same on every delivery attempt of Nylas, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotificationId(String);

impl NotificationId {
    /// Takes any text that holds more than blanks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        non_blank(text).map(|text| Self(text.to_owned()))
    }

    /// The id of something that Nylas did not name: `<kind>:<key>`, for example a job's.
    #[must_use]
    pub fn of_our_own(kind: &str, key: &str) -> Self {
        Self(format!("{kind}:{key}"))
    }

    /// The id as Nylas sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The id of a grant: one connected mailbox or calendar account at Nylas, never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantId(String);

impl GrantId {
    /// Takes any text that holds more than blanks.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        non_blank(text).map(|text| Self(text.to_owned()))
    }

    /// The id as Nylas sent it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn non_blank(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

/// What happened, for example `message.created`, apart from the suffixes that tell how much of it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    base: String,
    /// How much of the object the notification carries.
    pub payload: Payload,
}

/// Which suffixes a trigger carried. They arrive unasked and may be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the four suffixes are independent of each other")]
pub struct Payload {
    /// `.cleaned`: the body is markdown.
    pub cleaned: bool,
    /// `.transformed`: only chosen fields are present.
    pub transformed: bool,
    /// `.truncated`: the whole was over 1 MB, the body is gone.
    pub truncated: bool,
    /// `.metadata`: no body, snippet or attachments; headers are present.
    pub metadata: bool,
}

impl Trigger {
    /// Strips the known suffixes from the right, in whatever order they come.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut base = text;
        let mut payload = Payload::default();
        loop {
            let (rest, flag) = match base.rsplit_once('.') {
                Some((rest, "cleaned")) => (rest, &mut payload.cleaned),
                Some((rest, "transformed")) => (rest, &mut payload.transformed),
                Some((rest, "truncated")) => (rest, &mut payload.truncated),
                Some((rest, "metadata")) => (rest, &mut payload.metadata),
                _ => break,
            };
            *flag = true;
            base = rest;
        }
        Self { base: base.to_owned(), payload }
    }

    /// The trigger without suffixes, for example `message.created`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
}

/// The identifiers of `data.object` that routing and deciding go by. Each may be absent; none is ever empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectKeys {
    /// `id` of the object.
    pub id: Option<String>,
    /// `thread_id` of a message.
    pub thread_id: Option<String>,
    /// `master_event_id` of one occurrence of a series.
    pub master_event_id: Option<String>,
    /// `label` of a tracked message.
    pub label: Option<String>,
    /// `message_id` of a tracking or bounce notification, else the `origin.id` of a bounce.
    pub message_id: Option<String>,
    /// `configuration_id` of a booking.
    pub configuration_id: Option<String>,
}

/// The envelope of one notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The notification's own id.
    pub id: NotificationId,
    /// What happened.
    pub trigger: Trigger,
    /// The account it happened in, where the notification names one.
    pub grant: Option<GrantId>,
    /// What it happened to.
    pub keys: ObjectKeys,
}

/// Why a body is not a Nylas notification.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotANotification {
    /// The body is not one JSON object.
    #[error("the body is not a JSON object (line {line}, column {column})")]
    NotJson {
        /// Line of the first offence, counted from 1.
        line: usize,
        /// Column of the first offence, counted from 1.
        column: usize,
    },
    /// There is no `type`, or it is not a text.
    #[error("the body has no `type`")]
    NoType,
    /// There is no `id`, or it is empty.
    #[error("the body has no `id`")]
    NoId,
    /// There is no `data` object.
    #[error("the body has no `data` object")]
    NoData,
}

impl Envelope {
    /// Reads the envelope and ignores the rest.
    ///
    /// # Errors
    /// [`NotANotification`] tells which part a Nylas notification must have is missing.
    pub fn parse(body: &str) -> Result<Self, NotANotification> {
        let wire: EnvelopeWire = serde_json::from_str(body)
            .map_err(|error| NotANotification::NotJson { line: error.line(), column: error.column() })?;
        // serde would also read a struct from an array.
        if !body.trim_start().starts_with('{') {
            return Err(NotANotification::NotJson { line: 1, column: 1 });
        }
        let trigger = wire.kind.0.ok_or(NotANotification::NoType)?;
        let id = wire.id.0.as_deref().and_then(NotificationId::parse).ok_or(NotANotification::NoId)?;
        let data = wire.data.0.ok_or(NotANotification::NoData)?;
        // `object` may be null (`message.send_failed`) or anything at all: what is no object has no keys.
        let object = data.object.0.unwrap_or_default();
        let origin = object.origin.0.unwrap_or_default();
        let grant = object.grant_id.0.or(data.grant_id.0);
        Ok(Self {
            id,
            trigger: Trigger::parse(&trigger),
            grant: grant.as_deref().and_then(GrantId::parse),
            keys: ObjectKeys {
                id: object.id.0,
                thread_id: object.thread_id.0,
                master_event_id: object.master_event_id.0,
                label: object.label.0,
                message_id: object.message_id.0.or(origin.id.0),
                configuration_id: object.configuration_id.0,
            },
        })
    }
}

/// A digest of what a notification says, equal on every delivery attempt.
///
/// The attempt number sits in the envelope and changes the bytes, so only `data` counts;
/// a body without one is taken whole.
#[must_use]
pub fn content_digest(body: &str) -> String {
    #[derive(Deserialize)]
    struct RawData<'a> {
        #[serde(default, borrow)]
        data: Option<&'a RawValue>,
    }
    let data = serde_json::from_str::<RawData<'_>>(body).ok().and_then(|wire| wire.data).map_or(body, RawValue::get);
    sha256_hex(&[data.as_bytes()])
}

// Read in one pass: ingress does so for every byte of every notification.
#[derive(Deserialize)]
struct EnvelopeWire {
    #[serde(default, rename = "type")]
    kind: LooseText,
    #[serde(default)]
    id: LooseText,
    #[serde(default)]
    data: LooseObject<DataWire>,
}

#[derive(Deserialize)]
struct DataWire {
    #[serde(default)]
    grant_id: LooseText,
    #[serde(default)]
    object: LooseObject<ObjectWire>,
}

#[derive(Deserialize, Default)]
struct ObjectWire {
    #[serde(default)]
    id: LooseText,
    #[serde(default)]
    grant_id: LooseText,
    #[serde(default)]
    thread_id: LooseText,
    #[serde(default)]
    master_event_id: LooseText,
    #[serde(default)]
    label: LooseText,
    #[serde(default)]
    message_id: LooseText,
    #[serde(default)]
    configuration_id: LooseText,
    #[serde(default)]
    origin: LooseObject<OriginWire>,
}

#[derive(Deserialize, Default)]
struct OriginWire {
    #[serde(default)]
    id: LooseText,
}

/// An object where there is one; every other shape becomes nothing.
struct LooseObject<T>(Option<T>);

impl<T> Default for LooseObject<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for LooseObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseObjectVisitor(PhantomData))
    }
}

struct LooseObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LooseObjectVisitor<T> {
    type Value = LooseObject<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LooseObject<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|object| LooseObject(Some(object)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<LooseObject<T>, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LooseObject(None))
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<LooseObject<T>, E> {
        Ok(LooseObject(None))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<LooseObject<T>, E> {
        Ok(LooseObject(None))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<LooseObject<T>, E> {
        Ok(LooseObject(None))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<LooseObject<T>, E> {
        Ok(LooseObject(None))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<LooseObject<T>, E> {
        Ok(LooseObject(None))
    }

    fn visit_unit<E: de::Error>(self) -> Result<LooseObject<T>, E> {
        Ok(LooseObject(None))
    }
}

/// A text where there is one: numbers become text, empty texts and every other shape become nothing.
/// One odd field must not make a whole notification unreadable.
#[derive(Default)]
struct LooseText(Option<String>);

impl<'de> Deserialize<'de> for LooseText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseTextVisitor)
    }
}

struct LooseTextVisitor;

impl<'de> Visitor<'de> for LooseTextVisitor {
    type Value = LooseText;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<LooseText, E> {
        Ok(LooseText(non_blank(text).map(str::to_owned)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<LooseText, E> {
        Ok(LooseText(Some(number.to_string())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<LooseText, E> {
        Ok(LooseText(Some(number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<LooseText, E> {
        Ok(LooseText(None))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<LooseText, E> {
        Ok(LooseText(None))
    }

    fn visit_unit<E: de::Error>(self) -> Result<LooseText, E> {
        Ok(LooseText(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<LooseText, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LooseText(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LooseText, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(LooseText(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &str) -> Envelope {
        Envelope::parse(body).expect("a notification")
    }

    #[test]
    fn suffixes_are_stripped_in_any_order() {
        for (text, base, payload) in [
            ("message.created", "message.created", Payload::default()),
            ("message.created.truncated", "message.created", Payload { truncated: true, ..Payload::default() }),
            (
                "message.created.cleaned.transformed.truncated",
                "message.created",
                Payload { cleaned: true, transformed: true, truncated: true, metadata: false },
            ),
            (
                "message.created.truncated.transformed",
                "message.created",
                Payload { transformed: true, truncated: true, ..Payload::default() },
            ),
            ("message.updated.metadata", "message.updated", Payload { metadata: true, ..Payload::default() }),
            ("message.opened.legacy", "message.opened.legacy", Payload::default()),
            ("", "", Payload::default()),
        ] {
            let trigger = Trigger::parse(text);
            assert_eq!((trigger.base(), trigger.payload), (base, payload), "{text}");
        }
    }

    #[test]
    fn grant_of_the_object_comes_before_the_grant_of_the_data() {
        let both = parse(r#"{"id":"n","type":"t","data":{"grant_id":"outer","object":{"grant_id":"inner"}}}"#);
        let outer = parse(r#"{"id":"n","type":"t","data":{"grant_id":"outer","object":{"id":"x"}}}"#);
        let none = parse(r#"{"id":"n","type":"booking.created","data":{"object":{}}}"#);
        assert_eq!(both.grant, GrantId::parse("inner"));
        assert_eq!(outer.grant, GrantId::parse("outer"));
        assert_eq!(none.grant, None);
    }

    #[test]
    fn empty_blank_and_oddly_typed_identifiers_count_as_absent() {
        let envelope = parse(
            r#"{"id":"n","type":"event.updated","data":{"object":{"id":"","thread_id":"  ","label":null,
               "master_event_id":["a"],"message_id":{"deep":[1]},"configuration_id":42,"grant_id":true}}}"#,
        );
        assert_eq!(envelope.keys, ObjectKeys { configuration_id: Some("42".to_owned()), ..ObjectKeys::default() });
        assert_eq!(envelope.grant, None);
    }

    #[test]
    fn object_of_another_shape_leaves_the_notification_readable() {
        for object in ["null", "[]", "\"text\"", "7"] {
            let envelope = parse(&format!(
                r#"{{"id":"n","type":"message.send_failed","data":{{"grant_id":"g","object":{object}}}}}"#
            ));
            assert_eq!(envelope.keys, ObjectKeys::default(), "{object}");
            assert_eq!(envelope.grant, GrantId::parse("g"), "{object}");
        }
    }

    #[test]
    fn bounce_without_message_id_is_known_by_the_id_of_its_origin() {
        let envelope =
            parse(r#"{"id":"n","type":"message.bounce_detected","data":{"object":{"origin":{"id":"sent-1"}}}}"#);
        assert_eq!(envelope.keys.message_id.as_deref(), Some("sent-1"));
    }

    #[test]
    fn bodies_that_are_no_notification_say_what_is_missing() {
        for (body, expected) in [
            (r#"{"id":"n","data":{}}"#, NotANotification::NoType),
            (r#"{"type":"t","data":{}}"#, NotANotification::NoId),
            (r#"{"type":"t","id":"","data":{}}"#, NotANotification::NoId),
            (r#"{"type":"t","id":"n"}"#, NotANotification::NoData),
            (r#"{"type":"t","id":"n","data":[]}"#, NotANotification::NoData),
            (r#"{"deltas":[{"type":"message.created"}]}"#, NotANotification::NoType),
        ] {
            assert_eq!(Envelope::parse(body), Err(expected), "{body}");
        }
        for body in ["", "[]", "7", "not json", "{\"id\":"] {
            assert!(matches!(Envelope::parse(body), Err(NotANotification::NotJson { .. })), "{body}");
        }
    }

    #[test]
    fn content_digest_ignores_the_delivery_attempt_and_nothing_else() {
        let first = r#"{"id":"n","type":"t","webhook_delivery_attempt":1,"data":{"object":{"id":"x"}}}"#;
        let second = r#"{"id":"n","type":"t","webhook_delivery_attempt":2,"data":{"object":{"id":"x"}}}"#;
        let other = r#"{"id":"n","type":"t","webhook_delivery_attempt":1,"data":{"object":{"id":"y"}}}"#;
        assert_eq!(content_digest(first), content_digest(second));
        assert_ne!(content_digest(first), content_digest(other));
        assert_ne!(content_digest("not json"), content_digest("other"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(body in ".{0,400}") {
            let _ = Envelope::parse(&body);
            let _ = content_digest(&body);
        }

        #[test]
        fn every_id_survives_as_it_was_sent(id in "\\PC{1,160}", thread in "\\PC{1,160}") {
            prop_assume!(!id.trim().is_empty() && !thread.trim().is_empty());
            let body = serde_json::json!({"id": id, "type": "message.created", "data": {"object": {"thread_id": thread}}});
            let envelope = parse(&body.to_string());
            prop_assert_eq!(envelope.id.as_str(), id);
            prop_assert_eq!(envelope.keys.thread_id, Some(thread));
        }
    }
}

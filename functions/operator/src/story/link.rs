//! What a link tells: what became of a Nylas object at the other end, at which version; and which links an id may have.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::domain::digest::sha256_hex;
use shared::domain::link::LinkKey;
use shared::mail::{copy, identity_of_copy};
use shared::meetings::{copy_key, meeting_key};
use shared::nylas::message::Message;

use super::moment::{Moment, in_words, time_in};

/// A link as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its key.
    pub key: String,
    item: Map<String, Value>,
}

/// Where a link leads on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Onward {
    /// To another link.
    Link(String),
    /// To the customer of this address.
    Customer(String),
}

/// The links that an id may have whatever account it is of.
#[must_use]
pub fn keys_of(id: &str) -> Vec<String> {
    let kinds =
        ["notetaker", "contact", "ticket", "account", "customer", "configuration", "mail", "meeting", "support-mail"];
    kinds.into_iter().map(|kind| LinkKey::new(kind, id).as_str().to_owned()).collect()
}

/// The links that an id may have within an account.
#[must_use]
pub fn keys_within(grant: &str, id: &str) -> Vec<String> {
    let of_both = sha256_hex(&[grant.as_bytes(), b"/", id.as_bytes()]);
    let message = Message { grant_id: Some(grant.to_owned()), ..Message::with_id(id) };
    let in_address_book = of_both.get(..32).unwrap_or_default();
    [
        copy_key(grant, id),
        LinkKey::new("mail-copy", &sha256_hex(&[copy(&message).as_bytes()])),
        // A support mail without a Message-ID.
        LinkKey::new("support-mail", &identity_of_copy(&message)),
        LinkKey::new("series", &of_both),
        LinkKey::new("address-book", in_address_book),
        LinkKey::new("ticket-thread", &of_both),
    ]
    .map(|key| key.as_str().to_owned())
    .to_vec()
}

impl Kept {
    /// Reads a link as it is stored under a key.
    #[must_use]
    pub fn read(key: &str, item: Map<String, Value>) -> Self {
        Self { key: key.to_owned(), item }
    }

    fn kind(&self) -> &str {
        self.key.split_once('#').map_or(self.key.as_str(), |(kind, _)| kind)
    }

    fn identity(&self) -> &str {
        self.key.split_once('#').map_or("", |(_, identity)| identity)
    }

    fn became(&self) -> Option<&str> {
        self.item.get("became").and_then(Value::as_str).filter(|_| self.state() == "live")
    }

    fn state(&self) -> &str {
        self.item.get("state").and_then(Value::as_str).unwrap_or_default()
    }

    fn fact(&self, name: &str) -> Option<&Value> {
        self.item.get("facts")?.get(name).filter(|fact| !fact.is_null())
    }

    fn fact_text(&self, name: &str) -> Option<&str> {
        self.fact(name)?.as_str()
    }

    /// The function that keeps it.
    #[must_use]
    pub fn function(&self) -> &'static str {
        match self.kind() {
            "mail" | "mail-copy" => "email-activity",
            "event-copy" | "meeting" | "series" | "account" => "calendar-sync",
            "notetaker" => "notetaker-media",
            "contact" | "address-book" => "contact-sync",
            "ticket" | "support-mail" | "ticket-thread" => "ticket-triage",
            "customer" | "configuration" => "onboarding-transitions",
            _ => "",
        }
    }

    /// Where it leads.
    #[must_use]
    pub fn onward(&self) -> Vec<Onward> {
        let link = |kind: &str, identity: &str| Onward::Link(LinkKey::new(kind, identity).as_str().to_owned());
        let became = self.became();
        match (self.kind(), became) {
            // Support mail has the same identity.
            ("mail-copy", Some(mail)) => vec![link("mail", mail), link("support-mail", mail)],
            ("event-copy", Some(meeting)) => vec![Onward::Link(meeting_key(meeting).as_str().to_owned())],
            ("support-mail", Some(ticket)) => vec![link("ticket", ticket)],
            ("customer" | "configuration", Some(email)) => vec![Onward::Customer(email.to_owned())],
            ("ticket-thread", _) => {
                let tickets = self.fact("tickets").and_then(Value::as_array);
                tickets.into_iter().flatten().filter_map(Value::as_str).map(|ticket| link("ticket", ticket)).collect()
            }
            ("address-book", _) => {
                let outcome = self.fact("outcome").and_then(|outcome| outcome.get("contact_id"));
                outcome.and_then(Value::as_str).map(|contact| link("contact", contact)).into_iter().collect()
            }
            ("notetaker", _) => {
                let event = self.fact("event").and_then(|event| event.get("event_id")).and_then(Value::as_str);
                let grant = self.fact_text("grant");
                grant
                    .zip(event)
                    .map(|(grant, event)| Onward::Link(copy_key(grant, event).as_str().to_owned()))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// True if it only says how an account is connected, and that is well.
    #[must_use]
    pub fn is_an_account_that_is_well(&self) -> bool {
        self.kind() == "account" && self.became() == Some("connected")
    }

    /// What it links, in words.
    fn words(&self) -> String {
        let became = self.became().unwrap_or("nothing");
        let from = |who: &str| {
            let fact = |name: &str| self.fact_text(name).unwrap_or("none");
            format!(
                "{who} first from the message {} of the account {} (notification {})",
                fact("message_id"),
                fact("grant_id"),
                fact("notification_id")
            )
        };
        match self.kind() {
            "mail" => format!("the mail is the CRM's activity {became}, {}", from("logged")),
            "mail-copy" => format!("this copy is one of the mail {became}"),
            "event-copy" => format!("this copy is one of the meeting {became}"),
            "meeting" => {
                let external = self.fact("copies").and_then(|copies| copies.get("external_id")).map(in_words);
                let copies = self.fact("copies").and_then(|copies| copies.get("known")).and_then(Value::as_array);
                let copies = copies.map_or(0, Vec::len);
                match (self.fact_text("became"), external) {
                    (Some(id), Some(key)) => {
                        format!("the meeting is the CRM's meeting {id} under the key {key}; copies known: {copies}")
                    }
                    _ => format!("the CRM holds no record of the meeting; copies known: {copies}"),
                }
            }
            "series" => "the series is laid out occurrence by occurrence, each a meeting of its own".to_owned(),
            "notetaker" => match self.became() {
                Some(id) => format!("the notes are the CRM's record {id}"),
                None => "the CRM has no record of its notes".to_owned(),
            },
            "contact" => {
                let books = self.fact("copies").and_then(Value::as_array).map_or(0, Vec::len);
                let written = self.fact("written").map_or_else(|| "nothing".to_owned(), in_words);
                format!("the contact {became} of the CRM, of which {books} address books tell; written last: {written}")
            }
            "address-book" => {
                match self.fact("outcome").and_then(|outcome| outcome.get("contact_id")).and_then(Value::as_str) {
                    Some(contact) => format!("the address book's contact is the CRM's contact {contact}"),
                    None => "the address book's contact is nobody in the CRM, or not one alone".to_owned(),
                }
            }
            "ticket" => {
                let place = self.fact_text("url").map(|url| format!(" ({url})")).unwrap_or_default();
                let fact = |name: &str| self.fact(name).map(in_words).unwrap_or_default();
                format!(
                    "the ticket {became}{place}: {}, {}; part of it: {}",
                    fact("category"),
                    fact("priority"),
                    fact("participants")
                )
            }
            "support-mail" => match self.became() {
                Some(ticket) => format!("the mail is part of the ticket {ticket}, {}", from("handled")),
                None => format!("the mail is planned and not carried out yet, {}", from("handled")),
            },
            "ticket-thread" => {
                format!("the thread has the tickets {}", self.fact("tickets").map(in_words).unwrap_or_default())
            }
            "account" => format!("the account is {became}"),
            "customer" | "configuration" => format!("it is of the customer {became}"),
            _ => became.to_owned(),
        }
    }

    fn details(&self) -> Value {
        Value::Object(self.item.clone())
    }

    /// The lines of its story.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        let what = match self.state() {
            "tombstone" => "removed",
            "note" => "noted",
            _ => "stands",
        };
        let number =
            |name: &str| self.item.get("version").and_then(|version| version.get(name)).and_then(Value::as_i64);
        let version = match (number("sequence").unwrap_or_default(), number("changed_at").unwrap_or_default()) {
            (0, 0) => String::new(),
            (sequence, 0) => format!("; version {sequence}"),
            (sequence, changed_at) => {
                let at =
                    Timestamp::from_second(changed_at).map_or_else(|_| changed_at.to_string(), |at| at.to_string());
                format!("; version {sequence} of {at}")
            }
        };
        let moment = |at, what, why, details| Moment {
            at,
            function: self.function().to_owned(),
            what,
            why,
            key: self.key.clone(),
            details,
        };
        let at = time_in(self.item.get("updated_at"));
        let mut moments =
            vec![moment(at, what, format!("{}{version} (link {})", self.words(), self.key), self.details())];
        // What Nylas told of a notetaker, with Nylas's times.
        let told = self.fact("timeline").and_then(Value::as_array).filter(|_| self.kind() == "notetaker");
        for step in told.into_iter().flatten() {
            let state = step.get("state").map(in_words).unwrap_or_default();
            let why = step.get("why").map(|why| format!(": {}", in_words(why))).unwrap_or_default();
            moments.push(moment(time_in(step.get("at")), "told", format!("{state}{why}"), Value::Null));
        }
        if let Some(until) = self.fact("retained_until").filter(|_| self.kind() == "notetaker") {
            let why = format!("Nylas keeps its files until {}", in_words(until));
            moments.push(moment(None, "is due", why, json!({ "retained_until": until })));
        }
        moments
    }

    /// What people should know of it beyond its line; none if nothing.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        match (self.kind(), self.became()) {
            ("account", Some("connected")) => None,
            ("account", Some("expired")) => Some(format!(
                "The account {} has expired: have its user connect it again in your application; what was missed is \
                 fetched then.",
                self.identity()
            )),
            ("account", _) => {
                Some(format!("The account {} is disconnected: nothing more comes from it.", self.identity()))
            }
            ("mail" | "meeting" | "notetaker" | "contact" | "ticket" | "support-mail", _) => {
                let words = self.words();
                let mut letters = words.chars();
                let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
                Some(format!("{first}{}.", letters.as_str()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(key: &str, item: Value) -> Kept {
        let Value::Object(item) = item else { panic!("an object") };
        Kept::read(key, item)
    }

    fn onward(key: &str, item: Value) -> Vec<Onward> {
        kept(key, item).onward()
    }

    fn link(key: &str) -> Onward {
        Onward::Link(key.to_owned())
    }

    #[test]
    fn copies_lead_to_what_they_are_copies_of_and_these_to_the_other_end() {
        let live = |became: &str| json!({ "state": "live", "became": became });
        assert_eq!(onward("mail-copy#1", live("d")), [link("mail#d"), link("support-mail#d")]);
        assert_eq!(onward("event-copy#1", live("d")), [link("meeting#d")]);
        assert_eq!(onward("support-mail#d", live("T-1")), [link("ticket#T-1")]);
        assert_eq!(onward("configuration#c", live("d@x.example")), [Onward::Customer("d@x.example".to_owned())]);
        let thread = json!({ "state": "live", "became": "T-2", "facts": { "tickets": ["T-1", "T-2"] } });
        assert_eq!(onward("ticket-thread#1", thread), [link("ticket#T-1"), link("ticket#T-2")]);
        let contact = json!({ "state": "note", "facts": { "outcome": { "contact_id": "c-1" } } });
        assert_eq!(onward("address-book#1", contact), [link("contact#c-1")]);
        assert_eq!(onward("event-copy#1", json!({ "state": "tombstone" })), []);
    }

    #[test]
    fn notetaker_leads_to_its_meeting_and_tells_what_happened_at_nylas_times() {
        let notetaker = kept(
            "notetaker#n-1",
            json!({
                "state": "live", "became": "crm-9", "updated_at": "2026-03-01T10:00:00Z",
                "facts": {
                    "grant": "g", "event": { "event_id": "e" }, "retained_until": "2026-03-15T10:00:00Z",
                    "timeline": [{ "at": "2026-03-01T09:00:00Z", "rank": 1, "state": "attending" }],
                },
            }),
        );
        assert_eq!(notetaker.onward(), [link(copy_key("g", "e").as_str())]);
        let told: Vec<_> = notetaker.moments().iter().map(|moment| (moment.time(), moment.what)).collect();
        let expected = [("2026-03-01T10:00:00Z", "stands"), ("2026-03-01T09:00:00Z", "told"), ("now", "is due")];
        assert_eq!(told, expected.map(|(time, what)| (time.to_owned(), what)));
        assert!(notetaker.sentence().is_some_and(|sentence| sentence == "The notes are the CRM's record crm-9."));
    }

    #[test]
    fn meeting_tells_the_record_its_key_and_its_version() {
        let meeting = kept(
            "meeting#d",
            json!({
                "state": "live", "became": "m-1", "version": { "sequence": 3, "changed_at": 1_772_359_200 },
                "facts": { "became": "m-1", "copies": { "external_id": "e-1", "known": [{}, {}] } },
            }),
        );
        let line = &meeting.moments()[0];
        assert!(
            line.why.contains("meeting m-1 under the key e-1; copies known: 2; version 3 of 2026-03-01T10:00:00Z"),
            "{line:?}"
        );
    }

    #[test]
    fn account_that_has_expired_says_what_its_user_has_to_do_and_one_that_is_well_is_no_news() {
        let of = |became: &str| kept("account#g-1", json!({ "state": "live", "became": became }));
        assert!(of("connected").is_an_account_that_is_well() && of("connected").sentence().is_none());
        assert!(
            of("expired")
                .sentence()
                .is_some_and(|sentence| sentence.contains("g-1") && sentence.contains("connect it again"))
        );
    }

    #[test]
    fn long_ids_with_special_characters_have_keys_of_their_own() {
        let exchange = "AAMkAGI2TG93AAA=/+ ~#'\"".repeat(6);
        let keys = keys_within("g", &exchange);
        assert!(keys.iter().all(|key| key.len() < 100), "{keys:?}");
        assert_eq!(keys[0], copy_key("g", &exchange).as_str());
        assert_ne!(keys_within("g2", &exchange), keys);
    }
}

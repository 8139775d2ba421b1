//! What the record of a customer tells: where the onboarding stands, which moves led there, what was sent, what is armed.
//! It is read as it is stored, whatever release wrote it.

use serde_json::{Map, Value, json};

use super::moment::{Moment, in_words, second_of, time_in};

/// The function that keeps customers.
const FUNCTION: &str = "onboarding-transitions";

/// A customer, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The address.
    pub email: String,
    item: Map<String, Value>,
}

fn text(of: &Value, name: &str) -> String {
    of.get(name).filter(|value| !value.is_null()).map(in_words).unwrap_or_default()
}

impl Known {
    /// Reads a customer as stored under an address.
    #[must_use]
    pub fn read(email: &str, item: Map<String, Value>) -> Self {
        Self { email: email.to_owned(), item }
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.item.get(name).and_then(Value::as_array).into_iter().flatten()
    }

    fn map(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.item.get(name).and_then(Value::as_object).into_iter().flatten()
    }

    fn field(&self, name: &str) -> String {
        self.item.get(name).map(in_words).unwrap_or_default()
    }

    /// The ids under which Nylas tells of this customer: the mails of the run, and the booking page.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let mails = self.map("mails").filter_map(|(_, mail)| mail.get("message_id")?.as_str());
        let page = self.item.get("page").and_then(|page| page.get("configuration_id")?.as_str());
        mails.chain(page).map(str::to_owned).collect()
    }

    /// The lines of its story.
    #[must_use]
    pub fn moments(&self) -> Vec<Moment> {
        let moment = |at: Option<&Value>, what, why: String, details: &Value| Moment {
            at: time_in(at),
            function: FUNCTION.to_owned(),
            what,
            why,
            key: self.email.clone(),
            details: details.clone(),
        };
        let mut moments = Vec::new();
        for made in self.list("history") {
            let why = format!(
                "{} → {} on {} (run {}, version {})",
                text(made, "from"),
                text(made, "to"),
                text(made, "on"),
                text(made, "run"),
                text(made, "version")
            );
            moments.push(moment(made.get("at"), "moved", why, made));
        }
        for seen in self.list("evidence") {
            let why = format!(
                "{} of the {} mail: {} ({})",
                text(seen, "kind"),
                text(seen, "step"),
                text(seen, "grade"),
                text(seen, "reason")
            );
            moments.push(moment(seen.get("at"), "sign of life", why, seen));
        }
        for (step, mail) in self.map("mails") {
            match text(mail, "progress").as_str() {
                "sent" => {
                    let why = format!("the {step} mail was sent as the message {}", text(mail, "message_id"));
                    moments.push(moment(mail.get("sent_at"), "written", why, mail));
                }
                "dropped" => {
                    let why = format!("the {step} mail is not sent: {}", text(mail, "why"));
                    moments.push(moment(mail.get("sent_at"), "noted", why, mail));
                }
                progress => {
                    let until = match text(mail, "until") {
                        until if until.is_empty() => String::new(),
                        until => format!(" until {until}"),
                    };
                    moments.push(moment(None, "waits", format!("the {step} mail is {progress}{until}"), mail));
                }
            }
        }
        for (id, booking) in self.map("bookings") {
            let stands = if booking.get("stands") == Some(&Value::Bool(false)) { ", cancelled" } else { "" };
            let why =
                format!("a call from {} to {}{stands} (booking {id})", text(booking, "start"), text(booking, "end"));
            moments.push(moment(booking.get("told_at"), "booked", why, booking));
        }
        if let Some(bounced) = self.item.get("bounced").filter(|bounced| bounced.is_object()) {
            let why = format!("a mail came back ({}); none is sent any more", text(bounced, "kind"));
            moments.push(moment(bounced.get("at"), "bounced", why, bounced));
        }
        for (timer, version) in self.map("armed") {
            let due = self.item.get("due").and_then(|due| due.get(timer));
            let when = due.map_or_else(|| "at a time that is not known".to_owned(), in_words);
            let why = format!("the timer {timer}, armed by version {}, is due {when}", in_words(version));
            let details = json!({ "timer": timer, "armed_for_version": version, "due": due });
            moments.push(moment(None, "is due", why, &details));
        }
        for task in self.list("todo") {
            let refused = match text(task, "refused") {
                refused if refused.is_empty() => String::new(),
                refused => format!("; so far it was refused: {refused}"),
            };
            let what = task.get("what").map(in_words).unwrap_or_default();
            moments.push(moment(None, "waits", format!("still to be done: {what}{refused}"), task));
        }
        moments
    }

    /// Where the customer stands, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let engagement = match self.field("engagement") {
            engagement if engagement.is_empty() => String::new(),
            engagement => format!(" ({engagement})"),
        };
        let armed = self.map("armed").map(|(timer, _)| {
            let due = time_in(self.item.get("due").and_then(|due| due.get(timer)));
            due.map_or_else(|| timer.clone(), |due| format!("{timer} at {}", second_of(due)))
        });
        let armed = armed.collect::<Vec<_>>().join(", ");
        let armed = if armed.is_empty() { "no timer is armed".to_owned() } else { format!("armed: {armed}") };
        format!(
            "The customer {} stands at {}{engagement} in run {}, version {}; {armed}.",
            self.email,
            self.field("state"),
            self.field("run"),
            self.field("version")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn customer() -> Known {
        let Value::Object(item) = json!({
            "name": "Dana", "state": "engaged", "engagement": "soft", "version": 4, "run": 1,
            "history": [{ "at": "2026-03-01T09:00:00Z", "version": 1, "run": 1, "from": "–", "to": "new", "on": "signed_up" }],
            "evidence": [{ "id": "1", "kind": "open", "run": 1, "step": "welcome", "at": "2026-03-01T09:10:00Z",
                "seen_at": "2026-03-01T09:10:01Z", "grade": "soft", "reason": "a picture was loaded" }],
            "mails": {
                "welcome": { "progress": "sent", "sent_at": "2026-03-01T09:00:05Z", "message_id": "m-1", "links": 3 },
                "nudge": { "progress": "waiting", "until": "2026-03-02T08:00:00Z", "links": 0 },
            },
            "armed": { "nudge": 4 }, "due": { "nudge": "2026-03-04T09:10:00Z" },
            "page": { "slug": "x", "configuration_id": "conf-1" },
            "bookings": { "b-1": { "start": "2026-03-05T09:00:00Z", "end": "2026-03-05T09:30:00Z", "told_at": "2026-03-01T11:00:00Z", "stands": false } },
            "todo": [{ "what": { "do": "register" }, "by": "d", "refused": "no room" }],
        }) else {
            panic!("an object")
        };
        Known::read("dana@acme.example", item)
    }

    #[test]
    fn moves_signs_of_life_mails_calls_timers_and_what_is_left_to_do_are_all_told() {
        let told: Vec<(String, &str, String)> =
            customer().moments().into_iter().map(|moment| (moment.time(), moment.what, moment.why)).collect();
        let has = |time: &str, what: &str, words: &str| {
            assert!(
                told.iter().any(|line| line.0 == time && line.1 == what && line.2.contains(words)),
                "{words}: {told:?}"
            );
        };
        has("2026-03-01T09:00:00Z", "moved", "– → new on signed_up (run 1, version 1)");
        has("2026-03-01T09:10:00Z", "sign of life", "open of the welcome mail: soft (a picture was loaded)");
        has("2026-03-01T09:00:05Z", "written", "the welcome mail was sent as the message m-1");
        has("now", "waits", "the nudge mail is waiting until 2026-03-02T08:00:00Z");
        has("2026-03-01T11:00:00Z", "booked", ", cancelled (booking b-1)");
        has("now", "is due", "the timer nudge, armed by version 4, is due 2026-03-04T09:10:00Z");
        has("now", "waits", "still to be done: (do: register); so far it was refused: no room");
        assert_eq!(customer().objects(), ["m-1", "conf-1"]);
    }

    #[test]
    fn sentence_says_where_the_customer_stands_and_what_comes_next() {
        let expected = "The customer dana@acme.example stands at engaged (soft) in run 1, version 4; armed: nudge at \
                        2026-03-04T09:10:00Z.";
        assert_eq!(customer().sentence(), expected);
        let bare = Known::read("x@y.example", Map::new());
        assert!(bare.moments().is_empty() && bare.sentence().contains("no timer is armed"));
    }
}

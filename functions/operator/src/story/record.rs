//! What a decision record tells: when its message came, how often it was taken up and failed, what was decided and why, what
//! it still waits for. Records of other releases are read as far as they can be.

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Map, Value, json};
use shared::domain::decision::{Decision, WAITING_DAYS};

use super::moment::{Moment, in_words, second_of, time_in};
use super::quoted;

/// What stands in place of an account or a trace that a message does not name.
const NONE: &str = "none";

/// A decision record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its key: `<function>#<notification id>`, and `~` and a digest after it where one id came with several contents.
    pub key: String,
    /// The function.
    pub function: String,
    /// The notification.
    pub notification: String,
    /// What happened, for example `message.created`.
    pub trigger: String,
    /// What it happened to.
    pub object: String,
    /// The account it happened in, where that is told.
    pub grant: Option<String>,
    /// What was decided, if anything was.
    pub decision: Option<Decision>,
    item: Map<String, Value>,
}

/// How a record stands. What asks for a person comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its message lies in the dead-letter queue.
    DeadLetter,
    /// It was given up, and its message lies in no dead-letter queue any more.
    GivenUp,
    /// Its message was set aside by hand.
    Parked,
    /// A try of it ended without a verdict, and nobody is at work on it.
    CutOff,
    /// The last try failed, and another one follows.
    Retrying,
    /// Its message was put back into the queue by hand.
    PutBack,
    /// It was handed back untried, and comes again.
    HandedBack,
    /// Somebody is at work on it.
    InProgress,
    /// It is decided, and would be decided otherwise if somebody became a contact.
    Waiting,
    /// It is decided so that it waits for something.
    Held,
    /// It is decided.
    Decided,
}

impl Standing {
    /// True if nothing goes on without a person.
    #[must_use]
    pub const fn needs_a_person(self) -> bool {
        matches!(self, Self::DeadLetter)
    }
}

fn text_in(item: &Map<String, Value>, name: &str) -> Option<String> {
    item.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

impl Record {
    /// Reads a record as it is stored.
    #[must_use]
    pub fn read(item: Map<String, Value>) -> Self {
        let text = |name| text_in(&item, name);
        let key = text("pk").unwrap_or_default();
        Self {
            function: text("function").or_else(|| Some(key.split_once('#')?.0.to_owned())).unwrap_or_default(),
            notification: text("notification_id").unwrap_or_default(),
            trigger: text("trigger").unwrap_or_default(),
            object: text("object_id").unwrap_or_default(),
            grant: text("grant_id").filter(|grant| grant != NONE),
            decision: item.get("decision").and_then(|decision| serde_json::from_value(decision.clone()).ok()),
            key,
            item,
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        text_in(&self.item, name)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        time_in(self.item.get(name))
    }

    fn count(&self, name: &str) -> u64 {
        self.item.get(name).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The digest of what the notification said.
    #[must_use]
    pub fn content(&self) -> Option<String> {
        self.text("content")
    }

    /// A fact of its decision.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.decision.as_ref()?.facts.get(name)?.as_str()
    }

    /// How it stands at a time.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.text("state").as_deref() {
            Some("in_progress") => {
                let until = self.item.get("lease_until").and_then(Value::as_i64).unwrap_or_default();
                if until > now.as_millisecond() { Standing::InProgress } else { Standing::CutOff }
            }
            Some("failed") if self.text("dead_lettered_by").is_some() => Standing::DeadLetter,
            Some("failed") => match self.text("outcome").as_deref() {
                Some("failed") => Standing::GivenUp,
                Some("parked") => Standing::Parked,
                Some("redriven") => Standing::PutBack,
                Some(_) => Standing::Retrying,
                None => Standing::HandedBack,
            },
            _ if self.waits_until(now).is_some() => Standing::Waiting,
            _ if self.decision.as_ref().is_some_and(|decision| decision.outcome.as_str() == "held") => Standing::Held,
            _ => Standing::Decided,
        }
    }

    /// Until when somebody on it is looked up again; none if it does not wait for that.
    fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.text("waiting_grant")?;
        let until = self.time("updated_at")?.checked_add((WAITING_DAYS * 24).hours()).ok()?;
        (until > now).then_some(until)
    }

    /// What it is about, in words.
    fn subject(&self) -> String {
        let of_account = self.grant.as_ref().map(|grant| format!(" of the account {grant}")).unwrap_or_default();
        let about = if self.object == self.notification || self.object.is_empty() {
            String::new()
        } else {
            format!(" about {}", self.object)
        };
        format!("{}{about}{of_account}", self.trigger)
    }

    /// The last failure, in words.
    fn failure(&self) -> String {
        let (class, reason) = (self.text("class").unwrap_or_default(), self.text("reason").unwrap_or_default());
        if reason.is_empty() { class } else { format!("{class}: {reason}") }
    }

    fn moment(&self, at: Option<Timestamp>, what: &'static str, why: String, details: Value) -> Moment {
        Moment { at, function: self.function.clone(), what, why, key: self.key.clone(), details }
    }

    /// The lines of its story at a time.
    #[must_use]
    pub fn moments(&self, now: Timestamp) -> Vec<Moment> {
        let mut moments = Vec::new();
        if let Some(at) = self.time("queued_at") {
            let other = if self.key.contains('~') { ", an id that had come with other content before" } else { "" };
            let why = format!("{}, as the notification {}{other}", self.subject(), self.notification);
            let details = json!({
                "trigger": self.trigger, "notification_id": self.notification, "object_id": self.object,
                "grant_id": self.grant, "trace": self.text("trace").filter(|trace| trace != NONE),
            });
            moments.push(self.moment(Some(at), "arrived", why, details));
        }
        if let Some(at) = self.time("first_claimed_at") {
            let claims = self.count("fence");
            let why = if claims > 1 { format!("for the first of {claims} times") } else { "once".to_owned() };
            moments.push(self.moment(Some(at), "taken up", why, json!({ "claims": claims })));
        }
        moments.extend(self.failed());
        if let Some(at) = self.time("redriven_at") {
            let why = "into its queue, out of the dead-letter queue".to_owned();
            moments.push(self.moment(Some(at), "put back", why, Value::Null));
        }
        if let Some(at) = self.time("parked_at") {
            let because = self.text("parked_because").unwrap_or_else(|| "nobody said why".to_owned());
            moments.push(self.moment(Some(at), "set aside", because, Value::Null));
        }
        moments.extend(self.decided());
        moments.extend(self.now(now));
        moments
    }

    fn failed(&self) -> Vec<Moment> {
        let failures = self.count("failures");
        let details = json!({
            "failures": failures, "class": self.text("class"), "reason": self.text("reason"),
            "first_failed_at": self.text("first_failed_at"), "last_failed_at": self.text("last_failed_at"),
        });
        let (first, last) = (self.time("first_failed_at"), self.time("last_failed_at"));
        match (failures, first, last) {
            (0, ..) => Vec::new(),
            (1, first, last) => {
                vec![self.moment(last.or(first), "failed", format!("once: {}", self.failure()), details)]
            }
            (_, first, last) => vec![
                self.moment(first, "failed", format!("for the first of {failures} times"), Value::Null),
                self.moment(
                    last,
                    "failed",
                    format!("for the last of {failures} times so far: {}", self.failure()),
                    details,
                ),
            ],
        }
    }

    fn decided(&self) -> Vec<Moment> {
        let Some(decision) = self.decision.as_ref().filter(|_| self.text("state").as_deref() == Some("done")) else {
            return Vec::new();
        };
        let at = self.time("updated_at");
        let facts = decision.facts.iter().map(|(name, fact)| format!("{}: {}", name.replace('_', " "), in_words(fact)));
        let why = std::iter::once(decision.to_string()).chain(facts).collect::<Vec<_>>().join("; ");
        let details = self.item.get("decision").cloned().unwrap_or_default();
        let mut moments = vec![self.moment(at, "decided", why, details)];
        if let Some(became) = &decision.became {
            let what = match decision.outcome.as_str() {
                "merged" => format!("nothing anew: it is {} {became} already", self.record_there()),
                _ => format!("{} {became}", self.record_there()),
            };
            moments.push(self.moment(at, "written", what, json!({ "became": became })));
        }
        moments
    }

    /// What the function makes at the other end.
    fn record_there(&self) -> &'static str {
        match self.function.as_str() {
            "email-activity" => "the CRM's activity",
            "calendar-sync" => "the CRM's meeting",
            "notetaker-media" => "the CRM's record of the meeting notes",
            "contact-sync" => "the CRM's contact",
            "ticket-triage" => "the ticket",
            _ => "the record",
        }
    }

    fn now(&self, now: Timestamp) -> Vec<Moment> {
        let since = |what: &str| match self.time("last_failed_at").or_else(|| self.time("updated_at")) {
            Some(at) => format!("{what} since {}", second_of(at)),
            None => what.to_owned(),
        };
        let why = match self.standing(now) {
            Standing::DeadLetter => since("in the dead-letter queue"),
            Standing::GivenUp => since("given up; the message lies in no dead-letter queue any more"),
            Standing::Parked => {
                "set aside by hand; it ends 35 days after that unless it is put back or dropped before".to_owned()
            }
            Standing::PutBack => "put back into its queue by hand; it comes again".to_owned(),
            Standing::CutOff => format!(
                "nobody is at work on it: {} claims have ended without a verdict; it comes again when its message is shown again",
                self.count("unresolved_claims").max(1)
            ),
            Standing::Retrying => {
                since("for another try, the last one failed; when the next one comes only the queue knows")
            }
            Standing::HandedBack => since("handed back untried: what it needs was known to be down, or time was up"),
            Standing::InProgress => "somebody is at work on it".to_owned(),
            Standing::Waiting => {
                let addresses =
                    self.decision.as_ref().map(|decision| decision.waits_for.join(", ")).unwrap_or_default();
                let until = self.waits_until(now).map(second_of).unwrap_or_default();
                format!("for a contact with one of these addresses: {addresses}; looked up again until {until}")
            }
            Standing::Held => {
                let reason = self.decision.as_ref().map(|decision| decision.reason.clone()).unwrap_or_default();
                format!("held: {reason}")
            }
            Standing::Decided => return Vec::new(),
        };
        let details = json!({ "dead_lettered_by": self.text("dead_lettered_by") });
        vec![self.moment(None, "waits", why, details)]
    }

    /// How it stands at a time and what to do, in a sentence or two.
    #[must_use]
    pub fn sentence(&self, now: Timestamp) -> String {
        let (function, id) = (&self.function, &self.notification);
        let whose = format!("{function}, {}", self.subject());
        match self.standing(now) {
            Standing::DeadLetter => format!(
                "{whose}: it was given up and lies in the dead-letter queue ({}). {} Then: make redrive ID={}",
                self.failure(),
                remedy(&self.text("class").unwrap_or_default()),
                quoted(id)
            ),
            Standing::Parked => format!(
                "{whose}: it was set aside by hand ({}). To have it decided after all: make redrive ID={}",
                self.text("parked_because").unwrap_or_else(|| self.failure()),
                quoted(id)
            ),
            Standing::PutBack => {
                format!("{whose}: it was put back into its queue by hand and comes again; ask again in a minute.")
            }
            Standing::GivenUp => {
                format!(
                    "{whose}: it was given up ({}), and its message lies in no dead-letter queue any more: it was put back, \
                     set aside or dropped.",
                    self.failure()
                )
            }
            Standing::CutOff => format!(
                "{whose}: a try was cut off. It comes again by itself, and after five such tries goes to the dead-letter \
                 queue; the log of {function} tells more: filter notification.id = {}",
                json!(id)
            ),
            Standing::Retrying => format!(
                "{whose}: it is tried again by itself; so far {} tries failed, the last one with {}. {}",
                self.count("failures"),
                self.failure(),
                remedy(&self.text("class").unwrap_or_default())
            ),
            Standing::HandedBack => format!("{whose}: it was handed back untried and comes again by itself."),
            Standing::InProgress => format!("{whose}: somebody is at work on it; ask again in a minute."),
            Standing::Waiting => format!(
                "{whose}: {}; it is looked at again by itself once one of its people is a contact in the CRM.",
                self.outcome()
            ),
            Standing::Held | Standing::Decided => format!("{whose}: {}.", self.outcome()),
        }
    }

    fn outcome(&self) -> String {
        let Some(decision) = &self.decision else {
            return self.text("outcome").unwrap_or_else(|| "its decision cannot be read by this release".to_owned());
        };
        match &decision.became {
            Some(became) => format!("{decision}; it is {} {became}", self.record_there()),
            None => decision.to_string(),
        }
    }
}

/// What has to be done before another try makes sense, by the class of a failure.
fn remedy(class: &str) -> &'static str {
    match class {
        "nylas.grant_expired" => "Have the account's user connect it again in your application.",
        "nylas.scope_missing" => "Have the account's user connect it again with all scopes.",
        "crashed" => "See in the function's log what ended it each time.",
        class if class.ends_with(".unauthorized") => "See to the key: `make doctor` says which one.",
        class if class.ends_with(".not_set_up") || class.ends_with(".not_allowed") => {
            "See to the set-up of the system: `make set-up` says what it lacks."
        }
        class if class.starts_with("body.") => "Compare the body with what Nylas sends: `make dead-letters` shows it.",
        class if class.starts_with("link.") => "The reason names the link that cannot be read.",
        class if class.ends_with(".rejected") => "Mend what the system's words name.",
        "gave_up" => "It is tried with success once what the reason names is up again: `make doctor` tells.",
        class
            if class.ends_with(".unavailable")
                || class.ends_with(".rate_limited")
                || class.ends_with("breaker_open") =>
        {
            "`make doctor` tells whether what it needs is up."
        }
        _ => "Mend what the reason says.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_772_359_200;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).expect("a time")
    }

    fn record(fields: Value) -> Record {
        let mut item = json!({
            "pk": "email-activity#n-1", "function": "email-activity", "notification_id": "n-1",
            "trigger": "message.created", "object_id": "m-1", "grant_id": "g-1", "fence": 1,
            "queued_at": "2026-03-01T09:58:00.000Z", "first_claimed_at": "2026-03-01T09:58:01.000Z",
            "updated_at": "2026-03-01T09:58:02.000Z",
        });
        let Value::Object(fields) = fields else { panic!("an object") };
        item.as_object_mut().expect("an object").extend(fields);
        let Value::Object(item) = item else { panic!("an object") };
        Record::read(item)
    }

    fn told(record: &Record) -> Vec<(String, &'static str, String)> {
        record.moments(now()).into_iter().map(|moment| (moment.time(), moment.what, moment.why)).collect()
    }

    #[test]
    fn logged_mail_is_told_from_its_arrival_to_what_it_became_with_what_the_rule_went_by() {
        let decision = Decision::logged("known contact", "act-1").with("contact_ids", vec!["c-1", "c-2"]);
        let logged = record(json!({ "state": "done", "outcome": "logged", "decision": decision }));
        let (told, standing) = (told(&logged), logged.standing(now()));
        assert_eq!(standing, Standing::Decided);
        let whats: Vec<_> = told.iter().map(|(_, what, _)| *what).collect();
        assert_eq!(whats, ["arrived", "taken up", "decided", "written"]);
        assert_eq!(told[0].0, "2026-03-01T09:58:00Z");
        assert!(told[0].2.contains("message.created about m-1 of the account g-1"), "{told:?}");
        assert_eq!(told[2].2, "logged: known contact; contact ids: c-1, c-2");
        assert_eq!(told[3].2, "the CRM's activity act-1");
    }

    #[test]
    fn failures_are_told_with_how_often_the_first_and_the_last_and_why() {
        let retrying = record(json!({
            "state": "failed", "outcome": "retrying", "failures": 3, "fence": 3, "class": "crm.unavailable",
            "reason": "it answered 503", "first_failed_at": "2026-03-01T09:58:02Z", "last_failed_at": "2026-03-01T09:59:02.000Z",
        }));
        assert_eq!(retrying.standing(now()), Standing::Retrying);
        let told = told(&retrying);
        let failed: Vec<_> = told.iter().filter(|(_, what, _)| *what == "failed").collect();
        assert_eq!((failed[0].0.as_str(), failed[1].0.as_str()), ("2026-03-01T09:58:02Z", "2026-03-01T09:59:02Z"));
        assert_eq!(failed[1].2, "for the last of 3 times so far: crm.unavailable: it answered 503");
        assert!(told.iter().any(|(time, what, _)| time == "now" && *what == "waits"));
        assert!(retrying.sentence(now()).contains("tried again by itself"), "{}", retrying.sentence(now()));
    }

    #[test]
    fn dead_letter_says_since_when_and_the_command_that_puts_it_back() {
        let dead = record(json!({
            "state": "failed", "outcome": "failed", "dead_lettered_by": "email-activity", "failures": 1,
            "class": "nylas.grant_expired", "reason": "the grant has expired", "last_failed_at": "2026-03-01T09:59:02.000Z",
        }));
        assert_eq!(dead.standing(now()), Standing::DeadLetter);
        assert!(dead.standing(now()).needs_a_person());
        let sentence = dead.sentence(now());
        assert!(sentence.contains("connect it again") && sentence.ends_with("make redrive ID=n-1"), "{sentence}");
        assert!(told(&dead).iter().any(|(_, _, why)| why == "in the dead-letter queue since 2026-03-01T09:59:02Z"));
        let taken_out =
            record(json!({ "state": "failed", "outcome": "failed", "class": "crm.rejected", "failures": 1 }));
        assert_eq!(taken_out.standing(now()), Standing::GivenUp);
    }

    #[test]
    fn letter_that_was_set_aside_or_put_back_by_hand_says_so_with_the_reason() {
        let parked = record(json!({
            "state": "failed", "outcome": "parked", "class": "crm.rejected", "failures": 1,
            "parked_at": "2026-03-01T09:59:30.000Z", "parked_because": "waits for the new field",
        }));
        assert_eq!(parked.standing(now()), Standing::Parked);
        assert!(!parked.standing(now()).needs_a_person(), "somebody has seen to it");
        let line = ("2026-03-01T09:59:30Z".to_owned(), "set aside", "waits for the new field".to_owned());
        assert!(told(&parked).contains(&line), "{:?}", told(&parked));
        let back = record(json!({
            "state": "failed", "outcome": "redriven", "redriven_at": "2026-03-01T09:59:30.000Z", "failures": 1,
        }));
        assert_eq!(back.standing(now()), Standing::PutBack);
        assert!(told(&back).iter().any(|(_, what, _)| *what == "put back"));
    }

    #[test]
    fn lease_that_has_ended_is_a_try_that_was_cut_off_and_a_live_one_is_work() {
        let at_work = record(json!({ "state": "in_progress", "lease_until": NOW * 1000 + 1 }));
        assert_eq!(at_work.standing(now()), Standing::InProgress);
        let cut_off = record(json!({ "state": "in_progress", "lease_until": NOW * 1000, "unresolved_claims": 2 }));
        assert_eq!(cut_off.standing(now()), Standing::CutOff);
        assert!(told(&cut_off).iter().any(|(_, _, why)| why.contains("2 claims")));
        assert_eq!(record(json!({ "state": "failed" })).standing(now()), Standing::HandedBack);
    }

    #[test]
    fn decision_waits_for_a_contact_only_while_it_is_looked_up_again() {
        let decision = Decision::skipped("no known contact").waiting_for(vec!["dana@acme.example".to_owned()]);
        let fields = json!({ "state": "done", "decision": decision, "waiting_grant": "g-1" });
        let waiting = record(fields.clone());
        assert_eq!(waiting.standing(now()), Standing::Waiting);
        let until = "looked up again until 2026-03-15T09:58:02Z";
        assert!(told(&waiting).iter().any(|(_, _, why)| why.contains("dana@acme.example") && why.ends_with(until)));
        let later = now().checked_add((15 * 24).hours()).expect("a time");
        assert_eq!(waiting.standing(later), Standing::Decided);
        let mut no_longer = fields;
        no_longer["waiting_grant"] = Value::Null;
        assert_eq!(record(no_longer).standing(now()), Standing::Decided);
    }

    #[test]
    fn record_of_another_release_is_told_as_far_as_it_can_be_read() {
        let odd = record(
            json!({ "state": "done", "outcome": "posted", "decision": { "outcome": "posted" }, "queued_at": 7 }),
        );
        assert_eq!(odd.standing(now()), Standing::Decided);
        assert_eq!(told(&odd).len(), 1, "taken up");
        assert!(odd.sentence(now()).ends_with("posted."), "{}", odd.sentence(now()));
        assert_eq!(Record::read(Map::new()).standing(now()), Standing::Decided);
    }
}

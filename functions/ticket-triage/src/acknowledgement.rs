//! Acknowledgements: whether a mail may be answered by a machine at all (RFC 3834 and its customs), how often somebody is
//! answered, and what the answer says.

use jiff::{SignedDuration, Timestamp};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use serde::{Deserialize, Serialize};

use shared::domain::mail_class::{MailClass, Verdict};
use shared::mail::HeadersAtHand;
use shared::nylas::message::Message;

/// A sender is answered once in so long.
const ONE_SENDER: SignedDuration = SignedDuration::from_hours(24);

/// The senders of a domain are answered so often in [`ONE_DOMAIN`].
const MOST_OF_A_DOMAIN: usize = 10;

/// How long an answer counts towards its domain's.
const ONE_DOMAIN: SignedDuration = SignedDuration::from_hours(1);

/// Why a mail may not be answered by a machine; none if it may.
#[must_use]
pub fn forbidden(message: &Message, headers: HeadersAtHand, verdict: &Verdict) -> Option<&'static str> {
    if verdict.class != MailClass::Human {
        return Some("automatic mail");
    }
    // A machine's mail may look like a person's where its headers are not shown.
    if headers != HeadersAtHand::All {
        return Some("the headers are not known");
    }
    let words = |name: &str| -> Vec<String> {
        let pairs = message.header_pairs().into_iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        pairs.flat_map(|(_, value)| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect()
    };
    if words("Precedence").iter().any(|word| matches!(word.as_str(), "bulk" | "list" | "junk" | "auto_reply")) {
        return Some("Precedence");
    }
    if words("Return-Path").iter().any(|path| path == "<>") {
        return Some("an empty Return-Path");
    }
    // [MS-OXCMAIL] 2.2.3.2.14: `AutoReply` and `All` forbid answers like ours; the other values speak of other answers.
    if words("X-Auto-Response-Suppress").iter().any(|word| matches!(word.as_str(), "all" | "autoreply")) {
        return Some("X-Auto-Response-Suppress");
    }
    if message.header("Auto-Submitted").is_some_and(|value| !value.trim().eq_ignore_ascii_case("no")) {
        return Some("Auto-Submitted");
    }
    if message.header_pairs().iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("list-")) {
        return Some("a mailing list");
    }
    None
}

/// Who was answered lately: of one sender, or of all senders of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answered {
    /// The mails that were answered, each with when.
    #[serde(default)]
    pub mails: Vec<(String, Timestamp)>,
}

/// Whose answers are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those to one sender.
    Sender,
    /// Those to a domain.
    Domain,
}

impl Counted {
    fn cap(self) -> (usize, SignedDuration) {
        match self {
            Self::Sender => (1, ONE_SENDER),
            Self::Domain => (MOST_OF_A_DOMAIN, ONE_DOMAIN),
        }
    }
}

impl Answered {
    /// Takes a mail's answer in; false if there were enough. One that was taken in before stays so.
    pub fn take(&mut self, mail: &str, counted: Counted, now: Timestamp) -> bool {
        if self.mails.iter().any(|(known, _)| known == mail) {
            return true;
        }
        let (most, within) = counted.cap();
        self.mails.retain(|(_, at)| now.duration_since(*at) < within);
        let room = self.mails.len() < most;
        if room {
            self.mails.push((mail.to_owned(), now));
        }
        room
    }
}

/// The template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template mail/acknowledgement.html: {0}")]
pub struct TemplateError(String);

/// The template that a user edits, ready to be filled in.
pub struct Template(Environment<'static>);

/// What an acknowledgement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The subject, one line.
    pub subject: String,
    /// The body, HTML.
    pub body: String,
}

/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 200;

impl Template {
    /// The template that the function is built with.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn built_in() -> Result<Self, TemplateError> {
        Self::read(include_str!("../mail/acknowledgement.html"))
    }

    /// A template: a line `Subject: …`, an empty one, and HTML.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &str) -> Result<Self, TemplateError> {
        let (subject, body) = text
            .strip_prefix("Subject:")
            .and_then(|text| text.split_once("\n\n"))
            .filter(|(subject, _)| !subject.trim().contains('\n'))
            .ok_or_else(|| TemplateError("it must begin with a line `Subject: …` and an empty line".to_owned()))?;
        let broken = |error: minijinja::Error| TemplateError(error.to_string());
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| if name == "body" { AutoEscape::Html } else { AutoEscape::None });
        environment.add_template_owned("subject", subject.trim().to_owned()).map_err(broken)?;
        environment.add_template_owned("body", body.to_owned()).map_err(broken)?;
        let template = Self(environment);
        // A name that is not known is found now, and not when a customer writes.
        template.fill_in("subject", "name", "T-1")?;
        Ok(template)
    }

    /// The acknowledgement of one mail.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn fill_in(&self, subject: &str, name: &str, ticket: &str) -> Result<Acknowledgement, TemplateError> {
        let render = |part: &str| {
            let template = self.0.get_template(part)?;
            template.render(context! { subject => one_line(subject), name => one_line(name), ticket })
        };
        let broken = |error: minijinja::Error| TemplateError(error.to_string());
        let subject = one_line(&render("subject").map_err(broken)?).chars().take(LONGEST_SUBJECT).collect();
        Ok(Acknowledgement { subject, body: render("body").map_err(broken)? })
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace(char::is_control, "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn why_not(headers: &[(&str, &str)], class: MailClass, at_hand: HeadersAtHand) -> Option<&'static str> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let message: Message = serde_json::from_value(json!({"id": "m", "headers": headers})).expect("a message");
        forbidden(&message, at_hand, &Verdict { class, evidence: String::new(), certain: true })
    }

    #[test]
    fn people_are_answered_where_all_headers_are_known() {
        let plain: &[(&str, &str)] = &[("From", "dana@acme.example"), ("Return-Path", "<dana@acme.example>")];
        assert_eq!(why_not(plain, MailClass::Human, HeadersAtHand::All), None);
        assert!(why_not(plain, MailClass::Human, HeadersAtHand::Some).is_some());
        assert_eq!(why_not(&[("X-Auto-Response-Suppress", "DR, OOF, RN")], MailClass::Human, HeadersAtHand::All), None);
        assert_eq!(why_not(&[("Auto-Submitted", "No")], MailClass::Human, HeadersAtHand::All), None);
    }

    #[test]
    fn machines_and_those_who_ask_for_no_answer_get_none() {
        for header in [
            ("precedence", "BULK"),
            ("Precedence", "list"),
            ("Precedence", "junk"),
            ("Return-Path", " <> "),
            ("x-auto-response-suppress", "OOF, AutoReply"),
            ("X-Auto-Response-Suppress", "All"),
            ("Auto-Submitted", "auto-replied"),
            ("List-Id", "<a.b.example>"),
        ] {
            assert!(why_not(&[header], MailClass::Human, HeadersAtHand::All).is_some(), "{header:?}");
        }
        for class in MailClass::ALL.into_iter().filter(|class| *class != MailClass::Human) {
            assert!(why_not(&[], class, HeadersAtHand::All).is_some(), "{class}");
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(minutes * 60).expect("a time")
    }

    #[test]
    fn sender_is_answered_once_a_day_and_the_same_mail_stays_answered() {
        let mut answered = Answered::default();
        assert!(answered.take("m-1", Counted::Sender, at(0)));
        assert!(answered.take("m-1", Counted::Sender, at(1)));
        assert!(!answered.take("m-2", Counted::Sender, at(24 * 60 - 1)));
        assert!(answered.take("m-3", Counted::Sender, at(24 * 60)));
    }

    #[test]
    fn domain_is_answered_ten_times_an_hour_however_its_senders_are_called() {
        let mut answered = Answered::default();
        for number in 0..10 {
            assert!(answered.take(&format!("m-{number}"), Counted::Domain, at(number)), "{number}");
        }
        assert!(!answered.take("m-10", Counted::Domain, at(59)));
        assert!(answered.take("m-11", Counted::Domain, at(60)));
    }

    #[test]
    fn names_and_subjects_of_others_are_words_and_nothing_else() {
        let template = Template::built_in().expect("the built-in template");
        let filled = template.fill_in("Down\r\nBcc: x@evil.example", "<b>Dana</b>", "T-1").expect("filled in");
        assert_eq!(filled.subject, "Re: Down Bcc: x@evil.example");
        assert!(filled.body.contains("&lt;b&gt;Dana") && !filled.body.contains("<b>"), "{}", filled.body);
    }

    #[test]
    fn template_with_an_unknown_name_or_without_a_subject_is_refused_when_it_is_read() {
        for bad in ["<p>Hello</p>", "Subject: {{ topic }}\n\n<p>x</p>", "Subject: x\n\n{{ name", "Subject: x"] {
            assert!(Template::read(bad).is_err(), "{bad}");
        }
    }
}

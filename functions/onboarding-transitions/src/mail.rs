//! What the mails say: the templates of `mail/`, which a user edits, rendered for one customer. Everything that is put into
//! HTML is escaped unless the template says otherwise; nothing that is put into a subject can break its line.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use regex::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use url::Url;

use shared::domain::pattern::pattern;

use crate::customer::{Booking, Customer};
use crate::step::MailKind;

/// The templates, embedded when the function is built.
const TEMPLATES: [(MailKind, &str); 6] = [
    (MailKind::Welcome, include_str!("../mail/welcome.html")),
    (MailKind::FollowUp, include_str!("../mail/follow_up.html")),
    (MailKind::Nudge, include_str!("../mail/nudge.html")),
    (MailKind::Confirmation, include_str!("../mail/confirmation.html")),
    (MailKind::Rescheduled, include_str!("../mail/rescheduled.html")),
    (MailKind::Resources, include_str!("../mail/resources.html")),
];

/// Nylas refuses a mail with more tracked links (Nylas docs, `email/message-tracking`).
pub const MOST_LINKS: usize = 100;

/// What follows the name of a mail in that of its subject.
const SUBJECT: &str = "/subject";

/// The lines of a file above its HTML: the subject, and an empty one.
const ABOVE_BODY: usize = 2;

/// What a template can name.
const KNOWN: [&str; 14] = [
    "name",
    "first_name",
    "email",
    "product",
    "setup_url",
    "docs_url",
    "booking_url",
    "call",
    "call.day",
    "call.time",
    "call.zone",
    "call.minutes",
    "call.reschedule_url",
    "call.cancel_url",
];

/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 200;

/// Links that Nylas tracks: those of `<a>` to the web, a mail address or a number.
static LINK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?is)<a\s[^>]*?href\s*=\s*["']?((?:https?://|mailto:|tel:)[^"'\s>]*)"#));

/// A template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not begin with a subject.
    #[error("the template mail/{0}.html must begin with a line `Subject: …` and an empty line")]
    NoSubject(&'static str),
    /// It cannot be read or filled in.
    #[error("the template mail/{name}.html: {problem}")]
    Broken {
        /// Its name.
        name: &'static str,
        /// What is wrong, and where.
        problem: String,
    },
}

/// A mail that was filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The subject, one line.
    pub subject: String,
    /// The body, HTML.
    pub body: String,
}

impl Rendered {
    /// The addresses that are tracked, in order.
    #[must_use]
    pub fn links(&self) -> Vec<&str> {
        LINK.captures_iter(&self.body).filter_map(|found| found.get(1)).map(|link| link.as_str()).collect()
    }

    /// How many pages of the web they lead to: as many as a scanner follows.
    #[must_use]
    pub fn pages(&self) -> usize {
        let pages: BTreeSet<&str> = self.links().into_iter().filter(|link| link.starts_with("http")).collect();
        pages.len()
    }
}

/// What a template can name.
#[derive(Debug, Clone)]
pub struct Words<'a> {
    /// The customer's name.
    pub name: &'a str,
    /// The first word of it.
    pub first_name: &'a str,
    /// The customer's address.
    pub email: &'a str,
    /// The product.
    pub product: &'a str,
    /// Where the product is set up; empty if that is not set.
    pub setup_url: &'a str,
    /// Where the product is explained; empty if that is not set.
    pub docs_url: &'a str,
    /// The customer's booking page; empty in mails that come after it.
    pub booking_url: &'a str,
    /// The call.
    pub call: Option<Call<'a>>,
}

impl Words<'_> {
    fn to_value(&self) -> Value {
        let call = self.call.as_ref().map(|call| {
            context! {
                day => call.day.as_str(),
                time => call.time.as_str(),
                // Of the time zone database, whose names hold nothing but letters, digits, `_`, `+`, `-` and `/`.
                zone => Value::from_safe_string(call.zone.clone()),
                minutes => call.minutes,
                reschedule_url => address(call.reschedule_url),
                cancel_url => address(call.cancel_url),
            }
        });
        context! {
            name => self.name,
            first_name => self.first_name,
            email => self.email,
            product => self.product,
            setup_url => address(self.setup_url),
            docs_url => address(self.docs_url),
            booking_url => address(self.booking_url),
            call => call,
        }
    }
}

/// An address as it can stand in HTML; empty if it is none. The engine would write out its slashes as well, and then
/// Nylas would not know it for a link.
fn address(text: &str) -> Value {
    // The URL standard leaves only these two of what HTML has a meaning for.
    let escaped = Url::parse(text).map(|url| url.as_str().replace('&', "&amp;").replace('\'', "&#39;"));
    Value::from_safe_string(escaped.unwrap_or_default())
}

/// A call in words.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// The day, for example `Tuesday, 1 December 2026`.
    pub day: String,
    /// The time, for example `10:00`.
    pub time: String,
    /// The time zone, for example `Europe/Stockholm`.
    pub zone: String,
    /// How long it lasts.
    pub minutes: i64,
    /// Where the guest can move it; empty if Nylas gives none.
    pub reschedule_url: &'a str,
    /// Where the guest can cancel it; empty if Nylas gives none.
    pub cancel_url: &'a str,
}

/// The first word of a name.
#[must_use]
pub fn first_name(name: &str) -> &str {
    name.split_whitespace().next().unwrap_or_default()
}

/// A call in the words of a time zone.
#[must_use]
pub fn call_in<'a>(booking: &'a Booking, zone: &TimeZone) -> Call<'a> {
    let start = booking.start.to_zoned(zone.clone());
    Call {
        day: start.strftime("%A, %-d %B %Y").to_string(),
        time: start.strftime("%H:%M").to_string(),
        zone: zone.iana_name().map_or_else(|| start.strftime("%Z").to_string(), str::to_owned),
        minutes: booking.end.duration_since(booking.start).as_mins(),
        reschedule_url: booking.reschedule_url.as_deref().unwrap_or_default(),
        cancel_url: booking.cancel_url.as_deref().unwrap_or_default(),
    }
}

/// The zone that a customer is told times in: the customer's own, if it is one, else the team's.
#[must_use]
pub fn zone_of(customer: &Customer, team: &TimeZone) -> TimeZone {
    known_zone(customer).unwrap_or_else(|| team.clone())
}

/// The customer's own zone, as far as it is known.
#[must_use]
pub fn known_zone(customer: &Customer) -> Option<TimeZone> {
    customer.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok())
}

/// A time in words, for people.
#[must_use]
pub fn in_words(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%A, %-d %B %Y at %H:%M %Z").to_string()
}

/// The templates, ready to be filled in.
pub struct Templates {
    engine: Environment<'static>,
}

impl Templates {
    /// The templates that the function was built with.
    ///
    /// # Errors
    /// If one cannot be used; the error names it.
    pub fn built_in() -> Result<Self, TemplateError> {
        Self::of(&TEMPLATES)
    }

    /// The given templates.
    ///
    /// # Errors
    /// If one cannot be used.
    pub fn of(templates: &[(MailKind, &'static str)]) -> Result<Self, TemplateError> {
        let mut engine = engine();
        for (kind, text) in templates {
            let name = kind.name();
            let text = text.strip_prefix("Subject:").ok_or(TemplateError::NoSubject(name))?;
            let (subject, body) = text.split_once('\n').ok_or(TemplateError::NoSubject(name))?;
            let body = body.strip_prefix("\r\n").or(body.strip_prefix('\n')).ok_or(TemplateError::NoSubject(name))?;
            if subject.trim().is_empty() {
                return Err(TemplateError::NoSubject(name));
            }
            for (part, text, above) in
                [(format!("{name}{SUBJECT}"), subject.trim(), 0), (name.to_owned(), body, ABOVE_BODY)]
            {
                let broken = |error: minijinja::Error| TemplateError::Broken { name, problem: told(&error, above) };
                engine.add_template_owned(part.clone(), text).map_err(broken)?;
                let named = engine.get_template(&part).map_err(broken)?.undeclared_variables(true);
                // Wherever it stands: what is rarely shown would be found by a customer.
                if let Some(unknown) = named.iter().filter(|name| !KNOWN.contains(&name.as_str())).min() {
                    let problem = format!("names `{unknown}`, which there is not; there are {}", KNOWN.join(", "));
                    return Err(TemplateError::Broken { name, problem });
                }
            }
        }
        Ok(Self { engine })
    }

    /// A mail, filled in.
    ///
    /// # Errors
    /// If the template names something that there is not.
    pub fn render(&self, kind: MailKind, words: &Words<'_>) -> Result<Rendered, TemplateError> {
        let name = kind.name();
        let broken =
            |above: usize| move |error: minijinja::Error| TemplateError::Broken { name, problem: told(&error, above) };
        let fill = |part: &str| self.engine.get_template(part).and_then(|template| template.render(words.to_value()));
        let subject = fill(&format!("{name}{SUBJECT}")).map_err(broken(0))?;
        let body = fill(name).map_err(broken(ABOVE_BODY))?;
        let subject = one_line(&subject).chars().take(LONGEST_SUBJECT).collect();
        Ok(Rendered { subject, body: body.trim().to_owned() })
    }
}

/// A text of one line with names filled in, as the booking page has it.
///
/// # Errors
/// If the text names something that there is not.
pub fn fill_in(name: &'static str, text: &str, words: &Words<'_>) -> Result<String, TemplateError> {
    let filled = engine().render_str(text, words.to_value());
    filled.map(|text| one_line(&text)).map_err(|error| TemplateError::Broken { name, problem: told(&error, 0) })
}

fn engine() -> Environment<'static> {
    let mut engine = Environment::new();
    // A name that is misspelt is an error, not an empty place in a mail to a customer.
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_auto_escape_callback(|name| {
        // Whatever is not known to be plain text is escaped. A text of one line has a name in angle brackets.
        let is_plain = name.strip_suffix(SUBJECT).is_some() || name.starts_with('<');
        if is_plain { AutoEscape::None } else { AutoEscape::Html }
    });
    engine
}

/// An error in words; `above` is how many lines of the file stand above the text.
fn told(error: &minijinja::Error, above: usize) -> String {
    let line = error.line().map(|line| format!(" (line {})", line + above)).unwrap_or_default();
    format!("{}{line}", error.detail().map_or_else(|| error.to_string(), str::to_owned))
}

/// One line without control characters or runs of blanks.
#[must_use]
pub fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(name: &str) -> Words<'_> {
        Words {
            name,
            first_name: first_name(name),
            email: "rosa@fabrikam.example",
            product: "Northwind",
            setup_url: "https://northwind.example/setup?a=1&b=2",
            docs_url: "",
            booking_url: "https://book.example/x",
            call: Some(Call {
                day: "Tuesday, 1 December 2026".to_owned(),
                time: "10:00".to_owned(),
                zone: "Europe/Stockholm".to_owned(),
                minutes: 30,
                reschedule_url: "",
                cancel_url: "https://book.example/c",
            }),
        }
    }

    #[test]
    fn every_template_is_filled_in_with_and_without_what_may_be_missing() {
        let templates = Templates::built_in().expect("templates");
        for kind in MailKind::ALL {
            let full = templates.render(kind, &words("Rosa Diaz")).expect("a mail");
            assert!(full.body.contains("Rosa") && !full.subject.is_empty(), "{kind:?}");
            let bare = Words { setup_url: "", docs_url: "", ..words("Rosa") };
            let bare = templates.render(kind, &bare).expect("a mail");
            assert!(!bare.body.contains("href=\"\""), "{kind:?}: {}", bare.body);
        }
    }

    #[test]
    fn names_with_markup_or_line_breaks_are_harmless_in_body_and_subject() {
        let templates = Templates::built_in().expect("templates");
        let name = "<b>Rosa</b>\r\nBcc:x@y.example \"><script>alert(1)</script>";
        let name = Words { first_name: name, ..words(name) };
        for kind in MailKind::ALL {
            let mail = templates.render(kind, &name).expect("a mail");
            assert!(!mail.body.contains("<script>") && !mail.body.contains("<b>"), "{kind:?}: {}", mail.body);
            assert!(!mail.subject.contains(['\r', '\n']), "{kind:?}: {}", mail.subject);
        }
    }

    #[test]
    fn addresses_are_escaped_and_counted_as_links() {
        let templates = Templates::built_in().expect("templates");
        let mail = templates.render(MailKind::Welcome, &words("Rosa")).expect("a mail");
        assert!(mail.body.contains("setup?a=1&amp;b=2"), "{}", mail.body);
        assert_eq!(mail.links(), ["https://northwind.example/setup?a=1&amp;b=2", "https://book.example/x"]);
    }

    #[test]
    fn address_cannot_leave_its_place() {
        let templates = Templates::built_in().expect("templates");
        for hostile in
            ["https://a.example/\"><script>x</script>", "https://a.example/?q=\"onclick=x", "https://a.example/'x"]
        {
            let words = Words { setup_url: hostile, ..words("Rosa") };
            let mail = templates.render(MailKind::Welcome, &words).expect("a mail");
            assert!(!mail.body.contains("<script>") && !mail.body.contains("\"onclick"), "{}", mail.body);
        }
        let none = Words { setup_url: "not an address", ..words("Rosa") };
        assert!(!templates.render(MailKind::Welcome, &none).expect("a mail").body.contains("Set up"));
    }

    #[test]
    fn misspelt_name_and_missing_subject_are_errors_that_name_the_template() {
        for misspelt in ["{{ fist_name }}", "{% if not setup_url %}{{ setpu }}{% endif %}", "{{ call.zoen }}"] {
            let text = format!("Subject: Hi\n\n<p>{misspelt}</p>").leak();
            let error = Templates::of(&[(MailKind::Nudge, text)]).map(|_| ()).expect_err("an error").to_string();
            assert!(error.contains("nudge") && error.contains("which there is not"), "{error}");
        }
        let empty = Templates::of(&[(MailKind::Nudge, "Subject: \n\n<p>Hi</p>")]).map(|_| ()).expect_err("an error");
        assert_eq!(empty, TemplateError::NoSubject("nudge"));
        let missing = Templates::of(&[(MailKind::Nudge, "<p>Hi</p>")]).map(|_| ()).expect_err("an error");
        assert_eq!(missing, TemplateError::NoSubject("nudge"));
        let broken = Templates::of(&[(MailKind::Nudge, "Subject: Hi\n\n{% if %}")]).map(|_| ()).expect_err("an error");
        assert!(broken.to_string().contains("nudge") && broken.to_string().contains("(line 3)"), "{broken}");
    }

    #[test]
    fn call_is_told_in_the_customers_own_zone_and_an_unknown_one_gives_way_to_the_teams() {
        let mut customer = Customer::new("rosa@fabrikam.example", "Rosa");
        let team = TimeZone::get("Europe/Stockholm").expect("a zone");
        let start: Timestamp = "2026-12-01T15:00:00Z".parse().expect("a time");
        let booking = Booking {
            run: 1,
            number: 1,
            stands: true,
            told_at: start,
            start,
            end: "2026-12-01T15:30:00Z".parse().expect("a time"),
            event_id: None,
            reschedule_url: None,
            cancel_url: None,
            moves: 0,
            remind_at: None,
            reminder: None,
        };
        for (zone, time, name) in [
            (Some("America/Toronto"), "10:00", "America/Toronto"),
            (Some("Mars/Olympus"), "16:00", "Europe/Stockholm"),
            (None, "16:00", "Europe/Stockholm"),
        ] {
            customer.time_zone = zone.map(str::to_owned);
            let call = call_in(&booking, &zone_of(&customer, &team));
            assert_eq!(
                (call.day.as_str(), call.time.as_str(), call.zone.as_str()),
                ("Tuesday, 1 December 2026", time, name)
            );
        }
    }
}

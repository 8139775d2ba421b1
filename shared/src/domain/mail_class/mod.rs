//! Who or what wrote a mail: a class instead of a yes or no, because each class asks for something else.
//!
//! Headers decide where they are known. Where they are not, the sender, the subject and the beginning of the text do;
//! what rests on such words alone is not certain, and headers that come later may turn it.

mod phrases;

use regex::Regex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;

use super::address::{CompanyDomains, EmailAddress};
use super::own_mail::{LOOP_HEADER, LoopId};
use super::pattern::pattern;
use phrases::{
    ABSENCE, ABSENCE_ENDINGS, ABSENCE_OPENINGS, ACKNOWLEDGEMENTS, ANSWER_PREFIXES, AUTOMATIC_REPLY_SUBJECTS,
    BOUNCE_SUBJECTS, BROADCASTERS, DECLARATIONS, DELIVERED_SUBJECTS, GREETINGS, MACHINE_MAILBOXES, MACHINES,
    MAIL_SYSTEMS, READ_SUBJECTS, SELF_DECLARATIONS, SHORT_AUTOMATIC_SUBJECTS,
};

/// Who or what wrote a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailClass {
    /// A person, to these recipients.
    Human,
    /// A machine, because somebody is away.
    OutOfOffice,
    /// A machine that answers everything.
    AutoReply,
    /// A mail system that reports on a delivery.
    Bounce,
    /// Somebody, to many: newsletters, mailing lists.
    List,
    /// A machine, because something happened.
    Notification,
    /// This very deployment.
    Own,
}

impl MailClass {
    /// Every class.
    pub const ALL: [Self; 7] =
        [Self::Human, Self::OutOfOffice, Self::AutoReply, Self::Bounce, Self::List, Self::Notification, Self::Own];

    /// The class in words, for example `out of office`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::OutOfOffice => "out of office",
            Self::AutoReply => "auto-reply",
            Self::Bounce => "bounce",
            Self::List => "list",
            Self::Notification => "notification",
            Self::Own => "own",
        }
    }
}

impl fmt::Display for MailClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How much is known of a mail's headers, each a name in the sender's case and a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headers<'a> {
    /// All that the mail carries.
    All(&'a [(&'a str, &'a str)]),
    /// Some: what one of them says counts, what is missing does not.
    Some(&'a [(&'a str, &'a str)]),
}

impl<'a> Headers<'a> {
    /// Nothing is known.
    pub const UNKNOWN: Headers<'static> = Headers::Some(&[]);

    fn values(self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let (Self::All(list) | Self::Some(list)) = self;
        list.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn first(self, name: &'a str) -> Option<&'a str> {
        self.values(name).next()
    }

    fn has(self, name: &'a str) -> bool {
        self.first(name).is_some()
    }
}

/// What a class is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailLook<'a> {
    /// The sender.
    pub from: Option<&'a EmailAddress>,
    /// The subject, empty if there is none.
    pub subject: &'a str,
    /// The beginning of the text.
    pub snippet: &'a str,
    /// The headers.
    pub headers: Headers<'a>,
}

/// A class, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The class.
    pub class: MailClass,
    /// Where the evidence lies and what it is, for example `subject: automatic reply`. Words of this module or of a
    /// list of phrases, never of the mail's own.
    pub evidence: String,
    /// False if headers that are not known yet could turn it.
    pub certain: bool,
}

impl Verdict {
    fn certain(class: MailClass, evidence: impl Into<String>) -> Self {
        Self { class, evidence: evidence.into(), certain: true }
    }
}

/// Tells classes for one company and one deployment.
#[derive(Debug, Clone, Copy)]
pub struct Judge<'a> {
    /// The company's own domains: a list of its own relays what others wrote to it, and what it sends through a
    /// sending tool is still a colleague's mail.
    pub company: &'a CompanyDomains,
    /// What marks this deployment's mail.
    pub own: &'a LoopId,
}

impl Judge<'_> {
    /// The class of a mail.
    #[must_use]
    pub fn class_of(&self, mail: &MailLook<'_>) -> Verdict {
        // All phrases are in lower case.
        let (subject, snippet) = (mail.subject.to_lowercase(), mail.snippet.to_lowercase());
        let mail = &MailLook { subject: &subject, snippet: &snippet, ..*mail };
        let all_known = matches!(mail.headers, Headers::All(_));
        // A group of the company covers the marks of what it hands on with its own.
        let all_seen = all_known && !self.is_handed_on(mail.headers);
        if let Some(verdict) = self.by_headers(mail).or_else(|| by_sender(mail, all_seen)) {
            return verdict;
        }
        let colleague = self.is_by_a_colleague(mail);
        if !all_known {
            // What a colleague writes of an absence or a delivery is news for the customer.
            return by_words(mail, colleague);
        }
        if !colleague
            && !ANSWER.is_match(mail.subject)
            && let Some(phrase) = ANY.self_declaration.find(mail.snippet)
        {
            let class = if answers_or_acknowledges(mail) { MailClass::AutoReply } else { MailClass::Notification };
            return Verdict::certain(class, format!("words: {}", phrase.as_str()));
        }
        Verdict::certain(MailClass::Human, "headers: no automatic mark")
    }

    fn is_by_a_colleague(&self, mail: &MailLook<'_>) -> bool {
        mail.from.is_some_and(|from| self.company.contains(from))
    }

    fn by_headers(&self, mail: &MailLook<'_>) -> Option<Verdict> {
        let headers = mail.headers;
        if headers.values(LOOP_HEADER).any(|value| self.own.is_in(value)) {
            return Some(Verdict::certain(MailClass::Own, format!("header: {LOOP_HEADER}")));
        }
        let automatic = automatic_mark(mail);
        if automatic == Some(Mark::Denied) {
            return Some(Verdict::certain(MailClass::Human, "header: Auto-Submitted: no"));
        }
        if let Some(evidence) = delivery_report(mail, automatic.is_some()) {
            return Some(Verdict::certain(report(mail), evidence));
        }
        if is_read_receipt(headers) {
            return Some(Verdict::certain(MailClass::Notification, "header: Content-Type: disposition-notification"));
        }
        match automatic {
            Some(Mark::Denied) | None => {}
            Some(Mark::Automatic { evidence, answers }) => {
                let class = if says_absence(mail) {
                    MailClass::OutOfOffice
                } else if answers || says_acknowledgement(mail) {
                    MailClass::AutoReply
                } else {
                    MailClass::Notification
                };
                return Some(Verdict::certain(class, format!("header: {evidence}")));
            }
        }
        self.list_mark(mail).map(|mark| Verdict::certain(MailClass::List, format!("header: {mark}")))
    }

    /// The mark of mail to many (RFC 2369, RFC 2919, and `Precedence` by custom).
    fn list_mark(&self, mail: &MailLook<'_>) -> Option<&'static str> {
        let headers = mail.headers;
        if self.is_handed_on(headers) {
            return None;
        }
        // A colleague's sending tool marks what is written to one person as bulk, with a way to unsubscribe.
        let colleague = self.is_by_a_colleague(mail);
        let marks = ["List-Id", "List-Post", "List-Unsubscribe", "List-Help", "Mailing-List"];
        let marks = &marks[..if colleague { 2 } else { marks.len() }];
        if let Some(mark) = marks.iter().find(|mark| headers.has(mark)) {
            return Some(mark);
        }
        let precedence = headers.first("Precedence").filter(|_| !colleague).unwrap_or_default();
        ["Precedence: bulk", "Precedence: list", "Precedence: junk"]
            .into_iter()
            .find(|mark| mark.strip_prefix("Precedence: ").is_some_and(|word| precedence.eq_ignore_ascii_case(word)))
    }

    /// True if a mailbox of the company that is a group has handed the mail on to its members, with a list's marks.
    #[must_use]
    pub fn is_handed_on(&self, headers: Headers<'_>) -> bool {
        headers.first("List-Id").is_some_and(|list| self.is_of_the_company(list))
    }

    /// True if the list's identifier (`Sales <sales.northwind.example>`) ends in a company domain.
    fn is_of_the_company(&self, list: &str) -> bool {
        let identifier = match (list.rfind('<'), list.rfind('>')) {
            (Some(open), Some(close)) if open < close => &list[open + 1..close],
            _ => list,
        };
        identifier
            .trim()
            .match_indices('.')
            .map(|(dot, _)| &identifier.trim()[dot + 1..])
            .chain([identifier.trim()])
            .any(|domain| self.company.contains_domain(domain))
    }
}

/// What headers say about the mail having been sent by a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// A person sent it (RFC 3834: `Auto-Submitted: no`).
    Denied,
    /// A machine did.
    Automatic {
        evidence: &'static str,
        /// True if it says that it answers a mail.
        answers: bool,
    },
}

/// `X-Auto-Response-Suppress` is not among the marks: it asks others not to answer automatically, and people's mail
/// carries it as well ([MS-OXPROPS] 2.615).
fn automatic_mark(mail: &MailLook<'_>) -> Option<Mark> {
    let headers = mail.headers;
    let automatic = |evidence, answers| Some(Mark::Automatic { evidence, answers });
    // The keyword ends at a parameter or a comment.
    let keyword = headers.first("Auto-Submitted").map(|value| {
        let end = value.find([';', '(', ' ', '\t']).unwrap_or(value.len());
        value[..end].to_ascii_lowercase()
    });
    match keyword.as_deref() {
        Some("no") => return Some(Mark::Denied),
        Some("auto-replied") => return automatic("Auto-Submitted: auto-replied", true),
        Some("auto-generated") => return automatic("Auto-Submitted: auto-generated", false),
        Some("auto-notified") => return automatic("Auto-Submitted: auto-notified", false),
        Some(other) if other.starts_with("auto-") => return automatic("Auto-Submitted", false),
        _ => {}
    }
    // Not our own, which is told before. Microsoft takes no header from us that is not named `X-`, so that this mark may
    // be all that mail of ours carries.
    if headers.values(LOOP_HEADER).any(|value| LoopId::from_header(value).is_some()) {
        return automatic("X-Crm-Autopilot-Loop of another deployment", true);
    }
    let responders = ["X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply", "X-Mail-Autoreply"];
    if let Some(name) =
        responders.into_iter().find(|name| headers.first(name).is_some_and(|value| !value.eq_ignore_ascii_case("no")))
    {
        return automatic(name, true);
    }
    if headers.first("Precedence").is_some_and(|value| value.eq_ignore_ascii_case("auto_reply")) {
        return automatic("Precedence: auto_reply", true);
    }
    // Nobody can be told that such a mail could not be delivered, so it is a machine's; but some gateways empty the
    // return path of people's mail too.
    let is_empty = headers.first("Return-Path") == Some("<>");
    (is_empty && (says_absence(mail) || says_acknowledgement(mail) || SUBJECTS.bounce.is_match(mail.subject)))
        .then_some(Mark::Automatic { evidence: "Return-Path: <>", answers: true })
}

/// Evidence of a report on a delivery, in the headers or, for mail that is automatic anyway, in sender and subject.
fn delivery_report(mail: &MailLook<'_>, automatic: bool) -> Option<&'static str> {
    let content_type = mail.headers.first("Content-Type").unwrap_or_default().to_ascii_lowercase();
    if content_type.starts_with("multipart/report") && !content_type.contains("disposition-notification") {
        return Some("header: Content-Type: multipart/report");
    }
    if mail.headers.has("X-Failed-Recipients") {
        return Some("header: X-Failed-Recipients");
    }
    let by_mail_system = mail.from.is_some_and(|from| is_mail_system(from.local_part()));
    (automatic && (by_mail_system || SUBJECTS.bounce.is_match(mail.subject))).then_some("header: automatic; sender")
}

/// A report that all is well is no bounce.
fn report(mail: &MailLook<'_>) -> MailClass {
    let all_is_well = SUBJECTS.delivered.is_match(mail.subject) || SUBJECTS.read.is_match(mail.subject);
    if all_is_well { MailClass::Notification } else { MailClass::Bounce }
}

fn is_read_receipt(headers: Headers<'_>) -> bool {
    let content_type = headers.first("Content-Type").unwrap_or_default().to_ascii_lowercase();
    content_type.starts_with("multipart/report") && content_type.contains("disposition-notification")
}

/// Judges an automatic mail; in people's mail the same words mean nothing.
fn says_absence(mail: &MailLook<'_>) -> bool {
    let acknowledges = says_acknowledgement(mail);
    ANY.absence.is_match(mail.subject)
        || ANY.absence.is_match(mail.snippet) && !acknowledges
        || (SUBJECTS.automatic_reply.is_match(mail.subject) || SUBJECTS.short_automatic.is_match(mail.subject))
            && !acknowledges
}

fn says_acknowledgement(mail: &MailLook<'_>) -> bool {
    [mail.subject, mail.snippet].iter().any(|text| ANY.acknowledgement.is_match(text) || ANY.declaration.is_match(text))
}

/// What the sender's address tells, whatever the headers leave open.
fn by_sender(mail: &MailLook<'_>, all_known: bool) -> Option<Verdict> {
    // What a person has put after a `+` says what the mail is for, not who writes.
    let local_part = mail.from?.local_part().split('+').next().unwrap_or_default();
    let found = |class, pattern: &Regex, certain| {
        let matched = pattern.captures(local_part)?.get(1)?.as_str();
        Some(Verdict { class, evidence: format!("sender: {matched}"), certain })
    };
    // A person may sit behind postmaster@; the headers of a report would tell.
    let by_postmaster = local_part.starts_with("postmaster");
    if let Some(reported) = found(report(mail), &SENDERS.mail_system, !by_postmaster) {
        return (!all_known || !by_postmaster).then_some(reported);
    }
    found(MailClass::Notification, &SENDERS.machine, true)
        .or_else(|| found(MailClass::Notification, &SENDERS.machine_mailbox, false))
        // People share such mailboxes too, so here an answer, or full headers without a mark, speak for them.
        .or_else(|| {
            let may_be_a_person = all_known || ANSWER.is_match(mail.subject);
            found(MailClass::List, &SENDERS.broadcaster, false).filter(|_| !may_be_a_person)
        })
}

fn is_mail_system(local_part: &str) -> bool {
    SENDERS.mail_system.is_match(local_part)
}

/// What subject and text tell while headers are not known, which may turn all of it.
fn by_words(mail: &MailLook<'_>, colleague: bool) -> Verdict {
    let uncertain = |class, evidence| Verdict { class, evidence, certain: false };
    let subject =
        |pattern: &Regex| pattern.captures(mail.subject).and_then(|found| found.get(1)).map(|found| found.as_str());
    if let Some(phrase) = subject(&SUBJECTS.bounce) {
        return uncertain(MailClass::Bounce, format!("subject: {phrase}"));
    }
    if let Some(phrase) = subject(&SUBJECTS.read) {
        return uncertain(MailClass::Notification, format!("subject: {phrase}"));
    }
    let opening = |pattern: &Regex| pattern.find(mail.snippet).map(|found| found.as_str());
    if let Some(phrase) = subject(&SUBJECTS.automatic_reply).or_else(|| subject(&SUBJECTS.absence)) {
        let class = if says_absence(mail) { MailClass::OutOfOffice } else { MailClass::AutoReply };
        return uncertain(class, format!("subject: {phrase}"));
    }
    let human = || uncertain(MailClass::Human, "nothing automatic seen".to_owned());
    if colleague {
        return human();
    }
    if let Some(phrase) = opening(&ANY.absence_opening) {
        return uncertain(MailClass::OutOfOffice, format!("snippet: {}", phrase.trim()));
    }
    if ANSWER.is_match(mail.subject) {
        return human();
    }
    if let Some(phrase) = subject(&SUBJECTS.absence_at_the_end) {
        return uncertain(MailClass::OutOfOffice, format!("subject: {phrase}"));
    }
    if let Some(phrase) = ANY.declaration.find(mail.snippet).or_else(|| ANY.declaration.find(mail.subject)) {
        return uncertain(MailClass::AutoReply, format!("words: {}", phrase.as_str()));
    }
    if ANY.unsubscribe.is_match(mail.subject) {
        return uncertain(MailClass::List, "subject: unsubscribe".to_owned());
    }
    human()
}

fn answers_or_acknowledges(mail: &MailLook<'_>) -> bool {
    mail.headers.has("In-Reply-To")
        || [mail.subject, mail.snippet].iter().any(|text| ANY.acknowledgement.is_match(text))
}

struct Subjects {
    automatic_reply: Regex,
    absence: Regex,
    absence_at_the_end: Regex,
    short_automatic: Regex,
    bounce: Regex,
    read: Regex,
    delivered: Regex,
}

struct Anywhere {
    absence: Regex,
    absence_opening: Regex,
    acknowledgement: Regex,
    declaration: Regex,
    self_declaration: Regex,
    unsubscribe: Regex,
}

struct Senders {
    mail_system: Regex,
    machine: Regex,
    machine_mailbox: Regex,
    broadcaster: Regex,
}

/// Marks that gateways put before a subject, such as `[EXTERNAL]`.
const GATEWAY_MARK: &str = r"(?:\[[^\]]{1,30}\]\s*)*";

static SUBJECTS: LazyLock<Subjects> = LazyLock::new(|| {
    let begins = |phrases| pattern(&format!(r"^\s*{GATEWAY_MARK}({})\s*(?:[:：(（]|$)", any_of(phrases)));
    // Only with its colon: a mail may well be called `Read`.
    let with_colon = |phrases| pattern(&format!(r"^\s*{GATEWAY_MARK}({})\s*[:：]", any_of(phrases)));
    Subjects {
        automatic_reply: begins(AUTOMATIC_REPLY_SUBJECTS),
        absence: begins(ABSENCE),
        absence_at_the_end: pattern(&format!(r"({})[\s\])）.!]*$", any_of(ABSENCE_ENDINGS))),
        bounce: begins(BOUNCE_SUBJECTS),
        short_automatic: with_colon(SHORT_AUTOMATIC_SUBJECTS),
        read: with_colon(READ_SUBJECTS),
        delivered: with_colon(DELIVERED_SUBJECTS),
    }
});

static ANY: LazyLock<Anywhere> = LazyLock::new(|| Anywhere {
    absence: pattern(&any_of(ABSENCE)),
    // After a greeting and a word of thanks at the most.
    absence_opening: pattern(&format!(
        r"^\W*(?:{}[^.!?。！？]{{0,70}}?[.,!:;。、！\s]+){{0,2}}?(?:{})",
        any_of(GREETINGS),
        any_of(ABSENCE_OPENINGS)
    )),
    acknowledgement: pattern(&any_of(ACKNOWLEDGEMENTS)),
    declaration: pattern(&any_of(DECLARATIONS)),
    self_declaration: pattern(&any_of(SELF_DECLARATIONS)),
    unsubscribe: pattern(r"\bunsubscribed?\b"),
});

static ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(r"^\s*{GATEWAY_MARK}(?:{})\s*(?:\[\d+\]|\(\d+\))?\s*[:：]", any_of(ANSWER_PREFIXES)))
});

static SENDERS: LazyLock<Senders> = LazyLock::new(|| {
    // Whole parts of a local part, so that `arno.reply` is a person and `no-reply2` is not.
    let parts = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| name.replace(' ', "[._-]?")).collect();
        names.join("|")
    };
    let whole_part = |names| pattern(&format!(r"(?:^|[._+=-])({})(?:$|[._+=-]|\d)", parts(names)));
    Senders {
        mail_system: pattern(&format!(r"^({}|microsoftexchange[0-9a-f]{{20,}})(?:$|[._+=-]|\d)", parts(MAIL_SYSTEMS))),
        machine: whole_part(MACHINES),
        machine_mailbox: pattern(&format!(r"^({})(?:[._-][a-z]{{0,3}})?\d{{0,4}}$", parts(MACHINE_MAILBOXES))),
        broadcaster: whole_part(BROADCASTERS),
    }
});

/// One of the phrases as whole words, the longest first.
fn any_of(phrases: &[&str]) -> String {
    let mut phrases = phrases.to_vec();
    phrases.sort_by_key(|phrase| std::cmp::Reverse(phrase.len()));
    let phrases: Vec<String> = phrases.into_iter().map(as_pattern).collect();
    format!("(?:{})", phrases.join("|"))
}

fn as_pattern(phrase: &str) -> String {
    let boundary = |character: Option<char>| {
        let of_a_spaced_script =
            character.is_some_and(|character| character.is_alphanumeric() && !is_unspaced(character));
        if of_a_spaced_script { r"\b" } else { "" }
    };
    let mut text = String::from(boundary(phrase.chars().next()));
    for character in phrase.chars() {
        match character {
            ' ' => text.push_str(r"\s+"),
            '-' => text.push_str(r"[-‐‑\s]?"),
            '\'' => text.push_str("['’]"),
            other => text.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    text + boundary(phrase.chars().last())
}

/// True for scripts that put no blanks between words, or hang particles on them.
fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: &str = "arn:aws:cloudformation:eu-north-1:1:stack/crm-autopilot/a";

    fn judged(from: &str, subject: &str, snippet: &str, headers: Headers<'_>) -> Verdict {
        let from = EmailAddress::parse(from);
        let company = CompanyDomains::parse(["northwind.example"]).expect("a domain");
        Judge { company: &company, own: &LoopId::of_stack(OURS) }.class_of(&MailLook {
            from: from.as_ref(),
            subject,
            snippet,
            headers,
        })
    }

    fn by_words_alone(from: &str, subject: &str) -> MailClass {
        judged(from, subject, "", Headers::UNKNOWN).class
    }

    fn with_headers(headers: &[(&str, &str)]) -> Verdict {
        judged("dana@acme.example", "Q3", "Hello Ines,", Headers::All(headers))
    }

    #[test]
    fn no_reply_local_parts_of_the_recipe_are_notifications() {
        for sender in
            ["noreply@", "no-reply@", "no_reply@", "donotreply@", "do-not-reply@", "notifications@", "alerts@"]
        {
            let class = by_words_alone(&format!("{sender}acme.example"), "Your weekly report");
            assert_eq!(class, MailClass::Notification, "{sender}");
        }
        assert_eq!(by_words_alone("mailer-daemon@acme.example", "Q3"), MailClass::Bounce);
    }

    #[test]
    fn no_reply_is_a_whole_part_of_the_local_part_in_many_languages() {
        for sender in ["jobs-noreply", "noreply2", "no.reply+7f3", "nepasrepondre", "nao-responda", "niet_beantwoorden"]
        {
            assert_eq!(by_words_alone(&format!("{sender}@acme.example"), "Q3"), MailClass::Notification, "{sender}");
        }
        for machine in ["alerts", "alerts-eu", "dse_na2", "root"] {
            assert_eq!(by_words_alone(&format!("{machine}@acme.example"), "Q3"), MailClass::Notification, "{machine}");
        }
        for person in
            ["daniel.root", "root.anna", "h.mailer", "arno.reply", "noreplyfan", "dana", "alertness.jones", "rootes"]
        {
            assert_eq!(by_words_alone(&format!("{person}@acme.example"), "Q3"), MailClass::Human, "{person}");
        }
        assert_eq!(by_words_alone("info@noreplyfilms.example", "Q3"), MailClass::Human, "the domain does not count");
    }

    #[test]
    fn out_of_office_phrases_of_the_recipe_are_absence_notices() {
        for subject in ["Out of office", "Out of Office: Q3", "Automatic reply: Q3", "Auto-reply: Q3", "Autoreply: Q3"]
        {
            assert_eq!(by_words_alone("dana@acme.example", subject), MailClass::OutOfOffice, "{subject}");
        }
    }

    #[test]
    fn unsubscribe_subject_of_the_recipe_is_a_list_until_headers_say_otherwise() {
        let unknown = judged("dana@acme.example", "Click to unsubscribe", "", Headers::UNKNOWN);
        assert_eq!((unknown.class, unknown.certain), (MailClass::List, false));
        let known = judged("dana@acme.example", "How do users unsubscribe?", "", Headers::All(&[("From", "Dana")]));
        assert_eq!((known.class, known.certain), (MailClass::Human, true));
    }

    #[test]
    fn auto_submitted_no_is_human_in_every_case_whatever_else_is_there() {
        for value in ["no", "No", " NO ", "no; reviewed=\"yes\""] {
            let verdict = with_headers(&[("AUTO-SUBMITTED", value), ("List-Unsubscribe", "<https://x.example>")]);
            assert_eq!(verdict.class, MailClass::Human, "{value}");
        }
    }

    #[test]
    fn suppress_header_is_no_evidence() {
        assert_eq!(with_headers(&[("X-Auto-Response-Suppress", "All")]).class, MailClass::Human);
    }

    #[test]
    fn automatic_answer_is_an_absence_notice_if_it_says_so_and_an_auto_reply_if_not() {
        let headers: &[(&str, &str)] = &[("auto-submitted", "auto-replied (vacation)")];
        let absence = judged("dana@acme.example", "Re: Q3", "Jag är på semester till 4 maj.", Headers::All(headers));
        assert_eq!(absence.class, MailClass::OutOfOffice);
        assert_eq!(with_headers(headers).class, MailClass::AutoReply);
        assert_eq!(with_headers(&[("Auto-Submitted", "auto-generated; owner=x")]).class, MailClass::Notification);
        let exchange = judged(
            "dana@acme.example",
            "Automatisch antwoord: Q3",
            "Dank voor uw bericht.",
            Headers::All(&[("Auto-Submitted", "auto-generated")]),
        );
        assert_eq!(exchange.class, MailClass::OutOfOffice, "Exchange marks its notices as generated");
    }

    #[test]
    fn delivery_reports_are_known_by_their_form_their_sender_and_their_subject() {
        let report = "multipart/report; report-type=delivery-status; boundary=x";
        assert_eq!(with_headers(&[("Content-Type", report)]).class, MailClass::Bounce);
        assert_eq!(with_headers(&[("X-Failed-Recipients", "x@y.example")]).class, MailClass::Bounce);
        let exim = judged(
            "Mailer-Daemon@acme.example",
            "Mail failure",
            "",
            Headers::All(&[("Auto-Submitted", "auto-replied")]),
        );
        assert_eq!(exim.class, MailClass::Bounce);
        for subject in ["Unzustellbar: Q3", "配信不能: Q3", "Delivery Status Notification (Failure)", "failure notice"]
        {
            assert_eq!(by_words_alone("dana@acme.example", subject), MailClass::Bounce, "{subject}");
        }
        let receipt = "multipart/report; report-type=disposition-notification";
        assert_eq!(with_headers(&[("Content-Type", receipt)]).class, MailClass::Notification);
    }

    #[test]
    fn mail_to_many_is_a_list_but_not_a_colleagues_sequence_or_a_group_of_the_company() {
        for mark in ["List-Id", "List-Unsubscribe", "List-Post"] {
            assert_eq!(with_headers(&[(mark, "<x.acme.example>")]).class, MailClass::List, "{mark}");
        }
        assert_eq!(with_headers(&[("Precedence", "Bulk")]).class, MailClass::List);
        assert_eq!(with_headers(&[("Precedence", "first-class")]).class, MailClass::Human);
        let unsubscribe: &[(&str, &str)] = &[("List-Unsubscribe", "<https://x.example>")];
        let sequence = judged("ines@northwind.example", "Hello", "", Headers::All(unsubscribe));
        assert_eq!(sequence.class, MailClass::Human);
        let bulk: &[(&str, &str)] = &[("Precedence", "bulk")];
        assert_eq!(judged("ines@northwind.example", "Hello", "", Headers::All(bulk)).class, MailClass::Human);
        let group = with_headers(&[("List-Id", "Sales <sales.northwind.example>"), ("Precedence", "list")]);
        assert_eq!(group.class, MailClass::Human);
    }

    #[test]
    fn machine_that_says_so_is_believed_whatever_its_headers_leave_out() {
        let judged =
            |snippet, headers| judged("tickets@airline.example", "Your booking", snippet, Headers::All(headers)).class;
        let plain: &[(&str, &str)] = &[("From", "x")];
        assert_eq!(judged("This is an automated message about your flight.", plain), MailClass::Notification);
        let answer: &[(&str, &str)] = &[("In-Reply-To", "<a@b.example>")];
        assert_eq!(judged("This is an automated message.", answer), MailClass::AutoReply);
        assert_eq!(judged("We have received the contract, thank you.", plain), MailClass::Human);
    }

    #[test]
    fn own_mail_is_known_by_this_deployments_mark_alone() {
        let ours = LoopId::of_stack(OURS);
        let verdict = with_headers(&[("x-crm-autopilot-loop", ours.as_str()), ("Auto-Submitted", "auto-generated")]);
        assert_eq!(verdict.class, MailClass::Own);
        let theirs = LoopId::of_stack("another");
        let verdict = with_headers(&[("X-Crm-Autopilot-Loop", theirs.as_str()), ("Auto-Submitted", "auto-generated")]);
        assert_eq!(verdict.class, MailClass::Notification);
    }

    #[test]
    fn mail_of_another_deployment_without_further_marks_is_an_automatic_answer() {
        let theirs = LoopId::of_stack("another");
        let marked: &[(&str, &str)] = &[("x-crm-autopilot-loop", theirs.as_str())];
        for headers in [Headers::All(marked), Headers::Some(marked)] {
            let verdict = judged("dana@acme.example", "Re: Q3", "Hello Ines,", headers);
            assert_eq!((verdict.class, verdict.certain), (MailClass::AutoReply, true));
            assert_eq!(verdict.evidence, "header: X-Crm-Autopilot-Loop of another deployment");
            let absence = judged("dana@acme.example", "Re: Q3", "Ich bin im Urlaub.", headers);
            assert_eq!((absence.class, absence.certain), (MailClass::OutOfOffice, true));
        }
        let further = with_headers(&[("X-Crm-Autopilot-Loop", theirs.as_str()), ("Auto-Submitted", "auto-generated")]);
        assert_eq!(further.evidence, "header: Auto-Submitted: auto-generated", "which says more");
        for other_form in ["", "yes", "0123456789abcdef"] {
            assert_eq!(with_headers(&[("X-Crm-Autopilot-Loop", other_form)]).class, MailClass::Human, "{other_form}");
        }
    }

    #[test]
    fn people_who_write_of_absences_deliveries_and_receipts_are_heard_where_headers_are_not_known() {
        for (subject, snippet) in [
            ("Re: Contract", "signed copy attached. I will be out of the office next week, Ben covers for me."),
            ("Signing", "Let's sign on Thursday, I'm on annual leave from Friday."),
            ("Rendez-vous", "Je suis absent jeudi, on peut se voir vendredi ?"),
            ("Auto: Leasingangebot", "Hallo, anbei das Angebot für den Wagen."),
            ("Will be back to you on pricing", "Hi Ines, I need until Friday."),
            ("Delivery problem: pallet 7", "The driver could not unload."),
            ("Delivered: 3 pallets for Malmö", "All in good order."),
            ("Invoices", "We have received your invoice, thank you."),
        ] {
            let verdict = judged("dana@acme.example", subject, snippet, Headers::UNKNOWN);
            assert_eq!(verdict.class, MailClass::Human, "{subject}: {verdict:?}");
        }
        assert_eq!(by_words_alone("marketing@acme.example", "Re: Booth at the fair"), MailClass::Human);
    }

    #[test]
    fn people_whose_full_headers_show_no_mark_are_heard_whatever_words_they_use() {
        let plain: &[(&str, &str)] = &[("From", "x"), ("In-Reply-To", "<a@b.example>")];
        for (from, subject, snippet) in [
            ("jean@acme.example", "Re: Contrat", "Bonjour, ci-joint l'accusé de réception signé."),
            (
                "marta@acme.example",
                "RE: Eingangsbestätigung Ihrer Anfrage 4711",
                "Danke, wann können wir telefonieren?",
            ),
            ("dana@acme.example", "Invoices", "This is an automated process on our side, so please keep the number."),
            ("dana@acme.example", "New address", "Please do not reply to this address any more, I have moved."),
            ("ines@northwind.example", "Offer", "This is an automated message, says my phone, but I mean it."),
        ] {
            let verdict = judged(from, subject, snippet, Headers::All(plain));
            assert_eq!(verdict.class, MailClass::Human, "{subject}: {verdict:?}");
        }
    }

    #[test]
    fn colleagues_absence_is_news_for_the_customer_where_headers_are_not_known() {
        let verdict = judged(
            "ines@northwind.example",
            "Handover",
            "I'm currently out of the office, Tobias helps you.",
            Headers::UNKNOWN,
        );
        assert_eq!(verdict.class, MailClass::Human);
        assert_eq!(by_words_alone("ines@northwind.example", "Automatic reply: Q3"), MailClass::OutOfOffice);
    }

    #[test]
    fn empty_return_path_alone_makes_no_machine() {
        assert_eq!(with_headers(&[("Return-Path", "<>")]).class, MailClass::Human);
        let notice =
            judged("dana@acme.example", "Re: Q3", "Ich bin im Urlaub.", Headers::All(&[("Return-Path", "<>")]));
        assert_eq!(notice.class, MailClass::OutOfOffice);
    }

    #[test]
    fn receipts_are_notifications_and_not_bounces() {
        let report: &[(&str, &str)] = &[("Content-Type", "multipart/report; report-type=delivery-status")];
        for headers in [Headers::All(report), Headers::UNKNOWN] {
            let delivered = judged("postmaster-of@acme.example", "Delivered: Q3", "", headers);
            assert_eq!(delivered.class, MailClass::Notification);
        }
        assert_eq!(by_words_alone("dana@acme.example", "Gelesen: Angebot"), MailClass::Notification);
        assert_eq!(by_words_alone("dana@acme.example", "Read our offer"), MailClass::Human);
    }

    #[test]
    fn what_follows_a_plus_says_nothing_about_the_sender() {
        assert_eq!(by_words_alone("dana+newsletter@acme.example", "Q3"), MailClass::Human);
        assert_eq!(by_words_alone("no-reply+7f3@acme.example", "Q3"), MailClass::Notification);
    }

    #[test]
    fn answer_to_an_automatic_reply_and_talk_about_absences_are_human() {
        for subject in
            ["RE: Automatic reply: Q3", "AW: Abwesenheitsnotiz", "Are you out of office next week?", "Fwd: newsletter"]
        {
            assert_eq!(by_words_alone("dana@acme.example", subject), MailClass::Human, "{subject}");
        }
    }

    #[test]
    fn verdict_on_words_alone_is_not_certain_but_that_on_a_machines_address_is() {
        let notice =
            judged("dana@acme.example", "Re: Q3", "I am currently out of the office until Monday.", Headers::UNKNOWN);
        assert_eq!((notice.class, notice.certain), (MailClass::OutOfOffice, false));
        assert!(!judged("dana@acme.example", "Automatic reply: Q3", "", Headers::UNKNOWN).certain);
        assert!(judged("no-reply@acme.example", "Q3", "", Headers::UNKNOWN).certain);
        let some: &[(&str, &str)] = &[("Message-ID", "<a@b.example>")];
        assert!(!judged("dana@acme.example", "Q3", "", Headers::Some(some)).certain);
    }

    #[test]
    fn shared_mailboxes_of_marketing_and_news_are_people_where_full_headers_show_no_mark() {
        assert_eq!(by_words_alone("marketing@acme.example", "Q3"), MailClass::List);
        let known = judged("marketing@acme.example", "Q3", "", Headers::All(&[("From", "x")]));
        assert_eq!(known.class, MailClass::Human);
    }

    proptest! {
        #[test]
        fn every_mail_has_a_class(from in "\\PC{0,40}", subject in "\\PC{0,80}", snippet in "\\PC{0,120}", name in "\\PC{0,20}", value in "\\PC{0,40}") {
            let header = [(name.as_str(), value.as_str())];
            for headers in [Headers::UNKNOWN, Headers::Some(&header), Headers::All(&header)] {
                let _ = judged(&from, &subject, &snippet, headers);
            }
        }
    }
}

//! What a sign of life is worth. An open is soft: mail clients and scanners load pictures that nobody has seen. A click is
//! hard unless it may be a scanner's. A reply is hard unless it is our own or a machine's. Pure.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A click sooner after the sending than this is a scanner's: nobody has read the mail yet.
const TOO_SOON: SignedDuration = SignedDuration::from_secs(20);

/// Scanners follow links while the mail is delivered, some after a while. Beyond this, a click is judged as soon as it is
/// told.
const DELIVERY: SignedDuration = SignedDuration::from_hours(1);

/// Clicks within this are one visit: all links at once are a scanner's.
const ONE_VISIT: SignedDuration = SignedDuration::from_secs(10);

/// How long after a click was told the others of the same visit are told at the latest, as far as is waited for them.
pub const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(15);

/// How many links at once are a scanner's where it is not known how many the mail holds.
const MANY_LINKS: usize = 3;

/// Parts of the user agents of link scanners, previews and scripts, in lower case. Gathered from what such products say of
/// themselves; an agent that names none of them may still be one, hence the other rules.
const MACHINES: [&str; 40] = [
    "barracuda",
    "bingpreview",
    "bitdefender",
    "bot/",
    "bot;",
    "cisco",
    "cloudmark",
    "crawler",
    "curl/",
    "facebookexternalhit",
    "fireeye",
    "forcepoint",
    "fortinet",
    "go-http-client",
    "googleimageproxy",
    "headlesschrome",
    "ironport",
    "java/",
    "kaspersky",
    "libwww",
    "linkedinbot",
    "mcafee",
    "mimecast",
    "msoffice",
    "okhttp",
    "phantomjs",
    "proofpoint",
    "python-",
    "safelinks",
    "scanner",
    "skypeuripreview",
    "slackbot",
    "sophos",
    "spider",
    "symantec",
    "trendmicro",
    "urlscan",
    "wget/",
    "whatsapp",
    "zscaler",
];

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A picture of the mail was loaded.
    Open,
    /// A link was followed.
    Click,
    /// Somebody answered.
    Reply,
}

/// What it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// It may be a machine's.
    Soft,
    /// It is a person's.
    Hard,
    /// It is our own, or no sign of life.
    Nothing,
    /// More may follow within seconds by which it can be told.
    Undecided,
}

/// A sign of life, and what it was found to be worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Tells one from another.
    pub id: String,
    /// What was seen.
    pub kind: EvidenceKind,
    /// The run of the mail.
    pub run: u32,
    /// The mail.
    pub step: String,
    /// When it happened.
    pub at: Timestamp,
    /// When it was told.
    pub seen_at: Timestamp,
    /// Which link, for clicks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// What it is worth.
    pub grade: Grade,
    /// Why.
    pub reason: String,
}

/// What is known of the mail that was clicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clicked {
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// How many links it holds; 0 if that is not known.
    pub links: usize,
}

/// A click as it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Click<'a> {
    /// When.
    pub at: Timestamp,
    /// When it was told: others of the same visit are told about then.
    pub seen_at: Timestamp,
    /// Which link.
    pub link: &'a str,
    /// By what; none if that was not told.
    pub agent: Option<&'a str>,
}

/// What a click is worth, by itself and by the other clicks of its mail, each a time and a link.
#[must_use]
pub fn grade_of_click(
    click: &Click<'_>,
    others: &[(Timestamp, &str)],
    mail: Clicked,
    now: Timestamp,
) -> (Grade, &'static str) {
    if click.agent.is_some_and(is_machine) {
        return (Grade::Soft, "the agent is a link scanner or a script");
    }
    let after_sending = mail.sent_at.map(|sent_at| click.at.duration_since(sent_at));
    if after_sending.is_some_and(|after| after < TOO_SOON) {
        return (Grade::Soft, "within seconds of sending");
    }
    if is_every_link_at_once(click, others, mail.links) {
        return (Grade::Soft, "every link at once");
    }
    let of_the_delivery = after_sending.is_some_and(|after| after < DELIVERY);
    if of_the_delivery && mail.links != 1 && now.duration_since(click.seen_at) < SETTLED_AFTER {
        return (Grade::Undecided, "the other links may be followed at once");
    }
    (Grade::Hard, "a person's click")
}

fn is_every_link_at_once(click: &Click<'_>, others: &[(Timestamp, &str)], links: usize) -> bool {
    let of_the_visit = others.iter().filter(|(at, _)| at.duration_since(click.at).abs() <= ONE_VISIT);
    let followed: BTreeSet<&str> = of_the_visit.map(|(_, link)| *link).chain([click.link]).collect();
    match links {
        0 => followed.len() >= MANY_LINKS,
        1 => false,
        all => followed.len() >= all,
    }
}

/// True if an agent says that it is a machine, or nothing at all.
#[must_use]
pub fn is_machine(agent: &str) -> bool {
    let agent = agent.to_lowercase();
    agent.trim().is_empty() || agent.ends_with("bot") || MACHINES.iter().any(|machine| agent.contains(machine))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str =
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/117.0.0.0 Safari/537.36";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("a time")
    }

    fn graded(click: i64, agent: Option<&str>, others: &[(i64, &str)], links: usize, now: i64) -> Grade {
        let others: Vec<(Timestamp, &str)> = others.iter().map(|(second, link)| (at(*second), *link)).collect();
        let mail = Clicked { sent_at: Some(at(0)), links };
        // Told a second after it happened.
        let click = Click { at: at(click), seen_at: at(click + 1), link: "0", agent };
        grade_of_click(&click, &others, mail, at(now)).0
    }

    #[test]
    fn click_of_a_person_is_hard() {
        assert_eq!(graded(3600, Some(BROWSER), &[], 3, 3601), Grade::Hard);
        assert_eq!(graded(3600, None, &[(3605, "1")], 3, 3606), Grade::Hard, "two of three links");
        assert_eq!(graded(60, Some(BROWSER), &[], 1, 61), Grade::Hard, "a mail of one link");
    }

    #[test]
    fn click_within_seconds_of_sending_is_soft() {
        assert_eq!(graded(19, Some(BROWSER), &[], 3, 3600), Grade::Soft);
        assert_eq!(graded(20, Some(BROWSER), &[], 3, 3600), Grade::Hard);
    }

    #[test]
    fn every_link_at_once_is_soft_however_late() {
        assert_eq!(graded(3600, Some(BROWSER), &[(3601, "1"), (3602, "2")], 3, 3603), Grade::Soft);
        assert_eq!(graded(3600, Some(BROWSER), &[(3601, "1"), (3700, "2")], 3, 3701), Grade::Hard);
        assert_eq!(graded(3600, Some(BROWSER), &[(3601, "1"), (3602, "2")], 0, 3603), Grade::Soft, "of unknown many");
        assert_eq!(graded(3600, Some(BROWSER), &[(3601, "0")], 1, 3603), Grade::Hard, "one link, twice");
    }

    #[test]
    fn click_while_the_mail_is_delivered_is_not_judged_before_others_could_follow() {
        assert_eq!(graded(60, Some(BROWSER), &[], 3, 62), Grade::Undecided);
        assert_eq!(graded(60, Some(BROWSER), &[], 3, 75), Grade::Undecided, "fourteen seconds after it was told");
        assert_eq!(graded(60, Some(BROWSER), &[], 3, 76), Grade::Hard);
        assert_eq!(graded(60, Some(BROWSER), &[(61, "1"), (62, "2")], 3, 76), Grade::Soft);
        assert_eq!(graded(3601, Some(BROWSER), &[], 3, 3602), Grade::Hard);
    }

    #[test]
    fn click_that_is_told_late_is_not_judged_before_others_that_are_told_late_could_follow() {
        let mail = Clicked { sent_at: Some(at(0)), links: 3 };
        let click = Click { at: at(60), seen_at: at(900), link: "0", agent: Some(BROWSER) };
        assert_eq!(grade_of_click(&click, &[], mail, at(901)).0, Grade::Undecided);
        assert_eq!(grade_of_click(&click, &[], mail, at(915)).0, Grade::Hard);
    }

    #[test]
    fn agents_of_scanners_are_known_and_browsers_are_not_taken_for_them() {
        for machine in [
            "",
            "python-requests/2.31",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 AppleWebKit/537.36 HeadlessChrome/117.0",
            "Barracuda Sentinel (EE)",
            "Slackbot-LinkExpanding 1.0",
            "curl/8.4",
        ] {
            assert!(is_machine(machine), "{machine}");
        }
        for browser in [
            BROWSER,
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0",
        ] {
            assert!(!is_machine(browser), "{browser}");
        }
    }
}

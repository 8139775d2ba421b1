//! What is known of a ticket, and whether a mail continues it: pure rules. A thread or a reference alone never lets anybody
//! into a ticket, for both can be made up; the sender has to be part of it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use shared::domain::address::{CompanyDomains, EmailAddress};
use shared::triage::{Category, Priority};

/// After so long without a mail a ticket is not continued: a new one names it.
pub const SILENCE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// The most participants that are remembered of a ticket, the first of all among them.
const MOST_PARTICIPANTS: usize = 100;

/// The flag of a ticket that somebody opened by answering a ticket of others.
pub const STRANGER: &str = "stranger_quotes_ticket";

/// Mail services that have a domain in many countries (`yahoo.fr`, `yahoo.co.uk`), by its first part. Anybody can have a
/// mailbox there, so that to share a domain makes nobody a colleague.
const PUBLIC_SERVICES: [&str; 22] = [
    "aol",
    "fastmail",
    "gmail",
    "gmx",
    "googlemail",
    "hotmail",
    "hushmail",
    "icloud",
    "live",
    "mailbox",
    "msn",
    "outlook",
    "posteo",
    "proton",
    "protonmail",
    "rocketmail",
    "tuta",
    "tutanota",
    "yahoo",
    "yandex",
    "ymail",
    "zoho",
];

/// Further domains at which anybody can have a mailbox: the large ones of the world and of Europe.
const PUBLIC_MAILBOXES: [&str; 70] = [
    "126.com",
    "139.com",
    "163.com",
    "abv.bg",
    "alice.it",
    "arcor.de",
    "att.net",
    "bellsouth.net",
    "bigpond.com",
    "bk.ru",
    "bluewin.ch",
    "bol.com.br",
    "btinternet.com",
    "centrum.cz",
    "charter.net",
    "comcast.net",
    "cox.net",
    "daum.net",
    "duck.com",
    "earthlink.net",
    "email.cz",
    "foxmail.com",
    "free.fr",
    "freemail.hu",
    "freenet.de",
    "hanmail.net",
    "hey.com",
    "home.nl",
    "inbox.lv",
    "inbox.ru",
    "interia.pl",
    "juno.com",
    "kpnmail.nl",
    "laposte.net",
    "libero.it",
    "list.ru",
    "mac.com",
    "mail.com",
    "mail.de",
    "mail.ru",
    "me.com",
    "naver.com",
    "o2.pl",
    "onet.pl",
    "online.no",
    "optonline.net",
    "optusnet.com.au",
    "orange.fr",
    "pm.me",
    "qq.com",
    "rediffmail.com",
    "sapo.pt",
    "sbcglobal.net",
    "seznam.cz",
    "sfr.fr",
    "shaw.ca",
    "sina.com",
    "skynet.be",
    "t-online.de",
    "telenet.be",
    "telia.com",
    "terra.com.br",
    "tin.it",
    "tiscali.it",
    "uol.com.br",
    "verizon.net",
    "virgilio.it",
    "wanadoo.fr",
    "web.de",
    "wp.pl",
];

/// True if anybody can have a mailbox on this domain.
fn is_public(domain: &str) -> bool {
    let parts: Vec<&str> = domain.split('.').collect();
    let of_a_service = match parts.as_slice() {
        [service, _] | [service, "co" | "com" | "ne", _] => PUBLIC_SERVICES.contains(service),
        _ => false,
    };
    of_a_service || PUBLIC_MAILBOXES.contains(&domain)
}

/// What is known of a ticket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The ticket system's id.
    pub id: String,
    /// Where people open it, where the ticket system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who wrote or was written to, in the order in which they came; addresses of the support mailbox are left out.
    pub participants: Vec<String>,
    /// What it is about.
    pub category: Category,
    /// The highest priority that any of its mails had.
    pub priority: Priority,
    /// True if people were told of it as an incident.
    #[serde(default)]
    pub incident: bool,
    /// When its newest mail came or was sent.
    pub touched_at: Timestamp,
}

impl Ticket {
    /// The ticket as the facts of a link hold it; none if they hold none.
    #[must_use]
    pub fn from_facts(facts: &Map<String, Value>) -> Option<Self> {
        serde_json::from_value(Value::Object(facts.clone())).ok()
    }

    /// The ticket as the facts of a link.
    #[must_use]
    pub fn to_facts(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(facts)) => facts,
            _ => Map::new(),
        }
    }

    /// Where people find it: its address, or its id.
    #[must_use]
    pub fn place(&self) -> &str {
        self.url.as_deref().unwrap_or(&self.id)
    }

    /// True if somebody may write in it: those who did, their colleagues, and the company itself.
    #[must_use]
    pub fn is_open_to(&self, sender: &EmailAddress, company: &CompanyDomains) -> bool {
        let same = |participant: &String| {
            let domain = participant.rsplit('@').next().unwrap_or_default();
            participant == sender.as_str() || domain == sender.domain() && !is_public(domain)
        };
        company.contains(sender) || self.participants.iter().any(same)
    }

    /// The ticket after one more mail with these people on it.
    #[must_use]
    pub fn touched(mut self, people: &[EmailAddress], at: Timestamp) -> Self {
        for address in people {
            if self.participants.len() < MOST_PARTICIPANTS
                && !self.participants.iter().any(|known| known == address.as_str())
            {
                self.participants.push(address.to_string());
            }
        }
        self.touched_at = self.touched_at.max(at);
        self
    }
}

/// What a mail is to the tickets that its thread and its references lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continues {
    /// It leads to none.
    Nothing,
    /// It is one more mail of this one.
    Ticket(Box<Ticket>),
    /// It comes after a silence: a new ticket that names this one.
    After(Box<Ticket>),
    /// Its sender has no part in any of those it leads to: a new ticket, with a flag. The id is one of theirs.
    NothingOfTheirs(String),
}

/// What a mail continues: of the tickets that it leads to, and whose part its sender is, the one that was touched last.
#[must_use]
pub fn continues(
    candidates: &[Ticket],
    sender: &EmailAddress,
    company: &CompanyDomains,
    received_at: Timestamp,
) -> Continues {
    let open = candidates.iter().filter(|ticket| ticket.is_open_to(sender, company));
    match (open.max_by_key(|ticket| ticket.touched_at), candidates.first()) {
        (Some(ticket), _) if received_at.duration_since(ticket.touched_at) > SILENCE => {
            Continues::After(Box::new(ticket.clone()))
        }
        (Some(ticket), _) => Continues::Ticket(Box::new(ticket.clone())),
        (None, Some(theirs)) => Continues::NothingOfTheirs(theirs.id.clone()),
        (None, None) => Continues::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn ticket(id: &str, participants: &[&str], touched: i64) -> Ticket {
        Ticket {
            id: id.to_owned(),
            url: None,
            participants: participants.iter().map(|one| (*one).to_owned()).collect(),
            category: Category::Bugs,
            priority: Priority::Medium,
            incident: false,
            touched_at: at(touched),
        }
    }

    fn what(candidates: &[Ticket], sender: &str, received: i64) -> Continues {
        let company = CompanyDomains::parse(["northwind.example"]).expect("a domain");
        continues(candidates, &EmailAddress::parse(sender).expect("an address"), &company, at(received))
    }

    #[test]
    fn participants_their_colleagues_and_the_company_continue_a_ticket() {
        let known = ticket("T-1", &["dana@acme.example"], 0);
        for sender in ["dana@acme.example", "lee@acme.example", "ines@northwind.example"] {
            assert_eq!(what(std::slice::from_ref(&known), sender, DAY), Continues::Ticket(Box::new(known.clone())));
        }
    }

    #[test]
    fn stranger_who_quotes_a_ticket_has_no_part_in_it() {
        let known = ticket("T-1", &["dana@acme.example", "kim@gmail.com"], 0);
        for sender in ["mallory@evil.example", "other@gmail.com", "x@not-acme.example", "x@mail.acme.example"] {
            assert_eq!(what(std::slice::from_ref(&known), sender, DAY), Continues::NothingOfTheirs("T-1".to_owned()));
        }
        assert_eq!(what(std::slice::from_ref(&known), "kim@gmail.com", DAY), Continues::Ticket(Box::new(known)));
    }

    #[test]
    fn ticket_is_not_continued_after_more_than_fourteen_days_of_silence() {
        let known = ticket("T-1", &["dana@acme.example"], 0);
        assert!(matches!(what(std::slice::from_ref(&known), "dana@acme.example", 14 * DAY), Continues::Ticket(_)));
        assert!(matches!(what(&[known], "dana@acme.example", 14 * DAY + 1), Continues::After(_)));
    }

    #[test]
    fn of_several_tickets_the_senders_own_that_was_touched_last_is_continued() {
        let candidates = [
            ticket("T-1", &["dana@acme.example"], 0),
            ticket("T-2", &["mallory@evil.example"], 20),
            ticket("T-3", &["dana@acme.example"], 10),
        ];
        let of = |sender: &str| match what(&candidates, sender, 30) {
            Continues::Ticket(ticket) => ticket.id,
            other => format!("{other:?}"),
        };
        assert_eq!((of("dana@acme.example"), of("mallory@evil.example")), ("T-3".to_owned(), "T-2".to_owned()));
    }

    #[test]
    fn mail_services_of_all_countries_are_public_and_companies_are_not() {
        for domain in ["gmail.com", "yahoo.fr", "yahoo.co.uk", "hotmail.de", "yahoo.com.br", "web.de", "pm.me"] {
            assert!(is_public(domain), "{domain}");
        }
        for domain in ["acme.example", "mail.acme.example", "live.acme.example", "outlook-partners.example"] {
            assert!(!is_public(domain), "{domain}");
        }
    }

    #[test]
    fn ticket_survives_its_link() {
        let people = [EmailAddress::parse("lee@acme.example").expect("an address")];
        let known = ticket("T-1", &["dana@acme.example"], 5).touched(&people, at(9)).touched(&people, at(3));
        assert_eq!(known.participants, ["dana@acme.example", "lee@acme.example"]);
        assert_eq!(known.touched_at, at(9));
        assert_eq!(Ticket::from_facts(&known.to_facts()), Some(known));
    }
}

//! What is done with one mail, decided before anything is done and kept: a try after a crash, or after a change of the
//! rules, asks the ticket system for the very same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use shared::domain::address::EmailAddress;
use shared::domain::decision::Decision;
use shared::mail::People;
use shared::nylas::message::Message;
use shared::plain_text::plain_text;
use shared::triage::rules::{Found, Judgement, Rules};
use shared::triage::said::Said;
use shared::triage::{Category, Priority};

use crate::screen::OwnAddresses;
use crate::ticket::{Continues, STRANGER, Ticket};

/// The most places where phrases were found that a decision shows.
const MOST_FOUND: usize = 20;

/// What is done with a mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The ticket that is opened, or continued.
    pub way: Way,
    /// What the mail is about.
    pub category: Category,
    /// How urgent it is, all told.
    pub priority: Priority,
    /// Whose it is.
    pub desk: String,
    /// True if people are told at once.
    pub incident: bool,
    /// True if they would be told of a ticket of its own.
    #[serde(default)]
    pub alert: bool,
    /// What the rules went by, for the decision and for those who are told.
    pub facts: Value,
    /// The phrases that were found, as the rules file has them.
    pub phrases: Vec<String>,
}

/// Whether a ticket is opened or continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A new ticket.
    Open {
        /// What people should look at twice.
        flags: Vec<String>,
        /// The ticket that it follows after a silence.
        previous: Option<String>,
    },
    /// One more comment in a ticket.
    Continue(String),
    /// Neither: the team sent it in a ticket.
    Sent,
}

/// What is known of the sender beside the mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendersStanding {
    /// On a priority domain.
    pub on_priority_domain: bool,
    /// Whether the CRM knows an open deal, in words where that is not known.
    pub open_deal: Option<Result<bool, String>>,
}

/// The plan for a mail that is not handled yet.
pub fn plan(rules: &Rules, judged: &Judgement, standing: &SendersStanding, continues: &Continues) -> Plan {
    let (for_domain, for_deal) = rules.boosts();
    let has_open_deal = standing.open_deal == Some(Ok(true));
    let mut priority = judged.priority;
    if standing.on_priority_domain {
        priority = priority.raised(for_domain);
    }
    if has_open_deal {
        priority = priority.raised(for_deal);
    }
    let mut facts = facts_of(judged);
    facts["priority_by_rules"] = judged.priority.as_str().into();
    facts["priority_domain"] = standing.on_priority_domain.into();
    match &standing.open_deal {
        None => {}
        Some(Ok(open)) => facts["open_deal"] = (*open).into(),
        Some(Err(why)) => facts["open_deal"] = format!("not known: {why}").into(),
    }
    let open = |flags: &[&str], previous: Option<String>| Way::Open {
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        previous,
    };
    let way = match continues {
        Continues::Nothing => open(&[], None),
        Continues::After(ticket) => open(&[], Some(ticket.id.clone())),
        Continues::NothingOfTheirs(quoted) => {
            facts["quoted_ticket"] = quoted.as_str().into();
            open(&[STRANGER], None)
        }
        Continues::Ticket(ticket) => {
            // A reply never lowers what a ticket had.
            priority = priority.max(ticket.priority);
            Way::Continue(ticket.id.clone())
        }
    };
    let told_before = matches!(continues, Continues::Ticket(ticket) if ticket.incident);
    let mut phrases: Vec<String> = Vec::new();
    for found in &judged.found {
        if !phrases.contains(&found.phrase) {
            phrases.push(found.phrase.clone());
        }
    }
    Plan {
        way,
        category: judged.category,
        priority,
        desk: judged.desk.clone(),
        incident: judged.alert && !told_before,
        alert: judged.alert,
        facts,
        phrases,
    }
}

fn facts_of(judged: &Judgement) -> Value {
    let found: Vec<Value> = judged.found.iter().take(MOST_FOUND).map(Found::to_json).collect();
    let others: serde_json::Map<String, Value> =
        judged.others.iter().map(|(category, score)| (category.to_string(), (*score).into())).collect();
    json!({ "score": judged.score, "rule": judged.rule, "found": found, "other_scores": others })
}

/// What the decision says of a plan that was carried out.
pub fn explained(decision: Decision, plan: &Plan) -> Decision {
    let mut decision = decision
        .with("category", plan.category.as_str())
        .with("priority", plan.priority.as_str())
        .with("desk", plan.desk.as_str());
    if let Value::Object(facts) = &plan.facts {
        for (name, fact) in facts {
            decision = decision.with(name, fact.clone());
        }
    }
    match &plan.way {
        Way::Open { flags, previous } => {
            decision.with("flags", flags.clone()).with("previous_ticket_id", previous.clone())
        }
        Way::Continue(_) | Way::Sent => decision,
    }
}

/// The text of a ticket: the whole mail as clean text, and what is attached to it.
pub fn whole_text(message: &Message) -> String {
    let body = message.body.as_deref().filter(|body| !body.trim().is_empty());
    with_attachments(plain_text(body.or(message.snippet.as_deref()).unwrap_or_default()), message)
}

/// The text of a comment: the mail without the mails that it quotes, and what is attached to it.
pub fn comment_text(message: &Message, said: &Said) -> String {
    with_attachments(said.without_history().to_owned(), message)
}

fn with_attachments(mut text: String, message: &Message) -> String {
    let files = message.attachments.iter().flatten().filter_map(|file| file.filename.as_deref());
    let files: Vec<&str> = files.map(str::trim).filter(|name| !name.is_empty()).collect();
    if !files.is_empty() {
        text.push_str("\n\nAttached to the mail: ");
        text.push_str(&files.join(", "));
    }
    text
}

/// The people on a mail that belong to its conversation: all but the support mailbox itself.
pub fn conversation(people: &People, own: &OwnAddresses) -> Vec<EmailAddress> {
    people.everyone().into_iter().filter(|address| !own.contain(address)).collect()
}

/// What is known of a ticket after a mail of it.
pub fn after_the_mail(
    known: Option<Ticket>,
    id: &str,
    url: Option<&str>,
    plan: &Plan,
    people: &[EmailAddress],
    at: Timestamp,
) -> Ticket {
    let known = known.unwrap_or_else(|| Ticket {
        id: id.to_owned(),
        url: url.map(str::to_owned),
        participants: Vec::new(),
        category: plan.category,
        priority: plan.priority,
        incident: false,
        touched_at: at,
    });
    let (priority, incident) = (known.priority.max(plan.priority), known.incident || plan.incident);
    Ticket { priority, incident, ..known }.touched(people, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
[boosts]
priority_domains = 2
open_deal = 0

[[rules]]
name = "outage"
category = "incidents"
priority = "low"
words = ["is down"]

[[rules]]
name = "crash"
category = "bugs"
words = ["crashes"]
"#;

    fn message(fields: &Value) -> Message {
        let mut value = json!({"id": "m", "from": [{"email": "Dana@acme.example", "name": " "}]});
        for (name, field) in fields.as_object().expect("fields") {
            value[name] = field.clone();
        }
        serde_json::from_value(value).expect("a message")
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).expect("an address")
    }

    fn said(fields: &Value) -> Said {
        Said::by(&message(fields), &address("dana@acme.example"))
    }

    fn planned(body: &str, standing: &SendersStanding, continues: &Continues) -> Plan {
        let rules = Rules::read(RULES).expect("rules");
        plan(&rules, &said(&json!({"body": body})).judged_by(&rules), standing, continues)
    }

    fn ticket(priority: Priority, incident: bool) -> Ticket {
        Ticket {
            id: "T-1".to_owned(),
            url: None,
            participants: Vec::new(),
            category: Category::General,
            priority,
            incident,
            touched_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn priority_is_raised_by_as_many_levels_as_the_rules_file_says() {
        let priority = |on_priority_domain: bool, open_deal: Option<Result<bool, String>>| {
            planned("It is down.", &SendersStanding { on_priority_domain, open_deal }, &Continues::Nothing).priority
        };
        assert_eq!(priority(false, None), Priority::Low);
        assert_eq!(priority(true, None), Priority::High);
        assert_eq!(priority(false, Some(Ok(true))), Priority::Low);
    }

    #[test]
    fn deal_is_told_as_it_is_known() {
        let told = |open_deal| {
            let standing = SendersStanding { on_priority_domain: false, open_deal };
            planned("Hello", &standing, &Continues::Nothing).facts["open_deal"].clone()
        };
        assert_eq!(told(None), Value::Null);
        assert_eq!((told(Some(Ok(true))), told(Some(Ok(false)))), (json!(true), json!(false)));
        assert_eq!(told(Some(Err("crm.unavailable".to_owned()))), "not known: crm.unavailable");
    }

    #[test]
    fn reply_keeps_the_higher_priority_and_an_incident_is_told_once_a_ticket() {
        let reply = |body: &str, priority, incident| {
            planned(body, &SendersStanding::default(), &Continues::Ticket(Box::new(ticket(priority, incident))))
        };
        assert_eq!(reply("Hello", Priority::High, false).priority, Priority::High);
        assert_eq!(reply("It crashes", Priority::Low, false).priority, Priority::Medium);
        assert_eq!(reply("Hello", Priority::High, false).way, Way::Continue("T-1".to_owned()));
        assert!(reply("It is down", Priority::Low, false).incident);
        assert!(!reply("It is down", Priority::Low, true).incident);
        assert!(!reply("Hello", Priority::Low, false).incident);
    }

    #[test]
    fn new_ticket_names_what_it_follows_or_what_its_stranger_quoted() {
        let way = |continues: &Continues| planned("Hello", &SendersStanding::default(), continues).way;
        let open = |flags: &[&str], previous: Option<&str>| Way::Open {
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            previous: previous.map(str::to_owned),
        };
        assert_eq!(way(&Continues::Nothing), open(&[], None));
        assert_eq!(way(&Continues::After(Box::new(ticket(Priority::High, true)))), open(&[], Some("T-1")));
        assert_eq!(way(&Continues::NothingOfTheirs("T-1".to_owned())), open(&["stranger_quotes_ticket"], None));
        let after = Continues::After(Box::new(ticket(Priority::High, true)));
        let plan = planned("It is down", &SendersStanding::default(), &after);
        assert_eq!((plan.priority, plan.incident), (Priority::Low, true), "what was before the silence does not count");
    }

    #[test]
    fn plan_survives_its_link() {
        let standing = SendersStanding { on_priority_domain: true, open_deal: Some(Ok(true)) };
        let plan = planned("It is down, it crashes.", &standing, &Continues::NothingOfTheirs("T-1".to_owned()));
        let text = serde_json::to_string(&plan).expect("JSON");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("a plan"), plan);
        assert_eq!(plan.phrases, ["is down"]);
    }

    #[test]
    fn decision_shows_no_more_places_than_one_can_read() {
        let words: Vec<String> = (0..30).map(|number| format!("word{number}")).collect();
        let rules = format!("[[rules]]\nname = \"many\"\ncategory = \"bugs\"\nwords = {words:?}\n");
        let (rules, text) = (Rules::read(&rules).expect("rules"), words.join(" "));
        let judged = said(&json!({"body": text})).judged_by(&rules);
        let facts = plan(&rules, &judged, &SendersStanding::default(), &Continues::Nothing).facts;
        assert_eq!((judged.found.len(), facts["found"].as_array().map(Vec::len)), (30, Some(MOST_FOUND)));
    }

    #[test]
    fn beginning_of_a_mail_stands_in_for_a_body_that_cannot_be_had() {
        for body in
            [json!({"snippet": "Hello"}), json!({"body": " ", "snippet": "Hello"}), json!({"body": "<p>Hello</p>"})]
        {
            assert_eq!(said(&body).text(), "Hello", "{body}");
            assert_eq!(whole_text(&message(&body)), "Hello", "{body}");
        }
        let with_file =
            message(&json!({"body": "Hello", "attachments": [{"filename": " a.log "}, {"filename": "b.log"}]}));
        let said = Said::by(&with_file, &address("dana@acme.example"));
        assert_eq!(comment_text(&with_file, &said), "Hello\n\nAttached to the mail: a.log, b.log");
    }

    #[test]
    fn conversation_is_all_but_the_support_mailbox() {
        let mail =
            message(&json!({"to": [{"email": "support+x@northwind.example"}], "cc": [{"email": "lee@acme.example"}]}));
        let own = OwnAddresses::new(vec![address("support@northwind.example")]);
        let people = conversation(&People::on(&mail), &own);
        assert_eq!(people, [address("dana@acme.example"), address("lee@acme.example")]);
    }

    #[test]
    fn ticket_keeps_the_highest_priority_and_its_first_category() {
        let plan = planned("It is down", &SendersStanding::default(), &Continues::Nothing);
        let at = Timestamp::from_second(9).expect("a time");
        let dana = [address("dana@acme.example")];
        let opened = after_the_mail(None, "T-1", Some("https://x.example"), &plan, &dana, at);
        assert_eq!(
            (opened.category, opened.incident, opened.place()),
            (Category::Incidents, true, "https://x.example")
        );
        let continued = after_the_mail(Some(ticket(Priority::High, false)), "T-1", None, &plan, &dana, at);
        assert_eq!(
            (continued.priority, continued.category, continued.incident),
            (Priority::High, Category::General, true)
        );
        assert_eq!(
            (continued.participants.as_slice(), continued.touched_at),
            (&["dana@acme.example".to_owned()][..], at)
        );
    }
}

//! The contract of ticket systems: what every adapter does, whatever system it speaks to. Each is held against its stand-in,
//! case by case; the table of it is printed.
//!
//! A cell counts as held only if it has made sure of something and the stand-in was called; one that a system cannot have
//! says why.

#![expect(clippy::print_stdout, reason = "the table is for whoever runs the suite")]

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use futures_util::future::join_all;
use sandbox::stand_ins::{
    Fault, FaultRule, Jira, RestTickets, TicketStandIn, Zendesk, jira, ticket_system::SeenTicket, zendesk,
};
use shared::domain::address::EmailAddress;
use shared::domain::failure::Failure;
use shared::engine::testing::MemoryLinks;
use shared::engine::{Clock, Deadline};
use shared::field_map::FieldMaps;
use shared::http::{ApiClient, ApiSettings, Credential, Dialect, http_client};
use shared::tickets::jira::JiraTickets;
use shared::tickets::provider::Tickets;
use shared::tickets::zendesk::ZendeskTickets;
use shared::tickets::{Commented, Correspondent, NewComment, NewTicket, OpenTickets as _, rest};
use shared::written::{SETTLED_AFTER, Written};

/// The systems, in the order of the table's columns.
const SYSTEMS: [System; 3] = [System::Rest, System::Zendesk, System::Jira];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    Rest,
    Zendesk,
    Jira,
}

impl System {
    /// The method and the path of the call that opens a ticket, and of the one that adds a comment.
    fn calls(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Rest => [("POST", "/tickets"), ("POST", "/tickets/")],
            Self::Zendesk => [("POST", "/api/v2/tickets"), ("PUT", "/api/v2/tickets/")],
            Self::Jira => [("POST", "/rest/api/3/issue"), ("POST", "/rest/api/3/issue/")],
        }
    }
}

/// A stand-in and, beside what all of them let a test see, what only this one does.
enum StandIn {
    Rest(RestTickets),
    Zendesk(Zendesk),
    Jira(Jira),
}

/// One stand-in of its own for each cell, and the adapter to it.
struct Stage {
    system: System,
    http: reqwest::Client,
    stand_in: StandIn,
    tickets: Tickets<MemoryLinks>,
    checks: Cell<usize>,
    problems: RefCell<Vec<String>>,
    departs: Cell<bool>,
}

/// The built-in field map with the desk `on-call` given to a group or a component.
fn fields_of(system: System) -> &'static str {
    static ZENDESK: OnceLock<String> = OnceLock::new();
    static JIRA: OnceLock<String> = OnceLock::new();
    let with = |built_in: &str, desk: &str| format!("{built_in}\n{desk}");
    match system {
        System::Rest => "",
        System::Zendesk => ZENDESK.get_or_init(|| {
            with(shared::tickets::zendesk::FIELDS, "[zendesk.ticket.values.desk]\non-call = \"First line\"")
        }),
        System::Jira => {
            JIRA.get_or_init(|| with(shared::tickets::jira::FIELDS, "[jira.ticket.values.desk]\non-call = \"On-call\""))
        }
    }
}

fn client(http: &reqwest::Client, base_url: &str, credential: &str, dialect: Dialect) -> ApiClient {
    let settings = ApiSettings {
        name: "the ticket system",
        base_url: shared::configuration::parse_base_url(base_url).expect("a URL"),
        credential: Credential::Fixed(credential.into()),
        credential_parameter: "TicketApiKey",
        calls_per_second: None,
    };
    ApiClient::new(http.clone(), settings).speaking(dialect)
}

impl Stage {
    fn new(system: System, settled_after: Duration, http: &reqwest::Client) -> Self {
        let written = |name| Written::new(MemoryLinks::default(), Clock::system(), name).settled_after(settled_after);
        let fields = |name| FieldMaps::built_in(name, fields_of(system));
        let (stand_in, tickets) = match system {
            System::Rest => {
                let stand_in = RestTickets::start().expect("a free port");
                let client = client(http, &stand_in.base_url(), stand_in.api_key(), Dialect::default());
                (StandIn::Rest(stand_in), Tickets::Rest(rest::RestTickets::new(client)))
            }
            System::Zendesk => {
                use shared::tickets::zendesk::{SYSTEM, dialect};
                let stand_in = Zendesk::start().expect("a free port");
                let client = client(http, &stand_in.base_url(), zendesk::CREDENTIAL, dialect());
                let tickets = ZendeskTickets::new(client, written(SYSTEM), fields(SYSTEM));
                (StandIn::Zendesk(stand_in), Tickets::Zendesk(tickets))
            }
            System::Jira => {
                use shared::tickets::jira::{SYSTEM, dialect};
                let stand_in = Jira::start().expect("a free port");
                let client = client(http, &stand_in.base_url(), jira::CREDENTIAL, dialect());
                let tickets = JiraTickets::new(client, written(SYSTEM), fields(SYSTEM), jira::PROJECT.to_owned());
                (StandIn::Jira(stand_in), Tickets::Jira(tickets))
            }
        };
        Self {
            system,
            http: http.clone(),
            stand_in,
            tickets,
            checks: Cell::new(0),
            problems: RefCell::default(),
            departs: Cell::new(false),
        }
    }

    fn there(&self) -> &dyn TicketStandIn {
        match &self.stand_in {
            StandIn::Rest(stand_in) => stand_in,
            StandIn::Zendesk(stand_in) => stand_in,
            StandIn::Jira(stand_in) => stand_in,
        }
    }

    fn that(&self, holds: bool, what: impl FnOnce() -> String) {
        self.checks.set(self.checks.get() + 1);
        if !holds {
            self.problems.borrow_mut().push(what());
        }
    }

    fn same<T: PartialEq + Debug>(&self, what: &str, is: T, should_be: T) {
        let both = (is, should_be);
        self.that(both.0 == both.1, || format!("{what} is {:?} and should be {:?}", both.0, both.1));
    }

    fn fail_next(&self, call: usize, fault: Fault) {
        let (method, path) = self.system.calls()[call];
        self.there().faults().add(FaultRule::next(1, fault).on(method, path));
    }

    async fn open(&self, ticket: &NewTicket) -> Result<String, Failure> {
        self.tickets.open(ticket, soon()).await.map(|opened| opened.id).map_err(Failure::from)
    }

    async fn comment(&self, ticket: &str, comment: &NewComment) -> Result<Commented, Failure> {
        self.tickets.comment(ticket, comment, soon()).await.map_err(Failure::from)
    }

    /// The only ticket that there should be.
    fn the_ticket(&self) -> SeenTicket {
        let tickets = self.there().tickets();
        self.same("the number of tickets", tickets.len(), 1);
        tickets.into_iter().next().unwrap_or_else(|| SeenTicket {
            id: String::new(),
            url: None,
            subject: String::new(),
            text: String::new(),
            priority: None,
            desk: None,
            requester: None,
            labels: Vec::new(),
            comments: Vec::new(),
        })
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn dana() -> Correspondent {
    let email = EmailAddress::parse("dana@acme.example").expect("an address");
    Correspondent { email, name: Some("Dana Chen".to_owned()) }
}

fn ticket() -> NewTicket {
    NewTicket {
        message_id: "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0/Aw1+tVm8=".to_owned(),
        grant_id: "g1".to_owned(),
        thread_id: Some("t1".to_owned()),
        subject: Some("Nobody can sign in".to_owned()),
        from: dana(),
        category: "incidents".to_owned(),
        priority: "high".to_owned(),
        desk: "on-call".to_owned(),
        flags: vec!["stranger_quotes_ticket".to_owned()],
        previous_ticket_id: None,
        received_at: "2026-11-16T09:12:44Z".parse().expect("a time"),
        body: "It says 500.\nSince this morning.\n\nDana".to_owned(),
    }
}

fn comment() -> NewComment {
    NewComment {
        message_id: "m2".to_owned(),
        from: dana(),
        body: "It works again.".to_owned(),
        received_at: "2026-11-16T11:00:00Z".parse().expect("a time"),
    }
}

/// What became of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// So much was made sure of.
    Held(usize),
    /// The system has no such thing, and why.
    NotOffered(&'static str),
    /// It does not hold.
    Failed(Vec<String>),
}

type Running<'a> = Pin<Box<dyn Future<Output = Option<&'static str>> + 'a>>;

/// A row of the table: what is promised, and the proof of it, which answers why a system has no such thing.
struct Case {
    name: &'static str,
    run: fn(&Stage) -> Running<'_>,
    settled_after: Duration,
}

impl Case {
    /// One in which a claim of old is looked into at once.
    const fn new(name: &'static str, run: fn(&Stage) -> Running<'_>) -> Self {
        Self { name, run, settled_after: Duration::ZERO }
    }

    /// One in which several are at the same thing, and leave it to the first.
    const fn of_several(name: &'static str, run: fn(&Stage) -> Running<'_>) -> Self {
        Self { name, run, settled_after: SETTLED_AFTER }
    }
}

async fn outcome_of(case: &Case, stage: &Stage) -> Outcome {
    let not_offered = (case.run)(stage).await;
    let mut problems = stage.problems.borrow().clone();
    if let Some(why) = not_offered {
        return if problems.is_empty() { Outcome::NotOffered(why) } else { Outcome::Failed(problems) };
    }
    if stage.checks.get() == 0 {
        problems.push("nothing was made sure of".to_owned());
    }
    if stage.there().calls().total() == 0 {
        problems.push("the stand-in was not called".to_owned());
    }
    let refusals = stage.there().refusals();
    if !stage.departs.get() && !refusals.is_empty() {
        problems.push(format!("the description refused {}", refusals.join("; ")));
    }
    if problems.is_empty() { Outcome::Held(stage.checks.get()) } else { Outcome::Failed(problems) }
}

const CASES: [Case; 19] = [
    Case::new("opens a ticket that people can follow the address to", |stage| Box::pin(opens(stage))),
    Case::new("opens a ticket once for two calls", |stage| Box::pin(opens_once_for_two_calls(stage))),
    Case::new("opens a ticket once after a lost answer", |stage| Box::pin(opens_once_after_a_lost_answer(stage))),
    Case::of_several("opens a ticket once for several calls at once", |stage| Box::pin(opens_once_for_several(stage))),
    Case::new("tells priority, category, flags and desk", |stage| Box::pin(tells_what_it_is(stage))),
    Case::new("tells a desk that the system has no name for", |stage| Box::pin(tells_an_unnamed_desk(stage))),
    Case::new("names the requester, to whom replies go", |stage| Box::pin(names_the_requester(stage))),
    Case::new("shows a long and odd text as it is", |stage| Box::pin(shows_odd_text(stage))),
    Case::new("opens a ticket of which little is known", |stage| Box::pin(opens_the_barest(stage))),
    Case::new("tells the ticket that one follows", |stage| Box::pin(tells_what_it_follows(stage))),
    Case::new("adds a comment, and who wrote it", |stage| Box::pin(comments(stage))),
    Case::new("adds a comment once for two calls", |stage| Box::pin(comments_once_for_two_calls(stage))),
    Case::new("adds a comment once after a lost answer", |stage| Box::pin(comments_once_after_a_lost_answer(stage))),
    Case::of_several("adds a comment once for several calls at once", |stage| {
        Box::pin(comments_once_for_several(stage))
    }),
    Case::new("tells that a ticket is gone", |stage| Box::pin(tells_that_it_is_gone(stage))),
    Case::new("tells that the credential is refused", |stage| Box::pin(tells_of_the_credential(stage))),
    Case::new("waits as long as a 429 asks", |stage| Box::pin(waits_as_asked(stage))),
    Case::new("tries again after a 500, and opens one", |stage| Box::pin(tries_again(stage))),
    Case::new("gives up what is refused, in the system's words", |stage| Box::pin(gives_up(stage))),
];

#[tokio::test]
async fn every_ticket_system_keeps_the_contract() {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["", "rest", "zendesk", "jira"]);
    let mut failed = Vec::new();
    let http = &http_client().expect("a client");
    for case in &CASES {
        let outcomes = join_all(SYSTEMS.map(|system| async move {
            let stage = Stage::new(system, case.settled_after, http);
            outcome_of(case, &stage).await
        }))
        .await;
        let shown = outcomes.iter().map(|outcome| match outcome {
            Outcome::Held(checks) => format!("held ({checks})"),
            Outcome::NotOffered(why) => format!("not offered: {why}"),
            Outcome::Failed(_) => "FAILED".to_owned(),
        });
        table.add_row(std::iter::once(case.name.to_owned()).chain(shown));
        for (system, outcome) in SYSTEMS.iter().zip(&outcomes) {
            if let Outcome::Failed(problems) = outcome {
                failed.push(format!("{system:?} {}:\n  {}", case.name, problems.join("\n  ")));
            }
        }
    }
    println!("{table}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test]
async fn a_cell_that_makes_sure_of_nothing_or_calls_nothing_fails() {
    let http = http_client().expect("a client");
    let idle = Case::new("idle", |_| Box::pin(async { None }));
    let claims = Case::new("claims without looking", |stage| {
        stage.that(true, String::new);
        Box::pin(async { None })
    });
    let wrong = Case::new("wrong", |stage| Box::pin(is_wrong(stage)));
    for system in SYSTEMS {
        for (case, told) in
            [(&idle, "nothing was made sure of"), (&claims, "was not called"), (&wrong, "is 1 and should be 2")]
        {
            let outcome = outcome_of(case, &Stage::new(system, Duration::ZERO, &http)).await;
            assert!(
                matches!(&outcome, Outcome::Failed(problems) if problems.iter().any(|problem| problem.contains(told))),
                "{system:?} {}: {outcome:?}",
                case.name
            );
        }
    }
}

async fn is_wrong(stage: &Stage) -> Option<&'static str> {
    stage.same("the outcome of opening", stage.open(&ticket()).await.is_ok(), true);
    stage.same("the number of tickets", stage.there().tickets().len(), 2);
    None
}

async fn opens(stage: &Stage) -> Option<&'static str> {
    let opened = stage.tickets.open(&ticket(), soon()).await;
    let seen = stage.the_ticket();
    stage.same("the subject", seen.subject.as_str(), "Nobody can sign in");
    stage.that(seen.text.contains("It says 500.\nSince this morning.\n\nDana"), || format!("the text: {}", seen.text));
    let told = opened.map(|opened| (opened.id, opened.url)).map_err(|error| error.to_string());
    stage.same("what is told of it", told, Ok((seen.id, seen.url)));
    None
}

async fn opens_once_for_two_calls(stage: &Stage) -> Option<&'static str> {
    let first = stage.open(&ticket()).await;
    stage.that(first.is_ok(), || format!("{first:?}"));
    stage.same("the second answer", stage.open(&ticket()).await, first);
    stage.the_ticket();
    let other = stage.open(&NewTicket { message_id: "another".to_owned(), ..ticket() }).await;
    stage.that(other.is_ok(), || format!("{other:?}"));
    stage.same("the number of tickets of two mails", stage.there().tickets().len(), 2);
    None
}

async fn opens_once_after_a_lost_answer(stage: &Stage) -> Option<&'static str> {
    stage.fail_next(0, Fault::LoseAnswer);
    let lost = stage.open(&ticket()).await;
    stage.that(matches!(lost, Err(Failure::Transient { .. })), || format!("{lost:?}"));
    let id = stage.the_ticket().id;
    stage.same("the next answer", stage.open(&ticket()).await, Ok(id));
    stage.the_ticket();
    None
}

async fn opens_once_for_several(stage: &Stage) -> Option<&'static str> {
    let ticket = ticket();
    // Slow enough for all of them to be under way together.
    stage.there().faults().set_latency(Duration::from_millis(20));
    let answers = join_all((0..5).map(|_| stage.open(&ticket))).await;
    let id = stage.the_ticket().id;
    stage.that(answers.contains(&Ok(id.clone())), || format!("{answers:?}"));
    for answer in answers {
        let is_fine = matches!(&answer, Ok(its) if *its == id) || matches!(answer, Err(Failure::Transient { .. }));
        stage.that(is_fine, || format!("{answer:?}"));
    }
    stage.same("the next answer", stage.open(&ticket).await, Ok(id));
    stage.the_ticket();
    None
}

async fn tells_what_it_is(stage: &Stage) -> Option<&'static str> {
    let (priority, desk, category) = match stage.system {
        System::Rest => (["high", "medium", "low"], "on-call", "incidents"),
        System::Zendesk => (["high", "normal", "low"], "First line", "category_incidents"),
        System::Jira => (["High", "Medium", "Low"], "On-call", "incidents"),
    };
    for (ours, theirs) in ["high", "medium", "low"].into_iter().zip(priority) {
        let opened =
            stage.open(&NewTicket { message_id: ours.to_owned(), priority: ours.to_owned(), ..ticket() }).await;
        let seen = stage.there().tickets().pop();
        stage.same("the ticket's id", opened.ok(), seen.as_ref().map(|seen| seen.id.clone()));
        stage.same("the priority", seen.as_ref().and_then(|seen| seen.priority.as_deref()), Some(theirs));
        stage.same("the desk", seen.as_ref().and_then(|seen| seen.desk.as_deref()), Some(desk));
        let labels = seen.map(|seen| seen.labels).unwrap_or_default();
        for label in [category, "stranger_quotes_ticket"] {
            stage.that(labels.iter().any(|known| known == label), || format!("{label} is not among {labels:?}"));
        }
    }
    None
}

async fn tells_an_unnamed_desk(stage: &Stage) -> Option<&'static str> {
    let opened = stage.open(&NewTicket { desk: "support".to_owned(), ..ticket() }).await;
    stage.that(opened.is_ok(), || format!("{opened:?}"));
    let seen = stage.the_ticket();
    let label = match stage.system {
        System::Rest => return Some("it takes every name"),
        System::Zendesk => "desk_support",
        System::Jira => "desk-support",
    };
    stage.same("the desk", seen.desk, None);
    stage.that(seen.labels.iter().any(|known| known == label), || format!("{:?}", seen.labels));
    None
}

async fn names_the_requester(stage: &Stage) -> Option<&'static str> {
    let opened = stage.open(&ticket()).await;
    stage.that(opened.is_ok(), || format!("{opened:?}"));
    let seen = stage.the_ticket();
    if stage.system == System::Jira {
        stage.that(seen.text.contains("Dana Chen <dana@acme.example>"), || format!("the text: {}", seen.text));
        return Some("an issue has none; its text names the writer");
    }
    stage.same("the requester", seen.requester.as_deref(), Some("dana@acme.example"));
    None
}

async fn shows_odd_text(stage: &Stage) -> Option<&'static str> {
    let odd = "<b>1 < 2</b> & \"3\" *bold* {panel} [~admin] 🦀 ✓ \u{202e}x\u{7}\0\r\n# no heading";
    let kept = "<b>1 < 2</b> & \"3\" *bold* {panel} [~admin] 🦀 ✓";
    let long = format!("{odd}\n{}", "Ein längerer Satz 🦀, der nie endet.\n".repeat(2_000));
    let subject = format!("  Long\n{} 🦀", "subject ".repeat(100));
    let opened = stage.open(&NewTicket { body: long.clone(), subject: Some(subject), ..ticket() }).await;
    stage.that(opened.is_ok(), || format!("{opened:?}"));
    let seen = stage.the_ticket();
    let added = stage.comment(&seen.id, &NewComment { body: long, ..comment() }).await;
    stage.that(matches!(added, Ok(Commented::Added(_))), || format!("{added:?}"));
    let seen = stage.the_ticket();
    let comment = seen.comments.first().map(|comment| comment.text.clone()).unwrap_or_default();
    for (what, text) in [("ticket", seen.text), ("comment", comment)] {
        stage.that(text.contains(kept), || format!("the {what}: {}", text.chars().take(200).collect::<String>()));
        stage.that(text.lines().last().is_some_and(|line| line.starts_with("[Cut here")), || {
            format!("the {what}'s end")
        });
        stage.that(text.len() > 20_000, || format!("the {what} has only {} bytes", text.len()));
        if stage.system != System::Rest {
            stage.that(!text.contains(['\u{7}', '\0', '\r']), || format!("the {what} has control characters"));
        }
    }
    let is_its_subject = seen.subject.trim().starts_with("Long") && seen.subject.contains("subject subject");
    stage.that(is_its_subject, || seen.subject.clone());
    None
}

async fn opens_the_barest(stage: &Stage) -> Option<&'static str> {
    let barest = NewTicket {
        thread_id: None,
        subject: None,
        from: Correspondent { name: None, ..dana() },
        category: "general".to_owned(),
        flags: Vec::new(),
        body: String::new(),
        ..ticket()
    };
    let opened = stage.open(&barest).await;
    stage.same("the ticket's id", opened, Ok(stage.the_ticket().id));
    let empty = NewComment { from: barest.from, body: " \n".to_owned(), ..comment() };
    let added = stage.comment(&stage.the_ticket().id, &empty).await;
    stage.that(matches!(added, Ok(Commented::Added(_))), || format!("{added:?}"));
    stage.same("the number of comments", stage.the_ticket().comments.len(), 1);
    None
}

async fn tells_what_it_follows(stage: &Stage) -> Option<&'static str> {
    let Ok(first) = stage.open(&ticket()).await else {
        stage.that(false, || "the first was not opened".to_owned());
        return None;
    };
    if let StandIn::Zendesk(zendesk) = &stage.stand_in {
        zendesk.close(&first);
    }
    let following = NewTicket { message_id: "m9".to_owned(), previous_ticket_id: Some(first.clone()), ..ticket() };
    let second = stage.open(&following).await.unwrap_or_default();
    match &stage.stand_in {
        StandIn::Rest(rest) => {
            let told = rest.tickets().pop().and_then(|ticket| ticket.previous_ticket_id);
            stage.same("the ticket it follows", told, Some(first));
        }
        StandIn::Zendesk(zendesk) => {
            let told = zendesk.field(&second, "via_followup_source_id").to_string();
            stage.same("the ticket it follows", told, first);
        }
        StandIn::Jira(_) => {
            let text = stage.there().tickets().pop().map(|ticket| ticket.text).unwrap_or_default();
            stage.that(text.contains(&format!("Follows: {first}")), || text.clone());
        }
    }
    None
}

async fn comments(stage: &Stage) -> Option<&'static str> {
    let Ok(id) = stage.open(&ticket()).await else {
        stage.that(false, || "no ticket was opened".to_owned());
        return None;
    };
    let added = stage.comment(&id, &comment()).await;
    let comments = stage.the_ticket().comments;
    stage.same("the number of comments", comments.len(), 1);
    let seen = comments.into_iter().next();
    let its_id = seen.as_ref().map(|seen| seen.id.clone()).unwrap_or_default();
    stage.same("what is told of it", added, Ok(Commented::Added(its_id)));
    let text = seen.as_ref().map(|seen| seen.text.clone()).unwrap_or_default();
    stage.that(text.contains("It works again."), || text.clone());
    match seen.and_then(|seen| seen.author) {
        Some(author) => stage.same("the author", author.as_str(), "dana@acme.example"),
        None => stage.that(text.contains("Dana Chen <dana@acme.example> wrote"), || text.clone()),
    }
    None
}

async fn comments_once_for_two_calls(stage: &Stage) -> Option<&'static str> {
    let id = stage.open(&ticket()).await.unwrap_or_default();
    let first = stage.comment(&id, &comment()).await;
    stage.that(matches!(first, Ok(Commented::Added(_))), || format!("{first:?}"));
    stage.same("the second answer", stage.comment(&id, &comment()).await, first);
    let other = stage.comment(&id, &NewComment { message_id: "m3".to_owned(), ..comment() }).await;
    stage.that(matches!(other, Ok(Commented::Added(_))), || format!("{other:?}"));
    stage.same("the number of comments of two mails", stage.the_ticket().comments.len(), 2);
    None
}

async fn comments_once_after_a_lost_answer(stage: &Stage) -> Option<&'static str> {
    let id = stage.open(&ticket()).await.unwrap_or_default();
    let before = stage.comment(&id, &NewComment { message_id: "m1".to_owned(), ..comment() }).await;
    stage.that(before.is_ok(), || format!("{before:?}"));
    stage.fail_next(1, Fault::LoseAnswer);
    let lost = stage.comment(&id, &comment()).await;
    stage.that(matches!(lost, Err(Failure::Transient { .. })), || format!("{lost:?}"));
    let there = stage.the_ticket().comments;
    stage.same("the number of comments", there.len(), 2);
    let its_id = there.into_iter().next_back().map(|comment| comment.id).unwrap_or_default();
    stage.same("the next answer", stage.comment(&id, &comment()).await, Ok(Commented::Added(its_id)));
    stage.same("the number of comments", stage.the_ticket().comments.len(), 2);
    None
}

async fn comments_once_for_several(stage: &Stage) -> Option<&'static str> {
    let id = stage.open(&ticket()).await.unwrap_or_default();
    stage.there().faults().set_latency(Duration::from_millis(20));
    let comment = comment();
    let answers = join_all((0..5).map(|_| stage.comment(&id, &comment))).await;
    stage.that(answers.iter().any(Result::is_ok), || format!("{answers:?}"));
    stage.same("the number of comments", stage.the_ticket().comments.len(), 1);
    let next = stage.comment(&id, &comment).await;
    stage.that(matches!(next, Ok(Commented::Added(_))), || format!("{next:?}"));
    stage.same("the number of comments", stage.the_ticket().comments.len(), 1);
    None
}

async fn tells_that_it_is_gone(stage: &Stage) -> Option<&'static str> {
    let id = stage.open(&ticket()).await.unwrap_or_default();
    stage.there().remove_ticket(&id);
    stage.same("the answer", stage.comment(&id, &comment()).await, Ok(Commented::TicketGone));
    stage.same("the same answer again", stage.comment(&id, &comment()).await, Ok(Commented::TicketGone));
    let of_another_system = stage.comment("A/b#c=d e?", &comment()).await;
    stage.same("the answer to an id that is none of its", of_another_system, Ok(Commented::TicketGone));
    let anew = NewTicket { message_id: comment().message_id, ..ticket() };
    let opened = stage.open(&anew).await;
    stage.same("the ticket that is opened instead", opened, Ok(stage.the_ticket().id));
    if let StandIn::Zendesk(zendesk) = &stage.stand_in {
        let id = stage.the_ticket().id;
        zendesk.close(&id);
        let closed = stage.comment(&id, &NewComment { message_id: "m4".to_owned(), ..comment() }).await;
        stage.same("the answer for a closed one", closed, Ok(Commented::TicketGone));
    }
    None
}

async fn tells_of_the_credential(stage: &Stage) -> Option<&'static str> {
    stage.there().revoke_credential();
    let commented = stage.comment("35437", &comment()).await.map(|_| String::new());
    for refused in [stage.open(&ticket()).await, commented] {
        let is_told = matches!(&refused, Err(Failure::Transient { class: "ticket.unauthorized", what, .. })
            if what.contains("TicketApiKey"));
        stage.that(is_told, || format!("{refused:?}"));
    }
    stage.same("the number of tickets", stage.there().tickets().len(), 0);
    None
}

async fn waits_as_asked(stage: &Stage) -> Option<&'static str> {
    for call in [0, 1] {
        let stage_of_call = Stage::new(stage.system, Duration::ZERO, &stage.http);
        let id = stage_of_call.open(&NewTicket { message_id: "m0".to_owned(), ..ticket() }).await.unwrap_or_default();
        stage_of_call.fail_next(call, Fault::status_with_retry_after(429, "7"));
        let limited = match call {
            0 => stage_of_call.open(&ticket()).await,
            _ => stage_of_call.comment(&id, &comment()).await.map(|_| String::new()),
        };
        let is_told = matches!(&limited, Err(Failure::Transient { class: "ticket.rate_limited", retry_after: Some(wait), .. })
            if *wait == Duration::from_secs(7));
        stage.that(is_told, || format!("{limited:?}"));
        let calls = stage_of_call.there().calls().total();
        let next = stage_of_call.open(&NewTicket { message_id: "m5".to_owned(), ..ticket() }).await;
        // Where the limit is known to be the account's, nothing else is called either until then.
        if stage.system != System::Rest {
            stage.that(matches!(next, Err(Failure::Untried { .. })), || format!("{next:?}"));
            stage.same("the number of calls", stage_of_call.there().calls().total(), calls);
        }
        stage.same("what the description refused", stage_of_call.there().refusals(), Vec::new());
    }
    // Once it is over, as on another instance of the function.
    let opened = stage.open(&ticket()).await;
    stage.same("the ticket", opened, Ok(stage.the_ticket().id));
    None
}

async fn tries_again(stage: &Stage) -> Option<&'static str> {
    stage.fail_next(0, Fault::status(500));
    let failed = stage.open(&ticket()).await;
    let is_told = matches!(failed, Err(Failure::Transient { class: "ticket.unavailable", .. }));
    stage.that(is_told, || format!("{failed:?}"));
    let id = stage.open(&ticket()).await;
    stage.same("the ticket", id.clone(), Ok(stage.the_ticket().id));
    stage.fail_next(1, Fault::status(500));
    let id = id.unwrap_or_default();
    let failed = stage.comment(&id, &comment()).await;
    stage.that(matches!(failed, Err(Failure::Transient { .. })), || format!("{failed:?}"));
    let added = stage.comment(&id, &comment()).await;
    stage.that(matches!(added, Ok(Commented::Added(_))), || format!("{added:?}"));
    stage.same("the number of comments", stage.the_ticket().comments.len(), 1);
    None
}

async fn gives_up(stage: &Stage) -> Option<&'static str> {
    let mut refused = ticket();
    let words = match &stage.stand_in {
        StandIn::Rest(_) => {
            "praise".clone_into(&mut refused.category);
            // All that this system refuses stands in its description.
            stage.departs.set(true);
            "/category"
        }
        StandIn::Zendesk(zendesk) => {
            zendesk.require_field("ticket_form_id");
            "ticket_form_id: is required"
        }
        StandIn::Jira(jira) => {
            jira.require_field("customfield_10100");
            "customfield_10100 is required."
        }
    };
    let answer = stage.open(&refused).await;
    let is_told = matches!(&answer, Err(Failure::Permanent { class: "ticket.rejected", what }) if what.contains(words));
    stage.that(is_told, || format!("{answer:?}"));
    stage.same("the number of tickets", stage.there().tickets().len(), 0);
    None
}

//! ticket-triage end to end: support mail becomes tickets at the right desks, people are told of incidents, and no
//! machine is answered.

use super::*;
use sandbox::stand_ins::nylas::SentMail;
use sandbox::stand_ins::rest_tickets::Ticket;
use sandbox::world::{PRIORITY_DOMAIN, SECOND_SUPPORT_GRANT, SUPPORT_EMAIL, SUPPORT_GRANT};
use shared::domain::own_mail::{LOOP_HEADER, LoopId};
use shared::triage::RULES_KEY;
use shared::triage::rules::Rules;

/// Within how long more than five incidents are a storm in this suite's stack.
pub(super) const STORM_WINDOW: Duration = Duration::from_secs(12);

const FUNCTION: &str = "ticket-triage";

/// A mail to a support mailbox.
#[derive(Clone)]
pub(super) struct Letter {
    id: String,
    grant: &'static str,
    from: String,
    subject: String,
    text: String,
    thread: String,
    headers: Vec<(String, String)>,
    date: i64,
}

impl Letter {
    /// A mail of a thread of its own, which says what it says on its subject line too.
    fn new(id: &str, from: &str, subject: &str, text: &str) -> Self {
        Self {
            id: id.to_owned(),
            grant: SUPPORT_GRANT,
            from: from.to_owned(),
            subject: format!("{subject} {CANARY}"),
            text: format!("<p>{text}</p>"),
            thread: format!("thread-{id}"),
            headers: [
                ("Message-ID", message_id(id)),
                ("From", format!("Dana <{from}>")),
                ("MIME-Version", "1.0".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
            date: 1_772_359_200,
        }
    }

    /// A mail that tells of a bug.
    pub(super) fn bug(id: &str, from: &str) -> Self {
        Self::new(id, from, "The export", "The export crashes when I pick a date.")
    }

    pub(super) fn in_thread_of(mut self, other: &str) -> Self {
        self.thread = format!("thread-{other}");
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same mail as the second support mailbox has it, which is one of Microsoft's.
    fn in_the_second_mailbox(&self, id: &str) -> Self {
        let (id, thread) = (id.to_owned(), format!("thread-{id}"));
        Self { id, thread, grant: SECOND_SUPPORT_GRANT, ..self.clone() }
    }

    fn object(&self) -> Value {
        json!({
            "from": [{"name": format!("{CANARY} Dana"), "email": self.from}],
            "to": [{"name": "Support", "email": SUPPORT_EMAIL}],
            "subject": self.subject,
            "body": format!("{}<p>{CANARY} body</p>", self.text),
            "thread_id": self.thread,
            "date": self.date,
        })
    }

    /// Lets the mailbox hold the mail, and answers the notification of it.
    pub(super) fn held(&self, world: &World) -> Value {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        if self.grant == SECOND_SUPPORT_GRANT {
            let mut object = self.object();
            let mailbox = Grant::microsoft(SECOND_SUPPORT_GRANT, "");
            object["folders"] = json!([mailbox.folder_id("\\Inbox").expect("a folder")]);
            return from_microsoft(hold_in(world, self.grant, &self.id, object, headers.into()));
        }
        hold_in(world, self.grant, &self.id, self.object(), headers.into())
    }

    /// Lets the mailbox hold the mail, notifies of it, and answers what was decided.
    pub(super) async fn decided(&self, world: &World) -> DecisionRecord {
        deliver(world, &self.held(world)).await;
        done(world, &self.id).await
    }

    /// The same, and the ticket that was opened for it.
    async fn ticket(&self, world: &World) -> Ticket {
        let record = self.decided(world).await;
        assert_eq!(record.outcome, "logged", "{record:?}");
        let ticket = only_ticket_of(world, &self.id);
        assert_eq!(record.became.as_deref(), Some(ticket.id.as_str()));
        ticket
    }
}

/// Somebody at a customer whose domain is named like this; each test has customers of its own.
fn customer(domain: &str) -> String {
    format!("{CANARY}.dana@{domain}.example")
}

fn message_id(id: &str) -> String {
    format!("<{id}@mail.example>")
}

async fn in_state(world: &World, id: &str, state: &str) -> DecisionRecord {
    let begun = Instant::now();
    loop {
        let record = world.view.record(FUNCTION, id).await.expect("the table answers");
        if let Some(record) = record.clone().filter(|record| record.state == state) {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{id} is not {state}: {record:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

pub(super) async fn done(world: &World, id: &str) -> DecisionRecord {
    in_state(world, id, "done").await
}

/// The tickets that were opened for a mail.
fn tickets_of(world: &World, id: &str) -> Vec<Ticket> {
    let message = format!("mail-{id}");
    world.tickets.tickets().into_iter().filter(|ticket| ticket.message_id == message).collect()
}

fn only_ticket_of(world: &World, id: &str) -> Ticket {
    let mut tickets = tickets_of(world, id);
    assert_eq!(tickets.len(), 1, "tickets of {id}");
    tickets.remove(0)
}

/// The tickets that were opened by somebody on this domain.
fn tickets_from(world: &World, domain: &str) -> Vec<Ticket> {
    let end = format!("@{domain}.example");
    world.tickets.tickets().into_iter().filter(|ticket| ticket.from.email.ends_with(&end)).collect()
}

/// The acknowledgements that went to an address.
fn answers_to(world: &World, address: &str) -> Vec<SentMail> {
    world.nylas.sent().into_iter().filter(|mail| mail.to.iter().any(|to| to == address)).collect()
}

/// What people were told of mails from this domain.
fn alerts_about(world: &World, domain: &str) -> Vec<String> {
    let from = format!("\nfrom {domain}.example, ");
    world.alerts.texts().into_iter().filter(|text| text.contains(&from)).collect()
}

/// The phrases that were found in a mail, each once, in the order of the rules.
fn phrases_of(record: &DecisionRecord) -> Vec<&str> {
    let mut phrases = Vec::new();
    for found in record.facts["found"].as_array().into_iter().flatten() {
        let phrase = found["phrase"].as_str().expect("a phrase");
        if !phrases.contains(&phrase) {
            phrases.push(phrase);
        }
    }
    phrases
}

async fn put_job(world: &World, job: &Value, mark: &str) {
    let deduplication_id = sha256_hex(&[mark.as_bytes()]);
    let queue = queue(world, "TicketTriage");
    world.view.put(&queue, &job.to_string(), "reconcile", &deduplication_id).await.expect("put");
}

/// A mail that opens a ticket and wakes people, one that continues it, one of a machine, and one that the ticket system
/// refuses: for whoever looks at what is logged. Answers their ids.
pub(super) async fn one_mail_of_every_end(world: &World) -> [&'static str; 4] {
    let ids @ [opened, continued, automatic, refused] = ["log-opened", "log-continued", "log-automatic", "log-refused"];
    let from = customer("log-lines");
    Letter::new(opened, &from, "Production is down", "Nobody can log in.").ticket(world).await;
    let reply = Letter::new(continued, &from, "Re: Production is down", "It is back.").in_thread_of(opened);
    assert_eq!(reply.decided(world).await.outcome, "logged");
    let machine = Letter::new(automatic, &from, "Automatic reply", "I am away.").with("Auto-Submitted", "auto-replied");
    assert_eq!(machine.decided(world).await.outcome, "skipped");
    world.tickets.faults().add(FaultRule::next(1, Fault::status(422)).on("POST", "/tickets"));
    deliver(world, &Letter::new(refused, &from, "A question", "How do we add a colleague?").held(world)).await;
    in_state(world, refused, "failed").await;
    world.view.take_all(&queue(world, "TicketTriageDeadLetter")).await.expect("emptied");
    ids
}

#[test]
fn mail_of_six_kinds_reaches_its_desks_and_the_incident_alone_wakes_people() {
    in_the_world(async |world| {
        let kinds = [
            ("incidents", "high", "on-call", "Production is DOWN", "Nobody can log in since 9:40."),
            ("bugs", "medium", "engineering", "The export", "The export crashes when I pick a date."),
            ("billing", "medium", "billing", "Our account", "We were charged twice in May, please refund one of them."),
            ("feature_requests", "low", "product", "Excel", "It would be great if the export had an Excel format."),
            ("churn_risk", "high", "retention", "The end", "We would like to cancel our subscription in June."),
            ("general", "low", "support", "Yesterday", "Thank you for the quick help yesterday!"),
        ];
        let domain_of = |category: &str| format!("kind-{}", category.replace('_', "-"));
        for (category, _, _, subject, text) in kinds {
            let letter = Letter::new(&format!("kind-{category}"), &customer(&domain_of(category)), subject, text);
            deliver(world, &letter.held(world)).await;
        }
        for (category, priority, desk, subject, text) in kinds {
            let (id, domain) = (format!("kind-{category}"), domain_of(category));
            let record = done(world, &id).await;
            let ticket = only_ticket_of(world, &id);
            assert_eq!(
                (ticket.category.as_str(), ticket.priority.as_str(), ticket.desk.as_str()),
                (category, priority, desk),
                "{record:?}"
            );
            assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("logged", "a new ticket"));
            assert_eq!((&record.became, &record.facts["desk"]), (&Some(ticket.id), &json!(desk)));
            assert_eq!(ticket.subject, Some(format!("{subject} {CANARY}")));
            assert_eq!((ticket.from.email, ticket.grant_id.as_str()), (customer(&domain), SUPPORT_GRANT));
            assert_eq!(ticket.thread_id, Some(format!("thread-{id}")));
            assert_eq!(ticket.received_at.to_string(), "2026-03-01T10:00:00Z");
            assert!(ticket.body.contains(text) && ticket.body.contains(&format!("{CANARY} body")), "{}", ticket.body);
            assert_eq!((ticket.flags, ticket.previous_ticket_id), (Vec::new(), None));
            let expected = if category == "incidents" {
                assert_eq!(record.facts["alert"], "alert");
                let matched = phrases_of(&record).join(", ");
                assert!(matched.contains("is down") && matched.contains("nobody can"), "{matched}");
                let (subject, url) = (format!("{subject} {CANARY}"), ticket.url);
                vec![format!("Incident: {subject}\nfrom kind-incidents.example, matched: {matched}\n{url}")]
            } else {
                Vec::new()
            };
            assert_eq!(alerts_about(world, &domain), expected);
        }
    });
}

#[test]
fn priority_domain_or_an_open_deal_raises_a_ticket_and_a_crm_that_is_down_delays_none() {
    in_the_world(async |world| {
        let dealing = customer("raised-dealing");
        let contact = CrmContact::new("con_support", &dealing);
        world.crm.add_contact(contact.with_known_deal("deal_support", true, "2026-02-01T00:00:00Z"));
        let on_priority_domain = format!("{CANARY}.rosa@eu.{PRIORITY_DOMAIN}");
        let elsewhere = customer("raised-elsewhere");
        for (id, from, priority) in [
            ("raised-domain", &on_priority_domain, "high"),
            ("raised-deal", &dealing, "high"),
            ("raised-not", &elsewhere, "medium"),
        ] {
            let ticket = Letter::bug(id, from).ticket(world).await;
            assert_eq!(ticket.priority, priority, "{id}");
        }
        let record = done(world, "raised-domain").await;
        assert_eq!(
            (&record.facts["priority_by_rules"], &record.facts["priority_domain"]),
            (&json!("medium"), &json!(true))
        );
        assert_eq!(done(world, "raised-deal").await.facts["open_deal"], true);
        world.crm.faults().add(FaultRule::next(1, Fault::status(500)).on("GET", "/contacts"));
        let letter = Letter::bug("raised-unknown", &customer("raised-unknown"));
        assert_eq!(letter.ticket(world).await.priority, "medium");
        assert_eq!(done(world, "raised-unknown").await.facts["open_deal"], "not known: crm.unavailable");
    });
}

#[test]
fn reply_of_the_sender_or_a_colleague_is_one_more_comment_of_the_ticket() {
    in_the_world(async |world| {
        let (dana, lee) = (customer("replies"), format!("{CANARY}.lee@replies.example"));
        let ticket = Letter::bug("replied", &dana).ticket(world).await;
        let mut again = Letter::new("reply-own", &dana, "Re: The export", "").in_thread_of("replied");
        again.text = "<div>It crashes every time now.</div><div class=\"gmail_quote\">On Monday, Dana wrote:\
            <blockquote>Earlier words.</blockquote></div>"
            .to_owned();
        let colleagues = Letter::new("reply-colleague", &lee, "Re: The export", "For me, too.")
            .with("In-Reply-To", &message_id("replied"));
        for letter in [again, colleagues] {
            let record = letter.decided(world).await;
            assert_eq!(
                (record.outcome.as_str(), record.reason.as_str(), record.became.as_deref()),
                ("logged", "one more mail of a ticket", Some(ticket.id.as_str())),
                "{record:?}"
            );
        }
        let continued = only_ticket_of(world, "replied");
        let comments: Vec<(&str, &str)> = continued
            .comments
            .iter()
            .map(|comment| (comment.from.email.as_str(), comment.message_id.as_str()))
            .collect();
        assert_eq!(comments, [(dana.as_str(), "mail-reply-own"), (lee.as_str(), "mail-reply-colleague")]);
        let said = &continued.comments[0].body;
        assert!(said.contains("It crashes every time now.") && !said.contains("Earlier words."), "{said}");
        assert_eq!(tickets_from(world, "replies").len(), 1);
    });
}

#[test]
fn customer_who_answers_what_the_team_sent_continues_the_ticket_in_a_new_thread_too() {
    in_the_world(async |world| {
        let dana = customer("answered");
        let ticket = Letter::bug("asked", &dana).ticket(world).await;
        let mut sent = Letter::new("team-answer", SUPPORT_EMAIL, "Re: The export", "Which browser?")
            .in_thread_of("asked")
            .held(world);
        sent["data"]["object"]["to"] = json!([{"email": dana}]);
        sent["data"]["object"]["folders"] = json!(["SENT"]);
        deliver(world, &sent).await;
        let record = done(world, "team-answer").await;
        assert_eq!(
            (record.outcome.as_str(), record.reason.as_str(), &record.facts["ticket"]),
            ("skipped", "sent", &json!(ticket.id))
        );
        let answer = Letter::new("answer", &dana, "Re: The export", "Firefox.");
        let answer = answer.with("References", &message_id("team-answer")).decided(world).await;
        assert_eq!(answer.became.as_deref(), Some(ticket.id.as_str()), "{answer:?}");
        assert_eq!(only_ticket_of(world, "asked").comments.len(), 1);
    });
}

#[test]
fn stranger_who_quotes_a_ticket_gets_one_of_his_own_with_a_flag() {
    in_the_world(async |world| {
        let theirs = Letter::bug("quoted", &customer("quoted")).ticket(world).await;
        let stranger = customer("quoting");
        let letter = Letter::new("quoting", &stranger, "Re: The export", "Please tell me what they said.")
            .in_thread_of("quoted")
            .with("In-Reply-To", &message_id("quoted"));
        let own = letter.ticket(world).await;
        assert_ne!(own.id, theirs.id);
        assert_eq!((own.flags, own.previous_ticket_id), (vec!["stranger_quotes_ticket".to_owned()], None));
        assert_eq!(done(world, "quoting").await.facts["quoted_ticket"], theirs.id.as_str());
        assert!(only_ticket_of(world, "quoted").comments.is_empty());
    });
}

#[test]
fn bounce_is_skipped_and_names_its_ticket() {
    in_the_world(async |world| {
        let dana = customer("bouncing");
        let ticket = Letter::bug("bouncing", &dana).ticket(world).await;
        let report =
            Letter::new("bounce-mail", "mailer-daemon@bouncing.example", "Undeliverable: Re: The export", "Sorry.")
                .in_thread_of("bouncing")
                .with("Content-Type", "multipart/report; report-type=delivery-status");
        let record = report.decided(world).await;
        assert_eq!(
            (record.outcome.as_str(), record.reason.as_str(), &record.facts["ticket"]),
            ("skipped", "automatic mail: bounce", &json!(ticket.id))
        );
        // The acknowledgement comes by as a sent mail, and then bounces.
        let acknowledgement = answers_to(world, &dana).pop().expect("an acknowledgement");
        let object = json!({
            "id": acknowledgement.message_id, "grant_id": SUPPORT_GRANT, "object": "message",
            "thread_id": acknowledgement.thread_id, "from": [{"email": SUPPORT_EMAIL}], "to": [{"email": dana}],
            "cc": [], "bcc": [], "reply_to": [], "subject": acknowledgement.subject, "body": acknowledgement.body,
            "snippet": "", "date": now(), "folders": ["SENT"],
        });
        deliver(world, &notification("message.created", "bounce-sent", &object)).await;
        assert_eq!(done(world, "bounce-sent").await.facts["ticket"], ticket.id.as_str());
        let told = world.nylas.bounced(&acknowledgement.message_id, "mailbox_unavailable", "550").expect("sent");
        deliver(world, &told).await;
        let record = done(world, told["id"].as_str().expect("an id")).await;
        assert_eq!(
            (record.outcome.as_str(), record.reason.as_str(), &record.facts["ticket"]),
            ("skipped", "a mail of the team was not delivered", &json!(ticket.id))
        );
        assert!(only_ticket_of(world, "bouncing").comments.is_empty());
        assert_eq!(tickets_from(world, "bouncing").len(), 1);
    });
}

#[test]
fn truncated_notification_is_fetched_whole_with_its_headers_before_it_is_decided() {
    in_the_world(async |world| {
        let truncated = |letter: &Letter| {
            let mut notification = letter.held(world);
            notification["type"] = "message.created.truncated".into();
            notification["data"]["object"].as_object_mut().expect("an object").remove("body");
            notification
        };
        let leaving =
            Letter::new("cut-off", &customer("cut-off"), "A long mail", "We want to cancel our subscription.");
        let machine = Letter::new("cut-off-machine", &customer("cut-off"), "A long mail", "The export crashes.")
            .with("Auto-Submitted", "auto-replied");
        for letter in [&leaving, &machine] {
            deliver(world, &truncated(letter)).await;
        }
        done(world, "cut-off").await;
        let ticket = only_ticket_of(world, "cut-off");
        assert_eq!(ticket.category, "churn_risk");
        assert!(ticket.body.contains("We want to cancel our subscription."), "{}", ticket.body);
        let record = done(world, "cut-off-machine").await;
        assert_eq!((record.outcome.as_str(), record.reason.as_str()), ("skipped", "automatic mail: auto-reply"));
    });
}

#[test]
fn same_mail_in_two_mailboxes_and_notified_twice_is_one_ticket_with_one_answer() {
    in_the_world(async |world| {
        let from = customer("copies");
        let first = Letter::bug("copy-1", &from);
        let second = first.in_the_second_mailbox("copy-2");
        let notification = first.held(world);
        let mut again = notification.clone();
        again["id"] = "copy-1-again".into();
        for notification in [notification, second.held(world), again] {
            deliver(world, &notification).await;
        }
        let (mut outcomes, mut became) = (Vec::new(), BTreeSet::new());
        for id in ["copy-1", "copy-2", "copy-1-again"] {
            let record = done(world, id).await;
            outcomes.push(record.outcome);
            became.insert(record.became);
        }
        outcomes.sort();
        assert_eq!((outcomes.join(" ").as_str(), became.len()), ("logged merged merged", 1));
        assert_eq!((tickets_from(world, "copies").len(), answers_to(world, &from).len()), (1, 1));
    });
}

#[test]
fn storm_of_incidents_is_five_alerts_and_one_summary_that_counts() {
    in_the_world(async |world| {
        // Incidents of other tests would count.
        tokio::time::sleep(STORM_WINDOW).await;
        let storms = || {
            let texts = world.alerts.texts().into_iter();
            texts.filter(|text| text.starts_with("Storm of incidents for ")).collect::<Vec<_>>()
        };
        let before = storms().len();
        let ids: Vec<String> = (0..8).map(|number| format!("storm-{number}")).collect();
        futures_util::stream::iter(&ids)
            .for_each_concurrent(8, async |id| {
                let letter = Letter::new(id, &customer("storm"), "Production is down", "Nobody can log in.");
                deliver(world, &letter.held(world)).await;
            })
            .await;
        let mut held = BTreeSet::new();
        for id in &ids {
            let record = done(world, id).await;
            let told = record.facts["alert"].as_str().expect("a text").to_owned();
            if told.starts_with("by the summary of ") {
                held.insert(only_ticket_of(world, id).url);
            } else {
                assert_eq!(told, "alert", "{id}");
            }
        }
        assert_eq!((held.len(), alerts_about(world, "storm").len(), storms().len()), (3, 5, before));
        eventually("the storm is summed up", async || storms().len() > before).await;
        let summary = storms().pop().expect("a summary");
        let (first, places) = summary.split_once('\n').expect("places");
        assert_eq!(first, "Storm of incidents for on-call: 8 in all, 3 of them not told one by one:");
        assert_eq!(places.lines().map(str::to_owned).collect::<BTreeSet<_>>(), held);
        let is_it =
            |record: &DecisionRecord| record.reason == "storm of incidents: one summary" && record.state == "done";
        let record = world.view.first_decision("the summary's job is done", Duration::from_secs(30), is_it).await;
        assert_eq!(record.unwrap_or_else(|error| panic!("{error}")).facts["incidents"], 8);
        assert_eq!((alerts_about(world, "storm").len(), storms().len()), (5, before + 1));
    });
}

#[test]
fn acknowledgement_is_sent_once_and_the_loop_of_two_deployments_ends() {
    in_the_world(async |world| {
        let dana = customer("acknowledged");
        let letter = Letter::bug("acknowledged", &dana);
        let ticket = letter.ticket(world).await;
        assert_eq!(done(world, "acknowledged").await.facts["acknowledgement"], "sent");
        let mut again = letter.held(world);
        again["id"] = "acknowledged-again".into();
        deliver(world, &again).await;
        assert_eq!(done(world, "acknowledged-again").await.outcome, "merged");
        let second = Letter::bug("acknowledged-second", &dana);
        let withheld = second.decided(world).await;
        assert_eq!(withheld.facts["acknowledgement"], "withheld: the sender was answered within a day");
        let [sent] = &answers_to(world, &dana)[..] else { panic!("{:?}", answers_to(world, &dana)) };
        assert_eq!(
            (sent.subject.as_str(), &sent.thread_id),
            (format!("Re: The export {CANARY}").as_str(), &letter.thread)
        );
        assert!(sent.body.contains(&ticket.id) && !sent.body.contains("crashes"), "{}", sent.body);
        let header = |name: &str| sent.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        assert_eq!((header("Auto-Submitted"), header("X-Auto-Response-Suppress")), (Some("auto-replied"), Some("All")));
        assert_eq!(header(LOOP_HEADER), Some(sandbox::world::loop_id(&world.stack).expect("an id").as_str()));

        // What another deployment sends is told by its headers: all of them, or those that Microsoft lets pass.
        let other = customer("other-deployment");
        let theirs = LoopId::of_stack("another deployment");
        for (id, only) in [("loop-google", ""), ("loop-microsoft", "X-")] {
            let mut letter = Letter::new(id, &other, &sent.subject, &sent.body);
            for (name, value) in sent.headers.iter().filter(|(name, _)| name.starts_with(only)) {
                letter = letter.with(name, if name == LOOP_HEADER { theirs.as_str() } else { value });
            }
            let record = letter.decided(world).await;
            assert_eq!(
                (record.outcome.as_str(), record.reason.as_str()),
                ("skipped", "automatic mail: auto-reply"),
                "{id}"
            );
        }
        let mut own = Letter::new("loop-own", &other, &sent.subject, &sent.body);
        for (name, value) in &sent.headers {
            own = own.with(name, value);
        }
        assert_eq!(own.decided(world).await.reason, "own mail");
        assert!(tickets_from(world, "other-deployment").is_empty() && answers_to(world, &other).is_empty());

        let silent = customer("wants-no-answer");
        let letter = Letter::bug("no-answer", &silent).with("X-Auto-Response-Suppress", "All");
        letter.ticket(world).await;
        assert_eq!(done(world, "no-answer").await.facts["acknowledgement"], "withheld: X-Auto-Response-Suppress");
        assert!(answers_to(world, &silent).is_empty());
    });
}

#[test]
fn ticket_system_that_was_down_and_is_back_has_one_ticket() {
    in_the_world(async |world| {
        world.tickets.faults().add(FaultRule::next(2, Fault::status(500)).on("POST", "/tickets"));
        let from = customer("down");
        Letter::bug("down", &from).ticket(world).await;
        let record = done(world, "down").await;
        assert_eq!((record.failures, record.class.as_deref()), (2, Some("ticket.unavailable")));
        world.tickets.faults().add(FaultRule::next(1, Fault::LoseAnswer).on("POST", "/tickets"));
        Letter::bug("down-lost", &from).ticket(world).await;
        assert_eq!(done(world, "down-lost").await.failures, 1);
        assert_eq!((tickets_from(world, "down").len(), answers_to(world, &from).len()), (2, 1));
    });
}

#[test]
fn mail_that_the_ticket_system_refuses_lies_in_the_dead_letter_queue_with_its_reason_and_can_be_redriven() {
    in_the_world(async |world| {
        let letters = queue(world, "TicketTriageDeadLetter");
        world.view.take_all(&letters).await.expect("emptied");
        world.tickets.faults().add(FaultRule::next(1, Fault::status(422)).on("POST", "/tickets"));
        let notification = Letter::bug("declined", &customer("declined")).held(world);
        deliver(world, &notification).await;
        let record = in_state(world, "declined", "failed").await;
        assert_eq!((record.outcome.as_str(), record.class.as_deref()), ("failed", Some("ticket.rejected")));
        let letter = world.view.take_all(&letters).await.expect("letters").pop().expect("one letter");
        assert_eq!(serde_json::from_str::<Value>(&letter.body).expect("the notification itself"), notification);
        assert_eq!(
            (letter.attributes["class"].as_str(), letter.attributes["function"].as_str()),
            ("ticket.rejected", FUNCTION)
        );
        assert!(letter.attributes["reason"].contains("422"), "{}", letter.attributes["reason"]);
        assert!(tickets_of(world, "declined").is_empty());

        let tickets = queue(world, "TicketTriage");
        world.view.put(&tickets, &letter.body, "redrive", &sha256_hex(&[b"redrive declined"])).await.expect("put");
        assert_eq!(done(world, "declined").await.outcome, "logged");
        only_ticket_of(world, "declined");
    });
}

#[test]
fn process_killed_between_the_tickets_opening_and_the_verdict_makes_one_ticket() {
    in_the_world(async |world| {
        let tickets = queue(world, "TicketTriage");
        let function = world.stack.function_name("TicketTriage").expect("a name");
        world.view.set_visibility_timeout(&tickets, 5).await.expect("set");
        let slow = Fault::DelayAnswer(Duration::from_secs(20));
        world.tickets.faults().add(FaultRule::next(1, slow).on("POST", "/tickets"));
        let from = customer("killed");
        deliver(world, &Letter::bug("support-killed", &from).held(world)).await;
        eventually("the ticket is opened", async || tickets_of(world, "support-killed").len() == 1).await;
        let killed = world.engine.kill_function(function).expect("processes to kill");
        assert!(!killed.is_empty(), "no process was at work");
        let is_done = |record: &DecisionRecord| record.state == "done";
        let record = world.view.decision("support-killed", Duration::from_mins(2), is_done).await;
        let record = record.unwrap_or_else(|error| panic!("{error}"));
        world.view.set_visibility_timeout(&tickets, 180).await.expect("set");
        let ticket = only_ticket_of(world, "support-killed");
        assert_eq!((record.outcome.as_str(), record.became), ("logged", Some(ticket.id)));
        assert_eq!(answers_to(world, &from).len(), 1);
    });
}

#[test]
fn rules_file_in_the_bucket_takes_effect_without_deployment_and_ends_with_its_removal() {
    in_the_world(async |world| {
        let file = "[[rules]]\nname = \"permits\"\ncategory = \"billing\"\nwords = [\"greenhouse permit\"]\n";
        if let Err(problems) = Rules::read(file) {
            panic!("the file is no rules file: {problems}");
        }
        let mut sent = 0;
        let mut until = async |category: &str, told_by: &str| {
            let begun = Instant::now();
            loop {
                let id = format!("ruled-{sent}");
                sent += 1;
                let letter = Letter::new(&id, &customer("ruled"), "Hello", "Here is the greenhouse permit.");
                let ticket = letter.ticket(world).await;
                if ticket.category == category {
                    assert_eq!(done(world, &id).await.facts["rules"], told_by);
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(40), "the rules do not take effect: {}", ticket.category);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        };
        world.view.put_archived(RULES_KEY, file.as_bytes().to_vec()).await.expect("written");
        until("billing", "the rules file").await;
        world.view.remove_archived(RULES_KEY).await.expect("removed");
        until("general", "built in").await;
    });
}

#[test]
fn reconcile_brings_the_support_mail_that_nylas_never_notified_of() {
    in_the_world(async |world| {
        const MAILBOX: &str = "support-grant-missed";
        world.nylas.add_grant(Grant::google(MAILBOX, "desk@northwind.example"));
        let mut letter = Letter::bug("never-told", &customer("never-told"));
        (letter.grant, letter.date) = (MAILBOX, now() - 600);
        letter.held(world);
        let job = json!({"type": "reconcile", "grant_id": MAILBOX, "only_grant_ids": MAILBOX});
        put_job(world, &job, "reconcile support").await;
        eventually("the mail has a ticket", async || tickets_of(world, "never-told").len() == 1).await;
        let is_it = |record: &DecisionRecord| record.object_id == "mail-never-told" && record.state == "done";
        let record = world.view.first_decision("the missed mail is decided", Duration::from_mins(1), is_it).await;
        let record = record.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((record.function.as_str(), record.outcome.as_str()), (FUNCTION, "logged"));
        assert!(record.notification_id.starts_with("reconcile:mail-never-told:"), "{}", record.notification_id);

        // The job of the schedule.
        let all = format!("{SUPPORT_GRANT},{SECOND_SUPPORT_GRANT}");
        put_job(world, &json!({"type": "reconcile", "only_grant_ids": all}), "reconcile all support").await;
        let is_it =
            |record: &DecisionRecord| record.reason == "reconcile: one job a support mailbox" && record.state == "done";
        let record = world.view.first_decision("the schedule's job is done", Duration::from_mins(1), is_it).await;
        assert_eq!(record.unwrap_or_else(|error| panic!("{error}")).facts["mailboxes"], 2);
    });
}

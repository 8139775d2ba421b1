//! What a new ticket says, how urgent it is, and what is recorded of why.

use super::*;

impl Desk {
    /// The category, priority and desk of the ticket that this mail opens.
    async fn sorts(fields: Value) -> [String; 3] {
        let desk = Self::new();
        desk.receives("n1", &mail(fields)).await;
        let [ticket] = &desk.tickets.opened()[..] else { panic!("one ticket") };
        [ticket.category.clone(), ticket.priority.clone(), ticket.desk.clone()]
    }
}

#[tokio::test]
async fn ticket_has_the_category_the_priority_and_the_desk_that_the_rules_say() {
    for (body, expected) in [
        ("Your API is down.", ["incidents", "medium", "on-call"]),
        ("The export crashes.", ["bugs", "medium", "engineering"]),
        ("Our invoice for May", ["billing", "low", "money"]),
        ("Is there a dark mode?", ["feature_requests", "low", "product"]),
        ("We cancel our contract.", ["churn_risk", "high", "retention"]),
        ("Hello, how are you?", ["general", "low", "support"]),
    ] {
        assert_eq!(Desk::sorts(json!({"body": body})).await, expected, "{body}");
        assert_eq!(Desk::sorts(json!({"subject": body, "body": ""})).await, expected, "{body}, in the subject");
    }
}

#[tokio::test]
async fn mail_that_no_rule_fits_is_general_low_and_supports() {
    assert_eq!(Desk::sorts(json!({})).await, ["general", "low", "support"]);
    assert_eq!(Desk::sorts(json!({"subject": null, "body": "", "snippet": ""})).await, ["general", "low", "support"]);
}

#[tokio::test]
async fn ticket_says_whose_mail_it_is_made_of_and_what_is_attached_to_it() {
    let desk = Desk::new();
    let files = json!([{"filename": "log.txt", "content_type": "text/plain"}, {"filename": " "}, {}]);
    desk.receives("n1", &mail(json!({"attachments": files}))).await;
    let ticket = &desk.tickets.opened()[0];
    assert_eq!((ticket.message_id.as_str(), ticket.grant_id.as_str()), ("m1", "g1"));
    assert_eq!((ticket.thread_id.as_deref(), ticket.subject.as_deref()), (Some("t1"), Some("A question")));
    assert_eq!((ticket.from.email.as_str(), ticket.from.name.as_deref()), ("dana@acme.example", Some("Dana Reyes")));
    assert_eq!(ticket.received_at.as_second(), NOW - MINUTE);
    assert_eq!(ticket.body, "Hello, how are you?\n\nAttached to the mail: log.txt");
    assert_eq!((ticket.flags.len(), ticket.previous_ticket_id.as_deref()), (0, None));
}

#[tokio::test]
async fn decision_explains_the_ticket_by_what_the_rules_went_by() {
    let desk = Desk::new();
    let body = json!({"subject": "Our invoice", "body": "The export crashes, and the invoice."});
    let decision = desk.receives("n1", &mail(body)).await;
    assert_eq!(decision.to_string(), "logged: a new ticket");
    assert_eq!(decision.became.as_deref(), Some("T-1"));
    let facts = &decision.facts;
    assert_eq!(
        (&facts["category"], &facts["priority"], &facts["desk"]),
        (&json!("billing"), &json!("low"), &json!("money"))
    );
    assert_eq!((&facts["score"], &facts["rule"]), (&json!(4), &json!("money")), "twice as much in the subject");
    assert_eq!(facts["found"][0], json!({"rule": "money", "phrase": "invoice", "in": "subject", "at": [4, 11]}));
    assert_eq!(facts["other_scores"], json!({"bugs": 2}));
    assert_eq!((&facts["class"], &facts["headers"]), (&json!("human"), &json!("Nylas")));
    assert_eq!(facts["class_told_by"], "headers: no automatic mark");
    assert_eq!(facts["left_out"], json!([]));
    assert_eq!((&facts["rules"], &facts["flags"]), (&json!("the rules file"), &json!([])));
    assert_eq!((&facts["priority_by_rules"], &facts["priority_domain"]), (&json!("low"), &json!(false)));
    assert_eq!((&facts["open_deal"], &facts["alert"]), (&json!(false), &Value::Null));
    assert_eq!((&facts["acknowledgement"], &facts["previous_ticket_id"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn sender_on_a_priority_domain_or_below_it_is_a_level_more_urgent_and_a_look_alike_is_not() {
    for (sender, expected) in [
        ("ann@vip.example", "medium"),
        ("ann@eu.vip.example", "medium"),
        ("ann@notvip.example", "low"),
        ("ann@vip.example.evil.example", "low"),
        ("vip.example@evil.example", "low"),
    ] {
        assert_eq!(Desk::sorts(json!({"from": from(sender)})).await[1], expected, "{sender}");
    }
    let both = json!({"from": from("ann@vip.example"), "body": "Your API is down, we cancel our contract."});
    assert_eq!(Desk::sorts(both).await[1], "high", "there is nothing above high");
}

async fn priority_with_deal(open: Option<bool>, sender: &str) -> (String, Value) {
    let desk = Desk::new();
    desk.crm.knows(sender, open);
    let decision = desk.receives("n1", &mail(json!({"from": from(sender)}))).await;
    (desk.tickets.opened()[0].priority.clone(), decision.facts["open_deal"].clone())
}

#[tokio::test]
async fn sender_with_an_open_deal_is_a_level_more_urgent_and_one_with_a_closed_deal_is_not() {
    let dana = "dana@acme.example";
    assert_eq!(priority_with_deal(Some(true), dana).await, ("medium".to_owned(), json!(true)));
    assert_eq!(priority_with_deal(Some(false), dana).await, ("low".to_owned(), json!(false)));
    let open = "where the CRM does not tell, it names none but open ones";
    assert_eq!(priority_with_deal(None, dana).await, ("medium".to_owned(), json!(true)), "{open}");
    assert_eq!(priority_with_deal(Some(true), "ann@vip.example").await.0, "high", "both together are two levels");
}

#[tokio::test]
async fn crm_that_is_down_costs_the_boost_and_not_the_ticket() {
    let desk = Desk::new();
    desk.crm.knows("dana@acme.example", Some(true));
    desk.faults.take_down("crm.find");
    let decision = desk.receives("n1", &mail(json!({}))).await;
    assert_eq!(decision.to_string(), "logged: a new ticket");
    assert_eq!(desk.tickets.opened()[0].priority, "low");
    assert_eq!(decision.facts["open_deal"], "not known: crm.unavailable");
}

#[tokio::test]
async fn crm_is_asked_only_where_its_answer_matters() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({"body": "We cancel our contract."}))).await;
    desk.receives("n2", &mail(json!({"id": "m2"}))).await;
    assert!(!desk.faults.calls().contains(&"crm.find"), "of what is urgent anyway, and of a reply, nobody is asked");
    let triage = Triage::with(Provision { crm: None, ..desk.ports() }, desk.settings.clone());
    let other = mail(json!({"id": "m3", "thread_id": "t3"}));
    desk.nylas.holds(&other);
    let decision = triage.process(&work_of(&notified("n3", &other).to_string(), NOW)).await.expect("a decision");
    assert!(!decision.facts.contains_key("open_deal"), "nor where the CRM is off");
}

#[tokio::test]
async fn sender_whom_exchange_names_without_an_address_is_found_in_the_headers() {
    let desk = Desk::new();
    desk.nylas.connects("ms", "microsoft", "support@northwind.example", "valid");
    let internal_name = json!([{"email": "/O=EXCHANGELABS/CN=RECIPIENTS/CN=DANA"}]);
    let named = headers("m1", &[("From", "Dana <dana@acme.example>")]);
    desk.receives("n1", &mail(json!({"grant_id": "ms", "from": internal_name, "headers": named}))).await;
    assert_eq!(desk.tickets.opened()[0].from.email.as_str(), "dana@acme.example");
    let unnamed = mail(json!({"grant_id": "ms", "id": "m2", "thread_id": "t2", "from": internal_name}));
    assert_eq!(desk.receives("n2", &unnamed).await.reason, "no sender's address");
}

#[tokio::test]
async fn mail_that_a_group_of_the_company_has_handed_on_is_its_writers() {
    let desk = Desk::new();
    let marks = [("List-ID", "<help.northwind.example>"), ("X-Original-From", "Dana <dana@acme.example>")];
    let handed_on = json!({"from": from("help-group@northwind.example"), "headers": headers("m1", &marks)});
    let decision = desk.receives("n1", &mail(handed_on)).await;
    assert_eq!(decision.to_string(), "logged: a new ticket");
    assert_eq!(desk.tickets.opened()[0].from.email.as_str(), "dana@acme.example");
}

#[tokio::test]
async fn mail_without_a_date_came_when_it_was_notified_of() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({"date": null}))).await;
    assert_eq!(desk.tickets.opened()[0].received_at.as_second(), NOW);
}

#[tokio::test]
async fn no_word_of_a_mail_stands_in_a_decision_a_link_a_job_or_the_log() {
    let log = KeptLog::default();
    let guard = tracing::subscriber::set_default(log.clone());
    let desk = Desk::that_acknowledges();
    let canary = |id: &str, further: Value| {
        let mut fields = json!({
            "id": id, "subject": "Wombatina is down", "body": "<p>Wombatina is down, the wombatina crashes.</p>",
            "snippet": "Wombatina", "attachments": [{"filename": "wombatina.log"}],
        });
        let (Some(object), Value::Object(further)) = (fields.as_object_mut(), further) else { panic!("objects") };
        object.extend(further);
        mail(fields)
    };
    let mut decisions = Vec::new();
    for (number, further) in [
        json!({}),
        json!({"headers": answering("m1", "m0")}),
        json!({"from": from("mallory@evil.example")}),
        json!({"from": from("news@acme.example"), "headers": headers("m3", &[("List-Id", "<x.acme.example>")])}),
        json!({"headers": headers("m4", &[("Auto-Submitted", "auto-replied")])}),
        json!({"folders": ["SENT"], "from": from("support@northwind.example")}),
    ]
    .into_iter()
    .enumerate()
    {
        decisions.push(desk.receives(&format!("n{number}"), &canary(&format!("m{number}"), further)).await);
    }
    for number in 10..18 {
        let thread = json!({"thread_id": format!("t{number}")});
        decisions.push(desk.receives(&format!("n{number}"), &canary(&format!("m{number}"), thread)).await);
    }
    desk.faults.take_down("alerts.tell");
    let other =
        canary("m20", json!({"thread_id": "t20", "subject": "Wombatina", "body": "Wombatina: cancel our contract."}));
    let failure = desk.tries("n20", &other).await.expect_err("nobody is reached");
    let mut written = desk.links.written();
    written.extend(decisions.iter().map(|decision| serde_json::to_string(decision).expect("JSON")));
    written.extend(desk.timers.set().into_iter().map(|timer| timer.message.body + &timer.name));
    written.extend(desk.queue.sent().into_iter().map(|message| message.body));
    written.push(failure.to_string());
    drop(guard);
    written.push(log.text());
    assert!(written.len() > 40 && desk.tickets.opened()[0].body.contains("ombatina"), "the mail itself says it");
    for text in written {
        assert!(!text.to_lowercase().contains("wombatina"), "{text}");
    }
}

//! What never becomes a ticket, and why.

use super::*;

impl Desk {
    /// What is decided about a mail with these fields, in the thread of a ticket of Dana's that was opened before.
    async fn skips(fields: Value) -> Decision {
        let desk = Self::that_acknowledges();
        desk.receives("n0", &mail(json!({"id": "m0"}))).await;
        let decision = desk.receives("n1", &mail(fields)).await;
        assert_eq!((desk.tickets.opened().len(), desk.tickets.comments().len()), (1, 0), "{decision:?}");
        assert_eq!(desk.nylas.sent().len(), 1, "{decision:?}");
        decision
    }
}

#[tokio::test]
async fn drafts_spam_and_what_the_team_sent_are_no_tickets() {
    for (folder, reason, passes) in
        [("DRAFT", "draft", true), ("SPAM", "in the spam folder", true), ("SENT", "sent", false)]
    {
        let decision = Desk::skips(json!({"folders": [folder, "INBOX"]})).await;
        assert_eq!((decision.outcome.as_str(), decision.reason.as_str()), ("skipped", reason));
        assert_eq!(decision.passing, passes, "{reason}");
    }
}

#[tokio::test]
async fn folders_whose_ids_are_no_names_are_known_by_what_they_are_for() {
    let desk = Desk::new();
    desk.nylas.connects("ms", "microsoft", "support@northwind.example", "valid");
    for (id, attribute, reason) in
        [("AAMk1", "\\Drafts", "draft"), ("AAMk2", "\\Junk", "in the spam folder"), ("AAMk3", "\\Sent", "sent")]
    {
        desk.nylas.has_folder(id, attribute);
        let decision = desk.receives("n1", &mail(json!({"grant_id": "ms", "folders": [id]}))).await;
        assert_eq!(decision.reason, reason);
    }
    assert!(desk.tickets.opened().is_empty());
}

#[tokio::test]
async fn own_addresses_open_no_ticket_whatever_tag_they_carry() {
    for own in ["support@northwind.example", "Support+billing@northwind.example"] {
        assert_eq!(Desk::skips(json!({"from": from(own)})).await.reason, "own address", "{own}");
    }
    let of_the_mailbox = json!({"grant_id": "g2", "from": from("help+x@northwind.example")});
    assert_eq!(Desk::skips(of_the_mailbox).await.reason, "own address", "the mailbox's own, which nobody configured");
}

#[tokio::test]
async fn mail_with_our_own_mark_is_our_own_and_with_anothers_is_an_auto_reply() {
    let marked = |stack: &str| {
        let id = LoopId::of_stack(stack);
        json!({"headers": headers("m1", &[("X-Crm-Autopilot-Loop", id.as_str())])})
    };
    let decision = Desk::skips(marked("stack")).await;
    assert_eq!(
        (decision.reason.as_str(), &decision.facts["evidence"]),
        ("own mail", &json!("header: X-Crm-Autopilot-Loop"))
    );
    assert_eq!(Desk::skips(marked("another stack")).await.reason, "automatic mail: auto-reply");
}

#[tokio::test]
async fn invitations_and_answers_to_them_are_no_tickets() {
    let invited = json!({"attachments": [{"content_type": "text/calendar; method=REQUEST", "filename": "invite.ics"}]});
    let decision = Desk::skips(invited).await;
    assert_eq!((decision.reason.as_str(), decision.passing), ("calendar invitation", false));
    let answered = json!({"headers": headers("m1", &[("Content-Type", "text/calendar; method=REPLY")])});
    assert_eq!(Desk::skips(answered).await.reason, "calendar invitation");
}

#[tokio::test]
async fn bounce_opens_nothing_and_names_the_ticket_that_it_is_about() {
    let report = |id: &str, thread: &str, answered: &str| {
        let answered = format!("<{answered}@mail.example>");
        let marks = [("Content-Type", "multipart/report; report-type=delivery-status"), ("In-Reply-To", &*answered)];
        let sender = from("mailer-daemon@mx.acme.example");
        mail(json!({
            "id": id, "thread_id": thread, "from": sender, "subject": "Undelivered", "headers": headers(id, &marks),
        }))
    };
    let desk = Desk::that_acknowledges();
    desk.receives("n0", &mail(json!({"id": "m0"}))).await;
    desk.receives("n1", &sent_to("dana@acme.example")).await;
    for about in ["m0", "s1"] {
        let decision = desk.receives("n2", &report("b1", "another thread", about)).await;
        assert_eq!(decision.reason, "automatic mail: bounce");
        assert_eq!((&decision.facts["ticket"], &decision.facts["class"]), (&json!("T-1"), &json!("bounce")));
    }
    let decision = desk.receives("n3", &report("b2", "another thread", "unheard-of")).await;
    assert!(!decision.facts.contains_key("ticket"), "{decision:?}");
    assert_eq!((desk.tickets.opened().len(), desk.tickets.comments().len(), desk.nylas.sent().len()), (1, 0, 1));
}

#[tokio::test]
async fn out_of_office_and_auto_reply_open_nothing_and_reopen_nothing() {
    for (subject, reason) in [
        ("Automatic reply: A question", "automatic mail: out of office"),
        ("We have received your request", "automatic mail: auto-reply"),
    ] {
        let marks = headers("m1", &[("Auto-Submitted", "auto-replied"), ("In-Reply-To", "<m0@mail.example>")]);
        let snippet = json!({"subject": subject, "snippet": "Thank you for your message.", "headers": marks});
        let decision = Desk::skips(snippet).await;
        assert_eq!((decision.reason.as_str(), &decision.facts["ticket"]), (reason, &json!("T-1")));
    }
    // Not even the ticket's silence is over.
    let desk = Desk::new();
    desk.receives("n0", &mail(json!({"id": "m0"}))).await;
    let written = desk.links.written().len();
    let marks = headers("m1", &[("Auto-Submitted", "auto-replied")]);
    desk.receives("n1", &mail(json!({"subject": "Automatic reply: x", "headers": marks, "date": NOW + DAY}))).await;
    assert_eq!(desk.links.written().len(), written, "nothing is written of it");
}

#[tokio::test]
async fn lists_and_notifications_are_no_tickets_by_default() {
    let list = json!({"headers": headers("m1", &[("List-Id", "<news.acme.example>")])});
    let decision = Desk::skips(list).await;
    assert_eq!((decision.reason.as_str(), &decision.facts["class"]), ("mail to many: list", &json!("list")));
    let notification = json!({"from": from("noreply@acme.example"), "body": "Your API is down."});
    let decision = Desk::skips(notification).await;
    assert_eq!(decision.reason, "automatic mail: notification");
    assert_eq!(decision.facts["category"], "incidents", "so that one sees for which a rule might be wanted");
    let generated = json!({"headers": headers("m1", &[("Auto-Submitted", "auto-generated")])});
    assert_eq!(Desk::skips(generated).await.reason, "automatic mail: notification");
}

#[tokio::test]
async fn notification_is_taken_where_a_rule_that_fits_opens_tickets_for_its_class() {
    let probe = |id: &str, sender: &str, further: &[(&str, &str)]| {
        mail(json!({
            "id": id, "thread_id": id, "from": from(sender), "body": "The probe failed.",
            "headers": headers(id, further),
        }))
    };
    let desk = Desk::that_acknowledges();
    let generated = [("Auto-Submitted", "auto-generated")];
    let decision = desk.receives("n1", &probe("m1", "alerts@monitoring.example", &generated)).await;
    assert_eq!(
        (decision.to_string().as_str(), &decision.facts["class"]),
        ("logged: a new ticket", &json!("notification"))
    );
    assert_eq!(decision.facts["acknowledgement"], "withheld: automatic mail");
    assert_eq!((desk.tickets.opened()[0].desk.as_str(), desk.told().len()), ("on-call", 1));
    let decision = desk.receives("n2", &probe("m2", "alerts@other.example", &generated)).await;
    assert_eq!(decision.reason, "automatic mail: notification", "the rule is for one sender");
    let decision =
        desk.receives("n3", &probe("m3", "alerts@monitoring.example", &[("List-Id", "<x.y.example>")])).await;
    assert_eq!(decision.reason, "mail to many: list", "the rule is for one class");
    let answered = [("Auto-Submitted", "auto-replied")];
    let decision = desk.receives("n4", &probe("m4", "alerts@monitoring.example", &answered)).await;
    assert!(
        decision.reason.starts_with("automatic mail: "),
        "what a machine answers is taken by no rule: {decision:?}"
    );
    assert_eq!((desk.tickets.opened().len(), desk.nylas.sent().len()), (1, 0));
}

#[tokio::test]
async fn type_without_a_rule_is_a_permanent_failure_that_names_it() {
    let desk = Desk::new();
    for body in [
        json!({"type": "event.created", "id": "n", "data": {"object": {"id": "e"}}}),
        json!({"type": "message.opened", "id": "n", "data": {"object": {}}}),
        json!({"type": "calendar.backfill"}),
    ] {
        let failure = desk.process(&body).await.expect_err("no rule");
        let Failure::Permanent { class: "body.unknown_type", what } = &failure else { panic!("{failure:?}") };
        assert!(what.contains(body["type"].as_str().expect("a type")), "{what}");
    }
}

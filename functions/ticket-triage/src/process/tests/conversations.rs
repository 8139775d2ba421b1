//! Which mail continues which ticket, and who may.

use super::*;

/// A desk with a ticket of Dana's, by the mail `m1` in the thread `t1`.
async fn with_a_ticket() -> Desk {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    desk
}

fn reply(id: &str, fields: Value) -> Value {
    let mut reply = mail(json!({"id": id, "subject": "Re: A question", "body": "One more thing.", "date": NOW}));
    let (Some(object), Value::Object(fields)) = (reply.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    reply
}

fn pairs(comments: &[(String, String)]) -> Vec<(&str, &str)> {
    comments.iter().map(|(ticket, message)| (ticket.as_str(), message.as_str())).collect()
}

#[tokio::test]
async fn reply_in_the_thread_is_a_comment_from_the_sender_and_from_a_colleague_of_hers() {
    let desk = with_a_ticket().await;
    let decision = desk.receives("n2", &reply("m2", json!({}))).await;
    assert_eq!(decision.to_string(), "logged: one more mail of a ticket");
    assert_eq!(decision.became.as_deref(), Some("T-1"));
    desk.receives("n3", &reply("m3", json!({"from": from("lee@acme.example")}))).await;
    desk.receives("n4", &reply("m4", json!({"from": from("ines@northwind.example")}))).await;
    let comments = desk.tickets.comments();
    assert_eq!(pairs(&comments), [("T-1", "m2"), ("T-1", "m3"), ("T-1", "m4")]);
    assert_eq!((desk.tickets.opened().len(), desk.tickets.comment_bodies()[0].as_str()), (1, "One more thing."));
}

#[tokio::test]
async fn reply_in_another_mailboxs_thread_is_a_comment_by_its_references() {
    let desk = with_a_ticket().await;
    let elsewhere = json!({"grant_id": "g2", "thread_id": "t9", "headers": answering("m2", "m1")});
    desk.receives("n2", &reply("m2", elsewhere)).await;
    let further = json!({"grant_id": "g2", "thread_id": "t9"});
    desk.receives("n3", &reply("m3", further)).await;
    let by_the_chain = json!({"grant_id": "g1", "thread_id": "t7", "headers": answering("m4", "m3")});
    desk.receives("n4", &reply("m4", by_the_chain)).await;
    assert_eq!(pairs(&desk.tickets.comments()), [("T-1", "m2"), ("T-1", "m3"), ("T-1", "m4")]);
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn same_thread_id_in_another_mailbox_is_another_thread() {
    let desk = with_a_ticket().await;
    desk.receives("n2", &reply("m2", json!({"grant_id": "g2"}))).await;
    assert_eq!((desk.tickets.opened().len(), desk.tickets.comments().len()), (2, 0));
}

#[tokio::test]
async fn stranger_who_quotes_a_ticket_has_one_of_their_own_with_a_flag_and_continues_it() {
    let desk = with_a_ticket().await;
    for (number, fields) in [
        json!({"headers": answering("m2", "m1")}),
        json!({"grant_id": "g2", "thread_id": "t9", "headers": answering("m3", "m1")}),
    ]
    .into_iter()
    .enumerate()
    {
        let desk = with_a_ticket().await;
        let mut fields = fields;
        fields["from"] = from("mallory@evil.example");
        let id = format!("m{}", number + 2);
        let decision = desk.receives("n2", &reply(&id, fields.clone())).await;
        assert_eq!((decision.reason.as_str(), decision.became.as_deref()), ("a new ticket", Some("T-2")));
        assert_eq!(decision.facts["quoted_ticket"], "T-1");
        assert_eq!(desk.tickets.opened()[1].flags, ["stranger_quotes_ticket"]);
        fields["headers"] = answering("m9", "m1");
        let decision = desk.receives("n3", &reply("m9", fields)).await;
        assert_eq!(decision.became.as_deref(), Some("T-2"), "the second mail continues the stranger's own ticket");
    }
    let mallory = json!({"from": from("mallory@evil.example")});
    desk.receives("n2", &reply("m2", mallory)).await;
    let decision = desk.receives("n3", &reply("m3", json!({}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-1"), "and Dana hers");
}

#[tokio::test]
async fn public_mailbox_domain_makes_nobody_a_colleague() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({"from": from("kim@gmail.com")}))).await;
    let decision = desk.receives("n2", &reply("m2", json!({"from": from("mallory@gmail.com")}))).await;
    assert_eq!(decision.facts["flags"], json!(["stranger_quotes_ticket"]));
    let decision = desk.receives("n3", &reply("m3", json!({"from": from("kim@gmail.com")}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-1"));
}

#[tokio::test]
async fn reply_after_more_than_fourteen_days_opens_a_ticket_that_names_the_one_before() {
    let desk = with_a_ticket().await;
    let last_moment = NOW - MINUTE + 14 * DAY;
    let decision = desk.receives("n2", &reply("m2", json!({"date": last_moment}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-1"));
    let decision = desk.receives("n3", &reply("m3", json!({"date": last_moment + 14 * DAY + 1}))).await;
    assert_eq!(decision.to_string(), "logged: a new ticket after another one");
    assert_eq!(decision.facts["previous_ticket_id"], "T-1");
    let ticket = &desk.tickets.opened()[1];
    assert_eq!((ticket.previous_ticket_id.as_deref(), ticket.flags.len()), (Some("T-1"), 0));
    let decision = desk.receives("n4", &reply("m4", json!({"date": last_moment + 15 * DAY}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-2"), "further ones continue the new one");
}

#[tokio::test]
async fn comment_to_a_ticket_that_is_gone_opens_a_new_one_that_names_it() {
    let desk = with_a_ticket().await;
    desk.tickets.loses("T-1");
    let decision = desk.receives("n2", &reply("m2", json!({}))).await;
    assert_eq!((decision.reason.as_str(), decision.became.as_deref()), ("a new ticket after another one", Some("T-2")));
    assert_eq!(desk.tickets.opened()[1].previous_ticket_id.as_deref(), Some("T-1"));
    let decision = desk.receives("n3", &reply("m3", json!({"date": NOW + MINUTE}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-2"));
    assert_eq!(pairs(&desk.tickets.comments()), [("T-2", "m3")]);
}

#[tokio::test]
async fn reply_raises_what_a_ticket_had_and_never_lowers_it() {
    let desk = with_a_ticket().await;
    let mut priorities = Vec::new();
    for (number, body) in
        ["Thanks.", "The export crashes.", "Thanks.", "We cancel our contract.", "Thanks."].iter().enumerate()
    {
        let decision = desk
            .receives(&format!("n{}", number + 2), &reply(&format!("m{}", number + 2), json!({"body": body})))
            .await;
        priorities.push(decision.facts["priority"].as_str().expect("a priority").to_owned());
    }
    assert_eq!(priorities, ["low", "medium", "medium", "high", "high"]);
}

#[tokio::test]
async fn reply_that_is_an_incident_is_told_once_and_further_ones_are_not() {
    let desk = with_a_ticket().await;
    assert_eq!(desk.told().len(), 0);
    for number in 2..5 {
        let decision =
            desk.receives(&format!("n{number}"), &reply(&format!("m{number}"), json!({"body": "It is down."}))).await;
        let told = if number == 2 { json!("alert") } else { Value::Null };
        assert_eq!((decision.became.as_deref(), &decision.facts["alert"]), (Some("T-1"), &told));
    }
    assert_eq!(desk.told().len(), 1);
    assert!(desk.told()[0].contains("https://tickets.example/T-1"), "{:?}", desk.told());
}

fn sent(id: &str, fields: Value) -> Value {
    let team = from("support@northwind.example");
    let mut sent = reply(id, json!({"folders": ["SENT"], "from": team, "to": from("dana@acme.example")}));
    let (Some(object), Value::Object(fields)) = (sent.as_object_mut(), fields) else { panic!("objects") };
    object.extend(fields);
    sent
}

#[tokio::test]
async fn those_whom_the_team_writes_to_in_a_thread_are_part_of_its_ticket() {
    let desk = with_a_ticket().await;
    let to_both = json!([{"email": "dana@acme.example"}, {"email": "pat@partner.example"}]);
    let decision = desk.receives("n2", &sent("s1", json!({"to": to_both}))).await;
    assert_eq!((decision.to_string().as_str(), &decision.facts["ticket"]), ("skipped: sent", &json!("T-1")));
    let decision = desk.receives("n3", &reply("m3", json!({"from": from("pat@partner.example")}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-1"));
    let by_reference = json!({"grant_id": "g2", "thread_id": "t9", "headers": answering("m4", "s1")});
    assert_eq!(desk.receives("n4", &reply("m4", by_reference)).await.became.as_deref(), Some("T-1"));
    assert_eq!(desk.tickets.opened().len(), 1);
}

#[tokio::test]
async fn what_the_team_sent_ends_the_silence() {
    let desk = with_a_ticket().await;
    desk.receives("n2", &sent("s1", json!({"date": NOW + 13 * DAY}))).await;
    let decision = desk.receives("n3", &reply("m3", json!({"date": NOW + 20 * DAY}))).await;
    assert_eq!(decision.became.as_deref(), Some("T-1"));
}

#[tokio::test]
async fn mail_that_the_team_sent_without_a_ticket_is_remembered_nowhere() {
    let desk = Desk::new();
    let decision = desk.receives("n1", &sent("s1", json!({}))).await;
    assert_eq!((decision.to_string().as_str(), decision.facts.len()), ("skipped: sent", 0));
    assert!(desk.links.written().is_empty());
}

/// The team answers the stranger in the thread in which Dana's ticket is, and a colleague of the team's is on the mail.
#[tokio::test]
async fn stranger_whom_the_team_answers_is_no_part_of_the_ticket_that_the_stranger_quoted() {
    for colleague in [json!({"from": from("ines@northwind.example")}), json!({"cc": from("ines@northwind.example")})] {
        let desk = with_a_ticket().await;
        let mallory = from("mallory@evil.example");
        desk.receives("n2", &reply("m2", json!({"from": mallory}))).await;
        desk.receives("n3", &reply("m3", json!({"date": NOW + MINUTE}))).await;
        let mut answer = sent("s1", json!({"to": mallory}));
        answer.as_object_mut().expect("an object").extend(colleague.as_object().expect("an object").clone());
        let decision = desk.receives("n4", &answer).await;
        assert_eq!(decision.facts["ticket"], "T-2");
        let decision = desk.receives("n5", &reply("m5", json!({"from": mallory, "date": NOW + 2 * MINUTE}))).await;
        assert_eq!(decision.became.as_deref(), Some("T-2"));
    }
}

#[tokio::test]
async fn mail_that_its_provider_holds_for_forged_has_no_part_in_the_ticket_of_its_sender() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    let results = "mx.example; spf=pass smtp.mailfrom=evil.example; dmarc=fail (p=NONE) header.from=acme.example";
    let mut headers = answering("m2", "m1");
    headers.as_array_mut().expect("a list").push(json!({"name": "Authentication-Results", "value": results}));
    let decision = desk.receives("n2", &mail(json!({"id": "m2", "headers": headers}))).await;
    assert_eq!(
        (decision.became.as_deref(), &decision.facts["flags"]),
        (Some("T-2"), &json!(["stranger_quotes_ticket"]))
    );
}

#[tokio::test]
async fn what_a_machine_of_the_team_answers_makes_nobody_part_of_a_ticket() {
    let desk = Desk::new();
    desk.receives("n1", &mail(json!({}))).await;
    let mut headers = answering("s1", "m1");
    headers.as_array_mut().expect("a list").push(json!({"name": "Auto-Submitted", "value": "auto-replied"}));
    let mut absence = sent_to("mallory@evil.example");
    absence["headers"] = headers;
    desk.receives("n2", &absence).await;
    let reply = json!({"id": "m3", "from": from("mallory@evil.example"), "headers": answering("m3", "s1")});
    assert_eq!(desk.receives("n3", &mail(reply)).await.became.as_deref(), Some("T-2"));
}

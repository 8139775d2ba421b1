//! The labelled mails of `tests/labelled-mail/`: class and direction must be right for all of them.

#![expect(clippy::print_stdout, reason = "the table is for whoever runs `make labelled`")]

use super::*;
use shared::mail::HeadersAtHand;
use shared::mail::reading::fields_of;
use std::fmt::Write as _;

/// A labelled mail.
#[derive(serde::Deserialize)]
struct Labelled {
    name: String,
    mailbox: Mailbox,
    message: Value,
    headers: Value,
    expect: Expected,
}

#[derive(serde::Deserialize)]
struct Mailbox {
    email: String,
    provider: String,
    folders: Vec<Folder>,
}

#[derive(serde::Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    #[serde(default)]
    class: Option<String>,
    #[serde(default)]
    direction: Option<String>,
    #[serde(default)]
    dropped: Option<String>,
}

fn labelled() -> Vec<Labelled> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/labelled-mail");
    let mut mails = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the labelled mails") {
        let path = entry.expect("a file").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).expect("readable");
            let mut of_file: Vec<Labelled> =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            mails.append(&mut of_file);
        }
    }
    mails
}

/// What the function makes of a mail in whose CRM everybody is known. `class` is what the mail is judged to be by all
/// that Nylas has of it; the function itself may drop a mail sooner, and then for another class that is dropped.
async fn decided(mail: &Labelled) -> Expected {
    let desk = Desk::default();
    desk.crm.knows_everyone.store(true, Ordering::SeqCst);
    let grant = mail.message["grant_id"].as_str().expect("a grant").to_owned();
    desk.nylas.connects(&grant, &mail.mailbox.provider, &mail.mailbox.email);
    desk.nylas.folders.lock().expect("not poisoned").insert(grant.clone(), mail.mailbox.folders.clone());
    let mut held = mail.message.clone();
    held["headers"] = mail.headers.clone();
    desk.nylas.holds(&grant, held);
    let mut work = work("n", "message.created", &mail.message);
    work.body = work.body.replace("/google/emails/realtime", &format!("/{}/emails/realtime", mail.mailbox.provider));
    let mut deployed = desk.rules();
    deployed.settings.loop_id = LoopId::from_header("5f2b0c4de1a94c7f8a6b3d2e1f0c9b8a").expect("an id");
    let decision =
        deployed.for_batch().process(&work).await.unwrap_or_else(|failure| panic!("{}: {failure}", mail.name));
    let dropped = |reason: &str| Expected { class: None, direction: None, dropped: Some(reason.to_owned()) };
    match decision.reason.as_str() {
        "draft" => return dropped("draft"),
        "in the spam folder" => return dropped("spam"),
        "calendar invitation" => return dropped("calendar invitation"),
        "internal mail" => return dropped("internal"),
        _ => {}
    }
    let grant = GrantId::parse(&grant).expect("a grant");
    let fields = fields_of(Some(&mail.mailbox.provider));
    let soon = Deadline::after(Duration::from_secs(5));
    let known = desk.nylas.message(&grant, mail.message["id"].as_str().expect("an id"), fields, soon).await;
    let known = known.expect("an answer").expect("a mail");
    let at_hand = if fields == HeaderFields::All { HeadersAtHand::All } else { HeadersAtHand::Some };
    let people = People::on(&known);
    let verdict = class_of(&known, &people, at_hand, deployed.company());
    let is_logged = decision.became.is_some();
    let class = verdict.class.as_str().replace([' ', '-'], "_");
    assert_eq!(is_logged, class == "human", "{}: decided {decision}, judged {verdict:?}", mail.name);
    // A mail that is not logged has no direction in its record; the rule for it is the same.
    let folders = known.folders.clone().unwrap_or_default();
    let provider = Some(mail.mailbox.provider.as_str());
    let roles = deployed.reader.roles(&folders, &grant, provider, &work).await.expect("roles");
    let own = EmailAddress::parse(&mail.mailbox.email);
    let direction = match decision.facts.get("direction").and_then(Value::as_str) {
        Some(direction) => direction,
        None => direction(roles, people.from.as_ref(), own.as_ref(), &deployed.settings.company_domains).0.as_str(),
    };
    Expected { class: Some(class), direction: Some(direction.to_owned()), dropped: None }
}

/// What the sales recipe's filters do: no-reply senders, out-of-office and unsubscribe subjects, exact company
/// domains, and a folder that is called SENT.
fn decided_by_the_recipe(mail: &Labelled) -> Expected {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_lowercase();
    let sender = text(&mail.message["from"][0]["email"]);
    let subject = text(&mail.message["subject"]);
    let none = Expected { class: None, direction: None, dropped: None };
    let people =
        ["from", "to", "cc"].into_iter().flat_map(|field| mail.message[field].as_array().into_iter().flatten());
    let internal = |person: &Value| {
        let email = text(&person["email"]);
        ["@northwind.example", "@nordwind-labor.example"].iter().any(|domain| email.ends_with(domain))
    };
    if people.clone().count() > 0 && people.clone().all(internal) {
        return Expected { dropped: Some("internal".to_owned()), ..none };
    }
    let no_reply = [
        "noreply",
        "no-reply",
        "no_reply",
        "donotreply",
        "do-not-reply",
        "mailer-daemon",
        "postmaster",
        "notifications@",
        "alerts@",
    ];
    let absence = ["out of office", "automatic reply", "auto-reply", "autoreply", "auto reply"];
    let class = if no_reply.iter().any(|part| sender.contains(part)) {
        "notification"
    } else if absence.iter().any(|part| subject.contains(part)) {
        "out_of_office"
    } else if subject.contains("unsubscribe") {
        "list"
    } else {
        "human"
    };
    let sent = mail.message["folders"].as_array().into_iter().flatten().any(|folder| folder == "SENT");
    let direction = if sent { "outbound" } else { "inbound" };
    Expected { class: Some(class.to_owned()), direction: Some(direction.to_owned()), ..none }
}

/// True if the mail is logged where it must be and dropped where it must be: all that the recipe distinguishes.
fn same_fate(one: &Expected, other: &Expected) -> bool {
    let logged = |expected: &Expected| expected.class.as_deref() == Some("human");
    logged(one) == logged(other)
}

#[tokio::test]
async fn class_and_direction_are_right_for_every_labelled_mail() {
    let mails = labelled();
    assert!(mails.len() >= 120, "{} mails", mails.len());
    let (mut wrong, mut by_label) = (Vec::new(), std::collections::BTreeMap::<String, [usize; 4]>::new());
    for mail in &mails {
        let (ours, recipe) = (decided(mail).await, decided_by_the_recipe(mail));
        let label = mail.expect.class.clone().or(mail.expect.dropped.clone()).unwrap_or_default();
        let counts = by_label.entry(label).or_default();
        counts[0] += 1;
        counts[1] += usize::from(ours == mail.expect);
        counts[2] += usize::from(same_fate(&recipe, &mail.expect));
        let direction_matters = mail.expect.class.as_deref() == Some("human");
        counts[3] += usize::from(
            same_fate(&recipe, &mail.expect) && (!direction_matters || recipe.direction == mail.expect.direction),
        );
        if ours != mail.expect {
            wrong.push(format!("{}: expected {:?}, decided {ours:?}", mail.name, mail.expect));
        }
    }
    let mut table = String::from(
        "label                 mails  class and direction right  recipe: kept or dropped rightly  … and direction\n",
    );
    for (label, [all, ours, fate, direction]) in &by_label {
        writeln!(table, "{label:<20} {all:>6} {ours:>26} {fate:>32} {direction:>16}").expect("written");
    }
    let sum = |column: usize| by_label.values().map(|counts| counts[column]).sum::<usize>();
    write!(table, "{:<20} {:>6} {:>26} {:>32} {:>16}", "all", sum(0), sum(1), sum(2), sum(3)).expect("written");
    println!("{table}");
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}\n{table}", wrong.len(), mails.len(), wrong.join("\n"));
}

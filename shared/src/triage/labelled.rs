//! The labelled support mails: how many are sorted rightly by the built-in rules, and by the usual recipe's.

#![expect(clippy::print_stdout, reason = "the table is for whoever runs `make labelled`")]

use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::rules::Rules;
use super::said::Said;
use super::{Category, Priority};
use crate::domain::address::EmailAddress;
use crate::nylas::message::Message;

/// Of a hundred mails so many must be sorted into the right category.
const RIGHT_OF_A_HUNDRED: usize = 95;

/// A labelled mail.
#[derive(Deserialize)]
struct Labelled {
    name: String,
    from: String,
    subject: String,
    body: String,
    category: Category,
    priority: Priority,
}

/// The mails that the rules were made by.
const LABELLED: &str = include_str!("labelled.json");

/// Mails that nobody looked at when the rules were made: what is to be expected of mails to come.
const UNSEEN: &str = include_str!("unseen.json");

fn labelled(mails: &str) -> Vec<Labelled> {
    serde_json::from_str(mails).expect("the labelled mails")
}

fn sorted(mail: &Labelled, rules: &Rules) -> (Category, Priority) {
    let message = json!({"id": "m", "subject": mail.subject, "body": mail.body, "from": [{"email": mail.from}]});
    let message: Message = serde_json::from_value(message).expect("a message");
    let sender = EmailAddress::parse(&mail.from).expect("an address");
    let judged = Said::by(&message, &sender).judged_by(rules);
    (judged.category, judged.priority)
}

/// The way of the usual recipe: keywords in order, as parts of words, in the subject and the body as it is; the first
/// category wins. Its words are those that its known misfires show, and their like.
fn sorted_by_the_recipe(mail: &Labelled) -> (Category, Priority) {
    let words: [(Category, Priority, &[&str]); 5] = [
        (Category::Incidents, Priority::High, &["outage", "down", "urgent", "critical", "emergency"]),
        (Category::Bugs, Priority::Medium, &["bug", "error", "broken", "not working", "crash", "issue"]),
        (Category::Billing, Priority::Medium, &["invoice", "billing", "charge", "payment", "refund", "subscription"]),
        (Category::FeatureRequests, Priority::Low, &["feature", "would be nice", "suggestion", "enhancement"]),
        (Category::ChurnRisk, Priority::High, &["cancel", "switching", "competitor", "alternative", "leaving"]),
    ];
    let text = format!("{} {}", mail.subject, mail.body).to_lowercase();
    let first = words.iter().find(|(_, _, words)| words.iter().any(|word| text.contains(word)));
    first.map_or((Category::General, Priority::Low), |(category, priority, _)| (*category, *priority))
}

/// How many mails of each category there are, and how many are sorted rightly: category and priority by the built-in
/// rules, then by the recipe's. And the names of those that the built-in rules sort wrongly.
fn counted(mails: &[Labelled], rules: &Rules) -> (BTreeMap<Category, [usize; 5]>, Vec<String>) {
    let mut wrong = Vec::new();
    let mut by_category = BTreeMap::<Category, [usize; 5]>::new();
    for mail in mails {
        let (ours, recipe) = (sorted(mail, rules), sorted_by_the_recipe(mail));
        let right = [
            true,
            ours.0 == mail.category,
            ours.1 == mail.priority,
            recipe.0 == mail.category,
            recipe.1 == mail.priority,
        ];
        for (count, right) in by_category.entry(mail.category).or_default().iter_mut().zip(right) {
            *count += usize::from(right);
        }
        if ours.0 != mail.category {
            wrong.push(format!("{} is {}, and was taken for {}", mail.name, mail.category, ours.0));
        }
    }
    (by_category, wrong)
}

/// A table of the counts, and their sums.
fn table(by_category: &BTreeMap<Category, [usize; 5]>) -> (String, [usize; 5]) {
    let sums = std::array::from_fn(|column| by_category.values().map(|counts| counts[column]).sum());
    let rows = by_category.iter().map(|(category, counts)| (category.as_str(), *counts));
    let mut table =
        String::from("category           mails  category right  priority right  recipe: category  … priority\n");
    for (name, [all, ours, priority, recipe, recipe_priority]) in rows.chain([("all", sums)]) {
        writeln!(table, "{name:<16} {all:>7} {ours:>15} {priority:>15} {recipe:>17} {recipe_priority:>11}")
            .expect("written");
    }
    (table, sums)
}

#[test]
fn labelled_support_mails_are_sorted_rightly() {
    let (mails, rules) = (labelled(LABELLED), Rules::standard().unwrap_or_else(|error| panic!("{error}")));
    assert!(mails.len() >= 150, "{} mails", mails.len());
    let (by_category, wrong) = counted(&mails, &rules);
    let (table, [all, right, ..]) = table(&by_category);
    println!("The mails that the rules were made by:\n{table}{}\n", wrong.join("\n"));
    assert!(right * 100 >= all * RIGHT_OF_A_HUNDRED, "{right} of {all}:\n{}", wrong.join("\n"));
}

#[test]
fn unseen_support_mails_are_sorted_better_than_by_the_recipe() {
    let (mails, rules) = (labelled(UNSEEN), Rules::standard().unwrap_or_else(|error| panic!("{error}")));
    let (by_category, wrong) = counted(&mails, &rules);
    let (table, [_, right, _, recipe, _]) = table(&by_category);
    println!("Mails that nobody looked at when the rules were made:\n{table}{}\n", wrong.join("\n"));
    assert!(right > recipe, "{right} by the rules, {recipe} by the recipe's");
}

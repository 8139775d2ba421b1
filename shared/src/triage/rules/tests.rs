//! What rules find, and which of them wins.

use super::*;
use proptest::prelude::*;

fn rules(text: &str) -> Rules {
    Rules::load(text).unwrap_or_else(|error| panic!("{error}"))
}

/// One rule with these words, and more lines.
fn one(words: &str, lines: &str) -> Rules {
    rules(&format!(
        "[negation]\nreach = 3\nwords = [\"no\", \"not\", \"nothing\"]\n[[rules]]\nname = \"r\"\ncategory = \"bugs\"\nwords = [{words}]\n{lines}\n"
    ))
}

fn fits(rules: &Rules, text: &str) -> bool {
    rules.judge(&Look { text, ..Look::default() }).rule.is_some()
}

#[test]
fn built_in_rules_are_as_their_examples_say() {
    assert!(Rules::read(STANDARD).unwrap_or_else(|error| panic!("{error}")).len() > 10);
}

#[test]
fn misfires_of_the_recipe_do_not_happen() {
    let rules = Rules::standard().expect("the built-in rules");
    for (text, not) in [
        ("Where can I download the invoice template?", Category::Incidents),
        ("any update on the markdown export", Category::Incidents),
        ("recharge my tissue order", Category::Bugs),
        ("Great feature, thanks!", Category::FeatureRequests),
    ] {
        assert_ne!(rules.judge(&Look { text, ..Look::default() }).category, not, "{text}");
    }
}

#[test]
fn words_are_found_whole_and_in_all_their_forms() {
    let rules = one("\"crash\", \"=down\", \"issue\", \"charge\"", "");
    for text in ["It crashes.", "CRASHED!", "crashing", "it is Down", "many issues", "We were charged twice"] {
        assert!(fits(&rules, text), "{text}");
    }
    for text in ["download", "markdown", "a countdown", "tissue", "recharged", "downs", ""] {
        assert!(!fits(&rules, text), "{text}");
    }
}

#[test]
fn phrases_are_words_in_a_row_whatever_stands_between_them() {
    let rules = one("\"cannot log in\", \"stürzt ab\"", "language = \"de\"");
    for text in ["I cannot\nlog in.", "cannot LOG-in", "Die App STÜRZT   AB"] {
        assert!(fits(&rules, text), "{text}");
    }
    for text in ["cannot see how to log in", "log in cannot"] {
        assert!(!fits(&rules, text), "{text}");
    }
}

#[test]
fn what_is_negated_in_the_same_part_of_a_sentence_does_not_count() {
    let rules = one("\"broken\"", "");
    for text in ["It is not broken.", "nothing is broken", "no, it is broken"] {
        assert_eq!(fits(&rules, text), text.contains(','), "{text}");
    }
    assert!(fits(&rules, "I can not log in. Broken!"));
    assert!(fits(&one("\"not working\"", ""), "it is not working"));
    assert!(fits(&one("\"broken\"", "also_negated = true"), "It is not broken."));
}

#[test]
fn phrase_that_takes_back_covers_what_it_overlaps_and_no_more() {
    let rules = one("\"cancel\"", "unless = [\"cancel the meeting\"]");
    assert!(!fits(&rules, "I have to cancel the meeting."));
    assert!(fits(&rules, "I have to cancel the meeting. And we cancel the contract."));
    assert!(!fits(&one("\"cancel\"", "not_with = [\"meeting\"]"), "We cancel. See you at the meeting."));
}

#[test]
fn scopes_and_senders_bound_a_rule() {
    let rules = one("\"disk full\"", "in = [\"subject\"]\nfrom = [\"monitoring.example\", \"root@acme.example\"]");
    let judged = |subject: &str, text: &str, from: &str| {
        rules.judge(&Look { subject, text, from, ..Look::default() }).rule.is_some()
    };
    assert!(judged("Disk full on db-1", "", "alerts@eu.monitoring.example"));
    assert!(judged("Disk full on db-1", "", "root@acme.example"));
    assert!(!judged("", "Disk full", "alerts@monitoring.example"));
    assert!(!judged("Disk full", "", "alerts@notmonitoring.example"));
    assert!(!judged("Disk full", "", "dana@acme.example"));
    let by_sender = one("\"pager\"", "in = [\"sender\", \"domain\"]");
    let named = Look { name: "The Pager", from: "x@acme.example", ..Look::default() };
    assert!(by_sender.judge(&named).rule.is_some());
}

#[test]
fn highest_score_wins_the_subject_counts_more_and_ties_go_to_the_rule_that_stands_first() {
    let rules = rules(
        "subject_weight = 3\n\
         [[rules]]\nname = \"a\"\ncategory = \"bugs\"\nwords = [\"error\"]\n\
         [[rules]]\nname = \"b\"\ncategory = \"billing\"\nwords = [\"invoice\", \"refund\"]\npriority = \"high\"\n",
    );
    let judged = |subject: &str, text: &str| rules.judge(&Look { subject, text, ..Look::default() });
    let tie = judged("", "an error on the invoice");
    assert_eq!((tie.category, tie.score, tie.others[&Category::Billing]), (Category::Bugs, 1, 1));
    let more = judged("", "an error on the invoice, please refund");
    assert_eq!((more.category, more.priority, more.rule.as_deref()), (Category::Billing, Priority::High, Some("b")));
    assert_eq!(judged("Error", "invoice refund").category, Category::Bugs);
    let places: Vec<Value> = more.found.iter().map(Found::to_json).collect();
    assert_eq!(places[0], json!({"rule": "b", "phrase": "invoice", "in": "text", "at": [16, 23]}));
}

#[test]
fn places_that_overlap_count_once() {
    let rules = one("\"is down\", \"down again\", \"down\"", "weight = 4");
    assert_eq!(rules.judge(&Look { text: "it is down again", ..Look::default() }).score, 4);
    assert_eq!(rules.judge(&Look { text: "down. it is down", ..Look::default() }).score, 8);
}

#[test]
fn rules_of_a_language_that_the_mail_is_not_in_do_not_count() {
    let rules = rules("[[rules]]\nname = \"es\"\ncategory = \"billing\"\nlanguage = \"es\"\nwords = [\"pago\"]\n");
    let english = "Could you tell me on which page of the handbook I find how the pages of a report are counted? Thank you very much.";
    assert_eq!(rules.judge(&Look { text: english, ..Look::default() }).rule, None);
    let spanish = "Buenos días, todavía no hemos recibido el comprobante de los pagos que hicimos la semana pasada. Muchas gracias.";
    assert!(rules.judge(&Look { text: spanish, ..Look::default() }).rule.is_some());
}

#[test]
fn file_without_rules_is_not_put_in_place() {
    let told = Rules::read("# nothing yet").err().expect("refused").to_string();
    assert!(told.contains("there is none"), "{told}");
}

#[test]
fn example_that_is_not_as_it_says_is_told_with_its_line() {
    let text = "[[rules]]\nname = \"r\"\ncategory = \"bugs\"\nwords = [\"down\"]\nfits = [\"all is well\"]\nnot = [\n  \"it is down\",\n]\n";
    let told = Rules::read(text).err().expect("bad examples").to_string();
    assert!(told.contains("line 5, `fits` of the rule `r`: the rule does not fit this example: all is well"), "{told}");
    assert!(told.contains("line 7, `not` of the rule `r`: the rule fits this example: it is down"), "{told}");
}

#[test]
fn file_names_priority_domains_with_those_below_them() {
    let rules = rules("[boosts]\ndomains = [\"globex.example\"]\n");
    let first = |address: &str| rules.comes_first(&EmailAddress::parse(address).expect("an address"));
    assert!(first("hank@globex.example") && first("hank@eu.Globex.example"));
    assert!(!first("hank@notglobex.example"));
}

#[test]
fn desk_may_have_its_own_place_for_alerts() {
    let rules = rules(
        "[categories]\nbugs = { desk = \"web\", alert = true }\n[desks.web]\nalerts = \"https://hooks.example/x\"\n",
    );
    assert_eq!(rules.alerts_of("web"), Some("https://hooks.example/x"));
    assert_eq!(rules.alerts_of("on-call"), None);
    assert!(rules.facts_of(Category::Bugs).alert);
}

proptest! {
    #[test]
    fn every_text_is_judged_and_every_place_lies_within_it(text in "\\PC{0,200}", subject in "\\PC{0,60}") {
        let rules = one("\"a\", \"the\", \"=down\", \"é\"", "");
        let judged = rules.judge(&Look { subject: &subject, text: &text, from: "a@b.example", name: "x" });
        for found in judged.found {
            let whole = if found.scope == Scope::Subject { &subject } else { &text };
            prop_assert!(whole.get(found.at).is_some());
        }
    }

    #[test]
    fn upper_case_changes_nothing(text in "[a-z ]{0,80}(down|crash|charge)[a-z .]{0,20}") {
        let rules = one("\"crash\", \"=down\", \"charge\"", "");
        prop_assert_eq!(fits(&rules, &text), fits(&rules, &text.to_uppercase()));
    }
}

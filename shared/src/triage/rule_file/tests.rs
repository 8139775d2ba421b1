//! What is wrong with a file is told with its line and its field.

use super::*;

fn problems(text: &str) -> Vec<String> {
    RuleFile::read(text).expect_err("a bad file").0.iter().map(ToString::to_string).collect()
}

fn rule(lines: &str) -> String {
    format!("[[rules]]\nname = \"outage\"\ncategory = \"incidents\"\n{lines}\n")
}

#[test]
fn built_in_file_can_be_read_and_its_routing_is_the_recipes() {
    let file = RuleFile::read(STANDARD).expect("the built-in rules");
    let desks: Vec<&str> = Category::ALL.iter().map(|category| file.categories[category].desk.as_str()).collect();
    assert_eq!(desks, ["on-call", "engineering", "billing", "product", "retention", "support"]);
    assert_eq!(file.categories[&Category::General].priority, Priority::Low);
    assert!(file.categories[&Category::Incidents].alert && !file.categories[&Category::Bugs].alert);
    assert!(file.rules.iter().all(|rule| !rule.fits.is_empty()), "every rule shows what it fits");
}

#[test]
fn empty_file_sends_everything_to_the_support_desk() {
    let file = RuleFile::read("").expect("an empty file");
    assert!(file.rules.is_empty());
    assert_eq!(file.categories[&Category::General].desk, "support");
}

#[test]
fn each_thing_that_is_wrong_is_told_with_its_line_and_its_field() {
    for (text, expected) in [
        ("rules = 3\n", "line 1: invalid type: integer `3`, expected a sequence"),
        ("\n[[rules]]\nnam = \"x\"\n", "line 3: unknown field `nam`"),
        ("[[rules]]\nname = \"x\n", "line 2: "),
        (&rule("words = []"), "line 1, `words` of the rule `outage`: a rule needs `words`, or senders in `from`"),
        (&rule("words = [\"…\"]"), "line 4, `words` of the rule `outage`: `…` holds no word"),
        (&rule("words = [\"(down\"]"), "line 4, `words` of the rule `outage`: `(down` has a `(` without its `)`"),
        (
            &rule("words = [\"a|b\"]"),
            "line 4, `words` of the rule `outage`: `a|b` has a `)` or a `|` outside of choices",
        ),
        (&rule("words = [\"((a))\"]"), "line 4, `words` of the rule `outage`: `((a))` has choices within choices"),
        (
            &rule("words = [\"down\"]\npriority = \"urgent\""),
            "line 5, `priority` of the rule `outage`: `urgent` is no priority",
        ),
        (
            &rule("words = [\"down\"]\nweight = 0"),
            "line 5, `weight` of the rule `outage`: it is 0, and must lie between 1 and 100",
        ),
        (
            &rule("words = [\"down\"]\nlanguage = \"xx\""),
            "line 5, `language` of the rule `outage`: the forms of words in `xx`",
        ),
        (
            &rule("words = [\"down\"]\nin = [\"body\"]"),
            "line 5, `in` of the rule `outage`: `body` is none of subject, text, sender, domain",
        ),
        (
            &rule("from = [\"somewhere\"]"),
            "line 4, `from` of the rule `outage`: `somewhere` is neither an address nor a domain",
        ),
        (
            &rule("words = [\"down\"]\nopens_for = [\"bounce\"]"),
            "line 5, `opens_for` of the rule `outage`: `bounce` is none of list, notification",
        ),
        (&rule("words = [\"down\"]\nfits = [\" \"]"), "line 5, `fits` of the rule `outage`: an example is a text"),
        (
            "[[rules]]\nname = \"x\"\ncategory = \"outages\"\nwords = [\"down\"]\n",
            "line 3, `category` of the rule `x`: `outages` is no category",
        ),
        (
            "[[rules]]\nname = \" \"\ncategory = \"bugs\"\nwords = [\"down\"]\n",
            "line 2, rules.name: a rule needs a name",
        ),
        ("[negation]\nwords = [\"not at\"]\nreach = 3\n", "line 2, negation.words: `not at` is not one word"),
        ("subject_weight = 0\n", "line 1, subject_weight: it is 0"),
        ("[categories]\noutages = { desk = \"x\" }\n", "line 2, categories: `outages` is no category"),
        ("[categories]\nbugs = { desk = \"\" }\n", "line 2, categories.bugs.desk: a desk is a name"),
        ("[desks.nobody]\nalerts = \"https://hooks.example/x\"\n", "line 1, desks.nobody: no category has this desk"),
        ("[desks.on-call]\nalerts = \"http://hooks.example/x\"\n", "line 2, desks.on-call.alerts: "),
    ] {
        let told = problems(text);
        assert!(told.iter().any(|problem| problem.starts_with(expected)), "{text}\n{expected}\n{told:?}");
    }
}

#[test]
fn address_for_alerts_in_the_wrong_place_is_not_told() {
    let told = problems("[desks]\non-call = \"https://hooks.example/secret\"\n");
    assert!(told[0].starts_with("line 2: invalid type: a text, expected") && !told[0].contains("hooks"), "{told:?}");
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text = rule("words = [\"down\"]\nweight = 0\npriority = \"urgent\"") + &rule("words = [\"down\"]");
    let told = problems(&text);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].contains("names two rules"), "{told:?}");
}

#[test]
fn text_with_choices_stands_for_every_phrase_that_they_make() {
    let file =
        RuleFile::read(&rule("words = [\"(cancel|end up with) our (plan|=contract) now\", \"down\"]")).expect("a file");
    let phrases: Vec<&str> = file.rules[0].words.iter().map(|phrase| phrase.text.as_str()).collect();
    assert_eq!(
        phrases,
        [
            "cancel our plan now",
            "cancel our =contract now",
            "end up with our plan now",
            "end up with our =contract now",
            "down"
        ]
    );
    assert!(
        problems(&rule("words = [\"(a|b|c|d) (a|b|c|d) (a|b|c|d) (a|b|c|d) (a|b|c|d)\"]"))[0]
            .contains("more than 1000")
    );
}

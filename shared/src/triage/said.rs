//! What a mail says, as far as the rules look at it: the same for a mail that becomes a ticket and for one that new rules
//! are tried on.

use super::new_text::{NewText, bare_subject, new_text};
use super::rules::{Judgement, Look, Rules};
use crate::domain::address::EmailAddress;
use crate::nylas::message::Message;

/// What a mail says, as far as the rules look at it.
pub struct Said {
    subject: String,
    /// True if the subject is that of the mail that this one answers.
    answers: bool,
    /// The new words, and what was left out of them.
    new: NewText,
    from: String,
    name: String,
}

impl Said {
    /// What a mail says.
    #[must_use]
    pub fn by(message: &Message, sender: &EmailAddress) -> Self {
        let subject = bare_subject(message.subject.as_deref().unwrap_or_default());
        // Where the body cannot be had, its beginning says something.
        let body = message.body.as_deref().filter(|body| !body.trim().is_empty());
        let new = new_text(body.or(message.snippet.as_deref()).unwrap_or_default(), subject.forwards);
        Self {
            subject: subject.text.to_owned(),
            answers: subject.answers,
            new,
            from: sender.to_string(),
            name: name_of(message, sender).unwrap_or_default(),
        }
    }

    /// The subject without its prefixes.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The new words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.new.text
    }

    /// All that is the writer's, signature and footers included.
    #[must_use]
    pub fn without_history(&self) -> &str {
        &self.new.without_history
    }

    /// What the rules say of it. The subject of an answer is history as well: it speaks only where the new words say nothing.
    #[must_use]
    pub fn judged_by(&self, rules: &Rules) -> Judgement {
        let whole = Look { subject: &self.subject, text: &self.new.text, from: &self.from, name: &self.name };
        if !self.answers {
            return rules.judge(&whole);
        }
        let judged = rules.judge(&Look { subject: "", ..whole });
        if judged.rule.is_some() { judged } else { rules.judge(&whole) }
    }

    /// What was left out of the new words.
    #[must_use]
    pub fn left_out(&self) -> Vec<&'static str> {
        self.new.left_out.iter().map(|kind| kind.as_str()).collect()
    }
}

/// The sender's name, as the mail has it.
#[must_use]
pub fn name_of(message: &Message, sender: &EmailAddress) -> Option<String> {
    let mut senders = message.from.iter().flatten();
    let named = senders.find(|one| one.email.as_deref().and_then(EmailAddress::parse).as_ref() == Some(sender))?;
    named.name.clone().filter(|name| !name.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triage::Category;
    use serde_json::json;

    fn category(subject: &str, body: &str) -> Category {
        let rules = Rules::read(
            "[[rules]]\nname = \"a\"\ncategory = \"incidents\"\nwords = [\"outage\"]\n\
             [[rules]]\nname = \"b\"\ncategory = \"billing\"\nwords = [\"invoice\"]\n",
        )
        .unwrap_or_else(|error| panic!("{error}"));
        let message = json!({"id": "m", "subject": subject, "body": body, "from": [{"email": "dana@acme.example"}]});
        let message: Message = serde_json::from_value(message).expect("a message");
        Said::by(&message, &EmailAddress::parse("dana@acme.example").expect("an address")).judged_by(&rules).category
    }

    #[test]
    fn subject_of_an_answer_speaks_only_where_the_new_words_say_nothing() {
        assert_eq!(category("Outage", "the invoice, please"), Category::Incidents);
        assert_eq!(category("Re: Outage", "the invoice, please"), Category::Billing);
        assert_eq!(category("Re: Outage", "any news?"), Category::Incidents);
        assert_eq!(category("Fwd: Outage", "the invoice, please"), Category::Incidents);
    }

    #[test]
    fn beginning_speaks_where_the_body_cannot_be_had() {
        let message = json!({"id": "m", "body": " ", "snippet": "an outage", "from": [{"email": "dana@acme.example"}]});
        let message: Message = serde_json::from_value(message).expect("a message");
        let said = Said::by(&message, &EmailAddress::parse("dana@acme.example").expect("an address"));
        assert_eq!((said.text(), said.subject()), ("an outage", ""));
    }
}

//! The webhook at Nylas, judged: it is there under the stack's address, Nylas delivers to it, and it asks for everything
//! that the functions which are on want.

use super::line::Line;

/// A webhook, as Nylas has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: String,
    /// Where it delivers to.
    pub url: String,
    /// `active`, `pause`, `failing` or `failed` (Nylas documentation, "Webhooks").
    pub status: String,
    /// What it notifies of.
    pub trigger_types: Vec<String>,
}

/// The webhook of the stack: that of `all` which delivers to `url`. `wanted` are the trigger types that it has to have.
#[must_use]
pub fn judge(url: &str, wanted: &[&str], all: &[Webhook]) -> Line {
    let what = "the webhook at Nylas";
    let ours = |webhook: &&Webhook| webhook.url.trim_end_matches('/') == url.trim_end_matches('/');
    let Some(webhook) = all.iter().find(ours) else {
        return Line::red(
            what,
            format!("Nylas has none for {url}: nothing arrives ({} for other addresses)", all.len()),
            "give `make subscribe`, which makes it and keeps its secret",
        );
    };
    let seen = format!("{} is {}", webhook.id, webhook.status);
    let status = match webhook.status.as_str() {
        "active" => None,
        "failing" => Some(Line::warning(
            what,
            format!("{seen}: Nylas was refused or did not reach it lately, and stops if that goes on for 72 hours"),
            "see in the log of webhook-ingress what it answered; `make subscribe` shows whether it is well again",
        )),
        "failed" => Some(Line::red(
            what,
            format!("{seen}: Nylas has given up and delivers nothing"),
            "mend what the log of webhook-ingress says, then give `make subscribe`, which turns it on again, and `make \
             reconcile` for what was missed",
        )),
        "pause" | "paused" => Some(Line::red(
            what,
            format!("{seen}: somebody has paused it, and Nylas delivers nothing"),
            "give `make subscribe`, which turns it on again, and `make reconcile` for what was missed",
        )),
        _ => Some(Line::warning(
            what,
            format!("{seen}, which is no state that Nylas documents"),
            "see what the Nylas dashboard says of it",
        )),
    };
    if let Some(line) = status {
        return line;
    }
    let missing: Vec<&str> =
        wanted.iter().filter(|kind| webhook.trigger_types.iter().all(|has| has != *kind)).copied().collect();
    if missing.is_empty() {
        return Line::ok(what, format!("{seen}, with {} trigger types", webhook.trigger_types.len()));
    }
    Line::red(
        what,
        format!("{seen}, but notifies of nothing of {}", missing.join(", ")),
        "give `make subscribe`, which adds what the functions that are on want",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;

    const URL: &str = "https://abc.lambda-url.eu-west-1.on.aws/webhooks/nylas";
    const WANTED: [&str; 2] = ["message.created", "grant.expired"];

    fn webhook(status: &str, kinds: &[&str]) -> Webhook {
        Webhook {
            id: "w-1".to_owned(),
            url: URL.to_owned(),
            status: status.to_owned(),
            trigger_types: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        }
    }

    #[test]
    fn webhook_is_ok_if_it_is_active_and_notifies_of_all_that_is_wanted() {
        let line = judge(URL, &WANTED, &[webhook("active", &["message.created", "grant.expired", "event.created"])]);
        assert_eq!(line, Line::ok("the webhook at Nylas", "w-1 is active, with 3 trigger types"));
    }

    #[test]
    fn webhook_that_is_not_there_or_does_not_deliver_tells_what_to_do() {
        let elsewhere = Webhook { url: "https://elsewhere.example/".to_owned(), ..webhook("active", &WANTED) };
        for (all, state, seen, to_do) in [
            (vec![], State::Red, "(0 for other addresses)", "make subscribe"),
            (vec![elsewhere], State::Red, "(1 for other addresses)", "make subscribe"),
            (vec![webhook("failing", &WANTED)], State::Warning, "72 hours", "log of webhook-ingress"),
            (vec![webhook("failed", &WANTED)], State::Red, "given up", "make reconcile"),
            (vec![webhook("pause", &WANTED)], State::Red, "paused", "make subscribe"),
            (vec![webhook("dozing", &WANTED)], State::Warning, "no state", "dashboard"),
            (vec![webhook("active", &WANTED[..1])], State::Red, "nothing of grant.expired", "make subscribe"),
        ] {
            let line = judge(URL, &WANTED, &all);
            assert_eq!(line.state, state, "{line:?}");
            assert!(line.seen.contains(seen), "{}", line.seen);
            assert!(line.to_do.is_some_and(|told| told.contains(to_do)), "{to_do}");
        }
    }
}

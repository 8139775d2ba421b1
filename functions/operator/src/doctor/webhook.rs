//! The webhook at Nylas, judged: it is there under the stack's address, Nylas delivers to it, and it asks for everything
//! that the functions which are on want.

use shared::nylas::webhooks::Webhook;

use super::line::Line;
use crate::subscribe::desired::Desired;
use crate::subscribe::standing::State;

/// What the line is about.
pub const WHAT: &str = "the webhook at Nylas";

/// The webhook of the stack among all those of the application; `desired` is none if the stack has no address for it.
#[must_use]
pub fn judge(desired: Option<&Desired>, all: &[Webhook]) -> Line {
    let Some(desired) = desired else {
        return Line::unexamined(WHAT, &"the stack has no output `WebhookUrl`");
    };
    let Some(webhook) = desired.among(all) else {
        return Line::red(
            WHAT,
            format!("Nylas has none for {}: nothing arrives ({} for other addresses)", desired.url, all.len()),
            "give `make subscribe`, which makes it and keeps its secret",
        );
    };
    let state = State::of(webhook);
    let seen = format!("{}: {}", webhook.id, state.meaning());
    match (&state, state.to_do()) {
        (State::Active, _) | (_, None) => {}
        (State::Failing | State::Other(_), Some(to_do)) => return Line::warning(WHAT, seen, to_do),
        (State::Paused | State::Failed, Some(to_do)) => return Line::red(WHAT, seen, to_do),
    }
    let missing: Vec<&str> = desired
        .trigger_types
        .iter()
        .filter(|kind| webhook.trigger_types.iter().all(|has| has != *kind))
        .copied()
        .collect();
    if missing.is_empty() {
        return Line::ok(WHAT, format!("{seen}, of {} types", webhook.trigger_types.len()));
    }
    Line::red(
        WHAT,
        format!("{seen}, but not of {}", missing.join(", ")),
        "give `make subscribe`, which adds what the functions that are on want",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State as Judged;

    fn desired() -> Desired {
        Desired {
            url: "https://abc.lambda-url.eu-west-1.on.aws/webhooks/nylas".to_owned(),
            trigger_types: vec!["message.created", "grant.expired"],
            description: "crm-autopilot".to_owned(),
            contact: None,
        }
    }

    fn webhook(status: &str, kinds: &[&str]) -> Webhook {
        Webhook {
            id: "w-1".to_owned(),
            webhook_url: desired().url,
            status: Some(status.to_owned()),
            trigger_types: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            ..Webhook::default()
        }
    }

    const WANTED: [&str; 2] = ["message.created", "grant.expired"];

    #[test]
    fn webhook_is_ok_if_it_is_active_and_notifies_of_all_that_is_wanted() {
        let all = [webhook("active", &["message.created", "grant.expired", "event.created"])];
        assert_eq!(judge(Some(&desired()), &all), Line::ok(WHAT, "w-1: Nylas delivers, of 3 types"));
    }

    #[test]
    fn webhook_that_is_not_there_or_does_not_deliver_tells_what_to_do() {
        let elsewhere = Webhook { webhook_url: "https://elsewhere.example/".to_owned(), ..webhook("active", &WANTED) };
        for (all, state, seen, to_do) in [
            (vec![], Judged::Red, "(0 for other addresses)", "make subscribe"),
            (vec![elsewhere], Judged::Red, "(1 for other addresses)", "make subscribe"),
            (vec![webhook("failing", &WANTED)], Judged::Warning, "72 hours", "ACTIVATE=1"),
            (vec![webhook("failed", &WANTED)], Judged::Red, "delivers nothing any more", "make subscribe"),
            (vec![webhook("pause", &WANTED)], Judged::Red, "paused", "ACTIVATE=1"),
            (vec![webhook("dozing", &WANTED)], Judged::Warning, "dozing", "dashboard"),
            (vec![webhook("active", &WANTED[..1])], Judged::Red, "not of grant.expired", "make subscribe"),
        ] {
            let line = judge(Some(&desired()), &all);
            assert_eq!(line.state, state, "{line:?}");
            assert!(line.seen.contains(seen), "{}", line.seen);
            assert!(line.to_do.is_some_and(|told| told.contains(to_do)), "{to_do}");
        }
        assert_eq!(judge(None, &[]).state, Judged::Red, "a stack without an address");
    }
}

//! The secrets of the stack, judged: each has a value, at least one webhook secret is live, no rotation was left half done.
//! Of a secret no more is looked at than whether it has a value; the managed one is read for its mark of a rotation.

use jiff::Timestamp;
use serde::Deserialize;
use shared::engine::StoreError;

use super::line::Line;

/// The secrets with the parameters that they are made of, in the order in which they are told. The two of the webhook
/// have a line of their own.
pub const SECRETS: [(&str, &str); 7] = [
    ("NylasApiKeySecret", "NylasApiKey"),
    ("EventsSecret", "CustomerEventsSecret"),
    ("CrmApiKeySecret", "CrmApiKey"),
    ("CrmRefreshTokenSecret", "CrmRefreshToken"),
    ("TicketApiKeySecret", "TicketApiKey"),
    ("AlertWebhookSecret", "AlertWebhookUrl"),
    ("SupportGrantsSecret", "SupportGrantIds"),
];

/// The name in the template of the webhook secret from the parameter.
pub const WEBHOOK_SECRET: &str = "WebhookSecret";

/// The name in the template of the webhook secret that the operator writes.
pub const MANAGED_WEBHOOK_SECRET: &str = "ManagedWebhookSecret";

/// What the managed webhook secret holds, without the secrets themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Managed {
    /// How many secrets.
    pub secrets: usize,
    /// Until when a rotation is under way.
    pub rotating_until: Option<Timestamp>,
}

/// One entry of the managed list, as webhook-ingress reads it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Text(String),
    Object {
        #[serde(default)]
        secret: Option<String>,
        #[serde(default)]
        rotating_until: Option<Timestamp>,
    },
}

impl Managed {
    /// Reads the value of the secret.
    ///
    /// # Errors
    /// If it is no list of secrets. The error says where, and nothing of what stands there.
    pub fn read(value: &str) -> Result<Self, StoreError> {
        let entries: Vec<Entry> = serde_json::from_str(value).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            StoreError(format!("its value is not a JSON list of secrets (line {line}, column {column})"))
        })?;
        let mut managed = Self::default();
        for entry in entries {
            let (secret, rotating_until) = match entry {
                Entry::Text(text) => (Some(text), None),
                Entry::Object { secret, rotating_until } => (secret, rotating_until),
            };
            managed.secrets += usize::from(secret.is_some_and(|secret| !secret.trim().is_empty()));
            managed.rotating_until = managed.rotating_until.max(rotating_until);
        }
        Ok(managed)
    }
}

/// What was seen of the webhook secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecrets {
    /// Whether the one from the parameter has a value; none if the parameter is empty.
    pub parameter: Option<Result<bool, StoreError>>,
    /// What the managed one holds.
    pub managed: Result<Managed, StoreError>,
}

/// A secret that is made of a parameter: whether it has a value.
#[must_use]
pub fn of_parameter(parameter: &str, has_value: &Result<bool, StoreError>) -> Line {
    let what = format!("the secret of `{parameter}`");
    match has_value {
        Ok(true) => Line::ok(what, "it has a value"),
        Ok(false) => Line::red(
            what,
            "it has no value: somebody removed it",
            format!(
                "put the value of `{parameter}` into it by `aws secretsmanager put-secret-value`, or deploy with another"
            ),
        ),
        Err(problem) => Line::unexamined(what, problem),
    }
}

/// The webhook secrets: one of the two places has to hold one.
#[must_use]
pub fn of_webhook(seen: &WebhookSecrets, now: Timestamp) -> Line {
    let what = "the webhook secret";
    let managed = match (&seen.managed, &seen.parameter) {
        (Ok(managed), Some(Ok(_)) | None) => managed,
        (Err(problem), _) => return Line::unexamined(format!("{what} (managed)"), problem),
        (_, Some(Err(problem))) => return Line::unexamined(format!("{what} (`NylasWebhookSecret`)"), problem),
    };
    let of_parameter = seen.parameter == Some(Ok(true));
    if managed.secrets == 0 && !of_parameter {
        return Line::red(
            what,
            "there is none: every notification is answered 503, and Nylas gives up after 20 minutes",
            "give `make subscribe`, which makes the webhook and keeps its secret",
        );
    }
    let places = match (of_parameter, managed.secrets) {
        (true, 0) => "from `NylasWebhookSecret`".to_owned(),
        (false, count) => format!("managed: {count}"),
        (true, count) => format!("from `NylasWebhookSecret`, and managed: {count}"),
    };
    match managed.rotating_until {
        None => Line::ok(what, places),
        Some(until) if until > now => Line::warning(
            what,
            format!("{places}; a rotation is under way until {until}: an unknown signature is answered 503"),
            "give the command again after that time",
        ),
        Some(until) => Line::warning(
            what,
            format!("{places}; a rotation was begun and never ended: its mark is of {until}"),
            "give `make subscribe`, which shows how the webhook stands, then rotate once more: nothing is lost by that",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::line::State;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn managed_secret_is_counted_without_being_kept_and_a_wrong_one_is_told_by_its_place() {
        let text = r#"["a", {"secret": "b"}, {"rotating_until": "2026-03-01T10:00:00Z"}, ""]"#;
        let expected = Managed { secrets: 2, rotating_until: Some(at(1_772_359_200)) };
        assert_eq!(Managed::read(text), Ok(expected));
        let error = Managed::read("[\"whsec-hidden\", 7]").expect_err("no secret").to_string();
        assert!(error.contains("line 1") && !error.contains("hidden"), "{error}");
    }

    #[test]
    fn secret_without_a_value_is_red_and_one_that_cannot_be_looked_at_too() {
        assert_eq!(of_parameter("CrmApiKey", &Ok(true)).state, State::Ok);
        let empty = of_parameter("CrmApiKey", &Ok(false));
        assert_eq!(empty.state, State::Red);
        assert!(empty.to_do.is_some_and(|to_do| to_do.contains("put-secret-value")));
        let hidden = of_parameter("CrmApiKey", &Err(StoreError("AccessDenied".to_owned())));
        assert_eq!((hidden.state, hidden.seen.contains("AccessDenied")), (State::Red, true));
    }

    #[test]
    fn one_webhook_secret_in_either_place_is_enough_and_none_is_red() {
        let managed = |secrets, rotating_until| Ok(Managed { secrets, rotating_until });
        let down = || StoreError("down".to_owned());
        for (parameter, managed, state, words) in [
            (Some(Ok(true)), managed(0, None), State::Ok, ""),
            (None, managed(1, None), State::Ok, ""),
            (Some(Ok(true)), managed(2, None), State::Ok, ""),
            (None, managed(0, None), State::Red, "make subscribe"),
            (Some(Ok(false)), managed(0, None), State::Red, "make subscribe"),
            (None, managed(2, Some(at(1001))), State::Warning, "after that time"),
            (None, managed(2, Some(at(999))), State::Warning, "rotate once more"),
            (None, Err(down()), State::Red, "role of the operator"),
            (Some(Err(down())), managed(1, None), State::Red, "role of the operator"),
        ] {
            let seen = WebhookSecrets { parameter, managed };
            let line = of_webhook(&seen, at(1000));
            assert_eq!(line.state, state, "{seen:?}");
            assert!(line.to_do.unwrap_or_default().contains(words), "{seen:?}");
        }
    }
}

//! A lasting reference to a file of a meeting, as the CRM holds it, that is to be made a link which opens the file.

use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

use crate::command::{BadCommand, fields_of, filled};

/// How long a link lives that does not say so, in minutes.
const DEFAULT_MINUTES: i64 = 15;

/// The longest that a link may live, in minutes. It opens the file to anybody who has it, and it ends with the
/// credentials that it was signed with, however long it was to live (Amazon S3 user guide, "Download and upload objects
/// with presigned URLs").
pub const LONGEST_MINUTES: i64 = 60;

/// A link that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaLink {
    /// What stands in the CRM: `s3://<bucket>/media/<grant>/<notetaker>/<file>`.
    pub reference: String,
    /// How long the link is to live.
    pub lifetime: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    reference: Option<String>,
    minutes: Option<i64>,
}

impl MediaLink {
    /// Reads the fields of an event.
    ///
    /// # Errors
    /// If they are no such request.
    pub fn read(fields: Map<String, Value>) -> Result<Self, BadCommand> {
        let fields: Fields = fields_of(fields)?;
        let reason = "it is what stands in the CRM and begins with s3://";
        let reference =
            filled("reference", fields.reference)?.ok_or(BadCommand::Missing { field: "reference", reason })?;
        let minutes = fields.minutes.unwrap_or(DEFAULT_MINUTES);
        let seconds = u64::try_from(minutes).ok().filter(|_| (1..=LONGEST_MINUTES).contains(&minutes));
        let seconds = seconds.ok_or(BadCommand::Minutes(minutes))? * 60;
        Ok(Self { reference, lifetime: Duration::from_secs(seconds) })
    }
}

/// The grant and the notetaker that the key of a file names.
#[must_use]
pub fn owners(key: &str) -> Option<(&str, &str)> {
    let mut segments = key.split('/').filter(|segment| !segment.is_empty()).skip(1);
    Some((segments.next()?, segments.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use shared::domain::media::media_key;

    const REFERENCE: &str = "s3://archive/media/g/n/summary.json";

    fn read(event: &Value) -> Result<MediaLink, String> {
        MediaLink::read(event.as_object().expect("an object").clone()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn link_lives_for_a_quarter_of_an_hour_unless_it_is_told_otherwise_and_an_hour_at_most() {
        let lives = |minutes: Value| {
            read(&json!({ "reference": REFERENCE, "minutes": minutes })).map(|link| link.lifetime.as_secs() / 60)
        };
        assert_eq!(lives(Value::Null), Ok(15));
        assert_eq!(lives(json!(1)), Ok(1));
        assert_eq!(lives(json!(60)), Ok(60));
        for minutes in [0, -1, 61, i64::MIN, i64::MAX] {
            let problem = lives(json!(minutes)).expect_err("refused");
            assert!(
                problem.contains(&format!("`minutes` is {minutes}: a link lives from 1 to 60 minutes")),
                "{problem}"
            );
        }
    }

    #[test]
    fn wrong_request_is_told_what_is_wrong() {
        for (event, words) in [
            (json!({}), "`reference` is missing: it is what stands in the CRM"),
            (json!({ "reference": " " }), "`reference` is empty"),
            (json!({ "reference": REFERENCE, "hours": 1 }), "unknown field `hours`"),
            (json!({ "reference": 7 }), "expected a string"),
        ] {
            let problem = read(&event).expect_err("refused");
            assert!(problem.contains(words), "{event}: {problem}");
        }
    }

    #[test]
    fn key_names_the_grant_and_the_notetaker() {
        assert_eq!(owners(&media_key(Some("g"), "n", "summary.json")), Some(("g", "n")));
        assert_eq!(owners("media/g"), None);
    }
}

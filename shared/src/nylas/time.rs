//! Unix times as Nylas sends them: in seconds, in places in milliseconds.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The time; what is far beyond all seconds (more than 10^11) is milliseconds. None for everything that is no number.
pub(super) fn timestamp(value: &Value) -> Option<Timestamp> {
    let number = value.as_i64()?;
    if number > 100_000_000_000 {
        Timestamp::from_millisecond(number).ok()
    } else {
        Timestamp::from_second(number).ok()
    }
}

/// For serde: a time that may be missing, null or odd.
///
/// # Errors
/// If the value is no JSON.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    Ok(timestamp(&Value::deserialize(deserializer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn time_is_taken_in_seconds_and_in_milliseconds_and_nothing_else_is_a_time() {
        for value in [json!(1_772_359_200_i64), json!(1_772_359_200_000_i64)] {
            assert_eq!(timestamp(&value).map(Timestamp::as_second), Some(1_772_359_200));
        }
        for value in [json!(null), json!("1772359200"), json!({}), json!(i64::MAX)] {
            assert_eq!(timestamp(&value), None, "{value}");
        }
    }
}

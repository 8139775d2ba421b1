//! Where the files of a meeting lie in the archive bucket: `media/<grant>/<notetaker>/<file>`.

/// The prefix of all such files. A lifecycle rule removes them after `MediaRetentionDays`.
pub const MEDIA_PREFIX: &str = "media/";

/// Stands for the account of a notetaker that no account has sent.
const STANDALONE: &str = "standalone";

/// The key of a file. Ids bear letters, digits and hyphens; anything else in them would make another path of it, and
/// becomes `_`.
#[must_use]
pub fn media_key(grant: Option<&str>, notetaker: &str, file: &str) -> String {
    let segments = [grant.unwrap_or(STANDALONE), notetaker, file].map(segment);
    format!("{MEDIA_PREFIX}{}", segments.join("/"))
}

fn segment(text: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.@".contains(character);
    let plain: String = text.chars().map(|character| if is_plain(character) { character } else { '_' }).collect();
    if plain.trim_matches('.').is_empty() { "_".to_owned() } else { plain }
}

/// A lasting reference to an object of a bucket, as the CRM gets it. It opens nothing by itself.
#[must_use]
pub fn reference(bucket: &str, key: &str) -> String {
    format!("s3://{bucket}/{key}")
}

/// The key that a reference names in this bucket; none if it names another bucket or something else than a meeting's
/// file.
#[must_use]
pub fn key_of<'a>(reference: &'a str, bucket: &str) -> Option<&'a str> {
    let key = reference.trim().strip_prefix("s3://")?.strip_prefix(bucket)?.strip_prefix('/')?;
    let is_file = key.strip_prefix(MEDIA_PREFIX)?.split('/').filter(|segment| !segment.is_empty()).count() == 3;
    is_file.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_names_grant_notetaker_and_file() {
        assert_eq!(media_key(Some("g-1"), "n-1", "summary.txt"), "media/g-1/n-1/summary.txt");
        assert_eq!(media_key(None, "n-1", "recording.mp4"), "media/standalone/n-1/recording.mp4");
    }

    #[test]
    fn odd_ids_stay_within_their_place() {
        assert_eq!(media_key(Some("../../x"), "..", "a b"), "media/.._.._x/_/a_b");
        assert_eq!(media_key(Some(""), "n", "f"), "media/_/n/f");
    }

    #[test]
    fn reference_names_its_key_in_its_own_bucket_alone() {
        let key = media_key(Some("g"), "n", "summary.txt");
        let reference = reference("archive", &key);
        assert_eq!(reference, "s3://archive/media/g/n/summary.txt");
        assert_eq!(key_of(&reference, "archive"), Some(key.as_str()));
        for other in [
            "s3://archive-2/media/g/n/summary.txt",
            "s3://archive/bodies/abc",
            "s3://archive/media/g/n",
            "s3://archive/media/g/n/a/b",
            "https://archive/media/g/n/summary.txt",
            "",
        ] {
            assert_eq!(key_of(other, "archive"), None, "{other}");
        }
    }
}

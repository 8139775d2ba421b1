//! The files of a notetaker read as text: summaries and transcripts, in whichever of their forms they come.
//!
//! Nylas documents neither form closely, so what is read is what its clients have met: labelled and raw transcripts,
//! bare lists, bare texts, plain text that is no JSON; summaries as texts or in objects.

use serde_json::Value;
use shared::plain_text::plain_text;

/// The longest summary or list of action items that is read, in bytes.
pub const MOST_SUMMARY_BYTES: u64 = 1024 * 1024;

/// The longest transcript that is read, in bytes: some twenty hours of talk.
pub const MOST_TRANSCRIPT_BYTES: u64 = 4 * 1024 * 1024;

/// The most parts of a file, counted by what begins and separates them; read, each may take some hundred bytes.
const MOST_PARTS: usize = 150_000;

/// What an object tells of the file and not of what was said.
const ABOUT_THE_FILE: [&str; 7] = ["object", "type", "id", "language", "status", "meeting_id", "title"];

/// How deep a text may lie in an object.
const MOST_DEPTH: usize = 4;

/// A file as JSON, or as a text if it is none.
#[must_use]
pub fn read(file: &[u8]) -> Value {
    serde_json::from_slice(file).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(file);
        Value::String(text.trim_start_matches('\u{feff}').to_owned())
    })
}

/// What was said, a line for each turn: `Speaker: words` where the speaker is known, else the words. None if nothing was.
#[must_use]
pub fn transcript(file: &Value) -> Option<String> {
    let text = match file {
        Value::String(text) => text.trim().to_owned(),
        Value::Array(turns) => turns.iter().filter_map(turn).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => {
            // No file is nested so deeply that this would run out of stack: serde_json refuses it.
            return ["transcript", "segments", "utterances", "text"]
                .into_iter()
                .find_map(|name| transcript(fields.get(name)?));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    };
    (!text.is_empty()).then_some(text)
}

fn turn(turn: &Value) -> Option<String> {
    let words = match turn {
        Value::String(words) => words,
        Value::Object(fields) => fields.get("text").or_else(|| fields.get("words"))?.as_str()?,
        _ => return None,
    };
    let words = one_line(words);
    if words.is_empty() {
        return None;
    }
    Some(match speaker(turn) {
        Some(speaker) => format!("{speaker}: {words}"),
        None => words,
    })
}

fn speaker(turn: &Value) -> Option<String> {
    let speaker = match turn.get("speaker")? {
        Value::String(name) => one_line(name),
        Value::Number(number) => format!("Speaker {number}"),
        Value::Object(fields) => one_line(fields.get("name")?.as_str()?),
        _ => return None,
    };
    (!speaker.is_empty()).then_some(speaker)
}

/// What was said in short. None if the file says nothing.
#[must_use]
pub fn summary(file: &Value) -> Option<String> {
    // Without markup, its lines kept.
    let text = plain_text(&text_within(file, 0)?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn text_within(value: &Value, depth: usize) -> Option<String> {
    if depth > MOST_DEPTH {
        return None;
    }
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Array(parts) => joined(parts.iter(), depth),
        Value::Object(fields) => {
            let named = ["summary", "text", "content"];
            let sections = || fields.iter().filter(|(name, _)| !ABOUT_THE_FILE.contains(&name.as_str()));
            named
                .into_iter()
                .find_map(|name| text_within(fields.get(name)?, depth + 1))
                // Sections by their names: an overview, key points, what was decided.
                .or_else(|| joined(sections().map(|(_, part)| part), depth))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn joined<'a>(parts: impl Iterator<Item = &'a Value>, depth: usize) -> Option<String> {
    let parts: Vec<String> = parts.filter_map(|part| text_within(part, depth + 1)).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// True if a file has words in it, whether or not they can be found.
#[must_use]
pub fn has_words(file: &Value) -> bool {
    match file {
        Value::String(text) => text.chars().any(char::is_alphanumeric),
        Value::Array(parts) => parts.iter().any(has_words),
        Value::Object(fields) => {
            fields.iter().any(|(name, part)| !ABOUT_THE_FILE.contains(&name.as_str()) && has_words(part))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// True if a file has so many parts that reading it would take the memory of many files.
#[must_use]
pub fn has_too_many_parts(file: &[u8]) -> bool {
    file.iter().filter(|byte| matches!(byte, b'{' | b'[' | b',')).count() > MOST_PARTS
}

/// A text in one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn transcript_of(file: &[u8]) -> Option<String> {
        transcript(&read(file))
    }

    fn summary_of(file: &[u8]) -> Option<String> {
        summary(&read(file))
    }

    #[test]
    fn labelled_transcript_has_a_line_for_each_turn() {
        let file = json!({"object": "transcript", "type": "speaker_labelled", "transcript": [
            {"speaker": "Dana", "start": 15_120, "end": 100_330, "text": "We start\nin January."},
            {"speaker": " ", "start": 1, "end": 2, "text": "Good."}, {"start": 1, "text": "Yes."},
            {"speaker": 2, "text": "Fine."}, {"speaker": {"name": "Ines"}, "text": "Done."},
            {"speaker": "Dana", "text": "  "}, {"speaker": "Dana"}, 7,
        ]});
        assert_eq!(
            transcript_of(file.to_string().as_bytes()).as_deref(),
            Some("Dana: We start in January.\nGood.\nYes.\nSpeaker 2: Fine.\nInes: Done.")
        );
    }

    #[test]
    fn raw_bare_and_plain_transcripts_are_read() {
        for file in [
            json!({"object": "transcript", "type": "raw", "transcript": "We start.\nGood."}).to_string(),
            json!("We start.\nGood.").to_string(),
            "We start.\nGood.".to_owned(),
            "\u{feff}We start.\nGood.\n".to_owned(),
            json!(["We start.", "Good."]).to_string(),
            json!([{"text": "We start."}, {"text": "Good."}]).to_string(),
            json!({"transcript": null, "text": "We start.\nGood."}).to_string(),
            json!({"transcript": {"segments": ["We start.", "Good."]}}).to_string(),
        ] {
            assert_eq!(transcript_of(file.as_bytes()).as_deref(), Some("We start.\nGood."), "{file}");
        }
    }

    #[test]
    fn file_that_says_nothing_is_no_transcript_and_no_summary() {
        for file in ["", " \n", "null", "[]", "{}", "7", r#"{"transcript":[]}"#, r#"{"transcript":{"a":1}}"#] {
            assert_eq!(transcript_of(file.as_bytes()), None, "{file}");
        }
        for file in ["", "null", "[]", "{}", r#"{"summary":""}"#, r#"{"summary":null}"#, r#"{"object":"x"}"#] {
            assert_eq!(summary_of(file.as_bytes()), None, "{file}");
        }
    }

    #[test]
    fn summary_is_found_in_each_of_its_forms() {
        for file in [
            "The pilot starts.".to_owned(),
            json!("The pilot starts.").to_string(),
            json!({"summary": "The pilot starts."}).to_string(),
            json!({"summary": {"text": "The pilot starts."}}).to_string(),
            json!({"text": "The pilot starts."}).to_string(),
            json!({"object": "summary", "summary": ["The pilot starts."]}).to_string(),
            json!({"summary": "<p>The <b>pilot</b> starts.</p>"}).to_string(),
            json!({"summary": "", "text": "The pilot starts."}).to_string(),
            json!({"object": "summary", "overview": "The pilot starts."}).to_string(),
        ] {
            assert_eq!(summary_of(file.as_bytes()).as_deref(), Some("The pilot starts."), "{file}");
        }
        let sections = json!({"summary": [{"text": "One."}, {"content": "Two."}]});
        assert_eq!(summary(&sections).as_deref(), Some("One.\nTwo."));
        let named = json!({"summary": {"overview": "One.", "key_points": ["Two.", "Three."]}});
        assert_eq!(summary(&named).as_deref().map(|text| text.lines().count()), Some(3));
    }

    #[test]
    fn file_with_words_is_told_from_an_empty_one_and_one_of_countless_parts_from_both() {
        for file in [json!({"said": {"by": [{"x": "Hello"}]}}), json!("Hello"), json!([[["Hello"]]])] {
            assert!(has_words(&file), "{file}");
        }
        for file in [json!({"object": "transcript", "type": "raw"}), json!([]), json!(""), json!({"action_items": []})]
        {
            assert!(!has_words(&file), "{file}");
        }
        assert!(has_too_many_parts("{\"a\":1},".repeat(100_000).as_bytes()));
        assert!(!has_too_many_parts("{\"speaker\":\"a\",\"text\":\"b, c\"},".repeat(12_000).as_bytes()));
    }

    #[test]
    fn bytes_that_are_no_text_are_read_as_far_as_they_are() {
        assert_eq!(transcript_of(b"We \xff start").as_deref(), Some("We \u{fffd} start"));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_readers_fail(file in proptest::collection::vec(any::<u8>(), 0..400)) {
            transcript_of(&file);
            summary_of(&file);
        }

        #[test]
        fn no_nesting_makes_the_readers_fail(depth in 0_usize..120, key in "summary|text|transcript|x") {
            let file = format!("{}\"a\"{}", format!("{{\"{key}\":").repeat(depth), "}".repeat(depth));
            transcript_of(file.as_bytes());
            summary_of(file.as_bytes());
        }
    }
}

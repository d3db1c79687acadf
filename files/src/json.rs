//! Reading JSON that may be something else: what was found is told in a person's words, not in the parser's.

use crate::input::BYTE_ORDER_MARK;
use fathom_gguf::StandIn;
use serde::de::DeserializeOwned;

/// Characters of a text that are shown to tell what it is.
const SHOWN: usize = 30;

/// Reads a value; a byte order mark before it is no part of it.
///
/// # Errors
/// What was found instead, to stand behind "found".
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    serde_json::from_slice(bytes).map_err(|error| found(bytes, &error))
}

fn found(bytes: &[u8], error: &serde_json::Error) -> String {
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return if bytes.is_empty() { "nothing" } else { "nothing but white space" }.to_owned();
    }
    if let Some(stand_in) = StandIn::of(bytes) {
        return stand_in.to_string();
    }
    if text.starts_with(b"GGUF") {
        return "a GGUF file, which holds a model".to_owned();
    }
    let Ok(text) = str::from_utf8(text) else { return "bytes that are not text in UTF-8".to_owned() };
    if !begins_as_json(text) {
        return format!("text that is not JSON: it begins with {:?}", beginning(text));
    }
    if error.is_eof() {
        return format!("JSON that breaks off at line {}", error.line());
    }
    if error.to_string().starts_with("recursion limit exceeded") {
        return "JSON that is nested too deeply (at most 127 levels are read)".to_owned();
    }
    if let Some(word) = python_number(text, error) {
        return format!(
            "{word} at line {}, which is not JSON: write a number, or null for none",
            error.line()
        );
    }
    let kind = if error.is_data() { "JSON of another form" } else { "damaged JSON" };
    format!("{kind}: {}", reason(error))
}

/// What Python's writer makes of numbers that JSON has no words for, if the parser stumbled over one.
fn python_number(text: &str, error: &serde_json::Error) -> Option<&'static str> {
    let line = text.lines().nth(error.line().checked_sub(1)?)?;
    // It stops within the word.
    let words = ["-Infinity", "Infinity", "NaN"];
    words.into_iter().find(|word| {
        line.match_indices(word)
            .any(|(at, _)| (at..=at + word.len()).contains(&error.column().saturating_sub(1)))
    })
}

fn begins_as_json(text: &str) -> bool {
    let words = ["true", "false", "null"];
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    text.starts_with(['{', '[', '"'])
        || is_number(text.strip_prefix('-').unwrap_or(text))
        || words.iter().any(|word| text.starts_with(word))
}

/// Of its first line.
fn beginning(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The place and what is wrong there; the parser says it the other way round, and of a value without a place.
fn reason(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match told.strip_suffix(&place) {
        Some(what) => format!("line {}, column {}: {what}", error.line(), error.column()),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(expecting = "an object")]
    struct Form {
        #[expect(dead_code, reason = "only its absence is looked at")]
        number: u32,
    }

    #[test]
    fn what_is_no_json_is_told_in_words() {
        for (bytes, expected) in [
            (&b""[..], "nothing"),
            (b" \n", "nothing but white space"),
            (b"- a list", "text that is not JSON"),
            (b"# Notes\nmore", "text that is not JSON: it begins with \"# Notes\""),
            (
                "this is not json at all, é é é é".as_bytes(),
                "text that is not JSON: it begins with \"this is not json at all, é é é…\"",
            ),
            (b"GGUF\x03\0\0\0", "a GGUF file, which holds a model"),
            (b"\x89PNG\r\n", "bytes that are not text in UTF-8"),
            (b"<!DOCTYPE html><html>", "a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (b"{\"number\": 1,\n", "JSON that breaks off at line 2"),
            (b"{\"number\": 1,}", "damaged JSON: line 1, column 14: trailing comma"),
            (b"{\n\"number\": NaN}", "NaN at line 2, which is not JSON"),
            (b"{\"number\": -Infinity}", "-Infinity at line 1, which is not JSON"),
            (b"{\"number\": Infinity,\n\"NaN\": 5}", "Infinity at line 1, which is not JSON"),
            (b"{\"NaN\": ]}", "damaged JSON: line 1, column 9"),
            (b"{\"a\": 1}", "JSON of another form: line 1, column 8: missing field `number`"),
            (b"[\"x\"]", "JSON of another form: line 1, column 4: invalid type: string \"x\""),
            (b"5", "JSON of another form: line 1, column 1: invalid type: integer `5`, expected an object"),
        ] {
            let found = read::<Form>(bytes).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        }
        let deep = read::<serde_json::Value>("[".repeat(200).as_bytes()).unwrap_err();
        assert!(deep.starts_with("JSON that is nested too deeply"), "{deep}");
        assert!(read::<Form>(b"\xef\xbb\xbf{\"number\": 1}").is_ok());
    }
}

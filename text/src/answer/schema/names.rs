//! Names of an object's members, and what their patterns mean to the compiler.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// More members than those that are listed may bear one name twice, which the compiler does not see.
pub(super) fn check(map: &Map<String, Value>, at: &str) -> Result<(), String> {
    let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
    let n_required = required.filter_map(Value::as_str).collect::<BTreeSet<_>>().len() as u64;
    let has_patterns =
        map.get("patternProperties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    let is_open = has_patterns || map.get("additionalProperties") != Some(&Value::Bool(false));
    match map.get("minProperties").and_then(Value::as_u64) {
        Some(least) if is_open && least > n_required + 1 => Err(format!(
            "at {at}/minProperties: expected at most {} (one more than the required properties, because unlisted names \
             may occur twice), found {least}; list more properties under `required`",
            n_required + 1
        )),
        _ => Ok(()),
    }
}

/// A pattern in which a class that leaves characters out leaves NUL out, too: without it the compiler lets quotation marks
/// and backslashes into the class.
pub(super) fn pattern(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(['\\', '[']) {
        let (before, from) = rest.split_at(place);
        out.push_str(before);
        let length = match from.strip_prefix('\\') {
            Some(escaped) => 1 + escaped.chars().next().map_or(0, char::len_utf8),
            None if from.starts_with("[^") && !from.starts_with("[^]") => 2,
            None => 1,
        };
        out.push_str(&from[..length]);
        if length == 2 && from.starts_with("[^") {
            out.push_str("\\x00");
            // A hyphen that stood first would make a range of it.
            if let Some(behind) = from[length..].strip_prefix('-') {
                out.push_str("\\-");
                rest = behind;
                continue;
            }
        }
        rest = &from[length..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_that_leave_out_something_leave_out_nul() {
        for (text, expected) in [
            ("^[^\"]*$", "^[^\\x00\"]*$"),
            ("[^\\[^]x", "[^\\x00\\[^]x"),
            ("\\[^a]", "\\[^a]"),
            ("[a-z&&[^b]]é", "[a-z&&[^\\x00b]]é"),
            ("a\\", "a\\"),
            ("[^]a]", "[^]a]"),
            ("^[^-_]+$", "^[^\\x00\\-_]+$"),
            ("[^-\\s]", "[^\\x00\\-\\s]"),
            ("[^-]", "[^\\x00\\-]"),
        ] {
            assert_eq!(pattern(text), expected);
        }
    }
}

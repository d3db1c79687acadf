//! Answers drawn at random by what schemas leave: each that ends is held against its schema, and none may stop before.

use super::constraint::{Constraint, Following};
use super::follows::follows;
use crate::builtin::tokenizer;
use crate::tokenizer::Tokenizer;
use fastrand::Rng;
use serde_json::Value;

/// Tokens of one answer.
const LONGEST: usize = 400;
/// From here on what closes a value is preferred.
const LONG: usize = 40;

/// An answer, or what of it there was after as many tokens as an answer may have.
fn walk(tokenizer: &Tokenizer, constraint: &Constraint, seed: u64) -> Result<(String, bool), String> {
    let (mut following, mut random) = (Following::new(constraint), Rng::with_seed(seed));
    let (logits, mut text) = (vec![0.0; tokenizer.n_tokens()], Vec::new());
    for n in 0..LONGEST {
        let told = |error| format!("{error} behind {:?}", String::from_utf8_lossy(&text));
        let masked = following.mask(&logits).map_err(told)?;
        let mut allowed: Vec<u32> =
            (0..).zip(masked).filter(|(_, logit)| logit.is_finite()).map(|(id, _)| id).collect();
        if allowed.iter().any(|id| tokenizer.is_end(*id))
            && (allowed.len() == 1 || n >= LONG || random.u8(..3) == 0)
        {
            return match following.is_complete() {
                true => Ok((String::from_utf8_lossy(&text).into_owned(), true)),
                false => Err(told("it ends before it is complete".to_owned())),
            };
        }
        allowed.retain(|id| !tokenizer.is_end(*id));
        let closes = |id: &u32| {
            tokenizer.bytes(*id).is_some_and(|bytes| bytes.iter().any(|byte| b"\"]}".contains(byte)))
        };
        if n >= LONG && allowed.iter().any(closes) {
            allowed.retain(closes);
        }
        let token = allowed[random.usize(..allowed.len())];
        following.push(token).map_err(told)?;
        text.extend_from_slice(tokenizer.bytes(token).unwrap_or_default());
    }
    Ok((String::from_utf8_lossy(&text).into_owned(), false))
}

/// How many answers of some ended; what is wrong with one of them.
fn walks(tokenizer: &Tokenizer, schema: &Value, n: u64) -> Result<usize, String> {
    let constraint =
        Constraint::json_schema(tokenizer, schema).map_err(|error| format!("refused: {error}"))?;
    let mut n_ended = 0;
    for seed in 0..n {
        let (text, ended) = walk(tokenizer, &constraint, seed)?;
        if ended {
            let value: Value = serde_json::from_str(&text).map_err(|error| format!("{text:?}: {error}"))?;
            if !follows(schema, schema, &value) {
                return Err(format!("{text} does not follow it"));
            }
            n_ended += 1;
        }
    }
    Ok(n_ended)
}

/// Schemas in which the compiler was or is wrong by itself, and others of their kinds: what is not refused is followed.
const FOLLOWED: &[&str] = &[
    r#"{"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}"#,
    r#"{"type": "number", "minimum": -0.5, "exclusiveMaximum": 0}"#,
    r#"{"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 1.05}"#,
    r#"{"allOf": [{"type": "integer"}, {"exclusiveMinimum": 0, "maximum": 2}]}"#,
    r#"{"type": "integer", "minimum": 3, "exclusiveMinimum": true, "maximum": 5}"#,
    r#"{"type": "number", "multipleOf": 0.1, "exclusiveMinimum": 0, "maximum": 0.5}"#,
    r#"{"type": "number", "multipleOf": 0.1, "minimum": 0.3, "maximum": 0.3}"#,
    r#"{"type": "number", "multipleOf": 0.1, "minimum": -0.7, "exclusiveMaximum": -0.1}"#,
    r#"{"type": "number", "multipleOf": 0.1, "exclusiveMinimum": 0.2, "exclusiveMaximum": 0.5}"#,
    r#"{"type": "number", "multipleOf": 0.05, "minimum": 0.3, "maximum": 0.4}"#,
    r#"{"type": "number", "multipleOf": 0.07, "minimum": 0.05, "maximum": 0.3}"#,
    r#"{"type": "number", "multipleOf": 2.5, "minimum": 7.5, "exclusiveMaximum": 1000}"#,
    r#"{"type": "integer", "multipleOf": 1.5, "minimum": 1, "maximum": 7}"#,
    r#"{"type": ["number", "null"], "multipleOf": 3, "minimum": 1, "maximum": 2}"#,
    r#"{"multipleOf": 3, "exclusiveMinimum": 0, "exclusiveMaximum": 3, "maxLength": 2, "maxItems": 0, "maxProperties": 0}"#,
    r#"{"allOf": [{"type": "integer"}, {"minimum": 5}, {"maximum": 7}]}"#,
    r#"{"type": "integer", "allOf": [{"minimum": 5}, {"maximum": 6}]}"#,
    r#"{"type": "string", "pattern": "^[^\"a]{1,3}$"}"#,
    r#"{"type": "string", "pattern": "^[^\\\\\n]{1,2}$"}"#,
    r#"{"type": "string", "pattern": "^\\p{L}{1,4}$"}"#,
    r#"{"type": "object", "patternProperties": {"^[ab]$": {"type": "integer"}}, "minProperties": 1, "additionalProperties": false}"#,
    r#"{"type": "object", "properties": {"a": {"type": "integer"}}, "patternProperties": {"^a": {"maximum": 5}}, "additionalProperties": false}"#,
    r#"{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "items": false, "minItems": 2}"#,
    r#"{"type": "array", "items": {"type": "boolean"}, "uniqueItems": false, "maxItems": 2}"#,
    r#"{"const": {"ü": [1.5, null, "\u00e9\u0001😀\"\\"]}}"#,
    r#"{"oneOf": [{"type": "integer"}, {"type": "null"}], "not": false}"#,
    r##"{"$ref": "#/$defs/x", "$defs": {"x": {"type": "integer", "minimum": -2, "maximum": 3}}, "minimum": 2}"##,
    r#"{"type": "object", "properties": {"a": true, "b": {"type": ["null", "boolean"]}}, "required": ["b"], "additionalProperties": false}"#,
    "true",
];

#[test]
fn answers_that_end_follow_their_schemas() {
    let (tokenizer, mut wrong) = (tokenizer(), Vec::new());
    for text in FOLLOWED {
        match walks(&tokenizer, &serde_json::from_str(text).unwrap(), 25) {
            Ok(n_ended) if n_ended > 0 => {}
            other => wrong.push(format!("{text}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn many_alternatives_are_no_end() {
    let tokenizer = tokenizer();
    let arrays =
        |n| serde_json::json!({"type": "array", "items": {"const": n}, "minItems": 1, "maxItems": 2});
    let objects =
        |n: i32| serde_json::json!({"type": "object", "properties": {format!("k{n}"): {"type": "null"}}});
    for alternatives in [(0..900).map(arrays).collect::<Vec<_>>(), (0..300).map(objects).collect()] {
        let schema = serde_json::json!({"anyOf": alternatives});
        assert!(walks(&tokenizer, &schema, 2).unwrap() > 0);
    }
}

#[test]
fn what_cannot_be_followed_is_refused_with_its_place() {
    let tokenizer = tokenizer();
    for (text, expected) in [
        ("false", "at #: "),
        ("[]", "expected a JSON schema"),
        (
            r#"{"items": {"type": "number", "multipleOf": 0.3, "exclusiveMinimum": 0.9, "maximum": 1.1}}"#,
            "at #/items/multipleOf: ",
        ),
        (r#"{"allOf": [{"type": "number", "multipleOf": 0.3}, {"minimum": 1, "maximum": 1.1}]}"#, "at #: "),
        (r#"{"type": "number", "multipleOf": 0.0000000001}"#, "at #/multipleOf: "),
        (r#"{"type": "object", "minProperties": 2}"#, "at #/minProperties: expected at most 1 "),
        (
            r#"{"properties": {"x": {"required": ["a"], "patternProperties": {"^[bc]$": {}}, "minProperties": 3}}}"#,
            "at #/properties/x/minProperties: ",
        ),
        (
            r#"{"items": {"type": "object", "properties": {"a": {}, "b": {}}, "patternProperties": {"^[ab]$": {"type": "null"}}}}"#,
            "at #/items: its keywords together allow no ",
        ),
        (r#"{"items": {"not": {"type": "string"}}}"#, "at #/items: Unimplemented keys: [\"not\"]"),
        (r#"{"type": "string", "pattern": "(a)\\1"}"#, "backreferences"),
    ] {
        let error = Constraint::json_schema(&tokenizer, &serde_json::from_str(text).unwrap()).err();
        let error = error.unwrap_or_else(|| panic!("{text} is taken"));
        assert!(
            error.contains(expected) && !error.contains("backtrace") && !error.contains("verbose"),
            "{text}: {error}"
        );
    }
}

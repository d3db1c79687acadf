//! A JSON schema as it is meant, for a compiler that takes it in another way.
//!
//! The compiler (`llguidance`) holds numbers as floats, looks references up letter by letter, refuses formats that it does
//! not know, and takes any time for some schemas. What it would get wrong is put into its words or refused here, with the
//! place; what it ignores is noted.

mod endings;
mod numbers;

use super::spine;
use endings::Endings;
pub(super) use numbers::is_rounded;
use numbers::keyword;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Formats that the compiler enforces.
const FORMATS: [&str; 11] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri", "unknown"];
/// Optional members of one object: each may come or not, and the time grows with the square of their number.
const MOST_OPTIONAL: usize = 500;
/// All schemas inside one.
const MOST_PARTS: usize = 50_000;

/// Keywords that hold schemas by name, in a list, or one.
const BY_NAME: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
const IN_LIST: [&str; 4] = ["anyOf", "allOf", "oneOf", "prefixItems"];
const ONE: [&str; 3] = ["items", "additionalProperties", "additionalItems"];

/// What the compiler is to get.
#[derive(Debug)]
pub(super) enum Prepared {
    Schema(Value),
    /// In Lark's form, where numbers must be kept that the compiler would round.
    Grammar(String),
}

/// Puts a schema into the compiler's words. Notes say what is not enforced.
pub(super) fn prepare(schema: &Value, notes: &mut Vec<String>) -> Result<Prepared, String> {
    let mut preparer =
        Preparer { root: schema, moved: BTreeMap::new(), formats: BTreeSet::new(), n_parts: 0 };
    Endings::new(schema).check(schema, "#")?;
    let prepared = match spine::grammar(schema, &mut preparer)? {
        Some(grammar) => Prepared::Grammar(grammar),
        None => {
            let mut prepared = preparer.schema(schema, "#")?;
            preparer.moved(&mut prepared)?;
            Prepared::Schema(prepared)
        }
    };
    notes.extend(preparer.formats.iter().map(|format| format!("the format {format:?} is not enforced")));
    Ok(prepared)
}

pub(super) fn is_of_type(value: &Value, name: &str) -> bool {
    match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => {
            name == "number" || (name == "integer" && !number.to_string().contains(['.', 'e', 'E']))
        }
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    }
}

pub(super) struct Preparer<'s> {
    root: &'s Value,
    /// References that the compiler would not find, and the names under which what they mean is put.
    moved: BTreeMap<String, String>,
    formats: BTreeSet<String>,
    n_parts: usize,
}

impl Preparer<'_> {
    pub(super) fn schema(&mut self, schema: &Value, at: &str) -> Result<Value, String> {
        let Value::Object(map) = schema else { return Ok(schema.clone()) };
        self.n_parts += 1;
        if self.n_parts > MOST_PARTS {
            return Err(format!("expected at most {MOST_PARTS} schemas inside the schema, found more"));
        }
        check_optional(map, at)?;
        let mut out = Map::new();
        for (key, value) in map {
            let value = match (key.as_str(), value) {
                (name, Value::Object(all)) if BY_NAME.contains(&name) => {
                    let parts = all.iter().map(|(name, part)| {
                        Ok((name.clone(), self.schema(part, &format!("{at}/{key}/{}", escaped(name)))?))
                    });
                    Value::Object(parts.collect::<Result<_, String>>()?)
                }
                (name, Value::Array(all)) if IN_LIST.contains(&name) || name == "items" => {
                    let parts = all.iter().enumerate();
                    parts
                        .map(|(n, part)| self.schema(part, &format!("{at}/{key}/{n}")))
                        .collect::<Result<_, _>>()?
                }
                (name, Value::Object(_)) if ONE.contains(&name) => {
                    self.schema(value, &format!("{at}/{key}"))?
                }
                ("format", Value::String(format)) if !FORMATS.contains(&format.as_str()) => {
                    self.formats.insert(format.clone());
                    continue;
                }
                ("$ref", Value::String(reference)) => self.reference(reference, at)?.into(),
                (name, Value::Number(number)) => match keyword(name, number, is_whole(map), at)? {
                    Some(number) => Value::Number(number),
                    None => continue,
                },
                ("const" | "enum", value) if is_rounded(value) => {
                    return Err(format!(
                        "at {at}/{key}: expected numbers that a float holds exactly (whole ones up to 2^53 = \
                         9007199254740992), found others; write them as strings, or make the choice the whole schema"
                    ));
                }
                _ => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        Ok(Value::Object(out))
    }

    /// A reference as the compiler finds it: RFC 6901 has names for signs that a path needs, and URIs have others.
    fn reference(&mut self, reference: &str, at: &str) -> Result<String, String> {
        let Some(fragment) = reference.strip_prefix('#').filter(|path| path.starts_with('/')) else {
            return Ok(reference.to_owned());
        };
        let missing =
            || format!("at {at}/$ref: expected a reference to a schema, found nothing at {reference:?}");
        let pointer = percent_decoded(fragment).ok_or_else(missing)?;
        if fragment == "/" && self.root.pointer("/").is_none() {
            return Ok("#".to_owned());
        }
        self.root.pointer(&pointer).ok_or_else(missing)?;
        if !fragment.contains(['~', '%']) {
            return Ok(reference.to_owned());
        }
        let n = self.moved.len();
        let name = self.moved.entry(pointer).or_insert_with(|| format!("fathom-{n}"));
        Ok(format!("#/$defs/{name}"))
    }

    /// Puts what was moved where it is looked for. What it refers to itself may have to be moved, too.
    pub(super) fn moved(&mut self, prepared: &mut Value) -> Result<(), String> {
        let mut done = BTreeSet::new();
        loop {
            let next = self.moved.iter().find(|(pointer, _)| !done.contains(*pointer));
            let Some((pointer, name)) = next.map(|(pointer, name)| (pointer.clone(), name.clone())) else {
                return Ok(());
            };
            let meant = self.root.pointer(&pointer).unwrap_or(&Value::Null).clone();
            let part = self.schema(&meant, &format!("#{pointer}"))?;
            let shared =
                prepared.as_object_mut().map(|map| map.entry("$defs").or_insert_with(|| Map::new().into()));
            if let Some(Value::Object(shared)) = shared {
                shared.insert(name, part);
            }
            done.insert(pointer);
        }
    }
}

/// Too many optional members take more time than anybody waits.
fn check_optional(map: &Map<String, Value>, at: &str) -> Result<(), String> {
    let n_members = map.get("properties").and_then(Value::as_object).map_or(0, Map::len);
    let n_required = map.get("required").and_then(Value::as_array).map_or(0, Vec::len);
    match n_members.saturating_sub(n_required) {
        n if n > MOST_OPTIONAL => Err(format!(
            "at {at}: expected at most {MOST_OPTIONAL} optional properties, found {n}; list those that are always present \
             under `required`"
        )),
        _ => Ok(()),
    }
}

fn is_whole(map: &Map<String, Value>) -> bool {
    map.get("type").is_some_and(|kind| kind == "integer")
}

/// `%20` as the sign it stands for.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let hex = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn prepared(text: &str) -> Value {
        match prepare(&schema(text), &mut Vec::new()) {
            Ok(Prepared::Schema(schema)) => schema,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        prepare(&schema(text), &mut Vec::new()).unwrap_err()
    }

    #[test]
    fn choices_keep_their_digits_wherever_they_are() {
        for text in [
            r#"{"enum": [9007199254740993, "a", {"id": 18446744073709551615}]}"#,
            r#"{"const": 175928847299117063175928847299117063, "title": "id"}"#,
            r##"{"$ref": "#/$defs/i%64", "$defs": {"id": {"type": ["integer", "null"], "enum": [653247040368672769, null]}}}"##,
            r#"{"type": "object", "properties": {"a": {"type": "string"}, "id": {"const": 9007199254740993}}}"#,
            r#"{"type": "array", "items": {"anyOf": [{"enum": [9007199254740993]}, {"type": "null"}]}, "maxItems": 3}"#,
        ] {
            let Ok(Prepared::Grammar(grammar)) = prepare(&schema(text), &mut Vec::new()) else {
                panic!("{text}")
            };
            let digits = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() > 15);
            for digits in digits {
                assert!(grammar.contains(digits), "{grammar}");
            }
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_refused_or_go_inside() {
        let error =
            refused(r#"{"type": "object", "properties": {"id": {"const": 9007199254740993, "minimum": 1}}}"#);
        assert!(error.starts_with("at #/properties/id: ") && error.contains("2^53"), "{error}");
        for text in [
            r#"{"prefixItems": [{"enum": [1, [-9007199254740993]]}]}"#,
            r#"{"type": "string", "enum": [9007199254740993]}"#,
            r#"{"type": "integer", "minimum": 9223372036854775808}"#,
            r#"{"type": "integer", "multipleOf": 9007199254740993}"#,
            r#"{"type": "number", "minimum": 1e400}"#,
            r#"{"type": "integer", "multipleOf": 1000003}"#,
            r#"{"type": "number", "multipleOf": 12.3456}"#,
            r#"{"type": "number", "multipleOf": 1e9}"#,
            r#"{"type": "integer", "multipleOf": 0}"#,
            r#"{"type": "string", "minLength": 100000000}"#,
            r#"{"type": "string", "maxLength": -1}"#,
            r#"{"type": "array", "minItems": 1.5}"#,
        ] {
            assert!(refused(text).starts_with("at #"), "{text}");
        }
        for (text, expected) in [
            (
                r#"{"type": "integer", "minimum": 9007199254740993}"#,
                r#"{"type": "integer", "minimum": 9007199254740994.0}"#,
            ),
            (
                r#"{"type": "integer", "maximum": 9007199254740995}"#,
                r#"{"type": "integer", "maximum": 9007199254740994.0}"#,
            ),
            (r#"{"type": "integer", "maximum": 1e30}"#, r#"{"type": "integer"}"#),
            (r#"{"type": "number", "minimum": -1e400}"#, r#"{"type": "number"}"#),
            (
                r#"{"type": "string", "maxLength": 3.0, "minLength": 1e0}"#,
                r#"{"type": "string", "maxLength": 3, "minLength": 1}"#,
            ),
            (r#"{"type": "string", "maxLength": 1e30}"#, r#"{"type": "string"}"#),
            (r#"{"type": "number", "multipleOf": 0.01}"#, r#"{"type": "number", "multipleOf": 0.01}"#),
            (r#"{"type": "integer", "multipleOf": 7.0}"#, r#"{"type": "integer", "multipleOf": 7.0}"#),
        ] {
            let (found, expected) = (prepared(text), schema(expected));
            let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_f64);
            for key in ["minimum", "maximum", "maxLength", "minLength", "multipleOf"] {
                assert_eq!(number(&found, key), number(&expected, key), "{text}");
            }
        }
    }

    #[test]
    fn references_are_those_of_rfc_6901() {
        let text = r##"{"anyOf": [{"$ref": "#/$defs/m~1z"}, {"$ref": "#/$defs/a%20b%7e0"}, {"$ref": "#/$defs/plain"}],
            "$defs": {"m/z": {"const": 5}, "a b~": {"$ref": "#/$defs/m~1z"}, "plain": {}}}"##;
        let found = prepared(text);
        for (n, expected) in [(0, json!({"const": 5})), (2, json!({}))] {
            let reference = found["anyOf"][n]["$ref"].as_str().unwrap();
            assert_eq!(found.pointer(&reference[1..]), Some(&expected), "{reference}");
        }
        let second = found["anyOf"][1]["$ref"].as_str().unwrap();
        assert_eq!(found.pointer(&second[1..]).unwrap()["$ref"], found["anyOf"][0]["$ref"]);
        for text in [r##"{"$ref": "#/$defs/no"}"##, r##"{"$ref": "#/$defs/a~1"}"##, r##"{"$ref": "#/%zz"}"##]
        {
            assert!(refused(text).contains("found nothing at"), "{text}");
        }
        // A property may have the name of a keyword.
        let text = r##"{"properties": {"$ref": {"type": "string"}, "format": {"format": "date"}}}"##;
        assert_eq!(prepared(text), schema(text));
    }

    #[test]
    fn formats_that_nobody_knows_are_noted() {
        let mut notes = Vec::new();
        let text = r#"{"type": "string", "format": "password", "items": {"format": "password"}, "default": {"format": "x"}}"#;
        let Ok(Prepared::Schema(found)) = prepare(&schema(text), &mut notes) else { panic!() };
        assert_eq!(notes, ["the format \"password\" is not enforced"]);
        assert_eq!(found, json!({"type": "string", "items": {}, "default": {"format": "x"}}));
    }

    #[test]
    fn references_without_an_end_are_refused() {
        for text in [
            r##"{"$ref": "#"}"##,
            r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##,
            r##"{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "properties": {"x": {"$ref": "#/$defs/a"}}}"##,
            r##"{"$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}}, "$ref": "#/$defs/n"}"##,
            r##"{"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}, "minItems": 1}}, "$ref": "#/$defs/n"}"##,
        ] {
            assert!(refused(text).contains("refers to itself"), "{text}");
        }
        for text in [
            r##"{"type": "object", "properties": {"next": {"$ref": "#"}}}"##,
            r##"{"$defs": {"n": {"type": "object", "properties": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}}, "required": ["n"]}}, "$ref": "#/$defs/n"}"##,
            r##"{"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}"##,
        ] {
            prepared(text);
        }
    }

    #[test]
    fn many_optional_properties_are_refused() {
        let many: Map<String, Value> =
            (0..10_000).map(|n| (format!("p{n}"), json!({"type": "integer"}))).collect();
        let names: Vec<String> = many.keys().cloned().collect();
        let error = prepare(&json!({"properties": many}), &mut Vec::new()).unwrap_err();
        assert!(error.contains("expected at most 500 optional properties, found 10000"), "{error}");
        assert!(prepare(&json!({"properties": many, "required": names}), &mut Vec::new()).is_ok());
    }
}

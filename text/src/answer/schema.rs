//! A JSON schema as it is meant, for a compiler that takes it in another way.
//!
//! The compiler (`llguidance`) holds numbers as floats, looks references up letter by letter, refuses formats that it does
//! not know, and takes any time for some schemas. What it would get wrong is put into its words or refused here, with the
//! place; what it ignores is noted.

mod bounds;
mod endings;
mod names;
mod numbers;
mod settled;

use super::spine;
use endings::Endings;
pub(super) use numbers::is_rounded;
use serde_json::{Map, Value};
use settled::Settled;
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

/// Puts a schema into the compiler's words. Notes say what is not taken to the letter.
///
/// References may be nested as deep as there are schemas: to be called on a deep stack.
pub(super) fn prepare(schema: &Value, notes: &mut Vec<String>) -> Result<Prepared, String> {
    let Settled { schema, places } = Settled::new(schema, notes)?;
    Endings::new(&schema).check(&schema, "#")?;
    let mut preparer = Preparer {
        root: &schema,
        places: &places,
        is_taken_apart: false,
        moved: BTreeMap::new(),
        met: Vec::new(),
        formats: BTreeSet::new(),
        n_parts: 0,
    };
    let prepared = match spine::grammar(&schema, &mut preparer)? {
        Some(grammar) => Prepared::Grammar(grammar),
        None => Prepared::Schema(preparer.whole(&schema, "#")?),
    };
    notes.extend(preparer.formats.iter().map(|format| format!("the format {format:?} is not enforced")));
    Ok(prepared)
}

/// The types that a schema names, one or a list; without any, all may come.
pub(super) fn types(map: &Map<String, Value>) -> Vec<&str> {
    match map.get("type") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        name => name.and_then(Value::as_str).into_iter().collect(),
    }
}

/// Where a reference leads, as a JSON pointer.
pub(super) fn pointer(reference: &str) -> Option<String> {
    percent_decoded(reference.strip_prefix('#')?)
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
    /// Where keywords lead to schemas, which are prepared in their place.
    places: &'s BTreeSet<String>,
    /// Its parts are compiled one by one: nothing is found in its place.
    pub(super) is_taken_apart: bool,
    /// What references mean that the compiler would not find, by its pointer.
    moved: BTreeMap<String, Moved>,
    /// The pointers of such references in what is being prepared.
    met: Vec<String>,
    formats: BTreeSet<String>,
    n_parts: usize,
}

/// A schema that is put where the compiler finds it.
struct Moved {
    name: String,
    /// It, and the pointers of what it refers to itself; `None` until it is needed.
    prepared: Option<(Value, Vec<String>)>,
}

impl Preparer<'_> {
    /// A schema with all that it needs to be compiled by itself.
    pub(super) fn whole(&mut self, schema: &Value, at: &str) -> Result<Value, String> {
        let (mut whole, mut wanted) = self.piece(schema, at)?;
        let mut put = BTreeSet::new();
        while let Some(pointer) = wanted.pop() {
            if !put.insert(pointer.clone()) {
                continue;
            }
            if self.moved.get(&pointer).is_some_and(|moved| moved.prepared.is_none()) {
                let meant = self.root.pointer(&pointer).unwrap_or(&Value::Null);
                let prepared = self.piece(meant, &format!("#{pointer}"))?;
                self.moved.entry(pointer.clone()).and_modify(|moved| moved.prepared = Some(prepared));
            }
            let Some(Moved { name, prepared: Some((part, met)) }) = self.moved.get(&pointer) else {
                continue;
            };
            wanted.extend_from_slice(met);
            let shared =
                whole.as_object_mut().map(|map| map.entry("$defs").or_insert_with(|| Map::new().into()));
            if let Some(Value::Object(shared)) = shared {
                shared.insert(name.clone(), part.clone());
            }
        }
        Ok(whole)
    }

    /// A schema, and the pointers of what must be moved for it.
    fn piece(&mut self, schema: &Value, at: &str) -> Result<(Value, Vec<String>), String> {
        let others = std::mem::take(&mut self.met);
        let piece = self.schema(schema, at)?;
        Ok((piece, std::mem::replace(&mut self.met, others)))
    }

    fn schema(&mut self, schema: &Value, at: &str) -> Result<Value, String> {
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
                ("const" | "enum", value) if is_rounded(value) => {
                    return Err(format!(
                        "at {at}/{key}: expected numbers that a float holds exactly (whole ones up to 2^53 = \
                         9007199254740992), found others; write them as strings, or use `const`/`enum` without other keywords beside it"
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
        let Some(fragment) =
            reference.strip_prefix('#').filter(|path| path.is_empty() || path.starts_with('/'))
        else {
            return Err(format!(
                "at {at}/$ref: expected a reference into this schema, such as #/$defs/name, found {reference:?}; nothing is \
                 fetched"
            ));
        };
        if fragment.is_empty() {
            return Ok(reference.to_owned());
        }
        let missing =
            || format!("at {at}/$ref: expected a reference to a schema, found nothing at {reference:?}");
        let pointer = percent_decoded(fragment).ok_or_else(missing)?;
        if fragment == "/" && self.root.pointer("/").is_none() {
            return Ok("#".to_owned());
        }
        self.root.pointer(&pointer).ok_or_else(missing)?;
        if !self.is_taken_apart && !fragment.contains(['~', '%']) && self.places.contains(&pointer) {
            return Ok(reference.to_owned());
        }
        let n = self.moved.len();
        let new = || Moved { name: format!("fathom-{n}"), prepared: None };
        let name = &self.moved.entry(pointer.clone()).or_insert_with(new).name;
        self.met.push(pointer);
        Ok(format!("#/$defs/{name}"))
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
            r#"{"type": ["integer", "null"], "minimum": 1e30}"#,
            r#"{"type": "integer", "minimum": 9007199254740993, "maximum": 9007199254740993}"#,
            r#"{"type": "integer", "exclusiveMinimum": 9007199254740992, "maximum": 9007199254740994}"#,
            r#"{"type": "integer", "exclusiveMaximum": -9007199254740992, "minimum": -9007199254740994}"#,
            r#"{"type": "integer", "minimum": 9007199254740992, "exclusiveMinimum": true, "maximum": 9007199254740994}"#,
            r#"{"type": "integer", "exclusiveMinimum": 170141183460469231731687303715884105727}"#,
            r#"{"type": "array", "items": {"enum": [9007199254740993]}, "minItems": -1}"#,
            r#"{"type": "array", "items": {"enum": [9007199254740993]}, "minItems": 1e9}"#,
            r#"{"type": 5, "enum": [9007199254740993]}"#,
        ] {
            assert!(refused(text).starts_with("at #"), "{text}");
        }
        for step in ["0.53", "0.57", "0.043", "0.0000000001"] {
            let error = refused(&format!(r#"{{"type": "number", "multipleOf": {step}}}"#));
            assert!(error.contains(&format!("count exactly, found {step}; ")), "{error}");
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
            (
                r#"{"type": "integer", "maximum": 9007199254740993}"#,
                r#"{"type": "integer", "maximum": 9007199254740992}"#,
            ),
            (
                r#"{"type": "integer", "minimum": 1152921504606846976, "maximum": 1152921504606846976}"#,
                r#"{"type": "integer", "minimum": 1152921504606846976, "maximum": 1152921504606846976}"#,
            ),
            (
                r#"{"type": "number", "exclusiveMinimum": 0.12345678901234567891}"#,
                r#"{"type": "number", "exclusiveMinimum": 0.12345678901234568}"#,
            ),
            (r#"{"type": "integer", "maximum": 1e30}"#, r#"{"type": "integer"}"#),
            (r#"{"type": ["null", "integer"], "maximum": 1e30}"#, r#"{"type": ["null", "integer"]}"#),
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
            for key in ["minimum", "exclusiveMinimum", "maximum", "maxLength", "minLength", "multipleOf"] {
                assert_eq!(number(&found, key), number(&expected, key), "{text}");
            }
        }
    }

    #[test]
    fn bounds_that_move_are_noted() {
        let mut notes = Vec::new();
        prepare(&schema(r#"{"items": {"type": "integer", "maximum": 9007199254740993}}"#), &mut notes)
            .unwrap();
        let [note] = &notes[..] else { panic!("{notes:?}") };
        for words in ["at #/items/maximum: ", "9007199254740993 is taken as 9007199254740992"] {
            assert!(note.contains(words), "{note}");
        }
        notes.clear();
        let exact = r#"{"type": "number", "minimum": 0.1, "maximum": 9007199254740996, "multipleOf": 1.0}"#;
        prepare(&schema(exact), &mut notes).unwrap();
        assert!(notes.is_empty(), "{notes:?}");
    }

    fn grammar(text: &str) -> String {
        match prepare(&schema(text), &mut Vec::new()) {
            Ok(Prepared::Grammar(grammar)) => grammar,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn exclusive_bounds_of_whole_numbers_become_inclusive() {
        for (given, taken) in [
            (
                r#"{"type": "integer", "exclusiveMinimum": 4, "maximum": 9}"#,
                r#"{"type": "integer", "maximum": 9, "minimum": 5}"#,
            ),
            (
                r#"{"type": "integer", "minimum": 7, "exclusiveMinimum": 4}"#,
                r#"{"type": "integer", "minimum": 7}"#,
            ),
            (
                r#"{"type": "integer", "maximum": 7.5, "exclusiveMaximum": 7}"#,
                r#"{"type": "integer", "maximum": 6}"#,
            ),
            (r#"{"type": "integer", "exclusiveMinimum": -0.5}"#, r#"{"type": "integer", "minimum": 0}"#),
            // One multiple between the bounds, of a step that the compiler has a neighbour of.
            (
                r#"{"type": "number", "multipleOf": 0.07, "minimum": 0.28, "maximum": 0.28}"#,
                r#"{"type": "number", "minimum": 0.28, "maximum": 0.28}"#,
            ),
        ] {
            assert_eq!(prepared(given), schema(taken), "{given}");
        }
    }

    #[test]
    fn empty_choices_and_other_peoples_schemas_are_refused() {
        for (text, place) in [
            (r#"{"enum": []}"#, "at #/enum: "),
            (r#"{"properties": {"a": {"anyOf": []}}}"#, "at #/properties/a/anyOf: "),
            (r#"{"$ref": "http://x/y"}"#, "at #/$ref: expected a reference into this schema"),
            (r#"{"items": {"$ref": "other.json#/a"}}"#, "at #/items/$ref: "),
        ] {
            let error = refused(text);
            assert!(error.starts_with(place), "{text}: {error}");
        }
    }

    #[test]
    fn lists_of_exact_numbers_have_the_length_that_they_should() {
        let five =
            r#"{"type": "array", "items": {"enum": [9007199254740993]}, "minItems": 5.0, "maxItems": 5e0}"#;
        assert!(grammar(five).contains("{4,4}"), "{}", grammar(five));
        let or_none = r#"{"type": ["array", "null"], "items": {"enum": [9007199254740993]}}"#;
        assert!(grammar(or_none).contains(r#""type":["null"]"#), "{}", grammar(or_none));
    }

    #[test]
    fn parts_beside_exact_numbers_have_what_they_refer_to() {
        let text = r##"{"properties": {"a": {"type": "string"}, "b": {"$ref": "#/properties/a"},
            "c": {"$ref": "#/$defs/two"}, "id": {"const": 9007199254740993}},
            "$defs": {"one": {"maxLength": 2.0}, "two": {"items": {"$ref": "#/$defs/one"}}, "none": {"minLength": 77}}}"##;
        let grammar = grammar(text);
        let parts: Vec<Value> = grammar
            .lines()
            .filter_map(|line| line.split_once("%json "))
            .map(|(_, part)| serde_json::from_str(part).unwrap())
            .collect();
        let follow = |whole: &Value, part: &Value| {
            whole.pointer(&part["$ref"].as_str().unwrap()[1..]).unwrap_or_else(|| panic!("{whole}")).clone()
        };
        let referring: Vec<&Value> = parts.iter().filter(|part| part.get("$ref").is_some()).collect();
        let [c, b] = referring[..] else { panic!("{parts:?}") };
        assert_eq!(follow(b, b), json!({"type": "string"}));
        assert_eq!(follow(c, &follow(c, c)["items"]), json!({"maxLength": 2}));
        assert!(!grammar.contains("77"), "what nothing refers to is left out: {grammar}");
        // Each part has its own definitions and not those of all others.
        let parts: Map<String, Value> =
            (0..300).map(|n| (format!("p{n}"), json!({"type": "string"}))).collect();
        let definitions: Map<String, Value> =
            (0..200).map(|n| (format!("d{n}"), json!({"type": "string"}))).collect();
        let mut many = json!({"properties": parts, "$defs": definitions});
        many["properties"]["id"] = schema(r#"{"const": 9007199254740993}"#);
        assert!(prepare(&many, &mut Vec::new()).is_ok());
    }

    #[test]
    fn references_may_be_nested_as_deep_as_there_are_schemas() {
        for end in [r#"{"type": "null"}"#, r#"{"const": 9007199254740993}"#] {
            const N: usize = 40_000;
            let mut all = Map::new();
            for n in 0..N {
                all.insert(format!("d{n}"), json!({"$ref": format!("#/$defs/d{}", n + 1)}));
            }
            all.insert(format!("d{N}"), schema(end));
            let chain = json!({"$defs": all, "$ref": "#/$defs/d0"});
            // A number that needs a grammar is one that needs a rule for each.
            let done = crate::contained::run(move || prepare(&chain, &mut Vec::new()).map(|_| ()));
            let expected = if end.contains("const") {
                Err("expected at most 5000 rules around exact numbers, found more".to_owned())
            } else {
                Ok(())
            };
            assert_eq!(done, expected);
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
            r##"{"$defs": {"n": {"type": ["object"], "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}}, "$ref": "#/$defs/n"}"##,
            r##"{"$defs": {"n": {"type": "array", "prefixItems": [{"$ref": "#/$defs/n"}], "minItems": 1.0}}, "$ref": "#/$defs/n"}"##,
        ] {
            assert!(refused(text).contains("refers to itself"), "{text}");
        }
        for text in [
            r##"{"type": "object", "properties": {"next": {"$ref": "#"}}}"##,
            r##"{"$defs": {"n": {"type": "object", "properties": {"n": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]}}, "required": ["n"]}}, "$ref": "#/$defs/n"}"##,
            r##"{"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}"##,
            r##"{"$defs": {"n": {"type": ["object", "null"], "properties": {"n": {"$ref": "#/$defs/n"}}, "required": ["n"]}}, "$ref": "#/$defs/n"}"##,
            r##"{"$defs": {"n": {"type": "array", "prefixItems": [{}, {"$ref": "#/$defs/n"}], "minItems": 1}}, "$ref": "#/$defs/n"}"##,
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

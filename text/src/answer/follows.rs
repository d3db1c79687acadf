//! Whether a value follows a schema: read from the specification alone, for tests of answers that are made to follow one.

use serde_json::{Map, Value};

/// Whether a value follows a schema inside `root`.
pub(super) fn follows(root: &Value, schema: &Value, value: &Value) -> bool {
    match schema {
        Value::Bool(any) => *any,
        Value::Object(map) => map.iter().all(|(key, wanted)| keyword(root, map, (key, wanted), value)),
        other => panic!("{other} is no schema"),
    }
}

fn keyword(root: &Value, map: &Map<String, Value>, (key, wanted): (&str, &Value), value: &Value) -> bool {
    let each = || wanted.as_array().unwrap().iter();
    let fits = |schema: &Value| follows(root, schema, value);
    match key {
        "type" if wanted.is_array() => each().any(|name| is_of(name.as_str().unwrap(), value)),
        "type" => is_of(wanted.as_str().unwrap(), value),
        "const" => same(wanted, value),
        "enum" => each().any(|one| same(one, value)),
        "allOf" => each().all(fits),
        "anyOf" => each().any(fits),
        "oneOf" => each().filter(|one| fits(one)).count() == 1,
        "not" => !fits(wanted),
        "$ref" => {
            let pointer = wanted.as_str().unwrap().trim_start_matches('#').replace("%20", " ");
            fits(root.pointer(&pointer).unwrap())
        }
        _ => match value {
            Value::Number(_) => number(key, wanted, value),
            Value::String(text) => string(key, wanted, text),
            Value::Array(list) => array(root, map, (key, wanted), list),
            Value::Object(members) => object(root, map, (key, wanted), members),
            _ => true,
        },
    }
}

fn is_of(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("null", Value::Null) | ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => true,
        ("string", Value::String(_)) | ("array", Value::Array(_)) | ("object", Value::Object(_)) => true,
        // What is no float may be whole.
        ("integer", Value::Number(_)) => value.as_f64().is_none_or(|value| value.fract() == 0.0),
        _ => false,
    }
}

/// Numbers are the same with and without a point.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || a.as_f64() == b.as_f64(),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(key, x)| y.get(key).is_some_and(|y| same(x, y)))
        }
        _ => a == b,
    }
}

fn number(key: &str, wanted: &Value, value: &Value) -> bool {
    let (Some(limit), Some(value)) = (wanted.as_f64(), value.as_f64()) else { return true };
    match key {
        "minimum" => value >= limit,
        "maximum" => value <= limit,
        "exclusiveMinimum" => value > limit,
        "exclusiveMaximum" => value < limit,
        "multipleOf" => {
            let times = value / limit;
            (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
        }
        _ => true,
    }
}

fn string(key: &str, wanted: &Value, text: &str) -> bool {
    let length = text.chars().count() as u64;
    match key {
        "minLength" => length >= wanted.as_f64().unwrap() as u64,
        "maxLength" => length <= wanted.as_f64().unwrap() as u64,
        "pattern" => regex::Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text),
        _ => true,
    }
}

fn array(root: &Value, map: &Map<String, Value>, (key, wanted): (&str, &Value), list: &[Value]) -> bool {
    let first = ["prefixItems", "items"].into_iter().find_map(|key| map.get(key)?.as_array());
    let n_first = first.map_or(0, Vec::len);
    match key {
        "minItems" => list.len() as u64 >= wanted.as_f64().unwrap() as u64,
        "maxItems" => list.len() as u64 <= wanted.as_f64().unwrap() as u64,
        "prefixItems" | "items" if wanted.is_array() => {
            list.iter().zip(first.unwrap()).all(|(item, schema)| follows(root, schema, item))
        }
        "items" | "additionalItems" => {
            let all = if key == "items" || map.get("items").is_some_and(Value::is_array) {
                n_first
            } else {
                usize::MAX
            };
            list.iter().skip(all).all(|item| follows(root, wanted, item))
        }
        _ => true,
    }
}

fn object(
    root: &Value,
    map: &Map<String, Value>,
    (key, wanted): (&str, &Value),
    members: &Map<String, Value>,
) -> bool {
    let named = |name: &str| map.get("properties").and_then(|all| all.get(name));
    let patterns = map.get("patternProperties").and_then(Value::as_object);
    let fitting = |name: &str| {
        let all = patterns.into_iter().flatten();
        all.filter(|(pattern, _)| regex::Regex::new(pattern).unwrap().is_match(name)).count()
    };
    match key {
        "minProperties" => members.len() as u64 >= wanted.as_f64().unwrap() as u64,
        "maxProperties" => members.len() as u64 <= wanted.as_f64().unwrap() as u64,
        "required" => {
            wanted.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
        }
        "properties" => members
            .iter()
            .all(|(name, value)| wanted.get(name).is_none_or(|schema| follows(root, schema, value))),
        "patternProperties" => wanted.as_object().unwrap().iter().all(|(pattern, schema)| {
            let pattern = regex::Regex::new(pattern).unwrap();
            members
                .iter()
                .filter(|(name, _)| pattern.is_match(name))
                .all(|(_, value)| follows(root, schema, value))
        }),
        "additionalProperties" => members
            .iter()
            .filter(|(name, _)| named(name).is_none() && fitting(name) == 0)
            .all(|(_, value)| follows(root, wanted, value)),
        _ => true,
    }
}

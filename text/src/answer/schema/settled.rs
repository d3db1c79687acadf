//! Types and numbers of a schema, put into the compiler's words before anything else looks at them.

use super::numbers::{is_taken_as, keyword};
use super::{BY_NAME, IN_LIST, MOST_PARTS, ONE, bounds, escaped, names, pointer, types};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// From here on a float leaves whole numbers out.
const FAR: f64 = 9_007_199_254_740_992.0;

/// A schema whose keywords have numbers that the compiler takes.
pub(super) struct Settled {
    pub(super) schema: Value,
    /// Where keywords lead to schemas in it. References may lead elsewhere.
    pub(super) places: BTreeSet<String>,
}

impl Settled {
    pub(super) fn new(schema: &Value, notes: &mut Vec<String>) -> Result<Settled, String> {
        let mut schema = schema.clone();
        let mut settler = Settler { places: BTreeSet::new(), references: Vec::new(), notes };
        settler.schema(&mut schema, "#")?;
        let places = settler.places.clone();
        while let Some(reference) = settler.references.pop() {
            let Some(at) = pointer(&reference).filter(|at| !settler.places.contains(at)) else { continue };
            if let Some(meant) = schema.pointer_mut(&at) {
                settler.schema(meant, &format!("#{at}"))?;
            }
        }
        Ok(Settled { schema, places })
    }
}

struct Settler<'n> {
    places: BTreeSet<String>,
    references: Vec<String>,
    notes: &'n mut Vec<String>,
}

impl Settler<'_> {
    fn schema(&mut self, schema: &mut Value, at: &str) -> Result<(), String> {
        self.places.insert(at[1..].to_owned());
        if self.places.len() > MOST_PARTS {
            return Err(format!("expected at most {MOST_PARTS} schemas inside the schema, found more"));
        }
        let Value::Object(map) = schema else { return Ok(()) };
        settle_types(map, at)?;
        map.retain(|key, value| !has_no_effect(key, value));
        check_choices(map, at)?;
        bounds::settle_exclusive(map);
        let step = map.get("multipleOf").cloned();
        self.numbers(map, at)?;
        bounds::settle(map, step.as_ref(), at)?;
        names::check(map, at)?;
        settle_patterns(map);
        for (key, value) in map {
            match (key.as_str(), value) {
                (name, Value::Object(all)) if BY_NAME.contains(&name) => {
                    for (name, part) in all {
                        self.schema(part, &format!("{at}/{key}/{}", escaped(name)))?;
                    }
                }
                (name, Value::Array(all)) if IN_LIST.contains(&name) || name == "items" => {
                    for (n, part) in all.iter_mut().enumerate() {
                        self.schema(part, &format!("{at}/{key}/{n}"))?;
                    }
                }
                (name, part @ Value::Object(_)) if ONE.contains(&name) => {
                    self.schema(part, &format!("{at}/{key}"))?;
                }
                ("$ref", Value::String(reference)) => self.references.push(reference.clone()),
                _ => {}
            }
        }
        Ok(())
    }

    fn numbers(&mut self, map: &mut Map<String, Value>, at: &str) -> Result<(), String> {
        let is_whole = types(map).contains(&"integer");
        let mut settled = Vec::new();
        for (key, value) in map.iter() {
            let Value::Number(number) = value else { continue };
            let taken = keyword(key, number, is_whole, at)?;
            if let Some(taken) =
                taken.as_ref().filter(|taken| key != "multipleOf" && !is_taken_as(number, taken))
            {
                check_far_bounds(map, at)?;
                self.notes.push(format!(
                    "at {at}/{key}: {number} is taken as {taken}, the nearest bound that can be enforced"
                ));
            }
            settled.push((key.clone(), taken));
        }
        for (key, taken) in settled {
            match taken {
                Some(number) => map.insert(key, Value::Number(number)),
                None => map.remove(&key),
            };
        }
        Ok(())
    }
}

/// Keywords that the compiler does not know, where they ask for nothing.
fn has_no_effect(key: &str, value: &Value) -> bool {
    let is_empty = value.as_object().is_some_and(Map::is_empty);
    match key {
        "uniqueItems" | "not" => *value == Value::Bool(false),
        "unevaluatedProperties" | "unevaluatedItems" | "propertyNames" => {
            *value == Value::Bool(true) || is_empty
        }
        "dependentRequired" | "dependentSchemas" | "dependencies" => is_empty,
        _ => false,
    }
}

/// Of nothing none can be chosen.
fn check_choices(map: &Map<String, Value>, at: &str) -> Result<(), String> {
    let is_empty = |key: &&&str| map.get(**key).and_then(Value::as_array).is_some_and(Vec::is_empty);
    match ["enum", "anyOf", "oneOf"].iter().find(is_empty) {
        Some(key) => Err(format!("at {at}/{key}: expected at least one entry, found none")),
        None => Ok(()),
    }
}

fn settle_patterns(map: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = map.get_mut("pattern") {
        *text = names::pattern(text);
    }
    if let Some(Value::Object(all)) = map.get_mut("patternProperties") {
        *all = std::mem::take(all).into_iter().map(|(text, part)| (names::pattern(&text), part)).collect();
    }
}

/// Names of types, each said once: whole numbers are numbers.
fn settle_types(map: &mut Map<String, Value>, at: &str) -> Result<(), String> {
    match map.get_mut("type") {
        None | Some(Value::String(_)) => {}
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            if names.iter().any(|name| name == "number") {
                names.retain(|name| name != "integer");
            }
        }
        Some(other) => {
            return Err(format!(
                "at {at}/type: expected the name of a type or a list of names, found {other}"
            ));
        }
    }
    Ok(())
}

/// Between two bounds far from zero there may be few numbers or none; a bound that moves takes away what the schema asks for.
fn check_far_bounds(map: &Map<String, Value>, at: &str) -> Result<(), String> {
    let bound = |keys: [&'static str; 2]| {
        let far = |key| map.get(key).and_then(Value::as_f64).filter(|value| value.abs() >= FAR);
        keys.into_iter().find_map(|key| Some((key, far(key)?)))
    };
    let least = bound(["minimum", "exclusiveMinimum"]);
    let most = bound(["maximum", "exclusiveMaximum"]);
    match least.zip(most) {
        Some(((lower, least), (upper, most))) if (least < 0.0) == (most < 0.0) => Err(format!(
            "at {at}: expected bounds that a float holds exactly where both lie beyond 2^53 = 9007199254740992, found {lower} {} \
             and {upper} {}; use `const` or `enum` instead",
            map[lower], map[upper]
        )),
        _ => Ok(()),
    }
}

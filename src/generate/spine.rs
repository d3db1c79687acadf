//! Schemas with values that the compiler of schemas would round, as grammars.
//!
//! Choices of values are written letter by letter. What leads to them (objects, lists, alternatives, references) is written
//! as rules around them, with a space behind each comma and colon; everything beside them is left to the compiler.

use super::schema::{Preparer, is_of_type, is_rounded};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What a schema may say on the way to such a value.
const ANNOTATIONS: [&str; 11] = [
    "title",
    "description",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "default",
    "examples",
    "deprecated",
    "readOnly",
];
/// Rules of one grammar.
const MOST_RULES: usize = 5_000;

/// The grammar; `None`: the schema has no such value.
pub(super) fn grammar(root: &Value, preparer: &mut Preparer<'_>) -> Result<Option<String>, String> {
    let mut spine = Spine { root, preparer, rules: String::new(), n_rules: 0, named: BTreeMap::new() };
    if !spine.holds(root, &mut Vec::new()) {
        return Ok(None);
    }
    let start = spine.value(root, "#")?;
    Ok(Some(format!("start: {start}\n{}", spine.rules)))
}

struct Spine<'s, 'p, 'r> {
    root: &'s Value,
    preparer: &'p mut Preparer<'r>,
    rules: String,
    n_rules: usize,
    /// Rules of what references mean.
    named: BTreeMap<String, String>,
}

impl<'s> Spine<'s, '_, '_> {
    /// Whether a value that would be rounded is in there.
    fn holds(&self, schema: &'s Value, through: &mut Vec<&'s str>) -> bool {
        let Some(map) = schema.as_object() else { return false };
        if ["const", "enum"].iter().any(|key| map.get(*key).is_some_and(is_rounded)) {
            return true;
        }
        if let Some(reference) = map.get("$ref").and_then(Value::as_str)
            && !through.contains(&reference)
        {
            through.push(reference);
            if self.meant(reference).is_some_and(|(_, meant)| self.holds(meant, through)) {
                return true;
            }
        }
        let inside = super::constraint::parts(schema).into_iter();
        let used =
            inside.filter(|(step, _)| !step.starts_with("/$defs/") && !step.starts_with("/definitions/"));
        used.into_iter().any(|(_, part)| self.holds(part, through))
    }

    fn meant(&self, reference: &str) -> Option<(String, &'s Value)> {
        let pointer = super::schema::percent_decoded(reference.strip_prefix('#')?)?;
        let meant = if pointer.is_empty() { self.root } else { self.root.pointer(&pointer)? };
        Some((pointer, meant))
    }

    fn rule(&mut self, body: &str) -> Result<String, String> {
        self.n_rules += 1;
        if self.n_rules > MOST_RULES {
            return Err(format!("expected at most {MOST_RULES} rules around exact numbers, found more"));
        }
        let name = format!("r{}", self.n_rules);
        // Writing to a text does not fail.
        let _ = writeln!(self.rules, "{name}: {body}");
        Ok(name)
    }

    /// The rule of a schema.
    fn value(&mut self, schema: &'s Value, at: &str) -> Result<String, String> {
        if !self.holds(schema, &mut Vec::new()) {
            let mut part = self.preparer.schema(schema, at)?;
            for key in ["$defs", "definitions"] {
                if let (Value::Object(part), Some(shared)) = (&mut part, self.root.get(key)) {
                    let shared = Value::Object(Map::from_iter([(key.to_owned(), shared.clone())]));
                    part.insert(key.to_owned(), self.preparer.schema(&shared, "#")?[key].clone());
                }
            }
            self.preparer.moved(&mut part)?;
            super::constraint::with_options(&mut part);
            return self.rule(&format!("%json {part}"));
        }
        let Some(map) = schema.as_object() else { return self.rule("%json {}") };
        let says = |key: &str| map.contains_key(key);
        let only = |keys: &[&str]| {
            let is_known = |key: &String| ANNOTATIONS.contains(&key.as_str()) || keys.contains(&key.as_str());
            map.keys().all(is_known)
        };
        let body = match () {
            () if (says("const") || says("enum")) && only(&["const", "enum", "type"]) => choice(map, at)?,
            () if says("$ref") && only(&["$ref"]) => return self.reference(map, at),
            () if says("anyOf") && only(&["anyOf"]) => self.alternatives(map, "anyOf", at)?,
            () if says("oneOf") && only(&["oneOf"]) => self.alternatives(map, "oneOf", at)?,
            () if says("properties") && only(&["type", "properties", "required", "additionalProperties"]) => {
                self.object(map, at)?
            }
            () if says("items") && only(&["type", "items", "minItems", "maxItems"]) => self.list(map, at)?,
            () => {
                return Err(format!(
                    "at {at}: expected numbers that a float holds exactly (whole ones up to 2^53 = 9007199254740992), found \
                     others where that is not supported; write them as strings"
                ));
            }
        };
        self.rule(&body)
    }

    fn reference(&mut self, map: &'s Map<String, Value>, at: &str) -> Result<String, String> {
        let reference = map.get("$ref").and_then(Value::as_str).unwrap_or_default();
        let Some((pointer, meant)) = self.meant(reference) else {
            return Err(format!(
                "at {at}/$ref: expected a reference to a schema, found nothing at {reference:?}"
            ));
        };
        if let Some(name) = self.named.get(&pointer) {
            return Ok(name.clone());
        }
        let name = format!("d{}", self.named.len());
        self.named.insert(pointer.clone(), name.clone());
        let body = self.value(meant, &format!("#{pointer}"))?;
        let _ = writeln!(self.rules, "{name}: {body}");
        Ok(name)
    }

    fn alternatives(&mut self, map: &'s Map<String, Value>, key: &str, at: &str) -> Result<String, String> {
        let all = map.get(key).and_then(Value::as_array).into_iter().flatten().enumerate();
        let rules = all
            .map(|(n, part)| self.value(part, &format!("{at}/{key}/{n}")))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(rules.join(" | "))
    }

    /// Members in their order; others never come, which every schema allows that does not require them.
    fn object(&mut self, map: &'s Map<String, Value>, at: &str) -> Result<String, String> {
        let members = map.get("properties").and_then(Value::as_object);
        let required = map.get("required").and_then(Value::as_array).into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Value::as_str).collect();
        let is_object = map.get("type").is_none_or(|kind| kind == "object");
        let Some(members) =
            members.filter(|members| is_object && required.iter().all(|name| members.contains_key(*name)))
        else {
            return Err(format!("at {at}: expected a schema for every required property"));
        };
        // What may come first, and what comes behind a member.
        let (mut first, mut behind) = (Some("\"\"".to_owned()), "\"\"".to_owned());
        for (name, part) in members.iter().rev() {
            let value = self.value(part, &format!("{at}/properties/{name}"))?;
            let key = quoted(&format!("{}: ", Value::from(name.as_str())));
            let is_required = required.contains(&name.as_str());
            let head = format!("{key} {value} {behind}");
            let head = match first.filter(|_| !is_required) {
                Some(other) => self.rule(&format!("{head} | {other}"))?,
                None => self.rule(&head)?,
            };
            let comma = if is_required {
                format!("\", \" {key} {value}")
            } else {
                format!("(\", \" {key} {value})?")
            };
            behind = self.rule(&format!("{comma} {behind}"))?;
            first = Some(head);
        }
        Ok(format!("\"{{\" {} \"}}\"", first.unwrap_or_default()))
    }

    fn list(&mut self, map: &'s Map<String, Value>, at: &str) -> Result<String, String> {
        let count = |key: &str| map.get(key).and_then(Value::as_u64);
        let (least, most) = (count("minItems").unwrap_or(0), count("maxItems"));
        let is_list = map.get("type").is_none_or(|kind| kind == "array");
        let Some(items) =
            map.get("items").filter(|_| is_list && most.is_none_or(|most| most >= least.max(1)))
        else {
            return Err(format!("at {at}: expected an array that may have at least one item"));
        };
        let item = self.value(items, &format!("{at}/items"))?;
        let more = match most {
            Some(most) => format!("{{{},{}}}", least.max(1) - 1, most - 1),
            None if least > 1 => format!("{{{},}}", least - 1),
            None => "*".to_owned(),
        };
        let all = format!("{item} (\", \" {item}){more}");
        Ok(if least == 0 { format!("\"[\" ({all})? \"]\"") } else { format!("\"[\" {all} \"]\"") })
    }
}

/// Values letter by letter; a type beside them takes some of them away.
fn choice(map: &Map<String, Value>, at: &str) -> Result<String, String> {
    let of_type = |value: &&Value| match map.get("type") {
        None => true,
        Some(Value::String(one)) => is_of_type(value, one),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).any(|one| is_of_type(value, one)),
        Some(_) => false,
    };
    let listed = map.get("enum").and_then(Value::as_array).map(|all| all.iter().collect::<Vec<_>>());
    let values = match (map.get("const"), listed) {
        (Some(value), None) => vec![value],
        (Some(value), Some(all)) => all.into_iter().filter(|other| *other == value).collect(),
        (None, all) => all.unwrap_or_default(),
    };
    let texts: Vec<String> =
        values.into_iter().filter(of_type).map(|value| quoted(&value.to_string())).collect();
    match texts.is_empty() {
        true => Err(format!("at {at}: expected at least one value to choose from, found none")),
        false => Ok(texts.join(" | ")),
    }
}

/// A text in quotes is the same in the grammar and in JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

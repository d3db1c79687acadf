//! Schemas with values that the compiler of schemas would round, as grammars.
//!
//! Choices of values are written letter by letter. What leads to them (objects, lists, alternatives, references) is written
//! as rules around them, with a space behind each comma and colon; everything beside them is left to the compiler.

use super::schema::{Preparer, is_of_type, is_rounded, pointer, types};
use serde_json::{Map, Value, json};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::ptr::from_ref;

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
    let holding = holding(root);
    if !holding.contains(&from_ref(root)) {
        return Ok(None);
    }
    preparer.is_taken_apart = true;
    let mut spine =
        Spine { root, holding, preparer, rules: String::new(), n_rules: 0, named: BTreeMap::new() };
    let start = spine.value(root, "#")?;
    Ok(Some(format!("start: {start}\n{}", spine.rules)))
}

/// The schemas in which there is a value that would be rounded, behind whatever references.
fn holding(root: &Value) -> HashSet<*const Value> {
    // Those that lead to each schema.
    let mut before: HashMap<*const Value, Vec<&Value>> = HashMap::from([(from_ref(root), Vec::new())]);
    let (mut todo, mut found) = (vec![root], Vec::new());
    while let Some(schema) = todo.pop() {
        let Some(map) = schema.as_object() else { continue };
        if ["const", "enum"].iter().any(|key| map.get(*key).is_some_and(is_rounded)) {
            found.push(schema);
        }
        let meant = map.get("$ref").and_then(Value::as_str).and_then(|reference| meant(root, reference));
        let inside = super::constraint::parts(schema).into_iter();
        let used =
            inside.filter(|(step, _)| !step.starts_with("/$defs/") && !step.starts_with("/definitions/"));
        for next in used.map(|(_, part)| part).chain(meant.map(|(_, meant)| meant)) {
            match before.entry(from_ref(next)) {
                Entry::Occupied(mut known) => known.get_mut().push(schema),
                Entry::Vacant(new) => {
                    new.insert(vec![schema]);
                    todo.push(next);
                }
            }
        }
    }
    let mut holding = HashSet::new();
    while let Some(schema) = found.pop() {
        if holding.insert(from_ref(schema)) {
            found.extend(before.get(&from_ref(schema)).into_iter().flatten());
        }
    }
    holding
}

/// What a reference means, and where that is.
fn meant<'s>(root: &'s Value, reference: &str) -> Option<(String, &'s Value)> {
    let pointer = pointer(reference)?;
    let meant = if pointer.is_empty() { root } else { root.pointer(&pointer)? };
    Some((pointer, meant))
}

struct Spine<'s, 'p, 'r> {
    root: &'s Value,
    holding: HashSet<*const Value>,
    preparer: &'p mut Preparer<'r>,
    rules: String,
    n_rules: usize,
    /// Rules of what references mean.
    named: BTreeMap<String, String>,
}

impl<'s> Spine<'s, '_, '_> {
    fn count_rule(&mut self) -> Result<(), String> {
        self.n_rules += 1;
        if self.n_rules > MOST_RULES {
            return Err(format!("expected at most {MOST_RULES} rules around exact numbers, found more"));
        }
        Ok(())
    }

    fn rule(&mut self, body: &str) -> Result<String, String> {
        self.count_rule()?;
        let name = format!("r{}", self.n_rules);
        // Writing to a text does not fail.
        let _ = writeln!(self.rules, "{name}: {body}");
        Ok(name)
    }

    /// The rule of a schema.
    fn value(&mut self, schema: &'s Value, at: &str) -> Result<String, String> {
        if !self.holding.contains(&from_ref(schema)) {
            let mut part = self.preparer.whole(schema, at)?;
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
        let Some((pointer, meant)) = meant(self.root, reference) else {
            return Err(format!(
                "at {at}/$ref: expected a reference to a schema, found nothing at {reference:?}"
            ));
        };
        if let Some(name) = self.named.get(&pointer) {
            return Ok(name.clone());
        }
        // Before it is looked into: references may be nested deeply.
        self.count_rule()?;
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
        let (is_object, others) = self.other_types(map, "object")?;
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
        Ok(format!("\"{{\" {} \"}}\"{others}", first.unwrap_or_default()))
    }

    fn list(&mut self, map: &'s Map<String, Value>, at: &str) -> Result<String, String> {
        let count = |key: &str| map.get(key).and_then(Value::as_u64);
        let (least, most) = (count("minItems").unwrap_or(0), count("maxItems"));
        let (is_list, others) = self.other_types(map, "array")?;
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
        Ok(if least == 0 {
            format!("\"[\" ({all})? \"]\"{others}")
        } else {
            format!("\"[\" {all} \"]\"{others}")
        })
    }

    /// Whether values of a type may come, and as alternatives those of the other types that are named beside it: nothing
    /// else is said of them.
    fn other_types(&mut self, map: &Map<String, Value>, name: &str) -> Result<(bool, String), String> {
        let types = types(map);
        let others: Vec<_> = types.iter().filter(|other| **other != name).collect();
        let is_one = types.is_empty() || others.len() < types.len();
        if others.is_empty() {
            return Ok((is_one, String::new()));
        }
        let mut schema = json!({"type": others});
        super::constraint::with_options(&mut schema);
        let rule = self.rule(&format!("%json {schema}"))?;
        Ok((is_one, format!(" | {rule}")))
    }
}

/// Values letter by letter; a type beside them takes some of them away.
fn choice(map: &Map<String, Value>, at: &str) -> Result<String, String> {
    let types = types(map);
    let of_type = |value: &&Value| types.is_empty() || types.iter().any(|one| is_of_type(value, one));
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

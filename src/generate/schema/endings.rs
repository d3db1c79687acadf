//! Schemas that refer to themselves without an end.

use super::{MOST_PARTS, percent_decoded};
use serde_json::Value;
use std::collections::BTreeSet;

/// Whether values of a schema come to an end.
pub(super) struct Endings<'s> {
    root: &'s Value,
    /// References of which it is known that they do.
    known: BTreeSet<&'s str>,
    left: usize,
}

impl<'s> Endings<'s> {
    pub(super) fn new(root: &'s Value) -> Endings<'s> {
        Endings { root, known: BTreeSet::new(), left: MOST_PARTS }
    }

    /// Looks at every reference, for what is optional is compiled, too.
    pub(super) fn check(&mut self, schema: &'s Value, at: &str) -> Result<(), String> {
        let Some(map) = schema.as_object() else { return Ok(()) };
        if let Some(reference) = map.get("$ref").and_then(Value::as_str)
            && !self.ends(schema, &mut Vec::new())
        {
            return Err(format!(
                "at {at}/$ref: {reference:?} refers to itself, so that no value is ever complete"
            ));
        }
        for (step, part) in crate::generate::constraint::parts(schema) {
            self.check(part, &format!("{at}{step}"))?;
        }
        Ok(())
    }

    fn ends(&mut self, schema: &'s Value, through: &mut Vec<&'s str>) -> bool {
        let Some(map) = schema.as_object() else { return true };
        // Whoever looks longer than this is told by the compiler.
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return true;
        }
        if let Some(reference) = map.get("$ref").and_then(Value::as_str)
            && !self.known.contains(reference)
        {
            if through.contains(&reference) {
                return false;
            }
            let meant = match reference.strip_prefix('#') {
                Some("" | "/") => Some(self.root),
                Some(path) => percent_decoded(path).and_then(|path| self.root.pointer(&path)),
                None => None,
            };
            through.push(reference);
            let ends = meant.is_none_or(|meant| self.ends(meant, through));
            through.pop();
            if !ends {
                return false;
            }
            self.known.insert(reference);
        }
        let mut list = |key: &str, all: bool| match map.get(key) {
            Some(Value::Array(parts)) if !parts.is_empty() && all => {
                parts.iter().all(|part| self.ends(part, through))
            }
            Some(Value::Array(parts)) if !parts.is_empty() => {
                parts.iter().any(|part| self.ends(part, through))
            }
            _ => true,
        };
        if !(list("allOf", true) && list("anyOf", false) && list("oneOf", false)) {
            return false;
        }
        match map.get("type").and_then(Value::as_str) {
            Some("object") => {
                let required = map.get("required").and_then(Value::as_array);
                let members = map.get("properties").and_then(Value::as_object);
                let of =
                    |name: &Value| members.zip(name.as_str()).and_then(|(members, name)| members.get(name));
                required.into_iter().flatten().filter_map(of).all(|part| self.ends(part, through))
            }
            Some("array") => {
                let least = map.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                least == 0 || map.get("items").is_none_or(|items| self.ends(items, through))
            }
            _ => true,
        }
    }
}

//! Schemas that refer to themselves without an end.

use super::{MOST_PARTS, pointer, types};
use serde_json::{Map, Value};
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
            && !self.ends(schema, &mut BTreeSet::new())
        {
            return Err(format!(
                "at {at}/$ref: {reference:?} refers to itself, so that no value is ever complete"
            ));
        }
        for (step, part) in crate::answer::constraint::parts(schema) {
            self.check(part, &format!("{at}{step}"))?;
        }
        Ok(())
    }

    fn ends(&mut self, schema: &'s Value, through: &mut BTreeSet<&'s str>) -> bool {
        let Some(map) = schema.as_object() else { return true };
        // Whoever looks longer than this is told by the compiler.
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return true;
        }
        if let Some(reference) = map.get("$ref").and_then(Value::as_str)
            && !self.known.contains(reference)
        {
            if !through.insert(reference) {
                return false;
            }
            let meant = match reference {
                "#" | "#/" => Some(self.root),
                path => pointer(path).and_then(|path| self.root.pointer(&path)),
            };
            let ends = meant.is_none_or(|meant| self.ends(meant, through));
            through.remove(reference);
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
        let types = types(map);
        types.is_empty() || types.into_iter().any(|name| self.ends_as(name, map, through))
    }

    /// Whether values of one type come to an end.
    fn ends_as(&mut self, name: &str, map: &'s Map<String, Value>, through: &mut BTreeSet<&'s str>) -> bool {
        let list = |key: &str| map.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        match name {
            "object" => {
                let members = map.get("properties").and_then(Value::as_object);
                let of = |name: &Value| members.and_then(|members| members.get(name.as_str()?));
                list("required").iter().filter_map(of).all(|part| self.ends(part, through))
            }
            "array" => {
                let least = map.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
                // Older drafts have the first items under another name.
                let (first, others) = match map.get("items") {
                    Some(Value::Array(first)) => (&first[..], map.get("additionalItems")),
                    items => (list("prefixItems"), items),
                };
                first.iter().take(least).all(|part| self.ends(part, through))
                    && (least <= first.len() || others.is_none_or(|items| self.ends(items, through)))
            }
            _ => true,
        }
    }
}

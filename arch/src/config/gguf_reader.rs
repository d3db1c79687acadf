//! The keys of GGUF metadata, read with their names, so that whatever is wrong with one can be said.

use super::overrides::{Overrides, Scalar, scalar_of};
use fathom_gguf::{Metadata, Value};
use std::collections::BTreeSet;

/// Metadata below one architecture's prefix, with overrides; collects what is missing.
pub(super) struct Reader<'r, 'd> {
    pub(super) metadata: &'r Metadata<'d>,
    pub(super) overrides: &'r Overrides,
    pub(super) arch: &'static str,
    pub(super) problems: Vec<String>,
    /// Keys whose values were asked for.
    pub(super) asked: BTreeSet<String>,
}

impl<'r, 'd> Reader<'r, 'd> {
    pub(super) fn new(
        metadata: &'r Metadata<'d>,
        overrides: &'r Overrides,
        arch: &'static str,
    ) -> Reader<'r, 'd> {
        Reader { metadata, overrides, arch, problems: Vec::new(), asked: BTreeSet::new() }
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn scalar(&mut self, key: &str) -> Option<Scalar> {
        let key = self.key(key);
        self.asked.insert(key.clone());
        if let Some(value) = self.overrides.get(&key) {
            return Some(value);
        }
        let value = self.metadata.get(&key)?;
        let scalar = match value {
            // A layer without attention or without heads is another model.
            Value::Array(array) if !key.ends_with("feed_forward_length") && has_zero(array) => None,
            value => scalar_of(value),
        };
        if scalar.is_none() {
            self.problems.push(format!("{key}: expected a number from 0 or a flag, found {}", shown(value)));
        }
        scalar
    }

    pub(super) fn size(&mut self, key: &str) -> Option<usize> {
        match self.scalar(key)? {
            Scalar::Int(value) => Some(usize::try_from(value).unwrap_or(usize::MAX)),
            other => {
                self.problems.push(format!("{}: expected a whole number, found {other}", self.key(key)));
                None
            }
        }
    }

    pub(super) fn float(&mut self, key: &str) -> Option<f32> {
        match self.scalar(key)? {
            Scalar::Float(value) => Some(value as f32),
            Scalar::Int(value) => Some(value as f32),
            other => {
                self.problems.push(format!("{}: expected a number, found {other}", self.key(key)));
                None
            }
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        match self.scalar(key)? {
            Scalar::Bool(value) => Some(value),
            other => {
                self.problems.push(format!("{}: expected true or false, found {other}", self.key(key)));
                None
            }
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        let key = self.key(key);
        self.asked.insert(key.clone());
        match self.overrides.get(&key) {
            Some(Scalar::Str(text)) => Ok(Some(text)),
            Some(other) => {
                Err(format!("{key}: expected a text (--override-kv {key}=str:VALUE), found {other}"))
            }
            None => {
                let text = self.metadata.str(&key).map_err(|error| error.to_string())?;
                Ok(text.map(str::to_owned))
            }
        }
    }

    pub(super) fn need(&mut self, key: &str) -> usize {
        let before = self.problems.len();
        let value = self.size(key);
        if value.is_none() && self.problems.len() == before {
            self.problems.push(format!("{}: missing", self.key(key)));
        }
        value.unwrap_or(0)
    }

    /// A value that llama.cpp's converter always writes and that no default could stand for; `usual` is V3's own.
    pub(super) fn need_as<T>(
        &mut self,
        key: &str,
        read: impl Fn(&mut Self, &str) -> Option<T>,
        usual: &str,
    ) -> Option<T> {
        let before = self.problems.len();
        let value = read(self, key);
        if value.is_none() && self.problems.len() == before {
            let key = self.key(key);
            self.problems
                .push(format!("{key}: missing; V3-family files have it: add --override-kv {key}={usual}"));
        }
        value
    }
}

/// A value that is no number from 0: itself if it is short, otherwise what it is.
fn shown(value: &Value<'_>) -> String {
    match *value {
        Value::I8(v) => v.to_string(),
        Value::I16(v) => v.to_string(),
        Value::I32(v) => v.to_string(),
        Value::I64(v) => v.to_string(),
        ref other => other.kind().to_string(),
    }
}

fn has_zero(array: &fathom_gguf::Array<'_>) -> bool {
    array.values().any(|value| scalar_of(&value) == Some(Scalar::Int(0)))
}

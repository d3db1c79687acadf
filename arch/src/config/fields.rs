//! The fields of a JSON object, read with their names, so that whatever is wrong with one can be said.

use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

/// The value under which a switch changes nothing.
#[derive(Clone, Copy)]
pub(super) enum Plain {
    Word(&'static str),
    Flag(bool),
    Number(f64),
    /// A list, or a text of letters, of nothing but this word.
    NothingBut(&'static str),
}

impl Plain {
    pub(super) fn is(self, found: &Value) -> bool {
        match self {
            Plain::Word(word) => found.is_null() || found == word,
            // Python takes null for false.
            Plain::Flag(flag) => found.as_bool().or(found.is_null().then_some(false)) == Some(flag),
            Plain::Number(number) => found.is_null() || found.as_f64() == Some(number),
            Plain::NothingBut(word) => match found {
                Value::Null => true,
                Value::Array(words) => words.iter().all(|found| found == word),
                Value::String(text) => text.chars().all(|letter| word == letter.to_string()),
                _ => false,
            },
        }
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plain::Word(word) => write!(f, "`{word}`"),
            Plain::Flag(flag) => write!(f, "{flag}"),
            Plain::Number(number) => write!(f, "{number}"),
            Plain::NothingBut(word) => write!(f, "nothing but {word:?}"),
        }
    }
}

/// An object, and everything that is wrong with its fields.
pub(super) struct Fields<'j> {
    object: &'j Map<String, Value>,
    /// What stands before a field's name in a message.
    pub(super) prefix: &'static str,
    pub(super) problems: Vec<String>,
    /// Every name that was asked for: what nobody asks for is not read.
    asked: RefCell<BTreeSet<String>>,
}

impl<'j> Fields<'j> {
    pub(super) fn new(object: &'j Map<String, Value>, prefix: &'static str) -> Fields<'j> {
        Fields { object, prefix, problems: Vec::new(), asked: RefCell::default() }
    }

    /// The field, null included.
    pub(super) fn field(&self, name: &str) -> Option<&'j Value> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.object.get(name)
    }

    /// Fields that have a value nobody asked for.
    pub(super) fn unread(&self) -> impl Iterator<Item = &'j str> {
        let with_value = self.object.iter().filter(|(_, value)| !value.is_null());
        with_value.map(|(name, _)| name.as_str()).filter(|name| !self.asked.borrow().contains(*name))
    }

    /// The field, unless it is null.
    pub(super) fn value(&self, name: &str) -> Option<&'j Value> {
        self.field(name).filter(|value| !value.is_null())
    }

    /// An object that is not empty.
    pub(super) fn object(&mut self, name: &str) -> Option<&'j Map<String, Value>> {
        let value = self.value(name)?;
        match value.as_object() {
            Some(object) => (!object.is_empty()).then_some(object),
            None => {
                self.wrong(name, "an object", value);
                None
            }
        }
    }

    pub(super) fn wrong(&mut self, name: &str, expected: impl fmt::Display, found: &Value) {
        let found = shown(found);
        self.problems.push(format!("{}{name}: expected {expected}, found {found}", self.prefix));
    }

    pub(super) fn not_supported(&mut self, name: &str, found: &Value) {
        self.problems.push(format!("{}{name}: not supported; found {}", self.prefix, shown(found)));
    }

    pub(super) fn missing(&mut self, name: &str) {
        self.problems.push(format!("{}{name}: missing", self.prefix));
    }

    /// A whole number; null is no number.
    pub(super) fn size(&mut self, name: &str) -> Option<usize> {
        let value = self.field(name)?;
        // Programs in other languages write whole numbers as 4096.0.
        let whole = |x: f64| (x >= 0.0 && x.fract() == 0.0 && x < (1u64 << 53) as f64).then_some(x as u64);
        let size = value.as_u64().or_else(|| whole(value.as_f64()?)).and_then(|n| usize::try_from(n).ok());
        if size.is_none() {
            self.wrong(name, "a whole number", value);
        }
        size
    }

    /// A whole number that must be there.
    pub(super) fn need(&mut self, name: &str) -> usize {
        if self.field(name).is_none() {
            self.missing(name);
        }
        self.size(name).unwrap_or(0)
    }

    /// A number; null is no number.
    pub(super) fn float(&mut self, name: &str) -> Option<f32> {
        let value = self.field(name)?;
        let float = value.as_f64();
        if float.is_none() {
            self.wrong(name, "a number", value);
        }
        float.map(|x| x as f32)
    }

    /// A number, or null for what is assumed where there is none.
    pub(super) fn float_or_null(&mut self, name: &str) -> Option<f32> {
        self.value(name)?;
        self.float(name)
    }

    /// True or false; null is neither.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let value = self.field(name)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong(name, "true or false", value);
        }
        flag
    }

    /// Refuses switches that are there and not plain.
    pub(super) fn check(&mut self, switches: &[(&str, Plain)]) {
        for &(name, plain) in switches {
            if let Some(found) = self.field(name)
                && !plain.is(found)
            {
                self.wrong(name, plain, found);
            }
        }
    }

    /// A size that has several names; those that are there must agree.
    pub(super) fn size_by_any_name(&mut self, names: &[&str]) -> Option<usize> {
        let mut found: Option<(&str, usize)> = None;
        for name in names {
            let Some(size) = self.value(name).and_then(|_| self.size(name)) else { continue };
            match found {
                Some((first, other)) if other != size => self.problems.push(format!(
                    "{0}{first} is {other} and {0}{name} is {size}, but both name the same value",
                    self.prefix
                )),
                Some(_) => {}
                None => found = Some((name, size)),
            }
        }
        found.map(|(_, size)| size)
    }
}

/// A value of a file, short.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = match value {
        Value::String(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

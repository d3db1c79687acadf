//! Values of templates as JSON and as Python's text, within limits: a template can build values that hold themselves many
//! times over.

use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// Bytes that one value may take.
const LONGEST: usize = 16 << 20;
/// Lists in lists.
const DEEPEST: usize = 128;
/// Spaces of an indent.
const WIDEST: usize = 64;

/// A number that no number of the engine is: its digits.
#[derive(Debug)]
struct Digits(String);

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// JSON as a value of the engine.
pub(in super::super) fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => {
            let text = number.to_string();
            if let Ok(value) = text.parse::<i64>() {
                return if text == "-0" { Value::from(-0.0) } else { Value::from(value) };
            }
            if let Ok(value) = text.parse::<i128>() {
                return Value::from(value);
            }
            let exact = |value: &f64| value.is_finite() && text.contains(['.', 'e', 'E']);
            match text.parse::<f64>().ok().filter(exact) {
                Some(value) => Value::from(value),
                None => Value::from_object(Digits(text)),
            }
        }
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::from(list.iter().map(to_value).collect::<Vec<_>>()),
        Json::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), to_value(value))))
        }
    }
}

fn failed(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

/// `tojson` as transformers has it: the options of Python's `json.dumps`, and no escapes for HTML.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    rest: Rest<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    let option = |index: usize, name: &str| -> Result<Option<Value>, Error> {
        let named: Option<Value> = options.get(name)?;
        let given = named.or_else(|| rest.get(index).cloned());
        Ok(given.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ensure_ascii = option(0, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = match option(1, "indent")? {
        None => None,
        Some(width) => Some(match (width.as_str(), width.as_i64()) {
            (Some(text), _) if text.len() <= WIDEST => text.to_owned(),
            (_, Some(n)) if n <= WIDEST as i64 => " ".repeat(n.max(0) as usize),
            _ => {
                return Err(failed(format!("tojson: expected an indent of at most {WIDEST}, found {width}")));
            }
        }),
    };
    let separators = match option(2, "separators")? {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => {
            match &pair.try_iter()?.map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>()[..] {
                [Some(item), Some(key)] => (item.clone(), key.clone()),
                _ => {
                    return Err(failed(format!(
                        "tojson: expected separators (item, key), found {}",
                        pair.kind()
                    )));
                }
            }
        }
    };
    let sort_keys = option(3, "sort_keys")?.is_some_and(|value| value.is_true());
    options.assert_all_used()?;
    let mut writer = Writer { out: String::new(), ensure_ascii, indent, separators, sort_keys };
    writer.value(value, 0)?;
    state.consume_fuel(writer.out.len() as u64 / 64)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    ensure_ascii: bool,
    indent: Option<String>,
    separators: (String, String),
    sort_keys: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check(&self.out, depth)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value, "NaN", "Infinity")),
            ValueKind::String => quote(&mut self.out, value.as_str().unwrap_or_default(), self.ensure_ascii),
            ValueKind::Map => {
                let mut members = Vec::new();
                for key in value.try_iter()? {
                    let name = key_text(&key)?;
                    members.push((name, value.get_item(&key)?));
                }
                if self.sort_keys {
                    members.sort_by(|a, b| a.0.cmp(&b.0));
                }
                self.items(('{', '}'), members.into_iter().map(|(name, value)| (Some(name), value)), depth)?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                self.items(('[', ']'), value.try_iter()?.map(|value| (None, value)), depth)?;
            }
            _ if value.downcast_object_ref::<Digits>().is_some() => self.out += &value.to_string(),
            kind => return Err(failed(format!("tojson: expected what JSON can hold, found {kind}"))),
        }
        Ok(())
    }

    fn items(
        &mut self,
        (open, close): (char, char),
        items: impl Iterator<Item = (Option<String>, Value)>,
        depth: usize,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut is_empty = true;
        for (name, value) in items {
            if !is_empty {
                self.out += &self.separators.0;
            }
            is_empty = false;
            self.line(depth + 1);
            if let Some(name) = name {
                quote(&mut self.out, &name, self.ensure_ascii);
                self.out += &self.separators.1;
            }
            self.value(&value, depth + 1)?;
        }
        if !is_empty {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out += &indent.repeat(depth);
        }
    }
}

fn check(out: &str, depth: usize) -> Result<(), Error> {
    match (out.len() > LONGEST, depth > DEEPEST) {
        (true, _) => Err(failed(format!("a value takes more than {LONGEST} bytes when it is written"))),
        (_, true) => Err(failed(format!("a value is nested more than {DEEPEST} levels deep"))),
        _ => Ok(()),
    }
}

/// The name of a member, as Python writes what is no text.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(number(key, "NaN", "Infinity")),
        kind => Err(failed(format!("tojson: expected a text as the name of a member, found {kind}"))),
    }
}

fn number(value: &Value, nan: &str, infinity: &str) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(x) if x.is_nan() => nan.to_owned(),
        Ok(x) if x.is_infinite() => format!("{}{infinity}", if x < 0.0 { "-" } else { "" }),
        Ok(x) => super::super::python::repr(x),
        Err(_) => value.to_string(),
    }
}

fn quote(out: &mut String, text: &str, ensure_ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ..' ' => out.push_str(&escape(c)),
            _ if ensure_ascii && !(' '..='~').contains(&c) => out.push_str(&escape(c)),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// `\uXXXX`, one or two of them.
pub(in super::super) fn escape(c: char) -> String {
    c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// What Python's `str` makes of a value.
pub(super) fn str(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let mut out = String::new();
            repr(&mut out, value, 0)?;
            Ok(out)
        }
    }
}

fn repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check(out, depth)?;
    match value.kind() {
        ValueKind::Undefined => {}
        ValueKind::Number => out.push_str(&number(value, "nan", "inf")),
        ValueKind::String => repr_text(out, value.as_str().unwrap_or_default()),
        ValueKind::Map => {
            out.push('{');
            for (n, key) in value.try_iter()?.enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                repr(out, &key, depth + 1)?;
                out.push_str(": ");
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        ValueKind::Seq => {
            let is_tuple = value.is_tuple();
            out.push(if is_tuple { '(' } else { '[' });
            for (n, item) in value.try_iter()?.enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                repr(out, &item, depth + 1)?;
            }
            out.push_str(match is_tuple {
                true if value.len() == Some(1) => ",)",
                true => ")",
                false => "]",
            });
        }
        ValueKind::Iterable => {
            out.push('[');
            for (n, item) in value.try_iter()?.enumerate() {
                out.push_str(if n > 0 { ", " } else { "" });
                repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// Single quotes, unless the text has some and no double ones.
fn repr_text(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => out.extend(['\\', c]),
            ..' ' | '\u{7f}'..='\u{a0}' | '\u{ad}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push(quote);
}

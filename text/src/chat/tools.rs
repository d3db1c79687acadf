//! The tools a model may call: how they are announced, and how values it writes are read.

use super::error::ChatError;
use super::python::to_json;
use serde_json::{Map, Value};

/// The text that announces tools, up to the list of them. The format requires it word for word.
/// Source: DeepSeek-V3.2's published encoding tests, MIT licence, Copyright (c) DeepSeek.
pub(super) const PREAMBLE: &str = r##"## Tools

You have access to a set of tools you can use to answer the user's question.
You can invoke functions by writing a "<｜DSML｜function_calls>" block like the following as part of your reply to the user:
<｜DSML｜function_calls>
<｜DSML｜invoke name="$FUNCTION_NAME">
<｜DSML｜parameter name="$PARAMETER_NAME" string="true|false">$PARAMETER_VALUE</｜DSML｜parameter>
...
</｜DSML｜invoke>
<｜DSML｜invoke name="$FUNCTION_NAME2">
...
</｜DSML｜invoke>
</｜DSML｜function_calls>

String and scalar parameters should be specified as is without any escaping or quotes, while lists and objects should use JSON format. The "string" attribute should be set to "true" for string type parameters and "false" for other types (numbers, booleans, arrays, objects).

If the thinking_mode is enabled, then after function results you should strongly consider outputting a thinking block. Here is an example:

<｜DSML｜function_calls>
...
</｜DSML｜function_calls>

<function_results>
...
</function_results>

<think>...thinking about results</think>

Here are the functions available in JSONSchema format:
<functions>
"##;

/// What follows the list.
pub(super) const END: &str = "</functions>\n";

/// A tool that the model may call: the `function` object of the usual interfaces, keys in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    function: Map<String, Value>,
}

impl Tool {
    /// Takes `{"type": "function", "function": {"name": ...}}`, the inner object alone, or that object with its type beside
    /// its name, as OpenAI's Responses interface has it. The type is no part of the function.
    ///
    /// # Errors
    /// If there is no name, or the tool is no function.
    pub fn from_json(value: Value) -> Result<Tool, ChatError> {
        let function = match value {
            Value::Object(mut outer) => match (outer.shift_remove("type"), outer.shift_remove("function")) {
                (Some(kind), _) if kind != "function" => {
                    return Err(ChatError::Json {
                        what: "type",
                        expected: "\"function\"",
                        found: to_json(&kind).chars().take(80).collect(),
                    });
                }
                (_, Some(Value::Object(inner))) => Some(inner),
                (_, Some(_)) => None,
                (_, None) => Some(outer),
            },
            _ => None,
        };
        match function {
            Some(function) if function.get("name").is_some_and(Value::is_string) => Ok(Tool { function }),
            other => Err(ChatError::Json {
                what: "a tool",
                expected: "an object `function` with a string `name`",
                found: other.map_or_else(
                    || "none".to_owned(),
                    |function| to_json(&Value::Object(function)).chars().take(80).collect(),
                ),
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.function.get("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The whole function object.
    pub fn function(&self) -> &Map<String, Value> {
        &self.function
    }

    /// The schema of one parameter.
    fn parameter(&self, key: &str) -> Option<&Value> {
        self.function.get("parameters")?.get("properties")?.get(key)
    }
}

/// A value that the model did not mark as a string: JSON as it stands; if it is none, what the tool's schema makes of
/// it; otherwise text.
pub(super) fn read_value(tool: Option<&Tool>, key: &str, raw: &str) -> Value {
    if let Some(value) = exact(raw) {
        return value;
    }
    let word = raw.trim();
    let types = tool.and_then(|tool| tool.parameter(key)).map(types).unwrap_or_default();
    types
        .into_iter()
        .find_map(|wanted| match (wanted, word) {
            ("boolean", "True" | "TRUE") => Some(Value::Bool(true)),
            ("boolean", "False" | "FALSE") => Some(Value::Bool(false)),
            ("null", "None" | "") => Some(Value::Null),
            ("integer", _) => integer(word),
            ("number", _) => number(word),
            _ => None,
        })
        .unwrap_or_else(|| Value::String(raw.to_owned()))
}

/// JSON as it stands; `None` where a member stands twice in an object, for one of the two would be lost.
fn exact(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    (n_members(&value) == n_colons(text)).then_some(value)
}

/// The same of an object.
pub(super) fn exact_object(text: &str) -> Option<Map<String, Value>> {
    if let Value::Object(map) = exact(text)? { Some(map) } else { None }
}

/// How many members the objects of a value have.
fn n_members(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(n_members).sum(),
        Value::Object(map) => map.len() + map.values().map(n_members).sum::<usize>(),
        _ => 0,
    }
}

/// Colons outside of texts: as many as there are members.
fn n_colons(json: &str) -> usize {
    let (mut n, mut in_text, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b':' if !in_text => n += 1,
            _ => {}
        }
    }
    n
}

/// A whole number of any length, written as people write it: `+2`, `007`.
fn integer(word: &str) -> Option<Value> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    serde_json::from_str(&format!("{sign}{}", if digits.is_empty() { "0" } else { digits })).ok()
}

/// A number, written as people write it: `.5`, `2.`, `+1e3`. Its digits are kept.
fn number(word: &str) -> Option<Value> {
    word.parse::<f64>().ok().filter(|x| x.is_finite())?;
    let (sign, rest) = match word.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, exponent) = rest.split_at(rest.find(['e', 'E']).unwrap_or(rest.len()));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let part = if part.is_empty() { String::new() } else { format!(".{part}") };
    serde_json::from_str(&format!("{sign}{whole}{part}{exponent}")).ok()
}

/// A parameter that says nothing about its kind of value: text if the schema says so, otherwise as [`read_value`].
pub(super) fn read_unmarked(tool: Option<&Tool>, key: &str, raw: &str) -> Value {
    if is_text(tool, key) { Value::String(raw.to_owned()) } else { read_value(tool, key, raw) }
}

/// Whether the schema takes nothing but text for a parameter.
pub(super) fn is_text(tool: Option<&Tool>, key: &str) -> bool {
    tool.and_then(|tool| tool.parameter(key)).is_some_and(|schema| types(schema) == ["string"])
}

/// Whether a single parameter of this name may wrap all arguments.
pub(super) fn may_wrap(tool: Option<&Tool>, key: &str) -> bool {
    tool.is_some_and(|tool| (key == "arguments" || key == "input") && tool.parameter(key).is_none())
}

/// Some models wrap all arguments in a single parameter that the tool does not have.
pub(super) fn unwrap_arguments(tool: Option<&Tool>, arguments: Map<String, Value>) -> Map<String, Value> {
    let wrapped = match arguments.iter().next() {
        Some((key, value)) if arguments.len() == 1 && may_wrap(tool, key) => match value {
            Value::Object(inner) => Some(inner.clone()),
            Value::String(text) => exact_object(text),
            _ => None,
        },
        _ => None,
    };
    wrapped.unwrap_or(arguments)
}

/// The types a schema allows, in its order.
fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

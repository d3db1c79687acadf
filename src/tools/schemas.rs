//! A file of tools: OpenAI's function schemas.

use crate::files;
use fathom_text::chat::Tool;
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// Larger files fit into no context.
const LARGEST: u64 = 16 << 20;
/// What is to be read, as short as it can be.
const EXPECTED: &str =
    r#"JSON, an array of function schemas such as [{"name": "now", "description": "...", "parameters": {}}]"#;
/// As in OpenAI's interface.
const LONGEST_NAME: usize = 64;

/// Reads `[...]` or `{"tools": [...]}`.
pub(super) fn read(path: &Path) -> Result<Vec<Tool>, String> {
    let json = files::read_json_or_pipe(path, LARGEST, EXPECTED)?;
    all(json).map_err(|problem| format!("{}: {problem}", path.display()))
}

fn all(json: Value) -> Result<Vec<Tool>, String> {
    let list = match json {
        Value::Array(list) => list,
        Value::Object(mut outer) => match outer.remove("tools") {
            Some(Value::Array(list)) => list,
            Some(other) => return Err(format!("tools: expected an array, found {}", short(&other))),
            None => {
                return Err("expected an array of function schemas or {\"tools\": [...]}, found an object \
                            without \"tools\""
                    .to_owned());
            }
        },
        other => return Err(format!("expected an array of function schemas, found {}", short(&other))),
    };
    if list.is_empty() {
        return Err("expected at least one tool, found none".to_owned());
    }
    let mut names = HashSet::new();
    let one = |(index, value): (usize, Value)| {
        let tool = one(value).map_err(|problem| format!("tool {index} (counted from 0): {problem}"))?;
        match names.insert(tool.name().to_owned()) {
            true => Ok(tool),
            false => {
                Err(format!("tool {index} (counted from 0): a second tool with the name {:?}", tool.name()))
            }
        }
    };
    list.into_iter().enumerate().map(one).collect()
}

fn one(value: Value) -> Result<Tool, String> {
    if let Some(kind) =
        value.get("type").filter(|kind| value.get("function").is_some() && *kind != "function")
    {
        return Err(format!("type: expected \"function\", found {}", short(kind)));
    }
    let tool = Tool::from_json(value).map_err(|error| error.to_string())?;
    let name = tool.name();
    // Names stand in the prompt without escapes.
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_good) {
        return Err(format!(
            "name: expected 1 to {LONGEST_NAME} letters, digits, _, - or ., found {}",
            short(&Value::from(name))
        ));
    }
    let function = tool.function();
    if let Some(other) = function.get("description").filter(|text| !text.is_string()) {
        return Err(format!("description of {name}: expected text, found {}", short(other)));
    }
    if let Some(other) = function.get("parameters").filter(|schema| !schema.is_object()) {
        return Err(format!(
            "parameters of {name}: expected a JSON schema, an object, found {}",
            short(other)
        ));
    }
    Ok(tool)
}

/// A value as a message shows it.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_shapes_of_a_file_and_both_of_a_tool() {
        let inner = json!({"name": "get_time", "parameters": {"type": "object"}});
        let outer = json!({"type": "function", "function": inner});
        // OpenAI's Responses interface has no object inside.
        let flat = json!({"type": "function", "name": "get_time", "parameters": {"type": "object"}});
        for file in [json!([inner]), json!([outer]), json!([flat]), json!({"tools": [outer]})] {
            let tools = all(file).unwrap();
            assert_eq!(tools.len(), 1);
            assert_eq!(Value::Object(tools[0].function().clone()), inner);
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let good = json!({"name": "a"});
        for (file, expected) in [
            (json!(5), "expected an array of function schemas, found 5"),
            (json!([]), "expected at least one tool, found none"),
            (json!({"functions": []}), "without \"tools\""),
            (json!({"tools": {}}), "tools: expected an array, found {}"),
            (
                json!([good, {}]),
                "tool 1 (counted from 0): a tool: expected an object `function` with a string `name`",
            ),
            (json!([good, good]), "tool 1 (counted from 0): a second tool with the name \"a\""),
            (json!([{"name": "a b"}]), "tool 0 (counted from 0): name: expected 1 to 64 letters"),
            (
                json!([{"type": "retrieval", "function": good}]),
                "type: expected \"function\", found \"retrieval\"",
            ),
            (
                json!([{"type": "web_search", "name": "a"}]),
                "type: expected \"function\", found \"web_search\"",
            ),
            (json!([{"name": "a", "parameters": []}]), "parameters of a: expected a JSON schema"),
            (json!([{"name": "a", "description": 1}]), "description of a: expected text, found 1"),
        ] {
            let error = all(file.clone()).unwrap_err();
            assert!(error.contains(expected), "{file}: {error}");
        }
    }
}

//! What a conversation is made of.
//!
//! The types also read themselves from JSON in the shape that OpenAI's and DeepSeek's interfaces share: `role`,
//! `content`, `reasoning_content`, `tool_calls` with their arguments as a string, `tool_call_id`.

use super::error::ChatError;
use super::tools::Tool;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Messages and the mode in which the next answer is wanted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// In order.
    pub messages: Vec<Message>,
    /// Whether the model reasons before it answers.
    pub thinking: bool,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Wire")]
pub enum Message {
    /// Instructions, tools, the form of the answer.
    System(System),
    /// What a person says.
    User(String),
    /// What the model said.
    Assistant(Assistant),
    /// What a tool returned.
    Tool(ToolResult),
}

/// Instructions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct System {
    /// The instructions.
    pub content: String,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// The schema the answer must follow.
    pub response_format: Option<Value>,
}

/// An answer of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assistant {
    /// What it thought first. Rendered only in the current turn, whatever is given.
    pub reasoning: String,
    /// What it said.
    pub content: String,
    /// The tools it called.
    pub calls: Vec<ToolCall>,
    /// The answer is not complete and the model is to go on with it. For the last message only.
    pub open: bool,
}

/// A call of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolCall {
    /// A name for this call; the format does not write it, results may refer to it.
    pub id: Option<String>,
    /// The tool's name.
    pub name: String,
    /// Values by parameter, in order.
    pub arguments: Map<String, Value>,
}

/// A tool's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolResult {
    /// Which call it answers. Without ids, results are in the order of the calls.
    pub call_id: Option<String>,
    /// The answer.
    pub content: String,
}

impl Message {
    /// A system message without tools.
    pub fn system(content: impl Into<String>) -> Message {
        Message::System(System { content: content.into(), ..System::default() })
    }

    /// A message of a person.
    pub fn user(content: impl Into<String>) -> Message {
        Message::User(content.into())
    }

    /// An answer without reasoning and tool calls.
    pub fn assistant(content: impl Into<String>) -> Message {
        Message::Assistant(Assistant { content: content.into(), ..Assistant::default() })
    }

    /// A tool's answer to the next call.
    pub fn tool(content: impl Into<String>) -> Message {
        Message::Tool(ToolResult { content: content.into(), call_id: None })
    }
}

impl Message {
    /// The message in the shape that it reads itself from.
    pub fn to_json(&self) -> Value {
        match self {
            Message::System(system) => {
                let mut json = json!({"role": "system", "content": system.content});
                if !system.tools.is_empty() {
                    let function = |tool: &Tool| json!({"type": "function", "function": tool.function()});
                    json["tools"] = system.tools.iter().map(function).collect();
                }
                if let Some(schema) = &system.response_format {
                    json["response_format"] = schema.clone();
                }
                json
            }
            Message::User(content) => json!({"role": "user", "content": content}),
            Message::Assistant(assistant) => {
                let mut json = json!({"role": "assistant", "content": assistant.content});
                if !assistant.reasoning.is_empty() {
                    json["reasoning_content"] = assistant.reasoning.as_str().into();
                }
                if !assistant.calls.is_empty() {
                    json["tool_calls"] = assistant.calls.iter().map(ToolCall::to_json).collect();
                }
                if assistant.open {
                    json["prefix"] = true.into();
                }
                json
            }
            Message::Tool(result) => match &result.call_id {
                Some(id) => json!({"role": "tool", "content": result.content, "tool_call_id": id}),
                None => json!({"role": "tool", "content": result.content}),
            },
        }
    }
}

impl ToolCall {
    fn to_json(&self) -> Value {
        let arguments = Value::Object(self.arguments.clone()).to_string();
        let function = json!({"name": self.name, "arguments": arguments});
        match &self.id {
            Some(id) => json!({"id": id, "type": "function", "function": function}),
            None => json!({"type": "function", "function": function}),
        }
    }

    /// A call whose arguments are the JSON text of an object, as interfaces send it; empty text is no arguments.
    ///
    /// # Errors
    /// If the text is not an object.
    pub fn from_json(id: Option<String>, name: String, arguments: &str) -> Result<ToolCall, ChatError> {
        let text = if arguments.trim().is_empty() { "{}" } else { arguments };
        match serde_json::from_str(text) {
            Ok(Value::Object(arguments)) => Ok(ToolCall { id, name, arguments }),
            _ => Err(ChatError::Json {
                what: "the arguments of a tool call",
                expected: "the JSON text of an object",
                found: arguments.chars().take(80).collect(),
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Wire {
    System {
        content: Option<String>,
        #[serde(default)]
        tools: Vec<Value>,
        response_format: Option<Value>,
    },
    User {
        content: String,
    },
    Assistant {
        content: Option<String>,
        reasoning_content: Option<String>,
        tool_calls: Option<Vec<WireCall>>,
        #[serde(default)]
        prefix: bool,
    },
    Tool {
        content: String,
        tool_call_id: Option<String>,
    },
}

#[derive(Deserialize)]
struct WireCall {
    id: Option<String>,
    function: WireFunction,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

impl TryFrom<Wire> for Message {
    type Error = ChatError;

    fn try_from(wire: Wire) -> Result<Message, ChatError> {
        Ok(match wire {
            Wire::System { content, tools, response_format } => Message::System(System {
                content: content.unwrap_or_default(),
                tools: tools.into_iter().map(Tool::from_json).collect::<Result<_, _>>()?,
                response_format,
            }),
            Wire::User { content } => Message::User(content),
            Wire::Assistant { content, reasoning_content, tool_calls, prefix } => {
                Message::Assistant(Assistant {
                    reasoning: reasoning_content.unwrap_or_default(),
                    content: content.unwrap_or_default(),
                    calls: tool_calls
                        .unwrap_or_default()
                        .into_iter()
                        .map(|call| {
                            ToolCall::from_json(call.id, call.function.name, &call.function.arguments)
                        })
                        .collect::<Result<_, _>>()?,
                    open: prefix,
                })
            }
            Wire::Tool { content, tool_call_id } => {
                Message::Tool(ToolResult { call_id: tool_call_id, content })
            }
        })
    }
}

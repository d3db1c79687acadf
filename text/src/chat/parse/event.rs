//! What a parser is told and what it tells.

use crate::chat::message::ToolCall;

/// Where an answer starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The prompt ended in `<think>`.
    Reasoning,
    /// The prompt ended in `</think>`, or the model does not reason.
    Content,
    /// The model may open its reasoning itself.
    Unknown,
}

/// What the next text of an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'p> {
    /// Reasoning or content.
    Free,
    /// The value of a parameter.
    Value,
    /// The tags of tool calls and what stands between them; behind a block of calls, where nothing should follow.
    Syntax,
    /// Behind the mark of a tag that opens a block or a call: one of these texts, of which this much is there.
    Opening(&'static [&'static str], &'p str),
    /// The name of a tool, of which this much is there.
    Name(&'p str),
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model ended it.
    Eos,
    /// It was cut off: length, a stop text, an interruption.
    Cut,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More reasoning.
    Reasoning(String),
    /// More content.
    Content(String),
    /// A tool call begins.
    CallStart {
        /// The tool's name.
        name: String,
    },
    /// More of the JSON object of its arguments: a text is seen while it is written, any other value when it is complete. All
    /// pieces together are what `serde_json` writes of the complete call's arguments.
    Arguments(String),
    /// A complete tool call.
    Call(ToolCall),
    /// What began as a tool call and is none: it broke the form of calls, or the answer ended in it.
    Unfinished {
        /// The tool's name.
        name: String,
        /// All the model wrote of it.
        raw: String,
    },
}

/// Something like a tool call that is none; what it says is in the answer as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The tool's name, if it was to be read.
    pub name: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// Whether its text is in the answer: tags without a call between them are not.
    pub is_content: bool,
}

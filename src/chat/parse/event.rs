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
    /// A tool call begins; its arguments follow when they are complete.
    CallStart {
        /// The tool's name.
        name: String,
    },
    /// A complete tool call.
    Call(ToolCall),
    /// A tool call that began and is not complete, when the answer ended.
    Unfinished {
        /// The tool's name.
        name: String,
        /// All the model wrote of it.
        raw: String,
    },
}

//! Why a conversation cannot be put to the model.

/// Why a conversation cannot be put to the model. Messages are counted from 0.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The file has neither the V3.2 markers nor a template.
    #[error(
        "the model file says nothing about chat: expected the token `｜DSML｜` of DeepSeek-V3.2 or the metadata key \
         tokenizer.chat_template, found neither; continue plain text with `fathom run --raw`"
    )]
    NoFormat,
    /// The vocabulary lacks a token of the format.
    #[error(
        "the vocabulary lacks the token {text:?} of the chat format; convert the model again from its published files"
    )]
    NoToken {
        /// Its text.
        text: String,
    },
    /// The template inside the file cannot be read or run.
    #[error("the file's tokenizer.chat_template: {problem}; continue plain text with `fathom run --raw`")]
    Template {
        /// What the template engine says.
        problem: String,
    },
    /// The template inside the file has no place for something.
    #[error(
        "the file's tokenizer.chat_template has no place for {what}; leave it out, or use a DeepSeek-V3.2 file"
    )]
    TemplateLacks {
        /// For what.
        what: &'static str,
    },
    /// A tool result that answers nothing.
    #[error(
        "message {message} is a tool result: expected it right after an assistant message with tool calls"
    )]
    ResultWithoutCall {
        /// Which message.
        message: usize,
    },
    /// Too few or too many tool results.
    #[error(
        "message {message} calls {expected} tools: expected as many results right after it, found {found}"
    )]
    ResultCount {
        /// Which message made the calls.
        message: usize,
        /// Results needed.
        expected: usize,
        /// Results there.
        found: usize,
    },
    /// A tool result for a call that was not made, or a second one for the same call.
    #[error(
        "message {message} is the result of tool call {id:?}: expected one result for each call of the message before"
    )]
    ResultId {
        /// Which message.
        message: usize,
        /// The id it names.
        id: String,
    },
    /// A message that is to be continued and cannot be.
    #[error(
        "message {message} is to be continued: expected the last message, from the assistant, without tool calls"
    )]
    Open {
        /// Which message.
        message: usize,
    },
    /// A message in JSON that is not understood.
    #[error("{what}: expected {expected}, found {found}")]
    Json {
        /// Which part.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is, shortened.
        found: String,
    },
}

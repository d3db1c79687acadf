//! From messages to tokens, and from what the model writes back to messages.
//!
//! DeepSeek-V3.2 has its own chat format, published as a program and not as a template; [`render`] is that format,
//! [`parse`] its way back. Older files of the family are served by the template they carry ([`template`]), and a file
//! with neither is refused.
//!
//! Law of this room: **a body is text.** Control tokens come from the format alone. Whatever a person, a tool or a
//! document writes is encoded without looking for control tokens, in one run with the format's own text around it,
//! so that the ids are those of the whole rendered string whenever the bodies hold no control text.

mod error;
mod jinja;
pub mod markers;
mod message;
pub mod parse;
mod python;
pub mod render;
mod spoken;
pub mod template;
mod tools;

pub use error::ChatError;
pub use message::{Assistant, Conversation, Message, System, ToolCall, ToolResult};
pub use parse::{End, Event, Malformed, Parser, Start};
pub use render::{Rendered, Segment};
pub use spoken::Spoken;
pub use tools::Tool;

use crate::tokenizer::Tokenizer;
use template::Template;

/// How a model file wants to be talked to.
#[derive(Debug)]
pub struct Chat {
    format: Format,
}

#[derive(Debug)]
enum Format {
    V32,
    Template(Box<Template>),
}

/// What goes into the model, and how its answer begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The ids, BOS included.
    pub tokens: Vec<u32>,
    /// Where the answer starts: hand it to [`Parser::new`].
    pub start: Start,
}

impl Chat {
    /// Chooses the format: V3.2's if the vocabulary has its markers, otherwise the template inside the file.
    ///
    /// # Errors
    /// A file with neither, or with a template that cannot be read.
    pub fn new(tokenizer: &Tokenizer) -> Result<Chat, ChatError> {
        if tokenizer.special(markers::DSML).is_some() {
            let missing = markers::ALL.into_iter().find(|text| tokenizer.special(text).is_none());
            return match missing {
                None => Ok(Chat { format: Format::V32 }),
                Some(text) => Err(ChatError::NoToken { text: text.to_owned() }),
            };
        }
        match tokenizer.chat_template() {
            Some(source) => {
                Ok(Chat { format: Format::Template(Box::new(Template::new(source, tokenizer)?)) })
            }
            None => Err(ChatError::NoFormat),
        }
    }

    /// Whether this is V3.2's own format: the one whose tool calls [`Parser`] understands.
    pub fn is_v32(&self) -> bool {
        matches!(self.format, Format::V32)
    }

    /// Whether its template can be run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ChatError> {
        match &self.format {
            Format::V32 => Ok(()),
            Format::Template(template) => template.check(),
        }
    }

    /// The segments of a prompt: control tokens and runs of plain text.
    ///
    /// # Errors
    /// A conversation that the format cannot express.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, ChatError> {
        match &self.format {
            Format::V32 => render::render(conversation),
            Format::Template(template) => template.render(conversation),
        }
    }

    /// The ids of a prompt in which answers keep the ids that the model gave them in.
    ///
    /// # Errors
    /// A conversation that the format cannot express.
    pub fn prompt_keeping(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        spoken: &Spoken,
    ) -> Result<Prompt, ChatError> {
        let rendered = self.render(conversation)?;
        Ok(Prompt { tokens: rendered.ids_keeping(tokenizer, spoken)?, start: rendered.start })
    }

    /// The ids of a prompt.
    ///
    /// # Errors
    /// A conversation that the format cannot express.
    pub fn prompt(&self, tokenizer: &Tokenizer, conversation: &Conversation) -> Result<Prompt, ChatError> {
        let rendered = self.render(conversation)?;
        Ok(Prompt { tokens: rendered.ids(tokenizer)?, start: rendered.start })
    }
}

//! The V3.2 format: messages to segments.
//!
//! A prompt is a list of control tokens and runs of plain text. Constants of the format are searched for the texts of
//! control tokens, for there they mean tokens; bodies are not, and only constants can be given to the function that
//! searches. Neighbouring text becomes one run, because merging looks across the border between a constant and a body.
//!
//! Rules, with L the last user message: an answer's opening tag (`<think>` or `</think>`) stands at the end of the
//! user turn, or of the tool results, before it; reasoning is written behind L only, so a new user message drops all
//! of it; results stand in the order of the calls.
//! Source: DeepSeek-V3.2, encoding/encoding_dsv32.py (MIT) and its tests.

use super::error::ChatError;
use super::markers::{ALL, ASSISTANT, BOS, END_THINK, EOS, THINK, USER};
use super::message::{Assistant, Conversation, Message, System, ToolCall, ToolResult};
use super::parse::Start;
use super::python::to_json;
use super::spoken::Spoken;
use super::tools;
use crate::tokenizer::Tokenizer;
use serde_json::Value;
use std::borrow::Cow;

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The control token with this text.
    Control(Cow<'static, str>),
    /// Text in which nothing is a control token.
    Text(String),
}

/// A prompt in segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// In order; two texts are never neighbours.
    pub segments: Vec<Segment>,
    /// Where the answer starts.
    pub start: Start,
}

impl Rendered {
    /// The prompt as one string. Its control tokens cannot be told from bodies that hold the same text.
    pub fn text(&self) -> String {
        let texts = self.segments.iter().map(|segment| match segment {
            Segment::Control(text) => text.as_ref(),
            Segment::Text(text) => text.as_str(),
        });
        texts.collect()
    }

    /// The prompt as ids.
    ///
    /// # Errors
    /// If the vocabulary lacks a token of the format.
    pub fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>, ChatError> {
        self.ids_keeping(tokenizer, &Spoken::default())
    }

    /// The same; answers that `spoken` has keep the ids they have there.
    pub(super) fn ids_keeping(&self, tokenizer: &Tokenizer, spoken: &Spoken) -> Result<Vec<u32>, ChatError> {
        let mut ids = Vec::new();
        let mut at = 0;
        while let Some(segment) = self.segments.get(at) {
            if let Some((said, length)) = spoken.at(&self.segments, at) {
                ids.extend(said);
                at += length;
                continue;
            }
            match segment {
                Segment::Text(text) => ids.extend(tokenizer.encode_plain(text)),
                Segment::Control(text) => {
                    let id = tokenizer.special(text);
                    ids.push(id.ok_or_else(|| ChatError::NoToken { text: text.clone().into_owned() })?);
                }
            }
            at += 1;
        }
        Ok(ids)
    }
}

/// What stands between the opening tag of an answer and EOS.
pub(super) fn answer(said: &Assistant, thinks: bool) -> Vec<Segment> {
    let mut writer = Writer { segments: Vec::new(), start: Start::Content };
    writer.assistant(&Assistant { open: false, ..said.clone() }, thinks);
    writer.segments.pop();
    writer.segments
}

/// Renders a conversation in the V3.2 format.
///
/// # Errors
/// Tool results that do not fit the calls before them; a message to be continued that is not the last.
pub fn render(conversation: &Conversation) -> Result<Rendered, ChatError> {
    let messages = &conversation.messages;
    let last_user = messages.iter().rposition(|message| matches!(message, Message::User(_)));
    let mut writer = Writer { segments: Vec::new(), start: Start::Content };
    writer.control(BOS);
    let mut index = 0;
    while let Some(message) = messages.get(index) {
        match message {
            Message::System(system) => writer.system(system),
            Message::User(content) => {
                writer.control(USER);
                writer.body(content);
                writer.control(ASSISTANT);
                writer.open(conversation.thinking && last_user == Some(index));
            }
            Message::Assistant(assistant) => {
                if assistant.open && (index + 1 < messages.len() || !assistant.calls.is_empty()) {
                    return Err(ChatError::Open { message: index });
                }
                let is_current = last_user.is_none_or(|last| last < index);
                writer.assistant(assistant, conversation.thinking && is_current);
                let results = results(messages, index)?;
                if !results.is_empty() {
                    index += results.len();
                    writer.results(&results, conversation.thinking && is_current);
                }
            }
            Message::Tool(_) => return Err(ChatError::ResultWithoutCall { message: index }),
        }
        index += 1;
    }
    Ok(Rendered { segments: writer.segments, start: writer.start })
}

/// The results right behind the calls of a message, in the order of the calls; none, or one for each.
fn results(messages: &[Message], caller: usize) -> Result<Vec<&ToolResult>, ChatError> {
    let Message::Assistant(Assistant { calls, .. }) = &messages[caller] else { return Ok(Vec::new()) };
    let found: Vec<&ToolResult> = messages[caller + 1..]
        .iter()
        .map_while(|message| if let Message::Tool(result) = message { Some(result) } else { None })
        .collect();
    if found.is_empty() {
        return Ok(found);
    }
    if calls.is_empty() {
        return Err(ChatError::ResultWithoutCall { message: caller + 1 });
    }
    if found.len() != calls.len() {
        let (expected, found) = (calls.len(), found.len());
        return Err(ChatError::ResultCount { message: caller, expected, found });
    }
    let named =
        found.iter().all(|result| result.call_id.is_some()) && calls.iter().all(|call| call.id.is_some());
    if named { by_id(calls, &found, caller) } else { Ok(found) }
}

fn by_id<'m>(
    calls: &[ToolCall],
    found: &[&'m ToolResult],
    caller: usize,
) -> Result<Vec<&'m ToolResult>, ChatError> {
    let mut ordered: Vec<Option<&ToolResult>> = vec![None; calls.len()];
    for (place, result) in found.iter().enumerate() {
        let slot = (0..calls.len()).find(|&slot| calls[slot].id == result.call_id && ordered[slot].is_none());
        match slot {
            Some(slot) => ordered[slot] = Some(result),
            None => {
                let id = result.call_id.clone().unwrap_or_default();
                return Err(ChatError::ResultId { message: caller + 1 + place, id });
            }
        }
    }
    Ok(ordered.into_iter().flatten().collect())
}

struct Writer {
    segments: Vec<Segment>,
    start: Start,
}

impl Writer {
    fn control(&mut self, token: &'static str) {
        self.segments.push(Segment::Control(Cow::Borrowed(token)));
    }

    /// Text that is nothing but text.
    fn body(&mut self, text: &str) {
        match self.segments.last_mut() {
            _ if text.is_empty() => {}
            Some(Segment::Text(before)) => before.push_str(text),
            _ => self.segments.push(Segment::Text(text.to_owned())),
        }
    }

    /// Text of the format itself, in which the texts of control tokens are those tokens.
    fn markup(&mut self, mut text: &'static str) {
        let first = |text: &str| ALL.iter().filter_map(|token| Some((text.find(token)?, *token))).min();
        while let Some((place, token)) = first(text) {
            self.body(&text[..place]);
            self.control(token);
            text = &text[place + token.len()..];
        }
        self.body(text);
    }

    /// The tag that opens an answer.
    fn open(&mut self, thinks: bool) {
        self.control(if thinks { THINK } else { END_THINK });
        self.start = if thinks { Start::Reasoning } else { Start::Content };
    }

    fn system(&mut self, system: &System) {
        self.body(&system.content);
        if !system.tools.is_empty() {
            self.markup("\n\n");
            self.markup(tools::PREAMBLE);
            for tool in &system.tools {
                self.body(&to_json(&Value::Object(tool.function().clone())));
                self.markup("\n");
            }
            self.markup(tools::END);
        }
        if let Some(schema) = &system.response_format {
            self.markup(
                "\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to reply:\n",
            );
            self.body(&to_json(schema));
        }
    }

    fn assistant(&mut self, assistant: &Assistant, thinks: bool) {
        if thinks {
            self.body(&assistant.reasoning);
            if assistant.open && assistant.content.is_empty() {
                return;
            }
            self.control(END_THINK);
        }
        self.body(&assistant.content);
        self.start = Start::Content;
        if !assistant.calls.is_empty() {
            self.calls(&assistant.calls);
        }
        if !assistant.open {
            self.control(EOS);
        }
    }

    fn calls(&mut self, calls: &[ToolCall]) {
        self.markup("\n\n<｜DSML｜function_calls>\n");
        for call in calls {
            self.markup("<｜DSML｜invoke name=\"");
            self.body(&call.name);
            self.markup("\">\n");
            for (number, (key, value)) in call.arguments.iter().enumerate() {
                if number > 0 {
                    self.markup("\n");
                }
                self.argument(key, value);
            }
            self.markup("\n</｜DSML｜invoke>\n");
        }
        self.markup("</｜DSML｜function_calls>");
    }

    fn argument(&mut self, key: &str, value: &Value) {
        self.markup("<｜DSML｜parameter name=\"");
        self.body(key);
        match value {
            Value::String(text) => {
                self.markup("\" string=\"true\">");
                self.body(text);
            }
            other => {
                self.markup("\" string=\"false\">");
                self.body(&to_json(other));
            }
        }
        self.markup("</｜DSML｜parameter>");
    }

    fn results(&mut self, results: &[&ToolResult], thinks: bool) {
        self.markup("\n\n<function_results>");
        for result in results {
            self.markup("\n<result>");
            self.body(&result.content);
            self.markup("</result>");
        }
        self.markup("\n</function_results>\n\n");
        self.open(thinks);
    }
}

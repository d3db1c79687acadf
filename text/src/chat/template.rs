//! Chat templates: what model files of the older formats carry, run as Python programs run them.
//!
//! A template makes one string of everything, and in a string a control token cannot be told from a person who
//! writes its text. So every character with which a control token can begin or end is replaced, in bodies, by a
//! private character before the template runs, and put back after its output has been cut at the control tokens:
//! no token can begin or end within a body. A template that looks for such text in a body does not find it.
//!
//! Templates come with the file and are not trusted: their work is limited, and all they do is make text.

use super::error::ChatError;
use super::jinja::{Program, escape, to_value};
use super::markers::{END_THINK, THINK};
use super::message::{Assistant, Conversation, Message, ToolCall};
use super::parse::Start;
use super::python::to_json;
use super::render::{Rendered, Segment};
use super::tools::Tool;
use crate::contained;
use crate::tokenizer::Tokenizer;
use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};

/// A compiled template with the control tokens of its file.
#[derive(Debug)]
pub struct Template {
    program: Program,
    controls: AhoCorasick,
    /// Characters with which a control token begins or ends.
    borders: Vec<char>,
    bos: String,
    eos: String,
    /// Arguments are handed over as objects; otherwise as JSON text.
    takes_objects: bool,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// If it is not one, or breaks the limits of time or memory.
    pub fn new(source: &str, tokenizer: &Tokenizer) -> Result<Template, ChatError> {
        let program = Program::new(source).map_err(template_error)?;
        let texts: Vec<&str> = tokenizer.specials().map(|(text, _)| text).collect();
        let borders: BTreeSet<char> = texts
            .iter()
            .flat_map(|text| text.chars().next().into_iter().chain(text.chars().next_back()))
            .collect();
        let controls = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&texts)
            .map_err(|error| ChatError::Template { problem: error.to_string() })?;
        let text_of = |id: Option<u32>| {
            let bytes = id.and_then(|id| tokenizer.bytes(id)).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let (bos, eos) = (text_of(tokenizer.bos()), text_of(Some(tokenizer.eos())));
        let borders = borders.into_iter().collect();
        let mut template = Template { program, controls, borders, bos, eos, takes_objects: false };
        match template.probe() {
            Ok(rendered) => template.takes_objects = rendered.text().contains("{\\\"probe\\\""),
            Err(ChatError::Template { problem }) if contained::is_limit(&problem) => {
                return Err(template_error(problem));
            }
            // It may take no tools.
            Err(_) => {}
        }
        Ok(template)
    }

    /// Some templates write arguments as they are, some write them as JSON: text would then be quoted twice.
    fn probe(&self) -> Result<Rendered, ChatError> {
        let arguments = Map::from_iter([("probe".to_owned(), json!(1))]);
        let call = ToolCall { id: None, name: "probe".to_owned(), arguments };
        let assistant = Assistant { calls: vec![call], ..Assistant::default() };
        let messages = vec![Message::user("probe"), Message::Assistant(assistant), Message::tool("probe")];
        let conversation = Conversation { messages, thinking: false };
        self.render(&conversation)
    }

    /// Whether it can be run: for a message, and without a failure of this program for what it may refuse.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), ChatError> {
        let asked =
            |text: &str| self.render(&Conversation { messages: vec![Message::user(text)], thinking: false });
        if asked("probe")? == asked("another")? {
            return Err(template_error("a user's message is no part of what it renders".to_owned()));
        }
        match self.probe() {
            Err(ChatError::Template { problem }) if contained::is_failure(&problem) => {
                Err(template_error(problem))
            }
            _ => Ok(()),
        }
    }

    /// Renders a conversation up to the place where the answer starts.
    ///
    /// # Errors
    /// Tools or a response format that the template has no place for; whatever the template refuses.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, ChatError> {
        let shield = Shield::new(&self.borders, conversation);
        let mut tools = Vec::new();
        let mut messages = Vec::new();
        for (index, message) in conversation.messages.iter().enumerate() {
            match message {
                Message::System(system) => {
                    if system.response_format.is_some() {
                        return Err(ChatError::TemplateLacks { what: "a response format" });
                    }
                    tools.extend(system.tools.iter().map(|tool| tool_json(tool, &shield)));
                }
                Message::Assistant(Assistant { open: true, .. }) => {
                    return Err(ChatError::Open { message: index });
                }
                _ => {}
            }
            messages.push(self.message_json(message, &shield));
        }
        if !tools.is_empty() && !self.program.takes_tools {
            return Err(ChatError::TemplateLacks { what: "tools" });
        }
        let context = json!({
            "messages": messages,
            "tools": if tools.is_empty() { Value::Null } else { Value::Array(tools) },
            "add_generation_prompt": true,
            "thinking": conversation.thinking,
            "enable_thinking": conversation.thinking,
            "bos_token": self.bos,
            "eos_token": self.eos,
        });
        let text = self.program.render(to_value(&context)).map_err(template_error)?;
        if text.is_empty() {
            return Err(template_error("expected a prompt, found an empty text".to_owned()));
        }
        Ok(self.cut(&text, &shield))
    }

    fn cut(&self, text: &str, shield: &Shield) -> Rendered {
        let mut segments = Vec::new();
        let mut done = 0;
        let plain = |text: &str, segments: &mut Vec<Segment>| {
            if !text.is_empty() {
                segments.push(Segment::Text(shield.lift(text)));
            }
        };
        for found in self.controls.find_iter(text) {
            plain(&text[done..found.start()], &mut segments);
            segments.push(Segment::Control(text[found.range()].to_owned().into()));
            done = found.end();
        }
        plain(&text[done..], &mut segments);
        let end = text.trim_end();
        let start = match (end.ends_with(THINK), end.ends_with(END_THINK)) {
            (true, _) => Start::Reasoning,
            (_, true) => Start::Content,
            _ => Start::Unknown,
        };
        Rendered { segments, start }
    }

    fn message_json(&self, message: &Message, shield: &Shield) -> Value {
        match message {
            Message::System(system) => json!({"role": "system", "content": shield.text(&system.content)}),
            Message::User(content) => json!({"role": "user", "content": shield.text(content)}),
            Message::Tool(result) => json!({
                "role": "tool",
                "content": shield.text(&result.content),
                "tool_call_id": result.call_id,
            }),
            Message::Assistant(assistant) => {
                let mut json = json!({"role": "assistant", "content": shield.text(&assistant.content)});
                if !assistant.reasoning.is_empty() {
                    json["reasoning_content"] = shield.text(&assistant.reasoning).into();
                }
                if !assistant.calls.is_empty() {
                    if assistant.content.is_empty() {
                        json["content"] = Value::Null;
                    }
                    json["tool_calls"] =
                        assistant.calls.iter().map(|call| self.call_json(call, shield)).collect();
                }
                json
            }
        }
    }

    fn call_json(&self, call: &ToolCall, shield: &Shield) -> Value {
        let arguments = shield.json(&Value::Object(call.arguments.clone()));
        let arguments = if self.takes_objects { arguments } else { to_json(&arguments).into() };
        json!({
            "id": call.id,
            "type": "function",
            "function": {"name": shield.text(&call.name), "arguments": arguments},
        })
    }
}

fn tool_json(tool: &Tool, shield: &Shield) -> Value {
    json!({"type": "function", "function": shield.json(&Value::Object(tool.function().clone()))})
}

fn template_error(problem: String) -> ChatError {
    ChatError::Template { problem }
}

/// Stand-ins for the characters with which control tokens begin and end.
struct Shield {
    stand_ins: HashMap<char, char>,
    back: HashMap<char, char>,
}

impl Shield {
    /// Private characters that no body contains.
    fn new(borders: &[char], conversation: &Conversation) -> Shield {
        let mut used = BTreeSet::new();
        for message in &conversation.messages {
            private_chars(message, &mut used);
        }
        let free = ('\u{f0000}'..='\u{10fffd}').filter(|c| !used.contains(c));
        let stand_ins: HashMap<char, char> = borders.iter().copied().zip(free).collect();
        let back = stand_ins.iter().map(|(from, to)| (*to, *from)).collect();
        Shield { stand_ins, back }
    }

    fn text(&self, text: &str) -> String {
        text.chars().map(|c| *self.stand_ins.get(&c).unwrap_or(&c)).collect()
    }

    fn lift(&self, text: &str) -> String {
        let lifted: String = text.chars().map(|c| *self.back.get(&c).unwrap_or(&c)).collect();
        // A template may write all that is not ASCII as escapes, and stand-ins never are ASCII.
        if !lifted.contains("\\udb") {
            return lifted;
        }
        self.back.iter().fold(lifted, |text, (stand_in, meant)| {
            let meant = if meant.is_ascii() { meant.to_string() } else { escape(*meant) };
            text.replace(&escape(*stand_in), &meant)
        })
    }

    fn json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(list) => list.iter().map(|value| self.json(value)).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (self.text(key), self.json(value)))
                .collect::<Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }
}

fn private_chars(message: &Message, used: &mut BTreeSet<char>) {
    let mut add = |text: &str| used.extend(text.chars().filter(|c| *c >= '\u{f0000}'));
    match message {
        Message::User(content) => add(content),
        Message::Tool(result) => add(&result.content),
        Message::System(system) => {
            add(&system.content);
            system.tools.iter().for_each(|tool| add(&to_json(&Value::Object(tool.function().clone()))));
        }
        Message::Assistant(assistant) => {
            add(&assistant.content);
            add(&assistant.reasoning);
            for call in &assistant.calls {
                add(&call.name);
                add(&to_json(&Value::Object(call.arguments.clone())));
            }
        }
    }
}

//! What the model writes, taken apart while it arrives: reasoning, content, tool calls.
//!
//! The reference parser takes only whole, faultless answers. This one takes text in any pieces, gives out what is
//! certain and holds back what may still become a tag. It forgives what models are seen to do: white space between
//! tags, tags without `｜DSML｜`, a call before `</think>`, a bare JSON object in place of parameters, values that are
//! not the JSON they claim to be. It never loses text: what fits nowhere comes out as content.
//!
//! Values are not escaped and may contain `<` and newlines: a value ends at its closing tag and nowhere else. If the
//! parameter was opened with `｜DSML｜`, the closing tag has it too; only an answer that ended without one is read
//! once more with the plain tag.

mod event;
mod tags;

pub use event::{End, Event, Place, Start};

use super::markers::{END_THINK, THINK};
use super::message::{Assistant, Message, ToolCall};
use super::tools::{self, Tool};
use serde_json::{Map, Value};
use tags::{Found, Tag};

/// Takes an answer apart.
#[derive(Clone, Debug)]
pub struct Parser {
    tools: Vec<Tool>,
    state: State,
    /// Text that is not yet given out.
    held: String,
    /// Up to here `held` has been searched for the closing tag.
    searched: usize,
    /// Nothing but a call has come out of the current run of content.
    at_start: bool,
    /// White space alone behind a block of calls is no content.
    behind_calls: bool,
    events: Vec<Event>,
}

#[derive(Clone, Debug)]
enum State {
    Start,
    Reasoning,
    Content,
    /// Between the tags of the block.
    Block,
    /// Between the parameters of a call.
    Call(Open),
    /// In a value.
    Value(Open, Parameter),
    /// In a bare JSON object.
    Bare(Open),
}

/// A call that is not complete.
#[derive(Clone, Debug)]
struct Open {
    name: String,
    arguments: Map<String, Value>,
    raw: String,
}

#[derive(Clone, Debug)]
struct Parameter {
    key: String,
    is_string: Option<bool>,
    /// Opened with `｜DSML｜`.
    marked: bool,
}

impl Parser {
    /// A parser for one answer. `tools` are those that were announced; without any, only marked tags are tags.
    pub fn new(start: Start, tools: Vec<Tool>) -> Parser {
        let state = match start {
            Start::Reasoning => State::Reasoning,
            Start::Content => State::Content,
            Start::Unknown => State::Start,
        };
        Parser {
            tools,
            state,
            held: String::new(),
            searched: 0,
            at_start: true,
            behind_calls: false,
            events: Vec::new(),
        }
    }

    /// Takes more text, control tokens as their texts, without EOS.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        self.held.push_str(text);
        while self.step() {}
        std::mem::take(&mut self.events)
    }

    /// What the next text belongs to.
    ///
    /// A value may hold `</` that is no closing tag; it counts as syntax until that is certain.
    pub fn place(&self) -> Place<'_> {
        let held = self.held.trim_start();
        let is_syntax = match &self.state {
            State::Block => match tags::name_begun(held) {
                Some(begun) => return Place::Name(begun),
                None => true,
            },
            State::Call(_) => true,
            State::Value(..) | State::Bare(_) if self.held[self.searched..].starts_with("</") => true,
            State::Value(..) | State::Bare(_) => return Place::Value,
            State::Content if self.behind_calls && held.is_empty() => true,
            State::Content | State::Reasoning => tags::is_marked(held),
            State::Start => false,
        };
        if is_syntax { Place::Syntax } else { Place::Free }
    }

    /// Whether the next text is reasoning, or ends it.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Reasoning)
    }

    /// Ends the answer.
    pub fn finish(mut self, end: End) -> Vec<Event> {
        self.accept_plain_close();
        while self.step() {}
        match std::mem::replace(&mut self.state, State::Content) {
            State::Start | State::Content | State::Block => {
                let rest = std::mem::take(&mut self.held);
                self.content(&rest);
            }
            State::Reasoning => {
                let rest = std::mem::take(&mut self.held);
                self.reasoning(&rest);
            }
            State::Call(open) if end == End::Eos && self.held.trim().is_empty() => self.call(open),
            State::Bare(open) if end == End::Eos && is_object(&self.held) => {
                let raw = std::mem::take(&mut self.held);
                self.bare(open, &raw);
            }
            State::Call(open) | State::Value(open, _) | State::Bare(open) => {
                let raw = open.raw + &self.held;
                self.events.push(Event::Unfinished { name: open.name, raw });
            }
        }
        self.events
    }

    /// Goes one tag further; false: more text is needed.
    fn step(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Start => self.in_start(),
            State::Reasoning => self.in_reasoning(),
            State::Content => self.in_content(),
            State::Block => self.in_block(),
            State::Call(open) => self.in_call(open),
            State::Value(open, parameter) => self.in_value(open, parameter),
            State::Bare(open) => self.in_bare(open),
        }
    }

    fn wait(&mut self, state: State) -> bool {
        self.state = state;
        false
    }

    fn go(&mut self, state: State) -> bool {
        self.state = state;
        self.searched = 0;
        true
    }

    fn in_start(&mut self) -> bool {
        let white = self.held.len() - self.held.trim_start().len();
        match tags::literal(&self.held[white..], THINK) {
            Found::Yes(length) => {
                self.held.drain(..white + length);
                self.go(State::Reasoning)
            }
            Found::Maybe => self.wait(State::Start),
            Found::No => self.go(State::Content),
        }
    }

    fn in_reasoning(&mut self) -> bool {
        let mut from = 0;
        while let Some(place) = self.held[from..].find('<').map(|place| from + place) {
            let rest = &self.held[place..];
            match (tags::literal(rest, END_THINK), tags::opens_calls(rest, false)) {
                (Found::Yes(length), _) => {
                    let text = self.take(place);
                    self.reasoning(&text);
                    self.held.drain(..length);
                    return self.go(State::Content);
                }
                (_, Found::Yes(length)) => {
                    let text = self.take(place);
                    self.reasoning(without_two_newlines(&text));
                    self.held.drain(..length);
                    return self.go(State::Block);
                }
                (Found::No, Found::No) => from = place + 1,
                _ => {
                    let text = self.take(without_two_newlines(&self.held[..place]).len());
                    self.reasoning(&text);
                    return self.wait(State::Reasoning);
                }
            }
        }
        let text = self.take(without_two_newlines(&self.held).len());
        self.reasoning(&text);
        self.wait(State::Reasoning)
    }

    fn in_content(&mut self) -> bool {
        let mut from = 0;
        while let Some(place) = self.held[from..].find('<').map(|place| from + place) {
            let at_line_start = match place.checked_sub(1) {
                Some(before) => self.held.as_bytes()[before] == b'\n',
                None => self.at_start,
            };
            match tags::opens_calls(&self.held[place..], at_line_start && !self.tools.is_empty()) {
                Found::Yes(length) => {
                    let text = self.take(place);
                    self.content(without_two_newlines(&text));
                    self.held.drain(..length);
                    return self.go(State::Block);
                }
                Found::Maybe => {
                    let text = self.take(self.n_certain(place));
                    self.content(&text);
                    return self.wait(State::Content);
                }
                Found::No => from = place + 1,
            }
        }
        let text = self.take(self.n_certain(self.held.len()));
        self.content(&text);
        self.wait(State::Content)
    }

    /// How much of the content up to a place can be given out: newlines may belong to a block of calls, and white space
    /// behind one is content only if more follows.
    fn n_certain(&self, place: usize) -> usize {
        let text = without_two_newlines(&self.held[..place]);
        if self.behind_calls && text.trim().is_empty() { 0 } else { text.len() }
    }

    fn in_block(&mut self) -> bool {
        let white = self.held.len() - self.held.trim_start().len();
        let rest = &self.held[white..];
        match tags::tag(rest) {
            _ if rest.is_empty() => self.wait(State::Block),
            Found::Yes((Tag::Invoke { name }, length)) => {
                let raw = self.take(white + length);
                self.events.push(Event::CallStart { name: name.clone() });
                self.go(State::Call(Open { name, arguments: Map::new(), raw }))
            }
            Found::Yes((Tag::EndCalls, length)) => {
                self.held.drain(..white + length);
                (self.at_start, self.behind_calls) = (true, true);
                self.go(State::Content)
            }
            Found::Yes((Tag::Calls, length)) => {
                self.held.drain(..white + length);
                self.go(State::Block)
            }
            Found::Maybe => self.wait(State::Block),
            Found::Yes(_) | Found::No => {
                let stray = self.take_stray(white);
                self.content(&stray);
                self.go(State::Block)
            }
        }
    }

    fn in_call(&mut self, mut open: Open) -> bool {
        let white = self.held.len() - self.held.trim_start().len();
        let rest = &self.held[white..];
        match tags::tag(rest) {
            _ if rest.is_empty() => self.wait(State::Call(open)),
            _ if rest.starts_with('{') && open.arguments.is_empty() => self.go(State::Bare(open)),
            Found::Yes((Tag::Parameter { key, is_string, marked }, length)) => {
                open.raw += &self.take(white + length);
                self.go(State::Value(open, Parameter { key, is_string, marked }))
            }
            Found::Yes((Tag::EndInvoke, length)) => {
                self.held.drain(..white + length);
                self.call(open);
                self.go(State::Block)
            }
            // Its own end is missing.
            Found::Yes((Tag::Invoke { .. } | Tag::EndCalls, _)) => {
                self.call(open);
                self.go(State::Block)
            }
            Found::Maybe => self.wait(State::Call(open)),
            Found::Yes(_) | Found::No => {
                let stray = self.take_stray(white);
                open.raw += &stray;
                self.content(&stray);
                self.go(State::Call(open))
            }
        }
    }

    fn in_value(&mut self, mut open: Open, parameter: Parameter) -> bool {
        match tags::find_end(&self.held, self.searched, "parameter", parameter.marked) {
            Ok((place, length)) => {
                let raw = self.take(place);
                let close = self.take(length);
                open.raw += &raw;
                open.raw += &close;
                let tool = self.tools.iter().find(|tool| tool.name() == open.name);
                let value = match parameter.is_string {
                    Some(true) => Value::String(raw),
                    Some(false) => tools::read_value(tool, &parameter.key, &raw),
                    None => tools::read_unmarked(tool, &parameter.key, &raw),
                };
                open.arguments.insert(parameter.key, value);
                self.go(State::Call(open))
            }
            Err(searched) => {
                self.searched = searched;
                self.wait(State::Value(open, parameter))
            }
        }
    }

    fn in_bare(&mut self, open: Open) -> bool {
        match tags::find_end(&self.held, self.searched, "invoke", false) {
            Ok((place, length)) => {
                let raw = self.take(place);
                let close = self.take(length);
                if is_object(&raw) {
                    self.bare(open, &raw);
                } else {
                    let raw = open.raw + &raw + &close;
                    self.events.push(Event::Unfinished { name: open.name, raw });
                }
                self.go(State::Block)
            }
            Err(searched) => {
                self.searched = searched;
                self.wait(State::Bare(open))
            }
        }
    }

    fn bare(&mut self, mut open: Open, raw: &str) {
        if let Ok(arguments) = serde_json::from_str(raw) {
            open.arguments = arguments;
        }
        self.call(open);
    }

    /// An answer ended in a value: the closing tag may have lost its mark.
    fn accept_plain_close(&mut self) {
        if let State::Value(_, parameter) = &mut self.state {
            parameter.marked = false;
            self.searched = 0;
        }
    }

    fn take(&mut self, length: usize) -> String {
        let rest = self.held.split_off(length);
        std::mem::replace(&mut self.held, rest)
    }

    /// Text where a tag should be: up to where one may start, without the white space before that.
    fn take_stray(&mut self, white: usize) -> String {
        let next = self.held[white..].char_indices().skip(1).find(|(_, c)| matches!(c, '<' | '{'));
        let end = next.map_or(self.held.len(), |(place, _)| white + place);
        self.take(self.held[..end].trim_end().len())
    }

    fn reasoning(&mut self, text: &str) {
        match self.events.last_mut() {
            _ if text.is_empty() => {}
            Some(Event::Reasoning(before)) => before.push_str(text),
            _ => self.events.push(Event::Reasoning(text.to_owned())),
        }
    }

    fn content(&mut self, text: &str) {
        if text.is_empty() || (self.behind_calls && text.trim().is_empty()) {
            return;
        }
        (self.at_start, self.behind_calls) = (false, false);
        match self.events.last_mut() {
            Some(Event::Content(before)) => before.push_str(text),
            _ => self.events.push(Event::Content(text.to_owned())),
        }
    }

    fn call(&mut self, open: Open) {
        let tool = self.tools.iter().find(|tool| tool.name() == open.name);
        let arguments = tools::unwrap_arguments(tool, open.arguments);
        self.events.push(Event::Call(ToolCall { id: None, name: open.name, arguments }));
    }
}

/// The two newlines before a block of calls belong to the block.
fn without_two_newlines(text: &str) -> &str {
    let one = text.strip_suffix('\n').unwrap_or(text);
    one.strip_suffix('\n').unwrap_or(one)
}

fn is_object(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text).is_ok()
}

/// A whole answer as a message; unfinished calls are left out.
pub fn parse(answer: &str, start: Start, tools: Vec<Tool>) -> Message {
    let mut parser = Parser::new(start, tools);
    let mut events = parser.push(answer);
    events.extend(parser.finish(End::Eos));
    let mut message = Assistant::default();
    for event in events {
        match event {
            Event::Reasoning(text) => message.reasoning += &text,
            Event::Content(text) => message.content += &text,
            Event::Call(call) => message.calls.push(call),
            Event::CallStart { .. } | Event::Unfinished { .. } => {}
        }
    }
    Message::Assistant(message)
}

#[cfg(test)]
mod tests;

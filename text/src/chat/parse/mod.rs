//! What the model writes, taken apart while it arrives: reasoning, content, tool calls.
//!
//! The reference parser takes only whole, faultless answers. This one takes text in any pieces, gives out what is
//! certain and holds back what may still become a tag. It forgives what models are seen to do: white space between
//! tags, tags without `｜DSML｜`, attributes in another order, a closing tag that is missing or misspelt by a letter or two,
//! a call before `</think>`, a bare JSON object in place of parameters, values that are not the JSON they claim to be.
//!
//! What it does not forgive is a call whose arguments would be a guess: with text where a parameter should be, with two
//! values for one parameter, with a tag that nobody knows. Such a call is none, and its text is given back. No text is
//! lost, and no argument holds a tag: a value ends at its closing tag, or before the next tag with the mark. Values are not
//! escaped, so that `<`, newlines and tags without the mark are part of a value whose own tag has the mark.

mod calls;
mod event;
mod pieces;
mod tags;

pub use event::{End, Event, Malformed, Place, Start};

use super::markers::{END_THINK, THINK};
use super::message::{Assistant, Message};
use super::tools::{self, Tool};
use calls::{Braces, Open, Parameter};
use pieces::Given;
use serde_json::Map;
use tags::{Found, Kind, Tag};

/// What is wrong with the beginning of a call.
const NONE_BEGAN: &str = "the answer ended before a call began";
/// Long answers are taken in pieces of so many bytes.
const PIECE: usize = 4 << 10;

/// Takes an answer apart.
#[derive(Clone, Debug)]
pub struct Parser {
    tools: Vec<Tool>,
    state: State,
    /// Text that is not yet given out.
    held: String,
    /// Up to here `held` has been searched for the next tag, or is white space where a tag or text is to come.
    searched: usize,
    /// Nothing but a call has come out of the current run of content.
    at_start: bool,
    /// White space alone behind a block of calls is no content.
    behind_calls: bool,
    /// A call was understood: then closing tags that are left over are no content.
    called: bool,
    /// The tag of a block of which nothing has come yet.
    header: String,
    /// Text behind that tag: which of the two is content is known when a call comes, or none.
    stray: String,
    /// The calls have a block around them.
    in_block: bool,
    events: Vec<Event>,
    malformed: Vec<Malformed>,
    /// What is wrong with the present block, or with content outside of all, was told.
    is_told: bool,
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
    Bare(Open, Braces),
    /// In what began as a call and cannot become one: up to its end.
    Broken(Open),
}

impl Parser {
    /// A parser for one answer. `tools` are those that were announced; without any there are no calls, and tags are text.
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
            called: false,
            header: String::new(),
            stray: String::new(),
            in_block: false,
            events: Vec::new(),
            malformed: Vec::new(),
            is_told: false,
        }
    }

    /// Takes more text, control tokens as their texts, without EOS.
    pub fn push(&mut self, text: &str) -> Vec<Event> {
        let mut rest = text;
        // What is held is moved with every tag that is taken from it, so little of it is held at a time.
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE));
            self.held.push_str(piece);
            while self.step() {}
            rest = later;
        }
        std::mem::take(&mut self.events)
    }

    /// What the next text belongs to.
    ///
    /// A value may hold `</` that is no closing tag; it counts as syntax until that is certain.
    pub fn place(&self) -> Place<'_> {
        let held = || self.held[self.searched..].trim_start();
        let begins_tag = |text: &str| text.starts_with("</") || tags::is_marked(text);
        let is_syntax = match &self.state {
            State::Block => match tags::name_begun(held()) {
                Some(begun) => return Place::Name(begun),
                None => match tags::opening_begun(&tags::CALLS, held()) {
                    Some(begun) => return Place::Opening(&tags::CALLS, begun),
                    None => true,
                },
            },
            State::Call(_) => true,
            State::Value(..) | State::Bare(..) => begins_tag(&self.held[self.searched..]),
            State::Content if self.behind_calls && held().is_empty() => true,
            State::Content | State::Reasoning if !self.tools.is_empty() => {
                match tags::opening_begun(&tags::OPENINGS, held()) {
                    Some(begun) => return Place::Opening(&tags::OPENINGS, begun),
                    None => tags::is_marked(held()),
                }
            }
            State::Broken(_) => tags::is_marked(&self.held[self.searched..]),
            State::Start | State::Content | State::Reasoning => false,
        };
        match (is_syntax, &self.state) {
            (true, _) => Place::Syntax,
            (false, State::Value(..) | State::Bare(..)) => Place::Value,
            (false, _) => Place::Free,
        }
    }

    /// Whether the next text is reasoning, or ends it.
    pub fn is_reasoning(&self) -> bool {
        matches!(self.state, State::Reasoning)
    }

    /// What was like a call and is none, since this was asked last.
    pub fn take_malformed(&mut self) -> Vec<Malformed> {
        std::mem::take(&mut self.malformed)
    }

    fn tell(&mut self, name: Option<&str>, problem: String) {
        self.malformed.push(Malformed { name: name.map(str::to_owned), problem, is_content: true });
    }

    /// What belongs to no call is told once and not for each of its tags.
    fn tell_once(&mut self, problem: String) {
        if !std::mem::replace(&mut self.is_told, true) {
            self.tell(None, problem);
        }
    }

    /// Ends the answer.
    pub fn finish(&mut self, end: End) -> Vec<Event> {
        if end == End::Eos {
            self.accept_plain_close();
            while self.step() {}
        }
        let rest = std::mem::take(&mut self.held);
        let is_cut = end == End::Cut;
        match std::mem::replace(&mut self.state, State::Content) {
            State::Block => self.block_left(&rest, end),
            // The end of a block has nothing to say.
            State::Content if self.called && is_begun_tag(&rest) && !tags::was_to_open(rest.trim_start()) => {
            }
            State::Start | State::Content => {
                if !is_cut && !self.tools.is_empty() && is_begun_tag(&rest) {
                    self.tell_once(tags::unended(&rest, NONE_BEGAN));
                }
                self.content(&rest);
            }
            State::Reasoning => self.reasoning(&rest),
            State::Call(open) if end == End::Eos && rest.trim().is_empty() => self.call(open),
            State::Bare(open, _) if end == End::Eos && calls::bare_object(&rest).is_some() => {
                self.bare(open, &rest);
            }
            State::Broken(open) => self.unfinished(open, &rest),
            State::Call(open) | State::Value(open, _) | State::Bare(open, _) => {
                // Where somebody else ended the answer, that is what is told.
                if !is_cut {
                    self.tell(Some(&open.name), tags::unended(&rest, "the answer ended before the call did"));
                }
                self.unfinished(open, &rest);
            }
        }
        std::mem::take(&mut self.events)
    }

    /// An answer ended between the tags of a block.
    fn block_left(&mut self, rest: &str, end: End) {
        let begins = is_begun_tag(rest);
        if self.called && (rest.trim().is_empty() || begins && !tags::was_to_open(rest.trim_start())) {
            return;
        }
        if end == End::Eos && (!self.header.is_empty() || begins) {
            self.tell_once(tags::unended(rest, NONE_BEGAN));
        }
        let header = std::mem::take(&mut self.header);
        self.content(&header);
        self.give_stray();
        self.content(rest);
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
            State::Bare(open, braces) => self.in_bare(open, braces),
            State::Broken(open) => self.in_broken(open),
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

    /// How much white space stands before what comes; what was found is not looked at again.
    fn white(&mut self) -> usize {
        self.searched = self.held.len() - self.held[self.searched..].trim_start().len();
        self.searched
    }

    fn in_start(&mut self) -> bool {
        let white = self.white();
        match tags::literal(&self.held[white..], THINK) {
            Found::Yes(length) => {
                self.held.drain(..white + length);
                self.go(State::Reasoning)
            }
            Found::Maybe => self.wait(State::Start),
            Found::No => self.go(State::Content),
        }
    }

    fn opens_calls(&self, rest: &str, unmarked: bool) -> Found {
        if self.tools.is_empty() { Found::No } else { tags::opens_calls(rest, unmarked) }
    }

    fn open_block(&mut self, length: usize) -> bool {
        self.header = self.take(length);
        (self.in_block, self.is_told) = (length > 0, false);
        self.go(State::Block)
    }

    fn in_reasoning(&mut self) -> bool {
        let mut from = 0;
        while let Some(place) = self.held[from..].find('<').map(|place| from + place) {
            let rest = &self.held[place..];
            match (tags::literal(rest, END_THINK), self.opens_calls(rest, false)) {
                (Found::Yes(length), _) => {
                    let text = self.take(place);
                    self.reasoning(&text);
                    self.held.drain(..length);
                    return self.go(State::Content);
                }
                (_, Found::Yes(length)) => {
                    let text = self.take(place);
                    self.reasoning(without_two_newlines(&text));
                    return self.open_block(length);
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
        let mut from = if self.behind_calls { self.white() } else { 0 };
        while let Some(place) = self.held[from..].find('<').map(|place| from + place) {
            let at_line_start = match place.checked_sub(1) {
                Some(before) => self.held.as_bytes()[before] == b'\n',
                None => self.at_start,
            };
            let rest = &self.held[place..];
            match (self.opens_calls(rest, at_line_start), self.left_over(rest)) {
                (Found::Yes(length), _) => {
                    let text = self.take(place);
                    self.content(without_two_newlines(&text));
                    return self.open_block(length);
                }
                (_, Found::Yes(length)) => {
                    let text = self.take(place);
                    self.content(without_two_newlines(&text));
                    self.held.drain(..length);
                    return self.go(State::Content);
                }
                (Found::No, Found::No) => {
                    if !self.tools.is_empty() && tags::was_to_open(rest) && tags::is_marked(rest) {
                        self.tell_once("a tag of calls stands where it begins none".to_owned());
                    }
                    from = place + 1;
                }
                _ => {
                    let text = self.take(self.n_certain(place));
                    self.content(&text);
                    return self.wait(State::Content);
                }
            }
        }
        let text = self.take(self.n_certain(self.held.len()));
        self.content(&text);
        self.wait(State::Content)
    }

    /// A closing tag in content that belongs to calls which were understood.
    fn left_over(&self, rest: &str) -> Found {
        match if self.called { tags::marked_tag(rest) } else { Found::No } {
            Found::Yes(Tag {
                kind: Kind::EndCalls | Kind::EndInvoke | Kind::EndParameter, length, ..
            }) => Found::Yes(length),
            Found::Yes(_) | Found::No => Found::No,
            Found::Maybe => Found::Maybe,
        }
    }

    /// How much of the content up to a place can be given out: newlines may belong to a block of calls, and white space
    /// behind one is content only if more follows.
    fn n_certain(&self, place: usize) -> usize {
        let length = without_two_newlines(&self.held[..place]).len();
        if self.behind_calls && length <= self.searched { 0 } else { length }
    }

    fn in_block(&mut self) -> bool {
        let white = self.white();
        let rest = &self.held[white..];
        if rest.is_empty() {
            return self.wait(State::Block);
        }
        match tags::tag(rest) {
            Found::Yes(Tag { kind: Kind::Invoke { name }, marked, length }) => {
                let raw = self.take(white + length);
                self.header.clear();
                self.give_stray();
                self.events.push(Event::CallStart { name: name.clone() });
                let (arguments, given) = (Map::new(), Given::default());
                self.go(State::Call(Open { name, marked, arguments, raw, given }))
            }
            Found::Yes(Tag { kind: Kind::EndCalls, length, .. }) => {
                self.held.drain(..white + length);
                if !self.header.is_empty() && !std::mem::replace(&mut self.is_told, true) {
                    let problem = "a block of calls holds none".to_owned();
                    self.malformed.push(Malformed { name: None, problem, is_content: false });
                }
                self.header.clear();
                self.give_stray();
                (self.at_start, self.behind_calls) = (true, true);
                self.go(State::Content)
            }
            Found::Yes(Tag { kind: Kind::Calls, length, .. }) => {
                self.held.drain(..white + length);
                self.go(State::Block)
            }
            Found::Maybe => self.wait(State::Block),
            Found::Yes(Tag { marked: true, length, .. }) if self.called && !tags::was_to_open(rest) => {
                self.held.drain(..white + length);
                self.go(State::Block)
            }
            // Calls without a block around them end where something else comes.
            found @ (Found::Yes(_) | Found::No) if self.called && !self.in_block => {
                if let Found::Yes(Tag { marked: true, length, .. }) = found {
                    let problem = tags::complaint(&rest[..length]);
                    self.tell_once(problem);
                    let text = self.take(white + length);
                    self.content(&text);
                }
                self.go(State::Content)
            }
            found @ (Found::Yes(_) | Found::No) => {
                if tags::was_to_open(rest) {
                    let problem = match found {
                        Found::Yes(tag) => tags::complaint(&rest[..tag.length]),
                        _ => "a tag of calls has no end".to_owned(),
                    };
                    self.tell_once(problem);
                }
                let stray = self.take_stray(white);
                self.stray += &stray;
                if self.header.is_empty() {
                    self.give_stray();
                }
                self.go(State::Block)
            }
        }
    }

    fn take(&mut self, length: usize) -> String {
        if length == 0 {
            return String::new();
        }
        self.searched = 0;
        let rest = self.held.split_off(length);
        std::mem::replace(&mut self.held, rest)
    }

    /// Text where a tag should be: up to where one may start, without the white space before that.
    fn take_stray(&mut self, white: usize) -> String {
        let next = self.held[white..].char_indices().skip(1).find(|(_, c)| *c == '<');
        let end = next.map_or(self.held.len(), |(place, _)| white + place);
        self.take(self.held[..end].trim_end().len())
    }

    fn give_stray(&mut self) {
        let stray = std::mem::take(&mut self.stray);
        self.content(&stray);
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
}

/// The two newlines before a block of calls belong to the block.
fn without_two_newlines(text: &str) -> &str {
    let one = text.strip_suffix('\n').unwrap_or(text);
    one.strip_suffix('\n').unwrap_or(one)
}

/// Whether a text is the beginning of a tag and nothing more.
fn is_begun_tag(text: &str) -> bool {
    let text = text.trim_start();
    !text.is_empty() && tags::marked_tag(text) == Found::Maybe
}

/// A whole answer as a message; what began as a call and is none is content.
pub fn parse(answer: &str, start: Start, tools: Vec<Tool>) -> Message {
    let mut parser = Parser::new(start, tools);
    let mut events = parser.push(answer);
    events.extend(parser.finish(End::Eos));
    let mut message = Assistant::default();
    for event in events {
        match event {
            Event::Reasoning(text) => message.reasoning += &text,
            Event::Content(text) | Event::Unfinished { raw: text, .. } => message.content += &text,
            Event::Call(call) => message.calls.push(call),
            Event::CallStart { .. } | Event::Arguments(_) => {}
        }
    }
    Message::Assistant(message)
}

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;

//! Inside a call: its parameters, a bare object in their place, and calls that cannot become any.

use super::pieces::Given;
use super::tags::{self, Found, Kind, Tag};
use super::{Event, Parser, State, tools};
use crate::chat::message::ToolCall;
use serde_json::{Map, Value};

/// A call that is not complete.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) name: String,
    /// Begun with `｜DSML｜`.
    pub(super) marked: bool,
    pub(super) arguments: Map<String, Value>,
    pub(super) raw: String,
    pub(super) given: Given,
}

/// A JSON object that is followed only so far as to know where it may end.
#[derive(Clone, Debug, Default)]
pub(super) struct Braces {
    /// Bytes that were followed.
    at: usize,
    begun: bool,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Something stands behind its end.
    spoilt: bool,
}

impl Braces {
    /// Whether `text`, of which the beginning was followed before, may be an object and nothing else.
    fn may_end(&mut self, text: &str) -> bool {
        for &byte in &text.as_bytes()[self.at..] {
            self.spoilt |= self.begun && self.depth == 0 && !byte.is_ascii_whitespace();
            self.begun |= byte == b'{';
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.at = text.len();
        self.depth == 0 && !self.spoilt
    }
}

#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) key: String,
    pub(super) is_string: Option<bool>,
    /// Opened with `｜DSML｜`.
    pub(super) marked: bool,
}

impl Parser {
    pub(super) fn in_call(&mut self, mut open: Open) -> bool {
        let white = self.white();
        let rest = &self.held[white..];
        if rest.is_empty() {
            return self.wait(State::Call(open));
        }
        if rest.starts_with('{') && open.arguments.is_empty() {
            return self.go(State::Bare(open, Braces::default()));
        }
        match tags::tag(rest) {
            Found::Yes(Tag { kind: Kind::Parameter { key, is_string }, marked, length }) => {
                open.raw += &self.take(white + length);
                let parameter = Parameter { key, is_string, marked };
                self.begin_value(&mut open, &parameter);
                self.go(State::Value(open, parameter))
            }
            Found::Yes(Tag { kind: Kind::EndInvoke, length, .. }) => {
                self.held.drain(..white + length);
                self.call(open);
                self.go(State::Block)
            }
            // Its own end is missing.
            Found::Yes(Tag { kind: Kind::Invoke { .. } | Kind::EndCalls, .. }) => {
                self.call(open);
                self.go(State::Block)
            }
            // Closed twice.
            Found::Yes(Tag { kind: Kind::EndParameter, length, .. }) => {
                open.raw += &self.take(white + length);
                self.go(State::Call(open))
            }
            Found::Maybe => self.wait(State::Call(open)),
            Found::Yes(tag) => {
                let problem = tags::complaint(&rest[..tag.length]);
                self.break_off(open, problem)
            }
            Found::No => self.break_off(open, "text stands where a parameter should be".to_owned()),
        }
    }

    pub(super) fn in_value(&mut self, mut open: Open, parameter: Parameter) -> bool {
        match tags::next_tag(&self.held, self.searched, parameter.marked) {
            Ok((place, Tag { kind: Kind::Foreign, length, .. })) => {
                let problem = tags::complaint(&self.held[place..place + length]);
                self.break_off(open, problem)
            }
            Ok((place, Tag { kind: Kind::EndParameter, length, .. })) => {
                let raw = self.take(place);
                let close = self.take(length);
                open.raw.extend([raw.as_str(), &close]);
                self.argument(open, parameter, raw)
            }
            // Its own end is missing.
            Ok((place, _)) => {
                let raw = self.take(place);
                open.raw += &raw;
                let value = without_line_end(&raw);
                let value = value.strip_suffix("</parameter>").unwrap_or(value).to_owned();
                self.argument(open, parameter, value)
            }
            Err(searched) => {
                self.searched = searched;
                self.go_on_with_value(&mut open);
                self.wait(State::Value(open, parameter))
            }
        }
    }

    /// Takes a value. Of two values for one parameter neither can be chosen.
    pub(super) fn argument(&mut self, mut open: Open, parameter: Parameter, raw: String) -> bool {
        let tool = self.tools.iter().find(|tool| tool.name() == open.name);
        let value = match parameter.is_string {
            Some(true) => Value::String(raw),
            Some(false) => tools::read_value(tool, &parameter.key, &raw),
            None => tools::read_unmarked(tool, &parameter.key, &raw),
        };
        match open.arguments.get(&parameter.key) {
            Some(other) if *other != value => {
                let problem = format!("the parameter {:?} has two values", parameter.key);
                self.break_off(open, problem)
            }
            _ => {
                open.arguments.insert(parameter.key.clone(), value);
                self.end_value(&mut open, &parameter.key);
                self.go(State::Call(open))
            }
        }
    }

    pub(super) fn in_bare(&mut self, open: Open, mut braces: Braces) -> bool {
        match tags::next_tag(&self.held, self.searched, false) {
            Ok((place, Tag { kind, marked, length })) => {
                let is_end = matches!(kind, Kind::EndInvoke | Kind::EndCalls | Kind::Invoke { .. });
                let object = &self.held[..place];
                if is_end && braces.may_end(object) && bare_object(object).is_some() {
                    let raw = self.take(place);
                    if kind == Kind::EndInvoke {
                        self.held.drain(..length);
                    }
                    self.bare(open, &raw);
                    return self.go(State::Block);
                }
                if marked {
                    let problem = "its arguments are not one JSON object".to_owned();
                    return self.break_off(open, problem);
                }
                // In a text of the object.
                self.searched = place + 1;
                self.state = State::Bare(open, braces);
                true
            }
            Err(searched) => {
                self.searched = searched;
                self.wait(State::Bare(open, braces))
            }
        }
    }

    /// What began as a call can become none any more.
    fn break_off(&mut self, open: Open, problem: String) -> bool {
        self.tell(Some(&open.name), problem);
        self.go(State::Broken(open))
    }

    /// Goes to where the call would have ended.
    pub(super) fn in_broken(&mut self, open: Open) -> bool {
        match tags::next_tag(&self.held, self.searched, open.marked) {
            Ok((place, Tag { kind, length, .. })) => {
                let end = match kind {
                    Kind::EndInvoke => place + length,
                    Kind::EndCalls | Kind::Invoke { .. } => place,
                    _ => {
                        self.searched = place + length;
                        self.state = State::Broken(open);
                        return true;
                    }
                };
                let raw = self.take(end);
                self.unfinished(open, &raw);
                self.go(State::Block)
            }
            Err(searched) => {
                self.searched = searched;
                self.wait(State::Broken(open))
            }
        }
    }

    pub(super) fn bare(&mut self, mut open: Open, raw: &str) {
        open.arguments = bare_object(raw).unwrap_or_default();
        self.call(open);
    }

    /// An answer ended in a value: the closing tag may have lost its mark.
    pub(super) fn accept_plain_close(&mut self) {
        match std::mem::replace(&mut self.state, State::Content) {
            State::Value(mut open, parameter) if parameter.marked => match tags::plain_end(&self.held) {
                // A tag with the mark that never came to its end is no part of a value.
                Some((place, length)) if !tags::holds_marked(&self.held[..place]) => {
                    let raw = self.take(place);
                    open.raw.extend([raw.as_str(), &self.take(length)]);
                    self.argument(open, parameter, raw);
                }
                _ => self.state = State::Value(open, parameter),
            },
            other => self.state = other,
        }
    }

    pub(super) fn call(&mut self, mut open: Open) {
        let tool = self.tools.iter().find(|tool| tool.name() == open.name);
        let arguments = tools::unwrap_arguments(tool, open.arguments.clone());
        self.end_arguments(&mut open, &arguments);
        self.called = true;
        self.events.push(Event::Call(ToolCall { id: None, name: open.name, arguments }));
    }

    pub(super) fn unfinished(&mut self, open: Open, rest: &str) {
        (self.at_start, self.behind_calls) = (false, false);
        self.events.push(Event::Unfinished { name: open.name, raw: open.raw + rest });
    }
}

/// Arguments that are one object of JSON; a tag with the mark is no part of it.
pub(super) fn bare_object(text: &str) -> Option<Map<String, Value>> {
    tools::exact_object(text).filter(|_| !tags::holds_marked(text))
}

/// The newline before a tag belongs to the tag, and so does the tag's indent.
fn without_line_end(text: &str) -> &str {
    match text.trim_end_matches([' ', '\t']).strip_suffix('\n') {
        Some(line) => line.strip_suffix('\r').unwrap_or(line),
        None => text,
    }
}

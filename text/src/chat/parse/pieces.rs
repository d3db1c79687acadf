//! The arguments of a call as pieces of JSON, while they are written.

use super::calls::{Open, Parameter};
use super::{Event, Parser, tools};
use serde_json::{Map, Value};

/// What ends the value of a parameter, without the mark.
const PLAIN_END: &str = "</parameter";

/// What was given out of a call's arguments.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    /// So many of the arguments, all in order.
    n: usize,
    /// The next one is a text that is being written: so many bytes of it.
    text: Option<usize>,
}

impl Parser {
    /// A value begins. If it is sure to be a text, it is given out while it is written.
    pub(super) fn begin_value(&mut self, open: &mut Open, parameter: &Parameter) {
        let tool = self.tools.iter().find(|tool| tool.name() == open.name);
        let is_text = parameter.is_string.unwrap_or_else(|| tools::is_text(tool, &parameter.key));
        let may_be_wrapped = open.arguments.is_empty() && tools::may_wrap(tool, &parameter.key);
        if is_text && !may_be_wrapped && !open.arguments.contains_key(&parameter.key) {
            self.catch_up(open);
            let before = if open.given.n == 0 { '{' } else { ',' };
            self.give(&format!("{before}{}:\"", json(&parameter.key)));
            open.given.text = Some(0);
        }
    }

    /// A value goes on: `held` begins with it, and up to `searched` holds no tag that ends it.
    pub(super) fn go_on_with_value(&mut self, open: &mut Open) {
        let Some(given) = open.given.text else { return };
        let certain = n_certain(&self.held[given..self.searched]);
        if certain > 0 {
            let piece = inside(&self.held[given..given + certain]);
            self.give(&piece);
            open.given.text = Some(given + certain);
        }
    }

    /// An argument is complete and among the others.
    pub(super) fn end_value(&mut self, open: &mut Open, key: &str) {
        if let Some(given) = open.given.text.take() {
            let text = open.arguments.get(key).and_then(Value::as_str).unwrap_or_default();
            let rest = inside(text.get(given..).unwrap_or_default());
            self.give(&(rest + "\""));
            open.given.n += 1;
            return;
        }
        let tool = self.tools.iter().find(|tool| tool.name() == open.name);
        if !(open.arguments.len() == 1 && tools::may_wrap(tool, key)) {
            self.catch_up(open);
        }
    }

    /// A call is complete, and these are its arguments.
    pub(super) fn end_arguments(&mut self, open: &mut Open, arguments: &Map<String, Value>) {
        if open.given.n == 0 {
            let whole = Value::Object(arguments.clone()).to_string();
            return self.give(&whole);
        }
        self.catch_up(open);
        self.give("}");
    }

    /// Gives out the arguments that are complete.
    fn catch_up(&mut self, open: &mut Open) {
        for (key, value) in open.arguments.iter().skip(open.given.n) {
            let before = if open.given.n == 0 { '{' } else { ',' };
            self.give(&format!("{before}{}:{value}", json(key)));
            open.given.n += 1;
        }
    }

    fn give(&mut self, piece: &str) {
        match self.events.last_mut() {
            _ if piece.is_empty() => {}
            Some(Event::Arguments(before)) => before.push_str(piece),
            _ => self.events.push(Event::Arguments(piece.to_owned())),
        }
    }
}

/// How much of what came of a value is certain to be a part of it: a tag that lost its mark may turn out to end it, and white
/// space before a tag may belong to that.
fn n_certain(text: &str) -> usize {
    let end = text.rfind(PLAIN_END).unwrap_or_else(|| {
        let begun = (1..PLAIN_END.len()).rev().find(|&n| text.ends_with(&PLAIN_END[..n]));
        text.len() - begun.unwrap_or(0)
    });
    text[..end].trim_end_matches([' ', '\t', '\n', '\r']).len()
}

fn json(text: &str) -> String {
    Value::from(text).to_string()
}

/// What stands between the quotation marks.
fn inside(text: &str) -> String {
    let quoted = json(text);
    quoted[1..quoted.len() - 1].to_owned()
}

//! From the tokens of an answer to its events and its parts.

use super::reasoning::Budget;
use super::repeats::Repeats;
use super::stops::Stops;
use super::{Event, Outcome, Request, Stop, Usage};
use crate::chat::Assistant;
use crate::chat::parse::{End, Event as Part, Malformed, Parser};
use crate::tokenizer::{Controls, TextDecoder, Tokenizer};
use std::ops::ControlFlow;

/// From tokens to events.
pub(super) struct Writer<'w> {
    decoder: TextDecoder<'w>,
    /// None: all is content.
    parser: Option<Parser>,
    stops: Stops<'w>,
    budget: Budget,
    malformed: Vec<Malformed>,
    repeats: Repeats,
    events: Vec<Event>,
    answer: Assistant,
    ids: Vec<u32>,
}

impl<'w> Writer<'w> {
    /// For one answer to this request.
    pub(super) fn new(tokenizer: &'w Tokenizer, request: &Request<'w>) -> Writer<'w> {
        Writer {
            decoder: tokenizer.decoder(Controls::Keep),
            parser: request.start.map(|start| Parser::new(start, request.tools.to_vec())),
            stops: Stops::new(request.stops),
            budget: Budget::new(request, tokenizer),
            malformed: Vec::new(),
            repeats: Repeats::new(),
            events: Vec::new(),
            answer: Assistant::default(),
            ids: Vec::new(),
        }
    }

    /// What the answer so far has gone through; none where all is content.
    pub(super) fn parser(&self) -> Option<&Parser> {
        self.parser.as_ref()
    }

    /// The token to go on with where the model chose `token`: the limit on reasoning may ask for another.
    pub(super) fn within_budget(&mut self, token: u32) -> u32 {
        self.budget.token(token)
    }

    /// Takes the next token of the answer, which is not the end of the text. Breaks where it ends the answer.
    pub(super) fn token(&mut self, token: u32) -> ControlFlow<Stop> {
        self.ids.push(token);
        let text = self.decoder.push(token);
        self.text(text)?;
        self.events.extend(self.repeats.push(&self.ids).map(Event::Repeats));
        ControlFlow::Continue(())
    }

    fn text(&mut self, text: String) -> ControlFlow<Stop> {
        match &mut self.parser {
            Some(parser) => {
                let (parts, malformed) = (parser.push(&text), parser.take_malformed());
                // What ends the answer takes nothing away from what is told about it.
                let ended = parts.into_iter().try_for_each(|part| self.part(part));
                self.tell(malformed);
                ended
            }
            None => self.content(&text),
        }
    }

    fn part(&mut self, part: Part) -> ControlFlow<Stop> {
        match part {
            Part::Content(text) | Part::Unfinished { raw: text, .. } => self.content(&text),
            other => {
                self.release();
                self.emit(other);
                ControlFlow::Continue(())
            }
        }
    }

    fn content(&mut self, text: &str) -> ControlFlow<Stop> {
        let (certain, stop) = self.stops.push(text);
        let stop = stop.map(|stop| Stop::StopString(stop.to_owned()));
        self.emit(Part::Content(certain));
        stop.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn tell(&mut self, malformed: Vec<Malformed>) {
        self.events.extend(malformed.iter().cloned().map(Event::Malformed));
        self.malformed.extend(malformed);
    }

    /// Gives out what waited for a stop string.
    fn release(&mut self) {
        let rest = self.stops.finish();
        self.emit(Part::Content(rest));
    }

    fn emit(&mut self, part: Part) {
        match &part {
            Part::Content(text) if text.is_empty() => return,
            Part::Content(text) => self.answer.content += text,
            Part::Reasoning(text) => self.answer.reasoning += text,
            Part::Call(call) => self.answer.calls.push(call.clone()),
            Part::CallStart { .. } | Part::Arguments(_) | Part::Unfinished { .. } => {}
        }
        self.events.push(Event::Part(part));
    }

    /// What has become certain since the last time.
    pub(super) fn take_events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// The finished answer, once it has [ended](Writer::end). `unformed`: it was to have a form and has not all of it.
    pub(super) fn finish(self, stop: Stop, unformed: bool, usage: Usage) -> Outcome {
        let Writer { answer, ids, budget, malformed, repeats, .. } = self;
        let (reasoning_cut, repeats) = (budget.cut, repeats.found);
        Outcome { answer, ids, stop, reasoning_cut, unformed, malformed, repeats, usage }
    }

    /// Gives out what was held back. That may still bring a stop string.
    pub(super) fn end(&mut self, stop: Stop) -> Stop {
        // A character that was cut off is not a broken one: only where the model ended does its rest become U+FFFD.
        let (rest, end) = match stop {
            Stop::StopString(_) => return stop,
            Stop::Eos => (self.decoder.finish(), End::Eos),
            _ => (String::new(), End::Cut),
        };
        self.rest(rest, end).break_value().unwrap_or(stop)
    }

    fn rest(&mut self, text: String, end: End) -> ControlFlow<Stop> {
        self.text(text)?;
        let (parts, malformed) = match self.parser.take() {
            Some(mut parser) => (parser.finish(end), parser.take_malformed()),
            None => (Vec::new(), Vec::new()),
        };
        let ended = match parts.into_iter().try_for_each(|part| self.part(part)) {
            ControlFlow::Continue(()) => {
                self.release();
                ControlFlow::Continue(())
            }
            ended => ended,
        };
        self.tell(malformed);
        ended
    }
}

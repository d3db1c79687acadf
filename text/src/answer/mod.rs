//! An answer, token by token, whoever computes the logits.
//!
//! [`Draw`] says which token is next, and [`Writer`] hands out events while they become certain: progress of the prompt,
//! reasoning, text, tool calls.
//!
//! Ends are told apart and never silent: the model's own, a stop string, a limit, a full context, an interruption.

mod constraint;
mod draw;
#[cfg(test)]
mod follows;
mod reasoning;
mod repeats;
mod schema;
mod spine;
mod stops;
#[cfg(test)]
mod walks;

pub use constraint::Constraint;
pub use draw::Draw;
pub use repeats::Cycle;

use crate::chat::parse::{End, Event as Part, Malformed, Parser, Start};
use crate::chat::{Assistant, Tool};
use crate::sampler::{NoToken, Sampling};
use crate::tokenizer::{Controls, TextDecoder, Tokenizer};
use reasoning::Budget;
use repeats::Repeats;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use stops::Stops;

/// What is to be answered, and how.
pub struct Request<'r> {
    /// The whole prompt; what the session holds of it already is not computed again. At least one token.
    pub prompt: &'r [u32],
    /// Where a chat answer starts. Without it all that comes is content, control tokens as their texts.
    pub start: Option<Start>,
    /// The tools that the prompt announced.
    pub tools: &'r [Tool],
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens to draw, the end of the text included; `None`: no limit but the context's.
    pub n_predict: Option<usize>,
    /// Most tokens of reasoning: then it is ended in the model's own format, and the answer follows. `None`: no limit.
    pub reasoning_budget: Option<usize>,
    /// Texts that end the answer. They are looked for in content, not in reasoning, and are not part of it.
    pub stops: &'r [String],
    /// The form that the content is to have.
    pub constraint: Option<&'r Constraint>,
    /// Ends the answer when it becomes true.
    pub interrupt: &'r AtomicBool,
}

/// What happens while an answer is made.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The work on the prompt's `total` tokens has come as far as `done`. Comes before each forward call, between its layers,
    /// and after the last.
    Prompt {
        /// Tokens; a call that is half through its layers has half of its tokens.
        done: usize,
        /// Tokens of the prompt.
        total: usize,
    },
    /// A part of the answer. What began as a tool call and never became one is content.
    Part(Part),
    /// Something like a tool call came that is none. Its text is part of the answer.
    Malformed(Malformed),
    /// The answer turns in a circle. Comes once at most; nothing is stopped.
    Repeats(Cycle),
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model ended it.
    Eos,
    /// This stop string came.
    StopString(String),
    /// As many tokens as were allowed.
    NPredict,
    /// The session can hold no more tokens.
    ContextFull,
    /// No token goes on with the form that the answer is to have.
    Constraint(String),
    /// No token can be drawn: all are banned, or a logit is no number.
    NoToken(NoToken),
    /// Somebody stopped it: the flag, or whoever receives the events.
    Interrupted,
}

impl Stop {
    /// Its name in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Stop::Eos => "eos",
            Stop::StopString(_) => "stop_string",
            Stop::NPredict => "n_predict",
            Stop::ContextFull => "context_full",
            Stop::Constraint(_) => "constraint",
            Stop::NoToken(_) => "no_token",
            Stop::Interrupted => "interrupted",
        }
    }
}

/// How many tokens an answer took, and how long.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// How many of them needed no computing: the session held them, or they were kept on the disk.
    pub cached: usize,
    /// How many of these came from the disk.
    pub recalled: usize,
    /// How many were computed; with `cached` less than the prompt if it was interrupted.
    pub prefilled: usize,
    /// Tokens drawn, the end of the text included.
    pub generated: usize,
    /// Tokens drawn and put through the model to draw the next.
    pub decoded: usize,
    /// Time for the prompt.
    pub prefill_time: Duration,
    /// Time for everything after it.
    pub decode_time: Duration,
}

impl Usage {
    /// Tokens of the prompt computed per second; `None` if there were none.
    pub fn prefill_rate(&self) -> Option<f64> {
        rate(self.prefilled, self.prefill_time)
    }

    /// Tokens put through the model per second after the prompt; `None` if there were none.
    pub fn decode_rate(&self) -> Option<f64> {
        rate(self.decoded, self.decode_time)
    }
}

fn rate(n: usize, time: Duration) -> Option<f64> {
    (n > 0).then(|| n as f64 / time.as_secs_f64().max(1e-9))
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Reasoning, content, tool calls.
    pub answer: Assistant,
    /// The tokens drawn, without the end of the text.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop: Stop,
    /// The reasoning was ended by its budget.
    pub reasoning_cut: bool,
    /// The answer was to have a form, and ended before it had it.
    pub unformed: bool,
    /// What was like a tool call and was none.
    pub malformed: Vec<Malformed>,
    /// The first cycle in which the answer turned.
    pub repeats: Option<Cycle>,
    /// What it took.
    pub usage: Usage,
}

/// From tokens to events.
pub struct Writer<'w> {
    tokenizer: &'w Tokenizer,
    decoder: TextDecoder<'w>,
    /// None: all is content.
    parser: Option<Parser>,
    stops: Stops<'w>,
    budget: Budget,
    malformed: Vec<Malformed>,
    repeats: Repeats,
    sink: &'w mut dyn FnMut(&Event) -> ControlFlow<()>,
    answer: Assistant,
    ids: Vec<u32>,
}

impl<'w> Writer<'w> {
    /// For one answer to this request. `sink` receives the events; if it breaks, the answer is to end as if interrupted.
    pub fn new(
        tokenizer: &'w Tokenizer,
        request: &Request<'w>,
        sink: &'w mut dyn FnMut(&Event) -> ControlFlow<()>,
    ) -> Writer<'w> {
        Writer {
            tokenizer,
            decoder: tokenizer.decoder(Controls::Keep),
            parser: request.start.map(|start| Parser::new(start, request.tools.to_vec())),
            stops: Stops::new(request.stops),
            budget: Budget::new(request, tokenizer),
            malformed: Vec::new(),
            repeats: Repeats::new(),
            sink,
            answer: Assistant::default(),
            ids: Vec::new(),
        }
    }

    /// What the answer so far has gone through; none where all is content.
    pub fn parser(&self) -> Option<&Parser> {
        self.parser.as_ref()
    }

    /// The token to go on with where the model chose `token`: the limit on reasoning may ask for another.
    pub fn within_budget(&mut self, token: u32) -> u32 {
        self.budget.token(token)
    }

    /// Whether this token ends an answer.
    pub fn is_end(&self, token: u32) -> bool {
        self.tokenizer.is_end(token)
    }

    /// Tells how far the work on the prompt has come.
    pub fn progress(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        (self.sink)(&Event::Prompt { done, total })
    }

    /// Takes the next token of the answer, which is not the end of the text. Breaks where it ends the answer.
    pub fn token(&mut self, token: u32) -> ControlFlow<Stop> {
        self.ids.push(token);
        let text = self.decoder.push(token);
        self.text(text)?;
        match self.repeats.push(&self.ids) {
            Some(cycle) => (self.sink)(&Event::Repeats(cycle)).map_break(|()| Stop::Interrupted),
            None => ControlFlow::Continue(()),
        }
    }

    fn text(&mut self, text: String) -> ControlFlow<Stop> {
        match &mut self.parser {
            Some(parser) => {
                let (parts, malformed) = (parser.push(&text), parser.take_malformed());
                // What ends the answer takes nothing away from what is told about it.
                let ended = parts.into_iter().try_for_each(|part| self.part(part));
                self.tell(malformed)?;
                ended
            }
            None => self.content(&text),
        }
    }

    fn part(&mut self, part: Part) -> ControlFlow<Stop> {
        match part {
            Part::Content(text) | Part::Unfinished { raw: text, .. } => self.content(&text),
            other => {
                self.release()?;
                self.emit(other)
            }
        }
    }

    fn content(&mut self, text: &str) -> ControlFlow<Stop> {
        let (certain, stop) = self.stops.push(text);
        self.emit(Part::Content(certain))?;
        match stop {
            Some(stop) => ControlFlow::Break(Stop::StopString(stop.to_owned())),
            None => ControlFlow::Continue(()),
        }
    }

    fn tell(&mut self, malformed: Vec<Malformed>) -> ControlFlow<Stop> {
        malformed.into_iter().try_for_each(|one| {
            self.malformed.push(one.clone());
            (self.sink)(&Event::Malformed(one)).map_break(|()| Stop::Interrupted)
        })
    }

    /// Gives out what waited for a stop string.
    fn release(&mut self) -> ControlFlow<Stop> {
        let rest = self.stops.finish();
        self.emit(Part::Content(rest))
    }

    fn emit(&mut self, part: Part) -> ControlFlow<Stop> {
        match &part {
            Part::Content(text) if text.is_empty() => return ControlFlow::Continue(()),
            Part::Content(text) => self.answer.content += text,
            Part::Reasoning(text) => self.answer.reasoning += text,
            Part::Call(call) => self.answer.calls.push(call.clone()),
            Part::CallStart { .. } | Part::Unfinished { .. } => {}
        }
        (self.sink)(&Event::Part(part)).map_break(|()| Stop::Interrupted)
    }

    /// Gives out what was held back, and the finished answer. `unformed`: it was to have a form and has not all of it.
    pub fn finish(mut self, stop: Stop, unformed: bool, usage: Usage) -> Outcome {
        let stop = self.end(stop);
        let Writer { answer, ids, budget, malformed, repeats, .. } = self;
        let (reasoning_cut, repeats) = (budget.cut, repeats.found);
        Outcome { answer, ids, stop, reasoning_cut, unformed, malformed, repeats, usage }
    }

    /// Gives out what was held back. That may still bring a stop string.
    fn end(&mut self, stop: Stop) -> Stop {
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
            ControlFlow::Continue(()) => self.release(),
            ended => ended,
        };
        self.tell(malformed)?;
        ended
    }
}

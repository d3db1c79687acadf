//! An answer, token by token, whoever computes the logits.
//!
//! [`Answer`] is a machine that is driven from outside: it takes the logits behind the last token and says which token to put
//! through the model next, or that it is done. What becomes certain meanwhile, reasoning, text, tool calls, is taken out as
//! events. So one loop may work on several answers, and whoever checks drafts may ask token by token.
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
mod writer;

pub use constraint::Constraint;
pub use repeats::Cycle;

use crate::chat::parse::{Event as Part, Malformed, Start};
use crate::chat::{Assistant, Tool};
use crate::sampler::{NoToken, Sampling};
use crate::tokenizer::Tokenizer;
use draw::Draw;
use std::ops::ControlFlow;
use std::time::Duration;
use writer::Writer;

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

/// What an answer needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This token goes through the model; then its logits.
    Push(u32),
    /// Nothing: it has ended.
    Done,
}

/// An answer on its way.
pub struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    draw: Draw<'a>,
    writer: Writer<'a>,
    /// Most tokens to draw.
    most: usize,
    /// Tokens that the context has room for behind the prompt.
    room: usize,
    n_drawn: usize,
    stop: Option<Stop>,
}

impl<'a> Answer<'a> {
    /// The beginning of one answer to this request, in a context of `n_ctx` tokens.
    ///
    /// # Panics
    /// If a logit bias is for a token outside the vocabulary.
    pub fn new(request: &Request<'a>, tokenizer: &'a Tokenizer, n_ctx: usize) -> Answer<'a> {
        let mut draw = Draw::new(request, tokenizer);
        request.prompt.iter().for_each(|&token| draw.accept(token));
        Answer {
            tokenizer,
            draw,
            writer: Writer::new(tokenizer, request),
            most: request.n_predict.unwrap_or(usize::MAX),
            room: n_ctx.saturating_sub(request.prompt.len()),
            n_drawn: 0,
            stop: None,
        }
    }

    /// Takes the logits behind the last token, `[vocab_size]`: the prompt's, or that of the last [`Next::Push`].
    pub fn next(&mut self, logits: &[f32]) -> Next {
        if self.stop.is_some() {
            return Next::Done;
        }
        match self.draw(logits) {
            ControlFlow::Continue(token) => Next::Push(token),
            ControlFlow::Break(stop) => {
                self.stop = Some(self.writer.end(stop));
                Next::Done
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> ControlFlow<Stop, u32> {
        if self.most == 0 {
            return ControlFlow::Break(Stop::NPredict);
        }
        let token = match self.draw.token(self.writer.parser(), logits) {
            Ok(token) => self.writer.within_budget(token),
            Err(stop) => return ControlFlow::Break(stop),
        };
        self.n_drawn += 1;
        if self.tokenizer.is_end(token) {
            return ControlFlow::Break(Stop::Eos);
        }
        self.writer.token(token)?;
        if self.n_drawn > self.room {
            return ControlFlow::Break(Stop::ContextFull);
        }
        if self.n_drawn >= self.most {
            return ControlFlow::Break(Stop::NPredict);
        }
        self.draw.accept(token);
        ControlFlow::Continue(token)
    }

    /// Ends it here, if it has not ended: somebody wants no more of it.
    pub fn interrupt(&mut self) {
        if self.stop.is_none() {
            self.writer.end(Stop::Interrupted);
        }
        self.stop = Some(Stop::Interrupted);
    }

    /// What has become certain since the last time, in order; all of it is there once the answer has ended.
    pub fn events(&mut self) -> impl Iterator<Item = Event> {
        self.writer.take_events()
    }

    /// The finished answer; one that has not ended counts as interrupted. `usage` is the caller's, but for the tokens drawn.
    pub fn finish(mut self, usage: Usage) -> Outcome {
        if self.stop.is_none() {
            self.interrupt();
        }
        let stop = self.stop.unwrap_or(Stop::Interrupted);
        let unformed = self.draw.lacks_form();
        self.writer.finish(stop, unformed, Usage { generated: self.n_drawn, ..usage })
    }
}

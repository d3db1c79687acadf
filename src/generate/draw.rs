//! Which token is next.
//!
//! The syntax of tool calls is taken greedily and their values are sampled: a tag that is drawn at a high temperature is
//! soon none, and a call is lost with it, while what stands in the values is as free as any other text,
//! except that no answer ends there. Content may have to have a form; then other tokens are masked before anything is drawn.

use super::Request;
use super::constraint::Following;
use crate::chat::Tool;
use crate::chat::parse::{Parser, Place};
use crate::sampler::{Sampler, best};
use crate::tokenizer::{TokenKind, Tokenizer};

/// Draws the tokens of one answer.
pub(super) struct Draw<'d> {
    tokenizer: &'d Tokenizer,
    tools: &'d [Tool],
    sampler: Sampler,
    following: Option<Following>,
    /// Logits without the end of the answer.
    without_end: Vec<f32>,
}

impl<'d> Draw<'d> {
    pub(super) fn new(request: &Request<'d>, tokenizer: &'d Tokenizer) -> Draw<'d> {
        Draw {
            tokenizer,
            tools: request.tools,
            sampler: Sampler::new(&request.sampling, tokenizer),
            following: request.constraint.map(Following::new),
            without_end: Vec::new(),
        }
    }

    /// Tells that the text goes on with this token, of the prompt or of the answer.
    pub(super) fn accept(&mut self, token: u32) {
        self.sampler.accept(token);
    }

    /// The next token, where the answer so far has gone through `parser`. The error says why no token follows the form.
    pub(super) fn token(&mut self, parser: Option<&Parser>, logits: &[f32]) -> Result<u32, String> {
        let mut following = self.following.as_mut().filter(|_| !parser.is_some_and(Parser::is_reasoning));
        let logits = match &mut following {
            Some(following) => following.mask(logits)?,
            None => logits,
        };
        let token = match parser.map_or(Place::Free, Parser::place) {
            Place::Free => self.sampler.pick(logits),
            Place::Value => {
                self.without_end.clear();
                self.without_end.extend_from_slice(logits);
                self.without_end[self.tokenizer.eos() as usize] = f32::NEG_INFINITY;
                self.sampler.pick(&self.without_end)
            }
            Place::Syntax => best(logits),
            Place::Name(begun) => name(self.tokenizer, self.tools, begun, logits),
        };
        match following.filter(|_| token != self.tokenizer.eos()) {
            Some(following) => following.push(token).map(|()| token),
            None => Ok(token),
        }
    }
}

/// The best token with which the name of an announced tool goes on, or ends; without any the best of all.
fn name(tokenizer: &Tokenizer, tools: &[Tool], begun: &str, logits: &[f32]) -> u32 {
    let rests: Vec<String> =
        tools.iter().filter_map(|tool| Some(format!("{}\">", tool.name().strip_prefix(begun)?))).collect();
    let fits = |id: u32| {
        let bytes = tokenizer.bytes(id).unwrap_or_default();
        let goes_on =
            |rest: &String| rest.as_bytes().starts_with(bytes) || bytes.starts_with(rest.as_bytes());
        !bytes.is_empty() && tokenizer.kind(id) == Some(TokenKind::Normal) && rests.iter().any(goes_on)
    };
    let mut found: Option<(u32, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        let id = id as u32;
        if found.is_none_or(|(_, best)| logit > best) && fits(id) {
            found = Some((id, logit));
        }
    }
    found.map_or_else(|| best(logits), |(id, _)| id)
}

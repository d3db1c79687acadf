//! Which token is next.
//!
//! The syntax of tool calls is taken greedily and their values are sampled: a tag that is drawn at a high temperature is
//! soon none, and a call is lost with it, while what stands in the values is as free as any other text. Behind the mark of
//! calls only what may stand there is taken. The answer may end anywhere, in a value too: a model that has lost its way
//! through a call is not kept from ending it. Biases hold everywhere, and where no tools were announced, the mark of calls
//! is banned by one. Content may have to have a form; then other tokens are masked before anything is drawn.

use super::constraint::Following;
use super::{Request, Stop};
use crate::chat::Tool;
use crate::chat::markers::DSML;
use crate::chat::parse::{Parser, Place};
use crate::sampler::{NoToken, Sampler, Sampling, best_allowed};
use crate::tokenizer::{TokenKind, Tokenizer};

/// Draws the tokens of one answer.
pub struct Draw<'d> {
    tokenizer: &'d Tokenizer,
    tools: &'d [Tool],
    sampler: Sampler,
    following: Option<Following>,
}

impl<'d> Draw<'d> {
    /// For one answer to this request.
    pub fn new(request: &Request<'d>, tokenizer: &'d Tokenizer) -> Draw<'d> {
        let mut sampling = request.sampling.clone();
        // Text that is only continued may hold anything.
        if request.start.is_some() && request.tools.is_empty() {
            ban_calls(&mut sampling, tokenizer);
        }
        Draw {
            tokenizer,
            tools: request.tools,
            sampler: Sampler::new(&sampling, tokenizer),
            following: request.constraint.map(Following::new),
        }
    }

    /// Tells that the text goes on with this token, of the prompt or of the answer.
    pub fn accept(&mut self, token: u32) {
        self.sampler.accept(token);
    }

    /// Whether the answer is to have a form and has not all of it yet.
    pub fn lacks_form(&mut self) -> bool {
        self.following.as_mut().is_some_and(|following| !following.is_complete())
    }

    /// The next token, where the answer so far has gone through `parser`; or why there is none.
    ///
    /// # Errors
    /// The end that the answer has then.
    pub fn token(&mut self, parser: Option<&Parser>, logits: &[f32]) -> Result<u32, Stop> {
        let mut following = self.following.as_mut().filter(|_| !parser.is_some_and(Parser::is_reasoning));
        let logits = match &mut following {
            Some(following) => following.mask(logits).map_err(Stop::Constraint)?,
            None => logits,
        };
        let token = match parser.map_or(Place::Free, Parser::place) {
            Place::Free | Place::Value => self.sampler.pick(logits),
            Place::Syntax => {
                self.sampler.biased(logits).and_then(|logits| best_allowed(logits).ok_or(NoToken::AllBanned))
            }
            Place::Opening(texts, begun) => {
                best_of_biased(&mut self.sampler, self.tokenizer, &rests(texts, begun), logits)
            }
            Place::Name(begun) => {
                let names = self.tools.iter().map(|tool| format!("{}\">", tool.name()));
                best_of_biased(&mut self.sampler, self.tokenizer, &rests(names, begun), logits)
            }
        };
        let token = token.map_err(Stop::NoToken)?;
        match following.filter(|_| !self.tokenizer.is_end(token)) {
            Some(following) => following.push(token).map(|()| token).map_err(Stop::Constraint),
            None => Ok(token),
        }
    }
}

/// Bans what holds the mark of calls: nobody could answer a call for a tool that was not announced.
fn ban_calls(sampling: &mut Sampling, tokenizer: &Tokenizer) {
    let holds_mark = |id: &u32| {
        let bytes = tokenizer.bytes(*id).unwrap_or_default();
        bytes.windows(DSML.len()).any(|part| part == DSML.as_bytes())
    };
    let marks = (0..tokenizer.n_tokens() as u32).filter(holds_mark);
    sampling.logit_bias.extend(marks.map(|id| (id, f32::NEG_INFINITY)));
}

/// What is left of those texts that begin so.
fn rests(texts: impl IntoIterator<Item = impl AsRef<str>>, begun: &str) -> Vec<String> {
    texts.into_iter().filter_map(|text| text.as_ref().strip_prefix(begun).map(str::to_owned)).collect()
}

/// As [`best_of`], with the biases that hold everywhere.
fn best_of_biased(
    sampler: &mut Sampler,
    tokenizer: &Tokenizer,
    rests: &[String],
    logits: &[f32],
) -> Result<u32, NoToken> {
    sampler.biased(logits).and_then(|logits| best_of(tokenizer, rests, logits).ok_or(NoToken::AllBanned))
}

/// The best token with which one of the texts goes on, or ends; without any the best of all.
fn best_of(tokenizer: &Tokenizer, rests: &[String], logits: &[f32]) -> Option<u32> {
    let fits = |id: u32| {
        let bytes = tokenizer.bytes(id).unwrap_or_default();
        let goes_on =
            |rest: &String| rest.as_bytes().starts_with(bytes) || bytes.starts_with(rest.as_bytes());
        !bytes.is_empty() && tokenizer.kind(id) == Some(TokenKind::Normal) && rests.iter().any(goes_on)
    };
    let mut found: Option<(u32, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        let id = id as u32;
        if logit > found.map_or(f32::NEG_INFINITY, |(_, best)| best) && fits(id) {
            found = Some((id, logit));
        }
    }
    found.map_or_else(|| best_allowed(logits), |(id, _)| Some(id))
}

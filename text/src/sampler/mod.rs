//! From logits to a token.
//!
//! The stages and their order are llama.cpp's: logit bias, penalties, DRY, then top-k, typical, top-p and min-p on the
//! model's own distribution, then temperature on what is left, then one draw. Its sums are of f32, ours of f64; apart from
//! that the same logits give the same tokens to draw from (`tests/interop/tests/sampler.rs`).

mod adjust;
mod breakers;
mod candidates;
mod dry;
mod penalties;
mod random;

pub use dry::Dry;
pub use penalties::Penalties;

use crate::tokenizer::Tokenizer;
use adjust::Adjust;
use breakers::Breakers;
use candidates::Candidates;
use random::Random;

/// How a token is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the best token; 1 is the model's own distribution.
    pub temperature: f32,
    /// Keep this many best tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest tokens with more than this much of the probability together, those first that are as surprising as
    /// is to be expected; 1 keeps all.
    pub typical_p: f32,
    /// Keep the fewest best tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this many times as likely as the best; 0 keeps all.
    pub min_p: f32,
    /// What repeated tokens lose.
    pub penalties: Penalties,
    /// What tokens lose that make a repetition longer.
    pub dry: Dry,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Start of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    /// What DeepSeek recommends for V3.2 run locally: temperature 1, top-p 0.95.
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            typical_p: 1.0,
            top_p: 0.95,
            min_p: 0.0,
            penalties: Penalties::default(),
            dry: Dry::default(),
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// Why no token can be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// Each is banned.
    #[error("no token is left to choose from: all of them are banned (--logit-bias)")]
    AllBanned,
    /// What the model says of this token is no number.
    #[error(
        "the logit of token {0} is {1}, expected a finite number; check the model file with `fathom inspect --verify`"
    )]
    NotFinite(u32, &'static str),
}

/// Draws tokens.
///
/// Penalties depend on what came before, so whoever draws says so with [`accept`](Sampler::accept): the prompt first, then
/// every token that is gone on with, whether it was drawn or not, before the next one is drawn.
pub struct Sampler {
    sampling: Sampling,
    random: Random,
    candidates: Candidates,
    adjust: Option<Adjust>,
}

impl Sampler {
    /// A sampler at the start of its random numbers, before any token.
    ///
    /// # Panics
    /// If a bias is for a token that is not in the vocabulary.
    pub fn new(sampling: &Sampling, tokenizer: &Tokenizer) -> Sampler {
        let dry = &sampling.dry;
        let breakers = match dry.changes_something() {
            true => Breakers::new(&dry.breakers, tokenizer),
            false => Breakers::default(),
        };
        Sampler::with(sampling, breakers, tokenizer.n_tokens())
    }

    fn with(sampling: &Sampling, breakers: Breakers, vocab_size: usize) -> Sampler {
        let known = sampling.logit_bias.iter().all(|&(id, _)| (id as usize) < vocab_size);
        assert!(known, "a bias is for a token below {vocab_size}");
        Sampler {
            random: Random::new(sampling.seed),
            candidates: Candidates::new(vocab_size),
            adjust: Adjust::new(sampling, breakers, vocab_size),
            sampling: sampling.clone(),
        }
    }

    /// Tells that the text goes on with this token. Costs nothing where no penalty looks back.
    pub fn accept(&mut self, token: u32) {
        if let Some(adjust) = &mut self.adjust {
            adjust.accept(token);
        }
    }

    /// Draws a token; `logits`: `[vocab_size]`. Minus infinity is a token that cannot come.
    ///
    /// # Errors
    /// If no token can come, or a logit is no number.
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32, NoToken> {
        match self.choose(logits)? {
            Some(best) => Ok(best),
            None => Ok(self.candidates.at(self.random.unit())),
        }
    }

    /// The tokens that [`pick`](Sampler::pick) would draw from, and their probabilities, in no particular order.
    ///
    /// # Errors
    /// As [`pick`](Sampler::pick).
    pub fn distribution(&mut self, logits: &[f32]) -> Result<Vec<(u32, f64)>, NoToken> {
        match self.choose(logits)? {
            Some(best) => Ok(vec![(best, 1.0)]),
            None => Ok(self.candidates.distribution()),
        }
    }

    /// The logits with their biases and nothing else: for what is not left to chance, and still must not be what was banned.
    ///
    /// # Errors
    /// If a logit is no number.
    pub(crate) fn biased<'s>(&'s mut self, logits: &'s [f32]) -> Result<&'s [f32], NoToken> {
        check(logits)?;
        Ok(match &mut self.adjust {
            Some(adjust) => adjust.bias(logits),
            None => logits,
        })
    }

    /// Leaves in `candidates` what may be drawn; or gives the one token, where nothing is left to chance.
    fn choose(&mut self, logits: &[f32]) -> Result<Option<u32>, NoToken> {
        check(logits)?;
        let Sampler { sampling, candidates, adjust, .. } = self;
        let logits = match adjust {
            Some(adjust) => adjust.apply(logits),
            None => logits,
        };
        let best = best_allowed(logits).ok_or(NoToken::AllBanned)?;
        let top = logits[best as usize];
        let is_greedy = sampling.temperature <= 0.0;
        // Only typical sampling may take the best token away. A bias may be infinite.
        if (is_greedy && sampling.typical_p >= 1.0) || !top.is_finite() {
            return Ok(Some(best));
        }
        candidates.fill(logits, top);
        candidates.keep_top_k(sampling.top_k);
        candidates.keep_typical(sampling.typical_p);
        candidates.keep_top_p(sampling.top_p);
        candidates.keep_min_p(sampling.min_p);
        if is_greedy {
            return Ok(Some(candidates.best()));
        }
        candidates.heat(sampling.temperature);
        Ok(None)
    }
}

/// Minus infinity is a token that is masked; all else must be a number.
fn check(logits: &[f32]) -> Result<(), NoToken> {
    let is_bad = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
    // Without an early end the loop is a few instructions for many logits.
    if !logits.iter().fold(false, |any, logit| any | is_bad(logit)) {
        return Ok(());
    }
    let id = logits.iter().position(is_bad).unwrap_or(0);
    Err(NoToken::NotFinite(id as u32, if logits[id].is_nan() { "not a number" } else { "infinite" }))
}

/// Id of the best logit above minus infinity, the first of equals; -0 equals +0.
pub(crate) fn best_allowed(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| id as u32)
}

/// Id of the best logit, the first of equals; -0 equals +0.
///
/// # Panics
/// If there are no logits.
pub fn best(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "a token is drawn from at least one logit");
    let mut best = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests;

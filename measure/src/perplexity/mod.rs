//! How well a model predicts a text, and how far it strays from another model.
//!
//! Conventions are llama.cpp's, so that figures can be laid side by side: the text is cut into chunks of `n_ctx` tokens
//! that do not see each other; in a file that says so, BOS replaces a chunk's first token; the tokens of a chunk's
//! second half are scored, each from the logits of the token before it.
//!
//! ```text
//! nll  = -ln softmax(logits[t])[token t+1]          t = n_ctx/2 .. n_ctx-2
//! PPL  = exp(mean nll) +/- PPL * sqrt((mean nll^2 - (mean nll)^2) / (n - 1))
//! ```

pub mod base;
pub mod divergence;

use fathom_engine::Wanted;
use fathom_engine::probe::NoProbe;
use fathom_engine::session::{Session, SessionError};
use rayon::prelude::*;

/// A text as chunks of equal length; what is left over at the end is not scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    tokens: Vec<u32>,
    n_ctx: usize,
}

/// The text is too short, or chunks are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChunkError {
    /// Nothing would be scored.
    #[error("expected chunks of at least 4 tokens, found {0}; give a larger context (-c)")]
    Short(usize),
    /// Less than one chunk.
    #[error(
        "expected a text of at least {n_ctx} tokens, one chunk, found {n_tokens}; give a longer text or a smaller -c"
    )]
    TooLittle {
        /// Tokens of a chunk.
        n_ctx: usize,
        /// Tokens of the text.
        n_tokens: usize,
    },
}

impl Chunks {
    /// Cuts a text; `bos` replaces each chunk's first token, `most` bounds their number.
    ///
    /// # Errors
    /// Chunks of fewer than 4 tokens, or a text shorter than one.
    pub fn new(
        mut tokens: Vec<u32>,
        n_ctx: usize,
        bos: Option<u32>,
        most: Option<usize>,
    ) -> Result<Chunks, ChunkError> {
        if n_ctx < 4 {
            return Err(ChunkError::Short(n_ctx));
        }
        if let Some(bos) = bos {
            // As llama.cpp does: the text begins with BOS, so the first chunk loses no token of its own.
            tokens.insert(0, bos);
        }
        let n_chunks = (tokens.len() / n_ctx).min(most.unwrap_or(usize::MAX));
        if n_chunks == 0 {
            return Err(ChunkError::TooLittle { n_ctx, n_tokens: tokens.len() });
        }
        tokens.truncate(n_chunks * n_ctx);
        if let Some(bos) = bos {
            tokens.iter_mut().step_by(n_ctx).for_each(|first| *first = bos);
        }
        Ok(Chunks { tokens, n_ctx })
    }

    /// Number of chunks.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.n_ctx
    }

    /// Never: a text has at least one chunk.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of a chunk.
    pub fn n_ctx(&self) -> usize {
        self.n_ctx
    }

    /// Scored tokens of a chunk.
    pub fn n_scored(&self) -> usize {
        self.n_ctx - self.first_row() - 1
    }

    /// All tokens, chunk after chunk.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The first `most` chunks.
    pub fn first(&self, most: usize) -> Chunks {
        let n_tokens = self.len().min(most.max(1)) * self.n_ctx;
        Chunks { tokens: self.tokens[..n_tokens].to_vec(), n_ctx: self.n_ctx }
    }

    /// Chunk `index`, `[n_ctx]`.
    pub fn chunk(&self, index: usize) -> &[u32] {
        &self.tokens[index * self.n_ctx..(index + 1) * self.n_ctx]
    }

    /// The first token whose logits are used.
    fn first_row(&self) -> usize {
        self.n_ctx / 2
    }

    /// Runs chunk `index` in an emptied session and maps every scored row: `f(row, logits, target)`, rows counted from
    /// 0 and given back in order.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn score<R: Send>(
        &self,
        session: &mut Session,
        index: usize,
        f: impl Fn(usize, &[f32], u32) -> R + Sync,
    ) -> Result<Vec<R>, SessionError> {
        let (chunk, first, vocab_size) = (self.chunk(index), self.first_row(), session.vocab_size());
        fathom_engine::threads::ready();
        let mut results = Vec::with_capacity(self.n_scored());
        session.truncate(0);
        session.extend(&chunk[..first], Wanted::Nothing, &mut NoProbe, &mut |_, _| {})?;
        session.extend(
            &chunk[first..self.n_ctx - 1],
            Wanted::All,
            &mut NoProbe,
            &mut |position, logits| {
                // A row of a large vocabulary costs a millisecond of exponentials.
                let rows = logits.par_chunks_exact(vocab_size).enumerate();
                results.par_extend(rows.map(|(row, logits)| {
                    let position = position + row;
                    f(position - first, logits, chunk[position + 1])
                }));
            },
        )?;
        Ok(results)
    }
}

/// `ln sum exp(logits)`.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum::<f64>().ln()
}

/// A figure and its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// One standard error; not a number for a single sample.
    pub error: f64,
}

/// Mean and spread of samples as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Running {
    n: usize,
    sum: f64,
    sum_squares: f64,
}

impl Running {
    /// Takes a sample.
    pub fn add(&mut self, sample: f64) {
        self.n += 1;
        self.sum += sample;
        self.sum_squares += sample * sample;
    }

    /// Samples so far.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The mean and its error.
    pub fn mean(&self) -> Estimate {
        let n = self.n as f64;
        let value = self.sum / n;
        Estimate { value, error: (self.variance().max(0.0) / (n - 1.0)).sqrt() }
    }

    /// `exp` of the mean, when samples are negative log-likelihoods.
    pub fn perplexity(&self) -> Estimate {
        let Estimate { value, error } = self.mean();
        Estimate { value: value.exp(), error: error * value.exp() }
    }

    /// Mean square less squared mean.
    fn variance(&self) -> f64 {
        let mean = self.sum / self.n as f64;
        self.sum_squares / self.n as f64 - mean * mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_whole_chunks() {
        let chunks = Chunks::new((0..25).collect(), 8, None, None).unwrap();
        assert_eq!((chunks.len(), chunks.n_scored()), (3, 3));
        assert_eq!(chunks.chunk(2), [16, 17, 18, 19, 20, 21, 22, 23]);
        assert_eq!(Chunks::new((0..25).collect(), 8, None, Some(2)).unwrap().len(), 2);
        let short = Chunks::new((0..7).collect(), 8, None, None);
        assert_eq!(short, Err(ChunkError::TooLittle { n_ctx: 8, n_tokens: 7 }));
        assert_eq!(Chunks::new((0..7).collect(), 3, None, None), Err(ChunkError::Short(3)));
    }

    #[test]
    fn bos_begins_the_text_and_replaces_the_first_token_of_later_chunks() {
        let chunks = Chunks::new((10..30).collect(), 4, Some(0), None).unwrap();
        assert_eq!((chunks.chunk(0), chunks.chunk(1)), (&[0, 10, 11, 12][..], &[0, 14, 15, 16][..]));
    }

    #[test]
    fn the_estimate_is_the_textbook_one() {
        let mut running = Running::default();
        [1.0, 2.0, 4.0].iter().for_each(|&x| running.add(x));
        let Estimate { value, error } = running.mean();
        // Sample variance 7/3; standard error sqrt(7/3 / 3).
        assert!((value - 7.0 / 3.0).abs() < 1e-12 && (error - (7.0f64 / 9.0).sqrt()).abs() < 1e-12);
        assert!((running.perplexity().value - (7.0f64 / 3.0).exp()).abs() < 1e-12);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((log_sum_exp(&[1000.0, 1000.0]) - (1000.0 + 2f64.ln())).abs() < 1e-9);
        assert!((log_sum_exp(&[-1000.0, -1000.0]) - (-1000.0 + 2f64.ln())).abs() < 1e-9);
    }
}

//! How far the two programs' logits are apart on the same file, tokens and cached rows.

use std::error::Error;
use std::fmt;

use fathom_engine::cache::{CacheTypes, IndexType};
use fathom_engine::probe::NoProbe;
use fathom_engine::{Session, SessionOptions, Wanted};
use fathom_interop::Rows;
use fathom_interop::compare::{Distance, distance};
use fathom_interop::raw::{CacheType, Model, Threads};
use fathom_measure::bench::{Kind, Test};
use fathom_simd::Format;

use crate::rival::{Mode, Rival, Start};

/// One comparison.
#[derive(Clone, Debug)]
pub struct Parity {
    /// Random rows in both caches before.
    pub depth: usize,
    /// Random tokens whose logits were compared.
    pub n_tokens: usize,
    /// llama.cpp's logits are taken for right.
    pub distance: Distance,
}

impl Parity {
    /// Share of the tokens after which both programs' best token is the same.
    pub fn same_best(&self) -> f64 {
        1.0 - self.distance.argmax_differs as f64 / self.n_tokens as f64
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parity { depth, n_tokens, distance } = self;
        write!(
            f,
            "logits of {n_tokens} random tokens at depth {depth}: mean KL {:.2e}, same best token {:.1} %, largest \
             difference {:.1e} of the largest logit",
            distance.mean_kl,
            100.0 * self.same_best(),
            distance.max_rel
        )
    }
}

/// Computes the logits of `tokens` on both sides and compares them.
///
/// # Errors
/// Whatever either program refuses.
pub fn measure(
    start: Start<'_>,
    model: &Model,
    threads: &Threads,
    depth: usize,
    tokens: &[u32],
) -> Result<Parity, Box<dyn Error>> {
    let exact = Start { cache: CacheType::F32, ..start };
    let test = Test { kind: Kind::Prompt, n: tokens.len(), depth };
    let mode = Mode { repack: false, flash_attention: false, n_ubatch: 512 };
    let right = Rival::new(model, threads, exact, test, mode)?.logits(tokens)?;

    let options = SessionOptions {
        n_ctx: depth + tokens.len(),
        cache: CacheTypes { latent: Format::F32, index: IndexType::F32 },
        ..SessionOptions::default()
    };
    let mut session = Session::new(start.engine, options)?;
    session.fill_random(depth, start.seed)?;
    let mut ours = Rows::with_capacity(session.vocab_size(), tokens.len());
    session.extend(tokens, Wanted::All, &mut NoProbe, &mut |_, logits| ours.values.extend(logits))?;
    Ok(Parity { depth, n_tokens: tokens.len(), distance: distance(&right, &ours) })
}

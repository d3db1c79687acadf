//! One conversation's tokens, and what attention remembers of them.

mod fill;
mod kept;

pub use fill::{FILLED, RandomRows};

use crate::cache::KvCache;
use crate::loaded::Model;
use crate::prompt_cache::PromptCache;
use crate::scratch::Buffers;
use crate::session::{SessionError, SessionMemory, SessionOptions};
use fathom_arch::config::Config;
use std::sync::Arc;

/// The tokens seen so far, and what attention remembers of them. A [`Worker`](crate::Worker) goes on with it.
pub struct Timeline {
    model: Arc<Model>,
    options: SessionOptions,
    pub(crate) tokens: Vec<u32>,
    pub(crate) cache: KvCache,
    /// `[hidden_size]` with the MTP layer, which starts from it: the final hidden state at [`Timeline::mtp_last`].
    pub(crate) last_hidden: Vec<f32>,
    /// Position whose hidden state `last_hidden` is.
    pub(crate) mtp_last: Option<usize>,
    kept: Option<PromptCache>,
}

/// Bytes of a timeline.
struct Bytes {
    cache: usize,
    others: usize,
}

/// Everything that takes memory, and the bytes of the first piece that the system did not give.
struct Parts {
    tokens: Vec<u32>,
    cache: KvCache,
    last_hidden: Vec<f32>,
    bytes: Bytes,
    refused: Option<usize>,
}

impl Parts {
    fn new(config: &Config, options: SessionOptions, buffers: fn() -> Buffers) -> Parts {
        let SessionOptions { n_ctx, cache, mtp, .. } = options;
        let n_layers = config.num_hidden_layers + usize::from(mtp);
        let (mut rows, mut make) = (buffers(), buffers());
        let tokens = make.room(n_ctx);
        let cache = KvCache::new(config, cache, n_ctx, n_layers, &mut rows);
        let last_hidden = make.zeros(if mtp { config.hidden_size } else { 0 });
        let bytes = Bytes { cache: rows.n_bytes(), others: make.n_bytes() };
        Parts { tokens, cache, last_hidden, bytes, refused: rows.refused().or(make.refused()) }
    }
}

impl Timeline {
    /// A timeline without tokens; its memory is reserved here and touched as tokens arrive.
    pub(crate) fn new(model: &Arc<Model>, options: SessionOptions) -> Result<Timeline, SessionError> {
        let Parts { tokens, cache, last_hidden, refused, .. } =
            Parts::new(&model.config, options, Buffers::made);
        if let Some(refused) = refused {
            let needed = SessionMemory::estimate(&model.config, options, model.n_threads());
            return Err(SessionError::Memory { needed, refused });
        }
        let model = Arc::clone(model);
        Ok(Timeline { model, options, tokens, cache, last_hidden, mtp_last: None, kept: None })
    }

    /// Bytes of the cache for all `n_ctx` tokens, and of everything else.
    pub(crate) fn estimate(config: &Config, options: SessionOptions) -> (usize, usize) {
        let Bytes { cache, others } = Parts::new(config, options, Buffers::counted).bytes;
        (cache, others)
    }

    /// Whether a worker of this model and these options can go on with it.
    pub(crate) fn is_for(&self, model: &Arc<Model>, options: SessionOptions) -> bool {
        let SessionOptions { n_ctx, mtp, .. } = self.options;
        Arc::ptr_eq(&self.model, model) && n_ctx <= options.n_ctx && mtp == options.mtp
    }

    /// Its tokens; [`FILLED`] where rows are random.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Forgets everything from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        // Rows beyond the length are never read, and are written again before they count.
        self.tokens.truncate(len);
        if let Some(kept) = &mut self.kept {
            kept.truncate(len);
        }
    }

    /// Most tokens it can hold.
    pub fn n_ctx(&self) -> usize {
        self.options.n_ctx
    }

    /// How many of `tokens`, from the first on, it holds already.
    pub fn common_prefix(&self, tokens: &[u32]) -> usize {
        self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }
}

//! A worker and one timeline: what a program needs that has a single conversation.

use crate::cache::{CacheTypes, IndexType};
use crate::counted::counted;
use crate::loaded::Model;
use crate::model::fault::BadValue;
use crate::probe::Probe;
use crate::prompt_cache::PromptCache;
use crate::threads::{Team, ThreadError};
use crate::timeline::Timeline;
use crate::worker::Worker;
use fathom_arch::config::Config;
use fathom_simd::Format;
use std::sync::Arc;

/// How a session is set up.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Most tokens the session can hold.
    pub n_ctx: usize,
    /// Most tokens in one forward call.
    pub batch: usize,
    /// Formats of the cache.
    pub cache: CacheTypes,
    /// Attend to every earlier token, whatever the indexer says.
    pub dense: bool,
    /// Run the MTP layer along with the model.
    pub mtp: bool,
    /// Let the MTP layer alone ignore its indexer, as llama.cpp does.
    pub mtp_dense: bool,
}

impl Default for SessionOptions {
    /// The model's own attention, exact caches, 4096 tokens of context.
    fn default() -> Self {
        let cache = CacheTypes { latent: Format::F32, index: IndexType::F32 };
        SessionOptions { n_ctx: 4096, batch: 512, cache, dense: false, mtp: false, mtp_dense: false }
    }
}

impl SessionOptions {
    /// Most tokens in one forward call, which is never more than the context holds.
    pub(crate) fn batch(&self) -> usize {
        self.batch.clamp(1, self.n_ctx.max(1))
    }
}

/// Which positions' logits are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: fill the cache.
    Nothing,
    /// The last token's.
    Last,
    /// All tokens'.
    All,
    /// The MTP head's, for every token but the session's first.
    AllMtp,
}

/// Why a session could not go on. The session is as it was before the call; [`Session::sync`] says what it leaves.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// An id outside the vocabulary.
    #[error("token {index} of the input: expected an id below {vocab_size}, found {id}")]
    Token {
        /// Place in the input.
        index: usize,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// No room.
    #[error(
        "the context is full: it has room for {}, and {wanted} are needed; start with a larger context",
        counted(*n_ctx, "token")
    )]
    ContextFull {
        /// Room.
        n_ctx: usize,
        /// Tokens that would have been in it.
        wanted: usize,
    },
    /// A number went bad.
    #[error(
        "the {what} is not a number in layer {layer} at position {position}: the model's file is damaged, or its \
         numbers overflow; compare the file's checksum"
    )]
    NotANumber {
        /// Which number.
        what: BadValue,
        /// Where: the number of layers stands for the final norm and the head.
        layer: usize,
        /// At which token.
        position: usize,
    },
    /// Every token is as likely as every other.
    #[error(
        "all logits at position {position} are the same number: the model's file is damaged, perhaps by a download that left holes \
         of zeros; compare the file's checksum"
    )]
    Flat {
        /// Behind which token.
        position: usize,
    },
    /// The system does not give the memory.
    #[error(
        "not enough memory for the session: the cache needs {cache} bytes and scratch space {scratch}; an allocation of {refused} \
         bytes failed; start with a shorter context, a smaller batch or narrower cache types, or raise \
         the limit (ulimit -v)", cache = .needed.cache, scratch = .needed.scratch
    )]
    Memory {
        /// What the session takes.
        needed: SessionMemory,
        /// Bytes of the piece that was refused.
        refused: usize,
    },
    /// The system gives no threads.
    #[error(transparent)]
    Threads(#[from] ThreadError),
    /// The MTP layer was asked for and is not there.
    #[error(
        "the model has no MTP layer: expected the tensors blk.{layer}.nextn.*, found none; quantize with them"
    )]
    NoMtp {
        /// The layer it would be.
        layer: usize,
    },
}

/// Bytes that a session takes for itself; the weights are the mapping's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMemory {
    /// The cache, for all `n_ctx` tokens.
    pub cache: usize,
    /// Everything else.
    pub scratch: usize,
}

impl SessionMemory {
    /// What a session of these options would take, without making it.
    pub fn estimate(config: &Config, options: SessionOptions, n_threads: usize) -> SessionMemory {
        let (cache, others) = Timeline::estimate(config, options);
        SessionMemory { cache, scratch: others + Worker::estimate(config, options, n_threads) }
    }
}

/// A worker of its own for one timeline.
pub struct Session {
    worker: Worker,
    timeline: Timeline,
}

impl Session {
    /// Makes a session; its memory is reserved here and touched as tokens arrive.
    ///
    /// # Errors
    /// If the MTP layer is asked for and missing, or the system gives no threads or no memory.
    pub fn new(model: &Arc<Model>, options: SessionOptions) -> Result<Session, SessionError> {
        let worker = Worker::new(model, options)?;
        let timeline = worker.timeline()?;
        Ok(Session { worker, timeline })
    }

    /// Both, for callers that want to do with one what the other does not know.
    pub fn parts(&mut self) -> (&mut Worker, &mut Timeline) {
        (&mut self.worker, &mut self.timeline)
    }

    /// The threads.
    pub fn team(&mut self) -> &mut Team {
        self.worker.team()
    }

    /// Values in a row of logits.
    pub fn vocab_size(&self) -> usize {
        self.worker.model().config.vocab_size
    }

    /// Tokens in the session; [`crate::timeline::FILLED`] where rows are random.
    pub fn tokens(&self) -> &[u32] {
        self.timeline.tokens()
    }

    /// Forgets everything from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.timeline.truncate(len);
    }

    /// Most tokens the session can hold.
    pub fn n_ctx(&self) -> usize {
        self.timeline.n_ctx()
    }

    /// How many of `tokens`, from the first on, the session holds already.
    pub fn common_prefix(&self, tokens: &[u32]) -> usize {
        self.timeline.common_prefix(tokens)
    }

    /// See [`Worker::sync`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn sync(&mut self, tokens: &[u32]) -> Result<&[f32], SessionError> {
        self.worker.sync(&mut self.timeline, tokens)
    }

    /// See [`Worker::sync_while`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn sync_while(
        &mut self,
        tokens: &[u32],
        go_on: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<&[f32]>, SessionError> {
        self.worker.sync_while(&mut self.timeline, tokens, go_on)
    }

    /// See [`Worker::push`].
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, token: u32) -> Result<&[f32], SessionError> {
        self.worker.push(&mut self.timeline, token)
    }

    /// See [`Worker::extend`].
    ///
    /// # Errors
    /// As there.
    pub fn extend(
        &mut self,
        tokens: &[u32],
        wanted: Wanted,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        self.worker.extend(&mut self.timeline, tokens, wanted, probe, sink)
    }

    /// See [`Worker::extend_while`].
    ///
    /// # Errors
    /// As there.
    pub fn extend_while(
        &mut self,
        tokens: &[u32],
        wanted: Wanted,
        sink: &mut dyn FnMut(usize, &[f32]),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, SessionError> {
        self.worker.extend_while(&mut self.timeline, tokens, wanted, sink, go_on)
    }

    /// See [`Timeline::fill_random`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # Panics
    /// As there.
    pub fn fill_random(&mut self, n_tokens: usize, seed: u64) -> Result<(), SessionError> {
        self.timeline.fill_random(n_tokens, seed)
    }

    /// See [`Timeline::keep_in`].
    pub fn keep_in(&mut self, kept: PromptCache) {
        self.timeline.keep_in(kept);
    }

    /// See [`Timeline::recall`].
    pub fn recall(&mut self, tokens: &[u32]) -> usize {
        self.timeline.recall(tokens)
    }

    /// See [`Timeline::keep_all`].
    pub fn keep_all(&mut self) {
        self.timeline.keep_all();
    }

    /// See [`Timeline::take_notices`].
    pub fn take_notices(&mut self) -> Vec<String> {
        self.timeline.take_notices()
    }

    /// What the session takes.
    pub fn memory(&self) -> SessionMemory {
        let model = self.worker.model();
        SessionMemory::estimate(&model.config, self.worker.options(), model.n_threads())
    }
}

//! One timeline: the tokens seen so far, what attention remembers of them, and the scratch to go on.

mod fill;
mod kept;

pub use fill::{FILLED, RandomRows};

use crate::cache::{CacheTypes, IndexType, KvCache};
use crate::counted::counted;
use crate::loaded::Model;
use crate::model::fault::{BadValue, Fault};
use crate::model::step::Step;
use crate::model::{self, head, mtp};
use crate::probe::{NoProbe, Probe};
use crate::prompt_cache::PromptCache;
use crate::scratch::{Buffers, Local, Scratch};
use fathom_arch::config::Config;
use fathom_simd::Format;
use std::sync::Arc;

/// Rows of logits computed at a time.
const HEAD_ROWS: usize = 16;

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
    fn batch(&self) -> usize {
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
        Parts::new(config, options, n_threads, Buffers::counted).needed
    }
}

/// Everything of a session that takes memory.
struct Parts {
    tokens: Vec<u32>,
    cache: KvCache,
    scratch: Scratch,
    locals: Vec<Local>,
    /// `[HEAD_ROWS, vocab_size]`.
    logits: Vec<f32>,
    needed: SessionMemory,
    /// Bytes of the first piece that the system did not give: the parts are then of no use.
    refused: Option<usize>,
}

impl Parts {
    fn new(config: &Config, options: SessionOptions, n_threads: usize, buffers: fn() -> Buffers) -> Parts {
        let SessionOptions { n_ctx, cache, mtp, .. } = options;
        let batch = options.batch();
        let n_layers = config.num_hidden_layers + usize::from(mtp);
        let (mut rows, mut make) = (buffers(), buffers());
        let tokens = make.room(n_ctx);
        let cache = KvCache::new(config, cache, n_ctx, n_layers, &mut rows);
        let scratch = Scratch::new(config, batch, n_ctx, mtp, &mut make);
        let locals = (0..n_threads).map(|_| Local::new(config, batch, &mut make)).collect();
        let logits = make.zeros(HEAD_ROWS.min(batch) * config.vocab_size);
        let needed = SessionMemory { cache: rows.n_bytes(), scratch: make.n_bytes() };
        let refused = rows.refused().or(make.refused());
        Parts { tokens, cache, scratch, locals, logits, needed, refused }
    }
}

/// One timeline of a model.
pub struct Session {
    model: Arc<Model>,
    options: SessionOptions,
    memory: SessionMemory,
    tokens: Vec<u32>,
    cache: KvCache,
    scratch: Scratch,
    locals: Vec<Local>,
    logits: Vec<f32>,
    /// Position whose hidden state `scratch.mtp.last` holds.
    mtp_last: Option<usize>,
    fault: Fault,
    kept: Option<PromptCache>,
}

impl Session {
    /// Makes a session; its memory is reserved here and touched as tokens arrive.
    ///
    /// # Errors
    /// If the MTP layer is asked for and missing, or the system does not give the memory.
    pub fn new(model: &Arc<Model>, options: SessionOptions) -> Result<Session, SessionError> {
        let config = &model.config;
        if options.mtp && model.weights().mtp.is_none() {
            return Err(SessionError::NoMtp { layer: config.num_hidden_layers });
        }
        let parts = Parts::new(config, options, model.n_threads(), Buffers::made);
        let Parts { tokens, cache, scratch, locals, logits, needed, refused } = parts;
        if let Some(refused) = refused {
            return Err(SessionError::Memory { needed, refused });
        }
        Ok(Session {
            model: Arc::clone(model),
            options: SessionOptions { batch: options.batch(), ..options },
            memory: needed,
            tokens,
            cache,
            scratch,
            locals,
            logits,
            mtp_last: None,
            fault: Fault::new(),
            kept: None,
        })
    }

    /// Values in a row of logits.
    pub fn vocab_size(&self) -> usize {
        self.model.config.vocab_size
    }

    /// Tokens in the session; [`FILLED`] where rows are random.
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

    /// Most tokens the session can hold.
    pub fn n_ctx(&self) -> usize {
        self.options.n_ctx
    }

    /// How many of `tokens`, from the first on, the session holds already.
    pub fn common_prefix(&self, tokens: &[u32]) -> usize {
        self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Brings the session to exactly `tokens`, reusing the prefix it already holds, and gives the last token's
    /// logits, `[vocab_size]`.
    ///
    /// # Errors
    /// See [`SessionError`]. What does not fit leaves the session as it was, a number that went bad leaves the prefix.
    ///
    /// # Panics
    /// If `tokens` is empty: there is nothing to give logits for.
    pub fn sync(&mut self, tokens: &[u32]) -> Result<&[f32], SessionError> {
        let logits = self.sync_while(tokens, &mut |_, _| true)?;
        Ok(logits.expect("nobody stopped it"))
    }

    /// The same, for callers that may want to stop. Before each forward call (at most `batch` tokens) and between its
    /// layers `go_on` hears how many of `tokens` the session holds, and how far the work has come, in tokens too. If it
    /// says no, the session keeps what it holds and there are no logits.
    ///
    /// # Errors
    /// As [`Session::sync`].
    ///
    /// # Panics
    /// As [`Session::sync`].
    pub fn sync_while(
        &mut self,
        tokens: &[u32],
        go_on: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<&[f32]>, SessionError> {
        assert!(!tokens.is_empty(), "a session is brought to at least one token");
        // The last token is computed again if it was there: its logits are not kept.
        let common = self.common_prefix(tokens).min(tokens.len() - 1);
        self.check(common, (tokens, common))?;
        self.truncate(common);
        let n_layers = self.model.config.num_hidden_layers;
        loop {
            let held = self.tokens.len();
            if !go_on(held, held) {
                return Ok(None);
            }
            let end = tokens.len().min(held + self.options.batch);
            let is_last = end == tokens.len();
            let wanted = if is_last { Wanted::Last } else { Wanted::Nothing };
            let mut go_on = |layers: usize| go_on(held, held + (end - held) * layers / n_layers);
            let hooks = Hooks { probe: &mut NoProbe, sink: &mut |_, _| {}, go_on: &mut go_on };
            match self.extend_with(&tokens[held..end], wanted, hooks) {
                Ok(true) if is_last => return Ok(Some(&self.logits[..self.model.config.vocab_size])),
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    self.truncate(common);
                    return Err(error);
                }
            }
        }
    }

    /// Appends one token and gives its logits, `[vocab_size]`.
    ///
    /// # Errors
    /// See [`SessionError`]; the session is then as it was.
    pub fn push(&mut self, token: u32) -> Result<&[f32], SessionError> {
        self.extend(&[token], Wanted::Last, &mut NoProbe, &mut |_, _| {})?;
        Ok(&self.logits[..self.model.config.vocab_size])
    }

    /// Appends tokens. `sink(position, logits)` receives the wanted logits in order, several rows of
    /// `[rows, vocab_size]` at a time; `position` is that of the first row's token.
    ///
    /// # Errors
    /// See [`SessionError`]; the session is then as it was.
    pub fn extend(
        &mut self,
        tokens: &[u32],
        wanted: Wanted,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        self.extend_with(tokens, wanted, Hooks { probe, sink, go_on: &mut |_| true })?;
        Ok(())
    }

    /// As [`Session::extend`], for as long as `go_on` agrees: it is asked between layers. False if it ended the work; the
    /// tokens of the call that it ended are then not held.
    ///
    /// # Errors
    /// See [`SessionError`]; the session is then as it was.
    pub fn extend_while(
        &mut self,
        tokens: &[u32],
        wanted: Wanted,
        sink: &mut dyn FnMut(usize, &[f32]),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, SessionError> {
        self.extend_with(tokens, wanted, Hooks { probe: &mut NoProbe, sink, go_on: &mut |_| go_on() })
    }

    /// The same; false if `hooks.go_on` ended it, and the tokens of the call that it ended are then not held.
    fn extend_with(
        &mut self,
        tokens: &[u32],
        wanted: Wanted,
        mut hooks: Hooks<'_>,
    ) -> Result<bool, SessionError> {
        self.check(self.tokens.len(), (tokens, 0))?;
        let before = self.tokens.len();
        // The MTP layer starts from the hidden state of the token before. A truncation threw it away: that token runs
        // through the main model again. Its own row in the MTP layer's cache is still there.
        if self.options.mtp && before > 0 && self.mtp_last != Some(before - 1) {
            let last = self.tokens[before - 1];
            self.truncate(before - 1);
            let mut none = (NoProbe, |_: usize, _: &[f32]| {}, |_: usize| true);
            let none = Hooks { probe: &mut none.0, sink: &mut none.1, go_on: &mut none.2 };
            if let Err(error) = self.call(&[last], Wanted::Nothing, none) {
                self.tokens.push(last);
                return Err(error);
            }
        }
        let last_call = tokens.len().div_ceil(self.options.batch).saturating_sub(1);
        for (index, chunk) in tokens.chunks(self.options.batch).enumerate() {
            let now = if wanted == Wanted::Last && index < last_call { Wanted::Nothing } else { wanted };
            match self.call(chunk, now, hooks.again()) {
                Ok(true) => self.keep_blocks(),
                Ok(false) => return Ok(false),
                Err(error) => {
                    self.truncate(before);
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    /// Whether the tokens of `input` from `from` on can stand at position `first` and behind it.
    fn check(&self, first: usize, (input, from): (&[u32], usize)) -> Result<(), SessionError> {
        let vocab_size = self.model.config.vocab_size;
        let mut new = input.iter().copied().enumerate().skip(from);
        if let Some((index, id)) = new.find(|&(_, id)| id as usize >= vocab_size) {
            return Err(SessionError::Token { index, id, vocab_size });
        }
        let wanted = first + input.len() - from;
        if wanted > self.options.n_ctx {
            return Err(SessionError::ContextFull { n_ctx: self.options.n_ctx, wanted });
        }
        Ok(())
    }

    /// One forward call: at most `batch` tokens; false if it was ended in the middle.
    fn call(&mut self, tokens: &[u32], wanted: Wanted, hooks: Hooks<'_>) -> Result<bool, SessionError> {
        let (model, Hooks { probe, sink, go_on }) = (&*self.model, hooks);
        let weights = model.weights();
        let mut team = model.team();
        let _home = team.keep_caller();
        self.fault.clear();
        let mut step = Step {
            config: &model.config,
            kernels: model.kernels,
            team: &mut team,
            locals: &mut self.locals,
            rotary: &model.rotary,
            layer: 0,
            first: self.tokens.len(),
            n: tokens.len(),
            dense: self.options.dense,
            fault: &self.fault,
            probe,
            go_on,
        };
        let mut out = Logits { vocab_size: model.config.vocab_size, buffer: &mut self.logits, sink };
        let first_wanted = match wanted {
            // The MTP layer starts from every token's hidden state.
            _ if self.options.mtp => 0,
            Wanted::Nothing => tokens.len(),
            Wanted::Last => tokens.len() - 1,
            Wanted::All | Wanted::AllMtp => 0,
        };
        let given = (tokens, first_wanted);
        if !model::forward(&mut step, weights, given, &mut self.cache, &mut self.scratch) {
            return Ok(false);
        }
        match wanted {
            Wanted::Nothing | Wanted::AllMtp => {}
            Wanted::Last => {
                let last = step.n - 1;
                out.compute(&mut step, weights.head(), &mut self.scratch, last);
            }
            Wanted::All => out.compute(&mut step, weights.head(), &mut self.scratch, 0),
        }
        if let (true, Some(layer)) = (self.options.mtp, &weights.mtp) {
            let rows = self.cache.layers.last_mut().expect("the MTP layer has a cache");
            let has_last = step.first > 0 && self.mtp_last == Some(step.first - 1);
            let n_rows = start_mtp(&step, has_last, &mut self.scratch);
            self.mtp_last = Some(step.first + tokens.len() - 1);
            if n_rows > 0 {
                // Row j is at position j - 1, so that the layer's first row is at 0.
                let skipped = tokens.len() - n_rows;
                step.first = step.first + skipped - 1;
                step.n = n_rows;
                step.dense |= self.options.mtp_dense;
                mtp::forward(&mut step, weights, layer, &tokens[skipped..], rows, &mut self.scratch);
                if wanted == Wanted::AllMtp {
                    let head = layer.shared_head_head.as_ref().unwrap_or(weights.head());
                    out.compute(&mut step, head, &mut self.scratch, 0);
                }
            }
        }
        if let Some((what, layer, position)) = self.fault.first() {
            self.mtp_last = None;
            return Err(match what {
                BadValue::Flat => SessionError::Flat { position },
                what => SessionError::NotANumber { what, layer, position },
            });
        }
        self.tokens.extend_from_slice(tokens);
        Ok(true)
    }

    /// What the session takes.
    pub fn memory(&self) -> SessionMemory {
        self.memory
    }
}

/// Who takes part in forward calls.
struct Hooks<'h> {
    probe: &'h mut dyn Probe,
    /// Receives logits, as in [`Session::extend`].
    sink: &'h mut dyn FnMut(usize, &[f32]),
    /// As in [`Step`].
    go_on: &'h mut dyn FnMut(usize) -> bool,
}

impl Hooks<'_> {
    /// The same for one more call.
    fn again(&mut self) -> Hooks<'_> {
        Hooks { probe: self.probe, sink: self.sink, go_on: self.go_on }
    }
}

/// Lays out what the MTP layer starts from: row `t` gets the hidden state before token `skipped + t`. Gives the
/// number of rows: without the hidden state before the call's first token (`has_last`), that token has none.
fn start_mtp(step: &Step<'_>, has_last: bool, s: &mut Scratch) -> usize {
    let (n, width) = (step.n, step.config.hidden_size);
    let inside = &s.hidden[..(n - 1) * width];
    let start = if has_last {
        s.mtp.hidden[..width].copy_from_slice(&s.mtp.last);
        width
    } else {
        0
    };
    s.mtp.hidden[start..start + inside.len()].copy_from_slice(inside);
    s.mtp.last.copy_from_slice(&s.hidden[(n - 1) * width..n * width]);
    n - 1 + usize::from(has_last)
}

/// Where logits go.
struct Logits<'l> {
    vocab_size: usize,
    buffer: &'l mut [f32],
    sink: &'l mut dyn FnMut(usize, &[f32]),
}

impl Logits<'_> {
    /// Logits of the call's tokens from `t0` on.
    fn compute(
        &mut self,
        step: &mut Step<'_>,
        matrix: &crate::weights::Matrix<'_>,
        scratch: &mut Scratch,
        t0: usize,
    ) {
        let width = step.config.hidden_size;
        let rows_at_once = self.buffer.len() / self.vocab_size;
        let mut t = t0;
        while t < step.n {
            let end = (t + rows_at_once).min(step.n);
            let logits = &mut self.buffer[..(end - t) * self.vocab_size];
            head::logits(step, matrix, &scratch.hidden[t * width..end * width], &mut scratch.q8, t, logits);
            (self.sink)(step.position(t), logits);
            t = end;
        }
    }
}

//! What is one per machine: the threads, and the scratch and logits of the forward call that they are at.

use crate::loaded::Model;
use crate::model::fault::{BadValue, Fault};
use crate::model::step::Step;
use crate::model::{self, head, mtp};
use crate::probe::{NoProbe, Probe};
use crate::scratch::{Buffers, Local, Scratch};
use crate::session::{SessionError, SessionMemory, SessionOptions, Wanted};
use crate::threads::Team;
use crate::timeline::Timeline;
use fathom_arch::config::Config;
use std::sync::Arc;

/// Rows of logits computed at a time.
const HEAD_ROWS: usize = 16;

/// Everything of a worker that takes memory.
struct Parts {
    scratch: Scratch,
    locals: Vec<Local>,
    /// `[HEAD_ROWS, vocab_size]`.
    logits: Vec<f32>,
}

impl Parts {
    fn new(config: &Config, options: SessionOptions, n_threads: usize, make: &mut Buffers) -> Parts {
        let SessionOptions { n_ctx, mtp, .. } = options;
        let batch = options.batch();
        Parts {
            scratch: Scratch::new(config, batch, n_ctx, mtp, make),
            locals: (0..n_threads).map(|_| Local::new(config, batch, make)).collect(),
            logits: make.zeros(HEAD_ROWS.min(batch) * config.vocab_size),
        }
    }
}

/// The threads that compute, with everything that they write to beside what a [`Timeline`] remembers. It works for one
/// timeline at a time; which one is the caller's to say.
pub struct Worker {
    model: Arc<Model>,
    options: SessionOptions,
    team: Team,
    scratch: Scratch,
    locals: Vec<Local>,
    logits: Vec<f32>,
    fault: Fault,
}

impl Worker {
    /// Starts the model's threads, for timelines of these options.
    ///
    /// # Errors
    /// If the MTP layer is asked for and missing, or the system gives no threads or no memory.
    pub fn new(model: &Arc<Model>, options: SessionOptions) -> Result<Worker, SessionError> {
        let config = &model.config;
        if options.mtp && model.weights().mtp.is_none() {
            return Err(SessionError::NoMtp { layer: config.num_hidden_layers });
        }
        let mut make = Buffers::made();
        let Parts { scratch, locals, logits } = Parts::new(config, options, model.n_threads(), &mut make);
        if let Some(refused) = make.refused() {
            let needed = SessionMemory::estimate(config, options, model.n_threads());
            return Err(SessionError::Memory { needed, refused });
        }
        Ok(Worker {
            model: Arc::clone(model),
            options: SessionOptions { batch: options.batch(), ..options },
            team: Team::new(model.seats())?,
            scratch,
            locals,
            logits,
            fault: Fault::new(),
        })
    }

    /// What it takes, in bytes.
    pub(crate) fn estimate(config: &Config, options: SessionOptions, n_threads: usize) -> usize {
        let mut make = Buffers::counted();
        Parts::new(config, options, n_threads, &mut make);
        make.n_bytes()
    }

    /// The model that it computes.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// How its timelines are set up.
    pub fn options(&self) -> SessionOptions {
        self.options
    }

    /// Its threads.
    pub fn team(&mut self) -> &mut Team {
        &mut self.team
    }

    /// A new timeline without tokens.
    ///
    /// # Errors
    /// If the system does not give the memory.
    pub fn timeline(&self) -> Result<Timeline, SessionError> {
        Timeline::new(&self.model, self.options)
    }

    /// Brings a timeline to exactly `tokens`, reusing the prefix it already holds, and gives the last token's
    /// logits, `[vocab_size]`.
    ///
    /// # Errors
    /// See [`SessionError`]. What does not fit leaves the timeline as it was, a number that went bad leaves the prefix.
    ///
    /// # Panics
    /// If `tokens` is empty: there is nothing to give logits for; if the timeline is another model's.
    pub fn sync(&mut self, timeline: &mut Timeline, tokens: &[u32]) -> Result<&[f32], SessionError> {
        let logits = self.sync_while(timeline, tokens, &mut |_, _| true)?;
        Ok(logits.expect("nobody stopped it"))
    }

    /// The same, for callers that may want to stop. Before each forward call (at most `batch` tokens) and between its
    /// layers `go_on` hears how many of `tokens` the timeline holds, and how far the work has come, in tokens too. If it
    /// says no, the timeline keeps what it holds and there are no logits.
    ///
    /// # Errors
    /// As [`Worker::sync`].
    ///
    /// # Panics
    /// As [`Worker::sync`].
    pub fn sync_while(
        &mut self,
        timeline: &mut Timeline,
        tokens: &[u32],
        go_on: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<&[f32]>, SessionError> {
        assert!(!tokens.is_empty(), "a session is brought to at least one token");
        // The last token is computed again if it was there: its logits are not kept.
        let common = timeline.common_prefix(tokens).min(tokens.len() - 1);
        self.check(timeline, common, (tokens, common))?;
        timeline.truncate(common);
        let n_layers = self.model.config.num_hidden_layers;
        loop {
            let held = timeline.tokens.len();
            if !go_on(held, held) {
                return Ok(None);
            }
            let end = tokens.len().min(held + self.options.batch);
            let is_last = end == tokens.len();
            let wanted = if is_last { Wanted::Last } else { Wanted::Nothing };
            let mut go_on = |layers: usize| go_on(held, held + (end - held) * layers / n_layers);
            let hooks = Hooks { probe: &mut NoProbe, sink: &mut |_, _| {}, go_on: &mut go_on };
            match self.extend_with(timeline, &tokens[held..end], wanted, hooks) {
                Ok(true) if is_last => return Ok(Some(&self.logits[..self.model.config.vocab_size])),
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => {
                    timeline.truncate(common);
                    return Err(error);
                }
            }
        }
    }

    /// Appends one token and gives its logits, `[vocab_size]`.
    ///
    /// # Errors
    /// See [`SessionError`]; the timeline is then as it was.
    pub fn push(&mut self, timeline: &mut Timeline, token: u32) -> Result<&[f32], SessionError> {
        self.extend(timeline, &[token], Wanted::Last, &mut NoProbe, &mut |_, _| {})?;
        Ok(&self.logits[..self.model.config.vocab_size])
    }

    /// Appends tokens. `sink(position, logits)` receives the wanted logits in order, several rows of
    /// `[rows, vocab_size]` at a time; `position` is that of the first row's token.
    ///
    /// # Errors
    /// See [`SessionError`]; the timeline is then as it was.
    pub fn extend(
        &mut self,
        timeline: &mut Timeline,
        tokens: &[u32],
        wanted: Wanted,
        probe: &mut dyn Probe,
        sink: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), SessionError> {
        self.extend_with(timeline, tokens, wanted, Hooks { probe, sink, go_on: &mut |_| true })?;
        Ok(())
    }

    /// As [`Worker::extend`], for as long as `go_on` agrees: it is asked between layers. False if it ended the work; the
    /// tokens of the call that it ended are then not held.
    ///
    /// # Errors
    /// See [`SessionError`]; the timeline is then as it was.
    pub fn extend_while(
        &mut self,
        timeline: &mut Timeline,
        tokens: &[u32],
        wanted: Wanted,
        sink: &mut dyn FnMut(usize, &[f32]),
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, SessionError> {
        self.extend_with(
            timeline,
            tokens,
            wanted,
            Hooks { probe: &mut NoProbe, sink, go_on: &mut |_| go_on() },
        )
    }

    /// The same; false if `hooks.go_on` ended it, and the tokens of the call that it ended are then not held.
    fn extend_with(
        &mut self,
        timeline: &mut Timeline,
        tokens: &[u32],
        wanted: Wanted,
        mut hooks: Hooks<'_>,
    ) -> Result<bool, SessionError> {
        self.check(timeline, timeline.tokens.len(), (tokens, 0))?;
        let before = timeline.tokens.len();
        // The MTP layer starts from the hidden state of the token before. A truncation threw it away: that token runs
        // through the main model again. Its own row in the MTP layer's cache is still there.
        if self.options.mtp && before > 0 && timeline.mtp_last != Some(before - 1) {
            let last = timeline.tokens[before - 1];
            timeline.truncate(before - 1);
            let mut none = (NoProbe, |_: usize, _: &[f32]| {}, |_: usize| true);
            let none = Hooks { probe: &mut none.0, sink: &mut none.1, go_on: &mut none.2 };
            if let Err(error) = self.call(timeline, &[last], Wanted::Nothing, none) {
                timeline.tokens.push(last);
                return Err(error);
            }
        }
        let last_call = tokens.len().div_ceil(self.options.batch).saturating_sub(1);
        for (index, chunk) in tokens.chunks(self.options.batch).enumerate() {
            let now = if wanted == Wanted::Last && index < last_call { Wanted::Nothing } else { wanted };
            match self.call(timeline, chunk, now, hooks.again()) {
                Ok(true) => timeline.keep_blocks(),
                Ok(false) => return Ok(false),
                Err(error) => {
                    timeline.truncate(before);
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    /// Whether the tokens of `input` from `from` on can stand at position `first` of a timeline and behind it.
    fn check(
        &self,
        timeline: &Timeline,
        first: usize,
        (input, from): (&[u32], usize),
    ) -> Result<(), SessionError> {
        assert!(
            timeline.is_for(&self.model, self.options),
            "a timeline of another model, or of other options"
        );
        let vocab_size = self.model.config.vocab_size;
        let mut new = input.iter().copied().enumerate().skip(from);
        if let Some((index, id)) = new.find(|&(_, id)| id as usize >= vocab_size) {
            return Err(SessionError::Token { index, id, vocab_size });
        }
        let (n_ctx, wanted) = (timeline.n_ctx(), first + input.len() - from);
        if wanted > n_ctx {
            return Err(SessionError::ContextFull { n_ctx, wanted });
        }
        Ok(())
    }

    /// One forward call: at most `batch` tokens; false if it was ended in the middle.
    fn call(
        &mut self,
        timeline: &mut Timeline,
        tokens: &[u32],
        wanted: Wanted,
        hooks: Hooks<'_>,
    ) -> Result<bool, SessionError> {
        let (model, Hooks { probe, sink, go_on }) = (&*self.model, hooks);
        let weights = model.weights();
        let _home = self.team.keep_caller();
        self.fault.clear();
        let mut step = Step {
            config: &model.config,
            kernels: model.kernels,
            team: &mut self.team,
            locals: &mut self.locals,
            rotary: &model.rotary,
            layer: 0,
            first: timeline.tokens.len(),
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
        if !model::forward(&mut step, weights, given, &mut timeline.cache, &mut self.scratch) {
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
            let rows = timeline.cache.layers.last_mut().expect("the MTP layer has a cache");
            let has_last = step.first > 0 && timeline.mtp_last == Some(step.first - 1);
            let n_rows = start_mtp(&step, has_last, &mut timeline.last_hidden, &mut self.scratch);
            timeline.mtp_last = Some(step.first + tokens.len() - 1);
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
            timeline.mtp_last = None;
            return Err(match what {
                BadValue::Flat => SessionError::Flat { position },
                what => SessionError::NotANumber { what, layer, position },
            });
        }
        timeline.tokens.extend_from_slice(tokens);
        Ok(true)
    }
}

/// Who takes part in forward calls.
struct Hooks<'h> {
    probe: &'h mut dyn Probe,
    /// Receives logits, as in [`Worker::extend`].
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
fn start_mtp(step: &Step<'_>, has_last: bool, last: &mut [f32], s: &mut Scratch) -> usize {
    let (n, width) = (step.n, step.config.hidden_size);
    let inside = &s.hidden[..(n - 1) * width];
    let start = if has_last {
        s.mtp.hidden[..width].copy_from_slice(last);
        width
    } else {
        0
    };
    s.mtp.hidden[start..start + inside.len()].copy_from_slice(inside);
    last.copy_from_slice(&s.hidden[(n - 1) * width..n * width]);
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

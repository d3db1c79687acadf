//! llama.cpp, run the way llama-bench runs it, in each of its modes.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use fathom_engine::timeline::RandomRows;
use fathom_interop::RunError;
use fathom_interop::raw::{CacheType, Context, ContextOptions, Model, Threads};
use fathom_measure::bench::{Kind, Test};
use fathom_simd::Format;

use crate::state::Layout;

/// The settings that change llama.cpp's speed and that a person would try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Weights copied into layouts for the CPU's products.
    pub repack: bool,
    /// One fused kernel for attention.
    pub flash_attention: bool,
    /// Most tokens computed at once.
    pub n_ubatch: u32,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = u8::from;
        let text = format!("fa {} repack {} ub {}", on(self.flash_attention), on(self.repack), self.n_ubatch);
        f.pad(&text)
    }
}

impl Mode {
    /// The modes of a loaded model that can differ in a test: a micro-batch longer than the prompt changes nothing.
    pub fn all(repack: bool, test: Test) -> Vec<Mode> {
        let batches: &[u32] = if test.kind == Kind::Prompt && test.n > 512 { &[512, 2048] } else { &[512] };
        let both = [true, false].into_iter();
        both.flat_map(|flash_attention| {
            batches.iter().map(move |&n_ubatch| Mode { repack, flash_attention, n_ubatch })
        })
        .collect()
    }
}

/// llama.cpp at the depth of a test.
pub struct Rival<'m> {
    context: Context<'m>,
    threads: &'m Threads,
    test: Test,
    /// Tokens that are handed over at a time.
    at_once: usize,
}

/// llama-bench hands a prompt over in pieces of this.
const BATCH: usize = 2048;

/// What both sides start from.
#[derive(Clone, Copy)]
pub struct Start<'s> {
    /// Fathom's engine, which knows what rows look like.
    pub engine: &'s Arc<fathom_engine::Model>,
    /// Seed of the rows, the same on both sides.
    pub seed: u64,
    /// Format of llama.cpp's cache.
    pub cache: CacheType,
}

impl<'m> Rival<'m> {
    /// A context in this mode, filled to the test's depth with the rows that Fathom's session has.
    ///
    /// # Errors
    /// Whatever llama.cpp refuses.
    pub fn new(
        model: &'m Model,
        threads: &'m Threads,
        start: Start<'_>,
        test: Test,
        mode: Mode,
    ) -> Result<Rival<'m>, RunError> {
        let n_ctx = u32::try_from(test.depth + test.n).map_err(|_| RunError::TokenCount(test.depth))?;
        // No larger than needed: without flash attention, a context of 32k tokens reserves 17 MB for each.
        let at_once = match test.kind {
            Kind::Prompt => test.n.min(BATCH),
            Kind::Generation => 1,
        };
        let n_batch = at_once as u32;
        let n_threads = i32::try_from(start.engine.n_threads()).expect("no machine has so many cores");
        let options = ContextOptions {
            n_ctx,
            n_batch,
            n_ubatch: mode.n_ubatch.min(n_batch),
            threads: n_threads,
            cache: start.cache,
            flash_attention: mode.flash_attention,
            mtp: false,
            yarn_betas: None,
        };
        let mut context = Context::new(model, &options)?;
        context.attach(threads);
        let mut rival = Rival { context, threads, test, at_once };
        if test.depth > 0 {
            rival.fill(start)?;
        }
        Ok(rival)
    }

    fn fill(&mut self, start: Start<'_>) -> Result<(), RunError> {
        self.working(|context| context.decode(&[0], 0, true))?;
        let layout = Layout::parse(&self.context.state())
            .map_err(|e| RunError::Decode(format!("its saved cache is not as known: {e}")))?;
        check(&layout, start)?;
        let fathom_engine::Model { kernels, config, .. } = &**start.engine;
        let mut rows = RandomRows::new(start.engine, start.seed);
        let mut latent = vec![0.0; config.latent_dim()];
        let mut key = vec![0.0; config.indexer.map_or(0, |index| index.head_dim)];
        let format = match start.cache {
            CacheType::F32 => Format::F32,
            CacheType::F16 => Format::F16,
        };
        let state = layout.filled(self.test.depth, |cache, layer, position, bytes| {
            let values = if cache == 0 {
                rows.latent(layer, position, &mut latent);
                &latent
            } else {
                rows.index_key(layer, position, &mut key);
                &key
            };
            kernels.encode_cache(format, values, bytes);
        });
        self.context.set_state(&state)
    }

    /// Runs the test once, or its first `n` tokens; gives seconds. The context is at its depth again after.
    ///
    /// # Errors
    /// Whatever llama.cpp refuses.
    pub fn run(&mut self, tokens: &[u32], n: usize) -> Result<f64, RunError> {
        let tokens: Vec<i32> = tokens[..n].iter().map(|&token| token.cast_signed()).collect();
        let depth = self.test.depth;
        let at_once = self.at_once;
        let seconds = self.working(|context| {
            let started = Instant::now();
            for (index, chunk) in tokens.chunks(at_once).enumerate() {
                context.decode(chunk, depth + index * at_once, true)?;
            }
            Ok(started.elapsed().as_secs_f64())
        })?;
        self.context.truncate(depth)?;
        Ok(seconds)
    }

    /// The logits of `tokens` at the context's depth, one row each.
    ///
    /// # Errors
    /// Whatever llama.cpp refuses.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<fathom_interop::Rows, RunError> {
        let ids: Vec<i32> = tokens.iter().map(|&token| token.cast_signed()).collect();
        let depth = self.test.depth;
        self.working(|context| context.decode(&ids, depth, true))?;
        Ok(self.context.logits(ids.len()))
    }

    /// Lets the context work with its threads awake, and asleep otherwise.
    fn working<T>(
        &mut self,
        work: impl FnOnce(&mut Context<'m>) -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        self.threads.resume();
        let done = work(&mut self.context);
        self.threads.pause();
        done
    }
}

/// The rows that llama.cpp caches are those that Fathom knows, in the type that was asked for.
fn check(layout: &Layout, start: Start<'_>) -> Result<(), RunError> {
    let config = &start.engine.config;
    let size = match start.cache {
        CacheType::F32 => 4,
        CacheType::F16 => 2,
    };
    let mut expected = vec![size * config.latent_dim()];
    expected.extend(config.indexer.map(|index| size * index.head_dim));
    let found: Vec<_> = layout.caches.iter().map(|cache| &cache.layers).collect();
    let right = found.len() == expected.len()
        && found.iter().zip(&expected).all(|(layers, row_bytes)| {
            layers.len() == config.num_hidden_layers
                && layers.iter().all(|layer| *layer == (start.cache.ggml_type().cast_signed(), *row_bytes))
        });
    if right {
        return Ok(());
    }
    Err(RunError::Decode(format!(
        "its saved cache has layers of (type, bytes of a row) {found:?}; expected {} layers of {expected:?} bytes",
        config.num_hidden_layers
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_micro_batch_is_tried_where_a_prompt_is_longer_than_the_first() {
        let n_modes = |kind, n| Mode::all(true, Test { kind, n, depth: 0 }).len();
        assert_eq!(n_modes(Kind::Prompt, 512), 2);
        assert_eq!(n_modes(Kind::Prompt, 513), 4);
        assert_eq!(n_modes(Kind::Generation, 2048), 2);
    }
}

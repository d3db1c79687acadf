//! A cache filled with random rows, for measuring at a depth that would take minutes to compute.
//!
//! The rows are of the size and kind that the model itself caches: latents after their norm, rotary keys of the same
//! size, index keys after LayerNorm, RoPE and Hadamard. Independent keys spread the indexer's selection evenly, where
//! real selections cluster.

use super::Timeline;
use crate::cache::{CacheRows, IndexCache, Q8Cache};
use crate::loaded::Model;
use crate::session::SessionError;
use fastrand::Rng;
use fathom_arch::config::LATENT_NORM_EPS;
use fathom_simd::Q8Keys;
use rayon::prelude::*;
use std::ops::Range;

/// Stands for the token of a filled position. No vocabulary has it, so [`Worker::sync`](crate::Worker::sync) never takes a random row for
/// a computed one.
pub const FILLED: u32 = u32::MAX;

/// Makes the rows; a row depends on the seed, its layer and its position alone.
pub struct RandomRows<'e> {
    model: &'e Model,
    seed: u64,
    raw: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl<'e> RandomRows<'e> {
    /// Rows of one seed.
    pub fn new(model: &'e Model, seed: u64) -> RandomRows<'e> {
        let n_pairs = model.rotary.n_pairs();
        RandomRows { model, seed, raw: Vec::new(), cos: vec![0.0; n_pairs], sin: vec![0.0; n_pairs] }
    }

    /// A latent row: `out`, `[kv_lora_rank + qk_rope_head_dim]`.
    pub fn latent(&mut self, layer: usize, position: usize, out: &mut [f32]) {
        let mut random = self.random(layer, position, 0);
        let (latent, key) = out.split_at_mut(self.model.config.kv_lora_rank);
        self.draw(&mut random, latent.len());
        let weight = &self.model.weights().layers[layer].attn.attn_kv_a_norm;
        self.model.kernels.rms_norm(&self.raw, weight, LATENT_NORM_EPS, latent);
        // Turning a vector of independent normal values gives another one, so the angle may be left out.
        key.fill_with(|| normal(&mut random));
    }

    /// An index key: `out`, `[index_head_dim]`.
    ///
    /// # Panics
    /// If the layer has no indexer.
    pub fn index_key(&mut self, layer: usize, position: usize, out: &mut [f32]) {
        let mut random = self.random(layer, position, 1);
        self.draw(&mut random, out.len());
        let Model { kernels, config, rotary, .. } = self.model;
        let indexer =
            self.model.weights().layers[layer].indexer.as_ref().expect("index keys belong to an indexer");
        kernels.layer_norm(&self.raw, &indexer.k_norm, &indexer.k_norm_bias, LATENT_NORM_EPS, out);
        rotary.angles(position, &mut self.cos, &mut self.sin);
        kernels.rope_halves(&mut out[..config.qk_rope_head_dim], &self.cos, &self.sin);
        kernels.hadamard(out);
    }

    fn random(&self, layer: usize, position: usize, kind: u64) -> Rng {
        // The first number of a seed's sequence is well mixed, and seeds the row.
        let place = (layer as u64) << 40 | (position as u64) << 1 | kind;
        Rng::with_seed(Rng::with_seed(self.seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..))
    }

    fn draw(&mut self, random: &mut Rng, n: usize) {
        self.raw.clear();
        self.raw.extend(std::iter::repeat_with(|| normal(random)).take(n));
    }
}

/// Nearly normal, of variance one: the sum of four uniform numbers.
fn normal(random: &mut Rng) -> f32 {
    let bits = random.u64(..);
    let sum: u64 = [0, 16, 32, 48].map(|shift| bits >> shift & 0xffff).iter().sum();
    // Four times the variance of 0..=65535 is 65535 * 65537 / 3.
    ((sum as f64 - 2.0 * 65535.0) / (65535.0 * 65537.0 / 3.0_f64).sqrt()) as f32
}

impl Timeline {
    /// Appends `n_tokens` positions with random rows in every layer. The token of such a position is [`FILLED`].
    ///
    /// # Errors
    /// If the context has no room; the session is then as it was.
    ///
    /// # Panics
    /// If the timeline is for the MTP layer, which goes on from a hidden state that no filled position has.
    pub fn fill_random(&mut self, n_tokens: usize, seed: u64) -> Result<(), SessionError> {
        assert!(!self.options.mtp, "a session with the MTP layer is not filled");
        let (first, n_ctx) = (self.tokens.len(), self.options.n_ctx);
        let wanted = first.saturating_add(n_tokens);
        if wanted > n_ctx {
            return Err(SessionError::ContextFull { n_ctx, wanted });
        }
        crate::threads::ready();
        let model = &*self.model;
        for (layer, cache) in self.cache.layers.iter_mut().enumerate() {
            fill(model, seed, &mut cache.latent, first..wanted, |rows, position, out| {
                rows.latent(layer, position, out);
            });
            match &mut cache.index {
                Some(IndexCache::Floats(keys)) => {
                    fill(model, seed, keys, first..wanted, |rows, position, out| {
                        rows.index_key(layer, position, out);
                    })
                }
                Some(IndexCache::Q8(keys)) => fill_q8(model, seed, keys, first..wanted, layer),
                None => {}
            }
        }
        self.tokens.resize(wanted, FILLED);
        Ok(())
    }
}

fn fill<'e>(
    model: &'e Model,
    seed: u64,
    cache: &mut CacheRows,
    positions: Range<usize>,
    row: impl Fn(&mut RandomRows<'e>, usize, &mut [f32]) + Sync,
) {
    let (format, row_bytes, dim, first) = (cache.format(), cache.row_bytes(), cache.dim(), positions.start);
    let start = || (RandomRows::new(model, seed), vec![0.0; dim]);
    let pieces = cache.bytes_mut(positions).par_chunks_exact_mut(row_bytes).enumerate();
    pieces.for_each_init(start, |(rows, values), (at, bytes)| {
        row(rows, first + at, values);
        model.kernels.encode_cache(format, values, bytes);
    });
}

/// The same for a layer's index keys of 8 bits.
fn fill_q8(model: &Model, seed: u64, cache: &mut Q8Cache, positions: Range<usize>, layer: usize) {
    let (dim, block_bytes) = (cache.dim(), cache.block_bytes());
    let start = || (RandomRows::new(model, seed), vec![0.0; dim]);
    let first_block = positions.start / Q8Keys::PER_BLOCK;
    let blocks = cache.blocks_mut(positions.clone()).par_chunks_exact_mut(block_bytes).enumerate();
    blocks.for_each_init(start, |(rows, key), (index, block)| {
        let first = (first_block + index) * Q8Keys::PER_BLOCK;
        for position in first.max(positions.start)..(first + Q8Keys::PER_BLOCK).min(positions.end) {
            rows.index_key(layer, position, key);
            model.kernels.store_index_key(key, position - first, block);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_mean_zero_and_variance_one() {
        let mut random = Rng::with_seed(1);
        let values: Vec<f64> = (0..100_000).map(|_| f64::from(normal(&mut random))).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}

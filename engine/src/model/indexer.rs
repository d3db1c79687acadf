//! The lightning indexer: which earlier tokens a token attends to.
//!
//! RoPE turns the first `qk_rope_head_dim` values of index queries and keys as half-split pairs, unlike MLA's
//! interleaved ones; short contexts hide a mistake here completely. Keys are cached after a Hadamard rotation, which
//! leaves every dot product as it was and spreads outliers for 8-bit caches.

use super::fault::{BadValue, all_finite};
use super::mla::Angles;
use super::step::{Input, Step};
use crate::cache::{IndexCache, Q8Cache};
use crate::probe::{Point, Values};
use crate::scratch::IndexScratch;
use crate::threads::{Grid, Rows};
use crate::weights::Indexer;
use fathom_arch::config::LATENT_NORM_EPS;
use fathom_simd::{IndexScores, Q8IndexScores, Q8Keys, top_k};

/// Tokens scored together: a tile of keys stays in cache for all of them.
pub const SCORED_TOKENS: usize = 16;

/// Keys of a tile.
const KEY_TILE: usize = 256;
const _: () = assert!(KEY_TILE.is_multiple_of(Q8Keys::PER_BLOCK), "a tile begins a block");

/// What the indexer works from.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// Normed hidden state.
    pub hidden: Input<'a>,
    /// Normed query latent.
    pub q_latent: Input<'a>,
    /// Rotary angles of the call's tokens.
    pub angles: Angles<'a>,
}

/// Computes and caches the call's index keys, and fills `s.selected` (`[n, index_topk]`, ascending) for the tokens
/// that see more than `index_topk` others; the rest attend to everything.
pub fn select(
    step: &mut Step<'_>,
    indexer: &Indexer<'_>,
    inputs: Inputs<'_>,
    cache: &mut IndexCache,
    s: &mut IndexScratch,
) {
    keys(step, indexer, (&inputs.hidden, inputs.angles), cache, s);
    let topk = step.config.index().topk;
    // The first token of the call that sees more than index_topk tokens, itself included.
    let first_sparse = (topk).saturating_sub(step.first).min(step.n);
    if step.dense || first_sparse == step.n {
        return;
    }
    queries(step, indexer, inputs, s);
    if matches!(cache, IndexCache::Q8(_)) {
        queries_to_q8(step, s);
    }
    let mut t = first_sparse;
    while t < step.n {
        let tokens = t..(t + SCORED_TOKENS).min(step.n);
        score(step, cache, s, tokens.clone());
        choose(step, s, tokens.clone());
        t = tokens.end;
    }
}

/// Index keys of the call's tokens, from their normed hidden states and angles: LayerNorm, RoPE, Hadamard, cache.
pub fn keys(
    step: &mut Step<'_>,
    indexer: &Indexer<'_>,
    (hidden, angles): (&Input<'_>, Angles<'_>),
    cache: &mut IndexCache,
    s: &mut IndexScratch,
) {
    let (n, dim, rope_dim) = (step.n, step.config.index().head_dim, step.config.qk_rope_head_dim);
    let (kernels, fault, layer, first) = (step.kernels, step.fault, step.layer, step.first);
    let k = &mut s.k[..n * dim];
    // The products land where the queries will be; each key is normed from there into its place.
    let raw = &mut s.q[..n * dim];
    step.product(&indexer.attn_k, hidden, raw);
    let raw = &*raw;
    step.team.split(step.locals, Rows::new(&mut *k, dim), |_, t, key| {
        let (cos, sin) = angles.of(t);
        kernels.layer_norm(
            &raw[t * dim..(t + 1) * dim],
            &indexer.k_norm,
            &indexer.k_norm_bias,
            LATENT_NORM_EPS,
            key,
        );
        // As in `norm::rms_norm`: one bad value makes all of them bad.
        if !key[0].is_finite() {
            fault.note(BadValue::IndexKey, layer, first + t);
        }
        kernels.rope_halves(&mut key[..rope_dim], cos, sin);
    });
    step.record(Point::IndexKey, Values::F32(k));
    match cache {
        IndexCache::Floats(rows) => {
            let (format, row_bytes, positions) =
                (rows.format(), rows.row_bytes(), step.first..step.first + n);
            let outputs = (Rows::new(k, dim), Rows::new(rows.bytes_mut(positions), row_bytes));
            step.team.split(step.locals, outputs, |_, _, (key, row)| {
                kernels.hadamard(key);
                kernels.encode_cache(format, key, row);
            });
        }
        IndexCache::Q8(blocks) => {
            step.team.split(step.locals, Rows::new(&mut *k, dim), |_, _, key| kernels.hadamard(key));
            store_q8(step, k, blocks);
        }
    }
}

/// Writes the call's keys, `[n, index_head_dim]`, to their blocks; a block belongs to one thread.
fn store_q8(step: &mut Step<'_>, keys: &[f32], cache: &mut Q8Cache) {
    let (kernels, dim, positions) = (step.kernels, cache.dim(), step.first..step.first + step.n);
    let (first_block, block_bytes) = (positions.start / Q8Keys::PER_BLOCK, cache.block_bytes());
    let blocks = Rows::new(cache.blocks_mut(positions.clone()), block_bytes);
    step.team.split(step.locals, blocks, |_, index, block| {
        let first = (first_block + index) * Q8Keys::PER_BLOCK;
        let mine = first.max(positions.start)..(first + Q8Keys::PER_BLOCK).min(positions.end);
        for position in mine {
            let t = position - positions.start;
            kernels.store_index_key(&keys[t * dim..(t + 1) * dim], position - first, block);
        }
    });
}

/// Index queries (RoPE, Hadamard) and the heads' weights, scales of both included in the weights.
fn queries(step: &mut Step<'_>, indexer: &Indexer<'_>, inputs: Inputs<'_>, s: &mut IndexScratch) {
    let index = step.config.index();
    let (n, rope_dim, kernels) = (step.n, step.config.qk_rope_head_dim, step.kernels);
    let (n_heads, dim) = (index.n_heads, index.head_dim);
    let q = &mut s.q[..n * n_heads * dim];
    step.product(&indexer.attn_q_b, &inputs.q_latent, q);
    step.team.split(step.locals, Rows::new(&mut *q, dim), |_, i, head| {
        let (cos, sin) = inputs.angles.of(i / n_heads);
        kernels.rope_halves(&mut head[..rope_dim], cos, sin);
    });
    step.record(Point::IndexQuery, Values::F32(q));
    step.team.split(step.locals, Rows::new(q, dim), |_, _, head| kernels.hadamard(head));

    let weights = &mut s.weights[..n * n_heads];
    step.product(&indexer.proj, &inputs.hidden, weights);
    scale(weights, (n_heads as f32).sqrt().recip());
    step.record(Point::IndexWeights, Values::F32(weights));
    scale(weights, (dim as f32).sqrt().recip());
}

/// Index queries in 8 bits; their scales go into the heads' weights.
fn queries_to_q8(step: &mut Step<'_>, s: &mut IndexScratch) {
    let index = step.config.index();
    let (n, n_heads, dim, kernels) = (step.n, index.n_heads, index.head_dim, step.kernels);
    let padded = dim.next_multiple_of(4);
    let q = &s.q;
    let outputs = (
        Rows::new(&mut s.q8[..n * n_heads * padded], n_heads * padded),
        Rows::new(&mut s.q8_sums[..n * n_heads], n_heads),
        Rows::new(&mut s.weights[..n * n_heads], n_heads),
    );
    step.team.split(step.locals, outputs, |_, t, (values, sums, weights)| {
        let q = q[t * n_heads * dim..(t + 1) * n_heads * dim].chunks_exact(dim);
        let heads = values.chunks_exact_mut(padded).zip(sums).zip(weights);
        for (q, ((values, sum), weight)) in q.zip(heads) {
            let row = kernels.index_query(q, values);
            *sum = row.sum;
            *weight *= row.scale;
        }
    });
}

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Scores of `tokens` against every key each of them sees.
fn score(step: &mut Step<'_>, cache: &IndexCache, s: &mut IndexScratch, tokens: std::ops::Range<usize>) {
    let index = step.config.index();
    let (n_heads, dim, kernels, first) = (index.n_heads, index.head_dim, step.kernels, step.first);
    let padded = dim.next_multiple_of(4);
    let (fault, layer) = (step.fault, step.layer);
    let n_keys = first + tokens.end;
    let (q, q8, sums, weights) = (&s.q, &s.q8, &s.q8_sums, &s.weights);
    let bounds = [0, tokens.len()];
    let grid = Grid::new(&mut s.scores[..tokens.len() * n_keys], n_keys, &bounds, KEY_TILE);
    step.team.split(step.locals, grid, |_, _, mut piece| {
        for (row, t) in tokens.clone().enumerate() {
            let visible = piece.cols.start..piece.cols.end.min(first + t + 1);
            if visible.is_empty() {
                continue;
            }
            let scores = &mut piece.row(row)[..visible.len()];
            let heads = t * n_heads..(t + 1) * n_heads;
            let weights = &weights[heads.clone()];
            match cache {
                IndexCache::Floats(rows) => {
                    let q = &q[heads.start * dim..heads.end * dim];
                    kernels.index_scores(IndexScores { q, weights, keys: rows.rows(visible) }, scores);
                }
                IndexCache::Q8(blocks) => {
                    let q = &q8[heads.start * padded..heads.end * padded];
                    let (sums, keys) = (&sums[heads], blocks.keys(visible));
                    kernels.index_scores_q8(Q8IndexScores { q, sums, weights, keys }, scores);
                }
            }
            // An infinity is in order for the choice, but no score: something overflowed.
            if !all_finite(scores) {
                fault.note(BadValue::IndexScore, layer, first + t);
            }
        }
    });
}

/// The best `index_topk` positions of each of `tokens`.
fn choose(step: &mut Step<'_>, s: &mut IndexScratch, tokens: std::ops::Range<usize>) {
    let topk = step.config.index().topk;
    let (first, layer, fault) = (step.first, step.layer, step.fault);
    let n_keys = first + tokens.end;
    let scores = &s.scores;
    let selected = Rows::new(&mut s.selected[tokens.start * topk..tokens.end * topk], topk);
    step.team.split(step.locals, selected, |_, row, picked| {
        let position = first + tokens.start + row;
        let visible = &scores[row * n_keys..row * n_keys + position + 1];
        if top_k(visible, topk, picked).is_err() {
            fault.note(BadValue::IndexScore, layer, position);
            // Any legal rows: the call's result is thrown away.
            for (at, pick) in picked.iter_mut().enumerate() {
                *pick = at as u32;
            }
        }
    });
    for (row, t) in tokens.enumerate() {
        let position = first + t;
        let visible = &scores[row * n_keys..row * n_keys + position + 1];
        step.record_at(Point::IndexScores, position, Values::F32(visible));
        step.record_at(Point::Selection, position, Values::Ids(&s.selected[t * topk..(t + 1) * topk]));
    }
}

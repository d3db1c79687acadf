//! The lightning indexer: which earlier tokens a token attends to.
//!
//! RoPE turns the first `qk_rope_head_dim` values of index queries and keys as half-split pairs, unlike MLA's
//! interleaved ones; short contexts hide a mistake here completely. Keys are cached after a Hadamard rotation, which
//! leaves every dot product as it was and spreads outliers for 8-bit caches.

use super::fault::BadValue;
use super::mla::Angles;
use super::step::{Input, Step};
use crate::cache::CacheRows;
use crate::config::LATENT_NORM_EPS;
use crate::probe::{Point, Values};
use crate::scratch::IndexScratch;
use crate::threads::{Grid, Rows};
use crate::weights::Indexer;
use fathom_simd::{IndexScores, top_k};

/// Tokens scored together: a tile of keys stays in cache for all of them.
pub const SCORED_TOKENS: usize = 16;

/// Keys of a tile.
const KEY_TILE: usize = 256;

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
    cache: &mut CacheRows,
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
    cache: &mut CacheRows,
    s: &mut IndexScratch,
) {
    let (n, dim, rope_dim) = (step.n, step.config.index().head_dim, step.config.qk_rope_head_dim);
    let kernels = step.kernels;
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
        kernels.rope_halves(&mut key[..rope_dim], cos, sin);
    });
    step.record(Point::IndexKey, Values::F32(k));
    let (format, row_bytes, positions) = (cache.format(), cache.row_bytes(), step.first..step.first + n);
    let outputs = (Rows::new(k, dim), Rows::new(cache.bytes_mut(positions), row_bytes));
    step.team.split(step.locals, outputs, |_, _, (key, row)| {
        kernels.hadamard(key);
        kernels.encode_cache(format, key, row);
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

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// Scores of `tokens` against every key each of them sees.
fn score(step: &mut Step<'_>, cache: &CacheRows, s: &mut IndexScratch, tokens: std::ops::Range<usize>) {
    let index = step.config.index();
    let (n_heads, dim, kernels, first) = (index.n_heads, index.head_dim, step.kernels, step.first);
    let n_keys = first + tokens.end;
    let (q, weights) = (&s.q, &s.weights);
    let bounds = [0, tokens.len()];
    let grid = Grid::new(&mut s.scores[..tokens.len() * n_keys], n_keys, &bounds, KEY_TILE);
    step.team.split(step.locals, grid, |_, _, mut piece| {
        for (row, t) in tokens.clone().enumerate() {
            let visible = piece.cols.start..piece.cols.end.min(first + t + 1);
            if visible.is_empty() {
                continue;
            }
            let scores = IndexScores {
                q: &q[t * n_heads * dim..(t + 1) * n_heads * dim],
                weights: &weights[t * n_heads..(t + 1) * n_heads],
                keys: cache.rows(visible.clone()),
            };
            kernels.index_scores(scores, &mut piece.row(row)[..visible.len()]);
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

//! Multi-head latent attention, absorbed: one cached row (latent and rotary key) is key and value for all heads.
//!
//! `q~_h = W_uk[h]^T q_nope_h` moves the K half of kv_b to the query's side and `o_h = W_uv[h] u_h` the V half behind
//! the sum, so a cached row is read as it is: `score = sigma * (q~_h . c + q_pe_h . kr)`, `u_h = sum_j p_j c_j`.

use super::fault::BadValue;
use super::step::{Input, Q8Buffer, Step, product_tile};
use super::{attend, indexer};
use crate::cache::{CacheRows, LayerCache};
use crate::probe::{Point, Values};
use crate::scratch::{AttnScratch, Scratch};
use crate::threads::{Grid, Rows};
use crate::weights::{Layer, Mla, Stack};
use fathom_arch::config::LATENT_NORM_EPS;
use fathom_simd::{ActKind, Acts, F32Acts, Format, Pick};

/// Rotary angles of the call's tokens, `[n, qk_rope_head_dim / 2]` each.
#[derive(Clone, Copy)]
pub struct Angles<'a> {
    cos: &'a [f32],
    sin: &'a [f32],
    n_pairs: usize,
}

impl<'a> Angles<'a> {
    /// Cosines and sines of token `t`.
    pub fn of(&self, t: usize) -> (&'a [f32], &'a [f32]) {
        let range = t * self.n_pairs..(t + 1) * self.n_pairs;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// The attention half: `scratch.h`, `[n, hidden_size]`, to `scratch.y`.
pub fn attention(step: &mut Step<'_>, layer: &Layer<'_>, cache: &mut LayerCache, scratch: &mut Scratch) {
    let (n, c, attn) = (step.n, step.config, &layer.attn);
    let n_values = n * c.hidden_size;
    let s = &mut scratch.attn;
    let angles = Angles { cos: &scratch.cos, sin: &scratch.sin, n_pairs: step.rotary.n_pairs() };
    let hidden =
        Input::new(step, &scratch.h[..n_values], c.hidden_size, &hidden_formats(layer), &mut scratch.q8);

    let q_latent = &mut s.q_latent[..n * c.q_lora_rank];
    query_latent(step, attn, &hidden, q_latent);
    latent_rows(step, attn, &hidden, angles, &mut s.kv, &mut cache.latent);
    let q_latent = Input::new(step, q_latent, c.q_lora_rank, &q_latent_formats(layer), &mut scratch.q8_inner);
    if let (Some(indexer), Some(keys)) = (&layer.indexer, &mut cache.index) {
        let inputs = indexer::Inputs { hidden, q_latent, angles };
        indexer::select(step, indexer, inputs, keys, &mut scratch.index);
    }
    queries(step, attn, &q_latent, angles, &mut s.q);
    absorb(step, attn, s, &mut scratch.q8_inner);
    attend::attend(step, &cache.latent, &scratch.index.selected, s);
    values(step, attn, s, &mut scratch.q8_inner);

    let width = c.num_attention_heads * c.v_head_dim;
    let formats = [attn.attn_output.format()];
    let heads = Input::new(step, &s.heads_out[..n * width], width, &formats, &mut scratch.q8_inner);
    step.product(&attn.attn_output, &heads, &mut scratch.y[..n_values]);
}

/// What later tokens read of the call's tokens, and nothing else: latent rows and index keys from `scratch.h`,
/// `[n, hidden_size]`, into the cache.
pub fn remember(step: &mut Step<'_>, layer: &Layer<'_>, cache: &mut LayerCache, scratch: &mut Scratch) {
    let (n_values, width) = (step.n * step.config.hidden_size, step.config.hidden_size);
    let angles = Angles { cos: &scratch.cos, sin: &scratch.sin, n_pairs: step.rotary.n_pairs() };
    let formats = hidden_formats(layer);
    let hidden = Input::new(step, &scratch.h[..n_values], width, &formats, &mut scratch.q8);
    latent_rows(step, &layer.attn, &hidden, angles, &mut scratch.attn.kv, &mut cache.latent);
    if let (Some(indexer), Some(keys)) = (&layer.indexer, &mut cache.index) {
        indexer::keys(step, indexer, (&hidden, angles), keys, &mut scratch.index);
    }
}

/// Formats that multiply the normed hidden state.
fn hidden_formats(layer: &Layer<'_>) -> [Format; 4] {
    let (q, kv) = (layer.attn.attn_q_a.format(), layer.attn.attn_kv_a_mqa.format());
    let (k, proj) = layer.indexer.as_ref().map_or((q, kv), |i| (i.attn_k.format(), i.proj.format()));
    [q, kv, k, proj]
}

/// Formats that multiply the query latent.
fn q_latent_formats(layer: &Layer<'_>) -> [Format; 2] {
    let q = layer.attn.attn_q_b.format();
    [q, layer.indexer.as_ref().map_or(q, |i| i.attn_q_b.format())]
}

/// `out = rms_norm(q_a x)`.
fn query_latent(step: &mut Step<'_>, attn: &Mla<'_>, hidden: &Input<'_>, out: &mut [f32]) {
    let (kernels, width) = (step.kernels, step.config.q_lora_rank);
    let (fault, layer, first) = (step.fault, step.layer, step.first);
    step.product(&attn.attn_q_a, hidden, out);
    step.team.split(step.locals, Rows::new(&mut *out, width), |local, t, row| {
        let raw = &mut local.latent[..width];
        raw.copy_from_slice(row);
        kernels.rms_norm(raw, &attn.attn_q_a_norm, LATENT_NORM_EPS, row);
        if !row[0].is_finite() {
            fault.note(BadValue::Latent, layer, first + t);
        }
    });
    step.record(Point::QLatent, Values::F32(out));
}

/// Latent (normed) and shared rotary key of the call's tokens, into the cache.
fn latent_rows(
    step: &mut Step<'_>,
    attn: &Mla<'_>,
    hidden: &Input<'_>,
    angles: Angles<'_>,
    kv: &mut [f32],
    cache: &mut CacheRows,
) {
    let (n, rank, width) = (step.n, step.config.kv_lora_rank, step.config.latent_dim());
    let (kernels, fault, layer, first) = (step.kernels, step.fault, step.layer, step.first);
    let kv = &mut kv[..n * width];
    step.product(&attn.attn_kv_a_mqa, hidden, kv);
    let (format, row_bytes, positions) = (cache.format(), cache.row_bytes(), step.first..step.first + n);
    let outputs = (Rows::new(&mut *kv, width), Rows::new(cache.bytes_mut(positions), row_bytes));
    step.team.split(step.locals, outputs, |local, t, (row, cached)| {
        let (latent, key) = row.split_at_mut(rank);
        let raw = &mut local.latent[..rank];
        raw.copy_from_slice(latent);
        kernels.rms_norm(raw, &attn.attn_kv_a_norm, LATENT_NORM_EPS, latent);
        if !latent[0].is_finite() {
            fault.note(BadValue::Latent, layer, first + t);
        }
        let (cos, sin) = angles.of(t);
        kernels.rope_pairs(key, cos, sin);
        kernels.encode_cache(format, row, cached);
    });
    step.record(Point::KvRow, Values::F32(kv));
}

/// Queries of all heads, the rotary part turned: `q`, `[n, heads, qk_head_dim]`.
fn queries(step: &mut Step<'_>, attn: &Mla<'_>, q_latent: &Input<'_>, angles: Angles<'_>, q: &mut [f32]) {
    let (n, heads, dim) = (step.n, step.config.num_attention_heads, step.config.qk_head_dim());
    let (kernels, nope) = (step.kernels, step.config.qk_nope_head_dim);
    let q = &mut q[..n * heads * dim];
    step.product(&attn.attn_q_b, q_latent, q);
    step.team.split(step.locals, Rows::new(&mut *q, heads * dim), |_, t, row| {
        let (cos, sin) = angles.of(t);
        for head in row.chunks_exact_mut(dim) {
            kernels.rope_pairs(&mut head[nope..], cos, sin);
        }
    });
    step.record(Point::Query, Values::F32(q));
}

/// Activations of one head each, `[n, stride]` with the head's part of `len` values at `head * step`.
struct PerHead<'a> {
    values: &'a [f32],
    /// Values between one token and the next.
    token_stride: usize,
    /// Values between one head and the next.
    head_stride: usize,
    /// Values of one head that are multiplied.
    len: usize,
}

impl PerHead<'_> {
    /// Encodes all heads, head-major, where the format multiplies 8-bit blocks.
    fn encode(&self, step: &mut Step<'_>, format: Format, q8: &mut Q8Buffer) {
        if format.acts() == ActKind::Q8 {
            let (n, heads) = (step.n, step.config.num_attention_heads);
            q8.encode(step, heads * n, self.len, |row| {
                let start = row % n * self.token_stride + row / n * self.head_stride;
                &self.values[start..start + self.len]
            });
        }
    }

    /// The activations of `head` for all `n` tokens, as encoded.
    fn acts<'b>(&'b self, format: Format, q8: &'b Q8Buffer, head: usize, n: usize) -> Acts<'b> {
        match format.acts() {
            ActKind::F32 => Acts::F32(F32Acts {
                values: &self.values[head * self.head_stride..],
                stride: self.token_stride,
            }),
            ActKind::Q8 => Acts::Q8(q8.acts(head * n, n, self.len)),
        }
    }
}

/// Multiplies each head by its matrix of `stack`; head `h` of token `t` lands at
/// `out[t * heads * out_stride + h * out_stride ..]`.
fn per_head_product(
    step: &mut Step<'_>,
    stack: &Stack<'_>,
    input: &PerHead<'_>,
    q8: &mut Q8Buffer,
    out: &mut [f32],
    out_stride: usize,
) {
    let (n, heads, rows) = (step.n, step.config.num_attention_heads, stack.n_rows());
    let format = stack.format();
    input.encode(step, format, q8);
    let (kernels, q8, bounds) = (step.kernels, &*q8, [0, n]);
    let grid = Grid::new(out, heads * out_stride, &bounds, out_stride);
    step.team.split(step.locals, grid, |local, head, mut piece| {
        let (weights, acts) = (stack.rows(head, 0..rows), input.acts(format, q8, head, n));
        if n == 1 {
            kernels.product(weights, acts, Pick::First(1), &mut piece.row(0)[..rows]);
        } else {
            product_tile(kernels, weights, acts, Pick::First(n), &mut local.tile);
            for t in 0..n {
                piece.row(t)[..rows].copy_from_slice(&local.tile[t * rows..(t + 1) * rows]);
            }
        }
    });
}

/// Absorbed queries, `[n, heads, latent_dim]`: `W_uk[h]^T q_nope_h`, then `q_pe_h`.
fn absorb(step: &mut Step<'_>, attn: &Mla<'_>, s: &mut AttnScratch, q8: &mut Q8Buffer) {
    let c = step.config;
    let (n, heads, dim, width) = (step.n, c.num_attention_heads, c.qk_head_dim(), c.latent_dim());
    let (rank, nope) = (c.kv_lora_rank, c.qk_nope_head_dim);
    let absorbed = &mut s.absorbed[..n * heads * width];
    let input = PerHead { values: &s.q, token_stride: heads * dim, head_stride: dim, len: nope };
    per_head_product(step, &attn.attn_k_b, &input, q8, absorbed, width);
    let q = &s.q;
    step.team.split(step.locals, Rows::new(&mut *absorbed, heads * width), |_, t, row| {
        for (head, out) in row.chunks_exact_mut(width).enumerate() {
            let start = (t * heads + head) * dim + nope;
            out[rank..].copy_from_slice(&q[start..start + dim - nope]);
        }
    });
    step.record(Point::AbsorbedQuery, Values::F32(absorbed));
}

/// `o_h = W_uv[h] u_h`: `heads_out`, `[n, heads, v_head_dim]`.
fn values(step: &mut Step<'_>, attn: &Mla<'_>, s: &mut AttnScratch, q8: &mut Q8Buffer) {
    let c = step.config;
    let (n, heads, rank, v_dim) = (step.n, c.num_attention_heads, c.kv_lora_rank, c.v_head_dim);
    let input = PerHead { values: &s.latent_out, token_stride: heads * rank, head_stride: rank, len: rank };
    let out = &mut s.heads_out[..n * heads * v_dim];
    per_head_product(step, &attn.attn_v_b, &input, q8, out, v_dim);
    step.record(Point::AttnHeads, Values::F32(out));
}

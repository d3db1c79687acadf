//! The core of attention: heads times cached rows, shared out over the team.
//!
//! To read a cached row it is decoded and turned round, once for all heads that a thread has at a time. Where there are heads
//! enough for all threads, an item is a token's group of heads with all its rows; where there are not (many threads, few
//! tokens), it is a group of heads with one segment of the rows, and a second step joins the segments. The bits are the same
//! (`fathom_simd::Kernels::attend_segment`).

use super::step::Step;
use crate::cache::CacheRows;
use crate::scratch::AttnScratch;
use crate::threads::Rows;
use fathom_simd::{Attend, Kernels, Pick};
use std::ops::Range;

/// Most heads of an item: their queries and sums stay in a second-level cache.
pub const MOST_HEADS: usize = 64;
/// Items of fewer heads than this spend their time on decoding rows.
const ENOUGH_HEADS: usize = 32;

/// A call's absorbed queries and what they see.
#[derive(Clone, Copy)]
struct Call<'a> {
    kernels: &'static Kernels,
    /// `[n, heads, latent_dim]`
    absorbed: &'a [f32],
    cache: &'a CacheRows,
    /// `[n, index_topk]`
    selected: &'a [u32],
    topk: usize,
    /// Position of the first token.
    first: usize,
    heads: usize,
    scale: f32,
    rank: usize,
}

impl<'a> Call<'a> {
    /// How many rows token `t` attends to.
    fn n_picked(&self, t: usize) -> usize {
        self.topk.min(self.first + t + 1)
    }

    /// Some heads of token `t`.
    fn of(&self, t: usize, heads: Range<usize>) -> Attend<'a> {
        let n_visible = self.first + t + 1;
        let pick = if n_visible > self.topk {
            Pick::Rows(&self.selected[t * self.topk..(t + 1) * self.topk])
        } else {
            Pick::First(n_visible)
        };
        let rows = self.cache.rows(0..n_visible);
        let (width, first) = (rows.n_cols, t * self.heads);
        let q = &self.absorbed[(first + heads.start) * width..(first + heads.end) * width];
        Attend { q, rows, pick, scale: self.scale, v_dim: self.rank }
    }
}

/// Weighted sums of latents, `[n, heads, kv_lora_rank]`, over the selected rows or over all.
pub fn attend(step: &mut Step<'_>, cache: &CacheRows, selected: &[u32], s: &mut AttnScratch) {
    let c = step.config;
    let (n, heads, rank) = (step.n, c.num_attention_heads, c.kv_lora_rank);
    let topk = match c.indexer {
        Some(index) if !step.dense => index.topk,
        _ => usize::MAX,
    };
    let absorbed = &s.absorbed[..n * heads * c.latent_dim()];
    let scale = c.softmax_scale();
    let call = Call {
        kernels: step.kernels,
        absorbed,
        cache,
        selected,
        topk,
        first: step.first,
        heads,
        scale,
        rank,
    };
    let out = &mut s.latent_out[..n * heads * rank];
    let group = head_group(heads, heads * n, step.team.n_threads());
    if group >= ENOUGH_HEADS.min(heads) || Attend::segments_of(call.n_picked(n - 1)) == 1 {
        whole(step, &call, group, out);
    } else {
        for (t, out) in out.chunks_exact_mut(heads * rank).enumerate() {
            in_segments(step, &call, t, &mut s.parts, out);
        }
    }
}

/// All tokens; an item is a group of a token's heads.
fn whole(step: &mut Step<'_>, call: &Call<'_>, group: usize, out: &mut [f32]) {
    let out = Rows::new(out, group * call.rank);
    step.team.split(step.locals, out, |local, index, out| {
        let (t, head) = (index * group / call.heads, index * group % call.heads);
        call.kernels.attend(call.of(t, head..head + group), &mut local.attend, out);
    });
}

/// Token `t`; an item is a group of heads with a segment of the rows.
fn in_segments(step: &mut Step<'_>, call: &Call<'_>, t: usize, parts: &mut [f32], out: &mut [f32]) {
    let (heads, rank, len) = (call.heads, call.rank, Attend::part_len(call.rank));
    let n_segments = Attend::segments_of(call.n_picked(t));
    let group = head_group(heads, heads * n_segments, step.team.n_threads());
    let parts = &mut parts[..n_segments * heads * len];
    step.team.split(step.locals, Rows::new(&mut *parts, group * len), |local, index, part| {
        let (segment, head) = (index * group / heads, index * group % heads);
        call.kernels.attend_segment(call.of(t, head..head + group), segment, &mut local.attend, part);
    });
    let parts = &*parts;
    step.team.split(step.locals, Rows::new(out, rank), |local, head, out| {
        let (first, others) = parts.split_at(heads * len);
        let total = &mut local.attend[..len];
        total.copy_from_slice(&first[head * len..(head + 1) * len]);
        for segment in others.chunks_exact(heads * len) {
            call.kernels.attend_fold(rank, &segment[head * len..(head + 1) * len], total);
        }
        call.kernels.attend_end(rank, total, out);
    });
}

/// Heads that one thread takes at a time of `n` in all: as many as share a row's decoding without leaving threads idle. Bits
/// do not depend on it.
fn head_group(heads: usize, n: usize, n_threads: usize) -> usize {
    let most = if n_threads == 1 { heads } else { n / (2 * n_threads) };
    (1..=most.clamp(1, MOST_HEADS)).rev().find(|group| heads.is_multiple_of(*group)).unwrap_or(1)
}

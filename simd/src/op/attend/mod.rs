//! Attention over picked latent rows: one query token, several heads, each row both key and value.
//!
//! **Definition.** The picked rows are taken in the order of the pick, in segments of max(256, ceil(n / 16) rounded up to
//! 64) rows and these in blocks of 64. For each head, a segment begins with m = -inf, l = 0, acc = 0, and each block does
//!
//! ```text
//! s_j   = scale * dot(q, row_j)           dot: parts of 64 columns, fused in order from 0; then parts added in order to 0
//! m'    = max(m, s_0 .. s_63)
//! c     = exp(m - m')                     p_j = exp(s_j - m')
//! l     = l * c + tree(((p_j + p_(j+16)) + p_(j+32)) + p_(j+48))    (fused)
//! acc_v = acc_v * c, then acc_v = fma(p_j, row_j[v], acc_v) for j in order
//! ```
//!
//! **BF16 rows** are multiplied as machines that have products of BF16 do it: the queries are rounded to BF16 (to nearest even),
//! and so are the weights p_j, before they are summed. Columns come by twos, 1, 0, 3, 2, ..., and so do the rows of a block in
//! acc_v: an odd one is fused before the even one in front of it. Numbers below 2^-126 may count as zero there.
//!
//! What further segments found, (m2, l2, acc2), is added to the first one's in order (`fold`):
//!
//! ```text
//! m'    = max(m2, m)
//! c     = exp(m - m')                     c2 = exp(m2 - m')
//! l     = l * c + l2 * c2                 (l2 * c2 rounded, then fused)
//! acc_v = fma(acc2_v, c2, acc_v * c)
//! ```
//!
//! and the result is acc / l. Fixed segments and blocks in a fixed order: a head's bits depend neither on the other heads
//! of the call nor on how heads and segments are spread over threads. A NaN anywhere in a picked row or query reaches that head's
//! output; so does a head whose scores are all -inf.
//!
//! Error, to first order, u = 2^-24, n rows in B blocks and segments together, D = 64 + ceil(dim / 64), S the largest
//! |scale| * sum |q row[d]| and R the spread of the scores: a score is wrong by (D + 1) u S at most; that, the
//! rounded difference from the maximum and two ulp for each exp make a weight wrong by a relative
//! e = ((D + 1) S + 2 R + 4 (B + 1)) u; weights are positive, so
//! |error of out| <= (2 e + (n + 2 B + 8) u) * max |row[v]|. (An error of m itself cancels.) Measured errors are
//! smaller by one to two orders of magnitude. With BF16 rows a score is wrong by w S more, w = 2^-8 the most that rounding moves a
//! query (to first order, and one more u), and a weight by a relative w more.
//!
//! Why segments: a row is decoded and turned once for all heads that a thread has, so many threads with few heads each
//! would mostly decode; with segments they share the rows too, and 16 parts of a head are little to keep.
//! Why rows in the lanes: 16 rows are turned round once for all heads, and their scores need no tree.
//! Why online and not two passes: a block's decoded rows are used for scores and values while they are in cache.
//! Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.

mod block;
#[cfg_attr(
    any(not(target_arch = "x86_64"), test),
    allow(dead_code, reason = "no other machines' products of BF16 are used yet")
)]
mod pairs;

use crate::format::{BF16, BlockFormat};
use crate::isa::Isa;
use crate::op::exp::exp;
use crate::view::Attend;
pub(crate) use block::to_line;
use block::{BLOCK, L, M};
#[cfg(all(target_arch = "x86_64", not(test)))]
pub(crate) use pairs::{PairDots, segment as pair_segment};
use std::ops::Range;

/// Fewest rows of a segment that is not the last, and most segments.
const SEGMENT: usize = 256;
pub(crate) const MOST_SEGMENTS: usize = 16;

/// Rows of a segment when `n` are picked.
const fn segment_rows(n: usize) -> usize {
    let even = n.div_ceil(MOST_SEGMENTS).next_multiple_of(BLOCK);
    if even > SEGMENT { even } else { SEGMENT }
}

/// Segments when `n` are picked.
pub(crate) const fn n_segments(n: usize) -> usize {
    n.div_ceil(segment_rows(n))
}

/// Floats of scratch for a segment of `n_heads` queries of `dim` elements.
pub(crate) const fn scratch_len(n_heads: usize, dim: usize) -> usize {
    let (floats, pairs) = (block::scratch_len(n_heads, dim), pairs::scratch_len(n_heads, dim));
    if floats > pairs { floats } else { pairs }
}

/// Floats of one head's part of a segment: its values up to a whole chunk, and a chunk with the rest.
pub(crate) const fn part_len(v_dim: usize) -> usize {
    v_dim.next_multiple_of(16) + 16
}

/// What all heads have of one segment: `part`, [n_heads, part_len].
#[inline(always)]
pub(crate) fn attend<F: BlockFormat, I: Isa>(
    isa: I,
    a: Attend<'_>,
    segment: usize,
    scratch: &mut [f32],
    part: &mut [f32],
) {
    block::segment::<F, I, false>(isa, a, places(a, segment), scratch, part);
}

/// The same of BF16 rows.
#[inline(always)]
pub(crate) fn attend_pairs<I: Isa>(
    isa: I,
    a: Attend<'_>,
    segment: usize,
    scratch: &mut [f32],
    part: &mut [f32],
) {
    isa.attend_pairs(a, places(a, segment), scratch, part);
}

/// A segment of BF16 rows on machines that have no products of BF16.
#[inline(always)]
pub(crate) fn float_pairs<I: Isa>(
    isa: I,
    a: Attend<'_>,
    places: Range<usize>,
    scratch: &mut [f32],
    part: &mut [f32],
) {
    block::segment::<BF16, I, true>(isa, a, places, scratch, part);
}

/// Which places of the pick are a segment.
fn places(a: Attend<'_>, segment: usize) -> Range<usize> {
    let (n, rows) = (a.pick.len(), segment_rows(a.pick.len()));
    segment * rows..n.min((segment + 1) * rows)
}

/// Adds the next segment's parts, of some heads, to what there is of these heads.
#[inline(always)]
pub(crate) fn attend_fold<I: Isa>(isa: I, v_dim: usize, part: &[f32], total: &mut [f32]) {
    let n = part_len(v_dim) / 16;
    let (parts, totals) = (part.as_chunks::<16>().0, total.as_chunks_mut::<16>().0);
    for (part, total) in parts.chunks_exact(n).zip(totals.chunks_exact_mut(n)) {
        let (state, values) = part.split_last().expect("a part has a last chunk");
        let (total_state, total) = total.split_last_mut().expect("a part has a last chunk");
        let m = if state[M] > total_state[M] { state[M] } else { total_state[M] };
        let mut factors = [0.0; 16];
        (factors[0], factors[1]) = (total_state[M] - m, state[M] - m);
        isa.store(exp(isa, isa.load(&factors)), &mut factors);
        let [keep, take] = [factors[0], factors[1]];
        total_state[M] = m;
        total_state[L] = total_state[L].mul_add(keep, state[L] * take);
        let (keep, take) = (isa.splat(keep), isa.splat(take));
        for (value, total) in values.iter().zip(total) {
            isa.store(isa.fma(isa.load(value), take, isa.mul(isa.load(total), keep)), total);
        }
    }
}

/// `acc / l` of some heads, [n_heads, v_dim].
#[inline(always)]
pub(crate) fn attend_end<I: Isa>(isa: I, v_dim: usize, total: &[f32], out: &mut [f32]) {
    let n = part_len(v_dim) / 16;
    for (total, out) in total.as_chunks::<16>().0.chunks_exact(n).zip(out.chunks_exact_mut(v_dim)) {
        let (state, values) = total.split_last().expect("a part has a last chunk");
        let l = isa.splat(state[L]);
        for (value, out) in values.iter().zip(out.chunks_mut(16)) {
            let v = isa.div(isa.load(value), l);
            match out.first_chunk_mut() {
                Some(out) => isa.store(v, out),
                None => isa.store_part(v, out),
            }
        }
    }
}

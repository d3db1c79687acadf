//! The lightning indexer's scores from 8-bit keys.
//!
//! A row of floats becomes integers in -127..=127 with one scale: scale = amax / 127, q = x * (127 / amax) rounded to
//! nearest even. A value is off by at most amax / 254 (and three roundings). One whose amax is below 2^-120 is zero; one
//! with an infinity or NaN gets scale NaN, so that the fault reaches the scores, where it is reported.
//!
//! **Definition.** For each key, with s its scale: `dot[h]` is the exact integer sum of q[h] * key, at most
//! 127 * 127 * dim, exact in f32 up to 1040 elements; `score = fma(weight[h], max(dot[h] as f32, 0), score)` in ascending
//! heads from 0, and at last `score * s`. A scale is not negative, so that it may stand before the ReLU's bracket. Same
//! bits on every level.
//!
//! Error against exact arithmetic on the same integers, u = 2^-24: at most
//! (n_heads + 1) u / (1 - (n_heads + 1) u) * s * sum_h |w_h| max(dot_h, 0).
//!
//! **Layout.** Keys lie in blocks of 16, four bytes of each key after four bytes of the next, then 16 scales: what a
//! dot product of bytes reads, with nothing to turn round. 132 bytes a key of 128, where halves take 256.
//!
//! With independent normal keys and queries, the hardest case, 99.2 % of 2048 selected keys of 32768 are those of exact
//! scores; keys of 7 bits, which would save AVX2 the signs, give 98.6 %, E4M3 (DeepSeek's own) 96.9 %.

use crate::isa::Isa;
use crate::view::{Q8IndexScores, Q8Keys, Q8Row};

/// Keys in a block: one a lane.
pub(crate) const BLOCK_KEYS: usize = 16;

/// Below this a row counts as zero: 127 / amax must stay finite.
const SMALLEST_AMAX: f32 = f32::from_bits((127 - 120) << 23);

/// (scale, inverse) of a row; the inverse is zero where all integers are to be.
#[inline(always)]
fn scales<I: Isa>(isa: I, x: &[f32]) -> (f32, f32) {
    let mut most = isa.splat_i32(0);
    for x in x.chunks(16) {
        // As integers magnitudes are in the order of the floats, with infinity and then the NaNs on top.
        let bits = isa.and(isa.bits(isa.load_part(x)), isa.splat_i32(0x7fff_ffff));
        most = isa.max_i32(most, bits);
    }
    let amax = f32::from_bits(isa.max_lane_i32(most).cast_unsigned());
    if amax < SMALLEST_AMAX {
        (0.0, 0.0)
    } else if amax < f32::INFINITY {
        (amax / 127.0, 127.0 / amax)
    } else {
        (f32::NAN, 0.0)
    }
}

/// Up to 16 values as integers, zeros behind them.
#[inline(always)]
fn integers<I: Isa>(isa: I, x: &[f32], inverse: f32) -> I::I32 {
    if inverse == 0.0 {
        // Not a product: there may be infinities.
        return isa.splat_i32(0);
    }
    isa.round(isa.mul(isa.load_part(x), isa.splat(inverse)))
}

/// A query: integers, zeros behind the last up to a multiple of four, and what goes with them.
#[inline(always)]
pub(crate) fn index_query<I: Isa>(isa: I, x: &[f32], values: &mut [i8], row: &mut Q8Row) {
    let (scale, inverse) = scales(isa, x);
    *row = Q8Row { scale, sum: 0 };
    for (x, values) in x.chunks(16).zip(values.chunks_mut(16)) {
        let q = integers(isa, x, inverse);
        row.sum += isa.sum_i32(q);
        let mut bytes = [0; 16];
        isa.store_i8(q, &mut bytes);
        values.copy_from_slice(&bytes[..values.len()]);
    }
}

/// Writes a key into its lane of a block.
#[inline(always)]
pub(crate) fn store_index_key<I: Isa>(isa: I, x: &[f32], lane: usize, block: &mut [u8]) {
    let (scale, inverse) = scales(isa, x);
    let (fours, scales) = block.split_at_mut(Q8Keys::block_bytes(x.len()) - 4 * BLOCK_KEYS);
    for (x, fours) in x.chunks(16).zip(fours.chunks_mut(16 * BLOCK_KEYS)) {
        let mut bytes = [0; 16];
        isa.store_i8(integers(isa, x, inverse), &mut bytes);
        for (four, out) in bytes.as_chunks::<4>().0.iter().zip(fours.as_chunks_mut::<64>().0) {
            out[4 * lane..][..4].copy_from_slice(&four.map(i8::cast_unsigned));
        }
    }
    scales[4 * lane..][..4].copy_from_slice(&scale.to_le_bytes());
}

/// `scores[j] = scale[j] * sum_h weights[h] * max(q[h] . keys[j], 0)`.
#[inline(always)]
pub(crate) fn index_scores_q8<I: Isa>(isa: I, s: Q8IndexScores<'_>, scores: &mut [f32]) {
    if I::WIDE {
        scan::<I, 16>(isa, s, scores);
    } else {
        scan::<I, 4>(isa, s, scores);
    }
}

/// `H` heads under way at once.
#[inline(always)]
fn scan<I: Isa, const H: usize>(isa: I, s: Q8IndexScores<'_>, scores: &mut [f32]) {
    let n_heads = s.weights.len();
    let blocks = s.keys.bytes.chunks_exact(Q8Keys::block_bytes(s.keys.dim));
    for (block, out) in blocks.zip(scores.chunks_mut(BLOCK_KEYS)) {
        let (fours, scales) = block.as_chunks::<64>().0.split_at(s.keys.dim.div_ceil(4));
        let mut total = isa.zero();
        let mut head = 0;
        while head + H <= n_heads {
            total = heads::<I, H>(isa, &s, head, fours, total);
            head += H;
        }
        while head < n_heads {
            total = heads::<I, 1>(isa, &s, head, fours, total);
            head += 1;
        }
        let total = isa.mul(total, isa.load_bytes(&scales[0]));
        match out.first_chunk_mut() {
            Some(out) => isa.store(total, out),
            None => isa.store_part(total, out),
        }
    }
}

/// Adds what `H` heads from `head` on give to the scores of one block.
#[inline(always)]
fn heads<I: Isa, const H: usize>(
    isa: I,
    s: &Q8IndexScores<'_>,
    head: usize,
    block: &[[u8; 64]],
    mut total: I::F32,
) -> I::F32 {
    let mut q: [&[[i8; 4]]; H] = [&[]; H];
    let mut dots = [isa.splat_i32(0); H];
    for h in 0..H {
        q[h] = &s.q.as_chunks::<4>().0[(head + h) * block.len()..][..block.len()];
        dots[h] = isa.begin_signed(s.sums[head + h]);
    }
    for (k, keys) in block.iter().enumerate() {
        let keys = isa.load_signed(keys);
        for h in 0..H {
            let four = isa.splat_i32(i32::from_le_bytes(q[h][k].map(i8::cast_unsigned)));
            dots[h] = isa.dot_signed(dots[h], keys, four);
        }
    }
    for (h, dot) in dots.into_iter().enumerate() {
        // max gives back its second operand for a NaN; an integer is none.
        let dot = isa.max(isa.zero(), isa.to_f32(dot));
        total = isa.fma(isa.splat(s.weights[head + h]), dot, total);
    }
    total
}

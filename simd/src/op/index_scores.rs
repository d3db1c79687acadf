//! The lightning indexer's scores.
//!
//! **Definition.** For each key: `dot = fma(q[d], k[d], dot)` for each head in ascending d from 0, then
//! `score = fma(weight[h], max(dot, 0), score)` in ascending heads from 0. Lane = key, so nothing is summed across
//! lanes and a key's score does not depend on which other keys the call covers.
//!
//! Error against exact arithmetic, u = 2^-24: |error| <= (dim + n_heads) u / (1 - (dim + n_heads) u) *
//! sum_h |w_h| sum_d |q k| (ReLU is 1-Lipschitz, so a dot's error passes undiminished at most).
//!
//! Keys are decoded and turned round once for all heads, 16 or 32 at a time. Rejected: 16-lane dots along d; at
//! dim 128 the reductions cost as much as a third of the products.
//!
//! Source: DeepSeek-V3.2-Exp, inference/model.py, `Indexer.forward`.

use crate::format::BlockFormat;
use crate::isa::{Aligned, Isa};
use crate::view::IndexScores;

/// Elements of a key that are turned round at a time; 128 is the model's whole key.
const DEPTH: usize = 128;

/// `G` groups of 16 keys, turned round: `[group][d][key]`.
type Keys<const G: usize> = [[[f32; 16]; DEPTH]; G];

/// `scores[j] = sum_h weights[h] * max(q[h] . keys[j], 0)`.
#[inline(always)]
pub(crate) fn index_scores<F: BlockFormat, I: Isa>(isa: I, s: IndexScores<'_>, scores: &mut [f32]) {
    if I::WIDE {
        scan::<F, I, 2, 8>(isa, s, scores);
    } else {
        scan::<F, I, 1, 4>(isa, s, scores);
    }
}

/// `G` groups of keys and `H` heads under way at once.
#[inline(always)]
fn scan<F: BlockFormat, I: Isa, const G: usize, const H: usize>(
    isa: I,
    s: IndexScores<'_>,
    scores: &mut [f32],
) {
    let n_heads = s.weights.len();
    let mut keys: Aligned<Keys<G>> = Aligned([[[0.0; 16]; DEPTH]; G]);
    let keys = &mut keys.0;
    for (at, out) in scores.chunks_mut(16 * G).enumerate() {
        let first = at * 16 * G;
        if s.keys.n_cols <= DEPTH {
            turn::<F, I, G>(isa, &s, first, 0, keys);
        }
        let mut totals = [isa.zero(); G];
        let mut head = 0;
        while head + H <= n_heads {
            heads::<F, I, G, H>(isa, &s, (first, head), keys, &mut totals);
            head += H;
        }
        while head < n_heads {
            heads::<F, I, G, 1>(isa, &s, (first, head), keys, &mut totals);
            head += 1;
        }
        for (total, out) in totals.into_iter().zip(out.chunks_mut(16)) {
            match out.first_chunk_mut() {
                Some(out) => isa.store(total, out),
                None => isa.store_part(total, out),
            }
        }
    }
}

/// Decodes the keys from `first` on, elements from `start` on, and turns them round. What lies beyond the last key
/// or the last element is left as it is; it is computed with and thrown away, or never read.
#[inline(always)]
fn turn<F: BlockFormat, I: Isa, const G: usize>(
    isa: I,
    s: &IndexScores<'_>,
    first: usize,
    start: usize,
    keys: &mut Keys<G>,
) {
    let dim = s.keys.n_cols;
    let depth = DEPTH.min(dim - start);
    let row_bytes = dim / F::LEN * F::BYTES;
    let (from, to) = (start / F::LEN * F::BYTES, (start + depth) / F::LEN * F::BYTES);
    let mut decoded = Aligned([[[0.0; 16]; DEPTH / 16]; 16]);
    let decoded = &mut decoded.0;
    for (group, keys) in keys.iter_mut().enumerate() {
        let first = first + group * 16;
        for (key, decoded) in (first..s.keys.n_rows).zip(decoded.iter_mut()) {
            let row = &s.keys.bytes[key * row_bytes..][..row_bytes];
            F::decode_row(isa, &row[from..to], decoded.as_flattened_mut());
        }
        for (chunk, keys) in keys.chunks_exact_mut(16).enumerate().take(depth.div_ceil(16)) {
            let mut square = [isa.zero(); 16];
            for (vector, decoded) in square.iter_mut().zip(decoded.iter()) {
                *vector = isa.load(&decoded[chunk]);
            }
            for (vector, key) in isa.transpose(&square).into_iter().zip(keys) {
                isa.store(vector, key);
            }
        }
    }
}

/// Adds what `H` heads from `place.1` on give to the scores of the keys from `place.0` on.
#[inline(always)]
fn heads<F: BlockFormat, I: Isa, const G: usize, const H: usize>(
    isa: I,
    s: &IndexScores<'_>,
    place: (usize, usize),
    keys: &mut Keys<G>,
    totals: &mut [I::F32; G],
) {
    let (dim, (first, head)) = (s.keys.n_cols, place);
    let mut dots = [[isa.zero(); H]; G];
    for start in (0..dim).step_by(DEPTH) {
        // A key longer than the buffer is decoded again for every few heads: right, not fast.
        if dim > DEPTH {
            turn::<F, I, G>(isa, s, first, start, keys);
        }
        let depth = DEPTH.min(dim - start);
        let mut q: [&[f32]; H] = [&[]; H];
        for (h, q) in q.iter_mut().enumerate() {
            *q = &s.q[(head + h) * dim + start..][..depth];
        }
        for d in 0..depth {
            let mut column = [isa.zero(); G];
            for g in 0..G {
                column[g] = isa.load(&keys[g][d]);
            }
            for h in 0..H {
                let q = isa.splat(q[h][d]);
                for g in 0..G {
                    dots[g][h] = isa.fma(q, column[g], dots[g][h]);
                }
            }
        }
    }
    for (total, dots) in totals.iter_mut().zip(&dots) {
        for (dot, weight) in dots.iter().zip(&s.weights[head..]) {
            // max gives back its second operand for a NaN: the dot must stand second, or a NaN would be lost.
            *total = isa.fma(isa.splat(*weight), isa.max(isa.zero(), *dot), *total);
        }
    }
}

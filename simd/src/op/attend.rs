//! Attention over picked latent rows: one query token, several heads, each row both key and value.
//!
//! **Definition.** The picked rows are taken in the order of the pick, in blocks of 64. For each head, from m = -inf,
//! l = 0, acc = 0, each block does
//!
//! ```text
//! s_j   = scale * dot(q, row_j)           dot: parts of 64 columns, fused in order from 0; then parts added in order to 0
//! m'    = max(m, s_0 .. s_63)
//! c     = exp(m - m')                     p_j = exp(s_j - m')
//! l     = l * c + tree(((p_j + p_(j+16)) + p_(j+32)) + p_(j+48))    (fused)
//! acc_v = acc_v * c, then acc_v = fma(p_j, row_j[v], acc_v) for j in order
//! ```
//!
//! and the result is acc / l. Fixed blocks in a fixed order: a head's bits depend neither on the other heads of the
//! call nor on how heads are spread over threads. A NaN anywhere in a picked row or query reaches that head's
//! output; so does a head whose scores are all -inf.
//!
//! Error, to first order, u = 2^-24, n rows in B blocks, D = 64 + ceil(dim / 64), S the largest
//! |scale| * sum |q row[d]| and R the spread of the scores: a score is wrong by (D + 1) u S at most; that, the
//! rounded difference from the maximum and two ulp for each exp make a weight wrong by a relative
//! e = ((D + 1) S + 2 R + 4 (B + 1)) u; weights are positive, so
//! |error of out| <= (2 e + (n + 2 B + 8) u) * max |row[v]|. (An error of m itself cancels.) Measured errors are
//! smaller by one to two orders of magnitude.
//!
//! Why rows in the lanes: 16 rows are turned round once for all heads, and their scores need no tree.
//! Why online and not two passes: a block's decoded rows are used for scores and values while they are in cache.
//! Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.

use super::exp::exp;
use crate::format::BlockFormat;
use crate::isa::{Aligned, Isa};
use crate::view::Attend;
use std::ops::Range;

/// Picked rows in a block.
const BLOCK: usize = 64;
/// Columns of a part of a score. 32 rows of it, turned round, are 8 KiB, and 64 queries 16 KiB: both stay in the first-level
/// cache.
const PART: usize = 64;
/// A part of 32 rows: 16 in the lanes, twice.
type Keys = [[[f32; 16]; PART]; 2];
/// Heads and chunks of values under way at once.
const TILE: usize = 4;

/// Floats of scratch for `n_heads` queries of `dim` elements.
pub(crate) const fn scratch_len(n_heads: usize, dim: usize) -> usize {
    let chunks = dim.div_ceil(16);
    LINE + BLOCK * chunks * 16 + n_heads * (chunks * 16 + BLOCK + 3)
}

/// Floats in a cache line: the cut begins at one, so that no vector lies across two.
const LINE: usize = 16;

/// The scratch, cut: everything padded to whole chunks of 16 so that no inner loop has a tail.
struct Scratch<'s> {
    /// The block's rows, decoded: [BLOCK][chunks].
    rows: &'s mut [[f32; 16]],
    /// The running values: [n_heads][v_chunks].
    acc: &'s mut [[f32; 16]],
    /// The block's scores, then its weights.
    p: &'s mut [[f32; BLOCK]],
    /// Running maximum, running sum, correction of this block; one each per head.
    m: &'s mut [f32],
    l: &'s mut [f32],
    c: &'s mut [f32],
    chunks: usize,
    v_chunks: usize,
}

impl<'s> Scratch<'s> {
    #[inline(always)]
    fn cut(scratch: &'s mut [f32], n_heads: usize, dim: usize, v_dim: usize) -> Self {
        let (chunks, v_chunks) = (dim.div_ceil(16), v_dim.div_ceil(16));
        // `align_offset` may give up (usize::MAX): then unaligned it is.
        let skip = scratch.as_ptr().align_offset(4 * LINE).min(LINE);
        let (rows, rest) = scratch[skip..].split_at_mut(BLOCK * chunks * 16);
        let (acc, rest) = rest.split_at_mut(n_heads * v_chunks * 16);
        let (p, rest) = rest.split_at_mut(n_heads * BLOCK);
        let (m, rest) = rest.split_at_mut(n_heads);
        let (l, rest) = rest.split_at_mut(n_heads);
        let (rows, acc) = (rows.as_chunks_mut().0, acc.as_chunks_mut().0);
        let p = p.as_chunks_mut().0;
        Self { rows, acc, p, m, l, c: &mut rest[..n_heads], chunks, v_chunks }
    }
}

/// `out[h] = sum_j softmax_j(scale * q[h] . row[j]) * row[j][..v_dim]` over the picked rows.
#[inline(always)]
pub(crate) fn attend<F: BlockFormat, I: Isa>(isa: I, a: Attend<'_>, scratch: &mut [f32], out: &mut [f32]) {
    let dim = a.rows.n_cols;
    let n_heads = a.q.len() / dim;
    let s = &mut Scratch::cut(scratch, n_heads, dim, a.v_dim);
    s.acc.fill([0.0; 16]);
    s.m.fill(f32::NEG_INFINITY);
    s.l.fill(0.0);
    let row_bytes = dim / F::LEN * F::BYTES;
    let ahead = Ahead { a, row_bytes };
    for first in (0..a.pick.len()).step_by(BLOCK) {
        let n = BLOCK.min(a.pick.len() - first);
        for (at, decoded) in s.rows.chunks_exact_mut(s.chunks).enumerate() {
            if at < n {
                let row = &a.rows.bytes[a.pick.get(first + at) * row_bytes..][..row_bytes];
                F::decode_row(isa, row, decoded.as_flattened_mut());
            } else {
                decoded.fill([0.0; 16]); // scored with the last rows, then masked
            }
        }
        score(isa, s, &a, n);
        for head in 0..n_heads {
            merge(isa, s, head, a.scale, n);
        }
        accumulate(isa, s, (ahead, first + n), n);
    }
    for ((acc, l), out) in s.acc.chunks_exact(s.v_chunks).zip(&*s.l).zip(out.chunks_exact_mut(a.v_dim)) {
        let l = isa.splat(*l);
        for (acc, out) in acc.iter().zip(out.chunks_mut(16)) {
            let v = isa.div(isa.load(acc), l);
            match out.first_chunk_mut() {
                Some(out) => isa.store(v, out),
                None => isa.store_part(v, out),
            }
        }
    }
}

/// The products of all heads with the block's `n` rows.
#[inline(always)]
fn score<I: Isa>(isa: I, s: &mut Scratch<'_>, a: &Attend<'_>, n: usize) {
    let (n_heads, dim) = (s.m.len(), a.rows.n_cols);
    s.p.fill([0.0; BLOCK]);
    let mut keys: Aligned<Keys> = Aligned([[[0.0; 16]; PART]; 2]);
    let keys = &mut keys.0;
    for first in (0..dim).step_by(PART) {
        let len = PART.min(dim - first);
        for pair in 0..n.div_ceil(32) {
            let rows = 32 * pair..n.min(32 * pair + 32);
            turn(isa, s, first / 16, rows.clone(), keys);
            let part = Part { keys: [&keys[0][..len], &keys[1][..len]], rows, q: a.q, dim, first };
            let mut head = 0;
            while head < n_heads {
                head += match n_heads - head {
                    8.. if I::WIDE => part.add::<I, 8>(isa, head, s.p),
                    6.. if !I::WIDE => part.add::<I, 6>(isa, head, s.p),
                    4.. => part.add::<I, 4>(isa, head, s.p),
                    2.. => part.add::<I, 2>(isa, head, s.p),
                    _ => part.add::<I, 1>(isa, head, s.p),
                };
            }
        }
    }
}

/// Turns a part of some of the block's rows, up to 32 and those that fill up 16, so that rows lie in the lanes.
#[inline(always)]
fn turn<I: Isa>(isa: I, s: &Scratch<'_>, chunk: usize, rows: Range<usize>, keys: &mut Keys) {
    let groups = s.rows[rows.start * s.chunks..].chunks_exact(16 * s.chunks);
    for (rows, keys) in groups.take(rows.len().div_ceil(16)).zip(keys) {
        for (at, columns) in (chunk..s.chunks).zip(keys.as_chunks_mut::<16>().0) {
            let mut square = [&rows[at]; 16];
            for (row, square) in square.iter_mut().enumerate() {
                *square = &rows[row * s.chunks + at];
            }
            isa.turn(&square, columns);
        }
    }
}

/// Some columns of the scores of some rows.
struct Part<'a> {
    keys: [&'a [[f32; 16]]; 2],
    /// The rows in `keys`, up to 32 from a multiple of 32 on.
    rows: Range<usize>,
    /// The queries: [n_heads][dim].
    q: &'a [f32],
    dim: usize,
    /// The first of the columns.
    first: usize,
}

impl Part<'_> {
    /// Adds this part of `H` heads from `head` on to their scores, and says how many heads that were.
    #[inline(always)]
    fn add<I: Isa, const H: usize>(&self, isa: I, head: usize, p: &mut [[f32; BLOCK]]) -> usize {
        if I::WIDE {
            self.dots::<I, H, 2>(isa, head, 0, p);
        } else {
            for group in 0..self.rows.len().div_ceil(16) {
                self.dots::<I, H, 1>(isa, head, group, p);
            }
        }
        H
    }

    /// `H` heads with `G` groups of 16 rows.
    #[inline(always)]
    fn dots<I: Isa, const H: usize, const G: usize>(
        &self,
        isa: I,
        head: usize,
        group: usize,
        p: &mut [[f32; BLOCK]],
    ) {
        let n = self.keys[0].len();
        let mut q: [&[f32]; H] = [&[]; H];
        for h in 0..H {
            q[h] = &self.q[(head + h) * self.dim + self.first..][..n];
        }
        let mut keys: [&[[f32; 16]]; G] = [&[]; G];
        for g in 0..G {
            keys[g] = &self.keys[group + g][..n];
        }
        let mut sums = [[isa.zero(); G]; H];
        for d in 0..n {
            for h in 0..H {
                let q = isa.splat(q[h][d]);
                for g in 0..G {
                    sums[h][g] = isa.fma(q, isa.load(&keys[g][d]), sums[h][g]);
                }
            }
        }
        for h in 0..H {
            let p = &mut p[head + h].as_chunks_mut().0[self.rows.start / 16 + group..][..G];
            for g in 0..G {
                isa.store(isa.add(isa.load(&p[g]), sums[h][g]), &mut p[g]);
            }
        }
    }
}

/// Turns a head's `n` products into weights and moves its running maximum and sum on.
#[inline(always)]
fn merge<I: Isa>(isa: I, s: &mut Scratch<'_>, head: usize, scale: f32, n: usize) {
    let (p, _) = s.p[head].as_chunks_mut::<16>();
    for p in p.iter_mut() {
        isa.store(isa.mul(isa.load(p), isa.splat(scale)), p);
    }
    p.as_flattened_mut()[n..].fill(f32::NEG_INFINITY);
    let old = s.m[head];
    let mut most = isa.splat(old);
    for p in p.iter() {
        most = isa.max(isa.load(p), most);
    }
    let new = isa.max_lane(most);
    let m = isa.splat(new);
    let mut first = [0.0; 16];
    isa.store(exp(isa, isa.sub(isa.splat(old), m)), &mut first);
    let mut sum = isa.zero();
    for (at, p) in p.iter_mut().enumerate() {
        let weights = exp(isa, isa.sub(isa.load(p), m));
        sum = if at == 0 { weights } else { isa.add(sum, weights) };
        isa.store(weights, p);
    }
    let sum = isa.sum(sum);
    s.l[head] = s.l[head].mul_add(first[0], sum);
    s.m[head] = new;
    s.c[head] = first[0];
}

/// The rows that are yet to come.
#[derive(Clone, Copy)]
struct Ahead<'a> {
    a: Attend<'a>,
    row_bytes: usize,
}

impl Ahead<'_> {
    /// Asks for the rows at these places of the pick.
    #[inline(always)]
    fn ask<I: Isa>(self, isa: I, places: Range<usize>) {
        for place in places.start..places.end.min(self.a.pick.len()) {
            let row = &self.a.rows.bytes[self.a.pick.get(place) * self.row_bytes..];
            for line in (0..self.row_bytes).step_by(64) {
                isa.prefetch(row, line);
            }
        }
    }
}

/// Adds the block's weighted values to what all heads have, and meanwhile asks for the next block's rows, which begin at a
/// place of the pick: picked rows lie apart, so that no machine foresees them.
#[inline(always)]
fn accumulate<I: Isa>(isa: I, s: &mut Scratch<'_>, (ahead, next): (Ahead<'_>, usize), n: usize) {
    let n_heads = s.m.len();
    let mut chunk = 0;
    while chunk < s.v_chunks {
        let part = BLOCK.div_ceil(s.v_chunks);
        ahead.ask(isa, next + chunk * part..next + BLOCK.min((chunk + 1) * part));
        let wide = I::WIDE && s.v_chunks - chunk >= TILE;
        let mut head = 0;
        while head < n_heads {
            head += match n_heads - head {
                4.. if wide => weigh::<I, 4, TILE>(isa, s, (head, chunk), n),
                _ if wide => weigh::<I, 1, TILE>(isa, s, (head, chunk), n),
                6.. if !I::WIDE => weigh::<I, 6, 1>(isa, s, (head, chunk), n),
                4.. => weigh::<I, 4, 1>(isa, s, (head, chunk), n),
                2.. => weigh::<I, 2, 1>(isa, s, (head, chunk), n),
                _ => weigh::<I, 1, 1>(isa, s, (head, chunk), n),
            };
        }
        chunk += if wide { TILE } else { 1 };
    }
}

/// `H` heads and `V` chunks of values, from (head, chunk) on; says how many heads.
#[inline(always)]
fn weigh<I: Isa, const H: usize, const V: usize>(
    isa: I,
    s: &mut Scratch<'_>,
    (head, chunk): (usize, usize),
    n: usize,
) -> usize {
    let mut acc = [[isa.zero(); V]; H];
    for h in 0..H {
        let correction = isa.splat(s.c[head + h]);
        let from = &s.acc[(head + h) * s.v_chunks + chunk..][..V];
        for v in 0..V {
            acc[h][v] = isa.mul(isa.load(&from[v]), correction);
        }
    }
    let p: &[[f32; BLOCK]; H] = s.p[head..].first_chunk().expect("H heads are left");
    for (at, row) in s.rows.chunks_exact(s.chunks).take(n).enumerate() {
        let row = &row[chunk..][..V];
        let mut values = [isa.zero(); V];
        for v in 0..V {
            values[v] = isa.load(&row[v]);
        }
        for h in 0..H {
            let p = isa.splat(p[h][at]);
            for v in 0..V {
                acc[h][v] = isa.fma(p, values[v], acc[h][v]);
            }
        }
    }
    for h in 0..H {
        let to = &mut s.acc[(head + h) * s.v_chunks + chunk..][..V];
        for v in 0..V {
            isa.store(acc[h][v], &mut to[v]);
        }
    }
    H
}

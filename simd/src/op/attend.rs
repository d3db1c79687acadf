//! Attention over picked latent rows: one query token, several heads, each row both key and value.
//!
//! **Definition.** The picked rows are taken in the order of the pick, in blocks of 32. For each head, from m = -inf,
//! l = 0, acc = 0, each block does
//!
//! ```text
//! s_j   = scale * dot(q, row_j)           dot: 16 lanes along the row, fused, then the tree (as float products)
//! m'    = max(m, s_0 .. s_31)
//! c     = exp(m - m')                     p_j = exp(s_j - m')
//! l     = l * c + tree(p_j + p_(j+16))    (fused)
//! acc_v = acc_v * c, then acc_v = fma(p_j, row_j[v], acc_v) for j in order
//! ```
//!
//! and the result is acc / l. Fixed blocks in a fixed order: a head's bits depend neither on the other heads of the
//! call nor on how heads are spread over threads. A NaN anywhere in a picked row or query reaches that head's
//! output; so does a head whose scores are all -inf.
//!
//! Error, to first order, u = 2^-24, n rows in B blocks, D = ceil(dim / 16) + 4, S the largest
//! |scale| * sum |q row[d]| and R the spread of the scores: a score is wrong by (D + 1) u S at most; that, the
//! rounded difference from the maximum and two ulp for each exp make a weight wrong by a relative
//! e = ((D + 1) S + 2 R + 4 (B + 1)) u; weights are positive, so
//! |error of out| <= (2 e + (n + 2 B + 8) u) * max |row[v]|. (An error of m itself cancels.) Measured errors are
//! smaller by one to two orders of magnitude.
//!
//! Why online and not two passes: a block's decoded rows are used for scores and values while they are in cache.
//! Source: Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.

use super::exp::exp;
use crate::format::BlockFormat;
use crate::isa::Isa;
use crate::view::Attend;

/// Picked rows in a block.
const BLOCK: usize = 32;
/// Heads under way at once, and rows with them: 16 sums.
const TILE: usize = 4;
/// Rows that all heads pass before the next rows: 8 decoded rows of 576 are 18 KiB, for the first-level cache.
const ROWS_IN_CACHE: usize = 8;

/// Floats of scratch for `n_heads` queries of `dim` elements.
pub(crate) const fn scratch_len(n_heads: usize, dim: usize) -> usize {
    let chunks = dim.div_ceil(16);
    LINE + BLOCK * chunks * 16 + n_heads * (2 * chunks * 16 + BLOCK + 3)
}

/// Floats in a cache line: the cut begins at one, so that no vector lies across two.
const LINE: usize = 16;

/// The scratch, cut: everything padded to whole chunks of 16 so that no inner loop has a tail.
struct Scratch<'s> {
    /// The block's rows, decoded: [BLOCK][chunks].
    rows: &'s mut [[f32; 16]],
    /// The queries: [n_heads][chunks].
    q: &'s mut [[f32; 16]],
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
        let (q, rest) = rest.split_at_mut(n_heads * chunks * 16);
        let (acc, rest) = rest.split_at_mut(n_heads * v_chunks * 16);
        let (p, rest) = rest.split_at_mut(n_heads * BLOCK);
        let (m, rest) = rest.split_at_mut(n_heads);
        let (l, rest) = rest.split_at_mut(n_heads);
        let (rows, q, acc) = (rows.as_chunks_mut().0, q.as_chunks_mut().0, acc.as_chunks_mut().0);
        let p = p.as_chunks_mut().0;
        Self { rows, q, acc, p, m, l, c: &mut rest[..n_heads], chunks, v_chunks }
    }
}

/// `out[h] = sum_j softmax_j(scale * q[h] . row[j]) * row[j][..v_dim]` over the picked rows.
#[inline(always)]
pub(crate) fn attend<F: BlockFormat, I: Isa>(isa: I, a: Attend<'_>, scratch: &mut [f32], out: &mut [f32]) {
    let dim = a.rows.n_cols;
    let n_heads = a.q.len() / dim;
    let s = &mut Scratch::cut(scratch, n_heads, dim, a.v_dim);
    for (q, padded) in a.q.chunks_exact(dim).zip(s.q.chunks_exact_mut(s.chunks)) {
        let padded = padded.as_flattened_mut();
        padded[..dim].copy_from_slice(q);
        padded[dim..].fill(0.0);
    }
    s.acc.fill([0.0; 16]);
    s.m.fill(f32::NEG_INFINITY);
    s.l.fill(0.0);
    let row_bytes = dim / F::LEN * F::BYTES;
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
        score(isa, s, n);
        for head in 0..n_heads {
            merge(isa, s, head, a.scale, n);
        }
        accumulate(isa, s, n);
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
fn score<I: Isa>(isa: I, s: &mut Scratch<'_>, n: usize) {
    let n_heads = s.m.len();
    for group in (0..n).step_by(ROWS_IN_CACHE) {
        for head in (0..n_heads).step_by(TILE) {
            for row in (group..n.min(group + ROWS_IN_CACHE)).step_by(TILE) {
                let mut sums = [isa.zero(); TILE * TILE];
                if I::WIDE {
                    dots::<I, 4, 4>(isa, s, (head, 0), (row, 0), &mut sums);
                } else {
                    for corner in [(0, 0), (0, 2), (2, 0), (2, 2)] {
                        dots::<I, 2, 2>(isa, s, (head, corner.0), (row, corner.1), &mut sums);
                    }
                }
                let mut totals = [0.0; TILE * TILE];
                isa.store(isa.sum16(&sums), &mut totals);
                for (head, totals) in (head..n_heads).zip(totals.chunks_exact(TILE)) {
                    s.p[head][row..row + TILE].copy_from_slice(totals);
                }
            }
        }
    }
}

/// `H` heads with `R` rows, before the tree. A place is (first of four, offset); the last head stands in for missing
/// ones.
#[inline(always)]
fn dots<I: Isa, const H: usize, const R: usize>(
    isa: I,
    s: &Scratch<'_>,
    head: (usize, usize),
    row: (usize, usize),
    sums: &mut [I::F32; TILE * TILE],
) {
    let n = s.chunks;
    let mut q: [&[[f32; 16]]; H] = [&[]; H];
    let mut rows: [&[[f32; 16]]; R] = [&[]; R];
    for h in 0..H {
        let head = (head.0 + head.1 + h).min(s.m.len() - 1);
        q[h] = &s.q[head * n..][..n];
    }
    for r in 0..R {
        rows[r] = &s.rows[(row.0 + row.1 + r) * n..][..n];
    }
    let mut acc = [[isa.zero(); R]; H];
    for at in 0..n {
        let mut keys = [isa.zero(); R];
        for r in 0..R {
            keys[r] = isa.load(&rows[r][at]);
        }
        for h in 0..H {
            let q = isa.load(&q[h][at]);
            for r in 0..R {
                acc[h][r] = isa.fma(q, keys[r], acc[h][r]);
            }
        }
    }
    for h in 0..H {
        for r in 0..R {
            sums[(head.1 + h) * TILE + row.1 + r] = acc[h][r];
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
    let scores = [isa.load(&p[0]), isa.load(&p[1])];
    let old = s.m[head];
    let new = isa.max_lane(isa.max(scores[0], isa.max(scores[1], isa.splat(old))));
    let m = isa.splat(new);
    let mut first = [0.0; 16];
    isa.store(exp(isa, isa.sub(isa.splat(old), m)), &mut first);
    let weights = [exp(isa, isa.sub(scores[0], m)), exp(isa, isa.sub(scores[1], m))];
    isa.store(weights[0], &mut p[0]);
    isa.store(weights[1], &mut p[1]);
    let sum = isa.sum(isa.add(weights[0], weights[1]));
    s.l[head] = s.l[head].mul_add(first[0], sum);
    s.m[head] = new;
    s.c[head] = first[0];
}

/// Adds the block's weighted values to what all heads have.
#[inline(always)]
fn accumulate<I: Isa>(isa: I, s: &mut Scratch<'_>, n: usize) {
    let n_heads = s.m.len();
    let mut chunk = 0;
    while chunk < s.v_chunks {
        let wide = if s.v_chunks - chunk >= TILE { TILE } else { 1 };
        let mut head = 0;
        while head < n_heads {
            match (n_heads - head >= TILE, wide == TILE) {
                (true, true) if I::WIDE => weigh::<I, 4, 4>(isa, s, (head, chunk), n),
                (true, true) => {
                    weigh::<I, 2, 2>(isa, s, (head, chunk), n);
                    weigh::<I, 2, 2>(isa, s, (head, chunk + 2), n);
                    weigh::<I, 2, 2>(isa, s, (head + 2, chunk), n);
                    weigh::<I, 2, 2>(isa, s, (head + 2, chunk + 2), n);
                }
                (false, true) => weigh::<I, 1, 4>(isa, s, (head, chunk), n),
                (true, false) => weigh::<I, 4, 1>(isa, s, (head, chunk), n),
                (false, false) => weigh::<I, 1, 1>(isa, s, (head, chunk), n),
            }
            head += if n_heads - head >= TILE { TILE } else { 1 };
        }
        chunk += wide;
    }
}

/// `H` heads and `V` chunks of values, from (head, chunk) on.
#[inline(always)]
fn weigh<I: Isa, const H: usize, const V: usize>(
    isa: I,
    s: &mut Scratch<'_>,
    (head, chunk): (usize, usize),
    n: usize,
) {
    let mut acc = [[isa.zero(); V]; H];
    for h in 0..H {
        let correction = isa.splat(s.c[head + h]);
        let from = &s.acc[(head + h) * s.v_chunks + chunk..][..V];
        for v in 0..V {
            acc[h][v] = isa.mul(isa.load(&from[v]), correction);
        }
    }
    let p = &s.p[head..head + H];
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
}

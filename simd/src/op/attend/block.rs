//! One segment of attention, block by block: rows decoded, scored with all heads, weighed.

use crate::format::{BF16, BlockFormat};
use crate::isa::{Aligned, Isa};
use crate::op::exp::exp;
use crate::op::float::FloatFormat;
use crate::view::Attend;
use std::ops::Range;

/// Picked rows in a block.
pub(super) const BLOCK: usize = 64;
/// Columns of a part of a score. 32 rows of it, turned round, are 8 KiB, and 64 queries 16 KiB: both stay in the first-level
/// cache.
const PART: usize = 64;
/// A part of 32 rows: 16 in the lanes, twice.
type Keys = [[[f32; 16]; PART]; 2];
/// Heads and chunks of values under way at once.
const TILE: usize = 4;

/// Floats in a cache line: the cut begins at one, so that no vector lies across two.
const LINE: usize = 16;

/// Floats of scratch for a segment of `n_heads` queries of `dim` elements.
pub(super) const fn scratch_len(n_heads: usize, dim: usize) -> usize {
    LINE + BLOCK * dim.next_multiple_of(16) + n_heads * (BLOCK + dim)
}

/// Floats until the next line begins. (`align_offset` may give up: then unaligned it is.)
pub(crate) fn to_line(scratch: &[f32]) -> usize {
    scratch.as_ptr().align_offset(4 * LINE).min(LINE)
}

/// What is under way, everything padded to whole chunks of 16 so that no inner loop has a tail.
struct Work<'s> {
    /// The block's rows, decoded: [BLOCK][chunks].
    rows: &'s mut [[f32; 16]],
    /// The block's scores, then its weights: [n_heads].
    p: &'s mut [[f32; BLOCK]],
    /// The part: [n_heads][v_chunks + 1], the running values and then a chunk with [`M`], [`L`] and [`C`].
    part: &'s mut [[f32; 16]],
    chunks: usize,
    v_chunks: usize,
}

/// Place of the running maximum in the last chunk of a head's part.
pub(super) const M: usize = 0;
/// Place of the running sum.
pub(super) const L: usize = 1;
/// Place of the correction that a block brings.
pub(super) const C: usize = 2;

impl Work<'_> {
    fn n_heads(&self) -> usize {
        self.p.len()
    }

    /// Where a head's last chunk is.
    #[inline(always)]
    fn state(&self, head: usize) -> usize {
        head * (self.v_chunks + 1) + self.v_chunks
    }
}

/// The part of all heads over the rows at these places of the pick; `PAIRS`: as the definition has it for BF16.
#[inline(always)]
pub(super) fn segment<F: BlockFormat, I: Isa, const PAIRS: bool>(
    isa: I,
    a: Attend<'_>,
    places: Range<usize>,
    scratch: &mut [f32],
    part: &mut [f32],
) {
    let dim = a.rows.n_cols;
    let (n_heads, chunks, v_chunks) = (a.q.len() / dim, dim.div_ceil(16), a.v_dim.div_ceil(16));
    let skip = to_line(scratch);
    let (rows, rest) = scratch[skip..].split_at_mut(BLOCK * chunks * 16);
    let (p, rest) = rest.split_at_mut(n_heads * BLOCK);
    let (rows, p) = (rows.as_chunks_mut().0, p.as_chunks_mut().0);
    // In a burst: there is no work yet to spread it over.
    Ahead::new(a, places.start..places.end.min(places.start + BLOCK), 1).ask(isa);
    let mut q = a.q;
    if PAIRS {
        let rounded = &mut rest[..n_heads * dim];
        round(isa, a.q, rounded);
        q = rounded;
    }
    let w = &mut Work { rows, p, part: part.as_chunks_mut().0, chunks, v_chunks };
    w.part.fill([0.0; 16]);
    for head in 0..n_heads {
        let state = w.state(head);
        w.part[state][M] = f32::NEG_INFINITY;
    }
    let row_bytes = dim / F::LEN * F::BYTES;
    for first in places.clone().step_by(BLOCK) {
        let n = BLOCK.min(places.end - first);
        for (at, decoded) in w.rows.chunks_exact_mut(chunks).enumerate() {
            if at < n {
                let row = &a.rows.bytes[a.pick.get(first + at) * row_bytes..][..row_bytes];
                F::decode_row(isa, row, decoded.as_flattened_mut());
            } else {
                decoded.fill([0.0; 16]); // scored with the last rows, then masked
            }
        }
        score::<I, PAIRS>(isa, w, (q, dim), n, first == places.start);
        for head in 0..n_heads {
            let state = w.state(head);
            merge::<I, PAIRS>(isa, &mut w.p[head], &mut w.part[state], a.scale, n);
        }
        accumulate::<I, PAIRS>(isa, w, (a, first + n..places.end.min(first + n + BLOCK)), n);
    }
}

/// The products of all heads with the block's `n` rows. In a segment's first block the queries come from memory, each part
/// of them out of its order there, so the next part is asked for.
#[inline(always)]
fn score<I: Isa, const PAIRS: bool>(
    isa: I,
    w: &mut Work<'_>,
    (q, dim): (&[f32], usize),
    n: usize,
    is_first: bool,
) {
    let n_heads = w.n_heads();
    w.p.fill([0.0; BLOCK]);
    let mut keys: Aligned<Keys> = Aligned([[[0.0; 16]; PART]; 2]);
    let keys = &mut keys.0;
    for first in (0..dim).step_by(PART) {
        let len = PART.min(dim - first);
        if is_first && first + PART < dim {
            for head in 0..n_heads {
                let next = bytemuck::cast_slice(&q[head * dim + first + PART..]);
                for line in (0..4 * PART).step_by(64) {
                    isa.prefetch(next, line);
                }
            }
        }
        for pair in 0..n.div_ceil(32) {
            let rows = 32 * pair..n.min(32 * pair + 32);
            turn(isa, w, first / 16, rows.clone(), keys);
            let part = Part { keys: [&keys[0][..len], &keys[1][..len]], rows, q, dim, first };
            let mut head = 0;
            while head < n_heads {
                head += match n_heads - head {
                    8.. if I::WIDE => part.add::<I, PAIRS, 8>(isa, head, w.p),
                    6.. if !I::WIDE => part.add::<I, PAIRS, 6>(isa, head, w.p),
                    4.. => part.add::<I, PAIRS, 4>(isa, head, w.p),
                    2.. => part.add::<I, PAIRS, 2>(isa, head, w.p),
                    _ => part.add::<I, PAIRS, 1>(isa, head, w.p),
                };
            }
        }
    }
}

/// Turns a part of some of the block's rows, up to 32 and those that fill up 16, so that rows lie in the lanes.
#[inline(always)]
fn turn<I: Isa>(isa: I, w: &Work<'_>, chunk: usize, rows: Range<usize>, keys: &mut Keys) {
    let groups = w.rows[rows.start * w.chunks..].chunks_exact(16 * w.chunks);
    for (rows, keys) in groups.take(rows.len().div_ceil(16)).zip(keys) {
        for (at, columns) in (chunk..w.chunks).zip(keys.as_chunks_mut::<16>().0) {
            let mut square = [&rows[at]; 16];
            for (row, square) in square.iter_mut().enumerate() {
                *square = &rows[row * w.chunks + at];
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
    fn add<I: Isa, const PAIRS: bool, const H: usize>(
        &self,
        isa: I,
        head: usize,
        p: &mut [[f32; BLOCK]],
    ) -> usize {
        if I::WIDE {
            self.dots::<I, PAIRS, H, 2>(isa, head, 0, p);
        } else {
            for group in 0..self.rows.len().div_ceil(16) {
                self.dots::<I, PAIRS, H, 1>(isa, head, group, p);
            }
        }
        H
    }

    /// `H` heads with `G` groups of 16 rows.
    #[inline(always)]
    fn dots<I: Isa, const PAIRS: bool, const H: usize, const G: usize>(
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
        for at in 0..n {
            let d = in_order::<PAIRS>(at, n);
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

/// The `at`-th of `n` in the order of the definition: as they are, or the odd one of a pair before the even one.
#[inline(always)]
fn in_order<const PAIRS: bool>(at: usize, n: usize) -> usize {
    if PAIRS && at ^ 1 < n { at ^ 1 } else { at }
}

/// Queries rounded to BF16.
#[inline(always)]
fn round<I: Isa>(isa: I, q: &[f32], rounded: &mut [f32]) {
    let (q, tail) = q.as_chunks::<16>();
    let (rounded, rounded_tail) = rounded.as_chunks_mut::<16>();
    for (q, rounded) in q.iter().zip(rounded) {
        isa.store(rounded_to_bf16(isa, isa.load(q)), rounded);
    }
    isa.store_part(rounded_to_bf16(isa, isa.load_part(tail)), rounded_tail);
}

#[inline(always)]
fn rounded_to_bf16<I: Isa>(isa: I, x: I::F32) -> I::F32 {
    let mut rounded = [0; 32];
    BF16::store(isa, x, &mut rounded);
    BF16::load(isa, &rounded)
}

/// Turns a head's `n` products into weights, rounded to BF16 if so wished, and moves its running maximum and sum on.
#[inline(always)]
pub(super) fn merge<I: Isa, const ROUND: bool>(
    isa: I,
    p: &mut [f32; BLOCK],
    state: &mut [f32; 16],
    scale: f32,
    n: usize,
) {
    let (p, _) = p.as_chunks_mut::<16>();
    for p in p.iter_mut() {
        isa.store(isa.mul(isa.load(p), isa.splat(scale)), p);
    }
    p.as_flattened_mut()[n..].fill(f32::NEG_INFINITY);
    let old = state[M];
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
        let mut weights = exp(isa, isa.sub(isa.load(p), m));
        if ROUND {
            weights = rounded_to_bf16(isa, weights);
        }
        sum = if at == 0 { weights } else { isa.add(sum, weights) };
        isa.store(weights, p);
    }
    let sum = isa.sum(sum);
    state[L] = state[L].mul_add(first[0], sum);
    (state[M], state[C]) = (new, first[0]);
}

/// Rows of a pick that will be needed soon, asked for a few lines at a time between other work. Picked rows lie apart, so that no
/// machine foresees them, and a core that has as many misses under way as it can forgets what more is asked for in a burst. They
/// come into the second-level cache: the first level is full of what is being computed.
pub(super) struct Ahead<'a> {
    a: Attend<'a>,
    /// The first one's place is being asked for.
    places: Range<usize>,
    /// Bytes of that row that were asked for.
    asked: usize,
    /// Lines each time.
    n_lines: usize,
}

impl<'a> Ahead<'a> {
    /// The rows at these places, all of them after `n_times`.
    #[inline(always)]
    pub(super) fn new(a: Attend<'a>, places: Range<usize>, n_times: usize) -> Self {
        let n_lines = (places.len() * a.rows.row_bytes().div_ceil(64)).div_ceil(n_times);
        Ahead { a, places, asked: 0, n_lines }
    }

    /// Asks for the next lines.
    #[inline(always)]
    pub(super) fn ask<I: Isa>(&mut self, isa: I) {
        let row_bytes = self.a.rows.row_bytes();
        for _ in 0..self.n_lines {
            if self.places.is_empty() {
                return;
            }
            isa.prefetch_far(self.a.rows.bytes, self.a.pick.get(self.places.start) * row_bytes + self.asked);
            self.asked += 64;
            if self.asked >= row_bytes {
                (self.places.start, self.asked) = (self.places.start + 1, 0);
            }
        }
    }
}

/// Adds the block's weighted values to what all heads have, and meanwhile asks for the next block's rows.
#[inline(always)]
fn accumulate<I: Isa, const PAIRS: bool>(
    isa: I,
    w: &mut Work<'_>,
    (a, next): (Attend<'_>, Range<usize>),
    n: usize,
) {
    let n_heads = w.n_heads();
    let widest = if I::WIDE { TILE } else { 1 };
    // At most six heads at once.
    let mut ahead = Ahead::new(a, next, w.v_chunks.div_ceil(widest) * n_heads.div_ceil(6));
    let mut chunk = 0;
    while chunk < w.v_chunks {
        let step = if w.v_chunks - chunk >= widest { widest } else { 1 };
        let mut head = 0;
        while head < n_heads {
            ahead.ask(isa);
            head += match n_heads - head {
                4.. if step == TILE => weigh::<I, PAIRS, 4, TILE>(isa, w, (head, chunk), n),
                _ if step == TILE => weigh::<I, PAIRS, 1, TILE>(isa, w, (head, chunk), n),
                6.. if !I::WIDE => weigh::<I, PAIRS, 6, 1>(isa, w, (head, chunk), n),
                4.. => weigh::<I, PAIRS, 4, 1>(isa, w, (head, chunk), n),
                2.. => weigh::<I, PAIRS, 2, 1>(isa, w, (head, chunk), n),
                _ => weigh::<I, PAIRS, 1, 1>(isa, w, (head, chunk), n),
            };
        }
        chunk += step;
    }
}

/// `H` heads and `V` chunks of values, from (head, chunk) on; says how many heads.
#[inline(always)]
fn weigh<I: Isa, const PAIRS: bool, const H: usize, const V: usize>(
    isa: I,
    w: &mut Work<'_>,
    (head, chunk): (usize, usize),
    n: usize,
) -> usize {
    let mut acc = [[isa.zero(); V]; H];
    for h in 0..H {
        let correction = isa.splat(w.part[w.state(head + h)][C]);
        let from = &w.part[(head + h) * (w.v_chunks + 1) + chunk..][..V];
        for v in 0..V {
            acc[h][v] = isa.mul(isa.load(&from[v]), correction);
        }
    }
    let p: &[[f32; BLOCK]; H] = w.p[head..].first_chunk().expect("H heads are left");
    let n = n.min(BLOCK);
    for at in 0..n {
        let at = in_order::<PAIRS>(at, n);
        let row = &w.rows[at * w.chunks + chunk..][..V];
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
        let to = &mut w.part[(head + h) * (w.v_chunks + 1) + chunk..][..V];
        for v in 0..V {
            isa.store(acc[h][v], &mut to[v]);
        }
    }
    H
}

//! One segment of attention over BF16 rows on machines that add two products of BF16 to a lane in one step: twice what they do in
//! floats. The bits are those of `block.rs`, which multiplies the same pairs as floats, one after the other.

use super::block::{Ahead, BLOCK, C, M, merge, to_line};
use crate::format::BF16;
use crate::isa::{Aligned, Isa};
use crate::op::float;
use crate::view::Attend;
use std::ops::Range;

/// How a machine multiplies pairs.
pub(crate) trait PairDots<I: Isa>: Copy {
    /// `sums[h][g]`, lane by lane: the product of the upper halves of the pair `x[h]` and the lane's pair of `y[g]` is added,
    /// then that of the lower halves; each is fused. Subnormal numbers may count as zero.
    fn add<const H: usize, const G: usize>(
        self,
        isa: I,
        x: [u32; H],
        y: [&[u32; 16]; G],
        sums: &mut [[I::F32; G]; H],
    );
}

/// Rows of a block by twos.
const PAIRS: usize = BLOCK / 2;
/// Pairs of columns of a part of a score, the 64 columns of the definition.
const PART: usize = 32;
/// A part of a block's rows, 16 in the lanes, four times.
type Keys = [[[u32; 16]; PART]; BLOCK / 16];

/// Words of scratch for a segment of `n_heads` queries of `dim` elements.
pub(super) const fn scratch_len(n_heads: usize, dim: usize) -> usize {
    16 + n_heads * (BLOCK + PAIRS + 16 * dim.div_ceil(32)) + PAIRS * dim.next_multiple_of(16)
}

/// What is under way, everything padded to whole chunks of 16 words so that no inner loop has a tail.
struct Work<'s> {
    /// The block's scores, then its weights: [n_heads].
    p: &'s mut [[f32; BLOCK]],
    /// The weights in pairs: [n_heads].
    weights: &'s mut [[u32; PAIRS]],
    /// The queries in pairs: [n_heads][q_chunks].
    q: &'s mut [[u32; 16]],
    /// The block's values, a row's and the next one's in a pair: [PAIRS][v_chunks].
    values: &'s mut [[u32; 16]],
    /// As in `block`: [n_heads][v_chunks + 1].
    part: &'s mut [[f32; 16]],
    q_chunks: usize,
    v_chunks: usize,
}

/// The rows of a block; empty ones, which count as zeros, behind the last one.
struct Block<'a> {
    rows: [&'a [u8]; BLOCK],
    n: usize,
}

impl<'a> Block<'a> {
    /// Those at these places of the pick.
    #[inline(always)]
    fn new(a: Attend<'a>, places: Range<usize>) -> Self {
        let (mut rows, row_bytes) = ([&[][..]; BLOCK], 2 * a.rows.n_cols);
        for (row, place) in rows.iter_mut().zip(places.clone()) {
            *row = &a.rows.bytes[a.pick.get(place) * row_bytes..][..row_bytes];
        }
        Block { rows, n: places.len() }
    }
}

/// The part of all heads over the rows at these places of the pick.
#[inline(always)]
pub(crate) fn segment<I: Isa, P: PairDots<I>>(
    isa: I,
    dots: P,
    a: Attend<'_>,
    places: Range<usize>,
    scratch: &mut [f32],
    part: &mut [f32],
) {
    let dim = a.rows.n_cols;
    let (n_heads, q_chunks, v_chunks) = (a.q.len() / dim, dim.div_ceil(32), a.v_dim.div_ceil(16));
    let skip = to_line(scratch);
    let (p, rest) = scratch[skip..].split_at_mut(n_heads * BLOCK);
    let (weights, rest) = rest.split_at_mut(n_heads * PAIRS);
    let (q, rest) = rest.split_at_mut(n_heads * q_chunks * 16);
    let w = &mut Work {
        p: p.as_chunks_mut().0,
        weights: bytemuck::cast_slice_mut::<f32, u32>(weights).as_chunks_mut().0,
        q: bytemuck::cast_slice_mut::<f32, u32>(q).as_chunks_mut().0,
        values: bytemuck::cast_slice_mut::<f32, u32>(&mut rest[..PAIRS * v_chunks * 16]).as_chunks_mut().0,
        part: part.as_chunks_mut().0,
        q_chunks,
        v_chunks,
    };
    w.part.fill([0.0; 16]);
    for part in w.part.chunks_exact_mut(v_chunks + 1) {
        part[v_chunks][M] = f32::NEG_INFINITY;
    }
    let mut first = Ahead::new(a, places.start..places.end.min(places.start + BLOCK), n_heads);
    for (q, pairs) in a.q.chunks_exact(dim).zip(w.q.chunks_exact_mut(q_chunks)) {
        first.ask(isa);
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(pairs);
        bytes[2 * dim..].fill(0);
        float::encode_row::<BF16, I>(isa, q, &mut bytes[..2 * dim]);
    }
    for first in places.clone().step_by(BLOCK) {
        let block = &Block::new(a, first..places.end.min(first + BLOCK));
        score(isa, dots, w, block);
        for head in 0..n_heads {
            let state = &mut w.part[head * (v_chunks + 1) + v_chunks];
            merge::<I, true>(isa, &mut w.p[head], state, a.scale, block.n);
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut w.weights[head]);
            float::encode_row::<BF16, I>(isa, &w.p[head], bytes);
        }
        pair_values(isa, w, block);
        let next = first + block.n..places.end.min(first + block.n + BLOCK);
        accumulate(isa, dots, w, (a, next), block.n.div_ceil(2));
    }
}

/// 16 words of a row, zeros behind it.
#[inline(always)]
fn words(row: &[u8], chunk: usize) -> [u8; 64] {
    let row = row.get(64 * chunk..).unwrap_or_default();
    match row.first_chunk() {
        Some(words) => *words,
        None => {
            let mut padded = [0; 64];
            padded[..row.len()].copy_from_slice(row);
            padded
        }
    }
}

/// The products of all heads with the block's rows.
#[inline(always)]
fn score<I: Isa, P: PairDots<I>>(isa: I, dots: P, w: &mut Work<'_>, block: &Block<'_>) {
    let n_heads = w.p.len();
    w.p.fill([0.0; BLOCK]);
    let mut keys: Aligned<Keys> = Aligned([[[0; 16]; PART]; BLOCK / 16]);
    let groups = block.n.div_ceil(16);
    for first in (0..w.q_chunks).step_by(PART / 16) {
        let chunks = first..w.q_chunks.min(first + PART / 16);
        for (group, keys) in keys.0[..groups].iter_mut().enumerate() {
            for (chunk, keys) in chunks.clone().zip(keys.as_chunks_mut::<16>().0) {
                let mut square = [isa.zero(); 16];
                for (vector, row) in square.iter_mut().zip(&block.rows[16 * group..]) {
                    *vector = isa.load_bytes(&words(row, chunk));
                }
                for (vector, out) in isa.transpose(&square).into_iter().zip(keys) {
                    isa.store(vector, bytemuck::cast_mut(out));
                }
            }
        }
        let mut head = 0;
        while head < n_heads {
            head += match n_heads - head {
                4.. => add_part::<I, P, 4>(isa, dots, w, (head, &chunks), &keys.0[..groups]),
                2.. => add_part::<I, P, 2>(isa, dots, w, (head, &chunks), &keys.0[..groups]),
                _ => add_part::<I, P, 1>(isa, dots, w, (head, &chunks), &keys.0[..groups]),
            };
        }
    }
}

/// Adds a part of `H` heads to their scores; says how many heads.
#[inline(always)]
fn add_part<I: Isa, P: PairDots<I>, const H: usize>(
    isa: I,
    dots: P,
    w: &mut Work<'_>,
    (head, chunks): (usize, &Range<usize>),
    keys: &[[[u32; 16]; PART]],
) -> usize {
    let mut q: [&[u32]; H] = [&[]; H];
    for h in 0..H {
        q[h] = w.q[(head + h) * w.q_chunks..][chunks.clone()].as_flattened();
    }
    let p: &mut [[f32; BLOCK]; H] = w.p[head..].first_chunk_mut().expect("H heads are left");
    let mut group = 0;
    while group < keys.len() {
        if keys.len() == 4 {
            let keys = [&keys[0], &keys[1], &keys[2], &keys[3]];
            add_groups::<I, P, H, 4>(isa, dots, &q, keys, (group, &mut *p));
            group += 4;
        } else {
            add_groups::<I, P, H, 1>(isa, dots, &q, [&keys[group]], (group, &mut *p));
            group += 1;
        }
    }
    H
}

/// `H` heads with `G` groups of 16 rows.
#[inline(always)]
fn add_groups<I: Isa, P: PairDots<I>, const H: usize, const G: usize>(
    isa: I,
    dots: P,
    q: &[&[u32]; H],
    keys: [&[[u32; 16]; PART]; G],
    (group, p): (usize, &mut [[f32; BLOCK]; H]),
) {
    let n = q[0].len().min(PART);
    let mut queries: [&[u32]; H] = [&[]; H];
    for h in 0..H {
        queries[h] = &q[h][..n];
    }
    let mut sums = [[isa.zero(); G]; H];
    for pair in 0..n {
        let mut x = [0; H];
        for h in 0..H {
            x[h] = queries[h][pair];
        }
        let mut y = [&keys[0][0]; G];
        for g in 0..G {
            y[g] = &keys[g][pair];
        }
        dots.add(isa, x, y, &mut sums);
    }
    for h in 0..H {
        let p = &mut p[h].as_chunks_mut().0[group..][..G];
        for g in 0..G {
            isa.store(isa.add(isa.load(&p[g]), sums[h][g]), &mut p[g]);
        }
    }
}

/// The values of a row and the next one, column by column.
#[inline(always)]
fn pair_values<I: Isa>(isa: I, w: &mut Work<'_>, block: &Block<'_>) {
    let rows = block.rows.as_chunks().0.iter().take(block.n.div_ceil(2));
    for (&[even, odd], values) in rows.zip(w.values.chunks_exact_mut(w.v_chunks)) {
        for (two, values) in values.chunks_mut(2).enumerate() {
            let (even, odd) = (words(even, two), words(odd, two));
            for ((even, odd), out) in even.as_chunks().0.iter().zip(odd.as_chunks().0).zip(values) {
                let both = isa.or(isa.load_u16(even), isa.shl::<16>(isa.load_u16(odd)));
                isa.store(isa.with_bits(both), bytemuck::cast_mut(out));
            }
        }
    }
}

/// Adds the block's weighted values to what all heads have, and meanwhile asks for the next block's rows.
#[inline(always)]
fn accumulate<I: Isa, P: PairDots<I>>(
    isa: I,
    dots: P,
    w: &mut Work<'_>,
    (a, next): (Attend<'_>, Range<usize>),
    n_pairs: usize,
) {
    let n_heads = w.p.len();
    let mut ahead = Ahead::new(a, next, w.v_chunks.div_ceil(4) * n_heads.div_ceil(4));
    let mut chunk = 0;
    while chunk < w.v_chunks {
        let step = if w.v_chunks - chunk >= 4 { 4 } else { 1 };
        let mut head = 0;
        while head < n_heads {
            ahead.ask(isa);
            let at = (head, chunk);
            head += match n_heads - head {
                4.. if step == 4 => weigh::<I, P, 4, 4>(isa, dots, w, at, n_pairs),
                _ if step == 4 => weigh::<I, P, 1, 4>(isa, dots, w, at, n_pairs),
                4.. => weigh::<I, P, 4, 1>(isa, dots, w, at, n_pairs),
                2.. => weigh::<I, P, 2, 1>(isa, dots, w, at, n_pairs),
                _ => weigh::<I, P, 1, 1>(isa, dots, w, at, n_pairs),
            };
        }
        chunk += step;
    }
}

/// `H` heads and `V` chunks of values, from (head, chunk) on; says how many heads.
#[inline(always)]
fn weigh<I: Isa, P: PairDots<I>, const H: usize, const V: usize>(
    isa: I,
    dots: P,
    w: &mut Work<'_>,
    (head, chunk): (usize, usize),
    n_pairs: usize,
) -> usize {
    let (v_chunks, stride) = (w.v_chunks, w.v_chunks + 1);
    let mut acc = [[isa.zero(); V]; H];
    for h in 0..H {
        let correction = isa.splat(w.part[(head + h) * stride + v_chunks][C]);
        let from = &w.part[(head + h) * stride + chunk..][..V];
        for v in 0..V {
            acc[h][v] = isa.mul(isa.load(&from[v]), correction);
        }
    }
    let weights: &[[u32; PAIRS]; H] = w.weights[head..].first_chunk().expect("H heads are left");
    for (pair, values) in w.values.chunks_exact(v_chunks).take(n_pairs.min(PAIRS)).enumerate() {
        let values: &[[u32; 16]; V] = values[chunk..].first_chunk().expect("V chunks are left");
        let mut x = [0; H];
        for h in 0..H {
            x[h] = weights[h][pair];
        }
        dots.add(isa, x, values.each_ref(), &mut acc);
    }
    for h in 0..H {
        let to = &mut w.part[(head + h) * stride + chunk..][..V];
        for v in 0..V {
            isa.store(acc[h][v], &mut to[v]);
        }
    }
    H
}

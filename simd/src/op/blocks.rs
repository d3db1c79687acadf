//! Products of ggml's block formats but Q8_0 (`format/quants.rs`) with 8-bit activation blocks of 32.
//!
//! **Definition.** For each output, 32 columns at a time in ascending order, x the activations' integers, s their scale:
//!
//! ```text
//! dot_h = exact integer sum of (q - offset) * x          over half h, or over all 32
//! sum_h = exact integer sum of x                          of the same columns
//! term  = scale_0 * dot_0                                 rounded once
//! term  = fma(scale_1, dot_1, term)                       formats with a scale for each 16
//! term  = fma(-min_h, sum_h, term), h ascending           formats with minimums
//! acc   = fma(s, term, acc)                               from 0
//! ```
//!
//! scale and min are the format's own floats, d * sc and dmin * m, each rounded once, as in `decode`. Integers are at
//! most 32 * 128 * 127 = 520,192, exact in f32. That fixes every bit, so that levels, batches and slices agree exactly
//! and tests compare with `assert_eq!`.
//!
//! Error against exact arithmetic on the same blocks and the rounded scales, n blocks, u = 2^-24: a term passes at
//! most 4 roundings and n fused steps, so
//! |error| <= (n + 4) u / (1 - (n + 4) u) * sum |s| (|scale dot| + |min sum|).
//!
//! **Tiles.** 16 rows at a time are decoded into tiles, 512 columns a time, that stay in the first-level cache and
//! meet all tokens of the batch; a single token takes the same way, but for K-quants up to 6 bits (`rows.rs`).
//! Decoding turns 16 rows into 16 lanes by loads and four shuffles for 64 bytes, after which scales, minimums and quants
//! of all rows are taken apart together: cheaper than summing each row's products across a register, and than unpacking
//! each row's scales.
//!
//! **Rejected:** activation blocks of 256 with one scale, as ggml pairs with K-quants. By count they would save about
//! one instruction of twelve. But one outlier coarsens 256 activations instead of 32 (relative error of normal values
//! 0.69 % instead of 0.53 %; with one value in a hundred ten times as large 2.1 % instead of 0.93 %), and inputs of
//! mixed layers (Q8_0 attention, Q4_K experts) would be encoded twice.

use std::ops::Range;

use crate::format::{QuantFormat, Tile};
use crate::isa::{Isa, TILE_ROWS};
use crate::op::q8::{LEAST_TOKENS, PASS_BYTES, ask_for_next, load, store};
use crate::op::rows;
use crate::view::{Acts, Pick, Q8Acts, Q8Token, Rows};

/// Tiles of a group of rows that are decoded at a time: 512 columns, 12 KiB, so that two groups fit into a first-level
/// cache of 32 KiB. A multiple of the 8 in a block of 256.
const TILES: usize = 16;

/// `acc[g][t]` continued over the tiles of G groups of 16 rows, for T tokens; at most `TILES` tiles each, and as many
/// blocks of the tokens.
#[inline(always)]
pub(crate) fn dots<
    I: Isa,
    const HALVES: bool,
    const MINS: bool,
    const RUN: usize,
    const G: usize,
    const T: usize,
>(
    isa: I,
    tiles: &[&[Tile]; G],
    x: &[Q8Token<'_>; T],
    offset: i32,
    acc: &mut [[I::F32; T]; G],
) {
    let n = tiles[0].len().min(TILES);
    let (mut part, mut tokens) = (*tiles, *x);
    for tiles in &mut part {
        *tiles = &tiles[..n];
    }
    // What the sums of activations become: surplus that the unsigned quants' dots start from, or factors of minimums.
    let (mut starts, mut sums) = ([[[0; 2]; TILES]; T], [[[0.0; 2]; TILES]; T]);
    for t in 0..T {
        tokens[t] = x[t].part(0..n);
        for ((&[low, high], start), sum) in tokens[t].sums.iter().zip(&mut starts[t]).zip(&mut sums[t]) {
            let [low, high] = [i32::from(low), i32::from(high)];
            let halves = if HALVES { [low, high] } else { [low + high, 0] };
            *start = halves.map(|sum| -offset * sum);
            *sum = halves.map(|sum| sum as f32);
        }
    }
    let mut totals = *acc;
    for at in 0..n {
        let mut terms = [[isa.zero(); T]; G];
        for half in 0..=usize::from(HALVES) {
            let mut dots = [[isa.splat_i32(0); T]; G];
            if !MINS {
                for t in 0..T {
                    for g in 0..G {
                        dots[g][t] = isa.splat_i32(starts[t][at][half]);
                    }
                }
            }
            let fours = if HALVES { 4 * half..4 * half + 4 } else { 0..8 };
            if RUN == 0 {
                add_bytes(isa, &part, &tokens, at, &mut dots);
            } else {
                for run in fours.step_by(RUN) {
                    let mut sums = [[isa.begin_fours(dots[0][0]); T]; G];
                    for g in 0..G {
                        for t in 0..T {
                            sums[g][t] = isa.begin_fours(dots[g][t]);
                        }
                    }
                    for k in run..run + RUN {
                        for t in 0..T {
                            let four = splat_four(isa, &tokens[t].values[at], k);
                            for g in 0..G {
                                sums[g][t] = isa.dot_fours(sums[g][t], &part[g][at].q[k], four);
                            }
                        }
                    }
                    for g in 0..G {
                        for t in 0..T {
                            dots[g][t] = isa.end_fours(dots[g][t], sums[g][t]);
                        }
                    }
                }
            }
            for g in 0..G {
                let scale = isa.load(&part[g][at].scale[half]);
                for t in 0..T {
                    let dot = isa.to_f32(dots[g][t]);
                    terms[g][t] =
                        if half == 0 { isa.mul(scale, dot) } else { isa.fma(scale, dot, terms[g][t]) };
                }
            }
        }
        if MINS {
            for half in 0..=usize::from(HALVES) {
                for g in 0..G {
                    let min = isa.load(&part[g][at].min[half]);
                    for t in 0..T {
                        terms[g][t] = isa.fnma(min, isa.splat(sums[t][at][half]), terms[g][t]);
                    }
                }
            }
        }
        for t in 0..T {
            let scale = isa.splat(tokens[t].scales[at]);
            for g in 0..G {
                totals[g][t] = isa.fma(scale, terms[g][t], totals[g][t]);
            }
        }
    }
    *acc = totals;
}

/// Adds the products of 32 columns of eight-bit quants to the dots. What has runs stays in `dots`: from a function of its
/// own the products of Q4_K came out 6 % slower.
#[inline(always)]
fn add_bytes<I: Isa, const G: usize, const T: usize>(
    isa: I,
    tiles: &[&[Tile]; G],
    x: &[Q8Token<'_>; T],
    at: usize,
    dots: &mut [[I::I32; T]; G],
) {
    for k in 0..8 {
        for t in 0..T {
            let four = splat_four(isa, &x[t].values[at], k);
            for g in 0..G {
                dots[g][t] = isa.dot_bytes(dots[g][t], &tiles[g][at].q[k], four);
            }
        }
    }
}

/// Activations 4k..4k+4 in every lane.
#[inline(always)]
fn splat_four<I: Isa>(isa: I, values: &[i8; 32], k: usize) -> I::I32 {
    let [a, b, c, d] = values.as_chunks().0[k];
    isa.splat_i32(i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]))
}

/// `out[t * n_rows + r] = w[r] . x[pick[t]]`.
#[inline(always)]
pub(crate) fn product<F: QuantFormat, I: Isa>(
    isa: I,
    w: Rows<'_>,
    x: Acts<'_>,
    pick: Pick<'_>,
    out: &mut [f32],
) {
    let Acts::Q8(x) = x else { unreachable!("checked by Kernels::product") };
    let product = Product::<F> { blocks: bytemuck::cast_slice(w.bytes), w, x, pick };
    // Half of a pair of blocks would be in vain in rows of one; products along a row are for quants that have runs.
    if I::BY_ROW && F::LEN == 256 && F::RUN > 0 && w.n_cols >= 512 && pick.len() == 1 {
        return rows::product::<F, I>(isa, product.blocks, x.token(pick.get(0), w.n_cols / 32), out);
    }
    out.fill(0.0);
    // With few tokens one group of rows streams by at a time: 16 streams of memory are followed better than 32.
    if I::WIDE && pick.len() >= 4 {
        product.run::<I, 2>(isa, out);
    } else {
        product.run::<I, 1>(isa, out);
    }
}

struct Product<'a, F: QuantFormat> {
    blocks: &'a [F::Block],
    w: Rows<'a>,
    x: Q8Acts<'a>,
    pick: Pick<'a>,
}

/// Where tiles lie: their first row, and which 32 columns.
#[derive(Clone)]
struct Place {
    first: usize,
    parts: Range<usize>,
}

impl<'a, F: QuantFormat> Product<'a, F> {
    /// As many tokens as stay in the second-level cache, and at least 16, pass all rows before the next tokens do; rows
    /// in G groups of 16. The running sums rest in `out` between tiles.
    #[inline(always)]
    fn run<I: Isa, const G: usize>(&self, isa: I, out: &mut [f32]) {
        let (n_tokens, n_parts) = (self.pick.len(), self.w.n_cols / 32);
        let pass = (PASS_BYTES / self.w.n_cols.max(1)).max(LEAST_TOKENS).next_multiple_of(12);
        let mut tiles = [[Tile::EMPTY; TILES]; G];
        for token in (0..n_tokens).step_by(pass) {
            let tokens = token..n_tokens.min(token + pass);
            let mut first = 0;
            while first < self.w.n_rows {
                let groups = (self.w.n_rows - first).div_ceil(TILE_ROWS).min(G);
                for start in (0..n_parts).step_by(TILES) {
                    let place = Place { first, parts: start..n_parts.min(start + TILES) };
                    for (group, tiles) in tiles[..groups].iter_mut().enumerate() {
                        self.fill(isa, first + group * TILE_ROWS, place.parts.clone(), tiles);
                    }
                    let rows = first..first + groups * TILE_ROWS;
                    ask_for_next(isa, self.w, rows, place.parts.end, TILES);
                    let n = place.parts.len();
                    if groups == G {
                        let tiles = tiles.each_ref().map(|tiles| &tiles[..n]);
                        self.pass(isa, &tiles, &place, tokens.clone(), out);
                    } else {
                        self.pass(isa, &[&tiles[0][..n]], &place, tokens.clone(), out);
                    }
                }
                first += groups * TILE_ROWS;
            }
        }
    }

    /// Decodes the blocks of 16 rows; where the matrix ends, the last row stands in for the missing ones.
    #[inline(always)]
    fn fill<I: Isa>(&self, isa: I, first: usize, parts: Range<usize>, tiles: &mut [Tile; TILES]) {
        let (n, per_block) = (self.w.n_cols / F::LEN, F::LEN / 32);
        let mut rows: [&[F::Block]; TILE_ROWS] = [&[]; TILE_ROWS];
        for (lane, row) in rows.iter_mut().enumerate() {
            let at = (first + lane).min(self.w.n_rows - 1);
            *row = &self.blocks[at * n..][..n][parts.start / per_block..parts.end / per_block];
        }
        for (at, tiles) in tiles.chunks_exact_mut(per_block).take(rows[0].len()).enumerate() {
            let mut blocks = [&rows[0][at]; TILE_ROWS];
            for (block, row) in blocks.iter_mut().zip(&rows) {
                *block = &row[at];
            }
            F::tiles(isa, &blocks, tiles);
        }
    }

    /// The part of a picked token that meets the tiles.
    #[inline(always)]
    fn token(&self, at: usize, place: &Place) -> Q8Token<'a> {
        self.x.token(self.pick.get(at), self.w.n_cols / 32).part(place.parts.clone())
    }

    /// Some tokens past some tiles.
    #[inline(always)]
    fn pass<I: Isa, const G: usize>(
        &self,
        isa: I,
        tiles: &[&[Tile]; G],
        place: &Place,
        tokens: Range<usize>,
        out: &mut [f32],
    ) {
        let Range { start: mut token, end } = tokens;
        // Sums under way at once: as many as there are registers for. With halves six spill, and gain nothing.
        while I::WIDE && !F::HALVES && token + 6 <= end {
            self.some_tokens::<I, G, 6>(isa, tiles, place, token, out);
            token += 6;
        }
        while token + 4 <= end {
            self.some_tokens::<I, G, 4>(isa, tiles, place, token, out);
            token += 4;
        }
        if token + 2 <= end {
            self.some_tokens::<I, G, 2>(isa, tiles, place, token, out);
            token += 2;
        }
        if token < end {
            self.some_tokens::<I, G, 1>(isa, tiles, place, token, out);
        }
    }

    #[inline(always)]
    fn some_tokens<I: Isa, const G: usize, const T: usize>(
        &self,
        isa: I,
        tiles: &[&[Tile]; G],
        place: &Place,
        token: usize,
        out: &mut [f32],
    ) {
        let n_rows = self.w.n_rows;
        let mut x = [self.token(token, place); T];
        let mut acc = [[isa.zero(); T]; G];
        for t in 0..T {
            x[t] = self.token(token + t, place);
            for (group, acc) in acc.iter_mut().enumerate() {
                let first = place.first + group * TILE_ROWS;
                acc[t] = load(isa, &out[(token + t) * n_rows + first..(token + t + 1) * n_rows]);
            }
        }
        const { assert!(F::RUN * 2 * F::LARGEST * 127 < 1 << 15, "a run of pairs fits 16 bits") };
        match (F::HALVES, F::MINS, F::RUN) {
            (false, false, 4) => isa.block_dots::<false, false, 4, G, T>(tiles, &x, F::OFFSET, &mut acc),
            (false, true, 4) => isa.block_dots::<false, true, 4, G, T>(tiles, &x, F::OFFSET, &mut acc),
            (true, false, 4) => isa.block_dots::<true, false, 4, G, T>(tiles, &x, F::OFFSET, &mut acc),
            (true, true, 4) => isa.block_dots::<true, true, 4, G, T>(tiles, &x, F::OFFSET, &mut acc),
            (true, false, 2) => isa.block_dots::<true, false, 2, G, T>(tiles, &x, F::OFFSET, &mut acc),
            (false, false, 0) => isa.block_dots::<false, false, 0, G, T>(tiles, &x, F::OFFSET, &mut acc),
            _ => unreachable!("a kind of format that has no product"),
        }
        for t in 0..T {
            for (group, acc) in acc.iter().enumerate() {
                let first = place.first + group * TILE_ROWS;
                store(isa, acc[t], &mut out[(token + t) * n_rows + first..(token + t + 1) * n_rows]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::format::{Format, Q4K};
    use crate::isa::Scalar;

    thread_local! {
        static DECODED: Cell<usize> = const { Cell::new(0) };
    }

    /// Q4_K that counts how many groups of blocks it takes apart.
    struct Counting;

    impl QuantFormat for Counting {
        const FORMAT: Format = Q4K::FORMAT;
        const NAME: &'static str = "counting";
        const LEN: usize = Q4K::LEN;
        const HALVES: bool = Q4K::HALVES;
        const MINS: bool = Q4K::MINS;
        const OFFSET: i32 = Q4K::OFFSET;
        const LARGEST: usize = 15;
        type Block = <Q4K as QuantFormat>::Block;

        fn decode(block: &Self::Block, out: &mut [f32]) {
            <Q4K as QuantFormat>::decode(block, out);
        }

        fn tiles<I: Isa>(isa: I, rows: &[&Self::Block; TILE_ROWS], tiles: &mut [Tile]) {
            DECODED.set(DECODED.get() + 1);
            Q4K::tiles(isa, rows, tiles);
        }
    }

    /// However long the rows, 16 tokens meet every tile while it is decoded; a product of one token at a time would
    /// decode it 16 times.
    #[test]
    fn a_tile_is_decoded_once_for_16_tokens() {
        for (n_rows, n_cols, n_tokens, times) in [
            (16, 256, 16, 1),
            (33, 1024, 16, 1),
            (16, 1 << 17, 16, 1),
            (16, 256, 200, 1),
            (16, 1 << 17, 48, 2),
        ] {
            let bytes = vec![0; n_rows * Format::Q4K.row_bytes(n_cols)];
            let (values, scales) = (vec![1; n_tokens * n_cols], vec![1.0; n_tokens * n_cols / 32]);
            let sums = vec![[16; 2]; n_tokens * n_cols / 32];
            let x = Acts::Q8(Q8Acts { values: &values, scales: &scales, sums: &sums, stride: n_cols });
            let mut out = vec![1.0; n_tokens * n_rows];
            DECODED.set(0);
            let w = Rows::new(Format::Q4K, &bytes, n_rows, n_cols);
            product::<Counting, Scalar>(Scalar, w, x, Pick::First(n_tokens), &mut out);
            let groups = n_rows.div_ceil(TILE_ROWS) * (n_cols / 256);
            assert_eq!(DECODED.get(), times * groups, "{n_rows} {n_cols} {n_tokens}");
            assert!(out.iter().all(|&value| value == 0.0));
        }
    }
}

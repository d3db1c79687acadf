//! 8-bit activation blocks, and the products of Q8_0 weights with them.
//!
//! **Definition.** For each output, blocks of 32 in ascending order:
//! `acc = fma(d_w * d_x, isum as f32, acc)`, from 0, where isum is the exact integer sum of the block's 32 products
//! (at most 32 * 128 * 127 = 520,192, exact in f32) and d_w * d_x is rounded once. That fixes every bit, so the
//! levels, the row-wise path and the tiled path agree exactly, and tests compare with `assert_eq!`.
//!
//! Error against exact arithmetic on the same blocks, n blocks, u = 2^-24: each term passes the rounding of its
//! scale and at most n fused steps, so |error| <= (n + 1) u / (1 - (n + 1) u) * sum |d_w d_x isum|.

use std::ops::Range;

use crate::format::BlockQ8_0;
use crate::isa::{Isa, TILE_ROWS};
use crate::view::{Acts, Pick, Q8Acts, Q8Token, Rows};

/// Largest magnitude of 32 values; infinite if one is, and NaN if one is NaN. Exact, so any order will do.
#[inline(always)]
pub(crate) fn amax<I: Isa>(isa: I, x: &[f32; 32]) -> f32 {
    let (x, _) = x.as_chunks::<16>();
    let magnitude = |x: &[f32; 16]| isa.and(isa.bits(isa.load(x)), isa.splat_i32(0x7fff_ffff));
    // As integers magnitudes are in the order of the floats, with infinity and then the NaNs on top.
    let bits = isa.max_lane_i32(isa.max_i32(magnitude(&x[0]), magnitude(&x[1])));
    f32::from_bits(bits.cast_unsigned())
}

/// Below this a block counts as zero: 127 / amax must stay finite.
const SMALLEST_AMAX: f32 = f32::from_bits((127 - 120) << 23);

/// Blocks of 32 activations: scale = amax / 127, q = x * (127 / amax) rounded to nearest, ties to even; sums of q over
/// the two halves, at most 16 * 127.
///
/// Error: a value is off by at most half a scale, amax / 254, and by the roundings of scale and quotient, at most 3 u amax
/// (u = 2^-24). Of values that are normally distributed that is 0.53 % of their root mean square; one outlier in a
/// block costs the other 31, and no further ones. A scale is a float of 32 bits: what the real model's experts put out
/// goes beyond what a half can hold.
///
/// |q| <= 127 without clamping: |x| <= amax and three roundings cannot carry 127 past 127.5. A block whose amax is
/// below 2^-120 is zero (scale 0); one with an infinity or NaN gets scale NaN and zero quants, so that the fault
/// reaches the logits, where it is reported.
#[inline(always)]
pub(crate) fn encode<I: Isa>(
    isa: I,
    x: &[f32],
    values: &mut [i8],
    scales: &mut [f32],
    sums: &mut [[i16; 2]],
) {
    let blocks = x.as_chunks::<32>().0.iter().zip(values.as_chunks_mut::<32>().0);
    for ((x, values), (scale, sum)) in blocks.zip(scales.iter_mut().zip(sums)) {
        let amax = amax(isa, x);
        if !(SMALLEST_AMAX..f32::INFINITY).contains(&amax) {
            *values = [0; 32];
            *scale = if amax < SMALLEST_AMAX { 0.0 } else { f32::NAN };
            *sum = [0; 2];
            continue;
        }
        *scale = amax / 127.0;
        let inverse = isa.splat(127.0 / amax);
        let (x, _) = x.as_chunks::<16>();
        let (values, _) = values.as_chunks_mut::<16>();
        let low = isa.round(isa.mul(isa.load(&x[0]), inverse));
        let high = isa.round(isa.mul(isa.load(&x[1]), inverse));
        isa.store_i8(low, &mut values[0]);
        isa.store_i8(high, &mut values[1]);
        *sum = [isa.sum_i32(low) as i16, isa.sum_i32(high) as i16];
    }
}

/// From this many tokens on a weight tile is rearranged once and used for all of them. The bits are the same.
const TILED_FROM: usize = 4;
/// Blocks of a tile that are rearranged at a time: with two groups of rows 18 KiB, for the first-level cache.
const TILE_BLOCKS: usize = 16;
/// Activations of the tokens that pass all rows before the next tokens do: they should stay in the second-level
/// cache.
pub(super) const PASS_BYTES: usize = 1 << 20;
/// But never fewer than these, however long the rows: decoding a tile must not cost more than its products.
pub(super) const LEAST_TOKENS: usize = 16;
/// Tokens under way at once: with two groups of rows as many independent sums as hide the latency; with half the registers
/// as many as they hold.
const TILE_TOKENS: usize = 6;
const FEW_TILE_TOKENS: usize = 4;

/// `out[t * n_rows + r] = w[r] . x[pick[t]]`.
#[inline(always)]
pub(crate) fn product<I: Isa>(isa: I, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) {
    let Acts::Q8(x) = x else { unreachable!("checked by Kernels::product") };
    let product = Product { blocks: bytemuck::cast_slice(w.bytes), w, x, pick };
    if pick.len() < TILED_FROM {
        product.by_rows(isa, out);
    } else if I::WIDE {
        product.tiled::<I, 2>(isa, out);
    } else {
        product.tiled::<I, 1>(isa, out);
    }
}

struct Product<'a> {
    blocks: &'a [BlockQ8_0],
    w: Rows<'a>,
    x: Q8Acts<'a>,
    pick: Pick<'a>,
}

impl<'a> Product<'a> {
    #[inline(always)]
    fn n_blocks(&self) -> usize {
        self.w.n_cols / 32
    }

    /// The blocks of 16 rows from `first` on; where the matrix ends, the last row stands in for the missing ones.
    #[inline(always)]
    fn rows(&self, first: usize) -> [&'a [BlockQ8_0]; TILE_ROWS] {
        let n = self.n_blocks();
        let mut rows: [&[BlockQ8_0]; TILE_ROWS] = [&[]; TILE_ROWS];
        for (lane, blocks) in rows.iter_mut().enumerate() {
            let row = (first + lane).min(self.w.n_rows - 1);
            *blocks = &self.blocks[row * n..][..n];
        }
        rows
    }

    #[inline(always)]
    fn token(&self, at: usize) -> Q8Token<'a> {
        self.x.token(self.pick.get(at), self.n_blocks())
    }

    /// Few tokens: the weights stream by once and every block is summed across its row.
    #[inline(always)]
    fn by_rows<I: Isa>(&self, isa: I, out: &mut [f32]) {
        let n_rows = self.w.n_rows;
        for first in (0..n_rows).step_by(TILE_ROWS) {
            let rows = self.rows(first);
            for token in 0..self.pick.len() {
                let sums = isa.q8_rows(&rows, self.token(token));
                let out = &mut out[token * n_rows + first..(token + 1) * n_rows];
                store(isa, sums, out);
            }
        }
    }

    /// Many tokens: as many as stay in cache pass all rows, before the next tokens do; rows in G groups of 16, some
    /// blocks of which are rearranged at a time. The running sums rest in `out` in between.
    #[inline(always)]
    fn tiled<I: Isa, const G: usize>(&self, isa: I, out: &mut [f32]) {
        let n_tokens = self.pick.len();
        let fitting = (PASS_BYTES / self.w.n_cols.max(1))
            .max(LEAST_TOKENS)
            .next_multiple_of(TILE_TOKENS * FEW_TILE_TOKENS / 2);
        let mut tiles = [[I::Q8_EMPTY; TILE_BLOCKS]; G];
        out.fill(0.0);
        for token in (0..n_tokens).step_by(fitting) {
            let tokens = token..n_tokens.min(token + fitting);
            let mut first = 0;
            while first < self.w.n_rows {
                let groups = (self.w.n_rows - first).div_ceil(TILE_ROWS).min(G);
                for start in (0..self.n_blocks()).step_by(TILE_BLOCKS) {
                    let place = Place { first, start, n: TILE_BLOCKS.min(self.n_blocks() - start) };
                    for (group, tiles) in tiles[..groups].iter_mut().enumerate() {
                        self.fill(isa, group, place, tiles);
                    }
                    let rows = first..first + groups * TILE_ROWS;
                    ask_for_next(isa, self.w, rows, start + place.n, TILE_BLOCKS);
                    if groups == G {
                        let tiles = tiles.each_ref().map(|tiles| &tiles[..place.n]);
                        self.pass(isa, &tiles, place, tokens.clone(), out);
                    } else {
                        self.pass(isa, &[&tiles[0][..place.n]], place, tokens.clone(), out);
                    }
                }
                first += groups * TILE_ROWS;
            }
        }
    }

    /// Rearranges the blocks of one group of rows.
    #[inline(always)]
    fn fill<I: Isa>(&self, isa: I, group: usize, place: Place, tiles: &mut [I::Q8Tile]) {
        let rows = self.rows(place.first + group * TILE_ROWS);
        for (at, tile) in tiles[..place.n].iter_mut().enumerate() {
            isa.q8_tile(&rows.map(|row| &row[place.start + at]), tile);
        }
    }

    /// Some tokens past some tiles.
    #[inline(always)]
    fn pass<I: Isa, const G: usize>(
        &self,
        isa: I,
        tiles: &[&[I::Q8Tile]; G],
        place: Place,
        tokens: Range<usize>,
        out: &mut [f32],
    ) {
        let Range { start: mut token, end } = tokens;
        while I::WIDE && token + TILE_TOKENS <= end {
            self.some_tokens::<I, G, TILE_TOKENS>(isa, tiles, place, token, out);
            token += TILE_TOKENS;
        }
        while token + FEW_TILE_TOKENS <= end {
            self.some_tokens::<I, G, FEW_TILE_TOKENS>(isa, tiles, place, token, out);
            token += FEW_TILE_TOKENS;
        }
        match end - token {
            1 => self.some_tokens::<I, G, 1>(isa, tiles, place, token, out),
            2 => self.some_tokens::<I, G, 2>(isa, tiles, place, token, out),
            3 => self.some_tokens::<I, G, 3>(isa, tiles, place, token, out),
            _ => {}
        }
    }

    #[inline(always)]
    fn some_tokens<I: Isa, const G: usize, const T: usize>(
        &self,
        isa: I,
        tiles: &[&[I::Q8Tile]; G],
        place: Place,
        token: usize,
        out: &mut [f32],
    ) {
        let n_rows = self.w.n_rows;
        let mut x = [self.token(token).part(place.start..place.start + place.n); T];
        let mut acc = [[isa.zero(); T]; G];
        for t in 0..T {
            x[t] = self.token(token + t).part(place.start..place.start + place.n);
            for (group, acc) in acc.iter_mut().enumerate() {
                let first = place.first + group * TILE_ROWS;
                acc[t] = load(isa, &out[(token + t) * n_rows + first..(token + t + 1) * n_rows]);
            }
        }
        isa.q8_tile_dots(tiles, &x, &mut acc);
        for t in 0..T {
            for (group, acc) in acc.iter().enumerate() {
                let first = place.first + group * TILE_ROWS;
                store(isa, acc[t], &mut out[(token + t) * n_rows + first..(token + t + 1) * n_rows]);
            }
        }
    }
}

/// Where a tile lies: its first row, its first block along the row, its number of blocks.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    start: usize,
    n: usize,
}

/// Asks for the weights of the next tiles while those of `rows` up to `end` meet their tokens, `end` and `most` in units of 32
/// columns: 16 rows are more streams than the machine follows by itself. With 16 tokens and weights from memory it brings
/// Q6_K from 42 to 46 GMAC/s, Q4_K from 68 to 71.
#[inline(always)]
pub(super) fn ask_for_next<I: Isa>(isa: I, w: Rows<'_>, rows: Range<usize>, end: usize, most: usize) {
    let (row_bytes, n_parts) = (w.row_bytes(), w.n_cols / 32);
    let (rows, start) = if end < n_parts { (rows, end) } else { (rows.end..rows.end + rows.len(), 0) };
    // Tiles begin and end with blocks, so these are whole.
    let part = start * row_bytes / n_parts..n_parts.min(start + most) * row_bytes / n_parts;
    for row in rows {
        for at in part.clone().step_by(64) {
            isa.prefetch_far(w.bytes, row * row_bytes + at);
        }
    }
}

/// As many of 16 lanes as there is room for.
#[inline(always)]
pub(super) fn store<I: Isa>(isa: I, x: I::F32, out: &mut [f32]) {
    match out.first_chunk_mut() {
        Some(out) => isa.store(x, out),
        None => isa.store_part(x, out),
    }
}

#[inline(always)]
pub(super) fn load<I: Isa>(isa: I, x: &[f32]) -> I::F32 {
    match x.first_chunk() {
        Some(x) => isa.load(x),
        None => isa.load_part(x),
    }
}

//! Float weights (f32, f16, bf16) times unrounded f32 activations.
//!
//! **Definition.** For each output, 16 running sums along the row, lane = column modulo 16:
//! `acc[lane] = fma(w, x, acc[lane])` from 0 in ascending columns, the last part padded with zeros; then the tree
//! of `Isa::sum`. Weights are decoded exactly, so nothing else rounds.
//!
//! Error against exact arithmetic, n columns, u = 2^-24: a term passes at most ceil(n / 16) fused steps and 4
//! additions, so |error| <= g / (1 - g) * sum |w x| with g = (ceil(n / 16) + 4) u.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::format::BlockFormat;
use crate::isa::{Aligned, Isa};
use crate::op::q8::LEAST_TOKENS;
use crate::view::{Acts, F32Acts, Pick, Rows};

/// What a float format adds to [`BlockFormat`]: 16 values at a time.
pub(crate) trait FloatFormat: BlockFormat {
    /// The bytes of 16 values. All zero bytes are 16 zeros.
    type Chunk: Pod;

    fn load<I: Isa>(isa: I, chunk: &Self::Chunk) -> I::F32;
    fn store<I: Isa>(isa: I, x: I::F32, chunk: &mut Self::Chunk);
}

/// A row cut into whole chunks and the bytes that are left.
#[inline(always)]
fn chunks<F: FloatFormat>(row: &[u8]) -> (&[F::Chunk], &[u8]) {
    let whole = row.len() / size_of::<F::Chunk>() * size_of::<F::Chunk>();
    (bytemuck::cast_slice(&row[..whole]), &row[whole..])
}

/// A last part, zeros behind it.
#[inline(always)]
fn load_tail<F: FloatFormat, I: Isa>(isa: I, bytes: &[u8]) -> I::F32 {
    let mut chunk = F::Chunk::zeroed();
    bytemuck::bytes_of_mut(&mut chunk)[..bytes.len()].copy_from_slice(bytes);
    F::load(isa, &chunk)
}

#[inline(always)]
pub(crate) fn decode_row<F: FloatFormat, I: Isa>(isa: I, row: &[u8], out: &mut [f32]) {
    let (chunks, tail) = chunks::<F>(row);
    let (out, out_tail) = out.as_chunks_mut::<16>();
    for (chunk, out) in chunks.iter().zip(out.iter_mut()) {
        isa.store(F::load(isa, chunk), out);
    }
    if !tail.is_empty() {
        let last = load_tail::<F, I>(isa, tail);
        match out.get_mut(chunks.len()) {
            Some(out) => isa.store(last, out),
            None => isa.store_part(last, out_tail),
        }
    }
}

#[inline(always)]
pub(crate) fn encode_row<F: FloatFormat, I: Isa>(isa: I, x: &[f32], out: &mut [u8]) {
    let (x, x_tail) = x.as_chunks::<16>();
    let (whole, tail) = out.split_at_mut(x.len() * size_of::<F::Chunk>());
    for (x, chunk) in x.iter().zip(bytemuck::cast_slice_mut(whole)) {
        F::store(isa, isa.load(x), chunk);
    }
    if !tail.is_empty() {
        let mut chunk = F::Chunk::zeroed();
        F::store(isa, isa.load_part(x_tail), &mut chunk);
        tail.copy_from_slice(&bytemuck::bytes_of(&chunk)[..tail.len()]);
    }
}

/// From this many tokens on a weight tile is decoded once and used for several of them. The bits are the same.
const TILED_FROM: usize = 4;
/// Rows that stream by at once.
const ROWS: usize = 4;
/// Rows in a decoded tile.
const TILE_ROWS: usize = 8;
/// Chunks of 16 columns in a decoded tile: with 8 rows 16 KiB, half a first-level cache.
const TILE_CHUNKS: usize = 32;
/// Tokens that pass all rows before the next tokens do, at most.
const PASS_TOKENS: usize = 32;
/// Their activations should stay in the second-level cache.
const PASS_BYTES: usize = 1 << 20;

/// `out[t * n_rows + r] = w[r] . x[pick[t]]`.
#[inline(always)]
pub(crate) fn product<F: FloatFormat, I: Isa>(
    isa: I,
    w: Rows<'_>,
    x: Acts<'_>,
    pick: Pick<'_>,
    out: &mut [f32],
) {
    let Acts::F32(x) = x else { unreachable!("checked by Kernels::product") };
    let product = Product { w, row_bytes: w.n_cols * F::BYTES, x, pick };
    if pick.len() < TILED_FROM {
        product.by_rows::<F, I>(isa, out);
    } else {
        product.tiled::<F, I>(isa, out);
    }
}

struct Product<'a> {
    w: Rows<'a>,
    row_bytes: usize,
    x: F32Acts<'a>,
    pick: Pick<'a>,
}

/// The sums of the tokens of a pass, before the tree.
type Sums<I> = [[<I as Isa>::F32; TILE_ROWS]; PASS_TOKENS];
/// Rows of decoded weights.
type Tile = [[[f32; 16]; TILE_CHUNKS]; TILE_ROWS];

impl<'a> Product<'a> {
    /// Rows from `first` on; where the matrix ends, the last row stands in for the missing ones.
    #[inline(always)]
    fn rows<const N: usize>(&self, first: usize) -> [&'a [u8]; N] {
        let mut rows: [&[u8]; N] = [&[]; N];
        for (at, bytes) in rows.iter_mut().enumerate() {
            let row = (first + at).min(self.w.n_rows - 1);
            *bytes = &self.w.bytes[row * self.row_bytes..][..self.row_bytes];
        }
        rows
    }

    #[inline(always)]
    fn token(&self, at: usize) -> &'a [f32] {
        self.x.token(self.pick.get(at), self.w.n_cols)
    }

    /// Few tokens: the weights stream by once, decoded on the way.
    #[inline(always)]
    fn by_rows<F: FloatFormat, I: Isa>(&self, isa: I, out: &mut [f32]) {
        let n_rows = self.w.n_rows;
        for first in (0..n_rows).step_by(ROWS) {
            let rows = self.rows(first);
            for token in 0..self.pick.len() {
                let sums = dot_rows::<F, I>(isa, &rows, self.token(token));
                for (sum, out) in sums.iter().zip(&mut out[token * n_rows + first..(token + 1) * n_rows]) {
                    *out = isa.sum(*sum);
                }
            }
        }
    }

    /// Many tokens: as many as stay in cache pass all rows, before the next tokens do.
    #[inline(always)]
    fn tiled<F: FloatFormat, I: Isa>(&self, isa: I, out: &mut [f32]) {
        let n_tokens = self.pick.len();
        let fitting = PASS_BYTES / (4 * self.w.n_cols.max(1)) / 4 * 4;
        let pass = fitting.clamp(LEAST_TOKENS, PASS_TOKENS);
        for token in (0..n_tokens).step_by(pass) {
            let tokens = token..n_tokens.min(token + pass);
            for first in (0..self.w.n_rows).step_by(TILE_ROWS) {
                self.pass::<F, I>(isa, first, tokens.clone(), out);
            }
        }
    }

    /// Some tokens past the rows from `first` on, decoded in tiles of 512 columns.
    #[inline(always)]
    fn pass<F: FloatFormat, I: Isa>(&self, isa: I, first: usize, tokens: Range<usize>, out: &mut [f32]) {
        let n_rows = self.w.n_rows;
        let rows: [&[u8]; TILE_ROWS] = self.rows(first);
        let mut tile: Aligned<Tile> = Aligned([[[0.0; 16]; TILE_CHUNKS]; TILE_ROWS]);
        let mut sums: Sums<I> = [[isa.zero(); TILE_ROWS]; PASS_TOKENS];
        for column in (0..self.w.n_cols).step_by(TILE_CHUNKS * 16) {
            let columns = (TILE_CHUNKS * 16).min(self.w.n_cols - column);
            for (row, tile) in rows.iter().zip(&mut tile.0) {
                let bytes = &row[column * F::BYTES..][..columns * F::BYTES];
                F::decode_row(isa, bytes, tile.as_flattened_mut());
            }
            self.tile(isa, &tile.0, column..column + columns, tokens.clone(), &mut sums);
        }
        // Two tokens with eight rows each are the 16 sums that the tree takes at once.
        for (token, sums) in tokens.clone().step_by(2).zip(sums.chunks_exact(2)) {
            let mut flat = [isa.zero(); 16];
            flat.copy_from_slice(sums.as_flattened());
            let mut totals = [0.0; 16];
            isa.store(isa.sum16(&flat), &mut totals);
            for (token, totals) in (token..tokens.end).zip(totals.chunks_exact(TILE_ROWS)) {
                let out = &mut out[token * n_rows + first..(token + 1) * n_rows];
                for (out, total) in out.iter_mut().zip(totals) {
                    *out = *total;
                }
            }
        }
    }

    /// Some columns of some tokens past one tile, four tokens at a time; the last token stands in for missing ones.
    #[inline(always)]
    fn tile<I: Isa>(
        &self,
        isa: I,
        tile: &Tile,
        columns: Range<usize>,
        tokens: Range<usize>,
        sums: &mut Sums<I>,
    ) {
        let last = tokens.end - 1;
        for (token, sums) in tokens.step_by(4).zip(sums.as_chunks_mut::<4>().0) {
            let x = [0, 1, 2, 3].map(|t| &self.token((token + t).min(last))[columns.clone()]);
            if I::WIDE {
                for row in [0, 4] {
                    dot_tile::<I, 4, 4>(isa, tile, &x, sums, (row, 0));
                }
            } else {
                for row in [0, 2, 4, 6] {
                    dot_tile::<I, 2, 2>(isa, tile, &x, sums, (row, 0));
                    dot_tile::<I, 2, 2>(isa, tile, &x, sums, (row, 2));
                }
            }
        }
    }
}

/// The sums of four rows with one token, before the tree.
#[inline(always)]
fn dot_rows<F: FloatFormat, I: Isa>(isa: I, rows: &[&[u8]; ROWS], x: &[f32]) -> [I::F32; ROWS] {
    let (x, x_tail) = x.as_chunks::<16>();
    let n = x.len();
    let rows = rows.map(chunks::<F>);
    let [r0, r1, r2, r3] = rows.map(|(chunks, _)| &chunks[..n]);
    let mut sums = [isa.zero(); ROWS];
    for at in 0..n {
        let x = isa.load(&x[at]);
        sums[0] = isa.fma(F::load(isa, &r0[at]), x, sums[0]);
        sums[1] = isa.fma(F::load(isa, &r1[at]), x, sums[1]);
        sums[2] = isa.fma(F::load(isa, &r2[at]), x, sums[2]);
        sums[3] = isa.fma(F::load(isa, &r3[at]), x, sums[3]);
    }
    if !x_tail.is_empty() {
        let x = isa.load_part(x_tail);
        for (sum, (_, tail)) in sums.iter_mut().zip(rows) {
            *sum = isa.fma(load_tail::<F, I>(isa, tail), x, *sum);
        }
    }
    sums
}

/// Continues the sums of R rows and T tokens, from the given (row, token) of the tile on.
#[inline(always)]
fn dot_tile<I: Isa, const R: usize, const T: usize>(
    isa: I,
    tile: &Tile,
    x: &[&[f32]; 4],
    sums: &mut [[I::F32; TILE_ROWS]; 4],
    corner: (usize, usize),
) {
    let mut acc = [[isa.zero(); T]; R];
    let mut tokens: [&[[f32; 16]]; T] = [&[]; T];
    let n = x[0].len() / 16;
    for t in 0..T {
        tokens[t] = &x[corner.1 + t].as_chunks().0[..n];
        for r in 0..R {
            acc[r][t] = sums[corner.1 + t][corner.0 + r];
        }
    }
    for at in 0..n {
        let mut vectors = [isa.zero(); T];
        for t in 0..T {
            vectors[t] = isa.load(&tokens[t][at]);
        }
        for r in 0..R {
            let w = isa.load(&tile[corner.0 + r][at]);
            for t in 0..T {
                acc[r][t] = isa.fma(w, vectors[t], acc[r][t]);
            }
        }
    }
    for t in 0..T {
        let tail = x[corner.1 + t].as_chunks::<16>().1;
        for r in 0..R {
            if !tail.is_empty() {
                acc[r][t] = isa.fma(isa.load(&tile[corner.0 + r][n]), isa.load_part(tail), acc[r][t]);
            }
            sums[corner.1 + t][corner.0 + r] = acc[r][t];
        }
    }
}

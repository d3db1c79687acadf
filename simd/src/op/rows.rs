//! Products of K-quants up to 6 bits with a single token, a row of weights at a time: what decoding spends its time on
//! where 16 rows cannot be turned round cheaply (`Isa::BY_ROW`).
//!
//! The definition is that of `blocks.rs`, and so are the bits. Only the order of the work differs: blocks lie in the lanes
//! first, where a row's own scales lie side by side, until each block's term is there; then the terms of 16 rows are turned
//! round and the running sums take them block by block, rows in the lanes. Turning round 16 terms for 512 columns is
//! cheaper than turning round the 512 quants. And weights are read as they lie in memory, one stream for all rows, which
//! is easier to prefetch than 16.
//!
//! GB/s of weights on one Zen 3 core, 7168 columns: from cache, from memory in pages of 4 KiB, and of 2 MiB. Q6_K 17.9, 15.5 and
//! 17.3; Q5_K 14.7, 13.3 and 14.4; Q4_K 16.3, 14.5 and 16.1; Q3_K 8.6, 8.7 and 8.8; Q2_K 7.9, 8.1 and 8.2. By tiles, from memory,
//! some minutes apart: Q6_K 6.3, Q5_K 8.1, Q4_K 9.3, Q3_K 6.8, Q2_K 6.7.

use crate::format::{QuantFormat, RowParts};
use crate::isa::{Aligned, Isa, TILE_ROWS};
use crate::op::q8::{load, store};
use crate::view::Q8Token;

/// Blocks of 32 columns whose terms wait for their rows: 8192 columns, so that rows of the usual length are read in one go and the
/// terms of 16 rows stay in the first-level cache. Half of it cut rows of 7168 in two, and memory was then read in runs with
/// gaps, where prefetching fetches what is not wanted yet: Q4_K came at 8.5 GB/s instead of 14.5, Q6_K at 7.8 instead of 15.5.
const BLOCKS: usize = 256;

/// What a token's sums of activations become, block by block; of halves, or in the first place of whole blocks.
struct Sums {
    /// As factors of minimums.
    floats: [Aligned<[f32; BLOCKS]>; 2],
    /// What offsets take off the dots: -offset * sum.
    starts: [Aligned<[f32; BLOCKS]>; 2],
}

impl Sums {
    #[inline(always)]
    fn set<F: QuantFormat>(&mut self, sums: &[[i16; 2]]) {
        for (at, &[low, high]) in sums.iter().enumerate() {
            let [low, high] = [i32::from(low), i32::from(high)];
            let halves = if F::HALVES { [low, high] } else { [low + high, 0] };
            for half in 0..2 {
                self.floats[half].0[at] = halves[half] as f32;
                // Whole numbers below 2^24: exact as floats.
                self.starts[half].0[at] = (-F::OFFSET * halves[half]) as f32;
            }
        }
    }
}

/// The token's part of rows that wait: what all rows share.
struct Token<'x> {
    scales: &'x [f32],
    sums: Sums,
    /// The activations in whole 16 blocks; what lies behind the last one is multiplied and not read.
    values: Aligned<[[[i8; 32]; 16]; BLOCKS / 16]>,
}

/// How far ahead of the products weights are asked for, in bytes: a fifth of a microsecond, more than memory takes. 1 KiB
/// lost a tenth, 8 KiB gained nothing.
const AHEAD: usize = 3 << 10;

/// `out[r] = row r . x`; the rows' blocks follow each other.
#[inline(always)]
pub(crate) fn product<F: QuantFormat, I: Isa>(isa: I, rows: &[F::Block], x: Q8Token<'_>, out: &mut [f32]) {
    let n_blocks = x.values.len() / 8;
    let zeros = [Aligned([0.0; BLOCKS]); 2];
    let (sums, values) = (Sums { floats: zeros, starts: zeros }, Aligned([[[0; 32]; 16]; BLOCKS / 16]));
    let mut token = Token { scales: x.scales, sums, values };
    let mut terms = [[Aligned([0.0; 16]); BLOCKS / 16]; TILE_ROWS];
    for start in (0..x.values.len()).step_by(BLOCKS) {
        let x = x.part(start..x.values.len().min(start + BLOCKS));
        token.scales = x.scales;
        token.sums.set::<F>(x.sums);
        token.values.0.as_flattened_mut()[..x.values.len()].copy_from_slice(x.values);
        let n_parts = x.values.len() / 8;
        for (group, out) in out.chunks_mut(TILE_ROWS).enumerate() {
            for (lane, terms) in terms.iter_mut().enumerate().take(out.len()) {
                let from = (group * TILE_ROWS + lane) * n_blocks + start / 8;
                row_terms::<F, I>(isa, &rows[from..], n_parts, &token, terms);
            }
            let mut acc = if start == 0 { isa.zero() } else { load(isa, out) };
            for (at, scales) in token.scales.chunks(16).enumerate() {
                let mut square = [isa.zero(); TILE_ROWS];
                for (vector, terms) in square.iter_mut().zip(&terms) {
                    *vector = isa.load(&terms[at].0);
                }
                for (scale, terms) in scales.iter().zip(isa.transpose(&square)) {
                    acc = isa.fma(isa.splat(*scale), terms, acc);
                }
            }
            store(isa, acc, out);
        }
    }
}

/// The terms of the first `n_blocks` of a row, 16 blocks of 32 columns in the lanes.
#[inline(always)]
fn row_terms<F: QuantFormat, I: Isa>(
    isa: I,
    row: &[F::Block],
    n_blocks: usize,
    token: &Token<'_>,
    terms: &mut [Aligned<[f32; 16]>; BLOCKS / 16],
) {
    let bytes: &[u8] = bytemuck::cast_slice(row);
    let pair_bytes = 2 * size_of::<F::Block>();
    let mut parts = RowParts::empty(isa);
    for (at, (pair, terms)) in row[..n_blocks].chunks(2).zip(terms).enumerate() {
        for line in (0..pair_bytes).step_by(64) {
            isa.prefetch(bytes, at * pair_bytes + AHEAD + line);
        }
        // An odd block is taken twice; nobody reads the second half.
        F::row_parts(isa, [&pair[0], &pair[pair.len() - 1]], &mut parts);
        let values = &token.values.0[at];
        let dots = if F::HALVES {
            isa.part_dots::<true>(&parts.q.0, values)
        } else {
            isa.part_dots::<false>(&parts.q.0, values)
        };
        let (mut low, mut high) = (isa.to_f32(dots[0]), isa.to_f32(dots[1]));
        if !F::MINS {
            low = isa.add(low, sixteen(isa, &token.sums.starts[0], at));
            high = isa.add(high, sixteen(isa, &token.sums.starts[1], at));
        }
        let mut term = isa.mul(parts.scale[0], low);
        if F::HALVES {
            term = isa.fma(parts.scale[1], high, term);
        }
        if F::MINS {
            term = isa.fnma(parts.min[0], sixteen(isa, &token.sums.floats[0], at), term);
        }
        if F::MINS && F::HALVES {
            term = isa.fnma(parts.min[1], sixteen(isa, &token.sums.floats[1], at), term);
        }
        isa.store(term, &mut terms.0);
    }
}

/// Lanes 16 at .. 16 at + 16.
#[inline(always)]
fn sixteen<I: Isa>(isa: I, lanes: &Aligned<[f32; BLOCKS]>, at: usize) -> I::F32 {
    isa.load(&lanes.0.as_chunks().0[at])
}

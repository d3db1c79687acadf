//! Products of K-quants up to 6 bits with a single token, a row of weights at a time: what decoding spends its time on
//! on machines with vectors (`Isa::BY_ROW`).
//!
//! The definition is that of `blocks.rs`, and so are the bits. Only the order of the work differs: blocks lie in the lanes
//! first, where a row's own scales lie side by side, until each block's term is there; then the terms of 16 rows are turned
//! round and the running sums take them block by block, rows in the lanes. Turning round 16 terms for 512 columns is
//! cheaper than turning round the 512 quants. And weights are read as they lie in memory, one stream for all rows, which
//! is easier to prefetch than 16.
//!
//! GB/s of weights on one core, 7168 columns. Zen 3, AVX2, by tiles from memory, by rows from cache and from memory: Q6_K 6.3, 17.9,
//! 15.5; Q5_K 8.1, 14.7, 13.3; Q4_K 9.3, 16.3, 14.5; Q3_K 6.8, 8.6, 8.7; Q2_K 6.7, 7.9, 8.1 (asking for less than `FAR`).
//! Zen 4, AVX-512: Q6_K 8.2, 25.1, 25.0; Q4_K 12.8, 23.3, 21.3.

use crate::format::{QuantFormat, RowParts};
use crate::isa::{Aligned, Isa, TILE_ROWS};
use crate::op::q8::store;
use crate::view::Q8Token;

/// Sixteens of blocks of 32 columns whose terms wait for their rows: 8192 columns, so that rows of the usual length are read in one
/// go and the terms of 16 rows stay in the first-level cache.
const USUAL: usize = 16;
/// The same for longer rows, 20,480 columns, whose terms go through the second-level cache. It is better than to read memory in runs
/// with gaps, where the machine fetches by itself what is not wanted: 16,384 columns of Q6_K come at 16.8 GB/s, in two
/// runs for each row at 13.2, in two runs for all rows at 11.9.
const LONG: usize = 40;

/// The same for rows of up to 2048 columns, those of an expert's last matrix: what is cleared before a product, room and all, was a
/// twenty-fifth of what it then reads.
const SHORT: usize = 4;

/// What 16 blocks say, one a lane.
type Lanes = Aligned<[f32; 16]>;

/// The token's part of rows that wait: what all rows share.
struct Token<'x> {
    /// The activations in whole 16 blocks; what lies behind the last one is multiplied and not read.
    values: &'x [[[i8; 32]; 16]],
    /// What the sums of activations become, block by block; of halves, or in the first place of whole blocks: factors of
    /// minimums, or what offsets take off the dots, -offset * sum.
    sums: [&'x [Lanes]; 2],
}

/// Fills `Token::sums`.
#[inline(always)]
fn set_sums<F: QuantFormat, const N: usize>(sums: &[[i16; 2]], out: &mut [[Lanes; N]; 2]) {
    let factor = if F::MINS { 1 } else { -F::OFFSET };
    for (at, &[low, high]) in sums.iter().enumerate() {
        let [low, high] = [i32::from(low), i32::from(high)];
        let halves = if F::HALVES { [low, high] } else { [low + high, 0] };
        for half in 0..2 {
            // Whole numbers below 2^24: exact as floats.
            out[half][at / 16].0[at % 16] = (factor * halves[half]) as f32;
        }
    }
}

/// How far ahead of the products weights are asked for, in bytes: into the second-level cache, whose queue to memory is the
/// longer one, by some 400 ns, and into the first just before they are wanted. One Zen 4 core, AVX-512, GB/s from memory: Q6_K 18.6 by
/// asking 3 KiB ahead into the first alone, 23.1 by the second alone, 25.0 by both, which is what it does from cache.
const FAR: usize = 16 << 10;
const NEAR: usize = 512;

/// `out[r] = row r . x`; the rows' blocks follow each other.
#[inline(always)]
pub(crate) fn product<F: QuantFormat, I: Isa>(isa: I, rows: &[F::Block], x: Q8Token<'_>, out: &mut [f32]) {
    let sixteens = x.values.len().div_ceil(16);
    if sixteens <= SHORT {
        with_room::<F, I, SHORT>(isa, rows, x, out);
    } else if sixteens <= USUAL {
        with_room::<F, I, USUAL>(isa, rows, x, out);
    } else {
        with_room::<F, I, LONG>(isa, rows, x, out);
    }
}

/// The product with room for N sixteens of terms of a row.
#[inline(always)]
fn with_room<F: QuantFormat, I: Isa, const N: usize>(
    isa: I,
    rows: &[F::Block],
    x: Q8Token<'_>,
    out: &mut [f32],
) {
    let (n_parts, n_blocks) = (x.values.len(), x.values.len() / 8);
    // Still longer rows are read in equal runs, and all runs of 16 rows before the next rows.
    let run = n_parts.div_ceil(n_parts.div_ceil(16 * N)).next_multiple_of(16);
    let mut sums = [[Aligned([0.0; 16]); N]; 2];
    let mut terms = [[Aligned([0.0; 16]); N]; TILE_ROWS];
    let mut own = None;
    for (group, out) in out.chunks_mut(TILE_ROWS).enumerate() {
        let mut acc = isa.zero();
        for start in (0..n_parts).step_by(run) {
            let x = x.part(start..n_parts.min(start + run));
            if group == 0 || run < n_parts {
                set_sums::<F, N>(x.sums, &mut sums);
            }
            let (mut values, rest) = x.values.as_chunks();
            if I::ARRANGED || !rest.is_empty() {
                let own = &mut own.get_or_insert(Aligned([[[0; 32]; 16]; N])).0;
                if group == 0 || run < n_parts {
                    arrange::<F, I, N>(isa, x.values, own);
                }
                values = own;
            }
            let token = Token { values, sums: [&sums[0], &sums[1]] };
            for (lane, terms) in terms.iter_mut().enumerate().take(out.len()) {
                let from = (group * TILE_ROWS + lane) * n_blocks + start / 8;
                let blocks = &rows[from..][..x.values.len() / 8];
                row_terms::<F, I>(isa, Row { blocks, gap: n_blocks - blocks.len() }, &token, terms);
            }
            for (at, scales) in x.scales.chunks(16).enumerate() {
                let mut square = [isa.zero(); TILE_ROWS];
                for (vector, terms) in square.iter_mut().zip(&terms) {
                    *vector = isa.load(&terms[at].0);
                }
                for (scale, terms) in scales.iter().zip(isa.transpose(&square)) {
                    acc = isa.fma(isa.splat(*scale), terms, acc);
                }
            }
        }
        store(isa, acc, out);
    }
}

/// Activations as `part_dots` of this level wants them, zeros behind them.
#[inline(always)]
fn arrange<F: QuantFormat, I: Isa, const N: usize>(
    isa: I,
    values: &[[i8; 32]],
    out: &mut [[[i8; 32]; 16]; N],
) {
    for (values, out) in values.chunks(16).zip(out) {
        let mut sixteen = [[0; 32]; 16];
        sixteen[..values.len()].copy_from_slice(values);
        isa.arrange::<F>(&sixteen, out);
    }
}

/// What is read of a row in one run, and how many blocks lie between its end and the same run of the next row.
struct Row<'w, B> {
    blocks: &'w [B],
    gap: usize,
}

/// The terms of a row, 16 blocks of 32 columns in the lanes.
#[inline(always)]
fn row_terms<F: QuantFormat, I: Isa>(isa: I, row: Row<'_, F::Block>, token: &Token<'_>, terms: &mut [Lanes]) {
    let bytes: &[u8] = bytemuck::cast_slice(row.blocks);
    let (pair_bytes, gap_bytes) = (2 * size_of::<F::Block>(), row.gap * size_of::<F::Block>());
    let mut parts = RowParts::empty(isa);
    for (at, ((pair, terms), values)) in row.blocks.chunks(2).zip(terms).zip(token.values).enumerate() {
        let far = at * pair_bytes + FAR;
        let far = if far < bytes.len() { far } else { far + gap_bytes };
        for line in (0..pair_bytes).step_by(64) {
            isa.prefetch(bytes, at * pair_bytes + NEAR + line);
            isa.prefetch_far(bytes, far + line);
        }
        // An odd block is taken twice; nobody reads the second half.
        F::row_parts(isa, [&pair[0], &pair[pair.len() - 1]], &mut parts);
        let dots = isa.part_dots::<F>(&parts.q.0, values);
        let (mut low, mut high) = (isa.to_f32(dots[0]), isa.to_f32(dots[1]));
        if !F::MINS {
            low = isa.add(low, isa.load(&token.sums[0][at].0));
            high = isa.add(high, isa.load(&token.sums[1][at].0));
        }
        let mut term = isa.mul(parts.scale[0], low);
        if F::HALVES {
            term = isa.fma(parts.scale[1], high, term);
        }
        if F::MINS {
            term = isa.fnma(parts.min[0], isa.load(&token.sums[0][at].0), term);
        }
        if F::MINS && F::HALVES {
            term = isa.fnma(parts.min[1], isa.load(&token.sums[1][at].0), term);
        }
        isa.store(term, &mut terms.0);
    }
}

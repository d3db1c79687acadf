//! What ggml's block formats but Q8_0 have in common: unsigned quants of at most a byte, a scale for each 32 or 16 of
//! them, and either an offset that is taken off every quant or a minimum that is taken off every weight:
//!
//! ```text
//! weight = scale * (q - offset)      Q4_0 Q5_0 Q3_K Q6_K Q8_K
//! weight = scale * q - minimum       Q4_1 Q5_1 (which add it) Q2_K Q4_K Q5_K
//! ```
//!
//! Such a format is weights only: nothing here encodes it (the `quantize` crate does), and no cache holds it. One file
//! says what the bytes mean twice: `decode`, the definition, and `tiles`, which takes the blocks of 16 rows apart into
//! the form that `op/blocks.rs` multiplies with 8-bit activation blocks. Both are plain Rust; `tiles` is written once
//! for all levels in the words of `Isa`, 16 rows in 16 lanes, four quants of a row in each.

use bytemuck::Pod;

use super::table::{ActKind, BlockFormat, Format};
use crate::isa::{Aligned, Isa, TILE_ROWS};
use crate::op::blocks;
use crate::view::{Acts, Attend, IndexScores, Pick, Rows};

/// What one file supplies.
pub(crate) trait QuantFormat: 'static {
    const FORMAT: Format;
    /// ggml's name in lower case.
    const NAME: &'static str;
    /// Elements in a block, a multiple of 32.
    const LEN: usize;
    /// Whether each 16 columns have a scale (and minimum) of their own, or each 32.
    const HALVES: bool;
    /// Whether there are minimums.
    const MINS: bool;
    /// What is taken off each quant; 0 where there are minimums.
    const OFFSET: i32;
    /// The largest quant.
    const LARGEST: usize;
    /// Steps of four columns whose products may be summed in 16 bits: see `Isa::dot_fours`. Eight would do for quants up
    /// to 15 and save one widening of two; not worth products of their own. None for quants of all eight bits: see
    /// `Isa::dot_bytes`.
    const RUN: usize = match Self::LARGEST {
        0..=31 => 4,
        32..=63 => 2,
        _ => 0,
    };
    /// Which parts of 32 columns `row_parts` finds together: four groups of four of the 16.
    const ORDER: [[usize; 4]; 4] = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]];
    /// The bytes of a block.
    type Block: Pod;

    /// The definition: a block to `LEN` floats, bit for bit as ggml's `dequantize_row_*` without fused steps.
    fn decode(block: &Self::Block, out: &mut [f32]);

    /// A block of 16 rows to `LEN / 32` tiles.
    fn tiles<I: Isa>(isa: I, rows: &[&Self::Block; TILE_ROWS], tiles: &mut [Tile]);

    /// Two blocks of 256 that follow each other in a row to 16 parts of 32 columns. Formats with blocks of 32, and those
    /// with quants of eight bits, have none: their products know tiles only.
    #[inline(always)]
    fn row_parts<I: Isa>(_: I, _: [&Self::Block; 2], _: &mut RowParts<I>) {
        unreachable!("{} is multiplied in tiles", Self::NAME);
    }
}

/// 512 columns of one row, taken apart: the quants as `Isa::put_parts` puts them, and for each 32 columns, one a lane, what
/// `Tile` has for each row.
pub(crate) struct RowParts<I: Isa> {
    pub(crate) q: Aligned<[[u8; 32]; 16]>,
    pub(crate) scale: [I::F32; 2],
    pub(crate) min: [I::F32; 2],
}

impl<I: Isa> RowParts<I> {
    #[inline(always)]
    pub(crate) fn empty(isa: I) -> Self {
        Self { q: Aligned([[0; 32]; 16]), scale: [isa.zero(); 2], min: [isa.zero(); 2] }
    }

    /// Puts the parts of one group, which have passed through some words on bytes.
    #[inline(always)]
    pub(crate) fn put<F: QuantFormat>(&mut self, isa: I, group: usize, first: I::I32, second: I::I32) {
        isa.put_parts::<F>(group, [first, second], &mut self.q.0);
    }
}

/// 32 columns of 16 rows: `q[k]` holds, lane by lane, the quants of columns 4k..4k+4; `scale` and
/// `min` those of columns 0..16 and 16..32, or of all 32 in the first place.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    pub(crate) q: [[u8; 64]; 8],
    pub(crate) scale: [[f32; 16]; 2],
    pub(crate) min: [[f32; 16]; 2],
}

impl Tile {
    pub(crate) const EMPTY: Self = Self { q: [[0; 64]; 8], scale: [[0.0; 16]; 2], min: [[0.0; 16]; 2] };

    /// Quants of columns 4k..4k+4.
    #[inline(always)]
    pub(crate) fn put<I: Isa>(&mut self, isa: I, k: usize, q: I::I32) {
        isa.store_bytes(isa.with_bits(q), &mut self.q[k]);
    }
}

/// 16 bytes of each of 16 blocks, as four vectors of little-endian fours.
#[inline(always)]
pub(crate) fn fours<I: Isa, B: Pod, const AT: usize>(isa: I, rows: &[&B; TILE_ROWS]) -> [I::I32; 4] {
    fours_at(isa, rows, AT)
}

/// 32 bytes of each of 16 blocks.
#[inline(always)]
pub(crate) fn eights<I: Isa, B: Pod, const AT: usize>(isa: I, rows: &[&B; TILE_ROWS]) -> [I::I32; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (fours_at(isa, rows, AT), fours_at(isa, rows, AT + 16));
    [a, b, c, d, e, f, g, h]
}

#[inline(always)]
fn fours_at<I: Isa, B: Pod>(isa: I, rows: &[&B; TILE_ROWS], at: usize) -> [I::I32; 4] {
    // No `map`: in functions as large as these it stays a call.
    let mut columns = [&[0; 16]; TILE_ROWS];
    for (column, block) in columns.iter_mut().zip(rows) {
        *column = bytemuck::bytes_of(*block)[at..at + 16].first_chunk().expect("16 bytes");
    }
    isa.fours(&columns)
}

/// The lower halves of the lanes as 16-bit floats.
#[inline(always)]
pub(crate) fn low_f16<I: Isa>(isa: I, x: I::I32) -> I::F32 {
    let mut halves = [0; 32];
    isa.store_u16(x, &mut halves);
    isa.load_f16(&halves)
}

/// The upper halves of the lanes as 16-bit floats.
#[inline(always)]
pub(crate) fn high_f16<I: Isa>(isa: I, x: I::I32) -> I::F32 {
    low_f16(isa, isa.shr::<16>(x))
}

/// The bits of `mask` in each of the four bytes.
#[inline(always)]
pub(crate) fn and_bytes<I: Isa>(isa: I, x: I::I32, mask: u8) -> I::I32 {
    isa.and(x, isa.splat_i32(i32::from_ne_bytes([mask; 4])))
}

/// In each byte, some bits of one and some of the other.
#[inline(always)]
pub(crate) fn join<I: Isa>(isa: I, low: I::I32, low_mask: u8, high: I::I32, high_mask: u8) -> I::I32 {
    isa.or(and_bytes(isa, low, low_mask), and_bytes(isa, high, high_mask))
}

/// Two bits of a byte after the other belong to neighbouring parts; 64 bytes are two of each, and of two blocks.
pub(super) const PAIR_ORDER: [[usize; 4]; 4] = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];

/// Two blocks' scales, 16 each, times their floats: those of columns 0..16 of each 32, then those of columns 16..32.
#[inline(always)]
pub(crate) fn row_halves<I: Isa>(isa: I, d: [[u8; 2]; 2], scales: [I::F32; 2]) -> [I::F32; 2] {
    let (even, odd) = isa.deinterleave(scales[0], scales[1]);
    let d = isa.splat_f16_halves(d[0], d[1]);
    [isa.mul(d, even), isa.mul(d, odd)]
}

/// Byte `at` of each lane, unsigned.
#[inline(always)]
pub(crate) fn byte<I: Isa>(isa: I, x: I::I32, at: usize) -> I::F32 {
    isa.to_f32(match at {
        0 => isa.and(x, isa.splat_i32(0xff)),
        1 => isa.and(isa.shr::<8>(x), isa.splat_i32(0xff)),
        2 => isa.and(isa.shr::<16>(x), isa.splat_i32(0xff)),
        _ => isa.shr::<24>(x),
    })
}

/// Byte `at` of each lane, signed.
#[inline(always)]
pub(crate) fn signed_byte<I: Isa>(isa: I, x: I::I32, at: usize) -> I::F32 {
    isa.to_f32(isa.shr_signed::<24>(match at {
        0 => isa.shl::<24>(x),
        1 => isa.shl::<16>(x),
        2 => isa.shl::<8>(x),
        _ => x,
    }))
}

impl<F: QuantFormat> BlockFormat for F {
    const FORMAT: Format = F::FORMAT;
    const NAME: &'static str = F::NAME;
    const LEN: usize = F::LEN;
    const BYTES: usize = size_of::<F::Block>();
    const ACTS: ActKind = ActKind::Q8;
    const WEIGHTS_ONLY: bool = true;

    fn decode(bytes: &[u8], out: &mut [f32]) {
        const { assert!(align_of::<F::Block>() == 1 && F::LEN.is_multiple_of(32)) };
        const { assert!(F::OFFSET == 0 || !F::MINS) };
        let blocks: &[F::Block] = bytemuck::cast_slice(bytes);
        for (block, out) in blocks.iter().zip(out.chunks_exact_mut(F::LEN)) {
            F::decode(block, out);
        }
    }

    #[inline(always)]
    fn decode_row<I: Isa>(_: I, row: &[u8], out: &mut [f32]) {
        let n = row.len() / <F as BlockFormat>::BYTES * F::LEN;
        <F as BlockFormat>::decode(row, &mut out[..n]);
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) {
        blocks::product::<F, I>(isa, w, x, pick, out);
    }

    fn encode_row<I: Isa>(_: I, _: &[f32], _: &mut [u8]) {
        weights_only(F::NAME)
    }

    fn index_scores<I: Isa>(_: I, _: IndexScores<'_>, _: &mut [f32]) {
        weights_only(F::NAME)
    }

    fn attend<I: Isa>(_: I, _: Attend<'_>, _: usize, _: &mut [f32], _: &mut [f32]) {
        weights_only(F::NAME)
    }
}

#[cold]
fn weights_only(name: &str) -> ! {
    panic!("{name} is a format of weights only (Format::weights_only)");
}

#[cfg(test)]
pub(crate) mod tests {
    use bytemuck::Zeroable;

    use super::*;
    use crate::isa::Scalar;

    /// Random bytes, decoded by the definition and through tiles, on the scalar level.
    pub(crate) fn tiles_say_what_decode_says<F: QuantFormat>() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..50 {
            let mut blocks = vec![F::Block::zeroed(); TILE_ROWS];
            bytemuck::cast_slice_mut::<_, u8>(&mut blocks).fill_with(|| random.u8(..));
            let mut tiles = vec![Tile::EMPTY; F::LEN / 32];
            F::tiles(Scalar, &std::array::from_fn(|row| &blocks[row]), &mut tiles);
            for (row, block) in blocks.iter().enumerate() {
                let mut expected = vec![0.0; F::LEN];
                F::decode(block, &mut expected);
                for (column, expected) in expected.into_iter().enumerate() {
                    let (tile, half) = (&tiles[column / 32], usize::from(F::HALVES && column % 32 >= 16));
                    let q = i32::from(tile.q[column % 32 / 4][4 * row + column % 4]);
                    assert!(q <= F::LARGEST as i32);
                    let mut found = tile.scale[half][row] * (q - F::OFFSET) as f32;
                    if F::MINS {
                        found -= tile.min[half][row];
                    }
                    assert!(
                        found == expected || found.is_nan() && expected.is_nan(),
                        "{} {row} {column}",
                        F::NAME
                    );
                }
            }
        }
    }
}

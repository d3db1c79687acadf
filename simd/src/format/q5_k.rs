//! Q5_K: Q4_K with a fifth bit: blocks of 256 weights, 176 bytes, in eight sub-blocks of 32; weight =
//! d * sc * q - dmin * m, q in 0..=31. 5.5 bits a weight.
//!
//! ```text
//! byte   0   1    2      3   4              15   16          47   48                     175
//!      [  d (f16) | dmin (f16) | scales (packed) | qh, 8 x 32 bits | qs, 32 for each 64 weights ]
//!
//! qs as in Q4_K; bit s of qh[j] is the fifth bit of weight 32 s + j
//! ```
//!
//! ggml's `block_q5_K`; the first 16 bytes are those of Q4_K.

use bytemuck::{Pod, Zeroable};

use super::Format;
use super::q4_k::{Head, NIBBLE_ORDER, put_scales, row_scales, sixty_fours};
use super::quants::{QuantFormat, RowParts, Tile, and_bytes, eights, fours, join};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q5K;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    head: Head,
    qh: [u8; 32],
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Block>() == 176);

impl QuantFormat for Q5K {
    const FORMAT: Format = Format::Q5K;
    const NAME: &'static str = "q5_k";
    const LEN: usize = 256;
    const HALVES: bool = false;
    const MINS: bool = true;
    const OFFSET: i32 = 0;
    const LARGEST: usize = 31;
    const ORDER: [[usize; 4]; 4] = NIBBLE_ORDER;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, min) = block.head.scale_and_min(j);
            for ((out, qs), qh) in out.iter_mut().zip(&block.qs[j / 2 * 32..]).zip(block.qh) {
                let low = if j % 2 == 0 { qs & 15 } else { qs >> 4 };
                *out = scale * f32::from(low | (qh >> j & 1) << 4) - min;
            }
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tiles: &mut [Tile; 8] = tiles.first_chunk_mut().expect("eight tiles");
        put_scales(isa, fours::<_, _, 0>(isa, rows), tiles);
        let mut qh = eights::<_, _, 16>(isa, rows);
        put_fives::<_, 48>(isa, rows, &mut qh, &mut tiles[0..2]);
        put_fives::<_, 80>(isa, rows, &mut qh, &mut tiles[2..4]);
        put_fives::<_, 112>(isa, rows, &mut qh, &mut tiles[4..6]);
        put_fives::<_, 144>(isa, rows, &mut qh, &mut tiles[6..8]);
    }

    #[inline(always)]
    fn row_parts<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
        row_scales(isa, blocks.map(|block| &block.head), parts);
        row_quants(isa, blocks, parts);
    }
}

/// The quants of two blocks.
#[inline(always)]
fn row_quants<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
    for (at, block) in blocks.into_iter().enumerate() {
        let [first, second] = sixty_fours(&block.qs);
        let [x, y] = isa.split(first, second);
        // Bits 0, 2, 4, 6 belong to the lower halves, the bits above them to the upper ones.
        let [high_x, high_y] = isa.shr_parts::<0, 2, 4, 6>(isa.split_twice(&block.qh, &block.qh));
        let (low_x, low_y) = (isa.shl::<4>(high_x), isa.shl::<4>(high_y));
        parts.put::<Q5K>(isa, 2 * at, join(isa, x, 15, low_x, 16), join(isa, y, 15, low_y, 16));
        let (x, y) = (isa.shr::<4>(x), isa.shr::<4>(y));
        let (high_x, high_y) = (isa.shl::<3>(high_x), isa.shl::<3>(high_y));
        parts.put::<Q5K>(isa, 2 * at + 1, join(isa, x, 15, high_x, 16), join(isa, y, 15, high_y, 16));
    }
}

/// 32 bytes and the two lowest bits of `qh`, which are shifted out, to two tiles.
#[inline(always)]
fn put_fives<I: Isa, const AT: usize>(
    isa: I,
    rows: &[&Block; TILE_ROWS],
    qh: &mut [I::I32; 8],
    tiles: &mut [Tile],
) {
    for (k, qs) in eights::<_, _, AT>(isa, rows).into_iter().enumerate() {
        let high = [isa.shl::<4>(and_bytes(isa, qh[k], 1)), isa.shl::<3>(and_bytes(isa, qh[k], 2))];
        tiles[0].put(isa, k, isa.or(and_bytes(isa, qs, 15), high[0]));
        tiles[1].put(isa, k, isa.or(and_bytes(isa, isa.shr::<4>(qs), 15), high[1]));
        qh[k] = isa.shr::<2>(qh[k]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q5K>();
    }
}

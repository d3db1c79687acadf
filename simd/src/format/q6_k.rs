//! Q6_K: blocks of 256 weights, 210 bytes, in 16 sub-blocks of 16: the lower four bits of all quants, their upper two,
//! 16 signed scales and `d` (f16); weight = d * sc * (q - 32), q in 0..=63. 6.5625 bits a weight.
//!
//! ```text
//! byte   0                  127   128              191   192          207   208  209
//!      [ ql, 64 for each 128 weights | qh, 32 for each 128 | sc0 ... sc15 (i8) | d (f16) ]
//!
//! of 128 weights, j in 0..32: weight j        ql[j] low,       qh[j] bits 10
//!                             weight 32 + j   ql[32 + j] low,  qh[j] bits 32
//!                             weight 64 + j   ql[j] high,      qh[j] bits 54
//!                             weight 96 + j   ql[32 + j] high, qh[j] bits 76
//! ```
//!
//! ggml's `block_q6_K`. A scale may be -128.

use bytemuck::{Pod, Zeroable};

use super::quants::{
    QuantFormat, RowParts, Tile, and_bytes, eights, fours, high_f16, join, row_halves, signed_byte,
};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q6K;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    ql: [[u8; 64]; 2],
    qh: [[u8; 32]; 2],
    scales: [i8; 16],
    d: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == 210);

impl QuantFormat for Q6K {
    const FORMAT: Format = Format::Q6K;
    const NAME: &'static str = "q6_k";
    const LEN: usize = 256;
    const HALVES: bool = true;
    const MINS: bool = false;
    const OFFSET: i32 = 32;
    const LARGEST: usize = 63;
    const ORDER: [[usize; 4]; 4] = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]];
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let d = f16::decode(u16::from_le_bytes(block.d));
        for (at, out) in out.iter_mut().enumerate() {
            let (ql, qh) = (&block.ql[at / 128], &block.qh[at / 128]);
            let (part, j) = (at % 128 / 32, at % 32);
            let low = ql[part % 2 * 32 + j] >> (part / 2 * 4) & 15;
            let q = low | (qh[j] >> (2 * part) & 3) << 4;
            *out = d * f32::from(block.scales[at / 16]) * (f32::from(q) - 32.0);
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tiles: &mut [Tile; 8] = tiles.first_chunk_mut().expect("eight tiles");
        let d = high_f16(isa, fours::<_, _, 194>(isa, rows)[3]);
        let scales = fours::<_, _, 192>(isa, rows);
        for (j, tile) in tiles.iter_mut().enumerate() {
            for half in 0..2 {
                let scale = signed_byte(isa, scales[j / 2], j % 2 * 2 + half);
                isa.store(isa.mul(d, scale), &mut tile.scale[half]);
            }
        }
        let (first, second) = tiles.split_at_mut(4);
        let qh = eights::<_, _, 128>(isa, rows);
        put_sixes(isa, qh, eights::<_, _, 0>(isa, rows), [0, 2], first);
        put_sixes(isa, qh, eights::<_, _, 32>(isa, rows), [1, 3], first);
        let qh = eights::<_, _, 160>(isa, rows);
        put_sixes(isa, qh, eights::<_, _, 64>(isa, rows), [0, 2], second);
        put_sixes(isa, qh, eights::<_, _, 96>(isa, rows), [1, 3], second);
    }

    #[inline(always)]
    fn row_parts<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
        let d = [blocks[0].d, blocks[1].d];
        let scales = [isa.to_f32(isa.load_i8(&blocks[0].scales)), isa.to_f32(isa.load_i8(&blocks[1].scales))];
        parts.scale = row_halves(isa, d, scales);
        row_quants(isa, blocks, parts);
    }
}

/// The quants of two blocks.
#[inline(always)]
fn row_quants<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
    for (at, Block { ql, qh, .. }) in blocks.into_iter().enumerate() {
        let [x, y] = isa.split(&ql[0], &ql[1]);
        let [high_x, high_y] = isa.shr_parts::<0, 2, 0, 2>(isa.split_twice(&qh[0], &qh[1]));
        let (low_x, low_y) = (isa.shl::<4>(high_x), isa.shl::<4>(high_y));
        parts.put::<Q6K>(isa, 2 * at, join(isa, x, 15, low_x, 0x30), join(isa, y, 15, low_y, 0x30));
        let (x, y) = (isa.shr::<4>(x), isa.shr::<4>(y));
        parts.put::<Q6K>(isa, 2 * at + 1, join(isa, x, 15, high_x, 0x30), join(isa, y, 15, high_y, 0x30));
    }
}

/// 32 bytes of lower bits with their upper ones to two of four tiles.
#[inline(always)]
fn put_sixes<I: Isa>(isa: I, qh: [I::I32; 8], ql: [I::I32; 8], to: [usize; 2], tiles: &mut [Tile]) {
    for k in 0..8 {
        let qh = if to[0] == 0 { qh[k] } else { isa.shr::<2>(qh[k]) };
        let (low, high) = (and_bytes(isa, ql[k], 15), and_bytes(isa, isa.shr::<4>(ql[k]), 15));
        tiles[to[0]].put(isa, k, isa.or(low, isa.shl::<4>(and_bytes(isa, qh, 3))));
        tiles[to[1]].put(isa, k, isa.or(high, and_bytes(isa, qh, 0x30)));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q6K>();
    }
}

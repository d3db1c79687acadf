//! Q3_K: blocks of 256 weights, 110 bytes, in 16 sub-blocks of 16: the third bits of all quants, their lower two, 16
//! 6-bit scales in 12 bytes and `d` (f16); weight = d * (sc - 32) * (q - 4), q in 0..=7. 3.4375 bits a weight.
//!
//! ```text
//! byte   0          31   32                   95   96           107   108  109
//!      [ hmask, 8 x 32 bits | qs, 32 for each 128 weights | scales (packed) | d (f16) ]
//!
//! bits 2 p and 2 p + 1 of qs[32 c + j] and bit 4 c + p of hmask[j]: weight 128 c + 32 p + j
//! scales, bits 7654 3210:    byte 0..4   sc8..11 bits 3210  | sc0..3 bits 3210
//!                            byte 4..8   sc12..15 bits 3210 | sc4..7 bits 3210
//!         bits 76 54 32 10:  byte 8..12  bits 54 of sc12..15 | sc8..11 | sc4..7 | sc0..3
//! ```
//!
//! ggml's `block_q3_K`.

use bytemuck::{Pod, Zeroable};

use super::quants::{
    PAIR_ORDER, QuantFormat, RowParts, Tile, byte, eights, fours, high_f16, join, row_halves,
};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q3K;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    hmask: [u8; 32],
    qs: [[u8; 32]; 2],
    scales: [u8; 12],
    d: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == 110);

impl Block {
    /// d * (sc - 32) of sub-block j.
    fn scale(&self, j: usize) -> f32 {
        let low = self.scales[j % 8] >> (j / 8 * 4) & 15;
        let high = self.scales[8 + j % 4] >> (j / 4 * 2) & 3;
        f16::decode(u16::from_le_bytes(self.d)) * (f32::from(low | high << 4) - 32.0)
    }
}

impl QuantFormat for Q3K {
    const FORMAT: Format = Format::Q3K;
    const NAME: &'static str = "q3_k";
    const LEN: usize = 256;
    const HALVES: bool = true;
    const MINS: bool = false;
    const OFFSET: i32 = 4;
    const LARGEST: usize = 7;
    const ORDER: [[usize; 4]; 4] = PAIR_ORDER;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        for (at, out) in out.iter_mut().enumerate() {
            let (part, j) = (at / 32, at % 32);
            let low = block.qs[part / 4][j] >> (part % 4 * 2) & 3;
            let q = low | (block.hmask[j] >> part & 1) << 2;
            *out = block.scale(at / 16) * (f32::from(q) - 4.0);
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tiles: &mut [Tile; 8] = tiles.first_chunk_mut().expect("eight tiles");
        let d = high_f16(isa, fours::<_, _, 94>(isa, rows)[3]);
        let [_, s0, s1, s2] = fours::<_, _, 92>(isa, rows);
        let scales = [
            join(isa, s0, 15, isa.shl::<4>(s2), 0x30),
            join(isa, s1, 15, isa.shl::<2>(s2), 0x30),
            join(isa, isa.shr::<4>(s0), 15, s2, 0x30),
            join(isa, isa.shr::<4>(s1), 15, isa.shr::<2>(s2), 0x30),
        ];
        for (j, tile) in tiles.iter_mut().enumerate() {
            for half in 0..2 {
                let scale = byte(isa, scales[j / 2], j % 2 * 2 + half);
                isa.store(isa.mul(d, isa.sub(scale, isa.splat(32.0))), &mut tile.scale[half]);
            }
        }
        let mut hmask = eights::<_, _, 0>(isa, rows);
        let (first, second) = tiles.split_at_mut(4);
        put_threes(isa, eights::<_, _, 32>(isa, rows), &mut hmask, first);
        put_threes(isa, eights::<_, _, 64>(isa, rows), &mut hmask, second);
    }

    #[inline(always)]
    fn row_parts<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
        let mut scales = [isa.zero(); 2];
        for (scales, block) in scales.iter_mut().zip(blocks) {
            let [s0, s1, s2] = bytemuck::pod_read_unaligned::<[u32; 3]>(&block.scales).map(u32::from_le);
            let (four, two) = (0x0f0f_0f0f, 0x3030_3030);
            let (a, b) = (s0 & four | s2 << 4 & two, s1 & four | s2 << 2 & two);
            let (c, d) = (s0 >> 4 & four | s2 & two, s1 >> 4 & four | s2 >> 2 & two);
            let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            *scales = isa.sub(isa.to_f32(isa.widen_bytes(join(a, b), join(c, d))), isa.splat(32.0));
        }
        let d = [blocks[0].d, blocks[1].d];
        parts.scale = row_halves(isa, d, scales);
        row_quants(isa, blocks, parts);
    }
}

/// The quants of two blocks.
#[inline(always)]
fn row_quants<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
    let [x, y] = isa.split(bytemuck::cast_ref(&blocks[0].qs), bytemuck::cast_ref(&blocks[1].qs));
    let bits = isa.split_twice(&blocks[0].hmask, &blocks[1].hmask);
    let [u, v] = isa.shr_parts::<0, 4, 0, 4>(bits);
    let threes = |low, high| join(isa, low, 3, high, 4);
    parts.put::<Q3K>(isa, 0, threes(x, isa.shl::<2>(u)), threes(y, isa.shl::<2>(v)));
    let (x, y) = (isa.shr::<2>(x), isa.shr::<2>(y));
    parts.put::<Q3K>(isa, 1, threes(x, isa.shl::<1>(u)), threes(y, isa.shl::<1>(v)));
    let (x, y) = (isa.shr::<2>(x), isa.shr::<2>(y));
    parts.put::<Q3K>(isa, 2, threes(x, u), threes(y, v));
    let (x, y) = (isa.shr::<2>(x), isa.shr::<2>(y));
    parts.put::<Q3K>(isa, 3, threes(x, isa.shr::<1>(u)), threes(y, isa.shr::<1>(v)));
}

/// 32 bytes and the four lowest bits of `hmask`, which are shifted out, to four tiles.
#[inline(always)]
fn put_threes<I: Isa>(isa: I, qs: [I::I32; 8], hmask: &mut [I::I32; 8], tiles: &mut [Tile]) {
    for (k, qs) in qs.into_iter().enumerate() {
        let bits = hmask[k];
        tiles[0].put(isa, k, join(isa, qs, 3, isa.shl::<2>(bits), 4));
        tiles[1].put(isa, k, join(isa, isa.shr::<2>(qs), 3, isa.shl::<1>(bits), 4));
        tiles[2].put(isa, k, join(isa, isa.shr::<4>(qs), 3, bits, 4));
        tiles[3].put(isa, k, join(isa, isa.shr::<6>(qs), 3, isa.shr::<1>(bits), 4));
        hmask[k] = isa.shr::<4>(bits);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q3K>();
    }
}

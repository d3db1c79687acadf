//! Q2_K: blocks of 256 weights, 84 bytes, in 16 sub-blocks of 16: a 4-bit scale and a 4-bit minimum for each, the
//! quants, `d` and `dmin` (f16); weight = d * sc * q - dmin * m, q in 0..=3. 2.625 bits a weight.
//!
//! ```text
//! byte   0                15   16                        79   80  81    82     83
//!      [ m (high), sc (low) | qs, 32 for each 128 weights | d (f16) | dmin (f16) ]
//!
//! bits 2 p and 2 p + 1 of qs[32 c + j]: weight 128 c + 32 p + j
//! ```
//!
//! ggml's `block_q2_K`.

use bytemuck::{Pod, Zeroable};

use super::quants::{
    PAIR_ORDER, QuantFormat, RowParts, Tile, and_bytes, byte, eights, fours, high_f16, low_f16, row_halves,
};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q2K;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    scales: [u8; 16],
    qs: [[u8; 32]; 2],
    d: [u8; 2],
    dmin: [u8; 2],
}

const _: () = assert!(size_of::<Block>() == 84);

impl QuantFormat for Q2K {
    const FORMAT: Format = Format::Q2K;
    const NAME: &'static str = "q2_k";
    const LEN: usize = 256;
    const HALVES: bool = true;
    const MINS: bool = true;
    const OFFSET: i32 = 0;
    const LARGEST: usize = 3;
    const ORDER: [[usize; 4]; 4] = PAIR_ORDER;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let [d, dmin] = [block.d, block.dmin].map(|half| f16::decode(u16::from_le_bytes(half)));
        for (at, out) in out.iter_mut().enumerate() {
            let (part, scale) = (at / 32, block.scales[at / 16]);
            let q = block.qs[part / 4][at % 32] >> (part % 4 * 2) & 3;
            *out = d * f32::from(scale & 15) * f32::from(q) - dmin * f32::from(scale >> 4);
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tiles: &mut [Tile; 8] = tiles.first_chunk_mut().expect("eight tiles");
        let d = fours::<_, _, 68>(isa, rows)[3];
        let (d, dmin) = (low_f16(isa, d), high_f16(isa, d));
        let packed = fours::<_, _, 0>(isa, rows);
        for (j, tile) in tiles.iter_mut().enumerate() {
            let (scales, mins) =
                (and_bytes(isa, packed[j / 2], 15), and_bytes(isa, isa.shr::<4>(packed[j / 2]), 15));
            for half in 0..2 {
                isa.store(isa.mul(d, byte(isa, scales, j % 2 * 2 + half)), &mut tile.scale[half]);
                isa.store(isa.mul(dmin, byte(isa, mins, j % 2 * 2 + half)), &mut tile.min[half]);
            }
        }
        let (first, second) = tiles.split_at_mut(4);
        put_twos(isa, eights::<_, _, 16>(isa, rows), first);
        put_twos(isa, eights::<_, _, 48>(isa, rows), second);
    }

    #[inline(always)]
    fn row_parts<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
        let (mut scales, mut mins) = ([isa.zero(); 2], [isa.zero(); 2]);
        for (at, block) in blocks.iter().enumerate() {
            let packed = isa.load_i8(bytemuck::cast_ref(&block.scales));
            scales[at] = isa.to_f32(isa.and(packed, isa.splat_i32(15)));
            mins[at] = isa.to_f32(isa.and(isa.shr::<4>(packed), isa.splat_i32(15)));
        }
        let d = [blocks[0].d, blocks[1].d];
        let dmin = [blocks[0].dmin, blocks[1].dmin];
        (parts.scale, parts.min) = (row_halves(isa, d, scales), row_halves(isa, dmin, mins));
        row_quants(isa, blocks, parts);
    }
}

/// The quants of two blocks.
#[inline(always)]
fn row_quants<I: Isa>(isa: I, blocks: [&Block; 2], parts: &mut RowParts<I>) {
    let [x, y] = isa.split(bytemuck::cast_ref(&blocks[0].qs), bytemuck::cast_ref(&blocks[1].qs));
    let twos = |x| and_bytes(isa, x, 3);
    parts.put::<Q2K>(isa, 0, twos(x), twos(y));
    parts.put::<Q2K>(isa, 1, twos(isa.shr::<2>(x)), twos(isa.shr::<2>(y)));
    parts.put::<Q2K>(isa, 2, twos(isa.shr::<4>(x)), twos(isa.shr::<4>(y)));
    parts.put::<Q2K>(isa, 3, twos(isa.shr::<6>(x)), twos(isa.shr::<6>(y)));
}

/// 32 bytes to four tiles.
#[inline(always)]
fn put_twos<I: Isa>(isa: I, qs: [I::I32; 8], tiles: &mut [Tile]) {
    for (k, qs) in qs.into_iter().enumerate() {
        tiles[0].put(isa, k, and_bytes(isa, qs, 3));
        tiles[1].put(isa, k, and_bytes(isa, isa.shr::<2>(qs), 3));
        tiles[2].put(isa, k, and_bytes(isa, isa.shr::<4>(qs), 3));
        tiles[3].put(isa, k, and_bytes(isa, isa.shr::<6>(qs), 3));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q2K>();
    }
}

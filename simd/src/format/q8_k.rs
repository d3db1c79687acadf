//! Q8_K: blocks of 256 weights, 292 bytes: `d` (f32), 256 signed bytes, and the sum of each 16 of them; weight = d * q.
//! 9.125 bits a weight.
//!
//! ```text
//! byte   0       3   4                  259   260                  291
//!      [  d (f32)  | q0 q1 ...         q255 | sum0 ... sum15 (i16)  ]
//! ```
//!
//! ggml's `block_q8_K`. It makes such blocks of activations, for products with K-quants, and there the sums are for the
//! minimums; activations are blocks of 32 here, and this is a format of weights, whose sums nothing reads. q is
//! -127..=127 when ggml's encoder or ours wrote it; a file may hold -128, and every kernel is exact for it.

use bytemuck::{Pod, Zeroable};

use super::Format;
use super::quants::{QuantFormat, Tile, eights, fours};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q8K;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    d: [u8; 4],
    qs: [[i8; 32]; 8],
    sums: [[u8; 2]; 16],
}

const _: () = assert!(size_of::<Block>() == 292);

impl QuantFormat for Q8K {
    const FORMAT: Format = Format::Q8K;
    const NAME: &'static str = "q8_k";
    const LEN: usize = 256;
    const HALVES: bool = false;
    const MINS: bool = false;
    const OFFSET: i32 = 128;
    const LARGEST: usize = 255;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let d = f32::from_le_bytes(block.d);
        for (&q, out) in block.qs.as_flattened().iter().zip(out) {
            *out = d * f32::from(q);
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tiles: &mut [Tile; 8] = tiles.first_chunk_mut().expect("eight tiles");
        let d = isa.with_bits(fours::<_, _, 0>(isa, rows)[0]);
        for tile in tiles.iter_mut() {
            isa.store(d, &mut tile.scale[0]);
        }
        put_bytes::<_, 4>(isa, rows, &mut tiles[0]);
        put_bytes::<_, 36>(isa, rows, &mut tiles[1]);
        put_bytes::<_, 68>(isa, rows, &mut tiles[2]);
        put_bytes::<_, 100>(isa, rows, &mut tiles[3]);
        put_bytes::<_, 132>(isa, rows, &mut tiles[4]);
        put_bytes::<_, 164>(isa, rows, &mut tiles[5]);
        put_bytes::<_, 196>(isa, rows, &mut tiles[6]);
        put_bytes::<_, 228>(isa, rows, &mut tiles[7]);
    }
}

/// 32 bytes to a tile; flipping the top bit adds 128.
#[inline(always)]
fn put_bytes<I: Isa, const AT: usize>(isa: I, rows: &[&Block; TILE_ROWS], tile: &mut Tile) {
    let top_bits = isa.splat_i32(i32::from_ne_bytes([0x80; 4]));
    for (k, qs) in eights::<_, _, AT>(isa, rows).into_iter().enumerate() {
        tile.put(isa, k, isa.xor(qs, top_bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<Q8K>();
    }

    #[test]
    fn golden_block() {
        // Quants ascend from -128, which no encoder writes but a file may hold; sums that are not theirs.
        let mut bytes = (-0.5_f32).to_le_bytes().to_vec();
        bytes.extend(0x80..=0xff_u8);
        bytes.extend(0..0x80_u8);
        bytes.extend([0x77; 32]);
        let mut out = [0.0; 256];
        Format::Q8K.decode(&bytes, &mut out);
        for (at, value) in out.into_iter().enumerate() {
            assert_eq!(value, (128.0 - at as f32) / 2.0);
        }
    }
}

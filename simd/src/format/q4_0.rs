//! Q4_0: blocks of 32 weights, 18 bytes: `d` (f16), then 16 bytes of two quants each; weight = d * (q - 8), q in
//! 0..=15. 4.5 bits a weight.
//!
//! ```text
//! byte   0   1   2                            17
//!      [  d (f16) | qs0 qs1 ...             qs15 ]    qs[j]: low half q[j], high half q[j + 16]
//! ```
//!
//! ggml's `block_q4_0`.

use bytemuck::{Pod, Zeroable};

use super::quants::{QuantFormat, Tile, and_bytes, fours, low_f16};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q4_0;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    d: [u8; 2],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 18);

impl QuantFormat for Q4_0 {
    const FORMAT: Format = Format::Q4_0;
    const NAME: &'static str = "q4_0";
    const LEN: usize = 32;
    const HALVES: bool = false;
    const MINS: bool = false;
    const OFFSET: i32 = 8;
    const LARGEST: usize = 15;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let d = f16::decode(u16::from_le_bytes(block.d));
        let (low, high) = out.split_at_mut(16);
        for ((qs, low), high) in block.qs.iter().zip(low).zip(high) {
            *low = d * (f32::from(qs & 15) - 8.0);
            *high = d * (f32::from(qs >> 4) - 8.0);
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tile = &mut tiles[0];
        isa.store(low_f16(isa, fours::<_, _, 0>(isa, rows)[0]), &mut tile.scale[0]);
        for (k, qs) in fours::<_, _, 2>(isa, rows).into_iter().enumerate() {
            tile.put(isa, k, and_bytes(isa, qs, 15));
            tile.put(isa, k + 4, and_bytes(isa, isa.shr::<4>(qs), 15));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q4_0>();
    }
}

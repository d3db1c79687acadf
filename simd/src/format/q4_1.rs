//! Q4_1: blocks of 32 weights, 20 bytes: `d` and `m` (f16), then 16 bytes of two quants each; weight = d * q + m, q in
//! 0..=15. 5 bits a weight.
//!
//! ```text
//! byte   0   1    2   3   4                            19
//!      [  d (f16) | m (f16) | qs0 qs1 ...            qs15 ]    qs[j]: low half q[j], high half q[j + 16]
//! ```
//!
//! ggml's `block_q4_1`. The minimum that tiles take off is -m.

use bytemuck::{Pod, Zeroable};

use super::quants::{QuantFormat, Tile, and_bytes, fours, high_f16, low_f16};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q4_1;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    d: [u8; 2],
    m: [u8; 2],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 20);

impl QuantFormat for Q4_1 {
    const FORMAT: Format = Format::Q4_1;
    const NAME: &'static str = "q4_1";
    const LEN: usize = 32;
    const HALVES: bool = false;
    const MINS: bool = true;
    const OFFSET: i32 = 0;
    const LARGEST: usize = 15;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let [d, m] = [block.d, block.m].map(|half| f16::decode(u16::from_le_bytes(half)));
        let (low, high) = out.split_at_mut(16);
        for ((qs, low), high) in block.qs.iter().zip(low).zip(high) {
            *low = d * f32::from(qs & 15) + m;
            *high = d * f32::from(qs >> 4) + m;
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let tile = &mut tiles[0];
        let [d_m, ..] = fours::<_, _, 0>(isa, rows);
        isa.store(low_f16(isa, d_m), &mut tile.scale[0]);
        isa.store(isa.sub(isa.zero(), high_f16(isa, d_m)), &mut tile.min[0]);
        for (k, qs) in fours::<_, _, 4>(isa, rows).into_iter().enumerate() {
            tile.put(isa, k, and_bytes(isa, qs, 15));
            tile.put(isa, k + 4, and_bytes(isa, isa.shr::<4>(qs), 15));
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q4_1>();
    }
}

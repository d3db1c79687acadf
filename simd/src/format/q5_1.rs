//! Q5_1: blocks of 32 weights, 24 bytes: `d` and `m` (f16), 32 fifth bits, then 16 bytes of the lower four bits of two
//! quants each; weight = d * q + m, q in 0..=31. 6 bits a weight.
//!
//! ```text
//! byte   0   1    2   3   4            7   8                           23
//!      [  d (f16) | m (f16) | qh, bit j of q[j] | qs0 qs1 ...          qs15 ]    qs[j]: q[j] and q[j + 16]
//! ```
//!
//! ggml's `block_q5_1`. The minimum that tiles take off is -m.

use bytemuck::{Pod, Zeroable};

use super::q5_0::{put_quants, quant};
use super::quants::{QuantFormat, Tile, fours, high_f16, low_f16};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q5_1;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    d: [u8; 2],
    m: [u8; 2],
    qh: [u8; 4],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 24);

impl QuantFormat for Q5_1 {
    const FORMAT: Format = Format::Q5_1;
    const NAME: &'static str = "q5_1";
    const LEN: usize = 32;
    const HALVES: bool = false;
    const MINS: bool = true;
    const OFFSET: i32 = 0;
    const LARGEST: usize = 31;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let [d, m] = [block.d, block.m].map(|half| f16::decode(u16::from_le_bytes(half)));
        for (j, out) in out.iter_mut().enumerate() {
            *out = d * f32::from(quant(&block.qs, block.qh, j)) + m;
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let [d_m, qh, ..] = fours::<_, _, 0>(isa, rows);
        isa.store(low_f16(isa, d_m), &mut tiles[0].scale[0]);
        isa.store(isa.sub(isa.zero(), high_f16(isa, d_m)), &mut tiles[0].min[0]);
        put_quants(isa, fours::<_, _, 8>(isa, rows), qh, &mut tiles[0]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q5_1>();
    }
}

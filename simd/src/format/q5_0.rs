//! Q5_0: blocks of 32 weights, 22 bytes: `d` (f16), 32 fifth bits, then 16 bytes of the lower four bits of two quants
//! each; weight = d * (q - 16), q in 0..=31. 5.5 bits a weight.
//!
//! ```text
//! byte   0   1   2            5   6                           21
//!      [  d (f16) | qh, bit j of q[j] | qs0 qs1 ...          qs15 ]    qs[j]: low half q[j], high half q[j + 16]
//! ```
//!
//! ggml's `block_q5_0`.

use bytemuck::{Pod, Zeroable};

use super::quants::{QuantFormat, Tile, and_bytes, fours, low_f16};
use super::{Format, f16};
use crate::isa::{Isa, TILE_ROWS};

pub(crate) struct Q5_0;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Block {
    d: [u8; 2],
    qh: [u8; 4],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Block>() == 22);

/// Quant j of `qs` and `qh`, for Q5_1 too.
#[inline]
pub(super) fn quant(qs: &[u8; 16], qh: [u8; 4], j: usize) -> u8 {
    let low = if j < 16 { qs[j] & 15 } else { qs[j - 16] >> 4 };
    low | ((u32::from_le_bytes(qh) >> j & 1) << 4) as u8
}

/// Quants of 16 rows into a tile, for Q5_1 too.
#[inline(always)]
pub(super) fn put_quants<I: Isa>(isa: I, qs: [I::I32; 4], mut qh: I::I32, tile: &mut Tile) {
    for half in 0..2 {
        for (k, &qs) in qs.iter().enumerate() {
            let low = if half == 0 { qs } else { isa.shr::<4>(qs) };
            // The lowest four bits of qh, one to each byte.
            let four = isa.and(qh, isa.splat_i32(15));
            let pair = isa.or(four, isa.shl::<7>(four));
            let spread = isa.or(pair, isa.shl::<14>(pair));
            let high = isa.shl::<4>(and_bytes(isa, spread, 1));
            tile.put(isa, 4 * half + k, isa.or(and_bytes(isa, low, 15), high));
            qh = isa.shr::<4>(qh);
        }
    }
}

impl QuantFormat for Q5_0 {
    const FORMAT: Format = Format::Q5_0;
    const NAME: &'static str = "q5_0";
    const LEN: usize = 32;
    const HALVES: bool = false;
    const MINS: bool = false;
    const OFFSET: i32 = 16;
    const LARGEST: usize = 31;
    type Block = Block;

    fn decode(block: &Block, out: &mut [f32]) {
        let d = f16::decode(u16::from_le_bytes(block.d));
        for (j, out) in out.iter_mut().enumerate() {
            *out = d * (f32::from(quant(&block.qs, block.qh, j)) - 16.0);
        }
    }

    #[inline(always)]
    fn tiles<I: Isa>(isa: I, rows: &[&Block; TILE_ROWS], tiles: &mut [Tile]) {
        let [first, second, ..] = fours::<_, _, 0>(isa, rows);
        isa.store(low_f16(isa, first), &mut tiles[0].scale[0]);
        let qh = isa.or(isa.shr::<16>(first), isa.shl::<16>(second));
        put_quants(isa, fours::<_, _, 6>(isa, rows), qh, &mut tiles[0]);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn tiles_say_what_decode_says() {
        super::super::quants::tests::tiles_say_what_decode_says::<super::Q5_0>();
    }
}

//! `q5_k`: 8 sub-blocks of 32 weights with a scale and a minimum of 6 bits each; 5.5 bits per weight.
//!
//! ```text
//! byte 0..2     d: f16, little-endian
//! byte 2..4     dmin: f16
//! byte 4..16    scales and minima, see `pack::six_bit_pairs`
//! byte 16..48   bit 4 of the quants: bit k of byte j is weight j + 32 k's
//! byte 48..176  bits 0..4: byte 32 c + j holds weights 64 c + j (low nibble) and 64 c + j + 32
//! ```
//! weight = d * scale * quant - dmin * minimum. Source of the layout: ggml, `block_q5_K`.

use super::group::{Form, Group, SUBS};
use super::pack::{nibbles_of, planes, six_bit_pairs};
use super::super_block::{Affine, AffineBlock, LEN};

const FORM: Affine<'_> = Affine { top: 31.0, most: 63.0, reaches: &REACHES };
const REACHES: [f32; 12] = [29.6, 30.0, 30.3, 30.6, 30.9, 31.1, 31.3, 31.5, 31.7, 31.9, 32.2, 32.5];

pub(super) struct Q5K;

impl Form for Q5K {
    const LEN: usize = LEN;
    const SUB: usize = 32;
    const BYTES: usize = 176;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.write(group, out, |block: &AffineBlock<8>, out: &mut [u8; 176]| {
            out[..2].copy_from_slice(&block.d.to_le_bytes());
            out[2..4].copy_from_slice(&block.dmin.to_le_bytes());
            out[4..16].copy_from_slice(&six_bit_pairs(&block.scales, &block.mins));
            out[16..48].copy_from_slice(&planes(&block.quants, 4));
            out[48..].copy_from_slice(&nibbles_of::<32>(&block.quants));
        })
    }
}

//! `q4_k`: 8 sub-blocks of 32 weights with a scale and a minimum of 6 bits each; 4.5 bits per weight.
//!
//! ```text
//! byte 0..2     d: f16, little-endian
//! byte 2..4     dmin: f16
//! byte 4..16    scales and minima, see `pack::six_bit_pairs`
//! byte 16..144  quants: byte 32 c + j holds weights 64 c + j (low nibble) and 64 c + j + 32
//! ```
//! weight = d * scale * quant - dmin * minimum. Source of the layout: ggml, `block_q4_K`.

use super::group::{Form, Group, SUBS};
use super::pack::{nibbles_of, six_bit_pairs};
use super::super_block::{Affine, AffineBlock, LEN};

const FORM: Affine<'_> = Affine { top: 15.0, most: 63.0, reaches: &REACHES };
const REACHES: [f32; 12] = [13.6, 14.0, 14.3, 14.6, 14.9, 15.1, 15.3, 15.5, 15.7, 15.9, 16.2, 16.5];

pub(super) struct Q4K;

impl Form for Q4K {
    const LEN: usize = LEN;
    const SUB: usize = 32;
    const BYTES: usize = 144;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.write(group, out, |block: &AffineBlock<8>, out: &mut [u8; 144]| {
            out[..2].copy_from_slice(&block.d.to_le_bytes());
            out[2..4].copy_from_slice(&block.dmin.to_le_bytes());
            out[4..16].copy_from_slice(&six_bit_pairs(&block.scales, &block.mins));
            out[16..].copy_from_slice(&nibbles_of::<32>(&block.quants));
        })
    }
}

//! `q2_k`: 16 sub-blocks of 16 weights with a scale and a minimum of 4 bits each; 2.625 bits per weight.
//!
//! ```text
//! byte 0..16    scale (low nibble) and minimum (high nibble) of each sub-block
//! byte 16..80   quants of 2 bits: byte 32 h + j holds weights 128 h + j + 32 k at bits 2 k
//! byte 80..82   d: f16, little-endian
//! byte 82..84   dmin: f16
//! ```
//! weight = d * scale * quant - dmin * minimum. Source of the layout: ggml, `block_q2_K`.

use super::group::{Form, Group, SUBS};
use super::pack::pairs;
use super::super_block::{Affine, AffineBlock, LEN};

const FORM: Affine<'_> = Affine { top: 3.0, most: 15.0, reaches: &REACHES };
const REACHES: [f32; 9] = [2.3, 2.5, 2.65, 2.8, 2.95, 3.1, 3.3, 3.55, 3.9];

pub(super) struct Q2K;

impl Form for Q2K {
    const LEN: usize = LEN;
    const SUB: usize = 16;
    const BYTES: usize = 84;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.write(group, out, |block: &AffineBlock<16>, out: &mut [u8; 84]| {
            for (byte, (scale, min)) in out.iter_mut().zip(block.scales.iter().zip(block.mins)) {
                *byte = scale | min << 4;
            }
            out[16..80].copy_from_slice(&pairs(&block.quants));
            out[80..82].copy_from_slice(&block.d.to_le_bytes());
            out[82..84].copy_from_slice(&block.dmin.to_le_bytes());
        })
    }
}

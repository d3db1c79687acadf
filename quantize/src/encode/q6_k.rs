//! `q6_k`: 16 sub-blocks of 16 weights with a scale of 8 bits each; 6.5625 bits per weight.
//!
//! ```text
//! byte 0..128    bits 0..4: byte 64 h + j (j < 64) holds weights 128 h + j (low nibble) and 128 h + j + 64
//! byte 128..192  bits 4..6: byte 32 h + j holds weights 128 h + j + 32 k at bits 2 k
//! byte 192..208  scales, signed
//! byte 208..210  d: f16, little-endian
//! ```
//! weight = d * scale * (quant - 32). Source of the layout: ggml, `block_q6_K`.

use super::group::{Form, Group, SUBS};
use super::pack::{nibbles_of, pairs};
use super::super_block::{LEN, Symmetric, SymmetricBlock};
use fathom_simd::fit::Range;

const FORM: Symmetric<'_> = Symmetric {
    quants: Range { low: -32.0, high: 31.0 },
    scales: Range { low: -128.0, high: 127.0 },
    reaches: &REACHES,
};
const REACHES: [f32; 12] = [-32.8, -32.5, -32.2, -31.9, -31.6, -31.3, -31.0, 31.8, 31.5, 31.2, 30.9, 30.6];

pub(super) struct Q6K;

impl Form for Q6K {
    const LEN: usize = LEN;
    const SUB: usize = 16;
    const BYTES: usize = 210;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.write(group, out, |block: &SymmetricBlock, out: &mut [u8; 210]| {
            out[..128].copy_from_slice(&nibbles_of::<64>(&block.quants));
            out[128..192].copy_from_slice(&pairs(&block.quants.map(|q| q >> 4)));
            for (byte, scale) in out[192..208].iter_mut().zip(block.scales) {
                *byte = scale as u8;
            }
            out[208..].copy_from_slice(&block.d.to_le_bytes());
        })
    }
}

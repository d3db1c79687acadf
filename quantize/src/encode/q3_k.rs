//! `q3_k`: 16 sub-blocks of 16 weights with a scale of 6 bits each; 3.4375 bits per weight.
//!
//! ```text
//! byte 0..32     bit 2 of the quants: bit k of byte j is weight j + 32 k's
//! byte 32..96    bits 0..2: byte 32 h + j holds weights 128 h + j + 32 k at bits 2 k
//! byte 96..108   scales + 32: low nibbles of scales 0..8 and high nibbles of scales 8..16 in eight bytes, then bits
//!                4..6 of scales j + 4 k at bits 2 k of byte 8 + j
//! byte 108..110  d: f16, little-endian
//! ```
//! weight = d * scale * (quant - 4). Source of the layout: ggml, `block_q3_K`.

use super::group::{Form, Group, SUBS};
use super::pack::{pairs, planes};
use super::super_block::{LEN, Symmetric, SymmetricBlock};
use fathom_simd::fit::Range;

const FORM: Symmetric<'_> = Symmetric {
    quants: Range { low: -4.0, high: 3.0 },
    scales: Range { low: -32.0, high: 31.0 },
    reaches: &REACHES,
};
const REACHES: [f32; 16] =
    [-4.7, -4.45, -4.2, -4.0, -3.8, -3.6, -3.4, -3.2, -3.0, 3.9, 3.6, 3.4, 3.2, 3.0, 2.8, 2.6];

pub(super) struct Q3K;

impl Form for Q3K {
    const LEN: usize = LEN;
    const SUB: usize = 16;
    const BYTES: usize = 110;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.write(group, out, |block: &SymmetricBlock, out: &mut [u8; 110]| {
            out[..32].copy_from_slice(&planes(&block.quants, 2));
            out[32..96].copy_from_slice(&pairs(&block.quants));
            let scales = block.scales.map(|scale| (scale + 32) as u8);
            for j in 0..8 {
                out[96 + j] = (scales[j] & 15) | (scales[j + 8] & 15) << 4;
            }
            for j in 0..4 {
                out[104 + j] = (0..4).fold(0, |bits, k| bits | (scales[j + 4 * k] >> 4) << (2 * k));
            }
            out[108..].copy_from_slice(&block.d.to_le_bytes());
        })
    }
}

//! `q5_1`: 32 weights share a half-precision scale and minimum; 6 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..4    m: f16
//! byte 4..8    bit 4 of the quants: bit j of a little-endian u32 is weight j's
//! byte 8..24   bits 0..4: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * quant + m. Source of the layout: ggml, `block_q5_1`.

use super::block_of_32::Affine;
use super::group::{Form, Group, SUBS};
use super::pack::{fifth_bits, nibbles};

const FORM: Affine<'_> = Affine { top: 31.0, reaches: &REACHES };
const REACHES: [f32; 12] = [30.0, 30.3, 30.5, 30.7, 30.9, 31.1, 31.3, 31.5, 31.7, 31.9, 32.2, 32.5];

pub(super) struct Q5_1;

impl Form for Q5_1 {
    const LEN: usize = 32;
    const SUB: usize = 32;
    const BYTES: usize = 24;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.blocks(group).write(out, |[d, m], quants, out: &mut [u8; 24]| {
            out[..2].copy_from_slice(&d);
            out[2..4].copy_from_slice(&m);
            out[4..8].copy_from_slice(&fifth_bits(quants));
            out[8..].copy_from_slice(&nibbles(quants));
        })
    }
}

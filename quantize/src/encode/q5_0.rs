//! `q5_0`: 32 weights share one half-precision scale; 5.5 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..6    bit 4 of the quants: bit j of a little-endian u32 is weight j's
//! byte 6..22   bits 0..4: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * (quant - 16). d may be negative: -16 is the longer side. Source of the layout: ggml, `block_q5_0`.

use super::block_of_32::Symmetric;
use super::group::{Form, Group, SUBS};
use super::pack::{fifth_bits, nibbles};
use fathom_simd::fit::Range;

const FORM: Symmetric<'_> = Symmetric { range: Range { low: -16.0, high: 15.0 }, reaches: &REACHES };
const REACHES: [f32; 14] =
    [-16.9, -16.6, -16.3, -16.0, -15.7, -15.4, -15.1, -14.8, 16.0, 15.7, 15.4, 15.1, 14.8, 14.5];

pub(super) struct Q5_0;

impl Form for Q5_0 {
    const LEN: usize = 32;
    const SUB: usize = 32;
    const BYTES: usize = 22;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.blocks(group).write(out, |[d], quants, out: &mut [u8; 22]| {
            out[..2].copy_from_slice(&d);
            out[2..6].copy_from_slice(&fifth_bits(quants));
            out[6..].copy_from_slice(&nibbles(quants));
        })
    }
}

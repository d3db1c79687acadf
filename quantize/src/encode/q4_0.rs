//! `q4_0`: 32 weights share one half-precision scale; 4.5 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..18   quants: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * (quant - 8). d may be negative: -8 is the longer side. Source of the layout: ggml, `block_q4_0`.

use super::block_of_32::Symmetric;
use super::group::{Form, Group, SUBS};
use super::pack::nibbles;
use fathom_simd::fit::Range;

const FORM: Symmetric<'_> = Symmetric { range: Range { low: -8.0, high: 7.0 }, reaches: &REACHES };
const REACHES: [f32; 14] = [-8.9, -8.6, -8.3, -8.0, -7.7, -7.4, -7.1, -6.8, 8.0, 7.7, 7.4, 7.1, 6.8, 6.5];

pub(super) struct Q4_0;

impl Form for Q4_0 {
    const LEN: usize = 32;
    const SUB: usize = 32;
    const BYTES: usize = 18;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.blocks(group).write(out, |[d], quants, out: &mut [u8; 18]| {
            out[..2].copy_from_slice(&d);
            out[2..].copy_from_slice(&nibbles(quants));
        })
    }
}

//! `q4_1`: 32 weights share a half-precision scale and minimum; 5 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..4    m: f16
//! byte 4..20   quants: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * quant + m. Source of the layout: ggml, `block_q4_1`.

use super::block_of_32::Affine;
use super::group::{Form, Group, SUBS};
use super::pack::nibbles;

const FORM: Affine<'_> = Affine { top: 15.0, reaches: &REACHES };
const REACHES: [f32; 12] = [14.0, 14.3, 14.5, 14.7, 14.9, 15.1, 15.3, 15.5, 15.7, 15.9, 16.2, 16.5];

pub(super) struct Q4_1;

impl Form for Q4_1 {
    const LEN: usize = 32;
    const SUB: usize = 32;
    const BYTES: usize = 20;

    fn encode(group: &Group<'_>, out: &mut [u8]) -> [bool; SUBS] {
        FORM.blocks(group).write(out, |[d, m], quants, out: &mut [u8; 20]| {
            out[..2].copy_from_slice(&d);
            out[2..4].copy_from_slice(&m);
            out[4..].copy_from_slice(&nibbles(quants));
        })
    }
}

//! `q5_1`: 32 weights share a half-precision scale and minimum; 6 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..4    m: f16
//! byte 4..8    bit 4 of the quants: bit j of a little-endian u32 is weight j's
//! byte 8..24   bits 0..4: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * quant + m. Source of the layout: ggml, `block_q5_1`.

use super::fit::Values;
use super::pack::{self, fifth_bits, nibbles};

const TOP: f32 = 31.0;
const REACHES: [f32; 12] = [30.0, 30.3, 30.5, 30.7, 30.9, 31.1, 31.3, 31.5, 31.7, 31.9, 32.2, 32.5];

/// `None` if scale or minimum is beyond a half.
pub(super) fn block(x: &[f32; 32], w: &[f32; 32], out: &mut [u8; 24]) -> Option<()> {
    let (halves, quants) = pack::with_minimum(&Values { x, w }, TOP, &REACHES)?;
    out[..4].copy_from_slice(&halves);
    out[4..8].copy_from_slice(&fifth_bits(&quants));
    out[8..].copy_from_slice(&nibbles(&quants));
    Some(())
}

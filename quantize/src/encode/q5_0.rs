//! `q5_0`: 32 weights share one half-precision scale; 5.5 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..6    bit 4 of the quants: bit j of a little-endian u32 is weight j's
//! byte 6..22   bits 0..4: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * (quant - 16). d may be negative: -16 is the longer side. Source of the layout: ggml, `block_q5_0`.

use super::fit::{self, Line, Values};
use super::pack::{fifth_bits, nibbles};
use half::f16;

const LOW: f32 = -16.0;
const HIGH: f32 = 15.0;
const REACHES: [f32; 14] =
    [-16.9, -16.6, -16.3, -16.0, -15.7, -15.4, -15.1, -14.8, 16.0, 15.7, 15.4, 15.1, 14.8, 14.5];

/// `None` if the scale is beyond a half.
pub(super) fn block(x: &[f32; 32], w: &[f32; 32], out: &mut [u8; 22]) -> Option<()> {
    let values = Values { x, w };
    let d = f16::from_f32(fit::symmetric(&values, LOW, HIGH, &REACHES));
    if !d.is_finite() {
        return None;
    }
    let mut quants = [0; 32];
    values.quants(Line { scale: d.to_f32(), offset: 0.0 }, LOW, HIGH, &mut quants);
    let quants = quants.map(|q| (q + 16) as u8);
    out[..2].copy_from_slice(&d.to_le_bytes());
    out[2..6].copy_from_slice(&fifth_bits(&quants));
    out[6..].copy_from_slice(&nibbles(&quants));
    Some(())
}

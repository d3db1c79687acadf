//! `q4_0`: 32 weights share one half-precision scale; 4.5 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..18   quants: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * (quant - 8). d may be negative: -8 is the longer side. Source of the layout: ggml, `block_q4_0`.

use super::fit::{self, Line, Values};
use super::pack::nibbles;
use half::f16;

const LOW: f32 = -8.0;
const HIGH: f32 = 7.0;
const REACHES: [f32; 14] = [-8.9, -8.6, -8.3, -8.0, -7.7, -7.4, -7.1, -6.8, 8.0, 7.7, 7.4, 7.1, 6.8, 6.5];

/// `None` if the scale is beyond a half.
pub(super) fn block(x: &[f32; 32], w: &[f32; 32], out: &mut [u8; 18]) -> Option<()> {
    let values = Values { x, w };
    let d = f16::from_f32(fit::symmetric(&values, LOW, HIGH, &REACHES));
    if !d.is_finite() {
        return None;
    }
    let mut quants = [0; 32];
    values.quants(Line { scale: d.to_f32(), offset: 0.0 }, LOW, HIGH, &mut quants);
    out[..2].copy_from_slice(&d.to_le_bytes());
    out[2..].copy_from_slice(&nibbles(&quants.map(|q| (q + 8) as u8)));
    Some(())
}

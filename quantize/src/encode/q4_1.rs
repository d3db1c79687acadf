//! `q4_1`: 32 weights share a half-precision scale and minimum; 5 bits per weight.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..4    m: f16
//! byte 4..20   quants: low nibble of byte j is weight j, high nibble weight j + 16
//! ```
//! weight = d * quant + m. Source of the layout: ggml, `block_q4_1`.

use super::fit::Values;
use super::pack::{self, nibbles};

const TOP: f32 = 15.0;
const REACHES: [f32; 12] = [14.0, 14.3, 14.5, 14.7, 14.9, 15.1, 15.3, 15.5, 15.7, 15.9, 16.2, 16.5];

/// `None` if scale or minimum is beyond a half.
pub(super) fn block(x: &[f32; 32], w: &[f32; 32], out: &mut [u8; 20]) -> Option<()> {
    let (halves, quants) = pack::with_minimum(&Values { x, w }, TOP, &REACHES)?;
    out[..4].copy_from_slice(&halves);
    out[4..].copy_from_slice(&nibbles(&quants));
    Some(())
}

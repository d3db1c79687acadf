//! Bits into bytes, where several formats do it alike.

use super::fit::{self, Line, Values};
use half::f16;

/// Low nibbles: the first 16 quants, high nibbles: the others; higher bits are left out.
pub(super) fn nibbles(quants: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| (quants[j] & 15) | (quants[j + 16] & 15) << 4)
}

/// Bit 4 of each quant, as a little-endian u32.
pub(super) fn fifth_bits(quants: &[u8; 32]) -> [u8; 4] {
    let bits = quants.iter().enumerate().fold(0u32, |bits, (j, q)| bits | u32::from(q >> 4 & 1) << j);
    bits.to_le_bytes()
}

/// Two bits of each quant, four to a byte: byte `32 h + j` holds weights `128 h + j + 32 k` at bits `2 k`.
pub(super) fn pairs(quants: &[u8; 256]) -> [u8; 64] {
    std::array::from_fn(|byte| {
        let first = byte / 32 * 128 + byte % 32;
        (0..4).fold(0, |bits, k| bits | (quants[first + 32 * k] & 3) << (2 * k))
    })
}

/// Four bits of each quant: byte `32 c + j` holds weights `64 c + j` and `64 c + j + 32`.
pub(super) fn nibbles_of_64(quants: &[u8; 256]) -> [u8; 128] {
    std::array::from_fn(|byte| {
        let first = byte / 32 * 64 + byte % 32;
        (quants[first] & 15) | (quants[first + 32] & 15) << 4
    })
}

/// Eight scales and eight minima of six bits in twelve bytes, as `q4_k` and `q5_k` have them: bytes 0..4 and 4..8 are
/// the first four of each with two high bits free, which the other four's high bits fill; bytes 8..12 hold the others'
/// low nibbles.
pub(super) fn six_bit_pairs(scales: &[u8; 8], mins: &[u8; 8]) -> [u8; 12] {
    let mut out = [0; 12];
    for j in 0..4 {
        out[j] = scales[j] | scales[j + 4] >> 4 << 6;
        out[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        out[j + 8] = (scales[j + 4] & 15) | (mins[j + 4] & 15) << 4;
    }
    out
}

/// `d` and `m` as bytes, and the quants, of a block of 32 whose weights are `d * quant + m`. `None` if one of them is
/// beyond a half.
#[inline(always)]
pub(super) fn with_minimum(
    values: &Values<'_, 32>,
    top: f32,
    reaches: &[f32],
) -> Option<([u8; 4], [u8; 32])> {
    let mut line = fit::affine(values, top, false, reaches);
    if f16::from_f32(line.scale) == f16::ZERO {
        line = Line { scale: 0.0, offset: values.weighted() / values.weight() };
    }
    let m = f16::from_f32(line.offset);
    // Where the minimum was rounded, another scale fits better.
    let offset = m.to_f32();
    let residual = values.residual(Line { scale: line.scale, offset }, 0.0, top);
    let fitted = (residual.xl - offset * residual.l) / residual.ll;
    let candidates = [line.scale, if fitted > 0.0 { fitted } else { line.scale }].map(f16::from_f32);
    let error = |d: f16| values.residual(Line { scale: d.to_f32(), offset }, 0.0, top).error;
    let d = if error(candidates[1]) < error(candidates[0]) { candidates[1] } else { candidates[0] };
    if !d.is_finite() || !m.is_finite() {
        return None;
    }
    let mut quants = [0; 32];
    values.quants(Line { scale: d.to_f32(), offset }, 0.0, top, &mut quants);
    let ([d0, d1], [m0, m1]) = (d.to_le_bytes(), m.to_le_bytes());
    Some(([d0, d1, m0, m1], quants.map(|q| q as u8)))
}

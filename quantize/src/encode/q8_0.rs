//! `q8_0`: 32 weights share one half-precision scale.
//!
//! ```text
//! byte 0..2    d: f16, little-endian
//! byte 2..34   32 signed bytes; weight = d * byte
//! ```
//! d is the block's largest magnitude divided by 127, and weights are divided by the *unrounded* d and rounded half away
//! from zero, as ggml's reference encoder does: files are equal byte for byte. -128 never occurs.
//! Source: ggml, `quantize_row_q8_0_ref`.

use half::f16;

const LEN: usize = 32;
const BYTES: usize = 34;

/// Encodes whole blocks. Fails with the first value whose block's scale is beyond a half.
pub(super) fn encode(values: &[f32], out: &mut [u8]) -> Result<(), f32> {
    let (values, rest) = values.as_chunks::<LEN>();
    let (out, _) = out.as_chunks_mut::<BYTES>();
    assert!(rest.is_empty() && values.len() == out.len(), "whole blocks");
    for (values, out) in values.iter().zip(out) {
        let largest = largest_magnitude(values);
        let d = largest / 127.0;
        let half = f16::from_f32(d);
        if !half.is_finite() {
            return Err(*values.iter().find(|v| v.abs() == largest).expect("the largest is among them"));
        }
        // Zeros, or values so small that the reciprocal overflows; their scale is zero as a half anyway.
        let inverse = if (1.0 / d).is_finite() { 1.0 / d } else { 0.0 };
        out[..2].copy_from_slice(&half.to_le_bytes());
        for (value, byte) in values.iter().zip(&mut out[2..]) {
            *byte = round_half_away(value * inverse) as u8;
        }
    }
    Ok(())
}

/// Eight lanes and a comparison, because that is one instruction for four values on any x86-64; `f32::max` also has to
/// think of NaN, which weights are not.
fn largest_magnitude(values: &[f32; LEN]) -> f32 {
    let larger = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [0f32; 8];
    for eight in values.as_chunks::<8>().0 {
        for (lane, value) in lanes.iter_mut().zip(eight) {
            *lane = larger(value.abs(), *lane);
        }
    }
    lanes.into_iter().fold(0.0, larger)
}

/// Rounds |x| <= 127.5 to the nearest integer, halves away from zero.
///
/// `f32::round` is a library call on baseline x86-64; this is a handful of vector instructions there. Adding 2^23
/// rounds to an integer (halves to even), and where that went down from a half it is corrected.
#[inline(always)]
fn round_half_away(x: f32) -> i32 {
    const ROUNDER: f32 = 8_388_608.0;
    let magnitude = x.abs();
    let even = (magnitude + ROUNDER) - ROUNDER;
    let up = if magnitude - even == 0.5 { 1.0 } else { 0.0 };
    let bits = ((even + up) + ROUNDER).to_bits() & 0xff;
    let sign = x.to_bits() as i32 >> 31;
    (bits as i32 ^ sign) - sign
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// ggml's reference in our words: the obvious way.
    fn reference_block(values: &[f32; LEN]) -> [u8; BYTES] {
        let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let mut out = [0; BYTES];
        out[..2].copy_from_slice(&f16::from_f32_const(d).to_le_bytes());
        for (value, byte) in values.iter().zip(&mut out[2..]) {
            *byte = (value * inverse).round() as i8 as u8;
        }
        out
    }

    #[test]
    fn rounding_equals_the_library_everywhere_it_is_used() {
        for numerator in -(128 * 1024)..=(128 * 1024) {
            let x = numerator as f32 / 1024.0;
            if x.abs() <= 127.5 {
                for x in [x, x.next_up(), x.next_down()] {
                    assert_eq!(round_half_away(x), x.round() as i32, "{x:?}");
                }
            }
        }
    }

    #[test]
    fn zero_blocks_are_all_zero_bytes() {
        let mut out = [1; BYTES];
        encode(&[-0.0; LEN], &mut out).unwrap();
        assert_eq!(out, [0; BYTES]);
        encode(&[1e-40; LEN], &mut out).unwrap();
        assert_eq!(out, [0; BYTES]);
    }

    proptest! {
        #[test]
        fn blocks_equal_the_reference(
            seeds in proptest::collection::vec(-1f32..1.0, LEN),
            exponent in -10i32..15,
            ties in any::<bool>(),
        ) {
            let mut values: [f32; LEN] = seeds.try_into().unwrap();
            for value in &mut values {
                *value *= 2f32.powi(exponent);
            }
            if ties {
                // Largest 127 makes d = 1: every half is a tie.
                for value in &mut values {
                    *value = (*value / 2f32.powi(exponent) * 250.0).round() / 2.0;
                }
                values[7] = -127.0;
            }
            let mut out = [0; BYTES];
            encode(&values, &mut out).unwrap();
            prop_assert_eq!(out, reference_block(&values));
            prop_assert!(out[2..].iter().all(|&b| b != 0x80));
        }
    }
}

//! FP8 E4M3 in its "fn" flavour (finite, no infinities), the format of the published checkpoint's weights: 1 sign,
//! 4 exponent (bias 7), 3 mantissa bits. Exponent 0 is subnormal (multiples of 2^-9); 0x7f and 0xff are NaN and
//! the other codes of the top exponent are ordinary numbers, so the largest is 448.
//!
//! It is what the quantizer reads and what tests write. It is not a [`crate::Format`]: no kernel multiplies it.
//!
//! Source: Micikevicius et al., "FP8 Formats for Deep Learning", 2022, table 1.

/// Largest finite value.
pub const MAX: f32 = 448.0;

static VALUES: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        values[code] = define(code as u8);
        code += 1;
    }
    values
};

/// The value of a code, from the definition.
const fn define(code: u8) -> f32 {
    let exponent = (code >> 3 & 15) as u32;
    let mantissa = (code & 7) as u32;
    let magnitude = if code & 0x7f == 0x7f {
        f32::NAN
    } else if exponent == 0 {
        mantissa as f32 / 512.0
    } else {
        f32::from_bits((exponent + 127 - 7) << 23 | mantissa << 20)
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The value of a code; exact.
#[inline]
pub fn decode(code: u8) -> f32 {
    VALUES[code as usize]
}

/// The nearest code, ties to even. Values beyond ±448 and infinities become ±448 (saturating, as the model's own
/// quantizer does by clamping first); NaN becomes NaN.
pub fn encode(x: f32) -> u8 {
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = x.abs();
    let code = if magnitude.is_nan() {
        0x7f
    } else if magnitude >= MAX {
        0x7e
    } else if magnitude < 1.0 / 64.0 {
        // Below the normal range: count multiples of 2^-9. Eight of them is the code of the first normal number.
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        let bits = magnitude.to_bits();
        let odd = bits >> 20 & 1;
        ((bits + 0x7_ffff + odd - ((127 - 7) << 23)) >> 20) as u8
    };
    sign | code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_codes() {
        assert_eq!(decode(0x00), 0.0);
        assert_eq!(decode(0x80).to_bits(), (-0.0_f32).to_bits());
        assert_eq!(decode(0x01), 2.0_f32.powi(-9), "smallest subnormal");
        assert_eq!(decode(0x07), 7.0 / 512.0, "largest subnormal");
        assert_eq!(decode(0x08), 2.0_f32.powi(-6), "smallest normal");
        assert_eq!(decode(0x38), 1.0);
        assert_eq!(decode(0x7e), MAX);
        assert_eq!(decode(0xfe), -MAX);
        assert!(decode(0x7f).is_nan() && decode(0xff).is_nan());
    }

    #[test]
    fn every_code_comes_back_and_neighbours_round_to_even() {
        for code in 0..0x7f_u8 {
            let value = decode(code);
            assert_eq!(encode(value), code);
            assert_eq!(encode(-value), code | 0x80);
            if code < 0x7e {
                let next = decode(code + 1);
                assert!(next > value, "codes ascend");
                let middle = (value + next) / 2.0;
                assert_eq!(encode(middle), code + (code & 1), "{middle}");
                assert_eq!(encode(middle.next_down()), code, "{middle}");
                assert_eq!(encode(middle.next_up()), code + 1, "{middle}");
            }
        }
    }

    #[test]
    fn what_is_too_large_saturates_and_nan_stays() {
        assert_eq!(encode(449.0), 0x7e);
        assert_eq!(encode(1e30), 0x7e);
        assert_eq!(encode(f32::NEG_INFINITY), 0xfe);
        assert_eq!(encode(f32::NAN) & 0x7f, 0x7f);
        assert_eq!(encode(f32::MIN_POSITIVE), 0);
    }
}

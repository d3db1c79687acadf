//! F16: 16-bit IEEE floats, little-endian: 1 sign, 5 exponent, 10 mantissa bits; largest 65504, smallest normal
//! 2^-14, smallest subnormal 2^-24. Also the scale of every ggml block format.
//!
//! The conversions here are the definition; the hardware's (F16C) agree bit for bit, NaN payloads included: a NaN
//! keeps the upper ten bits of its mantissa and becomes quiet.

use super::table::{ActKind, BlockFormat, Format};
use crate::isa::Isa;
use crate::op::float::{self, FloatFormat};
use crate::view::{Acts, Pick, Rows};

pub(crate) struct F16;

/// The float that the bits stand for; exact.
#[inline]
pub const fn decode(bits: u16) -> f32 {
    let sign = (bits as u32 & 0x8000) << 16;
    let magnitude = bits as u32 & 0x7fff;
    let value = match magnitude {
        // Subnormal or zero: an integer multiple of 2^-24, exact in f32.
        0..0x0400 => (magnitude as f32 * f32::from_bits((127 - 24) << 23)).to_bits(),
        0x0400..0x7c00 => (magnitude << 13) + ((127 - 15) << 23),
        0x7c00 => 0x7f80_0000,
        _ => (magnitude << 13) | 0x7fc0_0000,
    };
    f32::from_bits(sign | value)
}

/// The nearest 16-bit float, ties to even; 65520 and above become infinity.
#[inline]
pub const fn encode(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let value = if magnitude > 0x7f80_0000 {
        0x7e00 | (magnitude >> 13) & 0x03ff
    } else if magnitude >= 0x477f_f000 {
        0x7c00 // 65520 is half-way between 65504 and what would be 65536: the even neighbour is infinity
    } else if magnitude < (127 - 14) << 23 {
        // Below the normal range the result counts multiples of 2^-24: adding 0.5, whose last place is 2^-24,
        // makes the hardware round to it.
        let half = f32::from_bits(126 << 23);
        (f32::from_bits(magnitude) + half).to_bits() - half.to_bits()
    } else {
        let odd = (magnitude >> 13) & 1;
        (magnitude + 0x0fff + odd - ((127 - 15) << 23)) >> 13
    };
    sign | value as u16
}

impl BlockFormat for F16 {
    const FORMAT: Format = Format::F16;
    const NAME: &'static str = "f16";
    const LEN: usize = 1;
    const BYTES: usize = 2;
    const ACTS: ActKind = ActKind::F32;

    fn decode(bytes: &[u8], out: &mut [f32]) {
        for (value, out) in bytes.as_chunks().0.iter().zip(out) {
            *out = decode(u16::from_le_bytes(*value));
        }
    }

    #[inline(always)]
    fn decode_row<I: Isa>(isa: I, row: &[u8], out: &mut [f32]) {
        float::decode_row::<Self, I>(isa, row, out);
    }

    #[inline(always)]
    fn encode_row<I: Isa>(isa: I, x: &[f32], out: &mut [u8]) {
        float::encode_row::<Self, I>(isa, x, out);
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) {
        float::product::<Self, I>(isa, w, x, pick, out);
    }
}

impl FloatFormat for F16 {
    type Chunk = [u8; 32];

    #[inline(always)]
    fn load<I: Isa>(isa: I, chunk: &[u8; 32]) -> I::F32 {
        isa.load_f16(chunk)
    }

    #[inline(always)]
    fn store<I: Isa>(isa: I, x: I::F32, chunk: &mut [u8; 32]) {
        isa.store_f16(x, chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_decodes_as_the_reference_does_and_comes_back() {
        for bits in 0..=u16::MAX {
            let reference = half::f16::from_bits(bits);
            let value = decode(bits);
            if reference.is_nan() {
                assert!(value.is_nan(), "{bits:#06x}");
                assert_eq!(encode(value), bits | 0x0200, "{bits:#06x}");
            } else {
                assert_eq!(value.to_bits(), reference.to_f32_const().to_bits(), "{bits:#06x}");
                assert_eq!(encode(value), bits, "{bits:#06x}");
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_even_at_and_around_every_half_way_point() {
        for bits in 0..0x7c00_u16 {
            let (low, high) = (f64::from(decode(bits)), f64::from(decode(bits + 1)));
            let high = if high.is_infinite() { 65536.0 } else { high };
            let middle = ((low + high) / 2.0) as f32; // exact: one bit more than an f16 has
            let even = if bits & 1 == 0 { bits } else { bits + 1 };
            assert_eq!(encode(middle), even, "{middle}");
            assert_eq!(encode(middle.next_down()), bits, "{middle}");
            assert_eq!(encode(middle.next_up()), bits + 1, "{middle}");
            assert_eq!(encode(-middle), even | 0x8000, "{middle}");
        }
        assert_eq!(encode(f32::MAX), 0x7c00);
        assert_eq!(encode(f32::NEG_INFINITY), 0xfc00);
        assert_eq!(encode(f32::MIN_POSITIVE), 0);
    }
}

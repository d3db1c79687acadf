//! BF16: the upper half of a 32-bit float, little-endian: 1 sign, 8 exponent, 7 mantissa bits. The checkpoint's
//! unquantised tensors come like this. Decoding is a shift, so it is exact for every code.

use super::table::{ActKind, BlockFormat, Format};
use crate::isa::Isa;
use crate::op;
use crate::op::float::{self, FloatFormat};
use crate::view::{Acts, Attend, Pick, Rows};

pub(crate) struct BF16;

/// The float that the bits stand for; exact.
#[inline]
pub const fn decode(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The nearest bf16, ties to even; a NaN keeps its upper bits and becomes quiet.
#[inline]
pub const fn encode(x: f32) -> u16 {
    let bits = x.to_bits();
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        (bits >> 16) as u16 | 0x0040
    } else {
        ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
    }
}

impl BlockFormat for BF16 {
    const FORMAT: Format = Format::BF16;
    const NAME: &'static str = "bf16";
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

    #[inline(always)]
    fn attend<I: Isa>(isa: I, a: Attend<'_>, segment: usize, scratch: &mut [f32], part: &mut [f32]) {
        op::attend_pairs(isa, a, segment, scratch, part);
    }
}

impl FloatFormat for BF16 {
    type Chunk = [u8; 32];

    #[inline(always)]
    fn load<I: Isa>(isa: I, chunk: &[u8; 32]) -> I::F32 {
        isa.with_bits(isa.shl::<16>(isa.load_u16(chunk)))
    }

    #[inline(always)]
    fn store<I: Isa>(isa: I, x: I::F32, chunk: &mut [u8; 32]) {
        let bits = isa.bits(x);
        let odd = isa.and(isa.shr::<16>(bits), isa.splat_i32(1));
        let rounded = isa.add_i32(bits, isa.add_i32(odd, isa.splat_i32(0x7fff)));
        let quiet = isa.or(bits, isa.splat_i32(0x0040_0000));
        // All ones where the magnitude lies above infinity's.
        let magnitude = isa.and(bits, isa.splat_i32(0x7fff_ffff));
        let is_nan = isa.shr_signed::<31>(isa.sub_i32(isa.splat_i32(0x7f80_0000), magnitude));
        isa.store_u16(isa.shr::<16>(isa.select(is_nan, quiet, rounded)), chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_and_half_way_points_round_to_even() {
        for bits in 0..=u16::MAX {
            let value = decode(bits);
            if value.is_nan() {
                assert_eq!(encode(value), bits | 0x0040);
                continue;
            }
            assert_eq!(encode(value), bits);
            if value.is_finite() {
                let middle = f32::from_bits(value.to_bits() | 0x8000);
                assert_eq!(encode(middle), bits + (bits & 1), "{middle}");
                assert_eq!(encode(f32::from_bits(middle.to_bits() - 1)), bits);
                assert_eq!(encode(f32::from_bits(middle.to_bits() + 1)), bits + 1);
            }
            assert_eq!(half::bf16::from_f32(value).to_bits(), bits);
        }
        assert_eq!(encode(f32::MAX), 0x7f80, "overflow is infinity");
        assert_eq!(encode(f32::from_bits(0x7f80_0001)), 0x7fc0, "a NaN never becomes infinity");
    }
}

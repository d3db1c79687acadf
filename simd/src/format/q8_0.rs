//! Q8_0: blocks of 32 weights, 34 bytes: `d` (f16), then 32 signed bytes; weight = d * q. 8.5 bits a weight.
//!
//! ```text
//! byte   0   1   2                                    33
//!      [  d (f16) | q0 q1 ...                     q31 ]
//! ```
//!
//! q is -127..=127 when ggml's encoder or ours wrote it; a file may hold -128, and every kernel is exact for it.
//! The layout and the encoder's rounding are ggml's (`block_q8_0`, `quantize_row_q8_0_ref`), so that files carry
//! the same bytes.

use bytemuck::{Pod, Zeroable};

use super::f16;
use super::table::{ActKind, BlockFormat, Format};
use crate::isa::Isa;
use crate::op::q8;
use crate::view::{Acts, Pick, Rows};

pub(crate) struct Q8_0;

/// One block as it lies in the file; any address will do.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BlockQ8_0 {
    pub(crate) d: [u8; 2],
    pub(crate) qs: [i8; 32],
}

const _: () = assert!(size_of::<BlockQ8_0>() == Q8_0::BYTES && align_of::<BlockQ8_0>() == 1);

impl BlockQ8_0 {
    #[inline(always)]
    pub(crate) fn d(&self) -> f32 {
        f16::decode(u16::from_le_bytes(self.d))
    }

    /// The exact integer part of the product with one activation block: at most 32 * 128 * 127 in magnitude.
    #[inline]
    pub(crate) fn dot_block(&self, x: &[i8; 32]) -> i32 {
        self.qs.iter().zip(x).map(|(&w, &x)| i32::from(w) * i32::from(x)).sum()
    }
}

impl BlockFormat for Q8_0 {
    const FORMAT: Format = Format::Q8_0;
    const NAME: &'static str = "q8_0";
    const LEN: usize = 32;
    const BYTES: usize = 34;
    const ACTS: ActKind = ActKind::Q8;

    fn decode(bytes: &[u8], out: &mut [f32]) {
        let blocks: &[BlockQ8_0] = bytemuck::cast_slice(bytes);
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<32>().0) {
            let d = block.d();
            for (&q, out) in block.qs.iter().zip(out) {
                *out = d * f32::from(q);
            }
        }
    }

    #[inline(always)]
    fn decode_row<I: Isa>(isa: I, row: &[u8], out: &mut [f32]) {
        let blocks: &[BlockQ8_0] = bytemuck::cast_slice(row);
        let (out, _) = out.as_chunks_mut::<16>();
        for (block, out) in blocks.iter().zip(out.as_chunks_mut::<2>().0) {
            let d = isa.splat(block.d());
            let (qs, _) = block.qs.as_chunks::<16>();
            for half in 0..2 {
                let q = isa.to_f32(isa.load_i8(&qs[half]));
                isa.store(isa.mul(d, q), &mut out[half]);
            }
        }
    }

    /// ggml's reference rounding: d = amax / 127, q = x * (1 / d) rounded half away from zero, and `d` is rounded
    /// to f16 only when stored. A block that holds an infinity or NaN gets d = NaN and zero quants, so that
    /// whoever reads it will notice; one whose 1 / d is not finite (amax below 2^-121) gets zeros.
    #[inline(always)]
    fn encode_row<I: Isa>(isa: I, x: &[f32], out: &mut [u8]) {
        let blocks: &mut [BlockQ8_0] = bytemuck::cast_slice_mut(out);
        for (x, block) in x.as_chunks::<32>().0.iter().zip(blocks) {
            let amax = q8::amax(isa, x);
            let d = amax / 127.0;
            let inverse = 1.0 / d;
            if !amax.is_finite() || !inverse.is_finite() {
                let d = if amax.is_finite() { d } else { f32::NAN };
                *block = BlockQ8_0 { d: f16::encode(d).to_le_bytes(), qs: [0; 32] };
                continue;
            }
            block.d = f16::encode(d).to_le_bytes();
            let inverse = isa.splat(inverse);
            let (x, _) = x.as_chunks::<16>();
            let (qs, _) = block.qs.as_chunks_mut::<16>();
            for half in 0..2 {
                let scaled = isa.mul(isa.load(&x[half]), inverse);
                // Half away from zero by truncation. The addend is the float just below 0.5: with 0.5 itself the
                // largest float below 0.5 would become 1.
                let sign = isa.and(isa.bits(scaled), isa.splat_i32(i32::MIN));
                let below_half = isa.bits(isa.splat(0.5_f32.next_down()));
                let q = isa.truncate(isa.add(scaled, isa.with_bits(isa.or(sign, below_half))));
                isa.store_i8(q, &mut qs[half]);
            }
        }
    }

    #[inline(always)]
    fn product<I: Isa>(isa: I, w: Rows<'_>, x: Acts<'_>, pick: Pick<'_>, out: &mut [f32]) {
        q8::product(isa, w, x, pick, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition in ggml's words, block by block.
    fn reference_encode(x: &[f32; 32]) -> ([u8; 2], [i8; 32]) {
        let amax = x.iter().fold(0.0_f32, |a, v| a.max(v.abs()));
        let d = amax / 127.0;
        let id = if d != 0.0 { 1.0 / d } else { 0.0 };
        (half::f16::from_f32(d).to_bits().to_le_bytes(), x.map(|v| (v * id).round() as i8))
    }

    #[test]
    fn bytes_are_those_of_the_reference_encoder() {
        let mut random = fastrand::Rng::with_seed(8);
        for case in 0..20_000 {
            let spread = 10.0_f32.powi(random.i32(-12..8));
            let mut x = [0.0; 32];
            for value in &mut x {
                *value = (random.f32() - 0.5) * spread;
            }
            if case % 4 == 0 {
                // Multiples of half a step: ties everywhere.
                x = x.map(|v| (v / spread * 254.0).round() / 2.0);
                x[7] = 127.0;
            }
            let mut bytes = [0; 34];
            Q8_0::encode_row(crate::isa::Scalar, &x, &mut bytes);
            let (d, qs) = reference_encode(&x);
            assert_eq!(bytes[..2], d, "{x:?}");
            assert_eq!(bytemuck::cast_slice::<u8, i8>(&bytes[2..]), qs, "{x:?}");
        }
    }

    #[test]
    fn zero_tiny_and_broken_blocks_have_a_definition() {
        let mut bytes = [0xff; 34];
        Q8_0::encode_row(crate::isa::Scalar, &[0.0; 32], &mut bytes);
        assert_eq!(bytes, [0; 34]);
        Q8_0::encode_row(crate::isa::Scalar, &[f32::MIN_POSITIVE; 32], &mut bytes);
        assert_eq!(bytes, [0; 34]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 32];
            x[31] = bad;
            Q8_0::encode_row(crate::isa::Scalar, &x, &mut bytes);
            let mut out = [0.0; 32];
            Q8_0::decode(&bytes, &mut out);
            assert!(out.iter().all(|v| v.is_nan()), "{bad}");
        }
    }

    #[test]
    fn golden_block() {
        // d = 0.5 is 0x3800; quants ascend from -128, which no encoder writes but a file may hold.
        let mut bytes = [0x00, 0x38].to_vec();
        bytes.extend((0..32).map(|q| (-128 + q) as i8 as u8));
        let mut out = [0.0; 32];
        Q8_0::decode(&bytes, &mut out);
        for (at, value) in out.into_iter().enumerate() {
            assert_eq!(value, (at as f32 - 128.0) / 2.0);
        }
        let block: &[BlockQ8_0] = bytemuck::cast_slice(&bytes);
        assert_eq!(block[0].dot_block(&[-127; 32]), 127 * (32 * 128 - 31 * 16));
    }
}

//! FP8 codes times their block's scale: what the quantizer reads.

use crate::isa::Isa;

/// `out = e4m3(code) * scale`, rounded once. Definition of a code's value: `format/fp8_e4m3.rs`.
#[inline(always)]
pub(crate) fn decode<I: Isa>(isa: I, codes: &[u8], scale: f32, out: &mut [f32]) {
    let scale = isa.splat(scale);
    let (codes, codes_tail) = bytemuck::cast_slice::<u8, i8>(codes).as_chunks::<16>();
    let (out, out_tail) = out.as_chunks_mut::<16>();
    for (codes, out) in codes.iter().zip(out) {
        isa.store(isa.mul(values(isa, codes), scale), out);
    }
    if !out_tail.is_empty() {
        let mut padded = [0; 16];
        padded[..codes_tail.len()].copy_from_slice(codes_tail);
        isa.store_part(isa.mul(values(isa, &padded), scale), out_tail);
    }
}

/// The values of 16 codes.
#[inline(always)]
fn values<I: Isa>(isa: I, codes: &[i8; 16]) -> I::F32 {
    let codes = isa.load_i8(codes);
    let sign = isa.and(codes, isa.splat_i32(i32::MIN));
    let magnitude = isa.and(codes, isa.splat_i32(0x7f));
    // Exponent and mantissa move to their places, and the bias from 7 to 127.
    let normal = isa.add_i32(isa.shl::<20>(magnitude), isa.splat_i32((127 - 7) << 23));
    // Below the normal range codes count multiples of 2^-9. By way of an integer: processors are slow with subnormals.
    let small = isa.bits(isa.mul(isa.to_f32(magnitude), isa.splat(1.0 / 512.0)));
    let is_small = isa.shr_signed::<31>(isa.sub_i32(magnitude, isa.splat_i32(8)));
    // The largest magnitude is NaN.
    let is_nan = isa.shr_signed::<31>(isa.sub_i32(isa.splat_i32(0x7e), magnitude));
    let finite = isa.or(sign, isa.select(is_small, small, normal));
    isa.with_bits(isa.select(is_nan, isa.splat_i32(0x7fc0_0000), finite))
}

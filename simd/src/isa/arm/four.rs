//! One register: four lanes of a vector. What NEON's intrinsics do not say in the words of `Isa`.

use std::arch::aarch64::*;

use super::neon::F32;
use super::{intrinsics, load, sdot, transpose4};

#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load4(x: &[f32; 4]) -> float32x4_t {
    intrinsics!(vld1q_f32(x.as_ptr()))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store4(x: float32x4_t, out: &mut [f32; 4]) {
    intrinsics!(vst1q_f32(out.as_mut_ptr(), x));
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_bytes4(x: &[u8; 16]) -> float32x4_t {
    vreinterpretq_f32_s8(load(x))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store_bytes4(x: float32x4_t, out: &mut [u8; 16]) {
    intrinsics!(vst1q_u8(out.as_mut_ptr(), vreinterpretq_u8_f32(x)));
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_halves4(x: &[u8; 8]) -> uint16x4_t {
    vcreate_u16(u64::from_le_bytes(*x))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_f16_4(x: &[u8; 8]) -> float32x4_t {
    vcvt_f32_f16(vreinterpret_f16_u16(load_halves4(x)))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_u16_4(x: &[u8; 8]) -> int32x4_t {
    vreinterpretq_s32_u32(vmovl_u16(load_halves4(x)))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store_f16_4(x: float32x4_t, out: &mut [u8; 8]) {
    intrinsics!(vst1_u8(out.as_mut_ptr(), vreinterpret_u8_f16(vcvt_f16_f32(x))));
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store_u16_4(x: int32x4_t, out: &mut [u8; 8]) {
    intrinsics!(vst1_u8(out.as_mut_ptr(), vreinterpret_u8_s16(vmovn_s32(x))));
}

/// Not FMAX, which gives back a NaN of either side.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn max4(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), a, b)
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn min4(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(a, b), a, b)
}
/// a * b + c; the instruction has the sum in front.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn fma4(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
    vfmaq_f32(c, a, b)
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn fnma4(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
    vfmsq_f32(c, a, b)
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn select4(mask: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    vbslq_s32(vreinterpretq_u32_s32(mask), a, b)
}
/// To the right for negative counts, which are constants here and become shifts by an immediate; the intrinsics with an
/// immediate want it as an i32, into which a u32 const parameter cannot be turned.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn shift4(x: int32x4_t, n: i32) -> int32x4_t {
    vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x), vdupq_n_s32(n)))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn shift_signed4(x: int32x4_t, n: i32) -> int32x4_t {
    vshlq_s32(x, vdupq_n_s32(n))
}
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn swap_twos(x: float32x4_t) -> float32x4_t {
    vextq_f32::<2>(x, x)
}
/// Lanes 0 and 1 of both, and lanes 2 and 3 of both.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn zip_twos(a: float32x4_t, b: float32x4_t) -> [float32x4_t; 2] {
    let (a, b) = (vreinterpretq_f64_f32(a), vreinterpretq_f64_f32(b));
    [vreinterpretq_f32_f64(vzip1q_f64(a, b)), vreinterpretq_f32_f64(vzip2q_f64(a, b))]
}

/// The first two steps of the tree of `Isa::sum`.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn fold4(x: F32) -> float32x4_t {
    vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]))
}

/// The other two of four vectors; lane i of the result is the sum of vector i.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn sum_four(x: &[F32; 4]) -> float32x4_t {
    let [low, high] = zip_twos(fold4(x[0]), fold4(x[1]));
    let [low2, high2] = zip_twos(fold4(x[2]), fold4(x[3]));
    vpaddq_f32(vaddq_f32(low, high), vaddq_f32(low2, high2))
}

/// `transpose4` of floats.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn transpose_f32(
    a: float32x4_t,
    b: float32x4_t,
    c: float32x4_t,
    d: float32x4_t,
) -> [float32x4_t; 4] {
    let (a, b) = (vreinterpretq_s32_f32(a), vreinterpretq_s32_f32(b));
    let (c, d) = (vreinterpretq_s32_f32(c), vreinterpretq_s32_f32(d));
    let [a, b, c, d] = transpose4(a, b, c, d);
    [vreinterpretq_f32_s32(a), vreinterpretq_f32_s32(b), vreinterpretq_f32_s32(c), vreinterpretq_f32_s32(d)]
}

/// `usdot` without the instruction: 128 less in each weight, and back in two steps, since 128 is no signed byte.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn usdot_by_sdot(acc: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    let (half, less) = (vdupq_n_s8(64), veorq_s8(w, vdupq_n_s8(i8::MIN)));
    sdot(sdot(sdot(acc, less, x), half, x), half, x)
}
